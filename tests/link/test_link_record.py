"""`syncabel link -o` leaves a record of what linking took; `syncabel evaluate` takes speed and recipe from it, and from no other file's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from syncabel.cli.app import app
from syncabel.cli.link_record import read_record, record_path
from syncabel.errors import FormatError
from syncabel.evaluate import read_run
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.prompt import PromptFormat
from syncabel.types import Document, Mention, Span, to_json


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Any, tiny_llama: Callable[..., Any], small_kb: Any, small_lexicon: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a knowledge base and two documents."""
    base = tmp_path_factory.mktemp("recorded")
    small_lexicon.save(base / "lexicon")
    small_kb.save(base / "kb")
    export_model(tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), Facts("test", "random"))
    documents = [Document(name, "A cold.", (Mention("m", (Span(2, 6),), "cold", "Disease", (("A:7",),)),)) for name in ("a", "b")]
    (base / "documents.jsonl").write_text("".join(json.dumps(to_json(each)) + "\n" for each in documents), encoding="utf-8")
    return base


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def link(folder: Path, output: Path) -> Path:
    assert run("link", "--model", folder / "model", folder / "documents.jsonl", "-o", output, "--search", "greedy").exit_code == 0
    return output


def evaluated(folder: Path, predictions: Path) -> Any:
    done = run("evaluate", folder / "documents.jsonl", predictions, "--kb", folder / "kb", "--baselines", "-o", predictions.parent / "run")
    assert done.exit_code == 0, done.output
    return read_run(predictions.parent / "run")


def test_a_file_of_predictions_holds_the_lines_that_standard_output_would(folder: Path, tmp_path: Path) -> None:
    printed = run("link", "--model", folder / "model", folder / "documents.jsonl", "--search", "greedy")
    assert link(folder, tmp_path / "new" / "predictions.jsonl").read_text(encoding="utf-8") == printed.stdout


def test_speed_and_recipe_of_a_linking_come_with_its_evaluation(folder: Path, tmp_path: Path) -> None:
    predictions = link(folder, tmp_path / "predictions.jsonl")
    record = json.loads((tmp_path / "predictions.record.json").read_text(encoding="utf-8"))
    assert record["speed"]["mentions"] == 2
    assert record["speed"]["mentions_per_second"] == pytest.approx(2 / record["speed"]["seconds"], rel=0.5)
    assert 10 < record["speed"]["peak_memory_mb"] < 100_000
    assert record["search"]["search"] == "greedy"
    assert record["model"] == "model"
    assert str(folder) not in json.dumps(record)
    found = evaluated(folder, predictions)
    assert found.speed == {**record["speed"], "search": "greedy"}
    assert found.recipe == json.loads((folder / "model" / "training.json").read_text(encoding="utf-8"))


def test_baselines_say_how_fast_they_rank(folder: Path, tmp_path: Path) -> None:
    evaluated(folder, link(folder, tmp_path / "predictions.jsonl"))
    speed = read_run(tmp_path / "run" / "baselines" / "exact").speed
    assert speed is not None
    assert speed["mentions"] == 2
    assert speed["mentions_per_second"] > 0


def test_a_record_of_other_predictions_is_left_out_and_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = link(folder, tmp_path / "predictions.jsonl")
    predictions.write_text(predictions.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert read_record(predictions) is None
    assert "other predictions" in capsys.readouterr().err
    assert evaluated(folder, predictions).speed is None


def test_a_damaged_record_is_an_error_of_one_line(folder: Path, tmp_path: Path) -> None:
    predictions = link(folder, tmp_path / "predictions.jsonl")
    record_path(predictions).write_text("{}", encoding="utf-8")
    with pytest.raises(FormatError, match="not a record of `syncabel link -o`"):
        read_record(predictions)


def test_a_table_is_not_written_to_a_file(folder: Path, tmp_path: Path) -> None:
    done = run("link", "--model", folder / "model", folder / "documents.jsonl", "--format", "table", "-o", tmp_path / "x")
    assert done.exit_code != 0
    assert "standard output" in str(done.exception)
