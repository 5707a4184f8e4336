"""Fine-tuning: prepared examples and a lexicon in, an exported model folder out.

    python -m syncabel.train --config tiny-cpu            accelerate launch -m syncabel.train --config FILE.yaml

`arguments` what can be set, `data` examples to token ids and their order, `model` what is trained, `scratch` models and
tokenizers from nothing, `trainer` TRL's trainer with constrained Recall@1 as its evaluation, `checkpoints` what a rerun
goes on from, `run` all of it in order.
"""

import sys
from collections.abc import Sequence

from constrained.trie import TrieError
from syncabel.errors import MissingExtraError, SyncabelError
from syncabel.progress import bars_on_terminals_only

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a training; an error of the project is one line on standard error.

    Args:
        argv: arguments without the program's name; the command line's where None.

    Returns:
        The exit status: 0 done, 2 an error, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    bars_on_terminals_only()
    try:
        _train([argument for argument in arguments if argument != "--debug"])
    except (SyncabelError, TrieError, OSError) as error:
        if debug:
            raise
        print(f"syncabel: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("syncabel: interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _train(arguments: list[str]) -> None:
    try:
        import datasets
        import peft
        import transformers
        import trl
    except ImportError as error:
        raise MissingExtraError("train", str(error.name)) from None
    del datasets, peft, transformers, trl
    from syncabel.train.arguments import parse
    from syncabel.train.run import train

    train(parse(arguments))
