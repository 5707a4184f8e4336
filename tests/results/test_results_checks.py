"""scripts/results.py: every figure of docs/results has a check that can fail or a stated shortfall, and what moved, failed or was left out is said."""

import doctest
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS, RESULTS, SHARED = ROOT / "scripts", ROOT / "docs" / "results", ROOT.parent / "shared" / "data"
FILES = sorted(path.stem for path in RESULTS.glob("*.yaml"))
Script = Callable[[str], ModuleType]


def stored(script: Script, name: str) -> dict[str, Any]:
    found = script("results_figures").read_figures(RESULTS / f"{name}.yaml")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_figure_of_a_results_file_is_checked_or_a_stated_shortfall(script: Script, name: str) -> None:
    figures, matching = stored(script, name), script("results_figures").matching
    entry = script("results_checks").CHECKS[name]
    ways = [*entry.checks, *entry.shortfalls]
    assert figures
    assert set(figures) - {path for way in ways for path in matching(figures, way.covers)} == set()
    assert [pattern for way in ways for pattern in way.covers if not matching(figures, (pattern,))] == []
    assert all(need in script("results_checks").NEEDS for check in entry.checks for need in check.needs)


@pytest.mark.parametrize("name", FILES)
def test_no_check_holds_whatever_the_figure_is(script: Script, name: str) -> None:
    """Altered either way, a figure moves, and unaltered it holds."""
    figures, results = stored(script, name), script("results")
    for check in script("results_checks").CHECKS[name].checks:
        same = results.judged(name, figures, check, results.Remade(figures, None, 0.0))
        assert {verdict.outcome for verdict in same} == {"held"}
        for alter in (lambda value: 20 * value + 11, lambda value: value / 20 - 11):
            altered = {path: replace(figure, value=alter(figure.value), ci95=None) for path, figure in figures.items()}
            assert {verdict.outcome for verdict in results.judged(name, altered, check, results.Remade(figures, None, 0.0))} == {"moved"}


def test_a_share_off_by_a_tenth_of_a_point_moves_where_it_is_scored_again(script: Script) -> None:
    figures, results = stored(script, "ncbi_disease_baselines"), script("results")
    check = script("results_checks").CHECKS["ncbi_disease_baselines"].checks[0]
    path = "cascade/all/recall_at_1"
    altered = figures | {path: replace(figures[path], value=figures[path].value + 0.001)}
    moved = [verdict for verdict in results.judged("x", altered, check, results.Remade(figures, None, 0.0)) if verdict.outcome == "moved"]
    assert [(verdict.path, verdict.said) for verdict in moved] == [(path, "0.825 is now 0.824")]


def test_a_changed_n_a_changed_interval_and_a_vanished_figure_move(script: Script) -> None:
    figure, exact = script("results_figures").Figure, script("results_figures").Exact(4)
    assert exact.moved(figure(0.5, (0.4, 0.6), 10), figure(0.5, (0.4, 0.6), 10)) is None
    assert exact.moved(figure(0.5, (0.4, 0.6), 10), figure(0.5, (0.4, 0.6), 11)) == "n 10 is now 11"
    assert exact.moved(figure(0.5, (0.4, 0.6), 10), figure(0.5, (0.41, 0.6), 10)) == "interval [0.4, 0.6] is now [0.41, 0.6]"
    assert exact.moved(figure(0.5, (0.4, 0.6), 10), figure(0.5)) == "the interval is gone"
    assert exact.moved(figure(0.5), figure(float("nan"))) is not None
    assert script("results_figures").Within(0.1).moved(figure(0.5), figure(float("nan"))) is not None
    assert script("results_figures").Factor(2).moved(figure(0.0), figure(0.001)) is not None
    assert script("results_figures").Factor(2).moved(figure(1.0), figure(float("nan"))) is not None


@pytest.mark.parametrize("name", ["results_figures", "results_record", "results_tables", "results_rescore", "efficiency", "efficiency_report"])
def test_the_worked_examples_of_the_scripts_come_out(script: Script, name: str) -> None:
    found = doctest.testmod(script(name))
    assert found.attempted > 0
    assert found.failed == 0


TOY = {
    "name": "toy", "date": "2026-11-22", "command": "make quickstart", "config": None, "digests": {}, "hardware": "1 CPU", "seeds": None, "n": 4,
    "metrics": {"score": {"value": 0.5, "ci95": [0.25, 0.75], "n": 4}, "seconds": {"value": 3, "ci95": None}, "speed": {"value": 9, "ci95": None}},
}  # fmt: skip


class Toy:
    """A results file with a check that counts how often it is run."""

    def __init__(self, script: Script, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results, self.checks, self.figures = script("results"), script("results_checks"), script("results_figures")
        self.folder, self.runs, self.monkeypatch = folder, 0, monkeypatch
        self.found: Callable[[], dict[str, Any]] = lambda: {"score": self.figures.Figure(0.5, (0.25, 0.75), 4), "seconds": self.figures.Figure(5.0)}
        (folder / "yaml").mkdir()
        self.write(TOY)
        self.entry()

    def write(self, content: dict[str, Any]) -> None:
        (self.folder / "yaml" / "toy.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    def entry(self, **changed: Any) -> None:
        rules = (("seconds", self.figures.Factor(2)), ("*", self.figures.Exact(4)))
        check = self.checks.Check("all", "rescore", ("score", "seconds"), self._remake, rules, 5, ())
        short = self.checks.Shortfall(("speed",), "nobody kept the stop-watch")
        self.monkeypatch.setitem(self.checks.CHECKS, "toy", self.checks.Entry((replace(check, **changed),), (short,)))

    def _remake(self, _place: Any) -> dict[str, Any]:
        self.runs += 1
        return self.found()

    def run(self, *more: str) -> int:
        status = self.results.main(["--results", str(self.folder / "yaml"), "--out", str(self.folder / "out"), *more])
        assert isinstance(status, int)
        return status


@pytest.fixture
def toy(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    return Toy(script, tmp_path, monkeypatch)


def test_held_moved_and_not_checked_are_told_apart(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy.run() == 0
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()[:2]] == [["file", "figures", "held", "moved", "not", "checked"], ["toy", "3", "2", "0", "1"]]
    assert "nobody kept the stop-watch  (speed)" in said


def on_record(toy: Toy) -> dict[str, Any]:
    row = json.loads((toy.folder / "yaml" / "checks.jsonl").read_text(encoding="utf-8"))
    assert isinstance(row, dict)
    return row


def test_a_check_goes_on_record_with_its_day_and_what_held(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.run() == 0
    assert not (toy.folder / "yaml" / "checks.jsonl").exists()
    monkeypatch.setattr(toy.results.time, "strftime", lambda _form: "2031-01-01")
    assert toy.run("--again", "--record") == 0
    row = on_record(toy)
    assert {key: row[key] for key in ("file", "check", "date", "figures", "held", "failure")} == {
        "file": "toy", "check": "all", "date": "2031-01-01", "figures": 2, "held": 2, "failure": "",
    }  # fmt: skip
    # A check that is remembered is put down with the day on which it was run.
    monkeypatch.setattr(toy.results.time, "strftime", lambda _form: "2031-02-02")
    assert toy.run("--record") == 0
    assert toy.runs == 2
    assert on_record(toy) == row


def test_a_figure_that_moved_and_a_check_that_failed_go_on_record_without_places_of_the_machine(toy: Toy, script: Script) -> None:
    toy.found = lambda: {"score": toy.figures.Figure(0.6, (0.25, 0.75), 4), "seconds": toy.figures.Figure(5.0)}
    assert toy.run("--record") == 1
    assert (on_record(toy)["held"], on_record(toy)["figures"]) == (1, 2)

    def broken() -> dict[str, Any]:
        raise script("results_checks").CheckError("`python /home/ann/x.py` ended with 2")

    toy.found = broken
    assert toy.run("--again", "--record") == 1
    assert (on_record(toy)["held"], on_record(toy)["failure"]) == (0, "CheckError")
    assert "ann" not in (toy.folder / "yaml" / "checks.jsonl").read_text(encoding="utf-8")


def test_the_list_and_the_table_say_what_came_of_a_check_last_and_whether_the_figures_are_still_those(
    toy: Toy, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.run("--list")
    assert "last run: not on record" in capsys.readouterr().out
    toy.run("--record")
    capsys.readouterr()
    toy.run("--list")
    assert "2 of 2 held\n" in capsys.readouterr().out
    page = "<!-- results: checks last -->\n<!-- /results -->\n"
    assert "| toy | all | " in (table := script("results_tables").fill(page, toy.folder / "yaml"))
    assert "| 2 of 2 held |" in table
    toy.write(TOY | {"notes": "other words", "date": "2026-11-23"})
    assert script("results_tables").fill(page, toy.folder / "yaml") == table
    toy.write(TOY | {"metrics": TOY["metrics"] | {"speed": {"value": 8, "ci95": None}}})  # type: ignore[operator]
    assert "| 2 of 2 held, of other figures than the file has now |" in script("results_tables").fill(page, toy.folder / "yaml")


def test_a_line_of_the_record_that_is_none_is_refused_and_one_of_a_check_that_is_gone_goes(toy: Toy, script: Script) -> None:
    record = toy.folder / "yaml" / "checks.jsonl"
    toy.run("--record")
    gone = record.read_text(encoding="utf-8").replace('"check": "all"', '"check": "gone"')
    record.write_text(record.read_text(encoding="utf-8") + gone, encoding="utf-8")
    toy.run("--record")
    assert on_record(toy)["check"] == "all"
    record.write_text('{"file": "toy"}\n', encoding="utf-8")
    with pytest.raises(script("results_record").FormatError, match="none of a check"):
        script("results_record").read_record(toy.folder / "yaml")


def test_a_damaged_record_is_said_in_one_line_before_any_check_is_run(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    (toy.folder / "yaml" / "checks.jsonl").write_text('{"file": 3\n', encoding="utf-8")
    assert (toy.run("--record"), toy.run("--list"), toy.runs) == (2, 2, 0)
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert "checks.jsonl: a line is none of a check" in first


def test_what_is_on_record_is_of_checks_that_there_are(script: Script) -> None:
    known = {(file, check.name) for file, entry in script("results_checks").CHECKS.items() for check in entry.checks}
    rows = script("results_record").read_record(RESULTS)
    assert rows
    assert rows.keys() <= known


def test_an_altered_figure_ends_with_status_1_and_is_named(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.write(TOY | {"metrics": TOY["metrics"] | {"score": {"value": 0.6, "ci95": [0.25, 0.75], "n": 4}}})  # type: ignore[operator]
    assert toy.run() == 1
    assert "toy: 0.6 is now 0.5  (score)" in capsys.readouterr().out


def test_a_check_that_fails_holds_nothing_and_is_tried_again(toy: Toy, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    good = toy.found

    def broken() -> dict[str, Any]:
        raise script("results_checks").CheckError("it ended with 2")

    toy.found = broken
    assert toy.run() == 1
    assert "the check failed: CheckError: it ended with 2  (score and 1 more)" in capsys.readouterr().out
    toy.found = good
    assert toy.run() == 0
    assert toy.runs == 2


def test_a_figure_that_the_command_no_longer_prints_has_moved(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.found = lambda: {"seconds": toy.figures.Figure(3.0)}
    assert toy.run() == 1
    assert "toy: it is no longer there  (score)" in capsys.readouterr().out


def test_a_check_that_ended_is_not_run_again_until_file_or_code_change(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.run() == toy.run() == 0
    assert toy.runs == 1
    toy.write(TOY | {"date": "2026-11-23"})
    toy.run()
    assert toy.runs == 2
    toy.run("--again")
    assert toy.runs == 3
    monkeypatch.setattr(toy.results, "code_digest", lambda: "other code")
    toy.run()
    assert toy.runs == 4


def test_a_remembered_check_is_judged_against_the_file_at_hand(toy: Toy) -> None:
    """Remembered is what was found, not that it held."""
    toy.run()
    kept = next((toy.folder / "out" / "results" / "toy").glob("*.json"))
    content = json.loads(kept.read_text(encoding="utf-8"))
    content["figures"]["score"]["value"] = 0.75
    kept.write_text(json.dumps(content), encoding="utf-8")
    assert toy.run() == 1
    assert toy.runs == 1


@pytest.mark.parametrize(
    ("changed", "flags", "why"),
    [
        ({"kind": "rerun"}, ["--quick"], "left out by --quick"),
        ({}, ["--minutes", "4"], "longer than what is left of --minutes"),
        ({"needs": ("shared",)}, ["--data", "nowhere"], "needs corpora and predictions: give --data"),
    ],
)
def test_what_is_not_run_is_listed_and_never_called_held(
    toy: Toy, changed: dict[str, Any], flags: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.entry(**changed)
    assert toy.run(*flags) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[1].split() == ["toy", "3", "0", "0", "3"]
    assert why in said
    assert toy.runs == 0


def test_a_file_without_an_entry_is_not_checked_at_all(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.monkeypatch.delitem(toy.checks.CHECKS, "toy")
    assert toy.run() == 0
    assert "nothing covers it  (score and 2 more)" in capsys.readouterr().out


def test_an_interrupted_run_ends_with_130_and_keeps_what_was_done(toy: Toy) -> None:
    second = replace(toy.checks.CHECKS["toy"].checks[0], name="slow", covers=("seconds",), minutes=9)

    def stopped(_place: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    first = replace(toy.checks.CHECKS["toy"].checks[0], covers=("score",))
    toy.monkeypatch.setitem(toy.checks.CHECKS, "toy", toy.checks.Entry((replace(second, remake=stopped), first)))
    assert toy.run() == 130
    assert toy.run() == 130
    assert toy.runs == 1


def test_where_two_checks_cover_a_figure_one_that_moved_decides(script: Script) -> None:
    results = script("results")
    verdicts = [
        results.Verdict("f", "a", "held"),
        results.Verdict("f", "a", "moved", "x"),
        results.Verdict("f", "b", "moved"),
        results.Verdict("f", "b", "held"),
    ]
    assert {verdict.path: verdict.outcome for verdict in results.settled(verdicts)} == {"a": "moved", "b": "moved"}


def test_an_unknown_name_is_refused_with_the_names_there_are(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        toy.run("tyo")
    assert ended.value.code == 2
    assert "there are toy" in capsys.readouterr().err


def test_the_list_names_every_file_every_tolerance_and_every_shortfall(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert script("results").main(["--list"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if not line.startswith(" ")] == FILES
    assert "shortfall *: jobs under a SLURM cluster" in said


@pytest.mark.slow
def test_the_limits_of_a_gpu_are_made_again_and_an_altered_one_fails(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real check of a real file, end to end."""
    (tmp_path / "yaml").mkdir()
    shutil.copy(RESULTS / "gpu_decode.yaml", tmp_path / "yaml")
    flags = ["--results", str(tmp_path / "yaml"), "--out", str(tmp_path / "out"), "--quick"]
    assert script("results").main(flags) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["gpu_decode", "16", "16", "0", "0"]
    path = tmp_path / "yaml" / "gpu_decode.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace('["60", 1, 60.0, 8, 1048]', '["60", 1, 60.0, 8, 1049]'), encoding="utf-8")
    assert script("results").main(flags) == 1
    assert "gpu_decode: 1049 is now 1048" in capsys.readouterr().out


def test_the_command_of_a_results_file_is_run_without_its_places(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("command: OMP_NUM_THREADS=1 python scripts/x.py --data ../d --steps 3 --results r.yaml --mix 1:1 --output o", encoding="utf-8")
    assert script("results_rescore").command_of(path) == ["scripts/x.py", "--steps", "3", "--mix", "1:1"]


def test_a_command_that_fails_says_how_it_ended(script: Script, tmp_path: Path) -> None:
    checks = script("results_checks")
    place = checks.Workplace(tmp_path, tmp_path, checks.Places(tmp_path, tmp_path, tmp_path), tmp_path, tmp_path)
    with pytest.raises(checks.CheckError, match="ended with 3: no such thing"):
        place.run("-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)")
    assert place.json("-c", "import os; print('working'); print('{\"a\": ' + os.environ['OMP_NUM_THREADS'] + '}')", threads=2) == {"a": 2}


@pytest.mark.skipif(not (SHARED / "predictions").is_dir(), reason=f"needs {SHARED}/predictions")
def test_published_figures_are_those_known_beforehand(script: Script) -> None:
    published = script("published")
    metrics = yaml.safe_load((RESULTS / "published.yaml").read_text(encoding="utf-8"))["metrics"]
    expected = json.loads((SHARED / "predictions" / "expected.json").read_text(encoding="utf-8"))
    belb = json.loads((SHARED / "predictions" / "belb_expected.json").read_text(encoding="utf-8"))
    assert list(published.table_problems(metrics, expected)) == []
    assert published.belb_problems(metrics["belb"], belb) == []
    # And the comparison can fail.
    expected["systems"]["EMEA/with"]["recall"] += 0.001
    belb["ncbi_disease"]["systems"]["belhd"]["strict"] += 1
    assert len(list(published.table_problems(metrics, expected))) == 1
    assert len(published.belb_problems(metrics["belb"], belb)) == 1


@pytest.mark.skipif(not (SHARED / "corpora" / "spaccc").is_dir(), reason=f"needs {SHARED}/corpora/spaccc")
def test_a_dictionary_of_training_mentions_scores_39_on_spaccc(script: Script) -> None:
    found = script("published").spaccc_dictionary(SHARED / "corpora" / "spaccc")
    assert found["same_string"]["value"] == pytest.approx(0.393, abs=5e-4)
    assert found["same_string"]["n"] == 9108


def test_tables_of_the_pages_are_what_the_results_files_say(script: Script) -> None:
    tables = script("results_tables")
    pages = {page: page.read_text(encoding="utf-8") for page in tables.PAGES}
    assert sum(len(tables.MARKED.findall(text)) for text in pages.values()) >= 2
    stale = [str(page.relative_to(ROOT)) for page, text in pages.items() if tables.fill(text, RESULTS) != text]
    assert stale == [], "run `python scripts/results.py --tables`"
    for mark in ("\n<!-- results:", "\n<!-- /results -->"):
        assert all(text.count(mark) == len(tables.MARKED.findall(text)) for text in pages.values())


def test_a_table_follows_its_results_file(script: Script, tmp_path: Path) -> None:
    tables = script("results_tables")
    content = (RESULTS / "quickstart.yaml").read_text(encoding="utf-8")
    (tmp_path / "quickstart.yaml").write_text(content.replace("value: 0.954", "value: 0.999"), encoding="utf-8")
    page = "before\n<!-- results: quickstart recall -->\n| old |\n<!-- /results -->\nafter\n"
    assert "| constrained | **0.999** |" in tables.fill(page, tmp_path)
    assert tables.fill(page, tmp_path).startswith("before\n<!-- results")
    with pytest.raises(script("results_tables").ConfigError, match="no table 'recal' is made of quickstart"):
        tables.fill(page.replace("recall", "recal"), tmp_path)
