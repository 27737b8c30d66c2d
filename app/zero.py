"""Hugging Face's ZeroGPU: the page's process has no GPU; each job gets one for a while, in a process forked for it.

`spaces` patches torch, so this module is imported before anything touches CUDA. It is installed on such Spaces and
is no requirement of ours.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from app import recovery
from app.engine import Request
from app.jobs import Reporter, is_shown
from jointdit_core import Interrupted, JointDiTOutput, JointDiTPipeline
from jointdit_core.ahead import call_with_whole_tensors, export_blocks
from jointdit_core.model.frozen import FREEZES
from jointdit_core.presets import PRESETS, Preset, load
from jointdit_core.results import Settings
from jointdit_core.speed import speed_up

logger = logging.getLogger(__name__)

ON = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ON:
    import spaces

# Estimates, not measurements there: the README's figures of a whole H200, eager and fused, times 2.2, as the share that
# a job gets has 60 of its 132 multiprocessors. Half as much again for previews and whatever else.
STEP_S, STEP_S_PER_MEGAPIXEL, MARGIN = 0.14, 0.9, 1.5
START_S = 20.0  # weights into the card, text encoders, autoencoder
COMPILE_S = 600  # asked for once, when the page starts, to compile two blocks ahead of time

OnStep = Callable[[int, int, Callable], None]
Run = Callable[[Settings, Any, OnStep], JointDiTOutput]


@dataclass(frozen=True)
class _Failure:
    """What went wrong in the job's process; exceptions themselves do not come through whole."""

    trouble: recovery.Trouble
    sentence: str


def check_flags(flags: argparse.Namespace) -> None:
    """Refuse flags that cannot work there.

    Args:
        flags: as `app.py` reads them.

    Raises:
        ValueError: with one sentence on the first of them.
    """
    if flags.compile:
        raise ValueError(
            "--compile does not work on ZeroGPU, where blocks are compiled ahead of time instead; leave it out."
        )
    if flags.memory is not None:
        raise ValueError("--memory does not work on ZeroGPU, whose GPUs hold the whole model; leave it out.")
    if flags.serve is not None:
        raise ValueError("--serve does not work on ZeroGPU, which has no GPU to keep; leave it out.")
    if flags.offline:
        raise ValueError("--offline does not work on ZeroGPU, where GPUs are asked for over the network; leave it out.")


class Leased:
    """The model on leased GPUs, as an engine takes it."""

    replicas, has_failed, device = 1, False, "ZeroGPU"

    def __init__(self, pipe: JointDiTPipeline, preset: Preset, with_previews: bool) -> None:
        """Make it before the page starts; arguments as those of `runner`."""
        self.name, self._preset = preset.name, preset
        self._run = runner(pipe, preset, with_previews)

    def run(self, request: Request, report: Reporter) -> JointDiTOutput:
        """Run one request on a GPU of its own."""
        return self._run(request.asked, request.given, report)

    def warm_up(self) -> float:
        """Estimate the seconds of a step of a usual picture: where the page starts there is no GPU to try it on."""
        return usual_seconds(self._preset) / self._preset.tasks["joint_generation"].steps["standard"]

    def close(self) -> None:
        """Nothing to let go of: leases end with their jobs."""


def place(pipe: JointDiTPipeline, cache: str | None, root: Path) -> JointDiTPipeline:
    """Put a pipeline where the jobs' processes find it: in name on the GPU, before the page starts.

    Args:
        pipe: As loaded, without a step cache.
        cache: Name of a step cache, or None.
        root: Folder of this process, where what is compiled goes; every job's process reads it.

    Returns:
        The pipeline, its blocks compiled ahead of time, if they always get the same rows: not with classifier-free
        guidance, which a request may turn off, nor where a cache leaves out a branch's rows.
    """
    pipe.to("cuda")
    if pipe.transformer.config.guidance_embeds and cache not in FREEZES:
        _compile_ahead(pipe, root / "blocks")
    speed_up(pipe.transformer, False, cache)
    return pipe


def _compile_ahead(pipe: JointDiTPipeline, folder: Path) -> None:
    """Compile the transformer's blocks in a job of their own; where that fails they stay as they are."""
    folder.mkdir()

    def compiled() -> Iterator[str]:
        def run() -> None:
            pipe.joint_generation("", num_inference_steps=1, seed=0)

        for blocks, graph in export_blocks(pipe.transformer, run).items():
            spaces.aoti_compile_and_save(str(folder), graph, submodule=blocks)
            yield blocks

    began = time.monotonic()
    try:
        for blocks in spaces.GPU(compiled, duration=COMPILE_S)():
            logger.info("compiled %s ahead of time, %.0f s", blocks, time.monotonic() - began)
        call_with_whole_tensors(pipe.transformer)
        spaces.aoti_load_from_package_dir(pipe.transformer, str(folder))
    except Exception as error:  # a page with slower steps is better than none
        logger.warning("The blocks stay as they are: compiling them ahead of time gave %s.", type(error).__name__)


def runner(pipe: JointDiTPipeline, preset: Preset, with_previews: bool) -> Run:
    """Make the function that runs jobs on leased GPUs; make it before the page starts.

    Args:
        pipe: As `place` left it.
        preset: Its preset, for the estimates.
        with_previews: Whether previews are worth their time.

    Returns:
        Like `Settings.run`. Call it in the visitor's context, to whom the GPU's time is counted. Where none is granted,
        the embedded model answers on the CPU, and the output says so.
    """

    def steps(asked: Settings, given: Any) -> Iterator[tuple | JointDiTOutput | _Failure]:
        yield from _steps(pipe, asked, given, with_previews)

    leased = spaces.GPU(steps, duration=lambda asked, given: seconds(preset, asked, given))

    def run(asked: Settings, given: Any, on_step: OnStep) -> JointDiTOutput:
        news, is_granted = leased(asked, given), False
        try:
            for item in news:
                is_granted = True
                if isinstance(item, JointDiTOutput):
                    return item
                if isinstance(item, _Failure):
                    _fail(item)
                step, total, shown = item
                on_step(step, total, lambda shown=shown: shown)
        except gr.Error as error:
            if is_granted:
                raise RuntimeError("the job's process ended") from error
            refusal = str(error.message)
        else:
            raise RuntimeError("the job's process gave no output")
        finally:
            news.close()
        return _on_cpu(asked, given, on_step, refusal)

    return run


def seconds(preset: Preset, asked: Settings, given: Any) -> int:
    """Estimate how long a job needs its GPU.

    Args:
        preset: Whose sizes bound the work.
        asked: The request.
        given: Its picture or disparity, or None.

    Returns:
        Whole seconds.
    """
    width, height = asked.width, asked.height
    if isinstance(given, Image.Image):
        width, height = given.size
    elif given is not None:
        height, width = np.shape(given)[:2]
    least, most = preset.default_size**2, max(w * h for w, h in preset.sizes)
    area = min(max((width or 0) * (height or 0), least), most)
    return ceil(START_S + asked.steps * MARGIN * (STEP_S + STEP_S_PER_MEGAPIXEL * area / 1e6))


def usual_seconds(preset: Preset) -> int:
    """Estimate a usual picture."""
    task, (width, height) = "joint_generation", preset.sizes[0]
    steps = preset.tasks[task].steps["standard"]
    return seconds(preset, Settings(task, "", 0, steps, None, preset.name, width=width, height=height), None)


def _steps(
    pipe: JointDiTPipeline, asked: Settings, given: Any, with_previews: bool
) -> Iterator[tuple | JointDiTOutput | _Failure]:
    """Run a job in its own process: (step, total, preview) of each step, then the output or the failure.

    Closing it stops the job within a step.
    """
    news: queue.SimpleQueue = queue.SimpleQueue()
    stopping = threading.Event()

    def on_step(step: int, total: int, preview: Callable) -> None:
        if stopping.is_set():
            raise Interrupted
        wanted = with_previews and is_shown(step, total)
        news.put((step, total, preview() if wanted else None))

    def work() -> None:
        failure = None
        try:
            news.put(asked.run(pipe, given, on_step))
        except Exception as error:
            trouble = recovery.diagnose(error)
            failure = _Failure(trouble, str(error) if trouble is recovery.Trouble.REFUSAL else type(error).__name__)
        if failure is not None:  # out here, since the exception's frames hold the tensors
            recovery.free_memory()
            news.put(failure)

    worker = threading.Thread(target=work, name="zero-job", daemon=True)
    worker.start()
    try:
        while True:
            item = news.get()
            yield item
            if isinstance(item, JointDiTOutput | _Failure):
                return
    finally:
        stopping.set()
        worker.join()


def _fail(failure: _Failure) -> None:
    """Raise what the lane understands."""
    if failure.trouble is recovery.Trouble.REFUSAL:
        raise ValueError(failure.sentence)
    if failure.trouble is recovery.Trouble.OUT_OF_MEMORY:
        raise torch.OutOfMemoryError(failure.sentence)
    raise RuntimeError(f"{failure.sentence} in the job's process")


@cache
def _mini() -> JointDiTPipeline:
    pipe = load(PRESETS["mini"])
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _on_cpu(asked: Settings, given: Any, on_step: OnStep, refusal: str) -> JointDiTOutput:
    """Let the embedded model answer."""
    mini = PRESETS["mini"]
    guidance = None if asked.guidance is None else min(asked.guidance, mini.max_guidance)
    output = replace(asked, guidance=guidance).run(_mini(), given, on_step)
    note = f"No GPU was granted, so the small embedded model answered, on the CPU. ({refusal})"
    return replace(output, notes=(note, *output.notes), model=mini.name)
