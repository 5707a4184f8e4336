"""Short forms and the long forms that define them in the same text.

Written from the description in Schwartz and Hearst, "A simple algorithm for identifying abbreviation definitions in
biomedical text", Pacific Symposium on Biocomputing 8 (2003), 451–462.
"""

import re

from syncabel.text import sentence_around
from syncabel.types import Abbreviation, Span

__all__ = ["find_abbreviations"]

# Innermost parentheses on one line; longer ones are remarks, and the bound keeps the search linear.
_PARENTHESIS = re.compile(r"\(([^()\n]{2,300})\)")
_WORD = re.compile(r"\S+")
_PART = re.compile(r"[^\W_]+")
# What follows a comma or semicolon inside is a remark: "(APC; MIM 175100)".
_REMARK = re.compile(r"[;,]\s")
_SENTENCE_CHARS = 600  # a long form has at most 15 words: more text than this on one side cannot matter


def find_abbreviations(text: str) -> tuple[Abbreviation, ...]:
    """The abbreviations a text defines, as "long form (SHORT)" or "SHORT (long form)", in text order.

    Each short form is found once, at its first definition; a definition does not cross a sentence.

    Args:
        text: a whole document.

    Returns:
        Spans are half-open code points of `text`.
    """
    found: dict[str, Abbreviation] = {}
    for match in _PARENTHESIS.finditer(text):
        pair = _definition(text, match)
        if pair is not None:
            found.setdefault(text[pair.short.start : pair.short.end], pair)
    return tuple(found.values())


def _definition(text: str, match: re.Match[str]) -> Abbreviation | None:
    inside = _trimmed(text, _up_to_remark(match))
    sentence = sentence_around(text, (Span(match.start(), match.end()),), _SENTENCE_CHARS)
    before = _trimmed(text, Span(sentence.start, max(sentence.start, match.start())))
    if _is_short_form(text[inside.start : inside.end]):
        long = _long_form(text, before, inside)
        return None if long is None else Abbreviation(inside, long)
    short = _last_word(text, before)
    # Before a parenthesis stands any word; only one not all in small letters is worth asking: "mutations (manuscript in preparation)".
    if short is None or text[short.start : short.end].islower() or not _is_short_form(text[short.start : short.end]):
        return None
    long = _long_form(text, inside, short)
    return None if long is None else Abbreviation(short, long)


def _up_to_remark(match: re.Match[str]) -> Span:
    remark = _REMARK.search(match.group(1))
    return Span(match.start(1), match.start(1) + remark.start() if remark else match.end(1))


def _trimmed(text: str, span: Span) -> Span:
    piece = text[span.start : span.end]
    start = span.start + len(piece) - len(piece.lstrip())
    return Span(start, max(start, span.start + len(piece.rstrip())))


def _last_word(text: str, span: Span) -> Span | None:
    words = list(_WORD.finditer(text, span.start, span.end))
    return Span(*words[-1].span()) if words else None


def _is_short_form(word: str) -> bool:
    """Two to ten characters, at most two words, a letter, an alphanumeric first character (section 3 of the paper)."""
    return 2 <= len(word) <= 10 and len(word.split()) <= 2 and word[0].isalnum() and any(c.isalpha() for c in word)


def _most_words(short: str) -> int:
    """The longest long form, in words, that a short form of |A| characters may have: min(|A| + 5, 2·|A|)."""
    return min(len(short) + 5, len(short) * 2)


def _long_form(text: str, window: Span, short: Span) -> Span | None:
    """The shortest end of the window that spells the short form, or None; the window is cut to the words allowed."""
    letters = text[short.start : short.end]
    words = list(_WORD.finditer(text, window.start, window.end))[-_most_words(letters) :]
    if not words:
        return None
    first, last = words[0].start(), words[-1].end()
    start = _initials_from(text, first, last, letters)
    if start is None:
        start = _spelled_from(text, first, last, letters)
    if start is None:
        return None
    # A word is taken whole, so that "non-Hodgkin" is not cut to "Hodgkin"; quotes and brackets before it are not part of it.
    start = max(word.start() for word in words if word.start() <= start)
    start = next(i for i in range(start, window.end) if text[i].isalnum())
    long = Span(start, words[-1].end())
    return long if _says_more(text[long.start : long.end], letters) else None


def _initials_from(text: str, start: int, end: int, letters: str) -> int | None:
    """Where the last words begin whose initials are the short form, one word a letter.

    Not in the paper: its shortest match reads "Hereditary hemochromatosis (HH)" as HH = hemochromatosis.
    """
    wanted = [c.lower() for c in letters if c.isalnum()]
    words = list(_PART.finditer(text, start, end))[-len(wanted) :]
    return words[0].start() if [word.group()[0].lower() for word in words] == wanted else None


def _spelled_from(text: str, start: int, end: int, letters: str) -> int | None:
    """Where the letters and digits of a short form, matched from the right, begin in text[start:end].

    The first of them must begin a word; the others may stand anywhere.
    """
    at = end
    wanted = [i for i, c in enumerate(letters) if c.isalnum()]
    for i in reversed(wanted):
        at -= 1
        while at >= start and not (text[at].lower() == letters[i].lower() and (i > 0 or at == start or not text[at - 1].isalnum())):
            at -= 1
        if at < start:
            return None
    return at


def _says_more(long: str, short: str) -> bool:
    """Whether a long form explains the short one: longer, whole parentheses, not itself written with it ("Leu (Leu-AVP peptide)")."""
    within = re.search(rf"(?<!\w){re.escape(short)}(?!\w)", long)
    return len(long) > len(short) and long.count("(") == long.count(")") and within is None
