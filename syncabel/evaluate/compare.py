"""Which of two systems is better on the same mentions, and how sure that is.

Mentions of one document are not independent, so the primary test flips the signs of whole documents' differences, and the interval resamples
documents.  McNemar's test counts mentions one by one; it stands beside for reference only: under the null of two equally good systems whose errors
run together within 15 documents it rejects about half the time (`tests/evaluate/test_compare.py` simulates it).
"""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from syncabel.bootstrap import document_interval, document_sums, flip_p, replicates
from syncabel.errors import ConfigError, UnknownNameError

__all__ = [
    "FEW_DOCUMENTS",
    "Comparison",
    "Difference",
    "Pair",
    "SystemScore",
    "compare_pair",
    "compare_strata",
    "compare_systems",
    "comparison_json",
    "difference_json",
    "few_documents",
    "holm",
    "mcnemar",
    "refuse_other_mentions",
]

FEW_DOCUMENTS = 30
_NAMED = 3  # places that an error lists
_ROUNDING = 1e-12  # of means over seeds: a replicate in which both systems are equal is 0 up to this

Interval = tuple[float, float]
Floats = NDArray[np.float64]
Scores = Sequence[float] | Sequence[Sequence[float]] | ArrayLike
Place = TypeVar("Place", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a system A is than a system B on the same mentions.

    Attributes:
        n, documents: mentions, and documents they are from.
        delta: mean score of A minus that of B, a fraction.
        ci95: its interval over documents, and over seeds where there are several; fractions.
        only_a, only_b: mentions on which one scores more than the other; the mean over pairs of seeds where there are several.
        p_sign_flip: two-sided, by flipping the signs of documents: the test to go by.
        p_bootstrap: two-sided, twice the share of replicates on the other side of 0.
        p_mcnemar: two-sided, mention by mention, for reference only; None where a side has several seeds.
        p_holm: `p_sign_flip` adjusted for the other comparisons of its family.
        warning: what speaks against trusting the interval, or None.
    """

    n: int
    documents: int
    delta: float
    ci95: Interval
    only_a: float
    only_b: float
    p_sign_flip: float
    p_bootstrap: float
    p_mcnemar: float | None
    p_holm: float
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems by name, and `a` minus `b`."""

    a: str
    b: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class SystemScore:
    """A system's mean score.

    Attributes:
        value: over mentions and seeds, a fraction.
        ci95: over documents (the published interval where there is one seed), and over seeds where there are several; fractions.
        seeds: mean score of each seed, fractions.
    """

    value: float
    ci95: Interval
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems on the same mentions, two by two.

    Attributes:
        n, documents: mentions, and documents they are from.
        systems: name -> score, in the order given.
        pairs: the family that `p_holm` is adjusted over.
        warning: what speaks against trusting the intervals, or None.
        rounds, seed: of the differences' replicates and random flips.
    """

    n: int
    documents: int
    systems: Mapping[str, SystemScore]
    pairs: tuple[Pair, ...]
    warning: str | None
    rounds: int
    seed: int


def compare_systems(
    documents: Sequence[str], systems: Mapping[str, Scores], *, reference: str | None = None, rounds: int = 10_000, seed: int = 42
) -> Comparison:
    """Compare every two systems, or one with every other.

    With several seeds a side there are two levels.  The interval resamples both: each replicate draws documents, the same for both systems, and
    from each system's seeds as many as it has, with replacement (of few seeds this says too little of their spread, by (S - 1) / S of the variance).
    The sign-flip test flips documents' sums averaged over the seeds: its p is about these very seeds on other documents.

    >>> found = compare_systems(["d1", "d1", "d2", "d2"], {"new": [1, 1, 1, 0], "old": [0, 0, 1, 0]})
    >>> pair = found.pairs[0]
    >>> pair.difference.delta, pair.difference.only_a, pair.difference.only_b  # 3 of 4 against 1 of 4
    (0.5, 2.0, 0.0)
    >>> pair.difference.p_sign_flip  # d2 says nothing, and the sign of d1 alone could be either
    1.0

    Args:
        documents: each mention's document. Shape: (mentions,).
        systems: name -> scores. Shape: (mentions,), or (seeds, mentions).
        reference: a system: it is compared with every other, as their B, instead of every two.
        rounds, seed: of replicates and random flips.

    Raises:
        ConfigError: no mention, fewer than two systems, scores of another number of mentions, or that are no numbers.
        UnknownNameError: `reference` is none of the systems.
    """
    if len(systems) < 2:
        raise ConfigError(f"{len(systems)} systems; give at least two to compare")
    if reference is not None and reference not in systems:
        raise UnknownNameError("system", reference, systems)
    rows = {name: _rows(scores, documents, name) for name, scores in systems.items()}
    names = list(combinations(rows, 2)) if reference is None else [(name, reference) for name in rows if name != reference]
    found = [compare_pair(documents, rows[a], rows[b], rounds=rounds, seed=seed) for a, b in names]
    adjusted = holm([difference.p_sign_flip for difference in found])
    return Comparison(
        n=len(documents),
        documents=len(set(documents)),
        systems={name: _system(documents, scores, seed) for name, scores in rows.items()},
        pairs=tuple(Pair(a, b, replace(one, p_holm=p)) for (a, b), one, p in zip(names, found, adjusted, strict=True)),
        warning=_warning(len(set(documents))),
        rounds=rounds,
        seed=seed,
    )


def compare_strata(
    documents: Sequence[str], a: Scores, b: Scores, strata: Mapping[str, Mapping[str, Sequence[bool]]], *, rounds: int = 10_000, seed: int = 42
) -> dict[str, dict[str, Difference | None]]:
    """Compare two systems in every stratum; `p_holm` is adjusted over all strata that hold a mention.

    p of sign flips is that of `compare_pair` on the stratum's mentions alone.  Replicates draw from all documents, the same ones for every stratum; of
    a stratum those say nothing that draw none of its documents, and are left out.

    >>> strata = {"length": {"1": [True, True, False, False], "2": [False, False, True, True], "3": [False] * 4}}
    >>> found = compare_strata(["a", "b", "a", "b"], [1, 1, 1, 0], [0, 0, 1, 0], strata)["length"]
    >>> found["1"].delta, found["1"].p_sign_flip, found["1"].p_holm  # both signs equal in 2 of 4 arrangements; twice that for two strata
    (1.0, 0.5, 1.0)
    >>> found["2"].delta, found["3"]
    (0.0, None)

    Args:
        documents: each mention's document. Shape: (mentions,).
        a, b: scores. Shape: (mentions,), or (seeds, mentions).
        strata: kind -> value -> which mentions are in it. Shape of each: (mentions,).
        rounds, seed: of replicates and random flips.

    Returns:
        Kind -> value -> difference, None for an empty stratum.

    Raises:
        ConfigError: as `compare_systems`.
    """
    first, second, names = _rows(a, documents, "A"), _rows(b, documents, "B"), np.asarray(documents, str)
    every = {(kind, value): np.asarray(members, bool) for kind, values in strata.items() for value, members in values.items()}
    masks = {place: mask for place, mask in every.items() if mask.any()}
    deltas = _resampled(documents, (first, second), list(masks.values()), rounds, seed)
    found = {
        place: _difference(list(names[mask]), first[:, mask], second[:, mask], drawn, rounds, seed)
        for (place, mask), drawn in zip(masks.items(), deltas, strict=True)
    }
    adjusted = dict(zip(found, holm([one.p_sign_flip for one in found.values()]), strict=True))
    return {
        kind: {value: replace(found[kind, value], p_holm=adjusted[kind, value]) if (kind, value) in found else None for value in values}
        for kind, values in strata.items()
    }


def compare_pair(documents: Sequence[str], a: Scores, b: Scores, *, rounds: int = 10_000, seed: int = 42) -> Difference:
    """A minus B: `compare_systems` for two, `p_holm` being `p_sign_flip`.

    Raises:
        ConfigError: as `compare_systems`.
    """
    first, second = _rows(a, documents, "A"), _rows(b, documents, "B")
    (deltas,) = _resampled(documents, (first, second), [np.ones(len(documents), bool)], rounds, seed)
    return _difference(documents, first, second, deltas, rounds, seed)


def _difference(documents: Sequence[str], first: Floats, second: Floats, deltas: Floats, rounds: int, seed: int) -> Difference:
    """The difference on these mentions. Shapes: first and second (seeds, mentions), deltas (replicates,)."""
    count = len(set(documents))
    low, high = np.quantile(deltas, [0.025, 0.975]) if len(deltas) else (-1.0, 1.0)  # where no replicate says anything, anything may be
    p = flip_p(document_sums(documents, first.mean(0) - second.mean(0)), rounds=rounds, seed=seed)
    ahead = [float((one > other).sum()) for one in first for other in second]
    behind = [float((one < other).sum()) for one in first for other in second]
    return Difference(
        n=len(documents),
        documents=count,
        delta=float(first.mean() - second.mean()),
        ci95=(float(low), float(high)),
        only_a=sum(ahead) / len(ahead),
        only_b=sum(behind) / len(behind),
        p_sign_flip=p,
        p_bootstrap=_p_bootstrap(deltas),
        p_mcnemar=mcnemar(first[0], second[0]) if len(first) == len(second) == 1 else None,
        p_holm=p,
        warning=_warning(count),
    )


def _rows(scores: Scores, documents: Sequence[str], name: str) -> Floats:
    """Scores by seed. Shape: (seeds, mentions)."""
    try:
        array = np.atleast_2d(np.asarray(scores, np.float64))
    except ValueError:
        raise ConfigError(f"{name}: scores are no numbers, or its seeds have not the same number of mentions; give one score per mention and seed") from None
    if array.ndim != 2 or array.shape[1] != len(documents) or not array.size:
        raise ConfigError(f"{name}: {array.shape[-1]} scores for {len(documents)} mentions; give every system's score for the same mentions, at least one")
    if not np.isfinite(array).all():
        raise ConfigError(f"{name}: a score is NaN or infinite; give numbers")
    return array


def _resampled(documents: Sequence[str], sides: Sequence[Floats], masks: Sequence[NDArray[np.bool_]], rounds: int, seed: int) -> list[Floats]:
    """The first side's mean, less the second's, of every stratum in every replicate that draws a mention of it. Shape of each: (replicates,).

    Args:
        documents: each mention's document. Shape: (mentions,).
        sides: each system's scores. Shape of each: (seeds, mentions).
        masks: which mentions are in each stratum. Shape of each: (mentions,).
        rounds, seed: of the replicates.
    """
    names, place = np.unique(np.asarray(documents, str), return_inverse=True)
    sizes = np.stack([np.bincount(place, mask, len(names)) for mask in masks])  # Shape: (strata, documents).
    sums = [np.stack([np.bincount(place, mask * row, len(names)) for mask in masks for row in side]) for side in sides]
    # Seeds are drawn from streams of their own, so that documents are drawn as where there is one seed: as in the published interval.
    streams = [np.random.default_rng([seed, number]) for number in range(len(sides))]
    found = []
    for counts in replicates(len(names), rounds, seed):
        drawn = counts.astype(np.float64)
        tops = [
            (_seed_weights(stream, len(drawn), len(side))[:, None] * (drawn @ summed.T).reshape(len(drawn), len(masks), len(side))).sum(2)
            for stream, side, summed in zip(streams, sides, sums, strict=True)
        ]
        found.append((tops[0] - sum(tops[1:]), drawn @ sizes.T))
    top, total = (np.concatenate(parts).T for parts in zip(*found, strict=True))
    return [differences[size > 0] / size[size > 0] for differences, size in zip(top, total, strict=True)]


def _seed_weights(stream: np.random.Generator, rounds: int, seeds: int) -> Floats:
    """What part each seed has in each replicate. Shape: (rounds, seeds)."""
    return stream.multinomial(seeds, np.full(seeds, 1 / seeds), size=rounds) / seeds


def _p_bootstrap(deltas: Floats) -> float:
    # As in the sign-flip test what was observed counts as one replicate, so that no p is 0.
    tail = min(int((deltas <= _ROUNDING).sum()), int((deltas >= -_ROUNDING).sum())) + 1
    return min(1.0, 2 * tail / (len(deltas) + 1))


def _system(documents: Sequence[str], rows: Floats, seed: int) -> SystemScore:
    if len(rows) == 1:
        interval = document_interval(documents, rows[0], seed=seed)
    else:
        (means,) = _resampled(documents, (rows,), [np.ones(len(documents), bool)], 1000, seed)
        low, high = np.quantile(means, [0.025, 0.975])
        interval = float(low), float(high)
    return SystemScore(float(rows.mean()), interval, tuple(float(row.mean()) for row in rows))


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """McNemar's exact two-sided p: of the mentions that only one has right, how far from half and half they are split.

    For reference only: it takes mentions for independent, and those of a document are not.

    >>> mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 1, 1])  # 3 against 1: (1 + 4 + 4 + 1) / 16
    0.625

    Args:
        first, second: scores; right means 1. Shape: (mentions,).

    Raises:
        ConfigError: lengths that differ.
    """
    a, b = np.asarray(first, np.float64) == 1, np.asarray(second, np.float64) == 1
    if len(a) != len(b):
        raise ConfigError(f"{len(a)} scores against {len(b)}; give both systems' scores for the same mentions")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_first + only_second
    return min(1.0, float(binomtest(only_first, discordant).pvalue)) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for being several (Holm, 1979): the smallest times m, the next times m - 1, none below one before it.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def few_documents(documents: int) -> str | None:
    """What to say of an interval over so few documents, or None from `FEW_DOCUMENTS` on."""
    if documents >= FEW_DOCUMENTS:
        return None
    return f"{documents} documents are under {FEW_DOCUMENTS}: intervals over documents come out too narrow"


def _warning(documents: int) -> str | None:
    warning = few_documents(documents)
    return warning and f"{warning}; go by the sign-flip test"


def refuse_other_mentions(first: Collection[Place], second: Collection[Place], names: tuple[str, str] = ("the first", "the second")) -> None:
    """Refuse two systems that were scored on different mentions.

    Args:
        first, second: each system's mentions, as places without their text, sortable.
        names: what to call them.

    Raises:
        ConfigError: they differ; the message counts and lists what only one has.
    """
    sides = [sorted(set(one) - set(other), key=repr) for one, other in ((first, second), (second, first))]
    if not any(sides):
        return
    said = "; ".join(f"{len(side)} only in {name} ({_listed(side)})" for side, name in zip(sides, names, strict=True) if side)
    raise ConfigError(f"other mentions were scored: {said}; compare systems on the same mentions")


def _listed(places: Sequence[Any]) -> str:
    shown = ", ".join(":".join(map(str, place)) if isinstance(place, tuple) else str(place) for place in places[:_NAMED])
    return f"{shown}, …" if len(places) > _NAMED else shown


def difference_json(difference: Difference | None) -> dict[str, Any]:
    """A difference as JSON values; an empty stratum is n = 0 and null."""
    if difference is None:
        return {"n": 0, "documents": 0, **dict.fromkeys(_FIGURES)}
    values = {name: getattr(difference, name) for name in ("n", "documents", *_FIGURES)}
    return {**values, "ci95": list(difference.ci95), "only_a": _count(difference.only_a), "only_b": _count(difference.only_b)}


_FIGURES = ("delta", "ci95", "only_a", "only_b", "p_sign_flip", "p_bootstrap", "p_mcnemar", "p_holm", "warning")


def _count(value: float) -> float:
    """A whole number as an int: a mean over seeds need not be one."""
    return int(value) if math.isclose(value, round(value)) else value


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values."""
    return {
        "n": comparison.n,
        "documents": comparison.documents,
        "systems": {name: {"value": one.value, "ci95": list(one.ci95), "seeds": list(one.seeds)} for name, one in comparison.systems.items()},
        "pairs": [{"a": pair.a, "b": pair.b, **difference_json(pair.difference)} for pair in comparison.pairs],
        "warning": comparison.warning,
        "rounds": comparison.rounds,
        "seed": comparison.seed,
    }
