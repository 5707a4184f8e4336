"""What readers of stand-off annotation share: is the text at these offsets the mention's, which codes are its answers, what a file's bytes say."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from syncabel.errors import UnknownNameError
from syncabel.types import NO_CODE, Span

__all__ = ["NIL", "Several", "answers_from", "as_several", "located", "same_text", "where_instead"]

Several = Literal["alternatives", "together"]
NIL = frozenset({NO_CODE, "-1", "CUI-less", "CUI_less"})  # how the field's corpora write that a concept is not in the vocabulary
_FLAT = str.maketrans("\n\r\t", "   ")


def as_several(several: str) -> Several:
    """What several codes of one mention mean, checked.

    Raises:
        UnknownNameError: neither `alternatives` nor `together`.
    """
    if several == "alternatives":
        return "alternatives"
    if several == "together":
        return "together"
    raise UnknownNameError("meaning of several codes", several, ("alternatives", "together"))


def same_text(surface: str, found: str) -> bool:
    """Whether an annotation row's surface is the text found at its offsets.

    A row cannot hold a line end or a tab, and writers put a space there; spaces around the surface are the column's.
    """
    return surface.translate(_FLAT).strip() == found.translate(_FLAT).strip()


def located(text: str, offsets: Iterable[tuple[int, int]], surface: str) -> tuple[Span, ...] | str:
    """The spans of a mention in text order, or what is wrong with its offsets.

    Args:
        text: the document's.
        offsets: half-open code-point ranges of the fragments, in the order in which the surface names them.
        surface: the mention as its row spells it, fragments joined by one space.
    """
    given = tuple(offsets)
    if not given or any(not 0 <= start < end <= len(text) for start, end in given):
        return where_instead(text, given, surface)
    ordered = sorted(given)
    if any(earlier[1] > later[0] for earlier, later in pairwise(ordered)):
        return "its fragments overlap"
    if not any(same_text(surface, " ".join(text[start:end] for start, end in fragments)) for fragments in (given, ordered)):
        return where_instead(text, given, surface)
    return tuple(Span(start, end) for start, end in ordered)


def where_instead(text: str, offsets: Sequence[tuple[int, int]], surface: str) -> str:
    """What the text has at the offsets, and the nearest place where the surface does stand."""
    flat, wanted = text.translate(_FLAT), surface.translate(_FLAT).strip()
    places = [match.start() for match in re.finditer(re.escape(wanted), flat)] if wanted else []
    near = min(places, key=lambda place: abs(place - (offsets[0][0] if offsets else 0)), default=None)
    hint = "it occurs nowhere" if near is None else f"it stands at {near}–{near + len(wanted)}"
    held = ", ".join(f"{start}–{end} hold {text[max(start, 0) : max(end, 0)]!r}" for start, end in offsets)
    return f"offsets {held or '(none)'}; {hint}"


def answers_from(stated: Sequence[Sequence[str]], several: Several) -> tuple[tuple[str, ...], ...] | None:
    """The answers that a mention's normalisations state.

    Of a composite with parts outside the vocabulary, the parts inside are the answer; of alternatives, those that are inside.

    Args:
        stated: one sequence of codes per normalisation; codes of one are right together.
        several: what several normalisations mean: any one of them suffices, or all are right together.

    Returns:
        None where nothing is stated, () where only `NIL` is.
    """
    if not stated:
        return None
    groups = stated if several == "alternatives" else [[code for codes in stated for code in codes]]
    inside = [tuple(sorted({code for code in codes if code not in NIL})) for codes in groups]
    return tuple(dict.fromkeys(codes for codes in inside if codes))
