"""Log-probabilities from logits: of single tokens under the whole vocabulary, and of whole names as the oracle.

Of a row's logits only those asked for are looked at, normalised by the logsumexp of the whole row, in at least single precision:
log-probabilities are those of the full vocabulary and are never renormalised over the names.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constrained.attention import device_of, lock_of, place_of
from constrained.errors import SearchError

__all__ = ["Scores", "normaliser", "score_entries", "total_type"]

MOST_LOGITS = 1 << 27  # turned to single precision at once
MOST_CACHED = 1 << 19  # the same on a CPU: what stays in its cache is read once from memory, not three times
Longs = NDArray[np.int64]


def normaliser(logits: Tensor) -> Tensor:
    """Logsumexp of each row, see `full`, in blocks. Shape: (rows × vocabulary) → (rows,)."""
    most = MOST_CACHED if logits.device.type == "cpu" else MOST_LOGITS
    size = max(1, most // logits.shape[-1])
    return torch.cat([torch.logsumexp(full(block), dim=-1) for block in torch.split(logits, size)])


def full(logits: Tensor) -> Tensor:
    """Logits in single precision, or in double where the model computes in it."""
    return logits if logits.dtype == torch.float64 else logits.float()


def total_type(device: torch.device) -> torch.dtype:
    """The type that log-probabilities are summed in: double, but where the device has none."""
    return torch.float32 if device.type == "mps" else torch.float64


class Scores:
    """The logits of one forward pass, of which each row of a search has one line.

    Args:
        logits: Shape: (lines × vocabulary).
        line: of each row. Shape: (rows,).
    """

    def __init__(self, logits: Tensor, line: Longs) -> None:
        self._logits, self._line = logits, line
        self._normaliser = normaliser(logits)

    @property
    def vocabulary(self) -> int:
        """Number of logits of a line."""
        return int(self._logits.shape[-1])

    @property
    def device(self) -> torch.device:
        """Where the logits are."""
        return self._logits.device

    @property
    def finite(self) -> Tensor:
        """Whether each line's logits are numbers. Shape: (lines,)."""
        return torch.isfinite(self._normaliser)

    def of(self, row: Longs, token: Longs) -> Tensor:
        """Log-probability of a token after a row. Shape: (tokens,), see `full`."""
        return self.at(self._line[row], token)

    def of_all(self, token: Longs) -> Tensor:
        """Log-probability of tokens after every row. Shape: (tokens,) → (rows × tokens), see `full`."""
        line, ids = torch.from_numpy(self._line).to(self.device), torch.from_numpy(token).to(self.device)
        return full(self._logits[line][:, ids]) - self._normaliser[line, None]

    def at(self, line: Longs, token: Longs) -> Tensor:
        """Log-probability of a token on a line. Shape: (tokens,), see `full`."""
        place, ids = torch.from_numpy(np.stack([line, token])).to(self.device)
        return full(self._logits[place, ids]) - self._normaliser[place]

    def best(self, count: int) -> tuple[Longs, Tensor]:
        """The most probable tokens of each row by token id, and their log-probabilities. Shape: (rows × count) each."""
        line = torch.from_numpy(self._line).to(self.device)
        best = full(self._logits[line]).topk(min(count, self.vocabulary), dim=-1)
        # By token id, so that ties are decided by it.
        by_token = best.indices.argsort(dim=-1)
        token = best.indices.gather(-1, by_token)
        return token.cpu().numpy(), best.values.gather(-1, by_token) - self._normaliser[line, None]


@torch.inference_mode()
def score_entries(model: nn.Module, prompt: Sequence[int], trie_paths: Sequence[Sequence[int]], *, max_batch_tokens: int = 16384) -> list[float]:
    """Log-probability of every path after the prompt: the oracle, one plain forward pass over prompt and path, no cache.

    Args:
        model: decoder-only, in evaluation mode.
        prompt: token ids, at least one.
        trie_paths: token ids, end token included.
        max_batch_tokens: bound on rows × padded length; rows × longest path × vocabulary are bounded too, by `MOST_LOGITS`.

    Returns:
        Natural-log, full-vocabulary log-probabilities, one for each path.

    Raises:
        SearchError: see `check_arguments`.
    """
    check_arguments(model, [prompt])
    scores: list[float] = []
    longest = max((len(path) for path in trie_paths), default=0)
    size = max(1, min(max_batch_tokens // (len(prompt) + longest), MOST_LOGITS // ((longest + 1) * vocabulary_of(model))))
    with lock_of(model):
        for first in range(0, len(trie_paths), size):
            scores += _teacher_forced(model, prompt, trie_paths[first : first + size])
    return scores


def check_arguments(model: nn.Module, prompts: Sequence[Sequence[int]]) -> None:
    """Refuse what no search can do.

    Raises:
        SearchError: a prompt that is empty or has tokens the model does not know, or a model that is in training mode or lies on
            more than one device.
    """
    if model.training:
        raise SearchError("the model is in training mode, where dropout makes scores random: call model.eval() first")
    devices = sorted({str(place_of(parameter)) for parameter in model.parameters()})
    if len(devices) > 1:
        raise SearchError(f"the model lies on several devices ({', '.join(devices)}): load all of it on one")
    known = vocabulary_of(model)
    for query, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise SearchError("the prompt is empty; it needs at least one token", [query])
        ids = np.asarray(prompt)
        least, most = int(ids.min()), int(ids.max())
        if least < 0:
            raise SearchError(f"its prompt has token id {least}; token ids are at least 0", [query])
        if most >= known:
            raise SearchError(f"its prompt has token id {most}, the model knows {known} tokens: its tokenizer belongs to another model", [query])


def vocabulary_of(model: nn.Module) -> int:
    """Tokens a model knows."""
    config: Any = model.config
    return int(config.get_text_config().vocab_size)


def _teacher_forced(model: nn.Module, prompt: Sequence[int], paths: Sequence[Sequence[int]]) -> list[float]:
    # Padded on the right, where causal attention needs no mask.
    width = max(len(path) for path in paths)
    device = device_of(model)
    ids = torch.tensor([[*prompt, *path, *[0] * (width - len(path))] for path in paths], device=device)
    real = torch.tensor([[True] * len(path) + [False] * (width - len(path)) for path in paths], device=device)
    # From the last token of the prompt to the last but one: what comes after these.
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=width + 1).logits[:, -width - 1 : -1]
    chosen = full(logits.gather(-1, ids[:, len(prompt) :, None]).squeeze(-1))
    log_probs = chosen - torch.stack([normaliser(row) for row in logits])
    return [float(total) for total in log_probs.masked_fill(~real, 0.0).sum(-1, dtype=total_type(device))]
