"""One function per button: check, run on the lane, show.

The three runs are generators, so that progress shows and closing the page stops them. They change the shared result
panel through `Panel`; `view` (3D) and `files` (downloads) follow from the result without the device.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from app import inputs, viewer, words
from app.examples import Example
from app.lane import Lane, LaneError, OnStep, Stopped
from app.plain import request_name
from app.session import Sessions
from jointdit_core import JointDiTOutput, JointDiTPipeline, reading
from jointdit_core.geometry.disparity import colorize
from jointdit_core.geometry.export import write_npy
from jointdit_core.geometry.recover import estimate_camera
from jointdit_core.presets import Preset
from jointdit_core.results import (
    Files,
    LiftSettings,
    Result,
    Settings,
    write_files,
    write_parallax,
    write_rgb_png,
)
from jointdit_core.worlds import captions, sample_scene

VISIT_S = 6 * 3600  # files of a page that never said goodbye are kept this long
FOV_RANGE_DEG, FAR_OVER_NEAR_RANGE = (10, 120), (1.5, 50)  # of the lift's sliders
REVERSED = "_r"  # as matplotlib names them
SAME: Any = gr.skip()
STOP_ON, STOP_OFF = gr.update(interactive=True), gr.update(interactive=False)


class Panel(NamedTuple):
    """What a handler changes on the shared result panel; `SAME` leaves a part as it is."""

    rgb: Any = SAME
    depth: Any = SAME
    bar: Any = SAME
    stop: Any = SAME
    caption: Any = SAME
    result: Any = SAME
    seed: Any = SAME


class Studio:
    """The handlers of one page over one pipeline; holds nothing of a request."""

    def __init__(
        self,
        pipe: JointDiTPipeline,
        preset: Preset,
        examples: list[Example],
        sessions: Sessions,
        lane: Lane | None = None,
    ) -> None:
        self.pipe, self.preset, self.examples = pipe, preset, examples
        self.lane, self.sessions = lane or Lane(), sessions
        self.knows_words = preset.name == "mini"  # a word-level model, which its procedural worlds can prompt

    def warm_up(self) -> float:
        """Run two steps, so that the first visitor does not pay for start-up; return the seconds of one step."""
        ticks: list[float] = []
        self.pipe.joint_generation(
            " ", num_inference_steps=2, seed=0, callback_on_step_end=lambda *_: ticks.append(time.monotonic())
        )
        return ticks[1] - ticks[0]

    # The three runs.

    def joint_generation(
        self,
        prompt: str,
        seed: float,
        randomize: bool,
        steps: float,
        guidance: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Panel]:
        """Text -> RGB + depth."""
        asked = self.settings("joint_generation", prompt, seed, randomize, steps, guidance)

        yield from self._run(request, asked, colormap)

    def depth_estimation(
        self,
        image_path: str | None,
        seed: float,
        randomize: bool,
        steps: float,
        looseness: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Panel]:
        """Image -> depth; the picture stays as it was given unless it is to be loose."""
        upload = checked(reading.read_image, image_path)
        asked = self.settings("depth_estimation", "", seed, randomize, steps, None, looseness)
        yield from self._run(request, asked, colormap, np.asarray(upload.image), upload.fov_deg)

    def depth_to_image(
        self,
        prompt: str,
        depth_path: str | None,
        kind: str,
        polarity: str,
        seed: float,
        randomize: bool,
        steps: float,
        guidance: float,
        looseness: float,
        colormap: str,
        request: gr.Request,
    ) -> Iterator[Panel]:
        """Depth -> image; the depth stays as it was given unless it is to be loose."""
        disparity = checked(reading.read_depth, depth_path, kind, polarity)
        asked = self.settings("depth_to_image", prompt, seed, randomize, steps, guidance, looseness)
        yield from self._run(request, asked, colormap, disparity)

    def _run(
        self,
        request: gr.Request,
        asked: Settings,
        colormap: str,
        given: np.ndarray | None = None,
        fov_deg: float | None = None,
    ) -> Iterator[Panel]:
        """Run what was asked for on the lane and show its progress.

        A picture (H, W, 3) or disparity (H, W) that was given is shown at once, and previewed only if it may change.
        """
        started, owner = time.monotonic(), owner_of(request)
        given_rgb, given_depth = (asked.task == task for task in ("depth_estimation", "depth_to_image"))
        kept_rgb, kept_depth = (here and asked.looseness == 0 for here in (given_rgb, given_depth))

        def work(on_step: OnStep) -> JointDiTOutput:
            return asked.run(self.pipe, given, on_step)

        yield Panel(
            rgb=given if given_rgb else SAME,
            depth=colored(given, colormap) if given_depth else SAME,
            bar=words.run_bar("Starting …"),
            stop=STOP_ON,
            seed=asked.seed,
        )
        shown = None
        try:
            for news in self.lane.run(owner, asked, work, request_name(request)):
                if isinstance(news, JointDiTOutput):
                    break
                fresh = news.image is not None and news.image is not shown
                shown = news.image
                yield Panel(
                    rgb=news.image if fresh and not kept_rgb else SAME,
                    depth=colored(news.disparity, colormap) if fresh and not kept_depth else SAME,
                    bar=words.running(news),
                )
        except Stopped:  # `stop` shows what there is
            return
        except LaneError as error:
            raise refusal(error) from None
        seconds = time.monotonic() - started
        result = Result(np.asarray(news.image), news.disparity, asked, seconds, news.notes, fov_deg=fov_deg)
        yield self._show(result, owner, colormap, words.run_bar(f"Done in {words.seconds(result.seconds)}.", 1.0))

    def waiting(self, *_: Any) -> tuple:
        """Tell a visitor whose run is in the queue so; returns the run bar and the Stop button."""
        return words.run_bar("Waiting for the model …"), STOP_ON

    def rest(self) -> tuple:
        """Put the run bar and the Stop button to rest after a run that did not end well."""
        return words.run_bar("That did not work. Your settings are kept."), STOP_OFF

    def stop(self, colormap: str, request: gr.Request) -> tuple:
        """Stop the visitor's run; its last preview becomes the result.

        Returns:
            The panel's parts without the seed.
        """
        owner = owner_of(request)
        stopped = self.lane.stop(owner)
        if stopped is None or stopped[1].image is None:
            return Panel(bar=words.run_bar("Stopped."), stop=STOP_OFF)[:-1]
        asked, progress = stopped
        unfinished = replace(asked, stopped_at=progress.step)
        result = Result(progress.image, progress.disparity, unfinished, progress.elapsed_s)
        text = f"Stopped after step {progress.step} of {progress.total}: what you see is unfinished."
        return self._show(result, owner, colormap, words.run_bar(text, progress.step / progress.total))[:-1]

    def _show(self, result: Result, owner: str, colormap: str, bar: str) -> Panel:
        """Show a finished result; its files will go to a new folder of the visitor's."""
        folder = self.sessions.new_result(owner, result.settings.prompt or result.settings.task)
        return Panel(
            rgb=result.image,
            depth=colored(result.disparity, colormap),
            bar=bar,
            stop=STOP_OFF,
            caption=words.caption(result),
            result=replace(result, folder=folder),
        )

    def settings(
        self,
        task: str,
        prompt: str,
        seed: float,
        randomize: bool,
        steps: float,
        guidance: float | None,
        looseness: float = 0.0,
    ) -> Settings:
        """Check what a run was given and draw its seed."""
        prompt = checked(inputs.check_prompt, prompt, task == "joint_generation")
        used = secrets.randbelow(inputs.MAX_SEED + 1) if randomize else checked(inputs.check_seed, seed)
        guidance = None if guidance is None else checked(inputs.check_guidance, guidance)
        steps, looseness = checked(inputs.check_steps, steps), checked(inputs.check_looseness, looseness)
        return Settings(task, prompt, used, steps, guidance, self.preset.name, looseness)

    # What follows from a result, without the device.

    def view(self, result: Result | None, *controls: Any) -> Any:
        """Lift the result into 3D; the controls are those of `lifting`."""
        if result is None:
            return SAME
        cloud = checked(result.lift, lifting(*controls))
        return viewer.figure(cloud, result.key)

    def files(self, result: Result | None, *controls: Any) -> tuple:
        """Write the result's files for the download buttons; an animation made before is no longer theirs.

        Returns:
            The download buttons of `Files`, the button that makes the animation, and the one that downloads it.
        """
        if result is None:
            return (SAME,) * (len(Files._fields) + 2)
        paths = written(write_files, result, lifting(*controls))
        downloads = (gr.update(value=str(path), interactive=True) for path in paths)
        return *downloads, gr.update(visible=True, interactive=True), gr.update(value=None, visible=False)

    def parallax(self, result: Result | None, *controls: Any) -> tuple:
        """Draw the result's animation, which takes seconds, and offer it in place of the button that asked for it."""
        if result is None:
            raise refusal("There is no picture yet; press Generate first.")
        path = written(write_parallax, result, lifting(*controls))
        return gr.update(visible=False), gr.update(value=str(path), visible=True)

    def surprise(self) -> str:
        """Return a prompt out of the embedded model's world."""
        return max(captions(sample_scene(secrets.randbelow(2**31)), 3), key=len)

    def recolor(self, result: Result | None, colormap: str) -> Any:
        """Show the depth in another colour map."""
        return SAME if result is None else colored(result.disparity, colormap)

    def compare(self, result: Result | None, colormap: str, comparing: bool) -> tuple:
        """Swap the picture for a slider between the picture and its depth, or back.

        Returns:
            Whether it compares now, the picture, the slider, and the button's next offer.
        """
        if result is None:
            raise refusal("There is no picture yet; press Generate first.")
        if comparing:
            return False, gr.update(visible=True), gr.update(visible=False), "Compare"
        pair = self.pair(result, colormap, True)
        return True, gr.update(visible=False), gr.update(value=pair, visible=True), "RGB alone"

    def pair(self, result: Result | None, colormap: str, comparing: bool) -> Any:
        """Return the picture and its depth for the slider, where it is shown."""
        return (result.image, colored(result.disparity, colormap)) if comparing and result is not None else SAME

    # Between the tabs.

    def use_image(self, result: Result | None, request: gr.Request) -> tuple:
        """Hand the result's picture to the tab Image -> depth."""
        if result is None:
            raise refusal("There is no picture yet; press Generate first.")
        path = self.sessions.folder(owner_of(request)) / "picture.png"
        write_rgb_png(path, result.image, result.settings)
        return gr.Tabs(selected="depth_estimation"), str(path)

    def use_depth(self, result: Result | None, request: gr.Request) -> tuple:
        """Hand the result's disparity to the tab Depth -> image, in full precision."""
        if result is None:
            raise refusal("There is no depth yet; press Generate first.")
        path = write_npy(self.sessions.folder(owner_of(request)) / "depth.npy", result.disparity)
        return gr.Tabs(selected="depth_to_image"), str(path), reading.RELATIVE, reading.NEAR_IS_BRIGHT

    def preview_depth(self, path: str | None, kind: str, polarity: str) -> Any:
        """Show an uploaded depth map as the model will read it."""
        if path is None:
            return gr.update(value=None, visible=False)
        return gr.update(value=colorize(checked(reading.read_depth, path, kind, polarity), "gray"), visible=True)

    def estimate_camera(self, result: Result | None) -> tuple:
        """Set field of view and far/near to what makes the result's flat surfaces square to each other.

        A field of view that the photo's camera wrote into the file is taken as it is.
        """
        if result is None:
            raise refusal("There is no depth yet; press Generate first.")
        camera = checked(estimate_camera, result.disparity, result.fov_deg)
        if camera.planes < 2:
            raise refusal("This picture shows too few flat surfaces to tell its camera from; the sliders stay.")
        gr.Info(f"Estimated from {camera.planes} flat surfaces. Move the sliders if it looks wrong.")
        ratio = 0.5 * round(2 * camera.far_over_near)  # the slider's step
        return round(np.clip(camera.fov_deg, *FOV_RANGE_DEG)), float(np.clip(ratio, *FAR_OVER_NEAR_RANGE))

    def open_example(self, picked: gr.SelectData, colormap: str, request: gr.Request) -> tuple:
        """Show the ready example whose thumbnail was clicked and restore everything that made it.

        Returns:
            The panel's parts, the tab, the inputs (picture, depth, its kind and polarity), then the controls as
            `_restored` gives them.
        """
        example = self.examples[picked.index]
        asked = example.settings
        image = str(example.rgb) if asked.task == "depth_estimation" else SAME
        depth = (SAME, SAME, SAME)
        if asked.task == "depth_to_image":
            depth = (str(example.depth), reading.RELATIVE, reading.NEAR_IS_BRIGHT)
        panel = self._ready(example, colormap, request)
        return *panel, gr.Tabs(selected=asked.task), image, *depth, *restored(asked)

    def welcome(self, colormap: str, request: gr.Request) -> tuple:
        """Show the first example when the page opens, and touch nothing that the visitor may be typing already."""
        self.sessions.delete_older_than(VISIT_S)
        if not self.examples:
            return Panel()[:-1]
        return self._ready(self.examples[0], colormap, request)

    def _ready(self, example: Example, colormap: str, request: gr.Request) -> tuple:
        bar = words.run_bar("A ready example: change anything and run it yourself.")
        return self._show(example.result(), owner_of(request), colormap, bar)[:-1]

    def leave(self, request: gr.Request) -> None:
        """Stop the run and delete the files of a visitor who closed the page."""
        self.lane.stop(owner_of(request))
        self.sessions.delete(owner_of(request))


def lifting(
    fov_deg: float, far_over_near: float, edge_percent: float, points: float, drop_sky: bool, smooth: bool
) -> LiftSettings:
    """Return the lift settings of the page's controls; an edge cut of 0 keeps all points."""
    return LiftSettings(fov_deg, far_over_near, edge_percent / 100 or None, int(points), drop_sky, smooth)


def restored(asked: Settings | None) -> list:
    """Prompt, seed, randomize, steps, guidance and looseness of each task in the order of `words.TASK_TITLES`.

    All stay as they are, but for those of the settings' own task.
    """
    if asked is None:
        return [SAME] * 6 * len(words.TASK_TITLES)
    guidance = SAME if asked.guidance is None else asked.guidance
    values = asked.prompt, asked.seed, False, asked.steps, guidance, asked.looseness
    return [value for task in words.TASK_TITLES for value in (values if task == asked.task else (SAME,) * 6)]


def colored(disparity: np.ndarray, look: str) -> np.ndarray:
    """Colour a disparity map; a look is a colour map's name, followed by `REVERSED` for one that is turned round."""
    return colorize(disparity, look.removesuffix(REVERSED), invert=look.endswith(REVERSED))


def owner_of(request: gr.Request) -> str:
    """Return what names a visitor."""
    return request.session_hash or "nobody"


def refusal(reason: object) -> gr.Error:
    """Return a sentence for the visitor as the error that shows it."""
    return gr.Error(str(reason), title="Please check", print_exception=False)


def checked(function: Callable, *arguments: Any) -> Any:
    """Call a function whose `ValueError` is a sentence for the visitor."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise refusal(error) from None


def written(write: Callable[[Result, LiftSettings], Any], result: Result, settings: LiftSettings) -> Any:
    """Call a function that writes files of a result, all or none."""
    try:
        return checked(write, result, settings)
    except OSError:
        shutil.rmtree(result.folder, ignore_errors=True)
        raise
