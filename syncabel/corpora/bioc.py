"""BioC, XML and JSON: collection > document > passage (> sentence) > annotation, as PubTator 3, PMC and many corpora give it.

Passages say at which offset of the document they start, and there are gaps between them: the text is rebuilt so that offsets hold, a gap
being one line feed and then spaces (only spaces between the sentences of a passage).  Offsets are code points unless stated otherwise.

Read with the standard library: the package `bioc` (2.1) neither rebuilds the text nor checks an offset, and would add lxml for the rest.
A document type may be declared, as BioC files do; one that declares entities is refused, for they can grow without bound.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.entities import name2codepoint
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, cast, get_args
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import Seen, repeated
from syncabel.corpora.pubtator import Dialect, answers_of, as_dialect
from syncabel.errors import FormatError, OffsetError, UnknownNameError
from syncabel.lines import TagsWithin
from syncabel.types import Document, Mention, Rejection, Span, as_split

__all__ = ["BIOC", "IDENTIFIERS", "Unit", "read_bioc"]

Unit = Literal["code_point", "utf-8", "utf-16"]
IDENTIFIERS = (
    "identifier", "Identifier", "MESH", "MeSH", "mesh", "OMIM", "NCBI Gene", "NCBIGene", "NCBI Homologene", "NCBI Taxonomy",
    "CUI", "UMLS", "concept_id", "conceptid", "ontology_id", "database_id", "db_id", "code", "id",
)  # fmt: skip
# Producers differ in what `;`, `,` and `|` mean, and PubTator 3 writes "-" where its tagger found no identifier.
BIOC = Dialect(nil=("-", "-1"))
_LARGEST_GAP = 1_000_000  # code points between two passages; more is no gap but a wrong offset
_CHUNK = 1 << 16
_WIDTH: Mapping[str, tuple[str, int]] = MappingProxyType({"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2)})


@dataclass(frozen=True, slots=True)
class _Annotation:
    """One annotation as written, before its offsets are believed."""

    line: int
    infons: Mapping[str, Any]  # strings, in JSON anything
    locations: tuple[tuple[int, int], ...]  # offset, length; as the file counts
    text: str | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A passage or a sentence: a text and the offset the file gives it."""

    line: int
    offset: int
    text: str
    opens: bool  # whether a passage starts here, so that a gap before it is a line end


@dataclass(frozen=True, slots=True)
class _Raw:
    """One document as written."""

    line: int
    id: str
    pieces: tuple[_Piece, ...]
    annotations: tuple[_Annotation, ...]


class _CodeError(FormatError):
    """What an identifier says cannot be told; becomes a rejection and never leaves this module."""


_Lost = tuple[Rejection, ...]  # a document that cannot be read, and each annotation lost with it


def read_bioc(
    path: Path | str,
    *,
    split: str | None = None,
    seen: Seen | None = None,
    identifiers: Sequence[str] = IDENTIFIERS,
    dialect: str | Dialect = BIOC,
    unit: Unit = "code_point",
    language: str = "en",
) -> Corpus:
    """Read a BioC file, XML or JSON (one object, a list, or one object a line), plain or `.gz`.

    An annotation's text must be the document's at its locations (runs of white space count as one); several locations make a
    discontinuous mention.  What cannot be taken becomes a rejection and the rest stays; reasons are `document`, `passage` (it overlaps
    the one before or lies absurdly far from it), `annotation` (no numbers, no location, infons that are no object), `offset`, `code` (an
    identifier that is neither string nor number, or a list of several where the dialect has no character between codes), `duplicate` (an id met
    before) and `duplicate_across_splits` (in another split).  With a document that cannot be read each of its annotations is rejected.

    Args:
        path: the file.
        split: written into each document.
        seen: ids of documents already read from other files; those of this one are added.
        identifiers: keys of the infon that holds the code; the first that is there decides.
        dialect: what the characters in a code mean; codes of a JSON list count as joined by the first of them.  A key of `DIALECTS`, or one's own.
        unit: what the file's offsets and lengths count.
        language: ISO 639-1, written into each document.

    Raises:
        UnknownNameError: no such split, unit or dialect.
        FormatError: neither XML nor JSON, not well-formed, entities are declared, or no document in it.
    """
    if unit not in get_args(Unit):
        raise UnknownNameError("offset unit", unit, get_args(Unit))
    given, path, ids, meaning = as_split(split), Path(path), {} if seen is None else seen, as_dialect(dialect)
    documents, rejections, rows = list[Document](), list[Rejection](), 0
    for raw in _raw_documents(path):
        if isinstance(raw, tuple):
            rejections += raw
            rows += len(raw)
            continue
        rows += 1 + len(raw.annotations)
        if raw.id in ids:
            reasons = [repeated(ids, raw.id, given), *("duplicate" for _ in raw.annotations)]
            places = zip(reasons, _lines(raw), strict=True)
            rejections += [Rejection(f"{path}:{line}", "", reason, f"document {raw.id} was read before") for reason, line in places]
            continue
        ids[raw.id] = given
        text, starts, bad = _rebuilt(raw, path, unit)
        mentions, wrong = _mentions(raw, text, starts, path, identifiers, meaning, unit)
        documents.append(Document(raw.id, text, mentions, language, split=given, abbreviations=find_abbreviations(text)))
        rejections += [*bad, *wrong]
        rows += len(bad)
    if not documents and not any(rejection.reason.startswith("duplicate") for rejection in rejections):
        raise FormatError("no BioC document in it", path, hint="see --format for others")
    return Corpus(tuple(documents), tuple(rejections), rows)


def _lines(raw: _Raw) -> list[int]:
    return [raw.line, *(annotation.line for annotation in raw.annotations)]


def _length(text: str, unit: Unit) -> int:
    if unit == "code_point":
        return len(text)
    encoding, width = _WIDTH[unit]
    return len(text.encode(encoding, "surrogatepass")) // width


def _rebuilt(raw: _Raw, path: Path, unit: Unit) -> tuple[str, list[tuple[_Piece, int]], list[Rejection]]:
    """The text, each piece that is in it with its start in code points, and the pieces that are not."""
    text, placed, bad = list[str](), list[tuple[_Piece, int]](), list[Rejection]()
    end, length = 0, 0  # as the file counts; in code points
    for piece in sorted(raw.pieces, key=lambda piece: piece.offset):
        gap = piece.offset - end
        if not 0 <= gap <= _LARGEST_GAP:
            bad.append(Rejection(f"{path}:{piece.line}", "", "passage", f"{piece.text} (offset {piece.offset}, the text before it ends at {end})"))
            continue
        filling = ("\n" + " " * (gap - 1) if piece.opens and text else " " * gap) if gap else ""
        text += [filling, piece.text]
        placed.append((piece, length + gap))
        end, length = piece.offset + _length(piece.text, unit), length + gap + len(piece.text)
    return "".join(text), placed, bad


def _mentions(
    raw: _Raw, text: str, placed: list[tuple[_Piece, int]], path: Path, identifiers: Sequence[str], dialect: Dialect, unit: Unit
) -> tuple[tuple[Mention, ...], list[Rejection]]:
    kept, rejections = list[Mention](), list[Rejection]()
    for ordinal, annotation in enumerate(raw.annotations, 1):
        code, where = "", f"{path}:{annotation.line}"
        try:
            code = _code(annotation.infons, identifiers, dialect)
            spans = tuple(sorted(_span(*location, placed, unit) for location in annotation.locations))
            mention = _checked(f"T{ordinal}", raw.id, text, spans, annotation)
        except FormatError as error:
            reason = "code" if isinstance(error, _CodeError) else "annotation"
            rejections.append(Rejection(where, code, reason, f"{annotation.text or ''} ({error.problem})"))
        except OffsetError as error:
            rejections.append(Rejection(where, code, "offset", f"{annotation.text or ''} ({_place(error)})"))
        else:
            kept.append(Mention(mention.id, mention.spans, mention.text, _kind(annotation), answers_of(code, dialect)))
    return tuple(kept), rejections


def _kind(annotation: _Annotation) -> str | None:
    kind = annotation.infons.get("type")
    return None if kind is None else str(kind)


def _code(infons: Mapping[str, Any], identifiers: Sequence[str], dialect: Dialect) -> str:
    """The code, or codes, of the first identifier that is there, as one string in the dialect; "" for none.

    Raises:
        _CodeError: it is an object or the like, or a list of several codes and the dialect says not what that means.
    """
    for value in (infons.get(key) for key in identifiers):
        parts = value if isinstance(value, list) else [] if value is None else [value]
        if bad := [type(part).__name__ for part in parts if not isinstance(part, str | int) or isinstance(part, bool)]:
            raise _CodeError(f"a code of type {bad[0]}; codes are strings")
        codes = [code for part in parts if (code := str(part).strip())]
        separator = (dialect.together or dialect.alternatives)[:1]
        if len(codes) > 1 and not separator:
            raise _CodeError(f"a list of {len(codes)} codes; give a dialect that says what several mean")
        if codes:
            return separator.join(codes)
    return ""


def _place(error: OffsetError) -> str:
    return f"offsets {error.start}–{error.end} hold {error.found!r}"


def _span(offset: int, length: int, placed: list[tuple[_Piece, int]], unit: Unit) -> Span:
    """A location in code points of the rebuilt text; one that leaves every piece comes back as it is, for the check to refuse."""
    if unit == "code_point":
        return Span(offset, offset + length)
    for piece, start in placed:
        encoding, width = _WIDTH[unit]
        raw = piece.text.encode(encoding, "surrogatepass")
        first, last = (offset - piece.offset) * width, (offset - piece.offset + length) * width
        if 0 <= first <= last <= len(raw):
            before, inside = (part.decode(encoding, "replace") for part in (raw[:first], raw[first:last]))
            return Span(start + len(before), start + len(before) + len(inside))
    raise FormatError(f"no passage holds offsets {offset}–{offset + length}")


def _checked(mention_id: str, document_id: str, text: str, spans: tuple[Span, ...], annotation: _Annotation) -> Mention:
    """The mention, its text compared with the document's.

    Raises:
        FormatError: it has no location.
        OffsetError: its text is another, or its locations overlap or leave the document.
    """
    if annotation.problem or not spans:
        raise FormatError(annotation.problem or "no location")
    found = " ".join(text[max(span.start, 0) : max(span.end, 0)] for span in spans)
    whole = text[max(spans[0].start, 0) : max(spans[-1].end, 0)]
    inside = all(0 <= span.start < span.end <= len(text) for span in spans)
    ordered = all(before.end <= after.start for before, after in pairwise(spans))
    surface = annotation.text
    if not (inside and ordered and (surface is None or surface.split() in (found.split(), whole.split()))):
        raise OffsetError(document_id, spans[0].start, spans[-1].end, surface or "", found)
    return Mention(mention_id, spans, found)


def _raw_documents(path: Path) -> Iterator[_Raw | _Lost]:
    """The documents of a file, one after the other, or what is lost of one."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
        try:
            first = handle.read(_CHUNK)
            handle.seek(0)
            kind = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            if not first:
                raise FormatError("the file is empty", path, hint="fetch it again")
            if kind in (b"{", b"["):
                yield from _of_json(handle, path)
            else:
                yield from _of_xml(handle, path)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise FormatError("damaged gzip data", path, hint="fetch the file again") from None


class _Reader:
    """Builds one document's tree at a time out of expat's events; what stands outside of documents is not kept."""

    def __init__(self, path: Path) -> None:
        self.path, self.ready, self._depth = path, list[tuple[int, Element]](), 0
        self._builder, self._line = TreeBuilder(), 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.EntityDeclHandler = self._refuse
        self.parser.SkippedEntityHandler = self._undeclared
        self.parser.StartElementHandler, self.parser.EndElementHandler, self.parser.CharacterDataHandler = self._start, self._end, self._text

    def _refuse(self, *_: object) -> None:
        line = self.parser.CurrentLineNumber
        raise FormatError("declares an entity, which could grow without bound", self.path, line, "write the text itself in its place")

    def _undeclared(self, name: str, *_: object) -> None:
        # Left out, as expat would, it would move every offset after it.  Of "Smith&Jones;" the name is a patient's: only HTML's are shown.
        shown = f"entity {name!r}" if name in name2codepoint else "an entity"
        raise FormatError(f"not well-formed: {shown} is declared nowhere in it", self.path, self.parser.CurrentLineNumber, "write the character itself")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._depth == 0 and tag != "document":
            return
        if self._depth == 0:
            self._builder, self._line = TreeBuilder(), self.parser.CurrentLineNumber
        self._depth += 1
        self._builder.start(tag, {**attributes, _LINE: str(self.parser.CurrentLineNumber)})

    def _end(self, tag: str) -> None:
        if self._depth == 0:
            return
        element = self._builder.end(tag)
        self._depth -= 1
        if self._depth == 0:
            self.ready.append((self._line, element))

    def _text(self, text: str) -> None:
        if self._depth:
            self._builder.data(text)


_LINE = " line"  # no attribute's name in XML


def _of_xml(handle: BinaryIO | gzip.GzipFile, path: Path) -> Iterator[_Raw | _Lost]:
    reader, bounded = _Reader(path), TagsWithin(cast(BinaryIO, handle), path)
    while chunk := bounded.read(_CHUNK):
        _fed(reader, chunk, False)
        for line, element in reader.ready:
            yield _caught(path, line, element)
        reader.ready.clear()
    _fed(reader, b"", True)


def _fed(reader: _Reader, chunk: bytes, last: bool) -> None:
    try:
        reader.parser.Parse(chunk, last)
    except (expat.ExpatError, LookupError, ValueError) as error:
        line = error.lineno if isinstance(error, expat.ExpatError) else reader.parser.CurrentLineNumber
        what = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else "its encoding is unknown"
        raise FormatError(f"neither JSON nor well-formed XML ({what})", reader.path, line, "see --format for others, or write it again") from None


def _caught(path: Path, line: int, element: Element) -> _Raw | _Lost:
    try:
        return _xml_document(line, element)
    except FormatError as error:
        annotations = [(_line(found), found.findtext("text") or "") for found in element.iter("annotation")]
        return _lost(path, line, error, annotations)


def _lost(path: Path, line: int, error: FormatError, annotations: Iterable[tuple[int, str]]) -> _Lost:
    """The rejections of a document and of its annotations, which are given by line and text."""
    whole = Rejection(f"{path}:{line}", "", "document", error.problem)
    return (whole, *(Rejection(f"{path}:{at}", "", "document", f"{text} ({error.problem})") for at, text in annotations))


def _xml_document(line: int, element: Element) -> _Raw:
    pieces, annotations = list[_Piece](), list[_Annotation]()
    for passage in element.findall("passage"):
        holders = [passage] if passage.find("text") is not None else passage.findall("sentence")
        for ordinal, holder in enumerate(holders):
            if holder.find("text") is not None:
                text = holder.findtext("text") or ""
                pieces.append(_Piece(_line(holder), _number(holder.findtext("offset"), "an offset"), text, ordinal == 0))
        annotations += [_xml_annotation(found) for found in passage.iter("annotation")]
    annotations += [_xml_annotation(found) for found in element.findall("annotation")]
    return _Raw(line, _document_id(element.findtext("id")), tuple(pieces), tuple(annotations))


def _xml_annotation(element: Element) -> _Annotation:
    infons = {infon.get("key", ""): infon.text or "" for infon in element.findall("infon")}
    return _annotation(_line(element), infons, [(at.get("offset"), at.get("length")) for at in element.findall("location")], element.findtext("text"))


def _annotation(line: int, infons: Mapping[str, Any], locations: Sequence[tuple[object, object]], text: str | None) -> _Annotation:
    """An annotation; one whose locations are no numbers keeps its document from nothing."""
    try:
        return _Annotation(line, infons, tuple((_number(offset, "a location"), _number(length, "a location")) for offset, length in locations), text)
    except FormatError as error:
        return _Annotation(line, infons, (), text, error.problem)


def _line(element: Element) -> int:
    return int(element.get(_LINE, "0"))


def _document_id(value: object) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise FormatError("a document without id")
    return str(value).strip()


def _number(value: object, what: str) -> int:
    """A count as XML and JSON write it.

    Raises:
        FormatError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    if isinstance(value, str) and (plain := value.strip()).isascii() and plain.isdigit() and len(plain) <= 15:
        return int(plain)
    raise FormatError(f"{what} is not a number")


def _of_json(handle: BinaryIO | gzip.GzipFile, path: Path) -> Iterator[_Raw | _Lost]:
    raw = handle.read()
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FormatError(f"byte 0x{raw[error.start]:02x} is not UTF-8", path, line, "convert the file, e.g. iconv -f latin1 -t utf-8") from None
    for line, value in _json_values(content, path):
        for document in _json_documents(value):
            try:
                yield _json_document(line, document)
            except FormatError as error:
                annotations = ((line, json.dumps(found, ensure_ascii=False)) for holder in _holders(document) for found in _listed(holder, "annotations"))
                yield _lost(path, line, error, annotations)


def _json_values(content: str, path: Path) -> Iterator[tuple[int, Any]]:
    """Each JSON value of a file with the line it starts in; one after the other, so that JSON Lines are read as well."""
    decoder, at, line = json.JSONDecoder(), 0, 1
    while True:
        start = at
        while at < len(content) and content[at].isspace():
            at += 1
        line += content.count("\n", start, at)
        if at == len(content):
            return
        try:
            value, end = decoder.raw_decode(content, at)
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could never be written again
        except (ValueError, RecursionError) as error:
            here = line + content.count("\n", at, error.pos) if isinstance(error, json.JSONDecodeError) else line
            raise FormatError("neither XML nor JSON that can be read", path, here, "see --format for others, or write it again") from None
        yield line, value
        line += content.count("\n", at, end)
        at = end


def _json_documents(value: Any) -> Iterator[Any]:
    """The documents of a collection, of a list of collections (PMC), under PubTator 3's key, or one by itself."""
    if isinstance(value, list):
        for one in value:
            yield from _json_documents(one)
    elif isinstance(value, dict) and isinstance(inside := value.get("documents", value.get("PubTator3")), list):
        yield from inside
    else:
        yield value


def _json_document(line: int, value: Any) -> _Raw:
    if not isinstance(value, dict) or "passages" not in value:
        raise FormatError("an object without passages")
    pieces, annotations = list[_Piece](), list[_Annotation]()
    for passage in _objects(value, "passages"):
        sentences = _objects(passage, "sentences")
        holders = [passage] if isinstance(passage.get("text"), str) and (passage["text"] or not sentences) else sentences
        for ordinal, holder in enumerate(holders):
            if isinstance(text := holder.get("text"), str):
                pieces.append(_Piece(line, _number(holder.get("offset"), "an offset"), text, ordinal == 0))
    for holder in _holders(value):
        if not isinstance(holder.get("annotations"), list | None):
            raise FormatError("annotations are no list")
        annotations += [_json_annotation(line, found) for found in _listed(holder, "annotations")]
    return _Raw(line, _document_id(value.get("id")), tuple(pieces), tuple(annotations))


def _holders(document: Any) -> Iterator[dict[str, Any]]:
    """All that may hold annotations, passages before their document; what is no object is passed over."""
    if isinstance(document, dict):
        for passage in _listed(document, "passages"):
            if isinstance(passage, dict):
                yield passage
                yield from (sentence for sentence in _listed(passage, "sentences") if isinstance(sentence, dict))
        yield document


def _listed(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _json_annotation(line: int, value: Any) -> _Annotation:
    """An annotation; what is wrong with it is its own problem and not its document's."""
    if not isinstance(value, dict):
        return _Annotation(line, {}, (), None, "an annotation is an object")
    infons, text = value.get("infons"), value.get("text")
    infons = {} if infons is None else infons  # null is how PubTator 3 says "none"
    text_of = text if isinstance(text, str) else None
    if not isinstance(infons, dict) or not isinstance(infons.get("type"), str | int | None):
        return _Annotation(line, {}, (), text_of, "infons are no object, or their type no string")
    if not isinstance(text, str | None):
        return _Annotation(line, infons, (), None, "its text is no string")
    try:
        locations = [(at.get("offset"), at.get("length")) for at in _objects(value, "locations")]
    except FormatError as error:
        return _Annotation(line, infons, (), text_of, error.problem)
    return _annotation(line, infons, locations, text_of)


def _objects(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list; none where the key is missing or null."""
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise FormatError(f"{key} is no list of objects")
    return found
