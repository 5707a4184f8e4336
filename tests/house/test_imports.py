"""The floors of the house as a table: who may import whom, read off every module's syntax tree and tried in fresh interpreters."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("syncabel", "data_gen", "constrained")

TYPES = ("syncabel.types", "syncabel.errors")
SOURCES = (
    "syncabel.kb",
    "syncabel.corpora",
    "syncabel.prompt",
    "syncabel.text",
    "syncabel.strings",
    "syncabel.columns",
    "syncabel.digests",
    "syncabel.sentences",
    "syncabel.archive",
    "syncabel.lines",
    "syncabel.abbreviations",
    "syncabel.config_files",
)
PREPARATION = (
    "syncabel.bootstrap",
    "syncabel.groups",
    "syncabel.lexicon",
    "syncabel.targets",
    "syncabel.sft",
    "syncabel.mixing",
    "syncabel.evaluate",
    "syncabel.judge",
    "syncabel.baselines",
    "syncabel.report",
)
MODEL = (
    "syncabel.progress",
    "syncabel.memory",
    "syncabel.fetch",
    "syncabel.dense",
    "syncabel.hybrid",
    "syncabel.calibration",
    "syncabel.linker",
    "syncabel.train",
    "syncabel.export",
    "syncabel.hub",
    "syncabel.modeling_syncabel",
    "syncabel.decoding",
    "syncabel.serving",
    "syncabel.slurm",
)
COMPOSITION = ("syncabel.cli", "syncabel.quickstart", "syncabel.convert", "syncabel.__main__")

# Modules by prefix (the longest that fits decides) → prefixes of the project's modules they may import, anywhere in their code.
ENGINE = tuple(f"constrained.{name}" for name in ("concepts", "attention", "forest", "names", "loop", "beam", "exact"))
# A floor sees itself and the floors below it; `constrained` is the ground everything but the types stands on.
MAY_SEE: dict[str, tuple[str, ...]] = {
    "constrained": ("constrained",),
    "constrained.errors": (),
    "constrained.building": ("constrained.errors",),
    "constrained.files": ("constrained.errors",),
    "constrained.updating": ("constrained.building", "constrained.errors"),
    "constrained.trie": ("constrained.building", "constrained.errors", "constrained.files", "constrained.updating"),
    "constrained.scope": ("constrained.trie",),
    "constrained.ragged": (),
    "constrained.attention": (),
    "constrained.forest": ("constrained.attention", "constrained.errors", "constrained.ragged"),
    "constrained.scoring": ("constrained.attention", "constrained.errors"),
    "constrained.concepts": ("constrained.trie",),
    "constrained.names": ("constrained.ragged", "constrained.scope", "constrained.scoring", "constrained.trie"),
    "constrained.loop": tuple(f"constrained.{name}" for name in ("attention", "errors", "forest", "names", "ragged", "scoring")),
    "constrained.beam": ("constrained.forest", "constrained.loop", "constrained.names"),
    "constrained.exact": tuple(f"constrained.{name}" for name in ("beam", "concepts", "forest", "loop", "names", "ragged", "trie")),
    "constrained.logits_processor": ("constrained.scope", "constrained.trie"),
    "constrained.vllm": ("constrained.scope", "constrained.trie"),
    "constrained.search": (*ENGINE, "constrained.errors", "constrained.scope", "constrained.scoring", "constrained.trie"),
    "syncabel": ("=syncabel", "=syncabel.linker"),  # the package itself holds its version and the one class of the public contract
    **dict.fromkeys(TYPES, TYPES),
    **dict.fromkeys(SOURCES, (*TYPES, *SOURCES)),
    **dict.fromkeys(PREPARATION, (*TYPES, *SOURCES, *PREPARATION, "constrained")),
    **dict.fromkeys(MODEL, (*TYPES, *SOURCES, *PREPARATION, *MODEL, "=syncabel", "constrained")),
    "data_gen": (*TYPES, *SOURCES, "data_gen", "=syncabel"),
    **dict.fromkeys(COMPOSITION, PACKAGES),
}

# Third-party packages of the narrow floors; everything not listed is refused.  Other floors are free, within NEVER and NO_TABLES.
THIRD_PARTY: dict[str, frozenset[str]] = {
    **dict.fromkeys(("constrained.errors", "constrained.building", "constrained.files", "constrained.updating", "constrained.trie"), frozenset({"numpy"})),
    "constrained.scope": frozenset({"numpy"}),
    "constrained.ragged": frozenset({"numpy"}),
    "constrained.logits_processor": frozenset({"numpy", "torch", "transformers"}),
    "constrained.vllm": frozenset({"numpy", "torch"}),
    **dict.fromkeys(("constrained.vllm.v1", "constrained.vllm.v2"), frozenset({"numpy", "torch", "vllm"})),
    "constrained.concepts": frozenset({"numpy"}),
    "constrained.attention": frozenset({"torch", "transformers"}),
    **dict.fromkeys(("constrained.scoring", "constrained.search", *ENGINE[2:]), frozenset({"numpy", "torch"})),
    **dict.fromkeys(TYPES, frozenset()),
}

# An exported model folder holds these and has the standard library, numpy, torch and transformers beside them.
COPIED = (
    *(
        f"constrained.{name}"
        for name in ("errors", "files", "building", "updating", "trie", "scope", "ragged", "attention", "forest", "scoring", "names", "loop")
    ),
    *(f"constrained.{name}" for name in ("concepts", "beam", "exact", "search")),
    "syncabel.errors",
    "syncabel.types",
    "syncabel.text",
    "syncabel.prompt",
    "syncabel.strings",
    "syncabel.decoding",
    "syncabel.modeling_syncabel",
    "syncabel.lexicon.store",
)
COPIED_THIRD_PARTY = frozenset({"numpy", "torch", "transformers", "huggingface_hub"})  # transformers brings the last

NEVER = frozenset({"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"})
ABOVE_PACKAGES = ("scripts", "benchmarks", "tests", "configs")

# Training and decoding run where polars and marisa_trie are not installed, so the knowledge base is out of their reach.
NO_TABLES = (
    *("syncabel.lexicon.store", "syncabel.decoding", "syncabel.linker", "syncabel.modeling_syncabel", "syncabel.train"),
    *(f"syncabel.calibration.{name}" for name in ("features", "seen", "store", "thresholds", "answering")),
)
TABLES = frozenset({"polars", "marisa_trie", "fastobo", "pronto"})  # pyarrow is not among them: `datasets` brings it

LIGHT = (
    *("syncabel", "data_gen", "syncabel.types", "syncabel.kb", "syncabel.corpora", "syncabel.prompt", "syncabel.linker", "syncabel.cli"),
    *("syncabel.train.signals", "constrained.trie"),
)
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


class Import(NamedTuple):
    """One imported module: by whom, on which line, whether by `from module import name`, whether at module level."""

    importer: str
    line: int
    target: str
    is_from: bool
    top: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages, by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_nodes(node: ast.AST, top: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Each import statement and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, top
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_typing_guard(child)
            yield from import_nodes(child, top and not inside)


def targets(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules a statement imports; `from package import module` is an import of the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, f"{module}:{node.lineno}: a relative import; write the module's full name"
    assert node.module is not None
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        yield inner if inner in modules() else node.module


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return tuple(
        Import(module, node.lineno, target, isinstance(node, ast.ImportFrom), top) for node, top in import_nodes(tree) for target in targets(module, node)
    )


def within(module: str, prefix: str) -> bool:
    """Whether a module is the prefix or lies under it; `=name` is the very module alone."""
    return module == prefix[1:] if prefix.startswith("=") else module == prefix or module.startswith(prefix + ".")


def rule_for(module: str) -> str:
    return max((prefix for prefix in MAY_SEE if within(module, prefix)), key=len)


def is_project(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def place(found: Import) -> str:
    return f"{found.importer}:{found.line} imports {found.target}"


def all_imports() -> list[Import]:
    return [found for module in modules() for found in imports_of(module)]


def test_imports_point_down_only() -> None:
    wrong = [
        place(found)
        for found in all_imports()
        if is_project(found.target)
        and not within(found.target, rule_for(found.importer))
        and not any(within(found.target, seen) for seen in MAY_SEE[rule_for(found.importer)])
    ]
    assert not wrong, wrong


def test_every_module_has_a_floor() -> None:
    lost = [module for module in modules() if rule_for(module) == "syncabel" and module != "syncabel"]
    assert not lost, f"put them into the table of this test: {lost}"


def test_narrow_floors_import_only_the_listed_packages() -> None:
    allowed = sys.stdlib_module_names
    wrong = [
        place(found)
        for module, packages in THIRD_PARTY.items()
        if module in modules()
        for found in imports_of(module)
        if not is_project(found.target) and found.target.split(".")[0] not in allowed | packages
    ]
    assert not wrong, wrong


def test_nothing_unpickles() -> None:
    paths = [*modules().values(), *(ROOT / "scripts").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    wrong = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{path.name} imports {name}" for name in names if name.split(".")[0] in NEVER]
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not (isinstance(node.value, ast.Constant) and node.value.value is False):
                wrong.append(f"{path.name}:{node.value.lineno} allows pickles")
    assert not wrong, wrong


def test_no_package_imports_scripts_tests_or_benchmarks() -> None:
    wrong = [place(found) for found in all_imports() if found.target.split(".")[0] in ABOVE_PACKAGES]
    assert not wrong, wrong


def test_copied_modules_import_only_what_an_exported_folder_has() -> None:
    wrong = [
        place(found)
        for module in COPIED
        for found in imports_of(module)
        if found.target not in COPIED and found.target.split(".")[0] not in sys.stdlib_module_names | COPIED_THIRD_PARTY
    ]
    assert not wrong, wrong


def test_copied_modules_import_each_other_by_full_from_lines() -> None:
    """The export rewrites `from package.module import name`; another way of writing it would be left as it is."""
    wrong = []
    for module in COPIED:
        for node, _ in import_nodes(ast.parse(modules()[module].read_text(encoding="utf-8"))):
            written = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            wrong += [f"{module}:{node.lineno}" for name in written if is_project(name) and not (isinstance(node, ast.ImportFrom) and name in COPIED)]
    assert not wrong, wrong


def test_training_and_decoding_never_name_a_table_library_or_the_knowledge_base() -> None:
    wrong = [
        place(found)
        for module in modules()
        if any(within(module, prefix) for prefix in NO_TABLES)
        for found in imports_of(module)
        if found.target.split(".")[0] in TABLES or within(found.target, "syncabel.kb")
    ]
    assert not wrong, wrong


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_loads_no_torch(module: str) -> None:
    done = run_python(f"import sys, {module}; print(sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_training_and_decoding_can_be_imported_without_polars_and_marisa() -> None:
    parts = [module for module in modules() if any(within(module, prefix) for prefix in NO_TABLES) and not module.endswith("__main__")]
    assert parts
    blocked = "import sys; sys.modules.update(dict.fromkeys(['polars', 'marisa_trie', 'pronto']))\n"  # None makes an import fail
    done = run_python(blocked + "\n".join(f"import {module}" for module in parts))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("importer", "target"),
    [
        ("constrained.search", "syncabel.types"),
        ("syncabel.kb.readers.obo", "syncabel.lexicon"),
        ("syncabel.evaluate", "syncabel.linker"),
        ("syncabel.linker", "syncabel.cli"),
        ("syncabel.train.run", "data_gen"),
        ("data_gen.template", "syncabel.sft"),
        ("syncabel.types", "syncabel.text"),
    ],
)
def test_the_table_forbids_the_way_up(importer: str, target: str) -> None:
    rule = rule_for(importer)
    assert not any(within(target, seen) for seen in (rule, *MAY_SEE[rule]))
