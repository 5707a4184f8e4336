"""Tries from plain Python lists, and the 2,000 names the searches are checked on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from constrained import TokenTrie
from constrained.trie import group_bits

END = 0
VOCABULARY = 120
N_GROUPS = 3


@pytest.fixture(scope="session")
def build_trie() -> Callable[..., TokenTrie]:
    """`build_trie(names, groups, n_groups)`: names without their end token (0), a set of group numbers for each."""

    def build(names: Sequence[Sequence[int]], groups: Sequence[set[int]] | None = None, n_groups: int = 1) -> TokenTrie:
        chosen = groups if groups is not None else [{0}] * len(names)
        tokens = np.array([token for name in names for token in (*name, END)], dtype=np.int32)
        offsets = np.cumsum([0] + [len(name) + 1 for name in names])
        return TokenTrie.build(tokens, offsets, np.stack([group_bits(sorted(each), n_groups) for each in chosen]), END, n_groups)

    return build


@pytest.fixture(scope="session")
def names() -> list[tuple[int, ...]]:
    """2,000 names of 1 to 7 tokens that share first words, as real ones do; some are prefixes of others."""
    rng = np.random.default_rng(7)
    found: set[tuple[int, ...]] = {(5,), (5, 6), (5, 6, 7)}
    while len(found) < 2000:
        found.add(tuple(int(t) for t in 1 + np.minimum(rng.zipf(1.4, rng.integers(1, 8)), VOCABULARY - 1) % (VOCABULARY - 1)))
    result = sorted(found)
    rng.shuffle(result)
    return result


@pytest.fixture(scope="session")
def name_groups(names: list[tuple[int, ...]]) -> list[set[int]]:
    rng = np.random.default_rng(8)
    return [set(rng.choice(N_GROUPS, rng.integers(1, 3), replace=False).tolist()) for _ in names]


@pytest.fixture(scope="session")
def trie(build_trie: Callable[..., TokenTrie], names: list[tuple[int, ...]], name_groups: list[set[int]]) -> TokenTrie:
    return build_trie(names, name_groups, N_GROUPS)


@pytest.fixture(scope="session")
def talking_llama(tiny_llama: Callable[..., Any]) -> Callable[..., Any]:
    """`talking_llama(vocabulary, seed)`: a random model that decides, and that comes to an end now and then."""
    import torch

    def make(vocabulary: int, seed: int) -> Any:
        # Enlarged weights: as initialised, all tokens are about equally likely.
        model = tiny_llama(vocabulary, seed=seed, scale=4.0)
        with torch.no_grad():
            # transformers zeroes the row of the padding token, which is the end token here: its logit would always be 0.
            model.model.embed_tokens.weight[END] = torch.randn(32) * model.model.embed_tokens.weight[1:].std()
        return model

    return make


@pytest.fixture(scope="session")
def model(talking_llama: Callable[..., Any]) -> Any:
    return talking_llama(VOCABULARY, 3)


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    rng = np.random.default_rng(9)
    return [rng.integers(1, VOCABULARY, length).tolist() for length in (5, 17, 1, 9, 12, 9)]
