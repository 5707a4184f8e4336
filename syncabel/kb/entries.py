"""From a stream of entries to columns: what a reader yields, batch by batch, as `Frames`."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import polars as pl

from syncabel.kb.vocabulary import CONCEPTS, MAPS, NAMES, RELATIONS, RETIRED, Entry, Frames
from syncabel.types import Concept, MapRule, Rejection, Relation, Retired

__all__ = ["frames_of", "rows_frame"]

Kept: TypeAlias = Concept | Relation | Retired | MapRule
Columns: TypeAlias = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]

_BATCH = 65_536  # rows that are Python objects at the same time
_SMALLEST, _LARGEST = -(1 << 31), (1 << 31) - 1  # of a number in a column
_UNFIT = (UnicodeEncodeError, OverflowError, TypeError, pl.exceptions.PolarsError)


def frames_of(entries: Iterable[Entry]) -> Frames:
    """A stream of entries as columns.

    What cannot stand in a column becomes a rejection: half a surrogate pair (`bad_code`, `control_character`), a number of more than
    32 bits (`bad_value`).
    """
    batches: list[Columns] = [_columns([])]
    rejections: list[Rejection] = []
    stream = iter(entries)
    while batch := list(islice(stream, _BATCH)):
        rejections += [entry for entry in batch if isinstance(entry, Rejection)]
        kept: list[Kept] = [entry for entry in batch if not isinstance(entry, Rejection)]
        try:
            batches.append(_columns(kept))
        except _UNFIT:
            batches.append(_columns([fit for entry in kept for fit in _fitting(entry, rejections)]))
    concepts, names, relations, retired, maps = (pl.concat(parts) for parts in zip(*batches, strict=True))
    return Frames(concepts, names, relations, retired, maps, tuple(rejections))


def rows_frame(rows: Sequence[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    """Tuples as a table."""
    return pl.DataFrame(rows, schema=schema, orient="row")


def _columns(entries: Sequence[Kept]) -> Columns:
    concepts = [entry for entry in entries if isinstance(entry, Concept)]
    names = [(concept.code, name.text, name.language, name.scope, name.preferred) for concept in concepts for name in concept.names]
    return (
        _fields(concepts, CONCEPTS),
        rows_frame(names, NAMES),
        _fields([entry for entry in entries if isinstance(entry, Relation)], RELATIONS),
        _fields([entry for entry in entries if isinstance(entry, Retired)], RETIRED),
        _fields([entry for entry in entries if isinstance(entry, MapRule)], MAPS),
    )


def _fields(entries: Sequence[Kept], schema: dict[str, Any]) -> pl.DataFrame:
    return rows_frame([tuple(getattr(entry, field) for field in schema) for entry in entries], schema)


def _fitting(entry: Kept, rejections: list[Rejection]) -> Iterator[Kept]:
    """The entry, or what of it can stand in columns."""
    if isinstance(entry, Concept):
        bad = [name for name in entry.names if _has_surrogate(name.text)]
        rejections.extend(Rejection("", ascii(entry.code), "control_character", ascii(name.text)) for name in bad)
        entry = dataclasses.replace(entry, names=tuple(name for name in entry.names if name not in bad))
    values = list(_values(dataclasses.astuple(entry)))
    code = entry.source if isinstance(entry, Relation) else entry.code
    if any(_has_surrogate(value) for value in values if isinstance(value, str)):
        rejections.append(Rejection("", ascii(code), "bad_code" if _has_surrogate(code) else "control_character", ascii(entry)))
    elif not all(_SMALLEST <= value <= _LARGEST for value in values if isinstance(value, int)):
        rejections.append(Rejection("", code, "bad_value", ascii(entry)))
    else:
        yield entry


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for item in value:
            yield from _values(item)
    else:
        yield value


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
