"""`syncabel kb …` as one calls it."""

import inspect
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from syncabel.cli.kb import app, build
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, SyncabelError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.readers.formats import FORMATS, format_of
from syncabel.kb.readers.mesh import read_mesh
from syncabel.kb.readers.table import read_table
from syncabel.types import Concept, MapRule, Name, Relation, Retired

TABLE = "A:1\theart disease\tP\nA:1\tcardiac\u00a0disease\tS\nA:1\tbad\x07name\tS\nA:2\tangina\tP\n"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "demo.tsv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def test_build_writes_a_folder_that_loads_and_tells_what_it_left_out(table: Path, tmp_path: Path) -> None:
    facts = ("--group", "Disease", "--source-name", "Demo", "--release", "1", "--licence", "CC0-1.0", "--redistributable")
    done = run("build", table, *facts, "-o", tmp_path / "kb")
    assert done.exit_code == 0, done.output
    assert "2 concepts, 3 names" in done.output
    assert "1 left out" in done.output
    assert "control_character 1" in done.output
    rejected = [json.loads(line) for line in (tmp_path / "kb" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rejected == [{"where": "Demo", "code": "A:1", "reason": "control_character", "text": "'bad\\x07name'"}]
    about = KnowledgeBase.load(tmp_path / "kb").about
    assert (about.source, about.release, about.licence, about.redistributable) == ("Demo", "1", "CC0-1.0", True)


def test_a_source_is_not_redistributable_unless_said(table: Path, tmp_path: Path) -> None:
    assert run("build", table, "--group", "G", "-o", tmp_path / "kb").exit_code == 0
    about = KnowledgeBase.load(tmp_path / "kb").about
    assert (about.source, about.licence, about.redistributable) == ("demo", "unknown", False)


def test_medic_needs_no_group_but_a_format(tmp_path: Path) -> None:
    path = tmp_path / "medic.txt"
    path.write_text("D1|5||Name\n", encoding="utf-8")
    assert run("build", path, "--format", "medic", "-o", tmp_path / "kb").exit_code == 0
    assert KnowledgeBase.load(tmp_path / "kb").groups == ("Disease",)
    assert isinstance(run("build", path, "-o", tmp_path / "kb").exception, ConfigError)


def test_a_table_without_a_group_is_asked_for_one(table: Path, tmp_path: Path) -> None:
    done = run("build", table, "-o", tmp_path / "kb")
    assert isinstance(done.exception, ConfigError)
    assert "--group" in str(done.exception)


def test_a_bad_source_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(TABLE + "A:3 no tabs\n", encoding="utf-8")
    done = run("build", path, "--group", "G", "-o", tmp_path / "kb")
    assert isinstance(done.exception, FormatError)
    assert str(done.exception).startswith(f"{path}:5: ")
    assert not (tmp_path / "kb").exists()


def test_info_of_the_shipped_knowledge_base_is_machine_readable() -> None:
    facts = json.loads(run("info", "doid", "--json").stdout)
    about = KnowledgeBase.load("doid")
    assert facts["digest"] == about.digest
    assert {key: facts[key] for key in ("concepts", "names", "ambiguous_names", "groups", "languages", "licence", "redistributable")} == {
        "concepts": 11_454,
        "names": 30_039,
        "ambiguous_names": 41,
        "groups": ["Disease"],
        "languages": ["en"],
        "licence": "CC0-1.0",
        "redistributable": True,
    }


def test_info_for_people_shows_the_same_facts() -> None:
    shown = run("info", "doid").stdout
    assert all(part in shown for part in ("11454", "30039", "CC0-1.0", "Human Disease Ontology", "yes"))


def test_show_resolves_an_alternative_code() -> None:
    shown = json.loads(run("show", "doid", "DOID:6309", "--json").stdout)
    assert shown["code"] == "DOID:15"
    assert shown["names"][0] == {"text": "reproductive system disease", "preferred": True}
    assert shown["ancestors"] == ["DOID:7", "DOID:4"]
    assert "DOID:4 disease" in run("show", "doid", "DOID:6309").stdout


def test_show_names_the_nearest_code_to_an_unknown_one() -> None:
    done = run("show", "doid", "DOID:93511")
    assert isinstance(done.exception, UnknownNameError)
    assert "DOID:9351" in str(done.exception)
    assert isinstance(run("info", "dodi").exception, UnknownNameError)


def test_names_are_of_the_language_that_is_given(table: Path, tmp_path: Path) -> None:
    assert run("build", table, "--group", "G", "--language", "fr", "-o", tmp_path / "kb").exit_code == 0
    assert KnowledgeBase.load(tmp_path / "kb").manifest.languages == ("fr",)
    (tmp_path / "medic.txt").write_text("D1|5||Name\n", encoding="utf-8")
    for arguments in ((table, "--group", "G", "--language", "French"), (tmp_path / "medic.txt", "--format", "medic", "--language", "fr")):
        done = run("build", *arguments, "-o", tmp_path / "other")
        assert isinstance(done.exception, ConfigError)
        assert "--language" in str(done.exception)


def knowledge_base(folder: Path, *entries: Any) -> Path:
    KnowledgeBase.build(entries, About(folder.name, licence="CC0-1.0", redistributable=True)).save(folder)
    return folder


def term(code: str, *names: str, **rest: Any) -> Concept:
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), ("Disease",), **rest)


def test_an_option_the_format_does_not_have_is_named_with_the_format(table: Path, tmp_path: Path) -> None:
    umls, snomed = ("umls", "--group", "X"), ("snomed", "--code-column", "id")
    cases = (("table", "--sources", "MSH"), ("obo", "--preset", "quaero"), umls, snomed, ("mesh", "--suppressed"))
    for kind, *option in (*cases, ("gazetteer", "--no-permuted"), ("obo", "--no-seventh-characters"), ("table", "--branch", "A:1=Group")):
        done = run("build", table, "--format", kind, *option, "-o", tmp_path / "kb")
        assert isinstance(done.exception, ConfigError), done.output
        assert option[0] in str(done.exception)
        assert kind in str(done.exception)


@pytest.mark.parametrize("kind", ["umls", "snomed", "gazetteer"])
def test_nobody_declares_umls_or_snomed_redistributable(kind: str, tmp_path: Path) -> None:
    done = run("build", tmp_path, "--format", kind, "--redistributable", "-o", tmp_path / "kb")
    assert isinstance(done.exception, ConfigError)
    assert "--redistributable" in str(done.exception)


def test_options_are_those_of_the_readers() -> None:
    """Each option of a format is an argument of its reader, and `build` offers every one of them."""
    offered = set(inspect.signature(build).parameters) | {"branches", "sources"}
    for name, kind in FORMATS.items():
        assert set(kind.options) <= offered, name
        if name not in ("table", "mesh"):
            assert set(kind.options) <= set(inspect.signature(kind.read).parameters), name
    columns = set(inspect.signature(read_table).parameters) - {"path"}
    assert set(FORMATS["table"].options) == columns
    assert set(FORMATS["mesh"].options) == set(inspect.signature(read_mesh).parameters) - {"paths"}


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("hp.obo", "obo"),
        ("hp.obo.gz", "obo"),
        ("HP.OWL", "owl"),
        ("a.csv", "table"),
        ("a.parquet", "table"),
        ("desc2024.xml", "mesh"),
        ("supp2024.xml.gz", "mesh"),
        ("icd10cm-tabular-2025.xml", "icd10cm"),
    ],
)
def test_a_name_that_leaves_no_doubt_tells_the_format(name: str, format_: str, tmp_path: Path) -> None:
    assert format_of(tmp_path / name) == format_


def test_a_header_a_folder_and_an_archive_tell_their_format(tmp_path: Path) -> None:
    (tmp_path / "g.tsv").write_text("code\tterm\tsemantic_tag\tmainterm\n", encoding="utf-8")
    assert format_of(tmp_path / "g.tsv") == "gazetteer"
    (tmp_path / "META").mkdir()
    (tmp_path / "META" / "MRCONSO.RRF").write_text("", encoding="utf-8")
    assert format_of(tmp_path / "META") == "umls"
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.writestr("S/Snapshot/Terminology/sct2_Concept_Snapshot_INT_20240101.txt", "")
    assert format_of(tmp_path / "release.zip") == "snomed"
    (tmp_path / "META" / "sct2_Concept_Snapshot_INT_20240101.txt").write_text("", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        format_of(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("notes", encoding="utf-8")
    for unclear in (tmp_path / "META", tmp_path / "notes.txt"):
        with pytest.raises(ConfigError, match="--format"):
            format_of(unclear)
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(FormatError, match="damaged"):
        format_of(tmp_path / "damaged.zip")


def test_a_table_with_named_columns_is_read_by_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label,kind,more\nA:1,cold,Disease,coryza|acute coryza\n", encoding="utf-8")
    columns = ("--code-column", "id", "--name-column", "label", "--group-column", "kind")
    assert run("build", tmp_path / "t.csv", *columns, "--synonyms-column", "more", "-o", tmp_path / "kb").exit_code == 0
    assert [name.text for name in KnowledgeBase.load(tmp_path / "kb")["A:1"].names] == ["cold", "coryza", "acute coryza"]
    missing = run("build", tmp_path / "t.csv", "--code-column", "id", "--group", "G", "-o", tmp_path / "kb")
    assert "--name-column" in str(missing.exception)


def test_branches_of_an_ontology_become_groups(tmp_path: Path) -> None:
    stanzas = ("id: X:0\nname: all", "id: X:1\nname: findings\nis_a: X:0", "id: X:2\nname: fever\nis_a: X:1", "id: X:3\nname: other\nis_a: X:0")
    text = "format-version: 1.2\n\n" + "".join(f"[Term]\n{stanza}\n\n" for stanza in stanzas)
    (tmp_path / "x.obo").write_text(text, encoding="utf-8")
    done = run("build", tmp_path / "x.obo", "--branch", "X:1=Finding", "-o", tmp_path / "kb")
    assert done.exit_code == 0, done.output
    kb = KnowledgeBase.load(tmp_path / "kb")
    assert kb.codes == ("X:1", "X:2")
    assert kb.groups == ("Finding",)
    assert "--branch" in str(run("build", tmp_path / "x.obo", "--branch", "X:1", "-o", tmp_path / "kb").exception)


def test_real_samples_of_umls_and_snomed_build_by_their_folders(shared_data: Path, tmp_path: Path) -> None:
    folders = {path.parent for path in (shared_data / "formats").rglob("MRCONSO.RRF")}
    assert folders
    for i, folder in enumerate(sorted(folders)):
        done = run("build", folder, "--licence", "mine", "-o", tmp_path / f"kb{i}")
        assert done.exit_code == 0, done.exception
        about = KnowledgeBase.load(tmp_path / f"kb{i}").about
        assert (about.licence, about.redistributable) == ("mine", False)


def test_merge_filter_and_diff_from_the_command_line(tmp_path: Path) -> None:
    a = knowledge_base(tmp_path / "a", term("A:1", "cold"), term("A:2", "fever", parents=("A:1",)))
    b = knowledge_base(tmp_path / "b", term("A:2", "pyrexia"), term("B:1", "cough"))
    assert run("merge", a, b, "-o", tmp_path / "ab").exit_code == 0
    merged = KnowledgeBase.load(tmp_path / "ab")
    assert (merged.codes, merged.about.source) == (("A:1", "A:2", "B:1"), "a + b")
    assert run("filter", tmp_path / "ab", "--descendants-of", "A:1,B:1", "--only-preferred", "-o", tmp_path / "part").exit_code == 0
    assert KnowledgeBase.load(tmp_path / "part").n_names == 3
    (tmp_path / "codes").write_text("A:2\nnone\n", encoding="utf-8")
    done = run("filter", tmp_path / "ab", "--codes", tmp_path / "codes", "-o", tmp_path / "one")
    assert "unknown_code 1" in done.output
    shown = json.loads(run("diff", a, tmp_path / "ab", "--json", "-o", tmp_path / "changes.jsonl").stdout)
    rows = [json.loads(line) for line in (tmp_path / "changes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (shown["added"], shown["names_added"], shown["recheck"]) == (1, 1, 1)
    assert [(row["code"], row["change"], row["recheck"]) for row in rows] == [("B:1", "added", True), ("A:2", "names_added", False)]
    assert "names added\t1" in run("diff", a, tmp_path / "ab").stdout
    for arguments in (("merge", a), ("filter", a), ("filter", a, "--codes", tmp_path / "a" / "manifest.json", "--groups", "None")):
        assert isinstance(run(*arguments, "-o", tmp_path / "x").exception, SyncabelError)


def test_codes_that_are_no_concepts_are_answered_with_what_is_known_of_them(tmp_path: Path) -> None:
    nameless = Concept("A:3", (), ("Disease",))
    said = (Retired("A:9", "consider", ("A:1",)), nameless, Relation("A:3", "part_of", "A:1"))
    kb = knowledge_base(tmp_path / "kb", term("A:1", "cold"), *said)
    assert json.loads(run("show", kb, "A:9", "--json").stdout)["retired"] == [{"reason": "consider", "successors": ["A:1"]}]
    assert "retired\tconsider A:1" in run("graph", kb, "A:9").stdout
    found = json.loads(run("graph", kb, "A:3", "--json").stdout)
    assert found["left_out"] == [{"reason": "no_name", "text": ""}, {"reason": "unknown_relation_end", "text": "A:3 part_of A:1"}]
    assert found["parents"] == found["relations"] == []
    assert "part_of" in run("show", kb, "A:3").stdout
    assert isinstance(run("graph", kb, "A:2").exception, UnknownNameError)


def test_search_and_graph_answer_in_json_and_in_lines() -> None:
    hits = json.loads(run("search", "doid", "diabtes mellitus", "--limit", "2", "--json").stdout)["hits"]
    assert (hits[0]["code"], hits[0]["how"], len(hits)) == ("DOID:9351", "fuzzy", 2)
    assert run("search", "doid", "diabetes mellitus", "--how", "exact").stdout == "DOID:9351\tdiabetes mellitus\tDisease\t100.0\texact\n"
    assert "nothing found" in run("search", "doid", "qqqqqq").output
    assert isinstance(run("search", "doid", "x", "--how", "guess").exception, UnknownNameError)
    found = json.loads(run("graph", "doid", "DOID:6309", "--to", "DOID:4", "--json").stdout)
    assert found.keys() == {"code", "name", "parents", "children", "ancestors", "descendants", "neighbourhood", "path", "relations"}
    assert found["ancestors"] == [{"code": "DOID:7", "depth": 1}, {"code": "DOID:4", "depth": 2}]
    assert [(step["kind"], step["end"]) for step in found["path"]] == [("is_a", "DOID:7"), ("is_a", "DOID:4")]
    lines = run("graph", "doid", "DOID:6309", "--to", "DOID:4", "--limit", "2").stdout.splitlines()
    assert "ancestors\t2 DOID:4 disease" in lines
    assert all(line.count("\t") == 1 for line in lines)


def test_verify_reads_every_file(tmp_path: Path) -> None:
    kb = knowledge_base(tmp_path / "kb", term("A:1", "cold"))
    assert run("info", kb, "--verify").exit_code == 0
    content = bytearray((kb / "index" / "code.npy").read_bytes())
    content[-1] ^= 1
    (kb / "index" / "code.npy").write_bytes(content)
    assert run("info", kb).exit_code == 0
    assert isinstance(run("info", kb, "--verify").exception, DigestMismatchError)


def test_show_gives_the_rules_of_maps(tmp_path: Path) -> None:
    concepts = [Concept("A:1", (Name("asthma", preferred=True),), ("Disease",), xrefs=("ICD10:J45.9",))]
    KnowledgeBase.build([*concepts, MapRule("A:1", "ICD10:J45.9", 1, 2, "TRUE", "ALWAYS J45.9")], About("test")).save(tmp_path / "kb")
    assert "maps\tICD10:J45.9; group 1, priority 2; TRUE; ALWAYS J45.9" in run("show", tmp_path / "kb", "A:1").output
    shown = json.loads(run("show", tmp_path / "kb", "A:1", "--json").output)
    assert shown["maps"] == [{"code": "A:1", "target": "ICD10:J45.9", "group": 1, "priority": 2, "rule": "TRUE", "advice": "ALWAYS J45.9"}]
