"""Mentions matched one to one, and span F1: against enumeration of all matchings, hand-worked tables and seqeval itself."""

import doctest
import itertools
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.bootstrap import document_interval
from syncabel.errors import ConfigError
from syncabel.evaluate import Annotation, entity_scores, iob2_entities, match, spans
from syncabel.evaluate.spans import CRITERIA, WAYS, scores_of_counts
from syncabel.types import Span


def mention(start, end, kind=None, code=None, document="d", **more):
    return Annotation(document, (Span(start, end),), kind, None if code is None else (frozenset(code.split("+")),), **more)


SPANS = st.tuples(st.integers(0, 8), st.integers(1, 4)).map(lambda pair: (Span(pair[0], pair[0] + pair[1]),))
SPLIT = st.integers(0, 3).map(lambda start: (Span(start, start + 1), Span(start + 3, start + 5)))
ANNOTATIONS = st.lists(
    st.builds(
        Annotation,
        st.sampled_from("de"),
        SPANS | SPLIT,
        st.sampled_from(["A", "B", None]),
        st.sampled_from([None, (), (frozenset("1"),), (frozenset("2"),)]),
        st.booleans(),
    ),
    max_size=5,
)


def characters(annotation):
    return {place for span in annotation.spans for place in range(span.start, span.end)}


def agree(gold, predicted, way, criterion):
    """The rule, written out."""
    if gold.document_id != predicted.document_id:
        return False
    if way == "overlapping" and not characters(gold) & characters(predicted):
        return False
    if way == "strict" and gold.whole and predicted.whole and gold.spans != predicted.spans:
        return False
    if way == "strict" and not (characters(gold) & characters(predicted) and (gold.start, gold.end) == (predicted.start, predicted.end)):
        return False
    if "type" in criterion and (gold.type is None or gold.type != predicted.type):
        return False
    return "code" not in criterion or bool(gold.answers and predicted.answers and predicted.answers[0] in gold.answers)


def most(gold, predicted, way, criterion):
    """The size of the largest matching, by trying all."""
    if not gold:
        return 0
    best = most(gold[1:], predicted, way, criterion)
    for place, one in enumerate(predicted):
        if agree(gold[0], one, way, criterion):
            best = max(best, 1 + most(gold[1:], predicted[:place] + predicted[place + 1 :], way, criterion))
    return best


def test_the_worked_examples_hold():
    found = doctest.testmod(spans)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize(("way", "criterion"), list(itertools.product(WAYS, CRITERIA)))
@given(gold=ANNOTATIONS, predicted=ANNOTATIONS)
@settings(max_examples=60, deadline=None)
def test_a_matching_is_one_to_one_of_pairs_that_agree_and_none_is_larger(way, criterion, gold, predicted):
    found = match(gold, predicted, way, criterion)
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found)
    assert all(agree(gold[i], predicted[j], way, criterion) for i, j in found)
    assert len(found) == most(gold, predicted, way, criterion)
    assert len(match(predicted, gold, way, criterion)) == len(found)


@given(gold=ANNOTATIONS, predicted=ANNOTATIONS)
@settings(max_examples=60, deadline=None)
def test_strict_is_at_most_overlapping_and_every_further_demand_costs(gold, predicted):
    size = {(way, criterion): len(match(gold, predicted, way, criterion)) for way in WAYS for criterion in CRITERIA}
    assert all(size["strict", criterion] <= size["overlapping", criterion] for criterion in CRITERIA)
    for way in WAYS:
        assert size[way, "span+type+code"] <= min(size[way, "span+type"], size[way, "span+code"])
        assert max(size[way, "span+type"], size[way, "span+code"]) <= size[way, "span"] <= min(len(gold), len(predicted))


def test_greedy_matching_would_lose_a_pair():
    gold = [mention(0, 4), mention(3, 9)]
    predicted = [mention(2, 5), mention(0, 2)]  # the first touches both, the second only the first gold mention
    assert match(gold, predicted, "overlapping") == [(0, 1), (1, 0)]


def test_fragments_are_compared_where_both_sides_know_them():
    gold = Annotation("d", (Span(0, 2), Span(6, 8)))
    assert match([gold], [replace(gold, spans=(Span(0, 2), Span(5, 8)))]) == []
    assert match([gold], [mention(0, 8)]) == []
    assert match([gold], [mention(0, 8, whole=False)]) == [(0, 0)]
    assert match([gold], [mention(2, 6)], "overlapping") == []  # the gap is no part of it


def test_codes_are_right_by_the_protocol():
    gold, half = [mention(0, 2, code="C1+C2")], [mention(0, 2, code="C1")]
    assert [len(match(gold, half, "strict", "span+code", protocol)) for protocol in ("set", "any", "overlap")] == [0, 1, 1]


def test_a_hand_worked_table_of_rates():
    #          A: gold, predicted, matched     B
    counts = np.array([[[3, 2, 2], [1, 0, 0]], [[1, 3, 1], [2, 1, 1]]], float)
    found = scores_of_counts(counts, ["A", "B"])
    assert (found.gold, found.predicted, found.matched) == (7, 6, 4)
    assert (found.micro.precision.value, found.micro.recall.value, found.micro.f1.value) == (4 / 6, 4 / 7, 8 / 13)
    a, b = found.by_group["A"], found.by_group["B"]
    assert (a.rates.precision.value, a.rates.recall.value, a.rates.f1.value) == (3 / 5, 3 / 4, 6 / 9)
    assert (b.rates.precision.value, b.rates.recall.value, b.rates.f1.value) == (1, 1 / 3, 2 / 4)
    assert found.macro.f1.value == pytest.approx((6 / 9 + 2 / 4) / 2)
    assert found.weighted.recall.value == pytest.approx((4 * 3 / 4 + 3 * 1 / 3) / 7)
    assert found.micro.recall.ci95 == document_interval(["1", "2"], [2, 2], [4, 3])  # the published bootstrap


def test_nothing_to_divide_by_is_none_and_never_nan():
    found = scores_of_counts(np.array([[[2.0, 0, 0]]]), ["A"])
    assert (found.micro.precision.value, found.micro.precision.ci95) == (None, None)
    assert (found.micro.recall.value, found.micro.f1.value, found.macro.precision.value) == (0, 0, 0)
    json.dumps(asdict(scores_of_counts(np.zeros((2, 1, 3)), ["A"])), allow_nan=False)


TAGS = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=9)
SENTENCES = st.lists(
    TAGS.flatmap(lambda gold: st.tuples(st.just(gold), st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B"]), min_size=len(gold), max_size=len(gold)))),
    min_size=1,
    max_size=4,
)


@given(SENTENCES, st.booleans())
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_span_f1_is_that_of_seqeval(sentences, strict):
    metrics = pytest.importorskip("seqeval.metrics", reason="needs seqeval: pip install -e '.[dev]'")
    from seqeval.scheme import IOB2

    gold, predicted = ([list(pair[side]) for pair in sentences] for side in (0, 1))
    entities = [{str(i): iob2_entities(tags, strict=strict) for i, tags in enumerate(side)} for side in (gold, predicted)]
    found = entity_scores(*entities, rounds=5)
    if not found.by_group:
        return  # seqeval has no answer where no entity is on either side
    options = {"mode": "strict", "scheme": IOB2} if strict else {}
    wanted = metrics.classification_report(gold, predicted, output_dict=True, zero_division=0, **options)
    for average, own in (("micro", found.micro), ("macro", found.macro), ("weighted", found.weighted)):
        for key, estimate in (("precision", own.precision), ("recall", own.recall), ("f1-score", own.f1)):
            assert (estimate.value or 0) == pytest.approx(float(wanted[f"{average} avg"][key]), abs=1e-12)
    for kind, group in found.by_group.items():
        assert group.gold == wanted[kind]["support"]
        assert (group.rates.f1.value or 0) == pytest.approx(float(wanted[kind]["f1-score"]), abs=1e-12)


ENTITIES = st.dictionaries(st.sampled_from("ab"), st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 3), st.integers(4, 6)), max_size=4))


@given(ENTITIES, ENTITIES)
@settings(max_examples=60, deadline=None)
def test_swapping_gold_and_predictions_swaps_precision_and_recall(gold, predicted):
    both = [{"a": [], "b": [], **side} for side in (gold, predicted)]
    one, other = entity_scores(*both, rounds=5), entity_scores(*both[::-1], rounds=5)
    assert (one.micro.precision.value, one.micro.recall.value) == (other.micro.recall.value, other.micro.precision.value)
    assert one.micro.f1 == other.micro.f1


def test_tags_of_another_scheme_and_unknown_documents_are_refused():
    for tags in (["B-A", "S-A"], ["B"], ["O-A"], ["B-"]):
        with pytest.raises(ConfigError, match="has no tag of IOB2"):
            iob2_entities(tags)
    with pytest.raises(ConfigError, match=r"1 documents of the predictions are not in the gold ones \(first: 'x'\)"):
        entity_scores({"a": []}, {"x": []})
    with pytest.raises(ConfigError, match="no document to score"):
        entity_scores({}, {})
