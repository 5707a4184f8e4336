"""Documents and predictions in a few letters, and a knowledge base with a hierarchy."""

from collections.abc import Callable
from typing import Any

import pytest

from syncabel.types import Document, LinkedMention, Mention, Prediction, Span


@pytest.fixture(scope="session")
def annotated() -> Callable[..., Document]:
    """`annotated(id, (words, answers[, type]), …, **more)`: answers as in "A", "A+B" (together), "A|B" (either), "" (NIL), None (no annotation)."""

    def make(name: str, *mentions: tuple[Any, ...], **more: Any) -> Document:
        text, found = "", []
        for i, (words, answers, *kind) in enumerate(mentions):
            start = len(text)
            text += f"{words} "
            gold = None if answers is None else tuple(tuple(one.split("+")) for one in answers.split("|") if one)
            found.append(Mention(str(i), (Span(start, start + len(words)),), words, kind[0] if kind else "Disease", gold))
        return Document(name, text, tuple(found), **more)

    return make


@pytest.fixture(scope="session")
def answered() -> Callable[..., list[LinkedMention]]:
    """`answered(document, ranking, …)`: a ranking is answers like "A B+C NIL -" (`-` is no name), best first; None is no line at all."""

    def make(document: Document, *rankings: str | None, groups: tuple[str, ...] = (), **more: Any) -> list[LinkedMention]:
        return [
            LinkedMention(document.id, m.id, m.text, m.start, m.end, groups, tuple(map(prediction, ranking.split())), **more)
            for m, ranking in zip(document.mentions, rankings, strict=True)
            if ranking is not None
        ]

    return make


def prediction(answer: str) -> Prediction:
    """An answer that is written `CODE=name`, or without a name; the name is the code then."""
    codes, _, name = answer.partition("=")
    return Prediction(() if codes == "-" else tuple(codes.split("+")), name or codes, -1.0)


@pytest.fixture(scope="session")
def tree_kb() -> Any:
    """root > (top > (left > leaf, right), side); `cold` is a name of left and of right; `old` is an alternative code of leaf."""
    from syncabel.kb import About, KnowledgeBase
    from syncabel.types import Concept, Name

    def concept(code: str, *names: str, parents: tuple[str, ...] = (), alt: tuple[str, ...] = (), group: str = "Disease") -> Concept:
        return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), (group,), parents=parents, alt_codes=alt)

    return KnowledgeBase.build(
        [
            concept("root", "disease"),
            concept("top", "top disease", parents=("root",)),
            concept("side", "side disease", parents=("root",), group="Sign"),
            concept("left", "left disease", "cold", "LD", parents=("top",)),
            concept("right", "right disease", "cold", parents=("top",)),
            concept("leaf", "leaf disease", "leafy", parents=("left",), alt=("old",)),
        ],
        About(source="test", release="1", licence="CC0-1.0", redistributable=True),
    )
