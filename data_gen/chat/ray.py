"""Chats completed by a Ray cluster: workers that each hold an engine, vLLM or a client of a server.

Plain actors, not `ray.data.map_batches`: a dataset is made of what is there when it starts, so an endless plan would have to be cut
into datasets, and each would start its own actors and load the model again.  Here actors stay, each is given the next few calls when
it has room, and replies come back one by one.

A worker that dies is replaced.  Calls it had not answered are asked again in smaller and smaller groups, so that one that kills its
worker each time is in the end alone with its error.  A reply is handed out once, however often its call was asked.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import count, islice
from typing import Any, NamedTuple

from data_gen.chat.engine import Call, ChatEngine, Reply, Sampling
from data_gen.writer import Message
from syncabel.errors import ConfigError, MissingExtraError, SyncabelError

__all__ = ["RayEngine"]

_AHEAD = 2  # groups given to a worker: it goes on with the second while the first one's last reply travels
_TIMES = 3  # how often a call may lose its worker
_SHRINK = 8  # a group that lost its worker is split into as many
_FRUITLESS = 20  # workers lost in a row without one answer


class _Refused(NamedTuple):
    """A worker's engine cannot serve at all, and why."""

    message: str


@dataclass(frozen=True, eq=False)
class RayEngine:
    """A `ChatEngine` over the workers of a Ray cluster; Ray is first spoken to when the first reply is asked for.

    Workers live as long as this object, or until an iterator of replies is closed early.  A key that the engines need is taken from
    each worker's own environment.

    Attributes:
        make: makes a worker's engine, e.g. `partial(VLLMEngine, folder, sampling)`; called here, too, for what it says of itself, so
            it must not load a model.
        workers: how many.
        group: calls given to a worker at a time; some times as many as its engine answers at once.
        address: "local" starts Ray on this machine and for this process alone; "auto" or "host:port" takes part in a cluster, from one
            of its machines.
        cpus, gpus: of each worker.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    make: Callable[[], ChatEngine] = field(repr=False)
    workers: int
    _: KW_ONLY
    group: int = 64
    address: str = "local"
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError("ray", "ray")
        if self.workers < 1 or self.group < 1:
            raise ConfigError(f"{self.workers} workers with groups of {self.group} calls: give 1 or more of each")

    @property
    def name(self) -> str:
        """`ray`."""
        return "ray"

    @property
    def model(self) -> str:
        """The workers' model."""
        return self._inner.model

    @property
    def version(self) -> str:
        """Ray's, and the workers' engine's, e.g. "ray 2.60.0, vllm 0.32.0"."""
        from ray import __version__

        return f"ray {__version__}, {self._inner.version}"

    @property
    def local(self) -> bool:
        """Whether the workers' engine is local and Ray has this machine alone."""
        return self._inner.local and self.address == "local"

    @property
    def sampling(self) -> Sampling:
        """The workers'."""
        return self._inner.sampling

    @property
    def settings(self) -> dict[str, str]:
        """What else decides the answers: the workers' engine and its settings."""
        return {"engine": self._inner.name, **self._inner.settings}

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """See `ChatEngine`; two groups for each worker are drawn ahead.

        Raises:
            ConfigError: a worker's engine cannot serve, workers die without an answer, or no cluster is found.
        """
        self._connected  # noqa: B018
        run = _Run(self, calls)
        try:
            yield from run.replies()
        finally:
            run.end()

    @cached_property
    def _inner(self) -> ChatEngine:
        return self.make()

    @cached_property
    def _connected(self) -> bool:
        import ray

        _check_address(self.address)
        if ray.is_initialized():
            if self.address == "local":
                raise ConfigError("this process already takes part in a Ray cluster: give address: auto")
            return True
        # Ray counts its users and sends the counts home unless told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own: dict[str, Any] = {"num_cpus": max(1, round(self.workers * self.cpus)), "include_dashboard": False} if self.address == "local" else {}
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING, **own)
        except (ConnectionError, ValueError) as error:
            raise ConfigError(f"no Ray cluster at {self.address} ({type(error).__name__}): start one, or give address: local") from None
        return True

    @cached_property
    def _idle(self) -> list[Any]:
        """Workers that are nobody's at the moment."""
        return []

    def _hired(self) -> Any:
        return self._idle.pop() if self._idle else self._started()

    def _started(self) -> Any:
        import ray

        # Ray's own restarts would answer a group twice; a lost worker is replaced here.
        actor = ray.remote(_Worker).options(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0)
        return actor.remote(self.make)


class _Worker:
    """Runs on the cluster and holds one engine."""

    def __init__(self, make: Callable[[], ChatEngine]) -> None:
        self._make = make

    @cached_property
    def _engine(self) -> ChatEngine:
        return self._make()

    def replies(self, group: Sequence[tuple[int, Sequence[Message], int, bool]]) -> Iterator[Reply | _Refused]:
        """What comes back to the driver, one by one."""
        try:
            yield from self._engine.replies(Call(*one) for one in group)
        except SyncabelError as error:
            yield _Refused(str(error))


class _Asked(NamedTuple):
    """A call, and how often it has lost its worker."""

    call: Call
    lost: int = 0


class _Group(NamedTuple):
    """Calls given to a worker: Ray's stream of replies, and those not answered yet, by number."""

    stream: Any
    waiting: dict[int, _Asked]


class _Hand:
    """A worker as the driver sees it; its groups are answered one after another."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.groups: deque[_Group] = deque()

    def ask(self, numbered: dict[int, _Asked]) -> None:
        calls = [(number, tuple(asked.call.messages), asked.call.seed, asked.call.free) for number, asked in numbered.items()]
        self.groups.append(_Group(self.actor.replies.options(num_returns="streaming").remote(calls), numbered))


class _Run:
    """One pass over calls."""

    def __init__(self, engine: RayEngine, calls: Iterable[Call]) -> None:
        self._engine, self._source = engine, iter(calls)
        self._numbers = count()
        self._again: deque[list[_Asked]] = deque()
        self._hands = [_Hand(engine._hired()) for _ in range(engine.workers)]
        self._fruitless = 0

    def replies(self) -> Iterator[Reply]:
        """One for every call."""
        import ray

        while True:
            self._give()
            busy = {hand.groups[0].stream: hand for hand in self._hands if hand.groups}
            if not busy:
                return
            ready, _ = ray.wait(list(busy), num_returns=1)
            for stream in ready:
                yield from self._heard(busy[stream])

    def end(self) -> None:
        """Keep idle workers for the next pass; those still at work are ended with their groups."""
        for hand in self._hands:
            if hand.groups:
                _dismiss(hand)
            else:
                self._engine._idle.append(hand.actor)

    def _give(self) -> None:
        for _ in range(_AHEAD):
            for hand in self._hands:
                if len(hand.groups) < _AHEAD and (group := self._next()):
                    hand.ask({next(self._numbers): asked for asked in group})

    def _next(self) -> list[_Asked]:
        return self._again.popleft() if self._again else [_Asked(call) for call in islice(self._source, self._engine.group)]

    def _heard(self, hand: _Hand) -> Iterator[Reply]:
        """What a worker's stream has next."""
        import ray
        from ray.exceptions import RayError

        group = hand.groups[0]
        try:
            said = ray.get(next(group.stream))
        except StopIteration:
            hand.groups.popleft()
            for asked in group.waiting.values():
                yield Reply(asked.call.key, None, "the worker's engine ended without a reply")
            return
        except RayError as error:
            yield from self._replaced(hand, type(error).__name__)
            return
        if isinstance(said, _Refused):
            raise ConfigError(said.message)
        self._fruitless = 0
        yield said._replace(key=group.waiting.pop(said.key).call.key)

    def _replaced(self, hand: _Hand, why: str) -> Iterator[Reply]:
        """A new worker for a lost one; what the lost one was at is asked again, or given up."""
        self._fruitless += 1
        if self._fruitless > _FRUITLESS:
            raise ConfigError(f"{_FRUITLESS} workers in a row were lost without an answer ({why}): see Ray's logs of a worker")
        _dismiss(hand)
        current, *untouched = hand.groups
        hand.groups.clear()
        hand.actor = self._engine._started()
        lost = [asked._replace(lost=asked.lost + 1) for asked in current.waiting.values()]
        yield from (Reply(asked.call.key, None, f"lost its worker {_TIMES} times ({why})") for asked in lost if asked.lost == _TIMES)
        # All of a group have been lost equally often: it was asked as one.
        once_more = [asked for asked in lost if asked.lost < _TIMES]
        size = 1 if once_more and once_more[0].lost == _TIMES - 1 else max(1, self._engine.group // _SHRINK)
        self._again.extend(once_more[i : i + size] for i in range(0, len(once_more), size))
        self._again.extend(list(group.waiting.values()) for group in untouched)


def _check_address(address: str) -> None:
    # Ray itself tries for minutes, and says so on the screen, before it gives up.
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ConfigError(f"{address!r} is no address of a Ray cluster: give local, auto or host:port")
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except OSError as error:
        raise ConfigError(f"no Ray cluster at {address} ({type(error).__name__}): start one, or give address: local") from None


def _dismiss(hand: _Hand) -> None:
    import ray

    ray.kill(hand.actor)
