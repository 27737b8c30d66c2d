"""The page before replicas of two models on a real local Ray; what depends on the machine's speed is in the table."""

from __future__ import annotations

import pytest
import torch

from tests.serve import faults, page
from tests.serve.fleet import children, is_alive, resident
from tests.trust.checks import TOLD, Row, crowd, json_lines


def hold(*rows: Row) -> None:
    """Fail on the rows that must hold on any machine."""
    failed = [row for row in rows if not (row.holds or row.is_timing)]
    assert rows and not failed, failed


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """The file that orders a fault."""
    return tmp_path_factory.mktemp("serve") / "orders"


@pytest.fixture(scope="module")
def server(orders):
    """A page without a way to other machines; each replica has one thread, and strikes when it is ordered to."""
    with faults.faulty(orders, "--offline") as one:
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


def test_each_model_has_its_page_and_its_limits(server, model):
    hold(*faults.models(server, model))


def test_faults_in_a_replica_are_told_and_harm_nobody_else(server, orders):
    quick = [fault for fault in TOLD if fault != "hang"]
    hold(*faults.faults(server, orders, 1, quick))


def test_a_killed_replica_is_replaced_and_loses_nobody(server, model):
    hold(*page.killed(server, model))


def test_only_this_machine_is_listened_to_and_a_signal_leaves_no_process(server):
    family = children(server.watched)
    hold(page.listening([server.watched, *family]))
    status, _, _ = server.stop()
    assert status == 0 and not [one for one in family if is_alive(one)]
    log = json_lines(server.log)
    assert "outgoing connection refused" not in log and "red ball" not in log
