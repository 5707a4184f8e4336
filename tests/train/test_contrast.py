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


@pytest.fixture
def bases(prepared: Callable[..., Path], tmp_path: Path) -> Callable[[str], list[str]]:
    """Flags of a small random base model: a Gemma 2 that caps its logits, or a Mistral."""
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(prepared() / "tokenizer")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id, "bos_token_id": None}

    def make(kind: str) -> list[str]:
        torch.manual_seed(0)
        if kind == "gemma2":
            Gemma2ForCausalLM(Gemma2Config(vocab_size=len(tokenizer), final_logit_softcapping=0.05, **shape, **ends)).save_pretrained(tmp_path / "base")
        else:
            MistralForCausalLM(MistralConfig(vocab_size=len(tokenizer), initializer_range=0.2, **shape, **ends)).save_pretrained(tmp_path / "base")
        return ["--init", "pretrained", "--model_name_or_path", str(tmp_path / "base"), "--attn_implementation", "eager"]

    return make


LORA = ["--use_peft", "true", "--lora_target_modules", "q_proj", "--lora_dropout", "0"]


@pytest.mark.parametrize("packing", ["false", "true"])
@pytest.mark.parametrize(("kind", "more"), [("gemma2", []), ("mistral", []), ("mistral", LORA)], ids=["capped", "plain", "adapter"])
def test_beside_the_term_loss_and_gradient_are_trls(
    kind: str, more: list[str], packing: str, flags: Callable[..., list[str]], bases: Callable[[str], list[str]]
) -> None:
    trainer, *_ = make_trainer(parse(flags("--contrast", "0.5", *bases(kind), *more, "--packing", packing)))
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()  # no dropout

    def computed(weight: float, tokens: torch.Tensor | None) -> tuple[float, list[torch.Tensor]]:
        trainer._contrast_weight = weight
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, dict(inputs), num_items_in_batch=tokens)
        loss.backward()
        return loss.item(), [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]

    for tokens in (None, torch.tensor(7), torch.tensor(0)):
        (own, own_gradient), (theirs, their_gradient) = computed(1e-12, tokens), computed(0.0, tokens)
        assert own == pytest.approx(theirs, rel=1e-5)
        assert len(own_gradient) == len(their_gradient) > 0
        assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-6) for one, other in zip(own_gradient, their_gradient, strict=True))
    # What Gemma caps is a first guess that is nearly uniform, and differs from the loss of logits as they come.
    assert kind != "gemma2" or computed(1e-12, None)[0] == pytest.approx(np.log(trainer.model.config.vocab_size), abs=0.1)


def test_a_batch_without_targets_adds_nothing_and_breaks_nothing(flags: Callable[..., list[str]], bases: Callable[[str], list[str]]) -> None:
    trainer, *_ = make_trainer(parse(flags("--contrast", "0.5", *bases("mistral"))))
    inputs = dict(next(iter(trainer.get_train_dataloader())))
    inputs["labels"] = torch.full_like(inputs["labels"], -100)
    loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=torch.tensor(0))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("other", [("--label_smoothing_factor", "0.1"), ("--loss_type", "dft")])
def test_the_term_is_not_added_to_another_loss(other: tuple[str, str], flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match=rf"contrast is added to the plain loss of the names, and {other[0].strip('-')} .*{other[1]}.* is another"):
        parse(flags("--contrast", "0.5", *other))
