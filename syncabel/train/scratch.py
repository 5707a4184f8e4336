"""A tokenizer and a Llama from nothing, for `init: random`: small enough to be trained on a CPU in minutes."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

__all__ = ["END", "random_llama", "train_tokenizer"]

END = "<|end|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer trained on names and sentences; every text has an encoding, the same texts give the same tokenizer.

    Args:
        texts: what to learn from; names as the model will write them and sentences as it will read them.
        vocab_size: tokens, at least 257 (256 bytes and the end token, which also pads).

    Returns:
        A PreTrainedTokenizerFast with `<|end|>` as end and padding token and no begin token.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Digits apart: codes and types in names ("type 12", "47,XXY") are then written from ten tokens.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False)  # type: ignore[no-untyped-call]


def random_llama(
    tokenizer: Any, *, hidden_size: int, intermediate_size: int, num_layers: int, num_heads: int, context_length: int, initializer_range: float, seed: int
) -> Any:
    """A LlamaForCausalLM with random weights, float32, embeddings tied; equal seeds give equal weights.

    Args:
        tokenizer: decides the vocabulary and the end token.
        hidden_size, intermediate_size, num_layers, num_heads: the shape.
        context_length: tokens.
        initializer_range: standard deviation of the first weights.
        seed: of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=context_length,
        initializer_range=initializer_range,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
