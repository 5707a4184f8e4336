"""`syncabel corpus convert|check`: nothing is lost, and what is left out is counted in the right place."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncabel.cli.corpus import app
from syncabel.corpora import read_jsonl
from syncabel.errors import FormatError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

ROWS = """11|t|Colon cancer (CC) and polyposis.
11|a|
11\t0\t12\tColon cancer\tSpecificDisease\tD003110
11\t14\t16\tCC\tSpecificDisease\tD003110
11\t22\t31\tpolyposis\tSpecificDisease\tD011125
"""


def source_file(folder: Path, text: str = ROWS) -> Path:
    path = folder / "small.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_convert_writes_documents_and_rejections_and_the_sum(tmp_path: Path) -> None:
    source, target = source_file(tmp_path, ROWS.replace("11\t14\t16", "11\t15\t17")), tmp_path / "out" / "all.jsonl"
    ran = CliRunner().invoke(app, ["convert", str(source), "-o", str(target), "--split", "train"])
    assert ran.exit_code == 0, ran.output
    assert "3 rows kept + 1 rejected = 4 read" in ran.output
    assert [document.split for document in read_jsonl(target)] == ["train"]
    rejected = target.with_name("all.rejected.jsonl")
    assert [json.loads(line)["reason"] for line in rejected.read_text("utf-8").splitlines()] == ["offset"]
    again = CliRunner().invoke(app, ["convert", str(source_file(tmp_path)), "-o", str(target)])
    assert again.exit_code == 0
    assert not rejected.exists()


def test_convert_of_an_unreadable_file_ends_with_an_error_and_writes_nothing(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["convert", str(source_file(tmp_path, "")), "-o", str(tmp_path / "all.jsonl")])
    assert isinstance(ran.exception, FormatError)
    assert not (tmp_path / "all.jsonl").exists()


def test_check_prints_a_table_and_reports_rejections_apart(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    concepts = [Concept("D003110", (Name("Colonic Neoplasms", preferred=True),), ("Disease",))]
    KnowledgeBase.build(concepts, About(source="test", release="1", licence="CC0", redistributable=True)).save(folder)
    source = source_file(tmp_path, ROWS.replace("11\t14\t16", "11\t15\t17"))
    ran = CliRunner().invoke(app, ["check", str(source), "--kb", str(folder), "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["concepts_found"] == pytest.approx(1 / 2)
    assert f"{source}:4: first of 1 rows rejected as offset" in ran.stderr
    assert "D003110" not in ran.stderr
    shown = CliRunner().invoke(app, ["check", str(source), "--kb", str(folder)])
    assert "50.0%" in shown.stdout


def test_check_names_the_first_place_of_each_reason(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    KnowledgeBase.build([Concept("A", (Name("a"),), ("G",))], About(source="", release="", licence="", redistributable=True)).save(folder)
    source = source_file(tmp_path, ROWS + "11\t1\t2\tx\tModifier\tA\n99\t0\t1\tC\tModifier\tA\n11\t2\t3\ty\tModifier\tA\n")
    told = CliRunner().invoke(app, ["check", str(source), "--kb", str(folder)]).stderr.splitlines()
    assert sorted(line.split(";")[0] for line in told) == [
        f"{source}:6: first of 2 rows rejected as offset",
        f"{source}:7: first of 1 rows rejected as orphan",
    ]


def test_a_knowledge_base_in_brackets_is_shown_as_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "kb[/b]"
    KnowledgeBase.build([Concept("A", (Name("a"),), ("G",))], About(source="", release="", licence="", redistributable=True)).save(folder)
    shown = CliRunner().invoke(app, ["check", str(source_file(tmp_path)), "--kb", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "kb[/b]" in shown.stdout
