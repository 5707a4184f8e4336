"""Averages that give every document, group or concept the same weight, with an interval over documents."""

from collections import Counter
from collections.abc import Sequence

from syncabel.bootstrap import document_interval

__all__ = ["macro_average"]


def macro_average(
    documents: Sequence[str], parts: Sequence[str], scores: Sequence[float], *, rounds: int = 1000, seed: int = 42
) -> tuple[float, tuple[float, float]]:
    """The mean over parts of each one's mean score.

    Two of three mentions of Drug right, none of one of Disease: (2/3 + 0) / 2, where the micro average is 2/4.

    >>> round(macro_average(["a", "a", "b", "b"], ["Drug", "Drug", "Drug", "Disease"], [1, 1, 0, 0])[0], 4)
    0.3333

    A mention weighs 1 / the mentions of its part, in replicates as well.  Taking in each replicate the mean over the parts that it happens to hold
    would lose the rare ones and with them their errors, and the interval would stand too high.

    Args:
        documents: each mention's document, at least one. Shape: (mentions,).
        parts: each mention's document, group or concept. Shape: (mentions,).
        scores: fractions. Shape: (mentions,).
        rounds, seed: of the document bootstrap.

    Returns:
        Value and interval; fractions.
    """
    sizes = Counter(parts)
    weights = [1 / sizes[part] for part in parts]
    credit = [weight * score for weight, score in zip(weights, scores, strict=True)]
    return sum(credit) / len(sizes), document_interval(documents, credit, weights, rounds=rounds, seed=seed)
