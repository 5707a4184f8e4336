"""Lines of text files, plain or gzip, with their numbers: what every reader of a line-based format goes through."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from syncabel.errors import FormatError

__all__ = ["LONGEST_LINE", "LONGEST_TOKEN", "TagsWithin", "json_lines", "text_lines"]

LONGEST_LINE = 64 << 20  # bytes; what has no line end for longer is no text file, and would fill the memory first
LONGEST_TOKEN = 16 << 20  # bytes between two ends of tags; an XML parser reads an unfinished one again with every block


def text_lines(path: Path, stream: BinaryIO | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, plain or `.gz`, with their 1-based numbers and without line ends.

    Only line feeds (after a carriage return or not) end a line: U+2028 and its like are text.

    Args:
        path: the file; of a stream, what messages call it.
        stream: read instead of the file, e.g. standard input; left open.

    Raises:
        FormatError: the file is empty, not UTF-8, damaged gzip, or has a line longer than LONGEST_LINE.
        OSError: it cannot be opened.
    """
    number = 0
    with nullcontext(stream) if stream else gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
        try:
            for number, raw in enumerate(iter(partial(handle.readline, LONGEST_LINE + 1), b""), 1):
                if len(raw) > LONGEST_LINE:
                    raise FormatError(f"the line is longer than {LONGEST_LINE >> 20} MiB", path, number, "give a text file with line ends")
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
        except (ValueError, RecursionError) as error:  # the first also for numbers of thousands of digits, the second for brackets in brackets
            raise FormatError(f"not JSON: {error}", path, number, hint) from None
        yield number, value


class TagsWithin:
    """A stream of XML that stops where no tag ends for longer than LONGEST_TOKEN.

    Args:
        stream: bytes.
        path: what messages call it.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path, self._open = stream, path, 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes.

        Raises:
            FormatError: no `>` for too long.
        """
        block = self._stream.read(size)
        end = block.rfind(b">")
        self._open = len(block) - end - 1 if end >= 0 else self._open + len(block)
        if self._open > LONGEST_TOKEN:
            raise FormatError(f"no tag ends in {LONGEST_TOKEN >> 20} MiB", self._path, hint="give an XML file")
        return block
