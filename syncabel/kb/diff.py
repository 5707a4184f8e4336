"""What changed between two editions of a knowledge base, and what of it a model must be rechecked on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from syncabel.kb.base import KnowledgeBase
from syncabel.kb.tables import Tables, codes_in_use

__all__ = ["CHANGES", "KbDiff", "diff"]

CHANGES = {
    "added": "a code that neither was a concept nor stood for one",
    "retired": "a code that is in use no longer; `after` is what may stand for it, `reason` what the new edition says",
    "merged": "a concept whose code now stands for another one",
    "redirected": "an alternative code that now stands for another concept",
    "split": "an alternative code that now is a concept of its own",
    "renamed": "another preferred name",
    "names_added": "names it had not",
    "names_removed": "names it has no longer",
    "reassigned": "names of it that now lead to another concept, instead or as well; `before` is the names, `after` these concepts",
    "regrouped": "other semantic groups",
    "moved": "other parents",
}
_HARMLESS = ("names_added", "moved")
_COLUMNS = ("code", "change", "name", "before", "after", "reason", "recheck")
_SAID_NOTHING = "not in the new edition"


@dataclass(frozen=True)
class KbDiff:
    """Changes between two knowledge bases.

    Attributes:
        old, new: digests, hexadecimal.
        changes: one row a code and kind of change, by kind in the order of CHANGES, then by code. Columns: code, change (a key of CHANGES),
            name (the preferred one, of the old edition where the code was in it), before and after (codes, names or groups: what
            the change is about), reason (of retired codes, else ""), recheck: whether an answer that a model gives for the code
            may have become wrong or impossible, or was never learnt; of a code, what adds names or moves it within the
            hierarchy needs none.
    """

    old: str
    new: str
    changes: pl.DataFrame

    def counts(self) -> dict[str, int]:
        """How many rows there are of each kind of change; every key of CHANGES."""
        found = dict(self.changes["change"].cast(pl.String).value_counts().iter_rows())
        return {change: found.get(change, 0) for change in CHANGES}

    def recheck(self) -> tuple[str, ...]:
        """Codes that a model must be rechecked on, sorted."""
        return tuple(self.changes.filter("recheck")["code"].unique().sort())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of `changes` as plain values."""
        return self.changes.iter_rows(named=True)


def diff(old: KnowledgeBase, new: KnowledgeBase) -> KbDiff:
    """Compare two editions by code.

    Args:
        old: the edition a model was trained for.
        new: the edition it is to be used with.
    """
    before, after = old.tables, new.tables
    titles = {"old": _titles(before), "new": _titles(after)}
    both = before.concepts.join(after.concepts, on="code", suffix="_new")
    found = [
        *_codes(before, after),
        _compared(both, "groups", "regrouped"),
        _compared(both, "parents", "moved"),
        *_names(before, after, both.select("code")),
        _reassigned(_texts(before, both.select("code")), _texts(after, after.concepts.select("code"))),
        _renamed(titles, both),
    ]
    rows = pl.concat([frame.select("code", "change", "before", "after", reason=_reason(frame)) for frame in found])
    rows = rows.join(titles["old"], on="code", how="left").join(titles["new"], on="code", how="left", suffix="_new")
    rows = rows.with_columns(
        pl.col("change").cast(pl.Enum(list(CHANGES))),
        name=pl.coalesce("name", "name_new", pl.lit("")),
        recheck=~pl.col("change").is_in(_HARMLESS),
    )
    return KbDiff(old.digest, new.digest, rows.select(_COLUMNS).sort("change", "code"))


def _reason(frame: pl.DataFrame) -> pl.Expr:
    return pl.col("reason") if "reason" in frame.columns else pl.lit("")


def _titles(tables: Tables) -> pl.DataFrame:
    """(code, name): the first preferred name, else the first name."""
    preferred = tables.names.filter("preferred").unique("concept", keep="first", maintain_order=True)
    first = tables.names.unique("concept", keep="first", maintain_order=True)
    rows = first.join(preferred.select("concept", other="text"), on="concept", how="left", maintain_order="left")
    return rows.select(code=tables.concepts["code"].gather(rows["concept"]), name=pl.coalesce("other", "text"))


def _codes(before: Tables, after: Tables) -> Iterator[pl.DataFrame]:
    """Changes in where codes lead."""
    was, now = codes_in_use(before.concepts), codes_in_use(after.concepts)
    yield (
        now.filter(pl.col("code") == pl.col("concept"))
        .join(was, on="code", how="anti")
        .select("code", change=pl.lit("added"), before=_none(), after=pl.concat_list("code"))
    )
    yield _retired(was.join(now, on="code", how="anti"), after)
    moves = was.join(now, on="code", suffix="_now")
    # An alternative code goes where its concept goes: only where it goes elsewhere is it a change of its own.
    moves = moves.join(now.select(concept="code", expected="concept"), on="concept", how="left")
    own, is_own = pl.col("code") == pl.col("concept"), pl.col("code") == pl.col("concept_now")
    change = pl.when(own & ~is_own).then(pl.lit("merged")).when(~own & is_own).then(pl.lit("split"))
    change = change.when(~own & pl.col("concept_now").ne_missing(pl.col("expected"))).then(pl.lit("redirected"))
    yield moves.select("code", change=change, before=pl.concat_list("concept"), after=pl.concat_list("concept_now")).filter(pl.col("change").is_not_null())


def _none() -> pl.Expr:
    return pl.lit([], dtype=pl.List(pl.String))


def _retired(gone: pl.DataFrame, after: Tables) -> pl.DataFrame:
    said = after.retired.group_by("code").agg(
        pl.col("successors").list.explode().drop_nulls().unique(maintain_order=True), reason=pl.col("reason").sort().str.join(", ")
    )
    return gone.join(said, on="code", how="left").select(
        "code",
        change=pl.lit("retired"),
        before=pl.concat_list("concept"),
        after=pl.col("successors").fill_null([]),
        reason=pl.col("reason").fill_null(_SAID_NOTHING),
    )


def _compared(both: pl.DataFrame, column: str, change: str) -> pl.DataFrame:
    """Concepts whose list is another set of values."""
    pairs = both.select("code", change=pl.lit(change), before=_set(column), after=_set(f"{column}_new"))
    return pairs.filter(pl.col("before") != pl.col("after"))


def _set(column: str) -> pl.Expr:
    return pl.col(column).list.unique().list.sort()


def _texts(tables: Tables, both: pl.DataFrame) -> pl.DataFrame:
    """(code, text, language) of the concepts of both editions."""
    codes = tables.concepts["code"].gather(tables.names["concept"])
    rows = tables.names.select(code=codes, text="text", language=pl.col("language").cast(pl.String))
    return rows.join(both, on="code", how="semi", maintain_order="left")


def _names(before: Tables, after: Tables, both: pl.DataFrame) -> Iterator[pl.DataFrame]:
    was, now = _texts(before, both), _texts(after, both)
    added = _only_in(now, was).select("code", change=pl.lit("names_added"), before=_none(), after="texts")
    yield added
    yield _only_in(was, now).select("code", change=pl.lit("names_removed"), before="texts", after=_none())


def _only_in(these: pl.DataFrame, those: pl.DataFrame) -> pl.DataFrame:
    extra = these.join(those, on=["code", "text", "language"], how="anti", maintain_order="left")
    return extra.group_by("code", maintain_order=True).agg(texts=pl.col("text").unique(maintain_order=True))


def _reassigned(was: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Names that now lead to another concept, or to another one as well: what was learnt of the name does not hold."""
    was, now = was.select("code", "text").unique(), now.select("code", "text").unique()
    arrived = now.join(was, on=["code", "text"], how="anti").join(was.select("text").unique(), on="text", how="semi")
    rows = was.join(arrived.select("text", to="code"), on="text").filter(pl.col("code") != pl.col("to"))
    found = rows.group_by("code").agg(before=pl.col("text").unique().sort(), after=pl.col("to").unique().sort())
    return found.select("code", "before", "after", change=pl.lit("reassigned"))


def _renamed(titles: dict[str, pl.DataFrame], both: pl.DataFrame) -> pl.DataFrame:
    pairs = titles["old"].join(titles["new"], on="code", suffix="_new").join(both, on="code", how="semi")
    return pairs.filter(pl.col("name") != pl.col("name_new")).select(
        "code", change=pl.lit("renamed"), before=pl.concat_list("name"), after=pl.concat_list("name_new")
    )
