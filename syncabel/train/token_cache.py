"""Arrays kept in folders: written whole or not at all, made once however many processes ask, memory-mapped afterwards.

    FOLDER/KEY/tokens.json     what the arrays are, and how long; written last, so that a folder with it is whole
    FOLDER/KEY/*.npy           the arrays
    FOLDER/KEY/dropped.jsonl   examples that are too long

A process that finds nothing takes the folder's lock and makes it; the others of the node wait for the lock and map what they
find then.  A lock, and no barrier: what is waited for may take longer than a collective's timeout, and two runs share it too.
"""

import errno
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from constrained.trie import TrieError, load_array
from syncabel.errors import ConfigError

__all__ = ["ArrayFile", "Kept", "kept"]

HEADER = "tokens.json"


class ArrayFile:
    """A `.npy` file of one dimension that grows; it can be read once its `with` block is left.

    Args:
        path: the file.
        dtype: of its values.
    """

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.dtype, self.length = np.dtype(dtype), 0
        self._file: BinaryIO = path.open("wb")
        self._header()

    def append(self, values: NDArray[Any]) -> None:
        """Write values behind those written before."""
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, *failed: object) -> None:
        with self._file:
            self._file.seek(0)
            self._header()

    def _header(self) -> None:
        # numpy leaves room in a header for the first dimension to grow, so that it is as long for any length.
        npy.write_array_header_1_0(self._file, {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)})


@dataclass(frozen=True, eq=False)
class Kept:
    """What a folder keeps.

    Attributes:
        folder: the folder.
        header: what was said of it when it was made.
        arrays: by name, mapped read-only.
    """

    folder: Path
    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def kept(folder: Path, names: Sequence[str], make: Callable[[Path], Mapping[str, Any]]) -> Kept:
    """The arrays of a folder, made where they are not there or damaged.

    Args:
        folder: its name is the key of what it keeps.
        names: of the arrays.
        make: writes `NAME.npy` for each into a folder and returns what the header is to say.

    Raises:
        ConfigError: nothing can be written beside the folder.
    """
    if (found := _mapped(folder, names)) is not None:
        return found
    with _lock(folder):
        # Another process may have made it while this one waited.
        if (found := _mapped(folder, names)) is not None:
            return found
        _make(folder, make)
    done = _mapped(folder, names)
    assert done is not None, "just made under the lock"
    return done


def _lock(folder: Path) -> AbstractContextManager[object]:
    """The lock that whoever makes a folder holds, taken; waits for it as long as it takes."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(folder.with_name(f".{folder.name}.lock")).acquire()
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ConfigError(f"{folder.parent}: token arrays cannot be written there ({error.strerror}); give token_cache another folder") from None


def _make(folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> None:
    # Of one name, so that what a kill left of it is cleared by whoever holds the lock next.
    new = folder.with_name(f".{folder.name}.new")
    _clear(new)
    new.mkdir()
    try:
        header = dict(make(new))
        header["sizes"] = {path.name: path.stat().st_size for path in sorted(new.iterdir())}
        (new / HEADER).write_text(json.dumps(header, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        _clear(folder)  # damaged, where it is there
        new.rename(folder)
    finally:
        _clear(new)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _mapped(folder: Path, names: Sequence[str]) -> Kept | None:
    """What a folder keeps, None where it is not there, half there or cut off."""
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if any((folder / name).stat().st_size != size for name, size in header.get("sizes", {}).items()):
            return None
        return Kept(folder, header, {name: load_array(folder / f"{name}.npy") for name in names})
    except (OSError, ValueError, TrieError):  # missing, bad JSON, or an array shorter than it says
        return None
