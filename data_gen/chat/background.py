"""Calls answered by coroutines on a thread of their own, for a caller that knows nothing of coroutines."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from queue import SimpleQueue

from data_gen.chat.engine import Call, Reply

__all__ = ["Answer", "Session", "in_background"]

Answer = Callable[[Call], Awaitable[Reply]]
Session = Callable[[], AbstractAsyncContextManager[Answer]]


def in_background(session: Session, calls: Iterable[Call], at_once: int) -> Iterator[Reply]:
    """One reply per call, in the order they come.

    Calls are drawn and replies handed out on the caller's own thread; twice `at_once` calls are held at most, so that the workers
    never wait for a caller who is busy with a reply.  Closing the iterator cancels what is under way and ends the thread.

    Args:
        session: opened on the thread; what it yields answers a call.
        calls: what is asked.
        at_once: most calls under way.

    Raises:
        BaseException: what `session` or an answer raised, the first of them.
    """
    with _Crew(session, at_once) as crew:
        held = 0
        for call in calls:
            crew.ask(call)
            held += 1
            if held == 2 * at_once:
                yield crew.reply()
                held -= 1
        for _ in range(held):
            yield crew.reply()


class _Crew:
    """A thread with an event loop and workers that take one call after another."""

    def __init__(self, session: Session, size: int) -> None:
        self._session, self._size = session, size
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._done: SimpleQueue[Reply | BaseException] = SimpleQueue()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="data_gen.chat", daemon=True)

    def __enter__(self) -> "_Crew":
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._tell(self._task.cancel)
        self._thread.join()

    def ask(self, call: Call) -> None:
        """Hand a call to the workers."""
        self._tell(lambda: self._calls.put_nowait(call))

    def reply(self) -> Reply:
        """The next reply; raises what ended the work."""
        reply = self._done.get()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def _tell(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: what ended it stands among the replies
            self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        # Whatever ends the thread has to reach the caller, who waits for a reply.
        with self._runner:
            try:
                self._runner.run(self._work())
            except BaseExceptionGroup as group:
                self._done.put(group.exceptions[0])
            except BaseException as error:  # noqa: BLE001
                self._done.put(error)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # a coroutine that runs is one
        self._task = task
        self._started.set()
        async with self._session() as answer, asyncio.TaskGroup() as group:
            for _ in range(self._size):
                group.create_task(self._worker(answer))

    async def _worker(self, answer: Answer) -> None:
        while True:
            self._done.put(await answer(await self._calls.get()))
