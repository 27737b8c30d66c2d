"""The single device lane: one job at a time, stopped between steps, with previews on the way."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jointdit_core import Interrupted, JointDiTOutput

logger = logging.getLogger(__name__)

HEARTBEAT_S = 0.25  # longest silence of a running job, so that a closed page is noticed
REPORT_GAP_S = 0.15  # shortest time between two reports: a page drowned in previews answers no click
PREVIEW_EVERY = 2  # denoising steps
KEPT_JOBS = 16  # stopped or abandoned jobs whose last preview may still be asked for
STOP_PATIENCE_S = 10.0  # how long `stop` waits for the running step to end

Preview = Callable[[], tuple[object, np.ndarray]]
OnStep = Callable[[int, int, Preview], None]


class LaneError(Exception):
    """A job failed for a reason that can be told to the visitor in one sentence."""


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
    """

    step: int = 0
    total: int = 0
    elapsed_s: float = 0.0
    image: np.ndarray | None = None
    disparity: np.ndarray | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds still to go, or None before the second step."""
        if self.step < 2:
            return None
        return self.elapsed_s / self.step * (self.total - self.step)


@dataclass
class Job:
    """One request on the lane; the worker thread writes, the visitor's generator reads."""

    owner: str
    asked: Any
    stopping: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)
    progress: Progress = field(default_factory=Progress)
    output: JointDiTOutput | None = None
    failure: str | None = None


class Lane:
    """Runs jobs on the device one after another, each in a worker thread of its own."""

    def __init__(self) -> None:
        self._device = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._active = 0
        self.peak_active = 0

    def run(
        self, owner: str, asked: Any, work: Callable[[OnStep], JointDiTOutput]
    ) -> Iterator[Progress | JointDiTOutput]:
        """Run a job and report on it; closing this generator stops the job within a step.

        Args:
            owner: the visitor's session, by which `stop` finds the job.
            asked: what the visitor asked for; `stop` gives it back.
            work: calls the pipeline with the given step callback.

        Yields:
            Progress at least every `HEARTBEAT_S`, then the output.

        Raises:
            Stopped: if the job was stopped.
            LaneError: if it failed, with a sentence for the visitor.
        """
        job = Job(owner, asked)
        self._remember(job)
        threading.Thread(target=self._work, args=(job, work), name="device-lane", daemon=True).start()
        try:
            seen: Progress | None = None
            while not job.done.is_set():
                with job.news:
                    job.news.wait_for(lambda: job.done.is_set() or job.progress is not seen, HEARTBEAT_S)  # noqa: B023
                    seen = job.progress
                yield seen
                job.done.wait(REPORT_GAP_S)
        finally:
            job.stopping.set()
            if job.done.is_set() and self._jobs.get(owner) is job:
                del self._jobs[owner]
        if job.failure:
            raise LaneError(job.failure)
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
        job.done.wait(STOP_PATIENCE_S)
        return job.asked, job.progress

    def _remember(self, job: Job) -> None:
        self._jobs.pop(job.owner, None)
        self._jobs[job.owner] = job
        while len(self._jobs) > KEPT_JOBS:
            del self._jobs[next(iter(self._jobs))]

    def _work(self, job: Job, work: Callable[[OnStep], JointDiTOutput]) -> None:
        out_of_memory = False
        with self._device:
            self._active += 1
            self.peak_active = max(self.peak_active, self._active)
            try:
                if not job.stopping.is_set():
                    job.output = work(_reporter(job))
            except Interrupted:
                pass
            except (ValueError, FloatingPointError) as error:  # the pipeline's own checks: sentences for people
                job.failure = str(error)
            except Exception as error:
                out_of_memory = _is_out_of_memory(error)
                if not out_of_memory:
                    logger.exception("the model failed")
                    job.failure = "The model failed on this request. Your settings are kept; please try again."
            # Freed out here: inside `except` the exception's frames still hold the tensors.
            if out_of_memory:
                job.failure = "There was not enough memory for this run. Try a smaller image or fewer steps."
                _free_memory()
            self._active -= 1
        job.done.set()
        with job.news:
            job.news.notify_all()


def _reporter(job: Job) -> OnStep:
    started = time.monotonic()

    def on_step(step: int, total: int, preview: Preview) -> None:
        if job.stopping.is_set():
            raise Interrupted
        image, disparity = job.progress.image, job.progress.disparity
        if step % PREVIEW_EVERY == 0 or step == 1:
            image, disparity = preview()
            image = np.asarray(image)
        progress = Progress(step, total, time.monotonic() - started, image, disparity)
        with job.news:
            job.progress = progress
            job.news.notify_all()

    return on_step


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
