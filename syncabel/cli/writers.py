"""The writers of `syncabel generate`, made from what was given on the command line."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from data_gen import NamesWriter, TemplateWriter, Writer
from syncabel.cli.engine_options import EngineOptions
from syncabel.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from data_gen.chat.engine import ChatEngine
    from data_gen.prompts import PromptSettings

__all__ = ["CHAT", "OFFLINE", "WRITERS", "chat_writer", "stored_writer"]

OFFLINE: Mapping[str, Callable[[], Writer]] = {"template": TemplateWriter, "names": NamesWriter}


def _openai(options: EngineOptions, schema: Mapping[str, Any] | None) -> "ChatEngine":
    from data_gen.chat.engine import Sampling
    from data_gen.chat.openai import OpenAIEngine

    structured: Any = options.structured_for("openai")
    return OpenAIEngine(
        options.base_url,
        options.needed_model(),
        Sampling(options.temperature, options.top_p, options.max_tokens),
        schema=schema,
        structured=structured,
        concurrency=options.concurrency,
        timeout_s=options.timeout,
        retries=options.retries,
        patience_s=options.patience,
    )


def _vllm(options: EngineOptions, schema: Mapping[str, Any] | None) -> "ChatEngine":
    from data_gen.chat.engine import Sampling
    from data_gen.chat.vllm import VLLMEngine

    return VLLMEngine(
        options.needed_model(),
        Sampling(options.temperature, options.top_p, options.max_tokens),
        schema=None if options.structured_for("vllm") == "none" else schema,
        tensor_parallel=options.tensor_parallel,
        max_model_len=options.max_model_len,
        enforce_eager=options.eager,
    )


def _transformers(options: EngineOptions, _schema: Mapping[str, Any] | None) -> "ChatEngine":
    from data_gen.chat.engine import Sampling
    from data_gen.chat.transformers import TransformersEngine

    options.structured_for("transformers")
    sampling = Sampling(options.temperature, options.top_p, options.max_tokens)
    return TransformersEngine(options.needed_model(), sampling, batch_size=options.batch_size, load_in_4bit=options.load_in_4bit, dtype=options.dtype)


def _ray(options: EngineOptions, schema: Mapping[str, Any] | None) -> "ChatEngine":
    from data_gen.chat.ray import RayEngine

    if options.worker not in (known := [name for name in CHAT if name != "ray"]):
        raise UnknownNameError("writer of a Ray worker", options.worker, known)
    make = partial(CHAT[options.worker], options, schema)
    return RayEngine(make, options.workers, address=options.ray_address, gpus=options.gpus_per_worker)


CHAT: Mapping[str, Callable[[EngineOptions, Mapping[str, Any] | None], "ChatEngine"]] = {
    "openai": _openai,
    "vllm": _vllm,
    "transformers": _transformers,
    "ray": _ray,
}
WRITERS = (*OFFLINE, *CHAT)


def chat_writer(name: str, options: EngineOptions, prompts: "PromptSettings", shareable: bool) -> Writer:
    """A writer over a language model; nothing is loaded and nobody is spoken to yet.

    Raises:
        ConfigError: answers that are nothing but a sentence were to be held to a schema.
    """
    from data_gen.chat.styles import style_of
    from data_gen.chat.writer import ChatWriter

    schema = style_of(prompts).schema
    if schema is None:
        if options.structured not in ("auto", "none"):
            raise ConfigError(f"--structured {options.structured}: the style {prompts.style} asks for sentences, not for JSON; leave it out")
        options = replace(options, structured="none")  # no server is asked whether it knows a schema
    return ChatWriter(CHAT[name](options, schema), prompts, shareable)


def stored_writer(name: str, options: EngineOptions, prompts: "PromptSettings") -> Writer:
    """A writer that reads stored answers and asks nobody: no model, no server and none of their packages is needed."""
    from data_gen.chat.engine import Sampling
    from data_gen.chat.in_process import model_name
    from data_gen.chat.stored import StoredEngine
    from data_gen.chat.writer import ChatWriter

    sampling = Sampling(options.temperature, options.top_p, options.max_tokens)
    served = "openai" in (name, options.worker if name == "ray" else "")
    # A server knows its model by the name given, an engine in this process by the last part of its folder.
    model = options.model or ""
    return ChatWriter(StoredEngine(name, model if served else model_name(model), sampling), prompts)
