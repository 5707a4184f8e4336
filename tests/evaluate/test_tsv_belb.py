"""The published formats: to the last digit on the published files, and by hand on small ones."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.evaluate import belb_json, compare_tsv, evaluate_belb, evaluate_tsv, read_tsv

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
PUBLISHED = SHARED / "data" / "predictions"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data beside the checkout")
HEADER = "filename\tlabel\tstart_span\tend_span\tcode\tPredicted_code"


def table(tmp_path, *rows, header=HEADER):
    path = tmp_path / "table.tsv"
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def expected():
    return json.loads((PUBLISHED / "expected.json").read_text(encoding="utf-8"))


def percent(values):
    return [round(100 * value, 4) for value in values]


@needs_shared
@pytest.mark.parametrize("system", ["EMEA/with", "EMEA/without", "MEDLINE/with", "MEDLINE/without"])
def test_the_published_tables_give_the_published_figures_to_the_last_digit(system):
    wanted = expected()["systems"][system]
    report = evaluate_tsv(read_tsv(PUBLISHED / f"{system.replace('/', '_')}.tsv"))
    assert (report.n, report.correct, report.documents) == (wanted["n"], wanted["correct"], wanted["docs"])
    assert percent([report.recall_at_1, *report.ci95]) == [wanted["recall"], *wanted["ci95"]]
    assert report.by_group == wanted["per_label"]
    for judge in ("LLM_Evaluation", "LLM_Evaluation_v2"):
        assert report.judges[judge]["counts"] == wanted[judge]
    valid = report.judges["LLM_Evaluation_v2"]
    assert valid["valid"] == wanted["judge_v2_valid"]["n"]
    assert percent([valid["valid_share"], *valid["ci95"]]) == [wanted["judge_v2_valid"]["pct"], *wanted["judge_v2_valid"]["ci95"]]


@needs_shared
@pytest.mark.parametrize("corpus", ["EMEA", "MEDLINE"])
def test_the_published_difference_of_two_tables_comes_out(corpus):
    wanted = expected()["paired_delta_released_pct"][corpus]
    found = compare_tsv(read_tsv(PUBLISHED / f"{corpus}_with.tsv"), read_tsv(PUBLISHED / f"{corpus}_without.tsv"))
    assert [round(100 * value, 2) for value in (found.delta, *found.ci95)] == [wanted["delta"], *wanted["ci95"]]
    assert (found.only_first, found.only_second) == (wanted["only_with"], wanted["only_without"])


@needs_shared
@pytest.mark.parametrize("corpus", ["ncbi_disease", "bc5cdr_disease"])
def test_both_belb_protocols_give_the_published_counts_for_all_six_systems(corpus):
    wanted = json.loads((PUBLISHED / "belb_expected.json").read_text(encoding="utf-8"))[corpus]
    found = belb_json(evaluate_belb(PUBLISHED / f"belb_{corpus}.jsonl"))
    assert found["n"] == wanted["n"]
    assert {name: {k: v for k, v in system.items() if k != "missing"} for name, system in found["systems"].items()} == wanted["systems"]


def test_duplicates_and_rows_without_code_are_left_out_and_counted(tmp_path):
    rows = [
        ("d1", "Disease", "0", "3", "C1", "C1"),
        ("d1", "Disease", "0", "3", "C2", "C1"),  # the same mention again: the first row decides
        ("d1", "Drug", "0", "3", "C3", "C4"),  # another label: another mention
        ("d2", "Disease", "0", "3", "NO_CODE", "NO_CODE"),
        ("d2", "Disease", "0", "3", "NO_CODE", "C1"),
        ("d2", "Disease", "5", "9", "C1+NO_CODE", "C1"),
    ]
    report = evaluate_tsv(read_tsv(table(tmp_path, *rows)))
    assert (report.n, report.correct, report.duplicates, report.no_code) == (2, 1, 2, 2)
    assert report.by_group == {"Disease": {"n": 1, "correct": 1}, "Drug": {"n": 1, "correct": 0}}
    assert report.n + report.duplicates + report.no_code == len(rows)


def test_composites_are_right_in_any_order_and_only_whole(tmp_path):
    predictions = ["C2 + C1", "C1+C2", "C1", "C1+C2+C3", "", "NO_CODE"]
    report = evaluate_tsv(read_tsv(table(tmp_path, *(("d", "L", str(i), "9", "C1+C2", code) for i, code in enumerate(predictions)))))
    assert (report.n, report.correct) == (6, 2)


def test_a_lone_quotation_mark_swallows_no_row(tmp_path):
    rows = [("d", "L", "0", "1", "C1", "C1", '"open'), ("d", "L", "1", "2", "C2", "C2", 'in"side'), ("d", "L", "2", "3", "C3", "C3", '"say ""so"""')]
    quoted_label = ("d", '"a ""b"""', "3", "4", "C4", "C4", "x")
    plain_label = ("d", 'a "b"', "3", "4", "C4", "C5", "x")
    found = read_tsv(table(tmp_path, *rows, quoted_label, plain_label, header=HEADER + "\tspan"))
    assert (len(found.rows), found.duplicates) == (4, 1)
    assert found.rows[3].label == 'a "b"'


def test_a_tab_inside_quotation_marks_is_text(tmp_path):
    found = read_tsv(table(tmp_path, ("d", "L", "0", "1", "C1", "C1", '"left\tright"'), header=HEADER + "\tspan"))
    assert found.rows[0].Predicted_code == "C1"


def test_a_missing_column_names_the_nearest(tmp_path):
    with pytest.raises(FormatError, match=r"table\.tsv:1: no column 'Predicted_code'; the nearest is 'predicted_codes'"):
        read_tsv(table(tmp_path, header=HEADER.replace("Predicted_code", "predicted_codes")))


def test_short_rows_rows_without_gold_and_latin_1_name_their_line(tmp_path):
    good = ("d", "L", "0", "1", "C1", "C1")
    with pytest.raises(FormatError, match=r"table\.tsv:3: 4 columns where the header has 6"):
        read_tsv(table(tmp_path, good, good[:4]))
    with pytest.raises(FormatError, match=r"table\.tsv:3: no gold code"):
        read_tsv(table(tmp_path, good, ("d", "L", "1", "2", " ", "")))
    path = table(tmp_path, good)
    path.write_bytes(path.read_bytes() + b"d\tL\xe9\n")
    with pytest.raises(FormatError, match=r"table\.tsv:3: .*not UTF-8"):
        read_tsv(path)


def test_a_table_with_nothing_to_score_says_what_was_left_out(tmp_path):
    with pytest.raises(ConfigError, match="0 duplicates, 1 without a gold code"):
        evaluate_tsv(read_tsv(table(tmp_path, ("d", "L", "0", "1", "NO_CODE", ""))))


def test_tables_of_other_mentions_are_not_compared(tmp_path):
    first = read_tsv(table(tmp_path, ("d", "L", "0", "1", "C1", "C1")))
    second = read_tsv(table(tmp_path, ("d", "L", "0", "2", "C1", "C1")))
    with pytest.raises(ConfigError, match=r"1 only in the first table \(d:L:0:1\); 1 only in the second \(d:L:0:2\)"):
        compare_tsv(first, second)
    other = read_tsv(table(tmp_path, ("d", "L", "0", "1", "C2", "C1")))
    with pytest.raises(ConfigError, match=r"1 mentions have another gold code in each table \(d:L:0:1\)"):
        compare_tsv(first, other)
    nothing = read_tsv(table(tmp_path, ("d", "L", "0", "1", "NO_CODE", "C1")))
    with pytest.raises(ConfigError, match="no row is left to compare"):
        compare_tsv(nothing, nothing)


def belb(tmp_path, *rows):
    path = tmp_path / "belb.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_strict_wants_one_id_lenient_any_and_no_prediction_is_wrong(tmp_path):
    rows = [
        {"id": "1", "gold": [1, 2], "top1": {"s": [2]}},
        {"id": "2", "gold": [1], "top1": {"s": [1, 3]}},
        {"id": "3", "gold": [1, 2], "top1": {"s": [1, 2]}},
        {"id": "4", "gold": [1], "top1": {"s": []}},
        {"id": "5", "gold": [1], "top1": {}},
    ]
    report = evaluate_belb(belb(tmp_path, *rows))
    system = report.systems["s"]
    assert (report.n, system.strict, system.lenient, system.missing) == (5, 1, 3, 2)
    assert (system.strict_pct, system.lenient_pct) == (20.0, 60.0)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": "1", "top1": {}}, "field 'gold' is missing"),
        ({"id": "1", "gold": [], "top1": {}}, "at least one id"),
        ({"id": "1", "gold": [1], "top1": {"s": 1}}, "object of lists"),
        ([1], "an object is expected"),
    ],
)
def test_a_bad_belb_row_names_its_line(tmp_path, row, problem):
    with pytest.raises(FormatError, match=rf"belb\.jsonl:2: .*{problem}"):
        evaluate_belb(belb(tmp_path, {"id": "0", "gold": [1], "top1": {}}, row))


def run(*arguments):
    import typer

    from syncabel.cli.evaluate import evaluate

    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_the_promised_json(tmp_path):
    result = run("--tsv", table(tmp_path, ("d", "L", "0", "1", "C1", "C1"), ("e", "L", "0", "1", "C1", "C2")), "--json")
    found = json.loads(result.stdout)
    assert {"n": 2, "correct": 1, "recall_at_1": 0.5, "by_group": {"L": {"n": 2, "correct": 1}}}.items() <= found.items()
    assert found["ci95"] == [0.0, 1.0]


def test_the_command_prints_what_left_the_denominator(tmp_path):
    result = run("--tsv", table(tmp_path, ("d", "L", "0", "1", "C1", "C1"), ("d", "L", "5", "6", "NO_CODE", "C1")))
    assert "0 duplicates, 1 rows whose gold holds NO_CODE" in result.stdout


@needs_shared
@pytest.mark.parametrize("corpus", ["EMEA", "MEDLINE"])
def test_versus_adds_the_published_difference_to_the_json(corpus):
    wanted = expected()["paired_delta_released_pct"][corpus]
    tables = [PUBLISHED / f"{corpus}_{name}.tsv" for name in ("with", "without")]
    found = json.loads(run("--tsv", tables[0], "--versus", tables[1], "--json").stdout)
    paired = found["paired"]
    assert [round(100 * value, 2) for value in (paired["delta"], *paired["ci95"])] == [wanted["delta"], *wanted["ci95"]]
    assert (paired["only_a"], paired["only_b"]) == (wanted["only_with"], wanted["only_without"])
    assert 0 < paired["p_mcnemar"] < 0.001 > paired["p_sign_flip"] > 0
    assert found["n"] == expected()["systems"][f"{corpus}/with"]["n"]


@needs_shared
@pytest.mark.parametrize("system", ["EMEA/with", "EMEA/without", "MEDLINE/with", "MEDLINE/without"])
def test_a_judge_column_adds_its_labels_and_the_published_share_of_valid_answers(system):
    wanted, path = expected()["systems"][system], PUBLISHED / f"{system.replace('/', '_')}.tsv"
    for column in ("LLM_Evaluation", "LLM_Evaluation_v2"):
        found = json.loads(run("--tsv", path, "--judge-column", column, "--json").stdout)
        assert found["judge"] == wanted[column]
        assert found["valid"]["value"] == (wanted[column]["STRICT"] + wanted[column]["EXACT"]) / wanted["n"]
    published = wanted["judge_v2_valid"]
    assert percent([found["valid"]["value"], *found["valid"]["ci95"]]) == [published["pct"], *published["ci95"]]


JUDGED = HEADER + "\tmine\tspan"


def test_a_judge_column_may_have_any_name_and_an_unknown_one_is_answered_with_those_there_are(tmp_path):
    rows = [("d", "L", "0", "1", "C1", "C1", "STRICT", "x"), ("d", "L", "1", "2", "C1", "C2", "EXACT", "x"), ("d", "L", "2", "3", "C1", "", " ", "x")]
    found = json.loads(run("--tsv", table(tmp_path, *rows, header=JUDGED), "--judge-column", "mine", "--json").stdout)
    assert found["judge"] == {"(no label)": 1, "EXACT": 1, "STRICT": 1}
    assert found["valid"]["value"] == 2 / 3
    for unknown in ("their", "span", "code"):
        with pytest.raises(UnknownNameError, match=rf"unknown judge column '{unknown}'; did you mean 'mine'\? \(known: mine\)"):
            read_tsv(tmp_path / "table.tsv", unknown)


def test_a_column_without_one_label_of_a_judge_is_refused(tmp_path):
    with pytest.raises(FormatError, match="column 'mine' holds no judge's label; labels are STRICT, EXACT, PARTIAL, BROAD, NARROW, NO_RELATION"):
        read_tsv(table(tmp_path, ("d", "L", "0", "1", "C1", "C1", "good", "x"), header=JUDGED), "mine")


def test_versus_and_judge_column_want_a_table():
    for arguments in (("--versus", "b"), ("--judge-column", "LLM_Evaluation", "--belb", "a")):
        assert isinstance(run(*arguments).exception, ConfigError)


def test_the_command_wants_one_way_of_scoring():
    for arguments in ((), ("--tsv", "a", "--belb", "b")):
        assert isinstance(run(*arguments).exception, ConfigError)
