"""Generative biomedical entity linking: a language model writes the name, a trie holds it to names that exist."""

__version__ = "0.1.0"

from syncabel.linker import Linker

__all__ = ["Linker", "__version__"]
