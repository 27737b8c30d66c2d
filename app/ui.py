"""The page: three tabs over one shared result panel; wiring last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app import endpoints, viewer, words
from app.batch import Batch
from app.batch import check as check_batch
from app.checks import Checks
from app.handlers import Studio
from app.memory import Memory
from app.plain import PlainBlocks
from app.shown import CLIPPED, FAR_OVER_NEAR_RANGE, FOV_RANGE_DEG, REVERSED, Panel
from app.tabs import PICTURE, QUIET, Tab, depth_tab, image_tab, text_tab
from jointdit_core.geometry.disparity import COLORMAPS
from jointdit_core.results import Files, LiftSettings

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
DOWNLOAD = {"size": "sm", "interactive": False, "min_width": 90}


@dataclass(frozen=True)
class Results:
    """The shared result panel."""

    panel: Panel  # of components; the seed is the running tab's
    look: gr.Textbox
    lift: list[gr.Slider | gr.Checkbox]
    scene: gr.HTML
    reset: gr.Button
    estimate: gr.Button
    compare: tuple[gr.Button, gr.ImageSlider]
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
                        "joint_generation": text_tab(studio),
                        "depth_estimation": image_tab(studio),
                        "depth_to_image": depth_tab(studio),
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
        restorable = _restorable(task_tabs)
        _wire_results(studio, tabs, task_tabs, results)
        _wire_examples(studio, page, tabs, task_tabs, restorable, results, gallery)
        _wire_memory(Memory(studio), page, tabs, task_tabs["depth_estimation"].image, restorable, results, earlier)
        page.unload(studio.leave)
    page.on_failure = studio.engine.forget
    return page


def _results() -> Results:
    lift = LiftSettings()
    with gr.Row(elem_id="runbar"):
        bar = gr.HTML(words.run_bar("Ready"))
        chosen = gr.Radio(
            [], label="Variant", show_label=False, visible=False, elem_classes="segments", elem_id="variants"
        )
        stop = gr.Button("Stop", variant="stop", size="sm", interactive=False, elem_id="stop")
    with gr.Row(elem_id="trio"):
        with gr.Column():
            rgb = gr.Image(label="RGB", alt_text="The picture", elem_classes="picture", elem_id="rgb", **PICTURE)
            compared = gr.ImageSlider(
                label="RGB ↔ depth",
                visible=False,
                format="png",
                interactive=False,
                buttons=["fullscreen"],
                elem_classes="picture",
                elem_id="compared",
            )
            with gr.Row(elem_classes="under"):
                compare = gr.Button("Compare", size="sm", min_width=90)
                use_image = gr.Button("Use this image →", size="sm", elem_classes="flow")
        with gr.Column():
            depth = gr.Image(
                label="Depth", alt_text="The depth of the picture", elem_classes="picture", elem_id="depth", **PICTURE
            )
            with gr.Row(elem_classes="under"):
                colormap = gr.Dropdown(
                    [
                        (f"{name.capitalize()}{word}", name + end)
                        for word, end in (("", ""), (", reversed", REVERSED))
                        for name in COLORMAPS
                    ],
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
            clip = gr.Slider(0, 20, 0, step=0.5, label="Clip colours %", buttons=[], elem_classes="compact")
            with gr.Row(elem_classes="pair"):
                controls += [
                    gr.Checkbox(lift.drop_sky, label="No sky", min_width=80, elem_classes="compact"),
                    gr.Checkbox(lift.smooth, label="Smooth 8-bit steps", min_width=80, elem_classes="compact"),
                ]
    look = gr.Textbox("spectral", visible=False)  # how depth is coloured, see `shown.colored`
    combined = f"(name, clip) => name + (clip ? '{CLIPPED}' + clip : '')"
    gr.on([colormap.input, clip.input], None, [colormap, clip], look, js=combined, **QUIET)
    panel = Panel(rgb, depth, bar, stop, caption, gr.State(None), gr.State([]), chosen, None)
    flow = (reset, estimate, (compare, compared), use_image, use_depth)
    return Results(panel, look, controls, scene, *flow, downloads, make_parallax, parallax, copy_link)


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
    checks = Checks(studio.preset)
    runs = {
        (studio.joint_generation, checks.joint_generation): (
            text,
            [text.prompt, *text.numbers],
            [text.button.click, text.prompt.submit],
        ),
        (studio.depth_estimation, checks.depth_estimation): (
            image,
            [image.image, *image.numbers],
            [image.button.click],
        ),
        (studio.depth_to_image, checks.depth_to_image): (
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
        begun = asked.success(run, [*given, results.look], outputs, **endpoints.ON_DEVICE, **QUIET)
        begun.failure(studio.rest, None, state, queue=False, **QUIET)
        started.append(begun)
    files, start, archive = image.many
    given = [files, *image.numbers]
    asked = start.click(studio.waiting, given, state, validator=check_batch, **QUIET)
    batch = Batch(studio).depth_estimation
    begun = asked.success(batch, [*given, results.look], [*state, archive], **endpoints.ON_DEVICE, **QUIET)
    begun.failure(studio.rest, None, state, queue=False, **QUIET)  # not cancelled by Stop: what was made is packed
    results.panel.stop.click(studio.stop, results.look, list(results.panel[:-1]), cancels=started, queue=False, **QUIET)


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
    panel = results.panel
    seen = [panel.variants, panel.chosen, results.look]
    panel.chosen.input(studio.choose, seen, [panel.rgb, panel.depth, panel.caption, panel.result], **QUIET)
    results.reset.click(None, js=viewer.RESET, **QUIET)
    results.estimate.click(studio.estimate_camera, result, results.lift[:2], **QUIET)
    results.look.change(studio.recolor, [result, results.look], results.panel.depth, **QUIET)
    (compare, compared), comparing = results.compare, gr.State(False)
    seen = [result, results.look, comparing]
    compare.click(studio.compare, seen, [comparing, results.panel.rgb, compared, compare], **QUIET)
    gr.on([result.change, results.look.change], studio.pair, seen, compared, **QUIET)

    image = task_tabs["depth_estimation"].image
    results.use_image.click(studio.use_image, result, [tabs, image], **QUIET)

    file, kind, polarity, preview = task_tabs["depth_to_image"].depth
    used = results.use_depth.click(studio.use_depth, result, [tabs, file, kind, polarity], **QUIET)
    for changed in (file.upload, file.clear, kind.input, polarity.input, used.success):
        changed(studio.preview_depth, [file, kind, polarity], preview, **QUIET)


def _wire_memory(
    memory: Memory,
    page: gr.Blocks,
    tabs: gr.Tabs,
    image: gr.Image,
    controls: list,
    results: Results,
    earlier: gr.Dropdown,
) -> None:
    """Wire pictures and links that carry settings, and the settings of earlier runs, which only the browser keeps."""
    image.upload(memory.opened, image, [results.lift[0], *controls], **QUIET)
    restorable = [tabs, *controls]
    given, kept = gr.Textbox(visible=False), gr.BrowserState([], storage_key="jointdit-runs", secret="not a secret")
    from_link = "() => [new URLSearchParams(location.search).get('settings')]"
    page.load(memory.reopen, given, restorable, js=from_link, **QUIET)
    page.load(memory.recall, kept, earlier, **QUIET)
    results.panel.result.change(memory.remember, [results.panel.result, kept], [kept, earlier], **QUIET)
    earlier.input(memory.reopen, earlier, restorable, **QUIET)
    results.copy_link.click(None, js=COPY_LINK, **QUIET)


def _restorable(task_tabs: dict[str, Tab]) -> list:
    """The controls that settings restore, in the handlers' order."""
    nowhere = gr.State()  # stands in for controls that a task does not have
    return [
        part or nowhere
        for tab in task_tabs.values()
        for part in (tab.prompt, tab.seed, tab.randomize, tab.steps, tab.guidance, tab.looseness, tab.size)
    ]


def _wire_examples(
    studio: Studio,
    page: gr.Blocks,
    tabs: gr.Tabs,
    task_tabs: dict[str, Tab],
    restorable: list,
    results: Results,
    gallery: gr.Gallery | None,
) -> None:
    file, kind, polarity, preview = task_tabs["depth_to_image"].depth
    given = [task_tabs["depth_estimation"].image, file, kind, polarity]
    outputs = [*results.panel[:-1], tabs, *given, *restorable]
    page.load(studio.welcome, results.look, list(results.panel[:-1]), **QUIET)
    if gallery is not None:
        opened = gallery.select(studio.open_example, results.look, outputs, **QUIET)
        opened.success(studio.preview_depth, [file, kind, polarity], preview, **QUIET)
