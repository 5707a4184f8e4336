"""Counts over a corpus, and how much of it a knowledge base can answer."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncabel.corpora.corpus import Corpus

if TYPE_CHECKING:  # training reads documents on machines without the knowledge base's libraries
    from syncabel.kb import KnowledgeBase

__all__ = ["CorpusCheck", "check_corpus"]


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """What a corpus holds.

    Attributes:
        documents, mentions: how many were kept.
        annotated: mentions with at least one code.
        nil: mentions annotated as not in the vocabulary.
        unannotated: mentions without annotation; annotated + nil + unannotated = mentions.
        composite: annotated mentions with an answer of several codes.
        discontinuous: mentions of several fragments.
        abbreviations: definitions of short forms found.
        concepts: distinct codes as the corpus writes them.
        concepts_found: fraction in [0, 1] of these that the knowledge base knows, alternative codes included; 0 where there are none.
        mentions_found: fraction in [0, 1] of annotated mentions with an answer all of whose codes it knows; 0 where there are none.
        unknown_codes: the codes it does not know with their mentions, most frequent first.
        rejections: rows left out, by reason.
    """

    documents: int
    mentions: int
    annotated: int
    nil: int
    unannotated: int
    composite: int
    discontinuous: int
    abbreviations: int
    concepts: int
    concepts_found: float
    mentions_found: float
    unknown_codes: Mapping[str, int]
    rejections: Mapping[str, int]


def check_corpus(corpus: Corpus, kb: "KnowledgeBase") -> CorpusCheck:
    """Count a corpus and look its codes up in a knowledge base."""
    mentions = [mention for _, mention in corpus.mentions()]
    annotated = [mention for mention in mentions if mention.answers]
    codes = Counter(code for mention in annotated for code in mention.codes)
    known = {code for code in codes if kb.canonical(code) is not None}
    reachable = sum(any(known.issuperset(answer) for answer in mention.answers or ()) for mention in annotated)
    return CorpusCheck(
        documents=len(corpus.documents),
        mentions=len(mentions),
        annotated=len(annotated),
        nil=sum(mention.answers == () for mention in mentions),
        unannotated=sum(mention.answers is None for mention in mentions),
        composite=sum(any(len(answer) > 1 for answer in mention.answers or ()) for mention in annotated),
        discontinuous=sum(len(mention.spans) > 1 for mention in mentions),
        abbreviations=sum(len(document.abbreviations) for document in corpus.documents),
        concepts=len(codes),
        concepts_found=len(known) / len(codes) if codes else 0.0,
        mentions_found=reachable / len(annotated) if annotated else 0.0,
        unknown_codes={code: n for code, n in codes.most_common() if code not in known},
        rejections=dict(Counter(rejection.reason for rejection in corpus.rejections).most_common()),
    )
