"""The sources of a run: which files the mix asks for, and their examples as token arrays that are made once and mapped afterwards."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from syncabel.digests import file_sha256
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.lexicon.store import Lexicon, tokenizer_digest
from syncabel.mixing import CONCATENATE, parse_ratio
from syncabel.prompt import format_to_config
from syncabel.sft import iter_examples
from syncabel.train.arguments import Settings
from syncabel.train.data import Tokens, check_declared, checked, encoded
from syncabel.train.token_cache import ArrayFile, kept
from syncabel.types import Rejection, from_json, to_json

__all__ = ["SOURCES", "WORDS", "example_files", "load_sources", "mode_of", "tokens_of"]

SOURCES = ("human", "synthetic", "names")  # in the order of a ratio
_ONLY = {f"{name}-only": name for name in SOURCES}
WORDS = (*_ONLY, CONCATENATE)  # what `mix` may say instead of a ratio
CACHE_VERSION = 1  # to be raised whenever the same file would give other tokens
_ARRAYS = {"ids": np.int32, "labels": np.int32, "lengths": np.int64}
_DROPPED = "dropped.jsonl"


def mode_of(settings: Settings) -> str | None:
    """What `build_run` is told: a ratio over the sources that are given, `concatenate`, or None where they have equal shares.

    Raises:
        ConfigError: a ratio of another number of parts than there are sources, or a word for a source without a file.
        UnknownNameError: neither a ratio nor one of the words.
    """
    mode, given = settings.own.mix, list(_given(settings))
    if mode is None or mode == CONCATENATE:
        return mode
    if mode in _ONLY:
        if _ONLY[mode] not in given:
            raise ConfigError(f"mix is {mode!r}, but there are no {_ONLY[mode]}_examples; give them or choose another mix")
        return None
    if any(letter.isalpha() for letter in mode) and ":" not in mode:
        raise UnknownNameError("mix", mode, WORDS)
    if len(given) < 2:
        absent = next(name for name in SOURCES if name not in given)
        raise ConfigError(f"mix is {mode!r}, but there are no {absent}_examples; give them or leave mix out")
    parse_ratio(mode, given)
    return mode


def example_files(settings: Settings) -> dict[str, str]:
    """The files that the mix uses, by source."""
    mode_of(settings)
    given, only = _given(settings), _ONLY.get(str(settings.own.mix))
    return given if only is None else {only: given[only]}


def _given(settings: Settings) -> dict[str, str]:
    files = {name: getattr(settings.own, f"{name}_examples") for name in SOURCES}
    return {name: path for name, path in files.items() if path}


def load_sources(settings: Settings, lexicon: Lexicon, tokenizer: Any) -> dict[str, Tokens]:
    """The examples of every source that the mix uses, as tokens; what a mix of one word leaves out is said.

    Args:
        settings: of the run.
        lexicon: built for the tokenizer.
        tokenizer: the model's.

    Returns:
        Source name -> tokens, in the order human, synthetic, names.

    Raises:
        ConfigError: the mix and the files do not fit together, or all examples of a source are too long.
        SyncabelError: what `tokens_of` refuses.
    """
    used = example_files(settings)
    for name, path in _given(settings).items():
        if name not in used and settings.sft.process_index == 0:
            print(f"mix is {settings.own.mix}: left out {name}_examples, {path}", file=sys.stderr)
    sources = {name: tokens_of(path, settings, lexicon, tokenizer) for name, path in used.items()}
    for name, tokens in sources.items():
        if not len(tokens.lengths):
            raise ConfigError(
                f"{used[name]}: no training example is left, all {len(tokens.dropped):,} are longer than max_length={settings.max_length}; "
                f"raise max_length to {tokens.longest}, the longest, or make the examples with fewer context_chars"
            )
    return sources


def tokens_of(path: str | Path, settings: Settings, lexicon: Lexicon, tokenizer: Any) -> Tokens:
    """The examples of a file as tokens: read in a stream, checked and tokenised the first time, mapped from the cache afterwards.

    Args:
        path: JSON Lines or Parquet.
        settings: prompt format, max_length, word_cuts and token_cache of the run.
        lexicon: built for the tokenizer.
        tokenizer: the model's.

    Raises:
        SyncabelError: the examples were not made as this run says, see `syncabel.train.data.check_format` and `check_targets`.
    """
    own = settings.own
    said = check_declared(path, own.format, lexicon)

    def make(folder: Path) -> dict[str, Any]:
        examples = checked(iter_examples(path), path, own.format, lexicon, said)
        header = _write(encoded(examples, lexicon, tokenizer, settings.max_length, own.word_cuts), folder)
        print(f"{path}: {header['examples']:,} examples tokenised", file=sys.stderr)
        return header

    key = _key(path, settings, lexicon, tokenizer, said)
    found = kept(Path(own.token_cache or Path(path).with_name("tokens")) / key, tuple(_ARRAYS), make)
    lengths = found.arrays["lengths"]
    dropped = tuple(_rejections(found.folder / _DROPPED))
    return Tokens(found.arrays["ids"], found.arrays["labels"], lengths, np.ones(len(lengths), np.int64), dropped, found.header["longest"], found.folder)


def _key(path: str | Path, settings: Settings, lexicon: Lexicon, tokenizer: Any, said: dict[str, Any]) -> str:
    """SHA-256 over everything that decides the tokens of a file and what is checked on the way."""
    decisive = {
        "version": CACHE_VERSION,
        "file": file_sha256(path),
        "tokenizer": tokenizer_digest(tokenizer),
        # The digest leaves out what puts begin tokens in front, and which token ends a name.
        "ends": [tokenizer("")["input_ids"], tokenizer.eos_token_id],
        "lexicon": lexicon.digest,
        "kb": str(lexicon.header["kb_digest"]),
        "rebased_to": said.get("rebased_to"),
        "format": format_to_config(settings.own.format),
        "max_length": settings.max_length,
        "word_cuts": settings.own.word_cuts,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _write(chunks: Iterator[Tokens], folder: Path) -> dict[str, Any]:
    """Arrays and rejections into a folder as they come; returns what its header says."""
    header = {"version": CACHE_VERSION, "examples": 0, "dropped": 0, "tokens": 0, "longest": 0}
    with ExitStack() as stack:
        rejects = stack.enter_context((folder / _DROPPED).open("w", encoding="utf-8"))
        files = {name: stack.enter_context(ArrayFile(folder / f"{name}.npy", _ARRAYS[name])) for name in _ARRAYS}
        for chunk in chunks:
            for name, file in files.items():
                file.append(getattr(chunk, name))
            rejects.writelines(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in chunk.dropped)
            header["examples"] += len(chunk.lengths)
            header["dropped"] += len(chunk.dropped)
            header["tokens"] += len(chunk.ids)
            header["longest"] = max(header["longest"], chunk.longest)
    return header


def _rejections(path: Path) -> Iterator[Rejection]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield from_json(Rejection, json.loads(line))
