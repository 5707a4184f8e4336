"""`syncabel evaluate`: documents beside predictions, or one of the published formats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from syncabel.cli.evaluate_documents import DocumentsOptions, score_documents
from syncabel.cli.evaluate_spans import SpansOptions, score_spans
from syncabel.cli.evaluate_tables import score_tsv, show_belb
from syncabel.cli.outputs import refuse_inputs
from syncabel.errors import ConfigError
from syncabel.evaluate import PROTOCOLS, evaluate_belb

__all__ = ["evaluate"]


def evaluate(
    documents: Annotated[Path | None, typer.Argument(help="Annotated documents: JSON Lines or PubTator.")] = None,
    predictions: Annotated[list[Path] | None, typer.Argument(help="What `syncabel link` wrote for them; one file a system.", show_default=False)] = None,
    kb: Annotated[str | None, typer.Option(help="A knowledge base: its folder, or the name of a shipped one (doid).")] = None,
    train: Annotated[list[Path] | None, typer.Option(help="Training documents, for strata and baselines; repeat for more files.")] = None,
    synthetic: Annotated[list[Path] | None, typer.Option(help="Synthetic training documents, for the strata.")] = None,
    protocol: Annotated[str, typer.Option(help=f"What is right: {', '.join(PROTOCOLS)}.")] = "set",
    baselines: Annotated[bool, typer.Option("--baselines", help="Score the baselines beside it, fitted on --train.")] = False,
    encoder: Annotated[str | None, typer.Option(help="With --baselines: a sentence encoder (minilm, sapbert, a folder …) for dense retrieval.")] = None,
    encoder_cache: Annotated[Path | None, typer.Option(help="Folder that keeps the encoder's vectors, so that a knowledge base is encoded once.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="RUN", help="Write it all here, for `syncabel report`; holds text of the corpus.")
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="What to call a system, in the order of PREDICTIONS; else as its file.")] = None,
    seeds: Annotated[bool, typer.Option("--seeds", help="Files of the same --name are seeds of one system: a second level in the paired table.")] = False,
    model: Annotated[list[Path] | None, typer.Option(help="A system's model folder, in the order of PREDICTIONS; its training.json goes into RUN.")] = None,
    misses: Annotated[Path | None, typer.Option(help="Write every miss and its cause here; holds text of the corpus.")] = None,
    tsv: Annotated[Path | None, typer.Option(help="Score a table in the published format instead.")] = None,
    versus: Annotated[Path | None, typer.Option(help="With --tsv: another system's table, compared mention by mention.")] = None,
    judge_column: Annotated[str | None, typer.Option(help="With --tsv: a column of a judge's labels, e.g. LLM_Evaluation_v2.")] = None,
    belb: Annotated[Path | None, typer.Option(help="Score a BELB file, strict and lenient, instead.")] = None,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="For a system that found its mentions: DOCUMENTS and PREDICTIONS are any corpora, linked mentions or CSVs.")
    ] = False,
    iou: Annotated[str | None, typer.Option(help="With --end-to-end: character IoU, by the SNOMED challenge's rule of 2024 or 2026.")] = None,
    oracle_spans: Annotated[Path | None, typer.Option(help="With --end-to-end: predictions made on gold spans.")] = None,
    oracle_types: Annotated[Path | None, typer.Option(help="With --end-to-end: predictions made with gold types.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Recall@1 with its interval, by stratum, and a cause for every miss."""
    _refuse_combinations(locals())
    refuse_inputs([misses, output], [documents, *(predictions or ()), *(train or ()), *(synthetic or ())])
    if end_to_end:
        if documents is None or not predictions or len(predictions) != 1:
            raise ConfigError("--end-to-end scores one system; give DOCUMENTS and one file of PREDICTIONS")
        if train or synthetic or baselines or output or misses or name or model:
            raise ConfigError("--end-to-end takes --kb, --protocol, --iou, --oracle-spans, --oracle-types and --json; leave the other options out")
        score_spans(SpansOptions(documents, predictions[0], kb, protocol, iou, oracle_spans, oracle_types, json_))
    elif tsv:
        score_tsv(tsv, versus, judge_column, train or [], json_)
    elif belb:
        show_belb(evaluate_belb(belb), json_)
    elif documents:
        if not predictions or kb is None:
            raise ConfigError("documents are scored with predictions and a knowledge base; give DOCUMENTS, then PREDICTIONS, and --kb")
        options = DocumentsOptions(
            documents, predictions, kb, train or [], synthetic or [], protocol, name or [], seeds, model or [],
            baselines, encoder, encoder_cache, misses, output, json_,
        )  # fmt: skip
        score_documents(options)


def _refuse_combinations(given: Mapping[str, Any]) -> None:
    """Options that mean nothing beside each other, by their names."""

    def some(*names: str) -> bool:
        return any(given[name] for name in names)

    if sum(given[name] is not None for name in ("documents", "tsv", "belb")) != 1:
        raise ConfigError("give DOCUMENTS and PREDICTIONS, or --tsv FILE, or --belb FILE")
    if some("versus", "judge_column") and not some("tsv"):
        raise ConfigError("--versus and --judge-column go with --tsv FILE; give it")
    if some("iou", "oracle_spans", "oracle_types") and not some("end_to_end"):
        raise ConfigError("--iou, --oracle-spans and --oracle-types go with --end-to-end; give it")
    of_documents = some("kb", "synthetic", "baselines", "output", "misses", "name", "model") or given["protocol"] not in ("set", "syncabel")
    if some("tsv", "belb") and (of_documents or (some("belb") and some("train"))):
        raise ConfigError("--tsv and --belb score a table by its own rule, --tsv by --train's strata as well; leave out the options of documents")
    if some("encoder") and not some("baselines"):
        raise ConfigError("--encoder is for the dense baseline; give --baselines, too")
    if some("seeds") and not some("name"):
        raise ConfigError("--seeds goes by names; give every file the --name of its system")
    if some("encoder_cache") and not some("encoder"):
        raise ConfigError("--encoder-cache keeps an encoder's vectors; give --encoder, too")
