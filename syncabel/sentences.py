"""Sentences of a whole document, by sentencex (Wikimedia, MIT) with a few rules of clinical writing on top.

`syncabel.text.sentence_around` is the rule that prompts are written by: it travels in exported model folders, which hold no sentencex.
This module is for work on whole corpora, where every sentence of a document is asked for.  What the two share are the breaks before
capitals; the abbreviations below are of this module alone, so that they can grow without a change of prompts.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache

from syncabel.text import sentence_breaks, stop_ends_sentence
from syncabel.types import Mention, Span

__all__ = ["sentences"]

# Full stops after these end no sentence in clinical notes.  Case-folded; compared without the stop; English, French and Spanish together.
# fmt: off
_CLINICAL = frozenset({
    "ag", "bx", "cc", "cp", "diag", "dx", "ee", "fr", "hb", "hep", "hx", "inj", "perf", "pr", "pt", "pte", "ptes", "pts", "rx", "staph", "strep", "sx",
    "temp", "tx",
})
# fmt: on
# The library breaks at list numbers, "and 6) NIMO": without a stop before it, a break within a line is taken for none.
_STOP = re.compile(r"[.!?…。]+[\"'”’»)\]}]*\s*$")
# A small letter goes on with the sentence, but for names that begin with one: "mtDNA", "pH", "p53".
_NAME = re.compile(r"[^\W\d_]+[A-ZÀ-ÖØ-Þ0-9]")
# After a unit, a route, a conjunction such a name goes on too: "200 mg./kg. pH 7".
_GOES_ON = re.compile(r"(?:\b(?:[µμnmkdc]?[gl]|[µμnm]?mol|mm|cm|min|h|hr|hrs|iv|im|sc|ip|po|and|or|et|ou|y|o)|\.[a-zà-ÿ])$", re.IGNORECASE)
# sentencex 1.0.32 cuts strings at bytes and panics (not an Exception) beside some of these; one code point stays one code point.
_ODD_SPACE = re.compile(r"[^\S ]|[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")
_LOOK = 40  # code points looked at on either side of a break: a record may be one line
_DOCUMENTS_KEPT = 16


def sentences(text: str, language: str = "en", mentions: Iterable[Mention] = ()) -> tuple[Span, ...]:
    """The sentences of a text, in order, without the white space between them; every other character is in exactly one.

    Line ends break, and so do stops that the rules take for the end of a sentence, but nothing breaks from the start of a mention's first
    fragment to the end of its last one: what was annotated as one expression stays in one sentence, text between its fragments included.

    Args:
        text: a document's.
        language: ISO 639-1 code; decides which abbreviations the library knows.  One it has no rules for gets its default ones.
        mentions: of the document.
    """
    plain = _plain(text, language)
    starts, ends = [span.start for span in plain], [span.end for span in plain]
    glued: set[int] = set()  # numbers of the sentences that go on with the one before them
    for mention in mentions:
        glued.update(range(bisect_right(ends, mention.start) + 1, bisect_left(starts, mention.end)))
    firsts = [number for number in range(len(plain)) if number not in glued]
    return tuple(Span(starts[first], ends[after - 1]) for first, after in zip(firsts, [*firsts[1:], len(plain)], strict=False))


@lru_cache(maxsize=_DOCUMENTS_KEPT)
def _plain(text: str, language: str) -> tuple[Span, ...]:
    """The sentences where there are no mentions."""
    found, start = [], 0
    for line in text.split("\n"):
        found += [Span(start + span.start, start + span.end) for span in _of_line(line, language)]
        start += len(line) + 1
    return tuple(found)


def _of_line(line: str, language: str) -> Iterator[Span]:
    # The library misses breaks after short words ("for 5 min. Then", "of the patient. She"), so a stop before a capital breaks as in prompts.
    capitals = {found.end for found in sentence_breaks(line) if not line[found.end].isdigit() and not _is_abbreviated(line, found.start)}
    cuts = sorted(capitals | {cut for cut in _library_cuts(line, language) if _is_end(line, cut)})
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


def _is_abbreviated(line: str, stop: int) -> bool:
    """Whether the full stop that stands there, if it is one, belongs to a clinical abbreviation or to a letter apart, as in "T . G . F"."""
    if line[stop] != ".":
        return False
    before = line[max(0, stop - _LOOK) : stop]
    word = re.search(r"[\w.]+$", before.rstrip())
    if word is None:
        return False
    return word.group().casefold() in _CLINICAL or (before[-1].isspace() and not stop_ends_sentence(before.rstrip(), ""))


def _is_end(line: str, cut: int) -> bool:
    """Whether a break the library found is one, by the text on either side of it."""
    before, after = line[max(0, cut - _LOOK) : cut], line[cut : cut + _LOOK]
    spaced, after = before[-1:].isspace() or after[:1].isspace(), after.lstrip()
    stop = _STOP.search(before)
    # "200 mg./kg" is no end, "blocked this.(ABSTRACT" is one.
    if stop is None or not after or not (spaced or after[0].isupper() or after[0] == "("):
        return False
    word = before[: stop.start()]
    if after[0].islower() and (not _NAME.match(after) or _GOES_ON.search(word)):
        return False
    if stop.group()[0] != ".":
        return True
    return stop_ends_sentence(word, after) and not _is_abbreviated(line, cut - len(before) + stop.start())
