"""Exact search, and the two others beside it, against scoring every one of 2,000 real names and summing them to concepts.

SYNCABEL_FUZZ sets how many queries there are: 72 by default, more than 1,000 in `.ci/run`.
"""

import os
import tracemalloc
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from engine_oracles import END, TOLERANCE, Question, check_best, check_names, check_ranks, masses_of, random_question, scores_of, trie_of
from hypothesis import event, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from constrained import TokenTrie
from constrained.concepts import EPSILON, certified
from constrained.exact import ALIKE, MOST_FORCED, Aim
from constrained.search import EVERYTHING, beam_search, exact_search, greedy_search, rank_concepts, score_entries, trie_scope

N_GROUPS = 3
INPUTS = int(os.environ.get("SYNCABEL_FUZZ", "100"))
# Each prompt is scored once and asked about in several ways.
WAYS = 12 if INPUTS >= 2000 else 6
# How many prompts a model gets.  What a random one finds probable is spread over hundreds of names, so its queries are the dear ones.
MODELS = {"trained": 72, "random": 7, "random and sure": 7} if INPUTS >= 2000 else {"trained": 8, "random": 2, "random and sure": 2}
Name = tuple[int, ...]


class Task(NamedTuple):
    """A model with prompts, and the log-probability of every name after each. Shape of scores: (prompts × names)."""

    model: Any
    prompts: list[list[int]]
    scores: np.ndarray


@pytest.fixture(scope="module")
def groups(real_names: list[Name]) -> list[set[int]]:
    rng = np.random.default_rng(8)
    return [set(rng.choice(N_GROUPS, rng.integers(1, 3), replace=False).tolist()) for _ in real_names]


@pytest.fixture(scope="module")
def real_trie(real_names: list[Name], groups: list[set[int]]) -> TokenTrie:
    return trie_of(real_names, groups, N_GROUPS)


@pytest.fixture(scope="module", params=MODELS)
def task(request: pytest.FixtureRequest, trained: Any, tiny_llama: Any, real_names: list[Name]) -> Task:
    rng = np.random.default_rng(len(request.param))
    prompts = [rng.integers(1, 400, int(length)).tolist() for length in rng.integers(1, 12, MODELS[request.param])]
    if request.param == "trained":
        # Two prompts of three the model was taught, the others are noise to it.
        prompts = [each if i % 3 == 2 else [300 + i // 10, 310 + i % 10] for i, each in enumerate(prompts)]
    model = {"trained": trained, "random": tiny_llama(400, seed=3, scale=3.0), "random and sure": tiny_llama(400, seed=4, scale=6.0)}[request.param]
    return Task(model, prompts, np.array([scores_of(model, prompt, real_names) for prompt in prompts]))


def concept_maps(rng: np.random.Generator, real_concepts: np.ndarray) -> list[np.ndarray | None]:
    """Names that are concepts, DOID's concepts, and random ones: a few large, many small, all one."""
    n = len(real_concepts)
    drawn = [rng.integers(0, size, n) for size in (5, 400)]
    return [None, real_concepts, *drawn, np.where(rng.random(n) < 0.5, 0, np.arange(n)), np.zeros(n, np.int64)]


def test_there_are_enough_queries() -> None:
    assert sum(MODELS.values()) * WAYS >= (1000 if INPUTS >= 2000 else 72)


@pytest.mark.parametrize("way", range(WAYS))
def test_all_searches_agree_with_scoring_every_name(
    task: Task, real_trie: TokenTrie, real_names: list[Name], real_concepts: np.ndarray, groups: list[set[int]], way: int
) -> None:
    rng = np.random.default_rng(100 + way)
    maps = concept_maps(rng, real_concepts)
    concept_of, k, budget = maps[way % len(maps)], int(rng.integers(1, 6)), int(rng.integers(1, 40))
    if concept_of is not None and not concept_of.any():
        k = 1  # a second concept, where there is but one, is looked for in every name
    asked = [random_question(rng, real_trie, groups, N_GROUPS) for _ in task.prompts]
    scopes = [each.scope for each in asked]
    given = {"scopes": scopes, "max_batch_tokens": int(rng.choice([100, 16384]))}
    exact = exact_search(task.model, real_trie, task.prompts, k=k, concept_of=concept_of, max_expansions=None, **given)
    short = exact_search(task.model, real_trie, task.prompts, k=k, concept_of=concept_of, max_expansions=budget, **given)
    beam = beam_search(task.model, real_trie, task.prompts, num_beams=int(rng.integers(2, 9)), **given)
    greedy = greedy_search(task.model, real_trie, task.prompts, **given)
    for query, question in enumerate(asked):
        scores = task.scores[query]
        for found in (exact[query], short[query], beam[query], greedy[query]):
            check_names(found, scores, question.allowed, real_names)
            check_ranks(found, scores, question.allowed, concept_of)
        check_best(exact[query], scores, question.allowed, concept_of, k)
        assert len(greedy[query].names) == 1
        best = masses_of(scores, question.allowed, concept_of)[0][1]
        for found in (short[query], beam[query], greedy[query]):
            assert rank_concepts(found, concept_of)[0].log_mass <= best + TOLERANCE
        assert max(name.log_prob for name in short[query].names) >= greedy[query].names[0].log_prob - TOLERANCE


def test_a_sure_model_is_certain_after_the_greedy_descent(trained: Any, real_trie: TokenTrie, real_concepts: np.ndarray) -> None:
    prompts = [[300 + i // 10, 310 + i % 10] for i in range(100)]
    found = exact_search(trained, real_trie, prompts, concept_of=real_concepts)
    greedy = greedy_search(trained, real_trie, prompts)
    sure = [one for one, other in zip(found, greedy, strict=True) if other.names[0].log_prob > np.log(0.6)]
    assert len(sure) >= 30
    for one, other in zip(found, greedy, strict=True):
        if other.names[0].log_prob > np.log(0.6):
            # It reads shorter chains at once.
            assert one.expansions <= other.expansions + other.names[0].length // MOST_FORCED
            assert rank_concepts(one, real_concepts)[0].certified
            assert one.names[0].entries == other.names[0].entries


def test_what_the_budget_leaves_open_is_not_called_certain(tiny_llama: Any, real_trie: TokenTrie) -> None:
    model = tiny_llama(400, seed=3, scale=3.0)
    prompts = [[i, 2 * i] for i in range(1, 20)]
    for budget in (1, 3, 20):
        for found in exact_search(model, real_trie, prompts, max_expansions=budget):
            assert found.names
            assert not any(answer.certified for answer in rank_concepts(found))
            assert found.open_mass > 0
    # The greedy descent is always finished, and nothing is read after it.
    (found,), (greedy,) = exact_search(model, real_trie, [[4, 4]], max_expansions=1), greedy_search(model, real_trie, [[4, 4]])
    assert greedy.names[0].entry in [name.entry for name in found.names]


def test_more_ranks_than_concepts_read_everything_and_prove_all(tiny_llama: Any) -> None:
    model, names = tiny_llama(20, seed=2, scale=4.0), [(1,), (1, 2), (3, 4, 5), (6,)]
    (found,) = exact_search(model, trie_of(names), [[7, 8]], k=50, concept_of=np.array([0, 1, 0, 2]))
    check_names(found, scores_of(model, [7, 8], names), np.ones(4, np.bool_), names)
    assert found.log_open == -np.inf
    assert len(found.names) == 4
    assert [answer.certified for answer in rank_concepts(found, np.array([0, 1, 0, 2]))] == [True] * 3


def test_the_only_allowed_name_is_certain_without_being_probable(tiny_llama: Any, real_trie: TokenTrie, real_names: list[Name]) -> None:
    model = tiny_llama(400, seed=3, scale=4.0)
    for search, given in ((greedy_search, {}), (beam_search, {"num_beams": 3}), (exact_search, {})):
        (found,) = search(model, real_trie, [[5, 6]], scopes=[trie_scope(real_trie, candidates=[77])], **given)
        assert [name.entry for name in found.names] == [77]
        assert found.names[0].log_prob == pytest.approx(score_entries(model, [5, 6], [[*real_names[77], END]])[0], abs=TOLERANCE)
        assert found.log_open == -np.inf
        assert rank_concepts(found)[0].certified


def test_a_concept_of_many_improbable_names_wins_over_one_probable_name(tiny_llama: Any) -> None:
    flat = tiny_llama(100, scale=0.0)  # each token 1 / 100
    names = [(1,), *product(range(2, 40), range(40, 50)), *product(range(50, 99), repeat=2)]
    concept_of = np.array([0] + [1] * 380 + [2] * 49**2)
    (found,) = exact_search(flat, trie_of(names), [[5]], k=3, concept_of=concept_of, max_expansions=None)
    # 1e-4 for concept 0; 380 × 1e-6 for concept 1; 2,401 × 1e-6 for concept 2.
    ranked = rank_concepts(found, concept_of)
    assert [answer.concepts for answer in ranked] == [(2,), (1,), (0,)]
    assert greedy_search(flat, trie_of(names), [[5]], scopes=[EVERYTHING])[0].names[0].log_prob < np.log(2.401e-3)
    assert all(answer.certified for answer in ranked)


def test_what_a_wide_trie_takes_grows_with_its_edges(tiny_llama: Any) -> None:
    # The root has 300 children, each of them two: as a table of the widest it would be 300 × 300.
    flat, trie = tiny_llama(400, scale=0.0), trie_of(list(product(range(1, 301), (1, 2))))
    tracemalloc.start()
    (found,) = exact_search(flat, trie, [[5]], max_expansions=301)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.expansions == 301
    assert peak < 300 * 300 * 4 * 8


# After this many names of one token a tail of 2,500 that share four tokens: as a flat model of 100 tokens has it, 1e-4 each and 2.5e-11 together.
def with_tail(names: list[Name]) -> list[Name]:
    return [*names, *((97, 97, 97, 97, one, other) for one, other in product(range(1, 51), repeat=2))]


def test_equal_masses_do_not_cost_the_budget(tiny_llama: Any) -> None:
    names = with_tail([(1,), (2,)])
    (found,) = exact_search(tiny_llama(100, scale=0.0), trie_of(names), [[5]], max_expansions=None)
    assert found.expansions < 10
    first, second = rank_concepts(found)[:2]
    assert [first.concepts, second.concepts] == [(0,), (1,)]
    assert not first.certified


@pytest.mark.parametrize("max_expansions", [None, 128])
def test_what_a_coarse_arithmetic_cannot_prove_is_not_read_for(tiny_llama: Any, max_expansions: int | None) -> None:
    # Three names against two: apart, but by less than twice the error of bfloat16.
    concept_of = np.array([1, 1, 0, 0, 0] + [2] * 2500)
    names = with_tail([(1,), (2,), (3,), (4,), (5,)])
    for kind, sure in ((torch.bfloat16, False), (torch.float32, True)):
        model = tiny_llama(100, scale=0.0).to(kind)
        (found,) = exact_search(model, trie_of(names), [[5]], concept_of=concept_of, max_expansions=max_expansions)
        assert found.expansions < 10
        first, second = rank_concepts(found, concept_of)[:2]
        assert [first.concepts, second.concepts] == [(0,), (1,)]
        assert first.certified is sure


# Log-masses may be off by log 3 here, so that twice the error is a factor of 9.
@pytest.mark.parametrize(
    ("found", "rest", "reached", "allowance"),
    [
        ([0.5, 0.01], 0.04, True, 0.5 / 9 - 0.01),  # proven
        ([0.5, 0.01], 0.2, False, 0.5 / 9 - 0.01),  # not yet proven
        ([0.5, 0.1], 0.48, False, 0.0),  # the first may become 0.98: more must be found
        ([0.5, 0.3], 0.1, True, 0.505 - 0.3),  # neither to be proven nor to be changed
        ([0.35, 0.3], 0.1, False, 0.3535 - 0.3),  # not to be proven, but the second may end before the first
        ([0.3, 0.3], 0.01, False, 0.003015),
        ([0.3, 0.3], 0.002, True, 0.003015),  # alike, whatever becomes of the rest
        ([0.3], 0.3, False, 0.3 / 9),  # what is not found yet may be a rival
    ],
)
def test_how_far_reading_is_to_go(found: list[float], rest: float, reached: bool, allowance: float) -> None:
    with np.errstate(divide="ignore"):
        aim = Aim.of(np.log(np.array([[*found, 0.0][:2]])), np.log([rest]), np.log(3))
    assert bool(aim.reached[0]) is reached
    assert np.exp(aim.allowance[0]) == pytest.approx(allowance, rel=2e-3)


masses = st.lists(st.floats(1e-6, 1.0) | st.sampled_from([0.1, 0.2]), min_size=1, max_size=6)
shares = st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8)


@settings(max_examples=300, deadline=None)
@drawn(masses, st.sampled_from([1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2]), st.sampled_from(sorted(EPSILON.values())), st.integers(1, 4), shares)
def test_where_reading_stops_no_outcome_proves_more_nor_turns_the_order(found: list[float], rest: float, epsilon: float, k: int, share: list[float]) -> None:
    """The open mass goes to the concepts, to new ones, or stays open, in any parts."""
    before = sorted(found, reverse=True)
    with np.errstate(divide="ignore"):
        held = np.log(np.array([*before, *[0.0] * (k + 1)])[None, : k + 1])
        log_open = np.log([rest])
        aim = Aim.of(held, log_open, epsilon)
        proven = certified(held, log_open, epsilon)
        if proven.all() or not aim.reached[0]:
            return
        event("stopped unproven")
        # The last share stays open, the one before is lost to what is not allowed.
        parts = rest * np.array(share) / max(1.0, sum(share))
        after = np.array([*before, *[0.0] * 6])[:6] + parts[:6]
        ranked = np.log(np.sort(np.append(after, [0.0] * 5))[::-1][None, : k + 1])
        np.testing.assert_array_equal(certified(ranked, np.log([parts[7]]), epsilon), proven)
        assert (np.log(after[: min(k, len(before))]) >= ranked[0, : min(k, len(before))] - min(epsilon, ALIKE) - 1e-9).all()


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_rank_is_refused(tiny_llama: Any, k: int) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        exact_search(tiny_llama(20), trie_of([(1,)]), [[1]], k=k)


def test_a_budget_below_one_is_refused(tiny_llama: Any) -> None:
    with pytest.raises(ValueError, match="max_expansions must be at least 1, or None"):
        exact_search(tiny_llama(20), trie_of([(1,)]), [[1]], max_expansions=0)


def test_no_prompts_give_no_answers(tiny_llama: Any) -> None:
    assert exact_search(tiny_llama(20), trie_of([(1,)]), []) == []
    assert greedy_search(tiny_llama(20), trie_of([(1,)]), [], scopes=[]) == []


def test_a_question_names_what_it_allows(real_trie: TokenTrie, groups: list[set[int]]) -> None:
    rng = np.random.default_rng(0)
    asked: list[Question] = [random_question(rng, real_trie, groups, N_GROUPS) for _ in range(50)]
    assert any(each.scope.flags is not None for each in asked)
    assert any(each.scope.nodes is not None for each in asked)
    assert all(each.allowed.any() for each in asked)
