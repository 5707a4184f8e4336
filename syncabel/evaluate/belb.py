"""BELB's protocols: the top-ranked *name* is scored, which may stand for several ids.

    strict   it stands for exactly one id, and that is a gold id
    lenient  any of its ids is a gold id

A mention without a prediction is wrong under both.  Rows: {"id", "gold": [ids], "top1": {system: [ids]}}.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.errors import FormatError
from syncabel.lines import json_lines

__all__ = ["BelbReport", "BelbSystem", "belb_json", "evaluate_belb"]


@dataclass(frozen=True, slots=True)
class BelbSystem:
    """Mentions one system has right.

    Attributes:
        strict, lenient: counts.
        strict_pct, lenient_pct: per cent of all mentions, two decimals.
        missing: mentions without a prediction, counted as wrong.
    """

    strict: int
    lenient: int
    strict_pct: float
    lenient_pct: float
    missing: int


@dataclass(frozen=True, slots=True)
class BelbReport:
    """All systems of a file over the same n mentions."""

    n: int
    systems: Mapping[str, BelbSystem]


@dataclass(frozen=True, slots=True)
class _Row:
    gold: frozenset[int | str]
    top1: Mapping[str, Sequence[int | str]]


def evaluate_belb(path: Path | str) -> BelbReport:
    """Score every system of a file.

    Raises:
        FormatError: not UTF-8, empty, not JSON, a field missing or of a wrong type, or an id twice.
    """
    rows = list(_rows(Path(path)))
    if not rows:
        raise FormatError("the file holds blank lines only", path, hint="write one mention a line")
    systems = dict.fromkeys(system for row in rows for system in row.top1)
    return BelbReport(len(rows), {system: _system([(row.gold, row.top1.get(system, ())) for row in rows]) for system in systems})


def _system(rows: Sequence[tuple[frozenset[int | str], Sequence[int | str]]]) -> BelbSystem:
    strict = sum(len(set(ids)) == 1 and ids[0] in gold for gold, ids in rows)
    lenient = sum(not gold.isdisjoint(ids) for gold, ids in rows)
    missing = sum(not ids for _, ids in rows)
    return BelbSystem(strict, lenient, round(100 * strict / len(rows), 2), round(100 * lenient / len(rows), 2), missing)


def _rows(path: Path) -> Iterator[_Row]:
    seen: set[str] = set()
    for number, value in json_lines(path, "write one object a line"):
        problem = _problem(value)
        if problem is None and str(value["id"]) in seen:
            problem = f"id {value['id']!r} occurs twice"
        if problem:
            raise FormatError(problem, path, number, 'rows are {"id", "gold": [ids], "top1": {system: [ids]}}')
        seen.add(str(value["id"]))
        yield _Row(frozenset(value["gold"]), value["top1"])


def _problem(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"an object is expected, not {type(value).__name__}"
    if missing := [name for name in ("id", "gold", "top1") if name not in value]:
        return f"field {missing[0]!r} is missing"
    if not _is_ids(value["gold"]) or not value["gold"]:
        return "'gold' should be a list of at least one id"
    if not isinstance(value["top1"], dict) or not all(_is_ids(ids) for ids in value["top1"].values()):
        return "'top1' should be an object of lists of ids"
    return None


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int | str) for item in value)


def belb_json(report: BelbReport) -> dict[str, Any]:
    """The report as JSON values, laid out as the published counts are."""
    return dataclasses.asdict(report)
