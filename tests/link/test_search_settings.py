"""Exact ranks, composite answers, NIL and candidates: from Python, from `sample`, and from the command line."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from constrained.search import EPSILON, score_entries
from syncabel.decoding import DecodingSettings, check_length, decode
from syncabel.errors import ConfigError, PromptTooLongError
from syncabel.evaluate import read_linked
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.lexicon.build import build_lexicon
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat, encode_join, encode_name, encode_prompt, from_sentence
from syncabel.types import NIL_CODE, Document, Mention, Query, Span

NIL = "not in the knowledge base"
SENTENCE = "The patient has [angina]{Disease} and a cold."


@pytest.fixture(scope="module")
def lexicon(small_kb: Any, tiny_tokenizer: Any) -> Any:
    return build_lexicon(small_kb, tiny_tokenizer, nil=NIL)


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Any, tiny_llama: Any, lexicon: Any, tmp_path_factory: Any) -> Path:
    base = tmp_path_factory.mktemp("settings")
    lexicon.save(base / "lexicon")
    # Enlarged weights: a model that decides, so that there is something to prove within the budget.
    model = tiny_llama(len(tiny_tokenizer), seed=5, scale=3.0)
    return export_model(model, tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), Facts("test", "random"))


@pytest.fixture(scope="module")
def linker(folder: Path) -> Linker:
    return Linker.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def query() -> Query:
    text = "The patient has angina and a cold."
    doc = Document("1", text, (Mention("1", (Span(16, 22),), "angina", "Disease"),))
    return Query(doc, doc.mentions[0], ("Disease",))


def ranked(linker: Linker, query: Query, k: int, candidates: list[int] | None = None, **settings: Any) -> list[Any]:
    return replace(linker, settings=DecodingSettings(**settings)).rank([query], k, None if candidates is None else [candidates])[0]


def masses(linker: Linker, query: Query, most: int, nil: bool) -> dict[tuple[str, ...], float]:
    """Of every answer allowed in the query's groups, by its codes: all names and all orders summed."""
    lexicon, tokenizer = linker.lexicon, linker.tokenizer
    assert lexicon is not None
    flags = lexicon.flags(query.groups)
    paths = {entry: encode_name(lexicon.name(entry), tokenizer) for entry in range(len(lexicon))}
    names = [entry for entry, path in paths.items() if lexicon.trie.walk(path, flags) >= 0]
    answers = [(entry,) for entry in names] + [(lexicon.nil_entry,)] * nil
    if most == 2:
        answers += [(a, b) for a in names for b in names if lexicon.code(a) != lexicon.code(b)]
    ids = [[token for entry in each[:-1] for token in (*paths[entry][:-1], *encode_join(tokenizer))] + paths[each[-1]] for each in answers]
    scores = score_entries(linker.model, encode_prompt(linker.prompt(query), tokenizer), ids)
    found: dict[tuple[str, ...], float] = {}
    for answer, score in zip(answers, scores, strict=True):
        key = tuple(sorted(map(lexicon.code, answer)))
        found[key] = found.get(key, 0.0) + float(np.exp(score))
    return found


@pytest.mark.parametrize(("most", "nil"), [(1, False), (1, True), (2, False), (2, True)])
def test_the_linker_finds_what_scoring_every_answer_finds(linker: Linker, query: Query, most: int, nil: bool) -> None:
    wanted = masses(linker, query, most, nil)
    settings = {"search": "exact", "num_beams": 999, "exact_ranks": 999, "max_expansions": 10**6, "max_concepts": most, "nil": nil}
    found = {p.codes: p.mass for p in ranked(linker, query, 999, **settings)}
    assert found == pytest.approx(wanted, rel=1e-3)
    assert any(NIL_CODE in codes for codes in found) == nil
    assert not any(NIL_CODE in codes for codes in found if len(codes) > 1)


def test_the_names_of_a_composite_answer_stand_in_the_order_of_its_codes(linker: Linker, query: Query) -> None:
    lexicon = linker.lexicon
    assert lexicon is not None
    code_of = {lexicon.name(entry): lexicon.code(entry) for entry in range(len(lexicon))}
    found = ranked(linker, query, 60, num_beams=60, max_concepts=2)
    pairs = [p for p in found if len(p.codes) == 2]
    assert pairs
    assert [tuple(code_of[name] for name in p.name.split(" + ")) for p in pairs] == [p.codes for p in pairs]


def test_the_room_left_for_an_answer_is_that_of_the_longest_one(linker: Linker) -> None:
    lexicon, tokenizer = linker.lexicon, linker.tokenizer
    assert lexicon is not None
    longest = max((encode_name(name, tokenizer) for name in lexicon.names), key=len)
    limit = linker.model.config.max_position_embeddings
    for most in (1, 2, 4):
        answer = len([*(longest[:-1] + encode_join(tokenizer)) * (most - 1), *longest])
        settings = DecodingSettings(max_concepts=most)
        check_length(limit - answer, linker.model, tokenizer, lexicon, settings, "here")
        with pytest.raises(PromptTooLongError):
            check_length(limit - answer + 1, linker.model, tokenizer, lexicon, settings, "here")


def test_candidates_hold_the_linkers_answers(linker: Linker, query: Query, lexicon: Any) -> None:
    entries = [*lexicon.entries_of("A:3").tolist(), *lexicon.entries_of("A:5").tolist()]
    assert {p.codes for p in ranked(linker, query, 9, entries, num_beams=9)} == {("A:3",), ("A:5",)}
    pairs = {p.codes for p in ranked(linker, query, 9, entries, search="exact", num_beams=9, exact_ranks=9, max_concepts=2)}
    assert pairs == {("A:3",), ("A:5",), ("A:3", "A:5")}


def test_every_answer_says_whether_it_is_proven_and_within_which_error(linker: Linker, query: Query) -> None:
    for settings in ({"search": "exact", "exact_ranks": 2}, {"search": "greedy"}, {"ranking": "mean"}):
        found = ranked(linker, query, 5, **settings)
        assert {p.epsilon for p in found} == {EPSILON["float32"]}
        assert all(p.bound is not None for p in found)
    assert [p.certified for p in ranked(linker, query, 2, search="exact", exact_ranks=2, max_expansions=10**6)] == [True, True]
    free = ranked(linker, query, 1, constrained=False, num_beams=1, max_new_tokens=3)
    assert (free[0].certified, free[0].bound, free[0].epsilon) == (False, None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"constrained": False, "search": "exact"}, "'exact' is for constrained"),
        ({"constrained": False, "search": "greedy"}, "num_beams=1"),
        ({"search": "exact", "ranking": "mean"}, "ranking 'sum', or search 'beam'"),
        ({"search": "exact", "exact_ranks": 3, "num_beams": 2}, "exact_ranks is 3 and num_beams, the most answers, 2"),
        ({"exact_ranks": 2}, "'beam' proves no ranks"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        DecodingSettings(**given)
    assert "\n" not in str(raised.value)


def test_sample_takes_the_same_settings_and_gives_the_same_answers(folder: Path, linker: Linker, lexicon: Any) -> None:
    from syncabel.modeling_syncabel import SyncabelForCausalLM

    model: Any = SyncabelForCausalLM.from_pretrained(folder)
    given: dict[str, Any] = {"search": "exact", "num_beams": 3, "exact_ranks": 3, "max_expansions": 10**6, "max_concepts": 2, "nil": True}
    (public,) = model.eval().sample([SENTENCE], **given)
    (found,) = decode(linker.model, linker.tokenizer, lexicon, [from_sentence(SENTENCE, linker.fmt)], DecodingSettings(**given))
    assert [a["pred_concept_code"] for a in public] == [p.code for p in found]
    assert [(a["certified"], a["epsilon"]) for a in public] == [(True, EPSILON["float32"])] * 3


def test_the_examples_of_the_docs_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "decoding.md").read_text(encoding="utf-8")
    blocks = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "vllm" not in code.lower()]
    monkeypatch.chdir(folder.parent)
    names: dict[str, Any] = {}
    for code in blocks:
        exec(compile(code, "docs/decoding.md", "exec"), names)
    shown = capsys.readouterr().out.splitlines()
    assert len(blocks) == 3
    assert shown[-1] in {names["lexicon"].name(entry) for entry in (0, 2, 3)}
    assert all(" True " in line for line in shown[:-1])
    assert names["new_number"][2] == -1
    assert names["trie"] is names["lexicon"].trie


def invoke(folder: Path, tmp_path: Path, text: str, *arguments: str) -> Any:
    from syncabel.cli.app import app

    (tmp_path / "in.txt").write_text(text)
    return CliRunner().invoke(app, ["link", "--model", str(folder), "--device", "cpu", str(tmp_path / "in.txt"), *arguments])


def test_the_command_proves_the_ranks_asked_for(folder: Path, linker: Linker, query: Query, tmp_path: Path) -> None:
    result = invoke(folder, tmp_path, SENTENCE, "--search", "exact", "--ranks", "3", "--max-expansions", "100000")
    assert result.exit_code == 0, result.output
    predictions = json.loads(result.stdout)["predictions"]
    assert [p["certified"] for p in predictions[:3]] == [True] * 3
    assert all(p["bound"] >= 0 and p["epsilon"] == EPSILON["float32"] for p in predictions)
    wanted = masses(linker, query, 1, nil=False)
    assert [tuple(p["codes"]) for p in predictions[:3]] == sorted(wanted, key=lambda key: -wanted[key])[:3]


def test_the_command_offers_nil_and_composite_answers(folder: Path, linker: Linker, query: Query, tmp_path: Path) -> None:
    result = invoke(folder, tmp_path, SENTENCE, "--search", "exact", "--nil", "--max-concepts", "2", "--num-beams", "500", "--max-expansions", "100000")
    assert result.exit_code == 0, result.output
    wanted, found = masses(linker, query, 2, nil=True), json.loads(result.stdout)["predictions"]
    assert {tuple(p["codes"]) for p in found} <= wanted.keys()
    assert tuple(found[0]["codes"]) == max(wanted, key=lambda key: wanted[key])
    (tmp_path / "predictions.jsonl").write_text(result.stdout)
    ((_, row),) = read_linked(tmp_path / "predictions.jsonl")
    assert [p.codes for p in row.predictions] == [tuple(p["codes"]) for p in found]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--free", "--search", "exact"), "constrained"),
        (("--search", "exact", "--ranks", "6"), "num_beams"),
        (("--ranks", "2"), "proves no ranks"),
        (("--search", "exact", "--ranking", "mean"), "'sum'"),
    ],
)
def test_the_command_refuses_options_that_contradict_each_other(folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke(folder, tmp_path, SENTENCE, *arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


def test_a_narrowed_context_is_counted_on_standard_error_and_told_with_each_mention(folder: Path, tmp_path: Path) -> None:
    long = "word " * 600 + "[cold]{Physiology}"
    result = invoke(folder, tmp_path, f"{long}\na [cold]{{Physiology}}\n")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["windowed"] for line in result.stdout.splitlines()] == [True, False]
    assert "1 of 2 mentions were linked with less context" in result.stderr
    assert "context" not in invoke(folder, tmp_path, "a [cold]{Physiology}\n").stderr


def test_a_table_marks_what_is_proven_and_what_was_narrowed(folder: Path, tmp_path: Path) -> None:
    result = invoke(folder, tmp_path, "word " * 600 + "[cold]{Physiology}\na [cold]{Physiology}\n", "--format", "table", "--search", "exact")
    first, second = (line for line in result.stdout.splitlines() if "A:6" in line)
    assert "certified, windowed" in first
    assert "certified" in second
    assert "windowed" not in second
