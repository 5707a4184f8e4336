"""benchmarks/printing.py: tables for people, the whole object for programs; and every benchmark that measures has both."""

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
Benchmarks = Callable[[str], ModuleType]
REPORT = {
    "names": 76237,
    "open_ms": 1.23456,
    "seconds": {"build": 3.25, "save": None},
    "arms": {
        "shared": {"speed": {"median": 3.25, "min": 3.0, "max": 4.5}, "tokens": 12},
        "alone": {"speed": {"median": 2.0, "min": 1.0, "max": 2.5}, "tokens": 48},
    },
}


def lines(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines() if line.strip()]


def test_json_is_one_line_that_holds_everything(benchmarks: Benchmarks, capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks("printing").show(REPORT, True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == REPORT


def test_people_get_tables_and_parts_with_the_same_figures_are_rows_of_one(benchmarks: Benchmarks, capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks("printing").show(REPORT, False)
    printed = capsys.readouterr().out
    assert "{" not in printed
    found = lines(printed)
    assert ["names", "76,237"] in found
    assert ["open_ms", "1.235"] in found
    assert ["save", "–"] in found
    assert ["speed", "tokens"] in found
    assert found[-2:] == [["shared", "3.25", "(3", "to", "4.5)", "12"], ["alone", "2", "(1", "to", "2.5)", "48"]]


@pytest.mark.parametrize("report", [{}, {"a": {}}, {"a": {"b": {"c": 1}}, "d": {"c": 1}}, {"a": "x" * 500, "b": [1.5, 2]}])
def test_every_figure_is_printed_whatever_the_report_looks_like(benchmarks: Benchmarks, report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks("printing").show(report, False)
    printed = capsys.readouterr().out
    assert [printed.count(sign) for sign in ("c ", "x", "1.5, 2")] == [str(report).count(sign) for sign in ("'c'", "x", "1.5, 2")]


def test_the_worked_examples_come_out(benchmarks: Benchmarks) -> None:
    found = doctest.testmod(benchmarks("printing"))
    assert found.attempted > 0
    assert found.failed == 0


PROGRAMS = sorted(path.name for path in BENCHMARKS.glob("*.py") if "ArgumentParser(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_prints_json_only_where_it_is_asked_to(name: str) -> None:
    text = (BENCHMARKS / name).read_text(encoding="utf-8")
    assert '"--json"' in text
    assert "indent=None if" not in text
