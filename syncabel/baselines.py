"""Baselines to put beside every score: training-mention dictionary, exact name, character TF-IDF, and the three in a row.

Each is a `Ranker`.  With `long_forms` a mention that is a short form in its document is looked up by the long form found
there, in training mentions as in queries.  None of them reads the context beyond that.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document, LinkedMention, Mention, Prediction, Query, Ranker

__all__ = ["Cascade", "CharTfidf", "ExactName", "MentionDictionary", "apply", "rank_all", "standard_baselines"]

Codes = tuple[str, ...]  # one code, or the several of a composite answer, sorted

_SCORES_AT_ONCE = 16_000_000  # float32 similarities held at a time: 64 MB, whatever the size of the knowledge base


def standard_baselines(kb: KnowledgeBase, documents: Sequence[Document], long_forms: bool = True) -> dict[str, Ranker]:
    """The baselines of every report, weakest knowledge first.

    Args:
        kb: where answers come from.
        documents: training documents; never those that are scored.
        long_forms: look short forms up by their long forms.

    Returns:
        `dictionary`, `exact`, `tfidf`, and `cascade`: the three in this order.
    """
    dictionary = MentionDictionary.fit(documents, kb, long_forms=long_forms)
    exact = ExactName(kb, long_forms=long_forms)
    tfidf = CharTfidf(kb, documents, long_forms=long_forms)
    return {"dictionary": dictionary, "exact": exact, "tfidf": tfidf, "cascade": Cascade((dictionary, exact, tfidf))}


def apply(
    ranker: Ranker,
    documents: Iterable[Document],
    groups_of: Callable[[str | None], tuple[str, ...]] | None = None,
    k: int = 1,
) -> list[LinkedMention]:
    """Rank concepts for every mention of documents.

    Args:
        ranker: any ranker.
        documents: what to link.
        groups_of: from a mention's annotated type to the groups its answer must come from (`TypeMap.of`); None: no restriction.
        k: most answers a mention.

    Returns:
        One result per mention, in document and mention order.
    """
    queries = [Query(document, mention, groups_of(mention.type) if groups_of else ()) for document in documents for mention in document.mentions]
    return rank_all(ranker, queries, k)


def rank_all(ranker: Ranker, queries: Sequence[Query], k: int = 1, batch_size: int = 512) -> list[LinkedMention]:
    """Rank concepts for queries, `batch_size` handed over at a time; one result each, in order."""
    ranked = [found for start in range(0, len(queries), batch_size) for found in ranker.rank(queries[start : start + batch_size], k)]
    return [_linked(query, found) for query, found in zip(queries, ranked, strict=True)]


def _linked(query: Query, predictions: Sequence[Prediction]) -> LinkedMention:
    mention = query.mention
    return LinkedMention(query.document.id, mention.id, mention.text, mention.start, mention.end, query.groups, tuple(predictions))


def _key(document: Document, mention: Mention, long_forms: bool) -> str:
    """What a mention is looked up by: its text, or the long form its document gives for it, folded."""
    return fold((long_forms and document.long_form(mention.text)) or mention.text)


def _answers(documents: Iterable[Document], kb: KnowledgeBase, long_forms: bool) -> Iterator[tuple[str, Codes]]:
    """(key, answer) of every annotated mention; an answer with a code the knowledge base does not have teaches nothing."""
    for document in documents:
        for mention in document.mentions:
            for answer in mention.answers or ():
                codes = {kb.canonical(code) for code in answer}
                known = {code for code in codes if code is not None}
                if known and len(known) == len(codes):
                    yield _key(document, mention, long_forms), tuple(sorted(known))


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Preferred name and groups of every concept, so that ranking asks the tables nothing."""

    names: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, kb: KnowledgeBase) -> "_Vocabulary":
        names, groups = {}, {}
        for concept in kb.concepts():
            names[concept.code], groups[concept.code] = concept.preferred_name, frozenset(concept.groups)
        return cls(names, groups)

    def allows(self, codes: Codes, groups: Sequence[str]) -> bool:
        """Whether every code is in one of the groups; no groups allow everything."""
        return not groups or all(not self.groups[code].isdisjoint(groups) for code in codes)

    def name(self, codes: Codes) -> str:
        return " + ".join(self.names[code] for code in codes)


class MentionDictionary:
    """The answers training mentions of the same text had, the most frequent first; ties by code."""

    def __init__(self, table: Mapping[str, Mapping[Codes, int]], vocabulary: _Vocabulary, long_forms: bool) -> None:
        self._table, self._vocabulary, self._long_forms = table, vocabulary, long_forms

    @classmethod
    def fit(cls, documents: Iterable[Document], kb: KnowledgeBase, *, long_forms: bool = True) -> "MentionDictionary":
        """Count the answers of training mentions by their folded text.

        Args:
            documents: training documents.
            kb: canonicalises the codes; answers it does not know are left out.
            long_forms: count and look short forms up by their long forms.
        """
        table: dict[str, Counter[Codes]] = defaultdict(Counter)
        for key, codes in _answers(documents, kb, long_forms):
            table[key][codes] += 1
        return cls(dict(table), _Vocabulary.of(kb), long_forms)

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query; `log_prob` is the log of the answer's share among the text's training mentions."""
        return [self._rank(query)[:k] for query in queries]

    def _rank(self, query: Query) -> list[Prediction]:
        counts = self._table.get(_key(query.document, query.mention, self._long_forms), {})
        total = sum(counts.values())
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        allowed = (item for item in ordered if self._vocabulary.allows(item[0], query.groups))
        return [Prediction(codes, self._vocabulary.name(codes), math.log(count / total)) for codes, count in allowed]


class ExactName:
    """The concepts that have the mention as a name: those it is the preferred name of first, then by code."""

    def __init__(self, kb: KnowledgeBase, *, long_forms: bool = True) -> None:
        self._kb, self._vocabulary, self._long_forms = kb, _Vocabulary.of(kb), long_forms

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k concepts a query; `log_prob` is 0, a name is found or not."""
        return [self._rank(query)[:k] for query in queries]

    def _rank(self, query: Query) -> list[Prediction]:
        key = _key(query.document, query.mention, self._long_forms)
        names = self._vocabulary.names
        codes = sorted(self._kb.codes_of(key), key=lambda code: (fold(names[code]) != key, code))
        return [Prediction((code,), names[code], 0.0) for code in codes if self._vocabulary.allows((code,), query.groups)]


class CharTfidf:
    """Cosine of character n-grams, TF-IDF weighted, to every name and training mention; an answer scores as its nearest string.

    Args:
        kb: its names are the strings to compare with.
        documents: training documents, whose mentions are compared with too; none for names alone.
        long_forms: compare short forms by their long forms.
        ngrams: least and greatest length, in code points.
        analyzer: `char` lets n-grams run over spaces, `char_wb` pads words and keeps within them.

    Raises:
        ConfigError: n-gram lengths that are not 1 <= least <= greatest.
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        documents: Iterable[Document] = (),
        *,
        long_forms: bool = True,
        ngrams: tuple[int, int] = (2, 4),
        analyzer: Literal["char", "char_wb"] = "char_wb",
    ) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not 1 <= ngrams[0] <= ngrams[1]:
            raise ConfigError(f"n-grams of {ngrams[0]} to {ngrams[1]} characters; give 1 <= least <= greatest")
        self._vocabulary, self._long_forms = _Vocabulary.of(kb), long_forms
        strings = {((concept.code,), fold(name.text)) for concept in kb.concepts() for name in concept.names}
        rows = sorted(strings | {(codes, key) for key, codes in _answers(documents, kb, long_forms)})
        self._answers: list[Codes] = sorted({codes for codes, _ in rows})
        self._strings = [text for _, text in rows]
        self._starts = _run_starts([codes for codes, _ in rows])
        self._allowed: dict[tuple[str, ...], NDArray[np.bool_]] = {}
        self._vectorizer: Any = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, lowercase=False, dtype=np.float32)
        self._by_gram: Any = self._vectorizer.fit_transform(self._strings).T.tocsr()  # Shape: (n-grams × strings), float32.

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query, of those that share an n-gram with it; `log_prob` is the log of the cosine."""
        block = max(1, _SCORES_AT_ONCE // len(self._strings))
        return [found for start in range(0, len(queries), block) for found in self._rank(queries[start : start + block], k)]

    def _rank(self, queries: Sequence[Query], k: int) -> list[list[Prediction]]:
        vectors = self._vectorizer.transform([_key(query.document, query.mention, self._long_forms) for query in queries])
        scores: NDArray[np.float32] = (vectors @ self._by_gram).toarray()  # Shape: (queries × strings).
        best = np.maximum.reduceat(scores, self._starts[:-1], axis=1)  # Shape: (queries × answers).
        return [self._best(query, scores[i], best[i], k) for i, query in enumerate(queries)]

    def _best(self, query: Query, scores: NDArray[np.float32], best: NDArray[np.float32], k: int) -> list[Prediction]:
        """The k best answers of one query.  Shapes: scores (strings,), best (answers,)."""
        if query.groups:
            best = np.where(self._in_groups(query.groups), best, np.float32(0))
        # Everything that ties with the k-th stays until the answers' order has decided.
        least = np.partition(best, len(best) - k)[len(best) - k] if k < len(best) else np.float32(0)
        near = np.flatnonzero((best >= least) & (best > 0))
        order = near[np.lexsort((near, -best[near]))][:k]
        return [self._prediction(int(i), scores, float(best[i])) for i in order]

    def _prediction(self, answer: int, scores: NDArray[np.float32], score: float) -> Prediction:
        start, end = self._starts[answer], self._starts[answer + 1]
        nearest = self._strings[start + int(scores[start:end].argmax())]
        return Prediction(self._answers[answer], nearest, math.log(score))

    def _in_groups(self, groups: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which answers lie in the groups. Shape: (answers,)."""
        if groups not in self._allowed:
            self._allowed[groups] = np.array([self._vocabulary.allows(codes, groups) for codes in self._answers])
        return self._allowed[groups]


def _run_starts(keys: Sequence[Codes]) -> NDArray[np.int64]:
    """Where each run of equal keys starts, and the end. Shape: (runs + 1,)."""
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    return np.array([*starts, len(keys)], np.int64)


@dataclass(frozen=True, slots=True)
class Cascade:
    """Rankers in a row: what the first leaves open the next fills up, never above what is there.

    Scores stay those of the ranker that gave the answer; only the order compares answers of different rankers.
    """

    rankers: tuple[Ranker, ...]

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query, each once."""
        results: list[list[Prediction]] = [[] for _ in queries]
        for ranker in self.rankers:
            pending = [i for i, found in enumerate(results) if len(found) < k]
            for i, more in zip(pending, ranker.rank([queries[i] for i in pending], k), strict=True):
                known = {prediction.codes for prediction in results[i]}
                results[i] = [*results[i], *(prediction for prediction in more if prediction.codes not in known)][:k]
        return results
