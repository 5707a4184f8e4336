"""SNOMED CT releases in Release Format 2 (RF2): an edition, or an extension with the edition it stands on.

What a release says, in the words of the knowledge base:

    names       active synonyms and fully specified names (FSN) of active concepts, all of scope "exact".  Of each language the preferred
                name comes first: the synonym that the language reference set prefers, else the FSN without its semantic tag (a name of
                its own).  Then synonyms other sets prefer, acceptable ones, ones in no set, FSNs; by description id where equal.
    groups      the semantic tag of the FSN, in the language asked first that has one, then English, then any; "untagged" without.
    parents     is-a relationships as inferred; all others are relations, with their role group; their kind is the attribute's
                preferred name ("Finding site"), or its id where it has none.
    alt_codes   inactive concepts that are SAME AS or REPLACED BY this one, through any number of inactive ones between, and of which
                no association says anything of another concept (MOVED TO and FROM name namespaces and do not count).
    retired     all other inactive concepts, with the names of all their associations ("POSSIBLY_EQUIVALENT_TO,SAME_AS") and all targets.
    xrefs, maps simple, complex and extended map reference sets; the vocabulary is named as in `rf2_content.MAPS_TO`, by the set's id if not there.

Inactive rows are states, not content: they are neither names nor reported.  Concrete values (a number as a relationship's target) are left
out and reported once per file, as are reference sets of maps and associations of forms other than the above (`not_read`).

Of several sources: where two give one component another state at one time, that of the later release holds, of equally late ones that of
the extension, and each that does not hold is a rejection `differs_between_sources`; the order of the sources does not matter.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from syncabel.archive import opened
from syncabel.errors import ConfigError, FormatError
from syncabel.kb.readers.rf2_content import Components, Wanted, frames_of, is_a, plain_root
from syncabel.kb.readers.rf2_files import Kind, Release, View, as_view, check_complete, find_release, release_file
from syncabel.kb.readers.rf2_rows import Layout, Reports, latest, read_rows, report_check_digits
from syncabel.kb.vocabulary import About, Vocabulary
from syncabel.types import Rejection

__all__ = ["read_rf2", "split_roots"]

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
    """Releases that are read as one, in the order of their precedence."""

    releases: tuple[Release, ...]
    view: View
    date: int | None
    reports: Reports

    def state(self, kind: Kind) -> pl.DataFrame:
        """The components of a kind, over all releases; an empty frame where no release has such a file."""
        frames = [read_rows(path, _LAYOUTS[kind], self.reports) for release in self.releases for path in release.of(kind)]
        return latest(frames or [_LAYOUTS[kind].empty()], self.date, self.reports)

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
    """Read a release, or several as one, in any order: of a component that several have, the row with the latest effectiveTime holds.

    Args:
        source: a folder or a zip with one release anywhere inside; several for an extension and the edition it depends on.
        view: "snapshot", or "full": every state there was, of which the latest counts.
        date: YYYYMMDD; states later than this do not count.  With the full view only, which alone still has the earlier ones.
        languages: ISO 639-1 codes of the names wanted, most wanted first; none: all, English first, then in alphabetical order.
            Concepts that have names, but none in these, are left out as those out of scope.
        language_refsets: ids of language reference sets, or `en-US`, `en-GB`: whose preferred names come first.  Others follow, by how many
            synonyms of active concepts they prefer, US English first where equal, then by id.
        descendants_of: ids of the concepts that are wanted with all that is below them; `<id` without the concept itself, `<<id` as `id`;
            each may be followed by its `|term|`.  `split_roots` takes a list apart.  Links of the concepts kept to ones left out are left out too.
        modules: ids of the modules whose concepts are wanted; none: all.
        map_refsets: ids or vocabulary names (`ICD10`) of the map reference sets wanted; None: all, (): none.
        definitions: whether to read text definitions.

    Returns:
        The vocabulary, as columns.  Rejections besides those of rows: `check_digit` (one for all concept ids that fail it), `no_hierarchy` (no
        is-a relationship), `concrete_values` and `not_read` (one per file).

    Raises:
        ConfigError: a folder with several releases, a root that is no id, a date that is none or not for this view.
        UnknownNameError: a view, language, module, root or reference set that the release does not have.
        FormatError: files that are missing, damaged, or not RF2; is-a relationships only as stated.
        OSError: no such source.
    """
    sources = [source] if isinstance(source, str | Path) else [*source]
    if not sources:
        raise ConfigError("no source is given: name the folder or zip of a release")
    shown = as_view(view)
    day = _day(date, shown)
    maps = None if map_refsets is None else tuple(map_refsets)
    wanted = Wanted(tuple(languages), tuple(language_refsets), tuple(map(plain_root, descendants_of)), tuple(modules), maps)
    with ExitStack() as stack:
        releases = tuple(sorted((_release(stack, Path(one), shown) for one in sources), key=lambda release: release.precedence))
        check_complete(releases, shown)
        reports = Reports()
        frames = frames_of(_components(_Sources(releases, shown, day, reports), definitions), wanted, reports)
    filters = _filters(view, date, wanted, definitions)
    return Vocabulary(About("SNOMED CT", " + ".join(release.name for release in releases), _LICENCE, False, _OBTAIN, filters), frames)


def split_roots(text: str) -> list[str]:
    """The roots of a list with commas between: `404684003 |Clinical finding, general|,<71388002` are two, for a term may hold a comma.

    Returns:
        Values for `descendants_of`, empty ones left out; they are not checked.
    """
    roots = [""]
    for index, part in enumerate(text.split("|")):
        # Every second part stands between bars.
        pieces = [part] if index % 2 else part.split(",")
        roots[-1] += ("|" if index else "") + pieces[0]
        roots += pieces[1:]
    return [root.strip() for root in roots if root.strip()]


def _day(date: str | None, view: View) -> int | None:
    if date is None:
        return None
    if not (len(date) == 8 and date.isascii() and date.isdigit()):
        raise ConfigError(f"date {date!r} is not written as YYYYMMDD")
    try:
        datetime.strptime(date, "%Y%m%d")
    except ValueError:
        raise ConfigError(f"date {date!r} is no day of the calendar; write YYYYMMDD") from None
    if view != "full":
        raise ConfigError(f"date {date}: a {view} has the latest states only; read the full view, or leave the date out")
    return int(date)


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
        for path in release.of("NotRead"):
            note = "a reference set of maps or associations that is not read: it maps to SNOMED CT, or has other columns than a map from it"
            sources.reports.rejections.append(Rejection(path.name, "", "not_read", note))
    concepts, relationships = sources.state("Concept"), sources.active("Relationship")
    report_check_digits(concepts, sources.reports)
    _check_hierarchy(sources, relationships)
    return Components(
        concepts=concepts,
        descriptions=sources.active("Description"),
        definitions=sources.active("TextDefinition") if definitions else _LAYOUTS["TextDefinition"].empty(),
        relationships=relationships,
        language=sources.active("Language"),
        associations=sources.active("Association"),
        maps=pl.concat([sources.active("SimpleMap"), sources.active("ExtendedMap")], how="diagonal"),
    )


def _check_hierarchy(sources: _Sources, relationships: pl.DataFrame) -> None:
    """See that concepts have parents: a release without would look as one of concepts that are all roots."""
    if is_a(relationships).height:
        return
    path = next(path for release in sources.releases for path in release.of("Relationship"))
    if is_a(relationships, stated=True).height:
        hint = "give the release with its relationships as inferred by a classifier"
        raise FormatError("is-a relationships are there as stated only", path, hint=hint)
    sources.reports.rejections.append(Rejection(path.name, "", "no_hierarchy", "no active is-a relationship: no concept has a parent"))


def _filters(view: str, date: str | None, wanted: Wanted, definitions: bool) -> tuple[str, ...]:
    values = {"view": (view,), "date": (date,) if date else (), **wanted.options(), "definitions": () if definitions else ("no",)}
    return tuple(f"{name}={','.join(value)}" for name, value in values.items() if value)
