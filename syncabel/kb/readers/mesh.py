"""MeSH in XML as the National Library of Medicine publishes it: descriptors (`desc2024.xml`) and supplementary concepts (`supp2024.xml`).

A record (DescriptorRecord, SupplementalRecord) is a concept here.  A record's own MeSH concepts differ in how they relate to the
preferred one (ConceptRelation), and their terms take over that scope: NRW narrow, BRD broad, REL related.  A descriptor's parents are
the descriptors whose tree number is its own without the last part; of a supplementary record they are the headings it is mapped to.
Records are read one at a time; only tree numbers stay in memory.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb.readers.xmlfile import check_prolog, child_text, events, texts, xml_stream
from syncabel.kb.vocabulary import About, Entry, Vocabulary
from syncabel.types import Concept, Name, Rejection, Relation, Scope

__all__ = ["CATEGORIES", "CHECK_TAGS", "SUPPLEMENTARY", "read_mesh"]

CATEGORIES = {
    "A": "Anatomy",
    "B": "Organisms",
    "C": "Diseases",
    "D": "Chemicals and Drugs",
    "E": "Analytical, Diagnostic and Therapeutic Techniques, and Equipment",
    "F": "Psychiatry and Psychology",
    "G": "Phenomena and Processes",
    "H": "Disciplines and Occupations",
    "I": "Anthropology, Education, Sociology, and Social Phenomena",
    "J": "Technology, Industry, and Agriculture",
    "K": "Humanities",
    "L": "Information Science",
    "M": "Named Groups",
    "N": "Health Care",
    "V": "Publication Characteristics",
    "Z": "Geographicals",
}
CHECK_TAGS = "Check Tags"  # descriptors of class 3 stand in no tree: Male, Female
SUPPLEMENTARY = "Supplementary"  # of records mapped to no descriptor that was read

_SETS = {"DescriptorRecordSet": "Descriptor", "SupplementalRecordSet": "Supplemental"}
_SCOPES: dict[str, Scope] = {"NRW": "narrow", "BRD": "broad", "REL": "related"}
_INVERSE: dict[Scope, Scope] = {"narrow": "broad", "broad": "narrow"}
_LANGUAGES = {"cze": "cs", "dut": "nl", "eng": "en", "fin": "fi", "fre": "fr", "ger": "de", "ita": "it", "jpn": "ja", "nor": "no", "pol": "pl", "por": "pt",
              "rus": "ru", "spa": "es", "swe": "sv"}  # fmt: skip
_RELATIONS = {
    "pharmacological_action": "PharmacologicalActionList/PharmacologicalAction/DescriptorReferredTo/DescriptorUI",
    "see_related": "SeeRelatedList/SeeRelatedDescriptor/DescriptorReferredTo/DescriptorUI",
}
_CHEMICAL = "1"  # SCRClass whose notes are about sources; those of protocols, diseases, organisms … define


@dataclass(frozen=True, slots=True)
class _Trees:
    """Where descriptors stand: tree number -> descriptor, descriptor -> groups."""

    owners: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_mesh(*paths: str | Path, groups: Collection[str] = (), permuted: bool = True) -> Vocabulary:
    """Descriptors and supplementary concepts of MeSH.

    Args:
        paths: descriptor and supplement files in any order, plain, `.gz` or `.zip`.
        groups: categories to keep, as letters or names (see `CATEGORIES`, and "Supplementary", "Check Tags"); all where empty.
            Records of other groups are rejected (`outside_groups`).
        permuted: whether to take permuted terms too ("Disease, Heart").

    Returns:
        A vocabulary; descriptors are gone through twice, first for their tree numbers.

    Raises:
        ConfigError: no file.
        FormatError: damaged XML, entity declarations, another root element, a record without id.
        UnknownNameError: a group or a language that MeSH has not.
    """
    if not paths:
        raise ConfigError("no MeSH file was given; give desc*.xml, and supp*.xml where wanted")
    files = [Path(path) for path in paths]
    chosen = tuple(dict.fromkeys(map(_group_name, groups)))
    years = sorted({year for file in files for year in re.findall(r"(?:19|20)\d\d", file.name)})
    filters = (*(f"group={name}" for name in chosen), *(() if permuted else ("permuted=False",)))
    about = About("MeSH", " ".join(years), "US Government work, public domain; NLM terms", True, "from the National Library of Medicine, free", filters)
    kinds = [(file, _kind(file)) for file in files]
    return Vocabulary(about, _content(kinds, chosen, permuted))


def _group_name(given: str) -> str:
    name = CATEGORIES.get(given, given)
    known = (*CATEGORIES.values(), CHECK_TAGS, SUPPLEMENTARY)
    if name not in known:
        raise UnknownNameError("MeSH category", given, known)
    return name


def _kind(path: Path) -> str:
    with xml_stream(path) as stream:
        root = check_prolog(stream, path)
    if root not in _SETS:
        raise FormatError(f"the root element is <{root}>", path, hint=f"give a file of {' or '.join(_SETS)}")
    return root


def _content(files: Iterable[tuple[Path, str]], chosen: Collection[str], permuted: bool) -> Iterator[Entry]:
    files = sorted(files, key=lambda file: file[1])  # descriptors first
    trees = _Trees()
    for path, root in files:
        if root == "DescriptorRecordSet":
            _note_trees(trees, _records(path, root))
    for path, root in files:
        for record, language in _records(path, root):
            yield from _entries(record, _SETS[root], trees, chosen, permuted, language, path)


def _records(path: Path, root: str) -> Iterator[tuple[ET.Element, str]]:
    """Each record with its language, in file order; it is emptied when the next is asked for."""
    tag = f"{_SETS[root]}Record"
    with xml_stream(path) as stream:
        top: ET.Element | None = None
        for event, element in events(stream, path, root):
            if top is None:
                top = element
                language = _language(element.get("LanguageCode", "eng"))
            elif event == "end" and element.tag == tag:
                if not child_text(element, f"{tag}UI") and not child_text(element, f"{_SETS[root]}UI"):
                    raise FormatError(f"a {tag} has no id", path, hint="fetch it again")
                yield element, language
                top.clear()


def _language(code: str) -> str:
    if code not in _LANGUAGES:
        raise UnknownNameError("LanguageCode", code, _LANGUAGES)
    return _LANGUAGES[code]


def _note_trees(trees: _Trees, records: Iterable[tuple[ET.Element, str]]) -> None:
    for record, _ in records:
        code, numbers = child_text(record, "DescriptorUI"), texts(record, "TreeNumberList/TreeNumber")
        trees.owners.update(dict.fromkeys(numbers, code))
        groups = dict.fromkeys(CATEGORIES[number[0]] for number in sorted(numbers) if number[0] in CATEGORIES)
        trees.groups[code] = tuple(groups) or ((CHECK_TAGS,) if record.get("DescriptorClass") == "3" else ())


def _entries(record: ET.Element, kind: str, trees: _Trees, chosen: Collection[str], permuted: bool, language: str, path: Path) -> Iterator[Entry]:
    code = child_text(record, f"{kind}RecordUI") or child_text(record, f"{kind}UI")
    name = " ".join((record.findtext(f"{kind}RecordName/String") or record.findtext(f"{kind}Name/String") or "").split())
    mapped = [ui.removeprefix("*") for ui in texts(record, "HeadingMappedToList/HeadingMappedTo/DescriptorReferredTo/DescriptorUI")]
    groups = trees.groups[code] if kind == "Descriptor" else tuple(dict.fromkeys(g for ui in mapped for g in trees.groups.get(ui, ()))) or (SUPPLEMENTARY,)
    kept = tuple(group for group in groups if not chosen or group in chosen)
    if not kept:
        yield Rejection(f"{path}: {code}", code, "outside_groups" if groups else "no_tree_number", name)
        return
    parents = _parents(record, trees.owners) if kind == "Descriptor" else mapped
    names = dict.fromkeys([Name(name, language, preferred=True), *_names(record, permuted, name, language)])
    yield Concept(code, tuple(names), kept, definition=_definition(record, kind), parents=tuple(dict.fromkeys(p for p in parents if p != code)))
    for relation, place in _RELATIONS.items():
        yield from (Relation(code, relation, target) for target in dict.fromkeys(texts(record, place)))


def _parents(record: ET.Element, owners: Mapping[str, str]) -> list[str]:
    above = (number.rpartition(".")[0] for number in texts(record, "TreeNumberList/TreeNumber"))
    return [owners[number] for number in above if number in owners]


def _names(record: ET.Element, permuted: bool, name: str, language: str) -> Iterator[Name]:
    """The terms as they stand, those of the preferred concept first; the record's own name is left to the caller."""
    concepts = sorted(record.iterfind("ConceptList/Concept"), key=lambda concept: concept.get("PreferredConceptYN") != "Y")
    scopes = _concept_scopes(concepts)
    for concept in concepts:
        scope = scopes.get(child_text(concept, "ConceptUI"), "related")
        for term in concept.iterfind("TermList/Term"):
            text = " ".join((term.findtext("String") or "").split())
            if text and text != name and (permuted or term.get("IsPermutedTermYN") != "Y"):
                yield Name(text, language, scope)


def _concept_scopes(concepts: Iterable[ET.Element]) -> dict[str, Scope]:
    """ConceptUI -> scope; a relation is stated once or from both ends, and reads "Concept2 is … of Concept1"."""
    preferred = next((child_text(concept, "ConceptUI") for concept in concepts if concept.get("PreferredConceptYN") == "Y"), "")
    scopes: dict[str, Scope] = {}
    for relation in (found for concept in concepts for found in concept.iterfind("ConceptRelationList/ConceptRelation")):
        first, second = child_text(relation, "Concept1UI"), child_text(relation, "Concept2UI")
        scope = _SCOPES.get(relation.get("RelationName", ""), "related")
        if first == preferred:
            scopes[second] = scope
        elif second == preferred:
            scopes.setdefault(first, _INVERSE.get(scope, scope))
    return scopes | {preferred: "exact"}


def _definition(record: ET.Element, kind: str) -> str | None:
    note = next(iter(texts(record, "ConceptList/Concept[@PreferredConceptYN='Y']/ScopeNote")), "")
    if not note and kind == "Supplemental" and record.get("SCRClass") != _CHEMICAL:
        note = next(iter(texts(record, "Note")), "")
    return note or None
