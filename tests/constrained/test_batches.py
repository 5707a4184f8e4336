"""What runs together changes no answer: order, size, shared documents, and a device that runs out of memory."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from engine_oracles import TOLERANCE, Passes, random_question, trie_of
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from constrained import TokenTrie
from constrained.attention import Reading, device_of, is_sharded
from constrained.loop import PATIENCE
from constrained.scoring import check_arguments
from constrained.search import Found, Scope, SearchError, beam_search, exact_search, free_search, greedy_search, score_entries

SEARCHES: list[tuple[Callable[..., list[Found]], dict[str, Any]]] = [
    (greedy_search, {}),
    (beam_search, {"num_beams": 3}),
    (exact_search, {"k": 2, "max_expansions": 20}),
]
searches = pytest.mark.parametrize(("search", "given_"), SEARCHES, ids=["greedy", "beam", "exact"])


def assert_same(one: list[Found], other: list[Found], alike: bool = True) -> None:
    """Equal to what floating point allows; where two names are about equal, either may come first."""
    for mine, theirs in zip(one, other, strict=True):
        assert {name.entries for name in mine.names} == {name.entries for name in theirs.names} or not alike
        np.testing.assert_allclose([name.log_prob for name in mine.names], [name.log_prob for name in theirs.names], atol=TOLERANCE)
        assert mine.log_open == pytest.approx(theirs.log_open, abs=TOLERANCE)
        assert mine.expansions == theirs.expansions


@pytest.fixture(scope="module")
def asked(trie: TokenTrie, name_groups: list[set[int]]) -> list[Scope]:
    rng = np.random.default_rng(2)
    return [random_question(rng, trie, name_groups, 3).scope for _ in range(10)]


@pytest.fixture(scope="module")
def mixed() -> list[list[int]]:
    """A document's mentions, one that is the beginning of another, one twice, and short ones."""
    rng = np.random.default_rng(1)
    document = rng.integers(1, 120, 30).tolist()
    ends = [rng.integers(1, 120, n).tolist() for n in (3, 7, 1)]
    return [*(document + end for end in ends), document, document + ends[0], [5], [5], [5, 6], rng.integers(1, 120, 17).tolist(), [*range(1, 9)]]


@searches
@pytest.mark.parametrize("max_batch_tokens", [1, 150, 400, 10**6])
def test_answers_do_not_depend_on_the_batch(
    model: Any, trie: TokenTrie, mixed: list[list[int]], asked: list[Scope], search: Any, given_: dict[str, Any], max_batch_tokens: int
) -> None:
    alone = [search(model, trie, [prompt], scopes=[scope], **given_)[0] for prompt, scope in zip(mixed, asked, strict=True)]
    assert_same(search(model, trie, mixed, scopes=asked, max_batch_tokens=max_batch_tokens, **given_), alone)
    order = np.random.default_rng(max_batch_tokens).permutation(len(mixed))
    shuffled = search(model, trie, [mixed[i] for i in order], scopes=[asked[i] for i in order], max_batch_tokens=max_batch_tokens, **given_)
    assert_same(shuffled, [alone[i] for i in order])


@searches
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_ties_are_decided_alike_in_every_batch(tiny_llama: Any, search: Any, given_: dict[str, Any], data: st.DataObject) -> None:
    """Where all tokens are equally probable a name's probability is its length, so nearly everything is a tie."""
    flat = FLAT.setdefault("model", None) or FLAT.setdefault("flat", tiny_llama(20, scale=0.0))
    name = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
    names = data.draw(st.lists(name, min_size=1, max_size=30, unique=True))
    prompts = data.draw(st.lists(st.lists(st.integers(1, 19), min_size=1, max_size=4), min_size=2, max_size=4))
    trie = trie_of(names)
    candidates = [None, *(data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1)) for _ in prompts[1:])]
    from constrained.search import trie_scope

    scopes = [trie_scope(trie, candidates=each) for each in candidates]
    together = search(flat, trie, prompts, scopes=scopes, **given_)
    for prompt, scope, found in zip(prompts, scopes, together, strict=True):
        (alone,) = search(flat, trie, [prompt], scopes=[scope], **given_)
        assert [name.entries for name in alone.names] == [name.entries for name in found.names]
        (greedy,) = greedy_search(flat, trie, [prompt], scopes=[scope])
        assert found.names[0].log_prob >= greedy.names[0].log_prob - TOLERANCE


FLAT: dict[str, Any] = {}


def test_the_cache_keeps_to_its_budget_also_when_short_prompts_follow_long_ones(model: Any, trie: TokenTrie) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, 120, length).tolist() for length in (300, *rng.integers(3, 30, 60))]
    for search, given_ in SEARCHES:
        passes = Passes()
        search(model, trie, prompts, max_batch_tokens=1000, trace=passes, **given_)
        # The room a tree takes beyond its prompt is a guess.
        assert max(passes.cached) <= 1500


def test_a_single_prompt_beyond_the_budget_is_run_alone(model: Any, trie: TokenTrie) -> None:
    passes = Passes()
    beam_search(model, trie, [[i] * 9 for i in range(1, 5)], num_beams=2, max_batch_tokens=1, trace=passes)
    assert set(passes.trees) == {1}
    assert [n for n, kept in zip(passes.tokens, passes.kept, strict=True) if kept == 1 and n == 9] == [9] * 4


class Cramped(LlamaForCausalLM):
    """A Llama on a device that has no room for more than `most` tokens in one pass."""

    most = 10**6

    def forward(self, input_ids: torch.Tensor, **given: Any) -> Any:
        if input_ids.shape[1] > self.most:
            raise torch.OutOfMemoryError(f"no room for {input_ids.shape[1]} tokens")
        return super().forward(input_ids=input_ids, **given)


@pytest.fixture
def cramped(untied_llama: Callable[..., Any]) -> Any:
    return untied_llama(120, Cramped)


@searches
def test_out_of_memory_halves_the_batch_and_changes_no_answer(
    cramped: Any, trie: TokenTrie, mixed: list[list[int]], search: Any, given_: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    prompts = [*mixed, *([i, i + 1, i + 2, 9, 9] for i in range(1, 40))]
    roomy = search(cramped, trie, prompts, **given_)
    cramped.most = 45
    with caplog.at_level(logging.WARNING, "constrained"):
        assert_same(search(cramped, trie, prompts, **given_), roomy)
    (line,) = caplog.messages
    assert line.startswith("out of memory on the device: going on with at most")


@searches
def test_a_process_that_shares_the_weights_with_others_does_not_begin_again_alone(
    cramped: Any, trie: TokenTrie, mixed: list[list[int]], search: Any, given_: dict[str, Any]
) -> None:
    """The others wait in the pass that failed: a batch of another size would be paired with theirs, or wait for ever."""
    search(cramped, trie, mixed[:1], **given_)
    next(cramped.parameters()).device_mesh = SimpleNamespace(device_type="cpu")
    cramped.most = 10
    with pytest.raises(torch.OutOfMemoryError):
        search(cramped, trie, mixed, **given_)


def test_shares_that_lie_in_the_machine_s_memory_are_computed_with_on_the_mesh(cramped: Any) -> None:
    assert device_of(cramped) == torch.device("cpu")
    assert not is_sharded(cramped)
    for parameter in cramped.parameters():
        parameter.device_mesh = SimpleNamespace(device_type="meta")
    assert device_of(cramped) == torch.device("meta")
    assert is_sharded(cramped)
    check_arguments(cramped, [[1]])
    del parameter.device_mesh
    with pytest.raises(SearchError, match=r"the model lies on several devices \(cpu, meta\)"):
        check_arguments(cramped, [[1]])


def test_out_of_memory_in_free_generation_changes_no_answer(cramped: Any, mixed: list[list[int]]) -> None:
    given_ = {"num_beams": 2, "end_token": 0, "max_new_tokens": 5}
    roomy = free_search(cramped, mixed, **given_)
    cramped.most = 45
    assert [[each.tokens for each in one] for one in free_search(cramped, mixed, **given_)] == [[each.tokens for each in one] for one in roomy]


def test_a_document_whose_mentions_do_not_fit_together_is_divided(cramped: Any, trie: TokenTrie) -> None:
    prompts = [[*range(1, 21), i, i, i, i] for i in range(30, 40)]
    roomy = greedy_search(cramped, trie, prompts)
    cramped.most = 30
    assert_same(greedy_search(cramped, trie, prompts), roomy)


def test_a_prompt_that_does_not_fit_alone_is_named(cramped: Any, trie: TokenTrie) -> None:
    cramped.most = 30
    with pytest.raises(SearchError, match="query 1: the device has too little memory for this prompt alone") as refused:
        greedy_search(cramped, trie, [[2], [1] * 31])
    assert isinstance(refused.value.__cause__, torch.OutOfMemoryError)


def test_what_fits_is_remembered_for_the_next_search_and_said_once(cramped: Any, trie: TokenTrie, caplog: pytest.LogCaptureFixture) -> None:
    prompts = [[i, i + 1, i + 2, 9, 9] for i in range(1, 40)]
    cramped.most = 45
    with caplog.at_level(logging.WARNING, "constrained"):
        first = greedy_search(cramped, trie, prompts)
        passes = Passes()
        assert_same(greedy_search(cramped, trie, prompts, trace=passes), first)
    assert len(caplog.messages) == 1
    assert max(passes.tokens) <= 45


def test_a_bound_that_was_found_is_lifted_when_searches_have_had_room_for_long(cramped: Any, trie: TokenTrie) -> None:
    prompts = [[i, i + 1, i + 2, 9, 9] for i in range(1, 40)]

    def most_at_once() -> int:
        passes = Passes()
        greedy_search(cramped, trie, prompts, trace=passes)
        return max(passes.tokens)

    roomy = most_at_once()
    cramped.most = 45
    greedy_search(cramped, trie, prompts)
    cramped.most = 10**6
    found = [most_at_once() for _ in range(10 * PATIENCE)]
    assert found[0] <= 45
    assert found == sorted(found)
    assert found[-1] == roomy
    assert found[PATIENCE - 1] == found[0]


def test_one_large_tree_that_does_not_fit_leaves_no_bound_and_is_said_once(cramped: Any, trie: TokenTrie, caplog: pytest.LogCaptureFixture) -> None:
    large = [[*range(1, 21), i, i, i, i] for i in range(30, 34)]
    small = [[i, i + 1, i + 2, 9, 9] for i in range(1, 40)]
    passes = Passes()
    greedy_search(cramped, trie, small, trace=passes)
    cramped.most = 35
    with caplog.at_level(logging.WARNING, "constrained"):
        for _ in range(2):
            greedy_search(cramped, trie, large, max_batch_tokens=100)
    assert caplog.messages == ["out of memory on the device: going on with fewer prompts at once"]
    cramped.most = 10**6
    again = Passes()
    greedy_search(cramped, trie, small, trace=again)
    assert again.tokens == passes.tokens


class Planted:
    """A trace: what the cache holds whenever prompts join others, and the most it ever held, in slots of all trees."""

    def __init__(self) -> None:
        self.joined: list[int] = []
        self.most = 0

    def passed(self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, reading: Reading) -> None:
        held = (reading.first + reading.rows) * reading.cache.slots
        self.most = max(self.most, held)
        if reading.first:
            self.joined.append(held)


def test_no_prompts_join_trees_that_grew_beyond_what_was_expected(model: Any, trie: TokenTrie) -> None:
    """Exact search reads many prefixes after a prompt."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, 120, 8).tolist() for _ in range(60)]
    trace = Planted()
    exact_search(model, trie, prompts, k=8, max_expansions=40, max_batch_tokens=600, trace=trace)
    assert trace.most > 600
    assert all(held <= 600 for held in trace.joined)
    # Where they keep to it, others do join.
    trace = Planted()
    greedy_search(model, trie, prompts, max_batch_tokens=600, trace=trace)
    assert trace.joined
    assert all(held <= 600 for held in trace.joined)


class Counting(LlamaForCausalLM):
    """A Llama that keeps the sizes of its logits: rows, positions."""

    def forward(self, **given: Any) -> Any:
        output = super().forward(**given)
        self.sizes = [*getattr(self, "sizes", []), tuple(output.logits.shape[:2])]
        return output


def test_the_oracle_asks_for_no_more_logits_than_it_needs(untied_llama: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    counting, prompt, paths = untied_llama(120, Counting), list(range(1, 101)), [[5, 0], [6, 7, 8, 0], [9, 0], [1] * 5]
    at_once = score_entries(counting, prompt, paths)
    assert counting.sizes == [(4, 6)]
    monkeypatch.setattr("constrained.scoring.MOST_LOGITS", 2 * 6 * 120)
    np.testing.assert_allclose(score_entries(counting, prompt, paths), at_once, atol=TOLERANCE)
    assert counting.sizes[1:] == [(2, 5), (2, 6)]
    with torch.inference_mode():
        logits = counting(input_ids=torch.tensor([[*prompt, *paths[1]]])).logits[0].log_softmax(-1)
    by_hand = sum(float(logits[99 + place, token]) for place, token in enumerate(paths[1]))
    assert at_once[1] == pytest.approx(by_hand, abs=TOLERANCE)
