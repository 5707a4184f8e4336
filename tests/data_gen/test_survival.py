"""A generation over a real server, in a process of its own that is killed, starved and left alone: nothing doubled, nothing lost.

SYNCABEL_KILLS says how often the run is killed at a random moment: 5 in the test suite, 50 in `make soak`.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from stand_in import MODEL, Answer, StandIn

from syncabel.corpora import read_jsonl
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

KILLS = int(os.environ.get("SYNCABEL_KILLS", "5"))
CONCEPTS, WANTED = 60, 3
_NAME = re.compile(r'\{"concept": \{"name": "([^"]*)"')
ADJECTIVES = ("acute", "chronic", "juvenile", "familial", "septic", "primary", "renal", "ocular", "dermal", "hepatic")
NOUNS = ("stenosis", "fibrosis", "sclerosis", "neuropathy", "dystrophy", "carcinoma")
WORDS = tuple(NOUNS + ADJECTIVES + ("ward", "fever", "biopsy", "cough", "scan", "dose", "relapse", "pain", "clinic", "cohort", "trial", "onset", "rash"))

RUN = textwrap.dedent("""
    import resource, sys
    from data_gen import Surroundings, run
    from data_gen.chat.engine import Sampling
    from data_gen.chat.openai import OpenAIEngine
    from data_gen.chat.writer import ChatWriter
    from data_gen.gates import GateSettings, Judge, Scorer
    from data_gen.prompts import PromptSettings
    from syncabel.errors import SyncabelError
    from syncabel.kb import KnowledgeBase
    url, model, place, out, limit, patience = sys.argv[1:]
    kb = KnowledgeBase.load(place)
    settings = {"structured": "none", "concurrency": 4, "retries": 3, "pause_s": 0.01, "patience_s": float(patience)}
    engine = OpenAIEngine(url, model, Sampling(), **settings)
    writer = ChatWriter(engine, PromptSettings(per_request=2))
    engine.version
    around, gates = Surroundings(kb, relatives=True), Judge.of(kb, GateSettings(cap=3))
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    print("begun", flush=True)
    try:
        done = run(kb, writer, out, per_concept=3, seed=0, surroundings=around, gates=gates, scorer=Scorer(kb), rounds=2)
    except (SyncabelError, OSError) as error:
        sys.exit(str(error))
    sys.exit(3 if done.missing else 0)
""")


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    names = [f"{adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS][:CONCEPTS]
    concepts = [Concept(f"T:{i:03}", (Name(name, preferred=True),), ("Disease",)) for i, name in enumerate(names)]
    folder = tmp_path_factory.mktemp("kb") / "kb"
    KnowledgeBase.build(concepts, About(source="test", release="1", licence="CC0", redistributable=True)).save(folder)
    return folder


def name_in(asked):
    """The name asked about; None for a greeting or a look whether the server is there."""
    return _NAME.search(asked.prompt) if asked.body.get("messages") else None


def answer(asked) -> Answer:
    """Sentences that follow from the prompt alone; every seventh answer is no JSON, every fifth is cut off."""
    found = name_in(asked)
    if found is None:
        return Answer()
    drawn = random.Random(hashlib.sha256(asked.prompt.encode()).digest())
    rows = [
        {"mention": found[1], "sentence": f"The {' '.join(drawn.sample(WORDS, 6))} of [{found[1]}] needs {' and '.join(drawn.sample(WORDS, 4))}."} for _ in "12"
    ]
    text = json.dumps({"sentences": rows})
    if drawn.random() < 1 / 7:
        return Answer("I would rather not.", delay_s=0.004)
    if drawn.random() < 1 / 5:
        return Answer(text[: -len(text) // 3], finish="length", delay_s=0.004)
    return Answer(text, delay_s=0.004)


@pytest.fixture
def server():
    with StandIn(answer) as server:
        yield server


def start(server, kb, out, limit=0, patience=20.0):
    """The run, once it has begun."""
    command = [sys.executable, "-c", RUN, server.url, MODEL, kb, out, str(limit), str(patience)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.stdout.readline() != "begun\n":
        pytest.fail(process.communicate(timeout=60)[1])
    return process


def finish(process):
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "report.json"}


@pytest.fixture(scope="module")
def whole(kb, tmp_path_factory):
    """An uninterrupted run, and how long it took."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with StandIn(answer) as server:
        process, begun = start(server, kb, out), time.monotonic()
        assert finish(process) == (0, "")
        return files(out), time.monotonic() - begun


def test_an_uninterrupted_run_adds_up_and_asks_again_for_what_the_gates_refuse(whole):
    content, _ = whole
    manifest = json.loads(content["manifest.json"])
    assert manifest["generated"] == manifest["kept"] + manifest["rejected"] == sum(manifest["reasons"].values()) + manifest["kept"]
    assert manifest["requested"] > CONCEPTS * WANTED
    assert manifest["kept"] == CONCEPTS * WANTED - manifest["short"]
    assert {"structure", "truncated"} <= set(manifest["reasons"])
    assert set(content) == {"generation.jsonl", "documents.jsonl", "rejected.jsonl", "scores.jsonl", "manifest.json"}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_byte_for_byte_as_an_uninterrupted_one(kb, whole, server, tmp_path):
    content, seconds = whole
    rng, out = random.Random(KILLS), tmp_path / "out"
    killed = 0
    while killed < KILLS:
        process = start(server, kb, out)
        time.sleep(rng.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        returned, said = finish(process)
        assert returned in (-signal.SIGKILL, 0), said
        killed += 1
        if returned == 0 or rng.random() < 0.25:  # a run that ended before the signal came starts afresh, and so does one in four
            assert returned != 0 or files(out) == content
            shutil.rmtree(out, ignore_errors=True)
    assert finish(start(server, kb, out)) == (0, "")
    assert files(out) == content
    assert not (out / "shards").exists()


def test_a_full_disk_is_one_line_and_the_next_run_goes_on_where_it_stopped(kb, whole, server, tmp_path):
    content, _ = whole
    returned, said = finish(start(server, kb, tmp_path / "out", limit=20_000))
    assert returned == 1
    assert re.fullmatch(r"\[Errno \d+\] [^\n]*: '[^\n]*/shards/0-000000.jsonl'\n", said), said
    asked = len(server.asked)
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "out" / "shards").glob("*.jsonl")) <= 20_000
    assert finish(start(server, kb, tmp_path / "out")) == (0, "")
    assert files(tmp_path / "out") == content
    prompts = Counter(one.prompt for one in server.asked if name_in(one))
    # Only what was under way when the disk was full is asked twice.
    assert sum(prompts.values()) - len(prompts) <= 8
    assert asked < len(server.asked)


def test_a_server_that_is_gone_for_a_while_is_waited_for(kb, whole, tmp_path):
    content, _ = whole
    with StandIn(answer) as server:
        process = start(server, kb, tmp_path / "out")
        while len(server.asked) < 20:
            time.sleep(0.005)
        server.go()
        threading.Timer(1.0, server.come).start()
        assert finish(process) == (0, "")
    assert files(tmp_path / "out") == content


def test_one_poisoned_concept_is_missing_and_nothing_else_until_it_heals(kb, whole, tmp_path):
    content, _ = whole
    poisoned = threading.Event()
    poisoned.set()
    bad = "chronic dystrophy"
    with StandIn(
        lambda asked: (
            Answer(status=500, payload={"error": {"message": bad}}) if poisoned.is_set() and name_in(asked) and name_in(asked)[1] == bad else answer(asked)
        )
    ) as server:
        returned, said = finish(start(server, kb, tmp_path / "out"))
        assert (returned, said) == (3, "")
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        missing = [json.loads(line) for line in (tmp_path / "out" / "missing.jsonl").read_text().splitlines()]
        assert report["missing"] == 4  # two requests of two sentences
        assert len({row["code"] for row in missing}) == 1
        assert not any(bad in row["error"] for row in missing)  # the server's words may repeat the prompt
        codes = {document.provenance.concept for document in read_jsonl(tmp_path / "out" / "documents.jsonl")}
        assert len(codes) == CONCEPTS - 1
        poisoned.clear()
        before = len(server.asked)
        assert finish(start(server, kb, tmp_path / "out")) == (0, "")
        assert len(server.asked) - before < 8
    assert files(tmp_path / "out").keys() == content.keys()
    kept = {document.id for document in read_jsonl(tmp_path / "out" / "documents.jsonl")}
    assert kept == {json.loads(line)["id"] for line in content["documents.jsonl"].splitlines()}
