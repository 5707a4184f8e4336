"""The folder of one system's evaluation: all that a report, or a second look, needs.

evaluation.json   the scores, and what they were made of: system, knowledge base, digests, command, versions, the model's recipe
mentions.jsonl    one judged mention a line, those that are not in the knowledge base among them
sentences.jsonl   the sentence around each; text of the corpus, in a file of its own so that it can be left out
concepts.jsonl    what each gold or predicted code is: name, definition, groups, path from the root
"""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from syncabel.errors import ConfigError, FormatError, IncompleteFolderError
from syncabel.evaluate.judged import JudgedMention
from syncabel.evaluate.linked import Key
from syncabel.evaluate.report import Report, report_json
from syncabel.kb import KnowledgeBase
from syncabel.lines import json_lines
from syncabel.text import sentence_around
from syncabel.types import Document, from_json, to_json

__all__ = ["FORMAT", "ConceptFacts", "EvaluationRun", "Sentence", "read_run", "write_run"]

FORMAT = "syncabel.evaluation/1"
EVALUATION, MENTIONS, SENTENCES, CONCEPTS = "evaluation.json", "mentions.jsonl", "sentences.jsonl", "concepts.jsonl"
_CONTEXT_CHARS = 300
_PACKAGES = ("syncabel", "numpy", "scikit-learn")
Row = TypeVar("Row")
_FACTS = ("system", "report", "kb", "digests", "command", "versions", "recipe", "speed")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The text around a mention.

    Attributes:
        document_id, mention_id: the mention.
        text: the sentence.
        start, end: of the mention in it; half-open, code points.
        spans: its fragments in it, text order.
    """

    document_id: str
    mention_id: str
    text: str
    start: int
    end: int
    spans: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ConceptFacts:
    """What a code is, for a reader.

    Attributes:
        code: canonical; one that the knowledge base does not have has no name, no groups and no path.
        name: preferred name, or "".
        definition: one text, or None.
        groups: semantic groups.
        path: names from the root down to the concept, by the first parent of each.
    """

    code: str
    name: str
    definition: str | None
    groups: tuple[str, ...]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """What a folder holds.

    Attributes:
        folder: where it was read.
        system: its name.
        report: what `syncabel evaluate --json` prints for the system.
        kb: source, release and digest of the knowledge base.
        digests: SHA-256 of knowledge base, documents and predictions.
        command: the words of the command line.
        versions: of Python and the packages that count.
        recipe: training.json of the model, or None.
        speed: what running it took, or None.
        mentions: in document order.
        sentences: by document and mention id; empty where the file was left out.
        concepts: by code.
    """

    folder: Path
    system: str
    report: Mapping[str, Any]
    kb: Mapping[str, str]
    digests: Mapping[str, str]
    command: tuple[str, ...]
    versions: Mapping[str, str]
    recipe: Mapping[str, Any] | None
    speed: Mapping[str, Any] | None
    mentions: tuple[JudgedMention, ...]
    sentences: Mapping[Key, Sentence]
    concepts: Mapping[str, ConceptFacts]


def write_run(
    folder: Path | str,
    system: str,
    report: Report,
    documents: Iterable[Document],
    kb: KnowledgeBase,
    *,
    command: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
    speed: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder, evaluation.json last: with it the folder is whole.

    Args:
        folder: a new or empty one, or that of an evaluation to replace.
        system: its name, for tables.
        report: from `evaluate`.
        documents: that were scored.
        kb: that they were scored with.
        command: the words of the command line.
        recipe: training.json of the model.
        speed: what running it took, e.g. {"seconds": 12.5, "mentions_per_second": 80.0, "peak_memory_mb": 900}.
        facts: more of what `--json` prints for this system, added to the report.

    Raises:
        ConfigError: the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / EVALUATION).exists() or _is_free(folder))):
        raise ConfigError(f"{folder} holds something that is no evaluation; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATION).unlink(missing_ok=True)
    _write_lines(folder / MENTIONS, map(to_json, report.mentions))
    _write_lines(folder / SENTENCES, map(asdict, sentences_of(report.mentions, documents)))
    _write_lines(folder / CONCEPTS, (asdict(_concept(code, kb)) for code in _codes(report.mentions)))
    content = {
        "format": FORMAT,
        "system": system,
        "report": {**report_json(report), **(facts or {})},
        "kb": {"source": kb.about.source, "release": kb.about.release, "digest": kb.digest},
        "digests": dict(report.digests),
        "command": list(command),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "recipe": recipe,
        "speed": speed,
    }
    (folder / EVALUATION).write_text(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _is_free(folder: Path) -> bool:
    """Whether nothing lies there but what an evaluation that was broken off, or systems beside this one, may have left."""
    return all(item.name in (MENTIONS, SENTENCES, CONCEPTS) or item.is_dir() for item in folder.iterdir())


def _write_lines(path: Path, rows: Iterable[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def sentences_of(mentions: Iterable[JudgedMention], documents: Iterable[Document]) -> Iterator[Sentence]:
    """The sentence around each mention, in the order of the mentions."""
    found = {(document.id, mention.id): (document, mention) for document in documents for mention in document.mentions}
    for item in mentions:
        document, mention = found[item.document_id, item.mention_id]
        around = sentence_around(document.text, mention.spans, _CONTEXT_CHARS)
        spans = tuple((span.start - around.start, span.end - around.start) for span in mention.spans)
        yield Sentence(item.document_id, item.mention_id, document.surface(around), spans[0][0], spans[-1][1], spans)


def _codes(mentions: Iterable[JudgedMention]) -> list[str]:
    """Every gold and predicted code, also of what was withheld, sorted."""
    found = set[str]()
    for item in mentions:
        found.update(*item.gold, *(candidate.codes for candidate in (*item.candidates, *item.alternatives)))
    return sorted(found)


def _concept(code: str, kb: KnowledgeBase) -> ConceptFacts:
    if code not in kb:
        return ConceptFacts(code, "", None, (), ())
    concept = kb.concept(code)
    return ConceptFacts(code, concept.preferred_name, concept.definition, concept.groups, tuple(_path(code, kb)))


def _path(code: str, kb: KnowledgeBase) -> list[str]:
    above = [kb.concept(code).preferred_name]
    while parents := kb.parents(code):
        code = parents[0]
        above.append(kb.concept(code).preferred_name)
    return above[::-1]


def read_run(folder: Path | str) -> EvaluationRun:
    """Read what `write_run` wrote; `sentences.jsonl` may be gone.

    Raises:
        IncompleteFolderError: no evaluation.json, or another file is missing.
        FormatError: a file is not what `write_run` writes, or is of another format.
    """
    folder = Path(folder)
    if missing := [name for name in (EVALUATION, MENTIONS, CONCEPTS) if not (folder / name).is_file()]:
        raise IncompleteFolderError(f"{folder}: {missing[0]} is missing; write it with `syncabel evaluate … -o {folder}`")
    content = _content(folder / EVALUATION)
    sentences = _rows(folder / SENTENCES, Sentence) if (folder / SENTENCES).is_file() else ()
    return EvaluationRun(
        folder,
        **{name: content[name] for name in _FACTS if name != "command"},
        command=tuple(content["command"]),
        mentions=tuple(_rows(folder / MENTIONS, JudgedMention)),
        sentences={(row.document_id, row.mention_id): row for row in sentences},
        concepts={row.code: row for row in _rows(folder / CONCEPTS, ConceptFacts)},
    )


def _content(path: Path) -> dict[str, Any]:
    hint = "write it again with `syncabel evaluate -o`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"not JSON: {error}", path, hint=hint) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FormatError(f"this is not of the format {FORMAT!r}", path, hint=hint)
    if missing := [name for name in _FACTS if name not in content]:
        raise FormatError(f"field {missing[0]!r} is missing", path, hint=hint)
    return content


def _rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    if not path.stat().st_size:
        return
    for number, value in json_lines(path, "write it again with `syncabel evaluate -o`"):
        try:
            yield from_json(kind, value)
        except FormatError as error:
            raise FormatError(error.problem, path, number, error.hint) from None
