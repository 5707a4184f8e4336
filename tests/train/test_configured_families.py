"""The configurations of families other than Llama train their own kind of model, small and random here, to a folder that links."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from syncabel.corpora import read_jsonl
from syncabel.linker import Linker
from syncabel.train.arguments import parse
from syncabel.train.run import train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "sft"
SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 512,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "model", "kind", "more"),
    [
        ("qwen3-0.6b", Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True}),
        ("gemma3-270m", Gemma3ForCausalLM, Gemma3TextConfig, {"sliding_window": 16}),
    ],
)
def test_a_configured_family_learns_and_its_folder_links(
    config: str, model: Any, kind: Any, more: dict[str, Any], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    data, base = prepared(), tmp_path / "base"
    tokenizer = AutoTokenizer.from_pretrained(data / "tokenizer")
    tokenizer.save_pretrained(base)
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    model(kind(vocab_size=len(tokenizer), eos_token_id=end, pad_token_id=end, bos_token_id=None, **SHAPE, **more)).save_pretrained(base)
    where = {"model_name_or_path": base, "lexicon": data / "lexicon", "dev_documents": data / "dev.jsonl", "types": data / "types.json"}
    files = {f"{source}_examples": data / f"{source}.jsonl" for source in ("human", "synthetic")}
    small = {"output_dir": tmp_path / "run", "model_folder": tmp_path / "model", "max_steps": 80, "eval_steps": 40, "save_steps": 40, "logging_steps": 10}
    quiet = {
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "learning_rate": 0.003,
        "max_length": 160,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
    }
    flags = [text for name, value in (where | files | small | quiet).items() for text in (f"--{name}", str(value))]
    result = train(parse(["--config", str(CONFIGS / f"{config}.yaml"), *flags]))
    losses = [row["loss"] for row in map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    assert json.loads((result.folder / "config.json").read_text())["model_type"] == kind.model_type
    linker = Linker.from_pretrained(result.folder)
    assert isinstance(linker.model, model)
    answers = {row.document_id: row.predictions[0].codes for row in linker.link(read_jsonl(data / "dev.jsonl").documents)}
    right = [answers[document.id] == document.mentions[0].codes for document in read_jsonl(data / "dev.jsonl")]
    assert len(right) == 12
    assert sum(right) >= 4  # the best checkpoint by half of these; a guess among the concepts would be right on one or two
