"""Build a lexicon: give every leaf one code, tokenise the names, lay the trie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from constrained.trie import TokenTrie, group_bits
from syncabel.errors import ConfigError
from syncabel.kb import KnowledgeBase
from syncabel.kb.tables import Tables, string_table
from syncabel.lexicon.leaves import Alike, Leaves, first_leaves
from syncabel.lexicon.store import FORMAT_VERSION, PREFERRED, SHARED, Lexicon, tokenizer_digest
from syncabel.lexicon.tokenise import TokenCache, TokenRows, groups_alike, token_rows

__all__ = ["Alike", "Leaf", "build_lexicon", "leaves_of", "lexicon_and_account"]

_ROUNDS = 5  # of telling apart; a tokenizer that writes most letters as "unknown" would never come to an end


@dataclass(frozen=True, slots=True)
class Leaf:
    """One name of one concept as the trie will hold it.

    Attributes:
        name: unique among all leaves.
        code: the one concept it stands for.
        groups: the concept's groups.
        shared: whether the bare name belongs to several concepts, so that `name` was extended.
        preferred: whether the bare name is the concept's preferred one.
    """

    name: str
    code: str
    groups: tuple[str, ...]
    shared: bool = False
    preferred: bool = False


def leaves_of(kb: KnowledgeBase) -> list[Leaf]:
    """All names of a knowledge base, each standing for one code; shared ones are extended, none is dropped."""
    leaves = first_leaves(kb.tables)
    concepts = kb.tables.concepts.select("code", "groups")[leaves.concept]
    columns = (leaves.names().to_list(), concepts["code"].to_list(), concepts["groups"].to_list(), leaves.preferred.tolist())
    return [Leaf(name, code, tuple(groups), i in leaves.extended, preferred) for i, (name, code, groups, preferred) in enumerate(zip(*columns, strict=True))]


def build_lexicon(kb: KnowledgeBase, tokenizer: Any, cache: Path | None = None, notice: Callable[[str], None] = lambda _: None) -> Lexicon:
    """The lexicon of a knowledge base for a tokenizer.

    Args:
        kb: the knowledge base.
        tokenizer: a transformers tokenizer with an end token.
        cache: a folder that keeps token ids by the digests of tokenizer and names; a second build tokenises nothing.
        notice: is told of an entry of the cache that was damaged and is made again.

    Raises:
        ConfigError: the tokenizer has no end token, writes it inside a name, or cannot tell the names of two concepts apart.
    """
    return lexicon_and_account(kb, tokenizer, cache, notice)[0]


def lexicon_and_account(
    kb: KnowledgeBase, tokenizer: Any, cache: Path | None = None, notice: Callable[[str], None] = lambda _: None
) -> tuple[Lexicon, list[Alike]]:
    """`build_lexicon`, and what became of the names that could not stand as they are.  Arguments and errors are its."""
    if tokenizer.eos_token_id is None:
        raise ConfigError("the tokenizer has no end token (eos_token); set one before building a lexicon")
    leaves = first_leaves(kb.tables)
    rows, kept = _tokenised(leaves, lambda names: token_rows(names, tokenizer) if cache is None else TokenCache(cache, notice).rows(names, tokenizer))
    merged = len(leaves) - len(kept)
    names = leaves.names().gather(kept)
    order = names.arg_sort().to_numpy() if leaves.extended else np.arange(len(kept))
    names, rows, kept = names.gather(order), rows.take(order), kept[order]
    _check_ends(rows, tokenizer.eos_token_id, names, leaves, kept)
    return _laid(kb, tokenizer, _Chosen(names, rows, leaves.concept[kept], _flags(leaves, kept)), merged), leaves.account


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The leaves in entry order. concept: row of each; flags: bits SHARED and PREFERRED. Shapes: (entries,)."""

    names: pl.Series
    rows: TokenRows
    concept: NDArray[np.uint32]
    flags: NDArray[np.uint8]


def _laid(kb: KnowledgeBase, tokenizer: Any, chosen: _Chosen, merged: int) -> Lexicon:
    sets = _group_sets(kb.tables, kb.groups)[chosen.concept]
    lexicon = Lexicon(
        TokenTrie.build(chosen.rows.ids, chosen.rows.offsets, sets, tokenizer.eos_token_id, len(kb.groups)),
        string_table(chosen.names),
        string_table(kb.tables.concepts["code"]),
        chosen.concept.astype(np.int32),
        chosen.flags,
        tuple(kb.groups),
        {},
    )
    header = {
        "format_version": FORMAT_VERSION,
        "digest": lexicon.content_digest(),
        "kb_digest": kb.digest,
        "tokenizer_digest": tokenizer_digest(tokenizer),
        "groups": list(kb.groups),
        "entries": len(lexicon),
        "codes": len(lexicon.codes),
        "shared": int(np.count_nonzero(chosen.flags & SHARED)),
        "merged": merged,
        "longest": int(np.diff(chosen.rows.offsets).max()),
        "source": kb.about.source,
        "release": kb.about.release,
        "licence": kb.about.licence,
        "redistributable": kb.about.redistributable,
    }
    return replace(lexicon, header=header)


def _tokenised(leaves: Leaves, tokenise: Callable[[pl.Series], TokenRows]) -> tuple[TokenRows, NDArray[np.int64]]:
    """Token ids, all distinct: names of several concepts that tokenise alike are told apart, those of one concept merged.

    Returns:
        The rows, and the position of the leaf of each.
    """
    rows = tokenise(leaves.names())
    hashes, place = rows.hashes(), np.arange(len(leaves))
    for attempt in range(_ROUNDS):
        groups = groups_alike(rows, hashes, place)
        several = [group for group in groups if len(np.unique(leaves.concept[group])) > 1]
        if not several:
            kept = _merge(leaves, groups)
            return rows.take(place[kept]), kept
        changed = leaves.tell_apart(several, "tokenises_alike", code_only=attempt > 0)
        new = tokenise(pl.Series([leaves.extended[position] for position in changed], dtype=pl.String))
        place[changed] = len(rows) + np.arange(len(changed))
        hashes[changed] = new.hashes()
        rows = rows.joined_with(new)
    position = several[0][0]
    raise ConfigError(f"{leaves.code(position)}: the tokenizer cannot tell {leaves.name(position)!r} from names of other concepts; use another tokenizer")


def _merge(leaves: Leaves, groups: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The positions that stay: of names of one concept with equal ids, the first."""
    keep = np.ones(len(leaves), np.bool_)
    for group in groups:
        keep[group[1:]] = False
        names, code = tuple(leaves.name(position) for position in group), leaves.code(group[0])
        leaves.account.append(Alike("merged", names, (code,) * len(group), (names[0],) * len(group)))
    return np.flatnonzero(keep)


def _check_ends(rows: TokenRows, end: int, names: pl.Series, leaves: Leaves, kept: NDArray[np.int64]) -> None:
    ends = rows.ids == end
    ends[rows.offsets[1:] - 1] = False
    inside = np.searchsorted(rows.offsets, np.flatnonzero(ends), side="right") - 1
    bad = np.union1d(inside, np.flatnonzero(np.diff(rows.offsets) < 2))
    if len(bad):
        first = int(bad[0])
        code, path = leaves.code(int(kept[first])), list(rows.row(first))
        raise ConfigError(f"{code}: the tokenizer writes {names[first]!r} as {path}, an end token inside or nothing at all; use another tokenizer")


def _flags(leaves: Leaves, kept: NDArray[np.int64]) -> NDArray[np.uint8]:
    shared = np.zeros(len(leaves), np.bool_)
    shared[list(leaves.extended)] = True
    return (SHARED * shared[kept] + PREFERRED * leaves.preferred[kept]).astype(np.uint8)


def _group_sets(tables: Tables, groups: Sequence[str]) -> NDArray[np.uint64]:
    """Bit sets of the concepts' groups. Shape: (concepts, words), uint64."""
    bits = np.stack([group_bits([i], len(groups)) for i in range(len(groups))])
    number = pl.DataFrame({"groups": groups, "group": np.arange(len(groups))}, schema_overrides={"groups": pl.String})
    pairs = tables.concepts.select(pl.row_index("row"), "groups").explode("groups").join(number, on="groups", maintain_order="left")
    sets = np.zeros((tables.concepts.height, bits.shape[1]), np.uint64)
    np.bitwise_or.at(sets, pairs["row"].to_numpy(), bits[pairs["group"].to_numpy()])
    return sets
