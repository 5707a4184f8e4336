"""A training from its settings to the exported folder."""

import json
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import set_seed

from syncabel.errors import CheckpointError, ConfigError, PreemptedError, TrainingError
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.sft import iter_examples, read_type_table
from syncabel.slurm import STATUS_FILE
from syncabel.train.arguments import Settings
from syncabel.train.batch import named_batch
from syncabel.train.callbacks import BestPlace, Budget, Interrupt, Patience, RunMark, StepLog
from syncabel.train.checkpoints import checkpoints, last_complete, log_of, of_other_runs, parts_of, require_complete, run_of, seconds_used, set_aside
from syncabel.train.curves import CURVES, draw_curves
from syncabel.train.data import RunData, build_run
from syncabel.train.dev import DevSample
from syncabel.train.model import adapter_config, load_model, load_tokenizer, merged
from syncabel.train.notify import Outcome, State, Webhook
from syncabel.train.optimizer import muon_factory
from syncabel.train.record import (
    LOG,
    as_written,
    decisive,
    differences,
    digest_of,
    file_digests,
    items_per_step,
    outcome,
    plan_of,
    public,
    read_run,
    reasons,
    write_run,
)
from syncabel.train.sources import example_files, load_sources, mode_of
from syncabel.train.trainer import LESS_MEMORY, RECALL, LinkingTrainer, good_checkpoint, in_one_line, is_of_writing, is_out_of_memory, refused
from syncabel.types import Document, to_json

__all__ = ["Result", "make_trainer", "train"]

SCRATCH = "last"  # folder of output_dir for weights on their way from several processes, or from 4 bits, into one model


@dataclass(frozen=True)
class Result:
    """What a training gave.

    Attributes:
        folder: the exported model.
        steps: optimizer steps.
        chosen_step: the step whose weights are exported.
        loss: mean loss over the last logged steps, natural log per loss token; NaN where nothing was logged.
        seconds: of training, reruns added up.
        dev: n, recall_at_1 (constrained, a fraction) and its interval on the dev sample; None without dev documents.
        run: the record of the training, as run.json has it.
    """

    folder: Path
    steps: int
    chosen_step: int
    loss: float
    seconds: float
    dev: dict[str, Any] | None
    run: dict[str, Any]

    @property
    def recall_at_1(self) -> float | None:
        """On the dev sample, a fraction; None without dev documents."""
        return None if self.dev is None else float(self.dev["recall_at_1"])


def train(settings: Settings) -> Result:
    """Train and export; with a complete checkpoint of the same run in output_dir, go on from it, and a finished run is not done again.

    Raises:
        SyncabelError: settings or files that do not fit together; nothing has been trained then.
        TrainingError: a loss that is no number, or a checkpoint that cannot be written.
        PreemptedError: after SIGTERM or SIGUSR1; a checkpoint was saved.
        KeyboardInterrupt: after Ctrl-C; a checkpoint was saved.
    """
    with _telling(settings) as told:
        result = _trained(settings)
        told |= _figures(result)
    return result


def _trained(settings: Settings) -> Result:
    trainer, data, interrupt = make_trainer(settings)
    if (done := _finished(settings, trainer)) is not None:
        return done
    checkpoint = _checkpoint(settings, trainer)
    if checkpoint is not None and any(patience.over(log_of(checkpoint)) for patience in _patience(settings)):
        trainer.end_at(int(checkpoint.name.rpartition("-")[2]))  # it had stopped early there
    if settings.sft.process_index == 0:
        write_run(settings.output, trainer.plan)
    with interrupt.listening(), _without_noise(), _within_memory(settings, trainer):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if interrupt.asked is not None:
        trainer.accelerator.wait_for_everyone()  # a launcher ends the other processes as soon as one has ended
    if interrupt.asked is not None and interrupt.preempted:
        raise PreemptedError(interrupt.asked.name, settings.output)
    if interrupt.asked is not None:
        raise KeyboardInterrupt
    trainer.budget.stop()
    return _finish(settings, trainer, data)


@contextmanager
def _telling(settings: Settings) -> Iterator[dict[str, str]]:
    """Tell the webhook, where there is one, how the run ends; the figures are what the body put into the dictionary."""
    own, figures = settings.own, dict[str, str]()
    hook = None if own.webhook == "none" or settings.sft.process_index else Webhook.from_environment(own.webhook)

    def tell(state: State) -> None:
        if hook is not None:
            hook.tell(Outcome(state, settings.title, figures))

    try:
        yield figures
    except (PreemptedError, SystemExit):  # the latter where the signal came outside the steps
        tell("requeued" if STATUS_FILE in os.environ else "stopped")  # the script that sets it queues the job again
        raise
    except KeyboardInterrupt:
        tell("interrupted")
        raise
    except BaseException as error:
        # The kind only: a message may name files, and somebody else's exception may hold text.
        figures["error"] = type(error).__name__
        tell("failed")
        raise
    tell("finished")


def _figures(result: Result) -> dict[str, str]:
    figures = {"steps": f"{result.steps:,}", "loss": _loss(result.loss).removeprefix("loss "), "seconds": f"{result.seconds:.0f}"}
    return figures if result.dev is None else figures | {"dev Recall@1": f"{result.dev['recall_at_1']:.3f} (n = {result.dev['n']:,})"}


def _finished(settings: Settings, trainer: LinkingTrainer) -> Result | None:
    """What the very same run gave when it ended before; None where it did not end, or its model is gone."""
    run = read_run(settings.output)
    same = run is not None and run["result"] is not None and all(run[key] == as_written(trainer.plan[key]) for key in ("config", "digests"))
    if run is None or not same or not settings.own.resume or not _is_of(settings.model_folder, run):
        return None
    result = run["result"]
    if settings.sft.process_index == 0:
        print(f"{settings.model_folder}: finished before, with these very settings and files; set resume: false to train again", file=sys.stderr)
    loss = math.nan if result["loss"] is None else result["loss"]
    return Result(settings.model_folder, result["steps"], result["chosen_step"], loss, result["seconds"], result["dev"], run)


def _is_of(model: Path, run: Mapping[str, Any]) -> bool:
    """Whether a model folder is there and what this run exported: another run may have been given the same folder since."""
    try:
        told = json.loads((model / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    exported = isinstance(told, dict) and all(told.get(key) == run[key] for key in ("digests", "seeds", "result"))
    return exported and any(model.glob("*.safetensors"))


@contextmanager
def _without_noise() -> Iterator[None]:
    """Warnings that say nothing here."""
    with warnings.catch_warnings():
        # CPU machines: torch's loader warns that there is nothing to pin memory for.
        warnings.filterwarnings("ignore", message=".*pin_memory.*", category=UserWarning)
        # peft says that it keeps the embedding beside an adapter where a separator was added: what a checkpoint needs.
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`", category=UserWarning)
        logger = logging.getLogger("transformers.trainer")
        logger.addFilter(_is_news)
        try:
            yield
        finally:
            logger.removeFilter(_is_news)


@contextmanager
def _within_memory(settings: Settings, trainer: LinkingTrainer) -> Iterator[None]:
    """Memory that runs out in a step is said in one line, with what to do.

    Raises:
        TrainingError: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        good = good_checkpoint(settings.output, trainer.mark.digest)
        raise TrainingError(f"step {trainer.state.global_step + 1}: the {settings.sft.device.type} device's memory is full; {good}: {LESS_MEMORY}") from error


def _is_news(record: logging.LogRecord) -> bool:
    """A checkpoint of a model with tied embeddings has no output layer of its own, and transformers warns of it each time."""
    return record.getMessage() != "There were missing keys in the checkpoint model loaded: ['lm_head.weight']."


def make_trainer(settings: Settings) -> tuple[LinkingTrainer, RunData, Interrupt]:
    """Everything loaded, checked and laid out; what was left out is written to output_dir/rejected.jsonl."""
    own, sft = settings.own, settings.sft
    set_seed(sft.seed)
    tokenizer = load_tokenizer(settings)
    lexicon = Lexicon.load(own.lexicon)
    lexicon.check_tokenizer(tokenizer)
    dev = _dev(settings, lexicon, tokenizer)
    data = build_run(
        load_sources(settings, lexicon, tokenizer),
        ratio=mode_of(settings),
        max_steps=sft.max_steps,
        epochs=sft.num_train_epochs,
        items_per_step=items_per_step(settings),
        packing=settings.max_length if sft.packing else None,
        bucket_batches=own.bucket_batches,
        max_repeats=own.max_repeats,
        seed=sft.seed,
    )
    if sft.process_index == 0:
        _report(data, settings.output)
    why = reasons(settings, None if sft.max_steps > 0 else sft.num_train_epochs)
    sft.max_steps, sft.num_train_epochs = data.steps, 1
    _set_selection(settings)
    files = file_digests(settings)
    parts = decisive(settings, data, files, lexicon)
    processes = 0 if sft.save_on_each_node else sft.world_size
    budget, interrupt, mark = Budget(own.max_minutes), Interrupt(), RunMark(digest_of(parts), parts, why, processes)
    trainer = _trainer(
        settings,
        tokenizer,
        args=sft,
        train_dataset=data.dataset,
        eval_dataset=None if dev is None else _named(dev),
        peft_config=adapter_config(settings, tokenizer),
        optimizer_cls_and_kwargs=_optimizer(settings),
        callbacks=[budget, interrupt, mark, BestPlace(), StepLog(settings.output / LOG), *_patience(settings)],
        dev=dev,
        budget=budget,
        mark=mark,
        trie=lexicon.trie,
        contrast_weight=own.contrast,
        negatives=own.negatives,
        where_is=partial(named_batch, settings, data, files),
    )
    trainer.plan = plan_of(settings, data, lexicon, tokenizer, trainer.model, files)
    return trainer, data, interrupt


def _trainer(settings: Settings, tokenizer: Any, **named: Any) -> LinkingTrainer:
    """The trainer with its model.

    Raises:
        ConfigError: what transformers, TRL or peft refuse to put together.
    """
    try:
        return LinkingTrainer(model=load_model(settings, tokenizer), processing_class=tokenizer, **named)
    except (ValueError, ImportError, RuntimeError) as error:
        if settings.model.use_peft and "arget modules" in str(error):
            raise ConfigError(f"lora_target_modules {settings.model.lora_target_modules!r}: the model has none of that name; give all-linear") from None
        raise refused("model and trainer", error) from error


def _set_selection(settings: Settings) -> None:
    """Tell transformers which checkpoint is to be exported; `selection` is the only word on it."""
    sft = settings.sft
    sft.load_best_model_at_end = settings.selects
    sft.metric_for_best_model, sft.greater_is_better = (RECALL, True) if settings.selects else (None, None)
    # A loss that is no number ends training here, so it need not be hidden in the log.
    sft.logging_nan_inf_filter = False


def _patience(settings: Settings) -> list[Patience]:
    return [] if settings.own.early_stopping is None else [Patience(settings.own.early_stopping, RECALL)]


def _optimizer(settings: Settings) -> tuple[Any, dict[str, Any]] | None:
    """Muon where it is asked for; None leaves the choice to `optim`."""
    factor, sft = settings.own.muon_factor, settings.sft
    if factor is None:
        return None
    betas = (sft.adam_beta1, sft.adam_beta2)
    return muon_factory, {"lr": sft.learning_rate, "muon_factor": factor, "betas": betas, "eps": sft.adam_epsilon, "weight_decay": sft.weight_decay}


def _dev(settings: Settings, lexicon: Lexicon, tokenizer: Any) -> DevSample | None:
    own = settings.own
    if not own.dev_documents:
        return None
    from syncabel.corpora import read_jsonl
    from syncabel.corpora.corpus import refuse_test
    from syncabel.corpora.split import part_of_dev

    documents = read_jsonl(own.dev_documents).documents
    refuse_test(documents, own.dev_documents)
    _refuse_trained(documents, settings)
    documents = part_of_dev(documents, own.dev_part)
    type_map = TypeMap(lexicon.groups, _type_table(own.types))
    rest = {"lexicon": lexicon, "tokenizer": tokenizer, "fmt": own.format, "type_map": type_map, "num_beams": own.dev_beams}
    return DevSample.draw(documents, own.dev_sample, own.dev_seed, **rest)


def _refuse_trained(documents: Sequence[Document], settings: Settings) -> None:
    """Keep documents that the human examples are of out of dev: what was learnt by heart would choose the checkpoint.

    Raises:
        ConfigError: a document is on both sides.
    """
    human = example_files(settings).get("human")
    if human is None:
        return
    trained = {example.document_id for example in iter_examples(human)}
    if both := [document.id for document in documents if document.id in trained]:
        raise ConfigError(f"{settings.own.dev_documents}: {len(both)} documents are those of examples in {human} (first: {both[0]}); leave them out of one")


def _type_table(path: str | None) -> dict[str, tuple[str, ...]]:
    return {} if path is None else read_type_table(path)


def _named(dev: DevSample) -> Any:
    """The dev mentions by name: the trainer wants a data set to evaluate on, and evaluation goes by `dev`."""
    from datasets import Dataset

    return Dataset.from_dict({"mention": [f"{query.document.id}#{query.mention.id}" for query in dev.queries]})


def _report(data: RunData, folder: Path) -> None:
    """Print the accounting and write what was left out."""
    print(data.mixture.report, file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    rejects = folder / "rejected.jsonl"
    rejects.write_text("".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in data.rejected), encoding="utf-8")
    print(f"dropped by max_length: {len(data.rejected):,} examples{f' → {rejects}' if data.rejected else ''}; {data.steps:,} steps", file=sys.stderr)


def _checkpoint(settings: Settings, trainer: LinkingTrainer) -> Path | None:
    """The checkpoint to go on from, if there is one; says which were passed over and why, and moves those of other runs away.

    Raises:
        ConfigError: output_dir holds checkpoints, all of other runs, or the one named by hand is; with what changed.
        IncompleteFolderError: the one named by hand is not whole.
    """
    sft, folder, mark = settings.sft, settings.output, trainer.mark
    passed: list[str] = []
    aside: list[Path] = []
    if sft.resume_from_checkpoint:
        checkpoint: Path | None = require_complete(Path(sft.resume_from_checkpoint))
        if run_of(Path(sft.resume_from_checkpoint)) != mark.digest:
            raise ConfigError(f"{checkpoint} is of another run ({_changed(Path(sft.resume_from_checkpoint), mark)}); leave resume_from_checkpoint out")
    elif settings.own.resume:
        checkpoint, passed = last_complete(folder, mark.digest)
        aside = of_other_runs(folder, mark.digest)
        if checkpoint is None and aside:
            changed = _changed(aside[-1], mark)
            raise ConfigError(
                f"{folder}: its checkpoints are of a run with other data or settings ({changed}); give another output_dir, delete it, or set resume: false"
            )
    else:
        checkpoint, aside = None, checkpoints(folder)
    trainer.accelerator.wait_for_everyone()  # all have looked before one moves
    if sft.process_index == 0:
        for line in passed:
            print(line, file=sys.stderr)
        if aside:
            print(f"checkpoints that this run does not go on from were moved to {set_aside(folder, aside)}", file=sys.stderr)
    if checkpoint is not None:
        trainer.budget.seconds_before = seconds_used(checkpoint)
        if sft.process_index == 0:
            print(f"going on from {checkpoint}", file=sys.stderr)
    return checkpoint


def _changed(checkpoint: Path, mark: RunMark) -> str:
    parts, why = parts_of(checkpoint)
    return differences(parts, mark.parts, why, mark.reasons)


def _finish(settings: Settings, trainer: LinkingTrainer, data: RunData) -> Result:
    """Judge, merge, export, and write down what was measured; one process writes."""
    judged = trainer.judged()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    steps = trainer.state.global_step
    chosen = int(trainer.state.best_global_step or steps) if settings.selects else steps
    loss = float(losses[-1]) if losses else math.nan
    run = trainer.plan | outcome(settings, data, steps, chosen, loss, trainer.budget.seconds, judged)
    result = Result(settings.model_folder, steps, chosen, loss, run["result"]["seconds"], run["result"]["dev"], run)
    model = _whole_model(trainer, settings)
    if trainer.is_world_process_zero():
        _export(settings, trainer, model, result, run)
        shutil.rmtree(settings.output / SCRATCH, ignore_errors=True)
        draw_curves(trainer.state.log_history, settings.output / CURVES, result.folder.resolve().name, chosen if settings.selects else None)
        write_run(settings.output, run)
        print(f"{result.folder}: {steps:,} steps, {_loss(loss)}, {result.seconds:.0f} s{_chosen(result)}", file=sys.stderr)
    trainer.accelerator.wait_for_everyone()
    return result


def _loss(loss: float) -> str:
    return "no loss was logged" if math.isnan(loss) else f"loss {loss:.4f}"


def _chosen(result: Result) -> str:
    return "" if result.dev is None else f"; step {result.chosen_step:,}: Recall@1 {result.dev['recall_at_1']:.3f} on {result.dev['n']:,} dev mentions"


def _whole_model(trainer: LinkingTrainer, settings: Settings) -> Any:
    """The trained model in one piece, its adapter merged; None in the processes that do not export."""
    scratch = settings.output / SCRATCH
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if trainer.is_fsdp_enabled:
        # Checkpoints lie in shards, one per process; of the type that they have, `save_model` would write nothing.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if sharded:
        with _writing(scratch, trainer):
            trainer.save_model(str(scratch))  # all processes gather
    if not trainer.is_world_process_zero():
        return None
    if not sharded:
        with _writing(scratch, trainer):  # the adapter of a quantised model
            return merged(trainer.accelerator.unwrap_model(trainer.model), settings, trainer.processing_class, scratch)
    if settings.model.use_peft:
        from peft import PeftModel

        settings.model.load_in_4bit = settings.model.load_in_8bit = False
        return merged(PeftModel.from_pretrained(load_model(settings, trainer.processing_class), scratch), settings, trainer.processing_class, scratch)
    from transformers import AutoModelForCausalLM

    # Its updated weights are float32 where the model was loaded with fewer bits.
    return AutoModelForCausalLM.from_pretrained(scratch, dtype=settings.model.dtype or "auto")


def _export(settings: Settings, trainer: LinkingTrainer, model: Any, result: Result, run: Mapping[str, Any]) -> None:
    from syncabel.export import export_model
    from syncabel.export.card import Facts

    own = settings.own
    facts = Facts(
        name=result.folder.resolve().name,
        base_model=settings.model.model_name_or_path or "random",
        language=own.language,
        licence=own.licence,
        types=_type_table(own.types),
        run=public(run),
    )
    # TRL patched forward on this very object; the class' own is what the exported weights are run with.
    model.__dict__.pop("forward", None)
    model.to("cpu")
    with _writing(result.folder, trainer):
        export_model(model, trainer.processing_class, own.lexicon, result.folder, own.format, facts)


@contextmanager
def _writing(folder: Path, trainer: LinkingTrainer) -> Iterator[None]:
    """What cannot be written after the last step is one line, and the scratch folder is not left half written.

    Raises:
        CheckpointError: with the last checkpoint, from which a rerun goes on.
    """
    try:
        yield
    except Exception as error:
        if not is_of_writing(error):
            raise
        if folder.name == SCRATCH:
            shutil.rmtree(folder, ignore_errors=True)
        output = Path(str(trainer.args.output_dir))
        raise CheckpointError(folder, in_one_line(error), good_checkpoint(output, trainer.mark.digest)) from error
