"""From concepts to tables: names made clean, links checked, rows in code order.

    concepts   the fields of Concept but its names, one row a concept, sorted by code
    names      the concept's row, then the fields of Name; in concept order, a concept's names in their own order
    relations  the fields of Relation, sorted

What cannot be kept becomes a Rejection; only what makes the whole unreadable (a code twice, a cycle) raises.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import FormatError
from syncabel.prompt import check_group
from syncabel.text import clean_name, control_character
from syncabel.types import Concept, Name, Rejection, Relation, Scope

__all__ = ["CONCEPT_FIELDS", "NAME_FIELDS", "Tables", "parent_edges", "tables_of"]

T = TypeVar("T")
_BATCH = 65_536  # rows converted or hashed at a time, so that no more of them are Python objects at once
_POLARS: dict[Any, Any] = {
    str: pl.String,
    str | None: pl.String,
    Scope: pl.String,
    bool: pl.Boolean,
    int: pl.Int32,
    tuple[str, ...]: pl.List(pl.String),
}


def _schema(kind: type, *without: str) -> dict[str, Any]:
    """Column name -> polars type of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: _POLARS[hints[field.name]] for field in dataclasses.fields(kind) if field.name not in without}


_CONCEPTS = _schema(Concept, "names")
_NAMES = {"concept": pl.UInt32, **_schema(Name)}
_RELATIONS = _schema(Relation)
CONCEPT_FIELDS = tuple(_CONCEPTS)
NAME_FIELDS = tuple(_schema(Name))


@dataclass(frozen=True)
class Tables:
    """The content of a knowledge base; see the top of the module for columns and order."""

    concepts: pl.DataFrame
    names: pl.DataFrame
    relations: pl.DataFrame

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all columns, `_BATCH` rows at a time; files and compression play no part."""
        seen = hashlib.sha256()
        for frame in (self.concepts, self.names, self.relations):
            seen.update(_canonical([frame.columns, frame.height]))
            for start in range(0, frame.height, _BATCH):
                for column in frame.slice(start, _BATCH):
                    seen.update(_canonical(column.to_list()))
        return seen.hexdigest()

    def ambiguous_names(self) -> int:
        """How many distinct strings are a name of two concepts or more."""
        return self.names.group_by("text").agg(pl.col("concept").n_unique()).filter(pl.col("concept") > 1).height

    def subset(self, rows: NDArray[np.int64]) -> "Tables":
        """The tables of some concepts (ascending rows); relations with both ends among them.  Parents stay as they are stated."""
        concepts = self.concepts[rows]
        place = np.full(self.concepts.height, -1, np.int64)
        place[rows] = np.arange(len(rows))
        moved = self.names.with_columns(pl.Series("concept", place[self.names["concept"].to_numpy()]))
        kept = concepts["code"].implode()
        relations = self.relations.filter(pl.col("source").is_in(kept) & pl.col("target").is_in(kept))
        return Tables(concepts, moved.filter(pl.col("concept") >= 0).cast({"concept": pl.UInt32}), relations)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def tables_of(entries: Iterable[Concept | Rejection], relations: Iterable[Relation], where: str) -> tuple[Tables, list[Rejection]]:
    """Tables and what was left out, the rejections of the reader first.

    Args:
        entries: concepts in any order, and what a reader rejected.
        relations: relationships other than is_a.
        where: named in rejections, the source for instance.

    Raises:
        FormatError: a code comes twice, a concept has no group, is_a runs in a circle, or no concept is left.
        MarkupError: a group's name could not be written in a prompt.
    """
    rejections: list[Rejection] = []
    concepts, names = _sorted(*_frames(_cleaned(entries, where, rejections)))
    _check_codes(concepts, where)
    concepts = _one_to_one(concepts, where, rejections)
    _report_unknown_parents(concepts, where, rejections)
    _check_acyclic(concepts, where)
    return Tables(concepts, names, _relations(relations, concepts, where, rejections)), rejections


def _cleaned(entries: Iterable[Concept | Rejection], where: str, rejections: list[Rejection]) -> Iterator[Concept]:
    groups: set[str] = set()
    for entry in entries:
        if isinstance(entry, Rejection):
            rejections.append(entry)
            continue
        if not entry.groups:
            raise FormatError(f"{where}: concept {entry.code!r} has no group", hint="give it one, e.g. with --group")
        groups.update(check_group(group) for group in entry.groups if group not in groups)
        concept, faults = _clean(entry, where)
        rejections.extend(faults)
        if concept is not None:
            yield concept


def _clean(concept: Concept, where: str) -> tuple[Concept | None, list[Rejection]]:
    """A concept with clean, distinct names, or None where it has no code or no name left; and what was left out."""
    if not concept.code.strip() or control_character(concept.code):
        return None, [Rejection(where, ascii(concept.code), "bad_code", ascii(concept.code))]
    kept: dict[str, Name] = {}
    faults = []
    for name in concept.names:
        text = clean_name(name.text)
        if reason := _fault(name.text, text, kept):
            faults.append(Rejection(where, concept.code, reason, _printable(name.text)))
            # A table may list the preferred name once more as a synonym before it; which of the two is preferred is kept.
            if reason == "duplicate_name" and name.preferred:
                kept[text] = replace(kept[text], preferred=True)
        else:
            kept[text] = replace(name, text=text)
    if not kept:
        return None, [*faults, Rejection(where, concept.code, "no_name", "; ".join(_printable(name.text) for name in concept.names))]
    return replace(concept, names=tuple(kept.values())), faults


def _fault(raw: str, text: str, kept: dict[str, Name]) -> str | None:
    """The reason a name is left out, or None.  Looks at the raw text: a line feed inside a name is no white space to be mended."""
    if control_character(raw):
        return "control_character"
    if not text:
        return "empty_name"
    return "duplicate_name" if text in kept else None


def _printable(text: str) -> str:
    return ascii(text) if control_character(text) else text


def _frames(concepts: Iterator[Concept]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Concepts in the order they come; names with the number of their concept."""
    concept_frames, name_frames = [pl.DataFrame(schema=_CONCEPTS)], [pl.DataFrame(schema=_NAMES)]
    first = 0
    while batch := list(islice(concepts, _BATCH)):
        rows = [tuple(getattr(concept, field) for field in CONCEPT_FIELDS) for concept in batch]
        names = [(i, *(getattr(name, field) for field in NAME_FIELDS)) for i, concept in enumerate(batch, first) for name in concept.names]
        concept_frames.append(pl.DataFrame(rows, schema=_CONCEPTS, orient="row"))
        name_frames.append(pl.DataFrame(names, schema=_NAMES, orient="row"))
        first += len(batch)
    return pl.concat(concept_frames), pl.concat(name_frames)


def _sorted(concepts: pl.DataFrame, names: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables by code; a concept's names keep their order, which decides ties later."""
    order = concepts["code"].arg_sort().to_numpy()
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    moved = names.with_columns(pl.Series("concept", place[names["concept"].to_numpy()], pl.UInt32))
    return concepts[order], moved.sort("concept", maintain_order=True)


def _check_codes(concepts: pl.DataFrame, where: str) -> None:
    if concepts.is_empty():
        raise FormatError(f"{where}: no concept", hint="give a source with at least one concept that has a name")
    repeated = concepts["code"].filter(concepts["code"].is_duplicated())
    if len(repeated):
        raise FormatError(f"{where}: code {repeated[0]!r} stands for several concepts", hint="merge them, or give each its own code")


def _listed(concepts: pl.DataFrame, column: str) -> pl.DataFrame:
    """(row, code, one value of a list column), in order."""
    return concepts.select(pl.row_index("row"), "code", column).filter(pl.col(column).list.len() > 0).explode(column)


def _one_to_one(concepts: pl.DataFrame, where: str, rejections: list[Rejection]) -> pl.DataFrame:
    """Without the alternative codes that are no one-to-one link: those of a concept of their own, or claimed by two."""
    pairs = _listed(concepts, "alt_codes")
    live = pl.col("alt_codes").is_in(concepts["code"].implode())
    claimed = pl.col("code").n_unique().over("alt_codes") > 1
    bad = pairs.with_columns(live=live, claimed=claimed).filter(pl.col("live") | pl.col("claimed"))
    for code, alternative, is_live in bad.select("code", "alt_codes", "live").iter_rows():
        rejections.append(Rejection(where, code, "alt_code_is_a_concept" if is_live else "alt_code_claimed_twice", alternative))
    if bad.is_empty():
        return concepts
    names = bad["alt_codes"].unique().to_list()
    return concepts.with_columns(pl.col("alt_codes").list.filter(~pl.element().is_in(names)))


def _report_unknown_parents(concepts: pl.DataFrame, where: str, rejections: list[Rejection]) -> None:
    """The statement stays in the table; walks up and down the hierarchy leave it out."""
    unknown = _listed(concepts, "parents").filter(~pl.col("parents").is_in(concepts["code"].implode()))
    rejections.extend(Rejection(where, code, "unknown_parent", parent) for code, parent in unknown.select("code", "parents").iter_rows())


def parent_edges(concepts: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of children and of their known parents, by child row, parents in the order stated. Shapes: (edges,), (edges,)."""
    rows = concepts.select(pl.col("code").alias("parents"), pl.row_index("parent"))
    pairs = _listed(concepts, "parents").join(rows, on="parents", how="inner", maintain_order="left")
    return pairs["row"].to_numpy().astype(np.int64), pairs["parent"].to_numpy().astype(np.int64)


def _check_acyclic(concepts: pl.DataFrame, where: str) -> None:
    """Take the roots away again and again; what is left has parents without end, so climbing it runs into a circle."""
    child, parent = parent_edges(concepts)
    while len(child):
        has_parent = np.bincount(child, minlength=concepts.height) > 0
        inner = has_parent[parent]
        if inner.all():
            break
        child, parent = child[inner], parent[inner]
    if len(child):
        circle = " → ".join(concepts["code"][row] for row in _circle(child, parent))
        raise FormatError(f"{where}: is_a runs in a circle: {circle}", hint="remove one of these is_a links")


def _circle(child: NDArray[np.int64], parent: NDArray[np.int64]) -> list[int]:
    """A circle among edges in which every parent has a parent; its first row comes last again."""
    up = dict(zip(child.tolist(), parent.tolist(), strict=True))
    path: dict[int, None] = {}
    row = int(child[0])
    while row not in path:
        path[row] = None
        row = up[row]
    rows = list(path)
    return [*rows[rows.index(row) :], row]


def _relations(relations: Iterable[Relation], concepts: pl.DataFrame, where: str, rejections: list[Rejection]) -> pl.DataFrame:
    """Distinct relations between known concepts, sorted."""
    frame = pl.DataFrame([dataclasses.astuple(relation) for relation in relations], schema=_RELATIONS, orient="row").unique()
    codes = concepts["code"].implode()
    known = pl.col("source").is_in(codes) & pl.col("target").is_in(codes)
    for source, kind, target, _ in frame.filter(~known).sort(frame.columns).iter_rows():
        rejections.append(Rejection(where, source, "unknown_relation_end", f"{source} {kind} {target}"))
    return frame.filter(known).sort(frame.columns)
