"""Searching names, against reading all of them."""

import re

import pytest
from rapidfuzz import fuzz

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.search import _PLAIN, search
from syncabel.text import fold
from syncabel.types import Concept, Name


@pytest.fixture(scope="module")
def kb() -> KnowledgeBase:
    return KnowledgeBase.build(
        [
            Concept("A:1", (Name("Heart attack", preferred=True), Name("infarctus", "fr"), Name("heart attack, acute")), ("Disease",)),
            Concept("A:2", (Name("heart", preferred=True), Name("cœur", "fr")), ("Anatomy",)),
            Concept("A:3", (Name("hart attack", preferred=True), Name("ＨＥＡＲＴ")), ("Disease",)),
        ],
        About("test"),
    )


def test_exact_comes_before_prefix_before_fuzzy_and_each_concept_once(kb: KnowledgeBase) -> None:
    assert [(hit.code, hit.how) for hit in search(kb, "heart")] == [("A:2", "exact"), ("A:3", "exact"), ("A:1", "prefix")]
    hits = search(kb, "HEART  attack")
    assert [(hit.code, hit.how, hit.name) for hit in hits] == [("A:1", "exact", "Heart attack"), ("A:3", "fuzzy", "hart attack")]
    assert hits[0].score == 100
    assert hits[1].score == round(fuzz.token_sort_ratio("heart attack", "hart attack"), 1)


def test_a_hit_says_which_name_it_was_and_of_which_concept(kb: KnowledgeBase) -> None:
    (hit,) = search(kb, "cœur", ["exact"])
    assert (hit.name, hit.language, hit.preferred_name, hit.groups) == ("cœur", "fr", "heart", ("Anatomy",))


def test_group_language_and_limit_narrow_every_way(kb: KnowledgeBase) -> None:
    assert [hit.code for hit in search(kb, "heart", group="Disease")] == ["A:3", "A:1"]
    assert search(kb, "heart attack", language="fr") == []
    assert [hit.name for hit in search(kb, "infar", language="fr")] == ["infarctus"]
    assert [hit.name for hit in search(kb, "infarctuss", ["fuzzy"], language="fr", group="Disease")] == ["infarctus"]
    assert len(search(kb, "heart", limit=1)) == 1


def test_the_shortest_name_with_a_prefix_comes_first(kb: KnowledgeBase) -> None:
    hits = search(kb, "hea", ["prefix"])
    assert [(hit.code, hit.name) for hit in hits] == [("A:2", "heart"), ("A:3", "ＨＥＡＲＴ"), ("A:1", "Heart attack")]
    assert hits[0].score == 60


@pytest.mark.parametrize("text", ["diabtes mellitus", "carcinoma of breast", "mitral stenosis", "anaemia", "x"])
@pytest.mark.parametrize("cutoff", [60.0, 85.0, 100.0])
def test_fuzzy_hits_are_those_of_scoring_every_name(text: str, cutoff: float) -> None:
    doid = KnowledgeBase.load("doid")
    best: dict[str, float] = {}
    for concept in doid.concepts():
        score = max(fuzz.token_sort_ratio(fold(text), fold(name.text)) for name in concept.names)
        if score >= cutoff:
            best[concept.code] = round(score, 1)
    hits = search(doid, text, ["fuzzy"], cutoff=cutoff, limit=10_000)
    assert {hit.code: hit.score for hit in hits} == best
    assert [hit.score for hit in hits] == sorted(best.values(), reverse=True)


def test_exact_and_prefix_read_no_tables() -> None:
    doid = KnowledgeBase.load("doid")
    indexed = KnowledgeBase(doid.manifest, refuse_to_read, lambda: doid.table("retired"), doid._index)
    assert search(indexed, "breast cancer", ["exact", "prefix"], limit=5)[0].code == "DOID:1612"


def refuse_to_read(name: str) -> None:
    raise AssertionError(f"{name} was read")


def test_wrong_requests_are_refused(kb: KnowledgeBase) -> None:
    for text, limit, cutoff in ((" ", 1, 70.0), ("x", 0, 70.0), ("x", 1, 101.0)):
        with pytest.raises(ConfigError):
            search(kb, text, limit=limit, cutoff=cutoff)
    with pytest.raises(UnknownNameError, match="Anatomy"):
        search(kb, "x", group="Anatomi")
    with pytest.raises(UnknownNameError, match="language"):
        search(kb, "x", language="de")


def test_the_shortest_names_of_many_with_a_prefix_are_found() -> None:
    doid = KnowledgeBase.load("doid")
    ranked = sorted({(len(fold(name.text)), fold(name.text), concept.code) for concept in doid.concepts() for name in concept.names})
    best = list(dict.fromkeys(code for _, folded, code in ranked if folded.startswith("c")))
    for limit in (3, 100, len(best)):
        assert [hit.code for hit in search(doid, "c", ["prefix"], limit=limit)] == best[:limit]


def test_a_filter_that_turns_down_all_short_names_still_gets_its_hits() -> None:
    concepts = [Concept(f"A:{i:04}", (Name(f"a{i:04}"),), ("Common",)) for i in range(1_500)]
    kb = KnowledgeBase.build([*concepts, Concept("B:1", (Name("a long name"),), ("Rare",)), Concept("B:2", (Name("avec", "fr"),), ("Common",))], About("t"))
    assert [hit.code for hit in search(kb, "a", ["prefix"], group="Rare", limit=2)] == ["B:1"]
    assert [hit.code for hit in search(kb, "a", ["prefix"], language="fr", limit=2)] == ["B:2"]


def test_fuzzy_folds_names_as_the_index_does() -> None:
    names = ("ＡＳＴＨＭＡ", "Straßenstaublunge", "ﬁbrose", "Œdème", "e\u0301pilepsie", "Ǆungel")
    kb = KnowledgeBase.build([Concept(f"A:{i}", (Name(name),), ("G",)) for i, name in enumerate(names)], About("t"))
    for i, name in enumerate(names):
        assert [(hit.code, hit.score) for hit in search(kb, fold(name), ["fuzzy"], cutoff=100)] == [(f"A:{i}", 100)]
    assert [hit.code for hit in search(kb, "astma", ["fuzzy"])] == ["A:0"]


def test_letters_that_are_not_folded_one_by_one_fold_to_their_lower_case() -> None:
    plain = [character for character in map(chr, range(0x20, 0x300)) if re.match(_PLAIN, character) and not character.isspace() and character != "\x7f"]
    assert len(plain) > 150
    assert all(fold(character) == character.lower() for character in plain)
