"""What the page promises before two replicas, as its visitors see it, over HTTP on a real local Ray."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil

from app.engine import Resident
from jointdit_core.geometry.export import write_png16
from jointdit_core.results import Settings, write_rgb_png
from tests.serve.fleet import children, config_file, is_alive, replicas_of, wait_for
from tests.trust import corpus
from tests.trust.checks import Row, at_most, begin, crowd, is_plain
from tests.trust.studio import FREE, Server, Visitor, file_data

PLACES = 10
HERE = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def page(folder: Path, model: Resident, joins: int) -> list[Row]:
    """Results, a stop, a crowd, a killed replica, the end."""
    with Server(folder, FREE, "--serve", str(config_file(folder, 2, PLACES)), "--offline") as server:
        family = children(server.watched)
        rows = [listening([server.watched, *family]), results(server, model), stop(server)]
        rows += [*crowd(server, PLACES + 1, joins), *killed(server, model)]  # the second replica takes one more
        family += children(server.watched)
        status, seconds, _ = server.stop()
    left = [one for one in family if is_alive(one)]
    return [
        *rows,
        at_most("SIGTERM: seconds to the end", seconds, 15),
        Row("exit status, processes left", f"{status}, {len(left)}", "0, 0", status == 0 and not left),
    ]


def listening(family: list[psutil.Process]) -> Row:
    """No process of the server listens on an address that others reach."""
    ports = [one for each in family for one in each.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    wide = [one for one in ports if one.laddr.ip not in HERE]
    what = f"of {len(ports)} ports of {len(family)} processes: open to others"
    return Row(what, str(len(wide)), "= 0", bool(ports) and not wide)


def results(server: Server, model: Resident) -> Row:
    """Files are those of the engine in this process, byte for byte."""
    picture = corpus.noise(64, 64)
    drawn = Settings("joint_generation", "a red ball", 1, 2, 1.0, "mini", width=256, height=256)
    seen = Settings("depth_estimation", "", 2, 2, None, "mini")
    with Visitor(server) as visitor:
        photo = file_data(visitor.upload(corpus.saved(picture)))
        there = [
            visitor.run(drawn.task, ["a red ball", 1, 2, 1.0, "256x256"]).digest,
            visitor.run(seen.task, [photo, 2, 2, 0]).digest,
        ]
    here = [digest(model, drawn, None), digest(model, seen, np.asarray(picture))]
    same = sum(one == other for one, other in zip(here, there, strict=True))
    return Row("results that equal those of one process", f"{same} of {len(here)}", "all", same == len(here))


def digest(model: Resident, asked: Settings, given: np.ndarray | None) -> str:
    """SHA-256 of the two files that a visitor fetches."""
    output = asked.run(model.pipe, given)
    with tempfile.TemporaryDirectory() as folder:
        rgb, depth = Path(folder) / "rgb.png", Path(folder) / "depth.png"
        write_rgb_png(rgb, np.asarray(output.image), asked)
        write_png16(depth, output.disparity)
        return hashlib.sha256(rgb.read_bytes() + depth.read_bytes()).hexdigest()


def stop(server: Server) -> Row:
    """A visitor who leaves frees the replica, by its own log."""
    before = stopped(server)
    visitor = Visitor(server)
    _, (stream, _) = begin(server, visitor)
    left = time.time()
    stream.__exit__(None, None, None)
    visitor.http.close()
    wait_for(lambda: len(stopped(server)) > len(before), 30)
    line = stopped(server)[-1]
    ended = datetime.fromisoformat(line["time"]).timestamp()
    steps = (ended - left) / (line["seconds"] / max(1, line["steps"]))
    return at_most("closed connection: steps until its replica is free", round(steps, 1), 2)


def stopped(server: Server) -> list[dict]:
    """What the replicas' logs say of runs that were stopped, in order."""
    lines = []
    for log in replica_logs(server):
        lines += [json.loads(line) for line in log.read_text().splitlines() if "job stopped" in line]
    return sorted(lines, key=lambda line: line["time"])


def ready(server: Server) -> int:
    """How many of the mini's replicas can work, as the server says."""
    health = server.health()
    return health.get("models", [health])[0]["replicas"]


def replica_logs(server: Server) -> list[Path]:
    """The files that the replicas log to."""
    mine = f"jointdit-studio-{server.process.pid}-*"
    return list(Path(tempfile.gettempdir()).glob(f"{mine}/ray/session_2*/logs/worker-*.err"))


def killed(server: Server, model: Resident) -> list[Row]:
    """A replica is killed in the middle of runs: all end well, or are told, and another takes its place."""
    data, patience_s = ["a red ball", 1, 8, 1.0, "256x256"], 60.0
    right = digest(model, Settings("joint_generation", *data[:4], "mini", width=256, height=256), None)
    outcomes = []

    def visit() -> None:
        with Visitor(server) as visitor:
            outcomes.append(visitor.run("joint_generation", data))

    visitors = [threading.Thread(target=visit) for _ in range(6)]
    steps = server.health()["steps"]
    for visitor in visitors:
        visitor.start()
    wait_for(lambda: server.health()["steps"] > steps + 2, 60)
    gone = replicas_of(server.watched)[0]
    struck = time.monotonic()
    gone.kill()
    for visitor in visitors:
        visitor.join(patience_s)
    done = sum(outcome.digest == right for outcome in outcomes)
    told = sum(is_plain(outcome) for outcome in outcomes)
    with contextlib.suppress(TimeoutError):  # then the row says so
        wait_for(lambda: len(replicas_of(server.watched)) == 2 and ready(server) == 2, 60)
    back_s = time.monotonic() - struck
    with Visitor(server) as visitor:
        after = visitor.run("joint_generation", data).digest == right
    whole = done + told == len(visitors)
    return [
        Row("replica killed in 6 runs: right, told plainly", f"{done}, {told}", "6 together", whole and done > 0),
        at_most("two replicas again within", back_s, 30, " s"),
        Row("the next result is right", str(after), "True", after),
    ]
