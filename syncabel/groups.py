"""From the types a corpus annotates to the groups of a knowledge base, by a declared table.

The table is given, or counted on training documents and printed; it is never read off the gold codes of what is scored.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from syncabel.errors import UnknownNameError
from syncabel.types import Document

__all__ = ["Annotations", "TypeMap", "annotation_counts"]

Annotations = Counter[tuple[str | None, tuple[str, ...]]]  # (annotated type, codes of all answers) of mentions


def annotation_counts(documents: Iterable[Document]) -> Annotations:
    """How often mentions are annotated with a type and codes: as large as the vocabulary used, whatever the number of documents."""
    return Counter((mention.type, mention.codes) for document in documents for mention in document.mentions)


@dataclass(frozen=True)
class TypeMap:
    """Annotated type -> groups.

    Attributes:
        groups: the knowledge base's groups.
        table: per annotated type the groups its answers come from.
    """

    groups: tuple[str, ...]
    table: Mapping[str, tuple[str, ...]]

    def of(self, kind: str | None) -> tuple[str, ...]:
        """The groups of an annotated type: () for None, itself where it is a group, else by the table; `A|B` gives those of both.

        Raises:
            UnknownNameError: the type is neither a group nor in the table.
        """
        if kind is None:
            return ()
        if kind in self.table:
            return self.table[kind]
        if kind in self.groups:
            return (kind,)
        if "|" in kind:
            return tuple(dict.fromkeys(group for part in kind.split("|") for group in self.of(part)))
        raise UnknownNameError("group or mention type", kind, tuple(dict.fromkeys((*self.groups, *self.table))))

    @classmethod
    def counted(cls, documents: Iterable[Document], groups_of: Callable[[str], Sequence[str]], groups: Sequence[str], least: float = 0.01) -> "TypeMap":
        """Count on training documents which groups the answers of each type come from.

        Args:
            documents: training documents.
            groups_of: the groups of a code, () for an unknown one.
            groups: the knowledge base's groups.
            least: smallest share of a type's answers a group must have to be allowed, a fraction.
        """
        return cls.of_counts(annotation_counts(documents), groups_of, groups, least)

    @classmethod
    def of_counts(cls, annotations: Annotations, groups_of: Callable[[str], Sequence[str]], groups: Sequence[str], least: float = 0.01) -> "TypeMap":
        """What `counted` gives for documents of these annotations: where documents are read once and not held."""
        typed = [(kind, codes, count) for (kind, codes), count in annotations.items() if kind is not None]
        if len(groups) == 1:
            return cls(tuple(groups), {kind: tuple(groups) for kind in sorted({kind for kind, _, _ in typed})})
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for kind, codes, count in typed:
            for group in (group for code in codes for group in groups_of(code)):
                counts[kind][group] += count
        table = {kind: tuple(g for g in groups if found[g] >= least * found.total() and found[g]) for kind, found in sorted(counts.items())}
        return cls(tuple(groups), {kind: found for kind, found in table.items() if found})
