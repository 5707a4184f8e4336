"""What the prompt format `document-first` gains in time: mentions a second on whole documents, with and without shared prefixes.

    python benchmarks/documents.py --smollm2 FOLDER [--names mesh_disease.tsv …] --data ../shared/data [--documents 10] [--rounds 5] [--json]

The mentions of a round's documents are linked in three formats: their sentence, their sentence clipped to 60 characters a side, and the document
first.  Each format runs twice, interleaved: with the trees of the engine, where prompts that begin alike share what they have in
common, and with every prompt alone.  The model's weights decide what the names found are, not what a format costs, so an untuned model serves.
Where the two find scores that differ by more than rounding the exit status is 1.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode import array_trie, distinct_names, existing, positive
from printing import show
from transformers import AutoModelForCausalLM, AutoTokenizer

import constrained.forest
from constrained.search import Found, beam_search, epsilon_of, greedy_search
from constrained.trie import TokenTrie
from syncabel.corpora import read_corpus
from syncabel.errors import SyncabelError
from syncabel.prompt import PromptFormat, encode_names, encode_prompts, format_named, from_document
from syncabel.types import Document

FORMATS = {"sentence": format_named("sentence"), "sentence, 60": format_named("sentence", context_chars=60), "document-first": format_named("document-first")}
SEARCHES: dict[str, Callable[..., list[Found]]] = {
    "greedy": greedy_search,
    "beam 5": lambda model, trie, prompts, **given: beam_search(model, trie, prompts, num_beams=5, **given),
}
Arm = tuple[str, str, bool]  # format, search, whether prefixes are shared


class Tokens:
    """Tokens read by all forward passes."""

    def __init__(self) -> None:
        self.count = 0

    def passed(self, ids: torch.Tensor, *_: Any) -> None:
        self.count += ids.shape[1]


@contextmanager
def sharing(wanted: bool) -> Iterator[None]:
    """Let prompts that begin alike share a tree, or not."""
    before = constrained.forest.LEAST_SHARED
    constrained.forest.LEAST_SHARED = before if wanted else sys.maxsize
    try:
        yield
    finally:
        constrained.forest.LEAST_SHARED = before


def prompts_of(documents: Sequence[Document], fmt: PromptFormat, tokenizer: Any) -> list[list[int]]:
    return encode_prompts([from_document(document, mention, ("Disease",), fmt) for document in documents for mention in document.mentions], tokenizer)


def measured(arms: Sequence[Arm], prompts: dict[str, list[list[int]]], model: Any, trie: TokenTrie) -> dict[Arm, tuple[float, int, list[Found]]]:
    """Of each arm seconds, tokens and answers."""
    done = {}
    for arm in arms:
        fmt, search, shared = arm
        tokens = Tokens()
        with sharing(shared):
            started = time.perf_counter()
            found = SEARCHES[search](model, trie, prompts[fmt], trace=tokens)
            done[arm] = (time.perf_counter() - started, tokens.count, found)
    return done


def differ(one: Sequence[Found], other: Sequence[Found]) -> float:
    """Largest difference of the first names' log-probabilities, in nats: sharing may change no answer."""
    return float(np.max([abs(a.names[0].log_prob - b.names[0].log_prob) for a, b in zip(one, other, strict=True)]))


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def main(given: Sequence[str] | None = None) -> None:
    """Print mentions a second, tokens a mention and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=existing, required=True)
    parser.add_argument("--names", type=existing, nargs="+", default=[], help="files of code<TAB>name<TAB>P|S; the shipped DOID where not given")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--documents", type=positive, default=10, help="of a round")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args(given)
    corpus = args.data / "corpora" / "ncbi_disease" / "NCBItestset_corpus.txt"
    if not corpus.exists():
        parser.error(f"{corpus} does not exist: --data is a folder with the NCBI disease corpus in corpora/ncbi_disease")
    documents = read_corpus(corpus, split="test").documents
    if not 0 < args.documents * args.rounds <= len(documents):
        parser.error(f"{args.rounds} rounds of {args.documents} documents need {args.documents * args.rounds}, and there are {len(documents)}")
    tokenizer = AutoTokenizer.from_pretrained(args.smollm2)
    model: Any = AutoModelForCausalLM.from_pretrained(args.smollm2, dtype=torch.float32).eval()
    trie = array_trie(encode_names(distinct_names(args.names)[0], tokenizer), tokenizer.eos_token_id)
    arms: list[Arm] = [(fmt, search, shared) for search in SEARCHES for fmt in FORMATS for shared in (True, False)]
    greedy_search(model, trie, prompts_of(documents[:1], FORMATS["sentence"], tokenizer))
    rounds, mentions = [], []
    for number in range(args.rounds):
        part = documents[number * args.documents : (number + 1) * args.documents]
        prompts = {name: prompts_of(part, fmt, tokenizer) for name, fmt in FORMATS.items()}
        turn = number % len(arms)
        rounds.append(measured(arms[turn:] + arms[:turn], prompts, model, trie))
        mentions.append(len(prompts["sentence"]))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    report: dict[str, dict[str, Any]] = {
        search: {
            "mentions_per_second": {
                f"{fmt}, {'shared' if shared else 'alone'}": spread([n / done[fmt, search, shared][0] for n, done in zip(mentions, rounds, strict=True)])
                for fmt in FORMATS
                for shared in (True, False)
            },
            "tokens_per_mention": {
                f"{fmt}, {'shared' if shared else 'alone'}": round(sum(done[fmt, search, shared][1] for done in rounds) / sum(mentions), 1)
                for fmt in FORMATS
                for shared in (True, False)
            },
            "shared/alone": {fmt: spread([done[fmt, search, False][0] / done[fmt, search, True][0] for done in rounds]) for fmt in FORMATS},
            "document-first/sentence": spread([done["sentence", search, True][0] / done["document-first", search, True][0] for done in rounds]),
            "largest_difference_nats": float(np.max([differ(done[fmt, search, True][2], done[fmt, search, False][2]) for done in rounds for fmt in FORMATS])),
        }
        for search in SEARCHES
    }
    off, epsilon = max(figures["largest_difference_nats"] for figures in report.values()), epsilon_of(model)
    report["mentions"] = {"n": sum(mentions), "per_document": round(sum(mentions) / (args.rounds * args.documents), 1)}
    show(report, args.json)
    # Written so that it holds for what is no number.
    if not off <= epsilon:
        sys.exit(f"sharing prefixes changes a score by {off:.1e} nats, more than {epsilon:.1e}")


if __name__ == "__main__":
    try:
        main()
    except (SyncabelError, OSError) as error:
        sys.exit(f"error: {error}")
