"""Annotated texts, read from what others publish: one reader per format, every offset checked, nothing dropped silently."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from types import MappingProxyType

from syncabel.corpora.bigbio import read_bigbio, write_bigbio
from syncabel.corpora.bioc import read_bioc
from syncabel.corpora.brat import read_brat, write_brat
from syncabel.corpora.check import CorpusCheck, Figures, check_corpus
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.detect import format_of
from syncabel.corpora.jsonl import read_jsonl, write_jsonl, write_rejections
from syncabel.corpora.places import Seen
from syncabel.corpora.pubtator import DIALECTS, Dialect, read_pubtator, write_pubtator
from syncabel.corpora.sources import SOURCES, Official, Source, SourceFile, source_of, split_of, verified
from syncabel.corpora.spaccc import read_spaccc
from syncabel.corpora.span_jsonl import read_span_jsonl
from syncabel.corpora.split import part_of_dev, split_by_fractions, split_documents
from syncabel.corpora.stats import CorpusStats, corpus_stats, write_stats
from syncabel.corpora.syncabel_tsv import read_syncabel_tsv
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.types import Split, as_split

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

    Raises:
        UnknownNameError: no such format, split, dialect or `several`.
        FormatError: a file is empty, not UTF-8, of no known format, or nothing in it is readable.
        ConfigError: no file is given, or an option that a file's reader does not have.
    """
    if format not in ("auto", *FORMATS):
        raise UnknownNameError("corpus format", format, ("auto", *FORMATS))
    given = as_split(split)  # before any file is opened
    files = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    if not files:
        raise ConfigError("no corpus file is given; name at least one")
    seen: Seen = {}
    options = {"language": language, "several": several, "dialect": dialect}
    parts = [_read(path, format_of(path) if format == "auto" else format, given, options, seen) for path in files]
    return Corpus(
        documents=tuple(document for part in parts for document in part.documents),
        rejections=tuple(rejection for part in parts for rejection in part.rejections),
        rows_read=sum(part.rows_read for part in parts),
    )


def _read(path: Path, kind: str, split: Split | None, options: Mapping[str, str | Dialect | None], seen: Seen) -> Corpus:
    reader = FORMATS[kind]
    takes = signature(reader).parameters
    wanted = {name: value for name, value in options.items() if value is not None}
    if foreign := [name for name in wanted if name not in takes]:
        raise ConfigError(f"{path.name} is read as {kind}, which has no option {foreign[0]}; leave it out")
    official = source_of(path)
    # A file that only has an official one's name may be in any language; its split is believed, for no test document may be trained on.
    if official and official.verified is not False and "language" in takes:
        wanted.setdefault("language", SOURCES[official.source].language)
    return reader(path, split=split or (official.split if official else None), seen=seen, **wanted)
