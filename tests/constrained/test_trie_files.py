"""Saved tries come back equal; damaged folders are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from constrained import TokenTrie, TrieError

ARRAYS = ("child_start", "token", "node_class", "palette", "leaf_node", "leaf_entry")


@pytest.fixture
def saved(trie: TokenTrie, tmp_path: Path) -> Path:
    trie.save(tmp_path / "trie")
    return tmp_path / "trie"


@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_trie_equals_the_saved_one(trie: TokenTrie, names: list[tuple[int, ...]], saved: Path, mmap: bool) -> None:
    loaded = TokenTrie.load(saved, mmap=mmap, verify=True)
    for array in ARRAYS:
        np.testing.assert_array_equal(getattr(loaded, array), getattr(trie, array))
        assert getattr(loaded, array).dtype == getattr(trie, array).dtype
    assert (loaded.end_token, loaded.n_groups, loaded.vocabulary) == (trie.end_token, trie.n_groups, trie.vocabulary)
    assert all(loaded.walk((*name, 0)) == entry for entry, name in enumerate(names[:50]))


def test_a_mapped_trie_answers_without_reading_the_files_into_memory(trie: TokenTrie, saved: Path) -> None:
    loaded = TokenTrie.load(saved)
    assert isinstance(loaded.token.base, np.memmap)
    nodes = np.arange(200)
    for mine, theirs in zip(loaded.children_of(nodes, loaded.allowed([1])), trie.children_of(nodes, trie.allowed([1])), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_saving_over_a_mapped_trie_leaves_the_mapped_one_as_it_was(trie: TokenTrie, build_trie: Callable[..., TokenTrie], saved: Path) -> None:
    mapped = TokenTrie.load(saved)
    build_trie([(1, 2), (3,)]).save(saved)
    np.testing.assert_array_equal(mapped.token, trie.token)
    assert TokenTrie.load(saved, verify=True).n_entries == 2
    assert not list(saved.glob("*.partial"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def with_header(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "header missing": lambda folder: (folder / "trie.json").unlink(),
    "header cut": lambda folder: cut(folder / "trie.json"),
    "header of something else": lambda folder: (folder / "trie.json").write_text('{"format": "other"}'),
    "header a list": lambda folder: (folder / "trie.json").write_text("[]"),
    "another version": lambda folder: with_header(folder / "trie.json", version=99),
    "no end token": lambda folder: with_header(folder / "trie.json", end_token=None),
    "arrays not described": lambda folder: with_header(folder / "trie.json", arrays={}),
    "array missing": lambda folder: (folder / "token.npy").unlink(),
    "array cut": lambda folder: cut(folder / "token.npy"),
    "array empty": lambda folder: (folder / "token.npy").write_bytes(b""),
    "array of objects": lambda folder: np.save(folder / "token.npy", np.array([{}], dtype=object), allow_pickle=True),
    "array of another trie": lambda folder: np.save(folder / "token.npy", np.zeros(3, np.int32)),
}


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line_that_names_the_file(saved: Path, damage: str, mmap: bool) -> None:
    DAMAGES[damage](saved)
    with pytest.raises(TrieError, match=r"trie\.json|token\.npy") as raised:
        TokenTrie.load(saved, mmap=mmap)
    assert "\n" not in str(raised.value)


def test_arrays_that_do_not_belong_together_are_refused(saved: Path) -> None:
    short = np.load(saved / "leaf_entry.npy")[:-1]
    np.save(saved / "leaf_entry.npy", short)
    header = json.loads((saved / "trie.json").read_text())
    header["arrays"]["leaf_entry"]["shape"] = list(short.shape)
    (saved / "trie.json").write_text(json.dumps(header))
    with pytest.raises(TrieError, match="do not belong together"):
        TokenTrie.load(saved)


def test_an_altered_array_is_found_by_verifying(saved: Path) -> None:
    tokens = np.load(saved / "token.npy")
    tokens[-1] += 1
    np.save(saved / "token.npy", tokens)
    TokenTrie.load(saved)
    with pytest.raises(TrieError, match="was altered"):
        TokenTrie.load(saved, verify=True)


def test_a_folder_whose_saving_was_interrupted_has_no_header(trie: TokenTrie, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved / "palette.npy.partial").mkdir()  # the write of the fourth array fails
    with pytest.raises(OSError, match="palette"):
        trie.save(saved)
    with pytest.raises(TrieError, match="half written"):
        TokenTrie.load(saved)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrieError, match="is missing"):
        TokenTrie.load(tmp_path / "nowhere")
