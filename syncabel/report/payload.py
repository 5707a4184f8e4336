"""What the page holds, in few bytes: columns instead of rows, numbers for what is said often.

A run's answers are all there; of a baseline only what became of each mention and its first answer.  Definitions come with gold concepts and
first answers, names with all.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from syncabel.evaluate.compare import Difference
from syncabel.evaluate.judged import Candidate, Codes, JudgedMention
from syncabel.evaluate.ledger import CAUSES
from syncabel.report.figures import (
    NO_ANSWER,
    cells_of,
    command_of,
    confidence_values,
    confusion_of,
    facts_of,
    group_of,
    hierarchy_rows,
    ledger_rows,
    ledgers_of,
    metric_rows,
    misses_of,
    nil_rows,
    pairs_of,
    strata_rows,
    within_rows,
)
from syncabel.report.places import without_places
from syncabel.report.source import Material, System

__all__ = ["payload"]

_UNTYPED = "(no type)"


class _Numbers:
    """Things in the order in which they were first asked for."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __call__(self, thing: str) -> int:
        return self.places.setdefault(thing, len(self.places))

    def all(self, things: Iterable[str]) -> list[int]:
        return [self(thing) for thing in things]


class _Names:
    """The tables of names that the whole page refers to by number."""

    def __init__(self) -> None:
        self.concepts, self.words, self.documents, self.relations = _Numbers(), _Numbers(), _Numbers(), _Numbers()


def payload(material: Material, paired: Mapping[str, Difference], *, text: bool, markdown: str, tables: str) -> dict[str, Any]:
    """Everything the page shows, as JSON values.

    Args:
        material: from `read_material`.
        paired: from `paired_with_first`.
        text: whether sentences and mention texts go in.
        markdown, tables: names of the file and of the folder that lie beside the page.
    """
    names = _Names()
    mentions = _mentions(material, names, text)
    systems = [{**_system(system, names, text), "paired": asdict(paired[system.name]) if system.name in paired else None} for system in material.systems]
    for system in systems[1:]:
        if system["strata"] == systems[0]["strata"]:
            system["strata"] = None  # the first run's hold for it
    return {
        "version": version("syncabel"),
        "text": text,
        "markdown": markdown,
        "tables": tables,
        "notes": list(material.notes),
        "causes": list(CAUSES),
        "groups": _groups(material),
        "mentions": mentions,
        "systems": systems,
        "pairs": [{"from": pair.before, "to": pair.after, **asdict(pair.difference)} for pair in pairs_of(material, paired)],
        "concepts": _concepts(material, names),
        "documents": list(names.documents.places),
        "relations": list(names.relations.places),
        "words": list(names.words.places),
    }


def _mentions(material: Material, names: _Names, text: bool) -> dict[str, Any]:
    """What all systems were asked, by column."""
    items = material.first.run.mentions
    sentences = {key: row for system in reversed(material.runs) for key, row in system.run.sentences.items()} if text else {}
    around = [sentences.get((item.document_id, item.mention_id)) for item in items]
    return {
        "document": names.documents.all(item.document_id for item in items),
        "id": [item.mention_id for item in items],
        "text": [item.text for item in items] if text else None,
        "start": [item.start for item in items],
        "end": [item.end for item in items],
        "type": names.words.all(item.type or _UNTYPED for item in items),
        "gold": [[names.concepts.all(codes) for codes in item.gold] for item in items],
        "nil": [int(item.nil) for item in items],
        "sentence": [row.text if row else None for row in around] if sentences else None,
        "spans": [[list(span) for span in row.spans] if row else [] for row in around] if sentences else None,
    }


def _system(system: System, names: _Names, text: bool) -> dict[str, Any]:
    common = {"name": system.name, "kind": system.kind, "facts": facts_of(system)}
    if system.kind == "baseline":
        return {**common, "strata": None, "results": _first_answers(system, names, text)}
    return {**common, **_sections(system), "strata": _strata_columns(system), "results": _results(system, names, text)}


def _first_answers(system: System, names: _Names, text: bool) -> dict[str, Any]:
    return {
        "status": [int(status) for status in system.statuses],
        "answers": [[_answer(item.candidates[0], system, names, text)] if item.candidates else [] for item in system.run.mentions],
    }


def _results(system: System, names: _Names, text: bool) -> dict[str, Any]:
    items = system.run.mentions
    causes = {cause: i for i, cause in enumerate(CAUSES)}
    return {
        "status": [int(status) for status in system.statuses],
        "cause": [causes[item.cause] if item.cause else -1 for item in items],
        "relation": [names.relations(item.hierarchy) if item.hierarchy else -1 for item in items],
        "answers": [[_answer(candidate, system, names, text) for candidate in item.candidates] for item in items],
        "held": _sparse([[_answer(candidate, system, names, text) for candidate in item.alternatives] for item in items]),
        "abstained": _sparse([item.abstained for item in items]),
        "error": _sparse([item.error for item in items]),
        "set": _sparse([list(item.answer_set) if item.answer_set is not None else None for item in items]),
    }


def _sparse(values: Sequence[Any]) -> dict[int, Any]:
    """The few that say something, by their place."""
    return {i: value for i, value in enumerate(values) if value}


def _answer(candidate: Candidate, system: System, names: _Names, text: bool) -> list[Any]:
    """Codes, the name written where it is not the preferred one, probability, confidence."""
    preferred = [facts.name for code in candidate.codes if (facts := system.run.concepts.get(code))]
    # Any other name may be text of a note: retrieval names the training mention that was nearest, a free generation writes what it likes.
    written = candidate.name if text and candidate.name not in preferred else 0
    return [names.concepts.all(candidate.codes), written, _short(_probability(candidate)), _short(candidate.confidence)]


def _probability(candidate: Candidate) -> float:
    return candidate.mass if candidate.mass > 0 else math.exp(min(0.0, candidate.log_prob))


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _strata_columns(system: System) -> dict[str, Any]:
    """Kind -> its values, and which of them each mention has; -1 for none."""
    kinds: dict[str, list[str]] = {}
    for row in strata_rows(system):
        kinds.setdefault(row.kind, []).append(row.value)
    found = {}
    for kind, values in kinds.items():
        places = {value: i for i, value in enumerate(values)}
        of = [places.get(item.strata.get(kind, ""), -1) for item in system.run.mentions]
        if max(of, default=-1) >= 0:
            found[kind] = {"values": values, "of": of}
    return found


def _groups(material: Material) -> list[str]:
    """All groups of gold and first answers, by name."""
    found = {group_of(system, codes) for system in material.runs for item in system.counted for codes in (*item.gold[:1], item.predicted)}
    return sorted(found - {NO_ANSWER})


def _concepts(material: Material, names: _Names) -> list[list[Any]]:
    """Code, name, definition, path and groups of every concept that was asked for."""
    facts = {code: row for system in reversed(material.systems) for code, row in system.run.concepts.items()}
    defined = {code for system in material.runs for item in system.run.mentions for code in _looked_at(item)}
    rows: list[list[Any]] = []
    for code in names.concepts.places:
        row = facts.get(code)
        definition = row.definition if row and code in defined else None
        rows.append([code, row.name if row else "", definition or 0, names.words.all(row.path if row else ()), names.words.all(row.groups if row else ())])
    return rows


def _looked_at(item: JudgedMention) -> Codes:
    return (*(code for codes in item.gold for code in codes), *item.predicted)


def _sections(system: System) -> dict[str, Any]:
    """The figures of a run's sections, in the form they are drawn from."""
    run, report = system.run, system.run.report
    rows, cells, confusion = strata_rows(system), cells_of(system), confusion_of(system)
    sizes = Counter(row.kind for row in rows if row.kind != "cell")  # the cells are drawn as a table
    kinds = [kind for kind, size in sizes.items() if size > 1]
    relations = hierarchy_rows(system)
    return {
        "metrics": [asdict(figure) for figure in metric_rows(system)],
        "nil": [[figure.name, figure.value, figure.ci95] for figure in nil_rows(system)],
        "cells": cells
        and {
            "rows": list(dict.fromkeys(cell.kind for cell in cells)),
            "columns": list(dict.fromkeys(cell.value for cell in cells)),
            "cells": [{"row": cell.kind, "column": cell.value, "n": cell.n, "value": cell.recall_at_1, "ci95": cell.ci95} for cell in cells],
        },
        "bars": [{"kind": kind, "rows": [asdict(row) for row in rows if row.kind == kind]} for kind in kinds],
        "ledger": [asdict(line) for line in ledger_rows(report["ledger"])],
        "ledgers": [{"kind": row.kind, "value": row.value, "n": row.n, "causes": [asdict(line) for line in lines]} for row, lines in ledgers_of(system)],
        "confidence": _confidence(system),
        "confusion": asdict(confusion) if confusion else {"reason": "Gold and answers are of one group: there is nothing to confuse."},
        "hierarchy": {
            "rows": [asdict(row) for row in relations],
            "misses": len(misses_of(system)),
            "within": [asdict(figure) for figure in within_rows(system)],
            "reason": "No miss has a place in a hierarchy: the knowledge base has none, or nothing was answered wrongly.",
        },
        "speed": [[name.replace("_", " "), _flat(value)] for name, value in (run.speed or {}).items() if value is not None],
        "recipe": json.dumps(without_places(run.recipe), ensure_ascii=False, indent=2) if run.recipe else None,
        "digests": sorted(run.digests.items()),
        "command": command_of(system),
        "versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "kb": ", ".join(part for part in (run.kb.get("source"), run.kb.get("release")) if part),
        "bootstrap": f"{report['rounds']:,} replicates of the documents, seed {report['seed']}" if "rounds" in report else None,
    }


def _flat(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else json.dumps(value, ensure_ascii=False)


def _confidence(system: System) -> dict[str, Any] | None:
    values = confidence_values(system)
    if not values:
        return None
    found: Mapping[str, Any] = system.run.report["confidence"]
    return {
        "n": found["n"],
        "nil": found.get("nil", 0),
        "source": found.get("source"),
        "values": [[figure.name, figure.value, figure.ci95] for figure in values],
        "bins": found["bins"],
        "curve": [[point["coverage"], point["risk"]] for point in found["curve"]],
    }
