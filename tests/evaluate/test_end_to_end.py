"""Systems that find their own mentions: one hand-worked example through every format, oracles, and files that are not what they should be."""

import doctest
import json
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from syncabel.corpora import write_brat, write_jsonl
from syncabel.errors import ConfigError, FormatError
from syncabel.evaluate import Annotation, AnnotationSet, annotations_of, end_to_end_json, evaluate_end_to_end, read_annotations
from syncabel.types import Document, LinkedMention, Mention, Prediction, Span, to_json

TEXT = "aaaa bbbb cccc dddd eeee ffff"


def mention(name, start, end, kind, *answers):
    return Mention(name, (Span(start, end),), TEXT[start:end], kind, tuple((code,) if isinstance(code, str) else code for code in answers))


#  d1: a  b  (c or c')   NIL e        d2: a        d3: nothing
GOLD = [
    Document("d1", TEXT, (mention("1", 0, 4, "X", "A"), mention("2", 5, 9, "Y", "B"), mention("3", 10, 14, "X", "C", "C2"), mention("4", 20, 24, "X"))),
    Document("d2", TEXT, (mention("1", 0, 4, "X", "A"),)),
    Document("d3", TEXT),
]
#  d1: a right, b of another type, "cccc dddd" too long with the other answer, NIL mention with a code; d2: wrong code; d3: one too many
PREDICTED = [
    Document("d1", TEXT, (mention("9", 0, 4, "X", "A"), mention("8", 5, 9, "X", "B"), mention("7", 10, 19, "X", "C2"), mention("6", 20, 24, "X", "E"))),
    Document("d2", TEXT, (mention("1", 0, 4, "X", "Z"),)),
    Document("d3", TEXT, (mention("1", 5, 9, "Y", "B"),)),
]


@pytest.fixture
def report():
    return evaluate_end_to_end(annotations_of(GOLD), annotations_of(PREDICTED))


def test_the_worked_example_holds():
    import syncabel.evaluate.end_to_end as module

    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def counts(scores):
    return scores.gold, scores.predicted, scores.matched


def test_a_hand_worked_table_of_mentions(report):
    strict, overlapping = report.spans["strict"], report.spans["overlapping"]
    assert {name: counts(one) for name, one in strict.items()} == {
        "span": (5, 6, 4),  # all but the one that is too long
        "span+type": (5, 6, 3),
        "span+code": (4, 6, 2),  # the NIL mention is no part of gold here, what was predicted for it is one too many
        "span+type+code": (4, 6, 1),
    }
    assert {name: counts(one)[2] for name, one in overlapping.items()} == {"span": 5, "span+type": 4, "span+code": 3, "span+type+code": 2}
    micro = strict["span"].micro
    assert (micro.precision.value, micro.recall.value, micro.f1.value) == (4 / 6, 4 / 5, 8 / 11)
    x, y = strict["span+type"].by_group["X"], strict["span+type"].by_group["Y"]
    assert (counts(x), counts(y)) == ((4, 5, 3), (1, 1, 0))
    assert strict["span+type"].macro.f1.value == pytest.approx((6 / 9 + 0) / 2)
    assert strict["span"].macro is None
    assert (report.documents, report.gold, report.predicted, report.nil_gold, report.uncoded_gold) == (3, 5, 6, 1, 0)


def test_the_code_is_judged_on_mentions_that_were_found(report):
    strict, overlapping = report.on_matched["strict"], report.on_matched["overlapping"]
    assert (strict["code"].n, strict["code"].correct) == (3, 2)
    assert (overlapping["code"].n, overlapping["code"].correct) == (4, 3)
    assert (strict["type"].n, strict["type"].correct, strict["type"].accuracy.value) == (4, 3, 3 / 4)


def test_the_sets_of_codes_of_notes(report):
    # d1: gold {A, B, C2} (of C and C2 the one predicted), predicted {A, B, C2, E}; d2: {A}, {Z}; d3: {}, {B}
    notes = report.notes
    assert (notes.documents, notes.gold, notes.predicted, notes.matched) == (3, 4, 6, 3)
    assert (notes.micro.precision.value, notes.micro.recall.value) == (3 / 6, 3 / 4)
    assert notes.macro.precision.value == pytest.approx((3 / 4 + 0 + 0) / 3)
    assert notes.macro.recall.value == pytest.approx((1 + 0 + 0) / 3)
    assert notes.macro.f1.value == pytest.approx((6 / 7) / 3)


def test_seqeval_is_the_strict_score_with_types(report):
    typed = report.spans["strict"]["span+type"]
    assert (report.seqeval.micro, report.seqeval.macro, report.seqeval.weighted) == (typed.micro, typed.macro, typed.weighted)


def test_a_mention_nobody_looked_up_is_on_no_side_of_criteria_with_a_code():
    gold = AnnotationSet("g", (Annotation("d", (Span(0, 2),), "X", None), Annotation("d", (Span(3, 5),), "X", (frozenset("A"),))), ("d",))
    predicted = AnnotationSet("p", (Annotation("d", (Span(0, 2),), "X", (frozenset("B"),)), Annotation("d", (Span(3, 5),), "X", (frozenset("A"),))))
    found = evaluate_end_to_end(gold, predicted)
    assert counts(found.spans["strict"]["span"]) == (2, 2, 2)
    assert counts(found.spans["strict"]["span+code"]) == (1, 1, 1)
    assert found.uncoded_gold == 1


def test_an_abstention_is_a_found_mention_without_a_code():
    gold = AnnotationSet("g", (Annotation("d", (Span(0, 2),), None, (frozenset("A"),)),), ("d",))
    found = evaluate_end_to_end(gold, AnnotationSet("p", (Annotation("d", (Span(0, 2),), None, ()),)))
    assert counts(found.spans["strict"]["span"]) == (1, 1, 1)
    assert counts(found.spans["strict"]["span+code"]) == (1, 0, 0)
    assert found.on_matched["strict"]["code"].accuracy.value == 0
    assert found.spans["strict"]["span+code"].micro.precision.value is None
    assert (found.nil_predicted, found.spans["strict"]["span+type"], found.seqeval) == (1, None, None)


def test_nothing_predicted_is_scored_and_the_json_has_no_nan():
    found = evaluate_end_to_end(annotations_of(GOLD), AnnotationSet("p", ()), iou="2024")
    strict = found.spans["strict"]
    assert (strict["span"].micro.recall.value, strict["span"].micro.precision.value, strict["span+type"].macro.f1.value) == (0, None, 0)
    assert found.on_matched["strict"]["code"].n == 0
    assert found.notes.micro.recall.value == 0
    assert json.loads(json.dumps(end_to_end_json(found), allow_nan=False))["characters"]["macro"]["value"] == 0


def test_types_of_another_vocabulary_are_warned_of():
    other = [Document("d1", TEXT, (mention("1", 0, 4, "Disorder", "A"),))]
    found = evaluate_end_to_end(annotations_of(GOLD), annotations_of(other))
    assert "no predicted type is one of gold's (gold: 'X', 'Y'; predicted: 'Disorder')" in found.warning
    assert "3 documents are under 30" in found.warning


ANNOTATIONS = st.lists(
    st.builds(
        lambda document, start, length, kind, code: Annotation(document, (Span(start, start + length),), kind, (frozenset(code),)),
        st.sampled_from("de"),
        st.integers(0, 6),
        st.integers(1, 4),
        st.sampled_from("XY"),
        st.sampled_from("AB"),
    ),
    min_size=1,
    max_size=6,
)


@given(ANNOTATIONS, ANNOTATIONS)
@settings(max_examples=25, deadline=None)
def test_swapping_gold_and_predictions_swaps_precision_and_recall(gold, predicted):
    sides = [AnnotationSet("s", tuple(side), ("d", "e")) for side in (gold, predicted)]
    one, other = evaluate_end_to_end(*sides, rounds=3), evaluate_end_to_end(*sides[::-1], rounds=3)
    for way, criteria in one.spans.items():
        for criterion, scores in criteria.items():
            swapped = other.spans[way][criterion].micro
            assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (swapped.recall, swapped.precision, swapped.f1)
    assert one.notes.macro.f1 == other.notes.macro.f1


def linked_row(document, one, index):
    codes = one.answers[0] if one.answers else ()
    return LinkedMention(document.id, f"p{index}", one.text, one.start, one.end, (one.type,), (Prediction(codes, one.text, 0.0),) if codes else ())


def write_linked(documents, path):
    rows = [linked_row(document, one, index) for document in documents for index, one in enumerate(document.mentions)]
    path.write_text("".join(json.dumps(to_json(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(documents, path):
    rows = [f"{document.id},{one.start},{one.end},{one.codes[0] if one.codes else 'NO_CODE'}" for document in documents for one in document.mentions]
    path.write_text("\n".join(["note_id,start,end,concept_id", *rows]) + "\n", encoding="utf-8")
    return path


def files(tmp_path):
    write_jsonl(GOLD, tmp_path / "gold.jsonl")
    write_jsonl(PREDICTED, tmp_path / "predicted.jsonl")
    return tmp_path / "gold.jsonl", tmp_path / "predicted.jsonl"


def test_every_format_of_predictions_gives_the_same_scores(tmp_path, report):
    gold, predicted = files(tmp_path)
    write_brat(PREDICTED, tmp_path / "brat")
    linked, rows = write_linked(PREDICTED, tmp_path / "linked.jsonl"), write_csv(PREDICTED, tmp_path / "rows.csv")
    for path in (predicted, linked, tmp_path / "brat"):
        found = evaluate_end_to_end(read_annotations(gold), read_annotations(path))
        assert (found.spans, found.notes, found.on_matched) == (report.spans, report.notes, report.on_matched), path
    found = evaluate_end_to_end(read_annotations(gold), read_annotations(rows))
    assert found.spans["strict"]["span+code"] == report.spans["strict"]["span+code"]
    assert found.spans["strict"]["span+type"] is None


def test_codes_are_canonical_where_a_knowledge_base_is_given(tmp_path, small_kb):
    gold = tmp_path / "gold.csv"
    gold.write_text("note_id,start,end,concept_id\nn,0,4,A:1\n", encoding="utf-8")
    predicted = tmp_path / "predicted.csv"
    predicted.write_text("note_id,start,end,concept_id\nn,0,4,A:100\n", encoding="utf-8")
    for kb, matched in ((None, 0), (small_kb, 1)):
        found = evaluate_end_to_end(read_annotations(gold, kb), read_annotations(predicted, kb))
        assert found.spans["strict"]["span+code"].matched == matched


def test_csv_columns_may_come_in_any_order_with_others_between_and_offsets_as_floats(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('concept_id,kind,end,note_id,start\n"1,2",x,4.0,n,0.0\n\nNO_CODE,x,9,n,5\n', encoding="utf-8")
    found = read_annotations(path).annotations
    assert [(one.document_id, one.start, one.end, one.answers) for one in found] == [("n", 0, 4, (frozenset({"1,2"}),)), ("n", 5, 9, ())]


def test_oracles_show_what_finding_and_typing_cost():
    on_gold = [Document(document.id, TEXT, tuple(one for one in document.mentions if one.answers)) for document in GOLD]
    found = evaluate_end_to_end(annotations_of(GOLD), annotations_of(PREDICTED), oracle_spans=annotations_of(on_gold), oracle_types=annotations_of(on_gold))
    helped = found.ablations["oracle_spans"]
    assert counts(helped.spans["strict"]["span+code"]) == (4, 4, 4)
    gain = helped.gains["strict"]["span+code"]
    assert gain.f1.value == pytest.approx(1 - 4 / 10)
    assert gain.f1.ci95[0] <= gain.f1.value <= gain.f1.ci95[1]
    assert set(found.ablations) == {"oracle_spans", "oracle_types"}


def test_an_oracle_that_is_not_of_gold_is_refused():
    sets = annotations_of(GOLD), annotations_of(PREDICTED)
    with pytest.raises(ConfigError, match=r"documents: 2 of 6 predictions are not on gold spans \('d1:10–19', 'd3:5–9'\)"):
        evaluate_end_to_end(*sets, oracle_spans=sets[1])
    with pytest.raises(ConfigError, match=r"1 predictions on gold spans have another type than gold \('d1:5–9'\)"):
        evaluate_end_to_end(*sets, oracle_types=sets[1])


def test_predictions_for_documents_that_gold_does_not_have_are_refused(tmp_path):
    gold, _ = files(tmp_path)
    rows = tmp_path / "p.csv"
    rows.write_text("note_id,start,end,concept_id\n" + "".join(f"x{i},0,1,A\n" for i in range(4)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"p\.csv: 4 documents are not among the gold ones \('x0', 'x1', 'x2', …\)"):
        evaluate_end_to_end(read_annotations(gold), read_annotations(rows))


def test_gold_without_a_mention_or_a_document_is_refused(tmp_path):
    rows = tmp_path / "gold.csv"
    rows.write_text("note_id,start,end,concept_id\n", encoding="utf-8")
    for gold in (read_annotations(rows), annotations_of([]), annotations_of([GOLD[2]])):
        with pytest.raises(ConfigError, match="no gold mention to score; give annotated documents"):
            evaluate_end_to_end(gold, annotations_of(PREDICTED))
    with pytest.raises(ConfigError, match="two documents have the same id"):
        evaluate_end_to_end(annotations_of([GOLD[0], GOLD[0]]), annotations_of([]))


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(FormatError, match=rf"{name}: the file is empty"):
        read_annotations(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("n,0,4", "3 columns where the header has 4"),
        ("n,zero,4,A", "start is no whole number"),
        ("n,0,4.5,A", "end is no whole number"),
        ("n,-1,4,A", "start is no whole number"),
        ("n,4,4,A", "start 4 is not before end 4"),
        (",0,4,A", "note_id is empty"),
        ("n,0,4,", "concept_id is empty; write NO_CODE"),
        ("m,0,1,A", "the same row as line 2"),
        ('n,0,4,"A', "not CSV"),
    ],
)
def test_a_bad_row_of_a_csv_is_one_line_with_its_number_and_without_its_words(tmp_path, row, problem):
    path = tmp_path / "rows.csv"
    path.write_text(f"note_id,start,end,concept_id\nm,0,1,A\n{row}\n", encoding="utf-8")
    with pytest.raises(FormatError, match=rf"rows\.csv:3: {problem}") as caught:
        read_annotations(path)
    assert "\n" not in str(caught.value)
    assert "zero" not in str(caught.value)


def test_a_csv_without_a_column_names_those_it_needs(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("note_id,start,end\nm,0,1\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"rows\.csv:1: no column 'concept_id'; the first line has to name the columns note_id, start, end, concept_id"):
        read_annotations(path)


def test_doubled_mention_ids_and_no_offsets_of_linked_mentions_are_refused(tmp_path):
    path = write_linked(PREDICTED, tmp_path / "linked.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[0]]) + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"linked\.jsonl:7: document 'd1': mention 'p0' was on line 1 before"):
        read_annotations(path)
    path.write_text(lines[0].replace('"end": 4', '"end": 0') + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"linked\.jsonl:1: document 'd1', mention 'p0': offsets 0–0 are none"):
        read_annotations(path)


def run(*arguments):
    from syncabel.cli.evaluate import evaluate

    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_tables_and_json(tmp_path):
    gold, predicted = files(tmp_path)
    shown = run(gold, predicted, "--end-to-end", "--iou", "2026")
    assert shown.exit_code == 0, shown.output
    assert "5 gold mentions and 6 predicted ones in 3 documents" in shown.stdout
    assert "strict: code right on 2 of 3 matched mentions" in shown.stdout
    oracle = write_linked([GOLD[0]], tmp_path / "oracle.jsonl")
    found = json.loads(run(gold, predicted, "--end-to-end", "--oracle-spans", oracle, "--json").stdout)
    assert found["spans"]["strict"]["span+type+code"]["matched"] == 1
    assert found["spans"]["strict"]["span"]["micro"]["f1"]["value"] == 8 / 11
    assert found["ablations"]["oracle_spans"]["gains"]["strict"]["span"]["precision"]["value"] == pytest.approx(1 - 4 / 6)
    assert found["characters"] is None
    assert "oracle_spans" in run(gold, predicted, "--end-to-end", "--oracle-spans", oracle).stdout


def test_the_command_says_which_row_of_a_file_it_could_not_read(tmp_path):
    gold, predicted = files(tmp_path)
    lines = predicted.read_text(encoding="utf-8").splitlines()
    predicted.write_text("\n".join([lines[0], lines[1].replace('"end": 4', '"end": 5'), lines[2]]), encoding="utf-8")
    shown = run(gold, predicted, "--end-to-end")
    assert shown.stderr == f"{predicted}:2: offset: first of 1 rows not read; `syncabel corpus convert` lists them\n"
    assert "5 gold mentions and 5 predicted ones" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("gold.jsonl", "--end-to-end"), "give DOCUMENTS and one file of PREDICTIONS"),
        (("gold.jsonl", "p", "q", "--end-to-end"), "give DOCUMENTS and one file of PREDICTIONS"),
        (("gold.jsonl", "p", "--end-to-end", "--protocol", "jaccard"), "has no protocol 'jaccard'; give one of set, any, overlap"),
        (("gold.jsonl", "p", "--end-to-end", "--iou", "2025"), "unknown rule of character IoU '2025'"),
        (("gold.jsonl", "p", "--end-to-end", "--baselines"), "leave the other options out"),
        (("gold.jsonl", "p", "--iou", "2024"), "go with --end-to-end"),
        (("gold.jsonl", "p", "--end-to-end", "--tsv", "t"), "give DOCUMENTS and PREDICTIONS, or --tsv FILE"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, problem):
    found = run(*arguments)
    assert problem in str(found.exception)


def test_a_system_that_predicts_gold_on_a_real_corpus_is_right_everywhere(shared_data: Path):
    path = shared_data / "corpora" / "bc5cdr" / "CDR_DevelopmentSet.PubTator.txt.gz"
    gold = read_annotations(path)
    found = evaluate_end_to_end(gold, gold, iou="2026", rounds=20)
    values = [one.micro.f1.value for criteria in found.spans.values() for one in criteria.values()]
    assert values == [1.0] * 8
    assert (found.notes.micro.f1.value, found.characters.macro.value, found.seqeval.macro.f1.value) == (1, 1, 1)
    assert found.warning is None
