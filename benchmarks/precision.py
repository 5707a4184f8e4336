"""How far the engine's log-probabilities are from those of plain forward passes, by floating type: what ε has to cover.

    python benchmarks/precision.py --smollm2 FOLDER --names mesh_disease.tsv … [--mentions 16] [--json]

A beam of 5 finds names after prompts of mixed lengths, all in one batch and one by one; each name is scored again by teacher forcing, alone
with its prompt.  Printed are the largest difference from that, and the largest between batch and single runs, in nats.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from decode import array_trie, distinct_names, made_prompts
from transformers import AutoModelForCausalLM, AutoTokenizer

from constrained.search import EPSILON, Found, beam_search, score_entries
from constrained.trie import TokenTrie
from syncabel.prompt import encode_names

TYPES = ("float32", "float16", "bfloat16")


def log_probs(found: Found) -> dict[int, float]:
    return {name.entry: name.log_prob for name in found.names}


def from_teacher_forcing(model: Any, trie: TokenTrie, prompts: Sequence[list[int]], found: Sequence[Found]) -> list[float]:
    """Differences, of every name found."""
    return [
        abs(score_entries(model, prompt, [trie.path(entry).tolist()])[0] - score)
        for prompt, one in zip(prompts, found, strict=True)
        for entry, score in log_probs(one).items()
    ]


def between(batch: Sequence[Found], single: Sequence[Found]) -> list[float]:
    """Differences, of the names both found."""
    pairs = [(log_probs(one), log_probs(other)) for one, other in zip(batch, single, strict=True)]
    return [abs(one[entry] - other[entry]) for one, other in pairs for entry in one.keys() & other.keys()]


def main() -> None:
    """Measure each type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--names", type=Path, nargs="+", required=True)
    parser.add_argument("--mentions", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.smollm2)
    texts = distinct_names(args.names)[0]
    trie = array_trie(encode_names(texts, tokenizer), tokenizer.eos_token_id)
    prompts = [prompt[-32 - 12 * number :] for number, prompt in enumerate(made_prompts(texts, tokenizer, args.mentions, 256))]
    report = {}
    for kind in TYPES:
        model = AutoModelForCausalLM.from_pretrained(args.smollm2, dtype=getattr(torch, kind)).eval()
        found = beam_search(model, trie, prompts, num_beams=5)
        single = [beam_search(model, trie, [prompt], num_beams=5)[0] for prompt in prompts]
        forced = from_teacher_forcing(model, trie, prompts, found)
        report[kind] = {"names": len(forced), "teacher_forcing": max(forced), "batch_or_single": max(between(found, single)), "epsilon": EPSILON[kind]}
    print(json.dumps(report, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
