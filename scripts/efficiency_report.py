"""Points of scripts/efficiency.py that are there to figures: means over seeds, intervals and tests over documents, the results file, two plots."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_file
from evidence_cells import MODES, Options, read_cell
from evidence_report import SOFTWARE, STRATA, Scores, comparison, metrics_of

from syncabel.errors import MissingExtraError

__all__ = ["Found", "figures_of", "plot", "write_results"]

BASELINE = "with_tfidf_long_forms"  # the one that is drawn and tested against
Place = tuple[float, str]  # fraction of the human documents, ratio


@dataclass(frozen=True, slots=True)
class Found:
    """What the points that are there say.

    Attributes:
        n: scored mentions.
        documents: fraction -> human documents.
        metrics: fraction -> ratio or baseline -> (mode ->) stratum -> figure.
        tests: pair and stratum -> difference.
        ledger: point -> what its training was given.
        digests: point -> mark of its settings.
        points: how many are there.
    """

    n: int
    documents: Mapping[float, int]
    metrics: Mapping[str, Any]
    tests: Mapping[str, Any]
    ledger: Mapping[str, Any]
    digests: Mapping[str, str]
    points: int

    @property
    def flat(self) -> dict[str, Any]:
        """Figures by path."""
        return dict(_leaves(self.metrics, ""))

    def figure(self, fraction: float, *path: str) -> Mapping[str, Any] | None:
        """The figure at a path below a fraction, None where it was not measured."""
        found: Any = self.metrics.get(named(fraction))
        for part in path:
            found = found.get(part) if found else None
        return found if isinstance(found, Mapping) else None


def named(fraction: float) -> str:
    """A fraction as the results file has it.

    >>> named(0.25)
    'fraction 0.25'
    """
    return f"fraction {fraction:g}"


def _leaves(tree: Mapping[str, Any], before: str) -> list[tuple[str, Any]]:
    if "value" in tree:
        return [(before, tree)]
    return [leaf for key, inner in tree.items() for leaf in _leaves(inner, f"{before}/{key}" if before else str(key))]


def figures_of(folders: Mapping[tuple[float, str, int], Path], beside: Mapping[tuple[float, int], Path], options: Options) -> Found:
    """Everything the results file says.

    Args:
        folders: (fraction, ratio, seed) -> where the point's predictions lie, if it was run.
        beside: (fraction, seed) -> scores of the baselines fitted on the same documents.
        options: of the grid; points of others do not count.
    """
    cells = {key: cell for key, folder in folders.items() if (cell := read_cell(folder, options)) is not None}
    places = list(dict.fromkeys((fraction, ratio) for fraction, ratio, _ in cells))
    models = {(place, mode): _scores(place, mode, cells, folders) for place in places for mode in MODES}
    floors = _baselines(beside)
    metrics: dict[str, Any] = {}
    for (place, mode), scores in models.items():
        metrics.setdefault(named(place[0]), {}).setdefault(place[1], {})[mode] = metrics_of(scores)
    for (fraction, name), scores in floors.items():
        metrics.setdefault(named(fraction), {})[name] = metrics_of(scores)
    return Found(
        n=next((len(scores.documents) for scores in (*models.values(), *floors.values())), 0),
        documents={fraction: json.loads(path.read_text(encoding="utf-8"))["documents"] for (fraction, _), path in beside.items()},
        metrics=metrics,
        tests=_tests(models, floors),
        ledger={_point(key): cell["ledger"] for key, cell in cells.items()},
        digests={_point(key): cell["digest"] for key, cell in cells.items()},
        points=len(cells),
    )


def _point(key: tuple[float, str, int]) -> str:
    return f"{named(key[0])}, {key[1]}, seed {key[2]}"


def _scores(place: Place, mode: str, cells: Mapping[tuple[float, str, int], Any], folders: Mapping[tuple[float, str, int], Path]) -> Scores:
    keys = [key for key in cells if key[:2] == place]
    lines = {key[2]: [json.loads(line) for line in (folders[key] / "scores.jsonl").read_text(encoding="utf-8").splitlines()] for key in keys}
    first = next(iter(lines.values()))
    strata = [frozenset(("all", line["stratum"])) for line in first]
    return Scores([line["document"] for line in first], strata, {seed: [line[mode] for line in rows] for seed, rows in lines.items()})


def _baselines(beside: Mapping[tuple[float, int], Path]) -> dict[tuple[float, str], Scores]:
    """Scores of every baseline at every fraction, a row a seed: the documents drawn differ."""
    found: dict[tuple[float, str], dict[int, Any]] = {}
    documents: list[str] = []
    strata: list[frozenset[str]] = []
    for (fraction, seed), path in beside.items():
        rows = json.loads(path.read_text(encoding="utf-8"))
        documents, strata = rows["document"], [frozenset(("all", own)) for own in rows["stratum"]]
        for name in rows.keys() - {"digest", "documents", "document", "stratum"}:
            found.setdefault((fraction, name), {})[seed] = rows[name]
    return {key: Scores(documents, strata, rows) for key, rows in sorted(found.items())}


def _tests(models: Mapping[tuple[Place, str], Scores], floors: Mapping[tuple[float, str], Scores]) -> dict[str, Any]:
    """Every ratio against human documents alone, and against the baseline, of the same fraction."""
    tests = {}
    for ((fraction, ratio), mode), scores in models.items():
        others = {"1:0": models.get(((fraction, "1:0"), mode)) if ratio != "1:0" else None, BASELINE: floors.get((fraction, BASELINE))}
        for name, other in others.items():
            for stratum in ("all", *STRATA) if other is not None else ():
                if (found := comparison(scores, other, stratum)) is not None:
                    tests[f"{named(fraction)}/{ratio} - {name}/{mode}/{stratum}"] = found
    return tests


def write_results(path: Path, found: Found, options: Options, facts: Mapping[str, Any]) -> None:
    """The results file, in the form of docs/results/README.md; none where no point is there yet."""
    if not found.points:
        return
    content = {
        **results_file.head(path),
        "variant": f"fine-tuned {Path(options.model).name}" if options.model else "CPU variant: a small Llama trained from nothing",
        "config": {**options.stated, "set": facts["set"], "source": facts["source"]},
        "digests": {"kb": facts["kb"], "lexicon": facts["lexicon"], "points": dict(found.digests)},
        "hardware": f"{results_file.processor()}, one thread",
        "software": results_file.software(*SOFTWARE),
        "protocol": options.protocol,
        "seeds": list(facts["seeds"]),
        "n": found.n,
        "human_documents": {named(fraction): count for fraction, count in found.documents.items()},
        "points": {"there": found.points, "in the grid": facts["wanted"]},
        "metrics": dict(found.metrics),
        "tests": dict(found.tests),
        "ledger": dict(found.ledger),
        "notes": " ".join(f"{facts['about']} {NOTES}".split()),
    }
    results_file.write(path, content)


NOTES = """Every point has the same optimizer steps, and loss tokens equal within the tolerance, whatever it is trained on: a smaller fraction or share
is repeated more often (`repeats` in the ledger). Documents of a fraction are drawn by the seed and nested: a smaller fraction is a subset of a larger one.
Baselines are fitted on the same documents as the models beside them. Strata are those of all human documents, so that every point is scored on the same
mentions of each: concept in them; absent there and written about; absent there and held out of synthesis. Synthetic text is of all concepts but the held-out
ones, and the same for every fraction. The tokenizer of a small Llama is trained on names and on the texts of all human documents, unlabelled. Nothing is
chosen on dev or test: the last checkpoint is scored. Values are means over seeds, intervals are of a bootstrap over documents of these means, p is of a
sign-flip test over documents, not corrected for the number of tests."""


def plot(path: Path, found: Found) -> None:
    """Two figures beside the results file: Recall@1 by human documents, a line a ratio, and by synthetic share, a line a fraction.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not found.points:
        return
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure  # without pyplot: no window, no state that outlives the call
    except ImportError as error:
        raise MissingExtraError("plot", "matplotlib") from error

    # Ids and dates of an SVG would differ from run to run, and with them every commit.
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.family": "sans-serif"}):
        for name, draw in (("documents", _by_documents), ("ratios", _by_ratio)):
            figure = Figure(figsize=(6.4, 4.2), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, found)
            axes.set_ylabel("constrained Recall@1")
            axes.set_title("bars: 95 % intervals over documents", fontsize="small", loc="left", color="#555555")
            axes.set_ylim(0, 1)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize="small")
            figure.savefig(path.with_name(f"{path.stem}_{name}.svg"), metadata={"Date": None})


def _by_documents(axes: Any, found: Found) -> None:
    fractions = sorted(fraction for fraction in found.documents if fraction)
    for number, ratio in enumerate(_ratios(found, fractions)):
        apart = 1.015**number  # or intervals hide each other
        rows = [(found.documents[fraction] * apart, figure) for fraction in fractions if (figure := found.figure(fraction, ratio, "constrained", "all"))]
        _line(axes, rows, f"human:synthetic {ratio}", f"C{number}", "o")
    rows = [(found.documents[fraction], figure) for fraction in fractions if (figure := found.figure(fraction, BASELINE, "all"))]
    _line(axes, rows, "dictionary, names, TF-IDF, long forms", "#777777", "s")
    if alone := found.figure(0.0, "0:1", "constrained", "all"):
        axes.axhline(alone["value"], color="#777777", linestyle=":", label="no human document")
    axes.set_xscale("log")
    axes.set_xticks([found.documents[fraction] for fraction in fractions], labels=[f"{found.documents[fraction]:,}" for fraction in fractions])
    axes.minorticks_off()
    axes.set_xlabel("human documents (logarithmic)")


def _by_ratio(axes: Any, found: Found) -> None:
    fractions = sorted(fraction for fraction in found.documents if fraction)
    for number, fraction in enumerate(fractions):
        places = [(fraction, ratio) for ratio in _ratios(found, [fraction])] + [(0.0, "0:1")]
        # A little apart, or intervals hide each other.
        rows = [(_synthetic_share(ratio) + 0.012 * number, figure) for own, ratio in places if (figure := found.figure(own, ratio, "constrained", "all"))]
        _line(axes, sorted(rows, key=lambda row: row[0]), f"{found.documents[fraction]:,} human documents", f"C{number}", "o")
    axes.set_xlim(-0.05, 1.05)
    axes.set_xlabel("share of loss tokens that is synthetic")


def _ratios(found: Found, fractions: Sequence[float]) -> list[str]:
    keys = dict.fromkeys(key for fraction in fractions for key in found.metrics.get(named(fraction), {}) if ":" in key)
    return sorted(keys, key=_synthetic_share)


def _synthetic_share(ratio: str) -> float:
    human, synthetic = map(float, ratio.split(":"))
    return synthetic / (human + synthetic)


def _line(axes: Any, rows: Sequence[tuple[float, Mapping[str, Any]]], label: str, colour: str, marker: str) -> None:
    if not rows:
        return
    values = [figure["value"] for _, figure in rows]
    ends = [[max(0.0, value - figure["ci95"][0]) for value, (_, figure) in zip(values, rows, strict=True)],
            [max(0.0, figure["ci95"][1] - value) for value, (_, figure) in zip(values, rows, strict=True)]]  # fmt: skip
    axes.errorbar([x for x, _ in rows], values, yerr=ends, label=label, color=colour, marker=marker, capsize=3, linewidth=1.4, markersize=4)
