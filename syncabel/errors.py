"""Every error the project raises on purpose, as one tree.

    SyncabelError
    ├── InputError                   a file, row or sentence from outside is not what it should be
    │   ├── FormatError              a file or row does not follow its format      (path, line)
    │   ├── OffsetError              a span does not cover the text it claims to
    │   └── MarkupError              `[mention]{GROUP}` cannot be read
    ├── UnknownNameError             a group, code, format, key … nobody declared  (nearest known one)
    ├── ConfigError                  settings that contradict each other, or refused ones
    ├── TrainingError                a training that cannot go on
    │   ├── LossError                a loss that is no number                          (where)
    │   ├── CheckpointError          a checkpoint that cannot be written               (folder)
    │   └── PreemptedError           a scheduler wanted the machine back
    ├── ModelError                   a model cannot be searched, or its logits are no numbers
    ├── PromptTooLongError           a prompt does not fit the model's context
    ├── LexiconError
    │   ├── MissingLexiconError      constrained decoding without a lexicon
    │   ├── TokenizerMismatchError   the trie was built for another tokenizer
    │   └── DigestMismatchError      files that belong to another knowledge base or were altered
    ├── IncompleteFolderError        a folder half written, or missing files
    └── MissingExtraError            an optional dependency is not installed

A message is one line: what is wrong, where, what to do.
"""

import bisect
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DigestMismatchError",
    "FormatError",
    "IncompleteFolderError",
    "InputError",
    "LexiconError",
    "LossError",
    "MarkupError",
    "MissingExtraError",
    "MissingLexiconError",
    "ModelError",
    "OffsetError",
    "PreemptedError",
    "PromptTooLongError",
    "SyncabelError",
    "TokenizerMismatchError",
    "TrainingError",
    "UnknownNameError",
]


_COMPARED = 1_000  # names looked through for the nearest one


class SyncabelError(Exception):
    """Base of the tree; the command line prints its message on one line and exits with 2."""


class InputError(SyncabelError):
    """Something from outside is not what it should be."""


class FormatError(InputError):
    """A file or a row of it does not follow its format.

    Args:
        problem: what is wrong.
        path: the file; None where the input is a stream.
        line: 1-based line number; None where the whole file is meant.
        hint: what to do.
    """

    def __init__(self, problem: str, path: Path | str | None = None, line: int | None = None, hint: str = "") -> None:
        self.problem, self.path, self.line, self.hint = problem, path, line, hint
        place = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__((f"{place}: " if place else "") + problem + (f"; {hint}" if hint else ""))


class OffsetError(InputError):
    """A span does not cover the text it claims to.

    The texts are attributes and stay out of the message: a note's words belong in no log.

    Args:
        document_id: the document.
        start, end: half-open, Unicode code points.
        expected: the mention's text as annotated.
        found: what the document has at these offsets.
    """

    def __init__(self, document_id: str, start: int, end: int, expected: str, found: str) -> None:
        self.document_id, self.start, self.end, self.expected, self.found = document_id, start, end, expected, found
        super().__init__(f"document {document_id!r}: the text at offsets {start}–{end} is not the mention's; correct them (half-open, code points)")


class MarkupError(InputError):
    """A `[mention]{GROUP}` sentence cannot be read."""


class UnknownNameError(SyncabelError):
    """A name nobody declared: a group, a code, a prompt format, a configuration key.

    Args:
        kind: what it should have been a name of, e.g. "group".
        name: the unknown one.
        known: all known ones, or those that may be near; the nearest is named in the message.
        total: how many are known in all, where `known` is but some of them.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], total: int | None = None) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        near = difflib.get_close_matches(name, _neighbours(name, self.known), n=1, cutoff=0.0)
        count = len(self.known) if total is None else total
        listed = f" ({count} known)" if count > 8 else f" (known: {', '.join(one if one.isprintable() else repr(one) for one in self.known)})"
        super().__init__(f"unknown {kind} {name!r}" + (f"; did you mean {near[0]!r}?{listed}" if near else "; none is known"))


def _neighbours(name: str, known: Sequence[str]) -> Sequence[str]:
    """Those to compare with: of very many, only what sorts next to the name, for comparing with each takes seconds."""
    if len(known) <= _COMPARED:
        return known
    ordered = sorted(known)
    place = bisect.bisect(ordered, name)
    return ordered[max(0, place - _COMPARED // 2) : place + _COMPARED // 2]


class ConfigError(SyncabelError):
    """Settings that contradict each other, or that are refused."""


class TrainingError(SyncabelError):
    """A training that began and cannot go on; what its last checkpoint holds is good."""


class LossError(TrainingError):
    """Loss, gradient or a weight is no number; no checkpoint holds it.

    Args:
        where: the step and its examples.
        good: the checkpoint before it, in words.
    """

    def __init__(self, where: str, good: str) -> None:
        self.where = where
        super().__init__(f"{where}: loss, gradient or a weight is no number; {good}: lower learning_rate, or look at these examples, and run again")


class CheckpointError(TrainingError):
    """A checkpoint that cannot be written, for want of room or of rights.

    Args:
        folder: of the checkpoint.
        reason: of the failure.
        good: the checkpoint before it, in words.
    """

    def __init__(self, folder: Path, reason: str, good: str) -> None:
        self.folder = folder
        super().__init__(f"{folder} cannot be written ({reason}); {good}: make room and run the same command again")


class PreemptedError(TrainingError):
    """Training ended early because a scheduler asked; a checkpoint was saved.

    Args:
        signal: name of the signal.
        folder: output_dir.
    """

    def __init__(self, signal: str, folder: Path) -> None:
        self.signal = signal
        super().__init__(f"stopped by {signal}, with a checkpoint in {folder}; run the same command again to go on")


class ModelError(SyncabelError):
    """A model cannot be searched, or a search cannot go on with some of its prompts.

    Args:
        problem: what is wrong and what to do.
        where: the document and mention, or the sentence, of the first prompt it is about; None where it is about the model.
        prompts: numbers of the prompts it is about, from 0.
    """

    def __init__(self, problem: str, where: str | None = None, prompts: Sequence[int] = ()) -> None:
        self.problem, self.where, self.prompts = problem, where, tuple(prompts)
        super().__init__(problem if where is None else f"{where}: {problem}")


class PromptTooLongError(SyncabelError):
    """A prompt does not fit the model's context.

    Args:
        tokens: length of the prompt and the room its answer needs, in tokens.
        limit: the model's context, in tokens.
        where: the document and mention, or the sentence's number.
    """

    def __init__(self, tokens: int, limit: int, where: str) -> None:
        self.tokens, self.limit, self.where = tokens, limit, where
        super().__init__(f"{where}: the prompt needs {tokens} tokens, the model's context holds {limit}; mark a shorter mention, or use another model")


class LexiconError(SyncabelError):
    """A lexicon is missing, damaged, or belongs to something else."""


class MissingLexiconError(LexiconError):
    """Constrained decoding was asked for where there is no lexicon."""


class TokenizerMismatchError(LexiconError):
    """The trie was built for another tokenizer.

    Args:
        built_for, given: SHA-256 digests, hexadecimal.
    """

    def __init__(self, built_for: str, given: str) -> None:
        self.built_for, self.given = built_for, given
        super().__init__(f"the trie was built for tokenizer {built_for[:8]}…, this tokenizer is {given[:8]}…: run `syncabel lexicon build`")


class DigestMismatchError(LexiconError):
    """Files that belong to another knowledge base, or that were altered."""

    def __init__(self, what: str, expected: str, found: str, hint: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"{what}: digest {found[:8]}… where {expected[:8]}… is expected; {hint}")


class IncompleteFolderError(SyncabelError):
    """A folder was half written, or misses files."""


class MissingExtraError(SyncabelError):
    """An optional dependency is not installed.

    Args:
        extra: the distribution's extra that brings it.
        package: what could not be imported.
    """

    def __init__(self, extra: str, package: str) -> None:
        self.extra, self.package = extra, package
        super().__init__(f"{package} is not installed: run `pip install 'syncabel[{extra}]'`")
