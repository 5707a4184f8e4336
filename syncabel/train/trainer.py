"""TRL's SFTTrainer with three changes: it evaluates by linking, it can stop by the clock, and Ctrl-C leaves a checkpoint."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.trainer_callback import ExportableState
from trl import SFTTrainer  # type: ignore[attr-defined]

from syncabel.errors import ConfigError, PromptTooLongError
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.progress import on_a_terminal
from syncabel.prompt import PromptFormat, encode_prompt
from syncabel.train.data import IGNORED
from syncabel.types import Document, Query

__all__ = ["Budget", "DevSample", "Interrupt", "LinkingTrainer", "RunMark"]


@dataclass(frozen=True)
class DevSample:
    """Mentions of dev documents that evaluations link.

    Attributes:
        queries: annotated mentions with an answer, in document order.
        lexicon: names to link to.
        tokenizer: the model's.
        fmt: the prompt format.
        type_map: from annotated types to groups.
        num_beams: width of the beam.
    """

    queries: tuple[Query, ...]
    lexicon: Lexicon
    tokenizer: Any
    fmt: PromptFormat
    type_map: TypeMap
    num_beams: int

    @classmethod
    def draw(cls, documents: Sequence[Document], size: int, seed: int, **rest: Any) -> "DevSample":
        """A random sample of the mentions that have an answer.

        Raises:
            ConfigError: there is no such mention.
            UnknownNameError: a type the table does not know.
        """
        asked = [(document, mention) for document in documents for mention in document.mentions if mention.answers]
        if not asked:
            raise ConfigError("dev_documents: not one mention has an answer; nothing to evaluate")
        chosen = sorted(random.Random(seed).sample(range(len(asked)), min(size, len(asked))))
        type_map: TypeMap = rest["type_map"]
        queries = tuple(Query(*asked[i], type_map.of(asked[i][1].type)) for i in chosen)
        return cls(queries, **rest)

    def recall_at_1(self, model: Any) -> float:
        """Constrained Recall@1, a fraction: any gold code suffices, a prompt that does not fit counts as a miss.

        Args:
            model: in any mode; it is left in evaluation mode.
        """
        from syncabel.decoding import DecodingSettings, check_length
        from syncabel.linker import Linker

        settings = DecodingSettings(num_beams=self.num_beams)
        linker = Linker(model.eval(), self.tokenizer, self.lexicon, self.fmt, self.type_map, settings)
        fitting = []
        for query in self.queries:
            try:
                check_length(len(encode_prompt(linker.prompt(query), self.tokenizer)), model, self.tokenizer, self.lexicon, settings, query.mention.id)
            except PromptTooLongError:
                continue
            fitting.append(query)
        answers = linker.rank(fitting, 1)
        right = sum(bool(row) and row[0].code in query.mention.codes for query, row in zip(fitting, answers, strict=True))
        return right / len(self.queries)


def _any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them must stop at the same step."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return flag
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flags = torch.tensor([int(flag)], device=device)
    torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
    return bool(flags.item())


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

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Start the clock."""
        self.started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Stop in all processes as soon as the time of one is over."""
        if self.minutes is not None and _any_process(self.spent >= 1):
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"minutes": self.minutes}, "attributes": {"seconds_before": self.seconds}}


class RunMark(TrainerCallback, ExportableState):
    """Writes into every checkpoint which run it is of.

    Args:
        digest: over the data, their order and the settings that decide the weights.
    """

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"digest": self.digest}, "attributes": {}}


class Interrupt(TrainerCallback):
    """The first Ctrl-C ends training after the step, with a checkpoint; the second one ends it at once."""

    def __init__(self) -> None:
        self.asked = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ARG002 - the base's signature
        """Save and stop where it was asked for."""
        if _any_process(self.asked):
            self.asked = control.should_save = control.should_training_stop = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signal while training runs."""

        def note(_number: int, _frame: FrameType | None) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, before)

        before = signal.getsignal(signal.SIGINT)
        try:
            signal.signal(signal.SIGINT, note)
        except ValueError:  # not the main thread: signals are its own
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _by_clock(name: str, warmup_steps: int, steps: int, budget: Budget) -> Callable[[int], float]:
    """The factor of the learning rate at a step: by steps or by the clock, whichever is further on."""
    warmup = warmup_steps / steps

    def factor(step: int) -> float:
        progress = min(max(step / steps, budget.spent), 1.0)
        if step < warmup_steps and progress < warmup:
            return progress / warmup
        return (1 - progress) / (1 - warmup) if name == "linear" else 1.0

    return factor


class LinkingTrainer(SFTTrainer):
    """SFTTrainer whose evaluation is constrained Recall@1 on a sample of dev mentions.

    Args:
        dev: the sample, or None.
        budget: the training time; also among the callbacks.
        mark: which run it is; also among the callbacks.
        rest: of SFTTrainer.
    """

    def __init__(self, *rest: Any, dev: DevSample | None, budget: Budget, mark: RunMark, **named: Any) -> None:
        self.dev, self.budget, self.mark = dev, budget, mark
        super().__init__(*rest, **named)
        if not on_a_terminal():  # what is logged stays in the trainer's state and goes to log.json
            self.remove_callback(ProgressCallback)
            self.remove_callback(PrinterCallback)
        self._complete_tied_head()

    def _complete_tied_head(self) -> None:
        """TRL reads the output layer's bias; the wrapper that peft puts around a tied one, to show the separator's trained row
        there too, has no such attribute."""
        whole: Any = self.model
        head = whole.get_output_embeddings()
        if not hasattr(head, "bias"):
            head.bias = None

    def evaluate(self, *_rest: object, metric_key_prefix: str = "eval", **_named: object) -> dict[str, float]:
        """Link the sample; every process does, for with sharded weights all must run the model."""
        assert self.dev is not None
        begun = time.monotonic()
        recall = self.dev.recall_at_1(self.model)
        metrics = {f"{metric_key_prefix}_recall_at_1": recall, f"{metric_key_prefix}_seconds": round(time.monotonic() - begun, 1)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """TRL's loss.  On one CPU process it is computed here: TRL's fused head, made for GPUs, scores every position there, and
        scoring only those with loss takes a quarter off the time of a small model."""
        if return_outputs or not self._scores_few():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[no-untyped-call]
        whole: Any = self.model
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        hidden = whole.base_model(**rest, use_cache=False).last_hidden_state[:, :-1]
        labels = inputs["labels"][:, 1:]
        mask = labels != IGNORED
        logits = whole.get_output_embeddings()(hidden[mask]).float()
        total = torch.nn.functional.cross_entropy(logits, labels[mask], reduction="sum")
        return total / (mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)

    def _scores_few(self) -> bool:
        whole: Any = self.model
        arguments: Any = self.args
        plain = whole.config.model_type == "llama" and not hasattr(whole, "peft_config")
        usual = arguments.loss_type == "nll" and self.label_smoother is None and not (arguments.bf16 or arguments.fp16)
        return bool(plain and usual and self.accelerator.device.type == "cpu" and self.accelerator.num_processes == 1)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """By the clock where time is limited, so that the rate has come down when it is over."""
        if self.lr_scheduler is not None or self.budget.minutes is None:
            return super().create_scheduler(num_training_steps, optimizer)
        factor = _by_clock(
            str(getattr(self.args.lr_scheduler_type, "value", self.args.lr_scheduler_type)),
            self.args.get_warmup_steps(num_training_steps),
            num_training_steps,
            self.budget,
        )
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer if optimizer is None else optimizer, factor)  # type: ignore[arg-type]
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def create_model_card(self, *_rest: object, **_named: object) -> None:
        """None beside checkpoints: the exported folder has one, of measured facts."""

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves the machine."""
