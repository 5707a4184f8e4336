"""The legacy interface, by hand-made batch updates; `test_certified_vllm.py` runs it in vLLM."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: run `make test-vllm`")

from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from constrained.vllm.v1 import TrieLogitsProcessor

MOST = 10
VOCABULARY = 64


@pytest.fixture
def processor(trie_folder: Any) -> TrieLogitsProcessor:
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=MOST), model_config=SimpleNamespace(get_vocab_size=lambda: VOCABULARY))
    return TrieLogitsProcessor(config, torch.device("cpu"), False)


class Request:
    """What vLLM knows of a request, and what the test does."""

    def __init__(self, asked: dict[str, Any] | None, output: list[int]) -> None:
        self.asked, self.output = asked, output
        self.params = SamplingParams(temperature=0.0, extra_args=None if asked is None else {"syncabel": asked})


class Batch:
    """The rows of vLLM's persistent batch, changed at random as its scheduler changes them; gaps are filled before a step."""

    def __init__(self, rng: np.random.Generator, random_request: Any) -> None:
        self._rng, self._request = rng, random_request
        self.rows: list[Request] = []

    def changed(self) -> BatchUpdate | None:
        removed = [row for row in range(len(self.rows)) if self._rng.random() < 0.15]
        added: list[Any] = []
        gaps = sorted(removed, reverse=True)
        for _ in range(int(self._rng.integers(0, 3))):
            if not gaps and len(self.rows) >= MOST:
                break
            row = gaps.pop() if gaps else len(self.rows)
            # A request that was preempted comes back with what it has written.
            request = Request(self._request(self._rng), self._rng.choice([5, 6, 7, 1], int(self._rng.integers(0, 3))).tolist())
            self.rows[row : row + 1] = [request]
            added.append((row, request.params, [1, 2], request.output))
        moved = [*self._condensed(gaps), *self._swapped()]
        gone = [row for row in removed if row in gaps]
        return BatchUpdate(len(self.rows), gone, added, moved) if gone or added or moved else None

    def _condensed(self, gaps: list[int]) -> list[Any]:
        moved = []
        live = [row for row in range(len(self.rows)) if row not in gaps]
        for gap in sorted(gaps):
            if live and live[-1] > gap:
                last = live.pop()
                self.rows[gap] = self.rows[last]
                moved.append((last, gap, MoveDirectionality.UNIDIRECTIONAL))
        del self.rows[len(self.rows) - len(gaps) :]
        return moved

    def _swapped(self) -> list[Any]:
        if len(self.rows) < 2 or self._rng.random() < 0.5:
            return []
        one, other = self._rng.choice(len(self.rows), 2, replace=False).tolist()
        self.rows[one], self.rows[other] = self.rows[other], self.rows[one]
        return [(one, other, MoveDirectionality.SWAP)]


def test_it_is_a_processor_that_changes_the_best_token(processor: TrieLogitsProcessor) -> None:
    assert isinstance(processor, LogitsProcessor)
    assert not processor.is_argmax_invariant()


@pytest.mark.parametrize("seed", range(8))
def test_masks_follow_requests_that_come_go_and_change_rows(
    processor: TrieLogitsProcessor, catalogue: Any, random_request: Any, expect_masked: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batch = Batch(rng, random_request)
    for _ in range(60):
        processor.update_state(batch.changed())
        logits = torch.from_numpy(rng.normal(size=(len(batch.rows), VOCABULARY)).astype(np.float32))
        before = logits.clone()
        assert processor.apply(logits) is logits
        for row, request in enumerate(batch.rows):
            expect_masked(before[row], logits[row], request.asked, request.output)
            allowed = sorted(catalogue.next_tokens(request.asked or {}, request.output))
            request.output.append(int(rng.choice(allowed)) if rng.random() < 0.95 else 58)


def test_a_last_token_that_is_filled_in_after_the_update_is_read(processor: TrieLogitsProcessor, expect_masked: Any) -> None:
    """With asynchronous scheduling the list holds −1 when the state is updated, the token when logits are there."""
    request = Request({}, [])
    processor.update_state(BatchUpdate(1, [], [(0, request.params, [1], request.output)], []))
    processor.apply(torch.zeros(1, VOCABULARY))
    request.output.append(-1)
    processor.update_state(None)
    request.output[-1] = 5
    logits = torch.zeros(1, VOCABULARY)
    processor.apply(logits)
    expect_masked(torch.zeros(VOCABULARY), logits[0], {}, [5])


def test_slots_are_given_back(processor: TrieLogitsProcessor) -> None:
    for _ in range(3):
        requests = [Request({}, []) for _ in range(MOST)]
        processor.update_state(BatchUpdate(MOST, [], [(row, each.params, [1], each.output) for row, each in enumerate(requests)], []))
        processor.apply(torch.zeros(MOST, VOCABULARY))
        processor.update_state(BatchUpdate(0, list(range(MOST - 1, -1, -1)), [], []))


def test_a_bad_request_is_refused_at_admission(trie_folder: Any) -> None:
    with pytest.raises(ValueError, match="group 9 is not in the trie"):
        TrieLogitsProcessor.validate_params(SamplingParams(extra_args={"syncabel": {"groups": [9]}}))


def test_a_move_onto_another_request_ends_that_one(processor: TrieLogitsProcessor, expect_masked: Any) -> None:
    requests = [Request({}, []) for _ in range(4 * MOST)]
    for one, other in zip(requests[::2], requests[1::2], strict=True):
        added = [(row, each.params, [1], each.output) for row, each in enumerate((one, other))]
        processor.update_state(BatchUpdate(2, [], added, [(1, 0, MoveDirectionality.UNIDIRECTIONAL)]))
        other.output.append(5)
        logits = torch.zeros(2, VOCABULARY)
        processor.apply(logits)
        expect_masked(torch.zeros(VOCABULARY), logits[0], {}, [5])
        expect_masked(torch.zeros(VOCABULARY), logits[1], None, [])
