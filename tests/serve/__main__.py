"""`python -m tests.serve`: what replicas promise, at full size on a real local Ray, as a table; fails if one fails.

Made for two free cores, in parts of at most four minutes each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.serve import checks, faults, page
from tests.serve.fleet import resident


def main() -> int:
    """Run the parts and print their rows; return 1 if a figure does not hold."""
    parts = {
        "throughput": lambda model, folder: checks.throughput(model, 200),
        "latency": lambda model, folder: checks.latency(model, 40),
        "kill": lambda model, folder: checks.kill(model, 20.0),
        "page": lambda model, folder: page.page(folder, model, 50),
        "faults": lambda model, folder: faults.all_of(folder, model, 5),
    }
    parser = argparse.ArgumentParser(prog="python -m tests.serve", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)} (default: all)")
    chosen = parser.parse_args().parts or list(parts)
    torch.set_num_threads(1)  # as each replica has
    model, rows, began = resident(), [], time.monotonic()
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            some = parts[name](model, Path(folder))
        print(f"\n{name} ({time.monotonic() - began:.0f} s, {os.getloadavg()[0]:.1f} processes waiting)")
        for row in some:
            print(f"  {'ok  ' if row.holds else 'FAIL'}  {row.what:<64} {row.figure:>14}   {row.wanted}", flush=True)
        rows += some
    failed = sum(not row.holds for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} hold")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
