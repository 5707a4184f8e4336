"""How a benchmark says what it measured: short tables for people, one JSON object a line for programs."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["show", "tables_of"]

_SPREAD = ("median", "min", "max")
_WIDTH = 140  # columns, where the output is no terminal


def show(report: Mapping[str, Any], as_json: bool) -> None:
    """Print a report.

    Args:
        report: names to figures, nested as it needs.
        as_json: as one line of JSON, all of it and unrounded.
    """
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
        return
    from rich.console import Console  # here: what measures its own memory imports this module

    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    for table in tables_of(report):
        console.print(table)


def tables_of(report: Mapping[str, Any], title: str = "") -> "Iterator[Table]":
    """A table of the plain figures; one of all parts that have the same figures, a row a part; and those of each other part.

    Args:
        report: as `show` takes it.
        title: of the part.
    """
    plain = {name: value for name, value in report.items() if not _has_parts(value)}
    parts = {name: value for name, value in report.items() if name not in plain}
    if plain:
        yield _table(title, ("", "value"), [(name, _text(value)) for name, value in plain.items()])
    if _are_alike(parts):
        names = list(next(iter(parts.values())))
        yield _table(title, ("", *names), [(part, *(_text(values[name]) for name in names)) for part, values in parts.items()])
        return
    for name, part in parts.items():
        yield from tables_of(part, f"{title} / {name}" if title else name)


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping) and not _is_spread(value)


def _is_spread(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == set(_SPREAD)


def _are_alike(parts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether several parts have the same plain figures."""
    plain = not any(_has_parts(value) for part in parts.values() for value in part.values())
    return plain and len(parts) > 1 and len({tuple(part) for part in parts.values()}) == 1


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _text(value: Any) -> str:
    """A figure in few digits.

    >>> [_text(value) for value in (76237, 0.123456, 1234.5678, None, True, {"median": 3.25, "min": 3, "max": 4.5}, ["a", 2])]
    ['76,237', '0.1235', '1,235', '–', 'yes', '3.25 (3 to 4.5)', 'a, 2']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if _is_spread(value):
        return f"{_text(value['median'])} ({_text(value['min'])} to {_text(value['max'])})"
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
