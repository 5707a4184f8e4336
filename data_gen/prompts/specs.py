"""What is asked of each sentence: its register, its length, the form of its mention, an option; drawn from the request's seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from data_gen.prompts.data import cleaned
from data_gen.prompts.texts import languages
from data_gen.template import usable_names
from data_gen.writer import Context, Related
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.text import fold
from syncabel.types import Concept, Name

__all__ = [
    "FORMS",
    "OPTIONS",
    "REGISTERS",
    "PromptSettings",
    "SentenceSpec",
    "Style",
    "draw_specs",
    "name_in_turn",
    "names_to_use",
    "relatives",
    "shared_names",
]

# Register -> lengths to draw from, in words.
REGISTERS: dict[str, tuple[tuple[int, int], ...]] = {
    "abstract": ((14, 22), (20, 32)),
    "note": ((5, 10), (8, 18)),
    "letter": ((12, 20), (18, 28)),
    "patient": ((8, 14), (12, 24)),
}
# Form of the mention -> how often it is drawn, relative to the others.
FORMS: dict[str, int] = {"name": 3, "abbreviation": 2, "lay": 2, "misspelling": 1, "inflected": 2}
OPTIONS = ("contrast", "defined", "several", "negated")
Style = Literal["json", "turns"]
NAME_CHARS = 150  # the longest mention the gates let through; a longer name is no use as one
_MORE_WORDS = {"defined": 10, "several": 5}  # for the sentence that defines the abbreviation, for the other concept
# A slip of the pen belongs in a note, a lay term in a patient's message; forms and options not listed suit every register.
_SUITS: dict[str, tuple[str, ...]] = {
    "misspelling": ("note", "patient"),
    "lay": ("patient", "letter"),
    "abbreviation": ("abstract", "note", "letter"),
    "defined": ("abstract", "letter"),
}


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """What prompts ask for and how much of a concept they tell.

    Attributes:
        language: ISO 639-1 code of the sentences; see `languages`.
        style: `json` asks for sentences of a described concept as a JSON object; `turns` shows a small model a few terms with their
            sentences as turns of a chat, and a term as the last one: nothing but `language` and `per_request` (1) counts then.
        per_request: sentences asked for in one call.
        registers: drawn from with equal chances, among those that suit the form; keys of `REGISTERS`.
        contrast: fraction of the sentences that use a name shared with another concept, of the concepts that have one.
        defined: fraction with an abbreviation that the sentence before defines.
        several: fraction that also name a parent or a sibling, of the concepts that have one.
        negated: fraction that deny the concept.
        definitions: whether the definition is told.
        surroundings: whether parents, siblings and confusable concepts are told.
        names, related: most names of the concept and most other concepts in a list.
        definition_chars: most code points of a definition.

    Raises:
        ConfigError: a number or a sum of fractions is out of range.
        UnknownNameError: no such language or register.
    """

    language: str = "en"
    style: Style = "json"
    per_request: int = 3
    registers: tuple[str, ...] = tuple(REGISTERS)
    contrast: float = 0.25
    defined: float = 0.1
    several: float = 0.15
    negated: float = 0.1
    definitions: bool = True
    surroundings: bool = True
    names: int = 12
    related: int = 5
    definition_chars: int = 600

    def __post_init__(self) -> None:
        if self.language not in languages():
            raise UnknownNameError("prompt language", self.language, languages())
        if self.style not in get_args(Style):
            raise UnknownNameError("style of the prompts", self.style, get_args(Style))
        if self.style == "turns" and self.per_request != 1:
            raise ConfigError(f"per_request is {self.per_request}, and the style turns asks for one sentence at a time; give per_request=1")
        for register in self.registers:
            if register not in tuple(REGISTERS):  # what was read from a file may be no text, and without a hash
                raise UnknownNameError("register", str(register), REGISTERS)
        shares = (self.contrast, self.defined, self.several, self.negated)
        if not (min(shares) >= 0 and sum(shares) <= 1):
            raise ConfigError(f"contrast, defined, several and negated are {shares}; give fractions of at least 0 that sum to at most 1")
        if min(self.per_request, self.names, self.related, self.definition_chars, len(self.registers)) < 1:
            raise ConfigError("per_request, names, related, definition_chars and the number of registers are 1 or more; raise the one that is not")


class SentenceSpec(NamedTuple):
    """What one sentence is to be.

    Attributes:
        register: a key of `REGISTERS`.
        words: least and most words.
        form: of the mention, a key of `FORMS`, or "term" where the vocabulary has no name in the language.
        option: one of `OPTIONS`, or "".
        exact_name: the name to write for the form "name", else "".
        also: another concept to be named in it, or None.
    """

    register: str
    words: tuple[int, int]
    form: str
    option: str = ""
    exact_name: str = ""
    also: Related | None = None


def names_to_use(concept: Concept, context: Context) -> tuple[Name, ...]:
    """The names a concept may be written by, those of the same text once: exact and narrow ones, else all, none of them to be avoided."""
    usable = dict.fromkeys(usable_names(concept, context.avoid))
    by_text = {name.text: name for name in reversed(concept.names)}
    return tuple(by_text[text] for text in usable)


def shared_names(context: Context) -> tuple[str, ...]:
    """The names and short forms that other concepts have, too, without those to avoid."""
    shared = dict.fromkeys([*(namesake.name for namesake in context.namesakes), *context.short_forms])
    return tuple(name for name in shared if fold(name) not in context.avoid)


def relatives(concept: Concept, context: Context) -> tuple[Related, ...]:
    """Parents and siblings whose name tells them from the concept, each name once."""
    known = dict(context.lineage)
    parents = [Related(code, known[code]) for code in concept.parents if code in known]
    own = {fold(name.text) for name in concept.names} | context.avoid | {fold(name) for name in shared_names(context)}
    named = {fold(other.name): other for other in reversed((*parents, *context.siblings)) if other.code != concept.code}
    return tuple(other for key, other in reversed(named.items()) if key not in own)


def draw_specs(concept: Concept, context: Context, settings: PromptSettings, seed: int) -> tuple[SentenceSpec, ...]:
    """What the sentences of one request are to be; the same on every machine.

    Args:
        concept, context: whom they are about.
        settings: how many, and the fractions.
        seed: of the request, see `document_seed`.

    Returns:
        `settings.per_request` specs; empty where the concept has no name to write it by.
    """
    usable = names_to_use(concept, context)
    if not usable:
        return ()
    return tuple(_Draw(concept, context, settings, _exact_names(usable, context, settings.language), random.Random(seed)).all())


def name_in_turn(concept: Concept, context: Context, language: str, number: int) -> str:
    """The name that a request of the style `turns` asks a sentence for; "" where there is none to write the concept by.

    Args:
        concept, context: whom it is about.
        language: of the prompt; a vocabulary without names in it is asked for in its own.
        number: of the request: names take turns, the preferred one first.
    """
    usable = sorted(names_to_use(concept, context), key=lambda name: not name.preferred)
    usable = [name for name in usable if len(name.text) <= NAME_CHARS and any(c.isalnum() for c in cleaned(name.text))]
    names = _exact_names(usable, context, language) or [name.text for name in usable]
    return names[number % len(names)] if names else ""


def _exact_names(usable: Sequence[Name], context: Context, language: str) -> list[str]:
    """Names to write as they stand. A shared one alone tells nobody which concept is meant: it is left out where there is another."""
    names = [name.text for name in usable if name.language == language and len(name.text) <= NAME_CHARS]
    shared = set(shared_names(context))
    return [name for name in names if name not in shared] or names


class _Draw:
    """The drawing of one request's specs."""

    __slots__ = ("names", "others", "rng", "settings", "shared")

    def __init__(self, concept: Concept, context: Context, settings: PromptSettings, names: list[str], rng: random.Random) -> None:
        self.settings, self.names, self.rng = settings, names, rng
        self.shared = shared_names(context)
        # By "exactly that name" a vocabulary without names in the language would put foreign words into the sentence.
        self.others = relatives(concept, context) if names and settings.surroundings else ()

    def all(self) -> Iterator[SentenceSpec]:
        taking_turns = self._shuffled_names()
        options = [self._option() for _ in range(self.settings.per_request)]
        for form, option in zip(self._forms(options), options, strict=True):
            if option == "contrast":
                yield self._spec("name", option, exact_name=self.rng.choice(self.shared))
            elif form == "name" and self.names:
                name = next(taking_turns)
                yield self._spec("name", "contrast" if name in self.shared else option, exact_name=name)
            else:
                yield self._spec("term" if form == "name" else form, option)

    def _shuffled_names(self) -> Iterator[str]:
        while self.names:
            yield from self.rng.sample(self.names, len(self.names))

    def _forms(self, options: Sequence[str]) -> list[str]:
        """A form for each sentence: none twice before each was drawn once, so that the mentions of one answer differ; `defined` has an abbreviation."""
        drawn: list[str] = []
        while len(drawn) < len(options):
            left = dict(FORMS)
            while left:
                form = self.rng.choices(list(left), list(left.values()))[0]
                del left[form]
                drawn.append(form)
        forms = drawn[: len(options)]
        for i, option in enumerate(options):
            if option == "defined" and "abbreviation" in forms:
                other = forms.index("abbreviation")
                forms[i], forms[other] = forms[other], forms[i]
        return ["abbreviation" if option == "defined" else form for form, option in zip(forms, options, strict=True)]

    def _option(self) -> str:
        possible = {"contrast": bool(self.shared), "several": bool(self.others)}
        drawn = self.rng.random()
        for option in OPTIONS:
            drawn -= getattr(self.settings, option)
            if drawn < 0:
                return option if possible.get(option, True) else ""
        return ""

    def _spec(self, form: str, option: str, exact_name: str = "") -> SentenceSpec:
        suitable = _SUITS.get(option) or _SUITS.get(form) or self.settings.registers
        register = self.rng.choice([each for each in self.settings.registers if each in suitable] or self.settings.registers)
        also = self.rng.choice(self.others) if option == "several" else None
        low, high = self.rng.choice(REGISTERS[register])
        more = _MORE_WORDS.get(option, 0)
        return SentenceSpec(register, (low + more, high + more), form, option, exact_name, also)
