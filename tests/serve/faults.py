"""What the page promises where its replicas fail, and where it stands before two models."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx

from app.engine import Resident
from jointdit_core.memory import Card
from jointdit_core.presets import PRESETS, adapt, load
from jointdit_core.results import Settings
from tests.serve.faulty import LIMIT_S
from tests.serve.fleet import children, is_alive, replicas_of, wait_for
from tests.serve.page import digest, replica_logs
from tests.tiny import tiny_flux, tiny_pipeline
from tests.trust.checks import LEAK, SHORT, TOLD, Row, is_plain, json_lines
from tests.trust.studio import FREE, Server, Visitor

MODELS = "mini,flux-dev"
CONFIG = """[ray]
start_s = 180
[mini]
num_replicas = 2
ray_actor_options = { num_cpus = 0.5 }
[flux-dev]
ray_actor_options = { num_cpus = 0.5 }
"""


@contextlib.contextmanager
def faulty(folder: Path) -> Iterator[tuple[Server, Path, Resident]]:
    """A page before two replicas of the mini and a tiny FLUX; the file of orders; the tiny FLUX in this process."""
    flux, addons = tiny_flux(tiny_pipeline(), folder)
    (config := folder / "serve.toml").write_text(CONFIG)
    orders = folder / "orders"
    own = Card.of
    Card.of = lambda device: Card(64.0, None)
    preset = adapt(PRESETS["flux-dev"], str(flux), str(addons))
    try:
        model = Resident(load(preset), preset.name)
    finally:
        Card.of = own
    model.pipe.set_progress_bar_config(disable=True)
    flags = ["--serve", str(config), "--preset", MODELS, "--base", str(flux), "--addons", str(addons)]
    start = ("-m", "tests.serve.faulty", str(orders))
    with Server(folder, FREE, f"--time-limit={LIMIT_S}", *flags, start=start) as server:
        yield server, orders, model


def models(server: Server, mini: Resident, flux: Resident) -> list[Row]:
    """Each model has its own page, limits and endpoints, and gives what it gives in this process."""
    rows = []
    with Visitor(server) as visitor:
        for prefix, model, size, guidance in (("", mini, "256x256", 6.5), ("flux_dev_", flux, "512x512", 20.5)):
            name, data = f"{prefix}joint_generation", ["a red ball", 1, 1, 1.0, size]
            width = int(size.split("x")[0])
            asked = Settings("joint_generation", *data[:4], model.name, width=width, height=width)
            same = visitor.run(name, data).digest == digest(model, asked, None)
            refused = [
                visitor.run(name, [*data[:3], guidance, size]),
                visitor.run(name, [*data[:4], "512x512" if model is mini else "256x256"]),
            ]
            told = all(map(is_plain, refused)) and f"{guidance - 0.5:g}" in refused[0].sentence
            rows.append(Row(f"{model.name}: right, its limits", f"{same}, {told}", "True, True", same and told))
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


def faults(server: Server, orders: Path, times: int) -> list[Row]:
    """Each fault several times: its visitor is told plainly, the next result is right, the replicas are the same."""
    rows = []
    with Visitor(server) as visitor:
        expected = visitor.run("joint_generation", SHORT).digest
        before = {one.pid for one in replicas_of(server.watched)}
        for fault, sentence in TOLD.items():
            told = right = 0
            for _ in range(times):
                orders.write_text(fault)
                outcome = visitor.run("joint_generation", SHORT)
                told += is_plain(outcome) and sentence in outcome.sentence
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
        wait_for(lambda: others() == 1 and server.health()["replicas"] == len(before), 60)
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
    with faulty(folder) as (server, orders, flux):
        rows = [*models(server, mini, flux), *faults(server, orders, times)]
        family = children(server.watched)
        status, _, _ = server.stop()
    left = [one for one in family if is_alive(one)]
    return [*rows, Row("exit status, processes left", f"{status}, {len(left)}", "0, 0", status == 0 and not left)]
