"""Free generation through the same loop, against transformers' own decoding."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from constrained import TokenTrie
from constrained.search import free_search, score_entries

END = 0


@pytest.fixture(scope="module")
def talker(talking_llama: Callable[..., Any]) -> Any:
    return talking_llama(12, 1)


@pytest.fixture(scope="module")
def openings() -> list[list[int]]:
    rng = np.random.default_rng(4)
    return [rng.integers(1, 12, length).tolist() for length in rng.integers(1, 9, 40)]


def test_one_beam_equals_greedy_decoding_by_transformers(talker: Any, openings: list[list[int]]) -> None:
    found = free_search(talker, openings, num_beams=1, end_token=END, max_new_tokens=12)
    for prompt, (hypothesis,) in zip(openings, found, strict=True):
        ids = torch.tensor([prompt])
        theirs = talker.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, max_new_tokens=12, eos_token_id=END, pad_token_id=END)
        assert list(hypothesis.tokens) == theirs[0, len(prompt) :].tolist()
        assert hypothesis.finished == (hypothesis.tokens[-1] == END)
    assert {each[0].finished for each in found} == {True, False}  # both ways of ending occur


def test_a_wide_beam_equals_scoring_every_sequence(talking_llama: Callable[..., Any]) -> None:
    model, prompt, limit = talking_llama(5, 2), [1, 2, 3], 3
    everything = [(*body, END) for length in range(limit) for body in product(range(1, 5), repeat=length)] + list(product(range(1, 5), repeat=limit))
    scores = dict(zip(everything, score_entries(model, prompt, [list(each) for each in everything]), strict=True))
    (found,) = free_search(model, [prompt], num_beams=len(everything), end_token=END, max_new_tokens=limit)
    assert {h.tokens for h in found} == set(everything)
    np.testing.assert_allclose([h.log_prob for h in found], [scores[h.tokens] for h in found], atol=1e-4)
    assert all(h.finished == (h.tokens[-1] == END) and h.length == len(h.tokens) for h in found)
    assert (np.diff([h.log_prob for h in found]) <= 0).all()
    assert np.exp([h.log_prob for h in found]).sum() == pytest.approx(1.0, abs=1e-4)


def test_scores_equal_teacher_forcing_and_do_not_depend_on_the_batch(talker: Any, openings: list[list[int]]) -> None:
    together = free_search(talker, openings, num_beams=3, end_token=END, max_new_tokens=8)
    for prompt, hypotheses in zip(openings[:10], together, strict=False):
        exact = score_entries(talker, prompt, [list(h.tokens) for h in hypotheses])
        np.testing.assert_allclose([h.log_prob for h in hypotheses], exact, atol=1e-4)
        (alone,) = free_search(talker, [prompt], num_beams=3, end_token=END, max_new_tokens=8)
        assert [h.tokens for h in alone] == [h.tokens for h in hypotheses]


def test_what_is_generated_can_be_walked_through_the_trie(talker: Any, build_trie: Callable[..., TokenTrie], openings: list[list[int]]) -> None:
    found = free_search(talker, openings, num_beams=2, end_token=END, max_new_tokens=6)
    finished = {h.tokens for each in found for h in each if h.finished and h.length > 1}
    unfinished = {h.tokens for each in found for h in each if not h.finished}
    names = sorted(tokens[:-1] for tokens in finished)
    trie = build_trie(names)
    assert finished
    assert unfinished
    assert all(trie.walk(tokens) == names.index(tokens[:-1]) for tokens in finished)
    assert all(trie.walk(tokens) == -1 for tokens in unfinished)


def test_the_limit_of_new_tokens_must_leave_room(talker: Any) -> None:
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1"):
        free_search(talker, [[1]], num_beams=1, end_token=END, max_new_tokens=0)
