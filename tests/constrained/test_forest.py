"""Trees of tokens against plain forward passes over the same sequences."""

from typing import Any

import numpy as np
import pytest
import torch
from engine_oracles import Passes
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained.attention import KeyValues
from constrained.forest import LEAST_SHARED, MOST_SLOTS, PAIRS, Forest, Tips, distinct_tokens, group_prompts

TOLERANCE = 2e-5
VOCABULARY = 120


def plain(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after the last token, without a cache. Shape: (vocabulary,)."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)


def assert_same(model: Any, logits: torch.Tensor, sequences: list[list[int]]) -> None:
    for line, ids in zip(logits.log_softmax(-1), sequences, strict=True):
        assert float((line - plain(model, ids)).abs().max()) < TOLERANCE


prompt = st.lists(st.integers(1, 6), min_size=1, max_size=9)


@given(st.lists(st.lists(prompt, min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_forest_reads_like_plain_passes_over_each_sequence(model: Any, groups: list[list[list[int]]], seed: int) -> None:
    """Prompts that repeat, continue or share each other's beginning; chunks after old places; trees that are felled and others planted."""
    rng = np.random.default_rng(seed)
    forest = Forest(model, spare=2)
    tips, logits = forest.plant(groups)
    sequences = [prompt for group in groups for prompt in group]
    assert_same(model, logits, sequences)
    for _ in range(3):
        which = np.sort(rng.integers(0, len(sequences), 4))
        length = rng.integers(1, 4, 4)
        tokens = rng.integers(1, VOCABULARY, int(length.sum()))
        ends = np.cumsum(length)
        tips, logits = forest.read(tips.take(which), tokens, length)
        sequences = [sequences[i] + tokens[end - n : end].tolist() for i, end, n in zip(which, ends, length, strict=True)]
        assert_same(model, logits[torch.from_numpy(ends - 1)], sequences)
        live = set(tips.tree.tolist())
        forest.fell(set(forest._tree_at.tolist()) - live)
        assert len(forest) == len(live)
        more, logits = forest.plant([[[3, 5]]])
        assert_same(model, logits, [[3, 5]])
        tips, sequences = Tips.joined([tips, more]), [*sequences, [3, 5]]


def test_a_common_prefix_is_run_once(model: Any) -> None:
    document = list(range(1, 31))
    prompts = [[*document, 40 + i, 50] for i in range(5)]
    passes = Passes()
    Forest(model, trace=passes).plant([prompts])
    assert passes.tokens == [30 + 5 * 2]
    assert passes.kept == [5]
    assert distinct_tokens(prompts) == 40


def test_felled_trees_make_room(model: Any) -> None:
    forest = Forest(model, spare=0)
    forest.plant([[[1] * 20], [[2] * 20]])
    size = forest.nbytes
    for _ in range(3):
        forest.fell(forest._tree_at.tolist())
        assert len(forest) == 0
        forest.plant([[[3] * 20], [[4] * 20]])
    assert forest.nbytes == size
    forest.fell([])
    assert len(forest) == 2


@given(
    st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=40), min_size=1, max_size=8),
    st.integers(0, 60),
    st.sampled_from([0.0, 30.0, 1e3, 1e9]),
    st.sampled_from([1, 100, 4096]),
)
@settings(max_examples=100, deadline=None)
def test_groups_hold_every_prompt_once_and_share_their_beginning(prompts: list[list[int]], spare: int, pairs: float, most: int) -> None:
    groups = group_prompts(prompts, spare=spare, pairs=pairs, most=most)
    assert sorted(number for group in groups for number in group) == list(range(len(prompts)))
    for group in groups:
        first = prompts[group[0]]
        assert all(prompts[number][:LEAST_SHARED] == first[:LEAST_SHARED] for number in group)
        distinct = distinct_tokens([prompts[number] for number in group])
        assert distinct == len({tuple(prompts[n][:i]) for n in group for i in range(1, len(prompts[n]) + 1)})
        assert len(group) == 1 or distinct + spare * len(group) <= max(most, len(first) + spare + most // 4)
    # Where tokens are dear, prompts of one document are never spread over several trees.
    if pairs == 1e9 and most == 4096:
        heads = [tuple(prompts[group[0]][:LEAST_SHARED]) for group in groups if len(prompts[group[0]]) >= LEAST_SHARED]
        assert len(heads) == len(set(heads))


def mentions(n: int, shared: int, own: int) -> list[list[int]]:
    return [[*range(shared), *[10**6 + i] * own] for i in range(n)]


@pytest.mark.parametrize(
    ("prompts", "width", "least", "most"),
    [
        (mentions(1024, 60, 0), 32, 2, 20),  # identical: each adds what is read after it
        (mentions(1024, 60, 0), 4096, 10, 200),
        (mentions(90, 20, 40), 384, 1, 10),
        (mentions(30, 200, 26), 384, 10, 30),
        (mentions(17, 350, 25), 576, 15, 17),  # a document of NCBI disease, SmolLM2
        (mentions(60, 5000, 26), 4096, 10, 40),  # longer than a tree may be otherwise
    ],
)
def test_a_tree_grows_while_sharing_saves_more_than_its_attention_costs(prompts: list[list[int]], width: int, least: int, most: int) -> None:
    for spare in (12, 60):
        groups = group_prompts(prompts, spare=spare, pairs=PAIRS * width)
        largest = max(len(group) for group in groups)
        assert (least if spare == 12 else 1) <= largest <= most
        for group in groups:
            assert distinct_tokens([prompts[n] for n in group]) + spare * len(group) <= max(MOST_SLOTS, len(prompts[group[0]]) + spare + MOST_SLOTS // 4)


def test_a_cache_that_grows_token_by_token_is_seldom_copied_and_keeps_what_is_there() -> None:
    cache, wanted, sizes = KeyValues(), torch.randn(1, 2, 700, 4), []
    for slot in range(84, 700):
        cache.reserve(3, slot + 1)
        keys, _ = cache.write(0, wanted[:, :, slot : slot + 1], wanted[:, :, slot : slot + 1], torch.tensor([1]), torch.tensor([slot]))
        sizes.append(keys.shape[2])
    assert len(set(sizes)) <= 7
    assert max(sizes) <= 1.5 * 700
    assert torch.equal(keys[1, :, 84:700], wanted[0, :, 84:])
    cache.reserve(1, 3000)
    # Trees that are over are not copied; the one left is in the first rows.
    assert cache.nbytes == 2 * 2 * 3000 * 4 * 4


def test_the_attention_is_for_searches_only(tiny_llama: Any) -> None:
    lost = tiny_llama(20)
    lost.set_attn_implementation("constrained_tree")
    with pytest.raises(ValueError, match="works inside a search only; load the model with another attention implementation"):
        lost(input_ids=torch.tensor([[1, 2]]))


def test_the_models_own_attention_is_back_after_a_search(model: Any) -> None:
    before, own = model.config._attn_implementation, plain(model, [1, 2, 3])
    Forest(model).plant([[[1, 2, 3]]])
    assert model.config._attn_implementation == before
    assert torch.equal(plain(model, [1, 2, 3]), own)


def test_a_forest_has_room_for_what_is_expected_after_each_prompt(model: Any) -> None:
    forest = Forest(model, spare=7)
    forest.plant([[[1] * 20, [1] * 19 + [2], [1] * 20], [[3]]])
    assert forest.slots == 21 + 3 * 7
    forest.fell([0])
    forest.plant([[[1] * 5] * 2])
    assert forest.slots == 21 + 3 * 7
