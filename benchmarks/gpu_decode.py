"""Constrained decoding of an 8-billion-parameter Llama on one GPU: mentions a second against what the hardware allows.

    PYTHONPATH=. python benchmarks/gpu_decode.py --out gpu_decode.json                       # at most ten minutes
    PYTHONPATH=. python benchmarks/gpu_decode.py --config tiny --names 2000 --batch 1 8      # the same on a CPU, in seconds
    PYTHONPATH=. python benchmarks/gpu_decode.py --limits                                    # what it is measured against; needs no GPU

Needs torch, transformers and numpy; nothing is downloaded.  Weights are random (a seed), made on the device from Llama-3-8B's
configuration.  The closed set is a saved trie (--trie) or random names of the shape that disease names have.  Prompts are random
tokens: of 60 and 150, and documents that many mentions share.  With the defaults (a document of 340 tokens and 19 of each
mention's own) 10 mentions a document are 53 new tokens a mention, its share of the document among them, and 46 are 26.  A batch is
run at once: it is the most mentions under way, and of documents as near to it as whole documents come.

P (prompt tokens a mention, shared ones once), the tokens decoded and the passes are counted in the searches; T is the mean length of
the best names found, end token included.  A prompt token costs the operations of the layers, a prompt the head's, a decoded token
both; those of attention over earlier tokens are not counted.  "of limit" is against peak / (layers · P + head + (layers + head) ·
beams · (T − 1)), "of peak" is the operations of all that was read, "read" the weights read by all passes against the memory's
bandwidth, which is what bounds small batches.

To random weights every token is about as improbable as another, so that a beam of several prefers short names, and --sharpen, which
multiplies the head's weights, does not change that.  So random names are all of one length, and T is what was asked for.  With --spread or
--trie they differ as real ones do: then a beam's T is far below the tokens it decodes, and only "of peak" says how well the device
was used.

Settings come in the order of --batch, whose default begins with what matters most, first of all for names of the first length.  After
--minutes nothing new is begun, and what would not be over by then, going by its first run, is left out; the report says what.  --out
is written anew after each setting, so that it holds what was measured even where the run is cut short.

Seconds are medians of --repeats runs after one to warm up.  Where they go is measured in a further run that waits for the device
around every part, and is slower for that: prompts, decoding passes, finding what may follow, and all else.

Not there: CUDA graphs and a static cache.  Passes are of as many tokens as the searches ask for, unpadded, and no two are of one
shape.  --compile compiles what does not depend on the trees (norms and feed-forward blocks), for any number of tokens; the
attention and the searches stay as they are.
"""

import argparse
import itertools
import json
import platform
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from constrained.attention import Reading
from constrained.beam import BeamSearch
from constrained.errors import SearchError
from constrained.forest import Forest, check_model
from constrained.names import Names
from constrained.scope import EVERYTHING, ScopeTable
from constrained.search import NAME_TOKENS, beam_search
from constrained.trie import TokenTrie

# What Llama-3-8B publishes, and the same in small; the latter's weights are wider, so that its logits spread as much.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama3-8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_theta": 500_000.0,
    },
    "tiny": {
        "vocab_size": 1000,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "initializer_range": 0.2,
    },
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SHORTEST, LONGEST = 2, 64  # tokens of a random name, end token included
# With so many tokens random names may begin, and so many may follow each: about half of the steps along names of 8 tokens then have
# no alternative, as in DOID, HPO and MeSH diseases (47 to 53 % with SmolLM2's tokenizer).
FIRST_TOKENS, NEXT_TOKENS = 2000, 12
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one token costs; attention over earlier tokens is left out.

    Attributes:
        layers: operations of a token, its logits excepted.
        head: operations of a token's logits.
        weight_bytes: read in a pass.
    """

    layers: float
    head: float
    weight_bytes: float

    @classmethod
    def of(cls, config: LlamaConfig, itemsize: int) -> "Cost":
        """Two operations for each weight that a token is multiplied with."""
        width = config.hidden_size
        of_head = config.head_dim or width // config.num_attention_heads
        attention = 2 * width * of_head * (config.num_attention_heads + config.num_key_value_heads)
        layers = config.num_hidden_layers * (attention + 3 * width * config.intermediate_size)
        head = width * config.vocab_size
        return cls(2.0 * layers, 2.0 * head, float((layers + head) * itemsize))

    def limit(self, peak: float, prompt_tokens: float, beams: int, length: float) -> float:
        """Mentions a second at a large batch.

        Args:
            peak: operations a second.
            prompt_tokens: new ones of a mention.
            beams: width.
            length: of a name, end token included: that one is scored, never read.
        """
        return peak / (self.layers * prompt_tokens + self.head + (self.layers + self.head) * beams * (length - 1))


@dataclass(slots=True)
class Count:
    """What a search reads, as its `trace`.

    Attributes:
        prompts, prompt_tokens, prompt_passes: prompts run, tokens of them, in so many forward passes.
        decoded, steps: tokens read after prompts, in so many.
        phase: of the last pass.
    """

    prompts: int = 0
    prompt_tokens: int = 0
    prompt_passes: int = 0
    decoded: int = 0
    steps: int = 0
    phase: str = ""

    def passed(self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, reading: Reading) -> None:  # noqa: ARG002
        """See `constrained.forest.Trace`; shapes only, which the device need not be waited for."""
        # Of prompts only the last token's logits are asked for.
        if len(keep) < ids.shape[1]:
            self.phase = "prompts"
            self.prompts += len(keep)
            self.prompt_tokens += ids.shape[1]
            self.prompt_passes += 1
        else:
            self.phase = "decoding"
            self.decoded += ids.shape[1]
            self.steps += 1

    def operations(self, cost: Cost) -> float:
        """Of all passes."""
        return cost.layers * (self.prompt_tokens + self.decoded) + cost.head * (self.prompts + self.decoded)


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts that are run at once.

    Attributes:
        label: of the report.
        prompts: token ids.
        tokens: of all trees, a document's once.
    """

    label: str
    prompts: list[list[int]]
    tokens: int

    def budget(self, beams: int) -> int:
        """`max_batch_tokens` that lets all of it be under way: all trees are of one size."""
        return self.tokens + beams * NAME_TOKENS * len(self.prompts)


def separate(size: int, batch: int, vocabulary: int) -> Workload:
    """Prompts that share nothing."""
    rng = np.random.default_rng(size)
    return Workload(f"{size}", rng.integers(0, vocabulary, (batch, size)).tolist(), batch * size)


def documents(mentions: int, batch: int, vocabulary: int, document: int, own: int) -> Workload:
    """Whole documents, at least one, with about as many mentions as the batch has.

    Args:
        mentions: of a document.
        batch: mentions in all.
        vocabulary: of the model.
        document: tokens that a document's mentions share.
        own: tokens of each mention after these.
    """
    rng = np.random.default_rng(mentions)
    prompts: list[list[int]] = []
    count = max(1, round(batch / mentions))
    for _ in range(count):
        shared = rng.integers(0, vocabulary, document).tolist()
        rest = rng.integers(0, vocabulary, (mentions, own))
        # Where they part, so that they share the document and no token more.
        rest[:, 0] = rng.choice(vocabulary, mentions, replace=False)
        prompts += [shared + each for each in rest.tolist()]
    return Workload(f"document of {mentions}", prompts, count * (document + mentions * own))


def random_names(count: int, mean: float, spread: float, vocabulary: int, seed: int = 0) -> TokenTrie:
    """Distinct names that begin alike as real ones do.

    The token at each place has a rank, drawn so that small ones are likelier (its logarithm is uniform), and is found from the rank
    and the tokens before it.

    Args:
        count: of names.
        mean, spread: tokens of a name, end token included: mean and standard deviation; a spread of 0 makes all of one length.
        vocabulary: its last id ends names.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    drawn = 2 * count  # the likeliest are drawn often, and count once
    length = lengths(rng, drawn, mean, spread)
    prefix = np.zeros(drawn, np.uint64)
    tokens = np.full((drawn, int(length.max())), vocabulary - 1, np.int32)
    for place in range(tokens.shape[1] - 1):
        going = np.flatnonzero(place < length - 1)
        most = min(FIRST_TOKENS if place == 0 else NEXT_TOKENS, vocabulary - 1)
        rank = np.floor(most ** rng.random(len(going))).astype(np.uint64)
        tokens[going, place] = (prefix[going] + rank) % np.uint64(vocabulary - 1)
        prefix[going] = mixed(prefix[going] + rank)
    # What was drawn for every place tells names apart, and so does its digest.
    kept = np.sort(np.unique(prefix, return_index=True)[1])[:count]
    if len(kept) < count:
        raise ValueError(f"only {len(kept)} distinct names of about {mean:g} tokens could be drawn, {count} were asked for; ask for fewer or longer ones")
    inside = np.arange(tokens.shape[1]) < length[kept, None]
    offsets = np.concatenate([[0], np.cumsum(length[kept])])
    return TokenTrie.build(tokens[kept][inside], offsets, np.ones((count, 1), np.uint64), vocabulary - 1, 1)


def lengths(rng: np.random.Generator, count: int, mean: float, spread: float) -> Longs:
    """Gamma-distributed above the shortest, as those of real names nearly are."""
    if spread == 0:
        return np.full(count, round(mean))
    above = mean - SHORTEST
    drawn = SHORTEST + rng.gamma((above / spread) ** 2, spread**2 / above, count)
    return np.clip(np.round(drawn), SHORTEST, LONGEST).astype(np.int64)


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit numbers that scatters them."""
    values = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return (values ^ (values >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a closed set.

    Attributes:
        names: how many.
        tokens, spread: mean and standard deviation of their lengths, end token included.
        nodes: a name, of the trie.
        beginnings: distinct first tokens.
        single: share of the steps along names that have no alternative.
    """

    names: int
    tokens: float
    spread: float
    nodes: float
    beginnings: int
    single: float

    @classmethod
    def of(cls, trie: TokenTrie) -> "Shape":
        """Measured on the trie."""
        degree = np.diff(trie.child_start)
        length = np.diff(trie.entries().offsets)
        single, node = 0, trie.leaves_of(np.arange(trie.n_entries))
        while len(node):
            node = trie.parents_of(node)
            single += int((degree[node] == 1).sum())
            node = node[node > 0]
        return cls(trie.n_entries, float(length.mean()), float(length.std()), trie.n_nodes / trie.n_entries, int(degree[0]), single / float(length.sum()))


def make_model(name: str, dtype: torch.dtype, device: str, sharpen: float) -> Any:
    """Random weights, made where they stay."""
    config = LlamaConfig(**CONFIGS[name], tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    # Once and before it is sharpened: the check allows for the rounding of ordinary logits.
    check_model(model)
    with torch.no_grad():
        model.lm_head.weight.mul_(sharpen)
    return model


def compile_blocks(model: Any, backend: str = "inductor") -> None:
    """Compile norms and feed-forward blocks, for any number of tokens."""
    for layer in model.model.layers:
        for block in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
            block.compile(dynamic=True, backend=backend)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True, slots=True)
class Run:
    """One search over a workload.

    Attributes:
        seconds: of all of it.
        count: what was read.
        length: mean length of the best names, end token included.
    """

    seconds: float
    count: Count
    length: float


def run_once(model: Any, trie: TokenTrie, workload: Workload, beams: int) -> Run:
    count = Count()
    wait(model.device)
    start = time.perf_counter()
    found = beam_search(model, trie, workload.prompts, num_beams=beams, max_batch_tokens=workload.budget(beams), trace=count)
    wait(model.device)
    seconds = time.perf_counter() - start
    return Run(seconds, count, statistics.mean(each.names[0].length for each in found))


def where_time_goes(model: Any, trie: TokenTrie, workload: Workload, beams: int) -> dict[str, float]:
    """Seconds of a run that waits for the device around each part: prompts, decoding, constraint, rest."""
    spent = {"prompts": 0.0, "decoding": 0.0, "constraint": 0.0}
    count = Count()
    with clocked(model, count, spent):
        start = time.perf_counter()
        beam_search(model, trie, workload.prompts, num_beams=beams, max_batch_tokens=workload.budget(beams), trace=count)
        wait(model.device)
        total = time.perf_counter() - start
    return {**spent, "rest": total - sum(spent.values())}


@contextmanager
def clocked(model: Any, count: Count, spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds of forward passes, by their phase, and of what finds the tokens that may follow."""

    def timed(method: Callable[..., Any], phase: Callable[[], str]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            wait(model.device)
            start = time.perf_counter()
            result = method(*arguments, **named)
            wait(model.device)
            spent[phase()] += time.perf_counter() - start
            return result

        return run

    methods = {name: getattr(Names, name) for name in ("edges", "forced")}
    for name, method in methods.items():
        setattr(Names, name, timed(method, lambda: "constraint"))
    model.forward = timed(model.forward, lambda: count.phase)
    try:
        yield
    finally:
        # What stood on the instance; the class has its own.
        del model.forward
        for name, method in methods.items():
            setattr(Names, name, method)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured on one workload; the keys of the JSON report.

    Attributes:
        names: place in the list of closed sets.
        prompt: the workload.
        beams, mentions: width, and mentions run at once.
        batches: in which they were run: more than one where the device's memory did not do, and then work was done twice.
        prompt_tokens, name_tokens: P and T of the limit.
        decoded: tokens read after the prompt, a mention.
        passes: forward passes, of all mentions together.
        seconds: median, minimum and maximum of the runs; what follows is of the run of median time.
        mentions_per_s, limit: measured, and what the operations alone would allow for this P and T.
        of_limit, of_peak, of_bandwidth: shares, in [0, 1] on a device of the peaks given.
        peak_gb: most memory of the device that was in use, weights included; none on a CPU.
        where: seconds of the run that waits, see `where_time_goes`.
    """

    names: int
    prompt: str
    beams: int
    mentions: int
    batches: int
    prompt_tokens: float
    name_tokens: float
    decoded: float
    passes: int
    seconds: dict[str, float]
    mentions_per_s: float
    limit: float
    of_limit: float
    of_peak: float
    of_bandwidth: float
    peak_gb: float | None
    where: dict[str, float]


@dataclass(frozen=True, slots=True)
class Machine:
    """Peaks that shares are of: operations and bytes, a second."""

    operations: float
    bandwidth: float


def measured(model: Any, trie: TokenTrie, names: int, workload: Workload, beams: int, repeats: int, machine: Machine, deadline: float) -> Result | None:
    """Warm up, run, and run once more to see where the time goes; None where the first run says that all that would end too late.

    Args:
        model, trie, workload, beams: what is run.
        names: the trie's number in the report.
        repeats: runs that the median is of.
        machine: its peaks.
        deadline: by `time.monotonic`.
    """
    first = run_once(model, trie, workload, beams)
    if time.monotonic() + first.seconds * (repeats + 1) > deadline:
        return None
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(model.device)
    runs = sorted((run_once(model, trie, workload, beams) for _ in range(repeats)), key=lambda run: run.seconds)
    peak_gb = torch.cuda.max_memory_allocated(model.device) / 1e9 if on_gpu else None
    run, mentions = runs[(repeats - 1) // 2], len(workload.prompts)
    cost = Cost.of(model.config, model.lm_head.weight.itemsize)
    prompt_tokens, passes = run.count.prompt_tokens / mentions, run.count.prompt_passes + run.count.steps
    limit = cost.limit(machine.operations, prompt_tokens, beams, run.length)
    return Result(
        names,
        workload.label,
        beams,
        mentions,
        run.count.prompt_passes,
        prompt_tokens,
        run.length,
        run.count.decoded / mentions,
        passes,
        {"median": run.seconds, "min": runs[0].seconds, "max": runs[-1].seconds},
        mentions / run.seconds,
        limit,
        mentions / run.seconds / limit,
        run.count.operations(cost) / run.seconds / machine.operations,
        passes * cost.weight_bytes / run.seconds / machine.bandwidth,
        peak_gb,
        where_time_goes(model, trie, workload, beams),
    )


@torch.inference_mode()
def prepared_step(model: Any, trie: TokenTrie, workload: Workload, beams: int) -> Callable[[], None]:
    """The second step of a beam search: prompts and the first step have been run."""
    count = len(workload.prompts)
    forest = Forest(model, beams * NAME_TOKENS)
    search = BeamSearch(Names(trie, ScopeTable(trie, [EVERYTHING] * count)), count, beams)
    search.enter(np.arange(count), *forest.plant([[prompt] for prompt in workload.prompts]))
    search.step(forest)
    if not len(search.under_way):
        raise ValueError("the searches are over after one step: --sync-check needs longer names")
    return torch.inference_mode()(lambda: search.step(forest))


def synchronisations(step: Callable[[], None], device: torch.device) -> dict[str, int]:
    """Where a step makes the host wait for the GPU, and how often, as far as torch can tell."""
    wait(device)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        return warned(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def warned(step: Callable[[], None]) -> dict[str, int]:
    """Warnings of synchronising operations by the line that led to them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    places = (f"{Path(each.filename).parent.name}/{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message))
    return dict(Counter(places).most_common())


@dataclass(slots=True)
class Report:
    """All that was measured, in the form of the JSON.

    Attributes:
        setting: options and versions.
        names: the closed sets.
        results: by workload.
        left_out: settings that were not measured, and why.
        synchronisations: of one step by line of code; none where they were not counted.
    """

    setting: dict[str, Any]
    names: list[Shape]
    results: list[Result] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    synchronisations: dict[str, int] | None = None

    def lines(self) -> Iterator[str]:
        """A short table."""
        yield ", ".join(f"{key} {value}" for key, value in self.setting.items())
        for number, shape in enumerate(self.names):
            yield (
                f"names {number}: {shape.names:,} of {shape.tokens:.1f} ± {shape.spread:.1f} tokens, {shape.nodes:.1f} nodes a name, "
                f"{shape.beginnings:,} beginnings, {shape.single:.0%} of the steps without alternative"
            )
        if self.synchronisations is not None:
            where = ", ".join(f"{count} × {place}" for place, count in self.synchronisations.items())
            yield f"one step waits for the GPU {sum(self.synchronisations.values())} times: {where or 'nowhere'}"
        if self.left_out:
            yield f"not measured: {'; '.join(f'{label} ({reason})' for label, reason in self.left_out.items())}"
        again = [f"{each.prompt} × {each.mentions} in {each.batches} batches" for each in self.results if each.batches > 1]
        if again:
            yield f"too large for the memory, run in parts: {'; '.join(again)}"
        yield (
            "names prompt          beam mentions     P     T decoded passes  mentions/s      (min to max)     limit of limit of peak  read  peak GB"
            "   prompts decoding constraint rest"
        )
        yield from map(_line, self.results)


def _line(result: Result) -> str:
    rates = " to ".join(f"{result.mentions / result.seconds[which]:.1f}" for which in ("max", "min"))
    total = sum(result.where.values())
    where = [f"{seconds / total:.0%}" for seconds in result.where.values()]
    peak = "–" if result.peak_gb is None else f"{result.peak_gb:.1f}"
    return (
        f"{result.names:5} {result.prompt:15} {result.beams:4} {result.mentions:8} {result.prompt_tokens:5.0f} {result.name_tokens:5.1f} {result.decoded:7.1f} "
        f"{result.passes:6} {result.mentions_per_s:11.1f} {rates:>17} {result.limit:9.0f} {result.of_limit:8.1%} {result.of_peak:7.1%} "
        f"{result.of_bandwidth:5.0%} {peak:>8}   {where[0]:>7} {where[1]:>8} {where[2]:>10} {where[3]:>4}"
    )


def workloads(args: argparse.Namespace, vocabulary: int) -> list[Workload]:
    """All sizes, batch by batch; where a document has more mentions than some batches, it stands for all of these."""
    made = []
    for batch in args.batch:
        made += [separate(size, batch, vocabulary) for size in args.prompt_tokens]
        made += [documents(mentions, batch, vocabulary, args.document_tokens, args.own_tokens) for mentions in args.mentions]
    return list({(each.label, len(each.prompts)): each for each in made}.values())


@dataclass(frozen=True, slots=True)
class Limit:
    """What the operations alone would allow: computed, not measured; the keys of the JSON of --limits.

    Attributes:
        prompt: the workload.
        beams: width.
        prompt_tokens, name_tokens: P and T.
        mentions_per_s: at a large batch.
    """

    prompt: str
    beams: int
    prompt_tokens: float
    name_tokens: float
    mentions_per_s: float


def limits(args: argparse.Namespace, lengths: Sequence[float]) -> list[Limit]:
    """For names of each length, each kind of prompt and each width; whole documents differ from batch to batch in nothing but their number."""
    cost = Cost.of(LlamaConfig(**CONFIGS[args.config]), DTYPES[args.dtype].itemsize)
    kinds = {each.label: each.tokens / len(each.prompts) for each in workloads(args, CONFIGS[args.config]["vocab_size"])}
    return [
        Limit(label, beams, tokens, length, cost.limit(args.peak_tflops * 1e12, tokens, beams, length))
        for length in lengths
        for label, tokens in kinds.items()
        for beams in args.beams
    ]


def print_limits(args: argparse.Namespace) -> None:
    lengths = args.name_tokens if args.trie is None else [Shape.of(TokenTrie.load(folder)).tokens for folder in args.trie]
    found = limits(args, lengths)
    if args.json:
        print(json.dumps([asdict(each) for each in found]))
        return
    print(f"computed, not measured: {args.config}, {args.peak_tflops:g} TFLOP/s\nprompt          beam     P     T  mentions/s")
    for each in found:
        print(f"{each.prompt:15} {each.beams:4} {each.prompt_tokens:5.0f} {each.name_tokens:5.1f} {each.mentions_per_s:11.1f}")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=CONFIGS, default="llama3-8b")
    parser.add_argument("--dtype", choices=DTYPES, help="default: bf16 on a GPU, fp32 elsewhere")
    parser.add_argument("--trie", type=Path, nargs="+", help="folders that TokenTrie.save wrote, instead of random names")
    parser.add_argument("--names", type=int, default=100_000, help="random ones")
    parser.add_argument("--name-tokens", type=float, nargs="+", default=[8, 13], help="mean lengths of random names, end token included")
    parser.add_argument("--spread", type=float, default=0.0, help="standard deviation of these lengths; disease names have 0.45 of the mean")
    parser.add_argument("--sharpen", type=float, default=1.0, help="factor of the head's weights; 1 leaves them as they are")
    parser.add_argument("--prompt-tokens", type=int, nargs="*", default=[60, 150])
    parser.add_argument("--mentions", type=int, nargs="*", default=[10, 46], help="of a document")
    parser.add_argument("--document-tokens", type=int, default=340, help="that the mentions of a document share")
    parser.add_argument("--own-tokens", type=int, default=19, help="of each of these mentions")
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512, 32, 1], help="mentions run at once, in the order in which they are")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing new after so many; what is left out is said")
    parser.add_argument("--peak-tflops", type=float, default=989, help="of the device, dense, in the floating type; default H100 or H200 in bf16")
    parser.add_argument("--bandwidth", type=float, default=4.8, help="TB/s of the device's memory; default H200")
    parser.add_argument("--compile", action="store_true", help="compile norms and feed-forward blocks")
    parser.add_argument("--sync-check", action="store_true", help="count where one step of the first workload makes the host wait for the GPU")
    parser.add_argument("--limits", action="store_true", help="print the limits of all settings, from sizes alone, and measure nothing")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--json", action="store_true", help="JSON on standard output; the table goes to standard error")
    args = parser.parse_args(given)
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.device == "cpu" and not args.limits and (args.config != "tiny" or args.sync_check):
        parser.error(f"{'--sync-check' if args.sync_check else args.config} needs a GPU, and torch finds none here; --config tiny runs without")
    if args.repeats < 3:
        parser.error(f"a median needs --repeats of at least 3, got {args.repeats}")
    args.dtype = args.dtype or ("bf16" if args.device == "cuda" else "fp32")
    return args


def closed_sets(args: argparse.Namespace, vocabulary: int) -> list[TokenTrie]:
    if args.trie:
        return [TokenTrie.load(folder) for folder in args.trie]
    return [random_names(args.names, mean, args.spread, vocabulary) for mean in args.name_tokens]


def setting(args: argparse.Namespace) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    chosen = {name: getattr(args, name) for name in ("config", "dtype", "sharpen", "compile", "repeats", "peak_tflops", "bandwidth")}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}
    return {"device": device, **versions, **chosen}


def measure(report: Report, model: Any, tries: Sequence[TokenTrie], todo: Sequence[Workload], args: argparse.Namespace, deadline: float) -> None:
    """Run all settings into the report, and write it down after each."""
    machine = Machine(args.peak_tflops * 1e12, args.bandwidth * 1e12)
    for number, workload, beams in itertools.product(range(len(tries)), todo, args.beams):
        label = f"{workload.label}, beam {beams}, {len(workload.prompts)} mentions, names {number}"
        if time.monotonic() > deadline:
            report.left_out[label] = "out of time"
            continue
        try:
            result = measured(model, tries[number], number, workload, beams, args.repeats, machine, deadline)
        except SearchError as error:
            if not isinstance(error.__cause__, torch.OutOfMemoryError):
                raise
            # The engine halves its batches; this was a single prompt.
            report.left_out[label] = "out of memory"
            continue
        if result is None:
            report.left_out[label] = "out of time"
            continue
        report.results.append(result)
        print(f"{label}: {result.mentions_per_s:.1f} mentions/s", file=sys.stderr)
        write(report, args.out)
    write(report, args.out)


def write(report: Report, path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")


def main(given: Sequence[str] | None = None) -> None:
    args = arguments(given)
    if args.limits:
        print_limits(args)
        return
    deadline = time.monotonic() + 60 * args.minutes
    vocabulary = CONFIGS[args.config]["vocab_size"]
    tries = closed_sets(args, vocabulary)
    report = Report(setting(args), [Shape.of(trie) for trie in tries])
    # Now, so that a folder that is not there is no surprise at the end.
    write(report, args.out)
    model = make_model(args.config, DTYPES[args.dtype], args.device, args.sharpen)
    todo = workloads(args, vocabulary)
    if args.compile:
        compile_blocks(model)
        # By the first run of a setting it is decided whether there is time for it, and compiling is no part of that.
        run_once(model, tries[0], todo[-1], args.beams[0])
    if args.sync_check:
        report.synchronisations = synchronisations(prepared_step(model, tries[0], todo[0], max(args.beams)), model.device)
    measure(report, model, tries, todo, args, deadline)
    print("\n".join(report.lines()), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
