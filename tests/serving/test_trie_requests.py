"""What the vLLM processors share, without vLLM."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from constrained.trie import TrieError
from constrained.vllm import EXTRA_ARG, FOLDER_VARIABLE
from constrained.vllm.requests import NOTHING, TrieRequests, asked_scope, check_params, load_trie

N_SLOTS = 12
VOCABULARY = 70  # more than the trie has


@pytest.fixture
def requests(catalogue: Any) -> TrieRequests:
    return TrieRequests(catalogue.trie, N_SLOTS, VOCABULARY)


def test_rows_are_masked_as_a_plain_walk_says(catalogue: Any, requests: TrieRequests, random_request: Any, expect_masked: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        asked = [random_request(rng) or {} for _ in range(N_SLOTS)]
        written: list[list[int]] = [[] for _ in asked]
        for slot, each in enumerate(asked):
            scope = asked_scope(catalogue.trie, {EXTRA_ARG: each})
            assert scope is not None
            requests.open(slot, scope)
        for _ in range(5):
            logits = torch.from_numpy(rng.normal(size=(N_SLOTS, VOCABULARY)).astype(np.float32))
            rows, slots = rng.permutation(N_SLOTS)[:8], rng.permutation(N_SLOTS)[:8]
            unread = [written[slot][count:] for slot, count in zip(slots, requests.n_read(slots, np.array([len(written[s]) for s in slots])), strict=True)]
            width = max(map(len, unread))
            requests.read(slots, np.array([[*row, *[NOTHING] * (width - len(row))] for row in unread]).reshape(len(slots), width))
            before = logits.clone()
            requests.mask(logits, rows, requests.nodes(slots), slots)
            for row, slot in zip(rows, slots, strict=True):
                expect_masked(before[row], logits[row], asked[slot], written[slot])
                written[slot].append(int(rng.choice(sorted(catalogue.next_tokens(asked[slot], written[slot])))) if rng.random() < 0.9 else 59)
            untouched = np.setdiff1d(np.arange(N_SLOTS), rows)
            assert torch.equal(before[untouched], logits[untouched])


def test_a_step_without_rows_changes_nothing(requests: TrieRequests) -> None:
    none, logits = np.zeros(0, np.int64), torch.zeros(0, VOCABULARY)
    requests.read(none, np.zeros((0, 0), np.int64))
    requests.mask(logits, none, requests.nodes(none), none)
    assert logits.shape == (0, VOCABULARY)


def test_tokens_taken_back_are_forgotten(catalogue: Any, requests: TrieRequests) -> None:
    scope, slots = asked_scope(catalogue.trie, {EXTRA_ARG: {}}), np.array([3])
    assert scope is not None
    requests.open(3, scope)
    requests.read(slots, np.array([[5, 6, 7]]))
    assert requests.n_read(slots, np.array([1])).tolist() == [0]
    requests.read(slots, np.array([[5]]))
    assert requests.nodes(slots).tolist() == requests.after(np.zeros(1, np.int64), np.array([5])).tolist()


def test_no_key_is_a_free_request_and_an_empty_object_allows_every_name(catalogue: Any) -> None:
    assert asked_scope(catalogue.trie, None) is None
    assert asked_scope(catalogue.trie, {"other": 1}) is None
    everything = asked_scope(catalogue.trie, {EXTRA_ARG: {}})
    assert everything is not None
    assert everything.flags is None
    assert everything.nodes is None


def test_the_object_may_come_as_json_text(catalogue: Any) -> None:
    plain, text = (asked_scope(catalogue.trie, {EXTRA_ARG: each}) for each in ({"groups": [1], "candidates": None}, '{"groups": [1]}'))
    assert plain is not None
    assert text is not None
    assert plain.flags is not None
    assert np.array_equal(plain.flags, text.flags)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([1], "must be an object"),
        ("{", "is not JSON"),
        ("[1]", "must be an object"),
        ({"group": [1]}, "has no key 'group'"),
        ({"groups": 1}, "must be a list of numbers"),
        ({"groups": ["Disease"]}, "must be a list of numbers"),
        ({"groups": [True]}, "must be a list of numbers"),
        ({"groups": [7]}, "group 7 is not in the trie"),
        ({"groups": []}, "hold no entry"),
        ({"candidates": []}, "list of candidates is empty"),
        ({"candidates": [300]}, "candidate 300 is not in the trie"),
        ({"candidates": [2**70]}, "must be a list of numbers"),
    ],
)
def test_what_a_request_may_not_ask_for(catalogue: Any, asked: Any, message: str) -> None:
    with pytest.raises(TrieError, match=message) as error:
        asked_scope(catalogue.trie, {EXTRA_ARG: asked})
    assert "\n" not in str(error.value)


def params(extra_args: Any, **fields: Any) -> Any:
    return SimpleNamespace(**{"extra_args": extra_args, "min_tokens": 0, "allowed_token_ids": None, "bad_words": [], "structured_outputs": None, **fields})


@pytest.mark.parametrize("field", ["min_tokens", "allowed_token_ids", "bad_words", "structured_outputs"])
def test_what_would_leave_no_token_is_refused(trie_folder: Any, field: str) -> None:
    check_params(None, params({EXTRA_ARG: {}}))
    check_params(None, params(None, **{field: [1]}))
    with pytest.raises(TrieError, match=f"{field} cannot be combined"):
        check_params(None, params({EXTRA_ARG: {}}, **{field: [1]}))


def test_no_trie_given_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(TrieError, match=FOLDER_VARIABLE):
        load_trie(None)


def test_a_model_with_fewer_logits_than_the_trie_has_tokens_is_refused(catalogue: Any) -> None:
    with pytest.raises(TrieError, match="built for another model"):
        TrieRequests(catalogue.trie, 1, catalogue.trie.vocabulary - 1)
