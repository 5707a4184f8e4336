"""A folder as it is published, in vLLM itself."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: run `make test-vllm`")

from transformers import LlamaForCausalLM
from vllm import LLM, SamplingParams

from syncabel.decoding import DecodingSettings
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.hub.model import export_model_repo
from syncabel.kb import About, KnowledgeBase
from syncabel.lexicon.build import build_lexicon
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat, encode_prompt
from syncabel.types import Document, Mention, Query, Span


@pytest.fixture(scope="module")
def published(tiny_tokenizer: Any, wide_llama_config: Any, small_kb: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose terminology may not be passed on, so that the folder is weights, tokenizer, code and card."""
    base = tmp_path_factory.mktemp("published")
    closed = KnowledgeBase.of_tables(small_kb.tables, About(source="Closed Terms", release="7"))
    build_lexicon(closed, tiny_tokenizer).save(base / "lexicon")
    torch.manual_seed(0)
    model = LlamaForCausalLM(wide_llama_config(256, initializer_range=0.2)).eval()
    export_model(model, tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), Facts("tiny", "random"))
    export_model_repo(base / "model", base / "out", "lab/tiny", title="Tiny", licence="apache-2.0")
    return base / "out"


@pytest.fixture
def llm(published: Path) -> Iterator[Any]:
    yield LLM(str(published), dtype="float32", max_model_len=128, max_num_seqs=2, enforce_eager=True)
    gc.collect()


def test_a_folder_as_published_is_plain_weights_to_vllm_which_writes_what_the_linker_writes(llm: Any, published: Path) -> None:
    assert not (published / "lexicon").exists()
    text = "The patient has angina."
    query = Query(Document("d", text, (Mention("m", (Span(16, 22),), "angina", None),)), Mention("m", (Span(16, 22),), "angina", None), ())
    linker = Linker.from_pretrained(published, DecodingSettings(False, 1, max_new_tokens=8), "cpu")
    (answer,) = linker.rank([query])[0]
    ids = encode_prompt(linker.prompt(query), linker.tokenizer)
    params = SamplingParams(temperature=0.0, max_tokens=8, stop_token_ids=[linker.tokenizer.eos_token_id])
    (written,) = llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
    assert written.outputs[0].token_ids
    assert linker.tokenizer.decode(written.outputs[0].token_ids, skip_special_tokens=True).strip() == answer.name
