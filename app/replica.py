"""One replica of the model, in a process of its own: an engine like the page's, whose news are streamed to the page."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from app.engine import Engine, Request, Resident
from app.jobs import LaneError, Progress
from app.lane import Lane
from app.logs import set_up
from app.offline import go_offline
from app.recovery import BROKEN_STATUS
from app.serve_config import LOCAL, Config
from jointdit_core import JointDiTOutput
from jointdit_core.presets import Preset, load

END = object()


@dataclass(frozen=True)
class Loading:
    """How a replica gets its model.

    Attributes:
        preset: which.
        device: "cpu" or "cuda".
        threads: of its arithmetic on the processor.
        is_local: whether only this machine is to reach it.
        time_limit_s: seconds that one run may take.
        memory: as `presets.load` takes it, like the next three.
        compiled: see there.
        cache: see there.
        loras: see there.
        with_previews: whether pictures are sent before their end.
        is_offline: whether it speaks to this machine only.
        with_prompts: whether its log quotes.
    """

    preset: Preset
    device: str
    threads: int
    is_local: bool
    time_limit_s: float
    memory: str | None = None
    compiled: bool = False
    cache: str | None = None
    loras: tuple[str, ...] = ()
    with_previews: bool = True
    is_offline: bool = False
    with_prompts: bool = False

    @classmethod
    def by(cls, config: Config, preset: Preset, time_limit_s: float, **more: Any) -> Loading:
        """Read a config's part off it; `more` are the attributes that it says nothing of."""
        device = "cuda" if config.each["GPU"] else "cpu"
        threads = max(1, int(config.each["CPU"]))
        return cls(preset, device, threads, config.address == LOCAL, time_limit_s, **more)


@dataclass(frozen=True)
class Facts:
    """What a replica is: its device's name, and the seconds of one step."""

    device: str
    step_s: float


@dataclass(frozen=True)
class Failure:
    """Why there is no output, in a sentence for the visitor."""

    sentence: str


class Replica:
    """A resident model that works for pages elsewhere."""

    def __init__(self, loading: Loading) -> None:
        set_up(loading.with_prompts)
        if loading.is_offline:
            go_offline()
        if loading.is_local:
            _listen_here_only()
        torch.set_num_threads(loading.threads)
        pipe = load(loading.preset, loading.device, loading.memory, loading.compiled, loading.cache, loading.loras)
        pipe.set_progress_bar_config(disable=True)
        model = Resident(pipe, loading.preset.name)
        lane = Lane(time_limit_s=loading.time_limit_s, with_previews=loading.with_previews)  # a filter is the page's
        self.engine = Engine(model, lane)
        self._facts = Facts(model.device, model.warm_up())

    def facts(self) -> Facts:
        """Say what this replica is."""
        return self._facts

    async def run(self, request: Request) -> AsyncIterator[Progress | Failure | JointDiTOutput]:
        """Run a request; a caller who cancels this stops it within a step.

        Yields:
            Progress as `Lane.run` yields it, but each preview only once; then the output, or why there is none.
        """
        request = replace(request, owner=secrets.token_hex(8))  # which no other run here has
        run, shown = self.engine.run(request), None
        try:
            while (news := await asyncio.to_thread(next, run, END)) is not END:
                if isinstance(news, Progress):
                    fresh, shown = news.image is not shown, news.image
                    news = news if fresh else replace(news, image=None, disparity=None)
                yield news
        except LaneError as error:
            self.check_health()
            yield Failure(str(error))
        finally:
            self.engine.abandon(request.owner)

    def check_health(self) -> None:
        """End this process where its device fails or hangs; Ray Serve then starts another in its place."""
        if self.engine.health().status == "broken":
            os._exit(BROKEN_STATUS)


def _listen_here_only() -> None:
    """Bind the port that Ray Serve opens in every replica to this machine; it has no setting for that."""
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))
