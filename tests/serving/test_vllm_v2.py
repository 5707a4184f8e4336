"""The interface of model runner V2, against its base class: that runner needs Triton, which the CPU build does not have."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: run `make test-vllm`")

from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from constrained.vllm.v2 import TrieLogitsProcessor

N_SLOTS = 8
VOCABULARY = 64
LENGTH = 40


class Buffer(NamedTuple):
    """The two faces of vLLM's buffers that processors read."""

    gpu: torch.Tensor
    np: Any


def buffer(*shape: int) -> Buffer:
    values = torch.zeros(shape, dtype=torch.int32)
    return Buffer(values, values.numpy())


class Request:
    """A request in its slot, read in chunks until its prompt is through."""

    def __init__(self, asked: dict[str, Any] | None, prompt: list[int], output: list[int]) -> None:
        self.asked, self.prompt, self.output = asked, prompt, output
        self.position = 0  # of the token read last


class Runner:
    """The second model runner's bookkeeping, as far as processors see it."""

    def __init__(self) -> None:
        self.states = LogitsProcRequestState(
            torch.device("cpu"), N_SLOTS, VOCABULARY, buffer(N_SLOTS, LENGTH), buffer(N_SLOTS), buffer(N_SLOTS), buffer(N_SLOTS)
        )
        self.processor = TrieLogitsProcessor(VllmConfig(), self.states)
        self.slots: dict[int, Request] = {}

    def add(self, slot: int, request: Request) -> bool:
        self.slots[slot] = request
        self.states.prompt_len.np[slot] = len(request.prompt)
        self.states.prefill_len.np[slot] = len(request.prompt) + len(request.output)
        changes = self.processor.add_request(slot, SamplingParams(extra_args=None if request.asked is None else {"syncabel": request.asked}))
        self.processor.apply_staged_writes()
        return changes

    def step(self, order: list[int], drafts: dict[int, list[int]], logits: torch.Tensor) -> None:
        """One step over the slots in this order; each has a row for the token read last and one for each draft."""
        rows = []
        for slot in order:
            request = self.slots[slot]
            tokens = [*request.prompt, *request.output]
            self.states.all_token_ids.np[slot] = 63  # what a slot's last request left behind
            self.states.all_token_ids.np[slot, : len(tokens)] = tokens
            self.states.total_len.np[slot] = len(tokens)
            for number, token in enumerate([tokens[request.position], *drafts.get(slot, [])]):
                rows.append((slot, number, token, request.position + number))
        slot, number, token, position = torch.tensor(rows).T
        batch = torch.tensor(order)
        context = LogitsContext(slot.int(), batch.int(), batch.numpy(), number.int(), token.int(), position, position[number == 0].numpy() + 1)
        assert self.processor.apply(logits, context) is logits


@pytest.fixture
def runner(trie_folder: Any) -> Runner:
    return Runner()


def test_it_is_a_processor_of_the_second_runner(runner: Runner) -> None:
    assert isinstance(runner.processor, LogitsProcessor)
    assert not runner.add(0, Request(None, [1], []))
    assert runner.add(0, Request({"groups": [1]}, [1], []))


@pytest.mark.parametrize("seed", range(8))
def test_masks_follow_requests_through_slots_rows_and_chunks(runner: Runner, catalogue: Any, random_request: Any, expect_masked: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        for slot in range(N_SLOTS):
            if slot not in runner.slots or rng.random() < 0.15 or len(runner.slots[slot].output) > 12:
                # A request that was preempted comes back with what it has written.
                output = rng.choice([5, 6, 7, 1], int(rng.integers(0, 3))).tolist()
                runner.add(slot, Request(random_request(rng), rng.integers(1, 60, int(rng.integers(2, 9))).tolist(), output))
        order = rng.permutation(N_SLOTS)[: int(rng.integers(1, N_SLOTS + 1))].tolist()
        for slot in order:
            request = runner.slots[slot]
            length = len(request.prompt) + len(request.output)
            request.position = min(request.position + int(rng.integers(1, 5)), length - 1)
        logits = torch.from_numpy(rng.normal(size=(len(order), VOCABULARY)).astype(np.float32))
        before = logits.clone()
        runner.step(order, {}, logits)
        for row, slot in enumerate(order):
            request = runner.slots[slot]
            read = max(0, request.position + 1 - len(request.prompt))
            expect_masked(before[row], logits[row], request.asked, request.output[:read])
            if request.position == len(request.prompt) + len(request.output) - 1:
                allowed = sorted(catalogue.next_tokens(request.asked or {}, request.output))
                request.output.append(int(rng.choice(allowed)) if rng.random() < 0.95 else 58)


def test_a_row_of_a_draft_goes_by_the_drafts_before_it(runner: Runner, random_request: Any, catalogue: Any, expect_masked: Any) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        drafts: dict[int, list[int]] = {}
        for slot in range(N_SLOTS):
            request = Request(random_request(rng), [1, 2], [])
            for _ in range(int(rng.integers(0, 3))):
                request.output.append(int(rng.choice(sorted(catalogue.next_tokens(request.asked or {}, request.output)))))
            request.position = 1 + len(request.output)
            runner.add(slot, request)
            written = list(request.output)
            for _ in range(int(rng.integers(0, 4))):
                allowed = sorted(catalogue.next_tokens(request.asked or {}, written))
                written.append(int(rng.choice(allowed)) if rng.random() < 0.8 else 58)
            drafts[slot] = written[len(request.output) :]
        order = rng.permutation(N_SLOTS).tolist()
        rows = [(slot, number) for slot in order for number in range(len(drafts[slot]) + 1)]
        logits = torch.from_numpy(rng.normal(size=(len(rows), VOCABULARY)).astype(np.float32))
        before = logits.clone()
        runner.step(order, drafts, logits)
        for row, (slot, number) in enumerate(rows):
            request = runner.slots[slot]
            expect_masked(before[row], logits[row], request.asked, [*request.output, *drafts[slot][:number]])


def test_a_batch_of_free_requests_is_left_alone(runner: Runner) -> None:
    runner.add(2, Request(None, [1, 2], []))
    logits = torch.ones(1, VOCABULARY)
    runner.step([2], {}, logits)
    assert bool((logits == 1).all())
