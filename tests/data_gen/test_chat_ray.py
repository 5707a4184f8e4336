"""A Ray of two workers on this machine, one of them killed half-way; the workers' engine asks a server, or holds a tiny model."""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stand_in import MODEL, Answer, StandIn, refusal

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.openai import KEY_VARIABLE, OpenAIEngine
from data_gen.chat.ray import RayEngine
from data_gen.chat.transformers import TransformersEngine
from data_gen.writer import Message
from syncabel.errors import ConfigError

pytestmark = [
    pytest.mark.slow,
]

SAMPLING = Sampling(temperature=0.0, max_tokens=6)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray with two CPUs, as a user would have started it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.delenv(KEY_VARIABLE, raising=False)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
        yield
        ray.shutdown()


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def call(key: Any) -> Call:
    return Call(key, (Message("system", "Write."), Message("user", f"prompt {key}")), 5)


def client(url: str) -> Any:
    """Makes clients of a server that begin each answer with their process's number."""

    class Numbered:
        def __init__(self) -> None:
            self._inner = OpenAIEngine(url, MODEL, SAMPLING, concurrency=4, retries=1, pause_s=0.01, start_s=5.0)
            for name in ("name", "model", "local", "sampling"):
                setattr(self, name, getattr(self._inner, name))

        @property
        def version(self) -> str:
            return self._inner.version

        @property
        def settings(self) -> dict[str, str]:
            return self._inner.settings

        def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
            for reply in self._inner.replies(calls):
                yield reply if reply.text is None else reply._replace(text=f"{os.getpid()} {reply.text}")

    return Numbered


def engine(server: StandIn, **settings: Any) -> RayEngine:
    return RayEngine(client(server.url), **({"workers": 2, "group": 16, "address": "auto", "cpus": 0.5} | settings))


def test_every_call_gets_one_reply_though_a_worker_is_killed_half_way(cluster: None, server: StandIn) -> None:
    server.plan = lambda asked: Answer(asked.prompt.upper(), delay_s=0.01)
    asked = engine(server)
    killed = 0
    found = []
    for reply in asked.replies(call(i) for i in range(200)):
        found.append(reply)
        if len(found) == 60:
            killed = int(str(reply.text).split()[0])
            os.kill(killed, signal.SIGKILL)
    assert Counter(reply.key for reply in found) == Counter(range(200))
    assert all(reply == Reply(reply.key, reply.text, "", "stop", 7, 3) for reply in found)
    assert all(str(reply.text).split(" ", 1)[1] == f"PROMPT {reply.key}" for reply in found)
    by_worker = Counter(str(reply.text).split()[0] for reply in found)
    assert len(by_worker) == 3
    assert by_worker[str(killed)] < 150
    # Only what the killed one had not answered was asked again.
    assert 200 <= len([one for one in server.prompts if one.startswith("prompt")]) <= 200 + 2 * 16


def test_calls_are_drawn_as_they_are_needed(cluster: None, server: StandIn) -> None:
    drawn = 0

    def endless() -> Iterator[Call]:
        nonlocal drawn
        while True:
            drawn += 1
            yield call(drawn)

    found = engine(server, group=8).replies(endless())
    for taken in range(1, 60):
        next(found)
        assert drawn <= taken + 2 * 2 * 8
    found.close()


def test_workers_and_what_they_hold_stay_for_the_next_pass(cluster: None, server: StandIn) -> None:
    asked = engine(server)
    passes = [{str(reply.text).split()[0] for reply in asked.replies(call(i) for i in range(64))} for _ in range(3)]
    assert len(set.union(*passes)) == 2


def test_a_call_that_kills_its_worker_each_time_is_in_the_end_alone(cluster: None) -> None:
    asked = RayEngine(deadly(), workers=2, group=8, address="auto", cpus=0.5)
    found = list(asked.replies(call(i) for i in range(24)))
    assert Counter(reply.key for reply in found) == Counter(range(24))
    assert [reply.key for reply in found if reply.text is None] == [13]
    assert re.fullmatch(r"lost its worker 3 times \(Actor\w*Error\)", next(reply.error for reply in found if reply.key == 13))


def deadly() -> Any:
    """Makes engines of which one prompt is the end."""

    class Deadly:
        name, model, version, local, sampling, settings = "deadly", "none", "1", True, SAMPLING, dict[str, str]()

        def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
            for one in calls:
                if one.messages[1].content == "prompt 13":
                    os.kill(os.getpid(), signal.SIGKILL)
                yield Reply(one.key, "fine", "", "stop")

    return Deadly


def test_what_makes_every_call_pointless_is_raised_on_one_line(cluster: None, server: StandIn) -> None:
    server.plan = lambda asked: refusal(401)
    with pytest.raises(ConfigError, match=f"HTTP 401.*{KEY_VARIABLE}") as raised:
        list(engine(server).replies(call(i) for i in range(40)))
    assert "\n" not in str(raised.value)


def test_an_error_of_one_call_stays_its_own(cluster: None, server: StandIn) -> None:
    server.plan = lambda asked: refusal(400) if asked.prompt == "prompt 7" else Answer()
    found = {reply.key: reply for reply in engine(server).replies(call(i) for i in range(40))}
    assert [key for key, reply in found.items() if reply.error] == [7]


def test_a_model_in_the_workers_answers_as_it_does_here(cluster: None, tiny_chat_folder: Path) -> None:
    make = partial(TransformersEngine, tiny_chat_folder, Sampling(1.0, 0.9, 6), batch_size=4, device="cpu")
    asked = RayEngine(make, workers=1, group=8, address="auto")
    calls = [call(i) for i in range(12)]
    assert sorted(asked.replies(calls)) == sorted(make().replies(calls))
    assert (asked.name, asked.model, asked.sampling) == ("ray", "tiny-chat", Sampling(1.0, 0.9, 6))
    assert re.fullmatch(r"ray [\d.]+, transformers [\d.]+", asked.version)
    assert asked.settings == {"engine": "transformers", **make().settings}


def test_only_a_ray_of_its_own_is_local(cluster: None, server: StandIn) -> None:
    assert engine(server, address="local").local
    assert not engine(server, address="auto").local
    with pytest.raises(ConfigError, match="already takes part"):
        list(engine(server, address="local").replies([call(0)]))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "somewhere"])
def test_an_address_without_a_cluster_is_refused_soon(address: str, server: StandIn) -> None:
    with pytest.raises(ConfigError, match=re.escape(address)):
        list(RayEngine(client(server.url), 1, address=address).replies([call(0)]))
