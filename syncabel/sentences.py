"""Sentences of a whole document, by sentencex (Wikimedia, MIT) with a few rules of clinical writing on top.

`syncabel.text.sentence_around` is the rule that prompts are written by: it travels in exported model folders, which hold no sentencex.
This module is for work on whole corpora, where every sentence of a document is asked for.  What the two share are the abbreviations.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from syncabel.text import clipped, sentence_breaks, stop_ends_sentence
from syncabel.types import Span

__all__ = ["sentence_around", "sentences"]

# The library breaks at list numbers, "and 6) NIMO": without a stop before it, a break within a line is taken for none.
_STOP = re.compile(r"[.!?…。]+[\"'”’»)\]}]*\s*$")
# "6 mg. papaverine", "200 mg./kg. i.p.", "thiopental iv. followed": a small letter goes on with the sentence after a unit, a route, a conjunction.
_GOES_ON = re.compile(r"(?:\b(?:[µμnmkdc]?[gl]|[µμnm]?mol|mm|cm|min|h|hr|hrs|iv|im|sc|ip|po|and|or|et|ou|y|o)|\.[a-zà-ÿ])$", re.IGNORECASE)
# sentencex 1.0.32 cuts strings at bytes and panics (not an Exception) beside some of these; one code point stays one code point.
_ODD_SPACE = re.compile(r"[^\S ]|[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")
_LOOK = 40  # code points looked at on either side of a break: a record may be one line
_DOCUMENTS_KEPT = 16  # mentions are asked for document by document


@lru_cache(maxsize=_DOCUMENTS_KEPT)
def sentences(text: str, language: str = "en") -> tuple[Span, ...]:
    """The sentences of a text, in order, without the white space between them; every other character is in exactly one.

    Line ends always break.

    Args:
        text: a document's.
        language: ISO 639-1 code; decides which abbreviations the library knows.  One it has no rules for gets its default ones.
    """
    found, start = [], 0
    for line in text.split("\n"):
        found += [Span(start + span.start, start + span.end) for span in _of_line(line, language)]
        start += len(line) + 1
    return tuple(found)


def sentence_around(text: str, spans: Sequence[Span], context_chars: int, language: str = "en") -> Span:
    """The sentence that holds all fragments of a mention; several of them where it runs over their ends, so that none is cut inside it.

    What is longer than `context_chars` on either side of the mention is cut at the nearest space inside.

    Args:
        text: the document's text; its sentences are found once and kept while it is worked on.
        spans: the mention's fragments, in text order.
        context_chars: most code points kept before the first and after the last fragment.
        language: of the text.
    """
    first, last = spans[0].start, spans[-1].end
    touched = [span for span in sentences(text, language) if span.start < last and span.end > first]
    start = min([first, *(span.start for span in touched)])
    end = max([last, *(span.end for span in touched)])
    return clipped(text, Span(start, end), Span(first, last), context_chars)


def _of_line(line: str, language: str) -> Iterator[Span]:
    # The library misses breaks after short words ("for 5 min. Then", "of the patient. She"), so a stop before a capital breaks as in prompts.
    capitals = {found.end for found in sentence_breaks(line) if not line[found.end].isdigit()}
    cuts = sorted(capitals | {cut for cut in _library_cuts(line, language) if _is_end(line[max(0, cut - _LOOK) : cut], line[cut : cut + _LOOK])})
    for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True):
        piece = line[start:end]
        if piece.strip():
            yield Span(start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip()))


def _library_cuts(line: str, language: str) -> Iterator[int]:
    from sentencex import segment

    at = 0
    for piece in segment(language, _ODD_SPACE.sub(" ", line)):
        at += len(piece)
        yield at


def _is_end(before: str, after: str) -> bool:
    """Whether a break the library found is one, by the text on either side of it."""
    spaced, after = before[-1:].isspace() or after[:1].isspace(), after.lstrip()
    stop = _STOP.search(before)
    # "200 mg./kg" is no end, "blocked this.(ABSTRACT" is one.
    if stop is None or not after or not (spaced or after[0].isupper() or after[0] == "("):
        return False
    if stop.group()[0] != ".":
        return True
    word = before[: stop.start()]
    return stop_ends_sentence(word, after) and not (after[0].islower() and _GOES_ON.search(word))
