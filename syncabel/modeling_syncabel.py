"""The model classes that an exported folder brings along (`trust_remote_code=True`): those of transformers with `sample`.

Inside the project this module is imported like any other; the export copies it and what it imports flat into the
model's folder.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from transformers import (
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    GemmaForCausalLM,
    LlamaForCausalLM,
    MistralForCausalLM,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
)

from syncabel.decoding import (
    LEXICON_FOLDER,
    LEXICON_MANIFEST,
    DecodingSettings,
    decode,
    exported_tokenizer,
    fitted_prompt,
    load_lexicon,
    missing_lexicon,
    own_ranking,
)
from syncabel.errors import MarkupError, MissingLexiconError
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, format_from_config, from_sentence
from syncabel.types import Prediction, Prompt

__all__ = [
    "CLASSES",
    "SyncabelForCausalLM",
    "SyncabelGemma2ForCausalLM",
    "SyncabelGemma3ForCausalLM",
    "SyncabelGemmaForCausalLM",
    "SyncabelMistralForCausalLM",
    "SyncabelMixin",
    "SyncabelQwen2ForCausalLM",
    "SyncabelQwen3ForCausalLM",
    "as_public",
]

_LOG = logging.getLogger(__name__)


class SyncabelMixin:
    """Adds `sample` to a causal language model whose folder holds a tokenizer and a lexicon."""

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        if not getattr(config, "syncabel", {}).get("lexicon_included", True) and not Path(config._name_or_path, LEXICON_FOLDER).exists():
            _LOG.warning("%s", self._missing_lexicon())

    @cached_property
    def syncabel_folder(self) -> Path:
        """The model's folder on disk; a Hub repository's lexicon and tokenizer are downloaded at the model's own revision."""
        name = self.config._name_or_path
        if Path(name).is_dir():
            return Path(name)
        from huggingface_hub import snapshot_download

        revision = getattr(self.config, "_commit_hash", None)
        wanted = [f"{LEXICON_FOLDER}/*", LEXICON_MANIFEST, "tokenizer*", "special_tokens_map.json"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))

    @cached_property
    def syncabel_tokenizer(self) -> Any:
        """The tokenizer beside the weights."""
        return exported_tokenizer(self.syncabel_folder)

    @cached_property
    def syncabel_lexicon(self) -> Lexicon | None:
        """The lexicon beside the weights, or the one given to `use_lexicon`; None where there is neither."""
        return load_lexicon(self.syncabel_folder, self.config.syncabel)

    def use_lexicon(self, folder: str | Path) -> None:
        """Take the lexicon from a folder of its own: for a model that came without, because its terminology may not be passed on.

        Args:
            folder: what `syncabel lexicon build` wrote.

        Raises:
            MissingLexiconError: there is no such folder.
            DigestMismatchError: it is not the lexicon the model was exported with.
        """
        self.syncabel_lexicon = load_lexicon(self.syncabel_folder, self.config.syncabel, folder)

    def _missing_lexicon(self) -> MissingLexiconError:
        name = self.config._name_or_path
        return missing_lexicon(self.syncabel_folder, self.config.syncabel, name, f"call model.use_lexicon({LEXICON_FOLDER!r})")

    def sample(
        self,
        sentences: Sequence[str],
        constrained: bool = True,
        num_beams: int = 5,
        language: str | None = None,
        ranking: str | None = None,
        max_new_tokens: int = 128,
        max_batch_tokens: int = 16384,
        search: str = "beam",
        max_expansions: int = 64,
        candidates: Sequence[Sequence[int] | None] | None = None,
        nil: bool = False,
        exact_ranks: int = 1,
        max_concepts: int = 1,
    ) -> list[list[dict[str, Any]]]:
        """Link one marked mention per sentence.

        Args:
            sentences: `"… [mention]{GROUP} …"`; `{A|B}` for several groups, no braces for all.  Each is read as a
                document of its own: see `syncabel.prompt.from_sentence`.
            constrained: hold the model to names of the lexicon; else it writes freely.
            num_beams: width of the beam.
            language: overrides the model's own (`en`, `fr`, `es`).
            ranking: `sum` or `mean`, see `DecodingSettings`; the model's own where None: `sum`, of a converted model `mean`.
            max_new_tokens: most tokens of a free generation.
            max_batch_tokens: see `DecodingSettings`.
            search: `greedy`, `beam`, or `exact`, which proves its first answers.
            max_expansions: of `exact`: prefixes read for a sentence before its answers stay unproven.
            candidates: per sentence the lexicon's entries that are answers, None for all.
            nil: offer the lexicon's leaf for "not in the knowledge base".
            exact_ranks: of `exact`: how many ranks are to be proven; at most `num_beams`.
            max_concepts: concepts that an answer may be composed of.

        Returns:
            One list per sentence, best first, of up to `num_beams` dictionaries, one per concept: `mention`,
            `semantic_group`, `pred_concept_name`, `pred_concept_code` (`NO_CODE` where a free generation is no
            name of the group), `beam_score` (exp(log_prob / tokens)), `log_prob`, `mass`, `certified` (no other concept
            has more mass), `bound` (probability that was not searched), `epsilon` (how far log-probabilities may be off, which
            `certified` allows for), `windowed` (the sentence was shortened around its mention, because the model's context holds no
            more), `text`.

        Raises:
            MissingLexiconError: constrained, and there is no lexicon beside the weights; the message says how to build it for `use_lexicon`.
            DigestMismatchError: the folder's lexicon is not the one the model was exported with.
            MarkupError: a sentence does not mark exactly one mention.
            UnknownNameError: an unknown group or language.
            ConfigError: settings that contradict each other, see `DecodingSettings`.
            PromptTooLongError: not even a sentence's mention fits the context.
            TrieError: no entry is both a candidate and in the groups.
        """
        if isinstance(sentences, str):
            sentences = [sentences]
        if self.syncabel_lexicon is None and constrained:
            raise self._missing_lexicon()
        fmt = format_from_config(self.config.syncabel)
        if language is not None:
            fmt = replace(fmt, language=language)
        settings = DecodingSettings(
            constrained,
            num_beams,
            own_ranking(self.config.syncabel) if ranking is None else ranking,
            max_new_tokens,
            max_batch_tokens,
            search=search,
            max_expansions=max_expansions,
            nil=nil,
            exact_ranks=exact_ranks,
            max_concepts=max_concepts,
        )
        tokenizer, lexicon = self.syncabel_tokenizer, self.syncabel_lexicon
        places = [f"sentence {i}" for i in range(1, len(sentences) + 1)]
        fitted = [
            fitted_prompt(partial(marked_prompt, sentence, place), fmt, self, tokenizer, lexicon, settings, place)
            for sentence, place in zip(sentences, places, strict=True)
        ]
        found = decode(self, tokenizer, lexicon, [prompt for prompt, _ in fitted], settings, candidates=candidates, places=places)
        return [[as_public(answer, *each, text) for answer in row] for row, each, text in zip(found, fitted, sentences, strict=True)]


def marked_prompt(sentence: str, place: str, fmt: PromptFormat) -> Prompt:
    """`from_sentence`, whose error says which sentence it is.

    Raises:
        MarkupError: it does not hold exactly one mention.
    """
    try:
        return from_sentence(sentence, fmt)
    except MarkupError as error:
        raise MarkupError(f"{place}: {error}") from None


def as_public(answer: Prediction, prompt: Prompt, windowed: bool, text: str) -> dict[str, Any]:
    """A prediction under the published keys."""
    return {
        "text": text,
        "mention": prompt.mention,
        "semantic_group": "|".join(prompt.groups),
        "pred_concept_name": answer.name,
        "pred_concept_code": answer.code,
        "beam_score": answer.beam_score,
        "log_prob": answer.log_prob,
        "mass": answer.mass,
        "certified": answer.certified,
        "bound": answer.bound,
        "epsilon": answer.epsilon,
        "windowed": windowed,
    }


class SyncabelForCausalLM(SyncabelMixin, LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """A Llama that links mentions."""


class SyncabelMistralForCausalLM(SyncabelMixin, MistralForCausalLM):  # type: ignore[no-untyped-call]
    """A Mistral that links mentions."""


class SyncabelQwen2ForCausalLM(SyncabelMixin, Qwen2ForCausalLM):  # type: ignore[no-untyped-call]
    """A Qwen 2 or 2.5 that links mentions."""


class SyncabelQwen3ForCausalLM(SyncabelMixin, Qwen3ForCausalLM):  # type: ignore[no-untyped-call]
    """A Qwen 3 that links mentions."""


class SyncabelGemmaForCausalLM(SyncabelMixin, GemmaForCausalLM):  # type: ignore[no-untyped-call]
    """A Gemma that links mentions."""


class SyncabelGemma2ForCausalLM(SyncabelMixin, Gemma2ForCausalLM):  # type: ignore[no-untyped-call]
    """A Gemma 2 that links mentions."""


class SyncabelGemma3ForCausalLM(SyncabelMixin, Gemma3ForCausalLM):  # type: ignore[no-untyped-call]
    """A Gemma 3, its text part, that links mentions."""


# `model_type` of a configuration → the class that its folder names in `auto_map`; the one list of what can be exported.
CLASSES = {
    "llama": "SyncabelForCausalLM",
    "mistral": "SyncabelMistralForCausalLM",
    "qwen2": "SyncabelQwen2ForCausalLM",
    "qwen3": "SyncabelQwen3ForCausalLM",
    "gemma": "SyncabelGemmaForCausalLM",
    "gemma2": "SyncabelGemma2ForCausalLM",
    "gemma3_text": "SyncabelGemma3ForCausalLM",
}
