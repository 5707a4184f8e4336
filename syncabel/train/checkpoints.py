"""Which checkpoint a rerun goes on from: the last complete one of the same run."""

import json
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from syncabel.errors import ConfigError, IncompleteFolderError

__all__ = ["bind_run", "flaw", "last_complete", "require_complete", "seconds_used"]

_NAME = re.compile(r"checkpoint-(\d+)")
STATE, RUN = "trainer_state.json", "run.json"


def flaw(checkpoint: Path) -> str | None:
    """What is missing from a checkpoint, or None where it is whole.

    The trainer writes its state last, so a checkpoint whose writing was cut off has none.
    """
    if not checkpoint.is_dir():
        return "it is no folder"
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{STATE} is missing or cut off"
    for name in ("optimizer.pt", "scheduler.pt"):
        if not (checkpoint / name).exists() and not any(checkpoint.glob("optimizer*")) and not any(checkpoint.glob("global_step*")):
            return f"{name} is missing"
    return _weights_flaw(checkpoint)


def _weights_flaw(checkpoint: Path) -> str | None:
    if any(checkpoint.glob("pytorch_model_fsdp*")) or any(checkpoint.glob("global_step*")):
        return None  # sharded by FSDP or DeepSpeed, which check their own
    index = checkpoint / "model.safetensors.index.json"
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.exists() else set()
    except (ValueError, KeyError):
        return f"{index.name} is cut off"
    found = sorted(named) or [path.name for path in sorted(checkpoint.glob("*.safetensors"))]
    if not found:
        return "no *.safetensors weights in it"
    for name in found:
        try:
            with safe_open(checkpoint / name, framework="np"):
                pass
        except (OSError, SafetensorError):
            return f"{name} is missing or cut off"
    return None


def last_complete(folder: Path) -> tuple[Path | None, list[str]]:
    """The complete checkpoint with the most steps, None where there is none, and a line for each later one that was passed over."""
    found = {int(match[1]): path for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))}
    passed: list[str] = []
    for step in sorted(found, reverse=True):
        if (problem := flaw(found[step])) is None:
            return found[step], passed
        passed.append(f"{found[step]}: {problem}; half written, passed over")
    return None, passed


def require_complete(checkpoint: Path) -> Path:
    """A checkpoint named by hand.

    Raises:
        IncompleteFolderError: it is not whole.
    """
    if (problem := flaw(checkpoint)) is not None:
        raise IncompleteFolderError(f"{checkpoint}: {problem}; give another checkpoint, or leave resume_from_checkpoint out")
    return checkpoint


def bind_run(folder: Path, digest: str, resuming: bool, write: bool) -> None:
    """Tie an output folder to one run, so that a rerun with other data or settings does not go on from its checkpoints.

    Args:
        folder: output_dir.
        digest: over data, order and the settings that decide the result.
        resuming: whether a checkpoint of the folder is to be taken.
        write: whether this process writes.

    Raises:
        ConfigError: the checkpoints are of another run.
    """
    path = folder / RUN
    if resuming:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["digest"]
        except (OSError, ValueError, KeyError):
            before = None
        if before != digest:
            raise ConfigError(f"{folder}: its checkpoints are of a run with other data or settings; give another output_dir, delete it, or set resume: false")
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")


def seconds_used(checkpoint: Path) -> float:
    """Training seconds spent before a checkpoint, as the budget's callback kept them."""
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    kept = state.get("stateful_callbacks", {}).get("Budget", {})
    kept = kept[0] if isinstance(kept, list) else kept
    return float(kept.get("attributes", {}).get("seconds_before", 0.0))
