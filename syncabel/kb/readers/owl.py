"""OWL ontologies in RDF/XML as the same terms as OBO's: the structure read by pronto, the names by a pass of our own.

pronto keeps parents and cross-references as sets: they come sorted here, so that the order is not the file's but always the same.
Names are in file order.  Imports are not fetched.  What pronto could not make sense of is rejected in its words, each message once.
"""

import dataclasses
import gzip
import lzma
import re
import warnings
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from syncabel.errors import FormatError
from syncabel.kb.readers.ontology import SCOPES, Selection, Term, entries, licence_of
from syncabel.kb.readers.owl_names import ClassNames, class_names, matched
from syncabel.kb.readers.xmlfile import check_prolog, xml_stream
from syncabel.kb.vocabulary import About, Entry, Vocabulary
from syncabel.lines import TagsWithin
from syncabel.types import Rejection, Scope

if TYPE_CHECKING:
    from pronto.ontology import Ontology
    from pronto.term import Term as Class

__all__ = ["read_owl"]

_RDF = "RDF"
_HINT = "convert it with ROBOT: robot merge --input IN --output OUT.owl (RDF/XML, imports merged)"
# pronto checks little: what a document lacks comes out as whatever the code ran into, and an address it cannot compile as re.error.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError, re.error, OverflowError, RecursionError)
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)

T = TypeVar("T")


def read_owl(
    path: str | Path,
    *,
    group: str | None = None,
    group_from: str | None = None,
    branches: Mapping[str, str] | None = None,
    scopes: Sequence[Scope] = SCOPES,
    language: str = "en",
) -> Vocabulary:
    """The classes of an OWL file in RDF/XML, in file order: labels first, then synonyms as they stand.

    Codes are OBO ids where an address has that shape (`…/obo/HP_0000118` → `HP:0000118`), else whole addresses.  Names are labels,
    oboInOwl's and SKOS' synonyms and alternative terms (see `owl_names`), each in the language its `xml:lang` says (`en-US` is `en`); the
    first label of each language is its preferred name.  Restrictions of the form "part of some X" become relations.

    Args:
        path: plain or `.gz`.
        group, group_from, branches, scopes: as in `read_obo`; a second label of a language counts as an exact synonym.
        language: ISO 639-1 code: the label in this language comes first, names without a language tag are taken to be in it.

    Raises:
        FormatError: the file is no RDF/XML that pronto reads (a parent that is not in the file stops it), it declares entities other than
            short plain ones, or is_a runs in a circle.
        ConfigError: no way to group, or several.
        UnknownNameError: a scope or a branch's root nobody knows.
    """
    path = Path(path)
    selection = Selection(group, group_from, branches or {}, tuple(scopes), language)
    with xml_stream(path) as stream:
        if check_prolog(stream, path, short_entities=True).rpartition(":")[2] != _RDF:
            raise FormatError("the root element is not rdf:RDF", path, hint=_HINT)
        # pronto reads the file itself, without a limit.
        bounded = TagsWithin(stream, path)
        while bounded.read(1 << 20):
            pass
    (ontology, terms, undeclared), said = _with_warnings(lambda: _read(path))
    found = class_names(path, ontology.metadata.ontology or "", language)
    names, unnamed = matched(found, {term.code for term in terms}, path)
    terms = [_named(term, names.get(term.code, ClassNames()), language) for term in terms]
    known = {f"several names found for {code!r}" for code in names}
    # pronto takes one of a class's labels and says so: here all of them are names.
    said = [message for message in said if message.partition(", using ")[0] not in known]
    rejections = [Rejection(str(path), "", "not_understood", message) for message in said]
    return Vocabulary(_about(ontology, path, selection), _content(terms, selection, path, [*undeclared, *unnamed, *rejections]))


def _named(term: Term, names: ClassNames, language: str) -> Term:
    return dataclasses.replace(term, names=names.preferred(language), synonyms=names.synonyms())


def _content(terms: Sequence[Term], selection: Selection, path: Path, rejections: Sequence[Rejection]) -> Iterator[Entry]:
    yield from entries(terms, selection, path)
    yield from rejections


def _with_warnings(work: Callable[[], T]) -> tuple[T, list[str]]:
    """What `work` returns, and what was warned of meanwhile, each message once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # each text once a place: an ontology has an unknown axiom a thousand times
        result = work()
    return result, list(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))


def _read(path: Path) -> tuple["Ontology", list[Term], list[Rejection]]:
    from pronto.ontology import Ontology

    undeclared: list[Rejection] = []
    try:
        # Told the encoding, pronto hands the bytes on and the XML declaration decides; untold, it guesses from the first few thousand.
        ontology = Ontology(str(path), import_depth=0, encoding="utf-8")
        terms = [_term(term, ontology, path, undeclared) for term in ontology.terms()]
    except ET.ParseError as error:
        raise FormatError(f"damaged XML ({str(error).partition(':')[0]})", path, error.position[0], "fetch it again") from None
    except _DAMAGED:
        raise FormatError("damaged compressed data", path, hint="fetch it again") from None
    except KeyError as error:
        raise FormatError(f"pronto cannot read it: {error} is used and not declared", path, hint=_HINT) from None
    except _UNREADABLE as error:
        raise FormatError(f"pronto cannot read it ({type(error).__name__}: {' '.join(str(error).split())[:200]})", path, hint=_HINT) from None
    if not terms:
        raise FormatError("no owl:Class in the file", path, hint=_HINT)
    return ontology, terms, undeclared


def _about(ontology: "Ontology", path: Path, selection: Selection) -> About:
    header = ontology.metadata
    stated = {value.property: getattr(value, "literal", None) or getattr(value, "resource", "") for value in header.annotations}
    licence, redistributable = licence_of(next((str(text) for name, text in sorted(stated.items()) if name.lower().endswith("license")), ""))
    release = header.data_version or stated.get("http://www.w3.org/2002/07/owl#versionInfo") or (header.date.date().isoformat() if header.date else "")
    source = header.ontology or path.name.removesuffix(".gz").removesuffix(".owl")
    return About(source, release, licence, redistributable, filters=selection.filters)


def _term(term: "Class", ontology: "Ontology", path: Path, undeclared: list[Rejection]) -> Term:
    return Term(
        str(term.id),
        str(path),
        namespace=term.namespace or ontology.metadata.default_namespace or "",
        definition=str(term.definition) if term.definition else None,
        parents=tuple(sorted(term.superclasses(distance=1, with_self=False).to_set().ids)),
        alt_codes=tuple(sorted(term.alternate_ids)),
        xrefs=tuple(sorted(xref.id for xref in term.xrefs)),
        relations=tuple(_relations(term, path, undeclared)),
        obsolete=term.obsolete,
        replaced_by=tuple(sorted(term.replaced_by.ids)),
        consider=tuple(sorted(term.consider.ids)),
    )


def _relations(term: "Class", path: Path, undeclared: list[Rejection]) -> list[tuple[str, str]]:
    try:
        return sorted((kind.name or kind.id, target) for kind, targets in term.relationships.items() for target in targets.ids)
    except KeyError as error:
        undeclared.append(Rejection(str(path), str(term.id), "undeclared_property", str(error)))
        return []
