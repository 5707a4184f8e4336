"""What a reader hands back, and the lines it reads from."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from syncabel.errors import ConfigError, FormatError
from syncabel.types import Document, Mention, Rejection

__all__ = ["Corpus", "json_lines", "refuse_test", "text_lines"]


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


def text_lines(path: Path, stream: BinaryIO | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, plain or `.gz`, with their 1-based numbers and without line ends.

    Only line feeds (after a carriage return or not) end a line: U+2028 and its like are text.

    Args:
        path: the file; of a stream, what messages call it.
        stream: read instead of the file, e.g. standard input; left open.

    Raises:
        FormatError: the file is empty, not UTF-8, or damaged gzip.
        OSError: it cannot be opened.
    """
    number = 0
    with nullcontext(stream) if stream else gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
        try:
            for number, raw in enumerate(handle, 1):
                yield number, _decoded(raw, path, number)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FormatError("damaged gzip data", path, number + 1, "fetch the file again") from error
    if number == 0:
        raise FormatError("the file is empty", path, hint="fetch or write it again")


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line is not UTF-8"
        raise FormatError(problem, path, number, "convert the file, e.g. iconv -f latin1 -t utf-8") from None
    return line.removesuffix("\n").removesuffix("\r")


def json_lines(path: Path, hint: str) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file in which every row must be one, with their 1-based line numbers; blank lines are no rows.

    Args:
        path: plain or `.gz`.
        hint: what to do about a row that is not JSON.

    Raises:
        FormatError: as `text_lines`, and for a row that is not JSON.
    """
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise FormatError(f"not JSON: {error}", path, number, hint) from None
        yield number, value
