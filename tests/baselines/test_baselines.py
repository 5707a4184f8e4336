"""The baselines on knowledge bases small enough to rank by hand."""

from pathlib import Path

import numpy as np
import pytest

from syncabel.baselines import STANDARD, Cascade, CharTfidf, ExactName, MentionDictionary, apply, standard_baselines
from syncabel.corpora import read_pubtator
from syncabel.errors import ConfigError
from syncabel.evaluate import evaluate
from syncabel.kb import About, KnowledgeBase, read_medic
from syncabel.types import Abbreviation, Concept, Document, Mention, Name, Query, Span

MEASURED = {"normalised": 0.579, "bm25": 0.849, "rapidfuzz": 0.806}  # Recall@1 on NCBI disease test, protocol set, of parts that know train and dev

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def concept(code, *names, group="Disease", alt=()):
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), (group,), alt_codes=tuple(alt))


KB = KnowledgeBase.build(
    [
        concept("D1", "myotonic dystrophy", "DM", alt=("OLD1",)),
        concept("D2", "diabetes mellitus", "DM"),
        concept("D3", "breast carcinoma"),
        concept("D4", "ovarian carcinoma", "DM carcinoma"),
        concept("G1", "DM protein", "DM", group="Gene"),
    ],
    About(source="test", release="1", licence="CC0-1.0", redistributable=True),
)


def doc(name, *mentions, long=None):
    """A document of (word, answers); `long` is a long form written after the first mention."""
    text, found = "", []
    for i, (word, answers) in enumerate(mentions):
        found.append(Mention(str(i), (Span(len(text), len(text) + len(word)),), word, None, answers))
        text += f"{word} "
    pairs = () if long is None else (Abbreviation(found[0].spans[0], Span(len(text), len(text) + len(long))),)
    return Document(name, text + (long or ""), tuple(found), abbreviations=pairs)


def ask(ranker, word, k=1, groups=(), long=None):
    document = doc("q", (word, None), long=long)
    return [prediction.code for prediction in ranker.rank([Query(document, document.mentions[0], groups)], k)[0]]


TRAIN = [
    doc("t1", ("DM", (("D2",),)), ("dm", (("D2",),)), ("Dm", (("OLD1",),)), ("tumours", (("D3", "D4"),))),
    doc("t2", ("tie", (("D4",),)), ("tie", (("D3",),)), ("gone", (("UNKNOWN",),))),
]


def test_the_dictionary_gives_the_most_frequent_answer_and_breaks_ties_by_code():
    ranker = MentionDictionary.fit(TRAIN, KB)
    assert ask(ranker, "DM", 5) == ["D2", "D1"]
    assert ask(ranker, "Tie", 5) == ["D3", "D4"]
    assert ask(ranker, "tumours") == ["D3+D4"]
    assert ask(ranker, "gone") == ask(ranker, "new") == []


def test_the_exact_name_prefers_the_concept_it_is_the_preferred_name_of():
    ranker = ExactName(KB)
    assert ask(ranker, "dm", 5) == ["D1", "D2", "G1"]
    assert ask(ranker, "DM  Protein") == ["G1"]
    assert ask(ranker, "myotonic") == []


def test_character_tfidf_finds_the_nearest_name_and_orders_ties_by_code():
    ranker = CharTfidf(KB)
    assert ask(ranker, "breast carcinomas") == ["D3"]
    assert ask(ranker, "dm", 3) == ["D1", "D2", "G1"]
    assert ask(ranker, "日本") == []


def test_character_tfidf_agrees_with_a_plain_cosine_over_all_strings():
    from sklearn.feature_extraction.text import TfidfVectorizer

    strings = [(c.code, name.text.casefold()) for c in KB.concepts() for name in c.names]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False)
    matrix = vectorizer.fit_transform([text for _, text in strings]).toarray()
    for word in ("ovarial cancer", "dystrophies", "protein of dm"):
        cosines = matrix @ vectorizer.transform([word]).toarray()[0]
        best = {}
        for (code, _), cosine in zip(strings, cosines, strict=True):
            best[code] = max(best.get(code, 0.0), round(cosine, 5))
        document = doc("q", (word, None))
        found = CharTfidf(KB).rank([Query(document, document.mentions[0])], 9)[0]
        assert {p.code: round(float(np.exp(p.log_prob)), 5) for p in found} == pytest.approx({c: s for c, s in best.items() if s > 0}, abs=2e-5)
        assert [p.log_prob for p in found] == sorted((p.log_prob for p in found), reverse=True)


def test_scoring_in_small_blocks_changes_nothing(monkeypatch):
    documents = [doc(str(i), (word, None)) for i, word in enumerate(["breast", "ovary", "diabetic", "dm", "x"])]
    ranker = CharTfidf(KB, TRAIN)
    whole = apply(ranker, documents, k=3)
    monkeypatch.setattr("syncabel.baselines.nearest._SCORES_AT_ONCE", 1)
    assert apply(ranker, documents, k=3) == whole


def test_training_mentions_are_compared_with_too_and_composites_stay_whole():
    assert ask(CharTfidf(KB, TRAIN), "tumour") == ["D3+D4"]


@pytest.mark.parametrize("name", STANDARD)
def test_answers_keep_to_the_groups_asked_for(name):
    ranker = standard_baselines(KB, TRAIN)[name]
    assert set(ask(ranker, "DM", 9, ("Gene",))) <= {"G1"}
    assert "G1" not in ask(ranker, "DM", 9, ("Disease",))


@pytest.mark.parametrize("name", STANDARD)
def test_every_answer_is_a_concept_each_once_and_at_most_k(name):
    ranker = standard_baselines(KB, TRAIN)[name]
    for word in ("DM", "carcinoma", "tie", "tumours"):
        found = ask(ranker, word, 3)
        assert len(found) == len(set(found)) <= 3
        assert all(code in KB for answer in found for code in answer.split("+"))


def test_a_short_form_is_looked_up_by_its_long_form_or_not_as_asked():
    for ranker, code in ((ExactName(KB), "D2"), (ExactName(KB, long_forms=False), "D1"), (CharTfidf(KB), "D2"), (CharTfidf(KB, long_forms=False), "D1")):
        assert ask(ranker, "DM", long="diabetes mellitus") == [code]
    train = [doc("t", ("DM", (("D2",),)), long="sweet sickness")]
    assert ask(MentionDictionary.fit(train, KB), "sweet sickness") == ["D2"]
    assert ask(MentionDictionary.fit(train, KB), "DM") == []
    assert ask(MentionDictionary.fit(train, KB, long_forms=False), "DM") == ["D2"]


def test_a_cascade_fills_up_what_earlier_rankers_leave_open():
    dictionary, exact = MentionDictionary.fit(TRAIN, KB), ExactName(KB)
    cascade = Cascade((dictionary, exact))
    assert ask(cascade, "DM", 3) == ["D2", "D1", "G1"]
    assert ask(cascade, "DM") == ask(dictionary, "DM") == ["D2"]
    assert ask(cascade, "breast carcinoma") == ["D3"]


def test_apply_gives_one_result_per_mention_in_order_with_its_groups():
    documents = [doc("a", ("DM", None), ("nothing here 日", None)), doc("b", ("breast carcinoma", None))]
    found = apply(ExactName(KB), documents, lambda kind: ("Gene",) if kind is None else ())
    assert [(r.document_id, r.mention_id, r.groups, len(r.predictions)) for r in found] == [
        ("a", "0", ("Gene",), 1),
        ("a", "1", ("Gene",), 0),
        ("b", "0", ("Gene",), 0),
    ]


def test_ngram_lengths_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="n-grams of 4 to 2"):
        CharTfidf(KB, ngrams=(4, 2))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data beside the checkout")
def test_the_baselines_reach_the_known_figures_on_ncbi_disease_and_medic():
    data = SHARED / "data"
    kb = KnowledgeBase.build(
        read_medic(data / "kb" / "medic_06Jul2012.txt").content, About(source="MEDIC", release="06Jul2012", licence="CTD", redistributable=False)
    )
    train, dev, test = (read_pubtator(data / "corpora" / "ncbi_disease" / f"NCBI{part}set_corpus.txt").documents for part in ("train", "develop", "test"))
    fitted = (*train, *dev)

    def score(long_forms):
        rankers = standard_baselines(kb, fitted, long_forms)
        assert tuple(rankers) == STANDARD
        rankers["dictionary, exact"] = Cascade((rankers["dictionary"], rankers["exact"]))
        return {name: evaluate(test, apply(ranker, test), kb, train=fitted, rounds=10) for name, ranker in rankers.items()}

    plain, expanded = score(False), score(True)
    assert plain["cascade"].n == 960
    assert plain["cascade"].strata["concept"]["neither"].n == 150
    assert 0.72 <= plain["dictionary, exact"].recall_at_1 < 0.75
    # The figures the issue gives, 0.797 (0.393) and 0.83 (0.54), are floors here.
    for reports, whole, unseen in ((plain, 0.797, 0.393), (expanded, 0.83, 0.54)):
        assert whole <= reports["cascade"].recall_at_1 < whole + 0.05
        assert reports["cascade"].strata["concept"]["neither"].recall_at_1 >= unseen
    # Measured on 2026-11-22, docs/results/fusion.yaml.
    assert {name: round(expanded[name].recall_at_1, 3) for name in ("normalised", "bm25", "rapidfuzz")} == MEASURED


@pytest.mark.parametrize("name", ["tfidf", "bm25", "rapidfuzz"])
def test_every_mention_of_a_text_is_answered_each_within_its_own_groups(name):
    ranker = standard_baselines(KB, TRAIN, names=[name])[name]
    document = doc("q", ("DM protein", None), ("breast carcinoma", None), ("DM protein", None), ("DM protein", None))
    queries = [Query(document, mention, groups) for mention, groups in zip(document.mentions, ((), (), ("Gene",), ("Disease",)), strict=True)]
    alone = [ranker.rank([query], 3)[0] for query in queries]
    assert ranker.rank(queries, 3) == alone
    assert [row[0].code for row in alone[:3]] == ["G1", "D3", "G1"]
    assert alone[3][0].code != "G1"


def test_of_concepts_with_one_normal_form_that_whose_preferred_name_it_is_comes_first():
    kb = KnowledgeBase.build([concept("A", "other", "tumours of the lung"), concept("B", "lung tumour")], KB.about)
    assert ask(standard_baselines(kb, (), names=["normalised"])["normalised"], "lung tumours", k=2) == ["B", "A"]
