"""What OBO and OWL have in common: terms, which of them are taken, and what becomes of the obsolete ones."""

import graphlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb.vocabulary import Entry
from syncabel.types import Concept, Name, Rejection, Relation, Retired, Scope

__all__ = ["SCOPES", "Selection", "Term", "entries", "licence_of"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/(?:publicdomain/(zero)|licenses/([a-z-]+))/(\d\.\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """One term as its file has it.

    Attributes:
        code: its id.
        where: file and line, or the file.
        line: 1-based, 0 where the format has none.
        names: the preferred ones, usually one.
        synonyms: scope and text, in the order they shall have.
        namespace: the OBO namespace, the file's default one where the term has none, or "".
        relations: kind and target.
    """

    code: str
    where: str
    line: int = 0
    names: tuple[str, ...] = ()
    synonyms: tuple[tuple[Scope, str], ...] = ()
    namespace: str = ""
    definition: str | None = None
    parents: tuple[str, ...] = ()
    alt_codes: tuple[str, ...] = ()
    xrefs: tuple[str, ...] = ()
    relations: tuple[tuple[str, str], ...] = ()
    obsolete: bool = False
    replaced_by: tuple[str, ...] = ()
    consider: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which names are taken, and what groups concepts get: exactly one of `group`, `group_from` and `branches`.

    Attributes:
        group: one semantic group for all concepts.
        group_from: "namespace": the group is the term's OBO namespace.
        branches: root -> group; a concept's groups are those of the roots above it or equal to it, concepts below none are left out.
        scopes: synonyms of which scopes are taken.
        language: ISO 639-1 code of all names.

    Raises:
        ConfigError: none or several ways to group, or an empty one.
        UnknownNameError: a scope or a `group_from` nobody knows.
    """

    group: str | None = None
    group_from: str | None = None
    branches: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[Scope, ...] = SCOPES
    language: str = "en"

    def __post_init__(self) -> None:
        if sum((self.group is not None, self.group_from is not None, bool(self.branches))) != 1:
            raise ConfigError("an ontology names no semantic groups of its own; give one of group, group_from and branches")
        if self.group_from not in (None, "namespace"):
            raise UnknownNameError("source of groups", self.group_from or "", ("namespace",))
        for scope in self.scopes:
            if scope not in SCOPES:
                raise UnknownNameError("synonym scope", scope, SCOPES)

    @property
    def filters(self) -> tuple[str, ...]:
        """What was asked, as `option=value`."""
        chosen = [f"group={self.group}"] if self.group is not None else [f"group_from={self.group_from}"] if self.group_from else []
        chosen += [f"branch={root}:{group}" for root, group in self.branches.items()]
        return (*chosen, *([] if self.scopes == SCOPES else [f"scopes={','.join(self.scopes)}"]))


def licence_of(stated: str) -> tuple[str, bool]:
    """(licence, may it be redistributed) of the licence an ontology's header states, an address as a rule.

    Creative Commons' are known, CC0, BY and BY-SA let names pass on in another form; of all others nothing is assumed.
    """
    if not stated.strip():
        return "unknown", False
    found = _CREATIVE_COMMONS.search(stated)
    if not found:
        return " ".join(stated.split()), False
    zero, kind, version = found.groups()
    return ("CC0-" if zero else f"CC-{kind.upper()}-") + version, bool(zero) or kind.lower() in {"by", "by-sa"}


def entries(terms: Sequence[Term], selection: Selection, path: Path) -> Iterator[Entry]:
    """Concepts with their relations, retired codes and rejections, in file order.

    An obsolete term with one replacement that is taken becomes an alternative code of it, through several replacements in a row too; one
    without, with several, or with terms to consider is `Retired`.

    Raises:
        FormatError: is_a runs in a circle.
        UnknownNameError: a branch's root is no term.
    """
    live = [term for term in terms if not term.obsolete]
    _refuse_circle(live, path)
    groups = _groups(live, selection)
    kept = [term for term in live if groups[term.code]]
    heirs = _heirs(terms, {term.code for term in kept})
    settled = {code for replaced in heirs.values() for code in replaced} | _claimed_once(kept)
    reason = "outside_branches" if selection.branches else "no_namespace"
    for term in terms:
        if term.obsolete:
            if term.code not in settled:
                yield _retired(term)
        elif not groups[term.code]:
            yield Rejection(term.where, term.code, reason, term.names[0] if term.names else "")
        else:
            yield _concept(term, groups[term.code], heirs.get(term.code, ()), selection)
            yield from (Relation(term.code, kind, target) for kind, target in term.relations)


def _refuse_circle(live: Iterable[Term], path: Path) -> None:
    """What building refuses too, but here with the place: the line of the first term of the circle."""
    place = {term.code: (term.line, number) for number, term in enumerate(live)}
    try:
        graphlib.TopologicalSorter({term.code: term.parents for term in live}).prepare()
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))[1:]  # child before parent; the first had come last again
        first = circle.index(min(circle, key=place.__getitem__))
        shown = " → ".join([*circle[first:], *circle[: first + 1]])
        raise FormatError(f"is_a runs in a circle: {shown}", path, place[circle[first]][0] or None, "remove one of these is_a links") from None


def _groups(live: Sequence[Term], selection: Selection) -> dict[str, tuple[str, ...]]:
    if selection.branches:
        return _groups_below(live, selection.branches)
    return {term.code: tuple(filter(None, [term.namespace if selection.group is None else selection.group])) for term in live}


def _groups_below(live: Sequence[Term], branches: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    parents = {term.code: term.parents for term in live}
    for root in branches:
        if root not in parents:
            raise UnknownNameError("branch root", root, parents)
    groups: dict[str, tuple[str, ...]] = {}
    for code in graphlib.TopologicalSorter(parents).static_order():  # parents come first, those outside the file included
        above = {group for parent in parents.get(code, ()) for group in groups[parent]} | ({branches[code]} if code in branches else set())
        groups[code] = tuple(group for group in dict.fromkeys(branches.values()) if group in above)
    return groups


def _heirs(terms: Iterable[Term], kept: set[str]) -> dict[str, list[str]]:
    """Code -> obsolete codes that it alone replaces, directly or through other obsolete ones."""
    by = {term.code: term.replaced_by[0] for term in terms if term.obsolete and len(term.replaced_by) == 1}
    found: dict[str, list[str]] = {}
    for code in by:
        seen, end = {code}, by[code]
        while end in by and end not in seen:
            seen.add(end)
            end = by[end]
        if end in kept:
            found.setdefault(end, []).append(code)
    return found


def _claimed_once(kept: Iterable[Term]) -> set[str]:
    """Codes that exactly one concept lists as its alternative."""
    claims = Counter(code for term in kept for code in set(term.alt_codes))
    return {code for code, times in claims.items() if times == 1}


def _retired(term: Term) -> Retired:
    if term.replaced_by:
        return Retired(term.code, "replaced_by", term.replaced_by)
    return Retired(term.code, "consider" if term.consider else "obsolete", term.consider)


def _concept(term: Term, groups: tuple[str, ...], replaced: Iterable[str], selection: Selection) -> Concept:
    preferred = [Name(text, selection.language, preferred=True) for text in term.names]
    synonyms = [Name(text, selection.language, scope) for scope, text in term.synonyms if scope in selection.scopes]
    alternatives = tuple(dict.fromkeys([*term.alt_codes, *replaced]))
    return Concept(term.code, (*preferred, *synonyms), groups, (), term.definition, term.parents, alternatives, term.xrefs)
