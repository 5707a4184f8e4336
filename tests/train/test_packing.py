"""Packing: the mask stays, no token sees another example, the mixture stays what it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncabel.train.arguments import parse
from syncabel.train.data import IGNORED, Tokens, build_run, pack
from syncabel.train.run import make_trainer


def tokens(lengths: list[int], loss: int = 2, first: int = 5) -> Tokens:
    """Examples whose ids are all different, the last `loss` of each with loss."""
    total = sum(lengths)
    ids = np.arange(first, first + total, dtype=np.int32)
    labels = np.full(total, IGNORED, np.int32)
    for end in np.cumsum(lengths):
        labels[end - loss : end] = ids[end - loss : end]
    return Tokens(ids, labels, np.array(lengths, np.int64), np.ones(len(lengths), np.int64))


def split(packed: Tokens) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    ends = np.cumsum(packed.lengths)
    return [(tuple(packed.ids[e - n : e].tolist()), tuple(packed.labels[e - n : e].tolist())) for e, n in zip(ends, packed.lengths, strict=True)]


@given(st.lists(st.integers(3, 50), min_size=1, max_size=80), st.integers(0, 3))
def test_packs_hold_every_example_once_and_whole_with_its_mask(lengths: list[int], seed: int) -> None:
    packed = pack(tokens(lengths), 64, seed)
    assert sorted(split(packed)) == sorted(split(tokens(lengths)))
    assert packed.item_lengths.max() <= 64
    assert packed.item_lengths.sum() == sum(lengths)
    assert packed.loss_tokens.sum() == 2 * len(lengths)


def test_packs_are_nearly_full() -> None:
    lengths = np.random.default_rng(0).integers(10, 60, 2000).tolist()
    packed = pack(tokens(lengths), 256, 0)
    assert packed.item_lengths.mean() > 0.97 * 256


def test_the_mixture_is_one_to_one_after_packing_at_any_prefix() -> None:
    random = np.random.default_rng(0)
    human, synthetic = tokens(random.integers(30, 60, 40).tolist(), loss=7), tokens(random.integers(10, 40, 900).tolist(), loss=3)
    run = build_run(
        {"human": human, "synthetic": synthetic},
        ratio="1:1",
        max_steps=0,
        epochs=2,
        items_per_step=4,
        packing=128,
        bucket_batches=1,
        max_repeats=500,
        seed=1,
    )
    loss = np.array([sum(label != IGNORED for label in row) for row in run.dataset["labels"]])
    human_loss = np.cumsum(np.where(run.mixture.side == 0, loss, 0))
    assert np.abs(human_loss - np.cumsum(loss) / 2).max() <= loss.max()
    assert run.mixture.report.sides[0].share == pytest.approx(0.5, abs=0.01)
    assert all(sum(sizes) == len(row) for sizes, row in zip(run.dataset["seq_lengths"], run.dataset["input_ids"], strict=True))


def test_no_token_attends_across_examples(flags: Callable[..., list[str]]) -> None:
    trainer, *_ = make_trainer(parse(flags("--packing", "true", "--per_device_train_batch_size", "2", "--max_length", "128")))
    model = trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].shape[0] == 1
    assert "attention_mask" not in batch
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) > 4
    with torch.no_grad():
        together = model(**{key: value for key, value in batch.items() if key != "labels"}, use_cache=False).logits[0]
        for start, end in zip(starts, [*starts[1:], batch["input_ids"].shape[1]], strict=True):
            alone = model(input_ids=batch["input_ids"][:, start:end], use_cache=False).logits[0]
            torch.testing.assert_close(together[start:end], alone, atol=1e-5, rtol=1e-4)
    # The first token of an example is never a target: it would be predicted from the example before.
    assert all(batch["labels"][0, start] == IGNORED for start in starts)


@pytest.mark.parametrize("packing", ["true", "false"])
def test_the_order_laid_out_is_the_order_the_model_sees(packing: str, flags: Callable[..., list[str]]) -> None:
    trainer, data, _ = make_trainer(parse(flags("--packing", packing, "--max_steps", "5", "--per_device_train_batch_size", "4", "--max_length", "128")))
    seen = [batch["labels"][batch["labels"] != IGNORED].tolist() for batch in trainer.get_train_dataloader()]
    laid_out = [[label for row in data.dataset[i : i + 4]["labels"] for label in row if label != IGNORED] for i in range(0, 20, 4)]
    assert seen == laid_out


def test_the_loss_computed_on_a_cpu_and_its_gradient_are_those_of_trl(flags: Callable[..., list[str]], monkeypatch: Any) -> None:
    trainer, *_ = make_trainer(parse(flags()))
    batch = next(iter(trainer.get_train_dataloader()))
    results = []
    for few in (True, False):
        monkeypatch.setattr(trainer, "_scores_few", lambda few=few: few)
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=torch.tensor(77))
        loss.backward()
        results.append((loss.detach(), trainer.model.lm_head.weight.grad.clone()))
    torch.testing.assert_close(*[loss for loss, _ in results], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*[gradient for _, gradient in results], atol=1e-6, rtol=1e-4)
