"""vLLM in this process: a tiny random Llama always, SmolLM2-135M-Instruct where `SYNCABEL_SMOLLM2` names its folder."""

import gc
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: run `make test-vllm`")

import jsonschema
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.vllm import VLLMEngine
from data_gen.writer import Message
from syncabel.errors import ConfigError

MODEL_VARIABLE = "SYNCABEL_SMOLLM2"
WORDS = ["arthritis", "syndrome", "deficiency", "hereditary", "breast", "cancer", "chronic", "kidney"]
SCHEMA = {
    "type": "object",
    "properties": {"sentences": {"type": "array", "items": {"type": "string", "maxLength": 40}, "minItems": 1, "maxItems": 2}},
    "required": ["sentences"],
    "additionalProperties": False,
}


def call(key: int, words: int = 0, seed: int | None = None) -> Call:
    text = " ".join(itertools.islice(itertools.cycle(WORDS[key % 8 :] + WORDS[: key % 8]), words or 1 + key % 12))
    return Call(key, (Message("system", "Write."), Message("user", text)), key << 20 if seed is None else seed)


def replies(asked: VLLMEngine, calls: list[Call]) -> dict[int, Reply]:
    found = list(asked.replies(calls))
    assert Counter(reply.key for reply in found) == Counter(one.key for one in calls)
    return {reply.key: reply for reply in found}


def unloaded(asked: VLLMEngine) -> None:
    """vLLM gives its memory back only when nothing holds it."""
    asked._loaded.llm.llm_engine.engine_core.shutdown()
    vars(asked).pop("_loaded")
    gc.collect()


@pytest.fixture(scope="module")
def tiny(tiny_chat_folder: Path) -> Iterator[VLLMEngine]:
    engine = VLLMEngine(tiny_chat_folder, Sampling(1.0, 0.9, 12), max_model_len=160, window=6, dtype="float32", enforce_eager=True)
    yield engine
    unloaded(engine)


def test_every_call_gets_one_reply_and_the_same_one_again(tiny: VLLMEngine) -> None:
    calls = [call(i) for i in range(40)]
    found = replies(tiny, calls)
    assert all(reply.text and not reply.error and reply.finish in ("stop", "length") for reply in found.values())
    assert {reply.completion_tokens for reply in found.values() if reply.finish == "length"} == {12}
    assert len({reply.text for reply in found.values()}) == 40
    again = replies(tiny, calls)
    # Other batches, other last digits: nearly all are the same to the letter.
    assert sum(found[i] == again[i] for i in range(40)) >= 36


def test_the_seed_decides(tiny: VLLMEngine) -> None:
    texts = [reply.text for _, reply in sorted(replies(tiny, [call(3, seed=seed)._replace(key=i) for i, seed in enumerate([1, 1, 2**48 - 1])]).items())]
    assert texts[0] == texts[1] != texts[2]


def test_prompts_are_the_chat_template_s(tiny: VLLMEngine, tiny_chat_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_chat_folder)
    for key, reply in replies(tiny, [call(i) for i in range(6)]).items():
        assert reply.prompt_tokens == len(tokenizer(f"system: Write.\nuser: {call(key).messages[1].content}\nassistant:")["input_ids"])


def test_calls_are_drawn_as_others_end(tiny: VLLMEngine) -> None:
    drawn = 0

    def endless() -> Iterator[Call]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield call(drawn)

    found = tiny.replies(endless())
    for taken in range(1, 40):
        next(found)
        # Several may end in one step; they are handed out before more are drawn.
        assert drawn <= taken + 6
    found.close()
    assert not tiny._loaded.llm.llm_engine.has_unfinished_requests()


def test_a_prompt_that_does_not_fit_is_that_call_s_error(tiny: VLLMEngine) -> None:
    found = replies(tiny, [call(0), call(1, words=100), *(call(i, words=100) for i in range(2, 20)), call(20)])
    assert [key for key, reply in sorted(found.items()) if reply.text is not None] == [0, 20]
    assert "pass the model's context of 160" in found[1].error


def test_it_says_what_it_is(tiny: VLLMEngine) -> None:
    import vllm

    assert (tiny.name, tiny.model, tiny.version, tiny.local) == ("vllm", "tiny-chat", f"vllm {vllm.__version__}", True)
    assert tiny.settings["tensor_parallel"] == "1"
    assert len(tiny.settings["files"]) == 64


def test_at_zero_the_answer_is_the_greedy_one(tiny_chat_folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_chat_folder), AutoTokenizer.from_pretrained(tiny_chat_folder)
    engine = VLLMEngine(tiny_chat_folder, Sampling(0.0, 1.0, 12), max_model_len=160, dtype="float32", enforce_eager=True)
    found = replies(engine, [call(i) for i in range(5)])
    unloaded(engine)
    for key, reply in found.items():
        ids = tokenizer(f"system: Write.\nuser: {call(key).messages[1].content}\nassistant:")["input_ids"]
        start = len(ids)
        with torch.no_grad():
            while len(ids) < start + 12 and ids[-1] != tokenizer.eos_token_id:
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        # vLLM leaves out the bytes of a character that was cut at the end.
        assert reply.text == tokenizer.decode(ids[start:], skip_special_tokens=True).rstrip("\ufffd")


@pytest.fixture(scope="module")
def held(tiny_chat_folder: Path) -> Iterator[VLLMEngine]:
    sampling = Sampling(1.0, 1.0, 120)
    engine = VLLMEngine(tiny_chat_folder, sampling, schema=SCHEMA, max_model_len=256, dtype="float32", enforce_eager=True)
    yield engine
    unloaded(engine)


def test_more_prompts_than_vllm_reads_at_once_are_all_answered(held: VLLMEngine) -> None:
    """On a CPU a prompt that is read in two parts would end the engine: the first part's random draw cannot be taken back."""
    found = replies(held, [call(i, words=24) for i in range(90)])
    assert sum(reply.prompt_tokens for reply in found.values()) > 4096
    assert all(reply.text is not None for reply in found.values())


def test_a_call_may_be_free_of_the_schema(held: VLLMEngine) -> None:
    found = replies(held, [call(i)._replace(free=i % 2 == 1) for i in range(8)])
    assert all(found[i].text.lstrip().startswith("{") for i in (0, 2, 4, 6))
    assert not any(found[i].text.lstrip().startswith("{") for i in (1, 3, 5, 7))


def test_a_random_model_writes_json_when_held_to_a_schema(held: VLLMEngine) -> None:
    found = replies(held, [call(i) for i in range(12)])
    whole = [reply for reply in found.values() if reply.finish == "stop"]
    assert len(whole) >= 8
    for reply in whole:
        # A string of limited length may hold control characters: xgrammar's rule for it leaves out the quote and line ends alone.
        jsonschema.validate(json.loads(str(reply.text), strict=False), SCHEMA)
    assert all(str(reply.text).lstrip().startswith("{") for reply in found.values())


def test_a_schema_that_cannot_be_kept_to_is_refused_before_any_call(tiny_chat_folder: Path) -> None:
    engine = VLLMEngine(tiny_chat_folder, Sampling(), schema={"type": "no such type"}, max_model_len=160, dtype="float32", enforce_eager=True)
    with pytest.raises(ConfigError, match="cannot hold answers to the schema") as raised:
        list(engine.replies([call(0)]))
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def smollm2() -> Iterator[VLLMEngine]:
    folder = os.environ.get(MODEL_VARIABLE)
    if not folder:
        pytest.skip(f"needs a folder of SmolLM2-135M-Instruct, named by {MODEL_VARIABLE}")
    engine = VLLMEngine(folder, Sampling(0.7, 0.95, 120), schema=SCHEMA, max_model_len=512, enforce_eager=True)
    yield engine
    unloaded(engine)


@pytest.mark.slow
def test_a_real_model_writes_sentences_held_to_a_schema(smollm2: VLLMEngine) -> None:
    messages = (Message("system", "You write JSON."), Message("user", 'Write one or two short sentences about asthma as {"sentences": [...]}.'))
    found: dict[Any, Reply] = replies(smollm2, [Call(i, messages, i * 2**30) for i in range(8)])
    assert sum(reply.finish == "stop" for reply in found.values()) >= 6
    for reply in found.values():
        if reply.finish == "stop":
            jsonschema.validate(json.loads(str(reply.text)), SCHEMA)
    assert any("asthma" in str(reply.text).lower() for reply in found.values())
