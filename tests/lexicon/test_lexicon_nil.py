"""The leaf that says "not in the knowledge base": there only when wanted, offered only when asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from syncabel.cli.lexicon import app
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.lexicon.build import build_lexicon
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import encode_name
from syncabel.types import NIL_CODE, Concept, Name

NIL = "not in the knowledge base"


@pytest.fixture(scope="module")
def with_nil(small_kb: KnowledgeBase, tiny_tokenizer: Any) -> Lexicon:
    return build_lexicon(small_kb, tiny_tokenizer, nil=NIL)


def offered(lexicon: Lexicon, tokenizer: Any, flags: Any) -> set[str]:
    names = [lexicon.name(entry) for entry in range(len(lexicon))]
    return {name for name in names if lexicon.trie.walk(encode_name(name, tokenizer), flags) >= 0}


def test_the_leaf_stands_among_the_names_and_the_others_are_as_without_it(with_nil: Lexicon, small_lexicon: Lexicon, tiny_tokenizer: Any) -> None:
    entry = with_nil.nil_entry
    assert entry is not None
    assert (with_nil.name(entry), with_nil.code(entry)) == (NIL, NIL_CODE)
    assert with_nil.trie.walk(encode_name(NIL, tiny_tokenizer)) == entry
    rest = [(with_nil.name(i), with_nil.code(i), with_nil.shared(i), with_nil.preferred(i)) for i in range(len(with_nil)) if i != entry]
    assert rest == [(small_lexicon.name(i), small_lexicon.code(i), small_lexicon.shared(i), small_lexicon.preferred(i)) for i in range(len(small_lexicon))]
    assert list(with_nil.names) == sorted(with_nil.names, key=str.encode)
    assert list(with_nil.codes) == sorted(with_nil.codes)
    assert with_nil.entries_of(NIL_CODE).tolist() == [entry]
    assert with_nil.content_digest() == with_nil.digest


@pytest.mark.parametrize("groups", [(), ("Disease",), ("Physiology",), ("Physiology", "Disease")])
def test_the_leaf_is_offered_only_when_asked_for(with_nil: Lexicon, small_lexicon: Lexicon, tiny_tokenizer: Any, groups: tuple[str, ...]) -> None:
    ordinary = offered(small_lexicon, tiny_tokenizer, small_lexicon.flags(groups))
    assert offered(with_nil, tiny_tokenizer, with_nil.flags(groups)) == ordinary
    assert offered(with_nil, tiny_tokenizer, with_nil.flags(groups, nil=True)) == ordinary | {NIL}
    numbers = with_nil.group_numbers(groups, nil=True)
    assert offered(with_nil, tiny_tokenizer, None if numbers is None else with_nil.trie.allowed(numbers)) == ordinary | {NIL}


def test_group_numbers_are_the_trie_s_own(with_nil: Lexicon, small_lexicon: Lexicon) -> None:
    assert small_lexicon.group_numbers(()) is None
    assert small_lexicon.group_numbers(("Physiology",)) == [1]
    assert with_nil.group_numbers(()) == [0, 1]
    assert with_nil.group_numbers((), nil=True) is None
    assert with_nil.group_numbers(("Physiology",), nil=True) == [1, 2]
    assert with_nil.groups == small_lexicon.groups
    with pytest.raises(UnknownNameError, match="Disease"):
        with_nil.group_numbers(("Diseases",))


def test_a_lexicon_without_the_leaf_says_so(small_lexicon: Lexicon) -> None:
    assert small_lexicon.nil_entry is None
    assert "nil" not in small_lexicon.header
    for ask in (small_lexicon.flags, small_lexicon.group_numbers):
        with pytest.raises(ConfigError, match="has no NIL leaf"):
            ask((), nil=True)


def test_the_leaf_takes_a_palette_word_of_its_own_where_the_groups_fill_one(tiny_tokenizer: Any) -> None:
    concepts = [Concept(f"C:{i}", (Name(f"name {i}", preferred=True),), (f"G{i:02}",)) for i in range(64)]
    lexicon = build_lexicon(base(*concepts), tiny_tokenizer, nil=NIL)
    assert lexicon.trie.palette.shape[1] == 2
    assert offered(lexicon, tiny_tokenizer, lexicon.flags(("G63",), nil=True)) == {"name 63", NIL}
    assert NIL not in offered(lexicon, tiny_tokenizer, lexicon.flags(()))


def test_concept_of_numbers_the_codes(with_nil: Lexicon) -> None:
    assert [with_nil.codes[number] for number in with_nil.concept_of] == [with_nil.code(entry) for entry in range(len(with_nil))]
    assert with_nil.concept_of.dtype == np.int32


def base(*concepts: Concept) -> KnowledgeBase:
    return KnowledgeBase.build(concepts, About(source="t", release="", licence="CC0-1.0", redistributable=True))


A = Concept("C:1", (Name("angina", preferred=True), Name("MS")), ("A",))
B = Concept("C:2", (Name("mitral stenosis", preferred=True), Name("MS")), ("B",))


@pytest.mark.parametrize(
    ("concepts", "nil", "message"),
    [
        ((A, Concept("NIL", (Name("nothing", preferred=True),), ("A",))), NIL, "has a concept with the code NIL"),
        ((A, B), "mitral stenosis", "'mitral stenosis' is a name in the knowledge base"),
        ((A, B), "MS", "'MS' is a name in the knowledge base"),  # shared, so that no leaf is written so
        ((A, B), "MS (angina)", "the tokenizer writes 'MS .angina.' as it writes 'MS .angina.'"),
        ((A, B), "", "cannot be the NIL leaf's name"),
        ((A, B), " nil", "cannot be the NIL leaf's name"),
        ((A, B), "not\nhere", "cannot be the NIL leaf's name"),
        ((A, B), "bell\x07", "cannot be the NIL leaf's name"),
    ],
)
def test_a_leaf_that_could_be_taken_for_another_is_refused(tiny_tokenizer: Any, concepts: tuple[Concept, ...], nil: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        build_lexicon(base(*concepts), tiny_tokenizer, nil=nil)
    assert "\n" not in str(raised.value)


def test_the_command_builds_it_and_an_update_keeps_it(small_kb: KnowledgeBase, tiny_tokenizer: Any, tmp_path: Path) -> None:
    small_kb.save(tmp_path / "kb")
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    rest = [str(tmp_path / "kb"), "--tokenizer", str(tmp_path / "tokenizer")]
    assert CliRunner().invoke(app, ["build", *rest, "-o", str(tmp_path / "one"), "--nil", NIL]).exit_code == 0
    assert CliRunner().invoke(app, ["update", str(tmp_path / "one"), *rest, "-o", str(tmp_path / "two")]).exit_code == 0
    one, two = Lexicon.load(tmp_path / "one"), Lexicon.load(tmp_path / "two")
    assert one.header == two.header
    assert two.nil_entry is not None
    assert two.name(two.nil_entry) == NIL
