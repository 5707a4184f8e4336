"""Constrained decoding over a closed set of token sequences: token ids and entry numbers, no strings.

`TokenTrie` needs numpy only; the searches are in `constrained.search`, which imports torch.
"""

from constrained.trie import Children, TokenTrie, TrieError

__all__ = ["Children", "TokenTrie", "TrieError"]
