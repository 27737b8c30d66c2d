"""The shared result panel: pictures, 3D view, lift controls, downloads and examples."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app import viewer, words
from app.handlers import Studio
from app.shown import CLIPPED, FAR_OVER_NEAR_RANGE, FOV_RANGE_DEG, REVERSED, Panel
from app.tabs import PICTURE, QUIET
from jointdit_core.geometry.disparity import COLORMAPS
from jointdit_core.results import Files, LiftSettings

DOWNLOADS = {  # what the files are about, each with its button
    "Picture": {"rgb": "RGB · PNG", "stereo": "Stereo pair", "anaglyph": "Red-cyan"},
    "Depth": {
        "depth_png": "Depth · PNG16",
        "depth_npy": "Depth · NPY",
        "depth_exr": "Depth · EXR",
        "normals": "Normals",
    },
    "3D": {"points": "Points · PLY", "mesh": "Mesh · GLB", "mesh_obj": "Mesh · OBJ", "camera": "Camera"},
    "Run": {"everything": "All · ZIP", "settings": "Settings"},
}
SMALL = {"size": "sm", "min_width": 90}


@dataclass(frozen=True)
class Results:
    """The shared result panel."""

    panel: Panel  # of components; the seed is the running tab's
    look: gr.Textbox
    lift: list[gr.Slider | gr.Checkbox]
    solid: gr.Checkbox
    scene: gr.HTML
    reset: gr.Button
    estimate: gr.Button
    compare: tuple[gr.Button, gr.ImageSlider]
    use_image: gr.Button
    use_depth: gr.Button
    downloads: Files
    parallax: tuple[gr.Button, gr.DownloadButton]
    copy_link: gr.Button


def result_panel() -> Results:
    """Draw the panel."""
    bar, chosen, stop = _run_bar()
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
                compare = gr.Button("Compare", elem_id="compare", **SMALL)
                use_image = gr.Button("Use this image →", elem_id="use-image", **SMALL)
        with gr.Column():
            alt = "The depth of the picture"
            depth = gr.Image(label="Depth", alt_text=alt, elem_classes="picture", elem_id="depth", **PICTURE)
            with gr.Row(elem_classes="under"):
                colormap = _colormaps()
                use_depth = gr.Button("Use this depth →", elem_id="use-depth", **SMALL)
        with gr.Column():
            gr.Plot(viewer.empty(), label="3D · drag to turn", elem_id="viewer")
            with gr.Row(elem_classes="under"):
                reset = gr.Button("Reset view", elem_id="reset", **SMALL)
                estimate = gr.Button("Estimate camera", elem_id="estimate", **SMALL)
            scene = gr.HTML(html_template="", js_on_load=viewer.CHANNEL, visible="hidden")
    with gr.Row(elem_id="below"):
        with gr.Column(elem_id="lift"):
            lift, clip, solid = _lift_controls()
        with gr.Column(elem_id="take"):
            caption = gr.HTML(words.EMPTY, elem_id="caption")
            downloads, parallax, copy_link = _downloads()
    look = gr.Textbox("spectral", visible=False)  # how depth is coloured, see `shown.colored`
    combined = f"(name, clip) => name + (clip ? '{CLIPPED}' + clip : '')"
    gr.on([colormap.input, clip.input], None, [colormap, clip], look, js=combined, **QUIET)
    panel = Panel(rgb, depth, bar, stop, caption, gr.State(None), gr.State([]), chosen, None)
    flow = (reset, estimate, (compare, compared), use_image, use_depth)
    return Results(panel, look, lift, solid, scene, *flow, downloads, parallax, copy_link)


def _run_bar() -> tuple[gr.HTML, gr.Radio, gr.Button]:
    with gr.Row(elem_id="runbar"):
        bar = gr.HTML(words.run_bar("Ready"))
        chosen = gr.Radio(
            [], label="Variant", show_label=False, visible=False, elem_classes="segments", elem_id="variants"
        )
        stop = gr.Button("Stop", variant="stop", size="sm", interactive=False, elem_id="stop")
    return bar, chosen, stop


def _colormaps() -> gr.Dropdown:
    ends = (("", ""), (", reversed", REVERSED))
    choices = [(f"{name.capitalize()}{word}", name + end) for word, end in ends for name in COLORMAPS]
    return gr.Dropdown(
        choices,
        value="spectral",
        label="Colours",
        show_label=False,
        container=False,
        min_width=90,
        filterable=False,
        elem_id="colours",
    )


def _lift_controls() -> tuple[list, gr.Slider, gr.Checkbox]:
    """Draw the controls of `shown.lifting`, the clip of the depth's colours, and the choice of a surface."""
    lift = LiftSettings()

    def slider(low: float, high: float, value: float, step: float, label: str) -> gr.Slider:
        how = {"step": step, "label": label, "info": words.LIFT_HELP[label]}
        return gr.Slider(low, high, value, buttons=[], elem_classes="compact", **how)

    def switch(label: str, value: bool) -> gr.Checkbox:
        return gr.Checkbox(value, label=label, info=words.LIFT_HELP[label], min_width=70, elem_classes="compact")

    controls = [
        slider(*FOV_RANGE_DEG, lift.fov_deg, 1, "Field of view °"),
        slider(*FAR_OVER_NEAR_RANGE, lift.far_over_near, 0.5, "Far / near"),
        slider(0, 20, 100 * lift.edge_threshold, 0.5, "Edge cut %"),
        slider(4096, 131072, lift.max_points, 4096, "Points"),
    ]
    clip = slider(0, 20, 0, 0.5, "Clip colours %")
    with gr.Row(elem_classes="switches"):
        solid = switch("Surface", True)
        controls += [switch("No sky", lift.drop_sky), switch("Smooth 8-bit", lift.smooth)]
    return controls, clip, solid


def _downloads() -> tuple[Files, tuple[gr.Button, gr.DownloadButton], gr.Button]:
    buttons = {}
    with gr.Column(elem_id="downloads"):
        for kind, files in DOWNLOADS.items():
            with gr.Row():
                gr.HTML(kind)
                for name, label in files.items():
                    buttons[name] = gr.DownloadButton(label, interactive=False, elem_id=f"file-{name}", **SMALL)
                if kind == "Picture":
                    make = gr.Button("Make parallax", interactive=False, elem_id="make-parallax", **SMALL)
                    parallax = gr.DownloadButton("Parallax · WebP", visible=False, elem_id="file-parallax", **SMALL)
                if kind == "Run":
                    copy_link = gr.Button("Copy link", elem_id="copy-link", **SMALL)
    return Files(**buttons), (make, parallax), copy_link


def examples_gallery(studio: Studio) -> gr.Gallery | None:
    """Draw the ready examples; None where there are none."""
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
