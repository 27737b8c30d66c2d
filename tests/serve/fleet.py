"""Replicas without a page, a mixed load for them, and what it must give."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from app import serve
from app.engine import Engine, Request, Resident
from app.jobs import LaneError
from app.lane import Lane
from app.replica import Loading
from app.serve_config import read_config
from jointdit_core import JointDiTOutput
from jointdit_core.presets import PRESETS, load
from jointdit_core.results import Settings
from tests.trust import corpus

STEPS = 4
SHORT_S = 120.0  # a time limit that no run here comes near


def config_file(folder: Path, replicas: int, places: int = 10) -> Path:
    """Write a config for replicas of the mini with a thread each."""
    path = folder / f"serve-{replicas}.toml"
    path.write_text(
        f"[ray]\nstart_s = 180\n[mini]\nnum_replicas = {replicas}\nmax_queued_requests = {places}\n"
        "ray_actor_options = { num_cpus = 1 }\n"
    )
    return path


def kinds(steps: int = STEPS) -> list[tuple[Settings, np.ndarray | None]]:
    """What the load is mixed of: every task, several seeds and sizes."""
    picture, disparity = corpus.noise(64, 64), corpus.ramp(64, 64).astype(np.float32)
    disparity = (disparity - disparity.min()) / np.ptp(disparity)
    made = [
        (Settings("joint_generation", "a red ball", seed, steps, 1.0, "mini", width=256, height=256), None)
        for seed in range(3)
    ]
    made += [(Settings("depth_estimation", "", seed, steps, None, "mini"), np.asarray(picture)) for seed in range(3)]
    made += [(Settings("depth_to_image", "a tree", seed, steps, 1.0, "mini"), disparity) for seed in range(3)]
    return made


def digest(output: JointDiTOutput) -> str:
    """SHA-256 of a picture and its disparity."""
    return hashlib.sha256(np.asarray(output.image).tobytes() + output.disparity.tobytes()).hexdigest()


def resident() -> Resident:
    """The mini in this process; set `torch.set_num_threads(1)` to compare."""
    pipe = load(PRESETS["mini"])
    pipe.set_progress_bar_config(disable=True)
    return Resident(pipe, "mini")


def expected(model: Resident, mixed: list) -> list[str]:
    """What each kind gives in this process."""
    engine = Engine(model)
    return [digest([*engine.run(Request("reference", asked, given))][-1]) for asked, given in mixed]


@dataclass(frozen=True)
class End:
    """How one request of a load ended: with which digest at what time, or with what sentence."""

    number: int
    at: float
    digest: str = ""
    sentence: str = ""


class Load:
    """Clients who ask an engine for one run after another, of every kind in turn."""

    def __init__(self, engine: Engine, mixed: list, clients: int, requests: int = 10**9) -> None:
        """Begin with so many clients, who stop after so many requests, or at the end of the `with`."""
        self.engine, self.mixed, self.requests = engine, mixed, requests
        self.ends: list[End] = []
        self.begun, self.enough = time.monotonic(), threading.Event()
        self._turns = itertools.count()
        self._pool = ThreadPoolExecutor(clients)
        self.started = 0
        self._clients = [self._pool.submit(self._ask, f"client{number}") for number in range(clients)]

    def _ask(self, owner: str) -> None:
        while not self.enough.is_set() and (turn := next(self._turns)) < self.requests:
            self.started = max(self.started, turn + 1)
            asked, given = self.mixed[turn % len(self.mixed)]
            try:
                *_, output = self.engine.run(Request(owner, asked, given))
                self.ends.append(End(turn, time.monotonic(), digest=digest(output)))
            except LaneError as error:
                self.ends.append(End(turn, time.monotonic(), sentence=str(error)))

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is under way; what a client stumbled over is raised here."""
        if self.requests == 10**9:
            self.enough.set()
        for one in self._clients:
            one.result()
        self._pool.shutdown()

    def rate(self, since: float, until: float) -> float:
        """Results a second."""
        return sum(bool(end.digest) and since <= end.at < until for end in list(self.ends)) / (until - since)

    def wrong(self, right: list[str]) -> int:
        """Results unlike those expected of their kind."""
        return sum(end.digest != right[end.number % len(right)] for end in self.ends if end.digest)


@contextlib.contextmanager
def fleet(replicas: int) -> Iterator[Engine]:
    """Replicas behind an engine, in a cluster of their own."""
    with tempfile.TemporaryDirectory() as folder:
        config = read_config(config_file(Path(folder), replicas), "mini")
        (model,) = serve.start([(config, Loading.by(config, PRESETS[config.preset], SHORT_S))], Path(folder))
        engine = Engine(model, Lane(config.places, SHORT_S, workers=config.workers))
        try:
            yield engine
        finally:
            engine.close(0)


def replicas_of(process: psutil.Process) -> list[psutil.Process]:
    """The mini's replicas' processes that a process has started and that have their model."""
    named = {one: " ".join(one.cmdline()) for one in children(process)}
    return [one for one, name in named.items() if "ServeReplica:mini" in name and "__init__" not in name]


def children(process: psutil.Process) -> list[psutil.Process]:
    """Everything that a process has started and that still runs."""
    return [one for one in process.children(recursive=True) if is_alive(one)]


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and is only not yet waited for does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_for(holds, patience_s: float) -> float:
    """Wait until something holds; return the seconds that took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > patience_s:
            raise TimeoutError(f"not within {patience_s} s")
        time.sleep(0.05)
    return time.monotonic() - began
