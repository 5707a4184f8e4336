"""What a vocabulary's reader hands back: facts about the source, and its content as a stream of entries or as columns.

A reader of a small vocabulary yields `Entry` objects; one of a large vocabulary fills `Frames`, so that ten million names are
never Python objects.  Both become the same tables (`syncabel.kb.tables`), cleaned and checked by the same rules.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_type_hints

import polars as pl

from syncabel.types import Concept, MapRule, Name, Rejection, Relation, Retired, Scope

__all__ = ["CONCEPTS", "MAPS", "NAMES", "RELATIONS", "RETIRED", "About", "Entry", "Frames", "Vocabulary", "schema_of"]

Entry: TypeAlias = Concept | Relation | Retired | MapRule | Rejection

_POLARS: dict[Any, Any] = {
    str: pl.String,
    str | None: pl.String,
    Scope: pl.String,
    bool: pl.Boolean,
    int: pl.Int32,
    tuple[str, ...]: pl.List(pl.String),
}


def schema_of(kind: type, *without: str) -> dict[str, Any]:
    """Column name -> polars type of a dataclass: a type is the file format."""
    hints = get_type_hints(kind)
    return {field.name: _POLARS[hints[field.name]] for field in dataclasses.fields(kind) if field.name not in without}


CONCEPTS = schema_of(Concept, "names")
NAMES = {"code": pl.String, **schema_of(Name)}
RELATIONS = schema_of(Relation)
RETIRED = schema_of(Retired)
MAPS = schema_of(MapRule)


@dataclass(frozen=True, slots=True)
class About:
    """Where a knowledge base comes from and what may be done with it.

    Attributes:
        source, release: which vocabulary, and which edition of it.
        licence: an SPDX identifier where there is one.
        redistributable: whether the names may be passed on.
        obtain: how to get the source.
        filters: what was asked of the reader, as `option=value`, in the order applied.
    """

    source: str
    release: str = ""
    licence: str = "unknown"
    redistributable: bool = False
    obtain: str = ""
    filters: tuple[str, ...] = ()


def _empty(schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(schema=schema)


@dataclass(frozen=True)
class Frames:
    """A vocabulary as columns, in any row order but where said.

    Attributes:
        concepts: columns CONCEPTS (the fields of Concept but its names), one row a code; null lists count as empty.
        names: columns NAMES; the rows of one code stand in the order its names shall have, the preferred one first.
        relations, retired, maps: columns RELATIONS, RETIRED, MAPS.
        rejections: what the reader left out.
    """

    concepts: pl.DataFrame
    names: pl.DataFrame
    relations: pl.DataFrame = field(default_factory=lambda: _empty(RELATIONS))
    retired: pl.DataFrame = field(default_factory=lambda: _empty(RETIRED))
    maps: pl.DataFrame = field(default_factory=lambda: _empty(MAPS))
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """One source, read.

    Attributes:
        about: facts for the manifest.
        content: entries in any order, read as they are asked for; or columns.
    """

    about: About
    content: Iterable[Entry] | Frames
