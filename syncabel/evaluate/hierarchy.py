"""Near misses in the knowledge base's is_a graph: a concept too broad, one too narrow, by how many steps.

Only steps up or only steps down count.  A sibling is one up and one down: it is unrelated, however short the way.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from syncabel.evaluate.protocols import Answer
from syncabel.kb import KnowledgeBase
from syncabel.types import Document

__all__ = ["COMPOSITE", "DISTANCES", "SAME", "UNRELATED", "HierarchyReport", "LevelsUp", "has_hierarchy", "levels_of", "relation", "steps_between", "steps_of"]

LevelsUp = Callable[[str], Sequence[Collection[str]]]  # a code -> the codes above it by depth, parents first
DISTANCES = (0, 1, 2, 3)
UNRELATED, COMPOSITE, SAME = "unrelated", "composite", "same"


def steps_between(code: str, other: str, levels_up: LevelsUp) -> int | None:
    """Steps up from one concept to another: 0 for itself, None where the other is not above it.

    >>> parents = {"type 2 diabetes": ["diabetes"], "diabetes": ["disease"], "disease": []}
    >>> def levels_up(code):
    ...     return [(parent, ) for parent in parents[code]] + [level for parent in parents[code] for level in levels_up(parent)]
    >>> steps_between("type 2 diabetes", "disease", levels_up), steps_between("disease", "type 2 diabetes", levels_up)
    (2, None)
    """
    if code == other:
        return 0
    return next((depth for depth, level in enumerate(levels_up(code), 1) if other in level), None)


def relation(answers: Sequence[Answer], predicted: Answer, levels_up: LevelsUp) -> str:
    """Where gold stands from the predicted concept, by the shortest way over alternative answers.

    Args:
        answers: gold, canonical codes.
        predicted: canonical codes, at least one.
        levels_up: the concepts above a code by depth, parents first; nothing for an unknown code.

    Returns:
        `ancestor:2` where gold is two steps up (the prediction is too narrow), `descendant:1` where it is one step down (too broad),
        `unrelated`, `same`, or `composite` where several codes were predicted or are right together.
    """
    single = [code for answer in answers if len(answer) == 1 for code in answer]
    if len(predicted) != 1 or not single:
        return COMPOSITE
    (code,) = predicted
    if code in single:
        return SAME
    up = [(steps, "ancestor") for gold in single if (steps := steps_between(code, gold, levels_up))]
    down = [(steps, "descendant") for gold in single if (steps := steps_between(gold, code, levels_up))]
    if not up and not down:
        return UNRELATED
    steps, where = min(up + down)
    return f"{where}:{steps}"


def steps_of(hierarchy: str | None, where: str) -> int | None:
    """The steps of a relation where it goes that way.

    >>> steps_of("ancestor:2", "ancestor"), steps_of("ancestor:2", "descendant"), steps_of("unrelated", "ancestor")
    (2, None, None)
    """
    kind, _, steps = (hierarchy or "").partition(":")
    return int(steps) if kind == where else None


@dataclass(frozen=True, slots=True)
class HierarchyReport:
    """Misses by where gold stands from the prediction, and Recall@1 that forgives steps.

    Attributes:
        n: mentions of the denominator.
        ancestors, descendants: steps -> misses whose gold is so far up, or down; the prediction is too narrow, or too broad.
        unrelated: misses whose prediction is neither above nor below gold.
        same: misses of the name or of the code as written, not of the concept.
        composite: misses with several codes on a side; nothing is said of them.
        unanswered: misses without a predicted concept.
        within: direction (`up`, `down`, `either`) -> distance d -> (score, interval): Recall@1 where gold at most d steps that way counts as right;
            d = 0 is Recall@1.
    """

    n: int
    ancestors: Mapping[int, int]
    descendants: Mapping[int, int]
    unrelated: int
    same: int
    composite: int
    unanswered: int
    within: Mapping[str, Mapping[int, tuple[float, tuple[float, float]]]]


def levels_of(kb: KnowledgeBase) -> LevelsUp:
    """`kb.levels_up` that says nothing of unknown codes and remembers what it was asked."""
    known: dict[str, Sequence[Collection[str]]] = {}

    def levels_up(code: str) -> Sequence[Collection[str]]:
        if code not in known:
            known[code] = kb.levels_up(code) if kb.canonical(code) == code else ()
        return known[code]

    return levels_up


def has_hierarchy(documents: Iterable[Document], kb: KnowledgeBase) -> bool:
    """Whether a gold concept has a parent or a child; without one nothing can be above or below gold."""
    written = {code for document in documents for mention in document.mentions for code in mention.codes}
    known = {code for item in written if (code := kb.canonical(item)) is not None}
    return any(kb.parents(code) or kb.children(code, most=1) for code in sorted(known))
