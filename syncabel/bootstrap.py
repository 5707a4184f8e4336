"""Intervals and tests that resample documents, because mentions of one document are not independent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syncabel.errors import ConfigError

__all__ = ["EXACT_FLIPS", "PairedDifference", "document_interval", "document_sums", "flip_p", "paired_difference", "replicates", "sign_flip_test"]

EXACT_FLIPS = 16  # documents up to which all arrangements of signs are looked at: 2 ** 15 sums, the other half being their mirror image
_ROUNDING = 1e-9  # sums of the same numbers in another order: equal means equal up to this
_NUMBERS_AT_ONCE = 2_000_000  # replicates x documents held at a time: 16 MB; half of that, up to 16 times, where they are kept

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much better one system is than another on the same rows.

    Attributes:
        delta: difference of the two means, a fraction.
        ci95: its interval over documents, fractions.
        only_first, only_second: rows that only this one has right.
    """

    delta: float
    ci95: tuple[float, float]
    only_first: int
    only_second: int


def document_interval(
    documents: Sequence[str], credit: ArrayLike, weight: ArrayLike | None = None, *, rounds: int = 1000, seed: int = 42
) -> tuple[float, float]:
    """The 95 % interval of sum(credit) / sum(weight) over multinomial replicates of the documents.

    This is the published one: `numpy.random.default_rng(seed).multinomial(D, [1/D] * D, size=rounds)` over the sorted
    distinct document ids as strings, quantiles 0.025 and 0.975, linear.  Replicates whose weight is 0 say nothing and are left
    out; where that is all of them the interval is (0, 1).

    Two documents, one all right and one all wrong: a replicate draws either alone or both, so anything may be:

    >>> document_interval(["a", "a", "b", "b"], [1, 1, 0, 0])
    (0.0, 1.0)

    Args:
        documents: each row's document. Shape: (rows,).
        credit: each row's score. Shape: (rows,).
        weight: each row's part in the denominator; all ones where not given. Shape: (rows,).
        rounds: replicates.
        seed: random seed.

    Returns:
        (low, high), fractions.

    Raises:
        ConfigError: no row, no weight, or lengths that differ.
    """
    numerator, denominator = document_sums(documents, credit), document_sums(documents, np.ones(len(documents)) if weight is None else weight)
    if not denominator.sum():
        raise ConfigError("an interval needs at least one scored row; none is left")
    tops, bottoms = zip(*((counts @ numerator, counts @ denominator) for counts in replicates(len(numerator), rounds, seed)), strict=True)
    top, bottom = np.concatenate(tops), np.concatenate(bottoms)
    if not (bottom > 0).any():
        return 0.0, 1.0
    low, high = np.quantile(top[bottom > 0] / bottom[bottom > 0], [0.025, 0.975])
    return float(low), float(high)


def paired_difference(documents: Sequence[str], first: ArrayLike, second: ArrayLike, *, rounds: int = 10_000, seed: int = 42) -> PairedDifference:
    """Compare two systems on the same rows, documents resampled together for both.

    >>> found = paired_difference(["a", "a", "b", "b"], [1, 1, 1, 0], [1, 0, 0, 0])
    >>> found.delta, found.ci95, found.only_first, found.only_second  # 3/4 - 1/4, and 1/2 in each document
    (0.5, (0.5, 0.5), 2, 0)

    Args:
        documents: each row's document. Shape: (rows,).
        first, second: the systems' scores. Shape: (rows,).
        rounds: replicates.
        seed: random seed.

    Raises:
        ConfigError: no row, or lengths that differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) != len(b):
        raise ConfigError(f"{len(a)} scores against {len(b)}; give both systems' scores for the same rows")
    interval = document_interval(documents, a - b, rounds=rounds, seed=seed)
    return PairedDifference(float((a - b).mean()), interval, int((a > b).sum()), int((b > a).sum()))


def sign_flip_test(first: ArrayLike, second: ArrayLike, documents: Sequence[str], seed: int = 42, rounds: int = 10_000) -> float:
    """Two-sided p that two systems differ, by flipping the sign of whole documents' differences: `flip_p` of their sums.

    Args:
        first, second: the systems' scores on the same rows. Shape: (rows,).
        documents: each row's document. Shape: (rows,).
        seed, rounds: of the random flips, where there are too many documents for all of them.

    Raises:
        ConfigError: no row, or lengths that differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) != len(b):
        raise ConfigError(f"{len(a)} scores against {len(b)}; give both systems' scores for the same rows")
    return flip_p(document_sums(documents, a - b), seed=seed, rounds=rounds)


def flip_p(differences: ArrayLike, *, rounds: int = 10_000, seed: int = 42) -> float:
    """Two-sided p of a sum of documents' differences, when each document's sign might as well be the other one.

    Documents without a difference say nothing.  Of up to `EXACT_FLIPS` others every arrangement of signs is looked at, so that p is exact; of more,
    `rounds` random ones.  The observed arrangement counts as one of those drawn, so p is never 0: it is at least 1 / (rounds + 1).

    >>> flip_p([3, 1, 2])  # only + + + and - - - sum to 6 or more: 2 of 8
    0.25
    >>> flip_p([3, -1, 0])  # 2 or more in absolute value: all 4 arrangements of 3 and 1
    1.0

    Args:
        differences: first system minus second, summed over each document's mentions. Shape: (documents,).
        rounds, seed: of the random flips.
    """
    array = np.asarray(differences, np.float64)
    moved = array[np.abs(array) > _ROUNDING]
    if not len(moved):
        return 1.0
    return _random_flips(array, seed, rounds) if len(moved) > EXACT_FLIPS else _all_flips(moved)


def _all_flips(differences: Floats) -> float:
    free = len(differences) - 1  # the first sign stays: the mirror image of an arrangement is as far from 0
    bits = (np.arange(2**free)[:, None] >> np.arange(free)) & 1
    sums = differences[0] + (1 - 2 * bits) @ differences[1:]
    return float((np.abs(sums) >= abs(differences.sum()) - _ROUNDING).mean())


def _random_flips(differences: Floats, seed: int, rounds: int) -> float:
    observed, generator, as_far = abs(differences.sum()), np.random.default_rng(seed), 0
    for size in _blocks(len(differences), rounds):
        signs = generator.integers(0, 2, (size, len(differences))) * 2 - 1
        as_far += int((np.abs(signs @ differences) >= observed - _ROUNDING).sum())
    return (as_far + 1) / (rounds + 1)


def document_sums(documents: Sequence[str], values: ArrayLike) -> Floats:
    """Sums of the rows' values by document, documents sorted as strings. Shape: (documents,).

    Raises:
        ConfigError: no row, or lengths that differ.
    """
    array = np.asarray(values, np.float64)
    if not len(documents) or len(array) != len(documents):
        raise ConfigError(f"{len(array)} scores for {len(documents)} rows; give one score per row, at least one row")
    _, inverse = np.unique(np.asarray(documents, str), return_inverse=True)
    sums: Floats = np.bincount(inverse, array).astype(np.float64)
    return sums


def replicates(documents: int, rounds: int, seed: int) -> Iterator[Counts]:
    """How often each document is drawn, in blocks; one stream of random numbers, as if drawn at once. Shape: (block, documents)."""
    if documents * rounds <= _NUMBERS_AT_ONCE:
        yield _drawn_once(documents, rounds, seed)
        return
    generator = np.random.default_rng(seed)
    for size in _blocks(documents, rounds):
        yield _drawn(generator, documents, size)


@lru_cache(maxsize=16)
def _drawn_once(documents: int, rounds: int, seed: int) -> Counts:
    # They depend on the number of documents only, and all metrics of a report ask for the same ones.
    counts = _drawn(np.random.default_rng(seed), documents, rounds)
    counts.setflags(write=False)
    return counts


def _drawn(generator: np.random.Generator, documents: int, size: int) -> Counts:
    return generator.multinomial(documents, np.full(documents, 1 / documents), size=size).astype(np.int32)


def _blocks(documents: int, rounds: int) -> Iterator[int]:
    size = max(1, _NUMBERS_AT_ONCE // documents)
    yield from (min(size, rounds - start) for start in range(0, rounds, size))
