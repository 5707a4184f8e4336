"""The exported folder: complete, standing alone, loadable by plain transformers."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncabel.errors import ConfigError, TokenizerMismatchError
from syncabel.export import COPIED, export_model, flat_source
from syncabel.export.card import Facts
from syncabel.prompt import SEPARATOR, PromptFormat

ROOT = Path(__file__).resolve().parents[2]
FACTS = Facts("tiny test model", "random", training={"steps": "0"}, types={"SpecificDisease": ("Disease",)})
SENTENCES = {
    "en": "The patient has [multiple sclerosis]{Disease} since 1997.",
    "fr": "Le patient présente une [sclérose en plaques]{Disease} depuis 1997.",
    "es": "El paciente con [esclerosis múltiple]{Disease} desde 1997.",
}


@pytest.fixture(scope="module")
def export(tiny_tokenizer: Any, tiny_llama: Any, small_kb: Any, tmp_path_factory: Any) -> Callable[..., Path]:
    def make(language: str = "en", name: str = "sentence") -> Path:
        from copy import deepcopy

        from syncabel.lexicon.build import build_lexicon

        tokenizer = deepcopy(tiny_tokenizer)
        if name == "syncabel":
            tokenizer.add_special_tokens({"sep_token": SEPARATOR})
        base = tmp_path_factory.mktemp("export")
        build_lexicon(small_kb, tokenizer).save(base / "lexicon")
        model = tiny_llama(len(tokenizer))
        fmt = PromptFormat(name, language)  # type: ignore[arg-type]
        return export_model(model, tokenizer, base / "lexicon", base / "model", fmt, FACTS)

    return make


@pytest.fixture(scope="module")
def folder(export: Callable[..., Path]) -> Path:
    return export()


def run_without_the_package(code: str, tmp_path: Path) -> str:
    """Run Python that sees torch, transformers and accelerate but neither this checkout nor an editable install of it."""
    packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    start = f"import sys; sys.path.append({str(packages)!r})\n"
    # An editable install leaves a folder syncabel/configs there, without any code: a namespace, which has no loader.
    guard = "import importlib.util as u; assert not any(s and s.loader for s in map(u.find_spec, ('syncabel', 'constrained', 'data_gen')))\n"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    # -S: no site module, so no .pth file that would put the checkout on the path.
    done = subprocess.run([sys.executable, "-S", "-c", start + guard + code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


CARD_CALL = """
import json, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({folder!r}, trust_remote_code=True, device_map="auto")
out = dict()
for constrained in (True, False):
    results = model.sample(sentences=[{sentence!r}], constrained=constrained, num_beams=2)
    for i, beams in enumerate(results):
        for beam in beams:
            "{{}} {{}} {{}} {{:.3f}}".format(beam["mention"], beam["pred_concept_name"], beam["pred_concept_code"], beam["beam_score"])
    out[str(constrained)] = results
assert not any(m in sys.modules for m in ("polars", "marisa_trie", "fastobo", "trl", "datasets", "sklearn"))
print(json.dumps(out))
"""


@pytest.mark.parametrize(("language", "name"), [("en", "sentence"), ("fr", "syncabel"), ("es", "syncabel"), ("en", "document-first")])
def test_the_model_cards_call_works_without_this_package(export: Callable[..., Path], language: str, name: str, tmp_path: Path) -> None:
    folder = export(language, name)
    output = run_without_the_package(CARD_CALL.format(folder=str(folder), sentence=SENTENCES[language]), tmp_path)
    results = json.loads(output.strip().splitlines()[-1])
    mention = re.search(r"\[(.*)\]", SENTENCES[language]).group(1)  # type: ignore[union-attr]
    for answers in (results["True"][0], results["False"][0]):
        assert 1 <= len(answers) <= 2
        assert answers[0]["mention"] == mention
        assert [a["mass"] for a in answers] == sorted((a["mass"] for a in answers), reverse=True)
        assert all(0 <= a["beam_score"] <= 1 for a in answers)
    assert all(a["pred_concept_code"].startswith("A:") for a in results["True"][0])
    assert all(a["pred_concept_code"] == "NO_CODE" or a["pred_concept_code"].startswith("A:") for a in results["False"][0])


def test_copied_modules_differ_from_the_source_in_import_lines_only(folder: Path) -> None:
    for module in COPIED:
        source = (ROOT / (module.replace(".", "/") + ".py")).read_bytes().decode().splitlines()
        copied = flat_source(module).splitlines()
        assert len(source) == len(copied)
        changed = [(a, b) for a, b in zip(source, copied, strict=True) if a != b]
        assert all(re.match(r"from (syncabel|constrained)\.", a) and re.match(r"from \.\w+ import ", b) for a, b in changed)
        name = "modeling_syncabel" if module.endswith("modeling_syncabel") else module.replace(".", "_")
        assert (folder / f"{name}.py").read_bytes().decode() == flat_source(module)


def test_plain_transformers_loads_the_folder_as_a_llama(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["auto_map"] == {"AutoModelForCausalLM": "modeling_syncabel.SyncabelForCausalLM"}
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    assert type(model) is LlamaForCausalLM


def test_the_folder_is_complete_and_holds_no_pickle(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "modeling_syncabel.py", "lexicon/lexicon.json"} <= names
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".md", ".py", ".npy", ".jinja"}
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


def load(folder: Path) -> Any:
    from syncabel.modeling_syncabel import SyncabelForCausalLM

    return SyncabelForCausalLM.from_pretrained(folder).eval()


def test_whoever_may_read_the_configuration_may_read_the_weights(folder: Path) -> None:
    """safetensors leaves its files to their owner alone."""
    assert {path.stat().st_mode for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".py")} == {(folder / "config.json").stat().st_mode}


def test_constrained_decoding_without_a_lexicon_raises_and_free_decoding_says_no_code(folder: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("lexicon"))
    model = load(bare)
    with pytest.raises(Exception, match="lexicon build") as raised:
        model.sample([SENTENCES["en"]], constrained=True)
    assert type(raised.value).__name__ == "MissingLexiconError"
    answers = model.sample([SENTENCES["en"]], constrained=False, num_beams=1, max_new_tokens=8)
    assert answers[0][0]["pred_concept_code"] == "NO_CODE"


def test_answers_are_distinct_concepts_best_first(folder: Path) -> None:
    answers = load(folder).sample([SENTENCES["en"], "[cold]"], num_beams=5)
    for row in answers:
        codes = [answer["pred_concept_code"] for answer in row]
        assert len(set(codes)) == len(codes) <= 5
        assert [answer["mass"] for answer in row] == sorted((answer["mass"] for answer in row), reverse=True)


def test_a_group_in_braces_holds_the_answers_to_it(folder: Path) -> None:
    model = load(folder)
    assert {a["pred_concept_code"] for a in model.sample(["a [cold]{Physiology}"])[0]} == {"A:6"}
    assert "A:6" not in {a["pred_concept_code"] for a in model.sample(["a [cold]{Disease}"], num_beams=20)[0]}
    assert "A:6" in {a["pred_concept_code"] for a in model.sample(["a [cold]{Disease|Physiology}"], num_beams=30)[0]}


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("no mention", "no \\[mention\\]"),
        ("a [cold [x]]{Disease}", "stray"),
        ("a [cold]{Diseaze}", "did you mean 'Disease'"),
        ("[a]{Disease} [b]{Disease}", "2 mentions"),
    ],
)
def test_a_bad_sentence_raises_one_clear_line(folder: Path, sentence: str, message: str) -> None:
    with pytest.raises(Exception, match=message) as raised:
        load(folder).sample([sentence])
    assert "\n" not in str(raised.value)


def test_a_sentence_longer_than_the_context_is_narrowed_around_its_mention_and_says_so(folder: Path) -> None:
    (long,), (short,) = load(folder).sample(["word " * 600 + "[cold]", "A [cold]."], num_beams=1)
    assert (long["windowed"], short["windowed"]) == (True, False)
    with pytest.raises(Exception, match="context holds 512"):
        load(folder).sample(["[" + "cold " * 600 + "]"])


def test_an_exact_answer_is_certified_and_no_answer_of_a_beam_is_better(folder: Path) -> None:
    (exact,) = load(folder).sample([SENTENCES["en"]], search="exact", num_beams=2)
    (beam,) = load(folder).sample([SENTENCES["en"]], num_beams=2)
    assert exact[0]["certified"]
    assert 0 <= exact[0]["bound"] <= exact[0]["mass"]
    assert beam[0]["mass"] <= exact[0]["mass"] + 1e-6


def test_candidates_hold_the_answers(folder: Path) -> None:
    (answers,) = load(folder).sample([SENTENCES["en"]], num_beams=20, candidates=[[0, 3]])
    everything = load(folder).syncabel_lexicon
    assert {each["pred_concept_name"] for each in answers} <= {everything.name(0), everything.name(3)}


def test_a_generation_config_in_the_folder_decides_nothing(folder: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "generation_config.json").write_text(json.dumps({"max_new_tokens": 1, "num_beams": 3, "length_penalty": 2.0, "early_stopping": True}))
    assert load(other).sample([SENTENCES["en"]]) == load(folder).sample([SENTENCES["en"]])


def test_only_a_llama_is_exported_with_sample(tiny_tokenizer: Any, small_lexicon: Any, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    small_lexicon.save(tmp_path / "lexicon")
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(ConfigError, match="gpt2"):
        export_model(model, tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), FACTS)


def test_a_lexicon_of_another_tokenizer_is_not_exported(tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path: Path) -> None:
    from copy import deepcopy

    small_lexicon.save(tmp_path / "lexicon")
    other = deepcopy(tiny_tokenizer)
    other.add_special_tokens({"sep_token": SEPARATOR})
    with pytest.raises(TokenizerMismatchError):
        export_model(tiny_llama(len(other)), other, tmp_path / "lexicon", tmp_path / "model", PromptFormat(), FACTS)
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_no_model_of_syncabel_is_never_replaced(tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text('{"model_type": "llama"}')
    rest = (tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, tmp_path / "lexicon")
    for folder in (mine, tmp_path, tmp_path / "lexicon", tmp_path / "lexicon" / "model"):
        with pytest.raises(ConfigError, match="model folder"):
            export_model(*rest, folder, PromptFormat(), FACTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lexicon", "mine"]
    assert (mine / "config.json").read_text() == '{"model_type": "llama"}'


def test_an_earlier_model_is_replaced_and_its_neighbours_stay(tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path: Path) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    rest = (tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat())
    (tmp_path / "model.part").mkdir()
    (tmp_path / "model.part" / "mine").touch()
    export_model(*rest, FACTS)
    (tmp_path / "model" / "stale").touch()
    assert export_model(*rest, Facts("another title", "random")) == tmp_path / "model"
    assert not (tmp_path / "model" / "stale").exists()
    assert "# another title" in (tmp_path / "model" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lexicon", "model", "model.part"]
    assert (tmp_path / "model.part" / "mine").exists()


@pytest.mark.parametrize("moved", [1, 2], ids=["before the new one", "after it"])
def test_a_model_is_there_when_the_swap_is_interrupted(
    moved: int, tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    rest = (tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat())
    export_model(*rest, FACTS)
    moves, replace = [], Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        found = replace(self, target)
        moves.append(target)
        if len(moves) == moved:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(*rest, Facts("another title", "random"))
    assert ("another title" in (tmp_path / "model" / "README.md").read_text()) == (moved == 2)
    monkeypatch.undo()
    export_model(*rest, Facts("a third title", "random"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lexicon", "model"]


def test_the_only_model_there_is_outlives_a_second_interruption(
    tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    rest = (tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat())
    export_model(*rest, FACTS)
    (tmp_path / "model").replace(tmp_path / ".model.syncabel-old")  # as a kill between the two moves leaves it
    replace = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if self.name.endswith("-part"):
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(*rest, Facts("another title", "random"))
    assert "another title" not in (tmp_path / "model" / "README.md").read_text()


def test_an_export_that_fails_leaves_nothing_and_the_earlier_model(
    tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_lexicon.save(tmp_path / "lexicon")
    model = tiny_llama(len(tiny_tokenizer))
    rest = (tiny_tokenizer, tmp_path / "lexicon", tmp_path / "model", PromptFormat())
    export_model(model, *rest, FACTS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file()}
    monkeypatch.setattr(type(tiny_tokenizer), "save_pretrained", lambda *_rest, **_named: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        export_model(model, *rest, Facts("another title", "random"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lexicon", "model"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file()} == before


def test_a_lexicon_whose_header_was_cut_off_is_refused_in_one_line(small_lexicon: Any, tmp_path: Path) -> None:
    from syncabel.errors import IncompleteFolderError
    from syncabel.lexicon.store import Lexicon

    small_lexicon.save(tmp_path)
    header = tmp_path / "lexicon.json"
    whole = header.read_text()
    for damaged in (whole[: len(whole) // 2], "[]", json.dumps({"format_version": 1})):
        header.write_text(damaged)
        with pytest.raises(IncompleteFolderError, match=r"lexicon\.json .*build the lexicon again"):
            Lexicon.load(tmp_path)


def test_the_model_card_says_what_was_measured(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "| steps | 0 |" in card
    assert "16 names of 8 concepts" in card
    assert "Nothing was measured" in card
    assert "$" not in card


def test_the_cards_code_loads_the_folder_it_lies_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    card = (folder / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert f'from_pretrained("{folder.name}", trust_remote_code=True' in code
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HF_HOME", str(folder.parent / "hf"))
    exec(compile(code, "card", "exec"), {})
    assert "A:" in capsys.readouterr().out


def test_the_cards_example_is_a_name_with_its_own_group_that_can_be_marked(tiny_tokenizer: Any) -> None:
    from syncabel.export.card import model_card
    from syncabel.kb import About, KnowledgeBase
    from syncabel.lexicon.build import build_lexicon
    from syncabel.prompt import from_sentence
    from syncabel.types import Concept, Name

    names = [("B:1", "aspirin", "Drug"), ("B:2", 'benz[a]anthracene {"x"}', "Substance"), ("B:3", "cold", "Disease")]
    kb = KnowledgeBase.build([Concept(code, (Name(name, preferred=True),), (group,)) for code, name, group in names], About("test", "1", "CC0-1.0", True))
    for nil in (None, "catch-all"):  # it would be the middle entry
        lexicon = build_lexicon(kb, tiny_tokenizer, nil=nil)
        card = model_card(FACTS, lexicon, "model")
        sentence = ast.literal_eval(re.search(r"sentences=(\[.*\]), constrained", card).group(1))  # type: ignore[union-attr]
        prompt = from_sentence(sentence[0], PromptFormat())
        assert (prompt.mention, *prompt.groups) == ('benz(a)anthracene ("x")', "Substance")
        assert ("`NIL`" in card) == (nil is not None)


def with_header(lexicon: Any, **header: Any) -> Any:
    from dataclasses import replace

    return replace(lexicon, header={**lexicon.header, **header})


def test_a_card_says_what_is_unknown_of_the_terminology_in_words(small_lexicon: Any) -> None:
    from syncabel.export.card import model_card

    assert "test (1; CC0-1.0)" in model_card(FACTS, small_lexicon, "model")
    card = model_card(FACTS, with_header(small_lexicon, source="mine", release="", licence="unknown"), "model")
    assert "mine (licence not stated)" in card
    assert "(;" not in card


def test_a_card_forbids_passing_on_a_lexicon_that_may_not_be(small_lexicon: Any) -> None:
    from syncabel.export.card import model_card

    assert "must not be passed on" not in model_card(FACTS, small_lexicon, "model")
    card = model_card(FACTS, with_header(small_lexicon, redistributable=False), "model")
    assert "must not be passed on" in card.split("## Use")[0]
    assert "redistribution NOT allowed" in card
