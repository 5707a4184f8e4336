"""What readers of stand-off annotation share: is the text at these offsets the mention's, which codes are its answers, what a file's bytes say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from syncabel.errors import UnknownNameError
from syncabel.types import NO_CODE, Span, Split

__all__ = ["HINTS", "NIL", "Locator", "Seen", "Several", "answers_from", "as_several", "repeated", "same_text"]

Seen = dict[str, Split | None]  # ids of the documents read so far, from this file or others, with the split of each

Several = Literal["alternatives", "together"]
NIL = frozenset({NO_CODE, "-1", "CUI-less", "CUI_less"})  # how the field's corpora write that a concept is not in the vocabulary
HINTS = 20  # per document
_NEAR = 2_000  # code points around wrong offsets that are searched first: most are off by little
_SHOWN = 200  # characters of what stands at wrong offsets
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


def repeated(seen: Seen, document_id: str, split: Split | None) -> str:
    """The reason for which a document met before is left out: `duplicate`, or `duplicate_across_splits` where it was met in another split, which is a leak.

    Of a document with rows of its own the reason is that of the document's (else its first) row, once a document; the other rows are `duplicate`.
    """
    return "duplicate" if seen[document_id] == split else "duplicate_across_splits"


def same_text(surface: str, found: str) -> bool:
    """Whether an annotation row's surface is the text found at its offsets.

    A row cannot hold a line end or a tab, and writers put a space there; spaces around the surface are the column's.
    """
    surface, found = surface.strip(), found.strip()  # lengths first: offsets over all of a text would have it translated for each row
    return len(surface) == len(found) and surface.translate(_FLAT) == found.translate(_FLAT)


@dataclass(slots=True)
class Locator:
    """Puts mentions into one document's text; one for all of its mentions, so that what depends on the text alone is done once.

    Attributes:
        text: the document's.
        hints_left: how many more mentions are told where else they stand: the search may read the whole text, and a document whose offsets
            are all off would be read once a row.
    """

    text: str
    hints_left: int = HINTS
    _flat: str | None = None

    def spans(self, offsets: Iterable[tuple[int, int]], surface: str) -> tuple[Span, ...] | str:
        """The spans of a mention in text order, or what is wrong with its offsets.

        Args:
            offsets: half-open code-point ranges of the fragments, in the order in which the surface names them.
            surface: the mention as its row spells it, fragments joined by one space.
        """
        given, text = tuple(offsets), self.text
        if not given or any(not 0 <= start < end <= len(text) for start, end in given):
            return self.instead(given, surface)
        ordered = sorted(given)
        if any(earlier[1] > later[0] for earlier, later in pairwise(ordered)):
            return "its fragments overlap"
        if not any(same_text(surface, " ".join(text[start:end] for start, end in fragments)) for fragments in (given, ordered)):
            return self.instead(given, surface)
        return tuple(Span(start, end) for start, end in ordered)

    def instead(self, offsets: Sequence[tuple[int, int]], surface: str) -> str:
        """What the text has at the offsets, and the nearest place where the surface does stand."""
        held = ", ".join(f"{start}–{end} hold {self._held(start, end)}" for start, end in offsets)
        return f"offsets {held or '(none)'}; {self._hint(surface.translate(_FLAT).strip(), offsets[0][0] if offsets else 0)}"

    def _held(self, start: int, end: int) -> str:
        shown = self.text[max(start, 0) : max(end, 0)][:_SHOWN]
        return repr(shown) + ("…" if min(end, len(self.text)) - start > _SHOWN else "")

    def _hint(self, wanted: str, start: int) -> str:
        if not wanted:
            return "it occurs nowhere"
        if self.hints_left == 0:
            return f"where it stands instead is said of the first {HINTS} of a document"
        self.hints_left -= 1
        near = self._nearest(wanted, start)
        return "it occurs nowhere" if near is None else f"it stands at {near}–{near + len(wanted)}"

    def _nearest(self, wanted: str, start: int) -> int | None:
        if self._flat is None:
            self._flat = self.text.translate(_FLAT)
        start = min(max(start, 0), len(self._flat))
        for reach in (_NEAR, len(self._flat)):
            after = self._flat.find(wanted, start, start + reach + len(wanted))
            before = self._flat.rfind(wanted, max(start - reach, 0), start + len(wanted) - 1)
            if found := [place for place in (before, after) if place >= 0]:
                return min(found, key=lambda place: abs(place - start))
        return None


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
