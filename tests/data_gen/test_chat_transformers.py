"""A small model in this process: what a call's seed decides, and what its batch does not."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.transformers import TransformersEngine
from data_gen.writer import Message
from syncabel.errors import ConfigError, MissingExtraError, UnknownNameError

WORDS = ["arthritis", "syndrome", "deficiency", "hereditary", "breast", "cancer", "chronic", "kidney", "disease", "skin"]


def call(key: int, words: int | None = None, seed: int | None = None) -> Call:
    """Prompts of 1 to 20 words."""
    rng = random.Random(key)
    text = " ".join(rng.choices(WORDS, k=rng.randint(1, 20) if words is None else words))
    return Call(key, (Message("system", "Write."), Message("user", text)), key << 20 if seed is None else seed)


def engine(folder: Path, temperature: float = 1.0, top_p: float = 0.9, max_tokens: int = 12, **settings: Any) -> TransformersEngine:
    return TransformersEngine(folder, Sampling(temperature, top_p, max_tokens), **({"device": "cpu"} | settings))


def replies(asked: TransformersEngine, calls: list[Call]) -> dict[int, Reply]:
    found = list(asked.replies(calls))
    assert Counter(reply.key for reply in found) == Counter(one.key for one in calls)
    return {reply.key: reply for reply in found}


@pytest.fixture(scope="module")
def alone(tiny_chat_folder: Path) -> dict[int, Reply]:
    """Twenty calls, one at a time."""
    return replies(engine(tiny_chat_folder, batch_size=1), [call(i) for i in range(20)])


@pytest.mark.parametrize("batch_size", [2, 7, 32])
def test_an_answer_does_not_depend_on_its_batch(tiny_chat_folder: Path, alone: dict[int, Reply], batch_size: int) -> None:
    calls = [call(i) for i in range(20)]
    random.Random(batch_size).shuffle(calls)
    assert replies(engine(tiny_chat_folder, batch_size=batch_size), calls) == alone
    assert len({reply.text for reply in alone.values()}) == 20


def test_the_seed_decides_at_a_temperature_and_not_at_zero(tiny_chat_folder: Path) -> None:
    calls = [replace_key(call(3, seed=seed), i) for i, seed in enumerate([1, 1, 2, 2**48 - 1])]
    warm = [reply.text for reply in replies(engine(tiny_chat_folder), calls).values()]
    assert warm[0] == warm[1]
    assert len(set(warm)) == 3
    cold = {reply.text for reply in replies(engine(tiny_chat_folder, temperature=0.0), calls).values()}
    assert len(cold) == 1


def replace_key(one: Call, key: int) -> Call:
    return one._replace(key=key)


def test_at_zero_the_answer_is_the_greedy_one(tiny_chat_folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_chat_folder), AutoTokenizer.from_pretrained(tiny_chat_folder)
    calls = [call(i) for i in range(5)]
    for one, reply in zip(calls, replies(engine(tiny_chat_folder, temperature=0.0, batch_size=3), calls).values(), strict=True):
        ids = tokenizer(f"system: Write.\nuser: {one.messages[1].content}\nassistant:")["input_ids"]
        start = len(ids)
        with torch.no_grad():
            while len(ids) < start + 12 and ids[-1] != tokenizer.eos_token_id:
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert reply.text == tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert reply.prompt_tokens == start


def test_tokens_are_drawn_as_the_model_and_top_p_say(tiny_chat_folder: Path) -> None:
    """Chi-squared over first tokens of 3,000 seeds, against the model's softmax."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_chat_folder), AutoTokenizer.from_pretrained(tiny_chat_folder)
    asked = engine(tiny_chat_folder, temperature=0.7, top_p=0.8, max_tokens=1, batch_size=500)
    drawn = Counter(reply.text for reply in asked.replies(replace_key(call(1, seed=i * 7919), i) for i in range(3000)))
    ids = tokenizer(f"system: Write.\nuser: {call(1).messages[1].content}\nassistant:")["input_ids"]
    with torch.no_grad():
        shares = (model(torch.tensor([ids])).logits[0, -1] / 0.7).softmax(-1).double().numpy()
    order = np.argsort(-shares)
    kept = order[: int(np.searchsorted(np.cumsum(shares[order]), 0.8)) + 1]
    expected: Counter[str] = Counter()
    for token in kept:
        expected[tokenizer.decode([int(token)], skip_special_tokens=True)] += 3000 * shares[token] / shares[kept].sum()
    assert set(drawn) <= set(expected)
    often = [text for text, count in expected.items() if count >= 5]
    rest = [3000 - sum(drawn[text] for text in often)], [3000 - sum(expected[text] for text in often)]
    observed, wanted = ([counts[text] for text in often] + (last if rest[1][0] > 1 else []) for counts, last in zip((drawn, expected), rest, strict=True))
    assert len(often) > 10
    assert chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 0.001


def test_calls_are_drawn_batch_by_batch(tiny_chat_folder: Path) -> None:
    drawn = 0

    def endless() -> Iterator[Call]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield call(drawn, words=2)

    found = engine(tiny_chat_folder, batch_size=4, max_tokens=2).replies(endless())
    for taken in range(1, 13):
        next(found)
        assert drawn == -(-taken // 4) * 4
    found.close()


def test_a_prompt_that_does_not_fit_is_that_call_s_error(tiny_chat_folder: Path) -> None:
    found = replies(engine(tiny_chat_folder, batch_size=4), [call(0), call(1, words=400), call(2), *(call(i, words=400) for i in range(3, 9))])
    assert [key for key, reply in found.items() if reply.text is None] == [1, 3, 4, 5, 6, 7, 8]
    assert re.fullmatch(r"the prompt's \d+ tokens and 12 of an answer pass the model's context of 512", found[1].error)


def test_an_answer_says_whether_it_was_cut(tiny_chat_folder: Path, tmp_path: Path) -> None:
    found = replies(engine(tiny_chat_folder, max_tokens=12, temperature=3.0, top_p=1.0), [call(i, words=2) for i in range(300)])
    cut = {reply.completion_tokens for reply in found.values() if reply.finish == "length"}
    ended = {reply.completion_tokens for reply in found.values() if reply.finish == "stop"}
    assert cut == {12}
    assert ended
    assert max(ended) <= 12


def test_a_checkpoint_s_generation_settings_do_not_decide(tiny_chat_folder: Path, alone: dict[int, Reply], tmp_path: Path) -> None:
    """All but the end tokens."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_chat_folder), AutoTokenizer.from_pretrained(tiny_chat_folder)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, max_new_tokens=3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert replies(engine(tmp_path, batch_size=1), [call(i) for i in range(20)]) == alone


def test_it_says_what_it_is(tiny_chat_folder: Path) -> None:
    import transformers

    asked = engine(tiny_chat_folder)
    assert (asked.name, asked.model, asked.version, asked.local) == ("transformers", "tiny-chat", f"transformers {transformers.__version__}", True)
    assert asked.settings == engine(tiny_chat_folder).settings != replace(asked, batch_size=3).settings
    assert len(asked.settings["files"]) == 64


def test_a_folder_that_cannot_chat_is_refused_on_one_line(tiny_chat_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer of transformers"):
        list(engine(tmp_path / "nothing").replies([call(0)]))
    tokenizer = AutoTokenizer.from_pretrained(tiny_chat_folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no chat template") as raised:
        list(engine(tmp_path).replies([call(0)]))
    assert "\n" not in str(raised.value)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    AutoModelForCausalLM.from_pretrained(tiny_chat_folder).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="refuses a chat of the roles system, user"):
        list(engine(tmp_path).replies([call(0)]))


def test_four_bits_are_for_a_gpu_and_need_bitsandbytes(tiny_chat_folder: Path) -> None:
    with pytest.raises(ConfigError, match="need a GPU"):
        engine(tiny_chat_folder, load_in_4bit=True)
    if find_spec("bitsandbytes") is None:
        with pytest.raises(MissingExtraError, match=r"syncabel\[qlora\]"):
            engine(tiny_chat_folder, load_in_4bit=True, device="cuda")


def test_what_prompts_begin_with_in_common_is_read_once(tiny_chat_folder: Path) -> None:
    asked = engine(tiny_chat_folder, batch_size=8)
    start = " ".join(WORDS)
    calls = [one._replace(messages=(Message("system", start), *one.messages)) for one in map(call, range(8))]
    single = replies(engine(tiny_chat_folder, batch_size=1), calls)
    read: list[tuple[int, ...]] = []
    asked._loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, args: read.append(tuple(args[0].shape)))
    assert replies(asked, calls) == single
    tokenizer = asked._loaded.tokenizer
    ids = [tokenizer.apply_chat_template([m._asdict() for m in one.messages], add_generation_prompt=True, return_dict=False) for one in calls]
    shared = next(i for i, tokens in enumerate(zip(*ids, strict=False)) if len(set(tokens)) > 1)
    assert shared > 10
    assert read[:2] == [(1, shared), (8, max(map(len, ids)) - shared)]


@pytest.mark.parametrize("kind", ["mistral", "lfm2"])
def test_nothing_is_shared_where_a_layer_does_not_keep_all_it_has_read(kind: str, tiny_chat_folder: Path, tmp_path: Path) -> None:
    """A window counts padding, and a convolution's state is of one row."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_chat_folder)
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    own = {"mistral": {"sliding_window": 16, "initializer_range": 0.4}, "lfm2": {"layer_types": ["conv", "full_attention"], "initializer_range": 0.4}}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **small, **own[kind])).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    calls = [one._replace(messages=(Message("system", " ".join(WORDS)), *one.messages)) for one in map(call, range(4))]
    asked = engine(tmp_path, batch_size=4)
    assert replies(asked, calls) == replies(engine(tmp_path, batch_size=1), calls)
    assert not asked._loaded.shares


def test_equal_prompts_share_all_but_their_last_token(tiny_chat_folder: Path) -> None:
    calls = [replace_key(call(3, seed=5), i) for i in range(4)]
    assert len({reply.text for reply in replies(engine(tiny_chat_folder, batch_size=4), calls).values()}) == 1


def test_an_unknown_dtype_names_the_known_ones(tiny_chat_folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="bfloat16"):
        engine(tiny_chat_folder, dtype="bf16")
