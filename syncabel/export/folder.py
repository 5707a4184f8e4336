"""Write a model folder: weights, tokenizer, lexicon, the modules that `sample` needs, the record of its training, the model card.

One source: the modules are this project's own files, copied flat with their import lines rewritten and nothing else
changed (`constrained.trie` becomes `constrained_trie.py`).
"""

import importlib.util
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from syncabel.decoding import LEXICON_FOLDER, LEXICON_MANIFEST, build_command
from syncabel.errors import ConfigError
from syncabel.export.card import Facts, model_card
from syncabel.export.figures import CARD, RUN
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat, format_to_config

__all__ = ["COPIED", "check_architecture", "check_place", "export_model", "flat_source", "lexicon_manifest", "write_code", "write_json"]

ENTRY = "syncabel.modeling_syncabel"
COPIED = (
    "constrained.errors",
    "constrained.files",
    "constrained.building",
    "constrained.updating",
    "constrained.trie",
    "constrained.scope",
    "constrained.ragged",
    "constrained.attention",
    "constrained.forest",
    "constrained.scoring",
    "constrained.names",
    "constrained.loop",
    "constrained.concepts",
    "constrained.beam",
    "constrained.exact",
    "constrained.search",
    "syncabel.errors",
    "syncabel.types",
    "syncabel.text",
    "syncabel.prompt",
    "syncabel.strings",
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


def check_architecture(model_type: str) -> None:
    """Refuse a model that `sample` cannot be written for.

    Args:
        model_type: as its configuration has it.

    Raises:
        ConfigError: no class with `sample` is written for its kind.
    """
    class_of(model_type)


def class_of(model_type: str) -> str:
    """The name of the class with `sample` for a kind of model.  Argument and error are those of `check_architecture`."""
    from syncabel.modeling_syncabel import CLASSES

    if model_type not in CLASSES:
        raise ConfigError(f"a {model_type!r} model cannot be exported with `sample`; {', '.join(CLASSES)} can, use `syncabel.linker.Linker` with others")
    return CLASSES[model_type]


def check_place(folder: Path | str, lexicon_folder: Path | str, keep: Iterable[Path | str] = ()) -> None:
    """Refuse a place where writing a model would delete anything but a model of syncabel.

    Args:
        folder: where the model is to go; it need not exist.
        lexicon_folder: what is copied into it.
        keep: files and folders that must outlive the writing; the current directory and the lexicon always must.

    Raises:
        ConfigError: it holds one of them, lies in the lexicon, or is there and neither empty nor a model of syncabel.
    """
    place = Path(folder).resolve()
    for kept in (Path.cwd(), lexicon_folder, *keep):
        if Path(kept).resolve().is_relative_to(place):
            raise ConfigError(f"model folder {folder}: writing the model would delete {kept} in it; give a folder of its own")
    if place.is_relative_to(Path(lexicon_folder).resolve()):
        raise ConfigError(f"model folder {folder} lies in the lexicon {lexicon_folder}, which is copied into it; give another folder")
    if place.exists() and not _is_replaceable(place):
        raise ConfigError(f"model folder {folder} holds files that are no model of syncabel, and writing would delete them; give another folder or empty it")


def _is_replaceable(place: Path) -> bool:
    """Whether it is a folder that is empty or that `export_model` wrote."""
    if not place.is_dir():
        return False
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return not any(place.iterdir())
    return isinstance(config, dict) and "syncabel" in config


def export_model(
    model: Any, tokenizer: Any, lexicon_folder: Path | str, folder: Path | str, fmt: PromptFormat, facts: Facts, ranking: str | None = None
) -> Path:
    """Write the complete folder; what stood there before is replaced only once the new one is whole, and nothing is left of one that fails.

    Args:
        model: a model of transformers, any adapter merged, of a kind that `check_architecture` lets pass.
        tokenizer: its tokenizer.
        lexicon_folder: built for the tokenizer.
        folder: where to write.
        fmt: the prompt format the model was trained with.
        facts: measured, for the model card and config.json.
        ranking: how the model ranks where the caller does not say; `sum` where None.

    Raises:
        ConfigError: `sample` cannot be written for the model, or the folder holds something that is no model of syncabel.
        TokenizerMismatchError: the lexicon was built for another tokenizer.
    """
    check_architecture(model.config.model_type)
    check_place(folder, lexicon_folder)
    lexicon = Lexicon.load(lexicon_folder)
    lexicon.check_tokenizer(tokenizer)
    place = Path(folder).resolve()
    part = _beside(place, "part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        model.save_pretrained(part)
        for weights in part.glob("*.safetensors"):
            shutil.copymode(part / "config.json", weights)  # safetensors leaves files that nobody else may read
        tokenizer.save_pretrained(part)
        (part / "generation_config.json").unlink(missing_ok=True)
        shutil.copytree(lexicon_folder, part / LEXICON_FOLDER)
        write_code(part)
        entry = _amend_config(part / "config.json", fmt, lexicon, facts.types, {} if ranking is None else {"ranking": ranking})
        write_json(part / LEXICON_MANIFEST, lexicon_manifest(lexicon, entry))
        write_json(part / RUN, facts.record)
        (part / CARD).write_text(model_card(facts, lexicon, place.name), encoding="utf-8")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # weights are large, and a full disk may be why
        raise
    _swap(part, place)
    return Path(folder)


def _beside(place: Path, what: str) -> Path:
    """A sibling by a name that nobody else gives, so that a leftover may be deleted."""
    return place.with_name(f".{place.name}.syncabel-{what}")


def _swap(part: Path, place: Path) -> None:
    """Put the new folder in place; the old one is deleted last, so that one of the two is there whatever happens."""
    old = _beside(place, "old")
    try:
        if place.exists():  # where it is not, the old one may be the only one
            shutil.rmtree(old, ignore_errors=True)
            place.replace(old)
        part.replace(place)
    except BaseException:  # Ctrl-C between the two as well
        if old.exists() and not place.exists():
            old.replace(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_code(folder: Path) -> None:
    """Put the modules that `sample` needs into a folder."""
    for module in COPIED:
        (folder / f"{_flat_name(module)}.py").write_bytes(flat_source(module).encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as people read it, in UTF-8."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def lexicon_manifest(lexicon: Lexicon, entry: Mapping[str, Any], statement: str = "") -> dict[str, Any]:
    """What a model's lexicon is and how it is built, without a name of it: what goes out where the lexicon may not.

    Args:
        lexicon: the model's.
        entry: the `syncabel` entry of the model's config.json.
        statement: why the terminology may be passed on though it does not say so itself.
    """
    header = lexicon.header
    about = {key: header.get(key) for key in ("source", "release", "licence", "redistributable", "filters", "groups", "nil")}
    return {
        "format": "syncabel.lexicon/1",
        **about,
        "counts": {key: header.get(key) for key in ("entries", "codes", "shared", "merged", "longest")},
        "digests": {"kb": header.get("kb_digest"), "tokenizer": header["tokenizer_digest"], "lexicon": lexicon.digest},
        "build": build_command(".", entry, header.get("nil")),
        **({"statement": statement} if statement else {}),
    }


def _amend_config(path: Path, fmt: PromptFormat, lexicon: Lexicon, types: Mapping[str, Sequence[str]], more: Mapping[str, str]) -> dict[str, Any]:
    """Name the remote class and keep what a reader of prompts must know; `model_type` stays what it was.  Returns the `syncabel` entry."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": f"modeling_syncabel.{class_of(config['model_type'])}"}
    config["use_cache"] = True  # training turns it off, and plain transformers would generate without a cache
    entry = config["syncabel"] = {
        **format_to_config(fmt),
        "lexicon_digest": lexicon.digest,
        "groups": list(lexicon.groups),
        "types": {kind: list(groups) for kind, groups in types.items()},
        **more,
    }
    write_json(path, config)
    return entry
