"""Whether a system knows what is not in the knowledge base."""

from collections.abc import Sequence
from dataclasses import dataclass

from syncabel.bootstrap import document_interval

__all__ = ["NilScores", "nil_scores"]

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class NilScores:
    """NIL as a class of its own, over all annotated mentions.

    A system says NIL by the NIL answer, by no answer, by what is no name, and by withholding its answer; a missing line and a failure say nothing.

    Attributes:
        n: mentions annotated as NIL.
        predicted: mentions for which the system says so.
        correct: those of both.
        precision, recall, f1: fractions; None where their denominator is 0.
        intervals: metric -> 95 % interval over documents, or None.
    """

    n: int
    predicted: int
    correct: int
    precision: float | None
    recall: float | None
    f1: float | None
    intervals: dict[str, Interval | None]


def nil_scores(documents: Sequence[str], gold: Sequence[bool], said: Sequence[bool], *, rounds: int = 1000, seed: int = 42) -> NilScores:
    """Precision, recall and F1 of NIL.

    Three mentions are NIL, the system says so of two of them and of two others: precision 2/4, recall 2/3, F1 2 x 2 / (4 + 3).

    >>> found = nil_scores(["d"] * 6, [True, True, True, False, False, False], [True, True, False, True, True, False])
    >>> found.precision, round(found.recall, 3), round(found.f1, 3)
    (0.5, 0.667, 0.571)

    Args:
        documents: each annotated mention's document. Shape: (mentions,).
        gold: whether it is annotated as NIL. Shape: (mentions,).
        said: whether the system says so. Shape: (mentions,).
        rounds, seed: of the document bootstrap.
    """
    both = [a and b for a, b in zip(gold, said, strict=True)]
    parts = {"precision": said, "recall": gold, "f1": [(a + b) / 2 for a, b in zip(gold, said, strict=True)]}
    values = {name: sum(both) / sum(weight) if any(weight) else None for name, weight in parts.items()}
    intervals = {name: document_interval(documents, both, weight, rounds=rounds, seed=seed) if any(weight) else None for name, weight in parts.items()}
    return NilScores(sum(gold), sum(said), sum(both), **values, intervals=intervals)
