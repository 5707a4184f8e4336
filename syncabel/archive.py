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
from copy import copy
from pathlib import Path, PurePosixPath
from typing import IO

from syncabel.errors import ConfigError, FormatError

__all__ = ["is_archive", "opened", "shown_as"]

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

    A FormatError raised inside the `with` about a file of the temporary folder names it by its place in `source` instead.

    Args:
        source: a folder, or a zip or tar file; `is_archive` tells them from other files.
        wanted: which members to unpack, by their path inside (`/` between parts, none of them `.`); a folder is not filtered.

    Yields:
        The folder; a temporary one is gone afterwards.

    Raises:
        FormatError: a damaged or truncated archive, a member whose path leads out of it, two members of one path (where file names do
            not heed case: in any case), one of another size than it states, a link, a locked one, or a file that is neither zip nor tar.
        ConfigError: what a zip's members, or a tar's next one, unpack to is more than there is room for.
        OSError: there is no such file.
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
        with shown_as(Path(temporary), source):
            yield Path(temporary)


@contextmanager
def shown_as(folder: Path, place: Path) -> Iterator[None]:
    """Let a FormatError about a file below a temporary folder name it as below `place`: nobody will find the folder afterwards."""
    try:
        yield
    except FormatError as error:
        if error.path is None or not (path := Path(error.path)).is_relative_to(folder):
            raise
        raise FormatError(error.problem, (place / path.relative_to(folder)).as_posix(), error.line, error.hint) from error


def is_archive(source: Path) -> bool:
    """Whether a path is named like an archive that `opened` unpacks."""
    return source.name.lower().endswith((".zip", *_TARS))


def _unpack(source: Path, wanted: Wanted, folder: Path) -> None:
    if source.name.lower().endswith(_TARS):
        _unpack_tar(source, wanted, folder)
        return
    with source.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = [(_inside(info.filename, source), info) for info in archive.infolist()]
        chosen = [(name, info) for name, info in members if not info.is_dir() and wanted(name)]
        _check_room(sum(info.file_size for _, info in chosen), folder, source)
        for name, info in chosen:
            # zipfile stops at the size stated, whatever follows: asked for a byte more, it shows whether anything does.
            longer = copy(info)
            longer.file_size += 1
            with archive.open(longer) as content:
                _write(content, folder / name, info.file_size, source)


def _unpack_tar(source: Path, wanted: Wanted, folder: Path) -> None:
    with tarfile.open(source) as tar:
        for member in tar:
            name = _inside(member.name, source)
            if not (member.isfile() or member.isdir()):
                raise FormatError(f"{member.name!r} in the archive is a link or a device", source, hint="unpack it by hand and give the folder")
            if member.isfile() and wanted(name):
                # A tar tells its total at its end only.
                _check_room(member.size, folder, source)
                _write(tar.extractfile(member), folder / name, member.size, source)


def _inside(name: str, source: Path) -> str:
    """A member's path, checked and without empty parts: all of an archive is refused where one path leads out of it."""
    if not name:
        raise FormatError("a member of the archive has no name", source, hint=_AGAIN)
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise FormatError(f"{name!r} in the archive leads out of it", source, hint="this is no honest release; fetch it from its owner")
    return path.as_posix()


def _check_room(size: int, folder: Path, source: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        needed = f"{size / 2**30:.1f} GiB to unpack, {folder.parent} has {free / 2**30:.1f}"
        raise ConfigError(f"{source}: it needs {needed}; set TMPDIR to a folder with more room, or unpack it there and give the folder")


def _write(content: IO[bytes] | None, path: Path, size: int, source: Path) -> None:
    assert content is not None  # only regular members come here
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("xb")
    except FileExistsError:
        raise FormatError(f"two members of the archive have the path {path.name!r}", source, hint="unpack it by hand and give the folder") from None
    with file:
        written = 0
        while (block := content.read(1 << 20)) and written <= size:
            written += file.write(block)
    if written != size:
        raise FormatError(f"{path.name!r} in the archive has not the {size} bytes it states", source, hint=_AGAIN)


def _damaged(error: Exception, source: Path) -> FormatError:
    problem = (str(error) or type(error).__name__).splitlines()[0]
    return FormatError(f"the archive cannot be read ({problem})", source, hint=_AGAIN)
