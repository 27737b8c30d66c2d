"""The server's life: start behind the guard, watch the engine, stop well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
from uvicorn import config as uvicorn_config

from app import endpoints
from app.engine import Engine, Engines
from app.guard import LOOPBACK, Guard, Policy
from app.handlers import VISIT_S, Studio
from app.limits import POSTS_PER_MINUTE, host_name
from app.recovery import BROKEN_STATUS
from app.session import Sessions
from app.visits import Visits
from jointdit_core.decoding import MAX_FILE_BYTES

logger = logging.getLogger(__name__)

# Ray brings a compiled parser and loop, which uvicorn would take by itself; guard and --offline were tried with these.
uvicorn_config.HTTP_PROTOCOLS["auto"] = uvicorn_config.HTTP_PROTOCOLS["h11"]
uvicorn_config.LOOP_FACTORIES["auto"] = uvicorn_config.LOOP_FACTORIES["asyncio"]

FINISH_S = 8.0  # for the running job after a signal; within the 10 s that most supervisors give
TELL_S = 1.0  # for the last answers to reach the visitors
WATCH_S = 0.25
TIDY_S = 600.0  # between two looks for files of visitors who never said goodbye
FORGET_S = 10.0  # between two looks for sessions that nobody uses any more


def policy(
    host: str,
    public_host: str | None,
    posts_per_minute: float = POSTS_PER_MINUTE,
    with_tools: bool = False,
    pages: frozenset[str] = frozenset(),
) -> Policy:
    """Return who may ask a server that listens on `host` and may be known as `public_host` behind a proxy."""
    names = {*LOOPBACK, *([host_name(public_host)] if public_host else [])} if host_name(host) in LOOPBACK else ()
    return Policy(frozenset(names), posts_per_minute, with_tools, pages)


def read_accounts(given: list[str]) -> list[tuple[str, str]] | None:
    """Read what `--auth` was given.

    Args:
        given: each "user:password", or "@file" with one such pair a line, which keeps them out of the process list.

    Returns:
        Pairs of name and password, or None if nothing was given.

    Raises:
        ValueError: if a pair is not one, with a sentence that does not repeat it.
        OSError: if a file cannot be read.
    """
    lines = []
    for entry in given:
        lines += Path(entry[1:]).read_text(encoding="utf-8").splitlines() if entry.startswith("@") else [entry]
    accounts = [tuple(line.strip().split(":", 1)) for line in lines if line.strip()]
    if given and not accounts or any(len(account) != 2 or not all(account) for account in accounts):
        raise ValueError("--auth must be user:password, or @ and a file with one such pair a line.")
    return accounts or None


def check_port(host: str, port: int | None) -> None:
    """Find out before anything is loaded whether the port can be had.

    Raises:
        ValueError: with a sentence if not.
    """
    if port is None:
        return
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError):
        raise ValueError(f"Port {port} of {host} cannot be had; choose another with --port, or leave it out.") from None


def serve(
    page: gr.Blocks, studios: Mapping[str, Studio], host: str, port: int | None, rules: Policy, **looks: Any
) -> int:
    """Serve the page until a signal comes or the device fails.

    Args:
        page: the built page.
        studios: by their path, the handlers of each model's part of it.
        host: address to listen on.
        port: port to listen on; None for the first free one from 7860.
        rules: who may ask.
        **looks: what the page's `launch` takes for looks and log-in.

    Returns:
        The process's exit status: 0 after a signal, `BROKEN_STATUS` if the device failed.
    """
    visits, engine = Visits(), Engines([studio.engine for studio in studios.values()])

    @contextlib.asynccontextmanager
    async def behind_guard(app: Any) -> AsyncIterator[None]:
        # Gradio adds middleware of its own around what it is given; from here the guard gets around all of it.
        app.middleware_stack = Guard(app.middleware_stack, engine, rules, _runs(page, studios), visits)
        forgetting = asyncio.create_task(_forget(page, visits))  # on the loop, where Gradio uses what is dropped
        yield
        forgetting.cancel()

    with _signals() as told_to_stop:
        page.launch(
            server_name=host,
            server_port=port,
            app_kwargs={"lifespan": behind_guard},
            prevent_thread_lock=True,
            max_file_size=MAX_FILE_BYTES,
            run_history=False,
            enable_monitoring=False,
            mcp_server=rules.with_tools,
            show_error=False,
            ssr_mode=False,
            **looks,
        )
        for name in ("uvicorn", "uvicorn.error"):  # uvicorn sets up its own log; ours is for all
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
        status = _watch(engine, studios[""].sessions, told_to_stop)
        logger.info("stopping")
        engine.close(FINISH_S if status == 0 else 0.0)
        time.sleep(TELL_S)
        page.close(verbose=False)
    return status


def _runs(page: gr.Blocks, studios: Mapping[str, Studio]) -> dict[str, Engine]:
    """Numbers and names of the events that need a device, each with its engine."""
    runs = [event for event in page.fns.values() if event.concurrency_id == endpoints.ON_DEVICE["concurrency_id"]]
    return {str(name): studios[event.page].engine for event in runs for name in (event._id, event.api_name)}


async def _forget(page: gr.Blocks, visits: Visits) -> None:
    while True:
        await asyncio.sleep(FORGET_S)
        visits.forget_idle(page)


def _watch(engine: Engines, sessions: Sessions, told_to_stop: threading.Event) -> int:
    """Wait for the end; keep the visitors' folders tidy meanwhile."""
    tidied = time.monotonic()
    while not told_to_stop.wait(WATCH_S):
        if engine.health().status == "broken":
            return BROKEN_STATUS
        if time.monotonic() - tidied > TIDY_S:
            tidied = time.monotonic()
            sessions.delete_older_than(VISIT_S)
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """Turn the first SIGTERM or SIGINT into an event; a second one ends the process as usual."""
    told = threading.Event()

    def tell(number: int, frame: object) -> None:
        told.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_now(status: int) -> NoReturn:
    """End the process without waiting for threads: one that hangs on the device would keep it for ever."""
    logging.shutdown()
    os._exit(status)
