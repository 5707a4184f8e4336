"""Splitting, checking and describing a corpus, against counts made by hand."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.corpora import Corpus, check_corpus, corpus_stats, read_corpus, split_by_fractions, write_stats
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Document, Mention, Name, Rejection, Retired, Span

THIRDS = {"train": 0.8, "dev": 0.1, "test": 0.1}
ABOUT = About(source="", release="", licence="", redistributable=True)


def typed(number: int, kinds: list[str]) -> Document:
    text = "x " * max(1, len(kinds))
    return Document(str(number), text, tuple(Mention(str(i), (Span(2 * i, 2 * i + 1),), "x", kind) for i, kind in enumerate(kinds)))


@given(st.lists(st.lists(st.sampled_from("AAAB"), max_size=4), min_size=3, max_size=40), st.integers(0, 3))
def test_every_document_is_in_one_split_whatever_the_order(kinds: list[list[str]], seed: int) -> None:
    whole = [typed(number, some) for number, some in enumerate(kinds)]
    parts = split_by_fractions(whole, THIRDS, seed)
    assert sorted(document.id for part in parts.values() for document in part) == sorted(document.id for document in whole)
    assert all(document.split == name for name, part in parts.items() for document in part)
    assert all(part for part in parts.values())
    shuffled = random.Random(1).sample(whole, len(whole))
    again = split_by_fractions(shuffled, THIRDS, seed)
    assert {name: {d.id for d in part} for name, part in again.items()} == {name: {d.id for d in part} for name, part in parts.items()}


def test_a_rare_type_is_spread_like_a_frequent_one() -> None:
    whole = [typed(number, ["A", "A"] + (["B"] if number < 20 else [])) for number in range(200)]
    parts = split_by_fractions(whole, THIRDS, 7)
    counts = {name: Counter(mention.type for document in part for mention in document.mentions) for name, part in parts.items()}
    assert counts == {"train": {"A": 320, "B": 16}, "dev": {"A": 40, "B": 2}, "test": {"A": 40, "B": 2}}
    assert {d.id for d in split_by_fractions(whole, THIRDS, 8)["dev"]} != {d.id for d in parts["dev"]}


def test_real_types_keep_their_shares(shared_data: Path) -> None:
    whole = read_corpus(shared_data / "corpora" / "ncbi_disease" / "NCBItrainset_corpus.txt").documents
    parts = split_by_fractions(whole, THIRDS)
    assert {name: len(part) for name, part in parts.items()} == {"train": 474, "dev": 59, "test": 59}
    total = Counter(mention.type for document in whole for mention in document.mentions)
    for name, part in parts.items():
        own = Counter(mention.type for document in part for mention in document.mentions)
        assert all(abs(own[kind] - THIRDS[name] * count) <= 0.05 * THIRDS[name] * count + 2 for kind, count in total.items())


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5, "dev": 0.6}, {"train": 1.5, "dev": -0.5}, {"train": 1.0, "dev": 0.0}])
def test_shares_that_make_no_whole_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        split_by_fractions([typed(1, []), typed(2, [])], fractions)


def test_too_few_documents_repeated_ids_and_unknown_splits_are_refused() -> None:
    with pytest.raises(ConfigError):
        split_by_fractions([typed(1, []), typed(2, [])], THIRDS)
    with pytest.raises(ConfigError):
        split_by_fractions([typed(1, []), typed(1, [])], {"train": 0.5, "dev": 0.5})
    with pytest.raises(UnknownNameError):
        split_by_fractions([typed(1, []), typed(2, [])], {"train": 0.5, "valid": 0.5})


def coded(number: str, text: str, *answers: tuple[tuple[str, ...], ...] | None, kind: str | None = "X", split: str | None = None) -> Document:
    """A document whose first words are mentions, one for each answer."""
    words, at, mentions = text.split(), 0, []
    for i, answer in enumerate(answers):
        mentions.append(Mention(str(i), (Span(at, at + len(words[i])),), words[i], kind, answer))
        at += len(words[i]) + 1
    return Document(number, text, tuple(mentions), split=split)  # type: ignore[arg-type]


def small_kb() -> KnowledgeBase:
    content = [
        Concept("C1", (Name("cold"), Name("common cold")), ("Disease",), alt_codes=("OLD1",)),
        Concept("C2", (Name("Cold"),), ("Finding",)),
        Concept("C3", (Name("flu"),), ("Disease",)),
        Retired("GONE", "obsolete", ("C1", "C3")),
    ]
    return KnowledgeBase.build(content, ABOUT)


def test_codes_are_canonical_alternative_retired_or_unknown() -> None:
    document = coded("1", "a cold c d e f g h", (("C1",),), (("OLD1",),), (("GONE",),), (("C9",), ("C3",)), (("C3", "C9"),), (("C2",),), (), None)
    result = check_corpus(
        Corpus((document,), (Rejection("f:1", "", "offset", ""), Rejection("f:2", "", "duplicate", "")), 3), small_kb(), (), {"X": ["Disease"]}
    )
    assert (result.documents, result.mentions, result.annotated, result.nil, result.unannotated) == (1, 8, 6, 1, 1)
    assert (result.composite, result.alternatives, result.offset_errors, result.duplicates) == (1, 1, 1, 1)
    assert (result.codes, result.codes_in_kb, result.mentions_in_kb) == (6, 4, 4)
    kb = result.kb
    assert kb is not None
    assert (kb.canonical, kb.alternative, dict(kb.retired_codes), dict(kb.unknown_codes)) == (3, 1, {"GONE": 1}, {"C9": 2})
    assert (kb.sharing_names, kb.only_shared_names, kb.mentions_sharing_names, kb.mentions_with_shared_surface) == (3, 1, 3, 1)
    assert kb.types["X"].reachable == 3  # not C2, of another group; not the composite, of which one part is unknown
    assert kb.ceiling == 3 / 6
    assert {name: row.mentions for name, row in kb.groups.items()} == {"Disease": 4, "Finding": 1}


def test_a_mention_without_type_is_looked_for_everywhere_and_an_unlisted_type_nowhere() -> None:
    documents = (coded("1", "a", (("C2",),), kind=None), coded("2", "a", (("C2",),), kind="Y"))
    kb = check_corpus(Corpus(documents), small_kb(), (), {"X": ["Finding"]}).kb
    assert kb is not None
    assert {kind: row.reachable for kind, row in kb.types.items()} == {"": 1, "Y": 0}


def test_leaks_are_the_same_id_text_or_sentence_in_an_earlier_part() -> None:
    line = "The patient had a very bad cold, Dr. Smith said."
    documents = (
        coded("1", f"One. {line}", split="train"),
        coded("2", "Another start. the patient had a VERY bad cold Dr  Smith said. End.", split="dev"),
        coded("3", "Nothing in common. Yes.", split="dev"),
        coded("4", f"One. {line}", split="test"),
        coded("5", "One. Yes.", split="test"),
    )
    result = check_corpus(Corpus(documents), None, (coded("5", "Given."),))
    rows = {(pair.first, pair.second): (pair.ids, pair.texts, pair.sentence_documents, pair.sentences, pair.documents) for pair in result.overlaps}
    assert rows["train", "dev"] == (0, 0, 1, 1, 1)
    assert rows["train", "test"] == (0, 1, 1, 1, 1)
    assert rows["dev", "test"] == (0, 0, 1, 1, 1)
    assert rows["training documents given", "test"] == (1, 0, 0, 0, 1)
    assert (result.leaks, result.duplicate_texts) == (3, 1)
    assert {name: row.documents for name, row in result.splits.items()} == {"dev": 2, "test": 2, "train": 1}


def test_seen_and_unseen_are_counted_by_concept_and_surface() -> None:
    train = [coded("1", "cold flu", (("C1",),), (("C3",),))]
    test = coded("2", "COLD chill flu ague fever", (("C1",),), (("C1",), ("C9",)), (("C7",),), (("C3", "C7"),), None, split="test")
    stats = corpus_stats([test], train)
    seen = stats.seen["test"]
    assert (seen.both_seen, seen.concept_seen, seen.surface_seen, seen.neither_seen, seen.mentions) == (1, 1, 1, 1, 4)
    assert (seen.concepts, seen.concepts_seen) == (4, 2)
    assert (stats.mentions_per_concept, stats.once, stats.words) == ((2, 2, 1, 1), 0.5, {"1": 5})


def test_a_corpus_with_nothing_to_draw_writes_its_numbers_alone(tmp_path: Path) -> None:
    written = write_stats(corpus_stats([coded("1", "text")]), tmp_path, "Nothing")
    assert [path.name for path in written] == ["stats.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stats.json"]
