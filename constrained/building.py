"""Laying a trie: entries are sorted into levels, their group sets interned into a palette."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from constrained.errors import AlikeError, TrieError

__all__ = ["Flags", "Ints", "Palette", "check_entries", "check_groups", "group_bits", "levels_of", "starts_of", "words_for"]

WORD = 64  # bits of a palette word
MAX_CLASSES = 1 << 16
MAX_EDGES = np.iinfo(np.int32).max - 1

Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]


def group_bits(groups: Sequence[int], n_groups: int) -> NDArray[np.uint64]:
    """One bitset with these groups, as `TokenTrie.palette` lays them out. Shape: (words,), uint64."""
    bits = np.zeros(words_for(n_groups), dtype=np.uint64)
    for group in groups:
        bits[group // WORD] |= np.uint64(1) << np.uint64(group % WORD)
    return bits


def words_for(n_groups: int) -> int:
    """Words of a bitset of so many groups."""
    return max(1, -(-n_groups // WORD))


class Level(NamedTuple):
    """All edges at one depth.  All depths are held until the end, so everything is as narrow as it will be saved.

    Attributes:
        degree: edges of each node of the depth above. Shape: (nodes above,).
        token: Shape: (edges,).
        leaf_node, leaf_entry: the edges that end an entry, as node numbers, and these entries. Shape: (leaves here,).
    """

    degree: NDArray[np.int32]
    token: NDArray[np.int32]
    leaf_node: NDArray[np.int32]
    leaf_entry: NDArray[np.int32]

    @property
    def width(self) -> int:
        return len(self.token)


class Below(NamedTuple):
    """The entries below each edge of a depth; only needed while the depth is built, and as large as all levels together.

    Attributes:
        order: entries that reach this depth, sorted by edge. Shape: (entries here,).
        first: first of `order` for each edge. Shape: (edges,).
    """

    order: NDArray[np.int32]
    first: NDArray[np.int64]

    @property
    def size(self) -> NDArray[np.int64]:
        """Entries below each edge. Shape: (edges,)."""
        return np.diff(self.first, append=len(self.order))


def levels_of(tokens: Ints, offsets: NDArray[np.int64], end_token: int) -> Iterator[tuple[Level, Below]]:
    """Depth by depth: sort the entries that are left by (node, token); each distinct pair is an edge."""
    order = np.arange(len(offsets) - 1, dtype=np.int32)
    node = np.zeros(len(order), dtype=np.int32)  # number of the entry's node within its depth; ascending
    width, n_nodes = 1, 1
    for depth in range(int(np.diff(offsets).max())):
        order = _sorted_by_token(order, node, tokens, offsets, depth)
        token = tokens[offsets[order] + depth].astype(np.int32, copy=False)
        below = Below(order, np.flatnonzero(np.r_[True, (node[1:] != node[:-1]) | (token[1:] != token[:-1])]))
        edge_token = token[below.first]
        leaf = np.flatnonzero(edge_token == end_token)
        _check_distinct(below, leaf)
        # Checked before anything is counted in 32 bits.
        if n_nodes + len(edge_token) > MAX_EDGES:
            raise TrieError(f"the trie has more than {MAX_EDGES:,} nodes, more than 32-bit numbers hold; split the entries")
        degree = np.bincount(node[below.first], minlength=width).astype(np.int32)
        yield Level(degree, edge_token, (n_nodes + leaf).astype(np.int32), order[below.first[leaf]]), below
        width = len(edge_token)
        n_nodes += width
        goes_on = token != end_token
        node = np.repeat(np.arange(width, dtype=np.int32), below.size)[goes_on]
        order = order[goes_on]


def _sorted_by_token(order: NDArray[np.int32], node: NDArray[np.int32], tokens: Ints, offsets: NDArray[np.int64], depth: int) -> NDArray[np.int32]:
    """The entries with those of one node sorted by their token at this depth; entries alone at their node stay in place."""
    new_node = np.r_[True, node[1:] != node[:-1]]
    shared = np.flatnonzero(~(new_node & np.r_[new_node[1:], True]))
    entries = order[shared]
    key = (node[shared].astype(np.int64) << 32) | tokens[offsets[entries] + depth].astype(np.int64)
    result = order.copy()
    result[shared] = entries[np.argsort(key, kind="stable")]
    return result


def _check_distinct(below: Below, leaf: NDArray[np.int64]) -> None:
    twice = leaf[below.size[leaf] > 1]
    if len(twice):
        place = below.first[twice[0]]
        raise AlikeError(*sorted(below.order[place : place + 2].tolist()))


def starts_of(degrees: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Sums of the degrees so far. Shape: (all degrees + 1,)."""
    starts = np.zeros(sum(map(len, degrees)) + 1, dtype=np.int32)
    np.concatenate(degrees, out=starts[1:])
    # In place: the number of nodes was checked, so no sum overflows.
    return np.cumsum(starts, out=starts)


class Palette:
    """Interns bitsets: numbers are provisional while building, final (rows in ascending order) after `finish`."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint64]] = []
        self._size = 0

    def intern(self, sets: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Provisional numbers of bitsets. Shape: (sets × words) → (sets,)."""
        rows, number = _distinct_rows(sets)
        self._blocks.append(rows)
        self._size += len(rows)
        return (number + (self._size - len(rows))).astype(np.int32)

    def unions(self, below: Below, entry_class: NDArray[np.int32], group_sets: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Provisional number of the union of the entries below each edge. Shape: (edges,)."""
        classes = entry_class[below.order]
        result = np.minimum.reduceat(classes, below.first)
        # Most nodes lead to entries of one class; only the others need their bitsets.
        mixed = result != np.maximum.reduceat(classes, below.first)
        if mixed.any():
            size = below.size
            entries = below.order[np.repeat(mixed, size)]
            starts = np.cumsum(size[mixed]) - size[mixed]
            result[mixed] = self.intern(np.bitwise_or.reduceat(group_sets[entries], starts, axis=0))
        return result

    def finish(self) -> tuple[NDArray[np.uint64], Ints]:
        """The palette, and the final number of each provisional one."""
        rows, number = _distinct_rows(np.concatenate(self._blocks))
        if len(rows) > MAX_CLASSES:
            raise TrieError(f"the entries' groups give {len(rows):,} distinct unions, at most {MAX_CLASSES:,} are held; use fewer groups")
        return rows, number.astype(np.uint8 if len(rows) <= 1 << 8 else np.uint16)


def _distinct_rows(sets: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    if sets.shape[1] == 1:  # several times faster than the general way
        words, number = np.unique(sets[:, 0], return_inverse=True)
        return words[:, None], number
    rows, number = np.unique(sets, axis=0, return_inverse=True)
    return rows, number.reshape(-1)


def check_entries(tokens: Ints, offsets: NDArray[np.int64], end_token: int, what: str = "entry") -> None:
    """Refuse entries that contradict themselves.

    Args:
        tokens, offsets, end_token: as `TokenTrie.build` takes them.
        what: what the error calls one of them.

    Raises:
        TrieError: no entries, an empty one, one without its end token or with another inside, or ids out of range.
    """
    if len(offsets) < 2:
        raise TrieError("no entries: a trie needs at least one")
    if len(offsets) > MAX_EDGES:
        raise TrieError(f"{len(offsets) - 1:,} entries, more than 32-bit numbers hold; split them")
    if offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
        raise TrieError(f"offsets must ascend from 0 to the number of tokens ({len(tokens)}), these run from {offsets[0]} to {offsets[-1]}")
    _refuse(np.diff(offsets) == 0, "is empty", what)
    _refuse(tokens[offsets[1:] - 1] != end_token, f"does not end with the end token {end_token}", what)
    _refuse(np.diff(offsets) == 1, "is empty but for its end token", what)
    # Counted over all first: for each entry it takes eight bytes a token.
    if np.count_nonzero(tokens == end_token) >= len(offsets):
        _refuse(np.add.reduceat(tokens == end_token, offsets[:-1], dtype=np.int64) > 1, f"has the end token {end_token} before its end", what)
    if tokens.min() < 0:
        _refuse(np.minimum.reduceat(tokens, offsets[:-1]) < 0, "has a negative token id", what)
    if int(tokens.max()) > np.iinfo(np.int32).max:
        raise TrieError(f"token id {tokens.max()} does not fit 32 bits")


def _refuse(bad: Flags, why: str, what: str) -> None:
    if bad.any():
        raise TrieError(f"{what} {int(bad.argmax())} {why}" + (f" ({int(bad.sum())} such entries)" if bad.sum() > 1 else ""))


def check_groups(group_sets: NDArray[np.uint64], n_entries: int, n_groups: int, what: str = "entry") -> None:
    """Refuse bitsets of another shape or type, or with a group beyond the last; arguments as `check_entries` has them.

    Raises:
        TrieError: they are not those of so many entries and groups.
    """
    shape = (n_entries, words_for(n_groups))
    if group_sets.shape != shape or group_sets.dtype != np.uint64:
        raise TrieError(f"group_sets must be uint64 of shape {shape} for {n_groups} groups, got {group_sets.dtype} {group_sets.shape}")
    beyond = ~group_bits(range(n_groups), n_groups)
    _refuse(np.asarray((group_sets & beyond).any(axis=1)), f"has a group beyond the last, {n_groups - 1}", what)
