"""Examples to token ids, checked against the lexicon, packed source by source, laid out in the order of the whole run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError, DigestMismatchError, FormatError
from syncabel.lexicon.store import Lexicon
from syncabel.mixing import Mixture, Side, bucketed, mix, parse_ratio
from syncabel.prompt import VERB, PromptFormat, encode_names, encode_prompt, encode_text, format_to_config, word_cutter
from syncabel.sft import FORMAT
from syncabel.types import Rejection, SFTExample

__all__ = ["IGNORED", "RunData", "Tokens", "build_run", "check_format", "check_targets", "encode_examples", "pack"]

IGNORED = -100  # the label of a token without loss, as torch and TRL have it
_MEND = "set prompt_format, language, context_chars and document_chars to what the examples were made with, or run `syncabel examples` again"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences as flat arrays.

    Attributes:
        ids: token ids of all sequences. Shape: (tokens,).
        labels: the same where there is loss, IGNORED elsewhere. Shape: (tokens,).
        lengths: tokens per sequence. Shape: (sequences,).
        sequences: per item (an example, or a pack of several) the number of its sequences. Shape: (items,).
        dropped: examples that are too long.
    """

    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    lengths: NDArray[np.int64]
    sequences: NDArray[np.int64]
    dropped: tuple[Rejection, ...] = ()

    def _per_item(self, values: NDArray[Any]) -> NDArray[np.int64]:
        sums = np.concatenate([[0], np.cumsum(values)])
        starts = np.concatenate([[0], np.cumsum(self.item_lengths)])
        return np.asarray(sums[starts[1:]] - sums[starts[:-1]], np.int64)

    @property
    def item_lengths(self) -> NDArray[np.int64]:
        """Tokens per item. Shape: (items,)."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])[np.concatenate([[0], np.cumsum(self.sequences)])]
        return np.asarray(np.diff(ends), np.int64)

    @property
    def loss_tokens(self) -> NDArray[np.int64]:
        """Tokens with loss per item. Shape: (items,)."""
        return self._per_item(self.labels != IGNORED)


def check_format(examples: Sequence[SFTExample], path: str | Path, fmt: PromptFormat, lexicon: Lexicon) -> None:
    """Refuse examples that were made with another prompt format, language, context or lexicon than training declares.

    Separator and verb are in every prompt; context and lexicon are known where `syncabel examples` left its format.json.

    Args:
        examples: of the file, one a line.
        path: the file.
        fmt: as declared; it goes into the model, which is then asked in it.
        lexicon: what is trained for.

    Raises:
        ConfigError: the format is another one.
        DigestMismatchError: the lexicon is.
        FormatError: format.json cannot be read.
    """
    _check_declared(Path(path).with_name(FORMAT), fmt, lexicon)
    asked = f"] {VERB[fmt.language]}"
    for number, example in enumerate(examples, 1):
        if (made := _made_as(example, fmt)) != fmt.name:
            raise ConfigError(f"{path}:{number}: an example in the prompt format {made!r}, training is set to {fmt.name!r}; {_MEND}")
        if not example.prompt.question.endswith(asked):
            raise ConfigError(f"{path}:{number}: the question does not end in {asked[2:]!r}, the verb of language {fmt.language!r}; {_MEND}")


def _made_as(example: SFTExample, fmt: PromptFormat) -> str:
    """The format that a prompt shows, the declared one where it could be that."""
    prompt = example.prompt
    if prompt.separated or fmt.name == "syncabel":
        return "syncabel" if prompt.separated else "document-first" if prompt.shared else "sentence"
    if prompt.shared:
        return "document-first"
    # Without its document a prompt of that format is bare: context was dropped, or document_chars is 0.
    bare = prompt.source.startswith("[") or not fmt.document_chars
    return "document-first" if fmt.name == "document-first" and bare else "sentence"


def _check_declared(path: Path, fmt: PromptFormat, lexicon: Lexicon) -> None:
    """Compare with format.json, where there is one."""
    if not path.exists():
        return
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        written = format_to_config(fmt) if made["format"] == fmt.name else ["format"]
        declared = {name: made[name] for name in written}
        digest = str(made["lexicon_digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"does not say how the examples were made: {error}", path, hint="run `syncabel examples` again") from None
    wanted = format_to_config(fmt)
    for name, value in declared.items():
        if value != wanted[name]:
            raise ConfigError(f"{path}: the examples were made with {name} {value!r}, training is set to {wanted[name]!r}; {_MEND}")
    if digest != lexicon.digest:
        raise DigestMismatchError(f"{path}: the lexicon of the examples", lexicon.digest, digest, "give that lexicon, or run `syncabel examples` again")


def check_targets(examples: Sequence[SFTExample], lexicon: Lexicon, tokenizer: Any) -> list[list[int]]:
    """Token ids of every completion; each must be a leaf that stands for the example's code.

    Raises:
        ConfigError: one is not, so the examples were made for another lexicon.
    """
    names = list(dict.fromkeys(example.completion for example in examples))
    paths = dict(zip(names, encode_names(names, tokenizer), strict=True))
    entries = {name: lexicon.trie.walk(path) for name, path in paths.items()}
    for example in examples:
        entry = entries[example.completion]
        if entry < 0 or lexicon.code(entry) != example.code:
            found = "no name of it" if entry < 0 else f"the name of {lexicon.code(entry)}"
            raise ConfigError(
                f"example {example.document_id}#{example.mention_id}: {example.completion!r} for {example.code} is {found}: "
                "made for another lexicon, run `syncabel examples` again"
            )
    return [paths[example.completion] for example in examples]


def encode_examples(examples: Sequence[SFTExample], lexicon: Lexicon, tokenizer: Any, max_length: int, word_cuts: float = 0.0) -> Tokens:
    """Prompts and names as token ids; loss on the name and its end token only.

    Args:
        examples: of one source.
        lexicon: built for the tokenizer.
        tokenizer: the model's.
        max_length: longer examples are dropped whole, with a reason: a cut one would teach half a name.
        word_cuts: share of the places inside a prompt's words where it is tokenised apart, a fraction.

    Raises:
        ConfigError: word_cuts with a tokenizer whose pieces do not add up to the text.
    """
    if word_cuts:
        _check_pieces(tokenizer)
    rows, dropped = [], []
    for example, name in zip(examples, check_targets(examples, lexicon, tokenizer), strict=True):
        cut = word_cutter(word_cuts, f"{example.document_id}#{example.mention_id}") if word_cuts else None
        prompt = encode_prompt(example.prompt, tokenizer, cut)
        if len(prompt) + len(name) > max_length:
            text = f"{len(prompt) + len(name)} tokens: {example.prompt.mention}"
            dropped.append(Rejection(f"{example.document_id}#{example.mention_id}", example.code, "too_long", text))
        else:
            rows.append((prompt, name))
    ids = np.fromiter(chain.from_iterable(chain(prompt, name) for prompt, name in rows), np.int32)
    labels = np.fromiter(chain.from_iterable(chain(repeat(IGNORED, len(prompt)), name) for prompt, name in rows), np.int32)
    lengths = np.array([len(prompt) + len(name) for prompt, name in rows], np.int64)
    return Tokens(ids, labels, lengths, np.ones(len(rows), np.int64), tuple(dropped))


def _check_pieces(tokenizer: Any) -> None:
    """Refuse tokenizers that put a space before whatever they are given: a cut word would become two."""
    ids = [token for piece in ("ang", "ina") for token in encode_text(piece, tokenizer)]
    if tokenizer.decode(ids) != "angina":
        raise ConfigError("word_cuts goes with a byte-level tokenizer without a leading space; leave it out")


def pack(tokens: Tokens, size: int, seed: int) -> Tokens:
    """Examples of one source put together into items of at most `size` tokens, none cut; shuffled first.

    Best fit by remaining room, within blocks of 1,024 examples so that every pack is a mixture of lengths.
    """
    order = np.random.default_rng(seed).permutation(len(tokens.lengths))
    bins: list[list[int]] = []
    for start in range(0, len(order), 1024):
        block = order[start : start + 1024]
        bins += _best_fit(block[np.argsort(-tokens.lengths[block], kind="stable")].tolist(), tokens.lengths.tolist(), size)
    flat = np.array([example for members in bins for example in members], np.int64)
    starts = np.concatenate([[0], np.cumsum(tokens.lengths)])
    take = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in flat]) if len(flat) else np.empty(0, np.int64)
    sizes = np.array([len(members) for members in bins], np.int64)
    return Tokens(tokens.ids[take], tokens.labels[take], tokens.lengths[flat], sizes, tokens.dropped)


def _best_fit(examples: Sequence[int], lengths: Sequence[int], size: int) -> list[list[int]]:
    """Longest first, each into the fullest bin that still holds it."""
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    for example in examples:
        length = lengths[example]
        room = min((room for room, open_bins in by_room.items() if room >= length and open_bins), default=size)
        if by_room.get(room):
            number = by_room[room].pop()
        else:
            number = len(bins)
            bins.append([])
        bins[number].append(example)
        by_room.setdefault(room - length, []).append(number)
    return bins


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run is fed.

    Attributes:
        dataset: columns input_ids, labels and (packed) seq_lengths, in the order of the run; each distinct item lies in memory once.
        mixture: order and accounting.
        steps: optimizer steps in it.
        rejected: examples that are too long.
        digest: SHA-256 over ids, labels and order.
    """

    dataset: Any
    mixture: Mixture
    steps: int
    rejected: tuple[Rejection, ...]
    digest: str


def build_run(
    sources: dict[str, Tokens],
    *,
    ratio: str | None,
    max_steps: int,
    epochs: float,
    items_per_step: int,
    packing: int | None,
    bucket_batches: int,
    max_repeats: int,
    seed: int,
) -> RunData:
    """Mix the sources and lay out the whole run, so that nothing shuffles it afterwards.

    Args:
        sources: tokens per source name, human first; a source without examples is left out.
        ratio: e.g. "1:1"; None is 1:1 where both are there.
        max_steps: optimizer steps; 0 or less goes by epochs.
        epochs: see `syncabel.mixing.mix`.
        items_per_step: over all processes and accumulation steps.
        packing: tokens a pack; None for none.
        bucket_batches, max_repeats, seed: see `syncabel.mixing`.
    """
    if packing is not None:
        sources = {name: pack(tokens, packing, seed) for name, tokens in sources.items()}
    sides = [Side(name, tokens.loss_tokens, tokens.item_lengths, len(tokens.lengths), len(tokens.dropped)) for name, tokens in sources.items()]
    mixture = mix(
        sides,
        None if ratio is None else parse_ratio(ratio, list(sources)),
        items=max_steps * items_per_step if max_steps > 0 else None,
        epochs=epochs,
        multiple=items_per_step,
        max_repeats=max_repeats,
        seed=seed,
    )
    if not len(mixture.order):
        raise ConfigError(f"max_repeats={max_repeats} ends the mix before the first step; raise it or change mix")
    joined = _joined(list(sources.values()))
    order = bucketed(mixture, joined.item_lengths, items_per_step, bucket_batches, seed) if bucket_batches > 1 else mixture.order
    seen = hashlib.sha256()
    for values in (joined.ids, joined.labels, joined.lengths, joined.sequences, order):
        seen.update(np.ascontiguousarray(values).view(np.uint8).data)
    return RunData(_dataset(joined, packing is not None).select(order), mixture, len(order) // items_per_step, joined.dropped, seen.hexdigest())


def _joined(parts: Sequence[Tokens]) -> Tokens:
    ids, labels, lengths, sequences = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "labels", "lengths", "sequences"))
    return Tokens(ids, labels, lengths, sequences, tuple(rejection for part in parts for rejection in part.dropped))


def _dataset(tokens: Tokens, packed: bool) -> Any:
    """A datasets.Dataset over the flat arrays, without a Python object per token."""
    import pyarrow as pa
    from datasets import Dataset

    def lists(values: NDArray[Any], sizes: NDArray[np.int64]) -> Any:
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return pa.LargeListArray.from_arrays(offsets, values)

    columns = {"input_ids": lists(tokens.ids, tokens.item_lengths), "labels": lists(tokens.labels, tokens.item_lengths)}
    if packed:
        columns["seq_lengths"] = lists(tokens.lengths, tokens.sequences)
    return Dataset(pa.table(columns))
