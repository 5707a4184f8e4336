"""SPACCC: a hand-worked table, every row out of order, and the two real tables with their 39 spans that are not the text."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.corpora import format_of, read_corpus, read_spaccc
from syncabel.errors import ConfigError, FormatError, SyncabelError

HEADER = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tsemantic_rel"
ROWS = (
    "a\tENFERMEDAD\t0\t14\tLabio leporino\t80281008\tEXACT",
    "a\tSINTOMA\t16\t22\tfiebre\tNO_CODE\tNO_CODE",
    "b\tSINTOMA\t0\t10\tFiebre\ny tos\t",
    "a\tSINTOMA\t23\t28\ty tos\t386661006+49727002\tCOMPOSITE",
)
TEXTS = {"a": 'Labio leporino, fiebre y tos 🙂 «dolor» "en pico".', "b": "Fiebre"}


def tables(folder: Path, *rows: str, name: str = "t.tsv") -> Path:
    (folder / "texts").mkdir(exist_ok=True)
    for stem, text in TEXTS.items():
        (folder / "texts" / f"{stem}.txt").write_bytes(text.encode())
    path = folder / name
    path.write_text("\n".join((HEADER, *rows)), encoding="utf-8")
    return path


def test_a_table_and_its_texts_are_documents(tmp_path: Path) -> None:
    path = tables(tmp_path, ROWS[0], ROWS[1], ROWS[3])
    corpus = read_spaccc(path, split="dev")
    (document,) = corpus
    assert (document.id, document.language, document.split, corpus.rows_read) == ("a", "es", "dev", 3)
    assert [(m.id, m.text, m.answers) for m in document.mentions] == [
        ("T1", "Labio leporino", (("80281008",),)),
        ("T2", "fiebre", ()),
        ("T3", "y tos", (("386661006", "49727002"),)),
    ]
    assert format_of(path) == "spaccc"
    assert read_corpus(path).documents[0].text == TEXTS["a"]


@pytest.mark.parametrize(
    ("row", "reason", "problem"),
    [
        ("a\tSINTOMA\t17\t23\tfiebre\t386661006\tEXACT", "offset", "it stands at 16–22"),
        ("a\tSINTOMA\t16\t220\tfiebre\t386661006\tEXACT", "offset", "it stands at 16–22"),
        ("a\tSINTOMA\t16\t22\tfiebre\t1.66753E+16\tNARROW", "code", "lost digits"),
        ("a\tSINTOMA\t16\t22\tfiebre\t386661006.0\tNARROW", "code", "lost digits"),
        ("a\tSINTOMA\t16\t22\tfiebre\tN+O\tN+O", "code", "'N' is no SNOMED CT"),
        ("a\tSINTOMA\t16\tx\tfiebre\t386661006\tEXACT", "row", "not numbers"),
        ("a\tSINTOMA\t16", "row", "3 columns where the header has 7"),
        ("z\tSINTOMA\t16\t22\tfiebre\t386661006\tEXACT", "no_text", "there is no z.txt"),
        (ROWS[0], "duplicate", "stands above"),
    ],
)
def test_every_bad_row_is_rejected_with_its_reason(row: str, reason: str, problem: str, tmp_path: Path) -> None:
    path = tables(tmp_path, ROWS[0], row)
    corpus = read_spaccc(path)
    (rejection,) = corpus.rejections
    assert (rejection.where, rejection.reason, corpus.rows_read) == (f"{path}:3", reason, 2)
    assert problem in rejection.text


def test_a_quoted_span_is_taken_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tables(tmp_path, 'a\tSINTOMA\t39\t48\t"""en pico"""\tNO_CODE\tNO_CODE', ROWS[0])
    strict, mended = read_spaccc(path), read_spaccc(path, unquote=True)
    assert [r.reason for r in strict.rejections] == ["offset"]
    assert "unquoted it is the text at 39–48" in strict.rejections[0].text
    assert [m.text for _, m in mended.mentions()] == ['"en pico"', "Labio leporino"]


def test_composites_keep_the_parts_that_are_in_snomed_ct(tmp_path: Path) -> None:
    corpus = read_spaccc(tables(tmp_path, "a\tS\t16\t22\tfiebre\t386661006+NO_CODE\tCOMPOSITE", "a\tS\t0\t5\tLabio\tNOMAP\tNOMAP"))
    assert [mention.answers for _, mention in corpus.mentions()] == [(("386661006",),), ()]


def test_texts_that_are_missing_or_latin_1_are_named(tmp_path: Path) -> None:
    path = tables(tmp_path, ROWS[0], "b\tS\t0\t6\tFiebre\t386661006\tEXACT")
    (tmp_path / "texts" / "b.txt").write_bytes("Fiebre alta, niño".encode("latin-1"))
    assert [rejection.reason for rejection in read_spaccc(path).rejections] == ["encoding"]
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "t.tsv").write_text(HEADER)
    with pytest.raises(ConfigError, match=r"no texts, texts\.tar\.gz, texts\.zip beside t\.tsv"):
        read_spaccc(lone / "t.tsv")
    with pytest.raises(ConfigError, match="neither a folder nor an archive"):
        read_spaccc(path, texts=path)
    path.write_text(HEADER.replace("\tspan\t", "\tspam\t"))
    with pytest.raises(FormatError, match="no column 'span'"):
        read_spaccc(path)


def test_both_real_tables_are_read_and_what_does_not_fit_is_reported(shared_data: Path) -> None:
    folder = shared_data / "corpora" / "spaccc"
    corpus = read_spaccc(folder)
    assert (len(corpus), corpus.rows_read, corpus.rows_kept) == (1000, 28223, 28159)
    assert Counter(r.reason for r in corpus.rejections) == {"offset": 39, "code": 24, "duplicate": 1}
    assert Counter(r.where.rsplit("/")[-1].split(":")[0] for r in corpus.rejections if r.reason == "offset") == {"train.tsv": 24, "test.tsv": 15}
    # 33 of the 39 are only quoted; of the other six two stand one character later and four nowhere.
    offset = [r.text for r in corpus.rejections if r.reason == "offset"]
    assert (sum("unquoted it is the text" in text for text in offset), sum("it stands at" in text for text in offset)) == (33, 2)
    assert Counter(document.split for document in corpus) == {"train": 750, "test": 250}
    assert len({document.id for document in corpus}) == 1000


def test_quoted_rows_of_the_real_tables_can_be_had(shared_data: Path) -> None:
    corpus = read_corpus(shared_data / "corpora" / "spaccc" / "test.tsv")
    mended = read_spaccc(shared_data / "corpora" / "spaccc" / "test.tsv", unquote=True)
    assert (corpus.rows_kept, mended.rows_kept, {document.split for document in corpus}) == (9218, 9231, {"test"})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.sampled_from(ROWS)
        | st.text(max_size=30)
        | st.lists(st.sampled_from(["a", "b", "0", "6", "Fiebre", "1.0E+17", '"', ""]), min_size=7, max_size=7).map("\t".join),
        max_size=5,
    )
)
def test_whatever_the_rows_each_is_kept_or_rejected(rows: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(tables(tmp_path).read_bytes() + b"\n" + "\n".join(rows).encode("utf-8", "surrogatepass"))
    try:
        corpus = read_spaccc(tmp_path / "t.tsv")
    except SyncabelError:
        return
    assert corpus.rows_read == len(corpus.rejections) + sum(1 for _ in corpus.mentions())


def test_a_document_in_two_tables_is_one_leak_however_many_rows_it_has(tmp_path: Path) -> None:
    tables(tmp_path, ROWS[0], name="train.tsv")
    tables(tmp_path, ROWS[1], ROWS[3], name="test.tsv")
    for corpus in (read_corpus(tmp_path), read_corpus([tmp_path / "test.tsv", tmp_path / "train.tsv"])):
        reasons = Counter(rejection.reason for rejection in corpus.rejections)
        assert (reasons["duplicate_across_splits"], corpus.rows_read, corpus.rows_kept) == (1, 3, 3 - reasons.total())


def test_a_folder_of_tables_beside_their_texts_is_spaccc(tmp_path: Path, shared_data: Path) -> None:
    tables(tmp_path, ROWS[0])
    assert format_of(tmp_path) == "spaccc"
    assert read_corpus(tmp_path) == read_spaccc(tmp_path)
    assert format_of(shared_data / "corpora" / "spaccc") == "spaccc"
