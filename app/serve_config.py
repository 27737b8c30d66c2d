"""What a config file says of replicas on Ray Serve, `--serve FILE`."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

RAY_VERSION = "2.60.0"
OPTIONS = (  # of Ray Serve's, which we hand on
    *("num_replicas", "autoscaling_config", "max_queued_requests", "ray_actor_options"),
    *("health_check_period_s", "health_check_timeout_s", "graceful_shutdown_timeout_s"),
)
USUAL = {"health_check_period_s": 2, "health_check_timeout_s": 10, "graceful_shutdown_timeout_s": 5}
LOCAL = "local"  # the address of a cluster of our own
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


def available() -> dict[str, int]:
    """Return what this machine has for replicas: "CPU" and "GPU"."""
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
