"""The styles of `PromptSettings`: how sentences are asked for, and how answers are read.  The one place that tells the styles apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from data_gen.answers import Marked, Refused, answer_schema, parse_answer, parse_sentence
from data_gen.prompts import PromptSettings, draw_specs, name_in_turn, prompt, shown_turns, turns_prompt
from data_gen.prompts.data import cleaned
from data_gen.prompts.specs import names_to_use
from data_gen.writer import Context, Generation, Message, Shot
from syncabel.types import Concept

__all__ = ["ChatStyle", "style_of"]


class ChatStyle(Protocol):
    """A style with its settings."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """What answers may be held to; None where they are no JSON."""

    @property
    def shown(self) -> tuple[Shot, ...]:
        """Style examples that prompts show where there are none of a corpus."""

    def can_name(self, concept: Concept, context: Context) -> bool:
        """Whether there is a name to write the concept by."""

    def messages(self, concept: Concept, context: Context, number: int, seed: int) -> tuple[Message, ...]:
        """The prompt of a concept's request with this number and seed."""

    def items(self, generation: Generation, concept: Concept, context: Context) -> list[Marked | Refused]:
        """What an answer to that prompt holds, at least one item."""


@dataclass(frozen=True, slots=True)
class Described:
    """Sentences of a described concept as a JSON object."""

    settings: PromptSettings
    shown: ClassVar[tuple[Shot, ...]] = ()

    @property
    def schema(self) -> Mapping[str, Any]:
        """Of an object with the sentences of one request."""
        return answer_schema(self.settings.per_request)

    def can_name(self, concept: Concept, context: Context) -> bool:
        """Whether a name of it is not held out."""
        return bool(names_to_use(concept, context))

    def messages(self, concept: Concept, context: Context, number: int, seed: int) -> tuple[Message, ...]:  # noqa: ARG002
        """See `prompt`."""
        return prompt(concept, context, draw_specs(concept, context, self.settings, seed), self.settings)

    def items(self, generation: Generation, concept: Concept, context: Context) -> list[Marked | Refused]:
        """See `parse_answer`; the other concepts are those that the prompt asked for."""
        specs = draw_specs(concept, context, self.settings, generation.seed)
        return parse_answer(generation.answer, {cleaned(spec.also.name): spec.also.code for spec in specs if spec.also})


@dataclass(frozen=True, slots=True)
class Turns:
    """One sentence with a term, after terms and sentences as turns of a chat."""

    settings: PromptSettings
    schema: ClassVar[None] = None

    @property
    def shown(self) -> tuple[Shot, ...]:
        """Those of the language's file."""
        return shown_turns(self.settings.language)

    def can_name(self, concept: Concept, context: Context) -> bool:
        """Whether a name of it is not held out and not longer than a mention may be."""
        return bool(self._name(concept, context, 0))

    def messages(self, concept: Concept, context: Context, number: int, seed: int) -> tuple[Message, ...]:  # noqa: ARG002
        """See `turns_prompt`."""
        return turns_prompt(self._name(concept, context, number), context.shots, self.settings.language)

    def items(self, generation: Generation, concept: Concept, context: Context) -> list[Marked | Refused]:
        """See `parse_sentence`."""
        name = cleaned(self._name(concept, context, generation.number))
        return [parse_sentence(generation.answer, name, finished=generation.finish != "length")]

    def _name(self, concept: Concept, context: Context, number: int) -> str:
        return name_in_turn(concept, context, self.settings.language, number)


_STYLES: Mapping[str, Callable[[PromptSettings], ChatStyle]] = {"json": Described, "turns": Turns}


def style_of(settings: PromptSettings) -> ChatStyle:
    """The style that the settings name."""
    return _STYLES[settings.style](settings)
