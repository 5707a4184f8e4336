"""Configurations in YAML: those that come with the project, by kind and name, and those of a user, by path."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from syncabel.errors import ConfigError, UnknownNameError

__all__ = ["find_config", "read_config", "shipped_configs"]


def shipped_configs(kind: str) -> dict[str, Path]:
    """Name → file of the shipped configurations in `configs/kind`, of the installed package or the checkout."""
    places = (Path(str(files("syncabel"))) / "configs" / kind, Path(__file__).resolve().parents[1] / "configs" / kind)
    return {path.stem: path for place in reversed(places) for path in sorted(place.glob("*.yaml"))}


def find_config(name: str, kind: str) -> Path:
    """A configuration file by its path, or a shipped one by its bare name.

    Raises:
        UnknownNameError: there is neither.
    """
    path, shipped = Path(name), shipped_configs(kind)
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    raise UnknownNameError("configuration", name, shipped)


def read_config(path: Path) -> dict[Any, Any]:
    """The keys and values of a YAML file.

    Raises:
        ConfigError: it is no YAML, or holds no `key: value` lines.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no `key: value` lines")
    return values
