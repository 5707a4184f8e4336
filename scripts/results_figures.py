"""Figures of a results file, and what it means that one still holds."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import yaml

__all__ = ["Exact", "Factor", "Figure", "Tolerance", "Within", "figures_in", "leaves", "limit_path", "matching", "read_figures"]

BESIDE = ("baselines", "tests")  # figures that a file has outside `metrics`


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        value: as stored, or as found again.
        ci95: its interval, None where there is none.
        n: what it is counted over, None where that is not said.
    """

    value: float
    ci95: tuple[float, float] | None = None
    n: int | None = None


class Tolerance(Protocol):
    """When a figure holds."""

    @property
    def said(self) -> str:
        """In words, for the table of checks."""

    def moved(self, stored: Figure, found: Figure) -> str | None:
        """Why the figure no longer holds; None where it does."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Equal to the digits that the file stores: value, interval and n.

    Attributes:
        digits: decimals that were written; 0 for counts.

    >>> Exact(4).moved(Figure(0.6354), Figure(0.63541667))
    >>> Exact(4).moved(Figure(0.6354), Figure(0.6355))
    '0.6354 is now 0.6355'
    """

    digits: int

    @property
    def said(self) -> str:
        """In words."""
        return f"equal to {self.digits} decimals" if self.digits else "equal"

    def moved(self, stored: Figure, found: Figure) -> str | None:
        """Value, then interval, then n."""
        if not self._equal(stored.value, found.value):
            return f"{_text(stored.value)} is now {_text(found.value)}"
        if stored.ci95 is not None:
            if found.ci95 is None:
                return "the interval is gone"
            if not all(map(self._equal, stored.ci95, found.ci95)):
                return f"interval {_pair(stored.ci95)} is now {_pair(found.ci95)}"
        return _other_n(stored, found)

    def _equal(self, stored: float, found: float) -> bool:
        # Half a unit of the last digit, and a hair: the stored digits were rounded from a number that ended in 5 now and then.
        return math.isfinite(found) and abs(stored - found) <= 0.501 * 10**-self.digits


@dataclass(frozen=True, slots=True)
class Within:
    """Inside the stored interval, or where none is stored within a distance; n equal.  For what is trained or drawn anew.

    Attributes:
        distance: where the figure has no interval.

    >>> Within(0.05).moved(Figure(0.68, (0.62, 0.75), 960), Figure(0.64, (0.58, 0.70), 960))
    >>> Within(0.05).moved(Figure(0.68, (0.62, 0.75), 960), Figure(0.60, (0.54, 0.66), 960))
    '0.68 [0.62, 0.75] is now 0.6'
    """

    distance: float

    @property
    def said(self) -> str:
        """In words."""
        return f"inside the stored interval, else within {self.distance:g}"

    def moved(self, stored: Figure, found: Figure) -> str | None:
        """Value, then n."""
        low, high = stored.ci95 or (stored.value - self.distance, stored.value + self.distance)
        if not low - 1e-9 <= found.value <= high + 1e-9:
            return f"{_text(stored.value)} {_pair((low, high))} is now {_text(found.value)}"
        return _other_n(stored, found)


@dataclass(frozen=True, slots=True)
class Factor:
    """Neither so many times larger nor so many times smaller; 0 stays 0.  For seconds, memory and what is made of them.

    Attributes:
        times: above 1.

    >>> Factor(2).moved(Figure(10), Figure(19))
    >>> Factor(2).moved(Figure(10), Figure(4))
    '10 is now 4, by more than 2 times'
    """

    times: float

    @property
    def said(self) -> str:
        """In words."""
        return f"within a factor of {self.times:g}"

    def moved(self, stored: Figure, found: Figure) -> str | None:
        """The ratio alone: of a time only its order says something on another machine."""
        if stored.value == found.value:
            return None
        if stored.value * found.value > 0 and 1 / self.times <= found.value / stored.value <= self.times:
            return None
        return f"{_text(stored.value)} is now {_text(found.value)}, by more than {self.times:g} times"


def _other_n(stored: Figure, found: Figure) -> str | None:
    return f"n {stored.n} is now {found.n}" if None not in (stored.n, found.n) and stored.n != found.n else None


def _text(value: float) -> str:
    return f"{value:.6g}"


def _pair(interval: tuple[float, float]) -> str:
    return f"[{_text(interval[0])}, {_text(interval[1])}]"


def figures_in(content: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures of a results file by their path: those of `metrics`, those of `baselines` and `tests`, and computed limits.

    Args:
        content: the file's.
    """
    found = dict(_figures(content["metrics"], ""))
    for part in BESIDE:
        found |= dict(_figures(content.get(part) or {}, part))
    limits = content.get("limits") or {}
    for row in limits.get("rows", ()):
        *place, value = row
        found[limit_path(place)] = Figure(float(value))
    return found


def limit_path(place: Iterable[str | float]) -> str:
    """The path of a computed limit.

    >>> limit_path(["document of 10", 1, 53.0, 8])
    'limits/document of 10, 1, 53, 8'
    """
    return "limits/" + ", ".join(part if isinstance(part, str) else f"{round(part, 1):g}" for part in place)


def _figures(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Figure]]:
    for key, inner in tree.items():
        place = f"{path}/{key}" if path else str(key)
        if not isinstance(inner, Mapping):
            continue
        if isinstance(number := inner.get("value", inner.get("delta")), int | float):
            yield place, Figure(float(number), _interval(inner.get("ci95")), inner.get("n"))
            yield from ((f"{place}/{name}", Figure(float(inner[name]))) for name in inner if name == "p" or name.startswith("p_"))
        else:
            yield from _figures(inner, place)


def _interval(ends: Any) -> tuple[float, float] | None:
    return None if ends is None else (float(ends[0]), float(ends[1]))


def read_figures(path: Path) -> dict[str, Figure]:
    """`figures_in` of a file."""
    return figures_in(yaml.safe_load(path.read_text(encoding="utf-8")))


def leaves(tree: Mapping[str, Any], before: str = "") -> dict[str, Figure]:
    """Numbers of a program's JSON by their path; {"median", "min", "max"} and {"value", …} count as one number.

    Args:
        tree: the JSON.
        before: comes before every path, with the slash after it.
    """
    found: dict[str, Figure] = {}
    for key, inner in tree.items():
        if isinstance(inner, Mapping) and not {"median", "value"} & inner.keys():
            found |= leaves(inner, f"{before}{key}/")
        elif isinstance(number := inner.get("median", inner.get("value")) if isinstance(inner, Mapping) else inner, int | float) and not isinstance(
            number, bool
        ):
            found[f"{before}{key}"] = Figure(float(number))
    return found


def matching(paths: Mapping[str, Any], patterns: tuple[str, ...]) -> list[str]:
    """The paths that one of the patterns names; `*` stands for anything, slashes too."""
    return [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
