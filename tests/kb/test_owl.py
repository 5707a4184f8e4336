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
synonym: "cardiopathy" BROAD []
synonym: "disorder of heart" EXACT []
synonym: "cardiac disease" EXACT []
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


def test_classes_come_whole_with_synonyms_in_file_order(tmp_path: Path) -> None:
    heart = Concept(
        "A:1",
        (Name("heart disease", preferred=True), Name("cardiopathy", scope="broad"), Name("disorder of heart"), Name("cardiac disease")),
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


def names_of(folder: Path, inside: str, **options: Any) -> tuple[Name, ...]:
    text = f'{HEAD}<owl:Class rdf:about="&obo;A_1">{inside}</owl:Class></rdf:RDF>'
    return next(entry.names for entry in read_owl(written(folder, text), group="G", **options).content if isinstance(entry, Concept))


def test_names_keep_their_own_language_and_the_label_of_the_language_asked_comes_first(tmp_path: Path) -> None:
    inside = """<rdfs:label xml:lang="ja">心臓</rdfs:label><oboInOwl:hasRelatedSynonym xml:lang="fr">coeur</oboInOwl:hasRelatedSynonym>
     <rdfs:label xml:lang="en-US">Heart</rdfs:label><skos:altLabel xmlns:skos="http://www.w3.org/2004/02/skos/core#">ticker</skos:altLabel>"""
    heart, kokoro = Name("Heart", "en", preferred=True), Name("心臓", "ja", preferred=True)
    coeur = Name("coeur", "fr", "related")
    assert names_of(tmp_path, inside) == (heart, kokoro, coeur, Name("ticker", "en"))
    assert names_of(tmp_path, inside, language="ja") == (kokoro, heart, coeur, Name("ticker", "ja"))
    assert names_of(tmp_path, inside, language="de") == (kokoro, heart, coeur, Name("ticker", "de"))
    assert names_of(tmp_path, inside, scopes=("related",)) == (heart, kokoro, coeur)


def test_skos_labels_and_alternative_terms_are_names(tmp_path: Path) -> None:
    inside = """<skos:prefLabel xmlns:skos="http://www.w3.org/2004/02/skos/core#">heart</skos:prefLabel><obo:IAO_0000118>pump</obo:IAO_0000118>
     <oboInOwl:hasNarrowSynonym>left heart</oboInOwl:hasNarrowSynonym><rdfs:label>heart</rdfs:label><rdfs:label>cor</rdfs:label>
     <oboInOwl:hasExactSynonym>pump</oboInOwl:hasExactSynonym>"""
    assert names_of(tmp_path, inside) == (Name("heart", preferred=True), Name("pump"), Name("left heart", scope="narrow"), Name("cor"))


def test_a_language_stated_above_holds_below(tmp_path: Path) -> None:
    text = OWL.replace("<rdf:RDF ", '<rdf:RDF xml:lang="fr" ').replace('<owl:Class rdf:about="&obo;A_3">', '<owl:Class rdf:about="&obo;A_3" xml:lang="de">')
    languages = {name.language for entry in read_owl(written(tmp_path, text), group="G").content if isinstance(entry, Concept) for name in entry.names}
    assert languages == {"fr", "de"}


def test_names_that_are_none_and_classes_that_are_not_read_are_rejected(tmp_path: Path) -> None:
    inside = '<rdfs:label>disease</rdfs:label><rdfs:label xml:lang="grc">νόσος</rdfs:label><oboInOwl:hasExactSynonym rdf:resource="http://x.org/y"/>'
    other = '<owl:Class rdf:ID="B"><rdfs:label>by ID</rdfs:label></owl:Class>'
    other += '<rdf:Description rdf:about="http://x.org/c"><rdf:type rdf:resource="http://www.w3.org/2002/07/owl#Class"/></rdf:Description>'
    path = written(tmp_path, OWL.replace("<rdfs:label>disease</rdfs:label>", inside).replace("</rdf:RDF>", f"{other}</rdf:RDF>"))
    rejections = [entry for entry in read_owl(path, group="G").content if isinstance(entry, Rejection)]
    assert rejections == [
        Rejection(str(path), "A:3", "not_iso_639_1", "νόσος (grc)"),
        Rejection(str(path), "A:3", "name_is_an_address", "http://x.org/y"),
        Rejection(str(path), "#B", "class_not_read", "by ID"),
        Rejection(str(path), "http://x.org/c", "class_not_read", ""),
    ]


def test_elements_of_one_class_add_up_and_own_ids_are_followed(tmp_path: Path) -> None:
    two = """<owl:Class rdf:about="http://x.org/c"><oboInOwl:id>C:1</oboInOwl:id><rdfs:label>one</rdfs:label></owl:Class>
     <owl:Class rdf:about="&obo;demo#local"><rdfs:label>local</rdfs:label></owl:Class>
     <rdf:Description rdf:about="http://x.org/c"><rdf:type rdf:resource="http://www.w3.org/2002/07/owl#Class"/><rdfs:label>two</rdfs:label></rdf:Description>"""
    content = read_owl(written(tmp_path, f"{HEAD}{two}</rdf:RDF>"), group="G").content
    assert {entry.code: [name.text for name in entry.names] for entry in content if isinstance(entry, Concept)} == {"C:1": ["one", "two"], "local": ["local"]}


def test_of_two_addresses_with_one_id_the_labels_of_the_first_hold(tmp_path: Path) -> None:
    one = '<owl:Class rdf:about="http://x.org/c"><oboInOwl:id>C:1</oboInOwl:id><rdfs:label xml:lang="fr">un</rdfs:label></owl:Class>'
    two = one.replace("/c", "/d").replace("un<", "deux<").replace("</owl", '<rdfs:label xml:lang="de">zwei</rdfs:label></owl')
    (concept,) = [entry for entry in read_owl(written(tmp_path, f"{HEAD}{one}{two}</rdf:RDF>"), group="G").content if isinstance(entry, Concept)]
    assert concept.names == (Name("un", "fr", preferred=True), Name("zwei", "de", preferred=True), Name("deux", "fr"))


def test_what_pronto_does_not_understand_is_rejected_once_in_its_words(tmp_path: Path) -> None:
    two = OWL.replace("<rdfs:label>disease</rdfs:label>", "<rdfs:label>disease</rdfs:label><rdfs:label>illness</rdfs:label><rdfs:label/>")
    path = written(tmp_path, two.replace("part of</rdfs:label>", "part of</rdfs:label><rdfs:label>in</rdfs:label>"))
    rejections = [entry for entry in read_owl(path, group="G").content if isinstance(entry, Rejection)]
    assert [(rejection.where, rejection.reason, rejection.text) for rejection in rejections] == [
        (str(path), "not_understood", "several names found for 'BFO:0000050', using 'part of'"),
        (str(path), "not_understood", "`rdfs:label` without text literal in 'A:3'"),
    ]


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
