"""The three named tasks: each is a choice of both branches' start sigmas."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .output import JointDiTOutput, StepCallback

GUIDANCE_SCALE = 3.5  # the released model's default


class TasksMixin:
    """The tasks of a pipeline, by name, over its general call."""

    def joint_generation(
        self,
        prompt: str | list[str],
        *,
        negative_prompt: str | list[str] = "",
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = GUIDANCE_SCALE,
        seed: int | list[int] | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> JointDiTOutput:
        """Make an image and its disparity from a prompt; arguments as in `__call__`."""
        return self(
            prompt,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            callback_on_step_end=callback_on_step_end,
        )

    def depth_estimation(
        self,
        image: Image.Image | np.ndarray | list,
        prompt: str | list[str] = " ",
        *,
        sigma_start_rgb: float = 0.0,
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        seed: int | list[int] | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> JointDiTOutput:
        """Estimate the disparity of an image, which is returned as given unless its start sigma is raised.

        Arguments as in `__call__`.
        """
        return self(
            prompt,
            image=image,
            sigma_start_rgb=sigma_start_rgb,
            num_inference_steps=num_inference_steps,
            guidance_scale=self.config.depth_guidance_scale if guidance_scale is None else guidance_scale,
            seed=seed,
            callback_on_step_end=callback_on_step_end,
        )

    def depth_to_image(
        self,
        prompt: str | list[str],
        disparity: np.ndarray | list[np.ndarray],
        *,
        negative_prompt: str | list[str] = "",
        sigma_start_depth: float = 0.0,
        num_inference_steps: int = 20,
        guidance_scale: float = GUIDANCE_SCALE,
        seed: int | list[int] | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> JointDiTOutput:
        """Make an image that fits a disparity map, which is returned as given unless its start sigma is raised.

        Arguments as in `__call__`.
        """
        return self(
            prompt,
            disparity=disparity,
            negative_prompt=negative_prompt,
            sigma_start_depth=sigma_start_depth,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            callback_on_step_end=callback_on_step_end,
        )
