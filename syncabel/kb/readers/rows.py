"""Rows of tables as columns of text: TSV, CSV, JSON Lines and Parquet, with each row's number.

A cell is what stands there: no empty cell, "NA" or "null" is turned into anything, no code into a number.  TSV has no quoting; CSV has
RFC 4180's, with semicolons for commas where the header has semicolons alone.  Only a file whose rows all have their columns comes through.
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from syncabel.errors import FormatError, UnknownNameError
from syncabel.lines import text_lines

__all__ = ["LINE", "SUFFIXES", "header_of", "read_rows", "tab_separated"]

LINE = "line"  # 1-based; in Parquet the row's number
SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")

_BLOCK = 32 << 20  # bytes; also the longest line
_BATCH = 100_000  # rows that are Python objects at one time
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)


def read_rows(path: Path, texts: Mapping[str, str], lists: Mapping[str, str], separator: str) -> pl.DataFrame:
    """The wanted columns of a table, by its suffix; one column can be wanted several times.

    Args:
        path: `.tsv` (also `.tab`, `.txt`), `.csv`, `.jsonl`, each also with `.gz`, or `.parquet`.
        texts: wanted name -> column to read as text; null where a cell of JSON or Parquet is null.
        lists: wanted name -> column whose cells hold several texts.
        separator: between the texts of a cell; cells of JSON and Parquet may be lists themselves, but where the column is read as text too.

    Returns:
        Columns `line`, those of `texts` (strings) and those of `lists` (lists of strings), in file order.

    Raises:
        FormatError: another suffix, a row with more or fewer columns than the header, a cell that is no text, a column of floats,
            no row, damaged data or bytes that are not UTF-8.
        UnknownNameError: there is no such column.
    """
    wanted = tuple(dict.fromkeys([*texts.values(), *lists.values()]))
    listed = [column for column in lists.values() if column not in texts.values()]
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    kinds: dict[str, Callable[[], pl.DataFrame]] = {
        ".csv": lambda: _comma_separated(path, wanted),
        ".jsonl": lambda: _json_rows(path, wanted, listed, separator),
        ".parquet": lambda: _parquet(path, wanted, listed),
    } | dict.fromkeys((".tsv", ".tab", ".txt"), lambda: _named(path, wanted))
    if kind not in kinds:
        raise FormatError(f"a table in {kind or 'no'} format is not read", path, hint=f"give {', '.join(SUFFIXES)}")
    rows = kinds[kind]()
    if not rows.height:
        raise FormatError("the table has no rows", path, hint="fetch or write it again")
    split = {name: pl.col(column).str.split(separator) if rows.schema[column] == pl.String else pl.col(column) for name, column in lists.items()}
    return rows.select(LINE, *(pl.col(column).alias(name) for name, column in texts.items()), *(cells.alias(name) for name, cells in split.items()))


def header_of(path: Path) -> list[str]:
    """The names in the first line of a TSV file."""
    with _named_damage(path), _bytes_of(path) as stream:
        first = stream.readline(_BLOCK)
    if not first:
        raise FormatError("the file is empty", path, hint="fetch or write it again")
    if len(first) == _BLOCK:
        raise _too_long(path, 1)
    return _decoded(first, path).rstrip("\r\n").split("\t")


def tab_separated(path: Path, columns: Sequence[str], *, header: bool, hint: str) -> Iterator[pl.DataFrame]:
    """The rows of a TSV file, block by block, all columns as strings and `line`.

    Blank lines are no rows where there is a header, else they are rows with too few columns.

    Raises:
        FormatError: a row with more or fewer columns, an empty file, a line of 32 MiB, damaged gzip, bytes that are not UTF-8.
    """
    for number, block in _blocks(path):
        lines = pl.DataFrame({"text": [_decoded(block, path)]}).select(pl.col("text").str.split("\n").explode().str.strip_suffix("\r"))
        if lines.item(-1, 0) == "":
            lines = lines.head(-1)
        rows = lines.with_row_index(LINE, number)
        if header:
            rows = rows.slice(1 if number == 1 else 0).filter(pl.col("text") != "")
        _refuse_ragged(rows, len(columns), path, hint)
        yield rows.with_columns(pl.col("text").str.split_exact("\t", len(columns) - 1).struct.rename_fields(list(columns)).alias("text")).unnest("text")


def _refuse_ragged(rows: pl.DataFrame, width: int, path: Path, hint: str) -> None:
    counted = rows.select(LINE, width=pl.col("text").str.count_matches("\t", literal=True) + 1)
    if (wrong := counted.filter(pl.col("width") != width).head(1)).height:
        line, found = wrong.row(0)
        raise FormatError(f"{found} tab-separated columns instead of {width}", path, line, hint)


def _named(path: Path, wanted: Sequence[str]) -> pl.DataFrame:
    header = header_of(path)
    _check_columns(header, wanted, path)
    blocks = tab_separated(path, header, header=True, hint="give each row the columns of the header")
    return pl.concat([block.select(LINE, *wanted) for block in blocks])


def _check_columns(known: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    for name in wanted:
        if name not in known:
            raise UnknownNameError(f"column of {path.name}", name, known)
    if twice := [name for name in known if known.count(name) > 1 or name == LINE]:
        raise FormatError(f"the header has {twice[0]!r} twice" if twice[0] != LINE else f"a column is called {LINE!r}", path, 1, "rename one")


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, whole lines), without a byte order mark."""
    number, rest = 1, b""
    with _named_damage(path), _bytes_of(path) as stream:
        while chunk := stream.read(_BLOCK):
            whole, feed, tail = (rest + chunk if number > 1 or rest else chunk.removeprefix(b"\xef\xbb\xbf")).rpartition(b"\n")
            if not feed and len(tail) >= _BLOCK:
                raise _too_long(path, number)
            if feed:
                yield number, whole + feed
                number += whole.count(b"\n") + 1
            rest = tail
    if rest:
        yield number, rest
    elif number == 1:
        raise FormatError("the file is empty", path, hint="fetch or write it again")


def _too_long(path: Path, number: int) -> FormatError:
    return FormatError(f"a line of more than {_BLOCK >> 20} MiB", path, number, "is this a table?")


def _bytes_of(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED:
        raise FormatError("damaged gzip data", path, hint="fetch the file again") from None


def _decoded(block: bytes, path: Path) -> str:
    try:
        return block.decode("utf-8-sig")
    except UnicodeDecodeError:
        for _ in text_lines(path):  # the line and the byte are named where all readers have them named
            pass
        raise FormatError("bytes that are not UTF-8", path) from None


def _comma_separated(path: Path, wanted: Sequence[str]) -> pl.DataFrame:
    lines = (line for _, line in text_lines(path))
    first = next(lines)
    # Spreadsheets write semicolons where the comma is the decimal mark.
    unquoted = re.sub('"[^"]*"', "", first)
    delimiter = ";" if ";" in unquoted and "," not in unquoted else ","
    # strict: a quote that is not closed must not swallow the rest of the file as one cell.
    reader = csv.reader((f"{line}\n" for line in chain([first], lines)), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        _check_columns(header, wanted, path)
        return _batched(_cells(reader, len(header), [header.index(name) for name in wanted], path), wanted, ())
    except csv.Error as error:
        raise FormatError(f"not CSV ({error})", path, reader.line_num, f"quote cells with {delimiter!r}, double the quotes inside") from None


def _cells(reader: Any, width: int, chosen: Sequence[int], path: Path) -> Iterator[list[Any]]:
    line = reader.line_num + 1
    for row in reader:
        if row and len(row) != width:
            raise FormatError(f"{len(row)} columns instead of {width}", path, line, "give each row the columns of the header")
        if row:
            yield [line, *(row[place] for place in chosen)]
        line = reader.line_num + 1


def _batched(rows: Iterable[list[Any]], names: Sequence[str], lists: Sequence[str]) -> pl.DataFrame:
    schema: dict[str, Any] = {LINE: pl.UInt32, **{name: pl.List(pl.String) if name in lists else pl.String for name in names}}
    frames, batch = [pl.DataFrame(schema=schema)], []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            frames.append(pl.DataFrame(batch, schema, orient="row"))
            batch = []
    return pl.concat([*frames, pl.DataFrame(batch, schema, orient="row")])


class _Fraction(str):
    """A JSON number that is no integer, as it stands."""

    __slots__ = ()


def _json_rows(path: Path, wanted: Sequence[str], lists: Sequence[str], separator: str) -> pl.DataFrame:
    seen: dict[str, None] = {}

    def rows() -> Iterator[list[Any]]:
        for number, line in text_lines(path):
            if line.strip():
                value = _json_object(line, path, number)
                seen.update(dict.fromkeys(value))
                yield [number, *(_json_cell(value.get(name), name, separator if name in lists else None, path, number) for name in wanted)]

    frame = _batched(rows(), wanted, lists)
    for name in wanted:
        if frame.height and name not in seen:
            raise UnknownNameError(f"field of {path.name}", name, seen)
    return frame


def _json_object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        # Numbers stay as they stand: an integer of any length is text, a fraction is known for one.
        value = json.loads(line, parse_int=str, parse_float=_Fraction, parse_constant=_Fraction)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"not JSON ({str(error)[:100]})", path, number, "write one JSON object a line") from None
    if not isinstance(value, dict):
        raise FormatError(f"a {type(value).__name__} where an object should be", path, number, "write one JSON object a line")
    return value


def _json_cell(value: Any, name: str, separator: str | None, path: Path, number: int) -> Any:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if separator is not None and isinstance(value, list):
        return [_json_cell(item, name, None, path, number) for item in value if item is not None]
    if value is None:
        return [] if separator is not None else None
    if not isinstance(value, str) or isinstance(value, _Fraction):
        what = "a number with a fraction or an exponent" if isinstance(value, _Fraction) else f"a {type(value).__name__}"
        raise FormatError(f"{name!r} is {what}, not text", path, number, "write it as a string")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise FormatError(f"{name!r} holds half of a surrogate pair", path, number, "write the character itself")
    return str(value) if separator is None else value.split(separator)


def _parquet(path: Path, wanted: Sequence[str], lists: Sequence[str]) -> pl.DataFrame:
    with path.open("rb") as file:  # a missing file is an OSError before polars words it otherwise
        if not file.read(1):
            raise FormatError("the file is empty", path, hint="fetch or write it again")
    try:
        known = list(pl.read_parquet_schema(path))
        _check_columns(known, wanted, path)
        frame = pl.read_parquet(path, columns=list(wanted), glob=False)
        return frame.select(
            pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias(LINE), *(_as_text(frame.schema[name], name, name in lists, path) for name in wanted)
        )
    # PanicException is what polars' own asserts become on bytes it did not expect.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError, ValueError) as error:
        raise FormatError(f"not Parquet that can be read ({' '.join(str(error).split())[:200]})", path, hint="fetch or write it again") from None


def _as_text(kind: pl.DataType, name: str, several: bool, path: Path) -> pl.Expr:
    if isinstance(kind, pl.Categorical | pl.Enum | pl.String) or kind.is_integer() or kind == pl.Boolean:
        return pl.col(name).cast(pl.String)
    if several and isinstance(kind, pl.List) and kind.inner == pl.String:
        return pl.col(name)
    hint = "codes were read as numbers: read them as text where the file was made" if kind.is_float() else "write it as text"
    raise FormatError(f"column {name!r} is of type {kind}", path, hint=hint)
