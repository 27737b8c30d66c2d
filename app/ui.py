"""The page: three tabs over one shared result panel; wiring last."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app import inputs, words
from app.handlers import Panel, Studio
from app.results import Files, LiftSettings
from app.viewer import KEEP_CAMERA
from jointdit_core.geometry.disparity import COLORMAPS
from jointdit_core.presets import TaskDefaults

QUALITIES = [("Draft", "draft"), ("Standard", "standard"), ("Fine", "fine")]
DOWNLOADS = ("RGB PNG", "Depth 16-bit PNG", "Depth NPY", "Points PLY", "Mesh GLB", "Settings", "All as ZIP")
DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass
class Run:
    """The controls every tab has."""

    button: gr.Button
    seed: gr.Number
    randomize: gr.Checkbox
    steps: gr.Slider
    guidance: gr.Slider | None

    @property
    def numbers(self) -> list:
        """Inputs of the run, in the handlers' order."""
        return [self.seed, self.randomize, self.steps] + ([self.guidance] if self.guidance else [])


@dataclass
class Results:
    """The shared result panel."""

    panel: Panel  # of components, without the seed
    colormap: gr.Dropdown
    lift: list
    viewer: gr.Plot
    reset: gr.Button
    use_image: gr.Button
    use_depth: gr.Button
    downloads: Files


def build(studio: Studio, device: str) -> gr.Blocks:
    """Build the page.

    Args:
        studio: the handlers.
        device: where the model runs, in words.

    Returns:
        The page; theme, style and scripts go to its `launch`.
    """
    with gr.Blocks(title="JointDiT Studio", analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as page:
        gr.HTML(words.title(studio.preset.title, device), elem_id="title-line")
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="controls"):
                tabs, prompt, image, depth, runs = _controls(studio)
            with gr.Column(elem_id="results"):
                results = _results()
        _wire(studio, page, tabs, prompt, image, depth, runs, results)
    return page
