"""From names to concepts: masses, ranks, and the certificate that nothing was missed.

Names that end with the end token are disjoint events.  The mass of a concept is the sum over its names; what was found of it
is a lower bound, and all that was not found (`log_open`) bounds what any concept may still gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constrained.trie import Ints

__all__ = ["EPSILON", "Found", "Hypothesis", "RankedConcept", "certified", "rank_concepts"]

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

# How far a log-probability may be from that of another order of the same arithmetic, by the model's type: twice the
# largest difference measured, rounded up (benchmarks/precision.py, docs/results/decode.yaml).  Models in double precision compute norms in single.
EPSILON = {"float64": 1e-6, "float32": 3e-4, "float16": 0.15, "bfloat16": 1.1}


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished answer.

    Attributes:
        entries: its numbers in the trie: one, several for a composite answer.
        log_prob: natural log, full vocabulary, end token included, not renormalised.
        length: tokens, end token included.
    """

    entries: tuple[int, ...]
    log_prob: float
    length: int

    @property
    def entry(self) -> int:
        """The first name's number."""
        return self.entries[0]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search knows about one query.

    Attributes:
        names: all names that were finished, best first; equal ones by entry.
        log_open: log of an upper bound of the probability of all other names together; −∞ where there are none.
        expansions: rows that were read after the prompt.
        epsilon: how far the log-probabilities may be off.
    """

    names: tuple[Hypothesis, ...]
    log_open: float
    expansions: int
    epsilon: float

    @property
    def open_mass(self) -> float:
        """The bound as a probability."""
        return float(np.exp(self.log_open))


@dataclass(frozen=True, slots=True)
class RankedConcept:
    """A concept among the answers of a query.

    Attributes:
        concepts: its number; several, ascending, for a composite answer.
        log_mass: log of the summed probability of its names found.
        best: its most probable name.
        certified: no other concept, found or not, can rank before it, nor in between.
    """

    concepts: tuple[int, ...]
    log_mass: float
    best: Hypothesis
    certified: bool


def rank_concepts(found: Found, concept_of: Ints | None = None) -> list[RankedConcept]:
    """The concepts of a query by mass; equal ones by number.

    Args:
        found: the names.
        concept_of: concept of each entry; each entry its own where None. Shape: (entries,).
    """
    names: dict[tuple[int, ...], list[Hypothesis]] = {}
    for name in found.names:
        names.setdefault(concepts_of(name.entries, concept_of), []).append(name)
    masses = {key: float(np.logaddexp.reduce([name.log_prob for name in group])) for key, group in names.items()}
    order = sorted(names, key=lambda key: (-masses[key], key))
    log_mass = np.array([*(masses[key] for key in order), -np.inf])
    sure = certified(log_mass[None], np.array([found.log_open]), found.epsilon)[0]
    return [RankedConcept(key, masses[key], names[key][0], bool(proven)) for key, proven in zip(order, sure, strict=True)]


def concepts_of(entries: Sequence[int], concept_of: Ints | None) -> tuple[int, ...]:
    """The concepts of an answer: a set, written in ascending order."""
    return tuple(sorted(entries if concept_of is None else (int(concept_of[entry]) for entry in entries)))


def certified(log_mass: Doubles, log_open: Doubles, epsilon: float) -> Flags:
    """Which ranks are proven.

    Rank i holds when its mass exceeds that of the next rank with all that is open, and all ranks before it hold.

    Args:
        log_mass: descending, −∞ where there is none. Shape: (queries × ranks + 1).
        log_open: Shape: (queries,).
        epsilon: how far each log-probability may be off.

    Returns:
        Shape: (queries × ranks).
    """
    rival = np.logaddexp(log_mass[:, 1:], log_open[:, None])
    with np.errstate(invalid="ignore"):  # −∞ less −∞
        holds = log_mass[:, :-1] - rival > 2 * epsilon
    return np.asarray(np.logical_and.accumulate(holds, axis=1))


def ranked_masses(query: Longs, concept: Longs, log_prob: Doubles, queries: Longs, ranks: int) -> Doubles:
    """The largest masses of each query, descending, −∞ where there are fewer.

    Args:
        query, concept, log_prob: of names. Shape: (names,).
        queries: ascending.
        ranks: how many.

    Returns:
        Shape: (queries × ranks).
    """
    table = np.full((len(queries), ranks), -np.inf)
    if not len(query):
        return table
    order = np.lexsort((concept, query))
    query, concept, log_prob = query[order], concept[order], log_prob[order]
    first = np.flatnonzero(np.r_[True, (query[1:] != query[:-1]) | (concept[1:] != concept[:-1])])
    mass = np.logaddexp.reduceat(log_prob, first)
    order = np.lexsort((-mass, query[first]))
    owner, mass = query[first][order], mass[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = (rank < ranks) & np.isin(owner, queries)
    table[np.searchsorted(queries, owner[kept]), rank[kept]] = mass[kept]
    return table
