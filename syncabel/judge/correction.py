"""The judge's own error, carried into the share of valid answers and its interval, from a sample that people labelled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError

__all__ = ["Corrected", "HumanCell", "corrected_share"]

_NUMBERS_AT_ONCE = 2_000_000  # replicates x documents held at a time
_PRIOR = 0.5  # Jeffreys

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HumanCell:
    """What people say of the mentions that the judge put on one side.

    Attributes:
        n: mentions there.
        labelled: of them by people.
        valid: of those, valid in their eyes.
    """

    n: int
    labelled: int
    valid: int


@dataclass(frozen=True, slots=True)
class Corrected:
    """The share of valid answers as people would see it.

    Attributes:
        value: a fraction; None where the judge calls mentions valid, or not, of which nobody labelled one.
        ci95: its interval over documents and over the judge's error, fractions; None where value is.
        judged_valid, judged_not_valid: where it comes from.
    """

    value: float | None
    ci95: tuple[float, float] | None
    judged_valid: HumanCell
    judged_not_valid: HumanCell


def corrected_share(
    documents: Sequence[str],
    judged: Sequence[bool],
    decided: Sequence[bool],
    human: Sequence[bool | None],
    *,
    rounds: int = 1000,
    seed: int = 42,
) -> Corrected:
    """The share of valid answers, each side of the judge's verdicts weighed by how often people agree with it.

    Of 10 mentions 4 are equal to gold; the judge calls 2 of the other 6 valid.  People labelled one of the 2 (valid) and two of the 4 (one of
    them valid): (4 + 2 · 1/1 + 4 · 1/2) / 10.

    >>> judged = [True] * 6 + [False] * 4
    >>> decided = [True] * 4 + [False] * 6
    >>> human = [None] * 4 + [True, None] + [True, False, None, None]
    >>> corrected_share([str(i) for i in range(10)], judged, decided, human).value
    0.8

    This is Rogan and Gladen's (1978) correction in its form for a sample of the very mentions that are scored, by predictive values; with a
    verdict of two values it is the difference estimator of prediction-powered inference at its best weight (PPI++, Angelopoulos et al.,
    2023).  It holds where the labelled mentions are a random sample of those that short cuts did not decide; which of the latter people
    also labelled does not matter here, for equal codes are taken as valid.

    The interval draws documents with all that is in them, judged and labelled alike, and in each replicate adds to each side's labels two
    gamma-distributed fractions of one (shape 1/2, Jeffreys): a judge that nine labels do not contradict is not a judge without error.

    Args:
        documents: each mention's document. Shape: (mentions,).
        judged: valid by short cut or judge. Shape: (mentions,).
        decided: by a short cut, so that no judge erred. Shape: (mentions,).
        human: valid in the eyes of people; None where nobody looked. Shape: (mentions,).
        rounds, seed: of the bootstrap.

    Raises:
        ConfigError: no mention, or lengths that differ.
    """
    if not len(documents) or not len(documents) == len(judged) == len(decided) == len(human):
        raise ConfigError(f"{len(documents)} documents, {len(judged)} judgements, {len(human)} human labels: give one of each per mention, at least one")
    sums = _per_document(documents, np.asarray(judged, bool), np.asarray(decided, bool), human)
    total = sums.sum(0)
    cells = HumanCell(*(int(x) for x in total[2:5])), HumanCell(*(int(x) for x in total[5:8]))
    if any(cell.n and not cell.labelled for cell in cells):
        return Corrected(None, None, *cells)
    value = (total[1] + sum(cell.n * cell.valid / cell.labelled for cell in cells if cell.n)) / total[0]
    shares = np.concatenate(list(_replicates(sums, rounds, seed)))
    low, high = np.quantile(shares, [0.025, 0.975])
    # The fractions added pull towards one half, so a value at the very edge may lie outside.
    return Corrected(float(value), (min(float(low), float(value)), max(float(high), float(value))), *cells)


def _per_document(documents: Sequence[str], judged: NDArray[np.bool_], decided: NDArray[np.bool_], human: Sequence[bool | None]) -> Floats:
    """Sums by document: mentions, valid by short cut; then judged valid, and judged not valid: mentions, labelled, valid. Shape: (documents, 8)."""
    labelled, valid = np.array([label is not None for label in human]), np.array([label is True for label in human])
    columns = [np.ones(len(judged), bool), decided & judged]
    for side in (judged & ~decided, ~judged & ~decided):
        columns += [side, side & labelled, side & valid]
    names, place = np.unique(np.asarray(documents, str), return_inverse=True)
    sums = np.zeros((len(names), len(columns)))
    np.add.at(sums, place, np.stack(columns, 1).astype(np.float64))
    return sums


def _replicates(sums: Floats, rounds: int, seed: int) -> Iterator[Floats]:
    """The corrected share of each replicate, in blocks. Shape: (block,)."""
    generator, documents = np.random.default_rng(seed), len(sums)
    size = max(1, _NUMBERS_AT_ONCE // documents)
    for start in range(0, rounds, size):
        drawn = generator.multinomial(documents, np.full(documents, 1 / documents), size=min(size, rounds - start)) @ sums
        share = drawn[:, 1]
        for n, labelled, valid in (drawn[:, 2:5].T, drawn[:, 5:8].T):
            more, less = generator.gamma(_PRIOR, size=(2, len(drawn)))
            share = share + n * (valid + more) / (labelled + more + less)
        yield share / drawn[:, 0]
