"""A vLLM server in front of the engine: greedy answers that are certain are vLLM's, all others the engine's.

Names that end with the end token are disjoint events, so a greedy answer of probability p leaves everything else at most 1 − p;
what the trie and vLLM's log-probabilities tell of each step bounds it closer (`left_open`).  No more is needed to certify an
answer, so about as many as are surer than one half never reach the engine.

vLLM is imported when it is used, not before.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constrained.concepts import EPSILON, Found, Hypothesis, rank_concepts
from constrained.scope import Scope, ScopeTable
from constrained.trie import TokenTrie
from constrained.vllm import EXTRA_ARG, FOLDER_VARIABLE
from syncabel.decoding import LEXICON_FOLDER, DecodingSettings, candidate_scope
from syncabel.errors import ConfigError, MissingExtraError, MissingLexiconError, ModelError
from syncabel.fetch import fetched
from syncabel.lexicon.store import TRIE, Lexicon
from syncabel.linker import Linker, place_of
from syncabel.prompt import encode_prompts
from syncabel.types import Prediction, Prompt, Query

__all__ = ["CertifiedVLLM", "greedy_found", "left_open", "load_vllm"]

PROCESSORS = {False: "constrained.vllm.v1:TrieLogitsProcessor", True: "constrained.vllm.v2:TrieLogitsProcessor"}
ROUNDING = 1e-5  # of a sum of probabilities in single precision, which vLLM's are whatever the model's type
MOST_LOGPROBS = 20  # what vLLM grants a request unless told otherwise
_NO_CALIBRATION = "vLLM's answers stand alone, and calibrations are measured on answers with others behind them; take Linker for thresholds and sets"


def left_open(known: Mapping[int, float], chosen: int, allowed: NDArray[np.int32]) -> float:
    """Upper bound of the probability of all allowed tokens but the chosen one, after one step.

    Args:
        known: probabilities of some tokens, over the whole vocabulary; the chosen one is among them.
        chosen: token id.
        allowed: token ids, ascending; the chosen one is among them. Shape: (children,).

    Returns:
        A fraction in [0, 1]; 0 where nothing else is allowed.
    """
    tokens = np.fromiter(known, np.int64, len(known))
    inside = tokens[allowed[np.minimum(np.searchsorted(allowed, tokens), len(allowed) - 1)] == tokens].tolist()
    others = math.fsum(known[token] for token in inside if token != chosen)
    # The probabilities of a step add up to one in whatever arithmetic they come from, so that how far this one may be from another
    # (ε) is no matter here: the certificate allows for it once, for whole names.
    unknown = 0.0 if len(inside) == len(allowed) else max(0.0, 1.0 - math.fsum(known.values())) + ROUNDING
    return min(1.0, others + unknown)


def greedy_found(trie: TokenTrie, scope: Scope, tokens: Sequence[int], log_probs: Sequence[Mapping[int, float]], epsilon: float) -> Found:
    """What is known after a greedy decoding: the name that was written, and how much was left aside on the way.

    Args:
        trie: the names.
        scope: what the answer was held to.
        tokens: ids, end token included.
        log_probs: for each of them natural-log, full-vocabulary probabilities of that token and of any others in its place.
        epsilon: how far the logarithm of a whole name's may be off.

    Returns:
        One name, or none and everything open where what was written is no name to its end, or a probability no number.
    """
    table = ScopeTable(trie, [scope])
    node, total, aside = 0, 0.0, 0.0
    for token, step in zip(tokens, log_probs, strict=True):
        _, allowed, child = table.children_of(np.array([node]), np.zeros(1, np.int64))
        place = int(np.searchsorted(allowed, token))
        if place == len(allowed) or allowed[place] != token:
            return Found((), 0.0, len(tokens), epsilon)
        known = {other: math.exp(value) for other, value in step.items()}
        aside += math.exp(total) * left_open(known, token, allowed)
        total += step[token]
        node = int(child[place])
    entry = int(trie.entry_of(np.array([node]))[0])
    # Logits that are no numbers are the engine's to report: it names the mention.
    if entry < 0 or math.isnan(total):
        return Found((), 0.0, len(tokens), epsilon)
    return Found((Hypothesis((entry,), total, len(tokens)),), math.log(min(1.0, aside)) if aside else -math.inf, len(tokens) - 1, epsilon)


def load_vllm(
    folder: str | Path,
    *,
    dtype: str = "auto",
    max_model_len: int | None = None,
    max_num_seqs: int = 256,
    gpu_memory_utilization: float = 0.5,
    enforce_eager: bool = False,
    lexicon: str | Path | None = None,
) -> Any:
    """Start vLLM on an exported model folder, with the trie of its lexicon and the processor for the model runner it uses.

    Args:
        folder: what `syncabel.export.export_model` wrote.
        dtype: as vLLM names them, e.g. "bfloat16"; "auto" takes the checkpoint's.
        max_model_len: longest prompt and answer, in tokens; the model's context where None.
        max_num_seqs: most requests decoded at once.
        gpu_memory_utilization: vLLM's share of a GPU, a fraction; the engine needs the rest.
        enforce_eager: without CUDA graphs.
        lexicon: folder with the model's lexicon, for one that came without; None for the one beside the weights.

    Returns:
        A `vllm.LLM`.

    Raises:
        MissingExtraError: vLLM is not installed.
        MissingLexiconError: the folder has no lexicon.
        ConfigError: this process already has vLLM with another trie; or the model has fewer logits than the trie has token ids.
    """
    try:
        from vllm import LLM, EngineArgs
    except ImportError as error:
        raise MissingExtraError("vllm", str(error.name)) from None
    trie = Path(lexicon or Path(folder, LEXICON_FOLDER), TRIE).resolve()
    if not trie.is_dir():
        raise MissingLexiconError(f"{folder}: no lexicon in it, and vLLM is held to the names of one; export the model with a lexicon")
    if Path(taken := os.environ.get(FOLDER_VARIABLE) or trie).resolve() != trie:
        raise ConfigError(f"{FOLDER_VARIABLE} is {taken}, this model's trie is {trie}: use one process for each trie")
    settings: dict[str, Any] = {
        "model": str(folder),
        "dtype": dtype,
        "max_model_len": max_model_len,
        "max_num_seqs": max_num_seqs,
        "gpu_memory_utilization": gpu_memory_utilization,
        "enforce_eager": enforce_eager,
        "generation_config": "vllm",  # a checkpoint's never decides
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": MOST_LOGPROBS,
    }
    config = EngineArgs(**settings).create_engine_config()
    _check_vocabulary(config.model_config.get_vocab_size(), TokenTrie.load(trie).vocabulary, folder)
    # vLLM starts processes of its own, which an environment variable reaches however they are started.
    os.environ[FOLDER_VARIABLE] = str(trie)
    return LLM(**settings, logits_processors=[PROCESSORS[config.use_v2_model_runner]])


def _check_vocabulary(logits: int, tokens: int, folder: str | Path) -> None:
    # Before vLLM starts, whose own processes end with a page of traceback.
    if logits < tokens:
        raise ConfigError(f"{folder}: the model has {logits} logits, its trie token ids up to {tokens - 1}; export it with a lexicon built for its tokenizer")


@dataclass(frozen=True)
class CertifiedVLLM(Linker):
    """A `Linker` that asks vLLM first: an answer proved to be the most probable concept is returned as it is, alone.

    The rest, prompts too long for vLLM among it, goes to the engine and comes back as `Linker` returns it.

    Attributes:
        llm: a `vllm.LLM` of the same weights, see `load_vllm`.
        epsilon: how far vLLM's log-probabilities may be off, which the proof allows for; that of its floating type where None
            (`constrained.search.EPSILON`), to be given for quantised weights or a quantised cache.
        top_logprobs: most probable tokens of each step that vLLM reports; more of them prove more.
        served: how many answers were `certified`, `uncertain` (the engine's), `too long` (the engine's).

    Raises:
        ConfigError: settings whose answers the proof is not about (free, ranked by `mean`, composite, more than one rank), a
            number out of range, or a vLLM that serves another model or does not report raw log-probabilities.
        MissingLexiconError: the linker has no lexicon.
        TokenizerMismatchError: its lexicon was built for another tokenizer.
    """

    llm: Any = field(kw_only=True)
    epsilon: float | None = field(default=None, kw_only=True)
    top_logprobs: int = field(default=5, kw_only=True)
    served: Counter[str] = field(default_factory=Counter, kw_only=True)

    def __post_init__(self) -> None:
        if self.lexicon is None:
            raise MissingLexiconError("vLLM is held to the names of a lexicon and the linker has none; export the model with one")
        self.lexicon.check_tokenizer(self.tokenizer)
        if not self.settings.constrained or self.settings.ranking != "sum" or max(self.settings.max_concepts, self.settings.exact_ranks) > 1:
            raise ConfigError("vLLM proves the first rank of constrained answers of one concept, ranked by 'sum'; change the settings, or use Linker")
        if not 0 <= self.top_logprobs <= MOST_LOGPROBS or (self.epsilon is not None and self.epsilon < 0):
            raise ConfigError(f"top_logprobs is {self.top_logprobs}, epsilon {self.epsilon}; give 0 to {MOST_LOGPROBS}, and at least 0")
        if (mode := self._config.logprobs_mode) != "raw_logprobs":
            raise ConfigError(f"this vLLM reports {mode}; start it with logprobs_mode='raw_logprobs'")
        served, own = self._config.get_vocab_size(), self.model.config.get_text_config().vocab_size
        if served != own:
            raise ConfigError(f"this vLLM serves a model of {served} tokens, the linker's has {own}; load both from one folder")

    @classmethod
    def over(cls, linker: Linker, llm: Any, *, epsilon: float | None = None, top_logprobs: int = 5) -> "CertifiedVLLM":
        """Put vLLM before a linker of the same model folder, whose settings decide how the rest is searched.

        Answers have no confidence: vLLM proves a first answer alone, and the calibration was measured on answers with others behind them.

        Raises:
            ConfigError: the linker holds answers back, or gives sets.
        """
        if linker.answering is not None and linker.answering.decides:
            raise ConfigError(_NO_CALIBRATION)
        own = {each.name: getattr(linker, each.name) for each in fields(Linker)} | {"answering": None}
        return cls(**own, llm=llm, epsilon=epsilon, top_logprobs=top_logprobs)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        settings: DecodingSettings | None = None,
        device: str | None = None,
        *,
        lexicon: str | Path | None = None,
        revision: str | None = None,
        verify: bool = False,
        min_confidence: float | None = None,
        target_precision: float | None = None,
        coverage: float | None = None,
        calibrated: bool = False,
    ) -> "CertifiedVLLM":
        """Load an exported model twice: for the engine and, with the defaults of `load_vllm`, for vLLM.

        Args:
            model, lexicon, revision, verify: as `Linker.from_pretrained` has them.
            settings: how the engine decodes the rest; exact search where None.
            device: the engine's; a GPU where there is one.
            min_confidence, target_precision, coverage, calibrated: for `Linker` only, see `over`.

        Raises:
            ConfigError: a threshold or sets are asked for.
            MissingExtraError, ConfigError: see `load_vllm`.
            SyncabelError: see `Linker.from_pretrained`.
        """
        if calibrated or any(value is not None for value in (min_confidence, target_precision, coverage)):
            raise ConfigError(_NO_CALIBRATION)
        # vLLM first: it takes its share of the GPU that is free.
        folder = fetched(model, revision=revision)
        llm = load_vllm(folder, lexicon=lexicon)
        settings = settings or DecodingSettings(search="exact")
        return cls.over(Linker.from_pretrained(folder, settings, device, lexicon=lexicon, verify=verify, calibrated=False), llm)

    def _ranked(self, prompts: Sequence[Prompt], queries: Sequence[Query], candidates: Sequence[Sequence[int] | None] | None) -> list[list[Prediction]]:
        certain = self._certain(prompts, queries, candidates)
        rest = [i for i, answer in enumerate(certain) if answer is None]
        listed = None if candidates is None else [candidates[i] for i in rest]
        try:
            ranked = iter(super()._ranked([prompts[i] for i in rest], [queries[i] for i in rest], listed))
        except ModelError as error:
            raise ModelError(error.problem, error.where, [rest[i] for i in error.prompts]) from error
        return [next(ranked) if answer is None else [answer] for answer in certain]

    @property
    def _config(self) -> Any:
        return self.llm.llm_engine.vllm_config.model_config

    @property
    def _names(self) -> Lexicon:
        if self.lexicon is None:  # refused when it was made
            raise MissingLexiconError("the linker has no lexicon")
        return self.lexicon

    def _certain(self, prompts: Sequence[Prompt], queries: Sequence[Query], candidates: Sequence[Sequence[int] | None] | None) -> list[Prediction | None]:
        """What vLLM proves, None where it does not."""
        ids = encode_prompts(prompts, self.tokenizer)
        asks = [self._ask(query, None if candidates is None else candidates[i]) for i, query in enumerate(queries)]
        room = self._config.max_model_len - self._names.header["longest"]
        short = [i for i, row in enumerate(ids) if len(row) <= room]
        answers: list[Prediction | None] = [None] * len(queries)
        # First, so that a selection which leaves no name is the error that the engine gives.
        scopes = [candidate_scope(self._names, ask.get("groups"), ask.get("candidates"), place_of(query)) for ask, query in zip(asks, queries, strict=True)]
        for i, found in zip(short, self._greedy([ids[i] for i in short], [asks[i] for i in short], [scopes[i] for i in short]), strict=True):
            answers[i] = self._prediction(found)
        proved = sum(answer is not None for answer in answers)
        self.served.update({"certified": proved, "uncertain": len(short) - proved, "too long": len(queries) - len(short)})
        return answers

    def _ask(self, query: Query, candidates: Sequence[int] | None) -> dict[str, list[int]]:
        """What a query may be answered with, as the processor takes it."""
        groups = self._names.group_numbers(query.groups if self.hard_groups else (), self.settings.nil)
        given = {"groups": groups, "candidates": candidates}
        return {key: [int(number) for number in numbers] for key, numbers in given.items() if numbers is not None}

    def _greedy(self, prompts: Sequence[Sequence[int]], asks: Sequence[dict[str, list[int]]], scopes: Sequence[Scope]) -> list[Found]:
        """One greedy decoding of each prompt, held to what is asked."""
        if not prompts:
            return []
        trie = self._names.trie
        epsilon = EPSILON[str(self._config.dtype).removeprefix("torch.")] if self.epsilon is None else self.epsilon
        done = self.llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], [self._params(ask) for ask in asks], use_tqdm=False)
        outputs = [request.outputs[0] for request in done]
        return [greedy_found(trie, scope, one.token_ids, _log_probs(one), epsilon) for scope, one in zip(scopes, outputs, strict=True)]

    def _params(self, ask: dict[str, list[int]]) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=0.0,
            max_tokens=self._names.header["longest"],
            logprobs=self.top_logprobs,
            detokenize=False,
            stop_token_ids=[self._names.trie.end_token],
            extra_args={EXTRA_ARG: ask},
        )

    def _prediction(self, found: Found) -> Prediction | None:
        if not found.names or not rank_concepts(found, self._names.concept_of)[0].certified:
            return None
        best = found.names[0]
        score = math.exp(best.log_prob / best.length)
        code, name = self._names.code(best.entry), self._names.name(best.entry)
        mass = min(1.0, math.exp(best.log_prob))
        return Prediction((code,), name, best.log_prob, score, mass, certified=True, bound=found.open_mass, epsilon=found.epsilon)


def _log_probs(output: Any) -> list[dict[int, float]]:
    """vLLM's log-probabilities as plain numbers, one mapping for each token written."""
    return [{token: value.logprob for token, value in step.items()} for step in output.logprobs]
