"""An immutable trie over token ids in flat arrays (compressed sparse rows), breadth-first.

The node an edge leads to has the edge's number plus one (the root is 0), so no pointer to a child is stored: a node is two
numbers of `child_start`, an edge one number of `token`.  Every entry ends with the end token, which is an edge like any other:
"angina" is a prefix of "angina pectoris", and only its end edge tells that it is an entry too.  The node behind an end edge is
a leaf and stands for exactly one entry.

Entries belong to groups, as bitsets.  The distinct bitsets are interned into a palette and a node holds the number (its class)
of the union of all entries below it: a node whose class shares a group with a query has an entry of that group below it, so a
walk that keeps to allowed nodes never comes to a dead end.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from constrained.building import Flags, Ints, Palette, check_entries, check_groups, group_bits, levels_of, starts_of
from constrained.errors import AlikeError, TrieError
from constrained.files import ARRAYS, COUNTS, FORMAT, HEADER, VERSION, digest_of, load_array, read_array, read_header, save_array, save_text
from constrained.updating import Entries, Longs, Placement, path_lengths, write_paths, write_rows

__all__ = ["Children", "Entries", "Flags", "Ints", "TokenTrie", "TrieError", "group_bits", "load_array", "save_array", "save_text"]


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
        check_entries(tokens, starts, end_token)
        check_groups(group_sets, len(starts) - 1, n_groups)
        palette = Palette()
        entry_class = palette.intern(group_sets)
        classes = [palette.intern(np.bitwise_or.reduce(group_sets, axis=0, keepdims=True))]
        levels = []
        for level, below in levels_of(tokens, starts, end_token):
            levels.append(level)
            classes.append(palette.unions(below, entry_class, group_sets))
        rows, final = palette.finish()
        return cls(
            child_start=starts_of([*(level.degree for level in levels), np.zeros(levels[-1].width, np.int32)]),
            token=np.concatenate([level.token for level in levels]),
            node_class=np.concatenate([final[each] for each in classes]),
            palette=rows,
            leaf_node=np.concatenate([level.leaf_node for level in levels]),
            leaf_entry=np.concatenate([level.leaf_entry for level in levels]),
            end_token=int(end_token),
            n_groups=int(n_groups),
            vocabulary=int(tokens.max()) + 1,
        )

    def entries(self) -> Entries:
        """What the trie was built from, in entry order, group sets as `palette` has them: `build` makes the same trie of it."""
        lengths = np.empty(self.n_entries, np.int64)
        lengths[self.leaf_entry] = path_lengths(self.child_start, self.leaf_node)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.empty(int(offsets[-1]), np.int32)
        write_paths(self.child_start, self.token, self.leaf_node, offsets[self.leaf_entry], tokens)
        sets = np.empty((self.n_entries, self.palette.shape[1]), np.uint64)
        sets[self.leaf_entry] = self.palette[self.node_class[self.leaf_node]]
        return Entries(tokens, offsets, sets)

    def updated(self, added: Entries | None = None, removed: Sequence[int] | Ints = (), at: Sequence[int] | Ints | None = None) -> tuple["TokenTrie", Longs]:
        """The trie with some entries retired and others added; equal, byte for byte, to one built anew from the resulting list.

        That list is made as `np.insert(np.delete(old, removed), at, added)` makes it: the entries kept stand in their old order,
        added entry i stands before the kept one that is number `at[i]` among the kept (their count: behind all), and
        added entries of one place in the order given.

        Args:
            added: the new entries, in the form of `entries`.
            removed: numbers of the entries to retire.
            at: the place of each added entry, 0 … kept entries, in any order; None puts them behind all. Shape: (added,).

        Returns:
            The trie, and the new number of each old entry, −1 for a retired one. Shape: (old entries,), int64.

        Raises:
            TrieError: a number that is no entry or comes twice, a place out of range, an added entry that `build` would
                refuse, stands already or comes twice, or nothing left.
        """
        starts = np.asarray(added.offsets, dtype=np.int64) if added is not None else np.zeros(1, np.int64)
        if added is not None and len(starts) > 1:
            check_entries(added.tokens, starts, self.end_token, "added entry")
            check_groups(added.group_sets, len(starts) - 1, self.n_groups, "added entry")
        placed = Placement.of(self.n_entries, removed, len(starts) - 1, at)
        try:
            return self._rebuilt(added, placed), placed.new_number
        except AlikeError as error:
            raise TrieError(placed.told(*error.entries)) from None

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
        place = np.minimum(_search(self.leaf_node, nodes), self.n_entries - 1)
        return np.where(self.leaf_node[place] == nodes, self.leaf_entry[place].astype(np.int64), -1)

    def leaves_of(self, entries: Ints) -> NDArray[np.int64]:
        """The leaf of each entry: the inverse of `entry_of`. Shape: as `entries`."""
        return self.leaf_node[self._leaf_of_entry[entries]].astype(np.int64)

    def parents_of(self, nodes: Ints) -> NDArray[np.int64]:
        """The node above each node but the root. Shape: as `nodes`."""
        return _search(self.child_start, np.asarray(nodes) - 1, side="right") - 1

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
            node = int(_search(self.child_start, node - 1, side="right")) - 1
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
        header = read_header(source / HEADER)
        arrays = {name: read_array(source / f"{name}.npy", header["arrays"][name], mmap, verify) for name in ARRAYS}
        trie = cls(**arrays, end_token=header["end_token"], n_groups=header["n_groups"], vocabulary=header["vocabulary"])
        trie._check_shapes(source)
        return trie

    def _rebuilt(self, added: Entries | None, placed: Placement) -> "TokenTrie":
        number = placed.new_number[self.leaf_entry]
        leaves, kept = self.leaf_node[number >= 0], number[number >= 0]
        lengths = np.empty(placed.size, np.int64)
        lengths[kept] = path_lengths(self.child_start, leaves)
        sets = np.empty((placed.size, self.palette.shape[1]), np.uint64)
        sets[kept] = self.palette[self.node_class[leaves]]
        if added is not None:
            lengths[placed.added] = np.diff(added.offsets)
            sets[placed.added] = added.group_sets
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.empty(int(offsets[-1]), np.int32)
        write_paths(self.child_start, self.token, leaves, offsets[kept], tokens)
        if added is not None:
            write_rows(added.tokens, added.offsets, offsets[placed.added], tokens)
        return TokenTrie.build(tokens, offsets, sets, self.end_token, self.n_groups)

    @cached_property
    def _leaf_of_entry(self) -> NDArray[np.int64]:
        return np.argsort(self.leaf_entry)

    def _child(self, node: int, token: int) -> int:
        first, last = int(self.child_start[node]), int(self.child_start[node + 1])
        if not 0 <= token < self.vocabulary:
            return -1
        edge = first + int(_search(self.token[first:last], token))
        return edge + 1 if edge < last and self.token[edge] == token else -1

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAYS}

    def _header(self) -> dict[str, Any]:
        arrays = {name: {"dtype": str(a.dtype), "shape": list(a.shape), "sha256": digest_of(a)} for name, a in self._arrays().items()}
        counts = {name: getattr(self, name) for name in COUNTS}
        return {"format": FORMAT, "version": VERSION, "n_entries": self.n_entries, "n_nodes": self.n_nodes, **counts, "arrays": arrays}

    def _check_shapes(self, folder: Path) -> None:
        edges = len(self.token)
        agree = len(self.node_class) == edges + 1 and len(self.child_start) == edges + 2 and len(self.leaf_entry) == len(self.leaf_node)
        if not agree or self.child_start[0] != 0 or self.child_start[-1] != edges:
            raise TrieError(f"{folder}: the trie's arrays do not belong together; build it again")


def _search(ascending: Ints, values: Ints | int, side: Literal["left", "right"] = "left") -> NDArray[np.int64]:
    """`np.searchsorted`, asked in the type of the array, all of which is copied otherwise. Shape: as `values`."""
    return np.asarray(np.searchsorted(ascending, np.asarray(values).astype(ascending.dtype), side=side))
