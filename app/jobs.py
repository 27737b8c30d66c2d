"""What a run on the lane is, how it reports, and how far it and the lane are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jointdit_core import Interrupted, JointDiTOutput

PREVIEW_EVERY = 2  # denoising steps

Preview = Callable[[], tuple[object, np.ndarray]]


def is_shown(step: int, total: int) -> bool:
    """Tell whether a preview is due after a step: the first and every `PREVIEW_EVERY`th, but not the last."""
    return step < total and (step % PREVIEW_EVERY == 0 or step == 1)


class LaneError(Exception):
    """A job failed for a reason that can be told to the visitor in one sentence."""


class Busy(LaneError):
    """All places of the queue are taken."""


class Ended(LaneError):
    """The lane takes no more jobs."""


class Stopped(Exception):
    """The job was stopped by its visitor."""


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        step: denoising steps done; 0 before the first.
        total: denoising steps to do; 0 while not known.
        elapsed_s: seconds since the job got the device.
        image: (H, W, 3) uint8, the latest preview, or None before the first.
        disparity: (H, W) float32 in [0, 1] of the same preview, or None.
        ahead: jobs before this one; 0 once it has the device.
        wait_s: estimated seconds until it gets the device; None while nothing is known to estimate from.
    """

    step: int = 0
    total: int = 0
    elapsed_s: float = 0.0
    image: np.ndarray | None = None
    disparity: np.ndarray | None = None
    ahead: int = 0
    wait_s: float | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds still to go, or None before the second step."""
        if self.step < 2:
            return None
        return self.elapsed_s / self.step * (self.total - self.step)


@dataclass(frozen=True)
class LaneState:
    """What the lane is doing.

    Attributes:
        status: "ready", "busy", "stopping" or "broken".
        waiting: jobs in the queue.
        wait_s: estimated seconds until a new job would get the device; None while unknown.
        jobs: jobs that got the device so far.
        steps: denoising steps done so far, by all jobs.
        peak_active: most jobs that ever had the device at once.
    """

    status: str
    waiting: int
    wait_s: float | None
    jobs: int
    steps: int
    peak_active: int


@dataclass(eq=False)
class Job:
    """One request on the lane; the worker thread writes, the visitor's generator reads."""

    owner: str
    asked: Any
    work: Callable[[Reporter], JointDiTOutput]
    name: str
    started: float | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)
    progress: Progress = field(default_factory=Progress)
    output: JointDiTOutput | None = None
    failure: str | None = None

    def end(self, failure: str | None = None) -> None:
        """Mark as done and wake whoever reads."""
        self.failure = failure or self.failure
        self.done.set()
        with self.news:
            self.news.notify_all()


class Reporter:
    """What a job's work calls to report; it raises `Interrupted` where the work is to end."""

    def __init__(self, job: Job, time_limit_s: float, with_previews: bool, count: Callable[[int], None]) -> None:
        """Report on a job.

        Args:
            job: the one that is being worked on.
            time_limit_s: seconds after which it ends.
            with_previews: whether pictures may be shown before their end.
            count: told how many steps were done.
        """
        self.job, self.time_limit_s, self.with_previews, self.count = job, time_limit_s, with_previews, count

    def __call__(self, step: int, total: int, preview: Preview) -> None:
        """Report a step of a pipeline in this process, with a preview now and then."""
        self.count(1)
        self.beat()
        elapsed_s = time.monotonic() - self.job.started
        image, disparity = self.job.progress.image, self.job.progress.disparity
        # After the last step the result itself comes.
        if self.with_previews and is_shown(step, total):
            image, disparity = preview()
            image = np.asarray(image)
        self._show(Progress(step, total, elapsed_s, image, disparity))

    def beat(self) -> None:
        """Do no more than raise where the work is to end."""
        if time.monotonic() - self.job.started > self.time_limit_s:
            self.job.failure = too_long(self.time_limit_s)
            raise Interrupted
        if self.job.stopping.is_set():
            raise Interrupted

    def pass_on(self, progress: Progress) -> None:
        """Report what another process reports; without a preview the last one stays."""
        last = self.job.progress
        self.count(max(0, progress.step - last.step))
        self.beat()
        if progress.image is None or not self.with_previews:
            progress = replace(progress, image=last.image, disparity=last.disparity)
        self._show(progress)

    def _show(self, progress: Progress) -> None:
        with self.job.news:
            self.job.progress = progress
            self.job.news.notify_all()


def too_long(time_limit_s: float) -> str:
    """Say that a job took too long."""
    return f"This run took longer than {time_limit_s:.0f} s and was stopped. Try fewer steps."
