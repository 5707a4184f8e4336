"""LoRA through TRL's options: the separator's row is trained with the format that has one, the exported folder needs no adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from syncabel.prompt import SEPARATOR
from syncabel.train.arguments import parse
from syncabel.train.run import make_trainer, train
from syncabel.train.scratch import random_llama


@pytest.fixture
def base(prepared: Callable[..., Path], tmp_path: Path) -> Callable[[bool], tuple[Path, Any]]:
    """A tiny pretrained model whose tokenizer has no separator yet."""

    def make(tied: bool) -> tuple[Path, Any]:
        from transformers import AutoTokenizer

        plain = AutoTokenizer.from_pretrained(prepared("sentence") / "tokenizer")
        model = random_llama(plain, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, context_length=256, initializer_range=0.02, seed=0)
        if not tied:
            model.config.tie_word_embeddings = False
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone() * 0.5)
        model.save_pretrained(tmp_path / "base")
        plain.save_pretrained(tmp_path / "base")
        return tmp_path / "base", model

    return make


LORA = [
    "--init",
    "pretrained",
    "--use_peft",
    "true",
    "--lora_r",
    "4",
    "--lora_target_modules",
    "q_proj",
    "v_proj",
    "--learning_rate",
    "0.05",
    "--max_steps",
    "4",
]


@pytest.mark.parametrize("tied", [True, False])
def test_the_separators_row_changes_and_no_other_one_does(tied: bool, base: Any, flags: Callable[..., list[str]], prepared: Callable[..., Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = base(tied)
    settings = parse(flags(*LORA, "--model_name_or_path", str(folder), name="syncabel"))
    trainer, *_ = make_trainer(settings)
    before = trainer.model.get_input_embeddings().weight.detach().clone()
    separator = trainer.processing_class.convert_tokens_to_ids(SEPARATOR)
    assert before.shape[0] == separator + 1

    result = train(parse(flags(*LORA, "--model_name_or_path", str(folder), name="syncabel")))
    model = AutoModelForCausalLM.from_pretrained(result.folder)
    assert not hasattr(model, "peft_config")
    after = model.get_input_embeddings().weight.detach()
    changed = (after != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [separator]
    assert AutoTokenizer.from_pretrained(result.folder).convert_tokens_to_ids(SEPARATOR) == separator


def test_the_exported_weights_are_those_of_model_and_adapter_together(base: Any, flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    folder, original = base(True)
    kept: dict[str, torch.Tensor] = {}
    ids = torch.arange(3, 40)[None]

    def keep(model: Any, *rest: Any) -> Any:
        with torch.no_grad():
            kept["logits"] = model.eval()(input_ids=ids).logits
        return merged(model, *rest)

    from syncabel.train import run

    merged = run.merged
    monkeypatch.setattr(run, "merged", keep)
    result = train(parse(flags(*LORA, "--model_name_or_path", str(folder))))
    with torch.no_grad():
        exported = AutoModelForCausalLM.from_pretrained(result.folder)(input_ids=ids).logits
        untouched = original(input_ids=ids).logits
    torch.testing.assert_close(exported, kept["logits"], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(exported, untouched, atol=1e-3)


def test_a_resumed_adapter_ends_with_the_weights_of_an_uninterrupted_one(base: Any, flags: Callable[..., list[str]], tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file

    folder, _ = base(True)
    more = [*LORA, "--lora_dropout", "0", "--model_name_or_path", str(folder), "--save_strategy", "steps", "--save_steps", "2"]
    whole = train(parse(flags(*more, "--model_folder", str(tmp_path / "whole"), name="syncabel")))
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    resumed = train(parse(flags(*more, "--model_folder", str(tmp_path / "resumed"), name="syncabel")))
    one, two = (load_file(result.folder / "model.safetensors") for result in (whole, resumed))
    assert all(abs(one[name] - two[name]).max() < 1e-5 for name in one)
