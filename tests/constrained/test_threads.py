"""Threads that search with one model: each gets what it would get alone, and the model is left as it was."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from constrained import TokenTrie
from constrained.attention import attending
from constrained.search import Found, SearchError, beam_search, exact_search, greedy_search, score_entries

N_THREADS = 6


def names_of(found: list[Found]) -> list[list[tuple[tuple[int, ...], float]]]:
    return [[(name.entries, name.log_prob) for name in each.names] for each in found]


def test_searches_of_several_threads_find_what_one_finds(tiny_llama: Any, trie: TokenTrie) -> None:
    model = tiny_llama(120, seed=4, scale=4.0)
    before = model.config._attn_implementation
    rng = np.random.default_rng(0)
    prompts = [[rng.integers(1, 120, length).tolist() for length in rng.integers(2, 30, 12)] for _ in range(N_THREADS)]
    searches: list[tuple[Any, dict[str, Any]]] = [(greedy_search, {}), (beam_search, {"num_beams": 3}), (exact_search, {"k": 2, "max_expansions": 12})]

    def answers(number: int) -> list[Any]:
        search, given = searches[number % len(searches)]
        path = trie.path(number).tolist()
        return [(names_of(search(model, trie, prompts[number], **given)), score_entries(model, prompts[number][0], [path])) for _ in range(3)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        # The first of them also check the model.
        together = list(pool.map(answers, range(N_THREADS)))
    assert together == [answers(number) for number in range(N_THREADS)]
    assert model.config._attn_implementation == before


def test_the_attention_of_every_part_is_put_back(tiny_composite: Any, trie: TokenTrie) -> None:
    model = tiny_composite
    parts = (model.config, model.config.text_config, model.config.vision_config)
    model.config.vision_config._attn_implementation = "eager"
    before = [part._attn_implementation for part in parts]
    greedy_search(model, trie, [[1, 2, 3]])
    assert [part._attn_implementation for part in parts] == before
    with pytest.raises(KeyError), attending(model), attending(model):
        raise KeyError
    assert [part._attn_implementation for part in parts] == before


def test_a_search_that_fails_leaves_the_model_to_others(tiny_llama: Any, trie: TokenTrie) -> None:
    model = tiny_llama(120, seed=4)
    (right,) = names_of(greedy_search(model, trie, [[1, 2]]))

    def fail() -> None:
        model.lm_head.weight.data.mul_(np.nan)
        with pytest.raises(SearchError, match="not finite"):
            greedy_search(model, trie, [[1, 2]])

    kept = model.lm_head.weight.data.clone()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail).result()
    model.lm_head.weight.data.copy_(kept)
    assert names_of(greedy_search(model, trie, [[1, 2]])) == [right]


@pytest.fixture(scope="module")
def tiny_composite() -> Any:
    """A model of text and images, whose configuration has parts."""
    torch.manual_seed(0)
    text = {
        "vocab_size": 120,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=119, boi_token_index=118, eoi_token_index=117)
    return Gemma3ForConditionalGeneration(config).eval()
