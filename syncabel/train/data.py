"""Examples to token ids, checked against the lexicon, packed source by source, laid out in the order of the whole run."""

import hashlib
import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncabel.errors import ConfigError, DigestMismatchError, FormatError
from syncabel.lexicon.store import Lexicon
from syncabel.mixing import CONCATENATE, Mixture, Side, bucketed, concatenated, mix, parse_ratio
from syncabel.prompt import VERB, PromptFormat, encode_names, encode_prompt, encode_prompts, encode_text, format_to_config, word_cutter
from syncabel.sft import FORMAT
from syncabel.train.token_cache import ArrayFile, kept
from syncabel.types import Rejection, SFTExample

__all__ = [
    "IGNORED",
    "RunData",
    "Tokens",
    "build_run",
    "check_declared",
    "check_format",
    "check_targets",
    "checked",
    "encode_examples",
    "encoded",
    "joined",
    "pack",
]

IGNORED = -100  # the label of a token without loss, as torch and TRL have it
_ARRAYS = ("ids", "labels", "lengths", "sequences")
_CHUNK = 4096  # examples that are Python objects at the same time
_BLOCK = 1 << 22  # tokens that are worked on at a time
_SHUFFLED = 1024  # examples that are packed together
_MEND = "set prompt_format, language, context_chars and document_chars to what the examples were made with, or run `syncabel examples` again"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences as flat arrays, in memory or mapped from files.

    Attributes:
        ids: token ids of all sequences. Shape: (tokens,).
        labels: the same where there is loss, IGNORED elsewhere. Shape: (tokens,).
        lengths: tokens per sequence. Shape: (sequences,).
        sequences: per item (an example, or a pack of several) the number of its sequences. Shape: (items,).
        dropped: examples that are too long.
        longest: tokens of the longest example, those that are too long among them.
        folder: what the arrays are mapped from, None where they lie in memory.
    """

    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    lengths: NDArray[np.int64]
    sequences: NDArray[np.int64]
    dropped: tuple[Rejection, ...] = ()
    longest: int = 0
    folder: Path | None = None

    @property
    def item_lengths(self) -> NDArray[np.int64]:
        """Tokens per item. Shape: (items,)."""
        return np.diff(_offsets(self.lengths)[_offsets(self.sequences)])

    @property
    def loss_tokens(self) -> NDArray[np.int64]:
        """Tokens with loss per item. Shape: (items,)."""
        ends = _offsets(self.item_lengths)
        counts = np.empty(len(ends) - 1, np.int64)
        for first, last in _blocks(ends):
            seen = _offsets(self.labels[ends[first] : ends[last]] != IGNORED)
            counts[first:last] = np.diff(seen[ends[first : last + 1] - ends[first]])
        return counts


def _offsets(sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of consecutive stretches begins, and where the last ends. Shape: (stretches + 1,)."""
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def _blocks(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of stretches that hold about as many tokens as are worked on at a time."""
    edges = np.unique(np.r_[0, np.searchsorted(offsets, np.arange(0, int(offsets[-1]), _BLOCK)), len(offsets) - 1])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def check_format(examples: Iterable[SFTExample], path: str | Path, fmt: PromptFormat, lexicon: Lexicon) -> None:
    """Refuse examples that were made with another prompt format, language, context or lexicon than training declares.

    Separator and verb are in every prompt; context and lexicon are known where `syncabel examples` left its format.json.

    Args:
        examples: of the file, one a line.
        path: the file.
        fmt: as declared; it goes into the model, which is then asked in it.
        lexicon: what is trained for.

    Raises:
        ConfigError: the format is another one.
        DigestMismatchError: the lexicon is, or the knowledge base that an example was generated for.
        FormatError: format.json cannot be read.
    """
    deque(checked(examples, path, fmt, lexicon, check_declared(path, fmt, lexicon)), maxlen=0)


def checked(examples: Iterable[SFTExample], path: str | Path, fmt: PromptFormat, lexicon: Lexicon, said: Mapping[str, Any]) -> Iterator[SFTExample]:
    """Pass the examples of a file on, as long as they are what `check_format` lets through.

    Args:
        examples, path, fmt, lexicon: as `check_format` has them.
        said: what `check_declared` gave.
    """
    asked, kb_digest = f"] {VERB[fmt.language]}", str(lexicon.header["kb_digest"])
    rebased = said.get("rebased_to") == kb_digest
    for number, example in enumerate(examples, 1):
        if (made := _made_as(example, fmt)) != fmt.name:
            raise ConfigError(f"{path}:{number}: an example in the prompt format {made!r}, training is set to {fmt.name!r}; {_MEND}")
        if not example.prompt.question.endswith(asked):
            raise ConfigError(f"{path}:{number}: the question does not end in {asked[2:]!r}, the verb of language {fmt.language!r}; {_MEND}")
        if not rebased and example.provenance is not None and example.provenance.kb_digest not in ("", kb_digest):
            hint = "generate again, or make the examples with `syncabel examples --rebase`, which checks each sentence against this one"
            found = example.provenance.kb_digest
            raise DigestMismatchError(f"{path}:{number}: the knowledge base that the sentence was generated for", kb_digest, found, hint)
        yield example


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


def check_declared(examples: str | Path, fmt: PromptFormat, lexicon: Lexicon) -> dict[str, Any]:
    """Compare format and lexicon with the format.json beside a file of examples; returns what it says, {} where there is none.

    Raises:
        ConfigError, DigestMismatchError, FormatError: as `check_format`.
    """
    path = Path(examples).with_name(FORMAT)
    if not path.exists():
        return {}
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
    return dict(made)


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


def encode_examples(examples: Iterable[SFTExample], lexicon: Lexicon, tokenizer: Any, max_length: int, word_cuts: float = 0.0) -> Tokens:
    """Prompts and names as token ids; loss on the name and its end token only.  Arguments and errors are those of `encoded`."""
    return joined(list(encoded(examples, lexicon, tokenizer, max_length, word_cuts)))


def encoded(examples: Iterable[SFTExample], lexicon: Lexicon, tokenizer: Any, max_length: int, word_cuts: float = 0.0) -> Iterator[Tokens]:
    """Prompts and names as token ids, thousands of examples at a time.

    Args:
        examples: of one source.
        lexicon: built for the tokenizer.
        tokenizer: the model's.
        max_length: longer examples are dropped whole, with a reason: a cut one would teach half a name.
        word_cuts: share of the places inside a prompt's words where it is tokenised apart, a fraction.

    Raises:
        ConfigError: word_cuts with a tokenizer whose pieces do not add up to the text, or what `check_targets` refuses.
    """
    if word_cuts:
        _check_pieces(tokenizer)
    rest = iter(examples)
    while chunk := list(islice(rest, _CHUNK)):
        names = check_targets(chunk, lexicon, tokenizer)
        yield _laid_out(chunk, _prompts(chunk, tokenizer, word_cuts), names, max_length)


def _prompts(examples: Sequence[SFTExample], tokenizer: Any, word_cuts: float) -> list[list[int]]:
    if not word_cuts:
        return encode_prompts([example.prompt for example in examples], tokenizer)
    return [encode_prompt(example.prompt, tokenizer, word_cutter(word_cuts, f"{example.document_id}#{example.mention_id}")) for example in examples]


def _laid_out(examples: Sequence[SFTExample], prompts: Sequence[list[int]], names: Sequence[list[int]], max_length: int) -> Tokens:
    """Prompts and names that fit, one behind the other."""
    sizes = [len(prompt) + len(name) for prompt, name in zip(prompts, names, strict=True)]
    dropped = tuple(
        Rejection(f"{example.document_id}#{example.mention_id}", example.code, "too_long", f"{size} tokens: {example.prompt.mention}")
        for example, size in zip(examples, sizes, strict=True)
        if size > max_length
    )
    rows = [(prompt, name) for prompt, name, size in zip(prompts, names, sizes, strict=True) if size <= max_length]
    lengths = np.array([size for size in sizes if size <= max_length], np.int64)
    ids = np.fromiter(chain.from_iterable(chain(prompt, name) for prompt, name in rows), np.int32, int(lengths.sum()))
    labels = np.fromiter(chain.from_iterable(chain(repeat(IGNORED, len(prompt)), name) for prompt, name in rows), np.int32, len(ids))
    return Tokens(ids, labels, lengths, np.ones(len(rows), np.int64), dropped, max(sizes))


def _check_pieces(tokenizer: Any) -> None:
    """Refuse tokenizers that put a space before whatever they are given: a cut word would become two."""
    ids = [token for piece in ("ang", "ina") for token in encode_text(piece, tokenizer)]
    if tokenizer.decode(ids) != "angina":
        raise ConfigError("word_cuts goes with a byte-level tokenizer without a leading space; leave it out")


def pack(tokens: Tokens, size: int, seed: int) -> Tokens:
    """Examples of one source put together into items of at most `size` tokens, none cut; shuffled first.

    Best fit by remaining room, within blocks of 1,024 examples so that every pack is a mixture of lengths.  Packs of examples
    that are mapped from a folder are kept in it, too, and mapped.
    """
    if tokens.folder is None:
        flat, sizes = _packs(tokens.lengths, size, seed)
        parts = list(_rearranged(tokens, flat))
        ids, labels = (np.concatenate([part[i] for part in parts]) if parts else np.empty(0, np.int32) for i in range(2))
        return Tokens(ids, labels, tokens.lengths[flat], sizes, tokens.dropped, tokens.longest)
    packed = kept(tokens.folder / f"pack-{size}-{seed}", _ARRAYS, lambda folder: _write_packs(tokens, size, seed, folder))
    ids, labels, lengths, sizes = (packed.arrays[name] for name in _ARRAYS)
    return Tokens(ids, labels, lengths, sizes, tokens.dropped, tokens.longest, packed.folder)


def _write_packs(tokens: Tokens, size: int, seed: int, folder: Path) -> dict[str, Any]:
    flat, sizes = _packs(tokens.lengths, size, seed)
    np.save(folder / "lengths.npy", tokens.lengths[flat])
    np.save(folder / "sequences.npy", sizes)
    with ArrayFile(folder / "ids.npy", np.int32) as ids, ArrayFile(folder / "labels.npy", np.int32) as labels:
        for some_ids, some_labels in _rearranged(tokens, flat):
            ids.append(some_ids)
            labels.append(some_labels)
    return {"packs": len(sizes), "size": size, "seed": seed}


def _packs(lengths: NDArray[np.int64], size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The examples in the order of the packs, and how many each pack has. Shapes: (examples,), (packs,)."""
    order = np.random.default_rng(seed).permutation(len(lengths))
    flat, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(order), _SHUFFLED):
        block = order[start : start + _SHUFFLED]
        block = block[np.argsort(-lengths[block], kind="stable")]
        bins = _best_fit(lengths[block].tolist(), size)
        flat.append(block[list(chain.from_iterable(bins))])
        sizes.append(np.array([len(members) for members in bins], np.int64))
    return np.concatenate(flat), np.concatenate(sizes)


def _rearranged(tokens: Tokens, order: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Ids and labels of the sequences in another order, a block of them at a time."""
    starts, lengths = _offsets(tokens.lengths)[:-1][order], tokens.lengths[order]
    ends = _offsets(lengths)
    for first, last in _blocks(ends):
        take = np.arange(ends[first], ends[last]) + np.repeat(starts[first:last] - ends[first:last], lengths[first:last])
        yield tokens.ids[take], tokens.labels[take]


def _best_fit(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Places of the lengths, longest first, each put into the fullest bin that still holds it."""
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # those that a bin has, ascending
    for place, length in enumerate(lengths):
        at = bisect_left(rooms, length)
        if at < len(rooms):
            room = rooms[at]
            number = by_room[room].pop()
            if not by_room[room]:
                del rooms[at]
        else:
            room, number = size, len(bins)
            bins.append([])
        bins[number].append(place)
        left = by_room.setdefault(room - length, [])
        if not left:
            insort(rooms, room - length)
        left.append(number)
    return bins


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run is fed.

    Attributes:
        dataset: columns input_ids, labels and (packed) seq_lengths, in the order of the run; each distinct item is there once, mapped where its source is.
        mixture: the order of the run, and its accounting.
        steps: optimizer steps in it.
        rejected: examples that are too long.
        digest: SHA-256 over ids, labels and order.
        sources: the examples of each that are not too long, in the order of its file.
        packing: tokens a pack; None for none.
        seed: of the packs.
    """

    dataset: Any
    mixture: Mixture
    steps: int
    rejected: tuple[Rejection, ...]
    digest: str
    sources: Mapping[str, Tokens]
    packing: int | None
    seed: int

    def examples_of(self, step: int) -> list[tuple[str, list[int]]]:
        """What a step is made of: per item its source, and the places of its examples among those of the source that are not too long.

        Args:
            step: from 0.
        """
        sides, size = self.mixture.sides, len(self.mixture.order) // self.steps
        starts = _offsets(np.array([len(side.loss_tokens) for side in sides]))
        items = self.mixture.order[step * size : (step + 1) * size]
        whose = np.searchsorted(starts, items, side="right") - 1
        packs = {sides[k].name: self._packed(sides[k].name) for k in np.unique(whose).tolist()}
        names = [sides[k].name for k in whose.tolist()]
        return [(name, packs[name](place)) for name, place in zip(names, (items - starts[whose]).tolist(), strict=True)]

    def _packed(self, name: str) -> Callable[[int], list[int]]:
        """From an item of a source to its examples; packs are put together once more, for nobody keeps what is in them."""
        if self.packing is None:
            return lambda item: [item]
        flat, sizes = _packs(self.sources[name].lengths, self.packing, self.seed)
        ends = _offsets(sizes)
        return lambda item: flat[ends[item] : ends[item + 1]].tolist()


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
        sources: tokens per source name, in the order of the ratio; a source without examples is left out.
        ratio: e.g. "1:1", in the order of the sources, or "concatenate"; None gives each the same.
        max_steps: optimizer steps; 0 or less goes by epochs.
        epochs: see `syncabel.mixing.mix`.
        items_per_step: over all processes and accumulation steps.
        packing: tokens a pack; None for none.
        bucket_batches, max_repeats, seed: see `syncabel.mixing`.
    """
    examples = sources
    if packing is not None:
        sources = {name: pack(tokens, packing, seed) for name, tokens in sources.items()}
    sides = [Side(name, tokens.loss_tokens, tokens.item_lengths, len(tokens.lengths), len(tokens.dropped)) for name, tokens in sources.items()]
    items = max_steps * items_per_step if max_steps > 0 else None
    rest: dict[str, Any] = {"items": items, "epochs": epochs, "multiple": items_per_step, "max_repeats": max_repeats, "seed": seed}
    weights = None if ratio in (None, CONCATENATE) else parse_ratio(str(ratio), list(sources))
    try:
        mixture = concatenated(sides, **rest) if ratio == CONCATENATE else mix(sides, weights, **rest)
    except ConfigError:
        _check_first_step(sides, items_per_step)
        raise
    if not len(mixture.order):
        _check_first_step(sides, items_per_step)
        raise ConfigError(f"max_repeats={max_repeats} ends the mix before the first step; raise it or change mix")
    parts = list(sources.values())
    lengths = np.concatenate([part.item_lengths for part in parts])
    if bucket_batches > 1:
        mixture = bucketed(mixture, lengths, items_per_step, bucket_batches, seed)
    digest, dropped = _digest(parts, mixture.order), tuple(rejection for part in parts for rejection in part.dropped)
    dataset, steps = _dataset(parts, mixture.order, packing is not None, digest), len(mixture.order) // items_per_step
    return RunData(dataset, mixture, steps, dropped, digest, examples, packing, seed)


def _check_first_step(sides: Sequence[Side], items_per_step: int) -> None:
    """Of a mix that cannot be laid out, say first where one step alone would take more than all there is."""
    have = sum(len(side.loss_tokens) for side in sides)
    if items_per_step > have:
        raise ConfigError(
            f"one step takes {items_per_step:,} examples or packs of them, and the data have {have:,} in all; "
            "lower per_device_train_batch_size or gradient_accumulation_steps"
        ) from None


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Several sets of sequences as one, in memory."""
    ids, labels = (np.concatenate([np.empty(0, np.int32), *(getattr(part, name) for part in parts)]) for name in ("ids", "labels"))
    lengths, sequences = (np.concatenate([np.empty(0, np.int64), *(getattr(part, name) for part in parts)]) for name in ("lengths", "sequences"))
    dropped = tuple(rejection for part in parts for rejection in part.dropped)
    return Tokens(ids, labels, lengths, sequences, dropped, max((part.longest for part in parts), default=0))


def _digest(parts: Sequence[Tokens], order: NDArray[np.int64]) -> str:
    """SHA-256 over ids, labels, sizes and order, a block at a time."""
    seen = hashlib.sha256()
    for values in (*(getattr(part, name) for name in _ARRAYS for part in parts), order):
        for start in range(0, len(values), _BLOCK):
            seen.update(np.ascontiguousarray(values[start : start + _BLOCK]).view(np.uint8).data)
    return seen.hexdigest()


def _dataset(parts: Sequence[Tokens], order: NDArray[np.int64], packed: bool, digest: str) -> Any:
    """A datasets.Dataset over the flat arrays, without a copy of them and without a Python object per token or item."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    def lists(values: NDArray[Any], sizes: NDArray[np.int64]) -> Any:
        return pa.LargeListArray.from_arrays(pa.array(_offsets(sizes)), pa.array(values))

    def columns(tokens: Tokens) -> dict[str, Any]:
        sizes = tokens.item_lengths
        packs = {"seq_lengths": lists(tokens.lengths, tokens.sequences)} if packed else {}
        return {"input_ids": lists(tokens.ids, sizes), "labels": lists(tokens.labels, sizes), **packs}

    table = pa.concat_tables([pa.table(columns(tokens)) for tokens in parts if len(tokens.sequences)])
    # Laid over the order by hand: `select` makes a Python number of each of its places, and a fingerprint of its own reads every token.
    places = pa.table({"indices": pa.array(order.view(np.uint64))})
    return Dataset(InMemoryTable(table), indices_table=InMemoryTable(places), fingerprint=digest[:16])
