"""SPACCC, Spanish clinical cases with SNOMED CT codes: a table of mentions, and one text file per document beside it.

`+` joins codes that are right together (semantic_rel COMPOSITE, or one relation per part).  `NO_CODE` is annotated as not in SNOMED CT, and so is the
one `NOMAP`; of a composite with such a part the other parts are the answer.  Offsets are half-open code points of the text file as it lies.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from syncabel.abbreviations import find_abbreviations
from syncabel.archive import is_archive, opened
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import NIL, Locator, Seen, answers_from, repeated, same_text
from syncabel.corpora.syncabel_tsv import TableRow, code_parts, table_rows, unquoted
from syncabel.errors import ConfigError, FormatError
from syncabel.types import Document, Mention, Rejection, Split, as_split

__all__ = ["read_spaccc"]

COLUMNS = ("filename", "label", "start_span", "end_span", "span", "code")
_TEXTS = ("texts", "texts.tar.gz", "texts.zip")
_FLOAT = re.compile(r"[0-9]+(?:[.,][0-9]+)?(?:[eE]\+?[0-9]+)|[0-9]+[.,][0-9]+")
_CODE = re.compile(r"[0-9]{6,18}")  # SNOMED CT: File Formats, SCTID
_NONE = NIL | {"NOMAP"}


@dataclass(slots=True)
class _Open:
    """One document while its rows are read."""

    place: Locator
    split: Split | None
    rows: int = 0
    mentions: list[Mention] = field(default_factory=list)
    taken: set[tuple[str, ...]] = field(default_factory=set)


def read_spaccc(
    path: Path | str,
    *,
    split: str | None = None,
    seen: Seen | None = None,
    language: str = "es",
    texts: Path | str | None = None,
    unquote: bool = False,
) -> Corpus:
    """Read a table and its texts.

    A document's id is its `filename`, its mentions' are `T` and their number among its rows.  Texts without rows are no documents: one folder serves
    all tables.  A row is a table row; rejections have the reasons `row`, `no_text` (no such text file), `encoding` (it is not UTF-8), `offset`
    (with the place where the span's text stands instead), `code` (no SNOMED CT identifier, e.g. 1.66753E+16: a spreadsheet took it for a
    number and its digits are lost), `duplicate` (a row twice, or a document met before) and, for the first row of a document met before in
    another split, `duplicate_across_splits`.

    Args:
        path: a table, plain or `.gz`, or a folder of tables (`*.tsv`), each table's split then being its name.
        split: written into each document.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, written into each document.
        texts: folder or archive with the text files; by default `texts`, `texts.tar.gz` or `texts.zip` beside the tables.
        unquote: take a row whose span, the quotation marks of CSV taken off once or twice, is the text at its offsets.

    Raises:
        FormatError: not UTF-8, empty, a column missing, no row that can be taken, a damaged archive.
        ConfigError: there are no texts.
        UnknownNameError: no such split.
    """
    path, ids, given = Path(path), {} if seen is None else seen, as_split(split)
    tables = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not tables:
        raise FormatError("no table in it", path, hint="give a folder with .tsv files, or one of them")
    known, leaked = Seen(ids), set[tuple[str, Split | None]]()
    documents: dict[str, _Open] = {}
    rejections: list[Rejection] = []
    rows_read = 0
    header_checked = [(table, given or (_named(table) if path.is_dir() else None), table_rows(table, COLUMNS, quoted=False)[1]) for table in tables]
    with ExitStack() as stack:
        content = _reader(stack.enter_context(opened(_texts(tables[0], texts), lambda name: name.endswith(".txt"))))
        for table, table_split, rows in header_checked:
            for row in rows:
                rows_read += 1
                problem = _take(row, documents, known, table_split, content, unquote)
                if problem and problem[0] == "duplicate_across_splits" and row.cells:
                    leak = row.cells["filename"], table_split
                    problem = problem if leak not in leaked else ("duplicate", problem[1])
                    leaked.add(leak)
                if problem:
                    code = row.cells["code"] if row.cells else ""
                    rejections.append(Rejection(f"{table}:{row.number}", code, problem[0], f"{row.line} ({problem[1]})"))
    if not documents and not any(rejection.reason.startswith("duplicate") for rejection in rejections):
        raise FormatError(f"not one of {rows_read} rows can be taken", path, hint="are these the texts of this table?")
    ids.update({name: document.split for name, document in documents.items()})
    return Corpus(tuple(_closed(name, document, language) for name, document in documents.items()), tuple(rejections), rows_read)


def _closed(name: str, document: _Open, language: str) -> Document:
    text = document.place.text
    return Document(name, text, tuple(document.mentions), language, split=document.split, abbreviations=find_abbreviations(text))


def _named(table: Path) -> Split | None:
    return as_split(table.stem) if table.stem in ("train", "dev", "test") else None


def _texts(table: Path, texts: Path | str | None) -> Path:
    if texts is not None:
        texts = Path(texts)
        if not (texts.is_dir() or is_archive(texts)):
            raise ConfigError(f"{texts} is neither a folder nor an archive; give the one that holds the text files")
        return texts
    found = next((table.parent / name for name in _TEXTS if (table.parent / name).exists()), None)
    if found is None:
        raise ConfigError(f"no {', '.join(_TEXTS)} beside {table.name}; give the folder or archive that holds the text files")
    return found


def _reader(folder: Path) -> Callable[[str], str | tuple[str, str]]:
    """A function from a document's name to its text, or (reason, what is wrong)."""
    files: Mapping[str, Path] = {file.stem: file for file in sorted(folder.rglob("*.txt")) if not file.name.startswith(".")}

    def content(name: str) -> str | tuple[str, str]:
        if name not in files:
            return "no_text", f"there is no {name}.txt"
        try:
            return files[name].read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            return "encoding", f"the text is not UTF-8 at byte {error.start + 1}; convert it"

    return content


def _take(
    row: TableRow, documents: dict[str, _Open], known: Seen, split: Split | None, content: Callable[[str], str | tuple[str, str]], unquote: bool
) -> tuple[str, str] | None:
    """Put a row's mention into its document; else (reason, what is wrong)."""
    if row.cells is None:
        return "row", row.problem
    name = row.cells["filename"]
    if name in known:
        return repeated(known, name, split), f"document {name} was read before"
    if name not in documents:
        text = content(name) if name else ("row", "no filename")
        if isinstance(text, tuple):
            return text
        documents[name] = _Open(Locator(text), split)
    document = documents[name]
    if document.split != split:
        return "duplicate_across_splits", f"document {name} is in another table"
    document.rows += 1
    place = tuple(row.cells[column] for column in COLUMNS)
    if place in document.taken:
        return "duplicate", "the same row stands above"
    document.taken.add(place)
    found = _mention(f"T{document.rows}", row.cells, document.place, unquote)
    if isinstance(found, tuple):
        return found
    document.mentions.append(found)
    return None


def _mention(mention_id: str, cells: Mapping[str, str], place: Locator, unquote: bool) -> Mention | tuple[str, str]:
    first, last, surface = cells["start_span"], cells["end_span"], cells["span"]
    if not (re.fullmatch("[0-9]{1,18}", first) and re.fullmatch("[0-9]{1,18}", last)):
        return "row", "the offsets are not numbers"
    start, end = int(first), int(last)
    plain = next((cell for cell in _unquoted(surface) if same_text(cell, place.text[start:end])), None)
    spans = place.spans([(start, end)], plain if plain is not None and unquote else surface)
    if isinstance(spans, str):
        return "offset", spans if plain is None else f"{spans}; its cell is quoted as in CSV, and unquoted it is the text at {start}–{end}"
    parts = code_parts(cells["code"])
    if _FLOAT.fullmatch(cells["code"].strip()):
        return "code", "the code was taken for a number and lost digits; look it up"
    if bad := next((part for part in parts if part not in _NONE and not _CODE.fullmatch(part)), None):
        return "code", f"{bad!r} is no SNOMED CT identifier"
    stated = [["NO_CODE" if part in _NONE else part for part in parts]] if parts else []
    return Mention(mention_id, spans, place.text[start:end], cells["label"], answers_from(stated, "together"))


def _unquoted(cell: str) -> tuple[str, str]:
    """A cell unquoted once and twice: part of the published table went through CSV two times."""
    once = unquoted(cell)
    return once, unquoted(once)
