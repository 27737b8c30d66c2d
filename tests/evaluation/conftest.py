"""The benchmarks' layouts, written once."""

import pytest

from tests.evaluation.layouts import WRITERS


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Data set -> its folder and true depths, written when first asked for."""
    made = {}

    def write(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, WRITERS[name](folder)
        return made[name]

    return write
