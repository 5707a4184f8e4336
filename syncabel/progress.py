"""Where the libraries underneath may draw progress bars: on a terminal, nowhere else."""

import os
import sys

__all__ = ["bars_on_terminals_only", "on_a_terminal"]

_SWITCHES = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")


def on_a_terminal() -> bool:
    """Whether standard error, where every bar is drawn, is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def bars_on_terminals_only() -> None:
    """Switch off the bars of transformers, huggingface_hub and datasets where nobody watches them; programs call it first.

    None of the three is imported for it: they look at the environment when they are, and only one that is there already is
    told.  A switch that the user has set in the environment stays as it is.
    """
    if on_a_terminal():
        return
    for switch in _SWITCHES:
        os.environ.setdefault(switch, "1")
    if os.environ[_SWITCHES[0]] == "1" and (logging := sys.modules.get("transformers.utils.logging")):
        logging.disable_progress_bar()
    if os.environ[_SWITCHES[1]] == "1" and (datasets := sys.modules.get("datasets")):
        datasets.disable_progress_bars()
