"""Short forms that several concepts share and that only the context tells apart."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from data_gen.branches import branches_of
from data_gen.mentions import initials
from data_gen.template import usable_names
from syncabel.text import fold
from syncabel.types import Concept

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["Lineages", "shared_short_forms", "short_forms_by_code"]

NAMES_AT_HAND = 1 << 16


class Lineages:
    """The lines of ancestors of a knowledge base's concepts.

    Args:
        kb: the knowledge base.
    """

    def __init__(self, kb: "KnowledgeBase") -> None:
        self._kb = kb
        # The higher a concept, the more often it is asked for; the rest must not fill the memory.
        self.name = lru_cache(maxsize=NAMES_AT_HAND)(self._looked_up)

    def of(self, concept: Concept) -> tuple[tuple[str, str], ...]:
        """(code, preferred name) of the concept and its ancestors, nearest first."""
        return ((concept.code, concept.preferred_name), *((code, self.name(code)) for code in self._kb.ancestors(concept.code)))

    def _looked_up(self, code: str) -> str:
        return self._kb.concept(code).preferred_name


def shared_short_forms(kb: "KnowledgeBase", codes: Iterable[str], exclude_names: Collection[tuple[str, str]] = frozenset()) -> dict[str, tuple[str, ...]]:
    """Short forms of 2 to 5 letters that two or more of these concepts share and that only the context tells apart.

    A short form is the initials of a name of two or more words, or a name in capitals.  Concepts that share it within one
    branch are left out: no context tells them apart.

    Args:
        kb: the knowledge base, with the ancestors of the codes.
        codes: the concepts to look at.
        exclude_names: (code, folded name) pairs to make nothing of.

    Returns:
        Short form to codes, each of another leading branch, in the order of `codes`; short forms sorted.

    Raises:
        UnknownNameError: a code is not in the knowledge base.
    """
    lineages = Lineages(kb)
    owners: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    avoid: defaultdict[str, set[str]] = defaultdict(set)
    for code, name in exclude_names:
        avoid[code].add(name)
    for concept in map(kb.concept, dict.fromkeys(codes)):
        if leading := branches_of(lineages.of(concept)).leading:
            for short in _short_forms(concept, frozenset(avoid[concept.code])):
                owners[short].append((leading.name, concept.code))
    told = {short: _told_apart(pairs) for short, pairs in sorted(owners.items())}
    return {short: kept for short, kept in told.items() if len(kept) >= 2}


def _short_forms(concept: Concept, avoid: frozenset[str]) -> list[str]:
    names = usable_names(concept, avoid)
    made = [initials(name) for name in names if len(name.split()) >= 2]
    listed = [name for name in names if re.fullmatch("[A-Z]{2,5}", name)]
    return list(dict.fromkeys(short for short in (*made, *listed) if short and short.isalpha() and fold(short) not in avoid))


def _told_apart(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    counts = Counter(branch for branch, _ in pairs)
    return tuple(code for branch, code in pairs if counts[branch] == 1)


def short_forms_by_code(short_forms: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The inverse of `shared_short_forms`: code to its short forms, in their order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for short, codes in short_forms.items():
        for code in codes:
            found[code].append(short)
    return {code: tuple(shorts) for code, shorts in found.items()}
