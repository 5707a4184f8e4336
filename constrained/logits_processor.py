"""The trie as a logits processor: `model.generate` of transformers, decoder-only or encoder–decoder, writes nothing but names.

What transformers' loops do to rows decides what a processor must bear.  Beam search permutes the rows of a prompt between steps,
so a row's node is found by walking from the prompt's end, all rows at once, and nothing is remembered from step to step.  It also
keeps finished rows in the beam at a score below −1e9 when it has nothing better, and beyond those rows of −inf whose tokens are
arbitrary: both get the end token and nothing else, which ends the loop soonest.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor

from constrained.scope import EVERYTHING, Scope, ScopeTable
from constrained.trie import Ints, TokenTrie, TrieError

__all__ = ["TrieLogitsProcessor"]

Longs = NDArray[np.int64]


class TrieLogitsProcessor(LogitsProcessor):
    """Leaves each row the scores of the tokens that go on with a name, and −inf elsewhere; scores are not renormalised.

    `model.generate(**batch, logits_processor=[TrieLogitsProcessor(trie)], eos_token_id=trie.end_token, …)`, greedy, beam search
    or sampling, with prompts padded on the left.  Row r belongs to prompt r // (rows / prompts), as transformers lays out
    beams and several samples of a prompt.

    For beam search that is right on a closed set give `early_stopping=False, length_penalty=0.0` and drop answers with a score
    below −1e8, which are not names; `constrained.search` needs no such care, runs each prompt once and is faster.

    Args:
        trie: the names.
        scopes: what each prompt may answer with; None allows everything to all.
        prompt_length: tokens before the name's first one, padding included: the width of `input_ids`, or of an
            encoder–decoder's decoder prompt (1 for a lone start token).  None takes the width of the first call, and the
            object then serves one call of `generate`.
    """

    supports_continuous_batching = False  # rows of one batch come and go there, so a row's number does not tell its prompt

    def __init__(self, trie: TokenTrie, scopes: Sequence[Scope] | None = None, *, prompt_length: int | None = None) -> None:
        if prompt_length is not None and prompt_length < 0:
            raise ValueError(f"prompt_length must be at least 0, got {prompt_length}")
        if scopes is not None and not scopes:
            raise ValueError("scopes is empty: give one for each prompt, or None to allow every name")
        self._trie = trie
        self._n_scopes = None if scopes is None else len(scopes)
        self._table = ScopeTable(trie, [EVERYTHING] if scopes is None else scopes)
        self._prompt_length = prompt_length
        self._first_prompt: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Mask one step.

        Args:
            input_ids: prompts and what was written after them. Shape: (rows × tokens), int64.
            scores: logits or log-probabilities of the next token. Shape: (rows × vocabulary).

        Returns:
            A new tensor like `scores`. Rows that have ended score 0 at the end token, −inf elsewhere.

        Raises:
            TrieError: the model has fewer logits than the trie has token ids, or what stands after a prompt begins no name.
            ValueError: the rows are no multiple of the scopes, or an object that was made for one call serves another.
        """
        if scores.shape[-1] < self._trie.vocabulary:
            last = self._trie.vocabulary - 1
            raise TrieError(f"the trie has token ids up to {last}, the model only {scores.shape[-1]} logits: it was built for another model")
        written = input_ids[:, self._start(input_ids) :].cpu().numpy()
        nodes = _walk(self._trie, written)
        which = self._prompt_of(len(nodes))
        self._check_some_row_lives(nodes, which)
        return self._masked(scores, nodes, which)

    def _masked(self, scores: Tensor, nodes: Longs, which: Longs) -> Tensor:
        # A leaf has no children, which is what a row that begins no name is to have.
        children = self._table.children_of(np.where(nodes < 0, self._trie.leaf_node[0], nodes), which)
        over = np.ones(len(nodes), dtype=np.bool_)
        over[children.row] = False
        row = torch.from_numpy(children.row).to(scores.device)
        token = torch.from_numpy(children.token).to(scores.device, torch.long)
        masked = torch.full_like(scores, -torch.inf)
        masked[row, token] = scores[row, token]
        masked[torch.from_numpy(over).to(scores.device), self._trie.end_token] = 0
        return masked

    def _start(self, input_ids: Tensor) -> int:
        """Place of the first token after the prompts."""
        if self._prompt_length is not None:
            return self._prompt_length
        if self._first_prompt is None:
            self._first_prompt = input_ids.clone()
        width = self._first_prompt.shape[1]
        # Beams of a prompt share it, so reordering them changes nothing here.
        if self._first_prompt.shape != input_ids[:, :width].shape or not torch.equal(self._first_prompt, input_ids[:, :width]):
            raise ValueError("these are not the prompts of the first call: make a processor for each call of generate, or give it prompt_length")
        return width

    def _prompt_of(self, n_rows: int) -> Longs:
        n_prompts = 1 if self._n_scopes is None else self._n_scopes
        if n_rows % n_prompts:
            raise ValueError(f"{n_rows} rows are no multiple of {n_prompts} scopes: give one scope for each prompt")
        return np.arange(n_rows) // max(1, n_rows // n_prompts)

    def _check_some_row_lives(self, nodes: Longs, which: Longs) -> None:
        lost: Longs = np.setdiff1d(which, which[nodes >= 0])
        if len(lost):
            what = "every row" if self._n_scopes is None else f"every row of prompt {lost[0]}"
            raise TrieError(f"{what} has tokens after the prompt that begin no name: prompt_length is wrong, or another processor overrides this one")


def _walk(trie: TokenTrie, written: Ints) -> Longs:
    """The node each row has come to from the root; −1 where it begins no name, the leaf where it has gone on after the end.

    Args:
        written: tokens after the prompt. Shape: (rows × steps).

    Returns:
        Shape: (rows,).
    """
    nodes = np.zeros(len(written), dtype=np.int64)
    for tokens in written.T:
        place = np.maximum(nodes, 0)
        child = _child_of(trie, place, tokens)
        ended = trie.child_start[place] == trie.child_start[place + 1]
        nodes = np.where((nodes < 0) | ended, nodes, child)
    return nodes


def _child_of(trie: TokenTrie, nodes: Longs, tokens: Ints) -> Longs:
    """The child that each node's edge with this token leads to, −1 where there is none. Shapes: (rows,) each."""
    low, last = trie.child_start[nodes].astype(np.int64), trie.child_start[nodes + 1].astype(np.int64)
    high = last.copy()
    # Bisection in all rows at once: edges of a node ascend by token.
    while (searching := low < high).any():
        middle = (low + high) // 2
        after = searching & (trie.token[np.minimum(middle, len(trie.token) - 1)] < tokens)
        low, high = np.where(after, middle + 1, low), np.where(searching & ~after, middle, high)
    found = (low < last) & (trie.token[np.minimum(low, len(trie.token) - 1)] == tokens)
    return np.where(found, low + 1, -1)
