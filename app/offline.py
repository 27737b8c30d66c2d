"""`--offline`: this process speaks to this machine only, and anything else it tries is refused and noted."""

from __future__ import annotations

import ipaddress
import logging
import os
import sys

logger = logging.getLogger(__name__)

_LOCAL_NAMES = {"", "localhost", "0.0.0.0", "::", None}


class OfflineError(PermissionError):
    """The process is offline."""


def go_offline() -> None:
    """Refuse every outgoing connection and name look-up of this process from now on.

    An audit hook, which Python offers no way to take off again; it sees all sockets made by Python code.
    """
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None  # others are local (Unix) sockets
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if host not in _LOCAL_NAMES and not _is_loopback(host):
        logger.error("outgoing connection refused")
        raise OfflineError(f"--offline: no connection to {host}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False
