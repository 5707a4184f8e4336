"""Tell a chat how a run ended: one message to a Discord or Slack webhook, whose address comes from the environment.

The address is a secret: whoever knows it can write into the chat.  It stands in no message, no log and no repr.  The standard
library sends the one request that a run makes; a client library would bring nothing but its own logging of addresses.

Formats: Discord, *Execute Webhook* (`content` of at most 2,000 characters, `allowed_mentions`); Slack, *Incoming webhooks*
(`text`; `&`, `<` and `>` escaped; shown whole up to 4,000 characters).
"""

import json
import os
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from syncabel.errors import ConfigError, UnknownNameError

__all__ = ["VARIABLE", "Outcome", "State", "Webhook", "WebhookKind", "body_of"]

VARIABLE = "SYNCABEL_WEBHOOK"
WebhookKind = Literal["discord", "slack"]
State = Literal["finished", "failed", "interrupted", "stopped", "requeued"]
TIMEOUT_S = 5.0  # of each socket operation
DEADLINE_S = 8.0  # of the whole: name look-up has no timeout, and a server may send a byte every other second
_UNPRINTABLE = frozenset(map(chr, (*range(33), 127)))
MOST_CHARACTERS: Mapping[str, int] = {"discord": 2000, "slack": 4000}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: what became of it; a scheduler's signal leaves it `requeued` where something starts it again, else `stopped`.
        title: which run, e.g. the names of its configuration and its output folder.
        figures: label -> value, in the order shown; never text of a corpus.
    """

    state: State
    title: str
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to tell it.

    Attributes:
        kind: `discord` or `slack`.
        address: http or https; a secret.

    Raises:
        UnknownNameError: no such kind.
        ConfigError: the address is none.
    """

    kind: WebhookKind
    address: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(WebhookKind):
            raise UnknownNameError("webhook", self.kind, get_args(WebhookKind))
        if not _is_address(self.address):
            raise ConfigError(f"{VARIABLE} holds no http or https address; copy the webhook's address from {self.kind.title()} into it")

    @classmethod
    def from_environment(cls, kind: WebhookKind) -> "Webhook":
        """The webhook whose address SYNCABEL_WEBHOOK holds.

        Raises:
            UnknownNameError: no such kind.
            ConfigError: the variable is not set, or holds no address.
        """
        if not (address := os.environ.get(VARIABLE, "").strip()):
            raise ConfigError(f"a webhook is asked for and {VARIABLE} is not set; export its address, or set webhook: none")
        return cls(kind, address)

    def tell(self, outcome: Outcome) -> bool:
        """Send one message; trouble on the way is one line on standard error and no exception.

        Returns:
            Whether the service took it.
        """
        problem = _sent_in_time(self.address, body_of(self.kind, outcome))
        if problem is not None:
            print(f"syncabel: the {self.kind} webhook was not told ({problem}); the run itself is not concerned", file=sys.stderr)
        return problem is None


def body_of(kind: WebhookKind, outcome: Outcome) -> dict[str, Any]:
    """The JSON body of a message, within the service's limit; what is too long is cut at the end and marked with an ellipsis."""
    most = MOST_CHARACTERS[kind]
    if kind == "discord":
        # Without allowed_mentions, an `@everyone` in a title would call everyone.
        return {"content": _cut(_text(outcome, "**"), most), "allowed_mentions": {"parse": []}}
    return {"text": _escaped(_text(outcome, "*"), most)}


def _text(outcome: Outcome, bold: str) -> str:
    head = f"{bold}syncabel: {outcome.state}{bold} {_one_line(outcome.title)}".rstrip()
    return "\n".join([head, *(f"{_one_line(label)}: {_one_line(value)}" for label, value in outcome.figures.items())])


def _one_line(text: str) -> str:
    # A lone surrogate, from a file name for instance, has no UTF-8.
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _units(text: str) -> int:
    """Length as UTF-16 has it: whether a service counts an emoji once or twice, a text is then short enough."""
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, most: int) -> str:
    return text if _units(text) <= most else text.encode("utf-16-le")[: 2 * (most - 1)].decode("utf-16-le", "ignore") + "…"


def _escaped(text: str, most: int) -> str:
    """Slack's escapes, cut so that none is cut in two."""
    escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    text, room = text[: most + 1], most
    while (excess := _units(written := "".join(escapes.get(letter, letter) for letter in _cut(text, room))) - most) > 0:
        room -= -(-excess // 5)  # five is the longest escape, so that no room is given away
    return written


def _is_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and address.isascii() and not set(address) & _UNPRINTABLE
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would hand the message, and a part of the address with it, to a host that nobody named."""

    def redirect_request(self, *_rest: object) -> None:
        """None, which makes the answer an error like any other."""


def _sent_in_time(address: str, body: Mapping[str, Any]) -> str | None:
    """Why a message was not taken, or None where it was; after the deadline nobody waits for it any longer."""
    answer: list[str | None] = ["no answer in time"]

    def send() -> None:
        answer[0] = _sent(address, body)

    thread = threading.Thread(target=send, name="syncabel-webhook", daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return answer[0]


def _sent(address: str, body: Mapping[str, Any]) -> str | None:
    """Why a message was not taken; the kind of trouble only, for messages of the libraries beneath may hold the address."""
    headers = {"Content-Type": "application/json", "User-Agent": "syncabel"}
    try:
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as response:
            return None if 200 <= response.status < 300 else f"HTTP {response.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return _kind_of(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        return _kind_of(error)


def _kind_of(trouble: BaseException | str) -> str:
    if isinstance(trouble, TimeoutError):
        return "no answer in time"
    if isinstance(trouble, ssl.SSLError):
        return f"TLS, {type(trouble).__name__}"
    return type(trouble).__name__ if isinstance(trouble, BaseException) else "no such service"
