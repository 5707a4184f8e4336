"""`--config FILE`: the options of a command from a YAML file; what is given on the command line wins."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer
import yaml

from syncabel.errors import ConfigError, UnknownNameError

__all__ = ["config_option", "shipped"]


def shipped(kind: str) -> dict[str, Path]:
    """Name → file of the configurations of one kind that come with the project, from the installed package or the checkout."""
    places = (Path(str(files("syncabel"))) / "configs" / kind, Path(__file__).resolve().parents[2] / "configs" / kind)
    return {path.stem: path for place in reversed(places) for path in sorted(place.glob("*.yaml"))}


def config_option(kind: str) -> Any:
    """The option, for a command whose shipped configurations lie in `configs/kind`."""
    take: Callable[[typer.Context, str | None], str | None] = lambda context, name: _taken(context, name, kind)  # noqa: E731 - Typer reads its signature
    return typer.Option(callback=take, is_eager=True, help=f"YAML file of options, or a shipped one by name: {', '.join(shipped(kind))}.")


def _taken(context: typer.Context, name: str | None, kind: str) -> str | None:
    if name is None:
        return None
    path = _found(name, kind)
    known = {_key(parameter): parameter.name for parameter in context.command.params if parameter.name != "config"}
    values = _values(path)
    for key in values:
        if key not in known:
            raise UnknownNameError(f"key in {path}:", str(key), sorted(known))
    context.default_map = {**(context.default_map or {}), **{known[key]: value for key, value in values.items()}}
    return name


def _key(parameter: Any) -> str:
    """An option as it is written on the command line, `_` for `-`; an argument by its name."""
    return str(max(parameter.opts, key=len).lstrip("-").replace("-", "_"))


def _found(name: str, kind: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    known = shipped(kind)
    if name not in known:
        raise UnknownNameError("configuration", name, known)
    return known[name]


def _values(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no `key: value` lines")
    return values
