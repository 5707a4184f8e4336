"""The engine against transformers' own search over the same names: equal where transformers is right, and where it is not, how.

Constrained by our processor and in the published way (`benchmarks/published.py`), which must be the same to the last row.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList

from constrained import TokenTrie
from constrained.logits_processor import TrieLogitsProcessor
from constrained.search import beam_search, score_entries

END = 0
NOTHING = -1e8  # a score below is transformers' mark of a beam that is none
Name = tuple[int, ...]
Answers = list[tuple[Name, float]]
MakeModel = Callable[[int, int], Any]
MakeTrie = Callable[..., TokenTrie]


def load_published() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


published = load_published()


def generate(model: Any, prompts: Sequence[Sequence[int]], num_beams: int, **given: Any) -> Any:
    """transformers' search, prompts padded on the left."""
    width = max(map(len, prompts))
    return model.generate(
        input_ids=torch.tensor([[END] * (width - len(prompt)) + list(prompt) for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        num_beams=num_beams,
        num_return_sequences=num_beams,
        do_sample=False,
        eos_token_id=END,
        pad_token_id=END,
        return_dict_in_generate=True,
        output_scores=True,
        **({"max_new_tokens": 12} | given),
    )


def ours(trie: TokenTrie) -> dict[str, Any]:
    return {"logits_processor": LogitsProcessorList([TrieLogitsProcessor(trie)])}


def theirs(names: Sequence[Name], prompts: Sequence[Sequence[int]], end_token: int | None = END) -> dict[str, Any]:
    root = published.dict_trie([(*name, END) for name in names])
    return {"prefix_allowed_tokens_fn": published.allowed_tokens([root] * len(prompts), max(map(len, prompts)), end_token)}


def beams(model: Any, prompts: Sequence[Sequence[int]], num_beams: int, **given: Any) -> list[Answers]:
    """What comes back for each prompt, what is no answer included; a name ends before its end token, a piece of one does not."""
    out = generate(model, prompts, num_beams, **({"early_stopping": False, "length_penalty": 0.0} | given))
    width = max(map(len, prompts))
    found = [(written(ids[width:]), score) for ids, score in zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True)]
    return [found[i : i + num_beams] for i in range(0, len(found), num_beams)]


def written(ids: list[int]) -> Name:
    return tuple(ids[: ids.index(END)] if END in ids else ids)


def real(answers: Answers) -> Answers:
    return [each for each in answers if each[1] > NOTHING]


def engine(model: Any, trie: TokenTrie, names: Sequence[Name], prompts: Sequence[Sequence[int]], num_beams: int) -> list[Answers]:
    found = beam_search(model, trie, prompts, num_beams=num_beams)
    return [[(names[each.entry], each.log_prob) for each in answers.names[:num_beams]] for answers in found]


def by_scoring(model: Any, prompt: Sequence[int], names: Sequence[Name]) -> Answers:
    """Every name by brute force, best first."""
    scores = score_entries(model, prompt, [(*name, END) for name in names])
    return sorted(zip(names, scores, strict=True), key=lambda each: -each[1])


def same(one: Answers, other: Answers) -> bool:
    return [name for name, _ in one] == [name for name, _ in other] and np.allclose([s for _, s in one], [s for _, s in other], atol=1e-4)


def random_names(rng: np.random.Generator, n: int) -> list[Name]:
    """Over five tokens, so that many share their beginning."""
    found: set[Name] = set()
    while len(found) < n:
        found.add(tuple(rng.integers(1, 6, int(rng.integers(1, 6))).tolist()))
    return sorted(found)


# --- where transformers is right --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_with_a_beam_for_every_name_all_three_rank_all_names(talking_llama: MakeModel, build_trie: MakeTrie, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, names = talking_llama(20, seed), random_names(rng, 2 + seed)
    trie, prompts = build_trie(names), [rng.integers(1, 20, length).tolist() for length in (4, 1, 6)]
    for num_beams in (len(names), len(names) + 3):
        masked = beams(model, prompts, num_beams, **ours(trie))
        assert masked == beams(model, prompts, num_beams, **theirs(names, prompts))
        for prompt, answers, mine in zip(prompts, masked, engine(model, trie, names, prompts, num_beams), strict=True):
            exact = by_scoring(model, prompt, names)
            assert same(real(answers), exact)
            assert same(mine, exact)


def test_greedy_is_the_same_in_all_three(model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]]) -> None:
    width = max(map(len, prompts))
    masked, walked = (generate(model, prompts, 1, **given).sequences[:, width:].tolist() for given in (ours(trie), theirs(names, prompts)))
    assert masked == walked
    assert [written(ids) for ids in masked] == [answers[0][0] for answers in engine(model, trie, names, prompts, 1)]


@pytest.fixture(scope="module")
def ranked(model: Any, names: list[Name], prompts: list[list[int]]) -> list[Answers]:
    """All 2,000 names after each prompt."""
    return [by_scoring(model, prompt, names) for prompt in prompts]


@pytest.mark.parametrize("num_beams", [2, 5, 20])
def test_a_narrow_beam_gives_real_names_with_their_scores_and_is_never_better_than_the_best(
    model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]], ranked: list[Answers], num_beams: int
) -> None:
    masked = beams(model, prompts, num_beams, **ours(trie))
    assert masked == beams(model, prompts, num_beams, **theirs(names, prompts))
    for exact, *both in zip(ranked, masked, engine(model, trie, names, prompts, num_beams), strict=True):
        for answers in both:
            assert answers
            assert all(score == pytest.approx(dict(exact)[name], abs=1e-4) for name, score in answers)
            assert all(score <= best + 1e-4 for (_, score), (_, best) in zip(answers, exact, strict=False))


# --- where transformers is not ----------------------------------------------------------------------------------------


def test_the_published_constraint_is_refused_when_a_set_is_small(talking_llama: MakeModel, build_trie: MakeTrie) -> None:
    """A finished row stays in the beam when there is no other; it has no next token, and transformers 5 takes no empty list."""
    model, names, prompt = talking_llama(20, 1), [(5,), (6, 7)], [3, 4, 5]
    with pytest.raises(ValueError, match="returned an empty list"):
        beams(model, [prompt], 2, **theirs(names, [prompt], end_token=None))
    assert same(real(beams(model, [prompt], 2, **ours(build_trie(names)))[0]), by_scoring(model, prompt, names))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_early_stopping_gives_a_dead_beam_for_a_name(talking_llama: MakeModel, build_trie: MakeTrie, length_penalty: float) -> None:
    """With the default penalty two names suffice: the finished row finishes again, at −1e9 / 3, which counts as an answer."""
    prompt = [3, 4, 5]
    names, num_beams = ([(5,), (6, 7, 8)], 2) if length_penalty else ([(5,), (5, 6), (7, 8, 9)], 3)
    missed = []
    for seed in range(8):
        model, trie = talking_llama(20, seed), build_trie(names)
        (answers,) = beams(model, [prompt], num_beams, **ours(trie), early_stopping=True, length_penalty=length_penalty)
        missed.append(set(names) - {name for name, _ in real(answers)})
        assert all(score < -1e8 for _, score in answers[len(real(answers)) :])
        assert same(engine(model, trie, names, [prompt], num_beams)[0], by_scoring(model, prompt, names))
    assert sum({names[-1]} == each for each in missed) >= 2


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
def test_more_beams_than_names_come_back_with_copies(talking_llama: MakeModel, build_trie: MakeTrie, early_stopping: bool | str) -> None:
    model, names, prompt = talking_llama(20, 1), [(5,), (6, 7)], [3, 4, 5]
    (answers,) = beams(model, [prompt], 5, **ours(build_trie(names)), early_stopping=early_stopping)
    assert len(answers) == 5
    assert len(real(answers)) == 2
    assert len(engine(model, build_trie(names), names, [prompt], 5)[0]) == 2


def test_the_default_length_penalty_prefers_the_longer_name(talking_llama: MakeModel, build_trie: MakeTrie) -> None:
    """The score is divided by the number of tokens, so certain tokens are a reward: ten nats less probable, and first."""
    model, names, prompt = talking_llama(20, 3), [(5,), (6, 7)], [3, 4, 5]
    found = {penalty: beams(model, [prompt], 2, **ours(build_trie(names)), length_penalty=penalty)[0] for penalty in (0.0, 1.0)}
    exact = by_scoring(model, prompt, names)
    assert same(found[0.0], exact)
    assert [name for name, _ in found[1.0]] == [name for name, _ in exact][::-1]
    for name, score in found[1.0]:
        assert score == pytest.approx(dict(exact)[name] / (len(name) + 1), abs=1e-4)


def test_a_limit_of_new_tokens_gives_a_piece_of_a_name_as_an_answer(talking_llama: MakeModel, build_trie: MakeTrie) -> None:
    """Reaching the limit counts as finishing: a piece comes back with the score of a piece, which is above that of the name."""
    model, names, prompt = talking_llama(20, 1), [(5, 6, 7, 8, 9), (11,)], [3, 4, 5]
    found = dict(beams(model, [prompt], 2, **ours(build_trie(names)), max_new_tokens=3)[0])
    exact = dict(by_scoring(model, prompt, names))
    assert found.keys() == {(5, 6, 7), (11,)}
    assert found[5, 6, 7] > exact[5, 6, 7, 8, 9] + 1
    assert same(engine(model, build_trie(names), names, [prompt], 2)[0], by_scoring(model, prompt, names))


def test_the_most_probable_name_is_lost_where_longer_ones_look_better_at_its_end(talking_llama: MakeModel, build_trie: MakeTrie) -> None:
    """Two beams, three names: after token 5 both 6 and 7 rank before the end, and what they lead to is worse than the end was."""
    names, prompt = [(5,), (5, 6, 8), (5, 7, 8)], [3, 4]
    lost = 0
    for seed in range(20):
        model, trie = talking_llama(20, seed), build_trie(names)
        answers, exact = real(beams(model, [prompt], 2, **ours(trie))[0]), by_scoring(model, prompt, names)
        assert answers[0][1] <= exact[0][1] + 1e-4
        lost += answers[0][0] != exact[0][0]
    assert lost


def test_a_checkpoints_generation_config_changes_the_scores(talking_llama: MakeModel, build_trie: MakeTrie) -> None:
    model, names, prompt = talking_llama(20, 1), [(5,), (6, 7)], [3, 4, 5]
    model.generation_config.repetition_penalty = 1.5
    (answers,) = beams(model, [prompt], 2, **ours(build_trie(names)))
    exact = by_scoring(model, prompt, names)
    assert dict(answers)[5,] < dict(exact)[5,] - 0.1  # 5 stands in the prompt
    assert same(engine(model, build_trie(names), names, [prompt], 2)[0], exact)


def test_transition_scores_of_greedy_decoding_are_renormalised_over_the_names(talking_llama: MakeModel, build_trie: MakeTrie) -> None:
    """What is −inf is not counted by the softmax, so a forced token is certain and the only name has probability 1."""
    model, names, prompt = talking_llama(20, 1), [(5, 6, 7)], [3, 4, 5]
    out = generate(model, [prompt], 1, **ours(build_trie(names)))
    transitions = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    assert float(transitions.sum()) == pytest.approx(0)
    assert engine(model, build_trie(names), names, [prompt], 1)[0][0][1] == pytest.approx(by_scoring(model, prompt, names)[0][1], abs=1e-4)
    assert by_scoring(model, prompt, names)[0][1] < -5
