"""The files of a SNOMED CT release (RF2): which lie in a folder, what each holds, whether they belong together.

File names are those of the RF2 file naming conventions: `[x]sct2_Description_Snapshot-en_INT_20180731.txt`, where `x` marks a beta
release, then come content type, a summary, the view and language, the country or namespace that owns the release, and its date.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, cast, get_args

from syncabel.errors import ConfigError, FormatError, UnknownNameError

__all__ = ["Release", "ReleaseFile", "View", "as_view", "check_complete", "find_release", "release_file"]

View = Literal["snapshot", "full"]
Kind = Literal[
    "Concept", "Description", "TextDefinition", "Relationship", "RelationshipConcreteValues", "Language", "Association", "SimpleMap", "ExtendedMap", "NotRead"
]
_REQUIRED: tuple[Kind, ...] = ("Concept", "Description", "Relationship")
_NAME = re.compile(
    r"x?(?:sct2_(?P<core>Concept|Description|TextDefinition|Relationship|RelationshipConcreteValues)|der2_(?P<pattern>[a-z]*)Refset)"
    r"_(?P<summary>[A-Za-z0-9]*?)(?P<view>Snapshot|Full|Delta)(?:-[A-Za-z-]+)?_(?P<owner>[A-Za-z0-9]+)_(?P<date>[0-9]{8})(?:T[0-9]+Z?)?\.txt"
)


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file, as its name tells.

    Attributes:
        path: where it lies.
        kind: what its rows are; "NotRead" for members of a reference set that maps or associates in a way that has no place in a vocabulary.
        view: "snapshot", "full", or "delta" (never read).
        owner: country code or namespace, e.g. INT, ES1000146.
        date: of the release, YYYYMMDD.
        core: whether it holds components rather than members of a reference set.
    """

    path: Path
    kind: Kind
    view: str
    owner: str
    date: str
    core: bool


@dataclass(frozen=True, slots=True)
class Release:
    """The files of one release in one view.

    Attributes:
        source: as the user wrote it.
        folder: where it lies, or is unpacked.
        owner, date: whose release it is, and of which day.
        files: sorted by kind and path.
    """

    source: str
    folder: Path
    owner: str
    date: str
    files: tuple[ReleaseFile, ...]

    @property
    def name(self) -> str:
        """Owner and date, e.g. "INT 20180731"."""
        return f"{self.owner} {self.date}"

    @property
    def precedence(self) -> tuple[str, bool, str, str]:
        """Of two releases that differ about a component at one time, the one where this is greater holds: the later, then the extension."""
        return self.date, self.owner != "INT", self.owner, self.source

    def of(self, kind: Kind) -> list[Path]:
        """The files of one kind."""
        return [file.path for file in self.files if file.kind == kind]


def as_view(name: str) -> View:
    """A view's name, checked.

    Raises:
        UnknownNameError: it is neither snapshot nor full.
    """
    known: tuple[View, ...] = get_args(View)
    for view in known:
        if name == view:
            return view
    raise UnknownNameError("view", name, known)


def release_file(path: Path | str) -> ReleaseFile | None:
    """What a file's name says, or None for a file that is not read (stated relationships, OWL axioms, other reference sets)."""
    match = _NAME.fullmatch(PurePosixPath(path).name)
    if match is None:
        return None
    kind = cast(Kind | None, match["core"]) or _refset_kind(match["pattern"], match["summary"])
    return kind and ReleaseFile(Path(path), kind, match["view"].lower(), match["owner"].upper(), match["date"], match["core"] is not None)


def _refset_kind(pattern: str, summary: str) -> Kind | None:
    if pattern == "c" and ("Language" in summary or "Association" in summary):
        return "Language" if "Language" in summary else "Association"
    # Maps *to* SNOMED CT run the other way: their column is a source, not a target.
    if pattern == "s" and "SimpleMap" in summary and "ToSCT" not in summary:
        return "SimpleMap"
    if pattern.startswith("i") and ("ExtendedMap" in summary or "ComplexMap" in summary):
        return "ExtendedMap"
    return "NotRead" if "Map" in summary or "Association" in summary else None


def find_release(folder: Path, source: str, view: View) -> Release:
    """The files of the one release somewhere below a folder.

    Args:
        folder: where to look.
        source: what messages call it.
        view: which of the release's views.

    Raises:
        FormatError: there is none of this view.
        ConfigError: there are several releases.
    """
    found = [file for path in sorted(folder.rglob("*.txt")) if (file := release_file(path))]
    files = sorted((file for file in found if file.view == view), key=lambda file: (file.kind, file.path))
    if not files:
        others = sorted({file.view for file in found} & set(get_args(View)))
        hint = f"the release has the view {others[0]!r}: ask for that" if others else "give the folder or zip of a release, unchanged"
        raise FormatError(f"no RF2 {view} files", source, hint=hint)
    _check_single(files, folder, source)
    first = next((file for file in files if file.core), files[0])
    return Release(source, folder, first.owner, first.date, tuple(files))


def _check_single(files: Iterable[ReleaseFile], folder: Path, source: str) -> None:
    core = [file for file in files if file.core]
    concepts = [file for file in core if file.kind == "Concept"]
    if len(concepts) < 2 and len({file.date for file in core}) < 2:
        return
    places = {f"{file.owner} {file.date} in {file.path.relative_to(folder).parent.as_posix()}" for file in (concepts if len(concepts) > 1 else core)}
    raise ConfigError(
        f"{source}: several releases ({'; '.join(sorted(places))}); which one? give its folder, or several sources for an extension and its edition"
    )


def check_complete(releases: Iterable[Release], view: View) -> None:
    """See that the sources together have what every vocabulary needs.

    Raises:
        FormatError: no Concept, Description or Relationship file.
    """
    releases = list(releases)
    for kind in _REQUIRED:
        if not any(release.of(kind) for release in releases):
            pattern = f"sct2_{kind}_{view.capitalize()}…_{releases[0].name.replace(' ', '_')}.txt"
            raise FormatError(f"the release has no {kind} file ({pattern})", " + ".join(release.source for release in releases), hint="fetch the whole release")
