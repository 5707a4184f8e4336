"""Tables of scores in the published formats (SynCABEL's tables, BELB's), and what all tables of scores are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from syncabel.cli.console import out, print_json
from syncabel.evaluate import (
    BelbReport,
    ConfidenceReport,
    Difference,
    TsvReport,
    belb_json,
    compare_table_strata,
    compare_tables,
    evaluate_tsv,
    judge_json,
    paired_json,
    read_training_mentions,
    read_tsv,
    table_strata,
    table_strata_json,
    tsv_json,
)

__all__ = ["percent", "score_table", "score_tsv", "show_belb", "show_confidence", "show_tsv"]


def score_tsv(path: Path, versus: Path | None, judge_column: str | None, train: Sequence[Path], json_: bool) -> None:
    """Score a table of the published format, by stratum, beside another system's table and with a judge's labels where asked."""
    table = read_tsv(path, judge_column)
    report = evaluate_tsv(table)
    strata = table_strata(table, read_training_mentions(train) if train else None)
    other = read_tsv(versus) if versus else None
    paired = compare_tables(table, other) if other else None
    if json_:
        # Testing every stratum takes seconds: done where strata were asked for.
        parts = compare_table_strata(table, other, strata) if other and train else None
        more = {**(paired_json(paired, parts) if paired else {}), **(judge_json(report, judge_column) if judge_column else {})}
        print_json({**tsv_json(report), "strata": table_strata_json(table, strata), **more})
        return
    show_tsv(report, json_)
    out.print(_strata(table_strata_json(table, strata)))
    if paired:
        _show_paired(paired)


def _strata(cells: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    table = score_table("stratum", "rows", "right", "Recall@1")
    for kind, values in cells.items():
        for name, cell in values.items():
            score = percent(cell["recall_at_1"], cell["ci95"]) if cell["n"] else "–"
            table.add_row(f"{kind}: {name}", f"{cell['n']:,}", f"{cell['correct']:,}", score)
    return table


def _show_paired(paired: Difference) -> None:
    out.print(f"against the other table: {percent(paired.delta, paired.ci95)}; right in one only: {paired.only_a:,.0f} here, {paired.only_b:,.0f} there")
    out.print(
        f"p {paired.p_sign_flip:.4g} by sign flips of documents, {paired.p_bootstrap:.4g} by bootstrap, {paired.p_mcnemar:.4g} by McNemar, for reference only"
    )
    if paired.warning:
        out.print(f"warning: {paired.warning}")


def show_tsv(report: TsvReport, json_: bool) -> None:
    """A scored table of the published format."""
    if json_:
        print_json(tsv_json(report))
        return
    out.print(f"Recall@1 {percent(report.recall_at_1, report.ci95)}: {report.correct:,} of {report.n:,} rows of {report.documents:,} documents", markup=False)
    out.print(f"left out of the denominator: {report.duplicates} duplicates, {report.no_code} rows whose gold holds NO_CODE", markup=False)
    table = score_table("label", "rows", "right", "Recall@1")
    for label, cell in report.by_group.items():
        table.add_row(label, f"{cell['n']:,}", f"{cell['correct']:,}", f"{cell['correct'] / cell['n']:.1%}")
    out.print(table)
    for judge, facts in report.judges.items():
        counted = ", ".join(f"{word} {count:,}" for word, count in facts["counts"].items())
        out.print(f"{judge}: valid {percent(facts['valid_share'], facts['ci95'])} ({counted})", markup=False)
    show_confidence(report.confidence)


def show_confidence(found: ConfidenceReport | None) -> None:
    """What confidences are worth, in a line; nothing where there are none."""
    if found is None or found.mean_confidence is None or found.accuracy is None:
        return
    figures = {"ECE": found.ece, "Brier": found.brier, "AUROC": found.auroc, "AURC": found.aurc}
    shown = ", ".join(f"{name} {'–' if value is None else f'{value:.3f}'}" for name, value in figures.items())
    nil = f" ({found.nil:,} of them NIL)" if found.nil else ""
    out.print(f"confidence ({found.source}) of the {found.n:,} answered{nil}: mean {found.mean_confidence:.3f} at {found.accuracy:.3f} right; {shown}")


def show_belb(report: BelbReport, json_: bool) -> None:
    """Scores of a BELB file."""
    if json_:
        print_json(belb_json(report))
        return
    table = score_table("system", "strict", "lenient", "no prediction")
    for name, system in report.systems.items():
        table.add_row(name, f"{system.strict_pct:.2f} %", f"{system.lenient_pct:.2f} %", str(system.missing))
    out.print(f"{report.n:,} mentions; one without a prediction counts as wrong", markup=False)
    out.print(table)


def score_table(first: str, *others: str) -> Table:
    """A table whose columns but the first are figures."""
    table = Table()
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def percent(value: float, interval: Sequence[float]) -> str:
    """A fraction and its interval as per cent."""
    return f"{100 * value:.2f} % [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
