"""Which kind of mention it is, kind by kind, and that no kind leaves a mention or an empty value out."""

from dataclasses import replace

import pytest

from syncabel.evaluate import STRATA, Seen, evaluate, judge_mentions, report_json
from syncabel.evaluate.strata import looks_abbreviated, words_of
from syncabel.types import Abbreviation, Document, Span


def values(kind, documents, linked, kb, **training):
    """The value of every mention in this kind of stratum, in order."""
    return [item.strata[kind] for item in judge_mentions(documents, linked, kb, **training)]


@pytest.fixture
def train(annotated):
    """leaf twice, once by its alternative code; left once, as `cold`; left and right together once."""
    return [annotated("t", ("leafy", "leaf"), ("LEAFY", "old"), ("cold", "left"), ("both sides", "left+right"))]


def test_the_cells_cross_concept_and_mention(annotated, answered, tree_kb, train):
    doc = annotated("d", ("leafy", "leaf"), ("new", "old"), ("cold", "top"), ("new", "top"))
    found = values("cell", [doc], [], tree_kb, train=train)
    assert found == [
        "concept seen, mention seen",
        "concept seen, mention unseen",
        "concept unseen, mention seen",
        "concept unseen, mention unseen",
    ]


def test_a_pair_is_seen_where_concept_and_string_were_seen_together(annotated, tree_kb, train):
    doc = annotated("d", ("Leafy", "old"), ("cold", "leaf"), ("cold", "top|left"), ("both sides", "right+left"), ("both sides", "left"))
    assert values("pair", [doc], [], tree_kb, train=train) == ["seen", "unseen", "seen", "seen", "unseen"]


def test_frequencies_count_human_mentions_of_the_canonical_concept(annotated, tree_kb):
    train = [annotated("t", *[("w", "old")] * 4, *[("w", "leaf")] * 16, *[("w", "left")] * 5, ("w", "right"))]
    doc = annotated("d", ("w", "leaf"), ("w", "left"), ("w", "right"), ("w", "top"), ("w", "leaf+right"), ("w", "right|left"), ("w", "unknown"))
    assert values("frequency", [doc], [], tree_kb, train=train) == ["20+", "5-19", "1-4", "0", "1-4", "5-19", "0"]


def test_the_hundred_most_frequent_are_a_hundred(annotated, tree_kb):
    codes = [f"c{i:03}" for i in range(101)]
    seen = Seen.of([annotated("t", *[("w", code) for code in codes], ("w", "c100"))], [], tree_kb)
    assert len(seen.frequent) == 100
    assert "c100" in seen.frequent
    assert "c099" not in seen.frequent, "of equally frequent ones the first codes"
    assert [seen.most_frequent([frozenset(answer)]) for answer in ({"c000"}, {"c099"}, {"c000", "c099"})] == ["top100", "rest", "rest"]


def test_a_mention_is_a_name_of_its_concept_or_its_preferred_name(annotated, tree_kb):
    doc = annotated("d", ("Left  Disease", "left"), ("COLD", "left"), ("cold", "leaf"), ("leafy", "old"), ("leaf disease", "right|old"))
    assert values("match", [doc], [], tree_kb) == ["preferred", "name", "none", "name", "preferred"]
    assert values("name", [doc], [], tree_kb) == ["other", "shared", "shared", "other", "other"]


@pytest.mark.parametrize(("text", "words"), [("a", "1"), ("a b", "2"), ("a-b  c d", "3"), ("a b c d", ">3"), ("a b c d e f", ">3")])
def test_length_is_in_words(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(("text", "is_one"), [("MS", True), ("COVID-19", True), ("22", True), ("M", False), ("Ms", False), ("MS X", False), ("MS\n", False)])
def test_abbreviations_go_by_the_published_pattern(text, is_one):
    assert looks_abbreviated(Document("d", text), text) == ("abbreviation" if is_one else "other")


def test_a_short_form_that_its_document_defines_is_an_abbreviation(annotated):
    doc = replace(annotated("d", ("left disease", "left"), ("LeD", "left")), abbreviations=(Abbreviation(Span(13, 16), Span(0, 12)),))
    assert [looks_abbreviated(doc, mention.text) for mention in doc.mentions] == ["other", "abbreviation"]


def test_later_mentions_are_those_of_an_answer_named_before(annotated, tree_kb):
    doc = annotated("d", ("a", "left"), ("b", "old"), ("c", "leaf"), ("d", "left+right"), ("e", "right|left"), ("f", "right+left"), ("g", ""))
    assert [item.strata.get("occurrence") for item in judge_mentions([doc], [], tree_kb)] == ["first", "first", "later", "first", "later", "later", None]
    backwards = replace(doc, mentions=doc.mentions[::-1])
    assert values("occurrence", [replace(backwards, mentions=backwards.mentions[1:])], [], tree_kb) == ["later", "later", "first", "later", "first", "first"]


def test_composite_and_language_and_group(annotated, tree_kb):
    doc = annotated("d", ("a", "left"), ("b", "left+right", "Sign"), ("c", "left|right", None), language="fr")
    assert values("composite", [doc], [], tree_kb) == ["simple", "composite", "simple"]
    assert values("language", [doc], [], tree_kb) == ["fr"] * 3
    assert values("group", [doc], [], tree_kb) == ["Disease", "Sign", "(no type)"]


def test_concepts_are_compared_after_canonicalising_on_both_sides(annotated, tree_kb):
    human, made = [annotated("t", ("x", "old"))], [annotated("s", ("x", "left"), source="synthetic")]
    doc = annotated("d", ("a", "leaf"), ("b", "old"), ("c", "left"), ("d", "leaf+left"), ("e", "right|leaf"), ("f", "top"))
    found = values("concept", [doc], [], tree_kb, train=human, synthetic=made)
    assert found == ["human", "human", "synthetic_only", "synthetic_only", "human", "neither"]


def test_an_empty_stratum_is_shown_with_n_0_and_null(annotated, answered, tree_kb):
    doc = annotated("d", ("a", "left"))
    report = evaluate([doc], answered(doc, "left"), tree_kb, train=[annotated("t", ("b", ""))])
    for kind, declared in STRATA.items():
        if declared:
            assert tuple(report.strata[kind]) == tuple(report.ledgers[kind]) == declared
    found = report_json(report)
    assert found["strata"]["concept"]["human"] == {"n": 0, "correct": 0, "recall_at_1": None, "ci95": None}
    assert found["ledgers"]["concept"]["human"]["search"] == {"n": 0, "share": None}
    assert found["strata"]["concept"]["neither"]["recall_at_1"] == 1


def test_without_training_documents_nothing_is_called_unseen(annotated, answered, tree_kb):
    doc, of_training = annotated("d", ("a", "left"), ("b", "")), {"concept", "string", "pair", "cell", "frequency", "frequent"}
    report = evaluate([doc], answered(doc, "left", ""), tree_kb)
    assert set(report.strata) == set(report.ledgers) == set(STRATA) - of_training
    assert not any(of_training & set(item.strata) for item in report.mentions)
    made = evaluate([doc], answered(doc, "left", ""), tree_kb, synthetic=[annotated("s", ("b", "left"), source="synthetic")])
    assert made.strata["concept"]["synthetic_only"].n == 1


def test_every_alternative_of_a_mention_before_counts_as_named(annotated, tree_kb):
    doc = annotated("d", ("a", "left|right"), ("b", "right"), ("c", "left"), ("d", "top"))
    assert values("occurrence", [doc], [], tree_kb) == ["first", "later", "later", "first"]
