"""The training benchmark without a training: how many arms run at once, what a step's share of peak is made of."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from syncabel.train.plan import GPUS, Adapter, adapter_parameters, flops_per_token
from syncabel.train.shapes import SHAPES

LLAMA, SMALL = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"], SHAPES["HuggingFaceTB/SmolLM2-135M"]
STEP = {"seconds": 2.0, "wall_seconds": 3.0, "peak_bytes": 2**31, "tokens": 800, "loss_tokens": 80, "positions": 1000, "peak_flops": 1e12, "device": "cpu"}

# Answers every line as an arm does, and notes when it starts and ends.
ARM = """
import json, sys
name, notes, step = sys.argv[1:]
def note(what):
    with open(notes, "a") as out:
        out.write(f"{name} {what}\\n")
note("starts")
for turn in sys.stdin:
    note("steps")
    print(step, flush=True)
note("ends")
"""


@pytest.fixture(scope="module")
def bench(benchmarks: Callable[[str], ModuleType]) -> Any:
    return benchmarks("train")


def arms(notes: Path, *names: str) -> dict[str, list[str]]:
    return {name: [sys.executable, "-c", ARM, name, str(notes), json.dumps(STEP)] for name in names}


def live(notes: Path) -> int:
    """The most arms that were there at once."""
    now, most = 0, 0
    for line in notes.read_text().splitlines():
        now += {"starts": 1, "ends": -1}.get(line.split()[1], 0)
        most = max(most, now)
    assert now == 0
    return most


def config_of_8b(folder: Path) -> Path:
    sizes = {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 128_256, "dtype": "bfloat16", **sizes}))
    return folder


@pytest.mark.parametrize(("mode", "at_once"), [("full", 1), ("lora", 2)])
def test_arms_of_8b_run_one_after_the_other_where_all_weights_are_trained(
    bench: Any, mode: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setattr(bench, "child_commands", lambda *_: arms(notes, "syncabel", "trl"))
    result = bench.measure(argparse.Namespace(mode=mode, rounds=2), tmp_path, config_of_8b(tmp_path / "8b"))
    assert live(notes) == at_once
    assert result["syncabel ÷ trl"]["value"] == 1
    said = notes.read_text().splitlines()
    assert said.count("trl steps") == said.count("syncabel steps") == 2 + 3  # two counted, three warm up


def test_arms_of_a_small_model_step_in_turn(bench: Any, tmp_path: Path) -> None:
    assert bench.fit_together(SMALL, "full")
    assert not bench.fit_together(LLAMA, "full")
    bench.rounds_of(arms(tmp_path / "notes", "a", "b"), 2, together=True)
    assert [line for line in (tmp_path / "notes").read_text().splitlines() if "steps" in line] == ["a steps", "b steps"] * 2


def test_an_arm_that_fails_is_named_and_the_others_end(bench: Any, tmp_path: Path) -> None:
    commands = arms(tmp_path / "notes", "whole") | {"broken": [sys.executable, "-c", "raise SystemExit(7)"]}
    with pytest.raises(RuntimeError, match="arm broken ended with status 7"):
        bench.rounds_of(commands, 1, together=True)
    assert live(tmp_path / "notes") == 1


def test_the_random_model_is_made_in_bfloat16(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    made: list[set[torch.dtype]] = []
    build = LlamaForCausalLM.__init__

    def noted(self: Any, config: Any) -> None:
        build(self, config)
        made.append({p.dtype for p in self.parameters()})

    monkeypatch.setattr(LlamaForCausalLM, "__init__", noted)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    bench.make_random(tmp_path / "made", sizes)
    assert made == [{torch.bfloat16}]
    assert torch.get_default_dtype() == torch.float32
    assert (tmp_path / "made" / "model.safetensors").exists()
    assert json.loads((tmp_path / "made" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_random_model_is_made_by_a_process_of_its_own_and_once(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command))
    assert bench.random_8b(tmp_path) == tmp_path
    assert ran == [[sys.executable, bench.__file__, "--make", str(tmp_path), "--model", str(tmp_path)]]
    (tmp_path / "config.json").write_text("{}")
    bench.random_8b(tmp_path)
    assert len(ran) == 1


def test_the_random_model_has_llama_3_8b_s_shape(bench: Any) -> None:
    from transformers import LlamaConfig

    from syncabel.train.shapes import shape_of

    assert shape_of(LlamaConfig(**bench.LLAMA_8B, dtype="bfloat16").to_dict(), "x") == LLAMA


def test_the_peak_is_of_all_products_between_two_looks_at_the_clock(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(bench.PRODUCTS, "cpu", (8, 5))
    times = iter([0.0, 0.5, 1.0, 1.25, 2.0, 2.5, 3.0, 3.5])
    monkeypatch.setattr(bench.time, "process_time", lambda: next(times))
    assert bench.matmul_flops() == 5 * 2 * 8**3 / 0.25
    assert bench.PRODUCTS["cuda"] == (8192, 20)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_share_of_peak_counts_the_output_layer_for_tokens_with_loss(bench: Any, mode: str) -> None:
    recipe = bench.recipe(LLAMA, mode)
    adapter = adapter_parameters(LLAMA, Adapter(32, tuple(LLAMA.matrices)))
    attention = 6 * 32 * 4096 * 80
    layers, head = (6 * LLAMA.linear, 6 * LLAMA.table) if mode == "full" else (4 * LLAMA.linear + 6 * adapter, 4 * LLAMA.table)
    assert bench.flops(STEP, LLAMA, recipe) == pytest.approx((800 * (layers + attention) + 80 * head) / 2)
    assert bench.flops(STEP, LLAMA, recipe) < 800 * flops_per_token(LLAMA, recipe) / 2


def test_the_data_sheet_s_share_stands_beside_the_measured_where_the_gpu_is_known(bench: Any) -> None:
    recipe = bench.recipe(LLAMA, "full")
    on_h200 = {**STEP, "device": "NVIDIA H200", "peak_flops": 0.8 * 989e12}
    made = bench.figures([{"syncabel": on_h200, "trl": {**on_h200, "seconds": 4.0}}] * 3, LLAMA, recipe)
    share = bench.flops(STEP, LLAMA, recipe) / 989e12
    assert made["syncabel"]["share_of_data_sheet_peak"]["value"] == pytest.approx(share, abs=1e-4)
    assert made["syncabel"]["share_of_peak"]["value"] == pytest.approx(share / 0.8, abs=1e-4)
    assert made["syncabel ÷ trl"] == {"value": 2.0, "min": 2.0, "max": 2.0}
    assert made["peak_flops"]["value"] == 0.8 * 989e12
    unknown = bench.figures([{"syncabel": STEP}], LLAMA, recipe)["syncabel"]
    assert "share_of_data_sheet_peak" not in unknown
    assert unknown["padding"] == 0.2
    assert set(bench.DRIVER_NAMES.values()) == GPUS.keys()
