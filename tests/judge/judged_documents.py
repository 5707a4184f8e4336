"""What the tests of the judge share: documents, predictions, and what a server says that judges by the names."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from stand_in import Answer, Asked, StandIn

from syncabel.types import Document, LinkedMention, Mention, Prediction, Span

BROADER = {("multiple sclerosis", "nervous system disease"), ("mitral stenosis", "heart disease"), ("angina pectoris", "heart disease")}


def document(identifier: str, text: str, *mentions: tuple[str, Any]) -> Document:
    """A document whose mentions are (text, answers), found where they first stand."""
    made = []
    for i, (surface, answers) in enumerate(mentions):
        start = text.index(surface)
        made.append(Mention(f"m{i}", (Span(start, start + len(surface)),), surface, "Disease", answers))
    return Document(identifier, text, tuple(made), split="test")


def linked(document: Document, mention: str, *codes: str) -> LinkedMention:
    found = next(one for one in document.mentions if one.id == mention)
    predictions = (Prediction(codes, "name", -0.1),) if codes else ()
    return LinkedMention(document.id, mention, found.text, found.start, found.end, ("Disease",), predictions)


class Judging(NamedTuple):
    """What is judged, in memory and on disk."""

    documents: list[Document]
    linked: list[LinkedMention]
    kb: Any
    files: tuple[Path, Path, Path]


def asked_about(prompt: str) -> dict[str, Any]:
    """The fields of a question, as a server reads them."""
    return json.loads(prompt.split("\n\n")[-1])


def truth(first: str, second: str) -> str:
    """How the second concept relates to the first."""
    if {first, second} == {"angina", "angina pectoris"}:
        return "equivalent"
    return "broader" if (first, second) in BROADER else "narrower" if (second, first) in BROADER else "related"


def honest(asked: Asked) -> Answer:
    """A server that judges by the names, whatever the order."""
    if "Say hello" in asked.prompt:
        return Answer("hello")
    fields = asked_about(asked.prompt)
    return says(truth(fields["A"]["name"], fields["B"]["name"]))


def says(relation: str) -> Answer:
    return Answer(json.dumps({"reason": "so it is", "relation": relation}))


def chats(server: StandIn) -> list[Asked]:
    """Without the greeting at first contact."""
    return [asked for asked in server.asked if asked.path.endswith("/chat/completions") and "Say hello" not in asked.prompt]
