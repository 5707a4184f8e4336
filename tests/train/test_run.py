"""A training from flags to the exported folder, on a CPU, in seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncabel.errors import ConfigError, FormatError, IncompleteFolderError, SyncabelError
from syncabel.prompt import PromptFormat
from syncabel.train.arguments import parse
from syncabel.train.data import check_format
from syncabel.train.run import make_trainer, train


def test_a_run_writes_a_whole_model_folder_and_what_it_measured(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    from syncabel.linker import Linker

    more = ["--dev_documents", str(prepared() / "dev.jsonl"), "--types", str(prepared() / "types.json")]
    result = train(parse(flags(*more)))
    assert result.steps == 12
    assert result.loss < 6.5
    assert 0 <= (result.recall_at_1 or 0) <= 1
    measured = json.loads((tmp_path / "run" / "run.json").read_text())
    assert measured["result"]["dev"]["recall_at_1"] == result.recall_at_1
    assert [side["name"] for side in measured["sources"]] == ["human", "synthetic"]
    linker = Linker.from_pretrained(result.folder)
    assert linker.lexicon is not None
    assert linker.type_map.table["Disease"] == ("Disease",)


def test_evaluation_is_logged_as_recall(flags: Callable[..., list[str]], prepared: Callable[..., Path]) -> None:
    trainer, *_ = make_trainer(parse(flags("--dev_documents", str(prepared() / "dev.jsonl"), "--dev_sample", "5")))
    metrics = trainer.evaluate()
    assert len(trainer.dev.queries) == 5
    assert metrics["eval_recall_at_1"] in {k / 5 for k in range(6)}
    assert trainer.state.log_history[-1]["eval_recall_at_1"] == metrics["eval_recall_at_1"]


def test_examples_longer_than_max_length_are_counted_and_kept_with_their_reason(
    flags: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, data, _ = make_trainer(parse(flags("--max_length", "58")))
    rows = [json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()]
    assert 0 < len(rows) == len(data.rejected) == sum(side.dropped for side in data.mixture.report.sides)
    assert {row["reason"] for row in rows} == {"too_long"}
    assert f"dropped by max_length: {len(rows)} examples" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no training example is left"):
        make_trainer(parse(flags("--max_length", "10")))


def test_test_data_is_refused_for_selection(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text((prepared() / "dev.jsonl").read_text().replace('"split": "dev"', '"split": "test"', 1))
    with pytest.raises(ConfigError, match="never see test data"):
        make_trainer(parse(flags("--dev_documents", str(path))))


def test_a_ratio_without_its_source_is_refused(flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="no synthetic_examples"):
        make_trainer(parse(flags("--mix", "1:1", sources=("human",))))


@pytest.mark.parametrize("more", [[], ["--mix", "concatenate"], ["--packing", "true"], ["--max_steps", "-1"]], ids=["mix", "concatenate", "packs", "epochs"])
def test_a_step_that_takes_more_than_there_is_blames_the_batch(more: list[str], flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match=r"one step takes 100,000 examples .* the data have \d+ in all; lower per_device_train_batch_size"):
        make_trainer(parse(flags("--per_device_train_batch_size", "100000", *more)))
    with pytest.raises(ConfigError, match="max_repeats=1 times"):
        make_trainer(parse(flags("--max_repeats", "1")))


def test_a_lexicon_of_another_tokenizer_is_refused(flags: Callable[..., list[str]], prepared: Callable[..., Path]) -> None:
    from syncabel.errors import TokenizerMismatchError

    with pytest.raises(TokenizerMismatchError):
        make_trainer(parse(flags("--lexicon", str(prepared("syncabel") / "lexicon"))))


@pytest.mark.parametrize(
    ("more", "name", "message"),
    [
        (["--prompt_format", "syncabel"], "sentence", "an example in the prompt format 'sentence', training is set to 'syncabel'"),
        (["--prompt_format", "sentence"], "syncabel", "an example in the prompt format 'syncabel', training is set to 'sentence'"),
        (["--prompt_format", "document-first"], "sentence", "an example in the prompt format 'sentence', training is set to 'document-first'"),
        (["--prompt_format", "document-first"], "syncabel", "an example in the prompt format 'syncabel', training is set to 'document-first'"),
        (["--prompt_format", "sentence"], "document-first", "an example in the prompt format 'document-first', training is set to 'sentence'"),
        (["--prompt_format", "syncabel"], "document-first", "an example in the prompt format 'document-first', training is set to 'syncabel'"),
        (["--language", "fr"], "sentence", r"human\.jsonl:1: the question does not end in 'est'"),
        (["--language", "es"], "sentence", "the question does not end in 'es'"),
    ],
)
def test_examples_of_another_format_or_language_are_refused(
    more: list[str], name: str, message: str, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    lexicon = prepared("syncabel")  # its tokenizer has the separator, so that nothing else stands in the way
    places = ["--lexicon", str(lexicon / "lexicon"), "--tokenizer", str(lexicon / "tokenizer")]
    with pytest.raises(ConfigError, match=message):
        make_trainer(parse(flags(*places, *more, name=name)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "syncabel", "made with format 'syncabel', training is set to 'sentence'"),
        ("format", "document-first", "made with format 'document-first', training is set to 'sentence'"),
        ("language", "fr", "made with language 'fr', training is set to 'en'"),
        ("context_chars", 80, "made with context_chars 80, training is set to 600"),
        ("lexicon_digest", "0" * 64, "the lexicon of the examples: digest 00000000"),
        ("language", None, "does not say how the examples were made"),
    ],
)
def test_examples_whose_format_file_differs_from_the_settings_are_refused(
    name: str, value: Any, message: str, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    from syncabel.lexicon.store import Lexicon
    from syncabel.sft import read_examples

    examples = read_examples(prepared() / "human.jsonl")
    lexicon = Lexicon.load(prepared() / "lexicon")
    made = {"format": "sentence", "language": "en", "context_chars": 600, "lexicon_digest": lexicon.digest}
    path = tmp_path / "human.jsonl"
    (tmp_path / "format.json").write_text(json.dumps(made))
    check_format(examples, path, PromptFormat(), lexicon)
    changed = {**made, name: value} if value is not None else {key: kept for key, kept in made.items() if key != name}
    (tmp_path / "format.json").write_text(json.dumps(changed))
    with pytest.raises(SyncabelError, match=message):
        check_format(examples, path, PromptFormat(), lexicon)


def test_an_examples_file_in_another_encoding_is_refused_with_its_line(prepared: Callable[..., Path], tmp_path: Path) -> None:
    from syncabel.sft import read_examples

    first = (prepared() / "human.jsonl").read_bytes().splitlines()[0]
    (tmp_path / "human.jsonl").write_bytes(first + b"\n" + first.replace(b"patient", "café".encode("latin-1")) + b"\n")
    with pytest.raises(FormatError, match=r"human\.jsonl:2: not a training example: 'utf-8' codec"):
        read_examples(tmp_path / "human.jsonl")


def pretrained(prepared: Callable[..., Path], folder: Path, model: Any) -> list[str]:
    """Flags for a model saved with the tokenizer of the prepared folder."""
    from transformers import AutoTokenizer

    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(prepared() / "tokenizer").save_pretrained(folder)
    return ["--init", "pretrained", "--model_name_or_path", str(folder)]


def test_a_model_that_cannot_be_exported_is_refused_before_training(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    more = pretrained(prepared, tmp_path / "base", GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=8, n_layer=1, n_head=1)))
    with pytest.raises(ConfigError, match="'gpt2' model cannot be exported"):
        make_trainer(parse(flags(*more)))


def test_weights_that_were_cut_off_are_refused(flags: Callable[..., list[str]], prepared: Callable[..., Path], tiny_llama: Any, tmp_path: Path) -> None:
    more = pretrained(prepared, tmp_path / "base", tiny_llama(400))
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(IncompleteFolderError, match=r"the weights in .* are damaged"):
        make_trainer(parse(flags(*more)))


def test_every_new_token_starts_as_the_mean_of_the_rows_the_model_came_with(
    flags: Callable[..., list[str]], prepared: Callable[..., Path], tiny_llama: Any, tmp_path: Path
) -> None:
    import torch

    from syncabel.train.model import load_model, load_tokenizer

    more = pretrained(prepared, tmp_path / "base", tiny_llama(len(load_tokenizer(parse(flags())))))
    settings = parse(flags(*more))
    tokenizer = load_tokenizer(settings)
    old = len(tokenizer)
    mean = load_model(settings, tokenizer).get_input_embeddings().weight.mean(0)
    tokenizer.add_tokens(["<one>", "<two>", "<three>"], special_tokens=True)
    model = load_model(parse(flags(*more)), tokenizer)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert len(layer.weight) == old + 3
        torch.testing.assert_close(layer.weight[old:], mean.expand(3, -1))


def test_max_length_beyond_the_context_is_refused(flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="context holds 256"):
        make_trainer(parse(flags("--max_length", "300")))


def test_training_stops_at_the_end_of_its_time_with_the_rate_decayed(flags: Callable[..., list[str]]) -> None:
    result = train(parse(flags("--max_minutes", "0.02", "--max_steps", "100000", "--max_repeats", "100000")))
    assert 0 < result.steps < 100000
    assert 1.2 <= result.seconds < 10
    rates = [entry["learning_rate"] for entry in map(json.loads, (result.folder.parent / "log.jsonl").read_text().splitlines()) if "learning_rate" in entry]
    assert rates[-1] < 0.35 * max(rates)


def test_the_same_seed_gives_the_same_tokenizer_and_the_same_weights() -> None:
    import torch

    from syncabel.lexicon.store import tokenizer_digest
    from syncabel.train.scratch import random_llama, train_tokenizer

    texts = ["breast cancer", "type 12 diabetes", "l'embolie pulmonaire"] * 5
    one, two = train_tokenizer(texts, 300), train_tokenizer(texts, 300)
    assert tokenizer_digest(one) == tokenizer_digest(two)
    assert one.decode(one(" café 日本 β-cell 47")["input_ids"]) == " café 日本 β-cell 47"
    assert one.eos_token == "<|end|>"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 4, "context_length": 64, "initializer_range": 0.02}
    first, second, third = (random_llama(one, seed=seed, **shape) for seed in (1, 1, 2))
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, third.lm_head.weight)


def test_a_finished_run_whose_model_folder_another_run_has_taken_is_done_again(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    first, other = (flags("--max_steps", "2", "--seed", seed, "--model_folder", str(tmp_path / "model"), output=tmp_path / seed) for seed in ("1", "2"))
    train(parse(first))
    mine = load_file(tmp_path / "model" / "model.safetensors")
    train(parse(other))
    train(parse(first))
    again = load_file(tmp_path / "model" / "model.safetensors")
    assert all((again[name] == mine[name]).all() for name in mine)
