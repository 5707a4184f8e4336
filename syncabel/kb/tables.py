"""From what a reader hands back to tables: names made clean, links checked, rows in code order.

    concepts   the fields of Concept but its names, one row a concept, sorted by code
    names      the concept's row, then the fields of Name; in concept order, a concept's names in their own order
    relations  retired  maps: the fields of Relation, Retired and MapRule, sorted

Everything is done on columns, so ten million names are never Python objects.  What cannot be kept becomes a row of
`rejections`; only what makes the whole unreadable (a code twice, a cycle, a concept without group) raises.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import FormatError
from syncabel.kb.entries import frames_of, rows_frame
from syncabel.kb.hierarchy import check_acyclic, listed
from syncabel.kb.vocabulary import CONCEPTS, NAMES, Entry, Frames, schema_of
from syncabel.prompt import check_group
from syncabel.strings import StringTable
from syncabel.types import Rejection, Scope

__all__ = ["LISTS", "TABLES", "Tables", "codes_in_use", "joined", "string_table", "tables_of"]

TABLES = ("concepts", "names", "relations", "retired", "maps")
LISTS = tuple(name for name, kind in CONCEPTS.items() if isinstance(kind, pl.List))
_REJECTIONS = schema_of(Rejection)
_HASHED = 1 << 18  # rows whose text is hashed or joined at a time
_NAME_COLUMNS = ("concept", *(column for column in NAMES if column != "code"))
_SCOPES = pl.Enum(get_args(Scope))
# Control, private-use and unassigned characters; surrogates never get into a column.
_CONTROL = r"[\p{Cc}\p{Co}\p{Cn}]"
_UNTIDY = r"^\s|\s$|\s\s|[^\S ]"


@dataclass(frozen=True)
class Tables:
    """The content of a knowledge base; see the top of the module for columns and order."""

    concepts: pl.DataFrame
    names: pl.DataFrame
    relations: pl.DataFrame
    retired: pl.DataFrame
    maps: pl.DataFrame

    def digest(self) -> str:
        """SHA-256 of names, lengths and bytes of all columns in row order; files and compression play no part."""
        seen = hashlib.sha256()
        for name in TABLES:
            frame: pl.DataFrame = getattr(self, name)
            seen.update(json.dumps([name, frame.columns, frame.height]).encode())
            for column in frame:
                _hash_column(column, seen)
        return seen.hexdigest()

    def ambiguous(self) -> pl.DataFrame:
        """Strings that are a name of two concepts or more, sorted. Columns: text, concepts (how many)."""
        # A concept has a string once, or once a language; strings that stand once can be left out at once.
        several = self.names.lazy().filter(pl.col("text").is_duplicated()).group_by("text").agg(concepts=pl.col("concept").n_unique())
        return several.filter(pl.col("concepts") > 1).sort("text").collect()

    def subset(self, rows: NDArray[np.int64]) -> "Tables":
        """The tables of some concepts (ascending rows); relations with both ends among them.  Parents stay as they are stated."""
        concepts = self.concepts[rows]
        place = np.full(self.concepts.height, -1, np.int64)
        place[rows] = np.arange(len(rows))
        moved = self.names.with_columns(pl.Series("concept", place[self.names["concept"].to_numpy()]))
        kept = concepts["code"].implode()
        relations = self.relations.filter(pl.col("source").is_in(kept) & pl.col("target").is_in(kept))
        names = moved.filter(pl.col("concept") >= 0).cast({"concept": pl.UInt32})
        return Tables(concepts, names, relations, self.retired, self.maps.filter(pl.col("code").is_in(kept)))


def _hash_column(column: pl.Series, seen: Any) -> None:
    if isinstance(column.dtype, pl.List):
        seen.update(column.list.len().cast(pl.Int64).to_numpy().tobytes())
        column = column.filter(column.list.len() > 0).explode()
    if column.dtype.is_integer() or column.dtype == pl.Boolean:
        seen.update(column.cast(pl.Int64).to_numpy().tobytes())
        return
    column = column.cast(pl.String)
    for part in (column.slice(start, _HASHED) for start in range(0, len(column), _HASHED)):
        # A missing value and an empty one differ in their length, -1 and 0.
        seen.update(part.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy().tobytes())
        seen.update(joined(part))


def joined(column: pl.Series) -> bytes:
    """The UTF-8 bytes of all strings of a column, one after the other."""
    text: str | None = column.str.join("").item() if len(column) else None
    return (text or "").encode()


def string_table(column: pl.Series) -> StringTable:
    """A column of strings, none missing, in its order; never more than a part of them is joined at a time."""
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(column.str.len_bytes().to_numpy(), out=offsets[1:])
    blob = np.empty(int(offsets[-1]), np.uint8)
    for start in range(0, len(column), _HASHED):
        part = np.frombuffer(joined(column.slice(start, _HASHED)), np.uint8)
        blob[offsets[start] : offsets[start] + len(part)] = part
    return StringTable(blob, offsets)


def rejected(frame: pl.DataFrame, where: str, reason: str, text: pl.Expr) -> pl.DataFrame:
    """Rejections for the rows of a frame with a column `code`."""
    return frame.select(where=pl.lit(where), code=pl.col("code"), reason=pl.lit(reason), text=text)


def tables_of(content: Iterable[Entry] | Frames, where: str) -> tuple[Tables, pl.DataFrame]:
    """Tables and what was left out, the reader's own rejections first.

    Args:
        content: what a reader handed back.
        where: named in rejections, the source for instance.

    Returns:
        The tables, and rejections with the columns of `Rejection`.

    Raises:
        FormatError: a code comes twice, a concept has no group, is_a runs in a circle, or no concept is left.
        MarkupError: a group's name could not be written in a prompt.
    """
    frames = content if isinstance(content, Frames) else frames_of(content)
    rejections = [rows_frame([tuple(map(_encodable, dataclasses.astuple(entry))) for entry in frames.rejections], _REJECTIONS)]
    concepts = _checked_concepts(frames.concepts, where, rejections)
    names = _clean_names(frames.names.filter(~_is_bad(pl.col("code"))), concepts["code"], where, rejections)
    concepts, names = _drop_nameless(concepts, names, frames.names, where, rejections)
    concepts = _one_to_one(concepts, where, rejections)
    rejections.append(rejected(_unknown_parents(concepts), where, "unknown_parent", pl.col("parents")))
    check_acyclic(concepts, where)
    tables = Tables(
        concepts,
        names,
        _relations(frames.relations, concepts, where, rejections),
        _retired(frames.retired, concepts, where, rejections),
        _maps(frames.maps, concepts, where, rejections),
    )
    return tables, _printable(pl.concat(rejections))


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _printable(rejections: pl.DataFrame) -> pl.DataFrame:
    """With escapes for what a terminal or a log must not be sent."""

    def escaped(name: str) -> pl.Expr:
        return pl.when(pl.col(name).str.contains(_CONTROL)).then(pl.col(name).map_elements(ascii, pl.String)).otherwise(name).alias(name)

    return rejections if rejections.is_empty() else rejections.with_columns(escaped("code"), escaped("text"))


def _is_bad(code: pl.Expr) -> pl.Expr:
    return code.is_null() | (code.str.strip_chars() == "") | code.str.contains(_CONTROL)


def _checked_concepts(concepts: pl.DataFrame, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """The concepts in code order; lists are never null."""
    faulty = concepts.filter(_is_bad(pl.col("code")))
    if faulty.height:
        rejections.append(rejected(faulty.with_columns(pl.col("code").fill_null("")), where, "bad_code", pl.col("code")))
        concepts = concepts.filter(~_is_bad(pl.col("code")))
    concepts = concepts.with_columns(pl.col(name).fill_null([]) for name in LISTS).sort("code")
    for column in ("alt_codes", "parents", "xrefs"):
        concepts = _without_bad_codes(concepts, column, where, rejections)
    if len(repeated := concepts["code"].filter(concepts["code"].is_duplicated())):
        raise FormatError(f"{where}: code {repeated[0]!r} stands for several concepts", hint="merge them, or give each its own code")
    groupless = concepts.filter(pl.col("groups").list.len() == 0)
    if groupless.height:
        raise FormatError(f"{where}: concept {groupless['code'][0]!r} has no group", hint="give it one, e.g. with --group")
    for group in concepts["groups"].explode().unique():
        check_group(group)
    return concepts


def _without_bad_codes(concepts: pl.DataFrame, column: str, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Without the codes of a list column that are empty or hold a control character."""
    bad = listed(concepts, column).filter(_is_bad(pl.col(column)))
    if bad.is_empty():
        return concepts
    rejections.append(rejected(bad, where, "bad_code", pl.concat_str(pl.lit(f"{column}: "), pl.col(column).fill_null(""))))
    return concepts.with_columns(pl.col(column).list.filter(~_is_bad(pl.element())))


def _clean_names(names: pl.DataFrame, codes: pl.Series, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Names with their concept's row: in row order, a concept's names in the order given."""
    rows = pl.DataFrame({"code": codes, "concept": np.arange(len(codes), dtype=np.uint32)})
    if unknown := set(names["scope"].unique()) - set(get_args(Scope)):
        raise FormatError(f"{where}: a name has scope {min(map(str, unknown))!r}", hint=f"give one of {', '.join(get_args(Scope))}")
    if names["language"].null_count():
        raise FormatError(f"{where}: {names['language'].null_count()} names have no language", hint="give each an ISO 639-1 code")
    names = names.with_columns(pl.col("text").fill_null(""), pl.col("preferred").fill_null(False))
    languages = pl.Enum(names["language"].unique().sort())
    names = names.with_columns(pl.col("language").cast(languages), pl.col("scope").cast(_SCOPES))
    names = names.join(rows, on="code", how="left", maintain_order="left")
    stray = names.filter(pl.col("concept").is_null())
    if stray.height:
        rejections.append(rejected(stray, where, "name_without_concept", pl.col("text")))
        names = names.filter(pl.col("concept").is_not_null())
    names = names.select(_NAME_COLUMNS)
    if not names["concept"].is_sorted():
        names = names.sort("concept", maintain_order=True)
    return _without_faults(_tidy(names), codes, where, rejections)


def _tidy(names: pl.DataFrame) -> pl.DataFrame:
    """White space as single spaces and none at the ends, but in names with a control character: those are about to be rejected."""
    untidy = names.select(pl.col("text").str.contains(_UNTIDY) & ~pl.col("text").str.contains(_CONTROL)).to_series()
    if not untidy.any():
        return names
    tidy = pl.col("text").str.replace_all(r"\s+", " ").str.strip_chars()
    return names.with_columns(pl.when(untidy).then(tidy).otherwise(pl.col("text")).alias("text"))


def _without_faults(names: pl.DataFrame, codes: pl.Series, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Without names that are empty, hold a control character, or stand twice at their concept in one language."""
    key = ("concept", "text", "language")
    fault = pl.when(pl.col("text").str.contains(_CONTROL)).then(pl.lit("control_character")).when(pl.col("text") == "").then(pl.lit("empty_name"))
    numbered = names.lazy().with_row_index("at").with_columns(reason=fault)
    bad = numbered.filter(pl.col("reason").is_not_null()).collect()
    repeated = numbered.filter(pl.struct(key).is_duplicated() & pl.col("reason").is_null()).collect()
    if not (bad.height or repeated.height):
        return names
    first = repeated.group_by(key, maintain_order=True).agg(pl.col("at").first(), pl.col("preferred").any(), pl.col("scope").to_physical().min())
    later = repeated.filter(~pl.col("at").is_in(first["at"].implode())).with_columns(reason=pl.lit("duplicate_name"))
    out = pl.concat([bad, later]).sort("at")
    rejections.append(_name_faults(out, codes, where))
    # What a name is anywhere it is once: a table may list the preferred name as a synonym before, an ontology one both as related and as exact.
    preferred, scope = names["preferred"].to_numpy().copy(), names["scope"].to_physical().to_numpy().copy()
    preferred[first.filter("preferred")["at"].to_numpy()] = True
    scope[first["at"].to_numpy()] = first["scope"].to_numpy()
    keep = np.ones(names.height, np.bool_)
    keep[out["at"].to_numpy()] = False
    return names.with_columns(preferred=pl.Series(preferred), scope=pl.Series(scope).cat.to(_SCOPES)).filter(keep)


def _name_faults(faults: pl.DataFrame, codes: pl.Series, where: str) -> pl.DataFrame:
    return faults.select(where=pl.lit(where), code=codes[faults["concept"]], reason=pl.col("reason"), text=pl.col("text"))


def _drop_nameless(
    concepts: pl.DataFrame, names: pl.DataFrame, given: pl.DataFrame, where: str, rejections: list[pl.DataFrame]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Without the concepts that have no name left."""
    named = np.zeros(concepts.height, np.bool_)
    named[names["concept"].to_numpy()] = True
    if not named.all():
        nameless = concepts.filter(~named).select("code")
        lost = given.filter(pl.col("code").is_in(nameless["code"].implode())).group_by("code").agg(pl.col("text").str.join("; "))
        nameless = nameless.join(lost, on="code", how="left", maintain_order="left").with_columns(pl.col("text").fill_null(""))
        rejections.append(rejected(nameless, where, "no_name", pl.col("text")))
        row = (np.cumsum(named) - 1).astype(np.uint32)
        concepts, names = concepts.filter(named), names.with_columns(concept=pl.Series(row[names["concept"].to_numpy()]))
    if concepts.is_empty():
        left_out = pl.concat(rejections).group_by("reason").len().sort("reason").iter_rows()
        why = ", ".join(f"{reason} {count}" for reason, count in left_out)
        problem = f"{where}: no concept is left" + (f" (left out: {why})" if why else "")
        raise FormatError(problem, hint="give a source with at least one concept that has a name")
    return concepts, names


def _one_to_one(concepts: pl.DataFrame, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Without the alternative codes that are no one-to-one link: those of a concept of their own, or claimed by two."""
    pairs = listed(concepts, "alt_codes")
    live = pl.col("alt_codes").is_in(concepts["code"].implode())
    claimed = pl.col("code").n_unique().over("alt_codes") > 1
    reason = pl.when(live).then(pl.lit("alt_code_is_a_concept")).when(claimed).then(pl.lit("alt_code_claimed_twice"))
    bad = pairs.with_columns(reason=reason).filter(pl.col("reason").is_not_null())
    if bad.is_empty():
        return concepts
    rejections.append(bad.select(where=pl.lit(where), code="code", reason="reason", text="alt_codes"))
    kept = pairs.filter(~pl.col("alt_codes").is_in(bad["alt_codes"].implode())).group_by("row").agg(pl.col("alt_codes"))
    rows = concepts.drop("alt_codes").with_row_index("row").join(kept, on="row", how="left", maintain_order="left")
    return rows.with_columns(pl.col("alt_codes").fill_null([])).select(concepts.columns)


def _unknown_parents(concepts: pl.DataFrame) -> pl.DataFrame:
    """(code, parents) of the parents that are no concept: the statement stays, walks up and down the hierarchy leave it out."""
    return listed(concepts, "parents").filter(~pl.col("parents").is_in(concepts["code"].implode()))


def codes_in_use(concepts: pl.DataFrame) -> pl.DataFrame:
    """(code, concept): every code that leads to a concept, its own and alternative ones."""
    own = concepts.select("code", concept="code")
    return pl.concat([own, listed(concepts, "alt_codes").select(code="alt_codes", concept="code")])


def _relations(relations: pl.DataFrame, concepts: pl.DataFrame, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Distinct relations between known concepts, sorted."""
    if relations.is_empty():
        return relations
    codes = concepts["code"].implode()
    known = pl.col("source").is_in(codes) & pl.col("target").is_in(codes)
    distinct = relations.unique().sort(relations.columns)
    unknown = distinct.filter(~known).with_columns(code="source")
    rejections.append(rejected(unknown, where, "unknown_relation_end", pl.concat_str("source", "kind", "target", separator=" ")))
    return distinct.filter(known)


def _retired(retired: pl.DataFrame, concepts: pl.DataFrame, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Distinct retired codes, sorted; one that is a concept, or stands for one, is none."""
    if retired.is_empty():
        return retired
    in_use = pl.concat([concepts["code"], listed(concepts, "alt_codes")["alt_codes"]]).implode()
    distinct = retired.with_columns(pl.col("successors").fill_null([])).unique().sort("code", "reason", pl.col("successors").list.join(" "))
    live = pl.col("code").is_in(in_use)
    rejections.append(rejected(distinct.filter(live), where, "retired_code_in_use", pl.col("reason")))
    return distinct.filter(~live)


def _maps(maps: pl.DataFrame, concepts: pl.DataFrame, where: str, rejections: list[pl.DataFrame]) -> pl.DataFrame:
    """Distinct map rows of known concepts, sorted."""
    if maps.is_empty():
        return maps
    distinct = maps.unique().sort(maps.columns)
    known = pl.col("code").is_in(concepts["code"].implode())
    rejections.append(rejected(distinct.filter(~known), where, "map_of_unknown_code", pl.col("target")))
    return distinct.filter(known)
