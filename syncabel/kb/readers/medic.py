"""MEDIC, the disease vocabulary of CTD, as distributed with the NCBI disease corpus: `id|alt ids||name|synonyms…`.

Ids are MeSH (D…, C…) or bare numbers, which are OMIM's: they become `OMIM:…`, as the corpora write them.  Corpora write
MeSH ids bare (D003110) and now and then as MESH:C535662; the prefixed form becomes an alternative code, so both resolve.
"""

import html
from collections.abc import Iterator
from pathlib import Path

from syncabel.errors import FormatError
from syncabel.kb.vocabulary import About, Vocabulary
from syncabel.lines import text_lines
from syncabel.types import Concept, Name

__all__ = ["read_medic"]

_OBTAIN = "from the Comparative Toxicogenomics Database, or with the NCBI disease corpus"
_HINT = "write id|alternative ids||name|synonyms"


def read_medic(path: str | Path, *, group: str = "Disease") -> Vocabulary:
    """One concept a line, in file order; XML entities in names (`&apos;`) are resolved.

    Args:
        path: UTF-8, plain or `.gz`.
        group: the semantic group of all concepts.

    Returns:
        A vocabulary whose lines are read when the content is asked for.

    Raises:
        FormatError: a line without id or name, an id that comes twice, an empty file, or bytes that are not UTF-8.
    """
    filters = () if group == "Disease" else (f"group={group}",)
    return Vocabulary(About("MEDIC", licence="CTD terms of use", obtain=_OBTAIN, filters=filters), _concepts(Path(path), group))


def _concepts(path: Path, group: str) -> Iterator[Concept]:
    lines: dict[str, int] = {}
    for number, line in text_lines(path):
        concept = _concept(line, group, path, number)
        if concept.code in lines:
            raise FormatError(f"{concept.code!r} stands in line {lines[concept.code]} already", path, number, "merge the two lines")
        lines[concept.code] = number
        yield concept


def _concept(line: str, group: str, path: Path, number: int) -> Concept:
    ids, separator, rest = line.partition("||")
    if not separator:
        raise FormatError("no `||` between ids and names", path, number, _HINT)
    code, *others = (_qualified(part) for part in ids.split("|"))
    texts = [html.unescape(text) for text in rest.split("|")]  # split first: `&#124;` is part of a name
    if not code or not texts[0].strip():
        raise FormatError(f"the {'name' if code else 'id'} is empty", path, number, _HINT)
    names = tuple(Name(text, preferred=i == 0) for i, text in enumerate(texts))
    return Concept(code, names, (group,), alt_codes=tuple(dict.fromkeys([*others, *_prefixed(code, *others)])))


def _qualified(identifier: str) -> str:
    return f"OMIM:{identifier}" if identifier.isascii() and identifier.isdigit() else identifier


def _prefixed(*codes: str) -> list[str]:
    return [f"MESH:{code}" for code in codes if ":" not in code]
