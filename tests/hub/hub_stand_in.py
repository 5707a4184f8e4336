"""A stand-in of the hub's API on this machine: a real HTTP server that keeps what it is sent.

It answers the addresses that huggingface_hub 2.4 calls when a repository is made, filled in one commit, listed and downloaded:
repos/create, repository info, tree, validate-yaml, preupload, Git LFS (batch, upload, verify), commit, resolve.  What it takes it
checks as the hub does: token, right, digest and size of each LFS object, parent commit.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

__all__ = ["READER", "WRITER", "Repo", "StandIn", "command", "environment", "one_line", "running"]

WRITER, READER = "hf_writer", "hf_reader"  # tokens: one may write to the organisation `lab`, one may only read
_BATCH = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch")
_RESOLVE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([\w%.-]+)/(.+)")
_API = re.compile(r"/api/(dataset|model)s/([\w.-]+/[\w.-]+)(?:/(revision|tree|preupload|commit|paths-info)/([\w%.-]+)(?:/(.+))?)?")


@dataclass
class Repo:
    """A repository: files as bytes by path, one state per commit."""

    private: bool
    commits: list[str] = field(default_factory=list)
    states: list[dict[str, bytes]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    gated: bool = False

    @property
    def files(self) -> dict[str, bytes]:
        return self.states[-1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and files of a revision; None where there is no such one."""
        if revision in ("main", ""):
            return self.commits[-1], self.files
        return (revision, self.states[self.commits.index(revision)]) if revision in self.commits else None

    def commit(self, files: dict[str, bytes], message: str) -> None:
        self.commits.append(hashlib.sha1(f"{len(self.commits)} {sorted(files)} {message}".encode()).hexdigest())
        self.states.append(files)
        self.messages.append(message)


class StandIn(ThreadingHTTPServer):
    """The server and what it was sent.

    Attributes:
        repos: by (kind, name).
        objects: LFS objects by SHA-256.
        calls: "METHOD address" of each request, in order.
        faults: what is answered instead, by a piece of the address: status.
        before_commit: run when a commit arrives, before it is looked at.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.faults: dict[str, int] = {}
        self.before_commit: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def make(self, kind: str, name: str, private: bool = False, files: dict[str, bytes] | None = None) -> Repo:
        repo = self.repos[kind, name] = Repo(private)
        repo.commit({".gitattributes": b"*.parquet filter=lfs\n"} | (files or {}), "initial commit")
        return repo


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str, size: int) -> bool:
    return path.endswith((".parquet", ".safetensors")) or size > 10_000_000


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet."""

    def do_GET(self) -> None:
        self._answer(self._read, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self._answer(self._write, self._body())

    def do_PUT(self) -> None:
        self._answer(self._keep, self._body())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, handle: Any, body: bytes) -> None:
        address = urlsplit(self.path).path
        self.server.calls.append(f"{self.command} {address}")
        for piece, status in self.server.faults.items():
            if piece in address:
                self._send(status, {"error": "a fault that the test asked for"})
                return
        handle(address, body)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, text: str) -> None:
        self._send(status, {"error": text}, {"X-Error-Code": code, "X-Error-Message": text})

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _may(self, repo: str, write: bool) -> bool:
        """Whether the token has the right; what is answered otherwise is sent."""
        if self._token not in (WRITER, READER):
            self._send(401, {"error": "Invalid credentials in Authorization header"}, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif write and (self._token != WRITER or not repo.startswith("lab/")):
            self._send(403, {"error": "You don't have the required permissions"})
        else:
            return True
        return False

    def _read(self, address: str, body: bytes) -> None:
        if address == "/api/whoami-v2":
            self._send(200, {"type": "user", "name": "tester"})
        elif match := _RESOLVE.fullmatch(address):
            self._resolve("dataset" if match[1] else "model", match[2], unquote(match[3]), unquote(match[4]))
        elif match := _API.fullmatch(address):
            if repo := self._repo(match[1], match[2]):
                if (found := repo.at(unquote(match[4] or ""))) is None:
                    self._refuse(404, "RevisionNotFound", "Invalid rev id")
                else:
                    self._tree(found[1], match[5]) if match[3] == "tree" else self._info(match[2], repo, *found)
        else:
            self._refuse(404, "NotFound", "No such address")

    def _repo(self, kind: str, name: str) -> Repo | None:
        repo = self.server.repos.get((kind, name))
        if repo is None or (repo.private and self._token not in (WRITER, READER)):
            self._refuse(404, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _info(self, name: str, repo: Repo, commit: str, files: dict[str, bytes]) -> None:
        siblings = [{"rfilename": path} for path in sorted(files)]
        self._send(200, {"_id": "1", "id": name, "sha": commit, "private": repo.private, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def _tree(self, files: dict[str, bytes], below: str | None) -> None:
        files = {path: data for path, data in files.items() if below is None or path.startswith(f"{below}/")}
        if not files:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        rows = []
        for path, data in sorted(files.items()):
            row: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
            if is_large(path, len(data)):
                row["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            rows.append(row)
        self._send(200, rows)

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        if not (repo := self._repo(kind, name)):
            return
        if repo.gated and self._token != WRITER:
            self._refuse(403, "GatedRepo", "Access to this repository is restricted")
            return
        if (found := repo.at(revision)) is None:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        commit, state = found
        if path not in state:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        data = state[path]
        self._send(200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Content-Type": "application/octet-stream"})

    def _write(self, address: str, body: bytes) -> None:
        if address == "/api/repos/create":
            self._create(json.loads(body))
        elif address == "/api/validate-yaml":
            self._validate(json.loads(body))
        elif match := _BATCH.fullmatch(address):
            if self._may(match[2], write=True):
                self._batch(json.loads(body))
        elif address == "/lfs/verify":
            asked = json.loads(body)
            right = len(self.server.objects.get(asked["oid"], b"")) == asked["size"]
            self._send(200 if right else 404, {})
        elif not (match := _API.fullmatch(address)):
            self._refuse(404, "NotFound", "No such address")
        elif self._may(match[2], write=True) and (repo := self._repo(match[1], match[2])):
            self._preupload(repo, json.loads(body)) if match[3] == "preupload" else self._commit(match[2], repo, body)

    def _create(self, asked: dict[str, Any]) -> None:
        name, kind = f"{asked['organization']}/{asked['name']}", asked.get("type", "model")
        url = f"{self.server.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if not self._may(name, write=True):
            return
        if (kind, name) in self.server.repos:
            self._send(409, {"error": "You already created this repo", "url": url})
            return
        self.server.make(kind, name, asked.get("visibility") == "private")
        self._send(200, {"url": url, "name": name, "id": "1"})

    def _validate(self, asked: dict[str, Any]) -> None:
        _, front, _ = asked["content"].split("---\n", 2)
        try:
            values = yaml.safe_load(front)
        except yaml.YAMLError as error:
            self._send(400, {"errors": [{"message": str(error)}], "warnings": []})
            return
        wrong = [key for key in ("license", "language") if key not in values]
        self._send(400 if wrong else 200, {"errors": [{"message": f"no {key}"} for key in wrong], "warnings": []})

    def _preupload(self, repo: Repo, asked: dict[str, Any]) -> None:
        files = []
        for file in asked["files"]:
            large = is_large(file["path"], file["size"])
            row = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if (data := repo.files.get(file["path"])) is not None:
                row["oid"] = hashlib.sha256(data).hexdigest() if large else git_oid(data)
            files.append(row)
        self._send(200, {"files": files})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            row: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.server.objects:
                row["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}, "verify": {"href": f"{self.server.url}/lfs/verify"}}
            objects.append(row)
        self._send(200, {"transfer": "basic", "objects": objects})

    def _keep(self, address: str, body: bytes) -> None:
        oid = address.removeprefix("/lfs/")
        right = hashlib.sha256(body).hexdigest() == oid
        if right:
            self.server.objects[oid] = body
        self._send(200 if right else 400, {})

    def _commit(self, name: str, repo: Repo, body: bytes) -> None:
        if self.server.before_commit:
            self.server.before_commit(repo)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit", repo.commits[-1]) != repo.commits[-1]:
            self._send(412, {"error": "A commit has happened since."})
            return
        files = dict(repo.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        repo.commit(files, header["value"]["summary"])
        self._send(200, {"success": True, "commitOid": repo.commits[-1], "commitUrl": f"{self.server.url}/{name}/commit/{repo.commits[-1]}"})


@contextmanager
def running() -> Iterator[StandIn]:
    """The server, listening on a port of its own until the end of the block."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(hub: StandIn | None, home: Path, token: str | None = WRITER, **more: str) -> dict[str, str]:
    """What a process of a user's has around it; HF_HUB_OFFLINE of this one does not count, and no proxy comes between."""
    base = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and not name.startswith("HF_")}
    hf = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:9"}
    return base | hf | ({"HF_TOKEN": token} if token else {}) | more


def command(*arguments: object, hub: StandIn | None = None, token: str | None = WRITER, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`syncabel publish` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "syncabel", "publish", *map(str, arguments)],
        env=environment(hub, home, token, **more),
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command writes."""
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("syncabel: error: ")
    return line
