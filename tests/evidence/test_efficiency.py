"""The grid of scripts/efficiency.py: nested documents, equal budgets at every ratio, what is done stays done, figures drawn from the results."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from evidence_documents import SECONDS, document
from hypothesis import given
from hypothesis import strategies as st

SMALL = {**SECONDS, "tolerance": 0.5}


@pytest.fixture(scope="module")
def script(script: Callable[[str], ModuleType]) -> Callable[[str], ModuleType]:
    """As everywhere; torch and all are loaded before a test's clock runs."""
    script("efficiency")
    return script


@given(st.integers(1, 40), st.lists(st.floats(0.01, 1), min_size=2, max_size=2), st.integers(0, 5))
def test_a_smaller_fraction_of_a_seed_is_a_subset_of_a_larger_one(script: Callable[[str], ModuleType], count: int, fractions: list[float], seed: int) -> None:
    nested = script("efficiency").nested
    documents = [document(f"d{i}", "none") for i in range(count)]
    few, many = (nested(documents, fraction, seed) for fraction in sorted(fractions))
    assert 1 <= len(few) <= len(many) <= count
    assert {one.id for one in few} <= {one.id for one in many}
    assert list(many) == [one for one in documents if one in many]
    assert nested(documents, 1.0, seed) == tuple(documents)


def test_another_seed_draws_other_documents(script: Callable[[str], ModuleType]) -> None:
    documents = [document(f"d{i}", "none") for i in range(40)]
    assert script("efficiency").nested(documents, 0.25, 0) != script("efficiency").nested(documents, 0.25, 1)


@given(st.sampled_from([1.0, 0.75, 0.5, 0.25, 0.0]), st.floats(2, 30), st.floats(2, 30), st.floats(100, 2000))
def test_every_ratio_has_the_same_loss_tokens_a_step(script: Callable[[str], ModuleType], share: float, human: float, synthetic: float, wanted: float) -> None:
    examples = script("efficiency").batch_of(wanted, share, human, synthetic)
    a_token = share / human + (1 - share) / synthetic
    assert examples / a_token == pytest.approx(wanted, abs=0.5 / a_token + 1e-6)


def test_without_human_text_there_is_one_point_for_all_fractions(script: Callable[[str], ModuleType]) -> None:
    points = script("efficiency").points_of("s", [0.5, 1.0], ["1:0", "0:1"], [0, 1])
    assert [(point.fraction, point.ratio, point.seed) for point in points] == [
        (0.5, "1:0", 0), (0.0, "0:1", 0), (1.0, "1:0", 0), (0.5, "1:0", 1), (0.0, "0:1", 1), (1.0, "1:0", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("flags", [["--fractions", "0"], ["--fractions", "1.5"], ["--ratios", "0:0"], ["--ratios", "3"], ["--source", "written"]])
def test_a_grid_that_means_nothing_is_refused(script: Callable[[str], ModuleType], flags: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script("efficiency").arguments(flags)
    assert ended.value.code == 2


@pytest.fixture
def grid(script: Callable[[str], ModuleType], toy_set: str, tmp_path: Path) -> Callable[..., int]:
    """Runs the command on a set of a few sentences."""
    efficiency = script("efficiency")

    def run(*more: str) -> int:
        where = ["--set", toy_set, "--seeds", "0", "--output", str(tmp_path / "out"), "--results", str(tmp_path / "efficiency.yaml")]
        status = efficiency.main([*where, *(part for name, value in SMALL.items() for part in (f"--{name}", str(value))), *more])
        assert isinstance(status, int)
        return status

    return run


def written(tmp_path: Path) -> dict[str, int]:
    return {str(path.parent.relative_to(tmp_path / "out" / "toy")): path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("cell.json")}


@pytest.mark.slow
def test_a_grid_that_was_killed_goes_on_and_draws_what_it_measured(
    script: Callable[[str], ModuleType], grid: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    efficiency = script("efficiency")
    flags = ("--fractions", "0.5,1", "--ratios", "1:0,1:1,0:1")
    once = efficiency.run_once

    def stopped(folder: Path, *rest: Any) -> bool:
        """As Ctrl-C in the third training, which leaves half of a folder."""
        if len(written(tmp_path)) < 2:
            return bool(once(folder, *rest))
        (folder / "run").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(efficiency, "run_once", stopped)
        assert grid(*flags) == 130
    before = written(tmp_path)
    first = yaml.safe_load((tmp_path / "efficiency.yaml").read_text(encoding="utf-8"))
    assert set(before) == {"fraction-0.5/ratio-1-0/seed-0", "fraction-0.5/ratio-1-1/seed-0"}
    assert first["points"] == {"there": 2, "in the grid": 5}

    assert grid(*flags) == 0
    after = written(tmp_path)
    assert set(after) - set(before) == {"fraction-0/ratio-0-1/seed-0", "fraction-1/ratio-1-0/seed-0", "fraction-1/ratio-1-1/seed-0"}
    assert {name: after[name] for name in before} == before
    content = yaml.safe_load((tmp_path / "efficiency.yaml").read_text(encoding="utf-8"))
    check_content(content)
    # What was there before the kill is said the same after it.
    assert content["metrics"]["fraction 0.5"]["1:1"] == first["metrics"]["fraction 0.5"]["1:1"]
    check_drawn(tmp_path, content)

    # Scored again from the stored predictions, every figure is the same: the check of `make results`.
    again = script("results_rescore").efficiency_points(tmp_path / "efficiency.yaml", tmp_path / "out", tmp_path / "again", None)
    figures = script("results_figures")
    stored = figures.read_figures(tmp_path / "efficiency.yaml")
    assert [path for path in stored if figures.Exact(4).moved(stored[path], again[path])] == []

    # Another ratio of the same seed with another budget is no comparison.
    cell = next((tmp_path / "out").glob("toy/fraction-1/ratio-1-1/seed-0/cell.json"))
    facts = json.loads(cell.read_text(encoding="utf-8"))
    facts["ledger"]["loss_tokens"] *= 3
    cell.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(script("evidence").ConfigError, match="the points cannot be compared: seed 0: 1 of the documents, 1:1"):
        grid(*flags)


def check_content(content: dict[str, Any]) -> None:
    assert {"name", "date", "command", "config", "digests", "hardware", "seeds", "n", "metrics", "notes"} <= set(content)
    assert content["n"] == 5
    assert content["human_documents"] == {"fraction 0.5": 2, "fraction 1": 3}
    assert set(content["metrics"]) == {"fraction 0.5", "fraction 0", "fraction 1"}
    assert set(content["metrics"]["fraction 0"]) == {"0:1"}
    assert {"1:0", "1:1", "with_tfidf_long_forms", "dictionary_then_exact"} <= set(content["metrics"]["fraction 0.5"])
    sources = {point: set(given["sources"]) for point, given in content["ledger"].items()}
    assert sources["fraction 0.5, 1:0, seed 0"] == {"human"}
    assert sources["fraction 0, 0:1, seed 0"] == {"synthetic"}
    assert sources["fraction 1, 1:1, seed 0"] == {"human", "synthetic"}
    assert {given["steps"] for given in content["ledger"].values()} == {3}
    # The strata are those of all human documents, at every fraction.
    ns = [{stratum: figure["n"] for stratum, figure in content["metrics"][part]["1:0"]["constrained"].items()} for part in ("fraction 0.5", "fraction 1")]
    assert ns[0] == ns[1]
    assert "fraction 0.5/1:1 - 1:0/constrained/all" in content["tests"]
    assert "fraction 1/1:0 - with_tfidf_long_forms/constrained/all" in content["tests"]


def check_drawn(folder: Path, content: dict[str, Any]) -> None:
    texts = {}
    for name in ("documents", "ratios"):
        drawing = ET.parse(folder / f"efficiency_{name}.svg").getroot()
        texts[name] = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"human:synthetic 1:0", "human:synthetic 1:1", "no human document"} <= set(texts["documents"])
    assert {"2 human documents", "3 human documents"} <= set(texts["ratios"])
    assert content["metrics"]


@pytest.mark.slow
def test_the_same_figures_are_drawn_to_the_byte(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """A date or a random id in an SVG would make every run a change."""
    report = script("efficiency_report")
    figure = {"value": 0.5, "ci95": [0.4, 0.6], "n": 5}
    metrics = {f"fraction {part}": {"1:0": {"constrained": {"all": figure}}, "1:1": {"constrained": {"all": figure}}} for part in ("0.5", "1")}
    found = report.Found(5, {0.5: 2, 1.0: 3}, metrics, {}, {}, {}, 4)
    drawn = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        report.plot(tmp_path / run / "efficiency.yaml", found)
        drawn.append([(tmp_path / run / f"efficiency_{name}.svg").read_bytes() for name in ("documents", "ratios")])
    assert drawn[0] == drawn[1]
