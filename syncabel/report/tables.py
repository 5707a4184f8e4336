"""The figures as CSV, one file a kind of table, and the misses and the changes between runs mention by mention.

Fractions are written in full; what was not measured is empty.  A text that a spreadsheet would take for a formula has an apostrophe before it.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from syncabel.evaluate.compare import Difference
from syncabel.evaluate.judged import JudgedMention
from syncabel.report.figures import (
    cells_of,
    confidence_values,
    confusion_of,
    facts_of,
    hierarchy_rows,
    ledger_rows,
    ledgers_of,
    metric_rows,
    misses_of,
    strata_rows,
    within_rows,
)
from syncabel.report.source import Material, Status, System

__all__ = ["TABLES", "write_tables"]

Row = tuple[Any, ...]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what begins one in a spreadsheet
TABLES = {
    "headline": ("system", "kind", "n", "correct", "recall_at_1", "low", "high", "delta", "delta_low", "delta_high", "p_sign_flip", "p_holm"),
    "metrics": ("system", "metric", "value", "low", "high"),
    "strata": ("system", "stratum", "value", "n", "correct", "recall_at_1", "low", "high"),
    "cells": ("system", "concept", "mention", "n", "correct", "recall_at_1", "low", "high"),
    "ledger": ("system", "stratum", "value", "cause", "n", "share"),
    "confidence": ("system", "measure", "value", "low", "high"),
    "reliability": ("system", "low", "high", "n", "confidence", "accuracy", "accuracy_low", "accuracy_high"),
    "risk_coverage": ("system", "threshold", "coverage", "risk"),
    "confusion": ("system", "gold_group", "answered_group", "n"),
    "hierarchy": ("system", "relation", "n"),
    "within": ("system", "forgiven", "recall", "low", "high"),
    "misses": ("system", "document_id", "mention_id", "text", "type", "cause", "hierarchy", "gold", "gold_names", "answered", "answered_name", "confidence"),
    "changes": ("from", "to", "document_id", "mention_id", "change"),
}


def write_tables(material: Material, paired: Mapping[str, Difference], folder: Path, *, text: bool) -> list[Path]:
    """Write every table of `TABLES` that has a row, and headline.csv; files of an earlier report are replaced or removed.

    Args:
        material: from `read_material`.
        paired: from `paired_with_first`.
        folder: made where it is not there.
        text: whether misses.csv has the texts of mentions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in _tables(material, paired, text).items():
        path, found = folder / f"{name}.csv", list(rows)
        if found:
            _write(path, TABLES[name], found)
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    return written


def _write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_as_text(cell) for cell in row] for row in rows)


def _as_text(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _tables(material: Material, paired: Mapping[str, Difference], text: bool) -> dict[str, Iterable[Row]]:
    runs = material.runs
    return {
        "headline": _headline(material, paired),
        "metrics": ((s.name, figure.name, figure.value, *_ends(figure.ci95)) for s in material.systems for figure in metric_rows(s)),
        "strata": ((s.name, row.kind, row.value, row.n, row.correct, row.recall_at_1, *_ends(row.ci95)) for s in material.systems for row in strata_rows(s)),
        "cells": ((s.name, cell.kind, cell.value, cell.n, cell.correct, cell.recall_at_1, *_ends(cell.ci95)) for s in runs for cell in cells_of(s) or ()),
        "ledger": (row for s in material.systems for row in _ledger(s)),
        "confidence": ((s.name, figure.name, figure.value, *_ends(figure.ci95)) for s in runs for figure in confidence_values(s)),
        "reliability": (row for s in runs for row in _reliability(s)),
        "risk_coverage": ((s.name, point["threshold"], point["coverage"], point["risk"]) for s in runs for point in (_given(s).get("curve") or ())),
        "confusion": (row for s in runs for row in _confusion(s)),
        "hierarchy": ((s.name, row.relation, row.n) for s in runs for row in hierarchy_rows(s)),
        "within": ((s.name, figure.name, figure.value, *_ends(figure.ci95)) for s in runs for figure in within_rows(s)),
        "misses": (_miss(s, item, text) for s in runs for item in misses_of(s)),
        "changes": (row for after in runs[1:] for row in _changes(material.first, after)),
    }


def _ends(interval: Any) -> Row:
    return tuple(interval) if interval else (None, None)


def _headline(material: Material, paired: Mapping[str, Difference]) -> Iterator[Row]:
    for system in material.systems:
        facts, one = facts_of(system), paired.get(system.name)
        versus = (one.delta, *one.ci95, one.p_sign_flip, one.p_holm) if one else (None,) * 5
        yield system.name, system.kind, facts["n"], facts["correct"], facts["recall_at_1"], *_ends(facts["ci95"]), *versus


def _ledger(system: System) -> Iterator[Row]:
    for line in ledger_rows(system.run.report["ledger"]):
        yield system.name, "all", "all", line.cause, line.n, line.share
    for row, lines in ledgers_of(system):
        yield from ((system.name, row.kind, row.value, line.cause, line.n, line.share) for line in lines)


def _given(system: System) -> Mapping[str, Any]:
    return system.run.report.get("confidence") or {}


def _reliability(system: System) -> Iterator[Row]:
    for found in _given(system).get("bins") or ():
        yield system.name, found["low"], found["high"], found["n"], found["confidence"], found["accuracy"], *_ends(found["ci95"])


def _confusion(system: System) -> Iterator[Row]:
    found = confusion_of(system)
    if found:
        for gold, counts in zip(found.gold, found.counts, strict=True):
            yield from ((system.name, gold, predicted, n) for predicted, n in zip(found.predicted, counts, strict=True) if n)


def _miss(system: System, item: JudgedMention, text: bool) -> Row:
    first = item.candidates[0] if item.candidates else None
    written = first and (first.name if text else "+".join(_name(system, code) for code in first.codes))
    gold = "|".join("+".join(codes) for codes in item.gold)
    names = "|".join("+".join(_name(system, code) for code in codes) for codes in item.gold)
    answer = ("+".join(item.predicted), written, first.confidence if first else None)
    return system.name, item.document_id, item.mention_id, item.text if text else None, item.type, item.cause, item.hierarchy, gold, names, *answer


def _name(system: System, code: str) -> str:
    facts = system.run.concepts.get(code)
    return facts.name if facts else ""


def _changes(before: System, after: System) -> Iterator[Row]:
    names = {
        (Status.WRONG, Status.RIGHT): "fixed",
        (Status.RIGHT, Status.WRONG): "broken",
        (Status.WRONG, Status.WRONG): "both wrong",
    }
    for item, *states in zip(before.run.mentions, before.statuses, after.statuses, strict=True):
        if change := names.get((states[0], states[1])):
            yield before.name, after.name, item.document_id, item.mention_id, change
