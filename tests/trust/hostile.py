"""What strangers may try on a real server: other people's files, odd requests, bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.trust import corpus
from tests.trust.checks import LEAK, MB, SHORT, Row, at_most, is_plain
from tests.trust.studio import API, Outcome, Server, Visitor, file_data


def surface(server: Server, requests: int) -> list[Row]:
    """Odd requests to every route that is open: no server error, nothing of the machine in an answer."""
    random = np.random.default_rng(0)
    values = [None, "", 0, -1, 2**70, 1.5, True, [], {}, "x" * 3000, "../../x", "\0", "\ud83d", [[[]]], {"path": None}]
    values += [
        {"path": "/etc/passwd"},
        {"__type__": "state"},
        {"path": "x", "url": "http://127.0.0.1:1"},
        "a",
        7,
        31,
        32,
    ]
    posts = [
        "queue/join",
        "cancel",
        "reset",
        "run/predict",
        "run/stop",
        "api/waiting",
        "call/joint_generation",
        "upload",
    ]
    posts += ["call/v2/joint_generation", "call/nothing", "run/nothing"]
    gets = [
        "info",
        "openapi.json",
        "startup-events",
        "app_id",
        "user",
        "token",
        "queue/status",
        "file=",
        "file=x",
        "file=%",
    ]
    gets += ["queue/data", "queue/data?session_hash=%00", "upload_progress", "upload_progress?upload_id=x", "call/a/b"]
    fields = ["data", "fn_index", "session_hash", "event_id", "trigger_id", "event_data", "simple_format", "batched"]
    failed, leaks = [], []
    with Visitor(server) as visitor:
        for _ in range(requests):
            chosen = random.choice(len(fields), random.integers(0, 7), replace=False)
            body = {fields[index]: values[random.integers(len(values))] for index in chosen}
            if random.random() < 0.5:
                body["data"] = [values[index] for index in random.integers(0, len(values), random.integers(0, 8))]
            if random.random() < 0.5:
                body["fn_index"] = int(random.choice([server.functions["joint_generation"], 0, 16, 18, 24, 32]))
            if random.random() < 0.3:
                path = str(random.choice(gets))
                answer = visitor.http.get(f"{API}/{path}")
            else:
                path = str(random.choice(posts))
                content = json.dumps(body).encode()
                content = content[: random.integers(0, len(content))] if random.random() < 0.1 else content
                kind = {
                    "content-type": random.choice(["application/json", "text/plain", "multipart/form-data; boundary=x"])
                }
                answer = visitor.http.post(f"{API}/{path}", content=content, headers=kind)
            if answer.status_code >= 500:
                failed.append((path, answer.status_code, body))
            if path not in ("info", "openapi.json") and LEAK.search(answer.text):
                leaks.append((path, answer.text[:200]))
        server.await_idle()
        right = visitor.run("joint_generation", SHORT).kind == "done"
    return [
        Row(f"{requests} odd requests: server errors", str(failed[:3] or 0), "0", not failed),
        Row("tracebacks or paths in an answer", str(leaks[:3] or 0), "0", not leaks),
        Row("serves afterwards", str(right), "True", right),
    ]


def bad_inputs(server: Server, every: int = 1) -> list[Row]:
    """The corpus over HTTP: each kind ends as it must, in words."""
    before = server.watched.memory_info().rss
    peak, wrong, leaks, count = before, [], [], 0
    with Visitor(server) as visitor:
        expected = visitor.run("joint_generation", SHORT).digest
        cases: list[tuple[str, Callable[[], Outcome], str]] = []
        for file in [*corpus.pictures(), *corpus.depth_maps()][::every]:
            cases.append((file.name, lambda file=file: sent(visitor, file), file.ends))
        for call in [*corpus.calls()][::every]:
            cases.append((call.name, lambda call=call: visitor.run(call.task, call.data), corpus.REFUSED))
        for name, send, ends in cases:
            outcome = send()
            count += 1
            if outcome.kind != ends or (ends == corpus.REFUSED and not is_plain(outcome)):
                wrong.append((name, outcome.kind, outcome.sentence))
            if outcome.kind == "refused" and LEAK.search(outcome.sentence):
                leaks.append(name)
            peak = max(peak, server.watched.memory_info().rss)
        right = visitor.run("joint_generation", SHORT).digest == expected
    return [
        Row(f"{count} kinds of bad input: ended otherwise", str(wrong[:3] or 0), "0", not wrong),
        Row("tracebacks or paths in a reply", str(leaks[:3] or 0), "0", not leaks),
        at_most("memory rise", (peak - before) / MB, 300, " MB"),
        Row("next result bit-exact", "yes" if right else "no", "yes", right),
    ]


def sent(visitor: Visitor, file: corpus.File) -> Outcome:
    """Upload a file and run its task."""
    answer = visitor.http.post(f"{API}/upload", files={"files": (file.file_name, file.content)})
    if answer.status_code != 200:
        return Outcome("refused", str(answer.json().get("detail")) if answer.content[:1] == b"{" else answer.text)
    return visitor.run(file.task, file.data(file_data(answer.json()[0])), fetch=False)


def access(server: Server) -> list[Row]:
    """What is not one's own cannot be reached."""
    entered, count = [], 0
    with Visitor(server) as one, Visitor(server) as other:
        mine = one.upload(corpus.saved(corpus.noise()))
        result = one.run("joint_generation", SHORT).data[0]["path"]
        root = Path(mine).parents[2]
        private = next((root / "visitors").glob(f"{one.session}/*/*.png"))
        guesses = [
            Path(mine).parents[1] / ("0" * 64) / "file.png",
            Path(mine).parents[1],
            root,
            private,
            private.parent,
        ]
        targets = [
            f"{API}/file={path}" for path in (*guesses, "/etc/passwd", "/proc/self/environ", "app.py", ".git/config")
        ]
        targets += [f"{API}/file={mine}/../../../../../etc/passwd", f"{API}/file=../../../../etc/passwd"]
        targets += [f"{API}/file=%2e%2e/%2e%2e/etc/passwd", f"{API}/file=..%2f..%2fetc/passwd", f"{API}/file=%00"]
        targets += [f"{API}/file={address}" for address in ("file:///etc/passwd", "http://127.0.0.1:1/", "//a/b")]
        targets += [
            f"{API}/proxy=http://127.0.0.1:1/",
            "/static/..%2f..%2f..%2fetc/passwd",
            "/assets/../../../etc/passwd",
        ]
        targets += [
            "/monitoring",
            "/monitoring/summary",
            f"{API}/vibe-code",
            f"{API}/dev/reload",
            f"{API}/runs",
            "/docs",
        ]
        targets += [f"{API}/call/joint_generation/{'0' * 32}", f"{API}/component_server", f"{API}/process_recording"]
        for target in targets:
            answer = other.http.get(target)
            count += 1
            if answer.status_code == 200 and not answer.text.startswith("event: error"):
                entered.append(target)
        for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
            for method, target in (("GET", "/config"), ("POST", f"{API}/queue/join"), ("OPTIONS", f"{API}/queue/join")):
                answer = other.http.request(method, target, headers={"origin": origin})
                count += 1
                if answer.status_code != 403 or "access-control-allow-origin" in answer.headers:
                    entered.append(f"{method} {target} from {origin}")
        if other.http.get("/config", headers={"host": "evil.example"}).status_code != 421:
            entered.append("a foreign name")
        body = {"data": SHORT, "fn_index": server.functions["joint_generation"]}
        for target in (f"{API}/run/joint_generation", f"{API}/api/joint_generation", f"{API}/run/predict"):
            count += 1
            if other.http.post(target, json=body).status_code == 200:
                entered.append(f"past the queue by {target}")
        own = one.http.get(f"{API}/file={mine}").status_code == one.http.get(f"{API}/file={result}").status_code == 200
    return [
        Row(f"{count} ways to what is not one's own: entered", str(entered[:3] or 0), "0", not entered),
        Row("one's own files", "served" if own else "refused", "served", own),
    ]
