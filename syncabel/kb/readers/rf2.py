"""SNOMED CT releases in Release Format 2 (RF2): an edition, or an extension with the edition it stands on.

What a release says, in the words of the knowledge base:

    names       active synonyms and fully specified names (FSN) of active concepts, all of scope "exact".  Of each language the preferred
                name comes first: the synonym that the language reference set prefers, else the FSN without its semantic tag (a name of
                its own).  Then synonyms other sets prefer, acceptable ones, ones in no set, FSNs; by description id where equal.
    groups      the semantic tag of the FSN, in the language asked first that has one, then English, then any; "untagged" without.
    parents     is-a relationships as inferred; all others are relations, with their role group; their kind is the attribute's
                preferred name ("Finding site"), or its id where it has none.
    alt_codes   inactive concepts that are SAME AS or REPLACED BY this one and no other, through any number of inactive ones between.
    retired     all other inactive concepts, with the association's name ("POSSIBLY_EQUIVALENT_TO"; several joined by `,`) and targets.
    xrefs, maps simple, complex and extended map reference sets; the vocabulary is named as in `rf2_content.MAPS_TO`, by the set's id if not there.

Inactive rows are states, not content: they are neither names nor reported.  Concrete values (a number as a relationship's target) are left
out and reported once per file.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from syncabel.archive import opened
from syncabel.errors import ConfigError, FormatError
from syncabel.kb.readers.rf2_content import Components, Wanted, frames_of
from syncabel.kb.readers.rf2_files import Kind, Release, View, as_view, check_complete, find_release, release_file
from syncabel.kb.readers.rf2_rows import Layout, Reports, latest, read_rows
from syncabel.kb.vocabulary import About, Vocabulary
from syncabel.types import Rejection

__all__ = ["read_rf2"]

_MEMBER = ("refsetId", "referencedComponentId")
_LAYOUTS: Mapping[Kind, Layout] = {
    "Concept": Layout(),
    "Description": Layout(ids=("conceptId", "typeId"), texts=("languageCode", "term")),
    "TextDefinition": Layout(ids=("conceptId", "typeId"), texts=("languageCode", "term")),
    "Relationship": Layout(ids=("sourceId", "destinationId", "typeId", "characteristicTypeId"), numbers=("relationshipGroup",)),
    "Language": Layout(ids=(*_MEMBER, "acceptabilityId"), member=True),
    "Association": Layout(ids=(*_MEMBER, "targetComponentId"), member=True),
    "SimpleMap": Layout(ids=_MEMBER, texts=("mapTarget",), member=True),
    "ExtendedMap": Layout(ids=_MEMBER, texts=("mapTarget", "mapRule", "mapAdvice"), numbers=("mapGroup", "mapPriority"), member=True),
}
_LICENCE = "SNOMED CT Affiliate Licence"
_OBTAIN = "from SNOMED International or the National Release Center of your country (Member Licensing and Distribution Service), under its licence"


@dataclass(frozen=True, slots=True)
class _Sources:
    """Releases that are read as one."""

    releases: tuple[Release, ...]
    view: View
    date: int | None
    reports: Reports

    def state(self, kind: Kind) -> pl.DataFrame:
        """The components of a kind, over all releases; an empty frame where no release has such a file."""
        frames = [self._rows(release, path, _LAYOUTS[kind]) for release in self.releases for path in release.of(kind)]
        return latest(frames or [_LAYOUTS[kind].empty()], self.date, self.reports)

    def _rows(self, release: Release, path: Path, layout: Layout) -> pl.DataFrame:
        try:
            return read_rows(path, layout, self.reports)
        except FormatError as error:
            raise FormatError(error.problem, release.shown(path), error.line, error.hint) from error

    def active(self, kind: Kind) -> pl.DataFrame:
        """Those that are active."""
        return self.state(kind).filter("active")


def read_rf2(
    source: str | Path | Sequence[str | Path],
    *,
    view: str = "snapshot",
    date: str | None = None,
    languages: Sequence[str] = (),
    language_refsets: Sequence[str] = (),
    descendants_of: Sequence[str] = (),
    modules: Sequence[str] = (),
    map_refsets: Sequence[str] | None = None,
    definitions: bool = True,
) -> Vocabulary:
    """Read a release, or several as one: of a component that several have, the row with the latest effectiveTime holds.

    Args:
        source: a folder or a zip with one release anywhere inside; several for an extension and the edition it depends on.
        view: "snapshot", or "full": every state there was, of which the latest counts.
        date: YYYYMMDD; states later than this do not count.  For the full view, which alone still has the earlier ones.
        languages: ISO 639-1 codes of the names wanted, most wanted first; none: all, English first, then in alphabetical order.
            Concepts that have names, but none in these, are left out as those out of scope.
        language_refsets: ids of language reference sets, or `en-US`, `en-GB`: whose preferred names come first.  Others follow, by how many
            synonyms of active concepts they prefer, US English first where equal, then by id.
        descendants_of: ids of the concepts that are wanted with all that is below them; `<id` without the concept itself, `<<id` as `id`.
            Links of the concepts kept to ones left out are left out too.
        modules: ids of the modules whose concepts are wanted; none: all.
        map_refsets: ids or vocabulary names (`ICD10`) of the map reference sets wanted; None: all, (): none.
        definitions: whether to read text definitions.

    Returns:
        The vocabulary, as columns.

    Raises:
        ConfigError: a folder with several releases, or a date that is none.
        UnknownNameError: a view, language, module, root or reference set that the release does not have.
        FormatError: files that are missing, damaged, or not RF2.
        OSError: no such source.
    """
    sources = [source] if isinstance(source, str | Path) else [*source]
    if not sources:
        raise ConfigError("no source is given: name the folder or zip of a release")
    shown, day = as_view(view), _day(date)
    maps = None if map_refsets is None else tuple(map_refsets)
    wanted = Wanted(tuple(languages), tuple(language_refsets), tuple(descendants_of), tuple(modules), maps)
    with ExitStack() as stack:
        releases = tuple(_release(stack, Path(one), shown) for one in sources)
        check_complete(releases, shown)
        reports = Reports()
        frames = frames_of(_components(_Sources(releases, shown, day, reports), definitions), wanted, reports)
    filters = _filters(view, date, wanted, definitions)
    return Vocabulary(About("SNOMED CT", " + ".join(release.name for release in releases), _LICENCE, False, _OBTAIN, filters), frames)


def _day(date: str | None) -> int | None:
    if date is not None and not (len(date) == 8 and date.isascii() and date.isdigit()):
        raise ConfigError(f"date {date!r} is not written as YYYYMMDD")
    return None if date is None else int(date)


def _release(stack: ExitStack, source: Path, view: View) -> Release:
    def wanted(member: str) -> bool:
        file = release_file(member)
        return file is not None and file.view == view

    return find_release(stack.enter_context(opened(source, wanted)), str(source), view)


def _components(sources: _Sources, definitions: bool) -> Components:
    for release in sources.releases:
        for path in release.of("RelationshipConcreteValues"):
            note = "relationships whose target is a number or a string have no place among relations between concepts: the file is not read"
            sources.reports.rejections.append(Rejection(path.name, "", "concrete_values", note))
    return Components(
        concepts=sources.state("Concept"),
        descriptions=sources.active("Description"),
        definitions=sources.active("TextDefinition") if definitions else _LAYOUTS["TextDefinition"].empty(),
        relationships=sources.active("Relationship"),
        language=sources.active("Language"),
        associations=sources.active("Association"),
        maps=pl.concat([sources.active("SimpleMap"), sources.active("ExtendedMap")], how="diagonal"),
    )


def _filters(view: str, date: str | None, wanted: Wanted, definitions: bool) -> tuple[str, ...]:
    values = {"view": (view,), "date": (date,) if date else (), **wanted.options(), "definitions": () if definitions else ("no",)}
    return tuple(f"{name}={','.join(value)}" for name, value in values.items() if value)
