"""What a language model is asked for: pure functions `prompt(concept, context, specs, settings) -> messages`, one file of texts a language."""

from data_gen.prompts.render import CHARS_PER_TOKEN, estimated_tokens, prompt, prompt_digest, shared_part
from data_gen.prompts.specs import FORMS, OPTIONS, REGISTERS, PromptSettings, SentenceSpec, draw_specs, name_in_turn, relatives
from data_gen.prompts.texts import languages, texts, texts_digest
from data_gen.prompts.turns import shown_turns, turns_prompt

__all__ = [
    "CHARS_PER_TOKEN",
    "FORMS",
    "OPTIONS",
    "REGISTERS",
    "PromptSettings",
    "SentenceSpec",
    "draw_specs",
    "estimated_tokens",
    "languages",
    "name_in_turn",
    "prompt",
    "prompt_digest",
    "relatives",
    "shared_part",
    "shown_turns",
    "texts",
    "texts_digest",
    "turns_prompt",
]
