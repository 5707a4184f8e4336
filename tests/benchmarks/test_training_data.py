"""The benchmark of training data on a few rows: every stage runs, and all ways to a run's tokens give the same ones."""

import argparse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def stages(benchmarks: Callable[[str], ModuleType], tiny_tokenizer: Any, small_lexicon: Any, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    script = benchmarks("training_data")
    small_lexicon.save(tmp_path / "lexicon")
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    args = argparse.Namespace(tokenizer=str(tmp_path / "tokenizer"), rows=90, human=10, epochs=2)

    def stage(name: str) -> dict[str, Any]:
        found: dict[str, Any] = script.prepared(name, tmp_path, args)()
        return found

    return stage


def test_every_way_to_the_tokens_of_a_run_gives_the_same_run(stages: Callable[[str], dict[str, Any]]) -> None:
    written = {name: stages(f"write_{name}")["bytes"] for name in ("jsonl", "parquet")}
    assert 0 < written["parquet"] < written["jsonl"]
    tokenised = [stages(name) for name in ("tokenise_jsonl", "tokenise_parquet", "mapped")]
    assert len({found["digest"] for found in tokenised}) == 1
    assert tokenised[0]["items"] % 64 == 0
    packed = [stages(name)["digest"] for name in ("mapped_packed", "mapped_packed_again")]
    assert packed[0] == packed[1] != tokenised[0]["digest"]


def test_what_is_watched_is_this_process(benchmarks: Callable[[str], ModuleType]) -> None:
    watch = benchmarks("training_data").Watch()
    watch.start()
    held = bytearray(b"x" * (64 << 20))
    watch.over.wait(0.1)
    watch.over.set()
    watch.join()
    assert len(held) < watch.anonymous <= watch.all
