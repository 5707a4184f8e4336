"""A run's folder says itself what was done: run.json, of settings, digests, versions, hardware and figures.

The same object, without the places of this machine, goes into the model folder as training.json, and the model card is rendered
from it.
"""

import dataclasses
import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from syncabel import __version__
from syncabel.digests import file_sha256
from syncabel.lexicon.store import Lexicon, tokenizer_digest
from syncabel.memory import peak_memory_bytes
from syncabel.train.arguments import Settings
from syncabel.train.data import RunData
from syncabel.train.dev import Judged

__all__ = [
    "FORMAT",
    "LOG",
    "RUN",
    "as_written",
    "decisive",
    "differences",
    "digest_of",
    "file_digests",
    "items_per_step",
    "outcome",
    "plan_of",
    "public",
    "read_run",
    "reasons",
    "write_run",
]

FORMAT, RUN, LOG = "syncabel.run/1", "run.json", "log.jsonl"
_SECRET = re.compile(r"(?:^|[_-])(?:token|key|password|secret)$")
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")
_FILES = ("human_examples", "synthetic_examples", "names_examples", "dev_documents", "types")
# Settings that decide the weights; a checkpoint is gone on from only under the same ones.
_SFT = (
    *("max_steps", "seed", "bf16", "fp16", "packing", "learning_rate", "lr_scheduler_type", "warmup_steps", "max_grad_norm"),
    *("optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
)
_OWN = ("init", "hidden_size", "intermediate_size", "num_layers", "num_heads", "initializer_range", "muon_factor", "prompt_format", "contrast", "negatives")
_MODEL = (
    *("model_name_or_path", "model_revision", "dtype", "load_in_4bit", "load_in_8bit"),
    *("use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
)
# Others, counted where they are not what they are by themselves.
_RARE_SFT = (
    *("loss_type", "label_smoothing_factor", "neftune_noise_alpha", "lr_scheduler_kwargs", "optim_args", "optim_target_modules"),
    *("average_tokens_across_devices", "router_aux_loss_coef"),
)
_RARE_MODEL = ("lora_target_parameters", "lora_modules_to_save", "use_rslora", "use_dora", "bnb_4bit_quant_type", "use_bnb_nested_quant")
# What decides which of the checkpoints is the best.
_SELECTION_OWN, _SELECTION_SFT = ("dev_part", "dev_sample", "dev_beams", "dev_seed", "early_stopping"), ("eval_strategy", "eval_steps")
# What the data and their order follow from: it says why they changed, and where they are the same it may change.
_REASONS_OWN, _REASONS_SFT = ("mix", "word_cuts", "bucket_batches", "max_repeats"), ("max_length",)
EPOCHS, _BY_STEPS = "num_train_epochs", "not counted, max_steps is given"
# Where a model is looked for, and not which one it is.
_PLACES = ("cache_dir", "force_download", "local_files_only", "proxies")
_LATER = ("max_minutes", "model_init_kwargs")  # earlier versions did not compare these
_BASE = "base_weights"
_PIECES, _PIECE = 64, 1 << 16  # of a file of weights: how many, and how long


def file_digests(settings: Settings) -> dict[str, str]:
    """SHA-256 of each file that the run reads, by the setting that names it; of a folder of weights see `_weights_digest`."""
    places = {name: getattr(settings.own, name) for name in _FILES}
    found = {name: file_sha256(place) for name, place in places.items() if place}
    base = Path(str(settings.model.model_name_or_path))
    return found | {_BASE: _weights_digest(base)} if settings.own.init == "pretrained" and base.is_dir() else found


def _weights_digest(folder: Path) -> str:
    """SHA-256 over config.json and, of each file of weights, its name, its size and pieces from all over it.

    Other weights differ nearly everywhere, and reading all of them would take as long as loading them.
    """
    seen = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.bin"))]:
        if not path.is_file():
            continue
        size = path.stat().st_size
        seen.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for start in sorted({max(0, size - _PIECE) * i // (_PIECES - 1) for i in range(_PIECES)}):
                file.seek(start)
                seen.update(file.read(_PIECE))
    return seen.hexdigest()


def decisive(settings: Settings, data: RunData, files: Mapping[str, str], lexicon: Lexicon) -> dict[str, str]:
    """What decides the weights, by name: of the same values comes the same model, and a checkpoint of other values is of another run.

    How many processes share a step's items is not among it: a run may go on with fewer or more of them.
    """
    named = {name: str(getattr(settings.sft, name)) for name in _SFT} | {name: str(getattr(settings.own, name)) for name in _OWN}
    named |= {name: str(getattr(settings.model, name)) for name in _MODEL}
    named |= _changed_from_default(settings.sft, _RARE_SFT) | _changed_from_default(settings.model, _RARE_MODEL)
    named |= {} if settings.own.max_minutes is None else {"max_minutes": str(settings.own.max_minutes)}
    named |= _loading(settings.sft.model_init_kwargs)
    if settings.selects:
        named |= {name: str(getattr(settings.own, name)) for name in _SELECTION_OWN}
        named |= {name: str(getattr(settings.sft, name)) for name in _SELECTION_SFT}
    decide = (*(name for name in files if name.endswith("_examples")), _BASE, *(("dev_documents", "types") if settings.selects else ()))
    examples = {name: digest for name, digest in files.items() if name in decide}
    return named | examples | {"items_per_step": str(items_per_step(settings)), "lexicon": lexicon.digest, "data and order": data.digest}


def _loading(options: Any) -> dict[str, str]:
    """What a base model is loaded with, without places and secrets; nothing where nothing is asked for."""
    kept = {key: value for key, value in (options if isinstance(options, dict) else {}).items() if key not in _PLACES and not _SECRET.search(key)}
    return {"model_init_kwargs": json.dumps(kept, sort_keys=True, default=str)} if kept else {}


def reasons(settings: Settings, epochs: float | None) -> dict[str, str]:
    """What the data and their order follow from, by name, beside the files.

    Args:
        settings: of the run.
        epochs: that were asked for; None where steps were.
    """
    named = {name: str(getattr(settings.own, name)) for name in _REASONS_OWN} | {name: str(getattr(settings.sft, name)) for name in _REASONS_SFT}
    return named | {EPOCHS: _BY_STEPS if epochs is None else str(epochs)}


def _changed_from_default(arguments: Any, names: Sequence[str]) -> dict[str, str]:
    fields = {field.name: field for field in dataclasses.fields(arguments)}
    return {name: str(value) for name in names if (value := getattr(arguments, name)) and value != fields[name].default}


def digest_of(parts: Mapping[str, str]) -> str:
    """SHA-256 of what decides the weights."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def items_per_step(settings: Settings) -> int:
    """Items of an optimizer step, over all processes and accumulation steps."""
    sft = settings.sft
    return int(sft.per_device_train_batch_size * sft.gradient_accumulation_steps * sft.world_size)


def differences(was: Mapping[str, str], now: Mapping[str, str], why_was: Mapping[str, str], why_now: Mapping[str, str]) -> str:
    """What changed between two runs, in words; digests are only said to differ.

    Args:
        was, now: what decided the weights, as `decisive` gives it.
        why_was, why_now: what the data and their order followed from, as `reasons` gives it; empty of a run that did not record it.
    """
    changed = {name: (was.get(name, "not there"), now.get(name, "not there")) for name in {**now, **was} if was.get(name) != now.get(name)}
    if not why_was:
        changed |= {name: ("not recorded", now[name]) for name in _LATER if name in changed}
    else:
        changed |= {name: (why_was.get(name, "not there"), why_now[name]) for name in why_now if why_was.get(name) != why_now[name]}
    follow = ["data and order"]
    if why_was and _BY_STEPS not in (why_was.get(EPOCHS), why_now[EPOCHS]):
        follow.append("max_steps")  # it was counted out of the epochs
    for name in follow:
        if len(changed) > 1:
            changed.pop(name, None)
    if not why_was and list(changed) == follow:
        return f"data and order changed, by the data or by settings that were not recorded: {', '.join(why_now)}"
    words = ((name, *values) for name, values in changed.items())
    return ", ".join(f"{name} changed" if _is_digest(before) or _is_digest(after) else f"{name} was {before}, is {after}" for name, before, after in words)


def _is_digest(value: str) -> bool:
    return len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)


def without_secrets(written: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without tokens of services, which are nobody's business but the user's."""
    kept = {key: value for key, value in written.items() if not _SECRET.search(str(key))}
    words = list(written.get("argv", ()))
    hidden = {i + ("=" not in word) for i, word in enumerate(words) if word.startswith("--") and _SECRET.search(word.partition("=")[0])}
    return {**kept, "argv": ["(not kept)" if i in hidden else word for i, word in enumerate(words)]}


def plan_of(settings: Settings, data: RunData, lexicon: Lexicon, tokenizer: Any, model: Any, files: Mapping[str, str]) -> dict[str, Any]:
    """Everything that is known before the first step; `outcome` is added at the end."""
    sft = settings.sft
    config = hashlib.sha256(json.dumps(without_secrets(settings.written), sort_keys=True, default=str).encode()).hexdigest()
    return {
        "format": FORMAT,
        "config": without_secrets(settings.written),
        "digests": {
            "config": config,
            "data": data.digest,
            "kb": str(lexicon.header["kb_digest"]),
            "lexicon": lexicon.digest,
            "tokenizer": tokenizer_digest(tokenizer),
            "files": dict(files),
        },
        "sources": [dataclasses.asdict(side) for side in data.mixture.report.sides],
        "model": {
            "base": settings.model.model_name_or_path or "random",
            # transformers', for weights in 4 bits lie two in a byte.
            "parameters": model.num_parameters(),
            "trained_parameters": model.num_parameters(only_trainable=True),
        },
        "schedule": {
            "steps": data.steps,
            "items_per_step": items_per_step(settings),
            "learning_rate": sft.learning_rate,
            "scheduler": settings.schedule,
            "packing": sft.packing,
            "dropped_by_max_length": len(data.rejected),
        },
        "versions": _versions(),
        "git": _revision(),
        "seeds": {"train": sft.seed, "dev": settings.own.dev_seed},
        "hardware": {"processes": sft.world_size, "device": device_name(settings), "cpus": os.cpu_count()},
        "result": None,
    }


def outcome(settings: Settings, data: RunData, steps: int, chosen: int, loss: float, seconds: float, judged: Judged | None) -> dict[str, Any]:
    """The figures of a run that ended, and the accounting of what it saw, for the clock may have ended it before the order did.

    Args:
        settings, data: of the run.
        steps: that were made.
        chosen: the step whose weights are exported.
        loss: mean over the last logged steps, nats per loss token; NaN where nothing was logged.
        seconds: of training.
        judged: the dev sample under the exported weights.
    """
    seen = data.mixture.report_of(len(data.mixture.order) * steps // data.steps)
    tokens = sum(side.total_tokens for side in seen.sides)
    dev = None if judged is None else {"n": len(judged.right), "recall_at_1": judged.recall_at_1, "ci95": list(judged.ci95)}
    return {
        "sources": [dataclasses.asdict(side) for side in seen.sides],
        "result": {
            "steps": steps,
            "chosen_step": chosen,
            "loss": None if math.isnan(loss) else loss,
            "seconds": round(seconds, 1),
            "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
            "peak_memory_bytes": peak_memory_bytes(settings.sft.device.type),
            "dev": dev,
        },
    }


def device_name(settings: Settings) -> str:
    """The accelerator's name, or the processor's kind."""
    return torch.cuda.get_device_name() if settings.sft.device.type == "cuda" else f"{platform.machine()} CPU"


def _versions() -> dict[str, str]:
    found = {"syncabel": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _revision() -> dict[str, Any] | None:
    """The checkout that this package lies in, None where it is an installed one."""
    here = Path(__file__).parent
    try:
        revision, changed = (_git(here, *words) for words in (("rev-parse", "HEAD"), ("status", "--short", "--", ".")))
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision, "changed": bool(changed)}


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Write run.json; it is there whole or not at all."""
    part = folder / f".{RUN}"
    part.write_text(json.dumps(run, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
    part.replace(folder / RUN)


def read_run(folder: Path) -> dict[str, Any] | None:
    """run.json of a folder; None where there is none, or it is of another format."""
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run if isinstance(run, dict) and run.get("format") == FORMAT else None


def as_written(value: Any) -> Any:
    """A value as run.json gives it back."""
    return json.loads(json.dumps(value, default=str))


def public(run: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the places of this machine: what the configuration names a file or folder is cut to its last part."""
    return {**run, "config": _cut(run["config"]), "model": {**run["model"], "base": _base(run["model"]["base"])}}


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _cut(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(each) for each in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    flag, equals, place = value.partition("=") if value.startswith("--") else ("", "", value)
    return f"{flag}{equals}{Path(place).name}"


def _base(name: str) -> str:
    """A repository keeps its name, a folder of this machine its last part."""
    return Path(name).name if os.path.exists(name) or os.path.isabs(name) else name
