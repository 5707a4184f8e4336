"""`syncabel quickstart`: the whole road on one CPU."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from syncabel.cli.console import err, out, print_json
from syncabel.errors import MissingExtraError
from syncabel.quickstart import FEWEST, SYSTEMS, QuickstartSettings, run

__all__ = ["quickstart"]

DEFAULTS = QuickstartSettings()


def quickstart(
    kb: Annotated[str, typer.Option(help="Knowledge base: a folder, or `doid`.")] = DEFAULTS.kb,
    concepts: Annotated[int, typer.Option(min=FEWEST, help="Concepts to link to.")] = DEFAULTS.concepts,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of batch 24.")] = DEFAULTS.steps,
    per_concept: Annotated[int, typer.Option(min=1, help="Synthetic sentences asked for per concept.")] = DEFAULTS.per_concept,
    seed: Annotated[int, typer.Option(help="Random seed.")] = DEFAULTS.seed,
    prompt_format: Annotated[str, typer.Option("--format", help="Prompt format: sentence, syncabel or document-first.")] = DEFAULTS.prompt_format,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = DEFAULTS.output,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Knowledge base, synthetic data, fine-tuning, lexicon, linking, evaluation: some six minutes on two cores."""
    try:
        import transformers
        import trl
    except ImportError as error:
        raise MissingExtraError("train", str(error.name)) from None
    del transformers, trl
    settings = QuickstartSettings(kb=kb, concepts=concepts, steps=steps, per_concept=per_concept, seed=seed, output=output, prompt_format=prompt_format)
    report = run(settings, lambda line: err.print(line, markup=False))
    if as_json:
        print_json(report)
        return
    table = Table("Recall@1", *(f"{test.replace('_', ' ')}\nn={n}" for test, n in report["mentions"].items()))
    for system in SYSTEMS:
        table.add_row(system, *(f"{report['systems'][system][test]:.3f}" for test in report["mentions"]))
    out.print(table)
    out.print(f"{report['seconds']:.0f} s, {report['peak_memory_mb'] or '?'} MB at most; in words: {output / 'report.md'}; the model: {output / 'model'}")
