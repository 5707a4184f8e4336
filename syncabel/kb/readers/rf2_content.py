"""From the components of SNOMED CT to concepts, names, relations, retired codes and maps; `syncabel.kb.readers.rf2` says what becomes what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb.readers.rf2_names import definitions_of, language_order, names_of, ranked_names, tags_of
from syncabel.kb.readers.rf2_rows import Reports
from syncabel.kb.vocabulary import CONCEPTS, MAPS, NAMES, RELATIONS, RETIRED, Frames

__all__ = ["ASSOCIATIONS", "MAPS_TO", "UNTAGGED", "Components", "Wanted", "frames_of", "is_a", "plain_root"]

UNTAGGED = "untagged"
ASSOCIATIONS: Mapping[int, str] = {
    900000000000523009: "POSSIBLY_EQUIVALENT_TO",
    900000000000524003: "MOVED_TO",
    900000000000525002: "MOVED_FROM",
    900000000000526001: "REPLACED_BY",
    900000000000527005: "SAME_AS",
    900000000000528000: "WAS_A",
    900000000000529008: "SIMILAR_TO",
    900000000000530003: "ALTERNATIVE",
    900000000000531004: "REFERS_TO",
    1186921001: "POSSIBLY_REPLACED_BY",
    1186924009: "PARTIALLY_EQUIVALENT_TO",
}
MAPS_TO: Mapping[int, str] = {
    447562003: "ICD10",
    447563008: "ICD9CM",
    446608001: "ICDO",
    6011000124106: "ICD10CM",
    900000000000497000: "CTV3",
    900000000000498005: "SNOMEDRT",
}
_IS_A = 116680003
_INFERRED = pl.col("characteristicTypeId") != 900000000000010007  # stated; "additional" ones are content too
_ONE_TO_ONE = ("SAME_AS", "REPLACED_BY")
_MOVED = ("MOVED_TO", "MOVED_FROM")  # to or from a namespace, which stands for no concept
_INACTIVE = "inactive"
_ROOT = re.compile(r"\s*(<<|<)?\s*([1-9][0-9]{0,17})\s*(?:\|[^|]*\|)?\s*")


@dataclass(frozen=True, slots=True)
class Components:
    """The active components of a release, with the columns of their files; of concepts also the inactive ones."""

    concepts: pl.DataFrame
    descriptions: pl.DataFrame
    definitions: pl.DataFrame
    relationships: pl.DataFrame
    language: pl.DataFrame
    associations: pl.DataFrame
    maps: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; see `syncabel.kb.readers.rf2.read_rf2`."""

    languages: tuple[str, ...] = ()
    language_refsets: tuple[str, ...] = ()
    descendants_of: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    map_refsets: tuple[str, ...] | None = None

    def options(self) -> dict[str, tuple[str, ...]]:
        """The options by name, empty ones for what was not asked."""
        return {
            "languages": self.languages,
            "language_refsets": self.language_refsets,
            "descendants_of": self.descendants_of,
            "modules": self.modules,
            "map_refsets": ("none",) if self.map_refsets == () else self.map_refsets or (),
        }


def frames_of(parts: Components, wanted: Wanted, reports: Reports) -> Frames:
    """The content of a vocabulary.

    Raises:
        UnknownNameError, ConfigError: as `syncabel.kb.readers.rf2.read_rf2`.
    """
    active = parts.concepts.filter("active")
    languages = language_order((parts.descriptions, parts.definitions), wanted.languages)
    terms = _of_known_concepts(parts.descriptions, "conceptId", parts.concepts, reports).join(languages, on="languageCode")
    terms = terms.join(active, left_on="conceptId", right_on="id", how="semi")
    ranked = ranked_names(terms, parts.language, wanted.language_refsets, reports)
    names = names_of(ranked)
    kept = _named(_scope(active, parts.relationships, wanted), names)
    links = _links(parts.relationships, active, kept)
    successors, retired = _history(parts.concepts, parts.associations)
    maps = _maps(parts.maps, kept, wanted, reports)
    concepts = (
        kept.join(tags_of(ranked), on="id", how="left")
        .join(definitions_of(_of_known_concepts(parts.definitions, "conceptId", parts.concepts, reports), languages), on="id", how="left")
        .join(_parents(links, kept, reports), on="id", how="left")
        .join(successors, on="id", how="left")
        .join(_xrefs(maps), on="id", how="left")
        .with_columns(pl.concat_list(pl.col("tag").fill_null(UNTAGGED)).alias("groups"), pl.lit([], pl.List(pl.String)).alias("types"))
        .rename({"id": "code"})
    )
    asked = names.filter("asked").join(kept, left_on="code", right_on="id", how="semi", maintain_order="left")
    return Frames(
        concepts=_shaped(concepts, CONCEPTS),
        names=_shaped(asked, NAMES),
        relations=_shaped(_relations(links, names), RELATIONS),
        retired=_shaped(_in_scope(retired, kept, active), RETIRED),
        maps=_shaped(maps, MAPS),
        rejections=tuple(reports.rejections),
    )


def _shaped(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    empty = [pl.lit([], kind).alias(name) for name, kind in schema.items() if isinstance(kind, pl.List) and name not in frame.columns]
    return frame.with_columns(empty).select([pl.col(name).cast(kind) for name, kind in schema.items()])


def _of_known_concepts(rows: pl.DataFrame, concept: str, concepts: pl.DataFrame, reports: Reports) -> pl.DataFrame:
    """Rows about concepts the release has, active or not; the others are reported."""
    known = pl.col(concept).is_in(concepts["id"].implode())
    reports.rows(rows.filter(~known), concept, "unknown_concept", "term")
    return rows.filter(known)


def _scope(active: pl.DataFrame, links: pl.DataFrame, wanted: Wanted) -> pl.DataFrame:
    """The column id of the concepts wanted."""
    kept = active
    if wanted.modules:
        known = sorted(str(module) for module in active["moduleId"].unique())
        for module in wanted.modules:
            if module not in known:
                raise UnknownNameError("module", module, known)
        kept = kept.filter(pl.col("moduleId").is_in([int(module) for module in wanted.modules]))
    if wanted.descendants_of:
        kept = kept.join(_below(active, links, wanted.descendants_of), on="id", how="semi")
    return kept.select("id")


def _named(kept: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Without the concepts whose names are all in languages nobody asked for; those of no name at all stay, to be reported."""
    elsewhere = names.filter(~pl.col("asked")).join(names.filter("asked"), on="code", how="anti")
    return kept.join(elsewhere, left_on="id", right_on="code", how="anti")


def is_a(relationships: pl.DataFrame, *, stated: bool = False) -> pl.DataFrame:
    """The rows that say what is a kind of what, as inferred; or as stated, before classification."""
    return relationships.filter((~_INFERRED if stated else _INFERRED) & (pl.col("typeId") == _IS_A))


def _below(active: pl.DataFrame, links: pl.DataFrame, expressions: Sequence[str]) -> pl.DataFrame:
    """The roots and all that is below them, along is-a; a circle is walked once."""
    edges = is_a(links).select(pl.col("sourceId").alias("id"), pl.col("destinationId").alias("parent"))

    def children(parents: pl.DataFrame) -> pl.DataFrame:
        return edges.join(parents, left_on="parent", right_on="id", how="semi").select("id").unique()

    roots = pl.DataFrame([_root(expression, active) for expression in expressions], schema={"id": pl.Int64, "strict": pl.Boolean}, orient="row")
    found = pl.concat([roots.filter(~pl.col("strict")).select("id"), children(roots.filter("strict"))]).unique()
    fresh = found
    while fresh.height:
        fresh = children(fresh).join(found, on="id", how="anti")
        found = pl.concat([found, fresh])
    return found


def plain_root(expression: str) -> str:
    """An expression of `descendants_of` without its term and white space.

    Raises:
        ConfigError: it is no id, with or without an operator and a term.
    """
    match = _ROOT.fullmatch(expression)
    if match is None:
        raise ConfigError(f"{expression!r} is no root: write a concept's id, after `<` to leave the concept itself out")
    return (match[1] or "") + match[2]


def _root(expression: str, active: pl.DataFrame) -> tuple[int, bool]:
    """The id of a root as `plain_root` writes it, and whether it is itself left out."""
    code = expression.lstrip("<")
    if int(code) not in active["id"]:
        codes = active["id"].cast(pl.String).sort()
        near = codes.filter(codes.str.starts_with(code[:4]))
        raise UnknownNameError("active concept", code, near if len(near) else codes.head(1000))
    return int(code), expression == f"<{code}"


def _links(relationships: pl.DataFrame, active: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Relationships but those to and from concepts left out; ones of no active concept stay, for they are faults to be reported."""
    links = relationships.filter(_INFERRED)
    if kept.height == active.height:
        return links
    left_out = active.join(kept, on="id", how="anti")["id"].implode()
    return links.filter(~pl.col("sourceId").is_in(left_out) & ~pl.col("destinationId").is_in(left_out))


def _parents(links: pl.DataFrame, kept: pl.DataFrame, reports: Reports) -> pl.DataFrame:
    is_a = links.filter(pl.col("typeId") == _IS_A)
    lost = is_a.join(kept, left_on="sourceId", right_on="id", how="anti").with_columns(pl.format("{} is a {}", "sourceId", "destinationId").alias("said"))
    reports.rows(lost, "sourceId", "unknown_concept", "said")
    return is_a.group_by(pl.col("sourceId").alias("id")).agg(pl.col("destinationId").unique().sort().alias("parents"))


def _relations(links: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    others = links.filter(pl.col("typeId") != _IS_A)
    types = names.join(others.select("typeId").unique(), left_on="code", right_on="typeId", how="semi", maintain_order="left")
    kinds = types.unique("code", keep="first", maintain_order=True)
    return others.join(kinds, left_on="typeId", right_on="code", how="left").select(
        pl.col("sourceId").alias("source"),
        pl.coalesce("text", pl.col("typeId").cast(pl.String)).alias("kind"),
        pl.col("destinationId").alias("target"),
        pl.col("relationshipGroup").alias("role_group"),
    )


def _history(concepts: pl.DataFrame, associations: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Columns id, alt_codes of active concepts; columns code, reason, successors of inactive ones that are no alternative codes."""
    inactive = concepts.filter(~pl.col("active")).select("id")
    said = associations.join(inactive, left_on="referencedComponentId", right_on="id", how="semi").select(
        pl.col("referencedComponentId").alias("id"),
        pl.col("targetComponentId").alias("target"),
        pl.col("refsetId").replace_strict(dict(ASSOCIATIONS), default=pl.col("refsetId").cast(pl.String), return_dtype=pl.String).alias("name"),
    )
    ends = _ends(said, concepts)
    told = (
        said.join(ends.rename({"id": "target", "end": "now"}), on="target", how="left")
        .with_columns(pl.coalesce("now", "target").alias("target"))
        .group_by("id")
        .agg(
            pl.col("name").unique().sort().str.join(",").alias("reason"),
            pl.col("target").filter(~pl.col("name").is_in(_MOVED)).unique().sort().alias("successors"),
        )
    )
    retired = inactive.join(ends, on="id", how="anti").join(told, on="id", how="left").with_columns(pl.col("reason").fill_null(_INACTIVE))
    alternatives = ends.group_by(pl.col("end").alias("id")).agg(pl.col("id").sort().alias("alt_codes"))
    return alternatives, retired.rename({"id": "code"})


def _ends(said: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """Columns id, end: the active concept that one-to-one links lead an inactive one to.

    A concept is not one to one with another if any association names a third: as an alternative code it could not keep that.
    """
    pairs = said.filter(~pl.col("name").is_in(_MOVED)).select("id", "target").unique()
    alike = said.filter(pl.col("name").is_in(_ONE_TO_ONE))
    links = dict(pairs.filter(~pl.col("id").is_duplicated()).join(alike, on=["id", "target"], how="semi").iter_rows())
    live = set(concepts.filter("active")["id"])
    found = [(code, end) for code in links if (end := _end(code, links)) in live]
    return pl.DataFrame(found, schema={"id": pl.Int64, "end": pl.Int64}, orient="row")


def _end(code: int, links: Mapping[int, int]) -> int:
    """Where a chain of links stops; in a circle, somewhere on it."""
    seen = set()
    while code in links and code not in seen:
        seen.add(code)
        code = links[code]
    return code


def _in_scope(retired: pl.DataFrame, kept: pl.DataFrame, active: pl.DataFrame) -> pl.DataFrame:
    """Without the retired codes whose successors were all left out."""
    if kept.height == active.height:
        return retired
    near = retired.select("code", pl.col("successors").alias("id")).explode("id").join(kept, on="id", how="semi")["code"]
    return retired.filter((pl.col("successors").list.len().fill_null(0) == 0) | pl.col("code").is_in(near.unique().implode()))


def _maps(maps: pl.DataFrame, kept: pl.DataFrame, wanted: Wanted, reports: Reports) -> pl.DataFrame:
    """Columns MAPS (code an Int64) of the concepts wanted, by code, vocabulary, group and priority."""
    vocabulary = pl.col("refsetId").replace_strict(dict(MAPS_TO), default=pl.col("refsetId").cast(pl.String), return_dtype=pl.String)
    named = maps.with_columns(vocabulary.alias("vocabulary"), pl.col("mapTarget").str.strip_chars())
    if wanted.map_refsets is not None:
        known = sorted({str(number) for number in named["refsetId"].unique()} | set(named["vocabulary"].unique()))
        for name in wanted.map_refsets:
            if name not in known:
                raise UnknownNameError("map reference set", name, known)
        asked = list(wanted.map_refsets)
        named = named.filter(pl.col("vocabulary").is_in(asked) | pl.col("refsetId").cast(pl.String).is_in(asked))
    mine = named.join(kept, left_on="referencedComponentId", right_on="id", how="semi")
    # "#NC" and the like: the maps' own words for "not classifiable".
    targeted = (pl.col("mapTarget") != "") & ~pl.col("mapTarget").str.starts_with("#")
    nowhere = mine.filter(~targeted).with_columns(pl.concat_str("vocabulary", "mapTarget", "mapAdvice", separator=" ", ignore_nulls=True).alias("said"))
    reports.rows(nowhere, "referencedComponentId", "no_map_target", "said")
    return (
        mine.filter(targeted)
        .sort("referencedComponentId", "vocabulary", "mapGroup", "mapPriority", "mapTarget")
        .select(
            pl.col("referencedComponentId").alias("code"),
            pl.format("{}:{}", "vocabulary", "mapTarget").alias("target"),
            pl.col("mapGroup").fill_null(0).alias("group"),
            pl.col("mapPriority").fill_null(0).alias("priority"),
            pl.col("mapRule").fill_null("").alias("rule"),
            pl.col("mapAdvice").fill_null("").alias("advice"),
        )
    )


def _xrefs(maps: pl.DataFrame) -> pl.DataFrame:
    return maps.group_by(pl.col("code").alias("id"), maintain_order=True).agg(pl.col("target").unique(maintain_order=True).alias("xrefs"))
