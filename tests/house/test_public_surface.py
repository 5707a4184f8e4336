"""What a module promises in `__all__` exists, and nothing it defines for others is left out."""

import ast
import importlib
import importlib.resources
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("syncabel", "data_gen", "constrained")
NEEDS_VLLM = ("constrained.vllm.v1", "constrained.vllm.v2")  # looked at by `make test-vllm`
PUBLIC = (
    *(
        "syncabel",
        "syncabel.kb",
        "syncabel.corpora",
        "syncabel.decoding",
        "syncabel.serving",
        "syncabel.evaluate",
        "syncabel.judge",
        "syncabel.baselines",
        "syncabel.dense",
        "syncabel.hybrid",
        "syncabel.export",
        "syncabel.report",
        "data_gen",
        "data_gen.chat",
    ),
    *("constrained", "constrained.search", "constrained.logits_processor", "constrained.vllm", "constrained.vllm.v1", "constrained.vllm.v2"),
)


def module_names() -> Iterator[str]:
    """Read off the files, so that collecting the tests imports nothing."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] != "__main__":  # running is all it does
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module", params=list(module_names()))
def module(request: pytest.FixtureRequest) -> types.ModuleType:
    if request.param in NEEDS_VLLM:
        pytest.importorskip("vllm", reason="needs vLLM: run `make test-vllm`")
    return importlib.import_module(request.param)


def test_every_promised_name_exists(module: types.ModuleType) -> None:
    missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert not missing


def test_no_name_is_promised_twice(module: types.ModuleType) -> None:
    promised = list(getattr(module, "__all__", ()))
    assert len(promised) == len(set(promised))


def test_everything_promised_is_documented(module: types.ModuleType) -> None:
    """Classes and functions say what they are; a dataclass's generated signature is no sentence."""
    promised = [getattr(module, name) for name in getattr(module, "__all__", ()) if hasattr(module, name)]
    bare = [
        thing.__qualname__
        for thing in promised
        if isinstance(thing, type | types.FunctionType)
        and thing.__module__.startswith(PACKAGES)
        and (not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}("))
    ]
    assert not bare


def test_modules_say_what_they_are_for(module: types.ModuleType) -> None:
    assert module.__doc__ or not vars(module).get("__all__")


def documented() -> dict[str, list[str]]:
    """Module -> names, as docs/api.md lists them."""
    parts = re.split(r"^## `([\w.]+)`$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {module: re.findall(r"^- `(\w+)`: \S", text, flags=re.MULTILINE) for module, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_documented_packages_are_the_public_ones() -> None:
    assert tuple(documented()) == PUBLIC


def promised(module: str) -> list[str]:
    """`__all__` as the file states it: what imports vLLM is looked at without it."""
    path = ROOT / module.replace(".", "/")
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return [str(name) for name in ast.literal_eval(assigned[0].value)]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_surface_is_what_the_docs_list(module: str) -> None:
    assert sorted(documented()[module]) == sorted(promised(module))


def test_the_linker_comes_without_torch_and_without_tables() -> None:
    heavy = "{'torch', 'transformers', 'polars', 'marisa_trie', 'sklearn', 'yaml'}"
    code = f"import sys; from syncabel import Linker; print(sorted({heavy} & set(sys.modules)), Linker.from_pretrained.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["[]", "from_pretrained"]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (importlib.resources.files(package) / "py.typed").is_file()
