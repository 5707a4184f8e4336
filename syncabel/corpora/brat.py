"""BRAT stand-off: a text file and, beside it, annotation files whose rows point into it by code point (https://brat.nlplab.org/standoff.html).

What several codes of one mention mean differs from corpus to corpus, so it is an option.  In QUAERO they stand in one note,
apart by a space ("somnolence" C0013144 C2830004, "enfants" C0008100 C0008059, "éducation sanitaire" C0013627 C0018701) or once by a
comma: names of one thing that UMLS keeps apart, or a wider and a narrower concept.  Any of them suffices: alternatives.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from syncabel.abbreviations import find_abbreviations
from syncabel.archive import is_archive, opened
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import NIL, Several, answers_from, as_several, located
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.types import NO_CODE, Document, Mention, Rejection, Split, as_split

__all__ = ["read_brat", "write_brat"]

_MENTION = re.compile(r"(T[^\s]+)\t(\S+) ([0-9]{1,18} [0-9]{1,18}(?:;[0-9]{1,18} [0-9]{1,18})*)\t(.*)", re.DOTALL)
_REFERENCE = re.compile(r"N\S+\t\S+ (T\S+) ([^\s:]+):(\S+)(?:\t.*)?", re.DOTALL)
_NOTE = re.compile(r"#\S*\t\S+ (T\S+)\t(.*)", re.DOTALL)
_SKIPPED = re.compile(r"(?:[ERAM]\S*|\*|#.*)\t.*|#.*", re.DOTALL)  # events, relations, attributes, equivalences, other notes
_CODE = re.compile(r"(?:\w+:)?[A-Za-z]{0,4}[0-9][\w.:-]*")
_LEGAL = re.compile(r"(?:readme|licen[cs]e|copying|changelog)\b.*", re.IGNORECASE)
_ID = re.compile(r"T[0-9]+")
_CONTROL = str.maketrans("\n\r\t", "   ")


@dataclass(slots=True)
class _Entry:
    """The files of one document.

    Attributes:
        stem: path inside the corpus without the suffix, `/` between parts.
        text: the text file, or None.
        annotations: in the order of the suffixes asked for.
    """

    stem: str
    text: Path | None = None
    annotations: list[Path] = field(default_factory=list)


@dataclass(slots=True)
class _Rows:
    """The rows of one document that say something about mentions, each with its place.

    Attributes:
        mentions: T rows.
        codes: rows that state codes: (place, row, id of the mention, one sequence of codes per normalisation).
        other: rows of no known kind.
    """

    mentions: list[tuple[str, str]] = field(default_factory=list)
    codes: list[tuple[str, str, str, list[list[str]]]] = field(default_factory=list)
    other: list[tuple[str, str]] = field(default_factory=list)

    def all(self) -> list[tuple[str, str]]:
        """Place and row of each."""
        return self.mentions + [(where, row) for where, row, *_ in self.codes] + self.other


@dataclass(frozen=True, slots=True)
class _Options:
    annotations: tuple[str, ...]
    several: Several
    notes: bool
    prefixed: bool
    language: str
    split: Split | None


def read_brat(
    path: Path | str,
    *,
    split: str | None = None,
    seen: set[str] | None = None,
    language: str = "en",
    annotations: Sequence[str] = (".ann",),
    several: str = "alternatives",
    notes: bool = True,
    prefixed: bool = False,
    ids: str = "name",
) -> Corpus:
    """Read BRAT files: a folder of any depth, a zip or tar of one, or one document by its text or annotation file.

    A document's id is its file name without the suffix; where two folders have the same name, the path inside the corpus.  A mention's id
    is its T number.  A text without annotation file is a document without mentions, unless it is called README, LICENSE or the like.
    Hidden files, backups (`.ann~`) and configuration are no documents.

    A mention's text is what stands at its offsets: where its row has a space the text may have a line end, and fragments in another
    order are put into text order.  Codes come from N rows (`N1 Reference T1 MeSH:D010051`) and from notes on a mention all of whose words look
    like codes (`#1 AnnotatorNotes T1 C0008100 C0008059`; other notes are comments); `+` joins codes that are right together.  Codes are kept
    as written but for punctuation around those in notes.  Events, relations, attributes and equivalences are no rows here.

    A row is a text file, a T row or a row that states codes.  Rejections have the reasons `row` (of no known kind), `offset`, `orphan` (codes
    of a mention that is not there), `no_text` (annotations without their text), `encoding` (a document that is not UTF-8, with all its rows)
    and `duplicate` (a T number, or a document id, met before).

    Args:
        path: folder, archive, `.txt` or annotation file.
        split: written into each document; None takes it from the nearest folder named train, dev or test, if any.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, written into each document.
        annotations: suffixes of the annotation files of one text, e.g. (".a1", ".a2").
        several: what several normalisations of one mention mean, `alternatives` or `together`.
        notes: whether codes are looked for in notes.
        prefixed: whether codes of N rows keep their resource, "MeSH:D010051".
        ids: `name`, or `path` for the path inside the corpus in any case.

    Raises:
        UnknownNameError: no such split, `several` or `ids`.
        ConfigError: no suffix is given.
        FormatError: a damaged archive, or no text and no annotation in it.
    """
    path, taken = Path(path), set() if seen is None else seen
    if ids not in ("name", "path"):
        raise UnknownNameError("kind of document id", ids, ("name", "path"))
    if not annotations or not all(annotations):
        raise ConfigError("no suffix of annotation files is given; give at least one, e.g. .ann")
    options = _Options(tuple(annotations), as_several(several), notes, prefixed, language, as_split(split))
    with _folder(path, options.annotations) as folder:
        entries = _entries(folder, path, options.annotations)
        if not entries:
            raise FormatError("no text and no annotation file in it", path, hint=f"BRAT has .txt files with {', '.join(annotations)} files beside them")
        names = Counter(PurePosixPath(entry.stem).name for entry in entries)
        documents: list[Document] = []
        rejections: list[Rejection] = []
        rows_read = 0
        for entry in entries:
            name = PurePosixPath(entry.stem).name
            document_id = name if ids == "name" and names[name] == 1 else entry.stem
            document, bad, count = _document(entry, document_id, path, folder, options, taken)
            rejections += bad
            rows_read += count
            if document:
                taken.add(document.id)
                documents.append(document)
    return Corpus(tuple(documents), tuple(rejections), rows_read)


def _folder(path: Path, suffixes: Sequence[str]) -> AbstractContextManager[Path]:
    if path.is_dir() or is_archive(path):
        return opened(path, lambda name: name.endswith((".txt", *suffixes)))
    if path.name.endswith((".txt", *suffixes)):
        path.stat()  # a file that is not there is an OSError, not a corpus without documents
        return nullcontext(path.parent)
    raise FormatError("neither a folder, an archive nor a file of BRAT", path, hint=f"give a folder, or a .txt or {', '.join(suffixes)} file")


def _entries(folder: Path, path: Path, suffixes: Sequence[str]) -> list[_Entry]:
    """The documents of a folder by their paths; of a single file its own."""
    single = None if path.is_dir() or is_archive(path) else _stem(path.name, suffixes)
    files = folder.glob("*") if single is not None else folder.rglob("*")
    entries: dict[str, _Entry] = {}
    for file in sorted(files):
        stem = _stem(file.name, suffixes)
        if stem is None or file.name.startswith(".") or not file.is_file() or (single is not None and stem != single):
            continue
        key = (file.relative_to(folder).parent / stem).as_posix()
        entry = entries.setdefault(key, _Entry(key))
        if file.name == f"{stem}.txt":
            entry.text = file
        else:
            entry.annotations.append(file)
    for entry in entries.values():
        entry.annotations.sort(key=lambda file: next(i for i, suffix in enumerate(suffixes) if file.name.endswith(suffix)))
    return [entry for _, entry in sorted(entries.items()) if entry.annotations or not _LEGAL.fullmatch(PurePosixPath(entry.stem).name)]


def _stem(name: str, suffixes: Sequence[str]) -> str | None:
    suffix = max((suffix for suffix in (".txt", *suffixes) if name.endswith(suffix)), key=len, default=None)
    return None if suffix is None else name.removesuffix(suffix)


def _document(entry: _Entry, document_id: str, path: Path, folder: Path, options: _Options, taken: set[str]) -> tuple[Document | None, list[Rejection], int]:
    """One document, the rejections of its rows, and how many rows it has."""
    places = {file: _place(file, path, folder) for file in (*([entry.text] if entry.text else []), *entry.annotations)}
    rows, problem = _Rows(), ""
    for file in entry.annotations:
        problem = _collect(file, places[file], rows, options) or problem
    text = entry.text.read_bytes() if entry.text else b""
    try:
        content = text.decode("utf-8")  # a byte order mark stays: BRAT counts it as a character
    except UnicodeDecodeError as error:
        content, problem = "", f"the text is not UTF-8 at byte {error.start + 1}; convert it"
    count = len(rows.all()) + (entry.text is not None)
    first = places[entry.text or entry.annotations[0]]
    if problem:
        return None, _all(first, entry, rows, "encoding", problem), max(count, 1)
    if entry.text is None:
        return None, _all(first, entry, rows, "no_text", f"there is no {entry.stem}.txt"), max(count, 1)
    if document_id in taken:
        return None, _all(first, entry, rows, "duplicate", f"document {document_id} was read before"), count
    mentions, bad = _mentions(content, rows, options)
    split = options.split or _split_of(entry.stem)
    return Document(document_id, content, mentions, options.language, split=split, abbreviations=find_abbreviations(content)), bad, count


def _place(file: Path, path: Path, folder: Path) -> str:
    return str(path / file.relative_to(folder)) if path.is_dir() or is_archive(path) else str(file)


def _all(first: str, entry: _Entry, rows: _Rows, reason: str, problem: str) -> list[Rejection]:
    """A document left out: its text (or, where there is nothing else to report, its first file) and each row of it."""
    lost = [Rejection(where, "", reason, f"{row} ({problem})") for where, row in rows.all()]
    return [Rejection(first, "", reason, f"document {entry.stem}: {problem}"), *lost] if entry.text or not lost else lost


def _split_of(stem: str) -> Split | None:
    folders = reversed(PurePosixPath(stem).parts[:-1])
    return next((as_split(name) for name in folders if name in ("train", "dev", "test")), None)


def _collect(file: Path, place: str, rows: _Rows, options: _Options) -> str:
    """Sort a file's rows by kind; returns what makes the file unreadable, or ""."""
    content = file.read_bytes()
    try:
        text, problem = content.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        # The rows are still counted and reported, each with its place.
        text, problem = content.decode("utf-8-sig", "replace"), f"{file.name} is not UTF-8 at byte {error.start + 1}; convert it"
    for number, raw in enumerate(text.split("\n"), 1):
        row = raw.removesuffix("\r")
        if not row.strip():
            continue
        where = f"{place}:{number}"
        if row.startswith("T"):
            rows.mentions.append((where, row))
        elif (stated := _stated(row, options)) is not None:
            rows.codes.append((where, row, *stated))
        elif not _SKIPPED.fullmatch(row):
            rows.other.append((where, row))
    return problem


def _stated(row: str, options: _Options) -> tuple[str, list[list[str]]] | None:
    """The mention that a row gives codes to, with its normalisations; None where the row gives none."""
    if found := _REFERENCE.fullmatch(row):
        mention, resource, identifier = found.groups()
        codes = [code for code in identifier.split("+") if code]
        return (mention, [[f"{resource}:{code}" if options.prefixed and code not in NIL else code for code in codes]]) if codes else None
    if options.notes and (found := _NOTE.fullmatch(row)):
        words = [word.strip(".+") for word in re.split(r"[\s,;]+", found.group(2))]
        stated = [word.split("+") for word in words if word]
        if stated and all(_CODE.fullmatch(code) or code in NIL for codes in stated for code in codes):
            return found.group(1), stated
    return None


def _mentions(text: str, rows: _Rows, options: _Options) -> tuple[tuple[Mention, ...], list[Rejection]]:
    rejections = [Rejection(where, "", "row", f"{row} (no row of BRAT)") for where, row in rows.other]
    stated: dict[str, list[list[str]]] = {}
    for _, _, mention_id, codes in rows.codes:
        stated.setdefault(mention_id, []).extend(codes)
    kept: dict[str, Mention] = {}
    known: set[str] = set()
    for where, row in rows.mentions:
        found = _MENTION.fullmatch(row)
        if not found:
            rejections.append(Rejection(where, "", "row", f"{row} (a mention is: id, tab, type and offsets, tab, text)"))
            continue
        mention_id, kind, offsets, surface = found.groups()
        codes = stated.get(mention_id, [])
        if mention_id in known:
            rejections.append(Rejection(where, "", "duplicate", f"{row} ({mention_id} stands above)"))
            continue
        known.add(mention_id)
        spans = located(text, _offsets(offsets), surface)
        if isinstance(spans, str):
            rejections.append(Rejection(where, "+".join(code for part in codes for code in part), "offset", f"{row} ({spans})"))
            continue
        covered = " ".join(text[span.start : span.end] for span in spans)
        kept[mention_id] = Mention(mention_id, spans, covered, kind, answers_from(codes, options.several))
    # The codes of a mention that was left out are in its rejection and lost with it, which is one more row each.
    for where, row, mention_id, codes in rows.codes:
        if mention_id not in kept:
            problem = "its mention was left out" if mention_id in known else f"there is no mention {mention_id}"
            rejections.append(Rejection(where, "+".join(code for part in codes for code in part), "orphan", f"{row} ({problem})"))
    return tuple(kept.values()), rejections


def _offsets(written: str) -> Iterator[tuple[int, int]]:
    for fragment in written.split(";"):
        start, end = fragment.split(" ")
        yield int(start), int(end)


def write_brat(
    documents: Iterable[Document],
    folder: Path | str,
    *,
    resource: str = "KB",
    untyped: str = "Mention",
    types: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Write documents as `ID.txt` and `ID.ann`; a `/` in an id makes a folder.

    Each answer is one N row (`N1 Reference T1 KB:C1`), its codes joined by `+` if they are several: what `read_brat` reads as alternatives of
    composites.  A mention that is not in the knowledge base gets `KB:NO_CODE`, one without annotation no row.  Lost on the way: language, split, source,
    provenance and abbreviations; that a mention had no type; mention ids other than T and a number (all of that document are numbered
    anew); and a line end inside a fragment, which BRAT cannot hold: the fragment is written as one per line.

    Args:
        documents: with distinct ids.
        folder: made where it does not exist; files of the same names are replaced.
        resource: what N rows call the vocabulary.
        untyped: written for a mention without type.
        types: other names for types, e.g. for those with spaces.

    Returns:
        The number of documents written.

    Raises:
        ConfigError: BRAT cannot hold an id, type or code, or an id repeats; nothing is written then.
    """
    if not re.fullmatch(r"[^\s:]+", resource):
        raise ConfigError(f"resource {resource!r} is empty or holds a space or a colon; give a plain name")
    folder = Path(folder)
    files: dict[Path, tuple[bytes, bytes]] = {}
    for document in documents:
        target = folder / _checked_id(document.id)
        if target in files:
            raise ConfigError(f"document id {document.id!r} occurs twice; rename one")
        files[target] = (_encoded(document.text, document.id), _encoded("".join(_annotation(document, resource, untyped, types)), document.id))
    for target, (text, annotation) in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_name(f"{target.name}.txt").write_bytes(text)
        target.with_name(f"{target.name}.ann").write_bytes(annotation)
    return len(files)


def _checked_id(document_id: str) -> str:
    parts = document_id.split("/")
    if any(not part or part.startswith(".") or len(part.encode("utf-8", "replace")) > 240 or re.search(r"[\x00-\x1f\\:\ud800-\udfff]", part) for part in parts):
        raise ConfigError(f"document id {document_id!r} is no file name; rename it")
    return document_id


def _encoded(text: str, document_id: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"document {document_id!r} holds half a surrogate pair, which no UTF-8 file can; mend its text") from None


def _annotation(document: Document, resource: str, untyped: str, types: Mapping[str, str]) -> Iterator[str]:
    own = all(_ID.fullmatch(mention.id) for mention in document.mentions)
    number = 0
    for ordinal, mention in enumerate(document.mentions, 1):
        mention_id = mention.id if own else f"T{ordinal}"
        kind = untyped if mention.type is None else types.get(mention.type, mention.type)
        if not re.fullmatch(r"\S+", kind):
            raise ConfigError(f"document {document.id!r}: type {kind!r} is empty or holds a space, which BRAT cannot write; give it another name in types")
        lines = list(_lines(document, mention))
        offsets = ";".join(f"{start} {end}" for start, end in lines)
        surface = " ".join(document.text[start:end] for start, end in lines).translate(_CONTROL)
        yield f"{mention_id}\t{kind} {offsets}\t{surface}\n"
        answers = ["+".join(_checked_codes(codes, document.id)) for codes in mention.answers or ()]
        for codes in [NO_CODE] if mention.answers == () else answers:
            number += 1
            yield f"N{number}\tReference {mention_id} {resource}:{codes}\t{surface}\n"


def _lines(document: Document, mention: Mention) -> Iterator[tuple[int, int]]:
    """A mention's fragments, cut at line ends."""
    found = [
        (match.start() + span.start, match.end() + span.start)
        for span in mention.spans
        for match in re.finditer(r"[^\n]+", document.text[span.start : span.end])
    ]
    if not found:
        raise ConfigError(f"document {document.id!r}: mention {mention.id!r} is nothing but line ends, which BRAT cannot write; leave it out")
    yield from found


def _checked_codes(codes: Sequence[str], document_id: str) -> Sequence[str]:
    if bad := next((code for code in codes if code in NIL or not re.fullmatch(r"[^\s+]+", code)), None):
        raise ConfigError(f"document {document_id!r}: code {bad!r} holds a space or a +, or stands for no code; BRAT cannot write it")
    return codes
