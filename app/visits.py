"""Which pages are open, and what Gradio keeps for sessions that nobody will use again.

Gradio keeps a copy of the page's description, more than a megabyte with a result, for each of the last 10,000
sessions, also for those of programs, which never say goodbye.
"""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from collections.abc import Iterator

import gradio as gr

IDLE_S = 90.0  # without a page a session lives as long as a program may take from one request to the next
CLOSED_PAGE_S = 3600.0  # a page that lost its connection may come back


class Visits:
    """Counts the open pages of each session; lives on the server's event loop."""

    def __init__(self) -> None:
        """Start without a page."""
        self._open: Counter[str] = Counter()
        self._had_page: set[str] = set()

    @contextlib.contextmanager
    def open_page(self, session: str | None) -> Iterator[None]:
        """Count a page while its connection is open; None counts nothing."""
        if session is None:
            yield
            return
        self._open[session] += 1
        self._had_page.add(session)
        try:
            yield
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]

    def forget_idle(self, page: gr.Blocks, idle_s: float = IDLE_S, closed_page_s: float = CLOSED_PAGE_S) -> int:
        """Drop what Gradio keeps for sessions without an open page that were not used for a time.

        Args:
            page: the served page.
            idle_s: seconds for sessions that never had a page.
            closed_page_s: the same for those that had one.

        Returns:
            How many were dropped.
        """
        holder, queue = page.state_holder, page._queue
        now = datetime.datetime.now()  # Gradio's clock for this
        idle = [
            session
            for session, used in list(holder.time_last_used.items())
            if session not in self._open
            and not (queue.pending_event_ids_session.get(session, set()) & queue.event_ids_to_events.keys())
            and (now - used).total_seconds() > (closed_page_s if session in self._had_page else idle_s)
        ]
        for session in idle:
            holder.delete_state(session)
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)
            queue.pending_messages_per_session.pop(session, None)
            queue.pending_event_ids_session.pop(session, None)
        self._had_page.intersection_update(holder.time_last_used.keys() | self._open.keys())
        return len(idle)
