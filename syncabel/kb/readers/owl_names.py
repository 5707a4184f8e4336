"""The names of OWL classes with their languages, read from the RDF/XML itself: pronto keeps no language tags, no SKOS labels and no order.

Read are `rdfs:label`, `skos:prefLabel` and `skos:altLabel`, oboInOwl's synonyms of four scopes, and `IAO:0000118` (alternative term).
Alternative labels are exact: IAO and SKOS both define them as names that may stand in the preferred one's place.
"""

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from syncabel.kb.readers.xmlfile import check_prolog, events, xml_stream
from syncabel.types import Name, Rejection, Scope

__all__ = ["ClassNames", "class_names", "matched"]

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_RDFS = "{http://www.w3.org/2000/01/rdf-schema#}"
_SKOS = "{http://www.w3.org/2004/02/skos/core#}"
_OIO = "{http://www.geneontology.org/formats/oboInOwl#}"
_OBO = "http://purl.obolibrary.org/obo/"
_OWL_CLASS = "http://www.w3.org/2002/07/owl#Class"
_CLASS = "{http://www.w3.org/2002/07/owl#}Class"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

_LABELS = (f"{_RDFS}label", f"{_SKOS}prefLabel")
_SYNONYMS: dict[str, Scope] = {
    f"{_SKOS}altLabel": "exact",
    f"{{{_OBO}}}IAO_0000118": "exact",
    f"{_OIO}hasExactSynonym": "exact",
    f"{_OIO}hasNarrowSynonym": "narrow",
    f"{_OIO}hasBroadSynonym": "broad",
    f"{_OIO}hasRelatedSynonym": "related",
}


@dataclass(slots=True)
class ClassNames:
    """What one class is called.

    Attributes:
        ids: ids that it may have been given, the likeliest first.
        labels: language -> its first label.
        others: synonyms, and further labels as exact ones, in file order.
        rejections: names that are none; their code is the address.
    """

    ids: list[str] = field(default_factory=list)
    labels: dict[str, Name] = field(default_factory=dict)
    others: list[Name] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def preferred(self, language: str) -> tuple[Name, ...]:
        """The first label of each language: that of the language asked for, then the others in file order."""
        return tuple(sorted(self.labels.values(), key=lambda name: name.language != language))

    def synonyms(self) -> tuple[Name, ...]:
        """All other names, each once; an rdfs:label that stands as skos:prefLabel too is one name."""
        known = {(name.text, name.language, name.scope) for name in self.labels.values()}
        return tuple(name for name in dict.fromkeys(self.others) if (name.text, name.language, name.scope) not in known)


def class_names(path: Path, ontology: str, language: str) -> dict[str, ClassNames]:
    """Address -> names, of all classes in file order; elements of one address add up.

    Args:
        path: RDF/XML, plain or `.gz`.
        ontology: the ontology's own id, which local addresses begin with.
        language: ISO 639-1 code of names without a language tag.

    Raises:
        FormatError: damaged XML, or entity declarations other than short plain ones.
    """
    found: dict[str, ClassNames] = {}
    with xml_stream(path) as stream:
        root = check_prolog(stream, path, short_entities=True)
        for element, spoken in _resources(events(stream, path, root, short_entities=True)):
            address = element.get(f"{_RDF}about") or (f"#{element.get(f'{_RDF}ID')}" if f"{_RDF}ID" in element.attrib else "")
            if address and _is_class(element):
                _gather(element, found.setdefault(address, ClassNames()), address, ontology, element.get(_LANGUAGE, spoken) or language, path)
    return found


def matched(found: Mapping[str, ClassNames], known: Collection[str], path: Path) -> tuple[dict[str, ClassNames], list[Rejection]]:
    """Code -> names of the classes that were read, and rejections: names that are none, and classes whose place in the ontology was not read."""
    named: dict[str, ClassNames] = {}
    rejections: list[Rejection] = []
    for address, names in found.items():
        code = next((code for code in names.ids if code in known), None)
        if code is None:
            rejections.append(Rejection(str(path), address, "class_not_read", "; ".join(name.text for name in [*names.labels.values(), *names.others])))
            continue
        named[code] = _added(named[code], names) if code in named else names
        rejections += [Rejection(refused.where, code, refused.reason, refused.text) for refused in names.rejections]
    return named, rejections


def _added(first: ClassNames, second: ClassNames) -> ClassNames:
    """The names of two addresses that are one code."""
    labels = first.labels | second.labels | first.labels  # first's languages come first, and first's labels hold
    return ClassNames(first.ids, labels, [*first.others, *(dataclasses.replace(name, preferred=False) for name in second.labels.values()), *second.others])


def _resources(parsed: Iterable[tuple[str, ET.Element]]) -> Iterator[tuple[ET.Element, str]]:
    """The elements right below the root, each whole, with the language stated at the root; nothing read stays in memory."""
    depth, root = 0, ET.Element("")
    for event, element in parsed:
        if event == "start":
            root = root if depth else element
            depth += 1
            continue
        depth -= 1
        if depth == 1:
            yield element, root.get(_LANGUAGE, "")
            root.remove(element)


def _is_class(element: ET.Element) -> bool:
    return element.tag == _CLASS or any(kind.get(f"{_RDF}resource") == _OWL_CLASS for kind in element.iterfind(f"{_RDF}type"))


def _gather(element: ET.Element, names: ClassNames, address: str, ontology: str, language: str, path: Path) -> None:
    own = (element.findtext(f"{_OIO}id"), _compact(address, ontology))
    names.ids += [code for code in own if code and code not in names.ids]
    for child in element:
        if child.tag in _LABELS or child.tag in _SYNONYMS:
            _take(child, names, address, language, path)


def _take(child: ET.Element, names: ClassNames, address: str, language: str, path: Path) -> None:
    text, tag = "".join(child.itertext()), child.get(_LANGUAGE) or language
    primary = re.split("[-_]", tag)[0].lower()
    if not text.strip():
        # An element that is empty altogether pronto speaks of itself.
        names.rejections += [Rejection(str(path), address, "name_is_an_address", value) for value in filter(None, [child.get(f"{_RDF}resource")])]
    elif not re.fullmatch("[a-z]{2}", primary):
        names.rejections.append(Rejection(str(path), address, "not_iso_639_1", f"{text} ({tag})"))
    elif child.tag in _LABELS and primary not in names.labels:
        names.labels[primary] = Name(text, primary, preferred=True)
    else:
        names.others.append(Name(text, primary, _SYNONYMS.get(child.tag, "exact")))


def _compact(address: str, ontology: str) -> str:
    """The OBO id of an address, else the address; by the rules pronto goes by."""
    if found := re.match(f"{_OBO}([^#_]+)_(.*)$", address):
        return ":".join(found.groups())
    local = re.match(f"{_OBO}{re.escape(ontology)}#(.*)$", address) if ontology else None
    return local[1] if local else address
