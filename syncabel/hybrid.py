"""The project's own combinations of a model with look-up and retrieval.

    Fusion                a learned weighting of what several rankers say of each candidate: log-linear, fitted on dev
    RetrievedCandidates   retrieval proposes concepts, the model chooses among their names: a sub-trie for each mention
    InTurn                what several retrievers propose: the first of each, the second of each, …
    MostMass              each concept with the most mass that any of several searches found for it
    DictionaryFirst       the training dictionary where it is certain, else the model, else nothing
    Recorded              the answers of a predictions file, so that what is slow or runs elsewhere can be a part too

Each is a `LinkingRanker`.  What is fitted is a handful of numbers, written as JSON.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syncabel.baselines.base import Codes, LinkingRanker
from syncabel.baselines.lookup import MentionDictionary
from syncabel.errors import ConfigError, FormatError
from syncabel.evaluate.linked import read_linked
from syncabel.evaluate.protocols import PROTOCOLS, Protocol
from syncabel.evaluate.strata import canonical_answers
from syncabel.types import LinkedMention, Prediction, Query, Ranker, from_json, to_json

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase
    from syncabel.linker import Linker

__all__ = [
    "DictionaryFirst",
    "Fusion",
    "FusionWeights",
    "InTurn",
    "MostMass",
    "Pool",
    "Recorded",
    "RetrievedCandidates",
    "feature_names",
    "fit_weights",
    "objective",
    "pool_of",
    "right_by",
]

Floats = NDArray[np.float64]
IsRight = Callable[[Query, Codes], bool]

_FORMAT = "syncabel.fusion/1"
_LEAST = -25.0  # of a log-mass: a name of less was found by exhausting the trie, not by meaning it
_OF_TRAINING = ("dictionary:log_count", "training:log_count", "training:seen", "composite")


def right_by(kb: "KnowledgeBase", protocol: Protocol = "set") -> IsRight:
    """Whether codes are a right answer of a query's mention, in full, under a protocol of `syncabel.evaluate`."""
    score = PROTOCOLS[protocol]

    def is_right(query: Query, codes: Codes) -> bool:
        return score(canonical_answers(query.mention.answers or (), kb.canonical), frozenset(codes)) == 1.0

    return is_right


@dataclass(frozen=True, slots=True)
class Recorded(LinkingRanker):
    """Answers given before, by document and mention.

    Attributes:
        answers: each mention's result under (document id, mention id).
    """

    answers: Mapping[tuple[str, str], LinkedMention]

    @classmethod
    def of(cls, linked: Iterable[LinkedMention]) -> "Recorded":
        """From results, e.g. those of `apply` or of `Linker.link`."""
        return cls({(result.document_id, result.mention_id): result for result in linked})

    @classmethod
    def read(cls, path: str | Path) -> "Recorded":
        """From a file that `syncabel link` wrote.  Errors are those of `read_linked`."""
        return cls.of(result for _, result in read_linked(path))

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """The first k recorded answers of each query.

        Raises:
            ConfigError: a mention has none recorded, or they were held to other groups.
        """
        return [self._found(query)[:k] for query in queries]

    def _found(self, query: Query) -> list[Prediction]:
        result = self.answers.get((query.document.id, query.mention.id))
        if result is None:
            raise ConfigError(f"document {query.document.id!r}, mention {query.mention.id!r}: no answer is recorded; link these documents first")
        if set(result.groups) != set(query.groups):
            raise ConfigError(f"document {query.document.id!r}, mention {query.mention.id!r}: its answer was recorded for other groups; link it again")
        return list(result.predictions)


@dataclass(frozen=True, slots=True)
class InTurn(LinkingRanker):
    """Several rankers' answers in turn: the first of each, the second of each, and so on, each answer once.

    Attributes:
        rankers: whose answers; scores stay those of the ranker that named an answer first.
    """

    rankers: tuple[Ranker, ...]

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query."""
        found = [ranker.rank(queries, k) for ranker in self.rankers]
        return [_first_of_each(rows)[:k] for rows in zip(*found, strict=True)]


def _first_of_each(rows: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    named: dict[Codes, Prediction] = {}
    for turn in zip_longest(*rows):
        for prediction in turn:
            if prediction is not None:
                named.setdefault(prediction.codes, prediction)
    return list(named.values())


@dataclass(frozen=True, slots=True)
class RetrievedCandidates(LinkingRanker):
    """The model scores only what a retriever proposes: all names of its concepts, as a sub-trie.

    Attributes:
        linker: the model, with the lexicon its candidates are entries of.
        retriever: proposes answers; of a composite one each concept is a candidate.
        retrieved: most answers it proposes for a mention.
    """

    linker: "Linker"
    retriever: Ranker
    retrieved: int = 20

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k predictions of the model a query, best first; none where nothing was retrieved."""
        entries = [self._entries(found) for found in self.retriever.rank(queries, self.retrieved)]
        asked = [i for i, each in enumerate(entries) if each]
        ranked = iter(self.linker.rank([queries[i] for i in asked], k, [entries[i] for i in asked]) if asked else [])
        return [next(ranked) if each else [] for each in entries]

    def _entries(self, found: Sequence[Prediction]) -> list[int]:
        if self.linker.lexicon is None:
            raise ConfigError("candidates are names of a lexicon and this model has none; load it with one, or take the model alone")
        codes = dict.fromkeys(code for prediction in found for code in prediction.codes)
        return sorted(int(entry) for code in codes for entry in self.linker.lexicon.entries_of(code))


@dataclass(frozen=True, slots=True)
class MostMass(LinkingRanker):
    """Several searches of one model: each answer with the most mass any of them found, by mass.

    Masses are lower bounds of one and the same probability, so the greatest is the nearest to it.

    Attributes:
        searches: e.g. a linker and `RetrievedCandidates` of it.
    """

    searches: tuple[Ranker, ...]

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k predictions a query, each answer once."""
        found = [search.rank(queries, k) for search in self.searches]
        return [self._merged([row for rows in each for row in rows])[:k] for each in zip(*found, strict=True)]

    @staticmethod
    def _merged(predictions: Sequence[Prediction]) -> list[Prediction]:
        best: dict[Codes, Prediction] = {}
        for prediction in predictions:
            if prediction.codes not in best or _log_score(prediction) > _log_score(best[prediction.codes]):
                best[prediction.codes] = prediction
        return sorted(best.values(), key=lambda prediction: (-_log_score(prediction), prediction.codes))


def _log_score(prediction: Prediction) -> float:
    """A model's log-mass; where masses are below the smallest float, its best name's log-probability."""
    return math.log(prediction.mass) if prediction.mass > 0 else prediction.log_prob


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What may be the answer of one mention, and what is known of each.

    Attributes:
        predictions: one per answer, in the order they were first named.
        features: as `feature_names` lists them. Shape: (answers × features).
    """

    predictions: tuple[Prediction, ...]
    features: Floats


def feature_names(parts: Iterable[str]) -> tuple[str, ...]:
    """What is known of an answer, in the order of a pool's columns.

    Of each part its `score`: a model's log-mass, a baseline's similarity or share.  Of training: `dictionary:log_count`, ln(1 + mentions of this text with
    this answer); `training:log_count`, ln(1 + mentions of any text with it), the prior; `training:seen`, whether there are any; `composite`,
    whether it has several codes.
    """
    return (*(f"{part}:score" for part in parts), *_OF_TRAINING)


def pool_of(query: Query, answers: Mapping[str, Sequence[Prediction]], dictionary: MentionDictionary, depth: int) -> Pool:
    """The union of what the parts answer to one query, with its features.

    Args:
        query: the mention.
        answers: part → its answers, best first.
        dictionary: counts of training mentions.
        depth: how many answers each was asked for.
    """
    named = {prediction.codes: prediction for found in reversed(list(answers.values())) for prediction in found if prediction.codes}
    order = [p.codes for p in _first_of_each(list(answers.values())) if p.codes]
    counts = dictionary.counts(query)
    columns = [_scores(order, found, depth) for found in answers.values()]
    columns.append([math.log1p(counts.get(codes, 0)) for codes in order])
    columns.append([math.log1p(dictionary.prior(codes)) for codes in order])
    columns.append([float(dictionary.prior(codes) > 0) for codes in order])
    columns.append([float(len(codes) > 1) for codes in order])
    return Pool(tuple(named[codes] for codes in order), np.array(columns, np.float64).reshape(len(columns), len(order)).T)


def _scores(order: Sequence[Codes], found: Sequence[Prediction], depth: int) -> list[float]:
    """One part's score of every answer of the pool.

    What the part does not name scores at most as its last answer, and is given that; where a baseline has fewer answers than it was asked for there
    is nothing more to it, and the score is 0.
    """
    of_model = any(prediction.mass > 0 for prediction in found)
    scores = {p.codes: max(_LEAST, _log_score(p)) if of_model else math.exp(p.log_prob) for p in found}
    last = min(scores.values(), default=0.0)
    missing = last if of_model or len(found) >= depth else 0.0
    return [scores.get(codes, missing) for codes in order]


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """A fitted fusion: what its numbers are, and how they came about.

    Attributes:
        parts: the rankers' names, in order.
        depth: most answers asked of each.
        features: see `feature_names`.
        weights: of the features as they are, not scaled. Shape: (features,).
        l2: strength of the penalty, on weights of features scaled to a standard deviation of 1.
        mentions: those it was fitted on: with a right and a wrong answer in their pool.
        start, end: mean negative log-likelihood with all weights 0 and with these, in nats a mention; penalty left out.
        protocol: what counted as right.

    Raises:
        FormatError: the features are not those of the parts, or not one weight each.
    """

    parts: tuple[str, ...]
    depth: int
    features: tuple[str, ...]
    weights: tuple[float, ...]
    l2: float
    mentions: int
    start: float
    end: float
    protocol: str = "set"

    def __post_init__(self) -> None:
        if self.features != feature_names(self.parts) or len(self.weights) != len(self.features):
            raise FormatError("the features of the fusion are not those of its parts", hint="fit it again with this version")

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({"format": _FORMAT, **to_json(self)}, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "FusionWeights":
        """Read what `save` wrote.

        Raises:
            FormatError: it is no fusion, or one of another format.
        """
        path = Path(path)
        try:
            value = json.loads(path.read_bytes())
        except ValueError as error:
            raise FormatError(f"not JSON ({error})", path, hint="fit the fusion again") from None
        if not isinstance(value, dict) or value.pop("format", None) != _FORMAT:
            raise FormatError(f"no fusion of format {_FORMAT!r}", path, hint="fit the fusion again")
        return from_json(cls, value, str(path))


@dataclass(frozen=True, slots=True)
class Fusion(LinkingRanker):
    """A conditional logit over the union of several rankers' answers.

    P(answer | mention) = exp(w · features) / the sum over the mention's pool.  `log_prob` and `mass` of its predictions are this probability; the
    name is the one that the first part to name the answer gave.

    Attributes:
        parts: rankers by name; for a test each is fitted, like the dictionary, on what may be known then.
        dictionary: counts of training mentions.
        weights: fitted ones, for parts of these names.

    Raises:
        ConfigError: the weights are for other parts.
    """

    parts: Mapping[str, Ranker]
    dictionary: MentionDictionary
    weights: FusionWeights

    def __post_init__(self) -> None:
        if tuple(self.parts) != self.weights.parts:
            raise ConfigError(f"the weights are for {', '.join(self.weights.parts)}, the parts are {', '.join(self.parts)}; give these, in this order")

    @classmethod
    def fit(
        cls,
        parts: Mapping[str, Ranker],
        dictionary: MentionDictionary,
        queries: Sequence[Query],
        kb: "KnowledgeBase",
        *,
        protocol: Protocol = "set",
        depth: int = 20,
        l2: float = 3.0,
    ) -> "Fusion":
        """Fit the weights on annotated mentions that neither the parts nor the dictionary have seen.

        Args:
            parts, dictionary: see the class.
            queries: of dev, e.g. the half that selects (`part_of_dev`).
            kb: canonicalises their answers.
            protocol: what is right.
            depth: most answers asked of each part.
            l2: see `FusionWeights`.
        """
        pools = _pools(queries, parts, dictionary, depth)
        is_right = right_by(kb, protocol)
        right = [np.array([is_right(query, p.codes) for p in pool.predictions], np.bool_) for query, pool in zip(queries, pools, strict=True)]
        return cls(parts, dictionary, fit_weights(tuple(parts), depth, [pool.features for pool in pools], right, l2=l2, protocol=protocol))

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query, by probability; ties in the order the parts named them."""
        return [self._ranked(pool)[:k] for pool in _pools(queries, self.parts, self.dictionary, self.weights.depth)]

    def _ranked(self, pool: Pool) -> list[Prediction]:
        if not pool.predictions:
            return []
        logits = pool.features @ np.array(self.weights.weights)
        log_probs = logits - np.logaddexp.reduce(logits)
        order = np.argsort(-log_probs, kind="stable")
        return [_fused(pool.predictions[i], float(log_probs[i])) for i in order]


def _fused(prediction: Prediction, log_prob: float) -> Prediction:
    return Prediction(prediction.codes, prediction.name, log_prob, mass=math.exp(log_prob))


def _pools(queries: Sequence[Query], parts: Mapping[str, Ranker], dictionary: MentionDictionary, depth: int) -> list[Pool]:
    answers = {name: part.rank(queries, depth) for name, part in parts.items()}
    return [pool_of(query, {name: rows[i] for name, rows in answers.items()}, dictionary, depth) for i, query in enumerate(queries)]


def objective(weights: Floats, features: Sequence[Floats], right: Sequence[NDArray[np.bool_]]) -> float:
    """Mean negative log-likelihood of the right answers of pools that have a right and a wrong one, in nats a mention; 0 where there is no such pool.

    >>> round(objective(np.array([1.0]), [np.array([[math.log(3.0)], [0.0]])], [np.array([True, False])]), 4)  # -ln(3 / 4)
    0.2877

    Args:
        weights: Shape: (features,).
        features: of each mention. Shape of one: (answers × features).
        right: which answers are right. Shape of one: (answers,).
    """
    rows, mask, starts = _stacked(features, right)
    return _likelihood(np.asarray(weights, np.float64), rows, mask, starts)[0] if len(starts) else 0.0


def fit_weights(
    parts: tuple[str, ...], depth: int, features: Sequence[Floats], right: Sequence[NDArray[np.bool_]], *, l2: float = 3.0, protocol: str = "set"
) -> FusionWeights:
    """The weights with the least penalised negative log-likelihood, by L-BFGS from 0; the same for the same input.

    Args:
        parts, depth, l2, protocol: recorded, see `FusionWeights`.
        features, right: see `objective`.

    Raises:
        ConfigError: no mention has a right and a wrong answer in its pool, or `l2` is no positive number.
    """
    from scipy.optimize import minimize

    if not l2 > 0:
        raise ConfigError(f"l2 is {l2}; give a number above 0, without which the best weights may be infinite")
    rows, mask, starts = _stacked(features, right)
    mentions = len(starts)
    if not mentions:
        raise ConfigError("no mention of dev has a right and a wrong answer among the parts' answers; give annotated documents of dev")
    spread = rows.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)

    def penalised(scaled: Floats) -> tuple[float, Floats]:
        loss, slope = _likelihood(scaled, rows / scale, mask, starts)
        return loss + l2 * float(scaled @ scaled) / (2 * mentions), slope + l2 * scaled / mentions

    found = minimize(penalised, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    weights = np.where(spread > 0, found.x / scale, 0.0)
    start, end = (_likelihood(each, rows, mask, starts)[0] for each in (np.zeros(rows.shape[1]), weights))
    return FusionWeights(parts, depth, feature_names(parts), tuple(map(float, weights)), l2, mentions, start, end, protocol)


def _stacked(features: Sequence[Floats], right: Sequence[NDArray[np.bool_]]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """The pools that can teach something, one below the other: rows, which are right, where each pool starts."""
    kept = [(rows, mask) for rows, mask in zip(features, right, strict=True) if mask.any() and not mask.all()]
    if not kept:
        return np.empty((0, 0)), np.empty(0, np.bool_), np.empty(0, np.int64)
    starts = np.cumsum([0, *(len(mask) for _, mask in kept[:-1])])
    return np.vstack([rows for rows, _ in kept]), np.concatenate([mask for _, mask in kept]), starts


def _likelihood(weights: Floats, rows: Floats, right: NDArray[np.bool_], starts: NDArray[np.int64]) -> tuple[float, Floats]:
    """Mean negative log-likelihood and its slope."""
    logits = rows @ weights
    every, posterior = _softmax(logits, starts)
    good, target = _softmax(np.where(right, logits, -np.inf), starts)
    return float((every - good).mean()), (posterior - target) @ rows / len(starts)


def _softmax(logits: Floats, starts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Log-sum-exp of each pool and the probabilities in it. Shapes: (pools,), (rows,)."""
    sizes = np.diff([*starts, len(logits)])
    top = np.maximum.reduceat(logits, starts)
    exponentials = np.exp(logits - np.repeat(top, sizes))
    sums = np.add.reduceat(exponentials, starts)
    return top + np.log(sums), exponentials / np.repeat(sums, sizes)


@dataclass(frozen=True, slots=True)
class DictionaryFirst(LinkingRanker):
    """The training dictionary where it is certain, else another ranker where that is sure enough, else no answer.

    Attributes:
        dictionary: counts of training mentions.
        otherwise: ranks the other mentions: a linker, a fusion.
        least_count: the dictionary is certain of a text that at least so many training mentions had,
        least_share: and at least so great a share of them with one answer, a fraction.
        least_probability: of the first answer of `otherwise` (its mass); below it the mention gets none.
    """

    dictionary: MentionDictionary
    otherwise: Ranker
    least_count: int = 2
    least_share: float = 0.9
    least_probability: float = 0.0

    @classmethod
    def fit(
        cls,
        dictionary: MentionDictionary,
        otherwise: Ranker,
        queries: Sequence[Query],
        kb: "KnowledgeBase",
        *,
        protocol: Protocol = "set",
        counts: Sequence[int] = (1, 2, 3, 5, 10),
        shares: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 1.0),
    ) -> "DictionaryFirst":
        """The thresholds of the dictionary with the most right first answers on dev; of equals the strictest. It abstains where `otherwise` does.

        Args:
            dictionary, otherwise: fitted without the queries' documents.
            queries: annotated mentions of dev.
            kb: canonicalises their answers.
            protocol: what is right.
            counts, shares: thresholds that are tried.
        """
        is_right = right_by(kb, protocol)

        def hits(ranked: Sequence[Sequence[Prediction]]) -> list[bool]:
            return [bool(row) and is_right(query, row[0].codes) for query, row in zip(queries, ranked, strict=True)]

        looked_up, ranked = hits(dictionary.rank(queries)), hits(otherwise.rank(queries))
        best, chosen = -1, cls(dictionary, otherwise)
        for count in sorted(counts, reverse=True):
            for share in sorted(shares, reverse=True):
                policy = cls(dictionary, otherwise, count, share)
                right = sum(a if policy._certain(query) else b for query, a, b in zip(queries, looked_up, ranked, strict=True))
                if right > best:
                    best, chosen = right, policy
        return chosen

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query, all of the dictionary or all of the other ranker."""
        certain = [self._certain(query) for query in queries]
        asked = [query for query, sure in zip(queries, certain, strict=True) if not sure]
        ranked = iter(self.otherwise.rank(asked, k) if asked else [])
        looked_up = self.dictionary.rank(queries, k)
        return [row if sure else self._sure_enough(next(ranked)) for sure, row in zip(certain, looked_up, strict=True)]

    def _certain(self, query: Query) -> bool:
        first = next(iter(self.dictionary.rank([query])[0]), None)
        return first is not None and sum(self.dictionary.counts(query).values()) >= self.least_count and first.log_prob >= math.log(self.least_share) - 1e-9

    def _sure_enough(self, ranked: list[Prediction]) -> list[Prediction]:
        return ranked if ranked and ranked[0].mass >= self.least_probability else []
