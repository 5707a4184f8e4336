"""Recall@1 of the searches on NCBI disease, dev: exact is not the same as accurate.

    python benchmarks/searches.py --model out/ncbi/model --data ../shared/data [--limit 200] [--json]

`--model` is a folder that `scripts/benchmark_ncbi.py` trained.  The five rows: greedy; beam 5 ranked by the concept's summed
probability and by the published score (mean); the most probable single name, proven; the most probable concept, proven.
Beside Recall@1 stand the share of mentions whose answer is certified, rows read a mention, and the time.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from decode import existing, positive

from constrained.search import exact_search, rank_concepts, trie_scope
from syncabel.baselines import apply
from syncabel.corpora import read_corpus
from syncabel.decoding import DecodingSettings
from syncabel.errors import SyncabelError
from syncabel.evaluate import evaluate
from syncabel.groups import TypeMap
from syncabel.kb import About, KnowledgeBase, read_medic
from syncabel.linker import Linker
from syncabel.prompt import encode_prompts
from syncabel.types import Document, Prediction, Query

FILES = {"train": "NCBItrainset_corpus.txt", "dev": "NCBIdevelopset_corpus.txt"}


class ExactName:
    """Ranks by the most probable single name instead of the concept's mass; the other four are settings of `Linker`."""

    def __init__(self, linker: Linker, max_expansions: int) -> None:
        self._linker, self._most = linker, max_expansions

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """The best names; k of them, one is proven."""
        lexicon = self._linker.lexicon
        if lexicon is None:
            return [[] for _ in queries]
        ids = encode_prompts([self._linker.prompt(query) for query in queries], self._linker.tokenizer)
        scopes = [trie_scope(lexicon.trie, lexicon.group_numbers(query.groups)) for query in queries]
        found = exact_search(self._linker.model, lexicon.trie, ids, k=1, max_expansions=self._most, scopes=scopes)
        ranked = [rank_concepts(each)[:k] for each in found]
        return [
            [Prediction((lexicon.code(a.best.entry),), lexicon.name(a.best.entry), a.best.log_prob, certified=a.certified) for a in each] for each in ranked
        ]


def rankers(linker: Linker, max_expansions: int) -> dict[str, Any]:
    """The five searches."""
    settings = DecodingSettings(max_expansions=max_expansions)
    searches = {
        "greedy": replace(settings, search="greedy"),
        "beam 5, sum": settings,
        "beam 5, mean": replace(settings, ranking="mean"),
        "exact concept": replace(settings, search="exact"),
    }
    return {name: replace(linker, settings=each) for name, each in searches.items()} | {"exact name": ExactName(linker, max_expansions)}


def measured(ranker: Any, documents: Sequence[Document], of: Callable[[str | None], Any], kb: KnowledgeBase, train: Sequence[Document]) -> dict[str, Any]:
    """Recall and what it took."""
    started = time.perf_counter()
    predictions = apply(ranker, documents, of, k=1)
    seconds = time.perf_counter() - started
    report = evaluate(documents, predictions, kb, protocol="any", train=train)
    firsts = [row.predictions[0] for row in predictions if row.predictions]
    cells = {name: {"n": cell.n, "recall_at_1": round(cell.recall_at_1, 4)} for name, cell in report.strata["concept"].items() if cell.n}
    return {
        "n": report.n,
        "recall_at_1": round(report.recall_at_1, 4),
        "ci95": [round(x, 4) for x in report.ci95],
        "concept": cells,
        "certified": round(float(np.mean([first.certified for first in firsts])), 4),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run all five on the same mentions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=existing, required=True)
    parser.add_argument("--data", type=existing, default=Path("../shared/data"))
    parser.add_argument("--max-expansions", type=positive, default=64)
    parser.add_argument("--limit", type=positive, help="documents, the first so many")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    corpus = args.data / "corpora" / "ncbi_disease"
    about = About(source="MEDIC", release="6 July 2012", licence="CTD terms of use", redistributable=False)
    kb = KnowledgeBase.build(read_medic(args.data / "kb" / "medic_06Jul2012.txt").content, about)
    splits = {split: read_corpus(corpus / name, split=split).documents for split, name in FILES.items()}
    types = TypeMap.counted(splits["train"], lambda _code: kb.groups, kb.groups)
    linker = Linker.from_pretrained(args.model)
    dev = splits["dev"][: args.limit]
    rows = {name: measured(ranker, dev, types.of, kb, splits["train"]) for name, ranker in rankers(linker, args.max_expansions).items()}
    if args.json:
        print(json.dumps(rows))
        return
    for name, row in rows.items():
        seen = "  ".join(f"{stratum} {cell['recall_at_1']:.3f} ({cell['n']})" for stratum, cell in row["concept"].items())
        print(f"{name:14} {row['recall_at_1']:.4f}  certified {row['certified']:.3f}  {row['seconds']:7.1f} s   {seen}")


if __name__ == "__main__":
    try:
        main()
    except (SyncabelError, OSError) as error:
        sys.exit(f"error: {error}")
