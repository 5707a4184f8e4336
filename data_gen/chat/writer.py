"""The writer that asks a language model: prompts before the one call, answers read after it."""

import dataclasses
import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from data_gen.answers import REASONS as ANSWER_REASONS
from data_gen.answers import Marked, Refused, answer_schema
from data_gen.chat.engine import Call, ChatEngine, Reply
from data_gen.chat.styles import style_of
from data_gen.prompts import FORMS, REGISTERS, PromptSettings, prompt_digest, texts_digest
from data_gen.shots import refuse_private
from data_gen.writer import Context, Failure, Generation, Request, document_seed
from syncabel.abbreviations import find_abbreviations
from syncabel.text import fold
from syncabel.types import Concept, Document, Mention, Provenance, Rejection, Span

__all__ = ["REASONS", "ChatWriter", "parse_generation"]

REASONS: dict[str, str] = {
    **ANSWER_REASONS,
    "no_usable_name": "every name of the concept is held out, or longer than a mention may be where the style is turns, so nothing was asked",
    "avoided_name": "the mention is a name that is held out",
}


@dataclass(frozen=True, slots=True)
class ChatWriter:
    """Sentences by a language model.

    Attributes:
        engine: runs the model.
        settings: what prompts ask for.
        shareable: whether style examples may leave this machine; see `data_gen.shots.is_shareable`.
    """

    engine: ChatEngine
    settings: PromptSettings = field(default_factory=PromptSettings)
    shareable: bool = False

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.engine.name

    @property
    def model(self) -> str:
        """The engine's model."""
        return self.engine.model

    @property
    def style(self) -> str:
        """That of the prompts, "" for JSON."""
        return "" if self.settings.style == "json" else self.settings.style

    @property
    def digest(self) -> str:
        """SHA-256 of the prompts' texts, the settings, the sampling, the model and the schema of the answers."""
        parts = (
            texts_digest(self.settings.language),
            (REGISTERS, FORMS),
            dataclasses.asdict(self.settings),
            dataclasses.asdict(self.engine.sampling),
            self.model,
            answer_schema(self.settings.per_request),
        )
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    def calls(self, n: int) -> int:
        """As many as it takes, each with `settings.per_request` sentences."""
        return -(-n // self.settings.per_request)

    def requests(self, concept: Concept, context: Context, n: int, seed: int, first: int = 0) -> list[Request]:
        """Requests of `settings.per_request` sentences each, the last one, too: what is asked does not depend on n.

        A concept whose every name is to be avoided gets one request without messages, which says so when it is parsed, and none later.

        Raises:
            ConfigError: there are style examples that may not leave this machine, and the engine is elsewhere.
        """
        if context.shots:
            refuse_private(shareable=self.shareable, local=self.engine.local, where="style examples")
        if n < 1:
            return []
        if not style_of(self.settings).can_name(concept, context):
            return [Request(concept, context, 0, seed, document_seed(seed, concept.code, 0), sentences=0)] if first == 0 else []
        return [self._request(concept, context, number, seed) for number in range(first, first + self.calls(n))]

    def _request(self, concept: Concept, context: Context, number: int, run_seed: int) -> Request:
        seed = document_seed(run_seed, concept.code, number)
        messages = style_of(self.settings).messages(concept, context, number, seed)
        return Request(concept, context, number, run_seed, seed, self.settings.per_request, messages, prompt_digest(messages))

    def answers(self, requests: Iterable[Request]) -> Iterator[Generation | Failure]:
        """One answer or failure per request, as the engine has them; requests without messages are answered with "" and not asked."""
        asked: dict[tuple[str, int], Request] = {}
        silent: deque[Request] = deque()  # filled by whoever draws the calls, perhaps in another thread
        engine = ""
        for reply in self.engine.replies(_calls(requests, asked, silent)):
            yield from self._unasked(silent)
            engine = engine or described(self.engine)
            yield self._answer(asked.pop(tuple(reply.key)), reply, engine)
        yield from self._unasked(silent)
        for request in asked.values():
            yield Failure(*request.key, f"the engine {self.name} ended without a reply; run again")

    def _unasked(self, silent: deque[Request]) -> Iterator[Generation]:
        while silent:
            request = silent.popleft()
            yield Generation(*request.key, request.run_seed, request.seed, "", sentences=0)

    def _answer(self, request: Request, reply: Reply, engine: str) -> Generation | Failure:
        if reply.text is None:
            return Failure(*request.key, reply.error)
        return Generation(
            *request.key,
            request.run_seed,
            request.seed,
            reply.text,
            request.prompt_digest,
            model=self.model,
            engine=engine,
            temperature=self.engine.sampling.temperature,
            top_p=self.engine.sampling.top_p,
            kb_digest=request.context.kb_digest,
            finish=reply.finish,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            sentences=request.sentences,
        )

    def parse(self, generation: Generation, concept: Concept, context: Context) -> list[Document | Rejection]:
        """See `parse_generation`."""
        return parse_generation(self.name, self.settings, generation, concept, context)


def described(engine: ChatEngine) -> str:
    """What every row says of an engine: its version and what else decides the answers; digests by their beginning."""
    settings = [f"{name} {value[:12] if len(value) == 64 else value}" for name, value in engine.settings.items() if value]
    return "; ".join((engine.version, *settings))


def _calls(requests: Iterable[Request], asked: dict[tuple[str, int], Request], silent: deque[Request]) -> Iterator[Call]:
    for request in requests:
        if request.messages:
            asked[request.key] = request
            yield Call(request.key, request.messages, request.seed)
        else:
            silent.append(request)


def parse_generation(writer: str, settings: PromptSettings, generation: Generation, concept: Concept, context: Context) -> list[Document | Rejection]:
    """The sentences of a stored answer as documents, without an engine: what is read again needs no model.

    Args:
        writer: name of the writer, for ids and provenance.
        settings: those it was asked with; they say which other concepts the sentences were to name.
        generation: the answer.
        concept, context: as when it was asked.

    Returns:
        A document or a rejection per sentence, at least one.
    """
    identifier = f"{writer}-{generation.run_seed}-{generation.code}-{generation.number}"
    style = style_of(settings)
    if not generation.answer and not style.can_name(concept, context):
        return [Rejection(f"{identifier}-0", concept.code, "no_usable_name", f"{concept.preferred_name}: every name is held out")]
    provenance = Provenance(
        concept.code,
        writer,
        generation.model,
        generation.seed,
        generation.prompt_digest,
        generation.kb_digest,
        generation.engine,
        generation.temperature,
        generation.top_p,
    )
    items = enumerate(style.items(generation, concept, context))
    return [_read(item, f"{identifier}-{i}", concept, context, settings.language, provenance) for i, item in items]


def _read(item: Marked | Refused, identifier: str, concept: Concept, context: Context, language: str, provenance: Provenance) -> Document | Rejection:
    if isinstance(item, Refused):
        return Rejection(identifier, concept.code, item.reason, item.text)
    mention = _mention("m0", item.text, item.mention, concept, concept.code)
    if fold(mention.text) in context.avoid:
        return Rejection(identifier, concept.code, "avoided_name", item.text)
    others = (_mention(f"m{i}", item.text, span, concept, code) for i, (span, code) in enumerate(item.others, start=1))
    return Document(
        identifier,
        item.text,
        (mention, *others),
        language=language,
        source="synthetic",
        abbreviations=find_abbreviations(item.text),
        provenance=provenance,
    )


def _mention(identifier: str, text: str, span: Span, concept: Concept, code: str) -> Mention:
    # Parents and siblings are taken to be of the concept's group: a context knows no other.
    return Mention(identifier, (span,), text[span.start : span.end], concept.groups[0], ((code,),))
