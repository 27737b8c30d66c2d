"""What the page checks before a run, to tell it beside the control: one verdict for each of the run's inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app import inputs
from jointdit_core import reading
from jointdit_core.presets import Preset

RIGHT = gr.validate(True, "")


class Checks:
    """The checks of the three runs on one preset."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset

    def joint_generation(
        self, prompt: str, seed: Any, randomize: bool, steps: Any, guidance: Any, size: str, variants: Any
    ) -> tuple:
        """Check what the run is about to get; the menu of sizes offers right ones only."""
        how = self._guidance(guidance), RIGHT, verdict(inputs.check_variants, variants)
        return verdict(inputs.check_prompt, prompt), *_run(seed, randomize, steps), *how

    def depth_estimation(self, image_path: str | None, seed: Any, randomize: bool, steps: Any, looseness: Any) -> tuple:
        """Check what the run is about to get."""
        picture, loose = verdict(reading.read_image, image_path), verdict(inputs.check_looseness, looseness)
        return picture, *_run(seed, randomize, steps), loose

    def depth_to_image(
        self,
        prompt: str,
        depth_path: str | None,
        kind: str,
        polarity: str,
        seed: Any,
        randomize: bool,
        steps: Any,
        guidance: Any,
        looseness: Any,
        variants: Any,
    ) -> tuple:
        """Check what the run is about to get."""
        text = verdict(inputs.check_prompt, prompt, False)
        depth = verdict(reading.read_depth, depth_path, kind, polarity)
        held = verdict(inputs.check_looseness, looseness), verdict(inputs.check_variants, variants)
        return text, depth, RIGHT, RIGHT, *_run(seed, randomize, steps), self._guidance(guidance), *held

    def _guidance(self, value: Any) -> dict:
        return verdict(inputs.check_guidance, value, self.preset.max_guidance)


def picture(path: str | None) -> dict:
    """Check a picture as soon as it is there."""
    return verdict(reading.read_image, path)


def depth_map(path: str | None, kind: str, polarity: str) -> tuple:
    """Check a depth map as soon as it is there, or is read otherwise."""
    return RIGHT if path is None else verdict(reading.read_depth, path, kind, polarity), RIGHT, RIGHT


def verdict(check: Callable, *arguments: Any) -> dict:
    """Return what shows a check's `ValueError` beside the control it is about."""
    try:
        check(*arguments)
    except ValueError as error:
        return gr.validate(False, str(error))
    return RIGHT


def _run(seed: Any, randomize: bool, steps: Any) -> tuple:
    """Verdicts on the numbers that every run has."""
    return RIGHT if randomize else verdict(inputs.check_seed, seed), RIGHT, verdict(inputs.check_steps, steps)
