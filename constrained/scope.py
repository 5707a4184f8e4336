"""Which entries of a trie a query may answer with: groups, a list of candidates, or both.

A scope by groups is one flag per palette row of the trie.  A scope by candidates is the ascending list of the nodes that lead to
one of them: children of a node have consecutive numbers, so those allowed are one slice of the list.  Either way a walk that
keeps to the scope never comes to a dead end, and a query costs arrays, no Python objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from constrained.trie import Children, Flags, Ints, TokenTrie, TrieError

__all__ = ["EVERYTHING", "Scope", "ScopeTable", "trie_scope"]

Longs = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scope:
    """What one query may answer with; made by `trie_scope`.

    Attributes:
        flags: one per palette row, None where groups do not matter. Shape: (classes,).
        nodes: the root and every node that leads to a candidate, ascending; None where there is no list. Shape: (nodes,).
        trie: whose palette rows and nodes these are; None where everything is allowed.
    """

    flags: Flags | None = None
    nodes: Longs | None = None
    trie: TokenTrie | None = field(default=None, repr=False)


EVERYTHING = Scope()


def trie_scope(trie: TokenTrie, groups: Sequence[int] | None = None, candidates: Sequence[int] | Ints | None = None) -> Scope:
    """The entries that are in any of the groups and among the candidates.

    Args:
        trie: the trie to be searched.
        groups: group numbers; None for all.
        candidates: entry numbers, e.g. of a retriever; None for all.

    Raises:
        TrieError: a number that is no group or entry of the trie, candidates that are no list of integers, or no entry is left.
    """
    flags = None if groups is None else trie.allowed(groups)
    if candidates is None:
        if flags is not None and not flags[trie.node_class[0]]:
            raise TrieError("the allowed groups hold no entry of the trie")
        return EVERYTHING if flags is None else Scope(flags, None, trie)
    leaves = trie.leaves_of(_checked(trie, candidates))
    if flags is not None:
        leaves = leaves[flags[trie.node_class[leaves]]]
    if not len(leaves):
        raise TrieError("no candidate is in the allowed groups" if len(candidates) else "the list of candidates is empty")
    return Scope(None, _with_ancestors(trie, leaves), trie)


def _checked(trie: TokenTrie, candidates: Sequence[int] | Ints) -> Longs:
    asked: Ints = np.asarray(candidates)
    if asked.ndim != 1 or (len(asked) and asked.dtype.kind not in "iu"):
        raise TrieError(f"candidates must be a list of entry numbers, got {asked.dtype} of shape {asked.shape}")
    entries = np.unique(asked)
    if len(entries) and not 0 <= entries[0] <= entries[-1] < trie.n_entries:
        bad = entries[0] if entries[0] < 0 else entries[-1]
        raise TrieError(f"candidate {bad} is not in the trie: it has entries 0 to {trie.n_entries - 1}")
    return entries.astype(np.int64)


def _with_ancestors(trie: TokenTrie, leaves: Longs) -> Longs:
    """The leaves and all nodes above them, ascending."""
    levels = [np.sort(leaves)]
    # Nodes of different depths may meet on the way up; the root is above all of them.
    while len(levels[-1]) > 1 or levels[-1][0] != 0:
        level = levels[-1]
        levels.append(np.unique(trie.parents_of(level[level > 0])))
    return np.unique(np.concatenate(levels))


def _check_made_for(trie: TokenTrie, scopes: Sequence[Scope]) -> None:
    for place, scope in enumerate(scopes):
        if scope.trie is not trie and not (scope.flags is None and scope.nodes is None):
            raise TrieError(f"scope {place} was made for another trie; make it anew, with trie_scope of the one that is searched")


class ScopeTable:
    """The scopes of a batch, laid out so that the children of many nodes are found at once.

    Args:
        trie: the trie to be searched.
        scopes: one for each query.

    Raises:
        TrieError: a scope of another trie; one that `TokenTrie.updated` made is another.
    """

    def __init__(self, trie: TokenTrie, scopes: Sequence[Scope]) -> None:
        _check_made_for(trie, scopes)
        self._trie = trie
        distinct = {id(scope): scope for scope in scopes}
        number = {key: i for i, key in enumerate(distinct)}
        self._number: Longs = np.array([number[id(scope)] for scope in scopes], dtype=np.int64)
        kept = list(distinct.values())
        self._listed: Flags = np.array([scope.nodes is not None for scope in kept], dtype=np.bool_)
        self._flags: Flags | None = None
        if any(scope.flags is not None for scope in kept):
            everything = trie.allowed(None)
            self._flags = np.stack([everything if scope.flags is None else scope.flags for scope in kept])
        # One ascending list for all: the scope's number above the node's.
        self._span = trie.n_nodes + 1
        lists = [scope.nodes + i * self._span for i, scope in enumerate(kept) if scope.nodes is not None]
        self._nodes: Longs = np.concatenate(lists) if lists else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._number)

    def number(self, which: Ints) -> Longs:
        """Equal for queries of one scope. Shape: as `which`."""
        return self._number[which]

    def children_of(self, nodes: Ints, which: Ints) -> Children:
        """Allowed edges below many nodes.

        Args:
            nodes: each allowed in its scope. Shape: (rows,).
            which: the query that each node is searched for. Shape: (rows,).

        Returns:
            Children; `row` ascends, `token` within a row.
        """
        number = self._number[which]
        listed = self._listed[number]
        if not listed.any():
            return self._trie.children_of(nodes, self._flags, None if self._flags is None else number)
        if listed.all():
            return self._among_listed(nodes, number)
        return self._both(np.asarray(nodes), number, listed)

    def _among_listed(self, nodes: Ints, number: Longs) -> Children:
        base = number * self._span
        first = np.searchsorted(self._nodes, base + self._trie.child_start[nodes] + 1)
        last = np.searchsorted(self._nodes, base + self._trie.child_start[np.asarray(nodes) + 1] + 1)
        count = last - first
        ends = np.cumsum(count)
        row = np.repeat(np.arange(len(count)), count)
        child = self._nodes[np.arange(len(row)) + np.repeat(first - (ends - count), count)] - base[row]
        return Children(row, self._trie.token[child - 1], child)

    def _both(self, nodes: Ints, number: Longs, listed: Flags) -> Children:
        parts = []
        for rows, found in (
            (np.flatnonzero(listed), self._among_listed(nodes[listed], number[listed])),
            (np.flatnonzero(~listed), self._trie.children_of(nodes[~listed], self._flags, None if self._flags is None else number[~listed])),
        ):
            parts.append(Children(rows[found.row], found.token, found.child))
        row, token, child = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        order = np.argsort(row, kind="stable")
        return Children(row[order], token[order], child[order])
