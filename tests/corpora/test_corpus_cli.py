"""`syncabel corpus convert|check`: nothing is lost, and what is left out is counted in the right place."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from syncabel.cli.corpus import _title, app
from syncabel.cli.reading import documents_of
from syncabel.corpora import SOURCES, read_corpus, read_jsonl, write_jsonl
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Document, Mention, Name, Span

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
    assert with_train["type_table_of"] == "counted on --train"
    assert with_train["kb"]["ceiling"] == pytest.approx(2 / 3)
    assert with_train["kb"]["types"] == {"SpecificDisease": {"groups": ["Cancer"], "annotated": 3, "reachable": 2}}
    alone = json.loads(CliRunner().invoke(app, ["check", str(source), "--kb", str(folder), "--json"]).stdout)
    assert (alone["type_table_of"], alone["kb"]["ceiling"]) == ("counted on the documents that are neither dev nor test", 1.0)
    # A table counted on gold codes says nothing about these very codes.
    tested = json.loads(CliRunner().invoke(app, ["check", str(source), "--kb", str(folder), "--split", "test", "--json"]).stdout)
    assert (tested["type_table_of"], tested["kb"]["ceiling"], tested["kb"]["types"]) == ("", None, {})
    assert {name: row["mentions"] for name, row in alone["kb"]["groups"].items()} == {"Cancer": 2, "Other": 1}


def many(folder: Path) -> Path:
    path = folder / "many.txt"
    path.write_text("\n".join(ROWS.replace("11|", f"{number}|").replace("11\t", f"{number}\t") for number in range(20)), encoding="utf-8")
    return path


def many_texts(folder: Path) -> Path:
    path = folder / "texts.txt"
    rows = (ROWS.replace("polyposis.", f"polyposis {number}.").replace("11|", f"{number}|").replace("11\t", f"{number}\t") for number in range(20))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_split_writes_every_document_into_one_file(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["split", str(many_texts(tmp_path)), "-o", str(tmp_path / "parts"), "--fractions", "train=0.8,dev=0.1,test=0.1"])
    assert ran.exit_code == 0, ran.output
    parts = {name: read_jsonl(tmp_path / "parts" / f"{name}.jsonl").documents for name in ("train", "dev", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 16, "dev": 2, "test": 2}
    assert {document.split for document in parts["test"]} == {"test"}
    assert len({document.id for part in parts.values() for document in part}) == 20
    assert "train: 16 documents, 48 mentions (SpecificDisease 48)" in ran.stdout
    again = CliRunner().invoke(app, ["split", str(many_texts(tmp_path)), "-o", str(tmp_path / "parts"), "--fractions", "train=0.5,test=0.5"])
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["split.json", "test.jsonl", "train.jsonl"]


@pytest.mark.parametrize("fractions", ["train", "train=x", "train=0.5,test=0.6", "train=1.2,test=-0.2", ""])
def test_split_refuses_shares_that_do_not_add_up(fractions: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["split", str(many_texts(tmp_path)), "-o", str(tmp_path / "parts"), "--fractions", fractions])
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


def saved_kb(folder: Path, *concepts: tuple[str, str]) -> Path:
    content = [Concept(code, (Name(f"name of {code}"),), (group,)) for code, group in concepts]
    KnowledgeBase.build(content, About(source="", release="", licence="", redistributable=True)).save(folder)
    return folder


def documents_file(path: Path, *documents: Document) -> Path:
    write_jsonl(documents, path)
    return path


class Told(NamedTuple):
    stdout: str
    stderr: str


def done(*arguments: str | Path) -> Told:
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ran.exit_code == 0, ran.output
    return Told(ran.stdout, ran.stderr)


def refused(kind: type[Exception], *arguments: str | Path) -> str:
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(ran.exception, kind), ran.output
    return str(ran.exception)


def test_the_same_document_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    train = documents_file(tmp_path / "train.jsonl", Document("1", "One.", split="train"), Document("2", "Two.", split="train"))
    test = documents_file(tmp_path / "test.jsonl", Document("1", "One.", split="test"), Document("3", "Three.", split="test"))
    told = json.loads(done("check", train, test, "--json").stdout)
    assert (told["leaks"], sum(pair["ids"] for pair in told["overlaps"]), told["documents"]) == (1, 1, 3)
    assert told["rejections"] == {"duplicate_across_splits": 1}


def test_rejections_of_training_documents_are_reported(tmp_path: Path) -> None:
    train = tmp_path / "train.txt"
    train.write_text(ROWS.replace("11\t14\t16", "11\t15\t17").replace("11|", "9|").replace("11\t", "9\t"), encoding="utf-8")
    ran = done("check", source_file(tmp_path), "--train", train, "--json")
    assert json.loads(ran.stdout)["train_rejections"] == {"offset": 1}
    assert f"{train}:4: first of 1 rows rejected as offset" in ran.stderr
    assert "rejected of the training documents given: offset" in done("check", source_file(tmp_path), "--train", train).stdout


def test_a_given_table_is_checked_and_read_as_a_counted_one_is(tmp_path: Path) -> None:
    kb = saved_kb(tmp_path / "kb", ("D003110", "Cancer"), ("D011125", "Other"))
    source, table = source_file(tmp_path, ROWS.replace("\tSpecificDisease\tD011125", "\tOther|X\tD011125")), tmp_path / "types.json"
    table.write_text('{"SpecificDisease": ["Cancr"]}')
    assert "Cancer" in refused(UnknownNameError, "check", source, "--kb", kb, "--types", table)
    table.write_text('{"SpecificDisease": ["Cancer"], "X": ["Cancer"]}')
    told = json.loads(done("check", source, "--kb", kb, "--types", table, "--json").stdout)
    assert told["kb"]["types"]["Other|X"] == {"groups": ["Other", "Cancer"], "annotated": 1, "reachable": 1}
    assert told["kb"]["ceiling"] == 1


def test_split_is_the_same_in_any_order_and_refuses_a_split_named_twice(tmp_path: Path) -> None:
    shares = ("train=0.8,dev=0.1,test=0.1", "test=0.1, dev=0.1, train=0.8")
    for number, fractions in enumerate(shares):
        done("split", many_texts(tmp_path), "-o", tmp_path / str(number), "--fractions", fractions)
    for name in ("train", "dev", "test"):
        assert (tmp_path / "0" / f"{name}.jsonl").read_bytes() == (tmp_path / "1" / f"{name}.jsonl").read_bytes()
    assert "twice" in refused(ConfigError, "split", many_texts(tmp_path), "-o", tmp_path / "x", "--fractions", "train=0.5,train=0.5")


def test_split_keeps_groups_together_and_takes_a_table(tmp_path: Path) -> None:
    table = tmp_path / "types.json"
    table.write_text('{"SpecificDisease": ["Disease"]}')
    done("split", many_texts(tmp_path), "-o", tmp_path / "parts", "--fractions", "train=0.5,test=0.5", "--group-by", "^([0-9])", "--types", table)
    first = {name: {d.id[0] for d in read_jsonl(tmp_path / "parts" / f"{name}.jsonl")} for name in ("train", "test")}
    assert not first["train"] & first["test"]
    table.write_text('{"Another": ["Disease"]}')
    refused(UnknownNameError, "split", many_texts(tmp_path), "-o", tmp_path / "parts", "--types", table)


def test_several_sources_are_named_after_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a.b").mkdir()
    inside = [tmp_path / "a.b" / name for name in ("train.jsonl", "test.jsonl")]
    assert _title(inside) == "a.b"
    assert _title([inside[0], tmp_path / "other.jsonl"]) == "2 files"
    assert _title(inside[:1]) == "train"


def test_composites_survive_in_the_dialect_of_their_source(tmp_path: Path) -> None:
    source = source_file(tmp_path, ROWS.replace("D011125", "D011125|D000001"))
    ran = done("convert", source, "-o", tmp_path / "own.txt", "--to", "pubtator")
    assert "1 documents with 3 mentions written" in ran.stdout
    assert [m.answers for _, m in read_corpus(tmp_path / "own.txt", "pubtator-ncbi").mentions()][2] == (("D000001", "D011125"),)
    ran = done("convert", source, "-o", tmp_path / "plain.txt", "--to", "pubtator", "--dialect", "generic", "--split", "train")
    assert "1 documents with 2 mentions written" in ran.stdout
    assert "1 of 3 mentions cannot be said in pubtator: answers" in ran.stderr
    assert "not kept in pubtator: split of documents (1)" in ran.stdout
    assert "PubTator dialect" in refused(UnknownNameError, "convert", source, "-o", tmp_path / "x", "--to", "pubtator", "--dialect", "x")
    assert "--dialect" in refused(ConfigError, "convert", source, "-o", tmp_path / "x", "--to", "brat", "--dialect", "generic")


def test_documents_and_mentions_that_cannot_be_said_are_counted_apart(tmp_path: Path) -> None:
    mention, untyped = Mention("x", (Span(0, 1),), "a", "T", (("C",),)), Mention("y", (Span(0, 1),), "a")
    source = documents_file(tmp_path / "in.jsonl", Document("1|2", "a b", (mention, untyped)), Document("3", "a b\nc\nd", (mention, untyped)))
    ran = done("convert", source, "-o", tmp_path / "out.txt", "--to", "pubtator")
    assert ran.stdout.splitlines()[0] == f"1 documents with 1 mentions written to {tmp_path / 'out.txt'}"
    assert "1 of 2 documents, with 2 mentions, cannot be said in pubtator: id" in ran.stderr
    assert "1 of 4 mentions cannot be said in pubtator: type" in ran.stderr
    assert "not kept in pubtator: text of documents (1), id of mentions (1)" in ran.stdout


def test_what_another_format_does_not_keep_is_what_reading_it_again_lacks(tmp_path: Path) -> None:
    mention = Mention("x", (Span(0, 1),), "a", "T", (("C",), ("D", "E")))
    source = documents_file(tmp_path / "in.jsonl", Document("1", "a b", (mention,), "fr", split="train"), Document("2", "c"))
    told = done("convert", source, "-o", tmp_path / "out.json", "--to", "bigbio").stdout
    assert "not kept in bigbio: language of documents (1), split of documents (1)" in told
    assert "not kept" not in done("convert", source, "-o", tmp_path / "out.jsonl").stdout


def test_an_output_of_the_wrong_kind_is_refused_by_the_name_the_user_gave(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    assert f"{tmp_path} is a folder" in refused(ConfigError, "convert", source, "-o", tmp_path)
    assert f"{source} is a file" in refused(ConfigError, "convert", source, "-o", source, "--to", "brat")


BRAT = "T1\tX 0 5\tColon\nN1\tReference T1 V:C1\nN2\tReference T1 V:C2\n"


def test_options_of_reading_reach_the_reader(tmp_path: Path) -> None:
    folder, target = tmp_path / "brat", tmp_path / "out.jsonl"
    folder.mkdir()
    (folder / "1.txt").write_text("Colon")
    (folder / "1.ann").write_text(BRAT)
    done("convert", folder, "-o", target)
    assert read_jsonl(target).documents[0].mentions[0].answers == (("C1",), ("C2",))
    done("convert", folder, "-o", target, "--several", "together", "--language", "es")
    (document,) = read_jsonl(target)
    assert (document.language, document.mentions[0].answers) == ("es", (("C1", "C2"),))
    assert json.loads(done("check", folder, "--several", "together", "--json").stdout)["composite"] == 1
    refused(UnknownNameError, "convert", folder, "-o", target, "--several", "both")


def test_texts_of_tables_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("fiebre alta")
    table = tmp_path / "mine.tsv"
    table.write_text("filename\tlabel\tstart_span\tend_span\tspan\tcode\tsemantic_rel\na\tX\t0\t6\tfiebre\t386661006\tEXACT\n")
    refused(ConfigError, "convert", table, "-o", tmp_path / "out.jsonl")
    done("convert", table, "-o", tmp_path / "out.jsonl", "--texts", tmp_path / "notes")
    assert [mention.text for _, mention in read_jsonl(tmp_path / "out.jsonl").mentions()] == ["fiebre"]


@pytest.mark.parametrize(("option", "value"), [("several", "together"), ("texts", "x"), ("language", "french")])
@pytest.mark.parametrize("command", ["convert", "check", "split", "stats"])
def test_an_option_that_says_nothing_to_a_format_is_refused_by_name(command: str, option: str, value: str, tmp_path: Path) -> None:
    output = () if command == "check" else ("-o", tmp_path / "out")
    assert option in refused(ConfigError, command, source_file(tmp_path), *output, f"--{option}", value)


def test_sources_are_listed_with_what_their_separators_mean() -> None:
    told = json.loads(done("sources", "--json").stdout)
    assert list(told) == list(SOURCES)
    assert told["quaero"]["language"] == "fr"
    assert {"name", "split", "sha256"} <= set(told["ncbi_disease"]["files"][0])
    shown = done("sources").stdout
    assert all(source.title in shown and source.licence in shown and source.answers in shown for source in SOURCES.values())


def test_the_declared_table_of_an_official_source_gives_the_ceiling(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "corpora" / "ncbi_disease" / "NCBItestset_corpus.txt"
    KnowledgeBase.build([Concept("D003110", (Name("a"),), ("Disease",))], About("test")).save(tmp_path / "kb")
    checked = json.loads(CliRunner().invoke(app, ["check", str(source), "--kb", str(tmp_path / "kb"), "--json"]).stdout)
    assert checked["type_table_of"] == "as declared for the source"
    assert checked["kb"]["types"]["Modifier"]["groups"] == ["Disease"]


def test_the_table_of_sources_says_what_may_leave_this_machine() -> None:
    listed = json.loads(CliRunner().invoke(app, ["sources", "--json"]).stdout)
    assert listed["ncbi_disease"]["type_groups"]["Modifier"] == "Disease"
    assert not any(source["shareable"] for source in listed.values())


def test_other_commands_say_the_first_row_that_they_cannot_read_and_how_many_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = source_file(tmp_path, ROWS.replace("11\t14\t16", "11\t15\t17") + "11\t1\t2\tx\tModifier\tA\n")
    (document,) = documents_of([source])
    assert [mention.text for mention in document.mentions] == ["Colon cancer", "polyposis"]
    assert capsys.readouterr().err == f"{source}:4: offset: first of 2 rows not read; `syncabel corpus convert` lists them\n"
    assert documents_of([source_file(tmp_path)])
    assert documents_of([]) == []
    assert capsys.readouterr().err == ""


def brat_folder(folder: Path, annotations: str = BRAT, text: bytes = b"Colon") -> Path:
    folder.mkdir()
    (folder / "1.txt").write_bytes(text)
    (folder / "1.ann").write_text(annotations, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("source", "output", "to"),
    [
        ("brat", "brat", "brat"),
        ("brat", "brat/../brat", "brat"),
        ("brat", ".", "brat"),
        ("brat/1.txt", "brat", "brat"),
        ("brat/1.ann", "brat/1.txt", "pubtator"),
        ("brat", "brat/1.txt", "pubtator"),
        ("rows.jsonl", "brat", "brat"),
        ("rows.jsonl", "rows.jsonl", "jsonl"),
        ("rows.rejected.jsonl", "rows.jsonl", "jsonl"),
    ],
)
def test_no_source_and_no_foreign_annotations_are_written_over(source: str, output: str, to: str, tmp_path: Path) -> None:
    brat_folder(tmp_path / "brat", BRAT + "T2\tX 0 9\tbad\n#1\tAnnotatorNotes T1\tlook again\nE1\tX:T1\n")
    for name in ("rows.jsonl", "rows.rejected.jsonl"):
        (tmp_path / name).write_text('{"id": "1", "text": "Colon"}\n{"id": 2}\n', encoding="utf-8")
    before = contents(tmp_path)
    refused(ConfigError, "convert", tmp_path / source, "-o", tmp_path / output, "--to", to)
    assert contents(tmp_path) == before


def test_a_folder_that_convert_wrote_is_written_again_but_never_from_itself(tmp_path: Path) -> None:
    source, target = brat_folder(tmp_path / "brat"), tmp_path / "out"
    done("convert", source, "-o", target, "--to", "brat")
    done("convert", source, "-o", target, "--to", "brat")
    assert "is read" in refused(ConfigError, "convert", target, "-o", target, "--to", "brat")
    assert "is read" in refused(ConfigError, "convert", target / "1.ann", "-o", target, "--to", "brat")
    (target / "documents.tsv").write_text("my\ttable\n", encoding="utf-8")
    assert "documents.tsv is there" in refused(ConfigError, "convert", source, "-o", target, "--to", "brat")


def test_a_corpus_of_which_nothing_is_left_is_an_error_that_names_the_rejections(tmp_path: Path) -> None:
    source, target = brat_folder(tmp_path / "brat", text="Ödem".encode("latin-1")), tmp_path / "made" / "out.jsonl"
    said = refused(FormatError, "convert", source, "-o", target)
    assert said.startswith(f"{source / '1.txt'}: encoding: first of 4 rows, all rejected")
    assert str(target.with_name("out.rejected.jsonl")) in said
    assert len(target.with_name("out.rejected.jsonl").read_text("utf-8").splitlines()) == 4
    assert not target.exists()


def test_the_form_of_codes_in_notes_can_be_given(tmp_path: Path) -> None:
    source, target = brat_folder(tmp_path / "brat", "T1\tX 0 5\tColon\n#1\tAnnotatorNotes T1\t5A11\n"), tmp_path / "out.jsonl"
    assert "2 rows kept + 1 rejected = 3 read" in done("convert", source, "-o", target).stdout
    done("convert", source, "-o", target, "--note-codes", "[0-9][A-Z][0-9]{2}")
    assert read_jsonl(target).documents[0].mentions[0].answers == (("5A11",),)
    assert "regular expression" in refused(ConfigError, "convert", source, "-o", target, "--note-codes", "(")
    assert "--note-codes" in refused(ConfigError, "convert", source_file(tmp_path), "-o", target, "--note-codes", "x")
