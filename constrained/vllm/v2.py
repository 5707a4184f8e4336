"""The logits processor for vLLM's second model runner (interface `vllm.v1.worker.gpu.sample.logits_processor`).

Under speculative decoding a request has one row for each draft token after the one for its last written token; a draft's row
goes by the drafts before it.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from constrained.vllm.requests import NOTHING, TrieRequests, asked_scope, check_params, load_trie

__all__ = ["TrieLogitsProcessor"]

Longs = NDArray[np.int64]


class TrieLogitsProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM is not installed where types are checked
    """Holds requests that ask for it to names of a trie; vLLM makes the instance.

    The tokens written last are fetched from the device in each step, so the host waits for the step before.

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

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        super().__init__(vllm_config, req_states)
        self._trie = load_trie(self.folder)
        self._states = req_states
        self._requests = TrieRequests(self._trie, req_states.max_num_reqs, req_states.vocab_size)
        self._constrained = np.zeros(req_states.max_num_reqs, np.bool_)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Take a request into its slot; whether it is held to the trie."""
        scope = asked_scope(self._trie, sampling_params.extra_args)
        self._constrained[req_idx] = scope is not None
        if scope is not None:
            self._requests.open(req_idx, scope)
        return scope is not None

    def apply(self, logits: Tensor, ctx: LogitsContext) -> Tensor:
        """Mask the constrained rows in place. Shape: (rows × vocabulary)."""
        if not self._constrained[ctx.idx_mapping_np].any():
            return logits
        layout = torch.stack([each.long() for each in (ctx.expanded_idx_mapping, ctx.expanded_local_pos, ctx.input_ids, ctx.pos)])
        slots, draft, tokens, position = layout.cpu().numpy()
        self._read(slots[draft == 0], position[draft == 0])
        rows = np.flatnonzero(self._constrained[slots])
        self._requests.mask(logits, rows, self._nodes(slots, draft, tokens)[rows], slots[rows])
        return logits

    def _read(self, slots: Longs, position: Longs) -> None:
        """Follow what the constrained requests wrote since the last step."""
        held = self._constrained[slots]
        slots, position = slots[held], position[held]
        prompt = self._states.prompt_len.np[slots].astype(np.int64)
        # A prompt that is read in parts has rows too, before anything is written.
        written = np.maximum(position + 1 - prompt, 0)
        read = self._requests.n_read(slots, written)
        place = read[:, None] + np.arange((written - read).max(initial=0))
        there = place < written[:, None]
        at = np.where(there, prompt[:, None] + place, 0)
        device = self._states.all_token_ids.gpu.device
        tokens = self._states.all_token_ids.gpu[torch.from_numpy(slots)[:, None].to(device), torch.from_numpy(at).to(device)]
        self._requests.read(slots, np.where(there, tokens.cpu().numpy(), NOTHING))

    def _nodes(self, slots: Longs, draft: Longs, tokens: Longs) -> Longs:
        """The node of each row; rows of a request follow each other. Shape: (rows,)."""
        nodes = self._requests.nodes(slots)
        for number in range(1, int(draft.max(initial=0)) + 1):
            rows = np.flatnonzero(draft == number)
            nodes[rows] = self._requests.after(nodes[rows - 1], tokens[rows])
        return nodes
