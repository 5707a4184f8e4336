"""The errors of the floor."""

__all__ = ["AlikeError", "TrieError"]


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
