import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, IncompleteFolderError, MissingLexiconError, UnknownNameError
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat
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

    model = SyncabelForCausalLM.from_pretrained(folder).eval()
    public = model.sample(["The cold came with [angina]{Disease}."])[0]
    (linked,) = linker.link([document("The cold came with angina.", "angina")])
    assert [p.code for p in linked.predictions] == [a["pred_concept_code"] for a in public]
    assert [p.log_prob for p in linked.predictions] == pytest.approx([a["log_prob"] for a in public], abs=1e-5)


def test_every_mention_comes_back_in_order_even_where_it_cannot_be_linked(linker: Linker) -> None:
    documents = [
        document("A cold and angina.", "cold", "angina", name="1"),
        document("A cold.", "cold", kind="Plant", name="2"),
        document("A cold.", "cold", kind="SpecificDisease", name="3"),
        document("x" * 500 + " cold " + "y" * 500, "cold", name="4"),
    ]
    linked = list(linker.link(documents))
    assert [(r.document_id, r.text) for r in linked] == [("1", "cold"), ("1", "angina"), ("2", "cold"), ("3", "cold"), ("4", "cold")]
    assert [bool(r.predictions) for r in linked] == [True, True, False, True, False]
    assert "Plant" in (linked[2].error or "")
    assert "document '4'" in (linked[4].error or "")


def test_soft_and_hard_groups_are_separate_switches(linker: Linker) -> None:
    from dataclasses import replace

    doc = document("A cold.", "cold", kind="Physiology")
    query = Query(doc, doc.mentions[0], ("Physiology",))
    wide = replace(linker, hard_groups=False, settings=DecodingSettings(num_beams=20))
    assert {p.code for p in linker.rank([query], 5)[0]} == {"A:6"}
    assert len(wide.rank([query], 20)[0]) > 1
    assert "{Physiology}" in linker.prompt(query).source
    assert "{" not in replace(linker, soft_groups=False).prompt(query).source


def test_mean_ranking_orders_by_the_published_score(linker: Linker) -> None:
    from dataclasses import replace

    doc = document("A cold.", "cold")
    mean = replace(linker, settings=DecodingSettings(num_beams=8, ranking="mean")).rank([Query(doc, doc.mentions[0])], 8)[0]
    assert [p.beam_score for p in mean] == sorted((p.beam_score for p in mean), reverse=True)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_beams"):
        DecodingSettings(num_beams=0)
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        DecodingSettings(ranking="means")  # type: ignore[arg-type]


def test_a_linker_without_lexicon_refuses_constrained_decoding(linker: Linker) -> None:
    from dataclasses import replace

    doc = document("A cold.", "cold")
    with pytest.raises(MissingLexiconError):
        replace(linker, lexicon=None).rank([Query(doc, doc.mentions[0])])


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_half_written_model_folder_is_named(folder: Path, missing: str, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / missing).unlink()
    with pytest.raises(IncompleteFolderError, match="export"):
        Linker.from_pretrained(tmp_path / "m", device="cpu")


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
        ("ok [cold]\nbad [co[l]d]\n", "in.txt:2.*stray"),
        ("", "in.txt.*no line"),
        (b"ok [cold]\n[caf\xe9]\n", "in.txt:2.*0xe9.*UTF-8"),
        ('{"id": "1", "text": "x", "mentions": [{"id": "1", "spans": [{"start": 0, "end": 9}], "text": "cold"}]}\n', "in.txt:1.*0–9"),
        ("{not json}\n", "in.txt:1"),
    ],
)
def test_bad_input_names_file_and_line(folder: Path, text: str | bytes, message: str, tmp_path: Path) -> None:
    import re

    result = invoke(folder, text, tmp_path=tmp_path)
    assert result.exit_code != 0
    assert re.search(message, str(result.exception))


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
