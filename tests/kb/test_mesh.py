"""MeSH descriptors and supplementary records, on hand-written records of the published form."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.kb.readers.mesh import read_mesh
from syncabel.types import Concept, Name, Rejection, Relation

DESC = """<?xml version="1.0"?>
<!DOCTYPE DescriptorRecordSet SYSTEM "https://www.nlm.nih.gov/databases/dtd/nlmdescriptorrecordset_20240101.dtd">
<DescriptorRecordSet LanguageCode = "eng">
<DescriptorRecord DescriptorClass = "1">
 <DescriptorUI>D006332</DescriptorUI>
 <DescriptorName><String>Cardiomegaly</String></DescriptorName>
 <SeeRelatedList><SeeRelatedDescriptor>
  <DescriptorReferredTo><DescriptorUI>D006331</DescriptorUI><DescriptorName><String>Heart Diseases</String></DescriptorName>
 </DescriptorReferredTo></SeeRelatedDescriptor></SeeRelatedList>
 <TreeNumberList><TreeNumber>C14.280.195</TreeNumber><TreeNumber>C23.300.775.250</TreeNumber></TreeNumberList>
 <ConceptList>
  <Concept PreferredConceptYN="N">
   <ConceptUI>M0343091</ConceptUI><ConceptName><String>Cardiac Hypertrophy</String></ConceptName>
   <ConceptRelationList><ConceptRelation RelationName="NRW">
    <Concept1UI>M0009992</Concept1UI><Concept2UI>M0343091</Concept2UI></ConceptRelation></ConceptRelationList>
   <TermList><Term ConceptPreferredTermYN="Y" IsPermutedTermYN="N" LexicalTag="NON" RecordPreferredTermYN="N">
     <TermUI>T374541</TermUI><String>Cardiac Hypertrophy</String></Term></TermList>
  </Concept>
  <Concept PreferredConceptYN="Y">
   <ConceptUI>M0009992</ConceptUI><ConceptName><String>Cardiomegaly</String></ConceptName>
   <ScopeNote>Enlargement of the HEART,
     usually indicated by a cardiothoracic ratio above 0.50.</ScopeNote>
   <TermList>
    <Term ConceptPreferredTermYN="Y" IsPermutedTermYN="N" LexicalTag="NON" RecordPreferredTermYN="Y">
     <TermUI>T019020</TermUI><String>Cardiomegaly</String></Term>
    <Term ConceptPreferredTermYN="N" IsPermutedTermYN="N" LexicalTag="NON" RecordPreferredTermYN="N">
     <TermUI>T019018</TermUI><String>Enlarged Heart</String></Term>
    <Term ConceptPreferredTermYN="N" IsPermutedTermYN="Y" LexicalTag="NON" RecordPreferredTermYN="N">
     <TermUI>T019018</TermUI><String>Heart, Enlarged</String></Term>
   </TermList>
  </Concept>
 </ConceptList>
</DescriptorRecord>
<DescriptorRecord DescriptorClass = "1">
 <DescriptorUI>D006331</DescriptorUI><DescriptorName><String>Heart Diseases</String></DescriptorName>
 <TreeNumberList><TreeNumber>C14.280</TreeNumber></TreeNumberList>
 <ConceptList><Concept PreferredConceptYN="Y"><ConceptUI>M1</ConceptUI></Concept></ConceptList>
</DescriptorRecord>
<DescriptorRecord DescriptorClass = "3"><DescriptorUI>D005260</DescriptorUI><DescriptorName><String>Female</String></DescriptorName></DescriptorRecord>
<DescriptorRecord DescriptorClass = "1"><DescriptorUI>D1</DescriptorUI><DescriptorName><String>nowhere</String></DescriptorName></DescriptorRecord>
</DescriptorRecordSet>
"""
SUPP = """<?xml version="1.0"?>
<SupplementalRecordSet LanguageCode = "eng">
<SupplementalRecord SCRClass="3">
 <SupplementalRecordUI>C535662</SupplementalRecordUI><SupplementalRecordName><String>Athyreotic hypertrophy</String></SupplementalRecordName>
 <Note>A rare one.</Note>
 <HeadingMappedToList><HeadingMappedTo>
  <DescriptorReferredTo><DescriptorUI>*D006332</DescriptorUI><DescriptorName><String>Cardiomegaly</String></DescriptorName></DescriptorReferredTo></HeadingMappedTo></HeadingMappedToList>
 <ConceptList><Concept PreferredConceptYN="Y"><ConceptUI>M5</ConceptUI><TermList><Term IsPermutedTermYN="N"><String>Athyreotic hypertrophy</String></Term>
  <Term IsPermutedTermYN="N"><String>AH syndrome</String></Term></TermList></Concept></ConceptList>
</SupplementalRecord>
<SupplementalRecord SCRClass="1">
 <SupplementalRecordUI>C000002</SupplementalRecordUI><SupplementalRecordName><String>bevonium</String></SupplementalRecordName><Note>structure given</Note>
 <PharmacologicalActionList><PharmacologicalAction>
  <DescriptorReferredTo><DescriptorUI>D006331</DescriptorUI></DescriptorReferredTo></PharmacologicalAction></PharmacologicalActionList>
</SupplementalRecord>
</SupplementalRecordSet>
"""


def written(folder: Path, text: str | bytes, name: str = "desc2024.xml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


CARDIOMEGALY = Concept(
    "D006332",
    (Name("Cardiomegaly", preferred=True), Name("Enlarged Heart"), Name("Heart, Enlarged"), Name("Cardiac Hypertrophy", scope="narrow")),
    ("Diseases",),
    definition="Enlargement of the HEART, usually indicated by a cardiothoracic ratio above 0.50.",
    parents=("D006331",),
)


def test_descriptors_come_whole(tmp_path: Path) -> None:
    path = written(tmp_path, DESC)
    vocabulary = read_mesh(path)
    assert (vocabulary.about.source, vocabulary.about.release, vocabulary.about.redistributable) == ("MeSH", "2024", True)
    assert list(vocabulary.content) == [
        CARDIOMEGALY,
        Relation("D006332", "see_related", "D006331"),
        Concept("D006331", (Name("Heart Diseases", preferred=True),), ("Diseases",)),
        Concept("D005260", (Name("Female", preferred=True),), ("Check Tags",)),
        Rejection(f"{path}: D1", "D1", "no_tree_number", "nowhere"),
    ]


def test_supplementary_records_take_group_and_parent_of_the_heading_they_map_to_whatever_the_order_of_files(tmp_path: Path) -> None:
    files = written(tmp_path, SUPP, "supp2024.xml"), written(tmp_path, DESC)
    supplementary = [entry for entry in read_mesh(*files).content if isinstance(entry, Concept) and entry.code.startswith("C")]
    assert supplementary == [
        Concept(
            "C535662", (Name("Athyreotic hypertrophy", preferred=True), Name("AH syndrome")), ("Diseases",), definition="A rare one.", parents=("D006332",)
        ),
        Concept("C000002", (Name("bevonium", preferred=True),), ("Supplementary",)),
    ]
    assert Relation("C000002", "pharmacological_action", "D006331") in list(read_mesh(*files).content)


def test_chosen_categories_leave_the_others_as_rejections(tmp_path: Path) -> None:
    vocabulary = read_mesh(written(tmp_path, DESC), groups=["C"], permuted=False)
    assert vocabulary.about.filters == ("group=Diseases", "permuted=False")
    entries = list(vocabulary.content)
    assert [entry.code for entry in entries if isinstance(entry, Concept)] == ["D006332", "D006331"]
    assert [(entry.code, entry.reason) for entry in entries if isinstance(entry, Rejection)] == [("D005260", "outside_groups"), ("D1", "no_tree_number")]
    assert "Heart, Enlarged" not in {name.text for entry in entries if isinstance(entry, Concept) for name in entry.names}


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_a_compressed_release_is_read_as_the_plain_one(kind: str, tmp_path: Path) -> None:
    packed = tmp_path / f"desc2024.{'xml.gz' if kind == 'gz' else 'zip'}"
    if kind == "gz":
        packed.write_bytes(gzip.compress(DESC.encode()))
    else:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("desc2024.xml", DESC)
    assert next(iter(read_mesh(packed).content)) == CARDIOMEGALY


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (DESC[:-30], 40, "damaged XML"),
        (DESC.replace("</TreeNumberList>", "</TreeList>", 1), 10, "damaged XML"),
        ("<QualifierRecordSet/>", None, "root element"),
        ("", None, "empty"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><DescriptorRecordSet/>', 1, "entity 'b'"),
        ("<DescriptorRecordSet><DescriptorRecord/></DescriptorRecordSet>", None, "no id"),
    ],
)
def test_damaged_mesh_is_an_error_with_its_line(text: str, line: int | None, says: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=says) as caught:
        list(read_mesh(written(tmp_path, text)).content)
    assert line is None or caught.value.line == line


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no MeSH file"):
        read_mesh()
    with pytest.raises(UnknownNameError, match="'Diseases'"):
        read_mesh(written(tmp_path, DESC), groups=["Disease"])
    with pytest.raises(UnknownNameError, match="LanguageCode"):
        list(read_mesh(written(tmp_path, DESC.replace('"eng"', '"tlh"'))).content)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_bytes_end_in_a_vocabulary_or_in_our_error(damaged: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("bytes"), data.draw(damaged(DESC)))
    said = ""
    try:
        list(read_mesh(path).content)
    except SyncabelError as error:
        said = str(error)
    assert "\n" not in said
