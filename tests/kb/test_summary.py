"""A knowledge base in figures, worked by hand and by counting."""

import time
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.kb import About, KnowledgeBase
from syncabel.kb.summary import GroupCount, Hierarchy, LanguageCount, summarize
from syncabel.types import Concept, Name


def test_a_small_one_is_counted_as_by_hand() -> None:
    kb = KnowledgeBase.build(
        [
            Concept("A:1", (Name("cold", preferred=True), Name("froid", "fr")), ("Disease",), definition="d", alt_codes=("A:9", "A:8")),
            Concept("A:2", (Name("cold", preferred=True),), ("Disease", "Finding"), parents=("A:1",)),
            Concept("A:3", (Name("froid", "fr"), Name("chill")), ("Finding",), parents=("A:2", "A:1")),
            Concept("A:4", (Name("alone"),), ("Finding",)),
        ],
        About("test", licence="CC0-1.0", filters=("a=b",)),
    )
    found = summarize(kb)
    assert found.by_group == (GroupCount("Disease", 2, 3, 1), GroupCount("Finding", 3, 4, 0))
    assert found.by_language == (LanguageCount("en", 4, 4), LanguageCount("fr", 2, 2))
    assert found.hierarchy == Hierarchy(links=3, depth=2, roots=1, alone=1)
    assert (found.ambiguous_names, found.without_definition, found.alternative_codes, found.filters, found.bytes) == (2, 3, 2, ("a=b",), 0)


def test_the_shipped_one_agrees_with_counting_its_concepts() -> None:
    kb = KnowledgeBase.load("doid")
    codes: dict[str, set[str]] = defaultdict(set)
    for concept in kb.concepts():
        for name in concept.names:
            codes[name.text].add(concept.code)
    found = summarize(kb)
    assert found.by_group == (GroupCount("Disease", 11_454, 30_039, sum(len(of_name) > 1 for of_name in codes.values())),)
    assert found.hierarchy.links == sum(len(kb.parents(code)) for code in kb.codes)
    assert found.hierarchy.roots == sum(not kb.parents(code) and bool(kb.children(code)) for code in kb.codes)
    assert found.bytes > 100_000


def chain(length: int) -> KnowledgeBase:
    names = (Name("n"),)
    return KnowledgeBase.build((Concept(f"{i:06}", names, ("G",), parents=(f"{i - 1:06}",) if i else ()) for i in range(length)), About("test"))


def test_a_long_chain_takes_time_by_its_links() -> None:
    kb = chain(60_000)
    began = time.process_time()
    assert summarize(kb).hierarchy == Hierarchy(links=59_999, depth=59_999, roots=1, alone=0)
    assert time.process_time() - began < 4


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_depth_is_the_longest_way_up(data: st.DataObject) -> None:
    above: list[list[int]] = [data.draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else [] for i in range(9)]
    concepts = [Concept(f"X:{i}", (Name("n"),), ("G",), parents=tuple(f"X:{j}" for j in parents)) for i, parents in enumerate(above)]
    depths: list[int] = []
    for parents in above:
        depths.append(max((depths[j] + 1 for j in parents), default=0))
    assert summarize(KnowledgeBase.build(concepts, About("test"))).hierarchy.depth == max(depths)
