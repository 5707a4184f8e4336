"""What is right, held to a table worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.evaluate.protocols import PROTOCOLS, options

codes = st.frozensets(st.sampled_from("abcd"), max_size=3)
answers = st.lists(codes.filter(bool), min_size=1, max_size=3)

#         gold            predicted   set  any  overlap  jaccard
TABLE = [
    (["a"], "a", 1, 1, 1, 1),
    (["a"], "b", 0, 0, 0, 0),
    (["a"], "", 0, 0, 0, 0),
    (["a", "b"], "b", 1, 1, 1, 1),  # alternatives: one suffices
    (["ab"], "ab", 1, 1, 1, 1),  # a composite: both together
    (["ab"], "a", 0, 1, 1, 1 / 2),
    (["ab"], "ac", 0, 0, 1, 1 / 3),
    (["a"], "ab", 0, 0, 1, 1 / 2),
    (["ab", "c"], "ac", 0, 1, 1, 1 / 2),
    (["abc"], "bc", 0, 1, 1, 2 / 3),
]


@pytest.mark.parametrize(("gold", "predicted", "by_set", "by_any", "by_overlap", "by_jaccard"), TABLE)
def test_the_protocols_agree_with_a_table_worked_by_hand(gold, predicted, by_set, by_any, by_overlap, by_jaccard):
    scores = [rule([frozenset(answer) for answer in gold], frozenset(predicted)) for rule in PROTOCOLS.values()]
    assert scores == pytest.approx([by_set, by_any, by_overlap, by_jaccard])


@given(answers, codes)
def test_what_a_strict_protocol_accepts_a_lenient_one_does(gold, predicted):
    by_set, by_any, overlap, jaccard = (PROTOCOLS[name](gold, predicted) for name in ("set", "any", "overlap", "jaccard"))
    assert by_set <= by_any <= overlap
    assert by_set <= jaccard <= overlap
    assert (jaccard == 1) == (by_set == 1)


@given(answers, st.sampled_from(list(PROTOCOLS)))
def test_every_option_is_right_in_full(gold, protocol):
    assert all(PROTOCOLS[protocol](gold, option) == 1 for option in options(gold, protocol))
