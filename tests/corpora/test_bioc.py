"""BioC, XML and JSON: the text is rebuilt so that offsets hold, each mention is checked against it, and no bytes bring the reader down."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.corpora import Corpus, Dialect, format_of, read_bioc, read_corpus
from syncabel.corpora.places import Seen
from syncabel.errors import FormatError, SyncabelError, UnknownNameError
from syncabel.types import Span

XML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>PubTator</source><date/><key>BioC.key</key>
<document><id>1</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Colon cancer 🙂 &amp; é</text>
<annotation id="1"><infon key="identifier">MESH:D003110</infon><infon key="type">Disease</infon>
<location offset="0" length="12"/><text>Colon cancer</text></annotation></passage>
<passage><infon key="type">abstract</infon><offset>20</offset><text>Left and right leg pain.</text>
<annotation id="2"><infon key="type">Symptom</infon><infon key="MESH">D1;D2</infon>
<location offset="35" length="3"/><location offset="20" length="4"/><text>Left leg</text></annotation>
<annotation id="3"><infon key="type">Symptom</infon><infon key="identifier">-</infon><location offset="39" length="4"/><text>pain</text></annotation>
<annotation id="4"><infon key="type">Symptom</infon><location offset="40" length="4"/><text>pain</text></annotation>
<annotation id="5"><infon key="type">Symptom</infon><location offset="x" length="4"/><text>pain</text></annotation>
</passage></document>
<document><id>2</id><passage><offset>3</offset>
<sentence><offset>3</offset><text>One fever.</text></sentence>
<sentence><offset>15</offset><text>Two.</text><annotation id="s"><location offset="15" length="3"/><text>Two</text></annotation></sentence>
</passage></document>
</collection>
"""


def as_json(unit: str = "code_point") -> dict[str, Any]:
    """The same two documents, offsets of the first in a unit of one's choice."""
    title = "Colon cancer 🙂 & é"
    shift = {"code_point": 0, "utf-16": 1, "utf-8": 4}[unit]
    annotation = {"id": "1", "infons": {"identifier": "MESH:D003110", "type": "Disease"}, "text": "Colon cancer", "locations": [{"offset": 0, "length": 12}]}

    def second(kind: str, identifiers: dict[str, Any], text: str, *locations: tuple[int, int]) -> dict[str, Any]:
        places = [{"offset": offset + shift, "length": length} for offset, length in locations]
        return {"id": kind, "infons": {"type": kind, **identifiers}, "text": text, "locations": places}

    annotations = [
        second("Symptom", {"MESH": "D1;D2", "identifier": None}, "Left leg", (35, 3), (20, 4)),
        second("Symptom", {"identifier": "-"}, "pain", (39, 4)),
        second("Symptom", {}, "pain", (40, 4)),
        second("Symptom", {}, "pain"),
    ]
    sentences = [
        {"offset": 3, "text": "One fever.", "annotations": []},
        {"offset": 15, "text": "Two.", "annotations": [{"id": "s", "infons": {}, "text": "Two", "locations": [{"offset": 15, "length": 3}]}]},
    ]
    one = [{"offset": 0, "text": title, "annotations": [annotation]}, {"offset": 20 + shift, "text": "Left and right leg pain.", "annotations": annotations}]
    two = [{"offset": 3, "text": "", "sentences": sentences, "annotations": []}]
    return {"source": "PubTator", "documents": [{"id": "1", "passages": one}, {"id": 2, "passages": two}]}


def written(folder: Path, content: str | bytes | Any, name: str = "small.bioc") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode("utf-8"))
    return path


def assert_read_right(corpus: Corpus) -> None:
    first, second = corpus.documents
    assert first.text == "Colon cancer 🙂 & é\n Left and right leg pain."
    assert [(m.text, m.type, m.answers) for m in first.mentions] == [
        ("Colon cancer", "Disease", (("MESH:D003110",),)),
        ("Left leg", "Symptom", (("D1;D2",),)),
        ("pain", "Symptom", ()),
    ]
    assert first.mentions[1].spans == (Span(20, 24), Span(35, 38))
    assert (second.id, second.text) == ("2", "   One fever.  Two.")
    assert [(m.text, m.type, m.answers) for m in second.mentions] == [("Two", None, None)]
    assert [rejection.reason for rejection in corpus.rejections] == ["offset", "annotation"]
    assert corpus.rows_read == 2 + 6
    assert corpus.rows_kept == 2 + 4


def test_offsets_hold_in_the_text_that_passages_make(tmp_path: Path) -> None:
    path = written(tmp_path, XML)
    corpus = read_bioc(path)
    assert_read_right(corpus)
    assert [rejection.where for rejection in corpus.rejections] == [f"{path}:12", f"{path}:13"]
    assert format_of(path) == "bioc"
    assert read_corpus(path).documents == corpus.documents


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"PubTator3": one["documents"]}])
def test_json_is_read_like_xml(wrap: Any, tmp_path: Path) -> None:
    assert_read_right(read_bioc(written(tmp_path, wrap(as_json()))))


def test_json_of_one_document_a_line_is_read_with_line_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "\n".join(json.dumps(document) for document in as_json()["documents"]) + "\n")
    assert_read_right(read_bioc(path))
    twice = read_corpus([path, path])
    assert [rejection.where.rpartition(":")[2] for rejection in twice.rejections if rejection.reason == "duplicate"] == ["1"] * 6 + ["2"] * 2
    assert twice.rows_kept + len(twice.rejections) == twice.rows_read == 16


@pytest.mark.parametrize("unit", ["utf-8", "utf-16"])
def test_offsets_in_bytes_or_utf_16_are_converted_where_they_are_said_to_be(unit: Any, tmp_path: Path) -> None:
    path = written(tmp_path, as_json(unit))
    corpus = read_bioc(path, unit=unit)
    assert [mention.text for mention in corpus.documents[0].mentions] == ["Colon cancer", "Left leg", "pain"]
    assert corpus.documents[0].text == "Colon cancer 🙂 & é\n Left and right leg pain."
    with pytest.raises(UnknownNameError):
        read_bioc(path, unit="bytes")  # type: ignore[arg-type]


def test_the_infon_of_the_code_and_its_separators_are_the_caller_s(tmp_path: Path) -> None:
    path = written(tmp_path, XML)
    corpus = read_bioc(path, identifiers=["MESH"], dialect=Dialect(together=";", prefix="D"))
    assert [mention.answers for mention in corpus.documents[0].mentions] == [None, (("1", "2"),), None]


def test_a_passage_over_the_end_of_the_one_before_is_rejected_and_the_rest_stays(tmp_path: Path) -> None:
    corpus = read_bioc(written(tmp_path, XML.replace("<offset>20</offset>", "<offset>10</offset>")))
    assert corpus.documents[0].text == "Colon cancer 🙂 & é"
    assert [rejection.reason for rejection in corpus.rejections] == ["passage", "offset", "offset", "offset", "annotation"]
    far = read_bioc(written(tmp_path, XML.replace("<offset>20</offset>", "<offset>99999999999</offset>")))
    assert len(far.documents[0].text) < 100


BOMB = '<?xml version="1.0"?><!DOCTYPE c [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><collection><document><id>&b;</id></document></collection>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "entity"),
        (BOMB.replace('"aaaaaaaaaa"', 'SYSTEM "file:///etc/passwd"'), "entity"),
        (XML[:400], "well-formed"),
        (XML.replace("&amp;", "&nbsp;"), "well-formed"),
        (XML.replace('encoding="UTF-8"', 'encoding="nonsense"'), "well-formed"),
        ("<collection/>", "no BioC document"),
        ("<collection><document><passage/></document></collection>", "no BioC document"),
        ('{"documents": [{"id": "1", "passages": ', "JSON"),
        ('{"documents": [{"id": "\\ud800", "passages": []}]}', "JSON"),
        ("[" * 100_000, "JSON"),
        ("[1, null]", "no BioC document"),
        (b'{"id": "\xff"}', "UTF-8"),
        (b"", "empty"),
    ],
)
def test_what_is_no_bioc_is_refused_with_its_name(content: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"small\.bioc.*{words}"):
        read_bioc(written(tmp_path, content))


def test_damaged_gzip_is_refused_and_whole_gzip_is_read(tmp_path: Path) -> None:
    packed = gzip.compress(XML.encode("utf-8"))
    assert_read_right(read_bioc(written(tmp_path, packed, "small.xml.gz")))
    with pytest.raises(FormatError, match="gzip"):
        read_bioc(written(tmp_path, packed[:-20], "half.xml.gz"))


@settings(max_examples=300)
@given(
    at=st.integers(0, 2500),
    length=st.integers(0, 40),
    noise=st.binary(max_size=12) | st.sampled_from([b"<text>", b"</text>", b'"', b"null", b"-1", b"9" * 30, b"{}", b"[]"]),
    xml=st.booleans(),
)
def test_any_bytes_end_in_a_corpus_or_a_syncabel_error(at: int, length: int, noise: bytes, xml: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = (XML if xml else json.dumps(as_json(), indent=1)).encode("utf-8")
    path = written(tmp_path_factory.mktemp("noise"), content[:at] + noise + content[at + length :])
    try:
        corpus = read_bioc(path)
    except SyncabelError as refused:
        message = str(refused)
    else:
        message = ""
        assert corpus.rows_kept == len(corpus) + sum(1 for _ in corpus.mentions())
    assert "\n" not in message
    assert "Colon" not in message


def with_annotations(*annotations: Any, **document: Any) -> dict[str, Any]:
    return {"id": "1", "passages": [{"offset": 0, "text": "Colon cancer", "annotations": list(annotations)}], **document}


def annotated(**change: Any) -> dict[str, Any]:
    return {"id": "1", "infons": {"identifier": "D1", "type": "Disease"}, "text": "Colon", "locations": [{"offset": 0, "length": 5}], **change}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"infons": 5}, "annotation"),
        ({"infons": {"type": ["Disease"]}}, "annotation"),
        ({"locations": 5}, "annotation"),
        ({"locations": [5]}, "annotation"),
        ({"text": 5}, "annotation"),
        ({"infons": {"identifier": {"MESH": "D1"}}}, "code"),
        ({"infons": {"identifier": [None]}}, "code"),
        ({"infons": {"identifier": ["D1", "D2"]}}, "code"),
        ({"infons": {"identifier": True}}, "code"),
    ],
)
def test_what_is_wrong_with_an_annotation_costs_no_other(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    corpus = read_bioc(written(tmp_path, with_annotations(*[annotated()] * 50, annotated(**change))))
    assert [rejection.reason for rejection in corpus.rejections] == [reason]
    assert (len(corpus.documents[0].mentions), corpus.rows_read, corpus.rows_kept) == (50, 52, 51)
    assert [rejection.reason for rejection in read_bioc(written(tmp_path, with_annotations(annotated(), 7))).rejections] == ["annotation"]


def test_infons_of_null_say_nothing_and_a_list_of_codes_is_read_through_the_dialect(tmp_path: Path) -> None:
    path = written(tmp_path, with_annotations(annotated(infons=None), *(annotated(infons={"identifier": codes}) for codes in (["D1"], [], ["D2", "D1"], 7))))
    assert [mention.answers for _, mention in read_bioc(path, dialect=Dialect(together="|")).mentions()] == [
        None,
        (("D1",),),
        None,
        (("D1", "D2"),),
        (("7",),),
    ]
    assert [mention.answers for _, mention in read_bioc(path, dialect=Dialect(alternatives=",")).mentions()][3] == (("D2",), ("D1",))
    assert read_bioc(path, language="fr").documents[0].language == "fr"


def test_with_a_document_that_cannot_be_read_each_annotation_is_rejected(tmp_path: Path) -> None:
    bad = with_annotations(*[annotated()] * 3, id=None)
    corpus = read_bioc(written(tmp_path, [with_annotations(annotated()), bad, {"id": "2", "passages": [{"offset": "x", "text": "a", "annotations": [1]}]}]))
    assert ([rejection.reason for rejection in corpus.rejections], corpus.rows_read, corpus.rows_kept) == (["document"] * (4 + 2), 8, 2)
    xml = read_bioc(written(tmp_path, XML.replace("<id>1</id>", "<id> </id>")))
    assert ([rejection.reason for rejection in xml.rejections], xml.rows_read) == (["document"] * 6, 8)
    assert xml.rows_kept == len(xml) + sum(1 for _ in xml.mentions())


def test_a_document_met_in_another_split_is_one_leak(tmp_path: Path) -> None:
    path, seen = written(tmp_path, XML), Seen()
    read_bioc(path, split="train", seen=seen)
    assert [rejection.reason for rejection in read_bioc(path, split="test", seen=seen).rejections].count("duplicate_across_splits") == 2


def test_an_undeclared_entity_s_name_is_shown_only_where_it_is_one_of_html(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nbsp"):
        read_bioc(written(tmp_path, XML.replace("&amp;", "&nbsp;")))
    with pytest.raises(FormatError) as refused:
        read_bioc(written(tmp_path, XML.replace("&amp;", "&Jones;")))
    assert "Jones" not in str(refused.value)
