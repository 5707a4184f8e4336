"""Annotated texts, read from what others publish: one reader per format, every offset checked, nothing dropped silently."""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from syncabel.corpora.check import CorpusCheck, check_corpus
from syncabel.corpora.corpus import Corpus, text_lines
from syncabel.corpora.jsonl import read_jsonl, write_jsonl, write_rejections
from syncabel.corpora.pubtator import DIALECTS, Dialect, read_pubtator
from syncabel.corpora.sources import SOURCES, Source, SourceFile, split_of
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.types import Document, Split, as_split

__all__ = [
    "DIALECTS",
    "FORMATS",
    "SOURCES",
    "Corpus",
    "CorpusCheck",
    "Dialect",
    "Source",
    "SourceFile",
    "check_corpus",
    "format_of",
    "read_corpus",
    "read_jsonl",
    "read_pubtator",
    "split_documents",
    "split_of",
    "write_jsonl",
    "write_rejections",
]

# Format -> reader(path, *, split, seen).
FORMATS: Mapping[str, Callable[..., Corpus]] = MappingProxyType(
    {
        "pubtator-ncbi": partial(read_pubtator, dialect="ncbi_disease"),
        "pubtator-bc5cdr": partial(read_pubtator, dialect="bc5cdr"),
        "jsonl": read_jsonl,
    }
)


def read_corpus(paths: Path | str | Sequence[Path | str], format: str = "auto", split: str | None = None) -> Corpus:  # noqa: A002 (the word users know it by)
    """Read one or more files into one corpus; a document id met in an earlier file is rejected as `duplicate`.

    Args:
        paths: files, plain or `.gz`.
        format: a key of `FORMATS`, or `auto` to tell it from each file's first rows.
        split: given to the documents (in JSON Lines to those that state none); None takes it from the names of official files.

    Raises:
        UnknownNameError: no such format or split.
        FormatError: a file is empty, not UTF-8, of no known format, or nothing in it is readable.
        ConfigError: no file is given.
    """
    if format not in ("auto", *FORMATS):
        raise UnknownNameError("corpus format", format, ("auto", *FORMATS))
    given = as_split(split)  # before any file is opened
    files = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    if not files:
        raise ConfigError("no corpus file is given; name at least one")
    seen: set[str] = set()
    parts = [FORMATS[format_of(path) if format == "auto" else format](path, split=given or split_of(path.name), seen=seen) for path in files]
    return Corpus(
        documents=tuple(document for part in parts for document in part.documents),
        rejections=tuple(rejection for part in parts for rejection in part.rejections),
        rows_read=sum(part.rows_read for part in parts),
    )


def format_of(path: Path) -> str:
    """A file's format, told from its first object or its first mention row.

    Raises:
        FormatError: neither is found, or the mention's type is of no known dialect.
    """
    for _, line in text_lines(path):
        if line.lstrip().startswith("{"):
            return "jsonl"
        columns = line.split("\t")
        if len(columns) > 4:
            return _pubtator_format(columns[4], path)
    raise FormatError("neither JSON objects nor PubTator rows in it", path, hint=f"give --format, one of {', '.join(FORMATS)}")


def _pubtator_format(kind: str, path: Path) -> str:
    found = next((name for name, dialect in DIALECTS.items() if kind in dialect.types), None)
    if found is None:
        raise FormatError("its mention types are of no known PubTator dialect", path, hint=f"give --format, one of {', '.join(FORMATS)}")
    return {"ncbi_disease": "pubtator-ncbi", "bc5cdr": "pubtator-bc5cdr"}[found]


def split_documents(documents: Sequence[Document], fraction: float, seed: int, split: Split = "dev") -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """Split a part off by document, for corpora that come without a development set.

    Which documents go depends on their ids and the seed, not on their order.

    Args:
        documents: with distinct ids, at least two.
        fraction: share of the documents that go, in (0, 1); at least one goes and one stays.
        seed: random seed.
        split: written into those that go.

    Returns:
        (those that stay, those that go), each in the order given.

    Raises:
        ConfigError: the fraction is not in (0, 1), there are fewer than two documents, or two share an id.
    """
    ids = sorted({document.id for document in documents})
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction is {fraction}; it is a share of the documents, give one between 0 and 1")
    if len(ids) < 2:
        raise ConfigError(f"{len(ids)} documents cannot be split; give at least two")
    if len(ids) != len(documents):
        raise ConfigError(f"{len(documents)} documents have {len(ids)} ids; rename the repeated ones, a document must not be on both sides")
    going = set(random.Random(seed).sample(ids, min(len(ids) - 1, max(1, round(fraction * len(ids))))))
    return (
        tuple(document for document in documents if document.id not in going),
        tuple(dataclasses.replace(document, split=split) for document in documents if document.id in going),
    )
