"""What engines that hold a model in this process share: its tokenizer, its chat template, what fits into its context."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_gen.chat.engine import Sampling
from data_gen.writer import Message
from syncabel.digests import file_sha256
from syncabel.errors import ConfigError

__all__ = ["chat_tokenizer", "encode_chat", "end_tokens", "files_digest", "model_name", "too_long"]

# What decides how a chat is written and read; weights are too large to be read for a digest.
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def model_name(folder: str | Path) -> str:
    """The folder's own name, or the name on a model hub as it stands."""
    path = Path(folder)
    return path.resolve().name if path.is_dir() else str(folder)


def files_digest(folder: str | Path) -> str:
    """SHA-256 of a folder's configuration, tokenizer and chat template; "" where it is no folder."""
    found = [path for name in _SMALL_FILES if (path := Path(folder, name)).is_file()]
    digest = hashlib.sha256()
    for path in found:
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest() if found else ""


def chat_tokenizer(folder: str | Path) -> Any:
    """The model's tokenizer, padding on the left.

    Raises:
        ConfigError: there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), padding_side="left")
    except (OSError, ValueError):
        raise ConfigError(f"{folder}: no tokenizer of transformers can be read from it; give a model's folder") from None
    if not tokenizer.chat_template:
        raise ConfigError(f"{folder}: its tokenizer has no chat template; give an instruction-tuned model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_chat(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a chat and of the opening of its answer.

    Raises:
        ConfigError: the template refuses the roles.
    """
    from jinja2.exceptions import TemplateError

    try:
        ids: list[int] = tokenizer.apply_chat_template([message._asdict() for message in messages], add_generation_prompt=True, return_dict=False)
    except TemplateError:
        roles = ", ".join(message.role for message in messages)
        raise ConfigError(f"{tokenizer.name_or_path}: its chat template refuses a chat of the roles {roles}; give another model") from None
    return ids


def end_tokens(folder: str | Path, tokenizer: Any) -> list[int]:
    """Ids that end an answer: those of the model's generation settings, of which nothing else is taken, and the tokenizer's."""
    from transformers import GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(str(folder)).eos_token_id
    except OSError:
        named = None
    ids = named if isinstance(named, list) else [named]
    return sorted({int(each) for each in (*ids, tokenizer.eos_token_id) if each is not None})


def too_long(ids: Sequence[int], sampling: Sampling, context: int) -> str:
    """Why a prompt and its answer do not fit; "" where they do.

    Args:
        ids: the prompt.
        sampling: its `max_tokens` are kept free.
        context: of the model, in tokens.
    """
    if len(ids) + sampling.max_tokens <= context:
        return ""
    return f"the prompt's {len(ids)} tokens and {sampling.max_tokens} of an answer pass the model's context of {context}"
