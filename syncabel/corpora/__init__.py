"""Annotated texts, read from what others publish: one reader per format, every offset checked, nothing dropped silently."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from syncabel.archive import is_archive
from syncabel.corpora.bigbio import read_bigbio, write_bigbio
from syncabel.corpora.bioc import read_bioc
from syncabel.corpora.brat import read_brat, write_brat
from syncabel.corpora.check import CorpusCheck, Figures, check_corpus
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.jsonl import read_jsonl, write_jsonl, write_rejections
from syncabel.corpora.pubtator import DIALECTS, Dialect, read_pubtator, write_pubtator
from syncabel.corpora.sources import SOURCES, Source, SourceFile, split_of
from syncabel.corpora.spaccc import read_spaccc
from syncabel.corpora.span_jsonl import read_span_jsonl
from syncabel.corpora.split import split_by_fractions, split_documents
from syncabel.corpora.stats import CorpusStats, corpus_stats, write_stats
from syncabel.corpora.syncabel_tsv import read_syncabel_tsv
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.lines import text_lines
from syncabel.types import as_split

__all__ = [
    "DIALECTS",
    "FORMATS",
    "SOURCES",
    "Corpus",
    "CorpusCheck",
    "CorpusStats",
    "Dialect",
    "Figures",
    "Source",
    "SourceFile",
    "check_corpus",
    "corpus_stats",
    "format_of",
    "read_bigbio",
    "read_bioc",
    "read_brat",
    "read_corpus",
    "read_jsonl",
    "read_pubtator",
    "read_spaccc",
    "read_span_jsonl",
    "read_syncabel_tsv",
    "split_by_fractions",
    "split_documents",
    "split_of",
    "write_bigbio",
    "write_brat",
    "write_jsonl",
    "write_pubtator",
    "write_rejections",
    "write_stats",
]

_SEMANTIC_TYPES = re.compile(r"T\d{3}(,T\d{3})*")  # UMLS, as MedMentions gives them
# Format -> reader(path, *, split, seen).
FORMATS: Mapping[str, Callable[..., Corpus]] = MappingProxyType(
    {
        "pubtator-ncbi": partial(read_pubtator, dialect="ncbi_disease"),
        "pubtator-bc5cdr": partial(read_pubtator, dialect="bc5cdr"),
        "pubtator-medmentions": partial(read_pubtator, dialect="medmentions"),
        "pubtator": partial(read_pubtator, dialect="generic"),
        "bioc": read_bioc,
        "brat": read_brat,
        "quaero": partial(read_brat, language="fr"),
        "bigbio": read_bigbio,
        "bigbio-composites": partial(read_bigbio, several="together"),
        "spaccc": read_spaccc,
        "span-jsonl": read_span_jsonl,
        "syncabel-tsv": read_syncabel_tsv,
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
    if path.is_dir() or is_archive(path) or path.suffix == ".ann":
        return "brat"
    if path.suffix == ".parquet":
        return "bigbio"
    for _, line in text_lines(path):
        if line.lstrip().startswith("{"):
            return _json_format(line)
        if line.startswith("filename\t"):
            return "syncabel-tsv" if "sentence" in line.split("\t") else "spaccc"
        if line.lstrip().startswith("<"):
            return "bioc"
        columns = line.split("\t")
        if len(columns) > 4:
            return _pubtator_format(columns[4], path)
    raise FormatError("neither JSON objects nor PubTator rows in it", path, hint=f"give --format, one of {', '.join(FORMATS)}")


def _json_format(line: str) -> str:
    """The format of an object by fields that no other has."""
    if '"infons"' in line:
        return "bioc"
    if '"passages"' in line and '"entities"' in line:
        return "bigbio"
    return "span-jsonl" if re.search(r'"spans":\s*\[\s*\[', line) else "jsonl"


def _pubtator_format(kind: str, path: Path) -> str:
    found = next((name for name, dialect in DIALECTS.items() if kind in dialect.types), None)
    if found is None and _SEMANTIC_TYPES.fullmatch(kind):
        found = "medmentions"
    if found is None:
        raise FormatError("its mention types are of no known PubTator dialect", path, hint=f"give --format, one of {', '.join(FORMATS)}")
    return {"ncbi_disease": "pubtator-ncbi", "bc5cdr": "pubtator-bc5cdr", "medmentions": "pubtator-medmentions"}[found]
