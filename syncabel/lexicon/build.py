"""Build a lexicon: give every leaf one code, tokenise the names, lay the trie."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from constrained.trie import TokenTrie
from syncabel.errors import ConfigError
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.store import FORMAT_VERSION, PREFERRED, SHARED, Lexicon, tokenizer_digest
from syncabel.prompt import encode_names
from syncabel.strings import StringTable
from syncabel.types import Concept

__all__ = ["Leaf", "build_lexicon", "leaves_of"]


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
    leaves = [
        Leaf(text, concept.code, concept.groups, preferred=text == concept.preferred_name)
        for concept in kb.concepts()
        for text in dict.fromkeys(name.text for name in concept.names)
    ]
    return _tell_apart(leaves, _alike((leaf.name for leaf in leaves), leaves), kb)


def _alike(keys: Iterable[Any], leaves: Sequence[Leaf]) -> list[int]:
    """Positions of the leaves whose key is also the key of another concept's leaf."""
    places: dict[Any, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    return [i for group in places.values() if len({leaves[i].code for i in group}) > 1 for i in group]


def _tell_apart(leaves: list[Leaf], positions: Sequence[int], kb: KnowledgeBase) -> list[Leaf]:
    """Extend the leaves at `positions` by what tells their concepts apart; deterministic in (name, code)."""
    taken = {leaf.name for leaf in leaves}
    out = list(leaves)
    for i in sorted(positions, key=lambda i: (leaves[i].name, leaves[i].code)):
        leaf = out[i]
        name = next(full for tag in _tags(kb.concept(leaf.code), leaf.name, kb) if (full := f"{leaf.name} ({tag})") not in taken)
        taken.add(name)
        out[i] = replace(leaf, name=name, shared=True)
    return out


def _tags(concept: Concept, name: str, kb: KnowledgeBase) -> Iterator[str]:
    """What may tell a concept from others of the same name, best first; the code always does."""
    if concept.preferred_name.casefold() != name.casefold():
        yield concept.preferred_name
    yield from concept.types
    yield from (kb.concept(parent).preferred_name for parent in concept.parents if parent in kb)
    yield concept.code
    yield from (f"{concept.code}, {n}" for n in range(2, 1000))


def _tokenised(leaves: list[Leaf], kb: KnowledgeBase, tokenizer: Any) -> tuple[list[Leaf], list[list[int]], int]:
    """Token ids per leaf, all distinct: names that tokenise alike are told apart, or merged within one concept."""
    while True:
        ids = encode_names([leaf.name for leaf in leaves], tokenizer)
        alike = _alike(map(tuple, ids), leaves)
        if not alike:
            break
        extended = _tell_apart(leaves, alike, kb)
        leaves = extended
    first: dict[tuple[int, ...], int] = {}
    for i, path in enumerate(ids):
        first.setdefault(tuple(path), i)
    kept = sorted(first.values())
    return [leaves[i] for i in kept], [ids[i] for i in kept], len(leaves) - len(kept)


def build_lexicon(kb: KnowledgeBase, tokenizer: Any) -> Lexicon:
    """The lexicon of a knowledge base for a tokenizer.

    Args:
        kb: the knowledge base.
        tokenizer: a transformers tokenizer with an end token.

    Raises:
        ConfigError: the tokenizer has no end token, or writes it inside a name.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError("the tokenizer has no end token (eos_token); set one before building a lexicon")
    leaves, ids, merged = _tokenised(sorted(leaves_of(kb), key=lambda leaf: (leaf.name.encode(), leaf.code)), kb, tokenizer)
    order = sorted(range(len(leaves)), key=lambda i: leaves[i].name.encode())
    leaves, ids = [leaves[i] for i in order], [ids[i] for i in order]
    for leaf, path in zip(leaves, ids, strict=True):
        if tokenizer.eos_token_id in path[:-1] or len(path) < 2:
            raise ConfigError(f"{leaf.code}: the tokenizer writes {leaf.name!r} as {path}, an end token inside or nothing at all; use another tokenizer")
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(path) for path in ids], out=offsets[1:])
    tokens = np.fromiter(chain.from_iterable(ids), np.int32, int(offsets[-1]))
    codes = sorted({leaf.code for leaf in leaves})
    index = {code: i for i, code in enumerate(codes)}
    lexicon = Lexicon(
        TokenTrie.build(tokens, offsets, _group_sets(leaves, kb.groups), tokenizer.eos_token_id, len(kb.groups)),
        StringTable.from_strings([leaf.name for leaf in leaves]),
        StringTable.from_strings(codes),
        np.array([index[leaf.code] for leaf in leaves], np.int32),
        np.array([SHARED * leaf.shared + PREFERRED * leaf.preferred for leaf in leaves], np.uint8),
        tuple(kb.groups),
        {},
    )
    header = {
        "format_version": FORMAT_VERSION,
        "digest": lexicon.content_digest(),
        "kb_digest": kb.digest,
        "tokenizer_digest": tokenizer_digest(tokenizer),
        "groups": list(kb.groups),
        "entries": len(leaves),
        "codes": len(codes),
        "shared": sum(leaf.shared for leaf in leaves),
        "merged": merged,
        "longest": max(map(len, ids)),
        "source": kb.about.source,
        "release": kb.about.release,
        "licence": kb.about.licence,
        "redistributable": kb.about.redistributable,
    }
    return replace(lexicon, header=header)


def _group_sets(leaves: Sequence[Leaf], groups: Sequence[str]) -> Any:
    """Bit sets of groups. Shape: (leaves, words), uint64."""
    bit = {group: i for i, group in enumerate(groups)}
    sets = np.zeros((len(leaves), (len(groups) + 63) // 64), np.uint64)
    for i, leaf in enumerate(leaves):
        for group in leaf.groups:
            sets[i, bit[group] // 64] |= np.uint64(1) << np.uint64(bit[group] % 64)
    return sets
