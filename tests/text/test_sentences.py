"""Sentences: of a whole document by the library, around a mention without it; both with the abbreviations of clinical writing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel import text as prompt_rule
from syncabel.sentences import sentence_around, sentences
from syncabel.types import Span

TEXT = st.one_of(
    st.text(alphabet='Aé b.?!…\n\r\t()[]{}"»1🙂𝔸\u2028\x85\x00\xa0', max_size=80),
    st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=80),
    st.lists(st.sampled_from(["Dr. Smith ", "p. ex. ", "The end. ", "¿Qué? ", "\n", "i.v. ", "5 mg. ", "Vit. D "]), max_size=12).map("".join),
)
LANGUAGES = st.sampled_from(["en", "fr", "es", "de"])


@settings(max_examples=300)
@given(TEXT, LANGUAGES)
def test_sentences_hold_every_character_but_white_space_once_and_in_order(text: str, language: str) -> None:
    last = 0
    for span in sentences(text, language):
        assert last <= span.start < span.end <= len(text)
        assert not text[last : span.start].strip()
        assert "\n" not in text[span.start : span.end]
        assert text[span.start : span.end] == text[span.start : span.end].strip()
        last = span.end
    assert not text[last:].strip()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Give approx. 5 mg daily.| Then stop."),
        ("en", "He had i.v. fluids and i.v. 5 mg of it.| Then he left."),
        ("en", "Vit. D was low.| Hb 12 g/dl."),
        ("en", "Dr. Smith came.| He left."),
        ("en", "E. coli was found.| S. aureus was not."),
        ("en", "Dose 1.5 mg. papaverine (P =. 069, or 0. 5%).| Then it went."),
        ("en", "It went on for 5 min.| Reserpine helped the patient.| She left."),
        ("en", "It was lost.| mtDNA was not."),
        ("en", "Fig. 3 shows no. 7.| He said no.| The pain stayed 🙂.| One more"),
        ("en", "The groups were 1) one and 2) two (n = 5).| Both"),
        ("en", "- item one|\n- item two.| More|\n\nA paragraph"),
        ("en", "one|\r\ntwo"),
        ("fr", "Prendre p. ex. 5 mg.| Puis arrêter."),
        ("fr", "Infection à E. coli, env. 5 mg i.v. par jour.| Arrêt."),
        ("fr", "Le Dr. Martin et M. Dupont.| «Bonjour.»| Il part."),
        ("es", "Administrar aprox. 5 mg.| Luego parar."),
        ("es", "Tto. con Vit. D i.v. y alta.| ¿Qué hacer?| Nada."),
        ("es", "La Dra. Pérez, p. ej. Paracetamol, dosis máx. 4 g.| Págs. 3 y núm. 7."),
    ],
)
def test_a_text_is_split_where_a_reader_would_split_it(language: str, text: str) -> None:
    plain = text.replace("|", "")
    assert [plain[span.start : span.end] for span in sentences(plain, language)] == [part.strip() for part in text.split("|")]


@st.composite
def text_and_mention(draw: st.DrawFn) -> tuple[str, tuple[Span, ...]]:
    text = draw(TEXT.filter(bool))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=4)))
    return text, tuple(map(Span, cuts[::2], cuts[1::2]))


@given(text_and_mention(), LANGUAGES, st.integers(0, 90))
def test_no_break_falls_inside_a_mention_and_the_context_is_bounded(case: tuple[str, tuple[Span, ...]], language: str, context: int) -> None:
    text, spans = case
    sentence = sentence_around(text, spans, context, language)
    assert 0 <= spans[0].start - sentence.start <= context
    assert 0 <= sentence.end - spans[-1].end <= context
    assert sentence.end <= len(text)
    assert "\n" not in text[sentence.start : spans[0].start] + text[spans[-1].end : sentence.end]


@pytest.mark.parametrize(
    ("text", "mention", "sentence"),
    [
        ("Give approx. 5 mg daily. Then stop.", "mg", "Give approx. 5 mg daily."),
        ("He had i.v. 5 mg. Then fever.", "mg", "He had i.v. 5 mg."),
        ("Fluids i.v. Fever went.", "Fever", "Fever went."),
        ("It was Vit. D rickets. Then", "rickets", "It was Vit. D rickets."),
        ("Colon cancer (P =. 069, 0. 5%) was seen. Then", "cancer", "Colon cancer (P =. 069, 0. 5%) was seen."),
        ("After 4 g. Fever went.", "Fever", "Fever went."),
        ("In 10. 5 had fever.", "fever", "5 had fever."),
        ("p. ej. Dolor, aprox. 5 mg. Alta.", "Dolor", "p. ej. Dolor, aprox. 5 mg."),
    ],
)
def test_the_rule_of_prompts_knows_the_same_abbreviations(text: str, mention: str, sentence: str) -> None:
    start = text.index(mention)
    span = prompt_rule.sentence_around(text, (Span(start, start + len(mention)),), 600)
    assert text[span.start : span.end] == sentence
