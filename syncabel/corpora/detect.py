"""Which format a file, folder or archive is in, told by its names and its first rows; what cannot be told is refused, never guessed."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from syncabel.archive import is_archive, opened
from syncabel.corpora.brat import ANNOTATIONS
from syncabel.corpora.pubtator import DIALECTS
from syncabel.corpora.sources import of_quaero
from syncabel.errors import FormatError
from syncabel.lines import text_lines

__all__ = ["format_of"]

_SEMANTIC_TYPES = re.compile(r"T\d{3}(,T\d{3})*")  # UMLS, as MedMentions gives them
_SAVED = ("dataset_info.json", "dataset_dict.json")  # what `datasets` writes into a folder
_SUFFIX = re.compile(r"\.[A-Za-z0-9_~]{1,12}")
_OPENING = 64 << 10  # characters of a JSON text that is not one object a line
_HINT = "give --format"


def format_of(path: Path) -> str:
    """A corpus' format, a key of `syncabel.corpora.FORMATS`.

    Args:
        path: a file is told by its suffix, its first object or its first mention row, a folder or an archive by the names in it.

    Raises:
        FormatError: none of the formats, or PubTator whose mention types are of no known dialect.
    """
    if path.is_dir() or is_archive(path):
        return _format_of_folder(path)
    if path.suffix in ANNOTATIONS or (path.suffix == ".txt" and any(path.with_suffix(suffix).exists() for suffix in ANNOTATIONS)):
        return "quaero" if of_quaero(path.absolute().as_posix()) else "brat"
    if path.suffix == ".parquet":
        return "bigbio"
    return _format_of_lines(path)


def _format_of_folder(path: Path) -> str:
    if path.is_dir() and any((path / name).is_file() for name in _SAVED):
        return "bigbio"
    if path.is_dir() and any(path.glob("*.tsv")) and any(_texts(path)):
        return "spaccc"
    names = list(_names(path))
    annotated = [name for name in names if name.endswith(ANNOTATIONS)]
    if annotated:
        prefix = f"{path.absolute().as_posix()}/" if path.is_dir() else ""
        return "quaero" if any(of_quaero(prefix + name) for name in annotated) else "brat"
    suffixes = Counter(suffix for name in names if _SUFFIX.fullmatch(suffix := PurePosixPath(name).suffix))
    found = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
    raise FormatError(f"no BRAT annotations in it, but {found or 'nothing with a suffix'}", path, hint=f"name the files themselves, or {_HINT}")


def _texts(path: Path) -> Iterator[Path]:
    """What `read_spaccc` would take for the texts of the tables in a folder; `write_brat` leaves tables beside its texts too, but under no such name."""
    return (place for name in ("texts", "texts.tar.gz", "texts.zip") if (place := path / name).exists())


def _names(path: Path) -> Iterator[str]:
    """The files of a folder, or of an archive, which is listed and not unpacked."""
    if path.is_dir():
        yield from (file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith("."))
        return
    names: list[str] = []

    def listed(name: str) -> bool:
        names.append(name)
        return False

    with opened(path, listed):
        yield from names


def _format_of_lines(path: Path) -> str:
    lines = text_lines(path)
    for _, line in lines:
        start = line.lstrip()[:1]
        if start == "{" and line.rstrip().endswith("}"):
            return _json_format(line) or "jsonl"
        if start and start in "[{":
            return _json_over_lines(line, lines, path)
        if line.startswith("filename\t"):
            return "syncabel-tsv" if "sentence" in line.split("\t") else "spaccc"
        if start == "<":
            return "bioc"
        columns = line.split("\t")
        if len(columns) > 4:
            return _pubtator_format(columns[4], path)
    raise FormatError("neither JSON objects nor PubTator rows in it", path, hint=_HINT)


def _json_over_lines(first: str, lines: Iterator[tuple[int, str]], path: Path) -> str:
    """The format of a JSON list, or of an object over several lines; formats of one object a line are not written so."""
    opening, length = [first], len(first)
    for _, line in lines:
        if length > _OPENING:
            break
        opening.append(line)
        length += len(line)
    found = _json_format("\n".join(opening))
    if found not in ("bioc", "bigbio"):
        raise FormatError("JSON over several lines, or a list, and neither BioC nor BigBIO", path, hint=f"write one object a line, or {_HINT}")
    return found


def _json_format(text: str) -> str | None:
    """The format of an object by fields that no other has."""
    if '"infons"' in text:
        return "bioc"
    if '"passages"' in text and '"entities"' in text:
        return "bigbio"
    return "span-jsonl" if re.search(r'"spans":\s*\[\s*\[', text) else None


def _pubtator_format(kind: str, path: Path) -> str:
    found = next((name for name, dialect in DIALECTS.items() if kind in dialect.types), None)
    if found is None and _SEMANTIC_TYPES.fullmatch(kind):
        found = "medmentions"
    if found is None:
        raise FormatError("its mention types are of no known PubTator dialect", path, hint=_HINT)
    return {"ncbi_disease": "pubtator-ncbi", "bc5cdr": "pubtator-bc5cdr", "medmentions": "pubtator-medmentions"}[found]
