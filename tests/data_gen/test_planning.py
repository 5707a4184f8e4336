"""Which concepts are written about: hand-worked orders, properties over drawn knowledge bases, brute force for what is counted."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.planning import Budget, Cost, Estimate, confusability, estimate, expected_use, plan
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.text import fold
from syncabel.types import Concept, Name

ROOT = Path(__file__).resolve().parents[2]
ABOUT = About(source="test", release="1", licence="CC0-1.0", redistributable=True)


def base(rows):
    """A knowledge base of (code, names, group or groups, alternative codes…)."""
    concepts = []
    for code, names, groups, *rest in rows:
        texts = [names] if isinstance(names, str) else names
        all_names = tuple(Name(text, preferred=i == 0) for i, text in enumerate(texts))
        concepts.append(Concept(code, all_names, (groups,) if isinstance(groups, str) else groups, alt_codes=tuple(rest)))
    return KnowledgeBase.build(concepts, ABOUT)


@pytest.fixture(scope="module")
def ward():
    return base(
        [
            ("A", "asthma", "Disease"),
            ("B", "bronchitis", "Disease"),
            ("C", "croup", "Disease"),
            ("D", "dyspnoea", "Finding"),
            ("E", "emphysema", "Disease"),
            ("F", "fever", "Finding", "F.old"),
            ("G", "gout", "Disease"),
            ("H", "hiccup", "Finding"),
        ]
    )


USE = {"A": 9, "B": 5, "C": 4, "D": 4, "E": 1, "F": 100, "H": 5}
CONFUSABLE = {"A": 0.1, "B": 0.2, "C": 0.7, "D": 0.3, "H": 0.1}
#   step 8–15: A                                   (trained: last of all, with F)
#   step 4–7:  Disease C .7, B .2; Finding D .3, H .1: first turn C, D; second turn B, H
#   step 1:    E        step 0: G
ORDER = ["C", "D", "B", "H", "E", "G", "F", "A"]


def ordered(kb, budget, **rest):
    return list(plan(kb, select="budget", budget=budget, **rest).codes)


def test_the_order_is_unseen_then_use_in_powers_of_two_then_groups_in_turn_then_confusability(ward):
    assert ordered(ward, Budget(requests=99), trained=["F", "A"], use=USE, confusability=CONFUSABLE) == ORDER


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_budget_in_requests_takes_the_beginning_of_the_order(ward, limit):
    found = ordered(ward, Budget(requests=3 * limit + 2), trained=["F", "A"], use=USE, confusability=CONFUSABLE, per_concept=3)
    assert found == ORDER[:limit]


def test_a_budget_in_tokens_ends_before_the_concept_that_breaks_it(ward):
    costs = {code: Cost(1, 10, 10 * i) for i, code in enumerate(ORDER)}  # tokens 10, 20, 30, …
    budget = Budget(tokens=65)
    done = plan(ward, select="budget", budget=budget, trained=["F", "A"], use=USE, confusability=CONFUSABLE, cost=costs.__getitem__)
    assert done.codes == ("C", "D", "B")
    assert (done.facts.requests, done.facts.tokens, done.facts.beyond_budget) == (3, 60, 5)


def test_the_facts_add_up_and_say_what_the_budget_covered(ward):
    done = plan(ward, select="budget", budget=Budget(requests=4), trained=["F.old", "A", "nowhere:1"], use=USE, confusability=CONFUSABLE)
    facts = done.facts
    assert (facts.concepts, facts.unseen, facts.planned, facts.planned_unseen, facts.beyond_budget) == (8, 6, 4, 4, 4)
    assert facts.groups == {"Disease": 2, "Finding": 2}
    assert (facts.use, facts.planned_use) == (128, 4 + 4 + 5 + 5)


def test_all_takes_every_concept_in_code_order(ward):
    assert plan(ward).codes == tuple("ABCDEFGH")
    assert plan(ward, trained=["A"]).codes == tuple("ABCDEFGH")


def test_unseen_leaves_out_what_training_has_by_any_of_its_codes(ward):
    done = plan(ward, select="unseen", trained=["F.old", "B"])
    assert done.codes == tuple("ACDEGH")
    assert done.facts.passed_over == 2


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"hold_out": 1.5}, "hold_out"),
        ({"hold_out": float("nan")}, "hold_out"),
        ({"per_concept": 0}, "per_concept"),
        ({"select": "budget"}, "needs a budget"),
        ({"select": "all", "budget": Budget(requests=1)}, "takes no budget"),
        ({"select": "budget", "budget": Budget(tokens=10)}, "cost"),
    ],
)
def test_contradictory_settings_are_refused(ward, wrong, word):
    with pytest.raises(ConfigError, match=word):
        plan(ward, **wrong)


def test_an_unknown_selection_names_the_nearest(ward):
    with pytest.raises(UnknownNameError, match="'unseen'"):
        plan(ward, select="unsen")


@pytest.mark.parametrize("wrong", [{}, {"requests": 0}, {"tokens": -5}])
def test_a_budget_of_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match="budget"):
        Budget(**wrong)


CODES = [f"X:{i}" for i in range(40)]
GROUPS = ["Anatomy", "Disease", "Finding"]


@st.composite
def cases(draw):
    codes = draw(st.lists(st.sampled_from(CODES), unique=True, min_size=1))
    rows = [(code, f"name {code}", draw(st.sampled_from(GROUPS))) for code in codes]
    some = st.lists(st.sampled_from(CODES), unique=True)
    use = {code: draw(st.integers(0, 40)) for code in draw(some)}
    confusable = {code: draw(st.sampled_from([0.0, 0.25, 0.5])) for code in draw(some)}
    return rows, {"trained": draw(some), "use": use, "confusability": confusable, "seed": draw(st.integers(0, 3)), "hold_out": draw(st.floats(0, 1))}


@settings(max_examples=25, deadline=None)
@given(cases(), st.sampled_from(["all", "unseen", "budget"]), st.integers(1, 50))
def test_every_concept_is_planned_held_out_passed_over_or_beyond_the_budget(case, select, limit):
    rows, given_ = case
    done = plan(base(rows), select=select, budget=Budget(requests=limit) if select == "budget" else None, **given_)
    facts, trained = done.facts, set(given_["trained"])
    assert facts.concepts == facts.planned + facts.held_out + facts.passed_over + facts.beyond_budget
    assert len(set(done.codes)) == len(done.codes)
    assert not set(done.codes) & set(done.held_out)
    assert not set(done.held_out) & trained
    assert facts.requests == facts.planned == len(done.codes)
    if select == "budget":
        assert facts.requests <= limit


@settings(max_examples=25, deadline=None)
@given(cases(), st.integers(1, 40), st.integers(0, 20))
def test_a_larger_budget_adds_concepts_and_replaces_none(case, limit, more):
    rows, given_ = case
    small, large = (ordered(base(rows), Budget(requests=n), **given_) for n in (limit, limit + more))
    assert large[: len(small)] == small


@settings(max_examples=25, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_concepts_and_counts_come_in_does_not_matter(case, random):
    rows, given_ = case
    mixed = dict(given_, **{name: dict(random.sample(sorted(given_[name].items()), len(given_[name]))) for name in ("use", "confusability")})
    shuffled = random.sample(rows, len(rows))
    assert plan(base(rows), select="budget", budget=Budget(requests=9), **given_) == plan(base(shuffled), select="budget", budget=Budget(requests=9), **mixed)


@settings(max_examples=25, deadline=None)
@given(cases(), st.integers(0, 40))
def test_no_concept_changes_sides_when_the_knowledge_base_grows(case, cut):
    rows, given_ = case
    small, large = base(rows[: cut or 1]), base(rows)
    chosen = {name: given_[name] for name in ("trained", "seed", "hold_out")}
    assert set(plan(small, **chosen).held_out) == set(plan(large, **chosen).held_out) & set(small.codes)


@settings(max_examples=20, deadline=None)
@given(cases(), st.floats(0, 1))
def test_a_larger_share_holds_out_the_same_concepts_and_more(case, share):
    rows, given_ = case
    low, high = sorted((share, given_["hold_out"]))
    kb = base(rows)
    assert set(plan(kb, seed=1, hold_out=low).held_out) <= set(plan(kb, seed=1, hold_out=high).held_out)


def test_about_the_stated_share_is_held_out_and_another_seed_holds_out_others():
    kb = KnowledgeBase.load("doid")
    first, second = (plan(kb, hold_out=0.2, seed=seed) for seed in (1, 2))
    assert 0.185 < first.facts.held_out / len(kb) < 0.215
    both = len(set(first.held_out) & set(second.held_out)) / len(kb)
    assert 0.03 < both < 0.05
    assert plan(kb, hold_out=0, seed=1).held_out == ()
    assert plan(kb, hold_out=1, seed=1).codes == ()


SCRIPT = """
from data_gen.planning import *
from syncabel.kb import KnowledgeBase
kb = KnowledgeBase.load("doid").subset(KnowledgeBase.load("doid").codes[:3000])
use = expected_use(kb, ["breast cancer and asthma", "gout, HIV infectious disease or asthma"])
done = plan(kb, select="budget", trained=set(kb.codes[::3]), use=use, confusability=confusability(kb), hold_out=.1, seed=5, budget=Budget(requests=700))
print(use, done)
"""


def test_the_plan_is_the_same_whatever_the_hash_seed():
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ | {"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, text=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert "planned=700" in runs[0].stdout


def test_an_estimate_scales_the_mean_of_a_sample():
    found = estimate([Cost(1, 300, 60), Cost(2, 500, 120)], 1000, tokens_per_s=25)
    assert found == Estimate(1000, 1500, 400_000, 90_000, 25, 1.0)
    assert found.per_concept == (1.5, 400.0, 90.0, 3.6)


@pytest.mark.parametrize(("sample", "speed"), [([], 10), ([Cost()], 0), ([Cost()], float("nan"))])
def test_an_estimate_needs_a_sample_and_a_speed(sample, speed):
    with pytest.raises(ConfigError):
        estimate(sample, 10, speed)


CLINIC = base(
    [
        ("T:1", ["acute lymphoblastic leukemia", "ALL"], "Disease"),
        ("T:2", ["cold", "common cold"], "Disease"),
        ("T:3", ["chronic obstructive lung disease", "COLD"], "Disease"),
        ("T:4", ["diabetes mellitus", "diabetes"], "Disease"),
        ("T:5", ["type 2 diabetes mellitus", "diabetes mellitus, type 2"], "Disease"),
        ("T:6", ["lung disease", "disease of lung"], "Disease"),
        ("T:7", ["(S)-warfarin poisoning", "C", "7"], "Disease"),
        ("T:8", ["Straße's disease", "lung disease"], "Disease"),
        ("T:9", ["HbS disease", "HbS"], "Disease"),
    ]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all patients with ALL", {"T:1": 1}),
        ("a Cold, and COLD", {"T:2": 2, "T:3": 1}),
        ("Type 2  Diabetes\nMellitus and diabetes", {"T:4": 1, "T:5": 1}),
        ("diabetesmellitus, prediabetes, diabetes-like", {"T:4": 1}),
        ("lung disease", {"T:6": 1, "T:8": 1}),
        ("chronic obstructive lung disease", {"T:3": 1}),
        ("disease of lung disease", {"T:6": 1}),
        ("given (S)-warfarin poisoning; C 7 c", {"T:7": 1}),
        ("STRASSE's disease", {"T:8": 1}),
        ("ß HbS", {}),
        ("hbs, HBS; HbS disease, HbS", {"T:9": 2}),
        ("", {}),
    ],
)
def test_names_are_counted_as_the_table_says(text, expected):
    assert expected_use(CLINIC, [text]) == expected


def is_word(text, at):
    return 0 <= at < len(text) and re.match(r"\w", text[at]) is not None


def brute_force(kb, text):
    """Every name tried at every place: the longest that starts earliest, none inside another; lower-case names only."""
    names = {fold(name.text) for concept in kb.concepts() for name in concept.names if name.text.islower() and len(name.text) > 1}
    folded, at, found = fold(text), 0, Counter()
    while at < len(folded):
        fits = [
            name
            for name in names
            if folded.startswith(name, at) and not (is_word(folded, at - 1) and is_word(folded, at)) and not is_word(folded, at + len(name))
        ]
        if fits:
            longest = max(fits, key=len)
            found.update(kb.codes_of(longest))
            at += len(longest)
        else:
            at += 1
    return dict(sorted(found.items()))


WORDS = ["acute", "lung", "disease", "of", "type", "2", "mellitus", "cold", "ill"]
PHRASES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join).filter(lambda name: name.islower())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(PHRASES, min_size=1, max_size=8, unique=True),
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([" ", "-", ", ", "", "  "])), max_size=14),
)
def test_counting_equals_trying_every_name_everywhere(names, pieces):
    kb = base([(f"N:{i % 5}{i}", [name], "Disease") for i, name in enumerate(names)])
    text = "".join(word + gap for word, gap in pieces)
    assert expected_use(kb, [text]) == brute_force(kb, text)


def test_a_name_in_common_misleads_more_than_short_forms_and_these_more_than_neighbours():
    kb = base(
        [
            ("C:1", ["cold", "coryza"], "D"),
            ("C:2", "cold", "F"),
            ("C:3", "mitral stenosis", "D"),
            ("C:4", "multiple sclerosis", "D"),
            ("C:5", "ataxia 1", "D"),
            ("C:6", "ataxia 2", "D"),
            ("C:7", "influenza", "D"),
        ]
    )
    found = confusability(kb)
    assert list(found) == list(kb.codes)
    assert found["C:1"] == found["C:2"] == pytest.approx(4 / 7 / 2)
    assert found["C:3"] == found["C:4"] == pytest.approx(2 / 7 / 2)
    assert found["C:5"] == found["C:6"] == pytest.approx(1 / 7 / 2)
    assert found["C:7"] == 0


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("diabetes mellitus, type 2", "type 2 diabetes mellitus", True),
        ("spastic paraplegia IV", "spastic paraplegia 11", True),
        ("anaemia a", "anaemia b", True),
        ("benign lung tumour", "malignant lung tumour", True),
        ("lung cancer", "liver cancer", False),
        ("asthma", "gout", False),
        ("chronic heart failure", "acute renal failure", False),
    ],
)
def test_near_names_are_the_same_words_or_all_but_one(one, other, near):
    kb = base([("P:1", one, "D"), ("P:2", other, "D")])
    # The initials may be the same as well: they weigh 1/7 here, a near name 1/14.
    assert ((confusability(kb)["P:1"] * 14) % 2 > 0.5) is near


def test_a_crowd_counts_more_than_a_pair_and_never_reaches_one():
    kb = base([*((f"S:{i:02}", "shared name", "D") for i in range(60)), ("T:1", "twin", "D"), ("T:2", "twin", "D")])
    found = confusability(kb)
    assert found["S:00"] == pytest.approx(59 / 60)  # a name of two words: the name, its initials, its words
    assert found["T:1"] == pytest.approx(4 / 7 / 2)


def test_confusability_of_a_large_vocabulary_takes_seconds():
    """Real names of 11,454 concepts; a family of hundreds that share all but a number is no quadratic affair."""
    found = confusability(KnowledgeBase.load("doid"))
    assert all(0 <= value < 1 for value in found.values())
    assert len(found) == 11_454
