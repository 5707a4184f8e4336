"""The knowledge base in use, and what building keeps, mends and rejects."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import FormatError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.entries import frames_of
from syncabel.types import Concept, MapRule, Name, Rejection, Relation, Retired


def concept(code: str, *names: str, **rest: Any) -> Concept:
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), rest.pop("groups", ("Disease",)), **rest)


def build(*concepts: Concept | Rejection, relations: Iterable[Relation] = ()) -> KnowledgeBase:
    return KnowledgeBase.build([*concepts, *relations], About("test", "1", "CC0-1.0", True))


CONCEPTS = (
    concept("B:2", "heart disease", "Cardiac  disease", parents=("A:1",), alt_codes=("B:20", "B:21"), definition="Of the heart.", xrefs=("X:1",)),
    concept("A:1", "disease", groups=("Disease", "Root"), types=("T047",)),
    concept("C:3", "angina", "cold", parents=("B:2",)),
    concept("C:4", "common cold", "cold", parents=("A:1", "Z:9")),
)
RELATIONS = (Relation("C:3", "finding_site", "B:2", 1), Relation("C:3", "finding_site", "B:2", 2))
KB = build(*CONCEPTS, relations=RELATIONS)


def test_codes_and_concepts_come_in_code_order_whatever_order_they_came_in() -> None:
    assert KB.codes == tuple(concept.code for concept in KB.concepts()) == ("A:1", "B:2", "C:3", "C:4")
    assert (len(KB), KB.n_names, KB.groups, KB.manifest.languages) == (4, 7, ("Disease", "Root"), ("en",))


def test_a_concept_comes_back_as_it_was_given_but_for_white_space() -> None:
    assert KB.concept("B:2").names == (Name("heart disease", preferred=True), Name("Cardiac disease"))
    for given_concept in (CONCEPTS[1], *CONCEPTS[2:]):
        assert KB.concept(given_concept.code) == given_concept
    assert KB.concept("B:2").definition == "Of the heart."


def test_an_unknown_code_names_the_nearest_known_one() -> None:
    for look_up in (KB.concept, KB.children, KB.ancestors):
        with pytest.raises(UnknownNameError, match="did you mean 'B:2'"):
            look_up("B:22")
    with pytest.raises(UnknownNameError, match=r"group 'Diseas'.*'Disease'"):
        KB.in_group("Diseas")


def test_alternative_codes_resolve_and_are_no_codes() -> None:
    assert [KB.canonical(code) for code in ("B:2", "B:20", "B:21", "B:22")] == ["B:2", "B:2", "B:2", None]
    assert "B:2" in KB
    assert "B:20" not in KB


def test_an_alternative_code_that_is_not_one_to_one_is_no_link_and_is_reported() -> None:
    kb = build(
        concept("A", "a", alt_codes=("X", "B", "Y")),
        concept("B", "b", alt_codes=("X", "Z")),
        concept("C", "c", alt_codes=("C",)),
    )
    assert [kb.canonical(code) for code in ("X", "Y", "Z", "B")] == [None, "A", "B", "B"]
    assert [kb.concept(code).alt_codes for code in "ABC"] == [("Y",), ("Z",), ()]
    assert {(rejection.code, rejection.text): rejection.reason for rejection in kb.rejections} == {
        ("A", "X"): "alt_code_claimed_twice",
        ("B", "X"): "alt_code_claimed_twice",
        ("A", "B"): "alt_code_is_a_concept",
        ("C", "C"): "alt_code_is_a_concept",
    }


def test_names_are_found_whatever_their_case_and_width() -> None:
    assert KB.codes_of("COLD") == ("C:3", "C:4")
    assert KB.codes_of("  cardiac\u00a0disease ") == KB.codes_of("ｃardiac disease") == ("B:2",)
    assert KB.codes_of("car") == KB.codes_of("") == ()


def test_ambiguous_names_are_counted_as_exact_strings() -> None:
    assert KB.ambiguous_names == 1
    assert build(concept("A", "Cold"), concept("B", "cold")).ambiguous_names == 0


def test_the_hierarchy_is_walked_nearest_first_and_over_known_parents_only() -> None:
    assert KB.children("A:1") == ("B:2", "C:4")
    assert KB.children("C:3") == ()
    assert KB.ancestors("C:3") == ["B:2", "A:1"]
    assert KB.ancestors("A:1") == []
    assert [(rejection.code, rejection.reason, rejection.text) for rejection in KB.rejections] == [("C:4", "unknown_parent", "Z:9")]
    assert KB.concept("C:4").parents == ("A:1", "Z:9")


def test_an_ancestor_on_two_paths_comes_once() -> None:
    kb = build(concept("A", "a"), concept("B", "b", parents=("A",)), concept("C", "c", parents=("A",)), concept("D", "d", parents=("C", "B", "A")))
    assert kb.ancestors("D") == ["C", "B", "A"]


@pytest.mark.parametrize(
    ("links", "circle"),
    [({"A": "B", "B": "A"}, "A → B → A"), ({"A": "A"}, "A → A"), ({"D": "A", "A": "B", "B": "C", "C": "A"}, "A → B → C → A")],
)
def test_a_circle_is_an_error_that_names_it(links: dict[str, str], circle: str) -> None:
    loose = [concept("X", "x", parents=("Y",)), concept("Y", "y")]
    with pytest.raises(FormatError, match=circle):
        build(*loose, *(concept(code, code.lower(), parents=(parent,)) for code, parent in links.items()))


def test_bad_names_are_rejected_with_a_reason_and_the_rest_is_kept() -> None:
    kb = build(concept("A", "a\tb", "x\x07", " \u00a0", "good", " good "), concept("B", "\x00"), concept("C"))
    assert kb.codes == ("A",)
    assert kb.concept("A").names == (Name("good"),)
    assert [(rejection.code, rejection.reason) for rejection in kb.rejections] == [
        ("A", "control_character"),
        ("A", "control_character"),
        ("A", "empty_name"),
        ("A", "duplicate_name"),
        ("B", "control_character"),
        ("B", "no_name"),
        ("C", "no_name"),
    ]
    assert all(rejection.text.isprintable() or not rejection.text.strip() for rejection in kb.rejections)


def test_a_preferred_name_repeated_after_its_synonym_stays_preferred() -> None:
    kb = build(Concept("A", (Name("x"), Name("y"), Name("y", preferred=True)), ("G",)))
    assert kb.concept("A").preferred_name == "y"
    assert [name.text for name in kb.concept("A").names] == ["x", "y"]


def test_a_lone_surrogate_is_rejected() -> None:
    kb = build(concept("A", "a", "b\ud800"), concept("B\ud800", "b"))
    assert {rejection.reason for rejection in kb.rejections} == {"control_character", "bad_code"}


def test_rejections_of_a_reader_are_kept() -> None:
    rejection = Rejection("file:3", "A:9", "obsolete", "old")
    assert build(rejection, concept("A", "a")).rejections == (rejection,)


@pytest.mark.parametrize(
    ("concepts", "says"),
    [
        ([], "no concept"),
        ([concept("A", "\x00")], "no concept"),
        ([concept("A", "a"), concept("A", "b")], "'A' stands for several"),
        ([concept("A", "a", groups=())], "no group"),
    ],
)
def test_what_makes_the_whole_unreadable_raises(concepts: list[Concept], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        build(*concepts)


def test_groups_filter_concepts() -> None:
    assert [concept.code for concept in KB.in_group("Root")] == ["A:1"]
    assert len(list(KB.in_group("Disease"))) == 4


def test_relations_keep_role_groups_apart_and_need_both_ends() -> None:
    assert list(KB.relations()) == list(RELATIONS)
    kb = build(*CONCEPTS, relations=[*RELATIONS, RELATIONS[0], Relation("C:3", "due_to", "Q")])
    assert list(kb.relations()) == list(RELATIONS)
    assert [rejection.text for rejection in kb.rejections if rejection.reason == "unknown_relation_end"] == ["C:3 due_to Q"]


def test_a_subset_holds_its_concepts_as_they_are() -> None:
    part = KB.subset(["C:3", "B:2", "C:3"])
    assert part.codes == ("B:2", "C:3")
    assert list(part.concepts()) == [KB.concept("B:2"), KB.concept("C:3")]
    assert part.codes_of("cold") == ("C:3",)
    assert (part.ambiguous_names, part.groups, part.n_names) == (0, ("Disease",), 4)
    assert part.ancestors("C:3") == ["B:2"]
    assert list(part.relations()) == list(RELATIONS)
    assert part.canonical("B:20") == "B:2"
    assert part.digest == build(CONCEPTS[2], CONCEPTS[0], relations=RELATIONS).digest
    with pytest.raises(UnknownNameError):
        KB.subset(["nope"])


def test_the_digest_sees_the_content_and_not_the_order_of_concepts() -> None:
    assert build(*reversed(CONCEPTS), relations=reversed(RELATIONS)).digest == KB.digest
    renamed = concept("A:1", "Disease", groups=("Disease", "Root"), types=("T047",))
    assert build(CONCEPTS[0], renamed, *CONCEPTS[2:], relations=RELATIONS).digest != KB.digest
    assert build(*CONCEPTS).digest != KB.digest


names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Co", "Cn")), min_size=1, max_size=6).filter(lambda text: text.strip())


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text("AB1:é", min_size=1, max_size=4), st.lists(names, min_size=1, max_size=4), min_size=1, max_size=8), st.randoms())
def test_any_vocabulary_is_found_again_by_code_and_by_name(table: dict[str, list[str]], random: Any) -> None:
    concepts = [concept(code, *texts) for code, texts in table.items()]
    kb = build(*concepts)
    random.shuffle(concepts)
    assert build(*concepts).digest == kb.digest
    assert kb.codes == tuple(sorted(table))
    for code in table:
        for name in kb.concept(code).names:
            assert code in kb.codes_of(name.text)


def test_a_repeated_name_keeps_its_strongest_scope() -> None:
    kb = build(Concept("A", (Name("a"), Name("b", scope="related"), Name("b"), Name("b", "fr", "narrow")), ("G",)))
    assert kb["A"].names == (Name("a"), Name("b"), Name("b", "fr", "narrow"))


def test_codes_that_are_empty_or_hold_control_characters_are_rejected_wherever_they_stand() -> None:
    kb = build(concept("A", "a", alt_codes=("", "ok", "x\x1b[2J"), parents=(" ",), xrefs=("\x00",)), concept("c\n0", "name"), relations=())
    assert (kb["A"].alt_codes, kb["A"].parents, kb["A"].xrefs) == (("ok",), (), ())
    assert kb.canonical("") is None
    assert [rejection.reason for rejection in kb.rejections] == ["bad_code"] * 5
    assert all(rejection.code.isprintable() and rejection.text.isprintable() for rejection in kb.rejections)


def test_what_cannot_stand_in_a_column_is_rejected_and_the_rest_is_kept() -> None:
    kb = KnowledgeBase.build(
        [
            concept("A", "a", definition="\ud800"),
            concept("B", "b", parents=("\udfff",)),
            concept("C", "c"),
            Relation("C", "x", "C", 2**40),
            Relation("C", "\ud800", "C"),
            Rejection("w", "D", "r", "\ud800"),
        ],
        About("test"),
    )
    assert kb.codes == ("C",)
    assert [rejection.reason for rejection in kb.rejections] == ["r", "control_character", "control_character", "bad_value", "control_character"]


def test_a_name_in_columns_needs_a_known_scope_and_a_language() -> None:
    frames = frames_of([concept("A", "a")])
    for column, value in (("scope", "foo"), ("language", None)):
        bad = replace(frames, names=frames.names.with_columns(pl.lit(value, pl.String).alias(column)))
        with pytest.raises(FormatError, match=column):
            KnowledgeBase.build(bad, About("test"))
    nameless = replace(frames, names=frames.names.with_columns(text=pl.lit(None, pl.String)))
    with pytest.raises(FormatError, match=r"no concept is left \(left out: empty_name 1, no_name 1\)"):
        KnowledgeBase.build(nameless, About("test"))


@pytest.mark.parametrize("key", ["\ud800", "\x00", "a\x00", "a\xff\x00"])
def test_a_look_up_of_what_no_name_holds_finds_nothing(key: str) -> None:
    assert KB.codes_of(key) == ()
    assert list(KB.names_starting_with(key)) == []
    assert key not in KB
    assert KB.canonical(key) is None


def test_names_are_found_by_their_start_in_any_case() -> None:
    assert sorted(KB.names_starting_with("CO")) == [("cold", "C:3"), ("cold", "C:4"), ("common cold", "C:4")]


def test_retired_codes_and_maps_are_kept_with_what_is_said_of_them() -> None:
    rule = MapRule("A:1", "ICD10:J45", 1, 2, "TRUE", "always")
    retired = Retired("R:1", "POSSIBLY_EQUIVALENT_TO", ("A:1", "B:2"))
    kb = KnowledgeBase.build([*CONCEPTS, rule, retired, Retired("B:20", "obsolete"), MapRule("Q", "ICD10:X")], About("test"))
    assert (kb.retired("R:1"), kb.retired("A:1"), kb.maps_of("A:1"), kb.maps_of("B:2")) == ((retired,), (), (rule,), ())
    assert {(r.code, r.reason) for r in kb.rejections} >= {("B:20", "retired_code_in_use"), ("Q", "map_of_unknown_code")}


def test_a_chain_of_any_depth_is_no_circle_and_a_circle_at_its_end_is_found() -> None:
    chain = [concept(f"N{i:05d}", "n", parents=(f"N{i + 1:05d}",)) for i in range(5_000)]
    assert len(build(*chain, concept("N05000", "top")).ancestors("N00000")) == 5_000
    with pytest.raises(FormatError, match="N05000 → N05001 → N05000"):
        build(*chain, concept("N05000", "a", parents=("N05001",)), concept("N05001", "b", parents=("N05000",)))
