"""Answers of several names against scoring every ordered pair and triple."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from engine_oracles import END, TOLERANCE, trie_of
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained.search import Composite, Found, beam_search, exact_search, greedy_search, rank_concepts, score_entries, trie_scope

Name = tuple[int, ...]
VOCABULARY = 30
SEPARATOR = (28, 29)  # tokens of no name


@pytest.fixture(scope="module")
def few_names() -> list[Name]:
    rng = np.random.default_rng(5)
    found: set[Name] = {(3,), (3, 4), (3, 4, 5)}
    while len(found) < 30:
        found.add(tuple(rng.integers(1, 12, int(rng.integers(1, 5))).tolist()))
    return sorted(found)


@pytest.fixture(scope="module")
def talker(talking_llama: Any) -> Any:
    return talking_llama(VOCABULARY, 3)


def answers_of(
    names: list[Name], concept_of: np.ndarray, separator: tuple[int, ...], most: int, alone: tuple[int, ...] = ()
) -> dict[tuple[int, ...], list[int]]:
    """Every answer allowed and its token ids: one name, and ordered names of different concepts, none of which stands alone only."""
    found = {}
    for size in range(1, most + 1):
        for entries in permutations(range(len(names)), size):
            if len({int(concept_of[entry]) for entry in entries}) == size and (size == 1 or not set(entries) & set(alone)):
                ids = [token for entry in entries for token in (*names[entry], *separator)]
                found[entries] = [*ids[: len(ids) - len(separator)], END]
    return found


def check(found: Found, scores: dict[tuple[int, ...], float], ids: dict[tuple[int, ...], list[int]]) -> None:
    assert found.names
    assert len({name.entries for name in found.names}) == len(found.names)
    for name in found.names:
        assert name.log_prob == pytest.approx(scores[name.entries], abs=TOLERANCE)
        assert name.length == len(ids[name.entries])
    others = [score for entries, score in scores.items() if entries not in {name.entries for name in found.names}]
    if others:
        assert np.logaddexp.reduce(others) <= found.log_open + TOLERANCE


def masses(scores: dict[tuple[int, ...], float], concept_of: np.ndarray) -> dict[tuple[int, ...], float]:
    """All orders and all names of a set of concepts summed."""
    groups: dict[tuple[int, ...], list[float]] = {}
    for entries, score in scores.items():
        groups.setdefault(tuple(sorted(int(concept_of[entry]) for entry in entries)), []).append(score)
    return {key: float(np.logaddexp.reduce(each)) for key, each in groups.items()}


@pytest.mark.parametrize("separator", [(28,), SEPARATOR])
@pytest.mark.parametrize("n_concepts", [30, 8])
def test_pairs_equal_scoring_every_ordered_pair(talker: Any, few_names: list[Name], separator: tuple[int, ...], n_concepts: int) -> None:
    rng = np.random.default_rng(n_concepts)
    concept_of = np.arange(30) if n_concepts == 30 else rng.integers(0, n_concepts, 30)
    trie, ids = trie_of(few_names), answers_of(few_names, concept_of, separator, 2)
    composite = Composite(separator, 2, concept_of)
    prompts = [rng.integers(1, VOCABULARY, length).tolist() for length in (2, 5, 9)]
    given = {"composite": composite}
    exact = exact_search(talker, trie, prompts, k=4, concept_of=concept_of, max_expansions=None, **given)
    short = exact_search(talker, trie, prompts, k=4, concept_of=concept_of, max_expansions=3, **given)
    beam, greedy = beam_search(talker, trie, prompts, num_beams=6, **given), greedy_search(talker, trie, prompts, **given)
    for query, prompt in enumerate(prompts):
        scores = dict(zip(ids, score_entries(talker, prompt, list(ids.values())), strict=True))
        for found in (exact[query], short[query], beam[query], greedy[query]):
            check(found, scores, ids)
        wanted = sorted(masses(scores, concept_of).items(), key=lambda item: -item[1])
        ranked = rank_concepts(exact[query], concept_of)
        for rank in range(4):
            if wanted[rank][1] - wanted[rank + 1][1] < 5 * TOLERANCE:
                break
            assert ranked[rank].concepts == wanted[rank][0]
            assert ranked[rank].certified
        assert greedy[query].names[0].log_prob <= max(scores.values()) + TOLERANCE
        assert max(name.log_prob for name in short[query].names) >= greedy[query].names[0].log_prob - TOLERANCE


def test_a_set_has_the_mass_of_all_its_orders(talker: Any) -> None:
    names = [(3,), (4, 5), (6,)]
    concept_of, ids = np.array([7, 8, 9]), answers_of([(3,), (4, 5), (6,)], np.array([7, 8, 9]), SEPARATOR, 3)
    (found,) = exact_search(talker, trie_of(names), [[1, 2]], k=99, concept_of=concept_of, max_expansions=None, composite=Composite(SEPARATOR, 3, concept_of))
    assert len(found.names) == len(ids) == 3 + 6 + 6
    scores = dict(zip(ids, score_entries(talker, [1, 2], list(ids.values())), strict=True))
    ranked = {answer.concepts: answer.log_mass for answer in rank_concepts(found, concept_of)}
    assert ranked.keys() == {(7,), (8,), (9,), (7, 8), (7, 9), (8, 9), (7, 8, 9)}
    assert ranked == pytest.approx(masses(scores, concept_of), abs=TOLERANCE)


def test_it_is_offered_only_when_asked(talker: Any, few_names: list[Name]) -> None:
    (found,) = exact_search(talker, trie_of(few_names), [[1, 2]], k=99, max_expansions=None)
    assert {len(name.entries) for name in found.names} == {1}
    assert len(found.names) == 30


def test_every_name_of_an_answer_is_in_the_scope(talker: Any, few_names: list[Name]) -> None:
    trie, concept_of = trie_of(few_names, [{i % 2} for i in range(30)], 2), np.arange(30)
    scopes = [trie_scope(trie, [1]), trie_scope(trie, candidates=[3, 4, 10]), trie_scope(trie)]
    allowed = [set(range(1, 30, 2)), {3, 4, 10}, set(range(30))]
    found = exact_search(talker, trie, [[1]] * 3, k=999, concept_of=concept_of, max_expansions=None, scopes=scopes, composite=Composite((28,), 2, concept_of))
    for each, entries in zip(found, allowed, strict=True):
        assert {name.entries for name in each.names} == {(a,) for a in entries} | set(permutations(entries, 2))


@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
    st.integers(2, 3),
    st.integers(1, 6),
)
@settings(max_examples=12, deadline=None)
def test_no_walk_comes_to_a_dead_end_where_only_repeats_are_left(talker: Any, names: list[Name], concepts: list[int], most: int, budget: int) -> None:
    concept_of = np.array(concepts[: len(names)])
    ids, trie = answers_of(names, concept_of, (28,), most), trie_of(names)
    composite = Composite((28,), most, concept_of)
    (whole,) = exact_search(talker, trie, [[5]], k=10**6, concept_of=concept_of, max_expansions=None, composite=composite)
    assert {name.entries for name in whole.names} == ids.keys()
    assert whole.log_open == -np.inf
    (greedy,), (short,) = greedy_search(talker, trie, [[5]], composite=composite), exact_search(talker, trie, [[5]], max_expansions=budget, composite=composite)
    (beam,) = beam_search(talker, trie, [[5]], num_beams=3, composite=composite)
    assert len(greedy.names) == 1
    assert len(beam.names) >= min(3, len(ids))
    assert max(name.log_prob for name in short.names) >= greedy.names[0].log_prob - TOLERANCE


@pytest.mark.parametrize("seed", range(6))
def test_tokens_that_can_be_read_in_two_ways_count_once(talking_llama: Any, seed: int) -> None:
    """Separator 9: "1 9 2 9 3" is "1" + "2 9 3" and "1 9 2" + "3", both of concepts 0 and 1."""
    names, concept_of = [(1,), (1, 9, 2), (2, 9, 3), (3,), (4,)], np.array([0, 0, 1, 1, 2])
    model, prompt = talking_llama(12, seed), [5, 6]
    ids = answers_of(names, concept_of, (9,), 2)
    scores = dict(zip(ids, score_entries(model, prompt, list(ids.values())), strict=True))
    once = {(tuple(sorted(concept_of[list(entries)].tolist())), tuple(ids[entries])): score for entries, score in scores.items()}
    assert len(once) == len(ids) - 1
    true: dict[tuple[int, ...], float] = {}
    for (concepts, _), score in once.items():
        true[concepts] = float(np.logaddexp(true.get(concepts, -np.inf), score))
    given_: dict[str, Any] = {"composite": Composite((9,), 2, concept_of)}
    for found in (
        *exact_search(model, trie_of(names), [prompt], k=99, concept_of=concept_of, max_expansions=None, **given_),
        *beam_search(model, trie_of(names), [prompt], num_beams=40, **given_),
    ):
        assert len(found.names) == len(once)
        assert {answer.concepts: answer.log_mass for answer in rank_concepts(found, concept_of)} == pytest.approx(true, abs=TOLERANCE)


def test_the_only_concept_is_an_answer_by_itself(talker: Any) -> None:
    composite = Composite((28,), 3, np.array([0, 0]))
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 3}), (exact_search, {"k": 3})):
        (found,) = search(talker, trie_of([(3,), (4, 5)]), [[1, 2]], composite=composite, **given_)
        assert {name.entries for name in found.names} <= {(0,), (1,)}
        assert found.names


@pytest.mark.parametrize("most", [2, 3])
@pytest.mark.parametrize("alone", [(2,), (0, 7), (0, 1, 2, 3, 4, 5, 6)])
def test_entries_that_stand_alone_are_part_of_no_answer_of_several_names(talker: Any, alone: tuple[int, ...], most: int) -> None:
    # Entry 2 and entries 0, 1 begin alike; 3 and 4 are of one concept.
    names = [(3,), (3, 4), (3, 4, 5), (6,), (6, 7), (8,), (9, 3), (9, 4)]
    concept_of = np.array([0, 1, 2, 3, 3, 4, 5, 6])
    ids, trie = answers_of(names, concept_of, SEPARATOR, most, alone), trie_of(names)
    composite = Composite(SEPARATOR, most, concept_of, alone)
    (whole,) = exact_search(talker, trie, [[5]], k=10**6, concept_of=concept_of, max_expansions=None, composite=composite)
    assert {name.entries for name in whole.names} == ids.keys()
    scores = dict(zip(ids, score_entries(talker, [5], list(ids.values())), strict=True))
    (greedy,), (beam,) = greedy_search(talker, trie, [[5]], composite=composite), beam_search(talker, trie, [[5]], num_beams=4, composite=composite)
    (short,) = exact_search(talker, trie, [[5]], concept_of=concept_of, max_expansions=2, composite=composite)
    for found in (whole, greedy, beam, short):
        check(found, scores, ids)


@pytest.mark.parametrize(("separator", "most", "message"), [((), 2, "a separator of at least one token"), ((1,), 1, "at least 2 names, got 1")])
def test_rules_without_a_separator_or_for_single_names_are_refused(separator: tuple[int, ...], most: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Composite(separator, most, np.array([0]))
