"""Delimited text of any size as lazy columns of strings: every byte checked first, then read by polars.

Release files (UMLS RRF, SNOMED CT RF2) have no quoting and no types: a line feed ends a row, a separator ends a column, and nothing is
escaped.  polars' messages name no line and its ragged-line options mend silently, so one pass over the bytes proves that each
row has its columns before polars sees any: what comes after can only be read one way.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import FormatError

__all__ = ["LINE", "Checked", "check_rows", "collected", "scan"]

LINE = "line"
BLOCK = 1 << 20  # bytes read at once: arrays of this size stay in the cache
LONGEST = 64 << 20  # bytes in a line: the longest of a real release (MRSAB, definitions) has some 10^5
_BOM = b"\xef\xbb\xbf"
_ZLIB = (b"x\x01", b"x^", b"x\xda")  # polars takes a file that opens like this for packed data; these are UTF-8 as well
_FEED = 10
_HASH = 35
_UTF8 = "convert the file, e.g. iconv -f latin1 -t utf-8"
_AGAIN = "unpack or fetch the file again"


@dataclass(frozen=True, slots=True)
class Checked:
    """A file all of whose rows have been found to have the expected columns.

    Attributes:
        path: the file.
        columns: names of the columns.
        separator: the one character between columns.
        header: whether the first line names the columns.
        trailing: whether the last column is ended by a separator too.
        rows: number of rows: neither header nor skipped lines.
        skipped: 1-based numbers of the blank lines and of those that open with `#`.
        bom: whether the file opens with a byte order mark.
        returns: whether a line ends in a carriage return and a line feed.
    """

    path: Path
    columns: tuple[str, ...]
    separator: str
    header: bool
    trailing: bool
    rows: int
    skipped: tuple[int, ...]
    bom: bool
    returns: bool

    def scan(self, *, lines: bool = False) -> pl.LazyFrame:
        """The rows in file order, all columns strings, an empty one ""; a carriage return that ends a column may be lost.

        Args:
            lines: whether a first column `LINE` gives each row's 1-based line number (UInt32).

        Returns:
            A lazy frame that reads the file when collected: see `collected`.
        """
        names = [*self.columns, ""] if self.trailing else [*self.columns]
        schema = dict.fromkeys(names, pl.String)
        if not self.rows:
            return pl.LazyFrame(schema={**({LINE: pl.UInt32} if lines else {}), **dict.fromkeys(self.columns, pl.String)})
        copied = bool(self.skipped) or self._looks_packed()
        frame = pl.scan_csv(
            self._copy() if copied else self.path,
            has_header=False,
            # The header has been compared with the columns; a copy has a line of its own there.
            skip_lines=int(self.header or copied),
            separator=self.separator,
            schema=schema,
            quote_char=None,
            empty_string_is_null=False,
            row_index_name=LINE if lines else None,
            glob=False,
        )
        return self._numbered(frame.select(*([LINE] if lines else []), *self._cleaned()), lines)

    def _cleaned(self) -> Iterator[pl.Expr]:
        for name in self.columns:
            column = pl.col(name)
            yield column.str.strip_suffix("\r") if self.returns and not self.trailing and name == self.columns[-1] else column

    def _looks_packed(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(2) in _ZLIB

    def _numbered(self, frame: pl.LazyFrame, lines: bool) -> pl.LazyFrame:
        if not lines:
            return frame
        row, first = pl.col(LINE), 1 + self.header
        if not self.skipped:
            return frame.with_columns((row + first).cast(pl.UInt32))
        # The k-th skipped line pushes down the rows that follow it: those numbered from (its line - first - k) on.
        skipped = np.array([number for number in self.skipped if number >= first], dtype=np.int64)
        above = pl.Series(skipped - first - np.arange(len(skipped)), dtype=pl.Int64)
        pushed = row.cast(pl.Int64).map_batches(lambda rows: above.search_sorted(rows, side="right"), return_dtype=pl.UInt32, is_elementwise=True)
        return frame.with_columns((row + first + pushed).cast(pl.UInt32))

    def _copy(self) -> io.BytesIO:
        """The rows in memory, after a line to skip: few files have lines to leave out, and nothing outlives the frame this way."""
        skip = set(self.skipped) | ({1} if self.header else set())
        kept = io.BytesIO(b"#\n")
        kept.seek(0, io.SEEK_END)
        with self.path.open("rb") as file:
            kept.writelines(line.removeprefix(_BOM) if number == 1 else line for number, line in enumerate(file, 1) if number not in skip)
        kept.seek(0)
        return kept


def scan(path: Path | str, columns: Sequence[str], separator: str, *, header: bool = False, trailing: bool = False, lines: bool = False) -> pl.LazyFrame:
    """The rows of a delimited file, checked: `check_rows(…).scan(…)` for files in which no line may be skipped."""
    return check_rows(path, columns, separator, header=header, trailing=trailing).scan(lines=lines)


def collected(frame: pl.LazyFrame, path: Path | str) -> pl.DataFrame:
    """The rows of a lazy frame, streamed where polars can.

    Args:
        frame: a query over `scan`.
        path: what a message calls the source.

    Raises:
        FormatError: polars could not read it.
    """
    try:
        return frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise FormatError(f"the rows cannot be read ({type(error).__name__})", path, hint=_AGAIN) from error


def check_rows(path: Path | str, columns: Sequence[str], separator: str, *, header: bool = False, trailing: bool = False, comments: bool = False) -> Checked:
    """Read a file once and see that each line has as many columns as it should.

    Args:
        path: a plain file, UTF-8 with or without a byte order mark; a line feed, after a carriage return or not, ends a line.
        columns: the expected columns.
        separator: one ASCII character.
        header: whether the first line names exactly these columns.
        trailing: whether each row ends with a separator, as in RRF.
        comments: whether blank lines and lines that open with `#` are skipped, and listed; they are errors otherwise.

    Raises:
        FormatError: an empty file, another header, a line with more or fewer columns, one longer than `LONGEST`, or bytes that are not
            UTF-8; with the line's number.
        OSError: there is no such file.
    """
    path = Path(path)
    check = _Check(path, tuple(columns), separator, header, trailing, comments)
    with path.open("rb") as file:
        carry = b""
        while data := file.read(BLOCK):
            block = carry + data
            end = block.rfind(b"\n") + 1
            carry = block[end:]
            check.lines(block[:end])
            if len(carry) > LONGEST:
                check.too_long(check.number + 1)
        check.lines(carry + b"\n" if carry else b"")
    if not check.content:
        raise FormatError("the file is empty", path, hint=_AGAIN)
    return Checked(path, check.columns, separator, header, trailing, check.number - header - len(check.skipped), tuple(check.skipped), check.bom, check.returns)


@dataclass(slots=True)
class _Check:
    """The state of one pass: blocks of whole lines come in, in file order."""

    path: Path
    columns: tuple[str, ...]
    separator: str
    header: bool
    trailing: bool
    comments: bool
    number: int = 0  # lines seen
    content: bool = False  # whether there is more than a byte order mark
    bom: bool = False
    returns: bool = False
    skipped: list[int] = field(default_factory=list)

    def lines(self, block: bytes) -> None:
        """Check whole lines, each ended by a line feed."""
        if not block:
            return
        first = self.number == 0
        self.content = self.content or block.strip(_BOM) != b"\n"
        self._decodable(block)
        if first:
            self.bom = block.startswith(_BOM)
            block = block[len(_BOM) :] if self.bom else block
        self.returns = self.returns or (b"\r" in block and b"\r\n" in block)
        if first and self.header:
            head, _, block = block.partition(b"\n")
            self._same_header(head.decode())
            self.number = 1
        if block:
            self._rows(np.frombuffer(block, np.uint8), block)

    def _rows(self, values: NDArray[np.uint8], block: bytes) -> None:
        ends = np.flatnonzero(values == _FEED)
        starts = np.concatenate(([0], ends[:-1] + 1))
        if ends[0] - starts[0] > LONGEST or (len(values) > LONGEST and (ends - starts).max() > LONGEST):
            self.too_long(self.number + 1 + int(np.argmax(ends - starts > LONGEST)))
        separators = len(self.columns) - 1 + self.trailing
        counts = np.add.reduceat((values == ord(self.separator)).view(np.uint8), starts, dtype=np.uint32)
        odd = counts != separators
        if self.trailing:
            before = np.maximum(ends - 1, 0)
            odd |= values[np.where(values[before] == 13, np.maximum(before - 1, 0), before)] != ord(self.separator)
        if self.comments:
            odd |= (values[starts] == _HASH) | (ends - starts <= 1)
        for index in np.flatnonzero(odd):
            self._odd(self.number + 1 + int(index), block[starts[index] : ends[index]], int(counts[index]))
        self.number += len(ends)

    def _odd(self, number: int, line: bytes, separators: int) -> None:
        if self.comments and (line.startswith(b"#") or not line.strip()):
            self.skipped.append(number)
            return
        expected = len(self.columns)
        ended = line.removesuffix(b"\r").endswith(self.separator.encode())
        found = separators + (not (self.trailing and ended)) if line.strip() else 0
        if found == expected and self.trailing:
            raise FormatError(f"the row does not end with {self.separator!r}", self.path, number, _AGAIN)
        if found != expected:
            raise FormatError(f"{found} columns where {expected} are expected", self.path, number, _AGAIN)

    def _same_header(self, head: str) -> None:
        found = head.removesuffix("\r").split(self.separator)
        if found == [*self.columns]:
            return
        hint = f"expected: {' '.join(self.columns)}"
        if len(found) != len(self.columns):
            raise FormatError(f"the header has {len(found)} columns where {len(self.columns)} are expected", self.path, 1, hint)
        other = next(i for i, name in enumerate(found) if name != self.columns[i])
        raise FormatError(f"column {other + 1} of the header is not {self.columns[other]!r}", self.path, 1, hint)

    def _decodable(self, block: bytes) -> None:
        if block.isascii():
            return
        try:
            block.decode()
        except UnicodeDecodeError as error:
            number = self.number + 1 + block.count(b"\n", 0, error.start)
            raise FormatError(f"byte 0x{block[error.start]:02x} is not UTF-8", self.path, number, _UTF8) from None

    def too_long(self, number: int) -> None:
        """Refuse a line that no release has."""
        raise FormatError(f"the line is longer than {LONGEST} bytes", self.path, number, _AGAIN)
