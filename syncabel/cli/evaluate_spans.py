"""`syncabel evaluate GOLD PRED --end-to-end`: systems that find their own mentions."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.table import Table

from syncabel.cli.console import out, print_json
from syncabel.cli.evaluate_tables import score_table
from syncabel.cli.reading import say_unread
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate import (
    IOU_RULES,
    AnnotationSet,
    CharacterIou,
    EndToEndReport,
    Estimate,
    Rates,
    SpanScores,
    end_to_end_json,
    evaluate_end_to_end,
    read_annotations,
)
from syncabel.evaluate.characters import IouRule
from syncabel.evaluate.spans import CODE_PROTOCOLS, CRITERIA, WAYS, CodeProtocol, Way
from syncabel.kb import KnowledgeBase

__all__ = ["SpansOptions", "score_spans"]


@dataclass(frozen=True, slots=True)
class SpansOptions:
    """What the command was given.

    Attributes:
        gold, predictions: files of annotations.
        kb: folder or shipped name of what makes codes canonical, or None.
        protocol: what makes a code right.
        iou: the rule of character IoU, or None.
        oracle_spans, oracle_types: predictions made with help of gold, or None.
        json: print one JSON object.
    """

    gold: Path
    predictions: Path
    kb: str | None
    protocol: str
    iou: str | None
    oracle_spans: Path | None
    oracle_types: Path | None
    json: bool

    def __post_init__(self) -> None:
        if self.protocol not in CODE_PROTOCOLS:
            raise ConfigError(f"--end-to-end has no protocol {self.protocol!r}; give one of {', '.join(CODE_PROTOCOLS)}")
        if self.iou is not None and self.iou not in IOU_RULES:
            raise UnknownNameError("rule of character IoU", self.iou, IOU_RULES)


def score_spans(options: SpansOptions) -> None:
    """Read, score and print."""
    kb = KnowledgeBase.load(options.kb) if options.kb else None
    gold, predicted = (_read(path, kb) for path in (options.gold, options.predictions))
    report = evaluate_end_to_end(
        gold,
        predicted,
        protocol=cast(CodeProtocol, options.protocol),
        iou=cast(IouRule | None, options.iou),
        oracle_spans=_read(options.oracle_spans, kb) if options.oracle_spans else None,
        oracle_types=_read(options.oracle_types, kb) if options.oracle_types else None,
    )
    if options.json:
        print_json(end_to_end_json(report))
    else:
        _show(report)


def _read(path: Path, kb: KnowledgeBase | None) -> AnnotationSet:
    found = read_annotations(path, kb)
    say_unread(found.rejections)
    return found


def _show(report: EndToEndReport) -> None:
    out.print(f"{report.gold:,} gold mentions and {report.predicted:,} predicted ones in {report.documents:,} documents")
    out.print(
        f"without a code: {report.nil_gold:,} gold mentions (NIL), {report.uncoded_gold:,} nobody looked up, {report.nil_predicted:,} predictions; "
        "on no side of criteria with a code"
    )
    for way in WAYS:
        out.print(_spans(report, way))
        for what, found in report.on_matched[way].items():
            if found:
                out.print(f"{way}: {what} right on {found.correct:,} of {found.n:,} matched mentions: {_said(found.accuracy)}")
    if (typed := report.spans["strict"]["span+type"]) and typed.by_group:
        out.print(_groups(typed, report.spans["strict"]["span+type+code"]))
    if report.notes:
        out.print(_averages("codes of a note", {"micro": report.notes.micro, "macro over notes": report.notes.macro}))
    if report.seqeval:
        macro, weighted = report.seqeval.macro, report.seqeval.weighted
        means = {"micro": report.seqeval.micro, **({"macro": macro} if macro else {}), **({"weighted": weighted} if weighted else {})}
        out.print(_averages("seqeval (type, start, end)", means))
    if report.characters:
        out.print(_characters(report.characters))
    if report.ablations:
        out.print(_gains(report))
    if report.warning:
        out.print(f"warning: {report.warning}")


def _spans(report: EndToEndReport, way: Way) -> Table:
    table = score_table(way, "gold", "matched", "precision", "recall", "F1")
    for criterion, one in report.spans[way].items():
        if one is None:
            table.add_row(criterion, *["–"] * 5)
        else:
            table.add_row(criterion, f"{one.gold:,}", f"{one.matched:,}", _bare(one.micro.precision), _bare(one.micro.recall), _said(one.micro.f1))
    return table


def _groups(typed: SpanScores, coded: SpanScores | None) -> Table:
    table = score_table("F1, strict", "gold", "predicted", "span+type", "span+type+code")
    for group, one in typed.by_group.items():
        of_code = coded.by_group.get(group) if coded else None
        table.add_row(group, f"{one.gold:,}", f"{one.predicted:,}", _bare(one.rates.f1), _bare(of_code.rates.f1 if of_code else None))
    table.add_row("macro", "", "", _f1(typed.macro), _f1(coded.macro if coded else None))
    table.add_row("weighted", "", "", _f1(typed.weighted), _f1(coded.weighted if coded else None))
    return table


def _averages(name: str, means: dict[str, Rates]) -> Table:
    table = score_table(name, "precision", "recall", "F1")
    for mean, one in means.items():
        table.add_row(mean, _bare(one.precision), _bare(one.recall), _said(one.f1))
    return table


def _characters(found: CharacterIou) -> Table:
    table = score_table(f"character IoU ({found.rule})", f"{found.concepts:,} concepts")
    table.add_row("macro", _said(found.macro))
    table.add_row("support-weighted (gold rows)", _said(found.support_weighted))
    table.add_row("weighted by gold characters", _said(found.character_weighted))
    return table


def _gains(report: EndToEndReport) -> Table:
    table = score_table("F1 gained by gold's help", *WAYS)
    for name, ablation in report.ablations.items():
        for criterion in CRITERIA:
            gains = [ablation.gains[way][criterion] for way in WAYS]
            table.add_row(f"{name}, {criterion}", *map(_f1, gains))
    return table


def _f1(value: Rates | None) -> str:
    return _said(value.f1 if value else None)


def _bare(value: Estimate | None) -> str:
    return "–" if value is None or value.value is None else f"{100 * value.value:.2f} %"


def _said(value: Estimate | None) -> str:
    return _bare(value) + (f" [{100 * value.ci95[0]:.2f}, {100 * value.ci95[1]:.2f}]" if value and value.ci95 else "")
