"""The trie inside vLLM: logits processors for both of its model runners, over one state of the requests.

    VLLM_TRIE=lexicon/trie vllm serve MODEL --logits-processors constrained.vllm.v2:TrieLogitsProcessor

`v1` is for the legacy model runner, `v2` for the second one; vLLM itself says which of them it uses when it starts.  A request
asks for names with `SamplingParams(extra_args={"syncabel": {}})`, narrowed by `{"groups": [2], "candidates": [17, 4]}` (numbers
of groups and entries of the trie; as JSON text over HTTP, where `vllm_xargs` takes no nested objects).  Without that key a
request is free.  `requests` holds what both share and needs no vLLM.
"""

from constrained.vllm.requests import EXTRA_ARG, FOLDER_VARIABLE

__all__ = ["EXTRA_ARG", "FOLDER_VARIABLE"]
