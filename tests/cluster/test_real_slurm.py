"""The batch script under a real SLURM, where one runs on this machine: a signal to the job reaches the processes, and the job is queued again."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncabel.slurm import STATUS_FILE, Job, job_script, submit

# As a training under its launcher: a session of its own, a handler for USR1, a checkpoint, status 85; its launcher ends with 1.
TRAINING = f"""\
#!{sys.executable}
import os, signal, subprocess, sys
code = '''
import os, signal, time
def save(*_):
    os.makedirs("run/checkpoint-1", exist_ok=True)
    open("run/checkpoint-1/trainer_state.json", "w").close()
    print(85, file=open(os.environ["{STATUS_FILE}"], "a"), flush=True)
    os._exit(85)
signal.signal(signal.SIGUSR1, save)
open("ready", "w").close()
time.sleep(60)
'''
sys.exit(bool(subprocess.Popen([sys.executable, "-c", code], start_new_session=True).wait()))
"""


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    if shutil.which("sbatch") is None or subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("needs SLURM: sbatch and a controller that answers")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "torchrun").write_text(TRAINING, encoding="utf-8")
    (tmp_path / "bin" / "torchrun").chmod(0o755)
    (tmp_path / "tiny.yaml").write_text("output_dir: run\ninit: random\ntokenizer: x\nlexicon: x\nhuman_examples: x.jsonl\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    numbers: list[str] = []

    def start() -> str:
        path = f"export PATH='{tmp_path / 'bin'}':$PATH"
        numbers.append(submit(job_script(Job("tiny.yaml", gpus_per_node=0, time="10", setup=(path,)))))
        return numbers[-1]

    yield start
    for number in numbers:
        subprocess.run(["scancel", number], check=False, timeout=30)


def wait_for(said: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_a_preempted_job_saves_and_is_queued_again(submitted: Callable[[], str], tmp_path: Path, name: str) -> None:
    number = submitted()
    wait_for((tmp_path / "ready").exists)
    subprocess.run(["scancel", "--batch", f"--signal={name}", number], check=True)

    def shown() -> str:
        return subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout

    wait_for(lambda: "JobState=PENDING" in shown())
    assert "Restarts=1" in shown()
    assert (tmp_path / "run" / "checkpoint-1").exists()
    assert f"requeues-{number}" in {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.slow
def test_a_cancelled_job_is_not_queued_again(submitted: Callable[[], str], tmp_path: Path) -> None:
    number = submitted()
    wait_for((tmp_path / "ready").exists)
    subprocess.run(["scancel", number], check=True)

    def state() -> str:
        shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
        return shown.split("JobState=")[1].split()[0]

    wait_for(lambda: state() == "CANCELLED" and not subprocess.run(["squeue", "-h", "-j", number], capture_output=True, text=True, check=True).stdout)
    assert not list((tmp_path / "run").glob("requeues-*"))
