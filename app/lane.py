"""The lane before a model: a bounded queue, one job at a time on each device, stopped between steps."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from app import recovery
from app.jobs import Busy, Ended, Job, LaneError, LaneState, Progress, Reporter, Stopped, too_long
from app.limits import PLACES, TIME_LIMIT_S
from app.logs import visitor_tag
from jointdit_core import Interrupted, JointDiTOutput

logger = logging.getLogger(__name__)

HEARTBEAT_S = 0.25  # longest silence of a running job, so that a closed page is noticed
WAITING_HEARTBEAT_S = 2.0  # the same of a waiting one: ten that report often would take the processor from the device
REPORT_GAP_S = 0.15  # shortest time between two reports: a page drowned in previews answers no click
ON_THE_WAY_S = 2.0  # from the door to the lane
KEPT_JOBS = 16  # stopped or abandoned jobs whose last preview may still be asked for
STOP_PATIENCE_S = 10.0  # how long `stop` waits for the running step to end
STUCK_S = 60.0  # past the time limit a step that has not ended by then never will

STOPPING = "The server is being restarted. Your settings are kept; please try again in a minute."
BROKEN = "The device has failed, so the server restarts itself. Your settings are kept; please try again in a minute."
FAILED = "The model failed on this request. Your settings are kept; please try again."
NO_MEMORY = "There was not enough memory for this run. Try a smaller image or fewer steps."

Check = Callable[[JointDiTOutput, Any], str | None]


class Lane:
    """Runs jobs first come first served, each in a thread of its own, as many at once as there are devices."""

    def __init__(
        self,
        places: int = PLACES,
        time_limit_s: float = TIME_LIMIT_S,
        check: Check | None = None,
        device_works: Callable[[], bool] = recovery.device_works,
        workers: int = 1,
        with_previews: bool = True,
    ) -> None:
        """Make an idle lane.

        Args:
            places: jobs that may wait; one more is refused.
            time_limit_s: seconds after which a job is stopped.
            check: called with an output and what was asked; a sentence it returns withholds the output. With one,
                there are no previews, which nobody checked.
            device_works: asked after an unexpected error; False means that only a new process helps.
            workers: jobs at once; more than one only where each gets a device of its own.
            with_previews: whether pictures are decoded before their end; never with a check.
        """
        self.places, self.time_limit_s, self.check, self.device_works = places, time_limit_s, check, device_works
        self.workers, self.with_previews = workers, with_previews
        self._guard = threading.Lock()  # over all below
        self._queue: deque[Job] = deque()
        self._running: list[Job] = []
        self._is_closed = self._has_failed = False
        self._jobs: dict[str, Job] = {}  # the newest of each owner
        self._expected: dict[str, float] = {}  # until when each admitted request is waited for
        self._durations: deque[float] = deque(maxlen=8)  # seconds of the last jobs
        self._threads = self._count = self.steps = self.peak_active = 0

    def run(
        self, owner: str, asked: Any, work: Callable[[Reporter], JointDiTOutput], name: str = ""
    ) -> Iterator[Progress | JointDiTOutput]:
        """Run a job and report on it; closing this generator stops the job within a step.

        Args:
            owner: the visitor's session, by which `stop` finds the job.
            asked: what the visitor asked for; `stop` gives it back.
            work: calls the pipeline with the given step callback.
            name: of the request, for the log.

        Yields:
            Progress at least every `HEARTBEAT_S`, then the output.

        Raises:
            Stopped: if the job was stopped.
            LaneError: if it was refused or failed, with a sentence for the visitor.
        """
        job = Job(owner, asked, work, name)
        self._enter(job)
        try:
            seen: Progress | None = None
            while not job.done.is_set():
                patience_s = WAITING_HEARTBEAT_S if job.started is None and seen is not None else HEARTBEAT_S
                with job.news:
                    job.news.wait_for(lambda: job.done.is_set() or job.progress is not seen, patience_s)  # noqa: B023
                    seen = job.progress
                if self._is_overdue(job, HEARTBEAT_S):  # even where the step itself never ends
                    job.failure = too_long(self.time_limit_s)
                    break
                yield seen if job.started is not None else self._waiting(job)
                job.done.wait(REPORT_GAP_S)
        finally:
            job.stopping.set()
            self._withdraw(job)
            if job.done.is_set() and self._jobs.get(owner) is job:
                self._jobs.pop(owner, None)
        if job.failure:
            raise (Ended if job.failure in (STOPPING, BROKEN) else LaneError)(job.failure)
        if job.output is None:
            raise Stopped
        yield job.output

    def stop(self, owner: str) -> tuple[Any, Progress] | None:
        """Stop the visitor's job, if there is one, and wait until the device has let go of it.

        Returns:
            What was asked and how far it came, with the last preview; None if there was no job.
        """
        job = self._jobs.pop(owner, None)
        if job is None:
            return None
        job.stopping.set()
        self._withdraw(job)
        job.done.wait(STOP_PATIENCE_S)
        return job.asked, job.progress

    def abandon(self, owner: str) -> None:
        """Stop all jobs of a visitor who has gone, without waiting."""
        with self._guard:
            jobs = [job for job in (*self._running, *self._queue) if job.owner == owner]
        for job in jobs:
            job.stopping.set()
            self._withdraw(job)

    def close(self, patience_s: float) -> None:
        """Take no more jobs, tell those that wait, and give running ones some time to finish before they are stopped.

        Args:
            patience_s: seconds for the running jobs to finish by themselves.
        """
        with self._guard:
            self._is_closed = True
            running = list(self._running)
        self._turn_away(STOPPING)
        deadline = time.monotonic() + patience_s
        late = [job for job in running if not job.done.wait(max(0.0, deadline - time.monotonic()))]
        for job in late:
            job.failure = STOPPING
            job.stopping.set()
        deadline = time.monotonic() + STOP_PATIENCE_S
        for job in late:
            job.done.wait(max(0.0, deadline - time.monotonic()))

    def state(self) -> LaneState:
        """Return what the lane is doing, at once."""
        with self._guard:
            waiting, running = len(self._queue), list(self._running)
            status = "broken" if self._has_failed else "stopping" if self._is_closed else "ready"
            if status == "ready" and (running or waiting):  # between two jobs none is running
                status = "busy"
        if any(self._is_overdue(job, STUCK_S) for job in running):
            status = "broken"
        return LaneState(status, waiting, self._wait_s(waiting), self._count, self.steps, self.peak_active)

    def admit(self, name: str) -> str | None:
        """Let one more request on the way to `run`; return a sentence for its visitor if the places are taken.

        Args:
            name: of the request; its place is kept until it is here, or `forget` is told that it will not come.
        """
        now = time.monotonic()
        with self._guard:
            self._expected = {one: until for one, until in self._expected.items() if until > now}
            waiting = len(self._queue)
            if waiting + len(self._expected) < self.places + self._free():
                self._expected[name] = now + ON_THE_WAY_S
                return None
        return self._busy(waiting)

    def forget(self, name: str) -> None:
        """Keep no place for a request that was refused on the way."""
        with self._guard:
            self._expected.pop(name, None)

    def _busy(self, waiting: int) -> str:
        """Say so; the estimate is that of the last one in the queue."""
        wait_s = self._wait_s(waiting)
        again = "in a minute" if wait_s is None else f"in about {max(1, round(wait_s))} s"
        return f"The server is busy: all {self.places} places in the queue are taken. Please try again {again}."

    def _enter(self, job: Job) -> None:
        with self._guard:
            if self._has_failed or self._is_closed:
                raise Ended(BROKEN if self._has_failed else STOPPING)
            if len(self._queue) >= self.places + self._free():
                raise Busy(self._busy(len(self._queue)))
            self._queue.append(job)
            self._expected.pop(job.name, None)
            self._jobs.pop(job.owner, None)
            self._jobs[job.owner] = job
            while len(self._jobs) > KEPT_JOBS + self.places:
                del self._jobs[next(iter(self._jobs))]
            if self._threads < self.workers:
                self._threads += 1
                threading.Thread(target=self._serve, name="device-lane", daemon=True).start()

    def _free(self) -> int:
        """Jobs that would get a device at once."""
        return self.workers - len(self._running)

    def _withdraw(self, job: Job) -> None:
        """Give a waiting job's place to others."""
        with self._guard:
            if job not in self._queue:
                return
            self._queue.remove(job)
        job.end()

    def _turn_away(self, failure: str) -> None:
        with self._guard:
            waiting, self._queue = list(self._queue), deque()
        for job in waiting:
            job.end(failure)

    def _is_overdue(self, job: Job, grace_s: float) -> bool:
        is_running = job.started is not None and not job.done.is_set()
        return is_running and time.monotonic() - job.started > self.time_limit_s + grace_s

    def _waiting(self, job: Job) -> Progress:
        with self._guard:
            if job not in self._queue or (place := self._queue.index(job)) < self._free():
                return Progress()  # it has a device, or a worker is on the way to it
        return Progress(ahead=place + 1, wait_s=self._wait_s(place))

    def _call_up(self) -> None:
        """Wake those who wait: each is one place nearer."""
        with self._guard:
            waiting = list(self._queue)
        for job in waiting:
            with job.news:
                job.progress = Progress()
                job.news.notify_all()

    def _wait_s(self, place: int) -> float | None:
        """Estimate the seconds until a job with `place` jobs before it in the queue gets the device."""
        running = list(self._running)
        if len(running) < self.workers:
            return 0.0
        durations = list(self._durations)
        usual_s = sum(durations) / len(durations) if durations else None
        left_s = [usual_s if job.progress.left_s is None else job.progress.left_s for job in running]
        rounds, turn = divmod(place, len(left_s))
        if None in left_s or (rounds and usual_s is None):
            return None
        return sorted(left_s)[turn] + rounds * (usual_s or 0.0)

    def _serve(self) -> None:
        """Work until the queue is empty; never in more threads than there are workers."""
        while True:
            with self._guard:
                if not self._queue:
                    self._threads -= 1
                    return
                job = self._queue.popleft()
                self._running.append(job)
                job.started = time.monotonic()
                self._count += 1
                self.peak_active = max(self.peak_active, len(self._running))
            self._call_up()
            try:
                self._work(job)
            finally:
                with self._guard:
                    self._running.remove(job)
                self._durations.append(time.monotonic() - job.started)
                job.end()
            if self._has_failed:
                self._turn_away(BROKEN)

    def _work(self, job: Job) -> None:
        tags = {"request": job.name, "visitor": visitor_tag(job.owner)}
        logger.info("job started", extra={**tags, "prompt": getattr(job.asked, "prompt", None)})
        with job.news:
            job.progress = Progress()
            job.news.notify_all()
        trouble = None
        with_previews = self.with_previews and self.check is None
        try:
            if not job.stopping.is_set():
                job.output = self._checked(
                    job, job.work(Reporter(job, self.time_limit_s, with_previews, self._count_steps))
                )
        except Interrupted:
            pass
        except LaneError as error:  # where the work is another process's, which has put it into words
            job.failure = str(error)
        except Exception as error:
            trouble = recovery.diagnose(error)
            if trouble is recovery.Trouble.REFUSAL:
                job.failure = str(error)
            else:
                logger.error("job failed: %s", trouble.value, exc_info=error, extra=tags)
        # Out here, since inside `except` the exception's frames still hold the tensors.
        if trouble is recovery.Trouble.OUT_OF_MEMORY:
            recovery.free_memory()
            job.failure = NO_MEMORY
        elif trouble is recovery.Trouble.UNEXPECTED:
            job.failure = FAILED
        if trouble not in (None, recovery.Trouble.REFUSAL) and not self.device_works():
            logger.critical("the device has failed; only a new process helps", extra=tags)
            job.failure, self._has_failed = BROKEN, True
        facts = {"seconds": round(time.monotonic() - job.started, 2), "steps": job.progress.step}
        end = "done" if job.output is not None else "failed" if job.failure else "stopped"
        logger.info("job %s", end, extra={**tags, **facts})

    def _count_steps(self, steps: int) -> None:
        with self._guard:
            self.steps += steps

    def _checked(self, job: Job, output: JointDiTOutput) -> JointDiTOutput | None:
        """Return the output, or None with the reason noted where the filter withholds it."""
        job.failure = self.check(output, job.asked) if self.check else job.failure
        return None if job.failure else output
