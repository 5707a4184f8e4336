"""The examples of a step by name, so that people can look at what a training stumbled over."""

import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from syncabel.digests import file_sha256
from syncabel.errors import ConfigError, SyncabelError
from syncabel.sft import iter_examples
from syncabel.train.arguments import Settings
from syncabel.train.data import RunData
from syncabel.train.sources import example_files
from syncabel.types import Rejection

__all__ = ["BATCH", "named_batch"]

BATCH = "bad_batch.jsonl"
_FEW = 4  # examples that a message names


def named_batch(settings: Settings, data: RunData, digests: Mapping[str, str], step: int) -> str:
    """A step and some of its examples in words; the first process writes all of them to output_dir/bad_batch.jsonl.

    Args:
        settings, data: of the run.
        digests: SHA-256 of its files by setting, as they were when it began.
        step: from 0.
    """
    try:
        rows = _rows(settings, data, digests, step)
        place = settings.output / BATCH
        if settings.sft.process_index == 0:
            place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    except (OSError, SyncabelError) as error:  # what is wrong with the step is to be said all the same
        return f"step {step + 1} (its examples cannot be named: {error})"
    few = "; ".join(f"{source} {', '.join(ids)}" for source, ids in _by_source(rows[:_FEW]).items())
    return f"step {step + 1}, its batch: {few}{f' and {len(rows) - _FEW} more' if len(rows) > _FEW else ''}, all in {place}"


def _by_source(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for row in rows:
        ids.setdefault(row["source"], []).append(f"{row['document_id']}#{row['mention_id']}")
    return ids


def _rows(settings: Settings, data: RunData, digests: Mapping[str, str], step: int) -> list[dict[str, Any]]:
    """A row per example of a step, in the order that the model reads them; without its text, which belongs in no log."""
    items, files = data.examples_of(step), example_files(settings)
    wanted = {name: {place for source, places in items if source == name for place in places} for name in files}
    for name, path in files.items():
        if file_sha256(path) != digests[f"{name}_examples"]:
            raise ConfigError(f"{path} has changed since the training began")
    found = {name: _looked_up(path, data.sources[name].dropped, wanted[name]) for name, path in files.items()}
    return [
        {"step": step + 1, "item": number, "source": source, "file": str(Path(files[source])), **found[source][place]}
        for number, (source, places) in enumerate(items, 1)
        for place in places
    ]


def _looked_up(path: str, dropped: Sequence[Rejection], wanted: Collection[int]) -> dict[int, dict[str, Any]]:
    """Line and names of examples of a file, by their places among those that are not too long."""
    left, found, place = deque((rejection.where, rejection.code) for rejection in dropped), dict[int, dict[str, Any]](), 0
    for line, example in enumerate(iter_examples(path), 1):
        # Rejections come in the order of the file; two examples of one mention and code are told apart by nobody.
        if left and left[0] == (f"{example.document_id}#{example.mention_id}", example.code):
            left.popleft()
            continue
        if place in wanted:
            found[place] = {"line": line, "document_id": example.document_id, "mention_id": example.mention_id, "code": example.code}
        place += 1
        if len(found) == len(wanted):
            break
    return found
