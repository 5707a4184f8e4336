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
from syncabel.train.checkpoints import flaw, last_complete, run_of, seconds_used
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


@pytest.mark.parametrize("missing", ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_every_file_that_resuming_reads_is_looked_at_by_itself(missing: str, stopped: Path) -> None:
    last = stopped / "checkpoint-8"
    (last / missing).rename(last / "optimizer-away")
    assert flaw(last) is not None
    assert last_complete(stopped)[0] == stopped / "checkpoint-4"


def test_a_checkpoint_of_several_processes_is_whole_with_the_random_numbers_of_each(stopped: Path) -> None:
    last = stopped / "checkpoint-8"
    path = last / "trainer_state.json"
    state = json.loads(path.read_text())
    assert state["stateful_callbacks"]["RunMark"]["args"]["processes"] == 1
    state["stateful_callbacks"]["RunMark"]["args"]["processes"] = 2
    path.write_text(json.dumps(state))
    (last / "rng_state.pth").rename(last / "rng_state_0.pth")
    assert flaw(last) == "rng_state_1.pth is missing"
    shutil.copyfile(last / "rng_state_0.pth", last / "rng_state_1.pth")
    assert flaw(last) is None
    del state["stateful_callbacks"]["RunMark"]["args"]["processes"]  # as checkpoints were written before
    path.write_text(json.dumps(state))
    (last / "rng_state_1.pth").unlink()
    assert flaw(last) is None
    (last / "rng_state_0.pth").unlink()
    assert flaw(last) == "rng_state.pth is missing"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_file_of_torch_that_was_cut_off_is_noticed(name: str, tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    for file in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": torch.arange(1000)}, tmp_path / file)
    save_file({}, tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text("{}")
    assert flaw(tmp_path) is None
    whole = (tmp_path / name).read_bytes()
    for size in (0, 100, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:size])
        assert flaw(tmp_path) == f"{name} is cut off"


@pytest.mark.parametrize("missing", ["trainer_state.json", "optimizer.pt", "cut off"])
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


def test_a_run_that_started_over_and_was_killed_goes_on_from_its_own_checkpoint_only(
    stopped: Path, flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    other = flags(*SAVING, "--learning_rate", "0.01")
    earlier = {path.name for path in stopped.glob("checkpoint-*")}
    train(parse([*other, "--resume", "false"]))
    assert "were moved to" in capsys.readouterr().err
    assert {path.name for path in (stopped / "earlier-1").iterdir()} == earlier == {"checkpoint-4", "checkpoint-8"}
    # As a kill after four steps leaves it, with a later checkpoint of the first run still beside its own.
    for step in (8, 12):
        shutil.rmtree(stopped / f"checkpoint-{step}")
    shutil.copytree(stopped / "earlier-1" / "checkpoint-8", stopped / "checkpoint-8")
    assert train(parse(other)).steps == 12
    err = capsys.readouterr().err
    assert f"{stopped / 'checkpoint-8'}: of a run with other data or settings, passed over" in err
    assert f"going on from {stopped / 'checkpoint-4'}" in err
    assert len({run_of(path) for path in stopped.glob("checkpoint-*")}) == 1


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
    resumed = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    assert resumed["steps"] == whole.steps == 150
    assert resumed["loss"] == pytest.approx(whole.loss, rel=1e-3)
