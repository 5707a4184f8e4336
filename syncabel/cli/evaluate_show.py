"""Tables of an evaluation for people: one system's scores, strata and misses; several systems beside each other."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from syncabel.cli.console import out
from syncabel.cli.evaluate_tables import percent, score_table, show_confidence
from syncabel.evaluate import Comparison, Protocol, Report

__all__ = ["show_report", "show_systems"]

_NONE = "–"  # of no mentions
_CODES_SHOWN = 5


def show_report(report: Report) -> None:
    """One system: what could be reached, what was, what not, on which mentions and why."""
    out.print(f"ceiling {report.ceiling:.1%}: mentions with a right answer in the knowledge base and the groups searched")
    out.print(f"Recall@1 {percent(report.recall_at_1, report.ci95)}: {report.correct:,} of {report.n:,} ({report.protocol})")
    in_kb = report.denominators["gold_in_kb"]
    out.print(f"of the {in_kb.n:,} with gold in the knowledge base: {_percent(in_kb.recall_at_1, in_kb.ci95)}")
    out.print(
        f"counted as wrong: {report.missing} mentions without a line in the predictions, {report.abstained} withheld, {report.failed} failed; "
        f"beside the denominator: {report.nil} NIL ({report.nil_correct} abstained, rightly), {report.unannotated} not annotated, "
        f"{report.left_out} left out by the protocol"
    )
    _show_unknown(report.unknown_codes)
    for table in (_metrics(report), _strata(report), _ledger(report)):
        out.print(table)
    if "concept" not in report.strata:
        out.print("what training has seen is not told: no training documents (--train)")
    _show_hierarchy(report)
    _show_confidence(report)


def _percent(value: float | None, interval: Sequence[float] | None) -> str:
    return _NONE if value is None or interval is None else percent(value, interval)


def _show_unknown(codes: Mapping[str, int]) -> None:
    if codes:
        shown = ", ".join(list(codes)[:_CODES_SHOWN]) + (", …" if len(codes) > _CODES_SHOWN else "")
        out.print(f"{len(codes):,} predicted codes are not in the knowledge base, and so wrong: {shown}")


def _metrics(report: Report) -> Table:
    table = score_table("metric", "score")
    for name, value in report.metrics.items():
        table.add_row(name, _percent(value, report.intervals[name]))
    nil = report.nil_scores
    for name, value in (("precision", nil.precision), ("recall", nil.recall), ("f1", nil.f1)):
        table.add_row(f"NIL {name}", _percent(value, nil.intervals[name]))
    return table


def _strata(report: Report) -> Table:
    table = score_table("stratum", "mentions", "right", "Recall@1", "most misses")
    for kind, cells in report.strata.items():
        for value, cell in cells.items():
            lines = report.ledgers[kind][value]
            worst = max(lines, key=lambda cause: lines[cause].n)
            cause = f"{worst} {lines[worst].share:.1%}" if lines[worst].n else _NONE
            table.add_row(f"{kind}: {value}", f"{cell.n:,}", f"{cell.correct:,}", _percent(cell.recall_at_1, cell.ci95), cause)
    return table


def _ledger(report: Report) -> Table:
    table = score_table("first cause of the miss", "mentions", "costs")
    for cause, line in report.ledger.items():
        table.add_row(cause, f"{line.n:,}", f"{line.share:.1%}")
    table.add_row("together", f"{len(report.misses):,}", f"{1 - report.recall_at_1:.1%}")
    return table


def _show_hierarchy(report: Report) -> None:
    found = report.hierarchy
    if found is None:
        out.print("hierarchy: no gold concept has a parent or a child in this knowledge base; nothing is said of near misses")
        return
    table = score_table("Recall@1 where gold counts as right", *(f"{distance} steps away" for distance in found.within["either"]))
    for direction, name in (("up", "above: predicted too narrow"), ("down", "below: predicted too broad"), ("either", "above or below")):
        table.add_row(name, *(percent(*score) for score in found.within[direction].values()))
    out.print(table)


def _show_confidence(report: Report) -> None:
    show_confidence(report.confidence)
    if report.sets is not None:
        sets = report.sets
        share = f"{percent(sets.coverage, sets.ci95)} over {sets.documents:,} documents, {100 * sets.mention_coverage:.2f} % over {sets.n:,} mentions"
        out.print(f"prediction sets hold a right answer: {share}; {sets.codes:.2f} codes a mention")


def show_systems(reports: Mapping[str, Report], comparison: Comparison | None, p_values: Mapping[str, float], protocol: Protocol) -> None:
    """Systems and baselines in one table, and every pair of systems in another.

    Args:
        reports: by name, baselines last.
        comparison: of the systems; None where there is one.
        p_values: baseline -> p that the first system differs from it.
        protocol: that they were scored by.
    """
    table = score_table("system", "mentions", f"Recall@1 ({protocol})", "gold in KB", "MRR", *(["p"] if p_values else []))
    table.columns[0].overflow = "fold"
    for name, report in reports.items():
        in_kb, p = report.denominators["gold_in_kb"].recall_at_1, p_values.get(name)
        cells = [f"{report.n:,}", percent(report.recall_at_1, report.ci95), _NONE if in_kb is None else f"{in_kb:.2%}", f"{report.metrics['mrr']:.3f}"]
        table.add_row(name, *cells, *([_NONE if p is None else f"{p:.4f}"] if p_values else []))
    out.print(table)
    if p_values:
        out.print(f"p: that {next(iter(reports))} differs, by sign flips of documents")
    for name, report in reports.items():
        if report.missing:
            out.print(f"{name}: {report.missing:,} mentions without a line in the predictions, counted as wrong")
    if comparison:
        _show_pairs(comparison)


def _show_pairs(comparison: Comparison) -> None:
    table = score_table("pair", "difference", "only one", "p", "p (Holm)", "McNemar")
    table.columns[0].overflow = "fold"
    for pair in comparison.pairs:
        one = pair.difference
        mcnemar = _NONE if one.p_mcnemar is None else f"{one.p_mcnemar:.4f}"
        only = f"{one.only_a:g} : {one.only_b:g}"
        table.add_row(f"{pair.a} – {pair.b}", percent(one.delta, one.ci95), only, f"{one.p_sign_flip:.4f}", f"{one.p_holm:.4f}", mcnemar)
    out.print(table)
    out.print("p by sign flips of documents, adjusted over the pairs (Holm); McNemar counts mentions as if independent and is for reference only")
    if comparison.warning:
        out.print(f"warning: {comparison.warning}")
