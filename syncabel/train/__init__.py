"""Fine-tuning: prepared examples and a lexicon in, an exported model folder out.

    python -m syncabel.train --config tiny-cpu            accelerate launch -m syncabel.train --config FILE.yaml

`arguments` what can be set, `sources` and `data` examples to token ids and their order, `batch` which of them a step read,
`model` what is trained, `scratch` models and tokenizers from nothing, `trainer` TRL's trainer with constrained Recall@1 on `dev`
as its evaluation, `callbacks` what watches it, `signals` those that stop it, `contrast` hard negatives, `checkpoints` what a
rerun goes on from, `record` what a run's folder says of itself, `run` one training in order, `repeats` several of one
configuration, `notify` word of how it ended, `plan` what it will take.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from constrained.trie import TrieError
from syncabel.errors import ConfigError, MissingExtraError, PreemptedError, SyncabelError, UnknownNameError
from syncabel.progress import bars_on_terminals_only
from syncabel.train.signals import PREEMPTION, taken

__all__ = ["PREEMPTED", "main"]

PREEMPTED = 85  # the exit status that a scheduler's script starts the job again for


def main(argv: Sequence[str] | None = None) -> int:
    """Run a training; an error of the project is one line on standard error.

    Args:
        argv: arguments without the program's name; the command line's where None.

    Returns:
        The exit status: 0 done, 2 an error, 85 stopped by a scheduler's signal and 130 by Ctrl-C, both with a checkpoint.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    bars_on_terminals_only()
    try:
        with taken(PREEMPTION, _stop_outside_the_steps):
            _train([argument for argument in arguments if argument != "--debug"])
    except SystemExit as stop:
        if stop.code != PREEMPTED:
            raise
        return PREEMPTED
    except PreemptedError as error:
        print(f"syncabel: {error}", file=sys.stderr)
        return PREEMPTED
    except (SyncabelError, TrieError, OSError) as error:
        if debug:
            raise
        # What is wrong with the settings all processes of a machine find at once; its first one says so.
        if not isinstance(error, ConfigError | UnknownNameError) or os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"syncabel: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("syncabel: interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _stop_outside_the_steps(number: signal.Signals) -> NoReturn:
    """A scheduler's signal before the first step, or after the last, ends with its own status too; between them training takes it."""
    print(f"syncabel: stopped by {number.name} outside the steps; run the same command again to go on", file=sys.stderr)
    # No Exception: libraries that are being imported catch those.
    raise SystemExit(PREEMPTED)


def _train(arguments: list[str]) -> None:
    try:
        import datasets
        import peft
        import transformers
        import trl
    except ImportError as error:
        raise MissingExtraError("train", str(error.name)) from None
    del datasets, peft, transformers, trl
    from syncabel.train.repeats import train_all

    train_all(arguments)
