import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from syncabel.errors import DigestMismatchError, FormatError, IncompleteFolderError, MissingLexiconError, TokenizerMismatchError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.lexicon.build import build_lexicon, leaves_of
from syncabel.lexicon.store import Lexicon, StringTable, tokenizer_digest
from syncabel.prompt import encode_name
from syncabel.types import Concept, Name


def names_of(lexicon: Lexicon) -> list[str]:
    return [lexicon.name(i) for i in range(len(lexicon))]


def test_every_leaf_stands_for_one_code_and_no_name_is_lost(small_kb: Any) -> None:
    leaves = leaves_of(small_kb)
    assert max(Counter(leaf.name for leaf in leaves).values()) == 1
    assert Counter(leaf.code for leaf in leaves) == {c.code: len(c.names) for c in small_kb.concepts()}


def test_a_shared_name_is_written_with_what_tells_its_concepts_apart(small_kb: Any) -> None:
    shared = {leaf.name: leaf.code for leaf in leaves_of(small_kb) if leaf.shared}
    assert shared == {"MS (multiple sclerosis)": "A:1", "MS (mitral stenosis)": "A:2", "cold (common cold)": "A:5", "cold (A:6)": "A:6"}


def leaves_that_share(name: str, *concepts: Concept) -> dict[str, str]:
    kb = KnowledgeBase.build(concepts, About(source="t", release="", licence="CC0-1.0", redistributable=True))
    return {leaf.code: leaf.name for leaf in leaves_of(kb) if leaf.shared and leaf.name.startswith(f"{name} (")}


def test_no_leaf_of_doid_is_told_apart_by_what_the_other_concept_is_called() -> None:
    leaves = {leaf.name: leaf.code for leaf in leaves_of(KnowledgeBase.load("doid")) if leaf.shared}
    # The concept that is called so above all has the other one as its only parent: the parent's name is the other's tag.
    expected = {
        "Friedreich ataxia 1": ("DOID:0111218", "Friedreich ataxia", "DOID:12705"),
        "Miyoshi muscular dystrophy": ("DOID:0070198", "distal myopathy", "DOID:11720"),
        "childhood hypophosphatasia": ("DOID:0110915", "hypophosphatasia", "DOID:14213"),
        "classic citrullinemia": ("DOID:0070340", "citrullinemia", "DOID:9273"),
        "follicular dendritic cell sarcoma": ("DOID:6262", "dendritic cell sarcoma", "DOID:7849"),
    }
    found = {name: sorted((leaf, code) for leaf, code in leaves.items() if leaf.startswith(f"{name} (")) for name in expected}
    assert found == {name: sorted([(f"{name} ({code})", code), (f"{name} ({tag})", other)]) for name, (code, tag, other) in expected.items()}


def test_a_type_that_both_concepts_have_tells_neither() -> None:
    cold = leaves_that_share(
        "cold",
        Concept("U:1", (Name("cold", preferred=True),), ("G",), types=("T047",)),
        Concept("U:2", (Name("Cold", preferred=True), Name("cold")), ("G",), types=("T047", "T184")),
        Concept("U:3", (Name("common cold", preferred=True), Name("cold")), ("G",), types=("T047",)),
    )
    assert cold == {"U:1": "cold (U:1)", "U:2": "cold (T184)", "U:3": "cold (common cold)"}


def test_a_parent_tells_apart_only_where_it_is_nothing_to_the_other_concept() -> None:
    ataxia = leaves_that_share(
        "FA",
        Concept("P:1", (Name("ataxia", preferred=True),), ("G",)),
        Concept("P:2", (Name("Friedreich ataxia", preferred=True), Name("FA")), ("G",), parents=("P:1",)),
        Concept("P:3", (Name("FA", preferred=True),), ("G",), parents=("P:2",)),
        Concept("P:4", (Name("fa", preferred=True), Name("FA")), ("G",), parents=("P:1", "P:5")),
        Concept("P:5", (Name("anaemia", preferred=True),), ("G",)),
    )
    assert ataxia == {"P:2": "FA (Friedreich ataxia)", "P:3": "FA (P:3)", "P:4": "FA (anaemia)"}


def test_entries_lie_in_byte_order_and_walk_to_themselves(small_lexicon: Lexicon, tiny_tokenizer: Any) -> None:
    names = names_of(small_lexicon)
    assert names == sorted(names, key=str.encode)
    for entry, name in enumerate(names):
        assert small_lexicon.trie.walk(encode_name(name, tiny_tokenizer)) == entry


def test_entries_of_a_code_are_its_names(small_lexicon: Lexicon) -> None:
    assert [small_lexicon.name(e) for e in small_lexicon.entries_of("A:8")] == ["cardiac disease", "heart disease"]
    assert len(small_lexicon.entries_of("A:999")) == 0


def test_a_group_filter_leaves_only_names_of_the_group(small_lexicon: Lexicon, tiny_tokenizer: Any) -> None:
    cold = encode_name("cold (A:6)", tiny_tokenizer)
    assert small_lexicon.trie.walk(cold, small_lexicon.flags(["Physiology"])) >= 0
    assert small_lexicon.trie.walk(cold, small_lexicon.flags(["Disease"])) == -1
    assert small_lexicon.trie.walk(cold, small_lexicon.flags(["Disease", "Physiology"])) >= 0
    assert small_lexicon.flags(()) is None


def test_an_unknown_group_names_the_nearest(small_lexicon: Lexicon) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Disease'"):
        small_lexicon.flags(["Diseases"])


def test_a_saved_lexicon_reads_back_equal(small_lexicon: Lexicon, tmp_path: Any) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    for mmap in (True, False):
        loaded = Lexicon.load(tmp_path / "lexicon", mmap=mmap)
        loaded.verify()
        assert names_of(loaded) == names_of(small_lexicon)
        assert [loaded.code(i) for i in range(len(loaded))] == [small_lexicon.code(i) for i in range(len(small_lexicon))]
        assert dict(loaded.header) == dict(small_lexicon.header)


def test_a_lexicon_folder_holds_no_pickle(small_lexicon: Lexicon, tmp_path: Any) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    assert {path.suffix for path in (tmp_path / "lexicon").rglob("*") if path.is_file()} == {".npy", ".json"}


def test_a_missing_half_written_or_altered_lexicon_is_refused(small_lexicon: Lexicon, tmp_path: Any) -> None:
    with pytest.raises(MissingLexiconError, match="syncabel lexicon build"):
        Lexicon.load(tmp_path / "none")
    folder = tmp_path / "lexicon"
    small_lexicon.save(folder)
    codes = np.load(folder / "codes.npy")
    codes[0] += 1
    np.save(folder / "codes.npy", codes)
    with pytest.raises(DigestMismatchError):
        Lexicon.load(folder).verify()
    (folder / "names.npy").write_bytes(b"short")
    with pytest.raises(IncompleteFolderError, match=r"names\.npy"):
        Lexicon.load(folder)
    (folder / "lexicon.json").unlink()
    with pytest.raises(IncompleteFolderError, match="half written"):
        Lexicon.load(folder)


def test_another_format_version_is_refused(small_lexicon: Lexicon, tmp_path: Any) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    header = json.loads((tmp_path / "lexicon/lexicon.json").read_text())
    (tmp_path / "lexicon/lexicon.json").write_text(json.dumps({**header, "format_version": 99}))
    with pytest.raises(FormatError, match="99"):
        Lexicon.load(tmp_path / "lexicon")


def test_a_trie_built_for_another_tokenizer_is_refused(small_lexicon: Lexicon, tiny_tokenizer: Any) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    small_lexicon.check_tokenizer(tiny_tokenizer)
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<|end|>": 0, "a": 1}, unk_token="a")), eos_token="<|end|>")
    with pytest.raises(TokenizerMismatchError, match="syncabel lexicon build"):
        small_lexicon.check_tokenizer(other)


def test_padding_does_not_change_a_tokenizers_digest_and_a_new_token_does(tiny_tokenizer: Any) -> None:
    from copy import deepcopy

    before = tokenizer_digest(tiny_tokenizer)
    other = deepcopy(tiny_tokenizer)
    other.backend_tokenizer.enable_padding(length=64)
    other.backend_tokenizer.enable_truncation(8)
    assert tokenizer_digest(other) == before
    other.add_special_tokens({"sep_token": "<SEP>"})
    assert tokenizer_digest(other) != before


def lower_casing_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789:(),"
    vocabulary = {"<|end|>": 0, "[UNK]": 1} | {c: i + 2 for i, c in enumerate(alphabet)} | {f"##{c}": i + 60 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", unk_token="[UNK]")


def test_names_that_tokenise_alike_are_told_apart_or_merged() -> None:
    concepts = [
        Concept("B:1", (Name("ALS", preferred=True), Name("als")), ("G",)),
        Concept("B:2", (Name("antilymphocyte serum", preferred=True), Name("Als")), ("G",)),
    ]
    kb = KnowledgeBase.build(concepts, About(source="t", release="", licence="CC0-1.0", redistributable=True))
    tokenizer = lower_casing_tokenizer()
    lexicon = build_lexicon(kb, tokenizer)
    assert len({tuple(lexicon.trie.path(i)) for i in range(len(lexicon))}) == len(lexicon)
    assert {lexicon.code(i) for i in range(len(lexicon)) if lexicon.name(i).startswith("Als")} == {"B:2"}
    assert lexicon.header["merged"] + len(lexicon) == 4


def test_strings_of_any_script_survive_the_blob() -> None:
    strings = ["", "é", "𝛼-thalassaemia", "血友病", "a\u00a0b"]
    table = StringTable.from_strings(strings)
    assert [table[i] for i in range(len(table))] == strings
