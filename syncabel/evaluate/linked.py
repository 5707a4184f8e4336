"""Prediction files, as `syncabel link` writes them, and their place beside the documents."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from syncabel.errors import FormatError
from syncabel.lines import json_lines
from syncabel.types import Document, LinkedMention, Mention, from_json

__all__ = ["Key", "aligned", "looks_linked", "read_linked"]

Key = tuple[str, str]  # document id, mention id
_ROUNDING = 1e-3  # how far above 1 a sum of probabilities in half precision may end
_NUMBERS = "confidences and masses are fractions in [0, 1], scores finite numbers"


def looks_linked(line: str) -> bool:
    """Whether a first line is that of a file of linked mentions.

    >>> looks_linked('{"document_id": "d", "mention_id": "T1", "predictions": []}'), looks_linked('{"id": "d", "text": "", "mentions": []}')
    (True, False)
    """
    return line.startswith("{") and '"predictions"' in line and '"document_id"' in line


def read_linked(path: Path | str) -> Iterator[tuple[int, LinkedMention]]:
    """Line number and linked mention of every row; blank lines are no rows.

    Raises:
        FormatError: not UTF-8, empty, not JSON, not a linked mention, or a confidence that is no fraction (NaN, too).
    """
    path = Path(path)
    for number, value in json_lines(path, "write one object a line, as `syncabel link` does"):
        try:
            yield number, _linked(value)
        except FormatError as error:
            raise FormatError(error.problem, path, number, error.hint or "rows are what `syncabel link` writes") from None


def _linked(value: Any) -> LinkedMention:
    """A row without the joined `code` of each prediction: it is written for people and follows from `codes`."""
    lists = {name: value[name] for name in ("predictions", "alternatives") if isinstance(value, dict) and isinstance(value.get(name), list)}
    linked = from_json(LinkedMention, {**value, **{name: [_bare(item) for item in listed] for name, listed in lists.items()}} if lists else value)
    for name, listed in lists.items():
        for item, prediction in zip(listed, getattr(linked, name), strict=True):
            if item.get("code", prediction.code) != prediction.code:
                raise FormatError(f"'code' is {item['code']!r} and 'codes' say {prediction.code!r}", hint="make them agree")
    if problem := _no_number(linked):
        raise FormatError(problem, hint=_NUMBERS)
    return linked


def _bare(item: Any) -> Any:
    return {key: value for key, value in item.items() if key != "code"} if isinstance(item, dict) else item


def _no_number(linked: LinkedMention) -> str | None:
    """What is wrong with the numbers of a result: JSON knows no NaN, but Python reads and writes it."""
    for place, prediction in enumerate((*linked.predictions, *linked.alternatives), 1):
        if prediction.confidence is not None and not 0 <= prediction.confidence <= 1:
            return f"prediction {place}: confidence is {prediction.confidence}"
        if not 0 <= prediction.mass <= 1 + _ROUNDING:
            return f"prediction {place}: mass is {prediction.mass}"
        numbers = {name: getattr(prediction, name) for name in ("log_prob", "beam_score", "bound", "epsilon")}
        if bad := [name for name, number in numbers.items() if number is not None and not math.isfinite(number)]:
            return f"prediction {place}: {bad[0]} is {numbers[bad[0]]}"
    return None


def aligned(documents: Sequence[Document], linked: Iterable[tuple[int | None, LinkedMention]], path: Path | str | None = None) -> dict[Key, LinkedMention]:
    """Each linked mention under its document and mention id.

    Args:
        documents: what was linked; ids distinct.
        linked: line number, or None where it comes from no file, and result; in any order.
        path: the file, for errors.

    Raises:
        FormatError: a result for a mention that is not there or has another text or place, two for one, or a confidence that is no fraction.
    """
    mentions = {(document.id, mention.id): mention for document in documents for mention in document.mentions}
    if len(mentions) != sum(len(document.mentions) for document in documents):
        raise FormatError("two documents have the same id", hint="give each document its own id")
    found: dict[Key, LinkedMention] = {}
    for line, result in linked:
        key = (result.document_id, result.mention_id)
        problem = "two predictions for one mention" if key in found else _mismatch(result, mentions.get(key))
        if problem is None and (problem := _no_number(result)):
            raise FormatError(f"document {key[0]!r}, mention {key[1]!r}: {problem}", path, line, _NUMBERS)
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
