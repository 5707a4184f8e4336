"""One contract over the readers of whole real corpora, and the table of sources against its files."""

import hashlib
from pathlib import Path

import pytest

from syncabel.corpora import FORMATS, SOURCES, Official, format_of, read_corpus, source_of

FOLDERS = {"quaero": "quaero", "spaccc": "spaccc", "hpo": "hpo"}


@pytest.mark.parametrize(
    ("place", "format_", "documents", "mentions", "rows", "first", "last"),
    [
        ("corpora/quaero/quaero_brat.tar.gz", "quaero", 2536, 16233, 34990, "118_1", "997949"),
        ("corpora/spaccc/test.tsv", "spaccc", 250, 9218, 9250, "es-S1138-123X2005000200006-2", "es-S0212-16112011000300031-1"),
        ("corpora/hpo/gsc_plus.jsonl", "span-jsonl", 228, 2122, 2350, "11312426", "998578"),
        ("predictions/EMEA_with.tsv", "syncabel-tsv", 2197, 2197, 2197, "7#Living Beings:4382-4401", "2#Disorders:1183-1190"),
        ("formats/brat/maccrobat2020", "brat", 5, 256, 261, "18666334", "28154669"),
    ],
)
def test_every_reader_keeps_the_contract(place: str, format_: str, documents: int, mentions: int, rows: int, first: str, last: str, shared_data: Path) -> None:
    corpus = read_corpus(shared_data / place, format_)
    assert (len(corpus), sum(1 for _ in corpus.mentions()), corpus.rows_read) == (documents, mentions, rows)
    assert (corpus.documents[0].id, corpus.documents[-1].id, len({document.id for document in corpus})) == (first, last, documents)
    assert corpus.rows_kept + len(corpus.rejections) == corpus.rows_read
    for document, mention in corpus.mentions():
        assert " ".join(document.surface(span) for span in mention.spans) == mention.text


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_a_source_s_digests_are_those_of_its_files(name: str, shared_data: Path) -> None:
    for file in SOURCES[name].files:
        path = shared_data / "corpora" / FOLDERS[name] / file.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        assert source_of(path) == Official(name, file.split, file.name, True)
        if not file.part:
            assert format_of(path) == SOURCES[name].format


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_source_says_what_several_codes_mean_and_which_reader_takes_it(name: str) -> None:
    assert SOURCES[name].answers
    assert SOURCES[name].format in FORMATS
