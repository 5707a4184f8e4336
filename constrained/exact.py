"""Exact search: the most probable concepts, with the proof that there are no others.

The search holds prefixes that were read and, for each, its children by probability.  A greedy descent finds a first name; while
what is open could still change the ranks or prove them, the most probable open prefixes are read.  The children of one prefix are
held in descending order with a cursor, so that only the next of each is looked at.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from constrained.beam import Ended, Tally, first_best
from constrained.concepts import certified, concepts_of, ranked_masses
from constrained.forest import Forest, Tips
from constrained.loop import Rows, grown, host, opened, refuse_not_finite
from constrained.names import Edges, Expander, SharedEdges
from constrained.ragged import counted, ranks
from constrained.trie import Ints

__all__ = ["Aim", "ExactSearch"]

MOST_FORCED = 8  # tokens without alternative that are read at once
MOST_AT_ONCE = 16  # prefixes of a query that are read in one pass; four take twice as many passes and save no rows (docs/LOG.md)
# Log-masses nearer than the smaller of this and the arithmetic's error may come in either order where no certificate can be had.
ALIKE = 0.01
LEAST_ROOM = 64
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


class _Growing:
    """An array that is added to.  Its room doubles, so that a value is copied a few times only, however many come."""

    def __init__(self, kind: DTypeLike) -> None:
        self._room: NDArray[Any] = np.zeros(LEAST_ROOM, kind)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """What was added, to be read and written; of no use after the next `add`."""
        return self._room[: self._size]

    def add(self, more: NDArray[Any]) -> None:
        size = self._size + len(more)
        if size > len(self._room):
            room = np.zeros(max(size, 2 * len(self._room)), self._room.dtype)
            room[: self._size] = self.values
            self._room = room
        self._room[self._size : size] = more
        self._size = size

    def keep(self, which: Longs) -> None:
        self._room = self._room[which]
        self._size = len(which)


class _Read(NamedTuple):
    """What a pass adds.

    Attributes:
        query, length, dive, tips: as in `_Prefixes`, of the prefixes. Shape: (prefixes,).
        size: children of each, and one. Shape: (prefixes,).
        total, state, token, left: as in `_Prefixes`, of all children, prefix by prefix. Shape: (sum of the sizes,).
    """

    query: Longs
    length: Longs
    dive: Flags
    tips: Tips
    size: Longs
    total: Doubles
    state: Longs
    token: Longs
    left: Doubles


class _Prefixes:
    """Prefixes that were read, and their children, one prefix after the other.

    Attributes:
        query: of each prefix. Shape: (prefixes,), as all down to `tree`.
        length: tokens since the prompt.
        dive: whether the greedy descent has come here.
        cursor: number of the next child.
        last: number behind the children.
        tree, position: of the tips.
        total: log-probability of each child, descending within a prefix, and −∞ at `last`. Shape: (children and prefixes,), as all below.
        state, token: of the child.
        left: log of the mass of the children from this one on, those not kept included.
        open: numbers of the prefixes below which mass is open, ascending.
    """

    def __init__(self) -> None:
        self._of_prefix = {name: _Growing(np.int64) for name in ("query", "length", "cursor", "last", "tree", "position", "seen", "seen_size")}
        self._of_prefix["dive"] = _Growing(np.bool_)
        self._of_child = {"total": _Growing(np.float64), "state": _Growing(np.int64), "token": _Growing(np.int64), "left": _Growing(np.float64)}
        # The slots that each tip follows, as bits: there may be as many slots as tokens read.
        self._seen = _Growing(np.uint8)
        self.open = np.zeros(0, np.int64)

    @property
    def query(self) -> Longs:
        return self._of_prefix["query"].values

    @property
    def length(self) -> Longs:
        return self._of_prefix["length"].values

    @property
    def dive(self) -> Flags:
        return self._of_prefix["dive"].values

    @property
    def cursor(self) -> Longs:
        return self._of_prefix["cursor"].values

    @property
    def last(self) -> Longs:
        return self._of_prefix["last"].values

    @property
    def total(self) -> Doubles:
        return self._of_child["total"].values

    @property
    def state(self) -> Longs:
        return self._of_child["state"].values

    @property
    def token(self) -> Longs:
        return self._of_child["token"].values

    @property
    def left(self) -> Doubles:
        return self._of_child["left"].values

    def tips(self, which: Longs) -> Tips:
        """Where the children of some prefixes follow."""
        start, size, tree, position = (self._of_prefix[name].values[which] for name in ("seen", "seen_size", "tree", "position"))
        bits = np.zeros((len(which), int(size.max(initial=0))), np.uint8)
        within = counted(size)
        bits[np.repeat(np.arange(len(which)), size), within] = self._seen.values[np.repeat(start, size) + within]
        return Tips(tree, position, np.unpackbits(bits, axis=1).view(np.bool_))

    def add(self, more: _Read) -> None:
        """Take up more of them."""
        n = len(more.query)
        last = len(self._of_child["total"]) + np.cumsum(more.size) - 1
        bits = np.packbits(more.tips.visible, axis=1)
        width = bits.shape[1]
        self.open = np.concatenate([self.open, len(self._of_prefix["query"]) + np.arange(n)])
        columns = {
            "query": more.query,
            "length": more.length,
            "dive": more.dive,
            "cursor": last - (more.size - 1),
            "last": last,
            "tree": more.tips.tree,
            "position": more.tips.position,
            "seen": len(self._seen) + width * np.arange(n),
            "seen_size": np.full(n, width),
        }
        for name, column in columns.items():
            self._of_prefix[name].add(column)
        for name, column in {"total": more.total, "state": more.state, "token": more.token, "left": more.left}.items():
            self._of_child[name].add(column)
        self._seen.add(bits.ravel())

    def forget(self, query: Longs) -> None:
        """Leave out queries, and the prefixes that have nothing open; what they took is given back when most of it is free."""
        number = self.open
        self.open = number[np.isfinite(self.left[self.cursor[number]]) & ~np.isin(self.query[number], query)]
        if len(self._of_prefix["query"]) > max(LEAST_ROOM, 2 * len(self.open)):
            self._compact()

    def _compact(self) -> None:
        """Keep what is open, without the children that were read."""
        for column in self._of_prefix.values():
            column.keep(self.open)
        size = self.last - self.cursor + 1
        within = np.repeat(self.cursor, size) + counted(size)
        for column in self._of_child.values():
            column.keep(within)
        self.last[:] = np.cumsum(size) - 1
        self.cursor[:] = self.last - size + 1
        start, size = (self._of_prefix[name].values for name in ("seen", "seen_size"))
        self._seen.keep(np.repeat(start, size) + counted(size))
        start[:] = np.cumsum(size) - size
        self.open = np.arange(len(self.open))


class _Next(NamedTuple):
    """Children that may be read next, by query, then most probable first; the first few of each query. Shapes: (children,) each."""

    query: Longs
    total: Doubles
    prefix: Longs
    child: Longs
    rank: Longs


class ExactSearch(Tally):
    """Best-first search with a certificate.

    A query is over when its ranks are proven, when nothing is open, when the budget is spent, or when no further reading can prove
    them and none can change them, see `Aim`.  The greedy descent is always finished.

    Args:
        expander: what may follow.
        n_queries: queries are numbered from 0.
        k: ranks to be proven.
        concept_of: concept of each entry; each entry its own where None.
        epsilon: how far a log-probability may be off.
        max_expansions: prefixes read for a query, at which nothing but the greedy descent goes on, which counts; None for no limit.
    """

    def __init__(self, expander: Expander, n_queries: int, k: int, concept_of: Ints | None, epsilon: float, max_expansions: int | None) -> None:
        super().__init__(expander, n_queries)
        self._k, self._epsilon, self._budget = k, epsilon, max_expansions
        self._concept_of = concept_of
        self._concepts: dict[tuple[int, ...], int] = {}
        self._prefixes = _Prefixes()
        # Of the names found, for the queries under way.
        self._named: tuple[Longs, Longs, Doubles] = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        self._under_way = np.zeros(0, np.int64)
        # How much may stay open, by query; set whenever names or prefixes were added.
        self._allowance = np.full(n_queries, -np.inf)

    @property
    def under_way(self) -> Longs:
        """See `Search.under_way`."""
        return self._under_way

    def enter(self, query: Longs, tips: Tips, logits: Tensor) -> None:
        """See `Search.enter`."""
        self._under_way = np.union1d(self._under_way, query)
        for rows in opened(self._expander, query, tips, logits):
            self._add(rows, np.ones(len(rows.query), np.bool_))
        self._settle()

    def step(self, forest: Forest) -> None:
        """See `Search.step`."""
        chosen, dive = self._chosen()
        read, prefix, child = self._prefixes, chosen.prefix, chosen.child
        np.add.at(self.expansions, chosen.query, 1)
        np.add.at(read.cursor, prefix, 1)
        read.dive[prefix[dive]] = False
        rows = grown(
            forest,
            self._expander,
            chosen.query,
            read.state[child],
            read.token[child],
            chosen.total,
            read.length[prefix] + 1,
            read.tips(prefix),
            most_forced=MOST_FORCED,
        )
        self._add(rows, dive[rows.origin])
        self._settle()

    def abandon(self, query: Longs) -> None:
        """See `Search.abandon`."""
        self._strike_out(query)
        self._forget(query)

    def _add(self, rows: Rows, dive: Flags) -> None:
        """Take up what a pass has scored: names that ended, and prefixes that go on."""
        edges = self._expander.edges(rows.state, rows.query, rows.scores)
        best, edge, rest, ends = _children(rows, edges, self._budget)
        row, _, state = edges.at(edges.ended)
        self._name(Ended(rows.query[row], state, ends, rows.length[row] + 1, np.ones(len(row), np.bool_)))
        # Greedy is over where the end is the best edge.
        ended = np.full(len(rows.query), -np.inf)
        ended[row] = ends
        left = np.logaddexp.accumulate(np.concatenate([rest[:, None], best[:, -2::-1]], axis=1), axis=1)[:, ::-1]
        size = np.isfinite(best).sum(axis=1) + 1
        going = size > 1
        # Behind the children of each row is one place for what was not kept.
        there = going[:, None] & (np.arange(best.shape[1]) < size[:, None])
        _, token, state = edges.at(edge[there])
        dive = dive & (best[:, 0] > ended)
        self._prefixes.add(
            _Read(rows.query[going], rows.length[going], dive[going], rows.tips.take(going), size[going], best[there], state, token, left[there])
        )

    def _name(self, more: Ended) -> None:
        more = self._first_found(more)
        concept = np.array([self._concept(entries) for entries in self._expander.answers(more.state)], dtype=np.int64)
        query, old, total = self._named
        self._named = (np.concatenate([query, more.query]), np.concatenate([old, concept]), np.concatenate([total, more.total]))

    def _concept(self, entries: tuple[int, ...]) -> int:
        return self._concepts.setdefault(concepts_of(entries, self._concept_of), len(self._concepts))

    def _settle(self) -> None:
        """Tell which queries are over, and for the others how much may stay open."""
        queries, read = self._under_way, self._prefixes
        mass = ranked_masses(*self._named, queries, self._k + 1)
        log_open = np.full(len(queries), -np.inf)
        line, cursor = np.searchsorted(queries, read.query[read.open]), read.cursor[read.open]
        np.logaddexp.at(log_open, line, read.left[cursor])
        aim = Aim.of(mass, log_open, self._epsilon)
        left = np.zeros(len(queries), np.bool_)
        left[line[cursor < read.last[read.open]]] = True
        diving = np.zeros(len(queries), np.bool_)
        diving[line[read.dive[read.open]]] = True
        if self._budget is not None:
            left &= diving | (self.expansions[queries] < self._budget)
        over = ~left | (aim.reached & ~diving)
        self._allowance[queries] = aim.allowance
        self.log_open[queries] = log_open
        self._forget(queries[over])

    def _forget(self, query: Longs) -> None:
        self._prefixes.forget(query)
        if not len(query):
            return
        named = ~np.isin(self._named[0], query)
        self._named = (self._named[0][named], self._named[1][named], self._named[2][named])
        self._under_way = np.setdiff1d(self._under_way, query)

    def _chosen(self) -> tuple[_Next, Flags]:
        """The children to be read now, and which of them the greedy descent takes."""
        found, read = self._next(), self._prefixes
        dive = read.dive[found.prefix] & (found.child == read.cursor[found.prefix])
        line = np.searchsorted(self._under_way, found.query)
        # While a query is diving, only what is as probable as the descent itself is sure to be needed; later as much as
        # has to go for the certificate.
        bar = np.full(len(self._under_way), np.nan)
        bar[line[dive]] = found.total[dive]
        diving = ~np.isnan(bar[line])
        with np.errstate(invalid="ignore"):
            wanted = np.where(diving, found.total >= bar[line], self._needed(found))
        wanted &= found.rank < MOST_AT_ONCE
        if self._budget is not None:
            wanted &= found.rank < (self._budget - self.expansions[found.query])
        wanted |= dive
        return _Next._make(column[wanted] for column in found), dive[wanted]

    def _next(self) -> _Next:
        read = self._prefixes
        head = read.total[read.cursor[read.open]]
        prefix, head = read.open[np.isfinite(head)], head[np.isfinite(head)]
        # Where so many children are better than the first one of a prefix, they are better than all of its children.
        order = np.lexsort((-head, read.query[prefix]))
        leading = order[(ranks(read.query[prefix][order]) < MOST_AT_ONCE) | read.dive[prefix[order]]]
        prefix = prefix[np.sort(leading)]
        size = np.minimum(read.last[prefix] - read.cursor[prefix], MOST_AT_ONCE)
        child = np.repeat(read.cursor[prefix], size) + counted(size)
        prefix = np.repeat(prefix, size)
        query, total = read.query[prefix], read.total[child]
        order = np.lexsort((-total, query))
        query = query[order]
        return _Next(query, total[order], prefix[order], child[order], np.arange(len(query)) - np.searchsorted(query, query))

    def _needed(self, found: _Next) -> Flags:
        """Whether what is open without the better ones is still more than may stay open."""
        share = np.exp(found.total - self.log_open[found.query])
        before = np.cumsum(share) - share
        before -= before[np.searchsorted(found.query, found.query)]
        allowance = np.exp(np.minimum(self._allowance[found.query] - self.log_open[found.query], 0.0))
        return np.asarray((found.rank == 0) | (1 - before > allowance))


class Aim(NamedTuple):
    """Whether reading is over, and how far it is to go. Shapes: (queries,) each.

    Attributes:
        reached: all ranks are proven, or none of the others can be and their order is as good as settled.
        allowance: log of what may stay open so that it is reached at the first rank where it is not; −∞ where more names must be found.
    """

    reached: Flags
    allowance: Doubles

    @classmethod
    def of(cls, mass: Doubles, log_open: Doubles, epsilon: float) -> "Aim":
        """What to aim at.

        Args:
            mass: as `certified` has it. Shape: (queries × ranks + 1).
            log_open: Shape: (queries,).
            epsilon: how far a log-probability may be off.
        """
        proven = certified(mass, log_open, epsilon)
        unproven, line = _first_not(proven), np.arange(len(mass))
        alike = min(epsilon, ALIKE)
        with np.errstate(invalid="ignore"):  # −∞ less −∞
            # With U open, LB₁ ≥ LB₂ the masses at the first unproven rank: whoever leads in the end has at most LB₁ + U, if it is the
            # present leader, and its rival at least LB₂; at most LB₂ + U against LB₁, if it is another.  The former is the better case.
            hopeless = np.logaddexp(mass[line, unproven], log_open) - mass[line, unproven + 1] <= 2 * epsilon
            # No concept behind a rank can end up before it by more than what is called alike.
            settled = np.logaddexp(mass[:, 1:], log_open[:, None]) - mass[:, :-1] <= alike
        rank = np.where(hopeless, _first_not(settled), unproven)
        own, following = mass[line, rank] + np.where(hopeless, alike, -2 * epsilon), mass[line, rank + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            allowance = np.where(own > following, own + np.log1p(-np.exp(following - own)), -np.inf)
        return cls(proven.all(axis=1) | (hopeless & settled.all(axis=1)), allowance)


def _first_not(holds: Flags) -> Longs:
    """The first rank of each query that does not hold; the last where all do. Shape: (queries × ranks) → (queries,)."""
    return np.asarray(np.minimum(np.logical_and.accumulate(holds, axis=1).sum(axis=1), holds.shape[1] - 1))


def _children(rows: Rows, edges: Edges | SharedEdges, most: int | None) -> tuple[Doubles, Longs, Doubles, Doubles]:
    """The edges that go on from each row, most probable first; what the host needs comes over in one transfer.

    Returns:
        Their log-probabilities, −∞ where there are fewer, and the edges, shape (rows × kept + 1), the last always −∞; log of the
        mass of those not kept, shape (rows,); log-probabilities of the end edges, in order.
    """
    laid = edges.laid_out(np.arange(len(rows.query)), rows.total)
    widest = laid.total.shape[1]
    best, columns = first_best(laid.total, widest if most is None else min(most, widest))
    rest = laid.total.scatter(1, columns, -torch.inf).logsumexp(1)
    best_host, columns_host, rest_host, ends, finite = host(best, columns, rest, laid.ends, rows.finite)
    refuse_not_finite(rows, finite)
    one_more = ((0, 0), (0, 1))
    best_host, columns_host = np.pad(best_host, one_more, constant_values=-np.inf), np.pad(columns_host, one_more)
    # Where a row has fewer edges than the widest, its first stands for those that are not there.
    edge = laid.first[:, None] + np.where(np.isfinite(best_host), columns_host, 0).astype(np.int64)
    return best_host, edge, rest_host, ends
