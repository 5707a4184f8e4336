"""The logits processor for vLLM's legacy model runner (interface `vllm.v1.sample.logits_processor`)."""

from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from constrained.vllm.requests import NOTHING, TrieRequests, asked_scope, check_params, load_trie

__all__ = ["TrieLogitsProcessor"]

Longs = NDArray[np.int64]


class TrieLogitsProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM is not installed where types are checked
    """Holds requests that ask for it to names of a trie; vLLM makes the instance.

    Attributes:
        folder: of the trie; None for the one that the environment names. A subclass may set it.
    """

    folder: ClassVar[str | None] = None

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse what `check_params` refuses.

        Raises:
            TrieError: which vLLM turns into an error of that request alone.
        """
        check_params(cls.folder, sampling_params)

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:  # noqa: ARG002
        self._trie = load_trie(self.folder)
        n_slots = vllm_config.scheduler_config.max_num_seqs
        self._requests = TrieRequests(self._trie, n_slots, vllm_config.model_config.get_vocab_size())
        self._free = list(range(n_slots))
        # Rows move in every step, slots do not.
        self._slot_of_row: Longs = np.full(n_slots, NOTHING, np.int64)
        self._outputs: list[list[int]] = [[]] * n_slots

    def is_argmax_invariant(self) -> bool:
        """It is not: the most probable token may be no name's."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests that come, go and change rows, in the order that vLLM prescribes."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._close(row)
        for row, params, _, output in batch_update.added:
            self._open(row, params, output)
        for source, target, direction in batch_update.moved:
            if direction is MoveDirectionality.SWAP:
                self._slot_of_row[[source, target]] = self._slot_of_row[[target, source]]
            else:
                self._close(target)
                self._slot_of_row[target], self._slot_of_row[source] = self._slot_of_row[source], NOTHING

    def apply(self, logits: Tensor) -> Tensor:
        """Mask the constrained rows in place. Shape: (requests × vocabulary)."""
        rows = np.flatnonzero(self._slot_of_row[: len(logits)] != NOTHING)
        if not len(rows):
            return logits
        slots = self._slot_of_row[rows]
        self._read(slots)
        self._requests.mask(logits, rows, self._requests.nodes(slots), slots)
        return logits

    def _read(self, slots: Longs) -> None:
        # Only here, not in update_state: with asynchronous scheduling vLLM fills in the last token right before `apply`.
        outputs = [self._outputs[slot] for slot in slots]
        read = self._requests.n_read(slots, np.array([len(output) for output in outputs]))
        unread = [output[first:] for output, first in zip(outputs, read, strict=True)]
        width = max(map(len, unread))
        columns = np.array([*zip_longest(*unread, fillvalue=NOTHING)], dtype=np.int64).reshape(width, len(slots))
        self._requests.read(slots, columns.T)

    def _open(self, row: int, params: Any, output: list[int]) -> None:
        self._close(row)
        scope = asked_scope(self._trie, params.extra_args)
        if scope is not None:
            slot = self._free.pop()
            self._requests.open(slot, scope)
            # vLLM's own list, which it goes on writing to.
            self._slot_of_row[row], self._outputs[slot] = slot, output

    def _close(self, row: int) -> None:
        slot = int(self._slot_of_row[row])
        if slot != NOTHING:
            self._free.append(slot)
            self._slot_of_row[row], self._outputs[slot] = NOTHING, []
