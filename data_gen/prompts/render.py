"""Prompts as pure functions of a concept, its surroundings and what is wanted.

What all requests share comes first and is the same to the byte: the rules for all groups (system message), then the style examples of the
group.  A server with prefix caching computes it once.  The rest is one JSON object and a closing line.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from data_gen.prompts.data import capped, cleaned, encoded, encoded_shot
from data_gen.prompts.specs import NAME_CHARS, PromptSettings, SentenceSpec, names_to_use, shared_names
from data_gen.prompts.texts import texts
from data_gen.writer import Context, Message, Shot
from syncabel.text import fold
from syncabel.types import Concept

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["CHARS_PER_TOKEN", "estimated_tokens", "prompt", "prompt_digest", "shared_part"]

# Code points per token, measured over prompts of DOID and HPO with the tokenizer of SmolLM2 (49,152 tokens, mostly English); larger vocabularies
# have more to a token in other languages, so that the estimate is on the safe side.
CHARS_PER_TOKEN = {"en": 4.0}
_CHARS_PER_TOKEN_ELSEWHERE = 2.8
_MESSAGE_TOKENS = 6  # role, header and end of a message in the usual chat templates


def prompt(concept: Concept, context: Context, specs: Sequence[SentenceSpec], settings: PromptSettings) -> tuple[Message, ...]:
    """The messages that ask for the sentences of `specs` about a concept.

    Args:
        concept, context: whom they are about, and its surroundings; `context.shots` are the style examples.
        specs: see `draw_specs`.
        settings: language and how much is told.

    Returns:
        A system and a user message.
    """
    words = texts(settings.language)
    system, start = shared_part(settings.language, context.shots)
    row = {words.fields["concept"]: _described(concept, context, specs, settings), words.fields["wanted"]: _wanted(specs, settings)}
    return Message("system", system), Message("user", f"{start}{encoded(row)}\n{words.closing}")


@lru_cache(maxsize=1024)
def shared_part(language: str, shots: tuple[Shot, ...]) -> tuple[str, str]:
    """The system message and the start of the user message, the same for all requests with these style examples."""
    words = texts(language)
    examples = "".join(f"{encoded_shot(shot)}\n" for shot in shots)
    return words.system, (f"{words.examples}{examples}\n" if shots else "") + words.request


def prompt_digest(messages: Sequence[Message]) -> str:
    """SHA-256 of what is asked, roles included."""
    return hashlib.sha256(json.dumps(messages, ensure_ascii=False).encode()).hexdigest()


def estimated_tokens(messages: Sequence[Message], tokenizer: "Tokenizer | None" = None, *, language: str = "en") -> int:
    """About how many tokens a prompt has.

    Args:
        messages: of the prompt.
        tokenizer: counts the texts; without one, their code points are divided by `CHARS_PER_TOKEN`, 2.8 where the language is not in it.
        language: ISO 639-1 code of the prompt.
    """
    if tokenizer is None:
        per_token = CHARS_PER_TOKEN.get(language, _CHARS_PER_TOKEN_ELSEWHERE)
        return sum(_MESSAGE_TOKENS + round(len(message.content) / per_token) for message in messages)
    return sum(_MESSAGE_TOKENS + len(tokenizer.encode(message.content, add_special_tokens=False).ids) for message in messages)


def _described(concept: Concept, context: Context, specs: Sequence[SentenceSpec], settings: PromptSettings) -> dict[str, Any]:
    """What is told of a concept, by the keys of the language; what there is nothing of is left out."""
    keys = texts(settings.language).fields
    usable = [name.text for name in names_to_use(concept, context)]
    preferred = _preferred(concept, context, settings.language)
    told: dict[str, Any] = {
        "name": capped(preferred, NAME_CHARS),
        "names": _names(concept, context, {preferred, *(spec.exact_name for spec in specs)}, preferred, settings),
        "group": ", ".join(cleaned(group) for group in concept.groups),
        "types": _short_list(concept.types, settings.related),
        "definition": capped(concept.definition, settings.definition_chars) if concept.definition and settings.definitions else "",
    }
    if settings.surroundings:
        told["parents"] = _short_list(context.parents, settings.related)
        told["siblings"] = _short_list((other.name for other in context.siblings), settings.related)
    told["shared_names"] = _short_list(shared_names(context), settings.related)
    if settings.surroundings:
        # A shared name among them would forbid what the sentence may have to say.
        own = {fold(name) for name in (*usable, *shared_names(context))}
        told["confusable"] = _short_list((other.name for other in context.confusable if fold(other.name) not in own), settings.related)
    return {keys[key]: value for key, value in told.items() if value}


def _preferred(concept: Concept, context: Context, language: str) -> str:
    """The name to introduce a concept by: preferred in the language, else preferred, else in the language, else any."""
    ranked = sorted(names_to_use(concept, context), key=lambda name: (not name.preferred, name.language != language))
    return ranked[0].text


def _short_list(texts_: Iterable[str], most: int) -> list[str]:
    plain = dict.fromkeys(capped(text, NAME_CHARS) for text in texts_)
    return [text for text in plain if text][:most]


def _names(concept: Concept, context: Context, wanted: set[str], preferred: str, settings: PromptSettings) -> dict[str, list[str]]:
    """Names by language, that of the prompt first; those that a spec wants are among them, the preferred one is told apart."""
    usable = [name for name in names_to_use(concept, context) if len(name.text) <= NAME_CHARS]
    ranked = sorted(usable, key=lambda name: (name.text not in wanted, name.language != settings.language))[: settings.names]
    by_language: dict[str, list[str]] = {}
    for name in sorted(ranked, key=lambda name: name.language != settings.language):
        if name.text != preferred:
            by_language.setdefault(cleaned(name.language), []).append(cleaned(name.text))
    return by_language


def _wanted(specs: Sequence[SentenceSpec], settings: PromptSettings) -> list[dict[str, Any]]:
    words = texts(settings.language)
    keys = words.fields
    return [
        {
            keys["number"]: number,
            keys["register"]: words.registers[spec.register],
            keys["length"]: words.length.format(low=spec.words[0], high=spec.words[1]),
            keys["form"]: words.forms[spec.form],
            **({keys["exact_name"]: cleaned(spec.exact_name)} if spec.exact_name else {}),
            **({keys["option"]: words.options[spec.option]} if spec.option else {}),
            **({keys["also"]: cleaned(spec.also.name)} if spec.also else {}),
        }
        for number, spec in enumerate(specs, start=1)
    ]
