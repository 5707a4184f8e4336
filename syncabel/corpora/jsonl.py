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

__all__ = ["read_jsonl", "whole_file", "write_jsonl", "write_rejections", "write_rows"]


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
    given, path, ids = as_split(split), Path(path), {} if seen is None else seen
    documents: list[Document] = []
    rejections: list[Rejection] = []
    for number, line in text_lines(path) if lines is None else lines:
        if not line.strip():
            continue
        row = _document(line, f"{path}:{number}", given, ids)
        if isinstance(row, Rejection):
            rejections.append(row)
        else:
            ids[row.id] = row.split
            documents.append(row)
    _refuse_nothing(path, documents, rejections)
    return Corpus(tuple(documents), tuple(rejections), len(documents) + len(rejections))


def _refuse_nothing(path: Path, documents: list[Document], rejections: list[Rejection]) -> None:
    if documents or any(rejection.reason.startswith("duplicate") for rejection in rejections):
        return
    if not rejections:
        raise FormatError("the file holds blank lines only", path, hint="write one document a line")
    first, reason = rejections[0].where.rsplit(":", 1)[1], rejections[0].reason
    # The row itself stays out of the message: it may be a patient's.
    raise FormatError(f"not one of {len(rejections)} rows is a document; the first fails on: {reason}", path, int(first), "see --format for other formats")


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
    mentions = tuple(map(_as_sets, document.mentions))
    return dataclasses.replace(document, mentions=mentions, split=split, abbreviations=document.abbreviations or find_abbreviations(document.text))


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
