"""A lexicon on disk and in memory: token trie, names and codes, tied to one knowledge base and one tokenizer.

    lexicon.json          format version, digests, groups, counts
    trie/                 constrained.trie.TokenTrie
    names.npy, name_offsets.npy      names in entry order (sorted by UTF-8 bytes), one blob
    codes.npy, code_offsets.npy      distinct codes, sorted, one blob; with a NIL leaf, NIL_CODE among them
    entry_code.npy        entry -> index into the codes
    entry_flags.npy       bit 0: the string is shared by several concepts, bit 1: the concept's preferred name

Everything is memory-mapped; nothing is a pickle.  Entry numbers mean nothing outside their folder.

A lexicon may have one leaf more, which says that a mention is not in the knowledge base (NIL).  It belongs to a group of its own,
behind the named ones in the trie and without a name, so that it is offered only when asked for.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constrained.trie import TokenTrie, TrieError, load_array, save_array, save_text
from syncabel.errors import (
    ConfigError,
    DigestMismatchError,
    FormatError,
    IncompleteFolderError,
    MissingLexiconError,
    TokenizerMismatchError,
    UnknownNameError,
)
from syncabel.strings import StringTable

__all__ = ["PREFERRED", "SHARED", "Lexicon", "refuse_foreign", "tokenizer_digest"]

FORMAT_VERSION = 1
HEADER = "lexicon.json"
TRIE = "trie"
ARRAYS = ("names", "name_offsets", "codes", "code_offsets", "entry_code", "entry_flags")
SHARED, PREFERRED = 1, 2


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of what decides a tokenizer's ids: model, normalizer, pre-tokenizer, decoder, added tokens.

    Padding, truncation and the post-processor are left out: they change no id of a name.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {key: parts.get(key) for key in ("model", "normalizer", "pre_tokenizer", "decoder", "added_tokens")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def refuse_foreign(folder: Path) -> None:
    """Let a lexicon be written to a new folder, an empty one, or one that holds a lexicon, whole or half written, and to no other.

    Raises:
        ConfigError: it holds something else.
    """
    if not folder.is_dir() or (folder / HEADER).exists():
        return
    own = {TRIE, *(f"{name}.npy" for name in ARRAYS)}
    if other := sorted(path.name for path in folder.iterdir() if path.name.removesuffix(".partial") not in {HEADER, *own}):
        raise ConfigError(f"{folder} is no lexicon and holds other files (first: {other[0]!r}); give a new or empty folder")


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / HEADER
    if not path.exists():
        raise IncompleteFolderError(f"{folder}: {HEADER} is missing, the lexicon was half written; build it again")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IncompleteFolderError(f"{path} is damaged ({error}); build the lexicon again") from None
    if not isinstance(header, dict):
        raise IncompleteFolderError(f"{path} is damaged (no JSON object); build the lexicon again")
    if header.get("format_version") != FORMAT_VERSION:
        raise FormatError(f"lexicon format {header.get('format_version')}, this version reads {FORMAT_VERSION}", path, hint="build it again")
    if missing := [name for name in ("digest", "tokenizer_digest", "groups", "entries") if name not in header]:
        raise IncompleteFolderError(f"{path} does not give {', '.join(missing)}; build the lexicon again")
    return header


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Names under a trie; every leaf stands for exactly one code.

    Attributes:
        trie: over the token ids of ` NAME` and the end token.
        names: leaf names in entry order.
        codes: distinct codes, sorted.
        entry_code: int32, shape (entries,), index into `codes`.
        entry_flags: uint8, shape (entries,), bits SHARED and PREFERRED.
        groups: the knowledge base's semantic groups, in the order of the trie's bits.
        header: what lexicon.json holds: digests, counts, source, licence.
    """

    trie: TokenTrie
    names: StringTable
    codes: StringTable
    entry_code: NDArray[np.int32]
    entry_flags: NDArray[np.uint8]
    groups: tuple[str, ...]
    header: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path, mmap: bool = True) -> "Lexicon":
        """Map a lexicon folder.

        Raises:
            MissingLexiconError: there is no such folder.
            IncompleteFolderError: it was half written, or its header is damaged.
            TrieError: its trie was half written, or is damaged.
            FormatError: it has another format version.
            DigestMismatchError: its files do not belong together.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MissingLexiconError(f"{folder}: no lexicon; run `syncabel lexicon build KB --tokenizer DIR -o {folder}`")
        header = _read_header(folder)

        def array(name: str) -> NDArray[Any]:
            try:
                return load_array(folder / f"{name}.npy", mmap)
            except (OSError, TrieError) as error:
                raise IncompleteFolderError(f"{folder / name}.npy cannot be read ({error}); build the lexicon again") from None

        lexicon = cls(
            TokenTrie.load(folder / TRIE, mmap=mmap),
            StringTable(array("names"), array("name_offsets")),
            StringTable(array("codes"), array("code_offsets")),
            array("entry_code"),
            array("entry_flags"),
            tuple(header["groups"]),
            header,
        )
        counts = {len(lexicon.names), len(lexicon.entry_code), len(lexicon.entry_flags), lexicon.trie.n_entries, header["entries"]}
        if len(counts) != 1:
            raise DigestMismatchError(str(folder), header["digest"], lexicon.content_digest(), "its files are of different builds; build it again")
        return lexicon

    def save(self, folder: str | Path) -> None:
        """Write the folder; the header comes last, so that a half-written one is known as such.

        It may be the folder this lexicon is mapped from: files are moved over old ones, never written into them.

        Args:
            folder: a new or empty one, or that of a lexicon to replace.

        Raises:
            ConfigError: it holds something that is no lexicon.
        """
        folder = Path(folder)
        refuse_foreign(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).unlink(missing_ok=True)
        self.trie.save(folder / TRIE)
        arrays: tuple[NDArray[Any], ...] = (self.names.blob, self.names.offsets, self.codes.blob, self.codes.offsets, self.entry_code, self.entry_flags)
        for name, values in zip(ARRAYS, arrays, strict=True):
            save_array(folder / f"{name}.npy", values)
        save_text(folder / HEADER, json.dumps(dict(self.header), ensure_ascii=False, indent=1) + "\n")

    def __len__(self) -> int:
        return len(self.entry_code)

    @property
    def digest(self) -> str:
        """SHA-256 of names, codes and trie, as written when it was built."""
        return str(self.header["digest"])

    def content_digest(self) -> str:
        """SHA-256 of names, codes and trie as they are now."""
        seen = hashlib.sha256("\0".join(self.groups).encode())
        for values in (self.names.blob, self.codes.blob, self.entry_code, self.entry_flags, self.trie.token, self.trie.child_start, self.trie.node_class):
            seen.update(np.ascontiguousarray(values).view(np.uint8).data)
        return seen.hexdigest()

    def verify(self) -> None:
        """Read everything and compare digests.

        Raises:
            DigestMismatchError: a file was altered.
        """
        if (found := self.content_digest()) != self.digest:
            raise DigestMismatchError("lexicon", self.digest, found, "a file was altered; build it again")

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuse a tokenizer other than the one the trie was built for.

        Raises:
            TokenizerMismatchError: ids or end token differ.
        """
        found = tokenizer_digest(tokenizer)
        if found != self.header["tokenizer_digest"] or tokenizer.eos_token_id != self.trie.end_token:
            raise TokenizerMismatchError(str(self.header["tokenizer_digest"]), found)

    def name(self, entry: int) -> str:
        """The leaf's name: the string the model writes."""
        return self.names[entry]

    def code(self, entry: int) -> str:
        """The one code the leaf stands for."""
        return self.codes[int(self.entry_code[entry])]

    def shared(self, entry: int) -> bool:
        """Whether the leaf's bare name belongs to several concepts."""
        return bool(self.entry_flags[entry] & SHARED)

    def preferred(self, entry: int) -> bool:
        """Whether it is the concept's preferred name."""
        return bool(self.entry_flags[entry] & PREFERRED)

    @cached_property
    def _code_index(self) -> dict[str, int]:
        return {self.codes[i]: i for i in range(len(self.codes))}

    @cached_property
    def _by_code(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.entry_code, kind="stable")
        return order, np.searchsorted(self.entry_code[order], np.arange(len(self.codes) + 1))

    def entries_of(self, code: str) -> NDArray[np.int64]:
        """The entries of a concept in name order; empty for an unknown code."""
        index = self._code_index.get(code)
        if index is None:
            return np.empty(0, np.int64)
        order, starts = self._by_code
        return order[starts[index] : starts[index + 1]]

    @property
    def concept_of(self) -> NDArray[np.int32]:
        """The concept number of each entry: its place in `codes`.  Entries of one concept have one number. Shape: (entries,)."""
        return self.entry_code

    @cached_property
    def nil_entry(self) -> int | None:
        """The entry that says "not in the knowledge base", None where the lexicon has none."""
        name = self.header.get("nil")
        return None if name is None else self.names.find(name)

    def group_numbers(self, groups: Sequence[str], nil: bool = False) -> list[int] | None:
        """The trie's numbers of the groups an answer must come from; None for the whole trie.

        Args:
            groups: of the knowledge base; empty for all of them.
            nil: whether the NIL leaf may be the answer too.

        Raises:
            UnknownNameError: a group the knowledge base does not have.
            ConfigError: `nil`, and the lexicon has no such leaf.
        """
        if nil and self.nil_entry is None:
            raise ConfigError("the lexicon has no NIL leaf; build it with `syncabel lexicon build --nil NAME`")
        for group in groups:
            if group not in self.groups:
                raise UnknownNameError("group", group, self.groups)
        if not groups and nil == (self.nil_entry is not None):
            return None
        return [*(self.groups.index(group) for group in groups or self.groups), *([len(self.groups)] if nil else [])]

    def flags(self, groups: Sequence[str], nil: bool = False) -> NDArray[np.bool_] | None:
        """One flag per row of the trie's palette for what `group_numbers` gives; None for the whole trie.  Arguments and errors are its."""
        numbers = self.group_numbers(groups, nil)
        return None if numbers is None else self.trie.allowed(numbers)
