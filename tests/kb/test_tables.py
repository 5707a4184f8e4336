"""Tables with named columns, gazetteers, and what other programs do to codes."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.kb.readers.table import read_gazetteer, read_names, read_table
from syncabel.kb.vocabulary import CONCEPTS, NAMES, Frames, Vocabulary

HEADER = ["code", "term", "main", "lang", "kind", "group", "def", "is_a", "more"]
ROWS = [
    ["64572001", "disease", "yes", "en", "T047", "Disorders", "", "", "illness| sickness"],
    ["22298006", "infarto, \"agudo\"", "no", "es", "T047", "Disorders", "", "64572001", ""],
    ["22298006", "heart attack", "no", "en", "T046", "Disorders|Findings", "Death of heart muscle.", "64572001", "MI|"],
    ["22298006", "myocardial infarction", "yes", "en", "T047", "Findings", "Later.", "64572001|1", ""],
    ["", "nobody's", "no", "en", "T047", "Disorders", "", "", ""],
    ["77", "groupless", "no", "en", "", "", "", "", ""],
]  # fmt: skip
COLUMNS: dict[str, Any] = {
    "code_column": "code", "name_column": "term", "preferred_column": "main", "language_column": "lang", "type_column": "kind", "group_column": "group",
    "definition_column": "def", "parents_column": "is_a", "synonyms_column": "more",
}  # fmt: skip
PLAIN: dict[str, Any] = {"code_column": "code", "name_column": "term", "group": "G"}


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def table(folder: Path, kind: str, header: list[str] = HEADER, rows: list[list[str]] = ROWS) -> Path:
    path = folder / f"table{kind}"
    if kind == ".parquet":
        pl.DataFrame(rows, dict.fromkeys(header, pl.String), orient="row").write_parquet(path)
        return path
    lines = {
        ".tsv": ["\t".join(row) for row in [header, *rows]],
        ".csv": [",".join(map(quoted, row)) for row in [header, *rows]],
        ".jsonl": [json.dumps(dict(zip(header, row, strict=True))) for row in rows],
    }[kind.removesuffix(".gz")]
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if kind.endswith(".gz") else content)
    return path


def frames(vocabulary: Vocabulary) -> Frames:
    assert isinstance(vocabulary.content, Frames)
    return vocabulary.content


def written(folder: Path, text: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("kind", [".tsv", ".csv", ".jsonl", ".parquet", ".tsv.gz", ".csv.gz", ".jsonl.gz"])
def test_every_form_of_a_table_is_the_same_vocabulary(kind: str, tmp_path: Path) -> None:
    path = table(tmp_path, kind)
    vocabulary = read_table(path, **COLUMNS)
    content = frames(vocabulary)
    assert (dict(content.concepts.schema), dict(content.names.schema)) == (CONCEPTS, NAMES)
    assert content.concepts.rows() == [
        ("64572001", ["Disorders"], ["T047"], None, [], [], []),
        ("22298006", ["Disorders", "Findings"], ["T047", "T046"], "Death of heart muscle.", ["64572001", "1"], [], []),
    ]
    assert content.names.rows() == [
        ("64572001", "disease", "en", "exact", True),
        ("64572001", "illness", "en", "exact", False),
        ("64572001", " sickness", "en", "exact", False),
        ("22298006", "myocardial infarction", "en", "exact", True),
        ("22298006", 'infarto, "agudo"', "es", "exact", False),
        ("22298006", "heart attack", "en", "exact", False),
        ("22298006", "MI", "en", "exact", False),
    ]
    first = 1 if kind.startswith((".jsonl", ".parquet")) else 2
    expected = [(f"{path}:{first + 4}", "", "no_code", "nobody's"), (f"{path}:{first + 5}", "77", "no_group", "groupless")]
    expected.append((f"{path}:{first + 3}", "22298006", "other_definition", "Later."))
    assert [(r.where, r.code, r.reason, r.text) for r in content.rejections] == expected
    assert "synonyms=more" in vocabulary.about.filters


def test_a_table_becomes_a_knowledge_base(tmp_path: Path) -> None:
    vocabulary = read_table(table(tmp_path, ".tsv"), **COLUMNS)
    kb = KnowledgeBase.build(vocabulary.content, vocabulary.about)
    assert kb.concept("22298006").preferred_name == "myocardial infarction"
    assert {rejection.reason for rejection in kb.rejections} >= {"no_code", "no_group"}


@pytest.mark.parametrize("kind", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_one_column_can_be_text_and_list_at_once(kind: str, tmp_path: Path) -> None:
    path = table(tmp_path, kind, ["code", "term"], [["A|B", "a"], ["C", "c"]])
    content = frames(read_table(path, code_column="code", name_column="term", group_column="code", xrefs_column="code", synonyms_column="term"))
    assert content.concepts.select("code", "groups", "xrefs").rows() == [("A|B", ["A", "B"], ["A", "B"]), ("C", ["C"], ["C"])]
    assert content.names["text"].to_list() == ["a", "c"]
    assert [rejection.reason for rejection in content.rejections] == ["duplicate_name", "duplicate_name"]


def test_a_json_list_in_a_column_that_is_also_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'code' is a list") as caught:
        read_table(written(tmp_path, '{"code": ["1"], "term": "a"}\n', "t.jsonl"), **PLAIN, xrefs_column="code")
    assert caught.value.line == 1


def test_a_second_definition_is_rejected_once_and_lists_are_united(tmp_path: Path) -> None:
    rows = [["1", "a", "", "G"], ["1", "b", " first ", "H|G"], ["1", "c", "second", "I"], ["1", "d", "first", "G"], ["1", "e", "second", "G"]]
    path = table(tmp_path, ".tsv", ["code", "term", "def", "group"], [*rows, ["2", "x", "second", ""]])
    content = frames(read_table(path, code_column="code", name_column="term", definition_column="def", group_column="group"))
    assert content.concepts.select("definition", "groups").rows() == [("first", ["G", "H", "I"])]
    assert [(r.where, r.code, r.reason, r.text) for r in content.rejections] == [
        (f"{path}:7", "2", "no_group", "x"),
        (f"{path}:4", "1", "other_definition", "second"),
    ]


def test_a_column_named_over_two_lines_is_still_one_line_of_message(tmp_path: Path) -> None:
    for text in ('code,"te\nrm",lang\n1,a,en\n', 'code,term,"x\ny","x\ny"\n1,a,b,c\n'):
        with pytest.raises((FormatError, UnknownNameError)) as caught:
            read_table(written(tmp_path, text, "t.csv"), **PLAIN)
        assert "\n" not in str(caught.value)


def test_without_a_flag_the_first_name_in_each_language_is_preferred(tmp_path: Path) -> None:
    path = written(tmp_path, "code\tterm\tlang\n1\ta\ten\n1\tb\ten\n1\tc\tfr\n", "t.tsv")
    assert frames(read_table(path, **PLAIN, language_column="lang")).names["preferred"].to_list() == [True, True, False]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_byte_order_mark_windows_line_ends_and_blank_lines_change_nothing(ends: str, tmp_path: Path) -> None:
    for name, text in {"t.tsv": "code\tterm\n1\tNA\n\n2\tnull", "t.csv": "code,term\n1,NA\n\n2,null"}.items():
        path = written(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", ends).encode(), name)
        assert frames(read_table(path, **PLAIN)).names["text"].to_list() == ["NA", "null"]


@pytest.mark.parametrize("kind", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_a_missing_column_names_the_nearest(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'trem'.*did you mean 'term'"):
        read_table(table(tmp_path, kind), code_column="code", name_column="trem", group="G")


@pytest.mark.parametrize("code", ["1.0E+17", "6,4572E+17", "1e+17", "123456.0", "900000000000207008.00", "4.04684003E8", "1.0E17", "1,5e17", "1e17", "9e18"])
@pytest.mark.parametrize("kind", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_codes_that_became_floats_are_refused_with_their_line(kind: str, code: str, tmp_path: Path) -> None:
    path = table(tmp_path, kind, ["code", "term"], [["1", "fine"], [code, "broken"]])
    with pytest.raises(FormatError, match="read as a number") as caught:
        read_table(path, **PLAIN)
    assert caught.value.line == (2 if kind in (".jsonl", ".parquet") else 3)


def test_codes_with_dots_and_18_digits_are_codes(tmp_path: Path) -> None:
    codes = ["250.0", "E10.0", "1.1.1.0", "900000000000207008", "1E10", "1E50.0", "12E5", "1e5", "12e17", "007"]
    assert frames(read_table(table(tmp_path, ".tsv", ["code", "term"], [[code, "n"] for code in codes]), **PLAIN)).concepts["code"].to_list() == codes


def test_numbers_of_json_and_parquet_stay_whole_and_floats_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '{"code": 900000000000207008, "term": "n", "more": ["x", "y|z"]}\n', "t.jsonl")
    content = frames(read_table(path, **PLAIN, synonyms_column="more"))
    assert (content.concepts["code"][0], content.names["text"].to_list()) == ("900000000000207008", ["n", "x", "y|z"])
    with pytest.raises(FormatError, match="fraction or an exponent"):
        read_table(written(tmp_path, '{"code": 9.0e17, "term": "n"}\n', "f.jsonl"), **PLAIN)
    pl.DataFrame({"code": [900000000000207008], "term": ["n"], "more": [["x"]]}).write_parquet(tmp_path / "i.parquet")
    assert frames(read_table(tmp_path / "i.parquet", **PLAIN, synonyms_column="more")).concepts["code"][0] == "900000000000207008"
    pl.DataFrame({"code": [9.0], "term": ["n"]}).write_parquet(tmp_path / "f.parquet")
    with pytest.raises(FormatError, match="column 'code' is of type Float64"):
        read_table(tmp_path / "f.parquet", **PLAIN)


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        ("t.tsv", "code\tterm\n1\ta\n1\ta\tb\n", 3, "3 tab-separated columns instead of 2"),
        ("t.csv", "code,term\n1,a\n1\n", 3, "1 columns instead of 2"),
        ("t.csv", 'code,term\n1,a\n1,"open\n', 3, "not CSV"),
        ("t.csv", "code,term,term\n1,a,b\n", 1, "'term' twice"),
        ("t.tsv", "code\tterm\n", None, "no rows"),
        ("t.csv", "code,term\n", None, "no rows"),
        ("t.tsv", "", None, "empty"),
        ("t.csv", "", None, "empty"),
        ("t.jsonl", '{"code": "1", "term": "a"}\n[]\n', 2, "a list where an object"),
        ("t.jsonl", '{"code": "1", "term": "a"}\n{"code"\n', 2, "not JSON"),
        ("t.jsonl", '{"code": {}, "term": "a"}\n', 1, "'code' is a dict"),
        ("t.jsonl", '{"code": "1", "term": "\\ud800"}\n', 1, "surrogate"),
        ("t.jsonl", "[" * 100_000 + "\n", 1, "not JSON"),
        ("t.xlsx", "x", None, "in .xlsx format"),
        ("t.parquet", "PAR1", None, "not Parquet"),
        ("t.parquet", "", None, "empty"),
        ("t.tsv.gz", "x", None, "gzip"),
        ("t.tsv", b"code\tterm\n1\t\xe9\n", 2, "0xe9"),
    ],
)
def test_a_bad_table_is_an_error_with_its_line(name: str, text: str | bytes, line: int | None, says: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=says) as caught:
        read_table(written(tmp_path, text, name), **PLAIN)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("column", "value", "says"), [("preferred", "maybe", "flag is 'maybe'"), ("language", "ENG", "language is 'ENG'"), ("scope", "wide", "scope is 'wide'")]
)
def test_a_cell_outside_its_values_is_an_error_with_its_line(column: str, value: str, says: str, tmp_path: Path) -> None:
    path = table(tmp_path, ".tsv", ["code", "term", "x"], [["1", "a", {"preferred": "P", "language": "en", "scope": "Exact"}[column]], ["1", "b", value]])
    with pytest.raises(FormatError, match=says) as caught:
        read_table(path, **PLAIN, **{f"{column}_column": "x"})
    assert caught.value.line == 3


def test_options_are_checked(tmp_path: Path) -> None:
    path = table(tmp_path, ".tsv")
    for options in ({}, {"group": "G", "group_column": "group"}, {"group": "G", "separator": ""}):
        with pytest.raises(ConfigError):
            read_table(path, code_column="code", name_column="term", **options)  # type: ignore[arg-type]


def test_a_gazetteer_gives_main_terms_first_and_tags_as_groups(tmp_path: Path) -> None:
    text = "code\tlanguage\tterm\tsemantic_tag\tmainterm\n1\ten\theart attack\tdisorder\t0\n1\tes\tinfarto\tdisorder\t1\n1\tes\tinfarto\tfinding\t1\n"
    content = frames(read_gazetteer(written(tmp_path, text, "spaccc.tsv")))
    assert content.concepts["groups"].to_list() == [["disorder", "finding"]]
    assert content.names.select("text", "language", "preferred").rows() == [("infarto", "es", True), ("heart attack", "en", False)]
    assert [(rejection.where.rpartition(":")[2], rejection.reason) for rejection in content.rejections] == [("4", "duplicate_name")]


def test_the_published_gazetteer_has_cuis(tmp_path: Path) -> None:
    text = "code\tCUI\tterm\tsemantic_tag\tmainterm\n1\tC0027051\tinfarto\tdisorder\t1\n1\t\tataque\tdisorder\t0\n"
    content = frames(read_gazetteer(written(tmp_path, text, "gazetteer.tsv")))
    assert content.concepts["xrefs"].to_list() == [["UMLS:C0027051"]]
    assert content.names["language"].unique().to_list() == ["es"]


def test_a_gazetteer_without_main_terms_names_the_column(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="'mainterm'"):
        read_gazetteer(written(tmp_path, "code\tterm\tsemantic_tag\n1\ta\tb\n", "g.tsv"))


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "code\tterm\r\n" + "".join(f"{i % 97}\tname é {i}\r\n" for i in range(500))
    whole = frames(read_table(written(tmp_path, text, "t.tsv"), **PLAIN)).names
    monkeypatch.setattr("syncabel.kb.readers.rows._BLOCK", 100)
    assert frames(read_table(tmp_path / "t.tsv", **PLAIN)).names.equals(whole)
    monkeypatch.setattr("syncabel.kb.readers.rows._BLOCK", 12)
    with pytest.raises(FormatError, match="a line of more than"):
        read_table(tmp_path / "t.tsv", **PLAIN)


BASE = "code\tterm\n" + "".join(f"{i}\tn{i}\n" for i in range(4))


@settings(deadline=None, max_examples=200)
@given(kind=st.sampled_from([".tsv", ".csv", ".jsonl", ".parquet", ".tsv.gz", ".csv.gz"]), data=st.data())
def test_any_bytes_end_in_a_vocabulary_or_in_our_error(kind: str, damaged: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    base = {".csv": BASE.replace("\t", ","), ".jsonl": '{"code": "1", "term": "a"}\n{"code": 12, "term": "b"}\n'}.get(kind, BASE)
    path = written(tmp_path_factory.mktemp("table"), data.draw(damaged(base)), f"t{kind}")
    said = []
    for read in (lambda: read_table(path, **PLAIN), lambda: read_names(path, group="G"), lambda: read_gazetteer(path)):
        try:
            read()
        except SyncabelError as error:
            said.append(str(error))
    assert not any("\n" in message for message in said)


@settings(deadline=None, max_examples=200)
@given(place=st.integers(0, 3000), change=st.binary(max_size=4))
def test_a_damaged_parquet_ends_in_a_vocabulary_or_in_our_error(tmp_path_factory: pytest.TempPathFactory, place: int, change: bytes) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    content = table(folder, ".parquet").read_bytes()
    place %= len(content)
    said = ""
    try:
        read_table(written(folder, content[:place] + change + content[place + max(1, len(change)) :], "t.parquet"), **PLAIN)
    except SyncabelError as error:
        said = str(error)
    assert "\n" not in said


GERMAN = 'Code;Bezeichnung;"Gruppe; Art"\nJ45.0;"Asthma; allergisch, extrinsisch";Diagnose\nR05;Husten;Symptom\n'


@pytest.mark.parametrize("name", ["voc.csv", "voc.csv.gz"])
def test_columns_of_csv_may_be_apart_by_semicolons(name: str, tmp_path: Path) -> None:
    content = GERMAN.encode("utf-8-sig")
    path = written(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)
    read = frames(read_table(path, code_column="Code", name_column="Bezeichnung", group_column="Gruppe; Art"))
    assert read.concepts.select("code", "groups").rows() == [("J45.0", ["Diagnose"]), ("R05", ["Symptom"])]
    assert read.names["text"].to_list() == ["Asthma; allergisch, extrinsisch", "Husten"]
    with pytest.raises(FormatError, match="4 columns instead of 3") as caught:
        read_table(written(tmp_path, GERMAN + "J46;a;b;c\n", "bad.csv"), code_column="Code", name_column="Bezeichnung", group="G")
    assert caught.value.line == 4


def test_a_semicolon_in_a_header_with_commas_is_text(tmp_path: Path) -> None:
    path = written(tmp_path, "code,term;x\n1,a\n", "t.csv")
    assert frames(read_table(path, code_column="code", name_column="term;x", group="G")).names["text"].to_list() == ["a"]


@pytest.mark.parametrize("text", ["code,name,group\n1,a,G\n", "code\tname\tgroup\n1\ta\tG\n"])
def test_a_table_with_a_header_read_without_columns_is_told_how_to_name_them(text: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="--code-column, --name-column"):
        read_names(written(tmp_path, text, "voc.tsv"), group="G")


@pytest.mark.parametrize("kind", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_names_that_are_left_out_are_said_with_their_line(kind: str, tmp_path: Path) -> None:
    rows = [["1", "a"], ["1", " a "], ["2", " "], ["3", ""], ["3", "c"], ["1", "b\x07"], ["1", "b\x07"]]
    path = table(tmp_path, kind, ["code", "term"], rows)
    vocabulary = read_table(path, **PLAIN)
    kb = KnowledgeBase.build(vocabulary.content, vocabulary.about)
    first = 1 if kind in (".jsonl", ".parquet") else 2
    assert kb.codes == ("1", "3")
    assert [(r.where, r.code, r.reason) for r in kb.rejections if r.reason != "control_character"] == [
        (f"{path}:{first + 1}", "1", "duplicate_name"),
        (f"{path}:{first + 2}", "2", "empty_name"),
        (f"{path}:{first + 3}", "3", "empty_name"),
        (f"{path}:{first + 2}", "2", "no_name"),
    ]
    assert sum(r.reason == "control_character" for r in kb.rejections) == 2


def test_a_name_said_again_under_another_scope_is_once_and_of_the_closest(tmp_path: Path) -> None:
    path = table(tmp_path, ".tsv", ["code", "term", "scope"], [["1", "a", "exact"], ["1", "b", "broad"], ["1", "b", "exact"]])
    vocabulary = read_table(path, **PLAIN, scope_column="scope")
    names = KnowledgeBase.build(vocabulary.content, vocabulary.about).concept("1").names
    assert [(name.text, name.scope) for name in names] == [("a", "exact"), ("b", "exact")]
