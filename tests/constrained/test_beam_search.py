"""The search against scoring every name, and what it costs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from constrained import TokenTrie, TrieError
from constrained.search import Hypothesis, beam_search, score_entries

END = 0
Name = tuple[int, ...]


@pytest.fixture(scope="module")
def exact(model: Any, names: list[Name], prompts: list[list[int]]) -> np.ndarray:
    """Log-probability of every name after every prompt, by brute force. Shape: (prompts × names)."""
    paths = [[*name, END] for name in names]
    return np.array([score_entries(model, prompt, paths) for prompt in prompts])


@pytest.fixture(scope="module")
def groups() -> list[list[int] | None]:
    return [None, [0], [1, 2], [2], None, [0, 1, 2]]


@pytest.fixture(scope="module")
def flags(trie: TokenTrie, groups: list[list[int] | None]) -> list[np.ndarray | None]:
    return [None if each is None else trie.allowed(each) for each in groups]


def allowed_entries(name_groups: list[set[int]], groups: list[int] | None) -> list[int]:
    return [entry for entry, each in enumerate(name_groups) if groups is None or each & set(groups)]


def same(one: list[Hypothesis], other: list[Hypothesis], tolerance: float = 1e-4) -> bool:
    return [h.entry for h in one] == [h.entry for h in other] and np.allclose([h.log_prob for h in one], [h.log_prob for h in other], atol=tolerance)


class Calls:
    """What goes through a model: rows and places of every forward pass."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.shapes: list[tuple[int, int]] = []
        self._hook = model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: torch.nn.Module, args: Any, given: dict[str, Any]) -> None:
        self.shapes.append(tuple(given["input_ids"].shape))

    def __enter__(self) -> "Calls":
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()


def test_a_wide_beam_equals_scoring_every_name(
    model: Any, trie: TokenTrie, prompts: list[list[int]], flags: list[Any], groups: list[Any], name_groups: list[set[int]], exact: np.ndarray
) -> None:
    found = beam_search(model, trie, prompts, num_beams=len(name_groups), flags=flags, max_batch_tokens=10**9)
    for query, hypotheses in enumerate(found):
        entries = [h.entry for h in hypotheses]
        assert sorted(entries) == allowed_entries(name_groups, groups[query])
        scores = exact[query, entries]
        np.testing.assert_allclose([h.log_prob for h in hypotheses], scores, atol=1e-4)
        assert (np.diff(scores) < 1e-4).all()  # the same order, up to what the two ways may differ by


def test_the_lengths_count_the_end_token(model: Any, trie: TokenTrie, prompts: list[list[int]], names: list[Name]) -> None:
    for hypotheses in beam_search(model, trie, prompts, num_beams=5, flags=[None] * len(prompts)):
        assert [h.length for h in hypotheses] == [len(names[h.entry]) + 1 for h in hypotheses]


@pytest.mark.parametrize("num_beams", [1, 2, 5, 40])
def test_a_narrow_beam_gives_real_scores_of_distinct_allowed_names_and_is_never_better_than_exact(
    model: Any, trie: TokenTrie, prompts: list[list[int]], flags: list[Any], groups: list[Any], name_groups: list[set[int]], exact: np.ndarray, num_beams: int
) -> None:
    for query, hypotheses in enumerate(beam_search(model, trie, prompts, num_beams=num_beams, flags=flags)):
        entries = [h.entry for h in hypotheses]
        allowed = allowed_entries(name_groups, groups[query])
        assert len(entries) == len(set(entries)) == num_beams
        assert set(entries) <= set(allowed)
        scores = np.array([h.log_prob for h in hypotheses])
        np.testing.assert_allclose(scores, exact[query, entries], atol=1e-4)
        assert (np.diff(scores) <= 0).all()
        best = np.sort(exact[query, allowed])[::-1][:num_beams]
        assert (scores <= best + 1e-4).all()


def test_one_beam_is_greedy(model: Any, trie: TokenTrie, prompts: list[list[int]], flags: list[Any]) -> None:
    found = beam_search(model, trie, prompts, num_beams=1, flags=flags)
    for prompt, flag, (hypothesis,) in zip(prompts, flags, found, strict=True):
        node, path = 0, list(prompt)
        while trie.entry_of(np.array([node]))[0] < 0:
            children = trie.children_of(np.array([node]), flag)
            with torch.no_grad():
                logits = model(torch.tensor([path])).logits[0, -1]
            best = int(logits[torch.from_numpy(children.token).long()].argmax())
            node = int(children.child[best])
            path.append(int(children.token[best]))
        assert hypothesis.entry == trie.entry_of(np.array([node]))[0]


@pytest.mark.parametrize("max_batch_tokens", [1, 60, 150, 10**6])
def test_answers_do_not_depend_on_the_batch(model: Any, trie: TokenTrie, prompts: list[list[int]], flags: list[Any], max_batch_tokens: int) -> None:
    alone = [beam_search(model, trie, [prompt], num_beams=3, flags=[flag])[0] for prompt, flag in zip(prompts, flags, strict=True)]
    together = beam_search(model, trie, prompts, num_beams=3, flags=flags, max_batch_tokens=max_batch_tokens)
    backwards = beam_search(model, trie, prompts[::-1], num_beams=3, flags=flags[::-1], max_batch_tokens=max_batch_tokens)[::-1]
    for one, two, three in zip(alone, together, backwards, strict=True):
        assert same(one, two)
        assert same(one, three)


def test_each_prompt_is_run_once_and_only_live_beams_take_rows(model: Any, trie: TokenTrie, prompts: list[list[int]]) -> None:
    width = max(len(prompt) for prompt in prompts)
    with Calls(model) as calls:
        beam_search(model, trie, prompts, num_beams=5, flags=[None] * len(prompts), max_batch_tokens=10**6)
    assert calls.shapes[0] == (len(prompts), width)
    assert all(places == 1 and rows <= 5 * len(prompts) for rows, places in calls.shapes[1:])
    with Calls(model) as calls:
        beam_search(model, trie, prompts, num_beams=5, flags=[None] * len(prompts), max_batch_tokens=1)
    prefills = [shape for shape in calls.shapes if shape[1] > 1]  # a prompt of one token looks like any later step
    assert prefills == sorted((1, len(prompt)) for prompt in prompts if len(prompt) > 1)


def test_a_batch_keeps_to_its_budget(model: Any, trie: TokenTrie, prompts: list[list[int]]) -> None:
    with Calls(model) as calls:
        beam_search(model, trie, prompts, num_beams=2, flags=[None] * len(prompts), max_batch_tokens=40)
    prefills = [shape for shape in calls.shapes if shape[1] > 1]
    assert prefills == [(2, 5), (2, 9), (1, 12), (1, 17)]  # of prompts of 1, 5, 9, 9, 12 and 17 tokens, times 2 beams


def test_the_end_token_costs_no_forward_pass(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    names = [(3, 4), (5, 6)]
    with Calls(model) as calls:
        beam_search(model, build_trie(names), [[7, 8, 9]], num_beams=2, flags=[None])
    assert calls.shapes == [(1, 3), (2, 1), (2, 1)]  # the prompt, the first tokens, the last ones


def test_a_finished_mention_leaves_the_batch(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    long = tuple(range(10, 20))
    trie = build_trie([(3,), long], [{0}, {1}], 2)
    with Calls(model) as calls:
        found = beam_search(model, trie, [[7, 8], [9, 8]], num_beams=2, flags=[trie.allowed([0]), trie.allowed([1])])
    assert [[h.entry for h in each] for each in found] == [[0], [1]]
    assert [rows for rows, _ in calls.shapes] == [2, 2] + [1] * 9


def test_a_mention_is_over_when_nothing_live_can_win(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    prompt = [7, 8, 9]
    with torch.no_grad():
        likely = int(model(torch.tensor([prompt])).logits[0, -1, 1:].argmax()) + 1
        unlikely = int(model(torch.tensor([prompt])).logits[0, -1, 1:].argmin()) + 1
    names = [(likely,), (unlikely, *range(1, 30))]
    short, long = score_entries(model, prompt, [[*names[0], END], [unlikely]])
    assert short > long  # the long name has lost with its first token
    with Calls(model) as calls:
        (found,) = beam_search(model, build_trie(names), [prompt], num_beams=1, flags=[None])
    assert [h.entry for h in found] == [0]
    assert len(calls.shapes) == 2


def test_a_name_that_is_a_prefix_of_another_is_scored_with_its_end_token(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    angina, pectoris = (11, 12), (11, 12, 13, 14)
    trie = build_trie([angina, pectoris])
    (found,) = beam_search(model, trie, [[1, 2, 3]], num_beams=2, flags=[None])
    exact = score_entries(model, [1, 2, 3], [[*angina, END], [*pectoris, END]])
    assert sorted(h.entry for h in found) == [0, 1]
    assert all(h.log_prob == pytest.approx(exact[h.entry], abs=1e-4) for h in found)
    without_end = score_entries(model, [1, 2, 3], [list(angina)])[0]
    assert exact[0] < without_end


def test_equal_names_in_probability_go_to_the_lower_node(tiny_llama: Callable[..., Any], build_trie: Callable[..., TokenTrie]) -> None:
    flat = tiny_llama(20, scale=0.0)  # every token has probability 1 / 20
    trie = build_trie([(9, 1), (4,), (8,), (2, 3), (6,)])
    for num_beams in (1, 2, 3, 5):
        (found,) = beam_search(flat, trie, [[5, 5]], num_beams=num_beams, flags=[None])
        (again,) = beam_search(flat, trie, [[5, 5]], num_beams=num_beams, flags=[None])
        assert found == again
    assert [h.entry for h in found] == [1, 4, 2, 3, 0]
    assert found[0].log_prob == pytest.approx(2 * np.log(1 / 20), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_half_precision_are_summed_in_full(
    talking_llama: Callable[..., Any], trie: TokenTrie, prompts: list[list[int]], names: list[Name], dtype: torch.dtype
) -> None:
    half = talking_llama(120, 3).to(dtype)
    found = beam_search(half, trie, prompts, num_beams=4, flags=[None] * len(prompts))
    for prompt, hypotheses in zip(prompts, found, strict=True):
        exact = score_entries(half, prompt, [[*names[h.entry], END] for h in hypotheses])
        # The model itself answers differently by shape of batch at this precision; sums kept in bfloat16 would be off by far more.
        np.testing.assert_allclose([h.log_prob for h in hypotheses], exact, atol=0.35 if dtype is torch.bfloat16 else 0.05)


def test_more_beams_than_names_gives_all_names(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    (found,) = beam_search(model, build_trie([(1,), (2,), (1, 2)]), [[4]], num_beams=50, flags=[None])
    assert sorted(h.entry for h in found) == [0, 1, 2]


def test_no_prompts_give_no_answers(model: Any, trie: TokenTrie) -> None:
    assert beam_search(model, trie, [], num_beams=2, flags=[]) == []


def test_flags_that_admit_no_entry_are_an_error_that_names_the_query(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    trie = build_trie([(1,), (2,)], [{0}, {0}], 2)
    with pytest.raises(TrieError, match="query 1: the allowed groups hold no entry"):
        beam_search(model, trie, [[1], [2]], num_beams=1, flags=[None, trie.allowed([1])])
    with pytest.raises(TrieError, match="query 0: flags of shape"):
        beam_search(model, trie, [[1]], num_beams=1, flags=[np.ones(9, dtype=bool)])


def test_a_trie_of_another_vocabulary_is_refused(model: Any, build_trie: Callable[..., TokenTrie]) -> None:
    with pytest.raises(TrieError, match="token ids up to 500, the model only 120 logits"):
        beam_search(model, build_trie([(500,)]), [[1]], num_beams=1, flags=[None])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"prompts": [[1], []]}, "prompt 1 is empty"),
        ({"flags": [None]}, "2 prompts need 2 flags"),
    ],
)
def test_arguments_out_of_range_are_refused(model: Any, trie: TokenTrie, change: dict[str, Any], message: str) -> None:
    given = {"prompts": [[1], [2]], "num_beams": 1, "flags": [None, None]} | change
    with pytest.raises(ValueError, match=message):
        beam_search(model, trie, given.pop("prompts"), **given)


def test_a_model_in_training_mode_is_refused(tiny_llama: Callable[..., Any], trie: TokenTrie) -> None:
    with pytest.raises(ValueError, match="training mode"):
        beam_search(tiny_llama(120).train(), trie, [[1]], num_beams=1, flags=[None])


def test_logits_that_are_not_numbers_are_an_error_that_names_the_query(tiny_llama: Callable[..., Any], trie: TokenTrie) -> None:
    broken = tiny_llama(120)
    with torch.no_grad():
        broken.model.embed_tokens.weight[7] = float("nan")
    broken.lm_head.weight = torch.nn.Parameter(torch.zeros(120, 32))  # untied: only prompts with token 7 are concerned
    with pytest.raises(ValueError, match="query 1: the model's logits are not finite"):
        beam_search(broken, trie, [[1, 2], [3, 7]], num_beams=1, flags=[None, None])


def tiny(architecture: str, vocabulary: int) -> Any:
    """A two-layer random model of one of transformers' families, with their own attention, cache and head."""
    import transformers

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    given: dict[str, dict[str, Any]] = {
        "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": END, "eos_token_id": END},
        "Mistral": {**shape, "sliding_window": 6},
        "Gemma2": {**shape, "head_dim": 8, "sliding_window": 6},
        "Qwen3": {**shape, "head_dim": 8},
    }
    torch.manual_seed(5)
    config = getattr(transformers, f"{architecture}Config")(vocab_size=vocabulary, **given[architecture])
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("architecture", ["GPT2", "Mistral", "Gemma2", "Qwen3"])
def test_other_architectures_and_sliding_windows_score_like_a_plain_forward_pass(
    trie: TokenTrie, prompts: list[list[int]], names: list[Name], architecture: str
) -> None:
    other = tiny(architecture, 120)
    found = beam_search(other, trie, prompts, num_beams=4, flags=[None] * len(prompts))
    for prompt, hypotheses in zip(prompts, found, strict=True):
        exact = score_entries(other, prompt, [[*names[h.entry], END] for h in hypotheses])
        np.testing.assert_allclose([h.log_prob for h in hypotheses], exact, atol=1e-4)
