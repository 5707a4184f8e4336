"""What lies beside the page, what is refused, and what is inside the page before a browser sees it."""

import base64
import csv
import doctest
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import syncabel.report.figures
import syncabel.report.page
from syncabel.cli.app import app
from syncabel.errors import ConfigError, IncompleteFolderError
from syncabel.evaluate.compare import compare_systems
from syncabel.report import read_material, write_report
from syncabel.report.figures import cells_of, confusion_of, hierarchy_rows, in_words, ledgers_of, strata_rows
from syncabel.report.page import data_json, size_in_words
from syncabel.report.tables import TABLES


@pytest.fixture(scope="module")
def runs(make_run: Callable[..., Any]) -> tuple[Any, Any]:
    first = make_run("first", mentions=120)
    make_run("dictionary", mentions=120, skill=0.4, surely=False, into=first.folder / "baselines" / "dictionary")
    return first, make_run("second", mentions=120, skill=0.75)


@pytest.fixture(scope="module")
def written(runs: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([made.folder for made in runs], tmp_path_factory.mktemp("written") / "report.html").page


def rows(page: Path, name: str) -> list[dict[str, str]]:
    with (page.with_name(f"{page.stem}_tables") / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_headline_has_every_system_and_its_paired_test(written: Path, runs: tuple[Any, Any]) -> None:
    found = rows(written, "headline")
    assert [(row["system"], row["kind"]) for row in found] == [("first", "run"), ("second", "run"), ("dictionary", "baseline")]
    systems = {name: [item for item in made.mentions if item.scores] for name, made in zip(("first", "second"), runs, strict=True)}
    scores = {name: [item.scores["set"] for item in items] for name, items in systems.items()}
    pair = compare_systems([item.document_id for item in systems["first"]], scores, reference="first").pairs[0].difference
    assert float(found[1]["delta"]) == pair.delta
    assert float(found[1]["p_sign_flip"]) == pair.p_sign_flip
    assert found[0]["delta"] == ""
    assert float(found[1]["p_holm"]) >= pair.p_sign_flip


def test_the_misses_are_all_there_with_their_cause(written: Path, runs: tuple[Any, Any]) -> None:
    texts = {item.mention_id: f"'{item.text}" if item.text[0] in "=@" else item.text for item in runs[0].mentions}
    expected = [(item.document_id, item.mention_id, texts[item.mention_id], item.cause) for item in runs[0].mentions if item.scores.get("set") == 0]
    found = [(row["document_id"], row["mention_id"], row["text"], row["cause"]) for row in rows(written, "misses") if row["system"] == "first"]
    assert found == expected


def test_the_ledger_sums_to_what_is_missing_in_every_stratum(written: Path) -> None:
    recall = {(row["system"], row["stratum"], row["value"]): row["recall_at_1"] for row in rows(written, "strata")}
    costs = Counter[tuple[str, str, str]]()
    for row in rows(written, "ledger"):
        costs[row["system"], row["stratum"], row["value"]] += float(row["share"])  # type: ignore[assignment]
    assert all(costs[key] == pytest.approx(1 - float(value)) for key, value in recall.items() if value)


def test_an_empty_stratum_is_shown_with_n_0_and_no_number(written: Path) -> None:
    empty = next(row for row in rows(written, "strata") if row["value"] == "composite")
    assert (empty["n"], empty["recall_at_1"], empty["low"]) == ("0", "", "")
    assert "| composite: composite | – | – | 0 |" in written.with_suffix(".md").read_text(encoding="utf-8")
    assert "NaN" not in written.read_text(encoding="utf-8")


def test_changes_between_runs_are_listed(written: Path, runs: tuple[Any, Any]) -> None:
    pairs = list(zip(*(made.mentions for made in runs), strict=True))
    fixed = {(a.document_id, a.mention_id) for a, b in pairs if (a.scores.get("set"), b.scores.get("set")) == (0, 1)}
    assert {(row["document_id"], row["mention_id"]) for row in rows(written, "changes") if row["change"] == "fixed"} == fixed


def test_changes_of_every_pair_of_runs_are_counted_from_the_earlier_to_the_later(make_run: Callable[..., Any], runs: tuple[Any, Any], tmp_path: Path) -> None:
    made = [*runs, make_run("third", mentions=120, skill=0.9)]
    text = write_report([one.folder for one in made], tmp_path / "report.html").markdown.read_text(encoding="utf-8")
    right = [[item.scores["set"] for item in one.mentions if item.scores] for one in made]
    for (before, after), (a, b) in zip(((0, 1), (0, 2), (1, 2)), (("first", "second"), ("first", "third"), ("second", "third")), strict=True):
        pairs = Counter(zip(right[before], right[after], strict=True))
        better, worse = pairs[0.0, 1.0], pairs[1.0, 0.0]
        assert better > worse > 0
        assert f"| {a} | {b} | {better} | {worse} | +{(better - worse) / len(right[0]):.3f} |" in text


def test_every_table_has_its_header_and_the_help_names_it(written: Path) -> None:
    for path in (written.with_name(f"{written.stem}_tables")).iterdir():
        with path.open(encoding="utf-8", newline="") as handle:
            assert tuple(next(csv.reader(handle))) == TABLES[path.stem]
    assert {path.stem for path in (written.with_name(f"{written.stem}_tables")).iterdir()} == set(TABLES)


def test_markdown_has_the_figures_and_no_text_of_the_corpus(written: Path, runs: tuple[Any, Any]) -> None:
    text = written.with_suffix(".md").read_text(encoding="utf-8")
    assert "| second | run |" in text
    assert not [item.text for item in runs[0].mentions if item.text in text]


def test_without_text_no_file_holds_any(runs: tuple[Any, Any], tmp_path: Path) -> None:
    page = write_report([made.folder for made in runs], tmp_path / "report.html", text=False).page
    everything = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    texts = [item.text for item in runs[0].mentions[9:]] + [row["text"] for row in runs[0].sentences]
    assert not [text for text in texts if text in everything or json.dumps(text, ensure_ascii=False)[1:-1] in everything]
    assert all(row["text"] == "" for row in rows(page, "misses"))


def test_without_text_a_training_mention_that_retrieval_named_is_left_out(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run("tfidf", mentions=40, sentences=False, into=tmp_path / "run")
    make_run("tfidf", mentions=40, skill=0.4, sentences=False, into=tmp_path / "run" / "baselines" / "bm25")
    for path in (made.folder / "mentions.jsonl", made.folder / "baselines" / "bm25" / "mentions.jsonl"):
        path.write_text(re.sub(r'"name": "disorder number', '"name": "Mrs Doe\'s gout, disorder number', path.read_text(encoding="utf-8")), encoding="utf-8")
    for text, holds in ((True, True), (False, False)):
        page = write_report([made.folder], tmp_path / str(text) / "report.html", text=text).page
        assert ["Mrs Doe" in path.read_text(encoding="utf-8") for path in (page, page.with_name(f"{page.stem}_tables") / "misses.csv")] == [holds, holds]
    assert all(row["answered_name"].startswith("disorder number") for row in rows(page, "misses") if row["answered"])


def test_of_paths_in_command_and_recipe_only_the_last_part_is_shown_and_digests_whole(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made, digest = make_run("mine", mentions=20), "0cc04cbc" * 8
    change(made.folder, "command", ["syncabel", "evaluate", "/home/ann/ward 7/dev.jsonl", "ward 7/mine.jsonl", "--kb=C:\\Users\\ann\\kb"])
    config = {"output_dir": "/home/ann/run", "lexicon": "ward 7/lexicon", "eval_files": ["../ann/x.jsonl"], "learning_rate": 0.1}
    recipe = {"config": config, "digests": {"lexicon": digest}, "model": {"base": "ORG/NAME"}, "started by": "python /home/ann/train.py --kb=/home/ann/kb"}
    change(made.folder, "recipe", recipe)
    page = write_report([made.folder], tmp_path / "report.html").page
    for file in (page, page.with_suffix(".md")):
        said = file.read_text(encoding="utf-8")
        assert not [word for word in ("/home", "ward 7", "Users", "ann/") if word in said]
        assert "…/dev.jsonl" in said
        assert "…/mine.jsonl" in said
    data = page.read_text(encoding="utf-8")
    assert not [word for word in ("…/run", "…/lexicon", "…/x.jsonl", digest, "ORG/NAME", "python …/train.py --kb=…/kb") if word not in data]


def test_answers_for_mentions_outside_the_knowledge_base_are_named_beside_the_confidence(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run("given", mentions=200)
    path = made.folder / "evaluation.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found["report"]["confidence"]["nil"] = 1234
    path.write_text(json.dumps(found), encoding="utf-8")
    told = write_report([made.folder], tmp_path / "report.html")
    assert "Of these answers 1,234 are of mentions that are not in the knowledge base" in told.markdown.read_text(encoding="utf-8")
    assert '"nil":1234' in told.page.read_text(encoding="utf-8").replace(" ", "")


def test_no_text_becomes_a_formula_in_a_spreadsheet(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run("@SUM(1)", mentions=60, skill=-1, into=tmp_path / "run")
    page = write_report([made.folder, make_run("other", mentions=60).folder], tmp_path / "report.html").page
    texts = {item.mention_id: item.text for item in made.mentions}
    found = {row["mention_id"]: row["text"] for row in rows(page, "misses") if row["system"] == "'@SUM(1)"}
    assert texts["T6"] == "=1+1|pipe"
    assert found["T6"] == "'=1+1|pipe"
    assert all(found[key] == texts[key] for key in found if texts[key][0] not in "=@")
    for path in (page.with_name(f"{page.stem}_tables")).iterdir():
        cells = [cell for row in rows(page, path.stem) for cell in row.values() if cell.startswith(tuple("=+-@\t\r"))]
        assert all(re.fullmatch(r"-[0-9.e-]+", cell) for cell in cells)  # numbers below 0 stay numbers


def test_markdown_makes_no_markup_of_names(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = make_run("![a](http://host.test/b) `c` <b>|d", mentions=20, sentences=False, into=tmp_path / "run")
    change(made.folder, "command", ["syncabel", "`![a](http://host.test/b)"])
    text = write_report([made.folder], tmp_path / "report.html").markdown.read_text(encoding="utf-8")
    assert "# Evaluation of !\\[a\\](http://host.test/b) \\`c\\` &lt;b>\\|d" in text
    assert "- command: `syncabel ''![a](http://host.test/b)'`" in text
    assert "![a]" not in text.replace("`syncabel ''![a]", "")


def change(folder: Path, name: str, value: Any) -> None:
    path = folder / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), name: value}), encoding="utf-8")


def test_the_page_is_the_same_every_time(written: Path, runs: tuple[Any, Any], tmp_path: Path) -> None:
    again = write_report([made.folder for made in runs], tmp_path / "report.html").page
    assert again.read_bytes() == written.read_bytes()


def test_the_page_names_no_host_and_lets_nothing_else_run(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    head, program = page.split('<script type="application/json" id="data">')[0], page.rsplit("<script>", 1)[1].split("</script>")[0]
    assert "default-src 'none'" in head
    assert f"'sha256-{base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()}'" in head
    assert set(re.findall(r"https?://[^\s\"')]+", head + program)) == {"http://www.w3.org/2000/svg"}  # the name of a namespace
    assert page.count("<script") == 2
    assert not re.search(r"@(DATA|STYLE|SCRIPT|SIZE|TITLE)\w*@", head + program)


@given(st.dictionaries(st.text(), st.text() | st.sampled_from(["</script>", "<!--", "<script", "]]>", "\u2028"])))
def test_data_are_json_that_can_end_no_script(data: dict[str, str]) -> None:
    text = data_json(data)
    assert json.loads(text) == data
    assert not set("<>&\u2028\u2029") & set(text)


def test_cells_are_counted_over_both_sides(runs: tuple[Any, Any]) -> None:
    system = read_material([runs[0].folder]).first
    cells = {(cell.kind, cell.value): cell for cell in cells_of(system) or ()}
    items = [item for item in runs[0].mentions if item.scores]
    for (concept, string), cell in cells.items():
        own = [item for item in items if (item.strata["concept"], item.strata["string"]) == (concept, string)]
        assert (cell.n, cell.correct) == (len(own), sum(item.scores["set"] == 1 for item in own))
        assert cell.recall_at_1 is not None
        assert cell.ci95 is not None
        assert cell.ci95[0] <= cell.recall_at_1 <= cell.ci95[1]
    assert sum(cell.n for cell in cells.values()) == len(items)


def test_confusion_and_hierarchy_count_every_mention_once(runs: tuple[Any, Any]) -> None:
    system = read_material([runs[0].folder]).first
    items = [item for item in runs[0].mentions if item.scores]
    confusion = confusion_of(system)
    assert confusion is not None
    assert sum(map(sum, confusion.counts)) == len(items)
    assert {gold: sum(row) for gold, row in zip(confusion.gold, confusion.counts, strict=True)} == Counter(item.type for item in items)
    assert {row.relation: row.n for row in hierarchy_rows(system)} == Counter(item.hierarchy for item in items if item.hierarchy)
    assert hierarchy_rows(system)[0].relation == "ancestor:1"
    assert in_words("ancestor:1") == "too narrow, by 1 step"


def test_ledgers_leave_empty_strata_out(runs: tuple[Any, Any]) -> None:
    system = read_material([runs[0].folder]).first
    assert len(ledgers_of(system)) == sum(row.n > 0 for row in strata_rows(system))


def test_systems_scored_on_other_mentions_are_refused_with_the_difference(make_run: Callable[..., Any], runs: tuple[Any, Any], tmp_path: Path) -> None:
    more = make_run("more", mentions=121)
    with pytest.raises(ConfigError, match=r"1 only in more \(doc0:T120\)"):
        write_report([runs[0].folder, more.folder], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_systems_with_other_gold_answers_are_refused(make_run: Callable[..., Any], runs: tuple[Any, Any]) -> None:
    other = make_run("other", mentions=120)
    path = other.folder / "mentions.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"gold": [["C', '"gold": [["D', 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"1 mentions have other gold answers in other than in first, e\.g\. doc0:T0"):
        read_material([runs[0].folder, other.folder])


def test_other_protocols_are_refused(make_run: Callable[..., Any], runs: tuple[Any, Any]) -> None:
    other = make_run("lenient", mentions=120)
    path = other.folder / "evaluation.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"protocol": "set"', '"protocol": "any"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="'any', first under 'set'"):
        read_material([runs[0].folder, other.folder])


def test_mentions_in_another_order_are_put_side_by_side(make_run: Callable[..., Any], runs: tuple[Any, Any]) -> None:
    other = make_run("turned", mentions=120)
    path = other.folder / "mentions.jsonl"
    path.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    first, turned = read_material([runs[0].folder, other.folder]).runs
    assert [item.mention_id for item in first.run.mentions] == [item.mention_id for item in turned.run.mentions]


def test_systems_of_one_name_are_told_apart_and_twins_of_baselines_come_once(make_run: Callable[..., Any], tmp_path: Path) -> None:
    for place in ("a", "b"):
        make_run("model", mentions=40, into=tmp_path / place)
        make_run("dictionary", mentions=40, skill=0.4, into=tmp_path / place / "baselines" / "dictionary")
    assert [system.name for system in read_material([tmp_path / "a", tmp_path / "b"]).systems] == ["model", "model (b)", "dictionary"]


def test_a_folder_of_several_systems_is_all_of_them(make_run: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(name, mentions=40, into=tmp_path / "run" / name)
    make_run("tfidf", mentions=40, skill=0.4, into=tmp_path / "run" / "baselines" / "tfidf")
    material = read_material([tmp_path / "run"])
    assert [(system.name, system.kind) for system in material.systems] == [("one", "run"), ("two", "run"), ("tfidf", "baseline")]


def test_no_evaluation_and_no_page_are_refused(runs: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(IncompleteFolderError, match=r"evaluation\.json"):
        write_report([tmp_path], tmp_path / "report.html")
    with pytest.raises(ConfigError, match=r"does not end in \.html"):
        write_report([runs[0].folder], tmp_path / "report.pdf")


def test_reports_beside_one_another_keep_their_own_tables(runs: tuple[Any, Any], tmp_path: Path) -> None:
    one = write_report([made.folder for made in runs], tmp_path / "both.html")
    before = {path: path.read_bytes() for path in one.tables}
    two = write_report([runs[0].folder], tmp_path / "first.html")
    assert {path: path.read_bytes() for path in one.tables} == before
    assert not set(one.tables) & set(two.tables)


def test_a_stale_table_does_not_outlive_its_figures(make_run: Callable[..., Any], runs: tuple[Any, Any], tmp_path: Path) -> None:
    write_report([made.folder for made in runs], tmp_path / "report.html")
    write_report([make_run("unsure", mentions=40, surely=False).folder], tmp_path / "report.html")
    assert not {"changes.csv", "reliability.csv", "confidence.csv"} & {path.name for path in (tmp_path / "report_tables").iterdir()}


def test_the_command_says_what_it_wrote(runs: tuple[Any, Any], tmp_path: Path) -> None:
    page = tmp_path / "out" / "report.html"
    done = CliRunner().invoke(app, ["report", str(runs[0].folder), "-o", str(page), "--no-text"], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"{size_in_words(page.stat().st_size)}, 120 mentions; holds no text of the corpus" in done.output
    assert page.with_suffix(".md").exists()


@pytest.mark.parametrize("module", [syncabel.report.figures, syncabel.report.page], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
