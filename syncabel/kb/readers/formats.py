"""The vocabulary formats: which reader takes which options, and how a source's name tells its format."""

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.archive import is_archive, opened
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb.readers.icd10cm import read_icd10cm
from syncabel.kb.readers.medic import read_medic
from syncabel.kb.readers.mesh import read_mesh
from syncabel.kb.readers.obo import read_obo
from syncabel.kb.readers.owl import read_owl
from syncabel.kb.readers.rf2 import read_rf2
from syncabel.kb.readers.rrf import read_rrf
from syncabel.kb.readers.table import read_gazetteer, read_names, read_table
from syncabel.kb.vocabulary import Vocabulary

__all__ = ["FORMATS", "Format", "format_of", "read_vocabulary"]

_GROUPING = ("group", "group_from", "branches")
_ONTOLOGY = ("group", "group_from", "branches", "scopes", "language")
_COLUMNS = ("code", "name", "preferred", "language", "scope", "group", "type", "definition", "parents", "alt_codes", "xrefs", "synonyms")
_UMLS = ("languages", "sources", "term_types", "semantic_types", "groups", "suppressed", "preset", "relations", "broader")
_SNOMED = ("view", "date", "languages", "language_refsets", "descendants_of", "modules", "map_refsets", "definitions")
_GAZETTEER = "code\tterm\tsemantic_tag"
_PEEK = 1 << 16  # bytes of a table that are looked at for its header


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        read: takes the source, or a list of them where `several`, and options by keyword.
        options: names of the options it takes.
        file: a regular expression that only names of such files match, without `.gz`; None where the name does not tell.
        member: the same for a file inside a folder or an archive that is the source.
        one_of: options of which exactly one is needed: what gives the semantic groups.
        several: whether one vocabulary can come in several sources.
        restricted: whether its licence forbids to pass the names on, whatever a user says.
    """

    read: Callable[..., Vocabulary]
    options: tuple[str, ...]
    file: str | None = None
    member: str | None = None
    one_of: tuple[str, ...] = ()
    several: bool = False
    restricted: bool = False


def _read_tables(path: Path, **options: str) -> Vocabulary:
    """With columns named, a table with a header; without, the three columns `code<TAB>name<TAB>P|S`."""
    if not options.keys() - {"group", "language"}:
        return read_names(path, **options)
    if missing := [name for name in ("code_column", "name_column") if name not in options]:
        raise ConfigError(f"{path}: {_option(missing[0])} is missing; name the columns of the code and of the name")
    return read_table(path, **options)


def _read_mesh(paths: Sequence[Path], **options: Any) -> Vocabulary:
    return read_mesh(*paths, **options)


FORMATS: Mapping[str, Format] = {
    "obo": Format(read_obo, _ONTOLOGY, file=r".*\.obo", one_of=_GROUPING),
    "owl": Format(read_owl, _ONTOLOGY, file=r".*\.owl", one_of=_GROUPING),
    "table": Format(
        _read_tables,
        (*(f"{name}_column" for name in _COLUMNS), "separator", "group", "language"),
        file=r".*\.(tsv|csv|jsonl|parquet)",
        one_of=("group", "group_column"),
    ),
    "gazetteer": Format(read_gazetteer, ("language",), restricted=True),  # codes and terms of SNOMED CT
    "medic": Format(read_medic, ("group",)),
    "mesh": Format(_read_mesh, ("groups", "permuted"), file=r"(desc|supp)\d{4}.*\.xml(\.zip)?", several=True),
    "icd10cm": Format(read_icd10cm, ("group", "group_from", "seventh_characters"), file=r"icd-?10-?cm.*tabular.*\.xml", member=r"icd-?10-?cm.*tabular.*\.xml"),
    "umls": Format(read_rrf, _UMLS, member=r"mrconso\.rrf.*", restricted=True),
    "snomed": Format(read_rf2, _SNOMED, member=r"x?sct2_concept_.*\.txt", several=True, restricted=True),
}


def _option(name: str) -> str:
    """An option as it is written on the command line."""
    return {"branches": "--branch", "permuted": "--no-permuted", "definitions": "--no-definitions", "seventh_characters": "--no-seventh-characters"}.get(
        name, f"--{name.replace('_', '-')}"
    )


def read_vocabulary(sources: Sequence[Path], format_: str | None = None, options: Mapping[str, Any] | None = None) -> Vocabulary:
    """Read a vocabulary in any format.

    Args:
        sources: files, folders or archives; one but for formats that come in several.
        format_: a key of FORMATS; told from the first source's name where None.
        options: those that were given, by the names of the reader's arguments.

    Raises:
        ConfigError: an option that the format does not have, none or several of those of which it needs one, several sources where it
            reads one, or a name that tells no format.
        UnknownNameError: no such format.
        FormatError: what the reader says.
    """
    if not sources:
        raise ConfigError("no source is given; name a file, a folder or an archive")
    name = format_of(sources[0]) if format_ is None else format_
    if name not in FORMATS:
        raise UnknownNameError("--format", name, FORMATS)
    kind, given = FORMATS[name], dict(options or {})
    for option in given:
        if option not in kind.options:
            raise ConfigError(f"format {name} has no option {_option(option)}; it has {', '.join(map(_option, kind.options))}")
    if kind.one_of and sum(option in given for option in kind.one_of) != 1:
        choice = " or ".join(map(_option, kind.one_of))
        raise ConfigError(f"{sources[0]}: a source in format {name} names no semantic groups of its own; give one of {choice}, e.g. --group Disease")
    if len(sources) > 1 and not kind.several:
        raise ConfigError(f"format {name} reads one source, {len(sources)} are given; build each, then `syncabel kb merge`")
    return kind.read(list(sources) if kind.several else sources[0], **given)


def format_of(source: Path) -> str:
    """The format of a source, where its name, its header, or the names of the files inside leave no doubt.

    Raises:
        ConfigError: they tell none, or several.
        FormatError: a damaged archive.
        FileNotFoundError: there is no such source.
    """
    plain = source.name.lower().removesuffix(".gz")
    found = [name for name, kind in FORMATS.items() if kind.file and re.fullmatch(kind.file, plain)]
    if found == ["table"] and _opens_with(source, _GAZETTEER):
        return "gazetteer"
    if not found and (source.is_dir() or (source.is_file() and is_archive(source))):
        members = _members(source)
        found = [name for name, kind in FORMATS.items() if kind.member and any(re.fullmatch(kind.member, member) for member in members)]
    # A more telling name than that of any table decides.
    found = [name for name in found if name != "table"] or found
    if len(found) != 1:
        if not source.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        what = f"is {' or '.join(found)}" if found else "does not show in the name"
        raise ConfigError(f"{source}: the format {what}; give --format ({', '.join(FORMATS)})")
    return found[0]


def _opens_with(source: Path, header: str) -> bool:
    if source.suffix.lower() != ".tsv" or not source.is_file():
        return False
    with source.open("rb") as file:
        return file.read(_PEEK).removeprefix(b"\xef\xbb\xbf").startswith(header.encode())


def _members(source: Path) -> set[str]:
    """Names of the files inside, lower case, without folders."""
    if source.is_dir():
        return {path.name.lower() for path in source.rglob("*") if path.is_file()}
    members: set[str] = set()

    def note(member: str) -> bool:
        members.add(member.rpartition("/")[2].lower())
        return False

    with opened(source, note):
        return members
