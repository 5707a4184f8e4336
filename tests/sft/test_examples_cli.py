"""`syncabel examples`: what the folder holds is of this run, this knowledge base and this lexicon."""

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from syncabel.cli.examples import examples
from syncabel.cli.training_documents import TrainingDocuments
from syncabel.corpora import write_jsonl
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, UnknownNameError
from syncabel.sft import read_examples
from syncabel.types import Document, Mention, Provenance, Span

app = typer.Typer()
app.command()(examples)


def document(name: str, mention: str, code: str, *, split: Any = "train", kb_digest: str | None = None, kind: str = "Disease") -> Document:
    text = f"There was {mention} in the record of patient {name}, and nothing else of note."
    made = None if kb_digest is None else Provenance(code, "template", kb_digest=kb_digest)
    found = Mention("1", (Span(10, 10 + len(mention)),), mention, kind, ((code,),))
    return Document(name, text, (found,), source="human" if made is None else "synthetic", split=split, provenance=made)


@pytest.fixture
def places(small_kb: Any, small_lexicon: Any, tmp_path: Path) -> Path:
    """A folder with kb/ and lexicon/ that belong together."""
    small_kb.save(tmp_path / "kb")
    small_lexicon.save(tmp_path / "lexicon")
    return tmp_path


def run(places: Path, documents: list[Document], *options: Any) -> Result:
    write_jsonl(documents, places / "documents.jsonl")
    arguments = (places / "kb", places / "documents.jsonl", "--lexicon", places / "lexicon", "-o", places / "out", *options)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def made(places: Path) -> list[str]:
    return sorted(path.name for path in (places / "out").iterdir())


def rejected(places: Path) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (places / "out" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["where"], row["reason"]) for row in rows]


def human(count: int = 20) -> list[Document]:
    return [document(f"h{i}", "angina", "A:3") for i in range(count)]


def test_files_of_an_earlier_run_do_not_outlive_it(places: Path, small_kb: Any) -> None:
    synthetic = [document(f"s{i}", "angina", "A:3", kb_digest=small_kb.digest) for i in range(3)]
    assert run(places, [*human(), *synthetic]).exit_code == 0
    assert made(places) == ["dev.jsonl", "dev_examples.jsonl", "format.json", "human.jsonl", "rejected.jsonl", "synthetic.jsonl", "types.json"]
    assert run(places, human(), "--dev-fraction", 0).exit_code == 0
    assert made(places) == ["format.json", "human.jsonl", "rejected.jsonl", "types.json"]
    assert run(places, synthetic).exit_code == 0
    assert made(places) == ["format.json", "rejected.jsonl", "synthetic.jsonl", "types.json"]


def test_the_folder_says_how_its_prompts_are_written_and_for_which_lexicon(places: Path, small_lexicon: Any) -> None:
    assert run(places, human(), "--language", "fr", "--context-chars", 12, "--prompt-format", "syncabel").exit_code == 0
    said = json.loads((places / "out" / "format.json").read_text(encoding="utf-8"))
    assert said == {"format": "syncabel", "language": "fr", "context_chars": 12, "lexicon_digest": small_lexicon.digest}
    prompts = [example.prompt for example in read_examples(places / "out" / "human.jsonl")]
    assert all(prompt.question == "[angina] est" and prompt.separated for prompt in prompts)
    assert not any("patient" in prompt.source for prompt in prompts)


def test_context_is_dropped_for_the_stated_share_whatever_the_seed(places: Path) -> None:
    for share, bare in ((0, set()), (1, {True})):
        assert run(places, human(), "--seed", 1, "--context-dropout", share, "--dev-fraction", 0).exit_code == 0
        dropped = {"record" not in example.prompt.source for example in read_examples(places / "out" / "human.jsonl")}
        assert dropped == (bare or {False})


def test_a_lexicon_of_another_knowledge_base_is_refused(places: Path, small_kb: Any) -> None:
    small_kb.subset(["A:3", "A:4"]).save(places / "kb")
    done = run(places, human())
    assert isinstance(done.exception, DigestMismatchError)
    assert "syncabel lexicon build" in str(done.exception)
    assert not (places / "out").exists()


def test_sentences_made_for_another_knowledge_base_are_taken_only_with_rebase_and_checked_again(places: Path, small_kb: Any) -> None:
    documents = [
        document("own", "angina", "A:3", kb_digest=small_kb.digest),
        document("holds", "stenocardia", "A:4", kb_digest="0" * 64),
        document("renumbered", "disseminated sclerosis", "A:100", kb_digest="0" * 64),
        document("gone", "angina", "A:99", kb_digest="0" * 64),
        document("another's name now", "angina", "A:4", kb_digest="0" * 64),
    ]
    refused = run(places, documents)
    assert isinstance(refused.exception, DigestMismatchError)
    assert "'holds'" in str(refused.exception)
    assert "--rebase" in str(refused.exception)
    done = run(places, documents, "--rebase")
    assert done.exit_code == 0, done.output
    assert "4 documents, 2 of them do not hold" in done.stderr
    assert [(row.document_id, row.code) for row in read_examples(places / "out" / "synthetic.jsonl")] == [
        ("own", "A:3"),
        ("holds", "A:4"),
        ("renumbered", "A:1"),
    ]
    assert rejected(places) == [("gone", "unknown_code"), ("another's name now", "mention_is_other_concept")]


def test_an_unknown_type_costs_its_mention_and_not_the_run(places: Path) -> None:
    (places / "types.json").write_text('{"DISO": ["Disease"]}', encoding="utf-8")
    documents = [document("a", "angina", "A:3", kind="DISO"), document("b", "angina", "A:3", kind="PHYS")]
    assert run(places, documents, "--types", places / "types.json", "--dev-fraction", 0).exit_code == 0
    assert rejected(places) == [("b#1", "unknown_type")]


def test_types_are_counted_on_alternative_codes_too(places: Path) -> None:
    assert run(places, [document("a", "MS", "A:100", kind="DISO")], "--dev-fraction", 0).exit_code == 0
    assert json.loads((places / "out" / "types.json").read_text(encoding="utf-8")) == {"DISO": ["Disease"]}


def test_a_bad_table_of_types_is_an_error_that_names_it(places: Path) -> None:
    for content, kind in (("{", FormatError), ('{"DISO": "Disease"}', FormatError), ('{"DISO": ["Desease"]}', UnknownNameError)):
        (places / "types.json").write_text(content, encoding="utf-8")
        done = run(places, human(), "--types", places / "types.json")
        assert isinstance(done.exception, kind)
        assert "types.json" in str(done.exception)


def test_a_test_document_is_refused_before_anything_is_written(places: Path) -> None:
    done = run(places, [*human(), replace(human(1)[0], id="t", split="test")])
    assert isinstance(done.exception, ConfigError)
    assert "first: t" in str(done.exception)
    assert not (places / "out").exists()


def test_parquet_is_written_in_place_of_json_lines_and_back(places: Path, small_kb: Any) -> None:
    documents = [*human(), document("s", "angina", "A:3", kb_digest=small_kb.digest)]
    assert run(places, documents).exit_code == 0
    lines = {source: read_examples(places / "out" / f"{source}.jsonl") for source in ("human", "synthetic")}
    assert run(places, documents, "--parquet").exit_code == 0
    assert made(places) == ["dev.jsonl", "dev_examples.parquet", "format.json", "human.parquet", "rejected.jsonl", "synthetic.parquet", "types.json"]
    assert {source: read_examples(places / "out" / f"{source}.parquet") for source in lines} == lines
    assert run(places, human()).exit_code == 0
    assert made(places) == ["dev.jsonl", "dev_examples.jsonl", "format.json", "human.jsonl", "rejected.jsonl", "types.json"]


def test_a_rebased_folder_says_to_which_knowledge_base_and_the_sentences_keep_their_own(places: Path, small_kb: Any) -> None:
    assert run(places, [document("holds", "stenocardia", "A:4", kb_digest="0" * 64)], "--rebase").exit_code == 0
    assert json.loads((places / "out" / "format.json").read_text(encoding="utf-8"))["rebased_to"] == small_kb.digest
    (example,) = read_examples(places / "out" / "synthetic.jsonl")
    assert example.provenance is not None
    assert example.provenance.kb_digest == "0" * 64
    assert run(places, human(), "--rebase").exit_code == 0
    assert "rebased_to" not in json.loads((places / "out" / "format.json").read_text(encoding="utf-8"))


def nil_document(name: str, split: Any = "train") -> Document:
    made = document(name, "xanthoma", "A:3", split=split)
    return replace(made, mentions=(replace(made.mentions[0], answers=()),))


def test_nil_is_taught_with_a_lexicon_that_has_it_and_dev_keeps_its_answers(places: Path, small_kb: Any, tiny_tokenizer: Any) -> None:
    from syncabel.lexicon.build import build_lexicon

    documents = [*human(), nil_document("n"), nil_document("n-dev", "dev"), document("d", "angina", "A:3", split="dev")]
    refused = run(places, documents, "--nil")
    assert isinstance(refused.exception, ConfigError)
    assert "lexicon build --nil" in str(refused.exception)
    build_lexicon(small_kb, tiny_tokenizer, nil="none of these").save(places / "lexicon")
    done = run(places, documents, "--nil", "--nil-hold-out", 1)
    assert done.exit_code == 0, done.output
    assert {row.code for row in read_examples(places / "out" / "human.jsonl")} == {"NIL"}
    assert json.loads((places / "out" / "format.json").read_text(encoding="utf-8"))["nil"] == {"hold_out": 1, "seed": 0, "concepts": ["A:3"]}
    assert "taught as NIL only: 1 concepts" in done.stderr
    dev = [json.loads(line)["mentions"][0]["answers"] for line in (places / "out" / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(dev) == [[], [["A:3"]]]
    assert isinstance(run(places, documents, "--nil-hold-out", 0.5).exception, ConfigError)


def test_dev_becomes_the_examples_that_training_would_have_had_of_it(places: Path, small_kb: Any) -> None:
    documents = [document(f"h{i}", "sclerosis" if i % 2 else "angina", "A:1" if i % 2 else "A:3") for i in range(40)]
    documents += [document(f"s{i}", "angina", "A:3", kb_digest=small_kb.digest) for i in range(3)]
    how = ("--prompt-format", "syncabel", "--target", "sampled", "--type-dropout", 0.5, "--context-dropout", 0.5)
    assert run(places, documents, "--dev-fraction", 0, *how).exit_code == 0
    whole = {example.document_id: example for example in read_examples(places / "out" / "human.jsonl")}
    done = run(places, documents, "--dev-fraction", 0.25, *how)
    assert done.exit_code == 0, done.output
    assert "dev_examples: 10 examples\nhuman: 30 examples\nsynthetic: 3 examples\n" in done.stderr
    kept, learnt = (read_examples(places / "out" / name) for name in ("human.jsonl", "dev_examples.jsonl"))
    dev = [json.loads(line)["id"] for line in (places / "out" / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [example.document_id for example in learnt] == dev
    assert {example.document_id: example for example in (*kept, *learnt)} == whole


def test_documents_of_dev_alone_become_examples_too_and_what_becomes_none_is_rejected(places: Path) -> None:
    dev = [document("d", "angina", "A:3", split="dev"), document("gone", "angina", "A:99", split="dev"), nil_document("n", "dev")]
    done = run(places, dev, "--dev-fraction", 0)
    assert done.exit_code == 0, done.output
    assert made(places) == ["dev.jsonl", "dev_examples.jsonl", "format.json", "rejected.jsonl", "types.json"]
    assert [example.document_id for example in read_examples(places / "out" / "dev_examples.jsonl")] == ["d"]
    assert rejected(places) == [("gone#1", "unknown_code"), ("n#1", "nil")]


def test_synthetic_documents_of_dev_are_for_judging_and_a_refit_does_not_learn_them_as_human(places: Path, small_kb: Any) -> None:
    dev = [document("s", "angina", "A:3", kb_digest=small_kb.digest, split="dev"), document("d", "angina", "A:3", split="dev")]
    done = run(places, [*human(3), *dev])
    assert "dev: 2 documents, 1 of them human" in done.stderr
    assert [example.document_id for example in read_examples(places / "out" / "dev_examples.jsonl")] == ["d"]


def test_concepts_that_only_a_refit_sees_as_nil_are_listed_by_themselves(places: Path, small_kb: Any, tiny_tokenizer: Any) -> None:
    from syncabel.lexicon.build import build_lexicon

    build_lexicon(small_kb, tiny_tokenizer, nil="none of these").save(places / "lexicon")
    assert run(places, [*human(), document("d", "stenocardia", "A:4", split="dev")], "--nil", "--nil-hold-out", 1).exit_code == 0
    said = json.loads((places / "out" / "format.json").read_text(encoding="utf-8"))["nil"]
    assert (said["concepts"], said["refit_concepts"]) == (["A:3"], ["A:4"])
    assert [example.code for example in read_examples(places / "out" / "dev_examples.jsonl")] == ["NIL"]


def test_targets_can_be_sampled(places: Path) -> None:
    documents = [document(f"h{i}", "sclerosis", "A:1") for i in range(40)]
    assert run(places, documents, "--target", "sampled", "--target-temperature", 2, "--dev-fraction", 0).exit_code == 0
    assert {row.completion for row in read_examples(places / "out" / "human.jsonl")} == {"multiple sclerosis", "disseminated sclerosis"}


def test_human_documents_are_held_and_synthetic_ones_are_not(places: Path, small_kb: Any) -> None:
    synthetic = [document(f"unheld-{i}", "angina", "A:3", kb_digest=small_kb.digest) for i in range(300)]
    write_jsonl([*synthetic[:150], *human(), *synthetic[150:]], places / "documents.jsonl")
    del synthetic
    train, dev = TrainingDocuments([places / "documents.jsonl"], "auto", small_kb).split(0.1, 0)
    gc.collect()
    # Its type, not isinstance: that asks every object of the process for its class, and some answer with a warning.
    assert not [thing.id for thing in gc.get_objects() if type(thing) is Document and thing.id.startswith("unheld-")]
    assert (len(train.human), len(dev)) == (18, 2)
    ids = [each.id for each in train]
    assert len(ids) == len(set(ids)) == 318
    assert train.annotations() == {("Disease", ("A:3",)): 318}
    assert [each.id for each in train] == ids  # read again


def test_a_synthetic_document_of_a_dev_split_is_no_training_document(places: Path, small_kb: Any) -> None:
    documents = [document(f"s{i}", "angina", "A:3", kb_digest=small_kb.digest, split="dev" if i < 2 else "train") for i in range(5)]
    write_jsonl([*documents, *human(3)], places / "documents.jsonl")
    train, dev = TrainingDocuments([places / "documents.jsonl"], "auto", small_kb).split(0.5, 0)
    assert [each.id for each in dev] == ["s0", "s1"]
    assert [each.id for each in train] == ["h0", "h1", "h2", "s2", "s3", "s4"]


def test_a_file_that_changes_between_its_two_readings_is_an_error_and_no_smaller_training_set(places: Path, small_kb: Any) -> None:
    documents = [document(f"s{i}", "angina", "A:3", kb_digest=small_kb.digest) for i in range(5)]
    write_jsonl(documents, places / "documents.jsonl")
    train, _ = TrainingDocuments([places / "documents.jsonl"], "auto", small_kb).split(0, 0)
    write_jsonl(documents[:4], places / "documents.jsonl")
    with pytest.raises(ConfigError, match=r"documents\.jsonl: changed while examples were made of it"):
        list(train)
