"""The baselines that retrieve, over ten thousand to a million names: seconds to build, queries a second, peak memory.

    python benchmarks/retrieval.py --names DIR [--sizes 10000 100000 1000000] [--systems bm25 tfidf rapidfuzz dense] [--json]

DIR holds `SET.tsv` files of `code<TAB>name<TAB>P|S`, as ../shared/tools/real_names.py writes them.  A vocabulary is distinct names of five sets, drawn with a
seed; 256 of its names stand for mentions, the last word left out of each, or the last letter where there is one word.  They are handed over at once and
answered with five concepts each, without groups, three times or for twenty seconds; each text is scored against every string, so that nothing is
approximate.

Every system has a process of its own, because peak memory is a process's: anonymous memory, which the machine must have, beside what is mapped from
files, which it takes back when it needs to.  Opening the knowledge base and making its strings is part of building.  No text is encoded for `dense`: its
vectors are random ones of length 1, 384 float32 each as MiniLM's, and those of the names are mapped from a file as an encoder's cache is; the search
does not mind what they mean.  A figure for docs/results names this command.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from lexicon import names_of
from numpy.typing import NDArray
from printing import show
from training_data import Watch

from syncabel.baselines import LinkingRanker, standard_baselines
from syncabel.kb import About, Frames, KnowledgeBase
from syncabel.kb.vocabulary import CONCEPTS, NAMES
from syncabel.types import Document, Mention, Query, Span

SETS = ("mesh", "mondo", "doid", "hpo", "go")
SYSTEMS = ("tfidf", "bm25", "rapidfuzz", "dense")
SIZES = (10_000, 100_000, 1_000_000)
MENTIONS, ANSWERS, DIMENSIONS, SEED = 256, 5, 384, 0
ROUNDS, ENOUGH_S = 3, 20  # mentions are asked for so often, or until so many seconds have passed
AT_ONCE = 1 << 16  # vectors drawn at a time
GB = 1e9


# What is searched, and for what.


def distinct_names(folder: Path, sets: Iterable[str] = SETS) -> pl.DataFrame:
    """Columns: code, text, kind, group; every text once, with the first concept that has it."""
    return pl.concat(names_of(folder, name) for name in sets).unique("text", keep="first", maintain_order=True)


def vocabulary(names: pl.DataFrame, size: int) -> KnowledgeBase:
    drawn = names.sample(size, seed=SEED)
    concepts = drawn.group_by("code", maintain_order=True).agg(groups=pl.col("group").unique())
    concepts = concepts.select(concepts[name] if name in concepts.columns else pl.lit(None, kind).alias(name) for name, kind in CONCEPTS.items())
    columns = {"code": "code", "text": "text", "language": pl.lit("en"), "scope": pl.lit("exact"), "preferred": pl.col("kind") == "P"}
    return KnowledgeBase.build(Frames(concepts, drawn.select(**columns).select(list(NAMES))), About(source=" ".join(SETS)))


def mentions_of(kb: KnowledgeBase, count: int = MENTIONS) -> list[str]:
    """Names that lost their last word, or their last letter where it is the only one."""
    texts = kb.table("names")["text"].sample(count, seed=SEED + 1)
    return [text.rsplit(" ", 1)[0] if " " in text else text[:-1] or text for text in texts]


def query(text: str) -> Query:
    mention = Mention("0", (Span(0, len(text)),), text)
    return Query(Document("d", text, (mention,)), mention)


class RandomVectors:
    """In place of an encoder: random vectors, those of many texts mapped from a file that is there."""

    def __init__(self, path: Path) -> None:
        self.path, self.rng = path, np.random.default_rng(SEED)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape: (texts × DIMENSIONS), rows of length 1."""
        if len(texts) <= MENTIONS:
            return unit_vectors(self.rng, len(texts))
        kept: NDArray[np.float32] = np.load(self.path, mmap_mode="r")
        return kept[: len(texts)]


def unit_vectors(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    drawn = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def write_vectors(path: Path, count: int) -> None:
    kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, DIMENSIONS))
    rng = np.random.default_rng(SEED)
    for start in range(0, count, AT_ONCE):
        kept[start : start + AT_ONCE] = unit_vectors(rng, min(AT_ONCE, count - start))
    kept.flush()


# One system, in a process of its own.


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, seconds of the clock, seconds of this process on its cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def made(system: str, folder: Path, vectors: Path) -> LinkingRanker:
    return standard_baselines(KnowledgeBase.load(folder), [], encoder=RandomVectors(vectors), names=[system])[system]


def measured(system: str, folder: Path) -> dict[str, Any]:
    """Build one system from what `prepare` wrote, and ask it."""
    watch = Watch()
    watch.start()
    queries = [query(text) for text in json.loads((folder / "mentions.json").read_text(encoding="utf-8"))]
    ranker, build_s, build_cpu_s = timed(lambda: made(system, folder / "kb", folder / "vectors.npy"))
    built = watch.anonymous
    asked = [timed(lambda: ranker.rank(queries, ANSWERS))]
    while len(asked) < ROUNDS and sum(wall for _, wall, _ in asked) < ENOUGH_S:
        asked.append(timed(lambda: ranker.rank(queries, ANSWERS)))
    watch.over.set()
    watch.join()
    return {
        "build_s": round(build_s, 2),
        "build_cpu_s": round(build_cpu_s, 2),
        "rounds": len(asked),
        "queries_per_s": per_second(len(queries), [wall for _, wall, _ in asked]),
        "queries_per_cpu_s": per_second(len(queries), [cpu for _, _, cpu in asked]),
        "answered": sum(map(bool, asked[0][0])),
        "built_gb": round(built / GB, 3),
        "peak_gb": round(watch.anonymous / GB, 3),
        "peak_with_files_gb": round(watch.all / GB, 3),
    }


def per_second(count: int, seconds: Sequence[float]) -> dict[str, float]:
    rates = [count / one for one in seconds]
    return {name: round(of(rates), 1) for name, of in (("median", statistics.median), ("min", min), ("max", max))}


def prepare(names: Path, size: int, folder: Path) -> dict[str, Any]:
    kb = vocabulary(distinct_names(names), size)
    kb.save(folder / "kb")
    (folder / "mentions.json").write_text(json.dumps(mentions_of(kb)), encoding="utf-8")
    write_vectors(folder / "vectors.npy", size)
    return {"concepts": len(kb), "names": kb.n_names, "kb": kb.digest}


def in_process(*step: str | int | Path) -> dict[str, Any]:
    """One step in a process of its own, all started by a small one: a child's peak counts what its parent held when it was started."""
    done = subprocess.run([sys.executable, __file__, "--step", *map(str, step)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, help="folder of code<TAB>name<TAB>P|S files")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step, *rest = given.step
        print(json.dumps(prepare(Path(rest[0]), int(rest[1]), Path(rest[2])) if step == "prepare" else measured(step, Path(rest[0]))))
        return
    if given.names is None:
        parser.error("--names is needed")
    report: dict[str, Any] = {"vocabulary": {}}
    for size in given.sizes:
        report[str(size)] = of_size = {}
        with tempfile.TemporaryDirectory() as temporary:
            report["vocabulary"][str(size)] = in_process("prepare", given.names, size, Path(temporary))
            for system in given.systems:
                of_size[system] = in_process(system, Path(temporary))
                print(f"{size:,} names, {system}: {of_size[system]}", file=sys.stderr, flush=True)
    show(report, given.json)


if __name__ == "__main__":
    main()
