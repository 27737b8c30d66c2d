"""All that the page knows of what runs its requests: ask, stop, how it is. What goes in and out is plain data.

An engine is one lane before a model. The model is resident in this process, or stands for replicas elsewhere.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Protocol

import torch

from app.jobs import LaneState, Progress, Reporter
from app.lane import Lane
from jointdit_core import JointDiTOutput, JointDiTPipeline
from jointdit_core.results import Settings


@dataclass(frozen=True, eq=False)
class Request:
    """One run as it is asked for; it can be sent to another process.

    Attributes:
        owner: the visitor's session, by which `stop` finds the run.
        asked: task, prompt, seed and the rest.
        given: (H, W, 3) uint8 picture or RGB `PIL.Image.Image` for `depth_estimation`, (H, W) float32 disparity in
            [0, 1] for `depth_to_image`, None for `joint_generation`.
        name: of the visitor's HTTP request, for the log.
    """

    owner: str
    asked: Settings
    given: Any = None
    name: str = ""


@dataclass(frozen=True)
class Health(LaneState):
    """What an engine is doing, and with what.

    Attributes:
        model: name of the preset.
        device: what it runs on.
        replicas: of the model that can work at once now.
    """

    model: str
    device: str
    replicas: int


class Model(Protocol):
    """What an engine's lane hands its jobs to, never more at once than the lane has workers."""

    name: str
    device: str

    @property
    def replicas(self) -> int:
        """Return how many can work now."""

    @property
    def has_failed(self) -> bool:
        """Tell whether only a new process helps."""

    def run(self, request: Request, report: Reporter) -> JointDiTOutput:
        """Do what is asked for and report each step; what `report` raises ends it."""

    def close(self) -> None:
        """Let go of everything."""


class Resident:
    """The model in this process."""

    replicas, has_failed = 1, False  # the lane looks after its device

    def __init__(self, pipe: JointDiTPipeline, name: str) -> None:
        self.pipe, self.name = pipe, name
        self.device = torch.cuda.get_device_name(pipe.device) if pipe.device.type == "cuda" else "CPU"

    def run(self, request: Request, report: Reporter) -> JointDiTOutput:
        """Run one request; the one place where the page's work reaches the device."""
        return request.asked.run(self.pipe, request.given, report)

    def warm_up(self) -> float:
        """Run four steps, so that the first visitor does not pay for start-up; return the seconds of one.

        It is the median of three, without the first: a machine that starts a server is often busy with more than that,
        and a step cache leaves out most of some steps.
        """
        ticks: list[float] = []
        self.pipe.joint_generation(
            " ", num_inference_steps=4, seed=0, callback_on_step_end=lambda *_: ticks.append(time.monotonic())
        )
        return median(after - before for before, after in itertools.pairwise(ticks))

    def close(self) -> None:
        """Nothing to let go of: the process ends."""


class Engine:
    """What the page talks to."""

    def __init__(self, model: Model, lane: Lane | None = None) -> None:
        """Put a lane before a model; the usual one if none is given."""
        self.model, self.lane = model, lane or Lane()

    def run(self, request: Request) -> Iterator[Progress | JointDiTOutput]:
        """Queue a request, report on it and give its output; see `Lane.run` for what it raises and what stops it."""
        work = partial(copy_context().run, self.model.run, request)  # a hosted GPU's time counts as the visitor's
        return self.lane.run(request.owner, request.asked, work, request.name)

    def stop(self, owner: str) -> tuple[Settings, Progress] | None:
        """Stop the visitor's run; see `Lane.stop`."""
        return self.lane.stop(owner)

    def abandon(self, owner: str) -> None:
        """Stop all runs of a visitor who has gone, without waiting."""
        self.lane.abandon(owner)

    def admit(self, name: str) -> str | None:
        """Let one more request on the way to `run`, or return why not; see `Lane.admit`."""
        return self.lane.admit(name)

    def forget(self, name: str) -> None:
        """Keep no place for a request that was refused on the way."""
        self.lane.forget(name)

    def health(self) -> Health:
        """Tell at once what the engine is doing, and with what."""
        model, state = self.model, vars(self.lane.state())
        if model.has_failed:
            state = state | {"status": "broken"}
        return Health(**state, model=model.name, device=model.device, replicas=model.replicas)

    def close(self, patience_s: float = 0.0) -> None:
        """Take no more runs, end those there are as `Lane.close` does, and let go of the model."""
        self.lane.close(patience_s)
        self.model.close()


@dataclass(frozen=True)
class Healths(Health):
    """What several engines are doing together, and each by itself.

    Attributes:
        models: each engine's own.
    """

    models: tuple[Health, ...]


class Engines:
    """Several engines behind one page, each before a model of its own: what is asked of all at once."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = engines

    def abandon(self, owner: str) -> None:
        """Stop all runs of a visitor who has gone, without waiting."""
        for engine in self.engines:
            engine.abandon(owner)

    def forget(self, name: str) -> None:
        """Keep no place for a request that was refused on the way."""
        for engine in self.engines:
            engine.forget(name)

    def health(self) -> Health:
        """Tell at once what the engines are doing, the worst status for all, and with what."""
        each = tuple(engine.health() for engine in self.engines)
        if len(each) == 1:
            return each[0]
        sums = {
            name: sum(getattr(one, name) for one in each)
            for name in ("waiting", "jobs", "steps", "peak_active", "replicas")
        }
        waits = [one.wait_s for one in each]
        return Healths(
            status=max((one.status for one in each), key=("ready", "busy", "stopping", "broken").index),
            wait_s=None if None in waits else max(waits),
            **sums,
            **{name: ", ".join(getattr(one, name) for one in each) for name in ("model", "device")},
            models=each,
        )

    def close(self, patience_s: float = 0.0) -> None:
        """Close each as `Engine.close` does, with one patience for all."""
        with ThreadPoolExecutor(len(self.engines)) as pool:
            list(pool.map(lambda engine: engine.close(patience_s), self.engines))
