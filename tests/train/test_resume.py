"""A rerun goes on: after a kill, after Ctrl-C, past a checkpoint that was half written, and never from another run's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from syncabel.errors import ConfigError, IncompleteFolderError
from syncabel.train.arguments import parse
from syncabel.train.checkpoints import flaw, last_complete, seconds_used
from syncabel.train.run import train

ROOT = Path(__file__).resolve().parents[2]
SAVING = ["--save_strategy", "steps", "--save_steps", "4"]


@pytest.fixture
def stopped(flags: Callable[..., list[str]], tmp_path: Path) -> Path:
    """An output folder with checkpoints 4 and 8 of a run of 12 steps, as a kill leaves it."""
    folder = tmp_path / "run"
    train(parse(flags(*SAVING)))
    for left in ("checkpoint-12", "model"):
        shutil.rmtree(folder / left)
    return folder


def test_a_resumed_run_ends_with_the_steps_and_the_weights_of_an_uninterrupted_one(
    flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import load_file

    whole = train(parse(flags(*SAVING, "--model_folder", str(tmp_path / "whole"))))
    shutil.rmtree(tmp_path / "run" / "checkpoint-12")
    resumed = train(parse(flags(*SAVING, "--model_folder", str(tmp_path / "resumed"))))
    assert "going on from" in capsys.readouterr().err
    assert resumed.steps == whole.steps == 12
    assert resumed.loss == pytest.approx(whole.loss, rel=1e-4)
    weights = [load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", tmp_path / "resumed")]
    assert all(abs(weights[0][name] - weights[1][name]).max() < 1e-5 for name in weights[0])
    assert resumed.seconds > seconds_used(tmp_path / "run" / "checkpoint-8") > 0


@pytest.mark.parametrize("missing", ["trainer_state.json", "model.safetensors", "optimizer.pt", "cut off"])
def test_a_half_written_checkpoint_is_passed_over_and_said(
    missing: str, stopped: Path, flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    last = stopped / "checkpoint-8"
    if missing == "cut off":
        weights = last / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (last / missing).unlink()
    found, passed = last_complete(stopped)
    assert found == stopped / "checkpoint-4"
    assert len(passed) == 1
    assert "half written, passed over" in passed[0]
    with pytest.raises(IncompleteFolderError, match="give another checkpoint"):
        train(parse(flags(*SAVING, "--resume_from_checkpoint", str(last))))
    assert train(parse(flags(*SAVING))).steps == 12
    assert "checkpoint-4" in capsys.readouterr().err
    assert flaw(last) is None, "written again, whole"


def test_checkpoints_of_a_run_with_other_settings_are_refused(stopped: Path, flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="a run with other data or settings"):
        train(parse(flags(*SAVING, "--learning_rate", "0.01")))
    assert train(parse(flags(*SAVING, "--learning_rate", "0.01", "--resume", "false"))).steps == 12


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_interrupted_goes_on_when_started_again(number: signal.Signals, flags: Callable[..., list[str]], tmp_path: Path) -> None:
    again = flags("--save_strategy", "steps", "--save_steps", "10", "--max_steps", "150", "--logging_steps", "10")
    command = [sys.executable, "-m", "syncabel.train", *again]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until = time.monotonic() + 90
    while not (tmp_path / "run" / "checkpoint-20" / "trainer_state.json").exists():
        assert time.monotonic() < until
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    first.send_signal(number)
    _, err = first.communicate(timeout=60)
    assert first.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), err
    before, _ = last_complete(tmp_path / "run")
    assert before is not None
    assert not (tmp_path / "run" / "model").exists()
    if number == signal.SIGINT:
        assert "run the same command again" in err
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stderr
    assert f"going on from {before}" in second.stderr
    whole = train(parse(flags("--max_steps", "150", "--logging_steps", "10", output=tmp_path / "whole")))
    resumed = json.loads((tmp_path / "run" / "training.json").read_text())
    assert resumed["steps"] == whole.steps == 150
    assert resumed["loss"] == pytest.approx(whole.loss, rel=1e-3)
