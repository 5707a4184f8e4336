"""Training examples in the format `document-first`: made, written, checked and encoded like the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncabel.cli.app import app
from syncabel.corpora import write_jsonl
from syncabel.errors import ConfigError
from syncabel.groups import TypeMap
from syncabel.prompt import encode_prompt, format_named
from syncabel.sft import ExampleSettings, make_examples, read_examples, write_examples, write_format
from syncabel.train.data import IGNORED, check_format, encode_examples
from syncabel.types import Document, Mention, SFTExample, Span

FIRST = format_named("document-first")
TEXT = "Angina was known. The patient has had multiple sclerosis since 1997 and no angina."


def document() -> Document:
    places = [(TEXT.index("multiple"), "multiple sclerosis", "A:1"), (TEXT.index("angina"), "angina", "A:3")]
    return Document("d", TEXT, tuple(Mention(code, (Span(at, at + len(text)),), text, "Disease", ((code,),)) for at, text, code in places))


def made(small_kb: Any, small_lexicon: Any, **settings: Any) -> list[SFTExample]:
    rows = make_examples([document()], small_lexicon, small_kb.canonical, TypeMap(small_kb.groups, {}), FIRST, ExampleSettings(**settings))
    return [row for row in rows if isinstance(row, SFTExample)]


def test_examples_of_a_document_share_it_and_the_loss_is_on_the_names_only(small_kb: Any, small_lexicon: Any, tiny_tokenizer: Any) -> None:
    examples = made(small_kb, small_lexicon, type_dropout=0.0)
    assert {example.prompt.shared for example in examples} == {TEXT + "\n"}
    tokens = encode_examples(examples, small_lexicon, tiny_tokenizer, 512)
    start = 0
    for example, length in zip(examples, tokens.lengths, strict=True):
        ids, labels = tokens.ids[start : start + length].tolist(), tokens.labels[start : start + length]
        asked = encode_prompt(example.prompt, tiny_tokenizer)
        assert ids[: len(asked)] == asked
        assert (labels[: len(asked)] == IGNORED).all()
        assert labels[len(asked) :].tolist() == ids[len(asked) :]
        start += length


def test_dropping_the_context_drops_the_document_too(small_kb: Any, small_lexicon: Any) -> None:
    examples = made(small_kb, small_lexicon, context_dropout=1.0, type_dropout=1.0)
    assert [(example.prompt.shared, example.prompt.source) for example in examples] == [("", "[multiple sclerosis]\n"), ("", "[angina]\n")]


def test_the_folder_says_how_much_of_the_document_its_prompts_hold_and_training_compares(small_kb: Any, small_lexicon: Any, tmp_path: Path) -> None:
    examples = made(small_kb, small_lexicon)
    path = tmp_path / "human.jsonl"
    write_examples(examples, path)
    write_format(tmp_path, FIRST, small_lexicon)
    assert read_examples(path) == examples
    check_format(examples, path, FIRST, small_lexicon)
    with pytest.raises(ConfigError, match="made with document_chars 2000, training is set to 300"):
        check_format(examples, path, format_named("document-first", document_chars=300), small_lexicon)
    with pytest.raises(ConfigError, match="made with format 'document-first', training is set to 'sentence'"):
        check_format(examples, path, format_named("sentence"), small_lexicon)


def test_bare_prompts_pass_for_the_format_that_training_declares(small_kb: Any, small_lexicon: Any, tmp_path: Path) -> None:
    examples = made(small_kb, small_lexicon, context_dropout=1.0)
    for fmt in (FIRST, format_named("sentence")):
        check_format(examples, tmp_path / "human.jsonl", fmt, small_lexicon)


def test_the_command_line_makes_them(small_kb: Any, small_lexicon: Any, tmp_path: Path) -> None:
    small_kb.save(tmp_path / "kb")
    small_lexicon.save(tmp_path / "lexicon")
    write_jsonl([document()], tmp_path / "documents.jsonl")
    places = ["examples", tmp_path / "kb", tmp_path / "documents.jsonl", "--lexicon", tmp_path / "lexicon", "-o", tmp_path / "out", "--dev-fraction", 0]
    done = CliRunner().invoke(app, [*map(str, places), "--prompt-format", "document-first", "--document-chars", "30"])
    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "out" / "format.json").read_text(encoding="utf-8"))
    assert said == {"format": "document-first", "language": "en", "context_chars": 25, "document_chars": 30, "lexicon_digest": small_lexicon.digest}
    assert {len(example.prompt.shared) <= 31 for example in read_examples(tmp_path / "out" / "human.jsonl")} == {True}
