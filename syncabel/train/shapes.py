"""The sizes of decoders: of a model's config.json, or of the models that the shipped configurations name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncabel.errors import ConfigError, FormatError, UnknownNameError

__all__ = ["BYTES", "SHAPES", "Shape", "parameters", "read_shape", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the size of a decoder.

    Attributes:
        layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary: sizes.
        tied: the output layer is the embedding.
        norms: normalisations of the hidden state in a layer.
        head_norms: queries and keys are normalised too.
        qkv_bias: the projections of queries, keys and values have a bias.
        float_norms: normalised numbers are multiplied by their weights in float32, whatever the model's kind.
        stored: bytes per parameter of the published weights.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    norms: int = 2
    head_norms: bool = False
    qkv_bias: bool = False
    float_norms: bool = False
    stored: int = 2

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a layer's linear maps, by transformers' names."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = {"q_proj": (self.hidden, query), "k_proj": (self.hidden, key), "v_proj": (self.hidden, key), "o_proj": (query, self.hidden)}
        wide = (self.hidden, self.intermediate)
        return {**attention, "gate_proj": wide, "up_proj": wide, "down_proj": wide[::-1]}

    @property
    def linear(self) -> int:
        """Parameters of the linear maps of all layers."""
        return self.layers * sum(rows * columns for rows, columns in self.matrices.values())

    @property
    def small(self) -> int:
        """Parameters of all normalisations and biases."""
        bias = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        return self.hidden + self.layers * (self.norms * self.hidden + (2 * self.head_dim if self.head_norms else 0) + bias)

    @property
    def table(self) -> int:
        """Parameters of the embedding; the output layer has as many where it is one of its own."""
        return self.vocabulary * self.hidden


# The models of the shipped configurations, from their published config.json.
SHAPES = {
    "meta-llama/Meta-Llama-3-8B-Instruct": Shape(32, 4096, 14336, 32, 8, 128, 128_256, tied=False),
    "HuggingFaceTB/SmolLM2-135M": Shape(30, 576, 1536, 9, 3, 64, 49_152, tied=True),
    "Qwen/Qwen3-0.6B-Base": Shape(28, 1024, 3072, 16, 8, 128, 151_936, tied=True, head_norms=True),
    "google/gemma-3-270m": Shape(18, 640, 2048, 4, 1, 256, 262_144, tied=True, norms=4, head_norms=True, float_norms=True),
    "google/gemma-3-1b-pt": Shape(26, 1152, 6912, 4, 1, 256, 262_144, tied=True, norms=4, head_norms=True, float_norms=True),
}
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"head_norms": True},
    "gemma3_text": {"norms": 4, "head_norms": True, "float_norms": True},
}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a number, by torch's name of its kind


def shape_of(config: Mapping[str, Any], where: str) -> Shape:
    """The shape that a model's config.json declares.

    Args:
        config: its content.
        where: the model, for messages.

    Raises:
        UnknownNameError: a model type whose parts are not known here.
        FormatError: a size is missing.
    """
    kind = str(config.get("model_type"))
    if kind not in _FAMILIES:
        raise UnknownNameError(f"model type in {where}:", kind, _FAMILIES)
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", kind == "gemma3_text")),
            stored=BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 4),
            **_FAMILIES[kind],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"does not give the model's sizes: {error}", where) from None


def parameters(shape: Shape) -> int:
    """All parameters, each counted once."""
    return shape.linear + shape.small + shape.table * (1 if shape.tied else 2)


def read_shape(place: str) -> Shape:
    """The shape of a model: its folder's config.json, the table of shipped models, or what the Hub's cache has of it.

    Raises:
        ConfigError: it is not known on this machine.
    """
    path = Path(place) / "config.json"
    if not path.is_file():
        if place in SHAPES:
            return SHAPES[place]
        path = _cached(place)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"is no JSON: {error}", path) from None
    return shape_of(config, str(path))


def _cached(place: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place, "config.json") if place.count("/") == 1 else None
    if not isinstance(found, str):
        known = ", ".join(SHAPES)
        raise ConfigError(f"the shape of {place!r} is not known here: give a folder with its config.json, or download it once (known: {known})")
    return Path(found)
