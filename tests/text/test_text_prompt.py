"""Sentences, markup and prompts hold for any text, not only for the polite ones."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.errors import MarkupError
from syncabel.prompt import (
    PromptFormat,
    encode_name,
    encode_names,
    encode_prompt,
    encode_text,
    from_document,
    from_sentence,
    iter_marked,
    marked,
    prompt_text,
    word_cutter,
)
from syncabel.text import clean_name, escape_markup, has_markup, sentence_around
from syncabel.types import Document, Mention, Span

TEXT = st.one_of(
    st.text(alphabet='Aé b.?!…\n\t()[]{}"»1🙂𝔸', min_size=1, max_size=80),
    st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80),
    st.lists(st.sampled_from(["Dr. Smith ", "e.g. ", "The end. ", "So? ", "\n", "J. ", "pain [x] ", "cáncer "]), min_size=1, max_size=12).map("".join),
)
GROUPS = st.lists(st.text(alphabet="ABé_ -&,", min_size=1, max_size=6).filter(str.strip), max_size=3).map(tuple)
FORMATS = st.sampled_from([PromptFormat(), PromptFormat("syncabel", "fr"), PromptFormat("sentence", "es", 3), PromptFormat("syncabel", "en", 0)])


@st.composite
def text_and_spans(draw: st.DrawFn) -> tuple[str, tuple[Span, ...]]:
    """A text with one to three fragments, none of them blank."""
    text = draw(TEXT.filter(str.strip))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=min(2, len(text) + 1), max_size=6)))
    spans = tuple(s for s in map(Span, cuts[::2], cuts[1::2]) if text[s.start : s.end].strip())
    whole = len(text) - len(text.lstrip())
    return text, spans or (Span(whole, whole + 1),)


def document_of(text: str, spans: tuple[Span, ...]) -> tuple[Document, Mention]:
    mention = Mention("1", spans, " ".join(text[s.start : s.end] for s in spans))
    return Document("d", text, (mention,)), mention


@given(text_and_spans(), st.integers(0, 90))
def test_a_sentence_holds_all_fragments_and_no_more_context_than_allowed(case: tuple[str, tuple[Span, ...]], context: int) -> None:
    text, spans = case
    sentence = sentence_around(text, spans, context)
    assert 0 <= sentence.start <= spans[0].start
    assert spans[-1].end <= sentence.end <= len(text)
    assert spans[0].start - sentence.start <= context
    assert sentence.end - spans[-1].end <= context


@given(text_and_spans())
def test_a_line_end_outside_the_mention_always_ends_the_sentence(case: tuple[str, tuple[Span, ...]]) -> None:
    text, spans = case
    sentence = sentence_around(text, spans, 1000)
    assert "\n" not in text[sentence.start : spans[0].start] + text[spans[-1].end : sentence.end]


@pytest.mark.parametrize(
    ("text", "mention", "sentence"),
    [
        ("It was seen. Dr. Smith found E. coli sepsis. He left.", "sepsis", "Dr. Smith found E. coli sepsis."),
        ("It hurts, e.g. In the chest. So?", "chest", "It hurts, e.g. In the chest."),
        ("He said “never.” The pain stayed… Then it went.", "pain", "The pain stayed…"),
        ("Title of it\nThe pain. Went", "pain", "The pain."),
        ("type 1. Diabetes was seen", "1. Diabetes", "type 1. Diabetes was seen"),
        ("¿Dolor? ¿Qué dolor de pecho? Sí.", "pecho", "¿Qué dolor de pecho?"),
    ],
)
def test_a_sentence_ends_where_a_reader_would_end_it(text: str, mention: str, sentence: str) -> None:
    start = text.index(mention)
    span = sentence_around(text, (Span(start, start + len(mention)),), 600)
    assert text[span.start : span.end] == sentence


@given(text_and_spans(), GROUPS)
def test_offsets_and_groups_are_read_back_from_a_marked_sentence(case: tuple[str, tuple[Span, ...]], groups: tuple[str, ...]) -> None:
    text, spans = case
    offsets = tuple((span.start, span.end) for span in spans)
    assert list(iter_marked(marked(text, offsets, groups))) == [(escape_markup(text), offsets, groups)]


@given(text_and_spans(), st.integers(0, 90))
def test_the_shape_of_a_bracket_does_not_move_the_end_of_a_sentence(case: tuple[str, tuple[Span, ...]], context: int) -> None:
    """Documents hold them as written, marked sentences as parentheses; the prompt must be the same."""
    text, spans = case
    assert sentence_around(text, spans, context) == sentence_around(escape_markup(text), spans, context)


@given(st.text())
def test_escaping_keeps_the_length_and_leaves_no_markup(text: str) -> None:
    escaped = escape_markup(text)
    assert len(escaped) == len(text)
    assert not has_markup(escaped)
    assert escape_markup(escaped) == escaped
    assert clean_name(clean_name(text)) == clean_name(text)


@given(text_and_spans(), GROUPS, FORMATS)
def test_a_prompt_has_exactly_the_mention_s_brackets(case: tuple[str, tuple[Span, ...]], groups: tuple[str, ...], fmt: PromptFormat) -> None:
    document, mention = document_of(*case)
    prompt = from_document(document, mention, groups, fmt)
    fragments = len(mention.spans)
    assert prompt.source.count("[") == prompt.source.count("]") == fragments
    assert prompt.source.count("{") == prompt.source.count("}") == (1 if groups else 0)
    assert prompt.question.count("[") == prompt.question.count("]") == 1
    assert not set(prompt.question) & set("{}")
    assert fmt.name != "syncabel" or "\n" not in prompt.source


@given(text_and_spans(), GROUPS, FORMATS)
def test_a_prompt_of_a_marked_sentence_is_the_prompt_of_its_own_context(case: tuple[str, tuple[Span, ...]], groups: tuple[str, ...], fmt: PromptFormat) -> None:
    text, spans = case
    first = from_sentence(marked(text, [(span.start, span.end) for span in spans], groups), fmt)
    context = first.source if fmt.name == "syncabel" else first.source.removesuffix("\n")
    again = from_sentence(context, fmt)
    assert again.source == first.source
    assert again.groups == first.groups == groups
    assert from_sentence(again.source.removesuffix("\n") if fmt.name == "sentence" else again.source, fmt) == again


@given(text_and_spans(), GROUPS, FORMATS)
def test_a_document_of_one_line_and_its_marked_sentence_give_one_prompt(case: tuple[str, tuple[Span, ...]], groups: tuple[str, ...], fmt: PromptFormat) -> None:
    """Training reads documents, `sample` reads sentences: the model must see the same."""
    text, spans = case[0].replace("\n", " "), case[1]
    document, mention = document_of(text, spans)
    if any(not text[s.start : s.end].strip() for s in spans):
        return
    sentence = sentence_around(text, spans, fmt.context_chars)
    line = marked(document.surface(sentence), [(s.start - sentence.start, s.end - sentence.start) for s in spans], groups)
    assert prompt_text(from_document(document, mention, groups, fmt)) == prompt_text(from_sentence(line, fmt))


@pytest.mark.parametrize("sentence", ["no mention", "an [] empty", "an [ ] empty", "[a [b]]", "[a", "a]", "{G}", "[a]{}", "[a]{G|}", "[a] {G}", "[a]{G}{H}"])
def test_markup_that_cannot_be_read_raises(sentence: str) -> None:
    with pytest.raises(MarkupError):
        list(iter_marked(sentence))


@pytest.mark.parametrize("noise", ["", "[a", "[]", "{Quill}", "[a]{Quill|}", "[Quill [a]]", "a] Quill", "[a]{Quill} {Quill}"])
def test_a_markup_error_says_where_and_never_what(noise: str) -> None:
    with pytest.raises(MarkupError) as raised:
        list(iter_marked("Zoë Quill has " + noise))
    assert "Quill" not in str(raised.value)


def test_a_sentence_is_cut_and_titled_as_a_document_is() -> None:
    long = "word " * 40
    assert from_sentence("Hi. " + long + "a [cold]{Disease} came. Bye.", PromptFormat("sentence", "en", 10)).source == "word a [cold]{Disease} came.\n"
    assert from_sentence("Report\nHi. A [cold] came.", PromptFormat()).source == "Report\nA [cold] came.\n"
    assert from_sentence("Report\nA [cold] came.", PromptFormat("syncabel")).source == "A [cold] came."


def test_two_mentions_are_two_and_one_prompt_refuses_them() -> None:
    assert [offsets for _, offsets, _ in iter_marked("[a] or [b]{G} and [c]")] == [((0, 1), (5, 6)), ((11, 12),)]
    with pytest.raises(MarkupError, match="one sentence per mention"):
        from_sentence("[a]{G} and [c]", PromptFormat())


def test_a_special_token_in_a_note_is_text(tiny_tokenizer: Any) -> None:
    end = tiny_tokenizer.eos_token_id
    text = "pain <|end|> after"
    ids = encode_text(text, tiny_tokenizer)
    assert end not in ids
    assert tiny_tokenizer.decode(ids) == text
    document, mention = document_of(text, (Span(0, 12),))
    assert end not in encode_prompt(from_document(document, mention, (), PromptFormat()), tiny_tokenizer)
    assert encode_name("a <|end|> name", tiny_tokenizer).count(end) == 1


def test_names_encoded_together_are_those_encoded_apart(tiny_tokenizer: Any) -> None:
    names = ["breast cancer", "cáncer", "<|end|>", "a  b", "🙂"]
    assert encode_names(names, tiny_tokenizer) == [encode_name(name, tiny_tokenizer) for name in names]
    assert encode_names([], tiny_tokenizer) == []


@given(st.text(max_size=80), st.floats(0, 1), st.text(max_size=5))
def test_cut_words_add_up_to_the_text_and_are_reproducible(text: str, share: float, key: str) -> None:
    pieces = word_cutter(share, key)(text)
    assert "".join(pieces) == text
    assert pieces == word_cutter(share, key)(text)
    assert all(a[-1].isalnum() and b[0].isalnum() for a, b in pairwise(pieces))


def test_a_cut_prompt_is_other_tokens_of_the_same_text(tiny_tokenizer: Any) -> None:
    prompt = from_sentence("The patient had [chronic kidney disease]{Disease} in 1997.", PromptFormat())
    whole, cut = encode_prompt(prompt, tiny_tokenizer), encode_prompt(prompt, tiny_tokenizer, word_cutter(0.5, "k"))
    assert len(cut) > len(whole)
    assert tiny_tokenizer.decode(cut) == tiny_tokenizer.decode(whole) == prompt_text(prompt)
