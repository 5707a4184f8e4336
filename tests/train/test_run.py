"""A training from flags to the exported folder, on a CPU, in seconds."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from syncabel.errors import ConfigError
from syncabel.train.arguments import parse
from syncabel.train.run import make_trainer, train


def test_a_run_writes_a_whole_model_folder_and_what_it_measured(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    from syncabel.linker import Linker

    more = ["--dev_documents", str(prepared() / "dev.jsonl"), "--types", str(prepared() / "types.json"), "--eval_strategy", "steps", "--eval_steps", "6"]
    result = train(parse(flags(*more)))
    assert result.steps == 12
    assert result.loss < 6.5
    assert 0 <= (result.recall_at_1 or 0) <= 1
    measured = json.loads((tmp_path / "run" / "training.json").read_text())
    assert measured["dev_recall_at_1"] == result.recall_at_1
    assert "human data" in measured
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
    with pytest.raises(ConfigError, match="test data is refused for selection"):
        make_trainer(parse(flags("--dev_documents", str(path))))


def test_a_ratio_without_its_source_is_refused(flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="no synthetic_examples"):
        make_trainer(parse(flags("--mix", "1:1", sources=("human",))))


def test_a_lexicon_of_another_tokenizer_is_refused(flags: Callable[..., list[str]], prepared: Callable[..., Path]) -> None:
    from syncabel.errors import TokenizerMismatchError

    with pytest.raises(TokenizerMismatchError):
        make_trainer(parse(flags("--lexicon", str(prepared("syncabel") / "lexicon"))))


def test_max_length_beyond_the_context_is_refused(flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="context holds 256"):
        make_trainer(parse(flags("--max_length", "300")))


def test_training_stops_at_the_end_of_its_time_with_the_rate_decayed(flags: Callable[..., list[str]]) -> None:
    result = train(parse(flags("--max_minutes", "0.02", "--max_steps", "100000", "--max_repeats", "100000")))
    assert 0 < result.steps < 100000
    assert 1.2 <= result.seconds < 10
    rates = [entry["learning_rate"] for entry in json.loads((result.folder.parent / "log.json").read_text()) if "learning_rate" in entry]
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
