"""What a corpus holds, how much of it a knowledge base can answer, and what its splits share."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from syncabel.corpora.corpus import Corpus
from syncabel.sentences import sentences
from syncabel.text import fold
from syncabel.types import Document, Mention

if TYPE_CHECKING:  # training reads documents on machines without the knowledge base's libraries
    from syncabel.kb import KnowledgeBase

__all__ = ["LEAST_WORDS", "CorpusCheck", "Figures", "KBCheck", "Overlap", "TypeRow", "check_corpus", "overlaps_between"]

LEAST_WORDS = 6  # a shared sentence of fewer words ("Informed consent was obtained.") tells no one anything
UNSPLIT = "no split"
GIVEN = "training documents given"
_ORDER = (GIVEN, "train", "dev", "test", UNSPLIT)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts over some of the mentions.

    Attributes:
        documents: with at least one of them; of a split, all.
        mentions: how many; annotated + nil + unannotated.
        annotated: with at least one code.
        nil: annotated as not in the vocabulary.
        unannotated: without annotation.
        codes: distinct, as the corpus writes them.
        codes_in_kb: of these, known to the knowledge base, alternative codes included; None without one.
        mentions_in_kb: annotated ones with an answer all of whose codes it knows; None without one.
    """

    documents: int
    mentions: int
    annotated: int
    nil: int
    unannotated: int
    codes: int
    codes_in_kb: int | None
    mentions_in_kb: int | None


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One row of the table from types to groups.

    Attributes:
        groups: of the knowledge base, that a mention of the type is looked for in; empty where the table does not know the type.
        annotated: mentions of the type with a code.
        reachable: of these, with an answer whose concepts are all in the knowledge base and in one of the groups.
    """

    groups: tuple[str, ...]
    annotated: int
    reachable: int


@dataclass(frozen=True, slots=True)
class KBCheck:
    """The codes of a corpus against a knowledge base.  Codes are counted as the corpus writes them, each once.

    Attributes:
        canonical: codes of concepts.
        alternative: codes that stand for a concept one to one.
        retired_codes: retired ones without one successor, with their mentions, most frequent first.
        unknown_codes: the others, likewise.  canonical + alternative + retired + unknown = codes.
        sharing_names: codes in the knowledge base with a name that another concept has too.
        only_shared_names: of these, codes without a name of their own.
        mentions_sharing_names: mentions with such a code (of `sharing_names`) in an answer.
        mentions_with_shared_surface: annotated mentions whose very text is a name of two concepts or more.
        types: annotated type -> its row; "" for mentions without type, which are looked for everywhere.
        ceiling: fraction in [0, 1] of the annotated mentions that are reachable under the table; None without a table.
        groups: figures per group of the knowledge base, by the gold concepts' groups.
    """

    canonical: int
    alternative: int
    retired_codes: Mapping[str, int]
    unknown_codes: Mapping[str, int]
    sharing_names: int
    only_shared_names: int
    mentions_sharing_names: int
    mentions_with_shared_surface: int
    types: Mapping[str, TypeRow]
    ceiling: float | None
    groups: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two parts share, counted in documents of the second.

    Attributes:
        first, second: splits, or the training documents given.
        ids: documents whose id the first part has too.
        texts: whose text it has.
        sentence_documents: with a sentence it has, case, white space and punctuation aside, of at least LEAST_WORDS words.
        sentences: distinct sentences shared.
        documents: with any of these.
    """

    first: str
    second: str
    ids: int
    texts: int
    sentence_documents: int
    sentences: int
    documents: int


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """What a corpus holds.

    Attributes:
        documents, mentions, annotated, nil, unannotated, codes, codes_in_kb, mentions_in_kb: as in `Figures`.
        composite: annotated mentions with an answer of several codes.
        alternatives: annotated mentions with several answers.
        discontinuous: mentions of several fragments.
        abbreviations: definitions of short forms found.
        offset_errors: rows left out because their offsets do not fit.
        duplicates: rows left out because they, or their document, came before.
        duplicate_texts: documents whose text another one before them has.
        leaks: documents that share id, text or a sentence with a split trained on before them; each once, see `overlaps`.
        rejections: rows left out, by reason.
        splits: figures per split.
        types: figures per annotated type, "" for none.
        overlaps: one for each two parts.
        kb: against the knowledge base, or None without one.
    """

    documents: int
    mentions: int
    annotated: int
    nil: int
    unannotated: int
    composite: int
    alternatives: int
    discontinuous: int
    abbreviations: int
    codes: int
    codes_in_kb: int | None
    mentions_in_kb: int | None
    offset_errors: int
    duplicates: int
    duplicate_texts: int
    leaks: int
    rejections: Mapping[str, int]
    splits: Mapping[str, Figures]
    types: Mapping[str, Figures]
    overlaps: tuple[Overlap, ...]
    kb: KBCheck | None


def check_corpus(
    corpus: Corpus,
    kb: "KnowledgeBase | None" = None,
    train: Sequence[Document] = (),
    type_table: Mapping[str, Sequence[str]] | None = None,
) -> CorpusCheck:
    """Count a corpus, look its codes up, and compare its splits.

    Args:
        corpus: what a reader handed back.
        kb: a knowledge base to look codes up in.
        train: training documents that are no part of the corpus, to find leaks from.
        type_table: annotated type -> groups of the knowledge base; gives the ceiling.
    """
    everything = list(corpus.mentions())
    found = _figures(everything, kb, len(corpus))
    overlaps, leaks = overlaps_between(_parts(corpus.documents, train))
    rejections = Counter(rejection.reason for rejection in corpus.rejections)
    texts = Counter(document.text for document in corpus)
    return CorpusCheck(
        documents=found.documents,
        mentions=found.mentions,
        annotated=found.annotated,
        nil=found.nil,
        unannotated=found.unannotated,
        composite=sum(any(len(answer) > 1 for answer in mention.answers or ()) for _, mention in everything),
        alternatives=sum(len(mention.answers or ()) > 1 for _, mention in everything),
        discontinuous=sum(len(mention.spans) > 1 for _, mention in everything),
        abbreviations=sum(len(document.abbreviations) for document in corpus),
        codes=found.codes,
        codes_in_kb=found.codes_in_kb,
        mentions_in_kb=found.mentions_in_kb,
        offset_errors=rejections["offset"],
        duplicates=rejections["duplicate"],
        duplicate_texts=sum(count - 1 for count in texts.values()),
        leaks=leaks,
        rejections=dict(rejections.most_common()),
        splits=_figures_by(everything, lambda document, _: (document.split or UNSPLIT,), kb, _split_sizes(corpus)),
        types=_figures_by(everything, lambda _, mention: (mention.type or "",), kb),
        overlaps=overlaps,
        kb=_against(everything, kb, type_table) if kb is not None else None,
    )


Pair = tuple[Document, Mention]


def _figures(pairs: Sequence[Pair], kb: "KnowledgeBase | None", documents: int) -> Figures:
    annotated = [mention for _, mention in pairs if mention.answers]
    codes = {code for mention in annotated for code in mention.codes}
    known = {code for code in codes if kb is not None and kb.canonical(code) is not None}
    return Figures(
        documents=documents,
        mentions=len(pairs),
        annotated=len(annotated),
        nil=sum(mention.answers == () for _, mention in pairs),
        unannotated=sum(mention.answers is None for _, mention in pairs),
        codes=len(codes),
        codes_in_kb=len(known) if kb is not None else None,
        mentions_in_kb=sum(any(known.issuperset(answer) for answer in mention.answers or ()) for mention in annotated) if kb is not None else None,
    )


def _figures_by(
    pairs: Sequence[Pair], keys: Callable[[Document, Mention], Iterable[str]], kb: "KnowledgeBase | None", documents: Mapping[str, int] | None = None
) -> dict[str, Figures]:
    """Figures for the mentions of each key, keys sorted; documents counted here unless given."""
    parts: dict[str, list[Pair]] = defaultdict(list)
    for document, mention in pairs:
        for key in keys(document, mention):
            parts[key].append((document, mention))
    counted = {key: len({document.id for document, _ in part}) for key, part in parts.items()} if documents is None else documents
    return {key: _figures(parts.get(key, []), kb, count) for key, count in sorted(counted.items())}


def _split_sizes(corpus: Corpus) -> Counter[str]:
    return Counter(document.split or UNSPLIT for document in corpus)


def _against(pairs: Sequence[Pair], kb: "KnowledgeBase", table: Mapping[str, Sequence[str]] | None) -> KBCheck:
    counts = Counter(code for _, mention in pairs for code in mention.codes)
    current = {code: kb.canonical(code) for code in counts}
    retired = {code: n for code, n in counts.most_common() if current[code] is None and kb.retired(code)}
    concepts = {code: kb.concept(own) for code, own in current.items() if own is not None}
    groups = {code: concept.groups for code, concept in concepts.items()}

    @cache
    def shared(name: str) -> bool:
        return len(kb.codes_of(name)) > 1

    with_shared = {code for code, concept in concepts.items() if any(shared(name.text) for name in concept.names)}
    types = _type_rows(pairs, groups, table) if table is not None else {}
    annotated = sum(row.annotated for row in types.values())
    return KBCheck(
        canonical=sum(own == code for code, own in current.items()),
        alternative=sum(own not in (None, code) for code, own in current.items()),
        retired_codes=retired,
        unknown_codes={code: n for code, n in counts.most_common() if current[code] is None and code not in retired},
        sharing_names=len(with_shared),
        only_shared_names=sum(all(shared(name.text) for name in concepts[code].names) for code in with_shared),
        mentions_sharing_names=sum(not with_shared.isdisjoint(mention.codes) for _, mention in pairs),
        mentions_with_shared_surface=sum(shared(mention.text) for _, mention in pairs if mention.answers),
        types=types,
        ceiling=sum(row.reachable for row in types.values()) / annotated if annotated else None,
        groups=_figures_by(pairs, lambda _, mention: sorted({group for code in mention.codes for group in groups.get(code, ())}), kb),
    )


def _type_rows(pairs: Sequence[Pair], groups: Mapping[str, tuple[str, ...]], table: Mapping[str, Sequence[str]]) -> dict[str, TypeRow]:
    annotated, reachable = Counter[str](), Counter[str]()
    for _, mention in pairs:
        if mention.answers:
            kind = mention.type or ""
            allowed = set(table.get(kind, ())) if mention.type is not None else None
            annotated[kind] += 1
            reachable[kind] += any(all(_within(groups.get(code), allowed) for code in answer) for answer in mention.answers)
    return {kind: TypeRow(tuple(table.get(kind, ())), annotated[kind], reachable[kind]) for kind in sorted(annotated)}


def _within(groups: tuple[str, ...] | None, allowed: set[str] | None) -> bool:
    return groups is not None and (allowed is None or not allowed.isdisjoint(groups))


def _parts(documents: Sequence[Document], train: Sequence[Document]) -> dict[str, list[Document]]:
    """The parts that could leak into each other, those trained on first."""
    parts: dict[str, list[Document]] = {name: [] for name in _ORDER}
    parts[GIVEN] += train
    for document in documents:
        parts[document.split or UNSPLIT].append(document)
    return {name: part for name, part in parts.items() if part}


def overlaps_between(parts: Mapping[str, Sequence[Document]]) -> tuple[tuple[Overlap, ...], int]:
    """What each two parts share.

    Args:
        parts: name -> documents; of two, the first is taken to be the one trained on.

    Returns:
        One overlap for each pair, in order, and the number of documents that share anything with a part before theirs, each once.
    """
    if len(parts) < 2:
        return (), 0
    known = {name: {document.id: set(_normalised(document)) for document in part} for name, part in parts.items()}
    found, leaked = list[Overlap](), set[tuple[str, str]]()
    for first, second in combinations(parts, 2):
        ids, texts = {document.id for document in parts[first]}, {document.text for document in parts[first]}
        before = set().union(*known[first].values())
        same_id = {document.id for document in parts[second] if document.id in ids}
        same_text = {document.id for document in parts[second] if document.text in texts}
        shared = {document_id: lines & before for document_id, lines in known[second].items() if lines & before}
        any_of = same_id | same_text | set(shared)
        leaked |= {(second, document_id) for document_id in any_of}
        distinct = set[str]().union(*shared.values())
        found.append(Overlap(first, second, len(same_id), len(same_text), len(shared), len(distinct), len(any_of)))
    return tuple(found), len(leaked)


def _normalised(document: Document) -> Iterator[str]:
    """A document's sentences as they are compared, those too short to tell left out."""
    for span in sentences(document.text, document.language):
        words = _WORD.findall(fold(document.surface(span)))
        if len(words) >= LEAST_WORDS:
            yield " ".join(words)
