from typing import Any

import pytest
import torch

from syncabel.train.optimizer import MuonWithAdamW


def make(model: Any) -> MuonWithAdamW:
    return MuonWithAdamW(model, lr=1e-3, muon_factor=5.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def loss_of(model: Any) -> torch.Tensor:
    ids = torch.arange(12).reshape(2, 6) % 50
    return model(input_ids=ids, labels=ids).loss


def step(model: Any, optimizer: Any) -> float:
    loss = loss_of(model)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def test_every_parameter_is_trained_by_exactly_one_part(tiny_llama: Any) -> None:
    model = tiny_llama(50)
    held = [id(p) for group in make(model).param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_embeddings_and_norms_stay_with_adamw(tiny_llama: Any) -> None:
    model = tiny_llama(50)
    muon, adamw = make(model).param_groups
    assert {p.ndim for p in muon["params"]} == {2}
    assert id(model.get_input_embeddings().weight) in {id(p) for p in adamw["params"]}


def test_the_loss_falls(tiny_llama: Any) -> None:
    model = tiny_llama(50).train()
    optimizer = make(model)
    losses = [step(model, optimizer) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_scheduler_reaches_both_parts(tiny_llama: Any) -> None:
    model = tiny_llama(50).train()
    optimizer = make(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.0)
    before = [p.clone() for p in model.parameters()]
    step(model, optimizer)
    scheduler.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert [group["lr"] for part in optimizer._parts for group in part.param_groups] == [0.0, 0.0]


@pytest.mark.parametrize("reloads", [1, 2])
def test_a_reloaded_state_goes_on_as_if_nothing_happened(tiny_llama: Any, reloads: int) -> None:
    one, other = tiny_llama(50).train(), tiny_llama(50).train()
    straight, stopped = make(one), make(other)
    for _ in range(3):
        step(one, straight)
        step(other, stopped)
    for _ in range(reloads):
        again = make(other)
        again.load_state_dict(stopped.state_dict())
        stopped = again
    for group in stopped.param_groups:
        group["lr"] *= 1.0
    assert [step(one, straight) for _ in range(3)] == pytest.approx([step(other, stopped) for _ in range(3)])
