"""What OBO and OWL have in common: terms, which of them are taken, and what becomes of the obsolete ones."""

import bisect
import graphlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb.vocabulary import Entry
from syncabel.types import Concept, Name, Rejection, Relation, Retired, Scope

__all__ = ["SCOPES", "Selection", "Term", "entries", "licence_of"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
_NEIGHBOURS = 8
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/(?:publicdomain/(zero)|licenses/([a-z-]+))/(\d\.\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """One term as its file has it.

    Attributes:
        code: its id.
        where: file and line, or the file.
        line: 1-based, 0 where the format has none.
        names: the preferred ones, usually one.
        synonyms: in the order they shall have.
        namespace: the OBO namespace, the file's default one where the term has none, or "".
        relations: kind and target.
    """

    code: str
    where: str
    line: int = 0
    names: tuple[Name, ...] = ()
    synonyms: tuple[Name, ...] = ()
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
        language: ISO 639-1 code of names that do not say theirs.

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

    An obsolete term with one replacement that is taken becomes an alternative code of it, through several replacements in a row too; so
    does one that is but an `alt_id` of a concept.  Where the file names several successors in these two ways, or none, the code is
    `Retired`.  The alternative codes of an obsolete term share its fate.  A definite replacement beats terms to consider, which are
    rejected (`consider_unused`) then.

    Raises:
        FormatError: is_a runs in a circle.
        UnknownNameError: a branch's root is no term.
    """
    live = [term for term in terms if not term.obsolete]
    _refuse_circle(live, path)
    groups = _groups(live, selection)
    fates = _Fates(terms, [term for term in live if groups[term.code]])
    reason = "outside_branches" if selection.branches else "no_namespace"
    for term in terms:
        if term.obsolete:
            yield from fates.of_obsolete(term)
        elif not groups[term.code]:
            text = term.names[0].text if term.names else ""
            yield from (Rejection(term.where, code, reason, text) for code in (term.code, *fates.homeless(term)))
        else:
            yield _concept(term, groups[term.code], fates.alternatives(term), selection)
            yield from (Relation(term.code, kind, target) for kind, target in term.relations)


class _Fates:
    """What becomes of every obsolete id and every alternative one.

    Args:
        terms: all terms of the file.
        kept: those that become concepts.
    """

    def __init__(self, terms: Sequence[Term], kept: Sequence[Term]) -> None:
        self._own = {term.code for term in terms}
        self._ends = _ends(terms, {term.code for term in kept})
        self._claims: dict[str, dict[str, None]] = {}  # alternative code -> the concepts that list it
        for term in kept:
            self._claim(term.alt_codes, term.code)
        self._heirs: dict[str, str] = {term.code: heir for term in terms if term.obsolete and (heir := self._heir(term))}
        self._inherited: dict[str, list[str]] = {}
        for term in terms:
            if heir := self._heirs.get(term.code):
                codes = [term.code, *(code for code in term.alt_codes if code not in self._own)]
                self._inherited.setdefault(heir, []).extend(codes)
                self._claim(codes, heir)
        self._split = {term.code for term in terms if term.obsolete} - self._heirs.keys()

    def _claim(self, codes: Iterable[str], owner: str) -> None:
        for code in codes:
            self._claims.setdefault(code, {})[owner] = None

    def _heir(self, term: Term) -> str | None:
        """The one concept that stands for an obsolete term, by all that the file says of it."""
        successors = self._successors(term)
        return successors[0] if len(successors) == 1 and (not term.replaced_by or term.code in self._ends) else None

    def _successors(self, term: Term) -> tuple[str, ...]:
        replaced = (self._ends[term.code],) if term.code in self._ends else term.replaced_by
        return tuple(dict.fromkeys([*replaced, *self._claims.get(term.code, ())]))

    def alternatives(self, term: Term) -> tuple[str, ...]:
        """The alternative codes of a concept; not those of obsolete terms that have another successor too."""
        return tuple(code for code in dict.fromkeys([*term.alt_codes, *self._inherited.get(term.code, ())]) if code not in self._split)

    def homeless(self, term: Term) -> list[str]:
        """The alternative codes that nothing but this term accounts for."""
        return [code for code in term.alt_codes if code not in self._claims and code not in self._own]

    def of_obsolete(self, term: Term) -> Iterator[Entry]:
        """What is said of the term beside its heir's alternative codes."""
        if term.code in self._heirs:
            if term.consider:
                yield Rejection(term.where, term.code, "consider_unused", " ".join(term.consider))
            return
        successors = self._successors(term)
        for code in (term.code, *self.homeless(term)):
            if successors:
                yield Retired(code, "replaced_by", successors)
            if term.consider or not successors:
                yield Retired(code, "consider" if term.consider else "obsolete", term.consider)


def _refuse_circle(live: Iterable[Term], path: Path) -> None:
    """What building refuses too, but here with the place: the line of the first term of the circle."""
    place = {term.code: (term.line, number) for number, term in enumerate(live)}
    try:
        graphlib.TopologicalSorter({term.code: term.parents for term in live}).prepare()
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))[1:]  # child before parent; the first had come last again
        first = circle.index(min(circle, key=place.__getitem__))
        shown = " → ".join(code if code.isprintable() else repr(code) for code in [*circle[first:], *circle[: first + 1]])
        raise FormatError(f"is_a runs in a circle: {shown}", path, place[circle[first]][0] or None, "remove one of these is_a links") from None


def _groups(live: Sequence[Term], selection: Selection) -> dict[str, tuple[str, ...]]:
    if selection.branches:
        return _groups_below(live, selection.branches)
    return {term.code: tuple(filter(None, [term.namespace if selection.group is None else selection.group])) for term in live}


def _groups_below(live: Sequence[Term], branches: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    parents = {term.code: term.parents for term in live}
    for root in branches:
        if root not in parents:
            raise UnknownNameError("branch root", root, _near(root, parents), total=len(parents))
    groups: dict[str, tuple[str, ...]] = {}
    for code in graphlib.TopologicalSorter(parents).static_order():  # parents come first, those outside the file included
        above = {group for parent in parents.get(code, ()) for group in groups[parent]} | ({branches[code]} if code in branches else set())
        groups[code] = tuple(group for group in dict.fromkeys(branches.values()) if group in above)
    return groups


def _near(code: str, codes: Iterable[str]) -> list[str]:
    """Codes that sort next to an unknown one: comparing with each of a hundred thousand takes seconds."""
    ordered = sorted(codes)
    place = bisect.bisect_left(ordered, code)
    return ordered[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]


def _ends(terms: Iterable[Term], kept: set[str]) -> dict[str, str]:
    """Obsolete code -> the concept that its one replacement is, or that the replacements of its replacement end in."""
    by = {term.code: term.replaced_by[0] for term in terms if term.obsolete and len(term.replaced_by) == 1}
    found: dict[str, str] = {}
    for code in by:
        seen, end = {code}, by[code]
        while end in by and end not in seen:
            seen.add(end)
            end = by[end]
        if end in kept:
            found[code] = end
    return found


def _concept(term: Term, groups: tuple[str, ...], alternatives: tuple[str, ...], selection: Selection) -> Concept:
    names = (*term.names, *(name for name in term.synonyms if name.scope in selection.scopes))
    return Concept(term.code, names, groups, (), term.definition, term.parents, alternatives, term.xrefs)
