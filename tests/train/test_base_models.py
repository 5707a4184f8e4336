"""What training starts from: repositories that may not be read, tokenizers that lack a token."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from syncabel.errors import ConfigError
from syncabel.train.arguments import parse
from syncabel.train.model import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]


class Closed(BaseHTTPRequestHandler):
    """Answers as the hub does for a repository behind a gate, and for one that is not there."""

    def do_GET(self) -> None:
        gated = "/lab/gated/" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the base's name

    def log_message(self, *_rest: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Closed) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repo", "flag", "said"),
    [
        ("lab/gated", "--model_name_or_path", "its owners give access on request; ask for it on the model's page, then run `hf auth login`"),
        ("lab/gated", "--tokenizer", "its owners give access on request"),
        ("lab/absent", "--model_name_or_path", "there is no such repository, or the token may not see it"),
    ],
)
def test_a_repository_that_may_not_be_read_is_an_error_of_one_line(
    repo: str, flag: str, said: str, hub: str, flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    named = [*flags("--init", "pretrained"), flag, repo, *([] if flag == "--model_name_or_path" else ["--model_name_or_path", repo])]
    run = subprocess.run([sys.executable, "-m", "syncabel.train", *named], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error:" in line]
    assert repo in line
    assert said in line


def test_a_tokenizer_without_end_token_is_refused_and_one_without_padding_pads_with_the_end(
    flags: Callable[..., list[str]], prepared: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(prepared() / "tokenizer")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "no-pad")
    loaded = load_tokenizer(parse(flags("--tokenizer", str(tmp_path / "no-pad"))))
    assert loaded.pad_token_id == loaded.eos_token_id is not None
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "no-end")
    with pytest.raises(ConfigError, match="no end token, so that a name could not end"):
        load_tokenizer(parse(flags("--tokenizer", str(tmp_path / "no-end"))))
