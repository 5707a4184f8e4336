"""From a trie back to its entries, and where the entries of a changed trie stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from constrained.building import Ints
from constrained.errors import TrieError

__all__ = ["Entries", "Longs", "Placement", "path_lengths", "write_paths", "write_rows"]

Longs = NDArray[np.int64]


class Entries(NamedTuple):
    """Token sequences with their groups, as `TokenTrie.build` takes them.

    Attributes:
        tokens: the entries' token ids, one after the other, end tokens included. Shape: (all tokens,).
        offsets: entry i is tokens[offsets[i]:offsets[i + 1]]. Shape: (entries + 1,).
        group_sets: bitset of each entry's groups, laid out as `TokenTrie.palette`. Shape: (entries × words), uint64.
    """

    tokens: Ints
    offsets: Ints
    group_sets: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Placement:
    """Where old and added entries stand in the new list.

    Attributes:
        size: entries of the new list.
        new_number: of each old entry, −1 for a retired one. Shape: (old entries,).
        added: number of each added entry. Shape: (added,).
    """

    size: int
    new_number: Longs
    added: Longs

    @classmethod
    def of(cls, n_entries: int, removed: Sequence[int] | Ints, n_added: int, at: Sequence[int] | Ints | None) -> "Placement":
        """Place entries as `TokenTrie.updated` says.

        Raises:
            TrieError: a number or place out of range, a number twice, places that are not one an added entry, or nothing left.
        """
        gone = _integers(removed, "removed")
        _check_removed(gone, n_entries)
        n_kept = n_entries - len(gone)
        if n_kept + n_added == 0:
            raise TrieError(f"the update retires all {n_entries} entries and adds none; a trie needs at least one")
        places = np.full(n_added, n_kept) if at is None else _integers(at, "at")
        _check_places(places, n_added, n_kept)
        order = np.argsort(places, kind="stable")
        added = np.empty(n_added, np.int64)
        added[order] = places[order] + np.arange(n_added)
        stays, free = np.ones(n_entries, np.bool_), np.ones(n_kept + n_added, np.bool_)
        stays[gone], free[added] = False, False
        new_number = np.full(n_entries, -1, np.int64)
        new_number[stays] = np.flatnonzero(free)
        return cls(len(free), new_number, added)

    def told(self, one: int, other: int) -> str:
        """What to say of two entries of the new list that are alike; the old ones are not, so one at least is added."""
        both = [np.flatnonzero(self.added == number).tolist() for number in (one, other)]
        if all(both):
            first, second = sorted(place for (place,) in both)
            return f"added entries {first} and {second} are the same token sequence; add it once"
        (place,) = both[0] or both[1]
        old = int(np.flatnonzero(self.new_number == (other if both[0] else one))[0])
        return f"added entry {place} is in the trie already, as entry {old}; leave it out, or retire that one"


def _integers(values: Sequence[int] | Ints, what: str) -> Longs:
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise TrieError(f"`{what}` must be a list of integers, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def _check_removed(removed: Longs, n_entries: int) -> None:
    outside = removed[(removed < 0) | (removed >= n_entries)]
    if len(outside):
        raise TrieError(f"entry {outside[0]} cannot be retired: the trie has entries 0 to {n_entries - 1}")
    numbers, count = np.unique(removed, return_counts=True)
    if len(numbers) < len(removed):
        raise TrieError(f"entry {numbers[count > 1][0]} is retired twice; name it once")


def _check_places(places: Longs, n_added: int, n_kept: int) -> None:
    if len(places) != n_added:
        raise TrieError(f"`at` has {len(places)} places for {n_added} added entries; give one each")
    outside = np.flatnonzero((places < 0) | (places > n_kept))
    if len(outside):
        raise TrieError(f"added entry {outside[0]} cannot stand at {places[outside[0]]}: {n_kept} entries are kept, places are 0 to {n_kept}")


def _depths(child_start: NDArray[np.int32]) -> list[int]:
    """First node of each depth, and the number of nodes."""
    first = [0, 1]
    while (below := int(child_start[first[-1]]) + 1) > first[-1]:
        first.append(below)
    return first


def path_lengths(child_start: NDArray[np.int32], nodes: Ints) -> Longs:
    """Edges from the root to each node. Shape: as `nodes`."""
    # In the type of `nodes`, which would else be copied.
    return np.searchsorted(np.array(_depths(child_start), nodes.dtype), nodes, side="right") - 1


def write_paths(child_start: NDArray[np.int32], token: NDArray[np.int32], leaves: Ints, starts: Longs, out: NDArray[np.int32]) -> None:
    """Write the tokens on the way to each leaf.

    Args:
        child_start, token: of the trie.
        leaves: nodes, ascending. Shape: (leaves,).
        starts: where in `out` each path begins. Shape: (leaves,).
        out: is written to. Shape: (tokens,).
    """
    first, node = _depths(child_start), np.array(leaves)
    for depth in range(len(first) - 2, 0, -1):
        # Numbers ascend with depth: the leaves at this one or below are the last, and by now each has climbed to it.
        deep = slice(int(np.searchsorted(leaves, leaves.dtype.type(first[depth]))), None)
        here = node[deep]
        out[starts[deep] + (depth - 1)] = token[here - 1]
        above = np.arange(first[depth - 1], first[depth], dtype=node.dtype)
        parent = np.repeat(above, np.diff(child_start[first[depth - 1] : first[depth] + 1]))
        node[deep] = parent[here - first[depth]]


def write_rows(tokens: Ints, offsets: Ints, starts: Longs, out: NDArray[np.int32]) -> None:
    """Write each row of `tokens` to its place.

    Args:
        tokens, offsets: as `Entries` has them.
        starts: where in `out` each row begins. Shape: (rows,).
        out: is written to. Shape: (tokens,).
    """
    lengths = np.diff(offsets)
    out[np.repeat(starts - offsets[:-1], lengths) + np.arange(len(tokens))] = tokens
