"""What the commands share: progress on a terminal, one-line errors, JSON to standard output."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["err", "out", "print_json", "tracked"]

# Names are text: to Rich, `[a]` would be a style and `:x:` an emoji, in cells of tables as well.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

T = TypeVar("T")


def print_json(value: Any, file: TextIO | None = None) -> None:
    """One JSON object on one line, on standard output or in a file, without escapes for non-ASCII text; a NaN is an error of ours, JSON has none."""
    (file or sys.stdout).write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def tracked(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Pass items through, with a progress bar on standard error where that is a terminal and nothing elsewhere."""
    if not err.is_terminal:
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        yield from progress.track(items, total=total, description=what)
