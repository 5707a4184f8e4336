"""The `names` writer: a concept's names alone, without a sentence; what a comparison of synthetic data starts from."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from data_gen.template import usable_names
from data_gen.writer import Context, Generation, Request, document_seed
from syncabel.types import Concept, Document, Mention, Provenance, Rejection, Span

__all__ = ["NamesWriter"]


@dataclass(frozen=True, slots=True)
class NamesWriter:
    """Documents that are one name each: the control arm, for what names teach without any context.

    Attributes:
        name, model, style: see `Writer`.
    """

    name: str = field(default="names", init=False)
    model: str = field(default="", init=False)
    style: str = field(default="", init=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the writer's rule."""
        return hashlib.sha256(b"names 1: exact and narrow names in order, each once").hexdigest()

    def calls(self, n: int) -> int:
        """One a sentence."""
        return n

    def requests(self, concept: Concept, context: Context, n: int, seed: int, first: int = 0) -> list[Request]:
        """n of them, as for any writer; what there is no name for is rejected."""
        return [Request(concept, context, i, seed, document_seed(seed, concept.code, i)) for i in range(first, first + n)]

    def answers(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """The name whose turn it is; "" where there are no more."""
        for request in requests:
            names = usable_names(request.concept, request.context.avoid)
            answer = names[request.number] if request.number < len(names) else ""
            yield Generation(request.concept.code, request.number, request.run_seed, request.seed, answer)

    def parse(self, generation: Generation, concept: Concept, context: Context) -> list[Document | Rejection]:
        """The name as a Document."""
        identifier, name = f"{self.name}-{generation.run_seed}-{generation.code}-{generation.number}", generation.answer
        if not name:
            return [Rejection(identifier, concept.code, "no_more_names", f"{concept.preferred_name}: every name is written or held out")]
        mention = Mention("m0", (Span(0, len(name)),), name, concept.groups[0], ((concept.code,),))
        provenance = Provenance(concept.code, self.name, self.model, generation.seed, generation.prompt_digest, context.kb_digest)
        return [Document(identifier, name, (mention,), source="synthetic", provenance=provenance)]
