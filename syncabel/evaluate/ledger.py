"""The ledger of misses: each has one first cause, and the parts sum to 1 - Recall@1.

not_in_kb          no right answer is in the knowledge base
filtered_by_group  none of those in it is in the groups the search was held to
abstained          nothing was predicted, the answer was NIL or withheld, or what was written is no name
search             a right answer was possible and is not among the candidates
ranking            it is among them, and not first, or not alone (a code too many; a name that stands for several ids)
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Literal

from syncabel.evaluate.protocols import Answer

__all__ = ["CAUSES", "Cause", "LedgerLine", "first_cause", "reachable"]

Cause = Literal["not_in_kb", "filtered_by_group", "abstained", "search", "ranking"]
CAUSES: tuple[Cause, ...] = ("not_in_kb", "filtered_by_group", "abstained", "search", "ranking")


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """Misses of one cause.

    Attributes:
        n: mentions.
        share: the part of Recall@1 they cost, a fraction; a partly right answer costs what it lacks; None where there is no mention at all.
    """

    n: int
    share: float | None


def reachable(options: Sequence[Answer], known: Container[str], in_groups: Callable[[str], bool]) -> Cause | None:
    """What keeps every right answer out of reach before anything is searched, or None."""
    in_kb = [option for option in options if all(code in known for code in option)]
    if not in_kb:
        return "not_in_kb"
    return None if any(all(map(in_groups, option)) for option in in_kb) else "filtered_by_group"


def first_cause(out_of_reach: Cause | None, options: Sequence[Answer], candidates: Sequence[Answer]) -> Cause:
    """The one cause of a miss.

    Args:
        out_of_reach: from `reachable`.
        options: sets of codes that would be right in full.
        candidates: the predicted codes, best first; no codes for NIL and for what is no name.
    """
    if out_of_reach:
        return out_of_reach
    if not candidates or not candidates[0]:
        return "abstained"
    listed = frozenset().union(*candidates)
    return "ranking" if any(option <= listed for option in options) else "search"
