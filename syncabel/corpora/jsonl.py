"""JSON Lines in the project's own schema: one `syncabel.types.Document` an object, one object a line, UTF-8."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import NIL, Seen, repeated
from syncabel.errors import FormatError, OffsetError
from syncabel.lines import text_lines
from syncabel.types import Document, Mention, Rejection, SFTExample, Split, as_split, from_json, to_json

__all__ = ["iter_jsonl", "read_jsonl", "whole_file", "write_jsonl", "write_rejections", "write_rows"]


def read_jsonl(path: Path | str, *, split: str | None = None, seen: Seen | None = None, lines: Iterable[tuple[int, str]] | None = None) -> Corpus:
    """Read documents, plain or `.gz`.

    Abbreviations are found where a row has none, and answers are read as sets: codes sorted, equal answers once.  A row that cannot be taken
    becomes a rejection; reasons are `json`, `schema` (also for `NO_CODE` and its like among codes), `offset`, `duplicate` (an id met before)
    and `duplicate_across_splits` (in another split).  Blank lines are no rows.

    Args:
        path: the file.
        split: given to documents that state none; a row's own split stays.
        seen: ids of documents already read from other files; those of this one are added.
        lines: numbered lines that were read already, e.g. of standard input; `path` then only names them in messages.

    Raises:
        FormatError: not UTF-8, empty, or not one row can be taken.
        UnknownNameError: no such split.
    """
    rows = list(iter_jsonl(path, split=split, seen=seen, lines=lines))
    documents = tuple(row for row in rows if isinstance(row, Document))
    return Corpus(documents, tuple(row for row in rows if isinstance(row, Rejection)), len(rows))


def iter_jsonl(
    path: Path | str, *, split: str | None = None, seen: Seen | None = None, lines: Iterable[tuple[int, str]] | None = None
) -> Iterator[Document | Rejection]:
    """The rows that `read_jsonl` reads, one at a time and in file order: for millions of synthetic sentences, of which only ids are held.

    Arguments and errors are those of `read_jsonl`; a file of which not one row can be taken is refused at its end.
    """
    given, path, ids = as_split(split), Path(path), {} if seen is None else seen
    taken, first, rejected = False, None, 0
    for number, line in text_lines(path) if lines is None else lines:
        if not line.strip():
            continue
        row = _document(line, f"{path}:{number}", given, ids)
        if isinstance(row, Rejection):
            taken = taken or row.reason.startswith("duplicate")  # a document, if not a new one
            first, rejected = first or row, rejected + 1
        else:
            taken = True
            ids[row.id] = row.split
        yield row
    if not taken:
        raise _nothing(path, first, rejected)


def _nothing(path: Path, first: Rejection | None, rejected: int) -> FormatError:
    if first is None:
        return FormatError("the file holds blank lines only", path, hint="write one document a line")
    # The row itself stays out of the message: it may be a patient's.
    number = int(first.where.rsplit(":", 1)[1])
    return FormatError(
        f"not one of {rejected} rows is a document; the first fails on: {first.reason}",
        path,
        number,
        "other formats are read with --format, or made documents by `syncabel corpus convert`",
    )


def _document(line: str, where: str, split: Split | None, ids: Seen) -> Document | Rejection:
    try:
        document = from_json(Document, _parsed(line))
    except (ValueError, RecursionError) as error:  # the second: thousands of brackets in brackets
        return Rejection(where, "", "json", f"{line} ({error})")
    except OffsetError as error:
        return Rejection(where, "", "offset", f"{line} ({error})")
    except FormatError as error:
        return Rejection(where, "", "schema", f"{line} ({error})")
    split = document.split or split
    if document.id in ids:
        return Rejection(where, "", repeated(ids, document.id, split), f"{line} (document {document.id} was read before)")
    if no_code := next((code for mention in document.mentions for code in mention.codes if code in NIL), None):
        return Rejection(where, "", "schema", f"{line} ({no_code} is no code; a mention that is not in the knowledge base has the answers [])")
    mentions, abbreviations = tuple(map(_as_sets, document.mentions)), document.abbreviations or find_abbreviations(document.text)
    if (mentions, split, abbreviations) == (document.mentions, document.split, document.abbreviations):
        return document  # most rows: to build it anew would check every offset a second time
    return dataclasses.replace(document, mentions=mentions, split=split, abbreviations=abbreviations)


def _as_sets(mention: Mention) -> Mention:
    """The mention with each answer sorted and there once: an answer is a set, so that [["B", "A"], ["A", "B"]] is one and no two."""
    if not mention.answers:
        return mention
    answers = tuple(dict.fromkeys(tuple(sorted(set(answer))) for answer in mention.answers))
    return mention if answers == mention.answers else dataclasses.replace(mention, answers=answers)


def _parsed(line: str) -> object:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or holds half a surrogate pair, which no UTF-8 file could take back.
    """
    value: object = json.loads(line)
    if "\\u" in line:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def write_jsonl(documents: Iterable[Document], path: Path | str) -> int:
    """Write documents in the order given; the file is there whole or not at all.

    Returns:
        The number of documents written.
    """
    return write_rows(documents, path)


def write_rejections(rejections: Iterable[Rejection], path: Path | str) -> int:
    """Write rejections, as `write_jsonl` does documents."""
    return write_rows(rejections, path)


def write_rows(rows: Iterable[Document | Rejection | SFTExample], path: Path | str) -> int:
    """What `write_jsonl` does, for any rows of the project's types."""
    count = 0
    with whole_file(path) as handle:
        for row in rows:
            handle.write(json.dumps(to_json(row), ensure_ascii=False) + "\n")
            count += 1
    return count


@contextmanager
def whole_file(path: Path | str) -> Iterator[TextIO]:
    """A UTF-8 file to write that takes its place at the end, and not where writing fails; folders above it are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as handle:
            yield handle
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
