"""The columnar build against one name at a time; the cache of token ids; what became of names that could not stand as they are."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from syncabel.cli.lexicon import app
from syncabel.errors import ConfigError
from syncabel.kb import About, KnowledgeBase, read_medic
from syncabel.lexicon import tokenise
from syncabel.lexicon.build import build_lexicon, leaves_of, lexicon_and_account
from syncabel.lexicon.store import Lexicon
from syncabel.lexicon.tokenise import TokenCache, TokenRows, token_rows
from syncabel.prompt import encode_name, encode_names
from syncabel.types import Concept, Name

ABOUT = About("t")


def case_blind_tokenizer() -> Any:
    """Writes names without their case: many of them tokenise alike."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<|end|>": 0, "[UNK]": 1} | {c: i + 2 for i, c in enumerate("abcdefghijklmnopqrstuvwxyz0123456789:(), ")}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", unk_token="[UNK]")


# --- the oracle: one leaf after the other, as the rules say


def more_general(kb: KnowledgeBase, code: str) -> list[str]:
    return [*kb[code].types, *(kb[parent].preferred_name for parent in kb[code].parents if parent in kb)]


def tags(kb: KnowledgeBase, code: str, name: str, others: set[str]) -> Iterator[str]:
    called = [kb[other].preferred_name.casefold() for other in others]
    said = [*called, *(tag.casefold() for other in others for tag in more_general(kb, other))]
    if kb[code].preferred_name.casefold() not in [name.casefold(), *called]:
        yield kb[code].preferred_name
    yield from (tag for tag in more_general(kb, code) if tag.casefold() not in [name.casefold(), *said])
    yield code
    yield from (f"{code}, {n}" for n in range(2, 1000))


def alike(keys: Iterable[Any], codes: list[str]) -> list[list[int]]:
    places: dict[Any, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    return [group for group in places.values() if len({codes[i] for i in group}) > 1]


def extended(kb: KnowledgeBase, names: list[str], codes: list[str], groups: list[list[int]], code_only: bool = False) -> list[str]:
    taken, out = set(names), list(names)
    others = {i: {codes[j] for j in group} - {codes[i]} for group in groups for i in group}
    for i in sorted(others, key=lambda i: (names[i], codes[i])):
        candidates = [tag for tag in tags(kb, codes[i], names[i], others[i]) if not code_only or tag.startswith(codes[i])]
        out[i] = next(full for tag in candidates if (full := f"{names[i]} ({tag})") not in taken)
        taken.add(out[i])
    return out


def expected_leaves(kb: KnowledgeBase, tokenizer: Any) -> list[tuple[str, str]]:
    pairs = [(name, concept.code) for concept in kb.concepts() for name in dict.fromkeys(name.text for name in concept.names)]
    codes = [code for _, code in pairs]
    names = extended(kb, [name for name, _ in pairs], codes, alike((name for name, _ in pairs), codes))
    pairs = sorted(zip(names, codes, strict=True), key=lambda pair: (pair[0].encode(), pair[1]))
    names, codes = [name for name, _ in pairs], [code for _, code in pairs]
    again = False
    while places := alike((tuple(encode_name(name, tokenizer)) for name in names), codes):
        names, again = extended(kb, names, codes, places, code_only=again), True
    first: dict[tuple[int, ...], int] = {}
    for i, name in enumerate(names):
        first.setdefault(tuple(encode_name(name, tokenizer)), i)
    return sorted(((names[i], codes[i]) for i in first.values()), key=lambda pair: pair[0].encode())


words = st.text("aAbB", min_size=1, max_size=2)


@st.composite
def small_bases(draw: st.DrawFn) -> KnowledgeBase:
    count = draw(st.integers(1, 6))
    concepts = []
    for i in range(count):
        names = draw(st.lists(words, min_size=1, max_size=4))
        languages = draw(st.lists(st.sampled_from(["en", "fr"]), min_size=len(names), max_size=len(names)))
        preferred = draw(st.integers(0, len(names)))
        parents = tuple(f"X:{j}" for j in draw(st.sets(st.integers(0, i - 1))) if i) if i else ()
        types = tuple(draw(st.lists(words, max_size=2, unique=True)))
        texts = tuple(Name(name, language, preferred=j == preferred) for j, (name, language) in enumerate(zip(names, languages, strict=True)))
        concepts.append(Concept(f"X:{i}", texts, (draw(st.sampled_from("GH")),), types=types, parents=parents))
    return KnowledgeBase.build(concepts, ABOUT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_bases())
def test_leaves_are_those_of_the_rules_applied_one_name_at_a_time(kb: KnowledgeBase) -> None:
    tokenizer = case_blind_tokenizer()
    lexicon, account = lexicon_and_account(kb, tokenizer)
    assert [(lexicon.name(i), lexicon.code(i)) for i in range(len(lexicon))] == expected_leaves(kb, tokenizer)
    check_nothing_is_lost(kb, tokenizer)
    assert lexicon.header["merged"] == sum(len(row.names) - 1 for row in account if row.reason == "merged")


# --- quality of a knowledge base as a target


def check_nothing_is_lost(kb: KnowledgeBase, tokenizer: Any) -> tuple[Lexicon, list[Any]]:
    """Every name of every concept leads to a leaf of its own code: as it stands, or as the account says."""
    lexicon, account = lexicon_and_account(kb, tokenizer)
    pairs = {(name.text, concept.code) for concept in kb.concepts() for name in concept.names}
    became = {pair: [pair] for pair in pairs}
    for row in account:
        for name, code, leaf in zip(row.names, row.codes, row.leaves, strict=True):
            origins = became.pop((name, code))
            became.setdefault((leaf, code), []).extend(origins)
    assert sorted(pair for origins in became.values() for pair in origins) == sorted(pairs)
    leaves = {lexicon.name(i): lexicon.code(i) for i in range(len(lexicon))}
    assert sorted(became) == sorted(leaves.items())
    assert len(leaves) == len(lexicon) == len(pairs) - lexicon.header["merged"]
    # The names themselves lead there, not only the leaves' names: merged ones too.  Of a large one, those that changed and some others.
    walked = sorted(leaf for leaf, origins in became.items() if origins != [leaf]) + sorted(became)[:: 1 + len(became) // 2000]
    paths = encode_names([name for name, _ in walked], tokenizer)
    assert [lexicon.code(lexicon.trie.walk(path)) for path in paths] == [code for _, code in walked]
    return lexicon, account


def shared_strings(kb: KnowledgeBase) -> tuple[int, int]:
    """How many strings several concepts have: as they are written, and case aside."""
    folded = kb.tables.names.select(pl.col("text").str.to_lowercase(), "concept").group_by("text").agg(pl.col("concept").n_unique())
    return kb.ambiguous_names, folded.filter(pl.col("concept") > 1).height


def test_every_name_of_doid_is_a_leaf_of_its_own_code(tiny_tokenizer: Any) -> None:
    kb = KnowledgeBase.load("doid")
    lexicon, account = check_nothing_is_lost(kb, tiny_tokenizer)
    assert len(lexicon) == kb.n_names
    assert sorted({row.reason for row in account}) == ["shared_name"]
    assert (len(account), lexicon.header["shared"]) == (kb.ambiguous_names, 82)


def test_every_name_of_medic_is_a_leaf_of_its_own_code(shared_data: Path, tiny_tokenizer: Any) -> None:
    vocabulary = read_medic(shared_data / "kb" / "medic_06Jul2012.txt")
    kb = KnowledgeBase.build(vocabulary.content, vocabulary.about)
    assert shared_strings(kb) == (156, 958)
    lexicon, account = check_nothing_is_lost(kb, tiny_tokenizer)
    assert len(lexicon) == kb.n_names
    assert sum(row.reason == "shared_name" for row in account) == 156


def test_every_name_of_mondo_is_a_leaf_of_its_own_code(tiny_tokenizer: Any) -> None:
    path = Path(os.environ.get("SYNCABEL_REAL_NAMES", ""), "mondo.tsv")
    if not path.is_file():
        pytest.skip("needs a folder with mondo.tsv, named by SYNCABEL_REAL_NAMES")
    names: dict[str, list[Name]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        code, name, kind = line.split("\t")
        names[code].append(Name(name, preferred=kind == "P"))
    kb = KnowledgeBase.build([Concept(code, tuple(each), ("Disease",)) for code, each in names.items()], ABOUT)
    assert shared_strings(kb) == (1_658, 1_932)
    lexicon, _ = check_nothing_is_lost(kb, tiny_tokenizer)
    assert len(lexicon) == kb.n_names == 118_737


def test_a_tokenizer_that_tells_no_names_apart_is_refused() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<|end|>": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Split("x", "removed")
    blind = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>", unk_token="[UNK]")
    kb = KnowledgeBase.build([Concept(f"X:{i}", (Name(name),), ("G",)) for i, name in enumerate(["aches", "pains"])], ABOUT)
    with pytest.raises(ConfigError, match="cannot tell 'aches"):
        build_lexicon(kb, blind)


# --- tokenising


def test_names_tokenised_in_blocks_are_those_tokenised_one_by_one(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "BLOCK", 3)
    names = ["a", "angina pectoris", "fièvre <|end|>", "血友病", "MS", "Type 2 diabetes", " two  spaces "]
    rows = token_rows(pl.Series(names), tiny_tokenizer)
    assert [list(rows.row(i)) for i in range(len(rows))] == [encode_name(name, tiny_tokenizer) for name in names]
    assert (rows.ids.dtype, rows.offsets.dtype, len(token_rows(pl.Series([], dtype=pl.String), tiny_tokenizer))) == (np.int32, np.int64, 0)


ragged = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=30)


def rows_of(lists: list[list[int]]) -> TokenRows:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return TokenRows(np.fromiter(chain.from_iterable(lists), np.int32), offsets)


@settings(max_examples=100, deadline=None)
@given(ragged, st.data(), st.booleans(), st.sampled_from([1, 5, 1 << 22]))
def test_equal_rows_are_found_whatever_their_hashes_and_taken_in_any_order(lists: list[list[int]], data: st.DataObject, colliding: bool, block: int) -> None:
    rows = rows_of(lists)
    places = data.draw(st.lists(st.integers(0, len(lists) - 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenise, "_HASHED", block)
        hashes = np.zeros(len(lists), np.uint64) if colliding else rows.hashes()
        taken = rows.take(np.array(places, np.int64))
    assert [list(taken.row(i)) for i in range(len(taken))] == [lists[place] for place in places]
    equal: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, each in enumerate(lists):
        equal[tuple(each)].append(i)
    found = tokenise.groups_alike(rows, hashes, np.arange(len(lists)))
    assert sorted(found) == sorted(group for group in equal.values() if len(group) > 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many names each call of the tokenizer was given."""
    counts: list[int] = []

    def counted(names: list[str], tokenizer: Any) -> list[list[int]]:
        counts.append(len(names))
        return encode_names(names, tokenizer)

    monkeypatch.setattr(tokenise, "encode_names", counted)
    return counts


def test_a_second_build_of_the_same_names_tokenises_nothing(small_kb: Any, tiny_tokenizer: Any, tmp_path: Path, calls: list[int]) -> None:
    first = build_lexicon(small_kb, tiny_tokenizer, tmp_path / "cache")
    assert sum(calls) == small_kb.n_names
    second = build_lexicon(small_kb, tiny_tokenizer, tmp_path / "cache")
    assert sum(calls) == small_kb.n_names
    assert first.header == second.header == build_lexicon(small_kb, tiny_tokenizer).header
    build_lexicon(small_kb, case_blind_tokenizer(), tmp_path / "cache")
    assert sum(calls) > 2 * small_kb.n_names


def test_another_list_of_names_or_end_token_has_its_own_entry(small_kb: Any, tmp_path: Path, calls: list[int]) -> None:
    tokenizer = case_blind_tokenizer()
    build_lexicon(small_kb, tokenizer, tmp_path)
    build_lexicon(small_kb.subset(["A:1", "A:2"]), tokenizer, tmp_path)
    tokenizer.eos_token = "[UNK]"
    build_lexicon(small_kb.subset(["A:1", "A:2"]), tokenizer, tmp_path)
    assert calls == [small_kb.n_names, 6, 6]


def alter(path: Path) -> None:
    values = np.load(path)
    values[0] += 1
    np.save(path, values)


DAMAGES: list[Callable[[Path], object]] = [
    lambda entry: (entry / "tokens.json").unlink(),
    lambda entry: (entry / "tokens.json").write_text("[]"),
    lambda entry: (entry / "tokens.json").write_bytes(b"\xff"),
    lambda entry: (entry / "ids.npy").write_bytes(b""),
    lambda entry: (entry / "offsets.npy").write_bytes(b"no array"),
    lambda entry: alter(entry / "ids.npy"),
    lambda entry: alter(entry / "offsets.npy"),
    lambda entry: np.save(entry / "ids.npy", np.zeros((2, 2), np.int32)),
    lambda entry: np.save(entry / "offsets.npy", np.int64(3)),
    lambda entry: (entry / "ids.npy").write_bytes(b"\x93NUMPY\x01\x00\x0f\x00{'descr': '<i4\n"),
    lambda entry: (entry / "ids.npy").write_bytes(b"\x93NUMPY\x01\x00\x09\x00{[]: 1}  "),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again_and_said(damage: Callable[[Path], object], small_kb: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    whole = build_lexicon(small_kb, tiny_tokenizer, tmp_path)
    (entry,) = tmp_path.iterdir()
    damage(entry)
    said: list[str] = []
    assert build_lexicon(small_kb, tiny_tokenizer, tmp_path, said.append).header == whole.header
    assert said == [f"{entry} is damaged; its names are tokenised again"]
    assert build_lexicon(small_kb, tiny_tokenizer, tmp_path, said.append).header == whole.header
    assert len(said) == 1
    assert list(tmp_path.iterdir()) == [entry]


class Racing(TokenCache):
    """Writes an entry just before another process that finished the same one first looks at it, as far as this one can tell."""

    def _write(self, entry: Path, rows: TokenRows) -> None:
        super()._write(entry, rows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "exists", lambda self: False)
            super()._write(entry, rows)


def test_an_entry_that_another_process_finished_first_is_taken(small_kb: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    names = small_kb.tables.names["text"]
    rows = Racing(tmp_path, pytest.fail).rows(names, tiny_tokenizer)
    assert rows.digest() == token_rows(names, tiny_tokenizer).digest() == TokenCache(tmp_path, pytest.fail).rows(names, tiny_tokenizer).digest()
    assert len(list(tmp_path.iterdir())) == 1


def test_threads_that_fill_a_cache_at_once_all_get_their_rows(small_kb: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    names = small_kb.tables.names["text"]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: TokenCache(tmp_path, pytest.fail).rows(names, tiny_tokenizer).digest(), range(32)))
    assert set(found) == {token_rows(names, tiny_tokenizer).digest()}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_command_keeps_token_ids_and_lists_what_was_told_apart(small_kb: Any, tiny_tokenizer: Any, tmp_path: Path, calls: list[int]) -> None:
    small_kb.save(tmp_path / "kb")
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    arguments = ["build", tmp_path / "kb", "--tokenizer", tmp_path / "tokenizer", "--cache", tmp_path / "cache", "--shared", tmp_path / "shared.jsonl"]
    for place in ("one", "two"):
        done = CliRunner().invoke(app, [str(argument) for argument in [*arguments, "-o", tmp_path / place]])
        assert done.exit_code == 0, done.output
    assert "2 names that several concepts share" in done.output
    assert sum(calls) == small_kb.n_names
    assert [json.loads(line) for line in (tmp_path / "shared.jsonl").read_text().splitlines()] == [
        {"reason": "shared_name", "names": ["MS", "MS"], "codes": ["A:1", "A:2"], "leaves": ["MS (multiple sclerosis)", "MS (mitral stenosis)"]},
        {"reason": "shared_name", "names": ["cold", "cold"], "codes": ["A:5", "A:6"], "leaves": ["cold (common cold)", "cold (A:6)"]},
    ]


def test_leaves_are_listed_in_name_order(small_kb: Any) -> None:
    assert [leaf.code for leaf in leaves_of(small_kb) if leaf.name.startswith("MS (")] == ["A:1", "A:2"]
