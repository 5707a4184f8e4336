"""`syncabel link`: mentions in, JSON Lines with codes out."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from syncabel.abbreviations import find_abbreviations
from syncabel.cli.console import err, out, print_json, tracked
from syncabel.corpora import Corpus, read_corpus, read_jsonl
from syncabel.errors import FormatError, MarkupError, UnknownNameError
from syncabel.lines import text_lines
from syncabel.linker import Linker
from syncabel.prompt import iter_marked
from syncabel.types import Document, LinkedMention, Mention, Rejection, Span, to_json

__all__ = ["link", "marked_line"]

_PUBTATOR = re.compile(r"[^|\t\[\]]+\|t\|")  # a marked line may hold bars as well, but not before its first bracket


def link(
    model: Annotated[Path, typer.Option(help="Model folder that training exported, or ORG/NAME of one on the Hub.")],
    source: Annotated[
        Path | None,
        typer.Argument(help="Lines with [mention]{GROUP}, Document JSON Lines or PubTator, plain or .gz; standard input (lines) where not given."),
    ] = None,
    num_beams: Annotated[int, typer.Option(help="Width of the beam, and most answers a mention.")] = 5,
    free: Annotated[bool, typer.Option("--free", help="Let the model write freely instead of holding it to the lexicon.")] = False,
    ranking: Annotated[str | None, typer.Option(help="sum or mean; the model's own where not given.", show_default=False)] = None,
    search: Annotated[str, typer.Option(help="greedy, beam, or exact, which proves its first answers.")] = "beam",
    ranks: Annotated[int, typer.Option(help="Of exact: how many ranks are to be proven; at most num-beams.")] = 1,
    max_expansions: Annotated[int, typer.Option(help="Of exact: prefixes read for a mention before its answers stay unproven.")] = 64,
    max_concepts: Annotated[int, typer.Option(help="Concepts that an answer may be composed of.")] = 1,
    nil: Annotated[bool, typer.Option("--nil", help="Offer the lexicon's leaf for mentions that are not in the knowledge base.")] = False,
    layout: Annotated[str, typer.Option("--format", help="jsonl or table.")] = "jsonl",
    device: Annotated[str | None, typer.Option(help="cpu, cuda …; a GPU where there is one.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Folder of the model's lexicon, for a model that came without.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of a model on the Hub.")] = None,
) -> None:
    """Write one JSON object per mention: its place, and up to `num-beams` concepts, best first.

    A marked line is read as a document of its own.  One that cannot be read comes out with its error and no mention.
    """
    if layout not in ("jsonl", "table"):
        raise UnknownNameError("--format", layout, ("jsonl", "table"))
    rows, rejections = _read(source)
    from syncabel.decoding import DecodingSettings, own_ranking

    settings = DecodingSettings(
        not free,
        num_beams,
        ranking or "sum",
        search=search,
        exact_ranks=ranks,
        max_expansions=max_expansions,
        max_concepts=max_concepts,
        nil=nil,
    )
    linker = Linker.from_pretrained(model, settings, device, lexicon=lexicon, revision=revision)
    if ranking is None:
        linker = replace(linker, settings=replace(settings, ranking=own_ranking(linker.model.config.syncabel)))
    if rejections:
        err.print(f"{rejections[0].where}: {rejections[0].reason}: first of {len(rejections)} rows not read; `syncabel corpus convert` lists them")
    total = sum(len(row.mentions) if isinstance(row, Document) else 1 for row in rows)
    failed, windowed = _write(tracked(_linked(rows, linker), "linking", total), layout)
    if windowed:
        err.print(f"syncabel: {windowed} of {total} mentions were linked with less context than the format asks for, the model's context holds no more")
    if failed:
        err.print(f"syncabel: {failed} of {total} mentions could not be linked; their lines say why")
    if failed or rejections:
        raise typer.Exit(2)


def _read(source: Path | None) -> tuple[Sequence[Document | LinkedMention], Sequence[Rejection]]:
    """Documents in order, with each marked line that cannot be read as its error; and the rows that are no documents.

    The first line that is not blank tells the kind.
    """
    place = source or Path("standard input")
    lines = [(number, line) for number, line in text_lines(place, None if source else sys.stdin.buffer) if line.strip()]
    if not lines:
        raise FormatError("no line in it", place, hint="give lines with [mention]{GROUP}, or documents")
    first = lines[0][1].lstrip()
    if first.startswith("{"):
        corpus = read_jsonl(place, lines=lines)
    elif _PUBTATOR.match(first):
        corpus = _pubtator(source)
    else:
        return [marked_line(line, number, place) for number, line in lines], ()
    return corpus.documents, corpus.rejections


def _pubtator(source: Path | None) -> Corpus:
    if source is None:
        raise FormatError("PubTator is read from files only", "standard input", hint="give the file's name")
    return read_corpus(source)


def marked_line(line: str, number: int, place: Path | str) -> Document | LinkedMention:
    """A line as a document of its own, named by its number; every `[mention]{GROUP}` of it is one mention.

    Args:
        line: without line end.
        number: 1-based.
        place: the file, for errors.

    Returns:
        The document with its abbreviations, or a linked mention that holds nothing but the error.
    """
    try:
        found = list(iter_marked(line))
    except MarkupError as error:
        return LinkedMention(str(number), "", "", 0, 0, (), (), f"{place}:{number}: {error}")
    text, mentions = found[0][0], []
    for i, (_, offsets, groups) in enumerate(found, 1):
        spans = tuple(Span(start, end) for start, end in offsets)
        mentions.append(Mention(str(i), spans, " ".join(text[span.start : span.end] for span in spans), "|".join(groups) or None))
    return Document(str(number), text, tuple(mentions), abbreviations=find_abbreviations(text))


def _linked(rows: Sequence[Document | LinkedMention], linker: Linker) -> Iterator[LinkedMention]:
    """Results in the order of the rows; the linker batches over documents."""
    results = linker.link(row for row in rows if isinstance(row, Document))
    for row in rows:
        if isinstance(row, Document):
            yield from islice(results, len(row.mentions))
        else:
            yield row


def _write(linked: Iterable[LinkedMention], layout: str) -> tuple[int, int]:
    """Write every result; returns how many carry an error and how many had their context narrowed."""
    failed = windowed = 0
    table = Table("document", "mention", "name", "code", "probability", "")
    for result in linked:
        failed += result.error is not None
        windowed += result.windowed
        if layout == "jsonl":
            print_json(_row(result))
        else:
            _add_rows(table, result)
    if layout == "table":
        out.print(table)
    return failed, windowed


def _row(result: LinkedMention) -> dict[str, Any]:
    """As JSON values, with what `to_json` leaves out as a default and a reader must not have to know."""
    predictions = [{**to_json(each), "certified": each.certified, "code": each.code} for each in result.predictions]
    return {**to_json(result), "predictions": predictions, "windowed": result.windowed}


def _add_rows(table: Table, result: LinkedMention) -> None:
    for rank, prediction in enumerate(result.predictions):
        marks = (("certified", prediction.certified), ("windowed", result.windowed and not rank))
        told = ", ".join(word for word, holds in marks if holds)
        table.add_row(*(("", "") if rank else (result.document_id, result.text)), prediction.name, prediction.code, f"{prediction.mass:.3f}", told)
    if result.error:
        table.add_row(result.document_id, result.text, result.error, "", "", "")
