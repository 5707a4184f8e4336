"""Which weights are exported, over how many seeds, and what a finished or refitted run leaves."""

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncabel.corpora import part_of_dev, read_jsonl
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, IncompleteFolderError
from syncabel.lexicon.store import Lexicon
from syncabel.sft import FORMAT, read_examples, write_examples, write_format
from syncabel.train.arguments import parse
from syncabel.train.checkpoints import last_complete
from syncabel.train.record import read_run
from syncabel.train.repeats import _check_refit, _join, mean_and_interval, parse_seeds, train_all
from syncabel.train.run import make_trainer, train
from syncabel.types import Document


@pytest.fixture
def judged(flags: Callable[..., list[str]], prepared: Callable[..., Path]) -> Callable[..., list[str]]:
    """Flags of a run that is judged on dev as often as it is saved."""
    every = ["--eval_strategy", "steps", "--eval_steps", "3", "--save_strategy", "steps", "--save_steps", "3"]

    def make(*more: str, **named: Any) -> list[str]:
        return flags("--dev_documents", str(prepared() / "dev.jsonl"), "--types", str(prepared() / "types.json"), *every, *more, **named)

    return make


def recalls(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["eval_recall_at_1"]) for row in rows if "eval_recall_at_1" in row]


def test_the_halves_of_dev_share_no_document_and_do_not_hang_on_the_order() -> None:
    documents = [Document(f"d{i}", "text", ()) for i in range(11)]
    halves = {part: part_of_dev(documents, part) for part in ("select", "calibrate", "all")}
    names = {part: {document.id for document in chosen} for part, chosen in halves.items()}
    assert names["select"].isdisjoint(names["calibrate"])
    assert names["select"] | names["calibrate"] == names["all"] == {document.id for document in documents}
    assert (len(names["select"]), len(names["calibrate"])) == (6, 5)
    assert {document.id for document in part_of_dev(documents[::-1], "select")} == names["select"]
    assert part_of_dev(documents[:1], "select") == tuple(documents[:1])
    with pytest.raises(ConfigError, match="rename the repeated ones"):
        part_of_dev([documents[0], documents[0]], "select")


def test_checkpoints_are_judged_on_the_selecting_half_only(judged: Callable[..., list[str]], prepared: Callable[..., Path]) -> None:
    documents = read_jsonl(prepared() / "dev.jsonl").documents
    for part, wanted in (("select", part_of_dev(documents, "select")), ("all", documents)):
        trainer, *_ = make_trainer(parse(judged("--dev_part", part)))
        assert trainer.dev is not None
        assert {query.document.id for query in trainer.dev.queries} == {document.id for document in wanted}


@pytest.mark.slow
def test_the_first_of_the_best_checkpoints_is_exported(judged: Callable[..., list[str]], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    result = train(parse(judged("--max_steps", "30", "--learning_rate", "0.02")))
    found = recalls(tmp_path / "run")
    assert [step for step, _ in found] == list(range(3, 31, 3))
    best = max(value for _, value in found)
    assert result.chosen_step == next(step for step, value in found if value == best)
    assert result.recall_at_1 == best, "the exported weights were judged once more"
    assert result.steps == 30
    kept = load_file(tmp_path / "run" / f"checkpoint-{result.chosen_step}" / "model.safetensors")
    exported = load_file(result.folder / "model.safetensors")
    assert all((exported[name] == kept[name]).all() for name in exported)
    last = train(parse(judged("--max_steps", "30", "--learning_rate", "0.02", "--selection", "last", output=tmp_path / "last")))
    assert last.chosen_step == last.steps == 30


@pytest.mark.slow
def test_training_stops_when_dev_has_not_become_better_for_so_many_evaluations_also_after_a_resume(
    judged: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    patient = judged("--max_steps", "300", "--learning_rate", "0", "--early_stopping", "2")
    assert train(parse(patient)).steps == 9, "the first evaluation is the best, the two after it are not better"
    for left in ("checkpoint-9", "model"):
        shutil.rmtree(tmp_path / "run" / left)
    assert train(parse(patient)).steps == 9
    assert "going on from" in capsys.readouterr().err
    for left in ("run.json", "model"):  # killed after its last checkpoint, before the export
        (tmp_path / "run" / left).rename(tmp_path / left)
    ended = train(parse(patient))
    assert (ended.steps, ended.chosen_step) == (9, 3), "it had stopped early there, and makes no step more"
    assert [step for step, _ in recalls(tmp_path / "run")] == [3, 6, 9]


@pytest.mark.slow
def test_the_best_checkpoint_is_found_in_a_folder_that_was_moved_and_one_that_is_gone_is_no_other(judged: Callable[..., list[str]], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    more, new = ("--max_steps", "18", "--learning_rate", "0.02", "--seed", "1"), tmp_path / "moved"
    first = train(parse(judged(*more)))
    assert first.chosen_step < first.steps, "a run whose last weights are not its best"
    (tmp_path / "run").rename(new)
    for name in ("model", "run.json"):
        (new / name).rename(tmp_path / name)
    again = train(parse(judged(*more, output=new)))
    assert (again.chosen_step, again.recall_at_1) == (first.chosen_step, first.recall_at_1)
    kept, exported = (load_file(folder / "model.safetensors") for folder in (new / f"checkpoint-{first.chosen_step}", again.folder))
    assert all((exported[name] == kept[name]).all() for name in exported)
    (new / "run.json").unlink()
    (new / f"checkpoint-{first.chosen_step}" / "model.safetensors").unlink()
    with pytest.raises(IncompleteFolderError, match=r"the best checkpoint so far: no .* put it back"):
        train(parse(judged(*more, output=new)))


@pytest.mark.slow
def test_a_checkpoint_that_was_selected_by_other_dev_data_or_settings_is_not_gone_on_from(
    judged: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    train(parse(judged("--max_steps", "3")))
    other = tmp_path / "dev.jsonl"
    other.write_text("".join((prepared() / "dev.jsonl").read_text().splitlines(keepends=True)[:5]))
    for more, changed in ((("--dev_documents", str(other)), "dev_documents changed"), (("--dev_beams", "1"), "dev_beams was 2, is 1")):
        with pytest.raises(ConfigError, match=changed):
            train(parse(judged("--max_steps", "3", *more)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--save_steps", "6"], "set save_strategy and save_steps to those of eval_strategy"),
        (["--save_strategy", "no"], "set save_strategy and save_steps"),
        (["--save_total_limit", "1"], "the best and the last checkpoint are both needed"),
        (["--early_stopping", "0"], "early_stopping is 0"),
        (["--selection", "last", "--early_stopping", "3"], "goes with eval_strategy and selection: best"),
        (["--contrast", "-1"], "give a weight of 0 or more"),
        (["--seeds", "1,1"], "seeds is '1,1'"),
    ],
)
def test_settings_under_which_the_best_checkpoint_would_not_be_there_are_refused(more: list[str], message: str, judged: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match=message):
        train_all(judged(*more))


@pytest.mark.parametrize("text", ["", "a", "0,", "1,1", "-1", "0 1", "4294967296"])
def test_what_are_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="different whole numbers"):
        parse_seeds(text)
    assert parse_seeds("0, 2,1") == [0, 2, 1]


def test_mean_and_interval_are_those_of_student() -> None:
    # By hand: mean 0.7, standard deviation 0.1, t(0.975, 2) = 4.302653, 4.302653 × 0.1 / √3 = 0.248414.
    figures = mean_and_interval([0.6, 0.7, 0.8])
    assert figures["value"] == pytest.approx(0.7)
    assert figures["ci95"] == pytest.approx([0.7 - 0.248414, 0.7 + 0.248414], abs=1e-6)
    assert mean_and_interval([0.5]) == {"value": 0.5, "ci95": None, "per_seed": [0.5]}


@pytest.mark.slow
def test_every_seed_is_trained_once_and_a_rerun_trains_none(judged: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.numpy import load_file

    again = judged("--seeds", "3,4")
    results = train_all(again)
    assert [result.folder for result in results] == [tmp_path / "run" / f"seed-{seed}" / "model" for seed in (3, 4)]
    first, second = (load_file(result.folder / "model.safetensors") for result in results)
    assert any((first[name] != second[name]).any() for name in first)
    assert [(read_run(result.folder.parent) or {})["seeds"]["train"] for result in results] == [3, 4]
    summary = json.loads((tmp_path / "run" / "seeds.json").read_text())
    recalled = summary["metrics"]["dev_recall_at_1"]
    assert recalled["per_seed"] == [result.recall_at_1 for result in results]
    assert recalled["value"] == pytest.approx(statistics.fmean(recalled["per_seed"]))
    before = [(result.folder / "model.safetensors").stat().st_mtime_ns for result in results]
    capsys.readouterr()
    assert train_all(again) == results
    assert capsys.readouterr().err.count("finished before") == 2
    assert [(result.folder / "model.safetensors").stat().st_mtime_ns for result in results] == before
    assert json.loads((tmp_path / "run" / "seeds.json").read_text()) == summary
    train_all(judged("--seeds", "4,3"))
    assert capsys.readouterr().err.count("finished before") == 2, "which other seeds there are decides nothing about one"


@pytest.mark.slow
def test_a_refit_learns_train_and_dev_for_as_many_passes_as_selection_chose(
    judged: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    more = tmp_path / "more" / "human.jsonl"
    more.parent.mkdir()
    lines = (prepared() / "human.jsonl").read_text().splitlines(keepends=True)
    more.write_text("".join(lines[:12]))
    (result,) = train_all(judged("--refit_examples", str(more), "--eval_on_start", "true"))
    assert recalls(tmp_path / "run")[0][0] == 0
    assert not recalls(tmp_path / "run" / "refit")
    refit = read_run(tmp_path / "run" / "refit")
    assert refit is not None
    assert refit["result"]["steps"] == round(result.chosen_step * (len(lines) + 12) / len(lines))
    assert refit["result"]["dev"] is None, "nothing is left that it could be judged by"
    assert refit["sources"][0]["examples"] == len(lines) + 12
    assert (tmp_path / "run" / "refit" / "model" / "model.safetensors").exists()
    assert last_complete(tmp_path / "run")[0] is not None


def test_a_refit_that_could_not_be_is_refused_before_the_first_training(
    judged: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="which mix 'synthetic-only' leaves out"):
        train_all(judged("--refit_examples", str(prepared() / "human.jsonl"), "--mix", "synthetic-only"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "error"),
    [({"lexicon_digest": "0" * 64}, DigestMismatchError), ({"context_chars": 7}, ConfigError), (None, FormatError)],
    ids=["lexicon", "format", "unreadable"],
)
def test_a_refit_with_examples_that_were_made_otherwise_is_refused_before_the_first_training(
    changed: dict[str, Any] | None, error: type[Exception], judged: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    more = tmp_path / "others" / "dev_examples.jsonl"
    more.parent.mkdir()
    shutil.copy(prepared() / "human.jsonl", more)
    asked = judged("--refit_examples", str(more))
    settings = parse(asked)
    write_format(more.parent, settings.own.format, Lexicon.load(prepared() / "lexicon"))
    made = json.loads(more.with_name(FORMAT).read_text())
    assert changed is None or changed.keys() <= made.keys()
    _check_refit(settings)
    more.with_name(FORMAT).write_text("{" if changed is None else json.dumps(made | changed))
    with pytest.raises(error, match=r"others/format\.json"):
        train_all(asked)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "content"), [("dev.jsonl", b""), ("dev.jsonl", b"{}\n"), ("dev.parquet", b"PA")], ids=["empty", "no example", "no Parquet"])
def test_a_file_that_holds_no_examples_for_a_refit_is_refused_before_the_first_training(
    name: str, content: bytes, judged: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        train_all(judged("--refit_examples", str(tmp_path / name)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("first", "second"), [("jsonl", "jsonl"), ("parquet", "jsonl"), ("jsonl", "parquet"), ("parquet", "parquet")])
def test_files_are_joined_example_by_example_and_whole(first: str, second: str, prepared: Callable[..., Path], tmp_path: Path) -> None:
    examples = read_examples(prepared() / "human.jsonl")
    paths = [tmp_path / f"human.{first}", tmp_path / f"dev_examples.{second}"]
    for path, part in zip(paths, (examples[:8], examples[8:12]), strict=True):
        write_examples(part, path)
    joined, factor = _join(*map(str, paths), tmp_path / "refit")
    assert read_examples(joined) == examples[:12]
    assert factor == 1.5
    assert [path.name for path in (tmp_path / "refit").iterdir()] == ["human.jsonl"], "written beside, then moved: no process reads half of it"


def test_dev_documents_that_examples_were_made_of_are_refused(judged: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (prepared() / "human.jsonl").read_text().splitlines()]
    documents = (prepared() / "dev.jsonl").read_text().splitlines(keepends=True)
    mine = json.loads(documents[0])["id"]
    rows[3]["document_id"] = mine
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=rf"1 documents are those of examples in .*human\.jsonl \(first: {mine}\); leave them out of one"):
        make_trainer(parse(judged("--human_examples", str(tmp_path / "human.jsonl"))))
