"""What lies around a concept: hierarchy with depths, relationships, neighbourhood, the shortest way to another concept."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import ConfigError
from syncabel.kb.base import KnowledgeBase
from syncabel.kb.hierarchy import parent_edges
from syncabel.types import Relation

__all__ = ["IS_A", "At", "Graph", "Near", "Step", "graph", "neighbourhood", "shortest_path"]

IS_A = "is_a"
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class At:
    """A concept above or below another: how many is_a links away, by the shortest way."""

    code: str
    depth: int


@dataclass(frozen=True, slots=True)
class Near:
    """A concept and how many relationships of any kind, in either direction, it is away."""

    code: str
    distance: int


@dataclass(frozen=True, slots=True)
class Step:
    """One relationship gone along.

    Attributes:
        start, end: codes.
        kind: "is_a" or the relation's kind.
        forward: whether it is stated of `start`; False where it is stated of `end` and gone backwards.
    """

    start: str
    kind: str
    end: str
    forward: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Around one concept.

    Attributes:
        code, name: the concept; its preferred name.
        parents, children: codes.
        ancestors, descendants: nearest first.
        neighbourhood: nearest first, then by code; without the concept itself.
        path: the shortest way to the concept asked for, () where it is the same one; None where none was asked for or there is no way.
        relations: that start or end here, sorted; of one pair each role group has its own.
    """

    code: str
    name: str
    parents: tuple[str, ...]
    children: tuple[str, ...]
    ancestors: tuple[At, ...]
    descendants: tuple[At, ...]
    neighbourhood: tuple[Near, ...]
    path: tuple[Step, ...] | None
    relations: tuple[Relation, ...]


def graph(kb: KnowledgeBase, code: str, *, hops: int = 1, to: str | None = None) -> Graph:
    """What lies around a concept.

    Args:
        kb: the knowledge base.
        code: of a concept.
        hops: how far the neighbourhood reaches, in relationships of any kind.
        to: also the shortest way to this concept.

    Raises:
        UnknownNameError: no concept has one of the codes.
        ConfigError: a negative number of hops.
    """
    return Graph(
        code,
        kb.concept(code).preferred_name,
        kb.parents(code),
        kb.children(code),
        tuple(_by_depth(kb.levels_up(code))),
        tuple(_by_depth(kb.levels_down(code))),
        neighbourhood(kb, code, hops),
        None if to is None else shortest_path(kb, code, to),
        kb.relations_of(code),
    )


def _by_depth(levels: Sequence[tuple[str, ...]]) -> Iterator[At]:
    return (At(code, depth) for depth, level in enumerate(levels, 1) for code in level)


def neighbourhood(kb: KnowledgeBase, code: str, hops: int = 1) -> tuple[Near, ...]:
    """The concepts within so many relationships of any kind and direction, nearest first, then by code.

    Raises:
        UnknownNameError: no concept has this code.
        ConfigError: a negative number of hops.
    """
    if hops < 0:
        raise ConfigError(f"hops is {hops}; give 0 or more")
    found = {kb.concept(code).code: 0}
    level = [code]
    for distance in range(1, hops + 1):
        level = sorted(_beside(kb, level) - found.keys())
        if not level:
            break
        found |= dict.fromkeys(level, distance)
    return tuple(Near(other, distance) for other, distance in found.items() if distance)


def _beside(kb: KnowledgeBase, codes: Sequence[str]) -> set[str]:
    around = {other for code in codes for other in (*kb.parents(code), *kb.children(code))}
    wanted = pl.Series(codes, dtype=pl.String).implode()
    relations = kb.table("relations")
    around.update(relations.filter(pl.col("source").is_in(wanted))["target"])
    around.update(relations.filter(pl.col("target").is_in(wanted))["source"])
    return around


def shortest_path(kb: KnowledgeBase, start: str, end: str) -> tuple[Step, ...] | None:
    """The fewest relationships, of any kind and in either direction, that lead from one concept to another; None where none do.

    Between two concepts is_a comes before relations, these go by kind; of several ways the one through concepts first in code order.

    Raises:
        UnknownNameError: no concept has one of the codes.
    """
    for code in (start, end):
        kb.concept(code)
    codes = kb.table("concepts")["code"]
    begins, ends = (int(codes.search_sorted(code)) for code in (start, end))
    rows = _route(*_links(kb), begins, ends, len(codes))
    return None if rows is None else tuple(_step(kb, codes[one], codes[other]) for one, other in pairwise(rows))


def _links(kb: KnowledgeBase) -> tuple[Rows, Rows]:
    """Both ends of every relationship, each in both directions, by row."""
    concepts = kb.table("concepts")
    child, parent = parent_edges(concepts)
    rows = concepts.select("code", row=pl.row_index().cast(pl.Int64))
    relations = kb.table("relations").select("source", "target").unique()
    named = relations.join(rows, left_on="source", right_on="code").join(rows, left_on="target", right_on="code", suffix="_target")
    source, target = named["row"].to_numpy(), named["row_target"].to_numpy()
    return np.concatenate([child, parent, source, target]), np.concatenate([parent, child, target, source])


def _route(starts: Rows, ends: Rows, begin: int, end: int, count: int) -> list[int] | None:
    """The rows on the shortest way, level by level from its beginning."""
    order = np.lexsort((ends, starts))
    ends = ends[order]
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(starts, minlength=count), out=first[1:])
    came_from = np.full(count, -1, np.int64)
    came_from[begin] = begin
    level = np.array([begin], np.int64)
    while len(level) and came_from[end] < 0:
        sizes = first[level + 1] - first[level]
        origins = np.repeat(level, sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        reached = ends[np.repeat(first[level], sizes) + within]
        fresh = came_from[reached] < 0
        level, at = np.unique(reached[fresh], return_index=True)
        came_from[level] = origins[fresh][at]
    return None if came_from[end] < 0 else _traced(came_from, begin, end)


def _traced(came_from: Rows, begin: int, end: int) -> list[int]:
    rows = [end]
    while rows[-1] != begin:
        rows.append(int(came_from[rows[-1]]))
    return rows[::-1]


def _step(kb: KnowledgeBase, start: str, end: str) -> Step:
    if end in kb.parents(start):
        return Step(start, IS_A, end, True)
    if end in kb.children(start):
        return Step(start, IS_A, end, False)
    between: Iterable[Relation] = (link for link in kb.relations_of(start) if end in (link.source, link.target))
    kind, backward = min((link.kind, link.source != start) for link in between)
    return Step(start, kind, end, not backward)
