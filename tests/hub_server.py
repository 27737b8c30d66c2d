"""A Hugging Face hub on this machine: what its client asks for when it lists, fetches and is refused files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

COMMIT = hashlib.sha1(b"the only commit").hexdigest()
LARGE = ".safetensors"  # kept as large files, whose SHA-256 the hub tells


@dataclass
class Hub:
    """What is on the hub, and what it was asked for.

    Attributes:
        files: repository -> name -> bytes.
        gated: repositories that give their listings, but no file.
        damaged: name of a file -> the bytes that are sent in the place of its own.
        asked: (method, path) of every request.
        tokens: what the requests carried as their authorization.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    damaged: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def add(self, repository: str, folder: Path) -> None:
        """Put a folder's files there."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        self.files[repository] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    def fetched(self, ending: str) -> list[str]:
        """Names of the fetched files that end so."""
        files = [path.split("/resolve/")[1] for how, path in self.asked if how == "GET" and "/resolve/" in path]
        return [name.split("/", 1)[1] for name in files if name.endswith(ending)]


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    hub: Hub

    def do_GET(self) -> None:  # noqa: N802
        """Listings as JSON, files as they are."""
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path))
        self.hub.tokens.add(self.headers.get("Authorization"))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository, kind, revision = "/".join(parts[2:4]), parts[4], parts[5]
            self.refuse(repository, revision) or self.listing(repository, kind)
        else:
            repository, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
            self.refuse(repository, revision, file=True) or self.file(name, self.hub.files[repository][name])

    do_HEAD = do_GET

    def refuse(self, repository: str, revision: str, file: bool = False) -> bool:
        """Say no, where that is due."""
        code = None
        if repository not in self.hub.files:
            code = 401, "RepoNotFound"
        elif revision not in (COMMIT, "main"):
            code = 404, "RevisionNotFound"
        elif file and repository in self.hub.gated:
            code = 403, "GatedRepo"
        if code:
            self.answer(code[0], b"", {"X-Error-Code": code[1]})
        return code is not None

    def listing(self, repository: str, kind: str) -> None:
        """The commit, or all files with their sizes and sums."""
        facts: dict | list = {"id": repository, "sha": COMMIT, "siblings": []}
        if kind == "tree":
            facts = []
            for name, content in self.hub.files[repository].items():
                entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                if name.endswith(LARGE):
                    oid = hashlib.sha256(content).hexdigest()
                    entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
                facts.append(entry)
        self.answer(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def file(self, name: str, content: bytes) -> None:
        """A file with the headers by which the client names and measures it."""
        hashed = hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1
        etag = f'"{hashed(content).hexdigest()}"'
        facts = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": etag, "X-Linked-Size": str(len(content)), "ETag": etag}
        self.answer(200, self.hub.damaged.get(name, content), facts)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send it."""
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a hub, which the client takes for the real one, with a cache of its own."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(cache))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
