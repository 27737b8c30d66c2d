"""The page: three tabs over one shared result panel; wiring last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app import endpoints, inputs, viewer, words
from app.handlers import FAR_OVER_NEAR_RANGE, FOV_RANGE_DEG, Panel, Studio
from app.plain import PlainBlocks
from jointdit_core import reading
from jointdit_core.geometry.disparity import COLORMAPS
from jointdit_core.presets import TaskDefaults
from jointdit_core.results import Files, LiftSettings

QUALITIES = [("Draft", "draft"), ("Standard", "standard"), ("Fine", "fine")]
DOWNLOADS = Files(
    rgb="RGB · PNG",
    depth_png="Depth · PNG16",
    depth_npy="Depth · NPY",
    depth_exr="Depth · EXR",
    normals="Normals",
    points="Points · PLY",
    mesh="Mesh · GLB",
    mesh_obj="Mesh · OBJ",
    camera="Camera",
    stereo="Stereo pair",
    anaglyph="Red-cyan",
    settings="Settings",
    everything="All · ZIP",
)
ADD_WORD = Path(__file__).with_name("words.js").read_text(encoding="utf-8")
COPY_LINK = Path(__file__).with_name("link.js").read_text(encoding="utf-8")
PICTURE = {"interactive": False, "format": "png", "buttons": ["fullscreen"]}
DOWNLOAD = {"size": "sm", "interactive": False, "min_width": 90}
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
    prompt: gr.Textbox | None = None
    image: gr.Image | None = None
    depth: tuple[gr.File, gr.Radio, gr.Radio, gr.Image] | None = None

    @property
    def numbers(self) -> list:
        """Seed, randomize, steps, guidance and looseness, as the handlers take them."""
        parts = (self.seed, self.randomize, self.steps, self.guidance, self.looseness)
        return [part for part in parts if part is not None]


@dataclass(frozen=True)
class Results:
    """The shared result panel."""

    panel: Panel  # of components; the seed is the running tab's
    colormap: gr.Dropdown
    lift: list[gr.Slider | gr.Checkbox]
    scene: gr.HTML
    reset: gr.Button
    estimate: gr.Button
    use_image: gr.Button
    use_depth: gr.Button
    downloads: Files
    make_parallax: gr.Button
    parallax: gr.DownloadButton
    copy_link: gr.Button


def build(studio: Studio, status: str) -> gr.Blocks:
    """Build the page.

    Args:
        studio: the handlers.
        status: where the model runs and how fast, in words.

    Returns:
        The page; theme and style go to its `launch`.
    """
    looks = {"title": "JointDiT Studio", "analytics_enabled": False, "fill_width": True}
    with PlainBlocks(delete_cache=(600, 3600), **looks) as page:
        gr.HTML(words.title(studio.preset.title, status))
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="controls"):
                with gr.Tabs(selected="joint_generation", overflow_behavior="wrap") as tabs:
                    task_tabs = {
                        "joint_generation": _text_tab(studio),
                        "depth_estimation": _image_tab(studio),
                        "depth_to_image": _depth_tab(studio),
                    }
                earlier = gr.Dropdown(
                    [], label="Earlier runs", info="Kept in this browser only.", visible=False, elem_id="earlier"
                )
            with gr.Column(elem_id="results"):
                results = _results()
                gallery = _gallery(studio)
            if studio.knows_words:
                gr.HTML(words.vocabulary(), elem_id="vocabulary", js_on_load=ADD_WORD)
        endpoints.offer(studio)  # first, since the first event of a name gets it
        _wire_runs(studio, task_tabs, results)
        _wire_results(studio, tabs, task_tabs, results)
        _wire_examples(studio, page, tabs, task_tabs, results, gallery)
        _wire_memory(studio, page, [tabs, *_restorable(task_tabs)], results, earlier)
        page.unload(studio.leave)
    page.on_failure = studio.lane.forget
    return page


def _text_tab(studio: Studio) -> Tab:
    defaults = studio.preset.tasks["joint_generation"]
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
        return Tab(*_run_controls("Generate RGB + depth", defaults), prompt=prompt)


def _image_tab(studio: Studio) -> Tab:
    defaults = studio.preset.tasks["depth_estimation"]
    with gr.Tab(words.TASK_TITLES["depth_estimation"], id="depth_estimation"):
        image = gr.Image(
            label="Image",
            type="filepath",
            image_mode=None,
            sources=["upload", "webcam", "clipboard"],
            height=230,
            buttons=[],
            placeholder="Drop a picture here, click to choose one,\nor paste it",
        )
        return Tab(*_run_controls("Estimate depth", defaults, given="picture"), image=image)


def _depth_tab(studio: Studio) -> Tab:
    defaults = studio.preset.tasks["depth_to_image"]
    with gr.Tab(words.TASK_TITLES["depth_to_image"], id="depth_to_image"):
        file = gr.File(label="Depth map · PNG or NPY", file_types=[".png", ".npy"], height=100, elem_id="depth-file")
        preview = gr.Image(label="As read: near is white", visible=False, height=120, elem_id="as-read", **PICTURE)
        with gr.Row():
            kind = gr.Radio(
                [("Relative (disparity)", reading.RELATIVE), ("Metric (distance)", reading.LINEAR)],
                value=reading.RELATIVE,
                label="What the values are",
                show_label=False,
                elem_classes="segments",
            )
        with gr.Row():
            polarity = gr.Radio(
                [("Near is bright", reading.NEAR_IS_BRIGHT), ("Near is dark", reading.NEAR_IS_DARK)],
                value=reading.NEAR_IS_BRIGHT,
                label="Which end is near",
                show_label=False,
                elem_classes="segments",
            )
        prompt = gr.Textbox(
            label="Prompt",
            placeholder="what the picture should show",
            lines=2,
            max_lines=4,
            max_length=inputs.MAX_PROMPT_CHARS,
        )
        controls = _run_controls("Generate image", defaults, given="depth")
        return Tab(*controls, prompt=prompt, depth=(file, kind, polarity, preview))


def _run_controls(action: str, defaults: TaskDefaults, given: str = "") -> tuple:
    """Draw quality, button and settings; return (button, seed, randomize, steps, guidance or None, looseness or None).

    `given` names what the task is given, "picture" or "depth".
    """
    steps_of = {quality: defaults.steps[quality] for _, quality in QUALITIES}
    with gr.Row():  # a row of its own keeps it out of the prompt's box
        quality = gr.Radio(
            QUALITIES, value="standard", label="Quality", show_label=False, elem_classes="segments", interactive=True
        )
    button = gr.Button(action, variant="primary", size="lg")
    with gr.Accordion("Settings", open=False, elem_classes="settings"):
        with gr.Row(elem_classes="pair"):
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=inputs.MAX_SEED, min_width=80)
            randomize = gr.Checkbox(True, label="New seed each run", min_width=80)
        steps = gr.Slider(
            1, 100, steps_of["standard"], step=1, label="Steps", info="More steps, more detail, more time."
        )
        guidance = looseness = None
        if given != "picture":
            guidance = gr.Slider(
                0, 20, defaults.guidance_scale, step=0.1, label="Guidance", info="How closely to follow the prompt."
            )
        if given:
            looseness = gr.Slider(
                0, 1, 0, step=0.01, label="Looseness", info=f"0 keeps the {given} exactly; 1 ignores it."
            )
            gr.HTML(words.noise_square(given), elem_id=f"square-{given}", elem_classes="square")
            looseness.change(None, looseness, js=words.move_start(given), **QUIET)
    table = json.dumps(steps_of)
    quality.input(None, quality, steps, js=f"(quality) => ({table})[quality]", **QUIET)
    steps.change(
        None,
        steps,
        quality,
        js=f"(steps) => Object.keys({table}).find((name) => ({table})[name] === steps) ?? null",
        **QUIET,
    )
    return button, seed, randomize, steps, guidance, looseness


def _results() -> Results:
    lift = LiftSettings()
    with gr.Row(elem_id="runbar"):
        bar = gr.HTML(words.run_bar("Ready"))
        stop = gr.Button("Stop", variant="stop", size="sm", interactive=False, elem_id="stop")
    with gr.Row(elem_id="trio"):
        with gr.Column():
            rgb = gr.Image(label="RGB", alt_text="The picture", elem_classes="picture", elem_id="rgb", **PICTURE)
            use_image = gr.Button("Use this image →", size="sm", elem_classes="flow")
        with gr.Column():
            depth = gr.Image(
                label="Depth", alt_text="The depth of the picture", elem_classes="picture", elem_id="depth", **PICTURE
            )
            with gr.Row(elem_classes="under"):
                colormap = gr.Dropdown(
                    [(name.capitalize(), name) for name in COLORMAPS],
                    value="spectral",
                    label="Colours",
                    show_label=False,
                    container=False,
                    min_width=90,
                    filterable=False,
                )
                use_depth = gr.Button("Use this depth →", size="sm", elem_classes="flow")
        with gr.Column():
            gr.Plot(viewer.empty(), label="3D", elem_id="viewer")
            with gr.Row(elem_classes="under"):
                reset = gr.Button("Reset view", size="sm", min_width=90)
                estimate = gr.Button("Estimate camera", size="sm", min_width=90, elem_id="estimate")
            scene = gr.HTML(html_template="", js_on_load=viewer.CHANNEL, visible="hidden")
    with gr.Row(elem_id="below"):
        with gr.Column(elem_id="take"):
            caption = gr.HTML(words.EMPTY, elem_id="caption")
            with gr.Row(elem_id="downloads"):
                buttons = [gr.DownloadButton(label, **DOWNLOAD) for label in DOWNLOADS[:-1]]
                make_parallax = gr.Button("Make parallax", size="sm", interactive=False, min_width=90)
                parallax = gr.DownloadButton("Parallax · WebP", size="sm", visible=False, min_width=90)
                downloads = Files(*buttons, gr.DownloadButton(DOWNLOADS.everything, **DOWNLOAD))
                copy_link = gr.Button("Copy link", size="sm", min_width=90, elem_id="copy-link")
        with gr.Column(elem_id="lift"):
            controls = [
                gr.Slider(
                    *FOV_RANGE_DEG, lift.fov_deg, step=1, label="Field of view °", buttons=[], elem_classes="compact"
                ),
                gr.Slider(
                    *FAR_OVER_NEAR_RANGE,
                    lift.far_over_near,
                    step=0.5,
                    label="Far / near",
                    buttons=[],
                    elem_classes="compact",
                ),
                gr.Slider(
                    0, 20, 100 * lift.edge_threshold, step=0.5, label="Edge cut %", buttons=[], elem_classes="compact"
                ),
                gr.Slider(4096, 131072, lift.max_points, step=4096, label="Points", buttons=[], elem_classes="compact"),
            ]
            with gr.Row(elem_classes="pair"):
                controls += [
                    gr.Checkbox(lift.drop_sky, label="No sky", min_width=80, elem_classes="compact"),
                    gr.Checkbox(lift.smooth, label="Smooth 8-bit steps", min_width=80, elem_classes="compact"),
                ]
    panel = Panel(rgb, depth, bar, stop, caption, gr.State(None), None)
    flow = (reset, estimate, use_image, use_depth)
    return Results(panel, colormap, controls, scene, *flow, downloads, make_parallax, parallax, copy_link)


def _gallery(studio: Studio) -> gr.Gallery | None:
    if not studio.examples:
        return None
    pictures = [(str(example.thumb), words.example_title(example.settings)) for example in studio.examples]
    return gr.Gallery(
        pictures,
        label="Examples",
        columns=len(pictures),
        rows=1,
        height=128,
        allow_preview=False,
        object_fit="cover",
        elem_id="gallery",
        buttons=[],
    )


def _wire_runs(studio: Studio, tabs: dict[str, Tab], results: Results) -> None:
    text, image, depth = tabs["joint_generation"], tabs["depth_estimation"], tabs["depth_to_image"]
    runs = {
        (studio.joint_generation, studio.check_joint_generation): (
            text,
            [text.prompt, *text.numbers],
            [text.button.click, text.prompt.submit],
        ),
        (studio.depth_estimation, studio.check_depth_estimation): (
            image,
            [image.image, *image.numbers],
            [image.button.click],
        ),
        (studio.depth_to_image, studio.check_depth_to_image): (
            depth,
            [depth.prompt, *depth.depth[:3], *depth.numbers],
            [depth.button.click, depth.prompt.submit],
        ),
    }
    started = []
    state = [results.panel.bar, results.panel.stop]
    for (run, check), (tab, given, triggers) in runs.items():
        outputs = [*results.panel[:-1], tab.seed]
        asked = gr.on(triggers, studio.waiting, given, state, validator=check, **QUIET)
        begun = asked.success(run, [*given, results.colormap], outputs, **endpoints.ON_DEVICE, **QUIET)
        begun.failure(studio.rest, None, state, queue=False, **QUIET)
        started.append(begun)
    results.panel.stop.click(
        studio.stop, results.colormap, list(results.panel[:-1]), cancels=started, queue=False, **QUIET
    )


def _wire_results(studio: Studio, tabs: gr.Tabs, task_tabs: dict[str, Tab], results: Results) -> None:
    result, source = results.panel.result, [results.panel.result, *results.lift]
    lifted = gr.on(
        [result.change, *(control.change for control in results.lift)],
        studio.view,
        source,
        results.scene,
        trigger_mode="always_last",
        **QUIET,
    )
    animation = [results.make_parallax, results.parallax]
    lifted.success(studio.files, source, [*results.downloads, *animation], trigger_mode="always_last", **QUIET)
    making = gr.update(value="Making …", interactive=False)
    asked = results.make_parallax.click(lambda: making, None, results.make_parallax, queue=False, **QUIET)
    made = asked.then(studio.parallax, source, animation, **QUIET)
    ready = gr.update(value="Make parallax", interactive=True)
    made.then(lambda: ready, None, results.make_parallax, queue=False, **QUIET)
    results.reset.click(None, js=viewer.RESET, **QUIET)
    results.estimate.click(studio.estimate_camera, result, results.lift[:2], **QUIET)
    results.colormap.input(studio.recolor, [result, results.colormap], results.panel.depth, **QUIET)

    image = task_tabs["depth_estimation"].image
    image.upload(studio.opened, image, [results.lift[0], *_restorable(task_tabs)], **QUIET)
    results.use_image.click(studio.use_image, result, [tabs, image], **QUIET)

    file, kind, polarity, preview = task_tabs["depth_to_image"].depth
    used = results.use_depth.click(studio.use_depth, result, [tabs, file, kind, polarity], **QUIET)
    for changed in (file.upload, file.clear, kind.input, polarity.input, used.success):
        changed(studio.preview_depth, [file, kind, polarity], preview, **QUIET)


def _wire_memory(studio: Studio, page: gr.Blocks, restorable: list, results: Results, earlier: gr.Dropdown) -> None:
    """Wire links that carry settings, and the settings of earlier runs, which only the browser keeps."""
    given, kept = gr.Textbox(visible=False), gr.BrowserState([], storage_key="jointdit-runs", secret="not a secret")
    from_link = "() => [new URLSearchParams(location.search).get('settings')]"
    page.load(studio.reopen, given, restorable, js=from_link, **QUIET)
    page.load(studio.recall, kept, earlier, **QUIET)
    results.panel.result.change(studio.remember, [results.panel.result, kept], [kept, earlier], **QUIET)
    earlier.input(studio.reopen, earlier, restorable, **QUIET)
    results.copy_link.click(None, js=COPY_LINK, **QUIET)


def _restorable(task_tabs: dict[str, Tab]) -> list:
    """The controls that settings restore, in the handlers' order."""
    nowhere = gr.State()  # stands in for controls that a task does not have
    return [
        part or nowhere
        for tab in task_tabs.values()
        for part in (tab.prompt, tab.seed, tab.randomize, tab.steps, tab.guidance, tab.looseness)
    ]


def _wire_examples(
    studio: Studio,
    page: gr.Blocks,
    tabs: gr.Tabs,
    task_tabs: dict[str, Tab],
    results: Results,
    gallery: gr.Gallery | None,
) -> None:
    file, kind, polarity, preview = task_tabs["depth_to_image"].depth
    given = [task_tabs["depth_estimation"].image, file, kind, polarity]
    outputs = [*results.panel[:-1], tabs, *given, *_restorable(task_tabs)]
    page.load(studio.welcome, results.colormap, list(results.panel[:-1]), **QUIET)
    if gallery is not None:
        opened = gallery.select(studio.open_example, results.colormap, outputs, **QUIET)
        opened.success(studio.preview_depth, [file, kind, polarity], preview, **QUIET)
