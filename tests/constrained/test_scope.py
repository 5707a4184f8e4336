"""Scopes against the sets they stand for: which children are allowed, for batches of mixed scopes."""

from typing import Any

import numpy as np
import pytest
from engine_oracles import END, random_question, trie_of
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained import TokenTrie, TrieError
from constrained.scope import ScopeTable, trie_scope
from constrained.search import EVERYTHING

Name = tuple[int, ...]
N_GROUPS = 4
name = st.lists(st.integers(1, 6), min_size=1, max_size=5).map(tuple)
tries = st.lists(st.tuples(name, st.sets(st.integers(0, N_GROUPS - 1), min_size=1)), min_size=1, max_size=25, unique_by=lambda each: each[0])


def walked(trie: TokenTrie, table: ScopeTable, query: int) -> set[tuple[int, ...]]:
    """All answers that a walk along allowed edges comes to; fails at a dead end."""
    found, level = set(), [(0, ())]
    while level:
        row, token, child = table.children_of(np.array([node for node, _ in level]), np.full(len(level), query))
        assert set(row.tolist()) == set(range(len(level)))
        below = [(int(c), (*level[int(r)][1], int(t))) for r, t, c in zip(row, token, child, strict=True)]
        found |= {path[:-1] for _, path in below if path[-1] == END}
        level = [(node, path) for node, path in below if path[-1] != END]
    return found


@given(tries, st.data())
@settings(max_examples=100, deadline=None)
def test_a_walk_comes_to_exactly_the_names_that_are_allowed(named: list[tuple[Name, set[int]]], data: Any) -> None:
    names, groups = [each for each, _ in named], [each for _, each in named]
    trie = trie_of(names, groups, N_GROUPS)
    numbers = st.integers(0, len(names) - 1)
    chosen = data.draw(st.lists(st.tuples(st.none() | st.sets(st.integers(0, N_GROUPS - 1)), st.none() | st.lists(numbers)), min_size=1, max_size=5))
    scopes, wanted = [], []
    for group, candidates in chosen:
        allowed = {n for i, n in enumerate(names) if (group is None or groups[i] & group) and (candidates is None or i in candidates)}
        if not allowed:
            with pytest.raises(TrieError):
                trie_scope(trie, None if group is None else sorted(group), candidates)
            continue
        scopes.append(trie_scope(trie, None if group is None else sorted(group), candidates))
        wanted.append(allowed)
    if scopes:
        table = ScopeTable(trie, scopes)
        assert len(table) == len(scopes)
        assert [walked(trie, table, query) for query in range(len(scopes))] == wanted


def test_rows_of_many_scopes_at_once_equal_one_by_one(trie: TokenTrie, name_groups: list[set[int]]) -> None:
    rng = np.random.default_rng(3)
    asked = [random_question(rng, trie, name_groups, 3) for _ in range(12)]
    table = ScopeTable(trie, [EVERYTHING, *(each.scope for each in asked)])
    nodes, which = np.zeros(13, np.int64), np.arange(13)
    for _ in range(4):
        together = table.children_of(nodes, which)
        alone = [table.children_of(nodes[i : i + 1], which[i : i + 1]) for i in range(len(nodes))]
        np.testing.assert_array_equal(together.row, np.repeat(np.arange(len(nodes)), [len(each.row) for each in alone]))
        np.testing.assert_array_equal(together.token, np.concatenate([each.token for each in alone]))
        np.testing.assert_array_equal(together.child, np.concatenate([each.child for each in alone]))
        assert (np.diff(together.token)[np.diff(together.row) == 0] > 0).all()
        going = together.token != END
        order = rng.permutation(int(going.sum()))[:60]
        nodes, which = together.child[going][order], which[together.row[going][order]]


def test_a_scope_that_is_given_to_many_queries_is_held_once(trie: TokenTrie) -> None:
    scope = trie_scope(trie, [0])
    table = ScopeTable(trie, [scope, EVERYTHING, scope])
    assert table.number(np.array([0, 1, 2])).tolist() == [0, 1, 0]


def test_a_scope_of_another_trie_is_refused_and_everything_fits_all() -> None:
    trie = trie_of([(1,), (1, 2), (3,)], [{0}, {1}, {2}], 3)
    same = trie_of([(1,), (1, 2), (3,)], [{0}, {1}, {2}], 3)
    # Without its entry of group 0 the palette's rows are others.
    smaller, _ = trie.updated(removed=[0])
    for other in (same, smaller):
        for scope in (trie_scope(trie, [1]), trie_scope(trie, None, [0]), trie_scope(trie, [1], [1])):
            ScopeTable(trie, [EVERYTHING, scope])
            with pytest.raises(TrieError, match="scope 1 was made for another trie; make it anew") as raised:
                ScopeTable(other, [EVERYTHING, scope])
            assert "\n" not in str(raised.value)
        assert len(ScopeTable(other, [EVERYTHING, trie_scope(trie)])) == 2


@pytest.mark.parametrize("candidates", [[1.7], np.array([0.0, 1.0]), [True], ["1"], [[0, 1]], np.array(1)])
def test_candidates_that_are_no_list_of_integers_are_refused(candidates: Any) -> None:
    with pytest.raises(TrieError, match="candidates must be a list of entry numbers, got"):
        trie_scope(trie_of([(1,), (2,)]), None, candidates)


@pytest.mark.parametrize(
    ("groups", "candidates", "message"),
    [
        ([9], None, "group 9 is not in the trie: it has groups 0 to 2"),
        ([], None, "the allowed groups hold no entry"),
        ([1], None, "the allowed groups hold no entry"),
        (None, [], "the list of candidates is empty"),
        (None, [5], "candidate 5 is not in the trie: it has entries 0 to 2"),
        (None, [0, -1], "candidate -1 is not in the trie"),
        ([2], [0, 1], "no candidate is in the allowed groups"),
    ],
)
def test_what_leaves_nothing_or_does_not_exist_is_refused(groups: list[int] | None, candidates: list[int] | None, message: str) -> None:
    trie = trie_of([(1,), (1, 2), (3,)], [{0}, {0}, {2}], 3)
    with pytest.raises(TrieError, match=message):
        trie_scope(trie, groups, candidates)
