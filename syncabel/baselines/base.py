"""What baselines share: ranking and linking, what a mention is looked up by, the answers of training mentions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document, LinkedMention, Mention, Prediction, Query, Ranker

__all__ = ["Codes", "LinkingRanker", "Vocabulary", "answers_of", "apply", "key_of", "linked", "rank_all"]

Codes = tuple[str, ...]  # one code, or the several of a composite answer, sorted
GroupsOf = Callable[[str | None], tuple[str, ...]]

_AT_ONCE = 512


class LinkingRanker(ABC):
    """Ranks concepts for mentions, and so links documents: the protocols `Ranker` and `Linker` for the price of the first."""

    __slots__ = ()

    @abstractmethod
    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k predictions a query, best first, one per concept; an empty list abstains."""

    def link(self, documents: Iterable[Document], groups_of: GroupsOf | None = None, k: int = 5) -> Iterator[LinkedMention]:
        """Link every mention of documents, in order.

        Args:
            documents: what to link.
            groups_of: from a mention's annotated type to the groups its answer must come from (`TypeMap.of`); None: no restriction.
            k: most answers a mention.
        """
        yield from linked(self, documents, groups_of, k)


def linked(ranker: Ranker, documents: Iterable[Document], groups_of: GroupsOf | None = None, k: int = 1) -> Iterator[LinkedMention]:
    """One result per mention, in document and mention order; a few hundred mentions are ranked at a time.  Arguments are those of `apply`."""
    queries = (Query(document, mention, groups_of(mention.type) if groups_of else ()) for document in documents for mention in document.mentions)
    while batch := list(islice(queries, _AT_ONCE)):
        yield from map(_linked, batch, ranker.rank(batch, k))


def apply(ranker: Ranker, documents: Iterable[Document], groups_of: GroupsOf | None = None, k: int = 1) -> list[LinkedMention]:
    """Rank concepts for every mention of documents.

    Args:
        ranker: any ranker.
        documents: what to link.
        groups_of: from a mention's annotated type to the groups its answer must come from (`TypeMap.of`); None: no restriction.
        k: most answers a mention.

    Returns:
        One result per mention, in document and mention order.
    """
    return list(linked(ranker, documents, groups_of, k))


def rank_all(ranker: Ranker, queries: Sequence[Query], k: int = 1, batch_size: int = _AT_ONCE) -> list[LinkedMention]:
    """Rank concepts for queries, `batch_size` handed over at a time; one result each, in order."""
    ranked = [found for start in range(0, len(queries), batch_size) for found in ranker.rank(queries[start : start + batch_size], k)]
    return [_linked(query, found) for query, found in zip(queries, ranked, strict=True)]


def _linked(query: Query, predictions: Sequence[Prediction]) -> LinkedMention:
    mention = query.mention
    return LinkedMention(query.document.id, mention.id, mention.text, mention.start, mention.end, query.groups, tuple(predictions))


def key_of(document: Document, mention: Mention, long_forms: bool) -> str:
    """What a mention is looked up by: its text, or the long form its document gives for it, folded."""
    return fold((long_forms and document.long_form(mention.text)) or mention.text)


def answers_of(documents: Iterable[Document], kb: KnowledgeBase, long_forms: bool) -> Iterator[tuple[str, Codes]]:
    """(key, answer) of every annotated mention; an answer with a code the knowledge base does not have teaches nothing."""
    for document in documents:
        for mention in document.mentions:
            for answer in mention.answers or ():
                codes = {kb.canonical(code) for code in answer}
                known = {code for code in codes if code is not None}
                if known and len(known) == len(codes):
                    yield key_of(document, mention, long_forms), tuple(sorted(known))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Preferred name and groups of every concept, so that ranking asks the tables nothing."""

    names: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, kb: KnowledgeBase) -> "Vocabulary":
        """That of a knowledge base."""
        names, groups = {}, {}
        for concept in kb.concepts():
            names[concept.code], groups[concept.code] = concept.preferred_name, frozenset(concept.groups)
        return cls(names, groups)

    def allows(self, codes: Codes, groups: Sequence[str]) -> bool:
        """Whether every code is in one of the groups; no groups allow everything."""
        return not groups or all(not self.groups[code].isdisjoint(groups) for code in codes)

    def name(self, codes: Codes) -> str:
        """Preferred names, joined for a composite answer."""
        return " + ".join(self.names[code] for code in codes)
