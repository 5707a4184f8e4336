"""Write a model folder: weights, tokenizer, lexicon, the modules that `sample` needs, the model card.

One source: the modules are this project's own files, copied flat with their import lines rewritten and nothing else
changed (`constrained.trie` becomes `constrained_trie.py`).
"""

import importlib.util
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syncabel.errors import ConfigError
from syncabel.export.card import Facts, model_card
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, format_to_config

__all__ = ["COPIED", "export_model", "flat_source"]

ENTRY = "syncabel.modeling_syncabel"
COPIED = (
    "constrained.trie",
    "constrained.search",
    "syncabel.errors",
    "syncabel.types",
    "syncabel.text",
    "syncabel.prompt",
    "syncabel.lexicon.store",
    "syncabel.decoding",
    ENTRY,
)
_IMPORT = re.compile(r"^from ((?:syncabel|constrained)[\w.]*) import ", re.MULTILINE)


def _flat_name(module: str) -> str:
    return "modeling_syncabel" if module == ENTRY else module.replace(".", "_")


def flat_source(module: str) -> str:
    """A module's source as it goes into a model folder: import lines rewritten, everything else byte for byte."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"module {module} is not installed; reinstall syncabel")
    source = Path(spec.origin).read_bytes().decode()
    return _IMPORT.sub(lambda match: f"from .{_flat_name(match.group(1))} import ", source)


def export_model(model: Any, tokenizer: Any, lexicon_folder: Path | str, folder: Path | str, fmt: PromptFormat, facts: Facts) -> Path:
    """Write the complete folder; what stood there before is replaced only once the new one is whole.

    Args:
        model: a Llama of transformers, any adapter merged.
        tokenizer: its tokenizer.
        lexicon_folder: built for the tokenizer.
        folder: where to write.
        fmt: the prompt format the model was trained with.
        facts: measured, for the model card and config.json.

    Raises:
        ConfigError: the model is no Llama.
        TokenizerMismatchError: the lexicon was built for another tokenizer.
    """
    if model.config.model_type != "llama":
        raise ConfigError(f"a {model.config.model_type!r} model cannot be exported with `sample`; only 'llama' can, use `syncabel.linker.Linker` with others")
    lexicon = Lexicon.load(lexicon_folder)
    lexicon.check_tokenizer(tokenizer)
    folder = Path(folder)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / "generation_config.json").unlink(missing_ok=True)
    shutil.copytree(lexicon_folder, part / "lexicon")
    _write_code(part)
    _amend_config(part / "config.json", fmt, lexicon, facts.types)
    (part / "README.md").write_text(model_card(facts, lexicon, folder.resolve().name), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    return folder


def _write_code(folder: Path) -> None:
    for module in COPIED:
        (folder / f"{_flat_name(module)}.py").write_bytes(flat_source(module).encode())


def _amend_config(path: Path, fmt: PromptFormat, lexicon: Lexicon, types: Mapping[str, Sequence[str]]) -> None:
    """Name the remote class and keep what a reader of prompts must know; `model_type` stays what it was."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_syncabel.SyncabelForCausalLM"}
    config["syncabel"] = {**format_to_config(fmt), "lexicon_digest": lexicon.digest, "types": {kind: list(groups) for kind, groups in types.items()}}
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
