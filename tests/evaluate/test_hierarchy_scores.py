"""Near misses in the graph: above, below, how far, and nothing said where there is nothing to say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.evaluate import evaluate, judge_mentions, report_json
from syncabel.evaluate.hierarchy import relation
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

# root > (top > (left > leaf, right), side)
CASES = [
    ("leaf", "left", "descendant:1"),  # predicted too broad
    ("leaf", "top", "descendant:2"),
    ("old", "root", "descendant:3"),
    ("left", "leaf", "ancestor:1"),  # predicted too narrow
    ("root", "leaf", "ancestor:3"),
    ("left", "right", "unrelated"),  # siblings are as far as strangers
    ("side", "leaf", "unrelated"),
    ("root|left", "leaf", "ancestor:1"),  # the nearest alternative
    ("left+right", "leaf", "composite"),
    ("left", "leaf+right", "composite"),
    ("left+right|top", "leaf", "ancestor:2"),
    ("unknown", "leaf", "unrelated"),
    ("leaf", "unknown", "unrelated"),
    ("leaf", "leaf", None),
    ("leaf", "-", None),
    ("leaf", "NIL", None),
]


@pytest.mark.parametrize(("gold", "predicted", "expected"), CASES)
def test_where_gold_stands_from_the_prediction(annotated, answered, tree_kb, gold, predicted, expected):
    doc = annotated("d", ("w", gold), ("w", "left"))
    assert judge_mentions([doc], answered(doc, predicted, ""), tree_kb)[0].hierarchy == expected


def test_recall_within_a_distance_agrees_with_a_table_worked_by_hand(annotated, answered, tree_kb):
    doc = annotated("d", *[("w", "leaf")] * 4, ("w", "left"), ("w", "left"), ("w", "left+right"), ("w", "leaf"))
    #                              right   down 1  down 2 down 3  up 1    none     composite no answer
    report = evaluate([doc], answered(doc, "leaf", "left", "top", "root", "leaf", "right", "leaf", ""), tree_kb)
    found = report.hierarchy
    assert found is not None
    assert (dict(found.ancestors), dict(found.descendants)) == ({1: 1}, {1: 1, 2: 1, 3: 1})
    assert (found.n, found.unrelated, found.composite, found.unanswered, found.same) == (8, 1, 1, 1, 0)
    within = {way: [score for score, _ in by_distance.values()] for way, by_distance in found.within.items()}
    assert within == {"up": [1 / 8, 2 / 8, 2 / 8, 2 / 8], "down": [1 / 8, 2 / 8, 3 / 8, 4 / 8], "either": [1 / 8, 3 / 8, 4 / 8, 5 / 8]}
    assert within["up"][0] == report.recall_at_1


def test_without_parents_nothing_is_said_of_near_misses(annotated, answered):
    kb = KnowledgeBase.build(
        [Concept(code, (Name(code),), ("Disease",)) for code in ("left", "leaf")], About(source="t", release="1", licence="CC0-1.0", redistributable=True)
    )
    doc = annotated("d", ("w", "left"))
    report = evaluate([doc], answered(doc, "leaf"), kb)
    assert report.hierarchy is None
    assert report_json(report)["hierarchy"] is None
    assert report.mentions[0].hierarchy is None


def test_the_right_concept_under_a_shared_name_is_no_near_miss(annotated, answered, tree_kb):
    doc = annotated("d", ("w", "left"), ("w", "left"))
    report = evaluate([doc], answered(doc, "left=cold", "left=LD"), tree_kb, protocol="belb-strict")
    assert report.correct == 1
    assert report.mentions[0].hierarchy == "same"
    assert report.hierarchy is not None
    assert report.hierarchy.same == 1


@given(st.dictionaries(st.integers(1, 12), st.lists(st.integers(0, 11), max_size=2), max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_steps_are_those_of_a_search_by_brute_force(edges, gold, predicted):
    parents = {str(child): [str(parent) for parent in above if parent < child] for child, above in edges.items()}

    def levels_up(code):
        seen, level, levels = {code}, [code], []
        while level := sorted({parent for one in level for parent in parents.get(one, ())} - seen):
            seen.update(level)
            levels.append(level)
        return levels

    def steps(code, other):
        return 0 if code == other else min((1 + more for parent in parents.get(code, ()) if (more := steps(parent, other)) is not None), default=None)

    found = relation([frozenset({str(gold)})], frozenset({str(predicted)}), levels_up)
    up, down = steps(str(predicted), str(gold)), steps(str(gold), str(predicted))
    expected = "same" if gold == predicted else f"ancestor:{up}" if up else f"descendant:{down}" if down else "unrelated"
    assert found == expected
