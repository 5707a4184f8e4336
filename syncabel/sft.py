"""Documents to training examples: one prompt and one target name per mention; what is left out is reported with its reason."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from syncabel.columns import parquet_file, parquet_rows
from syncabel.corpora.jsonl import whole_file
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, format_to_config, from_document, without_context
from syncabel.targets import TargetNames
from syncabel.types import NIL_CODE, Document, Mention, Rejection, SFTExample, from_json, to_json

__all__ = [
    "ExampleSettings",
    "codes_held_out",
    "examples_file",
    "iter_examples",
    "make_examples",
    "read_examples",
    "read_type_table",
    "write_examples",
    "write_format",
]

SHORT_FORM = 5  # characters
FORMAT = "format.json"  # beside examples: how their prompts are written and for which lexicon; training compares
PARQUET = ".parquet"
_BLOCK = 4096  # mentions whose targets are chosen together
_AGAIN = "run `syncabel examples` again"


@dataclass(frozen=True, slots=True)
class ExampleSettings:
    """How examples are made.

    A NIL answer is trained where `nil` is set: mentions annotated as not in the knowledge base become examples whose name is
    the lexicon's NIL leaf, and so do all mentions of the concepts that `nil_hold_out` draws, as if the knowledge base lacked
    them.  Decoding offers that leaf only when asked for; where it is not offered, a model so trained still gives it part of
    the probability, above all for concepts held out, which it was taught to refuse.  The names it may write then keep
    their order among each other, but `log_prob` and mass are un-renormalised and come out lower, so that a threshold on them
    must be calibrated anew, and a held-out concept's own names were never taught: hold few out, or link with NIL offered.

    Attributes:
        target: method that chooses the target name, see `syncabel.targets`.
        target_temperature: of the method `sampled`, see there.
        type_dropout: share of the examples whose prompt does not say the type, a fraction, so that "unknown" is in distribution.
        context_dropout: share of the examples whose prompt is the bare mention, a fraction; those teach names at half the
            tokens.  Mentions of up to SHORT_FORM characters keep their context, for nothing else may tell them apart.
        nil: whether mentions annotated as not in the knowledge base teach the NIL leaf; else they are left out.
        nil_hold_out: share of the concepts whose mentions all teach the NIL leaf, a fraction.
        seed: decides which ones, per mention and per concept, whatever the order of the documents.

    Raises:
        ConfigError: a share is no fraction, or concepts are held out without `nil`.
    """

    target: str = "tfidf"
    target_temperature: float = 1.0
    type_dropout: float = 0.15
    context_dropout: float = 0.0
    nil: bool = False
    nil_hold_out: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("type_dropout", "context_dropout", "nil_hold_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a fraction, give 0 to 1")
        if self.nil_hold_out and not self.nil:
            raise ConfigError("nil_hold_out teaches concepts as NIL; set nil too, or leave it out")

    def holds_out(self, code: str) -> bool:
        """Whether a concept is one of those taught as NIL; decided by its code, so that files made one after the other agree."""
        return bool(self.nil_hold_out) and _random(self.seed, "nil", code).random() < self.nil_hold_out


def make_examples(
    documents: Iterable[Document],
    lexicon: Lexicon,
    canonical: Callable[[str], str | None],
    type_map: TypeMap,
    fmt: PromptFormat,
    settings: ExampleSettings = ExampleSettings(),
) -> Iterator[SFTExample | Rejection]:
    """One example or one rejection per annotated mention, in document order; thousands of mentions at a time are held.

    Args:
        documents: training documents.
        lexicon: names the model may write.
        canonical: a code's current form, None for an unknown one (`kb.canonical`).
        type_map: from annotated types to groups.
        fmt: the prompt format.
        settings: target names, dropout, NIL, seed.

    Raises:
        ConfigError: the settings teach NIL and the lexicon has no such leaf.
        UnknownNameError: no such method for targets.
    """
    if settings.nil and lexicon.nil_entry is None:
        raise ConfigError("the lexicon has no NIL leaf to teach; build it with `syncabel lexicon build --nil NAME`, or leave nil out")
    targets = TargetNames(lexicon, settings.target, settings.target_temperature, settings.seed)
    mentions = ((document, mention, _answer(document, mention, canonical, type_map, settings)) for document in documents for mention in document.mentions)
    blocks = iter(lambda: list(islice(mentions, _BLOCK)), [])
    return chain.from_iterable(_examples(block, targets, fmt, settings) for block in blocks)


def _examples(
    block: Sequence[tuple[Document, Mention, "_Answer | Rejection"]], targets: TargetNames, fmt: PromptFormat, settings: ExampleSettings
) -> Iterator[SFTExample | Rejection]:
    """What becomes of mentions whose answers are known: their target names are chosen together."""
    asked = [(document, mention, answer) for document, mention, answer in block if isinstance(answer, _Answer) and not _teaches_nil(answer, settings)]
    pairs = [(answer.code, document.long_form(mention.text) or mention.text) for document, mention, answer in asked]
    chosen = iter(targets.choose(pairs, [f"{document.id}\0{mention.id}" for document, mention, _ in asked]))
    for document, mention, answer in block:
        if isinstance(answer, Rejection):
            yield answer
            continue
        entry = targets.lexicon.nil_entry if _teaches_nil(answer, settings) else next(chosen)
        if entry is None:
            yield Rejection(_where(document, mention), answer.code, "not_in_lexicon", mention.text)
            continue
        type_dropped, context_dropped = _dropped(document, mention, settings)
        prompt = from_document(document, mention, () if type_dropped else answer.groups, without_context(fmt) if context_dropped else fmt)
        yield SFTExample(prompt, targets.lexicon.name(entry), answer.code, document.source, document.id, mention.id, document.provenance)


def codes_held_out(codes: Iterable[str], canonical: Callable[[str], str | None], settings: ExampleSettings) -> tuple[str, ...]:
    """Those of the annotated codes whose mentions are taught as NIL, current and sorted; to be written down, so that evaluation can tell them apart."""
    current = {found for code in codes if (found := canonical(code)) is not None}
    return tuple(sorted(code for code in current if settings.holds_out(code)))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a mention teaches: a code, NIL_CODE among them, and the groups of its type."""

    code: str
    groups: tuple[str, ...]


def _teaches_nil(answer: _Answer, settings: ExampleSettings) -> bool:
    # A knowledge base may have a concept of this code, as long as its lexicon has no NIL leaf.
    return settings.nil and answer.code == NIL_CODE


def _where(document: Document, mention: Mention) -> str:
    return f"{document.id}#{mention.id}"


def _one_code(document: Document, mention: Mention, canonical: Callable[[str], str | None], settings: ExampleSettings) -> str | Rejection:
    """The code an example teaches: the first alternative's only concept; composite answers are left to formats that can write them."""
    where = _where(document, mention)
    if mention.answers is None:
        return Rejection(where, "", "not_annotated", mention.text)
    if not mention.answers:
        return NIL_CODE if settings.nil else Rejection(where, "", "nil", mention.text)
    current = {canonical(code) or code for code in mention.answers[0]}  # two codes of one concept are one answer
    if len(current) > 1:
        return Rejection(where, "+".join(mention.answers[0]), "composite", mention.text)
    (code,) = current
    if canonical(code) is None:
        return Rejection(where, code, "unknown_code", mention.text)
    return _nil_or(code, mention, canonical, settings, where) if settings.holds_out(code) else code


def _nil_or(code: str, mention: Mention, canonical: Callable[[str], str | None], settings: ExampleSettings, where: str) -> str | Rejection:
    """NIL for a mention of a held-out concept, unless an alternative answer is not held out: "not in the knowledge base" would be wrong then."""
    others = {canonical(other) or other for answer in (mention.answers or ())[1:] for other in answer}
    return NIL_CODE if all(map(settings.holds_out, others)) else Rejection(where, code, "held_out_alternative", mention.text)


def _answer(document: Document, mention: Mention, canonical: Callable[[str], str | None], type_map: TypeMap, settings: ExampleSettings) -> _Answer | Rejection:
    """The code an example teaches and the groups of the mention's type, asked for whether the prompt will say it or not."""
    code = _one_code(document, mention, canonical, settings)
    if isinstance(code, Rejection):
        return code
    try:
        return _Answer(code, type_map.of(mention.type))
    except UnknownNameError as error:
        return Rejection(_where(document, mention), code, "unknown_type", f"{mention.text} ({error})")


def _random(seed: int, *key: str) -> random.Random:
    """Random numbers of something by itself, whatever comes before it."""
    return random.Random(hashlib.sha256("\0".join((str(seed), *key)).encode()).hexdigest())


def _dropped(document: Document, mention: Mention, settings: ExampleSettings) -> tuple[bool, bool]:
    """Whether type and context are left out; decided by the mention's own random numbers."""
    rng = _random(settings.seed, document.id, mention.id)
    return rng.random() < settings.type_dropout, rng.random() < settings.context_dropout and len(mention.text) > SHORT_FORM


@contextmanager
def examples_file(path: Path | str) -> Iterator[Callable[[SFTExample], None]]:
    """A file to put examples into, Parquet where it is called so, else JSON Lines; it is there whole at the end, or not at all."""
    if Path(path).suffix == PARQUET:
        with parquet_file(path, SFTExample) as put:
            yield put
        return
    with whole_file(path) as handle:
        yield lambda example: print(json.dumps(to_json(example), ensure_ascii=False), file=handle)


def write_examples(examples: Iterable[SFTExample], path: Path) -> int:
    """Write examples, one at a time; the file is there whole or not at all.

    Args:
        examples: in the order to write.
        path: `*.parquet`, or a file of JSON Lines.

    Returns:
        The number of rows.
    """
    count = 0
    with examples_file(path) as put:
        for example in examples:
            put(example)
            count += 1
    return count


def write_format(folder: Path, fmt: PromptFormat, lexicon: Lexicon, rebased_to: str | None = None, nil: Mapping[str, Any] | None = None) -> None:
    """Write down how the examples of a folder were made; comes last, for it speaks for a folder that is whole.

    Args:
        folder: of the examples.
        fmt: the format of their prompts.
        lexicon: what they were made for.
        rebased_to: SHA-256 of the knowledge base that documents made for another one were checked against; None where there were none.
            The examples' own provenance stays what it was.
        nil: how NIL is taught, e.g. the concepts held out for it; None where it is not.
    """
    more = {"rebased_to": rebased_to, "nil": nil}
    row = {**format_to_config(fmt), "lexicon_digest": lexicon.digest, **{name: value for name, value in more.items() if value is not None}}
    (folder / FORMAT).write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def iter_examples(path: Path | str) -> Iterator[SFTExample]:
    """The examples of a file one after the other: `*.parquet`, or JSON Lines.

    Raises:
        FormatError: the file is empty, or a row is no example or not UTF-8; with file and line (of Parquet: row).
    """
    count = 0
    for example in _parquet_examples(path) if Path(path).suffix == PARQUET else _json_examples(path):
        count += 1
        yield example
    if not count:
        raise FormatError("no training example in it", path, hint=_AGAIN)


def _parquet_examples(path: Path | str) -> Iterator[SFTExample]:
    try:
        yield from parquet_rows(path, SFTExample)
    except FormatError as error:
        raise FormatError(f"not a training example: {error.problem}", path, error.line, _AGAIN) from None


def _json_examples(path: Path | str) -> Iterator[SFTExample]:
    # As bytes: a text stream decodes ahead of the line it hands out, and the error would not know its number.
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                example = from_json(SFTExample, json.loads(line.decode("utf-8")))
            except (FormatError, ValueError) as error:
                raise FormatError(f"not a training example: {error}", path, number, _AGAIN) from None
            yield example


def read_examples(path: Path | str) -> list[SFTExample]:
    """All examples of a file; arguments and errors are those of `iter_examples`."""
    return list(iter_examples(path))


def read_type_table(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Read a table from annotated types to groups, `{"Modifier": ["Disease"]}`.

    Raises:
        FormatError: not JSON, not UTF-8, or something other than lists of group names.
    """
    hint = "write {type: [groups]}"
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:  # bad JSON or bad UTF-8
        raise FormatError(f"no table from types to groups: {error}", path, hint=hint) from None
    if not isinstance(table, dict):
        raise FormatError(f"no table from types to groups: it is {type(table).__name__}", path, hint=hint)
    for kind, groups in table.items():
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise FormatError(f"the groups of type {kind!r} are no list of names", path, hint=hint)
    return {kind: tuple(groups) for kind, groups in table.items()}
