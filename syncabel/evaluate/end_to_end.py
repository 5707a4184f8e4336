"""Systems that find their own mentions: gold annotations and predictions from files in, an `EndToEndReport` out.

Scored are the mentions (`syncabel.evaluate.spans`), the codes of matched mentions, each note's set of codes, and on request the characters
(`syncabel.evaluate.characters`).  What finding and typing the mentions costs is told in two ways: from the one file, by the share of matched
mentions whose code is right; and by ablation, from files of predictions made on gold spans, or with gold types.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncabel.archive import is_archive
from syncabel.bootstrap import document_interval
from syncabel.corpora import read_corpus
from syncabel.errors import ConfigError, FormatError
from syncabel.evaluate.characters import CharacterIou, CodedSpan, IouRule, character_iou
from syncabel.evaluate.compare import few_documents
from syncabel.evaluate.linked import looks_linked, read_linked
from syncabel.evaluate.protocols import Answer
from syncabel.evaluate.spans import (
    CRITERIA,
    WAYS,
    Annotation,
    CodeProtocol,
    Criterion,
    Entity,
    Estimate,
    Rates,
    SpanScores,
    Way,
    entity_scores,
    estimate,
    match,
    rates,
    resampled,
    same_place,
    scores_of_counts,
)
from syncabel.kb import KnowledgeBase
from syncabel.lines import text_lines
from syncabel.types import NIL_CODE, NO_CODE, Document, LinkedMention, Rejection, Span

__all__ = [
    "Ablation",
    "AnnotationSet",
    "EndToEndReport",
    "NoteScores",
    "OnMatched",
    "annotations_of",
    "end_to_end_json",
    "evaluate_end_to_end",
    "linked_annotations",
    "read_annotations",
]

COLUMNS = ("note_id", "start", "end", "concept_id")
_WHOLE = re.compile(r"(\d{1,15})(\.0+)?")  # the challenge's own files write offsets as floats
_NO_CODES = (NO_CODE, NIL_CODE, "")
UNTYPED = "(no type)"
_NAMED = 3  # places that an error lists
Floats = NDArray[np.float64]
Scored = Mapping[Way, Mapping[Criterion, SpanScores | None]]
Canonical = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """The annotations of a file.

    Attributes:
        name: the file, for messages.
        annotations: in file order.
        documents: ids of all documents, also those without annotation; None where the file says of no other documents than those with one.
        rejections: rows of a corpus that could not be read.
    """

    name: str
    annotations: tuple[Annotation, ...]
    documents: tuple[str, ...] | None = None
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class OnMatched:
    """How often type or code is right where the mention was found.

    Attributes:
        n: mentions matched by span.
        correct: those that can be matched with the right type, or code.
        accuracy: correct / n.
    """

    n: int
    correct: int
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class NoteScores:
    """Each document's set of codes.

    Attributes:
        documents: those with a code on either side: the ones of the macro average.
        gold, predicted, matched: codes, counted once a document.
        micro: over codes.
        macro: mean over documents, one without a code on one side counting 0.
    """

    documents: int
    gold: int
    predicted: int
    matched: int
    micro: Rates
    macro: Rates


@dataclass(frozen=True, slots=True)
class Ablation:
    """The same system helped by gold.

    Attributes:
        spans: as `EndToEndReport.spans`.
        on_matched: as `EndToEndReport.on_matched`.
        gains: way -> criterion -> how much more than without help, in micro precision, recall and F1; documents resampled together.
    """

    spans: Scored
    on_matched: Mapping[Way, Mapping[str, OnMatched | None]]
    gains: Mapping[Way, Mapping[Criterion, Rates | None]]


@dataclass(frozen=True, slots=True)
class EndToEndReport:
    """How good a system is that finds its own mentions.

    Attributes:
        documents: of the denominator, with and without annotation.
        gold, predicted: mentions.
        nil_gold, nil_predicted: of these, annotated as not in the knowledge base, and predicted without a code: on neither side of criteria with a code.
        uncoded_gold: gold mentions nobody looked up: left out of criteria with a code, with the predictions at their very place.
        protocol: what makes a code right.
        spans: way -> criterion -> scores; None where a side has no types, or no codes.
        on_matched: way -> `type`, `code` -> how often it is right where the mention was found.
        notes: sets of codes by document; None where a side has no codes.
        seqeval: sets of (type, start, end) by document; None where a side has no types.
        characters: character IoU; None where not asked for.
        ablations: `oracle_spans`, `oracle_types` -> scores, for the files given.
        warning: what speaks against trusting the figures, or None.
        rounds, seed: of the document bootstrap, whose are all intervals but those of `characters`.
    """

    documents: int
    gold: int
    predicted: int
    nil_gold: int
    nil_predicted: int
    uncoded_gold: int
    protocol: CodeProtocol
    spans: Scored
    on_matched: Mapping[Way, Mapping[str, OnMatched | None]]
    notes: NoteScores | None
    seqeval: SpanScores | None
    characters: CharacterIou | None
    ablations: Mapping[str, Ablation]
    warning: str | None
    rounds: int
    seed: int


def read_annotations(path: Path | str, kb: KnowledgeBase | None = None) -> AnnotationSet:
    """Read gold annotations or predictions: what `syncabel link` writes, the challenge's CSV, or any corpus.

    Args:
        path: JSON Lines of linked mentions with any mention ids; a CSV with the columns note_id, start, end and concept_id (more are allowed); or what
            `read_corpus` reads, the codes of a prediction being its first answer.
        kb: makes codes canonical.

    Raises:
        FormatError: a file or row is not what it should be, or is there twice.
    """
    path = Path(path)
    canonical: Canonical = kb.canonical if kb else _as_written
    kind = _kind(path)
    if kind == "csv":
        return AnnotationSet(str(path), tuple(_csv(path, canonical)))
    if kind == "linked":
        return AnnotationSet(str(path), tuple(linked_annotations(read_linked(path), canonical, path)))
    corpus = read_corpus(path)
    return replace(annotations_of(corpus.documents, canonical, str(path)), rejections=tuple(corpus.rejections))


def _as_written(code: str) -> str:
    return code


def _kind(path: Path) -> Literal["csv", "linked", "corpus"]:
    if path.is_dir() or is_archive(path) or path.suffix == ".parquet":
        return "corpus"
    first = next((line for _, line in text_lines(path) if line.strip()), "").strip()
    if path.name.removesuffix(".gz").endswith(".csv") or set(COLUMNS) <= set(first.split(",")):
        return "csv"
    return "linked" if looks_linked(first) else "corpus"


def annotations_of(documents: Iterable[Document], canonical: Canonical = _as_written, name: str = "documents") -> AnnotationSet:
    """The mentions of documents.

    Args:
        documents: annotated, by people or a system.
        canonical: a code's canonical one, or None where it is unknown.
        name: what messages call them.
    """
    documents = list(documents)
    found = tuple(
        Annotation(document.id, mention.spans, mention.type, None if mention.answers is None else _answers(mention.answers, canonical))
        for document in documents
        for mention in document.mentions
    )
    return AnnotationSet(name, found, tuple(document.id for document in documents))


def linked_annotations(
    linked: Iterable[tuple[int | None, LinkedMention]], canonical: Canonical = _as_written, path: Path | str | None = None
) -> Iterator[Annotation]:
    """The mentions of linked ones, each with its first prediction; its type is the group the search was held to, where that is one.

    Args:
        linked: line number, or None where it comes from no file, and result.
        canonical: a code's canonical one, or None where it is unknown.
        path: the file, for errors.

    Raises:
        FormatError: a mention id twice in a document, or no offsets of a mention.
    """
    lines: dict[tuple[str, str], int | None] = {}
    for line, one in linked:
        key = (one.document_id, one.mention_id)
        if key in lines:
            twice = f"document {key[0]!r}: mention {key[1]!r} was on line {lines[key]} before"
            raise FormatError(twice, path, line, "give each mention of a document its own id")
        if not 0 <= one.start < one.end:
            raise FormatError(f"document {key[0]!r}, mention {key[1]!r}: offsets {one.start}–{one.end} are none", path, line, "half-open, code points")
        lines[key] = line
        codes = one.predictions[0].codes if one.predictions and not one.predictions[0].abstains else ()
        yield Annotation(
            one.document_id, (Span(one.start, one.end),), one.groups[0] if len(one.groups) == 1 else None, _answers([codes], canonical), whole=False
        )


def _answers(answers: Iterable[Collection[str]], canonical: Canonical) -> tuple[Answer, ...]:
    """Answers in canonical codes, unknown ones as they are; those without a code left out."""
    return tuple(frozenset(canonical(code) or code for code in codes) for codes in answers if not set(codes) <= set(_NO_CODES))


def _csv(path: Path, canonical: Canonical) -> Iterator[Annotation]:
    lines = text_lines(path)
    number, first = next(lines)
    header = _cells(first, path, number)
    if missing := [column for column in COLUMNS if column not in header]:
        raise FormatError(f"no column {missing[0]!r}", path, number, f"the first line has to name the columns {', '.join(COLUMNS)}")
    seen: dict[tuple[str, int, int, str], int] = {}
    for number, line in lines:
        if not line.strip():
            continue
        cells = _cells(line, path, number)
        if len(cells) != len(header):
            raise FormatError(f"{len(cells)} columns where the header has {len(header)}", path, number, "one row a line, commas between columns")
        note, start, end, code = (cells[header.index(column)].strip() for column in COLUMNS)
        row = _checked(note, start, end, code, path, number)
        if row in seen:
            raise FormatError(f"the same row as line {seen[row]}", path, number, "give each annotation once")
        seen[row] = number
        yield Annotation(note, (Span(row[1], row[2]),), None, _answers([{code}], canonical), whole=False)


def _cells(line: str, path: Path, number: int) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise FormatError(f"not CSV: {error}", path, number, "one row a line, quotation marks in pairs") from None


def _checked(note: str, start: str, end: str, code: str, path: Path, number: int) -> tuple[str, int, int, str]:
    """A row's values; its words stay out of errors, which a shifted column would put there."""
    first, last = _WHOLE.fullmatch(start), _WHOLE.fullmatch(end)
    if not note or not code:
        raise FormatError(f"{'concept_id' if note else 'note_id'} is empty", path, number, f"write {NO_CODE} where a mention has no concept")
    if not first or not last:
        raise FormatError(f"{'end' if first else 'start'} is no whole number from 0 on", path, number, "offsets are half-open code points")
    if int(first[1]) >= int(last[1]):
        raise FormatError(f"start {first[1]} is not before end {last[1]}", path, number, "offsets are half-open code points")
    return note, int(first[1]), int(last[1]), code


def evaluate_end_to_end(
    gold: AnnotationSet,
    predicted: AnnotationSet,
    *,
    protocol: CodeProtocol = "set",
    iou: IouRule | None = None,
    oracle_spans: AnnotationSet | None = None,
    oracle_types: AnnotationSet | None = None,
    rounds: int = 1000,
    seed: int = 42,
) -> EndToEndReport:
    """Score mentions that a system found.

    Two gold mentions; the system finds the first with the right code, is one character short of the second, and adds a third:

    >>> def mention(start, end, code):
    ...     return Annotation("note", (Span(start, end),), None, (frozenset({code}),))
    >>> gold = AnnotationSet("gold", (mention(0, 4, "D1"), mention(10, 14, "D2")))
    >>> found = evaluate_end_to_end(gold, AnnotationSet("system", (mention(0, 4, "D1"), mention(11, 14, "D3"), mention(20, 24, "D2"))))
    >>> strict, overlapping = (found.spans[way]["span"].micro for way in ("strict", "overlapping"))
    >>> strict.recall.value, strict.f1.value, overlapping.f1.value  # 1 of 2; 2 * 1 / (2 + 3); 2 * 2 / (2 + 3)
    (0.5, 0.4, 0.8)
    >>> found.on_matched["overlapping"]["code"].accuracy.value  # of the two that were found one has the right code
    0.5
    >>> found.notes.micro.recall.value, round(found.notes.micro.precision.value, 3)  # the note's set {D1, D2} against {D1, D2, D3}
    (1.0, 0.667)

    Args:
        gold: annotated mentions.
        predicted: the system's, of the same documents.
        protocol: what makes a code right.
        iou: a rule of `character_iou`, for character IoU as well.
        oracle_spans: the system's answers on gold spans.
        oracle_types: the system's answers with gold types.
        rounds, seed: of the document bootstrap.

    Raises:
        ConfigError: no gold mention, predictions for documents that gold does not have, or an oracle file that is not of gold.
        UnknownNameError: no such rule.
    """
    if not gold.annotations:
        raise ConfigError(f"{gold.name}: no gold mention to score; give annotated documents")
    names = _documents(gold, [one for one in (predicted, oracle_spans, oracle_types) if one])
    if oracle_spans:
        _refuse_other_spans(gold, oracle_spans)
    if oracle_types:
        _refuse_other_types(gold, oracle_types)
    score = _Scorer(gold.annotations, names, protocol, rounds, seed)
    rows, others = gold.annotations, predicted.annotations
    return EndToEndReport(
        documents=len(names),
        gold=len(rows),
        predicted=len(others),
        nil_gold=sum(one.answers == () for one in rows),
        nil_predicted=sum(one.answers == () for one in others),
        uncoded_gold=sum(one.answers is None for one in rows),
        protocol=protocol,
        spans=score.spans(others),
        on_matched=score.on_matched(others),
        notes=score.notes(others),
        seqeval=score.entities(others),
        characters=character_iou(_rows(rows), _rows(others), rule=iou, documents=names) if iou else None,
        ablations={
            name: score.ablation(helped.annotations, others) for name, helped in (("oracle_spans", oracle_spans), ("oracle_types", oracle_types)) if helped
        },
        warning="; ".join(filter(None, (few_documents(len(names)), _other_types(rows, others)))) or None,
        rounds=rounds,
        seed=seed,
    )


def _other_types(gold: Iterable[Annotation], predicted: Iterable[Annotation]) -> str | None:
    own, others = ({one.type for one in side if one.type is not None} for side in (gold, predicted))
    if not own or not others or own & others:
        return None
    return f"no predicted type is one of gold's (gold: {_listed(sorted(own))}; predicted: {_listed(sorted(others))}); types of two vocabularies do not agree"


def _documents(gold: AnnotationSet, others: Sequence[AnnotationSet]) -> list[str]:
    """Sorted ids of all documents."""
    if gold.documents is None:
        return sorted({one.document_id for part in (gold, *others) for one in part.annotations})
    known = set(gold.documents)
    if len(known) != len(gold.documents):
        raise ConfigError(f"{gold.name}: two documents have the same id; give each document its own")
    for other in others:
        if unknown := sorted({one.document_id for one in other.annotations} - known):
            raise ConfigError(f"{other.name}: {len(unknown)} documents are not among the gold ones ({_listed(unknown)}); predict for those that are scored")
    return sorted(known)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")


def _refuse_other_spans(gold: AnnotationSet, oracle: AnnotationSet) -> None:
    placed = _by_bounds(gold.annotations)
    off = [one for one in oracle.annotations if not any(same_place(other, one) for other in placed.get((one.document_id, one.start, one.end), ()))]
    if off:
        raise ConfigError(f"{oracle.name}: {len(off)} of {len(oracle.annotations)} predictions are not on gold spans ({_places(off)}); predict on gold's")


def _refuse_other_types(gold: AnnotationSet, oracle: AnnotationSet) -> None:
    placed = _by_bounds(gold.annotations)
    off = [
        one
        for one in oracle.annotations
        if one.type is not None
        and (there := [other.type for other in placed.get((one.document_id, one.start, one.end), ()) if same_place(other, one)])
        and one.type not in there
    ]
    if off:
        raise ConfigError(f"{oracle.name}: {len(off)} predictions on gold spans have another type than gold ({_places(off)}); predict with gold's types")


def _by_bounds(annotations: Iterable[Annotation]) -> dict[tuple[str, int, int], list[Annotation]]:
    found: dict[tuple[str, int, int], list[Annotation]] = {}
    for one in annotations:
        found.setdefault((one.document_id, one.start, one.end), []).append(one)
    return found


def _places(annotations: Sequence[Annotation]) -> str:
    return _listed([f"{one.document_id}:{one.start}–{one.end}" for one in annotations])


def _rows(annotations: Iterable[Annotation]) -> list[CodedSpan]:
    """A row for every code of a mention's first answer."""
    return [CodedSpan(one.document_id, one.spans, code) for one in annotations if one.answers for code in sorted(one.answers[0])]


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Scores any predictions against the same gold mentions; `names` are the documents, sorted."""

    gold: tuple[Annotation, ...]
    names: Sequence[str]
    protocol: CodeProtocol
    rounds: int
    seed: int

    def sides(self, predicted: Sequence[Annotation], criterion: Criterion) -> tuple[Sequence[Annotation], Sequence[Annotation]] | None:
        """The mentions that count under a criterion; None where one side's have nothing to agree in."""
        own: Sequence[Annotation] = self.gold
        if "type" in criterion and not (_typed(own) and (_typed(predicted) or not predicted)):
            return None
        if "code" in criterion:
            uncoded = _by_bounds(one for one in own if one.answers is None)
            own = [one for one in own if one.answers]
            at_uncoded = [any(same_place(other, one) for other in uncoded.get((one.document_id, one.start, one.end), ())) for one in predicted]
            predicted = [one for one, there in zip(predicted, at_uncoded, strict=True) if one.answers and not there]
        return (own, predicted) if own else None

    def counts(self, predicted: Sequence[Annotation], way: Way, criterion: Criterion) -> tuple[Floats, list[str] | None] | None:
        """(gold, predicted, matched) by document and type, and the types. Shape: (documents, types, 3)."""
        sides = self.sides(predicted, criterion)
        if sides is None:
            return None
        own, others = sides
        typed = "type" in criterion
        groups = sorted({one.type for one in (*own, *others) if one.type is not None}) if typed else None
        rows = {name: i for i, name in enumerate(self.names)}
        columns: dict[str | None, int] = {group: i for i, group in enumerate(groups or ())}
        # The last column is of mentions without a type; under a criterion with a type it goes where there are none.
        found = np.zeros((len(self.names), len(columns) + 1, 3))
        matched = [own[i] for i, _ in match(own, others, way, criterion, self.protocol)]
        for place, side in enumerate((own, others, matched)):
            for one in side:
                found[rows[one.document_id], columns.get(one.type, len(columns)), place] += 1
        return (found if not typed or found[:, -1].any() else found[:, :-1]), groups

    def spans(self, predicted: Sequence[Annotation]) -> Scored:
        return {way: {criterion: self._scores(predicted, way, criterion) for criterion in CRITERIA} for way in WAYS}

    def _scores(self, predicted: Sequence[Annotation], way: Way, criterion: Criterion) -> SpanScores | None:
        found = self.counts(predicted, way, criterion)
        if found is None:
            return None
        counts, groups = found
        names = groups if groups is None or len(groups) == counts.shape[1] else [*groups, UNTYPED]
        return scores_of_counts(counts, names, rounds=self.rounds, seed=self.seed)

    def on_matched(self, predicted: Sequence[Annotation]) -> dict[Way, dict[str, OnMatched | None]]:
        return {way: {"type": self._on_matched(predicted, way, "span+type"), "code": self._on_matched(predicted, way, "span+code")} for way in WAYS}

    def _on_matched(self, predicted: Sequence[Annotation], way: Way, criterion: Criterion) -> OnMatched | None:
        sides = self.sides(predicted, criterion)
        if sides is None:
            return None
        found = match(sides[0], predicted, way, "span")  # among all predictions: an abstention on a mention that was found is not right
        right = match(*sides, way, criterion, self.protocol)
        if not found:
            return OnMatched(0, 0, Estimate(None, None))
        counted = [Counter(sides[0][i].document_id for i, _ in pairs) for pairs in (right, found)]
        tops, bottoms = ([float(counts[name]) for name in self.names] for counts in counted)
        interval = document_interval(self.names, tops, bottoms, rounds=self.rounds, seed=self.seed)
        return OnMatched(len(found), len(right), Estimate(len(right) / len(found), interval))

    def entities(self, predicted: Sequence[Annotation]) -> SpanScores | None:
        if self.sides(predicted, "span+type") is None:
            return None
        sides = [{name: set[Entity]() for name in self.names} for _ in range(2)]
        for side, annotations in zip(sides, (self.gold, predicted), strict=True):
            for one in annotations:
                if one.type is not None:
                    side[one.document_id].add((one.type, one.start, one.end))
        return entity_scores(sides[0], sides[1], rounds=self.rounds, seed=self.seed)

    def notes(self, predicted: Sequence[Annotation]) -> NoteScores | None:
        if not any(one.answers for one in self.gold):
            return None
        answered, wanted = _codes(predicted, self.names), {name: set[str]() for name in self.names}
        for one in self.gold:
            if one.answers:  # of several answers the one that the note's predictions hold, else the first
                wanted[one.document_id] |= next((answer for answer in one.answers if answer <= answered[one.document_id]), one.answers[0])
        counts = np.array([[len(wanted[name]), len(answered[name]), len(wanted[name] & answered[name])] for name in self.names], np.float64)
        return _note_scores(counts, self.rounds, self.seed)

    def ablation(self, helped: Sequence[Annotation], predicted: Sequence[Annotation]) -> Ablation:
        gains = {way: {criterion: self._gain(helped, predicted, way, criterion) for criterion in CRITERIA} for way in WAYS}
        return Ablation(self.spans(helped), self.on_matched(helped), gains)

    def _gain(self, helped: Sequence[Annotation], predicted: Sequence[Annotation], way: Way, criterion: Criterion) -> Rates | None:
        sides = [self.counts(side, way, criterion) for side in (helped, predicted)]
        totals = [found[0].sum(1) for found in sides if found]
        if len(totals) < 2:
            return None
        values = [rates(total.sum(0)) for total in totals]
        samples = [rates(resampled(total, self.rounds, self.seed)) for total in totals]
        point, spread = values[0] - values[1], samples[0] - samples[1]
        return Rates(*(estimate(float(point[i]), spread[:, i]) for i in range(3)))


def _typed(annotations: Sequence[Annotation]) -> bool:
    return any(one.type is not None for one in annotations)


def _codes(annotations: Iterable[Annotation], names: Sequence[str]) -> dict[str, set[str]]:
    found = {name: set[str]() for name in names}
    for one in annotations:
        found[one.document_id].update(*(one.answers or ()))
    return found


def _note_scores(counts: Floats, rounds: int, seed: int) -> NoteScores:
    """Micro and macro over documents. counts: (gold, predicted, matched). Shape: (documents, 3)."""
    total, there = counts.sum(0), (counts[:, 0] + counts[:, 1] > 0).astype(np.float64)
    each = np.nan_to_num(rates(counts)) * there[:, None]
    samples = resampled(np.column_stack([counts, each, there]), rounds, seed)
    micro, micro_samples = rates(total), rates(samples[:, :3])
    macro_samples = np.divide(samples[:, 3:6], samples[:, 6:], out=np.full((rounds, 3), np.nan), where=samples[:, 6:] > 0)
    gold, predicted, matched = (int(number) for number in total)
    return NoteScores(
        int(there.sum()),
        gold,
        predicted,
        matched,
        Rates(*(estimate(float(micro[i]), micro_samples[:, i]) for i in range(3))),
        Rates(*(estimate(float(each[:, i].sum() / there.sum()), macro_samples[:, i]) for i in range(3))),
    )


def end_to_end_json(report: EndToEndReport) -> dict[str, Any]:
    """The report as JSON values; what there is nothing to divide by, or what a file has no types or codes for, is null."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(report), allow_nan=False))
    return found
