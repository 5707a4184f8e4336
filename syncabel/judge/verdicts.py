"""From votes to one judgement a mention, and to what could not be judged."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from syncabel.judge.asking import Votes
from syncabel.judge.cases import Case, How
from syncabel.judge.labels import LABELS, Label, Relation, majority
from syncabel.judge.questions import Question
from syncabel.types import Rejection

__all__ = ["Judgement", "judgement_of", "rejections_of"]

_SHOWN = 500  # code points of an answer


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one mention's prediction is, seen from gold; a line of `labels.jsonl`, which holds no text.

    Attributes:
        document_id, mention_id: the mention.
        gold: alternative answers, canonical codes.
        predicted: canonical codes; empty where nothing was predicted.
        label: None where nothing could be decided.
        how: what decided; see `Case.how`.  `unparsable`: no answer could be read; `unanswered`: calls are still to be made.
        against: the gold answer that the label is about; empty where nobody was asked.
        votes: pairs of votes, each asked with gold first and with the prediction first; null where an answer could not be read.
        order_agreement: share of those pairs in which both orders agree, a fraction; None where no pair is whole.
        tied: whether relations were equally frequent, so that the least favourable was taken.
    """

    document_id: str
    mention_id: str
    gold: tuple[tuple[str, ...], ...]
    predicted: tuple[str, ...]
    label: Label | None
    how: How
    against: tuple[str, ...] = ()
    votes: tuple[tuple[Relation | None, ...], ...] = ()
    order_agreement: float | None = None
    tied: bool = False


def judgement_of(case: Case, votes: Callable[[Question], Votes]) -> Judgement:
    """The judgement of a case; of several gold answers the one that is kindest to the prediction, for any one suffices.

    Args:
        case: what is judged.
        votes: what is known of a question.
    """
    plain = Judgement(case.document_id, case.mention_id, case.gold, case.predicted, case.label, case.how)
    if not case.questions:
        return plain
    heard = [(question, votes(question)) for question in case.questions]
    if any(vote.open for _, vote in heard):
        return _undecided(plain, "unanswered")
    judged = [_judged(plain, question, vote) for question, vote in heard if vote.cast]
    return max(judged, key=lambda one: LABELS.index(one.label or "unrelated")) if judged else _undecided(plain, "unparsable")


def _undecided(plain: Judgement, how: How) -> Judgement:
    return Judgement(plain.document_id, plain.mention_id, plain.gold, plain.predicted, None, how)


def _judged(plain: Judgement, question: Question, votes: Votes) -> Judgement:
    label, tied = majority(votes.cast)
    whole = [first == second for first, second in votes.pairs if first is not None and second is not None]
    agreement = sum(whole) / len(whole) if whole else None
    return Judgement(
        plain.document_id, plain.mention_id, plain.gold, plain.predicted, label, "asked", question.against, votes.pairs, agreement, tied
    )  # fmt: skip


def rejections_of(cases: Sequence[Case], votes: Callable[[Question], Votes]) -> Iterator[Rejection]:
    """What was left out of the votes, with what a person needs to see why: the raw answers, cut to 500 code points.

    Args:
        cases: all of them.
        votes: what is known of a question.
    """
    for case in cases:
        where, code = f"document {case.document_id!r}, mention {case.mention_id!r}", "+".join(case.gold[0])
        if case.how == "unknown_concept":
            yield Rejection(
                where, code, "unknown_concept", f"gold {' | '.join('+'.join(answer) for answer in case.gold)}, predicted {'+'.join(case.predicted)}"
            )
        for question in case.questions:
            heard = votes(question)
            for reason, text in heard.problems:
                yield Rejection(where, "+".join(question.against), reason, text[:_SHOWN])
            if heard.open:
                yield Rejection(where, "+".join(question.against), "no_answer", f"{heard.open} calls are still to be made")
