"""The engine in this process: plain requests in, the pipeline's own outputs back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from app.engine import Engine, Request, Resident
from jointdit_core.results import Settings


@pytest.fixture
def engine(pipe):
    return Engine(Resident(pipe, "tiny"))


@pytest.mark.parametrize("task", ["joint_generation", "depth_estimation", "depth_to_image"])
def test_a_request_survives_the_way_to_another_process_and_gives_what_the_pipeline_gives(
    engine, pipe, picture, disparity, task
):
    given = {"depth_estimation": np.asarray(picture), "depth_to_image": disparity}.get(task)
    guidance = None if task == "depth_estimation" else 2.0
    asked = Settings(task, "a red ball", 7, 2, guidance, "tiny")
    request = pickle.loads(pickle.dumps(Request("visitor", asked, given, "name")))
    *_, output = engine.run(request)
    expected = asked.run(pipe, given)
    assert output.image.tobytes() == expected.image.tobytes()
    np.testing.assert_array_equal(output.disparity, expected.disparity)
    assert pickle.loads(pickle.dumps(output)).image.tobytes() == expected.image.tobytes()


def test_health_tells_what_runs_where(engine):
    health = engine.health()
    assert (health.status, health.model, health.device, health.replicas) == ("ready", "tiny", "CPU", 1)
    engine.close(0)
    assert engine.health().status == "stopping"


def test_warm_up_measures_a_step(pipe):
    assert 0 < Resident(pipe, "tiny").warm_up() < 10
