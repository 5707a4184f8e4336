"""Which example comes when: sources mixed by a ratio that is counted in loss tokens and holds at every moment of a run.

An item is what the model is given at once: an example, or a pack of examples of one source.  At each position the source
that is furthest behind its share is drawn; the smaller side starts over, reshuffled, as often as needed.  `concatenated` balances
nothing: every item once an epoch, shuffled over all sources.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError

__all__ = ["CONCATENATE", "MixReport", "Mixture", "Side", "SideReport", "bucketed", "concatenated", "mix", "parse_ratio"]

CONCATENATE = "concatenate"  # the word for `concatenated` where a ratio could stand
_BLOCK = 1 << 16  # loss-token counts that are Python numbers at the same time

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Side:
    """One source's items.

    Attributes:
        name: e.g. "human".
        loss_tokens: tokens that carry loss (name and end token), per item. Shape: (items,).
        total_tokens: all tokens, per item. Shape: (items,).
        examples: examples, all items together.
        dropped: examples left out before, because they are longer than `max_length`.
    """

    name: str
    loss_tokens: Ints
    total_tokens: Ints
    examples: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class SideReport:
    """What a run gives one source.

    Attributes:
        name: the source.
        examples: distinct examples.
        dropped: examples longer than `max_length`.
        items: distinct items (examples, or packs of them).
        loss_tokens: loss tokens over the whole run.
        total_tokens: all tokens over the whole run, padding not counted.
        repeats: how often each item is seen, on average over the items.
        share: loss tokens over those of all sources, a fraction.
        wanted: the share asked for, a fraction.
    """

    name: str
    examples: int
    dropped: int
    items: int
    loss_tokens: int
    total_tokens: int
    repeats: float
    share: float
    wanted: float


@dataclass(frozen=True, slots=True)
class MixReport:
    """The accounting of a mixture.

    Attributes:
        sides: one per source.
        items: length of the order.
        stopped: why the order ends before what was asked for, or "".
    """

    sides: tuple[SideReport, ...]
    items: int
    stopped: str = ""

    def __str__(self) -> str:
        head = ("source", "examples", "too long", "items", "repeats", "loss tokens", "all tokens", "share", "wanted")
        rows = [
            (
                s.name,
                f"{s.examples:,}",
                f"{s.dropped:,}",
                f"{s.items:,}",
                f"{s.repeats:.2f}",
                f"{s.loss_tokens:,}",
                f"{s.total_tokens:,}",
                f"{s.share:.4f}",
                f"{s.wanted:.4f}",
            )
            for s in self.sides
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
        return "\n".join([*lines, *([self.stopped] if self.stopped else [])])


@dataclass(frozen=True, eq=False)
class Mixture:
    """An order over the items of all sides, laid one after the other.

    Attributes:
        order: item numbers; those of side k start at the number of items of the sides before it. Shape: (length,).
        side: the side of each. Shape: (length,), uint8.
        sides: the sources that have items.
        shares: loss tokens wanted of each, fractions.
        stopped: why the order ends before what was asked for, or "".
    """

    order: Ints
    side: NDArray[np.uint8]
    sides: tuple[Side, ...]
    shares: tuple[float, ...]
    stopped: str = ""

    @property
    def report(self) -> MixReport:
        """The accounting of the whole order."""
        return self.report_of(len(self.order))

    def report_of(self, length: int) -> MixReport:
        """The accounting of the first `length` items, for a run that ended early."""
        starts = _starts(self.sides)
        shown = np.bincount(self.order[:length], minlength=starts[-1] + len(self.sides[-1].loss_tokens))
        times = [shown[start : start + len(side.loss_tokens)] for start, side in zip(starts, self.sides, strict=True)]
        loss = [int(side.loss_tokens @ count) for side, count in zip(self.sides, times, strict=True)]
        rows = []
        for k, (side, count) in enumerate(zip(self.sides, times, strict=True)):
            counts = (side.examples, side.dropped, len(side.loss_tokens), loss[k], int(side.total_tokens @ count))
            rows.append(SideReport(side.name, *counts, float(count.mean()), loss[k] / max(sum(loss), 1), self.shares[k]))
        return MixReport(tuple(rows), length, self.stopped if length == len(self.order) else "")


def parse_ratio(text: str, names: Sequence[str]) -> dict[str, float]:
    """`1:9` as a weight per name, in this order.

    Raises:
        ConfigError: it has another number of parts than there are names, or a part that is no number above 0.
    """
    parts = text.split(":")
    try:
        weights = [float(part) for part in parts]
    except ValueError:
        weights = []
    if len(weights) != len(names) or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ConfigError(f"mix is {text!r}; write {':'.join(names)} as numbers above 0, e.g. '1:1', in quotes")
    return dict(zip(names, weights, strict=True))


def mix(
    sides: Sequence[Side],
    ratio: Mapping[str, float] | None = None,
    *,
    items: int | None = None,
    epochs: float = 1.0,
    multiple: int = 1,
    max_repeats: int = 100,
    seed: int = 0,
) -> Mixture:
    """The order of a whole run.

    Over any prefix a source's loss tokens exceed its share by less than those of one item of its own, and fall behind by less
    than those of one item of each other source.

    Args:
        sides: sources with at least one item; empty ones are absent ones.
        ratio: weight per source, in loss tokens; None gives each the same.
        items: length of the order; None goes by epochs.
        epochs: how often every item of every source is seen at least.
        multiple: the order's length is a multiple of this (items per step); an order by epochs is drawn on until it is.
        max_repeats: most passes over a source where there are several; the order ends there, and the report says so.
        seed: decides the shuffling.

    Raises:
        ConfigError: nothing to mix, a ratio for an absent source, a source without one, or `items` out of reach of `max_repeats`.
    """
    present = [side for side in sides if len(side.loss_tokens)]
    shares = _shares(present, ratio)
    if max_repeats < 1:
        raise ConfigError(f"max_repeats is {max_repeats}; give 1 or more")
    wanted = [math.ceil(epochs * len(side.loss_tokens)) for side in present]
    limits = [max_repeats * len(side.loss_tokens) if len(present) > 1 else None for side in present]
    drawn, stopped_by = _draw(present, shares, wanted if items is None else None, items, multiple, limits, seed)
    if stopped_by is not None and items is not None:
        raise _out_of_reach(items, len(drawn), f"show {present[stopped_by].name!r} more than", max_repeats)
    stopped = "" if stopped_by is None else f"stopped by max_repeats={max_repeats} of {present[stopped_by].name!r}: other sources are not seen {epochs:g} times"
    numbers = np.empty(len(drawn), np.int64)
    for k, (side, start) in enumerate(zip(present, _starts(present), strict=True)):
        places = np.flatnonzero(drawn == k)
        numbers[places] = start + _passes(len(side.loss_tokens), len(places), (seed, k))
    return Mixture(numbers, drawn, tuple(present), tuple(shares), stopped)


def concatenated(sides: Sequence[Side], *, items: int | None = None, epochs: float = 1.0, multiple: int = 1, max_repeats: int = 100, seed: int = 0) -> Mixture:
    """The order of a run that shows every item of every source once an epoch, shuffled over all of them, and balances nothing.

    Args:
        sides, items, epochs, multiple, max_repeats, seed: as `mix` has them; an order by epochs is filled up to whole steps with the
            first items of the next epoch.

    Raises:
        ConfigError: nothing to show, or `items` out of reach of `max_repeats`.
    """
    present = [side for side in sides if len(side.loss_tokens)]
    _shares(present, None)
    sizes = [len(side.loss_tokens) for side in present]
    length = math.ceil(math.ceil(epochs * sum(sizes)) / multiple) * multiple if items is None else items
    limit = max_repeats * sum(sizes) if len(present) > 1 else length
    if length > limit and items is not None:
        raise _out_of_reach(items, limit, "show every source more than", max_repeats)
    stopped = f"stopped by max_repeats={max_repeats}: nothing is seen {epochs:g} times" if length > limit else ""
    order = _passes(sum(sizes), min(length, limit // multiple * multiple), (seed, 0))
    side = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)[order]
    loss = [int(side.loss_tokens.sum()) for side in present]
    return Mixture(order, side, tuple(present), tuple(tokens / max(sum(loss), 1) for tokens in loss), stopped)


def _out_of_reach(items: int, reached: int, shown: str, max_repeats: int) -> ConfigError:
    return ConfigError(
        f"{items:,} items at this ratio {shown} max_repeats={max_repeats} times "
        f"(it ends after {reached:,}); raise max_repeats, change mix, or train for fewer steps"
    )


def _starts(sides: Sequence[Side]) -> list[int]:
    """The number of the first item of each side."""
    return [0, *np.cumsum([len(side.loss_tokens) for side in sides]).tolist()[:-1]]


def _shares(present: Sequence[Side], ratio: Mapping[str, float] | None) -> list[float]:
    if not present:
        raise ConfigError("no training example is left; look at the rejects file, raise max_length")
    names = [side.name for side in present]
    if ratio is None:
        return [1 / len(names)] * len(names)
    if absent := [name for name in ratio if name not in names]:
        raise ConfigError(f"mix gives {absent[0]!r} a weight, but there are no {absent[0]} examples; leave mix out or give {absent[0]}_examples")
    if missing := [name for name in names if name not in ratio]:
        raise ConfigError(f"mix says nothing about {missing[0]!r}; give it a weight")
    return [ratio[name] / sum(ratio.values()) for name in names]


def _pass(size: int, key: tuple[int, int], number: int) -> Ints:
    """The items of one pass over a source, shuffled by itself."""
    return np.random.default_rng((*key, number)).permutation(size)


def _passes(size: int, count: int, key: tuple[int, int]) -> Ints:
    """The first `count` items of pass after pass. Shape: (count,)."""
    items = np.empty(count, np.int64)
    for number, start in enumerate(range(0, count, size)):
        items[start : start + size] = _pass(size, key, number)[: count - start]
    return items


def _weights(side: Side, key: tuple[int, int]) -> Iterator[int]:
    """Loss tokens of a source's items in the order they are drawn, without end, a block of them in memory as Python numbers."""
    size, number = len(side.loss_tokens), 0
    while True:
        turn = _pass(size, key, number)
        for start in range(0, size, _BLOCK):
            yield from side.loss_tokens[turn[start : start + _BLOCK]].tolist()
        number += 1


def _draw(
    sides: Sequence[Side],
    shares: Sequence[float],
    wanted: Sequence[int] | None,
    items: int | None,
    multiple: int,
    limits: Sequence[int | None],
    seed: int,
) -> tuple[NDArray[np.uint8], int | None]:
    """The side drawn at each place, and the one whose limit ended them, if one did.

    Millions of draws: one byte is kept of each, and which items they are follows from how often a side was drawn.
    """
    weights = [_weights(side, (seed, k)) for k, side in enumerate(sides)]
    others = range(1, len(sides))
    left = [math.inf if limit is None else limit for limit in limits]
    owed = [0] * len(sides) if wanted is None else list(wanted)
    unseen = sum(least > 0 for least in owed)
    given, total = [0] * len(sides), 0
    drawn = bytearray()
    while len(drawn) < items if items is not None else unseen or len(drawn) % multiple:
        # The source with the largest deficit; giving it one item cannot overshoot by more than that item.
        k, most = 0, shares[0] * total - given[0]
        for other in others:
            deficit = shares[other] * total - given[other]
            if deficit > most:
                k, most = other, deficit
        if not left[k]:
            return np.frombuffer(drawn, np.uint8)[: len(drawn) // multiple * multiple], k
        left[k] -= 1
        owed[k] -= 1
        unseen -= owed[k] == 0
        drawn.append(k)
        tokens = next(weights[k])
        given[k] += tokens
        total += tokens
    return np.frombuffer(drawn, np.uint8), None


def bucketed(mixture: Mixture, lengths: Ints, batch: int, window: int, seed: int = 0) -> Mixture:
    """The mixture with items of like length in the same batch, moved within windows of `window` batches only.

    At the end of every window the mix is what it was.  Within one, items are ranked by length among those of their own
    source, so that every batch gets its part of each source; the batches of a window come in random order.

    Args:
        mixture: its order is moved.
        lengths: tokens per item, over the items of all sides. Shape: (items,).
        batch: items a step.
        window: batches; 1 leaves the order as it is.
        seed: decides the order of the batches.
    """
    moved = np.empty(len(mixture.order), np.int64)
    random = np.random.default_rng(seed)
    for start in range(0, len(moved), batch * window):
        part, side = mixture.order[start : start + batch * window], mixture.side[start : start + batch * window]
        quantile = np.empty(len(part))
        for k in np.unique(side):
            mine = np.flatnonzero(side == k)
            quantile[mine[np.argsort(lengths[part[mine]], kind="stable")]] = (np.arange(len(mine)) + 0.5) / len(mine)
        ranked = start + np.argsort(quantile, kind="stable")
        # A last, shorter batch stays last, so that every other one is whole.
        whole = len(part) // batch
        places = np.concatenate([*(np.arange(b * batch, (b + 1) * batch) for b in random.permutation(whole)), np.arange(whole * batch, len(part))])
        moved[start : start + len(part)] = ranked[places.astype(np.int64)]
    return replace(mixture, order=mixture.order[moved], side=mixture.side[moved])
