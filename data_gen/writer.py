"""What a writer of synthetic sentences is: pure functions around one call.

`requests` says what will be asked, `answers` asks, `parse` reads an answer; only `answers` touches anything outside.  The loop
(`data_gen.generate`) owns files, resuming and rejects; a writer owns none of them.  A raw answer (`Generation`) is stored before
it is parsed, so a better parser needs no new generation.  The `template` writer asks nobody: its answers are pure, too.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from syncabel.types import Concept, Document, Rejection, Span

__all__ = ["Context", "Failure", "Generation", "Message", "Related", "Request", "Shot", "Writer", "document_seed"]


class Related(NamedTuple):
    """Another concept, by one of its names."""

    code: str
    name: str


class Shot(NamedTuple):
    """A style example: a human sentence and where its mention stands in it."""

    text: str
    mention: Span


class Message(NamedTuple):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a writer may know of a concept's surroundings; made by `data_gen.surroundings` from the knowledge base.

    Attributes:
        parents: preferred names of the direct parents.
        lineage: (code, preferred name) of the concept and its ancestors, nearest first.
        short_forms: short forms it shares with concepts of other branches, to be written without a definition.
        avoid: folded names (`text.fold`) that must be neither written as a mention nor made into one.
        kb_digest: SHA-256 of the knowledge base, for the provenance.
        siblings: other children of its parents, a few, by preferred name.
        namesakes: concepts that share a name or a short form with it; `Related.name` is what they share.
        confusable: the nearest names of other concepts.
        shots: style examples of its group.
    """

    parents: tuple[str, ...] = ()
    lineage: tuple[tuple[str, str], ...] = ()
    short_forms: tuple[str, ...] = ()
    avoid: frozenset[str] = frozenset()
    kb_digest: str = ""
    siblings: tuple[Related, ...] = ()
    namesakes: tuple[Related, ...] = ()
    confusable: tuple[Related, ...] = ()
    shots: tuple[Shot, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What is asked about one concept in one call.

    Attributes:
        concept, context: whom it is about.
        number: 0-based number of the request for this concept.
        run_seed: seed of the run.
        seed: seed of this very request.
        sentences: how many it asks for.
        messages: what a language model is given; empty where none is asked.
        prompt_digest: SHA-256 of the messages, or "".
    """

    concept: Concept
    context: Context
    number: int
    run_seed: int
    seed: int
    sentences: int = 1
    messages: tuple[Message, ...] = ()
    prompt_digest: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Code and number: what tells it from every other request of a run."""
        return self.concept.code, self.number


@dataclass(frozen=True, slots=True)
class Generation:
    """One raw answer of a writer, as stored in generation.jsonl.

    Attributes:
        code: the concept it was asked for.
        number: 0-based number of the request for this concept.
        run_seed: seed of the run.
        seed: seed of this very request.
        answer: what came back, untouched; "" where the writer had nothing to write with.
        prompt_digest: SHA-256 of what was asked, or "".
        sentences: how many were asked for.
        model, engine: the model, and what ran it with its version and settings, e.g. "vllm 0.32.0; dtype auto"; "" where no model wrote.
        temperature, top_p: of the sampling; None where no model wrote.
        kb_digest: SHA-256 of the knowledge base; "" where no model wrote.
        finish: why the answer ended, in the server's word, e.g. "stop", "length".
        prompt_tokens, completion_tokens: as counted by the engine; 0 where it does not.
    """

    code: str
    number: int
    run_seed: int
    seed: int
    answer: str
    prompt_digest: str = ""
    model: str = ""
    engine: str = ""
    temperature: float | None = None
    top_p: float | None = None
    kb_digest: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sentences: int = 1

    @property
    def key(self) -> tuple[str, int]:
        """See `Request.key`."""
        return self.code, self.number


class Failure(NamedTuple):
    """A request that got no answer, and why on one line; a later run asks again."""

    code: str
    number: int
    error: str


class Writer(Protocol):
    """Writes sentences about concepts."""

    @property
    def name(self) -> str:
        """Name on the command line and in the provenance."""
        ...

    @property
    def model(self) -> str:
        """The model behind it, or ""."""
        ...

    @property
    def style(self) -> str:
        """How it asks, where answers to it can be read in no other way; "" for the usual one."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of everything else that decides what is written: templates, prompts, options."""
        ...

    def calls(self, n: int) -> int:
        """How many requests n sentences take."""
        ...

    def requests(self, concept: Concept, context: Context, n: int, seed: int, first: int = 0) -> list[Request]:
        """What to ask for n sentences; pure.

        Args:
            concept, context: whom they are about.
            n: sentences wanted.
            seed: of the run; request i depends on (concept, context, seed, i) and not on other concepts.
            first: number of the first request, for those asked later.
        """
        ...

    def answers(self, requests: Iterable[Request]) -> Iterator[Generation | Failure]:
        """One answer or failure per request, in any order; requests are drawn as they are needed, never all at once."""
        ...

    def parse(self, generation: Generation, concept: Concept, context: Context) -> list[Document | Rejection]:
        """What a raw answer holds, at least one item; pure."""
        ...


def document_seed(seed: int, code: str, number: int) -> int:
    """A seed of 48 bits for request `number` of a concept; the same on every machine and in every subset of concepts."""
    return int.from_bytes(hashlib.sha256(f"{seed}\t{code}\t{number}".encode()).digest()[:6], "big")
