"""Lines of a text file with their numbers, so that every error can name its place."""

from collections.abc import Iterator
from pathlib import Path

from syncabel.errors import FormatError

__all__ = ["numbered_lines"]

_BOM = b"\xef\xbb\xbf"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(1-based number, line without its end) of a UTF-8 file; a byte order mark and `\\r\\n` ends are taken off.

    Only line feeds end a line: a name may hold U+0085 or U+2028, which `str.splitlines` would break at.

    Raises:
        FormatError: a line is not UTF-8, or the file holds nothing.
    """
    number = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            yield number, _decoded(raw.removeprefix(_BOM) if number == 1 else raw, path, number).removesuffix("\n").removesuffix("\r")
    if number == 0:
        raise FormatError("the file is empty", path, hint="give a file with at least one concept")


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        problem = f"byte {raw[error.start]:#04x} at column {error.start + 1} is not UTF-8"
        raise FormatError(problem, path, number, "convert the file, e.g. with `iconv -f latin1 -t utf-8`") from None
