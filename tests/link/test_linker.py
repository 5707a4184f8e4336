import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncabel.cli.link import marked_line
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, DigestMismatchError, IncompleteFolderError, MissingLexiconError, UnknownNameError
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat, encode_name, encode_prompt, from_sentence
from syncabel.types import Document, LinkedMention, Mention, Query, Span, from_json, to_json


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Any, tiny_llama: Any, small_lexicon: Any, tmp_path_factory: Any) -> Path:
    base = tmp_path_factory.mktemp("linker")
    small_lexicon.save(base / "lexicon")
    facts = Facts("test", "random", types={"SpecificDisease": ("Disease",)})
    return export_model(tiny_llama(len(tiny_tokenizer)), tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), facts)


@pytest.fixture(scope="module")
def linker(folder: Path) -> Linker:
    return Linker.from_pretrained(folder, device="cpu")


def document(text: str, *mentions: str, kind: str | None = "Disease", name: str = "d") -> Document:
    made = []
    for i, mention in enumerate(mentions):
        start = text.index(mention)
        made.append(Mention(str(i), (Span(start, start + len(mention)),), mention, kind))
    return Document(name, text, tuple(made))


def test_the_linker_and_sample_give_the_same_answers(folder: Path, linker: Linker) -> None:
    from syncabel.modeling_syncabel import SyncabelForCausalLM

    model: Any = SyncabelForCausalLM.from_pretrained(folder)
    public = model.eval().sample(["The cold came with [angina]{Disease}."])[0]
    (linked,) = linker.link([document("The cold came with angina.", "angina")])
    assert [p.code for p in linked.predictions] == [a["pred_concept_code"] for a in public]
    assert [p.log_prob for p in linked.predictions] == pytest.approx([a["log_prob"] for a in public], abs=1e-5)


@pytest.mark.parametrize(
    "line",
    [
        "The cold came with [angina]{Disease}.",
        "He left. Then [angina]{Disease} came, e.g. at night. She left.",
        "word " * 200 + "[breast]{Disease} and [ovarian cancer]{Disease|Physiology} " + "word " * 200,
        "an untyped [cold]",
    ],
)
def test_a_line_to_link_and_a_sentence_to_sample_have_one_prompt(linker: Linker, line: str) -> None:
    read = marked_line(line, 1, "here")
    assert isinstance(read, Document)
    for mention in read.mentions:
        groups = tuple(mention.type.split("|")) if mention.type else ()
        if len(read.mentions) == 1:
            assert linker.prompt(Query(read, mention, groups)) == from_sentence(line, linker.fmt)


def test_every_mention_comes_back_in_order_even_where_it_cannot_be_linked(linker: Linker) -> None:
    documents = [
        document("A cold and angina.", "cold", "angina", name="1"),
        document("A cold.", "cold", kind="Plant", name="2"),
        document("A cold.", "cold", kind="SpecificDisease", name="3"),
        document("x" * 500 + " cold " + "y" * 500, "cold", name="4"),
        document("x" * 500, "x" * 500, name="5"),
    ]
    linked = list(linker.link(documents))
    assert [(r.document_id, r.text) for r in linked] == [("1", "cold"), ("1", "angina"), ("2", "cold"), ("3", "cold"), ("4", "cold"), ("5", "x" * 500)]
    assert [bool(r.predictions) for r in linked] == [True, True, False, True, True, False]
    assert "Plant" in (linked[2].error or "")
    # What the context does not hold is narrowed around its mention; a mention that alone is too long cannot be.
    assert [r.windowed for r in linked] == [False, False, False, False, True, False]
    assert "document '5'" in (linked[5].error or "")


def test_soft_and_hard_groups_are_separate_switches(linker: Linker) -> None:
    doc = document("A cold.", "cold", kind="Physiology")
    query = Query(doc, doc.mentions[0], ("Physiology",))
    wide = replace(linker, hard_groups=False, settings=DecodingSettings(num_beams=20))
    assert {p.code for p in linker.rank([query], 5)[0]} == {"A:6"}
    assert len(wide.rank([query], 20)[0]) > 1
    assert "{Physiology}" in linker.prompt(query).source
    assert "{" not in replace(linker, soft_groups=False).prompt(query).source


def test_mean_ranking_orders_by_the_published_score(linker: Linker) -> None:
    doc = document("A cold.", "cold")
    mean = replace(linker, settings=DecodingSettings(num_beams=8, ranking="mean")).rank([Query(doc, doc.mentions[0])], 8)[0]
    assert [p.beam_score for p in mean] == sorted((p.beam_score for p in mean), reverse=True)


def test_mean_ranking_shows_each_concept_by_its_best_name_under_that_score(linker: Linker) -> None:
    import math

    from constrained.search import score_entries

    doc = document("A cold.", "cold")
    query, lexicon = Query(doc, doc.mentions[0]), linker.lexicon
    assert lexicon is not None
    paths = [encode_name(lexicon.name(entry), linker.tokenizer) for entry in range(len(lexicon))]
    log_probs = score_entries(linker.model, encode_prompt(linker.prompt(query), linker.tokenizer), paths)
    best: dict[str, float] = {}
    for entry, (path, log_prob) in enumerate(zip(paths, log_probs, strict=True)):
        code = lexicon.code(entry)
        best[code] = max(best.get(code, 0.0), math.exp(log_prob / len(path)))
    found = replace(linker, settings=DecodingSettings(num_beams=len(lexicon), ranking="mean")).rank([query], len(lexicon))[0]
    assert {p.code: p.beam_score for p in found} == pytest.approx(best, abs=1e-5)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_beams"):
        DecodingSettings(num_beams=0)
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        DecodingSettings(ranking="means")  # type: ignore[arg-type]


def test_a_linker_without_lexicon_refuses_constrained_decoding(linker: Linker) -> None:
    doc = document("A cold.", "cold")
    with pytest.raises(MissingLexiconError):
        replace(linker, lexicon=None).rank([Query(doc, doc.mentions[0])])


@pytest.mark.parametrize("device", ["cdua", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_one_line(folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used: .*; give cpu, or leave it out") as refused:
        Linker.from_pretrained(folder, device=device)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_half_written_model_folder_is_named(folder: Path, missing: str, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / missing).unlink()
    with pytest.raises(IncompleteFolderError, match="export"):
        Linker.from_pretrained(tmp_path / "m", device="cpu")


@pytest.mark.parametrize("damaged", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_truncated_file_of_a_model_folder_is_named(folder: Path, damaged: str, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    whole = (tmp_path / "m" / damaged).read_bytes()
    (tmp_path / "m" / damaged).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IncompleteFolderError, match="safetensors" if "safe" in damaged else damaged):
        Linker.from_pretrained(tmp_path / "m", device="cpu")


def test_a_lexicon_other_than_the_exported_one_is_refused(folder: Path, tmp_path: Path) -> None:
    from syncabel.modeling_syncabel import SyncabelForCausalLM

    shutil.copytree(folder, tmp_path / "m")
    header = tmp_path / "m" / "lexicon" / "lexicon.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "digest": "f" * 64}))
    with pytest.raises(DigestMismatchError, match="lexicon: digest ffffffff…"):
        Linker.from_pretrained(tmp_path / "m", device="cpu")
    model: Any = SyncabelForCausalLM.from_pretrained(tmp_path / "m")
    with pytest.raises(DigestMismatchError, match="lexicon: digest ffffffff…"):
        model.eval().sample(["a [cold]"])


def test_free_decoding_without_a_lexicon_still_knows_the_groups(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m", ignore=shutil.ignore_patterns("lexicon"))
    bare = Linker.from_pretrained(tmp_path / "m", DecodingSettings(constrained=False, num_beams=1, max_new_tokens=4), device="cpu")
    assert bare.lexicon is None
    kinds = ("Disease", "SpecificDisease", "Disease|Physiology", "Plant")
    linked = list(bare.link(document("A cold.", "cold", kind=kind) for kind in kinds))
    assert [bool(result.predictions) for result in linked] == [True, True, True, False]
    assert linked[1].groups == ("Disease",)


def invoke(folder: Path, text: str | bytes, *arguments: str, tmp_path: Path) -> Any:
    from syncabel.cli.app import app

    path = tmp_path / "in.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return CliRunner().invoke(app, ["link", "--model", str(folder), "--device", "cpu", str(path), *arguments])


def test_marked_lines_come_out_as_one_json_object_a_mention(folder: Path, tmp_path: Path) -> None:
    result = invoke(folder, "A [cold]{Disease} and [angina]{Disease}.\n\nUn [resfriado].\n", tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["document_id"], row["text"]) for row in rows] == [("1", "cold"), ("1", "angina"), ("3", "resfriado")]
    assert all(row["predictions"][0]["code"].startswith("A:") for row in rows)
    bare = [{**row, "predictions": [{k: v for k, v in p.items() if k != "code"} for p in row["predictions"]]} for row in rows]
    assert all(isinstance(from_json(LinkedMention, row), LinkedMention) for row in bare)


def test_documents_are_linked_too_and_free_decoding_may_have_no_code(folder: Path, tmp_path: Path) -> None:
    line = json.dumps(to_json(document("A cold came.", "cold")))
    result = invoke(folder, line + "\n", "--free", "--num-beams", "1", tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["predictions"][0]["code"] == "NO_CODE"


def test_a_table_shows_name_and_code(folder: Path, tmp_path: Path) -> None:
    result = invoke(folder, "A [cold]{Physiology}\n", "--format", "table", tmp_path=tmp_path)
    assert "cold (A:6)" in result.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "in.txt.*empty"),
        ("\n \n", "in.txt.*no line"),
        (b"ok [cold]\n[caf\xe9]\n", "in.txt:2.*0xe9.*UTF-8"),
        ('{"id": "1", "text": "x", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 9}], "text": "cold"}]}\n', "in.txt:1.*offset"),
        ("{not json}\n", "in.txt:1"),
    ],
)
def test_bad_input_names_file_and_line(folder: Path, text: str | bytes, message: str, tmp_path: Path) -> None:
    import re

    result = invoke(folder, text, tmp_path=tmp_path)
    assert result.exit_code != 0
    assert re.search(message, str(result.exception))


def test_a_line_that_cannot_be_read_fails_alone_and_in_its_place(folder: Path, tmp_path: Path) -> None:
    result = invoke(folder, "a [cold]\nbad [co[l]d]\n\nan [angina]\n", tmp_path=tmp_path)
    assert result.exit_code == 2
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["document_id"], bool(row["predictions"])) for row in rows] == [("1", True), ("2", False), ("4", True)]
    assert "in.txt:2: stray" in rows[1]["error"]
    assert "bad" not in rows[1]["error"]
    assert "1 of 3" in result.stderr


DEFINED = "A man with multiple sclerosis (MS) came. His MS was mild."


def linked_names(stdout: str) -> list[tuple[str, float]]:
    return [(p["name"], p["log_prob"]) for line in stdout.splitlines() for p in json.loads(line)["predictions"]]


def documents_file(path: Path) -> Path:
    start = DEFINED.rindex("MS")
    doc = Document("d", DEFINED, (Mention("1", (Span(start, start + 2),), "MS", "Disease"),))
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(to_json(doc)).encode() + b"\n")
    return path


def test_a_mention_is_linked_with_the_long_form_its_text_defines(folder: Path, linker: Linker, tmp_path: Path) -> None:
    """Training finds abbreviations when it reads; a file, standard input and marked lines must be read the same way."""
    from syncabel.cli.app import app
    from syncabel.corpora import read_corpus

    path = documents_file(tmp_path / "documents.jsonl")
    (doc,) = read_corpus(path).documents
    assert "MS = multiple sclerosis" in linker.prompt(Query(doc, doc.mentions[0], ("Disease",))).source
    (known,) = linker.link([doc])
    (unknown,) = linker.link([replace(doc, abbreviations=())])
    assert known.predictions != unknown.predictions
    expected = [name for p in known.predictions for name in (p.name, pytest.approx(p.log_prob, abs=1e-5))]
    command = ["link", "--model", str(folder), "--device", "cpu"]
    marked = DEFINED.replace("His MS", "His [MS]{Disease}").encode()
    for given in (CliRunner().invoke(app, [*command, str(path)]), *(CliRunner().invoke(app, command, input=text) for text in (path.read_bytes(), marked))):
        assert given.exit_code == 0, given.output
        assert [part for pair in linked_names(given.stdout) for part in pair] == expected


def test_compressed_files_and_pubtator_are_linked_as_they_are(folder: Path, tmp_path: Path) -> None:
    from syncabel.cli.app import app

    plain = documents_file(tmp_path / "documents.jsonl")
    (tmp_path / "documents.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "corpus.txt").write_text("7|t|A cold\n7|a|It went.\n7\t2\t6\tcold\tSpecificDisease\tA:5\n")
    runs = [CliRunner().invoke(app, ["link", "--model", str(folder), "--device", "cpu", str(tmp_path / name)]) for name in ("documents.jsonl.gz", "corpus.txt")]
    assert [run.exit_code for run in runs] == [0, 0]
    assert [(row["document_id"], row["text"]) for row in (json.loads(run.stdout) for run in runs)] == [("d", "MS"), ("7", "cold")]


def test_a_document_that_comes_twice_is_linked_once_and_named(folder: Path, tmp_path: Path) -> None:
    line = json.dumps(to_json(document("A cold came.", "cold")))
    result = invoke(folder, f"{line}\n{line}\n", tmp_path=tmp_path)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 1
    assert "in.txt:2: duplicate" in result.stderr


def test_a_table_shows_brackets_as_they_are(folder: Path, tmp_path: Path) -> None:
    doc = document("A benz[a]anthracene, a [/a] and a :x: came.", "benz[a]anthracene", "[/a]", ":x:")
    result = invoke(folder, json.dumps(to_json(doc)), "--format", "table", "--num-beams", "1", tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    assert all(mention.text in result.stdout for mention in doc.mentions)


def test_an_unknown_group_fails_its_own_line_and_loses_no_other(folder: Path, tmp_path: Path) -> None:
    result = invoke(folder, "a [cold]{Plants}\na [cold]{Disease}\n", tmp_path=tmp_path)
    assert result.exit_code == 2
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert "Plants" in rows[0]["error"]
    assert rows[1]["predictions"]


def test_standard_input_is_read_where_no_file_is_given(folder: Path) -> None:
    from syncabel.cli.app import app

    result = CliRunner().invoke(app, ["link", "--model", str(folder), "--device", "cpu"], input=b"a [cold]{Physiology}\n")
    assert json.loads(result.stdout)["predictions"][0]["code"] == "A:6"
