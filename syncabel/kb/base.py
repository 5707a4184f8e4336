"""The knowledge base in use: look-ups over tables, saved as a folder.

    manifest.json                 facts, counts and digests; written last
    concepts.parquet names.parquet relations.parquet
    index/names.marisa            folded name -> rows of its concepts
    rejected.jsonl                what building left out, where there was something

No Concept is kept in memory: one is made from the tables when it is asked for.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import marisa_trie
import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.corpora import write_rejections
from syncabel.errors import ConfigError, IncompleteFolderError, UnknownNameError
from syncabel.kb.manifest import FORMAT_VERSION, MANIFEST, Manifest, file_digest, read_manifest
from syncabel.kb.tables import CONCEPT_FIELDS, NAME_FIELDS, Tables, parent_edges, tables_of
from syncabel.text import fold
from syncabel.types import Concept, Name, Rejection, Relation, from_json, to_json

__all__ = ["SHIPPED", "KnowledgeBase"]

SHIPPED = ("doid",)  # folders under syncabel/kb/data, each made by a script in scripts/
_TABLES = ("concepts", "names", "relations")
_INDEX = "index/names.marisa"
_REJECTED = "rejected.jsonl"
_ROW = "<I"  # a concept's row as the name index stores it: uint32, little-endian
_BATCH = 8_192


class KnowledgeBase:
    """Concepts, their names and how they relate; immutable, in code order.

    Made by `build`, `load` or `subset`.

    Attributes:
        manifest: facts and counts.
        rejections: what building left out.
    """

    def __init__(self, tables: Tables, manifest: Manifest, rejections: Sequence[Rejection] = (), index: Any = None) -> None:
        self.manifest = manifest
        self.rejections = tuple(rejections)
        self._tables = tables
        self._given_index = index

    @classmethod
    def build(
        cls,
        concepts: Iterable[Concept | Rejection],
        *,
        source: str,
        release: str,
        licence: str,
        redistributable: bool,
        relations: Iterable[Relation] = (),
    ) -> "KnowledgeBase":
        """A knowledge base out of concepts in any order.

        Names are cleaned and each kept once per concept; names with control characters, concepts without a name, alternative
        codes that are no one-to-one link, and parents that do not exist are listed in `rejections`.

        Args:
            concepts: what a reader yields, its rejections included.
            source, release: which vocabulary, and which edition of it.
            licence: an SPDX identifier where there is one.
            redistributable: whether the names may be passed on.
            relations: relationships other than is_a.

        Raises:
            FormatError: a code comes twice, is_a runs in a circle, a concept has no group, or there is no concept.
            MarkupError: a group's name holds `|`, a brace or a bracket.
        """
        tables, rejections = tables_of(concepts, relations, source)
        return cls._described(tables, rejections, source=source, release=release, licence=licence, redistributable=redistributable)

    @classmethod
    def _described(cls, tables: Tables, rejections: Sequence[Rejection], *, source: str, release: str, licence: str, redistributable: bool) -> "KnowledgeBase":
        manifest = Manifest(
            FORMAT_VERSION,
            source,
            release,
            licence,
            redistributable,
            concepts=tables.concepts.height,
            names=tables.names.height,
            relations=tables.relations.height,
            ambiguous_names=tables.ambiguous_names(),
            groups=tuple(sorted(set(tables.concepts["groups"].explode().to_list()))),
            languages=tuple(sorted(tables.names["language"].unique())),
            digest=tables.digest(),
            rejected=len(rejections),
        )
        return cls(tables, manifest, rejections)

    @classmethod
    def load(cls, source: str | Path) -> "KnowledgeBase":
        """A saved or a shipped knowledge base, its files checked against their digests.

        Args:
            source: a folder, or the name of a shipped one; a string that is a shipped name means that, write `./doid` for
                a folder of the same name.

        Raises:
            UnknownNameError: neither a folder nor a shipped name.
            IncompleteFolderError: it was half written, or files are missing.
            DigestMismatchError: a file was altered.
            FormatError: it has another format version.
        """
        folder = _folder(source)
        manifest = read_manifest(folder)
        listed = {file.path for file in manifest.files}
        if missing := {*map(_parquet, _TABLES), _INDEX} - listed:
            raise IncompleteFolderError(f"{folder}: {MANIFEST} does not list {', '.join(sorted(missing))}; build it again with `syncabel kb build`")
        tables = Tables(*(pl.read_parquet(folder / _parquet(name), glob=False) for name in _TABLES))
        rejections = _read_rejections(folder / _REJECTED) if _REJECTED in listed else []
        return cls(tables, manifest, rejections, marisa_trie.RecordTrie(_ROW).mmap(str(folder / _INDEX)))

    def save(self, folder: str | Path) -> None:
        """Write the folder beside its place, then move it there: readers see the old one, or none, or the whole new one.

        Raises:
            ConfigError: something stands there that is no knowledge base.
        """
        folder = Path(folder)
        if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).exists())):
            raise ConfigError(f"{folder} exists and is no knowledge base; give another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            self._write(Path(temporary, "new"))
            if folder.exists():
                folder.rename(Path(temporary, "old"))
            Path(temporary, "new").rename(folder)

    def _write(self, folder: Path) -> None:
        (folder / _INDEX).parent.mkdir(parents=True)
        for name in _TABLES:
            getattr(self._tables, name).write_parquet(folder / _parquet(name), compression="zstd", compression_level=19)
        self._index.save(str(folder / _INDEX))
        paths = [*map(_parquet, _TABLES), _INDEX]
        if self.rejections:
            write_rejections(self.rejections, folder / _REJECTED)
            paths.append(_REJECTED)
        manifest = replace(self.manifest, files=tuple(file_digest(folder, path) for path in paths))
        (folder / MANIFEST).write_text(json.dumps(to_json(manifest), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return self.manifest.concepts

    def __contains__(self, code: object) -> bool:
        return code in self._rows

    def __repr__(self) -> str:
        return f"KnowledgeBase({self.manifest.source!r}, {self.manifest.release!r}: {len(self)} concepts, {self.n_names} names)"

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
    def codes(self) -> tuple[str, ...]:
        """All codes, sorted."""
        return tuple(self._tables.concepts["code"])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {code: row for row, code in enumerate(self.codes)}

    @cached_property
    def _alternatives(self) -> dict[str, int]:
        pairs = self._tables.concepts.select(pl.row_index("row"), "alt_codes").filter(pl.col("alt_codes").list.len() > 0).explode("alt_codes")
        return dict(zip(pairs["alt_codes"], pairs["row"], strict=True))

    @cached_property
    def _name_starts(self) -> NDArray[np.int64]:
        """First name of each concept. Shape: (concepts + 1,)."""
        return np.searchsorted(self._tables.names["concept"].to_numpy(), np.arange(len(self) + 1)).astype(np.int64)

    @cached_property
    def _index(self) -> Any:
        if self._given_index is not None:
            return self._given_index
        rows = self._tables.names.select("text", "concept").iter_rows()
        return marisa_trie.RecordTrie(_ROW, sorted({(fold(text), (row,)) for text, row in rows}))

    def canonical(self, code: str) -> str | None:
        """The concept's own code, for itself or an alternative one; None for an unknown code."""
        if code in self._rows:
            return code
        row = self._alternatives.get(code)
        return None if row is None else self.codes[row]

    def concept(self, code: str) -> Concept:
        """The concept of a code (alternative ones go through `canonical` first).

        Raises:
            UnknownNameError: no concept has this code.
        """
        return next(self._slice(self._row(code), 1))

    def concepts(self) -> Iterator[Concept]:
        """All concepts in code order."""
        for start in range(0, len(self), _BATCH):
            yield from self._slice(start, min(_BATCH, len(self) - start))

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
        return (Relation(*row) for row in self._tables.relations.iter_rows())

    def codes_for(self, name: str) -> tuple[str, ...]:
        """Codes of the concepts that have this name, case and width aside (`text.fold`), in code order."""
        return tuple(self.codes[row] for row in sorted(row for (row,) in self._index.get(fold(name), ())))

    def children(self, code: str) -> tuple[str, ...]:
        """Direct children, in code order.

        Raises:
            UnknownNameError: no concept has this code.
        """
        return tuple(self.codes[row] for row in self._down(self._row(code)))

    def ancestors(self, code: str) -> list[str]:
        """All concepts above, nearest first, each once.

        Raises:
            UnknownNameError: no concept has this code.
        """
        found: dict[int, None] = {}
        level = [self._row(code)]
        while level:
            level = list(dict.fromkeys(parent for row in level for parent in self._up(row) if parent not in found))
            found.update(dict.fromkeys(level))
        return [self.codes[row] for row in found]

    def subset(self, codes: Iterable[str]) -> "KnowledgeBase":
        """The knowledge base of some of the concepts, as they are; relations where both ends are kept.

        Raises:
            UnknownNameError: no concept has one of the codes.
        """
        rows = np.unique(np.fromiter((self._row(code) for code in codes), np.int64))
        about = self.manifest
        return self._described(
            self._tables.subset(rows), (), source=about.source, release=about.release, licence=about.licence, redistributable=about.redistributable
        )

    def _row(self, code: str) -> int:
        row = self._rows.get(code)
        if row is None:
            raise UnknownNameError("concept code", code, self.codes)
        return row

    def _slice(self, start: int, length: int) -> Iterator[Concept]:
        """Concepts of consecutive rows."""
        starts = self._name_starts[start : start + length + 1].tolist()
        first = starts[0]
        names = [_name(row) for row in self._tables.names.slice(first, starts[-1] - first).iter_rows()]
        rows = self._tables.concepts.slice(start, length).iter_rows()
        for i, row in enumerate(rows):
            yield _concept(row, tuple(names[starts[i] - first : starts[i + 1] - first]))

    @cached_property
    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return parent_edges(self._tables.concepts)

    @cached_property
    def _by_parent(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The edges again as (sorted parents, their children), children ascending."""
        child, parent = self._edges
        order = np.lexsort((child, parent))
        return parent[order], child[order]

    def _up(self, row: int) -> list[int]:
        child, parent = self._edges
        return _run(child, parent, row)

    def _down(self, row: int) -> list[int]:
        parent, child = self._by_parent
        return _run(parent, child, row)


def _run(keys: NDArray[np.int64], values: NDArray[np.int64], key: int) -> list[int]:
    """The values of one key; keys are sorted."""
    found: list[int] = values[np.searchsorted(keys, key) : np.searchsorted(keys, key, side="right")].tolist()
    return found


def _concept(row: tuple[Any, ...], names: tuple[Name, ...]) -> Concept:
    values: dict[str, Any] = {field: tuple(value) if isinstance(value, list) else value for field, value in zip(CONCEPT_FIELDS, row, strict=True)}
    return Concept(names=names, **values)


def _name(row: tuple[Any, ...]) -> Name:
    return Name(**dict(zip(NAME_FIELDS, row[1:], strict=True)))


def _parquet(table: str) -> str:
    return f"{table}.parquet"


def _folder(source: str | Path) -> Path:
    if isinstance(source, str) and source in SHIPPED:
        return Path(str(resources.files("syncabel.kb") / "data" / source))
    if not Path(source).is_dir():
        raise UnknownNameError("knowledge base (neither a folder nor a shipped one)", str(source), SHIPPED)
    return Path(source)


def _read_rejections(path: Path) -> list[Rejection]:
    with path.open(encoding="utf-8") as file:
        return [from_json(Rejection, json.loads(line), str(path)) for line in file]
