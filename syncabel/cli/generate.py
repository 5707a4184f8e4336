"""`syncabel generate`: training sentences for the concepts of a knowledge base."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from data_gen import TemplateWriter, Writer, run, shared_short_forms
from syncabel.cli.console import out, print_json, tracked
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.lines import text_lines
from syncabel.types import to_json

__all__ = ["WRITERS", "generate"]

WRITERS: dict[str, Callable[[], Writer]] = {"template": TemplateWriter}


def generate(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write: documents.jsonl, rejected.jsonl, generation.jsonl, manifest.json.")],
    writer: Annotated[str, typer.Option(help=f"Who writes: {', '.join(WRITERS)}.")] = "template",
    per_concept: Annotated[int, typer.Option(help="Sentences asked for per concept.")] = 5,
    concepts: Annotated[int | None, typer.Option(help="So many concepts, drawn with the seed; all where neither this nor --codes is given.")] = None,
    codes: Annotated[Path | None, typer.Option(help="File with one code a line.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Write varied sentences that mention each concept; interrupted, the same command goes on where it stopped."""
    if writer not in WRITERS:
        raise UnknownNameError("writer", writer, WRITERS)
    base = KnowledgeBase.load(kb)
    chosen = _chosen(base, concepts, codes, seed)
    # Over the whole knowledge base, so that a concept's sentences are the same whatever else is chosen.
    shared = shared_short_forms(base, base.codes)
    done = run(
        base, WRITERS[writer](), output, per_concept=per_concept, seed=seed, codes=chosen, short_forms=shared, progress=lambda left: tracked(left, "concepts")
    )
    if as_json:
        print_json({name: to_json(getattr(done, name)) for name in ("generated", "kept", "rejected", "reasons")})
        return
    out.print(f"{done.kept:,} kept + {done.rejected:,} rejected = {done.generated:,} generated → {output / 'documents.jsonl'}", markup=False)
    for reason, count in done.reasons.items():
        out.print(f"  {count:,} {reason} → {output / 'rejected.jsonl'}", markup=False)


def _chosen(base: KnowledgeBase, count: int | None, path: Path | None, seed: int) -> list[str]:
    if count is not None and path is not None:
        raise ConfigError("--concepts and --codes both choose the concepts; give one of them")
    if path is not None:
        return _codes_of(path)
    if count is None:
        return list(base.codes)
    if not 1 <= count <= len(base):
        raise ConfigError(f"--concepts {count}: the knowledge base has {len(base):,}; give 1 to {len(base)}")
    return sorted(random.Random(seed).sample(base.codes, count))


def _codes_of(path: Path) -> list[str]:
    found = [line.strip() for _, line in text_lines(path) if line.strip()]
    if not found:
        raise FormatError("holds no code", path, hint="write one code a line")
    return found
