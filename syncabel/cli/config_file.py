"""`--config FILE`: the options of a command from a YAML file; what is given on the command line wins."""

from collections.abc import Callable
from typing import Any

import typer

from syncabel.config_files import find_config, read_config, shipped_configs
from syncabel.errors import UnknownNameError

__all__ = ["config_option"]


def config_option(kind: str) -> Any:
    """The option, for a command whose shipped configurations lie in `configs/kind`."""
    take: Callable[[typer.Context, str | None], str | None] = lambda context, name: _taken(context, name, kind)  # noqa: E731 - Typer reads its signature
    return typer.Option(callback=take, is_eager=True, help=f"YAML file of options, or a shipped one by name: {', '.join(shipped_configs(kind))}.")


def _taken(context: typer.Context, name: str | None, kind: str) -> str | None:
    if name is None:
        return None
    path = find_config(name, kind)
    known = {_key(parameter): parameter.name for parameter in context.command.params if parameter.name != "config"}
    values = read_config(path)
    for key in values:
        if key not in known:
            raise UnknownNameError(f"key in {path}:", str(key), sorted(known))
    context.default_map = {**(context.default_map or {}), **{known[key]: value for key, value in values.items()}}
    return name


def _key(parameter: Any) -> str:
    """An option as it is written on the command line, `_` for `-`; an argument by its name."""
    return str(max(parameter.opts, key=len).lstrip("-").replace("-", "_"))
