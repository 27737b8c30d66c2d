"""The figures and lists behind `guard`: which routes there are, how large and how frequent requests may be."""

from __future__ import annotations

import re
import time
from collections import OrderedDict

from jointdit_core.decoding import MAX_FILE_BYTES

API = "/gradio_api"
UPLOAD, TOOLS = f"{API}/upload", f"{API}/mcp"
FORM_BYTES = 1_000_000  # what a form adds to its file
JSON_BYTES = 1_000_000  # settings and addresses of files, never files
TOOL_BYTES = 16_000_000  # a tool's call, which may hold a picture of 12 MB as text
BODY_PATIENCE_S = 30.0  # longest silence while a body comes in

PLACES = 10  # runs that may wait behind the running one
TIME_LIMIT_S = 900.0  # of one run on the device; 100 steps of the largest model take a third of it

POSTS_PER_MINUTE = 240.0
GETS_PER_MINUTE = 3000.0  # opening the page takes about a hundred
LOGINS_PER_MINUTE = 10.0
BURST_MINUTES = 0.25  # of each, at once
LOGIN_BURST = 10.0
KEPT_ADDRESSES = 4096

_NAME = "[A-Za-z0-9_-]{1,80}"
_OFFERED = {
    "GET": re.compile(
        rf"/|/(config|theme\.css|manifest\.json|robots\.txt|favicon\.ico|pwa_icon(/\w+)?|login_check|logout)/?"
        rf"|/(assets|static|svelte)/.*"
        rf"|{API}/(info|openapi\.json|startup-events|app_id|user|token|login_check|theme\.css|queue/(data|status)"
        rf"|upload_progress|heartbeat/{_NAME}|call/(v2/)?{_NAME}/{_NAME}|file=.*)/?",
        re.DOTALL,
    ),
    "POST": re.compile(
        rf"/login/?|{API}/(upload|queue/join|cancel|reset|(run|api)/{_NAME}|call/(v2/)?{_NAME})/?", re.DOTALL
    ),
}  # monitoring, proxying, recording, editing and development routes of Gradio are not among them
_OFFERED["HEAD"] = _OFFERED["GET"]
_FILE = re.compile(rf"{API}/file=(.*)", re.DOTALL)
_HEARTBEAT = re.compile(rf"{API}/heartbeat/({_NAME})/?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//|\\\\")


def is_offered(method: str, path: str, with_tools: bool = False) -> bool:
    """Tell whether the page or its API needs a route.

    Args:
        method: HTTP method.
        path: decoded path of the address.
        with_tools: whether tools are served over MCP, too.

    Returns:
        False for everything else, and for files given by a full address, a network share or a path with "..".
    """
    if method == "OPTIONS" or (with_tools and method == "POST" and path.rstrip("/") == TOOLS):
        return True
    if method not in _OFFERED or not _OFFERED[method].fullmatch(path) or "\0" in path:
        return False
    file = _FILE.fullmatch(path)
    return file is None or not _is_foreign(file[1])


def _is_foreign(path: str) -> bool:
    """Whether a file's path is an address elsewhere, or climbs."""
    return bool(_SCHEME.match(path.lstrip())) or ".." in re.split(r"[/\\]", path)


def page_session(path: str) -> str | None:
    """Return the session of a page whose heartbeat this route is, which stays open as long as the page."""
    heartbeat = _HEARTBEAT.fullmatch(path)
    return heartbeat[1] if heartbeat else None


def is_json(path: str) -> bool:
    """Tell whether a POST route takes JSON."""
    return path.startswith(API) and path.rstrip("/") != UPLOAD


def body_limit(path: str) -> int:
    """Return how many bytes a request's body may have."""
    return {UPLOAD: MAX_FILE_BYTES + FORM_BYTES, TOOLS: TOOL_BYTES}.get(path.rstrip("/"), JSON_BYTES)


def refuse_content(content: object) -> str | None:
    """Look through a JSON body for what no page of ours sends.

    Args:
        content: the parsed body.

    Returns:
        A sentence if it must be refused: it is no object, or a file in it is not one that was uploaded here.
    """
    if not isinstance(content, dict):
        return "A request must be a JSON object."
    left = [content]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left.extend(one)
        elif isinstance(one, dict):
            path = one.get("path")
            if path is not None and (not isinstance(path, str) or "\0" in path or _is_foreign(path)):
                return "A file must be uploaded here first; addresses are not fetched."
            left.extend(one.values())
    return None


def route(path: str) -> str:
    """Return a path for the log: its route, without names of files or visitors."""
    if not path.startswith(API):
        return "/" + path.lstrip("/").split("/")[0][:20] if path.isascii() and path.isprintable() else "/?"
    part = re.split(r"[=/]", path[len(API) + 1 :])[0]
    return f"{API}/{part[:20]}" if part.isascii() and part.isprintable() else f"{API}/?"


def host_name(host: str) -> str:
    """Return a Host header's name without its port, brackets and case."""
    name = re.sub(r":\d+$", "", host.strip())
    return name.strip("[]").lower()


class Rates:
    """How often each address asks: a bucket for each kind of request, which fills with time and empties by asking."""

    def __init__(self, posts_per_minute: float) -> None:
        self.kinds = {  # kind -> (requests a second, at most at once)
            "GET": (GETS_PER_MINUTE / 60, GETS_PER_MINUTE * BURST_MINUTES),
            "POST": (posts_per_minute / 60, max(1.0, posts_per_minute * BURST_MINUTES)),
            "login": (LOGINS_PER_MINUTE / 60, LOGIN_BURST),
        }
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # -> (left, at this time)

    def ask(self, address: str, method: str, path: str) -> float:
        """Count one request.

        Args:
            address: the visitor's.
            method: HTTP method.
            path: of the address.

        Returns:
            Seconds to wait before the next one; 0 or less if this one may pass.
        """
        kind = "login" if path.startswith("/login") and method == "POST" else "POST" if method == "POST" else "GET"
        a_second, most = self.kinds[kind]
        now = time.monotonic()
        left, then = self._buckets.pop((address, kind), (most, now))
        left = min(most, left + (now - then) * a_second)
        passes = left >= 1
        self._buckets[address, kind] = (left - passes, now)
        while len(self._buckets) > KEPT_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - left) / a_second
