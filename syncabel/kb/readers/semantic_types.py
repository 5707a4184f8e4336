"""The semantic network of the UMLS: 127 types as a tree, and the 15 groups they fall into.

Groups and names: SemGroups.txt of the National Library of Medicine (2018; public), shipped as it is.  The tree: the network's is-a
hierarchy, shipped as `tui<TAB>parent`; `T051` Event and `T071` Entity are its roots.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from syncabel.errors import UnknownNameError

__all__ = ["SemanticType", "ancestors", "descendants", "group_named", "mapped_up", "semantic_type", "semantic_types"]


@dataclass(frozen=True, slots=True)
class SemanticType:
    """One type of the network.

    Attributes:
        tui: its identifier, e.g. "T047".
        name: e.g. "Disease or Syndrome".
        group: the group's abbreviation, e.g. "DISO".
        group_name: e.g. "Disorders".
        parent: TUI of the type above, or "".
    """

    tui: str
    name: str
    group: str
    group_name: str
    parent: str


@cache
def semantic_types() -> dict[str, SemanticType]:
    """All types by TUI, in the order of SemGroups.txt."""
    parents = dict(line.split("\t") for line in _lines("tree.tsv")[1:])
    rows = (line.split("|") for line in _lines("SemGroups.txt"))
    return {tui: SemanticType(tui, name, group, group_name, parents[tui]) for group, group_name, tui, name in rows}


def semantic_type(tui: str) -> SemanticType:
    """The type of this TUI.

    Raises:
        UnknownNameError: there is none.
    """
    types = semantic_types()
    if tui not in types:
        raise UnknownNameError("semantic type", tui, types)
    return types[tui]


def group_named(name: str) -> str:
    """The abbreviation of a group given by its abbreviation or its name.

    Raises:
        UnknownNameError: there is none.
    """
    abbreviations = {key: kind.group for kind in semantic_types().values() for key in (kind.group, kind.group_name)}
    if name not in abbreviations:
        raise UnknownNameError("semantic group", name, abbreviations)
    return abbreviations[name]


def ancestors(tui: str) -> tuple[str, ...]:
    """The type itself and all above it, nearest first."""
    above, parent = [tui], semantic_type(tui).parent
    while parent:
        above.append(parent)
        parent = semantic_type(parent).parent
    return tuple(above)


def descendants(tui: str) -> tuple[str, ...]:
    """The type itself and all below it, sorted."""
    semantic_type(tui)
    return tuple(sorted(other for other in semantic_types() if tui in ancestors(other)))


def mapped_up(tuis: Iterable[str]) -> dict[str, str]:
    """Every type at or below the given ones -> the nearest given one above it."""
    chosen = {semantic_type(tui).tui for tui in tuis}
    nearest = {tui: next((above for above in ancestors(tui) if above in chosen), "") for tui in semantic_types()}
    return {tui: above for tui, above in nearest.items() if above}


def _lines(name: str) -> list[str]:
    return (files("syncabel") / "kb" / "data" / "semgroups" / name).read_text("utf-8").splitlines()
