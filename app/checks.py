"""What the page checks before a run, to tell it beside the control: one verdict for each of the run's inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app import inputs
from jointdit_core import reading

RIGHT = gr.validate(True, "")


def joint_generation(prompt: str, *numbers: Any) -> tuple:
    """Check what the run is about to get."""
    return verdict(inputs.check_prompt, prompt), *_verdicts(*numbers)[:-1]


def depth_estimation(image_path: str | None, seed: float, randomize: bool, *numbers: Any) -> tuple:
    """Check what the run is about to get."""
    seed, randomize, steps, _, looseness = _verdicts(seed, randomize, numbers[0], 0, *numbers[1:])
    return verdict(reading.read_image, image_path), seed, randomize, steps, looseness


def depth_to_image(prompt: str, depth_path: str | None, kind: str, polarity: str, *numbers: Any) -> tuple:
    """Check what the run is about to get."""
    depth = verdict(reading.read_depth, depth_path, kind, polarity)
    return verdict(inputs.check_prompt, prompt, False), depth, RIGHT, RIGHT, *_verdicts(*numbers)


def verdict(check: Callable, *arguments: Any) -> dict:
    """Return what shows a check's `ValueError` beside the control it is about."""
    try:
        check(*arguments)
    except ValueError as error:
        return gr.validate(False, str(error))
    return RIGHT


def _verdicts(seed: Any, randomize: bool, steps: Any, guidance: Any, looseness: Any = 0) -> tuple:
    """Verdicts on a run's numbers, one each."""
    return (
        RIGHT if randomize else verdict(inputs.check_seed, seed),
        RIGHT,
        verdict(inputs.check_steps, steps),
        verdict(inputs.check_guidance, guidance),
        verdict(inputs.check_looseness, looseness),
    )
