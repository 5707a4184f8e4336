"""How far the engine's log-probabilities are from those of plain forward passes, by floating type: what ε has to cover.

    python benchmarks/precision.py --model FOLDER [--names mesh_disease.tsv …] [--mentions 16] [--json]     # SmolLM2-135M-Instruct, for one
    python benchmarks/precision.py --trained FOLDER [--mentions 16] [--json]                                # what train_decode_model.py printed

A beam of 5 finds names after prompts of mixed lengths, all in one batch and one by one; each name is scored again by teacher forcing, alone
with its prompt.  Printed are the largest difference from that, and the largest between batch and single runs, in nats; the same again of names with
a probability of 0.01 or more (`likely`, null where there are none), because it is these that certificates are about.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode import array_trie, distinct_names, existing, made_prompts, positive, trained
from printing import show
from transformers import AutoModelForCausalLM, AutoTokenizer

from constrained.search import EPSILON, Found, beam_search, score_entries
from constrained.trie import TokenTrie
from syncabel.prompt import encode_names

TYPES = ("float32", "float16", "bfloat16")
LIKELY = math.log(0.01)
Pairs = list[tuple[float, float]]  # log-probabilities of one name: as the batch found it, and otherwise


def log_probs(found: Found) -> dict[int, float]:
    return {name.entry: name.log_prob for name in found.names}


def with_teacher_forcing(model: Any, trie: TokenTrie, prompts: Sequence[list[int]], found: Sequence[Found]) -> Iterator[tuple[float, float]]:
    """Of every name found."""
    for prompt, one in zip(prompts, found, strict=True):
        for entry, score in log_probs(one).items():
            yield score, score_entries(model, prompt, [trie.path(entry).tolist()])[0]


def with_single(batch: Sequence[Found], single: Sequence[Found]) -> Iterator[tuple[float, float]]:
    """Of the names both found."""
    for one, other in zip(map(log_probs, batch), map(log_probs, single), strict=True):
        yield from ((one[entry], other[entry]) for entry in one.keys() & other.keys())


def largest(pairs: Pairs) -> float | None:
    return float(np.max([abs(one - other) for one, other in pairs])) if pairs else None


def likely(pairs: Pairs) -> Pairs:
    return [pair for pair in pairs if max(pair) >= LIKELY]


def figures(model: Any, trie: TokenTrie, prompts: Sequence[list[int]], kind: str) -> dict[str, Any]:
    """Of one floating type."""
    found = beam_search(model, trie, prompts, num_beams=5)
    single = [beam_search(model, trie, [prompt], num_beams=5)[0] for prompt in prompts]
    forced, alone = list(with_teacher_forcing(model, trie, prompts, found)), list(with_single(found, single))
    return {
        "names": len(forced),
        "teacher_forcing": largest(forced),
        "batch_or_single": largest(alone),
        "likely": {"names": len(likely(forced)), "teacher_forcing": largest(likely(forced)), "batch_or_single": largest(likely(alone))},
        "epsilon": EPSILON[kind],
    }


def mixed(prompts: Sequence[list[int]]) -> list[list[int]]:
    """The ends of the prompts, of 32 tokens and more."""
    return [prompt[-32 - 12 * number :] for number, prompt in enumerate(prompts)]


def material(args: argparse.Namespace) -> tuple[Path, TokenTrie, list[list[int]]]:
    """The model's folder, the names and the prompts."""
    if args.trained is not None:
        case = trained(args.trained, args.mentions)
        return args.trained / "model", case.trie, mixed(case.prompts)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = distinct_names(args.names)[0]
    trie = array_trie(encode_names(texts, tokenizer), tokenizer.eos_token_id)
    return args.model, trie, mixed(list(made_prompts(texts, tokenizer, args.mentions, 256)))


def main(given: Sequence[str] | None = None) -> None:
    """Measure each type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", "--smollm2", type=existing, help="folder of a model and its tokenizer")
    which.add_argument("--trained", type=existing, help="folder that train_decode_model.py made, with names and queries of its own")
    parser.add_argument("--names", type=existing, nargs="+", default=[], help="files of code<TAB>name<TAB>P|S; the shipped DOID where not given")
    parser.add_argument("--mentions", type=positive, default=16)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args(given)
    folder, trie, prompts = material(args)
    report = {}
    for kind in TYPES:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, kind)).eval()
        report[kind] = figures(model, trie, prompts, kind)
    show(report, args.json)


if __name__ == "__main__":
    main()
