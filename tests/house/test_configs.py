"""Every shipped configuration is read by the parser that training uses, and says itself how it is launched."""

import shlex
from pathlib import Path

import pytest
import yaml

from syncabel.config_files import shipped_configs
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train.arguments import Settings, parse

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "sft").rglob("*.y*ml"))
KINDS = {"sft", "generate"}  # of the latter see tests/data_gen/test_generate_command.py
PARSERS = {"sft": parse}  # folder under configs/ → what reads its files
EXPECTED = {"tiny-cpu", "smollm2-135m", "llama3-8b-h100", "llama3-8b-qlora"}


FILES = ("human_examples", "synthetic_examples", "dev_documents", "types")
FOLDERS = ("lexicon", "tokenizer")


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


def test_the_promised_configs_exist() -> None:
    assert {path.relative_to(ROOT / "configs").parts[0] for path in (ROOT / "configs").rglob("*.y*ml")} == KINDS
    assert {path.stem for path in CONFIGS if path.parent.name == "sft"} >= EXPECTED


def test_the_shipped_configs_are_those_of_the_checkout() -> None:
    assert set(shipped_configs("sft")) == {path.stem for path in CONFIGS if path.parent.name == "sft"}


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_a_config_parses_strictly(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = read(path)
    assert settings.own.lexicon


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_a_config_opens_with_the_line_that_launches_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    words = shlex.split(first.removeprefix("# "))
    assert words[:2] == ["accelerate", "launch"] or words[:3] == ["python", "-m", "syncabel.train"]
    assert named(path) in words
    assert all((ROOT / word).exists() for word in words if word.startswith(("scripts/", "configs/")))


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
