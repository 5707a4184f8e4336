"""Tables of README.md and docs, generated from docs/results between `<!-- results: NAME TABLE -->` and `<!-- /results -->`."""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from results_figures import read_figures
from results_record import figures_digest, read_record, said_of

from syncabel.errors import ConfigError

__all__ = ["PAGES", "TABLES", "fill"]

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "results" / "README.md")
MARKED = re.compile(r"(^<!-- results: (?P<name>[\w-]+) (?P<table>[\w-]+) -->\n).*?(^<!-- /results -->$)", re.DOTALL | re.MULTILINE)
QUICKSTART = ("known_perturbed", "unseen_synonyms", "shared_short_forms", "demo_sentences")


def fill(text: str, results: Path) -> str:
    """A page with every marked table as its results file gives it.

    Args:
        text: of the page.
        results: folder of the results files.

    Raises:
        ConfigError: a marker names no table.
    """
    return MARKED.sub(lambda found: found[1] + rendered(found["name"], found["table"], results) + found[4], text)


def rendered(name: str, table: str, results: Path) -> str:
    """A table as Markdown.

    Raises:
        ConfigError: there is no such table.
    """
    if (name, table) == LAST_RUNS:
        return _last_runs(results)
    if (name, table) not in TABLES:
        raise ConfigError(f"no table {table!r} is made of {name}; scripts/results_tables.py makes {', '.join(' '.join(pair) for pair in (*TABLES, LAST_RUNS))}")
    content = yaml.safe_load((results / f"{name}.yaml").read_text(encoding="utf-8"))
    return TABLES[name, table](content)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells; one that is empty is one space wide."""
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def rounded(value: float, digits: int = 3) -> str:
    """A stored fraction with fewer digits; five goes up, in the decimals that are stored and not in the binary number nearest to them.

    >>> rounded(0.6635)
    '0.664'
    """
    return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def bold_best(column: Sequence[float | None], digits: int = 3) -> list[str]:
    """Fractions as text, the largest in bold; equal to the digits shown means equal."""
    shown = ["" if value is None else rounded(value, digits) for value in column]
    best = max((text for text in shown if text), default="")
    return [f"**{text}**" if text == best and text else text for text in shown]


LAST_RUNS = ("checks", "last")  # of the record of all files, not of one file


def _last_runs(results: Path) -> str:
    """When each check on record ended, and what came of it."""
    rows = []
    for one in read_record(results).values():
        said = said_of(one, figures_digest(read_figures(results / f"{one.file}.yaml")))
        rows.append([one.file, one.check, one.date, f"{one.seconds:,.0f}", said])
    return markdown(["file", "check", "ended", "seconds", "figures"], rows)


def _quickstart(content: Mapping[str, Any]) -> str:
    metrics, n = content["metrics"], content["n"]
    systems = [name for name, value in metrics.items() if "value" not in value]
    columns = [bold_best([metrics[system][test]["recall_at_1"]["value"] for system in systems]) for test in QUICKSTART]
    head = ["system", *(f"{test.replace('_', ' ')} (n={n[test]})" for test in QUICKSTART)]
    return markdown(head, [[system, *cells] for system, cells in zip(systems, zip(*columns, strict=True), strict=True)])


ARMS = {
    "human": "human",
    "human+names": "human + names",
    "human+template": "human + template sentences",
    "human+template_preferred": "human + template sentences, preferred names as they are",
    "human+template_matched": "human + template sentences, as many as by a language model",
    "human+template_mentions": "human + template sentences with a language model's mentions",
    "human+written": "human + sentences by a language model",
    "human+others": "human + human sentences of other corpora",
}
STRATA = {"all": "all", "human": "concept annotated by people", "synthetic_only": "only in synthetic", "neither": "in neither"}
BEHIND = "character TF-IDF behind a dictionary, long forms"


def _evidence(content: Mapping[str, Any], name: str = "ncbi_disease") -> str:
    metrics, baselines = content["metrics"], content["baselines"]

    def value(of: Mapping[str, Any], path: str) -> float | None:
        return of[path]["value"] if path in of else None

    arms = [arm for arm in ARMS if f"{name}/{arm}/constrained/all" in metrics]
    columns = []
    for part in STRATA:
        models = [value(metrics, f"{name}/{arm}/constrained/{part}") for arm in arms]
        columns.append(bold_best([*models, value(baselines, f"{name}/with_tfidf_long_forms/{part}")]))
    free = [value(metrics, f"{name}/{arm}/free/all") for arm in arms]
    columns.append([*("" if one is None else rounded(one) for one in free), ""])
    titles = [*(ARMS[arm] for arm in arms), BEHIND]
    return markdown(["trained on", *STRATA.values(), "free, all"], [[title, *cells] for title, cells in zip(titles, zip(*columns, strict=True), strict=True)])


SETS = {"ncbi_disease": "NCBI disease", "hpo": "HPO", "bc5cdr_disease": "BC5CDR disease", "bc5cdr_chemical": "BC5CDR chemical"}
# What a column calls an arm.
SHORT = {
    "human": "human", "names": "human+names", "template": "human+template", "preferred": "human+template_preferred", "matched": "human+template_matched",
    "mentions": "human+template_mentions", "written": "human+written",
}  # fmt: skip
PARTS = {"all": "all", "synthetic_only": "only in synthetic"}


def _gains(content: Mapping[str, Any], *pairs: tuple[str, str]) -> str:
    """What one arm has over another, by set: differences with interval and p; nothing where an arm was not run."""
    tests = content["tests"]
    columns = {f"{arm} - {other}, {title}": f"{SHORT[arm]} - {SHORT[other]}/constrained/{part}" for part, title in PARTS.items() for arm, other in pairs}
    rows = []
    for name, title in SETS.items():
        gains = [tests.get(f"{name}/{key}") for key in columns.values()]
        if found := [gain["seeds"] for gain in gains if gain is not None]:
            rows.append([title, *("" if gain is None else _gain(gain) for gain in gains), str(min(found))])
    return markdown(["set", *columns, "seeds"], rows)


def _gain(test: Mapping[str, Any]) -> str:
    low, high = test["ci95"]
    return f"{test['delta']:+.3f} [{low:+.3f}, {high:+.3f}], p {'< 0.001' if test['p'] < 0.001 else rounded(test['p'])}"


BASELINE_PARTS = {"all": "all", "human": "concept seen", "neither": "unseen"}


def _baselines(content: Mapping[str, Any]) -> str:
    """Every baseline by long forms, then as mentions are written, with intervals; seen is what train and dev have."""
    metrics = content["metrics"]
    plain = [name for name in metrics if not name.endswith("_long_forms")]
    head = ["system", *(f"{title} (n={metrics[plain[0]][part]['recall_at_1']['n']})" for part, title in BASELINE_PARTS.items())]
    rows = [
        [f"`{name}`{', as written' if not suffix else ''}", *map(_with_interval, metrics[name + suffix].values())]
        for suffix in ("_long_forms", "")
        for name in plain
    ]
    return markdown(head, rows)


def _with_interval(cell: Mapping[str, Any]) -> str:
    figure = cell["recall_at_1"]
    low, high = map(rounded, figure["ci95"])
    return f"{rounded(figure['value'])} [{low}, {high}]"


def _published(content: Mapping[str, Any]) -> str:
    rows = []
    for corpus, systems in content["metrics"]["recall_at_1"].items():
        for system, parts in systems.items():
            low, high = parts["all"]["ci95"]
            rows.append(
                [f"{corpus}, {system} synthetic data", rounded(parts["all"]["value"], 4), f"{rounded(low, 4)}–{rounded(high, 4)}", f"{parts['all']['n']:,}"]
            )
    return markdown(["published predictions", "Recall@1", "95 % interval", "mentions"], rows)


def _belb(content: Mapping[str, Any]) -> str:
    belb = content["metrics"]["belb"]
    columns = [(corpus, protocol) for corpus in belb for protocol in ("strict", "lenient")]
    head = ["system", *(f"{corpus.replace('_', ' ')}, {protocol}" for corpus, protocol in columns)]
    systems = next(iter(belb.values()))
    return markdown(head, [[system, *(rounded(belb[corpus][system][protocol]["value"], 4) for corpus, protocol in columns)] for system in systems])


MODELS = {"ncbi-small": "a small Llama", "ncbi-smollm2": "SmolLM2-135M"}
WITH_MODEL = {
    "model": "{}, all names",
    "model_retrieved": "{}, retrieved names",
    "dictionary_first": "dictionary first, then that",
    "fusion": "**fusion with {}**",
}
KNOWING = ("train", "train_and_dev")


def _fusion_row(title: str, of: Mapping[str, Any], system: str) -> list[str]:
    """Recall@1, of unseen concepts in brackets, by what the parts know; seconds."""
    cells = [of[knows]["systems"][system]["any"] for knows in KNOWING]
    scores = [f"{rounded(cell['recall_at_1']['value'])} ({rounded(cell['recall_at_1_unseen_concepts']['value'])})" for cell in cells]
    seconds = of["seconds"].get(system) if system != "fusion" else None  # that of its parts, and next to nothing
    return [title, *scores, str(seconds["value"]) if seconds else ""]


def _fusion(content: Mapping[str, Any]) -> str:
    metrics = content["metrics"]
    alone = metrics["no_model"]
    rows = [_fusion_row(f"`{name}`", alone, name) for name in alone["train"]["systems"] if name != "fusion"]
    for model in (name for name in metrics if name != "no_model"):
        called = MODELS.get(model, model)
        rows += [_fusion_row(title.format(called), metrics[model], system) for system, title in WITH_MODEL.items()]
    return markdown(["system", "knows train", "knows train and dev", "seconds"], [*rows, _fusion_row("fusion without a model", alone, "fusion")])


def _fusion_paired(content: Mapping[str, Any]) -> str:
    metrics = content["metrics"]
    against = {model: of["train_and_dev"]["fusion_against"] for model, of in metrics.items()}
    others = dict.fromkeys(other for of in against.values() for other in of)
    head = ["fusion less", *("without a model" if model == "no_model" else f"with {MODELS.get(model, model)}" for model in against)]
    return markdown(head, [[f"`{other}`", *(_difference(of[other]["any"]) if other in of else "" for of in against.values())] for other in others])


def _difference(cell: Mapping[str, Any]) -> str:
    low, high = (f"{float(rounded(end)):+.3f}" for end in cell["delta"]["ci95"])
    p = cell["p_sign_flip"]["value"]
    return f"{float(rounded(cell['delta']['value'])):+.3f} [{low}, {high}], p {'< 0.001' if p < 0.001 else rounded(p)}"


TABLES: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], str]] = {
    ("quickstart", "recall"): _quickstart,
    ("ncbi_disease_baselines", "recall"): _baselines,
    **{("evidence", f"arms-{name}"): partial(_evidence, name=name) for name in SETS},
    ("evidence", "gains"): lambda content: _gains(content, ("template", "human"), ("template", "names")),
    ("evidence", "gains-written"): lambda content: _gains(content, ("written", "human"), ("written", "names"), ("written", "matched")),
    ("evidence", "gains-mentions"): lambda content: _gains(content, ("mentions", "matched"), ("written", "mentions"), ("preferred", "template")),
    ("published", "recall"): _published,
    ("published", "belb"): _belb,
    ("fusion", "systems"): _fusion,
    ("fusion", "paired"): _fusion_paired,
}
