"""The page: three tabs over one shared result panel; wiring last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from app import checks, endpoints, viewer, words
from app.batch import Batch
from app.batch import check as check_batch
from app.checks import Checks
from app.engine import Engines
from app.handlers import Studio
from app.memory import Memory
from app.panel import Results, examples_gallery, result_panel
from app.plain import PlainBlocks
from app.tabs import QUIET, Tab, depth_tab, image_tab, text_tab

ADD_WORD = Path(__file__).with_name("words.js").read_text(encoding="utf-8")
COPY_LINK = Path(__file__).with_name("link.js").read_text(encoding="utf-8")


def build(studios: Mapping[str, Studio], status: Mapping[str, str]) -> gr.Blocks:
    """Build the page: one desk, or one for each model, each at a path of its own and with links to the others.

    Args:
        studios: each desk's handlers, by its path; that of the first is "".
        status: where each desk's model runs and how fast, in words, by the same path.

    Returns:
        The page; theme and style go to its `launch`.
    """
    looks = {"title": "JointDiT Studio", "analytics_enabled": False, "fill_width": True}
    page = PlainBlocks(delete_cache=(600, 3600), **looks)
    titles = {path: studio.preset.title for path, studio in studios.items()}
    for path, studio in studios.items():
        with page.route(titles[path], path) if path else page:
            _desk(page, studio, words.title(titles, path, status[path]), path and f"{path}_".replace("-", "_"))
    page.on_failure = Engines([studio.engine for studio in studios.values()]).forget
    return page


def _desk(page: gr.Blocks, studio: Studio, title: str, prefix: str) -> None:
    """Build the desk of one model; its endpoints for programs have names with a prefix."""
    gr.HTML(title)
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
            results = result_panel()
            gallery = examples_gallery(studio)
        if studio.knows_words:
            gr.HTML(words.vocabulary(), elem_id="vocabulary", js_on_load=ADD_WORD)
    endpoints.offer(studio, prefix)  # first, since the first event of a name gets it
    _wire_runs(studio, task_tabs, results)
    restorable = _restorable(task_tabs)
    _wire_results(studio, tabs, task_tabs, results)
    _wire_examples(studio, page, tabs, task_tabs, restorable, results, gallery)
    _wire_memory(Memory(studio), page, tabs, task_tabs["depth_estimation"].image, restorable, results, earlier)
    page.unload(studio.leave)


def _wire_runs(studio: Studio, tabs: dict[str, Tab], results: Results) -> None:
    text, image, depth = tabs["joint_generation"], tabs["depth_estimation"], tabs["depth_to_image"]
    right = Checks(studio.preset)
    runs = {
        (studio.joint_generation, right.joint_generation): (
            text,
            [text.prompt, *text.numbers],
            [text.button.click, text.prompt.submit],
        ),
        (studio.depth_estimation, right.depth_estimation): (
            image,
            [image.image, *image.numbers],
            [image.button.click],
        ),
        (studio.depth_to_image, right.depth_to_image): (
            depth,
            [depth.prompt, *depth.depth[:3], *depth.numbers],
            [depth.button.click, depth.prompt.submit],
        ),
    }
    started = []
    panel, state = results.panel, [results.panel.bar, results.panel.stop]
    ended = [panel.result, results.look, panel.bar], list(panel[:4])
    for (run, check), (tab, given, triggers) in runs.items():
        outputs = [*panel[:-1], tab.seed]
        asked = gr.on(triggers, studio.waiting, given, state, validator=check, **QUIET)
        begun = asked.success(run, [*given, results.look], outputs, **endpoints.ON_DEVICE, **QUIET)
        begun.failure(studio.rest, *ended, queue=False, **QUIET)
        started.append(begun)
    files, start, archive = image.many
    given = [files, *image.numbers]
    asked = start.click(studio.waiting, given, state, validator=check_batch, **QUIET)
    batch = Batch(studio).depth_estimation
    begun = asked.success(batch, [*given, results.look], [*state, archive], **endpoints.ON_DEVICE, **QUIET)
    begun.failure(studio.rest, *ended, queue=False, **QUIET)  # not cancelled by Stop: what was made is packed
    stopped = [panel.result, results.look], list(panel[:-1])
    panel.stop.click(studio.stop, *stopped, cancels=started, queue=False, **QUIET)


def _wire_results(studio: Studio, tabs: gr.Tabs, task_tabs: dict[str, Tab], results: Results) -> None:
    _wire_lift(studio, results)
    panel, result = results.panel, results.panel.result
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
        changed(studio.preview_depth, [file, kind, polarity], preview, validator=checks.depth_map, **QUIET)


def _wire_lift(studio: Studio, results: Results) -> None:
    """Wire what follows the result and the lift's controls: the 3D view, the files, the animation.

    The page counts the changes. Files are closed by each, and offered only where none came since they were asked for:
    what is taken home is always of what is shown.
    """
    result, source = results.panel.result, [results.panel.result, *results.lift]
    changed = [result.change, *(control.change for control in (results.solid, *results.lift))]
    given, latest = [result, results.solid, *results.lift], {"trigger_mode": "always_last", **QUIET}
    files, (make, parallax) = list(results.downloads), results.parallax
    shown, hidden = gr.update(visible=True), gr.update(visible=False)
    on, off = gr.update(interactive=True), gr.update(interactive=False)

    def noted(name: str) -> str:
        return f"(...given) => {{ window.{name} = window.changes; return given; }}"

    def offer(name: str, switched: list[dict]) -> str:
        return f"() => window.{name} === window.changes ? {json.dumps(switched)} : []"

    # The caption comes with the picture; the result's own change may be told a frame later.
    closed = json.dumps([*[off] * len(files), shown | off, hidden])
    count = f"() => {{ window.changes = (window.changes ?? 0) + 1; return {closed}; }}"
    gr.on([results.panel.caption.change, *changed], None, None, [*files, make, parallax], js=count, **QUIET)
    # After that, since a control's second event waits for its first; one request, answered at once.
    lifted = gr.on(changed, studio.view, given, results.scene, queue=False, **latest)
    written = lifted.success(studio.files, source, files, js=noted("written"), **latest)
    written.success(None, None, [*files, make], js=offer("written", [on] * (len(files) + 1)), **QUIET)

    making = gr.update(value="Making …", interactive=False)
    asked = make.click(lambda: making, None, make, queue=False, **QUIET)
    made = asked.then(studio.parallax, source, parallax, js=noted("drawn"), **QUIET)
    made.success(None, None, [make, parallax], js=offer("drawn", [hidden, shown]), **QUIET)
    made.then(lambda: gr.update(value="Make parallax", interactive=True), None, make, queue=False, **QUIET)


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
    image.clear(lambda _: None, image, None, queue=False, **QUIET)  # an event with it takes away what it was told
    image.upload(memory.opened, image, [results.lift[0], *controls], validator=checks.picture, **QUIET)
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
