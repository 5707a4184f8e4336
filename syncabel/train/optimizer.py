"""Muon for the matrices of the layers, AdamW for the rest, as one optimizer.

Small models from nothing learn from fewer examples with it: docs/LOG.md has the comparison.  Muon (Jordan et al., 2024) is
torch's own; it takes matrices only, so embeddings and norms stay with AdamW.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["MuonWithAdamW", "muon_factory"]


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers behind the interface of one; schedulers and checkpoints see the parameter groups of both.

    Args:
        model: what is trained.
        lr: learning rate of AdamW.
        muon_factor: Muon's learning rate as a multiple of `lr`.
        betas, eps: of AdamW.
        weight_decay: of both; embeddings and norms get none.
    """

    def __init__(self, model: nn.Module, lr: float, muon_factor: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        embedding = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
        trained = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim == 2 and id(p) not in embedding]
        rest = [p for p in trained if p.ndim != 2 or id(p) in embedding]
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=lr * muon_factor, weight_decay=weight_decay),
            torch.optim.AdamW(rest, lr=lr, betas=betas, eps=eps, weight_decay=0.0),
        )
        super().__init__([{"params": part.param_groups[0]["params"]} for part in self._parts], {})
        self._link()

    def _link(self) -> None:
        """The groups are the parts' own, so that a scheduler's change reaches them."""
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # Loading replaced the parts' group objects.
        self._link()


def muon_factory() -> type[MuonWithAdamW]:
    """What transformers' Trainer takes for an optimizer that wants the whole model: a callable that gives one."""
    return MuonWithAdamW
