"""Lexicon folders: written over mapped ones, kept off other folders, refused in one line where an array is damaged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constrained.trie import TrieError, load_array, save_array
from syncabel.errors import ConfigError, IncompleteFolderError, SyncabelError
from syncabel.lexicon.store import Lexicon

INTEGERS = ("-1,", "10**5,", "99999999999999999999999,", "2**60,", "9223372036854775807, 4", "100000000000,", "True,", "{},")
SHAPES = [*(f"({numbers})" for numbers in INTEGERS), "(" * 90, "-" * 9000]


def npy(header: str) -> bytes:
    """A file of numpy's format 1.0 with any header."""
    line = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(200)


HEADERS = [
    *(f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}}}" for shape in SHAPES),
    *(f"{{'descr': {descr}, 'fortran_order': False, 'shape': (3,)}}" for descr in ("()", "[()]", "None", "'|O'", "'<f99'", "{'a': 1}")),
    "{1: 2, 'a': 3}",
    "{[]: 1}",
    "{'descr': '<i4'",
    "  x\n y",
    "",
]


@pytest.mark.filterwarnings("ignore")  # numpy warns of a size that overflows before it refuses it
@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("header", HEADERS)
def test_an_array_with_a_damaged_header_is_refused_in_one_line(header: str, mmap: bool, tmp_path: Path) -> None:
    path = tmp_path / "names.npy"
    path.write_bytes(npy(header))
    with pytest.raises(TrieError, match=r"names\.npy is damaged") as raised:
        load_array(path, mmap)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")  # numpy and the parser warn of some headers before they refuse them
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 127), st.sampled_from(b"()[]{}',:<>i4|09ab \"\\\n-LT\x00\xff"), min_size=1, max_size=6))
def test_whatever_stands_in_a_header_an_array_is_read_or_refused(tmp_path: Path, changes: dict[int, int]) -> None:
    path = tmp_path / "names.npy"
    save_array(path, np.arange(50, dtype=np.int32))
    content = bytearray(path.read_bytes())
    for place, value in changes.items():
        content[place] = value
    path.write_bytes(content)
    try:
        load_array(path)
    except TrieError as error:
        assert "\n" not in str(error)  # noqa: PT017  most are refused, some are still an array


@pytest.mark.parametrize("name", ["names", "code_offsets", "entry_flags", "trie/token"])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_lexicon_with_a_damaged_header_of_an_array_is_refused(small_lexicon: Lexicon, name: str, mmap: bool, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path)
    (tmp_path / f"{name}.npy").write_bytes(npy("{'descr': '<i4"))
    with pytest.raises((SyncabelError, TrieError), match=rf"{name}\.npy") as raised:
        Lexicon.load(tmp_path, mmap=mmap)
    assert "\n" not in str(raised.value)


def test_a_missing_array_is_an_incomplete_folder(small_lexicon: Lexicon, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path)
    (tmp_path / "codes.npy").unlink()
    with pytest.raises(IncompleteFolderError, match=r"codes\.npy"):
        Lexicon.load(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_lexicon_saved_to_the_folder_it_is_mapped_from_is_the_same(small_lexicon: Lexicon, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path)
    before = files(tmp_path)
    mapped = Lexicon.load(tmp_path)
    mapped.save(tmp_path)
    assert files(tmp_path) == before
    mapped.verify()
    Lexicon.load(tmp_path).verify()


def test_saving_over_a_mapped_lexicon_leaves_the_mapped_one_as_it_was(small_lexicon: Lexicon, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path)
    mapped = Lexicon.load(tmp_path)
    inodes = {path: path.stat().st_ino for path in tmp_path.rglob("*.npy")}
    small_lexicon.save(tmp_path)
    # A reader's mapping belongs to the old file: written into, it would change below the reader, or end in SIGBUS where it gets shorter.
    assert all(path.stat().st_ino != inode for path, inode in inodes.items())
    mapped.verify()


def test_a_folder_of_something_else_is_refused_and_left_as_it_was(small_lexicon: Lexicon, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        small_lexicon.save(tmp_path)
    assert files(tmp_path) == {"model.safetensors": b"weights"}


def test_an_empty_folder_and_a_half_written_lexicon_are_written_to(small_lexicon: Lexicon, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path)
    (tmp_path / "lexicon.json").unlink()
    (tmp_path / "names.npy").rename(tmp_path / "names.npy.partial")
    small_lexicon.save(tmp_path)
    Lexicon.load(tmp_path).verify()
    assert not list(tmp_path.rglob("*.partial"))
