"""What counts as right.  Every protocol is a pure function of the gold answers and the predicted codes of one mention.

    set      one answer equals the predicted set                       the published rule
    any      every predicted code is a gold code, at least one is      BioSyn, BELB strict
    overlap  a predicted code is a gold code
    jaccard  shared codes / all codes, of the best answer              a fraction; its mean is reported

On one mention set <= any <= overlap and set <= jaccard <= overlap.  Codes are canonical before they come here.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

__all__ = ["PROTOCOLS", "Answer", "Protocol", "options"]

Protocol = Literal["set", "any", "overlap", "jaccard"]
Answer = frozenset[str]  # codes that are right together


def _set(answers: Sequence[Answer], predicted: Answer) -> float:
    return float(bool(predicted) and predicted in answers)


def _any(answers: Sequence[Answer], predicted: Answer) -> float:
    return float(bool(predicted) and predicted <= frozenset().union(*answers))


def _overlap(answers: Sequence[Answer], predicted: Answer) -> float:
    return float(any(predicted & answer for answer in answers))


def _jaccard(answers: Sequence[Answer], predicted: Answer) -> float:
    return max((len(predicted & answer) / len(predicted | answer) for answer in answers if answer or predicted), default=0.0)


# (gold answers, predicted codes; empty: abstained) -> score in [0, 1].
PROTOCOLS: Mapping[Protocol, Callable[[Sequence[Answer], Answer], float]] = MappingProxyType(
    {"set": _set, "any": _any, "overlap": _overlap, "jaccard": _jaccard}
)


def options(answers: Sequence[Answer], protocol: Protocol) -> tuple[Answer, ...]:
    """The least sets of codes that are right in full under a protocol: whole answers, or single gold codes where one suffices."""
    if protocol in ("set", "jaccard"):
        return tuple(answers)
    return tuple(frozenset({code}) for code in sorted(frozenset().union(*answers)))
