"""Every kind of model that is exported: its folder brings `sample` under its own class, and stays what it is for others."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.linker import Linker
from syncabel.modeling_syncabel import CLASSES
from syncabel.prompt import PromptFormat
from syncabel.types import Document, Mention, Query, Span

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
# Windows are shorter than the prompts; Gemma ties its embeddings, the others here do not.
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": False}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 5}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, {"sliding_window": 6}),
    "gemma3_text": (Gemma3ForCausalLM, Gemma3TextConfig, {"sliding_window": 6}),
}
SENTENCES = ["The cold came with [angina]{Disease}.", "He has [MS]."]


def documents() -> list[Document]:
    found = []
    for i, (text, mention, kind) in enumerate([("The cold came with angina.", "angina", "Disease"), ("He has MS.", "MS", None)]):
        start = text.index(mention)
        found.append(Document(str(i), text, (Mention("m", (Span(start, start + len(mention)),), mention, kind),)))
    return found


@pytest.fixture(scope="module")
def exported(tiny_tokenizer: Any, small_lexicon: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            base = tmp_path_factory.mktemp(family)
            small_lexicon.save(base / "lexicon")
            kind, config, given = FAMILIES[family]
            torch.manual_seed(3)
            end = tiny_tokenizer.eos_token_id
            model = kind(config(vocab_size=len(tiny_tokenizer), bos_token_id=None, eos_token_id=end, pad_token_id=end, **SHAPE | given)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(3)
            made[family] = export_model(model, tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), Facts("test", "random"))
        return made[family]

    return make


def test_every_kind_that_can_be_exported_is_tried_here() -> None:
    assert set(FAMILIES) == set(CLASSES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_names_its_own_class_and_keeps_its_kind(exported: Callable[[str], Path], family: str) -> None:
    config = json.loads((exported(family) / "config.json").read_text())
    assert config["model_type"] == family
    assert config["auto_map"] == {"AutoModelForCausalLM": f"modeling_syncabel.{CLASSES[family]}"}


@pytest.mark.parametrize("family", FAMILIES)
def test_sample_by_remote_code_answers_as_the_linker_does(
    exported: Callable[[str], Path], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(family)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = list(sys.path)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    finally:
        sys.path[:] = path
    assert type(model).__name__ == CLASSES[family]
    assert not type(model).__module__.startswith("syncabel")
    for settings, options in (
        (DecodingSettings(num_beams=4), {"num_beams": 4}),
        (DecodingSettings(False, 2, max_new_tokens=8), {"constrained": False, "num_beams": 2, "max_new_tokens": 8}),
    ):
        linker = Linker.from_pretrained(folder, settings, "cpu")
        queries = [Query(each, each.mentions[0], tuple(filter(None, [each.mentions[0].type]))) for each in documents()]
        wanted = linker.rank(queries, settings.num_beams)
        found = model.sample(SENTENCES, **options)
        assert [[a["pred_concept_code"] for a in row] for row in found] == [[p.code for p in row] for row in wanted]
        assert [a["log_prob"] for row in found for a in row] == pytest.approx([p.log_prob for row in wanted for p in row], abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_reads_the_same_weights(exported: Callable[[str], Path], family: str, tiny_tokenizer: Any) -> None:
    from syncabel import modeling_syncabel

    plain = AutoModelForCausalLM.from_pretrained(exported(family), trust_remote_code=False).eval()
    own = getattr(modeling_syncabel, CLASSES[family]).from_pretrained(exported(family)).eval()
    assert type(plain) is FAMILIES[family][0]
    ids = torch.tensor([tiny_tokenizer.encode("The patient has a cold.")])
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, own(ids).logits)


def test_another_kind_is_refused_and_those_that_can_be_exported_are_named(tiny_tokenizer: Any, small_lexicon: Any, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(ConfigError, match=r"'gpt2' model cannot be exported.*llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text can"):
        export_model(model, tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), Facts("test", "random"))
    assert not (tmp_path / "model").exists()
