"""The log: one JSON object per line on standard error, with the request's id and without anything of the visitor's."""

from __future__ import annotations

import contextvars
import hashlib
import json
import logging
import sys
import time
import traceback
from pathlib import Path

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

FACTS = ("visitor", "status", "seconds", "steps", "waiting", "route", "method")  # numbers and our own words only


class JsonLines(logging.Formatter):
    """Formats records as JSON lines.

    An exception is named by its class and the places it passed, since its message may quote a prompt, a path or a
    token; prompts and messages are written only if asked for.
    """

    def __init__(self, with_prompts: bool = False) -> None:
        super().__init__()
        self.with_prompts = with_prompts

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request": getattr(record, "request", "") or request_id.get(),
            "event": record.getMessage() if record.name.split(".")[0] == "app" or self.with_prompts else record.msg,
        }
        line |= {name: getattr(record, name) for name in FACTS if getattr(record, name, None) is not None}
        if self.with_prompts and getattr(record, "prompt", None) is not None:
            line["prompt"] = record.prompt
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1], self.with_prompts)
        return json.dumps(line, ensure_ascii=False, default=str)


def describe(error: BaseException, with_message: bool) -> dict:
    """Return an exception's class and the places it passed, innermost last; its message only if asked for."""
    frames = traceback.extract_tb(error.__traceback__)
    facts = {
        "type": type(error).__name__,
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
    return facts | ({"message": str(error)} if with_message else {})


def set_up(with_prompts: bool) -> None:
    """Send all logging of this process through `JsonLines`.

    Args:
        with_prompts: whether prompts and exceptions' messages are written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(with_prompts))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("app").setLevel(logging.INFO)


def visitor_tag(session: str) -> str:
    """Return what tells visitors apart in the log; the session itself would open their results."""
    return hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()[:8]
