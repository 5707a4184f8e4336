"""The proof itself, without vLLM: bounds from random models, against the sum over every name."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from constrained.concepts import rank_concepts
from constrained.scope import Scope, trie_scope
from constrained.trie import TrieError
from syncabel.serving import ROUNDING, greedy_found, left_open

END = 0
VOCABULARY = 60
# What the catalogue's trie is searched for; names 5, 5 6 and 5 6 7 are prefixes of one another.
ASKED: list[dict[str, list[int]]] = [{}, {"groups": [1]}, {"candidates": [3, 40, 41, 99, 200]}, {"groups": [0, 2], "candidates": list(range(50))}]


class RandomModel:
    """Natural-log probabilities of the next token after any written tokens, the same each time; one path is favoured."""

    def __init__(self, seed: int, favoured: tuple[int, ...], favour: float) -> None:
        self._seed, self._favoured, self._favour = seed, favoured, favour

    def next(self, written: tuple[int, ...]) -> Any:
        logits = np.random.default_rng([self._seed, *written]).normal(size=VOCABULARY)
        if len(written) < len(self._favoured) and self._favoured[: len(written)] == written:
            logits[self._favoured[len(written)]] += self._favour
        return logits - np.logaddexp.reduce(logits)

    def score(self, path: tuple[int, ...]) -> float:
        return math.fsum(float(self.next(path[:i])[token]) for i, token in enumerate(path))


def greedy(model: RandomModel, catalogue: Any, asked: dict[str, list[int]], top: int) -> tuple[list[int], list[dict[int, float]]]:
    """What vLLM reports: the tokens, and beside each the most probable ones of the whole vocabulary."""
    written: list[int] = []
    steps: list[dict[int, float]] = []
    while END not in written:
        row = model.next(tuple(written))
        chosen = max(sorted(catalogue.next_tokens(asked, written)), key=lambda token: row[token])
        steps.append({int(token): float(row[token]) for token in {*np.argsort(-row)[:top].tolist(), chosen}})
        written.append(chosen)
    return written, steps


def scope_of(catalogue: Any, asked: dict[str, list[int]]) -> Scope:
    return trie_scope(catalogue.trie, **asked)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("top", [1, 5, VOCABULARY])
def test_what_was_left_aside_bounds_every_other_name(catalogue: Any, asked: dict[str, list[int]], top: int) -> None:
    scope, certain = scope_of(catalogue, asked), 0
    inside = catalogue.in_scope(asked)
    for seed in range(24):
        favoured = (*catalogue.names[inside[seed % len(inside)]], END)
        model = RandomModel(seed, favoured, favour=(0, 4, 6, 9)[seed % 4])
        found = greedy_found(catalogue.trie, scope, *greedy(model, catalogue, asked, top), 0.0)
        (best,) = found.names
        mass = {entry: math.exp(model.score((*catalogue.names[entry], END))) for entry in inside}
        assert best.log_prob == pytest.approx(math.log(mass[best.entry]))
        assert best.length == len(catalogue.names[best.entry]) + 1
        assert math.fsum(mass.values()) - mass[best.entry] <= found.open_mass * (1 + 1e-9) + 1e-15
        if rank_concepts(found)[0].certified:
            assert best.entry == max(mass, key=lambda entry: mass[entry])
            certain += 1
    assert 0 < certain < 24


def test_more_log_probabilities_never_loosen_the_bound(catalogue: Any) -> None:
    for seed in range(20):
        model = RandomModel(seed, (*catalogue.names[seed], END), 4.0)
        bounds = [greedy_found(catalogue.trie, scope_of(catalogue, {}), *greedy(model, catalogue, {}, top), 0.0).open_mass for top in (0, 1, 5, 20, VOCABULARY)]
        assert all(closer <= bound * (1 + 1e-9) for bound, closer in itertools.pairwise(bounds))


def test_one_step_by_hand() -> None:
    known = {1: 0.5, 4: 0.2, 9: 0.1}
    # 4 is known; of 7, which is not, only that the known ones leave 0.2, and what their sum may be off by.
    assert left_open(known, 1, np.array([1, 4, 7], np.int32)) == pytest.approx(0.4 + ROUNDING)
    # Nothing unknown is allowed.
    assert left_open(known, 1, np.array([1, 4], np.int32)) == pytest.approx(0.2)
    assert left_open(known, 4, np.array([4], np.int32)) == 0.0


def test_a_coarse_arithmetic_asks_for_surer_answers(catalogue: Any) -> None:
    """One step of two names, ε 1.1 as in bfloat16: proven from odds of e^2.2 on, whatever is left unknown."""
    first, second = (i for i, name in enumerate(catalogue.names) if name in {(5,), (5, 6)})
    scope = scope_of(catalogue, {"candidates": [first, second]})
    (tokens,) = ([*name, END] for name in catalogue.names if name == (5,))
    for certain, proven in ((0.88, False), (0.92, True)):
        found = greedy_found(catalogue.trie, scope, tokens, [{5: 0.0}, {END: math.log(certain)}], 1.1)
        assert rank_concepts(found)[0].certified is proven


@pytest.mark.parametrize(
    ("tokens", "why"),
    [([5], "vLLM stopped before the name's end"), ([59, 59, END], "no name begins like that"), ([END], "the empty name is none")],
)
def test_what_is_no_name_leaves_everything_open(catalogue: Any, tokens: list[int], why: str) -> None:
    found = greedy_found(catalogue.trie, scope_of(catalogue, {}), tokens, [{token: -0.1} for token in tokens], 0.0)
    assert not found.names, why
    assert found.open_mass == 1.0


def test_log_probabilities_that_are_no_numbers_certify_nothing(catalogue: Any) -> None:
    tokens = [*catalogue.names[0], END]
    found = greedy_found(catalogue.trie, scope_of(catalogue, {}), tokens, [dict.fromkeys((token, 58), math.nan) for token in tokens], 1e-4)
    assert not found.names
    assert found.open_mass == 1.0


def test_an_entry_outside_the_groups_is_no_answer(catalogue: Any) -> None:
    asked = {"groups": [0]}
    outside = next(entry for entry in range(300) if entry not in catalogue.in_scope(asked))
    tokens = [*catalogue.names[outside], END]
    assert not greedy_found(catalogue.trie, scope_of(catalogue, asked), tokens, [{token: -0.1} for token in tokens], 0.0).names
    with pytest.raises(TrieError, match="group 9 is not in the trie"):
        scope_of(catalogue, {"groups": [9]})
