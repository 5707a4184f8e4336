"""A chat server on a port of this machine that answers at once, or misbehaves as its plan says.

It speaks HTTP over plain sockets, for a server of the usual make cannot break a connection inside a body.  As a program
(`python stand_in.py`) it prints its port and answers at once until its input ends; tests and benchmarks use it so in a process of
its own.
"""

import asyncio
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MODEL = "stand-in"
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Asked(NamedTuple):
    """A request as it came in; `times` counts how often this very prompt came before."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    times: int

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Answer:
    """What is sent back: `text` as a chat completion, or `payload` as it stands."""

    text: str = "fine"
    status: int = 200
    finish: str = "stop"
    payload: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    broken: bool = False  # the connection is reset half-way through the body
    silent: bool = False  # nothing is ever sent

    def encoded(self) -> bytes:
        payload = self.payload if self.payload is not None else completion(self.text, self.finish)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Server": "stand-in/1", **self.headers}
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def completion(text: str, finish: str) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def refusal(status: int, code: str = "", message: str = "no", **headers: str) -> Answer:
    """An error of the usual form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, payload={"error": {"message": message, "type": "invalid_request_error", "code": code}}, headers=named)


Plan = Callable[[Asked], Answer]


def at_once(asked: Asked) -> Answer:
    return Answer()


class StandIn:
    """The server on a thread of its own; everything it was asked is kept in `asked`."""

    def __init__(self, plan: Plan = at_once, keep: bool = True) -> None:
        self.plan, self.asked, self.port, self.most_at_once = plan, list[Asked](), 0, 0
        self._keep, self._times, self._open = keep, Counter[str](), 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> "StandIn":
        self._thread.start()
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def prompts(self) -> list[str]:
        """Of the chats, in the order they came."""
        return [asked.prompt for asked in self.asked if asked.path.endswith("/chat/completions")]

    def come(self) -> None:
        """Listen, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def go(self) -> None:
        """Stop listening and break every connection."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        this = asyncio.current_task()
        serving = [task for task in asyncio.all_tasks() if task is not this]
        for writer in self._writers:
            writer.transport.abort()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client hung up, or the server goes
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await self._read(reader)
        answer = self.plan(asked) if asked.body else self._about(asked)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            if answer.silent:
                await asyncio.sleep(3600)
            if answer.delay_s:
                await asyncio.sleep(answer.delay_s)
        finally:
            self._open -= 1
        data = answer.encoded()
        writer.write(data[: len(data) - 20] if answer.broken else data)
        await writer.drain()
        if answer.broken:
            writer.transport.abort()
        return not answer.broken

    async def _read(self, reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        body = json.loads(raw) if raw else {}
        key = json.dumps(body.get("messages"))
        asked = Asked(head[0].split(" ")[1], headers, body, self._times[key] if self._keep else 0)
        if self._keep:
            self._times[key] += 1
            self.asked.append(asked)
        return asked

    def _about(self, asked: Asked) -> Answer:
        """What it says of itself."""
        if asked.path == "/version":
            return Answer(payload={"version": "1.2.3"})
        if asked.path == "/v1/models":
            return Answer(payload={"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "stand-in"}]})
        return refusal(404)


def main() -> None:
    with StandIn(keep=False) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
