"""Every shell command of the README and of docs/ is executed: cheap blocks for real, dear ones against the program's own --help.

An HTML comment before a block says which: `<!-- test: run -->` or `<!-- test: help -->`.  A block without one fails.
Blocks that run share one folder per document, in order, so that a later one finds what an earlier one wrote.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = tuple(path.relative_to(ROOT).as_posix() for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))))
BLOCK = re.compile(r"(?:^<!-- test: (?P<way>\w+) -->\n+)?^```(?P<language>bash|sh|console|shell)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(\S+)$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
WAYS = ("run", "help")
OTHER_LANGUAGES = {"python", "json", "text", "yaml", "markdown"}


class Block(NamedTuple):
    """A shell block: its document, line, way of testing (None where unmarked), commands."""

    document: str
    line: int
    way: str | None
    code: str


@cache
def blocks() -> tuple[Block, ...]:
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        found += [Block(document, text[: match.start("code")].count("\n") + 1, match["way"], match["code"]) for match in BLOCK.finditer(text)]
    return tuple(found)


def commands(code: str) -> list[list[str]]:
    """Simple commands, one list of words each: continuation lines joined, comments, prompts and assignments dropped, pipes and `&&` split."""
    found: list[list[str]] = []
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                found += [words] if words else []
                words = []
            elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                words.append(word)
    return found


def help_commands() -> list[tuple[str, list[str]]]:
    return [(f"{block.document}:{block.line}", words) for block in blocks() if block.way == "help" for words in commands(block.code)]


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "TERM": "dumb"}


def shell(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_readme_has_commands() -> None:
    assert {"run", "help"} <= {block.way for block in blocks() if block.document == "README.md"}


def test_the_readme_opens_with_the_two_commands() -> None:
    first = next(block for block in blocks() if block.document == "README.md")
    assert [words[:2] for words in commands(first.code)] == [["make", "quickstart"], ["make", "test"]]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_shell_block_says_how_it_is_tested(document: str) -> None:
    unmarked = [f"{block.document}:{block.line}" for block in blocks() if block.document == document and block.way not in WAYS]
    assert not unmarked


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_shell_block_hides_under_another_name(document: str) -> None:
    languages = set(FENCE.findall((ROOT / document).read_text(encoding="utf-8")))
    assert languages <= OTHER_LANGUAGES | {"bash", "sh", "console", "shell"}


@pytest.mark.slow
@pytest.mark.parametrize("document", sorted({block.document for block in blocks() if block.way == "run"}))
def test_cheap_commands_run(document: str, tmp_path: Path) -> None:
    for block in blocks():
        if block.document == document and block.way == "run":
            done = shell(block.code, tmp_path)
            assert done.returncode == 0, f"{document}:{block.line}\n{done.stdout}{done.stderr}"


@cache
def extras() -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


@cache
def help_text(*command: str) -> str:
    done = subprocess.run([*command, "--help"], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def options_known(words: list[str], text: str) -> None:
    given = {match.group() for word in words for match in [OPTION.match(word)] if match} - {"--config"}  # TRL's parser takes it without listing it
    assert given <= set(OPTION.findall(text)), f"not in the help: {given - set(OPTION.findall(text))}"


def check_make(words: list[str]) -> None:
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def check_pip(words: list[str]) -> None:
    named = {extra for word in words for part in re.findall(r"\[([\w,]+)\]", word) for extra in part.split(",")}
    assert named <= extras()
    assert all((ROOT / words[i + 1]).exists() for i, word in enumerate(words) if word == "-c")
    options_known(words, help_text(sys.executable, "-m", "pip", "install"))


def check_syncabel(words: list[str]) -> None:
    depth = 3 if words[1] in ("kb", "corpus", "lexicon") else 2
    options_known(words, help_text("syncabel", *words[1:depth]))


def check_script(words: list[str]) -> None:
    script = next(word for word in words if word.endswith(".py"))
    options_known(words[words.index(script) :], help_text(sys.executable, script))
    check_files(words)


def check_files(words: list[str]) -> None:
    missing = [word for word in words if word.startswith(("configs/", "scripts/", "../shared/data/")) and not (ROOT / word).exists()]
    assert not [word for word in missing if not word.startswith("../shared") or (ROOT.parent / "shared").exists()]


def check_accelerate(words: list[str]) -> None:
    assert words[1] == "launch"
    if "-m" in words:
        at = words.index("-m")
        options_known(words[at + 2 :], help_text(sys.executable, "-m", words[at + 1]))
        check_files(words)
    else:
        check_script(words)


CHECKS = {"make": check_make, "pip": check_pip, "syncabel": check_syncabel, "python": check_script, "accelerate": check_accelerate}
PLAIN = {"cd", "echo", "printf", "cat", "export", "ls", "mkdir", "head", ".ci/run"}


@pytest.mark.slow
@pytest.mark.parametrize(("place", "words"), help_commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)[:50])
def test_dear_commands_exist_with_their_options(place: str, words: list[str]) -> None:
    program = words[0].rsplit("/", 1)[-1] if words[0].startswith(".venv/bin/") else words[0]
    assert program in CHECKS or program in PLAIN, f"{place}: {program!r} has no check in this test"
    if program in CHECKS:
        CHECKS[program](words)


def test_commands_are_split_as_a_shell_would() -> None:
    code = "$ make a  # why\nX=1 syncabel link --model m \\\n  < f | head -1 && echo 'a | b'\n"
    assert commands(code) == [["make", "a"], ["syncabel", "link", "--model", "m", "<", "f"], ["head", "-1"], ["echo", "a | b"]]


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", (ROOT / document).read_text(encoding="utf-8"))
        if not ((ROOT / document).parent / target).exists()
    ]
    assert not broken
