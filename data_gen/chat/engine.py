"""What runs a language model for a writer: a server, an engine in this process, a cluster; one interface."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from data_gen.writer import Message
from syncabel.errors import ConfigError

__all__ = ["Call", "ChatEngine", "Reply", "Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 for the most probable token.
        top_p: share of the probability that is drawn from; a fraction in (0, 1].
        max_tokens: most tokens of an answer.

    Raises:
        ConfigError: a number out of range.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; give 0 or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; give a fraction above 0, up to 1")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; give 1 or more")


class Call(NamedTuple):
    """One chat to be completed.

    Attributes:
        key: what the caller knows it by; handed back.
        messages: the chat.
        seed: of the sampling; 48 bits (an engine that takes fewer uses the low ones).
        free: the answer is not held to the engine's schema.
    """

    key: Any
    messages: Sequence[Message]
    seed: int
    free: bool = False


class Reply(NamedTuple):
    """What became of a call.

    Attributes:
        key: as in the call.
        text: the answer, untouched; None where there is none.
        error: why there is none, on one line and without any text of the messages; "" where there is one.
        finish: why the answer ended: "stop", "length", ….
        prompt_tokens, completion_tokens: 0 where the engine does not count.
    """

    key: Any
    text: str | None
    error: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatEngine(Protocol):
    """Completes chats."""

    @property
    def name(self) -> str:
        """Name on the command line: `openai`, `vllm`, `transformers`, `ray`."""
        ...

    @property
    def model(self) -> str:
        """The model's name, as the provenance has it."""
        ...

    @property
    def version(self) -> str:
        """The engine and its version, e.g. "vllm 0.32.0"; for a server, what it says of itself."""
        ...

    @property
    def local(self) -> bool:
        """Whether every message stays on this machine."""
        ...

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        ...

    @property
    def settings(self) -> Mapping[str, str]:
        """What else decides the answers, for digests: how they are held to a schema, the weights' form, ….

        A server is asked for it, so it may raise what `replies` raises.
        """
        ...

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """One reply per call, in any order.

        Calls are drawn as they are needed, never all at once.  What goes wrong with one call becomes that call's `error`; only
        what makes every further call pointless (a wrong key, an unknown model) is raised.

        Raises:
            ConfigError: the engine cannot serve at all, and what to do.
        """
        ...
