"""A trie on disk: one .npy per array and a JSON header, written beside their place and moved there, checked when read."""

import hashlib
import json
import os
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constrained.errors import TrieError

__all__ = ["ARRAYS", "COUNTS", "FORMAT", "HEADER", "VERSION", "digest_of", "load_array", "read_array", "read_header", "save_array", "save_text"]

FORMAT = "constrained.TokenTrie"
VERSION = 1
HEADER = "trie.json"
ARRAYS = ("child_start", "token", "node_class", "palette", "leaf_node", "leaf_entry")
COUNTS = ("end_token", "n_groups", "vocabulary")


# numpy's reader of headers is Python's own tokenizer, parser and literal evaluator, and what it makes of rubbish is theirs;
# a nesting too deep is a MemoryError to the parser, and a mapping asks for no memory that could be short.
_DAMAGED = (ValueError, EOFError, SyntaxError, tokenize.TokenError, TypeError, IndexError, OverflowError, RecursionError, MemoryError)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy beside its place and move it there: the array may be a mapping of the very file, here or in another process.

    Args:
        path: of the file, suffix included.
        array: of numbers.
    """
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    os.replace(partial, path)


def save_text(path: Path, text: str) -> None:
    """Write a text file beside its place and move it there, so that no reader meets half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def load_array(path: Path, mmap: bool = True) -> NDArray[Any]:
    """Read a .npy.

    Args:
        path: of the file, suffix included.
        mmap: map it into memory instead of reading it.

    Raises:
        FileNotFoundError: it is missing.
        TrieError: it is damaged, or holds objects.
    """
    try:
        # Mapped in any case: a size that the file does not have is found before memory is asked for.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        raise TrieError(f"{path} is damaged ({(str(error).splitlines() or [type(error).__name__])[0]})") from error
    # A plain array over the mapping: indexing the memmap subclass costs several times as much.
    return np.asarray(mapped) if mmap else np.array(mapped)


def digest_of(array: NDArray[Any]) -> str:
    """SHA-256 of an array's bytes, hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """The header of a saved trie.

    Raises:
        TrieError: it is missing, damaged, of another version, or does not describe every array.
    """
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrieError(f"{path} is missing: no trie, or one half written; build it again") from error
    except ValueError as error:
        raise TrieError(f"{path} is not JSON ({error}); build the trie again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TrieError(f"{path} is not the header of a trie; build it again")
    if header.get("version") != VERSION:
        raise TrieError(f"{path}: trie format version {header.get('version')}, this program reads {VERSION}; build it again")
    described = header.get("arrays")
    missing = [name for name in COUNTS if not isinstance(header.get(name), int)]
    missing += [name for name in ARRAYS if not isinstance(described, dict) or not isinstance(described.get(name), dict)]
    if missing:
        raise TrieError(f"{path} does not give {', '.join(missing)}; build the trie again")
    return header


def read_array(path: Path, described: dict[str, Any], mmap: bool, verify: bool) -> NDArray[Any]:
    """One array of a saved trie.

    Args:
        path: of its file.
        described: dtype, shape and SHA-256 as the header has them.
        mmap: map it into memory instead of reading it.
        verify: compare the SHA-256, which reads all of it.

    Raises:
        TrieError: it is missing, damaged or not the one described.
    """
    try:
        array = load_array(path, mmap)
    except FileNotFoundError as error:
        raise TrieError(f"{path} is missing: the trie is incomplete; build it again") from error
    except TrieError as error:
        raise TrieError(f"{error}; build the trie again") from error
    if str(array.dtype) != described.get("dtype") or list(array.shape) != described.get("shape"):
        raise TrieError(
            f"{path} holds {array.dtype} {list(array.shape)}, the header says {described.get('dtype')} {described.get('shape')}; build the trie again"
        )
    if verify and digest_of(array) != described.get("sha256"):
        raise TrieError(f"{path} was altered: its SHA-256 is not the header's; build the trie again")
    return array
