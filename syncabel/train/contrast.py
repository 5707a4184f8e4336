"""Hard negatives: what the trie offers beside each token of a name, and a loss that tells them apart.

At a branching of the trie the engine compares a name's next token with its siblings and with nothing else.  The term is the
cross-entropy of the target among itself and some siblings, from the logits that the ordinary loss needs anyway.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from constrained.trie import TokenTrie

__all__ = ["contrast", "siblings"]


def siblings(trie: TokenTrie, labels: NDArray[np.int64], starts: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int64]:
    """Tokens that the trie would also take in the place of each target.

    Args:
        trie: of the lexicon.
        labels: target tokens of names, end tokens included, one name after the other. Shape: (targets,).
        starts: whether a name begins there. Shape: (targets,).
        count: most siblings of a target, drawn without replacement.
        seed: of the draw.

    Returns:
        Token ids, −1 where there are fewer. Shape: (targets, count).
    """
    random = np.random.default_rng(seed)
    found = np.full((len(labels), count), -1, np.int64)
    node = 0
    for i, label in enumerate(labels):
        tokens, children = trie.children(0 if starts[i] else node)
        mine = int(np.searchsorted(tokens, label))
        others = np.delete(tokens, mine)
        if len(others) > count:
            others = random.choice(others, count, replace=False)
        found[i, : len(others)] = others
        node = int(children[mine])
    return found


def contrast(logits: torch.Tensor, labels: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Sum over targets of −log of the target's probability among itself and its negatives; one without negatives adds nothing.

    Args:
        logits: Shape: (targets, vocabulary).
        labels: Shape: (targets,).
        negatives: token ids, −1 for none. Shape: (targets, count).

    Returns:
        A scalar, in nats.
    """
    target = logits.gather(1, labels[:, None])
    others = logits.gather(1, negatives.clamp(min=0)).masked_fill(negatives < 0, -torch.inf)
    return (torch.cat([target, others], 1).logsumexp(1) - target[:, 0]).sum()
