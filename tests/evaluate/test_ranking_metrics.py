"""Recall@k, MRR, averages and NIL against tables worked by hand, and what must hold of them whatever the predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from syncabel.evaluate import PROTOCOLS, evaluate, nil_scores
from syncabel.evaluate.averages import macro_average
from syncabel.evaluate.ranking import best_of_first, reached, reciprocal_rank


def test_recall_at_k_and_mrr_agree_with_a_table_worked_by_hand(annotated, answered, tree_kb):
    #                                          right at rank:  1         3              none       no prediction
    doc = annotated("d", ("a", "left"), ("b", "left"), ("c", "left"), ("d", "left"))
    report = evaluate([doc], answered(doc, "left right", "right top left", "right top", ""), tree_kb)
    assert {k: report.metrics[f"recall@{k}"] for k in (1, 2)} == {1: 1 / 4, 2: 1 / 4}
    assert report.metrics["mrr"] == pytest.approx((1 + 1 / 3) / 4)
    assert "recall@5" not in report.metrics, "no list is that long"


def test_recall_at_k_counts_concepts_and_not_names(annotated, answered, tree_kb):
    doc = annotated("d", ("a", "left"))
    report = evaluate([doc], answered(doc, "leaf=leafy old=leaf_disease leaf left"), tree_kb)
    assert report.metrics["recall@2"] == 1, "three names of one concept before it are one wrong answer"
    assert report.metrics["mrr"] == 1 / 2
    assert len(report.mentions[0].candidates) == 2


def test_macro_averages_agree_with_a_table_worked_by_hand(annotated, answered, tree_kb):
    first = annotated("d1", ("a", "left", "Drug"), ("b", "left", "Drug"), ("c", "right", "Sign"))
    second = annotated("d2", ("d", "leaf|old", "Drug"), ("e", "right", None))
    linked = [*answered(first, "left", "left", "top"), *answered(second, "top", "right")]
    metrics = evaluate([first, second], linked, tree_kb).metrics
    assert metrics["set"] == metrics["recall@1"] == 3 / 5
    assert metrics["macro_group"] == pytest.approx((2 / 3 + 0 + 1) / 3)  # Drug, Sign, no type
    assert metrics["macro_document"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics["macro_concept"] == pytest.approx((1 + 1 / 2 + 0) / 3)  # left, right, leaf


def test_precision_of_no_answer_is_no_number(annotated, answered, tree_kb):
    doc = annotated("d", ("a", "left"))
    report = evaluate([doc], answered(doc, "-"), tree_kb)
    assert (report.metrics["precision"], report.intervals["precision"]) == (None, None)
    assert (report.confidence.n, report.confidence.accuracy) == (1, 0.0)  # what is no name was written with some confidence, and is wrong
    assert evaluate([doc], answered(doc, ""), tree_kb).confidence is None


def test_both_denominators_are_shown(annotated, answered, tree_kb):
    doc = annotated("d", ("a", "left"), ("b", "left"), ("c", "unknown"), ("d", "unknown+left"))
    cells = evaluate([doc], answered(doc, "left", "top", "left", "left"), tree_kb).denominators
    assert {name: (cell.n, cell.correct, cell.recall_at_1) for name, cell in cells.items()} == {"all_gold": (4, 1, 1 / 4), "gold_in_kb": (2, 1, 1 / 2)}


def test_nil_agrees_with_a_table_worked_by_hand(annotated, answered, tree_kb):
    doc = annotated("d", ("a", ""), ("b", ""), ("c", ""), ("d", "left"), ("e", "left"), ("f", "left"))
    report = evaluate([doc], answered(doc, "NIL left", "-", "left", "NIL", "", "left"), tree_kb)
    nil = report.nil_scores
    assert (nil.n, nil.predicted, nil.correct) == (3, 4, 2)
    assert (nil.precision, nil.recall) == (1 / 2, 2 / 3)
    assert nil.f1 == pytest.approx(4 / 7)
    assert (report.n, report.nil, report.nil_correct) == (3, 3, 2)


def test_a_missing_line_and_a_failure_do_not_say_nil(annotated, answered, tree_kb):
    doc = annotated("d", ("a", ""), ("b", ""), ("c", "left"))
    linked = [*answered(doc, None, None, "left"), *answered(doc, None, "", None, error="the prompt is too long")]
    nil = evaluate([doc], linked, tree_kb).nil_scores
    assert (nil.n, nil.predicted, nil.correct, nil.precision, nil.recall, nil.f1) == (2, 0, 0, None, 0.0, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_nil_scores_are_those_of_scikit_learn(rows):
    gold, said = zip(*rows, strict=True)
    found = nil_scores(["d"] * len(rows), gold, said, rounds=3)
    if any(gold) and any(said):
        reference = precision_recall_fscore_support(gold, said, average="binary", zero_division=0.0)[:3]
        assert [found.precision, found.recall, found.f1] == pytest.approx(list(reference))
    assert (found.precision is None) == (not any(said))
    assert (found.recall is None) == (not any(gold))


fractions = st.sampled_from([0.0, 1 / 3, 0.5, 1.0])


@given(st.lists(fractions, max_size=12))
def test_mrr_lies_between_recall_at_1_and_recall_of_the_whole_list(scores):
    assert best_of_first(scores, 1) <= reciprocal_rank(scores) <= best_of_first(scores, len(scores))
    assert all(best_of_first(scores, k) <= best_of_first(scores, k + 1) for k in range(1, 12))
    if set(scores) <= {0.0, 1.0}:
        assert reciprocal_rank(scores) == (1 / (scores.index(1.0) + 1) if 1.0 in scores else 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), fractions), min_size=1, max_size=20))
def test_the_macro_average_is_the_mean_of_the_parts_means(rows):
    documents, parts, scores = zip(*rows, strict=True)
    means = [sum(s for p, s in zip(parts, scores, strict=True) if p == part) / parts.count(part) for part in set(parts)]
    value, (low, high) = macro_average(documents, parts, scores, rounds=20)
    assert value == pytest.approx(sum(means) / len(means))
    assert -1e-12 <= low <= high <= 1 + 1e-12


def test_cut_offs_go_as_far_as_the_candidates():
    assert [reached(longest) for longest in (0, 1, 2, 4, 5, 9, 10, 50)] == [(1,), (1,), (1, 2), (1, 2), (1, 2, 5), (1, 2, 5), (1, 2, 5, 10), (1, 2, 5, 10)]


answers = st.sampled_from(["left", "right", "old", "unknown", "left+right", "left|right", "leaf+unknown", ""])
rankings = st.none() | st.lists(st.sampled_from(["left", "right", "leaf", "old", "unknown", "left+right", "NIL", "-", "left=cold"]), max_size=4).map(" ".join)
corpora = st.lists(st.lists(st.tuples(answers, rankings), min_size=1, max_size=4), min_size=1, max_size=3)


@settings(max_examples=80, deadline=None)
@given(corpora, st.sampled_from(list(PROTOCOLS)), st.sampled_from([(), ("Disease",), ("Sign",)]))
def test_what_holds_of_every_report(annotated, answered, tree_kb, corpus, protocol, groups):
    documents = [annotated(str(i), ("w", "left"), *(("w", gold) for gold, _ in rows)) for i, rows in enumerate(corpus)]
    linked = [one for doc, rows in zip(documents, corpus, strict=True) for one in answered(doc, "left", *(r for _, r in rows), groups=groups)]
    report = evaluate(documents, linked, tree_kb, protocol=protocol, rounds=3)
    metrics = report.metrics
    assert metrics["set"] <= metrics["any"] <= metrics["overlap"]
    assert metrics["set"] <= metrics["jaccard"] <= metrics["overlap"]
    assert metrics["belb-strict"] <= metrics["belb-lenient"]
    ranks = [metrics[f"recall@{k}"] for k in (1, 2, 5, 10) if f"recall@{k}" in metrics]
    assert ranks == sorted(ranks)
    assert ranks[0] == metrics[protocol] == report.recall_at_1 <= metrics["mrr"] + 1e-12
    assert metrics["precision"] is None or metrics["precision"] >= report.recall_at_1
    for kind, ledgers in report.ledgers.items():
        assert sum(cell.n for cell in report.strata[kind].values()) == report.n
        for value, ledger in ledgers.items():
            cell = report.strata[kind][value]
            if cell.n:
                assert sum(line.share for line in ledger.values()) == pytest.approx(1 - cell.recall_at_1, abs=1e-12)
            else:
                assert (cell.recall_at_1, cell.ci95) == (None, None)
                assert {line.share for line in ledger.values()} == {None}
    if protocol != "syncabel":  # whose rule knows no knowledge base
        assert sum(item.scores[protocol] == 1 for item in report.mentions if protocol in item.scores and not item.in_kb) == 0


def test_the_interval_of_a_macro_average_weighs_a_mention_by_its_part():
    # A document has three hits of x or one miss of y, four each: both kinds weigh the same, so a replicate is worth the share of the first kind.
    documents, parts, scores = [*"abcd" * 3, *"efgh"], [*"x" * 12, *"y" * 4], [1] * 12 + [0] * 4
    drawn = np.random.default_rng(42).multinomial(8, [1 / 8] * 8, size=100)
    expected = np.quantile(drawn[:, :4].sum(1) / 8, [0.025, 0.975])
    assert 0 < expected[0] < expected[1] < 1
    value, interval = macro_average(documents, parts, scores, rounds=100)
    assert value == pytest.approx(0.5)
    assert interval == pytest.approx(tuple(expected))
