"""Whether a system knows when it is right: reliability, calibration error, ranking by confidence, risk against coverage.

Every figure has an interval over documents (`syncabel.bootstrap`'s replicates), because mentions of one document are right together.
Rows are annotated mentions with an answer, whatever it says; what was not answered has no confidence and is counted where coverage is.  A mention that is
not in the knowledge base (NIL) is a row like any other (`answer_is_right`): a concept given with confidence is a wrong answer there, and the worse the surer.

    ECE     expected calibration error: sum over bins of (share of the rows) x |mean confidence - share right|
    Brier   mean of (confidence - right)^2
    AUROC   chance that a right row has more confidence than a wrong one, ties half
    AURC    mean, over how many rows are answered (1 to n, most confident first), of the share of those that is wrong; rows of equal
            confidence come in a random order, so their expected share is taken (Geifman, Uziel and El-Yaniv, 2019)
    excess  AURC less that of a ranking that puts every right row first
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError
from syncabel.types import Prediction

__all__ = [
    "ConfidenceReport",
    "ConfidenceSource",
    "ReliabilityBin",
    "RiskPoint",
    "SetReport",
    "answer_is_right",
    "chosen_confidence",
    "confidence_json",
    "confidence_report",
    "set_report",
]

ConfidenceSource = Literal["confidence", "mass", "log_prob", "beam_score"]
Interval = tuple[float, float]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_METRICS = ("ece", "ece_mass", "brier", "auroc", "aurc", "excess_aurc")
_POINTS = 100  # of the curve that is kept
_NUMBERS_AT_ONCE = 2_000_000  # replicates x documents held at a time: 16 MB


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of like confidence.

    Attributes:
        low, high: confidences from `low` up to, and but for the last bin without, `high`.
        n: rows; where it is 0 the rest is None.
        confidence: mean confidence, a fraction.
        accuracy: share right, a fraction.
        ci95: interval of `accuracy` over documents.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What answering only from a threshold on costs and gives: share of the rows answered, share of those that is wrong."""

    threshold: float
    coverage: float
    risk: float


@dataclass(frozen=True, slots=True)
class ConfidenceReport:
    """How far confidences can be believed.

    Attributes:
        n, documents: rows, and documents they are from; where n is 0 every figure is None.
        nil: of the rows those whose mention is annotated as not in the knowledge base: no part of the mentions that scores are counted over.
        source: what the confidence is: the calibrated one, the concept's mass, or exp(log_prob).
        accuracy: share right.
        mean_confidence: above `accuracy` for a system that is over-confident.
        ece, ece_mass: calibration error over bins of equal width, and over bins of (nearly) equally many rows; the bins of equal mass are
            those of the rows themselves, in every replicate.
        brier: mean squared error of the confidence.
        auroc: None where all rows are right, or none is.
        aurc, excess_aurc: area under the risk-coverage curve, and what of it a perfect ranking would not have.
        intervals: metric -> its 95 % interval over documents, or None.
        bins, mass_bins: the reliability diagram, both ways.
        curve: risk against coverage, thinned to at most 100 thresholds, most confident first.
    """

    n: int
    documents: int
    nil: int
    source: ConfidenceSource
    accuracy: float | None
    mean_confidence: float | None
    ece: float | None
    ece_mass: float | None
    brier: float | None
    auroc: float | None
    aurc: float | None
    excess_aurc: float | None
    intervals: Mapping[str, Interval | None]
    bins: tuple[ReliabilityBin, ...]
    mass_bins: tuple[ReliabilityBin, ...]
    curve: tuple[RiskPoint, ...]


@dataclass(frozen=True, slots=True)
class SetReport:
    """How often sets of codes hold a right answer.

    Attributes:
        n, documents: annotated mentions, NIL ones too, and documents they are from.
        coverage: mean over documents of the share of their mentions whose set holds a right answer: what `--coverage` promises.
        ci95: its interval over documents.
        mention_coverage: the same share over mentions, which nothing promises.
        codes: mean number of answers in a set.
    """

    n: int
    documents: int
    coverage: float
    ci95: Interval
    mention_coverage: float
    codes: float


def answer_is_right(nil: bool, predicted: Collection[str], score: float) -> bool:
    """Whether an answer with a confidence is right: the one rule of `syncabel evaluate` and `syncabel calibrate`.

    Of a mention that is not in the knowledge base right is what names no concept, the NIL answer or what is no name, and wrong is every concept.  Of any
    other mention right is what the protocol calls right in full.

    >>> answer_is_right(True, ("D1",), 0.0), answer_is_right(True, (), 0.0), answer_is_right(False, (), 0.0), answer_is_right(False, ("D1",), 1.0)
    (False, True, False, True)

    Args:
        nil: whether the mention is annotated as not in the knowledge base.
        predicted: codes of the answer; empty where it names no concept.
        score: of the answer under the protocol; of no account where `nil`.
    """
    return not predicted if nil else score == 1


def chosen_confidence(predictions: Sequence[Prediction]) -> tuple[Floats, ConfidenceSource]:
    """One number a prediction, of one kind for all: `confidence` where every one has it, else `mass` where any has some, else exp(log_prob).

    A baseline's `log_prob` is a score and no logarithm; what exceeds 0 counts as 0, which is 1 as a probability.

    Args:
        predictions: the first one of each mention that has any.

    Returns:
        Fractions, and what they are. Shape: (predictions,).

    Example:
        >>> found, source = chosen_confidence([Prediction(("A",), "a", -1.0, mass=0.5), Prediction(("B",), "b", -2.0, mass=0.25)])
        >>> found.tolist(), source
        ([0.5, 0.25], 'mass')
    """
    stated = [prediction.confidence for prediction in predictions]
    if predictions and all(value is not None for value in stated):
        return np.array(stated, np.float64), "confidence"
    if any(prediction.mass > 0 for prediction in predictions):
        # Sums of probabilities in half precision may end a little above 1.
        return np.array([min(1.0, prediction.mass) for prediction in predictions], np.float64), "mass"
    return np.array([math.exp(min(0.0, prediction.log_prob)) for prediction in predictions], np.float64), "log_prob"


def confidence_report(
    correct: ArrayLike,
    confidence: ArrayLike,
    documents: Sequence[str],
    *,
    nil: int = 0,
    source: ConfidenceSource = "confidence",
    bins: int = 10,
    rounds: int = 1000,
    seed: int = 42,
) -> ConfidenceReport:
    """Compare confidences with what was right.

    Args:
        correct: whether each row is right. Shape: (rows,).
        confidence: fractions in [0, 1]. Shape: (rows,).
        documents: each row's document. Shape: (rows,).
        nil: how many rows are of mentions that are not in the knowledge base; written down.
        source: what the confidence is.
        bins: of the reliability diagrams.
        rounds, seed: of the document bootstrap.

    Raises:
        ConfigError: lengths differ, or a confidence is no fraction.

    Example:
        Four rows in four bins of a quarter each.  Three rows are in the last bin with a mean of 0.9 and two thirds right, one in the first
        with 0.1 and wrong: ECE is 3/4 x |0.9 - 2/3| + 1/4 x |0.1 - 0| = 0.2.  The wrong row at 0.9 has one right row above and one
        below, the one at 0.1 both above: AUROC is 3/4.  Of the first one, two, three and four rows 0, 1/2, 1/3 and 2/4 are wrong: AURC is their
        mean, 1/3; with both right rows first it would be 0, 0, 1/3, 2/4: excess 1/8.

        >>> report = confidence_report([1, 0, 1, 0], [1.0, 0.9, 0.8, 0.1], ["a", "a", "b", "b"], bins=4)
        >>> round(report.mean_confidence, 6), report.accuracy, round(report.ece, 6), report.auroc
        (0.7, 0.5, 0.2, 0.75)
        >>> round(report.brier, 6), round(report.aurc, 6), round(report.excess_aurc, 6)
        (0.215, 0.333333, 0.125)
        >>> [(point.threshold, point.coverage, round(point.risk, 3)) for point in report.curve]
        [(1.0, 0.25, 0.0), (0.9, 0.5, 0.5), (0.8, 0.75, 0.333), (0.1, 1.0, 0.5)]
    """
    right, sure = np.asarray(correct, np.float64), np.asarray(confidence, np.float64)
    _check(right, sure, documents)
    if not len(right):
        none = dict.fromkeys(_METRICS)
        return ConfidenceReport(0, 0, 0, source, None, None, **none, intervals=none, bins=(), mass_bins=(), curve=())
    rows = _Rows(right, sure, documents, bins)
    counts = _counts(rows.documents, rounds, seed)
    replicates, shares = _replicated(rows, counts)
    found = rows.metrics(np.ones(rows.documents, np.int64))
    return ConfidenceReport(
        len(right),
        rows.documents,
        nil,
        source,
        float(right.mean()),
        float(sure.mean()),
        **found,
        intervals={name: _interval(replicates[name]) for name in _METRICS},
        bins=tuple(_bins(rows.width, shares[0])),
        mass_bins=tuple(_bins(rows.mass, shares[1])),
        curve=tuple(_curve(rows)),
    )


def set_report(covered: Sequence[bool], sizes: Sequence[int], documents: Sequence[str], *, rounds: int = 1000, seed: int = 42) -> SetReport:
    """Score sets of codes, each document with the same weight.

    Args:
        covered: whether each mention's set holds a right answer; at least one. Shape: (mentions,).
        sizes: answers in each set. Shape: (mentions,).
        documents: each mention's document. Shape: (mentions,).
        rounds, seed: of the document bootstrap.

    Example:
        Three of four mentions of one document and none of the one of another are covered: 3/8 over documents, 3/5 over mentions.

        >>> found = set_report([True, True, True, False, False], [1, 2, 1, 1, 0], list("aaaab"))
        >>> found.coverage, found.mention_coverage, found.codes
        (0.375, 0.6, 1.0)
    """
    held, (names, place, counts) = np.asarray(covered, np.float64), np.unique(np.asarray(documents, str), return_inverse=True, return_counts=True)
    weights = 1 / counts[place]
    interval = document_interval(documents, held * weights, weights, rounds=rounds, seed=seed)
    return SetReport(len(held), len(names), float(held @ weights / len(names)), interval, float(held.mean()), float(np.mean(sizes)))


def confidence_json(report: ConfidenceReport) -> dict[str, Any]:
    """The report as JSON values: fractions, or null, and never NaN."""
    return asdict(report)


def _check(right: Floats, sure: Floats, documents: Sequence[str]) -> None:
    if not len(right) == len(sure) == len(documents):
        raise ConfigError(f"{len(right)} answers, {len(sure)} confidences and {len(documents)} documents; give one of each per row")
    outside = np.flatnonzero(~((sure >= 0) & (sure <= 1)))  # NaN is neither
    if len(outside):
        raise ConfigError(f"confidence {outside[0] + 1} of {len(sure)} is {sure[outside[0]]}; confidences are fractions in [0, 1]")


def _counts(documents: int, rounds: int, seed: int) -> Iterator[Integers]:
    """How often each document is drawn: the replicates of `document_interval`, in blocks. Shape: (block x documents)."""
    generator, size = np.random.default_rng(seed), max(1, _NUMBERS_AT_ONCE // documents)
    for start in range(0, rounds, size):
        yield generator.multinomial(documents, np.full(documents, 1 / documents), size=min(size, rounds - start))


@dataclass(frozen=True, eq=False)
class _Binned:
    """Per document and bin: rows, summed confidence, rows right. Shape of each: (documents, bins)."""

    edges: tuple[float, ...]
    n: Floats
    sure: Floats
    right: Floats


class _Rows:
    """The rows by falling confidence, and their sums by document."""

    def __init__(self, right: Floats, sure: Floats, documents: Sequence[str], bins: int) -> None:
        names, inverse = np.unique(np.asarray(documents, str), return_inverse=True)
        self.documents = len(names)
        order = np.argsort(-sure, kind="stable")
        self.right, self.sure, self.document = right[order], sure[order], inverse[order]
        self.starts = np.flatnonzero(np.r_[True, np.diff(self.sure) != 0])  # of runs of equal confidence
        self.brier = np.bincount(inverse, (sure - right) ** 2, self.documents)
        self.size = np.bincount(inverse, minlength=self.documents)
        self.width = self._binned(tuple(i / bins for i in range(bins + 1)))
        self.mass = self._binned(_equal_mass(sure, bins))

    def _binned(self, edges: tuple[float, ...]) -> _Binned:
        bins = len(edges) - 1
        place = self.document * bins + np.clip(np.searchsorted(edges, self.sure, side="right") - 1, 0, bins - 1)

        def summed(values: Floats) -> Floats:
            return np.bincount(place, values, self.documents * bins).astype(np.float64).reshape(-1, bins)

        return _Binned(edges, summed(np.ones_like(self.sure)), summed(self.sure), summed(self.right))

    def metrics(self, drawn: Integers) -> dict[str, float | None]:
        """Every metric with each document counted so many times.

        Args:
            drawn: at least one above 0. Shape: (documents,).
        """
        n = float(drawn @ self.size)
        ece, ece_mass = (float(np.abs(drawn @ part.sure - drawn @ part.right).sum() / n) for part in (self.width, self.mass))
        auroc, aurc, excess = self._ranking(drawn)
        return {"ece": ece, "ece_mass": ece_mass, "brier": float(drawn @ self.brier / n), "auroc": auroc, "aurc": aurc, "excess_aurc": excess}

    def _ranking(self, drawn: Integers) -> tuple[float | None, float, float]:
        weight = drawn[self.document]
        right, together = np.add.reduceat(weight * self.right, self.starts), np.add.reduceat(weight, self.starts)
        wrong = together - right
        hits, misses = right.sum(), wrong.sum()
        auroc = float(wrong @ (np.cumsum(right) - right / 2) / (hits * misses)) if hits and misses else None
        share = np.divide(wrong, together, out=np.zeros_like(wrong), where=together > 0)
        answered = np.arange(1, int(together.sum()) + 1)
        aurc = float((np.cumsum(np.repeat(share, together)) / answered).mean())
        best = float((np.maximum(answered - hits, 0) / answered).mean())
        return auroc, aurc, aurc - best


def _equal_mass(sure: Floats, bins: int) -> tuple[float, ...]:
    """Edges that part the sorted rows into equally many; rows of equal confidence stay together, so that there may be fewer bins."""
    ordered = np.sort(sure)
    inner = {float(ordered[len(sure) * i // bins]) for i in range(1, bins)} - {0.0, 1.0}
    return (0.0, *sorted(inner), 1.0)


def _replicated(rows: _Rows, counts: Iterator[Integers]) -> tuple[dict[str, list[float]], tuple[Floats, Floats]]:
    """Every metric of every replicate where it is defined, and the share right of each bin (NaN where a replicate has no row in it)."""
    found: dict[str, list[float]] = {name: [] for name in _METRICS}
    shares: tuple[list[Floats], list[Floats]] = ([], [])
    for block in counts:
        block = block[block @ rows.size > 0]
        for drawn in block:
            for name, value in rows.metrics(drawn).items():
                if value is not None:
                    found[name].append(value)
        for kept, part in zip(shares, (rows.width, rows.mass), strict=True):
            n = block @ part.n
            kept.append(np.divide(block @ part.right, n, out=np.full_like(n, np.nan), where=n > 0))
    return found, (np.concatenate(shares[0]), np.concatenate(shares[1]))


def _interval(values: Sequence[float] | Floats) -> Interval | None:
    if not len(values):
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _bins(part: _Binned, shares: Floats) -> Iterator[ReliabilityBin]:
    for i, (low, high) in enumerate(pairwise(part.edges)):
        n, column = int(part.n[:, i].sum()), shares[:, i]
        if n:
            means = float(part.sure[:, i].sum() / n), float(part.right[:, i].sum() / n)
            yield ReliabilityBin(low, high, n, *means, _interval(column[~np.isnan(column)]))
        else:
            yield ReliabilityBin(low, high, 0, None, None, None)


def _curve(rows: _Rows) -> Iterator[RiskPoint]:
    """Thresholds at which the answered rows change, at most `_POINTS` of them, the last one always."""
    ends = np.r_[rows.starts[1:], len(rows.sure)]
    wrong = np.cumsum(1 - rows.right)
    chosen = np.unique(np.linspace(0, len(ends) - 1, min(_POINTS, len(ends))).round().astype(np.int64))
    for end in ends[chosen]:
        yield RiskPoint(float(rows.sure[end - 1]), float(end / len(rows.sure)), float(wrong[end - 1] / end))
