"""The device lane with the real pipeline at tiny size: one job at a time, stopped within a step, errors kept apart."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from app.lane import Busy, Lane, LaneError, Progress, Stopped
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


def test_an_only_run_is_never_told_to_wait():
    lane = Lane()
    for _ in range(20):
        go = threading.Event()
        run = lane.run("a", None, lambda on_step, go=go: go.wait() and JointDiTOutput("done", None, 0, ()))
        assert next(run) == Progress()
        go.set()
        list(run)


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


def test_previews_can_be_left_out(pipe):
    news = list(Lane(with_previews=False).run("a", None, generation(pipe, 4)))
    assert isinstance(news[-1], JointDiTOutput) and all(one.image is None for one in news[:-1])


def test_as_many_jobs_run_at_once_as_there_are_workers(pipe):
    lane = Lane(places=1, workers=2)
    list(lane.run("a", None, generation(pipe, 2)))
    (first, go), (second, _) = held(lane, "b"), held(lane, "c")
    waiting = lane.run("d", None, generation(pipe, 2))
    progress = next(waiting)
    assert lane.peak_active == 2 and progress.ahead == 1 and progress.wait_s is not None
    with pytest.raises(Busy):
        next(lane.run("e", None, generation(pipe, 2)))
    assert lane.admit("f") is not None
    go.set()
    assert [*first][-1].image == "done" and isinstance([*waiting][-1], JointDiTOutput)
    second.close()
    assert lane.peak_active == 2


def test_a_sentence_from_where_the_work_is_done_reaches_the_visitor_as_it_is(pipe):
    def fail(on_step):
        raise LaneError("The replica failed.")

    with pytest.raises(LaneError, match="The replica failed."):
        list(Lane().run("a", None, fail))


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


def refused(pipe):
    pipe.joint_generation("a red ball", num_inference_steps=0)


def out_of_memory_on_the_gpu(pipe):
    raise torch.OutOfMemoryError("CUDA out of memory")


def out_of_memory_on_the_cpu(pipe):
    torch.empty(10**15)


def not_finite(pipe):
    wild = pipe.transformer.register_forward_hook(lambda module, given, out: [out.sample.fill_(torch.nan)] and None)
    try:
        pipe.joint_generation("a red ball", num_inference_steps=1)
    finally:
        wild.remove()


def quotes_a_secret(pipe):
    raise KeyError("secret path")


def quotes_a_secret_as_a_value(pipe):
    raise ValueError("secret path")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (refused, "num_inference_steps must be"),
        (out_of_memory_on_the_gpu, "not enough memory"),
        (out_of_memory_on_the_cpu, "not enough memory"),
        (not_finite, "not finite"),
        (quotes_a_secret, "Your settings are kept"),
        (quotes_a_secret_as_a_value, "Your settings are kept"),
    ],
)
def test_an_error_is_told_in_a_sentence_and_the_next_job_is_unharmed(pipe, fault, sentence):
    def fail(on_step):
        generation(pipe, 2)(on_step)
        fault(pipe)

    lane = Lane()
    *_, expected = lane.run("a", None, generation(pipe, 2, seed=5))
    with pytest.raises(LaneError, match=sentence) as caught:
        list(lane.run("a", None, fail))
    assert "secret" not in str(caught.value)
    *_, output = lane.run("a", None, generation(pipe, 2, seed=5))
    assert output.image.tobytes() == expected.image.tobytes()
    assert lane.state().status == "ready"


def held(lane, owner="holder"):
    """Start a job that keeps the device until it is let go; returns its report and what lets go."""
    go = threading.Event()

    def work(on_step):
        go.wait(20)
        return JointDiTOutput("done", None, 0, ())

    run, jobs = lane.run(owner, None, work), lane.state().jobs
    while lane.state().jobs == jobs:
        next(run)
    return run, go


def test_a_full_queue_refuses_at_once_and_says_how_long_it_may_take(pipe):
    lane = Lane(places=2)
    list(lane.run("a", None, generation(pipe, 2)))
    run, go = held(lane)
    waiting = [lane.run(f"w{number}", None, generation(pipe, 2)) for number in range(2)]
    progress = [next(one) for one in waiting]
    assert [one.ahead for one in progress] == [1, 2] and progress[0].wait_s <= progress[1].wait_s
    before = time.monotonic()
    with pytest.raises(Busy, match=r"busy: all 2 places in the queue are taken. Please try again in about \d+ s\."):
        next(lane.run("late", None, generation(pipe, 2)))
    assert time.monotonic() - before < 0.5
    waiting[0].close()  # its place is free at once, though the device is not
    assert next(lane.run("late", None, generation(pipe, 2))).ahead == 2
    go.set()
    assert [*run][-1].image == "done"


def test_a_crowd_at_the_door_is_counted_before_it_reaches_the_lane(pipe, monkeypatch):
    monkeypatch.setattr("app.lane.ON_THE_WAY_S", 0.2)
    lane = Lane(places=2)
    assert [lane.admit(name) is None for name in "abcde"] == [True, True, True, False, False]
    assert lane.admit("f").startswith("The server is busy")
    lane.forget("b")  # refused on the way, for another reason
    assert [lane.admit(name) is None for name in "gh"] == [True, False]
    time.sleep(0.25)  # never heard of again
    assert [lane.admit(name) is None for name in "ijkl"] == [True, True, True, False]
    list(lane.run("visitor", None, generation(pipe, 2), "i"))
    assert lane.admit("m") is None


def test_jobs_are_served_in_the_order_they_came(pipe):
    lane, order = Lane(), []
    run, go = held(lane)
    runs = [
        lane.run(str(number), None, lambda on_step, number=number: order.append(number) or JointDiTOutput(0, 0, 0, ()))
        for number in range(6)
    ]
    for one in runs:
        next(one)
    go.set()
    for one in (run, *runs):
        list(one)
    assert order == list(range(6))


def test_an_abandoned_visitor_loses_the_running_and_the_waiting_job(pipe):
    lane, seen = Lane(), []
    first = lane.run("gone", None, generation(pipe))
    while not next(first).step:
        pass
    second = lane.run("gone", None, generation(pipe, seen=seen))
    next(second)
    lane.abandon("gone")
    for run in (first, second):
        with pytest.raises(Stopped):
            list(run)
    assert seen == [] and lane.state().waiting == 0


def test_a_job_past_its_time_is_stopped_between_steps(pipe):
    lane = Lane(time_limit_s=0.2)
    with pytest.raises(LaneError, match="took longer than 0 s"):
        list(lane.run("a", None, generation(pipe)))
    assert 0 < lane.steps < STEPS


def test_a_step_that_hangs_is_told_in_time_and_ends_as_broken_if_it_never_returns(pipe, monkeypatch):
    monkeypatch.setattr("app.lane.STUCK_S", 1.0)
    lane = Lane(time_limit_s=0.3)
    go = threading.Event()
    run = lane.run("a", None, lambda on_step: go.wait(20))
    before = time.monotonic()
    with pytest.raises(LaneError, match="took longer"):
        list(run)
    assert time.monotonic() - before < 2
    deadline = time.monotonic() + 5
    while lane.state().status != "broken":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    go.set()


def test_a_device_that_computes_no_more_breaks_the_lane_and_tells_everyone(pipe):
    lane = Lane(device_works=lambda: False)
    go = threading.Event()

    def fail(on_step):
        go.wait(20)
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    first = lane.run("a", None, fail)
    next(first)
    waiting = lane.run("b", None, generation(pipe))
    next(waiting)
    go.set()
    for run in (first, waiting, lane.run("c", None, generation(pipe))):
        with pytest.raises(LaneError, match="restarts itself"):
            list(run)
    assert lane.state().status == "broken"


def test_closing_lets_the_running_job_finish_and_tells_the_waiting_ones(pipe):
    lane = Lane()
    run, go = held(lane)
    waiting = lane.run("b", None, generation(pipe))
    next(waiting)
    closer = threading.Thread(target=lane.close, args=(10.0,))
    closer.start()
    for one in (waiting, lane.run("c", None, generation(pipe))):
        with pytest.raises(LaneError, match="being restarted"):
            list(one)
    go.set()
    closer.join(5)
    assert [*run][-1].image == "done" and not closer.is_alive()


def test_closing_stops_a_job_that_does_not_finish_in_time(pipe):
    lane = Lane()
    run = lane.run("a", None, generation(pipe))
    while not next(run).step:
        pass
    lane.close(0.05)
    with pytest.raises(LaneError, match="being restarted"):
        list(run)


def test_what_the_filter_withholds_is_neither_given_nor_previewed(pipe):
    reason = "This picture is withheld by this server's filter."
    lane = Lane(check=lambda output, asked: reason if asked == "bad" else None)
    news = list(lane.run("a", "good", generation(pipe, 4)))
    assert isinstance(news[-1], JointDiTOutput) and all(one.image is None for one in news[:-1])
    run = lane.run("a", "bad", generation(pipe, 4))
    with pytest.raises(LaneError, match="withheld"):
        for one in run:
            assert not isinstance(one, JointDiTOutput) and one.image is None


def test_a_filter_that_fails_withholds(pipe):
    def broken(output, asked):
        raise RuntimeError("no weights")

    with pytest.raises(LaneError, match="failed on this request"):
        list(Lane(check=broken).run("a", None, generation(pipe, 2)))


def test_left_jobs_do_not_pile_up(pipe):
    lane = Lane()
    for number in range(40):
        run = lane.run(f"visitor{number}", None, generation(pipe, 2))
        next(run)
        run.close()
    assert len(lane._jobs) <= 26 and lane.state().waiting == 0
