"""`--serve FILE`: what a config file says of replicas on Ray Serve, checked before Ray is imported and started."""

from __future__ import annotations

import os
import secrets
import socket
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from app.replica import Loading
    from app.replicas import Replicas

RAY_VERSION = "2.60.0"
INSTALL = f"pip install 'ray[serve]=={RAY_VERSION}'"
OPTIONS = (  # of Ray Serve's, which we hand on
    *("num_replicas", "autoscaling_config", "max_queued_requests", "ray_actor_options"),
    *("health_check_period_s", "health_check_timeout_s", "graceful_shutdown_timeout_s"),
)
USUAL = {"health_check_period_s": 2, "health_check_timeout_s": 10, "graceful_shutdown_timeout_s": 5}
LOCAL = "local"  # the address of a cluster of our own
ANSWER_S = 5.0  # for a cluster elsewhere
# Of anything; Ray counts ten-thousandths in 64 bits, where much more becomes a negative number, which anything has.
MOST = 1e14


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
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): name one like app/serve.toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    if not isinstance(tables.get(preset), dict):
        raise ValueError(f"{path} has no section [{preset}]; add one, or choose another --preset.")
    general, own = tables.get("ray", {}), tables[preset]
    scaling, actor = own.get("autoscaling_config", {}), own.get("ray_actor_options", {})
    resources = actor.get("resources", {}) if isinstance(actor, dict) else {}
    tables = {"ray": general, "autoscaling_config": scaling, "ray_actor_options": actor, "resources": resources}
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {key} must be a table, {{ name = value }}, not {table!r}.")
    for section, keys, known in (("ray", general, ("address", "start_s")), (preset, own, OPTIONS)):
        for key in keys:
            if key not in known:
                raise ValueError(f"{path}: [{section}] knows no {key}; it takes {', '.join(known)}.")
    options = {"max_queued_requests": 10, **USUAL, **own}
    config = Config(preset, options, **general)
    counts = {"max_queued_requests": config.places, "num_replicas or max_replicas": config.workers}
    counts["min_replicas"] = scaling.get("min_replicas", 1)  # without any, the page would end after `start_s`
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{path}: {name} of [{preset}] must be a whole number of at least 1, not {count!r}.")
    if not _is_amount(config.start_s) or config.start_s == 0 or not isinstance(config.address, str):
        raise ValueError(f'{path}: [ray] takes address = "{LOCAL}" or "host:port", and start_s in seconds.')
    amounts = {name: actor[name] for name in ("num_cpus", "num_gpus", "memory") if name in actor}
    for name, amount in (amounts | resources).items():
        if not _is_amount(amount):
            raise ValueError(f"{path}: {name} of [{preset}] must be a number from 0 to {MOST:g}, not {amount!r}.")
    return config


def _is_amount(value: Any) -> bool:
    """Tell whether it is a plain number that can be counted in."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST


def start(wanted: list[tuple[Config, Loading]], folder: Path) -> list[Replicas]:
    """Start what configs say and wait until the replicas are ready.

    Args:
        wanted: for each model its part of one file, as `read_config` gives it, and how its replicas get it.
        folder: for the sockets and logs of a cluster of our own; its path must be short.

    Returns:
        The replicas of each.

    Raises:
        ValueError: with a sentence that says what to change.
    """
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        raise ValueError(f"--serve needs Ray, which is not installed: {INSTALL}.") from None
    if version != RAY_VERSION:
        raise ValueError(f"Ray {version} is installed, and this was made with {RAY_VERSION}: {INSTALL}.")
    # Ray's own 15 leaves a replica next to nothing where anything else computes; the page still comes first.
    os.environ.setdefault("RAY_worker_niceness", "5")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # How long a replica may take to say how busy it is; the usual 0.1 s is short beside arithmetic on the same core.
    os.environ.setdefault("RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S", "1.0")
    address = wanted[0][0].address
    if address == LOCAL:
        _check_resources([config for config, _ in wanted])
        # Nobody reads Ray's own metrics of a cluster that is ours alone, and they cost the replicas' processors.
        os.environ.update(RAY_enable_metrics_collection="false", RAY_event_stats="false")
        os.environ.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.5")
        # As on Windows and macOS, Ray then keeps to 127.0.0.1; and who has not the word is not heard even there.
        os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        _check_address(address)
        # Ray would ask for a quarter of an hour where something else than Ray listens.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
        os.environ.setdefault("RAY_py_gcs_connect_timeout_s", f"{ANSWER_S:.0f}")
    try:
        from app.replicas import deploy  # imports Ray, which reads the environment then
    except ImportError as error:
        raise ValueError(f"Ray is not complete ({error}): {INSTALL}.") from None
    return deploy(wanted, folder)


def available() -> dict[str, int]:
    """Return what this machine has for replicas: "CPU" and "GPU"."""
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}


def _check_address(address: str) -> None:
    """Refuse at once where nobody listens; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, ValueError, OverflowError):
        raise ValueError(
            f'No Ray cluster answers at "{address}": start one there, or set address = "{LOCAL}".'
        ) from None


def _check_resources(configs: list[Config]) -> None:
    """Refuse what this machine can never give."""
    for kind, have in available().items():
        left = have
        for config in configs:
            each = config.each[kind]
            if each * config.workers > left:
                most, others = int(left // each), f" and {left:g} of them left" if left < have else ""
                change = (
                    f"set their number to at most {most}" if most else f"set num_{kind.lower()}s to at most {left:g}"
                )
                if not left and others:
                    change = "leave out a model, or give the others less"
                count = f"{config.workers} replica{'s' if config.workers > 1 else ''}"
                raise ValueError(
                    f"[{config.preset}] asks for {count} with {each:g} {kind} each, "
                    f"and this machine has {have}{others}: {change}."
                )
            left -= each * config.workers
