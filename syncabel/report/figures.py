"""The figures of a report: what an evaluation states, laid out in rows, and the few that it does not state, counted."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncabel.bootstrap import document_interval
from syncabel.evaluate.compare import Difference, compare_pair, compare_systems
from syncabel.evaluate.judged import Codes, JudgedMention
from syncabel.report.places import last_part
from syncabel.report.source import Material, Status, System

__all__ = [
    "NO_ANSWER",
    "Confusion",
    "Figure",
    "HierarchyRow",
    "LedgerRow",
    "StratumRow",
    "Versus",
    "cells_of",
    "command_of",
    "confidence_values",
    "confusion_of",
    "facts_of",
    "group_of",
    "hierarchy_rows",
    "in_words",
    "ledger_rows",
    "ledgers_of",
    "metric_rows",
    "misses_of",
    "nil_rows",
    "paired_with_first",
    "pairs_of",
    "strata_rows",
    "within_rows",
]

Interval = tuple[float, float]
NO_ANSWER, NO_GROUP, OTHER_GROUPS = "no answer", "no group", "other groups"
_MOST_GROUPS = 12


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name; fractions but for counts."""

    name: str
    value: float | None
    ci95: Interval | None = None


@dataclass(frozen=True, slots=True)
class StratumRow:
    """A score on some of the mentions; n = 0 has neither score nor interval."""

    kind: str
    value: str
    n: int
    correct: int
    recall_at_1: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Misses of one cause: how many, and what of Recall@1 they cost."""

    cause: str
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class HierarchyRow:
    """Misses whose gold stands in one relation to the answer, e.g. `ancestor:2`, and that in words about the answer."""

    relation: str
    label: str
    n: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Mentions by group of the gold concept and of the answer.

    Attributes:
        gold, predicted: names of the rows and of the columns.
        counts: mentions. Shape: (gold, predicted).
        folded: whether rare groups stand together as one.
    """

    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    folded: bool


@dataclass(frozen=True, slots=True)
class Versus:
    """`after` less `before` on the same mentions; numbers of systems in the report."""

    before: int
    after: int
    difference: Difference


def facts_of(system: System) -> dict[str, Any]:
    """What the head of a report says."""
    report = system.run.report
    interval = report["ci95"]
    return {
        "protocol": system.protocol,
        "n": report["n"],
        "correct": report["correct"],
        "documents": report["documents"],
        "recall_at_1": report["recall_at_1"],
        "ci95": _pair(interval),
        "ceiling": report.get("ceiling"),
    }


def command_of(system: System) -> str:
    """The command line, of files and folders only the last part: "/home/ann/dev.jsonl" → "…/dev.jsonl"."""
    return shlex.join(map(last_part, system.run.command))


def metric_rows(system: System) -> list[Figure]:
    """Every metric with its interval, in the order of the evaluation."""
    report = system.run.report
    return [Figure(name, value, _pair(report["intervals"].get(name))) for name, value in report["metrics"].items()]


def strata_rows(system: System) -> list[StratumRow]:
    """Every stratum of every kind."""
    strata: Mapping[str, Mapping[str, Mapping[str, Any]]] = system.run.report["strata"]
    return [
        StratumRow(kind, value, cell["n"], cell["correct"], cell["recall_at_1"] if cell["n"] else None, _pair(cell["ci95"]) if cell["n"] else None)
        for kind, cells in strata.items()
        for value, cell in cells.items()
    ]


def cells_of(system: System) -> list[StratumRow] | None:
    """Concept seen where × mention text seen or not (`kind` is the concept's side), or None where nothing was seen: no training documents were given."""
    counted = system.counted
    concepts, strings = (tuple(system.run.report["strata"].get(kind, ())) for kind in ("concept", "string"))
    sides = [(item.strata.get("concept"), item.strata.get("string")) for item in counted]
    if not concepts or not strings or set(sides) <= {("neither", "unseen")}:
        return None
    return [_cell(system, row, column, [side == (row, column) for side in sides]) for row in concepts for column in strings]


def _cell(system: System, row: str, column: str, members: Sequence[bool]) -> StratumRow:
    rows = [(item.document_id, score) for item, score, inside in zip(system.counted, system.scores, members, strict=True) if inside]
    if not rows:
        return StratumRow(row, column, 0, 0, None, None)
    documents, scores = [document for document, _ in rows], [score for _, score in rows]
    return StratumRow(row, column, len(rows), sum(score == 1 for score in scores), sum(scores) / len(scores), document_interval(documents, scores))


def ledger_rows(ledger: Mapping[str, Mapping[str, Any]]) -> list[LedgerRow]:
    """The lines of a ledger, in the order in which causes are asked about."""
    return [LedgerRow(cause, line["n"], line["share"]) for cause, line in ledger.items()]


def ledgers_of(system: System) -> list[tuple[StratumRow, list[LedgerRow]]]:
    """The ledger of every stratum that holds a mention."""
    ledgers: Mapping[str, Mapping[str, Mapping[str, Any]]] = system.run.report.get("ledgers") or {}
    return [(row, ledger_rows(ledgers[row.kind][row.value])) for row in strata_rows(system) if row.n and row.value in ledgers.get(row.kind, ())]


def group_of(system: System, codes: Codes) -> str:
    """The first group of the first code."""
    if not codes:
        return NO_ANSWER
    facts = system.run.concepts.get(codes[0])
    return facts.groups[0] if facts and facts.groups else NO_GROUP


def confusion_of(system: System) -> Confusion | None:
    """Groups of gold against groups of the answers, rare ones together; None where gold and answers are of one group."""
    pairs = Counter((group_of(system, item.gold[0]), group_of(system, item.predicted)) for item in system.counted if item.gold)
    sizes = Counter[str]()
    for (gold, predicted), n in pairs.items():
        sizes.update({gold: n, predicted: n})
    groups = [name for name, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0])) if name != NO_ANSWER]
    if len(groups) < 2:
        return None
    kept = groups[:_MOST_GROUPS]
    return _folded(pairs, kept, folded=len(groups) > len(kept))


def _folded(pairs: Mapping[tuple[str, str], int], kept: Sequence[str], folded: bool) -> Confusion:
    def place(name: str) -> str:
        return name if name in kept or name == NO_ANSWER else OTHER_GROUPS

    found = Counter[tuple[str, str]]()
    for (gold, predicted), n in pairs.items():
        found[place(gold), place(predicted)] += n
    names = [*kept, *([OTHER_GROUPS] if folded else [])]
    rows = tuple(name for name in names if any(gold == name for gold, _ in found))
    columns = tuple(name for name in (*names, NO_ANSWER) if any(predicted == name for _, predicted in found))
    return Confusion(rows, columns, tuple(tuple(found[row, column] for column in columns) for row in rows), folded)


def hierarchy_rows(system: System) -> list[HierarchyRow]:
    """Misses by where gold stands from the answer: nearest first, then those that are related in no way."""
    counts = Counter(item.hierarchy for item in misses_of(system) if item.hierarchy)
    return [HierarchyRow(relation, in_words(relation), counts[relation]) for relation in sorted(counts, key=_nearest_first)]


def misses_of(system: System) -> list[JudgedMention]:
    """The mentions that are not right in full."""
    return [item for item, status in zip(system.run.mentions, system.statuses, strict=True) if status is Status.WRONG]


def _nearest_first(relation: str) -> tuple[int, int, str]:
    kind, _, steps = relation.partition(":")
    order = {"ancestor": 0, "descendant": 1, "unrelated": 2}
    return order.get(kind, 3), int(steps or 0), kind


def in_words(relation: str) -> str:
    """What a relation says of the answer.

    >>> in_words("ancestor:2"), in_words("descendant:1"), in_words("unrelated")
    ('too narrow, by 2 steps', 'too broad, by 1 step', 'neither above nor below the gold concept')
    """
    kind, _, steps = relation.partition(":")
    said = {"ancestor": "too narrow", "descendant": "too broad", "unrelated": "neither above nor below the gold concept"}
    said |= {"same": "another of the right codes", "composite": "one of several codes, or several"}
    far = f", by {steps} step{'' if steps == '1' else 's'}" if steps else ""
    return said.get(kind, kind) + far


_WAYS = {"up": "too narrow", "down": "too broad", "either": "too narrow or too broad"}


def within_rows(system: System) -> list[Figure]:
    """Recall@1 when gold so many steps away counts as right."""
    within: Mapping[str, Mapping[str, Any]] = (system.run.report.get("hierarchy") or {}).get("within") or {}
    return [Figure(_within_name(way, int(distance)), *_value(figure)) for way, found in within.items() for distance, figure in found.items() if int(distance)]


def _within_name(way: str, distance: int) -> str:
    return f"{_WAYS.get(way, way)} by up to {distance} step{'' if distance == 1 else 's'}"


def nil_rows(system: System) -> list[Figure]:
    """NIL mentions and how they fared, the denominators, and how many mentions are in none."""
    return [*_nil(system.run.report.get("nil") or {}), *_denominators(system.run.report.get("denominators") or {}), *_beside(system.run.report)]


def _nil(nil: Mapping[str, Any]) -> Iterator[Figure]:
    if not nil.get("n") and not nil.get("predicted"):
        return
    yield Figure("NIL mentions", nil.get("n"))
    yield Figure("answered with NIL, rightly or not", nil.get("predicted"))
    intervals = nil.get("intervals") or {}
    names = (("precision", "NIL precision"), ("recall", "NIL recall"), ("f1", "NIL F1"))
    yield from (Figure(label, nil[key], _pair(intervals.get(key))) for key, label in names if key in nil)


def _denominators(denominators: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    names = {"all_gold": "all gold", "gold_in_kb": "gold in the knowledge base"}
    for key, cell in denominators.items():
        yield Figure(f"Recall@1 of {names.get(key, key)}, n = {cell['n']:,}", cell["recall_at_1"] if cell["n"] else None, _pair(cell["ci95"]))


def _beside(report: Mapping[str, Any]) -> Iterator[Figure]:
    names = {"missing": "without a line in the predictions", "abstained": "answers withheld", "failed": "failed", "unannotated": "without annotation"}
    yield from (Figure(label, report[key]) for key, label in names.items() if isinstance(report.get(key), int))


def confidence_values(system: System) -> list[Figure]:
    """The measures of confidence, [] where there is none."""
    found = system.run.report.get("confidence")
    if not found or not found["n"]:
        return []
    names = {
        "accuracy": "share right",
        "mean_confidence": "mean confidence",
        "ece": "ECE, bins of equal width",
        "ece_mass": "ECE, bins of equal size",
        "brier": "Brier score",
        "auroc": "AUROC",
        "aurc": "AURC",
        "excess_aurc": "AURC less the best possible",
    }
    return [Figure(label, found[key], _pair(found["intervals"].get(key))) for key, label in names.items() if key in found]


def _value(figure: Any) -> tuple[float | None, Interval | None]:
    """A number that stands alone, as {value, ci95}, or as [value, interval]."""
    if isinstance(figure, Mapping):
        return figure.get("value", figure.get("recall_at_1")), _pair(figure.get("ci95"))
    if isinstance(figure, list | tuple):
        return figure[0], _pair(figure[1])
    return figure, None


def _pair(interval: Any) -> Interval | None:
    return (interval[0], interval[1]) if interval else None


def paired_with_first(material: Material) -> dict[str, Difference]:
    """Each other system less the first, p corrected over them all; {} for one system."""
    if len(material.systems) < 2:
        return {}
    first = material.first
    found = compare_systems(_documents(first), {system.name: system.scores for system in material.systems}, reference=first.name)
    return {pair.a: pair.difference for pair in found.pairs}


def pairs_of(material: Material, paired: Mapping[str, Difference]) -> list[Versus]:
    """Every run less each system before it, and less each baseline."""
    systems, documents = material.systems, _documents(material.first)
    found = [Versus(0, i, paired[system.name]) for i, system in enumerate(systems) if i]
    runs = len(material.runs)
    others = [(before, after) for after in range(1, runs) for before in (*range(1, after), *range(runs, len(systems)))]
    return [*found, *(Versus(before, after, compare_pair(documents, systems[after].scores, systems[before].scores)) for before, after in others)]


def _documents(system: System) -> list[str]:
    return [item.document_id for item in system.counted]
