"""The options of `syncabel kb build`: what readers take, and what a person states of a vocabulary."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from syncabel.errors import ConfigError

__all__ = ["Listed", "ReaderOptions", "StatedFacts", "several"]

Listed = list[str] | None
_ARGUMENTS = {"branch": "branches", "source_vocabularies": "sources"}  # the readers' names of options that are called otherwise


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What the readers of vocabularies can be told; the formats that take an option stand in its help."""

    group: Annotated[str | None, typer.Option(help="Semantic group of all concepts.  obo, owl, table, medic, icd10cm")] = None
    group_from: Annotated[str | None, typer.Option(help="What gives the groups: namespace (obo), chapter (icd10cm).")] = None
    branch: Annotated[Listed, typer.Option(metavar="ROOT=GROUP", help="Group of a concept and all below it; others are left out.  obo, owl; repeatable")] = None
    scopes: Annotated[Listed, typer.Option(help="Synonym scopes to take: exact, narrow, broad, related.  obo, owl")] = None
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code of all names.  obo, owl, table, gazetteer")] = None
    languages: Annotated[Listed, typer.Option(help="Languages to take, the most wanted first.  umls, snomed")] = None
    groups: Annotated[Listed, typer.Option(help="Semantic groups to take.  umls, mesh")] = None
    preset: Annotated[str | None, typer.Option(help="medmentions-st21pv or quaero.  umls")] = None
    source_vocabularies: Annotated[Listed, typer.Option("--sources", help="Source vocabularies (SAB) to take.  umls")] = None
    term_types: Annotated[Listed, typer.Option(help="Term types (TTY) to take.  umls")] = None
    semantic_types: Annotated[Listed, typer.Option(help="Semantic types (TUI) to take.  umls")] = None
    suppressed: Annotated[bool, typer.Option("--suppressed", help="Take suppressed rows too.  umls")] = False
    relations: Annotated[bool, typer.Option("--relations", help="Take relationships other than is_a.  umls")] = False
    broader: Annotated[bool, typer.Option("--broader", help="Count broader and narrower (RB, RN) as parents and children.  umls")] = False
    view: Annotated[str | None, typer.Option(help="snapshot or full.  snomed")] = None
    date: Annotated[str | None, typer.Option(help="The state of this day, YYYYMMDD; for the full view.  snomed")] = None
    descendants_of: Annotated[Listed, typer.Option(help="Only these concepts and what is below them.  snomed")] = None
    language_refsets: Annotated[Listed, typer.Option(help="Language reference sets whose preferred names come first: ids, en-US, en-GB.  snomed")] = None
    modules: Annotated[Listed, typer.Option(help="Only concepts of these modules.  snomed")] = None
    map_refsets: Annotated[Listed, typer.Option(help="Map reference sets to read: ids, or names as ICD10.  snomed")] = None
    definitions: Annotated[bool, typer.Option("--definitions/--no-definitions", help="Read text definitions.  snomed")] = True
    permuted: Annotated[bool, typer.Option("--permuted/--no-permuted", help="Take permuted terms (“Disease, Heart”).  mesh")] = True
    seventh_characters: Annotated[bool, typer.Option("--seventh-characters/--no-seventh-characters", help="Make the seven-character codes.  icd10cm")] = True
    code_column: Annotated[str | None, typer.Option(help="With --name-column: a table with a header.  table, as all columns")] = None
    name_column: Annotated[str | None, typer.Option(help="Column of one name.")] = None
    preferred_column: Annotated[str | None, typer.Option(help="Column of P/S, 1/0, true/false or yes/no.")] = None
    language_column: Annotated[str | None, typer.Option(help="Column of ISO 639-1 codes.")] = None
    scope_column: Annotated[str | None, typer.Option(help="Column of exact, narrow, broad or related.")] = None
    group_column: Annotated[str | None, typer.Option(help="Column of semantic groups, in place of --group.")] = None
    type_column: Annotated[str | None, typer.Option(help="Column of finer types.")] = None
    definition_column: Annotated[str | None, typer.Option(help="Column of definitions.")] = None
    parents_column: Annotated[str | None, typer.Option(help="Column of parents' codes.")] = None
    alt_codes_column: Annotated[str | None, typer.Option(help="Column of alternative codes.")] = None
    xrefs_column: Annotated[str | None, typer.Option(help="Column of codes in other vocabularies.")] = None
    synonyms_column: Annotated[str | None, typer.Option(help="Column of more names.")] = None
    separator: Annotated[str | None, typer.Option(help="Between several values of one cell, not between columns; | where not given.")] = None

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, by the names of the readers' arguments.

        Raises:
            ConfigError: a value that no reader could make sense of.
        """
        _check_language(self.language)
        given = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}
        return {_ARGUMENTS.get(name, name): _argument(name, value) for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class StatedFacts:
    """What a person says of a vocabulary, in place of what it says of itself."""

    source_name: Annotated[str | None, typer.Option(help="Which vocabulary this is, in place of what the source says.")] = None
    release: Annotated[str | None, typer.Option(help="Which edition of it.")] = None
    licence: Annotated[str | None, typer.Option(help="An SPDX identifier where there is one.")] = None
    redistributable: Annotated[
        bool | None, typer.Option("--redistributable/--not-redistributable", help="Whether the names may be passed on; UMLS and SNOMED CT: never.")
    ] = None

    def given(self) -> dict[str, Any]:
        """What is stated, by the names of `About`."""
        facts = {"source": self.source_name, "release": self.release, "licence": self.licence, "redistributable": self.redistributable}
        return {name: value for name, value in facts.items() if value is not None}


def _check_language(language: str | None) -> None:
    if language is not None and not (len(language) == 2 and language.isascii() and language.isalpha() and language.islower()):
        raise ConfigError(f"--language is {language!r}; give an ISO 639-1 code, e.g. fr")


def several(values: Listed, known: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Values given one by one or with commas between; a known one may hold a comma."""
    if values is None:
        return None
    # A comma inside `|…|` belongs to a term beside its code, as SNOMED CT is written.
    if odd := [value for value in values if value.count("|") % 2]:
        raise ConfigError(f"{odd[0]!r} opens a term with | and does not close it; put commas between values")
    parts = [part.strip() for value in values for part in ([value] if value in known else re.findall(r"(?:[^,|]|\|[^|]*\|)+", value))]
    return tuple(dict.fromkeys(part for part in parts if part))


def _argument(option: str, value: Any) -> Any:
    if option == "branch":
        return _branches(value)
    return several(value) if isinstance(value, list) else value


def _branches(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.rpartition("=") for pair in pairs]
    if wrong := [pair for pair, (root, _, group) in zip(pairs, split, strict=True) if not (root.strip() and group.strip())]:
        raise ConfigError(f"--branch is {wrong[0]!r}; write ROOT=GROUP, e.g. HP:0000118=Phenotype")
    return {root.strip(): group.strip() for root, _, group in split}
