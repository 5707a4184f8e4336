"""The one place where prompts are written, read and turned into token ids; training and inference both call it.

A prompt format is a value (`PromptFormat`) that travels in the model's config.json.  Three exist:

    sentence         TITLE ⏎ SENTENCE with [mention]{GROUP} ⏎ SHORT = LONG FORM ⏎ [mention] is                    no new token
    syncabel         SENTENCE with [mention]{GROUP}<SEP>[mention] is                                               the published one
    document-first   DOCUMENT ⏎ a few words with [mention]{GROUP} around them ⏎ SHORT = LONG FORM ⏎ [mention] is   no new token

and ` NAME` with the end token follows.  Texts, mentions and names are tokenised with special tokens split: a
`<|endoftext|>` in a note is text.

`document-first` is made for speed: what the mentions of a document have in common comes first and knows nothing of any of
them, so that a decoder runs it once.  It is tokenised apart from the rest: no token reaches across the seam, and the
prefix has the same ids for all of them.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, get_args

from syncabel.errors import ConfigError, FormatError, MarkupError, PromptTooLongError, UnknownNameError
from syncabel.text import control_character, escape_markup, sentence_around, sentence_breaks, title_of
from syncabel.types import Document, Mention, Prompt, Span

__all__ = [
    "NAME_JOIN",
    "SEPARATOR",
    "FormatName",
    "PromptFormat",
    "check_group",
    "encode_join",
    "encode_name",
    "encode_names",
    "encode_prompt",
    "encode_prompts",
    "encode_shared",
    "encode_text",
    "encode_texts",
    "fitted",
    "format_from_config",
    "format_named",
    "format_to_config",
    "from_document",
    "from_sentence",
    "iter_marked",
    "marked",
    "prepare_tokenizer",
    "prompt_text",
    "without_context",
    "word_cutter",
]

FormatName = Literal["sentence", "syncabel", "document-first"]
Cut = Callable[[str], list[str]]
SEPARATOR = "<SEP>"
NAME_JOIN = " +"  # between the names of a composite answer, as codes are joined in it
VERB = {"en": "is", "fr": "est", "es": "es"}
SENTENCE_CHARS = 600  # code points on either side of a mention: whole sentences, but for the odd table
WINDOW_CHARS = 25  # the same where the document comes first: enough to say which place of it is meant
DOCUMENT_CHARS = 2000  # code points of a block: nearly every abstract is one
_DOCUMENTS_KEPT = 16
_FRAGMENT = re.compile(r"\[([^\[\]{}]*)\]")
_TYPE = re.compile(r"\{([^\[\]{}]*)\}")


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a mention in its context is written down for the model.

    Attributes:
        name: `sentence`, `syncabel` or `document-first`.
        language: ISO 639-1 code; decides the verb of the question.
        context_chars: most code points of the sentence kept on either side of the mention.  In `document-first` every one of
            them is read again for each mention, and few will do: `format_named` has each format's own default.
        document_chars: `document-first` only: most code points of the document that come first; 0 for none.  A longer document
            is cut into blocks, each as long as fits and ending with a sentence, and a mention gets the block it begins in.
            The blocks are the same for all mentions, so that those of one block still share their prefix.

    Raises:
        UnknownNameError: no such format or language.
        ConfigError: context_chars or document_chars is negative.
    """

    name: FormatName = "sentence"
    language: str = "en"
    context_chars: int = SENTENCE_CHARS
    document_chars: int = DOCUMENT_CHARS

    def __post_init__(self) -> None:
        if self.name not in get_args(FormatName):
            raise UnknownNameError("prompt format", self.name, get_args(FormatName))
        if self.language not in VERB:
            raise UnknownNameError("prompt language", self.language, VERB)
        for field in ("context_chars", "document_chars"):
            if getattr(self, field) < 0:
                raise ConfigError(f"{field} is {getattr(self, field)}; it counts code points, give 0 or more")


def format_named(name: str, language: str = "en", context_chars: int | None = None, document_chars: int | None = None) -> PromptFormat:
    """A format with its own defaults for what is not given.

    Args:
        name: of the format.
        language: see `PromptFormat`.
        context_chars: 600 where None, of `document-first` 25.
        document_chars: 2,000 where None.

    Raises:
        UnknownNameError, ConfigError: as `PromptFormat`.
    """
    around = WINDOW_CHARS if name == "document-first" else SENTENCE_CHARS
    return PromptFormat(
        name,  # type: ignore[arg-type]  # checked there
        language,
        around if context_chars is None else context_chars,
        DOCUMENT_CHARS if document_chars is None else document_chars,
    )


def without_context(fmt: PromptFormat) -> PromptFormat:
    """The format of prompts that are the bare mention and its question."""
    return replace(fmt, context_chars=0, document_chars=0)


def format_to_config(fmt: PromptFormat) -> dict[str, Any]:
    """The format as it stands in config.json; every field it makes use of written out, so that a later default changes nothing."""
    shared = {"document_chars": fmt.document_chars} if fmt.name == "document-first" else {}
    return {"format": fmt.name, "language": fmt.language, "context_chars": fmt.context_chars, **shared}


def format_from_config(config: Mapping[str, Any]) -> PromptFormat:
    """The inverse of `format_to_config`; other keys are left to others.

    Raises:
        FormatError: a key is missing.
    """
    try:
        document_chars = config["document_chars"] if config["format"] == "document-first" else DOCUMENT_CHARS
        return PromptFormat(config["format"], config["language"], config["context_chars"], document_chars)
    except KeyError as missing:
        raise FormatError(f"the model's config.json misses {missing} under 'syncabel'", hint="export the model again") from None


def check_group(group: str) -> str:
    """A group's name, unless it could not be told from the markup around it.

    Raises:
        MarkupError: it is empty or holds `|`, a bracket, a brace or a control character.
    """
    if not group.strip() or any(c in group for c in "|[]{}") or control_character(group):
        raise MarkupError(f"group {group!r} is empty or holds one of |[]{{}} or a control character; rename it")
    return group


def marked(text: str, offsets: Sequence[tuple[int, int]], groups: Sequence[str] = ()) -> str:
    """A sentence with its mention in brackets and the groups after the last fragment.

    Args:
        text: the sentence; its own brackets and braces become parentheses.
        offsets: half-open code-point ranges of the fragments, in order.
        groups: written as `{A|B}`; nothing is written where empty.
    """
    out, last = [], 0
    for start, end in offsets:
        out += [escape_markup(text[last:start]), "[", escape_markup(text[start:end]), "]"]
        last = end
    tag = "{" + "|".join(check_group(g) for g in groups) + "}" if groups else ""
    return "".join([*out, tag, escape_markup(text[last:])])


def iter_marked(sentence: str) -> Iterator[tuple[str, tuple[tuple[int, int], ...], tuple[str, ...]]]:
    """Read a sentence with bracketed mentions: one (plain text, offsets, groups) per mention.

    `[a] and [b c]{G}` is one discontinuous mention: fragments belong to the next `{…}`; without any `{…}` all fragments
    are one mention.

    Raises:
        MarkupError: no mention, an empty, nested or unclosed one, or a `{…}` that follows none.
    """
    plain, pending, mentions, at, length = [], [], [], 0, 0
    while at < len(sentence):
        if match := _FRAGMENT.match(sentence, at):
            if not match.group(1).strip():
                raise MarkupError(f"empty mention at character {at + 1}; write the mention between the brackets")
            plain.append(match.group(1))
            pending.append((length, length + len(match.group(1))))
            length += len(match.group(1))
            at = match.end()
            if kind := _TYPE.match(sentence, at):
                groups = tuple(check_group(g) for g in kind.group(1).split("|"))
                mentions.append((tuple(pending), groups))
                pending, at = [], kind.end()
            continue
        if sentence[at] in "[]{}":
            # The position and no more: the sentence may be a patient's, and messages end up in logs.
            raise MarkupError(f"stray {sentence[at]!r} at character {at + 1}; brackets and braces may only mark the mention, write others as parentheses")
        plain.append(sentence[at])
        length, at = length + 1, at + 1
    if pending:
        mentions.append((tuple(pending), ()))
    if not mentions:
        raise MarkupError("no [mention] in the sentence; put the mention in square brackets, its group in braces after it")
    for offsets, groups in mentions:
        yield "".join(plain), offsets, groups


def from_sentence(sentence: str, fmt: PromptFormat) -> Prompt:
    """The prompt of one marked sentence, as `sample` gets them.

    It is the prompt of a document that is this text and no more: of several sentences the mention's is taken, and of
    several lines the first is the title.  No abbreviation is looked for.

    Raises:
        MarkupError: it does not hold exactly one mention.
    """
    found = list(iter_marked(sentence))
    if len(found) > 1:
        raise MarkupError(f"{len(found)} mentions in one sentence; give one sentence per mention")
    text, offsets, groups = found[0]
    mention = Mention("1", tuple(Span(start, end) for start, end in offsets), " ".join(text[start:end] for start, end in offsets))
    return from_document(Document("", text, (mention,)), mention, groups, fmt)


def from_document(document: Document, mention: Mention, groups: Sequence[str], fmt: PromptFormat) -> Prompt:
    """The prompt of a mention in its document.

    Args:
        document: with its abbreviations.
        mention: one of its mentions.
        groups: written into the prompt; empty where the type is unknown or dropped.
        fmt: the format.
    """
    sentence = sentence_around(document.text, mention.spans, fmt.context_chars)
    offsets = [(span.start - sentence.start, span.end - sentence.start) for span in mention.spans]
    context = marked(document.surface(sentence), offsets, groups)
    if fmt.name != "syncabel":
        title = _title(document, sentence.start, fmt) if fmt.name == "sentence" else []
        context = "\n".join([*title, context, *_expansion(document, mention)])
    return replace(_prompt(context, mention.text, tuple(groups), fmt), shared=_shared(document.text, mention.start, fmt))


def _shared(text: str, place: int, fmt: PromptFormat) -> str:
    """The part of a prompt that all mentions of a block of a document have in common, for the block around `place`."""
    if fmt.name != "document-first" or not fmt.document_chars:
        return ""
    ends, blocks = _blocks(text, fmt.document_chars)
    return blocks[bisect_right(ends, place)]


@lru_cache(maxsize=_DOCUMENTS_KEPT)
def _blocks(text: str, size: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """A text in pieces of at most `size` code points: where each ends, and how it is written."""
    breaks = [found.end for found in sentence_breaks(text)]
    ends, start = [], 0
    while len(text) - start > size:
        start = _block_end(text, start, size, breaks)
        ends.append(start)
    ends.append(len(text))
    pieces = (escape_markup(text[start:end]).strip() for start, end in pairwise([0, *ends]))
    return tuple(ends), tuple(piece + "\n" if piece else "" for piece in pieces)


def _block_end(text: str, start: int, size: int, breaks: Sequence[int]) -> int:
    """The last end of a sentence in the second half of what may be taken, else the last space there, else all of it is taken."""
    low, high = start + size // 2, start + size
    last = breaks[at - 1] if (at := bisect_right(breaks, high)) else 0
    return last if last > low else next((i + 1 for i in range(high - 1, low, -1) if text[i].isspace()), high)


def _title(document: Document, sentence_start: int, fmt: PromptFormat) -> list[str]:
    title = title_of(document.text)
    if title is None or sentence_start < title.end:
        return []
    return [escape_markup(document.surface(title))[: fmt.context_chars]] if fmt.context_chars else []


def _expansion(document: Document, mention: Mention) -> list[str]:
    long = document.long_form(mention.text)
    return [escape_markup(f"{mention.text} = {long}")] if long else []


def _prompt(context: str, mention: str, groups: tuple[str, ...], fmt: PromptFormat) -> Prompt:
    # A line end inside a mention would read as the end of a part of the prompt.
    question = f"[{escape_markup(mention)}] {VERB[fmt.language]}".replace("\n", " ")
    separated = fmt.name == "syncabel"
    source = context.replace("\n", " ") if separated else context + "\n"
    return Prompt(source, question, separated, mention, groups)


def prompt_text(prompt: Prompt) -> str:
    """The prompt as a person reads it."""
    return prompt.shared + prompt.source + (SEPARATOR if prompt.separated else "") + prompt.question


def prepare_tokenizer(tokenizer: Any, fmt: PromptFormat) -> Any:
    """Add what the format needs and the tokenizer lacks: the separator, a padding token.

    Lexicon and training both do this first: an added token changes the digest that ties the two together.

    Raises:
        ConfigError: it has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError("the tokenizer has no end token, so that a name could not end; choose another")
    if fmt.name == "syncabel" and SEPARATOR not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"sep_token": SEPARATOR})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_text(text: str, tokenizer: Any) -> list[int]:
    """Token ids of plain text: no special token is added, none is recognised in it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def encode_texts(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """`encode_text` over many texts at once: the same ids, several times faster (the tokenizer works in parallel).

    Give millions of texts in blocks: each text's encoding is a Python object.
    """
    # The call sets the tokenizer beneath to no padding, no truncation and special tokens split, and it stays so; asked
    # directly, that one makes neither offsets nor attention masks, which take most of the time and are not needed.
    encode_text("", tokenizer)
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def encode_shared(prompt: Prompt, tokenizer: Any) -> list[int]:
    """The first token ids of a prompt, which all mentions of its document (of a block of it) have: the begin token, where there is one, and `shared`."""
    begin = tokenizer("")["input_ids"][:1]
    ids = begin if begin == [tokenizer.bos_token_id] else []
    return ids + (encode_text(prompt.shared, tokenizer) if prompt.shared else [])


def encode_prompts(prompts: Sequence[Prompt], tokenizer: Any) -> list[list[int]]:
    """`encode_prompt` of many; what several share is tokenised once, the rest at once."""
    shared = {text: encode_shared(prompt, tokenizer) for text, prompt in {prompt.shared: prompt for prompt in prompts}.items()}
    # Asked for text by text in the order they are written down here.
    texts = [text for prompt in prompts for text in ((prompt.source, prompt.question) if prompt.separated else (prompt.source + prompt.question,))]
    encoded = iter(encode_texts(texts, tokenizer))
    return [shared[prompt.shared] + _encode_rest(prompt, tokenizer, lambda _: next(encoded)) for prompt in prompts]


def encode_prompt(prompt: Prompt, tokenizer: Any, cut: Cut | None = None) -> list[int]:
    """Token ids of a prompt, with the tokenizer's begin token where it uses one.

    Args:
        prompt: what the model will read.
        tokenizer: the model's.
        cut: for training only: cuts a text into pieces that are tokenised apart, see `word_cutter`.

    Raises:
        UnknownNameError: the format needs the separator and the tokenizer has none.
    """
    if cut is None:
        return encode_prompts([prompt], tokenizer)[0]

    def encode(text: str) -> list[int]:
        pieces = tokenizer(cut(text), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [token for piece in pieces for token in piece]

    begin = encode_shared(replace(prompt, shared=""), tokenizer)
    return [*begin, *(encode(prompt.shared) if prompt.shared else []), *_encode_rest(prompt, tokenizer, encode)]


def _encode_rest(prompt: Prompt, tokenizer: Any, encode: Callable[[str], list[int]]) -> list[int]:
    """What follows the shared part."""
    if not prompt.separated:
        return encode(prompt.source + prompt.question)
    separator = tokenizer.convert_tokens_to_ids(SEPARATOR)
    if separator is None or separator == tokenizer.unk_token_id:
        raise UnknownNameError("token", SEPARATOR, tokenizer.all_special_tokens)
    return [*encode(prompt.source), separator, *encode(prompt.question)]


def fitted(
    make: Callable[[PromptFormat], Prompt], fmt: PromptFormat, tokenizer: Any, limit: int, answer: int = 0, where: str = "prompt"
) -> tuple[Prompt, list[int], bool]:
    """A prompt that fits the model's context: with less and less around its mention until it does.

    First the document is halved, then the sentence, down to the bare mention.  Halves, so that the mentions of one long
    document mostly end up with the same blocks and still share a prefix.

    Args:
        make: writes the prompt in a format, e.g. `lambda fmt: from_document(document, mention, groups, fmt)`.
        fmt: the model's format.
        tokenizer: the model's.
        limit: the model's context, in tokens.
        answer: tokens to leave free behind the prompt: those of the longest name.
        where: document and mention, for the error.

    Returns:
        The prompt, its token ids, and whether it has less context than the format asks for.

    Raises:
        PromptTooLongError: not even the bare mention fits.
    """
    tokens = 0
    for halvings, narrower in enumerate(_narrower(fmt)):
        prompt = make(narrower)
        ids = encode_prompt(prompt, tokenizer)
        tokens = len(ids) + answer
        if tokens <= limit:
            return prompt, ids, halvings > 0
    raise PromptTooLongError(tokens, limit, where)


def _narrower(fmt: PromptFormat) -> Iterator[PromptFormat]:
    """The format, then itself with less and less context."""
    yield fmt
    while fmt.name == "document-first" and fmt.document_chars:
        fmt = replace(fmt, document_chars=fmt.document_chars // 2)
        yield fmt
    while fmt.context_chars:
        fmt = replace(fmt, context_chars=fmt.context_chars // 2)
        yield fmt


def word_cutter(share: float, key: str) -> Cut:
    """Cuts words at random, so that a small model meets many tokenisations of one word and takes a misspelt one more calmly.

    The effect is that of BPE dropout (Provilkov et al., 2020), for any byte-level tokenizer and reproducible.

    Args:
        share: probability of a cut at each place between two letters or digits, a fraction.
        key: decides where the cuts fall.
    """
    rng = random.Random(key)

    def cut(text: str) -> list[str]:
        inner = (i for i in range(1, len(text)) if text[i].isalnum() and text[i - 1].isalnum())
        places = [0, *(i for i in inner if rng.random() < share), len(text)]
        return [text[start:end] for start, end in pairwise(places)]

    return cut


def encode_name(name: str, tokenizer: Any) -> list[int]:
    """Token ids of a completion: leading space, name, end token.  The trie's path and the trainer's target are both this."""
    return [*encode_text(" " + name, tokenizer), tokenizer.eos_token_id]


def encode_join(tokenizer: Any) -> list[int]:
    """Token ids that stand between two names of a composite answer: ` NAME +` ` NAME`."""
    return encode_text(NAME_JOIN, tokenizer)


def encode_names(names: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """`encode_name` over many names at once, in blocks as `encode_texts` wants them."""
    end = tokenizer.eos_token_id
    return [[*ids, end] for ids in encode_texts([" " + name for name in names], tokenizer)]
