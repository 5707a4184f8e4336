"""Sentences that are somebody else's: copies of a style example, and of texts that are kept for testing."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data_gen.gates.words import Word, masked_words, plain_words, words_of
from data_gen.writer import Shot
from syncabel.text import sentence_breaks
from syncabel.types import Document, Mention

__all__ = ["HeldOut", "shot_copy"]

_LEAST_SHARED = 3  # trigrams: fewer are a turn of phrase
_NOTHING = np.empty(0, np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ by the golden ratio
_SHORTEST = 4  # words of a held-out sentence that is looked for as a whole


def shot_copy(document: Document, shots: Iterable[Shot], threshold: float) -> str | None:
    """Too many word trigrams of a style example, mentions being one word each: a copy with another name in it is still one.

    Args:
        document: what was written.
        shots: the style examples of its prompt.
        threshold: least share of the smaller side's trigrams, a fraction.
    """
    own = _trigrams(masked_words(document.text, document.mentions))
    copied = any(_share(own, _shot_trigrams(shot)) >= threshold for shot in shots)
    return "shot_copy" if copied else None


@lru_cache(maxsize=1024)
def _shot_trigrams(shot: Shot) -> frozenset[tuple[str, ...]]:
    return _trigrams(masked_words(shot.text, [Mention("", (shot.mention,), shot.text[shot.mention.start : shot.mention.end])]))


def _trigrams(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def _share(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    shared = len(one & other)
    return shared / min(len(one), len(other)) if shared >= _LEAST_SHARED else 0.0


class HeldOut:
    """Texts that nothing generated may repeat: the hashes of their word n-grams, and of whole sentences that are shorter.

    8 bytes a word.  Two different n-grams share a hash with a probability of 2⁻⁶⁴ a pair.

    Args:
        documents: of dev and test.
        n: words of an n-gram.
    """

    def __init__(self, documents: Iterable[Document], n: int) -> None:
        self._n = n
        self._grams = np.unique(np.concatenate([_NOTHING, *(part for document in documents for part in self._grams_of(document.text))]))

    @property
    def digest(self) -> str:
        """SHA-256 of the n-grams; hexadecimal."""
        return hashlib.sha256(self._grams.tobytes()).hexdigest()

    def overlap(self, document: Document) -> str | None:
        """An n-gram, or a short text as a whole, of a held-out text.

        At least half of its words must lie outside the mentions: a long name is bound to stand there, too.
        """
        if not len(self._grams):
            return None
        found = self._own_grams(words_of(document))
        if not len(found):
            return None
        places = np.minimum(np.searchsorted(self._grams, found), len(self._grams) - 1)
        return "held_out_overlap" if bool((self._grams[places] == found).any()) else None

    def _grams_of(self, text: str) -> Iterator[NDArray[np.uint64]]:
        yield _hashes(plain_words(text), self._n)
        short = (words for words in _sentences(text) if _SHORTEST <= len(words) < self._n)
        yield from (_hashes(words, len(words)) for words in short)

    def _own_grams(self, words: Sequence[Word]) -> NDArray[np.uint64]:
        length = min(self._n, len(words))
        if length < min(self._n, _SHORTEST):
            return _NOTHING
        inside: NDArray[np.int64] = sliding_window_view(np.array([word.in_mention for word in words]), length).sum(axis=1)
        return _hashes([word.text for word in words], length)[2 * inside <= length]


def _sentences(text: str) -> Iterator[list[str]]:
    start = 0
    for gap in sentence_breaks(text):
        yield plain_words(text[start : gap.end])
        start = gap.end
    yield plain_words(text[start:])


def _hashes(words: Sequence[str], n: int) -> NDArray[np.uint64]:
    """The hash of each run of n words. Shape: (runs,); of no words, or fewer than n, (0,)."""
    if not 0 < n <= len(words):
        return _NOTHING
    values = np.array([_word_hash(word) for word in words], np.uint64)
    # Horner's scheme modulo 2⁶⁴, from n, as a run of 5 words is no part of one of 9; an odd factor loses no bit of a word.
    mixed: NDArray[np.uint64] = np.full(len(words) - n + 1, n, np.uint64)
    for i in range(n):
        mixed = mixed * _ODD + values[i : i + len(mixed)]
    return mixed


@lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
