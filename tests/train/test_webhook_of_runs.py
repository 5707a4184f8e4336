"""A run tells its webhook how it ended, whatever the webhook says to that."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from syncabel.errors import ConfigError, LossError
from syncabel.train.arguments import parse
from syncabel.train.run import train


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
    assert said[0] == "*syncabel: finished* model"
    assert f"loss: {result.loss:.4f}" in said
    assert f"dev Recall@1: {result.recall_at_1:.3f} (n = 6)" in said


def test_a_run_that_fails_is_told_by_the_kind_of_its_error(chat: Chat, flags: Callable[..., list[str]]) -> None:
    with pytest.raises(LossError):
        train(parse(flags("--webhook", "discord", "--learning_rate", "1e38", "--max_grad_norm", "0")))
    (message,) = chat.told
    assert message["content"].splitlines() == ["**syncabel: failed** model", "error: LossError"]


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
