"""The grid of scripts/evidence.py on a set of seconds: what leaks is taken out, arms are held to the same budget, what is done stays done."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from evidence_documents import SECONDS, document
from hypothesis import given
from hypothesis import strategies as st

from data_gen import TemplateWriter
from data_gen import run as generate
from syncabel.kb import KnowledgeBase
from syncabel.types import Document

SMALL = {**SECONDS, "tolerance": 0.25}
ABSTRACT = "A family of nine was seen with multiple sclerosis in the north of the country; two of the brothers had angina and were treated at home for years."


def test_documents_that_are_also_in_dev_or_test_are_taken_out_and_counted(script: Callable[[str], ModuleType]) -> None:
    sets = script("evidence_sets")
    dev, test = document("1", "Something else was found in the dog."), document("2", ABSTRACT)
    same_id = document("1", "The same article, from another file and with other words in it.")
    edited = document("77", ABSTRACT.replace("nine", "ten").replace("; two", " - two").upper())
    stays = document("78", "A family of nine had a mitral stenosis, and nobody was treated at home for more than a week.")
    kept, removed = sets.without_overlap([stays, same_id, edited], [dev, test])
    assert kept == [stays]
    assert removed == sets.Overlapping(same_id=1, same_text=1)


def test_texts_that_share_little_more_than_a_phrase_both_stay(script: Callable[[str], ModuleType]) -> None:
    other = document("3", "Twelve dogs were treated at home for years, and none of them was ever seen by a doctor or a nurse in this or in any other town.")
    kept, removed = script("evidence_sets").without_overlap([other], [document("2", ABSTRACT)])
    assert kept == [other]
    assert (removed.same_id, removed.same_text) == (0, 0)


def test_other_corpora_teach_only_concepts_that_the_fit_does_not_have(script: Callable[[str], ModuleType], small_kb: KnowledgeBase) -> None:
    both = document("5", "angina and the common cold", ("angina", "A:3"), ("common cold", "A:5"))
    alternative, strange = document("6", "disseminated sclerosis", ("sclerosis", "A:100")), document("7", "a headache", ("headache", "X:9"))
    found = script("evidence_sets").for_absent_concepts([both, alternative, strange], small_kb, {"A:3"}, small_kb.canonical)
    assert [(one.id, mention.text, mention.answers) for one in found for mention in one.mentions] == [
        ("5", "common cold", (("A:5",),)),
        ("6", "sclerosis", (("A:1",),)),
    ]


def ledger(cells: ModuleType, steps: int, loss_tokens: int) -> Any:
    return cells.Ledger(steps, loss_tokens, {}, 4, 0.0)


def test_arms_of_other_steps_or_loss_tokens_are_not_compared(script: Callable[[str], ModuleType]) -> None:
    cells = script("evidence_cells")
    human = ledger(cells, 100, 10_000)
    assert cells.unequal({"human": human, "human+names": ledger(cells, 100, 10_199)}) == []
    assert cells.unequal({"human": human, "human+names": ledger(cells, 99, 10_000)}) == ["human+names: 99 optimizer steps, human 100"]
    assert cells.unequal({"human": human, "x": human, "human+others": ledger(cells, 100, 9_700)}) == ["human+others: 9,700 loss tokens, human 10,000"]


@given(st.floats(2, 30), st.floats(2, 30), st.integers(16, 64))
def test_a_batch_of_two_sources_has_the_loss_tokens_of_a_batch_of_one(script: Callable[[str], ModuleType], human: float, other: float, batch: int) -> None:
    examples = script("evidence_cells").batch_for(human, other, batch)
    a_token = 0.5 / human + 0.5 / other  # examples for one loss token of the mix
    assert examples / a_token == pytest.approx(human * batch, abs=0.5 / a_token + 1e-6)


@pytest.fixture
def grid(script: Callable[[str], ModuleType], toy_set: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the command on a set of a few sentences in which A:1 and A:3 have human documents; gives the results file."""
    evidence = script("evidence")
    results = tmp_path / "evidence.yaml"

    def run(*more: str, status: int = 0) -> dict[str, Any]:
        where = ["--sets", toy_set, "--arms", "human,human+template,human+others", "--output", str(tmp_path / "out"), "--results", str(results)]
        assert evidence.main([*where, *(part for name, value in SMALL.items() for part in (f"--{name}", str(value))), *more]) == status
        content = yaml.safe_load(results.read_text(encoding="utf-8")) if results.exists() else {}
        assert isinstance(content, dict)
        return content

    return run


def cells_written(tmp_path: Path) -> dict[str, int]:
    return {str(path.parent.relative_to(tmp_path / "out")): path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("cell.json")}


@pytest.mark.slow
def test_a_grid_goes_on_where_it_was_left_and_writes_what_it_measured(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    first = grid("--seeds", "0")
    before = cells_written(tmp_path)
    assert set(before) == {"toy/human/seed-0", "toy/human+template/seed-0"}
    check_form(first)

    # A cell without its cell.json is one that was killed on the way.
    (tmp_path / "out/toy/human/seed-0/cell.json").unlink()
    predictions = (tmp_path / "out/toy/human/seed-0/constrained.jsonl").read_bytes()
    again = grid("--seeds", "0")
    after = cells_written(tmp_path)
    assert [name for name in after if after[name] != before.get(name)] == ["toy/human/seed-0"]
    assert (tmp_path / "out/toy/human/seed-0/constrained.jsonl").read_bytes() == predictions
    assert again["metrics"] == first["metrics"]

    # Other settings are another grid: nothing of the first is passed off as its own.
    other = grid("--seeds", "0", "--steps", "4", "--report-only")
    assert not any("/human" in name.rsplit("/", 1)[0] for name in other["metrics"])


def check_form(content: dict[str, Any]) -> None:
    assert {"name", "date", "command", "config", "digests", "hardware", "seeds", "n", "metrics", "baselines", "notes"} <= set(content)
    assert content["n"] == {"toy": 5}
    assert content["variant"].startswith("CPU variant")
    assert content["not_run"] == {
        "toy/human+names": "not asked for (--arms)",
        "toy/human+template_preferred": "not asked for (--arms)",
        "toy/human+template_matched": "no writer was at hand (--written)",
        "toy/human+template_mentions": "no writer was at hand (--written)",
        "toy/human+written": "no writer was at hand (--written)",
        "toy/human+others": "no other corpus annotates concepts of this set that its training documents do not have",
    }
    assert "toy/with_tfidf_long_forms/all" in content["baselines"]
    for figure in (*content["metrics"].values(), *content["baselines"].values()):
        low, high = figure["ci95"]
        assert 0 <= low <= figure["value"] <= high <= 1
    assert {f"toy/{arm}/{mode}/all" for arm in ("human", "human+template") for mode in ("constrained", "free")} <= set(content["metrics"])
    assert content["metrics"]["toy/human/constrained/human"]["n"] == 1
    steps = {name: given["steps"] for name, given in content["ledger"].items()}
    assert steps == {"toy/human/seed-0": 3, "toy/human+template/seed-0": 3}
    assert set(content["ledger"]["toy/human+template/seed-0"]["sources"]) == {"human", "synthetic"}
    assert 0 < content["tests"]["toy/human+template - human/constrained/all"]["p"] <= 1


@pytest.mark.slow
def test_the_predictions_of_a_cell_can_be_counted_again_without_training(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = grid("--seeds", "0", "--arms", "human")
    folder = tmp_path / "out/toy/human/seed-0"
    scores = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    predictions = [json.loads(line) for line in (folder / "constrained.jsonl").read_text().splitlines()]
    assert [row["document"] for row in scores] == [row["document_id"] for row in predictions] == ["t1", "t1", "t2", "t2", "t2"]
    assert content["metrics"]["toy/human/constrained/all"]["value"] == pytest.approx(sum(row["constrained"] for row in scores) / 5)
    assert not (folder / "model").exists()


@pytest.mark.slow
def test_a_file_is_extended_by_a_set_and_keeps_what_it_says_of_the_others(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    results = tmp_path / "evidence.yaml"
    measured = grid("--seeds", "0", "--arms", "human")
    parts = ("n", "strata", "sets", "floors", "others_removed", "not_run", "metrics", "baselines", "tests", "ledger", "misses")
    # The same figures as those of another set, by another command and commit.
    text = results.read_text(encoding="utf-8").replace("toy", "other")
    before = {**yaml.safe_load(text), "command": "python scripts/evidence.py --sets other", "commit": "0123abc"}
    results.write_text(yaml.safe_dump(before, sort_keys=False), encoding="utf-8")

    after = grid("--seeds", "0", "--arms", "human", "--extend")
    assert after["command"]["other"] == "python scripts/evidence.py --sets other"
    assert after["commit"]["other"] == "0123abc"
    assert after["command"].keys() == after["commit"].keys() == {"other", "toy"}
    for part in parts:
        assert after[part] == {**before[part], **measured[part]}
    assert after["digests"]["cells"] == {**before["digests"]["cells"], **measured["digests"]["cells"]}

    # Once more: what is asked for is put in the place of what was there, nothing is doubled.
    assert grid("--seeds", "0", "--arms", "human", "--extend") == after


@pytest.mark.slow
def test_a_file_of_another_grid_is_not_extended(grid: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> str:
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("evidence: ")
        return line

    grid("--seeds", "0", "--arms", "human", "--extend", status=2)
    assert "is not there to be extended" in said()
    (tmp_path / "evidence.yaml").write_text("name: x\nmetrics: {}\n", encoding="utf-8")
    grid("--seeds", "0", "--arms", "human", "--extend", status=2)
    assert "is no results file of this grid: it has no baselines" in said()
    (tmp_path / "evidence.yaml").unlink()

    content = grid("--seeds", "0", "--arms", "human")
    grid("--seeds", "1", "--steps", "4", "--arms", "human", "--extend", status=2)
    assert "its config, seeds differ from this grid's" in said()
    (tmp_path / "evidence.yaml").write_text(yaml.safe_dump({**content, "hardware": "64 × aarch64 CPU, one thread"}), encoding="utf-8")
    grid("--seeds", "0", "--arms", "human", "--extend", status=2)
    assert "its hardware differ" in said()


@pytest.mark.parametrize(("option", "value"), [("--sets", "hpo,ncbi"), ("--arms", "humn")])
def test_an_unknown_set_or_arm_is_one_line_with_the_known_ones(script: Callable[[str], ModuleType], option: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        script("evidence").main([option, value])
    assert f"{value.split(',')[-1]} is none of " in capsys.readouterr().err.splitlines()[-1]


def test_the_concepts_of_the_plan_are_written_for_a_writer(grid: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = grid("--seeds", "0", "--report-only")
    codes = (tmp_path / "out/toy/codes.txt").read_text(encoding="utf-8").split()
    assert len(codes) == len(set(codes)) == content["strata"]["toy"]["planned_concepts"]
    assert not set(codes) & {"A:1", "A:3"}  # these have human documents


def test_template_sentences_are_matched_to_those_of_the_writer_concept_by_concept(script: Callable[[str], ModuleType], small_kb: KnowledgeBase) -> None:
    def of(*codes: str) -> list[Document]:
        return [document(f"{code}-{i}", "a b", ("b", code)) for i, code in enumerate(codes)]

    template, written = of("A:1", "A:1", "A:1", "A:2", "A:3", "A:3"), of("A:1", "A:3", "A:3", "A:3", "A:1")
    assert [found.id for found in script("evidence_cells").as_many(template, written, small_kb)] == ["A:1-0", "A:1-1", "A:3-4", "A:3-5"]


def test_template_sentences_about_a_writer_s_mentions_differ_from_its_own_in_wording_alone(
    script: Callable[[str], ModuleType], small_kb: KnowledgeBase
) -> None:
    written = [document("one", "It was fever of old.", ("fever of old", "A:1")), document("two", "Fever of old, said he.", ("Fever of old", "A:1"))]
    same = list(script("evidence_cells").about_the_same(written, small_kb))
    assert [made.mentions[0].codes for made in same] == [made.mentions[0].codes for made in written]
    for made, of in zip(same, written, strict=True):
        (mention,), (wanted,) = made.mentions, of.mentions
        assert mention.text in (wanted.text, wanted.text[0].upper() + wanted.text[1:])
        assert made.text.count(mention.text) == 1
    assert len({made.text for made in (*same, *written)}) == 4
    assert same == list(script("evidence_cells").about_the_same(written, small_kb))


@pytest.mark.slow
def test_sentences_of_a_writer_are_an_arm_and_so_are_as_many_of_the_templates(
    script: Callable[[str], ModuleType], grid: Callable[..., dict[str, Any]], small_kb: KnowledgeBase, tmp_path: Path
) -> None:
    about = grid("--seeds", "0", "--report-only")["strata"]["toy"]
    codes = (tmp_path / "out/toy/codes.txt").read_text(encoding="utf-8").split()
    generate(small_kb, TemplateWriter(), tmp_path / "written", per_concept=1, seed=5, codes=codes[1:])
    arms = ["human+template_matched", "human+template_mentions", "human+written"]
    content = grid("--seeds", "0", "--written", str(tmp_path / "written"), "--arms", ",".join(arms), "--tolerance", "0.5")
    counts = content["strata"]["toy"]["mentions_by_source"]
    assert (
        counts["written"]
        == counts["template_matched"]
        == counts["template_mentions"]
        == len(codes) - 1
        < counts["template"]
        == about["mentions_by_source"]["template"]
    )
    assert {f"toy/{arm}/constrained/all" for arm in arms} <= set(content["metrics"])
    compared = {"human+written - human+template_matched", "human+written - human+template_mentions", "human+template_mentions - human+template_matched"}
    assert {f"toy/{pair}/constrained/all" for pair in compared} <= set(content["tests"])
    assert content["sets"]["toy"].startswith("a toy human+written: by ")


def test_sentences_for_another_knowledge_base_are_refused_or_checked_again(
    grid: Callable[..., dict[str, Any]], small_kb: KnowledgeBase, tmp_path: Path, capsys: Any
) -> None:
    kept = [replace(concept, definition="Another one.") for concept in small_kb.concepts()]
    other = KnowledgeBase.build(kept, small_kb.about)
    grid("--seeds", "0", "--report-only")
    codes = (tmp_path / "out/toy/codes.txt").read_text(encoding="utf-8").split()
    generate(other, TemplateWriter(), tmp_path / "written", per_concept=1, seed=5, codes=codes)
    where = ["--seeds", "0", "--report-only", "--written", str(tmp_path / "written")]
    grid(*where, status=2)
    assert "was generated for another knowledge base" in capsys.readouterr().err.splitlines()[-1]
    content = grid(*where, "--rebase")
    assert content["strata"]["toy"]["mentions_by_source"]["written"] == len(codes)
    assert "are of the plan and hold in this knowledge base" in content["sets"]["toy"]


def test_a_folder_without_sentences_is_one_line(grid: Callable[..., dict[str, Any]], tmp_path: Path, capsys: Any) -> None:
    grid("--seeds", "0", "--report-only", "--written", str(tmp_path / "nowhere"), status=2)
    assert capsys.readouterr().err.splitlines()[-1].endswith("there is no documents.jsonl in it; give the folder that `syncabel generate` wrote")
