"""Prompts for small models: a few terms, each answered by a sentence, as turns of a chat, and the term to write about as the last one.

A model that cannot follow rules or write JSON goes on with what it has seen before.  Nothing is told of the concept but its name.
"""

import re
from functools import lru_cache

from data_gen.prompts.data import unmistakable
from data_gen.prompts.texts import FOLDER, texts
from data_gen.writer import Message, Shot
from syncabel.errors import FormatError
from syncabel.text import escape_markup
from syncabel.types import Span

__all__ = ["shown_turns", "turns_prompt"]

_MARKED = re.compile(r"([^\[\]]*)\[([^\[\]]+)\]([^\[\]]*)")


def turns_prompt(name: str, shots: tuple[Shot, ...], language: str) -> tuple[Message, ...]:
    """The messages that ask for one sentence with a name.

    Args:
        name: to be in the sentence, letter by letter.
        shots: style examples; those of the language's file where there are none.
        language: ISO 639-1 code.

    Returns:
        A system message, a user's and an assistant's a style example, and a user's; all but the last are the same for all names.
    """
    return (*_shared(shots, language), _asked(name, language))


@lru_cache(maxsize=1024)
def _shared(shots: tuple[Shot, ...], language: str) -> tuple[Message, ...]:
    # Brackets and braces of human text become parentheses, as in training prompts.
    plain = [(escape_markup(shot.text), shot.mention) for shot in shots or shown_turns(language)]
    turns = [message for text, mention in plain for message in (_asked(text[mention.start : mention.end], language), Message("assistant", unmistakable(text)))]
    return Message("system", texts(language).turns["system"].strip()), *turns


def _asked(name: str, language: str) -> Message:
    return Message("user", texts(language).turns["term"].strip().format(name=unmistakable(name)))


def shown_turns(language: str) -> tuple[Shot, ...]:
    """The examples of a language's file, which are shown where there are no style examples.

    Raises:
        FormatError: a line has no mention in brackets, or several.
    """
    found = [_MARKED.fullmatch(line) for line in texts(language).turns["examples"].splitlines() if line.strip()]
    if not all(found):
        raise FormatError("turns.examples: every line is a sentence with one mention in square brackets", FOLDER / f"{language}.yaml")
    return tuple(Shot("".join(match.groups()), Span(match.start(2) - 1, match.end(2) - 1)) for match in found if match)
