"""`--serve FILE`: the model as replicas in a Ray Serve deployment, any number of them, behind one page's lane.

Ray Serve places the replicas, streams what they report, scales their number and replaces those that die. Needs Ray,
which nothing else here does.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import secrets
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_SERVE_LOG_TO_STDERR="0")  # read when Ray is imported

try:
    import ray
    from ray import serve
    from ray.exceptions import RayActorError, RayError
    from ray.serve.exceptions import BackPressureError, RayServeException
except ImportError:
    ray = None

from app.engine import Request
from app.jobs import LaneError, Reporter
from app.replica import Facts, Failure, Loading, Replica
from jointdit_core import JointDiTOutput

logger = logging.getLogger(__name__)

RAY_VERSION = "2.60.0"
INSTALL = f"pip install 'ray[serve]=={RAY_VERSION}'"
OPTIONS = (  # of Ray Serve's, which we hand on
    *("num_replicas", "autoscaling_config", "max_queued_requests", "ray_actor_options"),
    *("health_check_period_s", "health_check_timeout_s", "graceful_shutdown_timeout_s"),
)
USUAL = {"health_check_period_s": 2, "health_check_timeout_s": 10, "graceful_shutdown_timeout_s": 5}
STORE_BYTES = 200_000_000  # for pictures on their way between the processes of this machine
LOOK_S = 1.0  # between two looks at how many replicas there are
BEAT_S = 0.1  # between two looks whether a run is to end

LOCAL, REPLICA = "local", "replica"  # the address of a cluster of our own; the deployment's name

LOST = "The machine that worked on this run has failed, and so has the next. Your settings are kept; please try again."
FULL = "The server is busy: all replicas have as much to do as they may. Please try again in a minute."


@dataclass(frozen=True)
class Config:
    """What a config file says of one preset.

    Attributes:
        preset: its name.
        options: Ray Serve's own for the deployment.
        address: of the Ray cluster, "host:port"; "local" for one of this process's own.
        start_s: seconds that the first replicas may take to be ready, and none may be there later.
    """

    preset: str
    options: dict[str, Any]
    address: str = LOCAL
    start_s: float = 120.0

    @property
    def workers(self) -> int:
        """Return how many replicas there may be."""
        scaling = self.options.get("autoscaling_config", {})
        return scaling.get("max_replicas", 1) if scaling else self.options.get("num_replicas", 1)

    @property
    def places(self) -> int:
        """Return how many runs may wait."""
        return self.options["max_queued_requests"]

    @property
    def each(self) -> dict[str, float]:
        """Return what one replica takes: "CPU" and "GPU"."""
        actor = self.options.get("ray_actor_options", {})
        return {"CPU": actor.get("num_cpus", 1), "GPU": actor.get("num_gpus", 0)}


def read_config(path: str | Path, preset: str) -> Config:
    """Read a config file.

    Args:
        path: TOML with a section `[ray]` and one for each preset.
        preset: whose section is wanted.

    Returns:
        The checked config; only Ray knows whether its resources are there.

    Raises:
        ValueError: with a sentence that says what to change.
        OSError: the file cannot be read.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    if not isinstance(tables.get(preset), dict):
        raise ValueError(f"{path} has no section [{preset}]; add one, or choose another --preset.")
    general = tables.get("ray", {})
    for section, known in (("ray", ("address", "start_s")), (preset, OPTIONS)):
        for key in tables.get(section, {}):
            if key not in known:
                raise ValueError(f"{path}: [{section}] knows no {key}; it takes {', '.join(known)}.")
    options = {"max_queued_requests": 10, **USUAL, **tables[preset]}
    config = Config(preset, options, **general)
    counts = {"max_queued_requests": config.places, "num_replicas or max_replicas": config.workers}
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{path}: {name} of [{preset}] must be a whole number of at least 1, not {count!r}.")
    if not isinstance(config.start_s, int | float) or config.start_s <= 0 or not isinstance(config.address, str):
        raise ValueError(f'{path}: [ray] takes address = "{LOCAL}" or "host:port", and start_s in seconds.')
    for name, amount in config.each.items():
        if not isinstance(amount, int | float) or amount < 0:
            raise ValueError(f"{path}: num_{name.lower()}s of [{preset}] must be a number, not {amount!r}.")
    return config


class Replicas:
    """The model in a Ray Serve deployment, as an engine takes it."""

    def __init__(self, config: Config, handle: Any, facts: Facts) -> None:
        """Stand for a deployment that runs; `start` makes one."""
        self.config, self.name, self.handle = config, config.preset, handle
        self.device, self.step_s = facts.device, facts.step_s
        self.replicas = running(config.preset)
        self.has_failed = False
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="replicas", daemon=True).start()

    def run(self, request: Request, report: Reporter) -> JointDiTOutput:
        """Run a request on a replica, and once more on another if the first one dies."""
        try:
            return self._stream(request, report)
        except RayActorError:
            logger.warning("a replica died in a run, which is tried again", extra={"request": request.name})
        try:
            return self._stream(request, report)
        except RayActorError as error:
            raise LaneError(LOST) from error

    def _stream(self, request: Request, report: Reporter) -> JointDiTOutput:
        response = self.handle.options(stream=True).run.remote(request)
        arrived: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(response, arrived), name="listener", daemon=True).start()
        try:
            while True:
                report.beat()
                try:
                    news = arrived.get(timeout=BEAT_S)
                except queue.Empty:
                    continue
                if isinstance(news, BackPressureError):
                    raise LaneError(FULL)
                if isinstance(news, Failure):
                    raise LaneError(news.sentence)
                if isinstance(news, BaseException):
                    raise news
                if isinstance(news, JointDiTOutput):
                    return news
                report.pass_on(news)
        finally:
            response.cancel()

    def _watch(self) -> None:
        """Count the replicas; none for too long means that only a new start helps."""
        last_seen = time.monotonic()
        while not self._closed.wait(LOOK_S):
            try:
                self.replicas = running(self.name)
            except (RayError, RayServeException):
                self.replicas = 0
            if self.replicas:
                last_seen = time.monotonic()
            self.has_failed = time.monotonic() - last_seen > self.config.start_s

    def close(self) -> None:
        """End the replicas, and the cluster if it is our own."""
        self._closed.set()
        stop(self.config)


def _listen(response: Any, arrived: queue.SimpleQueue) -> None:
    """Pass on what a replica sends, then what ended it."""
    try:
        for news in response:
            arrived.put(news)
    except BaseException as error:  # whatever it is, it is told where the run is waited for
        arrived.put(error)


def start(config: Config, loading: Loading, folder: Path) -> Replicas:
    """Start what a config says and wait until its replicas are ready.

    Args:
        config: as `read_config` gives it.
        loading: how each replica gets its model.
        folder: for the sockets and logs of a cluster of our own; its path must be short.

    Returns:
        The replicas.

    Raises:
        ValueError: with a sentence that says what to change.
    """
    if ray is None:
        raise ValueError(f"--serve needs Ray, which is not installed: {INSTALL}.")
    if ray.__version__ != RAY_VERSION:
        raise ValueError(f"Ray {ray.__version__} is installed, and this was made with {RAY_VERSION}: {INSTALL}.")
    _connect(config, folder)
    try:
        if config.address == LOCAL:
            _check_resources(config)
        deployment = serve.deployment(Replica, name=REPLICA, max_ongoing_requests=1, **config.options)
        target = serve.RunTarget(deployment.bind(loading), name=config.preset, route_prefix=None)
        serve.start(proxy_location="Disabled")  # nobody but the page is to ask
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        _await_replicas(config)
        return Replicas(config, handle, handle.facts.remote().result(timeout_s=config.start_s))
    except BaseException as error:
        stop(config)
        if isinstance(error, ValueError) and "validation error" in str(error):
            raise ValueError(f"[{config.preset}]: {_first_of(error)}") from None
        raise


def stop(config: Config) -> None:
    """End the replicas, and with them the cluster if it is our own."""
    if config.address != LOCAL:
        serve.delete(config.preset)
    ray.shutdown()


def running(preset: str) -> int:
    """Count the replicas of a preset that can work."""
    application = serve.status().applications.get(preset)
    return application.deployments[REPLICA].replica_states.get("RUNNING", 0) if application else 0


def _connect(config: Config, folder: Path) -> None:
    """Start a cluster that listens on this machine only, or join one."""
    common = {"log_to_driver": False, "configure_logging": False}
    if config.address == LOCAL:
        # As on Windows and macOS, where Ray keeps to 127.0.0.1: for its processes, and for this one, which has read it.
        os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        local = {"include_dashboard": False, "object_store_memory": STORE_BYTES, "_temp_dir": str(folder)}
        ray.init(address=LOCAL, **local, **common)
        return
    try:
        ray.init(address=config.address, **common)
    except ConnectionError:
        raise ValueError(
            f'No Ray cluster answers at {config.address}: start one there, or set address = "{LOCAL}".'
        ) from None
    except RuntimeError as error:  # of another version of Ray or Python
        raise ValueError(f"The cluster at {config.address} cannot be joined: {_first_of(error)}") from None


def _check_resources(config: Config) -> None:
    """Refuse what this machine can never give."""
    there = ray.cluster_resources()
    for kind, each in config.each.items():
        have = there.get(kind, 0)
        if each * config.workers > have:
            most = int(have // each)
            change = (
                f"set their number to at most {most}" if most else f"ask for less than num_{kind.lower()}s = {each}"
            )
            raise ValueError(
                f"[{config.preset}] asks for {config.workers} replicas with {each} {kind} each, "
                f"and this machine has {have:g}: {change}."
            )


def _await_replicas(config: Config) -> None:
    deadline = time.monotonic() + config.start_s
    while (application := serve.status().applications[config.preset]).status != "RUNNING":
        said = " ".join([application.message, *(part.message for part in application.deployments.values())])
        known = re.search(r"(?:OSError|ValueError): (.+)", said)
        if known:
            raise ValueError(known[1])
        if application.status == "DEPLOY_FAILED" or time.monotonic() > deadline:
            count = running(config.preset)
            raise ValueError(
                f"Only {count} of the replicas of [{config.preset}] were ready after {config.start_s:.0f} s: "
                f"ask for less, or allow more than start_s = {config.start_s:.0f}. {_first_of(said)}"
            )
        time.sleep(0.2)


def _first_of(said: object) -> str:
    """Return what a long message begins with."""
    return " ".join(str(said).split())[:300]
