"""Tries from plain Python lists, and the 2,000 names the searches are checked on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_oracles import END, trie_of

from constrained import TokenTrie

VOCABULARY = 120
N_GROUPS = 3


@pytest.fixture(scope="session")
def build_trie() -> Callable[..., TokenTrie]:
    """`build_trie(names, groups, n_groups)`: names without their end token (0), a set of group numbers for each."""

    return trie_of


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
def untied_llama() -> Callable[..., Any]:
    """`untied_llama(vocabulary, kind)`: output and input embeddings are two; `kind` may be a subclass of the Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(vocabulary: int, kind: Any = LlamaForCausalLM) -> Any:
        torch.manual_seed(6)
        config = LlamaConfig(
            vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, bos_token_id=None
        )
        model = kind(config).eval()
        for parameter in model.parameters():
            parameter.data.mul_(4.0)
        return model

    return make


@pytest.fixture(scope="session")
def model(talking_llama: Callable[..., Any]) -> Any:
    return talking_llama(VOCABULARY, 3)


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    rng = np.random.default_rng(9)
    return [rng.integers(1, VOCABULARY, length).tolist() for length in (5, 17, 1, 9, 12, 9)]


@pytest.fixture(scope="session")
def real_labels(tiny_tokenizer: Any) -> list[tuple[tuple[int, ...], str]]:
    """2,000 names of DOID as the tokenizer's ids, with their codes: 20 runs of the alphabet, so that they begin alike."""
    from syncabel.kb import KnowledgeBase

    code = {name.text: concept.code for concept in KnowledgeBase.load("doid").concepts() for name in concept.names}
    texts = sorted(code)
    starts = np.linspace(0, len(texts) - 100, 20).astype(int)
    chosen = [texts[start + i] for start in starts for i in range(100)]
    ids = tiny_tokenizer([f" {text}" for text in chosen], add_special_tokens=False)["input_ids"]
    return [(tuple(each), code[text]) for each, text in zip(ids, chosen, strict=True)]


@pytest.fixture(scope="session")
def real_names(real_labels: list[tuple[tuple[int, ...], str]]) -> list[tuple[int, ...]]:
    return [name for name, _ in real_labels]


@pytest.fixture(scope="session")
def real_concepts(real_labels: list[tuple[tuple[int, ...], str]]) -> Any:
    """Concept of each real name. Shape: (names,)."""
    return np.unique([code for _, code in real_labels], return_inverse=True)[1]


@pytest.fixture(scope="session")
def trained(tiny_llama: Callable[..., Any], real_names: list[tuple[int, ...]]) -> Any:
    """A model that was taught to write 100 real names of up to 20 tokens, the i-th after two tokens: 300 + i // 10 and 310 + i % 10."""
    import torch

    model = tiny_llama(400, seed=1)
    names = [name for name in real_names if len(name) <= 20][::15][:100]
    width = 3 + max(map(len, names))
    rows = [[300 + i // 10, 310 + i % 10, *name, END] for i, name in enumerate(names)]
    ids = torch.tensor([row + [END] * (width - len(row)) for row in rows])
    wanted = torch.tensor([[-100, -100, *row[2:]] + [-100] * (width - len(row)) for row in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(input_ids=ids, labels=wanted).loss.backward()
        optimizer.step()
    return model.eval()
