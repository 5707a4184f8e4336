"""The planner against the things it speaks of: real models' tensors, an optimizer's states, what autograd keeps."""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.autograd.graph import saved_tensors_hooks

from syncabel.config_files import shipped_configs
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train.plan import (
    _DEFAULTS,
    GPUS,
    Adapter,
    Recipe,
    Sharding,
    accelerate_for,
    activations,
    adapter_parameters,
    check_accelerate,
    flops_per_token,
    make_plan,
    memory,
    recipe_of,
    sharding_of,
)
from syncabel.train.shapes import SHAPES, Shape, parameters, read_shape, shape_of

ONE = Sharding("none", 1)
SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
}
PLAIN = Recipe(
    weights=4,
    half=False,
    adapter=None,
    bits=0,
    nested=False,
    states=2.0,
    eight_bit_states=False,
    recompute=False,
    packing=False,
    max_length=128,
    batch=1,
    accumulation=1,
)


def tiny(kind: str, tied: bool = True, **more: Any) -> tuple[Any, Shape]:
    """A random model of a kind and the shape that its configuration declares."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **{**SIZES, "tie_word_embeddings": tied, **more})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"), shape_of(config.to_dict(), kind)


def nbytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma3_text"])
def test_parameters_are_those_of_the_real_model(kind: str, tied: bool) -> None:
    model, shape = tiny(kind, tied)
    assert parameters(shape) == sum(p.numel() for p in model.parameters())


def test_the_shapes_of_shipped_models_give_their_published_sizes() -> None:
    counted = {name: parameters(shape) for name, shape in SHAPES.items()}
    assert counted == {
        "meta-llama/Meta-Llama-3-8B-Instruct": 8_030_261_248,
        "HuggingFaceTB/SmolLM2-135M": 134_515_008,
        "Qwen/Qwen3-0.6B-Base": 596_049_920,
        "google/gemma-3-270m": 268_098_176,
        "google/gemma-3-1b-pt": 999_885_952,
    }


def test_llama_3_8b_on_the_meta_device_has_as_many_parameters() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=128_256, intermediate_size=14_336, num_key_value_heads=8, tie_word_embeddings=False)  # the rest are its defaults
        )
    assert parameters(SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]) == sum(p.numel() for p in model.parameters())


def test_every_shipped_model_has_a_shape() -> None:
    named = {yaml.safe_load(path.read_text())["model_name_or_path"] for path in shipped_configs("sft").values() if "model_name_or_path" in path.read_text()}
    assert named <= SHAPES.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_gradients_and_states_are_the_bytes_of_a_real_step(dtype: torch.dtype) -> None:
    model, shape = tiny("llama", tied=False)
    model = model.to(dtype)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.arange(20)[None]).logits.float().square().mean().backward()
    optimizer.step()
    need = memory(shape, dataclasses.replace(PLAIN, weights=dtype.itemsize), ONE)
    assert need.weights == nbytes(model.parameters())
    assert need.gradients == nbytes(p.grad for p in model.parameters())
    # Beside the two numbers per parameter AdamW has a step count of four bytes per tensor.
    states = nbytes(value for state in optimizer.state.values() for name, value in state.items() if name != "step")
    assert need.optimizer == states


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), tuple(SHAPES["Qwen/Qwen3-0.6B-Base"].matrices)])
def test_an_adapter_has_the_parameters_that_peft_trains(targets: tuple[str, ...]) -> None:
    from peft import LoraConfig, get_peft_model

    model, shape = tiny("llama")
    adapted = get_peft_model(model.bfloat16(), LoraConfig(r=4, target_modules=list(targets), task_type="CAUSAL_LM"))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    recipe = dataclasses.replace(PLAIN, weights=2, half=True, adapter=Adapter(4, targets))
    assert adapter_parameters(shape, recipe.adapter) == sum(p.numel() for p in trained)
    need = memory(shape, recipe, ONE)
    assert need.adapter == need.gradients == nbytes(trained)
    assert need.weights + need.adapter == nbytes(adapted.parameters())


class Kept:
    """Bytes that autograd keeps of a forward pass: every storage once, parameters left out."""

    def __init__(self, model: Any) -> None:
        self.mine = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.storages: dict[int, Any] = {}

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.mine:
            self.storages[storage.data_ptr()] = storage  # kept, so that no other takes its place
        return tensor

    @property
    def nbytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def collated(recipe: Recipe) -> dict[str, Any]:
    """What TRL's own collator makes of a process' rows: full packs of examples of 32 tokens, or rows of which all but one are full."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    lengths = [recipe.max_length] * recipe.batch if recipe.packing else [recipe.max_length - (row > 0) for row in range(recipe.batch)]
    packs = {"seq_lengths": [32] * (recipe.max_length // 32)} if recipe.packing else {}
    rows = [{"input_ids": torch.randint(1, 300, (length,)).tolist(), **packs} for length in lengths]
    return {name: value for name, value in DataCollatorForLanguageModeling(0, padding_free=recipe.packing)(rows).items() if name != "labels"}


def kept_by(model: Any, recipe: Recipe) -> int:
    """Of a real forward pass through the layers."""
    if recipe.recompute:
        with warnings.catch_warnings():  # the name that all supported versions know
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    kept = Kept(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half), saved_tensors_hooks(kept.note, lambda tensor: tensor):
        hidden = model.train().model(use_cache=False, **collated(recipe)).last_hidden_state
    assert hidden.requires_grad
    return kept.nbytes


PRECISIONS = [pytest.param(4, False, id="float32"), pytest.param(2, True, id="bfloat16"), pytest.param(4, True, id="float32-autocast")]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(("weights", "half"), PRECISIONS)
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_activations_are_what_autograd_keeps(kind: str, weights: int, half: bool, packing: bool) -> None:
    model, shape = tiny(kind)
    recipe = dataclasses.replace(PLAIN, weights=weights, half=half, packing=packing)
    model = model.to(torch.float32 if weights == 4 else torch.bfloat16)
    kept = kept_by(model, recipe)
    copies = 2 * shape.linear if half and weights == 4 else 0  # autocast's copies of the weights, a part of their own
    assert memory(shape, recipe, ONE).casts == copies
    assert activations(shape, recipe, ONE) == pytest.approx(kept - copies, rel=0.002)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("batch", [2, 8])
def test_activations_of_several_rows_are_what_autograd_keeps_of_what_the_collator_makes(batch: int, packing: bool) -> None:
    model, shape = tiny("llama")
    recipe = dataclasses.replace(PLAIN, packing=packing, batch=batch)
    assert collated(recipe)["input_ids"].shape == ((1, batch * 128) if packing else (batch, 128))
    assert activations(shape, recipe, ONE) == pytest.approx(kept_by(model, recipe), rel=0.002)


def test_packs_of_one_pass_are_compared_with_each_other_and_packs_of_several_are_not() -> None:
    shape = SHAPES["HuggingFaceTB/SmolLM2-135M"]
    at_once = dataclasses.replace(PLAIN, packing=True, max_length=512, batch=8)
    in_turn = dataclasses.replace(at_once, batch=1, accumulation=8)
    width = shape.layers * shape.heads * shape.head_dim
    # Forward and backward: three passes of two products, two operations each, with every token of the row.
    assert flops_per_token(shape, at_once) - flops_per_token(shape, in_turn) == 12 * width * (8 * 512 - 512)
    assert flops_per_token(shape, in_turn) - flops_per_token(shape, dataclasses.replace(in_turn, packing=False)) == 12 * width * 256
    masks = 4 * shape.layers * ((8 * 512) ** 2 - 8 * 512**2)
    assert activations(shape, at_once, ONE) - 8 * activations(shape, in_turn, ONE) == masks


def test_the_output_layer_is_work_for_tokens_with_loss_only() -> None:
    shape = SHAPES["HuggingFaceTB/SmolLM2-135M"]
    lora = dataclasses.replace(PLAIN, adapter=Adapter(32, tuple(shape.matrices)))
    assert flops_per_token(shape, PLAIN) - flops_per_token(shape, PLAIN, 0.1) == pytest.approx(0.9 * 6 * shape.table)
    assert flops_per_token(shape, lora) - flops_per_token(shape, lora, 0.1) == pytest.approx(0.9 * 4 * shape.table)
    assert make_plan(shape, PLAIN, ONE, GPUS["l4"], loss_share=0.1).flops == flops_per_token(shape, PLAIN, 0.1)


@pytest.mark.parametrize(("weights", "half"), PRECISIONS)
def test_with_recomputation_the_layers_inputs_are_kept_and_one_layer_comes_on_top(weights: int, half: bool) -> None:
    recipe = dataclasses.replace(PLAIN, weights=weights, half=half, recompute=True)
    kept = {}
    for layers in (2, 6):
        model, shape = tiny("llama", num_hidden_layers=layers)
        kept[layers] = kept_by(model.to(torch.float32 if weights == 4 else torch.bfloat16), recipe)
        one = activations(dataclasses.replace(shape, layers=1), dataclasses.replace(recipe, recompute=False), ONE)
        assert kept[layers] < activations(shape, recipe, ONE) <= kept[layers] + one
    per_layer = (activations(dataclasses.replace(shape, layers=6), recipe, ONE) - activations(dataclasses.replace(shape, layers=2), recipe, ONE)) / 4
    assert per_layer == (kept[6] - kept[2]) / 4


@pytest.mark.parametrize(("weights", "half"), [(4, False), (2, True)])
def test_activations_under_an_adapter_are_what_autograd_keeps(weights: int, half: bool) -> None:
    from peft import LoraConfig, get_peft_model

    model, shape = tiny("llama", hidden_size=128, intermediate_size=320, head_dim=32)
    model = model.to(torch.float32 if weights == 4 else torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(r=2, lora_dropout=0.0, target_modules=list(shape.matrices), task_type="CAUSAL_LM"))
    adapted.enable_input_require_grads()
    recipe = dataclasses.replace(PLAIN, weights=weights, half=half, adapter=Adapter(2, tuple(shape.matrices)))
    # 3 %: casts of the adapter's own matrices are left out.
    assert activations(shape, recipe, ONE) == pytest.approx(kept_by(adapted.base_model.model, recipe), rel=0.015)


def test_four_bit_weights_are_half_a_byte_and_their_constants() -> None:
    shape = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]
    recipe = dataclasses.replace(PLAIN, weights=2, half=True, bits=4, adapter=Adapter(32, tuple(shape.matrices), 1))
    linear, rest = 6_979_321_856, 2 * 525_336_576 + 65 * 4096  # of 8,030,261,248
    assert (shape.linear, rest) == (linear, parameters(shape) - linear)
    assert memory(shape, recipe, ONE).weights == linear // 2 + linear // 64 * 4 + rest * 2
    nested = memory(shape, dataclasses.replace(recipe, nested=True), ONE).weights
    assert nested == pytest.approx(linear // 2 + linear // 64 * (1 + 4 / 256) + rest * 2, abs=1)
    assert 5.6e9 < nested < 5.8e9


def test_fsdp_divides_what_is_kept_and_ddp_nothing() -> None:
    shape = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]
    recipe = dataclasses.replace(PLAIN, weights=2, half=True)
    whole, eighth = memory(shape, dataclasses.replace(recipe, weights=4), ONE), memory(shape, recipe, Sharding("fsdp", 8))
    for name in ("weights", "gradients", "optimizer"):  # float32 is what FSDP keeps of bfloat16 weights
        assert getattr(eighth, name) == -(-getattr(whole, name) // 8)
    ddp = memory(shape, recipe, Sharding("ddp", 8))
    assert (ddp.weights, ddp.optimizer, ddp.exchange) == (2 * parameters(shape), 4 * parameters(shape), ddp.gradients)
    offloaded = memory(shape, recipe, Sharding("fsdp", 8, offload=True))
    assert offloaded.weights == offloaded.gradients == offloaded.optimizer == 0


def test_the_node_s_memory_holds_a_float32_model_of_each_process_at_loading_and_all_of_training_where_it_is_offloaded() -> None:
    shape = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]
    recipe = dataclasses.replace(PLAIN, weights=2, half=True)

    def host(processes: int, nodes: int = 1, offload: bool = False, **changed: Any) -> Any:
        """Bytes per parameter."""
        need = memory(shape, dataclasses.replace(recipe, **changed), Sharding("fsdp", processes, offload), nodes=nodes)
        return pytest.approx(need.host / parameters(shape), rel=1e-6)

    assert host(8) == host(16, nodes=2) == 4 * 8
    assert host(8, half=False) == 2 * 8  # nothing is made float32
    assert host(8, offload=True) == 4 * 8 + 4  # the shares beside what was read
    assert host(2, offload=True) == 16  # weights, gradients and two states
    assert host(16, nodes=2, offload=True) == 4 * 8 + 2
    adapter = Adapter(32, tuple(shape.matrices))
    assert memory(shape, dataclasses.replace(recipe, adapter=adapter), Sharding("fsdp", 8)).host == 8 * (
        2 * parameters(shape) + 4 * adapter_parameters(shape, adapter)
    )
    assert memory(shape, recipe, Sharding("ddp", 8)).host == memory(shape, recipe, ONE).host == 0
    assert make_plan(shape, recipe, Sharding("fsdp", 16), GPUS["h100"], nodes=2).memory.host == pytest.approx(32 * parameters(shape))


# What the second process of a node does, alone over gloo: it reads the model, and accelerate is about to hand out the shares.
LOADING = """
import json, sys
import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, fsdp_utils
from transformers import AutoModelForCausalLM

torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=0, world_size=1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
read = sum(p.float().abs().sum().item() for p in model.parameters())

def handed_out(accelerator, model, full, **_):
    tensors = {tensor.data_ptr(): tensor for tensor in full.values()}.values()
    found = {"read": read, "devices": sorted({t.device.type for t in tensors}), "bytes": sum(t.numel() * t.element_size() for t in tensors)}
    print(json.dumps(found), flush=True)
    sys.exit()

fsdp_utils.fsdp2_load_full_state_dict = handed_out
PartialState(cpu=True)._shared_state["distributed_type"] = DistributedType.MULTI_GPU
accelerator = Accelerator(mixed_precision="bf16", cpu=True, fsdp_plugin=FullyShardedDataParallelPlugin())
accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
"""


def test_a_process_that_is_not_the_first_reads_all_weights_and_makes_them_float32(launched: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    model, shape = tiny("llama")
    model.bfloat16().save_pretrained(tmp_path / "model")
    chosen = {key: value for key, value in launched("fsdp2").items() if key.startswith(("FSDP_", "ACCELERATE_"))}
    assert chosen["FSDP_CPU_RAM_EFFICIENT_LOADING"].lower() == "true"
    given = {**os.environ, **chosen, "LOCAL_RANK": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, "-c", LOADING, tmp_path / "model", tmp_path / "store"], env=given, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["read"] == pytest.approx(sum(p.float().abs().sum().item() for p in model.parameters()), rel=1e-5)
    recipe = dataclasses.replace(PLAIN, weights=2, half=True)
    assert (found["devices"], found["bytes"]) == (["cpu"], memory(shape, recipe, Sharding("fsdp", 1)).host)


def test_the_work_for_8b_is_forty_five_gigaflop_a_token() -> None:
    shape = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]
    full = flops_per_token(shape, dataclasses.replace(PLAIN, max_length=0))
    assert full == 6 * (parameters(shape) - shape.table - shape.small)
    assert full == pytest.approx(45e9, rel=0.01)
    lora = flops_per_token(shape, dataclasses.replace(PLAIN, max_length=0, adapter=Adapter(32, tuple(shape.matrices))))
    assert 0.66 < lora / full < 0.70


def test_what_a_configuration_leaves_out_is_what_trl_takes() -> None:
    from trl import ModelConfig, SFTConfig

    from syncabel.train.arguments import TrainArguments

    declared = {}
    for kind in (TrainArguments, SFTConfig, ModelConfig):
        declared |= {field.name: field.default for field in dataclasses.fields(kind)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        declared["bf16"] = SFTConfig(output_dir="x", use_cpu=True).bf16  # decided when it is made
    taken = {name: getattr(declared[name], "value", declared[name]) for name in _DEFAULTS}
    assert taken == _DEFAULTS


def accelerate_file(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(shipped_configs("accelerate")[name].read_text())
    return read


def shipped(name: str, processes: int, accelerate: str = "single-gpu", gpu: str = "h100", **changed: Any) -> Any:
    written = {**yaml.safe_load(shipped_configs("sft")[name].read_text()), **changed}
    shape = read_shape(written["model_name_or_path"])
    return make_plan(shape, recipe_of(written, shape), sharding_of(accelerate_file(accelerate), processes), GPUS[gpu])


def test_the_shipped_recipes_fit_what_their_first_lines_say() -> None:
    assert shipped("llama3-8b-full", 1, "single-gpu").fits
    assert shipped("llama3-8b-improved", 8, "fsdp2").fits
    assert shipped("llama3-8b-improved", 16, "two-nodes").fits
    assert shipped("llama3-8b-improved", 1, "single-gpu", "h200").fits
    assert shipped("llama3-8b-lora", 8, "ddp", "a100-40").fits
    assert shipped("llama3-8b-qlora", 1, "single-gpu", "rtx4090").fits
    assert shipped("smollm2-135m", 1, gpu="l4").fits
    assert shipped("qwen3-0.6b", 1, gpu="rtx4090").fits
    assert shipped("gemma3-270m", 1, gpu="l4").memory.total < 16 * 2**30


def test_shipped_packs_go_through_the_model_one_at_a_time() -> None:
    packing = {name: written for name, path in shipped_configs("sft").items() if (written := yaml.safe_load(path.read_text())).get("packing")}
    assert packing.keys() >= {"smollm2-135m", "qwen3-0.6b", "gemma3-270m", "llama3-8b-full"}
    assert {name: written["per_device_train_batch_size"] for name, written in packing.items()} == dict.fromkeys(packing, 1)


def test_what_does_not_fit_is_said_with_what_would() -> None:
    improved = shipped("llama3-8b-improved", 1, "single-gpu")
    assert not improved.fits
    assert improved.advice[0] == "gradient_checkpointing: true"
    float32 = shipped("llama3-8b-full", 1, dtype="float32")
    assert not float32.fits
    assert "--accelerate fsdp2 --gpus 2" in float32.advice
    assert "use_peft: true (LoRA)" in float32.advice
    assert shipped("llama3-8b-full", 1, dtype="float32", use_peft=True, lora_target_modules=["q_proj"]).fits


def test_time_follows_from_tokens_and_the_share_of_peak() -> None:
    shape = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]
    recipe = dataclasses.replace(PLAIN, weights=2, half=True, max_length=2048, packing=True)
    plan = make_plan(shape, recipe, Sharding("fsdp", 8), GPUS["h100"], tokens=100_000_000)
    a_gpu = plan.tokens_per_second["goal"] / 8
    assert a_gpu == pytest.approx(0.45 * 989e12 / flops_per_token(shape, recipe))
    assert 9_000 < a_gpu < 10_000
    assert plan.hours is not None
    assert plan.hours["goal"] == pytest.approx(100_000_000 / (8 * a_gpu) / 3600)
    assert plan.steps == -(-100_000_000 // (8 * 2048))
    again = make_plan(shape, dataclasses.replace(recipe, recompute=True), Sharding("fsdp", 8), GPUS["h100"])
    assert again.tokens_per_second["goal"] / plan.tokens_per_second["goal"] == pytest.approx(3 / 4, rel=0.02)
    assert again.hours is None


def test_advice_never_shards_quantised_weights() -> None:
    shape = SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"]
    long = dataclasses.replace(PLAIN, weights=2, half=True, bits=4, adapter=Adapter(32, tuple(shape.matrices)), max_length=30_000, recompute=True, batch=2)
    on_two = make_plan(shape, long, Sharding("ddp", 2), GPUS["l4"])
    assert not on_two.fits
    assert not any("fsdp" in advice for advice in on_two.advice)
    sharded = shipped("llama3-8b-improved", 2, "fsdp2", "l4")
    assert "use_peft: true with load_in_4bit: true (QLoRA), --accelerate ddp" in sharded.advice
    assert "--accelerate fsdp2" not in sharded.advice  # it is what does not fit


def test_a_job_s_size_and_its_adapter_choose_how_it_is_started() -> None:
    assert [accelerate_for(nodes, processes, adapter=False) for nodes, processes in ((1, 1), (1, 8), (2, 1), (2, 8))] == [
        *("single-gpu", "fsdp2", "two-nodes", "two-nodes")
    ]
    assert [accelerate_for(nodes, processes, adapter=True) for nodes, processes in ((1, 1), (1, 8), (2, 1), (2, 8))] == ["single-gpu", "ddp", "ddp", "ddp"]


@pytest.mark.parametrize(("name", "processes", "quantised"), [("single-gpu", 2, False), ("fsdp2", 8, True), ("fsdp2", 1, True), ("two-nodes", 16, True)])
def test_an_accelerate_file_under_which_something_else_would_run_is_refused(name: str, processes: int, quantised: bool) -> None:
    with pytest.raises(ConfigError, match=rf"^accelerate {name} .*; give ddp") as refused:
        check_accelerate(name, accelerate_file(name), processes, quantised)
    assert "\n" not in str(refused.value)


def test_an_accelerate_file_of_the_job_s_size_is_taken() -> None:
    for name, processes, quantised in (("single-gpu", 1, True), ("ddp", 8, True), ("fsdp2", 8, False), ("fsdp2-offload", 1, False), ("two-nodes", 16, False)):
        check_accelerate(name, accelerate_file(name), processes, quantised)
        assert sharding_of(accelerate_file(name), processes).processes == processes
    assert sharding_of(accelerate_file("single-gpu"), 8) == ONE  # what it would start


def test_what_is_not_known_is_refused_with_the_nearest_known() -> None:
    shape = SHAPES["HuggingFaceTB/SmolLM2-135M"]
    with pytest.raises(UnknownNameError, match="did you mean 'qwen3'"):
        shape_of({"model_type": "qwen3_moe"}, "x")
    with pytest.raises(UnknownNameError, match="did you mean 'adamw_torch'"):
        recipe_of({"optim": "adamw_torc"}, shape)
    with pytest.raises(UnknownNameError, match="did you mean 'q_proj'"):
        recipe_of({"use_peft": True, "lora_target_modules": ["qproj"]}, shape)
    with pytest.raises(ConfigError, match="not planned"):
        sharding_of({"distributed_type": "DEEPSPEED"}, 8)
    with pytest.raises(ConfigError, match="is not known here"):
        read_shape("someone/some-model")


def test_a_models_folder_gives_its_shape(tmp_path: Path) -> None:
    model, shape = tiny("qwen3")
    model.bfloat16().save_pretrained(tmp_path)
    assert read_shape(str(tmp_path)) == dataclasses.replace(shape, stored=2)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of `syncabel plan`."""
    from syncabel.cli.app import app

    status = app(["plan", *arguments], standalone_mode=False)
    return int(status or 0), capsys.readouterr().out


def test_the_command_prints_every_part_and_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = command(capsys, "--config", "llama3-8b-improved", "--gpus", "8", "--nodes", "2", "--accelerate", "two-nodes", "--tokens", "300000000")
    assert status == 0
    lines = dict(line.split("\t") for line in text.splitlines())
    assert lines["parameters"] == "8,030,261,248, trained 8,030,261,248"
    assert lines["processes"] == "16 × h100 on 2 nodes, FSDP2"
    assert lines["accelerate"] == "two-nodes"
    assert lines["sum"].endswith("a GPU: fits")
    assert lines["steps"] == "9,156, 300,000,000 tokens"


def test_the_json_adds_up_and_its_exit_code_says_whether_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = command(capsys, "--config", "llama3-8b-full", "--json", "--set", "gradient_checkpointing=false", "--tokens", "1000000")
    made = json.loads(text)
    assert (status, made["fits"]) == (3, False)
    parts = {name: value for name, value in made["memory_bytes"].items() if name not in ("total", "host")}
    assert sum(parts.values()) == made["memory_bytes"]["total"] > made["gpu"]["memory_bytes"]
    assert made["gpu_hours"] == made["hours"]
    assert (made["format"], made["accelerate"]) == ("syncabel.plan/1", "single-gpu")
    assert made["steps"] == -(-1_000_000 // made["tokens_per_step"])
    json_status, _ = command(capsys, "--config", "llama3-8b-full", "--json")
    assert json_status == 0


def test_where_the_data_lies_there_steps_and_tokens_are_those_of_the_run(
    flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from syncabel.train.arguments import parse
    from syncabel.train.run import make_trainer

    given = flags("--packing", "true", "--num_train_epochs", "3", "--max_steps", "-1")
    path = run_file(tmp_path, given)
    made = json.loads(command(capsys, "--config", path, "--json")[1])
    _, data, _ = make_trainer(parse(given))
    sides = data.mixture.report.sides
    assert made["steps"] == data.steps
    assert made["tokens"] == sum(side.total_tokens for side in sides)
    assert json.loads(command(capsys, "--config", path, "--json", "--gpus", "4")[1])["steps"] == -(-data.steps // 4)


def run_file(tmp_path: Path, given: list[str], **more: Any) -> str:
    """Flags as a configuration."""
    written = {given[i].removeprefix("--"): yaml.safe_load(given[i + 1]) for i in range(0, len(given), 2)} | {"save_strategy": "no"} | more
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(written))
    return str(path)


WRONG = {
    "per_device_train_batch_size=abc": "'abc'; give a whole number",
    "per_device_train_batch_size=-3": "-3; it counts from 1",
    "per_device_train_batch_size=0": "0; it counts from 1",
    "per_device_train_batch_size=[1]": "[1]; give one value",
    "gradient_accumulation_steps=0": "0; it counts from 1",
    "max_length=0": "0; it counts tokens, from 1",
    "max_length=null": "max_length is null; give the longest prompt",
    "num_layers=0": "0; it counts from 1",
    "num_heads=3": "give a multiple",
    "max_steps=many": "'many'; give a whole number",
    "max_steps=[1]": "[1]; give one value",
    "dtype=float8": "'float8'; give one of auto, bfloat16, float16, float32",
    "dtype=[float32]": "['float32']; give one value",
    "packing=maybe": "'maybe'; give true or false",
    "bf16=maybe": "'maybe'; give true or false",
    "bf16=[1": "the value is no YAML",
}


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_value_is_refused_with_its_key_and_what_is_wanted(
    flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    path = run_file(tmp_path, flags())
    with pytest.raises(ConfigError) as refused:
        command(capsys, "--config", path, "--set", change)
    assert change.split("=")[0] in str(refused.value)
    assert WRONG[change] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_adapter_s_rank_is_refused_as_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    for value, wanted in {"x": "'x'; give a whole number", "0": "0; it counts from 1"}.items():
        with pytest.raises(ConfigError, match=f"lora_r is {wanted}"):
            command(capsys, "--config", "llama3-8b-full", "--set", "use_peft=true", "--set", f"lora_r={value}")


@pytest.mark.parametrize("more", [{"warmup_steps": "soon"}, {"learning_rates": 1}, {"init": "pretrained"}, {"load_in_4bit": True}, {"lr_scheduler_type": 3}])
def test_what_the_training_refuses_the_plan_refuses_in_the_same_words(
    flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any]
) -> None:
    from syncabel.train.arguments import parse

    path = run_file(tmp_path, flags(), **more)
    with pytest.raises((ConfigError, UnknownNameError)) as training:
        parse(["--config", path])
    with pytest.raises(type(training.value)) as planning:
        command(capsys, "--config", path)
    assert str(planning.value) == str(training.value)


def test_errors_name_the_configuration_that_was_given(flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(tmp_path, flags(), human_examples=str(tmp_path / "nowhere.jsonl"))
    assert command(capsys, "--config", path, "--json")[0] == 0  # the data may lie elsewhere
    for change, name in (("packing=maybe", ConfigError), ("packin=true", UnknownNameError)):
        with pytest.raises(name, match=rf"{path} with --set: "):
            command(capsys, "--config", path, "--set", change)
    with pytest.raises(ConfigError, match=rf"^{path}: learning_rate is 'fast'"):
        command(capsys, "--config", run_file(tmp_path, flags(), learning_rate="fast"))


def test_a_file_for_one_process_is_not_planned_for_eight(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="accelerate single-gpu starts one process"):
        command(capsys, "--config", "llama3-8b-lora", "--accelerate", "single-gpu", "--gpus", "8")
    with pytest.raises(ConfigError, match="accelerate fsdp2 is FSDP"):
        command(capsys, "--config", "llama3-8b-qlora", "--accelerate", "fsdp2", "--gpus", "8")


@pytest.mark.parametrize(
    ("config", "size", "taken"),
    [
        ("llama3-8b-improved", "8", "fsdp2"),
        ("llama3-8b-full", "8", "fsdp2"),
        ("llama3-8b-full", "1", "single-gpu"),
        ("llama3-8b-full", "8 --nodes 2", "two-nodes"),
        ("llama3-8b-lora", "8", "ddp"),
        ("llama3-8b-qlora", "8 --nodes 2", "ddp"),
        ("llama3-8b-qlora", "1", "single-gpu"),
    ],
)
def test_without_accelerate_what_slurm_would_take_is_planned_and_said(capsys: pytest.CaptureFixture[str], config: str, size: str, taken: str) -> None:
    size_of_it = ["--config", config, "--gpus", *size.split()]
    status, text = command(capsys, *size_of_it)
    assert status == 0
    assert f"\naccelerate\t{taken}, as `syncabel slurm train` takes\n" in text
    made = json.loads(command(capsys, *size_of_it, "--json")[1])
    assert made["accelerate"] == taken
    assert made == json.loads(command(capsys, *size_of_it, "--json", "--accelerate", taken)[1])


def test_tokens_are_kept_beside_the_data_unless_they_are_given(flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "tokens"
    path = run_file(tmp_path, flags(), token_cache=str(cache))
    assert json.loads(command(capsys, "--config", path, "--json", "--tokens", "1000")[1])["tokens"] == 1000
    assert not cache.exists()
    assert command(capsys, "--config", path, "--json")[0] == 0
    assert list(cache.iterdir())
