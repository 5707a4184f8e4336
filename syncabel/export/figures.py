"""No figure on a model's card that nobody measured: each numeral is looked up in the files that lie beside the card.

A numeral is any word with a digit.  It counts unless it stands in the front matter (whose `model-index` is looked at apart), in the
title, in a fenced block of code, in the sections on licence and citation, or is one of `SAID`, which are words and no figures.  A numeral is
found where a text of the files has it as a word, or where a number of the files, rounded as printed, equals it (`%` for fractions,
`GB` and `MB` for bytes).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from syncabel.config_files import read_config
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError

__all__ = ["CARD", "RESULTS", "RUN", "SAID", "UNCOUNTED", "Untraced", "check_figures", "check_folder", "evidence_of", "untraced"]

CARD, RUN, RESULTS = "README.md", "training.json", "results"
SAID = ("95 %", "Recall@1", "Recall@5")
UNCOUNTED = ("licence", "citation")  # headings of the sections that do not count, in lower case
_NUMBER = re.compile(r"([+−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?)(%|×)?", re.IGNORECASE)
_SCALES = {"%": 100.0, "GB": 1e-9, "MB": 1e-6}
_EDGES = ".,;:!?()[]{}<>\"'*_`“”…+×≈~"
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Untraced:
    """A numeral of a card that no file has.

    Attributes:
        line: of the card, from 1.
        text: as printed.
    """

    line: int
    text: str


def check_folder(folder: Path) -> int:
    """Look every figure of a model folder's card up in the folder's own files.

    Args:
        folder: with README.md, lexicon.json, and where there are any training.json and results/*.yaml.

    Returns:
        How many numerals were looked up.

    Raises:
        ConfigError: a figure is in none of them.
        IncompleteFolderError: there is no card.
        FormatError: a file is damaged.
    """
    card = folder / CARD
    if not card.is_file():
        raise IncompleteFolderError(f"{card} is missing; give a folder that `syncabel publish -o` kept")
    return check_figures(card.read_text(encoding="utf-8"), evidence_of(folder), str(card))


def evidence_of(folder: Path) -> list[Any]:
    """What the files of a folder say that a card may repeat: the lexicon's manifest, the training's record, results."""
    found: list[Any] = []
    for name in ("lexicon.json", RUN):
        if (path := folder / name).is_file():
            try:
                found.append(json.loads(path.read_bytes()))
            except ValueError:
                raise FormatError("not JSON", path, hint="copy the folder again, or export the model again") from None
    return found + [{path.name: read_config(path)} for path in sorted((folder / RESULTS).glob("*.yaml"))]


def check_figures(card: str, evidence: Sequence[Any], where: str) -> int:
    """Refuse a card with a figure that is in no file.

    Args:
        card: in Markdown, with its front matter.
        evidence: what the files say.
        where: what the card is called in an error.

    Returns:
        How many numerals were looked up.

    Raises:
        ConfigError: see above; names the first, and how many there are.
    """
    if lost := untraced(card, evidence):
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise ConfigError(
            f"{where}:{lost[0].line}: the figure {lost[0].text!r}{more} is in no results file; give the file with --results, or take the figure out"
        )
    return sum(1 for _ in _numerals(card))


def untraced(card: str, evidence: Sequence[Any]) -> list[Untraced]:
    """The figures of a card that are in no file, in its order.  Arguments are those of `check_figures`."""
    # The name of the base is no figure; where there is no record of the training, it stands in the front matter alone.
    known = _Known.of([*evidence, _front_values(card).get("base_model")])
    body = [Untraced(line, text) for line, text, unit in _numerals(card) if not known.has(text, unit)]
    return [Untraced(1, f"{value:g} in model-index") for value in _indexed(card) if value not in known.numbers] + body


@dataclass(frozen=True, slots=True)
class _Known:
    """Words and numbers of the files."""

    words: frozenset[str]
    numbers: frozenset[float]

    @classmethod
    def of(cls, evidence: Sequence[Any]) -> "_Known":
        words: set[str] = set()
        numbers: set[float] = set()
        for value in _leaves(evidence):
            if isinstance(value, str):
                words.update(word.strip(_EDGES) for word in re.split(r"[\s|]+", value) if any(map(str.isdigit, word)))
            else:
                numbers.add(float(value))
        return cls(frozenset(words), frozenset(numbers))

    def has(self, text: str, unit: str) -> bool:
        """Whether every numeral in a word is known; `0.930–0.973` holds two."""
        if text in self.words:
            return True
        parts = [part for part in re.split(r"[–—/=<>\[\]()]|(?<=\d)-(?=\d)", text) if any(map(str.isdigit, part))]
        return bool(parts) and all(self._has_one(part.strip(_EDGES), unit) for part in parts)

    def _has_one(self, text: str, unit: str) -> bool:
        if text in self.words:
            return True
        if not (match := _NUMBER.fullmatch(text)):
            return False
        printed = Decimal(match[1].replace(",", "").replace("−", "-"))
        # Half a unit of the last place that is printed, and what binary fractions are off by.
        half = 0.5 * 10.0 ** int(printed.as_tuple().exponent) * (1 + 1e-9) + 1e-12
        scales = {1.0, _SCALES.get(match[2] or unit, 1.0)}
        return any(abs(number * scale - float(printed)) <= half for number in self.numbers for scale in scales)


def _leaves(value: Any) -> Iterator[str | float]:
    """Every text and number inside, keys among them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _numerals(card: str) -> Iterator[tuple[int, str, str]]:
    """Line, word and the word behind it, of each numeral that counts."""
    skipped = False
    for number, line in enumerate(_blanked(card).splitlines(), 1):
        if heading := re.match(r"(#+)\s+(.*)", line):
            if len(heading[1]) <= 2:
                skipped = len(heading[1]) == 2 and heading[2].strip().lower() in UNCOUNTED
            if len(heading[1]) == 1:
                continue
        if skipped:
            continue
        for said in SAID:
            line = line.replace(said, " ")
        words = [word.strip(_EDGES) for word in re.split(r"[\s|]+", re.sub(r"\\(.)", r"\1", line))]
        for word, after in zip(words, [*words[1:], ""], strict=True):
            if any(map(str.isdigit, word)):
                yield number, word, after


def _blanked(card: str) -> str:
    """The card without front matter and code, its lines where they were."""
    front = _front_matter(card)
    body = "\n" * front.count("\n") + card[len(front) :]
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), body)


def _front_matter(card: str) -> str:
    match = re.match(r"---\n.*?\n---\n", card, re.DOTALL)
    return match[0] if match else ""


def _indexed(card: str) -> Iterator[float]:
    """The values and intervals that the front matter claims as results."""
    index = _front_values(card).get("model-index")
    for model in index if isinstance(index, list) else ():
        for result in model.get("results", ()):
            for metric in result.get("metrics", ()):
                found = (metric.get("value"), *metric.get("args", {}).get("ci95", ()), metric.get("args", {}).get("n"))
                yield from (float(value) for value in found if isinstance(value, int | float))


def _front_values(card: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(_front_matter(card)[4:-4])
    except yaml.YAMLError:
        raise FormatError("the card's front matter is no YAML", hint="publish the model again") from None
    return values if isinstance(values, dict) else {}
