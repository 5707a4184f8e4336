"""Which kind of mention it is: what training has seen of its concept and its string, what its string looks like, where it stands.

    group         annotated type                                                            open
    concept       human | synthetic_only | neither: where training has seen the gold concept
    string        seen | unseen: a human training mention has this text, case and width aside
    pair          seen | unseen: with this very answer
    cell          the four of concept (human or not) x mention seen or not
    name          shared | other: the text is a name of two concepts or more
    match         preferred | name | none: the text is the gold concept's preferred name, another of its names, no name of it
    length        words: 1, 2, 3, >3
    abbreviation  abbreviation | other: capitals, digits and hyphens only, two at least; or a short form its document defines
    frequency     human training mentions of the gold concept: 0, 1-4, 5-19, 20+
    frequent      top100 | rest: one of the 100 concepts most frequent in human training mentions
    occurrence    first | later: of this answer in the document
    composite     simple | composite: an answer has several codes
    language      of the document                                                            open

A closed kind always shows all its values, with n = 0 where there is no such mention.  An answer of several codes is as seen, as frequent
as the least of them; alternatives count as the best of them.  Codes are canonical on both sides.  Where no training documents are given, the kinds
that ask for them are not there: a mention is not unseen because nobody said what was seen.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from syncabel.evaluate.protocols import Answer
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document, Mention

__all__ = ["STRATA", "UNTYPED", "Seen", "canonical_answers", "later_mentions", "shares_name", "strata_of"]

UNTYPED = "(no type)"  # the group of mentions whose type was not annotated
MOST_FREQUENT = 100
_ABBREVIATION = re.compile(r"[A-Z0-9\-]{2,}")  # the published pattern

CELLS = {
    (True, True): "concept seen, mention seen",
    (True, False): "concept seen, mention unseen",
    (False, True): "concept unseen, mention seen",
    (False, False): "concept unseen, mention unseen",
}
# Kind -> its values in the order they are shown; () where the corpus decides which there are.
STRATA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "group": (),
        "concept": ("human", "synthetic_only", "neither"),
        "string": ("seen", "unseen"),
        "pair": ("seen", "unseen"),
        "cell": tuple(CELLS.values()),
        "name": ("shared", "other"),
        "match": ("preferred", "name", "none"),
        "length": ("1", "2", "3", ">3"),
        "abbreviation": ("abbreviation", "other"),
        "frequency": ("0", "1-4", "5-19", "20+"),
        "frequent": ("top100", "rest"),
        "occurrence": ("first", "later"),
        "composite": ("simple", "composite"),
        "language": (),
    }
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What training has seen.

    Attributes:
        human, synthetic: canonical codes answered in documents of each kind.
        strings: mention texts of human documents, folded (`text.fold`).
        pairs: (answer, folded text) of human mentions.
        counts: canonical code -> human mentions that answer it.
        frequent: the 100 codes with the highest counts; ties by code.
    """

    human: frozenset[str] = frozenset()
    synthetic: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    pairs: frozenset[tuple[Answer, str]] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)
    frequent: frozenset[str] = frozenset()

    @classmethod
    def of(cls, human: Iterable[Document], synthetic: Iterable[Document], kb: KnowledgeBase) -> "Seen":
        """Collect it from training documents."""
        human = list(human)
        canonical = cache(kb.canonical)
        rows = list(_answered(human, canonical))
        strings = frozenset(fold(mention.text) for document in human for mention in document.mentions)
        counts = Counter(code for _, answers in rows for code in frozenset().union(*answers))
        pairs = frozenset((answer, fold(mention.text)) for mention, answers in rows for answer in answers)
        made = frozenset(code for _, answers in _answered(synthetic, canonical) for answer in answers for code in answer)
        frequent = sorted(counts, key=lambda code: (-counts[code], code))[:MOST_FREQUENT]
        return cls(frozenset(counts), made, strings, pairs, dict(counts), frozenset(frequent))

    def concept(self, answers: Sequence[Answer]) -> str:
        """`human` where all codes of an answer were seen in human documents, `synthetic_only` where in either kind, else `neither`."""
        if any(answer <= self.human for answer in answers):
            return "human"
        return "synthetic_only" if any(answer <= self.human | self.synthetic for answer in answers) else "neither"

    def string(self, text: str) -> str:
        """`seen` where a mention of a human training document has this text, else `unseen`."""
        return "seen" if fold(text) in self.strings else "unseen"

    def pair(self, answers: Sequence[Answer], text: str) -> str:
        """`seen` where a mention of a human training document has this text and one of the answers, else `unseen`."""
        return "seen" if any((answer, fold(text)) in self.pairs for answer in answers) else "unseen"

    def cell(self, answers: Sequence[Answer], text: str) -> str:
        """The cell of concept in human training data or not, and mention string seen or not."""
        return CELLS[self.concept(answers) == "human", self.string(text) == "seen"]

    def frequency(self, answers: Sequence[Answer]) -> str:
        """The band of how many human training mentions have the gold concept.

        >>> seen = Seen(counts={"D1": 4, "D2": 30})
        >>> [seen.frequency([frozenset(codes)]) for codes in (["D1"], ["D2"], ["D1", "D2"], ["D9"])]
        ['1-4', '20+', '1-4', '0']
        """
        count = max(min(self.counts.get(code, 0) for code in answer) for answer in answers)
        return next(band for least, band in ((20, "20+"), (5, "5-19"), (1, "1-4"), (0, "0")) if count >= least)

    def most_frequent(self, answers: Sequence[Answer]) -> str:
        """`top100` where all codes of an answer are among the most frequent, else `rest`."""
        return "top100" if any(answer <= self.frequent for answer in answers) else "rest"


def _answered(documents: Iterable[Document], canonical: Callable[[str], str | None]) -> Iterator[tuple[Mention, tuple[Answer, ...]]]:
    for document in documents:
        for mention in document.mentions:
            if mention.answers:
                yield mention, canonical_answers(mention.answers, canonical)


def strata_of(document: Document, mention: Mention, answers: Sequence[Answer], later: bool, seen: Seen | None, kb: KnowledgeBase) -> dict[str, str]:
    """Kind -> value of one mention; for one that is not in the knowledge base only the kinds that do not ask for its concept.

    Args:
        document, mention: the mention.
        answers: gold, canonical codes; none for NIL.
        later: whether its document names the same before it.
        seen: what training has seen; None where that is not known.
        kb: knows names.
    """
    of_text = {
        "group": mention.type or UNTYPED,
        **({"string": seen.string(mention.text)} if seen else {}),
        "name": shares_name(mention.text, kb),
        "length": words_of(mention.text),
        "abbreviation": looks_abbreviated(document, mention.text),
        "language": document.language,
    }
    if not answers:
        return of_text
    of_training = (
        {
            "concept": seen.concept(answers),
            "pair": seen.pair(answers, mention.text),
            "cell": seen.cell(answers, mention.text),
            "frequency": seen.frequency(answers),
            "frequent": seen.most_frequent(answers),
        }
        if seen
        else {}
    )
    of_concept = {
        "match": matches(mention.text, answers, kb),
        "occurrence": "later" if later else "first",
        "composite": "composite" if any(len(answer) > 1 for answer in answers) else "simple",
    }
    return of_text | of_training | of_concept


def canonical_answers(answers: Sequence[Sequence[str]], canonical: Callable[[str], str | None]) -> tuple[Answer, ...]:
    """Answers with every code as the knowledge base's own; unknown codes stay as they are."""
    return tuple(frozenset(canonical(code) or code for code in answer) for answer in answers)


def later_mentions(document: Document, answers: Mapping[str, Sequence[Answer]]) -> frozenset[str]:
    """Ids of the mentions one of whose answers a mention before them has, in text order.

    Args:
        document: with its mentions in any order.
        answers: mention id -> gold, canonical codes.
    """
    named: set[Answer] = set()
    later = set()
    for mention in sorted(document.mentions, key=lambda mention: (mention.start, mention.end)):
        found = answers.get(mention.id, ())
        if not named.isdisjoint(found):
            later.add(mention.id)
        named.update(found)
    return frozenset(later)


def shares_name(text: str, kb: KnowledgeBase) -> str:
    """`shared` where the text is a name of two concepts or more, else `other`."""
    return "shared" if len(kb.codes_of(text)) > 1 else "other"


def matches(text: str, answers: Sequence[Answer], kb: KnowledgeBase) -> str:
    """`preferred` where the text is the preferred name of a gold concept, `name` where it is another name of one, else `none`."""
    named = frozenset().union(*answers).intersection(kb.codes_of(text))
    if any(fold(kb.concept(code).preferred_name) == fold(text) for code in named):
        return "preferred"
    return "name" if named else "none"


def words_of(text: str) -> str:
    """How many words, parted by white space, up to 3.

    >>> words_of("breast cancer"), words_of("type 2 diabetes mellitus")
    ('2', '>3')
    """
    words = len(text.split())
    return str(words) if words <= 3 else ">3"


def looks_abbreviated(document: Document, text: str) -> str:
    """`abbreviation` for capitals, digits and hyphens only, two at least, and for a short form the document defines; else `other`."""
    return "abbreviation" if _ABBREVIATION.fullmatch(text) or document.long_form(text) is not None else "other"
