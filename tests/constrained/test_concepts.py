"""Ranks and certificates worked out by hand."""

import numpy as np
import pytest

from constrained.concepts import Found, Hypothesis, certified, rank_concepts


def found(probabilities: list[float], open_mass: float = 0.0, epsilon: float = 1e-4) -> Found:
    """Entry i has the i-th probability."""
    with np.errstate(divide="ignore"):
        names = sorted((Hypothesis((i,), float(np.log(p)), 3) for i, p in enumerate(probabilities)), key=lambda name: (-name.log_prob, name.entry))
        return Found(tuple(names), float(np.log(open_mass)), 5, epsilon)


def test_a_concept_has_the_mass_of_all_its_names_and_shows_the_most_probable() -> None:
    ranked = rank_concepts(found([0.3, 0.2, 0.25]), np.array([0, 1, 1]))
    assert [each.concepts for each in ranked] == [(1,), (0,)]
    assert [round(float(np.exp(each.log_mass)), 9) for each in ranked] == [0.45, 0.3]
    assert [each.best.entry for each in ranked] == [2, 0]


def test_equal_masses_are_ranked_by_number_and_neither_is_certain() -> None:
    ranked = rank_concepts(found([0.2, 0.2]), np.array([7, 3]))
    assert [each.concepts for each in ranked] == [(3,), (7,)]
    assert [each.certified for each in ranked] == [False, False]


@pytest.mark.parametrize(
    ("probabilities", "open_mass", "certain"),
    [
        ([0.6], 0.0, [True]),
        ([0.6], 0.5, [True]),
        ([0.5], 0.5, [False]),  # what is open may all be one other concept
        ([0.4], 0.5, [False]),
        ([0.5, 0.3], 0.1, [True, True]),  # 0.5 > 0.3 + 0.1, 0.3 > 0.1
        ([0.5, 0.3], 0.25, [False, False]),  # 0.3 + 0.25 > 0.5: the second rank is not certain where the first is not
        ([0.5, 0.1], 0.2, [True, False]),
        ([0.5, 0.3, 0.05], 0.1, [True, True, False]),  # 0.3 > 0.05 + 0.1
    ],
)
def test_a_rank_is_certain_where_the_next_with_all_that_is_open_cannot_reach_it(probabilities: list[float], open_mass: float, certain: list[bool]) -> None:
    assert [each.certified for each in rank_concepts(found(probabilities, open_mass))] == certain


def test_a_lead_within_the_arithmetics_error_is_no_proof() -> None:
    # 0.5 leads 0.4 by log(1.25) = 0.223 nats.
    assert rank_concepts(found([0.5, 0.4], epsilon=0.11))[0].certified
    assert not rank_concepts(found([0.5, 0.4], epsilon=0.112))[0].certified


def test_ranks_of_several_queries_at_once() -> None:
    log_mass = np.log([[0.5, 0.3, 1e-300], [0.2, 0.1, 1e-300]])
    assert certified(log_mass, np.log([0.1, 0.15]), 1e-4).tolist() == [[True, True], [False, False]]
