"""A knowledge base in figures: what it holds, how ambiguous its names are, how deep its hierarchy is."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.kb.base import KnowledgeBase
from syncabel.kb.hierarchy import parent_edges
from syncabel.kb.vocabulary import About

__all__ = ["GroupCount", "Hierarchy", "LanguageCount", "Summary", "summarize"]


@dataclass(frozen=True, slots=True)
class GroupCount:
    """One semantic group.

    Attributes:
        group: its name.
        concepts, names: how many; a concept of several groups counts in each.
        ambiguous_names: distinct strings that are a name of two concepts or more of this group.
    """

    group: str
    concepts: int
    names: int
    ambiguous_names: int


@dataclass(frozen=True, slots=True)
class LanguageCount:
    """How many names a language has, and how many concepts have one."""

    language: str
    names: int
    concepts: int


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """is_a as a whole.

    Attributes:
        links: between concepts.
        depth: links on the longest way up from any concept.
        roots: concepts with children and without parents.
        alone: concepts with neither.
    """

    links: int
    depth: int
    roots: int
    alone: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What `syncabel kb info` says, beyond the first lines of a manifest.

    Attributes:
        source, release, licence, redistributable, obtain, filters: as in `About`.
        concepts, names, ambiguous_names, relations, retired, maps, rejected: counts, as in `Manifest`.
        without_definition: concepts that have none.
        alternative_codes: of all concepts.
        by_group, by_language: sorted.
        hierarchy: is_a.
        parts: what it was merged from.
        bytes: of all files; 0 where it was not loaded from a folder.
        digest: of the content.
        format_version: of the folder.
    """

    source: str
    release: str
    licence: str
    redistributable: bool
    obtain: str
    filters: tuple[str, ...]
    concepts: int
    names: int
    ambiguous_names: int
    relations: int
    retired: int
    maps: int
    rejected: int
    without_definition: int
    alternative_codes: int
    groups: tuple[str, ...]
    languages: tuple[str, ...]
    by_group: tuple[GroupCount, ...]
    by_language: tuple[LanguageCount, ...]
    hierarchy: Hierarchy
    parts: tuple[About, ...]
    bytes: int
    digest: str
    format_version: int


def summarize(kb: KnowledgeBase) -> Summary:
    """Count what a knowledge base holds; reads its concepts and names."""
    facts, about, concepts = kb.manifest, kb.about, kb.table("concepts")
    return Summary(
        about.source,
        about.release,
        about.licence,
        about.redistributable,
        about.obtain,
        about.filters,
        facts.concepts,
        facts.names,
        facts.ambiguous_names,
        facts.relations,
        facts.retired,
        facts.maps,
        facts.rejected,
        without_definition=concepts["definition"].null_count(),
        alternative_codes=int(concepts["alt_codes"].list.len().sum()),
        groups=facts.groups,
        languages=facts.languages,
        by_group=_by_group(kb),
        by_language=_by_language(kb),
        hierarchy=_hierarchy(concepts),
        parts=facts.parts,
        bytes=sum(file.bytes for file in facts.files),
        digest=facts.digest,
        format_version=facts.format_version,
    )


def _by_group(kb: KnowledgeBase) -> tuple[GroupCount, ...]:
    members = kb.table("concepts").lazy().select(pl.row_index("concept"), group="groups").explode("group")
    named = kb.table("names").lazy().select("concept", "text").join(members, on="concept")
    shared = named.filter(pl.col("text").is_duplicated()).group_by("group", "text").agg(concepts=pl.col("concept").n_unique())
    ambiguous = shared.filter(pl.col("concepts") > 1).group_by("group").agg(ambiguous=pl.len())
    counts = members.group_by("group").len("concepts").join(named.group_by("group").len("names"), on="group")
    rows = counts.join(ambiguous, on="group", how="left").with_columns(pl.col("ambiguous").fill_null(0)).sort("group").collect()
    return tuple(GroupCount(*row) for row in rows.select("group", "concepts", "names", "ambiguous").iter_rows())


def _by_language(kb: KnowledgeBase) -> tuple[LanguageCount, ...]:
    names = kb.table("names").select(pl.col("language").cast(pl.String), "concept")
    rows = names.group_by("language").agg(names=pl.len(), concepts=pl.col("concept").n_unique()).sort("language")
    return tuple(LanguageCount(*row) for row in rows.iter_rows())


def _hierarchy(concepts: pl.DataFrame) -> Hierarchy:
    child, parent = parent_edges(concepts)
    has_parent, has_child = (np.bincount(ends, minlength=concepts.height) > 0 for ends in (child, parent))
    return Hierarchy(len(child), _depth(child, parent, concepts.height), int((has_child & ~has_parent).sum()), int((~has_child & ~has_parent).sum()))


def _depth(child: NDArray[np.int64], parent: NDArray[np.int64], count: int) -> int:
    """Links on the longest way up: level by level from the roots, a concept coming after the last of its parents; each link is met once."""
    child = child[np.argsort(parent, kind="stable")]
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(parent, minlength=count), out=first[1:])
    parents_left = np.bincount(child, minlength=count)
    level, depth = np.flatnonzero(parents_left == 0), -1
    while len(level):
        depth += 1
        sizes = first[level + 1] - first[level]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        below, met = np.unique(child[np.repeat(first[level], sizes) + within], return_counts=True)
        parents_left[below] -= met
        level = below[parents_left[below] == 0]
    return depth
