"""The words of a judgement, how they turn when the two sides change places, and how several votes become one.

Every word says what the *prediction* is, seen from gold: `broader` is a prediction that covers gold and more ("disease" where gold is
"diabetes"), `narrower` one that gold covers.  Published tables have other words for the same:

    published     ours         of whom
    STRICT        equivalent   nobody was asked: the codes are equal
    EXACT         equivalent   the model
    BROAD         broader      the model
    NARROW        narrower     the model
    PARTIAL       partial      nobody was asked: some of a composite gold answer was predicted, and nothing else
    NO_RELATION   unrelated    the model, or nobody where nothing was predicted

They have no word for `related`, which the published judge called NO_RELATION.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from syncabel.errors import UnknownNameError

__all__ = ["BROAD", "LABELS", "PUBLISHED", "RELATIONS", "VALID", "Label", "Majority", "Relation", "as_label", "majority", "turned"]

Relation = Literal["unrelated", "related", "narrower", "broader", "equivalent"]  # what a model may answer, the least favourable first
Label = Literal["unrelated", "related", "narrower", "partial", "broader", "equivalent"]

# Broader stands above narrower: "disease" for a diabetes is true of the mention and says less, a narrower concept says what the text does not.
RELATIONS: tuple[Relation, ...] = get_args(Relation)
LABELS: tuple[Label, ...] = get_args(Label)
VALID: Label = "equivalent"
BROAD: frozenset[Label] = frozenset({"broader", "partial"})
PUBLISHED: Mapping[str, Label] = MappingProxyType(
    {"STRICT": "equivalent", "EXACT": "equivalent", "BROAD": "broader", "NARROW": "narrower", "PARTIAL": "partial", "NO_RELATION": "unrelated"}
)
_TURNED: Mapping[Relation, Relation] = MappingProxyType({"broader": "narrower", "narrower": "broader"})


class Majority(NamedTuple):
    """What several votes come to.

    Attributes:
        label: the most frequent relation; of equally frequent ones the least favourable.
        tied: whether there were such.
    """

    label: Relation
    tied: bool


def turned(relation: Relation) -> Relation:
    """The same relation with the sides exchanged: if B is broader than A, A is narrower than B.

    >>> turned("broader"), turned("narrower"), turned("related")
    ('narrower', 'broader', 'related')
    """
    return _TURNED.get(relation, relation)


def majority(votes: Sequence[Relation]) -> Majority:
    """The most frequent of some votes, at least one, in any order; ties go against the prediction.

    >>> majority(["equivalent", "broader", "equivalent"])
    Majority(label='equivalent', tied=False)
    >>> majority(["broader", "narrower", "narrower", "broader"])
    Majority(label='narrower', tied=True)
    """
    counts = Counter(votes)
    most = max(counts.values())
    first = [relation for relation in RELATIONS if counts[relation] == most]
    return Majority(first[0], len(first) > 1)


def as_label(word: str) -> Label:
    """A label by our word or by the published one, in any case.

    Raises:
        UnknownNameError: it is neither.
    """
    plain = word.strip()
    if plain.upper() in PUBLISHED:
        return PUBLISHED[plain.upper()]
    for label in LABELS:
        if plain.casefold() == label:
            return label
    raise UnknownNameError("label", plain, (*LABELS, *PUBLISHED))
