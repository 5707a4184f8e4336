"""What a training can be told: this project's own arguments beside TRL's SFTConfig and ModelConfig, in one YAML file or as flags."""

import argparse
import inspect
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_type_hints

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, integrations
from transformers.hf_argparser import string_to_bool
from trl import ModelConfig, SFTConfig, TrlParser  # type: ignore[attr-defined]

from syncabel.config_files import find_config, read_config
from syncabel.errors import ConfigError, MissingExtraError, SyncabelError, UnknownNameError
from syncabel.export.folder import check_place
from syncabel.prompt import PromptFormat, format_named
from syncabel.train.launch import check_launch, check_world, is_sharded_by

__all__ = ["MOST_SEED", "Settings", "TrainArguments", "parse", "webhook_asked"]

MOST_SEED = 2**32 - 1  # what numpy takes
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)  # how the Hub names one; whatever else is given is a place on this machine


@dataclass
class TrainArguments:
    """Everything that is not TRL's.  Files are what `syncabel examples` and `syncabel lexicon build` wrote."""

    lexicon: str = field(metadata={"help": "Lexicon folder, built for the tokenizer."})
    human_examples: str | None = field(default=None, metadata={"help": "Examples made from human annotation (JSON Lines or Parquet)."})
    synthetic_examples: str | None = field(default=None, metadata={"help": "Examples made from synthetic documents (JSON Lines or Parquet)."})
    names_examples: str | None = field(default=None, metadata={"help": "Examples made from names alone (JSON Lines or Parquet)."})
    dev_documents: str | None = field(default=None, metadata={"help": "Documents that checkpoints are judged on (JSON Lines); never test data."})
    types: str | None = field(default=None, metadata={"help": "JSON table from annotated types to groups, written by `syncabel examples`."})
    prompt_format: str = field(default="sentence", metadata={"help": "Format the examples were made with: sentence, syncabel or document-first."})
    language: str = field(default="en", metadata={"help": "ISO 639-1 code the examples were made with."})
    context_chars: int | None = field(default=None, metadata={"help": "Context of the examples, in code points on either side; 600, of document-first 25."})
    document_chars: int | None = field(default=None, metadata={"help": "Of document-first: most code points of the document in the examples; 2,000."})
    mix: str | None = field(default=None, metadata={"help": "human:synthetic[:names] in loss tokens; or human-only, synthetic-only, names-only, concatenate."})
    max_repeats: int = field(default=100, metadata={"help": "Most passes over one source in a mix."})
    token_cache: str | None = field(default=None, metadata={"help": "Folder of tokenised examples; `tokens` beside the examples where not given."})
    bucket_batches: int = field(default=1, metadata={"help": "Window, in steps, within which examples of like length are put together; 1 is off."})
    max_minutes: float | None = field(default=None, metadata={"help": "Stop training cleanly after so many minutes, the learning rate decayed by then."})
    init: Literal["pretrained", "random"] = field(default="pretrained", metadata={"help": "Start from model_name_or_path, or from a small random Llama."})
    tokenizer: str | None = field(default=None, metadata={"help": "Tokenizer folder; model_name_or_path where not given."})
    hidden_size: int = field(default=128, metadata={"help": "Of the random Llama."})
    intermediate_size: int = field(default=384, metadata={"help": "Of the random Llama."})
    num_layers: int = field(default=4, metadata={"help": "Of the random Llama."})
    num_heads: int = field(default=4, metadata={"help": "Of the random Llama."})
    context_length: int = field(default=512, metadata={"help": "Of the random Llama, in tokens."})
    initializer_range: float = field(default=0.02, metadata={"help": "Of the random Llama: standard deviation of its first weights."})
    word_cuts: float = field(default=0.0, metadata={"help": "Share of the places inside a prompt's words where it is tokenised apart, a fraction."})
    muon_factor: float | None = field(default=None, metadata={"help": "Train the random Llama's matrices with Muon, at so many times learning_rate."})
    dev_part: Literal["select", "all"] = field(default="select", metadata={"help": "Dev documents checkpoints are judged on; the rest calibrates."})
    selection: Literal["best", "last"] = field(default="best", metadata={"help": "Checkpoint that is exported: best on dev, where there is dev, or last."})
    early_stopping: int | None = field(default=None, metadata={"help": "Stop after so many evaluations without a better one."})
    seeds: str | None = field(default=None, metadata={"help": "Train once per seed, e.g. 0,1,2; the figures' mean and interval go to seeds.json."})
    refit_examples: str | None = field(
        default=None, metadata={"help": "Examples of dev (dev_examples.jsonl): train again on human and these, for as long as selection chose."}
    )
    contrast: float = field(default=0.0, metadata={"help": "Weight of the loss that tells a name from others under the trie; 0 is off."})
    negatives: int = field(default=4, metadata={"help": "Of contrast: names that each target is told from."})
    webhook: Literal["none", "discord", "slack"] = field(default="none", metadata={"help": "Tell SYNCABEL_WEBHOOK's address how the run ended."})
    dev_sample: int = field(default=200, metadata={"help": "Mentions of the dev documents that are linked at each evaluation."})
    dev_beams: int = field(default=2, metadata={"help": "Width of the beam in evaluations."})
    dev_seed: int = field(default=0, metadata={"help": "Decides which mentions."})
    resume: bool = field(default=True, metadata={"help": "Go on from the last complete checkpoint in output_dir."})
    model_folder: str | None = field(default=None, metadata={"help": "Where the finished model goes; output_dir/model where not given."})
    licence: str = field(default="unknown", metadata={"help": "Licence of the weights as the Hub names it, e.g. llama3; publishing needs one."})

    @property
    def format(self) -> PromptFormat:
        """The prompt format as a value."""
        return format_named(self.prompt_format, self.language, self.context_chars, self.document_chars)


@dataclass(frozen=True)
class Settings:
    """A parsed configuration.

    Attributes:
        own: this project's arguments.
        sft: TRL's training arguments.
        model: TRL's model arguments.
        written: the configuration as written (file, then flags), for digests and reports.
        title: which run it is, for people: name of the configuration and of the output folder.
    """

    own: TrainArguments
    sft: SFTConfig
    model: ModelConfig
    written: Mapping[str, Any]
    title: str = ""

    @property
    def output(self) -> Path:
        """Where checkpoints and reports go."""
        return Path(str(self.sft.output_dir))

    @property
    def model_folder(self) -> Path:
        """Where the finished model goes."""
        return Path(self.own.model_folder or self.output / "model")

    @property
    def selects(self) -> bool:
        """Whether the best checkpoint on dev is exported, and not the last one."""
        return self.own.selection == "best" and str(getattr(self.sft.eval_strategy, "value", self.sft.eval_strategy)) != "no"

    @property
    def max_length(self) -> int:
        """Longest example, or size of a pack, in tokens."""
        return int(self.sft.max_length or 0)

    @property
    def schedule(self) -> str:
        """Name of the learning rate's schedule."""
        return str(getattr(self.sft.lr_scheduler_type, "value", self.sft.lr_scheduler_type))


class _Refusing(argparse.ArgumentParser):
    """A wrong flag or value raises instead of printing a usage of several hundred lines."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `python -m syncabel.train --help`")


class _Parser(_Refusing, TrlParser):
    """TRL's parser."""


def parse(argv: Sequence[str]) -> Settings:
    """Read `--config` and flags; flags win.

    Raises:
        UnknownNameError: a key, flag or configuration nobody declared; the nearest one is named.
        ConfigError: a value of a wrong type, a missing one, or settings that contradict each other.
    """
    kinds: Any = (TrainArguments, SFTConfig, ModelConfig)
    parser = _Parser(kinds, prog="python -m syncabel.train", allow_abbrev=False)
    known = {action.dest: action for action in parser._actions if action.dest != "help"}
    arguments, path = _take_config(list(argv))
    written = _read(path, known, _nullable(kinds)) if path else {}
    # Before transformers looks for this process' device: there it fails with a number and no reason.
    check_launch(os.environ, torch.accelerator.device_count(), _asked(written, arguments, "use_cpu"))
    parser.set_defaults_with_config(**_defaults(written, arguments))
    config = ["--config", str(path)] if path else []
    with warnings.catch_warnings():
        # The name that both the oldest and the newest supported transformers know; TRL sets it itself.
        warnings.filterwarnings("ignore", message="`gradient_checkpointing(_kwargs)?` is deprecated", category=FutureWarning)
        try:
            own, sft, model, rest = parser.parse_args_and_config([*config, *arguments], return_remaining_strings=True)
        except (ValueError, TypeError, ImportError) as error:
            raise ConfigError(f"{path or 'arguments'}: {error}") from None
    if rest:
        raise UnknownNameError("argument", rest[0].lstrip("-").split("=")[0], sorted(known))
    settings = Settings(own, sft, model, {**written, "argv": arguments}, _title(path, sft.output_dir))
    _check(settings)
    _take_one_gpu(sft)
    return settings


def _take_one_gpu(sft: SFTConfig) -> None:
    """Where nobody launched one process for each of several GPUs, train on the first; the trainer would spread batches over all, which TRL refuses."""
    if sft.world_size == 1 and sft.n_gpu > 1:
        print(f"training on one GPU of {sft.n_gpu}; for all of them start it with `accelerate launch`, see docs/training.md", file=sys.stderr)
        sft._n_gpu = 1


def _title(path: Path | None, output: Any) -> str:
    return ", ".join([*([] if path is None else [path.stem]), Path(str(output)).resolve().name])


def webhook_asked(argv: Sequence[str]) -> tuple[str, str]:
    """The webhook that arguments ask for, and which run they are of, where the rest of them may be wrong; "none" where that cannot be known.

    Args:
        argv: as `parse` has them.
    """
    try:
        arguments, path = _take_config(list(argv))
        written = read_config(path) if path else {}
        given = {key: _given(arguments, key, type=str, default=written.get(key)) for key in ("webhook", "output_dir")}
    except (SyncabelError, OSError):
        return "none", ""
    return str(given["webhook"] or "none"), _title(path, given["output_dir"] or "")


def _take_config(arguments: list[str]) -> tuple[list[str], Path | None]:
    for i, argument in enumerate(arguments):
        if argument == "--config" and i + 1 < len(arguments):
            return arguments[:i] + arguments[i + 2 :], find_config(arguments[i + 1], "sft")
        if argument.startswith("--config="):
            return arguments[:i] + arguments[i + 1 :], find_config(argument.removeprefix("--config="), "sft")
    return arguments, None


def _read(path: Path, known: Mapping[str, argparse.Action], nullable: Collection[str]) -> dict[str, Any]:
    """The keys and values of a YAML file, each known and of its type: argparse checks only what comes as text."""
    written = read_config(path)
    for key, value in written.items():
        if key not in known:
            raise UnknownNameError(f"key in {path}:", str(key), sorted(known))
        if (wrong := _wrong(value, known[key], nullable=key in nullable)) is not None:
            raise ConfigError(f"{path}: {key} is {value!r}; {wrong}")
    return written


def _nullable(kinds: Iterable[Any]) -> frozenset[str]:
    """Arguments that may be null.  Annotations say so; of the fields themselves transformers' parser has taken it away."""
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}
    return frozenset(one.name for kind in kinds for one in fields(kind) if one.default is None or type(None) in get_args(hints[one.name]))


def _wrong(value: Any, action: argparse.Action, *, nullable: bool) -> str | None:
    """What a value should be instead, or None where it is right."""
    kind = getattr(action.type, "__name__", "")
    if value is None:
        return None if nullable else "give a value, or leave it out"
    if isinstance(value, dict | list):
        single = action.nargs in (None, "?") and (kind in ("int", "float", "string_to_bool") or action.choices is not None)
        return "give one value" if single else None
    if action.choices is not None and value not in action.choices:
        return f"give one of {', '.join(map(str, action.choices))}"
    if kind == "string_to_bool":
        return None if isinstance(value, bool) else "give true or false"
    if kind in ("int", "float"):
        return _no_number(value, kind)
    if kind == "str" and not isinstance(value, str):
        return "give text, in quotes where it looks like a number"
    return None


def _no_number(value: Any, kind: str) -> str | None:
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if kind == "int":
        return None if number is not None and number.is_integer() else "give a whole number"
    return "give a number" if number is None else None


def _defaults(written: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """This project's defaults where they differ from TRL's, before the file and the flags are read."""
    bare = not torch.accelerator.is_available()
    on_cpu = bare or _asked(written, arguments, "use_cpu")
    # TRL turns bf16 on everywhere; on a CPU it is slower than float32 and costs accuracy.  Who asks for it there gets it.
    half = {"bf16": False, "use_cpu": bare} if on_cpu else {}
    # Every step uses every trained weight; looking for unused ones, transformers' default under DDP, walks the graph once more.
    fixed = {"train_sampling_strategy": "sequential", "dataset_kwargs": {"skip_prepare_dataset": True}, "ddp_find_unused_parameters": False}
    return {**fixed, **half}


def _asked(written: Mapping[str, Any], arguments: Sequence[str], key: str) -> bool:
    """Whether a switch is on, before the whole is parsed: the last flag, or what the file says."""
    return bool(_given(arguments, key, type=string_to_bool, nargs="?", const=True, default=bool(written.get(key))))


def _given(arguments: Sequence[str], key: str, **kind: Any) -> Any:
    """What a flag says, read as the parser of the whole will read it."""
    parser = _Refusing(add_help=False, allow_abbrev=False)
    parser.add_argument(*dict.fromkeys((f"--{key}", f"--{key.replace('_', '-')}")), dest=key, **kind)
    return getattr(parser.parse_known_args(list(arguments))[0], key)


def _check(settings: Settings) -> None:
    """Refuse what contradicts itself before anything is loaded."""
    own, sft, model = settings.own, settings.sft, settings.model
    check_world(os.environ, sft.world_size)
    if not (own.human_examples or own.synthetic_examples or own.names_examples):
        raise ConfigError("no training data: give human_examples, synthetic_examples or both")
    if own.init == "pretrained" and not model.model_name_or_path:
        raise ConfigError("init is 'pretrained': give model_name_or_path, or init: random")
    if own.init == "random" and not own.tokenizer:
        raise ConfigError("init is 'random': give tokenizer, the folder of the tokenizer that the lexicon was built for")
    if own.init == "random" and (model.use_peft or model.load_in_4bit or model.load_in_8bit):
        raise ConfigError("a random model has nothing to adapt: leave use_peft and quantisation out")
    if own.init == "random":
        _check_shape(own)
    _check_counts(sft, model)
    if sft.parallelism_config is not None:
        raise ConfigError("parallelism_config: each process trains on examples of its own here; leave it out, configs/accelerate/fsdp2.yaml shards the model")
    _check_quantised(os.environ, sft, model)
    if own.muon_factor is not None and (sft.fsdp or is_sharded_by(os.environ)):
        raise ConfigError("muon_factor under FSDP: the two optimizers in one that it makes cannot be saved in shards; launch with ddp.yaml, or leave it out")
    if sft.train_sampling_strategy != "sequential":
        raise ConfigError(f"train_sampling_strategy is {sft.train_sampling_strategy!r}; the mix decides the order, leave it out")
    if sft.packing and (sft.packing_strategy != "bfd" or own.bucket_batches > 1):
        raise ConfigError("packing goes with packing_strategy bfd and without bucket_batches")
    if own.max_minutes is not None and settings.schedule not in ("linear", "constant", "constant_with_warmup"):
        raise ConfigError("max_minutes goes with lr_scheduler_type linear, constant or constant_with_warmup")
    if own.max_minutes is not None and own.max_minutes <= 0:
        raise ConfigError(f"max_minutes is {own.max_minutes}; give a number above 0, or leave it out")
    if sft.eval_on_start and not own.dev_documents:
        raise ConfigError("eval_on_start without dev_documents; give them, or leave it out")
    if sft.eval_strategy != "no" and not own.dev_documents:
        raise ConfigError(f"eval_strategy is {str(getattr(sft.eval_strategy, 'value', ''))!r} without dev_documents; give them, or eval_strategy: 'no'")
    if own.refit_examples is not None and not own.human_examples:
        raise ConfigError("refit_examples goes with human_examples; give both")
    _check_libraries(sft)
    _check_recomputation(sft)
    _check_selection(settings)
    _check_contrast(own, sft)
    if not 0 <= own.word_cuts <= 1:
        raise ConfigError(f"word_cuts is {own.word_cuts}; it is a fraction, give 0 to 1")
    if own.muon_factor is not None and (own.init != "random" or own.muon_factor <= 0):
        raise ConfigError(f"muon_factor is {own.muon_factor} with init {own.init!r}; it is a positive factor and goes with init: random, leave it out")
    if own.bucket_batches < 1 or own.dev_sample < 1 or own.dev_beams < 1:
        raise ConfigError("bucket_batches, dev_sample and dev_beams count from 1")
    for name in ("human_examples", "synthetic_examples", "names_examples", "refit_examples", "dev_documents", "types"):
        if (path := getattr(own, name)) and not os.path.isfile(path):
            raise ConfigError(f"{name}: there is no file {path}")
    for name, place in (("tokenizer", own.tokenizer), ("model_name_or_path", model.model_name_or_path)):
        if place and not os.path.isdir(place) and not _REPOSITORY.fullmatch(place):
            raise ConfigError(f"{name}: there is no folder {place}, and the Hub has no repository of such a name; give another place")
    own.format  # noqa: B018 - an unknown format or language is refused now
    check_place(settings.model_folder, own.lexicon, [settings.output, *_inputs(settings)])


def _check_counts(sft: SFTConfig, model: ModelConfig) -> None:
    """Refuse numbers out of range, and what would train nothing."""
    if not 0 <= sft.seed <= MOST_SEED:
        raise ConfigError(f"seed is {sft.seed}; give a number from 0 to {MOST_SEED}")
    if model.use_peft and model.lora_r < 1:
        raise ConfigError(f"lora_r is {model.lora_r}; it counts from 1")
    if sft.max_length is None:
        raise ConfigError("max_length is null; give the longest prompt with its name, in tokens")
    if sft.max_length < 1:
        raise ConfigError(f"max_length is {sft.max_length}; it counts tokens, from 1")
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        if (value := getattr(sft, name)) < 1:
            raise ConfigError(f"{name} is {value}; it counts from 1")
    if sft.max_steps < 1 and sft.num_train_epochs <= 0:
        raise ConfigError(f"nothing would be trained: num_train_epochs is {sft.num_train_epochs}; give a number above 0, or max_steps")


def _check_shape(own: TrainArguments) -> None:
    """Refuse a random Llama that cannot be built."""
    for name in ("hidden_size", "intermediate_size", "num_layers", "num_heads", "context_length"):
        if (value := getattr(own, name)) < 1:
            raise ConfigError(f"{name} is {value}; it counts from 1")
    # The halves of each head are turned against each other, by the place of a token.
    if own.hidden_size % (2 * own.num_heads):
        raise ConfigError(f"hidden_size is {own.hidden_size}, num_heads {own.num_heads}; each head has an even part, give a multiple of {2 * own.num_heads}")
    if own.initializer_range <= 0:
        raise ConfigError(f"initializer_range is {own.initializer_range}; it is a standard deviation, give a number above 0")


def _check_quantised(environment: Mapping[str, str], sft: SFTConfig, model: ModelConfig) -> None:
    """Refuse quantised weights where nothing would train, or where they would not fit together."""
    if not (model.load_in_4bit or model.load_in_8bit):
        return
    if not model.use_peft:
        raise ConfigError("quantised weights cannot be trained themselves: set use_peft: true")
    if sft.fsdp or is_sharded_by(environment):
        name = "load_in_4bit" if model.load_in_4bit else "load_in_8bit"
        raise ConfigError(f"{name} under FSDP: bitsandbytes stores such weights in a type that is not sharded; launch with ddp.yaml, or leave {name} out")


def _check_libraries(sft: SFTConfig) -> None:
    """Refuse what needs a package that is not installed, before data and model are loaded."""
    reports = [sft.report_to] if isinstance(sft.report_to, str) else list(sft.report_to or ())
    if "tensorboard" in reports and not any(map(find_spec, ("tensorboard", "tensorboardX"))):
        raise MissingExtraError("train", "tensorboardX")
    for name in reports:
        available = getattr(integrations, f"is_{name}_available", None)
        if name != "tensorboard" and available is not None and not available():
            raise ConfigError(f"report_to is {name!r}, and the package {name} is not installed: run `pip install {name}`, or set report_to: none")
    if sft.use_liger_kernel and find_spec("liger_kernel") is None:
        raise ConfigError("use_liger_kernel is true, and the package is not installed: run `pip install liger-kernel`, or leave use_liger_kernel out")


def _check_recomputation(sft: SFTConfig) -> None:
    """Refuse unknown keys for recomputing activations, which torch would notice in the first step only."""
    for setting in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):  # newer transformers call it by the latter
        given = getattr(sft, setting, None)
        for key in given if isinstance(given, dict) else ():
            if key not in (known := _recomputation_keys()):
                raise UnknownNameError(f"key in {setting}:", str(key), known)


def _recomputation_keys() -> list[str]:
    """What torch and transformers take where activations are computed twice."""
    takers = [checkpoint, *(getattr(PreTrainedModel, name, None) for name in ("gradient_checkpointing_enable", "activation_checkpointing_enable"))]
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = {name for taker in takers if taker is not None for name, one in inspect.signature(taker).parameters.items() if one.kind in kinds}
    # torch takes the first of these among the rest; the others are no settings.
    return sorted(({"preserve_rng_state"} | named) - {"self", "function", "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"})


def _check_contrast(own: TrainArguments, sft: SFTConfig) -> None:
    """Refuse a contrast term that is none, or that would be added to another loss than it was made for."""
    if own.contrast < 0 or own.negatives < 1:
        raise ConfigError(f"contrast is {own.contrast}, negatives {own.negatives}; give a weight of 0 or more, and 1 or more negatives")
    if own.contrast and (sft.label_smoothing_factor or sft.loss_type != "nll"):
        given = f"label_smoothing_factor {sft.label_smoothing_factor}" if sft.label_smoothing_factor else f"loss_type {sft.loss_type!r}"
        raise ConfigError(f"contrast is added to the plain loss of the names, and {given} is another; leave one of the two out")


def _check_selection(settings: Settings) -> None:
    """Refuse settings under which the best checkpoint would not be there at the end."""
    own, sft = settings.own, settings.sft
    if own.early_stopping is not None and (own.early_stopping < 1 or not settings.selects):
        raise ConfigError(f"early_stopping is {own.early_stopping}; it counts evaluations from 1 and goes with eval_strategy and selection: best")
    if not settings.selects:
        return
    saved, judged = (str(getattr(strategy, "value", strategy)) for strategy in (sft.save_strategy, sft.eval_strategy))
    if saved != judged or (saved == "steps" and sft.save_steps != sft.eval_steps):
        raise ConfigError("selection is 'best': set save_strategy and save_steps to those of eval_strategy and eval_steps, or selection: last")
    if sft.save_total_limit == 1:
        raise ConfigError("selection is 'best' with save_total_limit 1: the best and the last checkpoint are both needed, give 2 or more")


def _inputs(settings: Settings) -> list[str]:
    """The files and folders that a run reads, where they are no names on a hub."""
    own, sft, model = settings.own, settings.sft, settings.model
    examples = (own.human_examples, own.synthetic_examples, own.names_examples, own.refit_examples)
    named = (*examples, own.dev_documents, own.types, own.tokenizer, model.model_name_or_path, sft.resume_from_checkpoint)
    return [place for place in named if place and os.path.exists(place)]
