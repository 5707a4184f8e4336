"""A model and the trees of tokens it has read: prompts that begin alike, and the ways they go on, in one tree each.

`plant` runs prompts, each distinct prefix once; `read` runs chunks of tokens after places that were read before.  Nothing is
copied for a branch: a place (`Tips`) knows which slots of its tree's cache it follows.  `fell` gives a tree's room back.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constrained.attention import KeyValues, Reading, attending, device_of, lock_of
from constrained.errors import SearchError
from constrained.ragged import counted, ranks

__all__ = ["Forest", "Tips", "Trace", "check_model", "computed_in", "counted", "distinct_tokens", "group_prompts", "pairs_of"]

LEAST_SHARED = 16  # tokens; less is never shared
MOST_SLOTS = 4096  # of a tree with several prompts: each of its tokens attends over all of it
# Pairs of tokens, times the model's width, that are held to cost under attention what a token costs apart from it: measured on a
# CPU, at widths of 32 and 384, over trees of 1 to 24 prompts with 20 to 350 common tokens.
PAIRS = 16.0
# Nats that two kernels of attention may differ by on nine tokens, beside 1e-3.  SmolLM2-135M in bfloat16 has 0.39, with a wrong mask 7.9.
MOST_APART: dict[torch.dtype | None, float] = {torch.float16: 0.25, torch.bfloat16: 1.1}
Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]
Prompt = Sequence[int]


class _Checked(NamedTuple):
    """What is known of a model that was checked.

    Attributes:
        windows: most tokens back that a layer looks, see `KeyValues`.
        dtype: that its layers compute in; under autocast another one than its weights'.
    """

    windows: dict[int, int]
    dtype: torch.dtype | None


_checked: "WeakKeyDictionary[nn.Module, _Checked]" = WeakKeyDictionary()


class Tips(NamedTuple):
    """Places that further tokens may follow.

    Attributes:
        tree: its number in the forest. Shape: (tips,).
        position: that of the next token. Shape: (tips,).
        visible: the slots of its tree that the next token follows. Shape: (tips × slots).
    """

    tree: Longs
    position: Longs
    visible: Flags

    @classmethod
    def none(cls) -> "Tips":
        """No tips."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.bool_))

    def take(self, which: Longs | Flags) -> "Tips":
        """Some of them, in the order asked for."""
        return Tips(self.tree[which], self.position[which], self.visible[which])

    @classmethod
    def joined(cls, parts: Sequence["Tips"]) -> "Tips":
        """All of several."""
        slots = max((part.visible.shape[1] for part in parts), default=0)
        visible = [_widened(part.visible, slots) for part in parts]
        return cls(np.concatenate([part.tree for part in parts]), np.concatenate([part.position for part in parts]), np.concatenate(visible))


class Trace(Protocol):
    """Told of every forward pass, to count passes or to replay them."""

    def passed(self, ids: Tensor, positions: Tensor, keep: Tensor, reading: Reading) -> None:
        """One pass: token ids and positions, shape (1 × tokens), and the tokens whose logits are asked for."""
        ...


class Forest:
    """Trees of tokens read by one model.

    Args:
        model: decoder-only, in evaluation mode, that `check_model` accepts.
        spare: tokens that a tree is expected to grow by for each of its prompts.
        trace: told of every forward pass.
    """

    def __init__(self, model: nn.Module, spare: int = 64, trace: Trace | None = None) -> None:
        self._model, self._trace = model, trace
        self.device = device_of(model)
        self._cache, self._spare = KeyValues(), spare
        self._windowed = model not in _checked or bool(_checked[model].windows)
        # By tree, for ever: its row, −1 once felled, and the slots in use.  By row: the position of each slot's token.
        self._row = np.zeros(0, np.int64)
        self._used = np.zeros(0, np.int64)
        self._tree_at = np.zeros(0, np.int64)
        self._slot_position = np.zeros((0, 0), np.int32)

    def __len__(self) -> int:
        return len(self._tree_at)

    @property
    def nbytes(self) -> int:
        """Memory of the keys and values, in bytes."""
        return self._cache.nbytes

    @property
    def slots(self) -> int:
        """Tokens that the cache has room for in each tree."""
        return self._cache.slots

    @property
    def dtype(self) -> torch.dtype | None:
        """That the model's layers compute in, None before something was read."""
        return self._cache.dtype

    @property
    def windows(self) -> dict[int, int]:
        """Most tokens back that a layer looks, by its number, as far as it was run and does not look at everything."""
        return self._cache.windows

    def plant(self, groups: Sequence[Sequence[Prompt]]) -> tuple[Tips, Tensor]:
        """Run prompts; those of a group share a tree, and in it every token of the prefixes they have in common.

        Args:
            groups: at least one prompt in each, at least one token in each of these.

        Returns:
            A tip and the next token's logits for each prompt, group by group. Shape: (prompts × vocabulary).
        """
        trees = [_PromptTree(group) for group in groups]
        sizes = np.array([len(tree.tokens) for tree in trees])
        width, first, new = int(sizes.max()), len(self), np.arange(len(trees)) + len(self._row)
        tree = np.repeat(new, sizes)
        slot = counted(sizes)
        self._row = np.concatenate([self._row, first + np.arange(len(trees))])
        self._used = np.concatenate([self._used, sizes])
        self._tree_at = np.concatenate([self._tree_at, new])
        starts = np.cumsum(sizes) - sizes
        last = np.concatenate([start + each.last for start, each in zip(starts, trees, strict=True)])
        tokens, position = np.concatenate([each.tokens for each in trees]), np.concatenate([each.position for each in trees])
        prompts = np.array([len(group) for group in groups])
        self._cache.reserve(len(self), int((sizes + self._spare * prompts).max()))
        straight = bool((prompts == 1).all())
        visible = None if straight else np.stack([each.visible(width) for each in trees])
        logits = self._forward(_Pass(tokens, position, self._row[tree], slot, slot, first, len(trees), width, visible, last))
        parts = [Tips(np.full(len(each.last), number), each.length, each.followed()) for number, each in zip(new, trees, strict=True)]
        return Tips.joined(parts), logits

    def read(self, tips: Tips, tokens: Longs, length: Longs) -> tuple[Tips, Tensor]:
        """Run a chunk of tokens after each tip.

        Args:
            tips: where the chunks follow; several may follow one place.
            tokens: of all chunks, one after the other. Shape: (tokens,).
            length: tokens of each chunk, at least one. Shape: (tips,).

        Returns:
            The places after the chunks, and the logits after each token. Shape: (tokens × vocabulary).
        """
        chunk, within = np.repeat(np.arange(len(length)), length), counted(length)
        tree = tips.tree[chunk]
        column = ranks(tree)
        slot = self._used[tree] + column
        np.add.at(self._used, tips.tree, length)
        slots = int(self._used[self._tree_at].max())
        starts = np.cumsum(length) - length
        visible = _widened(tips.visible, slots)[chunk]
        # A token of a chunk follows those of the chunk before it, and itself.  A tree's tokens come in slot order.
        place = np.arange(slots)
        visible |= (place >= slot[starts][chunk][:, None]) & (place <= slot[:, None])
        row = self._row[tree]
        laid_out = np.zeros((len(self), int(column.max()) + 1, slots), np.bool_)
        laid_out[row, column] = visible
        position = tips.position[chunk] + within
        logits = self._forward(_Pass(tokens, position, row, slot, column, 0, len(self), slots, laid_out, None))
        return Tips(tips.tree, tips.position + length, visible[starts + length - 1]), logits

    def fell(self, trees: Iterable[int]) -> None:
        """Give back the room of trees that nothing will be read after."""
        gone = np.fromiter(trees, np.int64)
        if not len(gone):
            return
        left = len(self) - len(gone)
        removed = np.zeros(len(self), np.bool_)
        removed[self._row[gone]] = True
        holes, moved = np.flatnonzero(removed[:left]), left + np.flatnonzero(~removed[left:])
        if len(holes):
            self._cache.move(*torch.from_numpy(np.stack([moved, holes])).to(self.device))
            self._slot_position[holes] = self._slot_position[moved]
            self._tree_at[holes] = self._tree_at[moved]
            self._row[self._tree_at[holes]] = holes
        self._tree_at = self._tree_at[:left]
        self._row[gone] = -1

    def _forward(self, run: "_Pass") -> Tensor:
        self._cache.reserve(len(self), run.slots)
        self._note_positions(run)
        device = self.device
        tokens, position, row, slot, column = torch.from_numpy(np.stack([run.tokens, run.position, run.row, run.slot, run.column])).to(device)
        windowed = self._windowed and run.visible is not None
        reading = Reading(
            self._cache,
            run.first,
            run.rows,
            run.slots,
            row,
            slot,
            column,
            run.width,
            run.dense,
            None if run.visible is None else torch.from_numpy(run.visible).to(device),
            torch.from_numpy(run.laid_out_position()).to(device) if windowed else None,
            torch.from_numpy(self._slot_position[run.first : run.first + run.rows, : run.slots]).to(device) if windowed else None,
        )
        keep = torch.arange(len(run.tokens), device=device) if run.keep is None else torch.from_numpy(run.keep).to(device)
        if self._trace is not None:
            self._trace.passed(tokens[None], position[None], keep, reading)
        return forward(self._model, tokens[None], position[None], keep, reading)

    def _note_positions(self, run: "_Pass") -> None:
        rows, slots = self._slot_position.shape
        if len(self) > rows or run.slots > slots:
            grown = np.zeros((max(len(self), rows), max(2 * run.slots, slots)), np.int32)
            grown[:rows, :slots] = self._slot_position
            self._slot_position = grown
        self._slot_position[run.row, run.slot] = run.position


@torch.inference_mode()
def forward(model: nn.Module, ids: Tensor, positions: Tensor, keep: Tensor, reading: Reading) -> Tensor:
    """One forward pass over trees.

    Args:
        model: the model.
        ids, positions: of the new tokens. Shape: (1 × tokens).
        keep: the tokens whose logits are asked for.
        reading: what they attend to.

    Returns:
        Shape: (kept × vocabulary).
    """
    with attending(model):
        output = model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep, reading=reading)
    logits: Tensor = output.logits[0]
    return logits


class _Pass(NamedTuple):
    """What one forward pass reads; the arrays are those of `Reading`, on the host."""

    tokens: Longs
    position: Longs
    row: Longs
    slot: Longs
    column: Longs
    first: int
    rows: int
    slots: int
    visible: Flags | None
    keep: Longs | None

    @property
    def width(self) -> int:
        return int(self.column.max()) + 1

    @property
    def dense(self) -> bool:
        place = (self.row - self.first) * self.width + self.column
        return len(place) == self.rows * self.width and bool((place == np.arange(len(place))).all())

    def laid_out_position(self) -> NDArray[np.int32]:
        out = np.zeros((self.rows, self.width), np.int32)
        out[self.row - self.first, self.column] = self.position
        return out


class _PromptTree:
    """Prompts as one tree: each distinct prefix once.

    Attributes:
        tokens, position: of the tree's tokens, those of a prompt in order. Shape: (tokens,).
        last: the token that each prompt ends with. Shape: (prompts,).
        length: of each prompt. Shape: (prompts,).
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        arrays = [np.asarray(prompt, dtype=np.int64) for prompt in prompts]
        self.length = np.array([len(each) for each in arrays])
        self._paths: list[Longs] = [np.zeros(0, np.int64)] * len(arrays)
        self._branches: list[tuple[int, Longs]] = []
        tokens, positions, size = [], [], 0
        before, path = np.zeros(0, np.int64), np.zeros(0, np.int64)
        # In the order of their tokens a prompt shares most with the one before it.
        for number in sorted(range(len(arrays)), key=lambda number: arrays[number].tolist()):
            shared = _common(before, arrays[number])
            new = len(arrays[number]) - shared
            path = np.concatenate([path[:shared], size + np.arange(new)])
            self._branches.append((shared, path))
            self._paths[number] = path
            tokens.append(arrays[number][shared:])
            positions.append(shared + np.arange(new))
            size += new
            before = arrays[number]
        self.tokens, self.position = np.concatenate(tokens), np.concatenate(positions)
        self.last = np.array([path[-1] for path in self._paths])

    def visible(self, width: int) -> Flags:
        """What each token attends to. Shape: (width × width)."""
        seen = np.zeros((width, width), np.bool_)
        for shared, path in self._branches:
            new = path[shared:]
            seen[np.ix_(new, path[:shared])] = True
            seen[np.ix_(new, new)] = np.tri(len(new), dtype=np.bool_)
        return seen

    def followed(self) -> Flags:
        """What the token after each prompt follows. Shape: (prompts × tokens)."""
        seen = np.zeros((len(self._paths), len(self.tokens)), np.bool_)
        for number, path in enumerate(self._paths):
            seen[number, path] = True
        return seen


def group_prompts(prompts: Sequence[Prompt], *, spare: int, pairs: float, most: int = MOST_SLOTS) -> list[list[int]]:
    """Numbers of prompts that are worth a common tree, as those of one document's mentions are.

    In the order of their tokens, a prompt joins the group before it, with whose first one it shares at least `LEAST_SHARED`
    tokens, where the attention that it adds costs less than to run it alone, and no more than what a prompt of the group costs on
    average beside its own tokens: from there on another tree is cheaper, though it begins with the common ones again.

    Args:
        prompts: token ids.
        spare: tokens that are expected to be read after each prompt.
        pairs: see `pairs_of`.
        most: slots of a tree; of what comes after its first prompt, a fourth of them where that prompt takes more than the rest.

    Returns:
        Groups in the order of their prompts' tokens.
    """
    arrays = [np.asarray(prompt, dtype=np.int64) for prompt in prompts]
    groups: list[list[int]] = []
    tree = _Size(0, 0)
    for number in sorted(range(len(arrays)), key=lambda number: arrays[number].tolist()):
        alone = _Size(len(arrays[number]) + spare, 1)
        if groups and _common(arrays[groups[-1][0]], arrays[number]) >= LEAST_SHARED:
            first, shared = len(arrays[groups[-1][0]]) + spare, _common(arrays[groups[-1][-1]], arrays[number])
            larger = _Size(tree.slots + alone.slots - shared, tree.prompts + 1)
            saved, more = shared * pairs, larger.pairs - tree.pairs
            if larger.slots <= max(most, first + most // 4) and more <= min(saved + alone.pairs, (saved + tree.pairs) / tree.prompts):
                groups[-1].append(number)
                tree = larger
                continue
        groups.append([number])
        tree = alone
    return groups


class _Size(NamedTuple):
    """Slots and prompts of a tree, what is read after these included."""

    slots: int
    prompts: int

    @property
    def pairs(self) -> int:
        """Pairs of tokens under attention: every token is laid out against the whole tree."""
        return self.slots**2


def pairs_of(model: nn.Module) -> float:
    """Pairs of tokens whose attention costs a model as much time as one token does apart from attention."""
    config: Any = model.config
    return PAIRS * float(config.get_text_config().hidden_size)


def distinct_tokens(prompts: Sequence[Prompt]) -> int:
    """Tokens of the tree of these prompts, each distinct prefix once.

    Args:
        prompts: in the order of their tokens.
    """
    shared = [_shared(one, other) for one, other in pairwise(prompts)]
    return sum(len(prompt) for prompt in prompts) - sum(shared)


def check_model(model: nn.Module) -> None:
    """Compare a model's own attention with the one over trees on nine tokens, once for each model.

    Raises:
        SearchError: they differ: the model does not attend through transformers' interface, or adds something to its scores; or
            they would differ on more tokens: it does not say there how far its layers look back.
    """
    with lock_of(model):
        if model not in _checked:
            _checked[model] = _check(model)


def computed_in(model: nn.Module) -> torch.dtype:
    """The floating type that the layers of a model compute in: that of its weights, or autocast's.

    Raises:
        SearchError: see `check_model`.
    """
    check_model(model)
    return _checked[model].dtype or next(model.parameters()).dtype


def _check(model: nn.Module) -> _Checked:
    config: Any = model.config
    ids = [(7 * i + 3) % int(config.get_text_config().vocab_size) for i in range(9)]
    device = device_of(model)
    try:
        forest = Forest(model)
        tips, first = forest.plant([[ids[:4]]])
        # The chunk that is checked comes second, so that the first must stay out of its sight.
        _, logits = forest.read(tips.take(np.array([0, 0])), np.array([*ids[:2], *ids[4:]]), np.array([2, 5]))
        found = torch.cat([first, logits[2:]]).float().log_softmax(-1)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise _refused(model, f"its attention is not called through transformers' interface ({error})") from error
    with torch.inference_mode():
        wanted = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, 3:].float().log_softmax(-1)
    if not bool(torch.isfinite(wanted.max(-1).values).all()):
        raise _refused(model, "its logits are not finite; check its weights and its floating type")
    likely = wanted > wanted.max(-1, keepdim=True).values - 10
    far = float((found - wanted).abs()[likely].max())
    if not far <= MOST_APART.get(forest.dtype, 1e-3):
        raise _refused(model, f"over trees its log-probabilities differ by {far:.3g} from its own")
    if (unsaid := _unsaid(config.get_text_config(), forest.windows)) is not None:
        raise _refused(model, f"{unsaid}, and its layers do not tell their attention so")
    return _Checked(forest.windows, forest.dtype)


def _unsaid(config: Any, windows: dict[int, int]) -> str | None:
    """What a configuration limits that nine tokens do not show and no layer has handed on."""
    context = getattr(config, "max_position_embeddings", None) or np.inf
    kinds = getattr(config, "layer_types", None)
    window, chunk = getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)
    if window is not None and window < context and getattr(config, "use_sliding_window", True):
        sliding = [number for number, kind in enumerate(kinds or ()) if kind == "sliding_attention"]
        said = all(windows.get(number) == window for number in sliding) if kinds else window in windows.values()
        if not said:
            return f"it looks back {window} tokens at most"
    if chunk is not None and chunk < context and (not kinds or "chunked_attention" in kinds):
        return f"it looks at chunks of {chunk} tokens"
    if getattr(config, "attn_temperature_tuning", False):
        return "its scores are scaled by position"
    return None


def _refused(model: nn.Module, reason: str) -> SearchError:
    return SearchError(f"{type(model).__name__} cannot be searched: {reason}")


def _widened(flags: Flags, columns: int) -> Flags:
    if flags.shape[1] >= columns:
        return flags[:, :columns]
    return np.concatenate([flags, np.zeros((len(flags), columns - flags.shape[1]), np.bool_)], axis=1)


def _common(one: Longs, other: Longs) -> int:
    size = min(len(one), len(other))
    differ = np.flatnonzero(one[:size] != other[:size])
    return int(differ[0]) if len(differ) else size


def _shared(one: Prompt, other: Prompt) -> int:
    return _common(np.asarray(one, dtype=np.int64), np.asarray(other, dtype=np.int64))
