"""The command line from outside: help everywhere, errors of one line with exit code 2, tracebacks only for --debug."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from syncabel.cli.app import main
from syncabel.errors import SyncabelError

COMMANDS = (
    (),
    ("kb",),
    ("kb", "build"),
    ("kb", "merge"),
    ("kb", "filter"),
    ("kb", "info"),
    ("kb", "show"),
    ("kb", "search"),
    ("kb", "graph"),
    ("kb", "diff"),
    ("corpus",),
    ("corpus", "convert"),
    ("corpus", "check"),
    ("corpus", "split"),
    ("corpus", "stats"),
    ("lexicon",),
    ("lexicon", "build"),
    ("lexicon", "tokenizer"),
    ("generate",),
    ("examples",),
    ("link",),
    ("evaluate",),
    ("judge",),
    ("calibrate",),
    ("report",),
    ("plan",),
    ("publish",),
    ("convert",),
    ("slurm",),
    ("slurm", "train"),
    ("quickstart",),
)


class Result(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


class Call:
    """Runs the command line in this process, as the console script does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | Path) -> Result:
        self.monkeypatch.setattr(sys, "argv", ["syncabel", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self.capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder of files with something wrong about each."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "latin1.tsv").write_bytes("X:1\tm\u00e9ningite\tP\n".encode("latin-1"))
    (tmp_path / "latin1.txt").write_bytes("une [m\u00e9ningite]{Disease}\n".encode("latin-1"))
    (tmp_path / "columns.tsv").write_text("X:1\tfever\tP\nX:2\tcold\n", encoding="utf-8")
    (tmp_path / "cycle.obo").write_text(
        "format-version: 1.2\n\n[Term]\nid: X:1\nname: one\nis_a: X:2\n\n[Term]\nid: X:2\nname: two\nis_a: X:1\n", encoding="utf-8"
    )
    (tmp_path / "marked.txt").write_text("the patient has [fever]{Disease}\n", encoding="utf-8")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "half" / "tokenizer.json").write_text('{"version": ', encoding="utf-8")
    return tmp_path


# Each line: a command (`@name` is a file of the folder above), and a word its message must hold.
WRONG = (
    (("kb", "info", "@nowhere"), "nowhere"),
    (("kb", "info", "doidd"), "doid"),
    (("kb", "show", "doid", "DOID:none"), "DOID:none"),
    (("kb", "build", "@nowhere.obo", "--group", "Disease", "-o", "@kb"), "nowhere.obo"),
    (("kb", "build", "@empty", "--format", "table", "--group", "Disease", "-o", "@kb"), "empty"),
    (("kb", "build", "@latin1.tsv", "--group", "Disease", "-o", "@kb"), "latin1.tsv:1"),
    (("kb", "build", "@cycle.obo", "--group", "Disease", "-o", "@kb"), "X:"),
    (("corpus", "check", "@nowhere.txt", "--kb", "doid"), "nowhere.txt"),
    (("corpus", "check", "@empty", "--kb", "doid"), "empty"),
    (("corpus", "convert", "@latin1.tsv", "--format", "pubtator-ncbi", "-o", "@c.jsonl"), "latin1.tsv"),
    (("corpus", "convert", "@marked.txt", "--format", "pubtater", "-o", "@c.jsonl"), "pubtator"),
    (("lexicon", "build", "doid", "--tokenizer", "@nowhere", "-o", "@lexicon"), "nowhere"),
    (("lexicon", "build", "doid", "--tokenizer", "@half", "-o", "@lexicon"), "tokenizer.json"),
    (("examples", "doid", "@nowhere.jsonl", "--lexicon", "@nowhere", "-o", "@examples"), "nowhere"),
    (("link", "--model", "@nowhere", "@marked.txt"), "nowhere"),
    (("link", "--model", "@half", "@marked.txt"), "half"),
    (("link", "--model", "@half", "@empty"), "empty"),
    (("link", "--model", "@half", "@latin1.txt"), "latin1.txt:1"),
    (("evaluate", "--tsv", "@nowhere.tsv"), "nowhere.tsv"),
    (("evaluate", "--tsv", "@empty"), "empty"),
    (("evaluate",), "--tsv FILE"),
    (("evaluate", "@empty"), "PREDICTIONS"),
    (("report", "@nowhere", "-o", "@r.html"), "evaluation.json"),
    (("report", "@half", "-o", "@r.pdf"), ".html"),
    (("link", "--model", "@half", "@marked.txt", "--format", "tabel"), "'table'"),
    (("lexicon", "build", "doid", "--tokenizer", "@half", "-o", "@lexicon", "--prompt-format", "sentense"), "'sentence'"),
    (("kb", "build"), "syncabel kb build --help"),
    (("kb", "build", "@columns.tsv"), "--output"),
    (("kb", "info", "doid", "more"), "more"),
    (("kb", "build", "@columns.tsv", "--format", "xls", "-o", "@kb"), "--format"),
    (("kb", "build", "@nowhere.owl", "-o", "@kb"), "--group-from"),
    (("kb", "build", "@columns.tsv", "--sources", "MSH", "--group", "G", "-o", "@kb"), "--sources"),
    (("kb", "build", "@empty", "--format", "umls", "--redistributable", "-o", "@kb"), "--redistributable"),
    (("kb", "merge", "doid", "-o", "@kb"), "two"),
    (("kb", "merge", "doid", "@nowhere", "-o", "@kb"), "nowhere"),
    (("kb", "filter", "doid", "-o", "@kb"), "filter"),
    (("kb", "filter", "doid", "--groups", "Diseases", "-o", "@kb"), "'Disease'"),
    (("kb", "search", "doid", ""), "text"),
    (("kb", "graph", "doid", "DOID:4", "--to", "DOID:none"), "DOID:none"),
    (("kb", "diff", "doid", "@nowhere"), "nowhere"),
    (("judge",), "--agreement"),
    (("judge", "@nowhere.jsonl", "@nowhere.jsonl", "--kb", "doid", "-o", "@judged", "--model", "m", "--engine", "opnai"), "'openai'"),
    (("judge", "@nowhere.jsonl", "@nowhere.jsonl", "--kb", "doid", "-o", "@judged", "--model", "m", "--temperature", "0"), "--votes"),
    (("judge", "--agreement", "@nowhere.csv", "@nowhere.csv"), "nowhere.csv"),
    (("judge", "--agreement", "@latin1.tsv", "@latin1.tsv"), "latin1.tsv:1"),
    (("publish",), "--dataset"),
    (("publish", "@half"), "--repo"),
    (("publish", "@half", "--repo", "lab/x", "--dry-run"), "half"),
    (("publish", "--check", "@half"), "README.md"),
    (("quickstart", "--steps", "many"), "--steps"),
    (("quickstart", "--steps", "0"), "--steps"),
    (("quickstart", "--stepz", "1"), "--steps"),
    (("plan", "--config", "llama3-8b-ful"), "'llama3-8b-full'"),
    (("plan", "--config", "llama3-8b-full", "--gpu", "h10"), "'h100'"),
    (("plan", "--config", "llama3-8b-full", "--accelerate", "fsdp3"), "'fsdp2'"),
    (("plan", "--config", "llama3-8b-full", "--set", "learning_rat=1"), "'learning_rate'"),
    (("plan", "--config", "llama3-8b-full", "--set", "packing"), "KEY=VALUE"),
    (("plan", "--config", "llama3-8b-full", "--set", "model_name_or_path=nowhere"), "config.json"),
    (("plan", "--config", "tiny-cpu", "--set", "tokenizer=nowhere"), "make the data first"),
    (("lexcon",), "'lexicon'"),
    (("kb", "nonsense"), "nonsense"),
)


def placed(arguments: tuple[str, ...], folder: Path) -> list[str]:
    return [str(folder / word[1:]) if word.startswith("@") else word for word in arguments]


def title(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("command", COMMANDS, ids=title)
def test_every_command_has_help(call: Call, command: tuple[str, ...]) -> None:
    done = call(*command, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    assert " ".join(command) in done.out


def test_help_keeps_its_brackets_and_opens_with_what_the_program_does(call: Call) -> None:
    assert "[mention]{GROUP}" in call("link", "--help").out
    assert "Codes out of text" in call("--help").out
    assert "Typer" not in call("--help").out


# A file of each reader with something wrong behind the name of a patient, and the command that reads it.
PRIVATE = {
    "json.jsonl": ('{"id": "1", "text": "Quill\n', ("corpus", "convert", "-o", "@c.jsonl")),
    "offset.jsonl": (
        '{"id": "1", "text": "Quill"}\n{"id": "2", "text": "Quill", "mentions": [{"id": "1", "spans": [{"start": 1, "end": 5}], "text": "Quill"}]}\n',
        ("corpus", "check", "--kb", "doid"),
    ),
    "schema.jsonl": ('{"id": "1", "text": "Quill", "mentions": "Quill"}\n', ("link", "--model", "@half")),
    "pubtator.txt": ("1|t|Quill\n1|a|Quill\n1\t1\t6\tQuill\tDisease\tD1\n", ("corpus", "check", "--kb", "doid")),
    "predictions.jsonl": ('{"document_id": "1", "text": "Quill"\n', ("evaluate", "@good.jsonl", "--kb", "doid")),
}


@pytest.mark.parametrize("name", PRIVATE)
def test_no_message_holds_the_text_it_is_about(call: Call, broken: Path, name: str) -> None:
    content, command = PRIVATE[name]
    (broken / name).write_text(content, encoding="utf-8")
    (broken / "good.jsonl").write_text('{"id": "1", "text": "Quill"}\n', encoding="utf-8")
    done = call(*placed(command, broken), broken / name)
    assert done.err
    assert "Quill" not in done.err


@pytest.mark.parametrize(("arguments", "word"), WRONG, ids=title)
def test_an_error_is_one_line_that_names_the_place(call: Call, broken: Path, arguments: tuple[str, ...], word: str) -> None:
    done = call(*placed(arguments, broken))
    assert done.code == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("syncabel: error: ")
    assert word in lines[0]


def test_a_failed_build_leaves_no_half_written_folder(call: Call, broken: Path) -> None:
    call("kb", "build", broken / "latin1.tsv", "--group", "Disease", "-o", broken / "kb")
    assert not (broken / "kb" / "manifest.json").exists()


def test_debug_shows_the_traceback(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["syncabel", "--debug", "kb", "build", str(broken / "latin1.tsv"), "--group", "Disease", "-o", str(broken / "kb")])
    with pytest.raises(SyncabelError, match="latin1"):
        main()


def test_kb_info_prints_the_promised_json(call: Call) -> None:
    done = call("kb", "info", "doid", "--json")
    assert done.code == 0
    assert done.err == ""
    info = json.loads(done.out)
    assert {"concepts", "names", "ambiguous_names", "digest"} <= info.keys()


def test_a_table_becomes_a_knowledge_base_that_shows_its_concepts(call: Call, tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text("X:1\tacute fever\tP\nX:1\tpyrexia\tS\nX:2\tcommon cold\tP\n", encoding="utf-8")
    assert call("kb", "build", tmp_path / "names.tsv", "--group", "Finding", "-o", tmp_path / "kb").code == 0
    info = json.loads(call("kb", "info", tmp_path / "kb", "--json").out)
    assert (info["concepts"], info["names"], info["ambiguous_names"]) == (2, 3, 0)
    assert "pyrexia" in call("kb", "show", tmp_path / "kb", "X:1").out


def test_nothing_but_the_answer_is_written_where_output_is_piped(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "syncabel", "kb", "info", "doid", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_the_console_script_and_the_module_are_the_same(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "syncabel"
    answers = {
        subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
        for command in ([str(script)], [sys.executable, "-m", "syncabel"])
    }
    assert len(answers) == 1


@pytest.mark.parametrize("command", [(), ("kb",), ("lexicon",)], ids=title)
def test_no_arguments_are_answered_with_the_help(call: Call, command: tuple[str, ...]) -> None:
    done = call(*command)
    assert done.code == 2
    assert "Usage" in done.out + done.err
    assert "syncabel: error" not in done.err


def test_a_command_keeps_the_exit_code_it_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (0, 1, 2, 3):
        app_of_one = typer.Typer()

        @app_of_one.command()
        def leave(code: int = code) -> None:
            raise typer.Exit(code)

        monkeypatch.setattr("syncabel.cli.app.app", app_of_one)
        monkeypatch.setattr(sys, "argv", ["syncabel"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code


@pytest.mark.parametrize("stop", [KeyboardInterrupt, typer.Abort])
@pytest.mark.parametrize(("command", "resumes"), [("generate", True), ("quickstart", True), ("link", False), ("kb", False)])
def test_an_interrupted_command_says_how_to_go_on_where_it_can(call: Call, stop: type[BaseException], command: str, resumes: bool) -> None:
    stand_in = typer.Typer()

    @stand_in.callback()
    def root(debug: bool = False) -> None:
        pass

    @stand_in.command(command)
    def wait() -> None:
        raise stop

    call.monkeypatch.setattr("syncabel.cli.app.app", stand_in)
    done = call("--debug", command)
    assert done.code == 130
    assert done.err.startswith("syncabel: interrupted")
    assert ("run the same command again" in done.err) is resumes


def test_facts_are_not_wrapped_where_output_is_piped(call: Call) -> None:
    info = json.loads(call("kb", "info", "doid", "--json").out)
    lines = dict(line.split("\t") for line in call("kb", "info", "doid").out.splitlines())
    assert lines["digest"] == info["digest"]
    assert lines["redistributable"] == "yes"
    shown = call("kb", "show", "doid", "DOID:1612").out.splitlines()
    assert all(line.count("\t") == 1 for line in shown)
    assert "name\tbreast cancer" in shown
