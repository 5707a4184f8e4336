"""The published table format: one row a mention, gold and predicted codes side by side.

Scored by the published rule: duplicates and rows whose gold holds `NO_CODE` are left out, and counted here; a row is right
when its sorted `+`-parts are equal; micro average.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.bootstrap import PairedDifference, document_interval, paired_difference
from syncabel.corpora.syncabel_tsv import TableRow, code_parts, table_rows
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.evaluate.compare import Difference, compare_pair, compare_strata, difference_json, refuse_other_mentions
from syncabel.evaluate.confidence import ConfidenceReport, confidence_report
from syncabel.types import NO_CODE

__all__ = [
    "TsvReport",
    "TsvRow",
    "TsvTable",
    "compare_table_strata",
    "compare_tables",
    "compare_tsv",
    "evaluate_tsv",
    "judge_json",
    "paired_json",
    "read_tsv",
    "tsv_json",
]

JUDGES = ("LLM_Evaluation", "LLM_Evaluation_v2")
VALID = ("STRICT", "EXACT")  # judgements that call an answer right
LABELS = (*VALID, "PARTIAL", "BROAD", "NARROW", "NO_RELATION")
UNJUDGED = "(no label)"
# Columns of the published tables that are no judge's.
BEAM_SCORE = "Prediction_beam_score"
_OTHERS = ("mention_id", "span", "semantic_rel", "annotation", "sentence", "Prediction", "Prediction_score", BEAM_SCORE)
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TsvRow:
    """The columns a score needs, named as in the file; further columns are allowed."""

    filename: str
    label: str
    start_span: str
    end_span: str
    code: str
    Predicted_code: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What makes two rows the same mention."""
        return self.filename, self.label, self.start_span, self.end_span

    @property
    def correct(self) -> bool:
        """Whether gold and prediction have the same `+`-parts; an empty prediction abstains and is wrong."""
        return bool(self.Predicted_code.strip()) and code_parts(self.code) == code_parts(self.Predicted_code)


COLUMNS = tuple(field.name for field in dataclasses.fields(TsvRow))


@dataclass(frozen=True, slots=True)
class TsvTable:
    """The rows that are scored, and how many are not.

    Attributes:
        rows: in file order.
        judgements: per judge column of the file, one word per row of `rows`.
        duplicates: rows left out because their mention came before.
        no_code: rows left out because their gold holds `NO_CODE`.
        texts, names: each row's mention (column `span`) and target name (`annotation`); empty where the table has no such column.
    """

    rows: tuple[TsvRow, ...]
    judgements: Mapping[str, tuple[str, ...]]
    duplicates: int
    no_code: int
    texts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    beam_scores: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class TsvReport:
    """What a table says.

    Attributes:
        n, correct: rows scored, rows right.
        recall_at_1: a fraction.
        ci95: its interval over documents, fractions.
        by_group: label -> {"n", "correct"}.
        documents: distinct filenames among the rows scored.
        duplicates, no_code: rows left out of n.
        judges: judge column -> {"counts", "valid", "valid_share", "ci95"}; empty where the file has none.
        confidence: the beam scores of answered rows against what is right; None where the file has none.
    """

    n: int
    correct: int
    recall_at_1: float
    ci95: Interval
    by_group: Mapping[str, Mapping[str, int]]
    documents: int
    duplicates: int
    no_code: int
    judges: Mapping[str, Mapping[str, Any]]
    confidence: ConfidenceReport | None = None


def read_tsv(path: Path | str, judge: str | None = None) -> TsvTable:
    """Read a table, de-duplicate it, and set rows without a gold code aside.

    Args:
        path: plain or `.gz`.
        judge: a column of judge's labels to read beside the two published ones.

    Raises:
        FormatError: not UTF-8, empty, a column missing, a row of another length, a row without gold, or a judge's column without a judge's label.
        UnknownNameError: the table has no such judge's column.
    """
    path = Path(path)
    header, table = table_rows(path, COLUMNS)
    judges = [column for column in header if column not in (*COLUMNS, *_OTHERS)]
    if judge is not None and judge not in judges:
        raise UnknownNameError("judge column", judge, judges)
    rows: list[TsvRow] = []
    judgements: dict[str, list[str]] = {column: [] for column in judges if column in (*JUDGES, judge)}
    more: dict[str, list[str]] = {"span": [], "annotation": []}
    scores: list[float | None] = []
    seen: set[tuple[str, ...]] = set()
    left_out: Counter[str] = Counter()
    for number, cells in _records(table, path):
        row = TsvRow(*(cells[column] for column in COLUMNS))
        reason = "duplicate" if row.place in seen else "no_code" if NO_CODE in code_parts(row.code) else None
        seen.add(row.place)
        if reason:
            left_out[reason] += 1
            continue
        rows.append(row)
        for column, values in more.items():
            values += [cells[column]] if column in cells else []
        scores += [_beam_score(cells[BEAM_SCORE], path, number)] if BEAM_SCORE in cells else []
        for column, words in judgements.items():
            words.append(cells[column].strip() or UNJUDGED)
    if judge is not None and rows and not set(judgements[judge]) & set(LABELS):
        raise FormatError(f"column {judge!r} holds no judge's label", path, hint=f"labels are {', '.join(LABELS)}")
    judged = {column: tuple(words) for column, words in judgements.items()}
    return TsvTable(tuple(rows), judged, left_out["duplicate"], left_out["no_code"], tuple(more["span"]), tuple(more["annotation"]), tuple(scores))


def _beam_score(cell: str, path: Path, number: int) -> float | None:
    """A fraction, or None where the cell is empty."""
    try:
        score = float(cell) if cell.strip() else None
    except ValueError:
        score = math.nan
    if score is not None and not 0 <= score <= 1:  # NaN is neither
        raise FormatError(f"{BEAM_SCORE} {cell!r} is no fraction", path, number, "scores lie in [0, 1]; leave the cell empty where there is none")
    return score


def _records(rows: Iterable[TableRow], path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and cells by column, one row a mention."""
    for row in rows:
        if row.cells is None:
            raise FormatError(row.problem, path, row.number, "one row a line, tabs between columns")
        if not code_parts(row.cells["code"]):
            raise FormatError("no gold code", path, row.number, f"write {NO_CODE} where a mention has none")
        yield row.number, row.cells


def evaluate_tsv(table: TsvTable, *, rounds: int = 1000, seed: int = 42) -> TsvReport:
    """Score a table by the published rule.

    Args:
        table: from `read_tsv`.
        rounds, seed: of the document bootstrap.

    Raises:
        ConfigError: no row is left to score.
    """
    rows = table.rows
    if not rows:
        raise ConfigError(f"no row is left to score: {table.duplicates} duplicates, {table.no_code} without a gold code; give rows with codes")
    documents = [row.filename for row in rows]
    right = [row.correct for row in rows]
    totals, hits = Counter(row.label for row in rows), Counter(row.label for row in rows if row.correct)
    return TsvReport(
        n=len(rows),
        correct=sum(right),
        recall_at_1=sum(right) / len(rows),
        ci95=document_interval(documents, right, rounds=rounds, seed=seed),
        by_group={label: {"n": totals[label], "correct": hits[label]} for label in sorted(totals)},
        documents=len(set(documents)),
        duplicates=table.duplicates,
        no_code=table.no_code,
        judges={judge: _judged(documents, words, rounds, seed) for judge, words in table.judgements.items()},
        confidence=_confidence(table, right, rounds, seed),
    )


def _confidence(table: TsvTable, right: Sequence[bool], rounds: int, seed: int) -> ConfidenceReport | None:
    """Beam scores as confidences, of the rows that have an answer and a score."""
    rows = zip(table.rows, right, table.beam_scores, strict=False)
    scored = [(row.filename, correct, score) for row, correct, score in rows if score is not None and row.Predicted_code.strip()]
    if not scored:
        return None
    documents, correct, scores = zip(*scored, strict=True)
    return confidence_report(correct, scores, documents, source="beam_score", rounds=rounds, seed=seed)


def _judged(documents: Sequence[str], words: Sequence[str], rounds: int, seed: int) -> dict[str, Any]:
    valid = [word in VALID for word in words]
    interval = document_interval(documents, valid, rounds=rounds, seed=seed)
    return {"counts": dict(sorted(Counter(words).items())), "valid": sum(valid), "valid_share": sum(valid) / len(words), "ci95": interval}


def compare_tsv(first: TsvTable, second: TsvTable, *, rounds: int = 10_000, seed: int = 42) -> PairedDifference:
    """How much better the first table's system is, on the same mentions in any order.

    Raises:
        ConfigError: the tables are not of the same mentions with the same gold, or hold no mention.
    """
    return paired_difference(*_beside(first, second), rounds=rounds, seed=seed)


def compare_table_strata(
    first: TsvTable, second: TsvTable, strata: Mapping[str, Mapping[str, Sequence[bool]]], *, rounds: int = 10_000, seed: int = 42
) -> dict[str, dict[str, Difference | None]]:
    """`compare_tables` in every stratum, Holm's p over all that hold a row.

    Args:
        first, second: the tables.
        strata: of the first table's rows, from `syncabel.evaluate.tsv_strata.table_strata`.
        rounds, seed: of replicates and random flips.

    Raises:
        ConfigError: as `compare_tsv`.
    """
    documents, a, b = _beside(first, second)
    order = sorted(range(len(first.rows)), key=lambda place: first.rows[place].place)
    sorted_strata = {kind: {name: [members[i] for i in order] for name, members in values.items()} for kind, values in strata.items()}
    return compare_strata(documents, a, b, sorted_strata, rounds=rounds, seed=seed)


def compare_tables(first: TsvTable, second: TsvTable, *, rounds: int = 10_000, seed: int = 42) -> Difference:
    """`compare_tsv` with its tests: by the signs of documents, by replicates, and McNemar's for reference.

    Raises:
        ConfigError: as `compare_tsv`.
    """
    return compare_pair(*_beside(first, second), rounds=rounds, seed=seed)


def _beside(first: TsvTable, second: TsvTable) -> tuple[list[str], list[bool], list[bool]]:
    """Document, and whether each table has it right, of every mention."""
    left, right = ({row.place: row for row in table.rows} for table in (first, second))
    refuse_other_mentions(left, right, ("the first table", "the second"))
    places = sorted(left)
    if other := [place for place in places if code_parts(left[place].code) != code_parts(right[place].code)]:
        shown = ", ".join(":".join(place) for place in other[:3])
        raise ConfigError(f"{len(other)} mentions have another gold code in each table ({shown}); compare tables of the same gold")
    if not places:
        raise ConfigError("no row is left to compare; give tables of rows with codes")
    return [place[0] for place in places], [left[place].correct for place in places], [right[place].correct for place in places]


def paired_json(difference: Difference, strata: Mapping[str, Mapping[str, Difference | None]] | None = None) -> dict[str, Any]:
    """What `--versus` adds to a table's JSON."""
    parts = {kind: {name: difference_json(one) for name, one in values.items()} for kind, values in (strata or {}).items()}
    return {"paired": {**difference_json(difference), **({"strata": parts} if parts else {})}}


def judge_json(report: TsvReport, judge: str) -> dict[str, Any]:
    """What `--judge-column` adds to a table's JSON: how often each label was given, and the share of answers that it calls right.

    Raises:
        KeyError: the table was read without this column.
    """
    facts = report.judges[judge]
    return {"judge": dict(facts["counts"]), "valid": {"value": facts["valid_share"], "ci95": list(facts["ci95"])}}


def tsv_json(report: TsvReport) -> dict[str, Any]:
    """The report as JSON values."""
    values = dataclasses.asdict(report)
    return {**values, "ci95": list(report.ci95), "judges": {judge: {**facts, "ci95": list(facts["ci95"])} for judge, facts in report.judges.items()}}
