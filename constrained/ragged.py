"""Numbers within runs: what arrays of lists, one after the other, are taken apart with."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["counted", "ranks"]

Longs = NDArray[np.int64]


def counted(sizes: Longs) -> Longs:
    """0, 1, … size − 1 for each size, one after the other. Shape: (sum of the sizes,)."""
    ends = np.cumsum(sizes)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - sizes, sizes)


def ranks(numbers: Longs) -> Longs:
    """How many equal numbers stand before each one. Shape: as `numbers`."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    out = np.empty(len(numbers), np.int64)
    out[order] = np.arange(len(numbers)) - np.searchsorted(ordered, ordered)
    return out
