"""Releases as people have them: a folder, a zip, a tar; one way to see any of them as a folder of files."""

import errno
import lzma
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from syncabel.errors import FormatError

__all__ = ["is_archive", "opened"]

Wanted = Callable[[str], bool]
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# What the standard library raises over damaged bytes, RuntimeError and NotImplementedError for passwords and unknown compression.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, OverflowError, RuntimeError)
# What the system says of damaged offsets and member names; of a full disk it says something else, which passes.
_DAMAGED_CODES = (errno.EINVAL, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
_AGAIN = "fetch it again"


@contextmanager
def opened(source: Path | str, wanted: Wanted = lambda _: True) -> Iterator[Path]:
    """A folder that holds the files of `source`: a folder is itself, a zip or a tar is unpacked into a temporary one.

    Args:
        source: a folder, or a zip or tar file; `is_archive` tells them from other files.
        wanted: which members to unpack, by their path inside (`/` between parts); a folder is not filtered.

    Yields:
        The folder; a temporary one is gone afterwards.

    Raises:
        FormatError: a damaged or truncated archive, a member whose path leads out of it, a link, a locked one, or a file that is
            neither zip nor tar.
        OSError: there is no such file, or no room to unpack it.
    """
    source = Path(source)
    if source.is_dir():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="syncabel-") as temporary:
        try:
            _unpack(source, wanted, Path(temporary))
        except _DAMAGED as error:
            raise _damaged(error, source) from None
        except OSError as error:
            if error.errno not in _DAMAGED_CODES or error.filename == str(source):
                raise
            raise _damaged(error, source) from None
        yield Path(temporary)


def is_archive(source: Path) -> bool:
    """Whether a path is named like an archive that `opened` unpacks."""
    return source.name.lower().endswith((".zip", *_TARS))


def _unpack(source: Path, wanted: Wanted, folder: Path) -> None:
    if source.name.lower().endswith(_TARS):
        with tarfile.open(source) as tar:
            for member in tar:
                if member.isfile() and wanted(_inside(member.name, source)):
                    _write(tar.extractfile(member), folder / member.name)
                elif not (member.isfile() or member.isdir()):
                    raise FormatError(f"{member.name!r} in the archive is a link or a device", source, hint="unpack it by hand and give the folder")
                _inside(member.name, source)
        return
    with source.open("rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            _inside(info.filename, source)
            if not info.is_dir() and wanted(info.filename):
                with archive.open(info) as member_file:
                    _write(member_file, folder / info.filename)


def _inside(name: str, source: Path) -> str:
    """A member's path, checked: all of an archive is refused where one path leads out of it."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in (parts.parts or ("",))[0]:
        raise FormatError(f"{name!r} in the archive leads out of it", source, hint="this is no honest release; fetch it from its owner")
    return name


def _write(content: IO[bytes] | None, path: Path) -> None:
    assert content is not None  # only regular members come here
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)


def _damaged(error: Exception, source: Path) -> FormatError:
    problem = (str(error) or type(error).__name__).splitlines()[0]
    return FormatError(f"the archive cannot be read ({problem})", source, hint=_AGAIN)
