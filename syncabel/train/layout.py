"""How long a run is, read off its prepared data: steps and tokens, without a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from syncabel.lexicon.store import Lexicon
from syncabel.train.arguments import Settings, parse
from syncabel.train.data import build_run
from syncabel.train.model import load_tokenizer
from syncabel.train.sources import load_sources, mode_of

__all__ = ["Counts", "count_run"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a whole run.

    Attributes:
        steps: optimizer steps.
        tokens: that are read.
        loss_tokens: those of them that have loss.
    """

    steps: int
    tokens: int
    loss_tokens: int


def count_run(written: Mapping[str, Any], processes: int) -> Counts:
    """Mix the data as the run will, on so many processes.

    Args:
        written: the configuration's keys and values.
        processes: that share a step.

    Raises:
        SyncabelError: the data does not fit the configuration.
    """
    settings = _settings(written)
    own, sft = settings.own, settings.sft
    tokenizer, lexicon = load_tokenizer(settings), Lexicon.load(own.lexicon)
    lexicon.check_tokenizer(tokenizer)
    data = build_run(
        load_sources(settings, lexicon, tokenizer),
        ratio=mode_of(settings),
        max_steps=sft.max_steps,
        epochs=sft.num_train_epochs,
        items_per_step=int(sft.per_device_train_batch_size * sft.gradient_accumulation_steps * processes),
        packing=settings.max_length if sft.packing else None,
        bucket_batches=own.bucket_batches,
        max_repeats=own.max_repeats,
        seed=sft.seed,
    )
    sides = data.mixture.report.sides
    return Counts(data.steps, sum(side.total_tokens for side in sides), sum(side.loss_tokens for side in sides))


def _settings(written: Mapping[str, Any]) -> Settings:
    """As on a CPU, which need not know the number formats of the run."""
    there = {name: value for name, value in written.items() if name not in ("torch_compile", "bf16", "fp16", "tf32")}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(there), encoding="utf-8")
        return parse(["--config", str(path), "--use_cpu", "true"])
