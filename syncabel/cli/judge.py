"""`syncabel judge`: a language model says what the answers are that are not equal to gold; and how far two judges agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from syncabel.cli.console import out, print_json
from syncabel.cli.engine_options import EngineOptions
from syncabel.cli.judging import Judging, Order
from syncabel.cli.option_groups import with_option_groups
from syncabel.cli.writers import CHAT
from syncabel.errors import ConfigError
from syncabel.judge import Asked, Budget, JudgeSettings, labels_agreement, read_labels

__all__ = ["CAPPED", "MISSING", "judge"]

MISSING, CAPPED = 3, 4  # exit codes: some calls got no answer; the budget is spent
SHOWN = 3  # questions of a dry run


@dataclass(frozen=True, slots=True)
class JudgeOptions(EngineOptions):
    """The same for a judge: its votes must be able to differ, its answers are short."""

    temperature: Annotated[float, typer.Option(help="Of the sampling; above 0, or several votes are one.")] = 0.7
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 256


@with_option_groups
def judge(
    documents: Annotated[Path | None, typer.Argument(help="Annotated documents: JSON Lines or PubTator.")] = None,
    predictions: Annotated[Path | None, typer.Argument(help="What `syncabel link` wrote for them.")] = None,
    kb: Annotated[str | None, typer.Option(help="A knowledge base: its folder, or the name of a shipped one (doid).")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder: labels, summary, rejects, raw answers; it holds text.")] = None,
    *,
    engine: Annotated[str, typer.Option(help=f"What runs the model: {', '.join(CHAT)}.")] = "openai",
    votes: Annotated[int, typer.Option(help="Votes on each question; each takes two calls, one in either order.")] = 3,
    attempts: Annotated[int, typer.Option(help="Calls made at most where answers cannot be read.")] = 3,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    shots: Annotated[Path | None, typer.Option(help="Examples that a person labelled, JSON Lines; from train or dev, never from what is judged.")] = None,
    human: Annotated[Path | None, typer.Option(help="Human labels of some mentions: columns document_id, mention_id, label (.csv, .tsv, .jsonl).")] = None,
    agreement: Annotated[tuple[str, str] | None, typer.Option(help="Compare two files of labels instead; FILE.tsv:COLUMN for a published table.")] = None,
    shareable: Annotated[bool, typer.Option("--shareable", help="The owner of the documents lets their text go to other machines.")] = False,
    budget_requests: Annotated[int | None, typer.Option(help="Most calls, all that were ever made in the folder counted.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Most tokens read and written, likewise.")] = None,
    budget_cost: Annotated[float | None, typer.Option(help="Highest cost, likewise, by the prices given.")] = None,
    price_read: Annotated[float, typer.Option(help="Of a million tokens read.")] = 0.0,
    price_written: Annotated[float, typer.Option(help="Of a million tokens written.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show three questions and what is left to ask; ask and write nothing.")] = False,
    options: JudgeOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """What a prediction is that is not equal to gold: equivalent, broader, narrower, related or unrelated.

    Interrupted, the same command goes on where it stopped.  It ends with 3 where calls got no answer, with 4 where the budget is spent.
    """
    if agreement is not None:
        _agree(agreement, as_json)
        return
    if documents is None or predictions is None or kb is None or output is None:
        raise ConfigError("give DOCUMENTS, PREDICTIONS, --kb and --output; or --agreement FILE FILE")
    judging = Judging(
        Order(documents, predictions, kb, output, shots, human, shareable),
        engine,
        options,
        JudgeSettings(votes, attempts, seed),
        Budget(budget_requests, budget_tokens, budget_cost, price_read, price_written),
    )
    if dry_run:
        _show(judging, as_json)
        return
    asked, figures = judging.run()
    if as_json:
        print_json(figures)
    else:
        _tell(figures, asked, output)
    if asked.capped or asked.failures:
        raise typer.Exit(CAPPED if asked.capped else MISSING)


def _agree(sources: tuple[str, str], as_json: bool) -> None:
    """Two files of labels beside each other."""
    first, second = (read_labels(source) for source in sources)
    found = labels_agreement(first, second)
    if as_json:
        print_json(found)
        return
    for name, what in (("all", "labelled by both"), ("not_equal", "of them not equal by their codes")):
        one = found[name]
        out.print(f"{one['n']:,} mentions {what}: the same label for {_share(one['same'])}, kappa {_number(one['kappa'])}, alpha {_number(one['alpha'])}")
    out.print(f"labelled in one file only: {found['only_first']:,} and {found['only_second']:,}")
    for label, row in found["not_equal"]["confusion"].items():
        out.print(f"  {label}: " + ", ".join(f"{count:,} {other}" for other, count in row.items()))


def _show(judging: Judging, as_json: bool) -> None:
    """Questions, and what is left to ask."""
    plan = judging.plan()
    if as_json:
        print_json(plan)
        return
    for question in judging.questions[:SHOWN]:
        for message in judging.messages(question):
            out.print(f"── {message.role}\n{message.content}\n")
    _tell_how(plan)
    left, cost = plan["left"], plan["left_cost"]
    out.print(f"{plan['questions']:,} questions; left to ask: {_calls(left)}" + (f", at most {cost:,.2f} by the prices given" if cost else ""))


def _tell(figures: dict[str, Any], asked: Asked, output: Path) -> None:
    _tell_how(figures)
    for label, count in figures["counts"].items():
        out.print(f"  {count:,} {label}")
    valid, broad = figures["valid"], figures["broad"]
    if figures["complete"]:
        out.print(f"valid (equal or equivalent): {_share(valid['value'])} [{_share(valid['ci95'][0])}, {_share(valid['ci95'][1])}], {_whose_error(figures)}")
        out.print(f"broader or part of gold: {_share(broad['value'])} [{_share(broad['ci95'][0])}, {_share(broad['ci95'][1])}]")
    else:
        out.print(f"valid (equal or equivalent): between {_share(valid['least'])} and {_share(valid['most'])}, as what is left to ask turns out")
    votes = figures["votes"]
    out.print(f"both orders agree in {_share(votes['orders_agree'])} of {votes['pairs']:,} pairs of votes; alpha of all votes {_number(votes['alpha'])}")
    if votes["unreadable"]:
        out.print(f"{votes['unreadable']:,} votes were given up, for no answer could be read → {output / 'rejected.jsonl'}")
    if asked.failures:
        out.print(f"{asked.failures:,} calls got no answer ({asked.first_failure}); run the same command again to ask for them")
    if asked.capped:
        out.print(f"the budget is spent: {_calls(figures['left'])} are left; raise it and run the same command again to go on")
    out.print(f"labels → {output / 'labels.jsonl'}")


def _calls(left: dict[str, int]) -> str:
    return f"{left['requests']:,} calls (about {left['read']:,} tokens read, at most {left['written']:,} written)"


def _tell_how(figures: dict[str, Any]) -> None:
    how = ", ".join(f"{count:,} {name}" for name, count in figures["how"].items())
    out.print(f"{figures['n']:,} mentions with a gold answer: {how}; beside them {figures['nil']:,} NIL, {figures['unannotated']:,} not annotated")


def _whose_error(figures: dict[str, Any]) -> str:
    people = figures["human"]
    if people is None:
        return "without the judge's own error: give --human labels for it"
    agreed, corrected = people["asked"], people["corrected"]
    said = f"kappa with people {_number(agreed['kappa'])} on {agreed['n']:,} asked mentions"
    if corrected is None or corrected["value"] is None:
        return f"{said}; not corrected: people labelled none of those judged valid, or none of the others"
    low, high = corrected["ci95"]
    return f"{said}; corrected for the judge's error {_share(corrected['value'])} [{_share(low)}, {_share(high)}]"


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
