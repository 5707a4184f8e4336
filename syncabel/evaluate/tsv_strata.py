"""Strata of the published table format, by its own definitions: strings as they stand, codes as written.

    code          seen | unseen: a training mention has this code (all its parts, where it is a composite)      needs training mentions
    mention       seen | unseen: a training mention has this very text, in upper and lower case                 needs training mentions
    pair          seen | unseen: with this very code                                                            needs training mentions
    frequent      top100 | rest: one of the 100 codes most frequent among training mentions; ties by code       needs training mentions
    name          name | other: the text is the target name (column `annotation`)
    length        words: 1, 2, 3, >3
    abbreviation  abbreviation | other: capitals, digits and hyphens only, two at least
    repeated      repeated | once: the text is that of several rows of the document
    composite     simple | composite: the gold has several codes

`syncabel.evaluate.strata` has those of documents, where codes are canonical and strings folded.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from syncabel.bootstrap import document_interval
from syncabel.corpora import read_corpus
from syncabel.corpora.syncabel_tsv import code_parts, table_rows
from syncabel.errors import ConfigError, FormatError
from syncabel.evaluate.tsv import TsvTable
from syncabel.lines import text_lines
from syncabel.types import NO_CODE

__all__ = ["TABLE_STRATA", "TrainingMentions", "read_training_mentions", "table_strata", "table_strata_json"]

MOST_FREQUENT = 100
_ABBREVIATION = re.compile(r"[A-Z0-9\-]{2,}")
_COLUMNS = ("span", "code")
# Kind -> its values in the order they are shown.
TABLE_STRATA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "code": ("seen", "unseen"),
        "mention": ("seen", "unseen"),
        "pair": ("seen", "unseen"),
        "frequent": ("top100", "rest"),
        "name": ("name", "other"),
        "length": ("1", "2", "3", ">3"),
        "abbreviation": ("abbreviation", "other"),
        "repeated": ("repeated", "once"),
        "composite": ("simple", "composite"),
    }
)


@dataclass(frozen=True, slots=True)
class TrainingMentions:
    """Text and code of training mentions; a code's parts sorted and joined by `+`."""

    pairs: tuple[tuple[str, str], ...]

    @property
    def frequent(self) -> frozenset[str]:
        """The codes most frequent among them."""
        counts = Counter(code for _, code in self.pairs)
        return frozenset(sorted(counts, key=lambda code: (-counts[code], code))[:MOST_FREQUENT])


def read_training_mentions(paths: Sequence[Path | str]) -> TrainingMentions:
    """Read the mentions of training files: tables with the columns `span` and `code`, or any corpus.

    Mentions without a code are left out, as they were in training; of several right answers of a corpus' mention the first one counts.

    Args:
        paths: files, folders or archives.

    Raises:
        FormatError: a file is not what it should be.
        ConfigError: there is no mention with a code.
    """
    pairs = tuple(pair for path in map(Path, paths) for pair in (_of_table(path) if _is_table(path) else _of_corpus(path)))
    if not pairs:
        raise ConfigError("no training mention with a code; give annotated training data, or leave it out")
    return TrainingMentions(pairs)


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix == ".tsv" and set(_COLUMNS) <= set(next(text_lines(path))[1].split("\t"))


def _of_table(path: Path) -> list[tuple[str, str]]:
    found = []
    for row in table_rows(path, _COLUMNS)[1]:
        if row.cells is None:
            raise FormatError(row.problem, path, row.number, "one row a line, tabs between columns")
        if (parts := code_parts(row.cells["code"])) and NO_CODE not in parts:
            found.append((row.cells["span"], "+".join(parts)))
    return found


def _of_corpus(path: Path) -> list[tuple[str, str]]:
    return [(mention.text, "+".join(sorted(mention.answers[0]))) for _, mention in read_corpus(path).mentions() if mention.answers]


def table_strata(table: TsvTable, train: TrainingMentions | None = None) -> dict[str, dict[str, list[bool]]]:
    """Which rows of a table are in each stratum.

    Args:
        table: from `read_tsv`.
        train: training mentions; without them the strata that need them are not there.

    Returns:
        Kind -> value -> a truth value a row; those for which the table lacks a column are not there.
    """
    found = {kind: values for kind, values in _values(table, train).items() if values}
    return {kind: {name: [value == name for value in values] for name in TABLE_STRATA[kind]} for kind, values in found.items()}


def _values(table: TsvTable, train: TrainingMentions | None) -> dict[str, list[str]]:
    """Kind -> each row's value; empty where it cannot be told."""
    codes, texts = ["+".join(code_parts(row.code)) for row in table.rows], table.texts
    counts = Counter((row.filename, text) for row, text in zip(table.rows, texts, strict=False))
    found = {
        "name": ["name" if text == name else "other" for text, name in zip(texts, table.names, strict=False)],
        "length": [str(words) if (words := len(text.split())) <= 3 else ">3" for text in texts],
        "abbreviation": ["abbreviation" if _ABBREVIATION.fullmatch(text) else "other" for text in texts],
        "repeated": ["repeated" if counts[row.filename, text] > 1 else "once" for row, text in zip(table.rows, texts, strict=False)],
        "composite": ["composite" if "+" in code else "simple" for code in codes],
    }
    if train is None:
        return found
    seen_codes, seen_texts, seen_pairs = ({code for _, code in train.pairs}, {text for text, _ in train.pairs}, set(train.pairs))
    frequent = train.frequent
    of_training = {
        "code": ["seen" if code in seen_codes or set(code.split("+")) <= seen_codes else "unseen" for code in codes],
        "mention": ["seen" if text in seen_texts else "unseen" for text in texts],
        "pair": ["seen" if pair in seen_pairs else "unseen" for pair in zip(texts, codes, strict=False)],
        "frequent": ["top100" if code in frequent else "rest" for code in codes],
    }
    return {**of_training, **found}


def table_strata_json(table: TsvTable, strata: Mapping[str, Mapping[str, Sequence[bool]]], *, rounds: int = 1000, seed: int = 42) -> dict[str, Any]:
    """Kind -> value -> {"n", "correct", "recall_at_1", "ci95"}; an empty stratum is n = 0 and null.

    Args:
        table: from `read_tsv`.
        strata: from `table_strata`.
        rounds, seed: of the document bootstrap.
    """
    return {kind: {name: _cell(table, members, rounds, seed) for name, members in values.items()} for kind, values in strata.items()}


def _cell(table: TsvTable, members: Sequence[bool], rounds: int, seed: int) -> dict[str, Any]:
    rows = [row for row, there in zip(table.rows, members, strict=True) if there]
    if not rows:
        return {"n": 0, "correct": 0, "recall_at_1": None, "ci95": None}
    right = [row.correct for row in rows]
    interval = document_interval([row.filename for row in rows], right, rounds=rounds, seed=seed)
    return {"n": len(rows), "correct": sum(right), "recall_at_1": sum(right) / len(rows), "ci95": list(interval)}
