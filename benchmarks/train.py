"""Training throughput: this project's trainer against TRL's with its defaults, step by step in turn, on the same examples.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/train.py --model FOLDER --out training_speed.json            # SmolLM2-135M on a CPU
    PYTHONPATH=. python benchmarks/train.py --model FOLDER --random-8b FOLDER8 --mode lora --examples 4096     # Llama-3-8B's shape on a GPU
    PYTHONPATH=. python benchmarks/train.py --model FOLDER --random-8b FOLDER8 --mode full --examples 4096

Arms: `syncabel`, packs without padding, the loss on the tokens that have one, its own defaults; `syncabel-bf16`, the same with
`--bf16 true`, which on a GPU is the default and on a CPU is not (CPU only); `trl`, SFTTrainer on columns of prompt and completion
with SFTConfig's own defaults (eight padded examples, everything computed twice, 16 bits); `trl-plain`, the same in float32 and
without recomputation, so that what packing gives is seen by itself (CPU only).  Each arm is a process of its own that waits for its
turn at every step, so all see the same load of the machine; where a GPU has no room for two (a billion weights and more, all trained)
one runs after the other.  Counted are tokens that are no padding, those of them that have loss, seconds of a step (optimizer included;
on a CPU those that the process computed, so that what else runs there counts for nobody: take one thread), peak memory.

The share of peak is what a step had to compute (the layers for every token that is no padding, the output layer for those with loss;
nothing twice) of the machine's product of matrices, timed before the step, and of the GPU's data sheet where `syncabel plan` knows it.

Predicted before the first run (CPU, one thread, SmolLM2-135M, examples of some 70 tokens).  `trl` against `trl-plain`: recomputation
is 8 operations a weight for 6, and bfloat16 is emulated on CPUs without it, so less than half as fast.  Padding: a batch of eight
such examples is a fifth to a quarter padding.  The output layer is a fifth of the work (28 of 135 million weights); `trl` runs it
over all positions on a CPU and twice, forward and backward, in pieces, `syncabel` over the one in ten that has loss.  Together:
`syncabel` ÷ `trl-plain` 1.4 to 1.7, `syncabel` ÷ `trl` 3 or more.  On a GPU TRL scores only tokens with loss too; there packing and
no recomputation remain: 1.33 × 1.2 = 1.6 for full training of 8B.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from printing import show

if TYPE_CHECKING:
    from syncabel.train.plan import Recipe
    from syncabel.train.shapes import Shape

ARMS = ("syncabel", "syncabel-bf16", "trl", "trl-plain")
GIB = 2**30
RANK = 32  # of LoRA, in both arms
WARM_UP = 3  # rounds: a compiled model makes a graph for its first length and, at the second, one for all lengths
PRODUCTS = {"cpu": (1536, 1), "cuda": (8192, 20)}  # size, and how many between two looks at the clock: a GPU's start and end take longer than one
LLAMA_8B = {"vocab_size": 128_256, "intermediate_size": 14_336, "num_key_value_heads": 8, "max_position_embeddings": 8192}  # the rest are its defaults
# What the driver calls the GPUs of `syncabel plan`; others of the same family have another peak.
DRIVER_NAMES = {
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA A100 80GB PCIe": "a100",
    "NVIDIA A100-SXM4-40GB": "a100-40",
    "NVIDIA A100-PCIE-40GB": "a100-40",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s",
    "NVIDIA GeForce RTX 4090": "rtx4090",
}


def prepare(folder: Path, model: Path, count: int) -> None:
    """A lexicon of DOID and sentences made of its names, two to seven in each; no corpus is needed."""
    from transformers import AutoTokenizer

    from syncabel.groups import TypeMap
    from syncabel.kb import KnowledgeBase
    from syncabel.lexicon.build import build_lexicon
    from syncabel.prompt import PromptFormat, prepare_tokenizer
    from syncabel.sft import make_examples, write_examples
    from syncabel.types import Document, Mention, SFTExample, Span

    kb, fmt = KnowledgeBase.load("doid"), PromptFormat()
    tokenizer = prepare_tokenizer(AutoTokenizer.from_pretrained(model), fmt)
    tokenizer.save_pretrained(folder / "tokenizer")
    lexicon = build_lexicon(kb, tokenizer)
    lexicon.save(folder / "lexicon")
    names = [concept.names[-1].text for concept in kb.concepts()]
    draw, documents = random.Random(0), []
    for concept in draw.sample(list(kb.concepts()), count):
        mention, others = concept.names[-1].text, draw.sample(names, draw.randint(1, 6))
        start = "The patient was seen with "
        text = f"{start}{mention} and had a history of {', '.join(others)} when she was admitted."
        span = Span(len(start), len(start) + len(mention))
        answers = (Mention("1", (span,), mention, concept.groups[0], ((concept.code,),)),)
        documents.append(Document(concept.code, text, answers, source="synthetic", split="train"))
    examples = [made for made in make_examples(documents, lexicon, kb.canonical, TypeMap(kb.groups, {}), fmt) if isinstance(made, SFTExample)]
    write_examples(examples, folder / "examples.jsonl")


def flags(folder: Path, model: Path, arm: str, mode: str, steps: int) -> list[str]:
    """This project's settings: those of smollm2-135m.yaml or llama3-8b-improved.yaml, but for the size of a step on a CPU."""
    import torch

    on_gpu = torch.cuda.is_available()
    shape = "--max_length 2048 --dtype bfloat16 --bf16 true --torch_compile true" if on_gpu else "--max_length 512 --dtype float32 --use_cpu true"
    lora = f"--use_peft true --lora_r {RANK} --lora_target_modules q_proj k_proj v_proj o_proj gate_proj up_proj down_proj" if mode == "lora" else ""
    rest = f"--packing true --per_device_train_batch_size 1 --gradient_checkpointing false --max_steps {steps} --max_repeats 1000"
    quiet = "--save_strategy no --report_to none --disable_tqdm true --logging_steps 1000 --dataloader_pin_memory false"
    places = ["--model_name_or_path", str(model), "--tokenizer", str(folder / "tokenizer"), "--lexicon", str(folder / "lexicon")]
    half = ["--bf16", "true"] if arm == "syncabel-bf16" else []
    data = ["--synthetic_examples", str(folder / "examples.jsonl"), "--output_dir", str(folder / arm)]
    return [*places, *data, *half, *f"{shape} {lora} {rest} {quiet}".split()]


def trl_trainer(folder: Path, model: Path, arm: str, mode: str, steps: int) -> Any:
    """SFTTrainer as its documentation starts it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from syncabel.prompt import prompt_text
    from syncabel.sft import read_examples

    examples = read_examples(folder / "examples.jsonl")
    rows = {"prompt": [prompt_text(example.prompt) for example in examples], "completion": [example.completion for example in examples]}
    on_gpu = torch.cuda.is_available()
    plain = {"bf16": False, "gradient_checkpointing": False} if arm == "trl-plain" else {}
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1000}
    settings = SFTConfig(output_dir=str(folder / arm), max_steps=steps, use_cpu=not on_gpu, **quiet, **plain)
    lora = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM") if mode == "lora" else None
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if on_gpu else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    return SFTTrainer(loaded, args=settings, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer, peft_config=lora)


def own_trainer(folder: Path, model: Path, arm: str, mode: str, steps: int) -> Any:
    from syncabel.train.arguments import parse
    from syncabel.train.run import make_trainer

    return make_trainer(parse(flags(folder, model, arm, mode, steps)))[0]


def child(arm: str, folder: Path, model: Path, mode: str, steps: int) -> None:
    """Train, one step for every line on standard input, and answer each with what it took."""
    import torch
    from transformers import TrainerCallback

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    trainer = own_trainer(folder, model, arm, mode, steps) if arm.startswith("syncabel") else trl_trainer(folder, model, arm, mode, steps)
    counts = {"tokens": 0, "loss_tokens": 0, "positions": 0}
    machine: dict[str, Any] = {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}
    step = trainer.training_step

    def counted(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        mask = inputs.get("attention_mask")
        counts["positions"] += inputs["input_ids"].numel()
        counts["tokens"] += int(mask.sum()) if mask is not None else inputs["input_ids"].numel()
        counts["loss_tokens"] += int((inputs["labels"] != -100).sum())
        return step(model, inputs, *rest, **named)

    trainer.training_step = counted

    class Turns(TrainerCallback):  # type: ignore[misc]
        begun = 0.0, 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not sys.stdin.readline():
                os._exit(0)
            counts.update(dict.fromkeys(counts, 0))
            machine["peak_flops"] = matmul_flops()
            self.begun = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            wall, busy = time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]
            peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            seconds = {"seconds": wall if torch.cuda.is_available() else busy, "wall_seconds": wall}
            answers.write(json.dumps({**seconds, "peak_bytes": peak, **counts, **machine}) + "\n")
            answers.flush()

    trainer.add_callback(Turns())
    trainer.train()


def matmul_flops() -> float:
    """Operations per second of square products, in the kind of number that training computes in; the best of four."""
    import torch

    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    size, products = PRODUCTS[device]
    one, two, out = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(3))
    clock, best = time.perf_counter if device == "cuda" else time.process_time, float("inf")
    for _ in range(4):
        start = clock()
        for _ in range(products):
            torch.mm(one, two, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return products * 2 * size**3 / best


def fit_together(shape: "Shape", mode: str) -> bool:
    """Whether a GPU has room for the arms side by side: a large model with gradients and states takes most of one."""
    from syncabel.train.shapes import parameters

    return mode == "lora" or parameters(shape) < 1e9


@contextmanager
def children(commands: Mapping[str, Sequence[str]]) -> "Iterator[dict[str, subprocess.Popen[str]]]":
    """A process for each arm; each ends, with its memory, before this does."""
    started: dict[str, subprocess.Popen[str]] = {}
    try:
        for arm, command in commands.items():
            started[arm] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        yield started
    finally:
        for process in started.values():
            process.communicate()  # no more turns, so it ends


def answer(arm: str, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Of one step of an arm: what it took.

    Raises:
        RuntimeError: the process has ended; what it said is on standard error.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write("go\n")
        process.stdin.flush()
    if not (line := process.stdout.readline()):
        raise RuntimeError(f"arm {arm} ended with status {process.wait()}; its own messages are above")
    found: dict[str, Any] = json.loads(line)
    return found


def rounds_of(commands: Mapping[str, Sequence[str]], count: int, together: bool) -> list[dict[str, Any]]:
    """Answers by round and arm: the arms in turn at every round, or each arm with all its rounds before the next is started."""
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for arms in [list(commands)] if together else [[arm] for arm in commands]:
        with children({arm: commands[arm] for arm in arms}) as processes:
            for number, row in enumerate(rows):
                row |= {arm: answer(arm, process) for arm, process in processes.items()}
                print(number, json.dumps({arm: row[arm] for arm in arms}), file=sys.stderr, flush=True)
    return rows


def child_commands(arguments: argparse.Namespace, folder: Path, model: Path) -> dict[str, list[str]]:
    """By arm."""
    import torch

    steps = arguments.rounds + WARM_UP + 1  # one more than are asked for, so that none ends by itself
    shared = ["--folder", str(folder), "--model", str(model), "--mode", arguments.mode, "--steps", str(steps)]
    arms = [arm for arm in arguments.arms if arm in ("syncabel", "trl") or not torch.cuda.is_available()]
    return {arm: [sys.executable, __file__, *shared, "--arm", arm] for arm in arms}


def measure(arguments: argparse.Namespace, folder: Path, model: Path) -> dict[str, Any]:
    """All arms; the first rounds warm up and are not counted."""
    from syncabel.train.shapes import read_shape

    shape = read_shape(str(model))
    rows = rounds_of(child_commands(arguments, folder, model), arguments.rounds + WARM_UP, fit_together(shape, arguments.mode))
    return figures(rows[WARM_UP:], shape, recipe(shape, arguments.mode))


def recipe(shape: "Shape", mode: str) -> "Recipe":
    """What is computed for a token; examples look back over some 40 tokens, and what attention takes of that is below one in a hundred."""
    from syncabel.train.plan import recipe_of

    lora = {"use_peft": True, "lora_r": RANK, "lora_target_modules": "all-linear"} if mode == "lora" else {}
    return recipe_of({"max_length": 80, "per_device_train_batch_size": 1, **lora}, shape)


def flops(step: Mapping[str, Any], shape: "Shape", recipe: "Recipe") -> float:
    """Operations per second of a step, without what it computed in vain or twice."""
    from syncabel.train.plan import flops_per_token

    return float(flops_per_token(shape, recipe, step["loss_tokens"] / step["tokens"]) * step["tokens"] / step["seconds"])


def sheet_peak(device: str) -> float | None:
    """FLOP/s by the maker's data sheet, of a device by its driver's name; None where it is not known."""
    from syncabel.train.plan import GPUS

    return GPUS[DRIVER_NAMES[device]].peak if device in DRIVER_NAMES else None


def spread(values: list[float]) -> dict[str, float]:
    return {"value": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def figures(counted: Sequence[Mapping[str, Any]], shape: "Shape", recipe: "Recipe") -> dict[str, Any]:
    """Medians of the rounds with their least and greatest, by arm, and what the arms make of each other.

    Args:
        counted: the answers of all arms, by round.
        shape: of the model.
        recipe: what is computed for a token.
    """
    arms = list(counted[0])
    result: dict[str, Any] = {"peak_flops": spread([row[arm]["peak_flops"] for row in counted for arm in arms])}
    for arm in arms:
        result[arm] = _arm_figures([row[arm] for row in counted], shape, recipe)
        for own in ("syncabel", "syncabel-bf16"):
            if own in arms and not arm.startswith("syncabel"):
                result[f"{own} ÷ {arm}"] = spread([_speed(row[own]) / _speed(row[arm]) for row in counted])
    return result


def _speed(step: Mapping[str, Any]) -> float:
    return float(step["tokens"] / step["seconds"])


def _arm_figures(steps: Sequence[Mapping[str, Any]], shape: "Shape", recipe: "Recipe") -> dict[str, Any]:
    sheet = sheet_peak(steps[0]["device"])
    done = [flops(step, shape, recipe) for step in steps]
    return {
        "tokens_per_second": spread([_speed(step) for step in steps]),
        "loss_tokens_per_second": spread([step["loss_tokens"] / step["seconds"] for step in steps]),
        "share_of_peak": spread([rate / step["peak_flops"] for rate, step in zip(done, steps, strict=True)]),
        **({"share_of_data_sheet_peak": spread([rate / sheet for rate in done])} if sheet else {}),
        "padding": round(1 - sum(step["tokens"] for step in steps) / sum(step["positions"] for step in steps), 4),
        "tokens_per_step": round(statistics.mean(step["tokens"] for step in steps), 1),
        "wall_seconds_per_step": spread([step["wall_seconds"] for step in steps]),
        "peak_memory_gib": round(max(step["peak_bytes"] for step in steps) / GIB, 2),
    }


def random_8b(folder: Path) -> Path:
    """Random weights of Llama-3-8B's shape; any tokenizer of fewer words does for its speed."""
    if not (folder / "config.json").exists():
        # By a process of its own: what torch has once taken of a GPU it keeps, and the arms need all of it.
        subprocess.run([sys.executable, __file__, "--make", str(folder), "--model", str(folder)], check=True)
    return folder


def make_random(folder: Path, sizes: Mapping[str, int] = LLAMA_8B) -> None:
    """Save a random Llama, made in bfloat16: in float32 it would need twice the memory for a moment."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = LlamaForCausalLM(LlamaConfig(**sizes, dtype="bfloat16"))
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model with its tokenizer")
    parser.add_argument("--random-8b", type=Path, help="train random weights of Llama-3-8B's shape instead, made in this folder")
    parser.add_argument("--mode", choices=("full", "lora"), default="full")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rounds", type=int, default=5, help="counted steps of every arm")
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    for internal in ("--arm", "--folder", "--steps", "--make"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make_random(Path(arguments.make))
        return
    if arguments.arm:
        child(arguments.arm, Path(arguments.folder), arguments.model, arguments.mode, int(arguments.steps))
        return
    model = random_8b(arguments.random_8b) if arguments.random_8b else arguments.model
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made), arguments.model, arguments.examples)
        result = measure(arguments, Path(made), model)
    show(result, arguments.json)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
