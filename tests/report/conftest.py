"""Evaluations made up to look at: folders as `syncabel evaluate -o` writes them, of any size, with everything a report can show."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from syncabel.evaluate.confidence import confidence_json, confidence_report
from syncabel.evaluate.judged import Candidate, JudgedMention
from syncabel.evaluate.ledger import CAUSES
from syncabel.types import to_json

GROUPS = ("Disease", "Finding", "Procedure")
STRATA = {
    "group": GROUPS,
    "concept": ("human", "synthetic_only", "neither"),
    "string": ("seen", "unseen"),
    "length": ("1", "2", "3", ">3"),
    "composite": ("simple", "composite"),  # never composite here: an empty stratum
}
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"quoted\" 'and' \\back",
    "מחלת לב",
    "🫀🧑‍⚕️ heart",
    "e\u0301toile a\u0308",
    "=1+1|pipe",
    "<img src=x onerror=alert(1)>",
    "@DATA@ &amp; @SIZE@",
)


@dataclass
class Made:
    """A folder, and what is in it."""

    folder: Path
    mentions: list[JudgedMention]
    sentences: list[dict[str, Any]] = field(default_factory=list)


def concept(i: int) -> dict[str, Any]:
    return {
        "code": f"C{i}",
        "name": f"disorder number {i}",
        "definition": f"A disorder of kind {i}, made up so that there is something to read about it." if i % 3 else None,
        "groups": [GROUPS[i % 3]],
        "path": ["disease", f"disorders of part {i % 7}", f"disorder number {i}"],
    }


def mention(i: int, chance: random.Random, skill: float, documents: int, surely: bool) -> tuple[JudgedMention, dict[str, Any]]:
    """A mention and its sentence; what it is does not depend on the system, what is answered does."""
    own = random.Random(i)
    gold, text = own.randrange(60), HOSTILE[i] if i < len(HOSTILE) else f"mention {i} of {own.choice(('asthma', 'œdème', 'gout', 'anaemia'))}"
    before, after = ("🫀 ", " יש ") if i % 5 == 0 else ("The patient had ", " since 1999.")
    sentence = {"document_id": f"doc{i % documents}", "mention_id": f"T{i}", "text": before + text + after}
    sentence |= {"start": len(before), "end": len(before) + len(text), "spans": [[len(before), len(before) + len(text)]]}
    common = {"document_id": f"doc{i % documents}", "mention_id": f"T{i}", "text": text, "start": 40 * i, "end": 40 * i + len(text)}
    strata = {kind: own.choice(values) for kind, values in STRATA.items() if kind != "composite"} | {"composite": "simple", "group": GROUPS[gold % 3]}
    sure = chance.random()
    if i % 97 == 96:
        nothing = (Candidate((f"C{gold}",), "", -1.0, 0.3),) if chance.random() < 0.5 else ()
        return JudgedMention(**common, type=None, candidates=nothing, nil=True, strata={"group": "(no type)"}), sentence
    right = chance.random() < skill
    first, cause = (gold, None) if right else ((gold + chance.randrange(1, 59)) % 60, chance.choice(CAUSES))
    candidates = tuple(
        Candidate((f"C{code}",), f"disorder number {code}", -0.5 - k, round(sure / (k + 1), 3), sure if surely and k == 0 else None, score=float(code == gold))
        for k, code in enumerate([first, (first + 1) % 60, (first + 2) % 60])
    )
    judged = JudgedMention(
        **common,
        type=GROUPS[gold % 3],
        gold=((f"C{gold}",),),
        candidates=() if cause == "abstained" else candidates,
        alternatives=candidates if cause == "abstained" else (),
        abstained="confidence 0.112 is under 0.600" if cause == "abstained" else None,
        scores={"set": float(right), "any": float(right)},
        cause=cause,
        strata=strata,
        hierarchy=None if right or cause == "abstained" else chance.choice(("ancestor:1", "ancestor:2", "descendant:1", "unrelated")),
    )
    return judged, sentence


def share(rows: Sequence[JudgedMention]) -> dict[str, Any]:
    n, right = len(rows), sum(item.scores["set"] == 1 for item in rows)
    value = right / n if n else None
    return {"n": n, "correct": right, "recall_at_1": value, "ci95": None if value is None else [max(0.0, value - 0.03), min(1.0, value + 0.03)]}


def ledger(rows: Sequence[JudgedMention]) -> dict[str, Any]:
    counts = Counter(item.cause for item in rows if item.cause)
    return {cause: {"n": counts[cause], "share": counts[cause] / len(rows)} for cause in CAUSES}


def report_of(mentions: Sequence[JudgedMention], surely: bool) -> dict[str, Any]:
    rows = [item for item in mentions if item.scores]
    strata = {kind: {value: [item for item in rows if item.strata.get(kind) == value] for value in values} for kind, values in STRATA.items()}
    sure = [item for item in rows if item.candidates and item.candidates[0].confidence is not None]
    confidence = confidence_report(
        [item.scores["set"] for item in sure], [item.candidates[0].confidence or 0.0 for item in sure], [item.document_id for item in sure]
    )
    whole = share(rows)
    return {
        **whole,
        "protocol": "set",
        "documents": len({item.document_id for item in rows}),
        "metrics": {"set": whole["recall_at_1"], "any": whole["recall_at_1"], "recall_at_5": min(1.0, whole["recall_at_1"] + 0.05)},
        "intervals": {"set": whole["ci95"], "any": whole["ci95"]},
        "ceiling": 0.97,
        "strata": {kind: {value: share(part) for value, part in parts.items()} for kind, parts in strata.items()},
        "ledger": ledger(rows),
        "ledgers": {kind: {value: ledger(part) for value, part in parts.items() if part} for kind, parts in strata.items()},
        "nil": {"n": sum(item.nil for item in mentions), "predicted": 3, "precision": None, "recall": 0.5, "f1": None, "intervals": {"recall": [0.2, 0.8]}},
        "denominators": {"all_gold": whole},
        "missing": 0,
        "confidence": confidence_json(confidence) if surely else None,
        "hierarchy": {"within": {"either": {"1": {"value": 0.9, "ci95": [0.88, 0.92]}}}},
        "rounds": 1000,
        "seed": 42,
    }


def lines(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write(folder: Path, system: str, mentions: Sequence[JudgedMention], sentences: Sequence[Mapping[str, Any]], surely: bool) -> None:
    folder.mkdir(parents=True)
    lines(folder / "mentions.jsonl", map(to_json, mentions))
    lines(folder / "concepts.jsonl", map(concept, range(60)))
    if sentences:
        lines(folder / "sentences.jsonl", sentences)
    content = {
        "format": "syncabel.evaluation/1",
        "system": system,
        "report": report_of(mentions, surely),
        "kb": {"source": "made up", "release": "2026", "digest": "k" * 64},
        "digests": {"kb": "k" * 64, "documents": "d" * 64},
        "command": ["syncabel", "evaluate", "documents.jsonl", "predictions.jsonl"],
        "versions": {"python": "3.11", "syncabel": "0"},
        "recipe": {"steps": 10, "model": "<tiny>"},
        "speed": {"mentions_per_second": 12.5, "peak_memory_mb": 900},
    }
    (folder / "evaluation.json").write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """`make_run(system, mentions=…, skill=…)`: a folder of an evaluation; systems of one size answer the same mentions."""

    def make(
        system: str, *, mentions: int = 300, skill: float = 0.6, documents: int = 40, surely: bool = True, sentences: bool = True, into: Path | None = None
    ) -> Made:
        chance = random.Random(f"{system} {skill}")
        made = [mention(i, chance, skill, documents, surely) for i in range(mentions)]
        folder = into or tmp_path_factory.mktemp("run") / system
        judged, around = [item for item, _ in made], [row for _, row in made] if sentences else []
        write(folder, system, judged, around, surely)
        return Made(folder, judged, around)

    return make


@pytest.fixture(scope="session")
def concepts() -> dict[str, dict[str, Any]]:
    return {row["code"]: row for row in map(concept, range(60))}
