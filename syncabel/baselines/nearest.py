"""What retrieval baselines share: every name and training mention is a string of an answer, an answer scores as its nearest string."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from syncabel.baselines.base import Codes, LinkingRanker, Vocabulary, answers_of, key_of
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document, Prediction, Query

__all__ = ["NearestString"]

_SCORES_AT_ONCE = 16_000_000  # float32 similarities held at a time: 64 MB, whatever the size of the knowledge base


class NearestString(LinkingRanker):
    """Answers by their string nearest to the mention.  A subclass says only how similar texts are to the strings.

    Args:
        kb: its names are the strings to compare with, folded.
        documents: training documents, whose mentions are compared with too; none for names alone.
        long_forms: compare short forms by their long forms.
    """

    def __init__(self, kb: KnowledgeBase, documents: Iterable[Document] = (), *, long_forms: bool = True) -> None:
        self._vocabulary, self._long_forms = Vocabulary.of(kb), long_forms
        strings = {((concept.code,), fold(name.text)) for concept in kb.concepts() for name in concept.names}
        rows = sorted(strings | {(codes, key) for key, codes in answers_of(documents, kb, long_forms)})
        self._answers: list[Codes] = sorted({codes for codes, _ in rows})
        self._strings = [text for _, text in rows]
        self._starts = _run_starts([codes for codes, _ in rows])
        self._allowed: dict[tuple[str, ...], NDArray[np.bool_]] = {}

    @abstractmethod
    def similarities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """How similar folded texts are to each string; 0 or less is not similar at all. Shape: (texts × strings)."""

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query, of those that are similar at all; `log_prob` is the log of the similarity."""
        keys = [key_of(query.document, query.mention, self._long_forms) for query in queries]
        # A mention comes several times in its document: each text is compared once.
        texts = list(dict.fromkeys(keys))
        waiting: dict[str, list[int]] = {text: [] for text in texts}
        for i, key in enumerate(keys):
            waiting[key].append(i)
        results: list[list[Prediction]] = [[] for _ in queries]
        block = max(1, _SCORES_AT_ONCE // len(self._strings))
        for start in range(0, len(texts), block):
            batch = texts[start : start + block]
            scores = self.similarities(batch)
            best = np.maximum.reduceat(scores, self._starts[:-1], axis=1)  # Shape: (texts × answers).
            for row, text in enumerate(batch):
                for i in waiting[text]:
                    results[i] = self._best(queries[i], scores[row], best[row], k)
        return results

    def _best(self, query: Query, scores: NDArray[np.float32], best: NDArray[np.float32], k: int) -> list[Prediction]:
        """The k best answers of one query.  Shapes: scores (strings,), best (answers,)."""
        if query.groups:
            best = np.where(self._in_groups(query.groups), best, np.float32(0))
        # Of a million answers few share a word with the mention, and partition is slow where most values are equal.
        near = np.flatnonzero(best > 0)
        if k < len(near):
            # Everything that ties with the k-th stays until the answers' order has decided.
            least = np.partition(best[near], len(near) - k)[len(near) - k]
            near = near[best[near] >= least]
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
