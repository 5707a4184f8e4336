"""Documents and predictions: the denominator, the strata, the ledger, the command."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.evaluate import CAUSES, PROTOCOLS, aligned, evaluate, read_linked, report_json, scores_of
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Document, LinkedMention, Mention, Name, Prediction, Span, to_json


def concept(code, *names, group="Disease", alt=()):
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), (group,), alt_codes=tuple(alt))


KB = KnowledgeBase.build(
    [concept("A", "alpha", "cold", alt=("A-old",)), concept("B", "beta", "cold"), concept("C", "gamma"), concept("X", "xenon", group="Drug")],
    About(source="test", release="1", licence="CC0-1.0", redistributable=True),
)


def document(name, *mentions, source="human"):
    """A document whose mentions are (word, answers) or (word, answers, type)."""
    text, found = "", []
    for i, (word, answers, *kind) in enumerate(mentions):
        start = len(text)
        text += f"{word} "
        found.append(Mention(str(i), (Span(start, start + len(word)),), word, kind[0] if kind else "Disease", answers))
    return Document(name, text, tuple(found), source=source)


def linked(doc, *ranked, groups=()):
    """Results for the document's mentions; a ranking is codes like "A", "A+B", "" for no name, best first; None: no line."""
    return [
        LinkedMention(doc.id, m.id, m.text, m.start, m.end, groups, tuple(Prediction(tuple(c.split("+")) if c else (), c, 0.0) for c in codes))
        for m, codes in zip(doc.mentions, ranked, strict=True)
        if codes is not None
    ]


ONE_A = (("A",),)


def test_mentions_dropped_from_the_denominator_are_not_here():
    doc = document("d", ("one", ONE_A), ("two", ONE_A), ("three", ONE_A), ("four", ONE_A))
    report = evaluate([doc], linked(doc, ["A"], None, [], [""]), KB)
    assert (report.n, report.correct, report.missing) == (4, 1, 1)
    assert report.recall_at_1 == 1 / 4
    assert report.ledger["abstained"].n == 3


def test_precision_and_recall_are_not_swapped():
    doc = document("d", ("one", ONE_A), ("two", ONE_A), ("three", ONE_A), ("four", ONE_A))
    report = evaluate([doc], linked(doc, ["A"], ["B"], [], None), KB)
    assert report.recall_at_1 == 1 / 4  # of the four annotated
    assert report.metrics["precision"] == 1 / 2  # of the two answered


def test_nil_and_unannotated_mentions_are_counted_beside_the_denominator():
    doc = document("d", ("one", ONE_A), ("nil", ()), ("nil", ()), ("nil", ()), ("open", None))
    report = evaluate([doc], linked(doc, ["A"], [], ["B"], [""], ["C"]), KB)
    assert (report.n, report.correct, report.nil, report.nil_correct, report.unannotated) == (1, 1, 3, 2, 1)


def test_nil_is_an_abstention_right_where_nothing_is_in_the_knowledge_base_and_a_miss_elsewhere():
    doc = document("d", ("nil", ()), ("nil", ()), ("one", ONE_A), ("two", ONE_A), ("three", ONE_A))
    report = evaluate([doc], linked(doc, ["NIL", "A"], ["A", "NIL"], ["NIL", "A"], ["A", "NIL"], ["B", "NIL"]), KB)
    assert (report.nil, report.nil_correct) == (2, 1)
    assert (report.ledger["abstained"].n, report.ledger["ranking"].n, report.ledger["search"].n) == (1, 0, 1)
    assert report.metrics["precision"] == 1 / 2  # of the two answered
    assert report.misses[0].predicted == ()


def test_alternative_ids_are_the_concept_on_both_sides():
    doc = document("d", ("one", (("A-old",),)), ("two", ONE_A), ("both", (("A", "A-old"),)))
    assert evaluate([doc], linked(doc, ["A"], ["A-old"], ["A"]), KB).correct == 3


def test_all_protocols_are_reported_and_one_decides():
    doc = document("d", ("pair", (("A", "B"),)), ("either", (("A",), ("C",))))
    ranked = linked(doc, ["A"], ["C"])
    report = evaluate([doc], ranked, KB)
    scores = {"set": 0.5, "any": 1, "overlap": 1, "jaccard": 0.75, "belb-strict": 1, "belb-lenient": 1, "syncabel": 0.5}
    assert {name: report.metrics[name] for name in PROTOCOLS} == scores
    assert (report.correct, evaluate([doc], ranked, KB, protocol="any").correct) == (1, 2)


def test_every_miss_has_its_first_cause():
    doc = document("d", ("unknown", (("Z",),)), ("other", (("X",),)), ("silent", ONE_A), ("lost", ONE_A), ("second", ONE_A), ("right", ONE_A))
    report = evaluate([doc], linked(doc, ["A"], ["A"], [], ["B", "C"], ["B", "A"], ["A"], groups=("Disease",)), KB)
    assert {cause: line.n for cause, line in report.ledger.items()} == dict.fromkeys(CAUSES, 1)
    assert [miss.cause for miss in report.misses] == list(CAUSES)
    assert report.ceiling == 4 / 6


def test_a_cause_that_comes_first_is_the_one_given():
    doc = document("d", ("unknown", (("Z",),)), ("filtered", (("X",),)))
    report = evaluate([doc], linked(doc, [], [], groups=("Disease",)), KB)
    assert (report.ledger["not_in_kb"].n, report.ledger["filtered_by_group"].n, report.ledger["abstained"].n) == (1, 1, 0)


codes = st.sampled_from(["A", "A-old", "B", "C", "X", "Z"])
answer_sets = st.lists(st.lists(codes, min_size=1, max_size=2, unique=True).map(tuple), min_size=1, max_size=2).map(tuple)
rankings = st.none() | st.lists(st.sampled_from(["", "NIL", "A", "B", "C", "X", "A+B", "A+X", "Z"]), max_size=3)
mentions = st.lists(st.tuples(answer_sets, rankings), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(mentions, min_size=1, max_size=3), st.sampled_from(list(PROTOCOLS)), st.sampled_from([(), ("Disease",), ("Drug",)]))
def test_the_parts_of_the_ledger_sum_to_what_recall_lacks(corpus, protocol, groups):
    documents = [document(str(i), *((f"w{j}", answers) for j, (answers, _) in enumerate(rows))) for i, rows in enumerate(corpus)]
    ranked = [result for doc, rows in zip(documents, corpus, strict=True) for result in linked(doc, *(r for _, r in rows), groups=groups)]
    report = evaluate(documents, ranked, KB, protocol=protocol, rounds=3)
    assert sum(line.share for line in report.ledger.values()) == pytest.approx(1 - report.recall_at_1, abs=1e-12)
    assert sum(line.n for line in report.ledger.values()) == len(report.misses) == report.n - report.correct
    assert report.n == sum(map(len, corpus))
    for cells in (report.by_group, *report.strata.values()):
        assert sum(cell.n for cell in cells.values()) == report.n
        assert sum(cell.correct for cell in cells.values()) == report.correct


def test_strata_tell_what_training_has_seen():
    train = [document("t", ("Alpha", ONE_A))]
    made = [document("s", ("beta", (("B",),)), source="synthetic")]
    doc = document("d", ("alpha", (("A-old",),)), ("beta", (("B",),)), ("gamma", (("C",),)), ("pair", (("A", "B"),)), ("COLD", ONE_A))
    report = evaluate([doc], linked(doc, ["A"], ["B"], ["C"], ["A+B"], ["B"]), KB, train=train, synthetic=made)
    counted = {kind: {name: (cell.n, cell.correct) for name, cell in cells.items()} for kind, cells in report.strata.items()}
    assert counted["concept"] == {"human": (2, 1), "synthetic_only": (2, 2), "neither": (1, 1)}
    assert counted["string"] == {"seen": (1, 1), "unseen": (4, 3)}
    assert counted["name"] == {"shared": (1, 0), "other": (4, 4)}


def test_a_scored_document_among_the_training_documents_is_refused():
    doc = document("d", ("alpha", ONE_A))
    with pytest.raises(ConfigError, match="1 scored documents are training documents"):
        evaluate([doc], linked(doc, ["A"]), KB, train=[doc])


def test_a_training_document_under_another_id_is_refused_just_as_well():
    doc = document("d", ("alpha", ONE_A))
    for other in (replace(doc, id="e"), Document("e", "ALPHA\n")):
        with pytest.raises(ConfigError, match="'d'"):
            evaluate([doc], linked(doc, ["A"]), KB, synthetic=[other])
    assert evaluate([doc], linked(doc, ["A"]), KB, train=[document("d", ("beta", (("B",),)))]).correct == 1


def test_predictions_that_do_not_belong_to_the_documents_are_refused():
    doc = document("d", ("alpha", ONE_A))
    result = linked(doc, ["A"])[0]
    for bad, problem in [
        (replace(result, mention_id="9"), "no such mention"),
        (replace(result, end=4), "predicted at 0–4, annotated at 0–5"),
        (replace(result, text="alphx"), "another text"),
    ]:
        with pytest.raises(FormatError, match=problem):
            evaluate([doc], [bad], KB)
    with pytest.raises(FormatError, match="two predictions for one mention"):
        evaluate([doc], [result, result], KB)


def test_nothing_to_score_and_an_unknown_protocol_are_errors():
    doc = document("d", ("alpha", None), ("nil", ()))
    with pytest.raises(ConfigError, match="1 are annotated as not in the knowledge base, 1 not at all"):
        evaluate([doc], [], KB)
    with pytest.raises(UnknownNameError, match="did you mean 'jaccard'"):
        evaluate([doc], [], KB, protocol="jacard")


def test_the_report_is_json_carries_digests_and_no_text_of_the_corpus():
    doc = document("d", ("private", ONE_A))
    report = evaluate([doc], linked(doc, ["B"]), KB)
    text = json.dumps(report_json(report))
    assert "private" not in text
    assert {"n", "correct", "recall_at_1", "ci95", "by_group", "ledger", "seed", "protocol"} <= json.loads(text).keys()
    assert report.digests["kb"] == KB.digest
    assert report.digests != evaluate([doc], linked(doc, ["C"]), KB).digests


def test_scores_line_up_with_the_report():
    docs = [document("d", ("one", ONE_A), ("nil", ())), document("e", ("two", ONE_A))]
    ranked = [*linked(docs[0], ["B"], []), *linked(docs[1], ["A"])]
    assert scores_of(docs, ranked, KB) == (["d", "e"], [0.0, 1.0])


def write(path, values):
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def test_a_prediction_file_is_read_as_link_writes_it(tmp_path):
    result = linked(document("d", ("pair", (("A", "B"),))), ["A+B"])[0]
    row = {**to_json(result), "predictions": [{**to_json(p), "code": p.code} for p in result.predictions]}
    assert list(read_linked(write(tmp_path / "p.jsonl", [row]))) == [(1, result)]
    row["predictions"][0]["code"] = "A"
    with pytest.raises(FormatError, match=r"p\.jsonl:1: 'code' is 'A' and 'codes' say 'A\+B'"):
        list(read_linked(write(tmp_path / "p.jsonl", [row])))


def test_a_prediction_for_an_unknown_mention_names_its_line(tmp_path):
    doc = document("d", ("alpha", ONE_A), ("beta", ONE_A))
    rows = linked(doc, ["A"], ["A"])
    path = write(tmp_path / "p.jsonl", [to_json(rows[0]), to_json(replace(rows[1], document_id="other"))])
    with pytest.raises(FormatError, match=r"p\.jsonl:2: document 'other', mention '1': the documents have no such mention"):
        aligned([doc], read_linked(path), path)


def test_a_broken_prediction_row_names_its_line(tmp_path):
    path = tmp_path / "p.jsonl"
    for text, problem in [("{", "not JSON"), ("[]", "should be an object"), ('{"document_id": "d"}', "misses field")]:
        path.write_text("\n" + text + "\n", encoding="utf-8")
        with pytest.raises(FormatError, match=rf"p\.jsonl:2: .*{problem}"):
            list(read_linked(path))


def run(*arguments):
    import typer

    from syncabel.cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    KB.save(tmp_path / "kb")
    doc = document("d", ("alpha", ONE_A), ("cold", (("B",),)), ("gamma", (("C",),)))
    write(tmp_path / "gold.jsonl", [to_json(doc)])
    write(tmp_path / "train.jsonl", [to_json(document("t", ("cold", (("B",),))))])
    write(tmp_path / "predictions.jsonl", [to_json(result) for result in linked(doc, ["A"], ["A", "B"], None)])
    return tmp_path


def test_the_command_scores_beside_baselines_and_writes_the_misses(files):
    result = run(
        files / "gold.jsonl", files / "predictions.jsonl", "--kb", files / "kb", "--train", files / "train.jsonl",
        "--baselines", "--misses", files / "misses.jsonl", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["n"], found["correct"], found["missing"]) == (3, 1, 1)
    counted = {name: facts["correct"] for name, facts in found["baselines"].items()}
    assert {"dictionary": 1, "exact": 2, "tfidf": 2, "cascade": 3}.items() <= counted.items()
    assert [json.loads(line)["cause"] for line in (files / "misses.jsonl").read_text(encoding="utf-8").splitlines()] == ["ranking", "abstained"]


def test_the_command_prints_ceiling_denominator_and_ledger(files):
    result = run(files / "gold.jsonl", files / "predictions.jsonl", "--kb", files / "kb")
    assert result.exit_code == 0, result.output
    for words in (
        "ceiling 100.0%",
        "1 of 3 (set)",
        "1 mentions without a line in the predictions",
        "ranking",
        "match: preferred",
        "what training has seen is not told: no training documents (--train)",
    ):
        assert words in result.stdout
    assert result.stdout.index("ceiling") < result.stdout.index("Recall@1")
    assert "concept: neither" not in result.stdout
