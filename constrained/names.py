"""What may follow: the names of a trie, also several in a row, or any token.

A search holds states and asks an expander what leads on from them; it does not know what a state is.  For names it is a node of
the trie; for composite answers also the names already written; for free text a place in the tree of all that was tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constrained.ragged import counted
from constrained.scope import ScopeTable
from constrained.scoring import Scores
from constrained.trie import Ints, TokenTrie

__all__ = ["Composite", "Edges", "Expander", "Laid", "NamePairs", "Names", "SharedEdges", "Vocabulary"]

NARROW = 64  # children; a node with more is not looked through for a single allowed one
Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Laid(NamedTuple):
    """The edges that go on, with one line for each query or for each row.

    Attributes:
        total: log-probability of the whole answer so far, −∞ where there is no edge or one that ends; on the model's device.
            Shape: (lines × widest).
        first: the edge in column 0 of each line. Shape: (lines,).
        ends: the same of the edges that end, in order. Shape: (end edges,).
    """

    total: Tensor
    first: Longs
    ends: Tensor


class Edges(NamedTuple):
    """What leads on from some states, in their order.

    Attributes:
        row: place of the state that was asked for, ascending. Shape: (edges,).
        token: the token id. Shape: (edges,).
        state: where it leads. Shape: (edges,).
        end: whether it ends the answer. Shape: (edges,).
        log_prob: of the token; on the model's device, float32. Shape: (edges,).
    """

    row: Longs
    token: Longs
    state: Longs
    end: Flags
    log_prob: Tensor

    @property
    def ended(self) -> Longs:
        """The edges that end an answer, ascending."""
        return np.flatnonzero(self.end)

    def at(self, edge: Longs) -> tuple[Longs, Longs, Longs]:
        """Row, token and state of edges."""
        return self.row[edge], self.token[edge], self.state[edge]

    def laid_out(self, line: Longs, total: Tensor) -> Laid:
        """As a table.

        Args:
            line: of each row, 0, 1, 2 …, ascending. Shape: (rows,).
            total: of each row, on the model's device. Shape: (rows,).
        """
        of_edge = line[self.row]
        width = np.bincount(of_edge)
        column, end = counted(width), self.ended
        places = torch.from_numpy(np.stack([self.row, of_edge, column])).to(total.device)
        row, target, place = places
        totals = total[row] + self.log_prob
        ends = torch.from_numpy(end).to(total.device)
        table = total.new_full((len(width), int(width.max())), -torch.inf)
        table[target, place] = totals.index_fill(0, ends, -torch.inf)
        return Laid(table, np.cumsum(width) - width, totals[ends])


class SharedEdges(NamedTuple):
    """The same where all rows are at one state of one scope, as fresh prompts are: what leads on is held once.

    Attributes:
        token, state, end: Shape: (edges of a row,).
        log_prob: on the model's device, float32. Shape: (rows × edges of a row).
    """

    token: Longs
    state: Longs
    end: Flags
    log_prob: Tensor

    @property
    def ended(self) -> Longs:
        """See `Edges.ended`."""
        first = np.arange(len(self.log_prob)) * len(self.token)
        return np.asarray((first[:, None] + np.flatnonzero(self.end)).ravel())

    def at(self, edge: Longs) -> tuple[Longs, Longs, Longs]:
        """See `Edges.at`."""
        row, column = np.divmod(edge, len(self.token))
        return row, self.token[column], self.state[column]

    def laid_out(self, line: Longs, total: Tensor) -> Laid:  # noqa: ARG002
        """See `Edges.laid_out`; each row is a line."""
        totals = total[:, None] + self.log_prob
        ends = torch.from_numpy(np.flatnonzero(self.end)).to(total.device)
        return Laid(totals.index_fill(1, ends, -torch.inf), np.arange(len(totals)) * len(self.token), totals[:, ends].flatten())


class Expander(Protocol):
    """What may follow, and with what probability."""

    def forced(self, state: Longs, query: Longs, limit: int) -> tuple[Longs, Longs, Longs]:
        """The tokens after each state that have no alternative.

        Args:
            state: Shape: (rows,).
            query: that each state is searched for. Shape: (rows,).
            limit: at most so many tokens.

        Returns:
            Tokens, shape (rows × limit); how many of them count, shape (rows,); the states after them, shape (rows,).
        """
        ...

    def edges(self, state: Longs, query: Longs, scores: Scores) -> Edges | SharedEdges:
        """What leads on; `scores` has one row of logits for each state."""
        ...

    def alike(self, query: Longs) -> list[Longs]:
        """Places of queries that have the same beginning; those that are alone with theirs come together."""
        ...

    def answers(self, state: Longs) -> list[tuple[int, ...]]:
        """The entries, or the token ids, of answers that have ended or been cut off."""
        ...

    def repeats(self, query: Longs, state: Longs) -> Flags:
        """Whether answers that have ended are another reading of tokens that the query already has as an answer of the same concepts.

        Such an answer is the same event a second time and may not be counted.
        """
        ...

    def forget(self, query: Longs) -> None:
        """Queries begin again."""
        ...


class Names:
    """The names of a trie; a state is a node.

    Args:
        trie: the names.
        table: the scope of each query.
    """

    def __init__(self, trie: TokenTrie, table: ScopeTable) -> None:
        self._trie, self._table = trie, table

    def forced(self, state: Longs, query: Longs, limit: int) -> tuple[Longs, Longs, Longs]:
        """See `Expander.forced`."""
        tokens, count, state = np.zeros((len(state), limit), np.int64), np.zeros(len(state), np.int64), state.copy()
        going = np.arange(len(state))
        for depth in range(limit):
            going = going[self._narrow(state[going])]
            row, token, child, end = self._children(state[going], query[going])
            # A row's only edge is the first and the last of it.
            single = np.flatnonzero((np.diff(row, prepend=-1) != 0) & (np.diff(row, append=len(going)) != 0) & ~end)
            going = going[row[single]]
            if not len(going):
                break
            tokens[going, depth], state[going] = token[single], child[single]
            count[going] += 1
        return tokens, count, state

    def alike(self, query: Longs) -> list[Longs]:
        """See `Expander.alike`: the queries of one scope."""
        number = self._table.number(query)
        order = np.argsort(number, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
        alone = [part for part in parts if len(part) == 1]
        return [part for part in parts if len(part) > 1] + ([np.sort(np.concatenate(alone))] if alone else [])

    def edges(self, state: Longs, query: Longs, scores: Scores) -> Edges | SharedEdges:
        """See `Expander.edges`."""
        number = self._table.number(query)
        if len(query) > 1 and len(np.unique(query)) == len(query) and not state.any() and (number == number[0]).all():
            _, token, child, end = self._children(state[:1], query[:1])
            return SharedEdges(token, child, end, scores.of_all(token))
        row, token, child, end = self._children(state, query)
        return Edges(row, token, child, end, scores.of(row, token))

    def answers(self, state: Longs) -> list[tuple[int, ...]]:
        """See `Expander.answers`."""
        return [(entry,) for entry in self._trie.entry_of(state).tolist()]

    def repeats(self, query: Longs, state: Longs) -> Flags:  # noqa: ARG002
        """See `Expander.repeats`: none are."""
        return np.zeros(len(state), np.bool_)

    def forget(self, query: Longs) -> None:
        """See `Expander.forget`."""

    def _narrow(self, state: Longs) -> Flags:
        return np.asarray(self._trie.child_start[state + 1] - self._trie.child_start[state] <= NARROW)

    def _children(self, state: Longs, query: Longs) -> tuple[Longs, Longs, Longs, Flags]:
        row, token, child = self._table.children_of(state, query)
        return row, token.astype(np.int64), child, np.asarray(token == self._trie.end_token)


@dataclass(frozen=True, slots=True)
class Composite:
    """Answers of several names in a row.

    Attributes:
        separator: token ids written between two names.
        most: names of an answer, at most.
        concept_of: concept of each entry; a concept occurs once in an answer. Shape: (entries,).
        alone: entries that are whole answers and never part of one.
        entries_of: the entries of a concept; all are looked through where None.
    """

    separator: tuple[int, ...]
    most: int
    concept_of: Ints
    alone: tuple[int, ...] = ()
    entries_of: Callable[[int], Ints] | None = None

    def __post_init__(self) -> None:
        if not self.separator:
            raise ValueError("a composite answer needs a separator of at least one token")
        if self.most < 2:
            raise ValueError(f"a composite answer has at least 2 names, got {self.most}")


class NamePairs(Names):
    """Names and, after each, the separator and a further name; a state is a node and what was written before it.

    The separator is one more edge wherever a name ends, its tokens after the first are states of their own behind the
    trie's nodes, and from the last it is the root again.  Nothing leads to where no name may follow those written, so that no walk comes
    to a dead end.
    """

    def __init__(self, trie: TokenTrie, table: ScopeTable, composite: Composite) -> None:
        super().__init__(trie, table)
        self._rules = composite
        self._span = trie.n_nodes + len(composite.separator)
        # Names written before, by number; 0 is none.
        self._before: list[tuple[int, ...]] = [()]
        self._numbers: dict[tuple[int, ...], int] = {(): 0}
        # Only a name that holds the separator lets tokens be read in two ways.
        self._ambiguous = bool((trie.token == composite.separator[0]).any())
        self._read: dict[int, set[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
        # By number of the names before and of the scope.
        self._closed: dict[tuple[int, int], Longs] = {}

    def answers(self, state: Longs) -> list[tuple[int, ...]]:
        """See `Expander.answers`."""
        entries = self._trie.entry_of(state % self._span).tolist()
        return [(*self._before[number], entry) for number, entry in zip((state // self._span).tolist(), entries, strict=True)]

    def repeats(self, query: Longs, state: Longs) -> Flags:
        """See `Expander.repeats`."""
        out = np.zeros(len(state), np.bool_)
        if not self._ambiguous:
            return out
        for place, entries in enumerate(self.answers(state)):
            concepts = tuple(sorted(int(self._rules.concept_of[entry]) for entry in entries))
            answer = concepts, self._written(entries)
            read = self._read.setdefault(int(query[place]), set())
            out[place] = answer in read
            read.add(answer)
        return out

    def forget(self, query: Longs) -> None:
        """See `Expander.forget`."""
        for each in query.tolist():
            self._read.pop(each, None)

    def _written(self, entries: Sequence[int]) -> tuple[int, ...]:
        """The tokens of an answer, each name's end token standing for the separator after it."""
        tokens: list[int] = []
        for entry in entries:
            tokens += [*self._trie.path(entry).tolist()[:-1], *self._rules.separator]
        return tuple(tokens)

    def _narrow(self, state: Longs) -> Flags:
        node = np.minimum(state % self._span, self._trie.n_nodes - 1)
        return super()._narrow(node) | (state % self._span >= self._trie.n_nodes)

    def _children(self, state: Longs, query: Longs) -> tuple[Longs, Longs, Longs, Flags]:
        number, node = state // self._span, state % self._span
        within = np.flatnonzero(node >= self._trie.n_nodes)
        among = np.flatnonzero(node < self._trie.n_nodes)
        row, token, child, end = super()._children(node[among], query[among])
        row = among[row]
        child = child + number[row] * self._span
        keep = ~self._closed_off(child, query[row])
        more = [self._inside(within, node[within], number[within])]
        for place in np.flatnonzero(end & keep).tolist():
            written = (*self._before[int(number[row[place]])], int(self._trie.entry_of(child[place : place + 1] % self._span)[0]))
            if len(written) < self._rules.most and written[-1] not in self._rules.alone:
                more += self._separated(int(row[place]), self._number(written), int(query[row[place]]))
        parts = [(row[keep], token[keep], child[keep], end[keep]), *more]
        row, token, child, end = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((child, row))
        return row[order], token[order], child[order], end[order]

    def _closed_off(self, state: Longs, query: Longs) -> Flags:
        """Whether no name below may follow those written before."""
        out = np.zeros(len(state), np.bool_)
        number, node = state // self._span, state % self._span
        for each, asked in {(int(number[i]), int(query[i])) for i in np.flatnonzero(number)}:
            place = np.flatnonzero((number == each) & (query == asked))
            out[place] = np.isin(node[place], self._closed_nodes(each, asked))
        return out

    def _closed_nodes(self, number: int, query: int) -> Longs:
        """The nodes below which every name of the scope repeats a concept written before or stands alone only."""
        key = number, int(self._table.number(np.array([query]))[0])
        if key not in self._closed:
            repeated = np.concatenate([self._entries_of(int(self._rules.concept_of[entry])) for entry in self._before[number]])
            level = self._trie.leaves_of(np.union1d(repeated, np.array(self._rules.alone, np.int64)))
            closed = level
            while len(level := level[level > 0]):
                level = np.unique(self._trie.parents_of(level))
                row, _, child = self._table.children_of(level, np.full(len(level), query))
                left = np.bincount(row[~np.isin(child, closed)], minlength=len(level))
                level = level[left == 0]
                closed = np.concatenate([closed, level])
            self._closed[key] = closed
        return self._closed[key]

    def _entries_of(self, concept: int) -> Ints:
        if self._rules.entries_of is not None:
            return self._rules.entries_of(concept)
        return np.flatnonzero(self._rules.concept_of == concept)

    def _number(self, written: tuple[int, ...]) -> int:
        number = self._numbers.setdefault(written, len(self._before))
        if number == len(self._before):
            self._before.append(written)
        return number

    def _separated(self, row: int, number: int, query: int) -> list[tuple[Longs, Longs, Longs, Flags]]:
        """The edge to the separator, where a further name can follow it."""
        if 0 in self._closed_nodes(number, query):
            return []
        state = number * self._span + self._after_separator(1)
        return [(np.array([row]), np.array([self._rules.separator[0]]), np.array([state]), np.zeros(1, np.bool_))]

    def _inside(self, row: Longs, node: Longs, number: Longs) -> tuple[Longs, Longs, Longs, Flags]:
        place = node - self._trie.n_nodes
        token = np.array(self._rules.separator)[place]
        after = np.array([self._after_separator(int(each) + 1) for each in place], dtype=np.int64)
        return row, token, number * self._span + after, np.zeros(len(row), np.bool_)

    def _after_separator(self, written: int) -> int:
        return self._trie.n_nodes + written if written < len(self._rules.separator) else 0


class Vocabulary:
    """Every token may follow; states are numbered as they appear, a trie that grows while it is searched.

    Args:
        end_token: ends a sequence.
        num_beams: each row offers its num_beams + 1 best tokens: one of them may be the end, the others fill the beam.
    """

    def __init__(self, end_token: int, num_beams: int) -> None:
        self._end_token, self._width = end_token, num_beams + 1
        self._parents, self._tokens = [np.array([-1])], [np.array([-1])]
        self._size = 1

    def forced(self, state: Longs, query: Longs, limit: int) -> tuple[Longs, Longs, Longs]:  # noqa: ARG002
        """See `Expander.forced`: nothing is."""
        return np.zeros((len(state), limit), np.int64), np.zeros(len(state), np.int64), state

    def edges(self, state: Longs, query: Longs, scores: Scores) -> Edges:  # noqa: ARG002
        """See `Expander.edges`."""
        token, log_prob = scores.best(self._width)
        row = np.repeat(np.arange(len(state)), token.shape[1])
        ids = token.ravel()
        return Edges(row, ids, self._grow(state[row], ids), ids == self._end_token, log_prob.flatten())

    def alike(self, query: Longs) -> list[Longs]:
        """See `Expander.alike`."""
        return [np.arange(len(query))]

    def answers(self, state: Longs) -> list[tuple[int, ...]]:
        """See `Expander.answers`."""
        parents, tokens = np.concatenate(self._parents), np.concatenate(self._tokens)
        return [_history(each, parents, tokens) for each in state.tolist()]

    def repeats(self, query: Longs, state: Longs) -> Flags:  # noqa: ARG002
        """See `Expander.repeats`: none are."""
        return np.zeros(len(state), np.bool_)

    def forget(self, query: Longs) -> None:
        """See `Expander.forget`."""

    def _grow(self, parent: Longs, token: Longs) -> Longs:
        self._parents.append(parent)
        self._tokens.append(token)
        self._size += len(token)
        return np.arange(self._size - len(token), self._size)


def _history(state: int, parents: NDArray[Any], tokens: NDArray[Any]) -> tuple[int, ...]:
    found = []
    while state:
        found.append(int(tokens[state]))
        state = int(parents[state])
    return tuple(reversed(found))
