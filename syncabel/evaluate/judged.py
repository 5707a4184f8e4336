"""The one place where a mention is judged: gold beside candidates, right or not under every protocol, why not, which kind of mention.

Everything that is counted (`report`), listed (`run`) or shown is counted, listed and shown from these.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from syncabel.corpora.syncabel_tsv import code_parts
from syncabel.errors import UnknownNameError
from syncabel.evaluate.hierarchy import LevelsUp, has_hierarchy, levels_of, relation
from syncabel.evaluate.ledger import Cause, first_cause, reachable
from syncabel.evaluate.linked import Key, aligned
from syncabel.evaluate.protocols import PROTOCOLS, READS, Answer, Protocol, options
from syncabel.evaluate.strata import Seen, canonical_answers, later_mentions, strata_of
from syncabel.kb import KnowledgeBase
from syncabel.types import NIL_CODE, NO_CODE, Document, LinkedMention, Prediction

__all__ = ["Candidate", "Codes", "JudgedMention", "judge_mentions"]

Codes = tuple[str, ...]  # sorted; several are right together
Canonical = Callable[[str], str | None]

_UNKNOWN = "\0"  # put before a predicted code that is not in the knowledge base: it equals no gold code
_NO_CODES = frozenset({NO_CODE, NIL_CODE})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer a system gave for a mention.

    Attributes:
        codes: canonical, sorted; unknown ones as they are; empty for NIL and for what is no name.
        name: what was written.
        log_prob, mass, confidence, certified, bound: as in `Prediction`.
        score: under the deciding protocol, in [0, 1].
    """

    codes: Codes
    name: str
    log_prob: float
    mass: float = 0.0
    confidence: float | None = None
    certified: bool = False
    bound: float | None = None
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgedMention:
    """An annotated mention beside what a system answered.

    Attributes:
        document_id, mention_id, text, start, end, type, language: the mention; offsets half-open in code points.
        gold: alternative answers, canonical codes; () for NIL.
        candidates: best first, one per answer; empty where the system abstained.
        groups: the semantic groups the search was held to; empty for none.
        scores: protocol -> score in [0, 1] of the first candidate; a protocol that leaves the mention out of its denominator is not there.
        cause: of the miss under the deciding protocol; None where the mention is right in full or not counted.
        strata: kind of stratum -> its value here.
        hierarchy: where gold stands from the predicted concept: "ancestor:2" is two steps up, "descendant:1" one step down; "unrelated"; "same"
            where the concept is right and its name or code is not (`belb-strict`, `syncabel`); "composite" where several codes are right or
            predicted together; None where right, where nothing was predicted, and without a hierarchy.
        nil: annotated as not in the knowledge base; it is in no denominator.
        missing: no line of the predictions is about it; counted as wrong.
        in_kb: a right answer is in the knowledge base.
        reachable: and in the groups the search was held to.
        abstained: why the system withheld its answer, or None.
        error: why there is none, or None.
        alternatives: what was withheld.
        answer_set: the prediction set of codes, or None where none was asked for.
        beam_score: of the first prediction, as in `Prediction`.
    """

    document_id: str
    mention_id: str
    text: str
    start: int
    end: int
    type: str | None = None
    language: str = "en"
    gold: tuple[Codes, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    groups: tuple[str, ...] = ()
    scores: Mapping[Protocol, float] = field(default_factory=dict)
    cause: Cause | None = None
    strata: Mapping[str, str] = field(default_factory=dict)
    hierarchy: str | None = None
    nil: bool = False
    missing: bool = False
    in_kb: bool = True
    reachable: bool = True
    abstained: str | None = None
    error: str | None = None
    alternatives: tuple[Candidate, ...] = ()
    answer_set: Codes | None = None
    beam_score: float = 0.0

    @property
    def predicted(self) -> Codes:
        """The codes of the first candidate; empty where nothing, NIL or no name was answered."""
        return self.candidates[0].codes if self.candidates else ()

    @property
    def says_nil(self) -> bool:
        """Whether the system's word on it is that it is no concept: nothing found, NIL, no name, or an answer withheld; never a missing line or a failure."""
        return not (self.predicted or self.missing or self.error)


def judge_mentions(
    documents: Iterable[Document],
    linked: Iterable[LinkedMention],
    kb: KnowledgeBase,
    *,
    protocol: Protocol = "set",
    train: Iterable[Document] = (),
    synthetic: Iterable[Document] = (),
) -> list[JudgedMention]:
    """Every annotated mention beside its predictions, in document order; NIL mentions too, those without annotation not.

    Args:
        documents: with gold answers.
        linked: predictions, in any order; mentions may be missing.
        kb: canonicalises the codes of both sides, knows names, groups and the hierarchy.
        protocol: what decides `cause`, `hierarchy` and each candidate's `score`.
        train, synthetic: training documents, human and made, for the strata; without any those that ask for them are not there.

    Raises:
        UnknownNameError: no such protocol.
        FormatError: predictions that do not belong to the documents, two for one mention, or a number that is none.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    documents, train, synthetic = list(documents), list(train), list(synthetic)
    seen = Seen.of(train, synthetic, kb) if train or synthetic else None
    judge = _Judge(kb, cache(kb.canonical), protocol, seen, levels_of(kb) if has_hierarchy(documents, kb) else None)
    found = aligned(documents, ((None, result) for result in linked))
    return [judged for document in documents for judged in judge.document(document, found)]


class _Read(NamedTuple):
    """A prediction as the protocols read it (`READS`); all empty for NIL and for what is no name."""

    concepts: Answer
    name: Answer
    written: Answer


@dataclass(frozen=True, slots=True)
class _Judge:
    kb: KnowledgeBase
    canonical: Canonical  # the knowledge base's, remembered: the same codes are asked for again and again
    protocol: Protocol
    seen: Seen | None  # None: no training documents were given
    levels_up: LevelsUp | None  # None: there is no hierarchy

    def document(self, document: Document, found: Mapping[Key, LinkedMention]) -> Iterator[JudgedMention]:
        annotated = [mention for mention in document.mentions if mention.answers is not None]
        gold = {mention.id: canonical_answers(mention.answers or (), self.canonical) for mention in annotated}
        later, places = later_mentions(document, gold), set[tuple[str | None, int, int]]()
        for mention in annotated:
            place = (mention.type, mention.start, mention.end)
            strata = strata_of(document, mention, gold[mention.id], mention.id in later, self.seen, self.kb)
            bare = JudgedMention(
                document.id, mention.id, mention.text, mention.start, mention.end, mention.type, document.language,
                tuple(tuple(sorted(answer)) for answer in gold[mention.id]), strata=strata, nil=not mention.answers,
            )  # fmt: skip
            written = None if place in places or any(_NO_CODES.intersection(answer) for answer in mention.answers or ()) else mention.answers
            yield self.mention(bare, gold[mention.id], written or None, found.get((document.id, mention.id)))
            places.add(place)

    def mention(self, bare: JudgedMention, gold: Sequence[Answer], written: Sequence[Codes] | None, linked: LinkedMention | None) -> JudgedMention:
        """The mention with what was predicted for it.

        Args:
            bare: what is known without predictions.
            gold: canonical codes; none for NIL.
            written: gold as the corpus writes it; None where the published rule leaves the mention out.
            linked: its line of the predictions, if there is one.
        """
        if linked is None:
            return self.decided(replace(bare, missing=True), gold, written, [])
        predictions = _distinct(linked.predictions, self.canonical)
        reads = [self.read(prediction) for prediction in predictions]
        answered = replace(
            bare,
            candidates=tuple(self.candidate(prediction, read, gold, written) for prediction, read in zip(predictions, reads, strict=True)),
            groups=linked.groups,
            abstained=linked.abstained,
            error=linked.error,
            alternatives=tuple(self.candidate(item, self.read(item), gold, written) for item in _distinct(linked.alternatives, self.canonical)),
            answer_set=None if linked.answer_set is None else tuple(self.joined(answer) for answer in linked.answer_set),
            beam_score=predictions[0].beam_score if predictions else 0.0,
        )
        return self.decided(answered, gold, written, reads)

    def decided(self, item: JudgedMention, gold: Sequence[Answer], written: Sequence[Codes] | None, reads: Sequence[_Read]) -> JudgedMention:
        """The mention with scores, cause and hierarchy; NIL has none of them."""
        if item.nil:
            return item
        first = reads[0] if reads else _Read(frozenset(), frozenset(), frozenset())
        scores = {name: score for name in PROTOCOLS if (score := self.score(name, first, gold, written)) is not None}
        out_of_reach = reachable(options(gold, self.protocol), self.kb, self.in_groups(item.groups))
        judged = replace(item, scores=scores, in_kb=out_of_reach != "not_in_kb", reachable=out_of_reach is None)
        if scores.get(self.protocol, 1.0) == 1:
            return judged
        way = relation(gold, frozenset(item.predicted), self.levels_up) if self.levels_up and item.predicted else None
        return replace(judged, cause=self.cause(out_of_reach, gold, written, reads), hierarchy=way)

    def score(self, protocol: Protocol, read: _Read, gold: Sequence[Answer], written: Sequence[Codes] | None) -> float | None:
        """The score of one prediction; None where the protocol leaves the mention out."""
        if READS[protocol] != "written":
            return PROTOCOLS[protocol](gold, getattr(read, READS[protocol]))
        return None if written is None else PROTOCOLS[protocol]([_as_written(answer) for answer in written], read.written)

    def cause(self, out_of_reach: Cause | None, gold: Sequence[Answer], written: Sequence[Codes] | None, reads: Sequence[_Read]) -> Cause:
        view = READS[self.protocol]
        answers = [_as_written(answer) for answer in written or ()] if view == "written" else gold
        return first_cause(out_of_reach, options(answers, self.protocol), [getattr(read, view) for read in reads])

    def candidate(self, prediction: Prediction, read: _Read, gold: Sequence[Answer], written: Sequence[Codes] | None) -> Candidate:
        return Candidate(
            _codes_of(prediction, self.canonical),
            prediction.name,
            prediction.log_prob,
            prediction.mass,
            prediction.confidence,
            prediction.certified,
            prediction.bound,
            (self.score(self.protocol, read, gold, written) or 0.0) if gold else 0.0,
        )

    def read(self, prediction: Prediction) -> _Read:
        if prediction.abstains:
            return _Read(frozenset(), frozenset(), frozenset())
        concepts = frozenset(self.canonical(code) or _UNKNOWN + code for code in prediction.codes)
        return _Read(concepts, concepts.union(self.kb.codes_of(prediction.name)), _as_written(prediction.codes))

    def joined(self, answer: str) -> str:
        """An answer of a set, as gold's codes are joined: canonical and sorted."""
        return "+".join(sorted({self.canonical(code) or code for code in code_parts(answer)}))

    def in_groups(self, groups: Codes) -> Callable[[str], bool]:
        return lambda code: not groups or not set(groups).isdisjoint(self.kb.concept(code).groups)


def _as_written(codes: Codes) -> Answer:
    """The codes as one, which is how the published rule compares them: "A+A" is not "A"."""
    return frozenset({"+".join(code_parts("+".join(codes)))})


def _codes_of(prediction: Prediction, canonical: Canonical) -> Codes:
    return () if prediction.abstains else tuple(sorted({canonical(code) or code for code in prediction.codes}))


def _distinct(predictions: Iterable[Prediction], canonical: Canonical) -> list[Prediction]:
    """The first prediction of each answer: Recall@k counts concepts, not names."""
    first: dict[Codes, Prediction] = {}
    for prediction in predictions:
        first.setdefault(_codes_of(prediction, canonical), prediction)
    return list(first.values())
