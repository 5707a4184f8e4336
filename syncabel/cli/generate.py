"""`syncabel generate`: training sentences for the concepts of a knowledge base."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from data_gen import Manifest
from data_gen.report import write_page
from syncabel.cli.config_file import config_option
from syncabel.cli.console import out, print_json
from syncabel.cli.engine_options import EngineOptions
from syncabel.cli.generation import Order, Work
from syncabel.cli.option_groups import with_option_groups
from syncabel.cli.writers import CHAT, WRITERS
from syncabel.errors import UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.types import to_json

__all__ = ["MISSING", "generate"]

MISSING = 3  # exit code of a run some of whose requests got no answer
PAGE = "report.html"
SHOWN = 3  # prompts of a dry run


@with_option_groups
def generate(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder to write: documents, rejects, raw answers, report.html, report.json, manifest.json."),
    ],
    *,
    config: Annotated[str | None, config_option("generate")] = None,
    writer: Annotated[str, typer.Option(help=f"Who writes: {', '.join(WRITERS)}.")] = "template",
    per_concept: Annotated[int, typer.Option(help="Sentences wanted per concept.")] = 5,
    rounds: Annotated[int | None, typer.Option(help="How often concepts short of them are asked again; 2 with a model.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    select: Annotated[str, typer.Option(help="Which concepts: all, unseen (in no training mention), or budget (the most useful first).")] = "all",
    concepts: Annotated[int | None, typer.Option(help="So many of them, drawn with the seed.")] = None,
    codes: Annotated[Path | None, typer.Option(help="File with one code a line, instead of a selection.")] = None,
    hold_out: Annotated[float, typer.Option(help="Share of the unseen concepts kept out of synthesis, a fraction.")] = 0.0,
    budget_requests: Annotated[int | None, typer.Option(help="With --select budget: most requests.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="With --select budget: most tokens, read and written.")] = None,
    train: Annotated[list[Path] | None, typer.Option(help="Human training documents: what is seen, and style examples; repeat for several.")] = None,
    texts: Annotated[list[Path] | None, typer.Option(help="Unlabelled text, one a line: how often concepts are named.")] = None,
    held_out: Annotated[list[Path] | None, typer.Option(help="Dev and test documents that no sentence may overlap.")] = None,
    shots: Annotated[int, typer.Option(help="Style examples per group, from --train.")] = 5,
    shareable: Annotated[bool, typer.Option("--shareable", help="The owner of --train lets its text go to other machines.")] = False,
    confusable: Annotated[int, typer.Option(help="Nearest names of other concepts told to a language model.")] = 5,
    template: Annotated[list[str] | None, typer.Option(help="Setting of the template writer as name=value, e.g. names=preferred, unchanged_share=1.")] = None,
    language: Annotated[str, typer.Option(help="Language of the sentences: a file of data_gen/prompts.")] = "en",
    prompt: Annotated[list[str] | None, typer.Option(help="Setting of the prompts as name=value, e.g. per_request=3, negated=0.1.")] = None,
    gate: Annotated[list[str] | None, typer.Option(help="Setting of the gates as name=value, e.g. near_duplicate=0.8.")] = None,
    without_gate: Annotated[list[str] | None, typer.Option(help="Gate switched off, for an ablation.")] = None,
    relink: Annotated[bool, typer.Option("--relink", help="Have the model say what each sentence means; what means something else is not kept.")] = False,
    scores: Annotated[bool | None, typer.Option(help="Record rank and distance of every mention; on with a language model.", show_default=False)] = None,
    options: EngineOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show three prompts and what the plan costs; write nothing.")] = False,
    tokens_per_s: Annotated[float, typer.Option(help="--dry-run: tokens the engine writes in a second.")] = 2500.0,
    again: Annotated[bool, typer.Option("--reparse", help="Parse and judge the stored answers again; no model is asked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Write varied sentences that mention each concept; interrupted, the same command goes on where it stopped."""
    given = locals()
    if writer not in WRITERS:
        raise UnknownNameError("writer", writer, WRITERS)
    chat = writer in CHAT
    work = Work(
        KnowledgeBase.load(kb),
        Order(**{field.name: given[field.name] for field in fields(Order)}),
        options,
        scored=chat if scores is None else scores,
        rounds=2 * chat if rounds is None else rounds,
        stored=again,
    )
    if dry_run:
        _show(work, tokens_per_s, as_json)
        return
    done = work.again() if again and (output / "manifest.json").exists() else work.run(ask=not again)
    write_page(output, output / PAGE, groups=work.groups, withheld=work.is_private)
    _tell(done, output, as_json)
    if done.missing:
        raise typer.Exit(MISSING)


def _show(work: Work, tokens_per_s: float, as_json: bool) -> None:
    """Prompts, and what the plan costs."""
    cost, facts = work.estimate(tokens_per_s), work.plan.facts
    if as_json:
        print_json({"concepts": len(work.codes), "plan": to_json(facts), "estimate": to_json(cost)})
        return
    for code, messages in work.prompts(SHOWN):
        for message in messages:
            out.print(f"── {code} · {message.role}\n{message.content}\n")
    requests, read, written, seconds = cost.per_concept
    out.print(f"{facts.concepts:,} concepts, {facts.unseen:,} in no training mention, {facts.held_out:,} held out; {len(work.codes):,} to be written about")
    out.print(f"{cost.requests:,} requests, about {cost.prompt_tokens:,} tokens read and {cost.completion_tokens:,} written")
    out.print(f"about {cost.hours:,.2f} h at {tokens_per_s:,.0f} tokens/s written")
    out.print(f"per concept: {requests:.1f} requests, {read:,.0f} tokens read, {written:,.0f} written, {seconds:.2f} s")


def _tell(done: Manifest, output: Path, as_json: bool) -> None:
    if as_json:
        print_json({name: to_json(getattr(done, name)) for name in ("requested", "generated", "kept", "rejected", "reasons", "missing", "short")})
        return
    out.print(f"{done.kept:,} kept + {done.rejected:,} rejected = {done.generated:,} generated → {output / 'documents.jsonl'}")
    for reason, count in done.reasons.items():
        out.print(f"  {count:,} {reason} → {output / 'rejected.jsonl'}")
    if done.short:
        out.print(f"{done.short:,} concepts have fewer sentences than wanted; see {output / PAGE}")
    if done.missing:
        out.print(
            f"{done.missing:,} sentences are missing: their requests got no answer ({output / 'missing.jsonl'}); run the same command again to ask for them"
        )
