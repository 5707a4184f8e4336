"""The benchmark of retrieval on a few hundred names: every system is built and answers, and names are drawn without doubles."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from syncabel.kb import KnowledgeBase


@pytest.fixture(scope="module")
def prepared(benchmarks: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, Path]:
    """300 of the 384 distinct names of five sets; each set has 80, four of them those of the set before."""
    script, folder = benchmarks("retrieval"), tmp_path_factory.mktemp("retrieval")
    for place, name in enumerate(script.SETS):
        rows = (f"C{i // 2}\tdisease {76 * place + i} of organ {i % 7}\t{'PS'[i % 2]}\n" for i in range(80))
        (folder / f"{name}.tsv").write_text("".join(rows), encoding="utf-8")
    found = script.prepare(folder, 300, folder)
    assert found["names"] == 300
    return script, folder


@pytest.mark.parametrize("system", ["tfidf", "bm25", "rapidfuzz", "dense"])
def test_every_system_answers_all_mentions_and_its_memory_is_watched(prepared: tuple[ModuleType, Path], system: str) -> None:
    script, folder = prepared
    found = script.measured(system, folder)
    assert (found["answered"], found["rounds"]) == (256, 3)
    assert 0 <= found["built_gb"] <= found["peak_gb"] <= found["peak_with_files_gb"]
    assert found["peak_with_files_gb"] > 0
    assert found["queries_per_s"]["min"] <= found["queries_per_s"]["median"] <= found["queries_per_s"]["max"]


def test_names_are_distinct_mentions_are_no_whole_names_and_vectors_have_length_1(prepared: tuple[ModuleType, Path]) -> None:
    _, folder = prepared
    names = KnowledgeBase.load(folder / "kb").table("names")["text"].to_list()
    assert len(set(names)) == len(names) == 300
    mentions = json.loads((folder / "mentions.json").read_text(encoding="utf-8"))
    assert len(mentions) == 256
    assert set(names).isdisjoint(mentions)
    assert all(any(name.startswith(mention) for name in names) for mention in mentions)
    assert np.linalg.norm(np.load(folder / "vectors.npy"), axis=1) == pytest.approx(1, abs=1e-5)
