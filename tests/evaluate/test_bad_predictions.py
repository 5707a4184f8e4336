"""Bad input: an error of one line that says what, where and what to do, or counted as wrong and said."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from syncabel.baselines import ExactName
from syncabel.errors import ConfigError, FormatError
from syncabel.evaluate import aligned, evaluate, read_linked, read_run, report_json
from syncabel.types import Prediction, to_json


@pytest.fixture
def doc(annotated):
    return annotated("d", ("cold", "left"), ("leafy", "leaf"), ("w", ""))


def write(path, values):
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def run(*arguments):
    import typer

    from syncabel.cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(doc, answered, annotated, tree_kb, tmp_path):
    """gold.jsonl, train.jsonl, kb, and predictions of two systems, the second in a folder of its own under the same name."""
    tree_kb.save(tmp_path / "kb")
    write(tmp_path / "gold.jsonl", [to_json(doc)])
    write(tmp_path / "train.jsonl", [to_json(annotated("t", ("cold", "right")))])
    (tmp_path / "b").mkdir()
    write(tmp_path / "a.jsonl", map(to_json, answered(doc, "left", "left leaf", "NIL")))
    write(tmp_path / "b" / "a.jsonl", map(to_json, answered(doc, "left", "leaf", "top")))
    return tmp_path


def test_predictions_for_unknown_mentions_name_file_line_and_mention(doc, answered, tmp_path):
    rows = answered(doc, "left", "leaf", "")
    path = write(tmp_path / "p.jsonl", [to_json(rows[0]), to_json(replace(rows[1], mention_id="77"))])
    with pytest.raises(FormatError, match=r"p\.jsonl:2: document 'd', mention '77': the documents have no such mention; predict for"):
        aligned([doc], read_linked(path), path)


def test_a_missing_mention_is_wrong_and_said(doc, answered, tree_kb, files):
    report = evaluate([doc], answered(doc, "left", None, None), tree_kb)
    assert (report.n, report.correct, report.missing) == (2, 1, 1)
    write(files / "a.jsonl", map(to_json, answered(doc, "left", None, "NIL")))
    assert "counted as wrong: 1 mentions without a line in the predictions" in run(files / "gold.jsonl", files / "a.jsonl", "--kb", files / "kb").stdout


def test_doubled_ids_are_refused_in_documents_and_in_predictions(doc, answered, tree_kb):
    with pytest.raises(FormatError, match="two documents have the same id; give each"):
        evaluate([doc, doc], answered(doc, "left", "leaf", ""), tree_kb)
    rows = answered(doc, "left", "leaf", "")
    with pytest.raises(FormatError, match="document 'd', mention '0': two predictions for one mention"):
        evaluate([doc], [*rows, rows[0]], tree_kb)


def test_predicted_codes_that_are_not_in_the_knowledge_base_are_counted_listed_and_wrong(annotated, answered, tree_kb):
    doc = annotated("d", ("a", "nowhere"), ("b", "left"), ("c", "left"))
    report = evaluate([doc], answered(doc, "nowhere", "left nowhere elsewhere", "elsewhere+left"), tree_kb)
    assert report_json(report)["unknown_codes"] == {"elsewhere": 2, "nowhere": 2}
    assert report.correct == 1
    assert report.recall_at_1 <= report.ceiling
    assert report.ledger["not_in_kb"].n == 1
    assert report.metrics["any"] == 1 / 3, "an unknown code spoils an answer"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1.01", "-0.2"])
def test_a_confidence_that_is_no_fraction_names_its_line(doc, answered, tmp_path, number):
    row = to_json(answered(doc, "left", "", "")[0])
    row["predictions"][0]["confidence"] = 0.5
    good = json.dumps(row)
    (tmp_path / "p.jsonl").write_text(good + "\n" + good.replace('"confidence": 0.5', f'"confidence": {number}') + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"p\.jsonl:2: prediction 1: confidence is .*; confidences and masses are fractions in \[0, 1\]"):
        list(read_linked(tmp_path / "p.jsonl"))


@pytest.mark.parametrize("wrong", [{"log_prob": float("nan")}, {"mass": float("inf")}, {"mass": -0.1}, {"beam_score": float("nan")}, {"bound": float("inf")}])
def test_scores_that_are_no_numbers_are_refused_without_a_file_too(doc, answered, tree_kb, wrong):
    rows = answered(doc, "left", "leaf", "")
    bad = replace(rows[1], predictions=(rows[1].predictions[0], replace(rows[1].predictions[0], codes=("top",), **wrong)))
    with pytest.raises(FormatError, match=f"document 'd', mention '1': prediction 2: {next(iter(wrong))} is"):
        evaluate([doc], [rows[0], bad], tree_kb)


def test_a_withheld_answer_is_checked_and_read_as_link_writes_it(doc, answered, tmp_path):
    held = replace(answered(doc, "", "", "")[0], abstained="confidence 0.1 is under 0.5", alternatives=(Prediction(("left",), "n", -1.0, confidence=0.1),))
    row = to_json(held)
    row["alternatives"][0]["code"] = "left"
    assert list(read_linked(write(tmp_path / "p.jsonl", [row]))) == [(1, held)]
    row["alternatives"][0]["confidence"] = 7
    with pytest.raises(FormatError, match=r"p\.jsonl:1: prediction 1: confidence is 7"):
        list(read_linked(write(tmp_path / "p.jsonl", [row])))


def test_gold_without_documents_is_refused(tree_kb, answered, doc, files):
    with pytest.raises(ConfigError, match="no document to score; give the documents the predictions are for"):
        evaluate([], [], tree_kb)
    with pytest.raises(FormatError, match="the documents have no such mention"):
        evaluate([], answered(doc, "left", "leaf", ""), tree_kb)
    (files / "empty.jsonl").write_text("", encoding="utf-8")
    done = run(files / "empty.jsonl", files / "a.jsonl", "--kb", files / "kb")
    assert done.exit_code
    assert "empty.jsonl: the file is empty" in str(done.exception)


def test_two_systems_scored_on_different_mentions_are_refused_with_the_difference_listed(doc, answered, files):
    write(files / "a.jsonl", map(to_json, answered(doc, "left", None, "NIL")))
    write(files / "c.jsonl", map(to_json, answered(doc, "left", "left", None)))
    done = run(files / "gold.jsonl", files / "a.jsonl", files / "c.jsonl", "--kb", files / "kb")
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == "other mentions were scored: 1 only in a (d:2); 1 only in c (d:1); compare systems on the same mentions"


def test_several_systems_are_compared_and_told_apart(files):
    paths = (files / "a.jsonl", files / "b" / "a.jsonl")
    done = run(files / "gold.jsonl", *paths, "--kb", files / "kb", "--train", files / "train.jsonl", "--json", "-o", files / "runs")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    first, second = found["systems"]
    assert first.endswith("-a")
    assert second == "b-a"
    assert [found["systems"][name]["correct"] for name in (first, second)] == [1, 2]
    assert found["paired"]["pairs"][0] | {"a": first, "b": second, "delta": -0.5, "only_a": 0, "only_b": 1} == found["paired"]["pairs"][0]
    strata = found["paired_strata"][0]["strata"]
    assert strata["string"]["seen"]["n"] + strata["string"]["unseen"]["n"] == 2
    assert strata["concept"]["human"] == {**dict.fromkeys(strata["concept"]["human"]), "n": 0, "documents": 0}
    assert {read_run(files / "runs" / name).system for name in (first, second)} == {first, second}
    shown = run(files / "gold.jsonl", *paths, "--kb", files / "kb", "--name", "ours", "--name", "theirs")
    assert "ours – theirs" in shown.stdout
    assert "under 30 documents" in shown.stdout or "30" in shown.stdout


def test_one_system_with_baselines_writes_a_run_for_each(files):
    (files / "model").mkdir()
    (files / "model" / "training.json").write_text('{"seed": 1}', encoding="utf-8")
    options = ("--kb", files / "kb", "--train", files / "train.jsonl", "--baselines", "-o", files / "run", "--model", files / "model", "--json")
    done = run(files / "gold.jsonl", files / "a.jsonl", *options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert read_run(files / "run").recipe == {"seed": 1}
    assert read_run(files / "run").report == {name: value for name, value in found.items() if name != "baselines"}
    for name, facts in found["baselines"].items():
        beside = read_run(files / "run" / "baselines" / name)
        assert {**beside.report, "p_sign_flip": facts["p_sign_flip"], "speed": beside.speed} == facts


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--name", "x"), "1 times --name for 2 files"),
        (("--name", "x", "--name", "x"), "two systems are called 'x'"),
        (("--name", "x", "--name", "a/b"), "no system can be called 'a/b'"),
        (("--name", "x", "--name", "baselines"), "no system can be called 'baselines'"),
        (("--model", "nowhere"), "1 times --model for 2 files"),
        (("--model", "nowhere", "--model", "nowhere"), "nowhere has no training.json"),
        (("--baselines", "--encoder", "nowhere"), "sentence encoder .*'nowhere'"),
        (("--encoder", "minilm"), "give --baselines, too"),
        (("--misses", "m.jsonl"), "--misses lists those of one system"),
        (("--protocol", "belb"), "did you mean 'belb-strict'|did you mean 'belb-lenient'"),
    ],
)
def test_options_that_do_not_fit_are_refused(files, options, problem):
    import re

    done = run(files / "gold.jsonl", files / "a.jsonl", files / "b" / "a.jsonl", "--kb", files / "kb", *options)
    assert done.exit_code
    assert re.search(problem, str(done.exception))
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("protocol", ["set", "any", "belb-strict", "belb-lenient", "syncabel", "overlap", "jaccard"])
def test_the_command_takes_every_protocol_and_prints_no_nan(files, protocol):
    done = run(files / "gold.jsonl", files / "a.jsonl", "--kb", files / "kb", "--protocol", protocol, "--json")
    assert done.exit_code == 0, done.output

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(done.stdout, parse_constant=refuse)["protocol"] == protocol


def test_several_systems_without_training_documents_are_compared_on_the_strata_there_are(files):
    done = run(files / "gold.jsonl", files / "a.jsonl", files / "b" / "a.jsonl", "--kb", files / "kb", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["paired_strata"][0]["strata"]) == set(next(iter(found["systems"].values()))["strata"])
    assert "cell" not in found["paired_strata"][0]["strata"]


def test_forgotten_documents_are_asked_for(files):
    done = run(files / "a.jsonl", files / "b" / "a.jsonl", "--kb", files / "kb")
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"{files / 'a.jsonl'} holds predictions; give the annotated documents first: syncabel evaluate DOCUMENTS PREDICTIONS… --kb KB"


def test_a_broken_recipe_is_named(files):
    (files / "training.json").write_text("{", encoding="utf-8")
    done = run(files / "gold.jsonl", files / "a.jsonl", "--kb", files / "kb", "--model", files)
    assert isinstance(done.exception, FormatError)
    assert "training.json: not JSON" in str(done.exception)


@pytest.mark.parametrize("option", [("--kb", "doid"), ("--baselines",), ("-o", "run"), ("--misses", "m"), ("--synthetic", "s"), ("--protocol", "any")])
@pytest.mark.parametrize("table", ["--tsv", "--belb"])
def test_options_of_documents_are_not_ignored_beside_a_table(table, option):
    done = run(table, "t", *option)
    assert isinstance(done.exception, ConfigError)
    assert "leave out the options of documents" in str(done.exception)


def test_the_p_beside_a_baseline_is_that_of_the_first_system_against_it_and_of_the_pair_where_it_is_a_system(annotated, answered, tree_kb, files):
    # 8 documents; the system has all right, the exact name none: only the two uniform arrangements of 256 reach that far.
    many = [annotated(f"d{i}", ("odd words", "left")) for i in range(8)]
    write(files / "gold.jsonl", map(to_json, many))
    write(files / "a.jsonl", [to_json(row) for doc in many for row in answered(doc, "left")])
    write(files / "b" / "a.jsonl", map(to_json, ExactName(tree_kb).link(many)))
    systems = ("--name", "ours", files / "a.jsonl", "--name", "exact", files / "b" / "a.jsonl")
    done = run(files / "gold.jsonl", *systems, "--kb", files / "kb", "--train", files / "train.jsonl", "--baselines", "--json")
    found = json.loads(done.stdout)
    stratum = found["paired_strata"][0]["strata"]["length"]["2"]
    assert {found["baselines"]["exact"]["p_sign_flip"], found["paired"]["pairs"][0]["p_sign_flip"], stratum["p_sign_flip"]} == {2 / 256}


def test_files_of_one_name_are_seeds_of_one_system_where_that_is_said(files):
    paths = (files / "a.jsonl", files / "b" / "a.jsonl", files / "b" / "a.jsonl")
    names = ("--name", "one", "--name", "two", "--name", "one")
    done = run(files / "gold.jsonl", *paths, *names, "--seeds", "--kb", files / "kb", "--json", "-o", files / "seeds")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["systems"]) == ["one-seed-1", "two", "one-seed-2"]
    (pair,) = found["paired"]["pairs"]
    # Of two mentions a seed of `one` has one right, the other both, as `two` has: three quarters less one.
    assert (pair["a"], pair["b"], pair["delta"], pair["p_mcnemar"]) == ("one", "two", -0.25, None)
    assert {path.name for path in (files / "seeds").iterdir()} == {"one-seed-1", "two", "one-seed-2"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--seeds",), "give every file the --name"),
        (("--seeds", "--name", "a", "--name", "a"), "two systems at least"),
        (("--name", "a", "--name", "a"), "or say --seeds"),
    ],
)
def test_seeds_that_are_of_no_two_systems_are_refused(files, options, problem):
    done = run(files / "gold.jsonl", files / "a.jsonl", files / "b" / "a.jsonl", "--kb", files / "kb", *options)
    assert problem in str(done.exception)


def test_the_run_of_one_system_is_not_written_over_by_several(files):
    assert run(files / "gold.jsonl", files / "a.jsonl", "--kb", files / "kb", "-o", files / "run").exit_code == 0
    done = run(files / "gold.jsonl", files / "a.jsonl", files / "b" / "a.jsonl", "--kb", files / "kb", "-o", files / "run")
    assert "is the run of one system" in str(done.exception)
