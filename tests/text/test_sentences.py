"""Sentences: of a whole document by the library, around a mention without it; both with the abbreviations of clinical writing."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel import text as prompt_rule
from syncabel.abbreviations import find_abbreviations
from syncabel.corpora import read_corpus
from syncabel.sentences import sentences
from syncabel.types import Mention, Span

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
        ("en", "Seen by pt. Smith, temp. High, hx. Taken.| Strep. Pneumoniae grew.| p53 was lost."),
        ("en", "It was given. and then stopped! or not.| He left."),
        ("fr", "Le T . G . F a été dosé.| La fin .| Puis"),
        ("es", "Viaja a EE. UU. con Rx. simple y Ag. criptococo, 6.5 Fr. con éxito.| Alta."),
        ("es", "La Dra. Pérez, p. ej. Paracetamol, dosis máx. 4 g.| Págs. 3 y núm. 7."),
    ],
)
def test_a_text_is_split_where_a_reader_would_split_it(language: str, text: str) -> None:
    plain = text.replace("|", "")
    assert [plain[span.start : span.end] for span in sentences(plain, language)] == [part.strip() for part in text.split("|")]


@st.composite
def text_and_mentions(draw: st.DrawFn) -> tuple[str, tuple[Mention, ...]]:
    text = draw(TEXT.filter(bool))
    mentions = []
    for number in range(draw(st.integers(0, 3))):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=4)))
        spans = tuple(map(Span, cuts[::2], cuts[1::2]))
        mentions.append(Mention(str(number), spans, " ".join(text[span.start : span.end] for span in spans)))
    return text, tuple(mentions)


@settings(max_examples=300)
@given(text_and_mentions(), LANGUAGES)
def test_nothing_breaks_within_a_mention_and_everything_else_breaks_as_without(case: tuple[str, tuple[Mention, ...]], language: str) -> None:
    text, mentions = case
    plain, held = sentences(text, language), sentences(text, language, mentions)

    wanted: list[Span] = []  # joined one by one
    for span in plain:
        if wanted and any(wanted[-1].end > mention.start and span.start < mention.end for mention in mentions):
            wanted[-1] = Span(wanted[-1].start, span.end)
        else:
            wanted.append(span)
    assert list(held) == wanted


def test_a_mention_of_several_fragments_holds_what_is_between_them_together() -> None:
    text = "Pain in the arm. It was bad. And in the leg. He left."
    spans = (Span(0, 4), Span(text.index("leg"), text.index("leg") + 3))
    held = sentences(text, "en", [Mention("1", spans, "Pain leg")])
    assert [text[span.start : span.end] for span in held] == ["Pain in the arm. It was bad. And in the leg.", "He left."]


@pytest.mark.parametrize(("name", "cut"), [("quaero", 2), ("spaccc", 14)])
def test_few_real_mentions_lie_over_a_break_and_none_where_they_are_given(name: str, cut: int, shared_data: Path) -> None:
    folder = shared_data / "corpora" / name
    corpus = read_corpus(folder / "quaero_brat.tar.gz", "quaero") if name == "quaero" else read_corpus([folder / "train.tsv", folder / "test.tsv"])

    def over(mentions: bool) -> int:
        count = 0
        for document in corpus:
            ends = [span.end for span in sentences(document.text, document.language, document.mentions if mentions else ())]
            count += sum(bisect_right(ends, mention.start) != bisect_left(ends, mention.end) for mention in document.mentions if len(mention.spans) == 1)
        return count

    assert (over(mentions=False), over(mentions=True)) == (cut, 0)


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


class Counted(str):
    """A text that counts the code points cut out of it."""

    copied = 0

    def __getitem__(self, key: object) -> str:
        piece = super().__getitem__(key)  # type: ignore[index]
        self.copied += len(piece)
        return piece


@pytest.mark.parametrize("work", [find_abbreviations, lambda text: list(prompt_rule.sentence_breaks(text)), prompt_rule.title_of])
def test_what_is_cut_out_of_a_text_grows_as_the_text_does(work: Callable[[str], object]) -> None:
    def copied(times: int) -> int:
        text = Counted("Title\n" + "He had colon cancer (CRC). Then it was seen (as in Fig. 3) again. " * times)
        work(text)
        return text.copied

    assert copied(400) <= 2.1 * copied(200)
