"""What a writer of synthetic sentences is: `write` asks and answers, `parse` reads the answer.

The loop (`data_gen.generate`) owns files, resuming and rejects; a writer owns none of them.  The raw answer (`Generation`)
is stored before it is parsed, so a better parser needs no new generation.  A writer over a language model renders its
messages from (concept, context), makes its one call inside `write`, and keeps `parse` pure; the `template` writer makes no
call at all, so both of its halves are pure.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from syncabel.types import Concept, Document, Rejection

__all__ = ["Context", "Generation", "Writer", "document_seed"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a writer may know of a concept's surroundings; made by the loop from the knowledge base.

    Attributes:
        parents: preferred names of the direct parents.
        lineage: (code, preferred name) of the concept and its ancestors, nearest first.
        short_forms: short forms it shares with concepts of other branches, to be written without a definition.
        avoid: folded names (`text.fold`) that must be neither written as a mention nor made into one.
        kb_digest: SHA-256 of the knowledge base, for the provenance.
    """

    parents: tuple[str, ...] = ()
    lineage: tuple[tuple[str, str], ...] = ()
    short_forms: tuple[str, ...] = ()
    avoid: frozenset[str] = frozenset()
    kb_digest: str = ""


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
    """

    code: str
    number: int
    run_seed: int
    seed: int
    answer: str
    prompt_digest: str = ""


class Writer(Protocol):
    """Writes sentences about one concept."""

    @property
    def name(self) -> str:
        """Name on the command line and in the provenance."""
        ...

    @property
    def model(self) -> str:
        """The model behind it, or ""."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of everything else that decides what is written: templates, prompts, options."""
        ...

    def write(self, concept: Concept, context: Context, n: int, seed: int) -> list[Generation]:
        """Answers to n requests; request i depends on (concept, context, seed, i) and not on n or other concepts."""
        ...

    def parse(self, generation: Generation, concept: Concept, context: Context) -> list[Document | Rejection]:
        """What a raw answer holds, at least one item; pure."""
        ...


def document_seed(seed: int, code: str, number: int) -> int:
    """A seed of 48 bits for request `number` of a concept; the same on every machine and in every subset of concepts."""
    return int.from_bytes(hashlib.sha256(f"{seed}\t{code}\t{number}".encode()).digest()[:6], "big")
