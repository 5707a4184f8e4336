"""Chats completed by a small model in this process, with transformers.

Calls are answered in batches, padded on the left.  Each row draws from a generator of its own, seeded by its call: to the most
probable token an own noise is added (Gumbel's, which makes the largest sum a draw from the softmax), so no row sees another's
random numbers.  What is left of a batch in an answer is the arithmetic: a row's logits differ in the last digits with the padding
and the number of rows, and a tie within them may fall the other way.  At `batch_size` 1 an answer is the same whatever else is asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.in_process import chat_tokenizer, encode_chat, end_tokens, files_digest, model_name, too_long
from syncabel.errors import ConfigError, MissingExtraError, UnknownNameError

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "TransformersEngine"]

DTYPES = ("auto", "float32", "bfloat16", "float16")


class _Loaded(NamedTuple):
    """A model ready to write."""

    model: Any
    tokenizer: Any
    ends: list[int]
    context: int
    shares: bool  # what prompts begin with in common can be read once


@dataclass(frozen=True, eq=False)
class TransformersEngine:
    """A `ChatEngine` that holds a model of transformers; nothing is loaded before the first reply is asked for.

    Attributes:
        folder: of the model, with a chat template.
        sampling: how tokens are drawn.
        batch_size: calls answered together.
        load_in_4bit: weights in four bits (NF4, by bitsandbytes); on a GPU only.
        device: "cpu", "cuda", …; "auto" takes a GPU where there is one.
        dtype: of the weights, one of `DTYPES`; "auto" takes the checkpoint's.

    Raises:
        MissingExtraError: torch, transformers or bitsandbytes is not installed.
        ConfigError: four bits on a CPU.
        UnknownNameError: no such dtype.
    """

    folder: str | Path
    sampling: Sampling
    _: KW_ONLY
    batch_size: int = 8
    load_in_4bit: bool = False
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        for package in ("torch", "transformers", "accelerate"):
            if find_spec(package) is None:
                raise MissingExtraError("link", package)
        if self.dtype not in DTYPES:
            raise UnknownNameError("dtype", self.dtype, DTYPES)
        if self.batch_size < 1:
            raise ConfigError(f"batches of {self.batch_size} calls: give 1 or more")
        if self.load_in_4bit and self.device == "cpu":
            raise ConfigError("weights in four bits need a GPU: leave load_in_4bit out, or give another device")
        if self.load_in_4bit and find_spec("bitsandbytes") is None:
            raise MissingExtraError("qlora", "bitsandbytes")

    @property
    def name(self) -> str:
        """`transformers`."""
        return "transformers"

    @property
    def model(self) -> str:
        """The folder's name."""
        return model_name(self.folder)

    @property
    def version(self) -> str:
        """E.g. "transformers 5.23.0"."""
        return f"transformers {version('transformers')}"

    @property
    def local(self) -> bool:
        """Always: the model is in this process."""
        return True

    @property
    def settings(self) -> dict[str, str]:
        """What else decides the answers: weights' form, batches and the SHA-256 of the model's small files."""
        return {"dtype": "4bit" if self.load_in_4bit else self.dtype, "batch_size": str(self.batch_size), "files": files_digest(self.folder)}

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """See `ChatEngine`; one batch is drawn at a time, and answered in the order of its calls.

        Raises:
            ConfigError: the folder holds no model that can chat, or four bits were asked for without a GPU.
        """
        source = iter(calls)
        while batch := list(islice(source, self.batch_size)):
            yield from self._batch(batch)

    def _batch(self, calls: Sequence[Call]) -> Iterator[Reply]:
        fitting: list[tuple[Call, list[int]]] = []
        for call in calls:
            ids = encode_chat(self._loaded.tokenizer, call.messages)
            if problem := too_long(ids, self.sampling, self._loaded.context):
                yield Reply(call.key, None, problem)
            else:
                fitting.append((call, ids))
        if not fitting:
            return
        for (call, ids), written in zip(fitting, self._written(fitting), strict=True):
            yield self._reply(call, len(ids), written)

    def _reply(self, call: Call, prompt_tokens: int, written: list[int]) -> Reply:
        """Tokens after an end are padding."""
        end = next((place for place, token in enumerate(written) if token in self._loaded.ends), None)
        kept = written if end is None else written[:end]
        text = self._loaded.tokenizer.decode(kept, skip_special_tokens=True)
        finish, count = ("length", len(kept)) if end is None else ("stop", len(kept) + 1)
        return Reply(call.key, text, "", finish, prompt_tokens, count)

    def _written(self, fitting: Sequence[tuple[Call, list[int]]]) -> list[list[int]]:
        """The tokens written for each prompt, padded to one length."""
        import torch

        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        prompts = [ids for _, ids in fitting]
        shared = _shared_tokens(prompts) if self._loaded.shares else 0
        inputs = tokenizer.pad({"input_ids": [ids[shared:] for ids in prompts]}, return_tensors="pt")
        start = torch.tensor(prompts[0][:shared], dtype=torch.long).expand(len(prompts), shared)
        inputs = {
            "input_ids": torch.cat([start, inputs["input_ids"]], dim=1).to(model.device),
            "attention_mask": torch.cat([torch.ones_like(start), inputs["attention_mask"]], dim=1).to(model.device),
        }
        with torch.inference_mode():
            if shared:
                # The model below the head: no logits are wanted of what is shared.
                inputs["past_key_values"] = model.base_model(inputs["input_ids"][:1, :shared], use_cache=True).past_key_values
                inputs["past_key_values"].batch_repeat_interleave(len(prompts))
            rows = model.generate(**inputs, logits_processor=self._processors([call.seed for call, _ in fitting]))
        written: list[list[int]] = rows[:, inputs["input_ids"].shape[1] :].tolist()
        return written

    def _processors(self, seeds: Sequence[int]) -> list[Any]:
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

        sampling = self.sampling
        if sampling.temperature == 0:
            return LogitsProcessorList()
        top_p = [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
        return LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature), *top_p, _RowNoise(seeds)])

    @cached_property
    def _loaded(self) -> _Loaded:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        settings: Any = GenerationConfig

        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        if self.load_in_4bit and device == "cpu":
            raise ConfigError("weights in four bits need a GPU, and this machine has none: leave load_in_4bit out")
        tokenizer = chat_tokenizer(self.folder)
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(str(self.folder), dtype=self.dtype, device_map=device, **self._quantization())
        except (OSError, ValueError):
            raise ConfigError(f"{self.folder}: no language model of transformers can be read from it; give a model's folder") from None
        ends = end_tokens(self.folder, tokenizer)
        # A checkpoint's generation settings never decide; only its end tokens are taken.
        model.generation_config = settings(max_new_tokens=self.sampling.max_tokens, do_sample=False, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
        return _Loaded(model.eval(), tokenizer, ends, int(model.config.max_position_embeddings), _attends_to_all(model.config))

    def _quantization(self) -> dict[str, Any]:
        if not self.load_in_4bit:
            return {}
        import torch
        from transformers import BitsAndBytesConfig

        make: Any = BitsAndBytesConfig
        four_bits = make(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
        return {"quantization_config": four_bits}


def _attends_to_all(config: Any) -> bool:
    """Whether every layer keeps all it has read.

    A window is counted in places of the cache, and padding between what is shared and a row's own tokens would take of it; a recurrent
    state cannot be repeated for more rows.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=config.get_text_config(decoder=True)).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _shared_tokens(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, to be read once for all of them; the last of each stays its own. 0 for one prompt."""
    if len(prompts) == 1:
        return 0
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


class _RowNoise:
    """Gumbel noise for each row, from a generator that the row's seed alone decides; a logits processor.

    Drawn on the CPU, so that a seed gives the same noise on every device.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        import torch

        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Logits with the noise added.

        Args:
            input_ids: not looked at.
            scores: logits. Shape: (rows, vocabulary).
        """
        import torch

        del input_ids
        width = scores.shape[1]
        drawn = torch.stack([torch.empty(width).exponential_(generator=generator) for generator in self._generators])
        return scores.float() - drawn.log().to(scores.device)
