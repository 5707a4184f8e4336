"""Mentions that a system found itself beside the annotated ones: which is which, and precision, recall and F1 of them.

Two ways of finding a mention, times what has to agree:

    strict       the offsets of all fragments are equal
    overlapping  they share a character

    span, span+type, span+code, span+type+code

Predictions and gold mentions are matched one to one, as many as can be (a maximum matching of the bipartite graph of those that agree), so that
neither side is counted twice.  `entity_scores` and `iob2_entities` are seqeval's span F1, over sets of (type, start, end).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from syncabel.bootstrap import replicates
from syncabel.errors import ConfigError
from syncabel.evaluate.protocols import PROTOCOLS, Answer
from syncabel.types import Span

__all__ = [
    "CODE_PROTOCOLS",
    "CRITERIA",
    "WAYS",
    "Annotation",
    "CodeProtocol",
    "Criterion",
    "Entity",
    "Estimate",
    "GroupScores",
    "Rates",
    "SpanScores",
    "Way",
    "entity_scores",
    "estimate",
    "iob2_entities",
    "match",
    "rates",
    "resampled",
    "scores_of_counts",
]

Way = Literal["strict", "overlapping"]
Criterion = Literal["span", "span+type", "span+code", "span+type+code"]
CodeProtocol = Literal["set", "any", "overlap"]
CODE_PROTOCOLS: tuple[CodeProtocol, ...] = ("set", "any", "overlap")  # those of `PROTOCOLS` that are yes or no, of canonical codes
WAYS: tuple[Way, ...] = ("strict", "overlapping")
CRITERIA: tuple[Criterion, ...] = ("span", "span+type", "span+code", "span+type+code")
Entity = tuple[str, int, int]  # type, start, end (exclusive)
Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mention, annotated or predicted.

    Attributes:
        document_id: its document.
        spans: its fragments in text order.
        type: the annotated or predicted type, or None.
        answers: None where it was not asked for a code; () where it has none (NIL, or the system abstained); else alternative answers, of a
            prediction one.
        whole: whether `spans` are its fragments; False where only the first start and the last end are known, and are then all that is compared.
    """

    document_id: str
    spans: tuple[Span, ...]
    type: str | None = None
    answers: tuple[Answer, ...] | None = None
    whole: bool = True

    @property
    def start(self) -> int:
        """First code point of the first fragment."""
        return self.spans[0].start

    @property
    def end(self) -> int:
        """End (exclusive) of the last fragment."""
        return self.spans[-1].end


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval over documents; None where there is nothing to divide by."""

    value: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Precision, recall and F1, fractions."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Mentions of one type: how many there are, were predicted, were matched, and the rates of that."""

    gold: int
    predicted: int
    matched: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Mentions found.

    Attributes:
        gold, predicted, matched: mentions.
        micro: over mentions.
        macro: mean over types, one that was never predicted or is never right counting 0; None where the criterion has no type.
        weighted: mean over types by their gold mentions; None where the criterion has no type.
        by_group: type -> scores; empty where the criterion has no type.
    """

    gold: int
    predicted: int
    matched: int
    micro: Rates
    macro: Rates | None
    weighted: Rates | None
    by_group: Mapping[str, GroupScores]


def match(
    gold: Sequence[Annotation], predicted: Sequence[Annotation], way: Way = "strict", criterion: Criterion = "span", protocol: CodeProtocol = "set"
) -> list[tuple[int, int]]:
    """Match predictions with gold mentions one to one, as many as agree.

    A prediction over two gold mentions is matched with one of them only:

    >>> gold = [Annotation("d", (Span(0, 4),)), Annotation("d", (Span(5, 9),))]
    >>> match(gold, [Annotation("d", (Span(0, 9),))], "overlapping")
    [(0, 0)]
    >>> match(gold, [Annotation("d", (Span(0, 9),)), Annotation("d", (Span(0, 4),))], "overlapping")  # the first gives way to the second
    [(0, 1), (1, 0)]
    >>> match(gold, [Annotation("d", (Span(0, 9),)), Annotation("d", (Span(0, 4),))], "strict")
    [(0, 1)]

    Args:
        gold, predicted: of any documents.
        way: what it takes to be the same mention.
        criterion: what has to agree beside.
        protocol: what makes a code right.

    Returns:
        (place in `gold`, place in `predicted`), by the first.
    """
    agree = [(i, j) for i, j in _touching(gold, predicted) if _agrees(gold[i], predicted[j], way, criterion, protocol)]
    if not agree:
        return []
    rows, columns = zip(*agree, strict=True)
    graph = csr_array((np.ones(len(agree), np.int8), (rows, columns)), shape=(len(gold), len(predicted)))
    return [(i, int(j)) for i, j in enumerate(maximum_bipartite_matching(graph, perm_type="column")) if j >= 0]


def _touching(gold: Sequence[Annotation], predicted: Sequence[Annotation]) -> Iterator[tuple[int, int]]:
    """Pairs of one document that share a character."""
    others = _by_document(predicted)
    for document, own in _by_document(gold).items():
        theirs = others.get(document, [])
        starts, ends = _bounds([gold[i] for i in own])
        other_starts, other_ends = _bounds([predicted[j] for j in theirs])
        near = (starts[:, None] < other_ends) & (other_starts < ends[:, None])
        for row, column in zip(*np.nonzero(near), strict=True):
            i, j = own[row], theirs[column]
            if any(a.start < b.end and b.start < a.end for a in gold[i].spans for b in predicted[j].spans):
                yield i, j


def _by_document(annotations: Sequence[Annotation]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, annotation in enumerate(annotations):
        found.setdefault(annotation.document_id, []).append(place)
    return found


def _bounds(annotations: Sequence[Annotation]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.array([one.start for one in annotations], np.int64), np.array([one.end for one in annotations], np.int64)


def _agrees(gold: Annotation, predicted: Annotation, way: Way, criterion: Criterion, protocol: CodeProtocol) -> bool:
    if way == "strict" and not same_place(gold, predicted):
        return False
    if "type" in criterion and (gold.type is None or gold.type != predicted.type):
        return False
    return "code" not in criterion or right_code(gold, predicted, protocol)


def same_place(gold: Annotation, predicted: Annotation) -> bool:
    """Whether the offsets of all fragments are equal, or of the whole where one side knows no fragments."""
    if gold.whole and predicted.whole:
        return gold.spans == predicted.spans
    return (gold.start, gold.end) == (predicted.start, predicted.end)


def right_code(gold: Annotation, predicted: Annotation, protocol: CodeProtocol = "set") -> bool:
    """Whether the predicted code is right; False where either side has none."""
    return bool(gold.answers and predicted.answers and PROTOCOLS[protocol](gold.answers, predicted.answers[0]) == 1)


def rates(counts: Floats) -> Floats:
    """Precision, recall and F1 of (gold, predicted, matched); NaN where there is nothing to divide by.

    >>> rates(np.array([4.0, 5.0, 3.0])).round(3).tolist()  # 3/5, 3/4, 2 * 3 / 9
    [0.6, 0.75, 0.667]

    Args:
        counts: shape (…, 3).

    Returns:
        Shape (…, 3).
    """
    gold, predicted, matched = np.moveaxis(counts, -1, 0)
    tops, bottoms = np.stack([matched, matched, 2 * matched], -1), np.stack([predicted, gold, gold + predicted], -1)
    return _divided(tops, bottoms)


def _divided(tops: Floats, bottoms: Floats) -> Floats:
    found: Floats = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return found


def averages(counts: Floats) -> Floats:
    """Micro, macro and weighted precision, recall and F1 over types; seqeval's, but NaN where nothing is there.

    Args:
        counts: (gold, predicted, matched) of every type. Shape: (…, types, 3).

    Returns:
        Shape (…, 3 averages, 3 rates).
    """
    own, there = np.nan_to_num(rates(counts)), (counts[..., 0] + counts[..., 1] > 0)[..., None]
    means = [_mean(own, weights) for weights in (there.astype(np.float64), counts[..., :1])]
    return np.stack([rates(counts.sum(-2)), *means], -2)


def _mean(values: Floats, weights: Floats) -> Floats:
    """Over the types. Shape: (…, 3)."""
    top, bottom = (values * weights).sum(-2), np.broadcast_to(weights.sum(-2), values.shape[:-2] + values.shape[-1:])
    return _divided(top, bottom)


def resampled(per_document: Floats, rounds: int, seed: int) -> Floats:
    """Sums over the documents of each replicate of `syncabel.bootstrap`.

    Args:
        per_document: documents sorted by id. Shape: (documents, …).
        rounds, seed: of the document bootstrap.

    Returns:
        Shape (rounds, …).
    """
    flat = per_document.reshape(len(per_document), -1)
    sums = np.concatenate([counts @ flat for counts in replicates(len(flat), rounds, seed)])
    return sums.reshape(rounds, *per_document.shape[1:])


def estimate(value: float, samples: Floats) -> Estimate:
    """A value and the 95 % interval of its replicates; NaN, here or there, is nothing to divide by."""
    defined = samples[~np.isnan(samples)]
    if np.isnan(value) or not len(defined):
        return Estimate(None if np.isnan(value) else float(value), None)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(float(value), (float(low), float(high)))


def scores_of_counts(counts: Floats, groups: Sequence[str] | None, *, rounds: int = 1000, seed: int = 42) -> SpanScores:
    """Scores with their intervals from counts by document and type.

    Args:
        counts: (gold, predicted, matched), documents sorted by id. Shape: (documents, types, 3).
        groups: names of the types; None where the criterion has none and `counts` has one.
        rounds, seed: of the document bootstrap.
    """
    total, sampled = counts.sum(0), resampled(counts, rounds, seed)
    means, mean_samples = averages(total), averages(sampled)
    own, own_samples = rates(total), rates(sampled)
    micro, macro, weighted = (_rates(means[place], mean_samples[:, place]) for place in range(3))
    by_group = {group: GroupScores(*_whole(total[place]), _rates(own[place], own_samples[:, place])) for place, group in enumerate(groups or ())}
    return SpanScores(*_whole(total.sum(0)), micro, macro if groups is not None else None, weighted if groups is not None else None, by_group)


def _whole(counts: Floats) -> tuple[int, int, int]:
    gold, predicted, matched = (int(count) for count in counts)
    return gold, predicted, matched


def _rates(values: Floats, samples: Floats) -> Rates:
    return Rates(*(estimate(float(values[place]), samples[:, place]) for place in range(3)))


def entity_scores(gold: Mapping[str, Collection[Entity]], predicted: Mapping[str, Collection[Entity]], *, rounds: int = 1000, seed: int = 42) -> SpanScores:
    """seqeval's scores: entities are right where type, start and end are, and several equal ones of a document are one.

    >>> gold = {"s1": [("PER", 0, 2), ("LOC", 3, 4)], "s2": [("PER", 1, 2)]}
    >>> found = entity_scores(gold, {"s1": [("PER", 0, 2), ("PER", 3, 4)], "s2": []})
    >>> found.micro.precision.value, round(found.micro.recall.value, 3), found.micro.f1.value  # 1 of 2 predicted, 1 of 3 there
    (0.5, 0.333, 0.4)
    >>> found.macro.f1.value, round(found.weighted.f1.value, 3)  # PER has 2 * 1 / (2 + 2), LOC has 0: (0.5 + 0) / 2 and (2 * 0.5 + 1 * 0) / 3
    (0.25, 0.333)

    Args:
        gold, predicted: document (or sequence) -> entities.
        rounds, seed: of the bootstrap over documents.

    Raises:
        ConfigError: no document, or predictions for one that gold does not have.
    """
    if not gold:
        raise ConfigError("no document to score; give annotated ones")
    if unknown := sorted(predicted.keys() - gold.keys()):
        raise ConfigError(f"{len(unknown)} documents of the predictions are not in the gold ones (first: {unknown[0]!r}); predict for those")
    types = sorted({kind for side in (gold, predicted) for entities in side.values() for kind, _, _ in entities})
    counts = np.zeros((len(gold), max(1, len(types)), 3))
    for row, document in enumerate(sorted(gold)):
        own, theirs = set(gold[document]), set(predicted.get(document, ()))
        for column, entities in enumerate((own, theirs, own & theirs)):
            for kind, _, _ in entities:
                counts[row, types.index(kind), column] += 1
    return scores_of_counts(counts, types, rounds=rounds, seed=seed)


def iob2_entities(tags: Sequence[str], *, strict: bool = False) -> list[Entity]:
    """The entities of a sequence of `B-TYPE`, `I-TYPE` and `O`, in token numbers.

    >>> iob2_entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"])
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    >>> iob2_entities(["I-PER", "I-LOC", "O"]), iob2_entities(["I-PER", "I-LOC", "O"], strict=True)
    ([('PER', 0, 1), ('LOC', 1, 2)], [])

    Args:
        tags: one a token.
        strict: an `I-` that goes on from nothing of its type is no entity; else it begins one, as seqeval has it unless told otherwise.

    Raises:
        ConfigError: a tag of another form.
    """
    found: list[Entity] = []
    kind, start = "", 0  # of the open entity; "" for none
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if prefix not in ("B", "I", "O") or bool(name) is (prefix == "O"):
            raise ConfigError(f"token {place} has no tag of IOB2; tags are B-TYPE, I-TYPE and O")
        if prefix == "I" and name == kind:
            continue
        if kind:
            found.append((kind, start, place))
        kind, start = (name, place) if prefix == "B" or not strict else ("", place)
    return found
