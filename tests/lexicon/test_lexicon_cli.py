"""`syncabel lexicon build|tokenizer`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from syncabel.cli.lexicon import app
from syncabel.errors import ConfigError, TokenizerMismatchError, UnknownNameError
from syncabel.lexicon.store import Lexicon, tokenizer_digest
from syncabel.prompt import SEPARATOR, encode_name


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def kb(small_kb: Any, tmp_path: Path) -> Path:
    small_kb.save(tmp_path / "kb")
    return tmp_path / "kb"


@pytest.fixture
def pretrained(tiny_tokenizer: Any, tiny_llama: Callable[..., Any], tmp_path: Path) -> Path:
    """A model folder as it is downloaded: weights and a tokenizer without the separator."""
    folder = tmp_path / "pretrained"
    tiny_llama(len(tiny_tokenizer)).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_a_tokenizer_is_trained_on_names_and_documents_and_a_lexicon_is_built_for_it(kb: Path, small_kb: Any, tmp_path: Path) -> None:
    from syncabel.corpora import write_jsonl
    from syncabel.types import Document

    write_jsonl([Document(str(i), "zygomycosis was suspected") for i in range(20)], tmp_path / "documents.jsonl")
    done = run("tokenizer", kb, "--documents", tmp_path / "documents.jsonl", "--vocabulary", 320, "-o", tmp_path / "tokenizer")
    assert done.exit_code == 0, done.output
    tokenizer = load(tmp_path / "tokenizer")
    assert f"{len(tokenizer)} tokens" in done.output
    assert len(tokenizer) <= 320
    names_alone = run("tokenizer", kb, "--vocabulary", 320, "-o", tmp_path / "names")
    assert names_alone.exit_code == 0
    assert len(tokenizer("zygomycosis")["input_ids"]) < len(load(tmp_path / "names")("zygomycosis")["input_ids"])
    assert run("build", kb, "--tokenizer", tmp_path / "tokenizer", "-o", tmp_path / "lexicon").exit_code == 0
    lexicon = Lexicon.load(tmp_path / "lexicon")
    assert len(lexicon) == small_kb.n_names
    assert lexicon.code(lexicon.trie.walk(encode_name("stenocardia", tokenizer))) == "A:4"


def test_a_lexicon_for_the_syncabel_format_fits_the_tokenizer_that_training_completes(kb: Path, pretrained: Path, tmp_path: Path) -> None:
    from syncabel.train.arguments import parse
    from syncabel.train.model import load_tokenizer

    done = run("build", kb, "--tokenizer", pretrained, "-o", tmp_path / "lexicon", "--prompt-format", "syncabel", "--save-tokenizer", tmp_path / "saved")
    assert done.exit_code == 0, done.output
    lexicon = Lexicon.load(tmp_path / "lexicon")
    (tmp_path / "human.jsonl").touch()
    flags = ["--lexicon", str(tmp_path / "lexicon"), "--human_examples", str(tmp_path / "human.jsonl"), "--model_name_or_path", str(pretrained)]
    settings = parse([*flags, "--prompt_format", "syncabel", "--max_length", "128", "--output_dir", str(tmp_path / "run")])
    lexicon.check_tokenizer(load_tokenizer(settings))
    lexicon.check_tokenizer(load(tmp_path / "saved"))
    assert SEPARATOR in load(tmp_path / "saved").get_vocab()
    with pytest.raises(TokenizerMismatchError):
        lexicon.check_tokenizer(load(pretrained))


def test_the_sentence_format_leaves_the_tokenizer_as_it_is(kb: Path, pretrained: Path, tmp_path: Path) -> None:
    done = run("build", kb, "--tokenizer", pretrained, "-o", tmp_path / "lexicon", "--json")
    assert json.loads(done.stdout)["tokenizer_digest"] == tokenizer_digest(load(pretrained))
    assert not (tmp_path / "saved").exists()


def test_an_unknown_format_and_a_tokenizer_without_end_are_refused(kb: Path, pretrained: Path, tmp_path: Path) -> None:
    unknown = run("build", kb, "--tokenizer", pretrained, "-o", tmp_path / "lexicon", "--prompt-format", "plain")
    assert isinstance(unknown.exception, UnknownNameError)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path := pretrained / name).exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}), encoding="utf-8")
    endless = run("build", kb, "--tokenizer", pretrained, "-o", tmp_path / "lexicon")
    assert isinstance(endless.exception, ConfigError), endless.output
    assert not (tmp_path / "lexicon").exists()


TOKENIZERS = [
    "{}",
    "[]",
    "3",
    "null",
    '{"added_tokens": 3}',
    '{"added_tokens": []}',
    '{"version": "1.0", "model": {"type": "BPE"}, "added_tokens": []}',
]


@pytest.mark.parametrize("content", TOKENIZERS)
def test_a_file_that_is_json_and_no_tokenizer_is_refused_in_one_line(content: str, kb: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    done = run("build", kb, "--tokenizer", tmp_path, "-o", tmp_path / "lexicon")
    assert isinstance(done.exception, ConfigError), done.exception
    assert str(tmp_path) in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("content", ["[]", "{"])
def test_a_damaged_file_beside_the_tokenizer_is_refused_in_one_line(content: str, kb: Path, pretrained: Path, tmp_path: Path) -> None:
    (pretrained / "tokenizer_config.json").write_text(content, encoding="utf-8")
    done = run("build", kb, "--tokenizer", pretrained, "-o", tmp_path / "lexicon")
    assert isinstance(done.exception, ConfigError), done.exception
    assert "\n" not in str(done.exception)


def test_a_lexicon_is_not_written_into_a_folder_of_something_else(kb: Path, pretrained: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in pretrained.iterdir()}
    done = run("build", kb, "--tokenizer", pretrained, "-o", pretrained)
    assert isinstance(done.exception, ConfigError), done.exception
    assert {path: path.read_bytes() for path in pretrained.iterdir()} == before
    for _ in range(2):  # over a lexicon it may
        assert run("build", kb, "--tokenizer", pretrained, "-o", tmp_path / "lexicon").exit_code == 0


def test_a_tokenizer_learns_from_no_test_document(kb: Path, tmp_path: Path) -> None:
    from syncabel.corpora import write_jsonl
    from syncabel.types import Document

    write_jsonl([Document("seen", "zygomycosis"), Document("kept back", "zygomycosis", split="test")], tmp_path / "documents.jsonl")
    done = run("tokenizer", kb, "--documents", tmp_path / "documents.jsonl", "-o", tmp_path / "tokenizer")
    assert isinstance(done.exception, ConfigError), done.exception
    assert "kept back" in str(done.exception)
    assert not (tmp_path / "tokenizer").exists()


def test_documents_a_tokenizer_could_not_learn_from_are_said(kb: Path, tmp_path: Path) -> None:
    from syncabel.corpora import write_jsonl
    from syncabel.types import Document

    path = tmp_path / "documents.jsonl"
    write_jsonl([Document("1", "zygomycosis")], path)
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    done = run("tokenizer", kb, "--documents", path, "--vocabulary", 320, "-o", tmp_path / "tokenizer")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "rejected: 1 " in said
    assert "names and 1 documents" in said
