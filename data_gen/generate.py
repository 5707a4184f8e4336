"""The loop over concepts: asks, stores, parses, gates; killed at any byte it goes on where it stopped.

While a run lasts its raw answers lie in `shards/` (`data_gen.journal`), written down as they come.  When all are there, they are
read in the order of the plan, parsed and judged, and the folder gets its files: generation.jsonl (raw answers), documents.jsonl,
rejected.jsonl, scores.jsonl where scores were asked for, report.json, and manifest.json last.  Everything but the report follows from
settings and answers alone, so an interrupted folder ends byte for byte as an uninterrupted one.  Requests that got no answer
are listed in missing.jsonl, the shards stay, and the next run asks for these again.
"""

import json
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from data_gen.folder import (
    DOCUMENTS,
    FAILURES,
    GENERATION,
    MANIFEST,
    MISSING,
    REJECTED,
    RELINK,
    REPORT,
    SCORES,
    SHARDS,
    Manifest,
    Output,
    Settings,
    check_finished,
    claim,
    read_manifest,
    read_only,
    refuse_other_settings,
    refuse_strange_files,
    verify_answers,
    write_json,
    write_manifest,
)
from data_gen.gates import Judge, Scorer, template_judge
from data_gen.journal import SHARD, Journal, locked
from data_gen.surroundings import ExcludedNames, Surroundings, digest_of
from data_gen.writer import Context, Failure, Generation, Request, Writer
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.lines import json_lines
from syncabel.types import Concept, Document, Rejection, from_json

if TYPE_CHECKING:
    from data_gen.relinking import Relinker
    from syncabel.kb import KnowledgeBase

__all__ = ["generate_documents", "reparse", "run"]

SCORED_AT_ONCE = 512  # documents
RELINKING = 99  # number of the round in which the model is asked what its sentences mean
# New failures one after the other, at which nothing more is asked: what fails is not one concept.  What failed in an earlier run does not
# count, or concepts that always fail would keep those behind them from ever being asked.
MOST_FAILURES = 100

T = TypeVar("T")
Progress = Callable[[Iterable[str]], Iterable[str]]


class _Wanted(NamedTuple):
    """How many sentences a round asks for about a concept, the concept's place in the plan, and the number of its first request."""

    code: str
    place: int
    sentences: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    """What stays the same for all concepts of a run."""

    kb: "KnowledgeBase"
    writer: Writer
    surroundings: Surroundings
    per_concept: int
    seed: int

    def about(self, code: str) -> tuple[Concept, Context]:
        concept = self.kb.concept(code)
        return concept, self.surroundings.of(concept)

    def requests(self, wanted: _Wanted) -> list[Request]:
        return self.writer.requests(*self.about(wanted.code), wanted.sentences, self.seed, wanted.first)

    def judged(self, code: str, generations: Sequence[Generation], judge: Judge) -> list[Document | Rejection]:
        """What the answers about a concept hold, as far as the gates let it pass."""
        concept, context = self.about(code)
        parsed = [item for generation in generations for item in self.writer.parse(generation, concept, context)]
        return list(judge.judged(parsed, concept, context))


def _job(kb: "KnowledgeBase", writer: Writer, surroundings: Surroundings, per_concept: int, seed: int) -> _Job:
    if per_concept < 1:
        raise ConfigError(f"per_concept is {per_concept}; ask for 1 sentence or more per concept")
    return _Job(kb, writer, surroundings, per_concept, seed)


def _codes(kb: "KnowledgeBase", codes: Iterable[str] | None) -> Sequence[str]:
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
    """Generated documents and what the gates refuse, concept by concept, kept ones of a concept first; nothing is written.

    Args:
        kb: knowledge base with the concepts' ancestors, for branches and parents.
        writer: one that asks nobody; see `Writer`.
        per_concept: sentences asked for per concept.
        seed: a concept's rows depend on it, on the concept and its names, on nothing else.
        codes: which concepts (alternative codes resolve); all where None.
        exclude_names: (code, folded name) pairs: never a mention nor the base of one.
        short_forms: from `shared_short_forms`; these concepts are also named by them, in contexts of their branch.

    Raises:
        ConfigError: per_concept is below 1.
        UnknownNameError: a code is not in the knowledge base.
    """
    job = _job(kb, writer, Surroundings(kb, exclude_names, _tuples(short_forms)), per_concept, seed)
    judge = template_judge(kb)
    for code in _codes(kb, codes):
        answers = [item for item in writer.answers(job.requests(_Wanted(code, 0, per_concept))) if isinstance(item, Generation)]
        judged = job.judged(code, answers, judge)
        yield from (item for item in judged if isinstance(item, Document))
        yield from (item for item in judged if isinstance(item, Rejection))


def _tuples(short_forms: Mapping[str, Iterable[str]] | None) -> dict[str, tuple[str, ...]]:
    return {short: tuple(owners) for short, owners in (short_forms or {}).items()}


def run(
    kb: "KnowledgeBase",
    writer: Writer,
    out_dir: Path | str,
    *,
    per_concept: int,
    seed: int,
    codes: Iterable[str] | None = None,
    exclude_names: ExcludedNames = frozenset(),
    short_forms: Mapping[str, Iterable[str]] | None = None,
    surroundings: Surroundings | None = None,
    gates: Judge | None = None,
    scorer: Scorer | None = None,
    relinker: "Relinker | None" = None,
    rounds: int = 0,
    facts: Mapping[str, object] | None = None,
    ask: bool = True,
    progress: Progress = lambda codes: codes,
) -> Manifest:
    """Generate into a folder, go on in a folder that was interrupted, or return the manifest of a finished one.

    Args:
        kb, writer, per_concept, seed, codes, exclude_names, short_forms: see `generate_documents`; the writer may ask a model.
        out_dir: the folder; one process at a time.
        surroundings: what the writer may know of each concept, instead of `exclude_names` and `short_forms`.
        gates: a fresh judge of what is kept; the template writer's where None.
        scorer: records scores of what is kept.
        relinker: asks the model what each sentence means, and what means something else is not kept; after the last round.
        rounds: how often concepts that are short of `per_concept` after the gates are asked for more.
        facts: what report.json says besides.
        ask: False takes the answers there are, as those of a run that was interrupted; the writer's parser may have changed since.
        progress: wraps the codes under way, e.g. in a progress bar.

    Returns:
        The manifest, as written to manifest.json.

    Raises:
        ConfigError: the folder was made with other settings, holds files of another origin, or another run is at work there.
        IncompleteFolderError: a file is not what manifest.json says.
        UnknownNameError: a code is not in the knowledge base.
    """
    folder, begun = Path(out_dir), time.monotonic()
    around = surroundings or Surroundings(kb, exclude_names, _tuples(short_forms))
    job, chosen = _job(kb, writer, around, per_concept, seed), _codes(kb, codes)
    judge = gates or template_judge(kb)
    if rounds < 0:
        raise ConfigError(f"rounds is {rounds}; give 0 or more")
    settings = _settings(job, chosen, judge.digest, rounds, scorer, relinker)
    if not ask:
        settings = read_only(folder, settings)
    if (folder / MANIFEST).exists():
        manifest = check_finished(folder, settings)
        if not manifest.missing:
            _clear_up(folder / SHARDS)
            return manifest
    else:
        refuse_strange_files(folder)
    with locked(folder / SHARDS):
        claim(folder / SHARDS, settings)
        with _Work(job, folder, judge, scorer, relinker) as work:
            work.rounds(chosen, rounds, ask, progress)
            work.relink(ask)
            return work.published(settings, time.monotonic() - begun, facts or {})


def reparse(
    kb: "KnowledgeBase",
    writer: Writer,
    out_dir: Path | str,
    *,
    per_concept: int,
    seed: int,
    surroundings: Surroundings,
    gates: Judge,
    codes: Iterable[str] | None = None,
    scorer: Scorer | None = None,
    relinker: "Relinker | None" = None,
    rounds: int = 0,
    facts: Mapping[str, object] | None = None,
) -> Manifest:
    """Parse and judge the stored answers of a finished folder again; no model is asked.

    Args:
        kb, writer, out_dir, per_concept, seed, surroundings, codes, rounds, facts: as for `run`, and as the folder was made with; the
            writer's parser may be another.
        gates, scorer, relinker: as for `run`; they may be others than before, but what the model was never asked about is not kept
            where there is a relinker.

    Raises:
        ConfigError: the folder is unfinished, or was made with other settings than those that may change.
        IncompleteFolderError: a file is not what manifest.json says.
    """
    folder, begun = Path(out_dir), time.monotonic()
    if not (folder / MANIFEST).exists():
        raise ConfigError(f"{folder} is not finished: run `syncabel generate` again without --reparse, and its answers are parsed")
    old, job, chosen = read_manifest(folder / MANIFEST), _job(kb, writer, surroundings, per_concept, seed), _codes(kb, codes)
    if old.missing:
        raise ConfigError(f"{folder}: {old.missing} sentences are missing; run `syncabel generate` again without --reparse, and all answers are parsed")
    settings = _settings(job, chosen, gates.digest, rounds, scorer, relinker)
    free = {name: getattr(settings, name) for name in ("writer_digest", "gates_digest", "scored", "relink_digest")}
    refuse_other_settings(folder, replace(old.settings, **free), settings)
    verify_answers(folder, old)
    with locked(folder / SHARDS), _Work(job, folder, gates, scorer, relinker) as work:
        work.again(folder / GENERATION)
        work.relink(ask=False, stored=_stored(folder / RELINK))
        work.done()
        return work.published(settings, time.monotonic() - begun, facts or {})


class _Work:
    """The steps of one run: asking, judging, and the files that come of it."""

    def __init__(self, job: _Job, folder: Path, judge: Judge, scorer: Scorer | None, relinker: "Relinker | None") -> None:
        self._job, self._folder, self._judge, self._scorer, self._relinker = job, folder, judge, scorer, relinker
        self._shards = folder / SHARDS
        self._journal, self._files = Journal(self._shards), ExitStack()
        self._failures: dict[tuple[str, int], str] = _failed_before(self._shards / FAILURES)
        self._failures_in_a_row = 0
        self._shard_of: dict[tuple[str, int], int] = {}  # of each request under way
        self._kept: Counter[str] = Counter()  # sentences of concepts that are short of them
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._told: defaultdict[str, set[str]] = defaultdict(set)
        self._unscored: list[Document] = []

    def __enter__(self) -> "_Work":
        (self._shards / "out").mkdir(exist_ok=True)
        names = [GENERATION, DOCUMENTS, REJECTED, *([SCORES] if self._scorer else []), *([RELINK] if self._relinker else [])]
        self._out = {name: self._opened(name) for name in names}
        self._missing = self._files.enter_context((self._shards / "out" / MISSING).open("w", encoding="utf-8"))
        return self

    def __exit__(self, *_: object) -> None:
        with self._files:  # closes them, whatever happens before
            self._journal.close()

    def _opened(self, name: str) -> Output:
        return Output(self._files.enter_context((self._shards / "out" / name).open("wb")))

    def rounds(self, codes: Sequence[str], rounds: int, ask: bool, progress: Progress) -> None:
        """Ask for all, then for what the gates left short of it."""
        wanted: Sequence[_Wanted] | None = None
        for number in range(rounds + 1):
            if ask:
                self._ask(number, _plan(progress(codes if wanted is None else [row.code for row in wanted]), wanted, self._job.per_concept))
            wanted = self._take(number, _plan(codes, wanted, self._job.per_concept))
            if not wanted:
                break

    def again(self, path: Path) -> None:
        """Judge stored answers, in their order."""
        for code, answers in groupby(_rows(path, Generation), lambda row: row.code):
            self._judge_concept(code, list(answers))

    def done(self) -> None:
        """Leave only what is short among the concepts counted."""
        for code in [code for code, kept in self._kept.items() if kept >= self._job.per_concept]:
            del self._kept[code]

    def relink(self, ask: bool, stored: Mapping[str, Generation] | None = None) -> None:
        """Have the model say what each sentence that is kept means, and keep those of which it says what they were written for.

        Args:
            ask: False takes the answers there are.
            stored: answers of an earlier run, by document; what has none there is refused and not missing.
        """
        if self._relinker is None:
            return
        self._out[DOCUMENTS].sync()
        judged = self._shards / "out" / "judged.jsonl"
        os.replace(judged.with_name(DOCUMENTS), judged)
        self._out[DOCUMENTS] = self._opened(DOCUMENTS)
        # Answers about sentences that today's gates refuse stay: tomorrow's may keep them.
        self._out[RELINK].write(list((stored or {}).values()))
        if ask:
            for item in self._relinker.answers(self._unrelinked(judged, self._relinker)):
                self._store(RELINKING, item)
        for shard, documents in _in_shards(enumerate(_rows(judged, Document))):
            answers = stored if stored is not None else {row.code: row for row in self._journal.read(RELINKING, shard)}
            for document in documents:
                self._keep_or_not(document, answers.get(document.id), self._relinker, may_miss=stored is None)
        judged.unlink()

    def published(self, settings: Settings, seconds: float, facts: Mapping[str, object]) -> Manifest:
        """Move the files to their places, the manifest last; the shards are not needed any more where nothing is missing."""
        self._score(1)
        for out in self._out.values():
            out.sync()
        part, files = self._shards / "out", {name: out.facts for name, out in self._out.items()}
        counts = {name: self._counts[name] for name in ("requested", "generated", "kept", "rejected", "missing")}
        manifest = Manifest(settings, **counts, short=len(self._kept), reasons=dict(sorted(self._reasons.items())), files=files)
        write_json(part / REPORT, {**self._report(manifest, seconds), **facts})
        write_manifest(part / MANIFEST, manifest)
        self._missing.flush()
        if not manifest.missing:
            (part / MISSING).unlink()
        for name in (SCORES, MISSING):
            if name not in files and not (part / name).exists():
                (self._folder / name).unlink(missing_ok=True)
        for name in (*files, MISSING, REPORT, MANIFEST):
            if (part / name).exists():
                os.replace(part / name, self._folder / name)
        if not manifest.missing:
            shutil.rmtree(self._shards)
        return manifest

    def _report(self, manifest: Manifest, seconds: float) -> dict[str, object]:
        settings = manifest.settings
        return {
            "requested": manifest.requested,
            "generated": manifest.generated,
            "kept": manifest.kept,
            "rejected": manifest.reasons,
            "missing": manifest.missing,
            "writer": settings.writer,
            "seconds": round(seconds, 1),
            "concepts": settings.concepts,
            "short": manifest.short,
            "per_concept": settings.per_concept,
            "seed": settings.seed,
            "kb_digest": settings.kb_digest,
            "prompt_tokens": self._counts["prompt_tokens"],
            "completion_tokens": self._counts["completion_tokens"],
            **{name: sorted(values) for name, values in sorted(self._told.items())},
        }

    def _ask(self, number: int, wanted: Iterator[_Wanted]) -> None:
        for item in self._job.writer.answers(self._unanswered(number, wanted)):
            self._store(number, item)

    def _store(self, number: int, item: Generation | Failure) -> None:
        key = (item.code, item.number)
        shard = self._shard_of.pop(key)
        if isinstance(item, Generation):
            self._failures_in_a_row = 0
            self._journal.append(number, shard, item)
            return
        self._failures_in_a_row += key not in self._failures
        self._failures[key] = item.error
        with (self._shards / FAILURES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(item._asdict()) + "\n")

    def _unanswered(self, number: int, wanted: Iterator[_Wanted]) -> Iterator[Request]:
        """The requests that have no answer yet; drawn by the writer as it needs them."""
        for shard, part in _in_shards((want.place, want) for want in wanted):
            answered = _numbers(self._journal.read(number, shard))
            for want in part:
                there = answered.get(want.code, set())
                if len(there) >= self._job.writer.calls(want.sentences):
                    continue
                for request in self._job.requests(want):
                    if self._failures_in_a_row >= MOST_FAILURES:
                        return
                    if request.number not in there:
                        self._shard_of[request.key] = shard
                        yield request

    def _take(self, number: int, wanted: Iterator[_Wanted]) -> list[_Wanted]:
        """Judge what a round has brought; what is left to be asked for."""
        short: list[_Wanted | None] = []
        for shard, part in _in_shards((want.place, want) for want in wanted):
            answers = defaultdict(list)
            for row in sorted(self._journal.read(number, shard), key=lambda row: row.number):
                answers[row.code].append(row)
            short.extend(self._take_concept(want, answers[want.code]) for want in part)
        return [want for want in short if want]

    def _take_concept(self, want: _Wanted, answers: list[Generation]) -> _Wanted | None:
        calls = self._job.writer.calls(want.sentences)
        self._judge_concept(want.code, answers)
        kept = self._kept[want.code]
        if kept >= self._job.per_concept:
            del self._kept[want.code]
        if len(answers) < calls:
            there = {row.number for row in answers}
            unanswered = [request for request in self._job.requests(want) if request.number not in there]
            for request in unanswered:
                self._miss(request.key, request.sentences)
                self._counts["requested"] += request.sentences
            return None
        return _Wanted(want.code, want.place, self._job.per_concept - kept, want.first + calls) if kept < self._job.per_concept else None

    def _miss(self, key: tuple[str, int], sentences: int) -> None:
        self._counts["missing"] += sentences
        row = {"code": key[0], "number": key[1], "error": self._failures.get(key, "not asked: too many failed before it")}
        self._missing.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _judge_concept(self, code: str, answers: list[Generation]) -> None:
        judged = self._job.judged(code, answers, self._judge) if answers else []
        kept = [item for item in judged if isinstance(item, Document)]
        rejected = [item for item in judged if isinstance(item, Rejection)]
        self._out[GENERATION].write(answers)
        self._out[DOCUMENTS].write(kept)
        self._out[REJECTED].write(rejected)
        if self._relinker is None:
            self._to_score(kept)
        self._kept[code] += len(kept)
        self._counts.update(generated=len(judged), kept=len(kept), rejected=len(rejected))
        self._reasons.update(item.reason for item in rejected)
        for row in answers:
            self._counts.update(requested=row.sentences, prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens)
            if row.model:
                self._told["models"].add(row.model)
                self._told["engines"].add(row.engine)

    def _to_score(self, kept: list[Document]) -> None:
        if self._scorer:
            self._unscored += kept
            self._score(SCORED_AT_ONCE)

    def _score(self, least: int) -> None:
        """Score what is kept, once there is so much of it: rankers are quicker at many."""
        if self._scorer and len(self._unscored) >= least:
            self._out[SCORES].write(self._scorer.scores(self._unscored))
            self._unscored = []

    def _unrelinked(self, judged: Path, relinker: "Relinker") -> Iterator[Document]:
        for shard, documents in _in_shards(enumerate(_rows(judged, Document))):
            answered = {row.code: row for row in self._journal.read(RELINKING, shard)}
            for document in documents:
                if self._failures_in_a_row >= MOST_FAILURES:
                    return
                there = answered.get(document.id)
                if there is None or not relinker.is_about(there, document):
                    self._shard_of[document.id, 0] = shard
                    yield document

    def _keep_or_not(self, document: Document, answer: Generation | None, relinker: "Relinker", may_miss: bool) -> None:
        code = document.provenance.concept if document.provenance else ""
        if answer is None or not relinker.is_about(answer, document):
            reason: str | None = "relink_unanswered"
            if may_miss:
                self._miss((document.id, 0), 1)
        else:
            self._out[RELINK].write([answer] if may_miss else [])
            reason = relinker.reason(document, answer)
        if reason is None:
            self._out[DOCUMENTS].write([document])
            self._to_score([document])
            return
        self._out[REJECTED].write([Rejection(document.id, code, reason, document.text)])
        self._counts.update(kept=-1, rejected=1)
        self._reasons[reason] += 1
        self._kept[code] = 0  # short of it now, whatever it had


def _clear_up(shards: Path) -> None:
    """Remove what a run left that was killed after its manifest was in place."""
    if shards.exists():
        with locked(shards):
            shutil.rmtree(shards)


def _plan(codes: Iterable[str], wanted: Sequence[_Wanted] | None, per_concept: int) -> Iterator[_Wanted]:
    """What a round asks for: the same of every concept, or what was found wanting."""
    if wanted is None:
        return (_Wanted(code, place, per_concept) for place, code in enumerate(codes))
    return (row for row, _ in zip(wanted, codes, strict=False))


def _in_shards(placed: Iterable[tuple[int, T]]) -> Iterator[tuple[int, Iterator[T]]]:
    """Runs of one shard, with its number, each drawn as it is needed.

    Args:
        placed: items with their places, ascending.
    """
    return ((shard, (item for _, item in part)) for shard, part in groupby(placed, lambda row: row[0] // SHARD))


def _rows(path: Path, kind: type[T]) -> Iterator[T]:
    rows = json_lines(path, hint="generate again") if path.exists() and path.stat().st_size else iter(())
    return (from_json(kind, row, str(path)) for _, row in rows)


def _stored(path: Path) -> dict[str, Generation]:
    """What the model said its sentences mean, by document."""
    return {row.code: row for row in _rows(path, Generation)}


def _failed_before(path: Path) -> dict[tuple[str, int], str]:
    """Why requests got no answer in earlier runs; a line that a kill has torn says nothing."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            row = json.loads(line)
            found[row["code"], row["number"]] = row["error"]
    return found


def _numbers(rows: Iterable[Generation]) -> dict[str, set[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        found[row.code].add(row.number)
    return found


def _settings(job: _Job, codes: Sequence[str], gates_digest: str, rounds: int, scorer: Scorer | None, relinker: "Relinker | None") -> Settings:
    writer, digests = job.writer, job.surroundings.digests
    return Settings(
        writer.name,
        writer.model,
        writer.digest,
        gates_digest,
        job.kb.digest,
        job.per_concept,
        rounds,
        job.seed,
        len(codes),
        digest_of(list(codes)),
        digests["excluded"],
        digests["short_forms"],
        digests["context"],
        scorer is not None,
        relinker.digest if relinker else "",
        writer.style,
    )
