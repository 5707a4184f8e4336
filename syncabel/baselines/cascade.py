"""Rankers in a row."""

from collections.abc import Sequence
from dataclasses import dataclass

from syncabel.baselines.base import LinkingRanker
from syncabel.types import Prediction, Query, Ranker

__all__ = ["Cascade"]


@dataclass(frozen=True, slots=True)
class Cascade(LinkingRanker):
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
