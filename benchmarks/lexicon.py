"""A lexicon of real names at full size: seconds for each stage, bytes a name, peak memory, opening.

    python benchmarks/lexicon.py --names DIR --tokenizer FOLDER --sets mesh mondo doid hpo go --distinct 1000000
    python benchmarks/lexicon.py --names DIR --tokenizer FOLDER [--json]      # the eight sets

DIR holds `SET.tsv` files of `code<TAB>name<TAB>P|S`; each set becomes a group of its own, and codes are written `SET/code`, so that
a concept of two sets is two.  `--distinct N` takes the first N distinct names, each with the first concept that has it.  FOLDER is a
tokenizer's.  One process is one measurement, because peak memory is the process's; `TOKENIZERS_PARALLELISM` and
`RAYON_NUM_THREADS` decide over the threads that tokenise.  A figure for docs/results names this command.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from printing import show

from constrained.trie import TokenTrie
from syncabel.kb import About, Frames, KnowledgeBase
from syncabel.kb.vocabulary import CONCEPTS, NAMES
from syncabel.lexicon import build as building
from syncabel.lexicon.store import Lexicon

EIGHT = ("hpo", "mondo", "doid", "go", "mesh", "mesh_disease", "unii", "taxonomy")
SECONDS: Counter[str] = Counter()
GIB = 1 << 30


def names_of(folder: Path, name: str) -> pl.DataFrame:
    columns = {"code": pl.String, "text": pl.String, "kind": pl.String}
    frame = pl.read_csv(folder / f"{name}.tsv", separator="\t", has_header=False, quote_char=None, schema=columns)
    return frame.with_columns(code=pl.concat_str(pl.lit(f"{name}/"), "code"), group=pl.lit(name))


def knowledge_base(folder: Path, sets: list[str], distinct: int | None) -> KnowledgeBase:
    names = pl.concat(names_of(folder, name) for name in sets)
    if distinct is not None:
        names = names.unique("text", keep="first", maintain_order=True).head(distinct)
    concepts = names.group_by("code").agg(groups=pl.col("group").unique())
    concepts = concepts.select(concepts[name] if name in concepts.columns else pl.lit(None, kind).alias(name) for name, kind in CONCEPTS.items())
    columns = {"code": "code", "text": "text", "language": pl.lit("en"), "scope": pl.lit("exact"), "preferred": pl.col("kind") == "P"}
    return KnowledgeBase.build(Frames(concepts, names.select(**columns).select(list(NAMES))), About(source=" ".join(sets)))


def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def measured(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return work(*arguments)
        finally:
            SECONDS[stage] += time.perf_counter() - start

    return measured


def open_ms(folder: Path, rounds: int = 9) -> float:
    spans = []
    for _ in range(rounds):
        start = time.perf_counter()
        Lexicon.load(folder)
        spans.append(1000 * (time.perf_counter() - start))
    return statistics.median(spans)


def measure(kb: KnowledgeBase, tokenizer: Any, cache: Path | None) -> dict[str, Any]:
    building.first_leaves = timed("leaves", building.first_leaves)
    building.token_rows = timed("tokenise", building.token_rows)
    TokenTrie.build = timed("trie", TokenTrie.build)  # type: ignore[method-assign]
    before = peak_gib()
    lexicon, account = timed("all", building.lexicon_and_account)(kb, tokenizer, cache)
    with tempfile.TemporaryDirectory() as temporary:
        timed("save", lexicon.save)(temporary)
        opened = open_ms(Path(temporary))
        Lexicon.load(temporary).verify()
    n, trie = len(lexicon), lexicon.trie
    return {
        "names": n,
        "codes": len(lexicon.codes),
        "shared": lexicon.header["shared"],
        "merged": lexicon.header["merged"],
        "reasons": dict(Counter(row.reason for row in account)),
        "nodes_per_name": round(trie.n_nodes / n, 2),
        "longest_tokens": lexicon.header["longest"],
        "bytes_per_name": {
            "trie_groups_and_leaves": round(trie.nbytes / n, 1),
            "names": round((lexicon.names.blob.nbytes + lexicon.names.offsets.nbytes) / n, 1),
            "code_and_flags_of_entries": round((lexicon.entry_code.nbytes + lexicon.entry_flags.nbytes) / n, 1),
            "codes": round((lexicon.codes.blob.nbytes + lexicon.codes.offsets.nbytes) / n, 1),
        },
        "seconds": {stage: round(seconds, 1) for stage, seconds in SECONDS.items()},
        "names_per_second_tokenised": round(n / SECONDS["tokenise"]) if SECONDS["tokenise"] else None,
        "open_ms": round(opened, 2),
        "peak_gib": {"knowledge_base": before, "all": peak_gib()},
    }


def peak_gib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(EIGHT))
    parser.add_argument("--distinct", type=int)
    parser.add_argument("--cache", type=Path, help="folder of token ids, as `syncabel lexicon build --cache` keeps it")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    arguments = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    result = measure(knowledge_base(arguments.names, arguments.sets, arguments.distinct), tokenizer, arguments.cache)
    show(result, arguments.json)


if __name__ == "__main__":
    main()
