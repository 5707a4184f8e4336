"""What the searches cost, in passes, tokens and transfers: figures without noise, so that a change which loses them fails."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from engine_oracles import Passes, trie_of

from constrained import TokenTrie
from constrained.search import Found, beam_search, exact_search, greedy_search

N_PROMPTS = 24
Name = tuple[int, ...]


@pytest.fixture(scope="module")
def real_trie(real_names: list[Name]) -> TokenTrie:
    return trie_of(real_names)


@pytest.fixture(scope="module")
def taught() -> list[list[int]]:
    """Prompts that `trained` answers, two tokens each, so that all that is read after them is names."""
    return [[300 + i // 10, 310 + i % 10] for i in range(0, 96, 4)]


@dataclass(frozen=True)
class Cost:
    """Forward passes, tokens and rows of logits of a batch, the prompts' included."""

    passes: int
    tokens: int
    rows: int


def cost_of(search: Callable[..., list[Found]], model: Any, trie: TokenTrie, prompts: list[list[int]], **given: Any) -> tuple[Cost, list[Found]]:
    passes = Passes()
    found = search(model, trie, prompts, trace=passes, **given)
    return Cost(len(passes), sum(passes.tokens), sum(passes.kept)), found


# The most that each may cost: what it does today; a tenth is allowed, because the model is trained anew on each machine.
@pytest.mark.parametrize(
    ("search", "given", "most"),
    [
        (greedy_search, {}, Cost(9, 329, 305)),
        (beam_search, {"num_beams": 5}, Cost(10, 1942, 1918)),
        (exact_search, {"k": 1}, Cost(29, 761, 737)),
        (exact_search, {"k": 5}, Cost(41, 6032, 6008)),
    ],
    ids=["greedy", "beam 5", "exact 1", "exact 5"],
)
def test_a_batch_costs_no_more_than_it_did(
    search: Any, given: dict[str, Any], most: Cost, trained: Any, real_trie: TokenTrie, real_concepts: np.ndarray, taught: list[list[int]]
) -> None:
    cost, _ = cost_of(search, trained, real_trie, taught, **given, **({"concept_of": real_concepts} if search is exact_search else {}))
    for what in ("passes", "tokens", "rows"):
        assert getattr(cost, what) <= 1.1 * getattr(most, what) + 1, (what, cost)


def test_greedy_reads_each_token_once_and_chains_in_one_pass(trained: Any, real_trie: TokenTrie, real_names: list[Name], taught: list[list[int]]) -> None:
    cost, found = cost_of(greedy_search, trained, real_trie, taught)
    names = [real_names[each.names[0].entry] for each in found]
    assert cost.tokens == sum(map(len, taught)) + sum(map(len, names))
    # Step by step it would be one pass for each token of the longest name, and one for the prompts.
    assert cost.passes < 0.6 * (1 + max(map(len, names)))


def test_a_sure_answer_costs_exact_search_no_more_than_greedy(trained: Any, real_trie: TokenTrie, taught: list[list[int]]) -> None:
    greedy, found = cost_of(greedy_search, trained, real_trie, taught)
    sure = [prompt for prompt, each in zip(taught, found, strict=True) if each.names[0].log_prob > np.log(0.6)]
    assert len(sure) > 10
    greedy, exact = (cost_of(search, trained, real_trie, sure)[0] for search in (greedy_search, exact_search))
    assert exact.tokens <= greedy.tokens


@pytest.mark.parametrize(
    ("search", "given"), [(greedy_search, {}), (beam_search, {"num_beams": 5}), (exact_search, {"k": 2})], ids=["greedy", "beam 5", "exact 2"]
)
def test_the_host_reads_the_device_once_a_pass(
    search: Any, given: dict[str, Any], trained: Any, real_trie: TokenTrie, taught: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that would wait for a GPU is counted; on the CPU it is the same calls."""
    search(trained, real_trie, taught[:1], **given)  # the model is checked once, which waits
    waits: list[str] = []
    for name in ("cpu", "item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, counting(waits, name, getattr(torch.Tensor, name)))
    passes = Passes()
    search(trained, real_trie, taught, trace=passes, **given)
    assert waits.count("cpu") <= len(passes)
    # What is already on the host may be read as often as it takes; `numpy` follows each `cpu`.
    assert set(waits) <= {"cpu", "numpy"}
    assert waits.count("numpy") == waits.count("cpu")


def counting(calls: list[str], name: str, method: Any) -> Any:
    def call(*arguments: Any, **given: Any) -> Any:
        calls.append(name)
        return method(*arguments, **given)

    return call
