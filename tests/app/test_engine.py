"""The engine in this process: plain requests in, the pipeline's own outputs back."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

from app.engine import Engine, Engines, Request, Resident
from app.jobs import Stopped
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


def test_several_engines_end_together_and_their_health_is_the_worst_of_theirs(pipe):
    one, other = (Engine(Resident(pipe, name)) for name in ("one", "other"))
    both = Engines([one, other])
    run = other.run(Request("visitor", Settings("joint_generation", "a red ball", 7, 100, 2.0, "other")))
    next(run)
    health = both.health()
    assert (health.status, health.model, health.device, health.replicas) == ("busy", "one, other", "CPU, CPU", 2)
    assert [each.status for each in health.models] == ["ready", "busy"]
    assert health.waiting + health.jobs == sum(each.waiting + each.jobs for each in health.models) == 1
    both.abandon("visitor")
    with pytest.raises(Stopped):
        list(run)
    one.close()
    assert (both.health().status, other.health().status) == ("stopping", "ready")
    both.close()
    assert other.health().status == "stopping" and Engines([other]).health() == other.health()


def test_warm_up_measures_a_step_on_a_machine_that_is_busy_for_a_moment(pipe, monkeypatch):
    generate = pipe.joint_generation

    def interrupted(*given, callback_on_step_end, **how):
        def late(step, *rest):
            time.sleep(step == 2)
            callback_on_step_end(step, *rest)

        return generate(*given, callback_on_step_end=late, **how)

    monkeypatch.setattr(pipe, "joint_generation", interrupted)
    assert 0 < Resident(pipe, "tiny").warm_up() < 1
