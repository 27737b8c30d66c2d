"""Replicas on Ray Serve, `--serve FILE`: what a config asks for is checked before Ray is imported and started."""

from __future__ import annotations

import os
import secrets
import socket
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from app.serve_config import LOCAL, RAY_VERSION, Config, available

if TYPE_CHECKING:
    from app.replica import Loading
    from app.replicas import Replicas

INSTALL = f"pip install 'ray[serve]=={RAY_VERSION}'"
ANSWER_S = 5.0  # for a cluster elsewhere


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
