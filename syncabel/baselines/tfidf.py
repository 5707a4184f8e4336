"""Retrieval by character n-grams."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncabel.baselines.nearest import NearestString
from syncabel.errors import ConfigError
from syncabel.kb import KnowledgeBase
from syncabel.types import Document

__all__ = ["CharTfidf"]


class CharTfidf(NearestString):
    """Cosine of character n-grams, TF-IDF weighted, to every name and training mention; an answer scores as its nearest string.

    Args:
        kb, documents, long_forms: see `NearestString`.
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
        super().__init__(kb, documents, long_forms=long_forms)
        self._vectorizer: Any = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, lowercase=False, dtype=np.float32)
        self._by_gram: Any = self._vectorizer.fit_transform(self._strings).T.tocsr()  # Shape: (n-grams × strings), float32.

    def similarities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Cosines, 0 where no n-gram is shared. Shape: (texts × strings)."""
        scores: NDArray[np.float32] = (self._vectorizer.transform(texts) @ self._by_gram).toarray()
        return scores
