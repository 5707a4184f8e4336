"""The published way of constraining `generate`, for comparison: nested dictionaries and `prefix_allowed_tokens_fn`.

Behaviour, not code: a trie of dictionaries keyed by token id; at every step and for every beam the whole prefix is walked again
from the root, one slice of a list a token, and the keys found there go back to transformers, which writes them into a mask of
rows × vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["allowed_tokens", "dict_trie"]

DictTrie = dict[int, Any]


def dict_trie(paths: Iterable[Sequence[int]]) -> DictTrie:
    """Nested dictionaries of token ids.

    Args:
        paths: the names' token ids, end token included.
    """
    root: DictTrie = {}
    for path in paths:
        node = root
        for token in path:
            node = node.setdefault(token, {})
    return root


def allowed_tokens(tries: Sequence[DictTrie], prompt_length: int, end_token: int | None) -> Callable[[int, Tensor], list[int]]:
    """What `generate` takes as `prefix_allowed_tokens_fn`.

    Args:
        tries: one for each prompt.
        prompt_length: tokens before the name, padding included.
        end_token: what a row that has left the trie may write; None gives an empty list there, which is the published
            behaviour and what transformers 5 refuses.
    """
    nowhere = [] if end_token is None else [end_token]

    def allowed(prompt: int, ids: Tensor) -> list[int]:
        return _below(tries[prompt], ids.tolist()[prompt_length:]) or nowhere

    return allowed


def _below(node: DictTrie, prefix: list[int]) -> list[int]:
    if not prefix:
        return list(node)
    return _below(node[prefix[0]], prefix[1:]) if prefix[0] in node else []
