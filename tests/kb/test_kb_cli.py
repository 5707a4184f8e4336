"""`syncabel kb build|info|show`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from syncabel.cli.kb import app
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb import KnowledgeBase

TABLE = "A:1\theart disease\tP\nA:1\tcardiac\u00a0disease\tS\nA:1\tbad\x07name\tS\nA:2\tangina\tP\n"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "demo.tsv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def test_build_writes_a_folder_that_loads_and_tells_what_it_left_out(table: Path, tmp_path: Path) -> None:
    facts = ("--group", "Disease", "--source-name", "Demo", "--release", "1", "--licence", "CC0-1.0", "--redistributable")
    done = run("build", table, *facts, "-o", tmp_path / "kb")
    assert done.exit_code == 0, done.output
    assert "2 concepts, 3 names" in done.output
    assert "1 left out" in done.output
    assert "control_character 1" in done.output
    rejected = [json.loads(line) for line in (tmp_path / "kb" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rejected == [{"where": "Demo", "code": "A:1", "reason": "control_character", "text": "'bad\\x07name'"}]
    about = KnowledgeBase.load(tmp_path / "kb").manifest
    assert (about.source, about.release, about.licence, about.redistributable) == ("Demo", "1", "CC0-1.0", True)


def test_a_source_is_not_redistributable_unless_said(table: Path, tmp_path: Path) -> None:
    assert run("build", table, "--group", "G", "-o", tmp_path / "kb").exit_code == 0
    about = KnowledgeBase.load(tmp_path / "kb").manifest
    assert (about.source, about.licence, about.redistributable) == ("demo", "unknown", False)


def test_medic_needs_no_group_but_a_format(tmp_path: Path) -> None:
    path = tmp_path / "medic.txt"
    path.write_text("D1|5||Name\n", encoding="utf-8")
    assert run("build", path, "--format", "medic", "-o", tmp_path / "kb").exit_code == 0
    assert KnowledgeBase.load(tmp_path / "kb").groups == ("Disease",)
    assert isinstance(run("build", path, "-o", tmp_path / "kb").exception, ConfigError)


def test_a_table_without_a_group_is_asked_for_one(table: Path, tmp_path: Path) -> None:
    done = run("build", table, "-o", tmp_path / "kb")
    assert isinstance(done.exception, ConfigError)
    assert "--group" in str(done.exception)


def test_a_bad_source_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(TABLE + "A:3 no tabs\n", encoding="utf-8")
    done = run("build", path, "--group", "G", "-o", tmp_path / "kb")
    assert isinstance(done.exception, FormatError)
    assert str(done.exception).startswith(f"{path}:5: ")
    assert not (tmp_path / "kb").exists()


def test_info_of_the_shipped_knowledge_base_is_machine_readable() -> None:
    facts = json.loads(run("info", "doid", "--json").stdout)
    about = KnowledgeBase.load("doid")
    assert facts["digest"] == about.digest
    assert {key: facts[key] for key in ("concepts", "names", "ambiguous_names", "groups", "languages", "licence", "redistributable")} == {
        "concepts": 11_454,
        "names": 30_039,
        "ambiguous_names": 41,
        "groups": ["Disease"],
        "languages": ["en"],
        "licence": "CC0-1.0",
        "redistributable": True,
    }


def test_info_for_people_shows_the_same_facts() -> None:
    shown = run("info", "doid").stdout
    assert all(part in shown for part in ("11454", "30039", "CC0-1.0", "Human Disease Ontology", "yes"))


def test_show_resolves_an_alternative_code() -> None:
    shown = json.loads(run("show", "doid", "DOID:6309", "--json").stdout)
    assert shown["code"] == "DOID:15"
    assert shown["names"][0] == {"text": "reproductive system disease", "preferred": True}
    assert shown["ancestors"] == ["DOID:7", "DOID:4"]
    assert "DOID:4 disease" in run("show", "doid", "DOID:6309").stdout


def test_show_names_the_nearest_code_to_an_unknown_one() -> None:
    done = run("show", "doid", "DOID:93511")
    assert isinstance(done.exception, UnknownNameError)
    assert "DOID:9351" in str(done.exception)
    assert isinstance(run("info", "dodi").exception, UnknownNameError)


def test_names_are_of_the_language_that_is_given(table: Path, tmp_path: Path) -> None:
    assert run("build", table, "--group", "G", "--language", "fr", "-o", tmp_path / "kb").exit_code == 0
    assert KnowledgeBase.load(tmp_path / "kb").manifest.languages == ("fr",)
    (tmp_path / "medic.txt").write_text("D1|5||Name\n", encoding="utf-8")
    for arguments in ((table, "--group", "G", "--language", "French"), (tmp_path / "medic.txt", "--format", "medic", "--language", "fr")):
        done = run("build", *arguments, "-o", tmp_path / "other")
        assert isinstance(done.exception, ConfigError)
        assert "--language" in str(done.exception)
