"""What the page promises where its replicas fail, and where it stands before two models."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx

from app.engine import Resident
from app.inputs import size_name
from jointdit_core.presets import PRESETS
from jointdit_core.results import Settings
from tests.serve.faulty import LIMIT_S, STAND_IN
from tests.serve.fleet import children, is_alive, replicas_of, wait_for
from tests.serve.page import digest, ready, replica_logs
from tests.trust.checks import LEAK, SHORT, TOLD, Row, is_plain, json_lines
from tests.trust.studio import FREE, Server, Visitor

HALF = "max_queued_requests = 10\nray_actor_options = { num_cpus = 0.5 }"  # three on two cores
CONFIG = f"[ray]\nstart_s = 180\n[mini]\nnum_replicas = 2\n{HALF}\n[flux-dev]\n{HALF}\n"


@contextlib.contextmanager
def faulty(orders: Path, *flags: str) -> Iterator[Server]:
    """A page before two replicas of the mini and one of a second model; `orders` is the file for faults."""
    folder = orders.parent
    (config := folder / "serve.toml").write_text(CONFIG)
    start = ("-m", "tests.serve.faulty", str(orders))
    what = ("--serve", str(config), "--preset", f"mini,{STAND_IN.name}")
    with Server(folder, FREE, *what, *flags, start=start) as server:
        yield server


def models(server: Server, mini: Resident) -> list[Row]:
    """Each model has its own page, limits and endpoints, and gives what it gives in this process."""
    rows = []
    with Visitor(server) as visitor:
        for prefix, preset, others in (("", PRESETS["mini"], STAND_IN), ("flux_dev_", STAND_IN, PRESETS["mini"])):
            name, (width, height), most = f"{prefix}joint_generation", preset.sizes[0], preset.max_guidance
            data = ["a red ball", 1, 1, most, size_name(width, height)]
            asked = Settings("joint_generation", *data[:4], preset.name, width=width, height=height)
            same = visitor.run(name, data).digest == digest(mini, asked, None)
            guided = visitor.run(name, [*data[:3], most + 0.1, data[4]])
            sized = visitor.run(name, [*data[:4], size_name(*others.sizes[0])])
            told = f"from 0 to {most:g}" in guided.sentence and is_plain(sized)
            rows.append(Row(f"{preset.name}: right, its limits", f"{same}, {told}", "True, True", same and told))
    pages = {path: httpx.get(server.url + path).text for path in ("/", "/flux-dev")}
    titles = {path: ("./flux-dev" in text, 'href=\\"./\\"' in text) for path, text in pages.items()}
    links = titles == {"/": (True, False), "/flux-dev": (False, True)}
    health = server.health()
    each = [(one["model"], one["replicas"]) for one in health["models"]]
    whole = each == [("mini", 2), ("flux-dev", 1)] and health["replicas"] == 3
    return [
        *rows,
        Row("pages that link to each other", str(titles), "both", links),
        Row("health of each", str(each), "2 and 1", whole),
    ]


def faults(server: Server, orders: Path, times: int, kinds: Iterable[str] = TOLD) -> list[Row]:
    """Each kind of fault several times: its visitor is told plainly, the next result is right, the replicas go on."""
    rows = []
    with Visitor(server) as visitor:
        expected = visitor.run("joint_generation", SHORT).digest
        before = {one.pid for one in replicas_of(server.watched)}
        for fault in kinds:
            told = right = 0
            for _ in range(times):
                orders.write_text(fault)
                outcome = visitor.run("joint_generation", SHORT)
                told += is_plain(outcome) and TOLD[fault] in outcome.sentence
                right += visitor.run("joint_generation", SHORT).digest == expected
            holds = told == right == times
            wanted = f"{times} / {times}"
            rows.append(Row(f"{fault} x {times}: told / next bit-exact", f"{told} / {right}", wanted, holds))
        same = before == {one.pid for one in replicas_of(server.watched)}
        rows.append(Row("replicas that went on", str(same), "True", same))
        orders.write_text("device")
        right = visitor.run("joint_generation", SHORT).digest == expected

    def others() -> int:
        return len({one.pid for one in replicas_of(server.watched)} - before)

    with contextlib.suppress(TimeoutError):  # then the row says so
        wait_for(lambda: others() == 1 and ready(server) == len(before), 60)
    logs = "\n".join(map(json_lines, [server.log, *replica_logs(server)]))
    leaks = LEAK.search(re.sub(r"[\w-]+\.py:\d+", "", logs))
    return [
        *rows,
        Row("device failed: result from another replica", str(right), "True", right),
        Row("replicas replaced", str(others()), "= 1", others() == 1),
        Row("secrets in the log", str(leaks and leaks[0]), "None", leaks is None),
    ]


def all_of(folder: Path, mini: Resident, times: int) -> list[Row]:
    """Both, on one server, and its end."""
    orders = folder / "orders"
    with faulty(orders, f"--time-limit={LIMIT_S}") as server:
        rows = [*models(server, mini), *faults(server, orders, times)]
        family = children(server.watched)
        status, _, _ = server.stop()
    left = [one for one in family if is_alive(one)]
    return [*rows, Row("exit status, processes left", f"{status}, {len(left)}", "0, 0", status == 0 and not left)]
