"""What synthetic data is worth: corpora × arms × seeds at equal optimizer steps and equal loss tokens, decoded constrained and free.

    python scripts/evidence.py --sets ncbi_disease --steps 800

An arm is human documents alone, or these 1:1 (in loss tokens) with a second source: names, template sentences, template sentences
with the preferred name as it is, sentences of a writer (`--written FOLDER`), template sentences matched to these (as many of each
concept), template sentences about the very mentions of these, or human sentences of other corpora for the concepts that the fit
does not have, the ceiling.  A cell is a set, an arm and a seed; its predictions lie in OUTPUT/SET/ARM/seed-N, and a cell that is
there with the same settings is not run again.  The results file is written anew after every cell; `--extend` leaves the sets in it
that are not asked for.  A small Llama from nothing where no `--model` is given.  OUTPUT/SET/codes.txt has the concepts of the plan,
for `syncabel generate --codes`.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence_cells import ARMS, TOLERANCE, Cell, Ledger, Options, Prepared, baselines, cells_of, read_cell, run_cell, strata_of, unequal
from evidence_report import Results, of_set, print_table, there_already
from evidence_sets import BESIDE_FLOORS, FLOORS, SETS, Places

from data_gen.folder import DOCUMENTS, MANIFEST, read_manifest
from syncabel.errors import ConfigError, SyncabelError
from syncabel.progress import bars_on_terminals_only


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with corpora and kb")
    parser.add_argument("--ontologies", type=Path, default=Path("out/ontologies"), help="folder of code<TAB>name<TAB>P|S files; made where absent")
    parser.add_argument("--maker", type=Path, default=Path("../shared/tools/real_names.py"), help="script that makes them")
    parser.add_argument("--sets", type=_among(SETS), default=list(SETS), help=f"any of {','.join(SETS)}")
    parser.add_argument("--arms", type=_among(ARMS), default=list(ARMS), help=f"any of {','.join(ARMS)}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument(
        "--written", type=Path, help="folder that `syncabel generate` wrote with an LLM; human+written and the two arms held against it are not run without"
    )
    parser.add_argument("--rebase", action="store_true", help="take of --written what was written for another knowledge base and holds in the set's")
    parser.add_argument("--output", type=Path, default=Path("out/evidence"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/evidence.yaml"))
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="how far loss tokens of arms may differ before the grid stops, a fraction")
    parser.add_argument("--keep-models", action="store_true", help="leave each cell's run and model folder")
    parser.add_argument("--extend", action="store_true", help="leave what the results file says of other sets as it is")
    parser.add_argument("--report-only", action="store_true", help="run no cell: the results file and the table from those that are there")
    for name, field in Options.__dataclass_fields__.items():
        kind: Callable[[str], Any] = str if field.default is None else type(field.default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=field.default)
    return parser.parse_args(argv)


def _among(known: Collection[str]) -> Callable[[str], list[str]]:
    """Reads names with commas between them, all of them known."""

    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        if strange := next((name for name in found if name not in known), None):
            raise argparse.ArgumentTypeError(f"{strange} is none of {', '.join(known)}")
        return found

    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing of the grid, set by set; after Ctrl-C the results file has what was finished."""
    args = arguments(argv)
    bars_on_terminals_only()
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the cell it was at", file=sys.stderr)
        return 130
    except (SyncabelError, OSError) as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    options = Options(**{name: getattr(args, name) for name in Options.__dataclass_fields__})
    if args.written is not None and not (args.written / DOCUMENTS).is_file():
        raise ConfigError(f"--written {args.written}: there is no {DOCUMENTS} in it; give the folder that `syncabel generate` wrote")
    results = Results(args.results, args.seeds, options, there_already(args.results, args.seeds, options) if args.extend else {})
    for name in args.sets:
        _run_set(name, args, options, results)
    print_table(results.write())
    return 0


def _run_set(name: str, args: argparse.Namespace, options: Options, results: Results) -> None:
    bench = SETS[name](Places(args.data, args.ontologies, args.maker))
    prepared = Prepared(bench, options, args.output / name / "data", args.written, args.rebase)
    facts = results.facts[name] = _facts(prepared, args.written)
    (args.output / name / "codes.txt").write_text("".join(f"{code}\n" for code in prepared.codes), encoding="utf-8")
    for file, values in (("baselines.json", baselines(prepared)), ("in_others.json", prepared.in_others())):
        (args.output / name / file).write_text(json.dumps(values), encoding="utf-8")
    for cell in cells_of([name], args.arms, args.seeds):
        if not args.report_only and _can_run(cell.arm, prepared):
            started = time.perf_counter()
            ran = run_cell(cell, prepared, args.output, args.keep_models)
            _refuse_unequal(cell, args.output, options, args.tolerance)
            print(f"{cell}: {f'{time.perf_counter() - started:.0f} s' if ran else 'there already'}", file=sys.stderr, flush=True)
            if ran:
                facts["measured"] = of_set(args.output, name, list(ARMS), args.seeds, options)
                results.write()
    facts["measured"] = of_set(args.output, name, list(ARMS), args.seeds, options)
    ran = {key.split("/")[1] for key in facts["measured"]["ledger"]}
    results.not_run |= {f"{name}/{arm}": NOT_ASKED if _can_run(arm, prepared) else REASONS[arm] for arm in ARMS if arm not in ran}


def _can_run(arm: str, prepared: Prepared) -> bool:
    second = ARMS[arm]
    return second is None or second in prepared.sources


NOT_ASKED = "not asked for (--arms)"
NO_WRITER = "no writer was at hand (--written)"
REASONS = {
    "human+template_matched": NO_WRITER,
    "human+template_mentions": NO_WRITER,
    "human+written": NO_WRITER,
    "human+others": "no other corpus annotates concepts of this set that its training documents do not have",
}


def _refuse_unequal(cell: Cell, output: Path, options: Options, tolerance: float) -> None:
    """Stop where the arms of a seed were not given the same.

    Raises:
        ConfigError: they were not.
    """
    found = {arm: read_cell(Cell(cell.set, arm, cell.seed).folder(output), options) for arm in ARMS}
    there = {arm: Ledger(**one["ledger"]) for arm, one in found.items() if one is not None}
    if problems := unequal(there, tolerance):
        raise ConfigError(f"{cell.set}, seed {cell.seed}: the arms cannot be compared: {'; '.join(problems)}")


def _facts(prepared: Prepared, written: Path | None) -> dict[str, Any]:
    """What the results file says of a set beside its figures."""
    bench = prepared.bench
    strata = strata_of(prepared)
    return {
        "n": len(strata),
        "strata": {
            **Counter(strata),
            "in_others": sum(prepared.in_others()),
            "planned_concepts": len(prepared.codes),
            "held_out_concepts": len(prepared.plan.held_out),
            "mentions_by_source": {source: sum(len(document.mentions) for document in documents) for source, documents in prepared.sources.items()},
        },
        "notes": bench.notes + ("" if written is None else f" {_who_wrote(written, prepared)}"),
        "floors": {**FLOORS.get(bench.name, {}), "beside": BESIDE_FLOORS.get(bench.name, "")},
        "removed": asdict(bench.others.removed) if bench.others else None,
        "digests": {"kb": bench.kb.digest, "lexicon": prepared.lexicon.digest},
    }


def _who_wrote(folder: Path, prepared: Prepared) -> str:
    manifest = read_manifest(folder / MANIFEST)
    settings, documents = manifest.settings, manifest.files[DOCUMENTS]
    asked = f"writer {settings.writer}{f', {settings.style}' if settings.style else ''}, {manifest.kept:,} sentences on {settings.concepts:,} concepts"
    rebased = f", of which {len(prepared.sources['written']):,} are of the plan and hold in this knowledge base" if prepared.rebased else ""
    return f"human+written: by {settings.model} ({asked}{rebased}, SHA-256 {documents.sha256})."


if __name__ == "__main__":
    sys.exit(main())
