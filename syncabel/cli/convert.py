"""`syncabel convert`: a published model of the SynCABEL layout as a model folder of this project."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from syncabel.cli.console import err, out, print_json
from syncabel.errors import MissingExtraError
from syncabel.kb import KnowledgeBase
from syncabel.types import to_json

__all__ = ["convert"]

SHOWN = 3  # altered names of each reason


def convert(
    source: Annotated[Path, typer.Argument(help="Folder of the published model: weights, tokenizer, text_to_code.json; `hf download` makes one.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to write.", show_default=False)],
    kb: Annotated[
        str | None, typer.Option(help="Knowledge base the names were taken from, for the terms of its licence; a folder, or `doid`.", show_default=False)
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the model's prompts: en, fr or es.")] = "en",
    licence: Annotated[str, typer.Option("--license", help="Licence of the weights, as the hub names it, e.g. llama3; publishing needs it.")] = "unknown",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON, with every name that is not as the model learnt it.")] = False,
) -> None:
    """Convert weights, tokenizer and names; no pickle is opened, no code of the folder run.

    The model then answers through `syncabel link` and `sample`, ranked by the published score unless you ask otherwise.
    """
    try:
        from syncabel.convert import convert_model
    except ImportError as error:
        raise MissingExtraError("link", str(error.name)) from None
    done = convert_model(source, output, language, None if kb is None else KnowledgeBase.load(kb), licence)
    if as_json:
        print_json({**to_json(replace(done, altered=())), "folder": str(done.folder), "altered": [to_json(each) for each in done.altered]})
        return
    out.print(f"{done.rows:,} names in {done.groups:,} groups → {done.entries:,} leaves of {done.codes:,} codes → {output}")
    for reason, count in Counter(each.reason for each in done.altered).most_common():
        err.print(f"{count:,} names are not as the model learnt them: {reason}")
        for each in [each for each in done.altered if each.reason == reason][:SHOWN]:
            err.print(f"  {each.code}  {each.name!r} → {each.leaf!r}")
    if done.widened:
        err.print(f"{done.widened:,} names are offered in all groups of their concept, where the file has them in some only")
    if done.unknown:
        err.print(f"{done.unknown:,} names are not the knowledge base's")
