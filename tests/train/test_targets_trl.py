"""What reaches the model through TRL is the trie's path, for 1,000 names and four kinds of tokenizer."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from syncabel.errors import ConfigError
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.build import build_lexicon
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, encode_name, encode_prompt, from_sentence
from syncabel.train.data import IGNORED, build_run, check_targets, encode_examples
from syncabel.types import SFTExample

FMT = PromptFormat()


@pytest.fixture(scope="module")
def kb() -> KnowledgeBase:
    whole = KnowledgeBase.load("doid")
    return whole.subset(whole.codes[:: len(whole.codes) // 400])


def names_of(kb: KnowledgeBase) -> list[str]:
    return [name.text for concept in kb.concepts() for name in concept.names]


def wrapped(tokenizer: Tokenizer, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]


def byte_level(texts: Iterable[str]) -> Any:
    from syncabel.train.scratch import train_tokenizer

    return train_tokenizer(texts, 600)


def with_begin_token(texts: Iterable[str]) -> Any:
    """As Llama 3: byte-level BPE, a begin token put in front by the post-processor."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|eot_id|>"]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
    return wrapped(tokenizer, bos_token=special[0], eos_token=special[1], pad_token=special[1])


def unigram(texts: Iterable[str]) -> Any:
    """As SentencePiece: pieces that carry the space, unknown characters as one token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return wrapped(tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>")


def word_piece(texts: Iterable[str]) -> Any:
    """As BERT: lower case, ends and begins by its own special tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return wrapped(tokenizer, unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]", pad_token="[PAD]")


def examples_for(lexicon: Lexicon, count: int) -> list[SFTExample]:
    step = max(1, len(lexicon) // count)
    made = []
    for entry in range(0, len(lexicon), step)[:count]:
        prompt = from_sentence(f"Case {entry}: the patient has [a disease]{{Disease}} now.", FMT)
        made.append(SFTExample(prompt, lexicon.name(entry), lexicon.code(entry), "human", f"d{entry}", "1"))
    return made


@pytest.mark.parametrize("make", [byte_level, with_begin_token, unigram, word_piece])
def test_the_labels_that_reach_the_model_through_trl_are_the_paths_of_the_trie(
    make: Callable[[Iterable[str]], Any], kb: KnowledgeBase, tiny_llama: Any, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    names = names_of(kb)
    tokenizer = make([*names, *names[::2], "Case 0123456789: the patient has [a disease]{Disease} now. is ="])
    lexicon = build_lexicon(kb, tokenizer)
    examples = examples_for(lexicon, 1000)
    assert len(examples) == 1000
    ours = build_run(
        {"human": encode_examples(examples, lexicon, tokenizer, 512)},
        ratio=None,
        max_steps=0,
        epochs=1,
        items_per_step=50,
        packing=None,
        bucket_batches=1,
        max_repeats=1,
        seed=0,
    )
    # TRL's own preparation, from ids and a mask; nothing is skipped.
    rows = [(encode_prompt(example.prompt, tokenizer), encode_name(example.completion, tokenizer)) for example in examples]
    plain = Dataset.from_dict({"input_ids": [p + n for p, n in rows], "completion_mask": [[0] * len(p) + [1] * len(n) for p, n in rows]})
    arguments = {"bf16": False, "activation_checkpointing": False, "completion_only_loss": True, "report_to": "none", "per_device_train_batch_size": 50}
    args = SFTConfig(output_dir=str(tmp_path), train_sampling_strategy="sequential", dataloader_pin_memory=False, **arguments)
    trainer = SFTTrainer(tiny_llama(len(tokenizer)), args, train_dataset=plain, processing_class=tokenizer)
    through_trl = [tuple(labels[labels != IGNORED].tolist()) for batch in trainer.get_train_dataloader() for labels in batch["labels"]]
    assert [lexicon.trie.walk(path) for path in through_trl] == [lexicon.trie.walk(name) for _, name in rows]
    assert all(lexicon.code(lexicon.trie.walk(path)) == example.code for path, example in zip(through_trl, examples, strict=True))
    # What this project's trainer feeds instead: the same sequences, in its own order, through the same collator.
    batch = trainer.data_collator([ours.dataset[i] for i in range(1000)])
    fed = [
        (tuple(ids[mask == 1].tolist()), tuple(labels[labels != IGNORED].tolist()))
        for ids, mask, labels in zip(*(batch[k] for k in ("input_ids", "attention_mask", "labels")), strict=True)
    ]
    assert sorted(fed) == sorted((tuple(p + n), tuple(n)) for p, n in rows)


def test_an_example_made_for_another_lexicon_is_named(small_lexicon: Any, tiny_tokenizer: Any) -> None:
    prompt = from_sentence("The patient has [MS].", FMT)
    with pytest.raises(ConfigError, match=r"d#7: 'measles' for A:1 is no name of it: made for another lexicon"):
        check_targets([SFTExample(prompt, "measles", "A:1", "human", "d", "7")], small_lexicon, tiny_tokenizer)
    with pytest.raises(ConfigError, match="is the name of A:3"):
        check_targets([SFTExample(prompt, "angina", "A:1", "human", "d", "7")], small_lexicon, tiny_tokenizer)
