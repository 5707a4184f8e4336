"""The demo sentences shipped with the package."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

import syncabel
from syncabel.corpora import read_jsonl
from syncabel.kb import KnowledgeBase

DEMO = Path(syncabel.__file__).parent / "demo"


@pytest.fixture(scope="module")
def corpus():
    return read_jsonl(DEMO / "doid_demo.jsonl")


def test_every_row_is_a_document_with_right_offsets(corpus):
    assert corpus.rejections == ()
    assert Counter(document.split for document in corpus.documents) == {"train": 100, "test": 50}
    assert [document.id for document in corpus.documents] == [f"demo-{i:03d}" for i in range(1, 151)]


def test_every_code_is_in_doid_and_there_are_few_enough_for_the_quickstart(corpus):
    kb = KnowledgeBase.load("doid")
    codes = {code for document in corpus.documents for mention in document.mentions for code in mention.codes}
    assert all(kb.canonical(code) == code for code in codes)
    assert len(codes) <= 130
    assert all(mention.type == "Disease" for document in corpus.documents for mention in document.mentions)


def test_no_mention_is_the_name_of_another_concept_only(corpus):
    kb = KnowledgeBase.load("doid")
    other = [m.text for d in corpus.documents for m in d.mentions if kb.codes_of(m.text) and not set(kb.codes_of(m.text)) & set(m.codes)]
    # DOID knows OCD as osteochondritis dissecans only; the sentence is about hand washing.
    assert other == ["OCD"]


def test_nine_short_forms_mean_different_diseases_in_different_sentences(corpus):
    meanings = defaultdict(set)
    for document in corpus.documents:
        for mention in document.mentions:
            if mention.text.isupper():
                meanings[mention.text].update(mention.codes)
    assert {short for short, codes in meanings.items() if len(codes) > 1} == {"MS", "AS", "PD", "BPD", "MD", "RP", "CP", "AD", "PE"}


def test_the_readme_says_demo_and_licence():
    text = (DEMO / "README.md").read_text()
    assert "CC0" in text
    assert "No patient" in text
    assert "demo" in text.lower()
