"""Constrained decoding over a closed set of token sequences: token ids and entry numbers, no strings.

The trie and its scopes need numpy only; the searches are in `constrained.search`, which imports torch and transformers.
"""

from constrained.scope import EVERYTHING, Scope, trie_scope
from constrained.trie import Children, Entries, TokenTrie, TrieError

__all__ = ["EVERYTHING", "Children", "Entries", "Scope", "TokenTrie", "TrieError", "trie_scope"]
