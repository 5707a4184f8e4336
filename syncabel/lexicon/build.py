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
from syncabel.types import NIL_CODE

__all__ = ["Alike", "Leaf", "build_lexicon", "leaves_of", "lexicon_and_account", "lexicon_from"]

Tokenise = Callable[[pl.Series], TokenRows]

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


def build_lexicon(
    kb: KnowledgeBase, tokenizer: Any, cache: Path | None = None, notice: Callable[[str], None] = lambda _: None, nil: str | None = None
) -> Lexicon:
    """The lexicon of a knowledge base for a tokenizer.

    Args:
        kb: the knowledge base.
        tokenizer: a transformers tokenizer with an end token.
        cache: a folder that keeps token ids by the digests of tokenizer and names; a second build tokenises nothing.
        notice: is told of an entry of the cache that was damaged and is made again.
        nil: name of a leaf that says "not in the knowledge base" and is offered only when asked for; None for no such leaf.

    Raises:
        ConfigError: the tokenizer has no end token, writes it inside a name, or cannot tell the names of two concepts apart; or
            `nil` is no tidy name, or the knowledge base has it or its code already.
    """
    return lexicon_and_account(kb, tokenizer, cache, notice, nil)[0]


def lexicon_and_account(
    kb: KnowledgeBase, tokenizer: Any, cache: Path | None = None, notice: Callable[[str], None] = lambda _: None, nil: str | None = None
) -> tuple[Lexicon, list[Alike]]:
    """`build_lexicon`, and what became of the names that could not stand as they are.  Arguments and errors are its."""

    def tokenise(names: pl.Series) -> TokenRows:
        return token_rows(names, tokenizer) if cache is None else TokenCache(cache, notice).rows(names, tokenizer)

    return lexicon_from(kb, tokenizer, tokenise, nil)


def lexicon_from(kb: KnowledgeBase, tokenizer: Any, tokenise: Tokenise, nil: str | None = None) -> tuple[Lexicon, list[Alike]]:
    """`lexicon_and_account` with the token ids from elsewhere.

    Args:
        kb, tokenizer, nil: as `build_lexicon` has them.
        tokenise: names to the ids that the tokenizer gives them.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError("the tokenizer has no end token (eos_token); set one before building a lexicon")
    if nil is not None:
        _check_nil(nil, kb)
    leaves = first_leaves(kb.tables)
    rows, kept = _tokenised(leaves, tokenise)
    merged = len(leaves) - len(kept)
    names = leaves.names().gather(kept)
    order = names.arg_sort().to_numpy() if leaves.extended else np.arange(len(kept))
    names, rows, kept = names.gather(order), rows.take(order), kept[order]
    _check_ends(rows, tokenizer.eos_token_id, names, leaves, kept)
    sets = _group_sets(kb.tables, kb.groups, len(kb.groups) + (nil is not None))
    chosen = _Chosen(names, rows, leaves.concept[kept].astype(np.int32), _flags(leaves, kept), kb.tables.concepts["code"], sets)
    if nil is not None:
        chosen = _with_nil(chosen, nil, tokenise(pl.Series([nil])), len(kb.groups))
    return _laid(kb, tokenizer, chosen, merged, nil), leaves.account


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The leaves in entry order, and their concepts in code order.

    Attributes:
        concept: place of each leaf's concept. Shape: (entries,).
        flags: bits SHARED and PREFERRED. Shape: (entries,).
        sets: bitsets of the concepts' groups. Shape: (concepts × words), uint64.
    """

    names: pl.Series
    rows: TokenRows
    concept: NDArray[np.int32]
    flags: NDArray[np.uint8]
    codes: pl.Series
    sets: NDArray[np.uint64]


def _laid(kb: KnowledgeBase, tokenizer: Any, chosen: _Chosen, merged: int, nil: str | None) -> Lexicon:
    n_groups = len(kb.groups) + (nil is not None)
    lexicon = Lexicon(
        TokenTrie.build(chosen.rows.ids, chosen.rows.offsets, chosen.sets[chosen.concept], tokenizer.eos_token_id, n_groups),
        string_table(chosen.names),
        string_table(chosen.codes),
        chosen.concept,
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
        "filters": list(kb.about.filters),
    }
    return replace(lexicon, header=header if nil is None else {**header, "nil": nil})


def _check_nil(nil: str, kb: KnowledgeBase) -> None:
    if not nil or " ".join(nil.split()) != nil or not nil.isprintable():
        raise ConfigError(f"{nil!r} cannot be the NIL leaf's name; give words with one space between them")
    if NIL_CODE in kb:
        raise ConfigError(f"the knowledge base has a concept with the code {NIL_CODE}, which is the NIL leaf's; rename it, or build without one")
    if (kb.tables.names["text"] == nil).any():
        raise ConfigError(f"{nil!r} is a name in the knowledge base; give the NIL leaf another")


def _with_nil(chosen: _Chosen, nil: str, row: TokenRows, group: int) -> _Chosen:
    """The leaves and one more, in its place by name, whose concept is in a group of its own."""
    path, lengths = row.ids, np.diff(chosen.rows.offsets)
    if len(path) < 2 or path[-1] in path[:-1]:
        raise ConfigError(f"the tokenizer writes {nil!r} as {path.tolist()}, an end token inside or nothing at all; give the NIL leaf another name")
    same = np.flatnonzero(lengths == len(path))
    same = same[(chosen.rows.ids[chosen.rows.offsets[same, None] + np.arange(len(path))] == path).all(axis=1)]
    if len(same):
        raise ConfigError(f"the tokenizer writes {nil!r} as it writes {chosen.names[int(same[0])]!r}; give the NIL leaf another name")
    place, number = int((chosen.names < nil).sum()), int((chosen.codes < NIL_CODE).sum())
    return _Chosen(
        _inserted(chosen.names, place, nil),
        chosen.rows.joined_with(row).take(np.insert(np.arange(len(lengths)), place, len(lengths))),
        np.insert(chosen.concept + (chosen.concept >= number), place, number).astype(np.int32),
        np.insert(chosen.flags, place, PREFERRED).astype(np.uint8),
        _inserted(chosen.codes, number, NIL_CODE),
        np.insert(chosen.sets, number, group_bits([group], group + 1), axis=0),
    )


def _inserted(column: pl.Series, place: int, value: str) -> pl.Series:
    return pl.concat([column[:place], pl.Series([value], dtype=column.dtype), column[place:]])


def _tokenised(leaves: Leaves, tokenise: Tokenise) -> tuple[TokenRows, NDArray[np.int64]]:
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


def _group_sets(tables: Tables, groups: Sequence[str], n_groups: int) -> NDArray[np.uint64]:
    """Bitsets of the concepts' groups, with room for `n_groups`. Shape: (concepts × words), uint64."""
    bits = np.stack([group_bits([i], n_groups) for i in range(len(groups))])
    number = pl.DataFrame({"groups": groups, "group": np.arange(len(groups))}, schema_overrides={"groups": pl.String})
    pairs = tables.concepts.select(pl.row_index("row"), "groups").explode("groups").join(number, on="groups", maintain_order="left")
    sets = np.zeros((tables.concepts.height, bits.shape[1]), np.uint64)
    np.bitwise_or.at(sets, pairs["row"].to_numpy(), bits[pairs["group"].to_numpy()])
    return sets
