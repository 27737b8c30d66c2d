"""A real server process, and visitors that speak to it over HTTP as the page does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
API = "/gradio_api"
START_S, ANSWER_S = 120.0, 120.0
FREE = "--posts-per-minute=1000000"  # all visitors of a test come from one address


class Server:
    """`python app.py` on a port of its own, logging to a file."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        start: tuple[str, ...] = ("app.py",),
        account: tuple[str, str] | None = None,
        threads: int | None = None,
    ) -> None:
        """Start it; `threads` are those of its arithmetic, None leaves them to it."""
        self.account = account
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / f"server-{port}.log"
        command = [sys.executable, *start, "--port", str(port), *flags]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self.watched = psutil.Process(self.process.pid)
        self.http = httpx.Client(base_url=self.url, timeout=10, verify=False)  # no TLS here: making its context is slow
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(self.log.read_text())
            time.sleep(0.2)
        self.log_in(self.http)
        self.functions = self._functions()

    def log_in(self, client: httpx.Client) -> None:
        """Log a client in, where that is asked for."""
        if self.account is not None:
            answer = client.post("/login", data=dict(zip(("username", "password"), self.account, strict=True)))
            assert answer.status_code == 200, answer.text

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/healthz").status_code == 200
        return False

    def _functions(self) -> dict[str, int]:
        config = self.http.get("/config").json()
        return {one["api_name"]: one["id"] for one in config["dependencies"] if one.get("api_name")}

    def health(self) -> dict:
        """What /healthz says."""
        return self.http.get("/healthz").json()

    def await_idle(self, patience_s: float = 60.0) -> dict:
        """Wait until the device is free; return the state."""
        deadline = time.monotonic() + patience_s
        while (state := self.health())["status"] == "busy":
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return state

    def stop(self, number: int = signal.SIGTERM, patience_s: float = 30.0) -> tuple[int, float, list]:
        """End the server by a signal; return its exit status, the seconds it took and the children it left."""
        children = self.watched.children(recursive=True)
        before = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(patience_s)
        return status, time.monotonic() - before, [child for child in children if child.is_running()]

    def __enter__(self) -> Server:
        """Return the started server."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it and its children if it has not ended yet."""
        if self.process.poll() is None:
            for one in [*self.watched.children(recursive=True), self.watched]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait()


@dataclass
class Outcome:
    """How a request ended: "done", "refused" (a sentence) or "lost" (no answer)."""

    kind: str
    sentence: str = ""
    digest: str = ""
    seconds: float = 0.0
    first_s: float = 0.0
    data: list = field(default_factory=list)


class Visitor:
    """One session."""

    def __init__(self, server: Server, **headers: str) -> None:
        self.server, self.session = server, secrets.token_hex(6)
        self.http = httpx.Client(base_url=server.url, timeout=ANSWER_S, headers=headers, verify=False)
        server.log_in(self.http)

    def __enter__(self) -> Visitor:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.http.close()

    def upload(self, content: bytes, name: str = "file.png") -> str:
        """Upload a file; return its path on the server."""
        answer = self.http.post(f"{API}/upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def join(self, task: str, data: list) -> httpx.Response:
        """Ask for a task."""
        body = {"data": data, "fn_index": self.server.functions[task], "session_hash": self.session}
        return self.http.post(f"{API}/queue/join", json=body)

    def events(self) -> Iterator[dict]:
        """What the server tells this session, until it closes the stream."""
        with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def run(self, task: str, data: list, fetch: bool = True) -> Outcome:
        """Run a task to its end."""
        before = time.monotonic()
        joined = self.join(task, data)
        if joined.status_code != 200:
            return Outcome("refused", str(joined.json().get("detail")), seconds=time.monotonic() - before)
        for event in self.events():
            if event["msg"] != "process_completed":
                continue
            seconds = time.monotonic() - before
            if not event["success"]:
                return Outcome("refused", str(event["output"].get("error")), seconds=seconds)
            files = event["output"]["data"]
            digest = self.digest(files[:2]) if fetch else ""
            return Outcome("done", digest=digest, seconds=seconds, data=files)
        return Outcome("lost", seconds=time.monotonic() - before)

    def digest(self, files: list[dict[str, Any]]) -> str:
        """SHA-256 over the files' bytes, fetched as a browser does."""
        sha = hashlib.sha256()
        for file in files:
            answer = self.http.get(f"{API}/file={file['path']}")
            assert answer.status_code == 200, answer.text
            sha.update(answer.content)
        return sha.hexdigest()


def file_data(path: str) -> dict:
    """A file of the server's, as a component takes it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
