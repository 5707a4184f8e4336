"""What a reader of a corpus hands back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from syncabel.errors import ConfigError
from syncabel.types import Document, Mention, Rejection

__all__ = ["Corpus", "refuse_test"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents of one or more files, and what could not be taken.

    Attributes:
        documents: in file order, ids unique.
        rejections: in file order, one per row left out.
        rows_read: rows kept + rows rejected.  A row is one document in JSON Lines; in PubTator one document or one mention.
    """

    documents: tuple[Document, ...]
    rejections: tuple[Rejection, ...] = ()
    rows_read: int = 0

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def rows_kept(self) -> int:
        """Rows that became documents or mentions."""
        return self.rows_read - len(self.rejections)

    def mentions(self) -> Iterator[tuple[Document, Mention]]:
        """Every mention with its document, in order."""
        for document in self.documents:
            for mention in document.mentions:
                yield document, mention


def refuse_test(documents: Sequence[Document], where: str) -> None:
    """Keep test documents out of training and of the choice of a model.

    Args:
        documents: what is about to be used.
        where: the files they are from, or what they were given for.

    Raises:
        ConfigError: a document is of split "test".
    """
    if found := [document.id for document in documents if document.split == "test"]:
        raise ConfigError(
            f"{where}: {len(found)} documents are of split 'test' (first: {found[0]}); training and selection never see test data, leave them out"
        )
