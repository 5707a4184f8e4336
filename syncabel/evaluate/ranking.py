"""How far down the right concept is: Recall@k and MRR over distinct answers, never over names of one answer."""

from collections.abc import Sequence

__all__ = ["CUTOFFS", "best_of_first", "reached", "reciprocal_rank"]

CUTOFFS = (1, 2, 5, 10)


def best_of_first(scores: Sequence[float], k: int) -> float:
    """What a mention adds to Recall@k: the best score among its first k candidates, 0 without one.

    Recall@k is the mean over mentions.  Ranked wrong, right, right and wrong, wrong and right:

    >>> ranked = [[0, 1, 1], [0, 0], [1]]
    >>> [sum(best_of_first(scores, k) for scores in ranked) / len(ranked) for k in (1, 2)]
    [0.3333333333333333, 0.6666666666666666]
    """
    return float(max(scores[:k], default=0.0))


def reciprocal_rank(scores: Sequence[float]) -> float:
    """What a mention adds to MRR: 1 / the rank of the first right candidate, 0 without one.

    A score that is a fraction (Jaccard) counts by its share, best over the ranks, so that Recall@1 <= MRR <= Recall@k for a k that takes in all candidates.

    >>> [reciprocal_rank(scores) for scores in ([1, 0], [0, 1, 1], [0, 0], [], [0.5, 0, 1])]
    [1.0, 0.5, 0.0, 0.0, 0.5]
    """
    return float(max((score / rank for rank, score in enumerate(scores, 1)), default=0.0))


def reached(longest: int) -> tuple[int, ...]:
    """The cut-offs that lists of so many candidates can say something about.

    >>> reached(5), reached(0)
    ((1, 2, 5), (1,))
    """
    return tuple(k for k in CUTOFFS if k <= max(longest, 1))
