"""Confidence against what was right: hand-worked tables, scikit-learn, and the slow and obvious way as oracles."""

import doctest
import json
import math
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

import syncabel.evaluate.confidence
from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError
from syncabel.evaluate import ConfidenceReport, chosen_confidence, confidence_json, confidence_report, evaluate, report_json
from syncabel.types import Prediction

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.99, 1.0]), st.sampled_from("abc")), min_size=1, max_size=12)


def report_of(rows: list[tuple[bool, float, str]], rounds: int = 20) -> ConfidenceReport:
    right, sure, documents = zip(*rows, strict=True)
    return confidence_report(right, sure, documents, rounds=rounds)


def random_rows(n: int, documents: int, seed: int = 0) -> tuple[Any, Any, list[str]]:
    rng = np.random.default_rng(seed)
    sure = rng.random(n).round(2)  # with ties
    return rng.random(n) < sure**2, sure, [str(each) for each in rng.integers(0, documents, n)]


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(syncabel.evaluate.confidence).failed == 0


def test_brier_and_auroc_are_those_of_scikit_learn() -> None:
    right, sure, documents = random_rows(500, 20)
    report = confidence_report(right, sure, documents, rounds=10)
    assert report.brier == pytest.approx(brier_score_loss(right, sure))
    assert report.auroc == pytest.approx(roc_auc_score(right, sure))


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_calibration_error_is_what_adding_up_bin_by_bin_gives(rows: list[tuple[bool, float, str]]) -> None:
    report, together = report_of(rows), 0.0
    for i in range(10):
        inside = [(right, sure) for right, sure, _ in rows if i / 10 <= sure < (i + 1) / 10 or (sure == 1 and i == 9)]
        assert report.bins[i].n == len(inside)
        if inside:
            mean, share = (sum(values) / len(inside) for values in (zip(*((sure, right) for right, sure in inside), strict=True)))
            assert (report.bins[i].confidence, report.bins[i].accuracy) == (pytest.approx(mean), pytest.approx(share))
            together += len(inside) / len(rows) * abs(mean - share)
    assert report.ece == pytest.approx(together)
    assert sum(part.n for part in report.mass_bins) == len(rows)
    assert report.ece_mass == pytest.approx(sum(part.n / len(rows) * abs((part.confidence or 0) - (part.accuracy or 0)) for part in report.mass_bins))


def brute_aurc(rows: list[tuple[bool, float, str]]) -> float:
    """The mean over every order that rows of equal confidence may come in."""
    runs = [[not right for right, sure, _ in rows if sure == value] for value in sorted({sure for _, sure, _ in rows}, reverse=True)]
    orders = product(*(list(permutations(run)) for run in runs))
    areas = []
    for order in orders:
        wrong = np.cumsum([each for run in order for each in run])
        areas.append(float((wrong / np.arange(1, len(rows) + 1)).mean()))
    return sum(areas) / len(areas)


@given(ROWS.map(lambda rows: rows[:6]))
@settings(max_examples=60, deadline=None)
def test_the_area_under_risk_and_coverage_is_the_mean_over_every_order_of_ties(rows: list[tuple[bool, float, str]]) -> None:
    report = report_of(rows)
    assert report.aurc == pytest.approx(brute_aurc(rows))
    perfect = brute_aurc([(right, float(right), document) for right, _, document in rows])
    best = brute_aurc([(right, 1 - i / 10, document) for i, (right, _, document) in enumerate(sorted(rows, key=lambda row: -row[0]))])
    assert perfect == pytest.approx(best)
    assert report.excess_aurc == pytest.approx((report.aurc or 0) - best)
    assert (report.excess_aurc or 0) > -1e-12


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_the_curve_says_what_answering_from_each_threshold_on_gives(rows: list[tuple[bool, float, str]]) -> None:
    curve = report_of(rows).curve
    assert [point.threshold for point in curve] == sorted({sure for _, sure, _ in rows}, reverse=True)
    for point in curve:
        given_ = [right for right, sure, _ in rows if sure >= point.threshold]
        assert (point.coverage, point.risk) == (pytest.approx(len(given_) / len(rows)), pytest.approx(given_.count(False) / len(given_)))


def test_intervals_are_the_published_document_bootstrap() -> None:
    right, sure, documents = random_rows(400, 15, seed=1)
    report = confidence_report(right, sure, documents)
    assert report.intervals["brier"] == pytest.approx(document_interval(documents, (sure - right) ** 2))
    inside = (sure >= 0.5) & (sure < 0.6)
    assert report.bins[5].ci95 == pytest.approx(document_interval(documents, right & inside, inside))


def test_every_replicate_is_scored_as_the_rows_it_draws() -> None:
    """The oracle: replicates written out row by row, scored from scratch."""
    right, sure, documents = random_rows(60, 6, seed=2)
    names, place = np.unique(documents, return_inverse=True)
    found: dict[str, list[float]] = {"auroc": [], "aurc": [], "ece": []}
    for drawn in np.random.default_rng(42).multinomial(len(names), [1 / len(names)] * len(names), size=30):
        rows = np.repeat(np.arange(60), drawn[place])
        alone = confidence_report(right[rows], sure[rows], [str(i) for i in rows], rounds=1)
        found["auroc"].append(roc_auc_score(right[rows], sure[rows]))
        found["aurc"].append(alone.aurc or 0.0)
        found["ece"].append(alone.ece or 0.0)
    report = confidence_report(right, sure, documents, rounds=30)
    for name, values in found.items():
        assert report.intervals[name] == pytest.approx(np.quantile(values, [0.025, 0.975]))


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_right_or_none_is_there_is_no_auroc_and_no_nan(right: bool) -> None:
    report = confidence_report([right] * 4, [0.2, 0.4, 0.4, 0.9], list("aabb"))
    assert report.auroc is None
    assert report.intervals["auroc"] is None
    assert report.excess_aurc == pytest.approx(0)
    assert report.aurc == (0.0 if right else 1.0)
    json.dumps(confidence_json(report), allow_nan=False)


def test_no_rows_are_a_report_of_nulls() -> None:
    values = confidence_json(confidence_report([], [], []))
    assert (values["n"], values["ece"], values["curve"], values["intervals"]["aurc"]) == (0, None, (), None)
    json.dumps(values, allow_nan=False)


def test_an_empty_bin_is_shown_with_n_0_and_nulls() -> None:
    empty = confidence_report([1, 0], [0.95, 0.05], ["a", "b"]).bins[5]
    assert (empty.n, empty.confidence, empty.accuracy, empty.ci95) == (0, None, None, None)


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.01, math.inf])
def test_a_confidence_that_is_no_fraction_is_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="confidence 2 of 2 is"):
        confidence_report([1, 0], [0.5, bad], ["a", "b"])
    with pytest.raises(ConfigError, match="one of each per row"):
        confidence_report([1, 0], [0.5], ["a", "b"])


def test_which_number_is_the_confidence_is_one_for_all() -> None:
    sure, mass, bare = (Prediction(("A",), "a", -1.0, **more) for more in ({"mass": 0.5, "confidence": 0.7}, {"mass": 1.0002}, {}))
    assert chosen_confidence([sure, sure])[1] == "confidence"
    values, source = chosen_confidence([sure, mass, bare])
    assert (values.tolist(), source) == ([0.5, 1.0, 0.0], "mass")
    values, source = chosen_confidence([bare, Prediction(("A",), "a", 3.0)])
    assert (values.tolist(), source) == ([pytest.approx(math.exp(-1)), 1.0], "log_prob")
    assert chosen_confidence([])[0].shape == (0,)


def sure(linked: Any, *masses: float) -> list[Any]:
    """The results, each first answer with a mass."""
    return [replace(one, predictions=(replace(one.predictions[0], mass=mass),)) if one.predictions else one for one, mass in zip(linked, masses, strict=True)]


def test_a_concept_given_for_a_nil_mention_is_a_wrong_answer_and_n_says_so(annotated: Any, answered: Any, tree_kb: Any) -> None:
    """Worked by hand.  Of six mentions three are NIL; five have an answer, three of those right: leaf, no concept for NIL, side.

    Two wrong: a concept for NIL at 0.9, NIL for a concept at 0.4.  Brier: (0.1² + 0.2² + 0.4² + 0.9² + 0.4²) / 5.  Of the six pairs of a right and a wrong one
    0.9 > 0.4, 0.8 > 0.4, 0.6 > 0.4 stand right, 0.9 = 0.9 half: 3.5 / 6.
    """
    one = annotated(
        "d1",
        ("a", "leaf"),
        (
            "b",
            "",
        ),
        ("c", ""),
    )
    two = annotated("d2", ("a", "side"), ("b", "right"), ("c", ""))
    linked = [*sure(answered(one, "leaf", "left", "NIL"), 0.9, 0.9, 0.8), *sure(answered(two, "side", "NIL", ""), 0.6, 0.4, 0.0)]
    report = evaluate([one, two], linked, tree_kb)
    found = report.confidence
    assert found is not None
    assert (report.n, report.nil, found.n, found.nil, found.documents) == (3, 3, 5, 2, 2)
    assert (found.accuracy, found.source) == (3 / 5, "mass")
    assert found.brier == pytest.approx((0.1**2 + 0.2**2 + 0.4**2 + 0.9**2 + 0.4**2) / 5)
    assert found.auroc == pytest.approx(3.5 / 6)
    assert report_json(report)["confidence"]["nil"] == 2


def test_calibrate_counts_the_rows_that_evaluate_counts(annotated: Any, answered: Any, tree_kb: Any, small_lexicon: Any) -> None:
    from syncabel.calibration.fit import calibrate, judged
    from syncabel.calibration.store import Digests
    from syncabel.decoding import DecodingSettings

    kinds = [("leaf", "leaf"), ("", "left"), ("", "NIL"), ("side", "-"), ("right", "left"), ("left", ""), ("old", "leaf right")]
    documents = [annotated(f"d{i}", *((f"m{j}", gold) for j, (gold, _) in enumerate(kinds[i % 3 :]))) for i in range(6)]
    bare = [result for i, document in enumerate(documents) for result in answered(document, *(given for _, given in kinds[i % 3 :]))]
    linked = sure(bare, *np.random.default_rng(0).random(len(bare)).round(2))
    rows = judged(documents, {(one.document_id, one.mention_id): one for one in linked}, tree_kb.canonical, "set")
    before = calibrate(rows, small_lexicon, Digests("", "", "", ""), DecodingSettings()).before
    assert before == evaluate(documents, linked, tree_kb).confidence
    assert (before.n, before.nil) == (30, 10)


def test_prediction_sets_are_scored_over_documents_with_nil_and_missing_lines_lost(annotated: Any, answered: Any, tree_kb: Any) -> None:
    """Two of four mentions of one document (by another id of the concept, and as a composite), the one mention of the other."""
    first = annotated("d1", ("one", "leaf"), ("two", "left+right"), ("three", ""), ("four", "leaf"))
    second = annotated("d2", ("one", "side|top"))
    bare = [*answered(first, "side", "side", "side", None), *answered(second, "side")]
    given_ = [("side", "old"), ("side", "right+left"), ("side",), ("top",)]
    linked = [replace(result, answer_set=codes) for result, codes in zip(bare, given_, strict=True)]
    found = evaluate([first, second], linked, tree_kb).sets
    assert found is not None
    assert (found.n, found.documents, found.coverage, found.mention_coverage, found.codes) == (5, 2, 3 / 4, 3 / 5, 6 / 5)
    assert found.ci95 == (0.5, 1.0)
    held = [replace(result, predictions=(), alternatives=result.predictions, abstained="low") for result in linked]
    assert evaluate([first, second], held, tree_kb).sets == found
    assert report_json(evaluate([first, second], bare, tree_kb))["sets"] is None


def test_the_command_says_how_often_sets_hold_a_right_answer(annotated: Any, answered: Any, tree_kb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from syncabel.cli.evaluate_show import show_report

    one = annotated("d", ("one", "leaf"), ("two", "side"))
    show_report(evaluate([one], [replace(each, answer_set=("leaf", "top")) for each in answered(one, "leaf", "leaf")], tree_kb))
    assert "prediction sets hold a right answer: 50.00 % [50.00, 50.00] over 1 documents, 50.00 % over 2 mentions; 2.00 codes a mention" in " ".join(
        capsys.readouterr().out.split()
    )
