"""The options of a language model and of what runs it, once for all commands that ask one."""

from dataclasses import dataclass
from typing import Annotated

import typer

from syncabel.errors import ConfigError, UnknownNameError

__all__ = ["EngineOptions"]

_STRUCTURED = {
    "openai": ("auto", "json_schema", "json_object", "none"),
    "vllm": ("auto", "json_schema", "none"),
    "transformers": ("auto", "none"),
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a command knows of a language model and of what runs it; each field is an option of that name."""

    model: Annotated[str | None, typer.Option(help="Model: a folder, or the name the server knows it by.")] = None
    base_url: Annotated[str, typer.Option(help="openai: address of the server; the key comes from OPENAI_API_KEY.")] = "http://localhost:8000/v1"
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 0.7
    top_p: Annotated[float, typer.Option(help="Of the sampling, a fraction.")] = 0.95
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 512
    structured: Annotated[str, typer.Option(help="How answers are held to the schema: auto, json_schema, json_object or none.")] = "auto"
    concurrency: Annotated[int, typer.Option(help="openai: requests under way.")] = 32
    timeout: Annotated[float, typer.Option(help="openai: longest wait for an answer, in seconds.")] = 120.0
    retries: Annotated[int, typer.Option(help="openai: how often a failed request is asked again.")] = 5
    patience: Annotated[float, typer.Option(help="openai: how long the server may be gone or busy, in seconds.")] = 600.0
    tensor_parallel: Annotated[int, typer.Option(help="vllm: GPUs that share the weights.")] = 1
    max_model_len: Annotated[int | None, typer.Option(help="vllm: longest prompt and answer, in tokens; the model's own where not given.")] = None
    eager: Annotated[bool, typer.Option("--eager", help="vllm: without CUDA graphs.")] = False
    batch_size: Annotated[int, typer.Option(help="transformers: requests answered together.")] = 8
    dtype: Annotated[str, typer.Option(help="transformers: of the weights, e.g. bfloat16; auto takes the model's.")] = "auto"
    load_in_4bit: Annotated[bool, typer.Option("--load-in-4bit", help="transformers: weights in four bits.")] = False
    workers: Annotated[int, typer.Option(help="ray: workers.")] = 2
    worker: Annotated[str, typer.Option(help="ray: what each worker runs: openai, vllm or transformers.")] = "vllm"
    ray_address: Annotated[str, typer.Option(help="ray: `local`, `auto`, or host:port of a cluster.")] = "local"
    gpus_per_worker: Annotated[float, typer.Option(help="ray: GPUs of each worker.")] = 0.0

    def needed_model(self) -> str:
        """The model.

        Raises:
            ConfigError: none was named.
        """
        if not self.model:
            raise ConfigError("no model is named: give --model, a folder or the name the server knows it by")
        return self.model

    def structured_for(self, engine: str) -> str:
        """How answers are held to the schema, as far as an engine can.

        Raises:
            UnknownNameError: it cannot.
        """
        if self.structured not in _STRUCTURED[engine]:
            raise UnknownNameError(f"structured output of {engine}", self.structured, _STRUCTURED[engine])
        return self.structured
