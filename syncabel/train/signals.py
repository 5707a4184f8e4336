"""The signals that stop a training, taken for a while; nothing heavy is imported, so that a process can listen before its libraries are loaded."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

__all__ = ["PREEMPTION", "taken"]

PREEMPTION = (signal.SIGTERM, signal.SIGUSR1)  # a scheduler wants the machine back


@contextmanager
def taken(numbers: Sequence[signal.Signals], take: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `take` for each of these signals while the body runs; after it, what they did before holds again.

    In another thread than the main one nothing is taken: signals are the main thread's own.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        take(signal.Signals(number))

    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, handle)
    except ValueError:  # not the main thread
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
