"""What a training will need, before anything starts: memory of a GPU by part, tokens per second, hours.  Arithmetic only.

Memory is counted the way torch allocates it: the bytes of parameters, gradients and optimizer states are exact; activations are
those that autograd keeps of transformers' own layers, operation by operation, which a compiled model undercuts; what a layer needs
while it computes, the allocator's gaps and the CUDA context are a margin.  Parts that are not all there at the same moment are
added up all the same, so the sum is an upper bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train.shapes import BYTES, Shape, parameters

__all__ = [
    "GPUS",
    "Adapter",
    "Gpu",
    "Memory",
    "Plan",
    "Recipe",
    "Sharding",
    "accelerate_for",
    "activations",
    "adapter_parameters",
    "check_accelerate",
    "flops_per_token",
    "make_plan",
    "memory",
    "recipe_of",
    "sharding_of",
]

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor.

    Attributes:
        name: as `--gpu` has it.
        memory: bytes that the driver reports as total.
        peak: dense bfloat16 operations with float32 sums, FLOP/s; the maker's data sheet, without sparsity.
    """

    name: str
    memory: int
    peak: float


_MIB = 2**20
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("a100", 81_920 * _MIB, 312e12),
        Gpu("a100-40", 40_960 * _MIB, 312e12),
        Gpu("h100", 81_559 * _MIB, 989e12),
        Gpu("h200", 143_771 * _MIB, 989e12),
        Gpu("l4", 23_034 * _MIB, 121e12),
        Gpu("l40s", 46_068 * _MIB, 362e12),
        Gpu("rtx4090", 24_564 * _MIB, 165e12),
    )
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA.

    Attributes:
        rank: of every pair of matrices.
        targets: linear maps that have one.
        rows: embedding rows trained beside them.
    """

    rank: int
    targets: tuple[str, ...]
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training configuration says about memory and time.

    Attributes:
        weights: bytes per parameter that the model is loaded with.
        half: the layers compute in 16 bits.
        adapter: LoRA, or None where all weights are trained.
        bits: 4 or 8 where the linear maps are quantised, else 0.
        nested: their constants are quantised as well.
        states: optimizer bytes per trained parameter and byte of it: AdamW keeps two numbers of the parameter's kind.
        eight_bit_states: the optimizer's states are bytes.
        recompute: activations of a layer are computed again in the backward pass.
        packing: examples share a row of `max_length` tokens.
        max_length: tokens of a row.
        batch: rows of a process and pass.
        accumulation: passes per step.
    """

    weights: int
    half: bool
    adapter: Adapter | None
    bits: int
    nested: bool
    states: float
    eight_bit_states: bool
    recompute: bool
    packing: bool
    max_length: int
    batch: int
    accumulation: int

    @property
    def row_tokens(self) -> int:
        """Tokens that a process reads in a pass, at most."""
        return self.max_length * self.batch


@dataclass(frozen=True, slots=True)
class Sharding:
    """How processes share the work.

    Attributes:
        kind: none, ddp or fsdp.
        processes: over all nodes.
        offload: weights, gradients and optimizer lie in the machine's memory.
    """

    kind: str
    processes: int
    offload: bool = False


# TRL's and transformers' own values of the keys that a configuration may leave out.
_DEFAULTS: dict[str, Any] = {
    "dtype": "float32",
    "bf16": True,
    "fp16": False,
    "use_peft": False,
    "lora_r": 16,
    "lora_target_modules": None,
    "load_in_4bit": False,
    "load_in_8bit": False,
    "use_bnb_nested_quant": False,
    "optim": "adamw_torch_fused",
    "gradient_checkpointing": True,
    "activation_checkpointing": None,  # transformers' newer name for it
    "packing": False,
    "max_length": 1024,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "init": "pretrained",
    "prompt_format": "sentence",
    "muon_factor": None,
}
# States of the optimizers, as numbers per trained parameter; of the 8-bit ones, bytes.
_STATES = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"), 2.0),
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit"), 2.0),
    **dict.fromkeys(("paged_adamw_32bit", "paged_adamw"), 2.0),
    **dict.fromkeys(("adafactor", "sgd"), 0.0),  # a row and a column of each matrix; nothing
    **dict.fromkeys(("lion_32bit", "rmsprop", "adagrad"), 1.0),
}
_DEFAULT_TARGETS = ("q_proj", "v_proj")  # peft's own for these families


def recipe_of(written: Mapping[str, Any], shape: Shape) -> Recipe:
    """What a training configuration says.

    Args:
        written: its keys and values.
        shape: of the model.

    Raises:
        UnknownNameError: an optimizer whose states are not known here.
        ConfigError: LoRA on maps that the model does not have.
    """
    given: dict[str, Any] = {name: written.get(name) if written.get(name) is not None else default for name, default in _DEFAULTS.items()}
    optimizer = str(given["optim"])
    if optimizer not in _STATES:
        raise UnknownNameError("optim", optimizer, _STATES)
    random = given["init"] == "random"
    kind = "float32" if random else str(given["dtype"])
    return Recipe(
        weights=shape.stored if kind == "auto" else BYTES[kind],
        half=bool(given["bf16"] or given["fp16"]),
        adapter=_adapter(given, shape) if given["use_peft"] else None,
        bits=4 if given["load_in_4bit"] else 8 if given["load_in_8bit"] else 0,
        nested=bool(given["use_bnb_nested_quant"]),
        states=1.0 if given["muon_factor"] else _STATES[optimizer],
        eight_bit_states="8bit" in optimizer,
        recompute=bool(given["gradient_checkpointing"] if given["activation_checkpointing"] is None else given["activation_checkpointing"]),
        packing=bool(given["packing"]),
        max_length=int(given["max_length"]),
        batch=int(given["per_device_train_batch_size"]),
        accumulation=int(given["gradient_accumulation_steps"]),
    )


def _adapter(given: Mapping[str, Any], shape: Shape) -> Adapter:
    wanted = given["lora_target_modules"] or _DEFAULT_TARGETS
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    targets = tuple(shape.matrices) if names == ["all-linear"] else tuple(names)
    if absent := [name for name in targets if name not in shape.matrices]:
        raise UnknownNameError("lora_target_modules:", absent[0], shape.matrices)
    return Adapter(int(given["lora_r"]), targets, 1 if given["prompt_format"] == "syncabel" else 0)


def accelerate_for(nodes: int, processes: int, adapter: bool) -> str:
    """The shipped configuration of accelerate that a training is started with where nobody names one.

    Args:
        nodes: machines.
        processes: of each.
        adapter: LoRA, on weights of 4 bits or whole: each GPU then holds the whole model.
    """
    if nodes * processes == 1:
        return "single-gpu"
    if adapter:
        return "ddp"
    return "two-nodes" if nodes > 1 else "fsdp2"


def check_accelerate(name: str, accelerate: Mapping[Any, Any], processes: int, quantised: bool) -> None:
    """Refuse a configuration of accelerate under which something else than was asked for would run.

    Args:
        name: of the configuration, for messages.
        accelerate: its keys and values.
        processes: over all nodes.
        quantised: the model is loaded in 4 or 8 bits.

    Raises:
        ConfigError: it starts one process and several were asked for, or it would shard quantised weights.
    """
    kind = str(accelerate.get("distributed_type"))
    if kind == "NO" and processes > 1:
        raise ConfigError(f"accelerate {name} starts one process (distributed_type NO), not {processes}; give ddp, fsdp2 or two-nodes, or one GPU on one node")
    if kind == "FSDP" and quantised:
        raise ConfigError(f"accelerate {name} is FSDP, and weights in 4 or 8 bits are not sharded here; give ddp or single-gpu, or leave quantisation out")


def sharding_of(accelerate: Mapping[Any, Any], processes: int) -> Sharding:
    """What an accelerate configuration does with so many processes.

    Raises:
        ConfigError: a kind of distribution that is not planned here, or FSDP of another version.
    """
    kind = str(accelerate.get("distributed_type"))
    if kind == "NO":
        return Sharding("none", 1)
    if kind == "MULTI_GPU":
        return Sharding("ddp" if processes > 1 else "none", processes)
    settings = accelerate.get("fsdp_config") or {}
    if kind != "FSDP" or int(settings.get("fsdp_version", 1)) != 2 or not settings.get("fsdp_reshard_after_forward", True):
        raise ConfigError(f"distributed_type {kind} (FSDP version {settings.get('fsdp_version')}) is not planned; give NO, MULTI_GPU or FSDP2 with resharding")
    return Sharding("fsdp", processes, bool(settings.get("fsdp_offload_params")))


def adapter_parameters(shape: Shape, adapter: Adapter) -> int:
    """Those that LoRA trains."""
    pairs = sum(rows + columns for rows, columns in (shape.matrices[name] for name in adapter.targets))
    return shape.layers * adapter.rank * pairs + adapter.rows * shape.hidden


# bitsandbytes: one float32 constant per block of 64 weights; nested, a byte instead and one float32 per 256 of them.
_BLOCK, _OUTER = 64, 256


def _quantised(shape: Shape, recipe: Recipe) -> float:
    """Bytes of the linear maps in 4 or 8 bits, constants included."""
    if recipe.bits == 8:
        return shape.linear + 4 * shape.layers * sum(columns for _, columns in shape.matrices.values())
    constants = (1 + 4 / _OUTER if recipe.nested else 4) / _BLOCK
    return shape.linear * (0.5 + constants)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one GPU, by part.

    Attributes:
        weights: parameters that are kept, or the process' share of them.
        casts: 16-bit copies that autocast keeps of float32 weights.
        adapter: LoRA's weights.
        gradients: of what is trained.
        optimizer: its states.
        exchange: what DDP's buckets, or FSDP's gathered layers, take on top.
        activations: kept from the forward to the backward pass.
        loss: the pieces of logits, and the output layer's gradient in float32 while it is summed.
        margin: CUDA context, scratch space and gaps: 2 GiB and a twentieth of the rest, an assumption.
        host: of a node's own memory, over its processes, under FSDP: while the model is loaded or, of what is offloaded, later.
    """

    weights: int
    casts: int
    adapter: int
    gradients: int
    optimizer: int
    exchange: int
    activations: int
    loss: int
    margin: int
    host: int = 0

    @property
    def total(self) -> int:
        """Bytes of the GPU."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """By name, what lies on the GPU."""
        names = ("weights", "casts", "adapter", "gradients", "optimizer", "exchange", "activations", "loss", "margin")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Bytes of a number in the computation: `compute` in the layers, `stream` in the hidden state between them."""

    compute: int
    stream: int


def _kinds(recipe: Recipe, sharding: Sharding) -> _Kinds:
    if not recipe.half:
        return _Kinds(recipe.weights, recipe.weights)
    # FSDP hands the layers 16-bit weights; under autocast the norms and the sums between layers keep the weights' own precision.
    return _Kinds(2, 2 if sharding.kind == "fsdp" else recipe.weights)


def activations(shape: Shape, recipe: Recipe, sharding: Sharding) -> int:
    """Bytes that autograd keeps of a forward pass through the layers, for the rows of one process.

    Operation by operation of transformers' layers with torch's scaled_dot_product_attention; packs and padded rows have a mask, which
    that function keeps as numbers and for which it repeats keys and values.  With recomputation every layer keeps its input, and one
    layer at a time all of it.
    """
    kinds, tokens = _kinds(recipe, sharding), recipe.row_tokens
    layer = _layer_activations(shape, recipe, kinds) * tokens + (_mask(recipe) * kinds.compute if _masked(recipe) else 0)
    positions = 2 * shape.head_dim * kinds.stream * _row_length(recipe)  # rows of equal length share them
    ends = (_norm(shape.hidden, shape, recipe, kinds.stream) + 8) * tokens + positions
    if not recipe.recompute:
        return shape.layers * layer + ends
    return shape.layers * shape.hidden * kinds.stream * tokens + layer + ends


def _masked(recipe: Recipe) -> bool:
    """Whether attention has a mask of its own: a single row without padding has none, and rows of a batch differ in length."""
    return recipe.packing or recipe.batch > 1


def _mask(recipe: Recipe) -> int:
    """Numbers of a layer's mask."""
    return recipe.row_tokens * _row_length(recipe)


def _row_length(recipe: Recipe) -> int:
    """Tokens of a row that the model reads: TRL's collator lays the packs of a process end to end in one."""
    return recipe.row_tokens if recipe.packing else recipe.max_length


def _norm(size: int, shape: Shape, recipe: Recipe, number: int, heads: int = 1) -> int:
    """Per token: the input in float32 and a scale for each head; the normalised numbers where their weights are trained."""
    kept = 4 if shape.float_norms else number
    return 4 * (size + heads) + (kept * size if recipe.adapter is None else 0)


def _layer_activations(shape: Shape, recipe: Recipe, kinds: _Kinds) -> int:
    """Per token."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = shape.norms * _norm(shape.hidden, shape, recipe, kinds.stream)
    if shape.head_norms:
        norms += sum(_norm(heads * shape.head_dim, shape, recipe, kinds.compute, heads) for heads in (shape.heads, shape.kv_heads))
    attention = (2 * query + 2 * (query if _masked(recipe) else key)) * kinds.compute + 4 * shape.heads
    return norms + attention + 3 * shape.intermediate * kinds.compute + _inputs(shape, recipe, kinds)


def _inputs(shape: Shape, recipe: Recipe, kinds: _Kinds) -> int:
    """What the linear maps keep of their inputs, per token; the attention's output is counted there."""
    if recipe.adapter is None:
        # A float32 hidden state is cast for each map by itself; in one precision those that read the same share it.
        copies = 5 if kinds.stream > kinds.compute else 2
        return (copies * shape.hidden + shape.intermediate) * kinds.compute
    targets, ranks = set(recipe.adapter.targets), len(recipe.adapter.targets) * recipe.adapter.rank * kinds.compute
    if kinds.compute < 4:  # the adapter is float32, so each pair casts its own
        return sum(shape.matrices[name][0] for name in targets) * kinds.compute + ranks
    shared = [{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}]
    return sum(shape.hidden for group in shared if group & targets) * 4 + ("down_proj" in targets) * shape.intermediate * 4 + ranks


_TILE = (4096, 32_768)  # tokens × words of TRL's pieces of logits


def _loss(shape: Shape, recipe: Recipe, loss_share: float) -> int:
    scored = max(1, int(recipe.row_tokens * loss_share))
    tile = min(scored, _TILE[0]) * min(shape.vocabulary, _TILE[1]) * (2 if recipe.half else recipe.weights)
    return scored * shape.hidden * 8 + tile + (4 * shape.table if recipe.adapter is None else 0)


def memory(shape: Shape, recipe: Recipe, sharding: Sharding, loss_share: float = 1.0, nodes: int = 1) -> Memory:
    """Memory of one GPU, and of the node it is in.

    Args:
        shape: of the model.
        recipe: of the training.
        sharding: over the processes.
        loss_share: tokens with loss, a fraction of all.
        nodes: machines that the processes are on.
    """
    held = _held(shape, recipe, sharding)
    spread = sharding.processes if sharding.kind == "fsdp" else 1
    parts = {name: -(-value // spread) for name, value in held.items()}
    if recipe.bits and spread > 1:  # 4-bit blocks cannot be cut: every process keeps them whole
        parts["weights"] = held["weights"]
    host = _host(held, parts, sharding, nodes) if sharding.kind == "fsdp" else 0
    if sharding.offload:
        parts = dict.fromkeys(parts, 0)
    parts |= {
        "casts": 2 * shape.linear if _autocast_copies(recipe, sharding) else 0,
        "exchange": _exchange(shape, recipe, sharding, held),
        "activations": activations(shape, recipe, sharding),
        "loss": _loss(shape, recipe, loss_share),
    }
    return Memory(**parts, margin=2 * GIB + sum(parts.values()) // 20, host=host)


def _host(held: Mapping[str, int], parts: Mapping[str, int], sharding: Sharding, nodes: int) -> int:
    """Bytes of a node's memory: what loading takes or, offloaded, what training does.

    Every process reads all weights (transformers 5.23 leaves nothing to the first), and before any is sharded accelerate makes float32
    of those that are trained.  Shares that are offloaded lie beside them until all are handed out; gradients and states come after.

    Args:
        held: of the whole model, by part.
        parts: the same of one process.
        sharding: over the processes.
        nodes: machines that they are on.
    """
    local, weights = -(-sharding.processes // nodes), ("weights", "adapter")
    loading = local * sum(held[name] for name in weights)
    if not sharding.offload:
        return loading
    return max(loading + local * sum(parts[name] for name in weights), local * sum(parts.values()))


def _held(shape: Shape, recipe: Recipe, sharding: Sharding) -> dict[str, int]:
    """Bytes of weights, adapter, gradients and states, not spread over anything."""
    masters = sharding.kind == "fsdp" and recipe.half  # accelerate keeps what is updated in float32 there
    if recipe.adapter is None:
        number, trained = 4 if masters else recipe.weights, parameters(shape)
        weights, adapter = number * trained, 0
    else:
        number, trained = 2 if recipe.bits else 4, adapter_parameters(shape, recipe.adapter)
        rest = parameters(shape) - (shape.linear if recipe.bits else 0)
        weights, adapter = round(rest * recipe.weights + (_quantised(shape, recipe) if recipe.bits else 0)), number * trained
    states = round(recipe.states * trained * (1 if recipe.eight_bit_states else number))
    return {"weights": weights, "adapter": adapter, "gradients": number * trained, "optimizer": states}


def _autocast_copies(recipe: Recipe, sharding: Sharding) -> bool:
    return recipe.half and recipe.weights == 4 and not recipe.bits and recipe.adapter is None and sharding.kind != "fsdp"


def _exchange(shape: Shape, recipe: Recipe, sharding: Sharding, held: Mapping[str, int]) -> int:
    if sharding.kind == "ddp":
        return held["gradients"]  # its buckets are copies
    if sharding.kind == "none":
        return 0
    compute = _kinds(recipe, sharding).compute
    layer = 0 if recipe.bits else shape.linear // shape.layers * compute
    # Two layers' weights (one is on its way while the other computes) and one's gradients; embedding and output layer stay gathered.
    tables = shape.table * (1 if shape.tied else 2) * compute
    return 2 * layer + tables + (layer + tables if recipe.adapter is None else 0)


def flops_per_token(shape: Shape, recipe: Recipe, loss_share: float = 1.0) -> float:
    """Operations that training takes per token, without what is computed twice.

    Forward two per weight, backward four; of frozen weights, only the two that lead back to the inputs.  The output layer is run over
    tokens with loss only, as TRL does on GPUs.

    Args:
        shape: of the model.
        recipe: of the training.
        loss_share: tokens with loss, a fraction of all.
    """
    weights, attention = shape.linear + loss_share * shape.table, 3 * _attention(shape, recipe)
    if recipe.adapter is None:
        return 6 * weights + attention
    return 4 * weights + 6 * adapter_parameters(shape, recipe.adapter) + attention


def _attention(shape: Shape, recipe: Recipe) -> float:
    """Operations of the forward pass: queries with keys and weights with values, two each; half of a row is skipped, under a mask nothing."""
    seen = _row_length(recipe) if _masked(recipe) else recipe.max_length / 2
    return 4 * shape.layers * shape.heads * shape.head_dim * seen


# Shares of peak: what open recipes for 8B models were measured at on H100s (5,800 to 6,700 tokens/s a GPU), and this project's goal.
SHARES = {"low": 0.33, "high": 0.39, "goal": 0.45}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training needs and takes.

    Attributes:
        gpu: kind.
        nodes: machines.
        sharding: over the processes.
        parameters, trained: of the model.
        memory: of one GPU.
        flops: per token.
        tokens_per_step: over all processes, at most.
        tokens_per_second: over all processes, by the share of peak that is assumed: low, high, goal.
        tokens, steps: of the run; None where they are not known.
        advice: changes that would make it fit, most harmless first; empty where it does.
        accelerate: name of the configuration that the processes are started with; None where nothing was named or chosen.
    """

    gpu: Gpu
    nodes: int
    sharding: Sharding
    parameters: int
    trained: int
    memory: Memory
    flops: float
    tokens_per_step: int
    tokens_per_second: Mapping[str, float]
    tokens: int | None
    steps: int | None
    advice: tuple[str, ...]
    accelerate: str | None = None

    @property
    def fits(self) -> bool:
        """Whether the sum is within the GPU's memory."""
        return self.memory.total <= self.gpu.memory

    @property
    def hours(self) -> dict[str, float] | None:
        """Of training, by the share of peak."""
        if self.tokens is None:
            return None
        return {name: self.tokens / speed / 3600 for name, speed in self.tokens_per_second.items()}

    def as_json(self) -> dict[str, Any]:
        """One object of numbers; bytes, seconds, FLOP."""
        hours = self.hours
        return {
            "format": "syncabel.plan/1",
            "gpu": {"name": self.gpu.name, "memory_bytes": self.gpu.memory, "peak_flops": self.gpu.peak},
            "nodes": self.nodes,
            "processes": self.sharding.processes,
            "accelerate": self.accelerate,
            "sharding": {"kind": self.sharding.kind, "offload": self.sharding.offload},
            "parameters": {"total": self.parameters, "trained": self.trained},
            "memory_bytes": {**self.memory.parts, "total": self.memory.total, "host": self.memory.host},
            "fits": self.fits,
            "advice": list(self.advice),
            "flops_per_token": self.flops,
            "share_of_peak": dict(SHARES),
            "tokens_per_second": {name: round(value) for name, value in self.tokens_per_second.items()},
            "tokens_per_step": self.tokens_per_step,
            "tokens": self.tokens,
            "steps": self.steps,
            "hours": None if hours is None else {name: round(value, 2) for name, value in hours.items()},
            "gpu_hours": None if hours is None else {name: round(value * self.sharding.processes, 2) for name, value in hours.items()},
        }


def make_plan(
    shape: Shape,
    recipe: Recipe,
    sharding: Sharding,
    gpu: Gpu,
    *,
    nodes: int = 1,
    tokens: int | None = None,
    steps: int | None = None,
    loss_share: float = 1.0,
    accelerate: str | None = None,
) -> Plan:
    """Put the figures together.

    Args:
        shape: of the model.
        recipe: of the training.
        sharding: over the processes.
        gpu: each process has one.
        nodes: machines that the processes are on.
        tokens: of the run, all that are read; None where not known.
        steps: of the run; worked out from tokens where not known.
        loss_share: tokens with loss, a fraction of all.
        accelerate: name of the configuration that says how they share.
    """
    need, flops = memory(shape, recipe, sharding, loss_share, nodes), flops_per_token(shape, recipe, loss_share)
    per_step = recipe.row_tokens * recipe.accumulation * sharding.processes
    # What is computed twice is one more forward pass, two operations a weight.
    done = flops + (2 * (shape.linear + loss_share * shape.table) + _attention(shape, recipe) if recipe.recompute else 0)
    speed = {name: share * gpu.peak * sharding.processes / done for name, share in SHARES.items()}
    if steps is None and tokens is not None:
        steps = -(-tokens // per_step)
    trained = parameters(shape) if recipe.adapter is None else adapter_parameters(shape, recipe.adapter)
    total = parameters(shape) + (trained if recipe.adapter is not None else 0)
    advice = () if need.total <= gpu.memory else tuple(_advice(shape, recipe, sharding, gpu, loss_share))
    return Plan(gpu, nodes, sharding, total, trained, need, flops, per_step, speed, tokens, steps, advice, accelerate)


def _advice(shape: Shape, recipe: Recipe, sharding: Sharding, gpu: Gpu, loss_share: float) -> list[str]:
    """Changes after which it fits; each alone, on top of recomputation."""
    small = replace(recipe, recompute=True)
    lora = replace(small, adapter=small.adapter or Adapter(32, tuple(shape.matrices)))
    more_steps = recipe.batch * recipe.accumulation
    whole = Sharding("ddp" if sharding.processes > 1 else "none", sharding.processes)
    under = f", --accelerate {accelerate_for(1, sharding.processes, adapter=True)}" if sharding.kind == "fsdp" else ""
    choices = [
        ("gradient_checkpointing: true", small, sharding),
        *([(f"per_device_train_batch_size: 1, gradient_accumulation_steps: {more_steps}", replace(small, batch=1), sharding)] if recipe.batch > 1 else []),
        *(_sharded(shape, small, sharding, gpu, loss_share) if not recipe.bits else []),
        (f"use_peft: true (LoRA){under}", lora, whole),
        (f"use_peft: true with load_in_4bit: true (QLoRA){under}", replace(lora, bits=4, nested=True), whole),
        *([("--accelerate fsdp2-offload", small, Sharding("fsdp", sharding.processes, offload=True))] if sharding.processes > 1 and not recipe.bits else []),
    ]
    return [text for text, changed, how in choices if _fits(shape, changed, how, gpu, loss_share)]


def _sharded(shape: Shape, small: Recipe, sharding: Sharding, gpu: Gpu, loss_share: float) -> list[tuple[str, Recipe, Sharding]]:
    """FSDP2 over the GPUs there are, where it is not what does not fit, and over as many as it takes."""
    here = [("--accelerate fsdp2", small, Sharding("fsdp", sharding.processes))] if sharding.kind != "fsdp" and sharding.processes > 1 else []
    wider = [Sharding("fsdp", n) for n in (2, 4, 8, 16, 32, 64) if n > sharding.processes]
    more = next((how for how in wider if _fits(shape, small, how, gpu, loss_share)), None)
    return here + ([(f"--accelerate fsdp2 --gpus {more.processes}", small, more)] if more else [])


def _fits(shape: Shape, recipe: Recipe, sharding: Sharding, gpu: Gpu, loss_share: float) -> bool:
    return memory(shape, recipe, sharding, loss_share).total <= gpu.memory
