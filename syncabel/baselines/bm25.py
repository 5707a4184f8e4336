"""Retrieval by words, with the score of search engines."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncabel.baselines.nearest import NearestString
from syncabel.kb import KnowledgeBase
from syncabel.types import Document

__all__ = ["Bm25", "words_of"]

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The runs of letters and digits of a folded text: "type 2 (non-insulin)" → type, 2, non, insulin."""
    return _WORD.findall(text)


class Bm25(NearestString):
    """BM25 over the words of every name and training mention; an answer scores as its best string.

    The score of a string d for a text q is the sum over q's words w of ln(1 + (N - n_w + 0.5) / (n_w + 0.5)) · f / (f + k1 (1 - b + b |d| / a)): N strings,
    n_w of them with w, f times in d, a words in the mean string (Robertson and Zaragoza, 2009, as Lucene writes it).  It has no upper bound.

    Args:
        kb, documents, long_forms: see `NearestString`.
        k1: how fast a repeated word stops to count.
        b: how much long strings are marked down, a fraction.
    """

    def __init__(self, kb: KnowledgeBase, documents: Iterable[Document] = (), *, long_forms: bool = True, k1: float = 1.2, b: float = 0.75) -> None:
        import bm25s

        super().__init__(kb, documents, long_forms=long_forms)
        self._index: Any = bm25s.BM25(method="lucene", k1=k1, b=b)
        self._index.index([words_of(text) for text in self._strings], show_progress=False)

    def similarities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores, 0 where no word is shared. Shape: (texts × strings)."""
        scores = np.zeros((len(texts), len(self._strings)), np.float32)
        for row, text in enumerate(texts):
            # The library refuses a query without a known word.
            if known := [word for word in words_of(text) if word in self._index.vocab_dict]:
                scores[row] = self._index.get_scores(known)
        return scores
