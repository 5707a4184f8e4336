"""Names as rows of token ids: in blocks, straight into arrays, kept in a cache by the digests of tokenizer and names."""

import errno
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from constrained.trie import TrieError, load_array
from syncabel.kb.tables import joined
from syncabel.lexicon.store import tokenizer_digest
from syncabel.prompt import encode_names

__all__ = ["TokenCache", "TokenRows", "token_rows"]

BLOCK = 1 << 16  # names whose encodings are Python objects at the same time
CACHE_VERSION = 1
_HASHED = 1 << 22  # tokens that are hashed, or rows gathered, at a time
_HEADER = "tokens.json"
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Token ids of many names, end token included.

    Attributes:
        ids: Shape: (tokens,), int32.
        offsets: row i is ids[offsets[i]:offsets[i + 1]]. Shape: (rows + 1,), int64.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, place: int) -> tuple[int, ...]:
        """The ids of one row."""
        return tuple(self.ids[self.offsets[place] : self.offsets[place + 1]].tolist())

    def joined_with(self, other: "TokenRows") -> "TokenRows":
        """These rows and then the others."""
        return TokenRows(np.concatenate([self.ids, other.ids]), np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]))

    def take(self, places: NDArray[np.int64]) -> "TokenRows":
        """Rows in another order, or some of them."""
        lengths = np.diff(self.offsets)[places]
        offsets = np.zeros(len(places) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        ids = np.empty(int(offsets[-1]), np.int32)
        shift = self.offsets[places] - offsets[:-1]
        for first, last in _blocks(offsets):
            at = np.arange(offsets[first], offsets[last]) + np.repeat(shift[first:last], lengths[first:last])
            ids[offsets[first] : offsets[last]] = self.ids[at]
        return TokenRows(ids, offsets)

    def hashes(self) -> NDArray[np.uint64]:
        """One number a row; equal rows have equal numbers, unequal ones nearly never. Shape: (rows,)."""
        lengths = np.diff(self.offsets)
        powers = np.ones(int(lengths.max(initial=1)), np.uint64)
        np.multiply.accumulate(np.full(len(powers) - 1, _MULTIPLIER), out=powers[1:])
        out = np.empty(len(self), np.uint64)
        for first, last in _blocks(self.offsets):
            start = self.offsets[first]
            ids = self.ids[start : self.offsets[last]].astype(np.uint64) + np.uint64(1)
            ids *= _MULTIPLIER
            ids ^= ids >> np.uint64(31)
            begins = self.offsets[first:last] - start
            ids *= powers[np.arange(len(ids)) - np.repeat(begins, lengths[first:last])]
            out[first:last] = np.add.reduceat(ids, begins)
        return out

    def digest(self) -> str:
        """SHA-256 of all of it, hexadecimal."""
        seen = hashlib.sha256(np.ascontiguousarray(self.offsets).view(np.uint8).data)
        seen.update(np.ascontiguousarray(self.ids).view(np.uint8).data)
        return seen.hexdigest()


def _blocks(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of rows that hold about as many tokens as are worked on at a time."""
    edges = np.searchsorted(offsets, np.arange(0, int(offsets[-1]), _HASHED))
    edges = np.unique(np.r_[0, edges, len(offsets) - 1])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def token_rows(names: pl.Series, tokenizer: Any) -> TokenRows:
    """Token ids of names as `encode_names` gives them, a block at a time, so that memory stays flat.

    Args:
        names: strings.
        tokenizer: a transformers tokenizer with an end token.
    """
    ids, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for start in range(0, len(names), BLOCK):
        block = encode_names(names.slice(start, BLOCK).to_list(), tokenizer)
        lengths.append(np.fromiter(map(len, block), np.int64, len(block)))
        ids.append(np.fromiter(chain.from_iterable(block), np.int32, int(lengths[-1].sum())))
    return TokenRows(np.concatenate(ids), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64))


@dataclass(frozen=True)
class TokenCache:
    """Token ids kept in a folder, one subfolder for each tokenizer and list of names.

    Attributes:
        folder: made where it is not there.
        notice: is told, in one line, of an entry that is damaged and made again.
    """

    folder: Path
    notice: Callable[[str], None]

    def rows(self, names: pl.Series, tokenizer: Any) -> TokenRows:
        """`token_rows`, read from the folder where it has them and written there where not."""
        key = _key(names, tokenizer)
        entry = self.folder / key
        if entry.exists():
            found = _read(entry, len(names))
            if found is not None:
                return found
            self.notice(f"{entry} is damaged; its names are tokenised again")
        rows = token_rows(names, tokenizer)
        self._write(entry, rows)
        return rows

    def _write(self, entry: Path, rows: TokenRows) -> None:
        """Beside its place, then moved there: no reader meets half an entry.  Where another process was first, its entry stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.folder) as temporary:
            new = Path(temporary, "new")
            new.mkdir()
            np.save(new / "ids.npy", rows.ids, allow_pickle=False)
            np.save(new / "offsets.npy", rows.offsets, allow_pickle=False)
            header = {"format_version": CACHE_VERSION, "rows": len(rows), "digest": rows.digest()}
            (new / _HEADER).write_text(json.dumps(header) + "\n", encoding="utf-8")
            if not _placed(new, entry) and _read(entry, len(rows)) is None:
                # Another process may have put the damaged one aside just now.
                with suppress(FileNotFoundError):
                    entry.rename(Path(temporary, "old"))
                _placed(new, entry)


def _placed(new: Path, entry: Path) -> bool:
    """Move a folder to its place; False, and nothing done, where something stands there."""
    try:
        new.rename(entry)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def _key(names: pl.Series, tokenizer: Any) -> str:
    """SHA-256 of format, tokenizer, end token and names, hexadecimal."""
    seen = hashlib.sha256(json.dumps([CACHE_VERSION, tokenizer_digest(tokenizer), tokenizer.eos_token_id, len(names)]).encode())
    for part in (names.slice(start, BLOCK) for start in range(0, len(names), BLOCK)):
        seen.update(part.str.len_bytes().cast(pl.Int64).to_numpy().tobytes())
        seen.update(joined(part))
    return seen.hexdigest()


def _read(entry: Path, count: int) -> TokenRows | None:
    """The rows of a cache entry, None where it is damaged."""
    try:
        header = json.loads((entry / _HEADER).read_text(encoding="utf-8"))
        ids, offsets = (load_array(entry / f"{name}.npy", mmap=False) for name in ("ids", "offsets"))
    except (OSError, ValueError, TrieError):  # damaged JSON or UTF-8, damaged array
        return None
    fits = isinstance(header, dict) and ids.dtype == np.int32 and offsets.dtype == np.int64 and offsets.shape == (count + 1,)
    rows = TokenRows(ids, offsets)
    return rows if fits and rows.digest() == header.get("digest") else None


def groups_alike(rows: TokenRows, hashes: NDArray[np.uint64], place: NDArray[np.int64]) -> Sequence[list[int]]:
    """Positions whose rows are equal, in groups of two and more, each ascending.

    Args:
        rows: token ids.
        hashes: of the row of each position. Shape: (positions,).
        place: the row of each position. Shape: (positions,).
    """
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    suspects = order[np.r_[False, same] | np.r_[same, False]]
    groups: dict[tuple[int, ...], list[int]] = {}
    for position in np.sort(suspects).tolist():
        groups.setdefault(rows.row(int(place[position])), []).append(position)
    # Equal numbers only make suspects; the rows themselves decide.
    return [group for group in groups.values() if len(group) > 1]
