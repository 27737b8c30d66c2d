"""The model as replicas on Ray Serve, any number of them, as an engine's lane takes it.

Ray Serve places the replicas, streams what they report, scales their number and replaces those that die.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from pathlib import Path
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from ray._common.utils import resources_from_ray_options
from ray.exceptions import RayActorError, RayError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import BackPressureError, RayServeException

from app.engine import Request
from app.jobs import LaneError, Reporter
from app.replica import Facts, Failure, Loading, Replica
from app.serve_config import LOCAL, RAY_VERSION, Config, available
from jointdit_core import JointDiTOutput

logger = logging.getLogger(__name__)
logging.getLogger("ray.serve").handlers.clear()  # Ray sets up its own log; ours is for all
logging.getLogger("ray.serve").propagate = True
logging.getLogger("ray.serve").setLevel(logging.WARNING)

STORE_BYTES = 200_000_000  # for pictures on their way between the processes of this machine
LOOK_S = 1.0  # between two looks at how many replicas there are
LAST_LOOK_S = 5.0  # for a question to Ray that is under way at the end
BEAT_S = 0.1  # between two looks whether a run is to end

REPLICA = "replica"  # the deployment's name

LOST = "The machine that worked on this run has failed, and so has the next. Your settings are kept; please try again."
FULL = "The server is busy: all replicas have as much to do as they may. Please try again in a minute."


class Replicas:
    """The model in a Ray Serve deployment, as an engine takes it."""

    def __init__(self, config: Config, handle: Any, facts: Facts, sharers: set[Replicas]) -> None:
        """Stand for a deployment that runs beside those of the `sharers` of its cluster; `start` makes one."""
        self.config, self.name, self.handle, self.sharers = config, config.preset, handle, sharers
        sharers.add(self)
        self.device, self.step_s = facts.device, facts.step_s
        self.replicas = running(config.preset)
        self.has_failed = False
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="replicas", daemon=True)
        self._watcher.start()

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
        listener = threading.Thread(target=_listen, args=(response, arrived), name="listener", daemon=True)
        listener.start()
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
            listener.join(LAST_LOOK_S)  # who asks for more when Ray has gone would start another one

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
        """End the cluster and its replicas if they are our own; those of a joined one stay for its other pages.

        Where several share a cluster, the last one's end is the cluster's.
        """
        self._closed.set()
        self._watcher.join(LAST_LOOK_S)  # a look that is under way when Ray goes would crash the process
        self.sharers.discard(self)
        if not self.sharers:
            ray.shutdown()


def _listen(response: Any, arrived: queue.SimpleQueue) -> None:
    """Pass on what a replica sends, then what ended it."""
    try:
        for news in response:
            arrived.put(news)
    except BaseException as error:  # whatever it is, it is told where the run is waited for
        arrived.put(error)


def deploy(wanted: list[tuple[Config, Loading]], folder: Path) -> list[Replicas]:
    """Do what `serve.start` says, once Ray is known to be there."""
    configs, sharers = [config for config, _ in wanted], set()
    targets = [_target(*each) for each in wanted]
    _connect(configs[0], folder)
    try:
        for config in configs:
            _check_machines(config)
        serve.start(proxy_location="Disabled")  # nobody but the page is to ask
        handles = serve.run_many(targets, wait_for_applications_running=False)
        for config in configs:
            _await_replicas(config)
        facts = [handle.facts.remote().result(timeout_s=configs[0].start_s) for handle in handles]
        return [Replicas(*each, sharers) for each in zip(configs, handles, facts, strict=True)]
    except BaseException:
        ray.shutdown()
        raise


def _target(config: Config, loading: Loading) -> serve.RunTarget:
    known = AutoscalingConfig.model_fields
    for key in config.options.get("autoscaling_config", {}):
        if key not in known:
            raise ValueError(f"autoscaling_config of [{config.preset}] knows no {key}; it takes {', '.join(known)}.")
    try:
        deployment = serve.deployment(Replica, name=REPLICA, max_ongoing_requests=1, **config.options)
    except (TypeError, ValueError) as error:  # an option has a value that Ray Serve does not take
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            error = ": ".join([*map(str, first["loc"][-1:]), first["msg"]])
        raise ValueError(f"[{config.preset}] asks for what Ray Serve does not take: {_first_of(error)}") from None
    return serve.RunTarget(deployment.bind(loading), name=config.preset, route_prefix=None)


def running(preset: str) -> int:
    """Count the replicas of a preset that can work."""
    application = serve.status().applications.get(preset)
    return application.deployments[REPLICA].replica_states.get("RUNNING", 0) if application else 0


def _connect(config: Config, folder: Path) -> None:
    """Start a cluster that listens on this machine only, or join one."""
    common = {"log_to_driver": False, "configure_logging": False}
    if config.address == LOCAL:
        here = available()
        ray.init(
            address=LOCAL,
            num_cpus=here["CPU"],
            num_gpus=here["GPU"],
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            _temp_dir=str(folder),
            **common,
        )
        return
    try:
        ray.init(address=config.address, **common)
    except (ConnectionError, RuntimeError, RayError) as error:  # of another version, or with another secret
        raise ValueError(
            f"The cluster at {config.address} cannot be joined; it needs this Python, Ray {RAY_VERSION} and the same "
            f"token: {_first_of(error)}"
        ) from None


def _check_machines(config: Config) -> None:
    """Refuse replicas that no machine has room for, or tell of them where machines may yet join."""
    actor = {"num_cpus": 1, **config.options.get("ray_actor_options", {})}
    each = {kind: amount for kind, amount in resources_from_ray_options(actor).items() if amount}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(min((has.get(kind, 0) // each[kind] for kind in each), default=config.workers) for has in machines)
    if room >= config.workers:
        return
    asked = ", ".join(f"{amount:g} {kind}" for kind, amount in each.items())
    most = ", ".join(f"{max(has.get(kind, 0) for has in machines):g} {kind}" for kind in each)
    sentence = (
        f"A replica of [{config.preset}] takes {asked}, so there is room for {room:g} of {config.workers}, "
        f"since no machine has more than {most}"
    )
    if config.address == LOCAL:
        raise ValueError(f"{sentence}: ask for less in ray_actor_options.")
    logger.warning("%s. Machines that have it may join within start_s = %g.", sentence, config.start_s)


def _await_replicas(config: Config) -> None:
    deadline = time.monotonic() + config.start_s
    while (application := serve.status().applications[config.preset]).status != "RUNNING":
        said = "\n".join([application.message, *(part.message for part in application.deployments.values())]).strip()
        # Tracebacks, of which the last line tells most.
        errors = re.findall(r"^(?:\w+\.)*(\w+Error): (.+)", said, re.MULTILINE)
        if errors and errors[-1][0] in ("OSError", "ValueError"):  # a sentence of ours
            raise ValueError(errors[-1][1])
        if application.status == "DEPLOY_FAILED":
            reason = ": ".join(errors[-1]) if errors else said.splitlines()[-1]
            raise ValueError(f"The replicas of [{config.preset}] cannot start: {_first_of(reason)}")
        if time.monotonic() > deadline:
            count, start_s = running(config.preset), config.start_s
            raise ValueError(
                f"Only {count} of the replicas of [{config.preset}] were ready after {start_s:g} s: "
                f"ask for less, or allow more than start_s = {start_s:g}. {_first_of(said)}".rstrip()
            )
        time.sleep(0.2)


def _first_of(said: object) -> str:
    """Return what a long message begins with."""
    return " ".join(str(said).split())[:300]
