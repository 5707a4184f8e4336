"""The array trie against a set of prefixes."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constrained import TokenTrie, TrieError

END = 0
N_GROUPS = 70  # more than one palette word

Name = tuple[int, ...]
BuildTrie = Callable[..., TokenTrie]


class PrefixSet:
    """The oracle: all prefixes of the allowed names."""

    def __init__(self, names: list[Name], groups: list[set[int]], allowed: list[int] | None) -> None:
        kept = [name for name, each in zip(names, groups, strict=True) if allowed is None or each & set(allowed)]
        self.entries = {(*name, END) for name in kept}
        self.prefixes = {entry[:i] for entry in self.entries for i in range(len(entry) + 1)}

    def next_tokens(self, prefix: Name) -> list[int]:
        return sorted({longer[-1] for longer in self.prefixes if longer[:-1] == prefix and len(longer) == len(prefix) + 1})


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[list[Name], list[set[int]]]:
    names = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple), min_size=1, max_size=30, unique=True))
    group = st.sampled_from([0, 1, 2, 63, 64, 69])
    groups = draw(st.lists(st.sets(group, max_size=3), min_size=len(names), max_size=len(names)))
    return names, groups


subsets = st.one_of(st.none(), st.lists(st.sampled_from([0, 1, 2, 63, 64, 69]), unique=True, max_size=4))
by_hypothesis = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def node_at(trie: TokenTrie, prefix: Name) -> int:
    node = 0
    for token in prefix:
        tokens, nodes = trie.children(node)
        node = int(nodes[tokens.tolist().index(token)])
    return node


@by_hypothesis
@given(catalogues(), subsets)
def test_allowed_children_are_those_of_a_set_of_prefixes(
    build_trie: BuildTrie, catalogue: tuple[list[Name], list[set[int]]], allowed: list[int] | None
) -> None:
    names, groups = catalogue
    trie, oracle = build_trie(names, groups, N_GROUPS), PrefixSet(names, groups, allowed)
    prefixes = sorted(oracle.prefixes)
    nodes = np.array([node_at(trie, prefix) for prefix in prefixes], dtype=np.int64)
    found = trie.children_of(nodes, trie.allowed(allowed))
    for row, prefix in enumerate(prefixes):
        assert found.token[found.row == row].tolist() == oracle.next_tokens(prefix)
        assert found.child[found.row == row].tolist() == [node_at(trie, (*prefix, token)) for token in oracle.next_tokens(prefix)]


@by_hypothesis
@given(catalogues(), subsets)
def test_every_completion_of_a_valid_prefix_is_an_entry(build_trie: BuildTrie, catalogue: tuple[list[Name], list[set[int]]], allowed: list[int] | None) -> None:
    names, groups = catalogue
    trie = build_trie(names, groups, N_GROUPS)
    flags = trie.allowed(allowed)
    reached, nodes = [], np.array([0])
    if not flags[trie.node_class[0]]:
        assert not PrefixSet(names, groups, allowed).entries
        return
    while len(nodes):
        below = trie.children_of(nodes, flags)
        entries = trie.entry_of(below.child)
        assert (np.isin(np.arange(len(nodes)), below.row)).all()  # no dead end
        assert ((entries >= 0) == (below.token == END)).all()
        reached += entries[entries >= 0].tolist()
        nodes = below.child[entries < 0]
    assert {(*names[entry], END) for entry in reached} == PrefixSet(names, groups, allowed).entries
    assert len(reached) == len(set(reached))


@by_hypothesis
@given(catalogues(), subsets, st.lists(st.integers(0, 5), max_size=6).map(tuple))
def test_walk_is_exact_lookup(build_trie: BuildTrie, catalogue: tuple[list[Name], list[set[int]]], allowed: list[int] | None, other: Name) -> None:
    names, groups = catalogue
    trie, entries = build_trie(names, groups, N_GROUPS), PrefixSet(names, groups, allowed).entries
    flags = trie.allowed(allowed)
    for number, name in enumerate(names):
        path = (*name, END)
        assert trie.walk(path) == number
        assert trie.path(number).tolist() == list(path)
        assert trie.walk(path, flags) == (number if path in entries else -1)
        assert trie.walk(name) == -1  # without its end token it is only a prefix
        assert trie.walk((*path, 1)) == -1
    everything = [(*name, END) for name in names]
    assert trie.walk(other) == (everything.index(other) if other in everything else -1)


@by_hypothesis
@given(catalogues())
def test_numbering_is_breadth_first_and_siblings_ascend(build_trie: BuildTrie, catalogue: tuple[list[Name], list[set[int]]]) -> None:
    trie = build_trie(*catalogue, N_GROUPS)
    degree = np.diff(trie.child_start)
    parent = np.repeat(np.arange(trie.n_nodes), degree)
    depth = np.zeros(trie.n_nodes, dtype=int)
    for edge, above in enumerate(parent):  # a child is edge + 1, so parents come first
        assert above < edge + 1
        depth[edge + 1] = depth[above] + 1
    assert (np.diff(depth) >= 0).all()
    assert ((np.diff(trie.token) > 0) | (np.diff(parent) > 0)).all()
    assert (trie.leaf_node == np.flatnonzero(degree == 0)).all()
    assert sorted(trie.leaf_entry.tolist()) == list(range(trie.n_entries))
    assert trie.n_nodes == len(trie.token) + 1 == len({e[:i] for e in PrefixSet(*catalogue, None).entries for i in range(len(e) + 1)})


@by_hypothesis
@given(catalogues(), st.randoms(use_true_random=False))
def test_entries_may_come_in_any_order(build_trie: BuildTrie, catalogue: tuple[list[Name], list[set[int]]], random: "np.random.Generator") -> None:
    names, groups = catalogue
    order = list(range(len(names)))
    random.shuffle(order)
    one, other = build_trie(names, groups, N_GROUPS), build_trie([names[i] for i in order], [groups[i] for i in order], N_GROUPS)
    for array in ("child_start", "token", "node_class", "palette", "leaf_node"):
        np.testing.assert_array_equal(getattr(one, array), getattr(other, array))
    assert [order[entry] for entry in other.leaf_entry] == one.leaf_entry.tolist()


def test_a_table_of_flags_gives_each_row_its_own_groups(build_trie: BuildTrie) -> None:
    trie = build_trie([(1,), (2,), (3, 1)], [{0}, {1}, {0, 1}], 2)
    table = np.stack([trie.allowed([0]), trie.allowed([1]), trie.allowed(None)])
    found = trie.children_of(np.zeros(4, np.int64), table, np.array([1, 0, 2, 1]))
    assert [found.token[found.row == row].tolist() for row in range(4)] == [[2, 3], [1, 3], [1, 2, 3], [2, 3]]


def test_no_groups_asked_for_allows_nothing_and_none_allows_entries_without_a_group(build_trie: BuildTrie) -> None:
    trie = build_trie([(1,), (2,)], [set(), {0}], 1)
    assert not trie.allowed([]).any()
    assert trie.walk([1, END], trie.allowed(None)) == 0
    assert trie.walk([1, END], trie.allowed([0])) == -1


def test_many_distinct_group_sets_take_two_bytes_a_node(build_trie: BuildTrie) -> None:
    names = [(1 + i // 20, 1 + i % 20) for i in range(300)]
    groups = [{bit for bit in range(9) if i >> bit & 1} for i in range(300)]
    trie = build_trie(names, groups, 9)
    assert trie.node_class.dtype == np.uint16
    assert all(trie.walk((*name, END), trie.allowed([3])) == (i if i >> 3 & 1 else -1) for i, name in enumerate(names))


def test_a_name_of_a_thousand_tokens_is_walked(build_trie: BuildTrie) -> None:
    name = tuple(1 + i % 7 for i in range(1023))
    trie = build_trie([name, name[:-1], (200_000,)])
    assert trie.walk((*name, END)) == 0
    assert trie.walk((*name[:-1], END)) == 1
    assert trie.vocabulary == 200_001


def test_lookups_of_leaves_tell_them_from_inner_nodes(build_trie: BuildTrie) -> None:
    trie = build_trie([(1,), (1, 2)])
    assert trie.entry_of(np.arange(trie.n_nodes)).tolist() == [-1, -1, 0, -1, 1]


def test_looking_up_a_node_copies_no_array() -> None:
    tokens = np.stack([np.arange(1, 50_001), np.full(50_000, END)], axis=1).ravel().astype(np.int32)
    trie = TokenTrie.build(tokens, np.arange(50_001) * 2, np.ones((50_000, 1), np.uint64), END, 1)
    node = np.array([70_000])
    lookups = (
        lambda: trie.entry_of(node),
        lambda: trie.path(7),
        lambda: trie.parents_of(node),
        lambda: trie.walk([7, END]),
        lambda: trie.leaves_of(np.array([7])),
    )
    for lookup in lookups:
        lookup()  # what is kept between calls is made
        tracemalloc.start()
        lookup()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < trie.leaf_node.nbytes // 4


def test_tokens_that_no_edge_has_lead_nowhere(build_trie: BuildTrie) -> None:
    trie = build_trie([(1,), (2,)])
    assert [trie.walk([token, END]) for token in (-1, 3, 2**31, 2**40, -(2**32) + 1)] == [-1] * 5


ONE_GROUP = np.array([[1], [1]], dtype=np.uint64)


@pytest.mark.parametrize(
    ("tokens", "offsets", "message"),
    [
        ([], [0], "no entries"),
        ([1, 0, 1, 0], [0, 2, 4], "entries 0 and 1 are the same"),
        ([1, 0, 0], [0, 2, 3], "entry 1 is empty but for its end token"),
        ([1, 0], [0, 2, 2], "entry 1 is empty"),
        ([1, 0, 2, 0, 3, 0], [0, 2, 6], "entry 1 has the end token 0 before its end"),
        ([1, 0, 2, 3], [0, 2, 4], "entry 1 does not end with the end token 0"),
        ([1, 0, 2, 0], [0, 3, 2], "offsets must ascend"),
        ([1, 0, 2, 0], [1, 2, 4], "offsets must ascend"),
        ([1, 0, 2, 0], [0, 2, 3], "offsets must ascend"),
        ([1, 0, -2, 0], [0, 2, 4], "entry 1 has a negative token id"),
    ],
)
def test_entries_that_contradict_themselves_are_refused_in_one_line(tokens: list[int], offsets: list[int], message: str) -> None:
    sets = ONE_GROUP[: len(offsets) - 1]
    with pytest.raises(TrieError, match=message) as raised:
        TokenTrie.build(np.array(tokens, dtype=np.int32), np.array(offsets), sets, END, 1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("sets", [ONE_GROUP[:1], ONE_GROUP.astype(np.int64), np.ones((2, 2), np.uint64), np.array([[1], [2]], np.uint64)])
def test_group_sets_of_another_shape_type_or_range_are_refused(sets: np.ndarray) -> None:
    with pytest.raises(TrieError, match=r"group_sets must be|entry 1 has a group beyond"):
        TokenTrie.build(np.array([1, 0, 2, 0], dtype=np.int32), np.array([0, 2, 4]), sets, END, 1)


def test_duplicates_deep_in_the_trie_are_named_by_both_numbers(build_trie: BuildTrie) -> None:
    with pytest.raises(TrieError, match="entries 1 and 3 are the same"):
        build_trie([(1, 2), (1, 2, 3), (2,), (1, 2, 3)])


def test_an_unknown_group_is_an_error(build_trie: BuildTrie) -> None:
    with pytest.raises(TrieError, match="group 2 is not in the trie"):
        build_trie([(1,)], [{0}], 2).allowed([2])


def test_many_entries_give_the_numbers_that_sorted_prefixes_give() -> None:
    rng = np.random.default_rng(3)
    entries = list({(*(int(t) for t in 1 + rng.zipf(1.5, rng.integers(1, 6)) % 40), END) for _ in range(6000)})
    rng.shuffle(entries)
    bits = rng.integers(0, 8, len(entries)).astype(np.uint64)
    offsets = np.cumsum([0, *map(len, entries)])
    trie = TokenTrie.build(np.array([t for e in entries for t in e], np.int32), offsets, bits[:, None], END, 3)
    prefixes = sorted({e[:i] for e in entries for i in range(len(e) + 1)}, key=lambda prefix: (len(prefix), prefix))
    number = {prefix: i for i, prefix in enumerate(prefixes)}
    union = np.zeros(len(prefixes), np.uint64)
    degree = np.zeros(len(prefixes), np.int64)
    for prefix in prefixes[1:]:
        degree[number[prefix[:-1]]] += 1
    for entry, own in zip(entries, bits, strict=True):
        for i in range(len(entry) + 1):
            union[number[entry[:i]]] |= own
    assert trie.token.tolist() == [prefix[-1] for prefix in prefixes[1:]]
    assert trie.child_start.tolist() == [0, *np.cumsum(degree)]
    assert (trie.palette[trie.node_class, 0] == union).all()
    assert [entries[entry] for entry in trie.leaf_entry] == [prefixes[node] for node in trie.leaf_node]
    assert {array.dtype for array in (trie.token, trie.child_start, trie.leaf_node, trie.leaf_entry)} == {np.dtype(np.int32)}
