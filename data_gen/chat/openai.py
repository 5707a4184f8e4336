"""Chats completed by an OpenAI-compatible server: vLLM, TGI, llama.cpp, `transformers serve`, a hosted one.

A call that fails is asked again, with growing pauses whose jitter comes from the call's own seed.  What is wrong decides how long:

    429                           as long as `patience_s` allows, not before the server's Retry-After; every other call holds as well
    5xx, timeout, broken answer   `retries` times
    no connection, 502, 503, 504  likewise, and first one probe at a time waits for the server, up to `patience_s`
    any other 4xx                 never: it is this call's error
    401, 403, 404, used-up quota  never, and no other call either: ConfigError

The key comes from OPENAI_API_KEY and goes nowhere but into the client.  Errors hold the server's status and its error code, never
its message, which may repeat the prompt.
"""

import asyncio
import email.utils
import hashlib
import ipaddress
import json
import logging
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from data_gen.chat.background import Answer, in_background
from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.writer import Message
from syncabel.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from openai import APIError, APIStatusError, AsyncOpenAI, OpenAI

__all__ = ["KEY_VARIABLE", "OpenAIEngine", "Structured"]

KEY_VARIABLE = "OPENAI_API_KEY"
Structured = Literal["auto", "json_schema", "json_object", "none"]

_LONGEST_PAUSE_S = 30.0
_PROBE_TIMEOUT_S = 10.0
_HELLO_TOKENS = 32
_BUSY = 429
_GONE = frozenset({502, 503, 504})  # said by what stands before a server that is not there
_REFUSED = frozenset({401, 403})
# Some servers take only chats that name JSON when they are to write it, others write what they like: this tells them apart.
_HELLO = (Message("user", "Say hello, and write no JSON."),)

_logger = logging.getLogger(__name__)


class _Contact(NamedTuple):
    """What the server said before the first call."""

    version: str
    structured: Literal["json_schema", "json_object", "none"]


@dataclass(frozen=True, eq=False)
class OpenAIEngine:
    """A `ChatEngine` that asks an OpenAI-compatible server.

    The server is first spoken to when `version`, `structured_output`, `settings` or the first reply is asked for, with one short
    chat; so a plan can be made without it.

    Attributes:
        base_url: address of the API, e.g. "http://localhost:8000/v1".
        model: the name the server knows the model by.
        sampling: how tokens are drawn.
        schema: JSON schema that answers are held to where the server can.
        structured: how they are held to it; "auto" takes the first that the server accepts and heeds, and says in the log when that
            is less than the schema.
        concurrency: most calls under way.
        timeout_s: longest wait for one answer.
        retries: how often a failed call is asked again.
        patience_s: how long a server may be gone, or say that it is busy, before calls fail.
        start_s: how long the server may be gone at the very first contact.
        pause_s: first pause before a call is asked again; each further one is twice as long, up to half a minute.

    Raises:
        ConfigError: the address is none, or holds a password or a query; a number out of range.
        MissingExtraError: the client is not installed.
    """

    base_url: str
    model: str
    sampling: Sampling
    _: KW_ONLY
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    structured: Structured = "auto"
    concurrency: int = 32
    timeout_s: float = 120.0
    retries: int = 5
    patience_s: float = 600.0
    start_s: float = 10.0
    pause_s: float = 0.5

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.username or parts.password or parts.query:
            raise ConfigError(f"the server's address holds a password or a query: leave it out, and give the key in {KEY_VARIABLE}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{self.base_url!r} is no server's address: give one like http://localhost:8000/v1")
        if self.concurrency < 1:
            raise ConfigError(f"{self.concurrency} calls at once: give 1 or more")
        if not (self.timeout_s > 0 and self.retries >= 0 and self.patience_s >= 0):
            raise ConfigError(
                f"timeout {self.timeout_s}, retries {self.retries}, patience {self.patience_s}: give a timeout above 0, and 0 or more of the others"
            )
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("generate", str(error.name)) from None

    @property
    def name(self) -> str:
        """`openai`."""
        return "openai"

    @property
    def version(self) -> str:
        """What the server says of itself, e.g. "vllm 0.32.0", or "openai-compatible"."""
        return self._contact.version

    @property
    def structured_output(self) -> str:
        """How answers are held to the schema: `json_schema`, `json_object` or `none`."""
        return self._contact.structured

    @property
    def local(self) -> bool:
        """Whether the server's address is this machine's own; then no proxy is asked and no redirection followed."""
        return _is_loopback(str(urlsplit(self.base_url).hostname))

    @property
    def settings(self) -> dict[str, str]:
        """What else decides the answers: how they are held to the schema, and the schema's SHA-256."""
        return {"structured": self.structured_output, "schema": _digest(self.schema) if self.structured_output == "json_schema" else ""}

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """See `ChatEngine`.

        At most `concurrency` calls are under way and as many more wait.  Closing the iterator cancels them.

        Raises:
            ConfigError: no server answers, or it refuses the key, does not know the model, or does not do what `structured` asks.
        """
        body = self._body(self.structured_output)
        yield from in_background(lambda: _session(self, body), calls, self.concurrency)

    @cached_property
    def _contact(self) -> _Contact:
        return _FirstContact(self).made()

    def _body(self, structured: str) -> dict[str, Any]:
        """What every request holds."""
        sampling = self.sampling
        body = {"model": self.model, "temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
        if structured == "json_schema":
            body["response_format"] = {"type": structured, "json_schema": {"name": "answer", "schema": self.schema, "strict": True}}
        elif structured == "json_object":
            body["response_format"] = {"type": structured}
        return body

    def _client_settings(self, retries: int) -> dict[str, Any]:
        # A server of one's own asks for no key, the client insists on one.
        return {"base_url": self.base_url, "api_key": _key() or "none", "timeout": self.timeout_s, "max_retries": retries}


@asynccontextmanager
async def _session(engine: OpenAIEngine, body: dict[str, Any]) -> AsyncIterator[Answer]:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    http = DefaultAsyncHttpxClient(trust_env=not engine.local, follow_redirects=False, timeout=engine.timeout_s)
    async with AsyncOpenAI(http_client=http, **engine._client_settings(retries=0)) as client:
        yield _Asker(engine, client, body).answer


class _Trouble(NamedTuple):
    """Why an attempt failed.

    Attributes:
        error: one line.
        kind: `busy`: asked to wait; `lost`: the server may be gone; `failed`: anything else that may pass.
        wait_s: how long the server asks to be left alone; 0 where it does not say.
    """

    error: str
    kind: Literal["busy", "lost", "failed"]
    wait_s: float = 0.0


class _Asker:
    """Asks one server, attempt after attempt; what concerns every call is shared: whether it is there, when it may be asked again."""

    def __init__(self, engine: OpenAIEngine, client: "AsyncOpenAI", body: dict[str, Any]) -> None:
        self._engine, self._client, self._body, self._free_body = engine, client, body, engine._body("none")
        self._presence = _Presence(self._is_there, engine.patience_s)
        self._not_before = 0.0

    async def answer(self, call: Call) -> Reply:
        """The one reply to a call."""
        failures = asked = 0
        deadline = time.monotonic() + self._engine.patience_s
        pauses = _pauses(self._engine.pause_s, call.seed)
        while await self._may_ask():
            outcome = await self._attempt(call)
            if isinstance(outcome, Reply):
                return outcome
            asked += 1
            failures += outcome.kind != "busy"
            told_to_wait = outcome.kind == "busy" or outcome.wait_s > 0
            if failures > self._engine.retries or (told_to_wait and time.monotonic() + outcome.wait_s > deadline):
                return Reply(call.key, None, f"{outcome.error}, asked {asked} times")
            self._not_before = max(self._not_before, time.monotonic() + outcome.wait_s)
            if outcome.kind == "lost":
                self._presence.doubt()
            await asyncio.sleep(next(pauses))
        return Reply(call.key, None, f"{self._engine.base_url} was gone for {self._engine.patience_s:g} s")

    async def _may_ask(self) -> bool:
        while (wait_s := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        return await self._presence.there()

    async def _attempt(self, call: Call) -> Reply | _Trouble:
        from openai import APIConnectionError, APIStatusError

        body = {**(self._free_body if call.free else self._body), "messages": [message._asdict() for message in call.messages], "seed": call.seed & 0x7FFF_FFFF}
        try:
            # As a plain string: the client's own types take as long again as all the rest.
            text = await self._client.post("/chat/completions", cast_to=str, body=body)
        except APIStatusError as error:
            return self._refused(call, error)
        except APIConnectionError as error:
            return _Trouble(_unreached(error), "lost")
        self._presence.seen()
        return _reply(call.key, text) or _Trouble("the server's answer is no chat completion", "failed")

    def _refused(self, call: Call, error: "APIStatusError") -> Reply | _Trouble:
        if (fatal := _fatal(self._engine, error)) is not None:
            raise fatal from None
        status = error.status_code
        if status == _BUSY:
            return _Trouble(_described(error), "busy", _retry_after_s(error.response.headers))
        if status in _GONE:
            return _Trouble(_described(error), "lost", _retry_after_s(error.response.headers))
        if _may_pass(status):
            return _Trouble(_described(error), "failed")
        return Reply(call.key, None, _described(error))

    async def _is_there(self) -> bool:
        """Whether anything but a proxy answers; a question that no call's words can spoil."""
        from openai import APIConnectionError, APIStatusError

        try:
            await self._client.get("/models", cast_to=str, options={"timeout": min(_PROBE_TIMEOUT_S, self._engine.timeout_s)})
        except APIConnectionError:
            return False
        except APIStatusError as error:
            return error.status_code not in _GONE
        return True


class _Presence:
    """Whether the server is there; while it is not, one probe at a time is sent and every call waits for it.

    Args:
        probe: asks the server.
        patience_s: how long it is waited for; afterwards calls fail at once, but for a probe now and then.
    """

    def __init__(self, probe: Callable[[], Awaitable[bool]], patience_s: float) -> None:
        self._probe, self._patience_s = probe, patience_s
        self._seen = self._given_up = -float("inf")
        self._search: asyncio.Task[bool] | None = None

    def seen(self) -> None:
        """A call was answered."""
        self._seen = time.monotonic()

    def doubt(self) -> None:
        """A call found no server."""
        if self._search is None:
            self._search = asyncio.create_task(self._wait(self._patience_s))

    async def there(self) -> bool:
        """Waits until it is; False once patience is out."""
        if self._search is None:
            return True
        if self._search.done() and time.monotonic() > self._given_up + _LONGEST_PAUSE_S:
            self._search = asyncio.create_task(self._wait(0.0))
        return await asyncio.shield(self._search)

    async def _wait(self, patience_s: float) -> bool:
        started = time.monotonic()
        for pause in _pauses(0.25, 0):
            if await self._probe() or self._seen > started:
                self._search = None
                return True
            left = started + patience_s - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(pause, left))
        self._given_up = time.monotonic()
        return False


class _FirstContact:
    """One short chat before all others: is the server there, does it take the key, the model and the schema."""

    def __init__(self, engine: OpenAIEngine) -> None:
        self._engine = engine

    def made(self) -> _Contact:
        """What it says of itself, and how it holds answers to the schema.

        Raises:
            ConfigError: see `OpenAIEngine.replies`.
        """
        from openai import DefaultHttpxClient, OpenAI

        engine = self._engine
        http = DefaultHttpxClient(trust_env=not engine.local, follow_redirects=False, timeout=engine.timeout_s)
        with OpenAI(http_client=http, **engine._client_settings(engine.retries)) as client:
            server, owner = self._models(client)
            return _Contact(self._version(client, server, owner), self._structured(client))

    def _models(self, client: "OpenAI") -> tuple[str, str]:
        """The Server header, and whose the model is, as far as the server says; waits for it to come up."""
        from openai import APIConnectionError, APIStatusError

        deadline = time.monotonic() + self._engine.start_s
        once = client.with_options(max_retries=0, timeout=min(_PROBE_TIMEOUT_S, self._engine.timeout_s))
        for pause in _pauses(0.25, 0):
            try:
                answer = once.models.with_raw_response.list()
                return answer.headers.get("server", ""), _owner(answer.content, self._engine.model)
            except APIConnectionError as error:
                problem = _unreached(error)
            except APIStatusError as error:
                if error.status_code in _REFUSED:
                    raise _refusal(self._engine, error) from None
                if error.status_code not in _GONE:  # it is there, and keeps no list
                    return error.response.headers.get("server", ""), ""
                problem = _described(error)
            if time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise ConfigError(f"{self._engine.base_url}: {problem}; start the server, or give another address")

    def _version(self, client: "OpenAI", server: str, owner: str) -> str:
        from openai import APIError

        named = owner or server or "openai-compatible"
        root = self._engine.base_url.rstrip("/").removesuffix("/v1")
        try:
            said = json.loads(client.with_options(max_retries=0).get(f"{root}/version", cast_to=str))
        except (APIError, ValueError):
            return _one_line(named)
        number = said.get("version") if isinstance(said, dict) else None
        return _one_line(f"{owner or 'openai-compatible'} {number}" if isinstance(number, str) else named)

    def _structured(self, client: "OpenAI") -> Any:
        engine = self._engine
        if engine.schema is None or engine.structured == "none":
            forms: tuple[str, ...] = ("none",)
        else:
            forms = ("json_schema", "json_object", "none") if engine.structured == "auto" else (engine.structured,)
        for form in forms:
            problem = self._problem(client, form)
            if not problem:
                if form != forms[0]:
                    _logger.warning("%s does not hold answers to a JSON schema: structured output is %s", engine.base_url, form)
                return form
        hint = "give another model or address" if form == "none" else "use structured: auto"
        raise ConfigError(f"{engine.base_url} does not complete a short chat with structured output {form} ({problem}); {hint}")

    def _problem(self, client: "OpenAI", form: str) -> str:
        """Why a form of structured output does not work; "" where it does."""
        from openai import APIConnectionError, APIStatusError

        try:
            return self._heeds(client, form)
        except APIStatusError as error:
            if (fatal := _fatal(self._engine, error)) is not None:
                raise fatal from None
            problem = _described(error)
            if not _may_pass(error.status_code):
                return problem
        except APIConnectionError as error:
            problem = _unreached(error)
        # A server in trouble has not said what it can.
        raise ConfigError(f"{self._engine.base_url} fails a short chat with structured output {form} ({problem}): try later, or another form")

    def _heeds(self, client: "OpenAI", form: str) -> str:
        body = self._engine._body(form) | {"messages": [message._asdict() for message in _HELLO], "max_tokens": _HELLO_TOKENS, "seed": 0}
        reply = _reply(None, client.post("/chat/completions", cast_to=str, body=body))
        if reply is None:
            return "its answer is no chat completion"
        # A server that takes what it does not know says nothing; a greeting in words gives it away.
        ignored = form != "none" and bool(reply.text) and not str(reply.text).lstrip().startswith(("{", "["))
        return "it ignores response_format" if ignored else ""


def _reply(key: Any, text: str) -> Reply | None:
    """A server's answer as a reply; None where it is no chat completion. An answer without content is an empty one."""
    try:
        body = json.loads(text)
        choice, usage = body["choices"][0], body.get("usage") or {}
        content, finish = choice["message"].get("content"), choice.get("finish_reason")
        counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    if content is not None and not isinstance(content, str):
        return None
    return Reply(key, content or "", "", str(finish or ""), *counts)


def _fatal(engine: OpenAIEngine, error: "APIStatusError") -> ConfigError | None:
    """What makes every further call pointless; None where the next may do better."""
    if error.status_code in _REFUSED or error.status_code == 404 or 300 <= error.status_code < 400 or error.code == "insufficient_quota":
        return _refusal(engine, error)
    return None


def _may_pass(status: int) -> bool:
    """Whether the same request may do better later."""
    return status >= 500 or status in (408, 409, _BUSY)


def _refusal(engine: OpenAIEngine, error: "APIStatusError") -> ConfigError:
    what = f"{engine.base_url} refuses ({_described(error)})"
    if error.status_code in _REFUSED:
        return ConfigError(f"{what}: set {KEY_VARIABLE} to a key it takes")
    if error.status_code == 404:
        return ConfigError(f"{what}: it knows no model {engine.model!r}, or the address is not its API's, which usually ends in /v1")
    if error.status_code == _BUSY:
        return ConfigError(f"{what}: the key's quota is used up; raise it, or use another {KEY_VARIABLE}")
    return ConfigError(f"{what}: it sends on to another address; give that one")


def _described(error: "APIStatusError") -> str:
    """Status and error codes, nothing that the server wrote in words."""
    words = [word for word in (error.code, error.type, error.param) if isinstance(word, str) and re.fullmatch(r"[A-Za-z][\w.]{0,39}", word)]
    return f"HTTP {error.status_code}" + (f" {', '.join(dict.fromkeys(words))}" if words else "")


def _unreached(error: "APIError") -> str:
    from openai import APITimeoutError

    return "no answer in time" if isinstance(error, APITimeoutError) else "no connection, or a broken one"


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to be left alone (RFC 9110, 10.2.3: a number or a date); 0 where it says nothing readable."""
    said = headers.get("retry-after", "")
    try:
        return min(max(0.0, float(said)), 86_400.0)  # in this order "nan" is 0
    except ValueError:
        date = email.utils.parsedate_tz(said)
    return 0.0 if date is None else max(email.utils.mktime_tz(date) - time.time(), 0.0)


def _pauses(first_s: float, seed: int) -> Iterator[float]:
    """Pauses in seconds, each twice the last up to half a minute, each shortened by up to a half, drawn from the seed."""
    rng = random.Random(seed)
    pause = first_s
    while True:
        yield pause * (1 - rng.random() / 2)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _owner(content: bytes, model: str) -> str:
    """`owned_by` of a model in the server's list, e.g. "vllm"; "" where it says nothing."""
    try:
        listed = json.loads(content)["data"]
        return next((str(one.get("owned_by") or "") for one in listed if one.get("id") == model), "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)[:80]


def _key() -> str:
    """The key, without the line end that a file it was read from may have had."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY_VARIABLE} holds characters that no key has: set it again")
    return key


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(schema: Mapping[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
