"""Two systems on the same mentions: against loops, enumeration, hand-worked tables, a simulated null and the published figures."""

import doctest
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from syncabel import bootstrap
from syncabel.bootstrap import EXACT_FLIPS, flip_p, paired_difference, sign_flip_test
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate import compare, compare_pair, compare_strata, compare_systems, comparison_json, difference_json, holm, mcnemar
from syncabel.evaluate.compare import FEW_DOCUMENTS, refuse_other_mentions

DOCUMENTS = ["10", "9", "9", "b", "b", "b", "10", "a"]
FIRST = [1, 0, 1, 1, 1, 0, 0, 1]
SECOND = [0, 0, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("module", [compare, bootstrap])
def test_the_worked_examples_hold(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_with_one_seed_the_interval_is_the_published_one():
    found, published = compare_pair(DOCUMENTS, FIRST, SECOND), paired_difference(DOCUMENTS, FIRST, SECOND)
    assert (found.delta, found.ci95) == (published.delta, published.ci95)
    assert (found.only_a, found.only_b) == (published.only_first, published.only_second)


def test_with_several_seeds_the_interval_is_that_of_a_naive_loop():
    first, second, rounds = [FIRST, SECOND, [1] * 8], [SECOND, [0] * 8], 200
    names = sorted(set(DOCUMENTS))
    of_documents, of_a, of_b = np.random.default_rng(42), np.random.default_rng([42, 0]), np.random.default_rng([42, 1])
    deltas = []
    for _ in range(rounds):
        drawn = dict(zip(names, of_documents.multinomial(4, [0.25] * 4), strict=True))
        total = sum(drawn[document] for document in DOCUMENTS)
        mean = {}
        for side, rows, stream in (("a", first, of_a), ("b", second, of_b)):
            picked = stream.multinomial(len(rows), [1 / len(rows)] * len(rows))
            mean[side] = sum(times * drawn[d] * x for times, row in zip(picked, rows, strict=True) for d, x in zip(DOCUMENTS, row, strict=True)) / len(rows)
        deltas.append((mean["a"] - mean["b"]) / total)
    found = compare_pair(DOCUMENTS, first, second, rounds=rounds)
    assert found.ci95 == pytest.approx(tuple(np.quantile(deltas, [0.025, 0.975])), abs=1e-12)


def test_seeds_that_differ_widen_the_interval_and_equal_ones_change_nothing():
    documents = [str(i // 4) for i in range(160)]
    rng = np.random.default_rng(0)
    base = (rng.random(160) < 0.7).astype(float)
    good, bad = np.maximum(base, rng.random(160) < 0.3), np.minimum(base, rng.random(160) < 0.6)
    one = compare_pair(documents, base, np.zeros(160))
    same = compare_pair(documents, [base, base, base], np.zeros(160))
    apart = compare_pair(documents, [good, bad, base], np.zeros(160))
    assert same.ci95 == pytest.approx(one.ci95, abs=1e-12)
    assert apart.ci95[1] - apart.ci95[0] > 1.5 * (one.ci95[1] - one.ci95[0])


def test_signs_are_flipped_on_documents_averaged_over_seeds():
    seeds = [FIRST, [0, 0, 1, 1, 1, 1, 0, 1]]
    found = compare_pair(DOCUMENTS, seeds, SECOND)
    sums = [sum(x - y for d, x, y in zip(DOCUMENTS, np.mean(seeds, 0), SECOND, strict=True) if d == name) for name in sorted(set(DOCUMENTS))]
    arrangements = [abs(np.dot(signs, sums)) >= abs(sum(sums)) - 1e-9 for signs in itertools.product((-1, 1), repeat=4)]
    assert found.p_sign_flip == np.mean(arrangements)
    assert found.p_mcnemar is None
    assert (found.only_a, found.only_b) == ((3 + 2) / 2, (1 + 0) / 2)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_few_documents_have_every_arrangement_of_signs_looked_at(differences):
    every = [abs(np.dot(signs, differences)) >= abs(sum(differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    assert flip_p(differences) == pytest.approx(np.mean(every), abs=1e-12)


@pytest.mark.parametrize("count", [5, EXACT_FLIPS, EXACT_FLIPS + 1, 60])
def test_a_comparison_has_one_p_wherever_it_is_printed(count):
    rng = np.random.default_rng(1)
    documents, first, second = [f"{i:03}" for i in range(count)], rng.random(count), rng.random(count)
    everything = {"kind": {"all": [True] * count}}
    found = {
        sign_flip_test(first, second, documents),
        sign_flip_test(second, first, documents),
        flip_p(first - second),
        compare_pair(documents, first, second).p_sign_flip,
        compare_systems(documents, {"a": first, "b": second}).pairs[0].difference.p_sign_flip,
        compare_strata(documents, first, second, everything)["kind"]["all"].p_sign_flip,
    }
    assert len(found) == 1
    arrangements = found.pop() * (2**count if count <= EXACT_FLIPS else 10_001)  # all of them, or those drawn
    assert arrangements == pytest.approx(round(arrangements), abs=1e-9)


def null_systems(rng, documents=15, mentions=146):
    """Two equally good systems; on the mentions of a document both the level and which of the two is better go together."""
    level = rng.uniform(0.5, 0.9, documents)
    tilt = rng.normal(0, 0.08, documents)
    chance = np.stack([level + tilt, level - tilt]).clip(0, 1).repeat(mentions, 1)
    return (rng.random(chance.shape) < chance).astype(float)


def test_under_the_null_sign_flips_keep_their_level_and_mcnemar_does_not():
    rng, rounds = np.random.default_rng(7), 600
    names = [str(i) for i in range(15) for _ in range(146)]
    flips = tests = 0
    for _ in range(rounds):
        first, second = null_systems(rng)
        flips += flip_p((first - second).reshape(15, 146).sum(1)) <= 0.05
        tests += mcnemar(first, second) <= 0.05
    assert flips / rounds <= 0.07
    assert tests / rounds > 0.4
    found = compare_pair(names, first, second, rounds=200)
    assert found.p_sign_flip == flip_p((first - second).reshape(15, 146).sum(1))  # the same test, and 15 documents are not yet too many to enumerate


@given(st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_mcnemar_is_the_two_sided_binomial_of_the_discordant_mentions(only_first, only_second):
    first, second = [1] * only_first + [0] * only_second + [1, 0], [0] * only_first + [1] * only_second + [1, 0]
    n = only_first + only_second
    wanted = min(1.0, 2 * binom.cdf(min(only_first, only_second), n, 0.5)) if n else 1.0
    assert mcnemar(first, second) == pytest.approx(wanted, rel=1e-9)
    assert mcnemar(second, first) == pytest.approx(wanted, rel=1e-9)


P_VALUES = st.lists(st.floats(0, 1), max_size=8)


@given(P_VALUES)
def test_holm_never_lowers_a_p_value_keeps_their_order_and_stays_within_bonferroni(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= min(1, len(p_values) * p) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in itertools.pairwise(order))


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, level):
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = set(itertools.takewhile(lambda i: p_values[i] * (len(p_values) - order.index(i)) <= level, order))
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_every_two_systems_are_compared_or_each_with_a_reference():
    systems = {"a": FIRST, "b": SECOND, "c": [0] * 8}
    every = compare_systems(DOCUMENTS, systems, rounds=200)
    assert [(pair.a, pair.b) for pair in every.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.difference.p_holm for pair in every.pairs] == holm([pair.difference.p_sign_flip for pair in every.pairs])
    against = compare_systems(DOCUMENTS, systems, reference="c", rounds=200)
    assert [(pair.a, pair.b) for pair in against.pairs] == [("a", "c"), ("b", "c")]
    assert against.systems["a"].value == 5 / 8
    with pytest.raises(UnknownNameError, match="unknown system 'd'"):
        compare_systems(DOCUMENTS, systems, reference="d")


def test_under_30_documents_there_is_a_warning_and_from_30_on_none():
    def few(count):
        documents = [str(i) for i in range(count)]
        return compare_systems(documents, {"a": [1] * count, "b": [0] * count}, rounds=50)

    found = few(FEW_DOCUMENTS - 1)
    assert found.warning == found.pairs[0].difference.warning
    assert "29 documents" in found.warning
    assert few(FEW_DOCUMENTS).warning is None


def test_holm_runs_over_the_strata_with_mentions_and_an_empty_one_is_n_0_and_null():
    seen = [True, True, False, False, True, False, True, False]
    strata = {"concept": {"seen": seen, "unseen": [not one for one in seen], "other": [False] * 8}}
    found = compare_strata(DOCUMENTS, FIRST, SECOND, strata, rounds=200)["concept"]
    parts = [found["seen"], found["unseen"]]
    assert [part.n for part in parts] == [4, 4]
    assert [part.p_holm for part in parts] == holm([part.p_sign_flip for part in parts])
    assert sum(part.n * part.delta for part in parts) / 8 == pytest.approx(compare_pair(DOCUMENTS, FIRST, SECOND).delta)
    empty = difference_json(found["other"])
    assert empty["n"] == 0
    assert {empty[key] for key in ("delta", "ci95", "p_sign_flip", "p_holm", "only_a")} == {None}


@pytest.mark.parametrize("seeds", [1, 3])
def test_strata_have_the_differences_of_a_naive_loop_over_the_same_replicates(seeds):
    rng, rounds, n = np.random.default_rng(3), 60, 40
    documents = [f"d{i}" for i in [*range(7), *rng.integers(0, 7, n - 7)]]
    a, b = (rng.random((seeds, n)) < 0.6), (rng.random((2, n)) < 0.5)
    strata = {"kind": {"many": list(rng.random(n) < 0.7), "some": list(rng.random(n) < 0.3), "two": [True, True, *([False] * (n - 2))]}}
    found = compare_strata(documents, a, b, strata, rounds=rounds)["kind"]
    names = sorted(set(documents))
    of_documents, of_a, of_b = np.random.default_rng(42), np.random.default_rng([42, 0]), np.random.default_rng([42, 1])
    deltas = {value: [] for value in found}
    for _ in range(rounds):
        times = dict(zip(names, of_documents.multinomial(7, [1 / 7] * 7), strict=True))
        picked = [of.multinomial(len(side), [1 / len(side)] * len(side)) / len(side) for of, side in ((of_a, a), (of_b, b))]
        for value, members in strata["kind"].items():
            inside = [i for i in range(n) if members[i]]
            total = sum(times[documents[i]] for i in inside)
            means = [sum(w * times[documents[i]] * row[i] for w, row in zip(part, side, strict=True) for i in inside)
                     for part, side in zip(picked, (a, b), strict=True)]  # fmt: skip
            deltas[value] += [(means[0] - means[1]) / total] if total else []
    assert 0 < len(deltas["two"]) < len(deltas["some"]) == len(deltas["many"]) == rounds  # some draw neither of the two mentions' documents
    for value, one in found.items():
        assert one.ci95 == pytest.approx(tuple(np.quantile(deltas[value], [0.025, 0.975])), abs=1e-12)
        tail = min(sum(x <= 1e-12 for x in deltas[value]), sum(x >= -1e-12 for x in deltas[value])) + 1
        assert one.p_bootstrap == pytest.approx(min(1, 2 * tail / (len(deltas[value]) + 1)))


def test_of_a_stratum_all_but_interval_and_bootstrap_is_that_of_its_mentions_alone_and_documents_are_drawn_once_for_all():
    rng, n = np.random.default_rng(4), 300
    documents = [str(i) for i in rng.integers(0, 60, n)]
    a, b = rng.random(n) < 0.6, rng.random(n) < 0.5
    masks = {str(i): rng.random(n) < 0.1 * (i + 1) for i in range(9)} | {"all": np.ones(n, bool), "none": np.zeros(n, bool)}
    bootstrap._drawn_once.cache_clear()
    found = compare_strata(documents, a, b, {"kind": masks}, rounds=500)["kind"]
    assert bootstrap._drawn_once.cache_info().misses == 1
    for value, mask in masks.items():
        if value != "none":
            alone = compare_pair([d for d, there in zip(documents, mask, strict=True) if there], a[mask], b[mask], rounds=500)
            ours = {**difference_json(found[value]), "p_holm": None}
            resampled = {} if value == "all" else {"ci95": ours["ci95"], "p_bootstrap": ours["p_bootstrap"]}
            assert ours == {**difference_json(alone), "p_holm": None, **resampled}, value
    assert found["none"] is None


@pytest.mark.parametrize("seeds", [3, 5, 7])
def test_seeds_that_all_say_the_same_are_as_one_seed_and_replicates_without_a_difference_are_ties(seeds):
    documents = [str(i // 4) for i in range(60)]
    first = (np.random.default_rng(0).random(60) < 0.6).astype(float)
    second = np.where(np.arange(60) == 0, 1 - first, first)
    alone, several = compare_pair(documents, first, second), compare_pair(documents, [first] * seeds, [second] * seeds)
    assert several.p_bootstrap == alone.p_bootstrap
    assert several.ci95 == pytest.approx(alone.ci95, abs=1e-12)


def test_a_stratum_that_no_replicate_draws_may_be_anything():
    documents = [str(i) for i in range(50)]
    one = {"kind": {"one": [True] + [False] * 49}}
    found = [compare_strata(documents, [1] * 50, [0] * 50, one, rounds=1, seed=seed)["kind"]["one"] for seed in range(8)]
    assert {difference.ci95 for difference in found} == {(-1.0, 1.0), (1.0, 1.0)}
    assert {difference.p_bootstrap for difference in found} == {1.0}


def test_the_json_has_no_nan_and_counts_as_whole_numbers():
    found = comparison_json(compare_systems(DOCUMENTS, {"a": [FIRST, SECOND], "b": SECOND}, rounds=200))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["systems"]["a"]["seeds"] == [5 / 8, 3 / 8]
    whole = difference_json(compare_pair(DOCUMENTS, FIRST, SECOND, rounds=50))
    assert (whole["only_a"], whole["only_b"]) == (3, 1)
    assert type(whole["only_a"]) is int


@pytest.mark.parametrize(
    ("systems", "problem"),
    [
        ({"a": [1] * 8}, "1 systems"),
        ({"a": [1] * 8, "b": [1] * 7}, "b: 7 scores for 8 mentions"),
        ({"a": [1] * 8, "b": [[1] * 8, [1] * 7]}, "b: scores are no numbers, or its seeds"),
        ({"a": [1] * 8, "b": [float("nan")] * 8}, "b: a score is NaN"),
        ({"a": [1] * 8, "b": []}, "b: 0 scores for 8"),
    ],
)
def test_scores_of_other_lengths_or_no_numbers_are_refused(systems, problem):
    with pytest.raises(ConfigError, match=problem):
        compare_systems(DOCUMENTS, systems)


def test_no_mention_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        compare_systems([], {"a": [], "b": []})


def test_other_mentions_are_refused_with_the_difference_listed():
    first, second = [("d", i) for i in range(6)], [("d", 0), ("e", 1)]
    with pytest.raises(ConfigError, match=r"5 only in A \(d:1, d:2, d:3, …\); 1 only in B \(e:1\); compare systems on the same"):
        refuse_other_mentions(first, second, ("A", "B"))
    refuse_other_mentions(first, first[::-1])


@pytest.mark.parametrize("corpus", ["EMEA", "MEDLINE"])
def test_the_published_pairs_have_their_published_difference(corpus, shared_data: Path):
    from syncabel.evaluate import compare_tables, read_tsv

    wanted = json.loads((shared_data / "predictions" / "expected.json").read_text(encoding="utf-8"))["paired_delta_released_pct"][corpus]
    found = compare_tables(*(read_tsv(shared_data / "predictions" / f"{corpus}_{name}.tsv") for name in ("with", "without")))
    assert [round(100 * value, 2) for value in (found.delta, *found.ci95)] == [wanted["delta"], *wanted["ci95"]]
    assert (found.only_a, found.only_b) == (wanted["only_with"], wanted["only_without"])
    assert found.p_sign_flip < 0.001


def test_the_p_of_the_bootstrap_is_twice_the_share_on_the_other_side_of_0():
    documents, first, second = [f"d{i}" for i in range(6)], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]
    drawn = np.random.default_rng(42).multinomial(6, [1 / 6] * 6, size=999)
    other_side = int((drawn @ np.subtract(first, second) <= 0).sum())
    assert 0 < other_side < 400
    assert compare_pair(documents, first, second, rounds=999).p_bootstrap == pytest.approx(2 * (other_side + 1) / 1000)
