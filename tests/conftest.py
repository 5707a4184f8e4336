"""Doubles that are tiny but real: a trained byte-level BPE tokenizer, a two-layer random Llama."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORPUS = [
    "Type 2 diabetes mellitus was diagnosed in 1997; the patient also had chronic kidney disease.",
    "breast cancer, ovarian carcinoma and malignant melanoma of the skin",
    "L'embolie pulmonaire est fréquente. La insuficiencia renal crónica es frecuente.",
    "arthritis syndrome deficiency hereditary autosomal recessive dominant spastic paraplegia ataxia",
]


@contextmanager
def modules_of(folder: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Scripts of a folder as modules, by name.  They import each other by bare names, as they do when they are run."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))
    for name in {path.stem for path in folder.glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], ModuleType]]:
    """`script(name)`: a script of scripts/ as a module."""
    with modules_of(ROOT / "scripts") as take:
        yield take


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[Callable[[str], ModuleType]]:
    """`benchmarks(name)`: a script of benchmarks/ as a module."""
    with modules_of(ROOT / "benchmarks") as take:
        yield take


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.exists():
        pytest.skip("needs ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level BPE of 400 tokens with `<|end|>` as end and padding token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


@pytest.fixture(scope="session")
def tiny_llama() -> Callable[..., Any]:
    """A factory of two-layer Llamas with random weights, fp32, in evaluation mode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(vocab_size: int, seed: int = 0, scale: float = 1.0) -> Any:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
            tie_word_embeddings=True,
        )
        model = LlamaForCausalLM(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        return model

    return make


@pytest.fixture(scope="session")
def wide_llama_config(tiny_tokenizer: Any) -> Callable[..., Any]:
    """`wide_llama_config(positions, **more)`: of a small Llama whose heads are as wide as vLLM's attention on a CPU needs."""

    def make(positions: int, **more: float) -> Any:
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=len(tiny_tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=positions,
            bos_token_id=None,
            eos_token_id=tiny_tokenizer.eos_token_id,
            pad_token_id=tiny_tokenizer.eos_token_id,
            tie_word_embeddings=False,
            **more,
        )

    return make


@pytest.fixture(scope="session")
def tiny_chat_folder(tiny_tokenizer: Any, wide_llama_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers with a random Llama that chats."""
    import copy

    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    config = wide_llama_config(512, initializer_range=0.2)  # wide enough for an answer to depend on its prompt
    folder = tmp_path_factory.mktemp("chat") / "tiny-chat"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
    tokenizer.save_pretrained(folder)
    return folder


def concept(code: str, *names: str, group: str = "Disease", parents: tuple[str, ...] = (), **rest: Any) -> Any:
    """A concept whose first name is the preferred one."""
    from syncabel.types import Concept, Name

    return Concept(code, tuple(Name(name, preferred=i == 0) for i, name in enumerate(names)), (group,), parents=parents, **rest)


@pytest.fixture(scope="session")
def small_kb() -> Any:
    """Eight concepts of two groups; `MS` and `cold` are shared, A:1 has an alternative id."""
    from syncabel.kb import About, KnowledgeBase

    return KnowledgeBase.build(
        [
            concept("A:1", "multiple sclerosis", "disseminated sclerosis", "MS", parents=("A:7",), alt_codes=("A:100",)),
            concept("A:2", "mitral stenosis", "stenosis of the mitral valve", "MS", parents=("A:8",)),
            concept("A:3", "angina"),
            concept("A:4", "angina pectoris", "stenocardia", parents=("A:8",)),
            concept("A:5", "common cold", "cold", "acute coryza"),
            concept("A:6", "cold", group="Physiology"),
            concept("A:7", "nervous system disease"),
            concept("A:8", "heart disease", "cardiac disease"),
        ],
        About(source="test", release="1", licence="CC0-1.0", redistributable=True),
    )


@pytest.fixture(scope="session")
def small_lexicon(small_kb: Any, tiny_tokenizer: Any) -> Any:
    from syncabel.lexicon.build import build_lexicon

    return build_lexicon(small_kb, tiny_tokenizer)


@pytest.fixture(scope="session")
def launched() -> Callable[..., dict[str, str]]:
    """The environment that `accelerate launch` gives a process, by its own parser, for a shipped configuration and flags."""

    def of(name: str, *flags: str) -> dict[str, str]:
        from accelerate.commands.launch import _validate_launch_command, launch_command_parser
        from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

        path = Path(__file__).resolve().parents[1] / "configs" / "accelerate" / f"{name}.yaml"
        given = launch_command_parser().parse_args(["--config_file", str(path), "--main_process_port", "0", *flags, "-m", "syncabel.train"])
        arguments, *_ = _validate_launch_command(given)
        several = arguments.use_fsdp or arguments.multi_gpu
        return dict(prepare_multi_gpu_env(arguments) if several else prepare_simple_launcher_cmd_env(arguments)[1])

    return of
