"""BRAT: hand-worked files, every row out of order, the real corpora, and round trips."""

import dataclasses
import string
import tarfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora import Corpus, read_brat, read_corpus, write_brat
from syncabel.corpora.brat import _file_name
from syncabel.corpora.places import Locator, Seen
from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.types import Document, Mention, Span

TEXT = "Cancer of the colon\nand breast. Fièvre 🙂 mild.\n"
ANN = (
    "T1\tDisease 0 6\tCancer\n"
    "N1\tReference T1 MeSH:D009369\tCancer\n"
    "N2\tReference T1 OMIM:1+2\tCancer\n"
    "T2\tDisease 14 19;0 6\tcolon Cancer\n"
    "#1\tAnnotatorNotes T2\tC0009402, C0007102\n"
    "T3\tSymptom 32 38\tFièvre\n"
    "#2\tAnnotatorNotes T3\tnot sure\n"
    "T4\tSymptom 41 45\tmild\n"
    "N3\tReference T4 MeSH:NO_CODE\n"
    "T5\tDisease 14 30\tcolon and breast\n"
    "R1\tFor Arg1:T1 Arg2:T2\t\nE1\tEvent:T1 \nA1\tNegation T1\n*\tEquiv T1 T2\n#3\tAnnotatorNotes E1\tC1\n\n"
)


def corpus_folder(folder: Path, ann: str = ANN, text: str = TEXT) -> Path:
    (folder / "d.txt").write_bytes(text.encode())
    (folder / "d.ann").write_bytes(ann.encode())
    return folder


def reasons(corpus: Corpus) -> Counter[str]:
    assert corpus.rows_kept + len(corpus.rejections) == corpus.rows_read
    return Counter(rejection.reason for rejection in corpus.rejections)


def test_every_kind_of_row_is_read_as_brat_means_it(tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path), split="dev", language="fr")
    (document,) = corpus
    assert (document.id, document.text, document.split, document.language) == ("d", TEXT, "dev", "fr")
    assert [(m.id, m.text, m.type, m.answers) for m in document.mentions] == [
        ("T1", "Cancer", "Disease", (("D009369",), ("1", "2"))),
        ("T2", "Cancer colon", "Disease", (("C0009402",), ("C0007102",))),
        ("T3", "Fièvre", "Symptom", None),
        ("T4", "mild", "Symptom", ()),
        ("T5", "colon\nand breast", "Disease", None),
    ]
    assert document.mentions[1].spans == (Span(0, 6), Span(14, 19))
    assert corpus.rejections == ()
    assert corpus.rows_read == 1 + 5 + 3 + 1  # the text, mentions, N rows, the note that holds codes


def test_several_codes_are_together_and_prefixed_where_that_is_asked_for(tmp_path: Path) -> None:
    (document,) = read_brat(corpus_folder(tmp_path), several="together", prefixed=True, notes=False)
    assert document.mentions[0].answers == (("MeSH:D009369", "OMIM:1", "OMIM:2"),)
    assert [mention.answers for mention in document.mentions[1:4]] == [None, None, ()]


@pytest.mark.parametrize(
    ("row", "reason", "problem"),
    [
        ("T9\tDisease 1 7\tCancer", "offset", "1–7 hold 'ancer '; it stands at 0–6"),
        ("T9\tDisease 0 6;3 9\tCancer cer of", "offset", "overlap"),
        ("T9\tDisease 0 900\tCancer", "offset", "stands at 0–6"),
        ("T9\tDisease 6 6\t", "offset", "it occurs nowhere"),
        ("T1\tDisease 0 6\tCancer", "duplicate", "T1 stands above"),
        ("T9\tDisease 0\tCancer", "row", "a mention is"),
        ("T9\tDisease 0 6", "row", "a mention is"),
        ("X1\tDisease 0 6\tCancer", "row", "no row of BRAT"),
        ("N9\tReference T1 no-colon", "row", "no row of BRAT"),
        ("N9\tReference T99 MeSH:D1\tx", "orphan", "there is no mention T99"),
    ],
)
def test_every_bad_row_is_rejected_with_its_reason(row: str, reason: str, problem: str, tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path, ANN + row + "\r\n"))
    (rejection,) = corpus.rejections
    assert (rejection.where, rejection.reason) == (f"{tmp_path / 'd.ann'}:{ANN.count(chr(10)) + 1}", reason)
    assert problem in rejection.text
    assert (corpus.rows_read, len(corpus.documents[0].mentions)) == (11, 5)


def test_the_codes_of_a_rejected_mention_are_rejected_with_it(tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path, "T1\tD 1 7\tCancer\nN1\tReference T1 MeSH:D1\tCancer\n"))
    assert [(r.reason, r.code) for r in corpus.rejections] == [("offset", "D1"), ("orphan", "D1")]
    assert reasons(corpus) == {"offset": 1, "orphan": 1}


def test_folders_of_any_depth_with_several_missing_and_empty_annotation_files(tmp_path: Path) -> None:
    for name, content in {
        "train/x/a.txt": b"flu",
        "train/x/a.ann": b"T1\tD 0 3\tflu",
        "test/a.txt": b"flu",
        "test/b.txt": b"no annotations",
        "test/c.txt": b"",
        "test/c.ann": b"",
        "e.txt": "une grippe".encode("latin-1") + b"\xe9",
        "e.ann": b"T1\tD 0 3\tune\nT2\tD 4 10\tgrippe",
        "f.ann": b"T1\tD 0 3\tflu",
        "g.txt": b"flu",
        "g.ann": b"T1\tD 0 3\tfl\xfc",
        "README.txt": b"read me",
        "a.ann~": b"junk",
        "annotation.conf": b"junk",
        ".hidden.txt": b"junk",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    corpus = read_brat(tmp_path)
    assert [(d.id, d.split, len(d.mentions)) for d in corpus] == [
        ("test/a", "test", 0),
        ("test/b", "test", 0),
        ("test/c", "test", 0),
        ("train/x/a", "train", 1),
    ]
    assert reasons(corpus) == {"encoding": 3 + 2, "no_text": 1}
    assert [document.id for document in read_brat(tmp_path, ids="path")] == ["test/a", "test/b", "test/c", "train/x/a"]


def test_two_annotation_files_are_one_document(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"TP53 binds MDM2")
    (tmp_path / "p.a1").write_bytes(b"T1\tProtein 0 4\tTP53\n")
    (tmp_path / "p.a2").write_bytes(b"T2\tProtein 11 15\tMDM2\nN1\tReference T1 U:P04637\tTP53\nT1\tProtein 0 4\tTP53\n")
    corpus = read_brat(tmp_path, annotations=(".a1", ".a2"))
    assert [(m.id, m.answers) for _, m in corpus.mentions()] == [("T1", (("P04637",),)), ("T2", None)]
    assert reasons(corpus) == {"duplicate": 1}
    assert corpus == read_brat(tmp_path / "p.a1", annotations=(".a1", ".a2"))


def test_an_archive_reads_as_its_folder_does(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    corpus_folder(folder)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        tar.add(folder, "corpus")
    assert read_brat(tmp_path / "c.tar.gz").documents == read_brat(folder).documents == read_brat(folder / "d.txt").documents


def test_a_document_met_before_is_rejected_with_all_its_rows(tmp_path: Path) -> None:
    folder, seen = corpus_folder(tmp_path), Seen()
    read_brat(folder, seen=seen)
    again = read_brat(folder, seen=seen)
    assert (len(again), reasons(again)) == (0, {"duplicate": 10})


def test_what_cannot_be_read_at_all_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.json").write_bytes(b"{}")
    for name in ("empty", "x.json"):
        with pytest.raises(FormatError, match=name):
            read_brat(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_brat(tmp_path / "absent.ann")
    with pytest.raises(UnknownNameError, match="together"):
        read_brat(tmp_path, several="togther")
    with pytest.raises(ConfigError, match="suffix"):
        read_brat(tmp_path, annotations=())


def test_quaero_is_read_whole_and_joins_the_published_predictions(shared_data: Path) -> None:
    corpus = read_brat(shared_data / "corpora" / "quaero" / "quaero_brat.tar.gz", language="fr")
    mentions = [mention for _, mention in corpus.mentions()]
    assert (len(corpus), len(mentions), corpus.rejections) == (2536, 16233, ())
    assert (sum(len(m.spans) > 1 for m in mentions), sum(m.answers is None for m in mentions), sum(len(m.answers or ()) > 1 for m in mentions)) == (141, 12, 54)
    assert Counter(document.split for document in corpus) == {"train": 844, "dev": 844, "test": 848}
    by_id = {document.id: document for document in corpus}
    # Rows say "5725371" and "5725371.5" for the mention T5 of that file.
    assert {m.id: m.text for m in by_id["5725371"].mentions}["T5"] == "neurologiques"
    emea = [document for document in corpus if document.split == "test" and "_" in document.id]
    # EMEA rows number the files of the test folder by name: row 7 at 4382–4401 is of the eighth, 334_1.
    assert (emea[7].id, [m.text for m in emea[7].mentions if (m.start, m.end) == (4382, 4401)]) == ("334_1", ["sujets jeunes"])


@pytest.mark.parametrize(
    ("name", "documents", "mentions", "coded"), [("inception_ncbi_disease", 20, 226, 0), ("maccrobat2020", 5, 256, 0), ("spyysalo_ncbi_standoff", 2, 35, 35)]
)
def test_the_samples_of_three_flavours_are_read_whole(name: str, documents: int, mentions: int, coded: int, shared_data: Path) -> None:
    corpus = read_brat(shared_data / "formats" / "brat" / name)
    assert (len(corpus), sum(1 for _ in corpus.mentions()), corpus.rejections) == (documents, mentions, ())
    assert sum(bool(mention.answers) for _, mention in corpus.mentions()) == coded


TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from("ab \n\r\t🙂é\u2028\ufeff"), min_size=1, max_size=40)
CODES = st.lists(st.text(string.ascii_letters + string.digits + ":._", min_size=1, max_size=6), min_size=1, max_size=3, unique=True).map(
    lambda codes: tuple(sorted(codes))
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(TEXTS)
    mentions: list[Mention] = []
    for number in range(draw(st.integers(0, 4))):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=6)))
        spans = tuple(Span(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False))
        # A line end inside a fragment is what BRAT cannot hold; a document without one comes back as it was.
        spans = tuple(span for span in spans if "\n" not in text[span.start : span.end])
        if spans:
            answers = draw(st.none() | st.just(()) | st.lists(CODES, min_size=1, max_size=3, unique=True).map(tuple))
            covered = " ".join(text[span.start : span.end] for span in spans)
            mentions.append(Mention(f"T{number + 1}", spans, covered, draw(st.sampled_from(["Disease", "Drug"])), answers))
    return Document("folder/d", text, tuple(mentions), abbreviations=find_abbreviations(text))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_what_is_written_is_read_back(document: Document, tmp_path: Path) -> None:
    write_brat([document], tmp_path)
    corpus = read_brat(tmp_path, ids="path")
    assert corpus.rejections == ()
    assert corpus.documents == (document,)


def test_a_line_end_in_a_mention_makes_two_fragments_and_foreign_ids_are_numbered(tmp_path: Path) -> None:
    document = Document("d", "lung\n\ncancer", (Mention("m", (Span(0, 12),), "lung\n\ncancer"),))
    write_brat([document], tmp_path)
    (read,) = read_brat(tmp_path)
    assert read == dataclasses.replace(document, mentions=(Mention("T1", (Span(0, 4), Span(6, 12)), "lung cancer", "Mention"),))


@pytest.mark.parametrize(
    "document",
    [
        Document("\ud800", "flu"),
        Document("d", "flu", (Mention("T1", (Span(0, 3),), "flu", "D", (("a b",),)),)),
        Document("d", "flu", (Mention("T1", (Span(0, 3),), "flu", "D", (("a+b",),)),)),
        Document("d", "flu", (Mention("T1", (Span(0, 3),), "flu", "D", (("NO_CODE",),)),)),
        Document("d", "\n\n", (Mention("T1", (Span(0, 1),), "\n", "D"),)),
        Document("d", "\ud800"),
    ],
)
def test_what_brat_cannot_hold_is_refused_and_nothing_is_written(document: Document, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        write_brat([Document("good", "fine"), document], tmp_path)
    assert list(tmp_path.iterdir()) == []


LINES = st.lists(
    st.sampled_from(["T1\tD 0 3\tflu", "T2\tD 0 3;1 2\tx", "N1\tReference T1 A:B\tx", "#1\tAnnotatorNotes T1\tC1 +", "R1\t", "E", "T", "\t"])
    | st.text(max_size=20),
    max_size=6,
).map("\n".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(annotation=LINES.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60), text=st.binary(max_size=20) | st.just(b"flu"))
def test_whatever_the_bytes_each_row_is_kept_or_rejected(annotation: bytes, text: bytes, tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(text)
    (tmp_path / "d.ann").write_bytes(annotation)
    (tmp_path / "d.zip").write_bytes(annotation)
    corpus = read_brat(tmp_path)
    assert sum(reasons(corpus).values()) + corpus.rows_kept == corpus.rows_read
    with pytest.raises(SyncabelError):
        read_brat(tmp_path / "d.zip")


def test_a_name_that_two_folders_share_makes_paths_of_all_ids_so_that_none_depends_on_the_others(tmp_path: Path) -> None:
    for name in ("train/1", "test/1", "test/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text("flu")
    assert [document.id for document in read_brat(tmp_path)] == ["test/1", "test/2", "train/1"]
    assert [document.id for document in read_brat(tmp_path / "test")] == ["1", "2"]


@pytest.mark.parametrize("note", ["see page 12", "vitamin B12 is low", "on 2019-03, T4 5mg", "metastasis?", "p53 at 10:30", ""])
def test_what_a_note_says_is_no_code_unless_it_looks_like_one(note: str, tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path, f"T1\tDisease 0 6\tCancer\n#1\tAnnotatorNotes T1\t{note}\n"))
    assert (corpus.documents[0].mentions[0].answers, corpus.rejections, corpus.rows_read) == (None, (), 2)


@pytest.mark.parametrize(
    ("note", "answers"),
    [
        ("C0008100", (("C0008100",),)),
        ("C0557.36", (("C0557.36",),)),
        ("HP:0001250 80281008", (("HP:0001250",), ("80281008",))),
        ("ICD10:E11.9", (("ICD10:E11.9",),)),
        ("CUI-less", ()),
        ("J45.0", (("J45.0",),)),
        ("R05", (("R05",),)),
        ("C50.911, J45", (("C50.911",), ("J45",))),
        ("C4A.0", (("C4A.0",),)),
        ("J450 S061X0A", (("J450",), ("S061X0A",))),
        ("E11.9+I79.2", (("E11.9", "I79.2"),)),
        ("ICD-10:J45.0", (("ICD-10:J45.0",),)),
        ("DOID:4", (("DOID:4",),)),
        ("DOID:1612", (("DOID:1612",),)),
        ("D003924", (("D003924",),)),
        ("114480", (("114480",),)),
    ],
)
def test_codes_in_notes_are_letters_with_digits_or_have_their_vocabulary(note: str, answers: object, tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path, f"T1\tDisease 0 6\tCancer\n#1\tAnnotatorNotes T1\t{note}\n"))
    assert (corpus.documents[0].mentions[0].answers, corpus.rejections, corpus.rows_read) == (answers, (), 3)


@pytest.mark.parametrize("note", ["C0008100?", "C0008100 (sure)", "or C0008100", "CUI-less, I think", "J45.0 or so"])
def test_a_note_with_a_code_among_other_words_is_rejected_and_counted(note: str, tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path, f"T1\tDisease 0 6\tCancer\n#1\tAnnotatorNotes T1\t{note}\n"))
    assert (reasons(corpus), corpus.rows_read, corpus.documents[0].mentions[0].answers) == ({"note": 1}, 3, None)
    assert read_brat(tmp_path, notes=False).rejections == ()


@pytest.mark.parametrize("note", ["5A11", "2019-03", "T4", "p53", "5mg", "10:30", "8500/3", "j45.0"])
def test_a_note_of_one_word_with_a_digit_is_never_lost_in_silence(note: str, tmp_path: Path) -> None:
    corpus = read_brat(corpus_folder(tmp_path, f"T1\tDisease 0 6\tCancer\n#1\tAnnotatorNotes T1\t{note}\n"))
    assert (reasons(corpus), corpus.rows_read, corpus.documents[0].mentions[0].answers) == ({"note": 1}, 3, None)
    assert "no code of a known form" in corpus.rejections[0].text


def test_whoever_knows_the_codes_of_notes_gives_their_pattern(tmp_path: Path) -> None:
    folder = corpus_folder(tmp_path, "T1\tDisease 0 6\tCancer\n#1\tAnnotatorNotes T1\t5A11\n")
    assert read_corpus(folder, codes=r"\d[A-Z]\d\d(\.\d)?").documents[0].mentions[0].answers == (("5A11",),)
    with pytest.raises(ConfigError, match="regular expression"):
        read_brat(folder, codes="(")


def test_a1_and_a2_files_are_read_without_being_asked_for(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"TP53 binds MDM2")
    (tmp_path / "p.a1").write_bytes(b"T1\tProtein 0 4\tTP53\n")
    (tmp_path / "p.a2").write_bytes(b"T2\tProtein 11 15\tMDM2\n")
    assert [m.id for _, m in read_brat(tmp_path).mentions()] == ["T1", "T2"]
    assert read_corpus(tmp_path) == read_brat(tmp_path)


ODD_IDS = [
    "7#Living Beings:4382-4401",
    "../d",
    "",
    "/",
    "a/b",
    "a.txt/b",
    "a",
    ".hidden",
    "x.",
    " ",
    "é🙂",
    "50%",
    "%35",
    "n" * 300,
    "n" * 299 + "m",
    "tab\there",
]


def test_ids_languages_splits_and_types_that_files_cannot_hold_survive(tmp_path: Path) -> None:
    kinds = ["Living Beings", "Living_Beings", "Living\tBeings", "", "plain"]
    source = [
        Document(name, "flu", (Mention("T1", (Span(0, 3),), "flu", kinds[i % 5]),), ("en", "fr")[i % 2], split=(None, "train", "dev", "test")[i % 4])
        for i, name in enumerate(ODD_IDS)
    ]
    assert write_brat(source, tmp_path / "out") == len(ODD_IDS)
    corpus = read_brat(tmp_path / "out")
    assert corpus.rejections == ()
    assert sorted(corpus, key=lambda document: document.id) == sorted(source, key=lambda document: document.id)
    with tarfile.open(tmp_path / "out.tar", "w") as tar:
        tar.add(tmp_path / "out", "out")
    assert set(read_brat(tmp_path / "out.tar")) == set(source)
    assert all(file.resolve().is_relative_to(tmp_path / "out") for file in (tmp_path / "out").rglob("*"))


@given(ids=st.sets(st.text(st.sampled_from("a./%A \\é\n") | st.characters(exclude_categories=("Cs",)), max_size=8), max_size=5))
def test_no_two_ids_share_a_file(ids: set[str]) -> None:
    names = [_file_name(name) for name in ids]
    assert len(set(names)) == len(ids)
    assert not any(part in ("", ".", "..") for name in names for part in name.split("/"))


def test_a_row_of_the_documents_table_that_cannot_be_read_is_rejected_and_a_stranger_s_table_left_alone(tmp_path: Path) -> None:
    write_brat([Document("d", "flu", language="fr")], tmp_path)
    with (tmp_path / "documents.tsv").open("a") as table:
        table.write("d\td\ten\t\nd\nd\tx\ten\tTest\ngone\tx\ten\t\n")
    corpus = read_brat(tmp_path)
    assert (reasons(corpus), [document.language for document in corpus]) == ({"row": 4}, ["fr"])
    (tmp_path / "documents.tsv").write_bytes(b"\xef\xbb\xbffile\tid\tlanguage\tsplit\r\nd\tx\tde\tdev\r\n")  # as a spreadsheet saves it
    assert [(document.id, document.language, document.split) for document in read_brat(tmp_path, split="test")] == [("x", "de", "dev")]
    (tmp_path / "documents.tsv").write_text("some\ttable\nof\tothers\n")
    assert [(document.id, document.language) for document in read_brat(tmp_path)] == [("d", "en")]


def test_the_published_tables_survive_a_round_trip_through_brat(shared_data: Path, tmp_path: Path) -> None:
    source = read_corpus(shared_data / "predictions" / "EMEA_with.tsv").documents[:300]
    write_brat(source, tmp_path)
    back = {document.id: document for document in read_brat(tmp_path)}
    for document in source:
        again = back[document.id]
        assert (again.text, again.language, again.split) == (document.text, document.language, document.split)
        assert [(m.spans, m.type, m.answers) for m in again.mentions] == [(m.spans, m.type, m.answers) for m in document.mentions]


def test_wrong_offsets_cost_what_they_say_and_not_the_document_each(tmp_path: Path) -> None:
    text = "word " * 200_000
    rows = "".join(f"T{i}\tDisease 0 {len(text)}\tnowhere{i}\n" for i in range(3_000))
    started = time.process_time()
    corpus = read_brat(corpus_folder(tmp_path, rows, text))
    hints = [rejection.text for rejection in corpus.rejections]
    assert time.process_time() - started < 2.5  # reading the text for every row took 4 ms each, 12 s
    assert max(map(len, hints)) < 500
    assert (sum("occurs nowhere" in hint for hint in hints), sum("is said of the first 20" in hint for hint in hints)) == (20, 2_980)


@given(text=st.text("ab \n", max_size=30), start=st.integers(0, 40), surface=st.text("ab ", min_size=1, max_size=3))
def test_the_place_named_instead_is_the_nearest(text: str, start: int, surface: str) -> None:
    flat, wanted = text.replace("\n", " "), surface.strip()
    places = [i for i in range(len(flat)) if wanted and flat.startswith(wanted, i)]
    said = Locator(text).instead([(start, start + 1)], surface)
    if not places:
        assert said.endswith("it occurs nowhere")
    else:
        near = int(said.rsplit(" ", 1)[1].split("–")[0])
        assert abs(near - min(start, len(text))) == min(abs(place - min(start, len(text))) for place in places)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(st.sampled_from(["d\td\ten\ttrain", "d\t\t\t", "/d\t..\ten\tdev", "d\t\\x\\n\\\\\ten\t"]) | st.text(max_size=12), max_size=4).map("\n".join)
)
def test_whatever_the_tables_say_each_row_is_used_or_rejected(table: str, tmp_path: Path) -> None:
    corpus_folder(tmp_path)
    (tmp_path / "documents.tsv").write_bytes(b"file\tid\tlanguage\tsplit\n" + table.encode("utf-8", "surrogatepass"))
    (tmp_path / "types.tsv").write_bytes(b"written\ttype\n" + table.encode("utf-8", "surrogatepass"))
    corpus = read_brat(tmp_path)
    assert (len(corpus), corpus.rows_kept, set(reasons(corpus)) - {"row"}) == (1, 10, set())
