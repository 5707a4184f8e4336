"""The errors of the floor."""

from collections.abc import Sequence

__all__ = ["AlikeError", "SearchError", "TrieError"]


class TrieError(ValueError):
    """A trie cannot be built, saved, read or used as asked; one line."""


class AlikeError(TrieError):
    """Two entries are the same token sequence.

    Attributes:
        entries: their numbers, ascending.
    """

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"entries {one} and {other} are the same token sequence; tell them apart before building")
        self.entries = (one, other)


class SearchError(ValueError):
    """A model cannot be searched, or a search cannot go on with some of its prompts; one line.

    Attributes:
        problem: what is wrong and what to do.
        queries: numbers of the prompts it is about, ascending; none where it is about the model.
    """

    def __init__(self, problem: str, queries: Sequence[int] = ()) -> None:
        super().__init__(f"query {queries[0]}: {problem}" if queries else problem)
        self.problem, self.queries = problem, tuple(queries)
