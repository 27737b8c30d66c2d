"""What Gradio keeps for sessions goes when nobody will use it again; checked on Gradio's own holder and queue."""

from __future__ import annotations

import datetime

import gradio as gr
import pytest
from gradio.routes import App

from app.visits import Visits


@pytest.fixture
def page():
    with gr.Blocks() as blocks:
        gr.State(None)
        gr.Textbox()
    App.create_app(blocks)
    return blocks


def used(page, session, seconds_ago):
    """Let Gradio remember a session, last used some time ago."""
    page.state_holder[session].state_data[0] = "a result"
    page.state_holder.time_last_used[session] -= datetime.timedelta(seconds=seconds_ago)
    page._queue.pending_event_ids_session[session] = set()


def test_a_program_that_no_longer_asks_is_forgotten_whole(page):
    used(page, "gone", 100)
    used(page, "still here", 10)
    assert Visits().forget_idle(page, idle_s=90) == 1
    for kept in (
        page.state_holder.session_data,
        page.state_holder.time_last_used,
        page._queue.pending_event_ids_session,
    ):
        assert set(kept) == {"still here"}


def test_an_open_page_is_kept_and_a_closed_one_for_a_while(page):
    visits = Visits()
    used(page, "page", 10_000)
    with visits.open_page("page"), visits.open_page("page"):
        pass  # two tabs came and went
    with visits.open_page("page"):
        assert visits.forget_idle(page) == 0
    assert visits.forget_idle(page, idle_s=1, closed_page_s=20_000) == 0
    assert visits.forget_idle(page, idle_s=1, closed_page_s=9_000) == 1
    used(page, "page", 10)
    assert visits.forget_idle(page, idle_s=1, closed_page_s=9_000) == 1  # a program may have the same name later


def test_a_session_with_a_run_under_way_is_kept(page):
    used(page, "waits", 100)
    page._queue.pending_event_ids_session["waits"] = {"event"}
    page._queue.event_ids_to_events["event"] = object()
    assert Visits().forget_idle(page) == 0
    del page._queue.event_ids_to_events["event"]  # done, though nobody read the answer
    assert Visits().forget_idle(page) == 1
