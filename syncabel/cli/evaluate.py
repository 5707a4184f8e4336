"""`syncabel evaluate`: documents beside predictions, or one of the published formats."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from syncabel.cli.console import err, out, print_json
from syncabel.cli.evaluate_tables import percent, score_table, show_belb, show_tsv
from syncabel.corpora import read_corpus
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate import (
    PROTOCOLS,
    Cell,
    Protocol,
    Report,
    aligned,
    evaluate_belb,
    evaluate_tsv,
    read_linked,
    read_tsv,
    report_json,
    scores_of,
    sign_flip_test,
)
from syncabel.evaluate import evaluate as evaluate_documents
from syncabel.types import Document, LinkedMention, Query

__all__ = ["evaluate"]


def evaluate(
    documents: Annotated[Path | None, typer.Argument(help="Annotated documents: JSON Lines or PubTator.")] = None,
    predictions: Annotated[Path | None, typer.Argument(help="What `syncabel link` wrote for them.")] = None,
    kb: Annotated[str | None, typer.Option(help="A knowledge base: its folder, or the name of a shipped one (doid).")] = None,
    train: Annotated[list[Path] | None, typer.Option(help="Training documents, for strata and baselines; repeat for more files.")] = None,
    synthetic: Annotated[list[Path] | None, typer.Option(help="Synthetic training documents, for the strata.")] = None,
    protocol: Annotated[str, typer.Option(help=f"What is right: {', '.join(PROTOCOLS)}.")] = "set",
    baselines: Annotated[bool, typer.Option("--baselines", help="Score the baselines beside it, fitted on --train.")] = False,
    misses: Annotated[Path | None, typer.Option(help="Write every miss and its cause here; holds text of the corpus.")] = None,
    tsv: Annotated[Path | None, typer.Option(help="Score a table in the published format instead.")] = None,
    belb: Annotated[Path | None, typer.Option(help="Score a BELB file, strict and lenient, instead.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Recall@1 with its interval, by stratum, and a cause for every miss."""
    ways = [documents is not None, tsv is not None, belb is not None]
    if sum(ways) != 1:
        raise ConfigError("give DOCUMENTS and PREDICTIONS, or --tsv FILE, or --belb FILE")
    if tsv:
        show_tsv(evaluate_tsv(read_tsv(tsv)), json_)
    elif belb:
        show_belb(evaluate_belb(belb), json_)
    elif documents:
        if predictions is None or kb is None:
            raise ConfigError("documents are scored with predictions and a knowledge base; give PREDICTIONS and --kb")
        if protocol not in PROTOCOLS:
            raise UnknownNameError("protocol", protocol, PROTOCOLS)
        _documents(documents, predictions, kb, train or [], synthetic or [], cast(Protocol, protocol), baselines, misses, json_)


def _documents(
    documents: Path,
    predictions: Path,
    kb: str,
    train: list[Path],
    synthetic: list[Path],
    protocol: Protocol,
    baselines: bool,
    misses: Path | None,
    json_: bool,
) -> None:
    from syncabel.kb import KnowledgeBase

    base = KnowledgeBase.load(kb)
    gold = _read([documents])
    seen = _read(train)
    human = [document for document in seen if document.source == "human"]
    made = [*(document for document in seen if document.source == "synthetic"), *_read(synthetic)]
    linked = list(aligned(gold, read_linked(predictions), predictions).values())
    report = evaluate_documents(gold, linked, base, protocol=protocol, train=human, synthetic=made)
    beside = _beside(gold, linked, seen, base, protocol) if baselines else {}
    if misses:
        _write_misses(report, misses)
    if json_:
        print_json({**report_json(report), **({"baselines": beside} if baselines else {})})
    else:
        _show(report, beside)


def _read(paths: Sequence[Path]) -> list[Document]:
    if not paths:
        return []
    corpus = read_corpus(list(paths))
    if corpus.rejections:
        first = corpus.rejections[0]
        err.print(f"{first.where}: {first.reason}: first of {len(corpus.rejections)} rows not read; `syncabel corpus convert` lists them", markup=False)
    return list(corpus.documents)


def _beside(gold: Sequence[Document], linked: Sequence[LinkedMention], train: Sequence[Document], kb: Any, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Each baseline's score on the same mentions, held to the same groups, and the p that the system differs from it."""
    from syncabel.baselines import rank_all, standard_baselines

    groups = {(result.document_id, result.mention_id): result.groups for result in linked}
    queries = [Query(document, mention, groups.get((document.id, mention.id), ())) for document in gold for mention in document.mentions]
    ids, system = scores_of(gold, linked, kb, protocol)
    found = {}
    for name, ranker in standard_baselines(kb, train).items():
        answers = rank_all(ranker, queries)
        report = evaluate_documents(gold, answers, kb, protocol=protocol, train=[document for document in train if document.source == "human"])
        p = sign_flip_test(system, scores_of(gold, answers, kb, protocol)[1], ids)
        found[name] = {"n": report.n, "correct": report.correct, "recall_at_1": report.recall_at_1, "ci95": list(report.ci95), "p_sign_flip": p}
    return found


def _write_misses(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(json.dumps(asdict(miss), ensure_ascii=False) + "\n" for miss in report.misses)


def _show(report: Report, beside: Mapping[str, Mapping[str, Any]]) -> None:
    out.print(f"ceiling {report.ceiling:.1%}: mentions with a right answer in the knowledge base and the groups searched", markup=False)
    out.print(f"Recall@1 {percent(report.recall_at_1, report.ci95)}: {report.correct:,} of {report.n:,} ({report.protocol})", markup=False)
    out.print(
        f"counted as wrong: {report.missing} mentions without a line in the predictions; "
        f"beside the denominator: {report.nil} NIL ({report.nil_correct} abstained, rightly), {report.unannotated} not annotated",
        markup=False,
    )
    out.print(_metrics(report))
    out.print(_strata(report))
    out.print(_ledger(report))
    if beside:
        table = score_table("baseline", "Recall@1", "p (sign flips by document)")
        for name, facts in beside.items():
            table.add_row(name, percent(facts["recall_at_1"], facts["ci95"]), f"{facts['p_sign_flip']:.4f}")
        out.print(table)


def _metrics(report: Report) -> Table:
    table = score_table("metric", "score")
    for name, value in report.metrics.items():
        table.add_row(name, percent(value, report.intervals[name]))
    return table


def _strata(report: Report) -> Table:
    table = score_table("stratum", "mentions", "right", "Recall@1")
    kinds: Mapping[str, Mapping[str, Cell]] = {"group": report.by_group, **report.strata}
    for kind, cells in kinds.items():
        for name, cell in cells.items():
            table.add_row(f"{kind}: {name}", f"{cell.n:,}", f"{cell.correct:,}", percent(cell.recall_at_1, cell.ci95))
    return table


def _ledger(report: Report) -> Table:
    table = score_table("first cause of the miss", "mentions", "costs")
    for cause, line in report.ledger.items():
        table.add_row(cause, f"{line.n:,}", f"{line.share:.1%}")
    table.add_row("together", f"{len(report.misses):,}", f"{1 - report.recall_at_1:.1%}")
    return table
