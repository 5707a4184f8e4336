"""Features, digests of strings, and the two calibrators against scikit-learn's own predictions."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from syncabel.calibration.answering import answer_set, log_shares
from syncabel.calibration.features import FEATURES, features_of, names_of
from syncabel.calibration.fit import calibrate, cross_fitted, fit_calibrator, judged
from syncabel.calibration.seen import SeenStrings
from syncabel.calibration.store import Calibration, Digests
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, FormatError
from syncabel.types import Document, LinkedMention, Mention, Prediction, Span

Floats = Any


def linked(text: str, *predictions: Prediction, document: str = "d", mention: str = "0") -> LinkedMention:
    return LinkedMention(document, mention, text, 0, len(text), (), predictions)


def answer(code: str, name: str, mass: float, bound: float | None = 0.1) -> Prediction:
    return Prediction((code,), name, math.log(mass) if mass else -900.0, mass=mass, bound=bound)


def test_features_are_the_documented_numbers(small_lexicon: Any) -> None:
    found = dict(
        zip(FEATURES, features_of(linked("Angina", answer("A:3", "angina", 0.5), answer("A:4", "x", 0.125)), small_lexicon, None, {"cold"}), strict=True)
    )
    assert found == pytest.approx(
        {
            "log_mass": math.log(0.5),
            "margin": math.log(4),
            "log_bound": math.log(0.1),
            "log_length": math.log(7),
            "seen": 0.0,
            "equal": 1.0,
            "similarity": 1.0,
        }
    )


def test_masses_below_the_smallest_float_and_answers_alone_have_finite_features(small_lexicon: Any) -> None:
    row = features_of(linked("x", answer("A:3", "angina", 0.0, bound=0.0)), small_lexicon)
    assert row[:3].tolist() == [-20.0, 20.0, -20.0]
    assert features_of(linked("x", answer("A:3", "angina", 0.5, bound=None)), None)[2] == 0


def test_a_long_form_and_the_bare_name_of_a_shared_leaf_are_compared_too(small_lexicon: Any) -> None:
    one = answer("A:1", "multiple sclerosis", 0.5)
    assert "MS" in names_of(one, small_lexicon)
    assert features_of(linked("MS", one), small_lexicon)[FEATURES.index("equal")] == 1
    assert features_of(linked("DS", one), small_lexicon)[FEATURES.index("equal")] == 0
    assert features_of(linked("DS", one), small_lexicon, "disseminated sclerosis")[FEATURES.index("equal")] == 1


@given(st.lists(st.text(max_size=8)), st.text(max_size=8))
def test_seen_strings_answer_as_a_set_of_folded_strings_does(texts: list[str], other: str) -> None:
    from syncabel.text import fold

    seen = SeenStrings.of(texts)
    assert all(text in seen for text in texts)
    assert (other in seen) == (fold(other) in {fold(text) for text in texts})


def test_seen_strings_survive_a_file_and_other_arrays_are_refused(tmp_path: Path) -> None:
    seen = SeenStrings.of(["Cold", "angina", "cold "])
    seen.save(tmp_path / "seen.npy")
    again = SeenStrings.load(tmp_path / "seen.npy")
    assert (len(again), again.digest) == (2, seen.digest)
    np.save(tmp_path / "other.npy", np.array([3.0]))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    for name in ("other.npy", "broken.npy"):
        with pytest.raises(FormatError, match=name):
            SeenStrings.load(tmp_path / name)


def some_rows(n: int, seed: int = 0) -> tuple[Floats, Floats, list[str]]:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, len(FEATURES)))
    matrix[:, 4] = 1.0  # a feature that never varies
    right = (rng.random(n) < 1 / (1 + np.exp(-2 * matrix[:, 0] - matrix[:, 1]))).astype(float)
    return matrix, right, [str(i // 5) for i in range(n)]


def test_both_calibrators_say_what_scikit_learn_says() -> None:
    matrix, right, _ = some_rows(300)
    scaled = StandardScaler().fit_transform(matrix)
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(scaled, right)
    logistic = fit_calibrator("logistic", matrix, right, FEATURES)
    assert logistic.probability(matrix) == pytest.approx(np.clip(reference.predict_proba(scaled)[:, 1], 1 / 302, 301 / 302))
    score = reference.decision_function(scaled)
    steps = IsotonicRegression(out_of_bounds="clip").fit(score, right)
    isotonic = fit_calibrator("isotonic", matrix, right, FEATURES)
    other = some_rows(100, seed=1)[0]
    there = reference.decision_function(StandardScaler().fit(matrix).transform(other))
    assert isotonic.probability(other) == pytest.approx(np.clip(steps.predict(there), 1 / 302, 301 / 302))


def test_isotonic_confidence_never_falls_with_the_score() -> None:
    matrix, right, _ = some_rows(200)
    by = {kind: fit_calibrator(kind, matrix, right, FEATURES).probability(matrix) for kind in ("logistic", "isotonic")}  # type: ignore[arg-type]
    order = np.argsort(by["logistic"])
    assert (np.diff(by["isotonic"][order]) >= -1e-12).all()


def test_no_row_is_scored_by_a_calibrator_that_saw_its_document() -> None:
    """Rows of one document are made each other's answer key: whoever is fitted on it knows them."""
    matrix, _, documents = some_rows(200, seed=3)
    rng = np.random.default_rng(0)
    noise = (rng.random(200) < 0.5).astype(float)
    for name in ("7", "21"):
        held = np.array([each == name for each in documents])
        changed = np.where(held, 1 - noise, noise)
        one, other = (cross_fitted("logistic", matrix, right, documents, FEATURES) for right in (noise, changed))
        assert (one[held] == other[held]).all()
        assert (one[~held] != other[~held]).any()


def test_cross_fitting_does_not_go_by_the_order_of_the_rows() -> None:
    matrix, right, documents = some_rows(100)
    order = np.random.default_rng(1).permutation(100)
    turned = cross_fitted("isotonic", matrix[order], right[order], [documents[i] for i in order], FEATURES)
    assert turned == pytest.approx(cross_fitted("isotonic", matrix, right, documents, FEATURES)[order], abs=1e-3)


def corpus(*right: bool, per_document: int = 2) -> tuple[list[Document], dict[tuple[str, str], LinkedMention]]:
    documents, found = [], {}
    for i in range(0, len(right), per_document):
        mentions = []
        for j, good in enumerate(right[i : i + per_document]):
            mentions.append(Mention(str(j), (Span(2 * j, 2 * j + 1),), "a", None, (("A:1" if good else "A:2",),)))
            found[f"d{i}", str(j)] = linked("a", answer("A:1", "a name", 0.9 if good else 0.3), answer("A:2", "b", 0.05), document=f"d{i}", mention=str(j))
        documents.append(Document(f"d{i}", "a " * per_document, tuple(mentions)))
    return documents, found


NONE = Digests("", "", "", "")


@pytest.mark.parametrize(
    ("right", "message"),
    [([True] * 8, "all 8 answers .* are right"), ([False] * 8, "all 8 answers .* are wrong"), ([True, False], "1 calibrating documents"), ([], "0 calib")],
)
def test_what_cannot_be_calibrated_is_refused(right: list[bool], message: str) -> None:
    documents, found = corpus(*right)
    with pytest.raises(ConfigError, match=message):
        calibrate(judged(documents, found, str, "set"), None, NONE, DecodingSettings())


def test_nil_is_right_where_the_answer_abstains_and_unannotated_mentions_do_not_count() -> None:
    text = "a b c d"
    spans = [(Span(i, i + 1),) for i in (0, 2, 4, 6)]
    golds = ((), (), None, (("A:1", "A:2"),))
    mentions = tuple(Mention(str(i), span, text[2 * i], None, gold) for i, (span, gold) in enumerate(zip(spans, golds, strict=True)))
    document = Document("d", text, mentions)
    nil, named = Prediction(("NIL",), "none", -1.0), answer("A:1", "a", 0.5)
    both = Prediction(("A:1", "A:2"), "a and b", -1.0, mass=0.3)
    results = {("d", str(i)): linked(text[2 * i], *each, mention=str(i)) for i, each in enumerate([(nil, named), (named, nil), (named,), (named, both)])}
    rows = judged([document], results, str, "set")
    assert [row.right for row in rows] == [(True, False), (False, True), (False, True)]
    assert judged([document], results, str, "overlap")[2].right == (True, True)
    with pytest.raises(ConfigError, match="1 annotated mentions have no line in the predictions, the first: document 'd', mention '3'"):
        judged([document], {key: value for key, value in results.items() if key[1] != "3"}, str, "set")


def test_sets_hold_the_first_answer_always_and_the_others_by_their_share() -> None:
    answers = (answer("A", "a", 0.2), answer("B", "b", 0.6), answer("C", "c", 0.2), Prediction((), "no name", -9.0))
    assert log_shares(answers)[:2] == [0.0, pytest.approx(math.log(0.6), abs=1e-3)]
    assert answer_set(answers, math.log(0.5)) == ("A", "B")
    assert answer_set(answers, -1000.0) == ("A", "B", "C")
    assert answer_set(answers[1:2], 0.0) == ("B",)


def test_a_calibration_reads_back_what_it_wrote(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    documents, found = corpus(*(rng.random(40) < 0.6).tolist())
    made = calibrate(judged(documents, found, str, "set"), None, NONE, DecodingSettings(), rounds=50)
    made.calibration.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made.calibration
    assert made.after.brier is not None
    assert made.before.brier is not None
    assert made.after.brier < made.before.brier
