"""Splits by document: seeded, the same for any order of the documents, a document never cut."""

import dataclasses
import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

from syncabel.errors import ConfigError
from syncabel.types import Document, Mention, Split, as_split

__all__ = ["DevPart", "part_of_dev", "split_by_fractions", "split_documents"]

DevPart = Literal["select", "calibrate", "all"]

_ROUNDS, _PARTNERS = 2, 20  # of exchanges: every document is tried against so many others, so many times
_UNTYPED = ""  # documents without mentions are spread as if of a type of their own


def split_documents(documents: Sequence[Document], fraction: float, seed: int, split: Split = "dev") -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """Split a part off by document, for corpora that come without a development set.

    Which documents go depends on their ids and the seed, not on their order.

    Args:
        documents: with distinct ids, at least two.
        fraction: share of the documents that go, in (0, 1); at least one goes and one stays.
        seed: random seed.
        split: written into those that go.

    Returns:
        (those that stay, those that go), each in the order given.

    Raises:
        ConfigError: the fraction is not in (0, 1), there are fewer than two documents, or two share an id.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction is {fraction}; it is a share of the documents, give one between 0 and 1")
    ids = _distinct_ids(documents, 2)
    going = set(random.Random(seed).sample(ids, min(len(ids) - 1, max(1, round(fraction * len(ids))))))
    return (
        tuple(document for document in documents if document.id not in going),
        tuple(dataclasses.replace(document, split=split) for document in documents if document.id in going),
    )


def part_of_dev(documents: Sequence[Document], part: DevPart) -> tuple[Document, ...]:
    """The half of dev that chooses checkpoints and settings, or the half that calibrates; what one decides the other measures.

    Documents are ranked by a digest of their ids and dealt out in turn, so that the halves are equal for any order of the documents.

    Args:
        documents: of dev, with distinct ids.
        part: `select`, `calibrate`, or `all` of them.

    Returns:
        The documents of that part, in the order given; a single document selects.

    Raises:
        ConfigError: two documents share an id.
    """
    ranked = sorted(_distinct_ids(documents, 0), key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = set(ranked if part == "all" else ranked[0::2] if part == "select" else ranked[1::2])
    return tuple(document for document in documents if document.id in chosen)


def split_by_fractions(
    documents: Sequence[Document],
    fractions: Mapping[str, float],
    seed: int = 0,
    group_by: str | None = None,
    strata: Callable[[Mention], Iterable[str]] | None = None,
) -> dict[Split, tuple[Document, ...]]:
    """Deal documents out to splits so that each has its share of the documents and of the mentions of every type.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011), counted in mentions: the type with the fewest mentions left is
    dealt first, its fullest document first, to the split that still wants most of that type.  What that leaves uneven, exchanges make up for.

    Documents of one text stay together, and so do those of one group.  Where there are none of either, each split gets its number of
    documents exactly; else as nearly as the sizes of the groups have it, at least one group.

    Args:
        documents: with distinct ids, at least one per split.
        fractions: split -> share of the documents, each above 0, together 1; their order is of no account.
        seed: decides among documents and splits that are alike.
        group_by: regular expression looked for in the ids; documents with the same first group of it stay together, e.g. `^(\\d+)_` for the
            parts 118_1 to 118_7 of one leaflet.  A document whose id it is not found in is on its own.
        strata: what a mention counts for; its annotated type where None is given.

    Returns:
        The documents of each split in the order given, the split written into them; train, dev, test.

    Raises:
        UnknownNameError: a split is none of train, dev and test.
        ConfigError: the shares do not make 1, two documents share an id, there are too few of them (or too few that may be parted), or
            `group_by` is no regular expression with a group, or found in no id.
    """
    given_shares = {split: share for name, share in fractions.items() if (split := as_split(name))}
    shares = {split: given_shares[split] for split in get_args(Split) if split in given_shares}
    if not shares or not all(share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        given = ",".join(f"{name}={share:g}" for name, share in fractions.items())
        raise ConfigError(f"fractions are {given or 'none'}; give each split a share above 0, together 1, e.g. train=0.8,dev=0.1,test=0.1")
    _distinct_ids(documents, len(shares))
    units = _units(documents, group_by)
    if len(units) < len(shares):
        raise ConfigError(f"{len(documents)} documents are {len(units)} groups that stay together; {len(shares)} splits need as many")
    names = sorted(units)
    rng = random.Random(seed)
    rng.shuffle(names)
    counts = {name: _counts(units[name], strata or _annotated_type) for name in names}
    sizes = {name: len(units[name]) for name in names}
    where = _exchanged(_dealt(counts, sizes, shares), counts, sizes, shares, rng)
    split_of = {document.id: where[name] for name, unit in units.items() for document in unit}
    return {split: tuple(dataclasses.replace(document, split=split) for document in documents if split_of[document.id] == split) for split in shares}


def _units(documents: Sequence[Document], group_by: str | None) -> dict[str, list[Document]]:
    """What stays together: the documents of one text, of one group, and of both in any chain, under the first of their ids."""
    ids = sorted(document.id for document in documents)
    above = {document_id: document_id for document_id in ids}

    def root(document_id: str) -> str:
        while above[document_id] != document_id:
            above[document_id] = above[above[document_id]]
            document_id = above[document_id]
        return document_id

    first: dict[tuple[str, str], str] = {}
    groups = _group_keys(ids, group_by)
    for document in sorted(documents, key=lambda document: document.id):
        for key in (("text", document.text), *([("group", groups[document.id])] if document.id in groups else [])):
            one, other = sorted((root(document.id), root(first.setdefault(key, document.id))))
            above[other] = one
    units: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        units[root(document.id)].append(document)
    return dict(units)


def _group_keys(ids: Sequence[str], group_by: str | None) -> dict[str, str]:
    """The group of each id that has one."""
    if group_by is None:
        return {}
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError(f"--group-by {group_by!r} is no regular expression: {error}") from None
    if not pattern.groups:
        raise ConfigError(f"--group-by {group_by!r} has no group; put what the ids of a group share in parentheses, e.g. ^([0-9]+)_")
    found = ((document_id, pattern.search(document_id)) for document_id in ids)
    keys = {document_id: match.group(1) for document_id, match in found if match and match.group(1) is not None}
    if not keys:
        raise ConfigError(f"--group-by {group_by!r} is found in no id (the first is {ids[0]!r}); give an expression that fits them")
    return keys


def _distinct_ids(documents: Sequence[Document], least: int) -> list[str]:
    ids = sorted({document.id for document in documents})
    if len(ids) != len(documents):
        raise ConfigError(f"{len(documents)} documents have {len(ids)} ids; rename the repeated ones, a document must not be on both sides")
    if len(ids) < least:
        raise ConfigError(f"{len(ids)} documents cannot be split; give at least {least}")
    return ids


def _annotated_type(mention: Mention) -> tuple[str]:
    """A type that is several, `A|B`, is one of its own."""
    return (mention.type or _UNTYPED,)


def _counts(unit: Sequence[Document], strata: Callable[[Mention], Iterable[str]]) -> Counter[str]:
    """Mentions of each type in documents that stay together."""
    return Counter(kind for document in unit for mention in document.mentions for kind in strata(mention)) or Counter({_UNTYPED: 0})


def _dealt(counts: Mapping[str, Counter[str]], sizes: Mapping[str, int], shares: Mapping[Split, float]) -> dict[str, Split]:
    """Where each unit goes.

    Args:
        counts: mentions of each type per unit, in the order that breaks ties.
        sizes: documents of each unit.
        shares: of the splits.
    """
    left: Counter[str] = sum(counts.values(), Counter())
    wanted = {split: {kind: share * count for kind, count in left.items()} for split, share in shares.items()}
    room = _rooms(sum(sizes.values()), shares)
    waiting, where, filled = dict(counts), dict[str, Split](), set[Split]()
    while waiting:
        # Without mentions of any type there is only room to go by.
        kind = min((kind for kind, count in left.items() if count > 0), key=lambda kind: (left[kind], kind), default=_UNTYPED)
        ready = [name for name, count in waiting.items() if count[kind]] or list(waiting)
        for name in sorted(ready, key=lambda name: -waiting[name][kind]):
            empty = [split for split in room if split not in filled]
            # The last units go where there is none; a unit too large for all goes where it is least so.
            fitting = empty if len(waiting) <= len(empty) else [split for split in room if room[split] >= sizes[name]] or [max(room, key=lambda s: room[s])]
            # Of splits that want alike, the one with most room left for its size: a small one is not filled first.
            split = max(fitting, key=lambda split: (wanted[split].get(kind, 0.0), room[split] / shares[split]))
            where[name] = split
            filled.add(split)
            room[split] -= sizes[name]
            for other, count in waiting.pop(name).items():
                left[other] -= count
                wanted[split][other] = wanted[split].get(other, 0.0) - count
    return where


def _exchanged(
    where: dict[str, Split], counts: Mapping[str, Counter[str]], sizes: Mapping[str, int], shares: Mapping[Split, float], rng: random.Random
) -> dict[str, Split]:
    """The same numbers of documents a split, with units of one size exchanged as long as that brings the types closer to their shares.

    What is made smaller is the sum of squares over splits and types of (mentions had - mentions wanted) / mentions of the type.
    """
    total: Counter[str] = sum(counts.values(), Counter())
    over = {split: {kind: -share * count for kind, count in total.items()} for split, share in shares.items()}
    for name, split in where.items():
        for kind, count in counts[name].items():
            if count:
                over[split][kind] += count
    names = list(where)
    for _ in range(_ROUNDS):
        for one in names:
            for other in rng.sample(names, min(_PARTNERS, len(names))):
                mine, theirs = where[one], where[other]
                change = {kind: counts[other][kind] - counts[one][kind] for kind in counts[one] | counts[other]}
                gain = sum(delta * (over[theirs][kind] - over[mine][kind] - delta) / total[kind] ** 2 for kind, delta in change.items() if delta)
                if mine != theirs and sizes[one] == sizes[other] and gain > 1e-12:
                    where[one], where[other] = theirs, mine
                    for kind, delta in change.items():
                        if delta:
                            over[mine][kind] += delta
                            over[theirs][kind] -= delta
    return where


def _rooms(documents: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """How many documents each split takes: whole numbers that sum up, by largest remainder, none empty."""
    rooms = {split: max(1, int(documents * share)) for split, share in shares.items()}
    by_remainder = sorted(shares, key=lambda split: documents * shares[split] - int(documents * shares[split]), reverse=True)
    turn = 0
    while sum(rooms.values()) < documents:
        rooms[by_remainder[turn % len(by_remainder)]] += 1
        turn += 1
    while sum(rooms.values()) > documents:
        rooms[max(rooms, key=lambda split: rooms[split])] -= 1
    return rooms
