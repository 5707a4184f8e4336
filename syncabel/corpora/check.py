"""What a corpus holds, how much of it a knowledge base can answer, and what its splits share."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, get_args

from syncabel.corpora.corpus import Corpus
from syncabel.errors import UnknownNameError
from syncabel.sentences import sentences
from syncabel.text import fold
from syncabel.types import Concept, Document, Mention, Rejection, Split

if TYPE_CHECKING:  # training reads documents on machines without the knowledge base's libraries
    from syncabel.kb import KnowledgeBase

__all__ = ["LEAST_WORDS", "CorpusCheck", "Figures", "KBCheck", "Overlap", "TypeRow", "check_corpus", "overlaps_between"]

LEAST_WORDS = 6  # a shared sentence of fewer words ("Informed consent was obtained.") tells no one anything
UNSPLIT = "no split"
GIVEN = "training documents given"
ACROSS = "duplicate_across_splits"  # the readers' reason for a document whose id another split has: it is no document of the corpus, but a leak
_ORDER = (GIVEN, "train", "dev", "test", UNSPLIT)
_SPLIT_NAMES = frozenset(get_args(Split))
_WORD = re.compile(r"\w+")
_LINE_ENDS = re.compile(r"\n(?:[^\S\n]*\n)*")


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
        sharing_names: codes in the knowledge base with a name that another concept has too, case and width aside (`text.fold`).
        sharing_names_as_written: of these, codes of which a shared name is letter for letter the same.
        only_shared_names: of `sharing_names`, codes without a name of their own.
        mentions_sharing_names: mentions with such a code (of `sharing_names`) in an answer.
        mentions_sharing_names_as_written: likewise of `sharing_names_as_written`.
        mentions_with_shared_surface: annotated mentions whose text is a name of two concepts or more, case and width aside.
        types: annotated type -> its row; "" for mentions without type, which are looked for everywhere.
        ceiling: fraction in [0, 1] of the annotated mentions that are reachable under the table; None without a table.
        groups: figures per group of the knowledge base, by the gold concepts' groups.
    """

    canonical: int
    alternative: int
    retired_codes: Mapping[str, int]
    unknown_codes: Mapping[str, int]
    sharing_names: int
    sharing_names_as_written: int
    only_shared_names: int
    mentions_sharing_names: int
    mentions_sharing_names_as_written: int
    mentions_with_shared_surface: int
    types: Mapping[str, TypeRow]
    ceiling: float | None
    groups: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two parts share, counted in documents of the second.

    Attributes:
        first, second: splits, or the training documents given; documents that a reader left out because another split has their id
            (`duplicate_across_splits`) are a part of their own, of which nothing but the ids is known.
        ids: documents whose id the first part has too; of an id that is a path, folders named after a split do not count.
        texts: whose text it has.
        sentence_documents: with a sentence it has, case, white space, single line ends and punctuation aside, of at least LEAST_WORDS words.
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
        duplicates: rows left out because they, or their document, came before; those of documents of another split apart from the rest of them.
        duplicate_texts: documents whose text another one before them has.
        leaks: documents that share id, text or a sentence with a split trained on before them, left out for that or not; each once, see `overlaps`.
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

    Raises:
        UnknownNameError: the table names a group that the knowledge base does not have.
    """
    if kb is not None:
        _refuse_unknown_groups(type_table or {}, kb)
    everything = list(corpus.mentions())
    found = _figures(everything, kb, len(corpus))
    overlaps, leaks = overlaps_between(_parts(corpus.documents, train))
    left_out = _left_out(corpus.rejections)
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
        leaks=leaks + sum(part.documents for part in left_out),
        rejections=dict(rejections.most_common()),
        splits=_figures_by(everything, lambda document, _: (document.split or UNSPLIT,), kb, _split_sizes(corpus)),
        types=_figures_by(everything, lambda _, mention: (mention.type or "",), kb),
        overlaps=overlaps + left_out,
        kb=_against(everything, kb, type_table) if kb is not None else None,
    )


def _refuse_unknown_groups(table: Mapping[str, Sequence[str]], kb: "KnowledgeBase") -> None:
    unknown = (group for groups in table.values() for group in groups if group not in kb.groups)
    if (group := next(unknown, None)) is not None:
        raise UnknownNameError("group", group, kb.groups)


def _left_out(rejections: Sequence[Rejection]) -> tuple[Overlap, ...]:
    """The documents that readers left out because another split has their id, one rejection each."""
    count = sum(rejection.reason == ACROSS for rejection in rejections)
    return (Overlap("splits read before", ACROSS, count, 0, 0, 0, count),) if count else ()


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
    def others(name: str) -> tuple[str, ...]:
        found = kb.codes_of(name)
        return found if len(found) > 1 else ()

    def as_written(concept: Concept) -> bool:
        shared = ((name.text, code) for name in concept.names for code in others(name.text) if code != concept.code)
        return any(name == other.text for name, code in shared for other in kb.concept(code).names)

    with_shared = {code for code, concept in concepts.items() if any(others(name.text) for name in concept.names)}
    verbatim = {code for code in with_shared if as_written(concepts[code])}
    types = _type_rows(pairs, groups, table) if table is not None else {}
    annotated = sum(row.annotated for row in types.values())
    return KBCheck(
        canonical=sum(own == code for code, own in current.items()),
        alternative=sum(own not in (None, code) for code, own in current.items()),
        retired_codes=retired,
        unknown_codes={code: n for code, n in counts.most_common() if current[code] is None and code not in retired},
        sharing_names=len(with_shared),
        sharing_names_as_written=len(verbatim),
        only_shared_names=sum(all(others(name.text) for name in concepts[code].names) for code in with_shared),
        mentions_sharing_names=sum(not with_shared.isdisjoint(mention.codes) for _, mention in pairs),
        mentions_sharing_names_as_written=sum(not verbatim.isdisjoint(mention.codes) for _, mention in pairs),
        mentions_with_shared_surface=sum(bool(others(mention.text)) for _, mention in pairs if mention.answers),
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
    known = {name: {document.id: _normalised(document) for document in part} for name, part in parts.items()}
    every = {name: {key for found in of.values() for keys in found for key in keys} for name, of in known.items()}
    found, leaked = list[Overlap](), set[tuple[str, str]]()
    for first, second in combinations(parts, 2):
        ids, texts = {_base_id(document.id) for document in parts[first]}, {document.text for document in parts[first]}
        same_id = {document.id for document in parts[second] if _base_id(document.id) in ids}
        same_text = {document.id for document in parts[second] if document.text in texts}
        shared = {document_id: lines for document_id, keys in known[second].items() if (lines := _shared(keys, every[first]))}
        any_of = same_id | same_text | set(shared)
        leaked |= {(second, document_id) for document_id in any_of}
        distinct = set[str]().union(*shared.values())
        found.append(Overlap(first, second, len(same_id), len(same_text), len(shared), len(distinct), len(any_of)))
    return tuple(found), len(leaked)


def _base_id(document_id: str) -> str:
    """An id without the folders that name a split: `train/1` and `test/1` are one document dealt out twice."""
    *folders, name = document_id.split("/")
    return "/".join([*(folder for folder in folders if folder not in _SPLIT_NAMES), name])


def _normalised(document: Document) -> list[tuple[str, ...]]:
    """A document's sentences as they are compared, those too short to tell left out.

    Each is given whole, then by its pieces where it runs over single line ends or where only a mention holds it together: another copy may be
    wrapped elsewhere, its title may end without a stop, and it may be annotated otherwise.
    """
    text = _LINE_ENDS.sub(lambda ends: " " if ends.group() == "\n" else ends.group(), document.text)
    plain = sentences(text, document.language)
    found, at = list[tuple[str, ...]](), 0
    for whole in sentences(text, document.language, document.mentions):
        pieces = []
        while at < len(plain) and plain[at].end <= whole.end:
            pieces += [text[plain[at].start : plain[at].end], *document.surface(plain[at]).split("\n")]
            at += 1
        keys = (_key(piece) for piece in (text[whole.start : whole.end], *pieces))
        found.append(tuple(dict.fromkeys(key for key in keys if key)))
    return [keys for keys in found if keys]


def _key(piece: str) -> str:
    """The words of a piece of text, "" where there are too few."""
    words = _WORD.findall(fold(piece))
    return " ".join(words) if len(words) >= LEAST_WORDS else ""


def _shared(sentences_of: Iterable[tuple[str, ...]], others: set[str]) -> set[str]:
    """The sentences that others have too; where one is shared whole, its pieces are not counted beside it."""
    return {key for keys in sentences_of for key in (keys[:1] if keys[0] in others else keys) if key in others}
