"""The three tasks as named endpoints for programs: files in, files out, through parts that the page does not show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import gradio as gr

from app.handlers import Studio
from app.inputs import size_name
from app.shown import SAME, Panel, written
from app.tabs import leave_closed
from jointdit_core import reading
from jointdit_core.geometry.camera import FOV_DEG
from jointdit_core.geometry.disparity import COLORMAPS
from jointdit_core.results import LiftSettings, Result, write_files

ON_DEVICE = {"concurrency_id": "device", "concurrency_limit": None}  # the lane queues, and says how long it takes


class Endpoints:
    """The runs of a `Studio` without a page; a seed of None draws one.

    Each returns the RGB PNG, the 16-bit depth PNG, a ZIP of all files, and the settings.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def joint_generation(
        self, prompt: str, seed: float | None, steps: float, guidance: float, size: str, request: gr.Request
    ) -> Iterator[tuple]:
        """Make a picture and its depth from a prompt.

        Args:
            prompt: What the picture shows.
            seed: The same seed gives the same picture; none draws one.
            steps: Denoising steps, 1 to 100.
            guidance: How closely to follow the prompt.
            size: Width x height in pixels.
            request: Who asks.
        """
        run = self.studio.joint_generation(prompt, seed, seed is None, steps, guidance, size, 1, COLORMAPS[0], request)
        yield from _files(run)

    def depth_estimation(
        self, image_path: str | None, seed: float | None, steps: float, looseness: float, request: gr.Request
    ) -> Iterator[tuple]:
        """Estimate the relative depth of a picture; it knows no metres.

        Args:
            image_path: PNG, JPEG or WebP.
            seed: The same seed gives the same map; none draws one.
            steps: Denoising steps, 1 to 100.
            looseness: 0 keeps the picture exactly, 1 ignores it.
            request: Who asks.
        """
        run = self.studio.depth_estimation(image_path, seed, seed is None, steps, looseness, COLORMAPS[0], request)
        yield from _files(run)

    def depth_to_image(
        self,
        prompt: str,
        depth_path: str | None,
        kind: str,
        polarity: str,
        seed: float | None,
        steps: float,
        guidance: float,
        looseness: float,
        request: gr.Request,
    ) -> Iterator[tuple]:
        """Make a picture that fits a depth map.

        Args:
            prompt: What the picture shows.
            depth_path: Gray PNG, or NPY.
            kind: What the map's values are: relative disparity or distances.
            polarity: Which end is near.
            seed: The same seed gives the same picture; none draws one.
            steps: Denoising steps, 1 to 100.
            guidance: How closely to follow the prompt.
            looseness: 0 keeps the map exactly, 1 ignores it.
            request: Who asks.
        """
        run = self.studio.depth_to_image(
            *(prompt, depth_path, kind, polarity, seed, seed is None, steps, guidance, looseness),
            *(1, COLORMAPS[0], request),
        )
        yield from _files(run)


def _files(run: Iterator[Panel]) -> Iterator[tuple]:
    """Turn a run's panels into files; what comes before the result only shows that the run is alive."""
    for panel in run:
        if not isinstance(panel.result, Result):
            yield (SAME,) * 4
            continue
        lifting = LiftSettings(fov_deg=panel.result.fov_deg or FOV_DEG)  # the photo's own angle, if its file tells
        files = written(write_files, panel.result, lifting)
        yield str(files.rgb), str(files.depth_png), str(files.everything), asdict(panel.result.settings)


def offer(studio: Studio, prefix: str = "") -> None:
    """Add the endpoints to the page that is being built; where another model's have the names, these get a prefix."""
    tasks, programs = studio.preset.tasks, Endpoints(studio)
    with gr.Row(visible=False):
        prompt = gr.Textbox(label="prompt")
        image = gr.Image(label="image", type="filepath", image_mode=None)
        leave_closed(image)
        depth = gr.File(label="depth map, PNG or NPY")
        kind = gr.Radio(reading.KINDS, value=reading.RELATIVE, label="what the values are")
        polarity = gr.Radio(reading.POLARITIES, value=reading.NEAR_IS_BRIGHT, label="which end is near")
        seed = gr.Number(None, label="seed, none to draw one", precision=0)
        steps = {task: gr.Number(tasks[task].steps["standard"], label="steps", precision=0) for task in tasks}
        guidance = gr.Number(tasks["joint_generation"].guidance_scale, label="guidance")
        sizes = [size_name(*size) for size in studio.preset.sizes]
        size = gr.Dropdown(sizes, value=sizes[0], label="width x height")
        looseness = gr.Number(0, label="looseness: 0 keeps what is given exactly, 1 ignores it")
        files = [gr.File(label="RGB PNG"), gr.File(label="16-bit depth PNG"), gr.File(label="ZIP of all files")]
        outputs = [*files, gr.JSON(label="settings")]
        endpoints = {
            "joint_generation": (programs.joint_generation, [prompt, seed, steps["joint_generation"], guidance, size]),
            "depth_estimation": (programs.depth_estimation, [image, seed, steps["depth_estimation"], looseness]),
            "depth_to_image": (
                programs.depth_to_image,
                [prompt, depth, kind, polarity, seed, steps["depth_to_image"], guidance, looseness],
            ),
        }
        for name, (function, given) in endpoints.items():
            button = gr.Button(visible=False)
            button.click(function, given, outputs, api_name=prefix + name, show_progress="hidden", **ON_DEVICE)
