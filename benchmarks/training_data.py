"""A million synthetic rows from their file to what a training is fed: seconds and peak memory of each stage.

    python benchmarks/training_data.py --tokenizer FOLDER [--rows 1000000] [--human 5000] [--epochs 3] [--work DIR] [--keep] [--json]

Rows are written from sentence templates over the shipped DOID: every row has its own wording, and the names are those of the lexicon.
Every stage runs in a process of its own, because peak memory is a process's.  It is given as anonymous memory, which the machine must
have, beside what is mapped from files, which it takes back when it needs to: both sampled every 20 ms.  `TOKENIZERS_PARALLELISM` and
`RAYON_NUM_THREADS` decide over the threads that tokenise.  A figure for docs/results names this command.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from printing import show

STAGES = ("lexicon", "write_jsonl", "write_parquet", "tokenise_jsonl", "tokenise_parquet", "mapped", "mapped_packed", "mapped_packed_again", "mix")
BEFORE = ("The patient was admitted with", "A family history of", "We report a case of", "After surgery, she developed", "Screening was negative for")
AFTER = ("since the age of {n}.", "was confirmed by biopsy in {n} of {m} patients.", "and was treated for {n} weeks.", "in both of {n} children.")
LONG = ("There were no complications in the {n} months that followed.", "The remaining {m} findings were within normal limits.", "")
MAX_LENGTH, MIB = 512, 1 << 20


class Watch(threading.Thread):
    """The most memory this process held, in bytes: anonymous, and in all."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.all = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
            self.anonymous = max(self.anonymous, 1024 * int(fields["RssAnon"].split()[0]))
            self.all = max(self.all, 1024 * int(fields["VmRSS"].split()[0]))


def rows(lexicon: Any, count: int, source: str, seed: int) -> Iterator[Any]:
    from syncabel.prompt import PromptFormat, from_sentence
    from syncabel.types import Provenance, SFTExample

    draw, fmt = random.Random(seed), PromptFormat()
    order, digest = np.random.default_rng(seed).permutation(len(lexicon)), str(lexicon.header["kb_digest"])
    for i in range(count):
        entry = int(order[i % len(order)])
        name, code = lexicon.name(entry), lexicon.code(entry)
        mention = name.translate({ord(c): "(" if c in "[{" else ")" for c in "[]{}"})
        text = " ".join((draw.choice(BEFORE), f"[{mention}]{{Disease}}", draw.choice(AFTER), draw.choice(LONG))).format(
            n=draw.randrange(2, 90), m=draw.randrange(90, 9000), Disease="{Disease}"
        )
        made = Provenance(code, "template", seed=i, kb_digest=digest) if source == "synthetic" else None
        yield SFTExample(from_sentence(text.strip(), fmt), name, code, source, f"{source}-{i}", "1", made)


def settings_of(work: Path, tokenizer: str, suffix: str, cache: str) -> Any:
    from syncabel.train.arguments import parse

    files = {"human_examples": work / f"human{suffix}", "synthetic_examples": work / f"synthetic{suffix}", "token_cache": work / cache}
    rest = {"lexicon": work / "lexicon", "init": "random", "tokenizer": tokenizer, "output_dir": work / "run", "max_length": MAX_LENGTH, "use_cpu": "true"}
    return parse([word for name, value in {**files, **rest}.items() for word in (f"--{name}", str(value))])


def loaded(work: Path, tokenizer: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    from syncabel.lexicon.store import Lexicon
    from syncabel.prompt import PromptFormat, prepare_tokenizer

    return Lexicon.load(work / "lexicon"), prepare_tokenizer(AutoTokenizer.from_pretrained(tokenizer), PromptFormat())


def write(work: Path, args: Any, suffix: str) -> Callable[[], dict[str, Any]]:
    from syncabel.sft import write_examples

    lexicon, _ = loaded(work, args.tokenizer)

    def stage() -> dict[str, Any]:
        for source, count, seed in (("human", args.human, 1), ("synthetic", args.rows, 2)):
            write_examples(rows(lexicon, count, source, seed), work / f"{source}{suffix}")
        return {"bytes": (work / f"synthetic{suffix}").stat().st_size}

    return stage


def build(work: Path, args: Any, suffix: str, cache: str, packing: int | None) -> Callable[[], dict[str, Any]]:
    from syncabel.train.data import build_run
    from syncabel.train.sources import load_sources, mode_of

    settings = settings_of(work, args.tokenizer, suffix, cache)
    lexicon, tokenizer = loaded(work, args.tokenizer)

    def stage() -> dict[str, Any]:
        started = time.perf_counter()
        sources = load_sources(settings, lexicon, tokenizer)
        seconds = time.perf_counter() - started
        run = build_run(
            sources,
            ratio=mode_of(settings),
            max_steps=0,
            epochs=args.epochs,
            items_per_step=64,
            packing=packing,
            bucket_batches=1,
            max_repeats=100_000,
            seed=0,
        )
        for start in range(0, len(run.mixture.order), max(1, len(run.mixture.order) // 50)):
            run.dataset[start : start + 64]
        print(run.mixture.report, file=sys.stderr)
        tokens = {name: len(part.ids) for name, part in sources.items()}
        return {"seconds_of_load_sources": round(seconds, 1), "items": len(run.mixture.order), "steps": run.steps, "tokens": tokens, "digest": run.digest}

    return stage


def mixed(_work: Path, args: Any) -> Callable[[], dict[str, Any]]:
    from syncabel.mixing import Side, mix

    draw = np.random.default_rng(0)
    sides = [
        Side(name, *(draw.integers(*range_, size) for range_ in ((3, 16), (40, 90))), size) for name, size in (("human", 20_000), ("synthetic", 2_000_000))
    ]

    def stage() -> dict[str, Any]:
        mixture = mix(sides, epochs=args.epochs, multiple=64, max_repeats=100_000)
        return {"items": len(mixture.order), "shares": [round(side.share, 6) for side in mixture.report.sides]}

    return stage


def made_lexicon(work: Path, args: Any) -> Callable[[], dict[str, Any]]:
    from transformers import AutoTokenizer

    from syncabel.kb import KnowledgeBase
    from syncabel.lexicon.build import build_lexicon
    from syncabel.prompt import PromptFormat, prepare_tokenizer

    def stage() -> dict[str, Any]:
        kb = KnowledgeBase.load("doid")
        lexicon = build_lexicon(kb, prepare_tokenizer(AutoTokenizer.from_pretrained(args.tokenizer), PromptFormat()))
        lexicon.save(work / "lexicon")
        return {"names": len(lexicon), "kb": kb.digest}

    return stage


def prepared(name: str, work: Path, args: Any) -> Callable[[], dict[str, Any]]:
    if name == "lexicon":
        return made_lexicon(work, args)
    if name == "mix":
        return mixed(work, args)
    if name.startswith("write_"):
        return write(work, args, f".{name.removeprefix('write_')}")
    suffix = ".parquet" if name == "tokenise_parquet" else ".jsonl"
    return build(work, args, suffix, "tokens-parquet" if name == "tokenise_parquet" else "tokens", MAX_LENGTH if "packed" in name else None)


def measured(name: str, work: Path, args: Any, results: Any) -> None:
    """One stage in this process; imports and what is loaded before count as memory at its start."""
    stage, watch = prepared(name, work, args), Watch()
    watch.start()
    time.sleep(0.1)
    before = watch.anonymous
    started, worked = time.perf_counter(), time.process_time()
    found = stage()
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    time.sleep(0.05)
    watch.over.set()
    memory = {"before": before // MIB, "peak": watch.anonymous // MIB, "peak_with_mapped_files": watch.all // MIB}
    results.put({"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "anonymous_mib": memory, **found})


def main() -> None:
    """Print seconds and memory of every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer")
    parser.add_argument("--rows", type=int, default=1_000_000, help="synthetic rows")
    parser.add_argument("--human", type=int, default=5_000, help="human rows")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one where not given")
    parser.add_argument("--keep", action="store_true", help="leave --work as it is afterwards")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    context, report = multiprocessing.get_context("spawn"), {}
    try:
        for name in args.stages:
            results = context.Queue()
            process = context.Process(target=measured, args=(name, work, args, results))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"{name}: ended with {process.exitcode}")
            report[name] = results.get()
            print(f"{name}: {report[name]}", file=sys.stderr)
    finally:
        if not args.keep:
            shutil.rmtree(work)
    show(report, args.json)


if __name__ == "__main__":
    main()
