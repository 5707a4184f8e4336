"""What a saved knowledge base says of itself: manifest.json, and the check that its files are the ones it names."""

import json
from dataclasses import dataclass
from pathlib import Path

from syncabel.digests import file_sha256
from syncabel.errors import DigestMismatchError, FormatError, IncompleteFolderError
from syncabel.kb.vocabulary import About
from syncabel.types import from_json

__all__ = ["FORMAT_VERSION", "MANIFEST", "FileDigest", "Manifest", "check_digest", "file_digest", "is_replaceable", "read_manifest", "stamp_of"]

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_AGAIN = "build it again with `syncabel kb build`"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of the folder: its path inside, its size, and the SHA-256 of its bytes, hexadecimal."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Facts about a knowledge base.

    Attributes:
        format_version: of the folder.
        about: which vocabulary, which edition, under what terms, read with which filters.
        digest: SHA-256 of the content, independent of the order concepts came in and of how files are compressed.
        concepts, names, relations, retired, maps: counts.
        ambiguous_names: distinct strings that are a name of two concepts or more.
        groups: semantic groups, sorted.
        languages: ISO 639-1 codes, sorted.
        rejected: how many entries, names or links were left out (rejected.jsonl says which and why).
        parts: of a merged knowledge base, what it was merged from.
        files: empty until it is saved.
    """

    format_version: int
    about: About
    digest: str
    concepts: int
    names: int
    relations: int
    retired: int
    maps: int
    ambiguous_names: int
    groups: tuple[str, ...]
    languages: tuple[str, ...]
    rejected: int = 0
    parts: tuple[About, ...] = ()
    files: tuple[FileDigest, ...] = ()


def file_digest(folder: Path, path: str) -> FileDigest:
    """The size and digest of one file of a folder."""
    return FileDigest(path, (folder / path).stat().st_size, file_sha256(folder / path))


def read_manifest(folder: Path, verify: bool) -> Manifest:
    """The manifest of a folder whose files are all there, of the sizes that were written.

    Args:
        folder: of the knowledge base.
        verify: read every file and compare its digest as well.

    Raises:
        IncompleteFolderError: no folder, no manifest, or a file is missing.
        FormatError: another format version, or a manifest that is not one.
        DigestMismatchError: a file is not what was written.
    """
    manifest = _parsed(folder)
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise IncompleteFolderError(f"{folder}: {file.path} is missing; {_AGAIN}")
        if (size := path.stat().st_size) != file.bytes:
            raise DigestMismatchError(f"{path} ({size} bytes instead of {file.bytes})", file.sha256, "unread", f"it was altered, {_AGAIN}")
        if verify:
            check_digest(folder, file)
    return manifest


def check_digest(folder: Path, file: FileDigest) -> None:
    """Read a file whole.

    Raises:
        DigestMismatchError: it is not what was written.
    """
    if (found := file_digest(folder, file.path).sha256) != file.sha256:
        raise DigestMismatchError(str(folder / file.path), file.sha256, found, f"it was altered, {_AGAIN}")


def is_replaceable(folder: Path) -> bool:
    """Whether nothing but a knowledge base, of any format version, would be lost with a folder."""
    if not folder.is_dir():
        return False
    inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not inside:
        return True
    try:
        value = json.loads((folder / MANIFEST).read_bytes())
        listed = {file["path"] for file in value["files"]}
        return isinstance(value["format_version"], int) and "digest" in value and inside <= {MANIFEST, *listed}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def stamp_of(folder: Path) -> tuple[int, int] | None:
    """What tells one folder in a place from the next: inode and time of its manifest; None where there is none."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _parsed(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise IncompleteFolderError(f"{folder}: {MANIFEST} is missing, this is no knowledge base or a half-written one; {_AGAIN}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise IncompleteFolderError(f"{path} cannot be read ({error}); {_AGAIN}") from None
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise FormatError(f"knowledge base format {version}, this version reads {FORMAT_VERSION}", path, hint=_AGAIN)
    manifest = from_json(Manifest, value, str(path))
    if min(manifest.concepts, manifest.names) < 1:
        raise IncompleteFolderError(f"{path} counts {manifest.concepts} concepts and {manifest.names} names; {_AGAIN}")
    if not manifest.files:
        raise IncompleteFolderError(f"{path} names no files; {_AGAIN}")
    return manifest
