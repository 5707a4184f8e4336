"""Several trainings of one configuration: one a seed, and one more on train and dev once dev has chosen."""

import copy
import gc
import json
import math
import os
import socket
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers.trainer_utils import IntervalStrategy

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.lexicon.store import Lexicon
from syncabel.sft import FORMAT, iter_examples, write_examples
from syncabel.train.arguments import MOST_SEED, Settings, parse, webhook_asked
from syncabel.train.data import check_format
from syncabel.train.notify import Outcome, Webhook, WebhookKind
from syncabel.train.run import Result, train
from syncabel.train.sources import example_files
from syncabel.types import SFTExample

__all__ = ["SUMMARY", "mean_and_interval", "parse_seeds", "train_all"]

SUMMARY = "seeds.json"
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")  # of torchrun and of the MPIs that accelerate knows


def train_all(arguments: Sequence[str]) -> list[Result]:
    """Train once, or once per seed; each training goes on where it stopped, a finished one is not done again.

    With `seeds` the runs and models are in seed-N of output_dir, and output_dir/seeds.json has mean and interval of
    the figures.  With `refit_examples` each training is followed by one on human and these examples, in `refit`.

    Args:
        arguments: of the command line.

    Returns:
        One result a training; of a seed the one that dev judged.
    """
    try:
        settings, seeds = _asked_for(arguments)
    except Exception as error:
        _tell_refused(arguments, error)
        raise
    if seeds is None:
        return [_with_refit(settings)]
    results = []
    for seed in seeds:
        results.append(_with_refit(_varied(settings, settings.output / f"seed-{seed}", {"seeds": None}, {"seed": seed})))
        _free()
    if settings.sft.process_index == 0:
        _summarise(settings.output / SUMMARY, seeds, results)
    return results


def _asked_for(arguments: Sequence[str]) -> tuple[Settings, list[int] | None]:
    """What is to be trained, and the seeds where there are several; refused here is what no training could do."""
    settings = parse(arguments)
    if settings.own.refit_examples is not None:
        _check_refit(settings)
    return settings, None if settings.own.seeds is None else parse_seeds(settings.own.seeds)


def _tell_refused(arguments: Sequence[str], error: Exception) -> None:
    """Tell the webhook, where the arguments ask for one, that nothing was trained at all."""
    kind, title = webhook_asked(arguments)
    if kind == "none" or any(os.environ.get(name, "0") != "0" for name in _RANKS):
        return
    try:
        hook = Webhook.from_environment(cast(WebhookKind, kind))
    except (ConfigError, UnknownNameError):
        return  # there is nobody to tell, and the error that is under way is the one to be mended first
    hook.tell(Outcome("failed", title, {"error": type(error).__name__}))


def _varied(settings: Settings, folder: Path, own: Mapping[str, Any], sft: Mapping[str, Any]) -> Settings:
    """The same settings but for some, and with a folder of its own."""
    arguments = copy.deepcopy(settings.sft)
    for name, value in {**sft, "output_dir": str(folder)}.items():
        setattr(arguments, name, value)
    changed = {**own, "model_folder": str(folder / "model")}
    # Which other seeds there are decides nothing about one of them: one more may be asked for later.
    written = {**settings.written, "argv": _without(settings.written["argv"], "--seeds"), **{name: str(value) for name, value in {**changed, **sft}.items()}}
    return Settings(replace(settings.own, **changed), arguments, copy.deepcopy(settings.model), written, f"{settings.title}/{folder.name}")


def _without(arguments: Sequence[str], flag: str) -> list[str]:
    """Arguments without a flag and its value."""
    return [word for i, word in enumerate(arguments) if word != flag and not word.startswith(f"{flag}=") and (i == 0 or arguments[i - 1] != flag)]


def parse_seeds(text: str) -> list[int]:
    """`0,1,2` as numbers.

    Raises:
        ConfigError: something else, a seed twice, or one that is too large.
    """
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > MOST_SEED:
        raise ConfigError(f"seeds is {text!r}; give different whole numbers with commas between them, e.g. 0,1,2")
    return seeds


def _with_refit(settings: Settings) -> Result:
    first = copy.deepcopy(settings)  # a training writes into its settings how many steps there are
    result = train(settings)
    if first.own.refit_examples is not None:
        _free()
        train(_refit(first, result))
    return result


def _refit(settings: Settings, result: Result) -> Settings:
    """Train again on human and dev examples together, for as many passes over them as selection chose; nothing is left to judge it by."""
    folder = settings.output / "refit"
    joined, factor = _join(str(settings.own.human_examples), str(settings.own.refit_examples), folder)
    steps = max(1, round(result.chosen_step * factor))
    own = {"human_examples": str(joined), "dev_documents": None, "refit_examples": None, "early_stopping": None, "selection": "last"}
    return _varied(settings, folder, own, {"max_steps": steps, "eval_strategy": IntervalStrategy.NO, "eval_on_start": False})


def _check_refit(settings: Settings) -> None:
    """Refuse before the first training what the refit after it could not do."""
    if "human" not in example_files(settings):
        raise ConfigError(f"refit_examples are added to human_examples, which mix {settings.own.mix!r} leaves out; leave refit_examples out")
    more = str(settings.own.refit_examples)
    check_format(iter_examples(more), more, settings.own.format, Lexicon.load(settings.own.lexicon))


def _join(human: str, more: str, folder: Path) -> tuple[Path, float]:
    """Both files of examples in one, and by how much it is longer than the first."""
    counts = [0, 0]

    def both() -> Iterator[SFTExample]:
        for i, path in enumerate((human, more)):
            for example in iter_examples(path):
                counts[i] += 1
                yield example

    joined = folder / "human.jsonl"
    # Every process of a run writes it, some on other hosts, and none may read what another has begun.
    own = folder / f".{socket.gethostname()}.{os.getpid()}"
    write_examples(both(), own)
    own.replace(joined)
    if (declared := Path(human).with_name(FORMAT)).exists():
        own.write_bytes(declared.read_bytes())
        own.replace(folder / FORMAT)
    return joined, sum(counts) / counts[0]


def _free() -> None:
    """Hand back what the training before held, so that the next one has the memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def mean_and_interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean over seeds and its 95 % interval by Student's t; no interval for a single seed."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"value": mean, "ci95": None, "per_seed": list(values)}
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return {"value": mean, "ci95": [mean - half, mean + half], "per_seed": list(values)}


def _summarise(path: Path, seeds: Sequence[int], results: Sequence[Result]) -> None:
    figures: dict[str, list[float | None]] = {
        "dev_recall_at_1": [result.recall_at_1 for result in results],
        "loss": [result.loss for result in results],
        "seconds": [result.seconds for result in results],
        "chosen_step": [float(result.chosen_step) for result in results],
    }
    known = {name: [value for value in values if value is not None and not math.isnan(value)] for name, values in figures.items()}
    metrics = {name: mean_and_interval(values) for name, values in known.items() if len(values) == len(results)}
    summary = {"seeds": list(seeds), "models": [result.folder.as_posix() for result in results], "metrics": metrics}
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    for name, row in metrics.items():
        interval = "" if row["ci95"] is None else f" ({row['ci95'][0]:.4g} to {row['ci95'][1]:.4g}, Student's t over {len(seeds)} seeds)"
        print(f"{name}: {row['value']:.4g}{interval}", file=sys.stderr)
