"""Cells that are there to figures: means over seeds, intervals and tests over documents, the results file and a table."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import results_file
import yaml
from evidence_cells import MODES, Cell, Options, read_cell
from numpy.typing import NDArray

from syncabel.errors import ConfigError
from syncabel.evaluate import document_interval, paired_difference, sign_flip_test

IN_OTHERS = "in_others"  # of the mentions whose concept is not in the human documents those that other corpora have: a part of synthetic_only
MEASURED = ("metrics", "baselines", "tests", "ledger", "misses")  # parts of the file and of what `of_set` gives
# Part of the file -> what it is called among the facts.
FACTS = {"n": "n", "strata": "strata", "sets": "notes", "floors": "floors", "others_removed": "removed"}
HEAD = ("command", "commit")  # by set in a file that was extended
STRATA = ("human", "synthetic_only", "neither", IN_OTHERS)
SOFTWARE = ("torch", "transformers", "trl")  # what a training depends on


def metric(documents: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    """A mean and its interval over documents, rounded to four digits."""
    return {"value": round(float(np.mean(scores)), 4), "ci95": [round(x, 4) for x in document_interval(documents, scores)], "n": len(scores)}


@dataclass(frozen=True)
class Scores:
    """Scores of one arm, mode and set, a row a mention.

    Attributes:
        documents: each mention's document.
        strata: each mention's strata, `all` among them.
        rows: seed -> scores; a baseline has the one seed -1.
    """

    documents: Sequence[str]
    strata: Sequence[frozenset[str]]
    rows: Mapping[int, Sequence[float]]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Over seeds. Shape: (mentions,)."""
        return np.mean([self.rows[seed] for seed in sorted(self.rows)], axis=0)

    def on(self, stratum: str) -> NDArray[np.bool_]:
        """Which mentions are of a stratum. Shape: (mentions,)."""
        return np.array([stratum in own for own in self.strata])


def metrics_of(scores: Scores) -> dict[str, dict[str, Any]]:
    """Stratum -> figure, with each seed's own value."""
    found = {}
    for stratum in ("all", *STRATA):
        mask = scores.on(stratum)
        if mask.any():
            documents = [document for document, there in zip(scores.documents, mask, strict=True) if there]
            seeds = {seed: round(float(np.asarray(rows)[mask].mean()), 4) for seed, rows in sorted(scores.rows.items())}
            found[stratum] = {**metric(documents, scores.mean[mask]), **({"seeds": seeds} if set(seeds) != {-1} else {})}
    return found


def comparison(first: Scores, second: Scores, stratum: str) -> dict[str, Any] | None:
    """First minus second on equal seeds: difference, interval, p of the document-level sign-flip test; None where they share no seed or mention."""
    seeds = sorted(set(first.rows) & set(second.rows)) if set(second.rows) != {-1} else sorted(first.rows)
    mask = first.on(stratum)
    if not seeds or not mask.any():
        return None
    documents = [document for document, there in zip(first.documents, mask, strict=True) if there]
    one, other = (np.mean([side.rows[seed if seed in side.rows else -1] for seed in seeds], axis=0)[mask] for side in (first, second))
    found = paired_difference(documents, one, other)
    p = sign_flip_test(one, other, documents)  # never 0, and not written as 0
    return {"delta": round(found.delta, 4), "ci95": [round(x, 4) for x in found.ci95], "p": float(f"{p:.3g}"), "seeds": len(seeds), "n": int(mask.sum())}


def read_scores(output: Path, name: str, arm: str, mode: str, seeds: Sequence[int], options: Options) -> Scores | None:
    """The finished cells of an arm; None where there is none."""
    rows, documents, strata = {}, [], []
    marks = read_marks(output, name)
    for seed in seeds:
        folder = Cell(name, arm, seed).folder(output)
        if read_cell(folder, options) is not None:
            lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
            rows[seed] = [line[mode] for line in lines]
            documents, strata = [line["document"] for line in lines], [line["stratum"] for line in lines]
    return Scores(documents, _strata(strata, marks), rows) if rows else None


def read_baselines(output: Path, name: str) -> dict[str, Scores]:
    """The baselines of a set, as Scores of the one "seed" -1."""
    path = output / name / "baselines.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    documents, strata = found.pop("document"), found.pop("stratum")
    every = _strata(strata, read_marks(output, name))
    return {baseline: Scores(documents, every, {-1: rows}) for baseline, rows in found.items()}


def read_marks(output: Path, name: str) -> list[bool]:
    """Whether each mention's concept is one that only other corpora have; [] where nobody wrote it down."""
    path = output / name / "in_others.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def _strata(own: Sequence[str], marks: Sequence[bool]) -> list[frozenset[str]]:
    return [frozenset(("all", stratum, IN_OTHERS) if marked else ("all", stratum)) for stratum, marked in zip(own, marks or [False] * len(own), strict=True)]


def of_set(output: Path, name: str, arms: Sequence[str], seeds: Sequence[int], options: Options) -> dict[str, Any]:
    """Everything the results file says of a set, from the cells that are there."""
    floors = read_baselines(output, name)
    cells = {(arm, seed): cell for arm in arms for seed in seeds if (cell := read_cell(Cell(name, arm, seed).folder(output), options)) is not None}
    metrics: dict[str, Any] = {}
    best = max(floors, key=lambda baseline: float(floors[baseline].mean.mean()), default=None)
    tests = {}
    for mode in MODES:
        there = {arm: scores for arm in arms if (scores := read_scores(output, name, arm, mode, seeds, options)) is not None}
        metrics |= {f"{name}/{arm}/{mode}/{stratum}": figure for arm, scores in there.items() for stratum, figure in metrics_of(scores).items()}
        pairs = [(second, first) for first, second in combinations(there, 2)]
        compared = [(first, there[first], second, there[second]) for first, second in pairs]
        compared += [(arm, there[arm], best, floors[best]) for arm in there if best is not None]
        for first, one, second, two in compared:
            for stratum in ("all", *STRATA):
                if (found := comparison(one, two, stratum)) is not None:
                    tests[f"{name}/{first} - {second}/{mode}/{stratum}"] = found
    return {
        "metrics": metrics,
        "baselines": {f"{name}/{baseline}/{stratum}": figure for baseline, scores in floors.items() for stratum, figure in metrics_of(scores).items()},
        "tests": tests,
        "ledger": {f"{name}/{arm}/seed-{seed}": cell["ledger"] for (arm, seed), cell in cells.items()},
        "misses": {f"{name}/{arm}/{mode}": _mean_counts([cells[arm, seed]["misses"][mode] for seed in seeds if (arm, seed) in cells])
                   for arm in arms for mode in MODES if any((arm, seed) in cells for seed in seeds)},
        "digests": {f"{name}/{arm}/seed-{seed}": cell["digest"] for (arm, seed), cell in cells.items()},
    }  # fmt: skip


def _mean_counts(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    return {cause: round(sum(count[cause] for count in counts) / len(counts), 1) for cause in counts[0]}


def there_already(path: Path, seeds: Sequence[int], options: Options) -> dict[str, Any]:
    """What a results file says, to be extended by other sets or by other figures of the same ones.

    Args:
        path: of the file.
        seeds, options: of the grid.

    Returns:
        The file's content, `command` and `commit` by set.

    Raises:
        ConfigError: there is no such file, or it is of a grid with other options, seeds, versions or another machine.
    """
    if not path.exists():
        raise ConfigError(f"{path} is not there to be extended; leave --extend out")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or (absent := {*FACTS, *MEASURED, *HEAD, "not_run", "digests"} - content.keys()):
        raise ConfigError(f"{path} is no results file of this grid{f': it has no {min(absent)}' if isinstance(content, dict) else ''}; leave --extend out")
    same = {"config": options.stated, "seeds": list(seeds), "software": results_file.software(*SOFTWARE), "hardware": _hardware()}
    if differing := [key for key, value in same.items() if content.get(key) != value]:
        raise ConfigError(f"{path}: its {', '.join(differing)} differ from this grid's, so they cannot stand in one file; leave --extend out")
    return {**content, **{key: _by_set(content[key], content["n"]) for key in HEAD}}


def _hardware() -> str:
    return f"{results_file.processor()}, one thread"


def _by_set(value: Any, sets: Iterable[str]) -> dict[str, Any]:
    """What the head of a file says, set by set: of a file that was never extended the same for all."""
    return dict(value) if isinstance(value, dict) else dict.fromkeys(sets, value)


def _without(part: Mapping[str, Any], sets: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key.split("/")[0] not in sets}


@dataclass
class Results:
    """The results file, out of the cells that are there.

    Attributes:
        path: of the file.
        seeds, options: of the grid.
        before: what it said, from `there_already`: it goes on saying it of sets that are not measured now; {} for nothing.
        facts: per set its notes, strata, digests, number of mentions, and as `measured` what `of_set` found.
        not_run: set and arm -> why.
    """

    path: Path
    seeds: Sequence[int]
    options: Options
    before: Mapping[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    def write(self) -> dict[str, Any]:
        """Put the file into its place; its content."""
        joined = {key: {name: value for fact in self._done.values() for name, value in fact["measured"][key].items()} for key in (*MEASURED, "digests")}
        model = self.options.model
        content = {
            **self._head(),
            "variant": f"fine-tuned {Path(model).name}" if model else "CPU variant: a small Llama trained from nothing, not SmolLM2-135M",
            "config": self.options.stated,
            "digests": {
                "sets": {**self._others("digests", "sets"), **self._facts("digests")},
                "cells": {**self._others("digests", "cells"), **joined["digests"]},
            },
            "hardware": _hardware(),
            "software": results_file.software(*SOFTWARE),
            "seeds": list(self.seeds),
            **{key: {**self._others(key), **self._facts(fact)} for key, fact in FACTS.items()},
            "not_run": {**self._others("not_run"), **self.not_run},
            **{key: {**self._others(key), **joined[key]} for key in MEASURED},
            "notes": " ".join(NOTES.split()),
        }
        results_file.write(self.path, content)
        return content

    def _head(self) -> dict[str, Any]:
        """As of every results file; with others in it, by set."""
        head = results_file.head(self.path)
        if not self.before:
            return head
        return {key: {**self._others(key), **dict.fromkeys(self._done, value)} if key in HEAD else value for key, value in head.items()}

    @property
    def _done(self) -> dict[str, dict[str, Any]]:
        """The facts of the sets of which something is measured."""
        return {name: fact for name, fact in self.facts.items() if "measured" in fact}

    def _others(self, *keys: str) -> dict[str, Any]:
        part = self.before
        for key in keys:
            part = part.get(key, {})
        return _without(part, self._done)

    def _facts(self, name: str) -> dict[str, Any]:
        return {set_: fact[name] for set_, fact in self._done.items()}


NOTES = """Every arm and every baseline is fitted on the human train and dev documents of its set; nothing is chosen on dev or test: the last checkpoint of
every arm is scored. Arms have the same optimizer steps, and loss tokens equal within 2 % or the command's --tolerance: the second source of an arm takes
half of them, and the number of examples a step makes up for names of another length. A seed varies initialisation, order and dropout of types. Strata:
concept in the human documents; absent there and in the plan of synthesis; absent there and held out of synthesis and of the other corpora. Values are
means over seeds, intervals are of a bootstrap over documents of these means, p is of a sign-flip test over documents. Free decoding is greedy and not held
to names; constrained is a beam search over the names. Composite mentions are scored, and no arm can answer them (protocol set, one concept written). A
concept in the plan may not come up in training: `repeats` in the ledger says what share of a source was seen."""


def print_table(content: Mapping[str, Any]) -> None:
    """The figures, a row a system, a column a stratum."""
    rows: dict[str, dict[str, str]] = {}
    for key, figure in {**content["baselines"], **content["metrics"]}.items():
        system, stratum = key.rsplit("/", 1)
        rows.setdefault(system, {})[stratum] = f"{figure['value']:.3f} [{figure['ci95'][0]:.3f}, {figure['ci95'][1]:.3f}] n={figure['n']}"
    for system, columns in rows.items():
        print(f"{system:50}", "  ".join(f"{stratum} {value}" for stratum, value in columns.items()))
    for key, test in content["tests"].items():
        if key.endswith("/constrained/all"):
            print(f"{key:70} {test['delta']:+.4f} [{test['ci95'][0]:+.4f}, {test['ci95'][1]:+.4f}] p={test['p']:.4f} ({test['seeds']} seeds)")
