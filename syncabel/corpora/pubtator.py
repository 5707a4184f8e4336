"""PubTator files: `ID|t|title`, `ID|a|abstract`, then one row per mention; offsets run over title, one character, abstract.

What the separators in the codes' column mean differs from source to source, so it is a value, `Dialect`, stated below for each.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus
from syncabel.corpora.jsonl import whole_file
from syncabel.corpora.places import Locator, Seen, repeated
from syncabel.errors import FormatError, UnknownNameError
from syncabel.lines import text_lines
from syncabel.types import Document, Mention, Rejection, Span, as_split

__all__ = ["DIALECTS", "Dialect", "answers_of", "as_dialect", "read_pubtator", "write_pubtator"]

_PASSAGE = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_MOST_COLUMNS = 7  # the seventh, in BC5CDR, spells out the parts of a composite mention; nothing here needs it


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one source writes its mention rows.

    Attributes:
        types: the mention types it annotates; `auto` tells the dialects apart by them.  Empty where any may come.
        together: characters between codes that are right together (a composite answer).
        alternatives: characters between answers any one of which suffices; they bind weaker than `together`.
        nil: what stands for "not in the vocabulary"; the first is written.
        prefix: vocabulary prefix taken off codes, because most rows of the source leave it out.
        relations: names of rows that state a relation between concepts, which is no mention: skipped on purpose.
    """

    types: frozenset[str] = frozenset()
    together: str = ""
    alternatives: str = ""
    nil: tuple[str, ...] = ("-1",)
    prefix: str = ""
    relations: frozenset[str] = frozenset()


# What `+` and `|` mean was read off the rows themselves (all three splits of each).
#
# NCBI disease.  `|`, 128 rows: 88 CompositeMention ("breast and ovarian cancer" D001943|D010051); the others are the same
# coordination under another type ("colon or lung cancer", Modifier) or a class named by its members ("hemophilia"
# D006467|D002836).  Each code is right for a part: together.  In a few rows both codes are one concept of MEDIC ("cat eye
# syndrome" C535918|OMIM:115470); canonical codes then make one code of the set, so they need no rule of their own.
# `+`, 32 rows, one of them a CompositeMention: one meaning put together from several concepts, none of which says it alone
# ("inherited neuromuscular disease" D009468+D030342, "recurrent meningitis" D008581+D012008): together.
#
# BC5CDR.  `|` only, 273 rows: a seventh column mostly spells out one part per code ("ocular and orbital toxicity"
# D005128|D009916, "ocular toxicity|orbital toxicity"), and where there is none the code is of two things named at once
# ("fibrous myopathy", "HITT"): together.  One row has a part that is not in MeSH (8638876, D002544|-1): the parts that
# are in it are its answer.
#
# MedMentions (Mohan and Li, 2019).  One UMLS concept a mention, "UMLS:C0854135" or the bare CUI; the type is the concept's
# semantic types, "T116,T123", and kept whole: which of them fits is for the table from types to groups to say.
#
# Generic.  Nothing is known of the source, so no character is a separator: the column is one code.  Whoever knows better gives a `Dialect`.
DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "ncbi_disease": Dialect(types=frozenset({"SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"}), together="+|", prefix="MESH:"),
        "bc5cdr": Dialect(types=frozenset({"Chemical", "Disease"}), together="|", prefix="MESH:", relations=frozenset({"CID"})),
        "medmentions": Dialect(prefix="UMLS:"),
        "generic": Dialect(),
    }
)


@dataclass(slots=True)
class _Block:
    """One document while it is read: its passages and the mention rows, each with its line number."""

    id: str
    line: int
    passages: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[int, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.passages.values())


def read_pubtator(
    path: Path | str, *, split: str | None = None, dialect: str | Dialect = "ncbi_disease", seen: Seen | None = None, language: str = "en"
) -> Corpus:
    """Read a PubTator file, plain or `.gz`.

    The text is title, line feed, abstract.  Types are kept as they are; codes lose spaces and the dialect's prefix.  A row
    that cannot be taken becomes a rejection and the rest of its document stays; reasons are `row` (not a mention row),
    `orphan` (not of the document above it), `offset`, `duplicate` (an id met before with all its rows, or a row twice) and
    `duplicate_across_splits` (an id met before in another split).

    Args:
        path: the file.
        split: written into each document.
        dialect: a key of `DIALECTS`, or what a source not listed there means.
        seen: ids of documents already read from other files; those of this one are added.
        language: ISO 639-1, written into each document.

    Raises:
        UnknownNameError: no such dialect or split.
        FormatError: not UTF-8, empty, or no document in it.
    """
    written = as_dialect(dialect)
    given, path, ids = as_split(split), Path(path), {} if seen is None else seen
    documents: list[Document] = []
    rejections: list[Rejection] = []
    rows_read = 0
    for item in _blocks(path, written):
        if isinstance(item, Rejection):
            rejections.append(item)
            rows_read += 1
            continue
        rows_read += 1 + len(item.rows)
        if item.id in ids:
            rejections += _twice(item, path, repeated(ids, item.id, given))
            continue
        ids[item.id] = given
        mentions, bad = _mentions(item, path, written)
        documents.append(Document(item.id, item.text, mentions, language, split=given, abbreviations=find_abbreviations(item.text)))
        rejections += bad
    if not documents and not any(rejection.reason.startswith("duplicate") for rejection in rejections):
        raise FormatError("no document in it", path, hint="PubTator documents open with `ID|t|title`; see --format for others")
    return Corpus(tuple(documents), tuple(rejections), rows_read)


def as_dialect(dialect: str | Dialect) -> Dialect:
    """A dialect by its name; one of one's own as it is.

    Raises:
        UnknownNameError: no such dialect.
    """
    if isinstance(dialect, Dialect):
        return dialect
    if dialect not in DIALECTS:
        raise UnknownNameError("PubTator dialect", dialect, DIALECTS)
    return DIALECTS[dialect]


def _blocks(path: Path, dialect: Dialect) -> Iterator[_Block | Rejection]:
    """Documents with their rows; what belongs to none comes as a rejection."""
    block: _Block | None = None
    for number, line in text_lines(path):
        if not line.strip():
            continue
        passage = _PASSAGE.fullmatch(line)
        if passage and passage.group(2) == "t":
            if block:
                yield block
            block = _Block(passage.group(1), number, {"t": passage.group(3)})
        elif passage and block and passage.group(1) == block.id and "a" not in block.passages:
            block.passages["a"] = passage.group(3)
        elif passage or "\t" not in line:
            yield Rejection(f"{path}:{number}", "", "row", f"{line} (neither a passage of the document above nor a row of tabs)")
        elif block is None or line.split("\t")[0] != block.id:
            yield Rejection(f"{path}:{number}", "", "orphan", f"{line} (the document above is {block.id if block else 'none'})")
        elif line.split("\t")[1] not in dialect.relations:
            block.rows.append((number, line))
    if block:
        yield block


def _twice(block: _Block, path: Path, reason: str) -> Iterator[Rejection]:
    # NCBI disease has 8528200 twice in train, word for word; kept twice, it would count double in training and in scores.
    yield Rejection(f"{path}:{block.line}", "", reason, f"document {block.id} was read before")
    for number, row in block.rows:
        yield Rejection(f"{path}:{number}", "", "duplicate", f"{row} (document {block.id} was read before)")


def _mentions(block: _Block, path: Path, dialect: Dialect) -> tuple[tuple[Mention, ...], list[Rejection]]:
    kept: list[Mention] = []
    rejections: list[Rejection] = []
    rows: set[str] = set()
    place = Locator(block.text)
    for ordinal, (number, row) in enumerate(block.rows, 1):
        if row in rows:
            rejections.append(Rejection(f"{path}:{number}", "", "duplicate", f"{row} (the same row stands above)"))
            continue
        rows.add(row)
        mention = _mention(f"T{ordinal}", row, place, dialect)
        if isinstance(mention, Mention):
            kept.append(mention)
        else:
            reason, problem = mention
            rejections.append(Rejection(f"{path}:{number}", _codes_of(row), reason, f"{row} ({problem})"))
    return tuple(kept), rejections


def _codes_of(row: str) -> str:
    columns = row.split("\t")
    return columns[5].strip() if len(columns) > 5 else ""


def _mention(mention_id: str, row: str, place: Locator, dialect: Dialect) -> Mention | tuple[str, str]:
    """The mention of a row, or (reason, what is wrong)."""
    columns = row.split("\t")
    if not 5 <= len(columns) <= _MOST_COLUMNS:
        return "row", f"{len(columns)} columns, a mention has 5 to {_MOST_COLUMNS}"
    _, first, last, surface, kind, *ids = columns
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        return "row", "the offsets are not numbers"
    start, end = int(first), int(last)
    # Spaces around the surface are the column's, not the text's (NCBI disease, 10923035): the span decides.
    found = place.text[start:end]
    if not found or found not in (surface, surface.strip()):
        return "offset", place.instead([(start, end)], surface)
    return Mention(mention_id, (Span(start, end),), found, kind, answers_of(ids[0] if ids else "", dialect))


def answers_of(ids: str, dialect: Dialect) -> tuple[tuple[str, ...], ...] | None:
    """What a column of codes says: alternatives of codes that are right together; () for NIL, None where nothing is annotated."""
    read = [[piece.removeprefix(dialect.prefix) for piece in _pieces(part, dialect.together)] for part in _pieces(ids, dialect.alternatives)]
    if not any(read):
        return None
    kept = (tuple(sorted({code for code in part if code and code not in dialect.nil})) for part in read)
    return tuple(dict.fromkeys(codes for codes in kept if codes))


def _pieces(text: str, separators: str) -> list[str]:
    parts = re.split(f"[{re.escape(separators)}]", text) if separators else [text]
    return [part.strip() for part in parts if part.strip()]


def write_pubtator(documents: Iterable[Document], path: Path | str, dialect: str | Dialect = "generic") -> tuple[Rejection, ...]:
    """Write documents as PubTator; what the format cannot say is left out and handed back.

    The first line of a text is its title, the rest its abstract, where line ends become spaces, so that every offset holds.  Mention
    ids, splits, languages and abbreviations have no place in the format.  The file is there whole or not at all.

    Args:
        documents: ids unique.
        path: the file; a folder above it is made.
        dialect: how several codes are written; see `DIALECTS`.

    Returns:
        What was left out, `where` being "document#mention".  Reasons: `id` and `duplicate` (whole documents), `discontinuous`, `type`
        (none, or one of characters that end a column), `surface` (a tab in the mention), `answers` (no separator of the dialect says them,
        or a code would be read as something else), `duplicate` (the same row twice).

    Raises:
        UnknownNameError: no such dialect.
    """
    written, seen, rejections = as_dialect(dialect), set[str](), list[Rejection]()
    blocks = []
    for document in documents:
        if problem := _bad_id(document.id, seen):
            rejections.append(Rejection(document.id, "", problem, f"document with {len(document.mentions)} mentions"))
            continue
        seen.add(document.id)
        rows: dict[str, None] = {}
        for mention in document.mentions:
            row = _row(document.id, mention, written)
            reason = row.reason if isinstance(row, Rejection) else "duplicate" if row in rows else None
            if reason is None:
                rows[str(row)] = None
            else:
                rejections.append(Rejection(f"{document.id}#{mention.id}", "+".join(mention.codes), reason, mention.text))
        blocks.append("\n".join([*_passages(document), *rows]) + "\n")
    with whole_file(path) as handle:
        handle.write("\n".join(blocks))
    return tuple(rejections)


def _bad_id(document_id: str, seen: set[str]) -> str | None:
    if not document_id.isprintable() or not document_id.strip() or "|" in document_id:
        return "id"
    return "duplicate" if document_id in seen else None


def _passages(document: Document) -> list[str]:
    title, line_end, rest = document.text.partition("\n")
    return [f"{document.id}|t|{_one_line(title)}", *([f"{document.id}|a|{_one_line(rest)}"] if line_end else [])]


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\r", " ")


def _row(document_id: str, mention: Mention, dialect: Dialect) -> str | Rejection:
    """The mention's row, or why there is none."""
    problem = ""
    codes = _column(mention.answers, dialect)
    if len(mention.spans) > 1:
        problem = "discontinuous"
    elif mention.type is None or any(unicodedata.category(c) == "Cc" for c in mention.type):
        problem = "type"
    elif "\t" in mention.text or "\n" in mention.text:
        problem = "surface"  # a mention over the end of the title has both the format's line end and a space for it
    elif codes is None:
        problem = "answers"
    if problem or codes is None:
        return Rejection("", "", problem, "")
    return "\t".join([document_id, str(mention.start), str(mention.end), _one_line(mention.text), str(mention.type), *([codes] if codes else [])])


def _column(answers: tuple[tuple[str, ...], ...] | None, dialect: Dialect) -> str | None:
    """The codes' column, "" for no annotation; None where the dialect would read anything else out of it."""
    column = dialect.alternatives[:1].join(dialect.together[:1].join(codes) for codes in answers or ())
    column = dialect.nil[0] if answers == () else column
    plain = not any(unicodedata.category(c) == "Cc" for c in column)
    return column if plain and answers_of(column, dialect) == answers else None
