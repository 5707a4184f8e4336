"""TRL's SFTTrainer told what to do differently: it evaluates by linking, stops by the clock, and never steps on a loss that is no number."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor
from transformers import PrinterCallback, ProgressCallback
from trl import SFTTrainer  # type: ignore[attr-defined]

from syncabel.errors import CheckpointError, ConfigError, LossError
from syncabel.progress import on_a_terminal
from syncabel.train.callbacks import Budget, RunMark, largest, of_the_first
from syncabel.train.checkpoints import last_complete
from syncabel.train.contrast import contrast, siblings
from syncabel.train.data import IGNORED
from syncabel.train.dev import DevSample, Judged

__all__ = ["LESS_MEMORY", "RECALL", "LinkingTrainer", "good_checkpoint", "in_one_line", "is_of_writing", "is_out_of_memory", "refused"]

RECALL = "eval_recall_at_1"
LESS_MEMORY = (
    "lower per_device_train_batch_size (and raise gradient_accumulation_steps by as much) or max_length, set gradient_checkpointing: true, "
    "or train adapters with use_peft: true; `syncabel plan` says what fits"
)
_MOST_CHARACTERS = 300  # of a reason that a library gives


def _by_clock(name: str, warmup_steps: int, steps: int, budget: Budget) -> Callable[[int], float]:
    """The factor of the learning rate at a step: by steps or by the clock, whichever is further on."""
    warmup = warmup_steps / steps

    def factor(step: int) -> float:
        progress = min(max(step / steps, largest(budget.spent)), 1.0)  # one clock for all processes: weights are never compared again
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
        trie, contrast_weight, negatives: see `syncabel.train.contrast`; without weight the trie is not looked at.
        where_is: names the examples of a step, for the error about a loss that is no number.
        rest: of SFTTrainer.
    """

    def __init__(
        self,
        *rest: Any,
        dev: DevSample | None,
        budget: Budget,
        mark: RunMark,
        trie: Any = None,
        contrast_weight: float = 0.0,
        negatives: int = 0,
        where_is: Callable[[int], str] = lambda step: f"step {step}",
        **named: Any,
    ) -> None:
        self.dev, self.budget, self.mark = dev, budget, mark
        self._trie, self._contrast_weight, self._negatives, self._where_is = trie, contrast_weight, negatives, where_is
        self._broken = False
        self.plan: dict[str, Any] = {}  # see `syncabel.train.record.plan_of`
        super().__init__(*rest, **named)
        if not on_a_terminal():  # what is logged goes to log.jsonl
            self.remove_callback(ProgressCallback)
            self.remove_callback(PrinterCallback)
        self._complete_tied_head()
        self._keep_loss_whole()

    def _keep_loss_whole(self) -> None:
        """FSDP2 under bf16, as accelerate sets it up, turns what the model returns into bfloat16, and the loss is among it."""
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None and plugin.fsdp_version == 2 and plugin.mixed_precision_policy is not None:
            plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, output_dtype=None)

    def _complete_tied_head(self) -> None:
        """TRL reads the output layer's bias; the wrapper that peft puts around a tied one, to show the separator's trained row
        there too, has no such attribute."""
        whole: Any = self.model
        head = whole.get_output_embeddings()
        if not hasattr(head, "bias"):
            head.bias = None

    def judged(self) -> Judged | None:
        """The dev sample under the weights there are, None without one.  All processes link it, and the first one's answers count:
        in 16 bits, or after one GPU was short of memory, those of another may differ, and it would stop or choose otherwise."""
        if self.dev is None:
            return None
        found = self.dev.judged(self.model)
        return replace(found, right=of_the_first(found.right))

    def evaluate(self, *_rest: object, metric_key_prefix: str = "eval", **_named: object) -> dict[str, float]:
        """Link the sample; every process does, for with sharded weights all must run the model."""
        begun = time.monotonic()
        judged = self.judged()
        assert judged is not None
        low, high = judged.ci95
        metrics = {"recall_at_1": judged.recall_at_1, "recall_at_1_low": low, "recall_at_1_high": high, "seconds": round(time.monotonic() - begun, 1)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """TRL's loss.  On one CPU process it is computed here: TRL's fused head, made for GPUs, scores every position there, and
        scoring only those with loss takes a quarter off the time of a small model.  So it is with a contrast term, which needs the logits."""
        if return_outputs or not (self._contrast_weight or self._scores_few()):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[no-untyped-call]
        labels = inputs["labels"][:, 1:]
        mask = labels != IGNORED
        logits = self._logits(model, {name: value for name, value in inputs.items() if name != "labels"}, mask)
        total = torch.nn.functional.cross_entropy(logits, labels[mask], reduction="sum")
        if self._contrast_weight:
            total = total + self._contrast_weight * self._contrast(logits, labels, mask)
        if num_items_in_batch is None:
            return total / mask.sum().clamp(min=1)
        # As in TRL: the tokens are those of all processes, whose gradients are averaged.
        processes = self.accelerator.num_processes // self.get_tp_size() if self.args.average_tokens_across_devices else 1
        return total * processes / torch.as_tensor(num_items_in_batch).clamp(min=1)

    def _logits(self, model: Any, inputs: dict[str, Any], mask: torch.Tensor) -> torch.Tensor:
        """Of the places that have loss, row after row. Shape: (targets, vocabulary)."""
        if self._scores_few():
            whole: Any = self.model
            with self.accelerator.autocast():  # what does so by itself sits on the whole model's forward
                hidden = whole.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1]
                return whole.get_output_embeddings()(hidden[mask]).float()  # type: ignore[no-any-return]
        # Through all that wraps the model: it exchanges gradients, gathers weights, caps logits.
        return model(**inputs, use_cache=False, logits_to_keep=torch.nn.functional.pad(mask, (0, 1))).logits.float()  # type: ignore[no-any-return]

    def _contrast(self, logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        before = torch.nn.functional.pad(mask, (1, 0))[:, :-1]
        targets, starts = labels[mask], (mask & ~before)[mask]
        seed = int(torch.randint(2**31, (1,)))  # torch's own numbers: a checkpoint keeps where they are
        others = siblings(self._trie, targets.cpu().numpy(), starts.cpu().numpy(), self._negatives, seed)
        return contrast(logits, targets, torch.from_numpy(others).to(logits.device))

    def _scores_few(self) -> bool:
        whole: Any = self.model
        arguments: Any = self.args
        plain = whole.config.model_type == "llama" and not hasattr(whole, "peft_config")
        usual = arguments.loss_type == "nll" and self.label_smoother is None and not arguments.fp16
        return bool(plain and usual and self.accelerator.device.type == "cpu" and self.accelerator.num_processes == 1)

    def training_step(self, *rest: Any, **named: Any) -> Any:
        """TRL's; a loss that is no number is noticed before it reaches the weights."""
        loss = super().training_step(*rest, **named)  # type: ignore[no-untyped-call]
        self._broken |= not bool(torch.isfinite(loss))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Called between the backward pass and the optimizer's step: the last moment at which the weights are still good.

        Raises:
            LossError: loss or gradient is no number in one of the processes; all raise it.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        # With float16 a gradient out of range is normal: the scaler skips that step and goes on with a smaller scale.
        self._broken |= not self.args.fp16 and norm is not None and not bool(torch.isfinite(torch.as_tensor(norm)))
        self._stop_if(self._broken, self.state.global_step)
        return norm

    def _stop_if(self, broken: bool, step: int) -> None:
        if largest(float(broken)):
            raise LossError(self._where_is(step), good_checkpoint(Path(str(self.args.output_dir)), self.mark.digest))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Transformers'; a disk that takes no more is an error of one line, and the checkpoint before stays.

        Raises:
            CheckpointError: it cannot be written.
            LossError: the step just made left a weight that is no number; a checkpoint of it would not be a good one.
        """
        self._stop_if(not _finite(model), self.state.global_step - 1)
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]
        except Exception as error:
            # torch's writer says RuntimeError of a full disk.
            if not (is_of_writing(error) or isinstance(error, RuntimeError)) or is_out_of_memory(error):
                raise
            folder = Path(str(self.args.output_dir))
            good = good_checkpoint(folder, self.mark.digest)
            raise CheckpointError(folder / f"checkpoint-{self.state.global_step}", in_one_line(error), good) from error

    def _save_rng_state(self, output_dir: str) -> None:
        """Transformers'; each process writes its own, and the state, which comes last and makes a checkpoint whole, waits for all of them."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def end_at(self, step: int) -> None:
        """Make a step the last one: what a run does that goes on from there is to load the best weights."""
        size = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        data: Any = self.train_dataset
        self.train_dataset, self.args.max_steps = data.select(range(step * size)), step

    def create_optimizer(self, *rest: Any, **named: Any) -> Any:
        """Transformers'.

        Raises:
            ConfigError: it takes none of these settings, or lacks a package for them.
        """
        try:
            return super().create_optimizer(*rest, **named)
        except (ValueError, ImportError, RuntimeError) as error:
            raise refused(f"optim {getattr(self.args.optim, 'value', self.args.optim)!r}", error) from error

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """By the clock where time is limited, so that the rate has come down when it is over."""
        if self.lr_scheduler is not None or self.budget.minutes is None:
            try:
                return super().create_scheduler(num_training_steps, optimizer)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"lr_scheduler_kwargs is {self.args.lr_scheduler_kwargs}, not what the scheduler takes: {error}") from None
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


def _finite(model: Any) -> bool:
    """Whether every trained weight of this process is a number."""
    trained = (p.detach() for p in model.parameters() if p.requires_grad)
    return all(bool(torch.isfinite(p.to_local() if isinstance(p, DTensor) else p).all()) for p in trained)


def good_checkpoint(folder: Path, digest: str) -> str:
    """The checkpoint that a rerun goes on from, for a message."""
    checkpoint, _ = last_complete(folder, digest)
    return "no checkpoint was written before" if checkpoint is None else f"the last good checkpoint is {checkpoint}"


def in_one_line(error: BaseException) -> str:
    """What a library says is wrong, without the pages that may follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:_MOST_CHARACTERS]


def is_of_writing(error: BaseException) -> bool:
    """Whether a file could not be written; the tokenizers library says of a full disk no more than `Exception`."""
    return isinstance(error, OSError | SafetensorError) or type(error) is Exception


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator or this machine has no memory left; only torch's own allocator has a class of its own for it."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in said or "can't allocate memory" in said


def refused(what: str, error: BaseException) -> ConfigError:
    """What a library refused of the settings, as an error of this project.

    Args:
        what: was to be made of them.
        error: the library's.
    """
    if is_out_of_memory(error):
        return ConfigError(f"{what}: no memory is left for it; {LESS_MEMORY}")
    return ConfigError(f"{what}: {in_one_line(error).rstrip('.')}; change that setting, or add --debug to see where it is refused")
