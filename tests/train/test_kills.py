"""SIGKILL at random moments, in a step or while a checkpoint is written: the reruns end with the weights of a run that nobody killed.

SYNCABEL_TRAINING_KILLS says how often: 2 in the test suite, 20 in `make soak`.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from syncabel.train.arguments import parse
from syncabel.train.checkpoints import checkpoints, flaw
from syncabel.train.run import train

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("SYNCABEL_TRAINING_KILLS", "2"))
STEPS = 60 + 15 * KILLS


def started(folder: Path, begun: set[str], run: subprocess.Popen[str]) -> None:
    """Wait until the process has written a checkpoint of its own, or the first part of one."""
    until = time.monotonic() + 90
    while not {path.name for path in folder.glob("checkpoint-*")} - begun:
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.002)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_weights_of_one_that_was_not(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    often = ["--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "3", "--max_steps", str(STEPS)]
    command = [sys.executable, "-m", "syncabel.train", *flags(*often)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    moments, folder, half_written = random.Random(6), tmp_path / "run", 0
    for _ in range(KILLS):
        begun = {path.name for path in folder.glob("checkpoint-*")}
        run = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        started(folder, begun, run)
        time.sleep(moments.uniform(0, 0.25))
        run.send_signal(signal.SIGKILL)
        _, err = run.communicate(timeout=60)
        assert run.returncode == -signal.SIGKILL, err
        whole = [path for path in checkpoints(folder) if flaw(path) is None]
        half_written += len(checkpoints(folder)) - len(whole)
    last = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stderr
    print(
        f"{KILLS} kills, {half_written} of them while a checkpoint was written; the last run: {'went on' if 'going on from' in last.stderr else 'from nothing'}"
    )
    undisturbed = train(parse(flags("--max_steps", str(STEPS), output=tmp_path / "whole")))
    ended, expected = (load_file(place / "model.safetensors") for place in (folder / "model", undisturbed.folder))
    assert ended.keys() == expected.keys()
    assert max(abs(ended[name] - values).max() for name, values in expected.items()) < 1e-6
