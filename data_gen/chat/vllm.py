"""Chats completed by vLLM in this process.

Requests are added as others end, so the engine is never left with half a batch; the prompts' common beginning is computed once
(prefix caching).  Each call has its own seed.  vLLM's arithmetic depends on what else is in a batch, so answers repeat in law, not
to the letter, unless its own batch-invariant mode is switched on.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.in_process import chat_tokenizer, encode_chat, end_tokens, files_digest, model_name, too_long
from syncabel.errors import ConfigError, MissingExtraError

__all__ = ["VLLMEngine"]

_numbers = count()  # vLLM's names of requests; none may come twice


class _Loaded(NamedTuple):
    """vLLM ready to write."""

    llm: Any
    tokenizer: Any
    ends: list[int]
    context: int


@dataclass(frozen=True, eq=False)
class VLLMEngine:
    """A `ChatEngine` that holds vLLM's offline engine; nothing is loaded before the first reply is asked for.

    Attributes:
        folder: of the model, with a chat template.
        sampling: how tokens are drawn.
        schema: JSON schema that every answer is held to.
        tensor_parallel: GPUs that share the weights.
        max_model_len: longest prompt and answer, in tokens; the model's context where None.
        window: most calls given to vLLM and not answered.
        dtype: of the weights, as vLLM names it; "auto" takes the checkpoint's.
        gpu_memory_utilization: vLLM's share of a GPU, a fraction.
        enforce_eager: without CUDA graphs.

    Raises:
        MissingExtraError: vLLM is not installed.
    """

    folder: str | Path
    sampling: Sampling
    _: KW_ONLY
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    tensor_parallel: int = 1
    max_model_len: int | None = None
    window: int = 512
    dtype: str = "auto"
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        if find_spec("vllm") is None:
            raise MissingExtraError("vllm", "vllm")
        if self.window < 1:
            raise ConfigError(f"a window of {self.window} calls: give 1 or more")

    @property
    def name(self) -> str:
        """`vllm`."""
        return "vllm"

    @property
    def model(self) -> str:
        """The folder's name."""
        return model_name(self.folder)

    @property
    def version(self) -> str:
        """E.g. "vllm 0.32.0"."""
        from vllm.version import __version__

        return f"vllm {__version__}"

    @property
    def local(self) -> bool:
        """Always: the model is in this process, or in vLLM's own."""
        return True

    @property
    def settings(self) -> dict[str, str]:
        """What else decides the answers: weights' form and split, the schema's SHA-256 and that of the model's small files."""
        schema = "" if self.schema is None else hashlib.sha256(json.dumps(self.schema, sort_keys=True).encode()).hexdigest()
        return {"dtype": self.dtype, "tensor_parallel": str(self.tensor_parallel), "schema": schema, "files": files_digest(self.folder)}

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """See `ChatEngine`; closing the iterator ends what is under way.

        Raises:
            ConfigError: the folder holds no model that can chat, or vLLM cannot hold answers to the schema.
        """
        engine = self._loaded.llm.llm_engine
        keys: dict[str, Any] = {}
        source = iter(calls)
        try:
            while (drawn := list(islice(source, self.window - len(keys)))) or keys:
                for call in drawn:
                    request = str(next(_numbers))
                    if problem := self._add(request, call):
                        yield Reply(call.key, None, problem)
                    else:
                        keys[request] = call.key
                for output in engine.step() if keys else ():
                    if output.finished:
                        yield _reply(keys.pop(output.request_id), output)
        finally:
            engine.abort_request(list(keys))

    def _add(self, request: str, call: Call) -> str:
        """Give vLLM a call; why it cannot be, or ""."""
        loaded = self._loaded
        ids = encode_chat(loaded.tokenizer, call.messages)
        if problem := too_long(ids, self.sampling, loaded.context):
            return problem
        return _given(loaded.llm, request, ids, self._params(call, loaded.ends))

    def _params(self, call: Call, ends: list[int]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        sampling = self.sampling
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=call.seed,
            stop_token_ids=ends,
            structured_outputs=None if self.schema is None or call.free else StructuredOutputsParams(json=dict(self.schema)),
        )

    @cached_property
    def _loaded(self) -> _Loaded:
        from vllm import LLM
        from vllm.platforms import current_platform

        tokenizer = chat_tokenizer(self.folder)
        # Of a prompt read in two parts, vLLM takes the random draw after the first one back, which a CPU's generator cannot do (0.32).
        parts: dict[str, Any] = {"enable_chunked_prefill": False} if current_platform.is_cpu() else {}
        llm = LLM(
            model=str(self.folder),
            tensor_parallel_size=self.tensor_parallel,
            max_model_len=self.max_model_len,
            dtype=self.dtype,
            gpu_memory_utilization=self.gpu_memory_utilization,
            enforce_eager=self.enforce_eager,
            enable_prefix_caching=True,
            **parts,
            generation_config="vllm",  # a checkpoint's never decides; only its end tokens are taken
        )
        loaded = _Loaded(llm, tokenizer, end_tokens(self.folder, tokenizer), int(llm.model_config.max_model_len))
        self._check_schema(loaded)
        return loaded

    def _check_schema(self, loaded: _Loaded) -> None:
        """Once, before it fails every call."""
        if self.schema is None:
            return
        request = str(next(_numbers))
        if problem := _given(loaded.llm, request, loaded.ends[:1], self._params(Call(request, (), 0), loaded.ends)):
            raise ConfigError(f"{problem}: it cannot hold answers to the schema; simplify it")
        loaded.llm.llm_engine.abort_request([request])


def _given(llm: Any, request: str, ids: list[int], params: Any) -> str:
    """Add a request; why vLLM refuses it, or "". Its own words may repeat what was asked."""
    from vllm.exceptions import VLLMClientError
    from vllm.inputs import tokens_input

    try:
        llm.llm_engine.add_request(request, tokens_input(ids), params)
    except (ValueError, VLLMClientError) as error:
        return f"vLLM refuses the request ({type(error).__name__})"
    return ""


def _reply(key: Any, output: Any) -> Reply:
    written = output.outputs[0]
    counts = len(output.prompt_token_ids), len(written.token_ids)
    if written.finish_reason not in ("stop", "length"):
        return Reply(key, None, f"vLLM ended the answer early ({written.finish_reason})", str(written.finish_reason), *counts)
    return Reply(key, written.text, "", written.finish_reason, *counts)
