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
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from syncabel import __version__
from syncabel.lexicon.store import Lexicon, tokenizer_digest
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
    "write_run",
]

FORMAT, RUN, LOG = "syncabel.run/1", "run.json", "log.jsonl"
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


def file_digests(settings: Settings) -> dict[str, str]:
    """SHA-256 of each file that the run reads, by the setting that names it."""
    places = {name: getattr(settings.own, name) for name in _FILES}
    return {name: _sha256(Path(place)) for name, place in places.items() if place}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decisive(settings: Settings, data: RunData, files: Mapping[str, str], lexicon: Lexicon) -> dict[str, str]:
    """What decides the weights, by name: of the same values comes the same model, and a checkpoint of other values is of another run.

    How many processes share a step's items is not among it: a run may go on with fewer or more of them.
    """
    named = {name: str(getattr(settings.sft, name)) for name in _SFT} | {name: str(getattr(settings.own, name)) for name in _OWN}
    named |= {name: str(getattr(settings.model, name)) for name in _MODEL}
    examples = {name: digest for name, digest in files.items() if name.endswith("_examples")}
    return named | examples | {"items_per_step": str(items_per_step(settings)), "lexicon": lexicon.digest, "data and order": data.digest}


def digest_of(parts: Mapping[str, str]) -> str:
    """SHA-256 of what decides the weights."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def items_per_step(settings: Settings) -> int:
    """Items of an optimizer step, over all processes and accumulation steps."""
    sft = settings.sft
    return int(sft.per_device_train_batch_size * sft.gradient_accumulation_steps * sft.world_size)


def differences(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed between two runs, in words; digests are only said to differ."""
    changed = [name for name in now if was.get(name) != now[name]]
    if len(changed) > 1 and "data and order" in changed:
        changed.remove("data and order")  # it follows from the others
    return ", ".join(f"{name} changed" if _is_digest(now[name]) else f"{name} was {was.get(name, 'not there')}, is {now[name]}" for name in changed)


def _is_digest(value: str) -> bool:
    return len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)


def plan_of(settings: Settings, data: RunData, lexicon: Lexicon, tokenizer: Any, model: Any, files: Mapping[str, str]) -> dict[str, Any]:
    """Everything that is known before the first step; `outcome` is added at the end."""
    sft = settings.sft
    config = hashlib.sha256(json.dumps(dict(settings.written), sort_keys=True, default=str).encode()).hexdigest()
    return {
        "format": FORMAT,
        "config": dict(settings.written),
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
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
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
            "peak_memory_bytes": _peak_memory(settings),
            "dev": dev,
        },
    }


def _peak_memory(settings: Settings) -> int:
    """Of this process: on its GPU, else of its resident memory."""
    if settings.sft.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
    return {**run, "config": {key: _cut(value) for key, value in run["config"].items()}, "model": {**run["model"], "base": _base(run["model"]["base"])}}


def _cut(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_cut(each) for each in value]
    return Path(value).name if isinstance(value, str) and (os.path.isabs(value) or "/" in value) else value


def _base(name: str) -> str:
    """A repository keeps its name, a folder of this machine its last part."""
    return Path(name).name if os.path.exists(name) or os.path.isabs(name) else name
