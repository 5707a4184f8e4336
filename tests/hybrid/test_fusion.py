"""The learned fusion: features by hand, the likelihood against a reference, a fit on the demo sentences, and the measured figures."""

import doctest
import importlib
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import syncabel.hybrid
from syncabel.baselines import MentionDictionary, apply, standard_baselines
from syncabel.corpora import read_jsonl
from syncabel.errors import ConfigError, FormatError
from syncabel.hybrid import Fusion, FusionWeights, Recorded, feature_names, fit_weights, objective, pool_of, right_by
from syncabel.kb import KnowledgeBase
from syncabel.types import Document, Mention, Prediction, Query, Span

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "fusion.yaml"


def query(text="cold", answers=(("A:5",),)):
    mention = Mention("0", (Span(0, len(text)),), text, None, answers)
    return Query(Document(f"d-{text}", text, (mention,)), mention)


def test_the_doctests_hold():
    assert doctest.testmod(syncabel.hybrid).failed == 0


def test_the_features_of_a_pool_are_those_worked_by_hand(small_kb):
    train = [query("cold", (("A:5",),)).document, query("chill", (("A:5",),)).document, replace(query("cold", (("A:6",),)).document, id="other")]
    dictionary = MentionDictionary.fit(train, small_kb)
    answers = {
        "near": [Prediction(("A:5",), "cold", math.log(0.5)), Prediction(("A:6",), "cold", math.log(0.25))],
        "model": [
            Prediction(("A:3",), "angina", -3.0, mass=math.exp(-2)),
            Prediction(("A:5",), "common cold", -4.0, mass=math.exp(-4)),
            Prediction((), "?", -9.0),
        ],
    }
    pool = pool_of(query(), answers, dictionary, depth=3)
    assert [p.codes for p in pool.predictions] == [("A:5",), ("A:3",), ("A:6",)]
    assert [p.name for p in pool.predictions] == ["cold", "angina", "cold"]
    assert feature_names(answers) == ("near:score", "model:score", "dictionary:log_count", "training:log_count", "training:seen", "composite")
    expected = [
        [0.5, -4, math.log(2), math.log(3), 1, 0],
        [0, -2, 0, 0, 0, 0],  # the retriever was asked for three and has two: there is nothing more to this one
        [0.25, -9, math.log(2), math.log(2), 1, 0],  # the model's beam ended before it: at most as likely as the last
    ]
    assert np.allclose(pool.features, expected)
    assert np.allclose(pool_of(query(), answers, dictionary, depth=2).features[1], [0.25, -2, 0, 0, 0, 0])


def test_a_mention_that_nothing_answers_has_an_empty_pool(small_kb):
    pool = pool_of(query(), {"near": []}, MentionDictionary.fit([], small_kb), 5)
    assert pool.predictions == ()
    assert pool.features.shape == (0, 5)


def test_a_log_mass_below_25_is_no_further_from_the_others(small_kb):
    found = [Prediction(("A:1",), "x", -1.0, mass=math.exp(-1)), Prediction(("A:2",), "y", -300.0, mass=math.exp(-300))]
    pool = pool_of(query(), {"model": found}, MentionDictionary.fit([], small_kb), 2)
    assert pool.features[:, 0].tolist() == [-1.0, -25.0]


def test_answers_over_names_that_another_encoder_proposed_are_not_taken_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    fusion = importlib.import_module("fusion")
    (tmp_path / "config.json").write_text("{}")
    lexical = fusion.Parts({setting: {"tfidf": Recorded({}), "dense": Recorded({})} for setting in fusion.SETTINGS}, {})

    def asked(digest):
        names = []
        bench = SimpleNamespace(depth=5, recorded=lambda name, make, split: (names.append(name), (Recorded({}), 0.0))[1])
        fusion.with_model(bench, tmp_path, 5, lexical, SimpleNamespace(digest=digest))
        return {name for name in names if name.startswith("retrieved")}

    assert asked("one") == asked("one")
    assert not asked("one") & asked("two")


pools = st.lists(st.tuples(st.integers(2, 5), st.integers(0, 1000)), min_size=1, max_size=8)


def drawn(sizes):
    features, right = [], []
    for size, seed in sizes:
        generator = np.random.default_rng(seed)
        features.append(generator.normal(size=(size, 5)) * [1, 10, 0.1, 1, 0])
        right.append(np.arange(size) == generator.integers(size))
    return features, right


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(0, 99), st.floats(0.01, 100))
def test_fitting_never_worsens_the_objective_and_is_the_same_twice(sizes, seed, l2):
    features, right = drawn(sizes)
    fitted = fit_weights(("part",), 5, features, right, l2=l2)
    weights = np.array(fitted.weights)
    assert fitted.end == pytest.approx(objective(weights, features, right))
    assert fitted.start == pytest.approx(np.mean([math.log(size) for size, _ in sizes]))
    assert fitted.end <= fitted.start + 1e-9
    assert fit_weights(("part",), 5, features, right, l2=l2) == fitted
    assert weights[4] == 0  # a feature that is the same everywhere says nothing

    def penalised(candidate):
        scaled = candidate * np.vstack(features).std(axis=0)
        return objective(candidate, features, right) + l2 * scaled @ scaled / (2 * len(sizes))

    other = weights + np.random.default_rng(seed).normal(size=5) * 0.1
    assert penalised(weights) <= penalised(other) + 1e-6


def test_with_two_answers_a_mention_the_fit_is_scikit_learns_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    features = [generator.normal(size=(2, 5)) for _ in range(80)]
    right = [np.array([generator.random() < 1 / (1 + math.exp(-2 * (rows[0, 0] - rows[1, 0]))), False]) for rows in features]
    right = [np.array([first, not first]) for first, _ in right]
    fitted = fit_weights(("part",), 5, features, right, l2=2.0)
    scale = np.vstack(features).std(axis=0)
    differences = np.array([(rows[0] - rows[1]) / scale for rows in features])
    model = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-8, max_iter=1000).fit(differences, [mask[0] for mask in right])
    assert np.allclose(np.array(fitted.weights) * scale, model.coef_[0], atol=1e-3)


def test_a_dev_set_that_teaches_nothing_is_refused():
    with pytest.raises(ConfigError, match="no mention of dev has a right and a wrong answer"):
        fit_weights(("part",), 5, [np.zeros((2, 5))], [np.array([True, True])])
    with pytest.raises(ConfigError, match="l2 is 0"):
        fit_weights(("part",), 5, [np.zeros((2, 5))], [np.array([True, False])], l2=0)


@pytest.fixture(scope="module")
def demo():
    """(knowledge base, documents of train, dev and test): the Human Disease Ontology and the demo sentences."""
    import importlib.resources

    kb = KnowledgeBase.load("doid")
    documents = read_jsonl(Path(str(importlib.resources.files("syncabel"))) / "demo" / "doid_demo.jsonl").documents
    documents = [d for d in documents if all(code in kb for mention in d.mentions for code in mention.codes)]
    train = [d for d in documents if d.split == "train"]
    return kb, train[0::2], train[1::2], [d for d in documents if d.split == "test"]


@pytest.fixture(scope="module")
def fitted(demo):
    """A fusion of look-ups and retrieval, its parts' answers recorded, and the queries of dev and test."""
    kb, train, dev, test = demo
    queries = {"dev": [Query(d, m) for d in dev for m in d.mentions], "test": [Query(d, m) for d in test for m in d.mentions]}
    rankers = standard_baselines(kb, train, names=["dictionary", "exact", "tfidf", "bm25"])
    parts = {name: Recorded.of([*apply(ranker, dev, k=10), *apply(ranker, test, k=10)]) for name, ranker in rankers.items()}
    return Fusion.fit(parts, MentionDictionary.fit(train, kb), queries["dev"], kb, depth=10), queries


def test_on_the_demo_sentences_the_fit_betters_dev_and_is_no_worse_than_its_best_part_there(demo, fitted):
    fusion, queries = fitted
    is_right = right_by(demo[0])

    def hits(ranker):
        return sum(bool(row) and is_right(query, row[0].codes) for query, row in zip(queries["dev"], ranker.rank(queries["dev"]), strict=True))

    assert fusion.weights.end < fusion.weights.start
    assert hits(fusion) >= max(map(hits, fusion.parts.values()))


def test_probabilities_of_a_mention_sum_to_one_and_descend(fitted):
    fusion, queries = fitted
    for row in fusion.rank(queries["test"], 1000):
        assert sum(prediction.mass for prediction in row) == pytest.approx(1 if row else 0)
        assert all(one.log_prob >= other.log_prob for one, other in pairwise(row))
        assert len({prediction.codes for prediction in row}) == len(row)


def test_a_fusion_saved_and_loaded_gives_the_same_answers(fitted, tmp_path):
    fusion, queries = fitted
    fusion.weights.save(tmp_path / "fusion.json")
    again = Fusion(fusion.parts, fusion.dictionary, FusionWeights.load(tmp_path / "fusion.json"))
    assert again.weights == fusion.weights
    assert again.rank(queries["test"], 5) == fusion.rank(queries["test"], 5)


def test_the_fit_does_not_depend_on_the_order_of_the_parts_answers_being_asked_twice(demo, fitted):
    fusion, queries = fitted
    assert Fusion.fit(fusion.parts, fusion.dictionary, queries["dev"], demo[0], depth=10).weights == fusion.weights


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no fusion of format"),
        ('{"format": "syncabel.fusion/0"}', "no fusion of format"),
        ('{"format": "syncabel.fusion/1"}', "misses field"),
    ],
)
def test_a_file_that_is_no_fusion_is_refused(tmp_path, text, words):
    (tmp_path / "fusion.json").write_text(text)
    with pytest.raises(FormatError, match=words):
        FusionWeights.load(tmp_path / "fusion.json")


def test_weights_of_other_parts_or_features_are_refused(fitted, tmp_path):
    fusion, _ = fitted
    with pytest.raises(ConfigError, match="the weights are for dictionary, exact, tfidf, bm25"):
        Fusion({"tfidf": fusion.parts["tfidf"]}, fusion.dictionary, fusion.weights)
    fusion.weights.save(tmp_path / "fusion.json")
    value = json.loads((tmp_path / "fusion.json").read_text())
    (tmp_path / "fusion.json").write_text(json.dumps({**value, "weights": value["weights"][1:]}))
    with pytest.raises(FormatError, match="not those of its parts"):
        FusionWeights.load(tmp_path / "fusion.json")


def figures():
    """(run, what the parts know, protocol, part, difference) of the results file."""
    content = yaml.safe_load(RESULTS.read_text(encoding="utf-8"))
    for run, found in content["metrics"].items():
        for knows in ("train", "train_and_dev"):
            for part, by_protocol in found[knows]["fusion_against"].items():
                for protocol, row in by_protocol.items():
                    yield run, knows, protocol, part, row["delta"]["value"]


@pytest.mark.skipif(not RESULTS.exists(), reason="needs docs/results/fusion.yaml: run scripts/fusion.py")
def test_the_fusion_beats_each_of_its_parts_on_ncbi_disease_or_the_results_file_says_that_it_does_not():
    notes = yaml.safe_load(RESULTS.read_text(encoding="utf-8"))["notes"]
    sentences = [sentence.split(";")[0] for sentence in notes.split(". ") if "does not beat" in sentence]
    rows = list(figures())
    assert {part for *_, part, _ in rows} >= {"dictionary", "exact", "normalised", "tfidf", "bm25", "rapidfuzz", "cascade"}
    for run, knows, protocol, part, delta in rows:
        said = any(s.startswith(f"{run}, parts fitted on {knows.replace('_', ' ')}, protocol {protocol}") and f" {part} (" in s for s in sentences)
        assert (delta > 0) != said, f"{run}, {knows}, {protocol}: {part} {delta:+.4f}, and the notes {'say' if said else 'do not say'} that it is not beaten"


@pytest.mark.skipif(not RESULTS.exists(), reason="needs docs/results/fusion.yaml: run scripts/fusion.py")
def test_with_a_model_the_fusion_beats_that_model_and_its_restriction_to_retrieved_names():
    with_model = [(part, delta) for run, *_, part, delta in figures() if part in ("model", "model_retrieved")]
    assert with_model
    assert all(delta > 0 for _, delta in with_model)
