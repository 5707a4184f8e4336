"""Vocabularies as tables: with named columns (TSV, CSV, JSON Lines, Parquet), the SPACCC gazetteers, or three columns without a header.

A row is one name of a code; what belongs to the code (groups, types, definition, parents …) is gathered from all its rows.  Everything is
columns: a table of millions of names is never Python objects.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from syncabel.errors import ConfigError, FormatError
from syncabel.kb.readers.ontology import SCOPES
from syncabel.kb.readers.rows import LINE, header_of, read_rows, tab_separated
from syncabel.kb.vocabulary import CONCEPTS, NAMES, About, Frames, Vocabulary
from syncabel.types import Rejection

__all__ = ["read_gazetteer", "read_names", "read_table"]

_FLAGS = {"p": True, "1": True, "true": True, "yes": True, "s": False, "0": False, "false": False, "no": False}
_LISTS = ("groups", "types", "parents", "alt_codes", "xrefs")  # fields of Concept gathered over a code's rows
_HEADER = "of a table with a header name the columns (--code-column, --name-column)"
_HINT = f"write code<TAB>name<TAB>P or S; {_HEADER}"
# What programs make of long digits: 1.0E+17, 1,2E17, 1E+17, 64572001.0.  Three digits before .0 are ICD-9's (250.0).  Without mark and sign
# only the form of one digit, a small e and the exponent of 11 to 20 digits is one (1e17): 1E50 is ICD-11's, 12E5 somebody else's.
_FLOAT = r"^\d+[.,]\d+[eE]\+?\d+$|^\d+[eE]\+\d+$|^\de1\d$|^\d{5,}\.0+$"


def read_names(path: str | Path, *, group: str, language: str = "en") -> Vocabulary:
    """Three columns without a header, `code<TAB>name<TAB>P|S`, P for the preferred name; the rows of a code need not stand together.

    Args:
        path: UTF-8, plain or `.gz`.
        group: the semantic group of all concepts.
        language: ISO 639-1 code of all names.

    Raises:
        FormatError: a row without three columns, without a code, with another flag or with a code read as a float; an empty file;
            bytes that are not UTF-8.
    """
    path = Path(path)
    rows = pl.concat(list(tab_separated(path, ("code", "name", "preferred"), header=False, hint=_HINT)))
    _refuse(rows.filter(pl.col("code").str.strip_chars() == ""), "the code is empty", "code", path, _HINT)
    unknown = ~pl.col("preferred").is_in(["P", "S"])
    _refuse(rows.filter(unknown), "the third column is {!r}", "preferred", path, f"write P for the preferred name, S for the others; {_HEADER}")
    return Vocabulary(About(_stem(path)), _frames(rows, path, group, language))


def read_table(
    path: str | Path,
    *,
    code_column: str,
    name_column: str,
    preferred_column: str | None = None,
    language_column: str | None = None,
    scope_column: str | None = None,
    group_column: str | None = None,
    type_column: str | None = None,
    definition_column: str | None = None,
    parents_column: str | None = None,
    alt_codes_column: str | None = None,
    xrefs_column: str | None = None,
    synonyms_column: str | None = None,
    separator: str = "|",
    group: str | None = None,
    language: str = "en",
) -> Vocabulary:
    """A table with named columns, one name of a code a row; one column can serve several purposes.

    Args:
        path: `.tsv`, `.csv` (commas, or semicolons where the header has no comma), `.jsonl` (plain or `.gz`) or `.parquet`.
        code_column, name_column: of the code and of one of its names; rows without code are rejected (`no_code`).
        preferred_column: P/S, 1/0, true/false or yes/no; without it a code's first name in each language is its preferred one.
        language_column, language: ISO 639-1 codes a row, or one for all.
        scope_column: exact, narrow, broad or related; exact without it.
        group_column, group: semantic groups a row, or one for all; exactly one of the two.  A code none of whose rows has a group is
            rejected (`no_group`).
        type_column, definition_column, parents_column, alt_codes_column, xrefs_column: as in `Concept`.  Groups, types, parents and codes of
            all rows of a code are united; its first definition counts, others are rejected (`other_definition`).
        synonyms_column: more names of the row's language, of scope exact.
        separator: between the values of a cell, in groups, types, parents, codes and synonyms.

    Raises:
        ConfigError: neither or both of `group` and `group_column`, or an empty separator.
        FormatError: a row that has not the columns, a code that some program has made a float, a flag, language or scope that is none.
        UnknownNameError: there is no such column.
    """
    path = Path(path)
    if (group is None) == (group_column is None):
        raise ConfigError("concepts need a semantic group: give one of group and group_column")
    if not separator:
        raise ConfigError("the separator between the values of a cell is empty; give one character")
    texts = {"code": code_column, "name": name_column, "preferred": preferred_column, "language": language_column, "scope": scope_column}
    texts["definition"] = definition_column
    lists = {"groups": group_column, "types": type_column, "parents": parents_column, "alt_codes": alt_codes_column, "xrefs": xrefs_column}
    lists["synonyms"] = synonyms_column
    given, listed = _given(texts), _given(lists)
    columns = read_rows(path, given, listed, separator)
    filters = (*(f"{role}={column}" for role, column in (given | listed).items()), *(() if group is None else (f"group={group}",)))
    return Vocabulary(About(_stem(path), filters=filters), _frames(columns, path, group, language))


def read_gazetteer(path: str | Path, *, language: str = "es") -> Vocabulary:
    """A gazetteer of SPACCC or of the published SynCABEL code: code, term, semantic_tag, mainterm (1 or 0), and language or CUI where there.

    Groups are the semantic tags, main terms come first and are preferred, CUIs become cross-references ("UMLS:C…").

    Args:
        path: TSV with a header, plain or `.gz`.
        language: ISO 639-1 code of all terms where there is no such column.

    Raises:
        FormatError, UnknownNameError: as `read_table`.
    """
    path = Path(path)
    header = header_of(path)
    roles = {"code": "code", "name": "term", "groups": "semantic_tag", "preferred": "mainterm"}
    roles |= {role: column for role, column in {"language": "language", "xrefs": "CUI"}.items() if column in header}
    lists = {role: column for role, column in roles.items() if role in _LISTS}
    columns = read_rows(path, {role: column for role, column in roles.items() if role not in _LISTS}, lists, "|")
    if "xrefs" in columns.columns:
        cuis = pl.col("xrefs").list.eval("UMLS:" + pl.element().filter(pl.element().str.strip_chars() != "").str.strip_chars())
        columns = columns.with_columns(cuis)
    return Vocabulary(About(_stem(path)), _frames(columns, path, None, language))


def _given(columns: Mapping[str, str | None]) -> dict[str, str]:
    return {role: column for role, column in columns.items() if column is not None}


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name


def _frames(rows: pl.DataFrame, path: Path, group: str | None, language: str) -> Frames:
    """Rows by role (`code`, `name`, the others where given) as the tables of a vocabulary."""
    rows = _checked(rows, path)
    without = rows.filter(pl.col("code") == "")
    rows = rows.filter(pl.col("code") != "").with_columns(first=pl.col(LINE).min().over("code"))
    concepts = _concepts(rows, group)
    groupless = concepts.filter(pl.col("groups").list.len() == 0)
    rejections = [Rejection(f"{path}:{line}", "", "no_code", name or "") for line, name in without.select(LINE, "name").iter_rows()]
    rejections += [Rejection(f"{path}:{line}", code, "no_group", name or "") for line, code, name in groupless.select("first", "code", "name").iter_rows()]
    rows = rows.join(groupless.select("code"), on="code", how="anti", maintain_order="left")
    rejections += [Rejection(f"{path}:{line}", code, "other_definition", text) for line, code, text in _other_definitions(rows, concepts).iter_rows()]
    names, faults = _without_faults(_names(rows, language))
    nameless = concepts.join(groupless, on="code", how="anti", maintain_order="left").join(names, on="code", how="anti", maintain_order="left")
    rejections += [Rejection(f"{path}:{line}", code, reason, text) for line, code, reason, text in faults.iter_rows()]
    rejections += [Rejection(f"{path}:{line}", code, "no_name", "") for line, code in nameless.select("first", "code").iter_rows()]
    kept = concepts.filter(pl.col("groups").list.len() > 0).join(nameless, on="code", how="anti", maintain_order="left")
    concept_columns, name_columns = ([pl.col(name).cast(kind) for name, kind in schema.items()] for schema in (CONCEPTS, NAMES))
    return Frames(kept.select(concept_columns), names.select(name_columns), rejections=tuple(rejections))


def _without_faults(names: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The names that are neither empty nor said twice, and line, code, reason and text of the others: a knowledge base would reject them without a line.

    What it rejects for control characters, and what only its tidied form or another scope makes the same, is left to it.
    """
    text = pl.col("text").str.strip_chars()
    repeated = ~pl.struct("code", text, "language", "scope").is_first_distinct()
    fault = pl.when(text == "").then(pl.lit("empty_name")).when(repeated).then(pl.lit("duplicate_name"))
    reason = pl.when(~pl.col("text").str.contains(r"[\p{Cc}\p{Co}\p{Cn}]")).then(fault)
    names = names.with_columns(reason=reason)
    faults = names.filter(pl.col("reason").is_not_null()).select(LINE, "code", "reason", "text")
    return names.filter(pl.col("reason").is_null()), faults


def _checked(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    rows = rows.with_columns(pl.col("code").fill_null("").str.strip_chars())
    floats = rows.filter(pl.col("code").str.contains(_FLOAT))
    _refuse(floats, "the code {!r} was read as a number by another program", "code", path, "make the table again with codes as text")
    if "preferred" in rows.columns:
        flag = pl.col("preferred").fill_null("").str.strip_chars().str.to_lowercase()
        _refuse(rows.filter(~flag.is_in(list(_FLAGS))), "the preferred flag is {!r}", "preferred", path, "write P/S, 1/0, true/false or yes/no")
        rows = rows.with_columns(flag.replace_strict(_FLAGS, return_dtype=pl.Boolean).alias("preferred"))
    if "language" in rows.columns:
        wrong = ~pl.col("language").fill_null("").str.contains("^[a-z]{2}$")
        _refuse(rows.filter(wrong), "the language is {!r}", "language", path, "write ISO 639-1 codes, e.g. fr")
    if "scope" in rows.columns:
        scope = pl.col("scope").fill_null("").str.to_lowercase()
        _refuse(rows.filter(~scope.is_in(list(SCOPES))), "the scope is {!r}", "scope", path, f"write {', '.join(SCOPES)}")
        rows = rows.with_columns(scope)
    return rows


def _refuse(wrong: pl.DataFrame, problem: str, column: str, path: Path, hint: str) -> None:
    if wrong.height:
        line, value = wrong.select(LINE, column).row(0)
        raise FormatError(problem.format(value or ""), path, line, hint)


def _concepts(rows: pl.DataFrame, group: str | None) -> pl.DataFrame:
    """One row a code, in order of first appearance, with `first` (its line) and `name` (its first)."""
    gathered = [_distinct(name) if name in rows.columns else pl.lit([], pl.List(pl.String)).alias(name) for name in _LISTS]
    definition = pl.col("definition").fill_null("").str.strip_chars() if "definition" in rows.columns else pl.lit("")
    rows = rows.with_columns(definition.alias("definition"))
    chosen = pl.col("definition").filter(pl.col("definition") != "").first()
    aggregated = [one for one in gathered if one.meta.output_name() in rows.columns]
    constant = [one for one in gathered if one.meta.output_name() not in rows.columns]
    concepts = rows.group_by("code", maintain_order=True).agg(pl.col("first").first(), pl.col("name").first(), chosen, *aggregated).with_columns(constant)
    return concepts if group is None else concepts.with_columns(pl.lit([group], pl.List(pl.String)).alias("groups"))


def _other_definitions(rows: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """Line, code and text of the definitions that differ from their concept's, each once."""
    if "definition" not in rows.columns:
        return pl.DataFrame(schema={LINE: pl.UInt32, "code": pl.String, "definition": pl.String})
    stated = rows.select(LINE, "code", pl.col("definition").fill_null("").str.strip_chars()).filter(pl.col("definition") != "")
    other = stated.join(concepts.select("code", taken="definition"), on="code", how="left", maintain_order="left").filter(
        pl.col("definition") != pl.col("taken")
    )
    return other.unique(["code", "definition"], keep="first", maintain_order=True).select(LINE, "code", "definition")


def _distinct(name: str) -> pl.Expr:
    values = pl.col(name).explode().str.strip_chars().drop_nulls()
    return values.filter(values != "").unique(maintain_order=True).alias(name)


def _names(rows: pl.DataFrame, language: str) -> pl.DataFrame:
    """Columns LINE and NAMES, the names of a code together, in order of the codes' first appearance, preferred ones first."""
    defaults = {"language": pl.lit(language), "scope": pl.lit("exact")}
    rows = rows.with_columns([value.alias(name) for name, value in defaults.items() if name not in rows.columns])
    if "preferred" not in rows.columns:
        rows = rows.with_columns(preferred=pl.struct("code", "language").is_first_distinct())
    named = rows.select("first", LINE, "code", pl.col("name").fill_null("").alias("text"), "language", "scope", "preferred", synonym=pl.lit(False))
    if "synonyms" in rows.columns:
        named = pl.concat([named, _synonyms(rows)])
    return named.sort("first", ~pl.col("preferred"), LINE, "synonym", maintain_order=True)


def _synonyms(rows: pl.DataFrame) -> pl.DataFrame:
    texts = rows.explode("synonyms").filter(pl.col("synonyms").fill_null("").str.strip_chars() != "")
    constants: Sequence[pl.Expr] = (pl.lit("exact").alias("scope"), pl.lit(False).alias("preferred"), pl.lit(True).alias("synonym"))
    return texts.select("first", LINE, "code", pl.col("synonyms").alias("text"), "language", *constants)
