"""Each rule of the name normaliser by hand, and a knowledge base under all of them."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb import normalize as module
from syncabel.kb.normalize import (
    CONCEPT_RULES,
    DEFAULT,
    NAME_RULES,
    all_capitals_twins,
    composed_characters,
    first_letter_upper,
    no_break_spaces,
    normalize,
    normalized,
    not_otherwise_specified,
    semantic_tag,
    unspecified,
)
from syncabel.types import Concept, Name, Rejection

BY_HAND = [
    (no_break_spaces, "vitamine\u00a0B12\u202f: carence", "vitamine B12 : carence"),
    (composed_characters, "fie\u0300vre", "fièvre"),
    (composed_characters, "20 \u212b", "20 Å"),
    (semantic_tag, "Asthma (disorder)", "Asthma"),
    (semantic_tag, "Asthma (Disorder)", "Asthma"),
    (semantic_tag, "Incision (regime/therapy)", "Incision"),
    (semantic_tag, "Lupus (SLE)", "Lupus (SLE)"),
    (semantic_tag, "Pain (finding) in leg", "Pain (finding) in leg"),
    (semantic_tag, "(disorder)", ""),
    (not_otherwise_specified, "Asthma NOS", "Asthma"),
    (not_otherwise_specified, "Asthma, NOS", "Asthma"),
    (not_otherwise_specified, "Asthma - NOS", "Asthma"),
    (not_otherwise_specified, "Asthma (NOS)", "Asthma"),
    (not_otherwise_specified, "Asthma [NOS]", "Asthma"),
    (not_otherwise_specified, "Asthme SAI", "Asthme"),
    (not_otherwise_specified, "Asthma, not otherwise specified", "Asthma"),
    (not_otherwise_specified, "Neoplasm of brain NOS", "Neoplasm of brain"),
    (not_otherwise_specified, "Inducible NOS", "Inducible NOS"),
    (not_otherwise_specified, "neuronal NOS", "neuronal NOS"),
    (not_otherwise_specified, "ayúdanos, para nos", "ayúdanos, para nos"),
    (not_otherwise_specified, "NC-NOS", "NC-NOS"),
    (not_otherwise_specified, "tumour (benign NOS)", "tumour (benign NOS)"),
    (not_otherwise_specified, "NOS", "NOS"),
    (not_otherwise_specified, "NOS synthesis", "NOS synthesis"),
    (unspecified, "Asthma, unspecified", "Asthma"),
    (unspecified, "Asthma , unspecified", "Asthma"),
    (unspecified, "Asthme, non précisé", "Asthme"),
    (unspecified, "Asma, no especificada", "Asma"),
    (unspecified, "unspecified asthma", "unspecified asthma"),
    (first_letter_upper, "asthma", "Asthma"),
    (first_letter_upper, "éruption", "Éruption"),
    (first_letter_upper, "", ""),
]


@pytest.mark.parametrize(("rule", "name", "expected"), BY_HAND)
def test_a_rule_does_what_its_name_says_and_no_more(rule: Callable[[str], str], name: str, expected: str) -> None:
    assert rule(name) == expected
    assert rule(expected) == expected


def test_the_tables_hold_every_rule_by_its_name() -> None:
    assert all(function.__name__ == name and function.__doc__ for name, function in [*NAME_RULES.items(), *CONCEPT_RULES.items()])
    assert set(DEFAULT) == {*NAME_RULES, *CONCEPT_RULES} - {"unspecified", "first_letter_upper"}


def test_capitals_go_where_the_name_is_there_in_small_letters_and_acronyms_stay() -> None:
    assert all_capitals_twins(["ASTHMA", "Asthma", "asthma"]) == ["Asthma", "asthma"]
    assert all_capitals_twins(["ASTHMA"]) == ["ASTHMA"]
    assert all_capitals_twins(["AIDS", "Aids"]) == ["AIDS", "Aids"]
    assert all_capitals_twins(["MS DISEASE", "ms disease", "123456"]) == ["ms disease", "123456"]


def test_a_name_that_would_become_empty_stays_whole() -> None:
    assert normalized("(disorder)") == ("(disorder)", [])
    assert normalized("NOS") == ("NOS", [])
    assert normalized("Asthma NOS (disorder)") == ("Asthma", ["semantic_tag", "not_otherwise_specified"])
    assert normalized("Asthma (disorder) NOS") == ("Asthma", ["not_otherwise_specified", "semantic_tag"])


LETTERS = ["é", "e\u0301", "\u00a0", "(", ")", "ß", "ŉ", "\u0390", " ", ", ", "-"]
PIECES = [*LETTERS, "asthma", "Asthma", "NOS", "SAI", "(disorder)", "(NOS)", "unspecified", "neuronal"]
names = st.one_of(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), st.text(max_size=12))
rule_sets = st.sets(st.sampled_from(list(NAME_RULES)))


@settings(max_examples=400, deadline=None)
@given(names, rule_sets)
def test_normalising_twice_is_normalising_once(name: str, rules: set[str]) -> None:
    once, _ = normalized(name, rules)
    assert normalized(once, rules) == (once, [])
    assert bool(once) == bool(name)


@settings(max_examples=400, deadline=None)
@given(names, rule_sets)
def test_a_name_that_no_rules_expression_matches_is_one_that_no_rule_changes(name: str, rules: set[str]) -> None:
    import polars as pl

    matched = {rule for rule in rules if pl.Series([name]).str.contains(module._SUSPECT[rule]).item()}
    assert all(NAME_RULES[rule](name) == name for rule in rules - matched)


def concept(code: str, *names: str | Name) -> Concept:
    return Concept(code, tuple(Name(n, preferred=i == 0) if isinstance(n, str) else n for i, n in enumerate(names)), ("Disease",))


@pytest.fixture
def kb() -> KnowledgeBase:
    concepts = [
        concept("C:1", "Asthma (disorder)", "Asthma", "ASTHMA", "Asthma NOS"),
        concept("C:2", "ASTHMA ATTACK", "Asthma attack", Name("ASTHMA ATTACK", "fr")),
        concept("C:3", "Pneumonia (disorder)"),
        concept("C:4", "Pneumonia (finding)", "NOS"),
        concept("C:5", "fie\u0300vre"),
    ]
    return KnowledgeBase.build(concepts, About("t", filters=("a=b",)))


def test_a_normalised_knowledge_base_keeps_its_concepts_and_counts_every_change(kb: KnowledgeBase) -> None:
    new, report = normalize(kb)
    assert [[(n.text, n.language, n.preferred) for n in c.names] for c in new.concepts()] == [
        [("Asthma", "en", True)],
        [("Asthma attack", "en", True), ("ASTHMA ATTACK", "fr", False)],
        [("Pneumonia", "en", True)],
        [("Pneumonia", "en", True), ("NOS", "en", False)],
        [("fièvre", "en", True)],
    ]
    assert report.counts == {"no_break_spaces": 0, "composed_characters": 1, "semantic_tag": 3, "not_otherwise_specified": 1, "all_capitals_twins": 2}
    assert report.changes.height == 7
    assert report.examples("all_capitals_twins") == [("C:1", "ASTHMA", None), ("C:2", "ASTHMA ATTACK", None)]
    assert (report.merged, report.kept) == (2, 0)
    assert report.newly_shared.rows() == [("Pneumonia", 2)]
    assert kb.n_names == new.n_names + report.merged + report.counts["all_capitals_twins"]
    assert new.about.filters == ("a=b", f"normalize={','.join(sorted(DEFAULT, key=[*NAME_RULES, *CONCEPT_RULES].index))}")
    assert [name.text for name in kb["C:1"].names] == ["Asthma (disorder)", "Asthma", "ASTHMA", "Asthma NOS"]


def test_a_rule_that_is_switched_off_changes_nothing(kb: KnowledgeBase) -> None:
    new, report = normalize(kb, ("composed_characters",))
    assert report.counts == {"composed_characters": 1}
    assert [name.text for name in new["C:1"].names] == [name.text for name in kb["C:1"].names]
    same, nothing = normalize(kb, ())
    assert (same.digest, nothing.changes.height) == (kb.digest, 0)


def test_tags_of_ones_own_take_the_place_of_the_listed_ones(kb: KnowledgeBase) -> None:
    assert [name.text for name in normalize(kb, ("semantic_tag",), ["Finding"])[0]["C:4"].names] == ["Pneumonia", "NOS"]
    assert normalize(kb, ("semantic_tag",), ["Finding"])[1].counts == {"semantic_tag": 1}


def test_an_unknown_rule_names_the_nearest(kb: KnowledgeBase) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'semantic_tag'"):
        normalize(kb, ("semantic_tags",))


def test_doid_normalised_twice_is_doid_normalised_once() -> None:
    doid = KnowledgeBase.load("doid")
    once, report = normalize(doid)
    twice, again = normalize(once)
    assert twice.digest == once.digest
    assert sum(again.counts.values()) == again.merged == 0
    assert doid.n_names - once.n_names == report.merged + report.counts["all_capitals_twins"]
    assert all(unicodedata.is_normalized("NFC", text) for text in once.tables.names["text"])
    assert len(once) == len(doid)


def test_what_building_left_out_stays_listed_and_names_that_go_join_it() -> None:
    built = KnowledgeBase.build([concept("C:1", "Asthma", "ASTHMA", "Asthma NOS", "bad\x00"), concept("C:2", "Cough")], About("t"))
    new, _ = normalize(built)
    gone = (Rejection("t", "C:1", "all_capitals_twin", "ASTHMA"), Rejection("t", "C:1", "merged_name", "Asthma NOS"))
    assert new.rejections == built.rejections + gone
    assert built.rejected_by_reason() == {"control_character": 1}
    assert normalize(new)[0].rejections == new.rejections


def test_names_that_become_one_keep_the_strongest_scope_and_any_preference() -> None:
    names = (Name("Asthma NOS", scope="related"), Name("Asthma", preferred=True), Name("Asthma (disorder)", scope="broad"), Name("wheeze", scope="narrow"))
    (found,) = normalize(KnowledgeBase.build([Concept("C:1", names, ("Disease",))], About("t")))[0].concepts()
    assert found.names == (Name("Asthma", scope="exact", preferred=True), Name("wheeze", scope="narrow"))


def test_a_name_inherits_scope_and_preference_of_its_twin_in_capitals() -> None:
    names = (Name("ASTHMA", scope="narrow", preferred=True), Name("Asthma", scope="related"), Name("COUGHING", scope="broad"), Name("coughing"))
    (found,) = normalize(KnowledgeBase.build([Concept("C:1", names, ("Disease",))], About("t")))[0].concepts()
    assert found.names == (Name("Asthma", scope="narrow", preferred=True), Name("coughing"))
