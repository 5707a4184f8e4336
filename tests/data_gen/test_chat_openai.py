"""The engine against servers: one that misbehaves on demand, and `transformers serve` with a tiny model."""

import gc
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stand_in import MODEL, Answer, Asked, StandIn, at_once, refusal

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.openai import KEY_VARIABLE, OpenAIEngine
from data_gen.chat.ray import RayEngine
from data_gen.chat.transformers import TransformersEngine
from data_gen.chat.vllm import VLLMEngine
from data_gen.writer import Message
from syncabel.errors import ConfigError, MissingExtraError

SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_tokens=40)
SCHEMA = {"type": "object", "properties": {"sentences": {"type": "array", "items": {"type": "string"}}}, "required": ["sentences"]}
QUICK: dict[str, Any] = {"timeout_s": 2.0, "retries": 3, "patience_s": 5.0, "start_s": 0.3, "pause_s": 0.01}


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def engine(server: StandIn, **settings: Any) -> OpenAIEngine:
    return OpenAIEngine(server.url, MODEL, SAMPLING, **(QUICK | settings))


def call(key: Any, text: str | None = None, seed: int | None = None) -> Call:
    text = f"prompt {key}" if text is None else text
    return Call(key, (Message("system", "Write."), Message("user", text)), zlib.crc32(str(key).encode()) << 16 if seed is None else seed)


def calls(n: int) -> list[Call]:
    return [call(i) for i in range(n)]


def replies(asked: OpenAIEngine, given: list[Call]) -> dict[Any, Reply]:
    """By key; every call has exactly one."""
    found = list(asked.replies(given))
    assert Counter(reply.key for reply in found) == Counter(one.key for one in given)
    return {reply.key: reply for reply in found}


def chats(server: StandIn) -> list[Asked]:
    """Without the greeting at first contact."""
    return [asked for asked in server.asked if asked.path.endswith("/chat/completions") and "Say hello" not in asked.prompt]


def only(texts: str, answer: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
    """A plan that treats prompts holding `texts` so, and answers the rest at once."""
    return lambda asked: answer(asked) if texts in asked.prompt else at_once(asked)


def first(n: int, answer: Answer) -> Callable[[Asked], Answer]:
    """A plan that answers so the first n times a prompt is asked; the greeting is answered at once."""
    return lambda asked: answer if asked.times < n and "Say hello" not in asked.prompt else at_once(asked)


def test_every_call_gets_its_own_answer(server: StandIn) -> None:
    server.plan = lambda asked: Answer(asked.prompt.upper())
    found = replies(engine(server, concurrency=8), calls(100))
    assert all(reply == Reply(key, f"PROMPT {key}", "", "stop", 7, 3) for key, reply in found.items())
    assert len(chats(server)) == 100


def test_a_request_says_what_was_asked_for(server: StandIn) -> None:
    replies(engine(server), [call("a", "text", seed=2**47 + 5)])
    (asked,) = chats(server)
    assert asked.body == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Write."}, {"role": "user", "content": "text"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 40,
        "seed": 5,
    }


def test_calls_are_drawn_as_they_are_needed_and_few_are_under_way(server: StandIn) -> None:
    server.plan = lambda asked: Answer(delay_s=0.01)
    drawn = 0

    def endless() -> Iterator[Call]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield call(drawn)

    found = engine(server, concurrency=4).replies(endless())
    for taken in range(1, 60):
        next(found)
        assert drawn <= taken + 8
    found.close()
    assert server.most_at_once == 4


def test_closing_early_leaves_no_thread_and_no_warning(server: StandIn, recwarn: pytest.WarningsRecorder) -> None:
    server.plan = lambda asked: Answer(silent="1" in asked.prompt)
    threads = threading.active_count()
    found = engine(server, concurrency=8, timeout_s=60.0).replies(calls(40))
    assert next(found).text == "fine"
    started = time.monotonic()
    found.close()
    assert time.monotonic() - started < 10
    gc.collect()
    assert threading.active_count() == threads
    assert not recwarn.list


def test_an_error_of_the_caller_s_own_comes_through(server: StandIn) -> None:
    def broken() -> Iterator[Call]:
        yield call(1)
        raise KeyError("the plan")

    with pytest.raises(KeyError, match="the plan"):
        list(engine(server).replies(broken()))


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(500),
        refusal(503),
        refusal(429, "rate_limit_exceeded"),
        Answer(payload=b"not JSON"),
        Answer(payload={"choices": []}),
        Answer(broken=True),
    ],
    ids=["500", "503", "429", "no JSON", "no choice", "reset in the body"],
)
def test_what_passes_is_asked_again(server: StandIn, trouble: Answer) -> None:
    server.plan = first(2, trouble)
    found = replies(engine(server, concurrency=4), calls(12))
    assert all(reply.text == "fine" for reply in found.values())
    assert len(chats(server)) == 36


def test_a_hanging_answer_is_given_up_in_time_and_asked_again(server: StandIn) -> None:
    server.plan = first(1, Answer(silent=True))
    found = replies(engine(server, timeout_s=0.3), calls(3))
    assert all(reply.text == "fine" for reply in found.values())


def test_a_slow_server_is_waited_for(server: StandIn) -> None:
    server.plan = lambda asked: Answer(delay_s=0.4)
    assert all(reply.text == "fine" for reply in replies(engine(server), calls(6)).values())


@pytest.mark.parametrize("dated", [False, True])
def test_every_call_keeps_to_the_wait_the_server_asks_for(server: StandIn, dated: bool) -> None:
    refused_at, times = [0.0], []

    def plan(asked: Asked) -> Answer:
        if "first" in asked.prompt and not asked.times:
            refused_at[0] = time.time()
            wait = formatdate(time.time() + 2, usegmt=True) if dated else "1"
            return refusal(429, retry_after=wait)
        times.append(time.time())
        return Answer()

    server.plan = plan
    replies(engine(server, concurrency=1), [call("first"), call("second")])
    assert min(times[1:]) >= refused_at[0] + 0.95  # the first is the greeting's


def test_a_wait_beyond_patience_is_an_error(server: StandIn) -> None:
    server.plan = only("prompt", lambda asked: refusal(429, "slow_down", retry_after="3600"))
    (reply,) = replies(engine(server), calls(1)).values()
    assert reply == Reply(0, None, "HTTP 429 slow_down, invalid_request_error, asked 1 times")


def test_a_wait_that_is_no_number_does_not_outlast_patience(server: StandIn) -> None:
    server.plan = only("prompt", lambda asked: refusal(429, "slow_down", retry_after="nan"))
    (reply,) = replies(engine(server, patience_s=0.2), calls(1)).values()
    assert reply.text is None


@pytest.mark.parametrize("wrong", [{"timeout_s": 0.0}, {"timeout_s": float("nan")}, {"retries": -1}, {"patience_s": -1.0}, {"concurrency": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give"):
        OpenAIEngine("http://localhost:1/v1", "m", Sampling(), **wrong)


@pytest.mark.parametrize("wrong", [(-0.1, 1.0, 8), (float("nan"), 1.0, 8), (float("inf"), 1.0, 8), (0.5, 0.0, 8), (0.5, 1.1, 8), (0.5, 1.0, 0)])
def test_a_sampling_that_no_engine_can_do_is_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ConfigError, match="give"):
        Sampling(*wrong)


def test_a_poisoned_prompt_fails_alone(server: StandIn) -> None:
    server.plan = only("poison", lambda asked: refusal(500, message="poison in words"))
    found = replies(engine(server, concurrency=4), [*calls(20), call("bad", "some poison")][::-1])
    assert found.pop("bad") == Reply("bad", None, "HTTP 500 invalid_request_error, asked 4 times")
    assert all(reply.text == "fine" for reply in found.values())


def test_a_prompt_that_breaks_its_connection_fails_alone(server: StandIn) -> None:
    server.plan = only("poison", lambda asked: Answer(broken=True))
    found = replies(engine(server, concurrency=4), [call("bad", "some poison"), *calls(20)])
    assert found.pop("bad").error == "no connection, or a broken one, asked 4 times"
    assert all(reply.text == "fine" for reply in found.values())


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_bad_request_is_that_call_s_error_at_once_without_the_server_s_words(server: StandIn, status: int) -> None:
    server.plan = only("long", lambda asked: refusal(status, "context_length_exceeded", message="your long text is too long"))
    found = replies(engine(server), [call("bad", "a long text"), *calls(5)])
    assert found.pop("bad").error == f"HTTP {status} context_length_exceeded, invalid_request_error"
    assert all(reply.text == "fine" for reply in found.values())
    assert len(chats(server)) == 6


def test_cut_empty_and_odd_answers_are_delivered_as_they_are(server: StandIn) -> None:
    said = {"cut": Answer('{"sentences": ["The', finish="length"), "odd": Answer("{]"), "empty": Answer(""), "silent": Answer(payload=nothing())}
    server.plan = lambda asked: said.get(asked.prompt, Answer())
    found = replies(engine(server), [call(key, key) for key in said])
    assert found["cut"][1:4] == ('{"sentences": ["The', "", "length")
    assert [found[key].text for key in ("odd", "empty", "silent")] == ["{]", "", ""]


def nothing() -> dict[str, Any]:
    """What a model that thought until it was cut leaves."""
    return {"choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "length"}]}


def test_a_server_that_goes_and_comes_back_loses_no_call(server: StandIn) -> None:
    asked = engine(server, concurrency=8, retries=1, patience_s=20.0)
    server.plan = lambda one: Answer(delay_s=0.005)
    found = asked.replies(calls(200))
    taken = [next(found) for _ in range(50)]
    server.go()
    back = threading.Timer(1.5, server.come)
    back.start()
    taken += list(found)
    back.join()
    assert sorted(reply.key for reply in taken) == list(range(200))
    assert not [reply for reply in taken if reply.error]


def test_while_a_server_is_gone_one_probe_at_a_time_asks_for_it(server: StandIn) -> None:
    """Behind a proxy, which answers for it."""
    gone = [False]
    server.plan = lambda asked: refusal(503) if gone[0] else Answer(delay_s=0.005)
    about = server._about
    server._about = lambda asked: refusal(503) if gone[0] else about(asked)  # type: ignore[method-assign]
    found = engine(server, concurrency=8, patience_s=20.0).replies(calls(60))
    taken = [next(found) for _ in range(10)]
    gone[0], before = True, len(server.asked)
    threading.Timer(1.5, lambda: gone.__setitem__(0, False)).start()
    taken += list(found)
    during = [asked.path for asked in server.asked[before:]]
    assert not [reply for reply in taken if reply.error]
    assert during.count("/v1/chat/completions") <= 60 + 8  # each call under way was refused once
    assert 2 <= during.count("/v1/models") <= 8


def test_calls_fail_when_the_server_stays_away(server: StandIn) -> None:
    found = engine(server, concurrency=4, patience_s=0.5).replies(calls(30))
    taken = [next(found)]
    server.go()
    started = time.monotonic()
    taken += list(found)
    assert 0.4 < time.monotonic() - started < 10
    assert sorted(reply.key for reply in taken) == list(range(30))
    assert {reply.error for reply in taken if reply.text is None} == {f"{server.url} was gone for 0.5 s"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(401, "invalid_api_key"), f"HTTP 401 invalid_api_key.*set {KEY_VARIABLE}"),
        (refusal(403), f"HTTP 403.*set {KEY_VARIABLE}"),
        (refusal(404, "model_not_found"), "HTTP 404.*knows no model 'stand-in'"),
        (refusal(429, "insufficient_quota"), "HTTP 429.*quota is used up"),
        (Answer(status=307, payload={}, headers={"Location": "http://192.0.2.1/v1"}), "HTTP 307.*another address"),
    ],
    ids=["401", "403", "404", "quota", "redirection"],
)
@pytest.mark.parametrize("later", [False, True], ids=["at first contact", "later"])
def test_what_makes_every_call_pointless_is_raised_once_on_one_line(server: StandIn, answer: Answer, said: str, later: bool) -> None:
    server.plan = only("prompt" if later else "", lambda asked: answer)
    with pytest.raises(ConfigError, match=said) as raised:
        list(engine(server, retries=0).replies(calls(50)))
    assert "\n" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert len(chats(server)) <= (32 if later else 0)


def test_no_server_is_said_soon_and_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ConfigError, match=f"{re.escape(url)}: no connection.*start the server"):
            list(OpenAIEngine(url, MODEL, SAMPLING, **QUICK).replies(calls(3)))


def test_a_server_that_comes_up_late_is_waited_for(server: StandIn) -> None:
    server.go()
    late = threading.Timer(0.5, server.come)
    late.start()
    assert len(replies(engine(server, start_s=10.0), calls(3))) == 3
    late.join()


def takes(*forms: str, heeds: bool = True) -> Callable[[Asked], Answer]:
    """A plan that accepts these kinds of response_format, and writes JSON when it heeds them."""

    def plan(asked: Asked) -> Answer:
        form = asked.body.get("response_format", {}).get("type")
        if form is not None and form not in forms:
            return refusal(400, "unsupported_parameter")
        return Answer('{"sentences": []}' if form and heeds else "Hello!")

    return plan


def test_a_free_call_is_not_held_to_the_schema(server: StandIn) -> None:
    server.plan = takes("json_schema")
    found = replies(engine(server, schema=SCHEMA), [one._replace(free=one.key % 2 == 1) for one in calls(6)])
    assert [found[i].text for i in range(6)] == ['{"sentences": []}', "Hello!"] * 3


@pytest.mark.parametrize(
    ("plan", "settled"),
    [
        (takes("json_schema", "json_object"), "json_schema"),
        (takes("json_object"), "json_object"),
        (takes(), "none"),
        (takes("json_schema", heeds=False), "none"),
    ],
    ids=["schema", "object", "nothing", "ignored"],
)
def test_answers_are_held_to_the_schema_as_far_as_the_server_can(server: StandIn, plan: Any, settled: str, caplog: pytest.LogCaptureFixture) -> None:
    server.plan = plan
    with caplog.at_level(logging.WARNING):
        asked = engine(server, schema=SCHEMA)
        replies(asked, calls(4))
        replies(asked, calls(4))
    assert asked.structured_output == asked.settings["structured"] == settled
    assert [record.message for record in caplog.records] == (
        [] if settled == "json_schema" else [f"{server.url} does not hold answers to a JSON schema: structured output is {settled}"]
    )
    formats = [one.body.get("response_format") for one in chats(server)]
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    assert formats == [{"json_schema": schema, "json_object": {"type": "json_object"}, "none": None}[settled]] * 8


def test_a_form_that_was_asked_for_and_is_not_there_is_refused(server: StandIn) -> None:
    server.plan = takes("json_schema", heeds=False)
    with pytest.raises(ConfigError, match=r"ignores response_format.*use structured: auto"):
        list(engine(server, schema=SCHEMA, structured="json_schema").replies(calls(3)))


@pytest.mark.parametrize("trouble", [refusal(503), refusal(429), Answer(silent=True)], ids=["503", "429", "silent"])
def test_a_server_in_trouble_is_not_taken_for_one_without_a_schema(server: StandIn, trouble: Answer) -> None:
    server.plan = lambda asked: trouble if "response_format" in asked.body else Answer()
    with pytest.raises(ConfigError, match=r"fails a short chat with structured output json_schema.*try later") as raised:
        list(engine(server, schema=SCHEMA, retries=0, timeout_s=0.3).replies(calls(3)))
    assert "\n" not in str(raised.value)


def test_the_version_is_what_the_server_says(server: StandIn) -> None:
    assert engine(server).version == "stand-in 1.2.3"
    server._about = lambda asked: refusal(404)  # type: ignore[method-assign]
    assert engine(server).version == "stand-in/1"
    assert (engine(server).name, engine(server).model) == ("openai", MODEL)


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("[::1]", True), ("0.0.0.0", False), ("127.0.0.1.example.org", False), ("10.0.0.1", False)],
)
def test_only_loopback_is_local(host: str, local: bool) -> None:
    assert OpenAIEngine(f"http://{host}:8000/v1", MODEL, SAMPLING).local is local


def test_a_local_server_is_asked_without_the_proxy_of_the_environment(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        replies(engine(server), calls(3))
        assert not proxy.asked


def test_the_key_goes_to_the_server_and_nowhere_else(server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-canary")
    server.plan = only("bad", lambda asked: refusal(401, message="sk-canary is no key"))
    asked = engine(server)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError) as raised:
        list(asked.replies([*calls(3), call("bad", "bad")]))
    assert {one.headers["authorization"] for one in server.asked if one.body} == {"Bearer sk-canary"}
    written = [repr(asked), str(asked.settings), str(raised.value), *(record.getMessage() for record in caplog.records)]
    assert not [text for text in written if "canary" in text]


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sécret")
    with pytest.raises(ConfigError, match=KEY_VARIABLE) as refused:
        engine(server).version  # noqa: B018
    assert "cret" not in str(refused.value)
    monkeypatch.setenv(KEY_VARIABLE, "key-of-a-file\n")
    assert engine(server).version == "stand-in 1.2.3"


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?key=secret", "localhost:8000", "ftp://host/v1"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        OpenAIEngine(url, MODEL, SAMPLING)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("package", "extra", "make"),
    [
        ("openai", "generate", lambda: OpenAIEngine("http://localhost:1/v1", MODEL, SAMPLING)),
        ("torch", "link", lambda: TransformersEngine("folder", SAMPLING)),
        ("vllm", "vllm", lambda: VLLMEngine("folder", SAMPLING)),
        ("ray", "ray", lambda: RayEngine(partial(VLLMEngine, "folder", SAMPLING), 2)),
    ],
)
def test_a_missing_package_names_its_extra(package: str, extra: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*syncabel\[{extra}\]"):
        make()


def test_pauses_come_from_the_call_s_seed() -> None:
    from data_gen.chat.openai import _pauses

    one, again, other = ([next(pauses) for pauses in [_pauses(0.5, seed)] for _ in range(9)] for seed in (1, 1, 2))
    assert one == again != other
    assert all(0.25 * 2**i <= pause <= 0.5 * 2**i for i, pause in enumerate(one[:6]))
    assert max(one) <= 30


@pytest.fixture(scope="module")
def served(tiny_chat_folder: Path) -> Iterator[str]:
    """`transformers serve` on a free port with a tiny random Llama, offline."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(tiny_chat_folder), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--device", "cpu"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_real_server_answers_and_is_seen_to_ignore_the_schema(served: str, tiny_chat_folder: Path) -> None:
    asked = OpenAIEngine(served, str(tiny_chat_folder), Sampling(0.0, 1.0, 8), schema=SCHEMA, concurrency=2, start_s=60.0)
    found = replies(asked, calls(6))
    assert asked.structured_output == "none"
    assert all(reply.text and reply.finish in ("length", "stop") and reply.prompt_tokens > 0 for reply in found.values())
    assert found == replies(asked, calls(6))


@pytest.mark.slow
def test_a_real_server_refuses_a_model_it_does_not_have(served: str) -> None:
    with urllib.request.urlopen(served.replace("/v1", "/health")) as health:
        assert json.load(health) == {"status": "ok"}
    with pytest.raises(ConfigError, match="another model") as raised:
        list(OpenAIEngine(served, "no-such-model", Sampling(), start_s=60.0).replies(calls(2)))
    assert "\n" not in str(raised.value)
