"""Documents and predictions in, a `Report` out: judged mentions counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate.averages import macro_average
from syncabel.evaluate.confidence import ConfidenceReport, SetReport, answer_is_right, chosen_confidence, confidence_json, confidence_report, set_report
from syncabel.evaluate.hierarchy import COMPOSITE, DISTANCES, SAME, UNRELATED, HierarchyReport, has_hierarchy, steps_of
from syncabel.evaluate.judged import JudgedMention, judge_mentions
from syncabel.evaluate.ledger import CAUSES, Cause, LedgerLine
from syncabel.evaluate.nil import NilScores, nil_scores
from syncabel.evaluate.protocols import PROTOCOLS, Protocol
from syncabel.evaluate.ranking import best_of_first, reached, reciprocal_rank
from syncabel.evaluate.strata import STRATA, UNTYPED
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document, LinkedMention, Prediction, to_json

__all__ = ["Cell", "Miss", "Report", "evaluate", "report_json", "scores_of"]

Interval = tuple[float, float]
Strata = Mapping[str, Mapping[str, Sequence[JudgedMention]]]  # kind -> value -> mentions


@dataclass(frozen=True, slots=True)
class Cell:
    """A score on some of the mentions.

    Attributes:
        n: mentions.
        correct: those right in full.
        recall_at_1: mean score, a fraction; `correct / n` but under `jaccard`; None where n is 0.
        ci95: its interval over documents, fractions; None where n is 0.
    """

    n: int
    correct: int
    recall_at_1: float | None
    ci95: Interval | None


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
        recall_at_1: mean score under the protocol, a fraction.
        ci95: its interval over documents, fractions.
        metrics: every protocol's mean score over its own denominator; and under the deciding one `recall@k` for k up to the longest list of
            candidates, `mrr`, `macro_group`, `macro_document`, `macro_concept`, and `precision` (score over the mentions answered); fractions,
            None where the denominator is 0.
        intervals: per metric, over documents; fractions.
        ceiling: share of n with a right answer in the knowledge base and in the groups searched.
        denominators: `all_gold` (n), and `gold_in_kb`: the mentions with a right answer in the knowledge base.
        by_group: annotated type -> score; `strata["group"]`.
        strata: kind -> value -> score (`STRATA`; those of training only where its documents were given); in every kind the n sum to n.
        ledger: cause -> misses; shares sum to 1 - recall_at_1.
        ledgers: kind -> value -> the same ledger of this stratum alone; of an empty one each share is None.
        hierarchy: near misses; None where no gold concept has a parent or a child.
        confidence: of the first answers, those to NIL mentions too, so that its n (and `nil` of them) is not that of the scores; None where there is none.
        sets: of the prediction sets; None where no prediction has one.
        misses: every mention not right in full; holds text of the corpus.
        mentions: every annotated mention, NIL ones too; holds text of the corpus.
        nil, nil_correct: mentions annotated as not in the knowledge base, not part of n, and those the system says so of.
        nil_scores: precision, recall and F1 of saying so.
        unannotated: mentions without annotation, not part of n.
        left_out: mentions with an answer that the protocol leaves out of n (`syncabel`: the same place twice, or gold that is no code).
        missing: mentions of n without a line in the predictions, counted as wrong.
        abstained: mentions of n whose answer was withheld, counted as wrong.
        failed: mentions of n whose line says why there is no answer, counted as wrong.
        unknown_codes: predicted code that is not in the knowledge base -> mentions that have it among their candidates; it is always wrong.
        digests: SHA-256 of `kb`, `documents`, `predictions`.
        rounds, seed: of the bootstrap.
    """

    protocol: Protocol
    n: int
    correct: int
    documents: int
    recall_at_1: float
    ci95: Interval
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    ceiling: float
    denominators: Mapping[str, Cell]
    by_group: Mapping[str, Cell]
    strata: Mapping[str, Mapping[str, Cell]]
    ledger: Mapping[Cause, LedgerLine]
    ledgers: Mapping[str, Mapping[str, Mapping[Cause, LedgerLine]]]
    hierarchy: HierarchyReport | None
    confidence: ConfidenceReport | None
    sets: SetReport | None
    misses: tuple[Miss, ...]
    mentions: tuple[JudgedMention, ...]
    nil: int
    nil_correct: int
    nil_scores: NilScores
    unannotated: int
    left_out: int
    missing: int
    abstained: int
    failed: int
    unknown_codes: Mapping[str, int]
    digests: Mapping[str, str]
    rounds: int
    seed: int


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
        FormatError: predictions that do not belong to the documents, two for one mention, or a confidence that is no number in [0, 1].
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    documents, linked, train, synthetic = list(documents), list(linked), list(train), list(synthetic)
    _refuse_leak(documents, [*train, *synthetic])
    mentions = judge_mentions(documents, linked, kb, protocol=protocol, train=train, synthetic=synthetic)
    unannotated = sum(mention.answers is None for document in documents for mention in document.mentions)
    if not any(protocol in item.scores for item in mentions):
        raise _nothing_to_score(documents, mentions, unannotated)
    return _Counter(protocol, mentions, rounds, seed).report(documents, linked, kb, unannotated)


def scores_of(documents: Iterable[Document], linked: Iterable[LinkedMention], kb: KnowledgeBase, protocol: Protocol = "set") -> tuple[list[str], list[float]]:
    """Document id and score of every mention of the denominator, in document order: what `sign_flip_test` and `paired_difference` compare."""
    judged = [item for item in judge_mentions(documents, linked, kb, protocol=protocol) if protocol in item.scores]
    return [item.document_id for item in judged], [item.scores[protocol] for item in judged]


def _refuse_leak(documents: Sequence[Document], training: Sequence[Document]) -> None:
    # By text: the same document may come under another id, from another file.
    texts = {fold(document.text) for document in training}
    if leaked := [document.id for document in documents if fold(document.text) in texts]:
        raise ConfigError(f"{len(leaked)} scored documents are training documents, e.g. {leaked[0]!r}; score others, or leave the training files out")


def _nothing_to_score(documents: Sequence[Document], mentions: Sequence[JudgedMention], unannotated: int) -> ConfigError:
    if not documents:
        return ConfigError("no document to score; give the documents the predictions are for")
    nil = sum(item.nil for item in mentions)
    without = f"{nil} are annotated as not in the knowledge base, {unannotated} not at all"
    return ConfigError(f"no mention to score: {without}; give annotated documents")


@dataclass(frozen=True, slots=True)
class _Counter:
    """Judged mentions and how to count them."""

    protocol: Protocol
    mentions: Sequence[JudgedMention]
    rounds: int
    seed: int

    def report(self, documents: Sequence[Document], linked: Sequence[LinkedMention], kb: KnowledgeBase, unannotated: int) -> Report:
        scored = self.scored(self.protocol)
        strata, whole, metrics = _strata(scored), self.cell(scored), self.metrics(scored)
        cells = {kind: {value: self.cell(items) for value, items in values.items()} for kind, values in strata.items()}
        nil, (recall, interval) = self.nil(), self.within(scored, (), 0)
        return Report(
            protocol=self.protocol,
            n=whole.n,
            correct=whole.correct,
            documents=len({item.document_id for item in scored}),
            recall_at_1=recall,
            ci95=interval,
            metrics={name: value for name, (value, _) in metrics.items()},
            intervals={name: interval for name, (_, interval) in metrics.items()},
            ceiling=sum(item.reachable for item in scored) / len(scored),
            denominators={"all_gold": whole, "gold_in_kb": self.cell([item for item in scored if item.in_kb])},
            by_group=cells["group"],
            strata=cells,
            ledger=self.ledger(scored),
            ledgers={kind: {value: self.ledger(items) for value, items in values.items()} for kind, values in strata.items()},
            hierarchy=self.hierarchy(scored) if has_hierarchy(documents, kb) else None,
            confidence=self.confidence(),
            sets=self.sets(),
            misses=_misses(scored, self.protocol),
            mentions=tuple(self.mentions),
            nil=nil.n,
            nil_correct=nil.correct,
            nil_scores=nil,
            unannotated=unannotated,
            left_out=sum(not item.nil for item in self.mentions) - len(scored),
            missing=sum(item.missing for item in scored),
            abstained=sum(item.abstained is not None for item in scored),
            failed=sum(item.error is not None for item in scored),
            unknown_codes=_unknown_codes(self.mentions, kb),
            digests={"kb": kb.digest, "documents": _digest(documents), "predictions": _digest(sorted(linked, key=_key))},
            rounds=self.rounds,
            seed=self.seed,
        )

    def scored(self, protocol: Protocol) -> list[JudgedMention]:
        return [item for item in self.mentions if protocol in item.scores]

    def mean(self, items: Sequence[JudgedMention], values: Sequence[float], weights: Sequence[float] | None = None) -> tuple[float | None, Interval | None]:
        """Sum of values over sum of weights, and its interval; None where there is no weight."""
        weights = [1.0] * len(values) if weights is None else weights
        if not any(weights):
            return None, None
        interval = document_interval([item.document_id for item in items], values, weights, rounds=self.rounds, seed=self.seed)
        return sum(values) / sum(weights), interval

    def cell(self, items: Sequence[JudgedMention]) -> Cell:
        scores = [item.scores[self.protocol] for item in items]
        return Cell(len(scores), sum(score == 1 for score in scores), *self.mean(items, scores))

    def metrics(self, scored: Sequence[JudgedMention]) -> dict[str, tuple[float | None, Interval | None]]:
        of_protocols: dict[str, tuple[float | None, Interval | None]] = {
            name: self.mean(items := self.scored(name), [item.scores[name] for item in items]) for name in PROTOCOLS
        }
        ranked = [[candidate.score for candidate in item.candidates] for item in scored]
        cutoffs = reached(max(map(len, ranked)))
        of_ranks = {f"recall@{k}": self.mean(scored, [best_of_first(scores, k) for scores in ranked]) for k in cutoffs}
        mrr = self.mean(scored, [reciprocal_rank(scores) for scores in ranked])
        precision = self.mean(scored, [item.scores[self.protocol] for item in scored], [float(bool(item.predicted)) for item in scored])
        return {**of_protocols, **of_ranks, "mrr": mrr, **self.macros(scored), "precision": precision}

    def macros(self, scored: Sequence[JudgedMention]) -> dict[str, tuple[float, Interval]]:
        documents, scores = [item.document_id for item in scored], [item.scores[self.protocol] for item in scored]
        parts = {
            "macro_group": [item.type or UNTYPED for item in scored],
            "macro_document": documents,
            "macro_concept": ["|".join("+".join(answer) for answer in item.gold) for item in scored],
        }
        return {name: macro_average(documents, of, scores, rounds=self.rounds, seed=self.seed) for name, of in parts.items()}

    def ledger(self, items: Sequence[JudgedMention]) -> dict[Cause, LedgerLine]:
        """Every cause, also those of no miss here; of no mention at all each share is None."""
        counts, losses = Counter[Cause](), dict.fromkeys(CAUSES, 0.0)
        for item in items:
            if item.cause:
                counts[item.cause] += 1
                losses[item.cause] += 1 - item.scores[self.protocol]
        return {cause: LedgerLine(counts[cause], losses[cause] / len(items) if items else None) for cause in CAUSES}

    def hierarchy(self, scored: Sequence[JudgedMention]) -> HierarchyReport:
        ways = Counter(item.hierarchy for item in scored if item.cause)
        within = {
            direction: {distance: self.within(scored, kinds, distance) for distance in DISTANCES}
            for direction, kinds in {"up": ("ancestor",), "down": ("descendant",), "either": ("ancestor", "descendant")}.items()
        }
        above, below = (_by_steps(ways, kind) for kind in ("ancestor", "descendant"))
        return HierarchyReport(len(scored), above, below, ways[UNRELATED], ways[SAME], ways[COMPOSITE], ways[None], within)

    def within(self, scored: Sequence[JudgedMention], kinds: Sequence[str], distance: int) -> tuple[float, Interval]:
        """Recall@1 where gold at most so many steps away, in one of the directions, counts as right."""
        near = [any((steps := steps_of(item.hierarchy, kind)) is not None and steps <= distance for kind in kinds) for item in scored]
        scores = [1.0 if close else item.scores[self.protocol] for item, close in zip(scored, near, strict=True)]
        return sum(scores) / len(scores), document_interval([item.document_id for item in scored], scores, rounds=self.rounds, seed=self.seed)

    def confidence(self) -> ConfidenceReport | None:
        """Of all answered mentions, as calibrating counts them: NIL ones too."""
        answered = [item for item in self.mentions if item.candidates and (item.nil or self.protocol in item.scores)]
        if not answered:
            return None
        sure, source = chosen_confidence([_first(item) for item in answered])
        right = [answer_is_right(item.nil, item.predicted, item.scores.get(self.protocol, 0.0)) for item in answered]
        documents, nil = [item.document_id for item in answered], sum(item.nil for item in answered)
        return confidence_report(right, sure, documents, nil=nil, source=source, rounds=self.rounds, seed=self.seed)

    def sets(self) -> SetReport | None:
        """Of all annotated mentions, as calibrating counts them: one that is NIL, or has no line, is in no set."""
        items = self.mentions
        if all(item.answer_set is None for item in items):
            return None
        covered = [not {"+".join(answer) for answer in item.gold}.isdisjoint(item.answer_set or ()) for item in items]
        return set_report(covered, [len(item.answer_set or ()) for item in items], [item.document_id for item in items], rounds=self.rounds, seed=self.seed)

    def nil(self) -> NilScores:
        items = [item for item in self.mentions if item.nil or self.protocol in item.scores]
        gold, said = [item.nil for item in items], [item.says_nil for item in items]
        return nil_scores([item.document_id for item in items], gold, said, rounds=self.rounds, seed=self.seed)


def _strata(scored: Iterable[JudgedMention]) -> Strata:
    """Kind -> value -> mentions; of closed kinds every value, in its order, of open ones those met, sorted."""
    scored = list(scored)
    told = {kind for item in scored for kind in item.strata}  # without training documents nothing is told of what was seen
    found: dict[str, dict[str, list[JudgedMention]]] = {kind: {value: [] for value in values} for kind, values in STRATA.items() if kind in told}
    for item in scored:
        for kind, value in item.strata.items():
            found[kind].setdefault(value, []).append(item)
    return {kind: values if STRATA[kind] else dict(sorted(values.items())) for kind, values in found.items()}


def _by_steps(ways: Mapping[str | None, int], kind: str) -> dict[int, int]:
    found = {steps: count for way, count in ways.items() if (steps := steps_of(way, kind)) is not None}
    return dict(sorted(found.items()))


def _first(item: JudgedMention) -> Prediction:
    first = item.candidates[0]
    # Masses of a name's many spellings are summed in floating point and may end a hair above 1.
    return Prediction(first.codes, first.name, first.log_prob, mass=min(first.mass, 1.0), confidence=first.confidence)


def _unknown_codes(mentions: Iterable[JudgedMention], kb: KnowledgeBase) -> dict[str, int]:
    met = Counter(code for item in mentions for code in {code for candidate in item.candidates for code in candidate.codes})
    return {code: count for code, count in sorted(met.items()) if code not in kb}


def _misses(scored: Iterable[JudgedMention], protocol: Protocol) -> tuple[Miss, ...]:
    return tuple(
        Miss(
            item.document_id, item.mention_id, item.text, item.type or UNTYPED, item.gold, item.predicted,
            item.candidates[0].name if item.candidates else "", item.cause, 1 - item.scores[protocol],
        )
        for item in scored
        if item.cause is not None
    )  # fmt: skip


def _key(result: LinkedMention) -> tuple[str, str]:
    return result.document_id, result.mention_id


def _digest(items: Sequence[Document] | Sequence[LinkedMention]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(to_json(item), ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def report_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, without misses and mentions: they hold text of the corpus, which is not everybody's to read."""
    left_out = ("misses", "mentions", "confidence", "nil", "nil_correct", "nil_scores")
    values = {field.name: _plain(getattr(report, field.name)) for field in fields(report) if field.name not in left_out}
    confidence = None if report.confidence is None else confidence_json(report.confidence)
    return {**values, "nil": asdict(report.nil_scores), "confidence": confidence}


def _plain(value: Any) -> Any:
    """Dataclasses and mappings as objects with strings for keys, tuples as lists."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
