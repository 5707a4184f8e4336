"""JSON Lines of `{id, split, lang, text, mentions: [{spans, text, type, codes}]}`: how the HPO corpora ID-68 and GSC+ are passed on.

Each mention there has one code, so what several would mean is an option; its default is the schema's own word, a list of codes of one mention: together.
"""

import json
from pathlib import Path
from typing import Any

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import Locator, Seen, Several, answers_from, as_several, repeated
from syncabel.errors import FormatError, UnknownNameError
from syncabel.lines import text_lines
from syncabel.types import Document, Mention, Rejection, Split, as_split

__all__ = ["read_span_jsonl"]


def read_span_jsonl(path: Path | str, *, split: str | None = None, seen: Seen | None = None, language: str = "en", several: str = "together") -> Corpus:
    """Read documents, plain or `.gz`.

    A mention's id is `T` and its number.  A row is a document or one of its mentions.  Rejections have the reasons `json`, `schema`, `offset`,
    `duplicate` (a document id met before) and `duplicate_across_splits` (in another split); a document that is left out takes its mentions along.

    Args:
        path: the file.
        split: given to documents that state none; a row's own split stays.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, given to documents that state none; a row's own stays.
        several: what several codes of one mention mean, `alternatives` or `together`.

    Raises:
        FormatError: not UTF-8, empty, or not one document in it.
        UnknownNameError: no such split or `several`.
    """
    given, path, ids, meaning = as_split(split), Path(path), {} if seen is None else seen, as_several(several)
    documents: list[Document] = []
    rejections: list[Rejection] = []
    rows_read = 0
    for number, line in text_lines(path):
        if not line.strip():
            continue
        where, value = f"{path}:{number}", _parsed(line)
        mentions = value.get("mentions") if isinstance(value, dict) else None
        rows = [json.dumps(mention, ensure_ascii=True) for mention in mentions] if isinstance(mentions, list) else []
        rows_read += 1 + len(rows)
        found = _document(value, where, given, language, ids, meaning)
        if isinstance(found[0], Document):
            ids[found[0].id] = found[0].split
            documents.append(found[0])
            rejections += found[1]
        else:
            reason, problem = found[0]
            rejections.append(Rejection(where, "", reason, f"{line} ({problem})"))
            # A leak is counted once a document, not once a mention of it.
            rejections += [Rejection(where, "", "duplicate" if reason.startswith("duplicate") else reason, f"{row} ({problem})") for row in rows]
    if not documents and not any(rejection.reason.startswith("duplicate") for rejection in rejections):
        raise FormatError(f"not one of {rows_read} rows is a document", path, hint="a document has id, text and mentions")
    return Corpus(tuple(documents), tuple(rejections), rows_read)


def _parsed(line: str) -> Any:
    try:
        value = json.loads(line)
        if "\\u" in line:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair goes into no UTF-8 file
    except (ValueError, RecursionError):
        return None
    return value


def _document(value: Any, where: str, given: Split | None, language: str, ids: Seen, several: Several) -> tuple[Document | tuple[str, str], list[Rejection]]:
    """A row's document with the rejections of its mentions, or (reason, what is wrong)."""
    if value is None:
        return ("json", "not JSON"), []
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("id", "text")) or not isinstance(value.get("mentions"), list):
        return ("schema", "a document has id, text and mentions"), []
    document_id, text, language = value["id"], value["text"], value.get("lang", language)
    if not isinstance(language, str) or not isinstance(value.get("split"), str | None):
        return ("schema", "split and lang are strings"), []
    try:
        split = as_split(value.get("split")) or given
    except UnknownNameError as error:
        return ("schema", str(error)), []
    if document_id in ids:
        return (repeated(ids, document_id, split), f"document {document_id} was read before"), []
    place = Locator(text)
    mentions: list[Mention] = []
    rejections: list[Rejection] = []
    for ordinal, item in enumerate(value["mentions"], 1):
        mention = _mention(f"T{ordinal}", item, place, several)
        if isinstance(mention, Mention):
            mentions.append(mention)
        else:
            reason, problem = mention
            rejections.append(Rejection(where, "", reason, f"{json.dumps(item, ensure_ascii=True)} ({problem})"))
    return Document(document_id, text, tuple(mentions), language, split=split, abbreviations=find_abbreviations(text)), rejections


def _mention(mention_id: str, item: Any, place: Locator, several: Several) -> Mention | tuple[str, str]:
    """The mention of an object, or (reason, what is wrong)."""
    if not isinstance(item, dict):
        return "schema", "a mention is an object"
    spans, surface, kind, codes = (item.get(key) for key in ("spans", "text", "type", "codes"))
    if not isinstance(spans, list) or not all(isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair) for pair in spans):
        return "schema", "spans are pairs of whole numbers"
    if not isinstance(surface, str) or not isinstance(kind, str | None):
        return "schema", "text and type are strings"
    if not (codes is None or (isinstance(codes, list) and all(isinstance(code, str) and code for code in codes))):
        return "schema", "codes are strings"
    found = place.spans([(start, end) for start, end in spans], surface)
    if isinstance(found, str):
        return "offset", found
    covered = " ".join(place.text[span.start : span.end] for span in found)
    answers = answers_from([[code] for code in codes], several) if codes else None if codes is None else ()
    return Mention(mention_id, found, covered, kind, answers)
