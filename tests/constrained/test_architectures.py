"""Model families: searches over tiny random ones against teacher forcing, and those that must be refused."""

from typing import Any

import numpy as np
import pytest
import torch
from engine_oracles import Name, check_names, scores_of, trie_of
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from constrained import TokenTrie
from constrained.attention import Reading
from constrained.forest import check_model, computed_in
from constrained.search import EPSILON, SearchError, beam_search, exact_search, greedy_search

VOCABULARY = 60
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 128}
OWN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED, MULTI_QUERY, ALL_HEADS = {"num_key_value_heads": 2}, {"num_key_value_heads": 1}, {"num_key_value_heads": 4}
# Windows are shorter than the prompts; Gemma 2 caps its scores and its logits.
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama, grouped": (LlamaForCausalLM, LlamaConfig, SHAPE | GROUPED),
    "llama, multi-query, tied": (LlamaForCausalLM, LlamaConfig, SHAPE | MULTI_QUERY | {"tie_word_embeddings": True}),
    "llama, all heads, untied": (LlamaForCausalLM, LlamaConfig, SHAPE | ALL_HEADS | {"tie_word_embeddings": False}),
    "mistral, window": (MistralForCausalLM, MistralConfig, SHAPE | GROUPED | {"sliding_window": 5}),
    "qwen 2, tied": (Qwen2ForCausalLM, Qwen2Config, SHAPE | GROUPED | {"tie_word_embeddings": True}),
    "qwen 2, window in some layers": (
        Qwen2ForCausalLM,
        Qwen2Config,
        SHAPE | GROUPED | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    ),
    "qwen 2, window not in use": (Qwen2ForCausalLM, Qwen2Config, SHAPE | GROUPED | {"use_sliding_window": False, "sliding_window": 4}),
    "qwen 2, window in no layer": (
        Qwen2ForCausalLM,
        Qwen2Config,
        SHAPE | GROUPED | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 4},
    ),
    "qwen 3": (Qwen3ForCausalLM, Qwen3Config, SHAPE | GROUPED | {"head_dim": 8}),
    "gemma": (GemmaForCausalLM, GemmaConfig, SHAPE | MULTI_QUERY | {"head_dim": 16}),
    "gemma 2, window, capped": (Gemma2ForCausalLM, Gemma2Config, SHAPE | GROUPED | {"head_dim": 8, "sliding_window": 6, "attn_logit_softcapping": 1.0}),
    "gemma 3, window": (Gemma3ForCausalLM, Gemma3TextConfig, SHAPE | GROUPED | {"head_dim": 8, "sliding_window": 6}),
    "phimoe, window as long as the context": (PhimoeForCausalLM, PhimoeConfig, SHAPE | GROUPED | {"sliding_window": 128, "num_local_experts": 2}),
    "phi": (PhiForCausalLM, PhiConfig, SHAPE),
    "gpt-2": (GPT2LMHeadModel, GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt-neox": (GPTNeoXForCausalLM, GPTNeoXConfig, OWN | {"intermediate_size": 48}),
    "opt": (OPTForCausalLM, OPTConfig, OWN | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
}
TYPES = ("float64", "float32", "float16", "bfloat16")


def tiny(kind: Any, config: Any, given: dict[str, Any]) -> Any:
    torch.manual_seed(5)
    model = kind(config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, pad_token_id=None, **given)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return model


@pytest.fixture(scope="module")
def few() -> list[Name]:
    rng = np.random.default_rng(3)
    return sorted({tuple(rng.integers(1, 8, int(n)).tolist()) for n in rng.integers(1, 9, 80)})


@pytest.fixture(scope="module")
def few_trie(few: list[Name]) -> TokenTrie:
    return trie_of(few)


@pytest.fixture(scope="module")
def documents() -> list[list[int]]:
    """Two that share a document, one of a single token, one alone."""
    rng = np.random.default_rng(4)
    document = rng.integers(1, VOCABULARY, 20).tolist()
    return [[*document, 5, 6], [*document, 7], [9], rng.integers(1, VOCABULARY, 13).tolist()]


@pytest.mark.parametrize("label", MODELS)
def test_every_family_scores_like_a_plain_forward_pass(label: str, few: list[Name], few_trie: TokenTrie, documents: list[list[int]]) -> None:
    model, everything = tiny(*MODELS[label]), np.ones(len(few), np.bool_)
    answers = [
        greedy_search(model, few_trie, documents),
        beam_search(model, few_trie, documents, num_beams=4),
        exact_search(model, few_trie, documents, k=3, max_expansions=None),
    ]
    for query, prompt in enumerate(documents):
        scores = scores_of(model, prompt, few)
        for found in answers:
            check_names(found[query], scores, everything, few)
        np.testing.assert_allclose([name.log_prob for name in answers[2][query].names][:3], np.sort(scores)[::-1][:3], atol=1e-4)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("label", ["llama, grouped", "qwen 3", "gemma 2, window, capped", "gpt-2", "opt"])
def test_log_probabilities_are_off_by_less_than_the_stated_epsilon(
    label: str, kind: str, few: list[Name], few_trie: TokenTrie, documents: list[list[int]]
) -> None:
    """Sums kept in the model's own type would be off by far more."""
    model = tiny(*MODELS[label]).to(getattr(torch, kind))
    for found, prompt in zip(beam_search(model, few_trie, documents, num_beams=5), documents, strict=True):
        check_names(found, scores_of(model, prompt, few), np.ones(len(few), np.bool_), few, tolerance=EPSILON[kind])
        assert found.epsilon == EPSILON[kind]


def wide_under_autocast() -> Any:
    """A Llama of float32 whose layers compute in bfloat16, as training in bf16 does; its own kernel and that over trees round otherwise."""
    kind, config, given = MODELS["llama, grouped"]
    torch.manual_seed(5)
    model = kind._from_config(config(vocab_size=VOCABULARY, eos_token_id=0, **given), attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data.mul_(12 if parameter.ndim > 1 else 1)
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    return model


def test_float32_weights_under_autocast_are_judged_by_what_is_computed_in(few_trie: TokenTrie, documents: list[list[int]]) -> None:
    model = wide_under_autocast()
    check_model(model)
    assert computed_in(model) == torch.bfloat16
    assert {found.epsilon for found in beam_search(model, few_trie, documents, num_beams=2)} == {EPSILON["bfloat16"]}


def test_it_would_be_refused_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("constrained.forest.MOST_APART", {})
    with pytest.raises(SearchError, match=r"over trees its log-probabilities differ by 0\.\d+ from its own"):
        check_model(wide_under_autocast())


def test_a_wrong_mask_is_refused_in_bfloat16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tokens of a tree seen by each, those of other branches and later ones as well."""
    seen = Reading._seen
    monkeypatch.setattr(Reading, "_seen", lambda reading, *rest: torch.ones_like(seen(reading, *rest)))
    with pytest.raises(SearchError, match="over trees its log-probabilities differ"):
        check_model(wide_under_autocast())


@pytest.mark.parametrize(
    ("kind", "config", "given", "reason"),
    [
        (BloomForCausalLM, BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "over trees its log-probabilities differ"),
        (FalconForCausalLM, FalconConfig, OWN, "its attention is not called through transformers' interface"),
        (FalconForCausalLM, FalconConfig, OWN | {"alibi": True}, "its attention is not called through transformers' interface"),
    ],
)
def test_families_whose_attention_is_their_own_are_refused_in_one_line(kind: Any, config: Any, given: dict[str, Any], reason: str, few_trie: TokenTrie) -> None:
    torch.manual_seed(5)
    model = kind(config(vocab_size=VOCABULARY, **given)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    for search, rest in ((greedy_search, {}), (beam_search, {"num_beams": 2}), (exact_search, {})):
        with pytest.raises(ValueError, match=f"{kind.__name__} cannot be searched: {reason}") as refused:
            search(model, few_trie, [[1, 2]], **rest)
        assert "\n" not in str(refused.value)


LLAMA_4 = SHAPE | GROUPED | {"head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2, "no_rope_layers": [1, 1, 1, 0]}


@pytest.mark.parametrize(
    ("kind", "config", "given", "reason"),
    [
        (PhimoeForCausalLM, PhimoeConfig, SHAPE | GROUPED | {"sliding_window": 12, "num_local_experts": 2}, "it looks back 12 tokens at most"),
        (Llama4ForCausalLM, Llama4TextConfig, LLAMA_4 | {"attention_chunk_size": 12, "attn_temperature_tuning": False}, "it looks at chunks of 12 tokens"),
        (Llama4ForCausalLM, Llama4TextConfig, LLAMA_4 | {"attention_chunk_size": 128}, "its scores are scaled by position"),
    ],
)
def test_what_only_the_mask_limits_is_refused_though_short_prompts_do_not_show_it(
    kind: Any, config: Any, given: dict[str, Any], reason: str, few_trie: TokenTrie
) -> None:
    model = tiny(kind, config, given)
    # Not only the first time.
    for _ in range(2):
        with pytest.raises(SearchError, match=f"^{kind.__name__} cannot be searched: {reason}, and its layers do not tell their attention so$"):
            greedy_search(model, few_trie, [[1, 2]])


def test_a_layer_that_keeps_its_window_to_itself_is_found_among_others(few_trie: TokenTrie) -> None:
    kind, config, given = MODELS["qwen 2, window in some layers"]
    model = tiny(kind, config, given | {"sliding_window": 12})
    model.model.layers[3].self_attn.sliding_window = None
    with pytest.raises(SearchError, match="it looks back 12 tokens at most"):
        greedy_search(model, few_trie, [[1, 2]])


def test_a_model_on_several_devices_is_refused(few_trie: TokenTrie) -> None:
    model = tiny(*MODELS["llama, all heads, untied"])
    model.lm_head.to("meta")
    with pytest.raises(SearchError, match=r"^the model lies on several devices \(cpu, meta\): load all of it on one$"):
        greedy_search(model, few_trie, [[1, 2]])


@pytest.mark.parametrize("given", [list, tuple, np.array])
def test_token_ids_that_no_model_knows_are_refused_with_their_query(given: Any, few_trie: TokenTrie) -> None:
    model = tiny(*MODELS["gpt-2"])
    for ids, reason in (([3, -1], "token id -1; token ids are at least 0"), ([VOCABULARY, 2], f"token id {VOCABULARY}, the model knows {VOCABULARY} tokens")):
        with pytest.raises(SearchError, match=f"query 1: its prompt has {reason}"):
            greedy_search(model, few_trie, [given([1]), given(ids)])
