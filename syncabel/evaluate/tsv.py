"""The published table format: one row a mention, gold and predicted codes side by side.

Scored by the published rule: duplicates and rows whose gold holds `NO_CODE` are left out, and counted here; a row is right
when its sorted `+`-parts are equal; micro average.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.bootstrap import PairedDifference, document_interval, paired_difference
from syncabel.corpora.syncabel_tsv import TableRow, code_parts, table_rows
from syncabel.errors import ConfigError, FormatError
from syncabel.types import NO_CODE

__all__ = ["TsvReport", "TsvRow", "TsvTable", "compare_tsv", "evaluate_tsv", "read_tsv", "tsv_json"]

JUDGES = ("LLM_Evaluation", "LLM_Evaluation_v2")
VALID = ("STRICT", "EXACT")  # judgements that call an answer right
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
    """

    rows: tuple[TsvRow, ...]
    judgements: Mapping[str, tuple[str, ...]]
    duplicates: int
    no_code: int


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


def read_tsv(path: Path | str) -> TsvTable:
    """Read a table, de-duplicate it, and set rows without a gold code aside.

    Raises:
        FormatError: not UTF-8, empty, a column missing, a row of another length, or a row without gold.
    """
    path = Path(path)
    header, table = table_rows(path, COLUMNS)
    rows: list[TsvRow] = []
    judgements: dict[str, list[str]] = {judge: [] for judge in JUDGES if judge in header}
    seen: set[tuple[str, ...]] = set()
    left_out: Counter[str] = Counter()
    for cells in _records(table, path):
        row = TsvRow(*(cells[column] for column in COLUMNS))
        reason = "duplicate" if row.place in seen else "no_code" if NO_CODE in code_parts(row.code) else None
        seen.add(row.place)
        if reason:
            left_out[reason] += 1
            continue
        rows.append(row)
        for judge, words in judgements.items():
            words.append(cells[judge])
    return TsvTable(tuple(rows), {judge: tuple(words) for judge, words in judgements.items()}, left_out["duplicate"], left_out["no_code"])


def _records(rows: Iterable[TableRow], path: Path) -> Iterator[Mapping[str, str]]:
    """One row a mention, by column."""
    for row in rows:
        if row.cells is None:
            raise FormatError(row.problem, path, row.number, "one row a line, tabs between columns")
        if not code_parts(row.cells["code"]):
            raise FormatError("no gold code", path, row.number, f"write {NO_CODE} where a mention has none")
        yield row.cells


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
    )


def _judged(documents: Sequence[str], words: Sequence[str], rounds: int, seed: int) -> dict[str, Any]:
    valid = [word in VALID for word in words]
    interval = document_interval(documents, valid, rounds=rounds, seed=seed)
    return {"counts": dict(sorted(Counter(words).items())), "valid": sum(valid), "valid_share": sum(valid) / len(words), "ci95": interval}


def compare_tsv(first: TsvTable, second: TsvTable, *, rounds: int = 10_000, seed: int = 42) -> PairedDifference:
    """How much better the first table's system is, on the same mentions in any order.

    Raises:
        ConfigError: the tables are not of the same mentions with the same gold.
    """
    left, right = ({row.place: row for row in table.rows} for table in (first, second))
    if left.keys() != right.keys():
        raise ConfigError(f"{len(left.keys() ^ right.keys())} mentions are in one table only; compare tables of the same mentions")
    if other := sum(code_parts(left[place].code) != code_parts(right[place].code) for place in left):
        raise ConfigError(f"{other} mentions have another gold code in each table; compare tables of the same gold")
    places = sorted(left)
    scores = ([rows[place].correct for place in places] for rows in (left, right))
    return paired_difference([place[0] for place in places], *scores, rounds=rounds, seed=seed)


def tsv_json(report: TsvReport) -> dict[str, Any]:
    """The report as JSON values."""
    values = dataclasses.asdict(report)
    return {**values, "ci95": list(report.ci95), "judges": {judge: {**facts, "ci95": list(facts["ci95"])} for judge, facts in report.judges.items()}}
