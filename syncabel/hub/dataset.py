"""Synthetic documents as a folder that `datasets` loads: Parquet, and a card with measured facts.

    README.md               the card: YAML front matter, how to use it, counts, digests, the licence of the names
    data/part-00000.parquet documents; a column is a field of `Document`, so a row read back is a document again

The licence of the vocabulary decides whether anything is written at all: a mention is made of its names.
"""

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from syncabel.columns import arrow_fields
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, IncompleteFolderError, InputError, MissingExtraError
from syncabel.kb.manifest import Manifest
from syncabel.kb.vocabulary import About
from syncabel.lines import json_lines
from syncabel.types import Document, from_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DATA", "DatasetFacts", "check_redistribution", "export_dataset"]

DATA = "data/*.parquet"  # what belongs to a dataset beside its card
_DOCUMENTS, _REPORT, _MANIFEST, _CARD = "documents.jsonl", "report.json", "manifest.json", "README.md"
_ROW_GROUP = 5_000  # rows held in memory at a time
_SHARD = 200  # row groups in a file
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_AGAIN = "generate the folder again"


@dataclass(slots=True)
class DatasetFacts:
    """What was counted while a dataset was written.

    Attributes:
        documents, mentions: how many.
        concepts: codes that documents were written for.
        languages, writers, models: documents per ISO 639-1 code, writer and model.
        files: size in bytes per path inside the folder, the card among them.
    """

    documents: int = 0
    mentions: int = 0
    concepts: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    files: dict[str, int] = field(default_factory=dict)


def export_dataset(
    source: Path,
    out: Path,
    kb: Manifest,
    *,
    title: str,
    licence: str = "unknown",
    repo: str = "",
    statement: str = "",
    row_group: int = _ROW_GROUP,
) -> DatasetFacts:
    """Write the dataset of generated documents; the folder is there whole or not at all.

    Args:
        source: a folder of `syncabel generate`, or a documents.jsonl alone.
        out: a folder that is not there yet, or empty.
        kb: manifest of the knowledge base the documents were made from.
        title: heading of the card.
        licence: of the dataset, as the hub names licences, e.g. "cc-by-4.0"; what a model wrote may fall under that model's terms.
        repo: where it will be published, for the code on the card; "" for the folder's own name.
        statement: why the vocabulary's names may be passed on, where its manifest does not allow it; the card repeats it.
        row_group: rows written at a time.

    Raises:
        ConfigError: the names may not be passed on, a document is human, sentences may be copies of a private corpus, or something stands at `out`.
        DigestMismatchError: a document was made from another knowledge base.
        FormatError: a row is no document; its text is not repeated.
        IncompleteFolderError: there are no documents, or not as many as the report says were kept.
        MissingExtraError: pyarrow is not installed.
    """
    check_redistribution(kb, statement)
    documents = source / _DOCUMENTS if source.is_dir() else source
    if not documents.is_file():
        raise IncompleteFolderError(f"{documents} is missing; give a folder of `syncabel generate` or a documents.jsonl")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not empty; give another folder")
    recipe = _recipe(source)
    _refuse_copies(recipe, documents)
    card = _Card(" ".join(title.split()), licence, repo or out.name, kb, " ".join(statement.split()), recipe)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / "new"
        (folder / "data").mkdir(parents=True)
        facts = _written(_checked(documents, kb.digest), folder, row_group)
        if not facts.documents:
            raise IncompleteFolderError(f"{documents} holds no documents, so there is nothing to publish")
        if isinstance(kept := card.recipe.get("kept"), int) and kept != facts.documents:
            raise IncompleteFolderError(f"{documents} holds {facts.documents:,} documents where {_REPORT} says {kept:,}; {_AGAIN}")
        (folder / _CARD).write_text(card.text(facts), encoding="utf-8")
        facts.files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        folder.replace(out)
    return facts


def check_redistribution(kb: Manifest, statement: str) -> None:
    """Refuse names that may not be passed on, unless somebody says why they may.

    Raises:
        ConfigError: see above.
    """
    if (closed := _closed(kb)) and not statement.strip():
        names = ", ".join(about.source for about in closed)
        raise ConfigError(f"the names of {names} may not be redistributed as far as is known; say --i-may-redistribute REASON if you may")


def _refuse_copies(recipe: Mapping[str, Any], documents: Path) -> None:
    """Refuse sentences that may repeat a corpus whose text must stay where it is: the model was shown it, and nobody looked for copies."""
    if recipe.get("style_examples") == "private" and "shot_copy" in recipe.get("gates_off", ()):
        raise ConfigError(
            f"{documents} was made with style examples of a corpus that is not shareable and without the gate shot_copy; "
            "run `syncabel generate --reparse` with that gate, then publish"
        )


def _closed(kb: Manifest) -> list[About]:
    """The vocabularies whose names may not be passed on."""
    parts = [about for about in kb.parts if not about.redistributable]
    return parts or ([] if kb.about.redistributable else [kb.about])


def _checked(path: Path, kb_digest: str) -> Iterator[Document]:
    """The documents of a file, each of them free to go out."""
    for number, row in json_lines(path, _AGAIN):
        document = _document(row, path, number)
        if document.source != "synthetic":
            raise ConfigError(f"{path}:{number}: a human document; only synthetic ones are published")
        if document.provenance is None:
            raise FormatError("a synthetic document without provenance", path, number, _AGAIN)
        if document.provenance.kb_digest != kb_digest:
            found = document.provenance.kb_digest or "none"
            raise DigestMismatchError(f"{path}:{number}: made from another knowledge base", kb_digest, found, "give that one with --kb")
        yield document


def _document(row: object, path: Path, number: int) -> Document:
    try:
        return from_json(Document, row)
    except InputError:
        # The error itself may quote the row.
        raise FormatError("not a document", path, number, _AGAIN) from None


def _written(documents: Iterable[Document], folder: Path, row_group: int) -> DatasetFacts:
    """Write Parquet files, a row group at a time."""
    pa, parquet = _arrow()
    schema = pa.schema(arrow_fields(Document))
    facts, codes = DatasetFacts(), set[str]()
    groups = _batches(_counted(documents, facts, codes), row_group)
    for shard in count():
        part = islice(groups, _SHARD)
        if (first := next(part, None)) is None:
            break
        with parquet.ParquetWriter(folder / "data" / f"part-{shard:05}.parquet", schema, compression="zstd") as writer:
            for batch in chain([first], part):
                writer.write_table(_table(batch, schema, pa))
    facts.concepts = len(codes)
    return facts


def _batches(documents: Iterator[Document], size: int) -> Iterator[list[Document]]:
    while batch := list(islice(documents, size)):
        yield batch


def _counted(documents: Iterable[Document], facts: DatasetFacts, codes: set[str]) -> Iterator[Document]:
    for document in documents:
        facts.documents += 1
        facts.mentions += len(document.mentions)
        facts.languages[document.language] += 1
        if document.provenance is not None:
            codes.add(document.provenance.concept)
            facts.writers[document.provenance.writer] += 1
            facts.models[document.provenance.model] += 1
        yield document


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError("hub", "pyarrow") from None
    return pyarrow, pyarrow.parquet


def _table(documents: list[Document], schema: "pa.Schema", pa: Any) -> "pa.Table":
    rows = [dataclasses.asdict(document) for document in documents]
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:
        raise FormatError("a document holds half a surrogate pair, which no file can hold", hint=_AGAIN) from None


def _recipe(source: Path) -> dict[str, Any]:
    """What report.json and the settings of manifest.json say, where they are there."""
    if not source.is_dir():
        return {}
    settings = _json(source / _MANIFEST).get("settings")
    return {**(settings if isinstance(settings, dict) else {}), **_json(source / _REPORT)}


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise FormatError("not JSON", path, hint=_AGAIN) from None
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class _Card:
    """The card, before anything is counted."""

    title: str
    licence: str
    repo: str
    kb: Manifest
    statement: str
    recipe: Mapping[str, Any]

    def text(self, facts: DatasetFacts) -> str:
        """In Markdown, with its YAML front matter."""
        about = self.kb.about
        return _TEMPLATE.substitute(
            front_matter=self._front_matter(facts),
            title=_plain(self.title),
            documents=f"{facts.documents:,}",
            mentions=f"{facts.mentions:,}",
            concepts=f"{facts.concepts:,}",
            vocabulary=_plain(about.source or "a vocabulary without a name"),
            warning=self._warning(),
            repo=json.dumps(self.repo),
            recipe=_rows(self._made(facts)),
            rejected=self._rejected(),
            names=_rows(self._names()),
            licence=_plain(self.licence),
        )

    def _front_matter(self, facts: DatasetFacts) -> str:
        import yaml

        values = {
            "pretty_name": self.title,
            "license": self.licence,
            "language": sorted(facts.languages),
            "size_categories": [next((name for top, name in _SIZES if facts.documents < top), "n>10M")],
            "task_categories": ["token-classification"],
            "tags": ["entity-linking", "concept-normalization", "biomedical", "synthetic", "syncabel"],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": DATA}]}],
        }
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip()

    def _warning(self) -> str:
        if not (closed := _closed(self.kb)):
            return ""
        names = ", ".join(_plain(about.source) for about in closed)
        return f"\n> **Terminology under licence.**  Mentions are made of names of {names}.  Whoever published this states: “{_plain(self.statement)}”\n"

    def _made(self, facts: DatasetFacts) -> Iterator[tuple[str, object]]:
        yield "writers", _tally(facts.writers)
        yield "models", _tally(facts.models)
        left_out = {"rejected", "writer", "model", "seconds", "kept"}
        yield from ((name.replace("_", " "), value) for name, value in self.recipe.items() if name not in left_out)

    def _rejected(self) -> str:
        kept, reasons = self.recipe.get("kept"), self.recipe.get("rejected")
        if not isinstance(kept, int) or not isinstance(reasons, dict) or not all(isinstance(count, int) for count in reasons.values()):
            return "What was refused on the way is not known for this file."
        out = sum(reasons.values())
        rows = [("kept", kept), *((f"refused: {reason}", count) for reason, count in sorted(reasons.items(), key=lambda row: (-row[1], row[0])))]
        return f"{kept:,} kept + {out:,} refused = {kept + out:,} generated.\n\n{_rows((label, f'{count:,}') for label, count in rows)}"

    def _names(self) -> Iterator[tuple[str, object]]:
        yield from ((about.source, _terms(about)) for about in (self.kb.about, *self.kb.parts))
        yield "digest", self.kb.digest


def _terms(about: About) -> str:
    """Release, licence and redistribution of a vocabulary, in words; what is not known is said so."""
    licence = about.licence if about.licence not in ("", "unknown") else "not stated"
    redistribution = "allowed" if about.redistributable else "NOT allowed as far as is known"
    return "; ".join((*([f"release {about.release}"] if about.release else []), f"licence {licence}", f"redistribution {redistribution}"))


def _tally(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()) if name)


def _rows(rows: Iterable[tuple[str, object]]) -> str:
    """A Markdown table; what is neither text, number nor a list of such is left out."""
    cells = [(_plain(label), _cell(value)) for label, value in rows]
    return "\n".join(["| what | value |", "|---|---|", *(f"| {label} | {value} |" for label, value in cells if value)])


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _plain(value) if isinstance(value, str | int | float) else ""


def _plain(value: object) -> str:
    """A value from a file as Markdown text of one line, nothing of which is markup."""
    text = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in "\\`*[]<>|" else c for c in text)


_TEMPLATE = Template("""\
---
$front_matter
---

# $title

$documents synthetic sentences with $mentions marked mentions of $concepts concepts of $vocabulary, for training entity linkers.  All of it
was written by programs and language models.
$warning
## Use

```python
from datasets import load_dataset

rows = load_dataset($repo, split="train")
```

Each row is a document: `text`, and `mentions` with `spans` (half-open, in Unicode code points), `type` (the semantic group) and `answers`
(any one set of codes is right; the codes of a set are right together).  `provenance` says which concept a row was written
for, by which writer and model, with which seed, and gives the SHA-256 of the prompt and of the knowledge base.

## How it was made

$recipe

$rejected

## Names and their licence

$names

Licence of the dataset: $licence.

## Limits

Nobody has read all of it.  A sentence may be wrong about medicine, and a mention may be a name that nobody uses: train on it, and do not
learn medicine from it.  Evaluate on text that people wrote.
""")
