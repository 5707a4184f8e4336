"""Names made fit for being written by a model: marks that say nothing dropped, one form for one string.

A rule is a named pure function and can be switched off.  Rules over one name are `NAME_RULES`, rules over the names of one
concept `CONCEPT_RULES`.  Name rules run in the order of their table, again and again until none changes anything, so that
normalising twice is normalising once; concept rules come after.  Nothing is lost silently: every change is a row of the report,
every name that goes a rejection, and strings that two concepts share from then on are counted (the lexicon tells them apart).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

import numpy as np
import polars as pl

from syncabel.errors import UnknownNameError
from syncabel.kb.base import KnowledgeBase
from syncabel.kb.tables import Tables
from syncabel.kb.vocabulary import schema_of
from syncabel.types import Rejection, Scope

__all__ = [
    "CONCEPT_RULES",
    "DEFAULT",
    "NAME_RULES",
    "SEMANTIC_TAGS",
    "NormalizeReport",
    "all_capitals_twins",
    "composed_characters",
    "first_letter_upper",
    "no_break_spaces",
    "normalize",
    "normalized",
    "not_otherwise_specified",
    "semantic_tag",
    "unspecified",
]

# The tags that end fully specified names of SNOMED CT, as its editorial guide lists them.
# fmt: off
SEMANTIC_TAGS = frozenset({
    "administration method", "assessment scale", "attribute", "basic dose form", "body structure", "cell", "cell structure", "clinical drug",
    "context-dependent category", "core metadata concept", "disorder", "disposition", "dose form", "environment", "environment / location", "ethnic group",
    "event", "finding", "foundation metadata concept", "geographic location", "inactive concept", "intended site", "life style", "link assertion",
    "linkage concept", "location", "medicinal product", "medicinal product form", "metadata", "morphologic abnormality", "navigational concept",
    "observable entity", "occupation", "organism", "owl metadata concept", "person", "physical force", "physical object", "procedure", "product",
    "product name", "qualifier value", "racial group", "record artifact", "regime/therapy", "release characteristic", "religion/philosophy", "role",
    "situation", "social concept", "special concept", "specimen", "staging scale", "state of matter", "substance", "supplier", "transformation",
    "tumor staging", "unit of presentation",
})
# fmt: on
_NO_BREAK = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u202f": " "})
# Capitals only: "nos" is a word of French and of Spanish.
_MARK = r"(?:NOS|SAI|(?i:not otherwise specified|sans autre indication))"
# What a hyphen ties to a word ("NC-NOS") is a part of the word.
_NOS = re.compile(rf"[\s,;:]*(?:\(\s*{_MARK}\s*\)|\[\s*{_MARK}\s*\])$|(?:[\s,;:]+(?:-\s*)?){_MARK}$")
# Here NOS is nitric oxide synthase.
_SYNTHASE = re.compile(r"(?i)\b(?:neuronal|endothelial|inducible|constitutive|synthase)$")
_UNSPECIFIED = re.compile(r"(?i)\s*,\s*(?:unspecified|non précisée?|sans précision|no especificad[oa]|sin especificar)$")
_TAG = re.compile(r"\s*\(([^()]+)\)$")
_LONGEST_ACRONYM = 5
_SCOPES = pl.Enum(get_args(Scope))  # the strongest first
_EXAMPLES = 5


def no_break_spaces(name: str) -> str:
    """No-break, figure and narrow no-break spaces as plain ones.

    Building a knowledge base does so to all white space: the rule matters for raw strings given to `normalized` and changes no
    name of a knowledge base.
    """
    return name.translate(_NO_BREAK)


def composed_characters(name: str) -> str:
    """Unicode normalisation form C: a letter and its accent as one character where there is one."""
    return unicodedata.normalize("NFC", name)


def semantic_tag(name: str, tags: frozenset[str] = SEMANTIC_TAGS) -> str:
    """Without a last `(tag)`: "Asthma (disorder)" → "Asthma"; a parenthesis that is no tag stays.

    Args:
        name: a name.
        tags: what counts as one, in lower case.
    """
    found = _TAG.search(name)
    return name[: found.start()] if found and found.group(1).strip().casefold() in tags else name


def not_otherwise_specified(name: str) -> str:
    """Without a last NOS, SAI (French) or the words: "Asthma, NOS" → "Asthma"; NOS that is nitric oxide synthase stays."""
    found = _NOS.search(name)
    return name if found is None or _SYNTHASE.search(name[: found.start()]) else name[: found.start()]


def unspecified(name: str) -> str:
    """Without a last ", unspecified" (en, fr, es).  Off unless asked for: in ICD-10 it tells a code from its siblings."""
    return _UNSPECIFIED.sub("", name)


def first_letter_upper(name: str) -> str:
    """The first letter as a capital, as the published method writes names.  Off unless asked for: "pH" and "mRNA" suffer."""
    return name[:1].upper() + name[1:]


def all_capitals_twins(names: Sequence[str]) -> list[str]:
    """Without those names that are another one in capitals: "ASTHMA" beside "Asthma" goes.

    A single word of up to five characters stays: it may be an acronym ("AIDS" beside "Aids").
    """
    return [name for name in names if not _shouted(name) or not any(other != name and other.upper() == name for other in names)]


def _shouted(name: str) -> bool:
    return name.isupper() and (" " in name or len(name) > _LONGEST_ACRONYM)


NAME_RULES: dict[str, Callable[[str], str]] = {
    "no_break_spaces": no_break_spaces,
    "composed_characters": composed_characters,
    "semantic_tag": semantic_tag,
    "not_otherwise_specified": not_otherwise_specified,
    "unspecified": unspecified,
    "first_letter_upper": first_letter_upper,
}
CONCEPT_RULES: dict[str, Callable[[Sequence[str]], list[str]]] = {"all_capitals_twins": all_capitals_twins}
DEFAULT = ("no_break_spaces", "composed_characters", "semantic_tag", "not_otherwise_specified", "all_capitals_twins")

# A rule can only change a name that its expression matches: so the names of millions that go through Python are few.
_SUSPECT = {
    "no_break_spaces": r"[\x{A0}\x{2007}\x{202F}]",
    "composed_characters": r"[^\x{0}-\x{2FF}]",
    "semantic_tag": r"\)$",
    "not_otherwise_specified": r"(?i)(?:nos|sai|specified|indication)\s*[)\]]?$",
    "unspecified": r"(?i)(?:unspecified|précisée?|précision|especificad[oa]|especificar)$",
    "first_letter_upper": r"^[^A-Z0-9]",
}


@dataclass(frozen=True)
class NormalizeReport:
    """What normalising did.

    Attributes:
        counts: names changed, or dropped, by each rule; a name that two rules changed counts for both.
        changes: one row a name and rule. Columns: rule, code, before, after (null where the name was dropped).
        merged: names that became another name of their concept, and are one with it now.
        kept: names left as they were because nothing would have been left of them.
        newly_shared: strings that are a name of several concepts now and were not before. Columns: text, concepts (how many).
    """

    counts: dict[str, int]
    changes: pl.DataFrame
    merged: int
    kept: int
    newly_shared: pl.DataFrame

    def examples(self, rule: str) -> list[tuple[str, str, str | None]]:
        """(code, before, after) of the first few changes by a rule."""
        return self.changes.filter(pl.col("rule") == rule).select("code", "before", "after").head(_EXAMPLES).rows()


def normalized(name: str, rules: Iterable[str] = DEFAULT, tags: frozenset[str] = SEMANTIC_TAGS) -> tuple[str, list[str]]:
    """A name after its rules, and those that changed it; a name of which no letter or digit would be left stays whole.

    Args:
        name: as the vocabulary has it.
        rules: names of rules; those over concepts are passed over.
        tags: for `semantic_tag`, in lower case.
    """
    wanted = set(rules)
    functions = [(rule, partial(semantic_tag, tags=tags) if rule == "semantic_tag" else NAME_RULES[rule]) for rule in NAME_RULES if rule in wanted]
    result, used, before = name, list[str](), None
    while result != before:
        before = result
        for rule, function in functions:
            changed = function(result)
            if changed == result or not any(character.isalnum() for character in changed):
                continue
            result = changed
            used += [rule] if rule not in used else []
    return result, used


def normalize(kb: KnowledgeBase, rules: Sequence[str] = DEFAULT, tags: Iterable[str] = SEMANTIC_TAGS) -> tuple[KnowledgeBase, NormalizeReport]:
    """A knowledge base with its names normalised; concepts, relations, codes and rejections stay.

    Of names that become one, the first row stays, with the strongest scope of any and preferred where one was.

    Args:
        kb: the knowledge base.
        rules: names of rules; their order plays no part.
        tags: for `semantic_tag`; `kb.groups` where groups are the vocabulary's own tags.

    Returns:
        The new knowledge base, whose manifest lists the rules, and what was done.  Its `rejections` also hold the names that went,
        as they were before: for one in small letters (`all_capitals_twin`), or for one that comes to the same (`merged_name`).

    Raises:
        UnknownNameError: there is no such rule.
    """
    for rule in rules:
        if rule not in NAME_RULES and rule not in CONCEPT_RULES:
            raise UnknownNameError("rule of the normaliser", rule, [*NAME_RULES, *CONCEPT_RULES])
    names, changes, kept = _renamed(kb.tables, rules, frozenset(tag.casefold() for tag in tags))
    left_out = [_rejections(kb)]
    if "all_capitals_twins" in rules:
        shouted, names = names, _without_twins(names)
        twins = shouted.join(names, on="at", how="anti", maintain_order="left")
        changes = pl.concat([changes, _dropped(twins, kb.tables)])
        left_out.append(_lost(twins, kb, "all_capitals_twin"))
    distinct = _merged(names)
    left_out.append(_lost(names.join(distinct, on="at", how="anti", maintain_order="left"), kb, "merged_name"))
    tables = replace(kb.tables, names=distinct.drop("at"))
    done = ",".join(rule for rule in (*NAME_RULES, *CONCEPT_RULES) if rule in rules)
    about = replace(kb.about, filters=(*kb.about.filters, f"normalize={done}"))
    before = kb.tables.ambiguous()["text"]
    shared = tables.ambiguous().filter(~pl.col("text").is_in(before.implode()))
    counts = dict(changes.group_by("rule").len().iter_rows())
    report = NormalizeReport({rule: counts.get(rule, 0) for rule in rules}, changes, names.height - distinct.height, kept, shared)
    return KnowledgeBase.of_tables(tables, about, pl.concat(left_out), kb.manifest.parts), report


def _rejections(kb: KnowledgeBase) -> pl.DataFrame:
    rows = [(one.where, one.code, one.reason, one.text) for one in kb.rejections]
    return pl.DataFrame(rows, schema=schema_of(Rejection), orient="row")


def _lost(names: pl.DataFrame, kb: KnowledgeBase, reason: str) -> pl.DataFrame:
    """Rejections for names that went, with the text that the knowledge base had."""
    codes, texts = kb.tables.concepts["code"].gather(names["concept"]), kb.tables.names["text"].gather(names["at"])
    return names.select(where=pl.lit(kb.about.source), code=codes, reason=pl.lit(reason), text=texts)


def _dropped(twins: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    codes = tables.concepts["code"].gather(twins["concept"])
    return twins.select(rule=pl.lit("all_capitals_twins"), code=codes, before="text", after=pl.lit(None, pl.String))


_CHANGES = {"rule": pl.String, "code": pl.String, "before": pl.String, "after": pl.String}


def _renamed(tables: Tables, rules: Sequence[str], tags: frozenset[str]) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The name rules over the rows they may change: names, changes, and how many names were kept for nothing would be left.

    Names have a further column `at`, their row in the tables.
    """
    suspect = [pl.col("text").str.contains(_SUSPECT[rule]) for rule in NAME_RULES if rule in rules]
    at = np.flatnonzero(tables.names.select(pl.any_horizontal(suspect)).to_series().to_numpy()) if suspect else np.empty(0, np.int64)
    before = tables.names["text"].gather(at).to_list()
    outcome = [normalized(text, rules, tags) for text in before]
    codes = tables.concepts["code"].gather(tables.names["concept"].gather(at)).to_list()
    rows = [(rule, code, old, new) for code, old, (new, used) in zip(codes, before, outcome, strict=True) for rule in used]
    changes = pl.DataFrame(rows, schema=_CHANGES, orient="row")
    kept = sum(_nothing_left(new, rules, tags) for new, _ in outcome)
    new = pl.DataFrame({"at": at.astype(np.uint32), "new": [new for new, _ in outcome]}, schema_overrides={"new": pl.String})
    joined = tables.names.with_row_index("at").join(new, on="at", how="left", maintain_order="left")
    return joined.with_columns(text=pl.coalesce("new", "text")).select("at", *tables.names.columns), changes, kept


def _nothing_left(name: str, rules: Sequence[str], tags: frozenset[str]) -> bool:
    functions = (partial(semantic_tag, tags=tags) if rule == "semantic_tag" else NAME_RULES[rule] for rule in rules if rule in NAME_RULES)
    return any(function(name) != name for function in functions)


def _without_twins(names: pl.DataFrame) -> pl.DataFrame:
    """Without the capitals twins; the first name that one is a twin of inherits its preference, and its scope where that is stronger."""
    numbered = names.select("concept", "language", "text").with_row_index("row")
    capitals = numbered.filter((pl.col("text") == pl.col("text").str.to_uppercase()) & (pl.col("text") != pl.col("text").str.to_lowercase()))
    others = numbered.filter(pl.col("text") != pl.col("text").str.to_uppercase())
    key = ["concept", "language"]
    suspects = capitals.select(key).unique()
    families = numbered.join(suspects, on=key, how="semi").join(others.select(key).unique(), on=key, how="semi")
    preferred, scope = names["preferred"].to_numpy().copy(), names["scope"].to_physical().to_numpy().copy()
    keep = np.ones(names.height, np.bool_)
    for family in families.group_by(key, maintain_order=True).agg("row", "text").iter_rows(named=True):
        left = set(all_capitals_twins(family["text"]))
        for row, text in zip(family["row"], family["text"], strict=True):
            if text in left:
                continue
            twin = next(other for other, each in zip(family["row"], family["text"], strict=True) if each != text and each.upper() == text)
            keep[row], preferred[twin], scope[twin] = False, preferred[twin] or preferred[row], min(scope[twin], scope[row])
    inherited = names.with_columns(preferred=pl.Series(preferred), scope=pl.Series(scope).cat.to(_SCOPES))
    return inherited.filter(keep)


def _merged(names: pl.DataFrame) -> pl.DataFrame:
    """Each string once per concept and language: the first stays, with the strongest scope of any, preferred where any was."""
    key = ["concept", "text", "language"]
    repeated = names.filter(pl.struct(key).is_duplicated())
    if repeated.is_empty():
        return names
    best = repeated.group_by(key).agg(any_preferred=pl.col("preferred").any(), strongest=pl.col("scope").to_physical().min())
    joined = names.join(best, on=key, how="left", maintain_order="left").with_columns(
        preferred=pl.coalesce("any_preferred", "preferred"), scope=pl.coalesce("strongest", pl.col("scope").to_physical()).cat.to(_SCOPES)
    )
    return joined.drop("any_preferred", "strongest").unique(key, keep="first", maintain_order=True)
