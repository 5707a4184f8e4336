"""A language model as judge of the answers that are not equal to gold.

`cases` takes the short cuts (equal, part of a composite, nothing predicted), `questions` says what is asked about the rest, blinded and in
both orders, `answers` reads the replies, `asking` asks what is left within a budget, `log` keeps every raw answer, `verdicts` counts the
votes, `agreement` and `correction` compare with people, `summary` has the figures.  Who answers is handed in: nothing here knows a server.
"""

from syncabel.judge.agreement import Agreement, Labelled, agreement_of, cohen_kappa, krippendorff_alpha, read_labels
from syncabel.judge.answers import REASONS, Unparsable, answer_schema, parse_answer
from syncabel.judge.asking import Answer, Answerer, Asked, Asker, Budget, JudgeSettings, Request, Votes
from syncabel.judge.cases import Case, Cases, cases_of
from syncabel.judge.correction import Corrected, HumanCell, corrected_share
from syncabel.judge.labels import LABELS, PUBLISHED, RELATIONS, Label, Relation, as_label, majority, turned
from syncabel.judge.log import AnswerLog, Spent, StoredAnswer
from syncabel.judge.questions import Message, Question, messages, question_of
from syncabel.judge.shots import Shot, examples_of, read_shots, refuse_leaks
from syncabel.judge.summary import labels_agreement, summary
from syncabel.judge.verdicts import Judgement, judgement_of, rejections_of

__all__ = [
    "LABELS",
    "PUBLISHED",
    "REASONS",
    "RELATIONS",
    "Agreement",
    "Answer",
    "AnswerLog",
    "Answerer",
    "Asked",
    "Asker",
    "Budget",
    "Case",
    "Cases",
    "Corrected",
    "HumanCell",
    "JudgeSettings",
    "Judgement",
    "Label",
    "Labelled",
    "Message",
    "Question",
    "Relation",
    "Request",
    "Shot",
    "Spent",
    "StoredAnswer",
    "Unparsable",
    "Votes",
    "agreement_of",
    "answer_schema",
    "as_label",
    "cases_of",
    "cohen_kappa",
    "corrected_share",
    "examples_of",
    "judgement_of",
    "krippendorff_alpha",
    "labels_agreement",
    "majority",
    "messages",
    "parse_answer",
    "question_of",
    "read_labels",
    "read_shots",
    "refuse_leaks",
    "rejections_of",
    "summary",
    "turned",
]
