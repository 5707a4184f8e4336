"""What is promised of precision and coverage, against simulations in which mentions of a document go together."""

import doctest
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import syncabel.calibration.thresholds
from syncabel.bootstrap import document_interval
from syncabel.calibration.thresholds import SetPoint, coverage_for, precision_curve, set_curve, set_level, threshold_for
from syncabel.errors import ConfigError

Floats = Any


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(syncabel.calibration.thresholds).failed == 0


def levels_of(documents: int, rng: np.random.Generator) -> list[Floats]:
    """Log shares at which right answers come in, alike within a document; hard documents are short."""
    return [-np.exp(4 * hard - 2 + 0.2 * rng.normal(size=2 if hard > 0.8 else 12)) for hard in rng.random(documents)]


@pytest.mark.parametrize(("count", "coverage"), [(15, 0.9), (30, 0.8)])
def test_sets_cover_as_promised_over_documents_where_calibrating_on_mentions_does_not(count: int, coverage: float) -> None:
    rng = np.random.default_rng(0)
    new = levels_of(20_000, rng)
    weight = np.concatenate([np.full(len(each), 1 / len(each) / len(new)) for each in new])
    order = np.argsort(np.concatenate(new))
    levels, over = np.concatenate(new)[order], np.r_[np.cumsum(weight[order][::-1])[::-1], 0.0]

    def coverage_at(level: float) -> float:
        return float(over[np.searchsorted(levels, level)])

    by_document, by_mention = [], []
    for _ in range(150):
        drawn = levels_of(count, rng)
        needed, ids = np.concatenate(drawn), [str(i) for i, each in enumerate(drawn) for _ in each]
        by_document.append(coverage_at(set_level(set_curve(needed, ids, [[0.0]] * len(ids)), count, coverage).log_share))
        rank = math.ceil((len(needed) + 1) * coverage)  # split conformal as if mentions were exchangeable
        by_mention.append(coverage_at(float(np.sort(needed)[::-1][rank - 1])))
    assert np.mean(by_document) >= coverage
    assert np.mean(by_mention) < coverage - 0.05


def answers(documents: int, rng: np.random.Generator) -> tuple[Floats, Floats, list[str]]:
    """Whether eight answers a document are right, and how sure; documents differ in how hard they are, which the confidence does not know."""
    place, ease = np.repeat(np.arange(documents), 8), rng.normal(size=documents)
    signal = rng.normal(size=8 * documents) * 1.5 + 1
    right = rng.random(8 * documents) < 1 / (1 + np.exp(-(2 * signal + ease[place])))
    return right, 1 / (1 + np.exp(-1.7 * signal)), [str(i) for i in place]


def test_a_promised_precision_is_kept_on_new_documents_in_nearly_every_draw() -> None:
    rng, kept = np.random.default_rng(0), []
    right, sure, _ = answers(4000, rng)
    for _ in range(40):
        point = threshold_for(precision_curve(*answers(40, rng), rounds=200), 0.9)
        kept.append(right[sure >= point.threshold].mean())
    assert np.mean(np.array(kept) >= 0.9) >= 0.9
    assert np.mean(kept) < 0.98  # and not by answering next to nothing


def test_the_lower_bound_is_the_published_interval_with_one_document_more_wrong() -> None:
    right, sure, documents = answers(20, np.random.default_rng(3))
    for point in precision_curve(right, sure, documents)[::10]:
        given_ = sure >= point.threshold
        low, _ = document_interval(documents, right & given_, given_)
        number = len({each for each, kept in zip(documents, given_, strict=True) if kept})
        assert point.lower == pytest.approx(low * number / (number + 1))
        assert point.precision == pytest.approx(right[given_].mean())
        assert point.coverage == pytest.approx(given_.mean())


@pytest.mark.parametrize("documents", [1, 5, 18])
def test_a_few_documents_without_a_miss_promise_no_95_per_cent(documents: int) -> None:
    ids = [str(i % documents) for i in range(200)]
    with pytest.raises(ConfigError, match="cannot be promised: on the calibrating documents the best lower bound"):
        threshold_for(precision_curve([1] * 200, [0.9] * 200, ids, rounds=50), 0.95)
    assert threshold_for(precision_curve([1] * 200, [0.9] * 200, [str(i % 19) for i in range(200)], rounds=50), 0.95).threshold == 0.9


@pytest.mark.parametrize(("documents", "most"), [(9, 0.9), (19, 0.95), (99, 0.99)])
def test_a_level_needs_its_number_of_documents(documents: int, most: float) -> None:
    perfect = (SetPoint(0.0, 0.0, 1.0),)
    assert set_level(perfect, documents, most) == perfect[0]
    with pytest.raises(ConfigError, match=rf"needs {documents} calibrating documents or more, there are {documents - 1}"):
        set_level(perfect, documents - 1, most)


def test_what_even_all_answers_do_not_cover_is_refused_with_what_they_do() -> None:
    curve = set_curve([math.inf, -math.inf, math.inf, math.inf] * 10, [str(i) for i in range(40)], [[0.0]] * 40)
    with pytest.raises(ConfigError, match=r"reach 0\.732 on the 40 calibrating documents"):
        set_level(curve, 40, 0.9)
    assert set_level(curve, 40, 0.73).risk == 0.25


MENTIONS = st.lists(st.tuples(st.sampled_from([math.inf, -math.inf, -0.5, -1.0, -3.0]), st.sampled_from("abcd")), min_size=1, max_size=30)


@given(MENTIONS, st.floats(0.05, 0.95))
@settings(max_examples=80, deadline=None)
def test_the_level_is_the_highest_that_keeps_the_risk(mentions: list[tuple[float, str]], coverage: float) -> None:
    """The oracle: every level tried, losses averaged by document with one document lost added."""
    needed, ids = [level for level, _ in mentions], [name for _, name in mentions]
    names = sorted(set(ids))

    def risk(level: float) -> float:
        losses = [np.mean([need < level for need, name in mentions if name == each]) for each in names]
        return (sum(losses) + 1) / (len(names) + 1)

    good = [level for level in (0.0, -0.5, -1.0, -3.0) if (level == 0 or level in needed) and risk(level) <= 1 - coverage + 1e-12]
    curve = set_curve(needed, ids, [[0.0] for _ in ids])
    assert all(coverage_for(point, len(names)) == pytest.approx(1 - risk(point.log_share)) for point in curve)
    if good:
        assert set_level(curve, len(names), coverage).log_share == max(good)
    else:
        with pytest.raises(ConfigError):
            set_level(curve, len(names), coverage)


def test_long_curves_are_thinned_and_keep_both_ends() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(5000)
    curve = precision_curve(rng.random(5000) < sure, sure, [str(i // 10) for i in range(5000)], rounds=20)
    assert len(curve) == 200
    assert (curve[0].threshold, curve[-1].threshold) == (sure.max(), sure.min())
