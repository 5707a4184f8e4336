"""Strata of the published table format: a hand-worked table, and that every row is in exactly one stratum of each kind."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from syncabel.corpora import write_jsonl
from syncabel.errors import ConfigError, FormatError
from syncabel.evaluate import TABLE_STRATA, compare_table_strata, compare_tables, holm, read_training_mentions, read_tsv, table_strata, table_strata_json
from syncabel.types import Document, Mention, Span

HEADER = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tannotation\tPredicted_code"
ROWS = [
    ("d1", "X", "0", "4", "Pain", "C1", "Pain", "C1"),
    ("d1", "X", "9", "13", "Pain", "C2", "pain", "C9"),
    ("d2", "X", "0", "4", "pain", "C1", "Pain", "C1"),
    ("d2", "X", "9", "12", "MS-2", "C3+C1", "x", "C1+C3"),
    ("d3", "X", "0", "30", "pain of the left knee", "C4", "x", ""),
]


def table(path, rows=ROWS, header=HEADER):
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def train(path):
    rows = [("Pain", "C1"), ("MS-2", "C3"), ("Fever", "C1"), ("gone", "NO_CODE")]
    path.write_text("\n".join(["span\tcode", *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def members(strata, kind, value):
    return [place for place, there in enumerate(strata[kind][value]) if there]


def test_a_hand_worked_table(tmp_path):
    found = table_strata(read_tsv(table(tmp_path / "t.tsv")), read_training_mentions([train(tmp_path / "train.tsv")]))
    assert members(found, "code", "seen") == [0, 2, 3]  # of a composite both parts
    assert members(found, "mention", "seen") == [0, 1, 3]  # `pain` is not `Pain`
    assert members(found, "pair", "seen") == [0]
    assert members(found, "frequent", "top100") == [0, 2]
    assert members(found, "name", "name") == [0]
    assert [members(found, "length", words) for words in ("1", "2", "3", ">3")] == [[0, 1, 2, 3], [], [], [4]]
    assert members(found, "abbreviation", "abbreviation") == [3]
    assert members(found, "repeated", "repeated") == [0, 1]
    assert members(found, "composite", "composite") == [3]
    assert list(found) == list(TABLE_STRATA)


def test_every_row_is_in_one_stratum_of_each_kind_and_an_empty_one_is_n_0_and_null(tmp_path):
    found = read_tsv(table(tmp_path / "t.tsv"))
    strata = table_strata(found, read_training_mentions([train(tmp_path / "train.tsv")]))
    for kind, values in strata.items():
        assert tuple(values) == TABLE_STRATA[kind]
        assert all(sum(column) == 1 for column in zip(*values.values(), strict=True))
    cells = table_strata_json(found, strata)
    assert cells["length"]["2"] == {"n": 0, "correct": 0, "recall_at_1": None, "ci95": None}
    assert cells["composite"]["simple"]["recall_at_1"] == 2 / 4
    json.dumps(cells, allow_nan=False)


def test_strata_without_their_columns_or_training_are_not_there(tmp_path):
    rows = [(*row[:4], row[5], row[7]) for row in ROWS]
    bare = read_tsv(table(tmp_path / "t.tsv", rows, "filename\tlabel\tstart_span\tend_span\tcode\tPredicted_code"))
    assert list(table_strata(bare)) == ["composite"]
    whole = read_tsv(table(tmp_path / "t.tsv"))
    assert not {"code", "mention", "pair", "frequent"} & set(table_strata(whole))


def test_a_corpus_of_training_documents_is_read_as_well(tmp_path):
    mention = Mention("1", (Span(0, 4),), "Pain", "X", (("C1", "C2"), ("C3",)))
    write_jsonl([Document("d", "Pain", (mention, Mention("2", (Span(0, 2),), "Pa", "X", ())))], tmp_path / "train.jsonl")
    assert read_training_mentions([tmp_path / "train.jsonl"]).pairs == (("Pain", "C1+C2"),)


def test_training_files_without_a_code_or_with_a_short_row_are_refused(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("span\tcode\nx\tNO_CODE\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no training mention with a code"):
        read_training_mentions([path])
    path.write_text("span\tcode\nx\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"train\.tsv:2: 1 columns where the header has 2"):
        read_training_mentions([path])


def test_strata_are_compared_row_by_row_whatever_the_order_of_the_tables(tmp_path):
    first = read_tsv(table(tmp_path / "a.tsv"))
    second = read_tsv(table(tmp_path / "b.tsv", [(*row[:7], "C1") for row in ROWS][::-1]))
    found = compare_table_strata(first, second, table_strata(first), rounds=100)
    assert found["composite"]["composite"].delta == 1
    assert (
        found["composite"]["simple"].delta
        == compare_tables(
            read_tsv(table(tmp_path / "c.tsv", [ROWS[i] for i in (0, 1, 2, 4)])),
            read_tsv(table(tmp_path / "d.tsv", [(*ROWS[i][:7], "C1") for i in (0, 1, 2, 4)])),
            rounds=100,
        ).delta
    )
    there = [one for values in found.values() for one in values.values() if one]
    assert [one.p_holm for one in there] == holm([one.p_sign_flip for one in there])
    assert found["length"]["2"] is None


def run(*arguments):
    from syncabel.cli.evaluate import evaluate

    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_adds_strata_and_keeps_its_keys(tmp_path):
    path, other = table(tmp_path / "a.tsv"), table(tmp_path / "b.tsv", [(*row[:7], "C1") for row in ROWS])
    found = json.loads(run("--tsv", path, "--versus", other, "--train", train(tmp_path / "train.tsv"), "--json").stdout)
    assert {"n", "correct", "recall_at_1", "ci95", "by_group", "documents", "judges"} <= set(found)
    assert found["strata"]["pair"]["seen"]["n"] == 1
    assert found["paired"]["strata"]["length"]["2"]["delta"] is None
    shown = run("--tsv", path, "--versus", other)
    assert "repeated: once" in shown.stdout
    assert "warning: 3 documents are under 30" in shown.stdout


def test_the_published_gain_of_synthetic_data_on_medline_is_one_on_concepts_not_seen_in_training(shared_data: Path, tmp_path):
    import tarfile

    with tarfile.open(shared_data / "corpora" / "quaero" / "quaero_brat.tar.gz") as archive:
        archive.extractall(tmp_path, [one for one in archive.getmembers() if "train/MEDLINE" in one.name], filter="data")
    folder = next(tmp_path.rglob("MEDLINE"))
    first, second = (read_tsv(shared_data / "predictions" / f"MEDLINE_{name}.tsv") for name in ("with", "without"))
    strata = table_strata(first, read_training_mentions([folder]))
    found = compare_table_strata(first, second, {"code": strata["code"]}, rounds=1000)["code"]
    assert (found["seen"].n, found["unseen"].n) == (1530, 1549)
    assert round(found["unseen"].delta, 3) == 0.052
    assert found["unseen"].p_holm < 0.01
    assert found["seen"].delta < 0
    assert found["seen"].p_holm > 0.05
