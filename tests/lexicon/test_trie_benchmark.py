"""The trie's benchmark runs as a stranger runs it, and the sizes it prints do not depend on the machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ("bytes_per_name", "bytes_per_node", "build_s", "tokenise_s", "load_ms", "row_us", "peak_gb")


def benchmark(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "benchmarks/trie.py", "--json", "--rounds", "1", *arguments]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300).stdout)
    return found


@pytest.fixture(scope="module")
def doid() -> dict[str, Any]:
    return benchmark()


def test_a_name_of_doid_takes_at_most_75_bytes(doid: dict[str, Any]) -> None:
    assert all(doid[figure] > 0 for figure in FIGURES)
    assert doid["names"] == 29998
    assert doid["bytes_per_name"] <= 75
    assert doid["bytes_per_name"] == round(doid["nodes_per_name"] * doid["bytes_per_node"], 1)
    assert doid["recombined"] == 0


def test_the_published_structures_stand_beside_it(doid: dict[str, Any]) -> None:
    assert doid["dict"]["bytes_per_name"] > 10 * doid["bytes_per_name"]
    assert doid["marisa"]["bytes_per_name"] < doid["bytes_per_name"]
    assert doid["dict"]["row_us"]["median"] > 0
    assert doid["marisa"]["row_us_at_the_root"] > doid["marisa"]["row_us"]["median"]


def test_names_beyond_those_of_the_files_are_recombined_and_counted(tmp_path: Path, tiny_tokenizer: Any) -> None:
    tiny_tokenizer.save_pretrained(tmp_path)
    words = ("renal", "cardiac", "acute", "chronic")
    (tmp_path / "a.tsv").write_text("".join(f"A:{i}\t{one} {two} failure\tP\n" for i, one in enumerate(words) for two in words))
    (tmp_path / "b.tsv").write_text("B:1\trenal renal failure\tP\nB:2\tzona\tP\n")
    files = [str(tmp_path / name) for name in ("a.tsv", "b.tsv")]
    found = benchmark("--files", *files, "--tokenizer", str(tmp_path), "--names", "40")
    assert (found["names"], found["recombined"]) == (40, 23)
