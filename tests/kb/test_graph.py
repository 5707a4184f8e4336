"""What lies around a concept, against breadth-first search over plain dictionaries."""

import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.graph import At, Near, Step, graph, neighbourhood, shortest_path
from syncabel.types import Concept, Name, Relation


def term(code: str, *parents: str) -> Concept:
    return Concept(code, (Name(f"name of {code}", preferred=True),), ("G",), parents=parents)


def made(*entries: Any) -> KnowledgeBase:
    return KnowledgeBase.build(entries, About("test"))


@pytest.fixture(scope="module")
def kb() -> KnowledgeBase:
    return made(
        term("R"),
        term("A", "R"),
        term("B", "R"),
        term("C", "A", "B"),
        term("D", "C", "R"),
        term("S"),
        term("T"),
        Relation("D", "site", "S", 1),
        Relation("D", "site", "S", 2),
        Relation("S", "part_of", "B"),
    )


def test_hierarchy_is_given_with_depths_by_the_shortest_way(kb: KnowledgeBase) -> None:
    found = graph(kb, "D")
    assert (found.name, found.parents, found.children) == ("name of D", ("C", "R"), ())
    assert found.ancestors == (At("C", 1), At("R", 1), At("A", 2), At("B", 2))
    assert graph(kb, "A").descendants == (At("C", 1), At("D", 2))


def test_two_relationships_of_one_pair_in_different_role_groups_are_both_there(kb: KnowledgeBase) -> None:
    assert graph(kb, "D").relations == (Relation("D", "site", "S", 1), Relation("D", "site", "S", 2))
    assert len(graph(kb, "S").relations) == 3


def test_the_neighbourhood_goes_along_every_relationship_both_ways(kb: KnowledgeBase) -> None:
    assert neighbourhood(kb, "S", 1) == (Near("B", 1), Near("D", 1))
    assert neighbourhood(kb, "S", 2) == (Near("B", 1), Near("D", 1), Near("C", 2), Near("R", 2))
    assert neighbourhood(kb, "S", 0) == neighbourhood(kb, "T", 3) == ()


def test_the_path_names_kind_and_direction_of_each_step(kb: KnowledgeBase) -> None:
    assert shortest_path(kb, "A", "S") == (Step("A", "is_a", "R", True), Step("R", "is_a", "B", False), Step("B", "part_of", "S", False)) or shortest_path(
        kb, "A", "S"
    ) == (Step("A", "is_a", "C", False), Step("C", "is_a", "B", True), Step("B", "part_of", "S", False))
    assert shortest_path(kb, "D", "S") == (Step("D", "site", "S", True),)
    assert shortest_path(kb, "D", "D") == ()
    assert shortest_path(kb, "D", "T") is None
    assert graph(kb, "D", to="S").path == (Step("D", "site", "S", True),)
    assert graph(kb, "D").path is None


def test_a_concept_that_only_has_relations_is_no_special_case() -> None:
    kb = made(term("A"), term("B"), Relation("A", "r", "B"))
    found = graph(kb, "A", hops=2, to="B")
    assert (found.parents, found.ancestors, found.neighbourhood) == ((), (), (Near("B", 1),))
    assert found.path == (Step("A", "r", "B", True),)


def test_unknown_codes_and_negative_hops_are_refused(kb: KnowledgeBase) -> None:
    with pytest.raises(UnknownNameError):
        graph(kb, "Z")
    with pytest.raises(UnknownNameError):
        shortest_path(kb, "A", "Z")
    with pytest.raises(ConfigError):
        neighbourhood(kb, "A", -1)


CODES = [f"X:{i}" for i in range(9)]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_paths_are_as_long_as_plain_breadth_first_search_says(data: st.DataObject) -> None:
    entries: list[Any] = [term(code, *(other for other in CODES[:i] if data.draw(st.integers(0, 4)) == 0)) for i, code in enumerate(CODES)]
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(CODES), st.sampled_from(CODES)), max_size=4))
    kb = made(*entries, *(Relation(source, "r", target) for source, target in pairs))
    beside: dict[str, set[str]] = defaultdict(set)
    links = {(concept.code, parent) for concept in kb.concepts() for parent in concept.parents} | {(one.source, one.target) for one in kb.relations()}
    for one, other in links:
        beside[one].add(other)
        beside[other].add(one)
    distance, level = {CODES[0]: 0}, {CODES[0]}
    while level:
        level = {other for one in level for other in beside[one]} - distance.keys()
        distance |= dict.fromkeys(level, max(distance.values()) + 1)
    for end in CODES:
        path = shortest_path(kb, CODES[0], end)
        assert (None if path is None else len(path)) == distance.get(end)
        assert all(one.end == other.start for one, other in pairwise(path or ()))
        assert all(((step.start, step.end) if step.forward else (step.end, step.start)) in links for step in path or ())
    assert {near.code: near.distance for near in neighbourhood(kb, CODES[0], 20)} == {code: far for code, far in distance.items() if far}


def test_a_neighbourhood_ends_where_nothing_is_left_to_reach(kb: KnowledgeBase) -> None:
    began = time.process_time()
    assert neighbourhood(kb, "D", 100_000) == neighbourhood(kb, "D", 10)
    assert time.process_time() - began < 2
