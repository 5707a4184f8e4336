"""Annotated texts, read from what others publish: one reader per format, every offset checked, nothing dropped silently."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

from syncabel.corpora.bigbio import read_bigbio, write_bigbio
from syncabel.corpora.bioc import read_bioc
from syncabel.corpora.brat import read_brat, write_brat
from syncabel.corpora.check import CorpusCheck, Figures, check_corpus
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.detect import format_of
from syncabel.corpora.jsonl import iter_jsonl, read_jsonl, write_jsonl, write_rejections
from syncabel.corpora.places import Seen
from syncabel.corpora.pubtator import DIALECTS, Dialect, read_pubtator, write_pubtator
from syncabel.corpora.sources import SOURCES, Official, Source, SourceFile, source_of, split_of, verified
from syncabel.corpora.spaccc import read_spaccc
from syncabel.corpora.span_jsonl import read_span_jsonl
from syncabel.corpora.split import part_of_dev, split_by_fractions, split_documents
from syncabel.corpora.stats import CorpusStats, corpus_stats, write_stats
from syncabel.corpora.syncabel_tsv import read_syncabel_tsv
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.types import Document, Rejection, Split, as_split

__all__ = [
    "DIALECTS",
    "FORMATS",
    "SOURCES",
    "Corpus",
    "CorpusCheck",
    "CorpusStats",
    "Dialect",
    "Figures",
    "Official",
    "Source",
    "SourceFile",
    "check_corpus",
    "corpus_stats",
    "format_of",
    "iter_corpus",
    "part_of_dev",
    "read_bigbio",
    "read_bioc",
    "read_brat",
    "read_corpus",
    "read_jsonl",
    "read_pubtator",
    "read_spaccc",
    "read_span_jsonl",
    "read_syncabel_tsv",
    "source_of",
    "split_by_fractions",
    "split_documents",
    "split_of",
    "verified",
    "write_bigbio",
    "write_brat",
    "write_jsonl",
    "write_pubtator",
    "write_rejections",
    "write_stats",
]

# Format -> reader(path, *, split, seen, …).
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


def read_corpus(
    paths: Path | str | Sequence[Path | str],
    format: str = "auto",  # noqa: A002 (the word users know it by)
    split: str | None = None,
    *,
    language: str | None = None,
    several: str | None = None,
    dialect: str | Dialect | None = None,
    codes: str | None = None,
) -> Corpus:
    """Read one or more files into one corpus.

    A document id met before is rejected as `duplicate`, or as `duplicate_across_splits` where it was met in another split.

    Args:
        paths: files, plain or `.gz`, folders or archives.
        format: a key of `FORMATS`, or `auto` to tell it from each file's names and first rows.
        split: given to the documents (in JSON Lines to those that state none); None takes it from official files, by content or name.
        language: ISO 639-1, given to the documents (to those that state none); None takes that of the source where the files are official, else the
            reader's.
        several: what several codes of one mention mean, `alternatives` or `together`; None is as the reader says.
        dialect: what the characters in a column of codes mean: a key of `DIALECTS`, or one's own; None is as the format says.
        codes: regular expression of a whole code in a note of BRAT; None is as the reader says.

    Raises:
        UnknownNameError: no such format, split, dialect or `several`.
        FormatError: a file is empty, not UTF-8, of no known format, or nothing in it is readable.
        ConfigError: no file is given, or an option that a file's reader does not have.
    """
    options = {"language": language, "several": several, "dialect": dialect, "codes": codes}
    seen: Seen = {}
    parts = [FORMATS[kind](path, **_arguments(path, kind, given, options, seen)) for path, kind, given in _files(paths, format, split)]
    return Corpus(
        documents=tuple(document for part in parts for document in part.documents),
        rejections=tuple(rejection for part in parts for rejection in part.rejections),
        rows_read=sum(part.rows_read for part in parts),
    )


def iter_corpus(paths: Path | str | Sequence[Path | str], format: str = "auto", split: str | None = None) -> Iterator[Document | Rejection]:  # noqa: A002
    """The documents and rejections of one or more files, in file order: those of JSON Lines one at a time, those of other formats a file at a time.

    For training data, of which human documents are few and synthetic ones may be millions.  Arguments and errors are those of `read_corpus`;
    an error in a file is raised when it is come to.
    """
    seen: Seen = {}
    for path, kind, given in _files(paths, format, split):
        arguments = _arguments(path, kind, given, {}, seen)
        if FORMATS[kind] is read_jsonl:
            yield from iter_jsonl(path, **arguments)
        else:
            part = FORMATS[kind](path, **arguments)
            yield from part.documents
            yield from part.rejections


def _files(paths: Path | str | Sequence[Path | str], kind: str, split: str | None) -> Iterator[tuple[Path, str, Split | None]]:
    """Each file with its format and the split given; both are checked before any file is opened."""
    if kind not in ("auto", *FORMATS):
        raise UnknownNameError("corpus format", kind, ("auto", *FORMATS))
    given = as_split(split)
    files = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    if not files:
        raise ConfigError("no corpus file is given; name at least one")
    for path in files:
        yield path, format_of(path) if kind == "auto" else kind, given


def _arguments(path: Path, kind: str, split: Split | None, options: Mapping[str, str | Dialect | None], seen: Seen) -> dict[str, Any]:
    """What the reader of a file is called with."""
    takes = signature(FORMATS[kind]).parameters
    wanted: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if foreign := [name for name in wanted if name not in takes]:
        raise ConfigError(f"{path.name} is read as {kind}, which has no option {foreign[0]}; leave it out")
    official = source_of(path)
    # A file that only has an official one's name may be in any language; its split is believed, for no test document may be trained on.
    if official and official.verified is not False and "language" in takes:
        wanted.setdefault("language", SOURCES[official.source].language)
    return {"split": split or (official.split if official else None), "seen": seen, **wanted}
