"""What needs no question, and what does: gold beside the first prediction of every mention that has a right answer in some vocabulary."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from syncabel.evaluate.linked import aligned
from syncabel.evaluate.strata import canonical_answers
from syncabel.judge.labels import Label
from syncabel.judge.questions import Question, question_of
from syncabel.kb import KnowledgeBase
from syncabel.types import Document, LinkedMention, Mention

__all__ = ["HOW", "Case", "Cases", "How", "cases_of"]

How = Literal["equal", "partial", "abstained", "missing", "unknown_concept", "asked", "unparsable", "unanswered"]
HOW: tuple[How, ...] = get_args(How)
Codes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One mention to be judged.

    Attributes:
        document_id, mention_id: the mention.
        gold: alternative answers, canonical codes, each sorted.
        predicted: canonical codes of the first prediction, sorted; empty where nothing was predicted.
        how: what decided without a question: `equal` (one gold answer is the predicted set), `partial` (the prediction is a proper part of a
            composite one), `abstained` (NIL, no name, held back), `missing` (no line in the predictions), `unknown_concept` (a side is not
            in the knowledge base, so nobody can be told of it); `asked` where questions are to decide.
        label: what was decided; None for `unknown_concept` and `asked`.
        questions: one per gold answer that the knowledge base knows; the most favourable judgement counts, for any one suffices.
    """

    document_id: str
    mention_id: str
    gold: tuple[Codes, ...]
    predicted: Codes
    how: How
    label: Label | None = None
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Cases:
    """All mentions of some documents.

    Attributes:
        cases: those with a gold answer, in document and mention order.
        nil: mentions annotated as not in the knowledge base; beside the denominator.
        unannotated: mentions without an annotation; likewise.
    """

    cases: tuple[Case, ...]
    nil: int
    unannotated: int


def cases_of(documents: Sequence[Document], linked: Sequence[LinkedMention], kb: KnowledgeBase) -> Cases:
    """Put gold beside predictions and take the short cuts.

    Args:
        documents: annotated.
        linked: predictions for their mentions, in any order.
        kb: canonicalises both sides and describes what is asked about.

    Raises:
        FormatError: a prediction for a mention that is not there, or two for one.
    """
    found = aligned(documents, ((None, result) for result in linked))
    mentions = [mention for document in documents for mention in document.mentions]
    nil, unannotated = sum(mention.answers == () for mention in mentions), sum(mention.answers is None for mention in mentions)
    return Cases(tuple(_cases(documents, found, kb)), nil, unannotated)


def _cases(documents: Sequence[Document], found: Mapping[tuple[str, str], LinkedMention], kb: KnowledgeBase) -> Iterator[Case]:
    for document in documents:
        for mention in document.mentions:
            if mention.answers:
                yield _case(document, mention, found.get((document.id, mention.id)), kb)


def _case(document: Document, mention: Mention, result: LinkedMention | None, kb: KnowledgeBase) -> Case:
    first = result.predictions[0] if result and result.predictions else None
    (predicted,) = canonical_answers([() if first is None or first.abstains else first.codes], kb.canonical)
    answers = list(dict.fromkeys(canonical_answers(mention.answers or (), kb.canonical)))
    how, label = _short_cut(answers, predicted, result)
    askable = [answer for answer in answers if how == "asked" and all(code in kb for code in answer | predicted)]
    if how == "asked" and not askable:
        how = "unknown_concept"
    gold, shown = tuple(tuple(sorted(answer)) for answer in answers), tuple(sorted(predicted))
    questions = tuple(question_of(document, mention, tuple(sorted(answer)), shown, kb) for answer in askable)
    return Case(document.id, mention.id, gold, shown, how, label, questions)


def _short_cut(answers: Sequence[frozenset[str]], predicted: frozenset[str], result: LinkedMention | None) -> tuple[How, Label | None]:
    if result is None:
        return "missing", "unrelated"
    if not predicted:
        return "abstained", "unrelated"
    if predicted in answers:
        return "equal", "equivalent"
    if any(predicted < answer for answer in answers):
        return "partial", "partial"
    return "asked", None
