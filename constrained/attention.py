"""Attention over trees of tokens, for any model of transformers that calls its attention by name.

A search reads tokens that follow one prompt in many ways.  Copying the prompt's keys and values for each way costs more than the
reading does, so here a prompt and everything read after it is one tree with one cache, to which tokens are only added; a
token attends to the tokens it follows and to itself.  The model sees the new tokens of all trees as one sequence without
padding; only inside the attention they are laid out tree by tree.

The function is registered with transformers as `constrained_tree`; `attending` switches a model to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

__all__ = ["KeyValues", "Reading", "attending", "device_of", "is_sharded", "lock_of", "place_of", "tree_attention"]

NAME = "constrained_tree"

# By the address of a configuration, which is what is switched.  A later one at the same address may well use the lock of the former.
_locks: dict[int, RLock] = {}


class KeyValues:
    """Keys and values of all layers: one row per tree, one slot per token; layers appear as the model first calls them.

    Attributes:
        slots: that each tree has room for.
        windows: most tokens back that a layer looks, by its number; those that look at everything are not in it.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._rows, self.slots = 0, 0
        self.windows: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """Memory of all layers, in bytes."""
        return sum(part.nbytes for layer in self._layers.values() for part in layer)

    @property
    def dtype(self) -> torch.dtype | None:
        """What the layers compute in, None before one was called: that of the values, as keys may have been turned in another one."""
        return next((values.dtype for _, values in self._layers.values()), None)

    def reserve(self, rows: int, slots: int) -> None:
        """Make room for so many trees, which may be fewer than before, and slots of each; what is there stays."""
        if rows <= self._rows and slots <= self.slots:
            return
        if slots > self.slots:
            # By half at least, so that trees that grow token by token are seldom copied.
            self.slots, self._rows = max(slots, self.slots * 3 // 2), 0
        self._rows = max(rows, self._rows)
        for number, (keys, values) in self._layers.items():
            # One after the other, so that only one is there twice.
            self._layers[number] = (self._grown(keys), self._grown(values))

    @torch.inference_mode()
    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copy rows over other rows."""
        for layer in self._layers.values():
            for part in layer:
                part[targets] = part[sources]

    def write(self, layer: int, keys: Tensor, values: Tensor, row: Tensor, slot: Tensor) -> tuple[Tensor, Tensor]:
        """Add tokens to a layer.

        Args:
            layer: its number.
            keys, values: Shape: (1 × heads × tokens × width of a head).
            row, slot: where each token goes. Shape: (tokens,).

        Returns:
            The layer's keys and values. Shape: (rows × heads × slots × width of a head) each.
        """
        if layer not in self._layers:
            self._layers[layer] = (self._empty(keys), self._empty(values))
        stored = self._layers[layer]
        for part, new in zip(stored, (keys, values), strict=True):
            part[row, :, slot] = new[0].transpose(0, 1)
        return stored

    def _empty(self, like: Tensor) -> Tensor:
        # Zeros: a masked place has no weight, but nothing times infinity is no number.
        return like.new_zeros(self._rows, like.shape[1], self.slots, like.shape[3])

    def _grown(self, old: Tensor) -> Tensor:
        new = self._empty(old)
        rows = min(len(old), len(new))
        new[:rows, :, : old.shape[2]] = old[:rows]
        return new


@dataclass(eq=False)
class Reading:
    """The tokens of one forward pass, and what each of them attends to.

    Attributes:
        cache: keys and values of the trees.
        first, rows: the trees that take part are so many rows of the cache from the first on.
        slots: slots that anything may attend to: so many from slot 0 on.
        row: the cache's row of each token. Shape: (tokens,).
        slot: its place there. Shape: (tokens,).
        column: its number among the new tokens of its tree. Shape: (tokens,).
        width: the most new tokens of a tree.
        dense: every tree has `width` new tokens, and they come tree by tree.
        visible: what each new token attends to; None where the trees are new and without branches. Shape: (rows × width × slots).
        position: of each new token. Shape: (rows × width); None where visible is None or no layer looks back through a window.
        slot_position: of the token in each slot, likewise. Shape: (rows × slots).
    """

    cache: KeyValues
    first: int
    rows: int
    slots: int
    row: Tensor
    slot: Tensor
    column: Tensor
    width: int
    dense: bool
    visible: Tensor | None
    position: Tensor | None
    slot_position: Tensor | None
    _masks: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def laid_out(self, query: Tensor) -> Tensor:
        """(1 × heads × tokens × width of a head) → (rows × heads × new tokens × width of a head), the rest zeros."""
        by_token = query[0].transpose(0, 1)
        if self.dense:
            return by_token.reshape(self.rows, self.width, *by_token.shape[1:]).transpose(1, 2)
        padded = query.new_zeros(self.rows, self.width, query.shape[1], query.shape[3])
        padded[self.row - self.first, self.column] = by_token
        return padded.transpose(1, 2)

    def packed(self, output: Tensor) -> Tensor:
        """(rows × heads × new tokens × width of a head) → (1 × tokens × heads × width of a head)."""
        by_row = output.transpose(1, 2)
        if self.dense:
            return by_row.flatten(0, 1)[None]
        return by_row[self.row - self.first, self.column][None]

    def mask(self, window: int | None, like: Tensor, groups: int) -> Tensor | None:
        """What to add to the attention's scores, None where plain causal attention is right.

        Args:
            window: most tokens back that a layer looks, itself included; None for all.
            like: gives the floating type.
            groups: query heads that share a key head: the mask is repeated for each.

        Returns:
            Shape: (rows, or one for all × 1 × groups · width × slots).
        """
        if self.visible is None and (window is None or window >= self.slots):
            return None
        return self.full_mask(window, like, groups)

    def full_mask(self, window: int | None, like: Tensor, groups: int) -> Tensor:
        """The same, written out where plain causal attention would do; one row for all trees where they are alike."""
        if (window, groups) not in self._masks:
            seen = self._seen(window, like.device)[:, None, None]
            # The fused attention takes one line for each query, and a key head's queries are those of all its groups.
            mask = like.new_full((len(seen), 1, groups, *seen.shape[3:]), torch.finfo(like.dtype).min).masked_fill_(seen, 0.0)
            self._masks[window, groups] = mask.flatten(2, 3)
        return self._masks[window, groups]

    def _seen(self, window: int | None, device: torch.device) -> Tensor:
        """What each new token attends to. Shape: (rows, or one for all × width × slots)."""
        place = torch.arange(self.width, device=device)[None]
        if self.visible is None:
            causal = place[:, :, None] >= place[:, None]
            return causal if window is None else causal & (place[:, :, None] - window < place[:, None])
        if window is None:
            return self.visible
        if self.position is None or self.slot_position is None:
            raise ValueError("a layer looks back through a window, which none did when the model was checked")
        return self.visible & (self.position[:, :, None] - window < self.slot_position[:, None])


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes."""
    return place_of(next(model.parameters()))


def is_sharded(model: nn.Module) -> bool:
    """Whether processes share the weights (FSDP2), so that a forward pass of one is one of all."""
    return any(hasattr(parameter, "device_mesh") for parameter in model.parameters())


def place_of(parameter: Tensor) -> torch.device:
    """Where a parameter is computed with: its own device, of one that processes share the mesh's, though its shares may lie in the machine's memory."""
    mesh = getattr(parameter, "device_mesh", None)
    return parameter.device if mesh is None else torch.empty(0, device=mesh.device_type).device


def lock_of(model: nn.Module) -> RLock:
    """Held by whoever runs a model: a search switches its attention, so that one thread's passes would disturb another's."""
    return _locks.setdefault(id(model.config), RLock())


@contextmanager
def attending(model: nn.Module) -> Iterator[None]:
    """Let a model attend over trees until the end of the block; other threads that want the same wait for it."""
    with lock_of(model):
        config: Any = model.config
        before = [(each, each._attn_implementation) for each in _with_parts(config)]
        try:
            config._attn_implementation = NAME
            yield
        finally:
            for each, name in before:
                each._attn_implementation = name


def _with_parts(config: Any) -> list[Any]:
    """A configuration and those inside it, each before its parts, to which it hands down what is set."""
    parts = [getattr(config, name, None) for name in config.sub_configs]
    return [config, *(inner for part in parts if part is not None for inner in _with_parts(part))]


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    dropout: float = 0.0,  # noqa: ARG001
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    reading: Reading | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls, with the arguments of its attention interface.

    Args:
        module: the layer's attention.
        query, key, value: Shape: (1 × heads × tokens × width of a head).
        attention_mask, dropout: not used; the mask is the reading's.
        scaling: of the scores.
        sliding_window: most tokens back that the layer looks.
        softcap: of the scores (Gemma 2).
        reading: what `Forest` hands through the model.

    Raises:
        ValueError: it is called outside of a search.
    """
    if reading is None:
        raise ValueError(f"the attention {NAME!r} works inside a search only; load the model with another attention implementation")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    keys, values = reading.cache.write(layer, key, value, reading.row, reading.slot)
    if sliding_window is not None:
        reading.cache.windows[layer] = sliding_window
    part = slice(reading.first, reading.first + reading.rows)
    keys, values = keys[part, :, : reading.slots], values[part, :, : reading.slots]
    laid_out = reading.laid_out(query)
    groups = query.shape[1] // key.shape[1]
    scale = float(query.shape[-1]) ** -0.5 if scaling is None else scaling
    if softcap is not None:
        return reading.packed(_capped(laid_out, keys, values, reading.full_mask(sliding_window, query, groups), scale, softcap)), None
    mask = reading.mask(sliding_window, query, groups)
    if mask is None:
        return reading.packed(scaled_dot_product_attention(laid_out, keys, values, is_causal=True, scale=scale, enable_gqa=groups > 1)), None
    # Heads that share a key head become further queries of it, so that keys and values are not copied for each.
    folded = _folded(laid_out, groups)
    output = scaled_dot_product_attention(folded, keys, values, attn_mask=mask, scale=scale)
    return reading.packed(_unfolded(output, groups)), None


def _capped(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float, cap: float) -> Tensor:
    """Scores squeezed by a hyperbolic tangent, which the fused attention cannot do."""
    groups = query.shape[1] // keys.shape[1]
    folded = _folded(query, groups)
    scores = torch.tanh(folded @ keys.transpose(2, 3) * (scale / cap)) * cap
    weights = (scores + mask).softmax(-1, dtype=torch.float32).to(query.dtype)
    return _unfolded(weights @ values, groups)


def _folded(query: Tensor, groups: int) -> Tensor:
    """(rows × heads × tokens × width) → (rows × key heads × groups · tokens × width)."""
    rows, heads, tokens, width = query.shape
    return query.reshape(rows, heads // groups, groups * tokens, width)


def _unfolded(output: Tensor, groups: int) -> Tensor:
    rows, heads, tokens, width = output.shape
    return output.reshape(rows, heads * groups, tokens // groups, width)


ALL_ATTENTION_FUNCTIONS.register(NAME, tree_attention)
