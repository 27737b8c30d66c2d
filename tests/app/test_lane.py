"""The device lane with the real pipeline at tiny size: one job at a time, stopped within a step, errors kept apart."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from app.lane import Lane, LaneError, Progress, Stopped
from jointdit_core import JointDiTOutput

STEPS = 100


def generation(pipe, steps=STEPS, seed=0, seen=None):
    def work(on_step):
        def counted(step, total, preview):
            if seen is not None:
                seen.append(step)
            on_step(step, total, preview)

        return pipe.joint_generation("a red ball", num_inference_steps=steps, seed=seed, callback_on_step_end=counted)

    return work


def test_run_reports_progress_with_previews_then_output(pipe):
    news = list(Lane().run("a", "asked", generation(pipe, 40)))
    assert isinstance(news[-1], JointDiTOutput)
    progress = [one for one in news[:-1] if one.step]
    assert [one.step for one in progress] == sorted(one.step for one in progress)
    assert all(one.total == 40 and one.image.shape == (64, 64, 3) for one in progress)
    assert all(one.disparity.shape == (64, 64) for one in progress)


def test_time_left_is_elapsed_time_per_step():
    assert Progress(1, 10, 5.0).left_s is None
    assert Progress(5, 20, 2.0).left_s == pytest.approx(6.0)


def test_two_owners_never_run_at_once(pipe):
    lane = Lane()

    def visit(number):
        list(lane.run(f"visitor{number}", None, generation(pipe, 6)))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lane.peak_active == 1


def test_stop_ends_the_job_within_a_step_and_gives_back_what_was_asked(pipe):
    lane, seen = Lane(), []
    run = lane.run("a", "asked", generation(pipe, seen=seen))
    while not next(run).step:
        pass
    before = len(seen)
    asked, progress = lane.stop("a")
    after = len(seen)
    time.sleep(0.2)
    assert asked == "asked" and progress.image is not None
    assert len(seen) == after <= before + 2 < STEPS
    with pytest.raises(Stopped):
        list(run)
    assert lane.stop("a") is None


def test_closing_the_generator_stops_the_job(pipe):
    lane, seen = Lane(), []
    run = lane.run("a", None, generation(pipe, seen=seen))
    while not next(run).step:
        pass
    run.close()
    time.sleep(0.3)
    steps = len(seen)
    time.sleep(0.3)
    assert len(seen) == steps < STEPS


def test_stop_before_the_device_is_free_never_starts_the_job(pipe):
    lane, seen = Lane(), []
    first = lane.run("a", None, generation(pipe))
    while not next(first).step:
        pass
    second = lane.run("b", None, generation(pipe, seen=seen))
    next(second)
    stopper = threading.Thread(target=lane.stop, args=("b",))
    stopper.start()
    time.sleep(0.1)
    first.close()
    stopper.join()
    with pytest.raises(Stopped):
        list(second)
    assert seen == []


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("The prompt is odd."), "The prompt is odd."),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
        (KeyError("secret path"), "Your settings are kept"),
    ],
)
def test_an_error_is_told_in_a_sentence_and_the_next_job_is_unharmed(pipe, error, sentence):
    def fail(on_step):
        generation(pipe, 2)(on_step)
        raise error

    lane = Lane()
    *_, expected = lane.run("a", None, generation(pipe, 2, seed=5))
    with pytest.raises(LaneError, match=sentence) as caught:
        list(lane.run("a", None, fail))
    assert "secret" not in str(caught.value)
    *_, output = lane.run("a", None, generation(pipe, 2, seed=5))
    assert output.image.tobytes() == expected.image.tobytes()


def test_left_jobs_do_not_pile_up(pipe):
    lane = Lane()
    for number in range(40):
        run = lane.run(f"visitor{number}", None, generation(pipe, 2))
        next(run)
        run.close()
    assert len(lane._jobs) <= 16
