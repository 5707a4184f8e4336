"""What can go wrong while a model is trained: loss that is no number, full disks, changed data, a scheduler that wants the machine back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncabel.errors import ConfigError, LossError
from syncabel.train import main
from syncabel.train.arguments import parse
from syncabel.train.checkpoints import checkpoints, flaw, last_complete
from syncabel.train.record import FORMAT, differences, read_run
from syncabel.train.run import make_trainer, train
from syncabel.train.trainer import LinkingTrainer

ROOT = Path(__file__).resolve().parents[2]
SAVING = ["--save_strategy", "steps", "--save_steps", "4"]
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("rate", ["1e19", "1e38"], ids=["loss", "weights"])
def test_what_is_no_number_ends_training_and_no_checkpoint_holds_it(rate: str, flags: Callable[..., list[str]], tmp_path: Path) -> None:
    said = (
        r"step \d+, its batch: (human|synthetic) \S+#1.* and 4 more, all in .*bad_batch\.jsonl: loss.*; the last good checkpoint is .*-\d+: lower learning_rate"
    )
    with pytest.raises(LossError, match=said):
        train(parse(flags("--save_strategy", "steps", "--save_steps", "1", "--learning_rate", rate, "--max_grad_norm", "0")))
    good, _ = last_complete(tmp_path / "run")
    assert good is not None
    assert all(np.isfinite(values).all() for values in weights(good).values())
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("packing", ["false", "true"])
def test_the_batch_that_is_named_is_the_one_that_was_read(packing: str, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    from syncabel.lexicon.store import Lexicon
    from syncabel.sft import read_examples
    from syncabel.train.data import encode_examples
    from syncabel.train.model import load_tokenizer

    # Some examples are too long, so that a place among the rest is no line of the file; packs hold several.
    settings = parse(flags("--max_length", "58", "--packing", packing, "--per_device_train_batch_size", "4"))
    trainer, data, _ = make_trainer(settings)
    assert data.rejected
    lexicon, tokenizer = Lexicon.load(prepared() / "lexicon"), load_tokenizer(settings)
    examples = {name: read_examples(prepared() / f"{name}.jsonl") for name in ("human", "synthetic")}
    sizes = set()
    for step in range(data.steps):
        said = trainer._where_is(step)
        rows = [json.loads(line) for line in (tmp_path / "run" / "bad_batch.jsonl").read_text().splitlines()]
        assert {row["step"] for row in rows} == {step + 1}
        assert said.startswith(f"step {step + 1}, its batch: {rows[0]['source']} {rows[0]['document_id']}#{rows[0]['mention_id']}")
        for item in range(1, 5):
            members = [row for row in rows if row["item"] == item]
            sizes.add(len(members))
            named = [examples[row["source"]][row["line"] - 1] for row in members]
            assert [(example.document_id, example.mention_id, example.code) for example in named] == [
                (row["document_id"], row["mention_id"], row["code"]) for row in members
            ]
            read = data.dataset[step * 4 + item - 1]["input_ids"]
            assert read == encode_examples(named, lexicon, tokenizer, 58).ids.tolist(), "the slow way gives what the model was given"
    assert sizes == ({1} if packing == "false" else {1, 2})


def test_a_step_whose_examples_were_changed_meanwhile_is_named_without_them(
    flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine" / "human.jsonl"
    mine.parent.mkdir()
    shutil.copyfile(prepared() / "human.jsonl", mine)
    trainer, *_ = make_trainer(parse(flags("--human_examples", str(mine))))
    mine.write_text("".join(mine.read_text().splitlines(keepends=True)[1:]))
    assert trainer._where_is(2) == f"step 3 (its examples cannot be named: {mine} has changed since the training began)"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()], ids=["accelerator", "machine"])
def test_memory_that_runs_out_in_a_step_is_one_line_with_what_lowers_it(
    error: Exception, flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = LinkingTrainer.training_step

    def full(self: LinkingTrainer, *rest: Any, **named: Any) -> Any:
        if self.state.global_step == 5:
            raise error
        return step(self, *rest, **named)

    monkeypatch.setattr(LinkingTrainer, "training_step", full)
    assert main(flags(*SAVING)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("syncabel: error: step 6: the cpu device's memory is full; the last good checkpoint is ")
    assert "checkpoint-4: lower per_device_train_batch_size" in said
    assert "`syncabel plan`" in said


@pytest.mark.parametrize("change", ["human", "rate", "both"])
def test_a_resume_with_changed_data_or_settings_says_what_changed(
    change: str, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    mine = tmp_path / "examples"
    mine.mkdir()
    shutil.copyfile(prepared() / "human.jsonl", mine / "human.jsonl")
    files = ["--human_examples", str(mine / "human.jsonl")]
    train(parse(flags(*SAVING, *files)))
    more = []
    if change in ("human", "both"):
        lines = (mine / "human.jsonl").read_text().splitlines(keepends=True)
        (mine / "human.jsonl").write_text("".join(lines[:-1]))
    if change in ("rate", "both"):
        more = ["--learning_rate", "0.01"]
    said = {"human": "human_examples changed", "rate": "learning_rate was 0.003, is 0.01", "both": "learning_rate was 0.003, is 0.01, human_examples changed"}
    with pytest.raises(ConfigError) as refused:
        train(parse(flags(*SAVING, *files, *more)))
    assert f"({said[change]});" in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        train(parse(flags(*SAVING, *files, *more, "--resume_from_checkpoint", str(tmp_path / "run" / "checkpoint-8"))))
    assert f"is of another run ({said[change]})" in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["--mix", "1:1"], ["--mix", "1:9"], "mix was 1:1, is 1:9"),
        ([], ["--max_length", "58"], "max_length was 200, is 58"),
        ([], ["--word_cuts", "0.5"], "word_cuts was 0.0, is 0.5"),
        ([], ["--bucket_batches", "4"], "bucket_batches was 1, is 4"),
        (["--max_steps", "-1", "--num_train_epochs", "1"], ["--max_steps", "-1", "--num_train_epochs", "2"], "num_train_epochs was 1.0, is 2.0"),
        (["--max_steps", "-1", "--max_repeats", "1"], ["--max_steps", "-1", "--max_repeats", "2"], "max_repeats was 1, is 2"),
        ([], ["--max_minutes", "10"], "max_minutes was not there, is 10.0"),
        ([], ["--model_init_kwargs", '{"attn_implementation": "eager"}'], 'model_init_kwargs was not there, is {"attn_implementation": "eager"}'),
    ],
    ids=lambda value: value[-2].removeprefix("--") if isinstance(value, list) and value else "",
)
def test_settings_that_the_data_or_the_steps_follow_from_are_named(
    before: list[str], after: list[str], said: str, flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    train(parse(flags(*SAVING, *before)))
    with pytest.raises(ConfigError) as refused:
        train(parse(flags(*SAVING, *after)))
    assert f"({said});" in str(refused.value)


def test_a_setting_that_leaves_the_data_and_their_order_as_they_were_stops_no_resume(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    train(parse(flags(*SAVING)))
    shutil.rmtree(tmp_path / "run" / "checkpoint-12")
    resumed = train(parse(flags(*SAVING, "--mix", "1:1", "--max_repeats", "50", "--model_init_kwargs", '{"cache_dir": "elsewhere", "token": "hf_x"}')))
    assert resumed.steps == 12


def as_before(checkpoint: Path) -> None:
    """Make a checkpoint say of its run only what checkpoints said before the reasons and the processes were in them."""
    path = checkpoint / "trainer_state.json"
    state = json.loads(path.read_text())
    for mark in [state["stateful_callbacks"]["RunMark"]]:
        del mark["args"]["reasons"], mark["args"]["processes"]
    path.write_text(json.dumps(state))


def test_a_checkpoint_written_before_is_gone_on_from_or_refused_with_what_it_did_not_record(
    flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(parse(flags(*SAVING)))
    for step in (4, 8, 12):
        as_before(tmp_path / "run" / f"checkpoint-{step}")
    for more, said in (
        (["--word_cuts", "0.5"], "data and order changed, by the data or by settings that were not recorded: mix, word_cuts, "),
        (["--max_minutes", "10"], "max_minutes was not recorded, is 10.0"),
        (["--learning_rate", "0.01", "--word_cuts", "0.5"], "(learning_rate was 0.003, is 0.01);"),
    ):
        with pytest.raises(ConfigError) as refused:
            train(parse(flags(*SAVING, *more)))
        assert said in str(refused.value)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoint-12")
    capsys.readouterr()
    assert train(parse(flags(*SAVING))).steps == 12
    assert "going on from" in capsys.readouterr().err


def test_rare_settings_that_decide_the_weights_are_compared_too(flags: Callable[..., list[str]]) -> None:
    plain = make_trainer(parse(flags()))[0].mark.parts
    changed = make_trainer(parse(flags("--label_smoothing_factor", "0.1", "--loss_type", "dft")))[0].mark.parts
    assert (
        differences(plain, changed, {"num_train_epochs": "1"}, {"num_train_epochs": "1"})
        == "loss_type was not there, is dft, label_smoothing_factor was not there, is 0.1"
    )
    assert differences(changed, plain, {}, {"num_train_epochs": "1"}) == "loss_type was dft, is not there, label_smoothing_factor was 0.1, is not there"


def test_a_run_says_itself_what_was_done(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    import hashlib

    from syncabel.lexicon.store import Lexicon

    dev = prepared() / "dev.jsonl"
    result = train(parse(flags("--dev_documents", str(dev), "--types", str(prepared() / "types.json"), "--report_to", "tensorboard")))
    run = read_run(tmp_path / "run")
    assert run is not None
    lexicon = Lexicon.load(prepared() / "lexicon")
    assert run["format"] == FORMAT
    assert run["digests"]["files"]["dev_documents"] == hashlib.sha256(dev.read_bytes()).hexdigest()
    assert (run["digests"]["lexicon"], run["digests"]["kb"]) == (lexicon.digest, lexicon.header["kb_digest"])
    assert run["model"]["parameters"] == run["model"]["trained_parameters"] == sum(values.size for values in weights(result.folder).values())
    assert run["schedule"] | {"steps": 12, "items_per_step": 8, "learning_rate": 0.003} == run["schedule"]
    assert run["seeds"] == {"train": 42, "dev": 0}
    assert {"syncabel", "python", "torch", "transformers", "trl"} <= run["versions"].keys()
    assert sum(side["loss_tokens"] for side in run["sources"]) > 0
    assert run["result"]["steps"] == 12
    assert run["result"]["tokens_per_second"] > 0
    low, high = run["result"]["dev"]["ci95"]
    assert 0 <= low <= run["result"]["dev"]["recall_at_1"] <= high <= 1
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    logged = [row for row in rows if "loss" in row]
    assert [row["step"] for row in logged] == [2, 4, 6, 8, 10, 12]
    assert all({"learning_rate", "grad_norm", "loss"} <= row.keys() for row in logged)
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run").rglob("events.out.tfevents.*")), "TensorBoard's"
    travelling = json.loads((result.folder / "training.json").read_text())
    assert travelling["result"] == run["result"]
    assert str(prepared()) not in json.dumps(travelling), "no place of this machine"


# Writes of more than `limit` bytes fail from the first file of a checkpoint on that is larger, as on a disk that is full.
STARVED = textwrap.dedent("""
    import resource, sys
    from syncabel.train import main
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
""")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["weights", "optimizer"])
def test_a_full_disk_ends_training_with_the_last_good_checkpoint_intact(place: str, flags: Callable[..., list[str]], tmp_path: Path) -> None:
    again = flags(*SAVING)
    whole = train(parse(flags(*SAVING, output=tmp_path / "whole")))
    shutil.copytree(tmp_path / "whole" / "checkpoint-4", tmp_path / "run" / "checkpoint-4")
    sizes = {"weights": "model.safetensors", "optimizer": "optimizer.pt"}
    limit = (tmp_path / "whole" / "checkpoint-8" / sizes[place]).stat().st_size - 1000
    before = {path.name: path.read_bytes() for path in (tmp_path / "run" / "checkpoint-4").iterdir()}
    starved = subprocess.run([sys.executable, "-c", STARVED, str(limit), *again], cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=120)
    assert starved.returncode == 2, starved.stderr
    (said,) = [line for line in starved.stderr.splitlines() if "error:" in line]
    assert "checkpoint-8 cannot be written (" in said
    assert said.endswith("checkpoint-4: make room and run the same command again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "checkpoint-4").iterdir()} == before
    assert flaw(tmp_path / "run" / "checkpoint-8") is not None
    resumed = train(parse(again))
    assert all(abs(weights(resumed.folder)[name] - values).max() < 1e-6 for name, values in weights(whole.folder).items())


@pytest.mark.slow
@pytest.mark.parametrize("place", ["weights", "tokenizer"])
@pytest.mark.parametrize("saving", [[], SAVING], ids=["no checkpoints", "checkpoints"])
def test_a_disk_that_is_full_at_the_end_is_one_line_and_leaves_no_model_that_looks_whole(
    place: str, saving: list[str], flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    small = ["--hidden_size", "4", "--intermediate_size", "4", "--num_layers", "1", "--num_heads", "2"] if place == "tokenizer" else []
    whole = train(parse(flags(*saving, *small, output=tmp_path / "whole")))
    sizes = {name: (whole.folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")}
    limit = sizes["model.safetensors" if place == "weights" else "tokenizer.json"] - 1000
    assert place == "weights" or sizes["model.safetensors"] < limit
    if saving:
        shutil.copytree(tmp_path / "whole", tmp_path / "run")
        shutil.rmtree(tmp_path / "run" / "model")
    starved = subprocess.run(
        [sys.executable, "-c", STARVED, str(limit), *flags(*saving, *small)], cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=120
    )
    assert starved.returncode == 2, starved.stderr
    assert "Traceback" not in starved.stderr
    (said,) = [line for line in starved.stderr.splitlines() if "error:" in line]
    assert f"{tmp_path / 'run' / 'model'} cannot be written (" in said
    good = f"the last good checkpoint is {tmp_path / 'run' / 'checkpoint-12'}" if saving else "no checkpoint was written before"
    assert said.endswith(f"; {good}: make room and run the same command again")
    assert not list((tmp_path / "run").glob("*model*")), "nor what was written of it, which takes the room that is wanted"
    again = train(parse(flags(*saving, *small)))
    assert all((weights(again.folder)[name] == values).all() for name, values in weights(whole.folder).items())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_signal_saves_a_checkpoint_and_ends_with_status_85(number: signal.Signals, flags: Callable[..., list[str]], tmp_path: Path) -> None:
    again = flags("--save_strategy", "steps", "--save_steps", "1000", "--max_steps", "400", "--logging_steps", "10")
    command = [sys.executable, "-m", "syncabel.train", *again]
    run = subprocess.Popen(command, cwd=ROOT, env=ALONE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    log, until = tmp_path / "run" / "log.jsonl", time.monotonic() + 90
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 85, err
    assert f"stopped by {number.name}, with a checkpoint" in err
    (saved,) = checkpoints(tmp_path / "run")
    assert flaw(saved) is None
    assert 10 <= int(saved.name.removeprefix("checkpoint-")) < 400
    assert train(parse(again)).steps == 400
    whole = train(parse(flags("--max_steps", "400", "--logging_steps", "10", output=tmp_path / "whole")))
    resumed = weights(tmp_path / "run" / "model")
    assert all(abs(resumed[name] - values).max() < 1e-6 for name, values in weights(whole.folder).items())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="which signals a process takes is read from /proc")
def test_a_schedulers_signal_while_a_training_loads_ends_with_status_85_too(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "syncabel.train", *flags()], cwd=ROOT, env=ALONE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    status, until = Path(f"/proc/{run.pid}/status"), time.monotonic() + 60

    def takes_it() -> bool:
        (mask,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt")]
        return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)

    while not takes_it():
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 85, err
    assert "stopped by SIGTERM outside the steps" in err
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_tokens_of_services_are_kept_nowhere_and_places_only_at_home(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    config = tmp_path / "secret.yaml"
    config.write_text("hub_token: hf_in_the_file\nmodel_init_kwargs: {cache_dir: /home/somebody/cache}\n")
    result = train(parse(flags("--config", str(config), "--hub_token=hf_in_a_flag", f"--token_cache={tmp_path / 'tokens'}")))
    written = [path.read_text() for path in (tmp_path / "run" / "run.json", result.folder / "training.json")]
    assert not any(secret in text for text in written for secret in ("hf_in_the_file", "hf_in_a_flag"))
    travelling = json.loads(written[1])["config"]
    assert travelling["model_init_kwargs"] == {"cache_dir": "cache"}
    assert "--token_cache=tokens" in travelling["argv"]
    assert "somebody" not in written[1]
    assert str(tmp_path) not in written[1]
