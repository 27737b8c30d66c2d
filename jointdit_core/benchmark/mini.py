"""The embedded mini on the CPU: whole requests by threads, number format and form of the transformer."""

from __future__ import annotations

import subprocess
import sys
import time
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
ROUNDS = 3


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
    """What was measured of one form; each figure in seconds is the best of `ROUNDS` requests.

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


def measure_mini() -> list[MiniRow]:
    """Time all forms, one after the other in every round, so that what else the machine does meets all alike.

    Returns:
        A row for each form and number of threads.
    """
    # Where a processor has no bfloat16 of its own, it takes 7 times as long.
    own = {name for name, has in torch.cpu.get_capabilities().items() if has} & {"avx512_bf16", "amx_bf16"}
    dtypes = (torch.float32, torch.bfloat16) if own else (torch.float32,)
    before, preset, rows = torch.get_num_threads(), PRESETS["mini"], []
    steps = {task: defaults.steps["standard"] for task, defaults in preset.tasks.items()}
    for threads in THREADS:
        torch.set_num_threads(threads)
        torch._dynamo.reset()
        pipes = {name: _load(mode) for name, mode in MINI_MODES.items() if mode.dtype in dtypes}
        pictures, times = {}, {name: [] for name in pipes}
        for _ in range(1 + ROUNDS):
            for name, pipe in pipes.items():
                began = time.perf_counter()
                made = pipe.joint_generation(PROMPT, seed=0, num_inference_steps=steps["joint_generation"]).image
                between = time.perf_counter()
                pipe.depth_estimation(made, seed=0, num_inference_steps=steps["depth_estimation"])
                times[name].append((between - began, time.perf_counter() - between))
                pictures[name] = np.asarray(made, dtype=np.float64) / 255
        for name, ((first_s, _), *others) in times.items():
            joint_s, depth_s = (min(seconds) for seconds in zip(*others, strict=True))
            difference = float(np.sqrt(((pictures[name] - pictures["plain"]) ** 2).mean()))
            rows.append(MiniRow(name, threads, joint_s, depth_s, first_s, difference))
    torch.set_num_threads(before)
    return rows


def _load(mode: MiniMode) -> JointDiTPipeline:
    """Load the mini in a form."""
    pipe = JointDiTPipeline.from_pretrained(REPOSITORY / PRESETS["mini"].source, dtype=mode.dtype)
    pipe.set_progress_bar_config(disable=True)
    if mode.fuse is not None:
        fuse_projections(pipe.transformer, mode.fuse)
    speed_up(pipe.transformer, mode.compiled, None)
    return pipe


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
