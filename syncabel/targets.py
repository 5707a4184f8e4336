"""Which of a concept's names the model is taught to write for a mention ("adaptive concept representation").

Of the concept's names that no other concept shares, the one closest to the mention or its long form; or one drawn among them in
proportion to how close they are, so that over many mentions a model sees them all.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.lexicon.store import Lexicon

__all__ = ["METHODS", "TargetMethod", "TargetNames"]

TargetMethod = Literal["tfidf", "levenshtein", "preferred", "sampled"]
Pair = tuple[str, NDArray[np.int64]]


class TargetNames:
    """Chooses target names.

    Args:
        lexicon: names and codes.
        method: `tfidf` (cosine of character 3-grams), `levenshtein` (normalised similarity), `preferred`, or `sampled`: drawn
            with a probability in proportion to cosine ** (1 / temperature); a name that has nothing in common with the
            mention is drawn only where no name has.
        temperature: of `sampled`: 1 is in proportion to similarity, towards 0 the closest name, above 1 more evenly.
        seed: of `sampled`.

    Raises:
        UnknownNameError: no such method.
        ConfigError: a temperature that is not above 0.
    """

    def __init__(self, lexicon: Lexicon, method: str = "tfidf", temperature: float = 1.0, seed: int = 0) -> None:
        if method not in METHODS:
            raise UnknownNameError("target method", method, METHODS)
        if not temperature > 0:
            raise ConfigError(f"the temperature of targets is {temperature}; give a number above 0")
        self.lexicon, self.method, self.temperature, self.seed = lexicon, method, temperature, seed
        self._scores = METHODS[method](lexicon)

    def candidates(self, code: str) -> NDArray[np.int64]:
        """The entries a target may be: the concept's unshared names, or all where it has none; empty for an unknown code."""
        entries = self.lexicon.entries_of(code)
        own = entries[~np.array([self.lexicon.shared(entry) for entry in entries], bool)]
        return own if len(own) else entries

    def choose(self, pairs: Sequence[tuple[str, str]], keys: Sequence[str] | None = None) -> list[int | None]:
        """The target entry per (code, mention or its long form); None where the lexicon lacks the code.

        Ties go to the first name in entry order, so that results reproduce.

        Args:
            pairs: codes and texts.
            keys: what decides the draw of `sampled` for each pair, e.g. document and mention; the pairs themselves where not given.
        """
        asked = [(text, self.candidates(code)) for code, text in pairs]
        known = [i for i, (_, entries) in enumerate(asked) if len(entries)]
        chosen: list[int | None] = [None] * len(asked)
        for i, scores in zip(known, self._scores([asked[i] for i in known]), strict=True):
            key = "\0".join(pairs[i]) if keys is None else keys[i]
            chosen[i] = int(asked[i][1][self._place(scores, key)])
        return chosen

    def _place(self, scores: NDArray[np.float64], key: str) -> int:
        # A small rounding difference is no preference: equal to 9 digits is a tie.
        rounded = np.round(scores, 9)
        return int(np.argmax(rounded)) if self.method != "sampled" else self._drawn(rounded, key)

    def _drawn(self, similarity: NDArray[np.float64], key: str) -> int:
        """A place drawn by the key's own random number, so that neither order nor company of the pairs matters."""
        # Relative to the largest: a power of small numbers would vanish at low temperatures.
        largest = similarity.max()
        weights = (similarity / largest) ** (1 / self.temperature) if largest > 0 else np.ones(len(similarity))
        ends = np.cumsum(weights)
        number = random.Random(hashlib.sha256(f"{self.seed}\0target\0{key}".encode()).hexdigest()).random()
        return min(int(np.searchsorted(ends, number * ends[-1], side="right")), len(ends) - 1)


def _tfidf(lexicon: Lexicon) -> Callable[[Sequence[Pair]], list[NDArray[np.float64]]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(3, 3), dtype=np.float32)
    # Padded with spaces, so that a name of one or two letters has a 3-gram too.
    names = vectorizer.fit_transform(f"  {lexicon.name(entry)} " for entry in range(len(lexicon)))

    def scores(pairs: Sequence[Pair]) -> list[NDArray[np.float64]]:
        if not pairs:
            return []
        mentions = vectorizer.transform(f"  {text} " for text, _ in pairs)
        sizes = np.array([len(entries) for _, entries in pairs])
        left = mentions[np.repeat(np.arange(len(pairs)), sizes)]
        right = names[np.concatenate([entries for _, entries in pairs])]
        cosines = np.asarray(left.multiply(right).sum(axis=1)).ravel().astype(np.float64)
        return list(np.split(cosines, np.cumsum(sizes)[:-1]))

    return scores


def _levenshtein(lexicon: Lexicon) -> Callable[[Sequence[Pair]], list[NDArray[np.float64]]]:
    from rapidfuzz.distance import Levenshtein

    def scores(pairs: Sequence[Pair]) -> list[NDArray[np.float64]]:
        return [np.array([Levenshtein.normalized_similarity(text, lexicon.name(int(entry))) for entry in entries]) for text, entries in pairs]

    return scores


def _preferred(lexicon: Lexicon) -> Callable[[Sequence[Pair]], list[NDArray[np.float64]]]:
    def scores(pairs: Sequence[Pair]) -> list[NDArray[np.float64]]:
        return [np.array([float(lexicon.preferred(int(entry))) for entry in entries]) for _, entries in pairs]

    return scores


METHODS: dict[str, Callable[[Lexicon], Any]] = {"tfidf": _tfidf, "levenshtein": _levenshtein, "preferred": _preferred, "sampled": _tfidf}
