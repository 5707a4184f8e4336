"""The lexicon: names of a knowledge base as a token trie whose leaves are codes.

`store` reads one (numpy only; travels with exported models), `build` makes one from a knowledge base and a tokenizer.
"""

from syncabel.lexicon.store import Lexicon, tokenizer_digest

__all__ = ["Lexicon", "tokenizer_digest"]
