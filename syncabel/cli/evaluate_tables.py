"""Tables of scores in the published formats (SynCABEL's tables, BELB's), and what all tables of scores are made of."""

from collections.abc import Sequence

from rich.table import Table

from syncabel.cli.console import out, print_json
from syncabel.evaluate import BelbReport, TsvReport, belb_json, tsv_json

__all__ = ["percent", "score_table", "show_belb", "show_tsv"]


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
