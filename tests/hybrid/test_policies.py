"""A model with retrieved candidates, searches merged, the dictionary first: on a random Llama over eight concepts."""

import math

import pytest

from syncabel.baselines import CharTfidf, ExactName, MentionDictionary, apply
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError
from syncabel.groups import TypeMap
from syncabel.hybrid import DictionaryFirst, InTurn, MostMass, Recorded, RetrievedCandidates
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat
from syncabel.types import Document, Mention, Prediction, Query, Span


@pytest.fixture(scope="module")
def linker(tiny_tokenizer, tiny_llama, small_lexicon):
    types = TypeMap(small_lexicon.groups, {})
    return Linker(tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, small_lexicon, PromptFormat(), types, DecodingSettings(num_beams=12))


def query(text, answers=None, groups=(), name="d"):
    mention = Mention("0", (Span(0, len(text)),), text, None, answers)
    return Query(Document(f"{name}-{text}", text, (mention,)), mention, groups)


class Fixed(Recorded):
    """Answers by the mention's text."""

    def rank(self, queries, k=1):
        return [list(self.answers.get(query.mention.text, ()))[:k] for query in queries]


def answer(code, mass=0.5):
    return Prediction((code,), code, math.log(mass), mass=mass)


QUERIES = [query("angina"), query("stenosis"), query("MS")]


def test_only_retrieved_concepts_are_answered_each_with_all_its_names(linker, small_kb):
    retriever = CharTfidf(small_kb)
    ranked = RetrievedCandidates(linker, retriever, 3).rank(QUERIES, 5)
    for row, proposed in zip(ranked, retriever.rank(QUERIES, 3), strict=True):
        assert row
        assert {p.code for p in row} == {p.code for p in proposed}
    # Probabilities are over the whole vocabulary: a concept has the same mass whether it stands alone or among all.
    whole = {p.code: p.mass for p in linker.rank([QUERIES[0]], 12)[0]}
    assert all(p.mass <= whole[p.code] + 1e-6 or p.mass == pytest.approx(whole[p.code], rel=1e-3) for p in ranked[0] if p.code in whole)


def test_the_model_decides_among_candidates_and_only_among_them(linker, small_kb):
    one = RetrievedCandidates(linker, Fixed({"angina": (answer("A:7"),)}))
    assert [p.code for p in one.rank([query("angina")], 5)[0]] == ["A:7"]


def test_where_nothing_is_retrieved_there_is_no_answer(linker, small_kb):
    exact = RetrievedCandidates(linker, ExactName(small_kb))
    assert [bool(row) for row in exact.rank([query("unheard of"), query("angina")], 2)] == [False, True]
    assert exact.rank([query("unheard of")]) == [[]]


def test_a_model_without_a_lexicon_cannot_be_held_to_candidates(tiny_tokenizer, tiny_llama, small_kb):
    free = Linker(tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, None, PromptFormat(), TypeMap((), {}), DecodingSettings(constrained=False))
    with pytest.raises(ConfigError, match="this model has none"):
        RetrievedCandidates(free, CharTfidf(small_kb)).rank(QUERIES)


def test_the_most_mass_of_two_searches_is_never_less_than_either_has(linker, small_kb):
    searches = (linker, RetrievedCandidates(linker, CharTfidf(small_kb), 3))
    for merged, *each in zip(MostMass(searches).rank(QUERIES, 20), *(search.rank(QUERIES, 20) for search in searches), strict=True):
        best = {}
        for prediction in (p for row in each for p in row):
            best[prediction.code] = max(best.get(prediction.code, 0.0), prediction.mass)
        assert {p.code: p.mass for p in merged} == best
        assert [p.mass for p in merged] == sorted(best.values(), reverse=True)


def test_rankers_in_turn_give_the_first_of_each_then_the_second():
    first = Fixed({"x": (answer("A"), answer("B"), answer("C"))})
    second = Fixed({"x": (answer("D"), answer("A"))})
    assert [p.code for p in InTurn((first, second)).rank([query("x")], 9)[0]] == ["A", "D", "B", "C"]
    assert [p.code for p in InTurn((first, second)).rank([query("x")], 3)[0]] == ["A", "D", "B"]


def trained(small_kb):
    documents = [query("cold", (("A:5",),), name=f"t{i}").document for i in range(3)] + [query("cold", (("A:6",),), name="u").document]
    return MentionDictionary.fit([*documents, query("MS", (("A:1",),), name="once").document], small_kb)


def test_the_dictionary_answers_where_it_is_certain_then_the_model_then_nobody(small_kb):
    model = Fixed({"cold": (answer("A:6"),), "MS": (answer("A:2", 0.9),), "angina": (answer("A:3", 0.2),)})
    queries = [query("cold"), query("MS"), query("angina")]

    def codes(**settings):
        return [[p.code for p in row] for row in DictionaryFirst(trained(small_kb), model, **settings).rank(queries)]

    assert codes(least_count=2, least_share=0.75) == [["A:5"], ["A:2"], ["A:3"]]
    assert codes(least_count=2, least_share=0.8) == [["A:6"], ["A:2"], ["A:3"]]
    assert codes(least_count=1, least_share=0.5) == [["A:5"], ["A:1"], ["A:3"]]
    assert codes(least_count=1, least_share=0.5, least_probability=0.3) == [["A:5"], ["A:1"], []]


def test_the_policys_thresholds_are_the_best_on_dev_and_of_equals_the_strictest(small_kb):
    dictionary = trained(small_kb)
    queries = [query("cold", (("A:5",),)), query("MS", (("A:2",),)), query("angina", (("A:3",),))]
    model = Fixed({"cold": (answer("A:6"),), "MS": (answer("A:2"),), "angina": (answer("A:3"),)})
    chosen = DictionaryFirst.fit(dictionary, model, queries, small_kb, counts=(1, 2, 3, 9), shares=(0.5, 0.7, 0.9))
    assert (chosen.least_count, chosen.least_share) == (3, 0.7)
    assert [p.code for row in chosen.rank(queries) for p in row] == ["A:5", "A:2", "A:3"]


def test_recorded_answers_are_given_for_the_same_mentions_and_groups_only(small_kb):
    document = query("angina").document
    recorded = Recorded.of(apply(CharTfidf(small_kb), [document], lambda kind: ("Disease",), k=3))
    asked = Query(document, document.mentions[0], ("Disease",))
    assert recorded.rank([asked], 2) == CharTfidf(small_kb).rank([asked], 2)
    with pytest.raises(ConfigError, match="other groups"):
        recorded.rank([Query(document, document.mentions[0])])
    with pytest.raises(ConfigError, match="no answer is recorded"):
        recorded.rank([query("stenosis")])


def test_every_combination_links_documents(linker, small_kb):
    documents = [item.document for item in QUERIES]
    retrieved = RetrievedCandidates(linker, CharTfidf(small_kb), 2)
    for ranker in (retrieved, MostMass((linker, retrieved)), DictionaryFirst(trained(small_kb), retrieved), InTurn((retrieved, linker))):
        assert [(row.document_id, len(row.predictions) <= 5) for row in ranker.link(documents)] == [(d.id, True) for d in documents]
