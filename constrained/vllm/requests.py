"""What both vLLM processors share: what a request asks for, and where in the trie each request has come to."""

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constrained.scope import EVERYTHING, Scope, ScopeTable, trie_scope
from constrained.trie import Ints, TokenTrie, TrieError

__all__ = ["EXTRA_ARG", "FOLDER_VARIABLE", "TrieRequests", "asked_scope", "check_params", "load_trie"]

EXTRA_ARG = "syncabel"
FOLDER_VARIABLE = "VLLM_TRIE"
NOTHING = -1  # in place of a token or a node
# Each may take from a row the tokens that the trie has left it.
CONFLICTING = ("min_tokens", "allowed_token_ids", "bad_words", "structured_outputs")
Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]


@cache
def _loaded(folder: str) -> TokenTrie:
    return TokenTrie.load(folder)


def load_trie(folder: str | None) -> TokenTrie:
    """The trie of a folder, mapped once for each process.

    Args:
        folder: where `TokenTrie.save` wrote it; None takes the one that the environment variable names, which reaches vLLM's
            worker processes.

    Raises:
        TrieError: no folder is given, or it holds no trie.
    """
    place = folder or os.environ.get(FOLDER_VARIABLE)
    if not place:
        raise TrieError(f"no trie is given: set the environment variable {FOLDER_VARIABLE} to its folder before vLLM starts")
    return _loaded(place)


def asked_scope(trie: TokenTrie, extra_args: Mapping[str, Any] | None) -> Scope | None:
    """What a request may answer with, None for a free one.

    Args:
        trie: the names.
        extra_args: of the request's `SamplingParams`; under `EXTRA_ARG` an object, or its JSON text, with `groups` and
            `candidates`, lists of numbers, both optional.

    Raises:
        TrieError: it is no such object, names a group or entry that is not there, or leaves no entry.
    """
    if extra_args is None or EXTRA_ARG not in extra_args:
        return None
    asked = _object(extra_args[EXTRA_ARG])
    if unknown := sorted(set(asked) - {"groups", "candidates"}):
        raise TrieError(f"extra_args[{EXTRA_ARG!r}] has no key {unknown[0]!r}: give 'groups', 'candidates', both or neither")
    groups, candidates = _numbers(asked, "groups"), _numbers(asked, "candidates")
    return EVERYTHING if groups is None and candidates is None else trie_scope(trie, groups, candidates)


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise TrieError(f"extra_args[{EXTRA_ARG!r}] is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise TrieError(f"extra_args[{EXTRA_ARG!r}] must be an object such as {{'groups': [0]}}, got {type(value).__name__}")
    return value


def _numbers(asked: dict[str, Any], key: str) -> list[int] | None:
    value = asked.get(key)
    if value is not None and not (isinstance(value, list) and all(map(_is_number, value))):
        raise TrieError(f"extra_args[{EXTRA_ARG!r}][{key!r}] must be a list of numbers of {key}")
    return value


def _is_number(value: Any) -> bool:
    # True is an int to Python, and surely a mistake here; JSON's integers have no bounds.
    return type(value) is int and abs(value) < 1 << 31


def check_params(folder: str | None, params: Any) -> None:
    """Refuse a request where it is admitted: an error later, in the worker, would end the whole engine.

    Args:
        folder: as for `load_trie`.
        params: a `SamplingParams`.

    Raises:
        TrieError: see `asked_scope`; or a parameter that may forbid every token the trie allows.
    """
    if not params.extra_args or EXTRA_ARG not in params.extra_args:
        return
    asked_scope(load_trie(folder), params.extra_args)
    if wrong := [name for name in CONFLICTING if getattr(params, name)]:
        raise TrieError(f"{wrong[0]} cannot be combined with extra_args[{EXTRA_ARG!r}]: it may forbid every token that the trie allows")


class TrieRequests:
    """Where each constrained request has come to; a request keeps its slot from `open` on, whatever row it has in a batch.

    Args:
        trie: the names.
        n_slots: most requests at once.
        vocabulary: number of logits of the model.

    Raises:
        TrieError: the model has fewer logits than the trie has token ids.
    """

    def __init__(self, trie: TokenTrie, n_slots: int, vocabulary: int) -> None:
        if vocabulary < trie.vocabulary:
            raise TrieError(f"the trie has token ids up to {trie.vocabulary - 1}, the model only {vocabulary} logits: it was built for another model")
        self._trie = trie
        self._scopes: list[Scope] = [EVERYTHING] * n_slots
        self._table: ScopeTable | None = None
        self._node: Longs = np.zeros(n_slots, np.int64)
        self._read: Longs = np.zeros(n_slots, np.int64)

    def open(self, slot: int, scope: Scope) -> None:
        """A request that has written nothing yet, or whose tokens will be read again, takes a slot; what was in it is forgotten."""
        self._node[slot] = self._read[slot] = 0
        if self._scopes[slot] is not scope:
            self._scopes[slot], self._table = scope, None

    def n_read(self, slots: Longs, written: Longs) -> Longs:
        """How many tokens of each request were read; a request that has fewer now starts anew.

        Args:
            slots: Shape: (rows,), distinct.
            written: tokens that the request has written so far. Shape: (rows,).

        Returns:
            Shape: (rows,).
        """
        taken_back = slots[written < self._read[slots]]
        self._node[taken_back] = self._read[taken_back] = 0
        return self._read[slots]

    def read(self, slots: Longs, tokens: Ints) -> None:
        """Follow the tokens that each request has written since it was last read.

        Args:
            slots: Shape: (rows,), distinct.
            tokens: padded with `NOTHING` on the right. Shape: (rows × most tokens).
        """
        for column in tokens.T:
            there = column != NOTHING
            moved = slots[there]
            self._node[moved] = self.after(self._node[moved], column[there])
            self._read[moved] += 1

    def nodes(self, slots: Longs) -> Longs:
        """The node each request has come to, `NOTHING` where what it wrote begins no name. Shape: as `slots`."""
        return self._node[slots]

    def after(self, nodes: Longs, tokens: Ints) -> Longs:
        """The node one token further.

        Args:
            nodes: nodes, or `NOTHING`. Shape: (rows,).
            tokens: Shape: (rows,).

        Returns:
            The child; the leaf itself after a leaf, `NOTHING` where no name goes on like that. Shape: (rows,).
        """
        place = np.maximum(nodes, 0)
        low, last = self._trie.child_start[place].astype(np.int64), self._trie.child_start[place + 1].astype(np.int64)
        leaf, high = low == last, last.copy()
        # Bisection in all rows at once: edges of a node ascend by token.
        while (searching := low < high).any():
            middle = (low + high) // 2
            smaller = searching & (self._token(middle) < tokens)
            low, high = np.where(smaller, middle + 1, low), np.where(searching & ~smaller, middle, high)
        found = (low < last) & (self._token(low) == tokens)
        return np.where((nodes < 0) | leaf, nodes, np.where(found, low + 1, NOTHING))

    def _token(self, edge: Longs) -> Ints:
        return self._trie.token[np.minimum(edge, len(self._trie.token) - 1)]

    def mask(self, logits: Tensor, rows: Longs, nodes: Longs, slots: Longs) -> None:
        """Leave rows of logits what goes on with a name, −inf elsewhere, in place; other rows keep theirs.

        A row that has ended, or that begins no name, is left the end token alone, which closes its request soonest.

        Args:
            logits: Shape: (all rows × vocabulary).
            rows: those to change. Shape: (rows,).
            nodes: where each of them is. Shape: (rows,).
            slots: the request of each. Shape: (rows,).
        """
        if not len(rows):  # with tensor parallelism each worker has its share of them
            return
        if self._table is None:
            self._table = ScopeTable(self._trie, self._scopes)
        # A leaf has no children, which is what a row that begins no name is to have.
        children = self._table.children_of(np.where(nodes < 0, self._trie.leaf_node[0], nodes), slots)
        closed: Flags = np.ones(len(rows), np.bool_)
        closed[children.row] = False
        row, token = torch.from_numpy(np.stack([rows[children.row], children.token.astype(np.int64)])).to(logits.device)
        kept = logits[row, token]
        logits.index_fill_(0, torch.from_numpy(rows).to(logits.device), -torch.inf)
        logits[row, token] = kept
        logits[torch.from_numpy(rows[closed]).to(logits.device), self._trie.end_token] = 0
