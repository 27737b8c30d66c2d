"""The checks of `python -m tests.trust` at a small size; figures that depend on the machine's speed are left to it."""

from __future__ import annotations

import pytest

from tests.trust import checks, hostile
from tests.trust.studio import FREE, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A studio without a way to other machines."""
    with Server(tmp_path_factory.mktemp("server"), FREE, "--offline") as one:
        yield one
        log = checks.json_lines(one.log)
    assert "outgoing connection refused" not in log  # nothing even tried
    assert "red ball" not in log and "Traceback" not in one.log.read_text()


def hold(rows: list[checks.Row]) -> None:
    """Fail on the rows that must hold on any machine."""
    failed = [row for row in rows if not (row.holds or row.is_timing)]
    assert rows and not failed, failed


def test_mixed_requests_of_several_visitors_are_all_answered_right(server):
    hold(checks.load(server, 20, clients=4))


def test_interrupted_runs_give_the_device_back(server):
    hold(checks.interruptions(server, 1) + checks.departure(server))


def test_a_crowd_is_told_that_it_is_busy(server):
    hold(checks.crowd(server, 10, 30))


def test_what_is_not_ones_own_cannot_be_reached(server):
    hold(hostile.access(server))


def test_odd_requests_are_answered_without_a_server_error(server):
    hold(hostile.surface(server, 150))


def test_bad_inputs_over_http_are_refused_in_words(server):
    hold(hostile.bad_inputs(server, every=12))


def test_faults_are_told_plainly_and_harm_nobody_else(tmp_path):
    hold(checks.faults(tmp_path, 1))


def test_a_signal_ends_it_well(tmp_path):
    hold(checks.terminated(tmp_path))
