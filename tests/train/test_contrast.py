"""Hard negatives are what the trie would also take, and the term is the cross-entropy among them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from syncabel.errors import ConfigError
from syncabel.lexicon.store import Lexicon
from syncabel.train.arguments import parse
from syncabel.train.contrast import contrast, siblings
from syncabel.train.record import file_digests
from syncabel.train.run import make_trainer, train


def paths(lexicon: Lexicon) -> list[tuple[int, ...]]:
    return [tuple(lexicon.trie.path(entry).tolist()) for entry in range(len(lexicon))]


def test_siblings_are_the_other_tokens_that_some_name_goes_on_with(prepared: Callable[..., Path]) -> None:
    lexicon = Lexicon.load(prepared() / "lexicon")
    names = paths(lexicon)
    labels = np.array([token for name in names for token in name], np.int64)
    starts = np.array([i == 0 for name in names for i in range(len(name))])
    found = siblings(lexicon.trie, labels, starts, 1000, seed=0)
    rows = iter(found)
    for name in names:
        for depth, token in enumerate(name):
            beside = {other[depth] for other in names if other[:depth] == name[:depth] and len(other) > depth} - {token}
            row = next(rows)
            assert sorted(row[row >= 0].tolist()) == sorted(beside)


def test_of_many_siblings_some_are_drawn_and_the_seed_says_which(prepared: Callable[..., Path]) -> None:
    lexicon = Lexicon.load(prepared() / "lexicon")
    (name, *_) = paths(lexicon)
    labels, starts = np.array(name, np.int64), np.array([True] + [False] * (len(name) - 1))
    everything = siblings(lexicon.trie, labels, starts, 1000, seed=0)[0]
    draws = [siblings(lexicon.trie, labels, starts, 2, seed)[0] for seed in (1, 1, 2, 3, 4)]
    assert all(len(set(draw.tolist())) == 2 and set(draw.tolist()) <= set(everything.tolist()) - {name[0], -1} for draw in draws)
    assert (draws[0] == draws[1]).all()
    assert len({tuple(sorted(draw.tolist())) for draw in draws}) > 1


def test_the_term_is_the_cross_entropy_of_the_target_among_itself_and_its_negatives() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, -1.0, 9.0], [7.0, 7.0, 7.0, 7.0]], requires_grad=True)
    labels, negatives = torch.tensor([1, 0, 2]), torch.tensor([[2, -1], [1, 2], [-1, -1]])
    total = contrast(logits, labels, negatives)
    by_hand = -np.log(np.exp(2) / (np.exp(2) + np.exp(3))) - np.log(np.exp(0.5) / (np.exp(0.5) + np.exp(0) + np.exp(-1)))
    assert total.item() == pytest.approx(by_hand, rel=1e-6)
    total.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[2] == 0).all(), "nothing stands beside the third target"
    assert (logits.grad[0, [0, 3]] == 0).all(), "no token outside the trie is pushed"


@pytest.mark.parametrize("packing", ["false", "true"])
def test_the_names_of_a_batch_are_found_in_the_trie_whether_packed_or_not(packing: str, flags: Callable[..., list[str]]) -> None:
    trainer, *_ = make_trainer(parse(flags("--contrast", "0.5", "--negatives", "3", "--packing", packing, "--per_device_train_batch_size", "2")))
    inputs = next(iter(trainer.get_train_dataloader()))
    torch.manual_seed(0)
    with_term = trainer.compute_loss(trainer.model, dict(inputs)).item()
    trainer._contrast_weight = 0.0
    assert with_term > trainer.compute_loss(trainer.model, dict(inputs)).item()


@pytest.mark.slow
def test_training_with_the_term_goes_on_after_a_kill_as_if_nothing_had_been(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file

    again = flags("--contrast", "0.5", "--save_strategy", "steps", "--save_steps", "4")
    whole = load_file(train(parse(again)).folder / "model.safetensors")
    for left in ("checkpoint-12", "model"):
        shutil.rmtree(tmp_path / "run" / left)
    resumed = load_file(train(parse(again)).folder / "model.safetensors")
    assert all(abs(resumed[name] - values).max() < 1e-6 for name, values in whole.items())


def test_the_term_goes_with_an_adapter(flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from syncabel.train.scratch import random_llama

    tokenizer = AutoTokenizer.from_pretrained(prepared() / "tokenizer")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 2, "num_heads": 4, "context_length": 256, "initializer_range": 0.02}
    random_llama(tokenizer, **shape, seed=0).save_pretrained(tmp_path / "base")
    adapted = ["--init", "pretrained", "--model_name_or_path", str(tmp_path / "base"), "--use_peft", "true", "--lora_target_modules", "q_proj"]
    settings = parse(flags("--contrast", "0.5", *adapted))
    trainer, *_ = make_trainer(settings)
    trainer.compute_loss(trainer.model, dict(next(iter(trainer.get_train_dataloader())))).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.model.parameters() if p.requires_grad), "the adapter learns"
    with pytest.raises(ConfigError, match=r"lora_target_modules .*q_porj"):
        make_trainer(parse(flags(*adapted[:-1], "q_porj")))
    assert "base_weights" in trainer.mark.parts
    before = trainer.mark.parts["base_weights"]
    random_llama(tokenizer, **shape, seed=1).save_pretrained(tmp_path / "base")
    assert file_digests(settings)["base_weights"] != before, "other weights in the same folder are another run"


@pytest.mark.parametrize("packing", ["false", "true"])
def test_beside_the_term_the_loss_is_trls_also_of_a_model_that_caps_its_logits(
    packing: str, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(prepared() / "tokenizer")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    capped = Gemma2Config(vocab_size=len(tokenizer), final_logit_softcapping=0.05, **shape, **ends)
    Gemma2ForCausalLM(capped).save_pretrained(tmp_path / "base")
    base = ["--init", "pretrained", "--model_name_or_path", str(tmp_path / "base"), "--packing", packing, "--attn_implementation", "eager"]
    trainer, *_ = make_trainer(parse(flags("--contrast", "0.5", *base)))
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer._contrast_weight = 1e-12
    own = trainer.compute_loss(trainer.model, dict(inputs)).item()
    trainer._contrast_weight = 0.0
    assert own == pytest.approx(trainer.compute_loss(trainer.model, dict(inputs)).item(), rel=1e-6)
    assert own == pytest.approx(np.log(len(tokenizer)), abs=0.1), "capped, the first guess is nearly uniform"
