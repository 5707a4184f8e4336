"""How far two people, or a person and a model, say the same: Cohen's kappa, Krippendorff's alpha, files of labels."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.corpora.syncabel_tsv import table_rows
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.judge.labels import LABELS, Label, as_label
from syncabel.lines import json_lines, text_lines

__all__ = ["Agreement", "Labelled", "agreement_of", "cohen_kappa", "krippendorff_alpha", "read_labels"]

Key = tuple[str, ...]  # document id and mention id; of a published table filename, label, start, end
_PLACE = ("filename", "label", "start_span", "end_span")
_COLUMNS = ("document_id", "mention_id", "label")
_HINT = "give the columns document_id, mention_id, label (.csv, .tsv or .jsonl), or FILE.tsv:COLUMN of a published table"


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float | None:
    """Agreement of two raters beyond chance (Cohen, 1960); None where chance alone would agree always, or nothing is rated.

    Of 50 proposals two readers say yes to 20 and no to 15 together, and differ on 15: they agree on 0.7, chance would on 0.5.

    >>> first = ["yes"] * 25 + ["no"] * 25
    >>> second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    >>> round(cohen_kappa(first, second), 12)
    0.4

    Args:
        first, second: what each said of the same things. Shape: (things,).

    Raises:
        ConfigError: lengths that differ.
    """
    n = len(first)
    if n != len(second):
        raise ConfigError(f"{n} labels against {len(second)}; give both raters' labels of the same things")
    one, other = Counter(first), Counter(second)
    # In whole numbers, so that perfect agreement is exactly 1 and chance agreement exactly 0.
    same, chance = n * sum(a == b for a, b in zip(first, second, strict=True)), sum(count * other[label] for label, count in one.items())
    return None if chance == n * n else (same - chance) / (n * n - chance)


def krippendorff_alpha(units: Sequence[Sequence[object | None]]) -> float | None:
    """Agreement of any number of raters beyond chance for nominal labels, some of them missing (Krippendorff, 2011); None where nothing varies.

    alpha = 1 - observed / expected disagreement, over the pairs of labels within a unit; a unit with one label pairs with nothing.

    >>> first, second = "aabbdcccedda", "babbbccceddd"
    >>> round(krippendorff_alpha(list(zip(first, second))), 3)
    0.692

    Args:
        units: what the raters said of each thing, in any order; None where one said nothing. Shape: (things, raters), rows may differ.
    """
    pairable = [values for values in ([label for label in unit if label is not None] for unit in units) if len(values) > 1]
    totals = Counter(label for values in pairable for label in values)
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return None
    observed = sum((len(values) ** 2 - sum(count * count for count in Counter(values).values())) / (len(values) - 1) for values in pairable)
    return 1 - (n - 1) * observed / expected


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a file says of one mention.

    Attributes:
        label: in our words.
        equal: the codes are equal, so that nobody was asked.
    """

    label: Label
    equal: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two raters on the same mentions.

    Attributes:
        n: mentions that both labelled.
        same: share of them with the same label, a fraction; None where n is 0.
        kappa, alpha: Cohen's and Krippendorff's; None where nothing varies.
        confusion: label of the first -> label of the second -> mentions; labels that do not occur are left out.
    """

    n: int
    same: float | None
    kappa: float | None
    alpha: float | None
    confusion: Mapping[str, Mapping[str, int]]


def agreement_of(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """How far two raters agree on the same mentions.

    >>> agreement_of(["broader", "related"], ["broader", "unrelated"]).confusion
    {'related': {'unrelated': 1}, 'broader': {'broader': 1}}

    Args:
        first, second: their labels. Shape: (mentions,).

    Raises:
        ConfigError: lengths that differ.
    """
    kappa, pairs = cohen_kappa(first, second), list(zip(first, second, strict=True))
    counts = Counter(pairs)
    words = [*LABELS, *sorted({*first, *second}.difference(LABELS))]
    confusion = {a: row for a in words if (row := {b: counts[a, b] for b in words if counts[a, b]})}
    same = sum(a == b for a, b in pairs) / len(pairs) if pairs else None
    return Agreement(len(pairs), same, kappa, krippendorff_alpha(pairs), confusion)


def read_labels(source: str | Path) -> dict[Key, Labelled]:
    """The labels of a file by mention: `labels.jsonl`, a table of a person's, or a column of a published table.

    Rows without a label are passed over: nothing was said of them.  In a published table the first of several rows of one place counts.

    Args:
        source: a path; of a published table `FILE.tsv:COLUMN`.

    Raises:
        FormatError: a column is missing, a label unknown, or a mention labelled twice; never with a text of the file.
    """
    path, column = _place(source)
    if column:
        return _published(path, column)
    found: dict[Key, Labelled] = {}
    for number, row in _rows(path):
        key, word = (str(row["document_id"]), str(row["mention_id"])), row["label"]
        if word is None or not str(word).strip():
            continue
        if key in found:
            raise FormatError(f"mention {key[1]!r} of document {key[0]!r} is labelled twice", path, number, "leave one label a mention")
        found[key] = _labelled(str(word), path, number, row.get("how") == "equal")
    return found


def _place(source: str | Path) -> tuple[Path, str]:
    name, colon, column = str(source).rpartition(":")
    return (Path(name), column) if colon and not Path(source).exists() else (Path(source), "")


def _published(path: Path, column: str) -> dict[Key, Labelled]:
    _, rows = table_rows(path, (*_PLACE, column))
    found: dict[Key, Labelled] = {}
    for row in rows:
        if row.cells is None:
            raise FormatError(row.problem, path, row.number, "one row a line, tabs between columns")
        key, word = tuple(row.cells[name] for name in _PLACE), row.cells[column]
        if word.strip() and key not in found:
            found[key] = _labelled(word, path, row.number, word.strip() == "STRICT")
    return found


def _labelled(word: str, path: Path, number: int, equal: bool) -> Labelled:
    try:
        return Labelled(as_label(word), equal)
    except UnknownNameError:
        # The word itself may be a sentence of a note where the columns are in disorder.
        raise FormatError(f"the label is none of {', '.join(LABELS)}, nor a published word", path, number, "correct it") from None


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    is_json = path.name.removesuffix(".gz").endswith((".jsonl", ".json"))
    rows = json_lines(path, _HINT) if is_json else _table(path)
    for number, row in rows:
        if not isinstance(row, dict) or any(name not in row for name in _COLUMNS):
            raise FormatError("not the columns of labels", path, number, _HINT)
        yield number, row


def _table(path: Path) -> Iterator[tuple[int, Any]]:
    lines = text_lines(path)
    header = _cells(path, *next(lines))
    for number, line in lines:
        if line.strip():
            yield number, dict(zip(header, _cells(path, number, line), strict=False))


def _cells(path: Path, number: int, line: str) -> list[str]:
    separator = "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a cell longer than the module reads: its message is harmless, its type is not ours
        raise FormatError("not a row of a table", path, number, _HINT) from None
