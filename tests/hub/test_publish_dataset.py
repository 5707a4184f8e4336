"""A dataset pushed to a real HTTP server that stands in for the hub, and what is said where it cannot be pushed."""

import dataclasses
import json
import socket

import huggingface_hub
import pytest
from hub_stand_in import READER, WRITER, command, one_line

from syncabel.errors import ConfigError, IncompleteFolderError
from syncabel.hub import check_repo, push_folder
from syncabel.kb import KnowledgeBase
from syncabel.types import Document, Mention, Provenance, Span, to_json

# huggingface_hub hands files to its HTTP library in a way that the library wants changed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "lab/sentences"
DIGEST = KnowledgeBase.load("doid").digest


@pytest.fixture
def folder(tmp_path):
    """A dataset of a card and two files, one of them larger than a chunk."""
    path = tmp_path / "dataset"
    (path / "data").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: unknown\nlanguage: [en]\n---\n\n# Sentences\n", encoding="utf-8")
    (path / "data" / "part-00000.parquet").write_bytes(bytes(range(256)) * 400)
    (path / "data" / "part-00001.parquet").write_bytes(b"PAR1" * 1000)
    (path / ".secret").write_text("stays at home")
    (path / ".cache").mkdir()
    (path / ".cache" / "x").write_text("stays at home")
    return path


def push(hub, folder, **options):
    given = {"message": "three sentences", "replaces": ("data/*.parquet",), "endpoint": hub.url} | options
    return push_folder(folder, given.pop("repo", REPO), given.pop("kind", "dataset"), **given)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts}


def downloaded(hub, tmp_path, kind="dataset"):
    into = tmp_path / f"downloaded-{len(hub.calls)}"
    huggingface_hub.snapshot_download(REPO, repo_type=kind, endpoint=hub.url, local_dir=into, token=WRITER)
    found = content(into)
    found.pop(".gitattributes")
    return found


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_what_was_pushed_is_downloaded_byte_for_byte(hub, folder, tmp_path, kind):
    if kind == "model":
        for path in (folder / "data").iterdir():
            path.rename(path.with_suffix(".safetensors"))
    done = push(hub, folder, kind=kind)
    sent = {path: data for path, data in content(folder).items() if path != ".secret"}
    assert downloaded(hub, tmp_path, kind) == sent
    assert done.changed
    assert done.commit == hub.repos[kind, REPO].commits[-1]
    assert done.url == f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}{REPO}"


def test_it_is_one_commit_and_hidden_files_stay_at_home(hub, folder):
    push(hub, folder)
    repo = hub.repos["dataset", REPO]
    assert repo.messages == ["initial commit", "three sentences"]
    assert sorted(repo.files) == [".gitattributes", "README.md", "data/part-00000.parquet", "data/part-00001.parquet"]


def test_the_same_content_again_makes_no_commit_and_says_so(hub, folder):
    first, second = push(hub, folder), push(hub, folder)
    assert (second.changed, second.commit) == (False, first.commit)
    assert len(hub.repos["dataset", REPO].commits) == 2
    assert sum(call.startswith("PUT") for call in hub.calls) == 2


def test_a_changed_card_alone_is_a_commit_without_sending_the_data_again(hub, folder, tmp_path):
    push(hub, folder)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\nlanguage: [en]\n---\n", encoding="utf-8")
    assert push(hub, folder).changed
    assert sum(call.startswith("PUT") for call in hub.calls) == 2
    assert downloaded(hub, tmp_path)["README.md"] == (folder / "README.md").read_bytes()


def test_data_files_that_are_no_more_are_deleted_and_other_peoples_files_are_not(hub, folder):
    hub.make("dataset", REPO, files={"data/part-00007.parquet": b"old", "figures/one.png": b"png", "data/notes.txt": b"n"})
    done = push(hub, folder)
    assert done.deleted == ("data/part-00007.parquet",)
    files = hub.repos["dataset", REPO].files
    assert "data/part-00007.parquet" not in files
    assert {"figures/one.png", "data/notes.txt", ".gitattributes"} <= files.keys()


def test_an_upload_that_broke_off_is_finished_by_the_next(hub, folder, tmp_path):
    hub.faults["/commit/"] = 503
    with pytest.raises(ConfigError, match="503; push again later"):
        push(hub, folder)
    assert len(hub.repos["dataset", REPO].commits) == 1
    hub.faults.clear()
    assert push(hub, folder).changed
    assert sum(call.startswith("PUT") for call in hub.calls) == 2
    assert downloaded(hub, tmp_path).keys() == {"README.md", "data/part-00000.parquet", "data/part-00001.parquet"}


def test_private_makes_a_private_repository(hub, folder):
    push(hub, folder, private=True)
    assert hub.repos["dataset", REPO].private
    assert not push(hub, folder, private=True).changed


def test_private_is_refused_where_the_repository_is_public_already(hub, folder):
    repo = hub.make("dataset", REPO)
    with pytest.raises(ConfigError, match="is public"):
        push(hub, folder, private=True)
    assert len(repo.commits) == 1
    assert not [call for call in hub.calls if call.startswith("PUT")]


def message(hub, folder, **options):
    with pytest.raises(ConfigError) as found:
        push(hub, folder, **options)
    text = str(found.value)
    assert "\n" not in text
    assert WRITER not in text
    return text


def test_no_token_is_one_line_and_nothing_is_sent(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in message(hub, folder)
    assert hub.calls == []


def test_a_token_nobody_knows_is_one_line(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_gone")
    text = message(hub, folder)
    assert "does not know the token" in text
    assert "hf_gone" not in text


def test_a_token_without_the_right_is_one_line(hub, folder, monkeypatch):
    assert "may not write to other/sentences" in message(hub, folder, repo="other/sentences")
    monkeypatch.setenv("HF_TOKEN", READER)
    hub.make("dataset", REPO)
    assert f"may not write to {REPO}" in message(hub, folder)


def test_a_repository_that_changed_meanwhile_is_left_alone(hub, folder):
    hub.before_commit = lambda repo: repo.commit(repo.files | {"theirs.txt": b"t"}, "theirs")
    assert "changed by somebody else" in message(hub, folder)
    assert hub.repos["dataset", REPO].messages[-1] == "theirs"


def test_offline_mode_is_one_line(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in message(hub, folder)
    assert hub.calls == []


def test_a_hub_that_is_not_there_is_one_line(hub, folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers here
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "cannot be reached" in message(hub, folder, endpoint=address)


@pytest.mark.parametrize(("piece", "status", "word"), [("repos/create", 500, "500"), ("info/lfs", 400, "400"), ("preupload", 429, "429")])
def test_a_hub_that_fails_is_one_line(hub, folder, monkeypatch, piece, status, word):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits between its attempts
    hub.faults[piece] = status
    assert word in message(hub, folder)


def test_a_file_that_cannot_be_sent_is_one_line(hub, folder):
    hub.faults["/lfs/"] = 400
    assert "refuse" in (text := message(hub, folder)) or "could not be sent" in text
    assert len(hub.repos["dataset", REPO].commits) == 1


def test_a_card_the_hub_refuses_is_one_line(hub, folder):
    (folder / "README.md").write_text("---\nlanguage: [en]\n---\n", encoding="utf-8")
    assert "no license" in message(hub, folder)
    assert len(hub.repos["dataset", REPO].commits) == 1


@pytest.mark.parametrize("repo", ["sentences", "lab/sen tences", "a/b/c", "lab/", "../x", "lab/a--b", "lab/x.git", "", "lab/é"])
def test_what_is_no_repository_name_is_refused(repo):
    with pytest.raises(ConfigError, match="ORG/NAME"):
        check_repo(repo)


def test_a_folder_without_files_is_refused(hub, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(IncompleteFolderError, match="no files"):
        push(hub, tmp_path / "empty")


@pytest.fixture
def generated(tmp_path):
    """A folder of `syncabel generate`, three sentences of DOID."""
    path = tmp_path / "generated"
    path.mkdir()
    rows = []
    for i in range(3):
        mention = Mention("m1", (Span(10, 16),), "asthma", "Disease", (("DOID:2841",),))
        provenance = Provenance("DOID:2841", "template", "", i, "", DIGEST)
        rows.append(Document(f"template-1-DOID:2841-{i}", f"A case of asthma, no. {i}.", (mention,), source="synthetic", provenance=provenance))
    (path / "documents.jsonl").write_text("".join(json.dumps(to_json(row)) + "\n" for row in rows), encoding="utf-8")
    facts = {"requested": 3, "generated": 4, "kept": 3, "rejected": {"duplicate": 1}, "missing": 0, "writer": "template", "seconds": 0.1}
    (path / "report.json").write_text(json.dumps(facts), encoding="utf-8")
    return path


def test_the_command_publishes_and_the_second_time_has_nothing_to_do(hub, generated, tmp_path):
    first = command("--dataset", generated, "--repo", REPO, "--license", "cc0-1.0", "--output", tmp_path / "kept", "--json", hub=hub, home=tmp_path / "home")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert (said["documents"], said["mentions"], said["concepts"], said["changed"]) == (3, 3, 1, True)
    assert downloaded(hub, tmp_path) == content(tmp_path / "kept")
    assert "CC0-1.0; redistribution allowed" in (tmp_path / "kept" / "README.md").read_text(encoding="utf-8")
    second = command("--dataset", generated, "--repo", REPO, "--license", "cc0-1.0", hub=hub, home=tmp_path / "home")
    assert "nothing was committed" in second.stdout, second.stderr
    assert WRITER not in first.stderr + second.stdout + second.stderr


def test_a_dry_run_makes_the_dataset_and_sends_nothing(generated, tmp_path):
    done = command("--dataset", generated, "--repo", REPO, "--dry-run", "-o", tmp_path / "kept", token=None, home=tmp_path / "home", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert "data/part-00000.parquet" in done.stdout
    assert "nothing was sent" in done.stdout
    assert (tmp_path / "kept" / "data" / "part-00000.parquet").is_file()
    checked = command("--check", tmp_path / "kept", token=None, home=tmp_path / "home", HF_HUB_OFFLINE="1")
    assert checked.returncode == 2
    assert "is no model: there is no config.json in it; --check is for the card of a model" in checked.stderr


def test_a_terminology_under_licence_needs_a_reason(hub, generated, tmp_path, monkeypatch):
    kb = KnowledgeBase.load("doid")
    closed = KnowledgeBase.of_tables(kb.tables, dataclasses.replace(kb.about, source="Licensed Terms", redistributable=False))
    closed.save(tmp_path / "kb")
    arguments = ("--dataset", generated, "--repo", REPO, "--kb", tmp_path / "kb")
    assert "Licensed Terms may not be redistributed" in one_line(command(*arguments, hub=hub, home=tmp_path / "home"))
    assert hub.calls == []
    done = command(*arguments, "--i-may-redistribute", "licence 7 of our centre", hub=hub, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert b"licence 7 of our centre" in hub.repos["dataset", REPO].files["README.md"]


def test_human_documents_are_refused_before_anything_is_sent(hub, generated, tmp_path):
    with (generated / "documents.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(to_json(Document("note", "CANARY"))) + "\n")
    line = one_line(command("--dataset", generated, "--repo", REPO, hub=hub, home=tmp_path / "home"))
    assert "documents.jsonl:4: a human document" in line
    assert "CANARY" not in line
    assert hub.calls == []
