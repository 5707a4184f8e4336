"""The processor's masks against a walk through dictionaries, and `generate` under it against scoring every name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, LogitsProcessorList, T5Config, T5ForConditionalGeneration

from constrained import TokenTrie, TrieError
from constrained.logits_processor import TrieLogitsProcessor
from constrained.scope import Scope, trie_scope
from constrained.search import score_entries

END = 0
NOTHING = -1e8  # transformers gives what is no answer −1e9 and less
Name = tuple[int, ...]
Answer = tuple[Name, float]


def trie_of(names: Sequence[Name], end: int) -> TokenTrie:
    tokens = np.array([token for name in names for token in (*name, end)], dtype=np.int32)
    return TokenTrie.build(tokens, np.cumsum([0] + [len(name) + 1 for name in names]), np.ones((len(names), 1), np.uint64), end, 1)


def up_to_the_end(ids: list[int], end: int) -> Name:
    return tuple(ids[: ids.index(end)])


def answers(model: Any, inputs: dict[str, Any], processor: TrieLogitsProcessor, num_beams: int, end: int, **given: Any) -> list[list[Answer]]:
    """What transformers' beam search answers each prompt, best first."""
    out = model.generate(
        **inputs,
        logits_processor=LogitsProcessorList([processor]),
        num_beams=num_beams,
        num_return_sequences=num_beams,
        early_stopping=False,
        length_penalty=0.0,
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=end,
        return_dict_in_generate=True,
        output_scores=True,
        **given,
    )
    start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    scored = [(up_to_the_end(ids[start:], end), score) for ids, score in zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True)]
    return [[each for each in scored[i : i + num_beams] if each[1] > NOTHING] for i in range(0, len(scored), num_beams)]


def left_padded(prompts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    width = max(map(len, prompts))
    ids = torch.tensor([[END] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module")
def scopes(trie: TokenTrie) -> list[Scope]:
    """One for each of the six prompts."""
    return [trie_scope(trie, groups, candidates) for groups, candidates in SCOPES]


# Groups and candidates of each prompt.
SCOPES: list[tuple[list[int] | None, list[int] | None]] = [
    (None, None),
    ([0], None),
    ([1, 2], None),
    (None, [4, 8, 15, 16, 23, 42]),
    (None, None),
    ([2], list(range(600))),
]


def allowed_entries(name_groups: list[set[int]], query: int) -> list[int]:
    groups, candidates = SCOPES[query]
    return [entry for entry, each in enumerate(name_groups) if (groups is None or each & set(groups)) and (candidates is None or entry in candidates)]


def tokens_after(names: Sequence[Name], prefix: Name) -> set[int]:
    """By the definition: the next tokens of all names that begin so; the end token where there is none."""
    whole = [(*name, END) for name in names]
    return {name[len(prefix)] for name in whole if name[: len(prefix)] == prefix and len(name) > len(prefix)} or {END}


def masked(processor: TrieLogitsProcessor, prompt: list[int], written: Sequence[Name], scores: torch.Tensor) -> torch.Tensor:
    return processor(torch.tensor([[*prompt, *prefix] for prefix in written]), scores)


def test_each_row_keeps_the_scores_of_the_tokens_that_go_on_with_a_name(trie: TokenTrie, names: list[Name]) -> None:
    rng = np.random.default_rng(1)
    processor = TrieLogitsProcessor(trie, prompt_length=3)
    for length in range(7):
        written = [name[:length] for name in names if len(name) >= length][:: max(1, len(names) // 50)]
        scores = torch.from_numpy(rng.normal(size=(len(written), 120)).astype(np.float32))
        given = scores.clone()
        out = masked(processor, [9, 9, 9], written, scores)
        for prefix, row, kept in zip(written, scores, out, strict=True):
            expected = sorted(tokens_after(names, prefix))
            assert torch.isfinite(kept).nonzero().flatten().tolist() == expected
            assert torch.equal(kept[expected], row[expected])
        assert torch.equal(scores, given)  # its argument is transformers' own


def test_rows_go_by_the_scope_of_their_prompt(trie: TokenTrie, names: list[Name], name_groups: list[set[int]], scopes: list[Scope]) -> None:
    num_beams, rng = 4, np.random.default_rng(2)
    allowed = [[names[entry] for entry in allowed_entries(name_groups, query)] for query in range(len(scopes))]
    written = [mine[int(rng.integers(len(mine)))][:1] for mine in allowed for _ in range(num_beams)]
    out = masked(TrieLogitsProcessor(trie, scopes, prompt_length=2), [7, 7], written, torch.zeros(len(written), 120))
    for row, prefix in enumerate(written):
        assert set(torch.isfinite(out[row]).nonzero().flatten().tolist()) == tokens_after(allowed[row // num_beams], prefix)


@pytest.mark.parametrize("after", [(END,), (END, END), (END, 119), (END, 5)])
def test_a_row_that_has_ended_gets_the_end_token_only(trie: TokenTrie, names: list[Name], after: Name) -> None:
    out = masked(TrieLogitsProcessor(trie, prompt_length=1), [3], [(*names[0], *after)], torch.randn(1, 120))
    assert torch.isfinite(out[0]).nonzero().flatten().tolist() == [END]
    assert out[0, END] == 0


def test_a_row_that_begins_no_name_gets_the_end_token_as_long_as_another_lives(build_trie: Callable[..., TokenTrie]) -> None:
    out = masked(TrieLogitsProcessor(build_trie([(5, 6)]), prompt_length=1), [3], [(5,), (9,)], torch.randn(2, 12))
    assert [torch.isfinite(row).nonzero().flatten().tolist() for row in out] == [[6], [END]]


def test_every_prefix_of_every_name_is_walked_to_the_node_it_leads_to(trie: TokenTrie, names: list[Name]) -> None:
    processor = TrieLogitsProcessor(trie, prompt_length=0)
    for length in range(1, 8):
        whole = [(*name, END) for name in names if len(name) == length]
        for step in range(length + 1):
            out = processor(torch.tensor([name[:step] for name in whole], dtype=torch.long).reshape(len(whole), step), torch.zeros(len(whole), 120))
            assert torch.isfinite(out[torch.arange(len(whole)), torch.tensor([name[step] for name in whole])]).all()


def test_greedy_takes_the_best_allowed_token_at_every_step(model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]]) -> None:
    out = model.generate(
        **left_padded(prompts), logits_processor=LogitsProcessorList([TrieLogitsProcessor(trie)]), num_beams=1, do_sample=False, max_new_tokens=12
    )
    width = max(map(len, prompts))
    for prompt, ids in zip(prompts, out.tolist(), strict=True):
        found, prefix = up_to_the_end(ids[width:], END), ()
        while prefix[-1:] != (END,):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *prefix]])).logits[0, -1]
            prefix = (*prefix, max(sorted(tokens_after(names, prefix)), key=lambda token: float(logits[token])))
        assert found == prefix[:-1]


@pytest.mark.parametrize("num_beams", [2, 5])
def test_beams_of_padded_prompts_with_scopes_of_their_own_equal_single_runs(
    model: Any, trie: TokenTrie, names: list[Name], name_groups: list[set[int]], prompts: list[list[int]], scopes: list[Scope], num_beams: int
) -> None:
    together = answers(model, left_padded(prompts), TrieLogitsProcessor(trie, scopes), num_beams, END)
    for query, found in enumerate(together):
        (alone,) = answers(model, left_padded([prompts[query]]), TrieLogitsProcessor(trie, [scopes[query]]), num_beams, END)
        assert [name for name, _ in found] == [name for name, _ in alone]
        assert {name for name, _ in found} <= {names[entry] for entry in allowed_entries(name_groups, query)}
        scores = score_entries(model, prompts[query], [[*name, END] for name, _ in found])
        np.testing.assert_allclose([score for _, score in found], scores, atol=1e-4)


def test_a_beam_as_wide_as_the_candidates_ranks_them_as_scoring_each_does(model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]]) -> None:
    candidates = list(range(100, 108))
    scope = trie_scope(trie, candidates=candidates)
    found = answers(model, left_padded(prompts), TrieLogitsProcessor(trie, [scope] * len(prompts)), 8, END)
    for prompt, mine in zip(prompts, found, strict=True):
        exact = dict(zip((names[c] for c in candidates), score_entries(model, prompt, [[*names[c], END] for c in candidates]), strict=True))
        assert [name for name, _ in mine] == sorted(exact, key=lambda name: -exact[name])


def test_sampling_writes_names_only(model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]], scopes: list[Scope]) -> None:
    torch.manual_seed(0)
    out = model.generate(
        **left_padded(prompts),
        logits_processor=LogitsProcessorList([TrieLogitsProcessor(trie, scopes)]),
        do_sample=True,
        top_k=0,
        num_return_sequences=6,
        max_new_tokens=12,
    )
    width = max(map(len, prompts))
    assert {up_to_the_end(ids[width:], END) for ids in out.tolist()} <= set(names)


def tiny_t5() -> Any:
    """End token 1; the decoder starts with the padding token 0."""
    torch.manual_seed(5)
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0)).eval()


def tiny_bart() -> Any:
    """End token 2, which is also what the decoder starts with."""
    torch.manual_seed(6)
    layers = {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
    }
    config = BartConfig(vocab_size=40, d_model=16, **layers, max_position_embeddings=64, init_std=0.5, forced_eos_token_id=None)
    return BartForConditionalGeneration(config).eval()


ENCODER_DECODERS = {"t5": (tiny_t5, 0, 1), "bart": (tiny_bart, 2, 2)}  # the model, its decoder's start token, its end token
SOURCES = {"input_ids": torch.tensor([[9, 8, 7, 6], [11, 12, 13, 14], [30, 5, 5, 31]]), "attention_mask": torch.ones(3, 4, dtype=torch.long)}
FEW_NAMES: list[Name] = [(5,), (5, 6), (5, 6, 7), (8, 9), (10, 11, 12, 13), (20, 5)]


@torch.no_grad()
def decoder_score(model: Any, source: torch.Tensor, name: Name, start: int, end: int) -> float:
    log_probs = model(input_ids=source[None], decoder_input_ids=torch.tensor([[start, *name]])).logits[0].log_softmax(-1)
    return float(log_probs[torch.arange(len(name) + 1), torch.tensor([*name, end])].sum())


@pytest.mark.parametrize("kind", ENCODER_DECODERS)
def test_an_encoder_decoder_ranks_the_names_as_scoring_each_does(kind: str) -> None:
    make, start, end = ENCODER_DECODERS[kind]
    model, trie = make(), trie_of(FEW_NAMES, end)
    for query, found in enumerate(answers(model, SOURCES, TrieLogitsProcessor(trie), len(FEW_NAMES), end)):
        exact = {name: decoder_score(model, SOURCES["input_ids"][query], name, start, end) for name in FEW_NAMES}
        assert [name for name, _ in found] == sorted(exact, key=lambda name: -exact[name])
        np.testing.assert_allclose([score for _, score in found], [exact[name] for name, _ in found], atol=1e-4)


@pytest.mark.parametrize("kind", ENCODER_DECODERS)
def test_an_encoder_decoder_writes_a_name_greedily_after_a_longer_start(kind: str) -> None:
    make, start, end = ENCODER_DECODERS[kind]
    model, trie = make(), trie_of(FEW_NAMES, end)
    prefix = torch.tensor([[start, 33]] * 3)
    scopes = [trie_scope(trie, candidates=[3, 4]), trie_scope(trie, candidates=[2]), trie_scope(trie)]
    out = model.generate(
        **SOURCES,
        decoder_input_ids=prefix,
        logits_processor=LogitsProcessorList([TrieLogitsProcessor(trie, scopes)]),
        max_new_tokens=8,
        eos_token_id=end,
        num_beams=1,
        do_sample=False,
    )
    found = [up_to_the_end(ids[2:], end) for ids in out.tolist()]
    assert found[0] in FEW_NAMES[3:5]
    assert found[1] == FEW_NAMES[2]
    assert found[2] in FEW_NAMES


def test_one_object_serves_one_call_unless_the_prompt_length_is_given(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    trie = build_trie([(5, 6), (7,)])
    again, once = TrieLogitsProcessor(trie, prompt_length=2), TrieLogitsProcessor(trie)
    assert answers(model, left_padded([[1, 2]]), again, 2, END) == answers(model, left_padded([[1, 2]]), once, 2, END)
    assert answers(model, left_padded([[3, 4]]), again, 2, END)
    with pytest.raises(ValueError, match="not the prompts of the first call"):
        answers(model, left_padded([[3, 4]]), once, 2, END)


@pytest.mark.parametrize(("prompt_length", "scoped", "message"), [(1, False, "every row has tokens"), (1, True, "every row of prompt 1 has tokens")])
def test_a_wrong_prompt_length_is_an_error(build_trie: Callable[..., TokenTrie], prompt_length: int, scoped: bool, message: str) -> None:
    trie = build_trie([(5, 6), (7,)])
    processor = TrieLogitsProcessor(trie, [trie_scope(trie)] * 2 if scoped else None, prompt_length=prompt_length)
    ids = torch.tensor([[1, 5], [1, 5], [2, 9], [2, 9]]) if scoped else torch.tensor([[1, 9], [2, 9]])
    with pytest.raises(TrieError, match=message):
        processor(ids, torch.zeros(len(ids), 12))


def test_a_trie_of_another_vocabulary_is_refused(build_trie: Callable[..., TokenTrie]) -> None:
    with pytest.raises(TrieError, match="token ids up to 500, the model only 120 logits"):
        TrieLogitsProcessor(build_trie([(500,)]))(torch.tensor([[1]]), torch.zeros(1, 120))


def test_arguments_out_of_range_are_refused(build_trie: Callable[..., TokenTrie]) -> None:
    trie = build_trie([(5, 6), (7,)])
    with pytest.raises(ValueError, match="prompt_length must be at least 0"):
        TrieLogitsProcessor(trie, prompt_length=-1)
    with pytest.raises(ValueError, match="scopes is empty"):
        TrieLogitsProcessor(trie, [])
    with pytest.raises(ValueError, match="5 rows are no multiple of 2 scopes"):
        TrieLogitsProcessor(trie, [trie_scope(trie)] * 2, prompt_length=1)(torch.ones(5, 1, dtype=torch.long), torch.zeros(5, 12))
