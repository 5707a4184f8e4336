"""Which checkpoint a rerun goes on from: the last complete one of the same run."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open

from syncabel.errors import IncompleteFolderError

__all__ = ["checkpoints", "flaw", "last_complete", "log_of", "of_other_runs", "parts_of", "require_complete", "run_of", "seconds_used", "set_aside"]

_NAME = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"


def flaw(checkpoint: Path) -> str | None:
    """What is missing from a checkpoint, or None where it is whole.

    The trainer writes its state last, so a checkpoint whose writing was cut off has none.
    """
    if not checkpoint.is_dir():
        return "it is no folder"
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{STATE} is missing or cut off"
    if not isinstance(state, dict):
        return f"{STATE} holds no object"
    if (problem := _state_flaw(checkpoint, int(_kept_in(state, "RunMark").get("args", {}).get("processes", 0)))) is not None:
        return problem
    return _weights_flaw(checkpoint)


def _state_flaw(checkpoint: Path, processes: int) -> str | None:
    """What is missing of optimizer, schedule and random numbers; each file is looked at by itself."""
    if not any(checkpoint.glob("global_step*")):  # DeepSpeed keeps optimizer and schedule there
        # FSDP writes optimizer.bin or a folder optimizer_0 instead.
        if not any(any(checkpoint.glob(pattern)) for pattern in ("optimizer.pt", "optimizer.bin", "optimizer_*")):
            return "optimizer.pt is missing"
        if not (checkpoint / "scheduler.pt").exists():
            return "scheduler.pt is missing"
    if (missing := _missing_numbers(checkpoint, processes)) is not None:
        return f"{missing} is missing"
    for path in sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("optimizer.bin"), *checkpoint.glob("rng_state*.pth")]):
        if not _whole_zip(path):
            return f"{path.name} is cut off"
    return None


def _missing_numbers(checkpoint: Path, processes: int) -> str | None:
    """The first file of random numbers that a process should have left and did not; of an unknown number of processes any one will do."""
    if not processes:
        return None if any(checkpoint.glob("rng_state*.pth")) else "rng_state.pth"
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    return next((name for name in names if not (checkpoint / name).exists()), None)


def _whole_zip(path: Path) -> bool:
    """Whether torch finished writing it: its files are zips, and the table of a zip comes last."""
    try:
        with ZipFile(path):
            return True
    except (OSError, BadZipFile):
        return False


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


def last_complete(folder: Path, digest: str | None = None) -> tuple[Path | None, list[str]]:
    """The complete checkpoint with the most steps, None where there is none, and a line for each later one that was passed over.

    Args:
        folder: output_dir.
        digest: of the run whose checkpoints count; None takes those of any.
    """
    passed: list[str] = []
    for path in reversed(checkpoints(folder)):
        if (problem := flaw(path)) is not None:
            passed.append(f"{path}: {problem}; half written, passed over")
        elif digest is not None and run_of(path) != digest:
            passed.append(f"{path}: of a run with other data or settings, passed over")
        else:
            return path, passed
    return None, passed


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in a folder, whole or not, by steps."""
    found = {int(match[1]): path for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found)]


def run_of(checkpoint: Path) -> str | None:
    """The digest of the run that wrote a checkpoint, None where it says none.

    It lies in the checkpoint's own state, so that no file beside the checkpoints can speak for all of them.
    """
    digest = _kept(checkpoint, "RunMark").get("args", {}).get("digest")
    return None if digest is None else str(digest)


def parts_of(checkpoint: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What decided the weights of the run that wrote a checkpoint, and why its data and their order were as they were, by name.

    Empty where it does not say; earlier versions kept no reasons.
    """
    args = _kept(checkpoint, "RunMark").get("args", {})
    return dict(args.get("parts", {})), dict(args.get("reasons", {}))


def of_other_runs(folder: Path, digest: str) -> list[Path]:
    """The whole checkpoints that another run left in a folder, by steps."""
    return [path for path in checkpoints(folder) if flaw(path) is None and run_of(path) != digest]


def set_aside(folder: Path, chosen: Sequence[Path]) -> Path:
    """Move checkpoints out of the way of a run that does not go on from them; nothing is deleted.

    Args:
        folder: output_dir.
        chosen: checkpoints in it.

    Returns:
        The folder they went to, a new one inside `folder`.
    """
    target = next(place for number in count(1) if not (place := folder / f"earlier-{number}").exists())
    target.mkdir()
    for path in chosen:
        path.replace(target / path.name)
    return target


def require_complete(checkpoint: Path) -> Path:
    """A checkpoint named by hand.

    Raises:
        IncompleteFolderError: it is not whole.
    """
    if (problem := flaw(checkpoint)) is not None:
        raise IncompleteFolderError(f"{checkpoint}: {problem}; give another checkpoint, or leave resume_from_checkpoint out")
    return checkpoint


def seconds_used(checkpoint: Path) -> float:
    """Training seconds spent before a checkpoint, as the budget's callback kept them."""
    return float(_kept(checkpoint, "Budget").get("attributes", {}).get("seconds_before", 0.0))


def log_of(checkpoint: Path) -> list[dict[str, Any]]:
    """What was logged before a checkpoint, evaluations among it."""
    return list(json.loads((checkpoint / STATE).read_text(encoding="utf-8")).get("log_history", []))


def _kept(checkpoint: Path, callback: str) -> dict[str, Any]:
    """What a callback kept in the checkpoint's state."""
    return _kept_in(json.loads((checkpoint / STATE).read_text(encoding="utf-8")), callback)


def _kept_in(state: Mapping[str, Any], callback: str) -> dict[str, Any]:
    kept = state.get("stateful_callbacks", {}).get(callback, {})
    return dict(kept[0] if isinstance(kept, list) else kept)
