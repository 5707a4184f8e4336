"""The published tables as documents and predictions: protocol `syncabel` gives the published figures, to the digit."""

import json
from collections import defaultdict

import pytest

from syncabel.corpora.syncabel_tsv import code_parts, table_rows
from syncabel.evaluate import evaluate, evaluate_belb, evaluate_tsv, read_tsv
from syncabel.kb import About, KnowledgeBase
from syncabel.lines import json_lines
from syncabel.types import NO_CODE, Concept, Document, LinkedMention, Mention, Name, Prediction, Span

ABOUT = About(source="test", release="1", licence="CC0-1.0", redistributable=True)


def as_documents(path):
    """One document a file name, one character for each place in it, and each row's prediction; the knowledge base is of all codes met."""
    _, rows = table_rows(path, ("filename", "label", "start_span", "end_span", "code", "Predicted_code"))
    by_file = defaultdict(list)
    for row in rows:
        by_file[row.cells["filename"]].append(row.cells)
    documents, linked, codes = [], [], set()
    for name, cells in by_file.items():
        mentions, places = [], {}
        for number, row in enumerate(cells):
            place = places.setdefault((row["start_span"], row["end_span"]), len(places))
            gold, predicted = (tuple(code_parts(row[column])) for column in ("code", "Predicted_code"))
            codes.update(gold, predicted)
            mentions.append(Mention(str(number), (Span(place, place + 1),), "x", row["label"], () if NO_CODE in gold else (gold,)))
            found = (Prediction(predicted, "n", -1.0),) if predicted else ()
            linked.append(LinkedMention(name, str(number), "x", place, place + 1, (), found))
        documents.append(Document(name, "x" * len(places), tuple(mentions)))
    return documents, linked, KnowledgeBase.build([Concept(code, (Name(code),), ("G",)) for code in sorted(codes)], ABOUT)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("name", ["EMEA_with", "EMEA_without", pytest.param("MEDLINE_with", marks=SLOW), pytest.param("MEDLINE_without", marks=SLOW)])
def test_the_published_figures_come_out_of_documents_too(shared_data, name):
    path = shared_data / "predictions" / f"{name}.tsv"
    reference, expected = evaluate_tsv(read_tsv(path)), json.loads((path.parent / "expected.json").read_text())["systems"][name.replace("_", "/")]
    documents, linked, kb = as_documents(path)
    report = evaluate(documents, linked, kb, protocol="syncabel")
    assert (
        (report.n, report.correct, report.documents)
        == (reference.n, reference.correct, reference.documents)
        == (expected["n"], expected["correct"], expected["docs"])
    )
    assert report.ci95 == reference.ci95, "bit for bit"
    assert {label: {"n": cell.n, "correct": cell.correct} for label, cell in report.by_group.items()} == reference.by_group
    assert report.left_out + report.nil == reference.duplicates + reference.no_code


@pytest.mark.parametrize(("name", "systems"), [("ncbi_disease", 2), pytest.param("ncbi_disease", 6, marks=SLOW), pytest.param("bc5cdr_disease", 6, marks=SLOW)])
def test_the_published_belb_counts_come_out_of_documents_too(shared_data, name, systems):
    path = shared_data / "predictions" / f"belb_{name}.jsonl"
    rows = [value for _, value in json_lines(path, "")]
    published = evaluate_belb(path)
    assert len(published.systems) == 6
    for system in list(published.systems)[:systems]:
        # A name of its own for each set of ids that the top-ranked names stand for.
        sets = sorted({tuple(sorted(set(map(str, row["top1"].get(system, ()))))) for row in rows} - {()})
        names = {ids: f"name {number}" for number, ids in enumerate(sets)}
        of = defaultdict(lambda: ["own"])
        for ids, written in names.items():
            for one in ids:
                of[one].append(written)
        kb = KnowledgeBase.build([Concept(code, tuple(Name(f"{code} {n}" if n == "own" else n) for n in of[code]), ("G",)) for code in sorted(of)], ABOUT)
        document = Document(
            "d", "x" * len(rows), tuple(Mention(str(i), (Span(i, i + 1),), "x", "D", tuple((str(g),) for g in row["gold"])) for i, row in enumerate(rows))
        )
        linked = [
            LinkedMention("d", str(i), "x", i, i + 1, (), (Prediction(ids[:1], names[ids], -1.0),))
            for i, row in enumerate(rows)
            if (ids := tuple(sorted(set(map(str, row["top1"].get(system, ()))))))
        ]
        metrics = evaluate([document], linked, kb, rounds=1).metrics
        counts = published.systems[system]
        assert (round(metrics["belb-strict"] * len(rows)), round(metrics["belb-lenient"] * len(rows))) == (counts.strict, counts.lenient), system


def test_the_published_rule_knows_no_alternative_codes_and_counts_a_place_once(annotated, answered, tree_kb):
    doc = annotated("d", ("a", "old"), ("b", "left+right"), ("c", "NO_CODE"), ("d", "left"))
    twice = Document("d", doc.text, (*doc.mentions, Mention("9", doc.mentions[3].spans, "d", "Disease", (("right",),))))
    linked = answered(twice, "leaf", "right+left", "left", "left", "left")
    report = evaluate([twice], linked, tree_kb, protocol="syncabel")
    assert (report.n, report.correct, report.left_out) == (3, 2, 2)
    assert report.metrics["set"] == 3 / 5, "where old is leaf, and everything counts"
