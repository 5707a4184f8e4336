"""A trie gives its entries back, and an updated one equals one built anew."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constrained import TokenTrie, TrieError
from constrained.trie import Entries, group_bits

END = 0
N_GROUPS = 70  # more than one palette word
ARRAYS = ("child_start", "token", "node_class", "palette", "leaf_node", "leaf_entry")

Name = tuple[int, ...]
Row = tuple[Name, frozenset[int]]

by_hypothesis = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    token = st.one_of(st.integers(1, 3), st.integers(1, draw(st.sampled_from([5, 50_000]))))
    names = draw(st.lists(st.lists(token, min_size=1, max_size=6).map(tuple), min_size=1, max_size=25, unique=True))
    groups = st.sets(st.sampled_from([0, 1, 2, 63, 64, 69]), max_size=3).map(frozenset)
    return [(name, draw(groups)) for name in names]


def entries_of(wanted: list[Row]) -> Entries:
    tokens = np.array([token for name, _ in wanted for token in (*name, END)], dtype=np.int32)
    offsets = np.cumsum([0, *(len(name) + 1 for name, _ in wanted)])
    sets = [group_bits(sorted(groups), N_GROUPS) for _, groups in wanted]
    return Entries(tokens, offsets, np.stack(sets) if sets else np.zeros((0, 2), np.uint64))


def built(wanted: list[Row]) -> TokenTrie:
    return TokenTrie.build(*entries_of(wanted), END, N_GROUPS)


def assert_equal(one: TokenTrie, other: TokenTrie) -> None:
    for name in ARRAYS:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert (one.end_token, one.n_groups, one.vocabulary) == (other.end_token, other.n_groups, other.vocabulary)


@by_hypothesis
@given(rows())
def test_a_trie_gives_back_the_entries_it_was_built_from(wanted: list[Row]) -> None:
    found, given_ = built(wanted).entries(), entries_of(wanted)
    for mine, theirs in zip(found, given_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert_equal(TokenTrie.build(*found, END, N_GROUPS), built(wanted))


@by_hypothesis
@given(rows(), st.data())
def test_an_updated_trie_equals_one_built_anew(everything: list[Row], data: Any) -> None:
    cut = data.draw(st.integers(0, len(everything) - 1))
    old, new = everything[cut:], everything[:cut]
    removed = data.draw(st.lists(st.integers(0, len(old) - 1), unique=True, max_size=len(old) if new else len(old) - 1))
    kept = [entry for entry in range(len(old)) if entry not in removed]
    # A retired sequence may come back in the same update.
    new += [(old[entry][0], frozenset({69})) for entry in removed[::3]]
    at = data.draw(st.lists(st.integers(0, len(kept)), min_size=len(new), max_size=len(new)))
    trie, number = built(old).updated(entries_of(new), removed, at)
    expected = []
    for place in range(len(kept) + 1):
        expected += [row for row, its in zip(new, at, strict=True) if its == place]
        expected += [old[entry] for entry in kept[place : place + 1]]
    assert_equal(trie, built(expected))
    assert number.tolist() == [-1 if entry in removed else expected.index(old[entry]) for entry in range(len(old))]


def test_places_mean_what_they_mean_to_numpy() -> None:
    old = [((token,), frozenset({0})) for token in (1, 2, 3, 4, 5, 6)]
    new = [((token,), frozenset({1})) for token in (10, 11, 12, 13, 14)]
    at, removed = [3, 0, 4, 0, 3], [1, 4]
    trie, number = built(old).updated(entries_of(new), removed, at)
    expected = np.insert(np.delete([1, 2, 3, 4, 5, 6], removed), at, [10, 11, 12, 13, 14])
    assert [int(trie.path(entry)[0]) for entry in range(trie.n_entries)] == expected.tolist() == [11, 13, 1, 3, 4, 10, 14, 6, 12]
    assert number.tolist() == [2, -1, 3, 4, -1, 7]


def test_without_places_new_entries_stand_behind_all() -> None:
    old, new = [((1,), frozenset({0})), ((2, 3), frozenset({0}))], [((7,), frozenset({1})), ((5,), frozenset({2}))]
    trie, number = built(old).updated(entries_of(new), [0])
    assert_equal(trie, built([old[1], *new]))
    assert number.tolist() == [-1, 0]


def test_an_update_of_nothing_is_the_same_trie(trie: TokenTrie) -> None:
    same, number = trie.updated()
    assert_equal(same, trie)
    assert number.tolist() == list(range(trie.n_entries))


def test_every_entry_may_be_retired_where_another_comes() -> None:
    trie, number = built([((1, 2), frozenset({0}))]).updated(entries_of([((1, 2), frozenset({5}))]), [0])
    assert_equal(trie, built([((1, 2), frozenset({5}))]))
    assert number.tolist() == [-1]


def test_a_name_of_a_thousand_tokens_is_given_back() -> None:
    wanted = [(tuple(1 + i % 7 for i in range(1023)), frozenset({0})), ((200_000,), frozenset({1})), ((1, 2), frozenset({2}))]
    np.testing.assert_array_equal(built(wanted).entries().tokens, entries_of(wanted).tokens)


def test_a_mapped_trie_is_updated_and_left_as_it_was(trie: TokenTrie, tmp_path: Any) -> None:
    trie.save(tmp_path)
    mapped = TokenTrie.load(tmp_path)
    smaller, _ = mapped.updated(removed=np.arange(0, 2000, 2))
    assert smaller.n_entries == 1000
    assert_equal(TokenTrie.load(tmp_path, verify=True), trie)


OLD: list[Row] = [((1,), frozenset({0})), ((1, 2), frozenset({1})), ((3,), frozenset({0}))]


@pytest.mark.parametrize(
    ("new", "removed", "at", "message"),
    [
        ([], [0, 1, 2], None, "retires all 3 entries and adds none"),
        ([], [3], None, "entry 3 cannot be retired: the trie has entries 0 to 2"),
        ([], [-1], None, "entry -1 cannot be retired"),
        ([], [1, 1], None, "entry 1 is retired twice"),
        ([], [True, False, False], None, "`removed` must be a list of integers, got bool"),
        ([], [0.0], None, "`removed` must be a list of integers, got float64"),
        ([(5,), (3,)], [0], None, "added entry 1 is in the trie already, as entry 2"),
        ([(5,), (1, 2)], [], [0, 0], "added entry 1 is in the trie already, as entry 1"),
        ([(5,), (6,), (5,)], [], [3, 0, 0], "added entries 0 and 2 are the same token sequence"),
        ([(5,)], [], [4], "added entry 0 cannot stand at 4: 3 entries are kept, places are 0 to 3"),
        ([(5,)], [0], [3], "added entry 0 cannot stand at 3: 2 entries are kept"),
        ([(5,)], [], [-1], "added entry 0 cannot stand at -1"),
        ([(5,), (6,)], [], [1], "`at` has 1 places for 2 added entries"),
        ([(5,)], [], [0.5], "`at` must be a list of integers"),
        ([(5,), ()], [], None, "added entry 1 is empty but for its end token"),
        ([(5,), (6, END, 7)], [], None, "added entry 1 has the end token 0 before its end"),
    ],
)
def test_an_update_that_cannot_be_is_refused_in_one_line(new: list[Name], removed: list[Any], at: Any, message: str) -> None:
    with pytest.raises(TrieError, match=message) as raised:
        built(OLD).updated(entries_of([(name, frozenset()) for name in new]), removed, at)
    assert "\n" not in str(raised.value)


def test_added_groups_beyond_the_last_are_refused() -> None:
    added = entries_of([((5,), frozenset())])._replace(group_sets=np.array([[0, 1 << 6]], np.uint64))
    with pytest.raises(TrieError, match="added entry 0 has a group beyond the last, 69"):
        built(OLD).updated(added)
