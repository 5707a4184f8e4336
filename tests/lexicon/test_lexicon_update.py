"""A lexicon brought to a changed knowledge base is the one that would be built anew."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from syncabel.cli.lexicon import app
from syncabel.errors import TokenizerMismatchError
from syncabel.kb import About, KnowledgeBase
from syncabel.lexicon.build import build_lexicon
from syncabel.lexicon.store import Lexicon
from syncabel.lexicon.update import LexiconUpdate, update_lexicon
from syncabel.types import Concept, Name

NAMES = ("angina", "angina pectoris", "MS", "cold", "cold (C:1)", "common cold", "mitral stenosis", "Zürich fever", "zona", "a")
TRIE = ("child_start", "token", "node_class", "palette", "leaf_node", "leaf_entry")


def base(concepts: list[Concept]) -> KnowledgeBase:
    return KnowledgeBase.build(concepts, About(source="t", release="", licence="CC0-1.0", redistributable=True))


@st.composite
def knowledge_bases(draw: st.DrawFn) -> KnowledgeBase:
    codes = draw(st.lists(st.sampled_from([f"C:{i}" for i in range(6)]), min_size=1, max_size=5, unique=True))
    names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)
    groups = st.sets(st.sampled_from(["A", "B", "C"]), min_size=1, max_size=2).map(lambda chosen: tuple(sorted(chosen)))
    return base([Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(draw(names))), draw(groups)) for code in codes])


def assert_same(one: Lexicon, other: Lexicon) -> None:
    assert one.header == other.header
    assert one.content_digest() == one.digest == other.digest
    for name in TRIE:
        np.testing.assert_array_equal(getattr(one.trie, name), getattr(other.trie, name))


def leaves(lexicon: Lexicon) -> list[tuple[str, str]]:
    return [(lexicon.name(entry), lexicon.code(entry)) for entry in range(len(lexicon))]


def assert_numbers(update: LexiconUpdate) -> None:
    before, after = leaves(update.old), leaves(update.lexicon)
    assert update.new_number.tolist() == [after.index(leaf) if leaf in after else -1 for leaf in before]
    assert [before[entry] for entry in update.retired] == [leaf for leaf in before if leaf not in after]
    assert [after[entry] for entry in update.added] == [leaf for leaf in after if leaf not in before]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(knowledge_bases(), knowledge_bases(), st.sampled_from([None, "none of these"]))
def test_an_updated_lexicon_equals_one_built_anew(tiny_tokenizer: Any, before: KnowledgeBase, after: KnowledgeBase, nil: str | None) -> None:
    update = update_lexicon(build_lexicon(before, tiny_tokenizer, nil=nil), after, tiny_tokenizer)
    assert_same(update.lexicon, build_lexicon(after, tiny_tokenizer, nil=nil))
    assert_numbers(update)


def test_names_that_stand_are_not_tokenised_again(small_kb: KnowledgeBase, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    old = build_lexicon(small_kb, tiny_tokenizer)
    concepts = [concept for concept in small_kb.concepts() if concept.code != "A:4"]
    changed = base([*concepts, Concept("A:9", (Name("zona", preferred=True), Name("shingles")), ("Disease",))])
    asked: list[str] = []
    from syncabel.lexicon import tokenise, update

    def recorded(names: Any, tokenizer: Any) -> Any:
        asked.extend(names.to_list())
        return tokenise.token_rows(names, tokenizer)

    monkeypatch.setattr(update, "token_rows", recorded)
    result = update_lexicon(old, changed, tiny_tokenizer)
    # `MS` and `cold` are shared: they stand in the old lexicon only with what tells them apart, and the new one has them so too.
    assert sorted(asked) == ["shingles", "zona"]
    assert result.tokenised == 2
    assert_same(result.lexicon, build_lexicon(changed, tiny_tokenizer))
    assert list(result.changes()) == [
        {"change": "retired", "name": "angina pectoris", "code": "A:4"},
        {"change": "retired", "name": "stenocardia", "code": "A:4"},
        {"change": "added", "name": "shingles", "code": "A:9"},
        {"change": "added", "name": "zona", "code": "A:9"},
    ]


def test_a_name_left_to_one_concept_loses_what_told_it_apart(small_kb: KnowledgeBase, tiny_tokenizer: Any) -> None:
    changed = base([concept for concept in small_kb.concepts() if concept.code != "A:2"])
    result = update_lexicon(build_lexicon(small_kb, tiny_tokenizer), changed, tiny_tokenizer)
    assert {"change": "added", "name": "MS", "code": "A:1"} in result.changes()
    assert {"change": "retired", "name": "MS (multiple sclerosis)", "code": "A:1"} in result.changes()


def test_a_name_that_moves_to_another_concept_is_another_leaf(tiny_tokenizer: Any) -> None:
    def owned_by(code: str) -> KnowledgeBase:
        return base([Concept(each, (Name(each, preferred=True), *([Name("zona")] if each == code else [])), ("A",)) for each in ("C:1", "C:2")])

    result = update_lexicon(build_lexicon(owned_by("C:1"), tiny_tokenizer), owned_by("C:2"), tiny_tokenizer)
    assert result.tokenised == 0
    assert result.new_number.tolist() == [0, 1, -1]
    assert result.added.tolist() == [2]


def test_another_tokenizer_is_refused(small_kb: KnowledgeBase, small_lexicon: Lexicon) -> None:
    from syncabel.train.scratch import train_tokenizer

    with pytest.raises(TokenizerMismatchError):
        update_lexicon(small_lexicon, small_kb, train_tokenizer(["some", "other", "words"], 300))


@pytest.fixture
def folders(small_kb: KnowledgeBase, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    small_kb.save(tmp_path / "old-kb")
    base([concept for concept in small_kb.concepts() if concept.code != "A:3"]).save(tmp_path / "kb")
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    build_lexicon(small_kb, tiny_tokenizer).save(tmp_path / "old")
    return tmp_path


@pytest.mark.parametrize("output", ["new", "old"])
def test_the_command_writes_lexicon_changes_and_numbers(folders: Path, tiny_tokenizer: Any, output: str) -> None:
    before = leaves(Lexicon.load(folders / "old", mmap=False))
    arguments = ["update", folders / "old", folders / "kb", "--tokenizer", folders / "tokenizer", "-o", folders / output]
    done = CliRunner().invoke(app, [*map(str, arguments), "--changes", str(folders / "c.jsonl"), "--numbers", str(folders / "n.npy"), "--json"])
    assert done.exit_code == 0, done.output
    lexicon = Lexicon.load(folders / output)
    assert_same(lexicon, build_lexicon(KnowledgeBase.load(folders / "kb"), tiny_tokenizer))
    found = json.loads(done.output)
    assert {key: found[key] for key in ("kept", "retired", "added", "tokenised", "digest")} == {
        "kept": len(before) - 1, "retired": 1, "added": 0, "tokenised": 0, "digest": lexicon.digest,
    }  # fmt: skip
    assert [json.loads(line) for line in (folders / "c.jsonl").read_text().splitlines()] == [{"change": "retired", "name": "angina", "code": "A:3"}]
    numbers = np.load(folders / "n.npy")
    assert [leaves(lexicon)[number] for number in numbers if number >= 0] == [leaf for leaf in before if leaf != ("angina", "A:3")]


def test_the_command_says_what_changed(folders: Path) -> None:
    arguments = ["update", folders / "old", folders / "kb", "--tokenizer", folders / "tokenizer", "-o", folders / "new"]
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert "15 names stay, 1 retired, 0 added; 0 tokenised" in " ".join(done.output.split())


def test_an_update_through_the_cache_tokenises_new_names_once(
    small_kb: KnowledgeBase, tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build_lexicon(base([concept for concept in small_kb.concepts() if concept.code != "A:4"]), tiny_tokenizer)
    first = update_lexicon(old, small_kb, tiny_tokenizer, cache=tmp_path)

    def refuse(*_: Any) -> Any:
        raise AssertionError("tokenised again")

    monkeypatch.setattr("syncabel.lexicon.tokenise.token_rows", refuse)
    assert_same(update_lexicon(old, small_kb, tiny_tokenizer, cache=tmp_path).lexicon, first.lexicon)
