"""Which kind of mention it is: what training has seen of its concept and its string, and whether its string is a shared name."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from syncabel.evaluate.protocols import Answer
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document

__all__ = ["Seen", "canonical_answers", "shares_name"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What training has seen.

    Attributes:
        human, synthetic: canonical codes answered in documents of each kind.
        strings: mention texts of human documents, folded (`text.fold`).
    """

    human: frozenset[str] = frozenset()
    synthetic: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()

    @classmethod
    def of(cls, human: Iterable[Document], synthetic: Iterable[Document], kb: KnowledgeBase) -> "Seen":
        """Collect it from training documents."""
        human = list(human)
        strings = frozenset(fold(mention.text) for document in human for mention in document.mentions)
        return cls(_codes(human, kb), _codes(synthetic, kb), strings)

    def concept(self, answers: Sequence[Answer]) -> str:
        """`human` where all codes of an answer were seen in human documents, `synthetic_only` where in either kind, else `neither`."""
        if any(answer <= self.human for answer in answers):
            return "human"
        return "synthetic_only" if any(answer <= self.human | self.synthetic for answer in answers) else "neither"

    def string(self, text: str) -> str:
        """`seen` where a mention of a human training document has this text, else `unseen`."""
        return "seen" if fold(text) in self.strings else "unseen"


def _codes(documents: Iterable[Document], kb: KnowledgeBase) -> frozenset[str]:
    return frozenset(kb.canonical(code) or code for document in documents for mention in document.mentions for code in mention.codes)


def canonical_answers(answers: Sequence[Sequence[str]], canonical: Callable[[str], str | None]) -> tuple[Answer, ...]:
    """Answers with every code as the knowledge base's own; unknown codes stay as they are."""
    return tuple(frozenset(canonical(code) or code for code in answer) for answer in answers)


def shares_name(text: str, kb: KnowledgeBase) -> str:
    """`shared` where the text is a name of two concepts or more, else `other`."""
    return "shared" if len(kb.codes_of(text)) > 1 else "other"
