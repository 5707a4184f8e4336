"""Documents and predictions in, a `Report` out."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate.ledger import CAUSES, Cause, LedgerLine, first_cause, reachable
from syncabel.evaluate.linked import aligned
from syncabel.evaluate.protocols import PROTOCOLS, Answer, Protocol, options
from syncabel.evaluate.strata import Seen, canonical_answers, shares_name
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document, LinkedMention, Mention, to_json

__all__ = ["Cell", "Miss", "Report", "evaluate", "report_json", "scores_of"]

UNTYPED = "(no type)"  # the group of mentions whose type was not annotated
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """A score on some of the mentions.

    Attributes:
        n: mentions.
        correct: those right in full.
        recall_at_1: mean score, a fraction; `correct / n` but under `jaccard`.
        ci95: its interval over documents, fractions.
    """

    n: int
    correct: int
    recall_at_1: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class Miss:
    """A mention that is not right in full, and why.

    Attributes:
        document_id, mention_id, text, group: the mention; the group is its annotated type.
        answers: gold, canonical codes.
        predicted: canonical codes of the first prediction; empty where there is none, and for NIL.
        name: what was written.
        cause: the first cause.
        loss: what it costs, 1 - score.
    """

    document_id: str
    mention_id: str
    text: str
    group: str
    answers: tuple[tuple[str, ...], ...]
    predicted: tuple[str, ...]
    name: str
    cause: Cause
    loss: float


@dataclass(frozen=True, slots=True)
class Report:
    """How good predictions are, and what that means.

    Attributes:
        protocol: what counts as right in `correct`, `recall_at_1`, strata and ledger.
        n: mentions with an answer in the corpus: the denominator, whatever was predicted.
        correct: those right in full.
        documents: documents they are from.
        metrics: every protocol's mean score, and `precision` (score over the mentions answered); fractions.
        intervals: per metric, over documents; fractions.
        ceiling: share of n with a right answer in the knowledge base and in the groups searched.
        by_group: annotated type -> score.
        strata: `concept`, `string`, `name` -> stratum -> score.
        ledger: cause -> misses; shares sum to 1 - recall_at_1.
        misses: every mention not right in full; holds text of the corpus.
        nil, nil_correct: mentions annotated as not in the knowledge base, not part of n; right when abstained: nothing predicted, NIL, or no name.
        unannotated: mentions without annotation, not part of n.
        missing: mentions of n without a line in the predictions, counted as wrong.
        digests: SHA-256 of `kb`, `documents`, `predictions`.
        rounds, seed: of the bootstrap.
    """

    protocol: Protocol
    n: int
    correct: int
    documents: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    ceiling: float
    by_group: Mapping[str, Cell]
    strata: Mapping[str, Mapping[str, Cell]]
    ledger: Mapping[Cause, LedgerLine]
    misses: tuple[Miss, ...]
    nil: int
    nil_correct: int
    unannotated: int
    missing: int
    digests: Mapping[str, str]
    rounds: int
    seed: int

    @property
    def recall_at_1(self) -> float:
        """Mean score under the report's protocol, a fraction."""
        return self.metrics[self.protocol]

    @property
    def ci95(self) -> Interval:
        """Its interval over documents, fractions."""
        return self.intervals[self.protocol]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One mention of the denominator beside its candidates, all codes canonical."""

    document_id: str
    mention: Mention
    answers: tuple[Answer, ...]
    candidates: tuple[Answer, ...]
    name: str
    out_of_reach: Cause | None
    missing: bool

    @property
    def predicted(self) -> Answer:
        return self.candidates[0] if self.candidates else frozenset()

    def score(self, protocol: Protocol) -> float:
        return PROTOCOLS[protocol](self.answers, self.predicted)


def evaluate(
    documents: Iterable[Document],
    linked: Iterable[LinkedMention],
    kb: KnowledgeBase,
    *,
    protocol: Protocol = "set",
    train: Iterable[Document] = (),
    synthetic: Iterable[Document] = (),
    rounds: int = 1000,
    seed: int = 42,
) -> Report:
    """Score predictions against annotated documents.

    Nothing leaves the denominator silently: a mention without a prediction is a miss, mentions that were annotated as not in
    the knowledge base (NIL) or not at all are counted beside it.

    Args:
        documents: with gold answers.
        linked: predictions, in any order; mentions may be missing.
        kb: canonicalises the codes of both sides.
        protocol: what decides `correct`, strata and ledger; all protocols are in `metrics`.
        train: human training documents, for the strata.
        synthetic: synthetic training documents, for the strata.
        rounds, seed: of the document bootstrap.

    Raises:
        UnknownNameError: no such protocol.
        ConfigError: no mention to score, or a scored document is among the training documents.
        FormatError: predictions that do not belong to the documents, or two for one mention.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    documents, train, synthetic = list(documents), list(train), list(synthetic)
    _refuse_leak(documents, [*train, *synthetic])
    found = aligned(documents, ((None, result) for result in linked))
    judged, nil, unannotated = _judge(documents, found, kb, protocol)
    if not judged:
        raise ConfigError(f"no mention to score: {len(nil)} are annotated as not in the knowledge base, {unannotated} not at all; give annotated documents")
    cell = partial(_cell, protocol=protocol, rounds=rounds, seed=seed)
    seen = Seen.of(train, synthetic, kb)
    whole, misses = cell(judged), _misses(judged, protocol)
    precision = _precision(judged, protocol, rounds, seed)
    scores = {name: _cell(judged, protocol=name, rounds=rounds, seed=seed) for name in PROTOCOLS}
    return Report(
        protocol=protocol,
        n=whole.n,
        correct=whole.correct,
        documents=len({item.document_id for item in judged}),
        metrics={**{name: score.recall_at_1 for name, score in scores.items()}, "precision": precision[0]},
        intervals={**{name: score.ci95 for name, score in scores.items()}, "precision": precision[1]},
        ceiling=sum(item.out_of_reach is None for item in judged) / len(judged),
        by_group=_split(judged, lambda item: item.mention.type or UNTYPED, cell),
        strata={
            "concept": _split(judged, lambda item: seen.concept(item.answers), cell),
            "string": _split(judged, lambda item: seen.string(item.mention.text), cell),
            "name": _split(judged, lambda item: shares_name(item.mention.text, kb), cell),
        },
        ledger=_ledger(misses, len(judged)),
        misses=misses,
        nil=len(nil),
        nil_correct=sum(_abstains(found.get(key)) for key in nil),
        unannotated=unannotated,
        missing=sum(item.missing for item in judged),
        digests={"kb": kb.digest, "documents": _digest(documents), "predictions": _digest([found[key] for key in sorted(found)])},
        rounds=rounds,
        seed=seed,
    )


def scores_of(documents: Iterable[Document], linked: Iterable[LinkedMention], kb: KnowledgeBase, protocol: Protocol = "set") -> tuple[list[str], list[float]]:
    """Document id and score of every mention of the denominator, in document order: what `sign_flip_test` and `paired_difference` compare."""
    documents = list(documents)
    judged, _, _ = _judge(documents, aligned(documents, ((None, result) for result in linked)), kb, protocol)
    return [item.document_id for item in judged], [item.score(protocol) for item in judged]


def _refuse_leak(documents: Sequence[Document], training: Sequence[Document]) -> None:
    # By text: the same document may come under another id, from another file.
    texts = {fold(document.text) for document in training}
    if leaked := [document.id for document in documents if fold(document.text) in texts]:
        raise ConfigError(f"{len(leaked)} scored documents are training documents, e.g. {leaked[0]!r}; score others, or leave the training files out")


def _judge(
    documents: Sequence[Document], found: Mapping[tuple[str, str], LinkedMention], kb: KnowledgeBase, protocol: Protocol
) -> tuple[list[_Judged], list[tuple[str, str]], int]:
    """The denominator; the keys of NIL mentions; how many mentions carry no annotation."""
    judged, nil, unannotated = [], [], 0
    for document in documents:
        for mention in document.mentions:
            if mention.answers is None:
                unannotated += 1
            elif not mention.answers:
                nil.append((document.id, mention.id))
            else:
                judged.append(_judged(document, mention, mention.answers, found.get((document.id, mention.id)), kb, protocol))
    return judged, nil, unannotated


def _judged(
    document: Document, mention: Mention, gold: Sequence[Sequence[str]], linked: LinkedMention | None, kb: KnowledgeBase, protocol: Protocol
) -> _Judged:
    predictions, groups = (linked.predictions, linked.groups) if linked else ((), ())
    answers = canonical_answers(gold, kb.canonical)

    def in_groups(code: str) -> bool:
        return not groups or not set(groups).isdisjoint(kb.concept(code).groups)

    return _Judged(
        document.id,
        mention,
        answers,
        canonical_answers([() if prediction.abstains else prediction.codes for prediction in predictions], kb.canonical),
        predictions[0].name if predictions else "",
        reachable(options(answers, protocol), kb, in_groups),
        missing=linked is None,
    )


def _abstains(linked: LinkedMention | None) -> bool:
    return linked is None or not linked.predictions or linked.predictions[0].abstains


def _cell(judged: Sequence[_Judged], protocol: Protocol, rounds: int, seed: int) -> Cell:
    scores = [item.score(protocol) for item in judged]
    interval = document_interval([item.document_id for item in judged], scores, rounds=rounds, seed=seed)
    return Cell(len(scores), sum(score == 1 for score in scores), sum(scores) / len(scores), interval)


def _split(judged: Sequence[_Judged], key: Callable[[_Judged], str], cell: Callable[[Sequence[_Judged]], Cell]) -> dict[str, Cell]:
    parts: dict[str, list[_Judged]] = {}
    for item in judged:
        parts.setdefault(key(item), []).append(item)
    return {name: cell(parts[name]) for name in sorted(parts)}


def _precision(judged: Sequence[_Judged], protocol: Protocol, rounds: int, seed: int) -> tuple[float, Interval]:
    """Score over the mentions answered; (0, (0, 0)) where none is."""
    answered = [bool(item.predicted) for item in judged]
    if not any(answered):
        return 0.0, (0.0, 0.0)
    scores = [item.score(protocol) for item in judged]
    return sum(scores) / sum(answered), document_interval([item.document_id for item in judged], scores, answered, rounds=rounds, seed=seed)


def _misses(judged: Sequence[_Judged], protocol: Protocol) -> tuple[Miss, ...]:
    return tuple(_miss(item, protocol) for item in judged if item.score(protocol) < 1)


def _miss(item: _Judged, protocol: Protocol) -> Miss:
    return Miss(
        item.document_id,
        item.mention.id,
        item.mention.text,
        item.mention.type or UNTYPED,
        tuple(tuple(sorted(answer)) for answer in item.answers),
        tuple(sorted(item.predicted)),
        item.name,
        first_cause(item.out_of_reach, options(item.answers, protocol), item.candidates),
        1 - item.score(protocol),
    )


def _ledger(misses: Sequence[Miss], n: int) -> dict[Cause, LedgerLine]:
    counts = Counter(miss.cause for miss in misses)
    return {cause: LedgerLine(counts[cause], sum(miss.loss for miss in misses if miss.cause == cause) / n) for cause in CAUSES}


def _digest(items: Sequence[Document] | Sequence[LinkedMention]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(to_json(item), ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def report_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, without the misses: they hold text of the corpus, which is not everybody's to read."""
    values = asdict(report)
    del values["misses"]
    return {**values, "recall_at_1": report.recall_at_1, "ci95": list(report.ci95)}
