"""The loop over concepts: writes, parses, gates, stores; killed at any byte it goes on where it stopped.

A folder holds generation.jsonl (raw answers, stored before they are parsed), documents.jsonl, rejected.jsonl, state.json
while the run lasts and manifest.json when it is done.  Files only grow, a block of concepts at a time; state.json, replaced
atomically after each block, says how many bytes of each file count.  What lies behind is cut off by the next run, so an
interrupted folder ends byte for byte as an uninterrupted one: nothing in it tells the time.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.gates import reason_against, same_sentence
from data_gen.short_forms import Lineages, short_forms_by_code
from data_gen.writer import Context, Generation, Writer
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError, UnknownNameError
from syncabel.types import Concept, Document, Rejection, from_json, to_json

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["Manifest", "Settings", "generate_documents", "run"]

FILES = ("generation.jsonl", "documents.jsonl", "rejected.jsonl")
STATE, MANIFEST = "state.json", "manifest.json"
BLOCK = 32  # concepts between two writes to disk

ExcludedNames = Collection[tuple[str, str]]
Progress = Callable[[Iterable[str]], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides what a folder holds; digests are SHA-256, hexadecimal.

    Attributes:
        writer, model, writer_digest: see `Writer`.
        kb_digest: of the knowledge base.
        per_concept: sentences asked for per concept.
        seed: of the run.
        concepts: how many, and the digest of their codes in order.
        excluded_digest, short_forms_digest: of the names left out and of the short forms shared.
    """

    writer: str
    model: str
    writer_digest: str
    kb_digest: str
    per_concept: int
    seed: int
    concepts: int
    codes_digest: str
    excluded_digest: str
    short_forms_digest: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds; generated = kept + rejected.

    Attributes:
        settings: of the run.
        concepts_done: concepts written so far.
        generated, kept, rejected: numbers of items.
        reasons: rejected items per reason.
        sizes: bytes per file.
    """

    settings: Settings
    concepts_done: int = 0
    generated: int = 0
    kept: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))


@dataclass(frozen=True, slots=True)
class _Job:
    """What stays the same for all concepts of a run."""

    kb: "KnowledgeBase"
    writer: Writer
    per_concept: int
    seed: int
    excluded: Mapping[str, frozenset[str]]
    short_forms: Mapping[str, tuple[str, ...]]
    lineages: Lineages

    def context(self, concept: Concept) -> Context:
        lineage = self.lineages.of(concept)
        names = dict(lineage)
        parents = tuple(names[code] for code in concept.parents if code in names)
        return Context(parents, lineage, self.short_forms.get(concept.code, ()), self.excluded.get(concept.code, frozenset()), self.kb.digest)

    def rows(self, code: str) -> tuple[list[Generation], list[Document], list[Rejection]]:
        """The raw answers for a concept, what is kept of them and what is not."""
        concept = self.kb.concept(code)
        context = self.context(concept)
        generations = self.writer.write(concept, context, self.per_concept, self.seed)
        parsed = [item for generation in generations for item in self.writer.parse(generation, concept, context)]
        judged = list(_judged(parsed, concept, self.kb))
        return generations, [item for item in judged if isinstance(item, Document)], [item for item in judged if isinstance(item, Rejection)]


def _judged(items: Iterable[Document | Rejection], concept: Concept, kb: "KnowledgeBase") -> Iterator[Document | Rejection]:
    # Duplicates are looked for within a concept: what another one gets must not depend on which concepts came before it.
    seen: set[object] = set()
    for item in items:
        if isinstance(item, Rejection):
            yield item
            continue
        key = same_sentence(item)
        reason = reason_against(item, concept, kb) or ("duplicate" if key in seen else None)
        seen.add(key)
        yield Rejection(item.id, concept.code, reason, item.text) if reason else item


def _job(kb: "KnowledgeBase", writer: Writer, per_concept: int, seed: int, excluded: ExcludedNames, short_forms: Mapping[str, Iterable[str]]) -> _Job:
    if per_concept < 1:
        raise ConfigError(f"per_concept is {per_concept}; ask for 1 sentence or more per concept")
    by_code: defaultdict[str, set[str]] = defaultdict(set)
    for code, name in excluded:
        by_code[code].add(name)
    names = {code: frozenset(names) for code, names in by_code.items()}
    return _Job(kb, writer, per_concept, seed, names, short_forms_by_code(short_forms), Lineages(kb))


def _codes(kb: "KnowledgeBase", codes: Iterable[str] | None) -> tuple[str, ...]:
    if codes is None:
        return kb.codes
    known = [kb.canonical(code) or _unknown(kb, code) for code in codes]
    return tuple(dict.fromkeys(known))


def _unknown(kb: "KnowledgeBase", code: str) -> str:
    raise UnknownNameError("code", code, kb.codes)


def generate_documents(
    kb: "KnowledgeBase",
    writer: Writer,
    *,
    per_concept: int,
    seed: int,
    codes: Iterable[str] | None = None,
    exclude_names: ExcludedNames = frozenset(),
    short_forms: Mapping[str, Iterable[str]] | None = None,
) -> Iterator[Document | Rejection]:
    """Generated documents and what the gates refuse, concept by concept, kept ones of a concept first.

    Args:
        kb: knowledge base with the concepts' ancestors, for branches and parents.
        writer: see `Writer`.
        per_concept: sentences asked for per concept.
        seed: a concept's rows depend on it, on the concept and its names, on nothing else.
        codes: which concepts (alternative codes resolve); all where None.
        exclude_names: (code, folded name) pairs: never a mention nor the base of one.
        short_forms: from `shared_short_forms`; these concepts are also named by them, in contexts of their branch.

    Raises:
        UnknownNameError: a code is not in the knowledge base.
    """
    job = _job(kb, writer, per_concept, seed, exclude_names, short_forms or {})
    for code in _codes(kb, codes):
        _, kept, rejected = job.rows(code)
        yield from kept
        yield from rejected


def run(
    kb: "KnowledgeBase",
    writer: Writer,
    out_dir: str | Path,
    *,
    per_concept: int,
    seed: int,
    codes: Iterable[str] | None = None,
    exclude_names: ExcludedNames = frozenset(),
    short_forms: Mapping[str, Iterable[str]] | None = None,
    progress: Progress = iter,
) -> Manifest:
    """`generate_documents` into a folder, going on where an earlier run with the same settings stopped.

    Args:
        out_dir: made where it does not exist.
        progress: wraps the codes still to do, e.g. in a progress bar.

    Returns:
        The manifest, as written to manifest.json.

    Raises:
        ConfigError: the folder was made with other settings, or holds files of another origin.
        IncompleteFolderError: a file is shorter than state.json or manifest.json says.
        UnknownNameError: a code is not in the knowledge base.
    """
    folder, shorts = Path(out_dir), {short: tuple(owners) for short, owners in (short_forms or {}).items()}
    job, chosen = _job(kb, writer, per_concept, seed, exclude_names, shorts), _codes(kb, codes)
    settings = Settings(
        writer.name,
        writer.model,
        writer.digest,
        kb.digest,
        per_concept,
        seed,
        len(chosen),
        _digest(chosen),
        _digest(sorted(exclude_names)),
        _digest(sorted(shorts.items())),
    )
    folder.mkdir(parents=True, exist_ok=True)
    state = _resumed(folder, settings)
    if not (folder / MANIFEST).exists():
        state = _finished(folder, _continued(folder, state, job, chosen, progress))
    return state


def _digest(rows: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _resumed(folder: Path, settings: Settings) -> Manifest:
    """Where to go on: the folder's manifest or state, its files cut to what counts; a fresh state in a fresh folder."""
    path = next((folder / name for name in (MANIFEST, STATE) if (folder / name).exists()), None)
    if path is None:
        _refuse_strange_files(folder)
        _write_atomically(folder / STATE, Manifest(settings))
        return Manifest(settings)
    state = _read_manifest(path)
    _refuse_other_settings(folder, state.settings, settings)
    for name in FILES:
        _cut(folder / name, state.sizes[name], finished=path.name == MANIFEST)
    return state


def _refuse_strange_files(folder: Path) -> None:
    strange = [name for name in FILES if (folder / name).exists()]
    if strange:
        raise ConfigError(f"{folder} holds {strange[0]} but no {STATE} or {MANIFEST}, so it is not a folder of `syncabel generate`; give another folder")


def _refuse_other_settings(folder: Path, old: Settings, new: Settings) -> None:
    differing = [
        f"{f.name} {_brief(getattr(old, f.name))} → {_brief(getattr(new, f.name))}" for f in fields(Settings) if getattr(old, f.name) != getattr(new, f.name)
    ]
    if differing:
        raise ConfigError(f"{folder} was made with other settings ({'; '.join(differing)}); repeat those, or give another folder")


def _brief(value: object) -> str:
    text = str(value)
    return f"{text[:8]}…" if len(text) == 64 else repr(value)


def _cut(path: Path, size: int, *, finished: bool) -> None:
    """Cut a file to the bytes that count; a finished one has none too many, so what is behind is somebody else's."""
    found = path.stat().st_size if path.exists() else 0
    if found < size or (finished and found > size):
        raise IncompleteFolderError(f"{path} has {found} bytes where {size} were written; delete the folder and generate again")
    if found > size:
        os.truncate(path, size)


def _continued(folder: Path, state: Manifest, job: _Job, codes: Sequence[str], progress: Progress) -> Manifest:
    left = iter(progress(codes[state.concepts_done :]))
    while block := list(islice(left, BLOCK)):
        rows = [job.rows(code) for code in block]
        lines = [[item for row in rows for item in row[i]] for i in range(len(FILES))]
        for name, items in zip(FILES, lines, strict=True):
            _append(folder / name, items)
        state = _added(state, folder, len(block), lines[1], lines[2])
        _write_atomically(folder / STATE, state)
    return state


def _append(path: Path, items: Sequence[object]) -> None:
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(to_json(item), ensure_ascii=False).encode() + b"\n" for item in items))
        file.flush()
        os.fsync(file.fileno())


def _added(state: Manifest, folder: Path, concepts: int, kept: Sequence[object], rejected: Sequence[Any]) -> Manifest:
    reasons = Counter(state.reasons) + Counter(item.reason for item in rejected)
    return replace(
        state,
        concepts_done=state.concepts_done + concepts,
        generated=state.generated + len(kept) + len(rejected),
        kept=state.kept + len(kept),
        rejected=state.rejected + len(rejected),
        reasons=dict(sorted(reasons.items())),
        sizes={name: (folder / name).stat().st_size for name in FILES},
    )


def _finished(folder: Path, state: Manifest) -> Manifest:
    _write_atomically(folder / MANIFEST, state)
    for leftover in (STATE, "state.tmp"):
        (folder / leftover).unlink(missing_ok=True)
    return state


def _write_atomically(path: Path, state: Manifest) -> None:
    beside = path.with_suffix(".tmp")
    with beside.open("w", encoding="utf-8") as file:
        json.dump({name: to_json(getattr(state, name)) for name in _FIELDS}, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


_FIELDS = tuple(f.name for f in fields(Manifest))


def _read_manifest(path: Path) -> Manifest:
    hint = "delete the folder and generate again"
    try:
        row = json.loads(path.read_bytes())
    except ValueError as error:
        raise FormatError(f"not JSON ({error})", path, hint=hint) from None
    if not isinstance(row, dict) or set(row) != set(_FIELDS) or set(row["sizes"]) != set(FILES):
        raise FormatError(f"should hold {', '.join(_FIELDS)}", path, hint=hint)
    settings = from_json(Settings, row.pop("settings"), str(path))
    return Manifest(settings, **row)
