"""What the searches are held against: every name scored, names summed to concepts, and forward passes counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from constrained import TokenTrie, TrieError
from constrained.attention import Reading
from constrained.search import EVERYTHING, Found, Scope, rank_concepts, score_entries, trie_scope
from constrained.trie import group_bits

END = 0
TOLERANCE = 1e-4  # of a log-probability
Name = tuple[int, ...]


def trie_of(names: Sequence[Sequence[int]], groups: Sequence[set[int]] | None = None, n_groups: int = 1) -> TokenTrie:
    """Names without their end token, a set of group numbers for each."""
    chosen = groups if groups is not None else [{0}] * len(names)
    tokens = np.array([token for name in names for token in (*name, END)], dtype=np.int32)
    offsets = np.cumsum([0] + [len(name) + 1 for name in names])
    return TokenTrie.build(tokens, offsets, np.stack([group_bits(sorted(each), n_groups) for each in chosen]), END, n_groups)


def scores_of(model: Any, prompt: Sequence[int], names: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Teacher-forced log-probability of every name, those of one length together, which spares padding. Shape: (names,)."""
    order = sorted(range(len(names)), key=lambda entry: len(names[entry]))
    scores = np.empty(len(names))
    scores[order] = score_entries(model, prompt, [[*names[entry], END] for entry in order], max_batch_tokens=4096)
    return scores


@dataclass
class Passes:
    """A trace: of every forward pass its tokens, the trees it ran over, the logits asked for, and what the cache held."""

    tokens: list[int] = field(default_factory=list)
    trees: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)

    def passed(self, ids: Tensor, positions: Tensor, keep: Tensor, reading: Reading) -> None:
        self.tokens.append(ids.shape[1])
        self.trees.append(reading.rows)
        self.kept.append(len(keep))
        self.cached.append(reading.rows * reading.slots)

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Question:
    """What a query may answer with, as a scope and as one flag per entry."""

    scope: Scope
    allowed: NDArray[np.bool_]


def random_question(rng: np.random.Generator, trie: TokenTrie, groups: Sequence[set[int]], n_groups: int) -> Question:
    """Everything, some groups, a list of candidates, or both."""
    n = len(groups)
    chosen = None if rng.random() < 0.4 else sorted(rng.choice(n_groups, rng.integers(1, n_groups + 1), replace=False).tolist())
    candidates = None if rng.random() < 0.6 else rng.choice(n, rng.integers(1, min(n, 60) + 1), replace=False)
    allowed = np.array([chosen is None or bool(each & set(chosen)) for each in groups])
    if candidates is not None:
        allowed &= np.isin(np.arange(n), candidates)
    if not allowed.any():
        try:
            trie_scope(trie, chosen, candidates)
        except TrieError:
            return Question(EVERYTHING, np.ones(n, np.bool_))
        raise AssertionError("a scope without an entry was made")
    return Question(trie_scope(trie, chosen, candidates), allowed)


def masses_of(scores: NDArray[Any], allowed: NDArray[np.bool_], concept_of: NDArray[Any] | None) -> list[tuple[int, float]]:
    """Concepts by brute force: (number, log of its mass), best first, equal ones by number."""
    entries = np.flatnonzero(allowed)
    concept = entries if concept_of is None else concept_of[entries]
    total = {int(each): float(np.logaddexp.reduce(scores[entries[concept == each]])) for each in np.unique(concept)}
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


def check_names(found: Found, scores: NDArray[Any], allowed: NDArray[np.bool_], names: Sequence[Name], tolerance: float = TOLERANCE) -> None:
    """Real, allowed, distinct names with their scores, in order; and the bound of all others holds."""
    entries = [name.entry for name in found.names]
    assert entries
    assert len(entries) == len(set(entries))
    assert allowed[entries].all()
    log_probs = np.array([name.log_prob for name in found.names])
    np.testing.assert_allclose(log_probs, scores[entries], atol=tolerance, rtol=0)
    assert [name.length for name in found.names] == [len(names[entry]) + 1 for entry in entries]
    assert all(one.log_prob > other.log_prob or one.entry < other.entry for one, other in zip(found.names, found.names[1:], strict=False))
    assert (np.diff(log_probs) <= 0).all()
    others = allowed.copy()
    others[entries] = False
    if others.any():
        assert np.logaddexp.reduce(scores[others]) <= found.log_open + tolerance
    assert found.expansions >= 0


def check_ranks(found: Found, scores: NDArray[Any], allowed: NDArray[np.bool_], concept_of: NDArray[Any] | None) -> list[bool]:
    """What is called certain is so; returns which ranks are."""
    wanted = masses_of(scores, allowed, concept_of)
    ranked = rank_concepts(found, concept_of)
    for (concept, mass), answer in zip(wanted, ranked, strict=False):
        if answer.certified:
            assert answer.concepts == (concept,)
            assert answer.log_mass <= mass + TOLERANCE
    sure = [answer.certified for answer in ranked]
    assert sure == sorted(sure, reverse=True)
    return sure


def check_best(found: Found, scores: NDArray[Any], allowed: NDArray[np.bool_], concept_of: NDArray[Any] | None, k: int) -> None:
    """The first k concepts are those of brute force, and certified wherever their masses tell them apart."""
    wanted = masses_of(scores, allowed, concept_of)
    ranked = rank_concepts(found, concept_of)
    assert len(ranked) >= min(k, len(wanted))
    mass_of = dict(wanted)
    apart = True
    for rank, (answer, (concept, mass)) in enumerate(zip(ranked[:k], wanted, strict=False)):
        following = wanted[rank + 1][1] if rank + 1 < len(wanted) else -np.inf
        apart &= mass - following > 5 * TOLERANCE
        assert answer.certified or not apart
        assert answer.concepts == (concept,) or mass - mass_of[answer.concepts[0]] < 5 * TOLERANCE
