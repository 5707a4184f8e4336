"""Knowledge bases on disk: what is saved comes back, what was altered or half written is refused."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from syncabel.errors import ConfigError, DigestMismatchError, FormatError, IncompleteFolderError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.index import FILES as INDEX_FILES
from syncabel.types import Concept, Name, Relation

CONCEPTS = (
    Concept("A:1", (Name("maladie du cœur", "fr", preferred=True), Name("heart disease", scope="broad")), ("Disease",), ("T1",), None, (), ("A:9",), ("X:1",)),
    Concept("A:2", (Name("angine", "fr", preferred=True), Name("bad\x07")), ("Disease", "Finding"), definition="…", parents=("A:1",)),
)
TABLES = tuple(f"{name}.parquet" for name in ("concepts", "names", "relations", "retired", "maps"))
INDEX = tuple(f"index/{name}" for name in INDEX_FILES)
FILES = (*TABLES, *INDEX, "rejected.jsonl")


def build(*concepts: Concept) -> KnowledgeBase:
    relations = [Relation("A:2", "due_to", "A:1", 3)] if len(concepts) == 2 else []
    return KnowledgeBase.build([*concepts, *relations], About("test", "2026", "CC-BY-4.0"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    build(*CONCEPTS).save(tmp_path / "kb")
    return tmp_path / "kb"


def test_what_is_saved_comes_back(saved: Path) -> None:
    before, after = build(*CONCEPTS), KnowledgeBase.load(saved)
    assert list(after.concepts()) == list(before.concepts())
    assert list(after.relations()) == list(before.relations())
    assert after.rejections == before.rejections
    assert after.codes_of("ANGINE") == ("A:2",)
    assert after.canonical("A:9") == "A:1"
    assert (after.about.licence, after.about.redistributable, after.manifest.languages) == ("CC-BY-4.0", False, ("en", "fr"))
    assert tuple(file.path for file in after.manifest.files) == FILES
    assert after.digest == before.digest == after.subset(after.codes).digest


def test_a_loaded_knowledge_base_saves_to_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    KnowledgeBase.load(saved).save(tmp_path / "again")
    for file in (*FILES, "manifest.json"):
        assert (tmp_path / "again" / file).read_bytes() == (saved / file).read_bytes()


def test_saving_over_a_knowledge_base_replaces_it_whole(saved: Path) -> None:
    in_use = KnowledgeBase.load(saved)
    build(CONCEPTS[0]).save(saved)
    assert len(KnowledgeBase.load(saved)) == 1
    assert not (saved / "rejected.jsonl").exists()
    assert in_use.codes_of("angine") == ("A:2",)  # the mapped index of the old folder stays readable
    assert [path.name for path in saved.parent.iterdir()] == ["kb"]


def test_a_folder_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for target in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ConfigError, match="no knowledge base"):
            build(*CONCEPTS).save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_with_a_manifest_and_other_files_is_not_written_over(saved: Path) -> None:
    (saved / "weights.bin").write_bytes(b"dear")
    with pytest.raises(ConfigError, match="holds other files"):
        build(*CONCEPTS).save(saved)
    (saved / "weights.bin").unlink()
    (saved / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="no knowledge base"):
        build(*CONCEPTS).save(saved)


def test_an_index_of_another_knowledge_base_is_refused(saved: Path, tmp_path: Path) -> None:
    other = build(replace(CONCEPTS[0], names=(Name("maladie du foie", "fr", preferred=True), Name("liver disease", scope="broad"))), CONCEPTS[1])
    other.save(tmp_path / "other")
    (saved / "index" / "digest").write_bytes((tmp_path / "other" / "index" / "digest").read_bytes())
    with pytest.raises(DigestMismatchError, match="index"):
        KnowledgeBase.load(saved)


def test_a_manifest_with_another_digest_is_refused_where_all_is_verified(saved: Path) -> None:
    path = saved / "manifest.json"
    digest = KnowledgeBase.load(saved).digest
    files = json.loads(path.read_text(encoding="utf-8"))["files"]
    other = "0" * 64
    (saved / "index" / "digest").write_text(other + "\n", encoding="ascii")
    path.write_text(path.read_text(encoding="utf-8").replace(digest, other).replace(_sha(files), _sha_of(saved / "index" / "digest")), encoding="utf-8")
    with pytest.raises(DigestMismatchError, match="is expected"):
        KnowledgeBase.load(saved, verify=True)


def _sha(files: list[dict[str, str]]) -> str:
    return next(file["sha256"] for file in files if file["path"] == "index/digest")


def _sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_writer_that_meets_another_one_comes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename
    other = [build(CONCEPTS[0])]

    def late(path: Path, target: Path) -> Path:
        if path.name == "new" and other:
            other.pop().save(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    build(*CONCEPTS).save(tmp_path / "kb")
    assert len(KnowledgeBase.load(tmp_path / "kb", verify=True)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("syncabel.kb.base.file_digest", full)
    with pytest.raises(OSError, match="No space left"):
        build(*CONCEPTS).save(tmp_path / "kb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", FILES)
def test_an_altered_file_is_refused(saved: Path, file: str) -> None:
    content = bytearray((saved / file).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / file).write_bytes(content)
    with pytest.raises(DigestMismatchError, match=Path(file).name):
        KnowledgeBase.load(saved, verify=True)


@pytest.mark.parametrize("file", [*TABLES, "rejected.jsonl"])
def test_an_altered_table_is_refused_when_it_is_read(saved: Path, file: str) -> None:
    content = bytearray((saved / file).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / file).write_bytes(content)
    kb = KnowledgeBase.load(saved)
    assert kb["A:1"].names[1].text == "heart disease"  # the index answers
    with pytest.raises(DigestMismatchError, match=file):
        _ = kb.tables, kb.rejections


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_size_is_refused_at_once(saved: Path, file: str) -> None:
    (saved / file).write_bytes((saved / file).read_bytes() + b"\n")
    with pytest.raises(DigestMismatchError, match="bytes instead of"):
        KnowledgeBase.load(saved)


def test_a_folder_without_index_answers_as_one_with_it(saved: Path, tmp_path: Path) -> None:
    with_index = KnowledgeBase.load(saved)
    with_index.save(tmp_path / "small", index=False)
    without = KnowledgeBase.load(tmp_path / "small", verify=True)
    assert not (tmp_path / "small" / "index").exists()
    assert list(without.concepts()) == list(with_index.concepts())
    assert without.codes_of("angine") == with_index.codes_of("angine") == ("A:2",)
    assert without.digest == with_index.digest


@pytest.mark.parametrize("file", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(saved: Path, file: str) -> None:
    (saved / file).unlink()
    with pytest.raises(IncompleteFolderError, match=Path(file).name):
        KnowledgeBase.load(saved)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda text: text[: len(text) // 2], IncompleteFolderError, "cannot be read"),
        (lambda text: json.dumps(json.loads(text) | {"files": []}), IncompleteFolderError, "names no files"),
        (lambda text: json.dumps(json.loads(text) | {"files": json.loads(text)["files"][1:]}), IncompleteFolderError, "concepts.parquet"),
        (lambda text: json.dumps(json.loads(text) | {"format_version": 99}), FormatError, "format 99"),
        (lambda text: json.dumps(json.loads(text) | {"licence": 1}), FormatError, "licence"),
        (lambda _: "[]", FormatError, "format None"),
    ],
)
def test_a_manifest_that_is_none_is_refused(saved: Path, change: Callable[[str], str], error: type[Exception], says: str) -> None:
    path = saved / "manifest.json"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(error, match=says):
        KnowledgeBase.load(saved)


@pytest.mark.parametrize("name", ["diod", "nowhere/kb", ""])
def test_an_unknown_knowledge_base_names_the_shipped_ones(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kb").mkdir()
    monkeypatch.chdir(tmp_path / "kb")
    if not name:
        (tmp_path / "kb" / "file").write_text("", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="doid"):
        KnowledgeBase.load(name or "file")
