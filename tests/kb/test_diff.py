"""Differences between two editions, against a hand-worked table."""

from typing import Any

import pytest

from syncabel.kb import About, KnowledgeBase
from syncabel.kb.diff import CHANGES, KbDiff, diff
from syncabel.types import Concept, Name, Retired


def term(code: str, *names: str, **rest: Any) -> Concept:
    fields = {"groups": ("Disease",), **rest}
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), **fields)


def made(*entries: Any) -> KnowledgeBase:
    return KnowledgeBase.build(entries, About("test"))


def rows(found: KbDiff, change: str) -> list[tuple[str, list[str], list[str], bool]]:
    return [(row["code"], row["before"], row["after"], row["recheck"]) for row in found.rows() if row["change"] == change]


@pytest.fixture(scope="module")
def found() -> KbDiff:
    old = made(
        term("A", "same"),
        term("B", "old name", "kept", "lost"),
        term("C", "merged one", alt_codes=("C2",)),
        term("D", "retired without a word"),
        term("E", "retired with successors"),
        term("F", "moved", parents=("A",)),
        term("G", "regrouped"),
        term("H", "has three", "handed over", "shared", alt_codes=("H2", "H3", "H4")),
    )
    new = made(
        term("A", "same", "another"),
        term("B", "new name", "kept"),
        term("F", "moved", parents=("B",)),
        term("G", "regrouped", "handed over", groups=("Disease", "Finding")),
        term("H", "has three", "shared", alt_codes=("H4",)),
        term("I", "new one", "shared", alt_codes=("C", "C2", "H3")),
        term("H2", "on its own"),
        Retired("E", "POSSIBLY_EQUIVALENT_TO", ("A", "B")),
    )
    return diff(old, new)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("added", [("I", [], ["I"], True)]),
        ("retired", [("D", ["D"], [], True), ("E", ["E"], ["A", "B"], True)]),
        ("merged", [("C", ["C"], ["I"], True)]),
        ("redirected", [("C2", ["C"], ["I"], True), ("H3", ["H"], ["I"], True)]),
        ("split", [("H2", ["H"], ["H2"], True)]),
        ("renamed", [("B", ["old name"], ["new name"], True)]),
        ("names_added", [("A", [], ["another"], False), ("B", [], ["new name"], False), ("G", [], ["handed over"], False)]),
        ("names_removed", [("B", ["old name", "lost"], [], True), ("H", ["handed over"], [], True)]),
        ("reassigned", [("H", ["handed over", "shared"], ["G", "I"], True)]),
        ("regrouped", [("G", ["Disease"], ["Disease", "Finding"], True)]),
        ("moved", [("F", ["A"], ["B"], False)]),
    ],
)
def test_each_kind_of_change_is_as_worked_by_hand(found: KbDiff, change: str, expected: list[Any]) -> None:
    # An alternative code goes along with its concept: C2 led to C, which now is I.
    expected = [row for row in expected if row[0] != "C2"]
    assert rows(found, change) == expected


def test_every_kind_is_counted_and_explained(found: KbDiff) -> None:
    assert found.counts() == {
        "added": 1,
        "retired": 2,
        "merged": 1,
        "redirected": 1,
        "split": 1,
        "renamed": 1,
        "names_added": 3,
        "names_removed": 2,
        "reassigned": 1,
        "regrouped": 1,
        "moved": 1,
    }
    assert all(CHANGES.values())


def test_a_retired_code_says_why_and_every_row_its_name(found: KbDiff) -> None:
    said = {row["code"]: (row["reason"], row["name"]) for row in found.rows() if row["change"] == "retired"}
    assert said == {"D": ("not in the new edition", "retired without a word"), "E": ("POSSIBLY_EQUIVALENT_TO", "retired with successors")}
    assert all(row["name"] for row in found.rows() if row["code"] != "H3")


def test_what_only_gained_names_or_moved_needs_no_recheck(found: KbDiff) -> None:
    assert found.recheck() == ("B", "C", "D", "E", "G", "H", "H2", "H3", "I")


def test_an_edition_does_not_differ_from_itself() -> None:
    kb = KnowledgeBase.load("doid")
    assert diff(kb, kb).changes.is_empty()


def test_a_real_edition_without_some_concepts_has_them_retired() -> None:
    kb = KnowledgeBase.load("doid")
    part = kb.subset(kb.codes[100:])
    found = diff(kb, part)
    gone = set(kb.codes[:100]) | {code for concept in list(kb.concepts())[:100] for code in concept.alt_codes}
    assert {row["code"] for row in found.rows() if row["change"] == "retired"} == gone
    assert set(diff(part, kb).counts().items()) >= {("added", 100), ("retired", 0)}


def test_order_and_repetition_of_parents_and_groups_are_no_change() -> None:
    old = made(term("A", "a"), term("B", "b"), term("C", "c", parents=("A", "B", "A"), groups=("G", "H")))
    new = made(term("A", "a"), term("B", "b"), term("C", "c", parents=("B", "A"), groups=("H", "G", "H")))
    assert diff(old, new).changes.is_empty()
