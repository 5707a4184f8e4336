"""Every shipped configuration is read by what launches with it, and says itself how it is launched."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from syncabel.config_files import shipped_configs
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train.arguments import Settings, parse

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "sft").rglob("*.y*ml"))
ACCELERATE = sorted((ROOT / "configs" / "accelerate").rglob("*.y*ml"))
KINDS = {"accelerate", "sft", "generate"}  # of the last see tests/data_gen/test_generate_command.py
PARSERS = {"sft": parse}  # folder under configs/ → what reads its files; accelerate's are read by accelerate's own parser below
EXPECTED = {"tiny-cpu", "smollm2-135m", "qwen3-0.6b", "gemma3-270m", "llama3-8b-full", "llama3-8b-improved", "llama3-8b-lora", "llama3-8b-qlora"}
LAUNCHERS = {"single-gpu", "ddp", "fsdp2", "fsdp2-offload", "two-nodes"}


FILES = ("human_examples", "synthetic_examples", "dev_documents", "types")
FOLDERS = ("lexicon", "tokenizer")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers writes torch_compile into the environment, where it would stay for the tests that follow."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")


def prepare(path: Path, folder: Path) -> None:
    """Put an empty file or folder where a config expects prepared data, so that only the config itself is judged."""
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in (*FILES, *FOLDERS):
        if key in written:
            place = folder / written[key]
            (place if key in FOLDERS else place.parent).mkdir(parents=True, exist_ok=True)
            if key in FILES:
                place.touch()


def read(path: Path) -> Settings:
    # --use_cpu: without it transformers refuses bf16 on a machine that has no GPU, whatever else the file says.
    return PARSERS[path.relative_to(ROOT / "configs").parts[0]](["--config", str(path), "--use_cpu"])


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def first_line(path: Path) -> list[str]:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    return shlex.split(first.removeprefix("# "))


def test_the_promised_configs_exist() -> None:
    assert {path.relative_to(ROOT / "configs").parts[0] for path in (ROOT / "configs").rglob("*.y*ml")} == KINDS
    assert {path.stem for path in CONFIGS if path.parent.name == "sft"} >= EXPECTED
    assert {path.stem for path in ACCELERATE} == LAUNCHERS


@pytest.mark.parametrize(("kind", "paths"), [("sft", CONFIGS), ("accelerate", ACCELERATE)])
def test_the_shipped_configs_are_those_of_the_checkout(kind: str, paths: list[Path]) -> None:
    assert set(shipped_configs(kind)) == {path.stem for path in paths if path.parent.name == kind}


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_a_config_parses_strictly(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = read(path)
    assert settings.own.lexicon


@pytest.mark.parametrize("path", [*CONFIGS, *ACCELERATE], ids=named)
def test_a_config_opens_with_the_line_that_launches_it(path: Path) -> None:
    words = first_line(path)
    assert words[:2] == ["accelerate", "launch"] or words[:3] == ["python", "-m", "syncabel.train"]
    assert named(path) in words
    assert all((ROOT / word).exists() for word in words if word.startswith(("scripts/", "configs/")))


@pytest.mark.parametrize("path", [*CONFIGS, *ACCELERATE], ids=named)
def test_the_launching_line_is_one_that_accelerate_reads(path: Path) -> None:
    words = first_line(path)
    if words[0] == "python":
        return
    from accelerate.commands.launch import launch_command_parser

    given = launch_command_parser().parse_args(words[2:])
    assert (given.module, given.training_script) == (True, "syncabel.train")
    assert given.training_script_args[0] == "--config"
    config = given.training_script_args[1]
    assert config in shipped_configs("sft") or (ROOT / config).exists()


@pytest.mark.parametrize(
    ("name", "flags", "processes"),
    [
        ("single-gpu", (), 1),
        ("ddp", (), 8),
        ("fsdp2", (), 8),
        ("fsdp2-offload", (), 8),
        ("two-nodes", ("--machine_rank", "1", "--main_process_ip", "10.0.0.1"), 16),
    ],
)
def test_accelerate_reads_how_many_processes_are_meant(name: str, flags: tuple[str, ...], processes: int) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    path = ROOT / "configs" / "accelerate" / f"{name}.yaml"
    assert load_config_from_file(str(path)).num_processes == processes
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(path), *flags, "-m", "syncabel.train"]))
    assert (arguments.num_processes, arguments.num_machines) == (processes, 2 if name == "two-nodes" else 1)
    assert (arguments.multi_gpu, arguments.use_fsdp) == (name == "ddp", name in ("fsdp2", "fsdp2-offload", "two-nodes"))
    assert arguments.mixed_precision == "no", "the training configuration decides"
    if name == "two-nodes":
        assert (arguments.machine_rank, arguments.main_process_ip, arguments.main_process_port, arguments.rdzv_backend) == (1, "10.0.0.1", 29500, "static")


@pytest.mark.parametrize("name", ["fsdp2", "fsdp2-offload", "two-nodes"])
def test_the_plugin_that_a_launched_process_makes_has_the_fields_meant(
    name: str, launched: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import CPUOffloadPolicy, StateDictType
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
    from transformers import LlamaConfig, LlamaForCausalLM

    flags = ("--machine_rank", "1", "--main_process_ip", "10.0.0.1") if name == "two-nodes" else ()
    environment = launched(name, *flags)
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    for key, value in environment.items():
        if key.startswith("FSDP_"):
            monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.state_dict_type == StateDictType.SHARDED_STATE_DICT
    assert isinstance(plugin.cpu_offload, CPUOffloadPolicy) is (name == "fsdp2-offload")
    assert plugin.cpu_ram_efficient_loading
    assert not plugin.activation_checkpointing, "gradient_checkpointing of the training configuration decides"
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    plugin.set_mixed_precision("bf16")  # what the trainer's accelerator says where a training has bf16
    assert plugin.mixed_precision_policy.param_dtype == torch.bfloat16
    with torch.device("meta"):
        plugin.set_auto_wrap_policy(LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, hidden_size=64, intermediate_size=64, vocab_size=64)))
    assert plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer"]


def test_the_improved_recipe_changes_speed_and_nothing_else() -> None:
    full, improved = (yaml.safe_load((ROOT / "configs" / "sft" / f"llama3-8b-{name}.yaml").read_text()) for name in ("full", "improved"))
    changed = {key for key in full.keys() | improved.keys() if full.get(key) != improved.get(key)}
    assert changed == {"output_dir", "model_folder", "gradient_checkpointing", "torch_compile"}


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_an_unknown_key_in_a_config_names_the_nearest_known_one(path: Path, tmp_path: Path) -> None:
    altered = tmp_path / path.name
    altered.write_text(path.read_text(encoding="utf-8") + "\nlearning_rat: 0.1\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="learning_rate"):
        parse(["--config", str(altered)])


def test_a_value_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("lexicon: somewhere\nhuman_examples: some.jsonl\ninit: random\ntokenizer: somewhere\nnum_layers: many\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="num_layers"):
        parse(["--config", str(path)])
