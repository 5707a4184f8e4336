"""PubTator files: `ID|t|title`, `ID|a|abstract`, then one row per mention; offsets run over title, one character, abstract."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from syncabel.abbreviations import find_abbreviations
from syncabel.corpora.corpus import Corpus, text_lines
from syncabel.errors import FormatError, UnknownNameError
from syncabel.types import Document, Mention, Rejection, Span, as_split

__all__ = ["DIALECTS", "Dialect", "read_pubtator"]

_PASSAGE = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_MOST_COLUMNS = 7  # the seventh, in BC5CDR, spells out the parts of a composite mention; nothing here needs it


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one source writes its mention rows.

    Attributes:
        types: the mention types it annotates; `auto` tells the dialects apart by them.
        together: characters between codes that are right together (a composite answer).
        nil: what stands for "not in the vocabulary".
        prefix: vocabulary prefix taken off codes, because most rows of the source leave it out.
        relations: names of rows that state a relation between concepts, which is no mention: skipped on purpose.
    """

    types: frozenset[str]
    together: str
    nil: str = "-1"
    prefix: str = "MESH:"
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
DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "ncbi_disease": Dialect(types=frozenset({"SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"}), together="+|"),
        "bc5cdr": Dialect(types=frozenset({"Chemical", "Disease"}), together="|", relations=frozenset({"CID"})),
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


def read_pubtator(path: Path | str, *, split: str | None = None, dialect: str = "ncbi_disease", seen: set[str] | None = None) -> Corpus:
    """Read a PubTator file, plain or `.gz`.

    The text is title, line feed, abstract.  Types are kept as they are; codes lose spaces and the dialect's prefix.  A row
    that cannot be taken becomes a rejection and the rest of its document stays; reasons are `row` (not a mention row),
    `orphan` (not of the document above it), `offset`, `duplicate` (an id met before with all its rows, or a row twice).

    Args:
        path: the file.
        split: written into each document.
        dialect: a key of `DIALECTS`.
        seen: ids of documents already read from other files; those of this one are added.

    Raises:
        UnknownNameError: no such dialect or split.
        FormatError: not UTF-8, empty, or no document in it.
    """
    if dialect not in DIALECTS:
        raise UnknownNameError("PubTator dialect", dialect, DIALECTS)
    given, path, ids = as_split(split), Path(path), set() if seen is None else seen
    documents: list[Document] = []
    rejections: list[Rejection] = []
    rows_read = 0
    for item in _blocks(path, DIALECTS[dialect]):
        if isinstance(item, Rejection):
            rejections.append(item)
            rows_read += 1
            continue
        rows_read += 1 + len(item.rows)
        if item.id in ids:
            rejections += _twice(item, path)
            continue
        ids.add(item.id)
        mentions, bad = _mentions(item, path, DIALECTS[dialect])
        documents.append(Document(item.id, item.text, mentions, split=given, abbreviations=find_abbreviations(item.text)))
        rejections += bad
    if not documents and not any(rejection.reason == "duplicate" for rejection in rejections):
        raise FormatError("no document in it", path, hint="PubTator documents open with `ID|t|title`; see --format for others")
    return Corpus(tuple(documents), tuple(rejections), rows_read)


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


def _twice(block: _Block, path: Path) -> Iterator[Rejection]:
    # NCBI disease has 8528200 twice in train, word for word; kept twice, it would count double in training and in scores.
    yield Rejection(f"{path}:{block.line}", "", "duplicate", f"document {block.id} was read before")
    for number, row in block.rows:
        yield Rejection(f"{path}:{number}", "", "duplicate", f"{row} (document {block.id} was read before)")


def _mentions(block: _Block, path: Path, dialect: Dialect) -> tuple[tuple[Mention, ...], list[Rejection]]:
    kept: list[Mention] = []
    rejections: list[Rejection] = []
    rows: set[str] = set()
    for ordinal, (number, row) in enumerate(block.rows, 1):
        if row in rows:
            rejections.append(Rejection(f"{path}:{number}", "", "duplicate", f"{row} (the same row stands above)"))
            continue
        rows.add(row)
        mention = _mention(f"T{ordinal}", row, block.text, dialect)
        if isinstance(mention, Mention):
            kept.append(mention)
        else:
            reason, problem = mention
            rejections.append(Rejection(f"{path}:{number}", _codes_of(row), reason, f"{row} ({problem})"))
    return tuple(kept), rejections


def _codes_of(row: str) -> str:
    columns = row.split("\t")
    return columns[5].strip() if len(columns) > 5 else ""


def _mention(mention_id: str, row: str, text: str, dialect: Dialect) -> Mention | tuple[str, str]:
    """The mention of a row, or (reason, what is wrong)."""
    columns = row.split("\t")
    if not 5 <= len(columns) <= _MOST_COLUMNS:
        return "row", f"{len(columns)} columns, a mention has 5 to {_MOST_COLUMNS}"
    _, first, last, surface, kind, *ids = columns
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        return "row", "the offsets are not numbers"
    start, end = int(first), int(last)
    # Spaces around the surface are the column's, not the text's (NCBI disease, 10923035): the span decides.
    found = text[start:end]
    if not found or found not in (surface, surface.strip()):
        return "offset", _where_instead(text, start, end, surface.strip())
    return Mention(mention_id, (Span(start, end),), found, kind, _answers(ids[0] if ids else "", dialect))


def _where_instead(text: str, start: int, end: int, surface: str) -> str:
    """What the text has at the offsets, and the nearest place where the surface does stand."""
    places = [match.start() for match in re.finditer(re.escape(surface), text)] if surface else []
    near = min(places, key=lambda place: abs(place - start), default=None)
    hint = "it occurs nowhere" if near is None else f"it stands at {near}–{near + len(surface)}"
    return f"offsets {start}–{end} hold {text[start:end]!r}; {hint}"


def _answers(ids: str, dialect: Dialect) -> tuple[tuple[str, ...], ...] | None:
    """Codes as one answer; () for NIL, None where nothing is annotated."""
    pieces = [piece.strip().removeprefix(dialect.prefix) for piece in re.split(f"[{re.escape(dialect.together)}]", ids) if piece.strip()]
    if not pieces:
        return None
    codes = sorted({piece for piece in pieces if piece != dialect.nil})
    return (tuple(codes),) if codes else ()
