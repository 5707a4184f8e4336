"""Raw answers on disk while a run lasts: shards that only grow, every row with its own checksum.

A shard holds the answers about SHARD concepts of the plan, in the order in which they came.  A row is written whole or torn, never
half-believed: a JSON object whose last member is the CRC-32 of what stands before it.  What a kill tears off is asked again; so is a
row that has changed since, after it was put aside.
"""

import fcntl
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data_gen.writer import Generation
from syncabel.errors import ConfigError
from syncabel.types import from_json, to_json

__all__ = ["SHARD", "Journal", "encoded", "locked"]

SHARD = 1024  # concepts
OPEN_FILES = 16
_CHECK, _TAIL = b', "crc32": "', len(b', "crc32": "00000000"}')
LOCK, DAMAGED = "lock", "damaged.jsonl"


class Journal:
    """The shards of a folder.

    Args:
        folder: where they lie; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open: OrderedDict[Path, IO[bytes]] = OrderedDict()

    def read(self, number: int, shard: int) -> list[Generation]:
        """The answers of a shard, in the order in which they came.

        Args:
            number: of the round.
            shard: number of the shard.
        """
        path = self._path(number, shard)
        if not path.exists():
            return []
        rows = [checked(line) for line in path.read_bytes().splitlines(keepends=True)]
        return [from_json(Generation, row, str(path)) for row in rows if row is not None]

    def append(self, number: int, shard: int, generation: Generation) -> None:
        """Add an answer.  It is with the operating system when this returns: killing the process does not lose it.

        Raises:
            OSError: it could not be written; what a full disk has left of it is cut off again.
        """
        path = self._path(number, shard)
        file, row = self._file(path), sealed(generation)
        size = file.seek(0, os.SEEK_END)
        try:
            written = file.write(row)
            if written < len(row):
                file.write(row[written:])  # says why
        except OSError as error:
            file.truncate(size)
            raise OSError(error.errno, error.strerror, str(path)) from None

    def close(self) -> None:
        """Close the files, with everything on the disk."""
        while self._open:
            self._shut(self._open.popitem()[1])

    def _path(self, number: int, shard: int) -> Path:
        return self._folder / f"{number}-{shard:06}.jsonl"

    def _file(self, path: Path) -> IO[bytes]:
        if path not in self._open:
            self._mend(path)
            if len(self._open) >= OPEN_FILES:
                self._shut(self._open.popitem(last=False)[1])
            self._open[path] = path.open("ab", buffering=0)
        self._open.move_to_end(path)
        return self._open[path]

    def _shut(self, file: IO[bytes]) -> None:
        os.fsync(file.fileno())
        file.close()

    def _mend(self, path: Path) -> None:
        """Leave only whole rows in a shard; what else stands there goes to a file beside it."""
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if checked(line) is not None]
        if len(whole) == len(lines):
            return
        with (self._folder / DAMAGED).open("ab") as file:
            file.writelines(line.rstrip(b"\n") + b"\n" for line in lines if checked(line) is None)
        beside = path.with_suffix(".tmp")
        beside.write_bytes(b"".join(whole))
        os.replace(beside, path)


def sealed(generation: Generation) -> bytes:
    """A row with its checksum and line end."""
    row = encoded(generation)[:-1]
    return row + _CHECK + f'{zlib.crc32(row):08x}"}}\n'.encode()


def encoded(row: object) -> bytes:
    """A dataclass as one line of JSON in UTF-8, without line end; half a surrogate, which a server may send, as an escape."""
    plain = to_json(row)
    try:
        return json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(plain).encode()


def checked(line: bytes) -> dict[str, object] | None:
    """What a row says, without its checksum; None for a row that is torn or was changed."""
    row, check = line[: -_TAIL - 1], line[-_TAIL - 1 :]
    if check != _CHECK + f'{zlib.crc32(row):08x}"}}\n'.encode():
        return None
    value: dict[str, object] = json.loads(row + b"}")
    return value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder; the lock goes with the process, however it ends.

    Raises:
        ConfigError: another run is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another run is writing to {folder.parent}; wait for it, or give another folder") from None
        yield
