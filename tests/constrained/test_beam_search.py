"""Greedy and beam search against scoring every name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine_oracles import TOLERANCE, Passes, check_names, scores_of, trie_of
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained import TokenTrie, TrieError
from constrained.search import Found, Scope, SearchError, beam_search, exact_search, greedy_search, score_entries, trie_scope

END = 0
Name = tuple[int, ...]
GROUPS: list[list[int] | None] = [None, [0], [1, 2], [2], None, [0, 1, 2]]


@pytest.fixture(scope="module")
def scores(model: Any, names: list[Name], prompts: list[list[int]]) -> np.ndarray:
    """Log-probability of every name after each prompt. Shape: (prompts × names)."""
    return np.array([scores_of(model, prompt, names) for prompt in prompts])


@pytest.fixture(scope="module")
def scopes(trie: TokenTrie) -> list[Scope]:
    return [trie_scope(trie, each) for each in GROUPS]


@pytest.fixture(scope="module")
def allowed(name_groups: list[set[int]]) -> np.ndarray:
    """Shape: (prompts × names)."""
    return np.array([[groups is None or bool(each & set(groups)) for each in name_groups] for groups in GROUPS])


def entries_of(found: Found) -> list[int]:
    return [name.entry for name in found.names]


def test_a_wide_beam_equals_scoring_every_name(
    model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]], scopes: list[Scope], allowed: np.ndarray, scores: np.ndarray
) -> None:
    for query, found in enumerate(beam_search(model, trie, prompts, num_beams=len(names), scopes=scopes)):
        check_names(found, scores[query], allowed[query], names)
        assert sorted(entries_of(found)) == np.flatnonzero(allowed[query]).tolist()
        assert found.log_open == -np.inf


@pytest.mark.parametrize("num_beams", [1, 2, 5, 40])
def test_a_narrow_beam_gives_real_scores_of_distinct_allowed_names_and_is_never_better_than_the_best(
    model: Any, trie: TokenTrie, names: list[Name], prompts: list[list[int]], scopes: list[Scope], allowed: np.ndarray, scores: np.ndarray, num_beams: int
) -> None:
    for query, found in enumerate(beam_search(model, trie, prompts, num_beams=num_beams, scopes=scopes)):
        check_names(found, scores[query], allowed[query], names)
        assert len(found.names) == 1 if num_beams == 1 else len(found.names) >= num_beams
        best = np.sort(scores[query, allowed[query]])[::-1][: len(found.names)]
        assert ([name.log_prob for name in found.names] <= best + TOLERANCE).all()


def test_one_beam_is_greedy(model: Any, trie: TokenTrie, prompts: list[list[int]], scopes: list[Scope]) -> None:
    found = greedy_search(model, trie, prompts, scopes=scopes)
    assert found == beam_search(model, trie, prompts, num_beams=1, scopes=scopes)
    for prompt, scope, answer in zip(prompts, scopes, found, strict=True):
        node, path = 0, list(prompt)
        while trie.entry_of(np.array([node]))[0] < 0:
            children = trie.children_of(np.array([node]), scope.flags)
            with torch.no_grad():
                logits = model(torch.tensor([path])).logits[0, -1]
            best = int(logits[torch.from_numpy(children.token).long()].argmax())
            node = int(children.child[best])
            path.append(int(children.token[best]))
        assert entries_of(answer) == [trie.entry_of(np.array([node]))[0]]


def test_a_name_that_is_a_prefix_of_another_is_scored_with_its_end_token(model: Any) -> None:
    angina, pectoris = (11, 12), (11, 12, 13, 14)
    (found,) = beam_search(model, trie_of([angina, pectoris]), [[1, 2, 3]], num_beams=2)
    exact = scores_of(model, [1, 2, 3], [angina, pectoris])
    check_names(found, exact, np.ones(2, np.bool_), [angina, pectoris])
    assert sorted(entries_of(found)) == [0, 1]
    assert exact[0] < score_entries(model, [1, 2, 3], [list(angina)])[0]


def test_a_mention_is_over_when_nothing_live_can_win(model: Any) -> None:
    prompt = [7, 8, 9]
    with torch.no_grad():
        likely = int(model(torch.tensor([prompt])).logits[0, -1, 1:].argmax()) + 1
        unlikely = int(model(torch.tensor([prompt])).logits[0, -1, 1:].argmin()) + 1
    names = [(likely,), (likely, 2), (unlikely, *range(1, 40))]
    first, _, third = score_entries(model, prompt, [[*names[0], END], [*names[1], END], [unlikely]])
    assert first > third  # the long name has lost with its first token
    passes = Passes()
    (found,) = beam_search(model, trie_of(names), [prompt], num_beams=1, trace=passes)
    assert passes.tokens == [3, 1]
    assert found.open_mass >= np.exp(third)


def test_of_equal_names_the_lower_node_and_at_last_the_lower_entry_comes_first(tiny_llama: Callable[..., Any]) -> None:
    flat = tiny_llama(20, scale=0.0)  # every token has probability 1 / 20
    names = [(9, 1), (4,), (8,), (2, 3), (6,)]
    found = [beam_search(flat, trie_of(names), [[5, 5]], num_beams=width)[0] for width in (1, 2, 3, 5)]
    # Nodes are numbered by token: 2, 4, 6, 8, 9.
    assert [entries_of(each) for each in found] == [[3], [1, 3], [1, 4, 3], [1, 2, 4, 0, 3]]
    assert found[-1].names[0].log_prob == pytest.approx(2 * np.log(1 / 20), abs=1e-6)
    for budget in (1, 2, 3, None):
        (exact,) = exact_search(flat, trie_of(names), [[5, 5]], max_expansions=budget)
        assert 3 in entries_of(exact)
        assert max(name.log_prob for name in exact.names) >= found[0].names[0].log_prob


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), min_size=1, max_size=30, unique=True),
    st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=25), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_any_names_and_prompts(talking_llama: Callable[..., Any], names: list[Name], prompts: list[list[int]], width: int, seed: int) -> None:
    """One-token names, names that are prefixes of names, prompts that repeat or continue each other, more beams and ranks than names."""
    model, trie, everything = MODELS.setdefault(seed, talking_llama(20, seed)), trie_of(names), np.ones(len(names), np.bool_)
    together = [
        greedy_search(model, trie, prompts),
        beam_search(model, trie, prompts, num_beams=width),
        exact_search(model, trie, prompts, k=width, max_expansions=None),
    ]
    for query, prompt in enumerate(prompts):
        scores = scores_of(model, prompt, names)
        for answers in together:
            check_names(answers[query], scores, everything, names)
        assert len(together[1][query].names) >= (1 if width == 1 else min(width, len(names)))
        best = np.sort(scores)[::-1][:width]
        np.testing.assert_allclose([name.log_prob for name in together[2][query].names][: len(best)], best, atol=TOLERANCE)


MODELS: dict[int, Any] = {}


def test_names_of_hundreds_of_tokens(talking_llama: Callable[..., Any], tiny_tokenizer: Any) -> None:
    model = talking_llama(400, 2)
    texts = ["é" * 190, "é" * 189 + "x", "α" + "b" * 180, "short", "日本" * 30]
    names = [tuple(each) for each in tiny_tokenizer(texts, add_special_tokens=False)["input_ids"]]
    assert max(map(len, names)) > 300
    prompts, trie, everything = [[1, 2], [4] * 20], trie_of(names), np.ones(5, np.bool_)
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 5}), (exact_search, {"k": 5, "max_expansions": None})):
        for prompt, found in zip(prompts, search(model, trie, prompts, **given_), strict=True):
            check_names(found, scores_of(model, prompt, names), everything, names, tolerance=5e-4)


def test_no_prompts_give_no_answers(model: Any, trie: TokenTrie) -> None:
    assert beam_search(model, trie, [], num_beams=2) == []
    assert beam_search(model, trie, [], num_beams=2, scopes=[]) == []


def test_a_trie_of_more_tokens_than_the_model_has_logits_is_refused(model: Any) -> None:
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 2}), (exact_search, {})):
        with pytest.raises(TrieError, match="token ids up to 500, the model knows 120 tokens: it was built for another model"):
            search(model, trie_of([(500,)]), [[1]], **given_)


def test_a_prompt_with_tokens_that_the_model_lacks_is_named(model: Any, trie: TokenTrie) -> None:
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 2}), (exact_search, {})):
        with pytest.raises(SearchError, match="query 1: its prompt has token id 120, the model knows 120 tokens: its tokenizer belongs to another model"):
            search(model, trie, [[1], [3, 120]], **given_)


def test_a_model_of_more_logits_than_the_trie_has_tokens_is_fine(talking_llama: Callable[..., Any]) -> None:
    padded = talking_llama(150, 4)
    (found,) = beam_search(padded, trie_of([(1,), (2, 3)]), [[149, 1]], num_beams=2)
    check_names(found, scores_of(padded, [149, 1], [(1,), (2, 3)]), np.ones(2, np.bool_), [(1,), (2, 3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"prompts": [[1], []]}, "query 1: the prompt is empty"),
        ({"scopes": [Scope()]}, "2 prompts need 2 scopes, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused(model: Any, trie: TokenTrie, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        beam_search(model, trie, **({"prompts": [[1], [2]], "num_beams": 1} | change))


def test_a_model_in_training_mode_is_refused(talking_llama: Callable[..., Any], trie: TokenTrie) -> None:
    training = talking_llama(120, 3).train()
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 2}), (exact_search, {})):
        with pytest.raises(ValueError, match=r"training mode.*call model.eval\(\) first"):
            search(training, trie, [[1]], **given_)


def test_logits_that_are_no_numbers_are_an_error_that_names_the_query(untied_llama: Callable[..., Any], trie: TokenTrie) -> None:
    broken = untied_llama(120)
    broken.model.embed_tokens.weight.data[119] = float("nan")
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 3}), (exact_search, {})):
        with pytest.raises(ValueError, match="query 1: the model's logits are not finite; check its weights and its floating type"):
            search(broken, trie, [[1, 2], [2, 119], [3]], **given_)
        with pytest.raises(SearchError) as refused:
            search(broken, trie, [[1, 2], [2, 119], [3], [119]], **given_)
        assert refused.value.queries == (1, 3)
    # Inside a chain of tokens without alternative, where only the sum tells.
    for search, given_ in ((greedy_search, {}), (beam_search, {"num_beams": 3}), (exact_search, {})):
        with pytest.raises(ValueError, match="query 0: the model's logits are not finite"):
            search(broken, trie_of([(5, 119, 7, 8)]), [[1, 2]], **given_)


def test_a_model_whose_weights_are_no_numbers_is_refused(talking_llama: Callable[..., Any], trie: TokenTrie) -> None:
    broken = talking_llama(120, 3)
    broken.model.layers[0].mlp.down_proj.weight.data[:] = float("nan")
    with pytest.raises(ValueError, match="LlamaForCausalLM cannot be searched: its logits are not finite"):
        greedy_search(broken, trie, [[1]])
