"""What a run on the lane is, and how far it and the lane are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jointdit_core import JointDiTOutput

Preview = Callable[[], tuple[object, np.ndarray]]
OnStep = Callable[[int, int, Preview], None]


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
    work: Callable[[OnStep], JointDiTOutput]
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
