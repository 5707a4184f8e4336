"""One contract over every reader, then what each must do with input that is not as it should be."""

import dataclasses
import gzip
import hashlib
import json
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora import (
    SOURCES,
    Corpus,
    format_of,
    iter_corpus,
    read_corpus,
    read_jsonl,
    read_pubtator,
    split_documents,
    write_jsonl,
)
from syncabel.corpora.corpus import refuse_test
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.prompt import PromptFormat, from_document, prompt_text
from syncabel.types import Abbreviation, Document, Mention, Provenance, Rejection, Span, to_json

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data beside the checkout")

NCBI = """
11|t|Colon cancer (CC) and APC [truncated].
11|a|Breast and ovarian cancer is familial.
11\t0\t12\tColon cancer\tSpecificDisease\tD003110
11\t14\t16\tCC\tSpecificDisease\t D003110
11\t22\t37\tAPC [truncated]\tSpecificDisease\tMESH:D011125
11\t39\t64\tBreast and ovarian cancer\tCompositeMention\tD010051|D001943
11\t68\t76\tfamilial\tModifier\tOMIM:1+D030342

12|t|Naloxone works.
12|a|In rats.
12\t0\t8\tNaloxone\tModifier\t-1
"""
CDR = """12|t|Naloxone works.
12|a|In rats with hyper- or hypotension.
12\t0\t8\tNaloxone\tChemical\t-1
12\t29\t50\thyper- or hypotension\tDisease\tD006973|D007022\thypertension|hypotension
12\tCID\tD008750\tD007022
"""


def ncbi_file(folder: Path, text: str = NCBI) -> Path:
    path = folder / "small.txt"
    path.write_text(text, encoding="utf-8")
    return path


def as_jsonl(folder: Path) -> Path:
    path = folder / "small.jsonl"
    write_jsonl(read_pubtator(ncbi_file(folder)).documents, path)
    return path


# The contract: (file, format, documents, mentions, rejections, first id, last id).
def official(source: str, index: int) -> Path:
    folder = SHARED / "data" / "corpora" / source
    name = SOURCES[source].files[index].name
    return folder / (f"{name}.gz" if source == "bc5cdr" else name)


def assert_contract(corpus: Corpus, documents: int, mentions: int, rejected: int, first: str, last: str) -> None:
    assert (len(corpus.documents), sum(1 for _ in corpus.mentions()), len(corpus.rejections)) == (documents, mentions, rejected)
    assert (corpus.documents[0].id, corpus.documents[-1].id) == (first, last)
    assert len({document.id for document in corpus}) == documents
    for document in corpus:
        assert len({mention.id for mention in document.mentions}) == len(document.mentions)
        assert document.abbreviations == find_abbreviations(document.text)
        for mention in document.mentions:
            assert " ".join(document.surface(span) for span in mention.spans) == mention.text
            assert mention.text == mention.text.strip()


# Formats of lines, which these small files are in; the others have files, and claims like these, in their own tests.
LINES = ["jsonl", "pubtator-bc5cdr", "pubtator-ncbi"]


@pytest.mark.parametrize("kind", LINES)
def test_every_reader_keeps_the_contract_on_a_small_file(kind: str, tmp_path: Path) -> None:
    if kind == "pubtator-bc5cdr":
        corpus = read_corpus(ncbi_file(tmp_path, CDR), kind, split="train")
        assert_contract(corpus, 1, 2, 0, "12", "12")
        assert corpus.rows_read == 3
    else:
        path = as_jsonl(tmp_path) if kind == "jsonl" else ncbi_file(tmp_path)
        corpus = read_corpus(path, kind, split="train")
        assert_contract(corpus, 2, 6, 0, "11", "12")
        assert corpus.rows_read == (2 if kind == "jsonl" else 8)
    assert {document.split for document in corpus} == {"train"}
    assert corpus == read_corpus(path if kind != "pubtator-bc5cdr" else tmp_path / "small.txt", split="train")


@needs_shared
@pytest.mark.parametrize(
    ("source", "index", "documents", "mentions", "rejected", "first", "last"),
    [
        # 593 blocks and 5,145 mention rows, of which one block with 11 rows is there twice.
        ("ncbi_disease", 0, 592, 5145 - 11, 12, "10192393", "8012387"),
        ("ncbi_disease", 1, 100, 787, 0, "8808605", "8696339"),
        ("ncbi_disease", 2, 100, 960, 0, "9949209", "9988281"),
        ("bc5cdr", 0, 500, 9385, 0, "227508", "10683478"),
        ("bc5cdr", 1, 500, 9591, 0, "6794356", "803783"),
        ("bc5cdr", 2, 500, 9809, 0, "8701013", "24055495"),
    ],
)
def test_the_official_files_are_read_whole(source: str, index: int, documents: int, mentions: int, rejected: int, first: str, last: str) -> None:
    corpus = read_corpus(official(source, index))
    assert_contract(corpus, documents, mentions, rejected, first, last)
    assert corpus.rows_read == documents + mentions + rejected
    assert {document.split for document in corpus} == {SOURCES[source].files[index].split}
    assert {rejection.reason for rejection in corpus.rejections} <= {"duplicate"}


@needs_shared
@pytest.mark.parametrize("source", sorted(name for name, source in SOURCES.items() if source.format in LINES))
def test_a_source_s_digests_and_its_format_are_those_of_its_files(source: str) -> None:
    for index, file in enumerate(SOURCES[source].files):
        path = official(source, index)
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert hashlib.sha256(raw).hexdigest() == file.sha256
        assert format_of(path) == SOURCES[source].format


def test_codes_keep_what_the_source_says(tmp_path: Path) -> None:
    mentions = {mention.text: mention.answers for _, mention in read_pubtator(ncbi_file(tmp_path)).mentions()}
    assert mentions["Colon cancer"] == mentions["CC"] == (("D003110",),)
    assert mentions["APC [truncated]"] == (("D011125",),)
    assert mentions["Breast and ovarian cancer"] == (("D001943", "D010051"),)
    assert mentions["familial"] == (("D030342", "OMIM:1"),)
    assert mentions["Naloxone"] == ()


def test_a_relation_row_is_no_mention_and_no_rejection(tmp_path: Path) -> None:
    corpus = read_pubtator(ncbi_file(tmp_path, CDR), dialect="bc5cdr")
    assert corpus.rejections == ()
    assert [mention.answers for _, mention in corpus.mentions()] == [(), (("D006973", "D007022"),)]


def test_a_composite_with_a_part_outside_the_vocabulary_keeps_the_parts_inside(tmp_path: Path) -> None:
    corpus = read_pubtator(ncbi_file(tmp_path, CDR.replace("D006973|D007022", "D006973|-1")), dialect="bc5cdr")
    assert corpus.documents[0].mentions[1].answers == (("D006973",),)


def test_an_offset_off_by_one_is_reported_with_its_place_and_the_rest_stays(tmp_path: Path) -> None:
    path = ncbi_file(tmp_path, NCBI.replace("11\t14\t16", "11\t15\t17"))
    corpus = read_pubtator(path)
    (rejection,) = corpus.rejections
    assert (rejection.where, rejection.reason, rejection.code) == (f"{path}:5", "offset", "D003110")
    assert "hold 'C)'" in rejection.text
    assert "stands at 14–16" in rejection.text
    assert [mention.id for mention in corpus.documents[0].mentions] == ["T1", "T3", "T4", "T5"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("11\t0\t12\tColon cancer\tSpecificDisease\tD003110", "duplicate"),
        ("11\t0\t900\tColon cancer\tSpecificDisease\tD003110", "offset"),
        ("11\t5\t5\t\tSpecificDisease\tD003110", "offset"),
        ("11\t-1\t12\tColon cancer\tSpecificDisease\tD003110", "row"),
        ("11\tzero\t12\tColon cancer\tSpecificDisease\tD003110", "row"),
        ("11\t0\t12", "row"),
        ("99\t0\t12\tColon cancer\tSpecificDisease\tD003110", "orphan"),
        ("no tabs at all", "row"),
        ("11|a|another abstract", "row"),
    ],
)
def test_every_bad_row_is_rejected_with_its_reason(row: str, reason: str, tmp_path: Path) -> None:
    path = ncbi_file(tmp_path, NCBI.replace("\n\n12|t|", f"\n{row}\n\n12|t|"))
    corpus = read_pubtator(path)
    assert [(rejection.where, rejection.reason) for rejection in corpus.rejections] == [(f"{path}:9", reason)]
    assert (sum(1 for _ in corpus.mentions()), corpus.rows_read) == (6, 9)


def test_a_document_met_again_is_rejected_row_by_row_across_files_too(tmp_path: Path) -> None:
    path = ncbi_file(tmp_path)
    corpus = read_corpus([path, path])
    assert len(corpus) == 2
    assert Counter(rejection.reason for rejection in corpus.rejections) == {"duplicate": 8}
    assert corpus.rows_kept + len(corpus.rejections) == corpus.rows_read == 16


def test_rows_come_one_by_one_as_they_are_read_whole(tmp_path: Path) -> None:
    files = [as_jsonl(tmp_path), ncbi_file(tmp_path), as_jsonl(tmp_path)]
    with files[0].open("a", encoding="utf-8") as handle:
        handle.write("no row\n")
    rows, whole = list(iter_corpus(files)), read_corpus(files)
    assert [row for row in rows if isinstance(row, Document)] == list(whole.documents)
    assert [row for row in rows if isinstance(row, Rejection)] == list(whole.rejections)
    assert {row.reason for row in whole.rejections} >= {"json", "duplicate"}


def test_the_first_document_is_there_before_a_later_line_is_read(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path)
    with path.open("ab") as handle:
        handle.write(b"\xff\n")
    rows = iter_corpus(path, "jsonl")
    assert isinstance(next(rows), Document)
    with pytest.raises(FormatError, match="UTF-8"):
        list(rows)


def test_a_bracket_in_a_mention_stays_in_the_document_and_is_a_parenthesis_in_the_prompt(tmp_path: Path) -> None:
    document = read_pubtator(ncbi_file(tmp_path)).documents[0]
    mention = document.mentions[2]
    assert document.surface(mention.spans[0]) == mention.text == "APC [truncated]"
    shown = prompt_text(from_document(document, mention, ("Disease",), PromptFormat()))
    assert shown == "Colon cancer (CC) and [APC (truncated)]{Disease}.\n[APC (truncated)] is"


@pytest.mark.parametrize("kind", LINES)
def test_latin_1_bytes_are_an_error_with_file_and_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "latin1.txt"
    path.write_bytes(NCBI.replace("familial", "famílial").encode("latin-1"))
    with pytest.raises(FormatError, match=r"latin1\.txt:3: byte 0xed .* not UTF-8"):
        read_corpus(path, kind)


@pytest.mark.parametrize("kind", ["auto", "bioc", "pubtator", "pubtator-medmentions", *LINES])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"hello\n"])
def test_a_file_with_nothing_readable_is_an_error_with_its_name(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nothing.txt"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"nothing\.txt"):
        read_corpus(path, kind)


def test_damaged_gzip_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "1", "text": "a"}\n' * 100)[:-20])
    with pytest.raises(FormatError, match=r"half\.jsonl\.gz.*gzip"):
        read_corpus(path, "jsonl")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    plain = read_pubtator(ncbi_file(tmp_path))
    path = tmp_path / "windows.txt"
    path.write_bytes(NCBI.replace("\n", "\r\n").lstrip().encode("utf-8-sig"))
    assert read_pubtator(path).documents == plain.documents


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "json"),
        ('{"id": "3", "text": "\\ud800"}', "json"),
        ("[" * 100_000, "json"),
        ("[]", "schema"),
        ('{"id": "3"}', "schema"),
        ('{"id": "3", "text": 7}', "schema"),
        ('{"id": "3", "text": "a", "txt": ""}', "schema"),
        ('{"id": "3", "text": "a", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 1}], "text": "a", "answers": [[]]}]}', "schema"),
        ('{"id": "3", "text": "a", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 1}], "text": "a", "answers": [["X:1", ""]]}]}', "schema"),
        ('{"id": "3", "text": "a", "split": "Test"}', "schema"),
        ('{"id": "3", "text": "a", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 1}], "text": "a", "answers": [["NO_CODE"]]}]}', "schema"),
        ('{"id": "3", "text": "a", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 1}], "text": "a", "answers": [["X", "-1"]]}]}', "schema"),
        ('{"id": "3", "text": "a b", "mentions": [{"id": "1", "spans": [{"start": 1, "end": 2}], "text": "b"}]}', "offset"),
        ('{"id": "12", "text": "again"}', "duplicate"),
    ],
)
def test_a_bad_json_row_is_rejected_with_its_place(row: str, reason: str, tmp_path: Path) -> None:
    path = as_jsonl(tmp_path)
    path.write_text(path.read_text("utf-8") + row + "\n", "utf-8")
    corpus = read_jsonl(path)
    assert [(rejection.where, rejection.reason) for rejection in corpus.rejections] == [(f"{path}:3", reason)]
    assert (len(corpus), corpus.rows_read) == (2, 3)


def test_answers_are_read_as_sets(tmp_path: Path) -> None:
    mention = {"id": "1", "spans": [{"start": 0, "end": 1}], "text": "a", "answers": [["B", "A"], ["A", "B"], ["C", "C"]]}
    path = tmp_path / "sets.jsonl"
    path.write_text(json.dumps({"id": "3", "text": "a", "mentions": [mention]}))
    assert [m.answers for _, m in read_jsonl(path).mentions()] == [(("A", "B"), ("C",))]


def test_a_document_met_in_another_split_is_rejected_as_such(tmp_path: Path) -> None:
    path = tmp_path / "split.jsonl"
    path.write_text("".join(json.dumps({"id": "1", "text": "a", "split": split}) + "\n" for split in ("train", "train", "test")))
    assert [rejection.reason for rejection in read_jsonl(path).rejections] == ["duplicate", "duplicate_across_splits"]


def test_a_row_s_own_split_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "split.jsonl"
    write_jsonl([Document("1", "a", split="test"), Document("2", "b")], path)
    assert [document.split for document in read_jsonl(path, split="train")] == ["test", "train"]


def test_a_split_of_another_spelling_is_no_way_around_the_refusal_of_test_documents(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown split 'Test'; did you mean 'test'"):
        read_corpus(as_jsonl(tmp_path), split="Test")
    for read in (read_jsonl, read_pubtator):
        with pytest.raises(UnknownNameError, match="'test'"):
            read(ncbi_file(tmp_path), split="Test")
    with pytest.raises(UnknownNameError, match="'test'"):
        Document("1", "a", split="Test")  # type: ignore[arg-type]
    path = as_jsonl(tmp_path)
    path.write_text(path.read_text("utf-8") + '{"id": "3", "text": "a", "split": "TEST"}\n', "utf-8")
    assert "did you mean 'test'" in read_jsonl(path).rejections[0].text


def test_test_documents_are_refused_where_models_are_made() -> None:
    refuse_test([Document("1", "a", split="train"), Document("2", "a")], "files")
    with pytest.raises(ConfigError, match=r"files: 1 documents are of split 'test' \(first: 3\)"):
        refuse_test([Document("1", "a"), Document("3", "a", split="test")], "files")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path)
    before = path.read_bytes()

    def breaking() -> object:
        yield Document("1", "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(breaking(), path)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small.jsonl", "small.txt"]


LETTERS = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60)
CODES = st.text(alphabet=string.ascii_uppercase + string.digits + ":", min_size=1, max_size=8)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(st.one_of(LETTERS, st.text(alphabet='a🙂𝔸\u2028\x85 \n"\\é', min_size=1, max_size=40), st.just("heat shock factor (HSF) 🙂.")))
    mentions = []
    for ordinal in range(draw(st.integers(0, 3)) if text else 0):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=4)))
        spans = tuple(Span(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False))
        answers = draw(st.none() | st.lists(st.sets(CODES, min_size=1, max_size=3).map(lambda codes: tuple(sorted(codes))), max_size=2, unique=True).map(tuple))
        mentions.append(Mention(str(ordinal), spans, " ".join(text[s.start : s.end] for s in spans), draw(st.none() | CODES), answers))
    provenance = draw(st.none() | st.builds(Provenance, concept=CODES, writer=CODES, seed=st.integers()))
    return Document(draw(CODES), text, tuple(mentions), source=draw(st.sampled_from(["human", "synthetic"])), provenance=provenance)


@given(document=documents())
def test_a_document_written_and_read_is_the_same_document(document: Document, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("round") / "documents.jsonl"
    assert write_jsonl([document], path) == 1
    (back,) = read_jsonl(path).documents
    assert back == dataclasses.replace(document, abbreviations=find_abbreviations(document.text))


def test_abbreviations_a_row_states_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "given.jsonl"
    document = Document("1", "heat shock factor (HSF)", abbreviations=(Abbreviation(Span(0, 4), Span(5, 10)),))
    write_jsonl([document], path)
    assert read_jsonl(path).documents == (document,)


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pubtator-ncbi'"):
        read_corpus("x", "pubtator-nbci")
    with pytest.raises(UnknownNameError, match="did you mean 'bc5cdr'"):
        read_pubtator("x", dialect="bc5cd")


def test_no_corpus_text_is_shareable_unless_its_owner_says_so() -> None:
    assert not any(source.shareable for source in SOURCES.values())


def test_a_split_is_by_document_and_the_same_for_any_order() -> None:
    whole = [Document(str(i), "text", split="train") for i in range(40)]
    stay, go = split_documents(whole, 0.1, seed=3)
    assert (len(stay), len(go), {d.split for d in go}, {d.split for d in stay}) == (36, 4, {"dev"}, {"train"})
    assert {d.id for d in stay}.isdisjoint(d.id for d in go)
    again = split_documents(whole[::-1], 0.1, seed=3)[1]
    assert {d.id for d in again} == {d.id for d in go} != {d.id for d in split_documents(whole, 0.1, seed=4)[1]}
    assert [len(part) for part in split_documents(whole[:2], 0.01, seed=0)] == [1, 1]


@pytest.mark.parametrize(("ids", "fraction"), [("ab", 0.0), ("ab", 1.0), ("a", 0.5), ("", 0.5), ("aab", 0.5)])
def test_a_split_that_cannot_be_is_refused(ids: str, fraction: float) -> None:
    with pytest.raises(ConfigError):
        split_documents([Document(i, "text") for i in ids], fraction, seed=0)


def test_rows_are_written_as_the_type_says(tmp_path: Path) -> None:
    document = read_pubtator(ncbi_file(tmp_path)).documents[1]
    assert json.loads(as_jsonl(tmp_path).read_text("utf-8").splitlines()[1]) == to_json(document)
