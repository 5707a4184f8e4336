"""Rows of the project's types as Parquet: a column is a field of the dataclass, so no column's name is written twice."""

import dataclasses
import os
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from syncabel.errors import FormatError, MissingExtraError
from syncabel.types import from_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_fields", "parquet_file", "parquet_rows"]

ROW_GROUP = 4096  # rows that are Python objects at the same time
_T = TypeVar("_T")


def arrow_fields(kind: type) -> list["pa.Field"]:
    """The columns of a dataclass."""
    import pyarrow as pa

    hints = get_type_hints(kind)
    return [pa.field(one.name, _arrow_type(hints[one.name])) for one in dataclasses.fields(kind)]


def _arrow_type(hint: Any) -> Any:
    import pyarrow as pa

    if get_origin(hint) in (Union, types.UnionType):
        return _arrow_type(next(arg for arg in get_args(hint) if arg is not type(None)))
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(arrow_fields(hint))  # type: ignore[arg-type]
    return {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}[str if get_origin(hint) is Literal else hint]


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError("train", "pyarrow") from None
    return pyarrow.parquet


@contextmanager
def parquet_file(path: Path | str, kind: type, row_group: int = ROW_GROUP) -> Iterator[Callable[[Any], None]]:
    """A file to put rows into, one row group in memory at a time; it takes its place at the end, and not where writing fails.

    Args:
        path: the file; folders above it are made.
        kind: dataclass of the rows.
        row_group: rows a group.

    Raises:
        MissingExtraError: pyarrow is not installed.
        FormatError: a row holds half a surrogate pair.
    """
    parquet, path = _parquet(), Path(path)
    import pyarrow as pa

    schema = pa.schema(arrow_fields(kind))
    held: list[dict[str, Any]] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")

    def flush() -> None:
        try:
            writer.write_table(pa.Table.from_pylist(held, schema=schema))
        except UnicodeEncodeError:
            raise FormatError("a row holds half a surrogate pair, which no file can hold", path, hint="mend the document it is from") from None
        held.clear()

    def put(row: Any) -> None:
        held.append(dataclasses.asdict(row))
        if len(held) == row_group:
            flush()

    try:
        with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            yield put
            if held:
                flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def parquet_rows(path: Path | str, kind: type[_T]) -> Iterator[_T]:
    """The rows of a file, read in a stream.

    Raises:
        MissingExtraError: pyarrow is not installed.
        FormatError: no Parquet, cut off, or a row that is none of the type; with file and row, counted from 1.
    """
    parquet, number = _parquet(), 0
    import pyarrow as pa

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROW_GROUP):
                for value in batch.to_pylist():
                    number += 1
                    yield from_json(kind, value)
    except pa.ArrowInvalid as error:
        raise FormatError(f"no Parquet file, or cut off: {error}", path, hint="write it again") from None
    except FormatError as error:
        raise FormatError(str(error), path, number) from None
