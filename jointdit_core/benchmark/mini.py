"""The embedded mini on the CPU: whole requests by threads, number format and form of the transformer."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..model.fused import fuse_projections
from ..pipeline import JointDiTPipeline
from ..presets import PRESETS, REPOSITORY
from ..speed import speed_up
from .timing import time_runs

PROMPT = "two red balls on a table in a room"
START = "from jointdit_core.presets import PRESETS, load; load(PRESETS['mini'])"
THREADS = (1, 2)
REPEATS = 3


@dataclass(frozen=True)
class MiniMode:
    """One form of the mini.

    Attributes:
        dtype: Of all weights.
        fuse: None, or `merge_lora` of `fuse_projections`.
        compiled: Repeated blocks compiled.
    """

    dtype: torch.dtype = torch.float32
    fuse: bool | None = None
    compiled: bool = False


MINI_MODES = {
    "plain": MiniMode(),
    "fused": MiniMode(fuse=False),
    "merged": MiniMode(fuse=True),
    "merged, compiled": MiniMode(fuse=True, compiled=True),
    "merged, bfloat16": MiniMode(torch.bfloat16, fuse=True),
}


@dataclass
class MiniRow:
    """What was measured of one form; each figure in seconds is the median of `REPEATS` requests.

    Attributes:
        mode: Name in `MINI_MODES`.
        threads: Of the arithmetic.
        joint_s: Joint generation at the standard quality, in seconds.
        depth_s: Depth estimation at the standard quality, in seconds.
        first_s: The first joint generation, compilation included, in seconds.
        difference: Root mean square difference of the made picture from the plain form's, pixels in [0, 1].
    """

    mode: str
    threads: int
    joint_s: float
    depth_s: float
    first_s: float
    difference: float


def measure_start() -> float:
    """Seconds from starting Python to a loaded mini, best of two."""
    command = [sys.executable, "-c", START]
    return min(time_runs(lambda: subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True), 2))


def measure_mini(report: Callable[[MiniRow], None]) -> None:
    """Time all forms.

    Args:
        report: Told of each row as soon as it is measured.
    """
    before = torch.get_num_threads()
    for threads in THREADS:
        torch.set_num_threads(threads)
        expected = None
        for name in MINI_MODES:
            row, picture = _measure(name, threads)
            expected = picture if expected is None else expected
            row.difference = float(np.sqrt(((picture - expected) ** 2).mean()))
            report(row)
    torch.set_num_threads(before)


def _measure(name: str, threads: int) -> tuple[MiniRow, np.ndarray]:
    """Time one form; gives the row and the made picture (H, W, 3) in [0, 1]."""
    mode, preset = MINI_MODES[name], PRESETS["mini"]
    torch._dynamo.reset()
    pipe = JointDiTPipeline.from_pretrained(REPOSITORY / preset.source, dtype=mode.dtype)
    pipe.set_progress_bar_config(disable=True)
    if mode.fuse is not None:
        fuse_projections(pipe.transformer, mode.fuse)
    speed_up(pipe.transformer, mode.compiled, None)
    made = []

    def generate() -> None:
        steps = preset.tasks["joint_generation"].steps["standard"]
        made.append(pipe.joint_generation(PROMPT, seed=0, num_inference_steps=steps).image)

    def estimate() -> None:
        pipe.depth_estimation(made[0], seed=0, num_inference_steps=preset.tasks["depth_estimation"].steps["standard"])

    first_s, *joint = time_runs(generate, 1 + REPEATS)
    _, *depth = time_runs(estimate, 1 + REPEATS)
    row = MiniRow(name, threads, statistics.median(joint), statistics.median(depth), first_s, 0.0)
    return row, np.asarray(made[0], dtype=np.float64) / 255


def format_mini(rows: list[MiniRow], start_s: float) -> str:
    """Lay the rows out for reading.

    Args:
        rows: Measured.
        start_s: From `measure_start`.

    Returns:
        A Markdown table and a sentence.
    """
    lines = ["| mini | threads | joint s | depth s | first joint s | difference |", "|---|---|---|---|---|---|"]
    for row in rows:
        seconds = f"{row.joint_s:.2f} | {row.depth_s:.2f} | {row.first_s:.2f}"
        lines.append(f"| {row.mode} | {row.threads} | {seconds} | {row.difference:.1e} |")
    return "\n".join([*lines, "", f"From starting Python to a loaded mini: {start_s:.1f} s."])
