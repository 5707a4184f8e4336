"""Character IoU: of every concept, the characters that both sides gave it over those that either did, and the mean over concepts.

Two rules, both of the SNOMED CT entity linking tasks on DrivenData, with all notes taken together:

    2024  a character has one label, the later row writing over the earlier one    SNOMED CT Entity Linking Challenge
    2026  a character has every label that a row gives it: overlaps are kept        SNOMED CT Entity Linking Benchmark

Source: `scripts/scoring.py` of the repositories drivendataorg/snomed-ct-entity-linking-runtime (2024) and snomed-ct-benchmark-runtime (2026).
The concepts are those of gold or predictions.  The benchmark weights by a concept's gold *rows* (`support_weighted`); weighted by its gold
characters the mean stands beside it (`character_weighted`).  Where 2024's rule leaves a concept without a character on either side, because other rows
were written over all of it, the published script divides 0 by 0; here such concepts are left out of the mean and counted (`hidden`).

Intervals are the jackknife's, leaving out one document at a time.  The document bootstrap is no use here: a replicate misses over a third of the concepts
that are in one document only, so that its macro mean is of another thing (BC5CDR test with a dictionary: 0.353, and 0.376 to 0.408 in replicates).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate.spans import Estimate
from syncabel.types import Span

__all__ = ["IOU_RULES", "CharacterIou", "CodedSpan", "ConceptIou", "IouRule", "character_iou"]

IouRule = Literal["2024", "2026"]
IOU_RULES: tuple[IouRule, ...] = ("2024", "2026")
_NORMAL = 1.96  # standard errors to either side
_AT_ONCE = 64  # documents: x 7,000 concepts x 4 tables are 14 MB
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CodedSpan:
    """A row: one code for the characters of one mention, of all its fragments."""

    document_id: str
    spans: tuple[Span, ...]
    code: str


@dataclass(frozen=True, slots=True)
class ConceptIou:
    """One concept.

    Attributes:
        support: gold rows.
        gold, predicted, shared: characters with its label in gold, in the predictions, in both.
        iou: shared / (gold + predicted - shared), a fraction; None where no character has its label on either side.
    """

    support: int
    gold: int
    predicted: int
    shared: int
    iou: float | None


@dataclass(frozen=True, slots=True)
class CharacterIou:
    """How well predicted characters cover gold ones.

    Attributes:
        rule: `2024` or `2026`.
        documents: notes.
        concepts: those in the mean.
        hidden: concepts left without a character because other rows were written over all of theirs; not in the mean.
        macro: mean IoU over concepts.
        support_weighted: mean by gold rows.
        character_weighted: mean by gold characters.
        by_concept: code -> scores.
    """

    rule: IouRule
    documents: int
    concepts: int
    hidden: int
    macro: Estimate
    support_weighted: Estimate
    character_weighted: Estimate
    by_concept: Mapping[str, ConceptIou]


def character_iou(
    gold: Sequence[CodedSpan],
    predicted: Sequence[CodedSpan],
    *,
    rule: IouRule = "2024",
    documents: Iterable[str] = (),
) -> CharacterIou:
    """Score predicted rows against gold rows; the order of rows counts under the rule of 2024.

    Gold has 0-4 as A and 2-6 as B, the system 0-6 as B.  2024: gold's later row leaves A 0-2, so A has 0 of 2 and B 4 of 6:

    >>> rows = [CodedSpan("n", (Span(0, 4),), "A"), CodedSpan("n", (Span(2, 6),), "B")]
    >>> found = character_iou(rows, [CodedSpan("n", (Span(0, 6),), "B")], rule="2024")
    >>> round(found.macro.value, 4), round(found.character_weighted.value, 4)  # (0 + 4/6) / 2, (2 * 0 + 4 * 4/6) / 6
    (0.3333, 0.4444)
    >>> kept = character_iou(rows, [CodedSpan("n", (Span(0, 6),), "B"), CodedSpan("n", (Span(0, 2),), "A")], rule="2026")
    >>> round(kept.macro.value, 4)  # A has 2 of 4 and B 4 of 6
    0.5833

    Args:
        gold, predicted: rows.
        rule: `2024` or `2026`.
        documents: notes beyond those of the rows, for the intervals.

    Raises:
        UnknownNameError: no such rule.
        ConfigError: no gold row.
    """
    if rule not in IOU_RULES:
        raise UnknownNameError("rule of character IoU", rule, IOU_RULES)
    if not gold:
        raise ConfigError("no gold annotation with a code; give annotated documents")
    names = sorted({row.document_id for row in (*gold, *predicted)} | set(documents))
    codes = sorted({row.code for row in (*gold, *predicted)})
    tables = _tables(gold, predicted, names, codes, rule)
    total = [table.sum(0)[None] for table in tables]
    means, left_out = _means(*total)[0], _left_out_means(tables, total, len(names))
    macro, support_weighted, character_weighted = (_jackknifed(float(means[i]), left_out[:, i]) for i in range(3))
    by_concept = {code: _concept(*(int(table[0, i]) for table in total)) for i, code in enumerate(codes)}
    scored = sum(one.iou is not None for one in by_concept.values())
    return CharacterIou(rule, len(names), scored, len(codes) - scored, macro, support_weighted, character_weighted, by_concept)


def _concept(gold: int, predicted: int, shared: int, support: int) -> ConceptIou:
    either = gold + predicted - shared
    return ConceptIou(support, gold, predicted, shared, shared / either if either else None)


def _tables(gold: Sequence[CodedSpan], predicted: Sequence[CodedSpan], names: Sequence[str], codes: Sequence[str], rule: IouRule) -> list[csr_array]:
    """Gold, predicted and shared characters, and gold rows, of every document and concept. Shape of each: (documents, concepts)."""
    numbers = {code: i for i, code in enumerate(codes)}
    own, theirs = _by_document(gold), _by_document(predicted)
    found: list[Counter[tuple[int, int]]] = [Counter() for _ in range(4)]
    for row, name in enumerate(names):
        rows, others = own.get(name, []), theirs.get(name, [])
        points = sorted({offset for one in (*rows, *others) for span in one.spans for offset in (span.start, span.end)})
        first, second = (_labels(side, points, rule) for side in (rows, others))
        for table, labels in zip(found, (first, second, first & second), strict=False):
            for piece, code in labels:
                table[row, numbers[code]] += points[piece + 1] - points[piece]
        for one in rows:
            found[3][row, numbers[one.code]] += 1
    return [_sparse(table, (len(names), len(codes))) for table in found]


def _labels(rows: Iterable[CodedSpan], points: Sequence[int], rule: IouRule) -> set[tuple[int, str]]:
    """The codes of each piece of text between two neighbouring offsets: all characters of a piece have the same ones."""
    given = [(piece, row.code) for row in rows for span in row.spans for piece in range(bisect_left(points, span.start), bisect_left(points, span.end))]
    return set(dict(given).items()) if rule == "2024" else set(given)


def _by_document(rows: Iterable[CodedSpan]) -> dict[str, list[CodedSpan]]:
    found: dict[str, list[CodedSpan]] = {}
    for row in rows:
        found.setdefault(row.document_id, []).append(row)
    return found


def _sparse(table: Mapping[tuple[int, int], int], shape: tuple[int, int]) -> csr_array:
    rows, columns = zip(*table, strict=True) if table else ((), ())
    return csr_array((np.fromiter(table.values(), np.float64, len(table)), (np.array(rows, np.int64), np.array(columns, np.int64))), shape=shape)


def _left_out_means(tables: Sequence[csr_array], total: Sequence[Floats], documents: int) -> Floats:
    """The three means without each document in turn. Shape: (documents, 3)."""
    blocks = (slice(i, i + _AT_ONCE) for i in range(0, documents, _AT_ONCE))
    return np.concatenate([_means(*(whole - table[block].toarray() for whole, table in zip(total, tables, strict=True))) for block in blocks])


def _jackknifed(value: float, left_out: Floats) -> Estimate:
    """A mean and its interval from the means without each document (Efron and Tibshirani 1993, chapter 11)."""
    count = len(left_out)
    if np.isnan(value) or count < 2 or np.isnan(left_out).any():
        return Estimate(None if np.isnan(value) else value, None)
    reach = _NORMAL * float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(value, (max(0.0, value - reach), min(1.0, value + reach)))


def _means(gold: Floats, predicted: Floats, shared: Floats, support: Floats) -> Floats:
    """Macro, support-weighted and character-weighted mean; NaN where there is nothing to divide by. Shape of each: (rounds, concepts); (rounds, 3)."""
    either = gold + predicted - shared
    there = either > 0
    iou = np.divide(shared, either, out=np.zeros_like(either), where=there)
    weights = [there.astype(np.float64), support * there, gold]
    tops, bottoms = np.stack([(iou * weight).sum(1) for weight in weights], 1), np.stack([weight.sum(1) for weight in weights], 1)
    means: Floats = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return means
