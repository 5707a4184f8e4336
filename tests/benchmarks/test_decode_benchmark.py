"""The decoding benchmarks on a tiny model and a few hundred names: every arm runs, the report has its keys, and a wrong result is noticed."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from constrained.search import score_entries
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.build import build_lexicon

RATIOS = {"engine_beam5/transformers_dict", "exact1/transformers_dict", "engine_beam5/replay", "exact1/beam5"}
KEYS = {"models", "constraint_share", "exact_agreement", "certified_share", "invalid_names"}
SMALL = [
    "--rounds",
    "2",
    "--mentions",
    "2",
    "--batch",
    "2",
    "--prompt-tokens",
    "40",
    "--max-expansions",
    "16",
    "--scored",
    "3",
    "--scored-names",
    "60",
    "--scored-expansions",
    "2000",
]


@pytest.fixture(scope="module")
def bench(benchmarks: Callable[[str], ModuleType]) -> Any:
    return benchmarks("decode")


@dataclass(frozen=True)
class Folders:
    names: Path
    model: Path  # as SmolLM2's
    trained: Path  # as train_decode_model.py makes it
    cache: Path  # nothing in it

    @property
    def flags(self) -> list[str]:
        return ["--names", str(self.names), "--smollm2", str(self.model), "--trained", str(self.trained), "--cache", str(self.cache), *SMALL]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Callable[..., Any], tiny_tokenizer: Any) -> Folders:
    home = tmp_path_factory.mktemp("decode-benchmark")
    doid = KnowledgeBase.load("doid")
    # Short names, because what transformers' beam search does takes a pass for each token.
    concepts = [concept for concept in doid.concepts() if all(len(name.text) < 24 for name in concept.names)][:150]
    names = home / "doid.tsv"
    names.write_text("".join(f"{concept.code}\t{name.text}\tP\n" for concept in concepts for name in concept.names), encoding="utf-8")
    trained = home / "trained"
    for folder in (home / "smollm2", trained / "model"):
        # Sharp enough that some answers can be certified.
        tiny_llama(len(tiny_tokenizer), seed=1, scale=5.0).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
    build_lexicon(KnowledgeBase.build(concepts, doid.about), tiny_tokenizer).save(trained / "model" / "lexicon")
    queries = [{"ids": tiny_tokenizer.encode(f"[{concept.names[0].text}] is"), "seen": place % 2 == 0} for place, concept in enumerate(concepts[:8])]
    (trained / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries), encoding="utf-8")
    return Folders(names, home / "smollm2", trained, home / "nothing")


@dataclass(frozen=True)
class Printed:
    report: dict[str, Any]
    figures: dict[str, Any]
    said: str
    results: dict[str, Any]


@pytest.fixture(scope="module")
def printed(bench: Any, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """What a whole run on both models prints and writes."""
    out = tmp_path_factory.mktemp("out") / "decode.json"
    run_model, results = bench.run_model, {}

    def kept(name: str, args: Any) -> Any:
        results[name] = run_model(name, args)
        return results[name]

    with pytest.MonkeyPatch.context() as patch:
        lines: dict[Any, list[str]] = {}
        patch.setattr(bench, "run_model", kept)
        patch.setattr("builtins.print", lambda *texts, file=None: lines.setdefault(file, []).append(" ".join(map(str, texts))))
        bench.main([*folders.flags, "--models", "smollm2-135m", "trained", "--json", "--out", str(out)])
    return Printed(json.loads("".join(lines[None])), json.loads(out.read_text(encoding="utf-8")), "\n".join(lines[sys.stderr]), results)


@pytest.fixture(scope="module")
def result(printed: Printed) -> Any:
    return printed.results["trained"]


def test_the_report_has_the_keys_that_were_promised(printed: Printed) -> None:
    assert printed.report.keys() >= KEYS
    assert printed.report["models"]["llama-33m-v128k"] is None
    for name in ("smollm2-135m", "trained"):
        ratios = printed.report["models"][name]
        assert ratios.keys() >= RATIOS
        assert all(0 < each["min"] <= each["median"] <= each["max"] for each in ratios.values())
    assert 0 < printed.report["constraint_share"] < 1
    assert (printed.report["exact_agreement"], printed.report["exact_agreement_mentions"]) == (1.0, 3)
    assert 0 <= printed.report["certified_share"] <= 1
    assert (printed.report["invalid_names"], printed.report["contradictions"]) == (0, 0)


def test_the_file_has_what_each_arm_did(bench: Any, printed: Printed, folders: Folders) -> None:
    assert printed.figures["summary"] == printed.report
    assert printed.figures["setting"]["names"] == [folders.names.name]
    figures = printed.figures["models"]["trained"]
    assert figures["mentions"] == 4
    for arm in ("transformers_dict", "transformers_processor", "transformers_free", "engine_beam5", "replay", "exact1", "exact5"):
        each = figures["arms"][arm]
        assert min(each["passes"], each["rows"], each["tokens"], each["model_share"], each["mentions_per_s"]["min"]) > 0
    replayed, searched = figures["arms"]["replay"], figures["arms"]["engine_beam5"]
    assert [replayed[what] for what in ("passes", "rows", "tokens")] == [searched[what] for what in ("passes", "rows", "tokens")]
    for arm in ("exact1", "exact5"):
        assert [figures[arm][part]["n"] for part in ("seen", "unseen")] == [2, 2]
        assert all(each["expansions_p95"] >= 0 for each in figures[arm].values())


def test_the_table_says_how_many_mentions_were_scored_against_all_names(printed: Printed) -> None:
    assert "trained: exact top-1 agrees on 100.0% of 3 mentions, certified of 3, with scoring each of 60 names" in printed.said


def test_shares_are_those_of_the_trained_model_and_null_without_it(bench: Any, result: Any) -> None:
    other = replace(result, case=replace(result.case, name="smollm2-135m"), agreement=None)
    # Whichever stands last.
    for results in ([result, other], [other, result]):
        both = bench.summary(results)
        assert (both["exact_agreement"], both["models"]["llama-33m-v128k"]) == (1.0, None)
    alone = bench.summary([other])
    assert (alone["exact_agreement"], alone["certified_share"], alone["models"]["trained"]) == (None, None, None)
    assert alone.keys() == both.keys()


def test_what_the_arms_found_does_not_contradict_itself(bench: Any, result: Any) -> None:
    assert list(bench.contradictions(result)) == []


def test_a_wrong_score_an_unknown_name_and_a_missed_concept_are_noticed(bench: Any, result: Any) -> None:
    def said(**changes: Any) -> str:
        return "\n".join(bench.contradictions(replace(result, **changes)))

    assert "nats off" in said(error=0.1)
    assert "nats off" in said(error=float("nan"))
    assert "99.0% of the queries alone" in said(agreement=0.99)
    wrong = [[(-1, -1.0)], *result.answers["engine_beam5"][1:]]
    assert "1 answers are no name" in said(answers={**result.answers, "engine_beam5": wrong})


def test_a_score_that_is_off_is_measured(bench: Any, result: Any) -> None:
    off = [[(entry, score + 0.5) for entry, score in answers] for answers in result.answers["exact1"]]
    broken = replace(result, answers={**result.answers, "exact1": off})
    assert bench.largest_error(result) < 1e-4
    assert bench.largest_error(broken) == pytest.approx(0.5, abs=1e-3)


def found(bench: Any, *names: tuple[int, float], log_open: float) -> Any:
    from constrained.search import Hypothesis

    return bench.Found(tuple(Hypothesis((entry,), score, 2) for entry, score in names), log_open, 3, 1e-4)


@pytest.mark.parametrize(
    ("beam", "one", "five", "what"),
    [
        ([(0, -0.5)], [(1, -1.0)], [(1, -1.0)], ["better concept than the certified one, by 5.0e-01", "above the bound of exact top-1"]),
        ([(1, -0.2)], [(1, -1.0)], [(1, -1.0)], ["above the bound of exact top-1, by 7."]),
        ([(1, -1.0)], [(1, -1.0)], [(0, -0.9)], ["certain of different concepts, 1 and 0"]),
        # Two names of concept 1: the beam may have found one that exact search did not need.
        ([(1, -1.0), (2, -6.0)], [(1, -1.0)], [(1, -1.0)], []),
        ([(0, -9.0)], [(1, -1.0)], [(1, -1.0)], []),
    ],
)
def test_searches_that_contradict_each_other_are_noticed(bench: Any, beam: Any, one: Any, five: Any, what: list[str]) -> None:
    concept_of = np.array([0, 1, 1])
    found_by = [found(bench, *names, log_open=-5.0) for names in (beam, one, five)]
    said = list(bench.disagreements(*found_by, concept_of, 1e-3))
    assert len(said) == len(what)
    assert all(part in line for part, line in zip(what, said, strict=True))


def test_a_better_concept_that_exact_search_missed_lowers_the_agreement(bench: Any, result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = bench.exact_search

    def last_of_two(*given: Any, k: int, **named: Any) -> Any:
        # And says that nothing else is left.
        return [replace(each, names=each.names[-1:], log_open=-np.inf) for each in right(*given, k=k + 1, **named)]

    assert bench.exact_agreement(result, 4, 60, 2000) == (1, 4)
    monkeypatch.setattr(bench, "exact_search", last_of_two)
    assert bench.exact_agreement(result, 4, 60, 2000) == (0, 4)


def test_what_is_not_certified_is_not_counted_as_agreement(bench: Any, result: Any) -> None:
    assert bench.exact_agreement(replace(result, case=replace(result.case, prompts=result.case.prompts[:4])), 4, 300, 1)[1] < 4


def test_scores_after_a_cached_prompt_are_those_of_plain_passes(bench: Any, result: Any) -> None:
    paths = bench.paths_of(result.case, range(20))
    prompt = result.case.prompts[0]
    assert bench.score_after(result.case.model, prompt, paths, size=7) == pytest.approx(score_entries(result.case.model, prompt, paths), abs=1e-4)


def test_a_contradiction_ends_the_run_with_status_1_after_the_report(bench: Any, folders: Folders, result: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(bench, "run_model", lambda name, args: replace(result, error=0.1))
    with pytest.raises(SystemExit, match=r"trained: a score is 1\.0e-01 nats off"):
        bench.main([*folders.flags, "--models", "trained", "--json"])
    assert json.loads(capsys.readouterr().out)["contradictions"] == 1


def test_without_any_folder_the_model_that_needs_none_runs_and_the_others_are_told_how_to_get(bench: Any, folders: Folders) -> None:
    args = bench.arguments(["--json", "--cache", str(folders.cache)])
    assert (args.models, args.names) == (["llama-33m-v128k"], [])
    assert "train_decode_model.py" in args.left_out["trained"]
    texts, concepts = bench.distinct_names(args.names)
    assert len(texts) > len(set(concepts)) > 10_000
    tokenizer = bench.tokenizer_of(None, [folders.names])
    assert tokenizer.eos_token_id is not None
    assert {len(prompt) for prompt in bench.made_prompts(texts[:50], tokenizer, 3, 48)} == {48}


def test_what_lies_in_the_cache_is_taken(bench: Any, folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "b.tsv").touch()
    (tmp_path / "trained" / "0a1b").mkdir(parents=True)
    (tmp_path / "trained" / "0a1b" / "report.json").touch()
    (tmp_path / "smollm2").symlink_to(folders.model)
    args = bench.arguments(["--cache", str(tmp_path)])
    assert args.models == list(bench.MODELS)
    assert (args.names, args.trained, args.smollm2) == ([tmp_path / "names" / "b.tsv"], tmp_path / "trained" / "0a1b", tmp_path / "smollm2")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["--models", "trained"], "trained has no folder: give --trained"),
        (["--models", "llama-33m-v128k", "smollm2-135m"], "smollm2-135m has no folder: give --smollm2"),
        (["--trained", "nowhere"], "nowhere does not exist"),
        (["--rounds", "0"], "invalid positive value: '0'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_line(bench: Any, folders: Folders, given: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.arguments([*given, "--cache", str(folders.cache)])
    assert stopped.value.code == 2
    assert what in capsys.readouterr().err


def test_more_rounds_than_queries_are_refused(bench: Any, folders: Folders) -> None:
    with pytest.raises(SystemExit, match="8 queries, fewer than --rounds 9"):
        bench.run_model("trained", bench.arguments([*folders.flags, "--models", "trained", "--rounds", "9"]))


@pytest.mark.parametrize("which", ["trained", "model"])
def test_precision_is_reported_for_each_type_and_apart_for_likely_names(benchmarks: Any, folders: Folders, which: str, capsys: Any) -> None:
    names = ["--names", str(folders.names)] if which == "model" else []
    benchmarks("precision").main([f"--{which}", str(getattr(folders, which)), *names, "--mentions", "3", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["float32", "float16", "bfloat16"]
    for each in report.values():
        assert 0 <= each["likely"]["names"] <= each["names"]
        assert each["names"] >= 15
        assert (each["likely"]["teacher_forcing"] is None) == (each["likely"]["names"] == 0)
        assert (each["likely"]["teacher_forcing"] or 0) <= each["teacher_forcing"]
    assert report["float32"]["teacher_forcing"] <= report["float32"]["epsilon"]


def test_the_largest_difference_of_likely_names_leaves_the_others_out(benchmarks: Any) -> None:
    precision = benchmarks("precision")
    pairs = [(-1.0, -1.1), (-20.0, -23.0)]
    assert (precision.largest(pairs), precision.largest(precision.likely(pairs))) == (3.0, pytest.approx(0.1))
    assert precision.largest(precision.likely(pairs[1:])) is None


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two abstracts of two mentions where NCBI's test set would be."""
    folder = tmp_path / "corpora" / "ncbi_disease"
    folder.mkdir(parents=True)
    text = "The patient with angina had asthma for many years before the treatment began."
    rows = [f"{start}\t{start + 6}\t{text[start : start + 6]}\tSpecificDisease\tD00000{start}" for start in (text.index("angina"), text.index("asthma"))]
    (folder / "NCBItestset_corpus.txt").write_text(
        "\n".join(f"{number}|t|{text}\n{number}|a|{text}\n" + "".join(f"{number}\t{row}\n" for row in rows) for number in (1, 2)), encoding="utf-8"
    )
    return tmp_path


def documents_flags(folders: Folders, corpus: Path) -> list[str]:
    return ["--smollm2", str(folders.model), "--names", str(folders.names), "--data", str(corpus), "--documents", "1", "--rounds", "2", "--json"]


def test_document_first_reads_fewer_tokens_where_prefixes_are_shared(benchmarks: Any, folders: Folders, corpus: Path, capsys: Any) -> None:
    benchmarks("documents").main(documents_flags(folders, corpus))
    report = json.loads(capsys.readouterr().out)
    assert report["mentions"] == {"n": 4, "per_document": 2.0}
    for search in ("greedy", "beam 5"):
        tokens = report[search]["tokens_per_mention"]
        assert tokens["document-first, shared"] < tokens["document-first, alone"]
        assert report[search]["largest_difference_nats"] < 1e-4


def test_sharing_that_changes_a_score_ends_with_status_1(benchmarks: Any, folders: Folders, corpus: Path, monkeypatch: Any) -> None:
    documents = benchmarks("documents")
    monkeypatch.setattr(documents, "differ", lambda one, other: 0.5)
    with pytest.raises(SystemExit, match=r"changes a score by 5\.0e-01 nats"):
        documents.main([*documents_flags(folders, corpus), "--rounds", "1"])


def test_more_documents_than_there_are_are_refused(benchmarks: Any, folders: Folders, corpus: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        benchmarks("documents").main([*documents_flags(folders, corpus), "--documents", "2"])
    assert "2 rounds of 2 documents need 4, and there are 2" in capsys.readouterr().err
