"""A UMLS-shaped release of any size, made into a knowledge base and looked into: seconds, peak memory, microseconds.

    python benchmarks/kb.py --rows 10000000 --json [--names DIR] [--work DIR]

The release is generated from real ontology names with a seed: `--names` is a folder of `code<TAB>name<TAB>P|S` files; without
it they are fetched by ../shared/tools/real_names.py where that is at hand, else the shipped DOID's are used.  About half of the
rows are real names, a quarter repeats them under another source, the rest joins halves of two names; concepts have one
parent or two, one type or two.  Building runs in a process of its own, so that its peak is its own; opening and looking up in another.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from printing import show

from syncabel.kb import KnowledgeBase

SEED = 20_240_501
TOOL = Path(__file__).resolve().parents[2] / "shared" / "tools" / "real_names.py"
SETS = ("hpo", "mondo", "doid", "go", "mesh", "mesh_disease", "unii", "taxonomy")
SOURCES, TERM_TYPES = ("MSH", "SNOMEDCT_US", "NCI", "MTH", "RXNORM", "HPO"), ("PT", "SY", "PN", "ET", "MH")
LANGUAGES, SHARES = ("ENG", "SPA", "FRE", "GER"), (0.85, 0.08, 0.04, 0.03)
TYPES = ("T047", "T046", "T191", "T109", "T121", "T123", "T116", "T061", "T060", "T023", "T007", "T002", "T012", "T033", "T184")
PROBES = 20_000


def real_names(folder: Path | None, work: Path) -> pl.DataFrame:
    """Columns: concept (a number), name."""
    if folder is None and TOOL.exists():
        folder = work / "names"
        subprocess.run([sys.executable, str(TOOL), str(folder), *SETS], check=True, stdout=sys.stderr)
    if folder is None:
        names = KnowledgeBase.load("doid").tables.names
        return names.select("concept", name="text")
    files = sorted(folder.glob("*.tsv"))
    parts = [pl.read_csv(file, separator="\t", has_header=False, quote_char=None, new_columns=["code", "name", "flag"], infer_schema=False) for file in files]
    table = pl.concat([part.with_columns(code=pl.lit(file.stem) + pl.col("code")) for file, part in zip(files, parts, strict=True)])
    return table.select(concept=pl.col("code").rank("dense").cast(pl.UInt32) - 1, name=pl.col("name").str.replace_all("|", "/", literal=True))


def names_of(real: pl.DataFrame, rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """`rows` names sorted by concept: real ones, repeated ones, joined ones. Columns: concept, name."""
    kept = real.sample(min(real.height, rows // 2), seed=SEED, shuffle=True)
    repeated = kept.sample(min(kept.height, rows // 4), seed=SEED + 1)
    joined = rows - kept.height - repeated.height
    one, other = (real[rng.integers(0, real.height, joined)] for _ in range(2))
    half = pl.col("name").str.len_chars() // 2
    head, tail = one.select(pl.col("name").str.slice(0, half)), other.select(pl.col("name").str.slice(half))
    fresh = pl.DataFrame({"concept": real["concept"].max() + 1 + np.arange(joined) // 3, "name": head["name"] + tail["name"]})
    return pl.concat([kept, repeated, fresh.cast({"concept": pl.UInt32})]).sort("concept", maintain_order=True)


def choice(values: Sequence[str], count: int, rng: np.random.Generator, shares: Sequence[float] | None = None) -> pl.Series:
    return pl.Series(values)[rng.choice(len(values), count, p=shares)]


def numbered(prefix: str, numbers: pl.Series | np.ndarray, width: int = 7) -> pl.Expr:
    return pl.lit(prefix) + pl.lit(pl.Series(numbers).cast(pl.String).str.zfill(width))


def write(frame: pl.DataFrame, path: Path) -> None:
    frame.with_columns(end=pl.lit("")).write_csv(path, separator="|", include_header=False, quote_style="never")


def write_release(folder: Path, real: pl.DataFrame, rows: int) -> None:
    """MRCONSO, MRSTY, MRREL, MRDEF and MRSAB of `rows` atoms, in the columns of the UMLS reference manual."""
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    names = names_of(real, rows, rng)
    first = names["concept"].is_first_distinct()
    blank = pl.lit("")
    marks = {
        "TS": pl.lit(pl.select(pl.when(first).then(pl.lit("P")).otherwise(pl.lit("S"))).to_series()),
        "STT": pl.lit(choice(("PF", "VO"), rows, rng)),
        "ISPREF": pl.lit(choice(("Y", "N"), rows, rng)),
        "SUPPRESS": pl.lit(choice(("N", "O"), rows, rng, (0.92, 0.08))),
    }
    write(
        names.select(
            numbered("C", names["concept"]).alias("CUI"), pl.lit(choice(LANGUAGES, rows, rng, SHARES)).alias("LAT"),
            marks["TS"].alias("TS"),
            numbered("L", np.arange(rows)).alias("LUI"), marks["STT"].alias("STT"), numbered("S", np.arange(rows)).alias("SUI"),
            marks["ISPREF"].alias("ISPREF"),
            numbered("A", np.arange(rows)).alias("AUI"), blank.alias("SAUI"), blank.alias("SCUI"), blank.alias("SDUI"),
            pl.lit(choice(SOURCES, rows, rng)).alias("SAB"), pl.lit(choice(TERM_TYPES, rows, rng)).alias("TTY"), numbered("", np.arange(rows)).alias("CODE"),
            pl.col("name").alias("STR"), pl.lit("0").alias("SRL"), marks["SUPPRESS"].alias("SUPPRESS"), blank.alias("CVF"),
        ),
        folder / "MRCONSO.RRF",
    )  # fmt: skip
    concepts = names["concept"].unique(maintain_order=True).to_numpy()
    _write_types(folder, concepts, rng)
    _write_parents(folder, concepts, rng)
    _write_definitions(folder, concepts[::20])
    write(pl.DataFrame([["C1", "C1", "MTH", "MTH", "generated", "MTH", "2024AA", *[""] * 14, "Y", "Y", "", ""]], orient="row"), folder / "MRSAB.RRF")


def _write_types(folder: Path, concepts: np.ndarray, rng: np.random.Generator) -> None:
    several = np.concatenate([concepts, concepts[::10]])
    codes = pl.DataFrame({"concept": several, "TUI": choice(TYPES, len(several), rng)}).unique(maintain_order=True)
    blank = pl.lit("")
    write(
        codes.select(numbered("C", codes["concept"]).alias("CUI"), "TUI", blank.alias("STN"), blank.alias("STY"), blank.alias("ATUI"), blank.alias("CVF")),
        folder / "MRSTY.RRF",
    )


def _write_parents(folder: Path, concepts: np.ndarray, rng: np.random.Generator) -> None:
    """Each concept but the first under one of the first fifth of those before it, every tenth under two: some ten levels."""
    child = np.concatenate([np.arange(1, len(concepts)), np.arange(1, len(concepts), 10)])
    parent = (child * rng.uniform(0.1, 0.3, len(child))).astype(np.int64)
    blank = [pl.lit("").alias(name) for name in ("AUI1", "STYPE1", "AUI2", "STYPE2")]
    table = pl.DataFrame({"child": concepts[child], "parent": concepts[parent]}).unique(maintain_order=True)
    write(
        table.select(
            numbered("C", table["child"]).alias("CUI1"), blank[0], blank[1], pl.lit("PAR").alias("REL"), numbered("C", table["parent"]).alias("CUI2"),
            blank[2], blank[3], pl.lit("inverse_isa").alias("RELA"),
            numbered("R", np.arange(table.height)).alias("RUI"), pl.lit("").alias("SRUI"),
            pl.lit("MSH").alias("SAB"), pl.lit("MSH").alias("SL"), pl.lit("").alias("RG"), pl.lit("").alias("DIR"),
            pl.lit("N").alias("SUPPRESS"), pl.lit("").alias("CVF"),
        ),
        folder / "MRREL.RRF",
    )  # fmt: skip


def _write_definitions(folder: Path, concepts: np.ndarray) -> None:
    blank = pl.lit("")
    count = len(concepts)
    write(
        pl.select(
            numbered("C", concepts).alias("CUI"), blank.alias("AUI"), numbered("AT", np.arange(count)).alias("ATUI"), blank.alias("SATUI"),
            pl.lit("NCI").alias("SAB"), numbered("A generated definition, number ", np.arange(count)).alias("DEF"),
            pl.lit("N").alias("SUPPRESS"), blank.alias("CVF"),
        ),
        folder / "MRDEF.RRF",
    )  # fmt: skip


def build(release: Path, folder: Path) -> dict[str, float]:
    """Read, build and save, in this process."""
    from syncabel.kb.readers.rrf import read_rrf

    start = time.perf_counter()
    vocabulary = read_rrf(release, languages=["ALL"])
    read = time.perf_counter()
    kb = KnowledgeBase.build(vocabulary.content, vocabulary.about)
    del vocabulary
    made = time.perf_counter()
    kb.save(folder)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = {"read_s": read - start, "tables_s": made - read, "save_s": done - made, "build_s": done - start}
    return {"concepts": len(kb), "names": kb.n_names, **seconds, "peak_gb": peak}


def look(folder: Path) -> dict[str, float]:
    """Open, then time one look-up of each kind at a time; medians, in microseconds."""
    start = time.perf_counter()
    kb = KnowledgeBase.load(folder)
    opened = time.perf_counter() - start
    rng = np.random.default_rng(SEED)
    codes = [kb._index.codes[int(row)] for row in rng.integers(0, len(kb), PROBES)]
    names = [kb[code].names[0].text for code in codes]
    each = {"kb[code]": median_us(kb.concept, codes), "codes_of": median_us(kb.codes_of, names), "ancestors": median_us(kb.ancestors, codes)}
    depth = statistics.mean(len(kb.ancestors(code)) for code in codes[:1000])
    return {"open_s": opened, "lookup_us": max(each.values()), **{f"{name}_us": value for name, value in each.items()}, "mean_ancestors": depth}


def median_us(call: Callable[[str], object], keys: list[str]) -> float:
    """Pages are touched in a first round, as they are in any process that stays up; the second is timed."""
    for key in keys:
        call(key)
    taken = []
    for key in keys:
        start = time.perf_counter()
        call(key)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def generate(release: Path, names: Path, work: Path, rows: Path) -> dict[str, float]:
    write_release(release, real_names(None if names == Path() else names, work), int(rows.name))
    return {}


def in_process(step: str, *paths: Path) -> dict[str, float]:
    """One step in a process of its own.  All are started by a small process: a child's peak counts what its parent had when it was started."""
    done = subprocess.run([sys.executable, __file__, "--step", step, *map(str, paths)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--names", type=Path, help="folder of code<TAB>name<TAB>P|S files")
    parser.add_argument("--work", type=Path, help="kept folder for the release; one that is there is used again")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step, *paths = given.step
        print(json.dumps({"generate": generate, "build": build, "look": look}[step](*map(Path, paths))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        release = work / f"release-{given.rows}" / "META"
        if not (release / "MRSAB.RRF").exists():
            in_process("generate", release, given.names or Path(), work, Path(str(given.rows)))
        result = {"rows": given.rows, **in_process("build", release, Path(temporary, "kb")), **in_process("look", Path(temporary, "kb"))}
    show(result, given.json)


if __name__ == "__main__":
    main()
