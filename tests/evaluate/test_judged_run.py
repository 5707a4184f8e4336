"""A judged mention and the folder of an evaluation: written, read back the same, and complete for whoever shows it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, IncompleteFolderError
from syncabel.evaluate import PROTOCOLS, JudgedMention, evaluate, judge_mentions, read_run, report_json, write_run
from syncabel.types import Document, Mention, Prediction, Span, from_json, to_json


@pytest.fixture
def scored(annotated, answered, tree_kb):
    """A document of a right, a near, a withheld, a NIL, a missing and an unannotated mention; its predictions; the report."""
    doc = annotated("d", ("cold", "left"), ("leafy", "leaf"), ("w", "right"), ("w", ""), ("w", "unknown"), ("w", None))
    linked = answered(doc, "left=cold right", "left nowhere", "", "top", None, None)
    held = replace(linked[2], abstained="confidence 0.412 is under 0.600", alternatives=(Prediction(("right",), "right disease", -1.0, confidence=0.412),))
    linked[2] = replace(held, answer_set=("right", "left"))
    return doc, linked, evaluate([doc], linked, tree_kb)


def test_a_mention_is_judged_in_full(scored):
    right, near, withheld, nil, missing = scored[2].mentions
    assert (right.cause, right.hierarchy, right.predicted, right.scores["set"]) == (None, None, ("left",), 1)
    assert [candidate.score for candidate in right.candidates] == [1, 0]
    assert (right.scores["belb-strict"], right.scores["belb-lenient"]) == (0, 1), "`cold` is a name of two concepts"
    assert (near.cause, near.hierarchy, near.gold) == ("search", "descendant:1", (("leaf",),))
    assert (withheld.cause, withheld.abstained, withheld.candidates) == ("abstained", "confidence 0.412 is under 0.600", ())
    assert (withheld.alternatives[0].codes, withheld.alternatives[0].score, withheld.answer_set) == (("right",), 1.0, ("right", "left"))
    assert (nil.nil, nil.scores, nil.cause, nil.says_nil) == (True, {}, None, False)
    assert (missing.missing, missing.in_kb, missing.cause) == (True, False, "not_in_kb")


def test_what_was_withheld_is_a_miss_and_counted(scored):
    report = scored[2]
    assert (report.n, report.correct, report.abstained, report.missing, report.unannotated) == (4, 1, 1, 1, 1)
    assert report.ledger["abstained"].n == 1
    assert report.metrics["precision"] == 1 / 2
    assert report.unknown_codes == {"nowhere": 1}


@given(st.sampled_from(list(PROTOCOLS)), st.lists(st.sampled_from(["left right", "NIL", "-", "", "left+right", "unknown", None]), min_size=2, max_size=2))
def test_a_judged_mention_is_its_own_file_format(annotated, answered, tree_kb, protocol, rankings):
    doc = annotated("d", ("cold", "left+right"), ("w", "left"))
    for item in judge_mentions([doc], answered(doc, *rankings), tree_kb, protocol=protocol):
        assert from_json(JudgedMention, json.loads(json.dumps(to_json(item), allow_nan=False))) == item


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("scores", [1], "scores should be an object, not list"),
        ("scores", {"best": 1.0}, "should be one of 'set'"),
        ("scores", {"set": "1"}, "scores.set should be float, not str"),
        ("strata", {"concept": None}, "strata.concept should be str, not NoneType"),
    ],
)
def test_a_broken_mapping_of_a_judged_mention_is_named(scored, field, value, problem):
    with pytest.raises(FormatError, match=problem):
        from_json(JudgedMention, {**to_json(scored[2].mentions[0]), field: value})


def test_a_run_is_read_back_as_it_was_written(scored, tree_kb, tmp_path):
    doc, _, report = scored
    recipe, speed = {"format": "syncabel.run/1"}, {"seconds": 1.5}
    write_run(tmp_path / "run", "ours", report, [doc], tree_kb, command=["syncabel", "evaluate"], recipe=recipe, speed=speed, facts={"more": 1})
    run = read_run(tmp_path / "run")
    assert (run.system, run.command, run.recipe, run.speed) == ("ours", ("syncabel", "evaluate"), recipe, speed)
    assert run.mentions == report.mentions
    assert run.report == json.loads(json.dumps({**report_json(report), "more": 1}))
    assert run.kb == {"source": "test", "release": "1", "digest": tree_kb.digest}
    assert run.digests == report.digests
    assert {"python", "syncabel"} <= run.versions.keys()


def test_a_run_knows_every_code_met_and_the_way_to_it(scored, tree_kb, tmp_path):
    write_run(tmp_path, "ours", scored[2], [scored[0]], tree_kb)
    concepts = read_run(tmp_path).concepts
    assert set(concepts) == {"left", "right", "leaf", "top", "unknown", "nowhere"}
    assert concepts["leaf"].path == ("disease", "top disease", "left disease", "leaf disease")
    assert concepts["leaf"].groups == ("Disease",)
    assert (concepts["nowhere"].name, concepts["nowhere"].path) == ("", ())


def test_sentences_mark_the_mention_and_can_be_left_out(tree_kb, tmp_path, answered):
    text = "First sentence here. The left and the right disease hurt. Last one."
    spans = (Span(25, 29), Span(44, 51))
    doc = Document("d", text, (Mention("1", spans, "left disease", "Disease", (("left",),)),))
    write_run(tmp_path, "ours", evaluate([doc], answered(doc, "left"), tree_kb), [doc], tree_kb)
    sentence = read_run(tmp_path).sentences["d", "1"]
    assert sentence.text == "The left and the right disease hurt."
    assert [sentence.text[start:end] for start, end in sentence.spans] == ["left", "disease"]
    assert sentence.text[sentence.start : sentence.end] == "left and the right disease"
    (tmp_path / "sentences.jsonl").unlink()
    assert read_run(tmp_path).sentences == {}
    held = (path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if path.name != "mentions.jsonl")
    assert not any("hurt" in content for content in held)


def test_a_run_replaces_a_run_and_nothing_else(scored, tree_kb, tmp_path):
    doc, _, report = scored
    write_run(tmp_path / "run", "one", report, [doc], tree_kb)
    write_run(tmp_path / "run", "two", report, [doc], tree_kb)
    assert read_run(tmp_path / "run").system == "two"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds something that is no evaluation"):
        write_run(tmp_path / "notes", "one", report, [doc], tree_kb)


def test_a_folder_that_is_no_run_is_named(scored, tree_kb, tmp_path):
    doc, _, report = scored
    with pytest.raises(IncompleteFolderError, match=r"evaluation\.json is missing"):
        read_run(tmp_path)
    write_run(tmp_path, "one", report, [doc], tree_kb)
    for content, problem in (("{", "not JSON"), ('{"format": "other/1"}', "not of the format"), ('{"format": "syncabel.evaluation/1"}', "'system' is missing")):
        (tmp_path / "evaluation.json").write_text(content, encoding="utf-8")
        with pytest.raises(FormatError, match=problem):
            read_run(tmp_path)
    write_run(tmp_path, "one", report, [doc], tree_kb)
    with (tmp_path / "mentions.jsonl").open("a", encoding="utf-8") as handle:
        handle.write('{"document_id": "d"}\n')
    with pytest.raises(FormatError, match=r"mentions\.jsonl:6: .*misses field"):
        read_run(tmp_path)
