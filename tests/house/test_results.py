"""Every file of docs/results has the one form that docs/results/README.md describes, and was made by something that exists."""

import importlib.util
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from syncabel.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docs" / "results").glob("*.yaml"))
KEYS = ("name", "date", "command", "config", "digests", "hardware", "seeds", "n", "metrics")
NULLABLE = ("config", "digests", "seeds", "n")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def figure_faults(figure: Mapping[str, Any], where: str) -> Iterator[str]:
    """What is wrong with one `{value, ci95}`."""
    if not is_number(figure["value"]):
        yield f"{where}: value is no number"
    if "ci95" not in figure:
        yield f"{where}: no ci95"
    interval = figure.get("ci95")
    if interval is not None and not (isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval)) and interval[0] <= interval[1]):
        yield f"{where}: ci95 is no pair"


def metric_faults(value: Any, where: str) -> Iterator[str]:
    """What below a value of `metrics` is no figure."""
    if not isinstance(value, Mapping):
        yield f"{where}: {value!r} is no figure"
    elif "value" in value:
        yield from figure_faults(value, where)
    else:
        for key, inner in value.items():
            yield from metric_faults(inner, f"{where}/{key}")


def makers(command: Any) -> dict[str, bool]:
    """The scripts, folders, modules, make targets and `syncabel` subcommands that a command names, and whether each is there."""
    text = "\n".join(command.values()) if isinstance(command, Mapping) else str(command)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    subcommands = set(get_command(app).commands)  # type: ignore[attr-defined]
    found = {path: (ROOT / path).exists() for path in re.findall(r"\b(?:scripts|benchmarks|tests)/[\w/.-]*\w", text)}
    found |= {f"-m {module}": importlib.util.find_spec(module) is not None for module in re.findall(r"python -m ([\w.]+)", text)}
    found |= {f"make {target}": target in targets for target in re.findall(r"\bmake ([\w-]+)", text)}
    return found | {f"syncabel {name}": name in subcommands for name in re.findall(r"(?:^|-m )syncabel ([\w-]+)", text, re.MULTILINE)}


def faults(content: Mapping[str, Any], stem: str) -> list[str]:
    """All that keeps a file from the form; `stem` is its name without `.yaml`."""
    missing = [f"no {key}" for key in KEYS if key not in content]
    unsaid = [f"{key} is null" for key in KEYS if key in content and key not in NULLABLE and content[key] is None]
    if missing or unsaid:
        return missing + unsaid
    found = [] if content["name"] == stem else [f"name {content['name']!r} is not the file's"]
    found += [] if re.fullmatch(r"\d{4}-\d\d-\d\d", str(content["date"])) else ["date is no day"]
    found += [] if content["metrics"] or content["hardware"] == "none" else ["no figures"]
    made_by = makers(content["command"])
    found += [] if made_by else ["command names nothing of this project"]
    found += ["command names a place of one machine"] if re.search(r"(^|[\s=])(/|~/)\w", str(content["command"])) else []
    found += [f"command: {name} is not there" for name, there in made_by.items() if not there]
    found += ["notes do not say why there are no digests"] if not content["digests"] and "digest" not in str(content.get("notes")).lower() else []
    return found + list(metric_faults(content["metrics"], "metrics"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_results_file_has_the_one_form(path: Path) -> None:
    assert faults(yaml.safe_load(path.read_text(encoding="utf-8")), path.stem) == []


def good() -> dict[str, Any]:
    """A file with nothing wrong."""
    said = {"name": "trial", "date": "2026-11-21", "command": "make quickstart", "config": None, "digests": {"kb": "0cc0"}, "hardware": "2 CPUs"}
    metrics = {"constrained": {"all": {"value": 0.5, "ci95": [0.25, 0.75], "n": 3}}, "seconds": {"value": 3, "ci95": None}}
    return {**said, "seeds": [0], "n": 3, "metrics": metrics}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"metrics": {"constrained": {"all": 0.5}}}, "metrics/constrained/all: 0.5 is no figure"),
        ({"metrics": {"seconds": [1, 2]}}, "metrics/seconds: [1, 2] is no figure"),
        ({"metrics": {"a": {"value": 0.5}}}, "metrics/a: no ci95"),
        ({"metrics": {"a": {"value": "0.5", "ci95": None}}}, "metrics/a: value is no number"),
        ({"metrics": {"a": {"value": float("nan"), "ci95": None}}}, "metrics/a: value is no number"),
        ({"metrics": {"a": {"value": 0.5, "ci95": [0.4]}}}, "metrics/a: ci95 is no pair"),
        ({"metrics": {"a": {"value": 0.5, "ci95": [0.6, 0.4]}}}, "metrics/a: ci95 is no pair"),
        ({"metrics": {}}, "no figures"),
        ({"name": "other"}, "name 'other' is not the file's"),
        ({"date": "yesterday"}, "date is no day"),
        ({"hardware": None}, "hardware is null"),
        ({"digests": None}, "notes do not say why there are no digests"),
        ({"digests": {}}, "notes do not say why there are no digests"),
        ({"command": "python scripts/none.py"}, "command: scripts/none.py is not there"),
        ({"command": "python -m syncabel.none"}, "command: -m syncabel.none is not there"),
        ({"command": {"one": "make nothing-such"}}, "command: make nothing-such is not there"),
        ({"command": "syncabel none"}, "command: syncabel none is not there"),
        ({"command": "make quickstart --results /home/ann/x.yaml"}, "command names a place of one machine"),
        ({"command": "by hand"}, "command names nothing of this project"),
    ],
)
def test_a_file_of_another_form_is_found(changed: dict[str, Any], fault: str) -> None:
    assert faults(good(), "trial") == []
    assert faults(good() | changed, "trial") == [fault]


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_found(key: str) -> None:
    assert faults({name: value for name, value in good().items() if name != key}, "trial") == [f"no {key}"]
