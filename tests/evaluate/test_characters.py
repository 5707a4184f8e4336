"""Character IoU: against loops over single characters, by both rules."""

import doctest
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate import CodedSpan, character_iou, characters
from syncabel.evaluate.characters import IOU_RULES
from syncabel.types import Span


def row(start, end, code, note="n"):
    return CodedSpan(note, (Span(start, end),), code)


ROWS = st.lists(
    st.builds(
        lambda note, start, length, code: row(start, start + length, code, note),
        st.sampled_from("nm"),
        st.integers(0, 9),
        st.integers(1, 6),
        st.sampled_from("ABC"),
    ),
    min_size=1,
    max_size=6,
)


def labelled(rows, rule):
    """{(note, character, code)}, one character at a time."""
    if rule == "2024":
        label = {}
        for one in rows:
            for span in one.spans:
                for place in range(span.start, span.end):
                    label[one.document_id, place] = one.code
        return {(*key, code) for key, code in label.items()}
    return {(one.document_id, place, one.code) for one in rows for span in one.spans for place in range(span.start, span.end)}


def naive(gold, predicted, rule):
    own, others = labelled(gold, rule), labelled(predicted, rule)
    ious, support, size = {}, {}, {}
    for code in {one.code for one in (*gold, *predicted)}:
        a, b = ({item for item in side if item[2] == code} for side in (own, others))
        support[code], size[code] = sum(one.code == code for one in gold), len(a)
        if a | b:
            ious[code] = len(a & b) / len(a | b)

    def weighted(weights):
        total = sum(weights[code] for code in ious)
        return sum(ious[code] * weights[code] for code in ious) / total if total else None

    return ious, sum(ious.values()) / len(ious), weighted(support), weighted(size)


def test_the_worked_examples_hold():
    found = doctest.testmod(characters)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("rule", IOU_RULES)
@given(gold=ROWS, predicted=ROWS | st.just([]))
@settings(max_examples=120, deadline=None)
def test_it_is_that_of_a_loop_over_characters(rule, gold, predicted):
    ious, macro, by_rows, by_characters = naive(gold, predicted, rule)
    found = character_iou(gold, predicted, rule=rule)
    assert {code: one.iou for code, one in found.by_concept.items() if one.iou is not None} == pytest.approx(ious)
    assert found.concepts + found.hidden == len(found.by_concept)
    assert found.macro.value == pytest.approx(macro)
    assert found.support_weighted.value == (by_rows if by_rows is None else pytest.approx(by_rows))
    assert found.character_weighted.value == pytest.approx(by_characters)
    for estimate in (found.macro, found.support_weighted, found.character_weighted):
        assert estimate.value is None or 0 <= estimate.value <= 1
        assert estimate.ci95 is None or 0 <= estimate.ci95[0] <= estimate.value <= estimate.ci95[1] <= 1


@given(ROWS, ROWS)
@settings(max_examples=60, deadline=None)
def test_it_is_the_same_for_gold_and_predictions_swapped_and_1_for_equal_ones(gold, predicted):
    for rule in IOU_RULES:
        assert character_iou(gold, predicted, rule=rule).macro.value == pytest.approx(character_iou(predicted, gold, rule=rule).macro.value)
        assert character_iou(gold, gold, rule=rule).macro.value == 1


def test_in_2024_the_later_row_wins_and_in_2026_both_stay():
    rows = [row(0, 4, "A"), row(2, 6, "B")]
    turned = rows[::-1]
    assert character_iou(rows, turned, rule="2024").by_concept["A"].iou == 2 / 4  # gold leaves A two characters, the predictions all four
    assert character_iou(rows, turned, rule="2026").macro.value == 1


def test_a_concept_wholly_written_over_is_counted_and_not_in_the_mean():
    rows = [row(0, 2, "A"), row(0, 4, "B")]
    found = character_iou(rows, rows, rule="2024")
    assert (found.concepts, found.hidden, found.macro.value, found.by_concept["A"].iou) == (1, 1, 1, None)
    assert character_iou(rows, rows, rule="2026").hidden == 0


def test_the_official_weights_are_gold_rows_not_characters():
    # A: one long row, missed; B: three short ones, found.
    gold = [row(0, 10, "A"), row(20, 21, "B"), row(22, 23, "B"), row(24, 25, "B")]
    found = character_iou(gold, gold[1:], rule="2026")
    assert (found.macro.value, found.support_weighted.value, found.character_weighted.value) == (1 / 2, 3 / 4, 3 / 13)


def test_the_interval_is_the_jackknife_over_notes():
    gold = [row(0, 3, "A", "n"), row(0, 3, "B", "m"), row(4, 6, "A", "o")]
    predicted = [row(0, 2, "A", "n"), row(0, 3, "B", "m"), row(4, 9, "B", "o")]
    without = [naive([r for r in gold if r.document_id != note], [r for r in predicted if r.document_id != note], "2026")[1] for note in "nmo"]
    error = np.sqrt(2 / 3 * sum((one - np.mean(without)) ** 2 for one in without))
    found = character_iou(gold, predicted, rule="2026")
    assert found.macro.ci95 == pytest.approx((max(0, found.macro.value - 1.96 * error), min(1, found.macro.value + 1.96 * error)))
    assert character_iou([row(0, 3, "A")], [row(0, 3, "A")]).macro.ci95 is None  # one note says nothing of others


def test_offsets_may_be_far_apart_and_the_json_has_no_nan():
    found = character_iou([row(0, 10**12, "A")], [row(10**12, 10**12 + 5, "A")], rule="2024", documents=["x", "y"])
    assert (found.documents, found.by_concept["A"].gold) == (3, 10**12)
    json.dumps(asdict(found), allow_nan=False)


def test_an_unknown_rule_and_no_gold_are_refused():
    with pytest.raises(UnknownNameError, match="unknown rule of character IoU '2025'"):
        character_iou([row(0, 1, "A")], [], rule="2025")
    with pytest.raises(ConfigError, match="no gold annotation with a code"):
        character_iou([], [row(0, 1, "A")])
