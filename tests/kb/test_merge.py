"""Merging knowledge bases: unions, who wins, cross-references, circles."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.merge import merge
from syncabel.types import Concept, MapRule, Name, Rejection, Relation, Retired


def term(code: str, *names: str, **rest: Any) -> Concept:
    fields = {"groups": ("Disease",), **rest}
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), **fields)


def made(source: str, *entries: Any, **about: Any) -> KnowledgeBase:
    return KnowledgeBase.build(entries, About(source, **about))


def texts(kb: KnowledgeBase, code: str) -> list[str]:
    return [name.text for name in kb[code].names]


def test_of_one_code_comes_one_concept_with_all_there_is() -> None:
    a = made("A", term("X:1", "cold", "coryza", parents=("X:2",), xrefs=("M:1",)), term("X:2", "disease"))
    b = made("B", term("X:1", "common cold", "coryza", groups=("Finding",), definition="d", types=("T1",), xrefs=("M:2", "M:1")), term("X:3", "cough"))
    found = merge([a, b])
    assert found.codes == ("X:1", "X:2", "X:3")
    concept = found["X:1"]
    assert texts(found, "X:1") == ["cold", "coryza", "common cold"]
    assert concept.preferred_name == "cold"
    assert [name.preferred for name in concept.names] == [True, False, False]
    assert (concept.groups, concept.types, concept.definition) == (("Disease", "Finding"), ("T1",), "d")
    assert (concept.parents, concept.xrefs) == (("X:2",), ("M:1", "M:2"))


def test_the_first_that_prefers_a_name_in_a_language_decides() -> None:
    a = made("A", Concept("X:1", (Name("froid", "fr"), Name("cold")), ("G",)))
    b = made("B", Concept("X:1", (Name("rhume", "fr", preferred=True), Name("cold", preferred=True), Name("froid", "fr")), ("G",)))
    preferred = {(name.text, name.language) for name in merge([a, b])["X:1"].names if name.preferred}
    assert preferred == {("rhume", "fr"), ("cold", "en")}


def test_the_facts_are_those_of_all_parts() -> None:
    a = made("A", term("X:1", "cold"), release="1", licence="CC0-1.0", redistributable=True)
    b = made("B", term("X:2", "cough"), release="2", licence="CC-BY-4.0", redistributable=True)
    c = made("C", term("X:3", "fever"), licence="secret")
    about = merge([a, b]).about
    assert (about.source, about.release, about.licence, about.redistributable) == ("A + B", "1 + 2", "CC0-1.0 AND CC-BY-4.0", True)
    all_three = merge([merge([a, b]), c])
    assert (all_three.about.source, all_three.about.redistributable) == ("A + B + C", False)
    assert all_three.manifest.parts == (a.about, b.about, c.about)
    assert all_three.manifest == merge([a, merge([b, c])]).manifest == merge([a, b, c]).manifest


def test_relations_retired_codes_and_maps_are_joined() -> None:
    a = made("A", term("X:1", "one"), term("X:2", "two"), Relation("X:1", "r", "X:2"), Retired("X:8", "obsolete"), MapRule("X:1", "I:1"))
    b = made("B", term("X:1", "one"), term("X:2", "two"), Relation("X:1", "r", "X:2", 1), Retired("X:9", "consider", ("X:1",)), MapRule("X:2", "I:2"))
    found = merge([a, b])
    assert [link.role_group for link in found.relations()] == [0, 1]
    assert found.retired("X:8")
    assert found.retired("X:9")[0].successors == ("X:1",)
    assert (found.maps_of("X:1"), found.maps_of("X:2")) == ((MapRule("X:1", "I:1"),), (MapRule("X:2", "I:2"),))


def test_cross_references_make_one_of_two_where_they_are_one_to_one() -> None:
    a = made(
        "A",
        term("D:1", "cold", xrefs=("MESH:M1",)),
        term("D:2", "fever", xrefs=("MESH:M2", "MESH:M3")),
        term("D:3", "cough", xrefs=("OMIM:1",), alt_codes=("M4",)),
        term("D:5", "asthma", xrefs=("MESH:M5",)),
        term("D:6", "wheeze", xrefs=("MESH:M5",)),
    )
    b = made(
        "B",
        term("M1", "common cold"),
        term("M2", "pyrexia"),
        term("M3", "hyperthermia"),
        term("M4", "tussis", parents=("M1",)),
        term("M5", "bronchial asthma"),
        Relation("M4", "near", "M1"),
        Retired("M9", "consider", ("M1",)),
        MapRule("M1", "I:1"),
    )
    found = merge([a, b], "MESH")
    assert found.codes == ("D:1", "D:2", "D:3", "D:5", "D:6", "M2", "M3", "M5")
    assert texts(found, "D:1") == ["cold", "common cold"]
    assert found.canonical("M1") == "D:1"
    assert found.canonical("M4") == "D:3"
    assert found.parents("D:3") == ("D:1",)
    assert list(found.relations()) == [Relation("D:3", "near", "D:1")]
    assert found.retired("M9")[0].successors == ("D:1",)
    assert found.maps_of("D:1") == (MapRule("D:1", "I:1"),)
    apart = [("M2", "D:2"), ("M3", "D:2"), ("M5", "D:5"), ("M5", "D:6")]
    assert found.rejections == tuple(Rejection("A + B", theirs, "xref_not_one_to_one", ours) for theirs, ours in apart)
    assert found.about.filters == ("through_xrefs=MESH",)
    with pytest.raises(UnknownNameError, match="MESH"):
        merge([a, b], "MESHH")


def test_a_code_both_know_has_its_partner_already() -> None:
    a = made("A", term("X:1", "one", xrefs=("V:X:2",)), term("X:2", "two"))
    b = made("B", term("X:2", "zwei"))
    found = merge([a, b], "V")
    assert texts(found, "X:2") == ["two", "zwei"]
    assert texts(found, "X:1") == ["one"]
    assert found.rejected_by_reason() == {"xref_not_one_to_one": 1}


def test_an_is_a_link_that_closes_a_circle_is_left_out_of_the_later_one() -> None:
    a = made("A", term("X:1", "one", parents=("X:2",)), term("X:2", "two"), term("X:3", "three", parents=("X:1",)))
    b = made("B", term("X:2", "two", parents=("X:1", "X:4")), term("X:1", "one"), term("X:4", "four"))
    found = merge([a, b])
    assert found.parents("X:1") == ("X:2",)
    assert found.parents("X:2") == ("X:4",)
    assert found.rejections == (Rejection("A + B", "X:2", "is_a_circle", "X:1"),)


def test_a_merge_needs_two() -> None:
    with pytest.raises(ConfigError, match="two"):
        merge([made("A", term("X:1", "one"))])


CODES = [f"X:{i}" for i in range(6)]
NAMES = st.lists(st.sampled_from(["a", "b", "c", "d e", "A"]), min_size=1, max_size=4, unique=True)


@st.composite
def contents(draw: st.DrawFn) -> Sequence[Concept]:
    """Concepts whose parents come before them, so that no two of them run in a circle together."""
    codes = draw(st.lists(st.sampled_from(CODES), min_size=1, max_size=5, unique=True))
    return [
        Concept(
            code,
            tuple(Name(text, draw(st.sampled_from(["en", "fr"])), preferred=draw(st.booleans())) for text in draw(NAMES)),
            tuple(draw(st.lists(st.sampled_from(["G", "H"]), min_size=1, max_size=2, unique=True))),
            definition=draw(st.none() | st.just("d")),
            parents=tuple(other for other in codes if other < code and draw(st.booleans())),
        )
        for code in codes
    ]


@given(contents())
@settings(max_examples=15, deadline=None)
def test_merged_with_itself_it_stays_what_it_is(concepts: Sequence[Concept]) -> None:
    kb = made("A", *concepts)
    assert merge([kb, kb]).manifest == kb.manifest


@given(contents(), contents(), contents())
@settings(max_examples=15, deadline=None)
def test_a_merge_is_the_union_and_associative(one: Sequence[Concept], two: Sequence[Concept], three: Sequence[Concept]) -> None:
    a, b, c = (made(source, *concepts) for source, concepts in zip("ABC", (one, two, three), strict=True))

    def names(*kbs: KnowledgeBase) -> set[tuple[str, str, str]]:
        return {(concept.code, name.text, name.language) for kb in kbs for concept in kb.concepts() for name in concept.names}

    assert names(merge([a, b])) == names(a, b)
    left, right = merge([merge([a, b]), c]), merge([a, merge([b, c])])
    assert list(left.concepts()) == list(right.concepts())
    assert left.digest == right.digest


def test_a_merge_through_cross_references_merged_with_itself_keeps_its_parts() -> None:
    a, b = made("A", term("D:1", "cold", xrefs=("MESH:M1",))), made("B", term("M1", "common cold"))
    once = merge([a, b], "MESH")
    assert once.manifest.parts == (a.about, b.about)
    assert merge([once, once]).manifest == once.manifest


def test_of_links_in_a_circle_only_those_that_close_it_go() -> None:
    a = made("A", term("X:1", "one", parents=("X:2",)), term("X:2", "two"), term("X:3", "three"))
    b = made("B", term("X:1", "one", parents=("X:3",)), term("X:2", "two", parents=("X:3",)), term("X:3", "three"))
    c = made("C", term("X:1", "one"), term("X:2", "two", parents=("X:1",)), term("X:3", "three", parents=("X:1",)))
    assert {code: merge([a, b])[code].parents for code in ("X:1", "X:2", "X:3")} == {"X:1": ("X:2", "X:3"), "X:2": ("X:3",), "X:3": ()}
    both = merge([a, merge([b, a])])
    assert both["X:2"].parents == ("X:3",)
    found = merge([a, b, c])
    assert [found[code].parents for code in ("X:1", "X:2", "X:3")] == [("X:2", "X:3"), ("X:3",), ()]
    assert {(one.code, one.text) for one in found.rejections} == {("X:2", "X:1"), ("X:3", "X:1")}
    later = made("D", term("X:2", "two", parents=("X:3",)), term("X:3", "three", parents=("X:1",)), term("X:1", "one"))
    found = merge([a, later])  # X:1 → X:2 is ours; X:2 → X:3 is fine, X:3 → X:1 closes the circle
    assert [found[code].parents for code in ("X:1", "X:2", "X:3")] == [("X:2",), ("X:3",), ()]
    assert found.rejections == (Rejection("A + D", "X:3", "is_a_circle", "X:1"),)


def test_two_concepts_made_one_are_not_their_own_parent() -> None:
    a = made("A", term("D:1", "cold", xrefs=("V:M1",)), term("D:2", "cough", parents=("D:1",)))
    b = made("B", term("M1", "cold", parents=("D:2",)), term("D:2", "cough"))
    found = merge([a, b], "V")
    assert (found["D:1"].parents, found["D:2"].parents) == ((), ("D:1",))


def test_an_alternative_code_that_another_part_has_as_a_concept_goes() -> None:
    found = merge([made("A", term("N", "new", alt_codes=("O",))), made("B", term("O", "old"))])
    assert (found.codes, found["N"].alt_codes) == (("N", "O"), ())
    assert found.rejections == (Rejection("A + B", "N", "alt_code_is_a_concept", "O"),)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_links_left_out_each_close_a_circle_with_those_that_stay(data: st.DataObject) -> None:
    def drawn(source: str, order: list[str]) -> KnowledgeBase:
        return made(source, *(term(code, code, parents=tuple(other for other in order[:i] if data.draw(st.booleans()))) for i, code in enumerate(order)))

    a, b = drawn("A", CODES), drawn("B", data.draw(st.permutations(CODES)))
    found = merge([a, b])
    stated = {(code, parent) for kb in (a, b) for code in CODES for parent in kb.parents(code)}
    kept = {(code, parent) for code in CODES for parent in found.parents(code)}
    cut = [(one.code, one.text) for one in found.rejections]
    assert kept | set(cut) == stated
    assert {(code, parent) for code in CODES for parent in a.parents(code)} <= kept
    assert all(code in found.ancestors(parent) for code, parent in cut)
