"""Archives: what is unpacked, what is refused before it does harm, and what messages call a file inside."""

import io
import re
import shutil
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from syncabel.archive import opened
from syncabel.errors import ConfigError, FormatError


def zipped(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice is the point
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def packed(folder: Path, kind: str, members: Sequence[tuple[str, bytes]]) -> Path:
    return (zipped if kind == "zip" else tarred)(folder / f"release.{kind}", members)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("second", ["M/x", "M/./x", "./M/x", "M//x", "M\\x"])
def test_two_members_of_one_path_are_refused(tmp_path: Path, kind: str, second: str) -> None:
    source = packed(tmp_path, kind, [("M/x", b"first"), (second, b"second")])
    with pytest.raises(FormatError, match=r"two members of the archive have the path 'x'"), opened(source):
        pass


def test_members_nobody_wants_may_be_there_twice(tmp_path: Path) -> None:
    source = zipped(tmp_path / "r.zip", [("readme", b"a"), ("readme", b"b"), ("M/x", b"x")])
    with opened(source, lambda name: name == "M/x") as folder:
        assert [path.name for path in folder.rglob("*") if path.is_file()] == ["x"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_paths_are_told_without_dots_and_written_there(tmp_path: Path, kind: str) -> None:
    source = packed(tmp_path, kind, [("./M/./x", b"x"), ("M\\y", b"y"), ("./M/z", b"z")])
    with opened(source, lambda name: name in ("M/x", "M/y")) as folder:
        assert sorted(path.name for path in folder.rglob("?") if path.is_file()) == ["x", "y"]
        assert ((folder / "M/x").read_bytes(), (folder / "M/y").read_bytes()) == (b"x", b"y")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_what_there_is_no_room_for_is_refused_before_it_is_unpacked(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path, kind, [("a", b"x" * 600), ("b", b"x" * 600)])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000 if kind == "zip" else 500))
    with pytest.raises(ConfigError, match=rf"{re.escape(source.name)}: it needs 0\.0 GiB to unpack.*TMPDIR"), opened(source):
        pass
    with opened(source, lambda name: False):
        pass  # what is not wanted needs no room


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("stated", [10, 5000])
def test_a_member_of_another_size_than_stated_is_refused(tmp_path: Path, method: int, stated: int) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x", b"\0" * 4000)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = stated.to_bytes(4, "little")
    crc = zlib.crc32(b"\0" * min(stated, 4000))  # right for what a reader that stops at the stated size sees
    content[at + 16 : at + 20] = crc.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"has not the|cannot be read"), opened(path):
        pass


def test_an_error_about_a_file_inside_names_it_by_its_place_in_the_archive(tmp_path: Path) -> None:
    source = zipped(tmp_path / "r.zip", [("M/x", b"x")])
    with pytest.raises(FormatError) as caught, opened(source) as folder:
        raise FormatError("odd", folder / "M" / "x", 3, "mend it")
    assert str(caught.value) == f"{source.as_posix()}/M/x:3: odd; mend it"
    with pytest.raises(FormatError) as other, opened(source):
        raise FormatError("odd", tmp_path / "y")
    assert str(other.value) == f"{tmp_path / 'y'}: odd"


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("x"), b"content")
        archive.filelist[0].filename = ""
    with pytest.raises(FormatError, match="has no name"), opened(tmp_path / "a.zip"):
        pass
