"""Documents for commands: what of them cannot be read is said in one line on standard error."""

from collections.abc import Sequence
from pathlib import Path

from syncabel.cli.console import err
from syncabel.corpora import read_corpus
from syncabel.types import Document, Rejection

__all__ = ["documents_of", "say_unread"]


def documents_of(paths: Sequence[Path]) -> list[Document]:
    """The documents of some files, none of none; rows that cannot be read are said and left out."""
    if not paths:
        return []
    corpus = read_corpus(list(paths))
    say_unread(corpus.rejections)
    return list(corpus.documents)


def say_unread(rejections: Sequence[Rejection]) -> None:
    """Say which row was the first that could not be read, why, and how many there are; nothing where there is none."""
    if rejections:
        first = rejections[0]
        err.print(f"{first.where}: {first.reason}: first of {len(rejections)} rows not read; `syncabel corpus convert` lists them")
