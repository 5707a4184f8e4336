"""The knowledge base in use: look-ups over a mapped index, columns for what goes over all of it, saved as a folder.

    manifest.json                 facts, counts and digests; written last
    concepts.parquet names.parquet relations.parquet retired.parquet maps.parquet
    index/                        the mapped index (`syncabel.kb.index`); made in memory where a folder comes without it
    rejected.jsonl                what building left out, where there was something

No Concept is kept in memory: one is made from the index when it is asked for.
"""

import errno
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from syncabel.errors import ConfigError, DigestMismatchError, IncompleteFolderError, UnknownNameError
from syncabel.kb.index import FILES, Index, Rows
from syncabel.kb.index import write as write_index
from syncabel.kb.manifest import FORMAT_VERSION, MANIFEST, FileDigest, Manifest, check_digest, file_digest, is_replaceable, read_manifest, stamp_of
from syncabel.kb.tables import TABLES, Tables, tables_of
from syncabel.kb.vocabulary import About, Entry, Frames, schema_of
from syncabel.types import Concept, MapRule, Rejection, Relation, Retired, to_json

__all__ = ["SHIPPED", "KnowledgeBase"]

SHIPPED = ("doid",)  # folders under syncabel/kb/data, each made by a script in scripts/
_INDEX = "index"
_REJECTED = "rejected.jsonl"
_NEIGHBOURS = 8
_ATTEMPTS = 5
_ZSTD = 3  # a higher level takes minutes for ten million names and saves a fifth
_INDEX_FILES = tuple(f"{_INDEX}/{name}" for name in FILES)


class KnowledgeBase:
    """Concepts, their names and how they relate; immutable, in code order.

    Made by `build`, `load` or `subset`.

    Attributes:
        manifest: facts and counts.
    """

    def __init__(self, manifest: Manifest, table: Callable[[str], pl.DataFrame], rejected: Callable[[], pl.DataFrame], index: Index | None = None) -> None:
        self.manifest = manifest
        self._read_table, self._read_rejected, self._given_index = table, rejected, index
        self._tables_read: dict[str, pl.DataFrame] = {}

    @classmethod
    def build(cls, content: Iterable[Entry] | Frames, about: About) -> "KnowledgeBase":
        """A knowledge base out of what a reader hands back, in any order.

        Names are cleaned and each kept once per concept and language; names with control characters, concepts without a name,
        alternative codes that are no one-to-one link, parents and relations that lead nowhere are listed in `rejections`.

        Raises:
            FormatError: a code comes twice, is_a runs in a circle, a concept has no group, or there is no concept.
            MarkupError: a group's name holds `|`, a brace or a bracket.
        """
        tables, rejected = tables_of(content, about.source)
        return cls.of_tables(tables, about, rejected)

    @classmethod
    def of_tables(cls, tables: Tables, about: About, rejected: pl.DataFrame | None = None, parts: tuple[About, ...] = ()) -> "KnowledgeBase":
        """The knowledge base of tables that `tables_of` made, or a part of such.

        Args:
            tables: checked ones.
            about: facts for the manifest.
            rejected: what was left out, columns of `Rejection`; None for nothing.
            parts: what it was merged from.
        """
        left_out = pl.DataFrame(schema=schema_of(Rejection)) if rejected is None else rejected
        manifest = Manifest(
            FORMAT_VERSION,
            about,
            tables.digest(),
            **{name: getattr(tables, name).height for name in TABLES},
            ambiguous_names=tables.ambiguous().height,
            groups=tuple(sorted(set(tables.concepts["groups"].explode().unique()))),
            languages=tuple(sorted(tables.names["language"].cast(pl.String).unique())),
            rejected=left_out.height,
            parts=parts,
        )
        return cls(manifest, lambda name: cast(pl.DataFrame, getattr(tables, name)), lambda: left_out)

    @classmethod
    def load(cls, source: str | Path, verify: bool = False) -> "KnowledgeBase":
        """A saved or a shipped knowledge base.  Nothing is read but the manifest: files are mapped, tables read when asked for.

        Args:
            source: a folder, or the name of a shipped one; a string that is a shipped name means that, write `./doid` for
                a folder of the same name.
            verify: read every file and compare its digest; without it only sizes are compared.

        Raises:
            UnknownNameError: neither a folder nor a shipped name.
            IncompleteFolderError: it was half written, or files are missing.
            DigestMismatchError: a file was altered.  (Tables and rejections are compared whenever they are read.)
            FormatError: it has another format version.
        """
        folder = _folder(source)
        stamp = stamp_of(folder)
        try:
            return cls._opened(folder, verify)
        except (IncompleteFolderError, DigestMismatchError, OSError):
            # A writer may have moved a new folder into its place between two of our files.
            if stamp_of(folder) == stamp:
                raise
            return cls._opened(folder, verify)

    @classmethod
    def _opened(cls, folder: Path, verify: bool) -> "KnowledgeBase":
        manifest = read_manifest(folder, verify)
        listed = {file.path: file for file in manifest.files}
        index_missing = set(_INDEX_FILES) - listed.keys()
        missing = {_parquet(name) for name in TABLES} - listed.keys() | (set() if len(index_missing) == len(_INDEX_FILES) else index_missing)
        if missing:
            raise IncompleteFolderError(f"{folder}: {MANIFEST} does not list {', '.join(sorted(missing))}; build it again with `syncabel kb build`")

        def table(name: str) -> pl.DataFrame:
            return _read_table(folder, listed[_parquet(name)])

        def rejected() -> pl.DataFrame:
            return _read_rejected(folder, listed.get(_REJECTED))

        index = None if index_missing else Index.load(folder / _INDEX, manifest.digest, manifest.concepts, manifest.names)
        kb = cls(manifest, table, rejected, index)
        if verify and (found := kb.tables.digest()) != manifest.digest:
            raise DigestMismatchError(str(folder), manifest.digest, found, "build it again with `syncabel kb build`")
        return kb

    def save(self, folder: str | Path, index: bool = True) -> None:
        """Write the folder beside its place, then move it there: readers see the old one, or none, or the whole new one.

        Args:
            folder: a new one, or that of a knowledge base to replace.
            index: also write the mapped index; without it the folder is several times smaller, and each opening makes it in memory.

        Raises:
            ConfigError: something stands there that is no knowledge base.
        """
        folder = Path(folder).resolve()
        if folder.exists() and not is_replaceable(folder):
            raise ConfigError(f"{folder} exists and is no knowledge base, or holds other files too; give another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            self._write(Path(temporary, "new"), index)
            _move_in(Path(temporary), folder)

    def _write(self, folder: Path, index: bool) -> None:
        (folder / _INDEX if index else folder).mkdir(parents=True)
        paths = [_parquet(name) for name in TABLES]
        for name, path in zip(TABLES, paths, strict=True):
            getattr(self.tables, name).write_parquet(folder / path, compression="zstd", compression_level=_ZSTD)
        if index:
            write_index(self.tables, self.digest, folder / _INDEX)
            paths += _INDEX_FILES
        if self.manifest.rejected:
            self._rejected.write_ndjson(folder / _REJECTED)
            paths.append(_REJECTED)
        manifest = replace(self.manifest, files=tuple(file_digest(folder, path) for path in paths))
        (folder / MANIFEST).write_text(json.dumps(to_json(manifest), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return self.manifest.concepts

    def __contains__(self, code: object) -> bool:
        return isinstance(code, str) and self._index.codes.find(code) >= 0

    def __getitem__(self, code: str) -> Concept:
        return self.concept(code)

    def __repr__(self) -> str:
        return f"KnowledgeBase({self.about.source!r}, {self.about.release!r}: {len(self)} concepts, {self.n_names} names)"

    @property
    def about(self) -> About:
        """Which vocabulary it is, and under what terms."""
        return self.manifest.about

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return self.manifest.digest

    @property
    def n_names(self) -> int:
        """How many names all concepts have together."""
        return self.manifest.names

    @property
    def ambiguous_names(self) -> int:
        """How many distinct strings are a name of two concepts or more."""
        return self.manifest.ambiguous_names

    @property
    def groups(self) -> tuple[str, ...]:
        """Semantic groups, sorted."""
        return self.manifest.groups

    @cached_property
    def tables(self) -> Tables:
        """All of it as columns; of a loaded one, read from its Parquet files now."""
        return Tables(*(self.table(name) for name in TABLES))

    def table(self, name: str) -> pl.DataFrame:
        """One of the tables, a field of `Tables`; of a loaded one, no other file is read."""
        if name not in self._tables_read:
            self._tables_read[name] = self._read_table(name)
        return self._tables_read[name]

    @cached_property
    def _rejected(self) -> pl.DataFrame:
        return self._read_rejected()

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """What building left out, the reader's own first."""
        return tuple(Rejection(*row) for row in self._rejected.iter_rows())

    def rejections_of(self, code: str) -> tuple[Rejection, ...]:
        """What building left out of one code, a concept or none."""
        return tuple(Rejection(*row) for row in self._rejected.filter(pl.col("code") == code).iter_rows())

    def rejected_by_reason(self) -> dict[str, int]:
        """How many rejections there are of each reason, by reason."""
        return dict(self._rejected.group_by("reason").len().sort("reason").iter_rows())

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """All codes, sorted."""
        return tuple(self._index.codes)

    @cached_property
    def _index(self) -> Index:
        return Index.of(self.tables) if self._given_index is None else self._given_index

    def canonical(self, code: str) -> str | None:
        """The concept's own code, for itself or an alternative one; None for an unknown code."""
        row = self._index.canonical(code)
        return None if row < 0 else self._index.codes[row]

    def retired(self, code: str) -> tuple[Retired, ...]:
        """What the vocabulary says of a retired code, one per reason; empty for any other code."""
        return tuple(Retired(code, reason, successors) for reason, successors in self._retired.get(code, ()))

    def concept(self, code: str) -> Concept:
        """The concept of a code (alternative ones go through `canonical` first).

        Raises:
            UnknownNameError: no concept has this code.
        """
        return self._concept(self._row(code))

    def concepts(self) -> Iterator[Concept]:
        """All concepts in code order."""
        return (self._concept(row) for row in range(len(self)))

    def in_group(self, group: str) -> Iterator[Concept]:
        """The concepts of a semantic group, in code order.

        Raises:
            UnknownNameError: no concept is of this group.
        """
        if group not in self.groups:
            raise UnknownNameError("group", group, self.groups)
        return (concept for concept in self.concepts() if group in concept.groups)

    def relations(self) -> Iterator[Relation]:
        """Relationships other than is_a, sorted."""
        return (Relation(*row) for row in self.table("relations").iter_rows())

    def relations_of(self, code: str) -> tuple[Relation, ...]:
        """Relationships that start or end at a concept, sorted.

        Raises:
            UnknownNameError: no concept has this code.
        """
        self._row(code)
        ends = (pl.col("source") == code) | (pl.col("target") == code)
        return tuple(Relation(*row) for row in self.table("relations").filter(ends).iter_rows())

    def maps_of(self, code: str) -> tuple[MapRule, ...]:
        """Rows of maps to other vocabularies for a concept, sorted by target, group and priority.

        Raises:
            UnknownNameError: no concept has this code.
        """
        self._row(code)
        return tuple(MapRule(*row) for row in self.table("maps").filter(pl.col("code") == code).iter_rows())

    def codes_of(self, name: str) -> tuple[str, ...]:
        """Codes of the concepts that have this name, case and width aside (`text.fold`), in code order."""
        return tuple(self._index.codes[row] for row in self._index.rows_of(name))

    def names_starting_with(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(folded name, code) for the names that start with a prefix, case and width aside, in the index's order."""
        return ((name, self._index.codes[row]) for name, row in self._index.starting_with(prefix))

    def parents(self, code: str) -> tuple[str, ...]:
        """Direct parents that are concepts, in the order stated.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return tuple(self._index.codes[row] for row in self._index.parents[self._row(code)])

    def children(self, code: str, most: int | None = None) -> tuple[str, ...]:
        """Direct children, in code order.

        Args:
            code: the parent.
            most: so many of them, the first ones; all where None.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return tuple(self._index.codes[row] for row in self._index.children[self._row(code)][:most])

    def ancestors(self, code: str) -> list[str]:
        """All concepts above, nearest first, each once.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return [self._index.codes[row] for level in self._levels(self._row(code), self._index.parents) for row in level]

    def descendants(self, code: str) -> list[str]:
        """All concepts below, nearest first, each once.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return [self._index.codes[row] for level in self._levels(self._row(code), self._index.children) for row in level]

    def levels_up(self, code: str) -> list[tuple[str, ...]]:
        """The concepts above by their depth: parents first, each concept where the shortest way meets it.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return [tuple(self._index.codes[row] for row in level) for level in self._levels(self._row(code), self._index.parents)]

    def levels_down(self, code: str) -> list[tuple[str, ...]]:
        """The concepts below by their depth: children first, each concept where the shortest way meets it.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return [tuple(self._index.codes[row] for row in level) for level in self._levels(self._row(code), self._index.children)]

    def subset(self, codes: Iterable[str]) -> "KnowledgeBase":
        """The knowledge base of some of the concepts, as they are; relations where both ends are kept.

        Raises:
            UnknownNameError: no concept has one of the codes.
        """
        rows = np.unique(np.fromiter((self._row(code) for code in codes), np.int64))
        return self.of_tables(self.tables.subset(rows), self.about, parts=self.manifest.parts)

    def _row(self, code: str) -> int:
        row = self._index.codes.find(code)
        if row < 0:
            raise UnknownNameError("concept code", code, self._near(code), total=len(self))
        return row

    def _near(self, code: str) -> list[str]:
        """Codes that sort next to an unknown one: among millions, comparing with each would take minutes."""
        table = self._index.codes
        place = table.place(code.encode("utf-8", "surrogatepass"))
        return [table[i] for i in range(max(0, place - _NEIGHBOURS), min(len(table), place + _NEIGHBOURS))]

    def _concept(self, row: int) -> Concept:
        index = self._index
        lists = {name: values[row] for name, values in index.lists.items()}
        return Concept(index.codes[row], index.names(row), definition=index.definitions[row] or None, **lists)

    @staticmethod
    def _levels(row: int, edges: Rows) -> Iterator[list[int]]:
        found = {row}
        level = [row]
        while level := list(dict.fromkeys(other for one in level for other in edges[one] if other not in found)):
            found.update(level)
            yield level

    @cached_property
    def _retired(self) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for code, reason, successors in self.table("retired").iter_rows():
            found.setdefault(code, []).append((reason, tuple(successors)))
        return found


def _move_in(temporary: Path, folder: Path) -> None:
    """Move `temporary/new` to a folder's place, and what stood there aside; another process may be doing the same."""
    for attempt in range(_ATTEMPTS):
        if folder.exists():
            folder.rename(temporary / f"old{attempt}")
        try:
            (temporary / "new").rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == _ATTEMPTS - 1:
                raise


def _parquet(table: str) -> str:
    return f"{table}.parquet"


def _folder(source: str | Path) -> Path:
    if isinstance(source, str) and source in SHIPPED:
        return Path(str(resources.files("syncabel.kb") / "data" / source))
    if not Path(source).is_dir():
        raise UnknownNameError("knowledge base (neither a folder nor a shipped one)", str(source), SHIPPED)
    return Path(source)


def _read_table(folder: Path, file: FileDigest) -> pl.DataFrame:
    # All of it is about to be read anyway, so its digest costs little.
    check_digest(folder, file)
    return pl.read_parquet(folder / file.path, glob=False)


def _read_rejected(folder: Path, file: FileDigest | None) -> pl.DataFrame:
    schema = schema_of(Rejection)
    if file is None:
        return pl.DataFrame(schema=schema)
    check_digest(folder, file)
    return pl.read_ndjson(folder / file.path, schema=schema)
