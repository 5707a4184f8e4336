"""`syncabel kb build|merge|filter|info|show|search|graph|diff`: make knowledge bases and look into them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from syncabel.cli import kb_look
from syncabel.cli.console import err, out, tracked
from syncabel.cli.kb_look import KB
from syncabel.errors import ConfigError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.merge import merge
from syncabel.kb.normalize import CONCEPT_RULES, DEFAULT, NAME_RULES, normalize
from syncabel.kb.readers.formats import FORMATS, format_of, read_vocabulary
from syncabel.kb.select import Filter, select
from syncabel.kb.vocabulary import Frames
from syncabel.lines import text_lines

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make knowledge bases and look into them.")

Output = Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")]
Listed = list[str] | None


@app.command()
def build(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="A file, a folder or an archive; several for mesh and snomed.")],
    output: Output,
    format_: Annotated[str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; told from the names of files where they leave no doubt.")] = None,
    group: Annotated[str | None, typer.Option(help="Semantic group of all concepts.  obo, owl, table, medic, icd10cm")] = None,
    group_from: Annotated[str | None, typer.Option(help="What gives the groups: namespace (obo), chapter (icd10cm).")] = None,
    branch: Annotated[
        Listed, typer.Option(metavar="ROOT=GROUP", help="Group of a concept and all below it; others are left out.  obo, owl; repeatable")
    ] = None,
    scopes: Annotated[Listed, typer.Option(help="Synonym scopes to take: exact, narrow, broad, related.  obo, owl")] = None,
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code of all names.  obo, owl, table, gazetteer")] = None,
    languages: Annotated[Listed, typer.Option(help="Languages to take, the most wanted first.  umls, snomed")] = None,
    groups: Annotated[Listed, typer.Option(help="Semantic groups to take.  umls, mesh")] = None,
    preset: Annotated[str | None, typer.Option(help="medmentions-st21pv or quaero.  umls")] = None,
    source_vocabularies: Annotated[Listed, typer.Option("--sources", help="Source vocabularies (SAB) to take.  umls")] = None,
    term_types: Annotated[Listed, typer.Option(help="Term types (TTY) to take.  umls")] = None,
    semantic_types: Annotated[Listed, typer.Option(help="Semantic types (TUI) to take.  umls")] = None,
    suppressed: Annotated[bool, typer.Option("--suppressed", help="Take suppressed rows too.  umls")] = False,
    relations: Annotated[bool, typer.Option("--relations", help="Take relationships other than is_a.  umls")] = False,
    broader: Annotated[bool, typer.Option("--broader", help="Count broader and narrower (RB, RN) as parents and children.  umls")] = False,
    view: Annotated[str | None, typer.Option(help="snapshot or full.  snomed")] = None,
    date: Annotated[str | None, typer.Option(help="The state of this day, YYYYMMDD; for the full view.  snomed")] = None,
    descendants_of: Annotated[Listed, typer.Option(help="Only these concepts and what is below them.  snomed")] = None,
    language_refsets: Annotated[Listed, typer.Option(help="Language reference sets whose preferred names come first: ids, en-US, en-GB.  snomed")] = None,
    modules: Annotated[Listed, typer.Option(help="Only concepts of these modules.  snomed")] = None,
    map_refsets: Annotated[Listed, typer.Option(help="Map reference sets to read: ids, or names as ICD10.  snomed")] = None,
    definitions: Annotated[bool, typer.Option("--definitions/--no-definitions", help="Read text definitions.  snomed")] = True,
    permuted: Annotated[bool, typer.Option("--permuted/--no-permuted", help="Take permuted terms (“Disease, Heart”).  mesh")] = True,
    seventh_characters: Annotated[bool, typer.Option("--seventh-characters/--no-seventh-characters", help="Make the seven-character codes.  icd10cm")] = True,
    code_column: Annotated[str | None, typer.Option(help="With --name-column: a table with a header.  table, as all columns")] = None,
    name_column: Annotated[str | None, typer.Option(help="Column of one name.")] = None,
    preferred_column: Annotated[str | None, typer.Option(help="Column of P/S, 1/0, true/false or yes/no.")] = None,
    language_column: Annotated[str | None, typer.Option(help="Column of ISO 639-1 codes.")] = None,
    scope_column: Annotated[str | None, typer.Option(help="Column of exact, narrow, broad or related.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column of semantic groups, in place of --group.")] = None,
    type_column: Annotated[str | None, typer.Option(help="Column of finer types.")] = None,
    definition_column: Annotated[str | None, typer.Option(help="Column of definitions.")] = None,
    parents_column: Annotated[str | None, typer.Option(help="Column of parents' codes.")] = None,
    alt_codes_column: Annotated[str | None, typer.Option(help="Column of alternative codes.")] = None,
    xrefs_column: Annotated[str | None, typer.Option(help="Column of codes in other vocabularies.")] = None,
    synonyms_column: Annotated[str | None, typer.Option(help="Column of more names.")] = None,
    separator: Annotated[str | None, typer.Option(help="Between several values of one cell; | where not given.")] = None,
    source_name: Annotated[str | None, typer.Option(help="Which vocabulary this is, in place of what the source says.")] = None,
    release: Annotated[str | None, typer.Option(help="Which edition of it.")] = None,
    licence: Annotated[str | None, typer.Option(help="An SPDX identifier where there is one.")] = None,
    redistributable: Annotated[
        bool | None, typer.Option("--redistributable/--not-redistributable", help="Whether the names may be passed on; UMLS and SNOMED CT: never.")
    ] = None,
) -> None:
    """Make a knowledge base out of a vocabulary; what is left out goes to rejected.jsonl with its reason."""
    _check_language(language)
    options = {
        "group": group,
        "group_from": group_from,
        "branches": _branches(branch),
        "scopes": _several(scopes),
        "language": language,
        "languages": _several(languages),
        "groups": _several(groups),
        "preset": preset,
        "sources": _several(source_vocabularies),
        "term_types": _several(term_types),
        "semantic_types": _several(semantic_types),
        "suppressed": suppressed or None,
        "relations": relations or None,
        "broader": broader or None,
        "view": view,
        "date": date,
        "descendants_of": _several(descendants_of),
        "language_refsets": _several(language_refsets),
        "modules": _several(modules),
        "map_refsets": _several(map_refsets),
        "definitions": None if definitions else False,
        "permuted": None if permuted else False,
        "seventh_characters": None if seventh_characters else False,
        "code_column": code_column,
        "name_column": name_column,
        "preferred_column": preferred_column,
        "language_column": language_column,
        "scope_column": scope_column,
        "group_column": group_column,
        "type_column": type_column,
        "definition_column": definition_column,
        "parents_column": parents_column,
        "alt_codes_column": alt_codes_column,
        "xrefs_column": xrefs_column,
        "synonyms_column": synonyms_column,
        "separator": separator,
    }
    kind = format_ or format_of(sources[0])
    if redistributable and kind in FORMATS and FORMATS[kind].restricted:
        raise ConfigError(f"--redistributable: the licence of format {kind} lets nobody pass the names on; leave the option out")
    vocabulary = read_vocabulary(sources, kind, {name: value for name, value in options.items() if value is not None})
    facts = {"source": source_name, "release": release, "licence": licence, "redistributable": redistributable}
    about: About = replace(vocabulary.about, **_given(facts))
    content = vocabulary.content
    kb = KnowledgeBase.build(content if isinstance(content, Frames) else tracked(content, "concepts"), about)
    _saved(kb, output)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _check_language(language: str | None) -> None:
    if language is not None and not (len(language) == 2 and language.isascii() and language.isalpha() and language.islower()):
        raise ConfigError(f"--language is {language!r}; give an ISO 639-1 code, e.g. fr")


def _several(values: Listed, known: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Values given one by one or with commas between; a known one may hold a comma."""
    if values is None:
        return None
    # A comma inside `|…|` belongs to a term beside its code, as SNOMED CT is written.
    if odd := [value for value in values if value.count("|") % 2]:
        raise ConfigError(f"{odd[0]!r} opens a term with | and does not close it; put commas between values")
    parts = [part.strip() for value in values for part in ([value] if value in known else re.findall(r"(?:[^,|]|\|[^|]*\|)+", value))]
    return tuple(dict.fromkeys(part for part in parts if part))


def _branches(pairs: Listed) -> dict[str, str] | None:
    if pairs is None:
        return None
    split = [pair.rpartition("=") for pair in pairs]
    if wrong := [pair for pair, (root, _, group) in zip(pairs, split, strict=True) if not (root.strip() and group.strip())]:
        raise ConfigError(f"--branch is {wrong[0]!r}; write ROOT=GROUP, e.g. HP:0000118=Phenotype")
    return {root.strip(): group.strip() for root, _, group in split}


def _saved(kb: KnowledgeBase, output: Path) -> None:
    kb.save(output)
    out.print(f"{output}: {len(kb)} concepts, {kb.n_names} names, digest {kb.digest[:12]}…")
    if kb.manifest.rejected:
        reasons = ", ".join(f"{reason} {count}" for reason, count in kb.rejected_by_reason().items())
        err.print(f"{kb.manifest.rejected} left out: {output / 'rejected.jsonl'} ({reasons})")


@app.command(name="merge")
def merge_command(
    kbs: Annotated[list[str], typer.Argument(metavar="KB KB…", help="Folders or names of shipped knowledge bases; the first one wins.")],
    output: Output,
    through_xrefs: Annotated[
        str | None, typer.Option(metavar="VOCABULARY", help="Take concepts as one that a cross-reference VOCABULARY:code links one to one.")
    ] = None,
) -> None:
    """Make one knowledge base of several, by code or through cross-references: the union of names, groups, parents and links."""
    _saved(merge([KnowledgeBase.load(kb) for kb in kbs], through_xrefs), output)


@app.command(name="filter")
def filter_command(
    kb: KB,
    output: Output,
    groups: Annotated[Listed, typer.Option(help="Concepts of these semantic groups.")] = None,
    types: Annotated[Listed, typer.Option(help="Concepts of these types.")] = None,
    descendants_of: Annotated[Listed, typer.Option(metavar="CODES", help="These concepts and all below them.")] = None,
    codes: Annotated[Path | None, typer.Option(metavar="FILE", help="The concepts of a file, one code a line.")] = None,
    with_definition: Annotated[bool, typer.Option("--with-definition", help="Concepts that have a definition.")] = False,
    languages: Annotated[Listed, typer.Option(help="Names in these languages.")] = None,
    scopes: Annotated[Listed, typer.Option(help="Names of these scopes: exact, narrow, broad, related.")] = None,
    only_preferred: Annotated[bool, typer.Option("--only-preferred", help="Preferred names.")] = False,
    normalize_names: Annotated[bool, typer.Option("--normalize", help=f"Then mend names by the rules {', '.join(DEFAULT)}.")] = False,
    rules: Annotated[Listed, typer.Option(help=f"By these rules in their place, of {', '.join((*NAME_RULES, *CONCEPT_RULES))}.")] = None,
    changes: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Where to write each name a rule changed.")] = None,
) -> None:
    """Keep a part of a knowledge base, or mend its names; nearest kept ancestors take the place of parents that are left out."""
    base = KnowledgeBase.load(kb)
    wanted = Filter(
        groups=_several(groups, base.groups) or (),
        types=_several(types, base.tables.concepts["types"].explode().unique().to_list() if types else ()) or (),
        descendants_of=_several(descendants_of) or (),
        codes=() if codes is None else _codes(codes),
        with_definition=with_definition,
        languages=_several(languages) or (),
        scopes=_several(scopes) or (),
        only_preferred=only_preferred,
    )
    chosen = _several(rules) or (DEFAULT if normalize_names else ())
    if changes is not None and not chosen:
        raise ConfigError("--changes: no rule is asked for; give --normalize or --rules")
    part = select(base, wanted) if wanted.written() or not chosen else base
    _saved(_normalized(part, chosen, changes) if chosen else part, output)


def _normalized(kb: KnowledgeBase, rules: Sequence[str], changes: Path | None) -> KnowledgeBase:
    mended, report = normalize(kb, rules)
    counts = ", ".join(f"{rule} {count}" for rule, count in report.counts.items() if count)
    shared = f"; {report.newly_shared.height} strings became names of several concepts" if report.newly_shared.height else ""
    out.print(f"names changed: {counts or 'none'}; {report.merged} became another name of their concept{shared}", markup=False)
    if changes is not None:
        report.changes.write_ndjson(changes)
    return mended


def _codes(path: Path) -> tuple[str, ...]:
    """The first column of a file."""
    found: Iterable[str] = (line.split("\t")[0].strip() for _, line in text_lines(path))
    codes = tuple(dict.fromkeys(code for code in found if code))
    if not codes:
        raise ConfigError(f"{path} holds no code; write one a line")
    return codes


app.command()(kb_look.info)
app.command()(kb_look.show)
app.command()(kb_look.search)
app.command()(kb_look.graph)
app.command()(kb_look.diff)
