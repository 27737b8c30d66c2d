"""What stands before Gradio on every request: health, who may ask, for what, how much and how often.

Pure ASGI, around the whole application, so that nothing is answered without it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from app import limits, logs
from app.engine import Engine, Engines
from app.limits import Rates
from app.visits import Visits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger(__name__)

MAX_OPEN = 512  # requests at once, open event streams included; below the usual 1,024 descriptors of a process
NOT_UNDERSTOOD = "This request could not be understood."
DISK_FULL = "The server's disk is full. Your settings are kept; please try again later."
INTERNAL = "Something went wrong on the server. Your settings are kept; please try again."

# Plotly and Gradio build functions from text and write styles into the page; nothing may come from, or go, elsewhere.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-resource-policy": "same-origin",
}

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Policy:
    """Who may ask.

    Attributes:
        only_hosts: names by which this server may be called; empty for any. A page elsewhere can point a name of its
            own at this machine, so a server for this machine alone answers to this machine's names alone.
        posts_per_minute: of one visitor's address, on average.
        with_tools: whether tools are served over MCP.
        pages: paths of the pages of other models than the first.
    """

    only_hosts: frozenset[str] = frozenset()
    posts_per_minute: float = limits.POSTS_PER_MINUTE
    with_tools: bool = False
    pages: frozenset[str] = frozenset()


class Refused(Exception):
    """The request is answered here: status and a sentence."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers


@dataclass
class Answer:
    """What of the answer has been sent, and what must not be."""

    status: int | None = None
    failed: bool = False  # the application answers with a server error, which is replaced
    ended: bool = False
    refusal: Refused | None = None  # what is said instead
    is_ours: bool = False  # from here on it is said
    is_stream: bool = False  # of events
    own: dict[str, str] = field(default_factory=dict)


class Guard:
    """The ASGI application in front of Gradio's."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        engine: Engine | Engines,
        policy: Policy,
        runs: Mapping[str, Engine] | None = None,
        visits: Visits | None = None,
    ) -> None:
        """Stand before an application.

        Args:
            app: the application.
            engine: tells its health, and is told of visitors who have gone.
            policy: who may ask.
            runs: numbers and names of Gradio's events that need a device, each with the engine that it needs. Where all
                places are taken they are refused here, in a tenth of the time that Gradio would take to do so.
            visits: told which pages are open.
        """
        self.app, self.engine, self.policy, self.runs = app, engine, policy, runs or {}
        self.visits = visits or Visits()
        self.rates = Rates(policy.posts_per_minute)
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # none is offered
            await send({"type": "websocket.close", "code": 1008})
            return
        name = secrets.token_hex(4)
        logs.request_id.set(name)
        headers = [(key, value) for key, value in scope["headers"] if key != b"x-request-id"]
        scope = {**scope, "headers": [*headers, (b"x-request-id", name.encode())]}
        answer, began = Answer(own={**SECURITY_HEADERS, "x-request-id": name}), time.monotonic()
        self.open += 1
        try:
            with self.visits.open_page(limits.page_session(scope["path"])):
                await self._answer(scope, receive, send, answer)
        finally:
            self.open -= 1
            if answer.status != 200:  # of a run's place in the queue, where it had one
                self.engine.forget(name)
            if answer.status is None or answer.status >= 400:
                facts = {"method": scope["method"], "route": limits.route(scope["path"]), "status": answer.status}
                logger.info("request refused", extra={**facts, "seconds": round(time.monotonic() - began, 3)})

    async def _answer(self, scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
        outward = self._outward(send, answer)
        try:
            if scope["path"] == "/healthz":
                await self._health()(scope, receive, outward)
                return
            self._check(scope)
            inward = self._watch(scope, await self._body(scope, receive, answer), answer)
            await self.app(scope, inward, outward)
        except Refused as refusal:
            answer.refusal = refusal
        except Exception as error:
            answer.refusal = answer.refusal or _explain(error, scope)
        if answer.refusal is None and answer.failed:
            answer.refusal = _explain(None, scope)
        if answer.refusal is not None and answer.status is None:
            content = {"error": answer.refusal.sentence, "detail": answer.refusal.sentence}
            answer.is_ours = True
            response = JSONResponse(content, answer.refusal.status, headers=answer.refusal.headers)
            await response(scope, receive, outward)
        elif answer.is_stream and not answer.ended:  # the application gave up in the middle
            await outward({"type": "http.response.body", "body": b"", "more_body": False})

    def _health(self) -> JSONResponse:
        state = self.engine.health()
        return JSONResponse(asdict(state), 200 if state.status in ("ready", "busy") else 503)

    def _check(self, scope: Scope) -> None:
        """Refuse by what the request's head tells."""
        headers = Headers(scope=scope)
        hosts = {host for name in ("host", "x-forwarded-host") if (host := headers.get(name, "").split(",")[0].strip())}
        if self.policy.only_hosts and any(limits.host_name(host) not in self.policy.only_hosts for host in hosts):
            raise Refused(421, "This server does not answer to that name.")
        origin = headers.get("origin")
        if origin is not None and re.sub(r"^https?://", "", origin) not in hosts:
            raise Refused(403, "Requests from other sites are not answered.")
        is_page = scope["method"] in ("GET", "HEAD") and scope["path"].strip("/") in self.policy.pages
        if not is_page and not limits.is_offered(scope["method"], scope["path"], self.policy.with_tools):
            raise Refused(404, "There is nothing here.")
        address = scope["client"][0] if scope.get("client") else ""
        wait_s = self.rates.ask(address, scope["method"], scope["path"])
        if wait_s > 0:
            seconds = max(1, round(wait_s))
            raise Refused(429, f"Too many requests; please wait {seconds} s.", **{"retry-after": str(seconds)})
        if self.open > MAX_OPEN:
            raise Refused(503, "The server is busy. Please try again in a minute.", **{"retry-after": "60"})

    async def _body(self, scope: Scope, receive: Receive, answer: Answer) -> Receive:
        """Check the body: JSON whole and now, uploads as they come in."""
        most = limits.body_limit(scope["path"])
        too_large = Refused(413, f"This is too large; at most {most / 1e6:.0f} MB are allowed.", connection="close")
        length = Headers(scope=scope).get("content-length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise Refused(400, NOT_UNDERSTOOD)
        if int(length or 0) > most:
            raise too_large
        counted = _Counted(receive, most, too_large, answer)
        if scope["method"] != "POST" or not limits.is_json(scope["path"]):
            return counted
        body = b""
        while True:
            message = await counted()
            if message["type"] != "http.request":
                raise Refused(400, NOT_UNDERSTOOD)
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        try:
            content = orjson.loads(body)
        except ValueError:
            raise Refused(400, NOT_UNDERSTOOD) from None
        sentence = limits.refuse_content(content)
        if sentence:
            raise Refused(400, sentence)
        name = scope["path"].rstrip("/").rsplit("/", 1)[1]
        engine = self.runs.get(str(content.get("fn_index")) if name == "join" else name)
        if engine is not None:
            busy = engine.admit(answer.own["x-request-id"])
            if busy:  # 429, since Gradio's page replaces the sentence of a 503 by its own
                raise Refused(429, busy, **{"retry-after": "10"})
        return _Replayed(body, receive)

    def _watch(self, scope: Scope, receive: Receive, answer: Answer) -> Receive:
        """Let the engine know at once when the visitor closes the stream of events before its end."""
        if scope["path"] != f"{limits.API}/queue/data":
            return receive
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not answer.ended:
                self.engine.abandon(session)
            return message

        return watched

    def _outward(self, send: Send, answer: Answer) -> Send:
        """Add our headers, and hold back what must not be sent."""

        async def outward(message: Message) -> None:
            if answer.refusal is not None and answer.status is None and not answer.is_ours:
                return
            if message["type"] == "http.response.start":
                if message["status"] >= 500 and message["status"] != 503 and not answer.is_ours:
                    answer.failed = True
                    return
                answer.status = message["status"]
                headers = MutableHeaders(scope=message)
                answer.is_stream = headers.get("content-type", "").startswith("text/event-stream")
                for name, value in answer.own.items():
                    headers[name] = value
            elif answer.status is None:  # the body of an answer that is replaced
                return
            answer.ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        return outward


class _Counted:
    """A body as it comes in, up to a size and in reasonable time."""

    def __init__(self, receive: Receive, most: int, too_large: Refused, answer: Answer) -> None:
        self.receive, self.left, self.too_large, self.answer, self.whole = receive, most, too_large, answer, False

    async def __call__(self) -> Message:
        if self.whole:  # what still comes is the end of the connection, which may take as long as it likes
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), limits.BODY_PATIENCE_S)
        except TimeoutError:
            self._refuse(Refused(408, "This request took too long to arrive.", connection="close"))
        self.left -= len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.left < 0:
            self._refuse(self.too_large)
        return message

    def _refuse(self, refusal: Refused) -> None:
        self.answer.refusal = refusal  # whatever the application makes of it
        raise refusal


class _Replayed:
    """A body that was read already."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.body, self.receive = body, receive

    async def __call__(self) -> Message:
        if self.body is None:
            return await self.receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _explain(error: Exception | None, scope: Scope) -> Refused:
    """Turn a failure of the application into a sentence; the log gets the place."""
    while isinstance(error, ExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, Refused):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        logger.error("the disk is full")
        return Refused(507, DISK_FULL)
    # Work is done elsewhere, in the queue; these routes only read what came, so what they trip over is the request.
    if scope["method"] == "POST" or isinstance(error, KeyError | ValueError):
        logger.warning("request not understood", exc_info=error)
        return Refused(400, NOT_UNDERSTOOD)
    logger.error("request failed", exc_info=error)
    return Refused(500, INTERNAL)
