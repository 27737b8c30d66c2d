"""What the studio promises, measured on a real server process; each check gives rows for the table.

Used at full size by `python -m tests.trust`, and small by the test suite.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from tests.trust import corpus
from tests.trust.studio import API, FREE, Outcome, Server, Visitor, file_data

LONG = ["a red ball", 1, 100, 3.5, "256x256"]  # a run that is still going when it is stopped
SHORT = ["a red ball", 1, 1, 1.0, "256x256"]  # the smallest setting
LEAK = re.compile(r"Traceback|\.py\b|/(root|home|tmp|usr|proc|dev|secret)/|site-packages")
MB = 1e6


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    wanted: str
    holds: bool
    is_timing: bool = False  # depends on how fast the machine is, and on what else it does


def at_most(what: str, value: float, limit: float, unit: str = "") -> Row:
    """A figure that must not exceed a limit."""
    return Row(what, f"{value:.4g}{unit}", f"<= {limit:g}{unit}", value <= limit, unit == " s")


def is_plain(outcome: Outcome) -> bool:
    """Refused in words, without anything of the machine in them."""
    return outcome.kind == "refused" and len(outcome.sentence) > 15 and not LEAK.search(outcome.sentence)


def load(server: Server, requests: int, clients: int = 8) -> list[Row]:
    """Many clients, mixed tasks, every tenth request bad: all answered, all right, nothing grows."""
    with Visitor(server) as one:
        picture = file_data(one.upload(corpus.saved(corpus.noise(64, 64))))
        depth = file_data(one.upload(corpus.npy(corpus.ramp(64, 64)), "depth.npy"))
        broken = file_data(one.upload(b"not a picture"))
        kinds = [("joint_generation_1", ["a red ball", seed, False, 1, 1.0, "256x256", 1, "gray"]) for seed in range(3)]
        kinds += [("depth_estimation_1", [picture, seed, False, 1, 0, "gray"]) for seed in range(4)]
        kinds += [("joint_generation", ["a tree", 1, 1, 1.0, "256x256"])]
        kinds += [
            ("depth_to_image", ["a ball", depth, corpus.RELATIVE, corpus.NEAR_IS_BRIGHT, seed, 1, 1.0, 0])
            for seed in range(1)
        ]
        bad = [
            ("joint_generation", ["", 1, 1, 1.0, "256x256"]),
            ("depth_estimation", [broken, 1, 1, 0]),
            ("joint_generation", ["a", -1, 1, 1.0, "256x256"]),
            ("depth_estimation", [file_data("/etc/passwd"), 1, 1, 0]),
        ]
        expected = [one.run(*kind).digest for kind in kinds]
    turns, outcomes, samples, guard = itertools.count(), [], [], threading.Lock()

    def client() -> None:
        while True:
            with Visitor(server) as visitor:  # a new session every 25 requests
                for turn in itertools.islice(turns, 25):
                    if turn >= requests:
                        return
                    is_bad = turn % 10 == 9
                    task, data = bad[turn // 10 % len(bad)] if is_bad else kinds[turn % len(kinds)]
                    outcome = visitor.run(task, data)
                    right = is_plain(outcome) if is_bad else outcome.digest == expected[turn % len(kinds)]
                    with guard:
                        outcomes.append((outcome.kind, right, outcome.seconds))
                        if len(outcomes) % 25 == 0:
                            process = server.watched
                            facts = process.memory_info().rss / MB, process.num_fds(), process.num_threads()
                            samples.append((len(outcomes), *facts))

    before = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: client(), range(clients)))
    seconds = time.monotonic() - before
    wrong = sum(not right for kind, right, _ in outcomes if kind != "lost")
    lost = sum(kind == "lost" for kind, _, _ in outcomes)
    rows = [
        at_most(f"{clients} clients, {len(outcomes)} mixed requests in {seconds:.0f} s: wrong results", wrong, 0),
        at_most("unanswered", lost, 0),
        at_most("jobs on the device at once", server.health()["peak_active"], 1),
    ]
    late = np.array([sample for sample in samples if sample[0] > requests - 1000][-40:], dtype=float)
    if requests >= 1000:
        slope = np.polyfit(late[:, 0], late[:, 1], 1)[0] * 1000
        rows.append(at_most("memory over the last 1,000 requests", slope, 10, " MB"))
        half = len(late) // 2
        for name, column in (("descriptors", 2), ("threads", 3)):
            grown = np.median(late[half:, column]) - np.median(late[:half, column])
            rows.append(at_most(f"{name} more in the second half", grown, 3))
    return rows


def begin(server: Server, visitor: Visitor, data: list = LONG) -> tuple[str, object]:
    """Start a long run and wait until it has the device and took a step; return its event id and its events."""
    steps = server.health()["steps"]
    event_id = visitor.join("joint_generation", data).json()["event_id"]
    stream = visitor.http.stream("GET", f"{API}/queue/data", params={"session_hash": visitor.session})
    response = stream.__enter__()
    deadline = time.monotonic() + 60
    while server.health()["steps"] <= steps + 1:
        assert time.monotonic() < deadline, "the run did not start"
        time.sleep(0.02)
    return event_id, (stream, response)


def interruptions(server: Server, times: int) -> list[Row]:
    """Cancels and closed connections: the device is free within two steps, and the next result is right."""
    with Visitor(server) as visitor:
        expected = visitor.run("joint_generation", SHORT).digest
    taken: dict[str, list[int]] = {"cancel": [], "closed connection": []}
    function = server.functions["joint_generation"]
    for how in [how for how in taken for _ in range(times)]:
        visitor = Visitor(server)
        event_id, (stream, _) = begin(server, visitor)
        before = server.health()["steps"]
        if how == "cancel":
            body = {"session_hash": visitor.session, "fn_index": function, "event_id": event_id}
            server.http.post(f"{API}/cancel", json=body)
            server.await_idle()
        stream.__exit__(None, None, None)
        visitor.http.close()
        taken[how].append(server.await_idle()["steps"] - before)
    with Visitor(server) as visitor:
        right = visitor.run("joint_generation", SHORT).digest == expected
    rows = [at_most(f"{how} x {times}: steps until the device is free", max(steps), 2) for how, steps in taken.items()]
    return [*rows, Row("next result bit-exact", "yes" if right else "no", "yes", right)]


def departure(server: Server) -> list[Row]:
    """A page that is closed in the middle of a run takes its run and its files with it."""
    visitor = Visitor(server)
    heart = visitor.http.stream("GET", f"{API}/heartbeat/{visitor.session}")
    heart.__enter__()
    result = visitor.run("joint_generation", SHORT, fetch=False).data[0]["path"]
    folder = Path(result).parents[2] / "visitors" / visitor.session
    had_files = any(folder.iterdir())
    _, (stream, _) = begin(server, visitor)
    before = server.health()["steps"]
    for part in (stream, heart):
        part.__exit__(None, None, None)
    visitor.http.close()
    steps = server.await_idle()["steps"] - before
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    gone = had_files and not folder.exists()
    return [
        at_most("closed page: steps until the device is free", steps, 2),
        Row("its files gone", str(gone), "True", gone),
    ]


def crowd(server: Server, places: int, joins: int) -> list[Row]:
    """More visitors at once than places: the excess hears so at once, and health goes on answering."""
    holder = Visitor(server)
    _, (stream, _) = begin(server, holder)
    answers: list[tuple[bool, float, str]] = []
    visitors = [Visitor(server) for _ in range(joins)]
    ready = threading.Barrier(joins)

    def join(visitor: Visitor) -> None:
        ready.wait()
        before = time.monotonic()
        answer = visitor.join("joint_generation", LONG)
        told = answer.json().get("detail", "")
        answers.append((answer.status_code == 200, time.monotonic() - before, told))

    threads = [threading.Thread(target=join, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    health = []
    while any(thread.is_alive() for thread in threads) or len(health) < 40:
        before = time.monotonic()
        server.health()
        health.append(time.monotonic() - before)
        time.sleep(0.02)
    taken, excess = [a for a in answers if a[0]], [a for a in answers if not a[0]]
    plain = all("busy" in told and "try again" in told for _, _, told in excess)
    for visitor in visitors:  # opening and closing its stream is how a page leaves
        with contextless(visitor):
            pass
    stream.__exit__(None, None, None)
    server.await_idle()
    return [
        Row(f"{joins} joins on {places} places: taken", str(len(taken)), f"= {places}", len(taken) == places),
        Row("excess told that it is busy", str(len(excess)), f"= {joins - places}", plain),
        at_most("excess told within, at most", max(seconds for _, seconds, _ in excess), 1, " s"),
        at_most("health answers within, 95 %", statistics.quantiles(health, n=20)[-1], 0.2, " s"),
    ]


def contextless(visitor: Visitor) -> object:
    """Open a visitor's stream of events, to be closed at once."""
    return visitor.http.stream("GET", f"{API}/queue/data", params={"session_hash": visitor.session})


TOLD = {
    "raise": "failed on this request",
    "memory": "not enough memory",
    "nan": "not finite",
    "hang": "took longer than",
    "disk": "disk is full",
}


def faults(folder: Path, times: int) -> list[Row]:
    """Each fault several times: its visitor is told plainly, the next result is right."""
    orders, rows = folder / "orders", []
    start = ("-m", "tests.trust.faulty", str(orders))
    with Server(folder, FREE, "--time-limit=2", start=start) as server, Visitor(server) as visitor:
        server.log.read_text()
        expected = visitor.run("joint_generation", SHORT).digest
        for fault, sentence in TOLD.items():
            told = right = 0
            for _ in range(times):
                orders.write_text(fault)
                outcome = visitor.run("joint_generation", SHORT)
                told += is_plain(outcome) and sentence in outcome.sentence
                server.await_idle()
                right += visitor.run("joint_generation", SHORT).digest == expected
            holds = told == right == times
            rows.append(
                Row(f"{fault} x {times}: told / next bit-exact", f"{told} / {right}", f"{times} / {times}", holds)
            )
        orders.write_text("device")
        outcome = visitor.run("joint_generation", SHORT)
        told = is_plain(outcome) and "restarts itself" in outcome.sentence
        status = server.process.wait(20)
        rows.append(Row("device failed: told, exit status", f"{told}, {status}", "True, 70", told and status == 70))
        leaks = LEAK.search(re.sub(r"[\w-]+\.py:\d+", "", json_lines(server.log)))
        rows.append(Row("secrets in the log", str(leaks and leaks[0]), "None", leaks is None))
    return rows


def json_lines(log: Path) -> str:
    """The log's own lines; before them come those of the libraries that load the model."""
    return "\n".join(line for line in log.read_text().splitlines() if line.startswith("{"))


def terminated(folder: Path) -> list[Row]:
    """A server that asks for a log-in, ended by SIGTERM in the middle of a run."""
    account = ("ann", "secret-word")
    with Server(folder, FREE, f"--auth={':'.join(account)}", account=account) as server:
        visitor = Visitor(server)
        stranger = httpx.Client(base_url=server.url, timeout=30, verify=False)
        file = visitor.upload(corpus.saved(corpus.noise()))
        wrong = stranger.post("/login", data={"username": "ann", "password": "secret"}).status_code
        closed = [stranger.get(path).status_code for path in ("/config", f"{API}/info", f"{API}/file={file}")]
        closed += [
            stranger.post(f"{API}/{path}", json={"data": SHORT}).status_code for path in ("upload", "queue/join")
        ]
        _, (_, response) = begin(server, visitor)
        lines: list[str] = []

        def read() -> None:
            try:
                lines.extend(response.iter_lines())
            except httpx.HTTPError:
                lines.append("cut off")

        reader = threading.Thread(target=read)
        reader.start()
        status, seconds, children = server.stop()
        reader.join(10)
        ends = [json.loads(line[6:]) for line in lines if "process_completed" in line]
        told = bool(ends) and (ends[-1]["success"] or "restarted" in str(ends[-1]["output"].get("error")))
    shut = wrong == 400 and set(closed) == {401} and "secret" not in server.log.read_text()
    return [
        Row("without a log-in", f"{wrong}, {set(closed)}", "400, {401}", shut),
        Row("SIGTERM in a run: visitor told", str(told), "True", told),
        at_most("seconds to the end", seconds, 15),  # a promise on any machine
        Row("exit status, children left", f"{status}, {len(children)}", "0, 0", status == 0 and not children),
    ]


def killed(folder: Path) -> list[Row]:
    """SIGKILL, and a new start."""
    with Server(folder, FREE) as server, Visitor(server) as visitor:
        made = Path(visitor.upload(corpus.saved(corpus.noise()))).parents[2]
        visitor.join("joint_generation", SHORT)
    left = made.is_dir()  # killed, so nobody tidied up
    with Server(folder, FREE) as server, Visitor(server) as visitor:
        served = visitor.run("joint_generation", SHORT).kind == "done"
        clean = left and not made.exists()
    return [Row("after SIGKILL: serves, leftovers gone", f"{served}, {clean}", "True, True", served and clean)]
