"""Beam search over a closed set of names, for any decoder-only model of transformers.

Each prompt is run once; its key-value cache is copied only when a beam splits, and rows are taken by live beams only.  Of a
row's logits just those of the trie's children are looked at, normalised by the logsumexp of the whole row: log-probabilities
are those of the full vocabulary and are never renormalised over the names.  A name is finished by its end edge, whose
probability is known without a further forward pass; it then leaves the beam and keeps competing with what is still live.

`free_search` is the same loop with every token allowed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constrained.trie import Flags, TokenTrie, TrieError

__all__ = ["FreeHypothesis", "Hypothesis", "beam_search", "free_search", "score_entries"]

MAX_BATCH_TOKENS = 16384
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished name.

    Attributes:
        entry: its number in the trie.
        log_prob: natural log, full vocabulary, end token included, not renormalised.
        length: tokens, end token included.
    """

    entry: int
    log_prob: float
    length: int


@dataclass(frozen=True, slots=True)
class FreeHypothesis:
    """A freely generated sequence.

    Attributes:
        tokens: token ids, the end token included where it is finished, so that `TokenTrie.walk` takes them as they are.
        log_prob: natural log of the product of their probabilities.
        length: number of tokens.
        finished: False where the limit of new tokens came before the end token.
    """

    tokens: tuple[int, ...]
    log_prob: float
    length: int
    finished: bool


def beam_search(
    model: nn.Module,
    trie: TokenTrie,
    prompts: Sequence[Sequence[int]],
    *,
    num_beams: int,
    flags: Sequence[Flags | None],
    max_batch_tokens: int = MAX_BATCH_TOKENS,
) -> list[list[Hypothesis]]:
    """The most probable names after each prompt, best first.

    At every step the `num_beams` best unfinished continuations of a mention stay; a name whose end edge ranks before the last
    of them is finished.  One beam is therefore greedy: it takes the best allowed token until that is the end token.  A mention
    is over when nothing live is more probable than the worst of its `num_beams` best finished names: log-probabilities only
    fall.  Equal log-probabilities go to the lower node.  At least `num_beams` names are found where that many are allowed.

    Args:
        model: decoder-only, in evaluation mode, of any floating type; sums are kept in float64 (float32 on MPS).
        trie: the names.
        prompts: token ids, at least one each; the caller sees to it that prompt and name fit the model's context.
        num_beams: width, and the most names returned for a prompt.
        flags: for each prompt what `TokenTrie.allowed` returned; None allows everything.
        max_batch_tokens: bound on num_beams × padded prompt tokens of a batch, which is what the cache holds (a single
            prompt beyond it is run alone).

    Returns:
        For each prompt up to num_beams finished names.

    Raises:
        TrieError: flags that admit no entry, or a trie with more tokens than the model has logits.
        ValueError: an argument out of range, a model in training mode, logits that are not numbers.
    """
    _check_arguments(model, prompts, num_beams)
    _check_flags(trie, flags, len(prompts))
    results: list[list[Hypothesis]] = [[] for _ in prompts]
    for batch in _batches(prompts, num_beams, max_batch_tokens):
        expander = _Names(trie, _flag_table(trie, [flags[query] for query in batch]))
        pool = _search(model, expander, prompts, batch, num_beams, None)
        entries = trie.entry_of(pool.node)
        for mention, entry, total, length in zip(pool.mention, entries, pool.total, pool.length, strict=True):
            results[batch[mention]].append(Hypothesis(int(entry), float(total), int(length)))
    return results


def free_search(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    num_beams: int,
    end_token: int,
    max_new_tokens: int = 128,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
) -> list[list[FreeHypothesis]]:
    """`beam_search` with every token allowed; one beam is greedy decoding.

    Args:
        model, prompts, num_beams, max_batch_tokens: as for `beam_search`.
        end_token: finishes a sequence.
        max_new_tokens: what is live after that many is returned unfinished, ranked among the others by log-probability.

    Returns:
        For each prompt up to num_beams sequences, best first.

    Raises:
        ValueError: as for `beam_search`.
    """
    _check_arguments(model, prompts, num_beams)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    results: list[list[FreeHypothesis]] = [[] for _ in prompts]
    for batch in _batches(prompts, num_beams, max_batch_tokens):
        expander = _Vocabulary(end_token, num_beams)
        pool = _search(model, expander, prompts, batch, num_beams, max_new_tokens)
        histories = expander.histories(pool.node)
        for mention, tokens, total, finished in zip(pool.mention, histories, pool.total, pool.finished, strict=True):
            results[batch[mention]].append(FreeHypothesis(tokens, float(total), len(tokens), bool(finished)))
    return results


@torch.no_grad()
def score_entries(model: nn.Module, prompt: Sequence[int], trie_paths: Sequence[Sequence[int]], *, max_batch_tokens: int = MAX_BATCH_TOKENS) -> list[float]:
    """Log-probability of every path after the prompt: the oracle, one plain forward pass over prompt and path, no cache.

    Args:
        model: as for `beam_search`.
        prompt: token ids.
        trie_paths: token ids, end token included.
        max_batch_tokens: bound on rows × padded length.

    Returns:
        Natural-log, full-vocabulary log-probabilities, one for each path.

    Raises:
        ValueError: an empty prompt, or a model in training mode.
    """
    _check_arguments(model, [prompt], 1)
    scores: list[float] = []
    width = len(prompt) + max((len(path) for path in trie_paths), default=0)
    size = max(1, max_batch_tokens // width)
    for first in range(0, len(trie_paths), size):
        scores += _teacher_forced(model, prompt, trie_paths[first : first + size])
    return scores


def _teacher_forced(model: nn.Module, prompt: Sequence[int], paths: Sequence[Sequence[int]]) -> list[float]:
    # Padded on the right, where causal attention needs no mask.
    width = max(len(path) for path in paths)
    device = next(model.parameters()).device
    ids = torch.tensor([[*prompt, *path, *[0] * (width - len(path))] for path in paths], device=device)
    real = torch.tensor([[True] * len(path) + [False] * (width - len(path)) for path in paths], device=device)
    logits = model(input_ids=ids, use_cache=False).logits[:, len(prompt) - 1 : -1]
    log_probs = logits.float().log_softmax(-1).gather(-1, ids[:, len(prompt) :, None]).squeeze(-1)
    return [float(total) for total in log_probs.masked_fill(~real, 0.0).sum(-1, dtype=_total_type(device))]


# --- the loop -----------------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """The live beams: one row of the model each, sorted by mention. Shapes: (rows,) each.

    Attributes:
        mention: place in the batch.
        node: the expander's state.
        total: log-probability so far.
    """

    mention: Longs
    node: Longs
    total: NDArray[np.float64]


class _Edges(NamedTuple):
    """Continuations of the live rows, in the order of the rows. Shapes: (edges,) each.

    Attributes:
        row: which live row; on the model's device.
        log_prob: of the edge's token; on the model's device, float32.
        end: whether the edge ends a sequence; on the model's device.
        token: its token id.
        node: the state it leads to; a lower one wins a tie.
    """

    row: Tensor
    log_prob: Tensor
    end: Tensor
    token: NDArray[np.integer[Any]]
    node: Longs


class _Expander(Protocol):
    """What may follow: the names of a trie, or the whole vocabulary."""

    def expand(self, rows: _Rows, logits: Tensor, normaliser: Tensor) -> _Edges:
        """Continuations of each row.

        Args:
            rows: the live beams.
            logits: Shape: (rows × vocabulary), of the model's type.
            normaliser: logsumexp of each row of logits. Shape: (rows,), float32.
        """
        ...


class _Selected(NamedTuple):
    """The few edges that stay, sorted by mention, then best first. Shapes: (selected,) each."""

    parent: Longs
    mention: Longs
    total: NDArray[np.float64]
    end: NDArray[np.bool_]
    token: Longs
    node: Longs

    def where(self, keep: NDArray[np.bool_] | Longs) -> "_Selected":
        return _Selected._make(column[keep] for column in self)


class _Pool(NamedTuple):
    """The best sequences of each mention that are over, sorted by mention, then best first. Shapes: (sequences,) each."""

    mention: Longs
    total: NDArray[np.float64]
    node: Longs
    length: Longs
    finished: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> "_Pool":
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def merged(self, more: _Selected, length: int, finished: bool, num_beams: int) -> "_Pool":
        """With further sequences, `num_beams` best of each mention."""
        size = len(more.mention)
        other = _Pool(more.mention, more.total, more.node, np.full(size, length), np.full(size, finished))
        both = _Pool._make(np.concatenate(pair) for pair in zip(self, other, strict=True))
        order = np.lexsort((both.node, -both.total, both.mention))
        order = order[_rank_in_run(both.mention[order]) < num_beams]
        return _Pool._make(column[order] for column in both)

    def bar(self, n_mentions: int, num_beams: int) -> NDArray[np.float64]:
        """What a live beam must exceed to change the result; −inf while fewer than `num_beams` are over. Shape: (mentions,)."""
        bar = np.full(n_mentions, -np.inf)
        last = _rank_in_run(self.mention) == num_beams - 1
        bar[self.mention[last]] = self.total[last]
        return bar


@torch.no_grad()
def _search(model: nn.Module, expander: _Expander, prompts: Sequence[Sequence[int]], batch: list[int], num_beams: int, max_new_tokens: int | None) -> _Pool:
    """The loop both searches share, over one batch; mentions are numbered by their place in it."""
    reader = _Reader(model, [prompts[query] for query in batch])
    size = len(batch)
    rows = _Rows(np.arange(size), np.zeros(size, np.int64), np.zeros(size))
    pool = _Pool.empty()
    logits = reader.read_prompts()
    length = 1
    while True:
        normaliser = torch.logsumexp(logits.float(), dim=-1)
        _check_numbers(normaliser, rows, batch)
        selected = _select(expander.expand(rows, logits, normaliser), rows, size, num_beams)
        pool = pool.merged(selected.where(selected.end), length, True, num_beams)
        # Only something strictly better counts: at a tie the finished name has the lower node, being the shallower.
        live = selected.where(~selected.end & (selected.total > pool.bar(size, num_beams)[selected.mention]))
        if not len(live.mention):
            return pool
        if length == max_new_tokens:
            return pool.merged(live, length, False, num_beams)
        rows = _Rows(live.mention, live.node, live.total)
        logits = reader.read_tokens(live.token, live.parent, live.mention)
        length += 1


def _select(edges: _Edges, rows: _Rows, n_mentions: int, num_beams: int) -> _Selected:
    """Of each mention the `num_beams` best edges that go on, and the end edges that rank before the last of these."""
    device = edges.log_prob.device
    mention = torch.from_numpy(rows.mention).to(device)[edges.row]
    total = torch.from_numpy(rows.total).to(device, _total_type(device))[edges.row] + edges.log_prob
    # The cut-off leaves a handful for each mention, ties included, so that the exact ranking is done on the host.
    near = total >= _cutoff(mention, total.masked_fill(edges.end, -torch.inf), n_mentions, num_beams)[mention]
    kept = near.nonzero().squeeze(-1)
    place = kept.cpu().numpy()
    found = _Selected(
        parent=edges.row[kept].cpu().numpy(),
        mention=mention[kept].cpu().numpy(),
        total=total[kept].double().cpu().numpy() if device.type != "mps" else total[kept].cpu().double().numpy(),
        end=edges.end[kept].cpu().numpy(),
        token=edges.token[place].astype(np.int64),
        node=edges.node[place],
    )
    found = found.where(np.lexsort((found.node, -found.total, found.mention)))
    goes_on = (~found.end).astype(np.int64)
    before: Longs = np.cumsum(goes_on) - goes_on
    better: Longs = before - before[np.searchsorted(found.mention, found.mention)]
    return found.where(better < num_beams)


def _cutoff(mention: Tensor, total: Tensor, n_mentions: int, num_beams: int) -> Tensor:
    """The num_beams-th largest total of each mention, −inf where there are fewer.

    Args:
        mention: ascending. Shape: (edges,).
        total: Shape: (edges,).

    Returns:
        Shape: (mentions,).
    """
    count = torch.bincount(mention, minlength=n_mentions)
    column = torch.arange(len(mention), device=mention.device) - (count.cumsum(0) - count)[mention]
    width = int(count.max())
    if width <= num_beams:
        return total.new_full((n_mentions,), -torch.inf)
    table = total.new_full((n_mentions, width), -torch.inf)
    table[mention, column] = total
    return table.topk(num_beams, dim=1).values[:, -1]


def _rank_in_run(group: Longs) -> Longs:
    """0, 1, 2, … within each run of equal numbers of an ascending array. Shape: as `group`."""
    return np.arange(len(group)) - np.searchsorted(group, group)


class _Reader:
    """The model with its key-value cache; prompts are padded on the left so that every row's next place is the last."""

    def __init__(self, model: nn.Module, prompts: Sequence[Sequence[int]]) -> None:
        self._model, self._device = model, next(model.parameters()).device
        self._width = max(len(prompt) for prompt in prompts)
        padding = [self._width - len(prompt) for prompt in prompts]
        self._ids = torch.tensor([[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)], device=self._device)
        self._mask = (torch.arange(self._width) >= torch.tensor(padding)[:, None]).long().to(self._device)
        self._length = self._mask.sum(-1)
        self._cache: Any = None
        self._n_rows, self._n_read = len(prompts), 0

    def read_prompts(self) -> Tensor:
        """Logits after each prompt. Shape: (prompts × vocabulary)."""
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        return self._forward(self._ids, self._mask, positions)

    def read_tokens(self, token: Longs, parent: Longs, mention: Longs) -> Tensor:
        """Logits after one more token in each new row.

        Args:
            token: what the row goes on with. Shape: (rows,).
            parent: the row it goes on from, of those read last. Shape: (rows,).
            mention: its prompt. Shape: (rows,).

        Returns:
            Shape: (rows × vocabulary).
        """
        if not np.array_equal(parent, np.arange(self._n_rows)):
            self._cache.reorder_cache(torch.from_numpy(parent).to(self._device))
        self._n_rows = len(parent)
        self._n_read += 1
        prompt = torch.from_numpy(mention).to(self._device)
        mask = torch.cat([self._mask[prompt], self._mask.new_ones(len(mention), self._n_read)], dim=1)
        positions = self._length[prompt, None] + (self._n_read - 1)
        return self._forward(torch.from_numpy(token).to(self._device)[:, None], mask, positions)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        output = self._model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits


# --- what may follow ----------------------------------------------------------------------------------------------------


class _Names:
    """The trie's names; states are its nodes."""

    def __init__(self, trie: TokenTrie, table: Flags | None) -> None:
        self._trie, self._table = trie, table

    def expand(self, rows: _Rows, logits: Tensor, normaliser: Tensor) -> _Edges:
        if logits.shape[-1] < self._trie.vocabulary:
            raise TrieError(
                f"the trie has token ids up to {self._trie.vocabulary - 1}, the model only {logits.shape[-1]} logits: it was built for another model"
            )
        row, token, child = self._trie.children_of(rows.node, self._table, rows.mention if self._table is not None else None)
        at, ids = torch.from_numpy(row).to(logits.device), torch.from_numpy(token).to(logits.device, torch.long)
        log_prob = logits[at, ids].float() - normaliser[at]
        return _Edges(at, log_prob, ids == self._trie.end_token, token, child)


class _Vocabulary:
    """Every token may follow; states are numbered as they appear, a trie that grows while it is searched.

    Args:
        end_token: ends a sequence.
        num_beams: each row offers its num_beams + 1 best tokens: one of them may be the end, the others fill the beam.
    """

    def __init__(self, end_token: int, num_beams: int) -> None:
        self._end_token, self._width = end_token, num_beams + 1
        self._parents, self._tokens = [np.array([-1])], [np.array([-1])]
        self._size = 1

    def expand(self, rows: _Rows, logits: Tensor, normaliser: Tensor) -> _Edges:
        best = logits.float().topk(min(self._width, logits.shape[-1]), dim=-1)
        # By token id, so that states in the order of their numbers are in the order in which ties are decided.
        by_token = best.indices.argsort(dim=-1)
        ids = best.indices.gather(-1, by_token)
        log_prob = best.values.gather(-1, by_token) - normaliser[:, None]
        row = torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1])
        token = ids.flatten().cpu().numpy()
        node = self._grow(np.repeat(rows.node, ids.shape[1]), token)
        return _Edges(row, log_prob.flatten(), ids.flatten() == self._end_token, token, node)

    def histories(self, nodes: Longs) -> list[tuple[int, ...]]:
        """Token ids from the prompt's end to each state."""
        parents, tokens = np.concatenate(self._parents), np.concatenate(self._tokens)
        return [_history(int(node), parents, tokens) for node in nodes]

    def _grow(self, parent: Longs, token: Longs) -> Longs:
        self._parents.append(parent)
        self._tokens.append(token)
        self._size += len(token)
        return np.arange(self._size - len(token), self._size)


def _history(node: int, parents: Longs, tokens: Longs) -> tuple[int, ...]:
    found = []
    while node:
        found.append(int(tokens[node]))
        node = int(parents[node])
    return tuple(reversed(found))


# --- batches and checks -------------------------------------------------------------------------------------------------


def _batches(prompts: Sequence[Sequence[int]], num_beams: int, max_batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of prompts that are run together: by length, so that little is padding."""
    batch: list[int] = []
    for query in sorted(range(len(prompts)), key=lambda query: len(prompts[query])):
        if batch and (len(batch) + 1) * num_beams * len(prompts[query]) > max_batch_tokens:
            yield batch
            batch = []
        batch.append(query)
    if batch:
        yield batch


def _flag_table(trie: TokenTrie, flags: Sequence[Flags | None]) -> Flags | None:
    """One row of flags for each mention. Shape: (mentions × classes); None where everything is allowed to all."""
    if all(each is None for each in flags):
        return None
    return np.stack([trie.allowed(None) if each is None else each for each in flags])


def _total_type(device: torch.device) -> torch.dtype:
    # MPS has no float64.
    return torch.float32 if device.type == "mps" else torch.float64


def _check_arguments(model: nn.Module, prompts: Sequence[Sequence[int]], num_beams: int) -> None:
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, got {num_beams}")
    if model.training:
        raise ValueError("the model is in training mode, where dropout makes scores random: call model.eval() first")
    for query, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {query} is empty: a prompt needs at least one token")


def _check_flags(trie: TokenTrie, flags: Sequence[Flags | None], n_prompts: int) -> None:
    if len(flags) != n_prompts:
        raise ValueError(f"{n_prompts} prompts need {n_prompts} flags (None allows everything), got {len(flags)}")
    for query, each in enumerate(flags):
        if each is None:
            continue
        if each.shape != (len(trie.palette),):
            raise TrieError(f"query {query}: flags of shape {each.shape} for a trie of {len(trie.palette)} classes; take them from its `allowed`")
        # The root's class is the union of all entries.
        if not each[trie.node_class[0]]:
            raise TrieError(f"query {query}: the allowed groups hold no entry of the trie")


def _check_numbers(normaliser: Tensor, rows: _Rows, batch: list[int]) -> None:
    finite = torch.isfinite(normaliser)
    if not finite.all():
        bad = rows.mention[int((~finite).nonzero()[0, 0])]
        raise ValueError(f"query {batch[bad]}: the model's logits are not finite; check its weights and its floating type")
