"""A training from its settings to the exported folder."""

import hashlib
import json
import math
import os
import platform
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from syncabel.errors import ConfigError
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.sft import read_examples, read_type_table
from syncabel.train.arguments import Settings
from syncabel.train.checkpoints import checkpoints, last_complete, of_other_runs, require_complete, seconds_used, set_aside
from syncabel.train.data import RunData, Tokens, build_run, check_format, encode_examples
from syncabel.train.model import adapter_config, load_model, load_tokenizer, merged
from syncabel.train.optimizer import muon_factory
from syncabel.train.trainer import Budget, DevSample, Interrupt, LinkingTrainer, RunMark
from syncabel.types import to_json

__all__ = ["Result", "make_trainer", "train"]

# Settings that decide the weights; a checkpoint is gone on from only under the same ones.
_DECISIVE = (
    *("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "seed", "bf16", "fp16", "packing"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "max_grad_norm"),
    *("optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
)


@dataclass(frozen=True)
class Result:
    """What a training gave.

    Attributes:
        folder: the exported model.
        steps: optimizer steps.
        loss: mean loss over the last logged steps, natural log per loss token; NaN where nothing was logged.
        seconds: of training, reruns added up.
        recall_at_1: constrained, on the dev sample; None without dev documents.
        training: label -> value, as the model card has it.
    """

    folder: Path
    steps: int
    loss: float
    seconds: float
    recall_at_1: float | None
    training: dict[str, str]


def train(settings: Settings) -> Result:
    """Train and export; with a complete checkpoint of the same run in output_dir, go on from it.

    Raises:
        SyncabelError: settings or files that do not fit together; nothing has been trained then.
        KeyboardInterrupt: after Ctrl-C; a checkpoint was saved.
    """
    trainer, data, interrupt = make_trainer(settings)
    checkpoint = _checkpoint(settings, trainer)
    with interrupt.listening(), warnings.catch_warnings():
        # CPU machines: torch's loader warns that there is nothing to pin memory for.
        warnings.filterwarnings("ignore", message=".*pin_memory.*", category=UserWarning)
        # peft says that it keeps the embedding beside an adapter where a separator was added: what a checkpoint needs.
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`", category=UserWarning)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if interrupt.asked:
        raise KeyboardInterrupt
    trainer.budget.seconds_before, trainer.budget.started = trainer.budget.seconds, None
    recall = trainer.dev.recall_at_1(trainer.model) if trainer.dev is not None else None
    return _finish(settings, trainer, data, recall)


def make_trainer(settings: Settings) -> tuple[LinkingTrainer, RunData, Interrupt]:
    """Everything loaded, checked and laid out; what was left out is written to output_dir/rejected.jsonl."""
    own, sft = settings.own, settings.sft
    set_seed(sft.seed)
    tokenizer = load_tokenizer(settings)
    lexicon = Lexicon.load(own.lexicon)
    lexicon.check_tokenizer(tokenizer)
    dev = _dev(settings, lexicon, tokenizer)
    sources = {name: _tokens(path, settings, lexicon, tokenizer) for name, path in _example_files(settings).items()}
    data = build_run(
        sources,
        ratio=_ratio(settings),
        max_steps=sft.max_steps,
        epochs=sft.num_train_epochs,
        items_per_step=sft.per_device_train_batch_size * sft.gradient_accumulation_steps * sft.world_size,
        packing=settings.max_length if sft.packing else None,
        bucket_batches=own.bucket_batches,
        max_repeats=own.max_repeats,
        seed=sft.seed,
    )
    if sft.process_index == 0:
        _report(data, settings.output)
    sft.max_steps, sft.num_train_epochs = data.steps, 1
    budget, interrupt, mark = Budget(own.max_minutes), Interrupt(), RunMark(_digest(settings, data))
    trainer = LinkingTrainer(
        model=load_model(settings, tokenizer),
        args=sft,
        train_dataset=data.dataset,
        eval_dataset=None if dev is None else _named(dev),
        processing_class=tokenizer,
        peft_config=adapter_config(settings, tokenizer),
        optimizer_cls_and_kwargs=_optimizer(settings),
        callbacks=[budget, interrupt, mark],
        dev=dev,
        budget=budget,
        mark=mark,
    )
    return trainer, data, interrupt


def _tokens(path: str, settings: Settings, lexicon: Lexicon, tokenizer: Any) -> Tokens:
    """The examples of a file, which were made as this run says."""
    examples = read_examples(path)
    check_format(examples, path, settings.own.format, lexicon)
    return encode_examples(examples, lexicon, tokenizer, settings.max_length, settings.own.word_cuts)


def _optimizer(settings: Settings) -> tuple[Any, dict[str, Any]] | None:
    """Muon where it is asked for; None leaves the choice to `optim`."""
    factor, sft = settings.own.muon_factor, settings.sft
    if factor is None:
        return None
    betas = (sft.adam_beta1, sft.adam_beta2)
    return muon_factory, {"lr": sft.learning_rate, "muon_factor": factor, "betas": betas, "eps": sft.adam_epsilon, "weight_decay": sft.weight_decay}


def _example_files(settings: Settings) -> dict[str, str]:
    files = {"human": settings.own.human_examples, "synthetic": settings.own.synthetic_examples}
    return {name: path for name, path in files.items() if path}


def _ratio(settings: Settings) -> str | None:
    """The ratio as written; one that speaks of a source without a file is refused."""
    files = _example_files(settings)
    if settings.own.mix is not None and len(files) < 2:
        absent = "human" if "human" not in files else "synthetic"
        raise ConfigError(f"mix is {settings.own.mix!r}, but there are no {absent}_examples; give them or leave mix out")
    return settings.own.mix


def _dev(settings: Settings, lexicon: Lexicon, tokenizer: Any) -> DevSample | None:
    own = settings.own
    if not own.dev_documents:
        return None
    from syncabel.corpora import read_jsonl
    from syncabel.corpora.corpus import refuse_test

    documents = read_jsonl(own.dev_documents).documents
    refuse_test(documents, own.dev_documents)
    type_map = TypeMap(lexicon.groups, _type_table(own.types))
    rest = {"lexicon": lexicon, "tokenizer": tokenizer, "fmt": own.format, "type_map": type_map, "num_beams": own.dev_beams}
    return DevSample.draw(documents, own.dev_sample, own.dev_seed, **rest)


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
        ConfigError: output_dir holds checkpoints, all of other runs.
        IncompleteFolderError: the one named by hand is not whole.
    """
    sft, folder = settings.sft, settings.output
    passed: list[str] = []
    aside: list[Path] = []
    if sft.resume_from_checkpoint:
        checkpoint: Path | None = require_complete(Path(sft.resume_from_checkpoint))
    elif settings.own.resume:
        checkpoint, passed = last_complete(folder, trainer.mark.digest)
        aside = of_other_runs(folder, trainer.mark.digest)
        if checkpoint is None and aside:
            raise ConfigError(f"{folder}: its checkpoints are of a run with other data or settings; give another output_dir, delete it, or set resume: false")
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


def _digest(settings: Settings, data: RunData) -> str:
    decisive = {name: str(getattr(settings.sft, name)) for name in _DECISIVE}
    shape = {
        name: getattr(settings.own, name)
        for name in ("init", "hidden_size", "intermediate_size", "num_layers", "num_heads", "initializer_range", "muon_factor", "prompt_format")
    }
    base = {name: getattr(settings.model, name) for name in ("model_name_or_path", "use_peft", "lora_r", "lora_alpha", "load_in_4bit", "dtype")}
    return hashlib.sha256(json.dumps([data.digest, decisive, shape, base], sort_keys=True).encode()).hexdigest()


def _finish(settings: Settings, trainer: LinkingTrainer, data: RunData, recall: float | None) -> Result:
    """Merge, export, and write down what was measured; one process does."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = float(losses[-1]) if losses else math.nan
    facts = _facts(settings, trainer, data, loss)
    result = Result(settings.model_folder, trainer.state.global_step, loss, trainer.budget.seconds, recall, facts)
    model = _whole_model(trainer, settings)
    if trainer.is_world_process_zero():
        _export(settings, trainer, model, result)
    trainer.accelerator.wait_for_everyone()
    return result


def _whole_model(trainer: LinkingTrainer, settings: Settings) -> Any:
    """The trained model in one piece, its adapter merged; None in the processes that do not export."""
    scratch = settings.output / "last"
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if sharded:
        trainer.save_model(str(scratch))  # all processes gather
    if not trainer.is_world_process_zero():
        return None
    if not sharded:
        return merged(trainer.accelerator.unwrap_model(trainer.model), settings, trainer.processing_class, scratch)
    if settings.model.use_peft:
        from peft import PeftModel

        settings.model.load_in_4bit = settings.model.load_in_8bit = False
        return merged(PeftModel.from_pretrained(load_model(settings, trainer.processing_class), scratch), settings, trainer.processing_class, scratch)
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(scratch, dtype="auto")


def _export(settings: Settings, trainer: LinkingTrainer, model: Any, result: Result) -> None:
    from syncabel.export import export_model
    from syncabel.export.card import Facts

    own = settings.own
    recall = (
        {}
        if result.recall_at_1 is None or trainer.dev is None
        else {f"constrained Recall@1 on {len(trainer.dev.queries)} dev mentions": f"{result.recall_at_1:.3f}"}
    )
    facts = Facts(
        name=result.folder.resolve().name,
        base_model=settings.model.model_name_or_path or "random",
        language=own.language,
        licence=own.licence,
        training=result.training,
        results=recall,
        types=_type_table(own.types),
    )
    # TRL patched forward on this very object; the class' own is what the exported weights are run with.
    model.__dict__.pop("forward", None)
    export_model(model.to("cpu"), trainer.processing_class, own.lexicon, result.folder, own.format, facts)
    numbers = {"steps": result.steps, "loss": result.loss, "seconds": round(result.seconds, 1), "dev_recall_at_1": result.recall_at_1}
    summary = {**result.training, **numbers}
    for name, value in (("training.json", summary), ("log.json", trainer.state.log_history)):
        (settings.output / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{result.folder}: {result.steps:,} steps, loss {result.loss:.4f}, {result.seconds:.0f} s", file=sys.stderr)


def _facts(settings: Settings, trainer: LinkingTrainer, data: RunData, loss: float) -> dict[str, str]:
    """What was measured, for the card."""
    config = hashlib.sha256(json.dumps(dict(settings.written), sort_keys=True, default=str).encode()).hexdigest()
    facts = {
        "steps": f"{trainer.state.global_step:,}",
        "loss at the end": f"{loss:.4f} nats per loss token",
        "seconds": f"{trainer.budget.seconds:.0f}",
        "parameters": f"{sum(p.numel() for p in trainer.accelerator.unwrap_model(trainer.model).parameters()):,}",
        "learning rate": f"{settings.sft.learning_rate:g}, {settings.schedule}",
        "dropped by max_length": f"{len(data.rejected):,} examples",
        "configuration (SHA-256)": config,
        "data and order (SHA-256)": data.digest,
        "hardware": _hardware(settings),
        "software": _software(),
    }
    # Of what was seen: the clock may have ended training before the order did.
    for side in data.mixture.report_of(len(data.mixture.order) * trainer.state.global_step // data.steps).sides:
        seen = f"{side.examples:,} examples × {side.repeats:.2f}, {side.loss_tokens:,} loss tokens ({side.share:.1%})"
        facts[f"{side.name} data"] = seen
    return facts


def _hardware(settings: Settings) -> str:
    where = torch.cuda.get_device_name() if settings.sft.device.type == "cuda" else f"{os.cpu_count()} × {platform.machine()} CPU"
    return f"{settings.sft.world_size} × {where}" if settings.sft.world_size > 1 else where


def _software() -> str:
    from importlib.metadata import version

    return ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft"))])
