"""Configurations: every shipped one parses, nothing unknown or contradictory passes."""

import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from trl import ModelConfig, SFTConfig  # type: ignore[attr-defined]

from syncabel.config_files import find_config, read_config, shipped_configs
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train import main
from syncabel.train.arguments import Settings, _check_quantised, parse
from syncabel.train.layout import PLACES, settings_of

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "sft").glob("*.yaml"))


def parse_shipped(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Settings:
    """Parse a shipped file where the files it names exist."""
    import yaml

    monkeypatch.chdir(tmp_path)
    for name in ("human_examples", "synthetic_examples", "dev_documents", "types"):
        if value := yaml.safe_load(path.read_text()).get(name):
            Path(value).parent.mkdir(parents=True, exist_ok=True)
            Path(value).touch()
    if value := yaml.safe_load(path.read_text()).get("tokenizer"):
        Path(value).mkdir(parents=True, exist_ok=True)
    return parse(["--config", str(path), *more])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_parses_and_opens_with_the_line_that_launches_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse_shipped(path, tmp_path, monkeypatch)
    assert path.read_text().splitlines()[0].startswith(("# accelerate launch ", "# python -m syncabel.train ")), path
    assert f"--config configs/sft/{path.name}" in path.read_text().splitlines()[0]


def test_the_published_recipe_is_in_the_full_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_shipped(find_config("llama3-8b-full", "sft"), tmp_path, monkeypatch)
    assert (settings.sft.learning_rate, settings.schedule, settings.sft.warmup_steps) == (3e-5, "linear", 0.03)
    assert (settings.sft.seed, settings.sft.num_train_epochs, settings.sft.packing, settings.own.mix) == (42, 3, True, "1:1")
    assert settings.sft.per_device_train_batch_size == 1
    assert settings.sft.bf16
    assert not settings.model.use_peft


def test_qlora_is_parsed_into_a_four_bit_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_shipped(find_config("llama3-8b-qlora", "sft"), tmp_path, monkeypatch)
    assert settings.model.load_in_4bit
    assert settings.model.bnb_4bit_quant_type == "nf4"
    assert len(settings.model.lora_target_modules or ()) == 7


@pytest.mark.parametrize("value", [0, -3, "abc", 2.5, True, None, [1, 2], {"a": 1}])
def test_a_count_is_one_whole_number_from_one(value: object) -> None:
    counts = {"tiny-cpu": ("max_length", "per_device_train_batch_size", "gradient_accumulation_steps", "num_heads"), "llama3-8b-lora": ("lora_r",)}
    for config, names in counts.items():
        written = read_config(find_config(config, "sft"))
        places = {name: place for name in PLACES if (place := written.get(name))}
        settings_of(written, "run.yaml", elsewhere=places)
        for name in names:
            with pytest.raises(ConfigError, match=name) as refused:
                settings_of({**written, name: value}, "run.yaml", elsewhere=places)
            assert "\n" not in str(refused.value)


def test_a_bare_name_finds_a_shipped_configuration_and_a_wrong_one_names_the_nearest() -> None:
    assert find_config("tiny-cpu", "sft") == shipped_configs("sft")["tiny-cpu"]
    with pytest.raises(UnknownNameError, match="did you mean 'tiny-cpu'"):
        find_config("tiny_cpu", "sft")


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("max_repeat: 3\n")
    with pytest.raises(UnknownNameError, match=r"c\.yaml.*did you mean 'max_repeats'"):
        parse(["--config", str(path)])
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        parse(["--lexicon", "x", "--learnin_rate", "3"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mix: 1:1", "mix is 61; give text, in quotes"),
        ("max_steps: many", "give a whole number"),
        ("max_steps: 1.5", "give a whole number"),
        ("packing: sometimes", "give true or false"),
        ("init: scratch", "give one of pretrained, random"),
        ("- a\n- b", "no `key: value` lines"),
        ("a: [", "no YAML"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_file(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=r"c\.yaml") as caught:
        parse(["--config", str(path)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--packing", "true", "--bucket_batches", "4"], "without bucket_batches"),
        (["--init", "pretrained"], "give model_name_or_path"),
        (["--use_peft", "true"], "nothing to adapt"),
        (["--eval_strategy", "steps"], "without dev_documents"),
        (["--max_minutes", "1", "--lr_scheduler_type", "cosine"], "max_minutes goes with"),
        (["--max_minutes", "0"], "max_minutes is 0.0; give a number above 0"),
        (["--per_device_train_batch_size", "0"], "per_device_train_batch_size is 0; it counts from 1"),
        (["--max_steps", "-1", "--num_train_epochs", "0"], "nothing would be trained"),
        (["--eval_on_start", "true"], "eval_on_start without dev_documents"),
        (["--dev_documents", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
        (["--max_steps", "many"], "invalid int value"),
        (["--train_sampling_strategy", "random"], "the mix decides the order"),
        (["--muon_factor", "-1"], "positive factor"),
        (["--word_cuts", "2"], "word_cuts is 2.0; it is a fraction"),
        (["--seed", "-1"], "seed is -1; give a number from 0"),
        (["--seed", "4294967296"], "seed is 4294967296; give a number from 0 to 4294967295"),
        (["--num_heads", "3"], "hidden_size is 32, num_heads 3; each head has an even part, give a multiple of 6"),
        (["--num_heads", "32"], "give a multiple of 64"),
        (["--num_layers", "0"], "num_layers is 0; it counts from 1"),
        (["--initializer_range", "-1"], "it is a standard deviation"),
        (["--tokenizer", "/nonexistent"], "tokenizer: there is no folder /nonexistent"),
        (["--tokenizer", "out/quickstart/gone"], "tokenizer: there is no folder out/quickstart/gone"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(more: list[str], message: str, flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(flags(*more))


@pytest.mark.parametrize("setting", ["gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"])
def test_an_unknown_key_for_recomputation_is_refused_before_the_first_step(setting: str, flags: Callable[..., list[str]]) -> None:
    if setting not in SFTConfig.__dataclass_fields__:
        pytest.skip("transformers is older than the name")
    with pytest.raises(UnknownNameError, match=r"unknown key in .*_checkpointing_kwargs: 'use_rentrant'; did you mean 'use_reentrant'"):
        parse(flags(f"--{setting}", '{"use_rentrant": false}'))
    assert parse(flags(f"--{setting}", '{"use_reentrant": false, "preserve_rng_state": true}'))


@pytest.mark.parametrize(
    ("more", "package"), [(["--report_to", "wandb"], "wandb"), (["--report_to", "mlflow"], "mlflow"), (["--use_liger_kernel", "true"], "liger-kernel")]
)
def test_what_needs_a_package_that_is_not_there_is_refused_before_anything_is_loaded(more: list[str], package: str, flags: Callable[..., list[str]]) -> None:
    if find_spec(package.replace("-", "_")):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ConfigError, match=f"run `pip install {package}`"):
        parse(flags(*more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--router_aux_loss_coef", "0.1"], "model and trainer: .*router_aux_loss_coef.*change that setting"),
        (["--optim", "galore_adamw"], "optim 'galore_adamw': "),
        (["--lr_scheduler_type", "cosine_with_min_lr"], "lr_scheduler_kwargs is "),
    ],
    ids=["trainer", "optimizer", "schedule"],
)
def test_what_the_libraries_refuse_while_they_are_put_together_is_one_line(
    more: list[str], message: str, flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(*more)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("syncabel: error: ")
    assert re.search(message, said)


@pytest.mark.parametrize(
    ("written", "arguments", "on"),
    [
        ("", ["--use_cpu", "true"], True),
        ("", ["--use-cpu=yes"], True),
        ("", ["--use_cpu"], True),
        ("", ["--use_cpu", "false"], False),
        ("", ["--use_cpu=false", "--seed", "1"], False),
        ("use_cpu: true\n", [], True),
        ("use_cpu: true\n", ["--use_cpu", "false"], False),
        ("use_cpu: false\n", ["--use_cpu", "true"], True),
        ("", ["--use_cpu", "true", "--use_cpu", "false"], False),
    ],
)
def test_a_switch_is_read_before_the_rest_as_it_is_read_with_the_rest(
    written: str, arguments: list[str], on: bool, flags: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("syncabel.train.arguments.check_launch", lambda _environment, _devices, on_cpu: asked.append(on_cpu))
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)  # else the default would be on
    (tmp_path / "c.yaml").write_text(written + "logging_steps: 2\n")
    settings = parse(["--config", str(tmp_path / "c.yaml"), *flags("--bf16", "false"), *arguments])
    assert asked == [on]
    assert settings.sft.use_cpu == on


def test_a_switch_that_is_neither_on_nor_off_is_refused(flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="use_cpu"):
        parse(flags("--use_cpu", "maybe"))


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_quantised_weights_are_refused_under_fsdp(bits: str, flags: Callable[..., list[str]]) -> None:
    sft, model = parse(flags()).sft, ModelConfig(use_peft=True, **{bits: True})
    _check_quantised({}, sft, model)
    _check_quantised({"ACCELERATE_USE_FSDP": "false"}, sft, model)
    with pytest.raises(ConfigError, match=f"{bits} under FSDP"):
        _check_quantised({"ACCELERATE_USE_FSDP": "true"}, sft, model)
    _check_quantised({"ACCELERATE_USE_FSDP": "true"}, sft, ModelConfig(use_peft=True))


def test_two_optimizers_in_one_are_refused_under_fsdp(flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    parse(flags("--muon_factor", "5"))
    monkeypatch.setattr("syncabel.train.arguments.check_launch", lambda *_: None)  # it says first that there is no GPU
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="muon_factor under FSDP"):
        parse(flags("--muon_factor", "5"))


def test_one_gpu_of_several_is_taken_where_nobody_launched_more(
    flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SFTConfig, "n_gpu", property(lambda sft: sft.__dict__.get("_n_gpu") or 4))
    sft = parse(flags("--use_cpu", "true")).sft
    assert capsys.readouterr().err.startswith("training on one GPU of 4; for all of them start it with `accelerate launch`")
    assert sft.n_gpu == sft._n_gpu == 1


def test_an_example_divided_among_processes_is_refused(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("parallelism_config: {cp_size: 2}\n")
    with pytest.raises(ConfigError, match="parallelism_config: each process trains on examples of its own here"):
        parse(["--config", str(path), *flags()])


def test_a_model_folder_that_writing_would_destroy_is_refused_before_training(
    flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("a year of work")
    (tmp_path / "file").touch()
    refused = {
        tmp_path / "mine": "no model of syncabel",
        tmp_path / "file": "no model of syncabel",
        tmp_path / "run": "would delete",
        tmp_path: "would delete",
        prepared(): "would delete",
        prepared() / "lexicon": "would delete",
        prepared() / "lexicon" / "model": "lies in the lexicon",
    }
    for folder, message in refused.items():
        with pytest.raises(ConfigError, match=message):
            parse(flags("--model_folder", str(folder)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="would delete"):
        parse(flags("--model_folder", "."))
    assert (tmp_path / "mine" / "notes.txt").read_text() == "a year of work"


def test_an_empty_folder_or_a_model_of_syncabel_may_be_replaced(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert parse(flags("--model_folder", str(folder))).model_folder == folder
    (folder / "config.json").write_text('{"syncabel": {}}')
    assert parse(flags("--model_folder", str(folder))).model_folder == folder


def test_no_data_is_refused(flags: Callable[..., list[str]]) -> None:
    with pytest.raises(ConfigError, match="no training data"):
        parse(flags(sources=()))


def test_bf16_is_off_on_a_cpu_unless_asked_for(flags: Callable[..., list[str]]) -> None:
    assert not parse(flags("--use_cpu", "true")).sft.bf16
    assert parse(flags("--use_cpu", "true", "--bf16", "true")).sft.bf16


@pytest.mark.parametrize("damaged", ["lexicon/trie/token.npy", "lexicon/trie/trie.json", "lexicon/lexicon.json", "tokenizer/tokenizer.json", "human.jsonl"])
def test_a_file_that_was_cut_off_is_one_line_and_exit_code_2(
    damaged: str, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(prepared(), copy)
    whole = (copy / damaged).read_bytes()
    (copy / damaged).write_bytes(whole[: len(whole) // 2])
    assert main([flag.replace(str(prepared()), str(copy)) for flag in flags()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("syncabel: error: ")
    assert damaged.rsplit("/", 1)[-1] in err
    assert err.count("\n") == 1


def test_an_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "tiny-gpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("syncabel: error: unknown configuration 'tiny-gpu'")
    assert err.count("\n") == 1
