"""When each check of docs/results last ended, and whether its figures held: docs/results/checks.jsonl, a line a check."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from results_figures import Figure

from syncabel.errors import FormatError

__all__ = ["RECORD", "Ended", "figures_digest", "read_record", "record", "said_of"]

RECORD = "checks.jsonl"


@dataclass(frozen=True, slots=True)
class Ended:
    """One check that was run to its end; the type is the line's form.

    Attributes:
        file: the results file's name.
        check: its name.
        date: the day on which it ended.
        seconds: it took.
        figures: that it covers, a count.
        held: how many of them held.
        digest: `figures_digest` of the file as it was.
        commit: of the checkout it ran in.
        failure: the kind of error it ended with; "" where it made its figures.
    """

    file: str
    check: str
    date: str
    seconds: float
    figures: int
    held: int
    digest: str
    commit: str
    failure: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What the line is of: there is one of each."""
        return self.file, self.check


def figures_digest(figures: Mapping[str, Figure]) -> str:
    """The first 12 digits of the SHA-256 of a file's figures: notes and dates may change, and what was found of the figures still holds."""
    told = json.dumps({path: asdict(figure) for path, figure in figures.items()}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def read_record(folder: Path) -> dict[tuple[str, str], Ended]:
    """The checks on record by file and name.

    Args:
        folder: of the results files.

    Raises:
        FormatError: a line is none of a check.
    """
    path = folder / RECORD
    rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        found = [Ended(**json.loads(row)) for row in rows]
    except (ValueError, TypeError) as error:
        raise FormatError(f"a line is none of a check: {error}", path, hint="delete it; `python scripts/results.py --record` writes it anew") from None
    return {one.place: one for one in found}


def record(folder: Path, ended: Iterable[Ended], known: Iterable[tuple[str, str]]) -> None:
    """Put checks on record, each in the place of its last run.

    Args:
        folder: of the results files.
        ended: what was run.
        known: files and names of all checks there are; lines of others go.
    """
    rows = read_record(folder) | {one.place: replace(one, seconds=round(one.seconds, 1)) for one in ended}
    lines = [json.dumps(asdict(rows[place]), ensure_ascii=False) for place in sorted(rows.keys() & set(known))]
    written = (folder / RECORD).with_suffix(".tmp")
    written.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(written, folder / RECORD)


def said_of(ended: Ended, digest: str) -> str:
    """What came of a check, in words.

    Args:
        ended: its line.
        digest: of the figures that the file has now.

    >>> said_of(Ended("trie", "DOID", "2026-11-22", 3, 8, 7, "0cc0", "9f3c"), "0cc0")
    '7 of 8 held'
    >>> said_of(Ended("trie", "DOID", "2026-11-22", 3, 8, 8, "0cc0", "9f3c"), "17aa")
    '8 of 8 held, of other figures than the file has now'
    """
    said = f"failed ({ended.failure})" if ended.failure else f"{ended.held} of {ended.figures} held"
    return said if ended.digest == digest else f"{said}, of other figures than the file has now"
