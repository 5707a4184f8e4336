"""Near-duplicates over a whole set: MinHash and banding (Broder, 1997; Leskovec et al., Mining of Massive Datasets, ch. 3), datasketch's hashes.

What is found is checked: two texts are near-duplicates where the Jaccard similarity of their shingles, computed exactly, reaches the
threshold.  Banding only says which texts to look at, so there are no false alarms, and a pair of similarity s is missed with a
probability of (1 − s^ROWS)^BANDS: 0.2 % at 0.8, 0.0003 % at 0.9, none at 1.  Where very many texts share a band, some of the pairs just
above the threshold are missed besides; repeats never are.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_gen.gates.words import plain_words
from syncabel.errors import ConfigError, MissingExtraError
from syncabel.text import fold

__all__ = ["BANDS", "ROWS", "NearDuplicates", "SeenKeys", "Sketch", "shingles"]

BANDS, ROWS = 12, 4
SHINGLE = 5  # code points
_SEED = 1
_CACHE_KIB, _KEYS_CACHE_KIB = 48 * 1024, 8 * 1024  # of an index's pages held in memory, however many sentences there are
# Candidates: a frame that a hundred thousand sentences share must not slow down the rest.  The latest of each band, of these the likeliest.
_PER_BAND, _LOOKED_AT = 64, 24
_RANDOM = np.random.RandomState(_SEED)
_MIX: NDArray[np.uint64] = _RANDOM.randint(0, 1 << 63, SHINGLE, np.uint64) * np.uint64(2) + np.uint64(1)
_BAND_MIX: NDArray[np.uint64] = _RANDOM.randint(0, 1 << 63, ROWS, np.uint64) * np.uint64(2) + np.uint64(1)
_BAND_SALT: NDArray[np.uint64] = _RANDOM.randint(0, 1 << 63, BANDS, np.uint64)
_FIRST = np.array([True])
_FINISH = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3's finaliser


class Sketch(NamedTuple):
    """What a text is compared by.

    Attributes:
        text: folded, its words joined by one space.
        shingles: hashes of its shingles, ascending, each once. Shape: (shingles,).
        exact: hash of the text.
        bands: hashes of the bands of its signature.
    """

    text: str
    shingles: NDArray[np.uint64]
    exact: int
    bands: Sequence[int]


class NearDuplicates:
    """Texts seen so far, in a temporary database on disk that vanishes with the process; memory stays the same for any number.

    Args:
        threshold: least Jaccard similarity of a near-duplicate, a fraction.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold, self._count, self._blank = threshold, 0, _blank_minhash()
        self._rows = _temporary_database(
            _CACHE_KIB,
            "CREATE TABLE texts(id INTEGER PRIMARY KEY, text TEXT)",
            "CREATE TABLE bands(key INTEGER, id INTEGER, PRIMARY KEY(key, id)) WITHOUT ROWID",
        )

    def __len__(self) -> int:
        return self._count

    def sketch(self, text: str) -> Sketch:
        """What a text is compared by; pure."""
        normal = _normal(text)
        found = _shingles(normal)
        minhash = self._blank.copy()
        minhash.update_batch((found >> np.uint64(32)).tolist())
        return Sketch(normal, found, _exact(normal), _bands(np.asarray(minhash.hashvalues, np.uint64)))

    def has_near(self, sketch: Sketch) -> bool:
        """Whether a near-duplicate was added before."""
        with _one_line_errors():
            return self._is_known(sketch.exact) or any(self._is_near(sketch, text) for text in self._candidates(sketch))

    def add(self, sketch: Sketch) -> None:
        """Remember a text."""
        with _one_line_errors():
            self._rows.execute("INSERT INTO texts VALUES (?, ?)", (self._count, sketch.text))
            keys = [(key, self._count) for key in (sketch.exact, *sketch.bands)]
            self._rows.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", keys)
        self._count += 1

    def _is_known(self, key: int) -> bool:
        return self._rows.execute("SELECT 1 FROM bands WHERE key = ? LIMIT 1", (key,)).fetchone() is not None

    def _is_near(self, sketch: Sketch, text: str) -> bool:
        # A text has at most as many shingles as code points: one that is too short cannot share enough.
        if len(text) < self._threshold * len(sketch.shingles):
            return False
        return jaccard(sketch.shingles, _shingles(text)) >= self._threshold

    def _candidates(self, sketch: Sketch) -> list[str]:
        """Texts that share a band, those that share most first."""
        ids = [row[0] for row in self._rows.execute(_CANDIDATES, sketch.bands)]
        return [self._rows.execute("SELECT text FROM texts WHERE id = ?", (i,)).fetchone()[0] for i in ids]


_BAND = f"SELECT id FROM (SELECT id FROM bands WHERE key = ? ORDER BY id DESC LIMIT {_PER_BAND})"
_CANDIDATES = f"SELECT id FROM ({' UNION ALL '.join([_BAND] * BANDS)}) GROUP BY id ORDER BY count(*) DESC, id LIMIT {_LOOKED_AT}"


class SeenKeys:
    """Keys seen so far and how often, on disk as `NearDuplicates`."""

    def __init__(self) -> None:
        self._rows = _temporary_database(_KEYS_CACHE_KIB, "CREATE TABLE seen(key BLOB PRIMARY KEY, n INTEGER) WITHOUT ROWID")

    def count(self, *key: object) -> int:
        """How often a key was added."""
        with _one_line_errors():
            row = self._rows.execute("SELECT n FROM seen WHERE key = ?", (_key(key),)).fetchone()
        return row[0] if row else 0

    def add(self, *key: object) -> None:
        """Count a key once more."""
        with _one_line_errors():
            self._rows.execute("INSERT INTO seen VALUES (?, 1) ON CONFLICT(key) DO UPDATE SET n = n + 1", (_key(key),))


def _key(parts: tuple[object, ...]) -> bytes:
    # 128 bits: among 10⁹ keys two are taken for one with a probability of 10⁻²¹.
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shingles(text: str) -> NDArray[np.uint64]:
    """Hashes of a text's shingles: five code points of its folded words, joined by single spaces.

    Returns:
        Ascending, each once. Shape: (shingles,); a text shorter than a shingle is one.
    """
    return _shingles(_normal(text))


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Shared of all; a fraction. Shapes: (shingles,), ascending and without repeats."""
    both = np.concatenate((one, other))
    both.sort()
    shared = int((both[1:] == both[:-1]).sum())
    return shared / (len(both) - shared)


def _normal(text: str) -> str:
    return " ".join(plain_words(text)) or fold(text)


def _shingles(normal: str) -> NDArray[np.uint64]:
    points = np.frombuffer(normal.ljust(SHINGLE).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    runs = len(points) - SHINGLE + 1
    mixed: NDArray[np.uint64] = points[:runs] * _MIX[0]
    for i in range(1, SHINGLE):
        mixed += points[i : i + runs] * _MIX[i]
    mixed ^= mixed >> np.uint64(33)
    mixed *= _FINISH
    mixed.sort()
    found: NDArray[np.uint64] = mixed[np.concatenate((_FIRST, mixed[1:] != mixed[:-1]))]
    return found


def _bands(values: NDArray[np.uint64]) -> list[int]:
    """One signed 64-bit key a band. Shape of values: (BANDS × ROWS,)."""
    keys = values.reshape(BANDS, ROWS) @ _BAND_MIX + _BAND_SALT
    keys ^= keys >> np.uint64(31)
    found: list[int] = (keys * _FINISH).view(np.int64).tolist()
    return found


def _exact(normal: str) -> int:
    return int.from_bytes(hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


def _blank_minhash() -> Any:
    try:
        from datasketch import MinHash
    except ImportError:
        raise MissingExtraError("generate", "datasketch") from None
    return MinHash(num_perm=BANDS * ROWS, seed=_SEED, hashfunc=int)


def _temporary_database(cache_kib: int, *tables: str) -> sqlite3.Connection:
    """A nameless database of SQLite: a file in the temporary folder that is removed as soon as it is open."""
    rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    # Nothing of it outlives the process, so nothing needs to survive a crash.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", f"cache_size = -{cache_kib}"):
        rows.execute(f"PRAGMA {pragma}")
    for table in tables:
        rows.execute(table)
    rows.execute("BEGIN")
    return rows


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(f"the index of sentences seen, in the temporary folder: {error}; make room there, or name another with TMPDIR") from None
