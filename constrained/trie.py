"""An immutable trie over token ids in flat arrays (compressed sparse rows), breadth-first.

The node an edge leads to has the edge's number plus one (the root is 0), so no pointer to a child is stored: a node is two
numbers of `child_start`, an edge one number of `token`.  Every entry ends with the end token, which is an edge like any other:
"angina" is a prefix of "angina pectoris", and only its end edge tells that it is an entry too.  The node behind an end edge is
a leaf and stands for exactly one entry.

Entries belong to groups, as bitsets.  The distinct bitsets are interned into a palette and a node holds the number (its class)
of the union of all entries below it: a node whose class shares a group with a query has an entry of that group below it, so a
walk that keeps to allowed nodes never comes to a dead end.
"""

import hashlib
import json
import os
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Children", "TokenTrie", "TrieError", "load_array", "save_array", "save_text"]

FORMAT = "constrained.TokenTrie"
VERSION = 1
HEADER = "trie.json"
ARRAYS = ("child_start", "token", "node_class", "palette", "leaf_node", "leaf_entry")
COUNTS = ("end_token", "n_groups", "vocabulary")
WORD = 64  # bits of a palette word
MAX_CLASSES = 1 << 16
MAX_EDGES = np.iinfo(np.int32).max - 1

Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]


class TrieError(ValueError):
    """A trie cannot be built, saved, read or used as asked; one line."""


class Children(NamedTuple):
    """Edges below some nodes, in the order of these nodes and by token within one.

    Attributes:
        row: place of the parent in the array that was asked for. Shape: (edges,).
        token: the edge's token id. Shape: (edges,).
        child: the node it leads to. Shape: (edges,).
    """

    row: NDArray[np.int64]
    token: NDArray[np.int32]
    child: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenTrie:
    """A closed set of token sequences; entry numbers are the places of the sequences it was built from.

    Attributes:
        child_start: first edge of each node; the children of node n are edges [n], [n + 1). Shape: (nodes + 1,), int32.
        token: token id of each edge, ascending within a node. Shape: (edges,), int32; nodes = edges + 1.
        node_class: palette row of each node. Shape: (nodes,), uint8 or uint16.
        palette: distinct group bitsets, group g is bit g % 64 of word g // 64. Shape: (classes × words), uint64.
        leaf_node: the leaves, ascending. Shape: (entries,), int32.
        leaf_entry: entry number of each leaf. Shape: (entries,), int32.
        end_token: the token that every entry ends with.
        n_groups: groups are numbered 0 … n_groups − 1.
        vocabulary: the largest token id plus one; a model needs at least as many logits.
    """

    child_start: NDArray[np.int32]
    token: NDArray[np.int32]
    node_class: Ints
    palette: NDArray[np.uint64]
    leaf_node: NDArray[np.int32]
    leaf_entry: NDArray[np.int32]
    end_token: int
    n_groups: int
    vocabulary: int

    @classmethod
    def build(cls, tokens: Ints, offsets: Ints, group_sets: NDArray[np.uint64], end_token: int, n_groups: int) -> "TokenTrie":
        """Build from entries in any order.

        Args:
            tokens: the entries' token ids, one after the other. Shape: (all tokens,).
            offsets: entry i is tokens[offsets[i]:offsets[i + 1]]. Shape: (entries + 1,).
            group_sets: bitset of each entry's groups, laid out as `palette`. Shape: (entries × words), uint64.
            end_token: ends every entry and occurs nowhere else.
            n_groups: number of groups.

        Raises:
            TrieError: no entries, an empty one, two alike, or arrays that contradict each other.
        """
        starts: NDArray[np.int64] = np.asarray(offsets, dtype=np.int64)
        _check_entries(tokens, starts, end_token)
        _check_groups(group_sets, len(starts) - 1, n_groups)
        palette = _Palette()
        entry_class = palette.intern(group_sets)
        classes = [palette.intern(np.bitwise_or.reduce(group_sets, axis=0, keepdims=True))]
        levels = []
        for level, below in _levels(tokens, starts, end_token):
            levels.append(level)
            classes.append(palette.unions(below, entry_class, group_sets))
        rows, final = palette.finish()
        return cls(
            child_start=_starts([*(level.degree for level in levels), np.zeros(levels[-1].width, np.int32)]),
            token=np.concatenate([level.token for level in levels]),
            node_class=np.concatenate([final[each] for each in classes]),
            palette=rows,
            leaf_node=np.concatenate([level.leaf_node for level in levels]),
            leaf_entry=np.concatenate([level.leaf_entry for level in levels]),
            end_token=int(end_token),
            n_groups=int(n_groups),
            vocabulary=int(tokens.max()) + 1,
        )

    @property
    def n_entries(self) -> int:
        """Number of entries, which is the number of leaves."""
        return len(self.leaf_node)

    @property
    def n_nodes(self) -> int:
        """Number of nodes, root and leaves included."""
        return len(self.node_class)

    @property
    def nbytes(self) -> int:
        """Size of all arrays, in bytes."""
        return sum(array.nbytes for array in self._arrays().values())

    def allowed(self, groups: Sequence[int] | None) -> Flags:
        """One flag per palette row: whether it has any of these groups; None allows everything.

        Args:
            groups: group numbers.

        Returns:
            Shape: (classes,), bool.

        Raises:
            TrieError: a number that is no group of this trie.
        """
        if groups is None:
            return np.ones(len(self.palette), dtype=np.bool_)
        for group in groups:
            if not 0 <= group < self.n_groups:
                raise TrieError(f"group {group} is not in the trie: it has groups 0 to {self.n_groups - 1}")
        shared = self.palette & group_bits(groups, self.n_groups)
        return np.asarray(shared.any(axis=1))

    def children(self, node: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Tokens of all edges of one node, ascending, and the nodes they lead to. Shapes: (edges,) each."""
        first, last = int(self.child_start[node]), int(self.child_start[node + 1])
        return self.token[first:last], np.arange(first + 1, last + 1, dtype=np.int64)

    def children_of(self, nodes: Ints, flags: Flags | None = None, which: Ints | None = None) -> Children:
        """Allowed edges of many nodes at once.

        Args:
            nodes: Shape: (rows,).
            flags: what `allowed` returned, for all rows alike, Shape: (classes,); or a table of several, Shape:
                (queries × classes), with `which`; None allows everything.
            which: row of the table that each node goes by. Shape: (rows,).

        Returns:
            Children; `row` ascends.
        """
        first = self.child_start[nodes].astype(np.int64)
        count = self.child_start[np.asarray(nodes) + 1] - first
        ends = np.cumsum(count)
        row = np.repeat(np.arange(len(first)), count)
        edge = np.arange(len(row)) + np.repeat(first - (ends - count), count)
        if flags is None:
            return Children(row, self.token[edge], edge + 1)
        classes = self.node_class[edge + 1]
        keep = flags[classes] if which is None else flags[which[row], classes]
        return Children(row[keep], self.token[edge[keep]], edge[keep] + 1)

    def entry_of(self, nodes: Ints) -> NDArray[np.int64]:
        """Entry numbers of leaves, −1 for other nodes. Shape: as `nodes`."""
        place = np.minimum(np.searchsorted(self.leaf_node, nodes), self.n_entries - 1)
        return np.where(self.leaf_node[place] == nodes, self.leaf_entry[place].astype(np.int64), -1)

    def walk(self, ids: Sequence[int], flags: Flags | None = None) -> int:
        """The entry with exactly these token ids, end token included, or −1.

        Args:
            ids: token ids.
            flags: what `allowed` returned; an entry without an allowed group is not found.
        """
        node = 0
        for token in ids:
            node = self._child(node, token)
            if node < 0 or (flags is not None and not flags[self.node_class[node]]):
                return -1
        return int(self.entry_of(np.array([node]))[0])

    def path(self, entry: int) -> NDArray[np.int32]:
        """Token ids of an entry, end token included: the inverse of `walk`. Shape: (tokens,)."""
        node, ids = int(self.leaf_node[self._leaf_of_entry[entry]]), []
        while node:
            ids.append(self.token[node - 1])
            node = int(np.searchsorted(self.child_start, node - 1, side="right")) - 1
        return np.array(ids[::-1], dtype=np.int32)

    def save(self, folder: Path | str) -> None:
        """Write one .npy per array, and the header last: a folder without a header is one half written."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        (target / HEADER).unlink(missing_ok=True)
        for name, array in self._arrays().items():
            save_array(target / f"{name}.npy", array)
        save_text(target / HEADER, json.dumps(self._header(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path | str, mmap: bool = True, verify: bool = False) -> "TokenTrie":
        """Read a folder that `save` wrote.

        Args:
            folder: the folder.
            mmap: map the arrays into memory instead of reading them.
            verify: compare the SHA-256 of every array, which reads them all.

        Raises:
            TrieError: the folder is missing, half written, damaged or of another version.
        """
        source = Path(folder)
        header = _read_header(source / HEADER)
        arrays = {name: _read_array(source / f"{name}.npy", header["arrays"][name], mmap, verify) for name in ARRAYS}
        trie = cls(**arrays, end_token=header["end_token"], n_groups=header["n_groups"], vocabulary=header["vocabulary"])
        trie._check_shapes(source)
        return trie

    @cached_property
    def _leaf_of_entry(self) -> NDArray[np.int64]:
        return np.argsort(self.leaf_entry)

    def _child(self, node: int, token: int) -> int:
        first, last = int(self.child_start[node]), int(self.child_start[node + 1])
        edge = first + int(np.searchsorted(self.token[first:last], token))
        return edge + 1 if edge < last and self.token[edge] == token else -1

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAYS}

    def _header(self) -> dict[str, Any]:
        arrays = {name: {"dtype": str(a.dtype), "shape": list(a.shape), "sha256": _digest(a)} for name, a in self._arrays().items()}
        counts = {name: getattr(self, name) for name in COUNTS}
        return {"format": FORMAT, "version": VERSION, "n_entries": self.n_entries, "n_nodes": self.n_nodes, **counts, "arrays": arrays}

    def _check_shapes(self, folder: Path) -> None:
        edges = len(self.token)
        agree = len(self.node_class) == edges + 1 and len(self.child_start) == edges + 2 and len(self.leaf_entry) == len(self.leaf_node)
        if not agree or self.child_start[0] != 0 or self.child_start[-1] != edges:
            raise TrieError(f"{folder}: the trie's arrays do not belong together; build it again")


def group_bits(groups: Sequence[int], n_groups: int) -> NDArray[np.uint64]:
    """One bitset with these groups, as `TokenTrie.palette` lays them out. Shape: (words,), uint64."""
    bits = np.zeros(_words(n_groups), dtype=np.uint64)
    for group in groups:
        bits[group // WORD] |= np.uint64(1) << np.uint64(group % WORD)
    return bits


def _words(n_groups: int) -> int:
    return max(1, -(-n_groups // WORD))


# --- building -----------------------------------------------------------------------------------------------------------


class _Level(NamedTuple):
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


class _Below(NamedTuple):
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


def _levels(tokens: Ints, offsets: NDArray[np.int64], end_token: int) -> Iterator[tuple[_Level, _Below]]:
    """Depth by depth: sort the entries that are left by (node, token); each distinct pair is an edge."""
    order = np.arange(len(offsets) - 1, dtype=np.int32)
    node = np.zeros(len(order), dtype=np.int32)  # number of the entry's node within its depth; ascending
    width, n_nodes = 1, 1
    for depth in range(int(np.diff(offsets).max())):
        order = _sorted_by_token(order, node, tokens, offsets, depth)
        token = tokens[offsets[order] + depth].astype(np.int32, copy=False)
        below = _Below(order, np.flatnonzero(np.r_[True, (node[1:] != node[:-1]) | (token[1:] != token[:-1])]))
        edge_token = token[below.first]
        leaf = np.flatnonzero(edge_token == end_token)
        _check_distinct(below, leaf)
        # Checked before anything is counted in 32 bits.
        if n_nodes + len(edge_token) > MAX_EDGES:
            raise TrieError(f"the trie has more than {MAX_EDGES:,} nodes, more than 32-bit numbers hold; split the entries")
        degree = np.bincount(node[below.first], minlength=width).astype(np.int32)
        yield _Level(degree, edge_token, (n_nodes + leaf).astype(np.int32), order[below.first[leaf]]), below
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


def _check_distinct(below: _Below, leaf: NDArray[np.int64]) -> None:
    twice = leaf[below.size[leaf] > 1]
    if len(twice):
        place = below.first[twice[0]]
        one, other = sorted(below.order[place : place + 2].tolist())
        raise TrieError(f"entries {one} and {other} are the same token sequence; tell them apart before building")


def _starts(degrees: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Sums of the degrees so far. Shape: (all degrees + 1,)."""
    starts = np.zeros(sum(map(len, degrees)) + 1, dtype=np.int32)
    np.concatenate(degrees, out=starts[1:])
    # In place: the number of nodes was checked, so no sum overflows.
    return np.cumsum(starts, out=starts)


class _Palette:
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

    def unions(self, below: _Below, entry_class: NDArray[np.int32], group_sets: NDArray[np.uint64]) -> NDArray[np.int32]:
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


def _check_entries(tokens: Ints, offsets: NDArray[np.int64], end_token: int) -> None:
    if len(offsets) < 2:
        raise TrieError("no entries: a trie needs at least one")
    if len(offsets) > MAX_EDGES:
        raise TrieError(f"{len(offsets) - 1:,} entries, more than 32-bit numbers hold; split them")
    if offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
        raise TrieError(f"offsets must ascend from 0 to the number of tokens ({len(tokens)}), these run from {offsets[0]} to {offsets[-1]}")
    _refuse(np.diff(offsets) == 0, "is empty")
    _refuse(tokens[offsets[1:] - 1] != end_token, f"does not end with the end token {end_token}")
    _refuse(np.diff(offsets) == 1, "is empty but for its end token")
    # Counted over all first: for each entry it takes eight bytes a token.
    if np.count_nonzero(tokens == end_token) >= len(offsets):
        _refuse(np.add.reduceat(tokens == end_token, offsets[:-1], dtype=np.int64) > 1, f"has the end token {end_token} before its end")
    if tokens.min() < 0:
        _refuse(np.minimum.reduceat(tokens, offsets[:-1]) < 0, "has a negative token id")
    if int(tokens.max()) > np.iinfo(np.int32).max:
        raise TrieError(f"token id {tokens.max()} does not fit 32 bits")


def _refuse(bad: Flags, why: str) -> None:
    if bad.any():
        raise TrieError(f"entry {int(bad.argmax())} {why}" + (f" ({int(bad.sum())} such entries)" if bad.sum() > 1 else ""))


def _check_groups(group_sets: NDArray[np.uint64], n_entries: int, n_groups: int) -> None:
    shape = (n_entries, _words(n_groups))
    if group_sets.shape != shape or group_sets.dtype != np.uint64:
        raise TrieError(f"group_sets must be uint64 of shape {shape} for {n_groups} groups, got {group_sets.dtype} {group_sets.shape}")
    beyond = ~group_bits(range(n_groups), n_groups)
    _refuse(np.asarray((group_sets & beyond).any(axis=1)), f"has a group beyond the last, {n_groups - 1}")


# --- files --------------------------------------------------------------------------------------------------------------


# numpy's reader of headers is Python's own tokenizer, parser and literal evaluator, and what it makes of rubbish is theirs;
# a nesting too deep is a MemoryError to the parser, and a mapping asks for no memory that could be short.
_DAMAGED = (ValueError, EOFError, SyntaxError, tokenize.TokenError, TypeError, IndexError, OverflowError, RecursionError, MemoryError)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy beside its place and move it there: the array may be a mapping of the very file, here or in another process.

    Args:
        path: of the file, suffix included.
        array: of numbers.
    """
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    os.replace(partial, path)


def save_text(path: Path, text: str) -> None:
    """Write a text file beside its place and move it there, so that no reader meets half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def load_array(path: Path, mmap: bool = True) -> NDArray[Any]:
    """Read a .npy.

    Args:
        path: of the file, suffix included.
        mmap: map it into memory instead of reading it.

    Raises:
        FileNotFoundError: it is missing.
        TrieError: it is damaged, or holds objects.
    """
    try:
        # Mapped in any case: a size that the file does not have is found before memory is asked for.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        raise TrieError(f"{path} is damaged ({(str(error).splitlines() or [type(error).__name__])[0]})") from error
    # A plain array over the mapping: indexing the memmap subclass costs several times as much.
    return np.asarray(mapped) if mmap else np.array(mapped)


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrieError(f"{path} is missing: no trie, or one half written; build it again") from error
    except ValueError as error:
        raise TrieError(f"{path} is not JSON ({error}); build the trie again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TrieError(f"{path} is not the header of a trie; build it again")
    if header.get("version") != VERSION:
        raise TrieError(f"{path}: trie format version {header.get('version')}, this program reads {VERSION}; build it again")
    described = header.get("arrays")
    missing = [name for name in COUNTS if not isinstance(header.get(name), int)]
    missing += [name for name in ARRAYS if not isinstance(described, dict) or not isinstance(described.get(name), dict)]
    if missing:
        raise TrieError(f"{path} does not give {', '.join(missing)}; build the trie again")
    return header


def _read_array(path: Path, described: dict[str, Any], mmap: bool, verify: bool) -> NDArray[Any]:
    try:
        array = load_array(path, mmap)
    except FileNotFoundError as error:
        raise TrieError(f"{path} is missing: the trie is incomplete; build it again") from error
    except TrieError as error:
        raise TrieError(f"{error}; build the trie again") from error
    if str(array.dtype) != described.get("dtype") or list(array.shape) != described.get("shape"):
        raise TrieError(
            f"{path} holds {array.dtype} {list(array.shape)}, the header says {described.get('dtype')} {described.get('shape')}; build the trie again"
        )
    if verify and _digest(array) != described.get("sha256"):
        raise TrieError(f"{path} was altered: its SHA-256 is not the header's; build the trie again")
    return array
