"""Trainings in several processes, started by the real launchers on CPUs: the same run as in one process, each example in one of them."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from syncabel.errors import ConfigError
from syncabel.train.launch import check_launch, check_world

ROOT = Path(__file__).resolve().parents[2]
HUMAN, SYNTHETIC = 24, 72
STEPS = 12
BIN = Path(sys.executable).parent
OVER_TWO = ("--use_parallelism_config", "--parallelism_config_cp_size", "2")

# Trains as `python -m syncabel.train` does and writes down what this process was fed.
NOTING = """
import json, os, sys
from syncabel.train import main
from syncabel.train.trainer import LinkingTrainer

step = LinkingTrainer.training_step

def noted(self, model, inputs, *rest, **named):
    row = {name: inputs[name].tolist() for name in ("input_ids", "labels", "position_ids", "attention_mask") if name in inputs}
    with open(f"{os.environ['FED']}-{os.environ.get('RANK', '0')}.jsonl", "a") as out:
        out.write(json.dumps({"step": self.state.global_step, "processes": self.args.world_size, **row}) + chr(10))
    return step(self, model, inputs, *rest, **named)

LinkingTrainer.training_step = noted
if __name__ == "__main__":
    sys.exit(main())
"""

# accelerate shards nothing in CPU processes, so it is told that these have GPUs; all else is FSDP2 itself, over gloo.
SHARDED = """
import json, os, sys
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from syncabel.train import run
from syncabel.train.arguments import parse

settings = parse(sys.argv[1:])
os.environ.update(item.split("=") for item in os.environ["FSDP"].split())
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
made = []

def make_trainer(settings, make=run.make_trainer):
    made.append(make(settings))
    return made[0]

run.make_trainer = make_trainer
run.train(settings)
trainer = made[0][0]
from torch.distributed.tensor import DTensor
parts = [p.to_local().numel() for p in trainer.model.parameters() if isinstance(p, DTensor)]
trained = [p for p in trainer.model.parameters() if p.requires_grad]
found = {"sharded": len(parts), "parameters": len(list(trainer.model.parameters())), "numbers": sum(parts), "dtype": str(trained[0].dtype)}
# A file each: torchrun starts Python unbuffered, and the lines of two processes on one pipe may run together.
with open(f"{os.environ['SHARDS']}-{os.environ['RANK']}.json", "w") as out:
    json.dump(found, out)
"""


# Each process judges dev for itself and finds something else, and their clocks differ by half a minute.
DISAGREEING = """
import dataclasses, json, os, sys
import numpy as np
from syncabel.train import run
from syncabel.train.arguments import parse
from syncabel.train.callbacks import Budget
from syncabel.train.dev import DevSample

rank = int(os.environ["RANK"])
seconds, judged, asked = Budget.seconds.fget, DevSample.judged, []
Budget.seconds = property(lambda budget: seconds(budget) + 30 * rank)

def differing(sample, model):
    found = judged(sample, model)
    asked.append(rank)
    right = np.arange(len(found.right)) < (len(asked) if rank else len(found.right) - len(asked))
    return dataclasses.replace(found, right=right)

DevSample.judged = differing
made = []
run.make_trainer = lambda settings, make=run.make_trainer: made.append(make(settings)) or made[0]
run.train(parse(sys.argv[1:]))
trainer = made[0][0]
rows = trainer.state.log_history
found = {"step": trainer.state.global_step, "rates": [row["learning_rate"] for row in rows if "loss" in row],
         "recalls": [row["eval_recall_at_1"] for row in rows if "eval_recall_at_1" in row]}
with open(f"{os.environ['FOUND']}-{rank}.json", "w") as out:
    json.dump(found, out)
"""


class Data(NamedTuple):
    """A prepared folder and which source every example is of, by its token ids."""

    folder: Path
    source: dict[tuple[int, ...], str]


@pytest.fixture(scope="module")
def data(small_kb: Any, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Examples that all differ, so that what a process was fed can be told apart."""
    from syncabel.corpora import write_jsonl
    from syncabel.groups import TypeMap
    from syncabel.lexicon.build import build_lexicon
    from syncabel.prompt import PromptFormat
    from syncabel.sft import make_examples, write_examples
    from syncabel.train.data import encode_examples
    from syncabel.train.scratch import train_tokenizer
    from syncabel.types import Document, Mention, Span

    concepts = list(small_kb.concepts())

    def document(source: str, number: int, split: str = "train") -> Document:
        concept = concepts[number % len(concepts)]
        mention = concept.names[number % len(concept.names)].text.lower()
        start = f"{source} case {number}, seen with "
        span = Span(len(start), len(start) + len(mention))
        mentions = (Mention("1", (span,), mention, concept.groups[0], ((concept.code,),)),)
        return Document(f"{source}-{split}-{number}", f"{start}{mention} at home.", mentions, source=source, split=split)

    folder = tmp_path_factory.mktemp("data")
    documents = {"human": [document("human", i) for i in range(HUMAN)], "synthetic": [document("synthetic", i) for i in range(SYNTHETIC)]}
    texts = [name.text for concept in concepts for name in concept.names] + [made.text for side in documents.values() for made in side]
    tokenizer = train_tokenizer(texts, 400)
    tokenizer.save_pretrained(folder / "tokenizer")
    lexicon = build_lexicon(small_kb, tokenizer)
    lexicon.save(folder / "lexicon")
    source = {}
    for name, made in documents.items():
        examples = list(make_examples(made, lexicon, small_kb.canonical, TypeMap(small_kb.groups, {}), PromptFormat()))
        write_examples(examples, folder / f"{name}.jsonl")
        tokens = encode_examples(examples, lexicon, tokenizer, 200)
        for end, length in zip(np.cumsum(tokens.lengths).tolist(), tokens.lengths.tolist(), strict=True):
            source[tuple(tokens.ids[end - length : end].tolist())] = name
    assert Counter(source.values()) == {"human": HUMAN, "synthetic": SYNTHETIC}
    write_jsonl([document("human", i, "dev") for i in range(12)], folder / "dev.jsonl")
    (folder / "types.json").write_text(json.dumps({"Disease": ["Disease"], "Physiology": ["Physiology"]}))
    return Data(folder, source)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "FSDP_", "MASTER_", "WORLD_", "RANK", "LOCAL_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **more}


def settings(data: Data, output: Path, batch: int, *more: str, sources: Sequence[str] = ("human", "synthetic")) -> list[str]:
    files = [flag for name in sources for flag in (f"--{name}_examples", str(data.folder / f"{name}.jsonl"))]
    where = ["--tokenizer", str(data.folder / "tokenizer"), "--lexicon", str(data.folder / "lexicon"), "--output_dir", str(output)]
    shape = "--init random --hidden_size 32 --intermediate_size 64 --num_layers 2 --num_heads 4 --context_length 256 --max_length 120"
    steps = f"--per_device_train_batch_size {batch} --learning_rate 0.003 --warmup_steps 2 --logging_steps 1 --gradient_checkpointing false"
    quiet = "--report_to none --disable_tqdm true --dataloader_pin_memory false --use_cpu true"
    return [*where, *files, "--types", str(data.folder / "types.json"), *f"{shape} {steps} {quiet}".split(), *more]


def run(command: Sequence[str | Path], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=300)


def torchrun(processes: int) -> list[str]:
    return [str(BIN / "torchrun"), "--standalone", "--nproc_per_node", str(processes)]


def losses(output: Path) -> list[float]:
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def weights(output: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(output / "model" / "model.safetensors"))


def furthest(one: dict[str, Any], two: dict[str, Any]) -> float:
    assert one.keys() == two.keys()
    return max(float(abs(one[name] - two[name]).max()) for name in one)


class Fed(NamedTuple):
    """What one process was given in one step: examples and their loss tokens."""

    step: int
    examples: list[tuple[int, ...]]
    loss_tokens: list[int]


def fed(path: Path, processes: int) -> list[Fed]:
    """Split into examples again: packs where positions start over, padded rows where the mask ends."""
    steps = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        assert row["processes"] == processes
        examples, counts = [], []
        for i, ids in enumerate(row["input_ids"]):
            if "position_ids" in row:
                starts = [place for place, position in enumerate(row["position_ids"][i]) if position == 0]
            else:
                starts, ids = [0], ids[: sum(row["attention_mask"][i])]
            for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
                examples.append(tuple(ids[start:end]))
                counts.append(sum(label != -100 for label in row["labels"][i][start:end]))
        steps.append(Fed(row["step"], examples, counts))
    return steps


PACKED = ["--max_steps", str(STEPS), "--packing", "true", "--save_strategy", "steps", "--save_steps", "6", "--selection", "last"]


class Runs(NamedTuple):
    """Folders of the same training in one process and in two, with what each process was fed."""

    one: Path
    two: Path
    command: list[str]


@pytest.fixture(scope="module")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "noting.py").write_text(NOTING)
    dev = [*PACKED, "--dev_documents", str(data.folder / "dev.jsonl"), "--eval_strategy", "steps", "--eval_steps", "6"]
    one = run([sys.executable, folder / "noting.py", *settings(data, folder / "one", 4, *dev)], FED=str(folder / "one-fed"))
    assert one.returncode == 0, one.stderr
    command = [*torchrun(2), str(folder / "noting.py"), *settings(data, folder / "two", 2, *dev, "--ddp_backend", "gloo")]
    two = run(command, FED=str(folder / "two-fed"))
    assert two.returncode == 0, two.stderr
    assert "find_unused_parameters" not in two.stderr
    return Runs(folder / "one", folder / "two", command)


@pytest.mark.slow
def test_two_processes_have_the_losses_and_the_weights_of_one_at_equal_global_batch(runs: Runs) -> None:
    one, two = losses(runs.one), losses(runs.two)
    assert len(one) == len(two) == STEPS
    assert one == pytest.approx(two, abs=1e-5)
    assert one[-1] < one[0] - 0.5
    assert furthest(weights(runs.one), weights(runs.two)) < 1e-5


@pytest.mark.slow
def test_a_step_of_two_processes_is_the_step_of_one_dealt_out(runs: Runs, data: Data) -> None:
    alone = fed(runs.one.with_name("one-fed-0.jsonl"), 1)
    first, second = (fed(runs.two.with_name(f"two-fed-{rank}.jsonl"), 2) for rank in (0, 1))
    assert [row.step for row in alone] == [row.step for row in first] == [row.step for row in second] == list(range(STEPS))
    for whole, left, right in zip(alone, first, second, strict=True):
        assert Counter(left.examples + right.examples) == Counter(whole.examples)
        assert left.examples
        assert right.examples
    assert {example for row in alone for example in row.examples} <= data.source.keys()


@pytest.mark.slow
def test_the_mixture_is_one_to_one_in_loss_tokens_over_both_processes_after_packing(runs: Runs, data: Data) -> None:
    given, largest, total = Counter[str](), 0, 0
    for both in zip(*(fed(runs.two.with_name(f"two-fed-{rank}.jsonl"), 2) for rank in (0, 1)), strict=True):
        for row in both:
            for example, count in zip(row.examples, row.loss_tokens, strict=True):
                given[data.source[example]] += count
            largest, total = max(largest, sum(row.loss_tokens)), total + sum(row.loss_tokens)
        # After every step, not at the end only: neither side is ahead by more than what one pack holds.
        assert abs(given["human"] - total / 2) < largest
    report = {side["name"]: side["loss_tokens"] for side in json.loads((runs.two / "run.json").read_text())["sources"]}
    assert report == given


@pytest.mark.slow
def test_no_example_is_seen_twice_in_an_epoch(runs: Runs, data: Data, tmp_path: Path) -> None:
    noting = runs.one.with_name("noting.py")
    epoch = settings(data, tmp_path / "run", 3, "--num_train_epochs", "2", "--save_strategy", "no", "--packing", "false", sources=("synthetic",))
    done = run([*torchrun(2), noting, *epoch], FED=str(tmp_path / "fed"))
    assert done.returncode == 0, done.stderr
    ranks = [fed(tmp_path / f"fed-{rank}.jsonl", 2) for rank in (0, 1)]
    half = SYNTHETIC // 6
    for first in (0, half):
        seen = Counter(example for rank in ranks for row in rank[first : first + half] for example in row.examples)
        assert set(seen.values()) == {1}
        assert len(seen) == SYNTHETIC


@pytest.mark.slow
def test_both_processes_link_the_dev_sample_and_one_exports(runs: Runs) -> None:
    from syncabel.linker import Linker

    rows = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (runs.one, runs.two)]
    recalls = [[row["eval_recall_at_1"] for row in each if "eval_recall_at_1" in row] for each in rows]
    assert len(recalls[0]) >= 2
    assert recalls[0] == recalls[1]
    described = json.loads((runs.two / "run.json").read_text())
    assert described["hardware"]["processes"] == 2
    assert Linker.from_pretrained(runs.two / "model").lexicon is not None


@pytest.mark.slow
def test_processes_that_find_something_else_on_dev_or_clock_act_alike(data: Data, tmp_path: Path) -> None:
    script = tmp_path / "disagreeing.py"
    script.write_text(DISAGREEING)
    dev = ["--dev_documents", str(data.folder / "dev.jsonl"), "--eval_strategy", "steps", "--eval_steps", "2", "--early_stopping", "2"]
    more = ["--max_steps", "40", "--save_strategy", "steps", "--save_steps", "2", "--max_minutes", "2", *dev, "--ddp_backend", "gloo"]
    done = run([*torchrun(2), script, *settings(data, tmp_path / "run", 2, *more)], FOUND=str(tmp_path / "found"))
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1))
    assert one == two
    assert one["step"] == 6, "the first process' figures fall, those of the other rise"
    assert one["rates"][-1] < 0.003 * 0.8, "a quarter of the time is over by the second clock"


@pytest.mark.slow
def test_two_processes_go_on_from_their_checkpoint(runs: Runs) -> None:
    before = weights(runs.two)
    for left in ("checkpoint-12", "model"):
        shutil.rmtree(runs.two / left)
    again = run(runs.command, FED=str(runs.two.with_name("again-fed")))
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("going on from") == 1
    assert "checkpoint-6" in again.stderr
    assert [row.step for row in fed(runs.two.with_name("again-fed-1.jsonl"), 2)] == list(range(6, STEPS))
    assert furthest(before, weights(runs.two)) < 1e-5


def sharded(data: Data, output: Path, launched: Callable[..., dict[str, str]], name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A run of two processes under FSDP2, with what `accelerate launch` sets for a shipped configuration."""
    script = output.with_suffix(".py")
    script.write_text(SHARDED)
    chosen = {key: value for key, value in launched(name).items() if key.startswith("FSDP_") or key == "ACCELERATE_USE_FSDP"}
    told = {"FSDP": " ".join(f"{key}={value}" for key, value in chosen.items()), "SHARDS": str(output.with_name(f"{output.name}-shards"))}
    return run([*torchrun(2), script, *settings(data, output, 2, *PACKED, *more)], **told)


@pytest.mark.slow
def test_sharded_weights_are_trained_gathered_exported_and_resumed_as_in_one_process(
    runs: Runs, data: Data, tmp_path: Path, launched: Callable[..., dict[str, str]]
) -> None:
    """fsdp2.yaml; its variant with offloading pins memory for a GPU, so it cannot run here."""
    dev = ["--dev_documents", str(data.folder / "dev.jsonl"), "--eval_strategy", "steps", "--eval_steps", "6"]
    done = sharded(data, tmp_path / "run", launched, "fsdp2", *dev)
    assert done.returncode == 0, done.stderr
    whole = weights(runs.one)
    shards = [json.loads((tmp_path / f"run-shards-{rank}.json").read_text()) for rank in (0, 1)]
    assert [(each["sharded"], each["parameters"], each["dtype"]) for each in shards] == [(len(whole), len(whole), "torch.float32")] * 2
    assert sum(each["numbers"] for each in shards) == sum(value.size for value in whole.values())
    assert (tmp_path / "run" / "checkpoint-6" / "pytorch_model_fsdp_0" / "__1_0.distcp").exists()
    assert losses(tmp_path / "run") == pytest.approx(losses(runs.one), abs=1e-5)
    assert furthest(weights(runs.one), weights(tmp_path / "run")) < 1e-5
    assert not (tmp_path / "run" / "last").exists(), "the whole weights on their way to the export"
    for left in ("checkpoint-12", "model"):
        shutil.rmtree(tmp_path / "run" / left)
    again = sharded(data, tmp_path / "run", launched, "fsdp2", *dev)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("going on from") == 1
    assert furthest(weights(runs.one), weights(tmp_path / "run")) < 1e-5


@pytest.mark.slow
def test_sharded_weights_in_bfloat16_are_judged_and_their_loss_is_not_rounded(data: Data, tmp_path: Path, launched: Callable[..., dict[str, str]]) -> None:
    dev = ["--dev_documents", str(data.folder / "dev.jsonl"), "--eval_strategy", "steps", "--eval_steps", "6", "--bf16", "true"]
    two = sharded(data, tmp_path / "two", launched, "fsdp2", *dev)
    one = run([sys.executable, "-m", "syncabel.train", *settings(data, tmp_path / "one", 4, *PACKED, *dev)])
    for done in (one, two):
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-2)
    rounded = [float(np.float32(loss).view(np.uint32) & 0xFFFF) for loss in losses(tmp_path / "two")]  # bfloat16 has none of these bits
    assert sum(bits > 0 for bits in rounded) > STEPS // 2


@pytest.mark.slow
def test_a_contrast_term_is_the_same_in_one_process_in_two_and_sharded(data: Data, tmp_path: Path, launched: Callable[..., dict[str, str]]) -> None:
    # All siblings are negatives, so that none is drawn: the random numbers of two processes are others than those of one.
    term = ["--contrast", "0.5", "--negatives", "1000"]
    steps = ["--max_steps", str(STEPS), "--save_strategy", "no"]
    one = run([sys.executable, "-m", "syncabel.train", *settings(data, tmp_path / "one", 4, *steps, *term)])
    two = run([*torchrun(2), "-m", "syncabel.train", *settings(data, tmp_path / "two", 2, *steps, *term, "--ddp_backend", "gloo")])
    without = run([sys.executable, "-m", "syncabel.train", *settings(data, tmp_path / "without", 4, *steps)])
    for done in (one, two, without):
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), abs=1e-5)
    assert furthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-5
    assert losses(tmp_path / "one")[0] > losses(tmp_path / "without")[0] + 0.1, "the term is there"
    packed = run([sys.executable, "-m", "syncabel.train", *settings(data, tmp_path / "packed", 4, *PACKED, *term)])
    shards = sharded(data, tmp_path / "shards", launched, "fsdp2", *term)
    for done in (packed, shards):
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "packed") == pytest.approx(losses(tmp_path / "shards"), abs=1e-5)
    assert furthest(weights(tmp_path / "packed"), weights(tmp_path / "shards")) < 1e-5


@pytest.mark.slow
def test_accelerate_starts_two_nodes_as_the_configuration_says(runs: Runs, data: Data, tmp_path: Path) -> None:
    """Two launchers on this machine, one process each; --multi_gpu in place of FSDP, which accelerate has not on CPUs."""
    port = str(20_000 + os.getpid() % 20_000)
    base = [BIN / "accelerate", "launch", "--config_file", "configs/accelerate/two-nodes.yaml", "--multi_gpu", "--num_processes", "2"]
    where = ["--main_process_ip", "127.0.0.1", "--main_process_port", port]
    command = [*base, *where, "--machine_rank", "{}", "-m", "syncabel.train", *settings(data, tmp_path / "run", 2, *PACKED)]
    nodes: dict[int, subprocess.CompletedProcess[str]] = {}

    def node(rank: int) -> None:
        nodes[rank] = run([str(word).format(rank) for word in command])

    threads = [threading.Thread(target=node, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [nodes[rank].returncode for rank in (0, 1)] == [0, 0], nodes[0].stderr + nodes[1].stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["hardware"]["processes"] == 2
    assert furthest(weights(runs.one), weights(tmp_path / "run")) < 1e-5


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "syncabel: error: " in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        (["accelerate", "launch", "--cpu", "--num_processes", "2", "-m"], "accelerate was asked for several processes and started one"),
        (
            ["accelerate", "launch", "--config_file", "configs/accelerate/ddp.yaml", "--num_processes", "2", "-m"],
            "2 processes were started on a machine with 0 GPUs",
        ),
        (
            ["accelerate", "launch", "--use_fsdp", "--fsdp_version", "2", *OVER_TWO, "--num_processes", "2", "-m"],
            "context parallelism over 2 processes: each process trains on examples of its own here; leave parallelism_config_cp_size out",
        ),
    ],
    ids=["fewer than asked for", "more than GPUs", "one example in two"],
)
def test_what_a_launcher_did_not_start_is_one_line(launcher: list[str], message: str, data: Data, tmp_path: Path) -> None:
    import torch

    if torch.accelerator.is_available():
        pytest.skip("this machine has a GPU; accelerate starts what it is asked for")
    flags = [flag for flag in settings(data, tmp_path / "run", 2) if flag not in ("--use_cpu", "true")]
    done = run([BIN / launcher[0], *launcher[1:], "syncabel.train", *flags])
    assert done.returncode != 0
    lines = complaints(done)
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "devices", "on_cpu", "message"),
    [
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}, 0, True, "started one"),
        ({"ACCELERATE_USE_CPU": "False", "MASTER_ADDR": "127.0.0.1"}, 0, False, "started one"),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}, 4, False, "8 processes were started on a machine with 4 GPUs; give --num_processes 4"),
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, 0, False, "with 0 GPUs; give --num_processes 1 to the launcher, or for CPUs"),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}, 0, True, "shards nothing on CPUs"),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}, 2, True, "shards nothing on CPUs"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "4"}, 8, False, "tensor parallelism over 4 processes"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_SP_SIZE": "2"}, 8, False, "sequence parallelism over 2 processes"),
    ],
)
def test_a_start_that_is_not_what_was_asked_for_is_refused(environment: dict[str, str], devices: int, on_cpu: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_launch(environment, devices, on_cpu)


@pytest.mark.parametrize(
    ("environment", "devices", "on_cpu"),
    [
        ({}, 0, False),
        ({}, 8, False),
        ({"ACCELERATE_USE_CPU": "True"}, 0, True),
        ({"MASTER_ADDR": "10.0.0.1"}, 1, False),  # as a cluster's script may leave it
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "10.0.0.1", "PMI_SIZE": "2"}, 0, True),  # mpirun did start two
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "ACCELERATE_USE_FSDP": "true"}, 8, False),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, 0, True),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_DP_SHARD_SIZE": "8", "PARALLELISM_CONFIG_TP_SIZE": "1"}, 8, False),
    ],
)
def test_a_start_that_is_what_was_asked_for_passes(environment: dict[str, str], devices: int, on_cpu: bool) -> None:
    check_launch(environment, devices, on_cpu)


def test_processes_that_do_not_train_together_are_refused() -> None:
    check_world({}, 1)
    check_world({"WORLD_SIZE": "2"}, 2)
    with pytest.raises(ConfigError, match="the launcher started 2 processes, 1 of them train together"):
        check_world({"WORLD_SIZE": "2"}, 1)
