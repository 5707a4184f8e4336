"""`syncabel corpus convert|check`: read a corpus, say what could not be taken."""

import dataclasses
from collections import Counter
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from syncabel.cli.console import err, out, print_json
from syncabel.corpora import FORMATS, Corpus, CorpusCheck, check_corpus, read_corpus, write_jsonl, write_rejections

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Annotated texts: convert them, check them against a knowledge base.")

_SOURCES = typer.Argument(..., metavar="SOURCE...", help="Corpus files, plain or .gz.", show_default=False)
_FORMAT = typer.Option("auto", "--format", help=f"auto, {', '.join(FORMATS)}.")
_SPLIT = typer.Option(None, "--split", help="train, dev or test; by default taken from the names of official files.")

_OUTPUT = typer.Option(..., "-o", "--output", metavar="FILE.jsonl", help="Documents, one JSON object a line.", show_default=False)


@app.command()
def convert(
    sources: list[Path] = _SOURCES,
    output: Path = _OUTPUT,
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
) -> None:
    """Write a corpus as JSON Lines; rows left out go to FILE.rejected.jsonl with the reason."""
    corpus = read_corpus(sources, format_, split)
    write_jsonl(corpus.documents, output)
    rejected = output.with_name(output.name.removesuffix(".jsonl") + ".rejected.jsonl")
    if corpus.rejections:
        write_rejections(corpus.rejections, rejected)
    else:
        rejected.unlink(missing_ok=True)  # what an earlier run left there is no longer true
    mentions = sum(1 for _ in corpus.mentions())
    out.print(f"{len(corpus)} documents with {mentions} mentions written to {output}", markup=False)
    aside = f" (see {rejected})" if corpus.rejections else ""
    out.print(f"{corpus.rows_kept} rows kept + {len(corpus.rejections)} rejected = {corpus.rows_read} read{aside}", markup=False)


@app.command()
def check(
    sources: list[Path] = _SOURCES,
    kb: str = typer.Option(..., "--kb", help="A knowledge base: its folder, or the name of a shipped one (doid)."),
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
    json_: bool = typer.Option(False, "--json", help="One JSON object instead of the table."),
) -> None:
    """Count documents, mentions and concepts, and the share of codes the knowledge base knows."""
    from syncabel.kb import KnowledgeBase

    corpus = read_corpus(sources, format_, split)
    result = check_corpus(corpus, KnowledgeBase.load(kb))
    _report_rejections(corpus)
    if json_:
        print_json(dataclasses.asdict(result))
    else:
        out.print(_table(result, kb))


def _report_rejections(corpus: Corpus) -> None:
    """One line per file and reason on standard error, with the first place; the rows themselves only go to files."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for rejection in corpus.rejections:
        key = (rejection.where.rpartition(":")[0], rejection.reason)
        counts[key] += 1
        first.setdefault(key, rejection.where)
    for key, count in counts.items():
        err.print(f"{first[key]}: first of {count} rows rejected as {key[1]}; `syncabel corpus convert` writes them out", markup=False)


def _table(result: CorpusCheck, kb: str) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    counted = ("documents", "mentions", "annotated", "nil", "unannotated", "composite", "discontinuous", "abbreviations", "concepts")
    for name in counted:
        table.add_row("not in the vocabulary (NIL)" if name == "nil" else name, f"{getattr(result, name):,}")
    table.add_row(Text(f"concepts found in {kb}"), f"{result.concepts_found:.1%}")
    table.add_row(Text(f"mentions found in {kb}"), f"{result.mentions_found:.1%}")
    for code, count in list(result.unknown_codes.items())[:5]:
        table.add_row(Text(f"  unknown: {code}"), f"{count:,}")
    for reason, count in result.rejections.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    return table
