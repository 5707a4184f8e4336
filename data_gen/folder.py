"""A folder of `syncabel generate`: what it holds, how it is claimed, checked and finished.

Nothing is half there: files are written beside and moved, manifest.json last.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import IO

from data_gen.journal import encoded
from syncabel.digests import file_sha256
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError
from syncabel.types import from_json, to_json

__all__ = [
    "DOCUMENTS",
    "FAILURES",
    "FILES",
    "GENERATION",
    "MANIFEST",
    "MISSING",
    "REJECTED",
    "RELINK",
    "REPORT",
    "SCORES",
    "SHARDS",
    "FileFacts",
    "Manifest",
    "Output",
    "Settings",
    "check_finished",
    "claim",
    "read_manifest",
    "read_only",
    "refuse_other_settings",
    "refuse_strange_files",
    "verify_answers",
    "write_json",
    "write_manifest",
]

GENERATION, DOCUMENTS, REJECTED, SCORES, RELINK = "generation.jsonl", "documents.jsonl", "rejected.jsonl", "scores.jsonl", "relink.jsonl"
FILES = (GENERATION, DOCUMENTS, REJECTED, SCORES, RELINK)
MANIFEST, REPORT, MISSING, SHARDS, SETTINGS, FAILURES = "manifest.json", "report.json", "missing.jsonl", "shards", "settings.json", "failures.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides what a folder holds; digests are SHA-256, hexadecimal.

    Attributes:
        writer, model, writer_digest: see `Writer`.
        gates_digest: of the gates.
        kb_digest: of the knowledge base.
        per_concept: sentences asked for per concept.
        rounds: how often concepts that are short of them after the gates are asked for more.
        seed: of the run.
        concepts: how many, and the digest of their codes in order.
        excluded_digest, short_forms_digest, context_digest: see `Surroundings.digests`.
        scored: whether scores are recorded.
        relink_digest: of the blind re-link; "" where there is none.
        style: see `Writer`.
    """

    writer: str
    model: str
    writer_digest: str
    gates_digest: str
    kb_digest: str
    per_concept: int
    rounds: int
    seed: int
    concepts: int
    codes_digest: str
    excluded_digest: str
    short_forms_digest: str
    context_digest: str
    scored: bool
    relink_digest: str = ""
    style: str = ""
    version: int = 2


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds; generated = kept + rejected.

    Attributes:
        settings: of the run.
        requested: sentences asked for, those of further rounds among them.
        generated, kept, rejected: numbers of items.
        missing: sentences of requests that got no answer.
        short: concepts with fewer kept sentences than were asked for.
        reasons: rejected items per reason.
        files: of each file.
    """

    settings: Settings
    requested: int = 0
    generated: int = 0
    kept: int = 0
    rejected: int = 0
    missing: int = 0
    short: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, FileFacts] = field(default_factory=dict)


class Output:
    """A file of JSON Lines that knows its digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0

    @property
    def facts(self) -> FileFacts:
        """Of what was written so far."""
        return FileFacts(self._size, self._hash.hexdigest())

    def sync(self) -> None:
        """Have it on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def write(self, items: Sequence[object]) -> None:
        """Add dataclasses, one a line."""
        data = b"".join(encoded(item) + b"\n" for item in items)
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


def claim(shards: Path, settings: Settings) -> None:
    """Write down what the shards are of.

    Raises:
        ConfigError: there are answers of other settings; where nothing was answered yet, a mistake may be mended.
        IncompleteFolderError: there are answers, and nothing says of what.
    """
    path, answered = shards / SETTINGS, any(shards.glob("*-*.jsonl"))
    old = from_json(Settings, _read_json(path), str(path)) if path.exists() else None
    if old == settings:
        return
    if answered and old is None:
        raise IncompleteFolderError(f"{shards} holds answers but no {SETTINGS}; delete the folder and generate again")
    if answered and old is not None:
        refuse_other_settings(shards.parent, old, settings)
    (shards / FAILURES).unlink(missing_ok=True)
    write_json(path, to_json(settings))


def read_only(folder: Path, settings: Settings) -> Settings:
    """Settings with the digest of the writer that the answers of an interrupted run came from.

    Raises:
        ConfigError: there are no such answers.
    """
    path = folder / SHARDS / SETTINGS
    if not path.exists():
        raise ConfigError(f"{folder} holds no answers to be read again; generate first")
    return replace(settings, writer_digest=from_json(Settings, _read_json(path), str(path)).writer_digest)


def refuse_strange_files(folder: Path) -> None:
    """Refuse a folder whose files come from elsewhere.

    Raises:
        ConfigError: it holds one of these files, and no run is under way there.
    """
    strange = [name for name in FILES if (folder / name).exists()]
    if strange and not (folder / SHARDS / SETTINGS).exists():
        raise ConfigError(f"{folder} holds {strange[0]} but no {MANIFEST}, so it is not a folder of `syncabel generate`; give another folder")


def refuse_other_settings(folder: Path, old: Settings, new: Settings) -> None:
    """Refuse to mix two runs.

    Raises:
        ConfigError: the settings differ; which, and how.
    """
    differing = [
        f"{f.name} {_brief(getattr(old, f.name))} → {_brief(getattr(new, f.name))}" for f in fields(Settings) if getattr(old, f.name) != getattr(new, f.name)
    ]
    if differing:
        raise ConfigError(f"{folder} was made with other settings ({'; '.join(differing)}); repeat those, or give another folder")


def _brief(value: object) -> str:
    text = str(value)
    return f"{text[:8]}…" if len(text) == 64 else repr(value)


def check_finished(folder: Path, settings: Settings) -> Manifest:
    """The manifest of a folder that was finished with these settings, its files as long as it says."""
    manifest = read_manifest(folder / MANIFEST)
    refuse_other_settings(folder, manifest.settings, settings)
    if manifest.missing and (folder / SHARDS / SETTINGS).exists():
        return manifest  # its files are made again, and a kill may have left some of them new and some old
    for name, facts in manifest.files.items():
        found = (folder / name).stat().st_size if (folder / name).exists() else 0
        if found != facts.size:
            raise IncompleteFolderError(
                f"{folder / name} has {found} bytes where {facts.size} were written; try --reparse, or delete the folder and generate again"
            )
    if manifest.missing:
        raise IncompleteFolderError(f"{folder / SHARDS} is gone, and {manifest.missing} sentences are missing; delete the folder and generate again")
    return manifest


def verify_answers(folder: Path, manifest: Manifest) -> None:
    """Refuse raw answers that are not those the manifest speaks of.

    Raises:
        IncompleteFolderError: they were changed.
    """
    facts = manifest.files.get(GENERATION)
    if facts is None or not (folder / GENERATION).exists():
        raise IncompleteFolderError(f"{folder} has no {GENERATION}; delete the folder and generate again")
    if file_sha256(folder / GENERATION) != facts.sha256:
        raise IncompleteFolderError(f"{folder / GENERATION} was changed since it was written; delete the folder and generate again")


def _plain(value: object) -> object:
    return {name: to_json(item) for name, item in value.items()} if isinstance(value, dict) else to_json(value)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all."""
    write_json(path, {f.name: _plain(getattr(manifest, f.name)) for f in fields(Manifest)})


def write_json(path: Path, value: object) -> None:
    """Write plain values, whole or not at all."""
    beside = path.with_suffix(".tmp")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise FormatError(f"not JSON ({error})", path, hint="delete the folder and generate again") from None


def read_manifest(path: Path) -> Manifest:
    """The manifest of a finished folder.

    Raises:
        FormatError: it is damaged.
    """
    row, names = _read_json(path), [f.name for f in fields(Manifest)]
    if not isinstance(row, dict) or set(row) != set(names) or not isinstance(row["files"], dict):
        raise FormatError(f"should hold {', '.join(names)}", path, hint="delete the folder and generate again")
    files = {name: from_json(FileFacts, facts, str(path)) for name, facts in row.pop("files").items()}
    return Manifest(from_json(Settings, row.pop("settings"), str(path)), files=files, **row)
