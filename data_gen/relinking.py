"""The blind re-link: the model that wrote is shown each sentence again, without what it was written for, and says what it means."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from data_gen.chat.engine import Call, ChatEngine
from data_gen.gates.relink import relink, relink_letters, relink_messages, relink_verdict
from data_gen.prompts import prompt_digest
from data_gen.surroundings import digest_of
from data_gen.writer import Failure, Generation, Related, document_seed
from syncabel.types import Concept, Document

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["Relinker"]

VERSION = 1  # of the rules that read a verdict


@dataclass(frozen=True, slots=True)
class Relinker:
    """Asks about documents and reads the answers.

    Attributes:
        kb: knowledge base of the concepts.
        engine: runs the model.
        nearest: by code, the nearest names of other concepts: what the model may choose instead.
        language: of the prompts; en, fr or es.
    """

    kb: "KnowledgeBase"
    engine: ChatEngine = field(repr=False)
    nearest: Mapping[str, tuple[Related, ...]]
    language: str = "en"

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the verdicts: model, sampling, nearest names, language, rules; the prompts' own digests stand in the answers."""
        parts = [VERSION, self.engine.name, self.engine.model, self.engine.sampling, sorted(self.nearest.items()), self.language, self.kb.digest]
        return digest_of(parts)

    def answers(self, documents: Iterable[Document]) -> Iterator[Generation | Failure]:
        """One answer or failure per document, in any order; `code` is the document's id."""
        asked: dict[str, Call] = {}
        for reply in self.engine.replies(self._calls(documents, asked)):
            call = asked.pop(reply.key)
            if reply.text is None:
                yield Failure(reply.key, 0, reply.error)
            else:
                digest, model = prompt_digest(call.messages), self.engine.model
                yield Generation(reply.key, 0, 0, call.seed, reply.text, digest, model=model, engine=self.engine.version, finish=reply.finish)

    def is_about(self, answer: Generation, document: Document) -> bool:
        """Whether an answer was given to what would be asked about this very document: ids are numbers, and another parser counts otherwise."""
        return answer.prompt_digest == prompt_digest(self._call(document).messages)

    def reason(self, document: Document, answer: Generation) -> str | None:
        """Why a document is not kept, or None; pure."""
        return relink(document, relink_verdict(answer.answer, relink_letters(self._candidates(document), self._seed(document))))

    def _calls(self, documents: Iterable[Document], asked: dict[str, Call]) -> Iterator[Call]:
        for document in documents:
            asked[document.id] = self._call(document)
            yield asked[document.id]

    def _call(self, document: Document) -> Call:
        seed, candidates = self._seed(document), self._candidates(document)
        parents = {code: self.kb.concept(code).preferred_name for concept in candidates for code in concept.parents if code in self.kb}
        return Call(document.id, relink_messages(document, candidates, self.language, seed, parents), seed, free=True)

    def _seed(self, document: Document) -> int:
        return document_seed(0, document.id, 0)

    def _candidates(self, document: Document) -> list[Concept]:
        code = document.provenance.concept if document.provenance else document.mentions[0].codes[0]
        others = dict.fromkeys(other.code for other in self.nearest.get(code, ()) if other.code != code and other.code in self.kb)
        return [self.kb.concept(each) for each in (code, *others)]
