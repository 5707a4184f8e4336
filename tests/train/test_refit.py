"""The whole road to a refit: documents, `syncabel examples`, a training that dev judges, one more on human and dev together."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncabel.cli.app import app
from syncabel.corpora import write_jsonl
from syncabel.sft import read_examples
from syncabel.train.record import read_run
from syncabel.train.repeats import train_all
from syncabel.types import Document, Mention, Provenance, Span

SPLITS: tuple[tuple[Any, Any, int], ...] = (("human", "train", 24), ("human", "dev", 12), ("synthetic", "train", 20))


def documents(kb: Any) -> Iterator[Document]:
    """Documents of each source and split; each says one name of one concept."""
    concepts = list(kb.concepts())
    for source, split, count in SPLITS:
        for i in range(count):
            concept = concepts[i % len(concepts)]
            name = concept.names[i % len(concept.names)].text
            mention = Mention("1", (Span(8, 8 + len(name)),), name, concept.groups[0], ((concept.code,),))
            made: Any = Provenance(concept.code, "template", kb_digest=kb.digest) if source == "synthetic" else None
            yield Document(f"{source}-{split}-{i}", f"She has {name} since 1997.", (mention,), source=source, split=split, provenance=made)


@pytest.mark.slow
def test_what_examples_makes_of_dev_is_what_a_refit_learns_beside_the_human_ones(
    flags: Callable[..., list[str]], prepared: Callable[..., Path], small_kb: Any, tmp_path: Path
) -> None:
    small_kb.save(tmp_path / "kb")
    write_jsonl(list(documents(small_kb)), tmp_path / "documents.jsonl")
    made = tmp_path / "examples"
    command = ["examples", tmp_path / "kb", tmp_path / "documents.jsonl", "--lexicon", prepared() / "lexicon", "-o", made]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code == 0, done.output
    files = {f"{name}_examples": made / f"{name}.jsonl" for name in ("human", "synthetic")}
    files |= {"refit_examples": made / "dev_examples.jsonl", "dev_documents": made / "dev.jsonl", "types": made / "types.json"}
    once = [f"--{kind}_{what}" for kind in ("eval", "save") for what in ("strategy", "steps")]  # dev is asked once, at the end: it chooses the last step
    judged = [word for pair in zip(once, ("steps", "12") * 2, strict=True) for word in pair]
    (result,) = train_all(flags(*(word for name, path in files.items() for word in (f"--{name}", str(path))), *judged, "--mix", "1:1"))

    first, refit = (read_run(tmp_path / "run" / place) or {} for place in ("", "refit"))
    rows = {name: {row["name"]: row for row in run["sources"]} for name, run in (("first", first), ("refit", refit))}
    assert {name: {source: row["examples"] for source, row in found.items()} for name, found in rows.items()} == {
        "first": {"human": 24, "synthetic": 20},
        "refit": {"human": 24 + 12, "synthetic": 20},
    }
    assert [found["human"]["repeats"] for found in rows.values()] == [2, 2], "as many passes, over dev too"
    assert (first["result"]["steps"], refit["result"]["steps"]) == (result.chosen_step, result.chosen_step * 36 // 24) == (12, 18)
    learnt = read_examples(tmp_path / "run" / "refit" / "human.jsonl")
    assert learnt == [*read_examples(made / "human.jsonl"), *read_examples(made / "dev_examples.jsonl")]
    assert {example.document_id for example in learnt[24:]} == {json.loads(line)["id"] for line in (made / "dev.jsonl").read_text().splitlines()}
