"""Training throughput: this project's trainer against TRL's with its defaults, step by step in turn, on the same examples.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/train.py --model FOLDER --out training_speed.json            # SmolLM2-135M on a CPU
    PYTHONPATH=. python benchmarks/train.py --model FOLDER --random-8b FOLDER8 --mode lora --examples 4096     # Llama-3-8B's shape on a GPU
    PYTHONPATH=. python benchmarks/train.py --model FOLDER --random-8b FOLDER8 --mode full --examples 4096

Arms: `syncabel`, packs without padding, the loss on the tokens that have one, its own defaults; `syncabel-bf16`, the same with
`--bf16 true`, which on a GPU is the default and on a CPU is not (CPU only); `trl`, SFTTrainer on columns of prompt and completion
with SFTConfig's own defaults (eight padded examples, everything computed twice, 16 bits); `trl-plain`, the same in float32 and
without recomputation, so that what packing gives is seen by itself (CPU only).  Each arm is a process of its own that waits for its
turn at every step, so all see the same load of the machine; the peak of the machine is a matrix product timed in every round.
Counted are tokens that are no padding, those of them that have loss, seconds of a step (optimizer included; on a CPU those that the
process computed, so that what else runs there counts for nobody: take one thread), peak memory.

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
from pathlib import Path
from typing import Any

from printing import show

ARMS = ("syncabel", "syncabel-bf16", "trl", "trl-plain")
GIB = 2**30


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
    lora = "--use_peft true --lora_r 32 --lora_target_modules q_proj k_proj v_proj o_proj gate_proj up_proj down_proj" if mode == "lora" else ""
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
    lora = LoraConfig(r=32, target_modules="all-linear", task_type="CAUSAL_LM") if mode == "lora" else None
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
            self.begun = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            wall, busy = time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]
            peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answers.write(json.dumps({"seconds": wall if torch.cuda.is_available() else busy, "wall_seconds": wall, "peak_bytes": peak, **counts}) + "\n")
            answers.flush()

    trainer.add_callback(Turns())
    trainer.train()


def matmul_flops(size: int) -> float:
    """Operations per second of a square product, in the kind of number that training computes in."""
    import torch

    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    one, two = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, clock = float("inf"), time.perf_counter if device == "cuda" else time.process_time
    for _ in range(4):
        start = clock()
        one @ two
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return float(2 * size**3 / best)


def spread(values: list[float]) -> dict[str, float]:
    return {"value": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def measure(arguments: argparse.Namespace, folder: Path, model: Path) -> dict[str, Any]:
    """All arms, in turn; the first round warms up and is not counted."""
    import torch

    from syncabel.train.plan import flops_per_token, recipe_of
    from syncabel.train.shapes import read_shape

    arms = [arm for arm in arguments.arms if arm in ("syncabel", "trl") or not torch.cuda.is_available()]
    command = [sys.executable, __file__, "--folder", str(folder), "--model", str(model), "--mode", arguments.mode, "--steps", str(arguments.rounds + 2)]
    processes = {arm: subprocess.Popen([*command, "--arm", arm], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for arm in arms}
    rounds: list[dict[str, Any]] = []
    for number in range(arguments.rounds + 1):
        row: dict[str, Any] = {"peak": matmul_flops(4096 if torch.cuda.is_available() else 1536)}
        for arm, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            row[arm] = json.loads(process.stdout.readline())
        print(number, json.dumps(row), file=sys.stderr, flush=True)
        rounds.append(row)
    for process in processes.values():
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()
    counted, shape = rounds[1:], read_shape(str(model))
    # Examples look back over some 40 tokens; what attention takes of that is below one in a hundred.
    work = flops_per_token(shape, recipe_of({"max_length": 80, "use_peft": arguments.mode == "lora", "lora_target_modules": "all-linear"}, shape))
    result: dict[str, Any] = {"peak_flops": spread([row["peak"] for row in counted])}
    for arm in arms:
        speed = [row[arm]["tokens"] / row[arm]["seconds"] for row in counted]
        result[arm] = {
            "tokens_per_second": spread(speed),
            "loss_tokens_per_second": spread([row[arm]["loss_tokens"] / row[arm]["seconds"] for row in counted]),
            "share_of_peak": spread([rate * work / row["peak"] for rate, row in zip(speed, counted, strict=True)]),
            "padding": round(1 - sum(row[arm]["tokens"] for row in counted) / sum(row[arm]["positions"] for row in counted), 4),
            "tokens_per_step": round(statistics.mean(row[arm]["tokens"] for row in counted), 1),
            "wall_seconds_per_step": spread([row[arm]["wall_seconds"] for row in counted]),
            "peak_memory_gib": round(max(row[arm]["peak_bytes"] for row in counted) / GIB, 2),
        }
        for own in ("syncabel", "syncabel-bf16"):
            if own in arms and not arm.startswith("syncabel"):
                ratios = [row[own]["tokens"] / row[own]["seconds"] / rate for rate, row in zip(speed, counted, strict=True)]
                result[f"{own} ÷ {arm}"] = spread(ratios)
    return result


def random_8b(folder: Path) -> Path:
    """Random weights of Llama-3-8B's shape; any tokenizer of fewer words does for its speed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if not (folder / "config.json").exists():
        config = LlamaConfig(vocab_size=128_256, intermediate_size=14_336, num_key_value_heads=8, max_position_embeddings=8192, dtype="bfloat16")
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


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
    for internal in ("--arm", "--folder", "--steps"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
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
