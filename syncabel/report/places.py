"""Files and folders without the places they lie in: a report is passed on, and where a run was made names people and machines."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["last_part", "without_places"]

_SEPARATOR = re.compile(r"[/\\]")
_SURE = re.compile(r"(?:[\w-]+=)?(?:(?:[A-Za-z]:)?[/\\]|~|\.\.?[/\\])")  # what begins like this is a place; `ORG/NAME` and `1/2` are none


def last_part(word: str) -> str:
    """A word of a command line, a path in it cut to its last part.

    >>> [last_part(word) for word in ("/home/ann/dev.jsonl", "--kb=out/kb/", "mine=../ward 7/mine.jsonl", "http://localhost:8000/v1", "--json")]
    ['…/dev.jsonl', '--kb=…/kb', 'mine=…/mine.jsonl', 'http://localhost:8000/v1', '--json']
    """
    name, equals, place = word.partition("=")
    if not equals or _SEPARATOR.search(name):
        name, equals, place = "", "", word
    if "://" in place or not _SEPARATOR.search(place):
        return word
    return f"{name}{equals}…/{_SEPARATOR.split(place.rstrip('/' + chr(92)))[-1]}"


def without_places(value: Any, config: bool = False) -> Any:
    """The record of a training as JSON values, every path cut to its last part; names of repositories and digests stay as they are.

    Args:
        value: of the record.
        config: whether it is of its configuration, where whatever has a slash is a file or folder.

    >>> without_places({"config": {"output_dir": "out/ann/run"}, "model": {"base": "ORG/NAME"}, "git": "/home/ann/code", "ratio": "1/2"})
    {'config': {'output_dir': '…/run'}, 'model': {'base': 'ORG/NAME'}, 'git': '…/code', 'ratio': '1/2'}
    """
    if isinstance(value, Mapping):
        return {key: without_places(inner, config or key == "config") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(inner, config) for inner in value]
    if not isinstance(value, str):
        return value
    return last_part(value) if config or _SURE.match(value) else re.sub(r"\S+", lambda found: last_part(found[0]) if _SURE.match(found[0]) else found[0], value)
