"""The tokenizer and the model that are trained, adapters included, and what is left of them at the end."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from peft import PeftModel
from safetensors import SafetensorError
from trl import ModelConfig, SFTConfig, get_peft_config, get_quantization_config  # type: ignore[attr-defined]
from trl.trainer.utils import create_model_from_path

from syncabel.errors import ConfigError, IncompleteFolderError
from syncabel.export.folder import check_architecture
from syncabel.prompt import SEPARATOR, prepare_tokenizer
from syncabel.train.arguments import Settings, TrainArguments
from syncabel.train.scratch import random_llama

__all__ = ["adapter_config", "load_model", "load_tokenizer", "merged"]


def load_tokenizer(settings: Settings) -> Any:
    """The tokenizer as the prompt format needs it.

    Raises:
        ConfigError: there is none, or it has no end token.
        IncompleteFolderError: its file was half written.
    """
    from transformers import AutoTokenizer

    place = settings.own.tokenizer or settings.model.model_name_or_path
    _check_tokenizer_file(Path(str(place)) / "tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=settings.model.model_revision, trust_remote_code=settings.sft.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(f"tokenizer: nothing can be loaded from {place!r}: {_why(error)}") from None
    return prepare_tokenizer(tokenizer, settings.own.format)


def _why(error: BaseException) -> str:
    """What the hub's client found, in a line; transformers writes a paragraph around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatedRepoError):
            return "its owners give access on request; ask for it on the model's page, then run `hf auth login` or set HF_TOKEN"
        if isinstance(cause, RepositoryNotFoundError):
            return "there is no such repository, or the token may not see it; check the name, or run `hf auth login`"
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())


def _check_tokenizer_file(path: Path) -> None:
    """The tokenizers library says of a cut-off file no more than `Exception`, so it is looked at before."""
    if not path.is_file():
        return
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IncompleteFolderError(f"{path} is damaged ({error}); download or save the tokenizer again") from None


def load_model(settings: Settings, tokenizer: Any) -> Any:
    """The model before any adapter, with a row for every token.

    Raises:
        ConfigError: it cannot be loaded or exported, or `max_length` exceeds its context.
        IncompleteFolderError: its weights were half written.
    """
    own = settings.own
    model = _random(own, settings.sft, tokenizer) if own.init == "random" else _pretrained(settings.sft, settings.model)
    before = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > before:
        # The mean of the other rows is the starting point that disturbs the model least; sampling around it would need a seed.
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        _mean_rows(model, before)
    limit = model.config.max_position_embeddings
    if settings.max_length > limit:
        raise ConfigError(f"max_length is {settings.max_length}, the model's context holds {limit} tokens; lower it")
    return model


def _random(own: TrainArguments, sft: SFTConfig, tokenizer: Any) -> Any:
    shape = {"hidden_size": own.hidden_size, "intermediate_size": own.intermediate_size, "num_layers": own.num_layers, "num_heads": own.num_heads}
    return random_llama(tokenizer, context_length=own.context_length, initializer_range=own.initializer_range, seed=sft.seed, **shape)


def _pretrained(sft: SFTConfig, arguments: ModelConfig) -> Any:
    from transformers import AutoConfig

    options: dict[str, Any] = {
        "revision": arguments.model_revision,
        "trust_remote_code": sft.trust_remote_code,
        "dtype": arguments.dtype,
        # None: the Trainer places the model (quantised ones go to the process' own GPU); "auto" would spread it over those of others.
        "device_map": None,
        **({"attn_implementation": arguments.attn_implementation} if arguments.attn_implementation else {}),
        **(sft.model_init_kwargs if isinstance(sft.model_init_kwargs, dict) else {}),
    }
    place = str(arguments.model_name_or_path)
    try:
        # Before the weights, which take minutes: what cannot be exported need not be trained.
        check_architecture(AutoConfig.from_pretrained(place, revision=arguments.model_revision, trust_remote_code=sft.trust_remote_code).model_type)
        if (quantization := get_quantization_config(arguments)) is not None:
            options["quantization_config"] = quantization
        sft.model_init_kwargs = None
        return create_model_from_path(place, **options)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"model_name_or_path: {place!r} cannot be loaded: {_why(error)}") from None
    except SafetensorError as error:
        raise IncompleteFolderError(f"model_name_or_path: the weights in {place!r} are damaged ({error}); download or save them again") from None


def _mean_rows(model: Any, before: int) -> None:
    """Give every row beyond the first `before` the mean of these."""
    import torch

    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                layer.weight[before:] = layer.weight[:before].mean(0)


def adapter_config(settings: Settings, tokenizer: Any) -> Any:
    """TRL's LoRA configuration; with the `syncabel` format the separator's embedding row is trained beside it. None without LoRA."""
    config: Any = get_peft_config(settings.model)
    if config is not None and isinstance(config.target_modules, str) and config.target_modules != "all-linear" and config.target_modules.isidentifier():
        config.target_modules = {config.target_modules}  # TRL makes a word of a list of one, which peft reads as a pattern of whole paths
    if config is not None and settings.own.prompt_format == "syncabel":
        config.trainable_token_indices = {"embed_tokens": [tokenizer.convert_tokens_to_ids(SEPARATOR)]}
    return config


def merged(model: Any, settings: Settings, tokenizer: Any, scratch: Path) -> Any:
    """The model with its adapter in the weights, in evaluation mode; itself where it has none.

    Args:
        model: what the trainer trained, unwrapped.
        settings: how the base was loaded.
        tokenizer: decides the number of rows.
        scratch: folder for the adapter of a quantised base, which is merged into the full-precision one instead: merging
            into 4-bit weights would round the adapter away.
    """
    if not isinstance(model, PeftModel):
        return model.eval()
    if settings.model.load_in_4bit or settings.model.load_in_8bit:
        model.save_pretrained(str(scratch))
        settings.model.load_in_4bit = settings.model.load_in_8bit = False
        model = PeftModel.from_pretrained(load_model(settings, tokenizer), scratch)
    return model.merge_and_unload().eval()
