"""The BigBIO KB schema (Fries et al., 2022): one object a document, with passages, entities and their normalisations.

Offsets are code points of the passages joined as they lie.  What lies between two passages is in no file: line feeds stand there.
What several normalisations of one entity mean differs from corpus to corpus (most list several identifiers of one thing, but those made from
`|`- or `+`-joined codes list the parts of a composite), so it is an option; `+` inside one `db_id` joins codes that are right together.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import NIL, Locator, Seen, Several, answers_from, as_several, repeated
from syncabel.errors import ConfigError, FormatError, MissingExtraError, UnknownNameError
from syncabel.lines import text_lines
from syncabel.types import NO_CODE, Document, Mention, Rejection, Split, as_split

__all__ = ["read_bigbio", "write_bigbio"]

Prefix = Literal["keep", "drop", "add"]
_PREFIXES: tuple[Prefix, ...] = ("keep", "drop", "add")
# The names of splits on the Hugging Face hub, and this project's.
_SPLITS: Mapping[str, Split] = MappingProxyType({"train": "train", "validation": "dev", "valid": "dev", "val": "dev", "dev": "dev", "test": "test"})
_LONGEST_GAP = 100_000  # code points between two passages; more is a damaged number, and would be written out as text
_HINT = "a BigBIO document has document_id, passages and entities"


@dataclass(frozen=True, slots=True)
class _Options:
    several: Several
    prefix: Prefix
    language: str
    split: Split | None


@dataclass(frozen=True, slots=True)
class _UnknownSplit:
    """Stands in the stream of documents where a split begins of which nothing is known."""

    name: str


class _LeftOutError(FormatError):
    """Why a document or an entity cannot be taken; becomes a rejection and never leaves this module."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


def read_bigbio(
    path: Path | str,
    *,
    split: str | None = None,
    seen: Seen | None = None,
    language: str = "en",
    several: str = "alternatives",
    prefix: str = "keep",
) -> Corpus:
    """Read documents in the BigBIO KB schema: `.json` (a list, or one object a line), `.jsonl`, both also `.gz`, `.parquet`, or a folder saved by `datasets`.

    A row is a document or one of its entities.  Rejections have the reasons `json`, `schema`, `passage` (passages overlap, or are not as long as
    their offsets say), `offset`, `code` (a code that is no string), `duplicate` (an entity or document id met before) and
    `duplicate_across_splits` (a document id, in another split); a document that is left out takes its entities along.  Of a saved folder, a
    split of another name than train, validation and test is one more row, rejected as `unknown_split`: its documents have no split.

    Args:
        path: the file or folder.
        split: written into each document; of a saved folder with several splits None takes theirs.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, written into each document.
        several: what several normalisations of one entity mean, `alternatives` or `together`.
        prefix: `keep` takes db_id as it is, `drop` takes "db_name:" off it, `add` puts it before where it is not there.

    Raises:
        UnknownNameError: no such split, `several` or `prefix`.
        FormatError: not UTF-8, empty, damaged, or not one document in it.
        MissingExtraError: a saved folder, and `datasets` is not installed.
    """
    path, taken = Path(path), {} if seen is None else seen
    options = _Options(as_several(several), _as_prefix(prefix), language, as_split(split))
    documents: list[Document] = []
    rejections: list[Rejection] = []
    rows_read = 0
    for where, value, row_split in _values(path):
        if isinstance(value, _UnknownSplit):
            if options.split is None:
                rows_read += 1
                rejections.append(Rejection(where, "", "unknown_split", f"{value.name!r} is none of train, validation and test; its documents have no split"))
            continue
        entities = value.get("entities") if isinstance(value, dict) else None
        rows_read += 1 + (len(entities) if isinstance(entities, list) else 0)
        try:
            document, bad = _document(value, where, options, row_split, taken)
        except _LeftOutError as error:
            rejections += _lost(value, entities, where, error)
            continue
        taken[document.id] = document.split
        documents.append(document)
        rejections += bad
    if not documents and not any(rejection.reason.startswith("duplicate") for rejection in rejections):
        first = f"; the first row fails on: {rejections[0].reason}" if rejections else ""
        raise FormatError(f"no document in it{first}", path, hint=_HINT)
    return Corpus(tuple(documents), tuple(rejections), rows_read)


def _as_prefix(prefix: str) -> Prefix:
    found = next((known for known in _PREFIXES if known == prefix), None)
    if found is None:
        raise UnknownNameError("use of db_name", prefix, _PREFIXES)
    return found


def _values(path: Path) -> Iterator[tuple[str, Any, Split | None]]:
    """Every document's value with its place; what is no JSON comes as the error."""
    if path.is_dir():
        yield from _saved(path)
    elif path.suffix == ".parquet":
        yield from ((f"{path}:{row}", value, None) for row, value in enumerate(_parquet(path), 1))
    else:
        yield from ((f"{path}:{line}", value, None) for line, value in _json(path))


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    lines = text_lines(path)
    rows = [(number, line) for number, line in lines if line.strip()]
    if rows and rows[0][1].lstrip().startswith("["):
        value = _parsed("\n".join(line for _, line in rows))
        yield from enumerate(value, 1) if isinstance(value, list) else [(1, value)]
    elif rows and rows[0][1].strip() == "{":  # one object over many lines
        yield 1, _parsed("\n".join(line for _, line in rows))
    else:
        yield from ((number, _parsed(line)) for number, line in rows)


def _parsed(text: str) -> Any:
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair goes into no UTF-8 file
    except (ValueError, RecursionError) as error:
        return _LeftOutError("json", f"not JSON: {error}")
    return value


def _parquet(path: Path) -> Iterator[Any]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise FormatError(f"not Parquet ({(str(error) or 'damaged').splitlines()[0]})", path, hint="fetch or write it again") from None
    return frame.iter_rows(named=True)


def _saved(path: Path) -> Iterator[tuple[str, Any, Split | None]]:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("train", "datasets") from None
    try:
        found = datasets.load_from_disk(str(path))
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise FormatError(f"no folder saved by datasets ({type(error).__name__})", path, hint="save it with save_to_disk") from None
    parts = found.items() if isinstance(found, datasets.DatasetDict) else [("", found)]
    for name, part in parts:
        split = _SPLITS.get(name)
        if name and split is None:
            yield f"{path}/{name}", _UnknownSplit(name), None
        yield from ((f"{path}/{name}:{row}" if name else f"{path}:{row}", value, split) for row, value in enumerate(part, 1))


def _lost(value: Any, entities: Any, where: str, error: _LeftOutError) -> Iterator[Rejection]:
    name = value.get("document_id") if isinstance(value, dict) else None
    yield Rejection(where, "", error.reason, f"document {name!r}: {error.problem}")
    for entity in entities if isinstance(entities, list) else []:
        # A leak is counted once a document, not once an entity of it.
        reason = "duplicate" if error.reason.startswith("duplicate") else error.reason
        yield Rejection(where, "", reason, f"{_shown(entity)} (document {name!r}: {error.problem})")


def _shown(entity: Any) -> str:
    return json.dumps(entity, ensure_ascii=False, default=str)


def _document(value: Any, where: str, options: _Options, row_split: Split | None, taken: Seen) -> tuple[Document, list[Rejection]]:
    if isinstance(value, _LeftOutError):
        raise value
    if not isinstance(value, dict):
        raise _LeftOutError("schema", f"a document is an object, not {type(value).__name__}")
    document_id, split = _string(value, "document_id"), options.split or row_split
    if document_id in taken:
        raise _LeftOutError(repeated(taken, document_id, split), "its id was read before")
    text = _text(_list(value, "passages"))
    place = Locator(text)
    mentions: dict[str, Mention] = {}
    rejections: list[Rejection] = []
    for entity in _list(value, "entities"):
        try:
            mention = _mention(entity, place, options)
            if mention.id in mentions:
                raise _LeftOutError("duplicate", f"entity {mention.id} stands above")
            mentions[mention.id] = mention
        except _LeftOutError as error:
            rejections.append(Rejection(where, "", error.reason, f"{_shown(entity)} (document {document_id}: {error.problem})"))
    return Document(document_id, text, tuple(mentions.values()), options.language, split=split, abbreviations=find_abbreviations(text)), rejections


def _string(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise _LeftOutError("schema", f"{key} should be a string that is not empty")
    return found


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    if not isinstance(found, list):
        raise _LeftOutError("schema", f"{key} should be a list")
    return found


def _fragments(value: Any, what: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The texts and offsets of a passage or an entity, one text for all fragments being allowed."""
    if not isinstance(value, dict):
        raise _LeftOutError("schema", f"{what} should be an object")
    texts, offsets = _list(value, "text"), _list(value, "offsets")
    if not all(isinstance(text, str) for text in texts):
        raise _LeftOutError("schema", f"text of {what} should be strings")
    pairs = [(pair[0], pair[1]) for pair in offsets if isinstance(pair, list | tuple) and len(pair) == 2 and all(type(number) is int for number in pair)]
    if not pairs or len(pairs) != len(offsets):
        raise _LeftOutError("schema", f"offsets of {what} should be pairs of whole numbers")
    return texts, pairs


def _text(passages: list[Any]) -> str:
    """The passages at their offsets, line feeds in the gaps."""
    pieces: list[tuple[int, int, str]] = []
    for passage in passages:
        texts, offsets = _fragments(passage, "a passage")
        if len(texts) != len(offsets):
            raise _LeftOutError("passage", f"{len(texts)} texts with {len(offsets)} offsets")
        pieces += [(start, end, text) for text, (start, end) in zip(texts, offsets, strict=True)]
    out: list[str] = []
    at = 0
    for start, end, text in sorted(pieces):
        if end - start != len(text):
            raise _LeftOutError("passage", f"a passage of {len(text)} characters has the offsets {start}–{end}")
        if not 0 <= start - at <= _LONGEST_GAP:
            raise _LeftOutError("passage", f"a passage starts at {start}, the one before it ends at {at}")
        out += ["\n" * (start - at), text]
        at = end
    return "".join(out)


def _mention(entity: Any, place: Locator, options: _Options) -> Mention:
    texts, offsets = _fragments(entity, "an entity")
    kind = entity.get("type")
    if not (kind is None or isinstance(kind, str)):
        raise _LeftOutError("schema", "type should be a string")
    spans = place.spans(offsets, " ".join(texts))
    if isinstance(spans, str):
        raise _LeftOutError("offset", spans)
    normalized = entity.get("normalized") or []
    if not isinstance(normalized, list):
        raise _LeftOutError("schema", "normalized should be a list")
    stated = [_codes(item, options.prefix) for item in normalized]
    covered = " ".join(place.text[span.start : span.end] for span in spans)
    return Mention(_string(entity, "id"), spans, covered, kind, answers_from([codes for codes in stated if codes], options.several))


def _codes(item: Any, prefix: Prefix) -> list[str]:
    if not isinstance(item, dict):
        raise _LeftOutError("schema", "normalized should be objects with db_name and db_id")
    name, code = item.get("db_name"), item.get("db_id")
    if code is None:
        return []
    if not isinstance(code, str):
        raise _LeftOutError("code", f"a code of type {type(code).__name__}; codes are strings, or long ones lose digits")
    return [_prefixed(part.strip(), name if isinstance(name, str) else "", prefix) for part in code.split("+") if part.strip()]


def _prefixed(code: str, name: str, prefix: Prefix) -> str:
    if prefix == "keep" or not name or code in NIL:
        return code
    bare = code.removeprefix(f"{name}:") or code
    return bare if prefix == "drop" else f"{name}:{bare}"


def write_bigbio(documents: Iterable[Document], path: Path | str, *, db_name: str = "KB") -> int:
    """Write documents in the BigBIO KB schema, `.parquet` or else JSON Lines; the file is there whole or not at all.

    Each answer is one normalisation, its codes joined by `+` if they are several: what `read_bigbio` reads as alternatives of composites.  A mention
    that is not in the knowledge base gets `NO_CODE`, one without annotation none.  Lost on the way: language, split, source,
    provenance and abbreviations.

    Args:
        documents: with distinct ids.
        path: the file.
        db_name: what normalisations call the vocabulary.

    Returns:
        The number of documents written.

    Raises:
        ConfigError: an id is empty or repeats, or a code holds a `+`, has spaces around it or stands for no code.
    """
    path = Path(path)
    rows = [_row(document, db_name) for document in documents]
    ids = [row["document_id"] for row in rows]
    if len(set(ids)) != len(ids):
        raise ConfigError("a document id occurs twice; rename one")
    if path.suffix == ".parquet":
        return _replaced(path, lambda partial: _write_parquet(rows, partial), len(rows))
    return _replaced(path, lambda partial: _write_lines(rows, partial), len(rows))


def _replaced(path: Path, write: Callable[[Path], None], count: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _write_lines(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import polars as pl

    place: dict[str, pl.DataType | type[pl.DataType]] = {"id": pl.String, "type": pl.String, "text": pl.List(pl.String), "offsets": pl.List(pl.List(pl.Int64))}
    normalized = pl.List(pl.Struct({"db_name": pl.String, "db_id": pl.String}))
    # Events, coreferences and relations are always empty here; their columns only have to be there.
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "id": pl.String,
        "document_id": pl.String,
        "passages": pl.List(pl.Struct(place)),
        "entities": pl.List(pl.Struct({**place, "normalized": normalized})),
        **dict.fromkeys(("events", "coreferences", "relations"), pl.List(pl.Struct({"id": pl.String}))),
    }
    pl.DataFrame(rows, schema=schema).write_parquet(path)


def _row(document: Document, db_name: str) -> dict[str, Any]:
    if not document.id or not all(mention.id for mention in document.mentions):
        raise ConfigError(f"document {document.id!r}: an id is empty; name it")
    used = {mention.id for mention in document.mentions}
    passage = {"id": _free(f"{document.id}_text", used), "type": "document", "text": [document.text], "offsets": [[0, len(document.text)]]}
    return {
        "id": _free(document.id, used),
        "document_id": document.id,
        "passages": [passage],
        "entities": [_entity(mention, document, db_name) for mention in document.mentions],
        "events": [],
        "coreferences": [],
        "relations": [],
    }


def _free(wanted: str, used: set[str]) -> str:
    """An id no other part of the document has; BigBIO demands them distinct."""
    while wanted in used:
        wanted += "_"
    used.add(wanted)
    return wanted


def _entity(mention: Mention, document: Document, db_name: str) -> dict[str, Any]:
    answers = [(NO_CODE,)] if mention.answers == () else [_checked(codes, document.id) for codes in mention.answers or ()]
    return {
        "id": mention.id,
        "type": mention.type,
        "text": [document.surface(span) for span in mention.spans],
        "offsets": [[span.start, span.end] for span in mention.spans],
        "normalized": [{"db_name": db_name, "db_id": "+".join(codes)} for codes in answers],
    }


def _checked(codes: tuple[str, ...], document_id: str) -> tuple[str, ...]:
    if bad := next((code for code in codes if code in NIL or "+" in code or code != code.strip()), None):
        raise ConfigError(
            f"document {document_id!r}: code {bad!r} holds a +, has spaces around it or stands for no code; BigBIO files of this project cannot hold it"
        )
    return codes
