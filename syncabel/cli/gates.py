"""`syncabel gates`: how often the gates of generation would refuse what people wrote."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from data_gen.gates import GATE_NAMES, Calibration, Fired, GateSettings, calibrate
from syncabel.baselines import CharTfidf
from syncabel.cli.console import err, out, print_json
from syncabel.corpora import FORMATS, read_corpus
from syncabel.errors import ConfigError
from syncabel.kb import KnowledgeBase
from syncabel.types import Document, as_split

__all__ = ["gates"]

LIMIT = 0.02  # what a rejecting gate may refuse of human sentences, a fraction


def gates(
    corpus: Annotated[list[Path], typer.Argument(metavar="CORPUS...", help="Human documents of one language: files or folders, plain or .gz.")],
    kb: Annotated[str, typer.Option(help="Knowledge base: a folder, or `doid`.")],
    corpus_format: Annotated[str, typer.Option("--format", help=f"auto, {', '.join(FORMATS)}.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Only documents of this split: train, dev or test.")] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(metavar="CORPUS", help="Documents whose sentences must not come back; without, that gate is not asked; repeatable.")
    ] = None,
    held_out_split: Annotated[list[str] | None, typer.Option(metavar="SPLIT", help="Only these splits of the held-out documents; repeatable.")] = None,
    off: Annotated[list[str] | None, typer.Option(metavar="GATE", help=f"Gate to switch off; repeatable: {', '.join(GATE_NAMES)}.")] = None,
    shots: Annotated[int, typer.Option(help="Style examples drawn for each sentence.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of the style examples.")] = 0,
    ranks: Annotated[bool, typer.Option("--ranks/--no-ranks", help="Rank the mentions with character TF-IDF over all names.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
) -> None:
    """Print the share of human sentences that each gate would refuse, had they been generated, and how often recorded scores would fire."""
    if held_out_split and not held_out:
        raise ConfigError("--held-out-split chooses among the documents of --held-out; give those, or leave it out")
    base = KnowledgeBase.load(kb)
    documents = _of_splits(_read(corpus, corpus_format), [split] if split else [])
    kept_apart = _of_splits(_read(held_out, corpus_format), held_out_split or []) if held_out else []
    own = {document.id for document in documents}
    others = [document for document in kept_apart if document.id not in own]
    if len(others) < len(kept_apart):
        err.print(f"{len(kept_apart) - len(others):,} held-out documents are among those judged and are left out")
    settings = replace(GateSettings(language=_language(documents)), off=tuple(off or ()))
    result = calibrate(documents, base, settings, held_out=others, shots=shots, seed=seed, ranker=CharTfidf(base) if ranks else None)
    if as_json:
        print_json(_as_json(result))
        return
    in_kb = f"{result.mentions:,} mentions, {result.in_kb:,} of them in the knowledge base"
    out.print(f"{in_kb}; {result.sentences:,} sentences, {result.repeats:,} of them an earlier one again")
    out.print(_table("gates: human sentences refused", (*result.gates, result.any_gate), LIMIT))
    out.print(_table("recorded scores: what they would refuse, were they gates", result.scores, None))


def _read(paths: Iterable[Path], format_: str) -> tuple[Document, ...]:
    read = read_corpus(list(paths), format_)
    if read.rejections:
        err.print(f"{len(read.rejections):,} rows could not be read; `syncabel corpus check` says why")
    return read.documents


def _of_splits(documents: Iterable[Document], splits: Iterable[str]) -> list[Document]:
    wanted = {as_split(name) for name in splits}
    return [document for document in documents if not wanted or document.split in wanted]


def _language(documents: Iterable[Document]) -> str:
    languages = sorted({document.language for document in documents})
    if len(languages) != 1:
        raise ConfigError(f"documents in {', '.join(languages)}; judge one language at a time" if languages else "no document to judge; see --split")
    return languages[0]


def _as_json(result: Calibration) -> dict[str, object]:
    def row(fired: Fired) -> dict[str, object]:
        return {"n": fired.n, "fired": fired.fired, "rate": round(fired.rate, 6)}

    tables = {name: {each.name: row(each) for each in getattr(result, name)} for name in ("gates", "scores")}
    return {**asdict(result), **tables, "any_gate": row(result.any_gate)}


def _table(title: str, rows: Iterable[Fired], limit: float | None) -> Table:
    table = Table(title=Text(title), title_justify="left")
    table.add_column("name")
    for column in ("asked", "refused", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        over = limit is not None and row.name in GATE_NAMES and row.rate > limit
        table.add_row(Text(row.name), f"{row.n:,}", f"{row.fired:,}", f"{row.rate:.2%}" + (f" > {limit:.0%}" if over else ""))
    return table
