"""Prediction files, as `syncabel link` writes them, and their place beside the documents."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from syncabel.errors import FormatError
from syncabel.lines import json_lines
from syncabel.types import Document, LinkedMention, Mention, from_json

__all__ = ["Key", "aligned", "read_linked"]

Key = tuple[str, str]  # document id, mention id


def read_linked(path: Path | str) -> Iterator[tuple[int, LinkedMention]]:
    """Line number and linked mention of every row; blank lines are no rows.

    Raises:
        FormatError: not UTF-8, empty, not JSON, or not a linked mention.
    """
    path = Path(path)
    for number, value in json_lines(path, "write one object a line, as `syncabel link` does"):
        try:
            yield number, _linked(value)
        except FormatError as error:
            raise FormatError(error.problem, path, number, error.hint or "rows are what `syncabel link` writes") from None


def _linked(value: Any) -> LinkedMention:
    """A row without the joined `code` of each prediction: it is written for people and follows from `codes`."""
    listed = value.get("predictions") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        return from_json(LinkedMention, value)
    bare = [{k: v for k, v in item.items() if k != "code"} if isinstance(item, dict) else item for item in listed]
    linked = from_json(LinkedMention, {**value, "predictions": bare})
    for item, prediction in zip(listed, linked.predictions, strict=True):
        if item.get("code", prediction.code) != prediction.code:
            raise FormatError(f"'code' is {item['code']!r} and 'codes' say {prediction.code!r}", hint="make them agree")
    return linked


def aligned(documents: Sequence[Document], linked: Iterable[tuple[int | None, LinkedMention]], path: Path | str | None = None) -> dict[Key, LinkedMention]:
    """Each linked mention under its document and mention id.

    Args:
        documents: what was linked; ids distinct.
        linked: line number, or None where it comes from no file, and result; in any order.
        path: the file, for errors.

    Raises:
        FormatError: a result for a mention that is not there or has another text or place, or two for one.
    """
    mentions = {(document.id, mention.id): mention for document in documents for mention in document.mentions}
    if len(mentions) != sum(len(document.mentions) for document in documents):
        raise FormatError("two documents have the same id", hint="give each document its own id")
    found: dict[Key, LinkedMention] = {}
    for line, result in linked:
        key = (result.document_id, result.mention_id)
        problem = "two predictions for one mention" if key in found else _mismatch(result, mentions.get(key))
        if problem:
            raise FormatError(f"document {key[0]!r}, mention {key[1]!r}: {problem}", path, line, "predict for the documents that are scored, once a mention")
        found[key] = result
    return found


def _mismatch(result: LinkedMention, mention: Mention | None) -> str | None:
    """What speaks against a result being of a mention; never the text itself, which may be a patient's."""
    if mention is None:
        return "the documents have no such mention"
    if (result.start, result.end) != (mention.start, mention.end):
        return f"predicted at {result.start}–{result.end}, annotated at {mention.start}–{mention.end}"
    return None if result.text == mention.text else "predicted for another text"
