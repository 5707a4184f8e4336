"""What all searches share: rows that one forward pass scores, and the loop that keeps prompts under way.

A row is one place in the tree of one query's prompt.  Chunks are read, not tokens: the tokens after a place that have no
alternative are run in the same forward pass.  Queries that are over leave, and others take their room.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constrained.attention import attending, is_sharded, lock_of
from constrained.errors import SearchError
from constrained.forest import MOST_SLOTS, Forest, Tips, Trace, check_model, distinct_tokens, group_prompts, pairs_of
from constrained.names import Expander
from constrained.ragged import counted
from constrained.scoring import Scores, total_type

__all__ = ["Rows", "Search", "grown", "opened", "run"]

Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]
logger = logging.getLogger(__name__)

PATIENCE = 8  # searches that fit, after which twice as much is tried again


class _Room(NamedTuple):
    """What was found to fit on the device, so that not every search finds it out again.

    Attributes:
        tokens: at once.
        fitted: searches since that had room.
    """

    tokens: int
    fitted: int


_rooms: "WeakKeyDictionary[nn.Module, _Room]" = WeakKeyDictionary()
_warned: "WeakSet[nn.Module]" = WeakSet()


class Rows(NamedTuple):
    """Places that a forward pass has scored, by query.

    Attributes:
        query: that each is searched for, ascending. Shape: (rows,).
        state: the expander's. Shape: (rows,).
        length: tokens since the prompt. Shape: (rows,).
        total: their summed log-probability; on the model's device. Shape: (rows,).
        tips: what is read next follows these.
        scores: of the next token.
        finite: whether all of each row's logits were numbers; on the model's device. Shape: (rows,).
        origin: what each row was asked for as. Shape: (rows,).
    """

    query: Longs
    state: Longs
    length: Longs
    total: Tensor
    tips: Tips
    scores: Scores
    finite: Tensor
    origin: Longs


class Search(Protocol):
    """A strategy over the queries that are under way."""

    def enter(self, query: Longs, tips: Tips, logits: Tensor) -> None:
        """Begin with queries whose prompts were read."""
        ...

    def step(self, forest: Forest) -> None:
        """One forward pass for all queries under way."""
        ...

    @property
    def under_way(self) -> Longs:
        """Queries that are not over, ascending."""
        ...

    def abandon(self, query: Longs) -> None:
        """Forget all about queries; they will enter again."""
        ...


def opened(expander: Expander, query: Longs, tips: Tips, logits: Tensor) -> Iterator[Rows]:
    """The rows of fresh prompts: state 0, no token yet; those of one scope together.

    Args:
        expander: tells which prompts begin alike.
        query: Shape: (prompts,).
        tips: where the prompts end.
        logits: Shape: (prompts × vocabulary).
    """
    for part in expander.alike(query):
        order = part[np.argsort(query[part], kind="stable")]
        scores = Scores(logits[torch.from_numpy(order).to(logits.device)], np.arange(len(order)))
        state = np.zeros(len(order), np.int64)
        total = torch.zeros(len(order), dtype=total_type(logits.device), device=logits.device)
        yield Rows(query[order], state, state, total, tips.take(order), scores, scores.finite, order)


def grown(
    forest: Forest, expander: Expander, query: Longs, state: Longs, token: Longs, total: NDArray[np.float64], length: Longs, tips: Tips, *, most_forced: int
) -> Rows:
    """Read a token after each tip, and the tokens after it that have no alternative.

    Args:
        forest: where the tips are.
        expander: knows the alternatives.
        query: Shape: (rows,).
        state: after the token. Shape: (rows,).
        token: Shape: (rows,).
        total: log-probability, the token's included. Shape: (rows,).
        length: tokens since the prompt, the token included. Shape: (rows,).
        tips: what the token follows.
        most_forced: tokens without alternative that are read with it, at most.
    """
    forced, count, state = expander.forced(state, query, most_forced)
    # In this order the edges that follow come in the order of their states, by which ties are decided.
    order = np.lexsort((state, query))
    query, state, count, total, length = query[order], state[order], count[order], total[order], length[order]
    chunk = np.concatenate([token[order, None], forced[order]], axis=1)
    tokens = chunk[np.arange(chunk.shape[1]) <= count[:, None]]
    after, logits = forest.read(tips.take(order), tokens, count + 1)
    last = np.cumsum(count + 1) - 1
    scores = Scores(logits, last)
    inner = np.ones(len(tokens), np.bool_)
    inner[last] = False
    line = np.flatnonzero(inner)
    row = torch.from_numpy(np.repeat(np.arange(len(count)), count)).to(forest.device)
    sums = torch.from_numpy(total).to(forest.device, total_type(forest.device))
    sums = sums.index_add(0, row, scores.at(line, tokens[line + 1]).to(sums.dtype))
    # What is no number inside a chunk makes its sum none.
    finite = scores.finite[torch.from_numpy(last).to(forest.device)] & ~sums.isnan()
    return Rows(query, state, length + count, sums, after, scores, finite, order)


class _Group(NamedTuple):
    """Prompts of one tree.

    Attributes:
        queries: their numbers, in the order of their tokens.
        slots: what the tree is expected to take.
        alone: whether nothing else may be under way with it.
    """

    queries: list[int]
    slots: int
    alone: bool = False


def run(model: nn.Module, prompts: Sequence[Sequence[int]], search: Search, *, max_batch_tokens: int, spare: int, trace: Trace | None = None) -> None:
    """Bring all prompts through a search; threads that search with one model wait for each other.

    Prompts of about one length are under way together, as many as the budget allows; when half of them are over, others follow.
    Where a GPU runs out of memory (and holds the whole model), the queries under way begin again with half of the budget, and later searches of the model begin
    with what did fit, and with twice as much after `PATIENCE` of them that had room; a tree that does not fit alone is divided.

    Args:
        model: that `check_model` accepts.
        prompts: token ids.
        search: collects the results.
        max_batch_tokens: bound on trees × slots of the longest at every moment that prompts are added, `spare` for each of them
            included (a single tree beyond it is run alone).  What is under way may grow by more than that, as exact search
            does when it reads many prefixes; then nothing is added until enough of it is over.
        spare: tokens that the search is expected to read for each prompt.
        trace: told of every forward pass.

    Raises:
        SearchError: the model cannot be searched, its logits are not finite, or there is no memory for a single prompt.
    """
    with lock_of(model):
        check_model(model)
        most = min(MOST_SLOTS, max_batch_tokens)
        groups = [_Group(group, _slots(prompts, group, spare)) for group in group_prompts(prompts, spare=spare, pairs=pairs_of(model), most=most)]
        with attending(model):
            _run_groups(model, prompts, search, groups, max_batch_tokens, spare, trace)


@torch.inference_mode()
def _run_groups(
    model: nn.Module, prompts: Sequence[Sequence[int]], search: Search, waiting: list[_Group], max_batch_tokens: int, spare: int, trace: Trace | None
) -> None:
    room = _rooms.get(model)
    budget = max_batch_tokens if room is None else min(max_batch_tokens, room.tokens)
    halved = False
    while waiting:
        waiting = sorted(waiting, key=lambda group: (not group.alone, -group.slots))
        under_way: list[_Group] = []
        try:
            _run_forest(Forest(model, spare, trace), prompts, search, waiting, under_way, budget)
            continue
        except torch.OutOfMemoryError as error:
            if is_sharded(model):
                raise  # the other processes wait in the very pass that failed, so no other batch may begin
            search.abandon(np.array(sorted(query for group in under_way for query in group.queries)))
            if len(under_way) > 1:
                # Of what was under way, which may be less than the budget.
                budget, halved = max(group.slots for group in under_way) * len(under_way) // 2, True
                _rooms[model] = _Room(budget, 0)
                _warn_once(model, f"at most {budget} tokens at once, and with fewer where that is too many")
            else:
                under_way = _smaller(prompts, under_way[0], spare, error)
                _warn_once(model, "fewer prompts at once")
        waiting += under_way
        # Only here the traceback is gone, and with it the forest.
        torch.cuda.empty_cache()
    if budget < max_batch_tokens and not halved:
        _note_fitted(model)


def _warn_once(model: nn.Module, what: str) -> None:
    if model not in _warned:
        logger.warning("out of memory on the device: going on with %s", what)
        _warned.add(model)


def _note_fitted(model: nn.Module) -> None:
    """Let what a search may have grow back, as the memory may have been short for a moment only."""
    tokens, fitted = _rooms[model]
    _rooms[model] = _Room(tokens, fitted + 1) if fitted + 1 < PATIENCE else _Room(2 * tokens, 0)


def _smaller(prompts: Sequence[Sequence[int]], group: _Group, spare: int, error: torch.OutOfMemoryError) -> list[_Group]:
    """What begins again after there was no room for a single tree.

    Raises:
        SearchError: it was a single prompt, run alone.
    """
    if not group.alone:
        # It may have stood in the cache of a batch that is over.
        return [group._replace(alone=True)]
    if len(group.queries) == 1:
        raise SearchError("the device has too little memory for this prompt alone", group.queries) from error
    return _halves(prompts, group, spare)


def _slots(prompts: Sequence[Sequence[int]], queries: Sequence[int], spare: int) -> int:
    return distinct_tokens([prompts[query] for query in queries]) + spare * len(queries)


def _halves(prompts: Sequence[Sequence[int]], group: _Group, spare: int) -> list[_Group]:
    middle = len(group.queries) // 2
    return [_Group(part, _slots(prompts, part, spare), alone=True) for part in (group.queries[:middle], group.queries[middle:])]


def _run_forest(forest: Forest, prompts: Sequence[Sequence[int]], search: Search, waiting: list[_Group], under_way: list[_Group], budget: int) -> None:
    """Go on until nothing is under way; `waiting` and `under_way` are changed in place, so that they are right whenever it ends."""
    trees: list[int] = []
    most = 0
    while under_way or not most:
        if waiting and 2 * len(under_way) <= most:
            size = _fitting(waiting, len(under_way), forest.slots, budget)
            most = len(under_way) + size
            if size:
                chosen, waiting[:] = waiting[:size], waiting[size:]
                under_way += chosen
                trees += _plant(forest, prompts, search, [group.queries for group in chosen])
                _fell_finished(forest, search, under_way, trees)
                continue
        search.step(forest)
        _fell_finished(forest, search, under_way, trees)


def _fitting(waiting: Sequence[_Group], under_way: int, slots: int, budget: int) -> int:
    """How many of the waiting groups, longest first, may be planted now.

    Args:
        waiting: at least one.
        under_way: trees that are not over.
        slots: that the cache has for each tree, and does not give back.
        budget: on trees × slots.

    Returns:
        At least one where nothing is under way; none where they are much shorter than what the cache is made for.
    """
    if waiting[0].alone:
        return 0 if under_way else 1
    if not under_way:
        return min(len(waiting), max(budget // waiting[0].slots, 1))
    if 2 * waiting[0].slots < slots:
        return 0
    return min(len(waiting), max(budget // max(slots, waiting[0].slots) - under_way, 0))


def _plant(forest: Forest, prompts: Sequence[Sequence[int]], search: Search, groups: Sequence[Sequence[int]]) -> list[int]:
    tips, logits = forest.plant([[prompts[query] for query in group] for group in groups])
    search.enter(np.array([query for group in groups for query in group]), tips, logits)
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    return [int(tree) for tree in tips.tree[starts]]


def _fell_finished(forest: Forest, search: Search, under_way: list[_Group], trees: list[int]) -> None:
    left = set(search.under_way.tolist())
    over = [place for place, group in enumerate(under_way) if left.isdisjoint(group.queries)]
    forest.fell([trees[place] for place in over])
    for place in reversed(over):
        del under_way[place], trees[place]


def host(*parts: Tensor) -> list[NDArray[np.float64]]:
    """Several tensors on the host in one transfer, as doubles, in their shapes."""
    kind = total_type(parts[0].device)
    flat = torch.cat([part.flatten().to(kind) for part in parts]).cpu().double().numpy()
    ends = np.cumsum([part.numel() for part in parts])
    return [flat[end - part.numel() : end].reshape(part.shape) for part, end in zip(parts, ends, strict=True)]


def refuse_not_finite(rows: Rows, finite: NDArray[np.float64]) -> None:
    """Stop where a model's logits are no numbers.

    Raises:
        SearchError: they are not, naming the queries.
    """
    if not finite.all():
        broken = np.unique(rows.query[finite == 0]).tolist()
        raise SearchError("the model's logits are not finite; check its weights and its floating type", broken)


def table_places(query: Longs) -> tuple[Longs, Longs, Longs]:
    """Where the members of a table go that has one line for each query.

    Args:
        query: of each member, ascending.

    Returns:
        The distinct queries, and line and column of each member.
    """
    distinct, line = np.unique(query, return_inverse=True)
    return distinct, line, counted(np.bincount(line, minlength=len(distinct)))
