"""What every generated sentence must be: pure functions `(document, concept, kb) -> str | None`, the reason or None.

They need neither a threshold nor a model.  `reason_against` is what the template writer is judged by.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from data_gen.mentions import initials
from syncabel.text import control_character, fold, has_markup
from syncabel.types import Concept, Document

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = [
    "GATES",
    "Gate",
    "bracket",
    "control",
    "mention_absent",
    "mention_empty",
    "mention_is_other_concept",
    "reason_against",
    "same_sentence",
    "too_long",
]

Gate = Callable[[Document, Concept, "KnowledgeBase"], str | None]
MAX_TEXT, MAX_MENTION = 1000, 150  # code points
_BRACKETED = re.compile(r"[\[{][^\[\]{}]*[\]}]")


def mention_absent(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:  # noqa: ARG001
    """No mention of the concept it was written for."""
    return None if any(concept.code in mention.codes for mention in document.mentions) else "mention_absent"


def mention_empty(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:  # noqa: ARG001
    """A mention without a letter or a digit."""
    return None if all(any(c.isalnum() for c in mention.text) for mention in document.mentions) else "mention_empty"


def too_long(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:  # noqa: ARG001
    """More than MAX_TEXT code points of text, or MAX_MENTION of mention."""
    fits = len(document.text) <= MAX_TEXT and all(len(mention.text) <= MAX_MENTION for mention in document.mentions)
    return None if fits else "too_long"


def bracket(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:
    """Brackets or braces, which mark mentions elsewhere, other than those of the concept's and its parents' own names."""
    if not has_markup(document.text):
        return None
    concepts = [concept, *(kb.concept(parent) for parent in concept.parents if parent in kb)]
    own = {piece for each in concepts for name in each.names for piece in _bracketed(name.text)}
    return None if _bracketed(document.text) <= own else "bracket"


def _bracketed(text: str) -> set[str]:
    """The bracketed pieces of a text, folded and inner ones first ("[a]" of "benz[a]anthracene"), and brackets without a partner."""
    found: set[str] = set()
    rest = fold(text)
    while pieces := _BRACKETED.findall(rest):
        found.update(pieces)
        rest = _BRACKETED.sub("", rest)
    return found | (set(rest) & set("[]{}"))


def control(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:  # noqa: ARG001
    """A control character other than the line end after a title."""
    return "control_character" if control_character(document.text.replace("\n", " ")) else None


def mention_is_other_concept(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:
    """The mention is exactly a name of other concepts and not of this one.

    Its own initials may be: "MS" in a heart's context is the valve's, whosever name it is.
    """
    for mention in document.mentions:
        owners = kb.codes_of(mention.text)
        if owners and not set(owners) & set(mention.codes) and not _is_own_short_form(mention.text, concept):
            return "mention_is_other_concept"
    return None


def _is_own_short_form(text: str, concept: Concept) -> bool:
    return text.isupper() and any(initials(name.text) == text for name in concept.names)


GATES: tuple[Gate, ...] = (mention_absent, mention_empty, too_long, control, bracket, mention_is_other_concept)


def reason_against(document: Document, concept: Concept, kb: "KnowledgeBase") -> str | None:
    """The first gate's reason, or None to keep the document."""
    return next((reason for gate in GATES if (reason := gate(document, concept, kb))), None)


def same_sentence(document: Document) -> tuple[str, tuple[tuple[int, int], ...]]:
    """What two documents of one concept share when the second is a duplicate: folded text and mention offsets."""
    return fold(document.text), tuple((mention.start, mention.end) for mention in document.mentions)
