"""Which names become leaves: every name of every concept, each leaf standing for one code.

Names are columns; only those that must be told apart (a few thousand among millions) are ever Python strings.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.kb.tables import Tables, string_table
from syncabel.strings import StringTable

__all__ = ["Alike", "Leaves", "first_leaves", "preferred_names"]

_LAST_RESORT = 1000  # numbers tried behind a code


@dataclass(frozen=True, slots=True)
class Alike:
    """Names that could not stand as they are, and what became of them; the three tuples go together place by place.

    Attributes:
        reason: `shared_name`: several concepts have it; `tokenises_alike`: names of several concepts have the same token ids;
            `merged`: names of one concept have the same token ids, so that one leaf serves them all.
        names: before.
        codes: the concept of each.
        leaves: after.
    """

    reason: Literal["shared_name", "tokenises_alike", "merged"]
    names: tuple[str, ...]
    codes: tuple[str, ...]
    leaves: tuple[str, ...]


@dataclass(eq=False)
class Leaves:
    """The leaves to be, by position.  Positions ascend by (bare name, code) and stay when a name is extended.

    Attributes:
        tables: of the knowledge base.
        bare: the names as the knowledge base has them, sorted by their UTF-8 bytes.
        concept: row of each leaf's concept. Shape: (leaves,), uint32.
        extended: position -> the name that tells it apart.
        account: what was told apart, in the order done.
    """

    tables: Tables
    bare: pl.Series
    concept: NDArray[np.uint32]
    extended: dict[int, str]
    account: list[Alike]

    def __len__(self) -> int:
        return len(self.concept)

    def name(self, position: int) -> str:
        """The name of a leaf as it stands now."""
        return self.extended.get(position) or str(self.bare[position])

    def code(self, position: int) -> str:
        """The code of a leaf."""
        return str(self.tables.concepts["code"][int(self.concept[position])])

    def names(self) -> pl.Series:
        """All names as they stand now, by position."""
        if not self.extended:
            return self.bare
        # A join keeps it on columns; only what was extended comes from Python.
        changed = pl.DataFrame({"at": list(self.extended), "new": list(self.extended.values())}, schema={"at": pl.UInt32, "new": pl.String})
        frame = pl.DataFrame({"text": self.bare}).with_row_index("at").join(changed, on="at", how="left", maintain_order="left")
        return frame.select(pl.coalesce("new", "text").alias("text")).to_series()

    @cached_property
    def preferred(self) -> NDArray[np.bool_]:
        """Whether the bare name is its concept's preferred one. Shape: (leaves,)."""
        return (self.bare == preferred_names(self.tables)[self.concept]).to_numpy()

    def shared(self) -> list[list[int]]:
        """Positions of each bare name that several concepts have."""
        # Sorted, and each string stands once a concept: neighbours that are equal are of different concepts.
        same = (self.bare == self.bare.shift(1)).fill_null(False).to_numpy()
        runs = np.flatnonzero(same | np.r_[same[1:], False])
        starts = np.flatnonzero(~same[runs])
        return [part.tolist() for part in np.split(runs, starts[1:])] if len(runs) else []

    def tell_apart(self, groups: Sequence[Sequence[int]], reason: Literal["shared_name", "tokenises_alike"], code_only: bool = False) -> list[int]:
        """Extend the names of groups of leaves by what tells their concepts apart; the result depends on the concepts alone.

        A tag reads as what the name means, so one that fits another concept of the group is not used, be it unique as a string.

        Args:
            groups: positions; names that are alike stand in one group.
            reason: what they are alike in.
            code_only: extend them by the code at once: what reads better was tried and did not help.

        Returns:
            The positions extended.
        """
        positions = [position for group in groups for position in group]
        before = {position: self.name(position) for position in positions}
        tags = _Tags(self.tables, sorted({int(self.concept[position]) for position in positions}))
        fits: dict[int, _Fits] = {}
        for group in groups:
            fits.update(dict.fromkeys(group, tags.fits({int(self.concept[position]) for position in group})))
        added: set[str] = set()
        after: dict[int, str] = {}
        for position in sorted(positions, key=lambda position: (before[position], int(self.concept[position]))):
            name = before[position]
            row = int(self.concept[position])
            candidates = (f"{name} ({tag})" for tag in (tags.codes(row) if code_only else tags.of(row, name, fits[position])))
            after[position] = next(full for full in candidates if full not in added and not self._taken(full))
            added.add(after[position])
        self._replace(before, after)
        codes = self.tables.concepts["code"].gather([int(self.concept[position]) for position in positions]).to_list()
        code = dict(zip(positions, codes, strict=True))
        for group in groups:
            self.account.append(Alike(reason, *(tuple(values[position] for position in group) for values in (before, code, after))))
        return positions

    def _taken(self, name: str) -> bool:
        """Whether a leaf has this name now."""
        return name in self._added or (name not in self._gone and self._table.find(name) >= 0)

    def _replace(self, before: dict[int, str], after: dict[int, str]) -> None:
        # All leaves of a name are extended together, so that none is left with it.
        self._added.difference_update(before.values())
        self._gone.update(before.values())
        self._added.update(after.values())
        self.extended.update(after)

    @cached_property
    def _table(self) -> StringTable:
        return string_table(self.bare)

    @cached_property
    def _added(self) -> set[str]:
        return set()

    @cached_property
    def _gone(self) -> set[str]:
        return set()


@dataclass(frozen=True, slots=True)
class _Fits:
    """How many concepts of a group a tag fits, case aside: as their preferred name, and as preferred name, type or parent."""

    preferred: Mapping[str, int]
    anything: Mapping[str, int]


class _Tags:
    """What may tell some concepts (rows) from others of the same name."""

    def __init__(self, tables: Tables, rows: Sequence[int]) -> None:
        preferred = preferred_names(tables)
        wanted = np.array(rows, np.int64)
        concepts = tables.concepts.select("code", "types", "parents")[wanted]
        known = tables.concepts.select(pl.col("code").alias("parents"), pl.row_index("parent"))
        links = concepts.select(pl.Series("row", wanted), "parents").explode("parents", empty_as_null=False)
        self._parents: dict[int, list[str]] = {}
        linked = links.join(known, on="parents", how="inner", maintain_order="left")
        for row, name in zip(linked["row"].to_list(), preferred[linked["parent"]].to_list(), strict=True):
            self._parents.setdefault(row, []).append(name)
        values = zip(preferred[wanted].to_list(), concepts["types"].to_list(), concepts["code"].to_list(), strict=True)
        self._own = dict(zip(rows, values, strict=True))

    def fits(self, rows: Iterable[int]) -> _Fits:
        """How many concepts of a group each tag fits."""
        preferred: Counter[str] = Counter()
        anything: Counter[str] = Counter()
        for row in rows:
            name, types, _ = self._own[row]
            preferred[name.casefold()] += 1
            anything.update({tag.casefold() for tag in (name, *types, *self._parents.get(row, ()))})
        return _Fits(preferred, anything)

    def of(self, row: int, name: str, fits: _Fits) -> Iterator[str]:
        """Tags of a concept for one of its names that fit no other concept of its group, best first; the code always does it."""
        preferred, types, _ = self._own[row]
        # What a concept is called above all names it, even where it is the parent of another of the group.
        if preferred.casefold() != name.casefold() and fits.preferred[preferred.casefold()] == 1:
            yield preferred
        yield from (tag for tag in (*types, *self._parents.get(row, ())) if tag.casefold() != name.casefold() and fits.anything[tag.casefold()] == 1)
        yield from self.codes(row)

    def codes(self, row: int) -> Iterator[str]:
        """The code, and the code with a number."""
        code = self._own[row][2]
        yield code
        yield from (f"{code}, {n}" for n in range(2, _LAST_RESORT))


def first_leaves(tables: Tables) -> Leaves:
    """A leaf for every name of every concept; names that concepts share are told apart, none is dropped."""
    frame = tables.names.select("text", "concept").sort("text", "concept")
    if tables.names["language"].n_unique() > 1:
        # One string may be a concept's name in two languages.
        again = (pl.col("text") == pl.col("text").shift(1)) & (pl.col("concept") == pl.col("concept").shift(1))
        frame = frame.filter(~again.fill_null(False))
    leaves = Leaves(tables, frame["text"].rechunk(), frame["concept"].to_numpy(), {}, [])
    leaves.tell_apart(leaves.shared(), "shared_name")
    return leaves


def preferred_names(tables: Tables) -> pl.Series:
    """Each concept's preferred name, by row: the first preferred one, else the first."""
    concept = tables.names["concept"].to_numpy()
    row = np.searchsorted(concept, np.arange(tables.concepts.height))
    marked = np.flatnonzero(tables.names["preferred"].to_numpy())
    concepts, first = np.unique(concept[marked], return_index=True)
    row[concepts] = marked[first]
    return tables.names["text"].gather(row)
