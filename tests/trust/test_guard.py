"""The guard around a small ASGI application: what passes, what is refused, and that nothing else is said."""

from __future__ import annotations

import asyncio
import errno
import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import limits
from app.engine import Engine, Resident
from app.guard import Guard, Policy
from app.lane import Lane
from app.server import policy, read_accounts
from jointdit_core import JointDiTOutput
from tests.tiny import tiny_pipeline

HOST = (b"host", b"127.0.0.1:7860")
JOIN = f"{limits.API}/queue/join"
MODEL = Resident(tiny_pipeline(), "tiny")


def ask(guard, method="GET", path="/", body=b"", headers=(), chunks=None, query=b"", client="10.0.0.1"):
    """Send one request; return status, headers and body of the answer."""
    parts = [body] if chunks is None else list(chunks)
    sent = []

    async def receive():
        if parts:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    names = {name for name, _ in headers}
    head = [*headers, *([] if b"host" in names else [HOST])]
    if chunks is None and b"content-length" not in names:
        head.append((b"content-length", str(len(body)).encode()))
    scope = {"type": "http", "method": method, "path": path, "headers": head, "query_string": query}
    asyncio.run(guard({**scope, "client": (client, 1)}, receive, send))
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1 and not sent[-1].get("more_body")
    answered = b"".join(message.get("body", b"") for message in sent[1:])
    return starts[0]["status"], {k.decode(): v.decode() for k, v in starts[0]["headers"]}, answered


class Echo:
    """Reads the whole body and answers with its length; or does what `act` says."""

    def __init__(self, act=None):
        self.act, self.calls = act, 0

    async def __call__(self, scope, receive, send):
        self.calls += 1
        self.scope, length = scope, 0
        while True:
            message = await receive()
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if self.act is not None:
            await self.act(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"server", b"x")]})
        await send({"type": "http.response.body", "body": str(length).encode()})


def guarded(app=None, rules=None, places=limits.PLACES, **more):
    return Guard(app or Echo(), Engine(MODEL, Lane(places)), rules or policy("127.0.0.1", None, 1e9), **more)


def test_health_tells_the_state_and_503_once_stopping():
    guard = guarded()
    status, _, body = ask(guard, path="/healthz")
    facts = json.loads(body)
    assert status == 200 and facts["status"] == "ready"
    assert (facts["model"], facts["device"], facts["replicas"]) == ("tiny", "CPU", 1)
    guard.engine.close(0)
    status, _, body = ask(guard, path="/healthz")
    assert status == 503 and json.loads(body)["status"] == "stopping"


def test_every_answer_carries_the_security_headers_and_a_request_id():
    guard = guarded()
    ids = set()
    for path in ("/", "/nothing", "/healthz"):
        _, headers, _ = ask(guard, path=path)
        assert headers["x-content-type-options"] == "nosniff"
        assert "connect-src 'self' data: blob:;" in headers["content-security-policy"]
        assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"]
        ids.add(headers["x-request-id"])
    assert len(ids) == 3


def test_a_visitor_cannot_choose_the_request_id():
    app = Echo()
    _, headers, _ = ask(guarded(app), headers=[(b"x-request-id", b"mine")])
    seen = [value for name, value in app.scope["headers"] if name == b"x-request-id"]
    assert seen == [headers["x-request-id"].encode()] != [b"mine"]


@pytest.mark.parametrize(
    "origin", [b"https://evil.example", b"http://127.0.0.1:1", b"null", b"http://127.0.0.1:7860.evil.example", b""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_origins_are_refused(origin, method):
    app = Echo()
    status, headers, _ = ask(guarded(app), method, "/", headers=[(b"origin", origin)])
    assert status == 403 and app.calls == 0 and "access-control-allow-origin" not in headers


def test_the_own_origin_passes_directly_and_behind_a_proxy():
    assert ask(guarded(), headers=[(b"origin", b"http://127.0.0.1:7860")])[0] == 200
    behind = guarded(rules=policy("127.0.0.1", "studio.example.org"))
    proxied = [(b"x-forwarded-host", b"studio.example.org"), (b"origin", b"https://studio.example.org")]
    assert ask(behind, headers=proxied)[0] == 200
    assert ask(behind, headers=[(b"host", b"studio.example.org")])[0] == 200


def test_a_server_for_this_machine_answers_to_no_other_name():
    for name in (b"evil.example", b"evil.example:7860", b"127.0.0.1.evil.example"):
        assert ask(guarded(), headers=[(b"host", name)])[0] == 421
    for name in (b"localhost:7860", b"[::1]:7860", b"LOCALHOST"):
        assert ask(guarded(), headers=[(b"host", name)])[0] == 200
    assert ask(guarded(rules=policy("0.0.0.0", None)), headers=[(b"host", b"192.168.0.7:7860")])[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/x/dashboard",
        f"{limits.API}/proxy=http://127.0.0.1",
        f"{limits.API}/vibe-edit",
        f"{limits.API}/dev/reload",
        f"{limits.API}/component_server",
        f"{limits.API}/process_recording",
        f"{limits.API}/custom_component/a/b/c/d",
        f"{limits.API}/runs",
        f"{limits.API}/deep_link",
        f"{limits.API}/file=http://127.0.0.1/x",
        f"{limits.API}/file=file:///etc/passwd",
        f"{limits.API}/file=/tmp/../etc/passwd",
        f"{limits.API}/file=a\\..\\b",
        f"{limits.API}/file=//host/share",
        f"{limits.API}/file=a\0b",
        "/docs",
        "/redoc",
        "/.env",
        "/../etc/passwd",
    ],
)
def test_routes_that_the_page_does_not_need_are_not_there(path):
    app = Echo()
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "HEAD"):
        assert ask(guarded(app), method, path)[0] == 404
    assert app.calls == 0


def test_tools_are_there_only_where_they_are_served():
    call = [b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}']
    for path in (limits.TOOLS, f"{limits.TOOLS}/"):
        assert ask(guarded(), "POST", path, chunks=call)[0] == 404
        assert ask(guarded(rules=Policy(with_tools=True)), "POST", path, chunks=call)[0] == 200
        assert ask(guarded(rules=Policy(with_tools=True)), "GET", path)[0] == 404
    too_large = [(b"content-length", str(limits.TOOL_BYTES + 1).encode())]
    assert ask(guarded(rules=Policy(with_tools=True)), "POST", limits.TOOLS, headers=too_large)[0] == 413
    fetched = [b'{"params": {"image": {"path": "http://127.0.0.1/a.png"}}}']
    assert ask(guarded(rules=Policy(with_tools=True)), "POST", limits.TOOLS, chunks=fetched)[0] == 400


@pytest.mark.parametrize(
    ("path", "most"), [(JOIN, limits.JSON_BYTES), (limits.UPLOAD, limits.body_limit(limits.UPLOAD))]
)
def test_large_bodies_are_refused_by_their_header_and_as_they_come(path, most):
    app = Echo()
    head = [(b"content-length", str(most + 1).encode())]
    assert ask(guarded(app), "POST", path, headers=head)[0] == 413 and app.calls == 0
    piece = b" " * 500_000
    status, _, body = ask(guarded(app), "POST", path, chunks=[piece] * (most // len(piece) + 1))
    assert status == 413 and b"at most" in body
    assert ask(guarded(app), "POST", limits.UPLOAD, chunks=[piece] * 4)[2] == b"2000000"


@pytest.mark.parametrize("length", [b"-1", b"x", b"1e3", "²".encode()])
def test_a_length_that_is_no_number_is_refused(length):
    assert ask(guarded(), "POST", JOIN, headers=[(b"content-length", length)])[0] == 400


def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(limits, "BODY_PATIENCE_S", 0.05)

    async def never():
        await asyncio.sleep(10)

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": limits.UPLOAD, "headers": [HOST], "query_string": b""}
    asyncio.run(guarded()(scope, never, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"a":' * 3000 + b"1" + b"}" * 3000],
)
def test_bodies_that_are_no_json_objects_are_refused(body):
    assert ask(guarded(), "POST", JOIN, body)[0] == 400


@pytest.mark.parametrize(
    "path", ["http://a/b", "HTTPS://a", "file:///x", "data:,x", "//a/b", "../x", "a/../../b", 7, ["x"]]
)
def test_files_that_were_not_uploaded_here_are_refused(path):
    body = json.dumps({"data": [{"deep": [{"path": path}]}], "fn_index": 1}).encode()
    status, _, answer = ask(guarded(), "POST", JOIN, body)
    assert status == 400 and b"uploaded here first" in answer


def test_an_uploaded_file_and_ordinary_bodies_pass_unchanged():
    body = json.dumps({"data": ["a: b", {"path": "/tmp/x/a.png", "url": "http://h/f"}], "fn_index": 1}).encode()
    assert ask(guarded(), "POST", JOIN, body)[2] == str(len(body)).encode()
    assert ask(guarded(), "POST", "/login", b"username=a&password=b")[0] == 200


def test_each_address_has_a_rate_of_its_own():
    guard = guarded(rules=Policy(posts_per_minute=40.0))
    statuses = [ask(guard, "POST", JOIN, b"{}")[0] for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    _, headers, body = ask(guard, "POST", JOIN, b"{}")
    assert int(headers["retry-after"]) >= 1 and b"Too many requests; please wait" in body
    assert ask(guard, "POST", JOIN, b"{}", client="10.0.0.2")[0] == 200
    assert ask(guard, "GET", "/")[0] == 200  # reading has another bucket
    logins = [ask(guard, "POST", "/login", b"", client="10.0.0.3")[0] for _ in range(12)]
    assert logins == [200] * 10 + [429] * 2


def test_the_memory_of_addresses_is_bounded():
    rates = limits.Rates(60)
    for number in range(limits.KEPT_ADDRESSES + 100):
        rates.ask(str(number), "GET", "/")
    assert len(rates._buckets) == limits.KEPT_ADDRESSES


def test_other_models_pages_are_answered_where_there_are_any():
    behind = guarded(rules=policy("127.0.0.1", None, 1e9, pages=frozenset({"flux-dev"})))
    assert [ask(behind, path=path)[0] for path in ("/flux-dev", "/flux-dev/", "/other")] == [200, 200, 404]
    assert ask(behind, "POST", "/flux-dev")[0] == ask(guarded(), path="/flux-dev")[0] == 404


def test_runs_are_refused_at_the_door_while_the_lane_is_full():
    guard = guarded(places=1)
    guard.runs = dict.fromkeys(("7", "joint_generation"), guard.engine)
    lane = guard.engine.lane
    go = threading.Event()
    runs = [lane.run(name, None, lambda on_step: go.wait(20) and JointDiTOutput(0, 0, 0, ())) for name in "ab"]
    for run in runs:
        next(run)
    call = f"{limits.API}/call/joint_generation"
    for path, body in ((JOIN, b'{"fn_index": 7}'), (call, b"{}"), (call + "/", b"{}")):
        status, headers, answer = ask(guard, "POST", path, body)
        assert status == 429 and b"The server is busy" in answer and headers["retry-after"]
    assert ask(guard, "POST", JOIN, b'{"fn_index": 8}')[0] == 200
    go.set()
    for run in runs:
        list(run)


def test_a_run_that_gradio_refuses_keeps_no_place():
    async def refuse(scope, receive, send):
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    guard = guarded(Echo(refuse), places=1)
    guard.runs = {"7": guard.engine}
    assert [ask(guard, "POST", JOIN, b'{"fn_index": 7}')[0] for _ in range(5)] == [400] * 5
    guard.app = Echo()
    statuses = [ask(guard, "POST", JOIN, b'{"fn_index": 7}')[0] for _ in range(3)]
    assert statuses == [200, 200, 429]  # those that were let in are waited for


def test_a_page_is_open_as_long_as_its_heartbeat():
    seen = []

    async def beat(scope, receive, send):
        seen.append(dict(guard.visits._open))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = guarded(Echo(beat))
    ask(guard, path=f"{limits.API}/heartbeat/abc")
    ask(guard, path=f"{limits.API}/info")
    assert seen == [{"abc": 1}, {}] and not guard.visits._open


def test_closing_the_stream_of_events_early_gives_the_device_back():
    async def stream(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await receive()
        await send({"type": "http.response.body", "body": b""})

    guard = guarded(Echo(stream))
    left = []
    guard.engine.abandon = left.append
    ask(guard, path=f"{limits.API}/queue/data", query=b"session_hash=abc&x=1")
    assert left == ["abc"]
    left.clear()
    whole = guarded()  # answers completely, then notices that the connection is gone
    whole.engine.abandon = left.append
    ask(whole, path=f"{limits.API}/queue/data", query=b"session_hash=abc")
    assert left == []


@pytest.mark.parametrize(
    ("error", "method", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device: /secret/path"), "POST", 507),
        (OSError(errno.EDQUOT, "Quota: /secret/path"), "GET", 507),
        (KeyError("/secret/path"), "POST", 400),
        (RuntimeError("/secret/path"), "GET", 500),
        (ExceptionGroup("x", [OSError(errno.ENOSPC, "/secret/path")]), "POST", 507),
    ],
)
def test_failures_are_one_sentence_without_a_path(error, method, status, caplog):
    async def fail(scope, receive, send):
        raise error

    path = limits.UPLOAD if method == "POST" else "/"
    got, headers, body = ask(guarded(Echo(fail)), method, path)
    assert got == status and b"secret" not in body and b"Traceback" not in body
    assert json.loads(body)["error"].endswith(".") and headers["x-content-type-options"] == "nosniff"


def test_a_server_error_of_the_application_is_replaced():
    async def fail(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"Traceback: /secret/path"})

    for method, path, status in (("POST", f"{limits.API}/run/predict", 400), ("GET", "/", 500)):
        got, _, body = ask(guarded(Echo(fail)), method, path, b"{}" if method == "POST" else b"")
        assert got == status and b"secret" not in body


def test_a_stream_that_the_application_gives_up_is_ended(caplog):
    async def fail(scope, receive, send):
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"data: 1", "more_body": True})
        raise KeyError("secret")

    assert ask(guarded(Echo(fail)), path=f"{limits.API}/queue/data")[2] == b"data: 1"


NAMES = st.sampled_from([b"host", b"origin", b"content-length", b"x-forwarded-host", b"range", b"cookie", b"x"])
PATHS = st.one_of(
    st.text(max_size=30).map("/".__add__),
    st.sampled_from(["/", JOIN, limits.UPLOAD, "/login", f"{limits.API}/file=", f"{limits.API}/call/x", "/healthz"]),
    st.text(max_size=30).map(f"{limits.API}/file=".__add__),
)


@settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "", "get", "\0"]),
    PATHS,
    st.lists(st.tuples(NAMES, st.binary(max_size=12)), max_size=4),
    st.one_of(
        st.binary(max_size=40), st.recursive(st.none() | st.text(max_size=5), st.lists).map(repr).map(str.encode)
    ),
)
def test_any_request_is_answered_without_a_server_error(method, path, headers, body):
    status, answered, _ = ask(guarded(), method, path, body, headers)
    assert status < 500 and answered["x-content-type-options"] == "nosniff"


def test_accounts_come_from_the_command_line_or_a_file(tmp_path):
    (tmp_path / "accounts").write_text("ann:one:two\n\nbob:x\n")
    assert read_accounts(["eve:y", f"@{tmp_path / 'accounts'}"]) == [("eve", "y"), ("ann", "one:two"), ("bob", "x")]
    assert read_accounts([]) is None
    for wrong in ("secret", "secret:", ":secret"):
        with pytest.raises(ValueError, match="--auth must be") as caught:
            read_accounts([wrong])
        assert "secret" not in str(caught.value)
