"""PubTator of sources beyond the first two, and writing it: what cannot be said is handed back."""

import string
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.corpora import DIALECTS, Dialect, Official, format_of, read_corpus, read_pubtator, source_of, verified, write_pubtator
from syncabel.corpora.places import Seen
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.types import Document, Mention, Span

MEDMENTIONS = """7|t|DCTN4 in cystic fibrosis
7|a|Two types.
7\t0\t5\tDCTN4\tT116,T123\tUMLS:C4308010
7\t9\t24\tcystic fibrosis\tT038\tC0010674
"""
EVERYTHING = Dialect(together="+", alternatives="|", nil=("-1", "-"))


def written(folder: Path, text: str) -> Path:
    path = folder / "small.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_medmentions_are_told_by_their_types_which_stay_whole(tmp_path: Path) -> None:
    path = written(tmp_path, MEDMENTIONS)
    assert format_of(path) == "pubtator-medmentions"
    mentions = [mention for _, mention in read_corpus(path).mentions()]
    assert [(mention.type, mention.answers) for mention in mentions] == [("T116,T123", (("C4308010",),)), ("T038", (("C0010674",),))]


def test_the_real_sample_of_medmentions_is_read_whole(shared_data: Path) -> None:
    corpus = read_corpus(shared_data / "formats" / "pubtator" / "med_mentions_scispacy_fixture.txt")
    assert corpus.rejections == ()
    assert corpus.documents[0].id == "25763772"
    assert all(mention.answers is not None and mention.codes[0].startswith("C") for _, mention in corpus.mentions())


def test_an_unknown_source_s_separators_are_what_the_caller_says(tmp_path: Path) -> None:
    path = written(tmp_path, "7|t|a b c d\n7\t0\t1\ta\tX\tC1+C2|C3\n7\t2\t3\tb\tX\t-\n7\t4\t5\tc\tX\n7\t6\t7\td\tX\tC2+-1|-1\n")
    assert [mention.answers for _, mention in read_pubtator(path, dialect="generic").mentions()] == [
        (("C1+C2|C3",),),
        (("-",),),
        None,
        (("C2+-1|-1",),),
    ]
    assert [mention.answers for _, mention in read_pubtator(path, dialect=EVERYTHING).mentions()] == [(("C1", "C2"), ("C3",)), (), None, (("C2",),)]


TEXT = st.text(alphabet='ab é🙂𝔸\u2028\x85\n\r\t|"\\', max_size=40)
CODES = st.text(alphabet=string.ascii_uppercase[:4] + "+|:- 1", min_size=1, max_size=5)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text, mentions = draw(TEXT), []
    for ordinal in range(draw(st.integers(0, 4)) if len(text) > 1 else 0):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=4)))
        spans = tuple(Span(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False))
        answers = draw(st.none() | st.lists(st.lists(CODES, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple))
        mentions.append(
            Mention(f"m{ordinal}", spans, " ".join(text[s.start : s.end] for s in spans), draw(st.none() | st.sampled_from(["X", "T1,T2"])), answers)
        )
    return Document(draw(st.text(alphabet="1a|\t ", min_size=1, max_size=4)), text, tuple(mentions))


def one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


@given(source=documents(), dialect=st.sampled_from([*DIALECTS, EVERYTHING]))
def test_what_is_written_is_read_back_and_the_rest_is_handed_back(source: Document, dialect: str | Dialect, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("round") / "documents.txt"
    left_out = {rejection.where: rejection.reason for rejection in write_pubtator([source], path, dialect)}
    if left_out == {source.id: "id"}:
        return
    back = read_pubtator(path, dialect=dialect)
    (document,) = back.documents
    assert (back.rejections, document.id) == ((), source.id)
    title, line_end, rest = source.text.partition("\n")
    assert document.text == one_line(title) + line_end + one_line(rest)
    said = [(mention.spans, mention.type, mention.answers) for mention in document.mentions]
    assert said == [(mention.spans, mention.type, mention.answers) for mention in source.mentions if f"{source.id}#{mention.id}" not in left_out]


def test_what_pubtator_cannot_say_has_its_reason(tmp_path: Path) -> None:
    def mention(name: str, *spans: Span, kind: str | None = "X", answers: tuple[tuple[str, ...], ...] | None = (("C1",),)) -> Mention:
        return Mention(name, spans, " ".join(text[s.start : s.end] for s in spans), kind, answers)

    text = "left and right\thand\nswollen"
    mentions = (
        mention("kept", Span(0, 4)),
        mention("again", Span(0, 4)),
        mention("apart", Span(0, 4), Span(15, 19)),
        mention("tab", Span(9, 19)),
        mention("over", Span(15, 22)),
        mention("untyped", Span(0, 4), kind=None),
        mention("two", Span(0, 4), answers=(("C1", "C2"),)),
        mention("code", Span(0, 4), answers=(("-1",),)),
    )
    rejections = write_pubtator([Document("1", text, mentions), Document("1", text), Document("a|b", text)], tmp_path / "x.txt")
    assert [(rejection.where, rejection.reason) for rejection in rejections] == [
        ("1#again", "duplicate"),
        ("1#apart", "discontinuous"),
        ("1#tab", "surface"),
        ("1#over", "surface"),
        ("1#untyped", "type"),
        ("1#two", "answers"),
        ("1#code", "answers"),
        ("1", "duplicate"),
        ("a|b", "id"),
    ]
    assert (tmp_path / "x.txt").read_text("utf-8") == "1|t|left and right\thand\n1|a|swollen\n1\t0\t4\tleft\tX\tC1\n"


@pytest.mark.parametrize(("source", "dialect"), [("ncbi_disease/NCBItestset_corpus.txt", "ncbi_disease"), ("bc5cdr/CDR_TestSet.PubTator.txt.gz", "bc5cdr")])
def test_official_files_survive_a_round_trip(source: str, dialect: str, shared_data: Path, tmp_path: Path) -> None:
    first = read_pubtator(shared_data / "corpora" / source, dialect=dialect)
    assert write_pubtator(first, tmp_path / "again.txt", dialect) == ()
    again = read_pubtator(tmp_path / "again.txt", dialect=dialect)
    assert [document.text for document in again] == [document.text for document in first]
    assert [(m.spans, m.type, m.answers) for _, m in again.mentions()] == [(m.spans, m.type, m.answers) for _, m in first.mentions()]


def test_a_folder_or_archive_of_pubtator_files_is_no_brat_corpus_of_texts(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    for name in ("a.txt", "b.txt", "list.json"):
        (tmp_path / "c" / name).write_text(MEDMENTIONS)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "c", "c")
    for place in ("c", "c.tar.gz"):
        with pytest.raises(FormatError, match=r"no BRAT annotations in it, but 2 \.txt, 1 \.json.*--format"):
            read_corpus(tmp_path / place)


def test_options_go_to_the_readers_that_have_them(tmp_path: Path) -> None:
    path = written(tmp_path, "7|t|a b\n7\t0\t1\ta\tX\tC1+C2\n")
    (document,) = read_corpus(path, "pubtator", language="de", dialect="ncbi_disease")
    assert (document.language, document.mentions[0].answers) == ("de", (("C1", "C2"),))
    with pytest.raises(ConfigError, match="no option several"):
        read_corpus(path, "pubtator", several="together")
    with pytest.raises(UnknownNameError, match="dialect"):
        read_corpus(path, "pubtator", dialect="ncbi")


def test_offsets_wrong_by_a_little_are_told_where_and_the_twenty_first_is_not(tmp_path: Path) -> None:
    rows = "".join(f"7\t1\t2\tb\tX{i}\tC1\n" for i in range(22))
    hints = [rejection.text for rejection in read_corpus(written(tmp_path, "7|t|a b\n" + rows), "pubtator").rejections]
    assert ("it stands at 2–3" in hints[19], "it stands at" in hints[20], len(hints)) == (True, False, 22)


def test_an_official_file_is_known_by_its_content_under_any_name(shared_data: Path, tmp_path: Path) -> None:
    ncbi = shared_data / "corpora" / "ncbi_disease" / "NCBItestset_corpus.txt"
    renamed = tmp_path / "mine.txt"
    renamed.write_bytes(ncbi.read_bytes())
    assert source_of(renamed) == Official("ncbi_disease", "test", "NCBItestset_corpus.txt", True)
    assert {document.split for document in read_corpus(renamed)} == {"test"}
    changed = tmp_path / ncbi.name
    changed.write_bytes(ncbi.read_bytes() + b"\n")
    assert verified([changed, tmp_path]) == {changed: Official("ncbi_disease", "test", ncbi.name, False), tmp_path: None}
    assert {document.split for document in read_corpus(changed)} == {"test"}
    again = read_corpus([ncbi, renamed])
    assert {rejection.reason for rejection in again.rejections} == {"duplicate"}


def test_a_document_met_in_another_split_is_one_leak(tmp_path: Path) -> None:
    path, seen = written(tmp_path, MEDMENTIONS), Seen()
    read_pubtator(path, split="train", dialect="medmentions", seen=seen)
    assert [r.reason for r in read_pubtator(path, split="test", dialect="medmentions", seen=seen).rejections] == ["duplicate_across_splits"] + ["duplicate"] * 2


def test_the_unpacked_archive_of_quaero_is_french_and_keeps_its_splits(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "corpora" / "quaero" / "quaero_brat.tar.gz") as tar:
        for member in tar.getmembers():
            if "/EMEA/" in member.name and (content := tar.extractfile(member)) is not None:
                place = tmp_path / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())
    for place, splits in (("", {"train", "dev", "test"}), ("corpus", {"train", "dev", "test"}), ("corpus/test", {"test"}), ("corpus/dev/EMEA", {"dev"})):
        assert format_of(tmp_path / place) == "quaero"
        corpus = read_corpus(tmp_path / place)
        assert ({document.language for document in corpus}, {document.split for document in corpus}) == ({"fr"}, splits)
    one = next((tmp_path / "corpus" / "test" / "EMEA").glob("*.ann"))
    assert [(document.language, document.split) for document in read_corpus(one)] == [("fr", "test")]
    assert (format_of(shared_data / "formats" / "brat" / "maccrobat2020"), source_of(shared_data / "formats")) == ("brat", None)
