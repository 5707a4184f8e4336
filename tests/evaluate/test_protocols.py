"""What is right, held to a table worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.evaluate.protocols import PROTOCOLS, READS, options

codes = st.frozensets(st.sampled_from("abcd"), max_size=3)
answers = st.lists(codes.filter(bool), min_size=1, max_size=3)
NAMES = ("set", "any", "overlap", "jaccard", "belb-strict", "belb-lenient", "syncabel")

#         gold            predicted   set  any  overlap  jaccard  belb-strict  belb-lenient  syncabel
TABLE = [
    (["a"], "a", 1, 1, 1, 1, 1, 1, 1),
    (["a"], "b", 0, 0, 0, 0, 0, 0, 0),
    (["a"], "", 0, 0, 0, 0, 0, 0, 0),
    (["a", "b"], "b", 1, 1, 1, 1, 1, 1, 1),  # alternatives: one suffices
    (["ab"], "ab", 1, 1, 1, 1, 0, 1, 1),  # a composite: both together; of a name, two ids are one too many
    (["ab"], "a", 0, 1, 1, 1 / 2, 1, 1, 0),
    (["ab"], "ac", 0, 0, 1, 1 / 3, 0, 1, 0),
    (["a"], "ab", 0, 0, 1, 1 / 2, 0, 1, 0),  # of a name: it is shared by a and b
    (["ab", "c"], "ac", 0, 1, 1, 1 / 2, 0, 1, 0),
    (["abc"], "bc", 0, 1, 1, 2 / 3, 0, 1, 0),
]


def test_every_protocol_has_a_rule_and_something_to_read():
    assert set(PROTOCOLS) == set(READS) == set(NAMES)


@pytest.mark.parametrize(("gold", "predicted", "expected"), [(gold, predicted, row) for gold, predicted, *row in TABLE])
def test_the_protocols_agree_with_a_table_worked_by_hand(gold, predicted, expected):
    scores = [PROTOCOLS[name]([frozenset(answer) for answer in gold], frozenset(predicted)) for name in NAMES]
    assert scores == pytest.approx(expected)


@given(answers, codes)
def test_what_a_strict_protocol_accepts_a_lenient_one_does(gold, predicted):
    by_set, by_any, overlap, jaccard, strict, lenient, written = (PROTOCOLS[name](gold, predicted) for name in NAMES)
    assert by_set <= by_any <= overlap
    assert by_set <= jaccard <= overlap
    assert (jaccard == 1) == (by_set == 1)
    assert strict <= lenient
    assert written == by_set  # of codes that are canonical and each there once


@given(answers, st.sampled_from(list(PROTOCOLS)))
def test_every_option_is_right_in_full(gold, protocol):
    assert all(PROTOCOLS[protocol](gold, option) == 1 for option in options(gold, protocol))
