"""What a wanted precision or coverage asks for, read off curves that were measured on calibrating documents.

Precision.  Of each threshold the curve knows the precision of the answers from it on, and a lower bound: the 0.025 quantile over
replicates of the documents, times d / (d + 1) for d documents with such an answer.  The factor counts one document more, wrong throughout:
a handful of documents without a miss has a bootstrap without spread, and would promise everything.

Coverage.  Conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, 2022) with documents as the exchangeable units.  A
document's loss is the share of its mentions whose right answer is not in their set: in [0, 1] and never smaller for smaller sets, so the
smallest sets with n / (n + 1) x mean loss + 1 / (n + 1) <= 1 - coverage hold the right answer, in expectation over documents, at the
coverage asked for, however mentions of one document go together.  Drawing one mention of each document and calibrating on those gives the same
promise (a mention drawn from a new document); the share is the expectation of that draw, so it promises as much without the noise of drawing.
Treating mentions as exchangeable instead takes n for the number of mentions, and promises more than a few dozen documents can.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syncabel.errors import ConfigError

__all__ = ["PrecisionPoint", "SetPoint", "coverage_for", "precision_curve", "set_curve", "set_level", "threshold_for"]

_POINTS = 200  # kept of a curve

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PrecisionPoint:
    """What answering from a confidence on gives.

    Attributes:
        threshold: answers of this confidence or more are given.
        precision: share of them that is right.
        lower: its lower bound.
        coverage: share of all mentions that is answered.
    """

    threshold: float
    precision: float
    lower: float
    coverage: float


@dataclass(frozen=True, slots=True)
class SetPoint:
    """What sets of the first answer and all others of at least a share of the listed mass give.

    Attributes:
        log_share: natural log of that share.
        risk: mean over documents of the share of mentions whose right answer is not in the set.
        size: mean number of codes in a set.
    """

    log_share: float
    risk: float
    size: float


def precision_curve(
    correct: ArrayLike, confidence: ArrayLike, documents: Sequence[str], unanswered: int = 0, *, rounds: int = 1000, seed: int = 42
) -> tuple[PrecisionPoint, ...]:
    """Precision and coverage from each confidence on, thresholds falling; at most 200, evenly over the rows.

    Args:
        correct: of the answered mentions. Shape: (rows,).
        confidence: fractions. Shape: (rows,).
        documents: each row's document. Shape: (rows,).
        unanswered: mentions beside them that have no answer at all.
        rounds, seed: of the document bootstrap.

    Example:
        Two documents, and nothing wrong above 0.5: the bootstrap alone would call that certain, the bound is 2/3.

        >>> curve = precision_curve([1, 1, 0], [0.9, 0.8, 0.3], ["a", "b", "b"], unanswered=1)
        >>> [(point.threshold, round(point.precision, 3), round(point.lower, 3), point.coverage) for point in curve]
        [(0.9, 1.0, 0.5, 0.25), (0.8, 1.0, 0.667, 0.5), (0.3, 0.667, 0.333, 0.75)]
    """
    right, sure = np.asarray(correct, np.float64), np.asarray(confidence, np.float64)
    names, inverse = np.unique(np.asarray(documents, str), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds)
    points = []
    for threshold in _thinned(np.unique(sure)[::-1]):
        given = sure >= threshold
        answered, hits = (np.bincount(inverse[given], values[given], len(names)) for values in (np.ones_like(right), right))
        totals = drawn @ answered
        lower = float(np.quantile((drawn @ hits)[totals > 0] / totals[totals > 0], 0.025)) if totals.any() else 0.0
        number = int((answered > 0).sum())
        points.append(
            PrecisionPoint(float(threshold), float(right[given].mean()), lower * number / (number + 1), float(given.sum() / (len(right) + unanswered)))
        )
    return tuple(points)


def threshold_for(curve: Sequence[PrecisionPoint], target: float) -> PrecisionPoint:
    """The smallest threshold whose lower bound reaches the target.

    Args:
        curve: from `precision_curve`.
        target: a precision, in (0, 1).

    Raises:
        ConfigError: it is no such fraction, or no threshold reaches it.
    """
    _check_fraction("target precision", target)
    reached = [point for point in curve if point.lower >= target]
    if not reached:
        best = max(curve, key=lambda point: point.lower)
        raise ConfigError(
            f"precision {target:g} cannot be promised: on the calibrating documents the best lower bound is {best.lower:.3f} (precision "
            f"{best.precision:.3f} at coverage {best.coverage:.3f}, from confidence {best.threshold:.3f} on); ask for less, or calibrate on more documents"
        )
    return min(reached, key=lambda point: point.threshold)


def set_curve(needed: ArrayLike, documents: Sequence[str], shares: Sequence[Sequence[float]]) -> tuple[SetPoint, ...]:
    """Risk and size of the sets of each level, levels falling (sets growing); at most 200, evenly over the mentions.

    Args:
        needed: log share of each mention's best right answer: inf where it is the first one, which is in every set, -inf where none is right.
            Shape: (mentions,).
        documents: each mention's document. Shape: (mentions,).
        shares: log shares of each mention's answers but the first, and 0 for that.

    Example:
        >>> curve = set_curve([math.inf, math.log(0.2), -math.inf, math.inf], ["a", "a", "b", "b"], [[0], [0, math.log(0.2)], [0], []])
        >>> [(round(math.exp(point.log_share), 3), point.risk, point.size) for point in curve]
        [(1.0, 0.5, 0.75), (0.2, 0.25, 1.0)]
    """
    levels = np.asarray(needed, np.float64)
    names, inverse = np.unique(np.asarray(documents, str), return_inverse=True)
    sizes = np.bincount(inverse, minlength=len(names))
    listed = np.sort(np.concatenate([np.asarray(row, np.float64) for row in shares])) if len(shares) else np.empty(0)
    finite = np.unique(np.r_[0.0, levels[np.isfinite(levels)]])[::-1]
    points = []
    for level in _thinned(finite):
        lost = np.bincount(inverse, levels < level, len(names)) / sizes
        points.append(SetPoint(float(level), float(lost.mean()), float((len(listed) - np.searchsorted(listed, level)) / len(levels))))
    return tuple(points)


def set_level(curve: Sequence[SetPoint], documents: int, coverage: float) -> SetPoint:
    """The smallest sets that reach a coverage over documents.

    Args:
        curve: from `set_curve`.
        documents: it was measured on.
        coverage: in (0, 1).

    Raises:
        ConfigError: it is no such fraction, there are too few documents for it, or not even all answers listed reach it.
    """
    _check_fraction("coverage", coverage)
    if 1 - coverage < 1 / (documents + 1) - 1e-12:
        wanted = math.ceil(1 / (1 - coverage) - 1 - 1e-9)
        raise ConfigError(f"coverage {coverage:g} needs {wanted:,} calibrating documents or more, there are {documents:,}; ask for at most {_most(documents)}")
    reached = [point for point in curve if 1 - coverage_for(point, documents) <= 1 - coverage + 1e-12]
    if not reached:
        best = max(coverage_for(point, documents) for point in curve)
        raise ConfigError(
            f"coverage {coverage:g} cannot be promised: sets of all answers listed reach {best:.3f} on the {documents:,} calibrating documents; ask for "
            "less, or calibrate (and link) with more beams"
        )
    return max(reached, key=lambda point: point.log_share)


def coverage_for(point: SetPoint, documents: int) -> float:
    """The coverage that sets of a level promise: one document more is counted, lost throughout."""
    return 1 - (documents * point.risk + 1) / (documents + 1)


def _most(documents: int) -> str:
    return f"{math.floor(1000 * documents / (documents + 1)) / 1000:g}"


def _thinned(values: Floats) -> Floats:
    """At most `_POINTS` of them, evenly, first and last always."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(_POINTS, len(values))).round().astype(np.int64))]


def _check_fraction(what: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{what} is {value:g}; it is a fraction, give one between 0 and 1")
