"""A small judging: four documents in which every short cut occurs once, and a real server whose words follow from the question."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data_gen"))  # the server of its tests

from judged_documents import Judging, document, honest, linked
from stand_in import StandIn

from syncabel.corpora import write_jsonl
from syncabel.types import Document, Mention, Span, to_json


@pytest.fixture(scope="session")
def judging(small_kb: Any, tmp_path_factory: pytest.TempPathFactory) -> Judging:
    first = document("d1", "She has MS [stage 2]. He has stenocardia at night.", ("MS", (("A:1",),)), ("stenocardia", (("A:4",),)))
    second = document("d2", "Sclerosis was seen. A cold and angina together.", ("Sclerosis", (("A:1",),)), ("cold and angina", (("A:3", "A:5"),)))
    third = document("d3", "Colds, a glow, and the valve was narrow.", ("Colds", (("A:5",),)), ("glow", ()), ("valve", (("A:2",), ("A:8",))))
    fourth = document(
        "d4", "Palsy, nerves, and more nervous trouble; a scar.", ("Palsy", (("A:100",),)), ("nerves", (("A:7",),)), ("nervous trouble", (("A:7",),))
    )
    fourth = Document("d4", fourth.text, (*fourth.mentions, Mention("m3", (Span(43, 47),), "scar")), split="test")
    documents = [first, second, third, fourth]
    results = [
        linked(first, "m0", "A:1"),
        linked(first, "m1", "A:3"),
        linked(second, "m0", "A:7"),
        linked(second, "m1", "A:3"),
        linked(third, "m0"),
        linked(third, "m1", "NIL"),
        linked(third, "m2", "A:4"),
        linked(fourth, "m0", "A:1"),
        linked(fourth, "m1", "Z:9"),
        linked(fourth, "m3", "A:1"),
    ]
    folder = tmp_path_factory.mktemp("judging")
    write_jsonl(documents, folder / "documents.jsonl")
    (folder / "predictions.jsonl").write_text("".join(json.dumps(to_json(one)) + "\n" for one in results), encoding="utf-8")
    small_kb.save(folder / "kb")
    return Judging(documents, results, small_kb, (folder / "documents.jsonl", folder / "predictions.jsonl", folder / "kb"))


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(honest) as server:
        yield server
