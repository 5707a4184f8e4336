"""The format `document-first`: mentions of a document share their prefix, whatever the text and the tokenizer."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, PromptTooLongError, UnknownNameError
from syncabel.prompt import (
    PromptFormat,
    encode_prompt,
    encode_prompts,
    encode_shared,
    encode_text,
    fitted,
    format_from_config,
    format_named,
    format_to_config,
    from_document,
    from_sentence,
    marked,
    prompt_text,
    without_context,
    word_cutter,
)
from syncabel.text import escape_markup
from syncabel.types import Abbreviation, Document, Mention, SFTExample, Span, from_json, to_json

FIRST = format_named("document-first")
TEXT = st.one_of(
    st.text(alphabet='Aé b.?!…\n\t()[]{}"»1🙂𝔸', min_size=1, max_size=120),
    st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1, max_size=120),
    st.lists(st.sampled_from(["Dr. Smith ", "e.g. ", "The end. ", "So? ", "\n", "J. ", "pain [x] ", "cáncer "]), min_size=1, max_size=24).map("".join),
)
SIZES = st.integers(1, 130)


@st.composite
def document_with_mentions(draw: st.DrawFn) -> Document:
    """A document with one to five mentions, none of them blank, some overlapping."""
    text = draw(TEXT.filter(str.strip))
    inked = [i for i, c in enumerate(text) if not c.isspace()]
    starts = draw(st.lists(st.sampled_from(inked), min_size=1, max_size=5))
    ends = [min(len(text), start + draw(st.integers(1, 9))) for start in starts]
    mentions = (Mention(str(i), (Span(a, b),), text[a:b]) for i, (a, b) in enumerate(zip(starts, ends, strict=True)))
    return Document("d", text, tuple(mentions))


@pytest.fixture(scope="module")
def tokenizers(tiny_tokenizer: Any) -> list[Any]:
    """Byte-level as of GPT-2; the same without pre-tokenizer, so that a token may hold anything; with a begin token; as of Llama 2; one of words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    corpus = ["The end. So?\nThe pain came.\nThe pain", "cáncer e.g. Dr. Smith\n[pain] is", ".\nThe .\n[ \n[ .\n\n"] * 5

    def bpe(pre: Any, normalizer: Any = None, **rest: Any) -> Any:
        raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))  # type: ignore[call-arg]
        raw.pre_tokenizer, raw.normalizer = pre, normalizer
        special = ["<unk>", "<s>", "<|end|>", *(f"<0x{byte:02X}>" for byte in range(256))]
        raw.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
        raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        if "bos_token" in rest:
            raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", unk_token="<unk>", **rest)

    llama2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return [tiny_tokenizer, bpe(None), bpe(pre_tokenizers.Whitespace()), bpe(None, llama2, bos_token="<s>")]


def prompts_of(document: Document, fmt: PromptFormat) -> list[Any]:
    return [from_document(document, mention, ("Disease",), fmt) for mention in document.mentions]


@given(document_with_mentions(), SIZES)
def test_mentions_of_a_block_share_the_ids_of_their_prefix_with_every_tokenizer(tokenizers: list[Any], document: Document, size: int) -> None:
    prompts = prompts_of(document, replace(FIRST, document_chars=size))
    for tokenizer in tokenizers:
        for prompt, ids in zip(prompts, encode_prompts(prompts, tokenizer), strict=True):
            assert ids == encode_prompt(prompt, tokenizer)
            head = encode_shared(prompt, tokenizer)
            assert ids[: len(head)] == head
            begin = [1] if tokenizer.bos_token_id == 1 else []
            assert head == begin + encode_text(prompt.shared, tokenizer)
            assert ids[len(head) :] == encode_text(prompt.source + prompt.question, tokenizer)


def test_together_the_two_parts_would_be_tokenised_across_the_seam(tokenizers: list[Any]) -> None:
    """Why they are tokenised apart: else the prefix would end differently for each mention."""
    (prompt,) = prompts_of(Document("d", "The end.", (Mention("1", (Span(0, 3),), "The"),)), FIRST)
    prompt = replace(prompt, source="The pain\n")
    assert len(encode_text(prompt_text(prompt), tokenizers[1])) < len(encode_prompt(prompt, tokenizers[1]))


@given(document_with_mentions())
def test_a_document_of_one_block_is_one_prefix(document: Document) -> None:
    shared = {prompt.shared for prompt in prompts_of(document, FIRST)}
    assert shared == {escape_markup(document.text).strip() + "\n"}


@given(document_with_mentions(), SIZES)
def test_blocks_are_no_longer_than_allowed_add_up_to_the_document_and_hold_the_start_of_the_mention(document: Document, size: int) -> None:
    fmt = replace(FIRST, document_chars=size)
    everywhere = [Mention(str(i), (Span(i, i + 1),), c) for i, c in enumerate(document.text) if not c.isspace()]
    blocks: list[str] = []
    for mention, prompt in zip(everywhere, prompts_of(replace(document, mentions=tuple(everywhere)), fmt), strict=True):
        assert len(prompt.shared) <= size + 1  # its line end
        assert escape_markup(mention.text) in prompt.shared
        blocks += [] if blocks and blocks[-1] is prompt.shared else [prompt.shared]
    assert "".join("".join(blocks).split()) == "".join(escape_markup(document.text).split())


@given(document_with_mentions(), SIZES, st.integers(0, 40))
def test_only_the_window_and_the_question_know_the_mention(document: Document, size: int, context: int) -> None:
    for prompt in prompts_of(document, PromptFormat("document-first", "en", context, size)):
        assert not set(prompt.shared) & set("[]{}")
        assert prompt.source.count("[") == prompt.source.count("]") == 1
        assert prompt.source.count("{") == prompt.source.count("}") == 1
        assert prompt_text(prompt) == prompt.shared + prompt.source + prompt.question


@given(document_with_mentions(), SIZES, st.integers(0, 40))
def test_a_document_and_its_marked_text_give_one_prompt(document: Document, size: int, context: int) -> None:
    """Training reads documents, `sample` reads marked text: the model must see the same."""
    fmt = PromptFormat("document-first", "en", context, size)
    for mention, prompt in zip(document.mentions, prompts_of(document, fmt), strict=True):
        if mention.text.strip():
            line = marked(document.text, [(mention.start, mention.end)], ("Disease",))
            assert prompt_text(from_sentence(line, fmt)) == prompt_text(prompt)


NOTE = (
    "Skin notes\nA [rare] case. Basal cell carcinoma (BCC) was found on the nose of a man of 61 years and was removed. "
    "Years later BCC came back on his left ear; he had no other disease."
)


def note() -> Document:
    second = NOTE.index("BCC came")
    long, short = NOTE.index("Basal"), NOTE.index("BCC)")
    mentions = (Mention("1", (Span(long, long + 20),), "Basal cell carcinoma"), Mention("2", (Span(second, second + 3),), "BCC"))
    return Document("n", NOTE, mentions, abbreviations=(Abbreviation(Span(short, short + 3), Span(long, long + 20)),))


def test_the_prompt_reads_as_its_description_says() -> None:
    first, second = prompts_of(note(), FIRST)
    shared = escape_markup(NOTE) + "\n"
    assert prompt_text(first) == shared + "[Basal cell carcinoma]{Disease} (BCC) was found on the\n[Basal cell carcinoma] is"
    assert prompt_text(second) == shared + "Years later [BCC]{Disease} came back on his left\nBCC = Basal cell carcinoma\n[BCC] is"
    assert first.shared is second.shared


def test_a_long_document_is_cut_at_ends_of_sentences_and_a_mention_gets_its_own_block() -> None:
    first, second = prompts_of(note(), replace(FIRST, document_chars=130))
    assert first.shared == "Skin notes\nA (rare) case. Basal cell carcinoma (BCC) was found on the nose of a man of 61 years and was removed.\n"
    assert second.shared == "Years later BCC came back on his left ear; he had no other disease.\n"
    at_space, _ = prompts_of(note(), replace(FIRST, document_chars=50))
    assert at_space.shared == "Basal cell carcinoma (BCC) was found on the nose\n"


def test_without_context_nothing_but_the_mention_is_left() -> None:
    assert prompt_text(prompts_of(note(), without_context(FIRST))[0]) == "[Basal cell carcinoma]{Disease}\n[Basal cell carcinoma] is"


def test_a_cut_prompt_is_other_tokens_of_the_same_text(tiny_tokenizer: Any) -> None:
    prompt = prompts_of(note(), FIRST)[0]
    whole, cut = encode_prompt(prompt, tiny_tokenizer), encode_prompt(prompt, tiny_tokenizer, word_cutter(0.5, "k"))
    assert len(cut) > len(whole)
    assert tiny_tokenizer.decode(cut) == tiny_tokenizer.decode(whole) == prompt_text(prompt)
    assert encode_prompt(prompt, tiny_tokenizer, word_cutter(0.0, "k")) == whole


def test_a_prompt_survives_the_file_of_examples_and_other_formats_write_what_they_wrote() -> None:
    for fmt in (FIRST, PromptFormat(), PromptFormat("syncabel")):
        prompt = prompts_of(note(), fmt)[0]
        row = to_json(SFTExample(prompt, "carcinoma", "A:1", "human", "n", "1"))
        assert from_json(SFTExample, json.loads(json.dumps(row))).prompt == prompt
        assert ("shared" in row["prompt"]) == (fmt is FIRST)


def test_a_format_is_read_back_and_folders_of_before_still_are() -> None:
    fmt = PromptFormat("document-first", "fr", 12, 300)
    assert format_to_config(fmt) == {"format": "document-first", "language": "fr", "context_chars": 12, "document_chars": 300}
    assert format_from_config(format_to_config(fmt)) == fmt
    before = {"format": "sentence", "language": "en", "context_chars": 600}
    assert format_from_config(before) == PromptFormat()
    assert format_to_config(PromptFormat()) == before
    with pytest.raises(FormatError, match="misses 'document_chars'"):
        format_from_config({**before, "format": "document-first"})


def test_each_format_has_its_own_defaults() -> None:
    assert format_named("sentence") == PromptFormat()
    assert format_named("syncabel", "fr") == PromptFormat("syncabel", "fr")
    assert (FIRST.context_chars, FIRST.document_chars) == (25, 2000)
    assert format_named("document-first", "es", 0, 0) == PromptFormat("document-first", "es", 0, 0)
    with pytest.raises(UnknownNameError, match="document-first"):
        format_named("document-fist")
    with pytest.raises(ConfigError, match="document_chars is -1"):
        format_named("document-first", document_chars=-1)


LONG = "The patient was seen again. " * 40


def long_prompt(fmt: PromptFormat, mention: str = "cold") -> Any:
    return from_sentence(f"Report\n{LONG}{'word ' * 60}a [{mention}]{{Disease}} came {'and went ' * 60}. {LONG}", fmt)


@pytest.mark.parametrize("fmt", [FIRST, format_named("document-first", context_chars=600), PromptFormat(), PromptFormat("syncabel")], ids=str)
@pytest.mark.parametrize("limit", [30, 60, 100, 400, 5000])
def test_a_prompt_that_does_not_fit_is_narrowed_around_its_mention_and_says_so(fmt: PromptFormat, limit: int, tiny_tokenizer: Any) -> None:
    from copy import deepcopy

    from syncabel.prompt import prepare_tokenizer

    tokenizer = prepare_tokenizer(deepcopy(tiny_tokenizer), fmt)
    whole = long_prompt(fmt)
    prompt, ids, narrowed = fitted(lambda smaller: long_prompt(smaller), fmt, tokenizer, limit, 5)
    assert ids == encode_prompt(prompt, tokenizer)
    assert len(ids) + 5 <= limit
    assert narrowed == (len(encode_prompt(whole, tokenizer)) + 5 > limit)
    assert prompt.question == whole.question
    assert "[cold]{Disease}" in prompt.source
    assert narrowed or prompt == whole


def test_the_document_goes_before_the_window_does(tiny_tokenizer: Any) -> None:
    bare = len(encode_prompt(long_prompt(replace(FIRST, document_chars=0)), tiny_tokenizer))
    prompt, _, narrowed = fitted(long_prompt, FIRST, tiny_tokenizer, bare)
    assert narrowed
    assert prompt == long_prompt(replace(FIRST, document_chars=0))


def test_narrowed_mentions_of_one_long_document_still_share_prefixes(tiny_tokenizer: Any) -> None:
    text = LONG * 3
    places = [i for i in range(len(text)) if text.startswith("patient", i)]
    document = Document("d", text, tuple(Mention(str(i), (Span(i, i + 7),), "patient") for i in places))

    def maker(mention: Mention) -> Callable[[PromptFormat], Any]:
        return lambda fmt: from_document(document, mention, (), fmt)

    found = [fitted(maker(mention), FIRST, tiny_tokenizer, 256) for mention in document.mentions]
    assert all(narrowed for *_, narrowed in found)
    assert len({prompt.shared for prompt, *_ in found}) <= 2  # all sentences are one, and so are all blocks but the last
    assert len({id(prompt.shared) for prompt, *_ in found}) < len(places) / 3


def test_a_mention_that_does_not_fit_bare_is_an_error_that_names_it(tiny_tokenizer: Any) -> None:
    with pytest.raises(PromptTooLongError, match="document 'd', mention '1'"):
        fitted(lambda fmt: long_prompt(fmt, "cold " * 50), FIRST, tiny_tokenizer, 60, where="document 'd', mention '1'")
