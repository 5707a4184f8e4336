"""Each change of a name, worked by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.mentions import CHANGES, british, initials, inverted, lowered, misspelt, number_style, perturb, plural_or_singular, reworded, word_dropped

RNG = random.Random(0)

WORKED = [
    (lowered, "Crohn Disease", "crohn disease"),
    (lowered, "gout", None),
    (inverted, "Diabetes Mellitus, Type 2", "Type 2 Diabetes Mellitus"),
    (inverted, "Type 2 Diabetes Mellitus", "Diabetes Mellitus, Type 2"),
    (inverted, "Usher syndrome type 1", "Usher syndrome, type 1"),
    (inverted, "breast cancer", "cancer, breast"),
    (inverted, "cancer of the breast", None),
    (inverted, "gout", None),
    (inverted, "a, b, c", None),
    (plural_or_singular, "ovarian cyst", "ovarian cysts"),
    (plural_or_singular, "cutaneous fibromas", "cutaneous fibroma"),
    (plural_or_singular, "vitamin deficiency", "vitamin deficiencies"),
    (plural_or_singular, "vitamin deficiencies", "vitamin deficiency"),
    (plural_or_singular, "liver abscess", "liver abscesses"),
    (plural_or_singular, "liver abscesses", "liver abscess"),
    (plural_or_singular, "measles", None),
    (plural_or_singular, "diabetes", None),
    (initials, "mitral valve stenosis", "MVS"),
    (initials, "retinitis pigmentosa 10", "RP10"),
    (initials, "cancer of the breast", "CB"),
    (initials, "Charcot-Marie-Tooth disease", "CMTD"),
    (initials, "gout", None),
    (initials, "type 2 diabetes mellitus", None),
    (word_dropped, "Parkinson's disease", "Parkinson's"),
    (word_dropped, "acute left bundle block", {"acute bundle block", "acute left block"}),
    (word_dropped, "breast cancer", None),
    (word_dropped, "gout", None),
    (number_style, "type II hyperlipidemia", "type 2 hyperlipidemia"),
    (number_style, "ataxia 4", "ataxia IV"),
    (number_style, "ataxia", None),
    (british, "sickle cell anemia", "sickle cell anaemia"),
    (british, "oesophageal ulcer", "esophageal ulcer"),
    (british, "gout", None),
    (reworded, "malignant kidney cancer", "malignant renal cancer"),
    (reworded, "renal cancer", "kidney cancer"),
    (reworded, "kidney", None),
]


@pytest.mark.parametrize(("change", "name", "expected"), WORKED)
def test_a_change_does_what_was_worked_out_by_hand(change, name, expected):
    found = change(name, RNG)
    assert found in expected if isinstance(expected, set) else found == expected


def _edits(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


def test_a_misspelling_is_one_or_two_slips_and_spares_first_letters_short_words_and_capitals():
    for seed in range(400):
        wrong = misspelt("hepatitis B of the LIVER", random.Random(seed))
        assert wrong != "hepatitis B of the LIVER"
        assert wrong.startswith("h")
        assert wrong.endswith(" B of the LIVER")
        assert 1 <= _edits("hepatitis B of the LIVER", wrong) <= 4  # a swap counts as two
    assert misspelt("flu", RNG) is None


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_no_change_returns_the_name_itself_or_nothing(name, seed):
    for change in CHANGES:
        found = change(name, random.Random(seed))
        assert found is None or (found != name and found.strip())


@pytest.mark.parametrize("name", ["type 2 diabetes mellitus", "gout", "CF", "Crohn's disease", "flu"])
def test_a_perturbed_name_differs_from_the_name(name):
    assert all(perturb(name, random.Random(seed)) != name for seed in range(50))


def test_perturbing_repeats_with_the_same_seed():
    assert perturb("mitral valve stenosis", random.Random(5)) == perturb("mitral valve stenosis", random.Random(5))
