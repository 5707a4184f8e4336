"""OBO 1.2 and 1.4 files, parsed by fastobo.

fastobo (the parser beneath pronto) is used directly: pronto keeps synonyms as unordered sets, loses a second stanza of the
same id, stops at a parent that is not in the file, and fetches imports.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from syncabel.errors import FormatError
from syncabel.kb.readers.ontology import SCOPES, Selection, Term, entries, licence_of
from syncabel.kb.vocabulary import About, Entry, Vocabulary
from syncabel.lines import text_lines
from syncabel.types import Name, Scope

__all__ = ["read_obo"]

_SCOPES: dict[str, Scope] = {scope.upper(): scope for scope in SCOPES}


def read_obo(
    path: str | Path,
    *,
    group: str | None = None,
    group_from: str | None = None,
    branches: Mapping[str, str] | None = None,
    scopes: Sequence[Scope] = SCOPES,
    language: str = "en",
) -> Vocabulary:
    """The terms of an OBO file, in file order: name first, then the synonyms as they stand.

    Obsolete terms are alternative codes where they name exactly one replacement, else `Retired`.  `relationship:` clauses become
    relations, called by their typedef's name; intersections and other axioms are not read, imports are not followed.

    Args:
        path: UTF-8, plain or `.gz`.
        group: the semantic group of all concepts; one of `group`, `group_from` and `branches` is needed.
        group_from: "namespace": each term's OBO namespace, else the header's default one; terms with neither are rejected.
        branches: root id -> group: concepts get the groups of the roots they are, or lie below; others are rejected.
        scopes: synonyms of which scopes are taken.
        language: ISO 639-1 code of all names.

    Returns:
        A vocabulary; its terms are parsed when the content is asked for.

    Raises:
        FormatError: a term without id, an id that comes twice, a clause that is not OBO, no term at all, is_a links that
            run in a circle, or bytes that are not UTF-8.
        ConfigError: no way to group, or several.
        UnknownNameError: a scope or a branch's root nobody knows.
    """
    path = Path(path)
    selection = Selection(group, group_from, branches or {}, tuple(scopes), language)
    header = _header(path)
    return Vocabulary(_about(header, path, selection), _content(path, selection, _first(header, "default-namespace", "namespace") or ""))


def _header(path: Path) -> list[Any]:
    lines = takewhile(lambda line: not line.startswith("["), (line for _, line in text_lines(path)))
    import fastobo

    with _clauses_named(path):
        # A tag that the format does not know may read like one that it does, once its escapes are resolved.
        return [clause for clause in _reader(lines).header() if not isinstance(clause, fastobo.header.UnreservedClause)]


def _frames(path: Path) -> list[Any]:
    with _clauses_named(path):
        return list(_reader(line for _, line in text_lines(path)))


def _reader(lines: Iterable[str]) -> Any:
    """fastobo on lines as ours are counted, without a byte order mark; no open file outlives it."""
    import fastobo

    return fastobo.iter(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))


@contextmanager
def _clauses_named(path: Path) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise FormatError(f"{line!r} is not OBO ({error.msg})", path, error.lineno, "correct the clause") from None
    except BaseException as error:
        # fastobo's parser has clauses it panics on, and a Rust panic is no Exception and has no class to import.
        if type(error).__name__ != "PanicException":
            raise
        raise FormatError("the OBO parser gave up on it", path, hint="look for a clause that is not OBO 1.4, or write the file again with ROBOT") from None


def _about(header: list[Any], path: Path, selection: Selection) -> About:
    stated = (clause.property_value for clause in header if clause.raw_tag() == "property_value")
    licence, redistributable = licence_of(next((str(pair.value) for pair in stated if str(pair.relation).lower().endswith("license")), ""))
    release = _first(header, "data-version", "version") or next((clause.date.date().isoformat() for clause in header if clause.raw_tag() == "date"), "")
    source = (_first(header, "ontology") or path.name.removesuffix(".gz")).removesuffix(".obo")
    return About(source, release, licence, redistributable, filters=selection.filters)


def _content(path: Path, selection: Selection, namespace: str) -> Iterator[Entry]:
    yield from entries(list(_terms(path, namespace, selection.language)), selection, path)


def _terms(path: Path, namespace: str, language: str) -> Iterator[Term]:
    import fastobo

    lines = _term_lines(path)
    frames = _frames(path)
    kinds = {str(frame.id): _first(frame, "name") or str(frame.id) for frame in frames if isinstance(frame, fastobo.typedef.TypedefFrame)}
    terms = [frame for frame in frames if isinstance(frame, fastobo.term.TermFrame)]
    if len(terms) != len(lines):
        raise FormatError(f"{len(lines)} lines open a [Term] and {len(terms)} terms were parsed", path, hint="let [Term] stand alone on its line")
    # By order, not by id: the parser resolves escapes in ids.
    for frame, line in zip(terms, lines.values(), strict=True):
        yield _term(str(frame.id), list(frame), path, line, kinds, namespace, language)


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
                raise FormatError(f"term {code!r} stands in line {lines[code]} already", path, opened, "merge the two stanzas")
            lines[code], opened = opened, 0
    if opened or not lines:
        raise FormatError("the term has no id" if opened else "no [Term] in the file", path, opened or None, "give an OBO file whose terms have ids")
    return lines


def _id_of(line: str, path: Path, opened: int) -> str:
    code = line.removeprefix("id:").split("!")[0].strip() if line.startswith("id:") else ""
    if not code:
        raise FormatError(f"the term has no id (it opens with {line!r})", path, opened, "let `id:` follow [Term]")
    return code


def _values(clauses: Iterable[Any], tag: str, attribute: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(getattr(clause, attribute)) for clause in clauses if clause.raw_tag() == tag))


def _first(clauses: Iterable[Any], tag: str, attribute: str = "") -> str | None:
    return next(iter(_values(clauses, tag, attribute or tag)), None)


def _term(code: str, clauses: list[Any], path: Path, line: int, kinds: Mapping[str, str], namespace: str, language: str) -> Term:
    synonyms = (clause.synonym for clause in clauses if clause.raw_tag() == "synonym")
    links = ((str(clause.typedef), str(clause.term)) for clause in clauses if clause.raw_tag() == "relationship")
    return Term(
        code,
        f"{path}:{line}",
        line,
        names=tuple(Name(text, language, preferred=True) for text in _values(clauses, "name", "name")),
        synonyms=tuple(Name(str(synonym.desc), language, _SCOPES[synonym.scope]) for synonym in synonyms),
        namespace=_first(clauses, "namespace") or namespace,
        definition=_first(clauses, "def", "definition") or None,
        parents=_values(clauses, "is_a", "term"),
        alt_codes=_values(clauses, "alt_id", "alt_id"),
        xrefs=tuple(dict.fromkeys(str(clause.xref.id) for clause in clauses if clause.raw_tag() == "xref")),
        relations=tuple(dict.fromkeys((kinds.get(kind, kind), target) for kind, target in links)),
        obsolete=any(clause.raw_tag() == "is_obsolete" and clause.obsolete for clause in clauses),
        replaced_by=_values(clauses, "replaced_by", "term"),
        consider=_values(clauses, "consider", "term"),
    )
