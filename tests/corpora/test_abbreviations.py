"""Schwartz–Hearst on the examples of the paper, and on what it must leave alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.abbreviations import find_abbreviations
from syncabel.types import Document


def found(text: str) -> dict[str, str]:
    return {text[a.short.start : a.short.end]: text[a.long.start : a.long.end] for a in find_abbreviations(text)}


@pytest.mark.parametrize(
    ("text", "short", "long"),
    [
        ("binding of heat shock transcription factor (HSF) to DNA", "HSF", "heat shock transcription factor"),
        ("the gene-related peptide Gcn5-related N-acetyltransferase (GNAT) family", "GNAT", "Gcn5-related N-acetyltransferase"),
        ("encoding adenomatous polyposis coli (APC), a protein", "APC", "adenomatous polyposis coli"),
        ("a patient with Hodgkin lymphoma (HL) in remission", "HL", "Hodgkin lymphoma"),
        ("Hereditary hemochromatosis (HH) is common", "HH", "Hereditary hemochromatosis"),
        ("HSF (heat shock transcription factor) binds", "HSF", "heat shock transcription factor"),
        ("loss of ataxia-telangiectasia (A-T; MIM 208900) cells", "A-T", "ataxia-telangiectasia"),
        ("von Willebrand factor (vWF) levels", "vWF", "von Willebrand factor"),
        ("interleukin 2 (IL 2) levels", "IL 2", "interleukin 2"),
        ("a case of non-Hodgkin lymphoma (HL) was seen", "HL", "non-Hodgkin lymphoma"),
        ("une embolie pulmonaire (EP) est fréquente", "EP", "embolie pulmonaire"),
    ],
)
def test_a_definition_is_found_whole(text: str, short: str, long: str) -> None:
    assert found(text) == {short: long}


@pytest.mark.parametrize(
    "text",
    [
        "the patients (n = 12) were seen",
        "heat shock (1) was applied",
        "heat shock transcription factor (-HSF) was applied",
        "heat shock factors that were transcribed (HSFTWTAAAABBB) here",
        "five mutations (manuscript in preparation) were found",
        "It was heat. Shock factor (HSF) is new",
        "heat shock\nfactor (HSF) is new",
        "heat one two three four five six seven shock (HS) is too far",
        "the APC gene region (APC) was lost",
        "telomere (ABC) was lost",
        "",
        "(",
        "()((HSF))",
    ],
)
def test_what_defines_nothing_is_left_alone(text: str) -> None:
    assert found(text) == {}


@pytest.mark.parametrize(("words", "expected"), [(2, {"HS": "heat x x shock"}), (3, {})])
def test_a_long_form_has_at_most_twice_the_characters_in_words(words: int, expected: dict[str, str]) -> None:
    assert found(f"heat {'x ' * words}shock (HS) was applied") == expected


@pytest.mark.parametrize(("words", "found_it"), [(9, True), (10, False)])
def test_a_long_form_has_at_most_five_words_more_than_characters(words: int, found_it: bool) -> None:
    # |A| = 6, so 11 words: min(6 + 5, 2 · 6).
    assert bool(found(f"Abcde {'x ' * words}fgh (ABCDEF) here".replace("fgh", "f"))) is found_it


def test_a_definition_is_found_once_and_the_first_one_stays() -> None:
    text = "Colon cancer (CC) is seen. Colon cancer (CC) or cervical carcinoma (CC)."
    (pair,) = find_abbreviations(text)
    assert (pair.long.start, pair.short.start) == (0, 14)
    assert Document("1", text, abbreviations=(pair,)).long_form("CC") == "Colon cancer"


def test_offsets_are_code_points() -> None:
    assert found("𝔸🙂 heat shock factor (HSF) 🙂") == {"HSF": "heat shock factor"}


@given(st.text(alphabet="AbC c.(),;\n[ß İ🙂1-", max_size=80))
def test_any_text_gives_spans_inside_it_and_short_forms_that_differ(text: str) -> None:
    pairs = find_abbreviations(text)
    Document("1", text, abbreviations=pairs)
    shorts = [text[p.short.start : p.short.end] for p in pairs]
    assert len(set(shorts)) == len(shorts)
    assert all(2 <= len(short) <= 10 for short in shorts)
