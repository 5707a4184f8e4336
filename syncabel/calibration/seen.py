"""Which mention strings training has seen, as digests: enough to ask for a string, not enough to list them.

A digest of 64 bits is no secret: whoever has the file can try words and learn which of them are in it.  A model whose training strings
must not be guessed is calibrated without (`syncabel calibrate --no-seen`).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import FormatError, IncompleteFolderError
from syncabel.text import fold

__all__ = ["SeenStrings"]


@dataclass(frozen=True, eq=False)
class SeenStrings:
    """Digests of folded strings (`text.fold`).

    Attributes:
        digests: 64-bit BLAKE2b, sorted, each once. Shape: (strings,), uint64.
    """

    digests: NDArray[np.uint64]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "SeenStrings":
        """Those of any texts."""
        return cls(np.unique(np.array([_digest(text) for text in texts], np.uint64)))

    @classmethod
    def load(cls, path: Path) -> "SeenStrings":
        """Read a file.

        Raises:
            IncompleteFolderError: it is missing.
            FormatError: it holds something else.
        """
        try:
            digests = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise IncompleteFolderError(f"{path} is missing, which the calibration beside it needs; copy it too, or run `syncabel calibrate` again") from None
        except (ValueError, EOFError) as error:
            raise FormatError(f"no array of digests ({error})", path, hint="copy it again, or run `syncabel calibrate` again") from None
        if digests.dtype != np.uint64 or digests.ndim != 1 or (np.diff(digests.astype(np.float64)) < 0).any():
            raise FormatError("no sorted array of 64-bit digests", path, hint="copy it again, or run `syncabel calibrate` again")
        return cls(digests)

    def save(self, path: Path) -> None:
        """Write a .npy file."""
        np.save(path, self.digests, allow_pickle=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the digests, so that a calibration knows its own."""
        return hashlib.sha256(self.digests.astype("<u8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.digests)

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str):
            return False
        wanted = np.uint64(_digest(text))
        place = int(np.searchsorted(self.digests, wanted))
        return place < len(self.digests) and self.digests[place] == wanted


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(fold(text).encode(), digest_size=8, person=b"syncabel").digest(), "little")
