"""Constrained decoding against what there was: mentions a second of every way, interleaved in one run.

    python benchmarks/decode.py --json                        # with what lies in .cache/decode, see below; with nothing there the second model alone
    python benchmarks/decode.py --names mesh_disease.tsv doid.tsv hpo.tsv --smollm2 FOLDER --trained FOLDER [--models …] [--rounds 5] [--json] [--out FILE]

Files of names hold `code<TAB>name<TAB>P|S` lines; distinct names are the closed set.  Models:

    smollm2-135m     a folder of SmolLM2-135M-Instruct with its tokenizer; real weights
    llama-33m-v128k  33 million random weights (a seed), vocabulary 128,256, names and prompts in SmolLM2's tokens where its folder is there,
                     else in 8,192 tokens trained on the names
    trained          what `train_decode_model.py` printed, made in a quarter of an hour; its own names, tokenizer and queries

What is not given is looked for in `.cache/decode`, which git ignores, or in `--cache`: names/*.tsv (else the shipped DOID), smollm2/, and
trained/DIGEST/, which `train_decode_model.py --names … --out .cache/decode/trained` makes.  Models without a folder are left out, and that is said.

Ways, called arms: transformers' beam search of 5 with the published constraint (`published.py`), with our logits processor and
without any (as many steps as the first), the engine's beam of 5, exact top-1 and top-5, and the forward passes of the engine's
beam alone, recorded and run again (replay).  Each round takes the next batches of mentions and runs every arm on them; a ratio is
of mentions a second in one round, and median, minimum and maximum are over the rounds.  Prompts of the first two models are of
exactly --prompt-tokens tokens.

`--json` prints the ratios and, of the trained model, how often exact top-1 is certified and agrees with scoring every name; null where a model was
not run.  `--out` writes what else was measured, which also goes to standard error.  Where the arms contradict each other the exit status is 1.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from published import DictTrie, allowed_tokens, dict_trie
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, LogitsProcessorList
from transformers.generation.logits_process import PrefixConstrainedLogitsProcessor

from constrained.attention import KeyValues, Reading
from constrained.forest import forward
from constrained.logits_processor import TrieLogitsProcessor
from constrained.names import Names
from constrained.scope import trie_scope
from constrained.search import Found, beam_search, epsilon_of, exact_search, rank_concepts, score_entries
from constrained.trie import TokenTrie
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import encode_names
from syncabel.train.scratch import train_tokenizer

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "decode"
NUM_BEAMS = 5
MODELS = ("smollm2-135m", "llama-33m-v128k", "trained")
MENTIONS = {"smollm2-135m": 8, "llama-33m-v128k": 16, "trained": 64}  # a round
OWN_TOKENS = 8192  # of a tokenizer trained on the names, where none is given
CHECKED = 8  # mentions whose first answers are scored again, one plain forward pass each
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


Search = Callable[[Case, list[list[int]]], list[Found]]


def engine_beam5(case: Case, prompts: list[list[int]]) -> list[Found]:
    return beam_search(case.model, case.trie, prompts, num_beams=NUM_BEAMS)


def exact(k: int, max_expansions: int) -> Search:
    """The k most probable concepts, certified where the budget allows."""
    return lambda case, prompts: exact_search(case.model, case.trie, prompts, k=k, concept_of=case.concept_of, max_expansions=max_expansions)


def engine(search: Search, kept: list[Found]) -> Prepare:
    """What was found is kept."""

    def prepare(case: Case, prompts: list[list[int]], _: Work) -> Run:
        def run() -> list[Answers]:
            found = search(case, prompts)
            kept.extend(found)
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
        self._passes.append((ids, positions, keep, reading))

    def replay(self, model: Any) -> None:
        caches = self._caches()
        for ids, positions, keep, reading in self._passes:
            # Masks are made when a reading is first used, so it gets none from the pass that is recorded.
            forward(model, ids, positions, keep, replace(reading, cache=caches[id(reading.cache)], _masks={}))

    def _caches(self) -> dict[int, KeyValues]:
        """A cache for each that was recorded, with all the room it ever had: those shrink and grow during a search."""
        room: dict[int, tuple[int, int]] = {}
        for *_, reading in self._passes:
            rows, slots = room.get(id(reading.cache), (0, 0))
            room[id(reading.cache)] = max(rows, reading.first + reading.rows), max(slots, reading.slots)
        caches = {each: KeyValues() for each in room}
        for each, cache in caches.items():
            cache.reserve(*room[each])
        return caches


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
        found: by each search of the engine, by mention.
        error: largest of a score, in nats, see `largest_error`.
        agreement, scored: see `exact_agreement`, and the mentions it is over; of the trained model alone.
    """

    case: Case
    clock: Callable[[], float]
    work: dict[str, list[Work]] = field(default_factory=dict)
    answers: dict[str, list[Answers]] = field(default_factory=dict)
    found: dict[str, list[Found]] = field(default_factory=lambda: {"engine_beam5": [], "exact1": [], "exact5": []})
    error: float = 0.0
    agreement: float | None = None
    scored: int = 0


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
            "engine_beam5": engine(engine_beam5, result.found["engine_beam5"]),
            "replay": replay,
            "exact1": engine(exact(1, max_expansions), result.found["exact1"]),
            "exact5": engine(exact(5, max_expansions), result.found["exact5"]),
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
    for prepare in (transformers_dict, transformers_processor, engine(engine_beam5, []), engine(exact(1, 8), [])):
        prepare(case, prompts, Work())()


# --- cross-checks -----------------------------------------------------------------------------------------------------


def invalid_names(result: Result) -> int:
    """Answers, of all arms, that are no name of the set."""
    n_entries = result.case.trie.n_entries
    return sum(not 0 <= entry < n_entries for arm in result.answers.values() for answers in arm for entry, _ in answers)


def largest_error(result: Result) -> float:
    """Between scores and teacher-forced ones, of the first answers of all arms after some of the mentions; in nats."""
    errors = [0.0]
    for number in spaced(result, CHECKED):
        first = [arm[number][0] for arm in result.answers.values() if arm[number]]
        entries = sorted({entry for entry, _ in first})
        true = dict(zip(entries, score_entries(result.case.model, result.case.prompts[number], paths_of(result.case, entries)), strict=True))
        errors += [abs(score - true[entry]) for entry, score in first]
    # Python's max overlooks what is no number.
    return float(np.max(errors))


def spaced(result: Result, count: int) -> list[int]:
    """Numbers of mentions, evenly over the rounds."""
    mentions = len(result.answers["engine_beam5"])
    return sorted({int(number) for number in np.linspace(0, mentions - 1, count)})


def paths_of(case: Case, entries: Iterable[int]) -> list[list[int]]:
    return [case.trie.path(entry).tolist() for entry in entries]


def exact_agreement(result: Result, queries: int, names: int, max_expansions: int) -> tuple[float | None, int]:
    """Share of queries whose first concept is that of scoring every name of a part of the set, and of how many: those certified within the budget.

    The part is what the arms found for these queries, which is what could be mistaken, and others at random.  Equal within 2 ε is the same.
    """
    case, asked = result.case, spaced(result, queries)
    prompts = [case.prompts[number] for number in asked]
    chosen = np.array(sorted(part_of(result, asked, names), key=lambda entry: len(case.trie.path(entry))))
    scope, paths = trie_scope(case.trie, candidates=chosen), paths_of(case, chosen)
    found = exact_search(case.model, case.trie, prompts, k=1, concept_of=case.concept_of, max_expansions=max_expansions, scopes=[scope] * len(prompts))
    first = [rank_concepts(each, case.concept_of)[0] for each in found]
    sure = [(one.concepts[0], prompt) for one, prompt in zip(first, prompts, strict=True) if one.certified]
    masses = [np.bincount(case.concept_of[chosen], weights=np.exp(score_after(case.model, prompt, paths))) for _, prompt in sure]
    margin = np.exp(-2 * epsilon_of(case.model))
    right = [bool(mass[concept] >= mass.max() * margin) for (concept, _), mass in zip(sure, masses, strict=True)]
    return (statistics.mean(right) if right else None), len(right)


def part_of(result: Result, asked: Sequence[int], size: int) -> set[int]:
    chosen = {name.entry for found in result.found.values() for number in asked for name in found[number].names[:NUM_BEAMS]}
    others = np.random.default_rng(0).permutation(result.case.trie.n_entries)
    return chosen | set(others[: max(0, size - len(chosen))].tolist())


@torch.inference_mode()
def score_after(model: Any, prompt: list[int], paths: list[list[int]], size: int = 64) -> list[float]:
    """Teacher-forced log-probabilities, in transformers' own cache, so that the prompt is read once for each `size` paths and not for each path."""
    scores: list[float] = []
    for start in range(0, len(paths), size):
        part = paths[start : start + size]
        width = max(map(len, part))
        ids = torch.tensor([path + [0] * (width - len(path)) for path in part])
        real = torch.tensor([[True] * len(path) + [False] * (width - len(path)) for path in part])
        first = model(input_ids=torch.tensor([prompt]), use_cache=True)
        first.past_key_values.batch_repeat_interleave(len(part))
        rest = model(input_ids=ids[:, :-1], past_key_values=first.past_key_values, use_cache=True)
        logits = torch.cat([first.logits[:, -1:].expand(len(part), 1, -1), rest.logits], 1)
        log_probs = logits.gather(-1, ids[:, :, None]).squeeze(-1) - logits.logsumexp(-1)
        scores += log_probs.masked_fill(~real, 0.0).sum(-1, dtype=torch.float64).tolist()
    return scores


def contradictions(result: Result) -> Iterator[str]:
    """What the arms say that cannot be true together."""
    epsilon = epsilon_of(result.case.model)
    if count := invalid_names(result):
        yield f"{count} answers are no name of the set"
    # Written so that it holds for what is no number.
    if not result.error <= epsilon:
        yield f"a score is {result.error:.1e} nats off, more than {epsilon:.1e}"
    if result.agreement is not None and result.agreement < 1:
        yield f"exact top-1 agrees with scoring every name on {result.agreement:.1%} of the queries alone"
    for number, (beam, one, five) in enumerate(zip(*(result.found[arm] for arm in ("engine_beam5", "exact1", "exact5")), strict=True)):
        yield from (f"mention {number}: {what}" for what in disagreements(beam, one, five, result.case.concept_of, 2 * epsilon))


def disagreements(beam: Found, one: Found, five: Found, concept_of: NDArray[np.int64], margin: float) -> Iterator[str]:
    """Of the searches on one mention."""
    best, first, other = (rank_concepts(found, concept_of)[0] for found in (beam, one, five))
    if first.certified and best.concepts != first.concepts and not best.log_mass <= first.log_mass + margin:
        yield f"beam 5 found a better concept than the certified one, by {best.log_mass - first.log_mass:.1e} nats"
    known = [each.log_mass for each in rank_concepts(one, concept_of) if each.concepts == best.concepts]
    bound = float(np.logaddexp.reduce([one.log_open, *known]))
    if not best.log_mass <= bound + margin:
        yield f"beam 5's best concept is above the bound of exact top-1, by {best.log_mass - bound:.1e} nats"
    if first.certified and other.certified and first.concepts != other.concepts:
        yield f"exact top-1 and top-5 are certain of different concepts, {first.concepts[0]} and {other.concepts[0]}"


# --- models, names, prompts -------------------------------------------------------------------------------------------


def smollm2(folder: Path, names: Sequence[Path], mentions: int, prompt_tokens: int) -> Case:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return real_names("smollm2-135m", model, tokenizer, names, mentions, prompt_tokens)


def llama_33m(folder: Path | None, names: Sequence[Path], mentions: int, prompt_tokens: int) -> Case:
    tokenizer = tokenizer_of(folder, names)
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


def tokenizer_of(folder: Path | None, names: Sequence[Path]) -> Any:
    if folder is not None:
        return AutoTokenizer.from_pretrained(folder)
    # The words of the prompts have to be written too.
    return train_tokenizer([*(f" {text}" for text in distinct_names(names)[0]), *NOTES], OWN_TOKENS)


def real_names(model_name: str, model: Any, tokenizer: Any, files: Sequence[Path], mentions: int, prompt_tokens: int) -> Case:
    texts, concept_of = distinct_names(files)
    paths = encode_names(texts, tokenizer)
    end = tokenizer.eos_token_id
    prompts = list(made_prompts(texts, tokenizer, mentions, prompt_tokens))
    return Case(model_name, model, array_trie(paths, end), dict_trie(paths), np.array(concept_of), prompts, end, ["all"] * mentions)


def distinct_names(files: Sequence[Path]) -> tuple[list[str], list[int]]:
    """Names and the number of the first concept that has each; of the shipped DOID where there are no files."""
    concepts: dict[tuple[str, str], int] = {}
    owner: dict[str, int] = {}
    for vocabulary, code, text in chain.from_iterable(map(rows_of, files)) if files else shipped_rows():
        owner.setdefault(text, concepts.setdefault((vocabulary, code), len(concepts)))
    return list(owner), list(owner.values())


def rows_of(path: Path) -> Iterator[tuple[str, str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise SystemExit(f"{path} is empty: give a file of code<TAB>name<TAB>P|S lines")
    for number, line in enumerate(lines, 1):
        if line.count("\t") != 2:
            raise SystemExit(f"{path}, line {number}: not code<TAB>name<TAB>P|S")
        code, text, _ = line.split("\t")
        yield path.stem, code, text


def shipped_rows() -> Iterator[tuple[str, str, str]]:
    return (("doid", concept.code, name.text) for concept in KnowledgeBase.load("doid").concepts() for name in concept.names)


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


def details(result: Result) -> dict[str, Any]:
    """All that was measured on one model, for `--out`."""
    case, mentions = result.case, len(result.answers["engine_beam5"])
    lengths = [found.names[0].length for found in result.found["engine_beam5"]]
    return {
        "names": case.trie.n_entries,
        "prompt_tokens": statistics.mean(map(len, case.prompts[:mentions])),
        "name_tokens": statistics.mean(lengths),
        "mentions": mentions,
        "arms": {name: arm_figures(result, name) for name in result.work},
        "ratios": ratios(result),
        "best_name_against_transformers": compared(result),
        "exact1": {part: proof(result, "exact1", part) for part in dict.fromkeys(case.parts)},
        "exact5": {part: proof(result, "exact5", part) for part in dict.fromkeys(case.parts)},
        "largest_error_nats": result.error,
        "exact_agreement": result.agreement,
        "exact_agreement_mentions": result.scored,
        "invalid_names": invalid_names(result),
        "contradictions": list(contradictions(result)),
    }


def arm_figures(result: Result, arm: str) -> dict[str, Any]:
    """Counts are a mention; shares are medians over the rounds."""
    works, mentions = result.work[arm], len(result.answers[arm])
    counts = {what: sum(getattr(work, what) for work in works) / mentions for what in ("passes", "rows", "tokens")}
    return {
        "mentions_per_s": spread([mentions / len(works) / work.seconds for work in works]),
        **counts,
        "model_share": statistics.median(work.model_s / work.seconds for work in works),
        "constraint_share": constraint_share(result, arm),
        "peak_mb": max(work.peak_mb for work in works) if Path("/proc/self/status").exists() else None,
    }


def proof(result: Result, arm: str, part: str) -> dict[str, float] | None:
    """How often the first concept of a part's mentions is proven, and the rows that were read for it."""
    found = [each for each, its in zip(result.found[arm], result.case.parts, strict=False) if its == part]
    rows = [each.expansions for each in found]
    share = certified_share(result.case, found)
    return {"n": len(found), "certified": share, "expansions_mean": statistics.mean(rows), "expansions_p95": float(np.percentile(rows, 95))} if found else None


def certified_share(case: Case, found: Sequence[Found]) -> float:
    return float(np.mean([rank_concepts(each, case.concept_of)[0].certified for each in found])) if found else 0.0


def compared(result: Result, margin: float = 1e-3) -> dict[str, int]:
    """Mentions by the engine's best name against that of transformers, beam 5 both."""
    pairs = list(zip(result.answers["engine_beam5"], result.answers["transformers_dict"], strict=True))
    gain = [mine[0][1] - theirs[0][1] for mine, theirs in pairs if mine and theirs]
    none = sum(not theirs for _, theirs in pairs)
    better, worse = sum(each > margin for each in gain), sum(each < -margin for each in gain)
    return {"better": better, "equal": len(gain) - better - worse, "worse": worse, "transformers_none": none}


def describe(name: str, figures: dict[str, Any]) -> Iterator[str]:
    """A table of `details`."""
    yield f"{name}: {figures['names']:,} names, P = {figures['prompt_tokens']:.0f}, T = {figures['name_tokens']:.1f}, {figures['mentions']} mentions"
    yield f"  {'':24}mentions/s    passes  rows  tokens a mention   in the model  constraint  peak MB"
    for arm, each in figures["arms"].items():
        counts = f"{each['passes']:8.2f} {each['rows']:5.1f} {each['tokens']:7.1f}"
        shares = f"{each['model_share']:21.1%} {each['constraint_share']:11.1%} {each['peak_mb'] or 0:8.0f}"
        yield f"  {arm:24}{each['mentions_per_s']['median']:10.2f}  {counts} {shares}"
    for label, value in figures["ratios"].items():
        yield f"  {label:42} {value['median']:6.2f} × (min {value['min']:.2f}, max {value['max']:.2f})"
    yield "  best name against transformers' beam: " + ", ".join(f"{what} {count}" for what, count in figures["best_name_against_transformers"].items())
    for arm in ("exact1", "exact5"):
        for part, proven in figures[arm].items():
            if proven is not None:
                share = f"{proven['certified']:.1%} of {proven['n']} certified"
                yield f"  {arm}, {part}: {share}, expansions {proven['expansions_mean']:.1f}, 95th percentile {proven['expansions_p95']:.0f}"
    yield f"  largest error of a score: {figures['largest_error_nats']:.1e} nats"


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """What `--json` prints: every key always, null for what was not run."""
    by_name = {result.case.name: result for result in results}
    own = by_name.get("trained")
    return {
        "models": {name: ratios(by_name[name]) if name in by_name else None for name in MODELS},
        "constraint_share": max(constraint_share(result, "engine_beam5") for result in results),
        # Of the trained model alone: the others are too unsure to be certified, and too large to score all names.
        "exact_agreement": own.agreement if own else None,
        "exact_agreement_mentions": own.scored if own else None,
        "certified_share": certified_share(own.case, own.found["exact1"]) if own else None,
        "invalid_names": sum(map(invalid_names, results)),
        "contradictions": sum(len(list(contradictions(result))) for result in results),
    }


def setting(args: argparse.Namespace) -> dict[str, Any]:
    """Machine and recipe."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), **versions}
    chosen = {
        name: getattr(args, name)
        for name in ("rounds", "mentions", "batch", "prompt_tokens", "max_expansions", "scored", "scored_names", "scored_expansions", "clock")
    }
    return {**machine, **chosen, "names": [path.name for path in args.names] or "shipped doid"}


def existing(text: str) -> Path:
    """Of an option that names a file or folder."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=existing, nargs="+", help="files of code<TAB>name<TAB>P|S")
    parser.add_argument("--smollm2", type=existing, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("--trained", type=existing, help="folder that train_decode_model.py made")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where these three are looked for when not given; default .cache/decode of the checkout")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all that can be run")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--mentions", type=positive, help=f"a round; default {', '.join(f'{name} {n}' for name, n in MENTIONS.items())}")
    parser.add_argument("--batch", type=positive, default=8)
    parser.add_argument("--prompt-tokens", type=positive, default=128)
    parser.add_argument("--max-expansions", type=positive, default=64, help="budget of exact search, a mention")
    parser.add_argument("--scored", type=positive, default=16, help="mentions for which every name of a part is scored")
    parser.add_argument("--scored-names", type=positive, default=2000, help="size of the part")
    parser.add_argument("--scored-expansions", type=positive, default=128, help="budget of exact search there; what it does not certify is not scored")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that is not quiet, with one thread")
    parser.add_argument("--out", type=Path, help="write all figures to this file, as JSON")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(given)
    args.names = args.names or sorted((args.cache / "names").glob("*.tsv"))
    args.smollm2 = args.smollm2 or next((path.parent for path in (args.cache / "smollm2").glob("config.json")), None)
    args.trained = args.trained or newest((args.cache / "trained").glob("*/report.json"))
    missing = {name: how for name, how in how_to_get(args.cache).items() if (args.trained if name == "trained" else args.smollm2) is None}
    for name in args.models or ():
        if name in missing:
            parser.error(f"{name} has no folder: {missing[name]}")
    args.left_out = {} if args.models else missing
    args.models = args.models or [name for name in MODELS if name not in missing]
    return args


def newest(files: Iterable[Path]) -> Path | None:
    return max(files, key=lambda path: path.stat().st_mtime).parent if (files := list(files)) else None


def how_to_get(cache: Path) -> dict[str, str]:
    return {
        "smollm2-135m": f"give --smollm2, or put SmolLM2-135M-Instruct (config.json, model.safetensors, tokenizer files) into {cache / 'smollm2'}",
        "trained": f"give --trained, or run python benchmarks/train_decode_model.py --names FILES --out {cache / 'trained'} (a quarter of an hour)",
    }


def load(name: str, args: argparse.Namespace) -> Case:
    mentions = args.rounds * (args.mentions or MENTIONS[name])
    if name == "trained":
        return trained(args.trained, mentions)
    make = smollm2 if name == "smollm2-135m" else llama_33m
    return make(args.smollm2, args.names, mentions, args.prompt_tokens)


def run_model(name: str, args: argparse.Namespace) -> Result:
    """All arms on one model, and the checks."""
    case = load(name, args)
    if len(case.prompts) < args.rounds:
        raise SystemExit(f"{name} has {len(case.prompts)} queries, fewer than --rounds {args.rounds}: make more, or ask for fewer rounds")
    result = run_case(case, args.rounds, args.batch, args.max_expansions, CLOCKS[args.clock])
    result.error = largest_error(result)
    if name == "trained":
        result.agreement, result.scored = exact_agreement(result, args.scored, args.scored_names, args.scored_expansions)
        size, asked, share = min(args.scored_names, case.trie.n_entries), len(spaced(result, args.scored)), result.agreement or 0.0
        print(
            f"{name}: exact top-1 agrees on {share:.1%} of {result.scored} mentions, certified of {asked}, with scoring each of {size:,} names", file=sys.stderr
        )
    return result


def main(given: Sequence[str] | None = None) -> None:
    args = arguments(given)
    for name, how in args.left_out.items():
        print(f"{name} is left out: {how}", file=sys.stderr)
    results: list[Result] = []
    report: dict[str, Any] = {"setting": setting(args), "models": {}}
    for name in args.models:
        results.append(run_model(name, args))
        report["models"][name] = details(results[-1])
        print("\n".join(describe(name, report["models"][name])), file=sys.stderr)
        if args.out is not None:
            args.out.write_text(json.dumps({**report, "summary": summary(results)}, indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(summary(results)))
    failed = [f"{result.case.name}: {what}" for result in results for what in contradictions(result)]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
