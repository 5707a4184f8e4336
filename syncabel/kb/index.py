"""The mapped index of a knowledge base: what one look-up needs, as flat arrays beside the tables.

    <column>.npy <column>_offsets.npy     strings of one column as a blob (`syncabel.strings`), in the order of its rows
    <list>_starts.npy                     first string of each concept in a list column
    name_starts.npy name_marks.npy        first name of each concept; language, scope and preference of each name
    parents_row*.npy children_row*.npy    the hierarchy both ways, by row
    alternatives*.npy alternative_row.npy alternative codes, sorted, and the concept each stands for
    names.marisa                          folded name -> rows of its concepts
    digest                                of the content it was made from

Opening maps the files and reads none of them, so ten million names open at once; one look-up touches a few pages.
"""

import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import marisa_trie
import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.errors import DigestMismatchError, IncompleteFolderError
from syncabel.kb.hierarchy import parent_edges
from syncabel.kb.tables import LISTS, Tables, string_table
from syncabel.strings import StringTable
from syncabel.text import control_character, fold
from syncabel.types import Name, Scope

__all__ = ["FILES", "Index", "Rows", "write"]

NAMES = "names.marisa"
DIGEST = "digest"
_ROW = "<I"  # a concept's row as the name index stores it: uint32, little-endian
_BATCH = 1 << 18
_SCOPES: tuple[Scope, ...] = get_args(Scope)
_STRINGS = ("code", "definition", "text", "language", "alternatives", *LISTS)
_NUMBERS = ("name_starts", "name_marks", "parents_row", "parents_row_starts", "children_row", "children_row_starts", "alternative_row")
ARRAYS = (*_STRINGS, *(f"{name}_offsets" for name in _STRINGS), *(f"{name}_starts" for name in LISTS), *_NUMBERS)

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Lists:
    """A list of strings per row. starts: int64, shape (rows + 1,)."""

    starts: Array
    values: StringTable

    @cached_property
    def _starts(self) -> Any:
        return np.ascontiguousarray(self.starts).data

    def __getitem__(self, row: int) -> tuple[str, ...]:
        starts = self._starts
        return tuple(self.values[i] for i in range(starts[row], starts[row + 1]))


class Rows:
    """A list of row numbers per row. starts: int64, shape (rows + 1,); values: uint32."""

    def __init__(self, starts: Array, values: Array) -> None:
        # A few numbers at a time, a memoryview answers several times faster than an array does.
        self._starts: Any = np.ascontiguousarray(starts).data
        self._values: Any = np.ascontiguousarray(values).data

    def __getitem__(self, row: int) -> list[int]:
        found: list[int] = self._values[self._starts[row] : self._starts[row + 1]].tolist()
        return found


class Index:
    """Look-ups by row; a row is a concept's place in code order.

    Attributes:
        codes: sorted.
        definitions: "" for none.
        lists: the list columns of concepts.
        parents, children: known ones, by row.
    """

    def __init__(self, arrays: Mapping[str, Array], names: Any) -> None:
        def strings(name: str) -> StringTable:
            return StringTable(arrays[name], arrays[f"{name}_offsets"])

        self.codes, self.definitions = strings("code"), strings("definition")
        self.lists = {name: Lists(arrays[f"{name}_starts"], strings(name)) for name in LISTS}
        self.parents = Rows(arrays["parents_row_starts"], arrays["parents_row"])
        self.children = Rows(arrays["children_row_starts"], arrays["children_row"])
        self._alternatives, self._alternative_row = strings("alternatives"), arrays["alternative_row"]
        self._name_starts: Any = np.ascontiguousarray(arrays["name_starts"]).data
        self._texts, self._languages = strings("text"), list(strings("language"))
        self._marks: Any = np.ascontiguousarray(arrays["name_marks"]).data
        self._trie = names

    @classmethod
    def load(cls, folder: Path, digest: str, concepts: int, names: int) -> "Index":
        """Map a folder.

        Args:
            folder: that `write` wrote.
            digest, concepts, names: of the knowledge base it must belong to.

        Raises:
            DigestMismatchError: it belongs to another one.
            IncompleteFolderError: a file cannot be read.
        """
        try:
            if (made_of := (folder / DIGEST).read_text("ascii").strip()) != digest:
                raise DigestMismatchError(str(folder), digest, made_of, "build the knowledge base again")
            arrays = {name: _mapped(folder / f"{name}.npy") for name in ARRAYS}
            if (len(arrays["code_offsets"]), len(arrays["name_marks"])) != (concepts + 1, names):
                raise IncompleteFolderError(f"{folder} holds another number of concepts or names; build the knowledge base again")
            return cls(arrays, marisa_trie.RecordTrie(_ROW).mmap(str(folder / NAMES)))
        except (OSError, ValueError, EOFError, RuntimeError, SyntaxError, tokenize.TokenError) as error:  # the last two: damaged .npy headers
            raise IncompleteFolderError(f"{folder} cannot be read ({str(error).splitlines()[0]}); build the knowledge base again") from None

    @classmethod
    def of(cls, tables: Tables) -> "Index":
        """The index of tables, in memory."""
        return cls(dict(arrays_of(tables)), name_trie(tables))

    def canonical(self, code: str) -> int:
        """The row of a code or of what it is an alternative of; −1 for an unknown one."""
        row = self.codes.find(code)
        if row >= 0:
            return row
        place = self._alternatives.find(code)
        return int(self._alternative_row[place]) if place >= 0 else -1

    def names(self, row: int) -> tuple[Name, ...]:
        """A concept's names in their order."""
        return tuple(self._name(i) for i in range(self._name_starts[row], self._name_starts[row + 1]))

    def _name(self, i: int) -> Name:
        mark = self._marks[i]
        return Name(self._texts[i], self._languages[mark >> 3], _SCOPES[mark >> 1 & 3], bool(mark & 1))

    def rows_of(self, name: str) -> list[int]:
        """Rows of the concepts that have this name, case and width aside; ascending."""
        key = fold(name)
        # No name holds a control character, and the trie would take one for the end of a key.
        return [] if control_character(key) else sorted(row for (row,) in self._trie.get(key, ()))

    def starting_with(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(folded name, row) of the names whose folded form starts with the folded prefix, in the index's order."""
        key = fold(prefix)
        return iter(()) if control_character(key) else ((name, row) for name, (row,) in self._trie.iteritems(key))


def arrays_of(tables: Tables) -> Iterator[tuple[str, Array]]:
    """Every array of ARRAYS with its name, one at a time, so that a writer holds one of them only."""
    concepts, names = tables.concepts, tables.names
    yield from _strings("code", concepts["code"])
    yield from _strings("definition", concepts["definition"].fill_null(""))
    for name in LISTS:
        column = concepts[name]
        yield f"{name}_starts", _starts(column.list.len().to_numpy())
        yield from _strings(name, column.filter(column.list.len() > 0).explode())
    yield from _strings("text", names["text"])
    languages = cast(pl.Enum, names["language"].dtype).categories
    yield from _strings("language", languages)
    yield "name_starts", _starts(np.bincount(names["concept"].to_numpy(), minlength=concepts.height))
    yield "name_marks", _marks(names)
    child, parent = parent_edges(concepts)
    yield from _rows("parents_row", child, parent, concepts.height)
    order = np.lexsort((child, parent))
    yield from _rows("children_row", parent[order], child[order], concepts.height)
    pairs = concepts.select("alt_codes", row=pl.row_index()).filter(pl.col("alt_codes").list.len() > 0).explode("alt_codes").sort("alt_codes")
    yield from _strings("alternatives", pairs["alt_codes"])
    yield "alternative_row", pairs["row"].to_numpy().astype(np.uint32)


def _mapped(path: Path) -> Array:
    try:
        mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    except ValueError:  # of nothing there is no mapping
        return np.asarray(np.load(path, allow_pickle=False))


def _strings(name: str, column: pl.Series) -> Iterator[tuple[str, Array]]:
    table = string_table(column)
    yield name, table.blob
    yield f"{name}_offsets", table.offsets


def _starts(lengths: Array) -> NDArray[np.int64]:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _rows(name: str, keys: NDArray[np.int64], values: NDArray[np.int64], count: int) -> Iterator[tuple[str, Array]]:
    yield name, values.astype(np.uint32)
    yield f"{name}_starts", _starts(np.bincount(keys, minlength=count))


def _marks(names: pl.DataFrame) -> Array:
    """One number a name: language × 8 + scope × 2 + preferred. Shape: (names,), uint16."""
    language, scope = (names[column].to_physical().to_numpy().astype(np.uint16) for column in ("language", "scope"))
    marks: Array = language << 3 | scope << 1 | names["preferred"].to_numpy().astype(np.uint16)
    return marks


def name_trie(tables: Tables) -> Any:
    """Folded name -> rows of its concepts, as a marisa trie."""
    return marisa_trie.RecordTrie(_ROW, _folded(tables.names))


def _folded(names: pl.DataFrame) -> Iterator[tuple[str, tuple[int]]]:
    # Of ASCII text, lower case is what folding comes to, and a column does it at once.
    ascii_only = pl.col("text").str.len_bytes() == pl.col("text").str.len_chars()
    text = pl.when(ascii_only).then(pl.col("text").str.to_lowercase()).otherwise("text")
    for start in range(0, names.height, _BATCH):
        part = names.slice(start, _BATCH).select(text, "concept", done=ascii_only)
        for string, row, done in zip(*(column.to_list() for column in part), strict=True):
            yield (string if done else fold(string)), (row,)


FILES = (*(f"{name}.npy" for name in ARRAYS), NAMES, DIGEST)


def write(tables: Tables, digest: str, folder: Path) -> None:
    """Write the index of tables, one array at a time.

    Args:
        tables: the content.
        digest: of the content.
        folder: an existing one.
    """
    for name, values in arrays_of(tables):
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    name_trie(tables).save(str(folder / NAMES))
    (folder / DIGEST).write_text(digest + "\n", encoding="ascii")
