"""A run tells its webhook how it ended, whatever the webhook says to that."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from syncabel.errors import ConfigError, LossError, PreemptedError
from syncabel.slurm import STATUS_FILE
from syncabel.train import main
from syncabel.train.arguments import parse
from syncabel.train.repeats import train_all
from syncabel.train.run import train
from syncabel.train.trainer import LinkingTrainer


class Chat(ThreadingHTTPServer):
    """A service that takes every message, or answers with a status.

    Attributes:
        told: bodies, in order.
        status: of the answers.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.told: list[Any] = []
        self.status = 204


class Answer(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_rest: object) -> None:
        pass


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    with Chat() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("SYNCABEL_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hooks/secret")
        yield server
        server.shutdown()
        thread.join()


def test_the_end_of_a_run_is_told_with_its_figures(chat: Chat, flags: Callable[..., list[str]], prepared: Callable[..., Path]) -> None:
    result = train(parse(flags("--webhook", "slack", "--dev_documents", str(prepared() / "dev.jsonl"))))
    (message,) = chat.told
    said = message["text"].splitlines()
    assert said[0] == "*syncabel: finished* run"
    assert f"loss: {result.loss:.4f}" in said
    assert f"dev Recall@1: {result.recall_at_1:.3f} (n = 6)" in said


def test_a_run_that_fails_is_told_by_the_kind_of_its_error(chat: Chat, flags: Callable[..., list[str]]) -> None:
    with pytest.raises(LossError):
        train(parse(flags("--webhook", "discord", "--learning_rate", "1e38", "--max_grad_norm", "0")))
    (message,) = chat.told
    assert message["content"].splitlines() == ["**syncabel: failed** run", "error: LossError"]


def test_the_message_tells_which_of_several_runs_it_is_of(chat: Chat, flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path) -> None:
    config = tmp_path / "nightly.yaml"
    config.write_text("webhook: slack\n")
    train_all(["--config", str(config), *flags("--max_steps", "1", "--seeds", "1,2", "--refit_examples", str(prepared() / "human.jsonl"))])
    titles = [message["text"].splitlines()[0].removeprefix("*syncabel: finished* ") for message in chat.told]
    assert titles == [f"nightly, run/seed-{seed}{part}" for seed in (1, 2) for part in ("", "/refit")]


@pytest.mark.parametrize(
    ("more", "kind"),
    [(["--human_examples", "nowhere.jsonl"], "ConfigError"), (["--learnin_rate", "1"], "UnknownNameError"), (["--seeds", "a"], "ConfigError")],
    ids=["file", "key", "seeds"],
)
def test_what_is_refused_before_a_training_begins_is_told_too(more: list[str], kind: str, chat: Chat, flags: Callable[..., list[str]], tmp_path: Path) -> None:
    assert main(flags("--webhook", "discord", *more)) == 2
    (message,) = chat.told
    assert message["content"].splitlines() == ["**syncabel: failed** run", f"error: {kind}"]
    config = tmp_path / "nightly.yaml"
    config.write_text("webhook: slack\nmax_step: 3\noutput_dir: there\n")
    assert main(["--config", str(config), "--lexicon", "x"]) == 2
    assert chat.told[1:] == [{"text": "*syncabel: failed* nightly, there\nerror: UnknownNameError"}]


def test_nobody_is_told_of_what_is_refused_where_no_webhook_was_asked_for(chat: Chat, flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(flags("--seeds", "a")) == 2
    assert main(["--config", "no-such-configuration"]) == 2
    assert main(flags("--seeds", "a", "--webhook", "teams")) == 2
    monkeypatch.setenv("RANK", "1")
    assert main(flags("--seeds", "a", "--webhook", "slack")) == 2
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("SYNCABEL_WEBHOOK")
    assert main(flags("--seeds", "a", "--webhook", "slack")) == 2
    assert not chat.told


@pytest.mark.parametrize("state", ["stopped", "requeued"])
def test_a_preempted_run_is_requeued_only_where_something_queues_it_again(
    state: str, chat: Chat, flags: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STATUS_FILE, raising=False)
    if state == "requeued":
        monkeypatch.setenv(STATUS_FILE, str(tmp_path / "status"))
    step = LinkingTrainer.training_step

    def preempted(self: LinkingTrainer, *rest: Any, **named: Any) -> Any:
        if self.state.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *rest, **named)

    monkeypatch.setattr(LinkingTrainer, "training_step", preempted)
    with pytest.raises(PreemptedError):
        train(parse(flags("--webhook", "slack")))
    assert [message["text"] for message in chat.told] == [f"*syncabel: {state}* run"]


def test_a_webhook_that_answers_with_an_error_fails_no_run(chat: Chat, flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    chat.status = 500
    assert train(parse(flags("--webhook", "discord"))).steps == 12
    err = capsys.readouterr().err
    assert "the discord webhook was not told (HTTP 500)" in err
    assert "secret" not in err


def test_a_webhook_without_an_address_is_refused_before_training(flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNCABEL_WEBHOOK", raising=False)
    with pytest.raises(ConfigError, match="SYNCABEL_WEBHOOK is not set"):
        train(parse(flags("--webhook", "slack")))
