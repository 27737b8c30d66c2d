"""A page before two models whose replicas fail when they are told to, on a real local Ray."""

from __future__ import annotations

from tests.serve import faults
from tests.serve.test_serve import hold, model  # noqa: F401


def test_two_models_behind_one_page_survive_their_faults(tmp_path, model):  # noqa: F811
    hold(*faults.all_of(tmp_path, model, 1))
