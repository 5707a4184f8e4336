"""The tables SynCABEL and LongBEL publish: one row a mention, its sentence with `[mention]{GROUP}`, its gold codes; a system's answers beside them or not.

Here they are read as gold documents; `syncabel.evaluate.tsv` reads the same rows as predictions.
"""

import csv
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import Seen, answers_from, repeated
from syncabel.errors import FormatError, MarkupError
from syncabel.lines import text_lines
from syncabel.prompt import iter_marked
from syncabel.types import Document, Mention, Rejection, Span, Split, as_split

__all__ = ["TableRow", "code_parts", "read_syncabel_tsv", "table_rows", "unquoted"]

_COLUMN = re.compile(r"[A-Za-z_ ]{1,30}")
_HEADER = 2  # wanted columns that make a line a header
COLUMNS = ("filename", "label", "start_span", "end_span", "span", "code", "sentence")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table with a header.

    Attributes:
        number: 1-based line.
        line: as written.
        cells: by column, or None where the row has another number of them than the header.
        problem: what is wrong where `cells` is None.
    """

    number: int
    line: str
    cells: Mapping[str, str] | None
    problem: str = ""


def table_rows(path: Path, columns: Sequence[str], *, quoted: bool = True) -> tuple[tuple[str, ...], Iterator[TableRow]]:
    """The header of a table and its rows; blank lines are no rows.

    Args:
        path: tabs between columns, one row a line, plain or `.gz`.
        columns: what the header must hold; further columns are allowed.
        quoted: whether quotation marks around a cell may be those of CSV.

    Raises:
        FormatError: not UTF-8, empty, or a column missing.
    """
    lines = text_lines(path)
    _, first = next(lines)
    header = tuple(first.split("\t"))
    _require(columns, header, path)
    return header, _rows(lines, header, quoted)


def _require(columns: Sequence[str], header: Sequence[str], path: Path) -> None:
    """Refuse a header that lacks a column.

    The first line of another file may be a patient's note: only what looks like a column's name, in what looks like a header, is shown.
    """
    missing = [column for column in columns if column not in header]
    if not missing:
        return
    names = {name.casefold(): name for name in header if name not in columns and _COLUMN.fullmatch(name)}
    near = difflib.get_close_matches(missing[0].casefold(), names, n=1, cutoff=0.0)
    if near and len(columns) - len(missing) >= _HEADER:
        hint = f"the nearest is {names[near[0]]!r}; rename it if that is meant"
    else:
        hint = f"the first line has to name the columns {', '.join(columns)}"
    raise FormatError(f"no column {missing[0]!r}", path, 1, hint)


def _rows(lines: Iterator[tuple[int, str]], header: Sequence[str], quoted: bool) -> Iterator[TableRow]:
    for number, line in lines:
        if not line.strip():
            continue
        cells = _cells(line, len(header)) if quoted else line.split("\t")
        if len(cells) == len(header):
            yield TableRow(number, line, dict(zip(header, cells, strict=True)))
        else:
            yield TableRow(number, line, None, f"{len(cells)} columns where the header has {len(header)}")


def _cells(line: str, width: int) -> list[str]:
    """A row's cells.

    Some of these files quote cells that hold a quotation mark, others write the mark as it is.  Line and tab decide first:
    a lone mark must not swallow the rows after it.
    """
    plain = line.split("\t")
    if len(plain) == width:
        return [unquoted(cell) for cell in plain]
    try:
        quoted = next(csv.reader([line], delimiter="\t"))
    except csv.Error:  # a cell beyond the csv module's limit of 131,072 characters
        return plain
    return quoted if len(quoted) == width else plain


def unquoted(cell: str) -> str:
    """A cell without the marks of CSV around it; unchanged where it is not quoted by its rules: marks at both ends, those inside doubled."""
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def code_parts(codes: str) -> list[str]:
    """The `+`-parts of a cell, sorted."""
    return sorted(part for code in codes.split("+") if (part := code.strip()))


def read_syncabel_tsv(path: Path | str, *, split: str | None = None, seen: Seen | None = None, language: str = "fr") -> Corpus:
    """Read a table as gold: one document a row, whose text is the row's sentence.

    The table has no whole texts, so what is lost is the rest of each: other sentences, the mentions beside this one, where in its text the sentence
    stands, abbreviations defined elsewhere.  The published sentences are tokenised, so their spaces are not those of the corpus either.
    The id is `filename#mention_id`, or `filename#label:start-end` where there is no such column; the mention's is `1`.  `+` joins codes that
    are right together, `NO_CODE` is none.  A row is a table row.  Rejections have the reasons `row` (columns, no code), `markup` (not
    exactly one mention in the sentence, or one of another text or label than the row's), `duplicate` (the same mention, or id, met before) and
    `duplicate_across_splits` (the id, in another split).

    Args:
        path: plain or `.gz`.
        split: written into each document; None makes them `test` where the table holds predictions, which nobody publishes for training data.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, written into each document.

    Raises:
        FormatError: not UTF-8, empty, a column missing, or not one row can be taken.
        UnknownNameError: no such split.
    """
    path, ids = Path(path), {} if seen is None else seen
    header, rows = table_rows(path, COLUMNS)
    given: Split | None = as_split(split) or ("test" if "Predicted_code" in header else None)
    documents: list[Document] = []
    rejections: list[Rejection] = []
    places: set[tuple[str, ...]] = set()
    for row in rows:
        found = _document(row, given, language)
        place = tuple(row.cells[column] for column in COLUMNS[:4]) if row.cells else ()
        if isinstance(found, Document) and (found.id in ids or place in places):
            found = repeated(ids, found.id, given) if found.id in ids else "duplicate", f"{found.id} was read before"
        if isinstance(found, Document):
            ids[found.id] = given
            places.add(place)
            documents.append(found)
        else:
            reason, problem = found
            rejections.append(Rejection(f"{path}:{row.number}", row.cells["code"] if row.cells else "", reason, f"{row.line} ({problem})"))
    if not documents and not any(rejection.reason.startswith("duplicate") for rejection in rejections):
        raise FormatError(f"not one of {len(rejections)} rows can be taken", path, hint=f"the columns are {', '.join(COLUMNS)}")
    return Corpus(tuple(documents), tuple(rejections), len(documents) + len(rejections))


def _document(row: TableRow, split: Split | None, language: str) -> Document | tuple[str, str]:
    """A row's document, or (reason, what is wrong)."""
    if row.cells is None:
        return "row", row.problem
    cells = row.cells
    parts = code_parts(cells["code"])
    if not parts:
        return "row", "no gold code"
    try:
        marked = list(iter_marked(cells["sentence"]))
    except MarkupError as error:
        return "markup", str(error)
    if len(marked) != 1:
        return "markup", f"{len(marked)} mentions in the sentence"
    text, offsets, groups = marked[0]
    surface = " ".join(text[start:end] for start, end in offsets)
    # The fragments of two published rows are named in another order than that of the text.
    if sorted(surface.split()) != sorted(cells["span"].split()):
        return "markup", f"the sentence marks {surface!r}, the row says {cells['span']!r}"
    if "|".join(groups) != cells["label"]:
        return "markup", f"the sentence says {'|'.join(groups)!r}, the row {cells['label']!r}"
    name = cells.get("mention_id") or f"{cells['label']}:{cells['start_span']}-{cells['end_span']}"
    mention = Mention("1", tuple(Span(start, end) for start, end in offsets), surface, cells["label"], answers_from([parts], "together"))
    return Document(f"{cells['filename']}#{name}", text, (mention,), language, split=split, abbreviations=find_abbreviations(text))
