"""`syncabel kb build|info|show`: make knowledge bases and look into them."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from syncabel.cli.console import err, out, print_json, tracked
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase, read_medic, read_obo, read_table
from syncabel.types import Concept, Name, Rejection, to_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make knowledge bases and look into them.")

Reader = Callable[[Path, str, str], Iterable[Concept | Rejection]]


class Format(StrEnum):
    """What a source can be."""

    obo = "obo"
    table = "table"
    medic = "medic"


def _medic(path: Path, group: str, language: str) -> Iterable[Concept | Rejection]:
    if language != "en":
        raise ConfigError(f"{path}: MEDIC's names are English, --language is {language!r}; leave it out")
    return read_medic(path, group)


READERS: dict[Format, Reader] = {Format.obo: read_obo, Format.table: read_table, Format.medic: _medic}
BY_SUFFIX = {".obo": Format.obo, ".tsv": Format.table}
KB = Annotated[str, typer.Argument(metavar="KB", help="A folder, or the name of a shipped knowledge base (doid).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command()
def build(
    source: Annotated[Path, typer.Argument(help="An OBO file, a code<TAB>name<TAB>P|S table, or a MEDIC file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
    format_: Annotated[Format | None, typer.Option("--format", help="Told from .obo and .tsv where not given.")] = None,
    group: Annotated[str | None, typer.Option(help="Semantic group of all concepts; MEDIC's is Disease.")] = None,
    language: Annotated[str, typer.Option(help="ISO 639-1 code of all names.")] = "en",
    source_name: Annotated[str | None, typer.Option(help="Which vocabulary this is; the file's name where not given.")] = None,
    release: Annotated[str, typer.Option(help="Which edition of it.")] = "",
    licence: Annotated[str, typer.Option(help="An SPDX identifier where there is one.")] = "unknown",
    redistributable: Annotated[bool, typer.Option("--redistributable/--not-redistributable", help="Whether the names may be passed on.")] = False,
) -> None:
    """Make a knowledge base out of a vocabulary's file; what is left out goes to rejected.jsonl with its reason."""
    kind = _format(source, format_)
    if not (len(language) == 2 and language.isascii() and language.isalpha() and language.islower()):
        raise ConfigError(f"--language is {language!r}; give an ISO 639-1 code, e.g. fr")
    entries = READERS[kind](source, _group(kind, group), language)
    kb = KnowledgeBase.build(
        tracked(entries, "concepts"), About(source=source_name or _plain(source).stem, release=release, licence=licence, redistributable=redistributable)
    )
    kb.save(output)
    out.print(f"{output}: {len(kb)} concepts, {kb.n_names} names, digest {kb.digest[:12]}…", markup=False)
    if kb.rejections:
        err.print(f"{len(kb.rejections)} left out: {output / 'rejected.jsonl'} ({_reasons(kb.rejections)})", markup=False)


def _plain(source: Path) -> Path:
    return source.with_suffix("") if source.suffix == ".gz" else source


def _format(source: Path, given: Format | None) -> Format:
    kind = given or BY_SUFFIX.get(_plain(source).suffix)
    if kind is None:
        raise ConfigError(f"{source}: the format does not show in the name; give --format obo, table or medic")
    return kind


def _group(kind: Format, given: str | None) -> str:
    if given is None and kind is not Format.medic:
        raise ConfigError(f"a source in format {kind.value} names no semantic group; give --group, e.g. --group Disease")
    return "Disease" if given is None else given


def _reasons(rejections: Iterable[Rejection]) -> str:
    counts: dict[str, int] = {}
    for rejection in rejections:
        counts[rejection.reason] = counts.get(rejection.reason, 0) + 1
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


@app.command()
def info(kb: KB, as_json: AsJson = False) -> None:
    """What a knowledge base is and how much it holds."""
    facts = _facts(KnowledgeBase.load(kb))
    if as_json:
        print_json(facts)
    else:
        _show_pairs(facts)


def _facts(kb: KnowledgeBase) -> dict[str, Any]:
    about = kb.manifest
    return {
        "source": about.source,
        "release": about.release,
        "licence": about.licence,
        "redistributable": about.redistributable,
        "concepts": about.concepts,
        "names": about.names,
        "ambiguous_names": about.ambiguous_names,
        "relations": about.relations,
        "rejected": about.rejected,
        "groups": list(about.groups),
        "languages": list(about.languages),
        "digest": about.digest,
        "format_version": about.format_version,
    }


@app.command()
def show(kb: KB, code: Annotated[str, typer.Argument(help="A code of the knowledge base, or an alternative one.")], as_json: AsJson = False) -> None:
    """One concept; an alternative code shows the concept it stands for."""
    base = KnowledgeBase.load(kb)
    known = base.canonical(code)
    if known is None:
        raise UnknownNameError("concept code", code, base.codes)
    concept = base.concept(known)
    if as_json:
        print_json({**to_json(concept), "children": list(base.children(known)), "ancestors": base.ancestors(known)})
    else:
        _show_pairs(_described(base, concept))


def _described(kb: KnowledgeBase, concept: Concept) -> dict[str, Any]:
    """What a person wants to see of a concept; empty parts are left out."""
    pairs = {
        "code": concept.code,
        "name": concept.preferred_name,
        "other names": [_written(name) for name in concept.names if name.text != concept.preferred_name],
        "groups": list(concept.groups),
        "types": list(concept.types),
        "definition": concept.definition,
        "ancestors": [_titled(kb, code) for code in kb.ancestors(concept.code)],
        "children": [_titled(kb, code) for code in kb.children(concept.code)],
        "alternative codes": list(concept.alt_codes),
        "cross-references": list(concept.xrefs),
    }
    return {key: value for key, value in pairs.items() if value}


def _written(name: Name) -> str:
    return name.text if name.scope == "exact" else f"{name.text} ({name.scope})"


def _titled(kb: KnowledgeBase, code: str) -> str:
    return f"{code} {kb.concept(code).preferred_name}"


def _show_pairs(pairs: dict[str, Any]) -> None:
    """A table on a terminal; elsewhere `key<TAB>value` lines of any length, one per value, for other programs to read."""
    if not out.is_terminal:
        for key, value in pairs.items():
            for line in _cell(value).plain.splitlines() or [""]:
                typer.echo(f"{key}\t{line}")
        return
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a digest is shown whole, on as many lines as it takes
    for key, value in pairs.items():
        table.add_row(key, _cell(value))
    out.print(table, markup=False)


def _cell(value: Any) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text("\n".join(value) if isinstance(value, list) else str(value))
