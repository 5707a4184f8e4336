"""Agreement against tables worked out in the literature, scikit-learn, and what published judges say of each other."""

import doctest
import importlib
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from syncabel.errors import ConfigError, FormatError
from syncabel.judge import agreement_of, cohen_kappa, corrected_share, krippendorff_alpha, labels_agreement, read_labels

words = st.sampled_from("abcd")
rated = st.lists(st.tuples(words, words), min_size=1, max_size=40)

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): examples A, B and C, nominal.
BINARY = ("0100000010", "1110010000")
NOMINAL = ("aabbdcccedda", "babbbccceddd")
FOUR = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def units(rows):
    return [[None if word == "." else word for word in unit] for unit in zip(*rows, strict=True)]


@pytest.mark.parametrize(("rows", "alpha"), [(BINARY, 0.095), (NOMINAL, 0.692), (FOUR, 0.743)])
def test_alpha_is_that_of_krippendorff_s_examples(rows, alpha):
    assert krippendorff_alpha(units(rows)) == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ([[20, 5], [10, 15]], 0.4),
        ([[45, 15], [25, 15]], 0.1304),  # the same agreement of 0.6 …
        ([[25, 35], [5, 35]], 0.2593),  # … beside other margins
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.4915),  # Cohen (1960), table 1: 0.70 - 0.41 over 1 - 0.41, in 200 patients
    ],
)
def test_kappa_is_that_of_tables_worked_by_hand(table, kappa):
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    assert cohen_kappa(*zip(*pairs, strict=True)) == pytest.approx(kappa, abs=5e-4)


@given(rated)
def test_kappa_is_scikit_learn_s(pairs):
    first, second = zip(*pairs, strict=True)
    found = cohen_kappa(first, second)
    assume(found is not None)
    assert found == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


@given(rated, st.permutations("abcd"), st.randoms(use_true_random=False))
def test_agreement_depends_neither_on_names_nor_on_order_nor_on_who_is_first(pairs, names, random):
    renamed = dict(zip("abcd", names, strict=True))
    others = [(renamed[a], renamed[b]) for a, b in pairs]
    random.shuffle(others)
    first, second = zip(*others, strict=True)
    for turned in ((first, second), (second, first)):
        assert cohen_kappa(*turned) == pytest.approx(cohen_kappa(*zip(*pairs, strict=True)), abs=1e-9)
        assert krippendorff_alpha(list(zip(*turned, strict=True))) == pytest.approx(krippendorff_alpha(pairs), abs=1e-9)


@given(rated)
def test_agreement_is_one_where_all_agree_and_never_more(pairs):
    first = [a for a, _ in pairs]
    several = len(set(first)) > 1
    assert cohen_kappa(first, first) == (1.0 if several else None)
    assert krippendorff_alpha([(a, a) for a in first]) == (1.0 if several else None)
    assert (cohen_kappa(*zip(*pairs, strict=True)) or 0) <= 1
    assert (krippendorff_alpha(pairs) or 0) <= 1


@given(rated)
def test_a_thing_that_one_rater_alone_labelled_says_nothing(pairs):
    assert krippendorff_alpha([*pairs, ("a", None), (None, None)]) == krippendorff_alpha(pairs)


def test_nothing_rated_is_no_agreement():
    assert cohen_kappa([], []) is None
    assert agreement_of([], []).same is None
    with pytest.raises(ConfigError, match="same things"):
        cohen_kappa(["a"], [])


@pytest.mark.parametrize("name", ["EMEA_with", "EMEA_without", "MEDLINE_with", "MEDLINE_without"])
def test_the_two_published_judges_agree_on_72_to_80_of_100_errors(shared_data, name):
    path = shared_data / "predictions" / f"{name}.tsv"
    found = labels_agreement(*(read_labels(f"{path}:{judge}") for judge in ("LLM_Evaluation", "LLM_Evaluation_v2")))
    assert 0.715 <= found["not_equal"]["same"] <= 0.805
    expected = json.loads((shared_data / "predictions" / "expected.json").read_text())["systems"][name.replace("_", "/")]
    assert found["all"]["n"] == expected["n"]
    assert found["all"]["n"] - found["not_equal"]["n"] == expected["LLM_Evaluation"]["STRICT"]


ROWS = [("d1", "m0", "equivalent"), ("d1", "m1", "BROAD"), ("d2", "m0", "")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_labels_are_read_from_tables_and_json_and_unlabelled_rows_passed_over(tmp_path, ending):
    path = tmp_path / f"human.{ending}"
    names = ("document_id", "mention_id", "label")
    if ending == "jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in ROWS]
    else:
        lines = [("," if ending == "csv" else "\t").join(row) for row in (names, *ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert {key: one.label for key, one in read_labels(path).items()} == {("d1", "m0"): "equivalent", ("d1", "m1"): "broader"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("document_id,mention_id\nd,m\n", "columns of labels"),
        ("document_id,mention_id,label\nd,m,the patient wept\n", r"human\.csv:2: the label is none"),
        ("document_id,mention_id,label\nd,m,broader\nd,m,related\n", r"human\.csv:3: .*twice"),
        (f"document_id,mention_id,label\nd,m,{'wept' * 40_000}\n", r"human\.csv:2: not a row of a table"),
    ],
)
def test_a_file_in_disorder_is_refused_with_its_line_and_without_its_text(tmp_path, text, problem):
    path = tmp_path / "human.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=problem) as refused:
        read_labels(path)
    assert "wept" not in str(refused.value)


def sample(seed, documents=60, per_document=10, labelled=0.15, sensitivity=0.9, specificity=0.6):
    """A corpus of which we know everything: a lenient judge, and people who looked at some of what short cuts left."""
    rng = np.random.default_rng(seed)
    names = [str(d) for d in range(documents) for _ in range(per_document)]
    ease = np.repeat(rng.beta(4, 4, documents), per_document)
    decided = rng.random(len(names)) < ease
    valid = decided | (rng.random(len(names)) < 0.3)
    judged = np.where(decided, True, np.where(valid, rng.random(len(names)) < sensitivity, rng.random(len(names)) > specificity))
    looked = ~decided & (rng.random(len(names)) < labelled)
    human = [bool(v) if seen else None for v, seen in zip(valid, looked, strict=True)]
    return names, judged, decided, human, valid


def test_the_correction_undoes_a_lenient_judge_and_its_interval_is_wider():
    from syncabel.bootstrap import document_interval

    inside = naive_inside = 0
    rounds, truth = 40, 0.5 + 0.5 * 0.3
    for seed in range(rounds):
        names, judged, decided, human, _ = sample(seed)
        found = corrected_share(names, judged, decided, human, rounds=400)
        naive = document_interval(names, judged, rounds=400)
        assert found.ci95[0] <= found.value <= found.ci95[1]
        assert found.ci95[1] - found.ci95[0] > naive[1] - naive[0]
        inside += found.ci95[0] <= truth <= found.ci95[1]
        naive_inside += naive[0] <= truth <= naive[1]
    assert inside >= 35  # 95 % of 40 is 38; fewer than 35 come by chance once in 100
    assert naive_inside <= 8


def test_with_every_mention_labelled_the_corrected_share_is_the_true_one():
    names, judged, decided, human, valid = sample(1, labelled=1.1)
    assert corrected_share(names, judged, decided, human).value == pytest.approx(valid.mean())


def test_a_judge_that_a_few_labels_do_not_contradict_is_not_taken_as_perfect():
    names, judged, decided, _, _ = sample(2)
    few = [bool(j) if not d and i % 40 == 0 else None for i, (j, d) in enumerate(zip(judged, decided, strict=True))]
    from syncabel.bootstrap import document_interval

    found, naive = corrected_share(names, judged, decided, few), document_interval(names, judged)
    assert found.value == pytest.approx(judged.mean())
    assert found.ci95[1] - found.ci95[0] > 1.2 * (naive[1] - naive[0])


def test_without_a_label_on_one_side_there_is_no_corrected_share():
    found = corrected_share(["a", "b"], [True, False], [False, False], [True, None])
    assert (found.value, found.ci95) == (None, None)
    assert (found.judged_not_valid.n, found.judged_not_valid.labelled) == (1, 0)


@pytest.mark.parametrize("module", ["labels", "agreement", "correction", "log"])
def test_the_examples_of_the_docstrings_hold(module):
    found = doctest.testmod(importlib.import_module(f"syncabel.judge.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
