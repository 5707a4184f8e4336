"""Retrieval by edits."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from syncabel.baselines.nearest import NearestString
from syncabel.errors import UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.types import Document

__all__ = ["SCORERS", "FuzzyNames"]

SCORERS = ("ratio", "token_sort_ratio", "token_set_ratio", "WRatio")


class FuzzyNames(NearestString):
    """RapidFuzz's similarity to every name and training mention, a fraction; an answer scores as its nearest string.

    Args:
        kb, documents, long_forms: see `NearestString`.
        scorer: a function of `rapidfuzz.fuzz`, one of `SCORERS`.

    Raises:
        UnknownNameError: no such scorer.
    """

    def __init__(self, kb: KnowledgeBase, documents: Iterable[Document] = (), *, long_forms: bool = True, scorer: str = "token_sort_ratio") -> None:
        from rapidfuzz import fuzz

        if scorer not in SCORERS:
            raise UnknownNameError("scorer", scorer, SCORERS)
        super().__init__(kb, documents, long_forms=long_forms)
        self._scorer = getattr(fuzz, scorer)

    def similarities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Fractions. Shape: (texts × strings)."""
        from rapidfuzz import process

        percent = process.cdist(texts, self._strings, scorer=self._scorer, dtype=np.float32)
        return (percent / 100).astype(np.float32, copy=False)
