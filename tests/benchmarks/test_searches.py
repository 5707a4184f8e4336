"""What benchmarks/searches.py measures of a search, on a few sentences."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from syncabel.baselines import standard_baselines
from syncabel.types import Document, Mention, Span


def document(number: int, name: str, code: str) -> Document:
    return Document(f"d{number}", f"Known {name} again {number}.", (Mention("1", (Span(6, 6 + len(name)),), name, "Disease", ((code,),)),))


def test_only_kinds_of_concepts_that_have_mentions_are_rows(benchmarks: Callable[[str], ModuleType], small_kb: Any) -> None:
    train = [document(0, "angina", "A:3")]
    test = [document(1, "angina", "A:3"), document(2, "acute coryza", "A:5")]
    ranker = standard_baselines(small_kb, train)["exact"]
    found = benchmarks("searches").measured(ranker, test, lambda kind: (kind,), small_kb, train)
    assert found["recall_at_1"] == 1
    assert found["concept"] == {"human": {"n": 1, "recall_at_1": 1.0}, "neither": {"n": 1, "recall_at_1": 1.0}}
