"""Several knowledge bases as one: concepts that are the same by their code, or by a cross-reference between vocabularies."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb.base import KnowledgeBase
from syncabel.kb.hierarchy import components, parent_edges
from syncabel.kb.tables import LISTS, Tables, codes_in_use, rejected, tables_of
from syncabel.kb.vocabulary import CONCEPTS, NAMES, About, Frames, schema_of
from syncabel.types import Rejection

__all__ = ["merge"]

_NAME = ("code", "text", "language")
_CONCEPT, _NAMES = tuple(CONCEPTS), tuple(NAMES)


def merge(kbs: Sequence[KnowledgeBase], through_xrefs: str | None = None) -> KnowledgeBase:
    """The union of knowledge bases, taken in one after the other.

    Concepts of one code become one: its names are the first one's, then those the others add; lists likewise; the definition is the
    first there is.  A name is preferred as the first knowledge base says that prefers a name of the concept in this language.
    A name that several have keeps its first scope.  Links of is_a that later ones add are taken in by code, and one that would
    close a circle is left out (a rejection `is_a_circle`).  Where one part states a code as alternative of its concept and another
    has a concept of that code, the concept stays and the alternative code goes (a rejection `alt_code_is_a_concept`), unless
    `through_xrefs` makes one of the two.  `rejections` hold what merging left out, not what building the parts did.

    Args:
        kbs: two or more, the one that wins first.
        through_xrefs: also take two concepts as one where the first has a cross-reference "VOCABULARY:code" of this vocabulary, or an
            alternative code, that leads to the other, and neither has another such partner.  The other's code becomes an
            alternative code.  Partners that are not one to one are kept apart (a rejection `xref_not_one_to_one` each).

    Returns:
        A knowledge base that may be redistributed only where all parts may; `manifest.parts` are the parts' facts.  Merged with
        itself, a knowledge base stays what it is.

    Raises:
        ConfigError: fewer than two.
        UnknownNameError: no concept has a cross-reference of that vocabulary.
    """
    if len(kbs) < 2:
        raise ConfigError("a merge needs two knowledge bases or more; name another one")
    about, parts = _facts(kbs, through_xrefs)
    merged = kbs[0].tables
    left_out: list[pl.DataFrame] = []
    for kb in kbs[1:]:
        merged, lost = _union(merged, kb.tables, through_xrefs, about.source)
        # What one step could not place, a later part may have brought: only the last word counts.
        left_out = [frame.filter(~pl.col("reason").is_in(["unknown_parent"])) for frame in left_out] + [lost]
    return KnowledgeBase.of_tables(merged, about, pl.concat(left_out), parts)


def _facts(kbs: Sequence[KnowledgeBase], through_xrefs: str | None) -> tuple[About, tuple[About, ...]]:
    parts = tuple(dict.fromkeys(part for kb in kbs for part in _parts(kb)))
    if len(parts) == 1:
        stated = {kb.manifest.parts for kb in kbs}
        return parts[0], stated.pop() if len(stated) == 1 else ()
    about = About(
        source=_joined((part.source for part in parts), " + "),
        release=_joined((part.release for part in parts), " + "),
        licence=_joined((part.licence for part in parts), " AND "),
        redistributable=all(part.redistributable for part in parts),
        obtain=_joined((part.obtain for part in parts), "; "),
        filters=() if through_xrefs is None else (f"through_xrefs={through_xrefs}",),
    )
    return about, parts


def _parts(kb: KnowledgeBase) -> tuple[About, ...]:
    """What a plain merge was made from; anything else, a filtered merge among it, is a part of its own."""
    return kb.manifest.parts if kb.manifest.parts and not kb.about.filters else (kb.about,)


def _joined(texts: Iterable[str], glue: str) -> str:
    return glue.join(text for text in dict.fromkeys(texts) if text)


def _union(first: Tables, second: Tables, through_xrefs: str | None, where: str) -> tuple[Tables, pl.DataFrame]:
    ours, theirs = _frames(first), _frames(second)
    lost = pl.DataFrame(schema=schema_of(Rejection))
    if through_xrefs is not None:
        pairs, lost = _partners(ours.concepts, theirs.concepts, through_xrefs, where)
        theirs = _renamed(theirs, pairs)
    concepts, circles = _without_circles(_concepts(ours.concepts, theirs.concepts), ours.concepts, where)
    frames = Frames(
        concepts,
        _names(ours, theirs),
        pl.concat([ours.relations, theirs.relations]),
        pl.concat([ours.retired, theirs.retired]),
        pl.concat([ours.maps, theirs.maps]),
    )
    tables, unplaced = tables_of(frames, where)
    return tables, pl.concat([lost, circles, unplaced])


def _frames(tables: Tables) -> Frames:
    codes = tables.concepts["code"].gather(tables.names["concept"])
    names = tables.names.with_columns(code=codes).select(pl.col(name).cast(kind) for name, kind in NAMES.items())
    return Frames(tables.concepts, names, tables.relations, tables.retired, tables.maps)


def _concepts(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """One row a code: the lists of both, the definition of the first that has one."""
    both = ours.join(theirs, on="code", suffix="_theirs", maintain_order="left").with_columns(
        pl.coalesce("definition", "definition_theirs"),
        *(pl.concat_list(name, f"{name}_theirs").list.unique(maintain_order=True) for name in LISTS),
    )
    one_sided = [frame.join(both, on="code", how="anti") for frame in (ours, theirs)]
    return pl.concat([frame.select(_CONCEPT) for frame in (both, *one_sided)])


def _names(ours: Frames, theirs: Frames) -> pl.DataFrame:
    """Names of both, in this order; those of concepts that both have, each once."""
    names = pl.concat([ours.names.with_columns(later=pl.lit(False)), theirs.names.with_columns(later=pl.lit(True))])
    shared = names.join(ours.concepts.join(theirs.concepts, on="code", how="semi"), on="code", how="semi", maintain_order="left")
    alone = names.join(shared.select("code").unique(), on="code", how="anti", maintain_order="left")
    decided = (pl.col("preferred") & ~pl.col("later")).any().over("code", "language")
    shared = shared.with_columns(preferred=pl.col("preferred") & ~(pl.col("later") & decided))
    shared = shared.with_columns(preferred=pl.col("preferred").any().over(_NAME)).unique(_NAME, keep="first", maintain_order=True)
    return pl.concat([alone, shared]).select(_NAMES)


def _partners(ours: pl.DataFrame, theirs: pl.DataFrame, vocabulary: str, where: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(code, partner) of their concepts that are one of ours under another code, and what is not one to one."""
    known = theirs.select("code")
    named = pl.concat([_cross_references(ours, vocabulary), _exploded(ours, "alt_codes")])
    bare = named.with_columns(partner=pl.col("partner").str.strip_prefix(f"{vocabulary}:"))
    theirs_by_code = codes_in_use(theirs).rename({"code": "partner", "concept": "found"})
    pairs = pl.concat([named, bare]).join(theirs_by_code, on="partner").select("code", partner="found").unique().filter(pl.col("code") != pl.col("partner"))
    # A concept that both know by the same code has its partner already.
    same = known.join(ours, on="code", how="semi")["code"].implode()
    taken = pl.col("code").is_in(same) | pl.col("partner").is_in(same)
    clear = ~taken & pl.col("code").is_unique() & pl.col("partner").is_unique()
    pairs = pairs.with_columns(clear=clear).sort("partner", "code")
    unclear = pairs.filter(~pl.col("clear")).select(code="partner", partner="code")
    return pairs.filter("clear").select("code", "partner"), rejected(unclear, where, "xref_not_one_to_one", pl.col("partner"))


def _cross_references(concepts: pl.DataFrame, vocabulary: str) -> pl.DataFrame:
    listed = _exploded(concepts, "xrefs")
    found = listed.filter(pl.col("partner").str.starts_with(f"{vocabulary}:"))
    if found.is_empty():
        prefixes = listed["partner"].str.split(":").list.first().unique().sort()
        raise UnknownNameError("vocabulary of cross-references", vocabulary, prefixes)
    return found


def _exploded(concepts: pl.DataFrame, column: str) -> pl.DataFrame:
    return concepts.filter(pl.col(column).list.len() > 0).select("code", partner=column).explode("partner")


def _renamed(frames: Frames, pairs: pl.DataFrame) -> Frames:
    """Their content under our codes."""
    old, new = pairs["partner"], pairs["code"]

    def ours(column: str) -> pl.Expr:
        return pl.col(column).replace(old, new)

    def all_ours(column: str) -> pl.Expr:
        return pl.col(column).list.eval(pl.element().replace(old, new))

    former = pl.when(pl.col("code").is_in(old.implode())).then(pl.concat_list("alt_codes", "code")).otherwise("alt_codes")
    return replace(
        frames,
        concepts=frames.concepts.with_columns(ours("code"), all_ours("parents"), alt_codes=former),
        names=frames.names.with_columns(ours("code")),
        relations=frames.relations.with_columns(ours("source"), ours("target")),
        retired=frames.retired.with_columns(all_ours("successors")),
        maps=frames.maps.with_columns(ours("code")),
    )


def _without_circles(concepts: pl.DataFrame, ours: pl.DataFrame, where: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Without the later links that close a circle; only within parts of the hierarchy where all lies above all may one do so."""
    child, parent = parent_edges(concepts)
    component = components(child, parent, concepts.height)
    inside = component[child] == component[parent]
    codes = concepts["code"]
    links = pl.DataFrame({"code": codes.gather(child[inside]), "parents": codes.gather(parent[inside])}, schema={"code": pl.String, "parents": pl.String})
    if links.is_empty():
        return concepts, pl.DataFrame(schema=schema_of(Rejection))
    own = ours.select("code", "parents").explode("parents")
    link = ["code", "parents"]
    later = links.join(own, on=link, how="anti", maintain_order="left")
    cut = later.filter(_closing(links.join(own, on=link, how="semi", maintain_order="left"), later))
    gone = cut.group_by("code").agg(gone="parents")
    kept = concepts.join(gone, on="code", how="left", maintain_order="left").with_columns(
        parents=pl.col("parents").list.set_difference(pl.col("gone").fill_null([]))
    )
    return kept.select(_CONCEPT), rejected(cut, where, "is_a_circle", pl.col("parents"))


def _closing(own: pl.DataFrame, later: pl.DataFrame) -> pl.Series:
    """Which of the later links close a circle, taken in one by one; our own ones run in none."""
    above = defaultdict[str, list[str]](list)
    for code, parent in own.iter_rows():
        above[code].append(parent)
    closing = []
    for code, parent in later.iter_rows():
        closing.append(_lies_above(code, parent, above))
        if not closing[-1]:
            above[code].append(parent)
    return pl.Series(closing, dtype=pl.Boolean)


def _lies_above(code: str, other: str, above: Mapping[str, Sequence[str]]) -> bool:
    """Whether a concept is another one, or lies above it."""
    seen, waiting = {other}, [other]
    while waiting and code not in seen:
        fresh = [parent for parent in above.get(waiting.pop(), ()) if parent not in seen]
        seen.update(fresh)
        waiting += fresh
    return code in seen
