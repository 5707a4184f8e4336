"""Prompts in, predictions out: the search over a model and a lexicon, shared by `Linker` and by the exported model's `sample`."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from constrained.search import FreeHypothesis, Hypothesis, beam_search, free_search
from syncabel.errors import ConfigError, DigestMismatchError, MissingLexiconError, PromptTooLongError, UnknownNameError
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import encode_prompt
from syncabel.types import Prediction, Prompt

__all__ = ["LEXICON_FOLDER", "DecodingSettings", "check_length", "decode", "load_lexicon"]

LEXICON_FOLDER = "lexicon"  # inside a model folder
Ranking = Literal["sum", "mean"]


@dataclass(frozen=True, slots=True)
class DecodingSettings:
    """Everything that decides a decoding; a checkpoint's generation config never does.

    Attributes:
        constrained: hold the model to names of the lexicon.
        num_beams: width of the beam, and the most predictions a mention gets.
        ranking: concepts by the summed probability of their names found (`sum`), or by the best name's
            exp(log_prob / tokens), the published score (`mean`).
        max_new_tokens: most tokens of a free generation; constrained names are as long as the lexicon's.
        max_batch_tokens: most prompt tokens (rows × longest, padding counted) run at once.

    Raises:
        ConfigError: a number is below 1.
        UnknownNameError: no such ranking.
    """

    constrained: bool = True
    num_beams: int = 5
    ranking: Ranking = "sum"
    max_new_tokens: int = 128
    max_batch_tokens: int = 16384

    def __post_init__(self) -> None:
        if self.ranking not in get_args(Ranking):
            raise UnknownNameError("ranking", self.ranking, get_args(Ranking))
        for name in ("num_beams", "max_new_tokens", "max_batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")


def load_lexicon(model_folder: Path, config: Mapping[str, Any]) -> Lexicon | None:
    """The lexicon beside a model's weights, None where the folder has none.

    Args:
        model_folder: an exported model folder.
        config: the `syncabel` entry of its config.json.

    Raises:
        DigestMismatchError: it is not the lexicon the model was exported with.
        LexiconError, IncompleteFolderError, FormatError: it cannot be read.
    """
    folder = model_folder / LEXICON_FOLDER
    if not folder.exists():
        return None
    lexicon = Lexicon.load(folder)
    if lexicon.digest != (expected := str(config.get("lexicon_digest"))):
        raise DigestMismatchError(str(folder), expected, lexicon.digest, "put back the lexicon that the model was exported with, or export it again")
    return lexicon


def check_length(prompt_tokens: int, model: Any, lexicon: Lexicon | None, settings: DecodingSettings, where: str) -> None:
    """Refuse a prompt that, with the longest answer after it, leaves the model's context.

    Raises:
        PromptTooLongError: it does.
    """
    answer = lexicon.header["longest"] if settings.constrained and lexicon is not None else settings.max_new_tokens
    limit = model.config.max_position_embeddings
    if prompt_tokens + answer > limit:
        raise PromptTooLongError(prompt_tokens + answer, limit, where)


def decode(
    model: Any,
    tokenizer: Any,
    lexicon: Lexicon | None,
    prompts: Sequence[Prompt],
    settings: DecodingSettings,
    groups: Sequence[Sequence[str]] | None = None,
) -> list[list[Prediction]]:
    """Predictions per prompt, best first, one per concept, at most `num_beams`.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        lexicon: built for this tokenizer; None only where `constrained` is False, and then no answer has a code.
        prompts: what to complete.
        settings: how.
        groups: per prompt the groups an answer must come from, empty for all; the prompts' own groups where None.

    Raises:
        MissingLexiconError: constrained without a lexicon.
        TokenizerMismatchError: the lexicon was built for another tokenizer.
        PromptTooLongError: a prompt leaves the context.
        UnknownNameError: an unknown group.
    """
    if lexicon is None and settings.constrained:
        raise MissingLexiconError("constrained decoding needs a lexicon and there is none; run `syncabel lexicon build`, or ask for constrained=False")
    if lexicon is not None:
        lexicon.check_tokenizer(tokenizer)
    ids = [encode_prompt(prompt, tokenizer) for prompt in prompts]
    for i, row in enumerate(ids):
        check_length(len(row), model, lexicon, settings, f"prompt {i + 1}")
    held = [prompt.groups for prompt in prompts] if groups is None else groups
    flags = [lexicon.flags(allowed) if lexicon is not None else None for allowed in held]
    if settings.constrained and lexicon is not None:
        found = beam_search(model, lexicon.trie, ids, num_beams=settings.num_beams, flags=flags, max_batch_tokens=settings.max_batch_tokens)
        answers = [[_named(hypothesis, lexicon) for hypothesis in row] for row in found]
    else:
        free = free_search(
            model,
            ids,
            num_beams=settings.num_beams,
            end_token=tokenizer.eos_token_id,
            max_new_tokens=settings.max_new_tokens,
            max_batch_tokens=settings.max_batch_tokens,
        )
        answers = [[_walked(hypothesis, lexicon, allowed, tokenizer) for hypothesis in row] for row, allowed in zip(free, flags, strict=True)]
    return [_concepts(row, settings.ranking)[: settings.num_beams] for row in answers]


def _beam_score(log_prob: float, length: int) -> float:
    return math.exp(log_prob / max(length, 1))


def _named(found: Hypothesis, lexicon: Lexicon) -> Prediction:
    score = _beam_score(found.log_prob, found.length)
    return Prediction((lexicon.code(found.entry),), lexicon.name(found.entry), found.log_prob, score, math.exp(found.log_prob))


def _walked(found: FreeHypothesis, lexicon: Lexicon | None, flags: Any, tokenizer: Any) -> Prediction:
    """A free generation gets the code its own token ids lead to; decoded text is only shown."""
    entry = lexicon.trie.walk(found.tokens, flags) if lexicon is not None else -1
    text = tokenizer.decode(list(found.tokens), skip_special_tokens=True).strip()
    codes = (lexicon.code(entry),) if lexicon is not None and entry >= 0 else ()
    return Prediction(codes, text, found.log_prob, _beam_score(found.log_prob, found.length), math.exp(found.log_prob))


def _concepts(answers: Sequence[Prediction], ranking: Ranking) -> list[Prediction]:
    """One prediction per concept: its best name, with the mass of all its names found. Names without code stay apart."""
    by_concept: dict[object, list[Prediction]] = defaultdict(list)
    for answer in answers:
        by_concept[answer.codes or answer.name].append(answer)
    # The best name under the score that ranks: a long name may have the higher mean and the lower sum.
    best: Callable[[Prediction], float] = (lambda answer: answer.beam_score) if ranking == "mean" else (lambda answer: answer.log_prob)
    merged = [replace(max(group, key=best), mass=min(1.0, math.fsum(answer.mass for answer in group))) for group in by_concept.values()]
    if ranking == "mean":
        return sorted(merged, key=lambda answer: -answer.beam_score)
    # Masses below the smallest float are all 0.0; their best names still have an order.
    return sorted(merged, key=lambda answer: (-answer.mass, -answer.log_prob))
