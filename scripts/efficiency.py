"""How many human documents it takes, and how much synthetic text beside them: fractions × mixing ratios × seeds, at equal steps and equal loss tokens.

    python scripts/efficiency.py --set ncbi_disease --steps 800

A point is a fraction of the human documents, a ratio human:synthetic of the loss tokens, and a seed.  The documents of a seed are
nested: those of a smaller fraction are among those of every larger one.  A point that is in OUTPUT with the same settings is not run
again, so a grid that was killed goes on with the point it was at; the results file and the two figures beside it are written anew
after every point.  Sets, small Llama, decoding and strata are those of scripts/evidence.py.
"""

import argparse
import hashlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from efficiency_report import figures_of, plot, write_results
from evidence_cells import PLACES, TOLERANCE, Cell, Counted, Ledger, Options, Prepared, baselines, read_cell, run_once, training_config, unequal
from evidence_sets import SETS, Places

from data_gen.planning import Plan, plan
from syncabel.errors import ConfigError
from syncabel.progress import bars_on_terminals_only
from syncabel.types import Document

FRACTIONS = (0.1, 0.25, 0.5, 1.0)
RATIOS = ("1:0", "3:1", "1:1", "1:3", "0:1")


@dataclass(frozen=True, slots=True)
class Point:
    """One training.

    Attributes:
        set: of scripts/evidence.py.
        fraction: of the human documents, in [0, 1]; 0 where the ratio has none.
        ratio: human:synthetic in loss tokens.
        seed: of the draw of documents, the order, the initialisation.
    """

    set: str
    fraction: float
    ratio: str
    seed: int

    @property
    def human_share(self) -> float:
        """Share of the loss tokens that is human, a fraction.

        >>> Point("ncbi_disease", 1.0, "3:1", 0).human_share
        0.75
        """
        human, synthetic = map(float, self.ratio.split(":"))
        return human / (human + synthetic)

    def folder(self, output: Path) -> Path:
        """Where its predictions lie."""
        return output / self.set / f"fraction-{self.fraction:g}" / f"ratio-{self.ratio.replace(':', '-')}" / f"seed-{self.seed}"


def points_of(name: str, fractions: Sequence[float], ratios: Sequence[str], seeds: Sequence[int]) -> list[Point]:
    """In the order they are run, all of a seed before the next; without human text the fraction says nothing, and there is one point for all."""
    found = [Point(name, 0.0 if ratio.startswith("0:") else fraction, ratio, seed) for seed in seeds for fraction in fractions for ratio in ratios]
    return list(dict.fromkeys(found))


def nested(documents: Sequence[Document], fraction: float, seed: int) -> tuple[Document, ...]:
    """A fraction of the documents, at least one, in their own order; with equal seeds a smaller fraction is a subset of a larger one.

    Args:
        documents: distinct by id.
        fraction: in (0, 1], of documents, rounded up.
        seed: of the draw.
    """
    drawn = sorted(document.id for document in documents)
    random.Random(seed).shuffle(drawn)
    kept = set(drawn[: math.ceil(fraction * len(drawn))])
    return tuple(document for document in documents if document.id in kept)


def batch_of(wanted: float, human_share: float, human: float | None, synthetic: float | None) -> int:
    """Examples a step that make the wanted loss tokens.

    Args:
        wanted: loss tokens a step.
        human_share: of them, a fraction.
        human, synthetic: mean loss tokens of an example; None where the source has no share.

    >>> batch_of(320, 0.5, 10, 20)
    24
    """
    examples = (human_share / human if human else 0.0) + ((1 - human_share) / synthetic if synthetic else 0.0)
    return max(2, round(wanted * examples))


class Drawable(Counted):
    """A set whose synthetic text is of all concepts but the held-out ones, the same for every point: what people annotate of them varies with the fraction."""

    def _plan(self, human: frozenset[str]) -> Plan:
        return plan(self.bench.kb, select="all", trained=human, hold_out=self.options.hold_out, seed=self.options.plan_seed)


class Drawn(Drawable, Prepared):
    """The same with texts, tokenizer and lexicon."""

    def human(self, fraction: float, seed: int) -> tuple[Path, float, str]:
        """The examples of a fraction's documents: file, mean loss tokens, SHA-256."""
        source = f"human-{fraction:g}"
        self.sources[source] = nested(self.bench.fit, fraction, seed)
        return self.examples(seed, source)


def run_point(point: Point, drawn: Drawn, source: str, output: Path) -> bool:
    """Train and decode a point, unless its folder holds it with the same settings.

    Returns:
        Whether it was run.
    """
    share = point.human_share
    human, human_tokens, human_digest = drawn.human(point.fraction, point.seed) if share else (None, None, None)
    other, other_tokens, other_digest = drawn.examples(point.seed, source) if share < 1 else (None, None, None)
    wanted = drawn.options.batch * drawn.human(1.0, point.seed)[1]
    batch = batch_of(wanted, share, human_tokens, other_tokens)
    training = training_config(Cell(point.set, point.ratio, point.seed), drawn, human or Path(), other, batch)
    training |= {"mix": point.ratio} if human and other else {}
    training = {key: value for key, value in training.items() if (human or key != "human_examples") and (share not in (0, 1) or key != "mix")}
    settings = {
        "point": asdict(point), "source": source, "training": {key: value for key, value in training.items() if key not in PLACES}, "batch": batch,
        "options": drawn.options.stated, "kb": drawn.bench.kb.digest, "lexicon": drawn.lexicon.digest, "human": human_digest, "other": other_digest,
        "test": [document.id for document in drawn.bench.test], "plan": hashlib.sha256(json.dumps(drawn.plan.held_out).encode()).hexdigest(),
    }  # fmt: skip
    return run_once(point.folder(output), drawn, training, settings)


def baseline_of(drawn: Drawable, fraction: float, seed: int, output: Path) -> Path:
    """Scores of the baselines fitted on the same documents as a point, kept in a file named by them."""
    documents = nested(drawn.bench.fit, fraction, seed)
    stated = [drawn.bench.kb.digest, sorted(document.id for document in documents), drawn.options.protocol]
    mark = hashlib.sha256(json.dumps(stated).encode()).hexdigest()
    path = output / drawn.bench.name / f"fraction-{fraction:g}" / f"baselines-{seed}.json"
    if not path.exists() or json.loads(path.read_text(encoding="utf-8"))["digest"] != mark:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".tmp")
        written.write_text(json.dumps({"digest": mark, "documents": len(documents), **baselines(drawn, documents)}), encoding="utf-8")
        os.replace(written, path)
    return path


def refuse_unequal(points: Iterable[Point], output: Path, options: Options, tolerance: float) -> None:
    """Stop where the points of a seed were not given the same.

    Raises:
        ConfigError: they were not.
    """
    found: dict[int, dict[str, Ledger]] = {}
    for point in points:
        if (cell := read_cell(point.folder(output), options)) is not None:
            found.setdefault(point.seed, {})[f"{point.fraction:g} of the documents, {point.ratio}"] = Ledger(**cell["ledger"])
    problems = [f"seed {seed}: {problem}" for seed, ledgers in found.items() for problem in unequal(ledgers, tolerance)]
    if problems:
        raise ConfigError(f"the points cannot be compared: {'; '.join(problems)}")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with corpora and kb")
    parser.add_argument("--ontologies", type=Path, default=Path("out/ontologies"))
    parser.add_argument("--maker", type=Path, default=Path("../shared/tools/real_names.py"))
    parser.add_argument("--set", default="ncbi_disease", choices=list(SETS))
    parser.add_argument("--fractions", type=_list_of(_fraction), default=list(FRACTIONS), help="of the human documents, 0.1,0.25,…")
    parser.add_argument("--ratios", type=_list_of(_ratio), default=list(RATIOS), help="human:synthetic in loss tokens, 1:0,3:1,…")
    parser.add_argument("--seeds", type=_list_of(int), default=[0, 1, 2])
    parser.add_argument("--source", choices=("template", "names", "written"), default="template", help="of the synthetic text")
    parser.add_argument("--written", type=Path, help="folder that `syncabel generate` wrote, for --source written")
    parser.add_argument("--output", type=Path, default=Path("out/efficiency"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/efficiency.yaml"), help="the two figures are written beside it")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="how far loss tokens of points may differ before the grid stops, a fraction")
    parser.add_argument("--report-only", action="store_true", help="run no point: results file and figures from those that are there")
    for name, field in Options.__dataclass_fields__.items():
        kind: Callable[[str], Any] = str if field.default is None else type(field.default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=field.default)
    args = parser.parse_args(argv)
    if args.source == "written" and args.written is None:
        parser.error("--source written needs --written FOLDER, what `syncabel generate` wrote")
    return args


def _list_of(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split(",") if part]


def _fraction(text: str) -> float:
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text}: a fraction of the documents is above 0 and at most 1")
    return value


def _ratio(text: str) -> str:
    parts = [float(part) for part in text.split(":")]
    if len(parts) != 2 or min(parts) < 0 or not sum(parts):
        raise argparse.ArgumentTypeError(f"{text}: a ratio is human:synthetic, as 3:1")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing of the grid; after Ctrl-C the results file has what was finished."""
    args = arguments(argv)
    bars_on_terminals_only()
    options = Options(**{name: getattr(args, name) for name in Options.__dataclass_fields__})
    drawn = Drawn(SETS[args.set](Places(args.data, args.ontologies, args.maker)), options, args.output / args.set / "data", args.written)
    points = points_of(args.set, args.fractions, args.ratios, args.seeds)
    try:
        for point in [] if args.report_only else points:
            started = time.perf_counter()
            ran = run_point(point, drawn, args.source, args.output)
            refuse_unequal(points, args.output, options, args.tolerance)
            print(f"{point}: {f'{time.perf_counter() - started:.0f} s' if ran else 'there already'}", file=sys.stderr, flush=True)
            if ran:
                report(points, drawn, args, options)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the point it was at", file=sys.stderr)
        return 130
    for path, figure in report(points, drawn, args, options).items():
        if path.endswith("/constrained/all"):
            print(f"{path:60} {figure['value']:.3f} [{figure['ci95'][0]:.3f}, {figure['ci95'][1]:.3f}] n={figure['n']}")
    return 0


def report(points: Sequence[Point], drawn: Drawn, args: argparse.Namespace, options: Options) -> Mapping[str, Any]:
    """Results file and figures from the points that are there; the figures by their path."""
    folders = {(point.fraction, point.ratio, point.seed): point.folder(args.output) for point in points}
    beside = {(fraction, seed): baseline_of(drawn, fraction, seed, args.output) for fraction in args.fractions for seed in args.seeds}
    found = figures_of(folders, beside, options)
    facts = {
        "set": drawn.bench.name, "about": drawn.bench.notes, "source": args.source, "documents": len(drawn.bench.fit), "n": found.n,
        "kb": drawn.bench.kb.digest, "lexicon": drawn.lexicon.digest, "seeds": args.seeds, "wanted": len(points),
    }  # fmt: skip
    write_results(args.results, found, options, facts)
    plot(args.results, found)
    return found.flat


if __name__ == "__main__":
    sys.exit(main())
