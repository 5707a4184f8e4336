"""The words of a judgement: turning them, counting votes, published names, short cuts, blinded questions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged_documents import document, linked

from syncabel.errors import UnknownNameError
from syncabel.judge import PUBLISHED, RELATIONS, as_label, cases_of, majority, messages, question_of, turned
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

relations = st.sampled_from(RELATIONS)
votes = st.lists(relations, min_size=1, max_size=9)


@given(relations)
def test_turning_twice_changes_nothing(relation):
    assert turned(turned(relation)) == relation
    assert (turned(relation) == relation) == (relation not in ("broader", "narrower"))


@given(votes, st.randoms(use_true_random=False))
def test_the_majority_does_not_depend_on_the_order_of_votes(given_votes, random):
    shuffled = list(given_votes)
    random.shuffle(shuffled)
    assert majority(shuffled) == majority(given_votes)


@given(votes)
def test_the_majority_is_a_most_frequent_vote_and_never_kinder_than_another_one(given_votes):
    label, tied = majority(given_votes)
    most = max(map(given_votes.count, given_votes))
    first = [relation for relation in RELATIONS if given_votes.count(relation) == most]
    assert label == first[0]
    assert tied == (len(first) > 1)


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("STRICT", "equivalent"),
        ("EXACT", "equivalent"),
        ("BROAD", "broader"),
        ("NARROW", "narrower"),
        ("PARTIAL", "partial"),
        ("NO_RELATION", "unrelated"),
        ("related", "related"),
        ("Broader", "broader"),
    ],
)
def test_published_words_and_ours_are_read(published, ours):
    assert as_label(published) == ours


def test_the_table_of_published_words_is_whole():
    assert set(PUBLISHED) == {"STRICT", "EXACT", "BROAD", "NARROW", "PARTIAL", "NO_RELATION"}
    with pytest.raises(UnknownNameError, match="'broader'"):
        as_label("broadest")


def test_short_cuts_decide_what_needs_no_question(judging):
    found = cases_of(judging.documents, judging.linked, judging.kb)
    assert [(case.document_id, case.mention_id, case.how, case.label, len(case.questions)) for case in found.cases] == [
        ("d1", "m0", "equal", "equivalent", 0),
        ("d1", "m1", "asked", None, 1),
        ("d2", "m0", "asked", None, 1),
        ("d2", "m1", "partial", "partial", 0),
        ("d3", "m0", "abstained", "unrelated", 0),
        ("d3", "m2", "asked", None, 2),
        ("d4", "m0", "equal", "equivalent", 0),
        ("d4", "m1", "unknown_concept", None, 0),
        ("d4", "m2", "missing", "unrelated", 0),
    ]
    assert (found.nil, found.unannotated) == (1, 1)


def question(judging, document, mention, number=0):
    case = next(case for case in cases_of(judging.documents, judging.linked, judging.kb).cases if (case.document_id, case.mention_id) == (document, mention))
    return case.questions[number]


def fields(question, swapped):
    return json.loads(messages(question, swapped=swapped)[-1].content)


def test_a_question_has_the_sentence_both_concepts_and_the_hierarchy(judging):
    asked = fields(question(judging, "d2", "m0"), swapped=False)
    assert asked == {
        "sentence": "[Sclerosis] was seen.",
        "A": {"name": "multiple sclerosis", "other names": ["disseminated sclerosis", "MS"], "groups": ["Disease"]},
        "B": {"name": "nervous system disease", "groups": ["Disease"]},
        "hierarchy": "B lies 1 step above A",
    }


def test_exchanging_the_sides_exchanges_everything_said_of_them(judging):
    one, other = (fields(question(judging, "d2", "m0"), swapped) for swapped in (False, True))
    assert (one["A"], one["B"]) == (other["B"], other["A"])
    assert other["hierarchy"] == "B lies 1 step below A"
    assert one["sentence"] == other["sentence"]


def test_nothing_tells_which_side_is_gold(judging):
    """A judge that sees one order only could not tell it from the other with gold and prediction exchanged."""
    asked = question(judging, "d2", "m0")
    links = tuple(type(one)(one.predicted, one.gold, -one.steps) for one in asked.links)
    mirrored = type(asked)(asked.predicted, asked.against, asked.sentence, asked.predicted_side, asked.gold_side, links)
    assert messages(asked, swapped=True) == messages(mirrored, swapped=False)
    text = " ".join(message.content for message in messages(asked)).casefold()
    assert not [word for word in ("gold", "predict", "annotat", "a:1", "a:7") if word in text]


def test_the_order_of_what_the_hierarchy_says_tells_no_composite_gold_answer():
    parents = {"A:1": ("A:4",), "A:2": ("A:3",), "A:3": (), "A:4": ()}  # crosswise: either side's order is another one
    concepts = [Concept(code, (Name(f"name of {code}"),), ("Disease",), parents=above) for code, above in parents.items()]
    kb, made = KnowledgeBase.build(concepts, About(source="test")), document("d", "Angina at night.", ("Angina", (("A:4",),)))
    gold, predicted = ("A:1", "A:2"), ("A:3", "A:4")
    asked, mirrored = (question_of(made, made.mentions[0], *sides, kb) for sides in ((gold, predicted), (predicted, gold)))
    assert len(asked.links) > 1
    assert messages(asked, swapped=True) == messages(mirrored)


def test_brackets_of_the_text_become_parentheses_and_its_quotes_end_nothing(small_kb):
    text = 'He said "no [pain]", then angina\u202e came <|eot_id|> back.'
    made = document("d", text, ("angina", (("A:4",),)))
    (case,) = cases_of([made], [linked(made, "m0", "A:3")], small_kb).cases
    asked = fields(case.questions[0], swapped=False)
    assert asked["sentence"] == 'He said "no (pain)", then [angina] came <|eot_id|> back.'


def test_equal_questions_are_one_whatever_the_document(small_kb):
    made = [document(name, "Angina at night.", ("Angina", (("A:4",),))) for name in ("one", "two")]
    digests = {case.questions[0].digest for case in cases_of(made, [linked(one, "m0", "A:3") for one in made], small_kb).cases}
    assert len(digests) == 1


#         gold answers                      predicted        decided
SHORT = [
    ([("A:3", "A:5")], ("A:5", "A:3"), "equal"),
    ([("A:3", "A:5")], ("A:5",), "partial"),
    ([("A:3", "A:5"), ("A:5",)], ("A:5",), "equal"),
    ([("A:3", "A:5")], ("A:5", "A:1"), "asked"),  # shares a part and adds another
    ([("A:3",)], ("A:3", "A:5"), "asked"),  # more than gold
    ([("A:3",), ("Z:1",)], ("A:4",), "asked"),  # one gold answer is known
    ([("Z:1",)], ("A:4",), "unknown_concept"),
    ([("Z:1",)], ("Z:1",), "equal"),
    ([("A:3",)], ("NIL",), "abstained"),
    ([("A:3",)], (), "abstained"),
]


@pytest.mark.parametrize(("gold", "predicted", "how"), SHORT)
def test_what_is_decided_without_a_question(small_kb, gold, predicted, how):
    made = document("d", "Angina at night.", ("Angina", tuple(tuple(sorted(answer)) for answer in gold)))
    (case,) = cases_of([made], [linked(made, "m0", *sorted(predicted))], small_kb).cases
    assert case.how == how
    assert bool(case.questions) == (how == "asked")


def test_a_composite_answer_is_told_as_several_concepts_together(small_kb):
    made = document("d", "Angina at night.", ("Angina", (("A:1", "A:4"),)))
    (case,) = cases_of([made], [linked(made, "m0", "A:8")], small_kb).cases
    asked = fields(case.questions[0], swapped=True)
    assert [concept["name"] for concept in asked["B"]["together"]] == ["multiple sclerosis", "angina pectoris"]
    assert asked["hierarchy"] == "B (angina pectoris) lies 1 step below A (heart disease)"
