"""`syncabel evaluate DOCUMENTS PREDICTIONS…`: systems scored on annotated documents, beside baselines and each other."""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from syncabel.cli.console import err, print_json
from syncabel.cli.evaluate_show import show_report, show_systems
from syncabel.cli.link_record import read_record
from syncabel.cli.reading import documents_of
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.evaluate import (
    PROTOCOLS,
    Comparison,
    Protocol,
    Report,
    aligned,
    compare_strata,
    compare_systems,
    comparison_json,
    difference_json,
    evaluate,
    read_linked,
    report_json,
    sign_flip_test,
    write_run,
)
from syncabel.evaluate.compare import refuse_other_mentions
from syncabel.evaluate.linked import looks_linked
from syncabel.evaluate.strata import STRATA
from syncabel.kb import KnowledgeBase
from syncabel.lines import text_lines
from syncabel.types import Document, LinkedMention, Query

__all__ = ["DocumentsOptions", "score_documents"]

_CANDIDATES = 5  # of a baseline, for its Recall@k
_BASELINES = "baselines"  # the folder of their runs
_RECIPE = "training.json"


@dataclass(frozen=True, slots=True)
class DocumentsOptions:
    """What the command was given.

    Attributes:
        documents: annotated documents.
        predictions: one file a system.
        kb: folder or shipped name.
        train, synthetic: training documents.
        protocol: name of a protocol.
        names: of the systems, in the order of the files; empty for the files' own.
        seeds: files of one name are seeds of one system.
        models: model folders, in the order of the files; empty for none.
        baselines: score them, too.
        encoder: a sentence encoder's name or folder, for the dense baseline; None for no such baseline.
        encoder_cache: folder that keeps its vectors; None to keep none.
        misses: where to write the misses.
        output: where to write runs.
        json: print one JSON object.
    """

    documents: Path
    predictions: Sequence[Path]
    kb: str
    train: Sequence[Path] = ()
    synthetic: Sequence[Path] = ()
    protocol: str = "set"
    names: Sequence[str] = ()
    seeds: bool = False
    models: Sequence[Path] = ()
    baselines: bool = False
    encoder: str | None = None
    encoder_cache: Path | None = None
    misses: Path | None = None
    output: Path | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class _Scoring:
    """Everything that is the same for all systems; `systems` has each one's files by name, several where they are seeds."""

    kb: KnowledgeBase
    gold: Sequence[Document]
    train: Sequence[Document]
    synthetic: Sequence[Document]
    protocol: Protocol
    systems: Mapping[str, Sequence[str]]
    recipes: Mapping[str, Any] = field(default_factory=dict)
    speeds: Mapping[str, Any] = field(default_factory=dict)

    @property
    def human(self) -> list[Document]:
        return [document for document in self.train if document.source == "human"]

    def report(self, linked: Sequence[LinkedMention]) -> Report:
        made = [*(document for document in self.train if document.source == "synthetic"), *self.synthetic]
        return evaluate(self.gold, linked, self.kb, protocol=self.protocol, train=self.human, synthetic=made)


@dataclass(frozen=True, slots=True)
class _Baseline:
    """A baseline's report, the p that the first system differs from it, and how fast it ranked; indexing is not in that."""

    report: Report
    p: float
    speed: Mapping[str, Any]


def score_documents(options: DocumentsOptions) -> None:
    """Score, print, and write what was asked for.

    Raises:
        UnknownNameError: no such protocol.
        ConfigError: names that do not fit the files, or systems scored on different mentions.
        FormatError: a file is not what it should be.
    """
    names = _names(options)
    _refuse_predictions(options.documents)
    scoring = _scoring(options, names)
    linked = {name: list(aligned(scoring.gold, read_linked(path), path).values()) for name, path in zip(names, options.predictions, strict=True)}
    _refuse_other_mentions(linked)
    reports = {name: scoring.report(results) for name, results in linked.items()}
    comparison = compare_systems(*_scores(reports, scoring.protocol, scoring.systems)) if len(reports) > 1 else None
    if options.baselines and not options.train:
        err.print("syncabel: no --train, so the baselines know names only, and the dictionary nothing; give the training documents of the systems")
    beside = _baselines(scoring, linked, reports, _encoder(options)) if options.baselines else {}
    if options.misses:
        _write_misses(next(iter(reports.values())), options.misses)
    if options.output:
        _write_runs(options.output, scoring, reports, beside)
    if options.json:
        print_json(_as_json(reports, beside, comparison, scoring))
    else:
        _show(reports, beside, comparison, scoring.protocol)


def _scoring(options: DocumentsOptions, names: Sequence[str]) -> _Scoring:
    for protocol in PROTOCOLS:
        if protocol == options.protocol:
            records = {name: record for name, path in zip(names, options.predictions, strict=True) if (record := read_record(path))}
            recipes = {name: record.recipe for name, record in records.items()}
            recipes |= {name: _recipe(model) for name, model in zip(names, options.models, strict=False)}
            speeds = {name: {**record.speed, "search": record.search.get("search")} for name, record in records.items()}
            gold, train, synthetic = (documents_of(paths) for paths in ([options.documents], options.train, options.synthetic))
            return _Scoring(KnowledgeBase.load(options.kb), gold, train, synthetic, protocol, _systems(options, names), recipes, speeds)
    raise UnknownNameError("protocol", options.protocol, PROTOCOLS)


def _refuse_predictions(path: Path) -> None:
    if path.suffix == ".jsonl" and path.is_file() and looks_linked(next(text_lines(path))[1]):
        raise ConfigError(f"{path} holds predictions; give the annotated documents first: syncabel evaluate DOCUMENTS PREDICTIONS… --kb KB")


def _recipe(model: Path) -> Any:
    path = model / _RECIPE
    if not path.is_file():
        raise ConfigError(f"{model} has no {_RECIPE}; give the folder that training exported")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"not JSON: {error}", path, hint="export the model again") from None


def _names(options: DocumentsOptions) -> list[str]:
    """A name for each system: those given, else the files', with as much of their folders as tells them apart."""
    count = len(options.predictions)
    for given, what in ((options.names, "--name"), (options.models, "--model")):
        if given and len(given) != count:
            raise ConfigError(f"{len(given)} times {what} for {count} files of predictions; give one each, in their order")
    if options.misses and count > 1:
        raise ConfigError("--misses lists those of one system; give one file of predictions, or -o, which lists everybody's")
    names = _seed_names(options.names) if options.seeds else list(options.names) or _stems(options.predictions)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ConfigError(f"two systems are called {twice[0]!r}; give each its own --name, or say --seeds")
    if bad := [name for name in names if not name or name in (".", "..", _BASELINES) or set(name) & set("/\\\0")]:
        raise ConfigError(f"no system can be called {bad[0]!r}: the name is a folder's; give another --name")
    return names


def _seed_names(names: Sequence[str]) -> list[str]:
    """The files' names where those of one name are its seeds."""
    counts = Counter(names)
    if len(counts) < 2:
        raise ConfigError("--seeds compares systems of several seeds each; give every file the --name of its system, and two systems at least")
    return [name if counts[name] == 1 else f"{name}-seed-{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def _systems(options: DocumentsOptions, names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for given, name in zip(options.names if options.seeds else names, names, strict=True):
        found.setdefault(given, []).append(name)
    return found


def _stems(paths: Sequence[Path]) -> list[str]:
    parts = [(*path.resolve().parts[1:-1], path.name.removesuffix(".gz").removesuffix(".jsonl")) for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["-".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _refuse_other_mentions(linked: Mapping[str, Sequence[LinkedMention]]) -> None:
    (first, ours), *others = linked.items()
    for name, theirs in others:
        here, there = ([(result.document_id, result.mention_id) for result in results] for results in (ours, theirs))
        refuse_other_mentions(here, there, (first, name))


def _scores(
    reports: Mapping[str, Report], protocol: Protocol, systems: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[str], dict[str, list[float] | list[list[float]]]]:
    """Document of every mention of the denominator, and each system's scores, a row a seed where it has several."""
    rows = {name: [item.scores[protocol] for item in report.mentions if protocol in item.scores] for name, report in reports.items()}
    together = systems or {name: [name] for name in reports}
    first = next(iter(reports.values()))
    documents = [item.document_id for item in first.mentions if protocol in item.scores]
    return documents, {name: rows[members[0]] if len(members) == 1 else [rows[member] for member in members] for name, members in together.items()}


def _paired_strata(reports: Mapping[str, Report], comparison: Comparison, scoring: _Scoring) -> list[dict[str, Any]]:
    """Every pair's differences in every stratum, each pair's p adjusted over its strata."""
    protocol = scoring.protocol
    documents, scores = _scores(reports, protocol, scoring.systems)
    scored = [item for item in next(iter(reports.values())).mentions if protocol in item.scores]
    values = {kind: closed or tuple(sorted({item.strata[kind] for item in scored})) for kind, closed in STRATA.items() if kind in scored[0].strata}
    strata = {kind: {value: [item.strata[kind] == value for item in scored] for value in of_kind} for kind, of_kind in values.items()}
    found = []
    for pair in comparison.pairs:
        cells = compare_strata(documents, scores[pair.a], scores[pair.b], strata)
        found.append({"a": pair.a, "b": pair.b, "strata": {kind: {v: difference_json(one) for v, one in of.items()} for kind, of in cells.items()}})
    return found


def _baselines(scoring: _Scoring, linked: Mapping[str, Sequence[LinkedMention]], reports: Mapping[str, Report], encoder: Any) -> dict[str, _Baseline]:
    """Each baseline's report on the same mentions, held to the same groups, and the p that the first system differs from it."""
    from syncabel.baselines import rank_all, standard_baselines

    name, first = next(iter(linked.items()))
    groups = {(result.document_id, result.mention_id): result.groups for result in first}
    queries = [Query(document, mention, groups.get((document.id, mention.id), ())) for document in scoring.gold for mention in document.mentions]
    found = {}
    for baseline, ranker in standard_baselines(scoring.kb, scoring.train, encoder=encoder).items():
        started = time.perf_counter()
        ranked = rank_all(ranker, queries, _CANDIDATES)
        seconds = time.perf_counter() - started
        report = scoring.report(ranked)
        documents, scores = _scores({"system": reports[name], "baseline": report}, scoring.protocol)
        speed = {"mentions": len(queries), "seconds": round(seconds, 3), "mentions_per_second": round(len(queries) / seconds, 1), "device": "cpu"}
        found[baseline] = _Baseline(report, sign_flip_test(scores["system"], scores["baseline"], documents), speed)
    return found


def _encoder(options: DocumentsOptions) -> Any:
    """The sentence encoder of this name; torch is loaded for one only."""
    if options.encoder is None:
        return None
    from syncabel.dense import SentenceEncoder

    return SentenceEncoder.named(options.encoder, cache=options.encoder_cache)


def _write_misses(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(json.dumps(asdict(miss), ensure_ascii=False) + "\n" for miss in report.misses)


def _write_runs(folder: Path, scoring: _Scoring, reports: Mapping[str, Report], beside: Mapping[str, _Baseline]) -> None:
    command = ("syncabel", *sys.argv[1:])
    if len(reports) > 1 and (folder / "evaluation.json").exists():
        raise ConfigError(f"{folder} is the run of one system; give another folder for several")
    for name, report in reports.items():
        place = folder if len(reports) == 1 else folder / name
        write_run(place, name, report, scoring.gold, scoring.kb, command=command, recipe=scoring.recipes.get(name), speed=scoring.speeds.get(name))
    for name, each in beside.items():
        write_run(folder / _BASELINES / name, name, each.report, scoring.gold, scoring.kb, command=command, speed=each.speed)


def _as_json(reports: Mapping[str, Report], beside: Mapping[str, _Baseline], comparison: Comparison | None, scoring: _Scoring) -> dict[str, Any]:
    """One system's report as it is; of several each under its name, and the pairs."""
    found = {name: {**report_json(each.report), "p_sign_flip": each.p, "speed": each.speed} for name, each in beside.items()}
    more = {"baselines": found} if beside else {}
    if comparison is None:
        (report,) = reports.values()
        return {**report_json(report), **more}
    systems = {name: report_json(report) for name, report in reports.items()}
    return {"systems": systems, "paired": comparison_json(comparison), "paired_strata": _paired_strata(reports, comparison, scoring), **more}


def _show(reports: Mapping[str, Report], beside: Mapping[str, _Baseline], comparison: Comparison | None, protocol: Protocol) -> None:
    if comparison is None:
        (report,) = reports.values()
        show_report(report)
    if comparison or beside:
        show_systems({**reports, **{name: each.report for name, each in beside.items()}}, comparison, {name: each.p for name, each in beside.items()}, protocol)
