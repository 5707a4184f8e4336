"""A configuration as its training reads it, and how long its run is by its prepared data: without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train.arguments import Settings, parse

__all__ = ["PLACES", "Counts", "count_run", "settings_of"]

_FILES = ("human_examples", "synthetic_examples", "names_examples", "refit_examples", "dev_documents", "types")
PLACES = (*_FILES, "tokenizer", "model_name_or_path")  # what a training reads, and looks for before it starts
# What this machine need not be able to do: number formats, compilers and loggers of the one that trains.
_LEFT = ("bf16", "fp16", "tf32", "torch_compile", "use_liger_kernel")
_HERE = [*(word for name in _LEFT for word in (f"--{name}", "false")), "--report_to", "none", "--use_cpu", "true"]


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


def settings_of(written: Mapping[Any, Any], where: str, flags: Sequence[str] = (), elsewhere: Mapping[str, str] | None = None) -> Settings:
    """A configuration and flags, checked by the training's own parser; as on a CPU, whatever the run is for.

    Args:
        written: the configuration's keys and values.
        where: what messages call it.
        flags: arguments behind `--config`.
        elsewhere: those of `PLACES` that need not be on this machine, with what they are called.

    Raises:
        UnknownNameError: a key or flag nobody declared.
        ConfigError: a value of a wrong type, a missing one, or settings that contradict each other.
    """
    with TemporaryDirectory() as folder:
        path, empty = Path(folder) / "config.yaml", Path(folder) / "empty"
        path.write_text(yaml.safe_dump(dict(written)), encoding="utf-8")
        empty.touch()
        # Flags win, and the last of a name; what stands before them is checked all the same.
        stand_ins = [word for name in elsewhere or () for word in (f"--{name}", str(empty if name in _FILES else folder))]
        try:
            settings = parse(["--config", str(path), *flags, *_HERE, *stand_ins])
        except UnknownNameError as error:
            raise UnknownNameError(error.kind.replace(str(path), where), error.name, error.known) from None
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(path), where)) from None
    for name, place in (elsewhere or {}).items():
        setattr(settings.own if hasattr(settings.own, name) else settings.model, name, place)
    return settings


def count_run(settings: Settings, processes: int) -> Counts:
    """Mix the data as the run will, on so many processes; what is not tokenised yet is, into the run's own token cache.

    Args:
        settings: of the run; its lexicon and examples lie there.
        processes: that share a step.

    Raises:
        SyncabelError: the data does not fit the configuration.
    """
    from syncabel.lexicon.store import Lexicon
    from syncabel.train.data import build_run
    from syncabel.train.model import load_tokenizer
    from syncabel.train.sources import load_sources, mode_of

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
