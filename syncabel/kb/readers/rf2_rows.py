"""The rows of RF2 files as typed columns, and the state of each component they describe.

Every RF2 file is a log: rows of one id are states of one component, and the one with the latest effectiveTime holds.  Inside, SCTIDs are
64-bit integers, which hold their 18 digits; whatever is no such number is reported with its line and never rounded.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import FormatError
from syncabel.kb.readers.delimited import LINE, Checked, check_rows, collected
from syncabel.types import Rejection

__all__ = ["Layout", "Reports", "check_digits_hold", "latest", "read_rows", "report_check_digits"]

NUMBER = r"^[0-9]{1,9}$"
SCTID = r"^[1-9][0-9]{0,17}$"
_FLOAT = r"[0-9]+(?:[.,][0-9]+)?[eE][+]?[0-9]+|[0-9]+[.,][0-9]*"
_COMMON = ("id", "effectiveTime", "active", "moduleId")
_ORIGINAL = "take the file as released: a spreadsheet must import its columns as text"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns wanted of a kind of file, besides the four that all have (id, effectiveTime, active, moduleId).

    Attributes:
        ids: SCTIDs, read as Int64.
        texts: read as String.
        numbers: read as Int32.
        member: whether the file is a reference set, whose ids are UUIDs.
    """

    ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    member: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All wanted columns."""
        return (*_COMMON, *self.ids, *self.texts, *self.numbers)

    @property
    def sctids(self) -> tuple[str, ...]:
        """The columns that hold SCTIDs."""
        return ("moduleId", *self.ids) if self.member else ("id", "moduleId", *self.ids)

    def empty(self) -> pl.DataFrame:
        """No rows, with the columns of `read_rows`."""
        ids = {"id": pl.String if self.member else pl.Int64, **dict.fromkeys(self.sctids, pl.Int64)}
        rest = {"effectiveTime": pl.Int32, "active": pl.Boolean, **dict.fromkeys(self.numbers, pl.Int32), **dict.fromkeys(self.texts, pl.String)}
        return pl.DataFrame(schema={LINE: pl.UInt32, **ids, **rest, "file": pl.UInt16})


@dataclass(slots=True)
class Reports:
    """What was left out, and the names of the files read, by their number in the column `file`."""

    files: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def rows(self, frame: pl.DataFrame, code: str, reason: str, text: str) -> None:
        """Report rows of `read_rows`: their file and line, the value of the column `code`, and of the expression's column `text`."""
        for file, line, who, what in frame.select("file", LINE, pl.col(code).cast(pl.String), pl.col(text).cast(pl.String)).iter_rows():
            self.rejections.append(Rejection(f"{self.files[file]}:{line}", who or "", reason, what or ""))


def read_rows(path: Path, layout: Layout, reports: Reports) -> pl.DataFrame:
    """One file: `LINE`, `file` (number in `reports.files`) and the wanted columns; every row has all its values.

    Comment and blank lines and rows whose ids, times, flags or numbers cannot be read are reported.

    Raises:
        FormatError: no header, a wanted column is missing, a row of another width, not UTF-8; or an id that a spreadsheet turned into a
            floating-point number, since its neighbours may have been rounded without a trace.
    """
    header_line, columns = _header(path)
    _check_header(path, header_line, columns, layout)
    checked = check_rows(path, columns, "\t", comments=True)
    reports.files.append(path.name)
    reports.rejections.extend(Rejection(f"{path.name}:{number}", "", "comment_or_blank", text) for number, text in _skipped(checked))
    rows = checked.scan(lines=True).filter(pl.col(LINE) != header_line).select(LINE, *layout.columns)
    frame = collected(rows.select(LINE, *_typed(layout)), path)
    readable = pl.all_horizontal(pl.all().is_not_null())
    unreadable = frame.filter(~readable)
    if unreadable.height:
        _report_unreadable(collected(rows.join(unreadable.lazy().select(LINE), on=LINE, how="semi"), path).sort(LINE), path, layout, reports)
        frame = frame.filter(readable)
    return frame.with_columns(pl.lit(len(reports.files) - 1, pl.UInt16).alias("file"))


def _typed(layout: Layout) -> Iterable[pl.Expr]:
    if layout.member:
        yield pl.col("id")
    for name in layout.sctids:
        yield pl.when(pl.col(name).str.contains(SCTID)).then(pl.col(name)).cast(pl.Int64, strict=False)
    yield pl.when(pl.col("effectiveTime").str.contains(r"^[0-9]{8}$")).then(pl.col("effectiveTime")).cast(pl.Int32, strict=False)
    yield pl.when(pl.col("active").is_in(["0", "1"])).then(pl.col("active") == "1")
    for name in layout.numbers:
        yield pl.when(pl.col(name).str.contains(NUMBER)).then(pl.col(name)).cast(pl.Int32, strict=False)
    yield from map(pl.col, layout.texts)


def _header(path: Path) -> tuple[int, tuple[str, ...]]:
    """Line number and columns of the first line that is neither blank nor a comment."""
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(1 << 16), b""), 1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if line.strip() and not line.startswith(b"#"):
                return number, tuple(line.decode(errors="replace").rstrip("\r\n").split("\t"))
    raise FormatError("the file has no rows", path, hint="fetch the release again")


def _check_header(path: Path, line: int, columns: Sequence[str], layout: Layout) -> None:
    missing = [name for name in layout.columns if name not in columns]
    if missing:
        raise FormatError(f"the header has no column {', '.join(map(repr, missing))}", path, line, "an RF2 file opens with tab-separated column names")
    if len(set(columns)) < len(columns):
        raise FormatError("the header names a column twice", path, line, "fetch the release again")


def _skipped(checked: Checked) -> Iterable[tuple[int, str]]:
    if not checked.skipped:
        return
    numbers = set(checked.skipped)
    with checked.path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number in numbers:
                yield number, line.decode("utf-8-sig").strip()


def _report_unreadable(rows: pl.DataFrame, path: Path, layout: Layout, reports: Reports) -> None:
    """Rejections of rows, all columns strings; a row's first fault is its reason."""
    for row in rows.iter_rows(named=True):
        reason, column = _fault(row, layout)
        if reason == "float_id":
            problem = f"{row[column]!r} in column {column} is no SNOMED CT id: a spreadsheet turned it into a floating-point number"
            raise FormatError(problem, path, row[LINE], _ORIGINAL)
        reports.rejections.append(Rejection(f"{path.name}:{row[LINE]}", row["id"], reason, f"{column}: {row[column]}"))


def _fault(row: dict[str, str], layout: Layout) -> tuple[str, str]:
    for name in layout.sctids:
        if not re.fullmatch(SCTID, row[name]):
            return "float_id" if re.fullmatch(_FLOAT, row[name]) else "bad_id", name
    if row["active"] not in ("0", "1"):
        return "bad_active", "active"
    number = next((name for name in layout.numbers if not re.fullmatch(NUMBER, row[name])), None)
    return ("bad_number", number) if number else ("bad_time", "effectiveTime")


def latest(frames: Sequence[pl.DataFrame], date: int | None, reports: Reports) -> pl.DataFrame:
    """The state of every component at a date: of the rows of one id the one with the latest effectiveTime.

    Args:
        frames: at least one, of `read_rows`, the decisive ones last: of equally late rows the last one holds.
        date: YYYYMMDD; later rows count as not there; None for no limit.
        reports: told of a file that gives one id two states at one time, and of files that differ about an id's latest state.
    """
    rows = pl.concat(frames)
    if date is not None:
        rows = rows.filter(pl.col("effectiveTime") <= date)
    repeated = rows["id"].is_duplicated()
    if not repeated.any():
        return rows
    ordered = rows.filter(repeated).sort("effectiveTime", maintain_order=True)
    twice = ordered.filter(pl.struct("id", "effectiveTime", "file").is_duplicated() & ~pl.struct("id", "effectiveTime", "file").is_last_distinct())
    reports.rows(twice, "id", "duplicate_id", "effectiveTime")
    held = ordered.unique("id", keep="last", maintain_order=True)
    if len(frames) > 1:
        _report_differing(ordered.join(twice, on=["file", LINE], how="anti", maintain_order="left"), held, reports)
    return pl.concat([rows.filter(~repeated), held])


def _report_differing(rows: pl.DataFrame, held: pl.DataFrame, reports: Reports) -> None:
    """Report the rows as late as the one that holds, from another file and with other values."""
    winners = held.select("id", "effectiveTime", holds="file")
    rivals = rows.join(winners, on=["id", "effectiveTime"], maintain_order="left").filter(pl.col("file") != pl.col("holds"))
    values = [name for name in held.columns if name not in (LINE, "file")]
    other = rivals.join(held, on=values, how="anti", maintain_order="left")
    names = pl.Series(reports.files, dtype=pl.String)
    said = pl.format("other values at {}; {} holds", "effectiveTime", names.gather(other["holds"]).alias("name"))
    reports.rows(other.with_columns(said.alias("said")), "id", "differs_between_sources", "said")


def report_check_digits(concepts: pl.DataFrame, reports: Reports) -> None:
    """Report once how many concept ids fail their check digit, with the first of them: a spreadsheet rounds ids of 16 digits and more."""
    failing = concepts.filter(~pl.Series(check_digits_hold(concepts["id"].to_numpy()), dtype=pl.Boolean)).sort("file", LINE)
    said = f"{failing.height} of {concepts.height} concept ids, this one first, fail their check digit: made up, or rounded by a spreadsheet"
    reports.rows(failing.head(1).with_columns(pl.lit(said).alias("said")), "id", "check_digit", "said")


def check_digits_hold(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the last digit of each SCTID is the one that Verhoeff's method gives for the others.

    Method: J. Verhoeff, Error Detecting Decimal Codes, 1969; SNOMED CT Release File Specification, "Check-digit".  Digits are elements of the
    dihedral group of order 10; each is permuted by its place, from the right, and all are multiplied: the product of a right id is 0.

    Args:
        ids: positive.  Shape: (ids,).

    Returns:
        Shape: (ids,).
    """
    product, rest = np.zeros(len(ids), np.int8), ids.copy()
    permuted = np.arange(10, dtype=np.int8)
    while rest.any():
        # Past an id's first digit nothing is left to multiply by; a 0 there would be permuted into something.
        product = np.where(rest > 0, _DIHEDRAL[product, permuted[rest % 10]], product)
        permuted, rest = _VERHOEFF[permuted], rest // 10
    holds: NDArray[np.bool_] = product == 0
    return holds


def _multiplied(one: int, two: int) -> int:
    """The product of two symmetries of a pentagon: 0 to 4 are its rotations, 5 to 9 its reflections."""
    turned = (one + two if one < 5 else one - two) % 5
    return turned + 5 * ((one < 5) != (two < 5))


_DIHEDRAL = np.array([[_multiplied(one, two) for two in range(10)] for one in range(10)], np.int8)
_VERHOEFF = np.array([1, 5, 7, 6, 2, 8, 3, 0, 9, 4], np.int8)
