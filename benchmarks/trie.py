"""The token trie at size: bytes, building, opening, next-token look-ups, beside nested dictionaries and marisa-trie.

    python benchmarks/trie.py [--json]                       # the shipped DOID, with a byte-level BPE of 1,000 tokens trained on it
    python benchmarks/trie.py --files a.tsv b.tsv --tokenizer FOLDER --names 1000000 [--json]

Files are `code<TAB>name<TAB>…`, each a group of its own; `--names N` takes the first N distinct names in the order of the files.
Where they have fewer, the rest is recombined: the first half of one real name's tokens and the second half of another's, which
are entries of the trie but have no text, so that sizes of names and codes are given for the real ones alone.

Every structure is built in a process of its own, whose peak memory is the one reported (token ids in memory included).  The
others are what is published: nested dictionaries walked from the root for each look-up, and a marisa-trie over strings of one
character per token id, whose next tokens are those of all completions.  They are left out where they would take a minute or more.
`TOKENIZERS_PARALLELISM` and `RAYON_NUM_THREADS` decide over the threads that tokenise.  A figure for docs/results names this command.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from printing import show

from constrained.trie import TokenTrie, group_bits
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.tokenise import TokenRows, token_rows

MILLION = 1_000_000
MOST = {"arrays": None, "dict": MILLION, "marisa": MILLION}  # names; beyond, an arm takes a minute, or memory that few have
BATCH = 4096  # rows looked up at once: a large batch of beams
SMALL_BATCH = 40  # eight mentions of five beams
LOOKUPS = {"arrays": 40_960, "dict": 4_096, "marisa": 64}  # prefixes that an arm is asked for in a round
BLOCK = 1 << 16  # rows that are Python objects at the same time
GB = 1e9


# What the trie is built from.


def doid_names() -> pl.DataFrame:
    concepts = KnowledgeBase.load("doid").concepts()
    rows = [(concept.code, name.text) for concept in concepts for name in concept.names]
    return pl.DataFrame(rows, schema=["code", "text"], orient="row").with_columns(group=pl.lit(0, pl.Int64))


def file_names(files: list[Path]) -> pl.DataFrame:
    tables = (pl.read_csv(path, separator="\t", has_header=False, quote_char=None, infer_schema=False)[:, :2] for path in files)
    return pl.concat(table.rename(dict(zip(table.columns, ("code", "text"), strict=True))).with_columns(group=i) for i, table in enumerate(tables))


def distinct(names: pl.DataFrame, most: int | None) -> pl.DataFrame:
    """The first names, each with its first code, in the order of a lexicon."""
    names = names.unique("text", keep="first", maintain_order=True)
    return (names if most is None else names.head(most)).sort("text")


def recombined(rows: TokenRows, groups: NDArray[np.int64], size: int) -> tuple[TokenRows, NDArray[np.int64]]:
    """Halves of real names put together until there are `size` different entries; a new entry is in the group of its first half."""
    rng = np.random.default_rng(0)
    seen = np.sort(rows.hashes())
    while len(rows) < size:
        pairs = rng.integers(0, len(groups), (2, min(size, 2 * (size - len(rows)))))
        pairs = pairs[:, : 1 << 20]
        new = _halves(rows, *pairs)
        hashes, first = np.unique(new.hashes(), return_index=True)
        first = np.sort(first[~np.isin(hashes, seen)])[: size - len(rows)]
        new = new.take(first)
        seen = np.union1d(seen, new.hashes())
        rows, groups = rows.joined_with(new), np.concatenate([groups, groups[pairs[0, first]]])
    return rows, groups


def _halves(rows: TokenRows, heads: NDArray[np.int64], tails: NDArray[np.int64]) -> TokenRows:
    lengths = np.diff(rows.offsets)
    head, cut = lengths[heads] // 2, lengths[tails] // 2
    total = head + lengths[tails] - cut
    offsets = np.concatenate([[0], np.cumsum(total)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], total)
    from_head = np.repeat(rows.offsets[heads], total) + place
    from_tail = np.repeat(rows.offsets[tails] + cut - head, total) + place
    return TokenRows(rows.ids[np.where(place < np.repeat(head, total), from_head, from_tail)], offsets)


def write_rows(folder: Path, rows: TokenRows, groups: NDArray[np.int64]) -> None:
    sets = np.stack([group_bits([group], int(groups.max()) + 1) for group in range(int(groups.max()) + 1)])
    for name, array in (("ids", rows.ids), ("offsets", rows.offsets), ("sets", sets[groups])):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


# One structure each, in a process of its own.


def seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def summary(values: list[float], digits: int) -> dict[str, float]:
    return {"median": round(statistics.median(values), digits), "min": round(min(values), digits), "max": round(max(values), digits)}


def peak_gb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB, 3)
    # On Linux ru_maxrss counts what the process that started this one had in memory.
    return round(int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024 / GB, 3)


def read_rows(folder: Path) -> tuple[TokenRows, NDArray[np.uint64]]:
    ids, offsets, sets = (np.load(folder / f"{name}.npy") for name in ("ids", "offsets", "sets"))
    return TokenRows(ids, offsets), sets


def half_way(rows: TokenRows, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random names, and how many of their tokens are written: half, one at least."""
    entries = np.random.default_rng(1).integers(0, len(rows), count)
    return entries, np.maximum(1, np.diff(rows.offsets)[entries] // 2)


def prefixes(rows: TokenRows, count: int) -> list[list[int]]:
    return [list(rows.row(int(entry))[:written]) for entry, written in zip(*half_way(rows, count), strict=True)]


def paths(rows: TokenRows) -> Iterator[list[int]]:
    for start in range(0, len(rows), BLOCK):
        part = rows.offsets[start : start + BLOCK + 1]
        ids, ends = rows.ids[part[0] : part[-1]].tolist(), (part - part[0]).tolist()
        yield from (ids[first:last] for first, last in pairwise(ends))


def in_batches(work: Callable[[NDArray[np.int64]], object], nodes: NDArray[np.int64], batch: int) -> None:
    for start in range(0, len(nodes) - batch + 1, batch):
        work(nodes[start : start + batch])


def row_us(work: Callable[[NDArray[np.int64]], object], nodes: NDArray[np.int64], batch: int, rounds: int) -> dict[str, float]:
    rows = len(nodes) // batch * batch
    return summary([1e6 * seconds(lambda: in_batches(work, nodes, batch))[1] / rows for _ in range(rounds)], 3)


def nodes_of(trie: TokenTrie, rows: TokenRows, count: int) -> NDArray[np.int64]:
    """The nodes that half-written names stand at: those from which a search asks for children."""
    entries, written = half_way(rows, count)
    nodes, up = trie.leaves_of(entries), np.diff(rows.offsets)[entries] - written
    while up.any():
        nodes = np.where(up > 0, trie.parents_of(nodes), nodes)
        up = np.maximum(up - 1, 0)
    return nodes


def arrays_arm(folder: Path, rounds: int) -> dict[str, Any]:
    rows, sets = read_rows(folder)
    before = peak_gb()
    end, n_groups = int(rows.ids[-1]), int(sets.max()).bit_length()
    build_s, build_cpu_s = [], []
    for _ in range(rounds if len(rows) <= MILLION else 1):
        cpu = time.process_time()
        trie, spent = seconds(lambda: TokenTrie.build(rows.ids, rows.offsets, sets, end, n_groups))
        build_s.append(spent)
        build_cpu_s.append(time.process_time() - cpu)
    peak = peak_gb()
    trie.save(folder / "trie")
    load_ms = [1000 * seconds(lambda: TokenTrie.load(folder / "trie"))[1] for _ in range(9)]
    loaded = TokenTrie.load(folder / "trie")
    nodes, flags = nodes_of(loaded, rows, LOOKUPS["arrays"]), loaded.allowed([0])
    lookups = {
        "row_us": row_us(loaded.children_of, nodes, BATCH, rounds),
        "row_us_with_groups": row_us(lambda part: loaded.children_of(part, flags), nodes, BATCH, rounds),
        "row_us_in_batches_of_40": row_us(loaded.children_of, nodes[: 100 * SMALL_BATCH], SMALL_BATCH, rounds),
    }
    sizes = {"nodes": trie.n_nodes, "bytes": trie.nbytes}
    times = {"build_s": summary(build_s, 2), "build_cpu_s": summary(build_cpu_s, 2), "load_ms": summary(load_ms, 2)}
    return {**sizes, **times, **lookups, "peak_gb": peak, "peak_gb_before": before}


def dict_trie(rows: TokenRows) -> dict[int, Any]:
    root: dict[int, Any] = {}
    for path in paths(rows):
        node = root
        for token in path:
            node = node.setdefault(token, {})
    return root


def dict_bytes(root: dict[int, Any]) -> int:
    total, waiting = 0, [root]
    while waiting:
        node = waiting.pop()
        total += sys.getsizeof(node)
        waiting.extend(node.values())
    return total


def dict_next(root: dict[int, Any], prefix: list[int]) -> list[int]:
    node = root
    for token in prefix:
        node = node[token]
    return list(node)


def dict_arm(folder: Path, rounds: int) -> dict[str, Any]:
    rows, _ = read_rows(folder)
    root, build_s = seconds(lambda: dict_trie(rows))
    peak = peak_gb()
    asked = prefixes(rows, LOOKUPS["dict"])
    look = [1e6 * seconds(lambda: [dict_next(root, prefix) for prefix in asked])[1] / len(asked) for _ in range(rounds)]
    return {"bytes_per_name": round(dict_bytes(root) / len(rows)), "build_s": round(build_s, 2), "row_us": summary(look, 2), "peak_gb": peak}


def as_characters(tokens: list[int]) -> str:
    # Surrogates are no characters: the ids above them are moved up.
    return "".join(chr(token if token < 0xD800 else token + 0x800) for token in tokens)


def marisa_arm(folder: Path, rounds: int) -> dict[str, Any]:
    import marisa_trie

    rows, _ = read_rows(folder)
    trie, build_s = seconds(lambda: marisa_trie.Trie(as_characters(path) for path in paths(rows)))
    peak = peak_gb()
    trie.save(str(folder / "marisa"))
    load_ms = [1000 * seconds(lambda: marisa_trie.Trie().mmap(str(folder / "marisa")))[1] for _ in range(9)]
    asked = [as_characters(prefix) for prefix in prefixes(rows, LOOKUPS["marisa"])]

    def following(prefix: str) -> set[str]:
        return {key[len(prefix)] for key in trie.iterkeys(prefix)}

    def look(texts: list[str]) -> float:
        return 1e6 * seconds(lambda: [following(text) for text in texts])[1] / len(texts)

    first = [text[:1] for text in asked]
    return {
        "bytes_per_name": round((folder / "marisa").stat().st_size / len(rows), 1),
        "build_s": round(build_s, 2),
        "load_ms": summary(load_ms, 2),
        "row_us": summary([look(asked) for _ in range(rounds)], 2),
        "row_us_after_one_token": round(look(first), 1),
        "row_us_at_the_root": round(look([""]), 1),
        "peak_gb": peak,
    }


ARMS = {"arrays": arrays_arm, "dict": dict_arm, "marisa": marisa_arm}


def run_arm(arm: str, folder: Path, size: int, rounds: int) -> dict[str, Any] | str:
    most = MOST[arm]
    if most is not None and size > most:
        return f"left out: more than {most:,} names"
    command = [sys.executable, __file__, "--arm", arm, "--rows", str(folder), "--rounds", str(rounds)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def measure(names: pl.DataFrame, tokenizer: Any, size: int | None, rounds: int) -> dict[str, Any]:
    names = distinct(names, size)
    cpu = time.process_time()
    rows, tokenise_s = seconds(lambda: token_rows(names["text"], tokenizer))
    tokenise_cpu_s = time.process_time() - cpu
    kept = np.sort(np.unique(rows.hashes(), return_index=True)[1])  # of names that tokenise alike the first
    rows, groups, real = rows.take(kept), names["group"].to_numpy()[kept].astype(np.int64), len(kept)
    if size is not None and len(names) < size:
        rows, groups = recombined(rows, groups, size)
    with tempfile.TemporaryDirectory() as temporary:
        write_rows(Path(temporary), rows, groups)
        count, tokens = len(rows), len(rows.ids)
        del rows, groups
        arms = {arm: run_arm(arm, Path(temporary), count, rounds) for arm in ARMS}
    own = arms.pop("arrays")
    if isinstance(own, str):
        raise RuntimeError(own)
    codes = names["code"].unique()
    return {
        "names": count,
        "recombined": count - real,
        "tokenise_alike": len(names) - real,
        "tokens_per_name": round(tokens / count, 2),
        "nodes_per_name": round(own["nodes"] / count, 2),
        "bytes_per_name": round(own["bytes"] / count, 1),
        "bytes_per_node": round(own["bytes"] / own["nodes"], 2),
        "names_bytes_per_name": round(int(names["text"].str.len_bytes().sum()) / len(names) + 8, 1),
        "codes_bytes_per_name": round((int(codes.str.len_bytes().sum()) + 8 * len(codes)) / len(names) + 5, 1),
        "tokenise_s": round(tokenise_s, 2),
        "tokenise_cpu_s": round(tokenise_cpu_s, 2),
        "build_s": own["build_s"]["median"],
        "load_ms": own["load_ms"]["median"],
        "row_us": own["row_us"]["median"],
        "peak_gb": own["peak_gb"],
        "details": own,
        **arms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", help="code<TAB>name<TAB>…; the shipped DOID where not given")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer; one of 1,000 tokens is trained where not given")
    parser.add_argument("--names", type=int, help="distinct names to take; more than there are: the rest is recombined")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        print(json.dumps(ARMS[arguments.arm](arguments.rows, arguments.rounds)))
        return
    names = file_names(arguments.files) if arguments.files else doid_names()
    result = measure(names, _tokenizer(arguments.tokenizer, names), arguments.names, arguments.rounds)
    show(result, arguments.json)


def _tokenizer(folder: Path | None, names: pl.DataFrame) -> Any:
    if folder is not None:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
    from syncabel.train.scratch import train_tokenizer

    return train_tokenizer([f" {text}" for text in names["text"].unique(maintain_order=True).to_list()], 1000)


if __name__ == "__main__":
    main()
