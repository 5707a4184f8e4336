"""Resampling by document, against loops that do the same slowly."""

import itertools

import numpy as np
import pytest

from syncabel import bootstrap
from syncabel.bootstrap import document_interval, paired_difference, replicates, sign_flip_test
from syncabel.errors import ConfigError

DOCUMENTS = ["10", "9", "9", "b", "b", "b", "10", "a"]
RIGHT = [1, 0, 1, 1, 1, 0, 0, 1]


def naive_interval(documents, credit, weight, rounds, seed):
    names = sorted(set(documents))
    generator, values = np.random.default_rng(seed), []
    for _ in range(rounds):
        drawn = generator.multinomial(len(names), [1 / len(names)] * len(names))
        top = sum(times * c for name, times in zip(names, drawn, strict=True) for d, c in zip(documents, credit, strict=True) if d == name)
        bottom = sum(times * w for name, times in zip(names, drawn, strict=True) for d, w in zip(documents, weight, strict=True) if d == name)
        if bottom:
            values.append(top / bottom)
    return tuple(np.quantile(values, [0.025, 0.975]))


@pytest.mark.parametrize("weight", [[1] * 8, [1, 1, 1, 0, 0, 0, 1, 0]])
def test_the_interval_is_that_of_a_naive_loop(weight):
    assert document_interval(DOCUMENTS, RIGHT, weight, rounds=200) == pytest.approx(naive_interval(DOCUMENTS, RIGHT, weight, 200, 42), abs=1e-15)


def test_drawing_in_blocks_changes_nothing(monkeypatch):
    at_once = document_interval(DOCUMENTS, RIGHT)
    monkeypatch.setattr(bootstrap, "_NUMBERS_AT_ONCE", 12)
    assert document_interval(DOCUMENTS, RIGHT) == at_once


def test_replicates_that_are_kept_are_those_drawn_and_cannot_be_changed(monkeypatch):
    bootstrap._drawn_once.cache_clear()
    kept = [np.concatenate(list(replicates(documents, rounds, seed))) for _ in range(2) for documents, rounds, seed in ((7, 50, 42), (7, 50, 1), (8, 50, 42))]
    drawn = [np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=50) for _ in range(2) for n, seed in ((7, 42), (7, 1), (8, 42))]
    assert all((one == other).all() for one, other in zip(kept, drawn, strict=True))
    assert bootstrap._drawn_once.cache_info().hits == 3
    with pytest.raises(ValueError, match="read-only"):
        next(replicates(7, 50, 42))[0, 0] = 9


def test_row_order_is_of_no_consequence():
    order = [3, 1, 0, 7, 2, 6, 5, 4]
    assert document_interval([DOCUMENTS[i] for i in order], [RIGHT[i] for i in order]) == document_interval(DOCUMENTS, RIGHT)


def test_a_paired_difference_counts_what_only_one_has_right():
    found = paired_difference(DOCUMENTS, RIGHT, [0, 0, 0, 1, 0, 1, 0, 1], rounds=500)
    assert (found.delta, found.only_first, found.only_second) == (2 / 8, 3, 1)
    assert found.ci95[0] <= found.delta <= found.ci95[1]


def test_sign_flips_agree_with_all_flips_counted():
    first, second = [3.0, 1.0, 2.0, 5.0, 1.5], [1.0, 2.0, 0.0, 1.0, 1.0]
    differences = np.subtract(first, second)
    exact = np.mean([abs(np.dot(signs, differences)) >= abs(differences.sum()) - 1e-9 for signs in itertools.product((-1, 1), repeat=5)])
    assert sign_flip_test(first, second, list("abcde")) == exact
    assert bootstrap._random_flips(differences, 42, 20_000) == pytest.approx(exact, abs=0.01)


def test_equal_systems_differ_with_p_one_and_no_p_is_zero():
    assert sign_flip_test(RIGHT, RIGHT, DOCUMENTS, rounds=99) == 1
    many = [str(i) for i in range(100)]
    assert sign_flip_test([1] * 100, [0] * 100, many, rounds=99) == 1 / 100


def test_mentions_of_one_document_flip_together():
    # One document: its sign is all there is, so nothing can be told.
    assert sign_flip_test([1] * 50, [0] * 50, ["d"] * 50, rounds=99) == 1


@pytest.mark.parametrize("rows", [([], []), (["a"], [1, 2])])
def test_no_rows_or_scores_of_another_length_are_refused(rows):
    with pytest.raises(ConfigError, match="give one score per row"):
        document_interval(*rows)


def test_an_interval_from_replicates_without_weight_says_nothing() -> None:
    documents = [str(i) for i in range(200)]
    assert document_interval(documents, [1.0] + [0.0] * 199, [1.0] + [0.0] * 199, rounds=1, seed=1) in {(0.0, 1.0), (1.0, 1.0)}
