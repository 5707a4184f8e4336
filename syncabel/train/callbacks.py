"""What watches a training: its clock, its signals, its health, its log, and which run its checkpoints are of."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from syncabel.errors import IncompleteFolderError
from syncabel.train.checkpoints import flaw
from syncabel.train.signals import PREEMPTION, taken

__all__ = ["BestPlace", "Budget", "Interrupt", "Patience", "RunMark", "StepLog", "largest", "of_the_first"]


def largest(value: float) -> float:
    """The largest of all processes' values: what one of them has seen all of them act on, at the same step."""
    if not _are_several():
        return value
    values = torch.tensor([value], device=_exchange())
    torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MAX)
    return float(values.item())


def of_the_first(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first process' flags in all processes, so that what follows from them is the same everywhere. Shape: any, equal in all."""
    if not _are_several():
        return flags
    values = torch.from_numpy(flags.astype(np.uint8)).to(_exchange())
    torch.distributed.broadcast(values, src=0)
    return values.cpu().numpy().astype(np.bool_)


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _exchange() -> str:
    """The kind of device whose tensors processes exchange."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


class Budget(TrainerCallback, ExportableState):
    """Training time: counted over reruns, and the end of training where it is limited.

    Args:
        minutes: of training; None is no limit.
        seconds_before: spent before the checkpoint that training goes on from.
    """

    def __init__(self, minutes: float | None = None, seconds_before: float = 0.0) -> None:
        self.minutes, self.seconds_before = minutes, seconds_before
        self.started: float | None = None

    @property
    def seconds(self) -> float:
        """Training seconds so far."""
        return self.seconds_before + (0.0 if self.started is None else time.monotonic() - self.started)

    @property
    def spent(self) -> float:
        """The part of the budget that is used up, a fraction; 0 without a limit."""
        return 0.0 if self.minutes is None else self.seconds / (60 * self.minutes)

    def stop(self) -> None:
        """Stop the clock: what comes after training is not training time."""
        self.seconds_before, self.started = self.seconds, None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Start the clock."""
        self.started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Stop in all processes as soon as the time of one is over."""
        if self.minutes is not None and largest(self.spent) >= 1:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"minutes": self.minutes}, "attributes": {"seconds_before": self.seconds}}


class RunMark(TrainerCallback, ExportableState):
    """Writes into every checkpoint which run it is of.

    Args:
        digest: over `parts`.
        parts: what decides the weights, by name: settings, digests of files, of the data and their order.
        reasons: settings that the data and their order follow from, by name; to say what changed, and not in the digest.
        processes: that train together and leave a file of random numbers each; 0 where a folder need not have all of them.
    """

    def __init__(self, digest: str, parts: Mapping[str, str], reasons: Mapping[str, str], processes: int) -> None:
        self.digest, self.parts, self.reasons, self.processes = digest, dict(parts), dict(reasons), processes

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"digest": self.digest, "parts": self.parts, "reasons": self.reasons, "processes": self.processes}, "attributes": {}}


class Interrupt(TrainerCallback):
    """Ctrl-C, SIGTERM and SIGUSR1 end training after the step, with a checkpoint; a second Ctrl-C ends it at once.

    Attributes:
        asked: the signal that all processes stop for; None while there is none.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._seen = 0

    @property
    def preempted(self) -> bool:
        """Whether a scheduler asked, and not a person."""
        return self.asked in PREEMPTION

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Save and stop where it was asked for."""
        if number := int(largest(self._seen)):
            self.asked = signal.Signals(number)
            control.should_save = control.should_training_stop = True

    def listening(self) -> AbstractContextManager[None]:
        """Take the signals while training runs."""
        at_once = signal.getsignal(signal.SIGINT)

        def note(number: signal.Signals) -> None:
            self._seen = number
            if number == signal.SIGINT:
                signal.signal(number, at_once)

        return taken((signal.SIGINT, *PREEMPTION), note)


class Patience(TrainerCallback):
    """Stops after so many evaluations without a better one; it counts in the log, which resuming brings back.

    Args:
        evaluations: how many.
        metric: its name in the log; more is better.
    """

    def __init__(self, evaluations: int, metric: str) -> None:
        self.evaluations, self.metric = evaluations, metric

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Count from the first of the best."""
        if self.over(state.log_history):
            control.should_training_stop = True

    def over(self, log: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the last evaluations of a log were so many without a better one."""
        values = [entry[self.metric] for entry in log if self.metric in entry]
        return bool(values) and len(values) - 1 - values.index(max(values)) >= self.evaluations


class BestPlace(TrainerCallback):
    """Looks for the best checkpoint in output_dir when training goes on: the place that a checkpoint remembers may have moved,
    and transformers would then export the last weights in its stead and say nothing."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Put the place right.

        Raises:
            IncompleteFolderError: it is gone or damaged.
        """
        if not args.load_best_model_at_end or not state.best_global_step:
            return
        best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        if (problem := flaw(best)) is not None:
            raise IncompleteFolderError(f"{best}, the best checkpoint so far: {problem}; put it back, or set resume: false to start over")
        state.best_model_checkpoint = str(best)


class StepLog(TrainerCallback):
    """Appends what is logged to a file of JSON Lines as training goes, so that a run can be watched and a killed one looked at.

    Args:
        path: the file.  Rows of steps that a rerun does again are dropped when it begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Write the rows of the checkpoint that training goes on from; all others come as they are logged."""
        if state.is_world_process_zero:
            part = self.path.with_suffix(".part")
            part.write_text("".join(map(_line, state.log_history)), encoding="utf-8")
            os.replace(part, self.path)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Append the newest row."""
        if state.is_world_process_zero and state.log_history:
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(_line(state.log_history[-1]))


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"
