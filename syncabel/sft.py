"""Documents to training examples: one prompt and one target name per mention; what is left out is reported with its reason."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncabel.corpora.jsonl import write_rows
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, format_to_config, from_document, without_context
from syncabel.targets import TargetNames
from syncabel.types import Document, Mention, Rejection, SFTExample, from_json

__all__ = ["ExampleSettings", "make_examples", "read_examples", "read_type_table", "write_examples", "write_format"]

SHORT_FORM = 5  # characters
FORMAT = "format.json"  # beside examples: how their prompts are written and for which lexicon; training compares


@dataclass(frozen=True, slots=True)
class ExampleSettings:
    """How examples are made.

    Attributes:
        target: method that chooses the target name, see `syncabel.targets`.
        type_dropout: share of the examples whose prompt does not say the type, a fraction, so that "unknown" is in distribution.
        context_dropout: share of the examples whose prompt is the bare mention, a fraction; those teach names at half the
            tokens.  Mentions of up to SHORT_FORM characters keep their context, for nothing else may tell them apart.
        seed: decides which ones, per mention, whatever the order of the documents.

    Raises:
        ConfigError: a share is no fraction.
    """

    target: str = "tfidf"
    type_dropout: float = 0.15
    context_dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("type_dropout", "context_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a fraction, give 0 to 1")


def make_examples(
    documents: Sequence[Document],
    lexicon: Lexicon,
    canonical: Callable[[str], str | None],
    type_map: TypeMap,
    fmt: PromptFormat,
    settings: ExampleSettings = ExampleSettings(),
) -> Iterator[SFTExample | Rejection]:
    """One example or one rejection per annotated mention, in document order.

    Args:
        documents: training documents.
        lexicon: names the model may write.
        canonical: a code's current form, None for an unknown one (`kb.canonical`).
        type_map: from annotated types to groups.
        fmt: the prompt format.
        settings: target names, type dropout, seed.
    """
    targets = TargetNames(lexicon, settings.target)
    asked: list[tuple[Document, Mention, str, tuple[str, ...]]] = []
    for document in documents:
        for mention in document.mentions:
            answer = _answer(document, mention, canonical, type_map)
            if isinstance(answer, Rejection):
                yield answer
            else:
                asked.append((document, mention, *answer))
    chosen = targets.choose([(code, document.long_form(mention.text) or mention.text) for document, mention, code, _ in asked])
    for (document, mention, code, groups), entry in zip(asked, chosen, strict=True):
        if entry is None:
            yield Rejection(_where(document, mention), code, "not_in_lexicon", mention.text)
            continue
        type_dropped, context_dropped = _dropped(document, mention, settings)
        prompt = from_document(document, mention, () if type_dropped else groups, without_context(fmt) if context_dropped else fmt)
        yield SFTExample(prompt, lexicon.name(entry), code, document.source, document.id, mention.id, document.provenance)


def _where(document: Document, mention: Mention) -> str:
    return f"{document.id}#{mention.id}"


def _one_code(document: Document, mention: Mention, canonical: Callable[[str], str | None]) -> str | Rejection:
    """The code an example teaches: the first alternative's only concept; composite answers are left to formats that can write them."""
    where = _where(document, mention)
    if mention.answers is None:
        return Rejection(where, "", "not_annotated", mention.text)
    if not mention.answers:
        return Rejection(where, "", "nil", mention.text)
    current = {canonical(code) or code for code in mention.answers[0]}  # two codes of one concept are one answer
    if len(current) > 1:
        return Rejection(where, "+".join(mention.answers[0]), "composite", mention.text)
    (code,) = current
    return code if canonical(code) is not None else Rejection(where, code, "unknown_code", mention.text)


def _answer(document: Document, mention: Mention, canonical: Callable[[str], str | None], type_map: TypeMap) -> tuple[str, tuple[str, ...]] | Rejection:
    """The code an example teaches and the groups of the mention's type, asked for whether the prompt will say it or not."""
    code = _one_code(document, mention, canonical)
    if isinstance(code, Rejection):
        return code
    try:
        return code, type_map.of(mention.type)
    except UnknownNameError as error:
        return Rejection(_where(document, mention), code, "unknown_type", f"{mention.text} ({error})")


def _dropped(document: Document, mention: Mention, settings: ExampleSettings) -> tuple[bool, bool]:
    """Whether type and context are left out; decided by the mention's own random numbers."""
    key = hashlib.sha256(f"{settings.seed}\0{document.id}\0{mention.id}".encode()).hexdigest()
    rng = random.Random(key)
    return rng.random() < settings.type_dropout, rng.random() < settings.context_dropout and len(mention.text) > SHORT_FORM


def write_examples(examples: Iterable[SFTExample], path: Path) -> int:
    """Write JSON Lines; the file is there whole or not at all.  Returns the number of rows."""
    return write_rows(examples, path)


def write_format(folder: Path, fmt: PromptFormat, lexicon: Lexicon) -> None:
    """Write down how the examples of a folder were made; comes last, for it speaks for a folder that is whole."""
    row = {**format_to_config(fmt), "lexicon_digest": lexicon.digest}
    (folder / FORMAT).write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_examples(path: Path | str) -> list[SFTExample]:
    """Read JSON Lines.

    Raises:
        FormatError: the file is empty, or a row is no example or not UTF-8; with file and line.
    """
    examples = []
    # As bytes: a text stream decodes ahead of the line it hands out, and the error would not know its number.
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                examples.append(from_json(SFTExample, json.loads(line.decode("utf-8"))))
            except (FormatError, ValueError) as error:
                raise FormatError(f"not a training example: {error}", path, number, "run `syncabel examples` again") from None
    if not examples:
        raise FormatError("no training example in it", path, hint="run `syncabel examples` again")
    return examples


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
