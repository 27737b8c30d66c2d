"""The three tabs: what each task is given and how it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr
from gradio.data_classes import ImageData
from gradio.processing_utils import save_base64_to_cache

from app import inputs, words
from app.batch import MAX_PICTURES
from app.handlers import Studio
from jointdit_core import reading
from jointdit_core.presets import Preset, Task

QUALITIES = [("Draft", "draft"), ("Standard", "standard"), ("Fine", "fine")]
PICTURE = {"interactive": False, "format": "png", "buttons": ["fullscreen"]}
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Tab:
    """The controls of one task."""

    button: gr.Button
    seed: gr.Number
    randomize: gr.Checkbox
    steps: gr.Slider
    guidance: gr.Slider | None = None
    looseness: gr.Slider | None = None
    size: gr.Dropdown | None = None
    variants: gr.Slider | None = None
    prompt: gr.Textbox | None = None
    image: gr.Image | None = None
    depth: tuple[gr.File, gr.Radio, gr.Radio, gr.Image] | None = None
    many: tuple[gr.File, gr.Button, gr.DownloadButton] | None = None

    @property
    def numbers(self) -> list:
        """Seed, randomize, steps, guidance, looseness, size and variants, as the handlers take them."""
        parts = (self.seed, self.randomize, self.steps, self.guidance, self.looseness, self.size, self.variants)
        return [part for part in parts if part is not None]


def text_tab(studio: Studio) -> Tab:
    """Draw the tab Text -> RGB + depth."""
    shown = studio.examples[0].settings if studio.examples else None  # what the page opens with
    with gr.Tab(words.TASK_TITLES["joint_generation"], id="joint_generation"):
        surprise = gr.Button("Surprise me", size="sm") if studio.knows_words else None
        prompt = gr.Textbox(
            value=shown.prompt if shown else None,
            label="Prompt",
            info="What the picture shows.",
            placeholder="a red ball left of a blue cube",
            lines=3,
            max_lines=5,
            max_length=inputs.MAX_PROMPT_CHARS,
            buttons=[surprise] if surprise else None,
            elem_id="prompt",
        )
        if surprise:
            surprise.click(studio.surprise, None, prompt, **QUIET)
        return Tab(*_run_controls("Generate RGB + depth", studio.preset, "joint_generation"), prompt=prompt)


def image_tab(studio: Studio) -> Tab:
    """Draw the tab Image -> depth."""
    with gr.Tab(words.TASK_TITLES["depth_estimation"], id="depth_estimation"):
        image = gr.Image(
            label="Image",
            type="filepath",
            image_mode=None,
            sources=["upload", "webcam", "clipboard"],
            height=230,
            elem_id="picture",
            buttons=[],
            placeholder="Drop a picture here, click to choose one,\nor paste it",
        )
        leave_closed(image)
        controls = _run_controls("Estimate depth", studio.preset, "depth_estimation", given="picture")
        with gr.Accordion("Many pictures", open=False):
            files = gr.File(
                label=f"Up to {MAX_PICTURES} pictures",
                file_count="multiple",
                file_types=[".png", ".jpg", ".jpeg", ".webp"],
                height=110,
                elem_id="many-files",
            )
            start = gr.Button("Estimate all", size="md", elem_id="estimate-all")
            archive = gr.DownloadButton("All depth maps · ZIP", size="md", visible=False)
        return Tab(*controls, image=image, many=(files, start, archive))


def leave_closed(image: gr.Image) -> None:
    """Let only our own checks open what an input is given: where Gradio cannot open a picture, its error tells nothing.

    Set on the input itself, since a class derived from Gradio's writes a file beside its source.
    """

    def path(upload: ImageData | None) -> str | None:
        if upload and (upload.url or "").startswith("data:"):  # a program's picture inside its request
            return save_base64_to_cache(upload.url, image.GRADIO_CACHE)
        return upload and upload.path

    image.preprocess = path


def depth_tab(studio: Studio) -> Tab:
    """Draw the tab Depth -> image."""
    with gr.Tab(words.TASK_TITLES["depth_to_image"], id="depth_to_image"):
        file = gr.File(label="Depth map · PNG or NPY", file_types=[".png", ".npy"], height=100, elem_id="depth-file")
        preview = gr.Image(label="As read", visible=False, height=120, elem_id="as-read", **PICTURE)
        kinds = [("Relative (disparity)", reading.RELATIVE), ("Metric (distance)", reading.LINEAR)]
        kind = _segments(kinds, reading.RELATIVE, "What the values are", words.KIND_HELP)
        polarities = [("Near is bright", reading.NEAR_IS_BRIGHT), ("Near is dark", reading.NEAR_IS_DARK)]
        polarity = _segments(polarities, reading.NEAR_IS_BRIGHT, "Which end is near", words.POLARITY_HELP)
        prompt = gr.Textbox(
            label="Prompt",
            info="What the picture shows; the depth says where.",
            placeholder="a wooden house in the snow",
            lines=2,
            max_lines=4,
            max_length=inputs.MAX_PROMPT_CHARS,
        )
        controls = _run_controls("Generate image", studio.preset, "depth_to_image", given="depth")
        return Tab(*controls, prompt=prompt, depth=(file, kind, polarity, preview))


def _segments(choices: list[tuple[str, str]], value: str, label: str, info: str) -> gr.Radio:
    """Draw a choice as one bar of segments, in a row of its own: beside a prompt it would get into its box."""
    how = {"show_label": False, "elem_classes": "segments", "interactive": True}
    with gr.Row():
        return gr.Radio(choices, value=value, label=label, info=info, **how)


def _run_controls(action: str, preset: Preset, task: Task, given: str = "") -> tuple:
    """Draw quality, button and settings; return the first eight parts of a `Tab`, None for those a task does not have.

    `given` names what the task is given, "picture" or "depth"; where it is nothing there is a choice of sizes.
    """
    defaults = preset.tasks[task]
    steps_of = {quality: defaults.steps[quality] for _, quality in QUALITIES}
    quality = _segments(QUALITIES, "standard", "Quality", words.quality_help(list(steps_of.values())))
    button = gr.Button(action, variant="primary", size="lg")
    with gr.Accordion("Settings", open=False, elem_classes="settings"):
        with gr.Row(elem_classes="pair"):
            same = "Same seed, same result."
            seed = gr.Number(0, label="Seed", info=same, precision=0, minimum=0, maximum=inputs.MAX_SEED, min_width=80)
            randomize = gr.Checkbox(True, label="New seed each run", min_width=80)
        steps = gr.Slider(
            1, 100, steps_of["standard"], step=1, label="Steps", info="More steps, more detail, more time."
        )
        guidance = looseness = size = variants = None
        if given != "picture":
            guidance = gr.Slider(
                *(0, preset.max_guidance, defaults.guidance_scale),
                step=0.1,
                label="Guidance",
                info="How closely to follow the prompt.",
            )
        if given:
            looseness = gr.Slider(
                0, 1, 0, step=0.01, label="Looseness", info=f"0 keeps the {given} exactly; 1 ignores it."
            )
            gr.HTML(words.noise_square(given), elem_id=f"square-{given}", elem_classes="square")
            looseness.change(None, looseness, js=words.move_start(given), **QUIET)
        if not given:
            choices = [(words.size_title(*each), inputs.size_name(*each)) for each in preset.sizes]
            size = gr.Dropdown(
                choices, value=choices[0][1], label="Size", info="Of the picture, in pixels.", filterable=False
            )
        if given != "picture":
            variants = gr.Slider(
                1, inputs.MAX_VARIANTS, 1, step=1, label="Variants", info="One after another, from seeds in a row."
            )
    table = json.dumps(steps_of)
    quality.input(None, quality, steps, js=f"(quality) => ({table})[quality]", **QUIET)
    steps.change(
        None,
        steps,
        quality,
        js=f"(steps) => Object.keys({table}).find((name) => ({table})[name] === steps) ?? null",
        **QUIET,
    )
    return button, seed, randomize, steps, guidance, looseness, size, variants
