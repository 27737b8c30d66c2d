"""One server and one browser for all tests of the page; a new page for each."""

from __future__ import annotations

import pytest

from tests.page.desk import Desk, browsing, private, served


@pytest.fixture(scope="package")
def server():
    with served("--offline", "--mcp") as one:
        yield one


@pytest.fixture(scope="package")
def browser():
    with browsing() as one:
        yield one


@pytest.fixture(scope="package")
def visitor(browser):
    context = private(browser)
    yield context
    context.close()


@pytest.fixture
def desk(visitor, server):
    """A page of 1366 x 768; whatever it asks for outside or complains about fails the test."""
    one = Desk(visitor, server.url)
    yield one
    one.close()
