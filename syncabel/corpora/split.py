"""Splits by document: seeded, the same for any order of the documents, a document never cut."""

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from syncabel.errors import ConfigError
from syncabel.types import Document, Split, as_split

__all__ = ["split_by_fractions", "split_documents"]

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


def split_by_fractions(documents: Sequence[Document], fractions: Mapping[str, float], seed: int = 0) -> dict[Split, tuple[Document, ...]]:
    """Deal documents out to splits so that each has its share of the documents and of the mentions of every type.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011), counted in mentions: the type with the fewest mentions left is
    dealt first, its fullest document first, to the split that still wants most of that type.  Each split gets its number of documents
    exactly; what that leaves uneven, exchanges of single documents make up for.

    Args:
        documents: with distinct ids, at least one per split.
        fractions: split -> share of the documents, each above 0, together 1.
        seed: decides among documents and splits that are alike.

    Returns:
        The documents of each split in the order given, the split written into them.

    Raises:
        UnknownNameError: a split is none of train, dev and test.
        ConfigError: the shares do not make 1, two documents share an id, or there are too few of them.
    """
    shares = {split: share for name, share in fractions.items() if (split := as_split(name))}
    if not shares or not all(share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        given = ",".join(f"{name}={share:g}" for name, share in fractions.items())
        raise ConfigError(f"fractions are {given or 'none'}; give each split a share above 0, together 1, e.g. train=0.8,dev=0.1,test=0.1")
    ids = _distinct_ids(documents, len(shares))
    rng = random.Random(seed)
    rng.shuffle(ids)
    by_id = _counts(documents)
    counts = {document_id: by_id[document_id] for document_id in ids}
    where = _exchanged(_dealt(counts, shares), counts, shares, rng)
    return {split: tuple(dataclasses.replace(document, split=split) for document in documents if where[document.id] == split) for split in shares}


def _distinct_ids(documents: Sequence[Document], least: int) -> list[str]:
    ids = sorted({document.id for document in documents})
    if len(ids) != len(documents):
        raise ConfigError(f"{len(documents)} documents have {len(ids)} ids; rename the repeated ones, a document must not be on both sides")
    if len(ids) < least:
        raise ConfigError(f"{len(ids)} documents cannot be split; give at least {least}")
    return ids


def _counts(documents: Sequence[Document]) -> dict[str, Counter[str]]:
    """Mentions of each type in each document; a type that is several, `A|B`, is one of its own."""
    return {document.id: Counter(mention.type or _UNTYPED for mention in document.mentions) or Counter({_UNTYPED: 0}) for document in documents}


def _dealt(counts: Mapping[str, Counter[str]], shares: Mapping[Split, float]) -> dict[str, Split]:
    """Where each document goes.

    Args:
        counts: mentions of each type per document, in the order that breaks ties.
        shares: of the splits.
    """
    left: Counter[str] = sum(counts.values(), Counter())
    wanted = {split: {kind: share * count for kind, count in left.items()} for split, share in shares.items()}
    room = _rooms(len(counts), shares)
    waiting, where = dict(counts), dict[str, Split]()
    while waiting:
        # Without mentions of any type there is only room to go by.
        kind = min((kind for kind, count in left.items() if count > 0), key=lambda kind: (left[kind], kind), default=_UNTYPED)
        ready = [document_id for document_id, count in waiting.items() if count[kind]] or list(waiting)
        for document_id in sorted(ready, key=lambda document_id: -waiting[document_id][kind]):
            # Of splits that want alike, the one with most room left for its size: a small one is not filled first.
            split = max((split for split in room if room[split]), key=lambda split: (wanted[split].get(kind, 0.0), room[split] / shares[split]))
            where[document_id] = split
            room[split] -= 1
            for other, count in waiting.pop(document_id).items():
                left[other] -= count
                wanted[split][other] = wanted[split].get(other, 0.0) - count
    return where


def _exchanged(where: dict[str, Split], counts: Mapping[str, Counter[str]], shares: Mapping[Split, float], rng: random.Random) -> dict[str, Split]:
    """The same numbers of documents a split, with documents exchanged as long as that brings the types closer to their shares.

    What is made smaller is the sum of squares over splits and types of (mentions had - mentions wanted) / mentions of the type.
    """
    total: Counter[str] = sum(counts.values(), Counter())
    over = {split: {kind: -share * count for kind, count in total.items()} for split, share in shares.items()}
    for document_id, split in where.items():
        for kind, count in counts[document_id].items():
            if count:
                over[split][kind] += count
    ids = list(where)
    for _ in range(_ROUNDS):
        for one in ids:
            for other in rng.sample(ids, min(_PARTNERS, len(ids))):
                mine, theirs = where[one], where[other]
                change = {kind: counts[other][kind] - counts[one][kind] for kind in counts[one] | counts[other]}
                gain = sum(delta * (over[theirs][kind] - over[mine][kind] - delta) / total[kind] ** 2 for kind, delta in change.items() if delta)
                if mine != theirs and gain > 1e-12:
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
