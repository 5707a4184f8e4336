"""What a linking took, beside the predictions it wrote: `predictions.jsonl` → `predictions.record.json`.

`syncabel link -o` writes it and `syncabel evaluate` reads it, so that a report has speed, memory and recipe of each system.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.cli.console import err
from syncabel.digests import file_sha256
from syncabel.errors import FormatError
from syncabel.memory import peak_memory_bytes

__all__ = ["LinkRecord", "read_record", "record_path", "write_record"]

FORMAT = "syncabel.linking/1"
_RECIPE = "training.json"


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """What a linking took.

    Attributes:
        speed: mentions, seconds, mentions per second, peak memory in MB, device.
        search: the decoding settings.
        model: its folder's name, no place.
        recipe: its training.json, or None.
    """

    speed: Mapping[str, Any]
    search: Mapping[str, Any]
    model: str
    recipe: Mapping[str, Any] | None


def record_path(predictions: Path) -> Path:
    """Where the record of a file of predictions lies."""
    return predictions.with_name(predictions.name.removesuffix(".jsonl") + ".record.json")


def write_record(predictions: Path, folder: Path, search: Mapping[str, Any], device: str, mentions: int, seconds: float) -> None:
    """Write the record of predictions that are all written.

    Args:
        predictions: the file.
        folder: the model's.
        search: the decoding settings.
        device: where the model was.
        mentions: how many were linked.
        seconds: of linking alone; loading the model is not in them.
    """
    memory = peak_memory_bytes(device)
    speed = {
        "mentions": mentions,
        "seconds": round(seconds, 4),
        "mentions_per_second": round(mentions / seconds, 3) if seconds else None,
        "peak_memory_mb": None if memory is None else round(memory / 2**20),
        "device": platform.machine() + " CPU" if device == "cpu" else device,
    }
    recipe = folder / _RECIPE
    record = {
        "format": FORMAT,
        "predictions": file_sha256(predictions),
        "speed": speed,
        "search": search,
        "model": folder.resolve().name,
        "recipe": json.loads(recipe.read_text(encoding="utf-8")) if recipe.is_file() else None,
    }
    record_path(predictions).write_text(json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def read_record(predictions: Path) -> LinkRecord | None:
    """The record beside a file of predictions; None where there is none, or, said on standard error, one of other predictions.

    Raises:
        FormatError: it is not what `write_record` writes.
    """
    path = record_path(predictions)
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        digest = value["predictions"]
        record = LinkRecord(value["speed"], value["search"], value["model"], value["recipe"])
    except (ValueError, KeyError, TypeError):
        raise FormatError("not a record of `syncabel link -o`", path, hint="link again, or remove it") from None
    if digest == file_sha256(predictions):
        return record
    err.print(f"syncabel: {path} is of other predictions than {predictions.name} holds now; speed and recipe are left out")
    return None
