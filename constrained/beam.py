"""Beam search over a closed set: a finished name leaves the beam and keeps competing.

Beams are compared where the trie branches: tokens without alternative are read and counted before.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constrained.forest import Forest, Tips
from constrained.loop import Rows, grown, host, opened, refuse_not_finite, table_places
from constrained.names import Edges, Expander, SharedEdges

__all__ = ["BeamSearch", "Ended", "Tally", "first_best"]

# Tokens without alternative that are read at once.  A beam may be dropped while they run, one of one beam seldom: measured
# (docs/LOG.md), four cost 6 % more tokens than none, in 40 % of the passes.
MOST_FORCED, MOST_FORCED_GREEDY = 4, 16
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Ended(NamedTuple):
    """Answers that are over. Shapes: (answers,) each.

    Attributes:
        query, state, length: as in `Rows`, the end token included in length.
        total: log-probability.
        finished: False where the limit of new tokens came before the end.
    """

    query: Longs
    state: Longs
    total: Doubles
    length: Longs
    finished: Flags

    @classmethod
    def joined(cls, parts: "list[Ended]") -> "Ended":
        """All of several, none where there are none."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.bool_))
        return cls._make(np.concatenate(columns) for columns in zip(none, *parts, strict=True))

    def take(self, which: Longs | Flags) -> "Ended":
        """Some of them."""
        return Ended._make(column[which] for column in self)


class _Live(NamedTuple):
    """Beams whose last token has not been read; by query. Shapes: (beams,) each."""

    query: Longs
    state: Longs
    token: Longs
    total: Doubles
    length: Longs

    def take(self, which: Longs | Flags) -> "_Live":
        return _Live._make(column[which] for column in self)


class Tally:
    """What a search has found so far, and of each query how much it left open and how much it read.

    Args:
        expander: what may follow.
        n_queries: queries are numbered from 0.

    Attributes:
        log_open: log-probability of all that was left out. Shape: (queries,).
        expansions: rows that were read after the prompt. Shape: (queries,).
    """

    def __init__(self, expander: Expander, n_queries: int) -> None:
        self._expander = expander
        self._ended: list[Ended] = []
        self.log_open = np.full(n_queries, -np.inf)
        self.expansions = np.zeros(n_queries, np.int64)

    @property
    def ended(self) -> Ended:
        """All answers found."""
        return Ended.joined(self._ended)

    def _first_found(self, more: Ended) -> Ended:
        """Take answers up; returns those that had not been found before."""
        more = more.take(~self._expander.repeats(more.query, more.state))
        self._ended.append(more)
        return more

    def _strike_out(self, query: Longs) -> None:
        """Forget what was found for queries."""
        self._expander.forget(query)
        ended = self.ended
        self._ended = [ended.take(~np.isin(ended.query, query))]
        self.log_open[query], self.expansions[query] = -np.inf, 0


class BeamSearch(Tally):
    """Keeps the best unfinished beams of each query.

    A query is over when nothing live is more probable than the worst of its `num_beams` best finished answers.  Every
    end edge that is scored counts, but for a single beam, which is greedy: that takes the best edge until it is an end.

    Args:
        expander: what may follow.
        n_queries: queries are numbered from 0.
        num_beams: width.
        max_new_tokens: what is live after so many tokens is cut off; None for no limit.
    """

    def __init__(self, expander: Expander, n_queries: int, num_beams: int, max_new_tokens: int | None = None) -> None:
        super().__init__(expander, n_queries)
        self._width, self._most_tokens = num_beams, max_new_tokens
        none = np.zeros(0, np.int64)
        self._live = _Live(none, none, none, np.zeros(0), none)
        self._tips = Tips.none()
        # The best finished totals of each query, descending.
        self._best = np.full((n_queries, num_beams), -np.inf)

    @property
    def under_way(self) -> Longs:
        """See `Search.under_way`."""
        return np.unique(self._live.query)

    def enter(self, query: Longs, tips: Tips, logits: Tensor) -> None:
        """See `Search.enter`."""
        for rows in opened(self._expander, query, tips, logits):
            self._advance(rows)

    def step(self, forest: Forest) -> None:
        """See `Search.step`."""
        live, tips = self._live, self._tips
        self._live, self._tips = live.take(np.zeros(0, np.int64)), Tips.none()
        np.add.at(self.expansions, live.query, 1)
        self._advance(grown(forest, self._expander, *live, tips, most_forced=MOST_FORCED_GREEDY if self._width == 1 else MOST_FORCED))

    def abandon(self, query: Longs) -> None:
        """See `Search.abandon`."""
        self._strike_out(query)
        kept = ~np.isin(self._live.query, query)
        self._live, self._tips = self._live.take(kept), self._tips.take(kept) if kept.any() else Tips.none()
        self._best[query] = -np.inf

    def _advance(self, rows: Rows) -> None:
        edges = self._expander.edges(rows.state, rows.query, rows.scores)
        found = _ranked(rows, edges, self._width)
        self._open(found.query, found.dropped)
        self._finish(rows, edges, found)
        going = np.isfinite(found.total)
        row, token, state = edges.at(found.edge[going])
        live = _Live(rows.query[row], state, token, found.total[going], rows.length[row] + 1)
        # Only something strictly better counts.
        alive = live.total > self._best[live.query, -1]
        self._open(live.query[~alive], live.total[~alive])
        live, row = live.take(alive), row[alive]
        if self._most_tokens is not None:
            cut = live.length >= self._most_tokens
            self._end(Ended(live.query[cut], live.state[cut], live.total[cut], live.length[cut], np.zeros(int(cut.sum()), np.bool_)))
            live, row = live.take(~cut), row[~cut]
        self._join(live, rows.tips.take(row))

    def _finish(self, rows: Rows, edges: Edges | SharedEdges, found: "_Ranked") -> None:
        row, _, state = edges.at(edges.ended)
        query, total = rows.query[row], found.end_total
        if self._width == 1:
            taken = total >= found.total[np.searchsorted(found.query, query), 0]
            self._open(query[~taken], total[~taken])
            row, state, query, total = row[taken], state[taken], query[taken], total[taken]
        self._end(Ended(query, state, total, rows.length[row] + 1, np.ones(len(row), np.bool_)))

    def _end(self, more: Ended) -> None:
        more = self._first_found(more)
        if not len(more.query):
            return
        order = np.argsort(more.query, kind="stable")
        query, line, column = table_places(more.query[order])
        table = np.full((len(query), self._width + int(column.max()) + 1), -np.inf)
        table[:, : self._width] = self._best[query]
        table[line, self._width + column] = more.total[order]
        self._best[query] = -np.sort(-table, axis=1)[:, : self._width]

    def _open(self, query: Longs, log_mass: Doubles) -> None:
        np.logaddexp.at(self.log_open, query, log_mass)

    def _join(self, live: _Live, tips: Tips) -> None:
        if not len(live.query):
            return
        both = _Live._make(np.concatenate(pair) for pair in zip(self._live, live, strict=True))
        order = np.argsort(both.query, kind="stable")
        self._live, self._tips = both.take(order), Tips.joined([self._tips, tips]).take(order)


class _Ranked(NamedTuple):
    """The best edges that go on of each query; −∞ where there are fewer.

    Attributes:
        query: Shape: (queries,).
        total, edge: log-probability and number of the best. Shape: (queries × width).
        dropped: log of the mass of the others. Shape: (queries,).
        end_total: log-probability of the end edges, in order. Shape: (end edges,).
    """

    query: Longs
    total: Doubles
    edge: Longs
    dropped: Doubles
    end_total: Doubles


def _ranked(rows: Rows, edges: Edges | SharedEdges, width: int) -> _Ranked:
    """Ranks on the device; what the host needs comes over in one transfer."""
    query, line = np.unique(rows.query, return_inverse=True)
    laid = edges.laid_out(line, rows.total)
    best, columns = first_best(laid.total, width)
    dropped = laid.total.scatter(1, columns, -torch.inf).logsumexp(1)
    best_host, columns_host, dropped_host, ends, finite = host(best, columns, dropped, laid.ends, rows.finite)
    refuse_not_finite(rows, finite)
    return _Ranked(query, best_host, laid.first[:, None] + columns_host.astype(np.int64), dropped_host, ends)


def first_best(table: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """`topk` along lines, but of equal values the first ones, in their order. Shapes: (lines × at most width)."""
    width = min(width, table.shape[1])
    cut = table.topk(width, dim=1).values[:, -1:]
    above, equal = table > cut, table == cut
    kept = above | (equal & (equal.cumsum(1) <= width - above.sum(1, keepdim=True)))
    columns = table.masked_fill(~kept, -torch.inf).topk(width, dim=1).indices.sort(dim=1).values
    best = table.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return best.values, columns.gather(1, best.indices)
