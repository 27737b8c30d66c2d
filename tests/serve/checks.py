"""What replicas promise without a page, on a real local Ray; each check gives rows for `python -m tests.serve`."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import psutil

from app.engine import Engine, Request, Resident
from jointdit_core.results import Settings
from tests.serve.fleet import Load, children, expected, fleet, kinds, replicas_of, wait_for
from tests.trust.checks import LEAK, Row, at_most

CLIENTS, WINDOW_S = 4, 5.0  # clients of each replica; span over which throughput is counted


def at_least(what: str, value: float, limit: float, unit: str = "") -> Row:
    """A figure that must not be less than a limit; it depends on the machine."""
    return Row(what, f"{value:.3g}{unit}", f">= {limit:g}{unit}", value >= limit, is_timing=True)


def throughput(model: Resident, requests: int) -> list[Row]:
    """One replica, then two: all answered, all right, and how much more two give."""
    mixed = kinds()
    right = expected(model, mixed)
    rates, wrong, lost = {}, 0, 0
    for replicas, some in ((1, requests // 3), (2, requests - requests // 3)):  # as long for one as for two
        with fleet(replicas) as engine, Load(engine, mixed, CLIENTS * replicas, some) as load:
            pass
        rates[replicas] = some / (max(end.at for end in load.ends) - load.begun)
        wrong += load.wrong(right)
        lost += some - sum(bool(end.digest) for end in load.ends)
    figures = f"{rates[1]:.2f} -> {rates[2]:.2f} a second"
    return [
        at_least(f"two replicas for one ({figures}): throughput", rates[2] / rates[1], 1.8, " times"),
        at_most(f"{requests} mixed requests: lost", lost, 0),
        at_most("results unlike those of the engine in this process", wrong, 0),
    ]


def latency(model: Resident, times: int) -> list[Row]:
    """How much longer a request takes for going to another process, at the least work."""
    asked = Settings("joint_generation", "a red ball", 1, 1, 1.0, "mini", width=256, height=256)
    request, here = Request("visitor", asked), Engine(model)

    def seconds(engine: Engine) -> float:
        before = time.monotonic()
        list(engine.run(request))
        return time.monotonic() - before

    with fleet(1) as there:
        pairs = [(seconds(here), seconds(there)) for _ in range(times)]  # in turns: both meet the same machine
    inside, outside = (1000 * statistics.median(one) for one in zip(*pairs, strict=True))
    what = f"one step here {inside:.0f} ms, on a replica {outside:.0f} ms: longer by, median"
    return [replace(at_most(what, outside - inside, 30, " ms"), is_timing=True)]


def kill(model: Resident, before_s: float) -> list[Row]:
    """Kill one of two replicas under load: everyone has an answer, and the throughput comes back."""
    mixed = kinds()
    right, me = expected(model, mixed), psutil.Process()
    with fleet(2) as engine:
        with Load(engine, mixed, 2 * CLIENTS) as load:
            time.sleep(before_s)
            usual = load.rate(load.begun, load.begun + before_s)
            struck = time.monotonic()
            replicas_of(me)[0].kill()

            def is_back() -> bool:
                now = time.monotonic()
                return now > struck + WINDOW_S and load.rate(now - WINDOW_S, now) >= 0.9 * usual

            back_s = wait_for(is_back, 60)
        told = [end.sentence for end in load.ends if end.sentence]
    left = children(me)
    return [
        Row("killed under load: told of a failure", str(len(told)), "plainly", not any(map(LEAK.search, told))),
        at_most(f"{load.started} requests: without an answer", load.started - len(load.ends), 0),
        at_most("wrong", load.wrong(right), 0),
        at_most(f"{usual:.2f} results a second come back within", back_s, 30, " s"),
        at_most("processes left after the end", len(left), 0),
    ]
