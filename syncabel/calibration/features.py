"""What tells a right answer from a wrong one, read off the answers themselves: no look at the text, no knowledge base.

log_mass     natural log of the first concept's mass, at least -20
margin       that less the second concept's, in [-20, 20]; 20 where there is no second
log_bound    natural log of the probability left unsearched, at least -20; 0 where the search gives no bound
log_length   natural log of 1 + the characters of the name written
seen         1 where a training mention had this string, else 0
equal        1 where the mention, or its long form, is a name of the concept (folded), else 0
similarity   of the mention, or its long form, to the most alike name of the concept: rapidfuzz's ratio as a fraction in [0, 1]
"""

import math
from collections.abc import Container, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from syncabel.lexicon.store import Lexicon
from syncabel.text import fold
from syncabel.types import LinkedMention, Prediction

__all__ = ["FEATURES", "SEEN_FEATURE", "features_of", "log_mass", "names_of"]

SEEN_FEATURE = "seen"
FEATURES = ("log_mass", "margin", "log_bound", "log_length", SEEN_FEATURE, "equal", "similarity")
_FLOOR = -20.0  # e^-20 is nothing: what differs below it is the arithmetic


def features_of(linked: LinkedMention, lexicon: Lexicon | None, long_form: str | None = None, seen: Container[str] = ()) -> NDArray[np.float64]:
    """The features of a mention's first answer, in the order of `FEATURES`.

    Args:
        linked: with at least one prediction.
        lexicon: the model's own, for the names of the predicted concept; None leaves the name that was written.
        long_form: what the document defines the mention as, where it is an abbreviation.
        seen: strings of training mentions.

    Returns:
        Shape: (features,).
    """
    first, *others = linked.predictions
    mass = max(_FLOOR, log_mass(first))
    margin = mass - max(_FLOOR, log_mass(others[0])) if others else -_FLOOR
    bound = 0.0 if first.bound is None else max(_FLOOR, math.log(min(first.bound, 1.0))) if first.bound > 0 else _FLOOR
    likeness = _likeness([linked.text, *([long_form] if long_form else [])], names_of(first, lexicon))
    values = (mass, min(max(margin, _FLOOR), -_FLOOR), bound, math.log1p(len(first.name)), float(linked.text in seen), float(likeness == 1), likeness)
    return np.array(values, np.float64)


def log_mass(prediction: Prediction) -> float:
    """Natural log of a concept's mass; of its best name's probability where the mass is below the smallest float."""
    return math.log(min(prediction.mass, 1.0)) if prediction.mass > 0 else min(0.0, prediction.log_prob)


def names_of(prediction: Prediction, lexicon: Lexicon | None) -> list[str]:
    """The name written and every name of the predicted concepts; one that had to be told apart also as it was before."""
    return list(dict.fromkeys((prediction.name, *(_leaves(prediction.codes, lexicon) if lexicon else ()))))


def _leaves(codes: Sequence[str], lexicon: Lexicon) -> Iterator[str]:
    for code in codes:
        for entry in lexicon.entries_of(code):
            name = lexicon.name(int(entry))
            yield name
            if lexicon.shared(int(entry)):
                yield name.split(" (")[0]


def _likeness(texts: Sequence[str], names: Sequence[str]) -> float:
    """Of the most alike pair, a fraction; 1 only for equal ones."""
    folded = [fold(name) for name in names]
    return max(fuzz.ratio(fold(text), name) for text in texts for name in folded) / 100
