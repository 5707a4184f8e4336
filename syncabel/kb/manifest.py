"""What a saved knowledge base says of itself: manifest.json, and the check that its files are the ones it names."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from syncabel.errors import DigestMismatchError, FormatError, IncompleteFolderError
from syncabel.types import from_json

__all__ = ["FORMAT_VERSION", "MANIFEST", "FileDigest", "Manifest", "file_digest", "read_manifest"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_AGAIN = "build it again with `syncabel kb build`"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of the folder: its path inside, and the SHA-256 of its bytes, hexadecimal."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Facts about a knowledge base.

    Attributes:
        format_version: of the folder.
        source, release: which vocabulary, and which edition of it.
        licence: an SPDX identifier where there is one.
        redistributable: whether the names may be passed on, in a lexicon for instance.
        concepts, names, relations: counts.
        ambiguous_names: distinct strings that are a name of two concepts or more.
        groups: semantic groups, sorted.
        languages: ISO 639-1 codes, sorted.
        digest: SHA-256 of the content, independent of the order concepts came in and of how files are compressed.
        rejected: how many entries, names or links were left out (rejected.jsonl says which and why).
        files: empty until it is saved.
    """

    format_version: int
    source: str
    release: str
    licence: str
    redistributable: bool
    concepts: int
    names: int
    relations: int
    ambiguous_names: int
    groups: tuple[str, ...]
    languages: tuple[str, ...]
    digest: str
    rejected: int = 0
    files: tuple[FileDigest, ...] = ()


def file_digest(folder: Path, path: str) -> FileDigest:
    """The digest of one file of a folder."""
    with (folder / path).open("rb") as file:
        return FileDigest(path, hashlib.file_digest(file, "sha256").hexdigest())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder whose files are all there and unaltered.

    Raises:
        IncompleteFolderError: no folder, no manifest, or a file is missing.
        FormatError: another format version, or a manifest that is not one.
        DigestMismatchError: a file is not what was written.
    """
    manifest = _parsed(folder)
    for file in manifest.files:
        if not (folder / file.path).is_file():
            raise IncompleteFolderError(f"{folder}: {file.path} is missing; {_AGAIN}")
        if (found := file_digest(folder, file.path).sha256) != file.sha256:
            raise DigestMismatchError(str(folder / file.path), file.sha256, found, f"it was altered, {_AGAIN}")
    return manifest


def _parsed(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise IncompleteFolderError(f"{folder}: {MANIFEST} is missing, this is no knowledge base or a half-written one; {_AGAIN}")
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise IncompleteFolderError(f"{path} cannot be read ({error}); {_AGAIN}") from None
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise FormatError(f"knowledge base format {version}, this version reads {FORMAT_VERSION}", path, hint=_AGAIN)
    manifest = from_json(Manifest, value, str(path))
    if not manifest.files:
        raise IncompleteFolderError(f"{path} names no files; {_AGAIN}")
    return manifest
