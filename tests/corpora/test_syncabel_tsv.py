"""The published tables as gold documents, and the JSON Lines of the HPO corpora."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.corpora import format_of, read_corpus, read_span_jsonl, read_syncabel_tsv
from syncabel.errors import FormatError, SyncabelError
from syncabel.types import Span

HEADER = "filename\tmention_id\tlabel\tstart_span\tend_span\tspan\tcode\tsemantic_rel\tannotation\tsentence"


def row(mention_id: str, code: str = "C1", sentence: str = "Un [cancer]{Disorders} .", span: str = "cancer", label: str = "Disorders") -> str:
    return f"7\t{mention_id}\t{label}\t{mention_id or 3}\t9\t{span}\t{code}\tEXACT\tCancer\t{sentence}"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "t.tsv"
    path.write_text("\n".join((header, *rows)), encoding="utf-8")
    return path


def test_a_row_s_sentence_is_a_document(tmp_path: Path) -> None:
    path = table(tmp_path, row("1"), row("2", "C2+C1", "[sujets] sains [jeunes]{Disorders}", "jeunes sujets"), row("", "NO_CODE"))
    corpus = read_syncabel_tsv(path)
    assert [(d.id, d.text, d.split, d.language, d.mentions[0].answers) for d in corpus] == [
        ("7#1", "Un cancer .", None, "fr", (("C1",),)),
        ("7#2", "sujets sains jeunes", None, "fr", (("C1", "C2"),)),
        ("7#Disorders:3-9", "Un cancer .", None, "fr", ()),
    ]
    assert corpus.documents[1].mentions[0].spans == (Span(0, 6), Span(13, 19))
    assert format_of(path) == "syncabel-tsv"


def test_a_table_with_predictions_is_test_data_unless_said_otherwise(tmp_path: Path) -> None:
    path = table(tmp_path, row("1") + "\tC1", header=HEADER + "\tPredicted_code")
    assert read_corpus(path).documents[0].split == "test"
    assert read_corpus(path, split="dev").documents[0].split == "dev"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("2", sentence="no mention"), "markup"),
        (row("2", sentence="[cancer]{Disorders} [cancer]{Disorders}"), "markup"),
        (row("2", span="flu"), "markup"),
        (row("2", label="Anatomy"), "markup"),
        (row("2", code=" "), "row"),
        ("7\t2", "row"),
        (row("1"), "duplicate"),
    ],
)
def test_every_bad_row_is_rejected_with_its_reason(bad: str, reason: str, tmp_path: Path) -> None:
    path = table(tmp_path, row("1"), bad)
    corpus = read_syncabel_tsv(path)
    assert [(r.where, r.reason) for r in corpus.rejections] == [(f"{path}:3", reason)]
    assert (len(corpus), corpus.rows_read) == (1, 2)


@pytest.mark.parametrize(
    ("name", "documents", "duplicates", "discontinuous"),
    [("EMEA_with", 2197, 0, 41), ("EMEA_without", 2197, 0, 41), ("MEDLINE_with", 3064, 15, 16), ("MEDLINE_without", 3064, 15, 17)],
)
def test_the_published_tables_are_read_whole(name: str, documents: int, duplicates: int, discontinuous: int, shared_data: Path) -> None:
    corpus = read_syncabel_tsv(shared_data / "predictions" / f"{name}.tsv")
    assert (len(corpus), corpus.rows_read) == (documents, documents + duplicates)
    assert {r.reason for r in corpus.rejections} <= {"duplicate"}
    assert sum(len(mention.spans) > 1 for _, mention in corpus.mentions()) == discontinuous


def test_a_table_without_a_readable_row_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"t\.tsv"):
        read_syncabel_tsv(table(tmp_path, "7"))
    with pytest.raises(FormatError, match="no column 'sentence'"):
        read_syncabel_tsv(table(tmp_path, header=HEADER.replace("sentence", "sentences")))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.text(max_size=30) | st.text("[]{}|ab", max_size=12).map(lambda sentence: row("5", sentence=sentence)), max_size=4))
def test_whatever_the_rows_each_is_kept_or_rejected(rows: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes("\n".join((HEADER, row("1"), *rows)).encode("utf-8", "surrogatepass"))
    try:
        corpus = read_syncabel_tsv(tmp_path / "t.tsv")
    except SyncabelError:
        return
    assert corpus.rows_read == len(corpus) + len(corpus.rejections)


@pytest.mark.parametrize(("name", "documents", "mentions", "splits"), [("id68", 68, 866, {"test": 68}), ("gsc_plus", 228, 2122, {"test": 206, "dev": 22})])
def test_the_hpo_corpora_are_read_whole(name: str, documents: int, mentions: int, splits: dict[str, int], shared_data: Path) -> None:
    corpus = read_corpus(shared_data / "corpora" / "hpo" / f"{name}.jsonl")
    assert (len(corpus), sum(1 for _ in corpus.mentions()), corpus.rejections, corpus.rows_read) == (documents, mentions, (), documents + mentions)
    assert Counter(document.split for document in corpus) == splits


GOOD: dict[str, Any] = {
    "id": "d",
    "split": "dev",
    "lang": "en",
    "text": "a flu",
    "mentions": [{"spans": [[2, 5]], "text": "flu", "type": "P", "codes": ["HP:2", "HP:1"]}],
}


def test_codes_of_a_span_row_are_together_unless_said_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(GOOD))
    assert [m.answers for _, m in read_span_jsonl(path).mentions()] == [(("HP:1", "HP:2"),)]
    assert [m.answers for _, m in read_span_jsonl(path, several="alternatives").mentions()] == [(("HP:2",), ("HP:1",))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(sorted(GOOD)),
    inner=st.sampled_from(["spans", "text", "type", "codes"]),
    value=st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers() | st.none() | st.lists(st.integers(0, 9), max_size=2), max_size=2),
    raw=st.binary(max_size=30),
)
def test_whatever_the_values_each_row_is_kept_or_rejected(key: str, inner: str, value: Any, raw: bytes, tmp_path: Path) -> None:
    broken = {**GOOD, "mentions": [{**GOOD["mentions"][0], inner: value}]}
    for content in (raw, json.dumps({**GOOD, key: value}).encode(), json.dumps(broken).encode()):
        (tmp_path / "d.jsonl").write_bytes(content)
        try:
            corpus = read_span_jsonl(tmp_path / "d.jsonl")
        except SyncabelError:
            continue
        assert corpus.rows_read == len(corpus.rejections) + len(corpus) + sum(1 for _ in corpus.mentions())


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Madame Durand née le 3 mai 1950", ""),
        ("Durand\tMarie\tcode", ""),
        (HEADER.replace("sentence", "Sentences"), "the nearest is 'Sentences'"),
        (HEADER.replace("sentence", "Mme Durand, 3 mai 1950"), "the nearest is 'semantic_rel'"),
    ],
)
def test_the_first_line_of_a_file_that_is_no_table_is_in_no_message(line: str, shown: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=shown or "the first line has to name the columns filename, label") as refused:
        read_syncabel_tsv(table(tmp_path, row("1"), header=line))
    assert not any(word in str(refused.value) for word in ("Durand", "Marie", "1950"))


def test_the_language_of_rows_that_state_none_is_the_one_given(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (GOOD, {key: value for key, value in {**GOOD, "id": "e"}.items() if key != "lang"})))
    assert [document.language for document in read_corpus(path, language="es")] == ["en", "es"]
