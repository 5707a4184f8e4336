"""Whatever bytes come in, a reader ends in a result or in an error of the project's own tree.

Each reader gets a small valid source with some of its bytes cut, doubled, swapped or overwritten: nearly right input reaches
code that random bytes never see.  SYNCABEL_FUZZ sets how many inputs each reader gets: a hundred by default, 2,000 in `.ci/run`, more in `make soak`.
"""

import os
import tempfile
from pathlib import Path

import pytest
from fuzz_targets import TARGETS, Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.errors import SyncabelError

INPUTS = int(os.environ.get("SYNCABEL_FUZZ", "100"))
REPEATABLE = INPUTS <= 2000  # a check of a commit must not fail by chance on what the commit did not touch; a soak looks for new inputs
# What real files were broken by: line ends, marks, separators, numbers as spreadsheets write them, markup, half characters.
SPLINTERS = (
    b"\r", b"\n", b"\n\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\t", b"|", b"||", b'"', b"#", b"# x\n", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8",
    b"\xc2\xa0", b";", b" ", b",", b"\\", b"\x1b[31m", "é".encode(), "𝛼".encode(),
    b"1.0E+17", b"-1", b"0", b"9" * 30, b"nan", b"null", b"true", b"[]", b"{}", b"[" * 3000,
    b"<", b"&", b"&x;", b"<!ENTITY a 'b'>", b"]]>", b"../", b"id: D:1\n", b"is_a: D:2\n", b"[Term]\n", b"1|t|x\n", b"T1", b"T9\tX 0 99999\tx\n",
)  # fmt: skip


@st.composite
def damages(draw: st.DrawFn) -> tuple[float, str, float, float, bytes]:
    """(which file, what is done, where, how far, with what); places as fractions, so that one serves any file."""
    share = st.floats(0, 1, exclude_max=True)
    return draw(share), draw(st.sampled_from(("insert", "overwrite", "cut", "double", "truncate"))), draw(share), draw(share), draw(st.sampled_from(SPLINTERS))


def damaged(content: bytes, what: str, where: float, length: float, splinter: bytes) -> bytes:
    start = int(where * (len(content) + 1))
    end = start + 1 + int(length * 40)
    match what:
        case "insert":
            return content[:start] + splinter + content[start:]
        case "overwrite":
            return content[:start] + splinter + content[start + len(splinter) :]
        case "cut":
            return content[:start] + content[end:]
        case "double":
            return content[:end] + content[start:]
        case _:
            return content[:start]


def write(target: Target, folder: Path, wounds: list[tuple[float, str, float, float, bytes]]) -> Path:
    files = dict(target.files)
    for which, *rest in wounds:
        name = sorted(files)[int(which * len(files))]
        files[name] = damaged(files[name], *rest)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder if target.folder else folder / next(iter(files))


@pytest.mark.parametrize("name", TARGETS)
def test_the_undamaged_source_is_read(name: str, tmp_path: Path) -> None:
    read = TARGETS[name].read(write(TARGETS[name], tmp_path, []))
    assert len(read) > 0  # type: ignore[arg-type]


def refusal(target: Target, path: Path) -> str:
    """The message of the project's own error that reading ends in, or "" for a result; any other exception goes through."""
    try:
        target.read(path)
    except SyncabelError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_ends_in_a_result_or_an_error_of_the_tree(name: str) -> None:
    @settings(max_examples=INPUTS, deadline=None, derandomize=REPEATABLE, database=None, suppress_health_check=list(HealthCheck), print_blob=False)
    @given(st.lists(damages(), min_size=1, max_size=4))
    def holds(wounds: list[tuple[float, str, float, float, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            assert "\n" not in refusal(TARGETS[name], write(TARGETS[name], Path(folder), wounds))

    holds()
