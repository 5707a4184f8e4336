"""`syncabel link`: mentions in, JSON Lines with codes out."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from syncabel.abbreviations import find_abbreviations
from syncabel.calibration.store import CALIBRATION
from syncabel.cli.console import err, out, print_json, tracked
from syncabel.cli.link_record import record_path, write_record
from syncabel.cli.option_groups import with_option_groups
from syncabel.cli.outputs import refuse_inputs
from syncabel.cli.reading import say_unread
from syncabel.cli.search_options import SearchOptions
from syncabel.corpora import Corpus, read_corpus, read_jsonl
from syncabel.errors import ConfigError, FormatError, MarkupError, UnknownNameError
from syncabel.fetch import fetched
from syncabel.lines import text_lines
from syncabel.linker import Linker
from syncabel.prompt import iter_marked
from syncabel.types import Document, LinkedMention, Mention, Prediction, Rejection, Span, to_json

__all__ = ["link", "marked_line"]

_PUBTATOR = re.compile(r"[^|\t\[\]]+\|t\|")  # a marked line may hold bars as well, but not before its first bracket


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Which answers of a calibrated model are held back, and which sets of codes come beside them; each field is an option of that name."""

    min_confidence: Annotated[float | None, typer.Option(help="Hold back answers of less confidence, with the reason; a fraction.")] = None
    target_precision: Annotated[float | None, typer.Option(help="Hold back as many as it takes for this precision, e.g. 0.95.")] = None
    coverage: Annotated[float | None, typer.Option(help="Give each mention the codes that hold the right one so often, e.g. 0.8.")] = None


@with_option_groups
def link(
    model: Annotated[Path, typer.Option(help="Model folder that training exported, or ORG/NAME of one on the Hub.")],
    source: Annotated[
        Path | None,
        typer.Argument(help="Lines with [mention]{GROUP}, Document JSON Lines or PubTator, plain or .gz; standard input (lines) where not given."),
    ] = None,
    *,
    free: Annotated[bool, typer.Option("--free", help="Let the model write freely instead of holding it to the lexicon.")] = False,
    decoding: SearchOptions,
    layout: Annotated[str, typer.Option("--format", help="jsonl or table.")] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the lines instead of standard output; beside it FILE.record.json: speed, memory, search, training."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda …; a GPU where there is one.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Folder of the model's lexicon, for a model that came without.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of a model on the Hub.")] = None,
    thresholds: Thresholds,
) -> None:
    """Write one JSON object per mention: its place, and up to `num-beams` concepts, best first.

    A marked line is read as a document of its own.  One that cannot be read comes out with its error and no mention.

    Confidences, thresholds and sets need a model that `syncabel calibrate` has measured.
    """
    if layout not in ("jsonl", "table"):
        raise UnknownNameError("--format", layout, ("jsonl", "table"))
    if output and layout != "jsonl":
        raise ConfigError(f"--format {layout} goes to standard output; leave -o out, or write jsonl")
    if output:
        refuse_inputs([output, record_path(output)], [source])
    rows, rejections = _read(source)
    folder = fetched(model, revision=revision)
    settings = decoding.settings(folder, constrained=not free)
    linker = Linker.from_pretrained(model, settings, device, lexicon=lexicon, revision=revision, **asdict(thresholds))
    if linker.answering is None and (folder / CALIBRATION).is_file():
        err.print(f"syncabel: {CALIBRATION} was measured with another lexicon, model or search: no confidence is given; `syncabel calibrate` measures again")
    say_unread(rejections)
    total = sum(len(row.mentions) if isinstance(row, Document) else 1 for row in rows)
    started = time.perf_counter()
    with _lines_to(output) as write:
        found = _write(tracked(_linked(rows, linker), "linking", total), layout, write)
    if output:
        write_record(output, folder, asdict(settings), str(linker.model.device), total, time.perf_counter() - started)
    _tell(found, total)
    if found.failed or rejections:
        raise typer.Exit(2)


def _read(source: Path | None) -> tuple[Sequence[Document | LinkedMention], Sequence[Rejection]]:
    """Documents in order, with each marked line that cannot be read as its error; and the rows that are no documents.

    The first line that is not blank tells the kind.
    """
    if source is not None and source.is_dir():
        raise FormatError("it is a folder", source, hint="give one file; `syncabel corpus convert` makes one of a BRAT folder")
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


class _Counts(NamedTuple):
    """Results that carry an error, whose context was narrowed, whose answer was held back."""

    failed: int
    windowed: int
    held: int


@contextmanager
def _lines_to(output: Path | None) -> Iterator[Callable[[Any], None]]:
    """What takes one row at a time: standard output, or a file."""
    if output is None:
        yield print_json
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    record_path(output).unlink(missing_ok=True)  # it is of what the file held before
    with output.open("w", encoding="utf-8", newline="\n") as handle:
        yield lambda row: print_json(row, handle)


def _write(linked: Iterable[LinkedMention], layout: str, write: Callable[[Any], None]) -> _Counts:
    """Write every result."""
    failed = windowed = held = 0
    table = Table("document", "mention", "name", "code", "probability", "")
    for result in linked:
        failed += result.error is not None
        windowed += result.windowed
        held += result.abstained is not None
        if layout == "jsonl":
            write(_row(result))
        else:
            _add_rows(table, result)
    if layout == "table":
        out.print(table)
    return _Counts(failed, windowed, held)


def _tell(found: _Counts, total: int) -> None:
    if found.held:
        err.print(f"syncabel: {found.held} of {total} mentions were given no answer; their lines say why, and what it was")
    if found.windowed:
        err.print(f"syncabel: {found.windowed} of {total} mentions were linked with less context than the format asks for, the model's context holds no more")
    if found.failed:
        err.print(f"syncabel: {found.failed} of {total} mentions could not be linked; their lines say why")


def _row(result: LinkedMention) -> dict[str, Any]:
    """As JSON values, with what `to_json` leaves out as a default and a reader must not have to know."""
    row = {**to_json(result), "predictions": [_prediction(each) for each in result.predictions], "windowed": result.windowed}
    return {**row, "alternatives": [_prediction(each) for each in result.alternatives]} if result.alternatives else row


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {**to_json(prediction), "certified": prediction.certified, "code": prediction.code}


def _add_rows(table: Table, result: LinkedMention) -> None:
    for rank, prediction in enumerate(result.predictions):
        sure = prediction.confidence
        marks = (("certified", prediction.certified), ("windowed", result.windowed and not rank), (f"confidence {sure or 0:.3f}", sure is not None))
        told = ", ".join(word for word, holds in marks if holds)
        table.add_row(*(("", "") if rank else (result.document_id, result.text)), prediction.name, prediction.code, f"{prediction.mass:.3f}", told)
    if reason := result.error or result.abstained:
        table.add_row(result.document_id, result.text, reason, "", "", "")
