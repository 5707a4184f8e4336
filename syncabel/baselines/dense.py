"""Retrieval by a sentence encoder, whichever it is; `syncabel.dense` has encoders."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from syncabel.baselines.nearest import NearestString
from syncabel.kb import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Document

__all__ = ["DenseNames", "Encoder"]


class Encoder(Protocol):
    """Turns texts into vectors of length 1."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape: (texts × dimensions), rows of length 1."""
        ...


class DenseNames(NearestString):
    """Cosine of a sentence encoder's vectors to those of every name and training mention; an answer scores as its nearest string.

    The search is exact: products of the texts' vectors with those of all strings, some texts at a time.

    Args:
        kb, documents, long_forms: see `NearestString`.
        encoder: gives the vectors.
    """

    def __init__(self, kb: KnowledgeBase, encoder: Encoder, documents: Iterable[Document] = (), *, long_forms: bool = True) -> None:
        super().__init__(kb, documents, long_forms=long_forms)
        self._encoder = encoder
        # Names apart from training mentions: an encoder that keeps vectors has those of a knowledge base once, whatever the documents.
        names = sorted({fold(name.text) for concept in kb.concepts() for name in concept.names})
        others = sorted(set(self._strings).difference(names))
        # Kept as the encoder gives them, mapped where it maps them; a string that several answers have has one vector.
        self._vectors = [encoder.encode(texts) for texts in (names, others) if texts]
        place = {text: i for i, text in enumerate([*names, *others])}
        self._places = np.array([place[text] for text in self._strings])  # Shape: (strings,).

    def similarities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Cosines. Shape: (texts × strings)."""
        encoded, start = self._encoder.encode(texts), 0
        scores = np.empty((len(texts), sum(map(len, self._vectors))), np.float32)
        for vectors in self._vectors:
            np.matmul(encoded, vectors.T, out=scores[:, start : start + len(vectors)])
            start += len(vectors)
        return np.take(scores, self._places, axis=1)
