"""BRAT stand-off: a text file and, beside it, annotation files whose rows point into it by code point (https://brat.nlplab.org/standoff.html).

What several codes of one mention mean differs from corpus to corpus, so it is an option.  In QUAERO they stand in one note,
apart by a space ("somnolence" C0013144 C2830004, "enfants" C0008100 C0008059, "éducation sanitaire" C0013627 C0018701) or once by a
comma: names of one thing that UMLS keeps apart, or a wider and a narrower concept.  Any of them suffices: alternatives.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import get_args
from urllib.parse import quote

from syncabel.abbreviations import find_abbreviations
from syncabel.archive import is_archive, opened
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.places import NIL, Locator, Seen, Several, answers_from, as_several, repeated
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.types import NO_CODE, Document, Mention, Rejection, Split, as_split

__all__ = ["foreign_files", "read_brat", "write_brat"]

_MENTION = re.compile(r"(T[^\s]+)\t(\S+) ([0-9]{1,18} [0-9]{1,18}(?:;[0-9]{1,18} [0-9]{1,18})*)\t(.*)", re.DOTALL)
_REFERENCE = re.compile(r"N\S+\t\S+ (T\S+) ([^\s:]+):(\S+)(?:\t.*)?", re.DOTALL)
_NOTE = re.compile(r"#\S*\t\S+ (T\S+)\t(.*)", re.DOTALL)
_SKIPPED = re.compile(r"(?:[ERAM]\S*|\*|#.*)\t.*|#.*", re.DOTALL)  # events, relations, attributes, equivalences, other notes
# A number or a word with a few digits may be anything among other words: a year and month, a gene, a dose.  ICD-10 has its point there.
_AMONG = r"[A-Za-z][\w-]+:[A-Za-z]{0,4}[0-9][\w.-]+|[A-Za-z]{1,4}[0-9]{4}[\w.-]*|[0-9]{5}[\w.-]*|[A-Z][0-9][0-9A-Z]\.[0-9A-Z]{1,4}"
# A note that is nothing else may have ICD-10 without a point (R05, J450, S061X0A), and the first concepts of a vocabulary (DOID:4).
_CODE = rf"{_AMONG}|[A-Z][0-9]{{2}}[0-9X]{{0,4}}[A-Z]?|[A-Z][A-Z]+:[0-9]"
_SAID = frozenset(NIL - {"-1"})  # of the words for no code those that no comment holds by chance
_LEGAL = re.compile(r"(?:readme|licen[cs]e|copying|changelog)\b.*", re.IGNORECASE)
ANNOTATIONS = (".ann", ".a1", ".a2")
DOCUMENTS, TYPES = "documents.tsv", "types.tsv"  # beside what write_brat writes: what file names and BRAT's types cannot hold
_DOCUMENT_COLUMNS = ("file", "id", "language", "split")
_TYPE_COLUMNS = ("written", "type")
_ESCAPES = MappingProxyType({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_UNESCAPES = MappingProxyType({escaped: character for character, escaped in _ESCAPES.items()})
_LONGEST_HEADER = 1_000  # bytes of a table's first line that are looked at
_LONGEST_NAME = 200  # bytes of a file's name; file systems end at 255
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
        unclear: notes with a code among other words, or of one word that may be a code of an unknown form.
        other: rows of no known kind.
    """

    mentions: list[tuple[str, str]] = field(default_factory=list)
    codes: list[tuple[str, str, str, list[list[str]]]] = field(default_factory=list)
    unclear: list[tuple[str, str]] = field(default_factory=list)
    other: list[tuple[str, str]] = field(default_factory=list)

    def all(self) -> list[tuple[str, str]]:
        """Place and row of each."""
        return self.mentions + [(where, row) for where, row, *_ in self.codes] + self.unclear + self.other


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a document beside its text."""

    id: str
    language: str
    split: Split | None


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What the tables of `write_brat` say.

    Attributes:
        documents: by stem.
        types: as written -> as it was.
        rejections: rows that say nothing that can be used.
    """

    documents: Mapping[str, _Facts]
    types: Mapping[str, str]
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class _Options:
    annotations: tuple[str, ...]
    several: Several
    notes: bool
    code: re.Pattern[str]
    among: re.Pattern[str]
    prefixed: bool
    language: str
    split: Split | None


def read_brat(
    path: Path | str,
    *,
    split: str | None = None,
    seen: Seen | None = None,
    language: str = "en",
    annotations: Sequence[str] = ANNOTATIONS,
    several: str = "alternatives",
    notes: bool = True,
    codes: str | None = None,
    prefixed: bool = False,
    ids: str = "name",
) -> Corpus:
    """Read BRAT files: a folder of any depth, a zip or tar of one, or one document by its text or annotation file.

    A document's id is its file name without the suffix; where two folders share a name, every document's is its path inside the corpus.  Where
    `write_brat` left a `documents.tsv`, the ids, languages and splits are those it states, and the types those of `types.tsv`.  A mention's id is
    its T number.  A text without annotation file is a document without mentions, unless it is called README, LICENSE or the like.
    Hidden files, backups (`.ann~`) and configuration are no documents.

    A mention's text is what stands at its offsets: where its row has a space the text may have a line end, and fragments in another
    order are put into text order.  Codes come from N rows (`N1 Reference T1 MeSH:D010051`) and from notes on a mention all of whose words look
    like codes (`#1 AnnotatorNotes T1 C0008100 C0008059`): letters and four digits or more, five digits or more, ICD-10 (`J45.0`, `R05`), or a
    vocabulary before a colon.  Of a note that has other words too (`C0008100 (sure)`), and of a single word with a digit that is no such code
    (`5A11`), nobody knows what is meant.  All other notes are comments.  `+` joins codes that are right together.  Codes are kept as written
    but for punctuation around those in notes.  Events, relations, attributes and equivalences are no rows here.

    A row is a text file, a T row or a row that states codes.  Rejections have the reasons `row` (of no known kind; also rows of `documents.tsv`
    and `types.tsv` that cannot be read), `offset`, `note` (a note with a code and other words, or of one word with a digit), `orphan` (codes of a
    mention that is not there), `no_text` (annotations without their text), `encoding` (a document that is not UTF-8, with all its rows),
    `duplicate` (a T number, or a document id, met before) and `duplicate_across_splits` (a document id, in another split).

    Args:
        path: folder, archive, `.txt` or annotation file.
        split: written into each document of which `documents.tsv` states none; None takes it from the nearest folder named train, dev or test, if
            any, unless there is such a file.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, written into each document of which `documents.tsv` states none.
        annotations: suffixes of the annotation files of one text, as many of them as it has.
        several: what several normalisations of one mention mean, `alternatives` or `together`.
        notes: whether codes are looked for in notes.
        codes: regular expression of a whole code in a note, in place of those forms.
        prefixed: whether codes of N rows keep their resource, "MeSH:D010051".
        ids: `name`, or `path` for the path inside the corpus in any case.

    Raises:
        UnknownNameError: no such split, `several` or `ids`.
        ConfigError: no suffix is given, or `codes` is no regular expression.
        FormatError: a damaged archive, or no text and no annotation in it.
    """
    path, taken = Path(path), {} if seen is None else seen
    if ids not in ("name", "path"):
        raise UnknownNameError("kind of document id", ids, ("name", "path"))
    if not annotations or not all(annotations):
        raise ConfigError("no suffix of annotation files is given; give at least one, e.g. .ann")
    code, among = (_pattern(_CODE if codes is None else codes), _pattern(_AMONG if codes is None else codes))
    options = _Options(tuple(annotations), as_several(several), notes, code, among, prefixed, language, as_split(split))
    with _folder(path, options.annotations) as folder:
        entries = _entries(folder, path, options.annotations)
        if not entries:
            raise FormatError("no text and no annotation file in it", path, hint=f"BRAT has .txt files with {', '.join(annotations)} files beside them")
        names = {PurePosixPath(entry.stem).name for entry in entries}
        by_name = ids == "name" and len(names) == len(entries)
        documents: list[Document] = []
        ledger = _read_ledger(folder, path, {entry.stem for entry in entries})
        rejections = list(ledger.rejections)
        rows_read = len(rejections)
        for entry in entries:
            facts = ledger.documents.get(entry.stem) or _Facts(
                PurePosixPath(entry.stem).name if by_name else entry.stem, options.language, options.split or _split_of(entry.stem)
            )
            document, bad, count = _document(entry, facts, path, folder, options, taken, ledger.types)
            rejections += bad
            rows_read += count
            if document:
                taken[document.id] = document.split
                documents.append(document)
    return Corpus(tuple(documents), tuple(rejections), rows_read)


def _folder(path: Path, suffixes: Sequence[str]) -> AbstractContextManager[Path]:
    if path.is_dir() or is_archive(path):
        return opened(path, lambda name: name.endswith((".txt", DOCUMENTS, TYPES, *suffixes)))
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


def _document(
    entry: _Entry, facts: _Facts, path: Path, folder: Path, options: _Options, taken: Seen, types: Mapping[str, str]
) -> tuple[Document | None, list[Rejection], int]:
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
    split = facts.split or options.split
    if facts.id in taken:
        return None, _all(first, entry, rows, "duplicate", f"document {facts.id} was read before", repeated(taken, facts.id, split)), count
    mentions, bad = _mentions(content, rows, options, types)
    return Document(facts.id, content, mentions, facts.language, split=split, abbreviations=find_abbreviations(content)), bad, count


def _place(file: Path, path: Path, folder: Path) -> str:
    return str(path / file.relative_to(folder)) if path.is_dir() or is_archive(path) else str(file)


def _all(first: str, entry: _Entry, rows: _Rows, reason: str, problem: str, whole: str = "") -> list[Rejection]:
    """A document left out, for a reason of its own if there is one: its text (or, where there is nothing else to report, its first file) and each row of it."""
    lost = [Rejection(where, "", reason, f"{row} ({problem})") for where, row in rows.all()]
    return [Rejection(first, "", whole or reason, f"document {entry.stem}: {problem}"), *lost] if entry.text or not lost else lost


def _pattern(codes: str) -> re.Pattern[str]:
    try:
        return re.compile(codes)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"codes {codes!r} is no regular expression ({error})") from None


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
        elif _is_unclear(row, options):
            rows.unclear.append((where, row))
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
        if stated and all(options.code.fullmatch(code) or code in NIL for codes in stated for code in codes):
            return found.group(1), stated
    return None


def _is_unclear(row: str, options: _Options) -> bool:
    """Whether a row, which states no codes, is a note on a mention that holds one among other words, or is one word that may be a code."""
    if not options.notes or not (found := _NOTE.fullmatch(row)):
        return False
    if len(alone := found.group(2).split()) == 1 and re.search("[0-9]", alone[0]):
        return True
    words = (word.strip(".:-") for word in re.split(r"[^\w.:-]+", found.group(2)))
    return any(word in _SAID or options.among.fullmatch(word) for word in words)


def _mentions(text: str, rows: _Rows, options: _Options, types: Mapping[str, str]) -> tuple[tuple[Mention, ...], list[Rejection]]:
    rejections = [Rejection(where, "", "row", f"{row} (no row of BRAT)") for where, row in rows.other]
    rejections += [Rejection(where, "", "note", f"{row} ({_unclear_because(row)})") for where, row in rows.unclear]
    place = Locator(text)
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
        spans = place.spans(_offsets(offsets), surface)
        if isinstance(spans, str):
            rejections.append(Rejection(where, "+".join(code for part in codes for code in part), "offset", f"{row} ({spans})"))
            continue
        covered = " ".join(text[span.start : span.end] for span in spans)
        kept[mention_id] = Mention(mention_id, spans, covered, types.get(kind, kind), answers_from(codes, options.several))
    # The codes of a mention that was left out are in its rejection and lost with it, which is one more row each.
    for where, row, mention_id, codes in rows.codes:
        if mention_id not in kept:
            problem = "its mention was left out" if mention_id in known else f"there is no mention {mention_id}"
            rejections.append(Rejection(where, "+".join(code for part in codes for code in part), "orphan", f"{row} ({problem})"))
    return tuple(kept.values()), rejections


def _unclear_because(row: str) -> str:
    if len(row.rpartition("\t")[2].split()) == 1:
        return "no code of a known form; write its vocabulary before a colon, or give a pattern of the codes"
    return "a code and other words; leave only the codes"


def _offsets(written: str) -> Iterator[tuple[int, int]]:
    for fragment in written.split(";"):
        start, end = fragment.split(" ")
        yield int(start), int(end)


def _read_ledger(folder: Path, path: Path, stems: Set[str]) -> _Ledger:
    """The tables that lie at the top of a corpus, or of the only folder in it (an archive's); empty where there are none."""
    rejections: list[Rejection] = []
    documents: dict[str, _Facts] = {}
    types: dict[str, str] = {}
    whole = path.is_dir() or is_archive(path)  # a single document's table has the others too
    for table in _tables(folder, DOCUMENTS):
        inside = table.parent.relative_to(folder)
        for where, cells in _table_rows(table, _place(table, path, folder), _DOCUMENT_COLUMNS, rejections):
            stem, split = (inside / cells[0]).as_posix(), next((name for name in get_args(Split) if name == cells[3]), None)
            problem = "no such split" if cells[3] and split is None else "no such file" if stem not in stems and whole else ""
            problem = "the file stands above" if stem in documents else problem
            if problem:
                rejections.append(Rejection(where, "", "row", f"{cells[0]} ({problem})"))
            else:
                documents[stem] = _Facts(cells[1], cells[2], split)
    for table in _tables(folder, TYPES):
        types |= {cells[0]: cells[1] for _, cells in _table_rows(table, _place(table, path, folder), _TYPE_COLUMNS, rejections)}
    return _Ledger(documents, types, tuple(rejections))


def _tables(folder: Path, name: str) -> list[Path]:
    found = [*folder.glob(name), *(folder.glob(f"*/{name}") if len(list(folder.iterdir())) == 1 else ())]
    return [table for table in found if table.is_file()]


def _table_rows(table: Path, place: str, columns: Sequence[str], rejections: list[Rejection]) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table with these columns, each with its place; a table with others is somebody else's."""
    header, *lines = (line.removesuffix("\r") for line in table.read_bytes().decode("utf-8-sig", "replace").split("\n"))
    if header != "\t".join(columns):
        return
    for number, line in enumerate(lines, 2):
        cells = [_unescaped(cell) for cell in line.split("\t")]
        if len(cells) == len(columns):
            yield f"{place}:{number}", cells
        elif line:
            rejections.append(Rejection(f"{place}:{number}", "", "row", f"{line} ({len(cells)} columns instead of {len(columns)})"))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join("\t".join(map(_escaped, row)) + "\n" for row in [columns, *rows])


def _escaped(cell: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in cell)


def _unescaped(cell: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda found: _UNESCAPES[found.group()], cell)


def write_brat(
    documents: Iterable[Document],
    folder: Path | str,
    *,
    resource: str = "KB",
    untyped: str = "Mention",
    types: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Write documents as a text and an `.ann` file each, a table `documents.tsv` of them, and where needed a table `types.tsv`.

    A document's files are called by its id, a `/` in which makes a folder; what is no letter, digit or `._,()+=@~ -` of ASCII is percent-encoded, and
    what would be longer than file systems allow ends in a digest instead.  `documents.tsv` (file, id, language, split) says whose they are, so that id,
    language and split survive.  White space in a type, which BRAT cannot hold, becomes an underscore, a number keeping two types apart that would be one
    then; `types.tsv` (written, type) says of which.  In both tables backslash, tab and line ends are `\\\\`, `\\t`, `\\n` and `\\r`.

    Each answer is one N row (`N1 Reference T1 KB:C1`), its codes joined by `+` if they are several: what `read_brat` reads as alternatives of
    composites.  A mention that is not in the knowledge base gets `KB:NO_CODE`, one without annotation no row.  Lost on the way: source,
    provenance and abbreviations; that a mention had no type; mention ids other than T and a number (all of that document are numbered
    anew); and a line end inside a fragment, which BRAT cannot hold: the fragment is written as one per line.

    Args:
        documents: with distinct ids.
        folder: made where it does not exist; files of the same names are replaced, the tables too.
        resource: what N rows call the vocabulary.
        untyped: written for a mention without type.
        types: other names for types; these are not taken back on reading.

    Returns:
        The number of documents written.

    Raises:
        ConfigError: BRAT cannot hold a code or a mention, no file can hold half a surrogate pair, or an id repeats; nothing is written then.
    """
    if not re.fullmatch(r"[^\s:]+", resource):
        raise ConfigError(f"resource {resource!r} is empty or holds a space or a colon; give a plain name")
    folder, given = Path(folder), list(documents)
    kinds = {mention.type: untyped if mention.type is None else types.get(mention.type, mention.type) for document in given for mention in document.mentions}
    written = _written_types(kinds.values())
    stems: dict[str, Document] = {}
    files: dict[str, str] = {}
    for document in given:
        stem = _file_name(document.id)
        if stem in stems:
            raise ConfigError(f"document id {document.id!r} occurs twice; rename one")
        stems[stem] = document
        files[f"{stem}.txt"] = document.text
        files[f"{stem}.ann"] = "".join(_annotation(document, resource, {kind: written[name] for kind, name in kinds.items()}))
    files[DOCUMENTS] = _table(_DOCUMENT_COLUMNS, [(stem, document.id, document.language, document.split or "") for stem, document in stems.items()])
    if renamed := [(name, kind) for kind, name in written.items() if name != kind]:
        files[TYPES] = _table(_TYPE_COLUMNS, renamed)
    else:
        (folder / TYPES).unlink(missing_ok=True)  # an earlier corpus's would rename types of this one
    for name, content in {name: _encoded(content, name) for name, content in files.items()}.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return len(stems)


def foreign_files(folder: Path) -> Iterator[str]:
    """The files in a folder that look like those of `write_brat`; none where its table of documents says that they are its own."""
    tables = {name: columns for name, columns in ((DOCUMENTS, _DOCUMENT_COLUMNS), (TYPES, _TYPE_COLUMNS)) if (folder / name).is_file()}
    strange = [name for name, columns in tables.items() if not _opens_with(folder / name, columns)]
    yield from strange
    if DOCUMENTS not in tables or DOCUMENTS in strange:
        yield from (str(file.relative_to(folder)) for file in folder.rglob("*") if file.name.endswith((".txt", *ANNOTATIONS)))


def _opens_with(table: Path, columns: Sequence[str]) -> bool:
    with table.open("rb") as file:
        return file.readline(_LONGEST_HEADER).decode("utf-8-sig", "replace").rstrip("\r\n") == "\t".join(columns)


def _written_types(kinds: Collection[str]) -> dict[str, str]:
    """Type -> as BRAT can hold it, no two alike."""
    written = {kind: kind for kind in kinds if re.fullmatch(r"\S+", kind)}
    for kind in sorted(set(kinds) - set(written)):
        plain = re.sub(r"\s", "_", kind) or "_"
        taken = set(written.values())
        written[kind] = next(name for name in (plain, *(f"{plain}_{number}" for number in range(2, len(taken) + 3))) if name not in taken)
    return written


def _file_name(document_id: str) -> str:
    """The path of a document's files without their suffixes, another for each id."""
    *folders, name = document_id.split("/")
    return "/".join([*(_encoded_part(part, document_id, (*ANNOTATIONS, ".txt", ".tsv")) for part in folders), _encoded_part(name, document_id)])


def _encoded_part(part: str, document_id: str, suffixes: tuple[str, ...] = ()) -> str:
    """One part of a path: no hidden name, nothing that ends in a dot or a space, and no folder that could be another document's file."""
    try:
        plain = quote(part, safe=" ,()+=@~") or "%"  # a lone percent sign is no encoding, so it is no other part's
    except UnicodeEncodeError:
        raise ConfigError(f"document id {document_id!r} holds half a surrogate pair; rename it") from None
    if plain[0] in ". ":
        plain = f"%{ord(plain[0]):02X}{plain[1:]}"
    if plain[-1] in ". ":
        plain = f"{plain[:-1]}%{ord(plain[-1]):02X}"
    if plain.endswith(suffixes) and suffixes:
        stem, dot, suffix = plain.rpartition(".")
        plain = f"{stem}%2E{suffix}" if dot else plain
    if len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[: _LONGEST_NAME - 64]}%{hashlib.sha256(part.encode()).hexdigest()[:32]}"


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"{name} would hold half a surrogate pair, which no UTF-8 file can; mend its document") from None


def _annotation(document: Document, resource: str, types: Mapping[str | None, str]) -> Iterator[str]:
    own = all(_ID.fullmatch(mention.id) for mention in document.mentions)
    number = 0
    for ordinal, mention in enumerate(document.mentions, 1):
        mention_id = mention.id if own else f"T{ordinal}"
        kind = types[mention.type]
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
