"""The wording of the prompts, one file a language; a further language is a further file with the same keys."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from syncabel.digests import file_sha256
from syncabel.errors import FormatError, UnknownNameError

__all__ = ["FOLDER", "Texts", "languages", "texts", "texts_digest"]

FOLDER = Path(__file__).parent
_REFERENCE = "en"  # the file the others are compared with
_SLOT = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Texts:
    """The wording of one language.

    Attributes:
        language: its name, in itself.
        system: the rules; the same for every request.
        examples, request, closing: lines before the style examples, before the request's JSON object and after it.
        fields: keys of the JSON object.
        registers, forms, options: what is asked of a sentence, by the names that `SentenceSpec` has for it.
        length: with the slots `{low}` and `{high}`, in words.
        turns: for the style of that name: `system`, the rule; `term`, with the slot `{name}`; `examples`, one sentence a line, its mention in brackets.
    """

    language: str
    system: str
    examples: str
    request: str
    closing: str
    fields: Mapping[str, str]
    registers: Mapping[str, str]
    length: str
    forms: Mapping[str, str]
    options: Mapping[str, str]
    turns: Mapping[str, str]


def languages(folder: Path = FOLDER) -> tuple[str, ...]:
    """The languages there are prompts for: the names of the files, without `.yaml`."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


@cache
def texts(language: str, folder: Path = FOLDER) -> Texts:
    """The wording of a language.

    Args:
        language: ISO 639-1 code.
        folder: holds the files; `en.yaml` says which keys there are.

    Raises:
        UnknownNameError: there is no such file.
        FormatError: its keys or slots are not those of the English file, or a text is missing.
    """
    if language not in languages(folder):
        raise UnknownNameError("prompt language", language, languages(folder))
    path = folder / f"{language}.yaml"
    row, reference = _row(path), _row(folder / f"{_REFERENCE}.yaml")
    _same_shape(row, reference, path)
    return Texts(**{field.name: row[field.name] for field in fields(Texts)})


def texts_digest(language: str, folder: Path = FOLDER) -> str:
    """SHA-256 of the file of a language."""
    return file_sha256(folder / f"{language}.yaml")


def _row(path: Path) -> dict[str, Any]:
    try:
        row = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise FormatError(f"not YAML ({type(error).__name__})", path, hint="compare it with en.yaml") from None
    if not isinstance(row, dict):
        raise FormatError("should hold keys and texts", path, hint="compare it with en.yaml")
    return row


def _same_shape(row: Mapping[str, Any], reference: Mapping[str, Any], path: Path, within: str = "") -> None:
    """Raise FormatError unless both have the same keys, each with a text that has the same slots."""
    if differing := sorted(set(row) ^ set(reference), key=str):
        raise FormatError(f"key {within}{differing[0]} is in one of this file and {_REFERENCE}.yaml only", path, hint="give both the same keys")
    for key, expected in reference.items():
        found = row[key]
        if isinstance(expected, dict) and isinstance(found, dict):
            _same_shape(found, expected, path, f"{key}.")
        elif not isinstance(found, str) or not found.strip() or isinstance(expected, dict):
            raise FormatError(f"{within}{key} should be a text, or keys and texts as in {_REFERENCE}.yaml", path)
        elif set(_SLOT.findall(found)) != set(_SLOT.findall(expected)):
            raise FormatError(f"{within}{key} has other slots than in {_REFERENCE}.yaml", path, hint=f"use {', '.join(_SLOT.findall(expected)) or 'none'}")
    if within == "fields." and len(set(row.values())) < len(row):
        raise FormatError("two of the fields have one name", path, hint="name each otherwise")
