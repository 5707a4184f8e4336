"""`syncabel judge` as people use it, over a real server: short cuts, both orders, budget, kill, privacy, examples, human labels."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from judged_documents import asked_about, chats, document, honest, linked, says
from stand_in import MODEL, Answer, StandIn, completion, refusal

from syncabel.cli.app import main
from syncabel.corpora import write_jsonl
from syncabel.types import to_json

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; sys.argv[0] = 'syncabel'; from syncabel.cli.app import main; main()"
QUESTIONS = 4  # of the small judging


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def judge(judging, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; the exit code, what it printed, what it complained of."""

    def run(url, *more, files=judging.files, out=tmp_path / "out"):
        documents, predictions, kb = files
        fixed = ("judge", documents, predictions, "--kb", kb, "-o", out, "--model", MODEL, "--base-url", url, "--structured", "none", "--patience", "1")
        monkeypatch.setattr(sys, "argv", ["syncabel", *map(str, (*fixed, *more))])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def labels(folder):
    return {(row["document_id"], row["mention_id"]): row for row in rows(folder / "labels.jsonl")}


def test_only_what_short_cuts_leave_is_asked_in_both_orders_and_every_mention_is_labelled(judge, server, tmp_path):
    code, _, _ = judge(server.url, "--votes", "2")
    assert code == 0
    assert len(chats(server)) == QUESTIONS * 2 * 2
    sides = Counter(frozenset((asked_about(asked.prompt)["A"]["name"], asked_about(asked.prompt)["B"]["name"])) for asked in chats(server))
    assert set(sides.values()) == {4}
    orders = Counter((asked_about(asked.prompt)["A"]["name"], asked_about(asked.prompt)["B"]["name"]) for asked in chats(server))
    assert set(orders.values()) == {2}
    found = {key: (row["label"], row["how"]) for key, row in labels(tmp_path / "out").items()}
    assert found == {
        ("d1", "m0"): ("equivalent", "equal"),
        ("d1", "m1"): ("equivalent", "asked"),
        ("d2", "m0"): ("broader", "asked"),
        ("d2", "m1"): ("partial", "partial"),
        ("d3", "m0"): ("unrelated", "abstained"),
        ("d3", "m2"): ("narrower", "asked"),  # narrower than heart disease, its other gold answer; only related to mitral stenosis
        ("d4", "m0"): ("equivalent", "equal"),
        ("d4", "m1"): (None, "unknown_concept"),
        ("d4", "m2"): ("unrelated", "missing"),
    }
    row = labels(tmp_path / "out")["d3", "m2"]
    assert row["against"] == ["A:8"]
    assert row["votes"] == [["narrower", "narrower"]] * 2
    assert row["order_agreement"] == 1


def test_the_summary_counts_everything_and_says_that_the_judge_s_error_is_not_in_the_interval(judge, server, tmp_path):
    _, printed, _ = judge(server.url, "--votes", "1", "--json", "--price-read", "1", "--price-written", "2")
    found = json.loads(printed)
    assert found == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (found["n"], found["nil"], found["unannotated"], found["unjudged"], found["complete"]) == (9, 1, 1, 1, True)
    assert sum(found["how"].values()) == sum(found["counts"].values()) + found["unjudged"] == 9
    assert found["valid"]["value"] == found["valid"]["least"] == 3 / 9
    assert found["valid"]["most"] == 4 / 9
    assert found["valid"]["ci95"][0] <= 3 / 9 <= found["valid"]["ci95"][1]
    assert found["broad"]["value"] == 2 / 9
    assert found["valid"]["judge_error"] == "not in the interval: no human labels were given"
    assert found["spent"] == {"requests": 8, "read": 7 * 8, "written": 3 * 8}
    assert found["spent_cost"] == (7 * 8 + 2 * 3 * 8) / 1e6
    assert found["left"]["requests"] == 0
    assert found["votes"]["orders_agree"] == 1


def test_a_judge_that_favours_a_place_is_recorded_as_one_that_disagrees_with_itself(judge, server, tmp_path):
    server.plan = lambda asked: Answer("hello") if "Say hello" in asked.prompt else says("broader")
    _, printed, _ = judge(server.url, "--votes", "3", "--json")
    found = json.loads(printed)
    assert found["votes"]["orders_agree"] == 0
    assert found["votes"]["orders_alpha"] < 0
    assert found["votes"]["ties"] == 3
    for row in labels(tmp_path / "out").values():
        if row["how"] == "asked":
            assert row["votes"] == [["broader", "narrower"]] * 3
            assert (row["label"], row["order_agreement"], row["tied"]) == ("narrower", 0, True)


def test_nothing_is_asked_twice_and_another_model_or_setting_is_asked_anew(judge, server, tmp_path):
    judge(server.url, "--votes", "1")
    before, asked = labels(tmp_path / "out"), len(chats(server))
    judge(server.url, "--votes", "1")
    assert (labels(tmp_path / "out"), len(chats(server))) == (before, asked)
    judge(server.url, "--votes", "2")  # the first vote is known
    assert len(chats(server)) == 2 * asked
    judge(server.url, "--votes", "1", "--temperature", "0.2")
    assert len(chats(server)) == 3 * asked


def test_answers_that_cannot_be_read_are_kept_asked_again_and_rejected_with_the_reason(judge, server, tmp_path):
    def plan(asked):
        if "Say hello" in asked.prompt or "angina" not in json.dumps(asked_about(asked.prompt)["A"]):
            return honest(asked)
        return Answer("I would rather not judge the stenocardia.")

    server.plan = plan
    code, printed, said = judge(server.url, "--votes", "1", "--attempts", "3")
    assert code == 0
    raw = rows(tmp_path / "out" / "raw" / "answers.jsonl")
    refused = [row for row in raw if row["text"].startswith("I would")]
    assert Counter(row["attempt"] for row in refused) == {0: 4, 1: 4, 2: 4}  # angina as gold or prediction, or angina pectoris, twice
    assert len({row["seed"] for row in raw}) == len(raw)
    rejected = [row for row in rows(tmp_path / "out" / "rejected.jsonl") if row["reason"] != "unknown_concept"]
    assert [row["reason"] for row in rejected] == ["structure"] * 4
    assert rejected[0]["where"] == "document 'd1', mention 'm1'"
    row = labels(tmp_path / "out")["d1", "m1"]
    assert (row["label"], row["how"], row.get("votes", [])) == (None, "unparsable", [])
    row = labels(tmp_path / "out")["d3", "m2"]  # one order was read
    assert (row["label"], row["votes"]) == ("narrower", [["narrower", None]])
    assert "stenocardia" not in printed + said


def test_what_the_server_refuses_is_missing_and_asked_again_by_the_same_command(judge, server, tmp_path):
    server.plan = lambda asked: refusal(400, "context_length_exceeded", "stenocardia") if "[stenocardia]" in asked.prompt else honest(asked)
    code, printed, said = judge(server.url, "--votes", "1")
    assert code == 3
    assert "context_length_exceeded" in printed
    assert "stenocardia" not in printed + said
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (found["complete"], found["valid"]["value"], found["how"]["unanswered"]) == (False, None, 1)
    assert (found["valid"]["least"], found["valid"]["most"]) == (2 / 9, 4 / 9)
    assert [row["reason"] for row in rows(tmp_path / "out" / "rejected.jsonl")] == ["no_answer", "unknown_concept"]
    asked = len(chats(server))
    server.plan = honest
    assert judge(server.url, "--votes", "1")[0] == 0
    assert len(chats(server)) == asked + 2


@pytest.mark.parametrize(
    "limit",
    [("--budget-requests", "3"), ("--budget-tokens", "3000"), ("--budget-cost", "0.003", "--price-read", "1", "--price-written", "1")],
    ids=["requests", "tokens", "cost"],
)
def test_a_budget_holds_over_all_runs_and_what_is_left_is_said(judge, server, tmp_path, limit):
    usage = {"prompt_tokens": 600, "completion_tokens": 50}
    server.plan = lambda asked: Answer(payload=completion(honest(asked).text, "stop") | {"usage": usage})
    code, printed, _ = judge(server.url, "--votes", "1", *limit)
    assert code == 4
    assert "the budget is spent" in printed
    asked = len(chats(server))
    assert 1 <= asked < QUESTIONS * 2
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["left"]["requests"] == QUESTIONS * 2 - asked
    assert (found["complete"], found["valid"]["value"]) == (False, None)
    assert judge(server.url, "--votes", "1", *limit)[0] == 4
    assert len(chats(server)) == asked
    assert found["spent"]["requests"] == asked
    assert limit[0] != "--budget-requests" or asked == 3
    assert found["spent"]["read"] + found["spent"]["written"] <= 3000
    assert judge(server.url, "--votes", "1")[0] == 0
    assert len(chats(server)) == QUESTIONS * 2


def test_a_dry_run_shows_questions_and_the_cost_and_neither_asks_nor_writes(judge, server, tmp_path):
    code, printed, _ = judge(server.url, "--dry-run", "--price-read", "100")
    assert code == 0
    assert "[stenocardia]" in printed
    assert "left to ask: 24 calls" in printed
    assert "at most 0." in printed or "at most 1." in printed
    assert not server.asked
    assert not (tmp_path / "out").exists()
    plan = json.loads(judge(server.url, "--dry-run", "--json")[1])
    assert (plan["questions"], plan["left"]["requests"], plan["how"]["asked"]) == (4, 24, 3)


def test_a_corpus_that_is_not_shareable_goes_to_this_machine_only(judge, tmp_path):
    code, _, said = judge("http://judge.example/v1", "--votes", "1")
    assert code == 2
    assert "not marked shareable" in said
    assert not (tmp_path / "out").exists()
    code, printed, _ = judge("http://judge.example/v1", "--votes", "1", "--shareable", "--dry-run")
    assert (code, "left to ask: 8 calls" in printed) == (0, True)


def test_every_vote_at_temperature_nought_would_be_the_same(judge, server):
    code, _, said = judge(server.url, "--temperature", "0")
    assert (code, "--votes 1" in said) == (2, True)
    assert judge(server.url, "--temperature", "0", "--votes", "1")[0] == 0


SHOT = {"document_id": "t1", "split": "train", "sentence": "He had [MS] for years.", "gold": ["A:100"], "predicted": ["A:7"], "label": "BROAD"}


def shots_file(tmp_path, **changes):
    path = tmp_path / "shots.jsonl"
    path.write_text(json.dumps(SHOT | changes) + "\n", encoding="utf-8")
    return path


def test_examples_stand_before_every_question(judge, server, tmp_path):
    assert judge(server.url, "--votes", "1", "--shots", shots_file(tmp_path))[0] == 0
    for asked in chats(server):
        example, _ = asked.prompt.split("\n\n")
        assert "He had [MS] for years." in example
        assert example.endswith('Answer: {"relation": "broader"}')


def test_every_second_example_is_shown_swapped(judge, server, tmp_path):
    path = shots_file(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert judge(server.url, "--votes", "1", "--shots", path)[0] == 0
    for asked in chats(server):
        first, second, _ = asked.prompt.split("\n\n")
        assert first.endswith('Answer: {"relation": "broader"}')
        assert second.endswith('Answer: {"relation": "narrower"}')
        assert first.split("\nAnswer")[0] != second.split("\nAnswer")[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"document_id": "d2"}, "document 'd2', which is judged"),
        ({"sentence": "she HAS  [ms] (stage 2)."}, "document 'd1', which is judged"),
        ({"split": "test"}, "never of test"),
        ({"split": ""}, "never of test"),
        ({"label": "PARTIAL"}, "no model is asked"),
        ({"sentence": "no mention"}, "no mention in brackets"),
        ({"gold": ["Z:1"]}, "Z:1"),
    ],
    ids=["id", "text", "test", "no split", "partial", "no mention", "unknown code"],
)
def test_examples_from_what_is_judged_or_in_disorder_are_refused(judge, server, tmp_path, changes, problem):
    code, _, said = judge(server.url, "--shots", shots_file(tmp_path, **changes))
    assert code == 2
    assert problem in said
    assert not server.asked


def test_examples_of_another_corpus_keep_shareable_documents_at_home(judge, tmp_path):
    code, _, said = judge("http://judge.example/v1", "--shots", shots_file(tmp_path))
    assert (code, "not marked shareable" in said) == (2, True)


def test_human_labels_bring_agreement_and_the_judge_s_error(judge, server, tmp_path):
    human = tmp_path / "human.tsv"
    human.write_text("document_id\tmention_id\tlabel\nd1\tm0\tEXACT\nd1\tm1\tequivalent\nd2\tm0\tEXACT\nd3\tm2\tnarrower\nd9\tm9\trelated\n", encoding="utf-8")
    code, printed, _ = judge(server.url, "--votes", "1", "--human", human, "--json")
    found = json.loads(printed)
    assert code == 0
    people = found["human"]
    assert (people["labels"], people["of_judged_mentions"]) == (5, 4)
    assert people["asked"]["n"] == 3  # equal codes, which nobody was asked about, would flatter the judge
    assert people["asked"]["same"] == pytest.approx(2 / 3)
    assert people["asked"]["confusion"] == {"narrower": {"narrower": 1}, "equivalent": {"broader": 1, "equivalent": 1}}
    # 2 equal; 1 judged valid, as people see it; of 3 judged not valid (one of them unknown to the base) people call one of two valid.
    assert people["corrected"]["judged_not_valid"] == {"n": 3, "labelled": 2, "valid": 1}
    assert people["corrected"]["value"] == pytest.approx((2 + 1 + 3 / 2) / 9)
    low, high = people["corrected"]["ci95"]
    assert 0 <= low < people["corrected"]["value"] < high <= 1
    assert found["valid"]["judge_error"] == "see human.corrected"
    _, printed, _ = judge(server.url, "--votes", "1", "--human", human)
    assert "on 3 asked mentions; corrected for the judge's error 50.0%" in printed
    strange = tmp_path / "strange.csv"
    strange.write_text("document_id,mention_id,label\nx,y,broader\n", encoding="utf-8")
    code, _, said = judge(server.url, "--human", strange)
    assert (code, "none of its 1 labels" in said) == (2, True)


def test_two_files_of_labels_are_compared(judge, server, tmp_path, monkeypatch, capsys):
    judge(server.url, "--votes", "1")
    human = tmp_path / "human.csv"
    human.write_text("document_id,mention_id,label\nd1,m0,equivalent\nd1,m1,equivalent\nd2,m0,related\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["syncabel", "judge", "--agreement", str(tmp_path / "out" / "labels.jsonl"), str(human), "--json"])
    with pytest.raises(SystemExit):
        main()
    found = json.loads(capsys.readouterr().out)
    assert (found["all"]["n"], found["not_equal"]["n"], found["only_second"]) == (3, 2, 0)
    assert found["all"]["same"] == pytest.approx(2 / 3)
    assert found["not_equal"]["same"] == 0.5


@pytest.fixture(scope="module")
def many(tmp_path_factory, judging):
    """Sixty mentions that all have to be asked about."""
    folder = tmp_path_factory.mktemp("many")
    made = [document(f"d{i:02}", f"Angina number {i}.", ("Angina", ((f"A:{4 - 2 * (i % 2)}",),))) for i in range(60)]
    write_jsonl(made, folder / "documents.jsonl")
    predicted = [linked(one, "m0", f"A:{8 - i % 2}") for i, one in enumerate(made)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(to_json(one)) + "\n" for one in predicted), encoding="utf-8")
    return folder / "documents.jsonl", folder / "predictions.jsonl", judging.files[2]


@pytest.mark.slow
def test_killed_at_any_time_the_same_command_goes_on_to_the_same_end(judge, many, tmp_path):
    with StandIn(honest) as server:
        assert judge(server.url, "--votes", "1", files=many, out=tmp_path / "whole")[0] == 0
    killed, concurrency = tmp_path / "killed", 4
    with StandIn(lambda asked: Answer(honest(asked).text, delay_s=0.01)) as server:
        fixed = ("judge", many[0], many[1], "--kb", many[2], "-o", killed, "--model", MODEL, "--base-url", server.url, "--structured", "none")
        settings = os.environ | {"PYTHONPATH": str(ROOT)}
        for enough in (20, 70):
            process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *map(str, (*fixed, "--votes", "1", "--concurrency", concurrency))],
                env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            answers, patience = killed / "raw" / "answers.jsonl", time.monotonic() + 60
            while not (answers.exists() and answers.read_bytes().count(b"\n") >= enough) and process.poll() is None and time.monotonic() < patience:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (killed / "labels.jsonl").exists()
        with answers.open("ab") as file:
            file.write(b'{"key": "torn')
        assert judge(server.url, "--votes", "1", files=many, out=killed)[0] == 0
        times = Counter((asked.prompt, asked.body["seed"]) for asked in chats(server))
    assert (killed / "labels.jsonl").read_bytes() == (tmp_path / "whole" / "labels.jsonl").read_bytes()
    assert len(times) == 120
    assert sum(times.values()) - 120 <= 2 * 2 * concurrency  # what was under way when it was killed
    assert len(rows(killed / "raw" / "answers.jsonl")) == 120


def test_two_runs_do_not_write_to_one_folder(judge, many, tmp_path):
    from data_gen.journal import locked

    with StandIn(honest) as server, locked(tmp_path / "out" / "raw"):
        code, _, said = judge(server.url, "--votes", "1", files=many)
    assert (code, "another run" in said) == (2, True)


@pytest.mark.slow
def test_a_model_in_this_process_is_asked_and_its_nonsense_is_kept_and_rejected(judge, tiny_chat_folder, tmp_path):
    options = ("--engine", "transformers", "--model", tiny_chat_folder, "--votes", "1", "--attempts", "2", "--max-tokens", "8", "--structured", "auto")
    code, _, _ = judge("http://localhost:1/v1", *options)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert code in (0, 3)  # 3 where a prompt is longer than the tiny model's context
    assert summary["how"].get("unparsable", 0) + summary["how"].get("unanswered", 0) == 3
    assert summary["judge"]["model"] == "tiny-chat"
