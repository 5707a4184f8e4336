"""Progress bars are for terminals: where output is piped there are none, and nobody's dictionaries of losses either."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SWITCHES = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in (*SWITCHES, "TQDM_DISABLE")}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}


def piped(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment(), input=stdin.encode(), capture_output=True, timeout=300, check=True)


def bare(output: bytes) -> bool:
    return b"\r" not in output and b"%|" not in output and b"{'" not in output


@pytest.mark.slow
def test_piped_training_and_linking_draw_nothing(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    more = ["--dev_documents", str(prepared() / "dev.jsonl"), "--types", str(prepared() / "types.json"), "--eval_strategy", "steps", "--eval_steps", "6"]
    saving = ["--disable_tqdm", "false", "--save_strategy", "steps", "--save_steps", "6"]
    trained = piped("syncabel.train", *flags(*more, *saving))
    assert trained.stdout == b""
    assert bare(trained.stderr), trained.stderr.decode()
    assert b"12 steps, loss" in trained.stderr
    linked = piped("syncabel", "link", "--model", str(tmp_path / "run" / "model"), "--device", "cpu", stdin="A [cold]{Disease}.\n")
    assert linked.stderr == b""
    assert len(linked.stdout.splitlines()) == 1


SHOW = f"import os; from syncabel.progress import bars_on_terminals_only as f; f(); print(*(os.environ.get(s) for s in {SWITCHES!r}))"


def switches(stderr: int, more: Mapping[str, str]) -> list[str]:
    return subprocess.run([sys.executable, "-c", SHOW], env=environment(**more), stdout=subprocess.PIPE, stderr=stderr, text=True, check=True).stdout.split()


def test_a_terminal_keeps_its_bars_and_a_users_own_setting_stays() -> None:
    ours, theirs = pty.openpty()
    try:
        assert switches(theirs, {}) == ["None", "None"]
    finally:
        os.close(ours)
        os.close(theirs)
    assert switches(subprocess.PIPE, {}) == ["1", "1"]
    assert switches(subprocess.PIPE, {SWITCHES[0]: "0"}) == ["0", "1"]
