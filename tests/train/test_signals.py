"""Signals taken for a while: who hears them, and that afterwards all is as it was."""

import os
import signal
from collections.abc import Iterator
from threading import Thread

import pytest

from syncabel.train.callbacks import Interrupt
from syncabel.train.signals import PREEMPTION, taken


def test_what_is_sent_is_heard_and_nobody_else_hears_it() -> None:
    heard: list[signal.Signals] = []
    with taken(PREEMPTION, heard.append):
        for number in PREEMPTION:
            os.kill(os.getpid(), number)
    assert heard == [signal.SIGTERM, signal.SIGUSR1]


def test_afterwards_signals_do_what_they_did_before_even_after_an_error() -> None:
    before = [signal.getsignal(number) for number in PREEMPTION]

    def body() -> None:
        assert [signal.getsignal(number) for number in PREEMPTION] != before
        raise OSError("in the body")

    with pytest.raises(OSError, match="in the body"), taken(PREEMPTION, print):
        body()
    assert [signal.getsignal(number) for number in PREEMPTION] == before


def test_in_another_thread_the_body_runs_and_nothing_is_taken() -> None:
    before, within = signal.getsignal(signal.SIGTERM), []

    def body() -> None:
        with taken(PREEMPTION, print):
            within.append(signal.getsignal(signal.SIGTERM))

    thread = Thread(target=body)
    thread.start()
    thread.join()
    assert within == [before]


@pytest.fixture
def terminal() -> Iterator[None]:
    """Ctrl-C does what it does in a terminal: what a script starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("terminal")
def test_a_second_ctrl_c_ends_a_training_at_once() -> None:
    survived = []

    def body() -> None:
        for press in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            survived.append(press)

    with pytest.raises(KeyboardInterrupt), Interrupt().listening():
        body()
    assert survived == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
