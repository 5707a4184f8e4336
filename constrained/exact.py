"""Exact search: the most probable concepts, with the proof that there are no others.

The search holds prefixes that were read and, for each, its children by probability.  A greedy descent finds a first name; while
what is open could still change the ranks, the most probable open prefixes are read.  The children of one prefix are held in
descending order with a cursor, so that only the next of each is looked at.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constrained.beam import Ended, first_best
from constrained.concepts import certified, concepts_of, ranked_masses
from constrained.forest import Forest, Tips
from constrained.loop import Rows, grown, host, opened, refuse_not_finite
from constrained.names import Edges, Expander, SharedEdges
from constrained.trie import Ints

__all__ = ["ExactSearch"]

MOST_FORCED = 8  # tokens without alternative that are read at once
MOST_AT_ONCE = 4  # prefixes of a query that are read in one pass
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


class _Prefixes(NamedTuple):
    """Prefixes that were read and have children left.

    Attributes:
        query: Shape: (prefixes,).
        length: tokens since the prompt. Shape: (prefixes,).
        total: log-probability of each child, descending, −∞ after the last. Shape: (prefixes × kept).
        state, token: of the children. Shape: (prefixes × kept).
        left: log of the mass of the children from this one on, those not kept included. Shape: (prefixes × kept + 1).
        cursor: the next child. Shape: (prefixes,).
        dive: whether the greedy descent has come here. Shape: (prefixes,).
    """

    query: Longs
    length: Longs
    total: Doubles
    state: Longs
    token: Longs
    left: Doubles
    cursor: Longs
    dive: Flags

    @classmethod
    def none(cls) -> "_Prefixes":
        whole = np.zeros(0, np.int64)
        return cls(whole, whole, np.zeros((0, 0)), np.zeros((0, 0), np.int64), np.zeros((0, 0), np.int64), np.zeros((0, 1)), whole, np.zeros(0, np.bool_))

    def take(self, which: Longs | Flags) -> "_Prefixes":
        return _Prefixes._make(column[which] for column in self)

    def joined(self, more: "_Prefixes") -> "_Prefixes":
        width = max(self.total.shape[1], more.total.shape[1])
        return _Prefixes._make(np.concatenate(pair) for pair in zip(self._widened(width), more._widened(width), strict=True))

    def _widened(self, width: int) -> "_Prefixes":
        more = ((0, 0), (0, width - self.total.shape[1]))
        return self._replace(
            total=np.pad(self.total, more, constant_values=-np.inf),
            state=np.pad(self.state, more),
            token=np.pad(self.token, more),
            # Behind the last child that is kept there are always those that are not.
            left=np.pad(self.left, more, mode="edge"),
        )

    @property
    def open(self) -> Doubles:
        """Log of the mass that is open below each. Shape: (prefixes,)."""
        return np.asarray(self.left[np.arange(len(self.query)), self.cursor])


class _Next(NamedTuple):
    """Children that may be read next, by query, then most probable first. Shapes: (children,) each."""

    query: Longs
    total: Doubles
    prefix: Longs
    place: Longs
    rank: Longs


class ExactSearch:
    """Best-first search with a certificate.

    Args:
        expander: what may follow.
        n_queries: queries are numbered from 0.
        k: ranks to be proven.
        concept_of: concept of each entry; each entry its own where None.
        epsilon: how far a log-probability may be off.
        max_expansions: prefixes read for a query, the greedy descent apart; None for no limit.
    """

    def __init__(self, expander: Expander, n_queries: int, k: int, concept_of: Ints | None, epsilon: float, max_expansions: int | None) -> None:
        self._expander, self._k, self._epsilon, self._budget = expander, k, epsilon, max_expansions
        self._concept_of = concept_of
        self._concepts: dict[tuple[int, ...], int] = {}
        self._prefixes, self._tips = _Prefixes.none(), Tips.none()
        self._ended: list[Ended] = []
        # Of the names found, for the queries under way.
        self._named: tuple[Longs, Longs, Doubles] = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        self._under_way = np.zeros(0, np.int64)
        # How much may stay open, by query; set whenever names or prefixes were added.
        self._allowance = np.full(n_queries, -np.inf)
        self.log_open = np.full(n_queries, -np.inf)
        self.expansions = np.zeros(n_queries, np.int64)

    @property
    def ended(self) -> Ended:
        """All answers found."""
        return Ended.joined(self._ended)

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
        old, prefix, place = self._prefixes, chosen.prefix, chosen.place
        np.add.at(self.expansions, chosen.query, 1)
        np.add.at(old.cursor, prefix, 1)
        old.dive[prefix[dive]] = False
        rows = grown(
            forest,
            self._expander,
            chosen.query,
            old.state[prefix, place],
            old.token[prefix, place],
            chosen.total,
            old.length[prefix] + 1,
            self._tips.take(prefix),
            most_forced=MOST_FORCED,
        )
        self._add(rows, dive[rows.origin])
        self._settle()

    def abandon(self, query: Longs) -> None:
        """See `Search.abandon`."""
        self._forget(query)
        ended = self.ended
        self._ended = [ended.take(~np.isin(ended.query, query))]
        self.log_open[query], self.expansions[query] = -np.inf, 0

    def _add(self, rows: Rows, dive: Flags) -> None:
        """Take up what a pass has scored: names that ended, and prefixes that go on."""
        edges = self._expander.edges(rows.state, rows.query, rows.scores)
        best, edge, rest, ends = _children(rows, edges, self._budget)
        row, _, state = edges.at(edges.ended)
        self._name(Ended(rows.query[row], state, ends, rows.length[row] + 1, np.ones(len(row), np.bool_)))
        # Greedy is over where the end is the best edge.
        ended = np.full(len(rows.query), -np.inf)
        ended[row] = ends
        _, token, state = edges.at(edge)
        left = np.logaddexp.accumulate(np.concatenate([rest[:, None], best[:, ::-1]], axis=1), axis=1)[:, ::-1]
        new = _Prefixes(rows.query, rows.length, best, state, token, left, np.zeros(len(rows.query), np.int64), dive & (best[:, 0] > ended))
        going = np.isfinite(best[:, 0])
        self._prefixes = self._prefixes.joined(new.take(going))
        self._tips = Tips.joined([self._tips, rows.tips.take(going)])

    def _name(self, more: Ended) -> None:
        self._ended.append(more)
        concept = np.array([self._concept(entries) for entries in self._expander.answers(more.state)], dtype=np.int64)
        query, old, total = self._named
        self._named = (np.concatenate([query, more.query]), np.concatenate([old, concept]), np.concatenate([total, more.total]))

    def _concept(self, entries: tuple[int, ...]) -> int:
        return self._concepts.setdefault(concepts_of(entries, self._concept_of), len(self._concepts))

    def _settle(self) -> None:
        """Tell which queries are over, and for the others how much may stay open."""
        queries, prefixes = self._under_way, self._prefixes
        mass = ranked_masses(*self._named, queries, self._k + 1)
        log_open = np.full(len(queries), -np.inf)
        line = np.searchsorted(queries, prefixes.query)
        np.logaddexp.at(log_open, line, prefixes.open)
        proven = certified(mass, log_open, self._epsilon)
        left = np.zeros(len(queries), np.bool_)
        left[line[prefixes.cursor < _count(prefixes)]] = True
        diving = np.zeros(len(queries), np.bool_)
        diving[line[prefixes.dive]] = True
        if self._budget is not None:
            left &= diving | (self.expansions[queries] < self._budget)
        over = ~left | (proven.all(axis=1) & ~diving)
        self._allowance[queries] = _allowance(mass, proven, self._epsilon)
        self.log_open[queries] = log_open
        self._forget(queries[over])

    def _forget(self, query: Longs) -> None:
        kept = ~np.isin(self._prefixes.query, query)
        self._prefixes, self._tips = self._prefixes.take(kept), self._tips.take(kept)
        named = ~np.isin(self._named[0], query)
        self._named = (self._named[0][named], self._named[1][named], self._named[2][named])
        self._under_way = np.setdiff1d(self._under_way, query)

    def _chosen(self) -> tuple[_Next, Flags]:
        """The children to be read now, and which of them the greedy descent takes."""
        found, prefixes = self._next(), self._prefixes
        dive = prefixes.dive[found.prefix] & (found.place == prefixes.cursor[found.prefix])
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
        prefixes = self._prefixes
        place = prefixes.cursor[:, None] + np.arange(MOST_AT_ONCE)
        there = place < _count(prefixes)[:, None]
        prefix = np.repeat(np.arange(len(place)), MOST_AT_ONCE)[there.ravel()]
        place = place[there]
        query, total = prefixes.query[prefix], prefixes.total[prefix, place]
        order = np.lexsort((-total, query))
        query = query[order]
        return _Next(query, total[order], prefix[order], place[order], np.arange(len(query)) - np.searchsorted(query, query))

    def _needed(self, found: _Next) -> Flags:
        """Whether what is open without the better ones is still more than may stay open."""
        share = np.exp(found.total - self.log_open[found.query])
        before = np.cumsum(share) - share
        before -= before[np.searchsorted(found.query, found.query)]
        allowance = np.exp(np.minimum(self._allowance[found.query] - self.log_open[found.query], 0.0))
        return np.asarray((found.rank == 0) | (1 - before > allowance))


def _count(prefixes: _Prefixes) -> Longs:
    """Children kept of each prefix."""
    return np.asarray(np.isfinite(prefixes.total).sum(axis=1))


def _allowance(mass: Doubles, proven: Flags, epsilon: float) -> Doubles:
    """Log of what may stay open so that the first rank that is not proven would be. Shape: (queries,)."""
    rank = np.minimum(proven.sum(axis=1), proven.shape[1] - 1)
    line = np.arange(len(mass))
    own, following = mass[line, rank] - 2 * epsilon, mass[line, rank + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(own > following, own + np.log1p(-np.exp(following - own)), -np.inf)


def _children(rows: Rows, edges: Edges | SharedEdges, most: int | None) -> tuple[Doubles, Longs, Doubles, Doubles]:
    """The edges that go on from each row, most probable first; what the host needs comes over in one transfer.

    Returns:
        Their log-probabilities, −∞ where there are fewer, and the edges, shape (rows × kept); log of the mass of those not
        kept, shape (rows,); log-probabilities of the end edges, in order.
    """
    laid = edges.laid_out(np.arange(len(rows.query)), rows.total)
    widest = laid.total.shape[1]
    best, columns = first_best(laid.total, widest if most is None else min(most, widest))
    rest = laid.total.scatter(1, columns, -torch.inf).logsumexp(1)
    best_host, columns_host, rest_host, ends, finite = host(best, columns, rest, laid.ends, rows.finite)
    refuse_not_finite(rows, finite)
    # Where a row has fewer edges than the widest, its first stands for those that are not there.
    edge = laid.first[:, None] + np.where(np.isfinite(best_host), columns_host, 0).astype(np.int64)
    return best_host, edge, rest_host, ends
