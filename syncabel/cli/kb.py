"""`syncabel kb build|merge|filter|info|show|search|graph|diff`: make knowledge bases and look into them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from syncabel.cli import kb_look
from syncabel.cli.console import err, out, tracked
from syncabel.cli.kb_look import KB
from syncabel.cli.kb_options import Listed, ReaderOptions, StatedFacts, several
from syncabel.cli.option_groups import with_option_groups
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


@app.command()
@with_option_groups
def build(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="A file, a folder or an archive; several for mesh and snomed.")],
    output: Output,
    *,
    format_: Annotated[str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; told from the names of files where they leave no doubt.")] = None,
    options: ReaderOptions,
    stated: StatedFacts,
) -> None:
    """Make a knowledge base out of a vocabulary; what is left out goes to rejected.jsonl with its reason."""
    told, kind = options.given(), format_ or format_of(sources[0])
    if stated.redistributable and kind in FORMATS and FORMATS[kind].restricted:
        raise ConfigError(f"--redistributable: the licence of format {kind} lets nobody pass the names on; leave the option out")
    vocabulary = read_vocabulary(sources, kind, told)
    about: About = replace(vocabulary.about, **stated.given())
    content = vocabulary.content
    kb = KnowledgeBase.build(content if isinstance(content, Frames) else tracked(content, "concepts"), about)
    _saved(kb, output)


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
        groups=several(groups, base.groups) or (),
        types=several(types, base.tables.concepts["types"].explode().unique().to_list() if types else ()) or (),
        descendants_of=several(descendants_of) or (),
        codes=() if codes is None else _codes(codes),
        with_definition=with_definition,
        languages=several(languages) or (),
        scopes=several(scopes) or (),
        only_preferred=only_preferred,
    )
    chosen = several(rules) or (DEFAULT if normalize_names else ())
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
