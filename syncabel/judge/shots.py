"""Examples for the judge: pairs that a person labelled, from documents that are neither test nor scored."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.judge.labels import RELATIONS, Relation, as_label
from syncabel.judge.questions import Question, question_of
from syncabel.kb import KnowledgeBase
from syncabel.lines import json_lines
from syncabel.text import fold
from syncabel.types import Document, Mention, Span, as_split, from_json

__all__ = ["Example", "Shot", "examples_of", "read_shots", "refuse_leaks"]

Example = tuple[Question, Relation]
_HINT = 'write {"document_id", "split", "sentence": "… [mention] …", "gold": [codes], "predicted": [codes], "label"} a line'
_BRACKETED = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Shot:
    """A pair that a person labelled; a line of the file.

    Attributes:
        document_id: where the sentence comes from.
        split: of that document: train or dev; test is refused.
        sentence: the mention in square brackets, each fragment of it.
        gold, predicted: codes that are right, or were predicted, together.
        label: what the prediction is, seen from gold: our word or the published one.
    """

    document_id: str
    split: str
    sentence: str
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    label: str


def read_shots(path: Path) -> list[Shot]:
    """The rows of a file of examples.

    Raises:
        FormatError: a row is not as above, or its sentence has no mention in brackets.
        ConfigError: a row is of split test, or of none.
    """
    return [_shot(value, path, number) for number, value in json_lines(path, _HINT)]


def _shot(value: object, path: Path, number: int) -> Shot:
    try:
        shot = from_json(Shot, value)
        label, split = as_label(shot.label), as_split(shot.split or None)
    except FormatError as error:
        raise FormatError(error.problem, path, number, _HINT) from None
    except UnknownNameError as error:
        # The word itself may be a sentence where the fields are in disorder.
        raise FormatError(f"the {error.kind} is none that is known", path, number, _HINT) from None
    if split not in ("train", "dev"):
        raise ConfigError(f"{path}:{number}: an example of split {shot.split!r}: give examples of train or dev, never of test")
    if label not in RELATIONS:
        raise FormatError(f"no model is asked for {label!r}", path, number, f"label it {', '.join(RELATIONS)}")
    if not (_BRACKETED.search(shot.sentence) and shot.gold and shot.predicted):
        raise FormatError("no mention in brackets, or no codes on a side", path, number, _HINT)
    return shot


def refuse_leaks(shots: Sequence[Shot], documents: Iterable[Document], where: Path | str) -> None:
    """Keep what is judged out of the examples.

    Raises:
        ConfigError: an example comes from a document that is judged, by its id or because its sentence stands there, but for case and all signs.
    """
    ids = {shot.document_id for shot in shots}
    sentences = [_letters(shot.sentence) for shot in shots]
    for document in documents:
        text = _letters(document.text) if sentences else ""
        if document.id in ids or any(sentence in text for sentence in sentences):
            raise ConfigError(f"{where}: an example comes from document {document.id!r}, which is judged; leave it out")


def _letters(text: str) -> str:
    """Letters and digits only: a mention's brackets, and those of the text that had to become parentheses, make no difference."""
    return "".join(c for c in fold(text) if c.isalnum())


def examples_of(shots: Sequence[Shot], kb: KnowledgeBase) -> tuple[Example, ...]:
    """Each example as a question with its relation.

    Raises:
        UnknownNameError: the knowledge base does not have one of the codes.
    """
    return tuple((_question(shot, kb), _relation(shot.label)) for shot in shots)


def _question(shot: Shot, kb: KnowledgeBase) -> Question:
    pieces = _BRACKETED.split(shot.sentence)  # text, fragment, text, fragment, … text
    spans, at = [], 0
    for i, piece in enumerate(pieces):
        if i % 2:
            spans.append(Span(at, at + len(piece)))
        at += len(piece)
    text, fragments = "".join(pieces), " ".join(pieces[1::2])
    mention = Mention("m0", tuple(spans), fragments)
    gold, predicted = (tuple(sorted(_known(code, kb) for code in codes)) for codes in (shot.gold, shot.predicted))
    return question_of(Document(shot.document_id, text, (mention,)), mention, gold, predicted, kb)


def _known(code: str, kb: KnowledgeBase) -> str:
    return kb.concept(kb.canonical(code) or code).code


def _relation(word: str) -> Relation:
    label = as_label(word)
    return next(relation for relation in RELATIONS if relation == label)
