"""Beam scores of the published tables against what is right."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncabel.cli.app import app
from syncabel.errors import FormatError
from syncabel.evaluate import evaluate_tsv, read_tsv

HEAD = "filename\tlabel\tstart_span\tend_span\tcode\tPredicted_code\tPrediction_beam_score\n"


def table(path: Path, *scores: str) -> Path:
    """The first row is right, the others are not; the last has no answer."""
    rows = [f"d{i}\tDISO\t0\t4\tC1\t{code}\t{score}" for i, (code, score) in enumerate(zip(("C1", "C2", "C3", ""), scores, strict=True))]
    path.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_scores_of_answered_rows_are_compared_with_what_is_right(tmp_path: Path) -> None:
    found = evaluate_tsv(read_tsv(table(tmp_path / "t.tsv", "0.9", "0.5", "", "0.7"))).confidence
    assert found is not None
    assert (found.n, found.source) == (2, "beam_score")
    assert found.mean_confidence == pytest.approx(0.7)
    assert found.accuracy == pytest.approx(0.5)
    assert found.auroc == 1.0
    assert found.brier == pytest.approx((0.01 + 0.25) / 2)


def test_a_table_without_scores_has_no_confidence(tmp_path: Path) -> None:
    assert evaluate_tsv(read_tsv(table(tmp_path / "t.tsv", "", "", "", ""))).confidence is None


@pytest.mark.parametrize("score", ["nan", "1.2", "-0.1", "inf", "high"])
def test_a_score_that_is_no_fraction_is_refused_with_its_line(tmp_path: Path, score: str) -> None:
    with pytest.raises(FormatError, match=r"t\.tsv:3: Prediction_beam_score .* is no fraction"):
        read_tsv(table(tmp_path / "t.tsv", "0.9", score, "0.1", ""))


def test_the_published_scores_are_surer_than_right(shared_data: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--tsv", str(shared_data / "predictions" / "EMEA_without.tsv"), "--json"])
    found = json.loads(done.stdout)["confidence"]
    assert found["source"] == "beam_score"
    assert found["n"] == 2197
    assert round(found["mean_confidence"], 3) == 0.865
    assert round(found["accuracy"], 3) == 0.729
