"""A trie of random names, what a walk through plain Python sets says of it, and one small model that vLLM can run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from constrained.trie import TokenTrie, group_bits

END = 0
VOCABULARY = 60
N_GROUPS = 3


class Catalogue:
    """Names with groups, as a trie and as plain sets."""

    def __init__(self, names: list[tuple[int, ...]], groups: list[set[int]]) -> None:
        self.names, self.groups = names, groups
        tokens = np.array([token for name in names for token in (*name, END)], dtype=np.int32)
        offsets = np.cumsum([0] + [len(name) + 1 for name in names])
        self.trie = TokenTrie.build(tokens, offsets, np.stack([group_bits(sorted(each), N_GROUPS) for each in groups]), END, N_GROUPS)

    def in_scope(self, asked: dict[str, list[int]]) -> list[int]:
        """The entries that a request may answer with."""
        held, listed = asked.get("groups"), asked.get("candidates")
        return [
            i for i, groups in enumerate(self.groups) if (held is None or groups & set(held)) and (listed is None or i in listed)
        ]  # fmt: skip

    def next_tokens(self, asked: dict[str, list[int]], written: Sequence[int]) -> set[int]:
        """What may follow: the walk a dict trie makes, by comparing prefixes. The end token alone where nothing may."""
        paths = [(*self.names[i], END) for i in self.in_scope(asked)]
        size = len(written)
        return {path[size] for path in paths if len(path) > size and path[:size] == tuple(written)} or {END}


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """300 names of 1 to 6 tokens that share first words; some are prefixes of others."""
    rng = np.random.default_rng(5)
    found: set[tuple[int, ...]] = {(5,), (5, 6), (5, 6, 7)}
    while len(found) < 300:
        found.add(tuple(int(t) for t in 1 + np.minimum(rng.zipf(1.5, rng.integers(1, 7)), VOCABULARY - 1) % (VOCABULARY - 1)))
    names = sorted(found)
    rng.shuffle(names)
    return Catalogue(names, [set(rng.choice(N_GROUPS, rng.integers(1, 3), replace=False).tolist()) for _ in names])


@pytest.fixture(scope="session")
def random_request(catalogue: Catalogue) -> Callable[[np.random.Generator], dict[str, Any] | None]:
    """What a request may ask for: nothing, everything, groups, candidates, both."""

    def make(rng: np.random.Generator) -> dict[str, Any] | None:
        groups = sorted(rng.choice(N_GROUPS, rng.integers(1, N_GROUPS), replace=False).tolist())
        members = catalogue.in_scope({"groups": groups})
        candidates = rng.choice(members, 20, replace=False).tolist()
        choices: list[dict[str, Any] | None] = [None, {}, {"groups": groups}, {"candidates": candidates}, {"groups": groups, "candidates": candidates}]
        return choices[int(rng.integers(len(choices)))]

    return make


@pytest.fixture
def trie_folder(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalogue's trie on disk, named by the environment."""
    catalogue.trie.save(tmp_path / "trie")
    monkeypatch.setenv("VLLM_TRIE", str(tmp_path / "trie"))
    return tmp_path / "trie"


@pytest.fixture
def expect_masked(catalogue: Catalogue) -> Callable[..., None]:
    """`expect_masked(before, after, asked, written)`: one row of logits is masked as the plain walk says; asked None: left alone."""

    def check(before: torch.Tensor, after: torch.Tensor, asked: dict[str, Any] | None, written: Sequence[int]) -> None:
        if asked is None:
            assert torch.equal(before, after)
            return
        allowed = sorted(catalogue.next_tokens(asked, written))
        assert torch.isfinite(after).nonzero().squeeze(-1).tolist() == allowed
        ended = END in written or not any(name[: len(written)] == tuple(written) for name in catalogue.names)
        if not ended and allowed != [END]:
            assert torch.equal(before[allowed], after[allowed])

    return check
