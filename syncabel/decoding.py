"""Prompts in, predictions out: the search over a model and a lexicon, shared by `Linker` and by the exported model's `sample`."""

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from constrained.concepts import Found, Hypothesis, concepts_of, rank_concepts
from constrained.errors import SearchError, TrieError
from constrained.names import Composite
from constrained.scope import Scope, trie_scope
from constrained.search import FreeHypothesis, beam_search, exact_search, free_search, greedy_search
from syncabel.errors import ConfigError, DigestMismatchError, MissingLexiconError, ModelError, PromptTooLongError, UnknownNameError
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import NAME_JOIN, PromptFormat, encode_join, encode_prompts, fitted
from syncabel.types import Prediction, Prompt

__all__ = [
    "LEXICON_FOLDER",
    "LEXICON_MANIFEST",
    "DecodingSettings",
    "build_command",
    "candidate_scope",
    "check_candidates",
    "check_length",
    "decode",
    "exported_tokenizer",
    "fitted_prompt",
    "load_lexicon",
    "missing_lexicon",
    "own_ranking",
]

LEXICON_FOLDER = "lexicon"  # inside a model folder
LEXICON_MANIFEST = "lexicon.json"  # beside the weights: what the lexicon is, for those who have to build it themselves
Ranking = Literal["sum", "mean"]
SearchName = Literal["greedy", "beam", "exact"]


@dataclass(frozen=True, slots=True)
class DecodingSettings:
    """Everything that decides a decoding; a checkpoint's generation config never does.

    Attributes:
        constrained: hold the model to names of the lexicon.
        num_beams: width of the beam, and the most predictions a mention gets.
        ranking: concepts by the summed probability of their names found (`sum`), or by the best name's
            exp(log_prob / tokens), the published score (`mean`).
        max_new_tokens: most tokens of a free generation; constrained names are as long as the lexicon's.
        max_batch_tokens: bound on the tokens that the cache holds (trees × slots) when prompts are taken up, see `constrained.search`.
        search: `greedy`, `beam`, or `exact`, which goes on until it is proven that no other concept has more mass.
        exact_ranks: of `exact`: how many ranks are to be proven; at most `num_beams`, which come back.
        max_expansions: of `exact`: prefixes read for a mention before it stays unproven.
        max_concepts: concepts that an answer may be composed of; 1 for simple answers only.
        nil: offer the lexicon's leaf for "not in the knowledge base".

    Raises:
        ConfigError: a number is below 1, or settings contradict each other: what only names have asked of a free generation, a
            proof of `mean`, which is not about sums, or of ranks that do not come back.
        UnknownNameError: no such ranking or search.
    """

    constrained: bool = True
    num_beams: int = 5
    ranking: str = "sum"
    max_new_tokens: int = 128
    max_batch_tokens: int = 16384
    search: str = "beam"
    exact_ranks: int = 1
    max_expansions: int = 64
    max_concepts: int = 1
    nil: bool = False

    def __post_init__(self) -> None:
        if self.ranking not in get_args(Ranking):
            raise UnknownNameError("ranking", self.ranking, get_args(Ranking))
        if self.search not in get_args(SearchName):
            raise UnknownNameError("search", self.search, get_args(SearchName))
        for name in ("num_beams", "max_new_tokens", "max_batch_tokens", "exact_ranks", "max_expansions", "max_concepts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        self._check_agreement()

    def _check_agreement(self) -> None:
        if not self.constrained and (self.nil or self.max_concepts > 1):
            raise ConfigError("nil and max_concepts are for constrained decoding; leave them out with constrained=False")
        if not self.constrained and self.search != "beam":
            raise ConfigError(f"search {self.search!r} is for constrained decoding; leave it out with constrained=False, num_beams=1 writes greedily")
        if self.search == "exact" and self.ranking == "mean":
            raise ConfigError("exact search proves summed probabilities and 'mean' does not rank by them; take ranking 'sum', or search 'beam'")
        if self.search != "exact" and self.exact_ranks > 1:
            raise ConfigError(f"search {self.search!r} proves no ranks; take search 'exact' with exact_ranks, or leave exact_ranks out")
        if self.exact_ranks > self.num_beams:
            raise ConfigError(f"exact_ranks is {self.exact_ranks} and num_beams, the most answers, {self.num_beams}; give num_beams as many or more")


def own_ranking(config: Mapping[str, Any]) -> str:
    """How a model ranks where the caller does not say: `sum`, but for a converted model, which keeps the published score.

    Args:
        config: the `syncabel` entry of its config.json.
    """
    return str(config.get("ranking", "sum"))


def load_lexicon(model_folder: Path, config: Mapping[str, Any], place: Path | str | None = None, verify: bool = False) -> Lexicon | None:
    """The lexicon of a model, None where its folder has none.

    Args:
        model_folder: an exported model folder.
        config: the `syncabel` entry of its config.json.
        place: a folder with the lexicon, e.g. one built again; None for the one beside the weights.
        verify: read all of it and compare its content with its digest, which takes seconds where there are millions of names.

    Raises:
        MissingLexiconError: there is no such place.
        DigestMismatchError: it is not the lexicon the model was exported with, or a file of it was altered.
        LexiconError, IncompleteFolderError, FormatError: it cannot be read.
    """
    folder = model_folder / LEXICON_FOLDER if place is None else Path(place)
    if place is None and not folder.exists():
        return None
    lexicon = Lexicon.load(folder)
    if lexicon.digest != (expected := str(config.get("lexicon_digest"))):
        hint = "put back the lexicon that the model was exported with, build it from the same knowledge base, or export the model again"
        raise DigestMismatchError(str(folder), expected, lexicon.digest, hint)
    if verify:
        lexicon.verify()
    return lexicon


def exported_tokenizer(model_folder: Path | str) -> Any:
    """The tokenizer of an exported folder, just as its tokenizer.json has it.

    `AutoTokenizer` takes the class that goes with the kind of model, and some classes (Qwen 2's) put rules and tokens of their own in the
    place of the file's.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(model_folder)


def missing_lexicon(model_folder: Path, config: Mapping[str, Any], model: str, then: str) -> MissingLexiconError:
    """The error for a model without its lexicon: from what, and with which command, to build it.

    Args:
        model_folder: the exported model folder.
        config: the `syncabel` entry of its config.json.
        model: what the user calls it: a folder, or a repository of the Hub.
        then: what to do with the lexicon once it is built.
    """
    try:
        manifest = json.loads((model_folder / LEXICON_MANIFEST).read_bytes())
    except (OSError, ValueError):
        manifest = {}
    source = " ".join(str(manifest[key]) for key in ("source", "release") if manifest.get(key)) or "the model's terminology"
    digest = manifest.get("digests", {}).get("kb", "")
    known = f" (digest {digest[:8]}…)" if digest else ""
    command = build_command(model, config, manifest.get("nil"))
    return MissingLexiconError(
        f"{model}: no {LEXICON_FOLDER}/ beside the weights; with {source} as a knowledge base KB{known} run `{command}`, then {then}; "
        "or ask for constrained=False"
    )


def build_command(model: str, config: Mapping[str, Any], nil: str | None, kb: str = "KB") -> str:
    """The shell command that builds a model's lexicon.

    Args:
        model: its folder, or its repository on the Hub; its tokenizer is what counts.
        config: the `syncabel` entry of its config.json.
        nil: name of its leaf for "not in the knowledge base", None without one.
        kb: the knowledge base.
    """
    words = ["syncabel", "lexicon", "build", kb, "--tokenizer", model, "--prompt-format", str(config.get("format", "sentence"))]
    return shlex.join([*words, *(["--nil", nil] if nil else []), "-o", LEXICON_FOLDER])


def check_length(prompt_tokens: int, model: Any, tokenizer: Any, lexicon: Lexicon | None, settings: DecodingSettings, where: str) -> None:
    """Refuse a prompt that, with the longest answer after it, leaves the model's context.

    Raises:
        PromptTooLongError: it does.
    """
    needed, limit = prompt_tokens + _longest_answer(tokenizer, lexicon, settings), model.config.max_position_embeddings
    if needed > limit:
        raise PromptTooLongError(needed, limit, where)


def fitted_prompt(
    make: Callable[[PromptFormat], Prompt], fmt: PromptFormat, model: Any, tokenizer: Any, lexicon: Lexicon | None, settings: DecodingSettings, where: str
) -> tuple[Prompt, bool]:
    """A prompt that leaves room for the longest answer, with less context around its mention where it has to be.

    Args:
        make: writes the prompt in a format.
        fmt: the model's format.
        model, tokenizer, lexicon, settings: as for `decode`.
        where: document and mention, for the error.

    Returns:
        The prompt, and whether it has less context than the format asks for.

    Raises:
        PromptTooLongError: not even the bare mention fits.
    """
    prompt, _, windowed = fitted(make, fmt, tokenizer, model.config.max_position_embeddings, _longest_answer(tokenizer, lexicon, settings), where)
    return prompt, windowed


def _longest_answer(tokenizer: Any, lexicon: Lexicon | None, settings: DecodingSettings) -> int:
    if lexicon is None or not settings.constrained:
        return settings.max_new_tokens
    name = int(lexicon.header["longest"])  # its end token counted, which only the last name of an answer has
    return name if settings.max_concepts == 1 else name + (settings.max_concepts - 1) * (name - 1 + len(encode_join(tokenizer)))


def decode(
    model: Any,
    tokenizer: Any,
    lexicon: Lexicon | None,
    prompts: Sequence[Prompt],
    settings: DecodingSettings,
    groups: Sequence[Sequence[str]] | None = None,
    candidates: Sequence[Sequence[int] | None] | None = None,
    places: Sequence[str] | None = None,
) -> list[list[Prediction]]:
    """Predictions per prompt, best first, one per concept, at most `num_beams`.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        lexicon: built for this tokenizer; None only where `constrained` is False, and then no answer has a code.
        prompts: what to complete.
        settings: how.
        groups: per prompt the groups an answer must come from, empty for all; the prompts' own groups where None.
        candidates: per prompt the entries of the lexicon that are answers, e.g. a retriever's; None for all.
        places: what each prompt is called in an error; their numbers, from 1, where None.

    Raises:
        MissingLexiconError: constrained without a lexicon.
        TokenizerMismatchError: the lexicon was built for another tokenizer.
        PromptTooLongError: a prompt leaves the context.
        UnknownNameError: an unknown group.
        ConfigError: NIL is asked for and the lexicon has no such leaf; candidates for a free generation, or not one list a prompt.
        ModelError: the model cannot be searched, or its logits are no numbers.
        TrieError: no entry of the lexicon is both a candidate and in the groups.
    """
    if lexicon is None and settings.constrained:
        raise MissingLexiconError("constrained decoding needs a lexicon and there is none; run `syncabel lexicon build`, or ask for constrained=False")
    if candidates is not None and not settings.constrained:
        raise ConfigError("a free generation cannot be held to candidates; leave them out, or ask for constrained=True")
    check_candidates(candidates, len(prompts))
    where = [f"prompt {i}" for i in range(1, len(prompts) + 1)] if places is None else places
    if lexicon is not None:
        lexicon.check_tokenizer(tokenizer)
    ids = encode_prompts(prompts, tokenizer)
    for i, row in enumerate(ids):
        check_length(len(row), model, tokenizer, lexicon, settings, where[i])
    held = [tuple(prompt.groups) for prompt in prompts] if groups is None else [tuple(each) for each in groups]
    try:
        return _answers(model, tokenizer, lexicon, ids, settings, held, candidates, where)
    except SearchError as error:
        raise ModelError(error.problem, where[error.queries[0]] if error.queries else None, error.queries) from error


def check_candidates(candidates: Sequence[Sequence[int] | None] | None, prompts: int) -> None:
    """Refuse lists of candidates that are not one for each prompt.

    Raises:
        ConfigError: they are not.
    """
    if candidates is not None and len(candidates) != prompts:
        raise ConfigError(f"{prompts} mentions need {prompts} lists of candidates, None for those without; got {len(candidates)}")


def _answers(
    model: Any,
    tokenizer: Any,
    lexicon: Lexicon | None,
    ids: Sequence[Sequence[int]],
    settings: DecodingSettings,
    held: Sequence[tuple[str, ...]],
    candidates: Sequence[Sequence[int] | None] | None,
    places: Sequence[str],
) -> list[list[Prediction]]:
    if settings.constrained and lexicon is not None:
        found = _search(model, tokenizer, lexicon, ids, settings, _scopes(lexicon, held, candidates, settings.nil, places))
        return [_predictions(each, lexicon, settings)[: settings.num_beams] for each in found]
    return _free(model, tokenizer, lexicon, ids, settings, held)


def _scopes(
    lexicon: Lexicon, held: Sequence[tuple[str, ...]], candidates: Sequence[Sequence[int] | None] | None, nil: bool, places: Sequence[str]
) -> list[Scope]:
    """One scope per prompt; prompts of the same groups have the same one, so that a batch holds it once."""
    numbers = {groups: lexicon.group_numbers(groups, nil) for groups in set(held)}
    if candidates is not None:
        return [candidate_scope(lexicon, numbers[groups], entries, where) for groups, entries, where in zip(held, candidates, places, strict=True)]
    scopes = {groups: trie_scope(lexicon.trie, each) for groups, each in numbers.items()}
    return [scopes[groups] for groups in held]


def candidate_scope(lexicon: Lexicon, groups: Sequence[int] | None, entries: Sequence[int] | None, where: str) -> Scope:
    """The scope of one mention that has its own candidates.

    Raises:
        TrieError: it allows no entry, naming the mention.
    """
    try:
        return trie_scope(lexicon.trie, groups, entries)
    except TrieError as error:
        raise TrieError(f"{where}: {error}") from None


def _search(model: Any, tokenizer: Any, lexicon: Lexicon, ids: Sequence[Sequence[int]], settings: DecodingSettings, scopes: Sequence[Scope]) -> list[Found]:
    composite = _composite(tokenizer, lexicon, settings.max_concepts) if settings.max_concepts > 1 else None
    trie, budget = lexicon.trie, settings.max_batch_tokens
    if settings.search == "greedy":
        return greedy_search(model, trie, ids, scopes=scopes, composite=composite, max_batch_tokens=budget)
    if settings.search == "beam":
        return beam_search(model, trie, ids, num_beams=settings.num_beams, scopes=scopes, composite=composite, max_batch_tokens=budget)
    return exact_search(
        model,
        trie,
        ids,
        k=settings.exact_ranks,
        concept_of=lexicon.concept_of,
        max_expansions=settings.max_expansions,
        scopes=scopes,
        composite=composite,
        max_batch_tokens=budget,
    )


def _composite(tokenizer: Any, lexicon: Lexicon, most: int) -> Composite:
    # NIL beside a concept would say that the mention is in the knowledge base and that it is not.
    alone = () if lexicon.nil_entry is None else (lexicon.nil_entry,)
    return Composite(tuple(encode_join(tokenizer)), most, lexicon.concept_of, alone, lambda concept: lexicon.entries_of(lexicon.codes[concept]))


def _beam_score(log_prob: float, length: int) -> float:
    return math.exp(log_prob / max(length, 1))


def _predictions(found: Found, lexicon: Lexicon, settings: DecodingSettings) -> list[Prediction]:
    """One prediction per concept: its best name, with the mass of all its names found."""
    concepts = rank_concepts(found, lexicon.concept_of)
    if settings.ranking == "sum":
        return [_named(each.best, lexicon, each.log_mass, found, each.certified) for each in concepts]
    # A long name may have the higher mean and the lower sum; the certificate is about sums.
    best: dict[tuple[int, ...], Hypothesis] = {}
    for name in sorted(found.names, key=lambda name: -name.log_prob / name.length):
        best.setdefault(concepts_of(name.entries, lexicon.concept_of), name)
    masses = {each.concepts: each.log_mass for each in concepts}
    return [_named(name, lexicon, masses[concept], found, False) for concept, name in best.items()]


def _named(name: Hypothesis, lexicon: Lexicon, log_mass: float, found: Found, certified: bool) -> Prediction:
    entries = sorted(name.entries, key=lexicon.code)
    written = f"{NAME_JOIN} ".join(lexicon.name(entry) for entry in entries)
    score, mass = _beam_score(name.log_prob, name.length), min(1.0, math.exp(log_mass))
    return Prediction(tuple(map(lexicon.code, entries)), written, name.log_prob, score, mass, certified, found.open_mass, found.epsilon)


def _free(
    model: Any, tokenizer: Any, lexicon: Lexicon | None, ids: Sequence[Sequence[int]], settings: DecodingSettings, held: Sequence[tuple[str, ...]]
) -> list[list[Prediction]]:
    flags = [lexicon.flags(groups) if lexicon is not None else None for groups in held]
    found = free_search(
        model,
        ids,
        num_beams=settings.num_beams,
        end_token=tokenizer.eos_token_id,
        max_new_tokens=settings.max_new_tokens,
        max_batch_tokens=settings.max_batch_tokens,
    )
    answers = [[_walked(hypothesis, lexicon, allowed, tokenizer) for hypothesis in row] for row, allowed in zip(found, flags, strict=True)]
    return [_merged(row, settings.ranking)[: settings.num_beams] for row in answers]


def _walked(found: FreeHypothesis, lexicon: Lexicon | None, flags: Any, tokenizer: Any) -> Prediction:
    """A free generation gets the code its own token ids lead to; decoded text is only shown."""
    entry = lexicon.trie.walk(found.tokens, flags) if lexicon is not None else -1
    text = tokenizer.decode(list(found.tokens), skip_special_tokens=True).strip()
    codes = (lexicon.code(entry),) if lexicon is not None and entry >= 0 else ()
    return Prediction(codes, text, found.log_prob, _beam_score(found.log_prob, found.length), math.exp(found.log_prob))


def _merged(answers: Sequence[Prediction], ranking: str) -> list[Prediction]:
    """Free generations of one concept together. Names without code stay apart."""
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
