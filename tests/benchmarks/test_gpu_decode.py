"""The GPU benchmark on a tiny model and the processor: its formulas are those of the analysis, its counts those of the searches."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from constrained.search import beam_search

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_decode.py"
SMALL = ["--config", "tiny", "--names", "300", "--name-tokens", "5", "--prompt-tokens", "20", "--mentions", "3", "--document-tokens", "24", "--own-tokens", "4"]


@pytest.fixture(scope="module")
def bench(benchmarks: Callable[[str], ModuleType]) -> Any:
    return benchmarks("gpu_decode")


@pytest.fixture(scope="module")
def model(bench: Any) -> Any:
    return bench.make_model("tiny", torch.float32, "cpu", 1.0)


@pytest.fixture(scope="module")
def trie(bench: Any) -> Any:
    return bench.random_names(300, 5, 2, 1000)


def llama(bench: Any) -> Any:
    return bench.Cost.of(bench.LlamaConfig(**bench.CONFIGS["llama3-8b"]), 2)


def test_the_cost_of_llama_3_8b_is_that_of_the_analysis(bench: Any) -> None:
    cost = llama(bench)
    assert cost.layers == pytest.approx(13.96e9, rel=1e-3)
    assert cost.head == pytest.approx(1.05e9, rel=1e-3)
    assert cost.layers + cost.head == pytest.approx(15.0e9, rel=1e-3)
    assert cost.weight_bytes == pytest.approx(15.0e9, rel=1e-3)


def test_the_cost_counts_every_weight_that_multiplies_a_token(bench: Any, model: Any) -> None:
    cost = bench.Cost.of(model.config, 4)
    matrices = [weight for name, weight in model.named_parameters() if weight.dim() == 2 and "embed" not in name]
    assert cost.layers + cost.head == 2 * sum(weight.numel() for weight in matrices)
    assert cost.weight_bytes == sum(weight.nbytes for weight in matrices)


# Prompt tokens, beams, length of names; mentions a second.
LIMITS = [(60, 5, 8, 725), (150, 5, 8, 376), (150, 1, 8, 448), (60, 5, 13, 569), (150, 5, 13, 329), (53, 5, 8, 780)]


@pytest.mark.parametrize(("prompt_tokens", "beams", "length", "limit"), LIMITS)
def test_limits_are_those_of_the_analysis(bench: Any, prompt_tokens: int, beams: int, length: int, limit: int) -> None:
    assert llama(bench).limit(989e12, prompt_tokens, beams, length) == pytest.approx(limit, rel=5e-3)


def test_default_documents_have_the_new_tokens_of_the_analysis(bench: Any) -> None:
    few, many = bench.documents(10, 1, 1000, 340, 19), bench.documents(46, 100, 1000, 340, 19)
    assert few.tokens / len(few.prompts) == 53
    assert (few.label, len(few.prompts), len(many.prompts)) == ("document of 10", 10, 92)
    assert round(many.tokens / len(many.prompts)) == 26


@pytest.mark.parametrize(("mean", "spread"), [(8, 0), (8, 3.6), (13, 5.9)])
def test_random_names_have_the_shape_asked_for(bench: Any, mean: float, spread: float) -> None:
    trie = bench.random_names(5000, mean, spread, 128_256)
    shape = bench.Shape.of(trie)
    assert shape.names == 5000
    assert shape.tokens == pytest.approx(mean, rel=0.06)
    assert shape.spread == pytest.approx(spread, rel=0.06)
    assert shape.beginnings <= bench.FIRST_TOKENS
    assert trie.end_token == trie.vocabulary - 1 == 128_255


def test_the_share_of_steps_without_alternative_is_counted_along_names(bench: Any, trie: Any) -> None:
    paths = [trie.path(entry).tolist() for entry in range(trie.n_entries)]
    followers: dict[tuple[int, ...], set[int]] = {}
    for path in paths:
        for place, token in enumerate(path):
            followers.setdefault(tuple(path[:place]), set()).add(token)
    single = [len(followers[tuple(path[:place])]) == 1 for path in paths for place in range(len(path))]
    assert bench.Shape.of(trie).single == pytest.approx(np.mean(single))


def test_too_many_short_names_are_refused(bench: Any) -> None:
    with pytest.raises(ValueError, match="ask for fewer or longer ones"):
        bench.random_names(5000, 2, 0, 1000)


def test_greedy_reads_every_token_of_its_names_but_the_end(bench: Any, model: Any, trie: Any) -> None:
    workload = bench.separate(20, 6, 1000)
    run = bench.run_once(model, trie, workload, 1)
    assert (run.count.prompts, run.count.prompt_tokens, run.count.prompt_passes) == (6, 120, 1)
    assert run.count.decoded == pytest.approx(6 * (run.length - 1))


def test_a_document_is_read_once_for_its_mentions(bench: Any, model: Any, trie: Any) -> None:
    workload = bench.documents(3, 6, 1000, 24, 4)
    run = bench.run_once(model, trie, workload, 2)
    assert (run.count.prompts, run.count.prompt_tokens, run.count.prompt_passes) == (6, 2 * (24 + 3 * 4), 1)
    assert workload.tokens == run.count.prompt_tokens


def test_the_operations_are_those_of_all_passes(bench: Any) -> None:
    count, cost = bench.Count(prompts=2, prompt_tokens=30, decoded=7), bench.Cost(10.0, 1.0, 0.0)
    assert count.operations(cost) == 10 * 30 + 1 * 2 + 11 * 7


def test_a_run_that_is_clocked_leaves_the_model_and_the_names_as_they_were(bench: Any, model: Any, trie: Any) -> None:
    edges, workload = bench.Names.edges, bench.separate(20, 4, 1000)
    spent = bench.where_time_goes(model, trie, workload, 2)
    assert list(spent) == ["prompts", "decoding", "constraint", "rest"]
    assert min(spent.values()) > 0
    assert bench.Names.edges is edges
    assert "forward" not in vars(model)


def test_sharpening_multiplies_the_logits(bench: Any, model: Any) -> None:
    sharp = bench.make_model("tiny", torch.float32, "cpu", 3.0)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(sharp(ids).logits, 3 * model(ids).logits)


def test_compiled_blocks_give_the_same_answers(bench: Any, model: Any, trie: Any) -> None:
    compiled = bench.make_model("tiny", torch.float32, "cpu", 1.0)
    bench.compile_blocks(compiled, backend="eager")
    prompts = bench.separate(20, 4, 1000).prompts
    one, other = (beam_search(each, trie, prompts, num_beams=2) for each in (model, compiled))
    assert [found.names[0].entry for found in one] == [found.names[0].entry for found in other]


def test_the_step_that_is_checked_reads_on(bench: Any, model: Any, trie: Any) -> None:
    passes: list[Any] = []
    step = bench.prepared_step(model, trie, bench.separate(20, 4, 1000), 2)
    with model.register_forward_hook(lambda *given: passes.append(given)):
        assert bench.warned(step) == {}
    assert len(passes) == 1


def test_a_search_without_a_second_step_is_refused(bench: Any, model: Any) -> None:
    with pytest.raises(ValueError, match="needs longer names"):
        bench.prepared_step(model, bench.random_names(100, 2, 0, 1000), bench.separate(20, 4, 1000), 2)


def test_synchronisations_are_counted_by_line(bench: Any) -> None:
    def step() -> None:
        for message in ("called a synchronizing CUDA operation", "called a synchronizing CUDA operation", "another matter"):
            warnings.warn(message, stacklevel=1)

    (place, count), *others = bench.warned(step).items()
    assert (place.split(":")[0], count, others) == ("benchmarks/test_gpu_decode.py", 2, [])


def test_the_report_has_every_workload_and_real_shares(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main([*SMALL, "--batch", "1", "4", "--beams", "1", "2", "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    # Batch by batch; both are one document.
    assert [(each["prompt"], each["mentions"], each["beams"]) for each in report["results"]] == [
        ("20", 1, 1), ("20", 1, 2), ("document of 3", 3, 1), ("document of 3", 3, 2), ("20", 4, 1), ("20", 4, 2),
    ]  # fmt: skip
    for each in report["results"]:
        assert each["seconds"]["min"] <= each["seconds"]["median"] <= each["seconds"]["max"]
        assert each["of_limit"] == pytest.approx(each["mentions_per_s"] / each["limit"])
        assert 0 < each["of_peak"] < 1
        assert each["name_tokens"] == 5
        assert (each["batches"], each["peak_gb"]) == (1, None)
    assert (report["names"][0]["tokens"], report["left_out"], report["synchronisations"]) == (5, {}, None)
    assert [line.split()[1] for line in err.splitlines()[-6:]] == ["20", "20", "document", "document", "20", "20"]


def test_the_defaults_have_every_setting_the_most_important_first(bench: Any) -> None:
    args = bench.arguments(["--config", "tiny"])
    todo = [(each.label, len(each.prompts)) for each in bench.workloads(args, 1000)]
    assert todo[:4] == [("60", 128), ("150", 128), ("document of 10", 130), ("document of 46", 138)]
    assert {size for label, size in todo if label == "150"} == {1, 32, 128, 512}
    assert len(todo) == len(set(todo)) == 15
    assert (args.beams, args.name_tokens, args.minutes < 10) == ([1, 5], [8, 13], True)


def test_what_there_is_no_time_for_is_said(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main([*SMALL, "--batch", "1", "--beams", "2", "--minutes", "0"])
    said = "not measured: 20, beam 2, 1 mentions, names 0 (out of time); document of 3, beam 2, 3 mentions, names 0 (out of time)"
    assert said in capsys.readouterr().out


def test_what_would_end_too_late_is_run_once_and_left_out(bench: Any, model: Any, trie: Any) -> None:
    workload, machine, passes = bench.separate(20, 2, 1000), bench.Machine(1e12, 1e12), []
    with model.register_forward_hook(lambda *given: passes.append(given)):
        once = bench.run_once(model, trie, workload, 1)
        count = len(passes)
        assert bench.measured(model, trie, 0, workload, 1, 3, machine, time.monotonic() + once.seconds / 100) is None
    assert len(passes) == 2 * count


@contextmanager
def failing(model: Any, tokens: int, error: type[BaseException]) -> Iterator[None]:
    """A pass of so many tokens fails, as one fails on a GPU whose memory it does not fit."""

    def before(_: Any, arguments: Any, named: Any) -> None:
        if named["input_ids"].shape[1] == tokens:
            raise error("CUDA out of memory")

    with model.register_forward_pre_hook(before, with_kwargs=True):
        yield


def two_sizes(bench: Any, trie: Any, out: Path) -> tuple[Any, ...]:
    """Arguments of `measure` but the model: prompts of 20 tokens, of 30, and of 20 again."""
    args = bench.arguments([*SMALL, "--beams", "1", "--out", str(out)])
    todo = [bench.separate(20, 1, 1000), bench.separate(30, 1, 1000), bench.separate(20, 3, 1000)]
    return [trie], todo, args, float("inf")


def test_a_setting_too_large_for_the_memory_costs_no_other(bench: Any, model: Any, trie: Any, tmp_path: Path) -> None:
    report = bench.Report({}, [])
    with failing(model, 30, torch.OutOfMemoryError):
        bench.measure(report, model, *two_sizes(bench, trie, tmp_path / "out.json"))
    assert report.left_out == {"30, beam 1, 1 mentions, names 0": "out of memory"}
    assert [(each.prompt, each.mentions) for each in report.results] == [("20", 1), ("20", 3)]
    assert "not measured: 30, beam 1, 1 mentions, names 0 (out of memory)" in list(report.lines())
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["left_out"] == report.left_out


def test_what_was_measured_is_in_the_file_when_the_run_is_cut_short(bench: Any, model: Any, trie: Any, tmp_path: Path) -> None:
    with failing(model, 30, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        bench.measure(bench.Report({}, []), model, *two_sizes(bench, trie, tmp_path / "out.json"))
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [(each["prompt"], each["mentions"]) for each in written["results"]] == [("20", 1)]


def test_the_limits_in_the_results_are_those_of_the_script(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["--limits", "--json"])
    computed = json.loads(capsys.readouterr().out)
    stated = yaml.safe_load((ROOT / "docs" / "results" / "gpu_decode.yaml").read_text(encoding="utf-8"))
    assert [[each[key] for key in stated["limits"]["columns"]] for each in computed] == [
        [prompt, beams, pytest.approx(tokens, abs=0.05), length, pytest.approx(limit, abs=0.5)]
        for prompt, beams, tokens, length, limit in stated["limits"]["rows"]
    ]
    assert stated["metrics"] == {}


def test_the_limits_of_a_saved_trie_are_for_its_names(bench: Any, trie: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trie.save(tmp_path)
    bench.main(["--limits", "--trie", str(tmp_path), "--beams", "5"])
    said, _, *lines = capsys.readouterr().out.splitlines()
    length = np.mean([len(trie.path(entry)) for entry in range(trie.n_entries)])
    assert said == "computed, not measured: llama3-8b, 989 TFLOP/s"
    assert {float(line.split()[-2]) for line in lines} == {round(float(length), 1)}
    assert float(lines[0].split()[-1]) == pytest.approx(llama(bench).limit(989e12, 60, 5, length), abs=0.06)


def test_a_saved_trie_is_taken_instead_of_random_names(bench: Any, trie: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trie.save(tmp_path)
    bench.main([*SMALL, "--mentions", "--batch", "2", "--beams", "1", "--trie", str(tmp_path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [report["names"][0]["nodes"], len(report["results"])] == [trie.n_nodes / 300, 1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(("given", "what"), [([], "llama3-8b needs a GPU"), (["--config", "tiny", "--sync-check"], "--sync-check needs a GPU")])
def test_without_a_gpu_what_needs_one_is_refused(bench: Any, given: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(given)
    assert what in capsys.readouterr().err


def test_a_median_of_two_is_refused(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--config", "tiny", "--repeats", "2"])
    assert "at least 3, got 2" in capsys.readouterr().err


def test_it_runs_where_torch_and_transformers_are_alone() -> None:
    missing = ["syncabel", "data_gen", "trl", "datasets", "peft", "accelerate", "polars", "marisa_trie", "pronto", "fastobo", "sklearn", "scipy", "rapidfuzz"]
    argv = [str(SCRIPT), *SMALL, "--mentions", "--batch", "2", "--beams", "1", "--json"]
    # A module that is None in sys.modules cannot be imported, and looks to transformers as if it were not installed.
    lines = [f"import runpy, sys; sys.modules.update(dict.fromkeys({missing}))", f"sys.argv = {argv}", "runpy.run_path(sys.argv[0], run_name='__main__')"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [each["mentions"] for each in json.loads(done.stdout)["results"]] == [2]
