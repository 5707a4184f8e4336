"""What is recorded of a kept sentence and rejects nothing: gates like these would throw away what a language model is needed for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncabel.text import fold
from syncabel.types import Document, Mention, Prediction, Query, Ranker

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["TOP", "Score", "Scorer"]

TOP = 10  # of the ranker's answers
_AT_ONCE = 512  # mentions handed to the ranker


@dataclass(frozen=True, slots=True)
class Score:
    """What one mention looks like beside the knowledge base; what scores.jsonl holds a line of.

    Attributes:
        document_id, mention_id: which mention.
        is_other_concept: it is exactly a name of other concepts and none of its own, case and width aside.
        tfidf_rank: place of its concept among the ranker's first ten, from 1; None where it is not among them, or nobody ranked.
        distance: from the nearest name of its own: edits per code point of the longer of the two (Levenshtein, folded), a fraction in
            [0, 1]; None where the knowledge base knows none of its codes.
    """

    document_id: str
    mention_id: str
    is_other_concept: bool
    tfidf_rank: int | None
    distance: float | None


class Scorer:
    """Scores mentions.

    Args:
        kb: the knowledge base they are of.
        ranker: ranks concepts by name, e.g. character TF-IDF; None leaves the ranks out.
    """

    def __init__(self, kb: "KnowledgeBase", ranker: Ranker | None = None) -> None:
        self._kb, self._ranker = kb, ranker

    def scores(self, documents: Sequence[Document]) -> list[Score]:
        """One score per mention, in document and mention order."""
        queries = [Query(document, mention) for document in documents for mention in document.mentions]
        ranked = self._ranked(queries)
        return [self._score(query, predictions) for query, predictions in zip(queries, ranked, strict=True)]

    def _ranked(self, queries: Sequence[Query]) -> Iterable[Sequence[Prediction]]:
        if self._ranker is None:
            return [()] * len(queries)
        blocks = (queries[start : start + _AT_ONCE] for start in range(0, len(queries), _AT_ONCE))
        return [found for block in blocks for found in self._ranker.rank(block, TOP)]

    def _score(self, query: Query, predictions: Sequence[Prediction]) -> Score:
        own = {code for code in map(self._kb.canonical, query.mention.codes) if code is not None}
        rank = next((i for i, prediction in enumerate(predictions, 1) if prediction.codes and own.issuperset(prediction.codes)), None)
        return Score(query.document.id, query.mention.id, self._is_other(query.mention, own), rank, self._distance(query.mention, own))

    def _is_other(self, mention: Mention, own: set[str]) -> bool:
        owners = self._kb.codes_of(mention.text)
        return bool(owners) and own.isdisjoint(owners)

    def _distance(self, mention: Mention, own: Iterable[str]) -> float | None:
        from rapidfuzz.distance import Levenshtein

        key = fold(mention.text)
        return min((Levenshtein.normalized_distance(key, name) for name in self._names(own)), default=None)

    def _names(self, codes: Iterable[str]) -> Iterator[str]:
        return (fold(name.text) for code in codes for name in self._kb.concept(code).names)
