"""The page is quick: `python -m tests.page.times` measures it well, here a busy machine may take longer."""

from __future__ import annotations

from tests.page import times
from tests.page.desk import TEXT

PATIENCE = 3  # times what is promised


def test_the_page_is_quick_to_open(browser, server):
    painted, ready = times.loading(browser, server)
    assert painted < 2 * PATIENCE and ready < 4 * PATIENCE


def test_the_view_is_quick_to_draw_to_turn_and_to_lift_anew(desk):
    times.lifting(desk, 2, 0)  # no edges cut: each pixel is a point
    opened = min(times.opening(desk, number) for number in (1, 2))
    assert times.points(desk) >= 65_000
    assert opened < 2.5 * PATIENCE
    assert times.turning(desk) < 0.35 * PATIENCE
    assert min(times.lifting(desk, 0, value) for value in (50, 60, 70)) < 0.5 * PATIENCE


def test_stop_is_answered_at_once(desk):
    desk.open(TEXT, settings=True)
    desk.set("Steps", 100)
    assert times.stopping(desk, 2) < 1 * PATIENCE
