"""No figure on a model's card that nobody measured: each numeral is looked up in the files that lie beside the card.

A numeral is any word with a digit.  It counts unless it stands in the front matter (whose `model-index` is looked at apart: a value, its
interval and its n must be one figure of the model's own in a results file), in the title, in a fenced block of code in one of the languages `CODE`, in the
text of the sections on licence and citation (not below a heading of their own), or is one of `SAID`, which are words and no figures.  A numeral is
found where a text of the files has it as a word, or where a number of the files, rounded as printed, equals it (`%` for fractions,
`GB` and `MB` for bytes).

Where a line speaks of scores (`subjects`), only what was measured counts, and no step, share or version that happens to be equal: figures, n and notes of
results/*.yaml; and where it speaks of them as well, the dev result of training.json, costs of results/*.yaml, calibration.json.  Words with a letter in
them (`lab/model-135M`) are names and may come from any file there, too.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from syncabel.calibration.store import CALIBRATION, Calibration
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError
from syncabel.export.results import ResultsFile, read_results
from syncabel.export.subjects import CONFIDENCE, COST, DEV, SCORES, speaks_of_scores, subjects_of
from syncabel.types import to_json

__all__ = ["CARD", "CODE", "RESULTS", "RUN", "SAID", "UNCOUNTED", "Untraced", "check_figures", "check_folder", "evidence_of", "untraced"]

CARD, RUN, RESULTS = "README.md", "training.json", "results"
SAID = ("95 % interval", "95 % confidence", "95 % CI", "Recall@1", "Recall@5")
CODE = ("python", "py", "bash", "sh", "shell", "console", "bibtex")  # languages of fenced blocks that do not count
UNCOUNTED = ("licence", "citation")  # headings of the sections that do not count, in lower case
_NUMBER = re.compile(r"([+−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?)(%|×)?", re.IGNORECASE)
_SCALES = {"%": 100.0, "GB": 1e-9, "MB": 1e-6}
_EDGES = ".,;:!?()[]{}<>\"'*_`“”…+×≈~"
_FENCE = re.compile(rf"^(`{{3,}}|~{{3,}}) *(?:{'|'.join(CODE)}) *$.*?^\1\s*?$", re.MULTILINE | re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Untraced:
    """A numeral of a card that no file has.

    Attributes:
        line: of the card, from 1.
        text: as printed.
        score: whether it stands beside a score, where only results count.
    """

    line: int
    text: str
    score: bool = False


def check_folder(folder: Path, where: str | None = None) -> int:
    """Look every figure of a model folder's card up in the folder's own files.

    Args:
        folder: with README.md, lexicon.json, and where there are any training.json and results/*.yaml.
        where: what the card is called in an error; its path where None.

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
    text, name = card.read_text(encoding="utf-8"), where or str(card)
    figures = check_figures(text, evidence_of(folder), name)
    _check_index(text, folder, name)
    return figures


def _check_index(card: str, folder: Path, where: str) -> None:
    """Refuse results in the front matter that are not the model's own: there a value that some file has for something else counts for nothing."""
    measured = {(m.value, m.ci95, m.n) for path in sorted((folder / RESULTS).glob("*.yaml")) for m in read_results(str(path)).metrics if m.own}
    for value, ci95, n in _indexed(card):
        if (value, tuple(ci95) if ci95 else None, n) not in measured:
            raise ConfigError(
                f"{where}:1: the figure {value!r} in model-index is none of the model's own in a results file, with its interval and n; publish the model again"
            )


def evidence_of(folder: Path) -> list[Any]:
    """What the files of a folder say that a card may repeat: the lexicon's manifest, the training's record, results, the calibration."""
    found: list[Any] = []
    for name in ("lexicon.json", RUN):
        if (path := folder / name).is_file():
            try:
                found.append(json.loads(path.read_bytes()))
            except ValueError:
                raise FormatError("not JSON", path, hint="copy the folder again, or export the model again") from None
    found += [read_results(str(path)) for path in sorted((folder / RESULTS).glob("*.yaml"))]
    return found + ([Calibration.load(folder / CALIBRATION)] if (folder / CALIBRATION).is_file() else [])


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
        beside = "; it stands beside a score: where it is none, give it a paragraph of its own" if lost[0].score else ""
        raise ConfigError(
            f"{where}:{lost[0].line}: the figure {lost[0].text!r}{more} is in no results file; give the file with --results, or take the figure out{beside}"
        )
    return sum(1 for _ in _numerals(card))


def untraced(card: str, evidence: Sequence[Any]) -> list[Untraced]:
    """The figures of a card that are in no file, in its order.  Arguments are those of `check_figures`."""
    # The name of the base is no figure; where there is no record of the training, it stands in the front matter alone.
    known = _Evidence([*evidence, _front_values(card).get("base_model")])
    spoken = subjects_of(_blanked(card).splitlines(), list(_names(evidence)))
    body = [Untraced(line, text, bool(spoken[line - 1])) for line, text, unit in _numerals(card) if not known.counting(spoken[line - 1]).has(text, unit)]
    index = [each for value, ci95, n in _indexed(card) for each in (value, *(ci95 or ()), n) if each is not None]
    return [Untraced(1, f"{value} in model-index") for value in index if value not in known.counting(frozenset()).numbers] + body


class _Evidence:
    """Words and numbers of the files, by what a line speaks of.

    Args:
        files: what the files say, see `evidence_of`.
    """

    def __init__(self, files: Sequence[Any]) -> None:
        self._all = _Known.of(files)
        measured = {name: [value for file in files for value in read(file)] for name, read in _MEASURED.items()}
        self._measured = {name: _Known.of(values) for name, values in measured.items()}
        self._joined: dict[frozenset[str], _Known] = {frozenset(): self._all}

    def counting(self, spoken: frozenset[str]) -> "_Known":
        """What counts for a line that speaks of these; everything where it speaks of no score."""
        if spoken not in self._joined:
            parts = [self._measured[subject] for subject in spoken]
            names = frozenset(word for word in self._all.words if any(map(str.isalpha, word)) and not _NUMBER.fullmatch(word))
            self._joined[spoken] = _Known(names.union(*(part.words for part in parts)), frozenset[float]().union(*(part.numbers for part in parts)))
        return self._joined[spoken]


def _names(evidence: Iterable[Any]) -> Iterator[str]:
    """Names and terms of the terminology, which may hold the word for a measure and speak of none."""
    for file in evidence:
        if _is(file, "lexicon"):
            yield from (str(file[key]) for key in ("source", "release", "licence", "statement") if file.get(key))


def _scores(file: Any) -> Iterator[Any]:
    """What was measured, but for time and memory: figures, and what a results file says of them in words; scores that the record of a training has."""
    if isinstance(file, ResultsFile):
        yield from ((metric.path, metric.value, metric.ci95, metric.n) for metric in file.metrics if not metric.is_cost)
        yield from (file.name, f"{file.name}.yaml", file.data, file.content.get("n"))
        yield from (str(file.content[key]) for key in ("date", "protocol", "hardware", "notes") if key in file.content)
    elif _is(file, "run"):
        yield file.get("scores")
        yield {label: value for label, value in (file.get("notes") or {}).items() if speaks_of_scores(label)}


def _costs(file: Any) -> Iterator[Any]:
    if isinstance(file, ResultsFile):
        yield from ((metric.path, metric.value, metric.n) for metric in file.metrics if metric.is_cost)


def _dev(file: Any) -> Iterator[Any]:
    if _is(file, "run"):
        yield (file.get("result") or {}).get("dev")


def _calibration(file: Any) -> Iterator[Any]:
    if isinstance(file, Calibration):
        fit = file.fit
        yield from (fit.documents, fit.mentions, fit.answered, fit.folds, fit.protocol, to_json(fit.before), to_json(file.after))
        yield from (file.held_for.search, file.held_for.num_beams)


def _is(file: Any, what: str) -> bool:
    return isinstance(file, Mapping) and str(file.get("format", "")).startswith(f"syncabel.{what}/")


_MEASURED = {SCORES: _scores, COST: _costs, DEV: _dev, CONFIDENCE: _calibration}


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
        parts = [part for part in re.split(r"[–—/=<>±\[\]()]|(?<=\d)-(?=\d)", text) if any(map(str.isdigit, part))]
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
        whole = half > 0.1  # 0 and 1 are no fraction rounded: each would be any share there is
        found = (number * scale for number in self.numbers for scale in scales)
        return any(abs(number - float(printed)) <= half and not (whole and 0 < abs(number) < 1) for number in found)


def _leaves(value: Any) -> Iterator[str | float]:
    """Every text and number inside, keys among them."""
    if isinstance(value, ResultsFile):
        yield from _leaves({f"{value.name}.yaml": value.content})
    elif isinstance(value, Calibration):
        yield from _leaves(list(_calibration(value)))
    elif isinstance(value, Mapping):
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
    skipped = titled = False
    for number, line in enumerate(_blanked(card).splitlines(), 1):
        if heading := re.match(r"(#+)\s+(.*)", line):
            skipped = len(heading[1]) == 2 and heading[2].strip().lower() in UNCOUNTED
            if len(heading[1]) == 1 and not titled:
                titled = True
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


def _indexed(card: str) -> Iterator[tuple[Any, list[Any] | None, Any]]:
    """Value, interval and n of each result that the front matter claims."""
    try:
        for model in _front_values(card).get("model-index") or ():
            for result in model.get("results") or ():
                for metric in result.get("metrics") or ():
                    args = metric.get("args") or {}
                    ci95 = args.get("ci95")
                    yield metric.get("value"), None if ci95 is None else list(ci95), args.get("n")
    except (AttributeError, TypeError):
        raise FormatError("the card's model-index is no list of results with metrics", hint="publish the model again") from None


def _front_values(card: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(_front_matter(card)[4:-4])
    except yaml.YAMLError:
        raise FormatError("the card's front matter is no YAML", hint="publish the model again") from None
    return values if isinstance(values, dict) else {}
