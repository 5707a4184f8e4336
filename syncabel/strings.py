"""Many strings as one UTF-8 blob with offsets: what names and codes are kept as, on disk and mapped into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["StringTable"]


@dataclass(frozen=True, eq=False)
class StringTable:
    """Strings as one UTF-8 blob. blob: uint8, shape (bytes,); offsets: int64, shape (strings + 1,)."""

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def from_strings(cls, strings: Sequence[str]) -> "StringTable":
        """Pack strings in the order given."""
        encoded = [string.encode() for string in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(part) for part in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        starts = self._starts
        return str(self._bytes[starts[index] : starts[index + 1]], "utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def find(self, string: str) -> int:
        """The place of a string, or −1; the strings must ascend by their UTF-8 bytes."""
        key = string.encode("utf-8", "surrogatepass")
        place = self.place(key)
        return place if place < len(self) and self._at(place) == key else -1

    def place(self, key: bytes) -> int:
        """The first place whose string is not below `key`; the strings must ascend by their UTF-8 bytes."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _at(self, index: int) -> bytes:
        starts = self._starts
        return bytes(self._bytes[starts[index] : starts[index + 1]])

    # One number or one slice at a time, a memoryview answers several times faster than an array does.
    @cached_property
    def _starts(self) -> Any:
        return np.ascontiguousarray(self.offsets).data

    @cached_property
    def _bytes(self) -> memoryview:
        return np.ascontiguousarray(self.blob).data
