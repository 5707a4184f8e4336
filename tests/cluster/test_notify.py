"""The webhook against a real HTTP server: both formats, every kind of trouble, and an address that nobody gets to read."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.train import notify
from syncabel.train.notify import VARIABLE, Outcome, Webhook, body_of

SECRET = "s3cr3t-t0ken"
DONE = Outcome("finished", "llama3 on MEDIC", {"steps": "1,200", "loss": "0.0123", "Recall@1 on dev": "0.812"})


class Chat(ThreadingHTTPServer):
    """A chat service that keeps what it is sent and answers as the path asks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    def address(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}/{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        way = self.path.split("/")[1]
        self.server.paths.append(self.path)
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.headers.append(dict(self.headers))
        if way == "hang":
            time.sleep(3)
        if way == "drip":
            for _ in range(30):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.1)
        self.send_response(int(way) if way.isdigit() else 200)
        if way in ("301", "307"):
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/200/elsewhere")
        if way == "429":
            self.send_header("Retry-After", "3600")
        if way != "204":
            self.send_header("Content-Length", "2")
        self.end_headers()
        if way != "204":
            self.wfile.write(b"ok")

    def do_GET(self) -> None:
        self.server.paths.append(self.path)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def chat() -> Iterator[Chat]:
    server = Chat()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(notify, "DEADLINE_S", 0.8)


def test_discord_gets_its_format_and_nobody_is_called(chat: Chat) -> None:
    assert Webhook("discord", chat.address("204")).tell(DONE)
    content = "**syncabel: finished** llama3 on MEDIC\nsteps: 1,200\nloss: 0.0123\nRecall@1 on dev: 0.812"
    assert chat.bodies == [{"content": content, "allowed_mentions": {"parse": []}}]
    assert chat.headers[0]["Content-Type"] == "application/json"


def test_slack_gets_its_format(chat: Chat) -> None:
    assert Webhook("slack", chat.address("200")).tell(Outcome("failed", "a <!channel> & b", {}))
    assert chat.bodies == [{"text": "*syncabel: failed* a &lt;!channel&gt; &amp; b"}]


@pytest.mark.parametrize("kind", ["discord", "slack"])
@pytest.mark.parametrize(("way", "said"), [("404", "HTTP 404"), ("500", "HTTP 500"), ("429", "HTTP 429"), ("301", "HTTP 301"), ("307", "HTTP 307")])
def test_a_refusal_is_one_line_without_the_address(
    chat: Chat, kind: Literal["discord", "slack"], way: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not Webhook(kind, chat.address(way)).tell(DONE)
    _is_one_quiet_line(capsys, said)
    assert len(chat.paths) == 1  # no redirect is followed, nothing is sent again


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_a_server_that_never_ends_its_answer_is_given_up(chat: Chat, way: str, no_waiting: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert not Webhook("slack", chat.address(way)).tell(DONE)
    _is_one_quiet_line(capsys, "no answer in time")


def test_a_port_that_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not Webhook("discord", f"http://127.0.0.1:{port}/{SECRET}").tell(DONE)
    _is_one_quiet_line(capsys, "ConnectionRefusedError")


def test_a_host_that_does_not_exist_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not Webhook("discord", f"http://{SECRET}.invalid/hook").tell(DONE)
    _is_one_quiet_line(capsys, "gaierror")


def test_no_tls_where_tls_is_asked_for_is_one_line(chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
    assert not Webhook("discord", chat.address("200").replace("http:", "https:")).tell(DONE)
    _is_one_quiet_line(capsys, "TLS, SSLError")


def test_a_certificate_that_nobody_signed_is_refused(chat: Chat, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    chat.socket = context.wrap_socket(chat.socket, server_side=True)
    assert not Webhook("slack", chat.address("200").replace("http:", "https:")).tell(DONE)
    said = capsys.readouterr()
    assert "SSLCertVerificationError" in said.err
    assert SECRET not in said.err
    assert not chat.bodies


def _is_one_quiet_line(capsys: pytest.CaptureFixture[str], said: str) -> None:
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.count("\n") == 1
    assert said in seen.err
    assert SECRET not in seen.err
    assert "127.0.0.1" not in seen.err


def test_the_address_is_in_no_repr() -> None:
    webhook = Webhook("slack", f"https://example.org/{SECRET}")
    assert SECRET not in f"{webhook} {webhook!r} {[webhook]}"


NO_ADDRESSES = (
    SECRET,
    *(f"{start}{SECRET}" for start in ("ftp://h/", "file:///", "https:///", "http://[::1/", "http://h:99999/")),
    *(f"http://h/{SECRET}{end}" for end in ("\n", "é", " ")),
)


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_refused_unseen(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Webhook("discord", address)
    assert SECRET not in str(refused.value)
    assert VARIABLE in str(refused.value)


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, chat: Chat) -> None:
    monkeypatch.setenv(VARIABLE, f" {chat.address('200')}\n")
    assert Webhook.from_environment("slack").tell(DONE)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigError, match=VARIABLE):
        Webhook.from_environment("slack")


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="discord"):
        Webhook("discrod", "https://example.org/")  # type: ignore[arg-type]


ANY_TEXT = st.text(st.characters(blacklist_categories=()), max_size=50)


@settings(deadline=None)
@given(st.sampled_from(["discord", "slack"]), ANY_TEXT, st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=4), st.integers(1, 200))
def test_every_message_is_json_within_the_limit(kind: Literal["discord", "slack"], title: str, figures: dict[str, str], times: int) -> None:
    body = body_of(kind, Outcome("finished", title * times, {label: value * times for label, value in figures.items()}))
    text = body["content" if kind == "discord" else "text"]
    assert json.loads(json.dumps(body).encode()) == body
    assert 0 < len(text) <= len(text.encode("utf-16-le")) // 2 <= notify.MOST_CHARACTERS[kind]
    if kind == "slack":
        assert not set("<>") & set(text)
        assert all(text[at:].startswith(("&amp;", "&lt;", "&gt;")) for at, letter in enumerate(text) if letter == "&")


def test_a_long_message_is_cut_and_says_so() -> None:
    assert body_of("discord", Outcome("failed", "x" * 9000))["content"].endswith("x…")
    assert body_of("slack", Outcome("failed", "<" * 9000))["text"].endswith("&lt;…")
