"""Trie of real names against nested dictionaries: size, building, next-token look-ups, as ratios in one interleaved run.

    python benchmarks/trie.py [--rounds 5]

Names are the shipped DOID's, tokenised with a byte-level BPE of 1,000 tokens trained on them.  Prints medians with minimum
and maximum; a figure for docs/results names this command.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from constrained.trie import TokenTrie
from syncabel.kb import KnowledgeBase
from syncabel.prompt import encode_names
from syncabel.train.scratch import train_tokenizer


def dict_trie(paths: list[list[int]]) -> dict[int, Any]:
    root: dict[int, Any] = {}
    for path in paths:
        node = root
        for token in path:
            node = node.setdefault(token, {})
    return root


def dict_bytes(node: dict[int, Any]) -> int:
    return sys.getsizeof(node) + sum(map(dict_bytes, node.values()))


def array_trie(paths: list[list[int]], end: int) -> TokenTrie:
    offsets = np.concatenate([[0], np.cumsum([len(path) for path in paths])])
    tokens = np.fromiter(chain.from_iterable(paths), np.int32, int(offsets[-1]))
    return TokenTrie.build(tokens, offsets, np.ones((len(paths), 1), np.uint64), end, 1)


def dict_lookups(root: dict[int, Any], prefixes: list[list[int]]) -> None:
    for prefix in prefixes:
        node = root
        for token in prefix:
            node = node[token]
        list(node)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def line(what: str, ratios: list[float]) -> str:
    return f"{what:34} {statistics.median(ratios):8.1f} × (min {min(ratios):.1f}, max {max(ratios):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    names = sorted({name.text for concept in KnowledgeBase.load("doid").concepts() for name in concept.names})
    tokenizer = train_tokenizer([f" {name}" for name in names], 1000)
    paths = [list(path) for path in dict.fromkeys(map(tuple, encode_names(names, tokenizer)))]
    trie, root = array_trie(paths, tokenizer.eos_token_id), dict_trie(paths)
    prefixes = [path[: len(path) // 2] for path in paths[::3]]
    nodes = np.array([_node(trie, prefix) for prefix in prefixes])
    build, look = [], []
    for _ in range(rounds):
        build.append(seconds(lambda: dict_trie(paths)) / seconds(lambda: array_trie(paths, tokenizer.eos_token_id)))
        look.append(seconds(lambda: dict_lookups(root, prefixes)) / seconds(lambda: trie.children_of(nodes)))
    print(f"{len(paths):,} names, {trie.n_nodes / len(paths):.2f} nodes a name")
    print(f"bytes a name: arrays {trie.nbytes / len(paths):.1f}, dictionaries {dict_bytes(root) / len(paths):.0f}")
    print(line("building, dictionaries ÷ arrays", build))
    print(line("children of half-way prefixes, ÷", look))


def _node(trie: TokenTrie, prefix: list[int]) -> int:
    node = 0
    for token in prefix:
        tokens, children = trie.children(node)
        node = int(children[np.searchsorted(tokens, token)])
    return node


if __name__ == "__main__":
    main()
