"""`syncabel corpus convert|check`: nothing is lost, and what is left out is counted in the right place."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncabel.cli.corpus import app
from syncabel.corpora import read_corpus, read_jsonl
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

ROWS = """11|t|Colon cancer (CC) and polyposis.
11|a|
11\t0\t12\tColon cancer\tSpecificDisease\tD003110
11\t14\t16\tCC\tSpecificDisease\tD003110
11\t22\t31\tpolyposis\tSpecificDisease\tD011125
"""


PLAIN = ("documents", "mentions", "offset_errors", "codes", "codes_in_kb", "mentions_in_kb", "leaks")


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
    assert {name: json.loads(ran.stdout)[name] for name in PLAIN} == dict(zip(PLAIN, [1, 2, 1, 2, 1, 1, 0], strict=True))
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


def test_check_needs_no_knowledge_base_and_says_what_the_parts_share(tmp_path: Path) -> None:
    source = source_file(tmp_path, ROWS.replace("polyposis.\n11|a|", "polyposis.\n11|a|None of the six patients had any polyposis at all."))
    ran = CliRunner().invoke(app, ["check", str(source), "--train", str(source), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert (told["codes_in_kb"], told["kb"], told["leaks"], told["offset_errors"]) == (None, None, 1, 0)
    (shared,) = told["overlaps"]
    assert [shared[name] for name in ("ids", "texts", "sentence_documents", "sentences", "documents")] == [1, 1, 1, 1, 1]
    shown = CliRunner().invoke(app, ["check", str(source), "--train", str(source)])
    assert "training documents given" in shown.stdout


def test_the_ceiling_is_counted_on_the_training_documents_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    concepts = [Concept("D003110", (Name("a"),), ("Cancer",)), Concept("D011125", (Name("b"),), ("Other",))]
    KnowledgeBase.build(concepts, About(source="", release="", licence="", redistributable=True)).save(folder)
    train = tmp_path / "train.txt"
    train.write_text(ROWS.split("11\t22")[0].replace("11|", "9|").replace("11\t", "9\t"), encoding="utf-8")
    source = source_file(tmp_path)
    with_train = json.loads(CliRunner().invoke(app, ["check", str(source), "--kb", str(folder), "--train", str(train), "--json"]).stdout)
    assert with_train["type_table_of"] == "--train"
    assert with_train["kb"]["ceiling"] == pytest.approx(2 / 3)
    assert with_train["kb"]["types"] == {"SpecificDisease": {"groups": ["Cancer"], "annotated": 3, "reachable": 2}}
    alone = json.loads(CliRunner().invoke(app, ["check", str(source), "--kb", str(folder), "--json"]).stdout)
    assert (alone["type_table_of"], alone["kb"]["ceiling"]) == ("the documents checked", 1.0)
    assert {name: row["mentions"] for name, row in alone["kb"]["groups"].items()} == {"Cancer": 2, "Other": 1}


def many(folder: Path) -> Path:
    path = folder / "many.txt"
    path.write_text("\n".join(ROWS.replace("11|", f"{number}|").replace("11\t", f"{number}\t") for number in range(20)), encoding="utf-8")
    return path


def test_split_writes_every_document_into_one_file(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["split", str(many(tmp_path)), "-o", str(tmp_path / "parts"), "--fractions", "train=0.8,dev=0.1,test=0.1"])
    assert ran.exit_code == 0, ran.output
    parts = {name: read_jsonl(tmp_path / "parts" / f"{name}.jsonl").documents for name in ("train", "dev", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 16, "dev": 2, "test": 2}
    assert {document.split for document in parts["test"]} == {"test"}
    assert len({document.id for part in parts.values() for document in part}) == 20
    assert "train: 16 documents, 48 mentions (SpecificDisease 48)" in ran.stdout
    again = CliRunner().invoke(app, ["split", str(many(tmp_path)), "-o", str(tmp_path / "parts"), "--fractions", "train=0.5,test=0.5"])
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["test.jsonl", "train.jsonl"]


@pytest.mark.parametrize("fractions", ["train", "train=x", "train=0.5,test=0.6", "train=1.2,test=-0.2", ""])
def test_split_refuses_shares_that_do_not_add_up(fractions: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["split", str(many(tmp_path)), "-o", str(tmp_path / "parts"), "--fractions", fractions])
    assert isinstance(ran.exception, ConfigError)


def test_stats_draws_and_writes_the_numbers(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["stats", str(many(tmp_path)), "--train", str(source_file(tmp_path)), "-o", str(tmp_path / "figures")])
    assert ran.exit_code == 0, ran.output
    written = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written == ["mention_length.png", "mentions_per_concept.png", "seen_in_training.png", "stats.json"]
    numbers = json.loads((tmp_path / "figures" / "stats.json").read_text("utf-8"))
    assert (numbers["mentions_per_concept"], numbers["words"]) == ([40, 20], {"1": 40, "2": 20})
    assert all((tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in written[:3])


@pytest.mark.parametrize(("to", "name"), [("pubtator", "out.txt"), ("bigbio", "out.json"), ("brat", "out")])
def test_convert_writes_the_other_formats(to: str, name: str, tmp_path: Path) -> None:
    target = tmp_path / "converted" / name
    ran = CliRunner().invoke(app, ["convert", str(source_file(tmp_path)), "-o", str(target), "--to", to])
    assert ran.exit_code == 0, ran.output
    assert target.exists()
    if to == "pubtator":
        back = read_corpus(target, "pubtator")
        assert [mention.answers for _, mention in back.mentions()] == [(("D003110",),), (("D003110",),), (("D011125",),)]


def test_convert_to_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["convert", str(source_file(tmp_path)), "-o", str(tmp_path / "x"), "--to", "pubtater"])
    assert isinstance(ran.exception, UnknownNameError)
