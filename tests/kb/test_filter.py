"""Parts of a knowledge base: what passes, and what becomes of the hierarchy."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from syncabel.cli.kb import app
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.kb.select import Filter, select
from syncabel.types import Concept, MapRule, Name, Rejection, Relation


def term(code: str, *names: Name, parents: tuple[str, ...] = (), **rest: Any) -> Concept:
    fields = {"groups": ("Disease",), **rest}
    return Concept(code, names or (Name(f"name of {code}", preferred=True),), parents=parents, **fields)


@pytest.fixture(scope="module")
def kb() -> KnowledgeBase:
    return KnowledgeBase.build(
        [
            term("R", types=("T1",)),
            term("A", parents=("R",), groups=("Finding",), definition="d"),
            term("B", Name("bee", preferred=True), Name("abeille", "fr", preferred=True), Name("wasp", scope="related"), parents=("A",), alt_codes=("B2",)),
            term("C", Name("ciel", "fr"), Name("sky", scope="broad"), parents=("A", "R"), types=("T2",)),
            Relation("A", "r", "B"),
            Relation("B", "r", "C"),
            MapRule("A", "I:1"),
        ],
        About("test", filters=("before=1",)),
    )


def test_concepts_pass_by_group_type_definition_and_code(kb: KnowledgeBase) -> None:
    cases = {
        Filter(groups=("Finding",)): ("A",),
        Filter(groups=("Disease", "Finding")): ("A", "B", "C", "R"),
        Filter(types=("T1", "T2")): ("C", "R"),
        Filter(with_definition=True): ("A",),
        Filter(codes=("B2", "C")): ("B", "C"),
        Filter(descendants_of=("A",)): ("A", "B", "C"),
        Filter(descendants_of=("R",), groups=("Disease",), types=("T2",)): ("C",),
    }
    for wanted, codes in cases.items():
        assert select(kb, wanted).codes == codes


def test_names_pass_by_language_scope_and_preference(kb: KnowledgeBase) -> None:
    french = select(kb, Filter(languages=("fr",)))
    assert {concept.code: [name.text for name in concept.names] for concept in french.concepts()} == {"B": ["abeille"], "C": ["ciel"]}
    assert french.manifest.languages == ("fr",)
    assert french.rejections == (Rejection("test", "A", "no_name_left", ""), Rejection("test", "R", "no_name_left", ""))
    assert select(kb, Filter(scopes=("broad", "related"))).codes == ("B", "C")
    assert [name.text for name in select(kb, Filter(only_preferred=True))["B"].names] == ["bee", "abeille"]


def test_a_concept_without_a_preferred_name_goes_by_its_first(kb: KnowledgeBase) -> None:
    assert [name.text for name in select(kb, Filter(only_preferred=True))["C"].names] == ["ciel"]


def test_nearest_kept_ancestors_take_the_place_of_parents_that_are_left_out(kb: KnowledgeBase) -> None:
    found = select(kb, Filter(groups=("Disease",)))
    assert found.codes == ("B", "C", "R")
    assert (found.parents("B"), found.parents("C")) == (("R",), ("R",))
    assert found["B"].parents == ("R",)


def test_what_lies_above_another_new_parent_is_not_repeated() -> None:
    kb = KnowledgeBase.build([term("R"), term("K", parents=("R",)), term("X", parents=("R",), groups=("Other",)), term("L", parents=("X", "K"))], About("test"))
    assert select(kb, Filter(groups=("Disease",)))["L"].parents == ("K",)


def test_relations_stay_where_both_ends_do_and_maps_with_their_concept(kb: KnowledgeBase) -> None:
    found = select(kb, Filter(groups=("Disease",)))
    assert list(found.relations()) == [Relation("B", "r", "C")]
    assert found.manifest.maps == 0


def test_what_was_asked_stands_in_the_manifest_and_unknown_codes_are_listed(kb: KnowledgeBase) -> None:
    found = select(kb, Filter(groups=("Disease",), codes=("B", "none"), only_preferred=True))
    assert found.about.filters == ("before=1", "groups=Disease", "codes=2 codes", "only_preferred=yes")
    assert Rejection("test", "none", "unknown_code", "") in found.rejections


@pytest.mark.parametrize(
    "wanted", [Filter(groups=("Diseases",)), Filter(types=("T",)), Filter(languages=("de",)), Filter(scopes=("near",)), Filter(descendants_of=("Z",))]
)
def test_names_nobody_declared_are_refused(kb: KnowledgeBase, wanted: Filter) -> None:
    with pytest.raises(UnknownNameError):
        select(kb, wanted)


@pytest.mark.parametrize("wanted", [Filter(), Filter(groups=("Finding",), types=("T1",))])
def test_nothing_asked_and_nothing_left_are_refused(kb: KnowledgeBase, wanted: Filter) -> None:
    with pytest.raises(ConfigError):
        select(kb, wanted)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_ancestors_that_are_kept_stay_ancestors(data: st.DataObject) -> None:
    codes = [f"X:{i}" for i in range(8)]
    concepts = []
    for i, code in enumerate(codes):
        parents = tuple(other for other in codes[:i] if data.draw(st.integers(0, 3)) == 0)
        concepts.append(term(code, parents=parents, groups=(data.draw(st.sampled_from(["Kept", "Gone"])),)))
    kb = KnowledgeBase.build([*concepts, term("Z", groups=("Kept",))], About("test"))
    part = select(kb, Filter(groups=("Kept",)))
    for code in part.codes:
        assert set(part.ancestors(code)) == {other for other in kb.ancestors(code) if other in part}


def test_names_are_mended_by_the_rules_asked_for_and_each_change_is_written(tmp_path: Path) -> None:
    names = (Name("Asthma, NOS", preferred=True), Name("ASTHMA"), Name("Asthma"))
    KnowledgeBase.build([Concept("A:1", names, ("Disease",))], About("test")).save(tmp_path / "kb")
    done = CliRunner().invoke(app, ["filter", str(tmp_path / "kb"), "--normalize", "--changes", str(tmp_path / "c.jsonl"), "-o", str(tmp_path / "all")])
    assert done.exit_code == 0, done.output
    assert [name.text for name in KnowledgeBase.load(tmp_path / "all")["A:1"].names] == ["Asthma"]
    rules = [json.loads(line)["rule"] for line in (tmp_path / "c.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(rules) == ["all_capitals_twins", "not_otherwise_specified"]
    CliRunner().invoke(app, ["filter", str(tmp_path / "kb"), "--rules", "all_capitals_twins", "-o", str(tmp_path / "one")])
    assert [name.text for name in KnowledgeBase.load(tmp_path / "one")["A:1"].names] == ["Asthma, NOS", "Asthma"]


def test_siblings_below_one_that_is_left_out_ask_for_its_ancestors_once() -> None:
    count = 400
    tops = tuple(f"P:{i:03}" for i in range(count))
    below = [term(f"C:{i:03}", parents=("X",)) for i in range(count)]
    kb = KnowledgeBase.build([*map(term, tops), term("X", parents=tops, groups=("Gone",)), *below], About("test"))
    began = time.process_time()
    found = select(kb, Filter(groups=("Disease",)))
    assert time.process_time() - began < 3  # one look at each pair of parents for each child took more than twice that
    assert all(found[f"C:{i:03}"].parents == tops for i in (0, count - 1))


def test_stated_parents_stay_though_they_lie_above_others_and_unknown_ones_too() -> None:
    concepts = [term("R"), term("K", parents=("R",)), term("X", parents=("K", "R"), groups=("Gone",)), term("L", parents=("R", "X", "none"))]
    assert select(KnowledgeBase.build(concepts, About("test")), Filter(groups=("Disease",)))["L"].parents == ("R", "K", "none")
