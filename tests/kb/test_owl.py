"""OWL in RDF/XML comes out as the same entries as OBO."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.kb.readers.obo import read_obo
from syncabel.kb.readers.owl import read_owl
from syncabel.types import Concept, Name, Rejection, Relation, Retired

HEAD = """<?xml version="1.0"?>
<!DOCTYPE rdf:RDF [ <!ENTITY obo "http://purl.obolibrary.org/obo/" > ]>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:owl="http://www.w3.org/2002/07/owl#"
  xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#" xmlns:obo="http://purl.obolibrary.org/obo/"
  xmlns:oboInOwl="http://www.geneontology.org/formats/oboInOwl#" xmlns:terms="http://purl.org/dc/terms/">
 <owl:Ontology rdf:about="http://purl.obolibrary.org/obo/demo.owl">
  <owl:versionIRI rdf:resource="http://purl.obolibrary.org/obo/demo/2024-01-01/demo.owl"/>
  <owl:imports rdf:resource="http://localhost:9/never-fetched.owl"/>
  <terms:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>
  <oboInOwl:hasDefaultNamespace>demo_space</oboInOwl:hasDefaultNamespace>
 </owl:Ontology>
 <owl:ObjectProperty rdf:about="&obo;BFO_0000050"><rdfs:label>part of</rdfs:label></owl:ObjectProperty>
"""
HEART = """ <owl:Class rdf:about="&obo;A_1"><rdfs:label>heart disease</rdfs:label>
  <rdfs:subClassOf rdf:resource="&obo;A_3"/>
  <rdfs:subClassOf><owl:Restriction><owl:onProperty rdf:resource="&obo;BFO_0000050"/>
   <owl:someValuesFrom rdf:resource="&obo;A_3"/></owl:Restriction></rdfs:subClassOf>
  <oboInOwl:hasBroadSynonym>cardiopathy</oboInOwl:hasBroadSynonym>
  <oboInOwl:hasExactSynonym>disorder of heart</oboInOwl:hasExactSynonym>
  <oboInOwl:hasExactSynonym>cardiac disease</oboInOwl:hasExactSynonym>
  <obo:IAO_0000115>A disease of the "pump".</obo:IAO_0000115>
  <oboInOwl:hasAlternativeId>A:11</oboInOwl:hasAlternativeId>
  <oboInOwl:hasDbXref>MESH:D006331</oboInOwl:hasDbXref>
 </owl:Class>
"""
ROOT = ' <owl:Class rdf:about="&obo;A_3"><rdfs:label>disease</rdfs:label></owl:Class>\n'
OLD = """ <owl:Class rdf:about="&obo;A_2"><rdfs:label>maladie du cœur</rdfs:label><owl:deprecated>true</owl:deprecated>
  <obo:IAO_0100001 rdf:resource="&obo;A_1"/></owl:Class>
 <owl:Class rdf:about="&obo;A_4"><rdfs:label>old</rdfs:label><owl:deprecated>true</owl:deprecated><oboInOwl:consider rdf:resource="&obo;A_1"/></owl:Class>
"""
OWL = f"{HEAD}{HEART}{OLD}{ROOT}</rdf:RDF>\n"
OBO = """format-version: 1.2
data-version: 2024-01-01
ontology: demo
default-namespace: demo_space
property_value: http://purl.org/dc/terms/license https://creativecommons.org/licenses/by/4.0/

[Term]
id: A:1
name: heart disease
def: "A disease of the \\"pump\\"." []
synonym: "cardiac disease" EXACT []
synonym: "disorder of heart" EXACT []
synonym: "cardiopathy" BROAD []
is_a: A:3
alt_id: A:11
xref: MESH:D006331
relationship: BFO:0000050 A:3

[Term]
id: A:2
name: maladie du cœur
is_obsolete: true
replaced_by: A:1

[Term]
id: A:4
name: old
is_obsolete: true
consider: A:1

[Term]
id: A:3
name: disease

[Typedef]
id: BFO:0000050
name: part of
"""


def written(folder: Path, text: str | bytes, name: str = "demo.owl") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_classes_come_whole_with_synonyms_by_scope_and_text(tmp_path: Path) -> None:
    heart = Concept(
        "A:1",
        (Name("heart disease", preferred=True), Name("cardiac disease"), Name("disorder of heart"), Name("cardiopathy", scope="broad")),
        ("Disease",),
        definition='A disease of the "pump".',
        parents=("A:3",),
        alt_codes=("A:11", "A:2"),
        xrefs=("MESH:D006331",),
    )
    expected = [
        heart,
        Relation("A:1", "part of", "A:3"),
        Retired("A:4", "consider", ("A:1",)),
        Concept("A:3", (Name("disease", preferred=True),), ("Disease",)),
    ]
    assert list(read_owl(written(tmp_path, OWL), group="Disease").content) == expected


@pytest.mark.parametrize("options", [{"group": "G"}, {"group_from": "namespace"}, {"branches": {"A:3": "G"}}, {"group": "G", "scopes": ("exact",)}])
def test_owl_and_obo_of_one_ontology_are_the_same_vocabulary(options: dict[str, object], tmp_path: Path) -> None:
    owl = read_owl(written(tmp_path, OWL), **options)  # type: ignore[arg-type]
    obo = read_obo(written(tmp_path, OBO, "demo.obo"), **options)  # type: ignore[arg-type]
    assert owl.about == obo.about
    assert (owl.about.source, owl.about.release, owl.about.licence, owl.about.redistributable) == ("demo", "2024-01-01", "CC-BY-4.0", True)
    assert list(owl.content) == list(obo.content)


def test_a_compressed_owl_is_read_as_the_plain_one(tmp_path: Path) -> None:
    plain = read_owl(written(tmp_path, OWL), group="G")
    assert list(read_owl(written(tmp_path, gzip.compress(OWL.encode()), "demo.owl.gz"), group="G").content) == list(plain.content)


def test_letters_after_a_long_ascii_opening_are_read_as_declared(tmp_path: Path) -> None:
    padding = "".join(f'<owl:Class rdf:about="&obo;P_{i}"><rdfs:label>plain name {i}</rdfs:label></owl:Class>\n' for i in range(300))
    names = [entry.preferred_name for entry in read_owl(written(tmp_path, OWL.replace(ROOT, padding + ROOT.replace("disease", "cœur é"))), group="G").content
             if isinstance(entry, Concept)]  # fmt: skip
    assert names[-1] == "cœur é"


def test_what_pronto_does_not_understand_is_rejected_once_in_its_words(tmp_path: Path) -> None:
    two = OWL.replace("<rdfs:label>disease</rdfs:label>", "<rdfs:label>disease</rdfs:label><rdfs:label>illness</rdfs:label>")
    path = written(tmp_path, two)
    rejections = [entry for entry in read_owl(path, group="G").content if isinstance(entry, Rejection)]
    assert rejections == [Rejection(str(path), "", "not_understood", "several names found for 'A:3', using 'disease'")]


def test_a_relation_of_no_declared_property_is_rejected_with_its_code(tmp_path: Path) -> None:
    path = written(tmp_path, OWL.replace('<owl:ObjectProperty rdf:about="&obo;BFO_0000050"><rdfs:label>part of</rdfs:label></owl:ObjectProperty>', ""))
    assert [(entry.code, entry.reason) for entry in read_owl(path, group="G").content if isinstance(entry, Rejection)] == [("A:1", "undeclared_property")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OWL.replace(ROOT, ""), "A:3.*ROBOT"),
        (OWL[:900], "damaged XML"),
        (OWL.replace("</rdf:RDF>", "</rdf:RDF>x"), "damaged XML"),
        ("Prefix(owl:=<http://www.w3.org/2002/07/owl#>)\nOntology(<http://x.org/y>)\n", "damaged XML"),
        ("<html><body>not found</body></html>", "rdf:RDF.*ROBOT"),
        (f"{HEAD}</rdf:RDF>", "no owl:Class.*ROBOT"),
        ('<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>', "could not find.*ROBOT"),
        ("", "empty"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "encoding|damaged"),
        (OWL.replace("</owl:Class>\n</rdf:RDF>", '<rdfs:subClassOf rdf:resource="&obo;A_1"/></owl:Class>\n</rdf:RDF>'), "circle"),
    ],
)  # fmt: skip
def test_an_owl_that_cannot_be_read_is_one_line_that_says_what_to_do(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=says) as caught:
        list(read_owl(written(tmp_path, text), group="G").content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entity", ['<!ENTITY a "&#38;b;">', '<!ENTITY a SYSTEM "file:///etc/hostname">', f'<!ENTITY a "{"x" * 301}">', '<!ENTITY % a "x">'])
def test_entities_other_than_short_plain_ones_are_refused(entity: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="entity 'a'"):
        read_owl(written(tmp_path, OWL.replace("<!ENTITY obo", f"{entity} <!ENTITY obo")), group="G")


def test_options_are_checked(tmp_path: Path) -> None:
    path = written(tmp_path, OWL)
    with pytest.raises(ConfigError, match="group"):
        read_owl(path)
    with pytest.raises(ConfigError, match="one of"):
        read_owl(path, group="G", group_from="namespace")
    with pytest.raises(UnknownNameError, match="'exact'"):
        read_owl(path, group="G", scopes=("exakt",))  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="A:3"):
        list(read_owl(path, branches={"A:33": "G"}).content)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_bytes_end_in_a_vocabulary_or_in_our_error(damaged: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("bytes"), data.draw(damaged(OWL)))
    said = ""
    try:
        list(read_owl(path, group="G").content)
    except SyncabelError as error:
        said = str(error)
    assert "\n" not in said
