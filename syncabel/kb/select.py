"""A part of a knowledge base: concepts and names by what they are, the hierarchy closed over what is left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, reduce

import numpy as np
import polars as pl

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb.base import KnowledgeBase
from syncabel.kb.tables import rejected
from syncabel.kb.vocabulary import schema_of
from syncabel.types import Rejection

__all__ = ["Filter", "select"]

_REMEMBERED = 1 << 16  # siblings ask the same: what was answered long ago need not be kept


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep; an empty field keeps all.  Concepts and names must pass every field.

    Attributes:
        groups, types: concepts with one of these semantic groups, of these types; they keep their other groups and types.
        descendants_of: concepts that are one of these, or lie below one; alternative codes are taken for theirs.
        codes: these concepts; alternative codes are taken for theirs.
        with_definition: concepts that have a definition.
        languages: names in these languages, ISO 639-1 codes.
        scopes: names of these scopes.
        only_preferred: of each concept the preferred names that pass, else the first one that does.
    """

    groups: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    descendants_of: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    with_definition: bool = False
    languages: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    only_preferred: bool = False

    def written(self) -> tuple[str, ...]:
        """What was asked, as `option=value`; of codes, which may be a million, how many."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return tuple(f"{name}={_value(name, value)}" for name, value in given.items() if value)


def _value(name: str, value: tuple[str, ...] | bool) -> str:
    if isinstance(value, bool):
        return "yes"
    return f"{len(value)} codes" if name == "codes" else ",".join(value)


def select(kb: KnowledgeBase, wanted: Filter) -> KnowledgeBase:
    """The concepts and names that pass a filter.

    Where a parent is left out, its nearest kept ancestors take its place, so that what lay below a kept concept still does; one
    that another new parent lies below is not repeated.  Relations stay where both ends do; retired codes all stay.

    Args:
        kb: the whole.
        wanted: what to keep.

    Returns:
        A knowledge base whose `about.filters` say what was asked.  `rejections` hold concepts that pass but have no name left
        (`no_name_left`) and codes asked for that are none (`unknown_code`).

    Raises:
        ConfigError: nothing is asked for, or nothing is left.
        UnknownNameError: a group, type, language, scope or root that the knowledge base does not have.
    """
    if not wanted.written():
        raise ConfigError("no filter is given: say what to keep")
    names = kb.tables.names.filter(_names(kb, wanted))
    if wanted.only_preferred:
        # A concept without a preferred name goes by its first one.
        names = names.filter(pl.col("preferred") | (~pl.col("preferred").any() & (pl.int_range(pl.len()) == 0)).over("concept"))
    chosen, unknown = _concepts(kb, wanted)
    named = np.zeros(len(kb), np.bool_)
    named[names["concept"].to_numpy()] = True
    rows = np.flatnonzero(chosen & named)
    if not len(rows):
        raise ConfigError(f"{kb.about.source}: no concept passes the filter {' '.join(wanted.written())}; ask for less")
    kept = replace(kb.tables, concepts=_reconnected(kb, chosen & named), names=names).subset(rows)
    nameless = kb.tables.concepts.filter(pl.Series(chosen & ~named))
    left_out = pl.concat([unknown, rejected(nameless, kb.about.source, "no_name_left", pl.lit(""))])
    about = replace(kb.about, filters=(*kb.about.filters, *wanted.written()))
    return KnowledgeBase.of_tables(kept, about, left_out, kb.manifest.parts)


def _known(kind: str, asked: Iterable[str], known: Sequence[str]) -> list[str]:
    asked = list(asked)
    there = set(known)
    for name in asked:
        if name not in there:
            raise UnknownNameError(kind, name, known)
    return asked


def _names(kb: KnowledgeBase, wanted: Filter) -> pl.Expr:
    tests = [pl.lit(True)]
    if wanted.languages:
        tests.append(pl.col("language").cast(pl.String).is_in(_known("language", wanted.languages, kb.manifest.languages)))
    if wanted.scopes:
        scopes = kb.tables.names["scope"].cast(pl.String).unique().sort().to_list()
        tests.append(pl.col("scope").cast(pl.String).is_in(_known("scope of names", wanted.scopes, scopes)))
    return reduce(lambda one, other: one & other, tests)


def _concepts(kb: KnowledgeBase, wanted: Filter) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], pl.DataFrame]:
    """Which concepts pass, shape (concepts,), and codes asked for that are none."""
    tests = [pl.lit(True)]
    unknown: list[str] = []
    if wanted.groups:
        tests.append(_has_one("groups", _known("group", wanted.groups, kb.groups)))
    if wanted.types:
        types = kb.tables.concepts["types"].explode().drop_nulls().unique().sort().to_list()
        tests.append(_has_one("types", _known("type", wanted.types, types)))
    if wanted.with_definition:
        tests.append(pl.col("definition").is_not_null())
    if wanted.codes:
        found = {code: kb.canonical(code) for code in wanted.codes}
        unknown = [code for code, known in found.items() if known is None]
        tests.append(_is_one(known for known in found.values() if known is not None))
    if wanted.descendants_of:
        roots = [kb.canonical(code) or code for code in wanted.descendants_of]
        tests.append(_is_one(code for root in roots for code in (*kb.descendants(root), root)))
    passing = kb.tables.concepts.select(reduce(lambda one, other: one & other, tests, pl.col("code").is_not_null())).to_series()
    asked = pl.DataFrame({"code": unknown}, schema={"code": pl.String})
    none = pl.DataFrame(schema=schema_of(Rejection)) if not unknown else rejected(asked, kb.about.source, "unknown_code", pl.lit(""))
    return passing.to_numpy(), none


def _has_one(column: str, asked: list[str]) -> pl.Expr:
    return pl.col(column).list.set_intersection(asked).list.len() > 0


def _is_one(codes: Iterable[str]) -> pl.Expr:
    return pl.col("code").is_in(pl.Series(sorted(set(codes)), dtype=pl.String).implode())


def _reconnected(kb: KnowledgeBase, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pl.DataFrame:
    """The concepts, where one that is kept has a parent that is not, with nearest kept ancestors in its place."""
    concepts = kb.tables.concepts
    gone = set(concepts["code"].filter(pl.Series(~kept)))
    stated = concepts.filter(pl.Series(kept)).select("code", "parents").filter(pl.col("parents").list.len() > 0)
    nearest = _Nearest(kb, gone)
    links = stated.explode("parents")
    concerned = links.filter(pl.col("parents").is_in(pl.Series(sorted(gone), dtype=pl.String).implode()))["code"].unique()
    changed = stated.filter(pl.col("code").is_in(concerned.implode()))
    new = pl.DataFrame(
        {"code": changed["code"], "new": [nearest.in_place_of(tuple(parents)) for parents in changed["parents"].to_list()]},
        schema={"code": pl.String, "new": pl.List(pl.String)},
    )
    moved = concepts.join(new, on="code", how="left", maintain_order="left")
    return moved.with_columns(parents=pl.coalesce("new", "parents")).drop("new")


class _Nearest:
    """Nearest kept ancestors, each left-out concept's found once.

    Attributes:
        in_place_of: parents as stated -> those that stay, and what takes the place of the others, without what lies above
            another of them.
    """

    def __init__(self, kb: KnowledgeBase, gone: set[str]) -> None:
        self.kb, self.gone = kb, gone
        self._above: dict[str, tuple[str, ...]] = {}
        self._parents = lru_cache(_REMEMBERED)(self._known_parents)
        self.in_place_of = lru_cache(_REMEMBERED)(self._in_place_of)

    def _in_place_of(self, parents: tuple[str, ...]) -> list[str]:
        found = list(dict.fromkeys(other for parent in parents for other in (self._kept_above(parent) if parent in self.gone else (parent,))))
        # is_a runs in no circle: what lies above any of them lies above another one.
        too_far = self._all_above(found) - set(parents) if len(found) > 1 else set()
        return [code for code in found if code not in too_far]

    def _kept_above(self, code: str) -> tuple[str, ...]:
        waiting = [code]
        while waiting:  # deepest hierarchies outgrow the stack
            one = waiting[-1]
            parents = self.kb.parents(one)
            open_ = [parent for parent in parents if parent in self.gone and parent not in self._above]
            if open_:
                waiting += open_
                continue
            nearest = (other for parent in parents for other in (self._above[parent] if parent in self.gone else (parent,)))
            self._above[one] = tuple(dict.fromkeys(nearest))
            waiting.pop()
        return self._above[code]

    def _all_above(self, codes: Sequence[str]) -> set[str]:
        """What lies above any of the concepts, each gone through once."""
        above: set[str] = set()
        waiting = list(codes)
        while waiting:
            fresh = [parent for parent in self._parents(waiting.pop()) if parent not in above]
            above.update(fresh)
            waiting += fresh
        return above

    def _known_parents(self, code: str) -> tuple[str, ...]:
        return self.kb.parents(code) if code in self.kb else ()
