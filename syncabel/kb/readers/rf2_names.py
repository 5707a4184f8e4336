"""Descriptions of SNOMED CT: which names a concept has, in which order, its semantic tag and its definition."""

from collections.abc import Iterable, Sequence

import polars as pl

from syncabel.errors import UnknownNameError
from syncabel.kb.readers.rf2_rows import Reports

__all__ = ["definitions_of", "language_order", "names_of", "ranked_names", "tags_of"]

_FSN, _SYNONYM = 900000000000003001, 900000000000013009
_PREFERRED = 900000000000548007
_ENGLISH_SETS = {"en-US": 900000000000509007, "en-GB": 900000000000508004}
# A tag stands in the last parentheses; one with markup in it could not be written in a prompt.
_TAGGED = r"^(.*\S)\s*\(([^()|\[\]{}]*[^()|\[\]{}\s][^()|\[\]{}]*)\)\s*$"
# Places of names within a language: synonyms a set prefers, by the set; the FSN without its tag; acceptable ones, by the set; the others.
_BARE, _ACCEPTABLE, _IN_NO_SET, _LAST = 9_999, 10_000, 20_000, 30_000


def language_order(texts: Iterable[pl.DataFrame], asked: Sequence[str]) -> pl.DataFrame:
    """Columns languageCode, place (0 for the most wanted), asked.

    Raises:
        UnknownNameError: none of the texts is in a language asked for.
    """
    known = sorted({language for frame in texts for language in frame["languageCode"].unique()})
    for language in asked:
        if language not in known:
            raise UnknownNameError("language", language, known)
    order = list(dict.fromkeys([*asked, *(["en"] if "en" in known else []), *known]))
    rows = {"languageCode": order, "place": range(len(order)), "asked": [not asked or language in asked for language in order]}
    return pl.DataFrame(rows, schema={"languageCode": pl.String, "place": pl.Int32, "asked": pl.Boolean})


def ranked_names(terms: pl.DataFrame, language: pl.DataFrame, wanted: Sequence[str], reports: Reports) -> pl.DataFrame:
    """FSNs and synonyms with `order`, their place within concept and language.

    Args:
        terms: descriptions of active concepts, with the columns of `language_order`.
        language: members of language reference sets.
        wanted: ids or aliases of those that come first.
        reports: told of descriptions of other types.

    Raises:
        UnknownNameError: there is no such reference set.
    """
    known = pl.col("typeId").is_in([_FSN, _SYNONYM])
    reports.rows(terms.filter(~known).with_columns(pl.format("{}: {}", "typeId", "term").alias("said")), "conceptId", "unknown_description_type", "said")
    synonyms = terms.filter(pl.col("typeId") == _SYNONYM).select("id", "languageCode")
    members = language.join(synonyms, left_on="referencedComponentId", right_on="id").with_columns(prefers=pl.col("acceptabilityId") == _PREFERRED)
    places = (
        members.join(_set_ranks(members, _set_ids(wanted, language)), on=["languageCode", "refsetId"])
        .with_columns(order=pl.col("rank") + pl.when("prefers").then(0).otherwise(_ACCEPTABLE))
        .group_by("referencedComponentId")
        .agg(pl.col("order").min().cast(pl.Int32))
    )
    ordered = terms.filter(known).join(places, left_on="id", right_on="referencedComponentId", how="left")
    return ordered.with_columns(pl.when(pl.col("typeId") == _FSN).then(_LAST).otherwise(pl.col("order").fill_null(_IN_NO_SET)).cast(pl.Int32).alias("order"))


def _set_ids(wanted: Sequence[str], language: pl.DataFrame) -> list[int]:
    known = {str(number): number for number in sorted(language["refsetId"].unique())}
    known |= {alias: number for alias, number in _ENGLISH_SETS.items() if str(number) in known}
    for name in wanted:
        if name not in known:
            raise UnknownNameError("language reference set", name, known)
    return [known[name] for name in wanted]


def _set_ranks(members: pl.DataFrame, wanted: Sequence[int]) -> pl.DataFrame:
    """Columns languageCode, refsetId, rank: 0 for the set whose preferred synonyms come first in that language."""
    counted = members.group_by("languageCode", "refsetId").agg(pl.col("prefers").sum())
    asked = pl.DataFrame({"refsetId": wanted, "asked": range(len(wanted))}, schema={"refsetId": pl.Int64, "asked": pl.Int32}).unique("refsetId", keep="first")
    ordered = (
        counted.join(asked, on="refsetId", how="left")
        .with_columns(others=pl.col("refsetId") != _ENGLISH_SETS["en-US"])
        .sort("languageCode", "asked", "prefers", "others", "refsetId", descending=[False, False, True, False, False], nulls_last=True)
    )
    return ordered.select("languageCode", "refsetId", pl.int_range(pl.len()).over("languageCode").cast(pl.Int32).alias("rank"))


def names_of(ranked: pl.DataFrame) -> pl.DataFrame:
    """Columns NAMES (code an Int64) and `asked`, a concept's names in their order."""
    one = ["conceptId", "languageCode"]
    preferred = ranked.filter(pl.col("order") < _BARE).select(one)
    bare = (
        ranked.filter(pl.col("typeId") == _FSN)
        .join(preferred, on=one, how="anti")
        .sort("id")
        .unique(one, keep="first", maintain_order=True)
        .with_columns(pl.col("term").str.extract(_TAGGED, 1).fill_null(pl.col("term")), pl.lit(_BARE, pl.Int32).alias("order"))
    )
    every = pl.concat([ranked.join(bare, on=[*one, "term"], how="anti"), bare]).sort("conceptId", "place", "order", "id")
    first = (pl.col("conceptId") != pl.col("conceptId").shift()) | (pl.col("place") != pl.col("place").shift())
    return every.select(
        pl.col("conceptId").alias("code"),
        pl.col("term").alias("text"),
        pl.col("languageCode").alias("language"),
        pl.lit("exact").alias("scope"),
        first.fill_null(True).alias("preferred"),
        "asked",
    )


def tags_of(ranked: pl.DataFrame) -> pl.DataFrame:
    """Columns id, tag: the semantic tag of the first FSN that has one, by language, then id."""
    tagged = ranked.filter(pl.col("typeId") == _FSN).with_columns(pl.col("term").str.extract(_TAGGED, 2).str.strip_chars().alias("tag"))
    first = tagged.drop_nulls("tag").sort("place", "id").unique("conceptId", keep="first", maintain_order=True)
    return first.select(pl.col("conceptId").alias("id"), "tag")


def definitions_of(texts: pl.DataFrame, languages: pl.DataFrame) -> pl.DataFrame:
    """Columns id, definition, one a concept: in the language asked first, of these the latest, of these the one with the smallest id."""
    placed = texts.join(languages.filter("asked"), on="languageCode").sort("place", -pl.col("effectiveTime"), "id")
    return placed.unique("conceptId", keep="first", maintain_order=True).select(pl.col("conceptId").alias("id"), pl.col("term").alias("definition"))
