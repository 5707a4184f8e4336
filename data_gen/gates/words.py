"""Words of a text with its mentions set apart: what is a name belongs to nobody, what stands around it to its author."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from syncabel.text import fold
from syncabel.types import Document, Mention

__all__ = ["MENTION", "Word", "masked_words", "plain_words", "texts_beside", "words_of"]

MENTION = "\0"  # stands for a whole mention; no word of a text is it
_WORD = re.compile(r"\w+")


class Word(NamedTuple):
    """A folded word, and whether it is part of a mention."""

    text: str
    in_mention: bool


def plain_words(text: str) -> list[str]:
    """The folded words of a text, punctuation left out."""
    return _WORD.findall(fold(text))


def _pieces(text: str, mentions: Iterable[Mention]) -> Iterator[tuple[str, bool]]:
    """The text cut at the mentions' edges, and whether a piece is a mention's."""
    spans = sorted({span for mention in mentions for span in mention.spans})
    at = 0
    for span in spans:
        if span.end <= at:
            continue
        yield text[at : max(at, span.start)], False
        yield text[max(at, span.start) : span.end], True
        at = span.end
    yield text[at:], False


def words_of(document: Document) -> list[Word]:
    """The folded words of a document."""
    return [Word(word, inside) for piece, inside in _pieces(document.text, document.mentions) for word in plain_words(piece)]


def masked_words(text: str, mentions: Iterable[Mention]) -> list[str]:
    """The folded words of a text with `MENTION` in place of each fragment of a mention."""
    return [word for piece, inside in _pieces(text, mentions) for word in ([MENTION] if inside else plain_words(piece))]


def texts_beside(document: Document) -> str:
    """The text without its mentions."""
    return " ".join(piece for piece, inside in _pieces(document.text, document.mentions) if not inside)
