"""The exported dataset: the documents come back, the card says what was measured, and what may not go out does not."""

import dataclasses
import json
import re
import tracemalloc
from pathlib import Path

import datasets
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, DigestMismatchError, FormatError, IncompleteFolderError
from syncabel.hub import export_dataset
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Abbreviation, Concept, Document, Mention, Name, Provenance, Span, from_json, to_json

OPEN = About(source="Open Terms", release="2026-01", licence="CC0-1.0", redistributable=True)
CLOSED = About(source="Closed | Terms", release="7", licence="unknown")


def base(about, *parts):
    kb = KnowledgeBase.build([Concept("T:1", (Name("asthma", preferred=True),), ("Disease",))], about)
    return dataclasses.replace(kb.manifest, parts=tuple(parts))


KB = base(OPEN)


def synthetic(number, text="A case of asthma (AS).", kb=KB, **rest):
    start = text.index("asthma")
    mention = Mention("m1", (Span(start, start + 6),), "asthma", "Disease", (("T:1",),))
    provenance = Provenance("T:1", "openai", "tiny/model", 2**47 + number, "ab" * 32, kb.digest)
    return Document(f"openai-1-T:1-{number}-0", text, (mention,), source="synthetic", provenance=provenance, **rest)


def provenance(code="T:1"):
    return Provenance(code, "template", "", 0, "", KB.digest)


# Everything a document can be: NIL, not annotated, alternatives, composites, several fragments, none, all scripts.
ODD = [
    synthetic(0),
    synthetic(1, "Asthma or asthma? 😀 ça va", language="fr", split="train"),
    Document("none", "No mention at all.", source="synthetic", provenance=provenance()),
    Document("nil", "x\ny", (Mention("1", (Span(0, 1),), "x", None, ()), Mention("2", (Span(2, 3),), "y")), source="synthetic", provenance=provenance()),
    Document(
        "several",
        "breast and ovarian cancer (BC)",
        (Mention("1", (Span(0, 6), Span(19, 25)), "breast cancer", "Disease", (("T:1", "T:2"), ("T:3",))),),
        source="synthetic",
        abbreviations=(Abbreviation(Span(27, 29), Span(0, 6)),),
        provenance=provenance("T:9"),
    ),
]


def write(path, documents):
    path.write_text("".join(json.dumps(to_json(one), ensure_ascii=False) + "\n" for one in documents), encoding="utf-8")
    return path


def folder_of(path, documents, **report):
    path.mkdir()
    write(path / "documents.jsonl", documents)
    facts = {"requested": 9, "generated": 7, "kept": len(documents), "rejected": {"language": 2, "json": 3}, "missing": 1, "writer": "openai", "seconds": 3.5}
    (path / "report.json").write_text(json.dumps(facts | report), encoding="utf-8")
    (path / "manifest.json").write_text(json.dumps({"settings": {"seed": 4217, "gates_digest": "fe" * 32, "scored": True}}), encoding="utf-8")
    return path


def loaded(folder, tmp_path):
    """As a user loads it: the card's configuration decides which files."""
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    return rows, [from_json(Document, row) for row in rows]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    datasets.disable_progress_bars()


def test_the_documents_come_back_through_datasets(tmp_path):
    facts = export_dataset(folder_of(tmp_path / "gen", ODD), tmp_path / "out", KB, title="Odd ones", row_group=2)
    rows, documents = loaded(tmp_path / "out", tmp_path)
    assert documents == ODD
    assert (facts.documents, facts.mentions, facts.concepts) == (5, 5, 2)
    assert list(rows.column_names) == [one.name for one in dataclasses.fields(Document)]


def test_the_documents_come_back_from_the_parquet_files_alone(tmp_path):
    export_dataset(write(tmp_path / "documents.jsonl", ODD), tmp_path / "out", KB, title="Odd ones")
    files = str(tmp_path / "out" / "data" / "*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert [from_json(Document, row) for row in rows] == ODD


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ANSWERS = st.lists(st.lists(TEXT, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple)


@st.composite
def drawn_documents(draw):
    lead, name, type_, answers = draw(TEXT), draw(TEXT), draw(st.none() | TEXT), draw(st.none() | ANSWERS)
    mention = Mention("m", (Span(len(lead), len(lead) + len(name)),), name, type_, answers)
    return Document(draw(TEXT), lead + name, draw(st.sampled_from([(), (mention,)])), source="synthetic", provenance=provenance(draw(TEXT)))


@settings(max_examples=20, deadline=None)
@given(st.lists(drawn_documents(), min_size=1, max_size=5))
def test_any_documents_come_back(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("any")
    export_dataset(write(folder / "d.jsonl", documents), folder / "out", KB, title="t", row_group=2)
    table = pyarrow.parquet.read_table(folder / "out" / "data")
    assert [from_json(Document, row) for row in table.to_pylist()] == documents


def test_rows_lie_in_groups_so_that_memory_stays_flat(tmp_path):
    peaks = []
    for size in (200, 200, 1600):  # the first time, modules are still being loaded
        path = write(tmp_path / f"{size}.jsonl", (synthetic(i) for i in range(size)))
        tracemalloc.start()
        export_dataset(path, tmp_path / f"out{len(peaks)}", KB, title="t", row_group=50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        file = pyarrow.parquet.ParquetFile(tmp_path / f"out{len(peaks) - 1}" / "data" / "part-00000.parquet")
        assert file.num_row_groups == size / 50
    assert peaks[2] < 3 * peaks[1]  # eight times the rows


def test_large_sets_become_several_files_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("syncabel.hub.dataset._SHARD", 2)
    documents = [synthetic(i) for i in range(9)]
    facts = export_dataset(write(tmp_path / "d.jsonl", documents), tmp_path / "out", KB, title="t", row_group=2)
    assert [path for path in facts.files if path.startswith("data")] == [f"data/part-{i:05}.parquet" for i in range(3)]
    assert loaded(tmp_path / "out", tmp_path)[1] == documents


@pytest.mark.parametrize("report", [{"rejected": "many"}, {"kept": "all"}, {"rejected": {"json": "three"}}])
def test_a_report_that_counts_nothing_is_not_believed(tmp_path, report):
    assert "is not known for this file" in card_of(tmp_path, report=report)[1]


def test_documents_that_are_not_as_many_as_were_kept_are_not_published(tmp_path):
    gen = folder_of(tmp_path / "gen", ODD, kept=len(ODD) + 1)
    with pytest.raises(IncompleteFolderError, match=f"{len(ODD)} documents where report.json says {len(ODD) + 1}"):
        export_dataset(gen, tmp_path / "out", KB, title="t")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("examples", "off", "refused"), [("private", ["shot_copy"], True), ("private", [], False), ("shareable", ["shot_copy"], False)])
def test_what_may_be_copies_of_a_private_corpus_does_not_go_out(examples, off, refused, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    write(folder / "documents.jsonl", [synthetic(0)])
    (folder / "report.json").write_text(json.dumps({"kept": 1, "style_examples": examples, "gates_off": off}))
    if refused:
        with pytest.raises(ConfigError, match=r"--reparse.*with that gate"):
            export_dataset(folder, tmp_path / "out", KB, title="t")
    else:
        assert export_dataset(folder, tmp_path / "out", KB, title="t").documents == 1


def test_the_same_documents_give_the_same_bytes(tmp_path):
    gen = folder_of(tmp_path / "gen", ODD)
    for name in ("one", "two"):
        export_dataset(gen, tmp_path / name, KB, title="t", repo="lab/t")
    for path in ("README.md", "data/part-00000.parquet"):
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def card_of(tmp_path, kb=KB, documents=None, **options):
    documents = documents or [synthetic(i, kb=kb) for i in range(3)]
    report = options.pop("report", {})
    export_dataset(folder_of(tmp_path / "gen", documents, **report), tmp_path / "out", kb, **{"title": "A title", **options})
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    return yaml.safe_load(text.split("---\n")[1]), text


def test_the_front_matter_is_what_the_hub_reads(tmp_path):
    front, _ = card_of(tmp_path, licence="cc-by-4.0", documents=[synthetic(0), synthetic(1, language="fr")], title='Quotes " and: colons')
    assert front["license"] == "cc-by-4.0"
    assert front["language"] == ["en", "fr"]
    assert front["size_categories"] == ["n<1K"]
    assert front["pretty_name"] == 'Quotes " and: colons'
    assert front["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}]


@pytest.mark.parametrize(("name", "value"), [("title", "x\n---\nlicense: mit"), ("licence", "a: [b"), ("title", "- {}\u2028")])
def test_no_value_breaks_the_front_matter(tmp_path, name, value):
    front, _ = card_of(tmp_path, **{name: value})
    assert front["license" if name == "licence" else "pretty_name"] == " ".join(value.split())
    assert front["tags"][-1] == "syncabel"


def test_the_card_states_what_was_measured(tmp_path):
    _, text = card_of(tmp_path)
    assert "3 synthetic sentences with 3 marked mentions of 1 concepts of Open Terms" in text
    assert "3 kept + 5 refused = 8 generated." in text
    assert "| refused: json | 3 |" in text
    assert "| models | tiny/model (3) |" in text
    assert "| seed | 4217 |" in text
    assert "| scored | yes |" in text
    assert f"| gates digest | {'fe' * 32} |" in text
    assert f"| digest | {KB.digest} |" in text
    assert "| Open Terms | release 2026-01; licence CC0-1.0; redistribution allowed |" in text


def test_a_bare_file_says_that_its_rejects_are_not_known(tmp_path):
    export_dataset(write(tmp_path / "d.jsonl", ODD), tmp_path / "out", KB, title="t")
    assert "is not known for this file" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_values_from_files_are_no_markup(tmp_path):
    _, text = card_of(tmp_path, report={"model": "<script>", "note": "a | b\n\n# heading [x](y)"})
    assert "<script>" not in text
    assert "| note | a \\| b # heading \\[x\\](y) |" in text


def test_the_cards_example_runs(tmp_path, monkeypatch):
    _, text = card_of(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = {}
    exec(code, names)
    assert len(names["rows"]) == 3


def test_names_that_may_not_be_passed_on_are_refused_in_one_line(tmp_path):
    kb = base(CLOSED)
    with pytest.raises(ConfigError, match=r"Closed \| Terms") as found:
        card_of(tmp_path, kb)
    assert "--i-may-redistribute" in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("statement", ["", "  \n"])
def test_an_empty_statement_is_none(tmp_path, statement):
    with pytest.raises(ConfigError):
        card_of(tmp_path, base(CLOSED), statement=statement)


def test_the_card_repeats_why_they_may(tmp_path):
    _, text = card_of(tmp_path, base(CLOSED), statement="licence no. 7 of\nour centre")
    assert "> **Terminology under licence.**  Mentions are made of names of Closed \\| Terms." in text
    assert "“licence no. 7 of our centre”" in text
    assert "licence not stated; redistribution NOT allowed as far as is known" in text


def test_one_closed_part_of_a_merged_knowledge_base_closes_it(tmp_path):
    with pytest.raises(ConfigError, match="Closed"):
        card_of(tmp_path, base(OPEN, OPEN, CLOSED))


def test_a_human_document_stops_the_export_and_none_of_its_text_is_said(tmp_path):
    path = write(tmp_path / "d.jsonl", [synthetic(0), Document("note-7", "CANARY was admitted.")])
    with pytest.raises(ConfigError, match=r"d\.jsonl:2: a human document") as found:
        export_dataset(path, tmp_path / "out", KB, title="t")
    assert "CANARY" not in str(found.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["d.jsonl"]


def test_documents_of_another_knowledge_base_are_refused(tmp_path):
    """Else the licence of one vocabulary would let the names of another out."""
    path = write(tmp_path / "d.jsonl", [synthetic(0, kb=dataclasses.replace(KB, digest="0" * 64))])
    with pytest.raises(DigestMismatchError, match="--kb"):
        export_dataset(path, tmp_path / "out", KB, title="t")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"id": "1"}',
        '{"id": "1", "text": "CANARY", "source": "CANARY"}',
        '{"id": "1", "text": "CANARY", "source": "synthetic"}',
        '{"id": "1", "text": "CANARY", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 3}], "text": "CANARY"}]}',
    ],
)
def test_a_row_that_is_no_synthetic_document_is_named_by_its_line(tmp_path, line):
    path = write(tmp_path / "d.jsonl", [synthetic(0)])
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(FormatError, match=r"d\.jsonl:2: ") as found:
        export_dataset(path, tmp_path / "out", KB, title="t")
    assert "CANARY" not in str(found.value)


def test_half_a_surrogate_pair_is_refused(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(to_json(synthetic(0, "\ud83d asthma"))) + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match="surrogate"):
        export_dataset(path, tmp_path / "out", KB, title="t")


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_dataset(write(tmp_path / "d.jsonl", ODD), tmp_path / "out", KB, title="t")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_an_empty_folder_in_the_place_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    export_dataset(write(tmp_path / "d.jsonl", ODD), tmp_path / "out", KB, title="t")
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize("content", ["\n\n", None])
def test_no_documents_are_no_dataset(tmp_path, content):
    if content:
        (tmp_path / "documents.jsonl").write_text(content)
    with pytest.raises(IncompleteFolderError):
        export_dataset(tmp_path, tmp_path / "out", KB, title="t")
    assert not (tmp_path / "out").exists()


def test_the_shipped_vocabulary_may_go_out(tmp_path):
    kb = KnowledgeBase.load("doid").manifest
    _, text = card_of(tmp_path, kb)
    assert "CC0-1.0; redistribution allowed" in text


def test_the_project_sees_no_other_card(tmp_path):
    """The folder holds the card and the data and nothing of the run: no path of this machine, no time."""
    card_of(tmp_path)
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "README.md",
        "data/part-00000.parquet",
    ]
    assert str(Path.home()) not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
