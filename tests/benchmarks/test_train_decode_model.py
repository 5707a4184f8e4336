"""The trained model of the decoding benchmark, with vocabularies of two hundred concepts and a training of four steps."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from syncabel.kb import KnowledgeBase


@pytest.fixture(scope="module")
def bench(benchmarks: Callable[[str], ModuleType]) -> Any:
    return benchmarks("train_decode_model")


@dataclass(frozen=True)
class Made:
    tables: Sequence[Path]
    recipe: Any
    mix: Any
    out: Path
    folder: Path
    report: Any
    queries: list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("decode-model")
    doid = KnowledgeBase.load("doid")
    tables = []
    for place, group in enumerate(("first", "second")):
        rows = [(code, name) for code in doid.codes[2000 + 200 * place : 2200 + 200 * place] for name in doid.concept(code).names]
        path = folder / f"{group}.tsv"
        path.write_text("".join(f"{group}:{code}\t{name.text}\t{'P' if name.preferred else 'S'}\n" for code, name in rows), encoding="utf-8")
        tables.append(path)
    names = {path.stem: bench._sha256(path.read_bytes()) for path in tables}
    recipe = bench.Recipe(names, "500", 4, None, held_out=20, per_concept=2, batch=4, hidden=64, layers=2)
    # Of so few queries the default share of short forms, one in a hundred, would be none.
    mix = bench.Mix(queries=40, shares=(0.4, 0.2, 0.2, 0.2), tokens=160)
    home, report = bench.prepare(tables, None, recipe, folder / "out", mix)
    queries = [json.loads(line) for line in (home / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return Made(tables, recipe, mix, folder / "out", home, report, queries)


def test_the_folder_holds_a_model_that_loads_and_queries_in_its_tokens(made: Made) -> None:
    from syncabel.linker import Linker

    linker = Linker.from_pretrained(made.folder / "model")
    assert linker.lexicon is not None
    codes = {linker.lexicon.code(entry) for entry in range(len(linker.lexicon))}
    for query in made.queries:
        assert query["gold"] in codes
        assert query["gold"].startswith(query["group"])
        assert query["ids"] == linker.tokenizer(query["prompt"], add_special_tokens=False)["input_ids"]
        assert len(query["ids"]) <= made.mix.tokens
        assert f"[{query['mention']}]{{{query['group']}}}" in query["prompt"]


def test_prompts_fill_their_tokens_to_within_a_word_or_two(made: Made) -> None:
    lengths = sorted(len(query["ids"]) for query in made.queries)
    assert lengths[len(lengths) // 10] > made.mix.tokens - 16


def test_every_kind_is_asked_of_seen_and_unseen_concepts(bench: Any, made: Made) -> None:
    asked = Counter((query["kind"], query["seen"]) for query in made.queries)
    assert set(asked) == {(kind, seen) for kind in bench.KINDS for seen in (True, False)}
    for (kind, _), count in asked.items():
        assert count <= round(made.mix.shares[bench.KINDS.index(kind)] * made.mix.queries / 2)


def test_every_kind_has_a_share_of_the_default_mix(bench: Any) -> None:
    mix = bench.Mix()
    assert sum(mix.shares) == pytest.approx(1)
    assert min(round(share * mix.queries / 2) for share in mix.shares) >= 5


def test_no_training_sentence_is_about_an_unseen_concept(bench: Any, made: Made) -> None:
    stuff = bench.material(made.tables, made.recipe)
    taught = {document.mentions[0].codes[0] for document in bench.sentences(stuff, bench.TemplateWriter("train"), 1, 0)}
    asked = {seen: {query["gold"] for query in made.queries if query["seen"] is seen} for seen in (True, False)}
    assert asked[False]
    assert not taught & asked[False]
    assert asked[True] & taught


def test_a_synonym_asked_is_no_name_of_the_lexicon(made: Made) -> None:
    from syncabel.lexicon.store import Lexicon

    lexicon = Lexicon.load(made.folder / "model" / "lexicon")
    names = {lexicon.name(entry) for entry in range(len(lexicon))}
    synonyms = [query for query in made.queries if query["kind"] == "synonym"]
    assert synonyms
    assert not names & {query["mention"] for query in synonyms}


def test_a_second_call_changes_nothing_and_another_mix_leaves_the_weights(bench: Any, made: Made) -> None:
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (made.folder / "report.json", made.folder / "model" / "model.safetensors")}

    before = times()
    assert bench.prepare(made.tables, None, made.recipe, made.out, made.mix) == (made.folder, made.report)
    assert times() == before
    other = replace(made.mix, queries=20)
    folder, report = bench.prepare(made.tables, None, made.recipe, made.out, other)
    assert folder == made.folder
    assert report["queries"]["all"]["n"] < made.report["queries"]["all"]["n"]
    assert times()["model.safetensors"] == before["model.safetensors"]


def test_the_digest_is_over_names_tokenizer_and_budget(bench: Any, made: Made) -> None:
    others = [
        replace(made.recipe, names={"first": "0"}),
        replace(made.recipe, tokenizer="501"),
        replace(made.recipe, steps=5),
        replace(made.recipe, minutes=1.0),
    ]
    assert len({made.recipe.digest, *(other.digest for other in others)}) == 5
