"""Plain text: sentences around a mention, bracket escapes, name hygiene.  Offsets are code points throughout."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from syncabel.types import Span

__all__ = [
    "clean_name",
    "control_character",
    "escape_markup",
    "fold",
    "has_markup",
    "sentence_around",
    "sentence_breaks",
    "stop_ends_sentence",
    "title_of",
]

# Full stops after these end no sentence.  Lower case; compared without the stop; English, French and Spanish together.
# fmt: off
_ABBREVIATED = frozenset({
    "e.g", "i.e", "cf", "vs", "fig", "figs", "al", "dr", "mr", "mrs", "prof", "st", "nos", "approx", "ca",
    "resp", "ref", "refs", "spp", "sp", "var", "subsp", "m", "mme", "mlle", "p.ex", "ex", "env", "sr", "sra", "dra",
    "dres", "ud", "uds", "pág", "núm", "aprox", "vit", "u.s", "u.k", "pp", "ste", "mmes", "p.ej", "ej", "págs", "tto", "dto", "c.f",
})
# These end one, unless a number follows: "no. 7" is a number, "He said no. The pain" an answer; "i.v. 5 mg" a dose, "given i.v. Then" an end.
_BEFORE_NUMBERS = frozenset({
    "no", "i.v", "i.m", "s.c", "i.p", "p.o", "i.c.v", "v.o", "iv", "im", "sc", "max", "máx", "mín", "tab", "tabs", "cap", "caps", "comp", "inj", "amp",
    "pt", "pts", "vol", "chap", "tel", "tél", "eq", "art", "sec",
})
# fmt: on
# "P =. 069", "(0. 5%)": decimals that a tokenizer pulled apart.
_SPLIT_DECIMAL = re.compile(r"(?:[=<>≤≥±(\[{]\s*\d{0,3}|\b0)$")
# "E. coli", "J. Smith" and "p. 7" go on; after "4 g" or "24 h" the letter is a unit.
_AMOUNT = re.compile(r"\d\s?[glhsdjy]$")
_BREAK = re.compile(r"\n+|[.!?…]+[\"'”’»)\]}]*\s+(?=[\"'“‘«(\[{¿¡]*[A-ZÀ-ÖØ-Þ0-9])")
_INK = re.compile(r"\S")
_MARKUP = str.maketrans("[]{}", "()()")


def escape_markup(text: str) -> str:
    """Brackets and braces as parentheses, length-preserving, so that the only brackets of a prompt are the mention's."""
    return text.translate(_MARKUP)


def has_markup(text: str) -> bool:
    """Whether a text holds a bracket or a brace."""
    return escape_markup(text) != text


def control_character(text: str) -> str | None:
    """The first control, surrogate, private-use or unassigned character, or None."""
    return next((c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")), None)


def clean_name(text: str) -> str:
    """A name with every run of white space (no-break ones too) as one space, ends trimmed; nothing else changes."""
    return " ".join(text.split())


def fold(text: str) -> str:
    """The key names are compared by in look-ups: NFKC, case-folded, white space as single spaces."""
    return clean_name(unicodedata.normalize("NFKC", text).casefold())


def title_of(text: str) -> Span | None:
    """The first line of a text of several lines; None where there is but one line."""
    end = text.find("\n")
    return Span(0, end) if end > 0 and _INK.search(text, end) else None


def stop_ends_sentence(before: str, after: str) -> bool:
    """Whether a full stop between two pieces of text ends a sentence, as far as the word before it can tell.

    Args:
        before: the text up to the stop, which is left out; its last 20 code points are enough.
        after: the text after the stop and the white space that follows it; its first code point is enough.
    """
    number_follows = after[:1].isdigit()
    if number_follows and _SPLIT_DECIMAL.search(before):
        return False
    word = re.search(r"[\w.]+$", before)
    if word is None:
        return True
    last = word.group().casefold()
    if len(last) == 1 and last.isalpha():
        return _AMOUNT.search(before) is not None
    return not (last in _ABBREVIATED or (number_follows and last in _BEFORE_NUMBERS))


def _is_break(text: str, match: re.Match[str]) -> bool:
    if "\n" in match.group() or match.group()[0] != ".":
        return True
    # Only the end of the word is looked at: the longest known one is far shorter, and the text before may be a whole record.
    return stop_ends_sentence(text[max(0, match.start() - 20) : match.start()], text[match.end() : match.end() + 1])


def sentence_breaks(text: str) -> Iterator[Span]:
    """The ends of sentences before a capital letter or a number, line ends included: from the stop to the next sentence's first character."""
    return (Span(*match.span()) for match in _BREAK.finditer(text) if _is_break(text, match))


def sentence_around(text: str, spans: Sequence[Span], context_chars: int) -> Span:
    """The sentence that holds all fragments of a mention.

    A break never falls inside the mention; line ends always break elsewhere.  What is longer than `context_chars` on
    either side of the mention is cut at the nearest space inside.

    Args:
        text: the document's text.
        spans: the mention's fragments, in text order.
        context_chars: most code points kept before the first and after the last fragment.
    """
    first, last = spans[0].start, spans[-1].end
    low, high = max(0, first - context_chars), min(len(text), last + context_chars)
    start, end = low, high
    for match in _BREAK.finditer(text, low, high):
        if match.end() <= first and _is_break(text, match):
            start = match.end()
    # A line end breaks even where the stop before it is part of a longer match that reaches into the mention.
    start = max(start, text.rfind("\n", low, first) + 1)
    for match in _BREAK.finditer(text, last, high):
        if _is_break(text, match):
            end = match.start() + len(match.group().rstrip())
            break
    return _clipped(text, Span(start, end), Span(first, last), context_chars)


def _clipped(text: str, sentence: Span, mention: Span, context_chars: int) -> Span:
    """A sentence with at most `context_chars` code points on either side of the mention, cut at a space, white space at its ends left out.

    Args:
        text: the document's text.
        sentence: around the mention.
        mention: from the first fragment's start to the last one's end.
        context_chars: most code points kept before and after it.
    """
    first, last = mention.start, mention.end
    low, high = max(0, first - context_chars), min(len(text), last + context_chars)
    start, end = max(sentence.start, low), min(sentence.end, high)
    if start == low > 0 and not text[low - 1].isspace():
        start = next((i + 1 for i in range(low, first) if text[i].isspace()), first)
    if end == high < len(text) and not text[high].isspace():
        end = next((i for i in range(high - 1, last - 1, -1) if text[i].isspace()), last)
    while start < first and text[start].isspace():
        start += 1
    while end > last and text[end - 1].isspace():
        end -= 1
    return Span(start, end)
