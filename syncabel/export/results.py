"""Results files as docs/results holds them: figures with intervals, for a model's card."""

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.config_files import read_config
from syncabel.errors import ConfigError, FormatError

__all__ = ["Metric", "ResultsFile", "read_results"]

_FIGURES = ("metrics", "baselines", "systems")  # the keys of a file under which figures stand
_BASELINES = re.compile(
    r"(dictionary|dictionary_then_exact|exact|normalised|tfidf|bm25|rapidfuzz|dense|cascade|with_tfidf)(_long_forms)?"
)  # the names that reports give `standard_baselines`
_MODE = re.compile(r"(model_)?(constrained|free)")  # two ways of decoding one model are no two systems
_EVERY = "*"  # as KEY: every system of the file that is no baseline is the model
_STRATA = ("all", "human", "synthetic_only", "neither", "in_others")  # of whom reports give Recall@1 without saying so
_COST = re.compile(r"(.*_)?(per_s|s|ms|bytes|[kmg]i?b|minutes|hours)|.*(per_second|seconds|memory).*|share_of_peak")
_RECALL = re.compile(r"recall_at_\d+|recall")


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a results file.

    Attributes:
        path: the keys that lead to it, e.g. ("ncbi_disease", "constrained", "recall_at_1").
        value: the figure.
        ci95: its 95 % interval, None where none was computed.
        n: what it was counted over, None where the file does not say.
        own: whether it is a figure of the model that is published, and not of what it is compared with.
    """

    path: tuple[str, ...]
    value: float
    ci95: tuple[float, float] | None = None
    n: int | None = None
    own: bool = True

    @property
    def is_cost(self) -> bool:
        """Whether it measures time or memory."""
        return any(_COST.fullmatch(part) for part in self.path)

    @property
    def kind(self) -> str:
        """What was measured: the recall that the path names, or the path's last word; of a stratum (`constrained/all`) Recall@1, which reports leave out."""
        named = [part for part in self.path if _RECALL.fullmatch(part)]
        return named[-1] if named else "recall_at_1" if self.path[-1] in _STRATA else self.path[-1]


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """What a results file says.

    Attributes:
        name: of the result, and of the file that travels with the model.
        content: all of it.
        metrics: its figures, in the file's order; of a file with many systems those of the model and of the baselines.
    """

    name: str
    content: Mapping[str, Any]
    metrics: tuple[Metric, ...]

    @property
    def data(self) -> str:
        """What was tested on, in the file's words; its name where it does not say."""
        data = self.content.get("data")
        test = data.get("test") if isinstance(data, Mapping) else data
        return test if isinstance(test, str) else self.name


def read_results(place: str) -> ResultsFile:
    """Read a results file.

    Args:
        place: its path; `FILE:KEY` says that the model's own figures are those under KEY (`arm/constrained`), and that of the others
            only the baselines are wanted; `FILE:*` that all are which are no baseline's.  Without KEY the file's own `own: KEY` holds.

    Raises:
        ConfigError: it is no YAML, has no figures, none under KEY, or those of several systems and nothing says which is the model.
        FormatError: a figure is no number, or its interval no pair.
        OSError: it cannot be read.
    """
    path, key = _parted(place)
    content = read_config(path)
    content = {str(name): str(value) if isinstance(value, datetime.date) else value for name, value in content.items()}
    name = str(content.get("name", path.stem))
    if not re.fullmatch(r"[\w.-]+", name):
        raise FormatError(f"name {name!r} cannot be a file's", path, hint="write letters, digits, '.', '_' and '-'")
    found = [metric for part in _FIGURES if part in content for metric in _figures(content[part], (), path, part)]
    if not found:
        raise ConfigError(f"{path}: no figures in it; give a file with metrics: {{NAME: {{value: …, ci95: [low, high]}}}}")
    key = key or str(content.get("own", ""))
    if not key and len(systems := _systems(found)) > 1:
        named = ", ".join(map("/".join, systems[:5])) + (", …" if len(systems) > 5 else "")
        first = f"{path.name}:{'/'.join(systems[0])}"
        raise ConfigError(f"{path}: {len(systems)} systems are in it ({named}); say which is the model: {first}, or {path.name}:* for all")
    metrics = tuple(_told_apart(found, key))
    if not any(metric.own for metric in metrics):
        known = dict.fromkeys("/".join(metric.path[:-1]) or metric.path[0] for metric in found if metric.own)
        raise ConfigError(f"{path}: no figures of a model under {key!r}; those that are there: {', '.join(list(known)[:5]) or 'none'}")
    return ResultsFile(name, {**content, **({"own": key} if key else {})}, metrics)


def _parted(place: str) -> tuple[Path, str]:
    if Path(place).exists() or ":" not in place:
        return Path(place), ""
    path, _, key = place.rpartition(":")
    return Path(path), key


def _figures(value: Any, path: tuple[str, ...], file: Path, part: str) -> Iterator[Metric]:
    """Every figure below a value: a mapping with `value`, or the recall@1 of a system."""
    if not isinstance(value, Mapping):
        return
    for name in ("value", "recall_at_1"):
        if name in value and not isinstance(value[name], Mapping):
            below = path if name == "value" else (*path, name)
            own = part != "baselines" and not any(_BASELINES.fullmatch(each) for each in path)
            yield Metric(below, _number(value[name], file, below), _interval(value.get("ci95"), file, below), _count(value.get("n")), own)
            return
    for name, inner in value.items():
        yield from _figures(inner, (*path, *str(name).split("/")), file, part)


def _number(value: Any, file: Path, path: tuple[str, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{'/'.join(path)} is no number", file, hint="write value: NUMBER")
    return value


def _interval(value: Any, file: Path, path: tuple[str, ...]) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise FormatError(f"the ci95 of {'/'.join(path)} is no pair", file, hint="write ci95: [low, high]")
    return _number(value[0], file, path), _number(value[1], file, path)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _systems(metrics: Iterable[Metric]) -> list[tuple[str, ...]]:
    """The systems whose recall a file gives, baselines left out: what stands before the decoding, the stratum and the measure.

    >>> [_systems([Metric(tuple(path.split("/")), 0.5) for path in paths.split()]) for paths in ("free/all constrained/all", "a/free/all b/free/all")]
    [[()], [('a',), ('b',)]]
    """
    found = dict.fromkeys(_system(metric.path) for metric in metrics if metric.own and not metric.is_cost and _RECALL.fullmatch(metric.kind))
    # A stratum under a name of its own lies below its system.
    return [path for path in found if not any(path != other and path[: len(other)] == other for other in found)]


def _system(path: tuple[str, ...]) -> tuple[str, ...]:
    modes = [i for i, part in enumerate(path) if _MODE.fullmatch(part)]
    if modes:
        return path[: modes[0]]  # an arm may have a stratum's name (`human`)
    return tuple(part for part in path if part not in _STRATA and not _RECALL.fullmatch(part))


def _told_apart(metrics: list[Metric], key: str) -> Iterator[Metric]:
    """All figures; with a key the model's own and the baselines'."""
    wanted = tuple(key.split("/")) if key not in ("", _EVERY) else ()
    yield from (metric for metric in metrics if not wanted or not metric.own or _holds(metric.path, wanted))


def _holds(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return any(path[i : i + len(wanted)] == wanted for i in range(len(path) - len(wanted) + 1))
