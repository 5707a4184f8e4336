"""Branches of the hierarchy and the words that go with them (templates/branches.yaml)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

__all__ = ["TEMPLATES", "Branch", "Branches", "all_branches", "branches_of"]

TEMPLATES = Path(__file__).parent / "templates"
_SLOTS = {"finding": "findings", "site": "sites", "test": "tests", "treatment": "treatments", "clinic": "clinics", "doctor": "doctors"}


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A part of the hierarchy with its vocabulary.

    Attributes:
        name: as in the file.
        kind: `site`, where in the body, or `process`, what goes wrong.
        roots: codes whose descendants belong to it.
        words: matches beginnings of words in the names of concepts that belong to it.
        phrases: slot of a sentence frame to noun phrases.
    """

    name: str
    kind: Literal["site", "process"]
    roots: frozenset[str]
    words: re.Pattern[str]
    phrases: dict[str, tuple[str, ...]]


class Branches(NamedTuple):
    """The nearest branch of each kind; None where there is none."""

    site: Branch | None
    process: Branch | None

    @property
    def leading(self) -> Branch | None:
        """The one that tells the concept from its namesakes: the site, else the process."""
        return self.site or self.process

    @property
    def both(self) -> tuple[Branch, ...]:
        """Those there are, the leading one first."""
        return tuple(branch for branch in self if branch is not None)


@cache
def all_branches() -> tuple[Branch, ...]:
    """Every branch of the file, in its order."""
    with (TEMPLATES / "branches.yaml").open(encoding="utf-8") as file:
        rows: dict[str, Any] = yaml.safe_load(file)
    return tuple(_branch(name, row) for name, row in rows.items())


def _branch(name: str, row: dict[str, Any]) -> Branch:
    words = "|".join(re.escape(word).replace(r"\$", r"\b") for word in row["words"])
    phrases = {slot: tuple(row[key]) for slot, key in _SLOTS.items()}
    return Branch(name, row["kind"], frozenset(row["roots"]), re.compile(rf"\b(?:{words})", re.IGNORECASE), phrases)


@cache
def _by_root() -> dict[str, Branch]:
    return {root: branch for branch in all_branches() for root in branch.roots}


def branches_of(lineage: Sequence[tuple[str, str]]) -> Branches:
    """The branches of a concept.

    Args:
        lineage: (code, preferred name) of the concept and its ancestors, nearest first.
    """
    return Branches(*(_nearest(lineage, kind) for kind in ("site", "process")))


def _nearest(lineage: Sequence[tuple[str, str]], kind: str) -> Branch | None:
    roots = _by_root()
    by_code = next((roots[code] for code, _ in lineage if code in roots and roots[code].kind == kind), None)
    return by_code or next((branch for _, name in lineage if (branch := _by_word(name, kind))), None)


@cache
def _by_word(name: str, kind: str) -> Branch | None:
    return next((branch for branch in all_branches() if branch.kind == kind and branch.words.search(name)), None)
