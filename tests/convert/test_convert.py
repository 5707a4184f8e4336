"""A folder in the published layout becomes a model folder here: same names, same ids, same weights; nothing of it is run."""

import json
import math
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syncabel.convert import NAMES_FILE, Converted, convert_model, kb_of_names, read_names
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError, MarkupError
from syncabel.kb import About, KnowledgeBase
from syncabel.linker import Linker
from syncabel.prompt import SEPARATOR, encode_name, encode_prompt, from_sentence
from syncabel.types import Document, Mention, Query, Span

NAMES = {
    "Disorders": {
        "Multiple sclerosis": "C01",
        "MS": "C01",
        "Mitral stenosis": "C02",
        "Stenosis of the mitral valve": "C02",
        "Cold": "C03",
        "Common cold": "C03",
        "Angina pectoris": "C04",
        "Angina": "C04",
    },
    "Phenomena": {"Cold": "C05", "Cold temperature": "C05", "Heart rate": "C06"},
    "Anatomy": {"Heart": "C07", "Mitral valve": "C08"},
}
SHARED = "Cold"  # means C03 in one group and C05 in another
SENTENCE = "The patient has [multiple sclerosis]{Disorders} since 1997."


class Poison:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


@pytest.fixture(scope="module")
def published(tiny_tokenizer: Any, tiny_llama: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in the published layout, with a pickle and code that would leave traces."""
    from copy import deepcopy

    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"sep_token": SEPARATOR})
    base = tmp_path_factory.mktemp("published")
    folder = base / "SynCABEL-tiny"
    tiny_llama(len(tokenizer), seed=3, scale=3.0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / NAMES_FILE).write_text(json.dumps(NAMES), encoding="utf-8")
    (folder / "candidate_trie.pkl").write_bytes(pickle.dumps({"Disorders": Poison(base / "unpickled")}))
    trace = f"open({str(base / 'executed')!r}, 'w').close()\n"
    for name in ("modeling_published.py", "tokenization_published.py", "configuration_published.py", "__init__.py"):
        (folder / name).write_text(trace, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "configuration_published.Config", "AutoModelForCausalLM": "modeling_published.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": classes, "architectures": ["Model"]}))
    about = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**about, "auto_map": {"AutoTokenizer": ["tokenization_published.T", None]}}))
    return folder


@pytest.fixture(scope="module")
def done(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return convert_model(published, tmp_path_factory.mktemp("converted") / "model")


@pytest.fixture(scope="module")
def linker(done: Converted) -> Linker:
    return Linker.from_pretrained(done.folder, device="cpu")


def query(group: str | None = "Disorders", text: str = "The patient has multiple sclerosis since 1997.") -> Query:
    mention = Mention("1", (Span(16, 34),), "multiple sclerosis")
    return Query(Document("d", text, (mention,)), mention, () if group is None else (group,))


def scored(linker: Linker, asked: Query, names: list[str]) -> dict[str, tuple[float, int]]:
    """Name -> (log-probability, tokens) by running the model over the prompt with each name behind it."""
    import torch

    prompt, found = encode_prompt(linker.prompt(asked), linker.tokenizer), {}
    for name in names:
        ids = encode_name(name, linker.tokenizer)
        with torch.no_grad():
            logits = linker.model(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        found[name] = (sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(ids)), len(ids))
    return found


def test_every_name_of_the_file_is_a_leaf_with_its_group_and_code(done: Converted, linker: Linker) -> None:
    lexicon = linker.lexicon
    assert lexicon is not None
    leaves = {(lexicon.name(entry), lexicon.code(entry)) for entry in range(len(lexicon))}
    rows = {(name, code) for names in NAMES.values() for name, code in names.items()}
    assert {row for row in rows if row[0] != SHARED} <= leaves
    assert {code for name, code in leaves if name.startswith(f"{SHARED} (")} == {"C03", "C05"}
    assert len(leaves) == len(rows) == done.entries
    for group, names in NAMES.items():
        flags = lexicon.flags([group])
        assert flags is not None
        held = {lexicon.code(entry) for entry in range(len(lexicon)) if flags[lexicon.trie.node_class[lexicon.trie.leaves_of(np.array([entry]))[0]]]}
        assert held == set(names.values())


def test_names_the_model_never_saw_are_counted(done: Converted) -> None:
    assert [(each.name, each.code, each.reason) for each in done.altered] == [(SHARED, "C03", "shared_name"), (SHARED, "C05", "shared_name")]
    assert all(each.leaf.startswith("Cold (") for each in done.altered)
    assert (done.rows, done.codes, done.groups, done.widened, done.unknown) == (13, 8, 3, 0, None)
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "names written otherwise than the model learnt" in card


def test_ids_and_weights_stay_those_of_the_folder(published: Path, done: Converted) -> None:
    from safetensors.numpy import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (published, done.folder))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    ids = [
        {token["content"]: token["id"] for token in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]} for folder in (published, done.folder)
    ]
    vocabulary = [json.loads((folder / "tokenizer.json").read_text())["model"] for folder in (published, done.folder)]
    assert ids[0] == ids[1]
    assert vocabulary[0] == vocabulary[1]


def test_no_pickle_is_opened_and_no_code_is_run(published: Path, done: Converted) -> None:
    assert not {"unpickled", "executed"} & {path.name for path in published.parent.iterdir()}
    names = {path.name for path in done.folder.rglob("*")}
    assert not {name for name in names if name.endswith(".pkl") or "published" in name}
    config = json.loads((done.folder / "config.json").read_text())
    assert config["auto_map"] == {"AutoModelForCausalLM": "modeling_syncabel.SyncabelForCausalLM"}
    assert "published" not in (done.folder / "config.json").read_text() + (done.folder / "tokenizer_config.json").read_text()


def test_the_poison_works(published: Path, tmp_path: Path) -> None:
    """The test above would see it: opening such a pickle does leave a file behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        pickle.loads(pickle.dumps(Poison(tmp_path / "unpickled")))  # noqa: S301 - it is this test's own
    assert (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("group", ["Disorders", "Phenomena", None])
def test_answers_are_those_of_scoring_every_name(linker: Linker, group: str | None) -> None:
    lexicon = linker.lexicon
    assert lexicon is not None
    codes = {code for name, names in NAMES.items() if group in (None, name) for code in names.values()}
    entries = [entry for entry in range(len(lexicon)) if lexicon.code(entry) in codes]
    scores = scored(linker, query(group), [lexicon.name(entry) for entry in entries])
    best: dict[str, float] = {}
    for entry in entries:
        log_prob, tokens = scores[lexicon.name(entry)]
        best[lexicon.code(entry)] = max(best.get(lexicon.code(entry), 0.0), math.exp(log_prob / tokens))
    wide = replace(linker, settings=replace(linker.settings, num_beams=16))
    answers = wide.rank([query(group)], 16)[0]
    assert [answer.code for answer in answers] == sorted(best, key=lambda code: -best[code])
    assert [answer.beam_score for answer in answers] == pytest.approx([best[answer.code] for answer in answers], rel=1e-4)


def test_a_converted_model_ranks_by_the_published_score_unless_asked(done: Converted, linker: Linker) -> None:
    assert linker.settings.ranking == "mean"
    config = json.loads((done.folder / "config.json").read_text())["syncabel"]
    assert (config["ranking"], config["format"]) == ("mean", "syncabel")
    assert json.loads((done.folder / "lexicon" / "lexicon.json").read_text())["redistributable"] is False
    by_sum = replace(linker, settings=replace(linker.settings, ranking="sum", num_beams=16)).rank([query()], 16)[0]
    by_mean = replace(linker, settings=replace(linker.settings, num_beams=16)).rank([query()], 16)[0]
    assert [answer.beam_score for answer in by_mean] == sorted((answer.beam_score for answer in by_mean), reverse=True)
    assert [answer.mass for answer in by_sum] == sorted((answer.mass for answer in by_sum), reverse=True)


def test_sample_ranks_by_the_published_score_unless_asked(done: Converted, linker: Linker) -> None:
    from syncabel.modeling_syncabel import SyncabelForCausalLM

    model = SyncabelForCausalLM.from_pretrained(done.folder).eval()
    own, mean, total = (model.sample([SENTENCE], num_beams=16, **how)[0] for how in ({}, {"ranking": "mean"}, {"ranking": "sum"}))
    assert own == mean
    assert [answer["mass"] for answer in total] == sorted((answer["mass"] for answer in total), reverse=True)
    assert own[0]["pred_concept_code"] == linker.rank([query()])[0][0].code


def test_the_prompt_is_the_published_one(linker: Linker) -> None:
    ids = encode_prompt(from_sentence(SENTENCE, linker.fmt), linker.tokenizer)
    assert linker.tokenizer.decode(ids) == "The patient has [multiple sclerosis]{Disorders} since 1997.<SEP>[multiple sclerosis] is"
    assert ids.count(linker.tokenizer.convert_tokens_to_ids(SEPARATOR)) == 1


def test_the_terms_come_from_the_knowledge_base_and_only_where_all_names_are_its(published: Path, tmp_path: Path) -> None:
    rows = read_names(published / NAMES_FILE)
    whole = kb_of_names(rows, "en", About("Test", "2026", "CC0-1.0", redistributable=True))
    done = convert_model(published, tmp_path / "all", kb=whole)
    header = json.loads((done.folder / "lexicon" / "lexicon.json").read_text())
    assert (done.unknown, header["source"], header["redistributable"]) == (0, "Test", True)
    part = kb_of_names(rows.filter(rows["group"] != "Anatomy"), "en", whole.about)
    done = convert_model(published, tmp_path / "some", kb=part)
    assert (done.unknown, json.loads((done.folder / "lexicon" / "lexicon.json").read_text())["redistributable"]) == (2, False)


def altered(published: Path, folder: Path, names: Any) -> Path:
    """The published folder with another file of names."""
    shutil.copytree(published, folder)
    text = names if isinstance(names, str) else json.dumps(names)
    (folder / NAMES_FILE).write_text(text, encoding="utf-8")
    return folder


def test_untidy_names_are_tidied_or_left_out_and_counted(published: Path, tmp_path: Path) -> None:
    source = altered(published, tmp_path / "odd", {"A": {"two  spaces": "C1", "bell\u0007": "C1", "plain": "C1"}, "B": {"plain": "C1", "other": "C2"}})
    done = convert_model(source, tmp_path / "model")
    assert {(each.name, each.leaf, each.reason) for each in done.altered} == {("two  spaces", "two spaces", "tidied"), ("bell\u0007", "", "left_out")}
    assert done.widened == 2  # `two  spaces` and the bell are in A only, and their code in B as well


HOSTILE = [
    ("[]", "no object of groups"),
    ("{}", "no object of groups"),
    ('{"A": {}}', "no name"),
    ('{"A": []}', "group 'A'"),
    ('{"A": {"x": 1}}', "group 'A'"),
    ('{"A": {"x": null}}', "group 'A'"),
    ('{"A": {"x": {"y": "z"}}}', "group 'A'"),
    ('{"A": {"x": "C1", "x": "C2"}}', "twice"),
    ('{"A": {"x": "C1"}, "A": {"x": "C2"}}', "twice"),
    ('{"A": {"x": "NO_CODE"}}', "NO_CODE"),
    ('{"A": {"x": "NIL"}}', "NIL"),
    ('{"A": {"\\ud800": "C1"}}', "Unicode"),
    ('{"A": {"x": ""}}', "no concept is left"),
    ('{"A": {"": "C1"}}', "no concept is left"),
    ("[" * 100_000, "no JSON"),
    ('{"A": ' + "9" * 5_000 + "}", "no JSON"),
    ("not JSON", "no JSON"),
    ("\x00", "no JSON"),
]


@pytest.mark.parametrize(("text", "said"), HOSTILE)
def test_a_hostile_file_of_names_is_one_line(published: Path, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FormatError, match=said) as refused:
        convert_model(altered(published, tmp_path / "hostile", text), tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("group", ["", "a|b", "a}b", "a[b"])
def test_a_group_that_no_prompt_can_name_is_refused(published: Path, tmp_path: Path, group: str) -> None:
    with pytest.raises(MarkupError, match="group"):
        convert_model(altered(published, tmp_path / "hostile", {group: {"x": "C1"}}), tmp_path / "model")


def test_names_that_are_markup_or_special_tokens_stay_text(published: Path, tmp_path: Path) -> None:
    odd = {"A": {"<SEP>": "C1", "<|end|>": "C2", "../../etc/passwd": "C3", "[x]{A}": "C4", "é 文": "C5", "__import__('os')": "../C6"}}
    done = convert_model(altered(published, tmp_path / "odd", odd), tmp_path / "model")
    linker = Linker.from_pretrained(done.folder, device="cpu")
    assert linker.lexicon is not None
    leaves = {linker.lexicon.name(entry): linker.lexicon.code(entry) for entry in range(len(linker.lexicon))}
    assert leaves == odd["A"]
    assert not done.altered


def break_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_tokenizer_that_loses_something_of_a_name_is_refused(published: Path, tmp_path: Path) -> None:
    source = altered(published, tmp_path / "lossy", NAMES)
    break_tokenizer(source, lambda content: content.update(normalizer={"type": "Lowercase"}))
    with pytest.raises(ConfigError, match="gives back"):
        convert_model(source, tmp_path / "model")


def test_a_tokenizer_without_the_separator_is_refused(published: Path, tmp_path: Path, tiny_tokenizer: Any) -> None:
    source = altered(published, tmp_path / "bare", NAMES)
    tiny_tokenizer.save_pretrained(source)
    with pytest.raises(ConfigError, match=SEPARATOR):
        convert_model(source, tmp_path / "model")


def test_a_tokenizer_larger_than_the_model_is_refused(published: Path, tmp_path: Path, tiny_llama: Any) -> None:
    source = altered(published, tmp_path / "small", NAMES)
    tiny_llama(300).save_pretrained(source)
    with pytest.raises(ConfigError, match="tokens and the model 300"):
        convert_model(source, tmp_path / "model")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("lab/SynCABEL-none", "`hf download lab/SynCABEL-none --local-dir SynCABEL-none`, and SynCABEL-none given"),
        ("nowhere", "`hf download ORG/NAME --local-dir FOLDER`"),
        ("here/nowhere", "`hf download ORG/NAME --local-dir FOLDER`"),
    ],
)
def test_a_folder_that_is_not_there_is_said_with_the_command_that_downloads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(IncompleteFolderError) as refused:
        convert_model(Path(place), tmp_path / "model")
    assert str(refused.value).startswith(f"{place}: no such folder; ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", NAMES_FILE, "model.safetensors"])
def test_a_missing_file_is_named(published: Path, tmp_path: Path, missing: str) -> None:
    source = altered(published, tmp_path / "part", NAMES)
    (source / missing).unlink()
    with pytest.raises(IncompleteFolderError, match=missing.replace("model.", "")):
        convert_model(source, tmp_path / "model")


def test_weights_that_are_a_pickle_are_refused(published: Path, tmp_path: Path) -> None:
    source = altered(published, tmp_path / "pickled", NAMES)
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(IncompleteFolderError, match="pickles"):
        convert_model(source, tmp_path / "model")


def test_missing_and_cut_off_weights_are_refused(published: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    source = altered(published, tmp_path / "part", NAMES)
    weights = load_file(source / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(IncompleteFolderError, match=r"model\.norm\.weight"):
        convert_model(source, tmp_path / "model")
    whole = (published / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IncompleteFolderError, match="cannot be read"):
        convert_model(source, tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.json", '{"model_type": "bart"}', "no Llama"),
        ("config.json", "[]", "no Llama"),
        ("config.json", '{"model_type": "llama", "quantization_config": {"load_in_8bit": true}}', "quantised"),
        ("adapter_config.json", "{}", "adapter"),
    ],
)
def test_what_is_no_whole_llama_is_refused(published: Path, tmp_path: Path, name: str, text: str, said: str) -> None:
    source = altered(published, tmp_path / "other", NAMES)
    (source / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        convert_model(source, tmp_path / "model")


def test_the_source_is_never_written_over(published: Path) -> None:
    with pytest.raises(ConfigError, match="delete"):
        convert_model(published, published)


def test_the_command_says_what_it_did(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    from syncabel.cli.app import main

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["syncabel", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    code, told, warned = call("convert", published, "-o", tmp_path / "model")
    assert code == 0
    assert "13 names in 3 groups → 13 leaves of 8 codes" in told
    assert "2 names are not as the model learnt them: shared_name" in warned
    code, told, _ = call("convert", published, "-o", tmp_path / "model", "--json")
    assert (code, len(json.loads(told)["altered"])) == (0, 2)
    (tmp_path / "lines.txt").write_text(SENTENCE + "\n")
    answers = [json.loads(call("link", "--model", tmp_path / "model", tmp_path / "lines.txt", *how)[1])["predictions"] for how in ((), ("--ranking", "mean"))]
    assert answers[0] == answers[1]
    assert call("convert", tmp_path, "-o", tmp_path / "other")[0] == 2


def test_a_knowledge_base_of_names_keeps_codes_groups_and_order() -> None:
    import polars as pl

    rows = pl.DataFrame({"group": ["A", "B", "A"], "name": ["second", "second", "first"], "code": ["C1", "C1", "C1"]})
    kb = kb_of_names(rows, "fr", About("x"))
    assert isinstance(kb, KnowledgeBase)
    concept = kb["C1"]
    assert ([name.text for name in concept.names], concept.groups, concept.names[0].language) == (["second", "first"], ("A", "B"), "fr")
