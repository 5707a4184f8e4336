"""The wheel alone is enough: built once, unpacked into a folder of its own, used from outside the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("syncabel", "data_gen", "constrained")


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=os.environ | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("syncabel-*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> frozenset[str]:
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    done = run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)], folder)
    assert done.returncode == 0, done.stderr
    return folder


def outside(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the installed wheel before everything else; -P keeps the working folder out of the path."""
    return run([sys.executable, "-P", *arguments], folder, PYTHONPATH=str(installed), HF_HUB_OFFLINE="1")


def test_every_module_of_the_three_packages_is_in_the_wheel(contents: frozenset[str]) -> None:
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules <= contents


def test_data_files_are_in_the_wheel(contents: frozenset[str]) -> None:
    data = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }
    assert data <= contents
    assert {f"{package}/py.typed" for package in PACKAGES} <= data


def test_configs_are_in_the_wheel_byte_for_byte(wheel: Path) -> None:
    configs = sorted((ROOT / "configs").rglob("*.yaml"))
    assert configs
    with zipfile.ZipFile(wheel) as archive:
        assert all(archive.read(f"syncabel/{path.relative_to(ROOT).as_posix()}") == path.read_bytes() for path in configs)


def test_the_doid_and_the_demo_are_in_the_wheel(contents: frozenset[str]) -> None:
    assert any("doid" in name for name in contents)
    assert any("demo" in name and name.endswith(".jsonl") for name in contents)


def test_the_licence_is_in_the_wheel(contents: frozenset[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)


def test_the_wheel_holds_packages_and_nothing_else(contents: frozenset[str]) -> None:
    tops = {name.split("/")[0] for name in contents if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    assert not [name for name in contents if "__pycache__" in name or "/tests/" in name]


def test_the_installed_package_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    done = outside(installed, tmp_path, "-c", "import syncabel, data_gen, constrained; print(syncabel.__file__, data_gen.__file__, constrained.__file__)")
    assert done.returncode == 0, done.stderr
    assert all(Path(place).is_relative_to(installed) for place in done.stdout.split())


def test_kb_info_doid_needs_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    done = outside(installed, tmp_path, "-m", "syncabel", "kb", "info", "doid", "--json")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert info["concepts"] > 10_000
    assert info["names"] > info["concepts"]
    assert {"ambiguous_names", "digest"} <= info.keys()


NAMES = "".join(f"C:{i}\t{kind} {part} disease\tP\nC:{i}\t{part} disorder, {kind}\tS\n" for i, (kind, part) in enumerate(
    (kind, part) for kind in ("acute", "chronic", "juvenile") for part in ("kidney", "liver", "heart", "bone")
))  # fmt: skip


def test_the_wheel_alone_trains_with_a_shipped_config(installed: Path, tmp_path: Path) -> None:
    def done(*arguments: str) -> str:
        ended = outside(installed, tmp_path, *arguments)
        assert ended.returncode == 0, f"{arguments}\n{ended.stderr[-3000:]}"
        return ended.stdout

    (tmp_path / "names.tsv").write_text(NAMES, encoding="utf-8")
    done("-m", "syncabel", "kb", "build", "names.tsv", "--group", "Disease", "-o", "kb")
    for source, seed in (("human", "1"), ("synthetic", "2")):
        done("-m", "syncabel", "generate", "kb", "--per-concept", "4", "--seed", seed, "-o", source)
    human = tmp_path / "human" / "documents.jsonl"  # who wrote them matters to no one here, but the config mixes two sources
    human.write_text(human.read_text(encoding="utf-8").replace('"source": "synthetic"', '"source": "human"'), encoding="utf-8")
    files = ("human/documents.jsonl", "synthetic/documents.jsonl")
    done("-m", "syncabel", "lexicon", "tokenizer", "kb", "--vocabulary", "400", "-o", "tokenizer")
    done("-m", "syncabel", "lexicon", "build", "kb", "--tokenizer", "tokenizer", "-o", "lexicon")
    done("-m", "syncabel", "examples", "kb", *files, "--lexicon", "lexicon", "--dev-fraction", "0", "--context-chars", "80", "-o", "examples")
    places = {name: f"examples/{name.removesuffix('_examples')}.jsonl" for name in ("human_examples", "synthetic_examples")}
    places |= {"types": "examples/types.json", "tokenizer": "tokenizer", "lexicon": "lexicon", "output_dir": "run", "model_folder": "model"}
    small = {"max_steps": "3", "per_device_train_batch_size": "4", "hidden_size": "32", "intermediate_size": "64", "num_layers": "1", "warmup_steps": "1"}
    flags = [part for key, value in (places | small).items() for part in (f"--{key}", value)]
    where = done("-c", "import syncabel.config_files as a; print(a.__file__, a.find_config('tiny-cpu', 'sft'))")
    assert all(Path(place).is_relative_to(installed) for place in where.split())
    done("-m", "syncabel.train", "--config", "tiny-cpu", *flags)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["result"]["steps"] == 3
    assert {"model.safetensors", "tokenizer.json", "modeling_syncabel.py"} <= {path.name for path in (tmp_path / "model").iterdir()}


def test_the_core_install_asks_for_no_torch(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    core = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert core
    assert not [line for line in core if any(heavy in line for heavy in ("torch", "transformers", "trl", "peft", "datasets"))]


def test_the_entry_point_is_the_command_line(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entries = next(archive.read(name).decode() for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "syncabel = syncabel.cli:main" in entries
