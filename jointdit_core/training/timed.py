"""The loop of the small trainings that run for a given time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from tqdm.auto import tqdm


def timed_steps(
    name: str, minutes: float, optimizer: torch.optim.Optimizer, rate: float, warmup: int
) -> Iterator[tqdm]:
    """Set the learning rate before each step until the time is up.

    Args:
        name: What the progress bar says.
        minutes: How long.
        optimizer: Its rates rise linearly over the first steps, and fall linearly to 0 in the second half of the time.
        rate: Their largest value.
        warmup: Steps of the rise.

    Yields:
        The progress bar, whose `n` counts the steps before this one.
    """
    start = time.monotonic()
    with tqdm(desc=name, unit="step") as bar:
        while (share := (time.monotonic() - start) / (60 * minutes)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, 2 * (1 - share), (bar.n + 1) / warmup)
            yield bar
            bar.update()
