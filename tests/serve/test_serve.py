"""The page before two replicas on a real local Ray; what depends on the machine's speed is left to the table."""

from __future__ import annotations

import pytest
import torch

from tests.serve import page
from tests.serve.fleet import children, config_file, is_alive, resident
from tests.trust.checks import Row, crowd, json_lines
from tests.trust.studio import FREE, Server


def hold(*rows: Row) -> None:
    """Fail on the rows that must hold on any machine."""
    failed = [row for row in rows if not (row.holds or row.is_timing)]
    assert rows and not failed, failed


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A page without a way to other machines, its two replicas with a thread each."""
    folder = tmp_path_factory.mktemp("serve")
    with Server(folder, FREE, "--serve", str(config_file(folder, 2, page.PLACES)), "--offline") as one:
        yield one


@pytest.fixture(scope="module")
def model():
    """The mini in this process, with one thread as each replica has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield resident()
    torch.set_num_threads(before)


def test_results_are_those_of_one_process_byte_for_byte(server, model):
    hold(page.results(server, model))


def test_a_visitor_who_leaves_frees_the_replica(server):
    hold(page.stop(server))


def test_a_crowd_is_told_that_it_is_busy(server):
    hold(*crowd(server, page.PLACES + 1, 30))


def test_a_killed_replica_is_replaced_and_loses_nobody(server, model):
    hold(*page.killed(server, model))


def test_only_this_machine_is_listened_to_and_a_signal_leaves_no_process(server):
    family = children(server.watched)
    hold(page.listening([server.watched, *family]))
    status, _, _ = server.stop()
    assert status == 0 and not [one for one in family if is_alive(one)]
    log = json_lines(server.log)
    assert "outgoing connection refused" not in log and "red ball" not in log
