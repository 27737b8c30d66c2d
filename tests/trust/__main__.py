"""`python -m tests.trust`: every promise at full size on real server processes, as a table; fails if one fails."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.trust import checks, hostile
from tests.trust.studio import FREE, Server


def main() -> int:
    """Run all checks and print their rows; return 1 if a figure does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size; 1 takes up to 10 minutes")
    scale = parser.parse_args().scale

    def times(full: int) -> int:
        return max(1, round(scale * full))

    rows: list[checks.Row] = []

    def show(title: str, some: list[checks.Row]) -> None:
        print(f"\n{title} ({time.monotonic() - began:.0f} s, {os.getloadavg()[0]:.1f} processes waiting)")
        for row in some:
            print(f"  {'ok  ' if row.holds else 'FAIL'}  {row.what:<64} {row.figure:>14}   {row.wanted}", flush=True)
        rows.extend(some)

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        # One thread, since a second one would wait for the first at the core that the visitors need.
        with Server(folder, FREE, "--offline", threads=1) as server:
            show("Load and soak", checks.load(server, times(1500)))
        with Server(folder, FREE, "--offline") as server:
            show("Interruptions", checks.interruptions(server, times(20)) + checks.departure(server))
            show("More visitors than places", checks.crowd(server, 10, 50))
            show("Access", hostile.access(server))
            show("Odd requests", hostile.surface(server, times(300)))
            show("Bad inputs", hostile.bad_inputs(server, every=max(1, round(1 / scale))))
        with ThreadPoolExecutor() as pool:  # servers of their own, and most of it is waiting
            faults = pool.submit(checks.faults, folder, times(10))
            stops = pool.submit(lambda: checks.terminated(folder) + checks.killed(folder))
            show("Stops", stops.result())
            show("Faults", faults.result())
    failed = sum(not row.holds for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} hold")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
