"""Constrained decoding against what there was: mentions a second of every way, interleaved in one run.

    python benchmarks/decode.py --names mesh_disease.tsv doid.tsv hpo.tsv --smollm2 FOLDER [--trained FOLDER] [--models …] [--rounds 5] [--json]

The files hold `code<TAB>name<TAB>P|S` lines; distinct names are the closed set.  Models:

    smollm2-135m     --smollm2: a folder of SmolLM2-135M-Instruct with its tokenizer; real weights
    llama-33m-v128k  33 million random weights (a seed), vocabulary 128,256, names and prompts in SmolLM2's tokens
    trained          --trained: what `train_decode_model.py` printed; its own names, tokenizer and queries

Ways, called arms: transformers' beam search of 5 with the published constraint (`published.py`), with our logits processor and
without any (as many steps as the first), the engine's beam of 5, exact top-1 and top-5, and the forward passes of the engine's
beam alone, recorded and run again (replay).  Each round takes the next batches of mentions and runs every arm on them; a ratio is
of mentions a second in one round, and median, minimum and maximum are over the rounds.  Prompts of the first two models are of
exactly --prompt-tokens tokens.  `--json` prints the ratios alone; what else was measured goes to standard error.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from published import DictTrie, allowed_tokens, dict_trie
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, LogitsProcessorList
from transformers.generation.logits_process import PrefixConstrainedLogitsProcessor

from constrained.attention import Reading
from constrained.forest import forward
from constrained.logits_processor import TrieLogitsProcessor
from constrained.names import Names
from constrained.scope import trie_scope
from constrained.search import Found, beam_search, exact_search, rank_concepts, score_entries
from constrained.trie import TokenTrie
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import encode_names

NUM_BEAMS = 5
MODELS = ("smollm2-135m", "llama-33m-v128k", "trained")
MENTIONS = {"smollm2-135m": 8, "llama-33m-v128k": 16, "trained": 64}  # a round
LONGEST = 256  # new tokens; more than any name has, because transformers returns a name cut off as an answer
DEAD = -1e8  # transformers scores what is no answer lower
RATIOS = (
    ("engine_beam5/transformers_dict", "engine_beam5", "transformers_dict"),
    ("exact1/transformers_dict", "exact1", "transformers_dict"),
    ("exact5/transformers_dict", "exact5", "transformers_dict"),
    ("transformers_processor/transformers_dict", "transformers_processor", "transformers_dict"),
    ("transformers_free/transformers_dict", "transformers_free", "transformers_dict"),
    ("engine_beam5/transformers_processor", "engine_beam5", "transformers_processor"),
    ("engine_beam5/replay", "engine_beam5", "replay"),
    ("exact1/beam5", "exact1", "engine_beam5"),
)

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NOTES = ("The history includes", "The family history is remarkable for", "There was no sign of", "He was treated for", "The referral mentions")

Answers = list[tuple[int, float]]  # entry, −1 where it is no name, and log-probability; best first


@dataclass(frozen=True, slots=True)
class Case:
    """A model, a closed set and mentions.

    Attributes:
        name: of the model.
        root: the same names as nested dictionaries.
        concept_of: Shape: (entries,).
        prompts: token ids.
        end: ends a name, and pads.
        parts: of the prompts, which are reported apart: training has seen the concept or not.
    """

    name: str
    model: Any
    trie: TokenTrie
    root: DictTrie
    concept_of: NDArray[np.int64]
    prompts: list[list[int]]
    end: int
    parts: list[str]


@dataclass(slots=True)
class Work:
    """What an arm did in one round.

    Attributes:
        passes: forward passes.
        rows: rows of logits that these gave.
        tokens: read by them, padding included.
        seconds, model_s, constraint_s: in all, in forward passes, in finding what may follow.
        peak_mb: most memory of the process, the model's included.
        clock: seconds by the wall, or of the processor.
    """

    passes: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    model_s: float = 0.0
    constraint_s: float = 0.0
    peak_mb: float = 0.0
    clock: Callable[[], float] = time.perf_counter


Run = Callable[[], list[Answers]]  # what is timed
Prepare = Callable[[Case, list[list[int]], Work], Run]  # an arm


# --- transformers -----------------------------------------------------------------------------------------------------


class Timed:
    """A logits processor whose seconds are counted."""

    def __init__(self, processor: Callable[[Any, Any], Any], work: Work) -> None:
        self._processor, self._work = processor, work

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        with constraint_of(self._work):
            masked: torch.Tensor = self._processor(input_ids, scores)
            return masked


@contextmanager
def constraint_of(work: Work) -> Iterator[None]:
    start = work.clock()
    try:
        yield
    finally:
        work.constraint_s += work.clock() - start


def transformers_dict(case: Case, prompts: list[list[int]], work: Work) -> Run:
    # What `generate(prefix_allowed_tokens_fn=allowed)` makes of it.
    allowed = allowed_tokens([case.root] * len(prompts), max(map(len, prompts)), case.end)
    return lambda: transformers_beam(case, prompts, Timed(PrefixConstrainedLogitsProcessor(allowed, NUM_BEAMS), work))


def transformers_processor(case: Case, prompts: list[list[int]], work: Work) -> Run:
    return lambda: transformers_beam(case, prompts, Timed(TrieLogitsProcessor(case.trie), work))


def transformers_beam(case: Case, prompts: list[list[int]], processor: Any) -> list[Answers]:
    """The settings are those under which its beam search is right on a closed set."""
    out = generate(case, prompts, logits_processor=LogitsProcessorList([processor]), early_stopping=False, length_penalty=0.0, max_new_tokens=LONGEST)
    width = max(map(len, prompts))
    found = [(entry_written(case, ids[width:]), score) for ids, score in zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True)]
    return [[each for each in found[i : i + NUM_BEAMS] if each[1] > DEAD] for i in range(0, len(found), NUM_BEAMS)]


def entry_written(case: Case, ids: list[int]) -> int:
    return case.trie.walk(ids[: ids.index(case.end) + 1]) if case.end in ids else -1


def transformers_free(steps: int) -> Prepare:
    """No constraint and a given number of steps: the difference is what the constraint costs."""

    def prepare(case: Case, prompts: list[list[int]], _: Work) -> Run:
        def run() -> list[Answers]:
            generate(case, prompts, early_stopping=False, length_penalty=0.0, max_new_tokens=steps, min_new_tokens=steps)
            return [[] for _ in prompts]

        return run

    return prepare


def generate(case: Case, prompts: list[list[int]], **given: Any) -> Any:
    width = max(map(len, prompts))
    return case.model.generate(
        input_ids=torch.tensor([[case.end] * (width - len(prompt)) + prompt for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        num_beams=NUM_BEAMS,
        num_return_sequences=NUM_BEAMS,
        use_cache=True,  # a folder that was just trained may say otherwise
        do_sample=False,
        eos_token_id=case.end,
        pad_token_id=case.end,
        return_dict_in_generate=True,
        output_scores=True,
        **given,
    )


# --- the engine -------------------------------------------------------------------------------------------------------


def engine_beam5(case: Case, prompts: list[list[int]], _: Work) -> Run:
    return lambda: [answers_of(found) for found in beam_search(case.model, case.trie, prompts, num_beams=NUM_BEAMS)]


def exact(k: int, max_expansions: int, results: list[Found] | None = None) -> Prepare:
    """The k most probable concepts, certified where the budget allows; what was found is kept in `results`."""

    def prepare(case: Case, prompts: list[list[int]], _: Work) -> Run:
        def run() -> list[Answers]:
            found = exact_search(case.model, case.trie, prompts, k=k, concept_of=case.concept_of, max_expansions=max_expansions)
            if results is not None:
                results.extend(found)
            return [answers_of(each) for each in found]

        return run

    return prepare


def answers_of(found: Found) -> Answers:
    return [(each.entry, each.log_prob) for each in found.names[:NUM_BEAMS]]


class Recorder:
    """Every forward pass of a search, to be run again."""

    def __init__(self) -> None:
        self._passes: list[tuple[Any, ...]] = []

    def passed(self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, reading: Reading) -> None:
        # Masks are made when a reading is first used, so it gets none from the pass that is recorded.
        self._passes.append((ids, positions, keep, replace(reading, _masks={})))

    def replay(self, model: Any) -> None:
        for each in self._passes:
            forward(model, *each)


def replay(case: Case, prompts: list[list[int]], _: Work) -> Run:
    """The forward passes of the engine's beam and nothing else: as fast as it could be."""
    recorder = Recorder()
    beam_search(case.model, case.trie, prompts, num_beams=NUM_BEAMS, trace=recorder)

    def run() -> list[Answers]:
        recorder.replay(case.model)
        return [[] for _ in prompts]

    return run


# --- measuring --------------------------------------------------------------------------------------------------------


def measured(prepare: Prepare, case: Case, batches: Sequence[list[list[int]]], work: Work) -> list[Answers]:
    """Run an arm on batches, one after the other, and add up what it did."""
    answers: list[Answers] = []
    for prompts in batches:
        run = prepare(case, prompts, work)
        forget_peak()
        with watched(case.model, work):
            start = work.clock()
            answers += run()
            work.seconds += work.clock() - start
        work.peak_mb = max(work.peak_mb, peak_mb())
    return answers


@contextmanager
def watched(model: Any, work: Work) -> Iterator[None]:
    """Count forward passes and the seconds in them, and those the engine spends on what may follow."""
    began = [0.0]

    def before(_module: Any, _arguments: Any) -> None:
        began[0] = work.clock()

    def after(_module: Any, _arguments: Any, given: dict[str, Any], output: Any) -> None:
        work.model_s += work.clock() - began[0]
        work.passes += 1
        work.tokens += given["input_ids"].numel()
        work.rows += output.logits.shape[0] * output.logits.shape[1]

    def timed(method: Any) -> Any:
        def run(*arguments: Any) -> Any:
            with constraint_of(work):
                return method(*arguments)

        return run

    hooks = [model.register_forward_pre_hook(before), model.register_forward_hook(after, with_kwargs=True)]
    methods = {name: getattr(Names, name) for name in ("edges", "forced")}
    for name, method in methods.items():
        setattr(Names, name, timed(method))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, method in methods.items():
            setattr(Names, name, method)


def forget_peak() -> None:
    """Linux only; elsewhere the peak is that of the process so far."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@dataclass(slots=True)
class Result:
    """What all arms did on one model.

    Attributes:
        work: of each arm, by round.
        answers: of each arm, by mention.
        exact: what exact top-1 found, by mention.
    """

    case: Case
    clock: Callable[[], float]
    work: dict[str, list[Work]] = field(default_factory=dict)
    answers: dict[str, list[Answers]] = field(default_factory=dict)
    exact: list[Found] = field(default_factory=list)


def run_case(case: Case, rounds: int, batch: int, max_expansions: int, clock: Callable[[], float]) -> Result:
    result = Result(case, clock)
    each = len(case.prompts) // rounds
    warm_up(case)
    for number in range(rounds):
        prompts = case.prompts[number * each : (number + 1) * each]
        batches = [prompts[i : i + batch] for i in range(0, each, batch)]
        arms: dict[str, Prepare] = {
            "transformers_dict": transformers_dict,
            "transformers_processor": transformers_processor,
            "engine_beam5": engine_beam5,
            "replay": replay,
            "exact1": exact(1, max_expansions, result.exact),
            "exact5": exact(5, max_expansions),
        }
        # What stands first in a round differs, so that no arm has always the cooler machine.
        order = list(arms)[number % len(arms) :] + list(arms)[: number % len(arms)]
        for name in order:
            note(result, name, arms[name], batches)
        steps = round(result.work["transformers_dict"][-1].passes / len(batches))
        note(result, "transformers_free", transformers_free(steps), batches)
        print(f"{case.name}: round {number + 1} of {rounds}", file=sys.stderr)
    return result


def note(result: Result, name: str, prepare: Prepare, batches: Sequence[list[list[int]]]) -> None:
    work = Work(clock=result.clock)
    result.answers.setdefault(name, []).extend(measured(prepare, result.case, batches, work))
    result.work.setdefault(name, []).append(work)
    print(f"  {name:24}{work.seconds:8.2f} s, {work.passes} passes", file=sys.stderr)


def warm_up(case: Case) -> None:
    prompts = [prompt[-8:] for prompt in case.prompts[:2]]
    for prepare in (transformers_dict, transformers_processor, engine_beam5, exact(1, 8)):
        prepare(case, prompts, Work())()


# --- cross-checks -----------------------------------------------------------------------------------------------------


def invalid_names(result: Result) -> int:
    """Answers, of all arms, that are no name of the set."""
    n_entries = result.case.trie.n_entries
    return sum(not 0 <= entry < n_entries for arm in result.answers.values() for answers in arm for entry, _ in answers)


def largest_error(result: Result, mentions: int) -> float:
    """Between scores and teacher-forced ones, of the first answers of all arms after the first mentions; in nats."""
    errors = [0.0]
    for number, prompt in enumerate(result.case.prompts[:mentions]):
        first = [arm[number][0] for arm in result.answers.values() if arm[number]]
        true = score_entries(result.case.model, prompt, [result.case.trie.path(entry).tolist() for entry, _ in first])
        errors += [abs(score - each) for (_, score), each in zip(first, true, strict=True)]
    return max(errors)


def exact_agreement(case: Case, queries: int, names: int) -> float:
    """Share of queries whose first concept is that of scoring every name of a part of the set; prompts are cut to their last tokens."""
    rng = np.random.default_rng(0)
    prompts = [prompt[-24:] for prompt in case.prompts[:queries]]
    chosen = rng.choice(case.trie.n_entries, min(names, case.trie.n_entries), replace=False)
    scope, paths = trie_scope(case.trie, candidates=chosen), [case.trie.path(entry).tolist() for entry in chosen]
    found = exact_search(case.model, case.trie, prompts, k=1, concept_of=case.concept_of, max_expansions=None, scopes=[scope] * len(prompts))
    masses = [np.bincount(case.concept_of[chosen], weights=np.exp(score_entries(case.model, prompt, paths))) for prompt in prompts]
    return statistics.mean(rank_concepts(each, case.concept_of)[0].concepts == (mass.argmax(),) for each, mass in zip(found, masses, strict=True))


# --- models, names, prompts -------------------------------------------------------------------------------------------


def smollm2(folder: Path, names: Sequence[Path], mentions: int, prompt_tokens: int) -> Case:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return real_names("smollm2-135m", model, tokenizer, names, mentions, prompt_tokens)


def llama_33m(folder: Path, names: Sequence[Path], mentions: int, prompt_tokens: int) -> Case:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=224,
        intermediate_size=608,
        num_hidden_layers=8,
        num_attention_heads=7,
        num_key_value_heads=7,
        max_position_embeddings=1024,
        # Wide enough that some tokens are much likelier than others, as in a trained model.
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return real_names("llama-33m-v128k", LlamaForCausalLM(config).eval(), tokenizer, names, mentions, prompt_tokens)


def real_names(model_name: str, model: Any, tokenizer: Any, files: Sequence[Path], mentions: int, prompt_tokens: int) -> Case:
    texts, concept_of = distinct_names(files)
    paths = encode_names(texts, tokenizer)
    end = tokenizer.eos_token_id
    prompts = list(made_prompts(texts, tokenizer, mentions, prompt_tokens))
    return Case(model_name, model, array_trie(paths, end), dict_trie(paths), np.array(concept_of), prompts, end, ["all"] * mentions)


def distinct_names(files: Sequence[Path]) -> tuple[list[str], list[int]]:
    """Names and the number of the first concept that has each."""
    concepts: dict[tuple[str, str], int] = {}
    owner: dict[str, int] = {}
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            code, text, _ = line.split("\t")
            owner.setdefault(text, concepts.setdefault((path.stem, code), len(concepts)))
    return list(owner), list(owner.values())


def array_trie(paths: list[list[int]], end: int) -> TokenTrie:
    offsets = np.concatenate([[0], np.cumsum([len(path) for path in paths])])
    tokens = np.fromiter(chain.from_iterable(paths), np.int32, int(offsets[-1]))
    return TokenTrie.build(tokens, offsets, np.ones((len(paths), 1), np.uint64), end, 1)


def made_prompts(names: Sequence[str], tokenizer: Any, count: int, size: int) -> Iterator[list[int]]:
    """A note that names other diseases, as many as fill the prompt, and then a question about one."""
    rng = random.Random(0)
    for _ in range(count):
        mention = rng.choice(names)
        asked = tokenizer.encode(f" The patient was admitted with [{mention}] two days ago.\n[{mention}] is", add_special_tokens=False)
        note = " ".join(f"{rng.choice(NOTES)} {name}." for name in rng.choices(names, k=40))
        before = tokenizer.encode(note, add_special_tokens=False)
        yield [*before[: max(0, size - len(asked))], *asked][-size:]


def trained(folder: Path, mentions: int) -> Case:
    """See `train_decode_model.py`."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    lexicon = Lexicon.load(folder / "model" / "lexicon")
    trie = lexicon.trie
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        queries = [json.loads(line) for line in lines][:mentions]
    prompts, parts = [query["ids"] for query in queries], ["seen" if query["seen"] else "unseen" for query in queries]
    root = dict_trie(trie.path(entry).tolist() for entry in range(trie.n_entries))
    return Case("trained", model, trie, root, np.asarray(lexicon.entry_code, dtype=np.int64), prompts, trie.end_token, parts)


# --- report -----------------------------------------------------------------------------------------------------------


def ratios(result: Result) -> dict[str, dict[str, float]]:
    return {label: spread([b.seconds / a.seconds for a, b in zip(result.work[one], result.work[other], strict=True)]) for label, one, other in RATIOS}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def constraint_share(result: Result, arm: str) -> float:
    return statistics.median(work.constraint_s / work.seconds for work in result.work[arm])


def describe(result: Result, batch: int) -> Iterator[str]:
    case, mentions = result.case, len(result.answers["engine_beam5"])
    first = [answers[0][0] for answers in result.answers["engine_beam5"]]
    length = statistics.mean(len(case.trie.path(entry)) for entry in first)
    widths = [len(prompt) for prompt in case.prompts]
    yield f"{case.name}: {case.trie.n_entries:,} names, P = {statistics.mean(widths):.0f}, T = {length:.1f}, batch {batch}, {mentions} mentions"
    yield f"  {'':24}mentions/s    passes  rows  tokens a mention   in the model  constraint  peak MB"
    for name, works in result.work.items():
        speed = statistics.median(mentions / len(works) / work.seconds for work in works)
        per = [sum(getattr(work, what) for work in works) / mentions for what in ("passes", "rows", "tokens")]
        model = statistics.median(work.model_s / work.seconds for work in works)
        peak = max(work.peak_mb for work in works)
        yield f"  {name:24}{speed:10.2f}  {per[0]:8.2f} {per[1]:5.1f} {per[2]:7.1f} {model:21.1%} {constraint_share(result, name):11.1%} {peak:8.0f}"
    for label, value in ratios(result).items():
        yield f"  {label:42} {value['median']:6.2f} × (min {value['min']:.2f}, max {value['max']:.2f})"
    yield f"  best name against transformers' beam: {compared(result)}"
    yield from (f"  exact top-1, {part}: {proof(result, part)}" for part in dict.fromkeys(case.parts))


def proof(result: Result, part: str) -> str:
    sure = [ok for ok, each in zip(certified(result), result.case.parts, strict=False) if each == part]
    rows = [found.expansions for found, each in zip(result.exact, result.case.parts, strict=False) if each == part]
    return f"{statistics.mean(sure):.1%} of {len(sure)} certified, 95th percentile of expansions {np.percentile(rows, 95):.0f}" if rows else "none"


def compared(result: Result, margin: float = 1e-3) -> str:
    pairs = list(zip(result.answers["engine_beam5"], result.answers["transformers_dict"], strict=True))
    gain = [mine[0][1] - theirs[0][1] for mine, theirs in pairs if mine and theirs]
    return f"better {sum(each > margin for each in gain)}, equal {sum(abs(each) <= margin for each in gain)}, worse {sum(each < -margin for each in gain)}"


def certified(result: Result) -> list[bool]:
    """Whether the first concept of each mention is proven."""
    return [rank_concepts(found, result.case.concept_of)[0].certified for found in result.exact]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, nargs="+", required=True, help="files of code<TAB>name<TAB>P|S")
    parser.add_argument("--smollm2", type=Path, help="folder of SmolLM2-135M-Instruct, needed by the first two models")
    parser.add_argument("--trained", type=Path, help="folder that train_decode_model.py made")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all whose folder is given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mentions", type=int, help=f"a round; default {', '.join(f'{name} {n}' for name, n in MENTIONS.items())}")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--max-expansions", type=int, default=128, help="budget of exact search, a mention")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that is not quiet, with one thread")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.models = args.models or [name for name in MODELS if (args.trained if name == "trained" else args.smollm2)]
    for name in args.models:
        if (args.trained if name == "trained" else args.smollm2) is None:
            parser.error(f"{name} needs {'--trained' if name == 'trained' else '--smollm2'} FOLDER")
    return args


def load(name: str, args: argparse.Namespace) -> Case:
    mentions = args.rounds * (args.mentions or MENTIONS[name])
    if name == "trained":
        return trained(args.trained, mentions)
    make = smollm2 if name == "smollm2-135m" else llama_33m
    return make(args.smollm2, args.names, mentions, args.prompt_tokens)


def main() -> None:
    args = arguments()
    results = []
    for name in args.models:
        case = load(name, args)
        result = run_case(case, args.rounds, args.batch, args.max_expansions, CLOCKS[args.clock])
        print("\n".join(describe(result, args.batch)), file=sys.stderr)
        print(f"  largest error of a score: {largest_error(result, 4):.1e} nats", file=sys.stderr)
        results.append(result)
    last = results[-1]
    report = {
        "models": {result.case.name: ratios(result) for result in results},
        "constraint_share": max(constraint_share(result, "engine_beam5") for result in results),
        # Of the trained model where there is one: others are too unsure to be certified, and too large to score all names.
        "exact_agreement": exact_agreement(last.case, 8, 2000) if last.case.name == "trained" else None,
        "certified_share": statistics.mean(certified(last)),
        "invalid_names": sum(map(invalid_names, results)),
    }
    if args.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
