"""Wall-clock times."""

from __future__ import annotations

import time
from collections.abc import Callable


def time_runs(run: Callable[[], object], count: int) -> list[float]:
    """Time a function that waits for the card before it returns.

    Args:
        run: The function.
        count: How often to call it.

    Returns:
        Seconds of each call.
    """
    times = []
    for _ in range(count):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times
