"""Searches over a closed set of names, for decoder-only models of transformers.

Three searches, one interface: `greedy_search`, `beam_search`, and `exact_search`, which proves its answer.  `free_search` writes
without names, through the same loop, for comparison.  Prompts are run once, prefixes that prompts share once for all of them;
of the logits only those of names are looked at, under the normaliser of the whole vocabulary.  What was found comes back with
a bound of what was not (`Found`), of which `rank_concepts` makes concepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from constrained.beam import BeamSearch, Ended
from constrained.concepts import EPSILON, Found, Hypothesis, RankedConcept, rank_concepts
from constrained.errors import SearchError
from constrained.exact import ExactSearch
from constrained.forest import Trace, computed_in
from constrained.loop import run
from constrained.names import Composite, Expander, NamePairs, Names, Vocabulary
from constrained.scope import EVERYTHING, Scope, ScopeTable, trie_scope
from constrained.scoring import check_arguments, score_entries, vocabulary_of
from constrained.trie import Ints, TokenTrie, TrieError

__all__ = [
    "EPSILON",
    "EVERYTHING",
    "Composite",
    "Found",
    "FreeHypothesis",
    "Hypothesis",
    "RankedConcept",
    "Scope",
    "SearchError",
    "beam_search",
    "exact_search",
    "free_search",
    "greedy_search",
    "rank_concepts",
    "score_entries",
    "trie_scope",
]

MAX_BATCH_TOKENS = 16384
MAX_EXPANSIONS = 64
NAME_TOKENS = 12  # of a usual name: what a beam is expected to add to the cache


@dataclass(frozen=True, slots=True)
class FreeHypothesis:
    """A freely generated sequence.

    Attributes:
        tokens: token ids, the end token included where it is finished, so that `TokenTrie.walk` takes them as they are.
        log_prob: natural log of the product of their probabilities.
        length: number of tokens.
        finished: False where the limit of new tokens came before the end token.
    """

    tokens: tuple[int, ...]
    log_prob: float
    length: int
    finished: bool


def greedy_search(
    model: nn.Module,
    trie: TokenTrie,
    prompts: Sequence[Sequence[int]],
    *,
    scopes: Sequence[Scope] | None = None,
    composite: Composite | None = None,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    trace: Trace | None = None,
) -> list[Found]:
    """The best allowed token, then the best after it, until that is the end token: one name for each prompt.

    Args, Raises: as for `beam_search`.
    """
    return beam_search(model, trie, prompts, num_beams=1, scopes=scopes, composite=composite, max_batch_tokens=max_batch_tokens, trace=trace)


def beam_search(
    model: nn.Module,
    trie: TokenTrie,
    prompts: Sequence[Sequence[int]],
    *,
    num_beams: int,
    scopes: Sequence[Scope] | None = None,
    composite: Composite | None = None,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    trace: Trace | None = None,
) -> list[Found]:
    """The most probable names after each prompt that a beam finds.

    The `num_beams` best unfinished continuations stay, compared where the trie branches; a name leaves the beam with its end
    edge and keeps competing.  A mention is over when nothing live is more probable than the worst of its `num_beams` best
    finished names: log-probabilities only fall.  Equal ones go to the lower node, and at last to the lower entry.  At least
    `num_beams` names are found where that many are allowed.  One beam is greedy.

    Args:
        model: decoder-only, in evaluation mode, of any floating type; sums are kept in float64 (float32 on MPS).
        trie: the names.
        prompts: token ids, at least one each; the caller sees to it that prompt and name fit the model's context.
        num_beams: width.
        scopes: what each prompt may be answered with, see `trie_scope`; everything where None.
        composite: let several names follow each other.
        max_batch_tokens: bound on trees × slots of the cache when prompts are taken up; what is under way may outgrow it (a single
            prompt beyond it is run alone).
        trace: told of every forward pass.

    Returns:
        One `Found` for each prompt.

    Raises:
        TrieError: a trie with more tokens than the model.
        SearchError: a model in training mode or of a kind that cannot be searched; naming the query, a prompt with tokens
            that the model does not know, logits that are not numbers, a prompt that the device has no memory for.
        ValueError: an argument out of range.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, got {num_beams}")
    expander = _names(model, trie, prompts, scopes, composite)
    search = BeamSearch(expander, len(prompts), num_beams)
    run(model, prompts, search, max_batch_tokens=max_batch_tokens, spare=num_beams * NAME_TOKENS, trace=trace)
    return _found(search, expander, len(prompts), epsilon_of(model))


def exact_search(
    model: nn.Module,
    trie: TokenTrie,
    prompts: Sequence[Sequence[int]],
    *,
    k: int = 1,
    concept_of: Ints | None = None,
    max_expansions: int | None = MAX_EXPANSIONS,
    scopes: Sequence[Scope] | None = None,
    composite: Composite | None = None,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    trace: Trace | None = None,
) -> list[Found]:
    """Names until the k most probable concepts are proven to be that, in their order, or the budget is spent.

    Args:
        model, trie, prompts, scopes, composite, max_batch_tokens, trace: as for `beam_search`.
        k: concepts to be proven.
        concept_of: concept of each entry; each entry its own where None. Shape: (entries,).
        max_expansions: prefixes read for a prompt beyond which it stays unproven; None for no limit.

    Returns:
        One `Found` for each prompt; `rank_concepts` with the same `concept_of` says what is proven.

    Raises:
        As for `beam_search`.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if max_expansions is not None and max_expansions < 1:
        raise ValueError(f"max_expansions must be at least 1, or None for no limit, got {max_expansions}")
    expander = _names(model, trie, prompts, scopes, composite)
    epsilon = epsilon_of(model)
    search = ExactSearch(expander, len(prompts), k, concept_of, epsilon, max_expansions)
    run(model, prompts, search, max_batch_tokens=max_batch_tokens, spare=2 * NAME_TOKENS, trace=trace)
    return _found(search, expander, len(prompts), epsilon)


def free_search(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    num_beams: int,
    end_token: int,
    max_new_tokens: int = 128,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    trace: Trace | None = None,
) -> list[list[FreeHypothesis]]:
    """`beam_search` with every token allowed; one beam is greedy decoding.

    Args:
        model, prompts, num_beams, max_batch_tokens, trace: as for `beam_search`.
        end_token: finishes a sequence.
        max_new_tokens: what is live after that many is returned unfinished, ranked among the others by log-probability.

    Returns:
        For each prompt up to num_beams sequences, best first.

    Raises:
        ValueError: as for `beam_search`.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, got {num_beams}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    check_arguments(model, prompts)
    expander = Vocabulary(end_token, num_beams)
    search = BeamSearch(expander, len(prompts), num_beams, max_new_tokens)
    run(model, prompts, search, max_batch_tokens=max_batch_tokens, spare=num_beams * NAME_TOKENS, trace=trace)
    ended, tokens = _in_order(search.ended, expander)
    results: list[list[FreeHypothesis]] = [[] for _ in prompts]
    for query, total, length, finished, ids in zip(ended.query, ended.total, ended.length, ended.finished, tokens, strict=True):
        if len(results[query]) < num_beams:
            results[query].append(FreeHypothesis(ids, float(total), int(length), bool(finished)))
    return results


def epsilon_of(model: nn.Module) -> float:
    """How far log-probabilities of a model may be off, see `EPSILON`: by its weights' type and by the one that it computes in.

    Raises:
        SearchError: a model of another floating type.
    """
    kinds = [str(dtype).removeprefix("torch.") for dtype in (next(model.parameters()).dtype, computed_in(model))]
    if strange := next((kind for kind in kinds if kind not in EPSILON), None):
        raise SearchError(f"a model of type {strange} cannot be searched; convert it to one of {', '.join(EPSILON)}")
    return max(EPSILON[kind] for kind in kinds)


def _names(model: nn.Module, trie: TokenTrie, prompts: Sequence[Sequence[int]], scopes: Sequence[Scope] | None, composite: Composite | None) -> Names:
    check_arguments(model, prompts)
    if trie.vocabulary > (known := vocabulary_of(model)):
        raise TrieError(f"the trie has token ids up to {trie.vocabulary - 1}, the model knows {known} tokens: it was built for another model")
    if scopes is not None and len(scopes) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need {len(prompts)} scopes, got {len(scopes)}")
    table = ScopeTable(trie, [EVERYTHING] * len(prompts) if scopes is None else scopes)
    return Names(trie, table) if composite is None else NamePairs(trie, table, composite)


def _in_order(ended: Ended, expander: Expander) -> tuple[Ended, list[tuple[int, ...]]]:
    """Answers by query, best first, equal ones by their entries or tokens."""
    answers = expander.answers(ended.state)
    order = sorted(range(len(answers)), key=lambda i: (ended.query[i], -ended.total[i], answers[i]))
    return ended.take(np.array(order, dtype=np.int64)), [answers[i] for i in order]


def _found(search: BeamSearch | ExactSearch, expander: Expander, n_queries: int, epsilon: float) -> list[Found]:
    names: list[list[Hypothesis]] = [[] for _ in range(n_queries)]
    ended, answers = _in_order(search.ended, expander)
    for query, total, length, entries in zip(ended.query, ended.total, ended.length, answers, strict=True):
        names[query].append(Hypothesis(entries, float(total), int(length)))
    return [
        Found(tuple(each), float(log_open), int(expansions), epsilon)
        for each, log_open, expansions in zip(names, search.log_open, search.expansions, strict=True)
    ]
