"""Concepts by a piece of a name: the very name, names that begin with it, names that look like it."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb.base import KnowledgeBase
from syncabel.text import fold
from syncabel.types import Concept, Name

__all__ = ["HOWS", "Hit", "How", "search"]

How = Literal["exact", "prefix", "fuzzy"]
HOWS: tuple[How, ...] = get_args(How)
# "a" begins a tenth of all names: few of them are ranked at first, more only where a filter turns these down.
_FIRST_RANKED, _MORE_RANKED = 64, 16
# Of these letters lower case is what folding comes to, and a column does it at once; the others go through Python.
_PLAIN = r"^[\x00-\x7FÀ-ÖØ-Þà-öø-ÿŒœ]*$"


@dataclass(frozen=True, slots=True)
class Hit:
    """One concept that was found.

    Attributes:
        code: of the concept.
        name: the name of it that was found, as the vocabulary writes it.
        language: of the name.
        preferred_name: of the concept.
        groups: of the concept.
        score: 0 to 100: 100 for the very name, the share of the name that the prefix is, or rapidfuzz's `token_sort_ratio`.
        how: what found it.
    """

    code: str
    name: str
    language: str
    preferred_name: str
    groups: tuple[str, ...]
    score: float
    how: How


@dataclass(frozen=True, slots=True)
class _Request:
    kb: KnowledgeBase
    key: str
    group: str | None
    language: str | None
    limit: int
    cutoff: float

    def passes(self, concept: Concept) -> bool:
        return self.group is None or self.group in concept.groups

    def names(self, concept: Concept) -> list[Name]:
        return [name for name in concept.names if self.language in (None, name.language)]


def search(
    kb: KnowledgeBase,
    text: str,
    hows: Sequence[How] = HOWS,
    *,
    group: str | None = None,
    language: str | None = None,
    limit: int = 20,
    cutoff: float = 70.0,
) -> list[Hit]:
    """Concepts whose names are, begin with, or look like a text; case and width aside, each concept once.

    Exact hits come first, by code; then prefix hits, the shortest name first, then by folded name and code; then fuzzy ones, by
    score, then name and code.  Exact and prefix look-ups use the index alone; a fuzzy one reads all names.

    Args:
        kb: where to look.
        text: a name or a piece of one.
        hows: which ways, tried in the order of HOWS.
        group: only concepts of this semantic group.
        language: only names in this language, an ISO 639-1 code.
        limit: most hits.
        cutoff: lowest score of a fuzzy hit, 0 to 100.

    Raises:
        ConfigError: an empty text, a limit below 1, or a cutoff outside 0 to 100.
        UnknownNameError: no such group, language or way.
    """
    key = fold(text)
    if not key or limit < 1 or not 0 <= cutoff <= 100:
        raise ConfigError("a search needs a text, a limit of 1 or more, and a cutoff from 0 to 100")
    _check("group", group, kb.groups)
    _check("language", language, kb.manifest.languages)
    for how in hows:
        _check("way to search", how, HOWS)
    request = _Request(kb, key, group, language, limit, cutoff)
    found: dict[str, Hit] = {}
    for how in HOWS:
        hits = _WAYS[how](request) if how in hows else iter(())
        while len(found) < limit and (hit := next(hits, None)) is not None:
            found.setdefault(hit.code, hit)
    return list(found.values())


def _check(kind: str, given: str | None, known: Sequence[str]) -> None:
    if given is not None and given not in known:
        raise UnknownNameError(kind, given, known)


def _hit(concept: Concept, name: Name, score: float, how: How) -> Hit:
    return Hit(concept.code, name.text, name.language, concept.preferred_name, concept.groups, round(score, 1), how)


def _exact(request: _Request) -> Iterator[Hit]:
    for concept in map(request.kb.concept, request.kb.codes_of(request.key)):
        same = [name for name in request.names(concept) if fold(name.text) == request.key]
        if same and request.passes(concept):
            yield _hit(concept, same[0], 100, "exact")


def _prefix(request: _Request) -> Iterator[Hit]:
    """The shortest names first, then by folded name and code; each concept is made only when its turn comes."""
    done, wanted = 0, max(_FIRST_RANKED, 2 * request.limit)
    while True:
        ranked = heapq.nsmallest(wanted, ((len(folded), folded, code) for folded, code in request.kb.names_starting_with(request.key)))
        for length, folded, code in ranked[done:]:
            concept = request.kb.concept(code)
            found = [name for name in request.names(concept) if fold(name.text) == folded]
            if found and request.passes(concept):
                yield _hit(concept, found[0], 100 * len(request.key) / length, "prefix")
        if len(ranked) < wanted:
            return
        done, wanted = wanted, wanted * _MORE_RANKED


def _fuzzy(request: _Request) -> Iterator[Hit]:
    from rapidfuzz import fuzz, process

    names = _comparable(request)
    choices = names["folded"].to_list()
    matches = process.extract(request.key, choices, scorer=fuzz.token_sort_ratio, score_cutoff=request.cutoff, limit=None)
    # Ties go by name and code, so that the same question gets the same answer.
    rows = pl.DataFrame({"at": [at for _, _, at in matches], "score": [score for _, score, _ in matches]}, schema={"at": pl.UInt32, "score": pl.Float64})
    best = names.with_row_index("at").join(rows, on="at").sort("score", "text", "concept", "language", descending=[True, False, False, False])
    best = best.unique("concept", keep="first", maintain_order=True).head(2 * request.limit)
    codes = request.kb.table("concepts")["code"].gather(best["concept"])
    for code, text, language, score in zip(codes, *(best[column] for column in ("text", "language", "score")), strict=True):
        concept = request.kb.concept(code)
        yield _hit(concept, Name(text, language), score, "fuzzy")


def _comparable(request: _Request) -> pl.DataFrame:
    """Names that can reach the cutoff by their length. Columns: text, language, concept, folded."""
    names = request.kb.table("names").lazy()
    if request.language is not None:
        names = names.filter(pl.col("language") == request.language)
    if request.group is not None:
        wanted = request.kb.table("concepts").lazy().with_row_index("concept").filter(pl.col("groups").list.contains(request.group))
        names = names.join(wanted.select("concept"), on="concept", how="semi")
    # The ratio is 2 · shared / (a + b) with at most the shorter one shared: that much longer or shorter, and no name gets there.
    length, least = len(request.key), request.cutoff / (200 - request.cutoff)
    chars = pl.col("folded").str.len_chars()
    near = (chars >= length * least) & (chars * least <= length)
    wanted, plain = names.select("text", "language", "concept"), pl.col("text").str.contains(_PLAIN)
    lowered = wanted.filter(plain).with_columns(folded=pl.col("text").str.to_lowercase()).filter(near).collect()
    others = wanted.filter(~plain).collect()
    folded = others.with_columns(pl.Series("folded", [fold(text) for text in others["text"]], pl.String)).filter(near)
    return pl.concat([lowered, folded])


_WAYS: dict[How, Callable[[_Request], Iterator[Hit]]] = {"exact": _exact, "prefix": _prefix, "fuzzy": _fuzzy}
