"""`syncabel generate` as people use it: a real server, prompts, gates, scores, the page, the blind re-link, reading answers again."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in import MODEL, Answer, StandIn

from syncabel.config_files import shipped_configs
from syncabel.corpora import read_jsonl
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Document, Mention, Name, Span, to_json

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; sys.argv[0] = 'syncabel'; from syncabel.cli.app import main; main()"
_NAME = re.compile(r'\{"concept": \{"name": "([^"]*)"')
_LETTERED = re.compile(r'^([A-Z]): \{"name": "([^"]*)"', re.MULTILINE)
WORDS = ("ward", "fever", "biopsy", "cough", "scan", "dose", "relapse", "pain", "clinic", "cohort", "swelling", "trial", "relief", "onset", "review")
NAMES = ("mitral stenosis", "aortic stenosis", "renal fibrosis", "hepatic fibrosis", "ocular neuropathy", "facial neuropathy")


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    concepts = [Concept(f"T:{i}", (Name(name, preferred=True),), ("Disease",), definition=f"A disease, {name}.") for i, name in enumerate(NAMES)]
    folder = tmp_path_factory.mktemp("kb") / "kb"
    KnowledgeBase.build(concepts, About(source="test", release="1", licence="CC0", redistributable=True)).save(folder)
    return folder


def writes(asked) -> Answer:
    """Three sentences; about one concept e-mail addresses, about another nothing but the same sentence."""
    found = _NAME.search(asked.prompt)
    if found is None:
        return Answer()
    name, drawn = found[1], random.Random(hashlib.sha256(asked.prompt.encode()).digest())
    if name == "facial neuropathy":
        rows = [{"mention": name, "sentence": f"Nothing new about [{name}] was said on the ward today."} for _ in range(3)]
    else:
        tail = " Write to jane.roe@example.org." if name == "ocular neuropathy" else ""
        rows = [
            {"mention": name, "sentence": f"The {' '.join(drawn.sample(WORDS, 6))} of [{name}] needs {' '.join(drawn.sample(WORDS, 4))}.{tail}"} for _ in "123"
        ]
    return Answer(json.dumps({"sentences": rows}))


def says(asked) -> Answer:
    """As `writes`; asked what a sentence means, it takes every fibrosis for the kidney's."""
    found = _LETTERED.findall(asked.prompt)
    if not found:
        return writes(asked)
    sentence = asked.prompt.split("\n")[0]
    meant = next(name for name in NAMES if name in sentence)
    meant = "renal fibrosis" if "fibrosis" in meant else meant
    return Answer(next(letter for letter, name in found if name == meant))


def command(*arguments, env=None):
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **(env or {})}
    return subprocess.run([sys.executable, "-c", COMMAND, *map(str, arguments)], env=settings, capture_output=True, text=True, timeout=120)


def generate(kb, out, server, *more, **settings):
    fixed = ("generate", kb, "-o", out, "--writer", "openai", "--model", MODEL, "--base-url", server.url, "--structured", "none", "--per-concept", 3)
    return command(*fixed, *more, **settings)


@pytest.fixture(scope="module")
def made(kb, tmp_path_factory):
    """A finished folder, what was printed, and what the server was asked."""
    out = tmp_path_factory.mktemp("made") / "out"
    with StandIn(writes) as server:
        done = generate(kb, out, server, "--json")
        assert done.returncode == 0, done.stderr
        return out, json.loads(done.stdout), list(server.asked)


def test_kept_and_rejected_sum_to_generated_with_reasons(made):
    out, counts, _ = made
    assert counts["kept"] + counts["rejected"] == counts["generated"]
    assert (counts["kept"], counts["missing"], counts["short"]) == (4 * 3 + 1, 0, 2)
    assert set(counts["reasons"]) == {"near_duplicate", "personal_data"}
    report = json.loads((out / "report.json").read_text())
    assert {"requested", "generated", "kept", "rejected", "missing", "writer", "seconds"} <= set(report)
    assert report["rejected"] == counts["reasons"]


def test_concepts_short_of_sentences_are_asked_for_again_and_the_others_are_not(made):
    _, _, asked = made
    names = [_NAME.search(one.prompt)[1] for one in asked if one.body.get("messages") and _NAME.search(one.prompt)]
    assert {name: names.count(name) for name in NAMES} == dict.fromkeys(NAMES[:4], 1) | dict.fromkeys(NAMES[4:], 3)


def test_every_row_says_model_engine_sampling_prompt_and_knowledge_base(made, kb):
    out, _, _ = made
    rows = [json.loads(line) for line in (out / "generation.jsonl").read_text().splitlines()]
    digest = KnowledgeBase.load(kb).digest
    for row in rows:
        assert (row["model"], row["temperature"], row["top_p"], row["kb_digest"]) == (MODEL, 0.7, 0.95, digest)
        assert row["engine"].endswith("; structured none")
        assert len(row["prompt_digest"]) == 64
    for document in read_jsonl(out / "documents.jsonl"):
        assert (document.provenance.model, document.provenance.temperature) == (MODEL, 0.7)
        assert document.provenance.prompt_digest in {row["prompt_digest"] for row in rows}


def test_scores_are_recorded_for_every_mention_and_the_page_shows_the_reasons(made):
    out, counts, _ = made
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == counts["kept"]
    assert {row["tfidf_rank"] for row in scores} == {1}
    page = (out / "report.html").read_text()
    assert "near_duplicate" in page
    assert "jane.roe" not in page


def test_a_finished_folder_asks_nobody(made, kb):
    out, counts, _ = made
    with StandIn(writes) as server:
        done = generate(kb, out, server, "--json")
        assert (done.returncode, json.loads(done.stdout), server.asked) == (0, counts, [])


def test_stored_answers_are_judged_again_with_other_gates_and_no_server(made, kb, tmp_path):
    out, counts, _ = made
    fixed = (
        "generate",
        kb,
        "-o",
        out,
        "--writer",
        "openai",
        "--model",
        MODEL,
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--per-concept",
        3,
        "--reparse",
        "--json",
    )
    before = (out / "documents.jsonl").read_bytes()
    without = command(*fixed, "--without-gate", "personal_data")
    assert without.returncode == 0, without.stderr
    assert json.loads(without.stdout)["kept"] == counts["kept"] + 3
    again = command(*fixed)
    assert json.loads(again.stdout)["kept"] == counts["kept"]
    assert (out / "documents.jsonl").read_bytes() == before


def test_the_blind_re_link_keeps_only_what_the_model_links_back(kb, tmp_path):
    with StandIn(says) as server:
        done = generate(kb, tmp_path / "out", server, "--relink", "--rounds", 0, "--json")
        assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["reasons"]["relink"] == 3
    documents = read_jsonl(tmp_path / "out" / "documents.jsonl").documents
    assert {d.mentions[0].text for d in documents} == {"mitral stenosis", "aortic stenosis", "renal fibrosis", "facial neuropathy"}
    assert len(documents) == counts["kept"] == len((tmp_path / "out" / "scores.jsonl").read_text().splitlines())
    stored = [json.loads(line) for line in (tmp_path / "out" / "relink.jsonl").read_text().splitlines()]
    assert len(stored) == counts["kept"] + 3
    fixed = ("generate", kb, "-o", tmp_path / "out", "--writer", "openai", "--model", MODEL, "--per-concept", 3, "--rounds", 0, "--reparse", "--json")
    assert json.loads(command(*fixed).stdout)["kept"] == counts["kept"] + 3
    assert json.loads(command(*fixed, "--relink").stdout)["kept"] == counts["kept"]
    assert len((tmp_path / "out" / "relink.jsonl").read_text().splitlines()) == len(stored)


def test_what_is_missing_is_the_exit_code_and_the_same_command_asks_for_it(kb, tmp_path):
    bad = Answer(status=500, payload={"error": {"message": "no"}})
    with StandIn(lambda asked: bad if "aortic" in asked.prompt.split('"group"')[0] else writes(asked)) as server:
        done = generate(kb, tmp_path / "out", server, "--retries", 0, "--confusable", 0)
        assert done.returncode == 3
        assert "3 sentences are missing" in done.stdout
    with StandIn(writes) as server:
        again = command("generate", kb, "-o", tmp_path / "out", "--writer", "openai", "--model", MODEL, "--base-url", server.url, "--structured", "none",
                        "--per-concept", 3, "--confusable", 0)  # fmt: skip
        assert again.returncode == 0, again.stderr


CANARY = "zanzibar-canary-7731"


@pytest.fixture
def private(tmp_path):
    text = f"She was seen for mitral stenosis with the {CANARY} sign on the fourth day."
    start = text.index("mitral")
    mention = Mention("m0", (Span(start, start + 15),), "mitral stenosis", "Disease", (("T:0",),))
    path = tmp_path / "private.jsonl"
    path.write_text(json.dumps(to_json(Document("d1", text, (mention,), split="train"))) + "\n")
    return path


def test_style_examples_of_a_private_corpus_stay_on_this_machine(kb, private, tmp_path):
    elsewhere = ("generate", kb, "-o", tmp_path / "out", "--writer", "openai", "--model", MODEL, "--base-url", "https://llm.example.org/v1", "--train", private)
    refused = command(*elsewhere)
    assert refused.returncode == 2
    assert "not marked shareable" in refused.stderr
    assert CANARY not in refused.stderr + refused.stdout
    shown = command(*elsewhere, "--dry-run")
    assert shown.returncode == 2
    assert CANARY not in shown.stderr + shown.stdout
    assert CANARY in command(*elsewhere, "--dry-run", "--shareable").stdout
    with StandIn(writes) as server:
        done = generate(kb, tmp_path / "out", server, "--train", private)
        assert done.returncode == 0, done.stderr
        assert any(CANARY in one.prompt for one in server.asked if one.body.get("messages"))
    for path in (tmp_path / "out").iterdir():
        assert CANARY not in path.read_text(), path


@pytest.mark.parametrize("split", ["dev", "test"])
def test_documents_of_another_split_give_no_style_examples(split, kb, private, tmp_path):
    private.write_text(private.read_text().replace('"split": "train"', f'"split": "{split}"'))
    with StandIn(writes) as server:
        done = generate(kb, tmp_path / "out", server, "--train", private)
    assert done.returncode == 2
    assert f"is of split '{split}'" in done.stderr
    assert CANARY not in done.stderr


def test_stored_answers_are_not_read_again_without_the_style_examples_they_must_not_copy(kb, private, tmp_path):
    with StandIn(writes) as server:
        assert generate(kb, tmp_path / "out", server, "--train", private).returncode == 0
    again = command("generate", kb, "-o", tmp_path / "out", "--writer", "openai", "--model", MODEL, "--per-concept", 3, "--reparse")
    assert again.returncode == 2
    assert "context_digest" in again.stderr
    assert json.loads((tmp_path / "out" / "report.json").read_text())["style_examples"] == "private"


def test_a_sentence_of_the_held_out_documents_does_not_come_back(kb, tmp_path):
    sentence = "Nothing new about facial neuropathy was said on the ward today."
    (tmp_path / "test.jsonl").write_text(json.dumps(to_json(Document("t1", f"Note.\n{sentence}", (), split="test"))) + "\n")
    with StandIn(writes) as server:
        done = generate(kb, tmp_path / "out", server, "--held-out", tmp_path / "test.jsonl", "--rounds", 0, "--json")
        assert json.loads(done.stdout)["reasons"]["held_out_overlap"] == 3


def goes_on(asked) -> Answer:
    """As a small model answers: a sentence with the term of the last turn, then chatter."""
    term = asked.prompt.removeprefix("Term: ")
    tail = " ".join(random.Random(hashlib.sha256(asked.prompt.encode()).digest()).sample(WORDS, 6))
    return Answer(f"We saw {term} after {tail}.\n\nI hope this helps.")


def test_a_small_model_is_shown_turns_and_answers_with_sentences(kb, private, tmp_path):
    with StandIn(goes_on) as server:
        turns = ("--structured", "auto", "--prompt", "style=turns", "--prompt", "per_request=1", "--per-concept", 1, "--rounds", 0)
        done = generate(kb, tmp_path / "out", server, *turns, "--train", private, "--json")
        assert done.returncode == 0, done.stderr
        chats = [one.body for one in server.asked if one.body.get("messages") and one.prompt.startswith("Term: ")]
    assert json.loads(done.stdout)["kept"] == len(NAMES)
    assert {document.mentions[0].text for document in read_jsonl(tmp_path / "out" / "documents.jsonl")} == set(NAMES)
    rows = [json.loads(line) for line in (tmp_path / "out" / "generation.jsonl").read_text().splitlines()]
    assert all(row["engine"].endswith("; structured none") for row in rows)
    assert len(chats) == len(NAMES)
    for body in chats:
        assert "response_format" not in body
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["system", *("user", "assistant") * ((len(roles) - 2) // 2), "user"]
        assert len(roles) > 2


def test_answers_of_a_model_in_this_process_are_read_again_by_the_folder_they_were_made_with(kb, tiny_chat_folder, tmp_path):
    model = shutil.copytree(tiny_chat_folder, tmp_path / "models" / "tiny-chat")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))  # room for the sentences shown
    given = ("generate", kb, "-o", tmp_path / "out", "--writer", "transformers", "--model", model, "--per-concept", 1, "--rounds", 0)
    turns = ("--prompt", "style=turns", "--prompt", "per_request=1", "--max-tokens", 4, "--json")
    first, again = command(*given, *turns), command(*given, *turns, "--reparse")
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert json.loads(first.stdout) == json.loads(again.stdout)
    # Read as JSON, all of it would be refused.
    other = command(*given, *turns[4:], "--reparse")
    assert other.returncode == 2
    assert "style 'turns' → ''" in other.stderr


def test_a_copy_of_an_example_that_a_small_model_was_shown_is_refused(kb, tmp_path):
    def copies(asked) -> Answer:
        return Answer(f"Mutations in the fibrillin gene were found in 12 of 15 families with {asked.prompt.removeprefix('Term: ')}.")

    with StandIn(copies) as server:
        turns = ("--prompt", "style=turns", "--prompt", "per_request=1", "--per-concept", 1, "--rounds", 0)
        done = generate(kb, tmp_path / "out", server, *turns, "--json")
    assert json.loads(done.stdout)["reasons"] == {"shot_copy": len(NAMES)}, done.stderr


def test_a_dry_run_shows_three_prompts_and_the_cost_and_writes_nothing(tmp_path):
    done = command("generate", "doid", "-o", tmp_path / "out", "--config", "llama33-70b", "--concepts", 50, "--tokens-per-s", 1000, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("· user") == done.stdout.count("· system") == 3
    assert re.search(r"50 requests, about [\d,]+ tokens read and 9,000 written", done.stdout)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", shipped_configs("generate"))
def test_a_shipped_config_opens_with_its_command_and_plans(name, kb, tmp_path):
    path = shipped_configs("generate")[name]
    assert path.read_text().splitlines()[0].startswith("# syncabel generate ")
    assert f"--config {name}" in path.read_text().splitlines()[0]
    done = command("generate", kb, "-o", tmp_path / "out", "--config", name, "--dry-run", "--json")
    assert json.loads(done.stdout)["estimate"]["requests"] == len(NAMES), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--config", "llama33-70"), "did you mean 'llama33-70b'"),
        (("--writer", "opnai"), "did you mean 'openai'"),
        (("--writer", "openai"), "give --model"),
        (("--writer", "openai", "--model", "m", "--without-gate", "langage"), "did you mean 'language'"),
        (("--writer", "openai", "--model", "m", "--gate", "near_duplicate=high"), "should be like 0.8"),
        (("--writer", "openai", "--model", "m", "--prompt", "per_reqest=2"), "did you mean 'per_request'"),
        (("--writer", "openai", "--model", "m", "--prompt", "style=turns"), "give per_request=1"),
        (("--writer", "openai", "--model", "m", "--prompt", "style=turn"), "known: json, turns"),
        (("--config", "smollm2-135m", "--structured", "json_schema"), "--structured json_schema: the style turns asks for sentences"),
        (("--writer", "transformers", "--model", "m", "--dtype", "bfloat61"), "did you mean 'bfloat16'"),
        (("--writer", "openai", "--model", "m", "--language", "xx"), "xx"),
        (("--writer", "openai", "--model", "m", "--structured", "json"), "json_schema"),
        (("--writer", "transformers", "--model", "m", "--structured", "json_schema"), "structured output of transformers"),
        (("--writer", "openai", "--model", "m", "--top-p", "7"), "top_p is 7.0"),
        (("--select", "budget"), "needs a budget"),
        (("--select", "al"), "did you mean 'all'"),
        (("--relink",), "--writer template has none"),
        (("--language", "fr"), "--writer template has none"),
        (("--rounds", "-1"), "give 0 or more"),
        (("--gate", "cap=1"), "--writer template has none"),
        (("--template", "names=prefered"), "did you mean 'preferred'"),
        (("--template", "unchanged=1"), "did you mean 'unchanged_share'"),
        (("--template", "unchanged_share=2"), "give 0 to 1"),
        (("--template", "model=x"), "unknown setting of --template 'model'"),
        (("--writer", "names", "--template", "frames=all"), "--template is for --writer template, not names; leave it out"),
        (("--reparse",), "holds no answers"),
        (("--concepts", "7"), "give 1 to 6"),
    ],
)
def test_a_wrong_option_is_one_line_that_says_what_to_do(arguments, said, kb, tmp_path):
    done = command("generate", kb, "-o", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "documents.jsonl").exists()


def test_templates_with_the_preferred_names_as_they_are(kb, tmp_path):
    plain = [part for setting in ("names=preferred", "unchanged_share=1", "defined_share=0") for part in ("--template", setting)]
    done = command("generate", kb, "-o", tmp_path / "out", "--per-concept", 4, *plain)
    assert done.returncode == 0, done.stderr
    documents = read_jsonl(tmp_path / "out" / "documents.jsonl").documents
    assert {document.mentions[0].text.lower() for document in documents} == set(NAMES)
    again = command("generate", kb, "-o", tmp_path / "out", "--per-concept", 4)
    assert again.returncode == 2, "the settings are part of what a folder was made with"


def test_a_key_that_a_config_file_should_not_have_is_named(kb, tmp_path):
    (tmp_path / "mine.yaml").write_text("writer: names\nper_concpt: 2\n")
    done = command("generate", kb, "-o", tmp_path / "out", "--config", tmp_path / "mine.yaml")
    assert done.returncode == 2
    assert "did you mean 'per_concept'" in done.stderr


def test_a_config_file_calls_options_what_the_command_line_calls_them(kb, tmp_path):
    (tmp_path / "mine.yaml").write_text("json: true\nwriter: names\nper_concept: 1\n")
    done = command("generate", kb, "-o", tmp_path / "out", "--config", tmp_path / "mine.yaml")
    assert json.loads(done.stdout)["generated"] == len(NAMES), done.stderr


def test_what_is_given_beside_a_config_file_wins(kb, tmp_path):
    (tmp_path / "mine.yaml").write_text("writer: names\nper_concept: 2\nwithout_gate: []\n")
    done = command("generate", kb, "-o", tmp_path / "out", "--config", tmp_path / "mine.yaml", "--per-concept", 1, "--json")
    assert json.loads(done.stdout)["generated"] == len(NAMES), done.stderr
