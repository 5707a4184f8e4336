"""The report page of a generation folder: one HTML file without scripts and without anything fetched from elsewhere.

Files are read a row at a time and only counts and a seeded sample of examples are kept, one count per concept at most.
Generated text is hostile until shown otherwise: all of it is escaped, set apart from its surroundings, and cut.
"""

import html
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from data_gen.folder import DOCUMENTS, REJECTED, REPORT, SCORES
from syncabel.corpora.jsonl import whole_file
from syncabel.errors import FormatError, IncompleteFolderError

__all__ = ["WITHHELD", "write_page"]

# What was rejected for one of these may be a sentence of somebody's notes: it is counted and never shown.
WITHHELD = frozenset({"shot_copy", "held_out_overlap", "personal_data"})
_SHOWN = {"group": 3, "reason": 4}  # examples of each
_CUT = 500  # code points of an example
_PER_CONCEPT = ((0, "none"), (1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5"), (10, "6 to 10"), (20, "11 to 20"))
_RANKS = ((1, "first"), (3, "2 or 3"), (10, "4 to 10"))
_UNRANKED = "not in the first 10"
_TENTHS = 10
_UNKNOWN = "(group not known)"
_AGAIN = "generate the folder again"
_TEMPLATE = Path(__file__).with_name("report.html")

Row = dict[str, Any]


def write_page(folder: Path, out: Path, groups: Mapping[str, str] | None = None, seed: int = 0, withheld: Callable[[str], bool] | None = None) -> None:
    """Write the report page of a folder that `syncabel generate` wrote.

    Args:
        folder: with report.json, documents.jsonl and rejected.jsonl, and scores.jsonl where scores were recorded.
        out: the page; there whole or not at all.
        groups: group of each code; without it, groups are those of the mentions' types, and a concept of which nothing was
            kept is of no known group.
        seed: of the examples drawn.
        withheld: says of a text that it must not be shown, e.g. because it repeats a style example of a private corpus: what a gate before
            the one against copies refuses may still be a copy.

    Raises:
        IncompleteFolderError: a file is missing.
        FormatError: a row is not what it should be; the message holds none of its text.
    """
    report = _report(folder / REPORT)
    show = (lambda _: True) if withheld is None else lambda text: not withheld(text)
    kept = _kept(folder / DOCUMENTS, groups or {}, _Samples(_SHOWN["group"], seed, show))
    rejected = _rejected(folder / REJECTED, groups or {}, kept, _Samples(_SHOWN["reason"], seed, show))
    scores = _scores(folder / SCORES)
    page = _page(report, kept, rejected, scores)
    with whole_file(out) as file:
        file.write(page)


class _Example(NamedTuple):
    """A text, the concept it was written for, and where mentions stand in it."""

    text: str
    code: str
    spans: Sequence[tuple[int, int]] = ()


class _Samples:
    """So many examples per key, each with the same chance (reservoir sampling, Vitter's algorithm R).

    Args:
        size: examples of each key.
        seed: each key has a generator of its own, so its examples do not depend on the other keys.
        show: whether a text may be shown.
    """

    def __init__(self, size: int, seed: int, show: Callable[[str], bool]) -> None:
        self._size, self._seed, self._show = size, seed, show
        self._items: dict[str, list[_Example]] = {}
        self._draws: dict[str, random.Random] = {}
        self._seen: Counter[str] = Counter()

    def __getitem__(self, key: str) -> list[_Example]:
        return self._items.get(key, [])

    def offer(self, key: str, example: _Example) -> None:
        """Keep an example, or not."""
        if key not in self._draws:
            self._draws[key], self._items[key] = random.Random(f"{self._seed} {key}"), []
        self._seen[key] += 1
        items = self._items[key]
        place = len(items) if len(items) < self._size else self._draws[key].randrange(self._seen[key])
        # Asked of the few that are drawn, for asking may be dear.
        if place < self._size and self._show(example.text):
            items[place : place + 1] = [example]


@dataclass(slots=True)
class _Kept:
    """What documents.jsonl holds.

    Attributes:
        groups: documents per group.
        concepts: documents per code.
        group_of: of each code met.
        examples: by group.
    """

    examples: _Samples
    groups: Counter[str] = field(default_factory=Counter)
    concepts: Counter[str] = field(default_factory=Counter)
    group_of: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Rejected:
    """What rejected.jsonl holds.

    Attributes:
        reasons, groups: rejections per reason, and per group.
        concepts: codes that something was rejected of.
        examples: by reason.
    """

    examples: _Samples
    reasons: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    concepts: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Scores:
    """What scores.jsonl holds: mentions, those that are another concept's name, and how many by rank and by tenth of distance."""

    mentions: int = 0
    other: int = 0
    ranks: Counter[str] = field(default_factory=Counter)
    tenths: Counter[int] = field(default_factory=Counter)


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                # A writer's model may have written half a surrogate pair, which is no UTF-8.
                row = json.loads(line.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                raise FormatError("not JSON", path, number, _AGAIN) from None
            if not isinstance(row, dict):
                raise FormatError("not a JSON object", path, number, _AGAIN)
            yield number, row


def _each(path: Path, take: Callable[[Row], None]) -> None:
    if not path.exists():
        raise IncompleteFolderError(f"{path} is missing; {_AGAIN}")
    for number, row in _rows(path):
        try:
            take(row)
        except (LookupError, TypeError, AttributeError, ValueError):
            raise FormatError("misses a field or has one of another type", path, number, _AGAIN) from None


def _report(path: Path) -> Row:
    if not path.exists():
        raise IncompleteFolderError(f"{path} is missing; {_AGAIN}")
    try:
        report = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise FormatError("not JSON", path, hint=_AGAIN) from None
    counts = ("requested", "generated", "kept", "missing")
    if not isinstance(report, dict) or not all(isinstance(report.get(name), int) for name in counts) or not isinstance(report.get("rejected"), dict):
        raise FormatError(f"should hold {', '.join(counts)} and rejected by reason", path, hint=_AGAIN)
    return report


def _kept(path: Path, groups: Mapping[str, str], examples: _Samples) -> _Kept:
    found = _Kept(examples)

    def take(row: Row) -> None:
        if row.get("source", "human") != "synthetic":
            raise TypeError("a human document")
        code = str(row["provenance"]["concept"])
        mentions = row.get("mentions", [])
        group = groups.get(code) or str((mentions[0].get("type") if mentions else None) or _UNKNOWN)
        found.groups[group] += 1
        found.concepts[code] += 1
        found.group_of[code] = group
        found.examples.offer(group, _Example(str(row["text"]), code, _spans(mentions)))

    _each(path, take)
    return found


def _spans(mentions: Sequence[Row]) -> list[tuple[int, int]]:
    """Where the mentions stand, in text order and none overlapping the one before."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted((int(span["start"]), int(span["end"])) for mention in mentions for span in mention["spans"]):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans


def _rejected(path: Path, groups: Mapping[str, str], kept: _Kept, examples: _Samples) -> _Rejected:
    found = _Rejected(examples)

    def take(row: Row) -> None:
        code, reason = str(row["code"]), str(row["reason"])
        found.reasons[reason] += 1
        found.groups[groups.get(code) or kept.group_of.get(code) or _UNKNOWN] += 1
        found.concepts.add(code)
        if reason not in WITHHELD:
            found.examples.offer(reason, _Example(str(row["text"]), code))

    _each(path, take)
    return found


def _scores(path: Path) -> _Scores | None:
    if not path.exists():
        return None
    found = _Scores()

    def take(row: Row) -> None:
        found.mentions += 1
        found.other += bool(row.get("is_other_concept", False))
        rank = row.get("tfidf_rank")
        found.ranks[_UNRANKED if rank is None else _bin(int(rank), _RANKS, _UNRANKED)] += 1
        if (distance := row.get("distance")) is not None:
            found.tenths[min(_TENTHS - 1, max(0, int(float(distance) * _TENTHS))) if distance else -1] += 1

    _each(path, take)
    return found


def _bin(value: int, bins: Sequence[tuple[int, str]], beyond: str) -> str:
    return next((label for top, label in bins if value <= top), beyond)


def _escaped(value: object) -> str:
    """A text as HTML: quotes and all escaped, what is no visible character replaced, so that nothing turns the line around."""
    return html.escape("".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn") else "\ufffd" for c in str(value)))


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else _escaped(value)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _bar(*parts: tuple[int, str], whole: int) -> str:
    pieces = "".join(f'<i class="{name}" style="width:{100 * part / max(whole, 1):.2f}%"></i>' for part, name in parts if part)
    return f'<div class="bar" aria-hidden="true">{pieces}</div>'


def _table(rows: Iterable[tuple[str, int]], whole: int, colour: str = "") -> str:
    """Labels with a bar, a count and a share each; bars are drawn against the largest."""
    rows = list(rows)
    largest = max((count for _, count in rows), default=0)
    cells = (
        f'<tr><th scope="row"><bdi>{_escaped(label)}</bdi></th><td class="track">{_bar((count, colour), whole=largest)}</td>'
        f"<td>{count:,}</td><td>{_percent(count, whole)}</td></tr>"
        for label, count in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _page(report: Row, kept: _Kept, rejected: _Rejected, scores: _Scores | None) -> str:
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    sections = [
        _reasons_section(report, rejected),
        _groups_section(kept, rejected),
        _concepts_section(kept, rejected),
        "" if scores is None else _scores_section(scores),
        _examples_section("Kept", kept.groups, kept.examples),
        _examples_section("Rejected", rejected.reasons, rejected.examples),
    ]
    return template.substitute(
        title=f"Synthetic sentences: {_escaped(report.get('writer', 'unknown writer'))}",
        subtitle=_subtitle(report),
        warning=_warning(report, kept, rejected),
        figures="\n".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in _figures(report)),
        sections="\n".join(filter(None, sections)),
    )


def _subtitle(report: Row) -> str:
    """What else the report says of the run: texts, numbers and lists of texts; nothing of what is empty."""
    named = {"writer", "requested", "generated", "kept", "rejected", "missing", "seconds"}
    facts = ((key.replace("_", " "), _fact(value)) for key, value in report.items() if key not in named)
    return " · ".join(f"{_escaped(key)} {value}" for key, value in facts if value)


def _fact(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(filter(None, map(_fact, value)))
    if not value or isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    # Of a digest, the beginning is enough to compare by eye.
    return f"{value[:8]}…" if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else _escaped(value)


def _figures(report: Row) -> Iterator[tuple[str, str]]:
    generated, out = report["generated"], sum(report["rejected"].values())
    yield "requested", _count(report["requested"])
    yield "generated", _count(generated)
    yield "kept", f'{_count(report["kept"])} <small class="soft">{_percent(report["kept"], generated)}</small>'
    yield "rejected", f'{_count(out)} <small class="soft">{_percent(out, generated)}</small>'
    yield "missing", _count(report["missing"])
    if isinstance(seconds := report.get("seconds"), int | float):
        yield "time", f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _warning(report: Row, kept: _Kept, rejected: _Rejected) -> str:
    """What does not add up, or nothing."""
    problems = []
    if report["kept"] + sum(report["rejected"].values()) != report["generated"]:
        problems.append("kept and rejected are not what was generated")
    if kept.groups.total() != report["kept"]:
        problems.append(f"{DOCUMENTS} holds {kept.groups.total():,} rows")
    if dict(rejected.reasons) != {reason: count for reason, count in report["rejected"].items() if count}:
        problems.append(f"{REJECTED} holds {rejected.reasons.total():,} rows, or other reasons")
    return f'<p class="warn">The files and {REPORT} do not agree: {_escaped("; ".join(problems))}.</p>' if problems else ""


def _reasons_section(report: Row, rejected: _Rejected) -> str:
    if not rejected.reasons:
        return "<h2>Reasons</h2><p>Nothing was rejected.</p>"
    rows = sorted(rejected.reasons.items(), key=lambda row: (-row[1], row[0]))
    return f'<h2>Reasons</h2><p class="soft">Rejected sentences by reason; shares are of everything generated.</p>{_table(rows, report["generated"], "out")}'


def _groups_section(kept: _Kept, rejected: _Rejected) -> str:
    totals = kept.groups + rejected.groups
    largest = max(totals.values(), default=0)
    cells = (
        f'<tr><th scope="row"><bdi>{_escaped(group)}</bdi></th>'
        f'<td class="track">{_bar((kept.groups[group], ""), (rejected.groups[group], "out"), whole=largest)}</td>'
        f"<td>{total:,}</td><td>{_percent(kept.groups[group], total)}</td></tr>"
        for group, total in sorted(totals.items(), key=lambda row: (-row[1], row[0]))
    )
    note = '<p class="soft key">Generated sentences and the share kept.<i></i>kept<i class="out"></i>rejected</p>'
    return f"<h2>Groups</h2>{note}<table>{''.join(cells)}</table>"


def _concepts_section(kept: _Kept, rejected: _Rejected) -> str:
    counts = Counter(_bin(count, _PER_CONCEPT, "more than 20") for count in kept.concepts.values())
    counts["none"] += len(rejected.concepts - kept.concepts.keys())
    rows = [(label, counts[label]) for label in (*(label for _, label in _PER_CONCEPT), "more than 20") if counts[label]]
    total = counts.total()
    return f'<h2>Sentences per concept</h2><p class="soft">{total:,} concepts by the number of sentences kept of each.</p>{_table(rows, total)}'


def _scores_section(scores: _Scores) -> str:
    total = scores.tenths.total()
    tenths = [("0, a known name", scores.tenths[-1])]
    tenths += [(f"{'up to' if i == 0 else f'{i / _TENTHS:.1f} to'} {(i + 1) / _TENTHS:.1f}", scores.tenths[i]) for i in range(_TENTHS)]
    ranks = [(label, scores.ranks[label]) for label in (*(label for _, label in _RANKS), _UNRANKED) if scores.ranks[label]]
    other = f"{scores.other:,} of {scores.mentions:,} mentions ({_percent(scores.other, scores.mentions)}) are exactly another concept’s name."
    parts = [f'<h2>How far mentions are from known names</h2><p class="soft">Recorded, never a reason to reject. {other}</p>']
    if total:
        parts.append(f"<h3>Distance from the nearest name of the concept, 0 to 1</h3>{_table(tenths, total)}")
    if scores.ranks[_UNRANKED] < scores.mentions:  # somebody ranked
        parts.append(f"<h3>Rank of the concept under TF-IDF</h3>{_table(ranks, scores.mentions)}")
    return "".join(parts)


def _examples_section(title: str, counts: Counter[str], samples: _Samples) -> str:
    if not counts:
        return ""
    listed = (_examples(key, count, samples[key]) for key, count in sorted(counts.items(), key=lambda row: (-row[1], row[0])))
    return f'<h2>{title}: examples</h2><p class="soft">Drawn at random with a fixed seed.</p>{"".join(listed)}'


def _examples(key: str, count: int, examples: Sequence[_Example]) -> str:
    heading = f'<h3><bdi>{_escaped(key)}</bdi> <span class="soft">{count:,}</span></h3>'
    if not examples:
        return f'{heading}<p class="soft">Counted, not shown: these may hold a sentence of somebody else’s, or a person’s data.</p>'
    items = (f'<li><bdi dir="auto">{_marked(one.text, one.spans)}</bdi><small>{_escaped(one.code)}</small></li>' for one in examples)
    return f'{heading}<ul class="examples">{"".join(items)}</ul>'


def _marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text with its mentions marked, cut where it is long."""
    shown, at, pieces = text[:_CUT], 0, []
    for start, end in spans:
        pieces += [_escaped(shown[at:start]), f"<mark>{_escaped(shown[start:end])}</mark>" if start < len(shown) else ""]
        at = end
    return "".join((*pieces, _escaped(shown[at:]), "…" if len(text) > _CUT else ""))
