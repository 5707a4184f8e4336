"""OBO 1.2 and 1.4 files, parsed by fastobo.

fastobo (the parser beneath pronto) is used directly: pronto keeps synonyms as unordered sets, loses a second stanza of the
same id, stops at a parent that is not in the file, and fetches imports.
"""

import graphlib
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from syncabel.corpora.corpus import text_lines
from syncabel.errors import FormatError
from syncabel.types import Concept, Name, Rejection, Scope

__all__ = ["read_obo"]

_SCOPES: dict[str, Scope] = {"EXACT": "exact", "NARROW": "narrow", "BROAD": "broad", "RELATED": "related"}


def read_obo(path: str | Path, group: str, language: str = "en") -> Iterator[Concept | Rejection]:
    """The terms of an OBO file, in file order: name first, then the synonyms as they stand.

    An obsolete term is a Rejection; where it names exactly one replacement, its id becomes an alternative code of that.
    Relationships other than is_a are not read; imports are not followed.

    Args:
        path: UTF-8, plain or `.gz`.
        group: the semantic group of all concepts.
        language: ISO 639-1 code of all names.

    Raises:
        FormatError: a term without id, an id that comes twice, a clause that is not OBO, no term at all, is_a links that
            run in a circle, or bytes that are not UTF-8.
    """
    path = Path(path)
    lines = _term_lines(path)
    terms = [(str(frame.id), list(frame)) for frame in _frames(path)]
    _refuse_circle({code: _values(clauses, "is_a", "term") for code, clauses in terms if not _is_obsolete(clauses)}, path, lines)
    replaced = _replacements(terms)
    for code, clauses in terms:
        if _is_obsolete(clauses):
            yield Rejection(f"{path}:{lines[code]}", code, "obsolete", _first(clauses, "name") or "")
        else:
            yield _concept(code, clauses, replaced.get(code, ()), group, language)


def _term_lines(path: Path) -> dict[str, int]:
    """Id -> line of the term's `[Term]`; checks what the parser would name less clearly, or not at all."""
    lines: dict[str, int] = {}
    opened = 0  # line of a `[Term]` whose id is still to come
    for number, line in text_lines(path):
        text = line.strip()
        if not opened:
            opened = number if text.startswith("[Term]") else 0
        elif text and not text.startswith("!"):
            code = _id_of(text, path, opened)
            if code in lines:
                raise FormatError(f"term {code} stands in line {lines[code]} already", path, opened, "merge the two stanzas")
            lines[code], opened = opened, 0
    if opened or not lines:
        raise FormatError("the term has no id" if opened else "no [Term] in the file", path, opened or None, "give an OBO file whose terms have ids")
    return lines


def _id_of(line: str, path: Path, opened: int) -> str:
    code = line.removeprefix("id:").split("!")[0].strip() if line.startswith("id:") else ""
    if not code:
        raise FormatError(f"the term has no id (it opens with {line!r})", path, opened, "let `id:` follow [Term]")
    return code


def _frames(path: Path) -> Iterator[Any]:
    import fastobo

    try:
        # Its lines as ours are counted, without a byte order mark; and no open file outlives the loop.
        for frame in fastobo.iter(io.BytesIO("".join(f"{line}\n" for _, line in text_lines(path)).encode())):
            if isinstance(frame, fastobo.term.TermFrame):
                yield frame
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise FormatError(f"{line!r} is not OBO ({error.msg})", path, error.lineno, "correct the clause") from None


def _refuse_circle(parents: Mapping[str, Iterable[str]], path: Path, lines: Mapping[str, int]) -> None:
    """What building refuses too, but here with the place: the line of the first term of the circle."""
    try:
        graphlib.TopologicalSorter(parents).prepare()
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))[1:]  # child before parent; the first had come last again
        first = circle.index(min(circle, key=lines.__getitem__))
        shown = " → ".join([*circle[first:], *circle[: first + 1]])
        raise FormatError(f"is_a runs in a circle: {shown}", path, lines[circle[first]], "remove one of these is_a links") from None


def _is_obsolete(clauses: Iterable[Any]) -> bool:
    return any(clause.raw_tag() == "is_obsolete" and clause.obsolete for clause in clauses)


def _values(clauses: Iterable[Any], tag: str, attribute: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(getattr(clause, attribute)) for clause in clauses if clause.raw_tag() == tag))


def _first(clauses: Iterable[Any], tag: str, attribute: str = "") -> str | None:
    return next(iter(_values(clauses, tag, attribute or tag)), None)


def _replacements(terms: Iterable[tuple[str, list[Any]]]) -> dict[str, list[str]]:
    """Code -> obsolete codes that it alone replaces."""
    found: dict[str, list[str]] = {}
    for code, clauses in terms:
        by = _values(clauses, "replaced_by", "term")
        if _is_obsolete(clauses) and len(by) == 1:
            found.setdefault(by[0], []).append(code)
    return found


def _concept(code: str, clauses: list[Any], replaced: Iterable[str], group: str, language: str) -> Concept:
    return Concept(
        code,
        tuple(_names(clauses, language)),
        (group,),
        definition=_first(clauses, "def", "definition") or None,
        parents=_values(clauses, "is_a", "term"),
        alt_codes=tuple(dict.fromkeys([*_values(clauses, "alt_id", "alt_id"), *replaced])),
        xrefs=tuple(dict.fromkeys(str(clause.xref.id) for clause in clauses if clause.raw_tag() == "xref")),
    )


def _names(clauses: list[Any], language: str) -> Iterator[Name]:
    for text in _values(clauses, "name", "name"):
        yield Name(text, language, preferred=True)
    for synonym in (clause.synonym for clause in clauses if clause.raw_tag() == "synonym"):
        yield Name(str(synonym.desc), language, _SCOPES[synonym.scope])
