"""Splitting, checking and describing a corpus, against counts made by hand."""

import random
from collections import Counter
from itertools import permutations
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
    text = "x " * len(kinds) + str(number)  # one text each: equal ones stay together
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
        coded("2", "Another start. The patient had a VERY bad cold Dr  Smith said. End.", split="dev"),
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


def test_the_order_of_the_fractions_is_of_no_account() -> None:
    whole = [typed(number, ["A"] * (number % 3) + ["B"] * (number % 2)) for number in range(30)]
    results = [split_by_fractions(whole, dict(order), 3) for order in permutations({"train": 0.6, "dev": 0.2, "test": 0.2}.items())]
    assert all(result == results[0] for result in results)
    assert list(results[-1]) == ["train", "dev", "test"]


@given(st.lists(st.integers(0, 5), min_size=12, max_size=40), st.integers(0, 2))
def test_documents_of_equal_text_and_of_one_group_stay_together(texts: list[int], seed: int) -> None:
    whole = [Document(f"{number // 3}_{number}", f"text {text} {number if text < 3 else ''}") for number, text in enumerate(texts)]
    where = {d.id: (name, d.text) for name, part in split_by_fractions(whole, {"train": 0.5, "test": 0.5}, seed).items() for d in part}
    assert len(where) == len(whole)
    assert len({text for _, text in where.values()}) == len(set(where.values()))
    try:
        grouped = split_by_fractions(whole, {"train": 0.5, "test": 0.5}, seed, group_by="^([0-9]+)_")
    except ConfigError:
        return  # equal texts chain all groups into one
    assert all(part for part in grouped.values())
    sides = [(d.id.split("_")[0], d.text, name) for name, part in grouped.items() for d in part]
    assert len({(group, name) for group, _, name in sides}) == len({group for group, _, _ in sides})
    assert len({(text, name) for _, text, name in sides}) == len({text for _, text, _ in sides})


def test_the_parts_of_quaero_leaflets_stay_together(shared_data: Path) -> None:
    whole = read_corpus(shared_data / "corpora" / "quaero" / "quaero_brat.tar.gz", "quaero").documents
    leaflets = {document.id: document.id.split("_")[0] for document in whole if "_" in document.id}
    parts = split_by_fractions(whole, THIRDS, group_by=r"([0-9]+)_[0-9]+$")
    sides = {(leaflets[document.id], name) for name, part in parts.items() for document in part if document.id in leaflets}
    assert len(sides) == len({leaflet for leaflet, _ in sides}) > 5
    assert all(abs(len(parts[name]) - share * len(whole)) < 15 for name, share in THIRDS.items())  # type: ignore[index]


@pytest.mark.parametrize("group_by", ["(", "no group", "(never)"])
def test_an_expression_that_groups_nothing_is_refused(group_by: str) -> None:
    with pytest.raises(ConfigError, match="--group-by"):
        split_by_fractions([typed(1, []), typed(2, [])], {"train": 0.5, "dev": 0.5}, group_by=group_by)


def test_groups_that_cannot_fill_the_splits_are_refused() -> None:
    with pytest.raises(ConfigError, match="stay together"):
        split_by_fractions([Document("1", "same"), Document("2", "same")], {"train": 0.5, "dev": 0.5})
    parts = split_by_fractions([Document(str(n), text) for n, text in enumerate(["a"] * 5 + ["b"] * 5 + ["c"])], THIRDS)
    assert sorted(len(part) for part in parts.values()) == [1, 5, 5]


def test_splits_are_dealt_by_what_mentions_are_said_to_count_for() -> None:
    whole = [typed(number, [f"T{number}"]) for number in range(40)]  # as types, each is alone
    even = {f"T{number}": "even" if number % 4 == 0 else "odd" for number in range(40)}
    parts = split_by_fractions(whole, {"train": 0.8, "test": 0.2}, 5, strata=lambda mention: (even[str(mention.type)],))
    assert Counter(even[str(d.mentions[0].type)] for d in parts["test"]) == {"even": 2, "odd": 6}


def test_an_id_of_another_split_is_a_leak_though_the_reader_left_the_document_out() -> None:
    rejections = (Rejection("t:1", "", "duplicate_across_splits", ""), Rejection("t:2", "", "duplicate", ""))
    result = check_corpus(Corpus((coded("1", "One.", split="train"), coded("2", "Two.", split="test")), rejections, 4))
    assert (result.leaks, sum(pair.ids for pair in result.overlaps), result.duplicates) == (1, 1, 1)
    assert result.overlaps[-1].second == "duplicate_across_splits"


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [("train/1", "test/1", 1), ("a/train/b/1", "a/test/b/1", 1), ("1", "corpus/test/1", 0), ("1", "test/1", 1), ("a/1", "b/1", 0), ("train/1", "test/2", 0)],
)
def test_folders_named_after_splits_do_not_tell_documents_apart(first: str, second: str, shared: int) -> None:
    (row,) = check_corpus(Corpus((Document(first, "x", split="train"), Document(second, "y", split="test")))).overlaps
    assert row.ids == shared


ONE_LINE = "The patient came with a cold that had lasted for many weeks. He went."


@pytest.mark.parametrize(
    ("other", "documents", "distinct"),
    [
        ("He came.\nThe patient came with a cold\nthat had lasted for many weeks. And left.", 1, 1),
        ("A title without stop\nThe patient came with a cold that had lasted for many weeks. And left.", 1, 1),
        ("The patient came with a cold\r\nthat had lasted for many weeks.", 1, 1),
        ("The patient came with a cold\n\nthat had lasted for many weeks.", 0, 0),
        ("The patient came with a cold\n \nthat had lasted for many weeks.", 0, 0),
    ],
)
def test_a_sentence_is_the_same_wherever_its_lines_end(other: str, documents: int, distinct: int) -> None:
    for texts in ((ONE_LINE, other), (other, ONE_LINE)):
        (row,) = check_corpus(Corpus((Document("1", texts[0], split="train"), Document("2", texts[1], split="test")))).overlaps
        assert (row.sentence_documents, row.sentences) == (documents, distinct)


def test_a_wrapped_sentence_shared_whole_counts_once() -> None:
    wrapped = "The patient came with a very bad cold\nthat had lasted for more than six weeks."
    (row,) = check_corpus(Corpus((Document("1", wrapped, split="train"), Document("2", wrapped, split="test")))).overlaps
    assert (row.texts, row.sentences) == (1, 1)


def test_the_same_sentence_is_shared_though_only_one_copy_is_annotated() -> None:
    text = "He said that the liver was very large. Now he has gone home for the week."
    mention = Mention("1", (Span(text.index("large"), text.index("Now") + 3),), "large. Now")
    (row,) = check_corpus(Corpus((Document("1", text + " He slept.", (mention,), split="train"), Document("2", text, split="test")))).overlaps
    assert (row.sentence_documents, row.sentences) == (1, 2)


def test_a_table_that_names_an_unknown_group_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Disease"):
        check_corpus(Corpus((coded("1", "a", (("C1",),)),)), small_kb(), (), {"X": ["Diseas"]})


def test_names_shared_as_written_are_told_from_those_shared_case_aside() -> None:
    content = [Concept("C1", (Name("cold"),), ("G",)), Concept("C2", (Name("Cold"),), ("G",)), Concept("C3", (Name("cold"), Name("chill")), ("G",))]
    kb = check_corpus(Corpus((coded("1", "a b c", (("C1",),), (("C2",),), (("C3",),)),)), KnowledgeBase.build(content, ABOUT)).kb
    assert kb is not None
    assert (kb.sharing_names, kb.sharing_names_as_written, kb.only_shared_names) == (3, 2, 2)
    assert (kb.mentions_sharing_names, kb.mentions_sharing_names_as_written) == (3, 2)


def test_a_title_is_text_whatever_it_holds(tmp_path: Path) -> None:
    assert write_stats(corpus_stats([coded("1", "text")]), tmp_path, r"cost $\foo$ of_it")
