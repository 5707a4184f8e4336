"""The BigBIO KB schema: hand-worked documents, every field out of order, and round trips through JSON Lines, Parquet and `datasets`."""

import json
import string
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora import format_of, read_bigbio, read_corpus, write_bigbio
from syncabel.corpora.places import Seen
from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.types import Document, Mention, Span


def entity(entity_id: str, kind: str, texts: list[str], offsets: list[list[int]], *codes: tuple[str, Any]) -> dict[str, Any]:
    return {"id": entity_id, "type": kind, "text": texts, "offsets": offsets, "normalized": [{"db_name": name, "db_id": code} for name, code in codes]}


def sample() -> dict[str, Any]:
    return {
        "id": "0",
        "document_id": "11",
        "passages": [
            {"id": "p2", "type": "abstract", "text": ["Breast and ovarian cancer."], "offsets": [[13, 39]]},
            {"id": "p1", "type": "title", "text": ["Colon cancer"], "offsets": [[0, 12]]},
        ],
        "entities": [
            entity("a", "Disease", ["Colon cancer"], [[0, 12]], ("MESH", "MESH:D003110"), ("OMIM", "114500")),
            entity("b", "Disease", ["cancer", "Breast"], [[32, 38], [13, 19]], ("MESH", "D001943+D010051")),
            entity("c", "Disease", ["ovarian"], [[24, 31]], ("MESH", "-1")),
            entity("d", "Disease", ["cancer Breast"], [[6, 19]]),
        ],
        "events": [],
        "coreferences": [],
        "relations": [],
    }


def written(folder: Path, *values: Any, name: str = "d.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(value) for value in values), encoding="utf-8")
    return path


def test_passages_are_joined_as_they_lie_and_each_normalisation_is_an_answer(tmp_path: Path) -> None:
    corpus = read_bigbio(written(tmp_path, sample()), split="train")
    (document,) = corpus
    assert (document.id, document.text, document.split) == ("11", "Colon cancer\nBreast and ovarian cancer.", "train")
    assert [(m.id, m.text, m.answers) for m in document.mentions] == [
        ("a", "Colon cancer", (("MESH:D003110",), ("114500",))),
        ("b", "Breast cancer", (("D001943", "D010051"),)),
        ("c", "ovarian", ()),
        ("d", "cancer\nBreast", None),
    ]
    assert (corpus.rows_read, corpus.rejections) == (5, ())


@pytest.mark.parametrize(("prefix", "codes"), [("keep", ("114500", "MESH:D003110")), ("drop", ("114500", "D003110")), ("add", ("MESH:D003110", "OMIM:114500"))])
def test_several_together_and_the_uses_of_the_vocabulary_s_name(prefix: str, codes: tuple[str, ...], tmp_path: Path) -> None:
    (document,) = read_bigbio(written(tmp_path, sample()), several="together", prefix=prefix)
    assert document.mentions[0].answers == (codes,)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_an_object_and_lines_are_the_same_documents(indent: int | None, tmp_path: Path) -> None:
    expected = read_bigbio(written(tmp_path, sample())).documents
    for value in ([sample()], sample()):
        path = tmp_path / "whole.json"
        path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
        assert read_bigbio(path).documents == read_corpus(path, "bigbio").documents == expected


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("offsets", [[1, 13]], "offset"),
        ("offsets", [[0, 99]], "offset"),
        ("offsets", [[0.0, 12.0]], "schema"),
        ("offsets", [], "schema"),
        ("text", "Colon cancer", "schema"),
        ("id", 7, "schema"),
        ("id", "b", "duplicate"),
        ("type", 7, "schema"),
        ("normalized", 5, "schema"),
        ("normalized", [5], "schema"),
        ("normalized", [{"db_name": "SNOMED", "db_id": 166753000000000000}], "code"),
    ],
)
def test_every_bad_entity_is_rejected_with_its_reason(field: str, value: Any, reason: str, tmp_path: Path) -> None:
    broken = sample()
    broken["entities"].append({**broken["entities"][0], "id": "z", field: value})
    path = written(tmp_path, broken)
    corpus = read_bigbio(path)
    assert [(r.where, r.reason) for r in corpus.rejections] == [(f"{path}:1", reason)]
    assert (len(corpus.documents[0].mentions), corpus.rows_read) == (4, 6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"document_id": None}, "schema"),
        ({"passages": None}, "schema"),
        ({"passages": [{"text": ["abc"], "offsets": [[0, 4]]}]}, "passage"),
        ({"passages": [{"text": ["abc"], "offsets": [[0, 3]]}, {"text": ["abc"], "offsets": [[2, 5]]}]}, "passage"),
        ({"passages": [{"text": ["abc"], "offsets": [[10**15, 10**15 + 3]]}]}, "passage"),
        ({"document_id": "good"}, "duplicate"),
    ],
)
def test_a_document_left_out_takes_its_entities_along(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    corpus = read_bigbio(written(tmp_path, {**sample(), "document_id": "good"}, {**sample(), **change}))
    assert Counter(r.reason for r in corpus.rejections) == {reason: 5}
    assert (corpus.rows_kept, corpus.rows_read) == (5, 10)


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", b"[1]"), ("a.json", b"{}"), ("a.jsonl", b"nothing"), ("a.json", b""), ("a.parquet", b"PAR1"), ("a.json", b"\xff")]
)
def test_a_file_without_documents_is_an_error_with_its_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        read_bigbio(tmp_path / name)
    with pytest.raises(UnknownNameError, match="keep"):
        read_bigbio(tmp_path / name, prefix="kep")


def test_a_folder_saved_by_datasets_is_read_with_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{**sample(), "document_id": name} for name in "ab"]
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows[:1]), "validation": datasets.Dataset.from_list(rows[1:])})
    saved.save_to_disk(str(tmp_path / "saved"))
    corpus = read_bigbio(tmp_path / "saved")
    assert [(d.id, d.split, len(d.mentions)) for d in corpus] == [("a", "train", 4), ("b", "dev", 4)]
    (tmp_path / "other").mkdir()
    with pytest.raises(FormatError, match="other"):
        read_bigbio(tmp_path / "other")


TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from("ab \n\r\t🙂é"), min_size=1, max_size=40)
CODES = st.lists(
    st.text(string.ascii_letters + string.digits + ":._ ", min_size=1, max_size=6).filter(lambda code: code == code.strip()),
    min_size=1,
    max_size=3,
    unique=True,
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(TEXTS)
    mentions: list[Mention] = []
    for number in range(draw(st.integers(0, 4))):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=6)))
        spans = tuple(Span(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False))
        answers = draw(st.none() | st.just(()) | st.lists(CODES.map(lambda codes: tuple(sorted(codes))), min_size=1, max_size=3, unique=True).map(tuple))
        covered = " ".join(text[span.start : span.end] for span in spans)
        mentions.append(Mention(f"m{number}", spans, covered, draw(st.sampled_from(["Disease", None])), answers))
    return Document("d", text, tuple(mentions), abbreviations=find_abbreviations(text))


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_what_is_written_is_read_back(name: str, document: Document, tmp_path: Path) -> None:
    assert write_bigbio([document], tmp_path / name) == 1
    corpus = read_bigbio(tmp_path / name)
    assert (corpus.documents, corpus.rejections) == ((document,), ())


@pytest.mark.parametrize("code", ["a+b", " a", "NO_CODE"])
def test_a_code_the_file_cannot_hold_is_refused(code: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="code"):
        write_bigbio([Document("d", "flu", (Mention("1", (Span(0, 3),), "flu", None, ((code,),)),))], tmp_path / "d.jsonl")
    with pytest.raises(ConfigError, match="twice"):
        write_bigbio([Document("d", "flu")] * 2, tmp_path / "d.jsonl")
    assert list(tmp_path.iterdir()) == []


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=4) | st.floats(), lambda inner: st.lists(inner, max_size=3), max_leaves=6)
KEYS = st.sampled_from(["id", "document_id", "passages", "entities", "text", "offsets", "normalized", "db_id"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60) | st.tuples(KEYS, JSON).map(lambda pair: json.dumps({**sample(), pair[0]: pair[1]}).encode()),
    change=st.tuples(KEYS, JSON),
    name=st.sampled_from(["d.json", "d.parquet"]),
)
def test_whatever_comes_in_ends_in_documents_or_an_error_of_the_project(content: bytes, change: tuple[str, Any], name: str, tmp_path: Path) -> None:
    broken = sample()
    broken["entities"][0][change[0]] = broken["passages"][0][change[0]] = change[1]
    for data in (content, json.dumps(broken).encode()):
        (tmp_path / name).write_bytes(data)
        try:
            corpus = read_bigbio(tmp_path / name)
        except SyncabelError:
            continue
        assert corpus.rows_read == len(corpus.rejections) + len(corpus) + sum(1 for _ in corpus.mentions())


def test_a_saved_split_of_an_unknown_name_is_read_without_split_and_reported(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {name: datasets.Dataset.from_list([{**sample(), "document_id": name}]) for name in ("all", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    corpus = read_corpus(tmp_path / "saved")
    assert [(document.id, document.split) for document in corpus] == [("all", None), ("test", "test")]
    assert [(rejection.where, rejection.reason) for rejection in corpus.rejections] == [(f"{tmp_path / 'saved'}/all", "unknown_split")]
    assert (corpus.rows_read, corpus.rows_kept) == (11, 10)
    assert read_bigbio(tmp_path / "saved", split="dev").rejections == ()


def test_lists_and_objects_over_several_lines_are_told_by_their_fields(tmp_path: Path) -> None:
    bioc = {"id": "1", "passages": [{"infons": {}, "offset": 0, "text": "flu"}]}
    for value, name in ((sample(), "bigbio"), (bioc, "bioc")):
        for indent in (None, 1):
            for whole in ([value], value):
                path = tmp_path / "d.json"
                path.write_text(json.dumps(whole, indent=indent))
                assert format_of(path) == name
                assert len(read_corpus(path)) == 1
    path.write_text(json.dumps([{"id": "1", "text": "secret"}], indent=1))
    with pytest.raises(FormatError, match=r"d\.json: .*neither BioC nor BigBIO.*--format") as refused:
        format_of(path)
    assert "secret" not in str(refused.value)


def test_a_document_met_in_another_split_is_one_leak(tmp_path: Path) -> None:
    path, seen = written(tmp_path, sample()), Seen()
    read_bigbio(path, split="train", seen=seen)
    assert [r.reason for r in read_bigbio(path, split="train", seen=seen).rejections] == ["duplicate"] * 5
    assert [r.reason for r in read_bigbio(path, split="test", seen=seen).rejections] == ["duplicate_across_splits"] + ["duplicate"] * 4
