"""Raw answers on disk: one file that only grows, every row on the disk before the next answer is taken.

A row is known by the digest of what was asked, of whom, with which settings and seed, so nothing is asked twice and answers to another
prompt, model or setting are never mistaken for these.  What a kill tears off is asked again.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from syncabel.errors import FormatError
from syncabel.types import from_json, to_json

__all__ = ["AnswerLog", "Spent", "StoredAnswer"]


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One raw answer.

    Attributes:
        key: SHA-256 of messages, engine, model, settings and seed.
        question: digest of the question.
        vote: number of the pair of calls, from 0.
        swapped: whether A was the prediction.
        attempt: from 0; a further one where the answer before it could not be read.
        model, engine: who answered.
        seed: of the sampling.
        text: untouched.
        finish: why it ended.
        prompt_tokens, completion_tokens: as the engine counted, else as estimated.
    """

    key: str
    question: str
    vote: int
    swapped: bool
    attempt: int
    model: str
    engine: str
    seed: int
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What was asked for: requests, and tokens read and written."""

    requests: int = 0
    read: int = 0
    written: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.requests + other.requests, self.read + other.read, self.written + other.written)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.requests - other.requests, self.read - other.read, self.written - other.written)

    def cost(self, price_read: float, price_written: float) -> float:
        """In the currency of the prices, which are for a million tokens.

        >>> Spent(10, 2_000_000, 500_000).cost(0.15, 0.6)
        0.6
        """
        return (self.read * price_read + self.written * price_written) / 1_000_000


class AnswerLog:
    """The answers of a folder; a context manager.  Nothing is written, nor made, before the first answer comes.

    Args:
        path: of the file.

    Raises:
        FormatError: a row is not one of these.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._whole = 0  # bytes; what lies behind was torn off by a kill
        self._answers = {answer.key: answer for answer in self._stored()}

    def __enter__(self) -> "AnswerLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, key: str) -> StoredAnswer | None:
        """The answer of this key, or None."""
        return self._answers.get(key)

    @property
    def spent(self) -> Spent:
        """Every answer that ever came into this folder, whatever the settings were; what a kill cut off is in no count."""
        return sum((spent_by(answer) for answer in self._answers.values()), Spent())

    def append(self, answer: StoredAnswer) -> None:
        """Add an answer; it is on the disk when this returns.

        Raises:
            OSError: it could not be written; what a full disk has left of it is cut off again.
        """
        file, row = self._opened(), _row(answer)
        try:
            written = file.write(row)
            if written < len(row):
                file.write(row[written:])  # says why
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(self._whole)
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        self._whole += len(row)
        self._answers[answer.key] = answer

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
            self._file.truncate(self._whole)
        return self._file

    def _stored(self) -> Iterator[StoredAnswer]:
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            yield self._read(line, number)
            self._whole += len(line)

    def _read(self, line: bytes, number: int) -> StoredAnswer:
        hint = "an answer of `syncabel judge` is expected; take this line out, and it is asked again"
        try:
            return from_json(StoredAnswer, json.loads(line))
        except (ValueError, RecursionError, FormatError):
            raise FormatError("not a stored answer", self._path, number, hint) from None


def spent_by(answer: StoredAnswer) -> Spent:
    """What one answer took."""
    return Spent(1, answer.prompt_tokens, answer.completion_tokens)


def _row(answer: StoredAnswer) -> bytes:
    plain = to_json(answer)
    try:
        return json.dumps(plain, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate, which a server may send
        return json.dumps(plain).encode() + b"\n"
