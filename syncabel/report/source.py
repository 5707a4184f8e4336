"""The folders of `syncabel evaluate -o`, and the baselines inside them, as systems that answered the same mentions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

from syncabel.errors import ConfigError
from syncabel.evaluate.compare import refuse_other_mentions
from syncabel.evaluate.judged import JudgedMention
from syncabel.evaluate.linked import Key
from syncabel.evaluate.protocols import Protocol
from syncabel.evaluate.run import EvaluationRun, read_run

__all__ = ["Kind", "Material", "Status", "System", "read_material", "status_of"]

Kind = Literal["run", "baseline"]
BASELINES = "baselines"
_MARK = "evaluation.json"


class Status(IntEnum):
    """What became of a mention; the numbers stand in the page."""

    WRONG = 0
    RIGHT = 1
    NIL_RIGHT = 2
    NIL_WRONG = 3
    NOT_COUNTED = 4


def status_of(item: JudgedMention, protocol: Protocol) -> Status:
    """Right in full under the protocol or not; NIL and what the protocol leaves out are in no denominator."""
    if item.nil:
        return Status.NIL_RIGHT if item.says_nil else Status.NIL_WRONG
    if protocol not in item.scores:
        return Status.NOT_COUNTED
    return Status.RIGHT if item.scores[protocol] == 1 else Status.WRONG


@dataclass(frozen=True)
class System:
    """One system's evaluation.

    Attributes:
        name: unique in the report.
        kind: a run is shown in full; of a baseline the scores and first answers.
        run: what its folder holds, the mentions in the order of the first system's.
    """

    name: str
    kind: Kind
    run: EvaluationRun

    @property
    def protocol(self) -> Protocol:
        """What decides."""
        return cast(Protocol, self.run.report["protocol"])

    @cached_property
    def statuses(self) -> tuple[Status, ...]:
        """Of every mention. Shape: (mentions,)."""
        return tuple(status_of(item, self.protocol) for item in self.run.mentions)

    @cached_property
    def counted(self) -> tuple[JudgedMention, ...]:
        """The mentions of the denominator."""
        return tuple(item for item in self.run.mentions if not item.nil and self.protocol in item.scores)

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """Of the mentions of the denominator, fractions. Shape: (counted,)."""
        return tuple(item.scores[self.protocol] for item in self.counted)


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    Attributes:
        systems: runs first, in the order given, then their baselines, the best first; all answered the same mentions.
        notes: what a reader must know before comparing them.
    """

    systems: tuple[System, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> tuple[System, ...]:
        """The systems shown in full."""
        return tuple(system for system in self.systems if system.kind == "run")

    @property
    def first(self) -> System:
        """The system others are compared with."""
        return self.systems[0]


def read_material(folders: Sequence[Path | str]) -> Material:
    """Read runs and the baselines in them.

    Args:
        folders: of `syncabel evaluate -o`: of one system, or with one folder a system in it.

    Raises:
        ConfigError: no folder, or systems that were scored on different mentions, gold answers or protocols.
        IncompleteFolderError: a folder that is no evaluation.
        FormatError: a file in it is not what it should be.
    """
    if not folders:
        raise ConfigError("no evaluation to report on; give a folder of `syncabel evaluate -o`")
    places = [place for folder in folders for place in _runs_in(Path(folder))]
    runs = list(_named("run", map(read_run, _unique(places)), {}))
    known = {system.name: system for system in runs}
    beside = _unique(place for folder in map(Path, folders) for base in (folder, *_runs_in(folder)) for place in _evaluations(base / BASELINES))
    baselines = sorted(map(read_run, beside), key=lambda run: -run.report["recall_at_1"])
    systems = [*runs, *_named("baseline", baselines, known)]
    return Material(tuple(_aligned(systems)), tuple(_notes(systems)))


def _runs_in(folder: Path) -> list[Path]:
    """The folder, or the folders in it where it holds several systems; one that holds none is left to fail with its own message."""
    inside = [] if (folder / _MARK).exists() else _evaluations(folder)
    return inside or [folder]


def _evaluations(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{_MARK}"))


def _unique(places: Iterable[Path]) -> list[Path]:
    return list({place.resolve(): place for place in places}.values())


def _named(kind: Kind, runs: Iterable[EvaluationRun], known: dict[str, System]) -> Iterator[System]:
    """Systems under names of their own; a baseline that is another's twin, as two runs on one corpus have, comes once."""
    for run in runs:
        twin = known.get(run.system)
        if twin and kind == twin.kind == "baseline" and [item.scores for item in twin.run.mentions] == [item.scores for item in run.mentions]:
            continue
        names = (run.system, f"{run.system} ({run.folder.name})", *(f"{run.system} ({i})" for i in range(2, len(known) + 3)))
        name = next(one for one in names if one not in known)
        known[name] = System(name, kind, run)
        yield known[name]


def _aligned(systems: Sequence[System]) -> Iterator[System]:
    """Every system's mentions in the order of the first's."""
    first = systems[0]
    order = [_key(item) for item in first.run.mentions]
    gold = {_key(item): item.gold for item in first.run.mentions}
    yield first
    for system in systems[1:]:
        if system.protocol != first.protocol:
            raise ConfigError(f"{system.name} was scored under {system.protocol!r}, {first.name} under {first.protocol!r}; evaluate both with one --protocol")
        found = {_key(item): item for item in system.run.mentions}
        refuse_other_mentions(order, list(found), (first.name, system.name))
        if other := [key for key in order if found[key].gold != gold[key]]:
            raise ConfigError(
                f"{len(other)} mentions have other gold answers in {system.name} than in {first.name}, e.g. {':'.join(other[0])}; "
                "evaluate both with the same documents and knowledge base"
            )
        yield replace(system, run=replace(system.run, mentions=tuple(found[key] for key in order)))


def _key(item: JudgedMention) -> Key:
    return item.document_id, item.mention_id


def _notes(systems: Sequence[System]) -> Iterator[str]:
    first = systems[0]
    for system in systems[1:]:
        if system.run.kb["digest"] != first.run.kb["digest"]:
            yield f"{system.name} was scored with another knowledge base than {first.name}: their differences may be the knowledge base's."
    if without := [system.name for system in systems if system.kind == "run" and not system.run.sentences]:
        yield f"There is no sentences.jsonl in {', '.join(without)}: mentions are shown without their sentences."
