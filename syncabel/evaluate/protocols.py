"""What counts as right.  Every protocol is a pure function of the gold answers and the predicted codes of one mention.

    set           one answer equals the predicted set                       strict on composites
    any           every predicted code is a gold code, at least one is      BioSyn
    belb-strict   the *name* written stands for one id, and that is gold    BELB; Garda et al., Bioinformatics 39 (2023)
    belb-lenient  one of the ids of the name written is gold                BELB
    syncabel      the codes as written are those of an answer               SynCABEL; arXiv 2601.19667
    overlap       a predicted code is a gold code
    jaccard       shared codes / all codes, of the best answer              a fraction; its mean is reported

On one mention set <= any <= overlap, set <= jaccard <= overlap and belb-strict <= belb-lenient.  What a rule is given differs
(`READS`): canonical codes; the ids of the name that was written; or codes as they stand in the files.  Under `syncabel` the
denominator differs as well: a second mention of the same document, type, start and end is left out, and so are mentions whose gold is no code.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from syncabel.corpora.syncabel_tsv import code_parts

__all__ = ["PROTOCOLS", "READS", "Answer", "Protocol", "options"]

Protocol = Literal["set", "any", "belb-strict", "belb-lenient", "syncabel", "overlap", "jaccard"]
Answer = frozenset[str]  # codes that are right together


def _set(answers: Sequence[Answer], predicted: Answer) -> float:
    """Whether one of the answers is exactly what was predicted.

    >>> breast_and_ovary, skin = frozenset({"D1", "D2"}), frozenset({"D3"})
    >>> [_set([breast_and_ovary, skin], frozenset(codes)) for codes in (["D1", "D2"], ["D1"], ["D3"], [])]
    [1.0, 0.0, 1.0, 0.0]
    """
    return float(bool(predicted) and predicted in answers)


def _any(answers: Sequence[Answer], predicted: Answer) -> float:
    """Whether nothing but gold codes was predicted: one code of a composite is enough, a wrong one beside it spoils it.

    >>> [_any([frozenset({"D1", "D2"})], frozenset(codes)) for codes in (["D1", "D2"], ["D1"], ["D1", "D9"], [])]
    [1.0, 1.0, 0.0, 0.0]
    """
    return float(bool(predicted) and predicted <= frozenset().union(*answers))


def _belb_strict(answers: Sequence[Answer], ids: Answer) -> float:
    """Whether the name written stands for one id only, a gold one.

    "MS" is a name of multiple sclerosis (D1) and of mitral stenosis (D2), so writing it decides nothing:

    >>> [_belb_strict([frozenset({"D1"})], frozenset(ids)) for ids in (["D1"], ["D1", "D2"], ["D2"])]
    [1.0, 0.0, 0.0]
    """
    return float(len(ids) == 1 and ids <= frozenset().union(*answers))


def _overlap(answers: Sequence[Answer], predicted: Answer) -> float:
    """Whether a predicted code is a gold code; of the ids of a name, this is BELB's lenient rule.

    >>> [_overlap([frozenset({"D1", "D2"})], frozenset(codes)) for codes in (["D1", "D9"], ["D9"], [])]
    [1.0, 0.0, 0.0]
    """
    return float(any(predicted & answer for answer in answers))


def _written(answers: Sequence[Collection[str]], predicted: Collection[str]) -> float:
    """Whether the sorted `+`-parts are equal, as written: an alternative id of the same concept is another code here.

    >>> [_written([("D2+D1",)], codes) for codes in (("D1", "D2"), ("D1",), ())]
    [1.0, 0.0, 0.0]
    """
    parts = code_parts("+".join(predicted))
    return float(bool(parts) and any(code_parts("+".join(answer)) == parts for answer in answers))


def _jaccard(answers: Sequence[Answer], predicted: Answer) -> float:
    """Codes in common over codes in either, of the answer for which that is most.

    One of two codes found, nothing wrong beside it: 1/2; one found and one wrong, of three in all: 1/3.

    >>> [_jaccard([frozenset({"D1", "D2"})], frozenset(codes)) for codes in (["D1", "D2"], ["D1"], ["D9"])]
    [1.0, 0.5, 0.0]
    >>> round(_jaccard([frozenset({"D1", "D2"})], frozenset({"D1", "D9"})), 3)
    0.333
    """
    return max((len(predicted & answer) / len(predicted | answer) for answer in answers if answer or predicted), default=0.0)


# (gold answers, predicted codes; empty: abstained) -> score in [0, 1].
PROTOCOLS: Mapping[Protocol, Callable[[Sequence[Answer], Answer], float]] = MappingProxyType(
    {"set": _set, "any": _any, "belb-strict": _belb_strict, "belb-lenient": _overlap, "syncabel": _written, "overlap": _overlap, "jaccard": _jaccard}
)
# What the rule is given: canonical codes of the answer, the ids of the name that was written, or the codes as they stand in the files.
READS: Mapping[Protocol, Literal["concepts", "name", "written"]] = MappingProxyType(
    {
        "set": "concepts", "any": "concepts", "belb-strict": "name", "belb-lenient": "name", "syncabel": "written", "overlap": "concepts",
        "jaccard": "concepts",
    }
)  # fmt: skip


def options(answers: Sequence[Answer], protocol: Protocol) -> tuple[Answer, ...]:
    """The least sets of codes that are right in full under a protocol: whole answers, or single gold codes where one suffices."""
    if protocol in ("set", "jaccard", "syncabel"):
        return tuple(answers)
    return tuple(frozenset({code}) for code in sorted(frozenset().union(*answers)))
