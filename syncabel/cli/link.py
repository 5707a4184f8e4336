"""`syncabel link`: mentions in, JSON Lines with codes out."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from syncabel.cli.console import err, out, print_json, tracked
from syncabel.errors import FormatError, InputError, UnknownNameError
from syncabel.linker import Linker
from syncabel.prompt import iter_marked
from syncabel.types import Document, LinkedMention, Mention, Span, from_json, to_json

__all__ = ["link"]


def link(
    model: Annotated[Path, typer.Option(help="Model folder that training exported.")],
    source: Annotated[Path | None, typer.Argument(help="Lines with [mention]{GROUP}, or Document JSON Lines; standard input where not given.")] = None,
    num_beams: Annotated[int, typer.Option(help="Width of the beam, and most answers a mention.")] = 5,
    free: Annotated[bool, typer.Option("--free", help="Let the model write freely instead of holding it to the lexicon.")] = False,
    ranking: Annotated[str, typer.Option(help="sum or mean.")] = "sum",
    layout: Annotated[str, typer.Option("--format", help="jsonl or table.")] = "jsonl",
    device: Annotated[str | None, typer.Option(help="cpu, cuda …; a GPU where there is one.")] = None,
) -> None:
    """Write one JSON object per mention: its place, and up to `num-beams` concepts, best first."""
    if layout not in ("jsonl", "table"):
        raise UnknownNameError("--format", layout, ("jsonl", "table"))
    documents = list(_documents(source))
    if not documents:
        raise FormatError("no line in it", source or "standard input", hint="give lines with [mention]{GROUP}, or Document JSON Lines")
    from syncabel.decoding import DecodingSettings

    linker = Linker.from_pretrained(model, DecodingSettings(not free, num_beams, ranking), device)  # type: ignore[arg-type]
    total = sum(len(document.mentions) for document in documents)
    failed = _write(tracked(linker.link(documents), "linking", total), layout)
    if failed:
        err.print(f"syncabel: {failed} of {total} mentions could not be linked; their lines say why", markup=False)
        raise typer.Exit(2)


def _documents(source: Path | None) -> Iterator[Document]:
    """Documents from lines of either kind; the kind is told by the line's first character."""
    place = str(source) if source else "standard input"
    for number, line in enumerate(_lines(source, place), 1):
        if not line.strip():
            continue
        try:
            if line.lstrip().startswith("{"):
                yield from_json(Document, json.loads(line))
            else:
                yield _marked_line(line.rstrip("\n"), str(number))
        except (InputError, json.JSONDecodeError) as error:
            raise FormatError(str(error), place, number) from None


def _lines(source: Path | None, place: str) -> Iterator[str]:
    with source.open("rb") if source else nullcontext(sys.stdin.buffer) as raw:
        for number, line in enumerate(raw, 1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FormatError(f"byte {line[error.start]:#04x} is not UTF-8", place, number, "convert the file to UTF-8") from None


def _marked_line(line: str, number: str) -> Document:
    """A line as a document of its own; every `[mention]{GROUP}` of it is one mention."""
    mentions, text = [], ""
    for i, (plain, offsets, groups) in enumerate(iter_marked(line), 1):
        text = plain
        spans = tuple(Span(start, end) for start, end in offsets)
        mentions.append(Mention(str(i), spans, " ".join(plain[span.start : span.end] for span in spans), "|".join(groups) or None))
    return Document(number, text, tuple(mentions))


def _write(linked: Iterable[LinkedMention], layout: str) -> int:
    """Write every result; returns how many carry an error."""
    failed = 0
    table = Table("document", "mention", "name", "code", "probability")
    for result in linked:
        failed += result.error is not None
        if layout == "jsonl":
            print_json({**to_json(result), "predictions": [{**to_json(p), "code": p.code} for p in result.predictions]})
            continue
        for rank, prediction in enumerate(result.predictions):
            table.add_row(*(("", "") if rank else (result.document_id, result.text)), prediction.name, prediction.code, f"{prediction.mass:.3f}")
        if result.error:
            table.add_row(result.document_id, result.text, result.error, "", "")
    if layout == "table":
        out.print(table)
    return failed
