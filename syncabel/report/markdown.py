"""The figures as Markdown: what is read where no browser is, and kept in a repository.  It holds no text of the corpus."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from syncabel.evaluate.compare import Difference
from syncabel.report.figures import (
    Versus,
    cells_of,
    command_of,
    confidence_values,
    confusion_of,
    facts_of,
    hierarchy_rows,
    ledger_rows,
    metric_rows,
    misses_of,
    pairs_of,
    strata_rows,
    within_rows,
)
from syncabel.report.source import Material, System

__all__ = ["markdown"]

Interval = tuple[float, float] | None


def markdown(material: Material, paired: Mapping[str, Difference]) -> str:
    """The report; `paired` from `paired_with_first`."""
    names = " and ".join(_cell(system.name) for system in material.runs)
    parts = [f"# Evaluation of {names}\n", *(f"> {_cell(note)}\n" for note in material.notes), *_headline(material, paired)]
    for system in material.runs:
        parts += [f"\n## {_cell(system.name)}\n", *_run(system)]
    if len(material.runs) > 1:
        parts += ["\n## Changes between runs\n", *_changes(material, pairs_of(material, paired))]
    return "\n".join(parts).rstrip() + "\n"


def _headline(material: Material, paired: Mapping[str, Difference]) -> Iterator[str]:
    first = material.first
    facts = facts_of(first)
    yield f"{facts['n']:,} mentions of {facts['documents']:,} documents, protocol `{facts['protocol']}`. Fractions; 95 % intervals over documents."
    if paired:
        yield f"Differences are from {_cell(first.name)}; p by sign flips of documents, Holm over this table."
    yield ""
    rows = []
    for system in material.systems:
        found, one = facts_of(system), paired.get(system.name)
        versus = (f"{one.delta:+.3f}", _range(one.ci95), _p(one.p_sign_flip), _p(one.p_holm)) if one else ("", "", "", "")
        rows.append((system.name, system.kind, _score(found["recall_at_1"]), _range(found["ci95"]), f"{found['correct']:,}", *versus))
    yield from _table(("system", "", "Recall@1", "95 %", "right", "difference", "95 %", "p", "p, Holm"), rows)


def _run(system: System) -> Iterator[str]:
    yield from _table(("metric", "score", "95 %"), [(figure.name, _score(figure.value), _range(figure.ci95)) for figure in metric_rows(system)])
    yield "\n### Strata\n"
    strata = [(f"{row.kind}: {row.value}", _score(row.recall_at_1), _range(row.ci95), f"{row.n:,}") for row in strata_rows(system)]
    yield from _table(("stratum", "Recall@1", "95 %", "n"), strata)
    if cells := cells_of(system):
        yield "\n### Concept and mention, seen or not\n"
        rows = [(cell.kind, cell.value, _score(cell.recall_at_1), _range(cell.ci95), f"{cell.n:,}") for cell in cells]
        yield from _table(("concept in training", "mention text", "Recall@1", "95 %", "n"), rows)
    yield "\n### Ledger of misses\n"
    lines = ledger_rows(system.run.report["ledger"])
    total = ("1 − Recall@1", f"{sum(line.n for line in lines):,}", _score(sum(line.share for line in lines)))
    yield from _table(("first cause", "mentions", "costs"), [*((line.cause, f"{line.n:,}", _score(line.share)) for line in lines), total])
    yield "\n### Confidence\n"
    values = confidence_values(system)
    measures = _table(("measure", "value", "95 %"), [(figure.name, _score(figure.value), _range(figure.ci95)) for figure in values])
    yield from measures if values else ("No prediction carries a confidence in [0, 1].",)
    if values and (nil := system.run.report["confidence"].get("nil")):
        yield f"\nOf these answers {nil:,} are of mentions that are not in the knowledge base; an answer there is wrong."
    yield "\n### Groups\n"
    yield from _confusion(system)
    yield "\n### Hierarchy\n"
    yield from _hierarchy(system)
    yield "\n### Recipe\n"
    yield from _recipe(system)


def _confusion(system: System) -> Iterator[str]:
    found = confusion_of(system)
    if not found:
        yield "Gold and answers are of one group."
        return
    rows = [(gold, *(f"{n:,}" for n in counts)) for gold, counts in zip(found.gold, found.counts, strict=True)]
    yield from _table(("gold \\ answer", *found.predicted), rows)


def _hierarchy(system: System) -> Iterator[str]:
    rows = hierarchy_rows(system)
    if not rows:
        yield "No miss has a place in a hierarchy."
        return
    misses = len(misses_of(system))
    yield from _table(("the answer is", "misses", "share"), [(row.label, f"{row.n:,}", _score(row.n / misses)) for row in rows])
    if within := within_rows(system):
        yield ""
        yield from _table(("where this counts as right", "Recall@1", "95 %"), [(figure.name, _score(figure.value), _range(figure.ci95)) for figure in within])


def _recipe(system: System) -> Iterator[str]:
    run = system.run
    yield f"- command: {_code(command_of(system))}" if run.command else "- command: not recorded"
    yield from (f"- {_cell(name)}: {_code(digest)}" for name, digest in sorted(run.digests.items()))
    yield f"- versions: {_cell(', '.join(f'{name} {version}' for name, version in run.versions.items()))}"
    yield "- speed and memory: " + (_cell(", ".join(f"{name} {value}" for name, value in run.speed.items())) if run.speed else "not recorded")
    yield "- training: " + ("recorded; see evaluation.json" if run.recipe else "no record")


def _changes(material: Material, pairs: Sequence[Versus]) -> Iterator[str]:
    runs = len(material.runs)
    rows = []
    for pair in pairs:
        if pair.before < runs:
            one = pair.difference
            names = material.systems[pair.before].name, material.systems[pair.after].name
            rows.append((*names, f"{one.only_a:g}", f"{one.only_b:g}", f"{one.delta:+.3f}", _range(one.ci95), _p(one.p_sign_flip)))
    yield from _table(("from", "to", "better", "worse", "difference", "95 %", "p"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(header)
    yield _line(["---", *["--:"] * (len(header) - 1)])
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    # Names of systems, groups and strata come from files: none may end a cell or begin markup, least of all an image that a viewer fetches.
    return re.sub(r"([\\|\[\]`])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _range(interval: Interval) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
