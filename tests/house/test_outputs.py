"""What a command writes costs nobody a file: not what it reads, and not what somebody else put there; and what is said of the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from syncabel.cli.app import app
from syncabel.cli.outputs import refuse_foreign, refuse_inputs
from syncabel.corpora import write_jsonl
from syncabel.errors import ConfigError, SyncabelError
from syncabel.types import Document, Mention, Span


def documents(count: int) -> list[Document]:
    return [Document(f"d{i}", f"An angina, number {i}.", (Mention("1", (Span(3, 9),), "angina", "Disease", (("A:3",),)),)) for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """all.jsonl: twenty documents; dev.jsonl: somebody's own."""
    write_jsonl(documents(20), tmp_path / "all.jsonl")
    write_jsonl(documents(3), tmp_path / "dev.jsonl")
    return tmp_path


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refused(folder: Path, *arguments: Any) -> str:
    """What is said, nothing having been written."""
    before = files(folder)
    done = run(*arguments)
    assert isinstance(done.exception, SyncabelError), done.output
    assert files(folder) == before
    said = str(done.exception)
    assert "\n" not in said
    return said


def test_a_split_takes_no_folder_with_files_of_its_names_that_no_split_made(folder: Path) -> None:
    said = refused(folder, "corpus", "split", folder / "all.jsonl", "--fractions", "train=0.9,test=0.1", "-o", folder)
    assert said.endswith("dev.jsonl is there, and no `syncabel corpus split` wrote it; give another folder, or move it away")
    (folder / "dev.jsonl").unlink()
    assert run("corpus", "split", folder / "all.jsonl", "-o", folder).exit_code == 0
    assert {"train.jsonl", "dev.jsonl", "test.jsonl"} <= set(files(folder))
    assert json.loads((folder / "split.json").read_text())["documents"] == {"train": 16, "dev": 2, "test": 2}
    again = run("corpus", "split", folder / "all.jsonl", "--fractions", "train=0.5,test=0.5", "-o", folder)
    assert again.exit_code == 0
    assert "dev.jsonl" not in files(folder), "of the split before"


def test_a_split_does_not_write_over_what_it_splits(folder: Path) -> None:
    (folder / "all.jsonl").rename(folder / "train.jsonl")
    assert "would be written over itself, which is read" in refused(folder, "corpus", "split", folder / "train.jsonl", "-o", folder)


def test_examples_take_no_folder_with_files_of_their_names_that_are_none(folder: Path, small_kb: Any, small_lexicon: Any) -> None:
    small_kb.save(folder / "kb")
    small_lexicon.save(folder / "lexicon")
    command = ["examples", folder / "kb", folder / "all.jsonl", "--lexicon", folder / "lexicon", "--dev-fraction", "0", "-o"]
    assert "dev.jsonl is there, and no `syncabel examples` wrote it" in refused(folder, *command, folder)
    (folder / "all.jsonl").rename(folder / "synthetic.jsonl")
    (folder / "dev.jsonl").unlink()
    assert "synthetic.jsonl would be written over" in refused(folder, *command[:2], folder / "synthetic.jsonl", *command[3:], folder)
    command[2] = folder / "synthetic.jsonl"
    for _ in range(2):
        assert run(*command, folder / "out").exit_code == 0
    assert not (folder / "out" / ".unfinished").exists()
    (folder / "out" / "format.json").rename(folder / "out" / ".unfinished")  # as a run leaves it that was killed
    assert run(*command, folder / "out").exit_code == 0


def test_predictions_and_misses_do_not_replace_the_documents(folder: Path) -> None:
    notes = folder / "notes.txt"
    notes.write_text("seen for [angina]{Disease}\n")
    (folder / "same.txt").symlink_to(notes)
    for output in (notes, folder / "same.txt", folder / ".." / folder.name / "notes.txt"):
        assert "notes.txt" in refused(folder, "link", "--model", "nowhere", notes, "-o", output)
    documents = folder / "all.jsonl"
    for output in (documents, folder / "dev.jsonl"):
        assert "which is read" in refused(folder, "evaluate", documents, folder / "dev.jsonl", "--kb", "doid", "--misses", output)


def test_a_folder_to_link_is_told_what_to_do_with(folder: Path) -> None:
    assert "give one file; `syncabel corpus convert` makes one" in refused(folder, "link", "--model", "nowhere", folder)


def test_what_is_not_there_or_not_read_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    refuse_inputs([tmp_path / "out", None], [tmp_path / "in", None, tmp_path / "gone"])
    with pytest.raises(ConfigError, match="would be written over"):
        refuse_inputs([tmp_path / "x" / ".." / "in"], [tmp_path / "in"])
    refuse_foreign(tmp_path, ["mark"], ["out"], "x")
    with pytest.raises(ConfigError, match="in is there, and no `x` wrote it"):
        refuse_foreign(tmp_path, ["mark"], ["out", "in"], "x")
    (tmp_path / "mark").touch()
    refuse_foreign(tmp_path, ["mark"], ["out", "in"], "x")


def outside(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=settings, capture_output=True, text=True, timeout=120, check=False)


COMMAND = "import sys; sys.argv[0] = 'syncabel'; from syncabel.cli import main; main()"


@pytest.mark.parametrize("arguments", [("link", "--model", "lab/none", "{notes}"), ("lexicon", "build", "doid", "--tokenizer", "lab/none", "-o", "{out}")])
def test_a_model_that_the_hub_does_not_give_is_one_line_of_the_command_too(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """In a process of its own: elsewhere something has imported all of the Hub's client."""
    (tmp_path / "notes").write_text("seen for [angina]{Disease}\n")
    done = outside(COMMAND, *(word.format(notes=tmp_path / "notes", out=tmp_path / "out") for word in arguments))
    assert done.returncode == 2
    assert "lab/none" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_ctrl_c_while_the_program_is_being_read_is_one_line() -> None:
    code = """
import sys
class Pressed:
    def find_spec(self, name, *rest):
        if name == "syncabel.cli.evaluate":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Pressed())
from syncabel.cli import main
main()
"""
    done = outside(code, "--version")
    assert (done.returncode, done.stderr) == (130, "syncabel: interrupted\n")
